//! Acknowledging the alarm of a snapshot: a person saw it, and the library is right as it is.

use crate::base::{Error, Result, SnapshotId};
use crate::repo::notes::{Note, NoteKind};
use crate::repo::{Repository, SnapshotRecord};

/// What was acknowledged.
#[derive(Debug)]
pub struct Report {
    /// The library is right as it is in this one.
    pub snapshot: SnapshotId,
    /// The snapshots whose alarms count no more, oldest first.
    pub calmed: Vec<SnapshotRecord>,
}

/// Acknowledges the alarm of `snapshot` (an id, or `latest`: the newest one), and those of all
/// before it.
pub fn acknowledge(repository: &Repository, snapshot: &str) -> Result<Report> {
    let ids = repository.present_ids()?;
    let snapshot = chosen(&ids, snapshot)?;
    let notes = repository.notes()?;
    let records =
        ids.into_iter().filter(|id| *id <= snapshot).filter_map(|id| repository.record(id).ok());
    let calmed: Vec<SnapshotRecord> = records.filter(|record| notes.is_alarming(record)).collect();
    if !calmed.is_empty() {
        repository.add_note(NoteKind::Acknowledgement { snapshot })?;
        // The new one says all that they said.
        let is_older = |note: &Note| matches!(note.what, NoteKind::Acknowledgement { snapshot: older } if older < snapshot);
        let older = notes.list.iter().filter(|(_, note)| is_older(note));
        older.map(|(name, _)| name).try_for_each(|name| repository.remove_note(name))?;
    }
    Ok(Report { snapshot, calmed })
}

fn chosen(ids: &[SnapshotId], snapshot: &str) -> Result<SnapshotId> {
    let missing = |what: String| Error::not_found(what).hint("`shoebox snapshots` lists them");
    if snapshot == "latest" {
        return ids.last().copied().ok_or_else(|| missing("snapshot `latest`".to_owned()));
    }
    let id: SnapshotId = snapshot.parse()?;
    if ids.contains(&id) { Ok(id) } else { Err(missing(format!("snapshot {id}"))) }
}
