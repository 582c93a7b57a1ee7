//! One folder and everything below it, sorted.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, openat, readlinkat, statat,
};
use rustix::io::Errno;

use crate::base::FilePath;

use super::{ABSENT, ExcludePatterns, FoundEntry, Item, VANISHED, WalkObstacle, obstacle};
use crate::source::places::LibraryPlaces;

/// So many folders are held open at a time; those further up are opened again when the walk comes
/// back.
const OPEN: usize = 64;

/// The walk below one root. Calls go by name relative to the open folder, as `find` does it.
pub(super) struct FolderWalk {
    places: Arc<LibraryPlaces>,
    root: FilePath,
    exclude: ExcludePatterns,
    /// The folders from the root to where the walk is.
    stack: Vec<WalkLevel>,
    /// What was met besides the entry that is handed out.
    waiting: VecDeque<Item>,
    begun: bool,
    buffer: Vec<MaybeUninit<u8>>,
    spare: Vec<FolderNames>,
}

/// A folder whose entries are being handed out.
struct WalkLevel {
    path: FilePath,
    folder: Option<OwnedFd>,
    names: FolderNames,
    next: usize,
}

/// The names of one folder, in one piece of memory, each with its closing NUL.
#[derive(Default)]
struct FolderNames {
    bytes: Vec<u8>,
    sorted: Vec<Range<usize>>,
}

impl FolderNames {
    fn push(&mut self, name: &CStr) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
        self.sorted.push(start..self.bytes.len());
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.sorted.sort_unstable_by(|a, b| bytes[a.clone()].cmp(&bytes[b.clone()]));
        // One that is renamed while the folder is read may be told twice (readdir(3)).
        self.sorted.dedup_by(|a, b| bytes[a.clone()] == bytes[b.clone()]);
    }

    fn get(&self, index: usize) -> Option<&CStr> {
        CStr::from_bytes_with_nul(&self.bytes[self.sorted.get(index)?.clone()]).ok()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.sorted.clear();
    }
}

impl FolderWalk {
    pub(super) fn new(
        places: Arc<LibraryPlaces>,
        root: FilePath,
        exclude: ExcludePatterns,
    ) -> Self {
        FolderWalk {
            places,
            root,
            exclude,
            stack: Vec::new(),
            waiting: VecDeque::new(),
            begun: false,
            buffer: vec![MaybeUninit::uninit(); 64 * 1024],
            spare: Vec::new(),
        }
    }

    /// The root itself.
    fn begin(&mut self) -> Option<Item> {
        self.begun = true;
        let shown = self.root.clone();
        if self.exclude.covers(&shown) {
            return None;
        }
        let opened = self.places.folder(&shown);
        let stat = opened.as_ref().map_err(|&errno| errno).and_then(fstat);
        match (opened, stat) {
            (Ok(folder), Ok(stat)) => {
                self.list(folder, shown.clone());
                Some(Ok(FoundEntry::from_stat(shown, &stat)))
            }
            (Err(errno), _) | (_, Err(errno)) => {
                Some(Err(self.obstacle(&shown, ABSENT, "read", errno)))
            }
        }
    }

    /// Reads the names of an open folder and makes it the one whose entries come next.
    fn list(&mut self, folder: OwnedFd, path: FilePath) {
        let mut names = self.spare.pop().unwrap_or_default();
        if let Err(errno) = read_names(folder.as_fd(), &mut self.buffer, &mut names) {
            let obstacle = self.obstacle(&path, VANISHED, "read", errno);
            self.waiting.push_back(Err(obstacle));
        }
        if let Some(distant) = self.stack.len().checked_sub(OPEN) {
            self.stack[distant].folder = None;
        }
        self.stack.push(WalkLevel { path, folder: Some(folder), names, next: 0 });
    }

    /// The next entry of the innermost folder; `None` when there is none that can be told.
    fn step(&mut self) -> Option<Item> {
        let level = self.stack.last_mut()?;
        let Some(name) = level.names.get(level.next) else {
            self.leave();
            return None;
        };
        level.next += 1;
        let path = level.path.join(name.to_bytes()).ok()?;
        if self.exclude.covers(&path) || self.places.is_root(&path) {
            return None;
        }
        let looked = match &level.folder {
            Some(folder) => look(folder.as_fd(), name),
            None => self
                .places
                .folder(&level.path)
                .and_then(|folder| look(level.folder.insert(folder).as_fd(), name)),
        };
        match looked {
            Ok(EntryLook { stat, inner, target }) => {
                let found = FoundEntry { target, ..FoundEntry::from_stat(path, &stat) };
                self.enter(inner, &found.path);
                Some(Ok(found))
            }
            Err(errno) => Some(Err(self.obstacle(&path, VANISHED, "read", errno))),
        }
    }

    /// Goes on inside the folder that was just handed out, if it is one and opens.
    fn enter(&mut self, inner: Option<Result<OwnedFd, Errno>>, path: &FilePath) {
        match inner {
            Some(Ok(inner)) => self.list(inner, path.clone()),
            Some(Err(errno)) => {
                self.waiting.push_back(Err(self.obstacle(path, VANISHED, "opened", errno)))
            }
            None => {}
        }
    }

    fn obstacle(&self, path: &FilePath, absent: &str, doing: &str, errno: Errno) -> WalkObstacle {
        obstacle(&self.places, path, absent, doing, errno)
    }

    fn leave(&mut self) {
        if let Some(WalkLevel { mut names, .. }) = self.stack.pop() {
            names.clear();
            self.spare.push(names);
        }
    }
}

impl Iterator for FolderWalk {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if !self.begun {
            return self.begin();
        }
        loop {
            if let Some(item) = self.waiting.pop_front() {
                return Some(item);
            }
            if self.stack.is_empty() {
                return None;
            }
            if let Some(item) = self.step() {
                return Some(item);
            }
        }
    }
}

/// What an entry is, the open folder if it is one, and where it points if it is a symlink.
struct EntryLook {
    stat: Stat,
    inner: Option<Result<OwnedFd, Errno>>,
    target: Option<Vec<u8>>,
}

fn look(parent: BorrowedFd<'_>, name: &CStr) -> Result<EntryLook, Errno> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = (kind == FileType::Directory).then(|| openat(parent, name, flags, Mode::empty()));
    let target =
        (kind == FileType::Symlink).then(|| readlinkat(parent, name, Vec::new())).transpose()?;
    Ok(EntryLook { stat, inner, target: target.map(CString::into_bytes) })
}

/// Reads the names in `folder` in sorted order. After a failure those that were read stay.
fn read_names(
    folder: BorrowedFd<'_>,
    buffer: &mut [MaybeUninit<u8>],
    names: &mut FolderNames,
) -> Result<(), Errno> {
    let mut entries = RawDir::new(folder, buffer);
    let mut outcome = Ok(());
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Ok(entry) => names.push(entry.file_name()),
            Err(errno) => {
                outcome = Err(errno);
                break;
            }
        }
    }
    names.sort();
    outcome
}
