//! The folder that is restored into: names below it are opened one by one and no symlink is followed, so nothing is
//! ever written outside it, whatever the repository or the folder itself holds.
//!
//! A file is written under another name beside its place, and gets its own when it is whole: what was there before is
//! there until then, and an interrupted restore leaves no half file under a photo's name.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timestamps};
use rustix::io::Errno;

use crate::base::{Context, Error, FilePath, Kind, Result};

/// File systems that keep whole (even) seconds only, such as FAT, are forgiven this many nanoseconds.
const COARSE: i64 = 2_000_000_000;

/// A folder that is restored into.
pub(super) struct Target {
    root: OwnedFd,
    path: PathBuf,
    /// The folder that was used last: neighbours share it.
    last: Option<(FilePath, OwnedFd)>,
}

/// What a file should be like besides its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub size: u64,
    pub mtime_ns: i64,
    pub mode: u32,
    pub owner: Option<(u32, u32)>,
}

/// What is at the place of a file.
pub(super) enum There {
    Nothing,
    /// A file with the size and time that are wanted: what it holds has to be compared.
    Alike(File),
    /// A file that is not the same.
    Other,
    /// Something that is never replaced.
    Folder,
}

impl Target {
    /// Makes the folder `path`, with those above it, and opens it.
    pub fn create(path: &Path) -> Result<Target> {
        let making = || format!("making the folder {}", path.display());
        std::fs::create_dir_all(path).context(making)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = sys::open(path, flags, Mode::empty()).context(|| format!("opening {}", path.display()))?;
        Ok(Target { root, path: path.to_owned(), last: None })
    }

    /// What lies at `at`, compared with `wanted`.
    pub fn look(&mut self, at: &FilePath, wanted: &Attributes) -> Result<There> {
        let Some(folder) = self.existing(at.parent())? else { return Ok(There::Nothing) };
        let naming = || at.to_string();
        let found = match sys::statat(&folder, name(at), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(There::Nothing),
            Err(error) => return Err(error).context(naming),
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => Ok(There::Folder),
            FileType::RegularFile if is_alike(&found, wanted) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Ok(There::Alike(sys::openat(&folder, name(at), flags, Mode::empty()).context(naming)?.into()))
            }
            _ => Ok(There::Other),
        }
    }

    /// Makes the folder `at`, and those above it.
    pub fn make_folder(&mut self, at: &FilePath) -> Result<()> {
        self.folder(Some(at.clone())).map(drop)
    }

    /// Writes the file `at`: `fill` writes its bytes. Replaces what is there only if told to.
    pub fn write(
        &mut self,
        at: &FilePath,
        attributes: &Attributes,
        replace: bool,
        fill: impl FnOnce(&mut File) -> Result<()>,
    ) -> Result<()> {
        let folder = self.folder(at.parent())?;
        let part = part_name(at);
        remove(&folder, &part).context(|| at.to_string())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = sys::openat(&folder, part.as_str(), flags, Mode::from_raw_mode(0o600)).context(|| at.to_string())?;
        let mut file = File::from(file);
        let written = fill(&mut file)
            .and_then(|()| describe(&file, attributes).context(|| at.to_string()))
            .and_then(|()| publish(&folder, &part, name(at), replace).context(|| at.to_string()));
        if written.is_err() {
            let _ = remove(&folder, &part);
        }
        written
    }

    /// Makes the symlink `at`, which is never followed here.
    pub fn link(&mut self, at: &FilePath, target: &[u8], attributes: &Attributes, replace: bool) -> Result<()> {
        let folder = self.folder(at.parent())?;
        let part = part_name(at);
        let naming = || at.to_string();
        remove(&folder, &part).context(naming)?;
        sys::symlinkat(OsStr::from_bytes(target), &folder, part.as_str()).context(naming)?;
        let written = (|| {
            if let Some((uid, gid)) = attributes.owner {
                where_known(sys::chownat(
                    &folder,
                    part.as_str(),
                    Some(user(uid)),
                    Some(group(gid)),
                    AtFlags::SYMLINK_NOFOLLOW,
                ))?;
            }
            sys::utimensat(&folder, part.as_str(), &times(attributes.mtime_ns), AtFlags::SYMLINK_NOFOLLOW)?;
            publish(&folder, &part, name(at), replace)
        })();
        if written.is_err() {
            let _ = remove(&folder, &part);
        }
        written.context(naming)
    }

    /// The target of the symlink at `at`; `None` when there is none.
    pub fn target_of(&mut self, at: &FilePath) -> Result<Option<Vec<u8>>> {
        let Some(folder) = self.existing(at.parent())? else { return Ok(None) };
        Ok(sys::readlinkat(&folder, name(at), Vec::new()).ok().map(std::ffi::CString::into_bytes))
    }

    /// Gives the folder `at` the time and rights that it had.
    pub fn finish_folder(&mut self, at: &FilePath, attributes: &Attributes) -> Result<()> {
        let folder = self.folder(Some(at.clone()))?;
        self.last = None;
        describe(&File::from(folder), attributes).context(|| at.to_string())
    }

    /// Waits until all that was written is on the disk.
    pub fn sync(&self) -> Result<()> {
        sys::syncfs(&self.root).context(|| format!("writing to {}", self.path.display()))
    }

    /// The folder `at`, made where it is not there.
    fn folder(&mut self, at: Option<FilePath>) -> Result<OwnedFd> {
        let found = self.descend(at, true)?;
        found.ok_or_else(|| Error::not_found(self.path.display()))
    }

    /// The folder `at`, if it is there.
    fn existing(&mut self, at: Option<FilePath>) -> Result<Option<OwnedFd>> {
        self.descend(at, false)
    }

    fn descend(&mut self, at: Option<FilePath>, make: bool) -> Result<Option<OwnedFd>> {
        let clone = |fd: &OwnedFd| fd.try_clone().context(|| self.path.display().to_string());
        let Some(at) = at else { return clone(&self.root).map(Some) };
        if let Some((_, fd)) = self.last.as_ref().filter(|(path, _)| *path == at) {
            return clone(fd).map(Some);
        }
        let mut folder = clone(&self.root)?;
        for part in at.parts() {
            let part = OsStr::from_bytes(part);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut next = sys::openat(&folder, part, flags, Mode::empty());
            if make && matches!(next, Err(Errno::NOENT)) {
                make_folder(&folder, part).context(|| at.to_string())?;
                next = sys::openat(&folder, part, flags, Mode::empty());
            }
            folder = match next {
                Ok(next) => next,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(in_the_way(&at, part)),
                Err(error) => return Err(error).context(|| at.to_string()),
            };
        }
        self.last = Some((at, clone(&folder)?));
        Ok(Some(folder))
    }
}

