//! What a person should know of a repository, one small question each: what is wrong now (red),
//! and what may become so.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{AgeLimits, RepositoryStatus};
use crate::base::amount::{ago, plural};
use crate::base::{ErrorKind, SnapshotId};
use crate::immich;
use crate::repo::notes::{DrillNote, RunNote, ServiceJob, StepOutcome};
use crate::repo::{Notes, Repository, SnapshotRecord, is_to_come};
use crate::task::space::{DiskSpace, SpaceVerdict};

/// From so many snapshots on a person is told that there is an end to them.
pub(in crate::task) const MANY: usize = 60_000;

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusFinding {
    /// It is trouble now; else it may become trouble.
    pub red: bool,
    pub what: String,
    /// What to do.
    pub next: String,
}

impl StatusFinding {
    fn red(what: impl Into<String>, next: impl Into<String>) -> StatusFinding {
        StatusFinding { red: true, what: what.into(), next: next.into() }
    }

    fn amber(what: impl Into<String>, next: impl Into<String>) -> StatusFinding {
        StatusFinding { red: false, ..StatusFinding::red(what, next) }
    }
}

/// What the questions are asked of.
pub(super) struct StatusEvidence<'a> {
    pub status: &'a RepositoryStatus,
    /// The newest first, back to the newest good one.
    pub records: &'a [SnapshotRecord],
    pub alarming: Option<&'a SnapshotRecord>,
    pub notes: &'a Notes,
    pub limits: AgeLimits,
    pub now: Timestamp,
    /// When the repository was created.
    pub created: Timestamp,
}

