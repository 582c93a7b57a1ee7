//! Progress and non-fatal problems: how work tells what it is doing without knowing of a terminal.

use super::{Error, ErrorKind, Result};

/// What a task is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading and verifying the database dump.
    Dump,
    /// Comparing UPLOAD_LOCATION with the last snapshot, and reading what is new into archives.
    Store,
    /// Bringing the catalog up to date.
    Catalog,
    /// Writing files out of archives.
    Restore,
    /// Reading archives to see whether they are right.
    Check,
    /// Writing what is still needed of archives into new ones.
    Prune,
    /// Storing again what is damaged.
    Repair,
    /// Loading a dump into a database.
    Load,
}

impl Phase {
    /// What a person reads.
    pub fn title(self) -> &'static str {
        match self {
            Phase::Dump => "reading the database",
            Phase::Store => "reading files",
            Phase::Catalog => "bringing the catalog up to date",
            Phase::Restore => "restoring",
            Phase::Check => "checking",
            Phase::Prune => "pruning",
            Phase::Repair => "repairing",
            Phase::Load => "loading the database",
        }
    }
}

/// Something that went wrong with one thing while the work goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, row or archive it is about, as the person knows it.
    pub subject: String,
    /// What happened, one lower-case line.
    pub message: String,
}

/// Listens to a task. All methods may be called from several threads.
pub trait Monitor: Sync {
    /// A phase begins; `files` and `bytes` are the totals where they are known.
    fn begin(&self, phase: Phase, files: Option<u64>, bytes: Option<u64>);
    /// So many more files and bytes of the current phase are done.
    fn advance(&self, files: u64, bytes: u64);
    /// One thing went wrong; the work goes on and ends with exit code 3.
    fn problem(&self, problem: Problem);
    /// True when the person asked to stop; the task then ends soon and cleanly.
    fn stopped(&self) -> bool {
        false
    }
}

/// How a task ends that was asked to stop: what holds now, and what to do next.
#[derive(Debug, Clone, Copy)]
pub struct StopNotice {
    pub message: &'static str,
    pub next: &'static str,
}

impl StopNotice {
    /// What was done stays done.
    pub const CONTINUES: StopNotice =
        StopNotice { message: "stopped", next: "run it again: it continues where it stopped" };

    /// Nothing that was done counts; `message` says what is as it was.
    pub const fn starts_over(message: &'static str) -> StopNotice {
        StopNotice { message, next: "run it again: it starts from the beginning" }
    }

    /// [`ErrorKind::Interrupted`] once the person asked `monitor` to stop.
    pub fn check(self, monitor: &dyn Monitor) -> Result<()> {
        if monitor.stopped() {
            Err(Error::new(ErrorKind::Interrupted, self.message).hint(self.next))
        } else {
            Ok(())
        }
    }
}

/// Listens to nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct SilentMonitor;

impl Monitor for SilentMonitor {
    fn begin(&self, _: Phase, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, _: u64, _: u64) {}
    fn problem(&self, _: Problem) {}
}

/// Keeps the problems and nothing else.
#[derive(Debug, Default)]
pub struct ProblemCollector(std::sync::Mutex<Vec<Problem>>);

impl ProblemCollector {
    /// The problems so far.
    pub fn problems(&self) -> Vec<Problem> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl Monitor for ProblemCollector {
    fn begin(&self, _: Phase, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, _: u64, _: u64) {}
    fn problem(&self, problem: Problem) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(problem);
    }
}
