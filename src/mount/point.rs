//! The mount point: looked at before mounting, explained when mounting fails, given back
//! afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount as unmount2};
use rustix::process::geteuid;

use crate::base::mounted::{self, how_to_unmount};
use crate::base::{Context, Error, ErrorKind, Result};

/// KiB that the kernel reads ahead, where we may say so.
const READ_AHEAD: &str = "2048";

/// The mount point's real path, when a repository can be mounted there.
pub(super) fn check(point: &Path, repository: Option<&Path>) -> Result<PathBuf> {
    is_empty_folder(point)?;
    let real = point.canonicalize().context(|| format!("looking at {}", point.display()))?;
    if is_mount(&real)? {
        return Err(occupied(&real, "is mounted there already", false));
    }
    if let Some(repository) = repository.and_then(|path| path.canonicalize().ok())
        && real.starts_with(&repository)
    {
        return Err(Error::invalid(format_args!("{} is inside the repository", point.display()))
            .hint("mount somewhere else, such as ~/photos"));
    }
    has_fuse()?;
    Ok(real)
}

fn is_empty_folder(point: &Path) -> Result<()> {
    let name = point.display();
    let entries = match fs::read_dir(point) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
            let point = std::path::absolute(point).unwrap_or_else(|_| point.to_owned());
            return Err(occupied(&point, "is left over there from a mount that ended badly", true));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::not_found(format_args!("mount point {name}"))
                .hint(format_args!("`mkdir -p {name}` makes it")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::invalid(format_args!("{name} is not a folder"))
                .hint("give an empty folder to mount at"));
        }
        Err(error) => return Err(Error::io(format_args!("looking into {name}"), error)),
    };
    let occupied = entries && !is_mount(point)?;
    if occupied {
        Err(Error::new(ErrorKind::Exists, format_args!("{name} is not empty"))
            .hint("give an empty folder to mount at"))
    } else {
        Ok(())
    }
}

/// Something is mounted at `point`, which is its real path. Only of what is ours it is said how to
/// unmount it: anything else may be the disk that the backup is on.
fn occupied(point: &Path, how: &str, lazily: bool) -> Error {
    let line = mounted::at(point).ok().flatten();
    let source = line.as_ref().map_or("something", |line| &line.source);
    let error = Error::new(ErrorKind::Exists, format_args!("{}: {source} {how}", point.display()));
    if line.is_some_and(|line| line.is_ours()) {
        error.hint(format_args!("`{}` unmounts it", how_to_unmount(point, lazily)))
    } else {
        error.hint("give an empty folder to mount at, such as /mnt/photos")
    }
}

/// What is mounted at `point`, as the table of mounts calls it; `None` when nothing is. Asks nobody
/// but the kernel.
pub fn source(point: &Path) -> Result<Option<String>> {
    Ok(mounted::at(point)?.map(|line| line.source))
}

/// True when what is mounted at `point` can be listed: it is not left over from a process that
/// died.
pub fn answers(point: &Path) -> bool {
    fs::read_dir(point).is_ok()
}

/// Takes away what is mounted at `point`.
pub fn free(point: &Path) -> Result<()> {
    unmount(point, true)
}

fn is_mount(point: &Path) -> Result<bool> {
    let found = statx(CWD, point, AtFlags::empty(), StatxFlags::BASIC_STATS);
    let found = found.context(|| format!("looking at {}", point.display()))?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn has_fuse() -> Result<()> {
    if !Path::new("/dev/fuse").exists() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "this system has no FUSE: /dev/fuse is missing",
        )
        .hint(
            "install the package fuse3 and run `modprobe fuse`; in a container add `--device \
                /dev/fuse --cap-add SYS_ADMIN`",
        ));
    }
    if !geteuid().is_root() && !has_fusermount() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "mounting as a user needs the program fusermount3",
        )
        .hint("install the package fuse3 (Debian, Ubuntu, Fedora, Arch: fuse3)"));
    }
    Ok(())
}

fn has_fusermount() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/bin".into(), "/usr/bin".into(), "/sbin".into()]);
    folders
        .flat_map(|folder| [folder.join("fusermount3"), folder.join("fusermount")])
        .any(|program| program.exists())
}

/// Why mounting at `point` failed.
pub(super) fn failed(point: &Path, error: io::Error) -> Error {
    let said = error.to_string();
    if said.contains("user_allow_other") {
        return Error::new(ErrorKind::Permission, "only root may let other users into a mount").hint(
            "put the line `user_allow_other` into /etc/fuse.conf, or mount without --allow-other",
        );
    }
    let refused = matches!(error.kind(), io::ErrorKind::PermissionDenied)
        || said.contains("ermission denied");
    let failed = format!("mounting at {}", point.display());
    if refused {
        Error::new(
            ErrorKind::Permission,
            format_args!(
                "{failed} is not permitted"
            ),
        )
        .caused_by(error)
        .hint(
            "the mount point must be yours and /dev/fuse readable; in a container add `--cap-add \
            SYS_ADMIN --device /dev/fuse`",
        )
    } else {
        Error::new(ErrorKind::Io, format_args!("{failed} failed")).caused_by(error)
    }
}

/// Unmounts `point`; `lazily` also where it is in use.
pub(super) fn unmount(point: &Path, lazily: bool) -> Result<()> {
    let flags = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match unmount2(point, flags) {
        // EINVAL: nothing is mounted there (any more).
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(Errno::BUSY) => Err(busy(point)),
        Err(Errno::PERM) => fusermount(point, lazily),
        Err(error) => Err(Error::io(format_args!("unmounting {}", point.display()), error.into())),
    }
}

fn fusermount(point: &Path, lazily: bool) -> Result<()> {
    let mut command = Command::new("fusermount3");
    command.arg("-u").args(lazily.then_some("-z")).arg("--").arg(point);
    let output = command.output().context(|| "running fusermount3")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let is_done = output.status.success()
        || ["not found in /etc/mtab", "not mounted"].iter().any(|it| said.contains(it));
    if is_done {
        Ok(())
    } else if said.contains("busy") {
        Err(busy(point))
    } else {
        Err(Error::new(ErrorKind::Program, format_args!("fusermount3: {}", said.trim())))
    }
}

fn busy(point: &Path) -> Error {
    Error::new(ErrorKind::Locked, format_args!("{} is in use", point.display()))
        .hint("close the windows and programs that look into it, then unmount again")
}

/// Lets the kernel read further ahead than the 128 KiB that FUSE gets, where we may (as root).
/// Worth a few hundred MB/s on videos, so failing is fine.
pub(super) fn raise_read_ahead(point: &Path) {
    // What the kernel knows without asking the mount, which is our own.
    let Ok(found) = statx(CWD, point, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS) else {
        return;
    };
    let path =
        format!("/sys/class/bdi/{}:{}/read_ahead_kb", found.stx_dev_major, found.stx_dev_minor);
    if let Err(error) = fs::write(&path, READ_AHEAD) {
        tracing::debug!(%path, %error, "read-ahead stays as it is");
    }
}
