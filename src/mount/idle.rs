//! Unmounting by itself when nobody looked into the mount for a while.
//!
//! What counts is what the kernel asks; it answers much from its memory, so a quiet mount may still
//! be in use. Whether somebody has a file open or works in a folder is known to the kernel alone
//! (opens are not even told), and it refuses to unmount then.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::Unmounter;
use crate::base::ErrorKind;
use crate::view::live::LiveView;

/// Unmounts once nothing was asked for as long as `idle` and nobody uses the mount; ends when
/// `ended` does.
pub(super) fn watch(live: &LiveView, idle: Duration, unmounter: &Unmounter, ended: &Receiver<()>) {
    let mut wait = idle;
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(wait) {
        wait = idle.saturating_sub(live.quiet());
        if !wait.is_zero() {
            continue;
        }
        match unmounter.unmount() {
            Ok(()) => return,
            // Somebody is in it: as good as a question.
            Err(error) if error.kind() == ErrorKind::Locked => live.touch(),
            Err(error) => {
                tracing::warn!(%error, "the mount is idle and cannot be unmounted");
                live.touch();
            }
        }
        wait = idle;
    }
}
