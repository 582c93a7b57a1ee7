//! Making what was written survive a power cut.

use std::fs::File;
use std::io;
use std::path::Path;

/// fsync, where the file system has it: network shares may answer that they do not (restic#2395).
pub fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTSUP | libc::ENOTTY | libc::EINVAL)) => Ok(()),
        other => other,
    }
}

/// fsync of a folder: the names in it are durable on return.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).and_then(|file| sync(&file))
}
