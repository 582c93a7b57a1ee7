//! The folders that are read, each held open, and where a file list shows what lies in them.
//!
//! Always holds: what is read below a place lies below the folder that was opened, whatever is
//! moved, replaced or linked meanwhile. The kernel resolves each path beneath the descriptor and
//! through no symlink (`openat2`, Linux 5.6); where a kernel or a container's filter lacks that, it
//! is gone down one `O_NOFOLLOW` step at a time.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;

use crate::base::error::is_exhausted;
use crate::base::{Error, ErrorKind, FilePath, Result};

/// A folder of this machine, and the path that its entries are shown below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryRoot {
    /// On this machine.
    pub folder: PathBuf,
    /// In the file list, such as `upload` or `external/mnt/family`.
    pub shown: FilePath,
}

/// A folder of an external library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalFolder {
    /// The path as the Immich server sees it, such as `/mnt/external/family`.
    pub server: PathBuf,
    /// The same folder on this machine.
    pub folder: PathBuf,
}

impl ExternalFolder {
    /// Where the file list shows it.
    pub fn shown(&self) -> Result<FilePath> {
        FilePath::external(&self.server.to_string_lossy())
    }

    /// What to walk.
    pub fn root(&self) -> Result<LibraryRoot> {
        Ok(LibraryRoot { folder: self.folder.clone(), shown: self.shown()? })
    }
}

/// A root that is held open.
#[derive(Debug)]
pub(super) struct LibraryPlace {
    pub root: LibraryRoot,
    is_walked: bool,
    opened: Result<OwnedFd, Errno>,
}

/// The roots of one run.
#[derive(Debug, Default)]
pub struct LibraryPlaces(Vec<LibraryPlace>);

impl LibraryPlaces {
    /// Opens the roots that are `walked`, and those `beside` of which only files that somebody
    /// names are read. One that is not there, or may not be read, is told when it is walked.
    ///
    /// # Errors
    /// When nothing can be opened any more, or a disk does not answer: see [`LibraryPlaces::ending`].
    pub fn open(walked: Vec<LibraryRoot>, beside: Vec<LibraryRoot>) -> Result<LibraryPlaces> {
        let walked = walked.into_iter().map(|root| LibraryPlace::open(root, true));
        let mut places: Vec<LibraryPlace> =
            walked.chain(beside.into_iter().map(|root| LibraryPlace::open(root, false))).collect();
        // What lies in another root is that one's.
        places.sort_by_key(|place| std::cmp::Reverse(place.root.shown.as_bytes().len()));
        let places = LibraryPlaces(places);
        for place in &places.0 {
            if let Err(errno) = place.folder()
                && let Some(error) = places.ending(&place.root.shown, &errno.into())
            {
                return Err(error);
            }
        }
        Ok(places)
    }

    /// Those that are walked.
    pub(super) fn walked(&self) -> impl Iterator<Item = &LibraryPlace> {
        self.0.iter().filter(|place| place.is_walked)
    }

    /// True when a walk meets `path`, if it is there.
    pub fn is_walked(&self, path: &FilePath) -> bool {
        self.of(path).is_some_and(|(place, _)| place.is_walked)
    }

    /// True when `path` is a root itself.
    pub(super) fn is_root(&self, path: &FilePath) -> bool {
        self.0.iter().any(|place| place.root.shown == *path)
    }

