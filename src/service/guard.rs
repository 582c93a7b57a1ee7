//! The last resort against a run that hangs: where asking to stop is of no avail, as in a read from
//! a disk that is gone, the process ends itself.
//!
//! Always holds: before that the failure is told and remembered, as far as the repository answers;
//! children are ended.

use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::notify::NotifyEvent;
use super::{RunWatch, Service, ServiceStop, journal};
use crate::repo::notes::{RunNote, RunStep, RunTrigger, ServiceJob, StepOutcome};

/// A run that is asked to stop may take so much longer, or as long as it might at all, if that is
/// less.
const GRACE: Duration = Duration::from_secs(600);
/// Nobody waits longer for a repository that does not answer.
const WRITING: Duration = Duration::from_secs(30);

/// What `work` comes to. Where it neither ends nor stops, this process does.
pub(super) fn guarded<T>(
    service: &Service<'_>,
    trigger: RunTrigger,
    watch: &RunWatch<'_>,
    work: impl FnOnce() -> T,
) -> T {
    let (done, began) = (ServiceStop::default(), Timestamp::now());
    let most = watch.limit.saturating_add(watch.limit.min(GRACE));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if !done.wait(most) {
                give_up(service, trigger, began, watch);
            }
        });
        let ended = work();
        done.ask();
        ended
    })
}

/// Tells and remembers that the run failed, and ends the process and its children.
fn give_up(service: &Service<'_>, trigger: RunTrigger, began: Timestamp, watch: &RunWatch<'_>) {
    let text = format!("{}\nit did not stop when asked to", watch.overdue());
    text.lines().for_each(|line| (service.say)(line));
    service.tell(NotifyEvent::Failure, "run FAILED".to_owned(), text.clone(), Vec::new());
    let seconds = watch.began.elapsed().as_secs();
    let steps =
        vec![RunStep { job: ServiceJob::Backup, outcome: StepOutcome::Failed, text, seconds }];
    let written = ServiceStop::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            written.wait(WRITING);
            children().into_iter().for_each(end);
            std::process::exit(1);
        });
        let run = RunNote { began, trigger, steps };
        let remembered =
            service.jobs.repository().and_then(|repository| journal::remember(&repository, run));
        if let Err(error) = remembered {
            tracing::warn!("this run is not remembered: {}", error.chain());
        }
        written.ask();
    });
}

/// The children of this process's threads.
fn children() -> Vec<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let listed =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let all = listed.flat_map(|text| {
        text.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<i32>>()
    });
    all.filter_map(Pid::from_raw).collect()
}

/// Ends `child`, and its children where it leads a group.
fn end(child: Pid) {
    let _ = kill_process_group(child, Signal::KILL);
    let _ = kill_process(child, Signal::KILL);
}
