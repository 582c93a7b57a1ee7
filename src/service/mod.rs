//! The service: waits until a run is due, makes it, and says how it went.
//!
//! A run is backup, forget, prune, check and drill, each as it is due ([`run`]). What was missed
//! while the machine was off is made up once. Runs are remembered in the repository ([`journal`]),
//! so that any machine that sees it knows when the last one was.
//!
//! Always holds: never two runs at once on a repository; a clock that jumps neither stops the
//! service nor makes it run twice; asked to stop, it ends the step at hand cleanly, and the next
//! start goes on from there. What goes wrong in a run ends the run and not the service.

pub mod endpoint;
mod guard;
pub mod journal;
pub mod notify;
pub mod run;
pub mod schedule;
mod systemd;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sd_notify::NotifyState;

use self::journal::LastStart;
use self::notify::{Message, NotifyEvent, NotifyTarget};
pub use self::schedule::Schedule;
use self::systemd::WatchdogPulse;
use crate::base::amount::ago;
use crate::base::{ErrorKind, Monitor, Phase, Problem, Result};
use crate::repo::Repository;
use crate::repo::notes::{RunTrigger, ServiceJob, StepOutcome};

/// The clock is looked at this often while nothing is due: it may be set, and machines sleep.
const LOOK: Duration = Duration::from_secs(20);
/// A clock that goes back by more was set.
const SET: SignedDuration = SignedDuration::from_mins(2);
/// A run that began so far in the future began under a clock that was wrong.
const WRONG: SignedDuration = SignedDuration::from_hours(24);
/// Another run is waited for so long at a time.
const PAUSE: Duration = Duration::from_secs(1);

/// What a step came to.
#[derive(Debug, Clone)]
pub struct StepResult {
    pub outcome: StepOutcome,
    /// One line, as the command prints it.
    pub text: String,
    /// Problems and notes, a line each.
    pub lines: Vec<String>,
}

/// What runs do.
pub trait Jobs: Sync {
    /// The repository, opened again: its disk may have been away.
    fn repository(&self) -> Result<Repository>;
    /// When `job` is due, besides the backup, which is what a run is for.
    fn schedule(&self, job: ServiceJob) -> &Schedule;
    /// Does `job`.
    fn perform(&self, job: ServiceJob, monitor: &dyn Monitor) -> Result<StepResult>;
}

/// When runs are made, and who is told.
#[derive(Debug)]
pub struct ServicePlan {
    pub schedule: Schedule,
    /// A run begins up to so much later than it is due.
    pub jitter: SignedDuration,
    /// A run that takes longer is ended.
    pub limit: Duration,
    /// A run is made when the service starts.
    pub on_start: bool,
    pub zone: TimeZone,
    pub targets: Vec<Box<dyn NotifyTarget>>,
    /// The repository's folder, as messages name it.
    pub repository: String,
    /// How long `once` waits for another run.
    pub patience: Duration,
}

/// Asks to stop.
#[derive(Debug, Default)]
pub struct ServiceStop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl ServiceStop {
    /// Asks; whoever waits wakes up.
    pub fn ask(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// True when somebody asked.
    pub fn is_asked(&self) -> bool {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long at most; true when somebody asked.
    fn wait(&self, time: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, _) = self
            .changed
            .wait_timeout_while(asked, time, |asked| !*asked)
            .unwrap_or_else(PoisonError::into_inner);
        *asked
    }
}

/// A service at work.
pub struct Service<'a> {
    pub jobs: &'a dyn Jobs,
    pub plan: ServicePlan,
    pub stop: Arc<ServiceStop>,
    /// Hears each line.
    pub say: &'a (dyn Fn(&str) + Sync),
    /// When the next run is due, for the endpoint.
    pub next: Arc<Mutex<Option<Timestamp>>>,
}

