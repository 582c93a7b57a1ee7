//! One run: backup, then forget, prune, check and drill as each is due.
//!
//! A backup that failed is followed by no forgetting and no pruning: what there is may be all that
//! there will be. The check and the drill go on all the same, since they look at what is there.
//! Being asked to stop ends the run after the step at hand, which ends as cleanly as it does by
//! itself.

use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::journal::LastStart;
use super::{Jobs, RunWatch, StepResult};
use crate::base::{Error, ErrorKind, Monitor, Problem};
use crate::repo::notes::{RunNote, RunStep, RunTrigger, ServiceJob, StepOutcome};

/// No step needs more words in the journal; the log has them all.
const WORDS: usize = 2000;

/// A run, and what it said.
#[derive(Debug, Clone)]
pub struct RunResult {
    pub run: RunNote,
    /// Line by line, as a person reads it.
    pub log: Vec<String>,
    /// The step that failed first, and why: for a message's first line.
    pub worst: Option<(ServiceJob, String)>,
}

/// Does what is due of `jobs` since `last`. `say` hears each line as it comes.
pub(super) fn run(
    jobs: &dyn Jobs,
    last: &LastStart,
    trigger: RunTrigger,
    zone: &TimeZone,
    watch: &RunWatch<'_>,
    say: &dyn Fn(&str),
) -> RunResult {
    let began = Timestamp::now();
    let mut done = RunResult {
        run: RunNote { began, trigger, steps: Vec::new() },
        log: Vec::new(),
        worst: None,
    };
    for job in [
        ServiceJob::Backup,
        ServiceJob::Forget,
        ServiceJob::Prune,
        ServiceJob::Check,
        ServiceJob::Drill,
    ] {
        let is_due =
            job == ServiceJob::Backup || jobs.schedule(job).is_due(last.of_job(job), began, zone);
        let is_safe = !matches!(job, ServiceJob::Forget | ServiceJob::Prune)
            || !done.has_failed(ServiceJob::Backup);
        if watch.stopped() || done.has_failed(ServiceJob::Backup) && is_empty(jobs) {
            break;
        }
        if is_due && is_safe {
            done.step(job, jobs, watch, say);
        }
    }
    done
}

/// True when there is nothing to check or to rehearse with, or nobody can look.
fn is_empty(jobs: &dyn Jobs) -> bool {
    jobs.repository()
        .and_then(|repository| repository.snapshot_ids())
        .map_or(true, |ids| ids.is_empty())
}

impl RunResult {
    fn has_failed(&self, job: ServiceJob) -> bool {
        self.run
            .steps
            .iter()
            .any(|step| step.job == job && step.outcome >= StepOutcome::Interrupted)
    }

    fn step(&mut self, job: ServiceJob, jobs: &dyn Jobs, watch: &RunWatch<'_>, say: &dyn Fn(&str)) {
        let begun = Instant::now();
        let told = jobs.perform(job, watch).unwrap_or_else(|error| failed(&error));
        let is_cut = told.outcome >= StepOutcome::Interrupted && watch.is_overdue();
        let StepResult { outcome, text, lines } = if is_cut {
            StepResult { outcome: StepOutcome::Failed, text: watch.overdue(), lines: told.lines }
        } else {
            told
        };
        for line in lines.iter().map(String::as_str).chain(text.lines()) {
            let line = format!("{}: {line}", job.name());
            say(&line);
            self.log.push(line);
        }
        if outcome > self.worst_so_far() {
            self.worst = Some((
                job,
                lines.first().filter(|_| outcome == StepOutcome::Partly).unwrap_or(&text).clone(),
            ));
        }
        let text = text.chars().take(WORDS).collect();
        self.run.steps.push(RunStep { job, outcome, text, seconds: begun.elapsed().as_secs() });
    }

    fn worst_so_far(&self) -> StepOutcome {
        self.run.outcome()
    }
}

fn failed(error: &Error) -> StepResult {
    let outcome = match error.kind() {
        ErrorKind::Interrupted => StepOutcome::Interrupted,
        _ => StepOutcome::Failed,
    };
    let hint = error.next_step().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    StepResult { outcome, text: error.chain() + &hint, lines: Vec::new() }
}

/// A problem in one line.
pub fn line(problem: &Problem) -> String {
    format!("problem: {}: {}", problem.subject, problem.message)
}
