//! Single files, and the folders above files and roots.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::stat;
use rustix::io::Errno;

use super::{ABSENT, ExcludePatterns, FoundEntry, FoundKind, Item, obstacle};
use crate::base::FilePath;
use crate::source::places::{LibraryPlaces, LibraryRoot};

/// The entries for `files` and for every folder above them and above the roots of `places`, sorted.
pub(super) fn entries(
    files: Vec<FilePath>,
    places: &LibraryPlaces,
    exclude: &ExcludePatterns,
) -> impl Iterator<Item = Item> + Send + use<> {
    let mut items = BTreeMap::new();
    for place in places.walked() {
        add_folders_above_root(&mut items, &place.root);
    }
    for file in files.into_iter().filter(|file| !exclude.covers(file)) {
        add_folders_above(&mut items, &file, places);
        items.extend(look(&file, places).map(|item| (file, item)));
    }
    items.into_values()
}

/// What is at `path`. One that is not there is no problem of the walk: whoever named it knows what
/// it lacks.
fn look(path: &FilePath, places: &LibraryPlaces) -> Option<Item> {
    match places.look(path) {
        Ok(stat) => Some(Ok(FoundEntry::from_stat(path.clone(), &stat))),
        Err(Errno::NOENT) => None,
        Err(errno) => Some(Err(obstacle(places, path, ABSENT, "read", errno))),
    }
}

/// Adds the folders above the file at `path`, as they are on disk.
fn add_folders_above(
    items: &mut BTreeMap<FilePath, Item>,
    path: &FilePath,
    places: &LibraryPlaces,
) {
    let mut above = path.parent();
    while let Some(folder) = above {
        above = folder.parent();
        let stat = places.look(&folder).ok();
        let found = stat.map(|stat| FoundEntry::from_stat(folder.clone(), &stat)).filter(is_folder);
        items
            .entry(folder.clone())
            .or_insert_with(|| Ok(found.unwrap_or_else(|| stand_in(&folder))));
    }
}

/// Adds the folders above a root. They are those on disk as long as the names agree; further up
/// only the file list has such a folder (`external`), and a stand-in is told.
fn add_folders_above_root(items: &mut BTreeMap<FilePath, Item>, root: &LibraryRoot) {
    let mut above = root.shown.parent();
    let mut place = root.folder.parent();
    while let Some(folder) = above {
        place = place.filter(|place| place.file_name() == Some(OsStr::from_bytes(folder.name())));
        let found =
            place.and_then(|place| describe(&folder, place)).unwrap_or_else(|| stand_in(&folder));
        place = place.and_then(Path::parent);
        above = folder.parent();
        items.entry(folder).or_insert(Ok(found));
    }
}

fn describe(shown: &FilePath, place: &Path) -> Option<FoundEntry> {
    let stat = stat(place).ok()?;
    Some(FoundEntry::from_stat(shown.clone(), &stat)).filter(is_folder)
}

fn is_folder(found: &FoundEntry) -> bool {
    found.kind == FoundKind::Folder
}

fn stand_in(shown: &FilePath) -> FoundEntry {
    FoundEntry {
        path: shown.clone(),
        kind: FoundKind::Folder,
        size: 0,
        mtime: 0,
        ctime: 0,
        mode: 0o755,
        uid: 0,
        gid: 0,
        dev: 0,
        ino: 0,
        links: 1,
        target: None,
    }
}