impl Service<'_> {
    /// Makes runs until it is asked to stop.
    ///
    /// # Errors
    /// `Locked` when a service runs already on this repository; what keeps the repository from
    /// being opened at the start.
    pub fn serve(&self) -> Result<()> {
        let repository = self.jobs.repository()?;
        let _place = journal::lock_service(&repository)?;
        let pulse = WatchdogPulse::start();
        systemd::tell(NotifyState::Ready);
        let mut last = LastStart::of(&repository)?.began;
        let mut trigger = self.first(&repository, last)?;
        drop(repository);
        while !self.stop.is_asked() {
            let trigger = match trigger.take() {
                Some(trigger) => trigger,
                None => match self.wait(last, &pulse) {
                    Some(trigger) => trigger,
                    None => break,
                },
            };
            let began = Timestamp::now();
            self.make(trigger, last, &pulse);
            last = Some(began);
        }
        systemd::tell(NotifyState::Stopping);
        (self.say)("stopped");
        Ok(())
    }

    /// Makes one run now. How it ended.
    pub fn once(&self) -> Result<StepOutcome> {
        let pulse = WatchdogPulse::start();
        let watch = RunWatch::new(&self.stop, &pulse, Duration::MAX);
        let place = self
            .jobs
            .repository()
            .and_then(|it| journal::wait_for_run(&it, self.plan.patience, &watch));
        match place {
            Ok(_place) => Ok(self.work(RunTrigger::Once, &pulse)),
            Err(error) => {
                // A disk that is not mounted is what fails a night most often.
                if !matches!(error.kind(), ErrorKind::Locked | ErrorKind::Interrupted) {
                    self.tell(
                        NotifyEvent::Failure,
                        "backup FAILED".to_owned(),
                        error.chain(),
                        Vec::new(),
                    );
                }
                Err(error)
            }
        }
    }

    /// Why a run is made as soon as the service starts.
    fn first(
        &self,
        repository: &Repository,
        last: Option<Timestamp>,
    ) -> Result<Option<RunTrigger>> {
        if self.plan.on_start || repository.snapshot_ids()?.is_empty() {
            return Ok(Some(RunTrigger::Start));
        }
        let is_missed =
            last.is_some() && self.plan.schedule.is_due(last, Timestamp::now(), &self.plan.zone);
        Ok(is_missed.then_some(RunTrigger::Missed))
    }

    /// Waits until a run is due; `None` when asked to stop.
    fn wait(&self, last: Option<Timestamp>, pulse: &WatchdogPulse) -> Option<RunTrigger> {
        let mut due = self.due(last);
        let mut before = Timestamp::now();
        loop {
            let now = Timestamp::now();
            if now.duration_since(before) < -SET {
                (self.say)("the clock was set back; the next run is computed again");
                due = self.due(last);
            }
            before = now;
            match due {
                Some(due) if due <= now => return Some(RunTrigger::Schedule),
                _ => {}
            }
            pulse.beat();
            let left = due.map_or(LOOK, |due| due.duration_since(now).try_into().unwrap_or(LOOK));
            if self.stop.wait(left.min(LOOK)) {
                return None;
            }
        }
    }

    /// When the next run is due, which is told.
    fn due(&self, last: Option<Timestamp>) -> Option<Timestamp> {
        let now = Timestamp::now();
        // What was done in the future was done under a clock that was wrong.
        let after = last.filter(|last| last.duration_since(now) < WRONG).unwrap_or(now);
        let due = self
            .plan
            .schedule
            .next(after, &self.plan.zone)
            .and_then(|due| due.checked_add(self.jitter()).ok());
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = due;
        let words = match due {
            Some(due) => {
                format!(
                    "the next run is due {}",
                    due.to_zoned(self.plan.zone.clone()).strftime("%Y-%m-%d %H:%M")
                )
            }
            None => "no run is ever due: the schedule is `never`".to_owned(),
        };
        (self.say)(&words);
        systemd::status(&words);
        due
    }

    fn jitter(&self) -> SignedDuration {
        let most = self.plan.jitter.as_millis().max(0);
        let random = i128::from(uuid::Uuid::new_v4().as_u64_pair().0 >> 1);
        SignedDuration::from_millis(i64::try_from(random % (most + 1)).unwrap_or(0))
    }

    /// Makes a run, once another one that is at work is done; not at all if that one did what this
    /// one is for.
    fn make(&self, trigger: RunTrigger, last: Option<Timestamp>, pulse: &WatchdogPulse) {
        let mut told = false;
        loop {
            let place =
                self.jobs.repository().and_then(|repository| journal::lock_run(&repository));
            match place {
                Err(error) if error.kind() == ErrorKind::Locked => {
                    if !std::mem::replace(&mut told, true) {
                        (self.say)(&format!("{error}: waiting for it"));
                    }
                    pulse.beat();
                    if self.stop.wait(PAUSE) {
                        return;
                    }
                }
                // What keeps the repository from being opened is told by the run's first step.
                Err(_) => {
                    self.work(trigger, pulse);
                    return;
                }
                Ok(_place) => {
                    let newest = self
                        .jobs
                        .repository()
                        .and_then(|repository| LastStart::of(&repository))
                        .ok();
                    let is_done = told && newest.and_then(|newest| newest.began) > last;
                    if !is_done {
                        self.work(trigger, pulse);
                    }
                    return;
                }
            }
        }
    }

    /// Makes a run: does it, remembers it and tells of it.
    fn work(&self, trigger: RunTrigger, pulse: &WatchdogPulse) -> StepOutcome {
        self.tell(NotifyEvent::Start, "backup begins".to_owned(), String::new(), Vec::new());
        let last = self
            .jobs
            .repository()
            .and_then(|repository| LastStart::of(&repository))
            .unwrap_or_default();
        let watch = RunWatch::new(&self.stop, pulse, self.plan.limit);
        let done = guard::guarded(self, trigger, &watch, || {
            run::run(self.jobs, &last, trigger, &self.plan.zone, &watch, self.say)
        });
        let outcome = done.run.outcome();
        if done.run.steps.is_empty() {
            (self.say)("stopped before anything was done");
            return outcome;
        }
        let summary = done.run.steps.first().map(|step| step.text.clone()).unwrap_or_default();
        let remembered =
            self.jobs.repository().and_then(|repository| journal::remember(&repository, done.run));
        if let Err(error) = remembered {
            tracing::warn!("this run is not remembered: {}", error.chain());
        }
        let why = || match &done.worst {
            Some((job, why)) => (job.name(), why.clone()),
            None => ("run", String::new()),
        };
        match outcome {
            StepOutcome::Done => {
                self.tell(NotifyEvent::Success, "backup is well".to_owned(), summary, done.log)
            }
            StepOutcome::Partly => {
                let (job, why) = why();
                self.tell(NotifyEvent::Warning, format!("{job} has findings"), why, done.log);
            }
            StepOutcome::Failed => {
                let (job, why) = why();
                self.tell(NotifyEvent::Failure, format!("{job} FAILED"), why, done.log);
            }
            // Who asked to stop knows.
            StepOutcome::Interrupted => {}
        }
        outcome
    }

    fn tell(&self, event: NotifyEvent, title: String, message: String, log: Vec<String>) {
        let host = Repository::host();
        let message = Message {
            event,
            title: format!("shoebox on {host}: {title}"),
            message,
            log,
            host,
            repository: self.plan.repository.clone(),
            time: Timestamp::now(),
        };
        for (target, error) in notify::tell(&self.plan.targets, &message) {
            tracing::warn!("{target} was not notified: {}", error.chain());
        }
    }
}