impl StatusEvidence<'_> {
    /// In the order in which they matter.
    pub fn findings(&self) -> Vec<StatusFinding> {
        let mut all: Vec<_> = self.of_age().into_iter().chain(self.of_damage()).collect();
        // What is too old is told once.
        if all.iter().all(|finding| !finding.red) {
            all.extend(self.of_check());
        }
        let rest = [
            self.of_alarm(),
            self.of_moved(),
            self.of_emptiness(),
            self.of_bad_dump(),
            self.good().and_then(of_newness),
            self.of_old_readings(),
            self.of_drills(),
            self.of_run(),
            self.of_notes(),
        ];
        all.extend(rest.into_iter().flatten());
        all
    }

    fn good(&self) -> Option<&SnapshotRecord> {
        self.records.iter().find(|record| record.is_good())
    }

    fn age(&self, id: Option<SnapshotId>) -> SignedDuration {
        self.now.duration_since(id.map_or(self.created, SnapshotId::time))
    }

    fn of_age(&self) -> Option<StatusFinding> {
        // A snapshot is as old as its dump: that is the state that a recovery gives.
        let dump_age =
            self.now.duration_since(self.good().map_or(self.created, SnapshotRecord::as_of));
        let is_old = dump_age > self.limits.snapshot;
        let make_one = "`shoebox backup` makes one";
        match self.status.good {
            None if is_old => Some(StatusFinding::red("there is no good snapshot", make_one)),
            None => Some(StatusFinding::amber("there is no snapshot yet", make_one)),
            Some(_) if !is_old => None,
            good if self.age(good) <= self.limits.snapshot => Some(StatusFinding::red(
                format!("the database dump of the newest snapshot is {} old", ago(dump_age)),
                "give `backup --dump` a newer one, or let it ask the database itself: photos that \
                 came since are in files/ only",
            )),
            good => Some(StatusFinding::red(
                format!("the newest good snapshot is {} old", ago(self.age(good))),
                "run `shoebox backup` to see why there is no newer one",
            )),
        }
    }

    fn of_damage(&self) -> Option<StatusFinding> {
        let flawed = self.notes.flawed().len() as u64;
        let archives = plural(flawed, "archive", "archives");
        (flawed > 0).then(|| {
            StatusFinding::red(
                format!("damage was found in {archives}"),
                "`shoebox repair` shows what can be repaired; `shoebox check --read-data` names \
                    the \
                 photos",
            )
        })
    }

    fn of_check(&self) -> Option<StatusFinding> {
        let age = self.age(self.status.verified);
        let what = match self.status.verified {
            Some(_) => format!("the newest snapshot that passed a check is {} old", ago(age)),
            None => "no snapshot has passed a check".to_owned(),
        };
        let next = "`shoebox check --read-data` checks them, or shows what is damaged";
        (age > self.limits.verified).then(|| StatusFinding::red(what, next))
    }

    fn of_alarm(&self) -> Option<StatusFinding> {
        let record = self.alarming?;
        Some(StatusFinding::red(
            format!("alarm of snapshot {}: {}", record.id, record.alarm.join("; ")),
            "look at the library; if it is right as it is: `shoebox acknowledge latest`",
        ))
    }

    fn of_moved(&self) -> Option<StatusFinding> {
        let moved = self.status.last.as_ref()?.moved;
        let photos = plural(moved, "photo is", "photos are");
        (moved > 0).then(|| {
            StatusFinding::amber(
                format!("in the newest snapshot {photos} elsewhere than its database says"),
                "`shoebox restore --all` puts them where it expects them; `shoebox audit` lists \
                    them",
            )
        })
    }

    fn of_emptiness(&self) -> Option<StatusFinding> {
        let last = self.status.last.as_ref()?;
        if last.empty {
            let photos = plural(last.assets, "photo", "photos");
            return Some(StatusFinding::red(
                format!("none of {photos} is in the newest snapshot"),
                "look whether UPLOAD_LOCATION is the right folder and its disk is mounted; photos \
                 of external libraries need --external",
            ));
        }
        let what = "the newest snapshot has no photo: its database names none";
        let next = "if there are photos in Immich, this is another database";
        (last.good && last.assets == 0).then(|| StatusFinding::amber(what, next))
    }

    fn of_bad_dump(&self) -> Option<StatusFinding> {
        let (what, next) =
            ("the newest snapshot has a bad dump", "make the dump again: `shoebox backup`");
        (!self.status.last.as_ref()?.good).then(|| StatusFinding::amber(what, next))
    }

    /// Snapshots of which this reader makes more than an older one did.
    fn of_old_readings(&self) -> Option<StatusFinding> {
        let good = self.records.iter().filter(|record| record.is_good());
        let lacking = good.filter(|record| immich::is_worth_rereading(&record.dump)).count();
        let many = plural(lacking as u64, "snapshot lacks", "snapshots lack");
        (lacking > 0).then(|| {
            StatusFinding::amber(
                format!("{many} what an older shoebox missed in the dump, such as people"),
                "the next backup reads it again, and so does `shoebox repair catalog`",
            )
        })
    }

    fn of_drills(&self) -> Option<StatusFinding> {
        let newest: Option<&DrillNote> = self.notes.drills().last().map(|(_, drill)| drill);
        match newest {
            Some(DrillNote { failure: Some(failure), snapshot, .. }) => Some(StatusFinding::red(
                format!("the last drill, on snapshot {snapshot}, failed: {failure}"),
                "`shoebox drill` tries again; `shoebox check --read-data` finds what is damaged",
            )),
            _ if self.status.drilled.is_none() && self.status.good.is_some() => {
                let next = "`shoebox drill` rehearses the recovery";
                Some(StatusFinding::amber("no drill has succeeded yet", next))
            }
            _ => None,
        }
    }

    fn of_notes(&self) -> Option<StatusFinding> {
        let damaged = self.notes.problems.len() as u64;
        let many = plural(damaged, "note is", "notes are");
        let next = "`shoebox check` names what is damaged";
        (damaged > 0).then(|| StatusFinding::amber(format!("{many} damaged"), next))
    }

    fn of_run(&self) -> Option<StatusFinding> {
        let last = self.status.run.as_ref()?;
        let words = match last.outcome {
            StepOutcome::Failed => "failed",
            StepOutcome::Partly => "ended with findings",
            StepOutcome::Done | StepOutcome::Interrupted => return None,
        };
        let steps = &last.run.steps;
        let worst = steps.iter().filter(|step| step.outcome == last.outcome);
        let names: Vec<&str> = worst.map(|step| step.job.name()).collect();
        let is_damage = steps
            .iter()
            .any(|step| step.job == ServiceJob::Check && step.outcome == StepOutcome::Partly);
        let commands: Vec<_> = names.iter().map(|name| format!("`shoebox {name}`")).collect();
        Some(StatusFinding {
            red: last.outcome == StepOutcome::Failed || is_damage,
            what: format!("the last run {words}: {}", names.join(", ")),
            next: format!("{} by hand shows why", commands.join(", ")),
        })
    }

    /// A run that takes far longer than any before it: it may wait for something that never comes.
    pub fn of_long_run(&self) -> Option<StatusFinding> {
        let since = self.status.running_since?;
        let lasted = |run: &RunNote| run.steps.iter().map(|step| step.seconds).sum::<u64>();
        let longest = self.notes.runs().map(|(_, run)| lasted(run)).max()?.cast_signed();
        let longest = SignedDuration::from_secs(longest);
        let usual = longest.saturating_mul(2).saturating_add(SignedDuration::from_hours(1));
        let began = since.strftime("%Y-%m-%d %H:%M UTC");
        (self.now.duration_since(since) > usual).then(|| {
            StatusFinding::amber(
                format!(
                    "a backup is under way since {began}, longer than ever before ({} at most)",
                    ago(longest)
                ),
                "see what it waits for; SIGTERM ends it cleanly, and the next one continues from \
                    there",
            )
        })
    }
}

