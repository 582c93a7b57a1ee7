//! The folder that is restored into: names below it are opened one by one and no symlink is
//! followed, so nothing is ever written outside it, whatever the repository or the folder itself
//! holds.
//!
//! A file is written under another name beside its place, and gets its own when it is whole: what
//! was there before is there until then, and an interrupted restore leaves no half file under a
//! photo's name.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    self as sys, Advice, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timestamps,
};
use rustix::io::Errno;

use crate::base::{Context, Error, ErrorKind, FilePath, Result};

/// File systems that keep whole (even) seconds only, such as FAT, are forgiven this many
/// nanoseconds.
const COARSE: i64 = 2_000_000_000;

/// So many zeros in a row are worth a hole.
const HOLE: usize = 64 << 10;

/// So many folders are held open at a time, from the top; those below are opened again each time.
const OPEN: usize = 32;

/// A folder that is restored into.
pub(super) struct RestoreTarget {
    root: OwnedFd,
    path: PathBuf,
    /// Whom all that is made here belongs to, whatever was recorded.
    heir: Option<FileOwner>,
    /// The folders that lead to the one that was used last, by name: neighbours share them.
    trail: Vec<(Vec<u8>, OwnedFd)>,
    /// The one that was used last, where it lies below all of these.
    deepest: Option<OwnedFd>,
}

/// What a file should be like besides its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileAttributes {
    pub size: u64,
    pub mtime_ns: i64,
    pub mode: u32,
    pub owner: Option<FileOwner>,
}

/// A user and a group.
type FileOwner = (u32, u32);

/// A file on a disk: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity(u64, u64);

/// What is at the place of a file.
pub(super) enum PlaceContent {
    Nothing,
    /// A file with the size and time that are wanted: what it holds has to be compared.
    Alike(File),
    /// A file that is not the same.
    Other,
    /// Something that is never replaced.
    Folder,
}

impl RestoreTarget {
    /// Makes the folder `path`, with those above it, and opens it.
    pub fn create(path: &Path) -> Result<RestoreTarget> {
        let making = || format!("making the folder {}", path.display());
        std::fs::create_dir_all(path).context(making)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = sys::open(path, flags, Mode::empty())
            .context(|| format!("opening {}", path.display()))?;
        Ok(RestoreTarget {
            root,
            path: path.to_owned(),
            heir: None,
            trail: Vec::new(),
            deepest: None,
        })
    }

    /// The same in a person's folder: what root makes there belongs to that person. No symlink
    /// below what is there is followed, for the person may change it meanwhile.
    pub fn create_for_its_owner(path: &Path) -> Result<RestoreTarget> {
        let making = || format!("making the folder {}", path.display());
        let whole = std::path::absolute(path).context(making)?;
        let there = whole.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut root = sys::open(there, flags, Mode::empty())
            .context(|| format!("opening {}", there.display()))?;
        let found = sys::fstat(&root).context(making)?;
        let is_a_persons = rustix::process::geteuid().is_root() && found.st_uid != 0;
        let heir = is_a_persons.then_some((found.st_uid, found.st_gid));
        for part in whole.strip_prefix(there).unwrap_or(Path::new("")) {
            root = open_folder(&root, part, true, heir).context(making)?;
        }
        Ok(RestoreTarget { root, path: path.to_owned(), heir, trail: Vec::new(), deepest: None })
    }

    fn inherited(&self, attributes: &FileAttributes) -> FileAttributes {
        FileAttributes { owner: self.heir.or(attributes.owner), ..*attributes }
    }

