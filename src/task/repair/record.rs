//! Snapshot records that are lost, from where they are still to be had: the catalog, or a file of
//! another name.
//!
//! A record found there is believed when all that it names is there: every chunk of its streams, by
//! hash and size.

use std::collections::BTreeMap;

use crate::base::{ErrorKind, Result, SnapshotId};
use crate::catalog::{Catalog, query};
use crate::repo::{ArchiveInventory, Repository, SnapshotRecord, record_of};
use crate::store;

/// No record is larger.
const LIMIT: u64 = 256 << 20;

/// A record, and where it was found.
pub(super) type FoundRecord = (SnapshotRecord, String);

/// The records that cannot be read, or are not there, or name what is not there, and are found
/// whole elsewhere.
pub(super) fn found(
    repository: &Repository,
    shelf: &ArchiveInventory,
    catalog: Option<&Catalog>,
) -> Result<BTreeMap<SnapshotId, FoundRecord>> {
    let (mut found, mut sound) = (BTreeMap::new(), Vec::new());
    let mut lost: Vec<SnapshotId> = Vec::new();
    for id in repository.snapshot_ids()? {
        match repository.record(id) {
            Ok(record) if is_there(shelf, &record) => sound.push(record),
            Ok(_) => lost.push(id),
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            Err(_) => lost.push(id),
        }
    }
    let misplaced = misplaced(repository, &lost);
    if let Some(db) = catalog {
        let there: Vec<SnapshotId> =
            sound.iter().map(|record| record.id).chain(lost.iter().copied()).collect();
        lost.extend(
            query::snapshot::ids(db)
                .unwrap_or_default()
                .into_iter()
                .filter(|id| !there.contains(id)),
        );
    }
    let id = repository.id().to_string();
    for lost in lost {
        let known = catalog.and_then(|db| record_of(db, lost.seconds()).ok());
        let candidates = misplaced
            .get(&lost)
            .cloned()
            .into_iter()
            .chain(known.map(|record| (record, "the catalog".to_owned())));
        let is_right = |(record, _): &FoundRecord| {
            let is_new = sound.iter().all(|other| other.number != record.number);
            record.id == lost && record.repository == id && is_new && is_there(shelf, record)
        };
        if let Some(right) = candidates.into_iter().find(is_right) {
            found.insert(lost, right);
        }
    }
    Ok(found)
}

/// Records below the names of others.
fn misplaced(repository: &Repository, lost: &[SnapshotId]) -> BTreeMap<SnapshotId, FoundRecord> {
    let mut found = BTreeMap::new();
    for at in lost {
        let name = format!("snapshots/{at}.json");
        let Ok(json) = store::read_all(&**repository.store(), &name, LIMIT) else { continue };
        if let Ok(record) = serde_json::from_slice::<SnapshotRecord>(&json) {
            found.insert(record.id, (record, name));
        }
    }
    found
}

/// True when archives hold every chunk that the record names: one wrong digit of a hash, and they
/// would not.
fn is_there(shelf: &ArchiveInventory, record: &SnapshotRecord) -> bool {
    let streams = [&record.streams.dump, &record.streams.files, &record.streams.library];
    streams.into_iter().all(|stream| {
        let sum = stream.chunks.iter().try_fold(0u64, |sum, chunk| sum.checked_add(chunk.size));
        sum == Some(stream.size)
            && stream.chunks.iter().all(|chunk| !shelf.copies(chunk.hash).is_empty())
    })
}
