//! Whether the repository's disk has room: one rule for `backup`, `doctor` and `status`.
//!
//! Photos and videos hardly compress: what is still to be stored needs as many bytes. A later night
//! needs what the largest one of the last 30 days needed. Each writes a second catalog before it
//! gives the first one up.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::base::Result;
use crate::base::amount::size;
use crate::repo::{self, Repository, SnapshotRecord};
use crate::source::{FoundKind, LibraryWalk};

/// Nights that are looked back at.
const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What the repository's disk has, and what is wanted of it; bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    pub free: u64,
    /// For the next backup.
    pub next: u64,
    /// For 30 days like the last ones; 0 where that is not known.
    pub month: u64,
}

/// How the two compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpaceVerdict {
    Enough,
    /// For the next backup, but not for 30 days.
    Scarce,
    /// The next backup will not fit, or may not.
    Lacking,
}

impl DiskSpace {
    /// That of `folder`, whose repository has no snapshot yet and `outstanding` bytes of the
    /// library still to store.
    ///
    /// # Errors
    /// When the file system does not say what is free.
    pub fn before_the_first(folder: &Path, outstanding: u64) -> Result<DiskSpace> {
        Ok(DiskSpace { free: repo::free_space(folder)?, next: outstanding, month: 0 })
    }

    /// That of `repository` at `now`, with the `records` of at least the last 30 days.
    ///
    /// # Errors
    /// As [`DiskSpace::before_the_first`].
    pub fn of(
        repository: &Repository,
        records: &[SnapshotRecord],
        now: Timestamp,
    ) -> Result<DiskSpace> {
        // The first one stored the whole library: no other will.
        let first = repository.snapshot_ids()?.first().copied();
        let is_recent = |record: &&SnapshotRecord| now.duration_since(record.id.time()) <= MONTH;
        let nights = records.iter().filter(is_recent).filter(|record| Some(record.id) != first);
        let nights: Vec<u64> = nights.map(SnapshotRecord::stored_bytes).collect();
        let catalog = fs::metadata(repository.catalog_path()).map_or(0, |meta| meta.len());
        let largest = nights.iter().max().copied().unwrap_or(0);
        let (next, month) = (largest.saturating_add(catalog), nights.iter().sum::<u64>());
        Ok(DiskSpace { free: repository.free_space()?, next, month: month.max(next) })
    }

    /// The rule.
    pub fn verdict(&self) -> SpaceVerdict {
        if self.free < self.next {
            SpaceVerdict::Lacking
        } else if self.free < self.month {
            SpaceVerdict::Scarce
        } else {
            SpaceVerdict::Enough
        }
    }
}

/// `1.50 GB free on the repository's disk; the next backup needs up to 2.00 GB`.
impl std::fmt::Display for DiskSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} free on the repository's disk", size(self.free))?;
        match self.verdict() {
            SpaceVerdict::Enough => Ok(()),
            SpaceVerdict::Scarce => write!(f, "; the last 30 days took {}", size(self.month)),
            SpaceVerdict::Lacking => write!(f, "; the next backup needs up to {}", size(self.next)),
        }
    }
}

/// Bytes of the files that `walk` meets; one with several names counts once.
pub fn bytes_of(walk: LibraryWalk) -> u64 {
    let mut linked = HashSet::new();
    let files =
        walk.filter_map(std::result::Result::ok).filter(|found| found.kind == FoundKind::File);
    files
        .filter(|found| found.links < 2 || linked.insert((found.dev, found.ino)))
        .map(|found| found.size)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_compared_with_a_night_and_with_thirty_days() {
        let of = |free, next, month| DiskSpace { free, next, month }.verdict();
        assert_eq!(of(10, 11, 100), SpaceVerdict::Lacking);
        assert_eq!(of(11, 11, 100), SpaceVerdict::Scarce);
        assert_eq!(of(100, 11, 100), SpaceVerdict::Enough);
        assert_eq!(of(0, 0, 0), SpaceVerdict::Enough);
        let space = DiskSpace { free: 1_500_000_000, next: 2_000_000_000, month: 2_000_000_000 };
        assert_eq!(
            space.to_string(),
            "1.50 GB free on the repository's disk; the next backup needs up to 2.00 GB"
        );
    }
}