    /// What lies at `at`, compared with `wanted`.
    pub fn look(&mut self, at: &FilePath, wanted: &FileAttributes) -> Result<PlaceContent> {
        let naming = || at.to_string();
        let Some(found) = self.stat(at)? else { return Ok(PlaceContent::Nothing) };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => return Ok(PlaceContent::Folder),
            FileType::RegularFile if is_alike(&found, wanted) => {}
            _ => return Ok(PlaceContent::Other),
        }
        let Some(folder) = self.existing(at.parent_bytes())? else {
            return Ok(PlaceContent::Nothing);
        };
        // Whoever puts a pipe here meanwhile does not make us wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = sys::openat(folder, name(at), flags, Mode::empty()).context(naming)?;
        let is_file = FileType::from_raw_mode(sys::fstat(&file).context(naming)?.st_mode).is_file();
        Ok(if is_file { PlaceContent::Alike(file.into()) } else { PlaceContent::Other })
    }

    /// Bytes of the file at `at` if it has the size and time that are wanted.
    pub fn is_alike(&mut self, at: &FilePath, wanted: &FileAttributes) -> Result<bool> {
        let found = self.stat(at)?;
        Ok(found.is_some_and(|found| {
            FileType::from_raw_mode(found.st_mode).is_file() && is_alike(&found, wanted)
        }))
    }

    /// The file at `at`; `None` when there is none.
    pub fn identity(&mut self, at: &FilePath) -> Result<Option<FileIdentity>> {
        let found = self.stat(at)?.filter(|found| FileType::from_raw_mode(found.st_mode).is_file());
        Ok(found.map(|found| FileIdentity(found.st_dev, found.st_ino)))
    }

    /// True when something is at `at`.
    pub fn has(&mut self, at: &FilePath) -> Result<bool> {
        Ok(self.stat(at)?.is_some())
    }

    fn stat(&mut self, at: &FilePath) -> Result<Option<Stat>> {
        let Some(folder) = self.existing(at.parent_bytes())? else { return Ok(None) };
        match sys::statat(folder, name(at), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).context(|| at.to_string()),
        }
    }

    /// Makes the folder `at`, and those above it.
    pub fn make_folder(&mut self, at: &FilePath) -> Result<()> {
        self.folder(Some(at.as_bytes())).map(drop)
    }

    /// Lets its owner write into the folder `at`, if it is there: an earlier restore may have
    /// closed it.
    pub fn unlock(&mut self, at: &FilePath) -> Result<()> {
        let Some(folder) = self.existing(Some(at.as_bytes()))? else { return Ok(()) };
        let naming = || at.to_string();
        let mode = Mode::from_raw_mode(sys::fstat(folder).context(naming)?.st_mode) | Mode::RWXU;
        where_known(sys::fchmod(folder, mode)).context(naming)
    }

    /// Writes the file `at`: `fill` writes its bytes. Replaces what is there only if told to.
    pub fn write(
        &mut self,
        at: &FilePath,
        attributes: &FileAttributes,
        replace: bool,
        fill: impl FnOnce(&mut File) -> Result<()>,
    ) -> Result<()> {
        let attributes = self.inherited(attributes);
        let folder = self.folder(at.parent_bytes())?;
        let part = part_name(at);
        let naming = || at.to_string();
        let mut file = create_part(folder, &part).context(naming)?;
        let written = fill(&mut file)
            .and_then(|()| end_here(&mut file).context(naming))
            .and_then(|()| describe(&file, &attributes).context(naming))
            .and_then(|()| publish(folder, &part, name(at), replace).context(naming));
        if written.is_err() {
            let _ = remove(folder, &part);
        }
        written
    }

    /// Gives the file `first`, which must be `identity`, the further name `at`. False where the
    /// disk cannot do that.
    pub fn hard_link(
        &mut self,
        first: &FilePath,
        identity: FileIdentity,
        at: &FilePath,
        replace: bool,
    ) -> Result<bool> {
        let naming = || at.to_string();
        let Some(source) = self.existing(first.parent_bytes())? else { return Ok(false) };
        let source = source.try_clone().context(naming)?;
        let folder = self.folder(at.parent_bytes())?;
        let part = part_name(at);
        remove(folder, &part).context(naming)?;
        match sys::linkat(&source, name(first), folder, part.as_str(), AtFlags::empty()) {
            Ok(()) => {}
            Err(
                Errno::PERM
                | Errno::MLINK
                | Errno::XDEV
                | Errno::NOTSUP
                | Errno::NOSYS
                | Errno::NOENT,
            ) => {
                return Ok(false);
            }
            Err(error) => return Err(error).context(naming),
        }
        let made = sys::statat(folder, part.as_str(), AtFlags::SYMLINK_NOFOLLOW).context(naming)?;
        let published = if FileIdentity(made.st_dev, made.st_ino) == identity {
            publish(folder, &part, name(at), replace).context(naming).map(|()| true)
        } else {
            Ok(false)
        };
        if !matches!(published, Ok(true)) {
            let _ = remove(folder, &part);
        }
        published
    }

    /// Makes the symlink `at`, which is never followed here.
    pub fn link(
        &mut self,
        at: &FilePath,
        target: &[u8],
        attributes: &FileAttributes,
        replace: bool,
    ) -> Result<()> {
        let attributes = self.inherited(attributes);
        let folder = self.folder(at.parent_bytes())?;
        let part = part_name(at);
        let naming = || at.to_string();
        remove(folder, &part).context(naming)?;
        sys::symlinkat(OsStr::from_bytes(target), folder, part.as_str()).context(naming)?;
        let written = (|| {
            if let Some((uid, gid)) = attributes.owner {
                where_known(sys::chownat(
                    folder,
                    part.as_str(),
                    Some(user(uid)),
                    Some(group(gid)),
                    AtFlags::SYMLINK_NOFOLLOW,
                ))?;
            }
            sys::utimensat(
                folder,
                part.as_str(),
                &times(attributes.mtime_ns),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
            publish(folder, &part, name(at), replace)
        })();
        if written.is_err() {
            let _ = remove(folder, &part);
        }
        written.context(naming)
    }

    /// The target of the symlink at `at`; `None` when there is none.
    pub fn target_of(&mut self, at: &FilePath) -> Result<Option<Vec<u8>>> {
        let Some(folder) = self.existing(at.parent_bytes())? else { return Ok(None) };
        Ok(sys::readlinkat(folder, name(at), Vec::new()).ok().map(std::ffi::CString::into_bytes))
    }

    /// Gives the folder `at`, which is made where it is not there, the time and rights that it had.
    pub fn finish_folder(&mut self, at: &FilePath, attributes: &FileAttributes) -> Result<()> {
        let attributes = self.inherited(attributes);
        describe(self.folder(Some(at.as_bytes()))?, &attributes).context(|| at.to_string())
    }

    /// Waits until all that was written is on the disk.
    pub fn sync(&self) -> Result<()> {
        sys::syncfs(&self.root).context(|| format!("writing to {}", self.path.display()))
    }

    /// The folder `at`, made where it is not there.
    fn folder(&mut self, at: Option<&[u8]>) -> Result<&OwnedFd> {
        let path = self.path.clone();
        self.descend(at, true)?.ok_or_else(|| Error::not_found(path.display()))
    }

    /// The folder `at`, if it is there.
    fn existing(&mut self, at: Option<&[u8]>) -> Result<Option<&OwnedFd>> {
        self.descend(at, false)
    }

    fn descend(&mut self, at: Option<&[u8]>, make: bool) -> Result<Option<&OwnedFd>> {
        let parts: Vec<&[u8]> =
            at.map(|at| at.split(|&byte| byte == b'/').collect()).unwrap_or_default();
        let known =
            self.trail.iter().zip(&parts).take_while(|((name, _), part)| name == *part).count();
        self.trail.truncate(known);
        self.deepest = None;
        for part in &parts[known..] {
            let naming = || String::from_utf8_lossy(at.unwrap_or_default()).into_owned();
            let next = match open_folder(self.last(), OsStr::from_bytes(part), make, self.heir) {
                Ok(next) => next,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(in_the_way(&naming(), part)),
                Err(error) => return Err(error).context(naming),
            };
            if self.trail.len() < OPEN {
                self.trail.push((part.to_vec(), next))
            } else {
                self.deepest = Some(next)
            }
        }
        Ok(Some(self.last()))
    }

    /// The folder that was used last.
    fn last(&self) -> &OwnedFd {
        self.deepest
            .as_ref()
            .or_else(|| self.trail.last().map(|(_, folder)| folder))
            .unwrap_or(&self.root)
    }
}

