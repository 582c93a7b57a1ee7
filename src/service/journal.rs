//! What is remembered of runs, and what keeps two of them apart.
//!
//! Two locks lie in the repository's `tmp/`: one service at a time, and one run at a time, of a service or of `--once`. Who
//! holds one and dies lets go of it.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::base::monitor::Silent;
use crate::base::{Error, Kind, Result};
use crate::repo::notes::{Job, Outcome, Run, What};
use crate::repo::{Lock, Repository};

/// Runs that are remembered.
const KEPT: usize = 100;
/// Somebody who only asks whether a lock is held holds it for a moment.
const MOMENT: Duration = Duration::from_secs(2);

/// Takes the place of the repository's service until the lock is dropped.
pub fn lock_service(repository: &Repository) -> Result<Lock> {
    Lock::wait(&path(repository, "service.lock"), "run", MOMENT, &Silent).map_err(|error| match error.kind() {
        Kind::Locked => Error::new(Kind::Locked, format_args!("{error}: a service runs already"))
            .hint("one service is enough for a repository; `shoebox run --once` makes a run beside it"),
        _ => error,
    })
}

/// Takes the place of the repository's one run until the lock is dropped.
pub fn lock_run(repository: &Repository) -> Result<Lock> {
    Lock::take(&path(repository, "run.lock"), "run")
}

/// True when a service runs.
pub fn is_served(repository: &Repository) -> bool {
    Lock::is_held(&path(repository, "service.lock"))
}

fn path(repository: &Repository, name: &str) -> PathBuf {
    repository.root().join("tmp").join(name)
}

/// When the newest run began that nobody interrupted, and when each job was done last, well or with findings.
#[derive(Debug, Clone, Default)]
pub struct Last {
    pub began: Option<Timestamp>,
    jobs: Vec<(Job, Timestamp)>,
}

impl Last {
    /// What `repository` remembers.
    pub fn of(repository: &Repository) -> Result<Last> {
        let notes = repository.notes()?;
        let whole = notes.runs().filter(|(_, run)| run.outcome() != Outcome::Interrupted);
        let began = whole.map(|(_, run)| run.began).max();
        let steps = notes.runs().flat_map(|(_, run)| run.steps.iter().map(move |step| (step, run.began)));
        let done = steps.filter(|(step, _)| step.outcome <= Outcome::Partly);
        let mut jobs: Vec<(Job, Timestamp)> = done.map(|(step, began)| (step.job, began)).collect();
        // Who checks or rehearses by hand need not have it done again in the night.
        jobs.extend(notes.last_check().map(|time| (Job::Check, time)));
        jobs.extend(notes.drills().map(|(time, _)| (Job::Drill, time)));
        Ok(Last { began, jobs })
    }

    /// When `job` was done last.
    pub fn of_job(&self, job: Job) -> Option<Timestamp> {
        self.jobs.iter().filter(|(of, _)| *of == job).map(|(_, time)| *time).max()
    }
}

/// Remembers `run`, and forgets old ones.
pub fn remember(repository: &Repository, run: Run) -> Result<()> {
    repository.add_note(What::Run(run))?;
    let notes = repository.notes()?;
    let names: Vec<&String> =
        notes.list.iter().filter(|(_, note)| matches!(note.what, What::Run(_))).map(|(name, _)| name).collect();
    names.iter().take(names.len().saturating_sub(KEPT)).try_for_each(|name| repository.remove_note(name))
}
