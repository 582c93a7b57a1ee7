//! The writer's lock: one process at a time changes a repository; readers never ask.
//!
//! It is a `flock`, so a holder that died holds nothing. The file says who holds it, for the
//! message to the next one. A symlink in its place is not followed: what it points to is not ours
//! to write.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::base::{Context, Error, ErrorKind, Monitor, Result};

/// How often a waiting writer asks again.
const PAUSE: Duration = Duration::from_millis(200);

/// Holds the lock until dropped.
#[derive(Debug)]
pub struct RepositoryLock {
    file: File,
}

impl Drop for RepositoryLock {
    /// Closing is not enough: a program that is being started at this moment still has the file
    /// open, and would keep the lock.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Who holds a lock.
#[derive(Debug, Serialize, Deserialize)]
struct LockHolder {
    host: String,
    pid: u32,
    since: Timestamp,
    doing: String,
}

impl RepositoryLock {
    /// Takes the lock at `path` for `doing`. `Locked` when another process has it, with who, what
    /// and since when.
    pub fn take(path: &Path, doing: &str) -> Result<RepositoryLock> {
        let mut file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(held(&mut file)),
            Err(errno) => return Err(Error::io(locking(path), errno.into())),
        }
        // Only words for the next one: a full disk must not keep a prune from making room.
        if let Err(error) = sign(&mut file, doing) {
            tracing::debug!(%error, "the lock does not say who holds it");
        }
        Ok(RepositoryLock { file })
    }

    /// True when somebody holds the lock at `path`. Makes nothing there.
    pub fn is_held(path: &Path) -> bool {
        let Ok(file) = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
        else {
            return false;
        };
        let held = flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
        let _ = flock(&file, FlockOperation::Unlock);
        held
    }

    /// Since when somebody holds the lock at `path`. Makes nothing there.
    pub fn held_since(path: &Path) -> Option<Timestamp> {
        if !RepositoryLock::is_held(path) {
            return None;
        }
        let holder: LockHolder = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
        Some(holder.since)
    }

    /// Takes the lock, and waits up to `patience` while another process has it.
    pub fn wait(
        path: &Path,
        doing: &str,
        patience: Duration,
        monitor: &dyn Monitor,
    ) -> Result<RepositoryLock> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            match RepositoryLock::take(path, doing) {
                Err(error) if error.kind() == ErrorKind::Locked && begun.elapsed() < patience => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("{error}; waiting for it");
                    }
                    if monitor.stopped() {
                        return Err(Error::new(
                            ErrorKind::Interrupted,
                            "stopped while waiting for the repository",
                        ));
                    }
                    std::thread::sleep(PAUSE.min(patience.saturating_sub(begun.elapsed())));
                }
                done => return done,
            }
        }
    }
}

fn locking(path: &Path) -> String {
    format!("locking {}", path.display())
}

/// The file at `path`, which is made if there is none.
fn open(path: &Path) -> Result<File> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(no_file(path)),
        opened => opened.context(|| locking(path))?,
    };
    if file.metadata().context(|| locking(path))?.is_file() { Ok(file) } else { Err(no_file(path)) }
}

fn no_file(path: &Path) -> Error {
    Error::new(ErrorKind::Refused, format_args!("{} is not a plain file", path.display()))
        .hint("inspect it and remove it")
}

/// Writes down who holds the lock.
fn sign(file: &mut File, doing: &str) -> std::io::Result<()> {
    let holder = LockHolder {
        host: host(),
        pid: std::process::id(),
        since: Timestamp::now(),
        doing: doing.to_owned(),
    };
    let text = serde_json::to_string(&holder)?;
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{text}")
}

fn held(file: &mut File) -> Error {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let who = match serde_json::from_str::<LockHolder>(&text) {
        Ok(LockHolder { host, pid, since, doing }) => {
            format!(
                "`{doing}` on {host} (process {pid}) since {}",
                since.strftime("%Y-%m-%d %H:%M:%S UTC")
            )
        }
        Err(_) => "another process".to_owned(),
    };
    Error::new(ErrorKind::Locked, format_args!("the repository is in use by {who}")).hint(
        "wait until it is done, or let --retry-lock 2h wait for you; if that process is gone, its \
            lock is gone too",
    )
}

/// The name of this machine.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_learns_who_holds_it_and_a_dropped_lock_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = RepositoryLock::take(&path, "backup").unwrap();
        let error = RepositoryLock::take(&path, "prune").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains(&format!(
            "`backup` on {} (process {})",
            host(),
            std::process::id()
        )));
        drop(lock);
        RepositoryLock::take(&path, "prune").unwrap();
    }

    #[test]
    fn a_dropped_lock_is_free_though_a_program_that_is_being_started_still_has_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = RepositoryLock::take(&path, "backup").unwrap();
        let started = lock.file.try_clone().unwrap();
        drop(lock);
        RepositoryLock::take(&path, "prune").unwrap();
        drop(started);
    }

    #[test]
    fn a_symlink_or_a_pipe_in_place_of_the_lock_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, precious) = (dir.path().join("lock"), dir.path().join("precious"));
        std::fs::write(&precious, "words").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        assert_eq!(RepositoryLock::take(&path, "backup").unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(std::fs::read(&precious).unwrap(), b"words");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &path).unwrap();
        assert_eq!(RepositoryLock::take(&path, "backup").unwrap_err().kind(), ErrorKind::Refused);
        assert!(!dir.path().join("nowhere").exists());
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &path,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .unwrap();
        assert_eq!(RepositoryLock::take(&path, "backup").unwrap_err().kind(), ErrorKind::Refused);
    }

    #[test]
    fn a_patient_taker_gets_it_when_it_is_free_and_an_impatient_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = RepositoryLock::take(&path, "backup").unwrap();
        let short = RepositoryLock::wait(
            &path,
            "prune",
            Duration::from_millis(300),
            &crate::base::monitor::SilentMonitor,
        );
        assert_eq!(short.unwrap_err().kind(), ErrorKind::Locked);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                RepositoryLock::wait(
                    &path,
                    "prune",
                    Duration::from_secs(60),
                    &crate::base::monitor::SilentMonitor,
                )
            });
            drop(lock);
            waiting.join().unwrap().unwrap();
        });
    }
}
