//! Unmounting by itself when nobody looked into the mount for a while.
//!
//! What counts is what the kernel asks; it answers much from its memory, so a quiet mount may still
//! be in use. Whether somebody has a file open or works in a folder is known to the kernel alone
//! (opens are not even told), and it refuses to unmount then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Unmounter;
use crate::base::ErrorKind;

/// When the mount was last asked for something.
#[derive(Debug, Clone)]
pub(super) struct IdleClock {
    started: Instant,
    /// Milliseconds after `started`.
    asked: Arc<AtomicU64>,
}

impl IdleClock {
    pub fn start() -> IdleClock {
        IdleClock { started: Instant::now(), asked: Arc::new(AtomicU64::new(0)) }
    }

    /// Milliseconds since it was started.
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Somebody asks.
    pub fn touch(&self) {
        self.asked.store(self.now(), Ordering::Relaxed);
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.asked.load(Ordering::Relaxed)))
    }
}

/// Unmounts once nothing was asked for as long as `idle` and nobody uses the mount; ends when
/// `ended` does.
pub(super) fn watch(
    clock: &IdleClock,
    idle: Duration,
    unmounter: &Unmounter,
    ended: &Receiver<()>,
) {
    let mut wait = idle;
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(wait) {
        wait = idle.saturating_sub(clock.quiet());
        if !wait.is_zero() {
            continue;
        }
        match unmounter.unmount() {
            Ok(()) => return,
            // Somebody is in it: as good as a question.
            Err(error) if error.kind() == ErrorKind::Locked => clock.touch(),
            Err(error) => {
                tracing::warn!(%error, "the mount is idle and cannot be unmounted");
                clock.touch();
            }
        }
        wait = idle;
    }
}
