//! What systemd is told: ready, what is being done, still alive, stopping. Elsewhere nobody is told
//! anything.
//!
//! Source: sd_notify(3), sd_watchdog_enabled(3).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Work that shows no progress for so long hangs: the watchdog is told no more, and systemd starts
/// the service again. A server that builds the indexes of a large library in a drill shows none for
/// an hour.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// Tells `state`.
pub(super) fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "telling systemd");
    }
}

/// Tells what is being done.
pub(super) fn status(text: &str) {
    tell(NotifyState::Status(text));
}

/// When there was progress last.
#[derive(Debug, Clone)]
pub(super) struct WatchdogPulse {
    start: Instant,
    /// Milliseconds since `start`.
    last: Arc<AtomicU64>,
}

impl WatchdogPulse {
    /// A pulse; the watchdog, if there is one, hears it from now on.
    pub fn start() -> WatchdogPulse {
        let pulse = WatchdogPulse { start: Instant::now(), last: Arc::default() };
        if let Some(limit) = sd_notify::watchdog_enabled() {
            let heard = pulse.clone();
            let keep = move || loop {
                if heard.age() < PATIENCE {
                    tell(NotifyState::Watchdog);
                }
                std::thread::sleep(limit / 3);
            };
            drop(std::thread::Builder::new().name("watchdog".to_owned()).spawn(keep));
        }
        pulse
    }

    /// There is progress.
    pub fn beat(&self) {
        self.last.store(
            self.start.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    fn age(&self) -> Duration {
        self.start
            .elapsed()
            .saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}