/// Opens the folder `name` of `folder`, made where it is not there if `make`. Another thread may
/// make it meanwhile.
fn open_folder(
    folder: &OwnedFd,
    name: &OsStr,
    make: bool,
    heir: Option<FileOwner>,
) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match sys::openat(folder, name, flags, Mode::empty()) {
        Err(Errno::NOENT) if make => {}
        opened => return opened,
    }
    let made = sys::mkdirat(folder, name, Mode::from_raw_mode(0o755));
    let opened = sys::openat(folder, name, flags, Mode::empty())?;
    match made {
        // For everybody to read, whatever the mask says; by the open folder, as its name may be
        // something else by now.
        Ok(()) => {
            if let Some((uid, gid)) = heir {
                where_known(sys::fchown(&opened, Some(user(uid)), Some(group(gid))))?;
            }
            where_known(sys::fchmod(&opened, Mode::from_raw_mode(0o755)))?;
        }
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    Ok(opened)
}

/// Makes the file that becomes another when it is whole.
fn create_part(folder: &OwnedFd, part: &str) -> std::result::Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || sys::openat(folder, part, flags, Mode::from_raw_mode(0o600)).map(File::from);
    match create() {
        Err(Errno::EXIST) => remove(folder, part).and_then(|()| create()),
        created => created,
    }
}

