//! The files of a library, as one stream in the order of a file list.
//!
//! Several folders and single files (a motion photo's video under `encoded-video/`) come merged,
//! with the folders above them. What always holds: paths ascend (see [`FilePath`]) and none comes
//! twice; a folder comes right before its content; symlinks are told and not followed, except where
//! a root itself is one; only one folder's names at each level are in memory. What cannot be read
//! is an [`WalkObstacle`] that stands among the entries; the walk goes on, unless it is of no use to.
//!
//! Limit: a path longer than the system's PATH_MAX below a root cannot be reached, as with every
//! other tool.

mod folder;
mod merge;
mod single;

use std::io;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::places::LibraryPlaces;
use crate::base::{Error, FilePath, Problem, Result};

use folder::FolderWalk;
use merge::MergedWalk;

/// What the walk found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundKind {
    File,
    Folder,
    Symlink,
    /// A socket, a pipe or a device.
    Special,
}

/// An entry of the library as it is on disk now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEntry {
    pub path: FilePath,
    pub kind: FoundKind,
    /// Bytes; for files only what a backup stores.
    pub size: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub mtime: i64,
    /// When anything of it changed last, by the file system's clock; the same unit.
    pub ctime: i64,
    /// Permission bits, `mode & 0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub dev: u64,
    pub ino: u64,
    /// Hard links to it.
    pub links: u64,
    /// Where a symlink points.
    pub target: Option<Vec<u8>>,
}

/// Why the walk does not tell an entry.
#[derive(Debug)]
pub enum WalkObstacle {
    /// This one is left out.
    Problem(Problem),
    /// Nothing more can be read: the end of the run.
    End(Error),
}

/// Patterns of shown paths that are left out; a folder that matches is not entered.
#[derive(Debug, Clone, Default)]
pub struct ExcludePatterns(GlobSet);

impl ExcludePatterns {
    /// Reads glob patterns such as `**/@eaDir` (`*` stays within a name, `**` crosses folders).
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<ExcludePatterns> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns.iter().map(AsRef::as_ref) {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            set.add(glob.map_err(|error| not_a_pattern(pattern, error))?);
        }
        set.build().map(ExcludePatterns).map_err(|error| not_a_pattern("", error))
    }

    fn covers(&self, path: &FilePath) -> bool {
        !self.0.is_empty() && self.0.is_match(path.as_path())
    }
}

fn not_a_pattern(pattern: &str, error: globset::Error) -> Error {
    Error::invalid(format_args!("`{pattern}` is not a pattern")).caused_by(error)
}

/// Walks the roots of `places` that are to be walked, and single files of the others, in the order
/// of their shown paths.
pub fn walk(
    places: &Arc<LibraryPlaces>,
    extra: Vec<FilePath>,
    exclude: ExcludePatterns,
) -> LibraryWalk {
    let mut merge = MergedWalk::default();
    for place in places.walked() {
        merge.add(FolderWalk::new(Arc::clone(places), place.root.shown.clone(), exclude.clone()));
    }
    merge.add(single::entries(extra, places, &exclude));
    LibraryWalk(merge)
}

/// The stream that [`walk`] makes. It can be sent to a thread that reads ahead.
pub struct LibraryWalk(MergedWalk);

impl Iterator for LibraryWalk {
    type Item = Item;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// It was listed a moment ago.
const VANISHED: &str = "vanished while the folder was read";
/// It was asked for.
const ABSENT: &str = "is not there";

/// An entry, or why there is none.
type Item = std::result::Result<FoundEntry, WalkObstacle>;

impl FoundEntry {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "the fields are narrower on other machines"
    )]
    fn from_stat(path: FilePath, stat: &Stat) -> FoundEntry {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FoundKind::File,
            FileType::Directory => FoundKind::Folder,
            FileType::Symlink => FoundKind::Symlink,
            _ => FoundKind::Special,
        };
        FoundEntry {
            path,
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
            ctime: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            dev: stat.st_dev,
            ino: stat.st_ino,
            links: u64::from(stat.st_nlink),
            target: None,
        }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// What keeps `path` from being told; `absent` says what it means if nothing is there.
fn obstacle(
    places: &LibraryPlaces,
    path: &FilePath,
    absent: &str,
    doing: &str,
    errno: Errno,
) -> WalkObstacle {
    let error = io::Error::from(errno);
    if let Some(error) = places.ending(path, &error) {
        return WalkObstacle::End(error);
    }
    let message = match error.kind() {
        io::ErrorKind::NotFound => absent.to_owned(),
        io::ErrorKind::PermissionDenied => format!("may not be {doing}: permission denied"),
        _ => format!("could not be {doing}: {error}"),
    };
    WalkObstacle::Problem(Problem { subject: path.to_string(), message })
}
