//! The library itself: what its database, its files and Immich's checksums say of one another in a
//! snapshot.
//!
//! All of it is told from the catalog: the backup has hashed every file, so nothing of
//! UPLOAD_LOCATION is read. A million assets take a few seconds. Unless asked for, nothing of a
//! locked photo is told but whose it is and that something is wrong with it.
//!
//! Limits: whether bytes rotted or were changed on purpose is told by an earlier snapshot; of a
//! photo that was never right nobody can say. A backup reads a file again when its size or time
//! changed, or in its share of `reread-cycle`: rot is noticed then, or by `backup --paranoid`. What
//! Immich calls a file outside UPLOAD_LOCATION is judged by its SHA-1 alone.

mod finding;
mod name;
mod survey;

pub use self::finding::{AuditAside, AuditClass, AuditFinding, AuditTallies, AuditTally};
use self::survey::survey;
use super::open::{find_snapshot, open_view};
use crate::base::{Error, ErrorKind, Result, SnapshotId};
use crate::catalog::{Catalog, query};
use crate::repo::Repository;
use crate::view::{self, find_user};

/// What to look at.
#[derive(Debug, Clone)]
pub struct Options {
    /// Id, name in the tree, or `latest`.
    pub snapshot: String,
    /// One account alone: name, address, storage label or id.
    pub user: Option<String>,
    /// Tell names and paths of locked photos too.
    pub locked: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    pub snapshot: SnapshotId,
    /// By owner (files of nobody last), class, name and path.
    pub findings: Vec<AuditFinding>,
    pub tallies: AuditTallies,
    /// Of the whole library.
    pub aside: AuditAside,
}

/// Audits a snapshot of `repository`.
pub fn audit(repository: &Repository, options: &Options) -> Result<Report> {
    let view = open_view(repository, view::Options::default())?;
    let (snapshot, _) = find_snapshot(&view, &options.snapshot)?;
    let db = repository.catalog()?.connect()?;
    let is_good = query::snapshot::snapshots(&db, snapshot.seconds(), snapshot.seconds() + 1)?
        .iter()
        .any(|it| it.good);
    if !is_good {
        return Err(Error::new(
            ErrorKind::Refused,
            format_args!(
                "the dump of snapshot {snapshot} is bad: what its library holds is not known"
            ),
        )
        .hint("choose another one: `shoebox snapshots` lists them"));
    }
    let user = options.user.as_deref().map(|user| find_user(&db, user)).transpose()?;
    let mut survey = survey(&db, snapshot.seconds())?;
    let findings = name::name(&mut survey, user, options.locked)?;
    let mut tallies = AuditTallies::new();
    for finding in &findings {
        let tally = tallies.entry(finding.class).or_default();
        tally.count += finding.count;
        tally.bytes += finding.size.unwrap_or(0);
    }
    Ok(Report { snapshot, findings, tallies, aside: survey.aside })
}

/// How much of each class the snapshot at `at` has, without names and bytes: the cheap form, for
/// each backup.
pub(super) fn count(db: &Catalog, at: i64) -> Result<AuditTallies> {
    let mut tallies = AuditTallies::new();
    for raw in &survey(db, at)?.found {
        tallies.entry(raw.class()).or_default().count += raw.count();
    }
    Ok(tallies)
}
