//! A store in a folder of this machine.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{Advice, fadvise};
use tempfile::TempPath;

use super::spool::WorkFolder;
use super::{Object, ObjectDraft, Store, StoredObject};
use crate::base::durable::{copy_over, give_name, sync, sync_folder};
use crate::base::{Context, Error, FilePath, Result};

/// Where drafts are, below the folder.
const DRAFTS: &str = "tmp";

/// A folder. What is in it is private: folders 0700, files 0600.
#[derive(Debug, Clone)]
pub struct FolderStore {
    root: PathBuf,
    /// Chosen when something is first written.
    work: Arc<OnceLock<WorkFolder>>,
}

impl FolderStore {
    /// The store in the folder `root`.
    pub fn new(root: &Path) -> FolderStore {
        FolderStore { root: root.to_owned(), work: Arc::default() }
    }

    /// Makes the folder `name` and those above it, private.
    pub fn create_folder(&self, name: &str) -> Result<()> {
        create_private(&self.path(name)?)
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        Ok(FilePath::new(name)?.below(&self.root))
    }
}

impl Store for FolderStore {
    fn open(&self, name: &str) -> Result<Box<dyn Object>> {
        let path = self.path(name)?;
        let opening = || format!("opening {}", path.display());
        // What is not a plain file is none of ours: a pipe would be waited for, a device has no end.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match File::options().read(true).custom_flags(flags).open(&path) {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(not_ours(&path)),
            opened => opened.context(opening)?,
        };
        let meta = file.metadata().context(opening)?;
        if meta.is_file() {
            Ok(Box::new(FileObject { file, size: meta.len(), path }))
        } else {
            Err(not_ours(&path))
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        let mut found = Vec::new();
        let walk =
            walkdir::WalkDir::new(self.path(prefix)?).follow_links(false).sort_by_file_name();
        for entry in walk {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error)
                    if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) =>
                {
                    continue;
                }
                Err(error) => {
                    return Err(Error::io(format_args!("listing {prefix}"), error.into()));
                }
            };
            if let (true, Some(name)) = (entry.file_type().is_file(), self.name_of(entry.path())) {
                let size = entry
                    .metadata()
                    .map_err(|error| Error::io(format_args!("listing {name}"), error.into()))?
                    .len();
                found.push(StoredObject { name, size });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn draft(&self) -> Result<Box<dyn ObjectDraft>> {
        self.drafts()?;
        let file = draft_in(self.work()?.path())?;
        Ok(Box::new(FileDraft {
            file,
            written: 0,
            waiting: Vec::new(),
            begun: 0,
            store: self.clone(),
        }))
    }

    fn work_folder(&self) -> Result<PathBuf> {
        Ok(self.work()?.path().to_owned())
    }

    fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        self.refuse_links(path.parent().unwrap_or(&self.root))?;
        let deleting = || format!("deleting {}", path.display());
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io(deleting(), error)),
            Ok(()) => sync_folder(path.parent().unwrap_or(&self.root)).context(deleting),
        }
    }

    fn settle(&self) -> Result<()> {
        let settling = |error: walkdir::Error| {
            Error::io(format_args!("looking into {}", self.root.display()), error.into())
        };
        let drafts = self.root.join(DRAFTS);
        let walk = walkdir::WalkDir::new(&self.root)
            .into_iter()
            .filter_entry(|entry| entry.path() != drafts);
        for entry in walk {
            let entry = entry.map_err(settling)?;
            if entry.file_type().is_dir() {
                sync_folder(entry.path())
                    .context(|| format!("saving {}", entry.path().display()))?;
            }
        }
        Ok(())
    }
}

impl FolderStore {
    fn work(&self) -> Result<&WorkFolder> {
        if let Some(chosen) = self.work.get() {
            return Ok(chosen);
        }
        let chosen = WorkFolder::choose(&self.drafts()?)?;
        Ok(self.work.get_or_init(|| chosen))
    }

    /// The folder of drafts, which is there.
    fn drafts(&self) -> Result<PathBuf> {
        let folder = self.root.join(DRAFTS);
        self.refuse_links(&folder)?;
        self.make(&folder)?;
        Ok(folder)
    }

    /// The finished `file` as a draft on the disk of the store.
    fn on_its_disk(&self, file: tempfile::NamedTempFile) -> Result<TempPath> {
        if !self.work()?.is_local() {
            return Ok(file.into_temp_path());
        }
        let copy = draft_in(&self.drafts()?)?;
        let copying = || format!("writing {}", copy.path().display());
        copy_over(file.path(), copy.as_file()).context(copying)?;
        Ok(copy.into_temp_path())
    }

