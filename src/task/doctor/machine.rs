//! This machine: FUSE, mounts that died, the clock.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::{DoctorFinding, DoctorSetup};
use crate::base::mounted;
use crate::repo::Repository;

/// Two clocks that differ by more are not both right.
const SKEW: SignedDuration = SignedDuration::from_mins(2);

pub(super) fn fuse() -> DoctorFinding {
    let fix = "apt install fuse3 && modprobe fuse; in a container: --device /dev/fuse --cap-add \
        SYS_ADMIN. Backup and restore do without";
    if !Path::new("/dev/fuse").exists() {
        return DoctorFinding::note("snapshots cannot be mounted here: /dev/fuse is missing", fix);
    }
    let has_program = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join("fusermount3").is_file());
    if has_program || rustix::process::geteuid().is_root() {
        DoctorFinding::good("snapshots can be mounted: FUSE is there")
    } else {
        DoctorFinding::note("snapshots cannot be mounted by this user: fusermount3 is missing", fix)
    }
}

/// Mounts of ours whose process is gone.
pub(super) fn stale_mounts() -> Vec<DoctorFinding> {
    let stale = mounted::all()
        .unwrap_or_default()
        .into_iter()
        .filter(|line| line.is_ours() && line.is_stale());
    let told = |point: &Path| {
        let what = format!("the mount at {} ended badly and is still there", point.display());
        DoctorFinding::bad(what, mounted::how_to_unmount(point, true))
    };
    stale.map(|line| told(&line.point)).collect()
}

/// The clock, beside the database's and the newest snapshot's. `there` is what the database said.
pub(super) fn clock(setup: &DoctorSetup, there: Option<Timestamp>) -> DoctorFinding {
    let now = Timestamp::now();
    let shown = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let opened = setup.repository.as_deref().and_then(|folder| Repository::open(folder).ok());
    let newest =
        opened.and_then(|repository| repository.snapshot_ids().ok()?.pop()).map(|id| id.time());
    let fix = "timedatectl set-ntp true";
    match (there, newest) {
        (_, Some(newest)) if newest.duration_since(now) > SKEW => DoctorFinding::bad(
            format!(
                "the clock shows {}, and the newest snapshot is of {}",
                shown(now),
                shown(newest)
            ),
            fix,
        ),
        (Some(there), _) if there.duration_since(now).abs() > SKEW => DoctorFinding::bad(
            format!("the clock shows {}, and the database's {}", shown(now), shown(there)),
            fix,
        ),
        _ => DoctorFinding::good(format!("the clock shows {}", shown(now))),
    }
}