/// What is wrong with the catalog, of which every page is looked at.
pub(super) fn of_catalog(repository: &Repository) -> Option<StatusFinding> {
    let error = repository.catalog().and_then(|generation| generation.verify()).err()?;
    let next = error.next_step().unwrap_or("`shoebox check` shows what is wrong").to_owned();
    // One of another version is what an update of shoebox leaves.
    Some(StatusFinding { red: error.kind() != ErrorKind::Unsupported, what: error.chain(), next })
}

/// Snapshots that a clock which was wrong dated to a time to come: they are kept aside.
pub(super) fn of_clock(ids: &[SnapshotId], now: Timestamp) -> Option<StatusFinding> {
    let ahead: Vec<String> =
        ids.iter().filter(|id| is_to_come(**id, now)).map(SnapshotId::to_string).collect();
    let first = ahead.first()?;
    let what = match ahead.len() {
        1 => {
            format!("snapshot {first} is dated in the future: a clock is or was wrong")
        }
        many => format!(
            "{many} snapshots, the first of {first}, are dated in the future: a clock \
                is or was wrong"
        ),
    };
    let next = format!(
        "set this machine's clock right; if it is right, forget them (until then they are kept \
            aside, and nothing is pruned): `shoebox forget {} --apply`",
        ahead.join(" ")
    );
    Some(StatusFinding { red: true, what, next })
}

/// More snapshots than a repository can have are far away, but not for ever.
pub(super) fn of_number(snapshots: usize) -> Option<StatusFinding> {
    if snapshots < MANY {
        return None;
    }
    let what = format!("the repository has {snapshots} snapshots; at 65,535 no more are made");
    let next =
        "forget some: `shoebox forget --keep-daily 30 --keep-monthly unlimited --apply`".to_owned();
    Some(StatusFinding { red: false, what, next })
}

/// What is to be said of a dump that is newer than this reader, or not as it expects.
fn of_newness(record: &SnapshotRecord) -> Option<StatusFinding> {
    let newer = immich::newer_than_known(record.dump.schema.as_deref());
    let next =
        "install the newest shoebox: its first backup reads what is missing out of the dumps that \
            are kept"
            .to_owned();
    match record.dump.lacks.as_slice() {
        [] => newer.map(|what| StatusFinding { red: false, what, next }),
        _ if immich::is_worth_rereading(&record.dump) => None,
        lacks => {
            let lacks =
                format!("the views of snapshot {} lack something: {}", record.id, lacks.join("; "));
            let what = newer.map_or_else(|| lacks.clone(), |newer| format!("{newer} ({lacks})"));
            Some(StatusFinding { red: true, what, next })
        }
    }
}

pub(super) fn of_space(space: DiskSpace) -> Option<StatusFinding> {
    let next =
        "free some, use a larger disk, or keep less: `shoebox forget`, `shoebox prune`".to_owned();
    let red = match space.verdict() {
        SpaceVerdict::Enough => return None,
        SpaceVerdict::Scarce => false,
        SpaceVerdict::Lacking => true,
    };
    Some(StatusFinding { red, what: space.to_string(), next })
}
