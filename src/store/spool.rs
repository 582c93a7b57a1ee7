//! Where lies what is rewritten while it is made: drafts of archives, of the catalog, lists.
//!
//! That is the folder of drafts in the store itself, so that nothing is copied; and a private
//! folder on this machine's own disk where the store's disk takes bytes from front to back alone,
//! as an rclone mount without a cache for writes does.
//!
//! Limits: only FUSE is tried, since no file system of the kernel is like that.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::base::{Context, Result};

/// The work folder of a store.
#[derive(Debug)]
pub(super) enum WorkFolder {
    /// The store's own folder of drafts.
    Own(PathBuf),
    /// On this machine; removed with all in it when nobody needs it any more.
    Local(TempDir),
}

impl WorkFolder {
    /// The one for a store whose folder of drafts is `drafts`.
    pub fn choose(drafts: &Path) -> Result<WorkFolder> {
        if !is_fuse(drafts) || takes_random_writes(drafts) {
            return Ok(WorkFolder::Own(drafts.to_owned()));
        }
        let place = local_disk();
        let spool = tempfile::Builder::new().prefix("shoebox-").tempdir_in(&place);
        let spool = spool.context(|| format!("making a work folder in {}", place.display()))?;
        tracing::debug!(folder = %spool.path().display(), "the repository's disk takes no random \
            writes");
        Ok(WorkFolder::Local(spool))
    }

    pub fn path(&self) -> &Path {
        match self {
            WorkFolder::Own(path) => path,
            WorkFolder::Local(folder) => folder.path(),
        }
    }

    pub fn is_local(&self) -> bool {
        match self {
            WorkFolder::Own(_) => false,
            WorkFolder::Local(_) => true,
        }
    }
}

fn is_fuse(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|found| found.f_type == libc::FUSE_SUPER_MAGIC)
}

/// Of any other failure whoever writes next is told.
fn takes_random_writes(folder: &Path) -> bool {
    let code = try_random_writes(folder).map_err(|error: io::Error| error.raw_os_error());
    let refused = [
        libc::EIO,
        libc::EPERM,
        libc::EACCES,
        libc::EBADF,
        libc::EINVAL,
        libc::ENOTSUP,
        libc::ESPIPE,
    ];
    !matches!(code, Err(Some(code)) if refused.contains(&code))
}

fn try_random_writes(folder: &Path) -> io::Result<()> {
    // The file is closed before it is removed: else rclone leaves it there.
    let (file, path) = tempfile::Builder::new().prefix("draft-").tempfile_in(folder)?.into_parts();
    let rewritten = rewrite(&file);
    drop(file);
    drop(path);
    rewritten
}

fn rewrite(file: &File) -> io::Result<()> {
    file.write_all_at(&[1; 8192], 0)?;
    file.write_all_at(&[2; 4096], 0)?;
    file.set_len(4096)?;
    file.read_exact_at(&mut [0; 4096], 0)
}

/// Archives and the catalog find more room on a disk than in memory, where `/tmp` often lies (FHS
/// 3.0, 5.15).
fn local_disk() -> PathBuf {
    let large = Path::new("/var/tmp");
    if std::env::var_os("TMPDIR").is_none() && large.is_dir() {
        large.to_owned()
    } else {
        std::env::temp_dir()
    }
}
