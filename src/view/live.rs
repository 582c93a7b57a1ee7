//! A view that stays open while backups go on: what each face (a mount, a server) needs beside the
//! tree.
//!
//! Always holds: a newer catalog is looked for at most once a second, and only by those who ask for
//! a place that shows it; a file that cannot be read is reported once; so is a catalog that cannot
//! be taken over.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::state::lock;
use super::{Ino, View};
use crate::base::{Error, ErrorKind, Result};

/// How long what lies in a snapshot may be believed: it never changes.
const FIXED: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the top, `snapshots/` and `latest` may be believed; also how often a newer catalog is
/// looked for.
const MOVING: Duration = Duration::from_secs(1);

/// How long it may be believed that a name of a snapshot is not there.
const ABSENT: Duration = Duration::from_secs(60);

/// Damaged files that are remembered, so that each is reported once.
const REPORTED: usize = 4096;

/// A [`View`] that follows the repository. Shared by threads.
pub struct LiveView {
    view: Arc<View>,
    started: Instant,
    /// Milliseconds after `started` when somebody last asked for something.
    asked: AtomicU64,
    /// Milliseconds after `started` when a newer catalog was last looked for.
    looked: AtomicU64,
    stuck: AtomicBool,
    reported: Mutex<HashSet<Ino>>,
}

impl LiveView {
    /// Follows the repository of `view` from now on.
    pub fn new(view: Arc<View>) -> LiveView {
        LiveView {
            view,
            started: Instant::now(),
            asked: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
            reported: Mutex::new(HashSet::new()),
        }
    }

    /// The tree, for a question about `ino` that counts as use.
    pub fn visit(&self, ino: Ino) -> &View {
        self.touch();
        self.glance(ino)
    }

    /// The tree, for a question about `ino` that does not count as use.
    pub fn glance(&self, ino: Ino) -> &View {
        if !ino.is_fixed() && self.is_due() {
            self.refresh();
        }
        &self.view
    }

    /// [`View::read`]; a file that cannot be read is reported, once.
    pub fn read<T>(
        &self,
        ino: Ino,
        offset: u64,
        len: usize,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        self.touch();
        self.view.read(ino, offset, len, take).inspect_err(|error| self.report(ino, error))
    }

    /// Somebody uses the view.
    pub fn touch(&self) {
        self.asked.store(self.now(), Ordering::Relaxed);
    }

    /// How long nobody asked for anything.
    pub fn quiet(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.asked.load(Ordering::Relaxed)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// True for one caller a second.
    fn is_due(&self) -> bool {
        let (now, last) = (self.now(), self.looked.load(Ordering::Relaxed));
        now.saturating_sub(last) >= MOVING.as_millis() as u64
            && self.looked.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn refresh(&self) {
        if let Err(error) = self.view.refresh()
            && !self.stuck.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, hint = error.next_step(), "the newer catalog cannot be shown");
        }
    }

    fn report(&self, ino: Ino, error: &Error) {
        let mut reported = lock(&self.reported);
        if error.kind() != ErrorKind::Invalid && reported.len() < REPORTED && reported.insert(ino) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(ino = ino.0, %error, cause, "a file cannot be read");
        }
    }
}

/// How long an entry of `ino`, or the attributes of `ino` itself, may be believed.
pub fn lifetime(ino: Ino) -> Duration {
    if ino.is_fixed() { FIXED } else { MOVING }
}

/// How long it may be believed that a name is not in `folder`; `None` when it may come any time.
pub fn absence(folder: Ino) -> Option<Duration> {
    folder.is_fixed().then_some(ABSENT)
}

#[cfg(test)]
mod tests {
    use super::super::ino::{NodePlace, ROOT, SnapshotNode};
    use super::*;

    #[test]
    fn only_what_lies_in_a_snapshot_is_believed_for_long() {
        let latest = NodePlace::Latest(1).pack().unwrap();
        for moving in [ROOT, NodePlace::Snapshots.pack().unwrap(), latest] {
            assert_eq!((lifetime(moving), absence(moving)), (MOVING, None));
        }
        let files = NodePlace::In(1, SnapshotNode::Files).pack().unwrap();
        assert_eq!((lifetime(files), absence(files)), (FIXED, Some(ABSENT)));
    }
}
