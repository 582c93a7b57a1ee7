//! Which snapshots there are.

use crate::base::{Problem, Result};
use crate::repo::{Notes, Repository, SnapshotRecord};

/// The snapshots of a repository.
#[derive(Debug)]
pub struct SnapshotList {
    /// Oldest first.
    pub records: Vec<SnapshotRecord>,
    /// What is remembered of them: checks, drills, alarms that a person acknowledged.
    pub notes: Notes,
    /// Records that cannot be read.
    pub problems: Vec<Problem>,
}

/// Lists the snapshots by their records; the catalog is not needed.
pub fn snapshots(repository: &Repository) -> Result<SnapshotList> {
    let notes = repository.notes()?;
    let mut listed = SnapshotList { records: Vec::new(), problems: notes.problems.clone(), notes };
    for id in repository.snapshot_ids()? {
        match repository.record(id) {
            Ok(record) => listed.records.push(record),
            Err(error) => listed
                .problems
                .push(Problem { subject: format!("snapshot {id}"), message: error.to_string() }),
        }
    }
    Ok(listed)
}
