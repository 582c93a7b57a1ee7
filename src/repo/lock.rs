//! The writer's lock: one process at a time changes a repository; readers never ask.
//!
//! It is a `flock`, so a holder that died holds nothing. The file says who holds it, for the message to the next one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::base::{Context, Error, Kind, Result};

/// Holds the lock until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Who holds a lock.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    host: String,
    pid: u32,
    since: Timestamp,
    doing: String,
}

impl Lock {
    /// Takes the lock at `path` for `doing`. `Locked` when another process has it, with who, what and since when.
    pub fn take(path: &Path, doing: &str) -> Result<Lock> {
        let locking = || format!("locking {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .context(locking)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(held(&mut file)),
            Err(errno) => return Err(Error::io(locking(), errno.into())),
        }
        let holder = Holder { host: host(), pid: std::process::id(), since: Timestamp::now(), doing: doing.to_owned() };
        let text = serde_json::to_string(&holder).unwrap_or_default();
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{text}")).context(locking)?;
        Ok(Lock { _file: file })
    }
}

fn held(file: &mut File) -> Error {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let who = match serde_json::from_str::<Holder>(&text) {
        Ok(Holder { host, pid, since, doing }) => {
            format!("`{doing}` on {host} (process {pid}) since {}", since.strftime("%Y-%m-%d %H:%M:%S UTC"))
        }
        Err(_) => "another process".to_owned(),
    };
    Error::new(Kind::Locked, format_args!("the repository is in use by {who}"))
        .hint("wait until it is done; if that process is gone, its lock is gone too and you can simply run this again")
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
        let lock = Lock::take(&path, "backup").unwrap();
        let error = Lock::take(&path, "prune").unwrap_err();
        assert_eq!(error.kind(), Kind::Locked);
        assert!(error.to_string().contains(&format!("`backup` on {} (process {})", host(), std::process::id())));
        drop(lock);
        Lock::take(&path, "prune").unwrap();
    }
}