    /// Refuses to write below `folder` where a symlink leads out of the store: somebody else put it
    /// there.
    fn refuse_links(&self, folder: &Path) -> Result<()> {
        let ours = folder.ancestors().take_while(|above| *above != self.root);
        match ours.into_iter().find(|above| above.is_symlink()) {
            None => Ok(()),
            Some(link) => Err(not_ours(link)),
        }
    }

    /// Makes `folder` below the root, which must be there and hold something: where its disk was
    /// unmounted in the middle, the folder that it was mounted at is empty, and nothing may be
    /// written to the disk below.
    fn make(&self, folder: &Path) -> Result<()> {
        let is_gone =
            || fs::read_dir(&self.root).map_or(true, |mut entries| entries.next().is_none());
        if folder.is_dir() || !is_gone() {
            create_private(folder)
        } else {
            Err(Error::not_found(format_args!("the repository in {}", self.root.display()))
                .hint("it was there a moment ago: was its disk unmounted?"))
        }
    }

    fn name_of(&self, path: &Path) -> Option<String> {
        path.strip_prefix(&self.root).ok()?.to_str().map(str::to_owned)
    }
}

#[derive(Debug)]
struct FileObject {
    file: File,
    size: u64,
    path: PathBuf,
}

impl Object for FileObject {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::damaged(format_args!("{} is shorter than it was", self.path.display()))
            }
            _ => Error::io(format_args!("reading {}", self.path.display()), error),
        })
    }

    fn will_need(&self, offset: u64, len: u64) {
        // Only advice: a file system that has none is as well.
        let _ = fadvise(&self.file, offset, std::num::NonZeroU64::new(len), Advice::WillNeed);
    }
}

/// Small pieces wait in memory until there are enough for one write: an archive of small files is
/// made of thousands.
#[derive(Debug)]
struct FileDraft {
    file: tempfile::NamedTempFile,
    /// Bytes that are in the file.
    written: u64,
    /// Those that come after them.
    waiting: Vec<u8>,
    /// Bytes of the file that the disk was told of.
    begun: u64,
    store: FolderStore,
}

/// So many bytes wait at most.
const WAITING: usize = 1 << 18;
/// After so many bytes the disk begins to write them, while the next ones are read: else `publish`
/// would wait for all.
const BEGIN: u64 = 8 << 20;

impl FileDraft {
    fn writing(&self) -> String {
        format!("writing {}", self.file.path().display())
    }

    /// Writes what waits. After a failure it still waits.
    fn flush(&mut self) -> Result<()> {
        self.file.as_file().write_all_at(&self.waiting, self.written).context(|| self.writing())?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        self.begin();
        Ok(())
    }

    /// Has the disk begin with what was written. Nobody will read it soon: its place in memory is
    /// given back.
    fn begin(&mut self) {
        let len = self.written.saturating_sub(self.begun);
        if len >= BEGIN {
            // Only advice. Linux starts to write what is dirty and forgets what is clean
            // (mm/fadvise.c).
            let _ = fadvise(
                self.file.as_file(),
                self.begun,
                std::num::NonZeroU64::new(len),
                Advice::DontNeed,
            );
            self.begun = self.written;
        }
    }
}

impl ObjectDraft for FileDraft {
    fn size(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.waiting.len() + bytes.len() > WAITING {
            self.flush()?;
        }
        if bytes.len() > WAITING {
            self.file.as_file().write_all_at(bytes, self.written).context(|| self.writing())?;
            self.written += bytes.len() as u64;
            self.begin();
        } else {
            self.waiting.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.flush()?;
        self.file.as_file().write_all_at(bytes, offset).context(|| self.writing())
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        if let Some(kept) = size.checked_sub(self.written) {
            self.waiting.truncate(kept as usize);
            return Ok(());
        }
        self.waiting.clear();
        self.file.as_file().set_len(size).context(|| self.writing())?;
        self.written = size;
        self.begun = self.begun.min(size);
        Ok(())
    }

    fn publish(mut self: Box<Self>, name: &str) -> Result<()> {
        self.flush()?;
        let target = self.store.path(name)?;
        let saving = || format!("saving {}", target.display());
        let folder = target.parent().unwrap_or(&self.store.root);
        self.store.refuse_links(folder)?;
        self.store.make(folder)?;
        sync(self.file.as_file()).context(saving)?;
        let draft = self.store.on_its_disk(self.file)?;
        give_name(&draft, &target).context(saving)?;
        // It lies under its name now: there is nothing to clear away.
        let _ = draft.keep();
        sync_folder(folder).context(|| format!("saving {}", folder.display()))
    }
}

/// A new file in the folder `drafts`.
fn draft_in(drafts: &Path) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::Builder::new().prefix("draft-").tempfile_in(drafts);
    file.context(|| format!("writing in {}", drafts.display()))
}