/// Makes a folder for everybody to read. Another thread may have made it meanwhile.
fn make_folder(folder: &OwnedFd, name: &OsStr) -> std::result::Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o755);
    match sys::mkdirat(folder, name, mode) {
        Ok(()) => where_known(sys::chmodat(folder, name, mode, AtFlags::empty())),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

fn in_the_way(at: &FilePath, part: &OsStr) -> Error {
    Error::new(
        Kind::Exists,
        format_args!("`{}` of {at} is there and is no folder; links are not followed", part.display()),
    )
}

fn name(at: &FilePath) -> &OsStr {
    OsStr::from_bytes(at.name())
}

/// What a file is called while it is written. Always the same, so that a later run takes away what an earlier one left.
fn part_name(at: &FilePath) -> String {
    format!(".shoebox-{}.part", &blake3::hash(at.name()).to_hex()[..16])
}

fn is_alike(found: &Stat, wanted: &Attributes) -> bool {
    let mtime = i128::from(found.st_mtime) * 1_000_000_000 + i128::from(found.st_mtime_nsec);
    let near = (mtime - i128::from(wanted.mtime_ns)).unsigned_abs() < COARSE.unsigned_abs().into();
    u64::try_from(found.st_size).is_ok_and(|size| size == wanted.size) && near
}

/// Owner first: changing it takes rights away.
fn describe(file: &File, attributes: &Attributes) -> std::result::Result<(), Errno> {
    if let Some((uid, gid)) = attributes.owner {
        where_known(sys::fchown(file, Some(user(uid)), Some(group(gid))))?;
    }
    where_known(sys::fchmod(file, Mode::from_raw_mode(attributes.mode)))?;
    sys::futimens(file, &times(attributes.mtime_ns))
}

/// Sticks for cameras and Windows have no owners and no rights: that is no reason to keep the photo back.
fn where_known(done: std::result::Result<(), Errno>) -> std::result::Result<(), Errno> {
    match done {
        Err(Errno::PERM | Errno::NOTSUP | Errno::INVAL) => Ok(()),
        done => done,
    }
}

fn user(uid: u32) -> sys::Uid {
    sys::Uid::from_raw(uid)
}

fn group(gid: u32) -> sys::Gid {
    sys::Gid::from_raw(gid)
}

fn times(mtime_ns: i64) -> Timestamps {
    let last_modification =
        sys::Timespec { tv_sec: mtime_ns.div_euclid(1_000_000_000), tv_nsec: mtime_ns.rem_euclid(1_000_000_000) as _ };
    Timestamps { last_access: last_modification, last_modification }
}

/// Gives a finished file its name.
fn publish(folder: &OwnedFd, part: &str, name: &OsStr, replace: bool) -> std::result::Result<(), Errno> {
    if replace {
        return sys::renameat(folder, part, folder, name);
    }
    match sys::renameat_with(folder, part, folder, name, RenameFlags::NOREPLACE) {
        // Some file systems cannot promise it: then look first.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            match sys::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => sys::renameat(folder, part, folder, name),
                Ok(_) => Err(Errno::EXIST),
                Err(error) => Err(error),
            }
        }
        done => done,
    }
}

