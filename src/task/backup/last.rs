//! The snapshots that a new one goes on from, and its id.

use jiff::Timestamp;

use crate::base::{Result, SnapshotId};
use crate::catalog::{Catalog, query};
use crate::repo::{self, Repository, SnapshotRecord, WriteSession};

/// The last night that says what the disk had. An imported snapshot lacks files for other reasons.
pub(super) fn last_good(session: &WriteSession) -> Result<Option<i64>> {
    let db = session.generation().connect()?;
    let record = newest(&db, |record| record.is_good() && !record.is_imported())?;
    Ok(record.map(|record| record.id.seconds()))
}

/// The newest snapshot, and the newest that was not imported: what an imported one lists was not
/// seen on disk, and a file that is like it may have changed since.
pub(super) fn last_records(
    session: &WriteSession,
) -> Result<(Option<SnapshotRecord>, Option<SnapshotRecord>)> {
    let db = session.generation().connect()?;
    Ok((newest(&db, |_| true)?, newest(&db, |record| !record.is_imported())?))
}

/// The newest snapshot that is as `wanted`.
pub(super) fn newest(
    db: &Catalog,
    wanted: impl Fn(&SnapshotRecord) -> bool,
) -> Result<Option<SnapshotRecord>> {
    let mut time = i64::MAX;
    while let Some(before) = query::snapshot::before(db, time)? {
        let record = repo::record_of(db, before)?;
        if wanted(&record) {
            return Ok(Some(record));
        }
        time = before;
    }
    Ok(None)
}

/// The id of a snapshot taken now. Ids ascend, but for those dated in the future, which wait for
/// nothing.
pub(super) fn next_id(repository: &Repository, now: Timestamp) -> Result<SnapshotId> {
    let now = SnapshotId::at(now);
    match repository.present_ids()?.pop().filter(|last| *last >= now) {
        None => Ok(now),
        Some(last) => SnapshotId::from_seconds(last.seconds() + 1),
    }
}
