//! Notes: what is remembered besides snapshots. Which archives were read whole and when, which
//! snapshots passed a check, how drills ended, which alarms a person acknowledged, which archives
//! wait for their deletion.
//!
//! A note is a small JSON file in `notes/`, written once. No photo comes back from a note: whoever
//! loses them has to check again, and no more. They are no part of the catalog, since that can be
//! lost and made again.
//!
//! Always holds: adding one needs no lock, so that a check, which only reads, can be remembered. A
//! check's note holds all that the notes it was made from held ([`Notes::after_check`]), and
//! replaces these.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::SnapshotRecord;
use super::repository::{Repository, is_to_come};
use crate::base::{Error, ErrorKind, Problem, Result, SnapshotId};
use crate::store;

/// No note is larger: a crafted repository cannot exhaust memory.
const LIMIT: u64 = 16 << 20;
/// How often another name is tried for a note of the same second.
const NAMES: u32 = 1000;

/// One thing to remember.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// When it came to be known.
    pub time: Timestamp,
    /// The machine that wrote it.
    pub host: String,
    #[serde(flatten)]
    pub what: NoteKind,
}

/// What a note says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NoteKind {
    /// What has been checked so far.
    Check(CheckNote),
    /// A rehearsal of a restore.
    Drill(DrillNote),
    /// A person says that the library is right as it is in a snapshot: its alarm, and those before
    /// it, count no more.
    Acknowledgement { snapshot: SnapshotId },
    /// Archives that nothing needs any more, deleted when the grace period is over.
    Retirement(RetirementNote),
    /// One run of the service: the note's time is when it ended.
    Run(RunNote),
}

/// What has been checked so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckNote {
    /// Archives, by their names below `archives/`, of which every byte was read and found right,
    /// and when that began last.
    pub verified: BTreeMap<String, Timestamp>,
    /// Snapshots that passed, and when they did last: the record and its streams are whole, and
    /// every archive that holds something of it was verified.
    pub passed: BTreeMap<SnapshotId, Timestamp>,
    /// Archives in which damage was found, until they are found right or nothing needs them any
    /// more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub flawed: BTreeSet<String>,
}

/// How a drill ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillNote {
    pub snapshot: SnapshotId,
    /// Why it did not succeed; `None` when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The server that the dump was loaded into, such as `PostgreSQL 18.1`; `None` when none could
    /// be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Tables and rows that were compared.
    pub tables: u64,
    pub rows: u64,
    /// Originals that were read and are what the database says.
    pub assets: u64,
    /// What they were drawn by.
    #[serde(default)]
    pub seed: u64,
}

impl DrillNote {
    /// True when the dump was loaded and all was as it should be.
    pub fn is_success(&self) -> bool {
        self.failure.is_none() && self.server.is_some()
    }
}

/// One run of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunNote {
    pub began: Timestamp,
    pub trigger: RunTrigger,
    /// What was done, in order.
    pub steps: Vec<RunStep>,
}

impl RunNote {
    /// How it ended: as the worst of its steps. One that was stopped before the first did nothing.
    pub fn outcome(&self) -> StepOutcome {
        self.steps.iter().map(|step| step.outcome).max().unwrap_or(StepOutcome::Interrupted)
    }

    /// True when it made a snapshot.
    pub fn has_backup(&self) -> bool {
        self.steps
            .iter()
            .any(|step| step.job == ServiceJob::Backup && step.outcome <= StepOutcome::Partly)
    }
}

/// Why a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunTrigger {
    /// It was time.
    Schedule,
    /// It had been time while the service did not run.
    Missed,
    /// The service started.
    Start,
    /// A person, or another scheduler, asked for it.
    Once,
}

/// What a run does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceJob {
    Backup,
    Forget,
    Prune,
    Check,
    Drill,
}

impl ServiceJob {
    /// As it is written: the command's name.
    pub fn name(self) -> &'static str {
        match self {
            ServiceJob::Backup => "backup",
            ServiceJob::Forget => "forget",
            ServiceJob::Prune => "prune",
            ServiceJob::Check => "check",
            ServiceJob::Drill => "drill",
        }
    }
}

/// How a step ended, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    Done,
    /// Something was left out or found damaged.
    Partly,
    /// Somebody asked to stop.
    Interrupted,
    Failed,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStep {
    pub job: ServiceJob,
    pub outcome: StepOutcome,
    /// What it came to, or why it failed.
    pub text: String,
    pub seconds: u64,
}

/// Archives that wait for their deletion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetirementNote {
    /// Names below `archives/`.
    pub archives: BTreeSet<String>,
    /// What retired them, such as `prune`.
    pub by: String,
}

/// All notes of a repository.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// By name in the store, oldest first.
    pub list: Vec<(String, Note)>,
    /// Notes that could not be read.
    pub problems: Vec<Problem>,
}

impl Notes {
    /// Archives that were read whole and found right, and when last.
    pub fn verified(&self) -> HashMap<&str, Timestamp> {
        let mut newest = HashMap::new();
        for (archive, time) in self.checks().flat_map(|checked| &checked.verified) {
            let known = newest.entry(archive.as_str()).or_insert(*time);
            *known = (*known).max(*time);
        }
        newest
    }

