//! Single files, and the folders above files and roots.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{lstat, stat};
use rustix::io::Errno;

use crate::base::FilePath;

use super::{ABSENT, Exclude, Found, FoundKind, Item, problem};

/// The entries for `files` and for every folder above them and above `roots`, sorted.
pub(super) fn entries(
    files: Vec<(FilePath, PathBuf)>,
    roots: Vec<(FilePath, PathBuf)>,
    exclude: &Exclude,
) -> impl Iterator<Item = Item> + Send + 'static {
    let mut items = BTreeMap::new();
    for (shown, place) in roots {
        add_folders_above(&mut items, &shown, &place);
    }
    for (shown, place) in files.into_iter().filter(|(shown, _)| !exclude.covers(shown)) {
        add_folders_above(&mut items, &shown, &place);
        items.extend(look(&shown, &place).map(|item| (shown, item)));
    }
    items.into_values()
}

/// What is at `place`. One that is not there is no problem of the walk: whoever named it knows what it lacks.
fn look(shown: &FilePath, place: &Path) -> Option<Item> {
    match lstat(place) {
        Ok(stat) => Some(Ok(Found::from_stat(shown.clone(), &stat))),
        Err(Errno::NOENT) => None,
        Err(errno) => Some(Err(problem(shown, ABSENT, "read", errno))),
    }
}

/// Adds the folders above `shown`. They are those on disk as long as the names agree; further up only the file list
/// has such a folder (`external`), and a stand-in is told.
fn add_folders_above(items: &mut BTreeMap<FilePath, Item>, shown: &FilePath, place: &Path) {
    let mut above = shown.parent();
    let mut place = place.parent();
    while let Some(folder) = above {
        place = place.filter(|place| place.file_name() == Some(OsStr::from_bytes(folder.name())));
        let found = place.and_then(|place| describe(&folder, place)).unwrap_or_else(|| stand_in(&folder));
        place = place.and_then(Path::parent);
        above = folder.parent();
        items.entry(folder).or_insert(Ok(found));
    }
}

fn describe(shown: &FilePath, place: &Path) -> Option<Found> {
    let stat = stat(place).ok()?;
    Some(Found::from_stat(shown.clone(), &stat)).filter(|found| found.kind == FoundKind::Folder)
}

fn stand_in(shown: &FilePath) -> Found {
    let path = shown.clone();
    Found { path, kind: FoundKind::Folder, size: 0, mtime: 0, mode: 0o755, uid: 0, gid: 0, dev: 0, ino: 0, links: 1 }
}