    /// The place that `path` lies in, and its way from there.
    fn of<'a>(&'a self, path: &'a FilePath) -> Option<(&'a LibraryPlace, &'a Path)> {
        let rest = |place: &LibraryPlace| match path
            .as_bytes()
            .strip_prefix(place.root.shown.as_bytes())?
        {
            [] => Some(&[][..]),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        };
        self.0.iter().find_map(|place| Some((place, Path::new(OsStr::from_bytes(rest(place)?)))))
    }

    /// The root that `path` lies in, as it is shown.
    pub fn root_of<'a>(&'a self, path: &'a FilePath) -> Option<&'a FilePath> {
        self.of(path).map(|(place, _)| &place.root.shown)
    }

    fn root(&self, shown: &FilePath) -> Option<&LibraryPlace> {
        self.0.iter().find(|place| place.root.shown == *shown)
    }

    /// Where the root that is shown as `shown` lies on this machine.
    pub fn folder_of(&self, shown: &FilePath) -> Option<&Path> {
        self.root(shown).map(|place| place.root.folder.as_path())
    }

    /// True when the root that is shown as `shown` is there.
    pub fn is_open(&self, shown: &FilePath) -> bool {
        self.root(shown).is_some_and(|place| place.opened.is_ok())
    }

    /// True when the root that is shown as `shown` is not there, is walked, or has no entry:
    /// nothing in it was overlooked.
    pub fn is_bare(&self, shown: &FilePath) -> bool {
        self.root(shown)
            .is_none_or(|place| place.is_walked || matches!(place.first(), Ok(None) | Err(_)))
    }

    fn descend(&self, path: &FilePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let (place, rest) = self.of(path).ok_or(Errno::NOENT)?;
        beneath(place.folder()?, rest, flags)
    }

    /// Opens the file at `path` and nothing else: no symlink is followed, no pipe waited for.
    pub fn file(&self, path: &FilePath) -> io::Result<File> {
        Ok(self.descend(path, OFlags::RDONLY | OFlags::NONBLOCK)?.into())
    }

    /// Opens the folder at `path`.
    pub(super) fn folder(&self, path: &FilePath) -> Result<OwnedFd, Errno> {
        self.descend(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// What is at `path`: of a symlink the link itself.
    pub(super) fn look(&self, path: &FilePath) -> Result<Stat, Errno> {
        self.descend(path, OFlags::PATH).and_then(fstat)
    }

    /// The error that ends a run, where `error` at `path` is no fault of what lies there: this
    /// process or machine has run out of something, or the disk or server behind the root does not
    /// answer.
    pub fn ending(&self, path: &FilePath, error: &io::Error) -> Option<Error> {
        if is_exhausted(error) {
            return Some(Error::io(format_args!("reading {path}"), again(error)));
        }
        let (place, _) = self.of(path).filter(|_| is_silence(error))?;
        let is_dead = place.root.shown == *path
            || place.first().is_err_and(|errno| is_silence(&errno.into()));
        let message = format!("the disk of {} does not answer", place.root.folder.display());
        let error = Error::new(ErrorKind::Io, message).caused_by(again(error));
        is_dead.then(|| error.hint("is it still connected and mounted? see `dmesg`"))
    }
}

impl LibraryPlace {
    /// A symlink at this place is followed: people move folders to a larger disk that way.
    fn open(root: LibraryRoot, is_walked: bool) -> LibraryPlace {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, &root.folder, flags, Mode::empty());
        LibraryPlace { root, is_walked, opened }
    }

    /// The open folder, or why there is none.
    pub fn folder(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.opened.as_ref().map(AsFd::as_fd).map_err(|errno| *errno)
    }

    /// Asks the disk for the name of an entry; `None` where there is none.
    fn first(&self) -> Result<Option<()>, Errno> {
        let again = openat(
            self.folder()?,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut entries = RawDir::new(again, &mut buffer);
        while let Some(entry) = entries.next() {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(Some(()));
            }
        }
        Ok(None)
    }
}

/// What a disk or a server says that is gone.
fn is_silence(error: &io::Error) -> bool {
    let gone = [
        libc::EIO,
        libc::ESTALE,
        libc::ENOTCONN,
        libc::ENODEV,
        libc::ENXIO,
        libc::ENOLINK,
        libc::ESHUTDOWN,
        libc::ETIMEDOUT,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
    ];
    error.raw_os_error().is_some_and(|code| gone.contains(&code))
}

/// The same error once more.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Opens `rest` below `root`.
fn beneath(root: BorrowedFd<'_>, rest: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat2(
        root,
        rest,
        flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    ) {
        // A filter of a container says EPERM of what it does not know; EAGAIN and EXDEV are said of
        // a folder that is moved out of the root meanwhile, and of a way that leads out, which is
        // refused once more.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::XDEV) => {
            step_by_step(root, rest, flags)
        }
        opened => opened,
    }
}

