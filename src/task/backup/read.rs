//! Reading one file: whole or not at all.
//!
//! A file is stored only if it was the same before and after it was read; else it is tried again,
//! and reported.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use jiff::Timestamp;

use crate::archive::{Digests, Hasher, LargeContent, NewContent, SEGMENT, StoredContent, hasher};
use crate::base::file::{FileEntry, FileKind};
use crate::base::{Error, ErrorKind, Monitor, Result, StopNotice};
use crate::catalog::{Catalog, query};
use crate::repo::{ContentReader, ContentSink};
use crate::source::{FoundEntry, LibraryPlaces};

/// A file up to this size is read into memory whole.
const SMALL: u64 = 16 << 20;
/// How often a file that changes is tried, and how long it is left alone between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// How reading a file ended.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    Stored(FileEntry),
    /// It changed while it was read, each time.
    Changing,
    Vanished,
    Unreadable(String),
}

/// Why one try did not succeed.
enum ReadFailure {
    /// The file was not the same before and after.
    Changed,
    /// The file could not be read.
    Source(io::Error),
    /// The repository could not be written: the end of the backup.
    Fatal(Error),
}

impl From<Error> for ReadFailure {
    fn from(error: Error) -> Self {
        ReadFailure::Fatal(error)
    }
}

/// Reads files, on a thread of its own.
pub(super) struct FileReader<'a> {
    sink: &'a ContentSink,
    places: &'a LibraryPlaces,
    catalog: Catalog,
    monitor: &'a dyn Monitor,
    /// Where stored contents are read to see whether they are whole; `None` to believe it.
    verify: Option<&'a ContentReader>,
    segment: Vec<u8>,
}

impl<'a> FileReader<'a> {
    pub fn new(
        sink: &'a ContentSink,
        places: &'a LibraryPlaces,
        catalog: Catalog,
        verify: Option<&'a ContentReader>,
        monitor: &'a dyn Monitor,
    ) -> Self {
        FileReader { sink, places, catalog, monitor, verify, segment: vec![0; SEGMENT] }
    }

    /// Stores the file `found`. An error is the end of the backup.
    pub fn store(&mut self, found: &FoundEntry) -> Result<ReadOutcome> {
        let mut identity = OpenIdentity::found(found);
        for attempt in 0..TRIES {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            match self.attempt(found, &mut identity) {
                Ok(entry) => return Ok(ReadOutcome::Stored(entry)),
                Err(ReadFailure::Changed) => {}
                Err(ReadFailure::Fatal(error)) => return Err(error),
                Err(ReadFailure::Source(error)) => return self.unread(found, &error),
            }
        }
        Ok(ReadOutcome::Changing)
    }

    fn unread(&self, found: &FoundEntry, error: &io::Error) -> Result<ReadOutcome> {
        if let Some(error) = self.places.ending(&found.path, error) {
            return Err(error);
        }
        // A symlink stands where a folder or the file itself was.
        let is_swapped =
            matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR | libc::EXDEV));
        Ok(if is_swapped || error.kind() == io::ErrorKind::NotFound {
            ReadOutcome::Vanished
        } else {
            ReadOutcome::Unreadable(format!("it cannot be read: {error}"))
        })
    }

    fn attempt(
        &mut self,
        found: &FoundEntry,
        identity: &mut OpenIdentity,
    ) -> Result<FileEntry, ReadFailure> {
        let mut file = self.places.file(&found.path).map_err(ReadFailure::Source)?;
        if is_young(found) {
            // What a program writes through a mapping moves the times again only after its pages
            // were written out.
            let _ = rustix::fs::fdatasync(&file);
        }
        let before = file.metadata().map_err(ReadFailure::Source)?;
        let walked = std::mem::replace(identity, OpenIdentity::opened(&before));
        if !before.is_file() || !walked.is_same(identity) {
            return Err(ReadFailure::Changed);
        }
        let seen = entry(found, &before);
        let digests = if seen.size <= SMALL {
            self.small(&mut file, &before, &seen)?
        } else {
            self.large(&mut file, &before, &seen)?
        };
        Ok(FileEntry { hash: Some(digests.hash), ..seen })
    }

    /// True when the content need not be stored. A paranoid backup reads what is stored of it, and
    /// stores it again if that is damaged.
    fn is_stored(&self, digests: &Digests) -> Result<bool> {
        let Some(contents) = self.verify else {
            return self.sink.has_content(&self.catalog, digests.hash);
        };
        if self.sink.has_added(digests.hash) {
            return Ok(true);
        }
        let known = query::has_content(&self.catalog, digests.hash)?;
        let Some(id) = query::content_id(&self.catalog, digests.hash)?.filter(|_| known) else {
            return Ok(false);
        };
        let segments = digests.size.div_ceil(SEGMENT as u64).max(1);
        for index in 0..segments {
            match contents.segment(&self.catalog, id, index) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Damaged => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn small(
        &mut self,
        file: &mut File,
        before: &Metadata,
        seen: &FileEntry,
    ) -> Result<Digests, ReadFailure> {
        let mut plain = Vec::with_capacity(seen.size as usize + 1);
        // One byte more than it had: a file that grows is not read for ever.
        file.take(seen.size + 1).read_to_end(&mut plain).map_err(ReadFailure::Source)?;
        check_same(file, before, plain.len() as u64)?;
        let digests = hasher::digest(&plain);
        if !self.is_stored(&digests)? {
            self.sink.add_content(
                &new_content(seen),
                &digests,
                StoredContent::choose(&seen.path, plain)?,
            )?;
        }
        Ok(digests)
    }

    fn large(
        &mut self,
        file: &mut File,
        before: &Metadata,
        seen: &FileEntry,
    ) -> Result<Digests, ReadFailure> {
        let (monitor, size) = (self.monitor, seen.size);
        if self.sink.may_have(&self.catalog, size)? {
            let digests = read_segments(file, before, &mut self.segment, monitor, |_| Ok(()))?;
            if self.is_stored(&digests)? {
                return Ok(digests);
            }
            file.rewind().map_err(ReadFailure::Source)?;
        }
        let first = fill(file, &mut self.segment).map_err(ReadFailure::Source)?;
        file.rewind().map_err(ReadFailure::Source)?;
        let trial = self.segment[..first].to_vec();
        let segment = &mut self.segment;
        self.sink.add_large(new_content(seen), size, &trial, |large: &mut LargeContent<'_>| {
            read_segments(file, before, segment, monitor, |plain| large.segment(plain))
        })
    }
}

