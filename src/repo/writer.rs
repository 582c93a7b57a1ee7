//! Where new bytes go: the archives of the snapshot that is being written.
//!
//! Many threads add to one sink. A content is stored once, however many of them bring it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::Connection;

use super::record::ArchiveInfo;
use crate::archive::{ArchiveWriter, Digests, LargeContent, NewContent, StoredContent};
use crate::base::stored::{ChunkLine, ContentLine};
use crate::base::{Error, Hash, Result, SnapshotId};
use crate::catalog::query;
use crate::store::{Object, Store};

/// An archive is finished when it has so many bytes; a content that is larger has one to itself.
pub const TARGET: u64 = 256 << 20;

/// The archives of one snapshot.
#[derive(Debug)]
pub struct ContentSink {
    store: Arc<dyn Store>,
    snapshot: SnapshotId,
    state: Mutex<WriterState>,
}

#[derive(Debug, Default)]
struct WriterState {
    current: Option<ArchiveWriter>,
    names: u32,
    stored: HashSet<Hash>,
    /// Sizes of large contents that were added.
    sizes: HashSet<u64>,
    written: WrittenArchives,
}

/// What a sink wrote.
#[derive(Debug, Default, Clone)]
pub struct WrittenArchives {
    pub archives: Vec<ArchiveInfo>,
    /// Contents that were new.
    pub contents: u64,
    /// Their plain bytes.
    pub bytes: u64,
}

impl ContentSink {
    pub(super) fn new(store: Arc<dyn Store>, snapshot: SnapshotId) -> Self {
        ContentSink { store, snapshot, state: Mutex::default() }
    }

    /// True when the content called `hash` is in the repository already, or was added to this sink.
    pub fn has_content(&self, catalog: &Connection, hash: Hash) -> Result<bool> {
        Ok(self.state().stored.contains(&hash) || query::has_content(catalog, hash)?)
    }

    /// True when the content or chunk called `hash` was added to this sink.
    pub fn has_added(&self, hash: Hash) -> bool {
        self.state().stored.contains(&hash)
    }

    /// Adds a content that is at hand whole. Does nothing when it was added before.
    pub fn add_content(
        &self,
        seen: &NewContent<'_>,
        digests: &Digests,
        stored: StoredContent,
    ) -> Result<()> {
        let mut state = self.state();
        if !state.stored.insert(digests.hash) {
            return Ok(());
        }
        let added =
            self.with_archive(&mut state, |archive| archive.add_content(seen, digests, stored));
        state.note(added, digests)
    }