/// Hears how a run goes, and how long it takes.
struct RunWatch<'a> {
    stop: &'a ServiceStop,
    pulse: &'a WatchdogPulse,
    began: Instant,
    limit: Duration,
}

impl<'a> RunWatch<'a> {
    fn new(stop: &'a ServiceStop, pulse: &'a WatchdogPulse, limit: Duration) -> RunWatch<'a> {
        RunWatch { stop, pulse, began: Instant::now(), limit }
    }

    /// True when the run takes longer than it may.
    fn is_overdue(&self) -> bool {
        self.began.elapsed() > self.limit
    }

    /// What is said of it then.
    fn overdue(&self) -> String {
        let limit = ago(SignedDuration::try_from(self.limit).unwrap_or(SignedDuration::MAX));
        format!(
            "the run took longer than {limit} and was ended\nhint: see what it waited for; \
                `timeout` in [run] sets the limit"
        )
    }
}

impl Monitor for RunWatch<'_> {
    fn begin(&self, phase: Phase, _: Option<u64>, _: Option<u64>) {
        self.pulse.beat();
        systemd::status(phase.title());
    }

    fn advance(&self, _: u64, _: u64) {
        self.pulse.beat();
    }

    /// Problems are kept by what does the job.
    fn problem(&self, _: Problem) {}

    fn stopped(&self) -> bool {
        self.stop.is_asked() || self.is_overdue()
    }
}
