//! Which snapshots there are.

use crate::base::{Problem, Result};
use crate::repo::{Repository, SnapshotRecord};

/// The snapshots of a repository.
#[derive(Debug)]
pub struct Snapshots {
    /// Oldest first.
    pub records: Vec<SnapshotRecord>,
    /// Records that cannot be read.
    pub problems: Vec<Problem>,
}

/// Lists the snapshots by their records; the catalog is not needed.
pub fn snapshots(repository: &Repository) -> Result<Snapshots> {
    let mut listed = Snapshots { records: Vec::new(), problems: Vec::new() };
    for id in repository.snapshot_ids()? {
        match repository.record(id) {
            Ok(record) => listed.records.push(record),
            Err(error) => {
                listed.problems.push(Problem { subject: format!("snapshot {id}"), message: error.to_string() })
            }
        }
    }
    Ok(listed)
}
