//! The files of a library, as one stream in the order of a file list.
//!
//! Several folders and single files (a motion photo's video under `encoded-video/`) come merged, with the folders above them.
//! What always holds: paths ascend (see [`FilePath`]) and none comes twice; a folder comes right before its content;
//! symlinks are told and not followed, except where a root itself is one; only one folder's names at each level are in memory.
//! What cannot be read is a [`Problem`] that stands among the entries, and the walk goes on.
//!
//! Limit: a path longer than the system's PATH_MAX below a root cannot be reached, as with every other tool.

mod folder;
mod merge;
mod single;

use std::io;
use std::path::PathBuf;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rustix::fs::{FileType, Stat};

use crate::base::{Error, FilePath, Problem, Result};

use folder::FolderWalk;
use merge::Merge;

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
pub struct Found {
    pub path: FilePath,
    pub kind: FoundKind,
    /// Bytes; for files only what a backup stores.
    pub size: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub mtime: i64,
    /// Permission bits, `mode & 0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub dev: u64,
    pub ino: u64,
    /// Hard links to it.
    pub links: u64,
}

/// A folder that is walked, and the path that its entries are shown below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// On this machine.
    pub folder: PathBuf,
    /// In the file list, such as `upload` or `external/mnt/family`.
    pub shown: FilePath,
}

/// Patterns of shown paths that are left out; a folder that matches is not entered.
#[derive(Debug, Clone, Default)]
pub struct Exclude(GlobSet);

impl Exclude {
    /// Reads glob patterns such as `**/@eaDir` (`*` stays within a name, `**` crosses folders).
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Exclude> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns.iter().map(AsRef::as_ref) {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            set.add(glob.map_err(|error| not_a_pattern(pattern, error))?);
        }
        set.build().map(Exclude).map_err(|error| not_a_pattern("", error))
    }

    fn covers(&self, path: &FilePath) -> bool {
        !self.0.is_empty() && self.0.is_match(path.as_path())
    }
}

fn not_a_pattern(pattern: &str, error: globset::Error) -> Error {
    Error::invalid(format_args!("`{pattern}` is not a pattern")).caused_by(error)
}

/// Walks `roots` and `extra` (single files: the shown path, and where it is) in the order of their shown paths.
///
/// A path that two of them show is taken from the first.
pub fn walk(roots: Vec<Root>, extra: Vec<(FilePath, PathBuf)>, exclude: Exclude) -> Walk {
    let mut merge = Merge::default();
    let above: Vec<_> = roots.iter().map(|root| (root.shown.clone(), root.folder.clone())).collect();
    for root in roots {
        merge.add(FolderWalk::new(root, exclude.clone()));
    }
    merge.add(single::entries(extra, above, &exclude));
    Walk(merge)
}

/// The stream that [`walk`] makes. It can be sent to a thread that reads ahead.
pub struct Walk(Merge);

impl Iterator for Walk {
    type Item = std::result::Result<Found, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// It was listed a moment ago.
const VANISHED: &str = "vanished while the folder was read";
/// It was asked for.
const ABSENT: &str = "is not there";

/// One entry or one problem.
type Item = std::result::Result<Found, Problem>;

impl Found {
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the fields are narrower on other machines")]
    fn from_stat(path: FilePath, stat: &Stat) -> Found {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FoundKind::File,
            FileType::Directory => FoundKind::Folder,
            FileType::Symlink => FoundKind::Symlink,
            _ => FoundKind::Special,
        };
        Found {
            path,
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            dev: stat.st_dev,
            ino: stat.st_ino,
            links: u64::from(stat.st_nlink),
        }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// What keeps `path` from being told; `absent` says what it means if nothing is there.
fn problem(path: &FilePath, absent: &str, doing: &str, error: impl Into<io::Error>) -> Problem {
    let error = error.into();
    let message = match error.kind() {
        io::ErrorKind::NotFound => absent.to_owned(),
        io::ErrorKind::PermissionDenied => format!("may not be {doing}: permission denied"),
        _ => format!("could not be {doing}: {error}"),
    };
    Problem { subject: path.to_string(), message }
}