    /// Snapshots that passed a check, and when last.
    pub fn passed(&self) -> BTreeMap<SnapshotId, Timestamp> {
        let mut newest = BTreeMap::new();
        for (snapshot, time) in self.checks().flat_map(|checked| &checked.passed) {
            let known = newest.entry(*snapshot).or_insert(*time);
            *known = (*known).max(*time);
        }
        newest
    }

    /// The newest snapshot that a person acknowledged: its alarm, and those before it, count no
    /// more. One dated in the future would silence all that is made until then, and does not count
    /// before.
    pub fn acknowledged(&self) -> Option<SnapshotId> {
        let now = Timestamp::now();
        let acknowledged = self.list.iter().filter_map(|(_, note)| match &note.what {
            NoteKind::Acknowledgement { snapshot } => Some(*snapshot),
            _ => None,
        });
        acknowledged.filter(|id| !is_to_come(*id, now)).max()
    }

    /// True when the snapshot has an alarm that nobody acknowledged.
    pub fn is_alarming(&self, record: &SnapshotRecord) -> bool {
        !record.alarm.is_empty() && Some(record.id) > self.acknowledged()
    }

    /// Archives that wait for their deletion, and since when.
    pub fn retired(&self) -> BTreeMap<&str, Timestamp> {
        let retired = self.list.iter().filter_map(|(_, note)| match &note.what {
            NoteKind::Retirement(retirement) => Some((note.time, retirement)),
            _ => None,
        });
        retired
            .flat_map(|(time, all)| all.archives.iter().map(move |name| (name.as_str(), time)))
            .collect()
    }

    /// Drills with when they were, oldest first.
    pub fn drills(&self) -> impl Iterator<Item = (Timestamp, &DrillNote)> {
        self.list.iter().filter_map(|(_, note)| match &note.what {
            NoteKind::Drill(drill) => Some((note.time, drill)),
            _ => None,
        })
    }

    /// The last drill that succeeded, with a server, and when it was.
    pub fn last_drill(&self) -> Option<(Timestamp, &DrillNote)> {
        self.drills().filter(|(_, drill)| drill.is_success()).last()
    }

    /// When the last drill on `snapshot` was that succeeded, with a server.
    pub fn drilled(&self, snapshot: SnapshotId) -> Option<Timestamp> {
        let of_it =
            self.drills().filter(|(_, drill)| drill.is_success() && drill.snapshot == snapshot);
        of_it.map(|(time, _)| time).last()
    }

    /// Runs of the service with when they ended, oldest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = (Timestamp, &RunNote)> {
        self.list.iter().filter_map(|(_, note)| match &note.what {
            NoteKind::Run(run) => Some((note.time, run)),
            _ => None,
        })
    }

    /// When the last check was.
    pub fn last_check(&self) -> Option<Timestamp> {
        let checks = self.list.iter().filter(|(_, note)| matches!(note.what, NoteKind::Check(_)));
        checks.map(|(_, note)| note.time).max()
    }

    /// Archives in which damage was found and that nobody found right since.
    pub fn flawed(&self) -> BTreeSet<String> {
        let newest = self.list.iter().rev().find_map(|(_, note)| match &note.what {
            NoteKind::Check(checked) => Some(checked.flawed.clone()),
            _ => None,
        });
        newest.unwrap_or_default()
    }

    /// What a check that found `found` has to write down: that, with all that was known and still
    /// counts (`counts` says so of an archive's name and of a snapshot).
    pub fn after_check(
        &self,
        found: CheckNote,
        counts: &dyn Fn(&str) -> bool,
        is_there: &dyn Fn(SnapshotId) -> bool,
        is_needless: &dyn Fn(&str) -> bool,
    ) -> CheckNote {
        let mut all = CheckNote {
            verified: self
                .verified()
                .into_iter()
                .map(|(name, time)| (name.to_owned(), time))
                .collect(),
            passed: self.passed(),
            flawed: self.flawed(),
        };
        all.flawed.retain(|name| !found.verified.contains_key(name) && !is_needless(name));
        all.flawed.extend(found.flawed);
        if !all.flawed.is_empty() {
            all.passed.retain(|id, _| found.passed.contains_key(id));
        }
        all.verified.extend(found.verified);
        all.passed.extend(found.passed);
        all.verified.retain(|name, _| counts(name));
        all.passed.retain(|id, _| is_there(*id));
        all
    }

    /// Names of the notes of checks: what a newer check's note replaces.
    pub fn names_of_checks(&self) -> Vec<&str> {
        let checks = self.list.iter().filter(|(_, note)| matches!(note.what, NoteKind::Check(_)));
        checks.map(|(name, _)| name.as_str()).collect()
    }

    fn checks(&self) -> impl Iterator<Item = &CheckNote> {
        self.list.iter().filter_map(|(_, note)| match &note.what {
            NoteKind::Check(checked) => Some(checked),
            _ => None,
        })
    }
}