    /// Adds a content of `size` bytes that is too large to be at hand whole: `fill` gives it
    /// segment by segment and returns its digests, or fails, and then nothing of it stays. `first`
    /// is its first segment.
    pub fn add_large<E: From<Error>>(
        &self,
        seen: NewContent<'_>,
        size: u64,
        first: &[u8],
        fill: impl FnOnce(&mut LargeContent<'_>) -> Result<Digests, E>,
    ) -> Result<Digests, E> {
        if size > TARGET {
            return self.add_alone(seen, size, first, fill);
        }
        let mut state = self.state();
        let mut archive = state.take(&*self.store)?;
        let written =
            write_large(&mut archive, seen, size, first, fill, |hash| !state.stored.insert(*hash));
        self.put_back(&mut state, archive)?;
        let (digests, new) = written?;
        if new {
            state.note(Ok(()), &digests)?;
        }
        state.sizes.insert(digests.size);
        Ok(digests)
    }

    /// True when a content of `size` bytes may be stored already: it is worth hashing before it is
    /// written.
    pub fn may_have(&self, catalog: &Connection, size: u64) -> Result<bool> {
        Ok(self.state().sizes.contains(&size) || query::has_content_of(catalog, size)?)
    }

    /// A content that fills an archive of its own does not keep the others waiting.
    fn add_alone<E: From<Error>>(
        &self,
        seen: NewContent<'_>,
        size: u64,
        first: &[u8],
        fill: impl FnOnce(&mut LargeContent<'_>) -> Result<Digests, E>,
    ) -> Result<Digests, E> {
        let mut archive = ArchiveWriter::new(self.store.draft()?);
        // Claimed at once: another thread may just now come to the end of the same content.
        let claim = |hash: &Hash| !self.state().stored.insert(*hash);
        let (digests, new) = write_large(&mut archive, seen, size, first, fill, claim)?;
        if new {
            let name = self.next_name(&mut self.state());
            let finished = finish(archive, name);
            let mut state = self.state();
            let added = finished.map(|info| state.written.archives.push(info));
            state.note(added, &digests)?;
        }
        self.state().sizes.insert(digests.size);
        Ok(digests)
    }

    /// Adds a chunk of a stream: one zstd frame, and its key chunks when it is a patch.
    pub fn add_chunk(&self, hash: Hash, size: u64, frame: &[u8], keys: &[Hash]) -> Result<()> {
        let mut state = self.state();
        if !state.stored.insert(hash) {
            return Ok(());
        }
        let added =
            self.with_archive(&mut state, |archive| archive.add_chunk(hash, size, frame, keys));
        if added.is_err() {
            state.stored.remove(&hash);
        }
        added
    }

    /// Adds a copy of the content that `line` says is in the archive `from`, as it is stored there,
    /// verified. Does nothing when it was added before. `Damaged` when it is not what was written;
    /// nothing of it stays then.
    pub fn copy_content(&self, from: &dyn Object, line: &ContentLine) -> Result<()> {
        if !self.state().stored.insert(line.content) {
            return Ok(());
        }
        let copied = if line.size > TARGET {
            self.copy_alone(from, line)
        } else {
            self.with_archive(&mut self.state(), |archive| archive.copy_content(from, line))
        };
        self.state().note_content(line.content, copied.map(|()| line.size))
    }

    /// A content that fills an archive of its own.
    fn copy_alone(&self, from: &dyn Object, line: &ContentLine) -> Result<()> {
        let mut archive = ArchiveWriter::new(self.store.draft()?);
        archive.copy_content(from, line)?;
        self.publish(&mut self.state(), archive)
    }

    /// Adds a copy of the chunk that `line` says is in the archive `from`; `prefix` is what its key
    /// chunks make, empty for a key chunk. Does nothing when it was added before. `Damaged` when it
    /// is not what was written.
    pub fn copy_chunk(&self, from: &dyn Object, line: &ChunkLine, prefix: &[u8]) -> Result<()> {
        let mut state = self.state();
        if !state.stored.insert(line.chunk) {
            return Ok(());
        }
        let copied =
            self.with_archive(&mut state, |archive| archive.copy_chunk(from, line, prefix));
        if copied.is_err() {
            state.stored.remove(&line.chunk);
        }
        copied
    }

    /// Publishes the last archive. All that was added is durable on return.
    pub fn finish(self) -> Result<WrittenArchives> {
        self.flush()?;
        Ok(self.state().written.clone())
    }

    /// Publishes the archive that is being written: durable on return. More can be added.
    pub fn flush(&self) -> Result<()> {
        let mut state = self.state();
        match state.current.take() {
            Some(archive) if !archive.is_empty() => self.publish(&mut state, archive),
            _ => Ok(()),
        }
    }

    /// What was written so far.
    pub fn written(&self) -> WrittenArchives {
        self.state().written.clone()
    }

    fn with_archive(
        &self,
        state: &mut WriterState,
        add: impl FnOnce(&mut ArchiveWriter) -> Result<()>,
    ) -> Result<()> {
        let mut archive = state.take(&*self.store)?;
        let added = add(&mut archive);
        self.put_back(state, archive)?;
        added
    }

    fn put_back(&self, state: &mut WriterState, archive: ArchiveWriter) -> Result<()> {
        if archive.size() >= TARGET && !archive.is_empty() {
            self.publish(state, archive)
        } else {
            state.current = Some(archive);
            Ok(())
        }
    }

    fn publish(&self, state: &mut WriterState, archive: ArchiveWriter) -> Result<()> {
        let name = self.next_name(state);
        state.written.archives.push(finish(archive, name)?);
        Ok(())
    }

    fn next_name(&self, state: &mut WriterState) -> String {
        let id = self.snapshot.to_string();
        loop {
            state.names += 1;
            let name = format!("{}/{id}-{:04}.tar", id.get(..4).unwrap_or("0000"), state.names);
            // A backup that was interrupted within this very second may have left one.
            if self.store.open(&format!("archives/{name}")).is_err() {
                return name;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl WriterState {
    fn take(&mut self, store: &dyn Store) -> Result<ArchiveWriter> {
        match self.current.take() {
            Some(archive) => Ok(archive),
            None => Ok(ArchiveWriter::new(store.draft()?)),
        }
    }

    fn note_content(&mut self, hash: Hash, copied: Result<u64>) -> Result<()> {
        match copied {
            Ok(bytes) => {
                self.written.contents += 1;
                self.written.bytes += bytes;
                Ok(())
            }
            Err(error) => {
                self.stored.remove(&hash);
                Err(error)
            }
        }
    }

    fn note(&mut self, added: Result<()>, digests: &Digests) -> Result<()> {
        self.note_content(digests.hash, added.map(|()| digests.size))
    }
}

/// Writes a large content; its digests, and whether it stays: one that is `known` is taken back.
fn write_large<E: From<Error>>(
    archive: &mut ArchiveWriter,
    seen: NewContent<'_>,
    size: u64,
    first: &[u8],
    fill: impl FnOnce(&mut LargeContent<'_>) -> Result<Digests, E>,
    known: impl FnOnce(&Hash) -> bool,
) -> Result<(Digests, bool), E> {
    let mut large = archive.large_content(seen, size, first)?;
    let digests = fill(&mut large)?;
    let new = !known(&digests.hash);
    if new {
        large.finish(&digests)?
    } else {
        large.abandon()?
    }
    Ok((digests, new))
}

fn finish(archive: ArchiveWriter, name: String) -> Result<ArchiveInfo> {
    let finished = archive.finish(&format!("archives/{name}"))?;
    Ok(ArchiveInfo { name, size: finished.size, hash: finished.hash })
}
