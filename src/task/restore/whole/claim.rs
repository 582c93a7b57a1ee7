//! The claim on a folder that is restored into: whether it may be used, and the file that says so
//! until all is there.
//!
//! Always holds: nothing is mixed into a folder that held something else, unless that was accepted;
//! of two restores into one folder the second is refused; one that was interrupted is known by its
//! claim, and goes on.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{FOLDERS, MARKER};
use crate::base::durable::{sync, sync_folder};
use crate::base::{Context, Error, ErrorKind, Result, SnapshotId};

/// The file that lies in the folder while it is restored into.
pub(super) const NAME: &str = ".shoebox-restore";
/// A claim is not longer.
const LONGEST: u64 = 4096;

/// What is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClaimTicket {
    pub repository: Uuid,
    pub snapshot: SnapshotId,
    /// Folders of external libraries that belong to it.
    pub external: Vec<String>,
}

impl ClaimTicket {
    fn is_same(&self, other: &ClaimTicket) -> bool {
        (self.repository, self.snapshot) == (other.repository, other.snapshot)
    }
}

/// What a folder is to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimState {
    /// Nothing is in it, or it is not there.
    Empty,
    /// The same restore was here before, and has not ended.
    Begun,
    /// Something is in it, and that was accepted.
    Mixed,
}

/// A folder that is restored into, until this is dropped.
#[derive(Debug)]
pub(super) struct FolderClaim {
    folder: PathBuf,
    file: File,
}

/// The claim that lies in `folder`. `Refused` when it is that of another restore, and that is not
/// accepted.
pub(super) fn begun(
    folder: &Path,
    ticket: &ClaimTicket,
    accept: bool,
) -> Result<Option<ClaimTicket>> {
    let found = match fs::symlink_metadata(folder.join(NAME)) {
        Ok(_) => read(&open(folder, OFlags::RDONLY)?),
        Err(_) => None,
    };
    match found {
        Some(found) if !found.is_same(ticket) && !accept => Err(other(folder, &found)),
        found => Ok(found.filter(|found| found.is_same(ticket))),
    }
}

/// What `folder`, in which no restore has begun, is to one. `Refused` when something is in it, and
/// that is not accepted; `own` is the library's UPLOAD_LOCATION.
pub(super) fn judge(folder: &Path, accept: bool, own: Option<&Path>) -> Result<ClaimState> {
    match (is_empty(folder)?, accept) {
        (true, _) => Ok(ClaimState::Empty),
        (false, true) => Ok(ClaimState::Mixed),
        (false, false) if own.is_some_and(|own| real(folder) == own) => Err(living(folder)),
        (false, false) => Err(Error::new(
            ErrorKind::Refused,
            format_args!("{} is not empty", folder.display()),
        )
        .hint(
            "give a new folder; --accept-non-empty adds to what is there, and replaces nothing \
                without --overwrite",
        )),
    }
}

impl FolderClaim {
    /// Takes `folder`, which is made. `Locked` when a restore is at work in it.
    pub fn take(folder: &Path, ticket: &ClaimTicket) -> Result<FolderClaim> {
        let claiming = || format!("writing in {}", folder.display());
        fs::create_dir_all(folder).context(|| format!("making the folder {}", folder.display()))?;
        let mut file = open(folder, OFlags::RDWR | OFlags::CREATE)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(busy(folder)),
            // A file system without locks.
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK | Errno::INVAL) => {}
            Err(error) => return Err(error).context(claiming),
        }
        let text = serde_json::to_vec(ticket)
            .map_err(|error| Error::new(ErrorKind::Io, claiming()).caused_by(error))?;
        // At no moment is there no claim: who is killed here must find it again. It is there before
        // the first file is.
        let written = file.write_all(&text).and_then(|()| file.set_len(text.len() as u64));
        written.and_then(|()| sync(&file)).and_then(|()| sync_folder(folder)).context(claiming)?;
        Ok(FolderClaim { folder: folder.to_owned(), file })
    }

    /// All is there: takes the claim's file away.
    pub fn finish(self) -> Result<()> {
        let finishing = || format!("writing in {}", self.folder.display());
        fs::remove_file(self.folder.join(NAME)).context(finishing)?;
        sync_folder(&self.folder).context(finishing)
    }
}

impl Drop for FolderClaim {
    /// Closing is not enough: a program that is being started at this moment still has the file
    /// open, and would keep the lock.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn open(folder: &Path, flags: OFlags) -> Result<File> {
    let path = folder.join(NAME);
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600));
    Ok(file.context(|| format!("opening {}", path.display()))?.into())
}

fn read(file: &File) -> Option<ClaimTicket> {
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    // The end of a longer one may follow.
    serde_json::Deserializer::from_slice(&text).into_iter().next()?.ok()
}