impl Repository {
    /// All notes. One that cannot be read is a problem in the answer and no error.
    pub fn notes(&self) -> Result<Notes> {
        let mut notes = Notes::default();
        for listed in self.store().list("notes")? {
            match read(&**self.store(), &listed.name) {
                Ok(note) => notes.list.push((listed.name, note)),
                // Another process replaced it just now.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => notes
                    .problems
                    .push(Problem { subject: listed.name, message: error.to_string() }),
            }
        }
        // Names of one second do not sort as they came.
        notes.list.sort_by_key(|(_, note)| note.time);
        Ok(notes)
    }

    /// The newest snapshot that has an alarm which nobody acknowledged, however old. A record that
    /// cannot be read is told elsewhere.
    pub fn alarming(&self, notes: &Notes) -> Result<Option<SnapshotRecord>> {
        let acknowledged = notes.acknowledged();
        for id in self.present_ids()?.into_iter().rev().take_while(|id| Some(*id) > acknowledged) {
            match self.record(id) {
                Ok(record) if notes.is_alarming(&record) => return Ok(Some(record)),
                Err(error) if !matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Remembers `what`: durable on return. Needs no lock. The note's name.
    pub fn add_note(&self, what: NoteKind) -> Result<String> {
        let kind = match &what {
            NoteKind::Check(_) => "check",
            NoteKind::Drill(_) => "drill",
            NoteKind::Acknowledgement { .. } => "acknowledgement",
            NoteKind::Retirement(_) => "retirement",
            NoteKind::Run(_) => "run",
        };
        let note = Note { time: Timestamp::now(), host: Repository::host(), what };
        let json =
            serde_json::to_vec_pretty(&note).map_err(|error| unwritten().caused_by(error))?;
        let begin = format!("notes/{}-{kind}", SnapshotId::at(note.time));
        let mut last = unwritten();
        for number in 1..NAMES {
            let name = if number == 1 {
                format!("{begin}.json")
            } else {
                format!("{begin}-{number}.json")
            };
            match store::write_all(&**self.store(), &name, &json) {
                // Each writer that begins clears the drafts away that it finds, this note's too.
                Err(error) if matches!(error.kind(), ErrorKind::Exists | ErrorKind::NotFound) => {
                    last = error
                }
                done => return done.map(|()| name),
            }
        }
        Err(last)
    }

    /// Forgets the note called `name`.
    pub fn remove_note(&self, name: &str) -> Result<()> {
        self.store().delete(name)
    }
}

fn read(store: &dyn store::Store, name: &str) -> Result<Note> {
    let json = store::read_all(store, name, LIMIT)?;
    serde_json::from_slice(&json).map_err(|error| Error::damaged(name).caused_by(error))
}

fn unwritten() -> Error {
    Error::new(ErrorKind::Io, "writing a note of the repository")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (tempfile::TempDir, Repository) {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::create(&dir.path().join("repository")).unwrap();
        (dir, repository)
    }

    #[test]
    fn notes_of_one_second_stand_side_by_side_and_a_damaged_one_is_named() {
        let (_dir, repository) = repository();
        let snapshot: SnapshotId = "2026-11-22T030005Z".parse().unwrap();
        let names: Vec<String> = (0..3)
            .map(|_| repository.add_note(NoteKind::Acknowledgement { snapshot }).unwrap())
            .collect();
        assert_eq!(repository.notes().unwrap().list.len(), 3);
        assert_eq!(repository.notes().unwrap().acknowledged(), Some(snapshot));
        std::fs::write(repository.root().join(&names[1]), "{").unwrap();
        repository.remove_note(&names[0]).unwrap();
        let notes = repository.notes().unwrap();
        assert_eq!((notes.list.len(), notes.problems.len()), (1, 1));
        assert_eq!(notes.problems[0].subject, names[1]);
    }

    #[test]
    fn what_a_check_found_is_put_together_with_what_was_known() {
        let (_dir, repository) = repository();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let snapshot = SnapshotId::at(at(5));
        let checked = |all: &[(&str, i64)]| CheckNote {
            verified: all.iter().map(|(name, second)| ((*name).to_owned(), at(*second))).collect(),
            passed: BTreeMap::from([(snapshot, at(all[0].1))]),
            flawed: BTreeSet::new(),
        };
        repository.add_note(NoteKind::Check(checked(&[("a", 10), ("b", 10)]))).unwrap();
        repository.add_note(NoteKind::Check(checked(&[("a", 20), ("gone", 20)]))).unwrap();
        let notes = repository.notes().unwrap();
        assert_eq!(
            notes.verified(),
            HashMap::from([("a", at(20)), ("b", at(10)), ("gone", at(20))])
        );
        let all =
            notes.after_check(checked(&[("b", 30)]), &|name| name != "gone", &|_| true, &|_| false);
        assert_eq!(
            all.verified,
            BTreeMap::from([("a".to_owned(), at(20)), ("b".to_owned(), at(30))])
        );
        assert_eq!(all.passed, BTreeMap::from([(snapshot, at(30))]));
        assert_eq!(notes.names_of_checks().len(), 2);
    }
}
