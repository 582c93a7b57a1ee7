//! Progress on a terminal: files, bytes, rate; plain lines elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{Output, aside, count};
use crate::base::{Monitor, Phase, Problem, Result};

/// Shows how a task goes, and keeps its problems.
pub(super) struct Progress {
    visible: bool,
    plain: bool,
    stop: Arc<AtomicBool>,
    bar: Mutex<ProgressBar>,
    files: std::sync::atomic::AtomicU64,
    /// The title that was printed last.
    told: Mutex<&'static str>,
    problems: Mutex<Vec<Problem>>,
}

impl Progress {
    /// Shows progress where `output` wants it; Ctrl-C asks the task to stop.
    pub fn new(output: &Output) -> Result<Self> {
        let visible = output.shows_progress();
        Ok(Progress {
            visible,
            plain: !visible && !output.is_quiet() && !output.is_json(),
            stop: super::signal::stop_flag()?,
            bar: Mutex::new(ProgressBar::hidden()),
            files: 0.into(),
            told: Mutex::default(),
            problems: Mutex::default(),
        })
    }

    /// Ends the display; the problems of the task.
    pub fn finish(self) -> Vec<Problem> {
        lock(&self.bar).finish_and_clear();
        std::mem::take(&mut lock(&self.problems))
    }
}

impl Monitor for Progress {
    fn begin(&self, phase: Phase, files: Option<u64>, bytes: Option<u64>) {
        self.files.store(0, Ordering::Relaxed);
        // A phase may begin again, with another amount to do.
        if self.plain && std::mem::replace(&mut *lock(&self.told), phase.title()) != phase.title() {
            aside(phase.title());
        }
        if self.visible {
            let bar = ProgressBar::new(bytes.or(files).unwrap_or(0))
                .with_style(style(bytes.or(files).is_some()));
            bar.set_prefix(phase.title());
            bar.enable_steady_tick(Duration::from_millis(200));
            std::mem::replace(&mut *lock(&self.bar), bar).finish_and_clear();
        }
    }

    fn advance(&self, files: u64, bytes: u64) {
        if self.visible {
            let all = self.files.fetch_add(files, Ordering::Relaxed) + files;
            let bar = lock(&self.bar);
            bar.inc(bytes);
            if files > 0 {
                bar.set_message(format!("{} files", count(all)));
            }
        }
    }

    fn problem(&self, problem: Problem) {
        lock(&self.problems).push(problem);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn style(known: bool) -> ProgressStyle {
    let template = if known {
        "{prefix} {wide_bar} {bytes}/{total_bytes} {msg} {bytes_per_sec} {eta} left"
    } else {
        "{spinner} {prefix}  {bytes} {msg} {bytes_per_sec} {elapsed}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
