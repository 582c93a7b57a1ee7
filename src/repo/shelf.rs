//! All that the archives hold, by their own indexes: every copy of every content and chunk. The
//! catalog, which knows one place of each, is not asked, so this is what a check compares it with
//! and what a repair takes from.
//!
//! Memory: some 160 bytes a content, and a few open archives and chunks.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use super::Repository;
use crate::archive::{self, ArchiveReader};
use crate::base::stored::{ChunkLine, ContentLine, IndexLine};
use crate::base::{Error, ErrorKind, Hash, Result, Sha1};
use crate::store::{Object, Store};

const OPEN_ARCHIVES: usize = 32;
const KEPT_INDEXES: usize = 4;
const KEPT_CHUNKS: usize = 8;

/// The archives of a repository and what they hold.
#[derive(Debug)]
pub struct ArchiveInventory {
    store: Arc<dyn Store>,
    archives: Vec<InventoryEntry>,
    copies: HashMap<Hash, Vec<ArchiveSpot>>,
    /// The contents with a SHA-1; more than one only by a forgery.
    by_sha1: HashMap<Sha1, BTreeMap<Hash, u64>>,
    /// The keys of patches.
    keys: HashMap<ArchiveSpot, Vec<Hash>>,
    /// What was found in archives whose index cannot be read.
    found: HashMap<usize, Vec<IndexLine>>,
    objects: LruCache<usize, Arc<dyn Object>>,
    indexes: LruCache<usize, Arc<Vec<IndexLine>>>,
    chunks: LruCache<Hash, Arc<Vec<u8>>>,
}

/// An archive that is there.
#[derive(Debug)]
pub struct InventoryEntry {
    /// Name below `archives/`.
    pub name: String,
    pub size: u64,
    /// It waits for its deletion: what it holds counts for a repair alone.
    pub retired: bool,
    /// BLAKE3 of its index, and its bytes by its lines; or why it cannot be read.
    pub index: Result<Hash>,
}

/// A copy of a content or chunk: which archive, and which line of its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArchiveSpot {
    pub archive: usize,
    pub line: usize,
}

impl ArchiveInventory {
    /// Reads the indexes of all archives. One that cannot be read is noted as such.
    pub fn open(repository: &Repository) -> Result<ArchiveInventory> {
        let store = repository.store().clone();
        let (retired, mut shelf) = (repository.notes()?, ArchiveInventory::empty(store.clone()));
        for listed in
            store.list("archives")?.into_iter().filter(|listed| listed.name.ends_with(".tar"))
        {
            let name = listed.name.trim_start_matches("archives/").to_owned();
            let retired = retired.retired().contains_key(name.as_str());
            shelf.add(name, listed.size, retired)?;
        }
        Ok(shelf)
    }

