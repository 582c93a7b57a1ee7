//! Where new bytes go: the archives of the snapshot that is being written.
//!
//! Many threads add to one sink. A content is stored once, however many of them bring it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::Connection;

use super::record::ArchiveInfo;
use crate::archive::{ArchiveWriter, Digests, LargeContent, NewContent, SEGMENT, Stored};
use crate::base::{Hash, Result, SnapshotId};
use crate::catalog::query;
use crate::store::Store;

/// An archive is finished when it has so many bytes; a content that is larger has one to itself.
pub const TARGET: u64 = 256 << 20;

/// The archives of one snapshot.
#[derive(Debug)]
pub struct ContentSink {
    store: Arc<dyn Store>,
    snapshot: SnapshotId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<ArchiveWriter>,
    names: u32,
    stored: HashSet<Hash>,
    written: Written,
}

/// What a sink wrote.
#[derive(Debug, Default, Clone)]
pub struct Written {
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

    /// True when the chunk called `hash` is in the repository already, or was added to this sink.
    pub(super) fn has_chunk(&self, catalog: &Connection, hash: Hash) -> Result<bool> {
        Ok(self.state().stored.contains(&hash) || query::has_chunk(catalog, hash)?)
    }

    /// Adds a content that is at hand whole. Does nothing when it was added before.
    pub fn add_content(&self, seen: &NewContent<'_>, digests: &Digests, stored: Stored) -> Result<()> {
        let mut state = self.state();
        if !state.stored.insert(digests.hash) {
            return Ok(());
        }
        let added = self.with_archive(&mut state, |archive| archive.add_content(seen, digests, stored));
        state.note(added, digests)
    }

    /// Adds a content of `size` bytes that is too large to be at hand whole: `fill` gives it segment by segment and
    /// returns its digests, or fails, and then nothing of it stays. `first` is its first segment.
    pub fn add_large(
        &self,
        seen: NewContent<'_>,
        size: u64,
        first: &[u8],
        fill: impl FnOnce(&mut LargeContent<'_>) -> Result<Digests>,
    ) -> Result<Digests> {
        if size > TARGET {
            return self.add_alone(seen, size, first, fill);
        }
        let mut state = self.state();
        let added = self.with_archive(&mut state, |archive| write_large(archive, seen, size, first, fill));
        let digests = added?;
        state.stored.insert(digests.hash);
        state.note(Ok(()), &digests)?;
        Ok(digests)
    }

    /// A content that fills an archive of its own does not keep the others waiting.
    fn add_alone(
        &self,
        seen: NewContent<'_>,
        size: u64,
        first: &[u8],
        fill: impl FnOnce(&mut LargeContent<'_>) -> Result<Digests>,
    ) -> Result<Digests> {
        let mut archive = ArchiveWriter::new(self.store.draft()?);
        let digests = write_large(&mut archive, seen, size, first, fill)?;
        let name = self.next_name(&mut self.state());
        let info = finish(archive, name)?;
        let mut state = self.state();
        state.written.archives.push(info);
        state.stored.insert(digests.hash);
        state.note(Ok(()), &digests)?;
        Ok(digests)
    }

    /// Adds a chunk of a stream: one zstd frame, and its key chunks when it is a patch.
    pub(super) fn add_chunk(&self, hash: Hash, size: u64, frame: &[u8], keys: &[Hash]) -> Result<()> {
        let mut state = self.state();
        if !state.stored.insert(hash) {
            return Ok(());
        }
        let added = self.with_archive(&mut state, |archive| archive.add_chunk(hash, size, frame, keys));
        if added.is_err() {
            state.stored.remove(&hash);
        }
        added
    }

    /// Publishes the last archive. All that was added is durable on return.
    pub fn finish(self) -> Result<Written> {
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
    pub fn written(&self) -> Written {
        self.state().written.clone()
    }

    fn with_archive<T>(&self, state: &mut State, add: impl FnOnce(&mut ArchiveWriter) -> Result<T>) -> Result<T> {
        let mut archive = match state.current.take() {
            Some(archive) => archive,
            None => ArchiveWriter::new(self.store.draft()?),
        };
        let added = add(&mut archive);
        match archive.size() >= TARGET && !archive.is_empty() {
            true => self.publish(state, archive)?,
            false => state.current = Some(archive),
        }
        added
    }

    fn publish(&self, state: &mut State, archive: ArchiveWriter) -> Result<()> {
        let name = self.next_name(state);
        state.written.archives.push(finish(archive, name)?);
        Ok(())
    }

    fn next_name(&self, state: &mut State) -> String {
        state.names += 1;
        let id = self.snapshot.to_string();
        format!("{}/{id}-{:04}.tar", id.get(..4).unwrap_or("0000"), state.names)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn note(&mut self, added: Result<()>, digests: &Digests) -> Result<()> {
        match added {
            Ok(()) => {
                self.written.contents += 1;
                self.written.bytes += digests.size;
                Ok(())
            }
            Err(error) => {
                self.stored.remove(&digests.hash);
                Err(error)
            }
        }
    }
}

fn write_large(
    archive: &mut ArchiveWriter,
    seen: NewContent<'_>,
    size: u64,
    first: &[u8],
    fill: impl FnOnce(&mut LargeContent<'_>) -> Result<Digests>,
) -> Result<Digests> {
    debug_assert!(first.len() <= SEGMENT);
    let mut large = archive.large_content(seen, size, first)?;
    let digests = fill(&mut large)?;
    large.finish(&digests)?;
    Ok(digests)
}

fn finish(archive: ArchiveWriter, name: String) -> Result<ArchiveInfo> {
    let finished = archive.finish(&format!("archives/{name}"))?;
    Ok(ArchiveInfo { name, size: finished.size, hash: finished.hash })
}
