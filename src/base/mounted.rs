//! What is mounted where, and how a person unmounts it.
//!
//! Asks nobody but the kernel: a mount that is dead or hangs is listed as any other.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::{Context, Result};

/// How the source of a mount of ours begins.
const OURS: &str = "shoebox:";

/// A line of the table of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountLine {
    pub point: PathBuf,
    /// The type of the file system, such as `fuse.shoebox`.
    pub kind: String,
    pub source: String,
    /// Those of the file system.
    pub options: String,
}

impl MountLine {
    /// True of a mount that shoebox made. One out of /etc/fstab has the repository as its source
    /// (mount(8)).
    pub fn is_ours(&self) -> bool {
        let is_repository =
            || self.kind == "fuse" && Path::new(&self.source).join("shoebox.json").is_file();
        self.source.starts_with(OURS) || self.kind == "fuse.shoebox" || is_repository()
    }

    /// True when its process is gone: all in it says "Transport endpoint is not connected".
    pub fn is_stale(&self) -> bool {
        fs::metadata(&self.point).is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
    }

    /// fuse(8): what a user mounted has their id among its options, and fusermount3 takes no other
    /// away.
    fn owner(&self) -> Option<u32> {
        self.options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok())
    }
}

/// What is mounted at `point`, the one on top; `None` when nothing is.
pub fn at(point: &Path) -> Result<Option<MountLine>> {
    Ok(all()?.into_iter().rfind(|line| line.point == point))
}

/// All that is mounted. Source: proc_pid_mountinfo(5).
pub fn all() -> Result<Vec<MountLine>> {
    let table = fs::read("/proc/self/mountinfo").context(|| "reading the table of mounts")?;
    Ok(table.split(|&byte| byte == b'\n').filter_map(line).collect())
}

/// The command by which the reader unmounts `point`, as a shell takes it; `lazily` also where it is
/// in use or its process is gone.
pub fn how_to_unmount(point: &Path, lazily: bool) -> String {
    let owner = at(point).ok().flatten().and_then(|line| line.owner());
    let is_mine = owner.is_none_or(|owner| owner == geteuid().as_raw());
    // Who used sudo is no root at the next prompt.
    let is_root = geteuid().is_root() && std::env::var_os("SUDO_UID").is_none();
    let program = match (is_root, is_mine && !geteuid().is_root(), lazily) {
        (true, _, false) => "umount",
        (true, _, true) => "umount -l",
        (false, true, false) => "fusermount3 -u",
        (false, true, true) => "fusermount3 -u -z",
        (false, false, false) => "sudo umount",
        (false, false, true) => "sudo umount -l",
    };
    let name = point.to_string_lossy();
    format!("{program} {}", shlex::try_quote(&name).unwrap_or_else(|_| name.clone()))
}

/// `ID PARENT DEVICE ROOT POINT OPTIONS [TAGS…] - TYPE SOURCE OPTIONS`.
fn line(line: &[u8]) -> Option<MountLine> {
    let mut fields = line.split(|&byte| byte == b' ');
    let point = std::ffi::OsString::from_vec(unescape(fields.nth(4)?)).into();
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let mut text = || Some(String::from_utf8_lossy(&unescape(fields.next()?)).into_owned());
    Some(MountLine { point, kind: text()?, source: text()?, options: text().unwrap_or_default() })
}

/// A field of the table of mounts: `\\040` is a space.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let code = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_mounts_is_read_with_its_spaces() {
        assert_eq!(unescape(br"/mnt/Ann\040Lee\134x\"), br"/mnt/Ann Lee\x\");
        let text = br"38 28 0:33 / /mnt/my\040photos ro,nosuid shared:1 - fuse.shoebox shoebox:a\040b ro,user_id=7";
        let found = line(text).unwrap();
        assert_eq!((found.point.to_str(), &*found.source), (Some("/mnt/my photos"), "shoebox:a b"));
        assert!(found.is_ours() && found.owner() == Some(7));
        assert_eq!(at(Path::new("/proc")).unwrap().unwrap().kind, "proc");
        assert_eq!(at(Path::new("/proc/self/nothing")).unwrap(), None);
    }
}