fn remove(folder: &OwnedFd, name: &str) -> std::result::Result<(), Errno> {
    match sys::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

/// True when the next bytes of `file` are `bytes`.
pub(super) fn continues_with(mut file: &File, bytes: &[u8]) -> bool {
    let mut there = vec![0; bytes.len()];
    file.read_exact(&mut there).is_ok() && there == bytes
}

/// Writes all of `bytes`.
pub(super) fn append(file: &mut File, bytes: &[u8], at: &FilePath) -> Result<()> {
    file.write_all(bytes).context(|| format!("writing {at}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    const LIKE: Attributes = Attributes { size: 3, mtime_ns: -1_500_000_000, mode: 0o640, owner: None };

    fn path(text: &str) -> FilePath {
        FilePath::new(text).unwrap()
    }

    fn put(target: &mut Target, at: &str, replace: bool) -> Result<()> {
        target.write(&path(at), &LIKE, replace, |file| append(file, b"new", &path(at)))
    }

    #[test]
    fn a_file_gets_its_bytes_time_and_mode_and_its_folders_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::create(&dir.path().join("a/b")).unwrap();
        put(&mut target, "c/d/e.jpg", false).unwrap();
        let file = dir.path().join("a/b/c/d/e.jpg");
        let meta = std::fs::metadata(&file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!((meta.mtime(), meta.mtime_nsec(), meta.permissions().mode() & 0o7777), (-2, 500_000_000, 0o640));
        assert_eq!(std::fs::read_dir(dir.path().join("a/b/c/d")).unwrap().count(), 1);
        assert!(matches!(target.look(&path("c/d/e.jpg"), &LIKE).unwrap(), There::Alike(_)));
        assert!(matches!(target.look(&path("c/d"), &LIKE).unwrap(), There::Folder));
        assert!(matches!(target.look(&path("x/y"), &LIKE).unwrap(), There::Nothing));
    }

    #[test]
    fn nothing_is_written_through_a_symlink() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), dir.path().join("link")).unwrap();
        std::fs::write(outside.path().join("file"), "old").unwrap();
        symlink(outside.path().join("file"), dir.path().join("photo.jpg")).unwrap();
        let mut target = Target::create(dir.path()).unwrap();
        let error = put(&mut target, "link/x.jpg", true).unwrap_err();
        assert_eq!(error.kind(), Kind::Exists);
        assert_eq!(put(&mut target, "photo.jpg", false).unwrap_err().kind(), Kind::Exists);
        put(&mut target, "photo.jpg", true).unwrap();
        assert_eq!(std::fs::read(outside.path().join("file")).unwrap(), b"old");
        assert_eq!(std::fs::read(dir.path().join("photo.jpg")).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_fails_leaves_nothing_and_what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::create(dir.path()).unwrap();
        put(&mut target, "a.jpg", false).unwrap();
        let fails = |_: &mut File| Err(Error::damaged("a"));
        assert!(target.write(&path("a.jpg"), &LIKE, true, fails).is_err());
        assert!(target.write(&path("b.jpg"), &LIKE, false, fails).is_err());
        assert!(put(&mut target, "a.jpg", false).is_err());
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a.jpg"]);
    }
}