/// The same, folder by folder.
fn step_by_step(root: BorrowedFd<'_>, rest: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(root, ".", folder, Mode::empty())?;
    let mut parts = rest.components().peekable();
    while let Some(part) = parts.next() {
        let name = match part {
            Component::Normal(name) => Path::new(name),
            Component::CurDir => Path::new("."),
            _ => return Err(Errno::XDEV),
        };
        let wanted = if parts.peek().is_some() { folder } else { flags };
        at = openat(&at, name, wanted, Mode::empty())?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    /// One way to open what lies below a folder.
    type Way = fn(BorrowedFd<'_>, &Path, OFlags) -> Result<OwnedFd, Errno>;

    fn by_the_kernel(root: BorrowedFd<'_>, rest: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat2(root, rest, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    }

    #[test]
    fn a_folder_that_is_swapped_for_a_link_gives_nothing_from_outside() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("root/zz", "inside"), ("outside", "secret")] {
            fs::create_dir_all(at(name)).unwrap();
            fs::write(at(name).join("photo"), text).unwrap();
        }
        symlink(at("outside"), at("link")).unwrap();
        let root: OwnedFd = fs::File::open(at("root")).unwrap().into();
        for way in [beneath as Way, by_the_kernel as Way, step_by_step as Way] {
            let (stop, swaps, limit) =
                (AtomicBool::new(false), AtomicU32::new(0), Duration::from_secs(20));
            let (mut inside, mut refused) = (0, 0);
            let begun = Instant::now();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // It ends by itself, also when what it disturbs has failed.
                    while !stop.load(Ordering::Relaxed) && begun.elapsed() < 2 * limit {
                        fs::rename(at("root/zz"), at("aside")).unwrap();
                        fs::rename(at("link"), at("root/zz")).unwrap();
                        fs::rename(at("root/zz"), at("link")).unwrap();
                        fs::rename(at("aside"), at("root/zz")).unwrap();
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                });
                let is_enough = |swaps: u32, inside: u32, refused: u32| {
                    swaps >= 1000 && inside + refused >= 1000 && inside.min(refused) > 0
                };
                while !is_enough(swaps.load(Ordering::Relaxed), inside, refused)
                    && begun.elapsed() < limit
                {
                    match way(root.as_fd(), Path::new("zz/photo"), OFlags::RDONLY | OFlags::CLOEXEC)
                    {
                        Ok(opened) => {
                            let mut text = String::new();
                            fs::File::from(opened).read_to_string(&mut text).unwrap();
                            assert_eq!(text, "inside");
                            inside += 1;
                        }
                        Err(errno) => {
                            let moved = matches!(
                                errno,
                                Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::XDEV
                            );
                            assert!(moved, "{errno}");
                            refused += 1;
                        }
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
            println!("{inside} opened and {refused} refused in {swaps:?} swaps");
            assert!(inside > 0 && refused > 0);
        }
    }

    #[test]
    fn a_path_is_opened_beneath_its_root_only() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("root/a")).unwrap();
        symlink("/etc", folder.path().join("root/a/link")).unwrap();
        symlink("x", folder.path().join("root/a/file")).unwrap();
        let root: OwnedFd = fs::File::open(folder.path().join("root")).unwrap().into();
        for way in [beneath as Way, step_by_step as Way] {
            let open =
                |rest: &str, flags| way(root.as_fd(), Path::new(rest), flags | OFlags::NOFOLLOW);
            assert!(open(".", OFlags::DIRECTORY).is_ok() && open("a", OFlags::DIRECTORY).is_ok());
            for rest in ["..", "a/../..", "/etc", "a/link/passwd", "a/file"] {
                assert!(open(rest, OFlags::RDONLY).is_err(), "{rest}");
            }
            // The link itself may be looked at.
            assert!(open("a/file", OFlags::PATH).is_ok());
        }
    }

    #[test]
    fn what_no_file_is_to_blame_for_ends_the_run() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("u")).unwrap();
        let shown = FilePath::new("upload").unwrap();
        let root = LibraryRoot { folder: folder.path().to_owned(), shown: shown.clone() };
        let places = LibraryPlaces::open(vec![root], Vec::new()).unwrap();
        let ending =
            |path: &FilePath, code| places.ending(path, &io::Error::from_raw_os_error(code));
        let inner = FilePath::new("upload/u").unwrap();
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
            let error = ending(&inner, code).unwrap();
            assert_eq!(error.kind(), ErrorKind::Exhausted);
            assert!(error.next_step().unwrap().contains("LimitNOFILE"), "{error:?}");
        }
        // The disk that answers has one bad file; the one that does not has none that are good.
        for code in [libc::EIO, libc::ESTALE, libc::ENOTCONN] {
            assert!(ending(&inner, code).is_none() && ending(&shown, code).is_some());
        }
        assert!(ending(&shown, libc::ENOENT).is_none() && ending(&shown, libc::EACCES).is_none());
    }
}