fn in_the_way(at: &str, part: &[u8]) -> Error {
    let part = String::from_utf8_lossy(part);
    Error::new(
        ErrorKind::Exists,
        format_args!("`{part}` of {at} is there and is not a folder; links are not followed"),
    )
}

fn name(at: &FilePath) -> &OsStr {
    OsStr::from_bytes(at.name())
}

/// True for what [`part_name`] makes.
pub(super) fn is_part_name(name: &[u8]) -> bool {
    let middle = name.strip_prefix(b".shoebox-").and_then(|name| name.strip_suffix(b".part"));
    middle.is_some_and(|hash| hash.len() == 16 && hash.iter().all(u8::is_ascii_hexdigit))
}

/// What a file is called while it is written. Always the same, so that a later run takes away what
/// an earlier one left.
fn part_name(at: &FilePath) -> String {
    format!(".shoebox-{}.part", &blake3::hash(at.name()).to_hex()[..16])
}

fn is_alike(found: &Stat, wanted: &FileAttributes) -> bool {
    let mtime = i128::from(found.st_mtime) * 1_000_000_000 + i128::from(found.st_mtime_nsec);
    let near = (mtime - i128::from(wanted.mtime_ns)).unsigned_abs() < COARSE.unsigned_abs().into();
    u64::try_from(found.st_size).is_ok_and(|size| size == wanted.size) && near
}

/// Owner first: changing it takes rights away.
fn describe(file: impl AsFd, attributes: &FileAttributes) -> std::result::Result<(), Errno> {
    if let Some((uid, gid)) = attributes.owner {
        where_known(sys::fchown(&file, Some(user(uid)), Some(group(gid))))?;
    }
    where_known(sys::fchmod(&file, Mode::from_raw_mode(attributes.mode)))?;
    sys::futimens(file, &times(attributes.mtime_ns))
}

/// Sticks for cameras and Windows have no owners and no rights: that is no reason to keep the photo
/// back.
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
    let last_modification = sys::Timespec {
        tv_sec: mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: mtime_ns.rem_euclid(1_000_000_000) as _,
    };
    Timestamps { last_access: last_modification, last_modification }
}

