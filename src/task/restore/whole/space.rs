//! Whether there is room, before anything is written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::claim::ClaimState;
use super::plan::{FileSum, WholePlan};
use super::{RestoreRoots, claim};
use crate::base::{Error, ErrorKind, Result};
use crate::task::restore::folder::RestoreTarget;

/// `NoSpace` when a disk has less room than is needed. What an earlier run has written is not
/// needed any more.
pub(super) fn check(plan: &WholePlan, roots: &RestoreRoots) -> Result<()> {
    for folders in by_disk(roots) {
        let Some(free) = free(&roots.0[folders[0]].0) else { continue };
        let mut needed =
            folders.iter().fold(FileSum::default(), |sum, &root| sum.plus(plan.room[root]));
        if !needed.fits(free) {
            needed = needed.minus(there(plan, roots, &folders)?);
        }
        if !needed.fits(free) {
            return Err(too_small(&roots.0[folders[0]].0, needed, free));
        }
    }
    Ok(())
}

impl FileSum {
    fn plus(self, other: FileSum) -> FileSum {
        FileSum { files: self.files + other.files, bytes: self.bytes.saturating_add(other.bytes) }
    }

    fn minus(self, other: FileSum) -> FileSum {
        FileSum {
            files: self.files.saturating_sub(other.files),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn fits(self, free: FileSum) -> bool {
        self.files <= free.files && self.bytes <= free.bytes
    }
}

/// The folders that lie on the same disk.
fn by_disk(roots: &RestoreRoots) -> Vec<Vec<usize>> {
    let mut disks: Vec<(Option<u64>, Vec<usize>)> = Vec::new();
    for (index, (folder, _)) in roots.0.iter().enumerate() {
        let disk =
            above(folder).and_then(|folder| fs::metadata(folder).ok()).map(|meta| meta.dev());
        match disks.iter_mut().find(|(known, _)| *known == disk) {
            Some((_, folders)) => folders.push(index),
            None => disks.push((disk, vec![index])),
        }
    }
    disks.into_iter().map(|(_, folders)| folders).collect()
}

/// The nearest folder above `folder` that is there, or itself.
fn above(folder: &Path) -> Option<std::path::PathBuf> {
    claim::real(folder).ancestors().find(|folder| folder.is_dir()).map(Path::to_owned)
}

/// What is free on the disk of `folder`: bytes, and files. `None` where the file system does not
/// say.
fn free(folder: &Path) -> Option<FileSum> {
    let disk = rustix::fs::statvfs(above(folder)?).ok().filter(|disk| disk.f_blocks > 0)?;
    // Some is kept for root alone.
    let (blocks, files) = if rustix::process::geteuid().is_root() {
        (disk.f_bfree, disk.f_ffree)
    } else {
        (disk.f_bavail, disk.f_favail)
    };
    let files = if disk.f_files == 0 { u64::MAX } else { files };
    Some(FileSum { files, bytes: blocks.saturating_mul(disk.f_frsize) })
}

/// What of the plan is there already.
fn there(plan: &WholePlan, roots: &RestoreRoots, folders: &[usize]) -> Result<FileSum> {
    let mut sum = FileSum::default();
    for &root in folders
        .iter()
        .filter(|&&root| roots.0[root].1 != ClaimState::Empty && roots.0[root].0.is_dir())
    {
        let mut target = RestoreTarget::create(&roots.0[root].0)?;
        for item in &plan.files {
            if let Some((_, at)) = plan.at(item).filter(|(of, _)| *of == root)
                && target.is_alike(&at, &item.attributes).unwrap_or(false)
            {
                sum = sum.plus(FileSum { files: 1, bytes: item.room() });
            }
        }
    }
    Ok(sum)
}

fn too_small(folder: &Path, needed: FileSum, free: FileSum) -> Error {
    let message = if needed.bytes > free.bytes {
        format!(
            "{} are needed for {}, and {} are free",
            size(needed.bytes),
            folder.display(),
            size(free.bytes)
        )
    } else {
        format!(
            "{} has room for {} more files, and {} are needed",
            folder.display(),
            free.files,
            needed.files
        )
    };
    Error::new(ErrorKind::NoSpace, message).hint("use a larger disk; nothing was written")
}

/// Bytes as a person reads them, in units of 1000.
fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_as_people_read_them() {
        let told = [0, 999, 1000, 3_200_000_000, u64::MAX].map(size);
        assert_eq!(told, ["0 B", "999 B", "1.0 kB", "3.2 GB", "18.4 EB"]);
    }
}
