//! What is remembered of runs, and what keeps two of them apart.
//!
//! Two locks lie in the repository's `tmp/`: one service at a time, and one run at a time, of a
//! service or of `--once`. Who holds one and dies lets go of it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::base::monitor::SilentMonitor;
use crate::base::{Error, ErrorKind, Monitor, Result};
use crate::repo::notes::{NoteKind, RunNote, ServiceJob, StepOutcome};
use crate::repo::{Note, Notes, Repository, RepositoryLock, SKEW};

/// Runs that are remembered.
const KEPT: usize = 100;
/// Somebody who only asks whether a lock is held holds it for a moment.
const MOMENT: Duration = Duration::from_secs(2);

/// Takes the place of the repository's service until the lock is dropped.
pub fn lock_service(repository: &Repository) -> Result<RepositoryLock> {
    RepositoryLock::wait(&path(repository, "service.lock"), "run", MOMENT, &SilentMonitor).map_err(
        |error| match error.kind() {
            ErrorKind::Locked => Error::new(
                ErrorKind::Locked,
                format_args!("{error}: a service runs already"),
            )
            .hint(
                "one service is enough for a repository; `shoebox run --once` makes a run beside \
                it",
            ),
            _ => error,
        },
    )
}

/// Takes the place of the repository's one run until the lock is dropped.
pub fn lock_run(repository: &Repository) -> Result<RepositoryLock> {
    RepositoryLock::take(&run_path(repository), "run")
}

/// The same, and waits up to `patience` for another run.
pub fn wait_for_run(
    repository: &Repository,
    patience: Duration,
    monitor: &dyn Monitor,
) -> Result<RepositoryLock> {
    RepositoryLock::wait(&run_path(repository), "run", patience.max(MOMENT), monitor)
}

/// True when a service runs.
pub fn is_served(repository: &Repository) -> bool {
    RepositoryLock::is_held(&path(repository, "service.lock"))
}

fn path(repository: &Repository, name: &str) -> PathBuf {
    let folder = repository.root().join("tmp");
    // Many a program that copies folders leaves the empty ones out.
    let _ = std::fs::create_dir(&folder);
    folder.join(name)
}

fn run_path(repository: &Repository) -> PathBuf {
    path(repository, "run.lock");
    repository.run_lock_path()
}

/// When the newest run began that made a snapshot, and when each job was done last, well or with
/// findings.
#[derive(Debug, Clone, Default)]
pub struct LastStart {
    pub began: Option<Timestamp>,
    jobs: Vec<(ServiceJob, Timestamp)>,
}

impl LastStart {
    /// What `repository` remembers.
    pub fn of(repository: &Repository) -> Result<LastStart> {
        let (notes, now) = (repository.notes()?, Timestamp::now());
        // What a clock that was wrong dated to a time to come is no reason to wait for that time.
        let is_past = |time: Timestamp| time.duration_since(now) <= SKEW;
        let runs = || notes.runs().filter(|(_, run)| is_past(run.began));
        let began = runs().filter(|(_, run)| run.has_backup()).map(|(_, run)| run.began).max();
        // Who made the first backup by hand has made it.
        let newest = repository.present_ids()?.pop().map(|id| id.time());
        let began = began.or(newest);
        let steps = runs().flat_map(|(_, run)| run.steps.iter().map(move |step| (step, run.began)));
        let done = steps.filter(|(step, _)| step.outcome <= StepOutcome::Partly);
        let mut jobs: Vec<(ServiceJob, Timestamp)> =
            done.map(|(step, began)| (step.job, began)).collect();
        // Who checks or rehearses by hand need not have it done again in the night.
        jobs.extend(notes.last_check().map(|time| (ServiceJob::Check, time)));
        jobs.extend(notes.drills().map(|(time, _)| (ServiceJob::Drill, time)));
        jobs.retain(|(_, time)| is_past(*time));
        Ok(LastStart { began, jobs })
    }

    /// When `job` was done last.
    pub fn of_job(&self, job: ServiceJob) -> Option<Timestamp> {
        self.jobs.iter().filter(|(of, _)| *of == job).map(|(_, time)| *time).max()
    }
}

/// Remembers `run`, and forgets old ones.
pub fn remember(repository: &Repository, run: RunNote) -> Result<()> {
    repository.add_note(NoteKind::Run(run))?;
    let notes = repository.notes()?;
    let names: Vec<&String> = notes
        .list
        .iter()
        .filter(|(_, note)| matches!(note.what, NoteKind::Run(_)))
        .map(|(name, _)| name)
        .collect();
    let needed = newest_of_each_job(&notes);
    let old = names
        .iter()
        .take(names.len().saturating_sub(KEPT))
        .filter(|name| !needed.contains(name.as_str()));
    old.copied().try_for_each(|name| repository.remove_note(name))
}

/// The runs that tell when each job was done last.
fn newest_of_each_job(notes: &Notes) -> HashSet<&str> {
    let newest = |job: ServiceJob| {
        let is_it = |note: &Note| match &note.what {
            NoteKind::Run(run) => {
                run.steps.iter().any(|step| step.job == job && step.outcome <= StepOutcome::Partly)
            }
            _ => false,
        };
        notes.list.iter().rev().find(|(_, note)| is_it(note)).map(|(name, _)| name.as_str())
    };
    [
        ServiceJob::Backup,
        ServiceJob::Forget,
        ServiceJob::Prune,
        ServiceJob::Check,
        ServiceJob::Drill,
    ]
    .into_iter()
    .filter_map(newest)
    .collect()
}
