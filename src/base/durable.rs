//! Making what was written survive a power cut, and giving it a name that nothing else has.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// fsync, where the file system has it: network shares may answer that they do not (restic#2395).
pub fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOTSUP | libc::ENOTTY | libc::EINVAL)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// fsync of a folder: the names in it are durable on return.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).and_then(|file| sync(&file))
}

/// Copies the file at `from` front to back into `to`, which is new: durable on return.
pub fn copy_over(from: &Path, mut to: &File) -> io::Result<()> {
    io::copy(&mut File::open(from)?, &mut to)?;
    sync(to)
}

/// Gives the file `draft` the name `target`, which must be free. Disks that know neither a rename
/// that replaces nothing nor hard links (exFAT, rclone, some NAS) have it looked up first: the one
/// writer holds the lock, and no two writers mean one name.
pub fn give_name(draft: &Path, target: &Path) -> io::Result<()> {
    let refused = match renameat_with(CWD, draft, CWD, target, RenameFlags::NOREPLACE) {
        // They say in many ways that they do not know it. Of a disk that fails in truth the plain
        // rename tells.
        Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY) => None,
        Err(error @ (Errno::PERM | Errno::IO)) => Some(error),
        done => return Ok(done?),
    };
    match (fs::symlink_metadata(draft), refused) {
        // It was done, and failed in the answer.
        (Err(_), Some(error)) => return Err(error.into()),
        (Err(error), None) => return Err(error),
        (Ok(_), _) => {}
    }
    match fs::hard_link(draft, target) {
        // A second name in `tmp/` is cleared away by the next writer.
        Ok(()) => return fs::remove_file(draft).or(Ok(())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // EPERM, EOPNOTSUPP, EMLINK, and EIO (NFS, rclone).
        Err(_) => {}
    }
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(draft, target),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
    }
}