/// Which file it is.
struct OpenIdentity {
    inode: (u64, u64),
    size: u64,
    mtime: i64,
}

impl OpenIdentity {
    fn found(found: &FoundEntry) -> Self {
        OpenIdentity { inode: (found.dev, found.ino), size: found.size, mtime: found.mtime }
    }

    fn opened(meta: &Metadata) -> Self {
        OpenIdentity { inode: (meta.dev(), meta.ino()), size: meta.size(), mtime: mtime(meta) }
    }

    /// Inodes alone wobble on some network and union file systems.
    fn is_same(&self, other: &OpenIdentity) -> bool {
        self.inode == other.inode || (self.size, self.mtime) == (other.size, other.mtime)
    }
}

/// True when it changed within the time that the kernel keeps written pages for itself (30
/// seconds), and some more.
fn is_young(found: &FoundEntry) -> bool {
    Timestamp::from_nanosecond(found.mtime.into())
        .is_ok_and(|time| time.duration_until(Timestamp::now()).as_secs() < 90)
}

fn mtime(meta: &Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
}

/// Reads `file` to its end, a segment at a time.
fn read_segments(
    file: &mut File,
    before: &Metadata,
    segment: &mut [u8],
    monitor: &dyn Monitor,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Digests, ReadFailure> {
    let mut hasher = Hasher::default();
    let mut read = 0;
    while read < before.size() {
        StopNotice::CONTINUES.check(monitor)?;
        let len = fill(file, segment).map_err(ReadFailure::Source)?;
        read += len as u64;
        if len == 0 || read > before.size() {
            return Err(ReadFailure::Changed);
        }
        hasher.update(&segment[..len]);
        each(&segment[..len])?;
    }
    check_same(file, before, read)?;
    Ok(hasher.finish())
}

/// Fills `buffer` from `file`, less only at the end.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn check_same(file: &File, before: &Metadata, read: u64) -> Result<(), ReadFailure> {
    let after = file.metadata().map_err(ReadFailure::Source)?;
    let times = |meta: &Metadata| (meta.mtime(), meta.mtime_nsec(), meta.size());
    if times(before) == times(&after) && read == before.size() {
        Ok(())
    } else {
        Err(ReadFailure::Changed)
    }
}

fn entry(found: &FoundEntry, meta: &Metadata) -> FileEntry {
    FileEntry {
        path: found.path.clone(),
        kind: FileKind::File,
        size: meta.size(),
        mtime: mtime(meta),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        hash: None,
        target: None,
        link: None,
    }
}

fn new_content(seen: &FileEntry) -> NewContent<'_> {
    NewContent {
        path: &seen.path,
        mtime: seen.mtime,
        mode: seen.mode,
        uid: seen.uid,
        gid: seen.gid,
    }
}