    fn empty(store: Arc<dyn Store>) -> ArchiveInventory {
        let kept = |entries| NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN);
        ArchiveInventory {
            store,
            archives: Vec::new(),
            copies: HashMap::new(),
            by_sha1: HashMap::new(),
            keys: HashMap::new(),
            found: HashMap::new(),
            objects: LruCache::new(kept(OPEN_ARCHIVES)),
            indexes: LruCache::new(kept(KEPT_INDEXES)),
            chunks: LruCache::new(kept(KEPT_CHUNKS)),
        }
    }

    fn add(&mut self, name: String, size: u64, retired: bool) -> Result<()> {
        let archive = self.archives.len();
        let opened = self.store.open(&format!("archives/{name}")).and_then(ArchiveReader::open);
        let index = match opened.and_then(|reader| Ok((reader.hash(), reader.lines()?))) {
            Ok((hash, lines)) => {
                lines
                    .iter()
                    .enumerate()
                    .for_each(|(line, of)| self.note(ArchiveSpot { archive, line }, of));
                Ok(hash)
            }
            // A prune deleted it just now.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            Err(error) => Err(error),
        };
        self.archives.push(InventoryEntry { name, size, retired, index });
        Ok(())
    }

    fn note(&mut self, spot: ArchiveSpot, line: &IndexLine) {
        self.copies.entry(hash_of(line)).or_default().push(spot);
        match line {
            IndexLine::Content(line) => {
                self.by_sha1.entry(line.sha1).or_default().insert(line.content, line.size);
            }
            IndexLine::Chunk(ChunkLine { keys, .. }) if !keys.is_empty() => {
                drop(self.keys.insert(spot, keys.clone()))
            }
            IndexLine::Chunk(_) => {}
        }
    }

    /// The contents with this SHA-1, and their sizes.
    pub fn with_sha1(&self, sha1: Sha1) -> Vec<(Hash, u64)> {
        self.by_sha1.get(&sha1).into_iter().flatten().map(|(hash, size)| (*hash, *size)).collect()
    }

    /// Takes in what was found in an archive whose index cannot be read, and verified.
    pub fn add_found(&mut self, archive: usize, line: IndexLine) {
        let found = self.found.entry(archive).or_default();
        let spot = ArchiveSpot { archive, line: found.len() };
        found.push(line.clone());
        self.indexes.pop(&archive);
        self.note(spot, &line);
    }

    /// The archives, by name.
    pub fn archives(&self) -> &[InventoryEntry] {
        &self.archives
    }

    /// The number of the archive `name`.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.archives.binary_search_by(|archive| archive.name.as_str().cmp(name)).ok()
    }

    /// Every copy of the content or chunk called `hash`: those of archives that count first, of
    /// these the newest first.
    pub fn copies(&self, hash: Hash) -> Vec<ArchiveSpot> {
        let mut copies = self.copies.get(&hash).cloned().unwrap_or_default();
        copies.sort_by_key(|spot| (self.archives[spot.archive].retired, std::cmp::Reverse(*spot)));
        copies
    }

    /// Every copy that readers may use.
    pub fn live_copies(&self, hash: Hash) -> impl Iterator<Item = ArchiveSpot> + '_ {
        self.copies(hash).into_iter().filter(|spot| !self.archives[spot.archive].retired)
    }

    /// The keys of the copy at `spot`; none for what is no patch.
    pub fn keys(&self, spot: ArchiveSpot) -> &[Hash] {
        self.keys.get(&spot).map_or(&[], Vec::as_slice)
    }

    /// True when readers have the chunk called `hash`, and all keys that it needs.
    pub fn has_chunk(&self, hash: Hash) -> bool {
        self.live_copies(hash).any(|spot| self.keys(spot).iter().all(|key| self.has_key(*key)))
    }

    fn has_key(&self, hash: Hash) -> bool {
        self.live_copies(hash).any(|spot| self.keys(spot).is_empty())
    }

    /// The archive, open.
    pub fn object(&mut self, archive: usize) -> Result<Arc<dyn Object>> {
        if let Some(object) = self.objects.get(&archive) {
            return Ok(object.clone());
        }
        let object: Arc<dyn Object> =
            Arc::from(self.store.open(&format!("archives/{}", self.archives[archive].name))?);
        self.objects.put(archive, object.clone());
        Ok(object)
    }

    /// The archive, for reading it whole.
    pub fn reader(&self, archive: usize) -> Result<ArchiveReader> {
        ArchiveReader::open(self.store.open(&format!("archives/{}", self.archives[archive].name))?)
    }

    /// An archive that was written since, for reading it whole.
    pub fn open_new(&self, name: &str) -> Result<ArchiveReader> {
        ArchiveReader::open(self.store.open(&format!("archives/{name}"))?)
    }

    /// What the archive holds.
    pub fn lines(&mut self, archive: usize) -> Result<Arc<Vec<IndexLine>>> {
        if let Some(lines) = self.indexes.get(&archive) {
            return Ok(lines.clone());
        }
        let lines = match &self.archives[archive].index {
            Ok(_) => Arc::new(self.reader(archive)?.lines()?),
            Err(_) => Arc::new(self.found.get(&archive).cloned().unwrap_or_default()),
        };
        self.indexes.put(archive, lines.clone());
        Ok(lines)
    }

    /// The line of the copy at `spot`.
    pub fn line(&mut self, spot: ArchiveSpot) -> Result<IndexLine> {
        let lines = self.lines(spot.archive)?;
        lines.get(spot.line).cloned().ok_or_else(|| Error::damaged("an archive's index"))
    }

    /// The plain bytes of the chunk called `hash`, from whatever copy verifies.
    pub fn chunk(&mut self, hash: Hash) -> Result<Arc<Vec<u8>>> {
        self.chunk_of(hash, false)
    }

    fn chunk_of(&mut self, hash: Hash, keys_only: bool) -> Result<Arc<Vec<u8>>> {
        if let Some(plain) = self.chunks.get(&hash).filter(|_| !keys_only) {
            return Ok(plain.clone());
        }
        let mut failure = Error::damaged(format_args!("no archive holds chunk {hash}"));
        for spot in self.copies(hash) {
            let read = match self.line(spot)? {
                IndexLine::Chunk(line) if line.keys.is_empty() || !keys_only => {
                    self.chunk_at(spot, &line)
                }
                _ => continue,
            };
            match read {
                Ok(plain) => {
                    let plain = Arc::new(plain);
                    self.chunks.put(hash, plain.clone());
                    return Ok(plain);
                }
                Err(error) if error.is_damage() => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    /// The plain bytes of that very copy.
    pub fn chunk_at(&mut self, spot: ArchiveSpot, line: &ChunkLine) -> Result<Vec<u8>> {
        let prefix = self.prefix(&line.keys)?;
        archive::read_chunk(&*self.object(spot.archive)?, &line.into(), &prefix)
    }

    /// The plain bytes of `keys`, put together: what a patch on them needs. `Damaged` when one is
    /// lost, or is a patch.
    pub fn prefix(&mut self, keys: &[Hash]) -> Result<Vec<u8>> {
        let mut prefix = Vec::new();
        for key in keys {
            prefix.extend_from_slice(&self.chunk_of(*key, true)?);
        }
        Ok(prefix)
    }

    /// The first copy of the content called `hash` that verifies, but for those that `is_bad`.
    pub fn sound_content(
        &mut self,
        hash: Hash,
        is_bad: &dyn Fn(ArchiveSpot) -> bool,
    ) -> Result<Option<(ArchiveSpot, ContentLine)>> {
        for spot in self.copies(hash).into_iter().filter(|spot| !is_bad(*spot)) {
            let IndexLine::Content(line) = self.line(spot)? else { continue };
            match archive::verify::verify_content(&*self.object(spot.archive)?, &line, &mut |_| {
                true
            }) {
                Ok(_) => return Ok(Some((spot, line))),
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// What a line of an index is about.
pub fn hash_of(line: &IndexLine) -> Hash {
    match line {
        IndexLine::Content(line) => line.content,
        IndexLine::Chunk(line) => line.chunk,
    }
}
