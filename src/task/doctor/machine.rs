//! This machine: FUSE, mounts that died, the clock.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::{Finding, Setup};
use crate::repo::Repository;

/// Two clocks that differ by more are not both right.
const SKEW: SignedDuration = SignedDuration::from_mins(2);

pub(super) fn fuse() -> Finding {
    let fix = "apt install fuse3 && modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN. Backup and restore do without";
    if !Path::new("/dev/fuse").exists() {
        return Finding::note("snapshots cannot be mounted here: /dev/fuse is missing", fix);
    }
    let has_program = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join("fusermount3").is_file());
    match has_program || rustix::process::geteuid().is_root() {
        true => Finding::good("snapshots can be mounted: FUSE is there"),
        false => Finding::note("snapshots cannot be mounted by this user: fusermount3 is missing", fix),
    }
}

/// Mounts of ours whose process is gone: everything in them says "Transport endpoint is not connected".
pub(super) fn stale_mounts() -> Vec<Finding> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let ours = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let point = words.nth(1)?;
        (words.next()? == "fuse.shoebox").then(|| unescaped(point))
    });
    let is_stale =
        |point: &PathBuf| fs::metadata(point).is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN));
    let told = |point: PathBuf| {
        Finding::bad(
            format!("the mount at {} ended badly and is still there", point.display()),
            format!("fusermount3 -u -z {}", point.display()),
        )
    };
    ours.filter(is_stale).map(told).collect()
}

/// A path as `/proc/self/mounts` has it: blanks and the like as `\040` (proc(5), getmntent(3)).
fn unescaped(text: &str) -> PathBuf {
    let mut path = text.to_owned();
    for (code, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        path = path.replace(code, plain);
    }
    path.into()
}

/// The clock, beside the database's and the newest snapshot's. `there` is what the database said.
pub(super) fn clock(setup: &Setup, there: Option<Timestamp>) -> Finding {
    let now = Timestamp::now();
    let shown = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let opened = setup.repository.as_deref().and_then(|folder| Repository::open(folder).ok());
    let newest = opened.and_then(|repository| repository.snapshot_ids().ok()?.pop()).map(|id| id.time());
    let fix = "timedatectl set-ntp true";
    match (there, newest) {
        (_, Some(newest)) if newest.duration_since(now) > SKEW => {
            Finding::bad(format!("the clock says {}, and the newest snapshot is of {}", shown(now), shown(newest)), fix)
        }
        (Some(there), _) if there.duration_since(now).abs() > SKEW => {
            Finding::bad(format!("the clock says {}, and the database's {}", shown(now), shown(there)), fix)
        }
        _ => Finding::good(format!("the clock says {}", shown(now))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_blank_is_read_back() {
        assert_eq!(unescaped("/mnt/my\\040photos\\134x"), PathBuf::from("/mnt/my photos\\x"));
    }
}