fn not_ours(path: &Path) -> Error {
    Error::damaged(format_args!(
        "{} is not a file or folder of a repository, but a link or a device",
        path.display()
    ))
    .hint("shoebox did not create it; inspect it and remove it")
}

/// Makes `folder` and those above it, 0700, durable.
fn create_private(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = match folder.parent() {
        None => Path::new("/"),
        // A bare name is in the current folder.
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    create_private(parent)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io(format_args!("creating {}", folder.display()), error))
        }
        _ => sync_folder(parent).context(|| format!("saving {}", parent.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::base::ErrorKind;
    use crate::store::{read_all, write_all};

    /// A store that was begun.
    fn folder(root: &Path) -> FolderStore {
        let store = FolderStore::new(root);
        store.create_folder(DRAFTS).unwrap();
        store
    }

    #[test]
    fn a_root_that_is_gone_or_empty_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let (root, away) = (dir.path().join("disk"), dir.path().join("away"));
        fs::create_dir(&root).unwrap();
        let store = folder(&root);
        let mut draft = store.draft().unwrap();
        draft.append(b"photo").unwrap();
        fs::rename(&root, &away).unwrap();
        assert_eq!(store.draft().map(drop).unwrap_err().kind(), ErrorKind::NotFound);
        fs::create_dir(&root).unwrap();
        for error in [
            store.draft().map(drop),
            draft.publish("archives/2026/a.tar"),
            write_all(&store, "notes/a", b"x"),
        ] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }

    #[test]
    fn nothing_shows_until_it_is_published_and_then_it_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let store = folder(dir.path());
        let mut draft = store.draft().unwrap();
        draft.append(b"hello wrong").unwrap();
        draft.truncate(6).unwrap();
        draft.append(b"world").unwrap();
        draft.rewrite(0, b"H").unwrap();
        assert_eq!(store.list("archives").unwrap(), []);
        draft.publish("archives/2026/a.tar").unwrap();
        assert_eq!(read_all(&store, "archives/2026/a.tar", 100).unwrap(), b"Hello world");
        let mode =
            |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("archives"), mode("archives/2026/a.tar")), (0o700, 0o600));
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_draft_is_the_same_however_its_pieces_fall_into_writes() {
        let dir = tempfile::tempdir().unwrap();
        let store = folder(dir.path());
        let (mut draft, mut expected) = (store.draft().unwrap(), Vec::new());
        for (round, len) in [1, WAITING - 1, 1, WAITING, 7, WAITING + 1, 3, WAITING * 2, 100]
            .into_iter()
            .enumerate()
        {
            let piece = vec![round as u8 + 1; len];
            draft.append(&piece).unwrap();
            expected.extend_from_slice(&piece);
            draft.append(b"taken back").unwrap();
            draft.truncate(expected.len() as u64).unwrap();
            draft.rewrite(expected.len() as u64 - 1, b"x").unwrap();
            *expected.last_mut().unwrap() = b'x';
            assert_eq!(draft.size(), expected.len() as u64);
        }
        draft.truncate(WAITING as u64 - 5).unwrap();
        draft.append(b"end").unwrap();
        expected.truncate(WAITING - 5);
        expected.extend_from_slice(b"end");
        draft.publish("a").unwrap();
        assert_eq!(read_all(&store, "a", 1 << 30).unwrap(), expected);
    }

    #[test]
    fn an_object_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let store = folder(dir.path());
        write_all(&store, "x", b"1").unwrap();
        assert_eq!(write_all(&store, "x", b"2").unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(read_all(&store, "x", 1).unwrap(), b"1");
        store.delete("x").unwrap();
        store.delete("x").unwrap();
        assert_eq!(store.open("x").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let store = FolderStore::new(Path::new("/nowhere"));
        for name in ["../x", "/etc/passwd", "a//b", ""] {
            assert_eq!(store.open(name).unwrap_err().kind(), ErrorKind::Invalid, "{name}");
        }
    }
}