/// Gives a finished file its name.
fn publish(
    folder: &OwnedFd,
    part: &str,
    name: &OsStr,
    replace: bool,
) -> std::result::Result<(), Errno> {
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

/// Has the disk begin with `len` bytes of `file` that were written at `offset`, so that the end
/// need not wait for all. Only advice: Linux starts to write what is dirty and forgets what is
/// clean (mm/fadvise.c).
pub(super) fn begin_writing(file: &File, offset: u64, len: u64) {
    let _ = sys::fadvise(file, offset, NonZero::new(len), Advice::DontNeed);
}

/// True when the next bytes of `file` are `bytes`.
pub(super) fn continues_with(mut file: &File, bytes: &[u8]) -> bool {
    let mut there = vec![0; bytes.len()];
    file.read_exact(&mut there).is_ok() && there == bytes
}

/// Writes all of `bytes`; zeros become holes, as `cp --sparse=always` makes them.
pub(super) fn append(file: &mut File, bytes: &[u8], at: &FilePath) -> Result<()> {
    let is_hole = |piece: &&[u8]| piece.len() == HOLE && piece.iter().all(|byte| *byte == 0);
    let mut rest = bytes;
    while !rest.is_empty() {
        let holes = rest.chunks(HOLE).take_while(is_hole).count() * HOLE;
        let (hole, after) = rest.split_at(holes);
        let data = after.chunks(HOLE).take_while(|piece| !is_hole(piece)).map(<[u8]>::len).sum();
        let (data, after) = after.split_at(data);
        let skipped =
            if hole.is_empty() { Ok(0) } else { file.seek(SeekFrom::Current(hole.len() as i64)) };
        skipped.and_then(|_| file.write_all(data)).context(|| format!("writing {at}"))?;
        rest = after;
    }
    Ok(())
}

/// Ends the file where the next byte would go: it may end with a hole.
fn end_here(file: &mut File) -> std::io::Result<()> {
    let end = file.stream_position()?;
    if file.metadata()?.len() < end { file.set_len(end) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    const LIKE: FileAttributes =
        FileAttributes { size: 3, mtime_ns: -1_500_000_000, mode: 0o640, owner: None };

    fn path(text: &str) -> FilePath {
        FilePath::new(text).unwrap()
    }

    fn put(target: &mut RestoreTarget, at: &str, replace: bool) -> Result<()> {
        target.write(&path(at), &LIKE, replace, |file| append(file, b"new", &path(at)))
    }

    #[test]
    fn a_file_gets_its_bytes_time_and_mode_and_its_folders_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut target = RestoreTarget::create(&dir.path().join("a/b")).unwrap();
        put(&mut target, "c/d/e.jpg", false).unwrap();
        let file = dir.path().join("a/b/c/d/e.jpg");
        let meta = std::fs::metadata(&file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(
            (meta.mtime(), meta.mtime_nsec(), meta.permissions().mode() & 0o7777),
            (-2, 500_000_000, 0o640)
        );
        assert_eq!(std::fs::read_dir(dir.path().join("a/b/c/d")).unwrap().count(), 1);
        assert!(matches!(target.look(&path("c/d/e.jpg"), &LIKE).unwrap(), PlaceContent::Alike(_)));
        assert!(matches!(target.look(&path("c/d"), &LIKE).unwrap(), PlaceContent::Folder));
        assert!(matches!(target.look(&path("x/y"), &LIKE).unwrap(), PlaceContent::Nothing));
    }

    #[test]
    fn nothing_is_written_through_a_symlink() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), dir.path().join("link")).unwrap();
        std::fs::write(outside.path().join("file"), "old").unwrap();
        symlink(outside.path().join("file"), dir.path().join("photo.jpg")).unwrap();
        let mut target = RestoreTarget::create(dir.path()).unwrap();
        let error = put(&mut target, "link/x.jpg", true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists);
        assert_eq!(put(&mut target, "photo.jpg", false).unwrap_err().kind(), ErrorKind::Exists);
        put(&mut target, "photo.jpg", true).unwrap();
        assert_eq!(std::fs::read(outside.path().join("file")).unwrap(), b"old");
        assert_eq!(std::fs::read(dir.path().join("photo.jpg")).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_fails_leaves_nothing_and_what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut target = RestoreTarget::create(dir.path()).unwrap();
        put(&mut target, "a.jpg", false).unwrap();
        let fails = |_: &mut File| Err(Error::damaged("a"));
        assert!(target.write(&path("a.jpg"), &LIKE, true, fails).is_err());
        assert!(target.write(&path("b.jpg"), &LIKE, false, fails).is_err());
        assert!(put(&mut target, "a.jpg", false).is_err());
        let names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["a.jpg"]);
    }
}