/// True when nothing of a person's is in `folder`: what a file system makes itself does not count,
/// nor do the folders and markers that a server makes at its first start.
fn is_empty(folder: &Path) -> Result<bool> {
    let listing = || format!("reading {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        entries => entries.context(listing)?,
    };
    for entry in entries {
        let entry = entry.context(listing)?;
        let name = entry.file_name();
        let is_folder = entry.file_type().context(listing)?.is_dir();
        let counts = match (name.to_str(), is_folder) {
            (Some("lost+found"), true) | (Some(NAME), false) => false,
            (Some(name), true) if FOLDERS.contains(&name) => !holds_marker_only(&entry.path())?,
            _ => true,
        };
        if counts {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds_marker_only(folder: &Path) -> Result<bool> {
    let listing = || format!("reading {}", folder.display());
    for entry in fs::read_dir(folder).context(listing)? {
        if entry.context(listing)?.file_name() != MARKER {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A path as text: to be told, and to be known again.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `path` with its symlinks resolved, as far as it is there.
pub(super) fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // A name that is not there yet has no `..` to go up from.
    let found = absolute.ancestors().find_map(|folder| {
        let rest = absolute.strip_prefix(folder).ok()?;
        Some(fs::canonicalize(folder).ok()?.join(OsStr::from_bytes(rest.as_os_str().as_bytes())))
    });
    found.unwrap_or(absolute)
}

fn other(folder: &Path, found: &ClaimTicket) -> Error {
    let snapshot = found.snapshot;
    Error::new(
        ErrorKind::Refused,
        format_args!("{} holds an unfinished restore of snapshot {snapshot}", folder.display()),
    )
    .hint(format_args!("finish it with --snapshot {snapshot}, or give a new folder"))
}

fn living(folder: &Path) -> Error {
    let message =
        format_args!("{} is the library's own UPLOAD_LOCATION, and not empty", folder.display())
            .to_string();
    Error::new(ErrorKind::Refused, message).hint(
        "give a new folder; --accept-non-empty adds what is missing there, and replaces nothing \
            without --overwrite",
    )
}

fn busy(folder: &Path) -> Error {
    Error::new(
        ErrorKind::Locked,
        format_args!("another restore is at work in {}", folder.display()),
    )
    .hint("wait until it is done; if it is gone, simply run this again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(day: u32) -> ClaimTicket {
        let snapshot = format!("2026-11-{day:02}T030005Z").parse().unwrap();
        ClaimTicket { repository: Uuid::from_u128(7), snapshot, external: Vec::new() }
    }

    #[test]
    fn a_folder_is_empty_with_what_a_new_server_makes_and_not_with_one_photo() {
        let dir = tempfile::tempdir().unwrap();
        let judged = || judge(dir.path(), false, None).map_err(|error| error.kind());
        assert_eq!(judge(&dir.path().join("not there"), false, None).unwrap(), ClaimState::Empty);
        fs::create_dir_all(dir.path().join("upload")).unwrap();
        fs::write(dir.path().join("upload/.immich"), "1700000000000").unwrap();
        fs::create_dir_all(dir.path().join("lost+found")).unwrap();
        assert_eq!(judged(), Ok(ClaimState::Empty));
        fs::write(dir.path().join("upload/photo.jpg"), "x").unwrap();
        assert_eq!(judged(), Err(ErrorKind::Refused));
        let living = judge(dir.path(), false, Some(&real(dir.path()))).unwrap_err();
        assert!(living.to_string().contains("own UPLOAD_LOCATION"), "{living}");
        assert_eq!(judge(dir.path(), true, None).unwrap(), ClaimState::Mixed);
    }

    #[test]
    fn an_interrupted_restore_is_known_by_its_claim_and_another_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let claim = FolderClaim::take(dir.path(), &ticket(1)).unwrap();
        assert_eq!(
            FolderClaim::take(dir.path(), &ticket(1)).unwrap_err().kind(),
            ErrorKind::Locked
        );
        drop(claim);
        assert_eq!(begun(dir.path(), &ticket(1), false).unwrap(), Some(ticket(1)));
        let refused = begun(dir.path(), &ticket(2), false).unwrap_err();
        assert!(
            refused.next_step().unwrap().contains("--snapshot 2026-11-01T030005Z"),
            "{refused:?}"
        );
        assert_eq!(begun(dir.path(), &ticket(2), true).unwrap(), None);
        FolderClaim::take(dir.path(), &ticket(1)).unwrap().finish().unwrap();
        assert_eq!(begun(dir.path(), &ticket(1), false).unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_claim_that_was_cut_short_while_it_was_written_again_still_counts() {
        let dir = tempfile::tempdir().unwrap();
        let long = ClaimTicket { external: vec!["/mnt/external/family".to_owned()], ..ticket(1) };
        drop(FolderClaim::take(dir.path(), &long).unwrap());
        fs::write(dir.path().join("photo.jpg"), "x").unwrap();
        let whole = fs::read(dir.path().join(NAME)).unwrap();
        let short = serde_json::to_vec(&ticket(1)).unwrap();
        // The new one is written, and what follows of the old one not yet cut off.
        fs::write(dir.path().join(NAME), [&short[..], &whole[short.len()..]].concat()).unwrap();
        assert_eq!(begun(dir.path(), &ticket(1), false).unwrap(), Some(ticket(1)));
        drop(FolderClaim::take(dir.path(), &ticket(1)).unwrap());
        assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), short);
    }

    #[test]
    fn a_claim_is_not_written_through_a_symlink() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path().join("x"), dir.path().join(NAME)).unwrap();
        assert!(FolderClaim::take(dir.path(), &ticket(1)).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
