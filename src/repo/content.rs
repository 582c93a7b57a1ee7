//! Reading contents and chunks: verified, in segments, through bounded caches.
//!
//! Memory: at most 16 segments of 1 MiB and 6 chunks (4 MiB on average, 15 at most), and 64 open
//! files. Several threads that want the same piece read it once.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use lru::LruCache;
use rusqlite::Connection;

use super::record::StreamInfo;
use crate::archive;
use crate::base::stored::ContentPlace;
use crate::base::{Error, ErrorKind, Hash, Result};
use crate::catalog::Catalog;
use crate::catalog::{Generation, query};
use crate::store::{Object, Store};

/// Segments that are kept.
const SEGMENT_CACHE: usize = 16;
/// Chunks that are kept.
const CHUNK_CACHE: usize = 6;
/// Places of contents that are kept.
const PLACE_CACHE: usize = 256;
/// Archives that are kept open.
const OPEN_ARCHIVES: usize = 64;
/// What is asked of the disk ahead of a reader.
const READ_AHEAD: u64 = 8 << 20;

/// Bytes of a segment.
pub const SEGMENT: u64 = archive::SEGMENT as u64;

/// A piece that some thread is reading, or has read. Failures are not kept.
type SharedPiece = Arc<OnceLock<Result<Arc<Vec<u8>>>>>;

/// An archive, or what to say where no newer catalog knows another place.
enum ArchiveAnswer {
    Here(Arc<dyn Object>),
    /// Pruned since the reader's catalog, or lost.
    Gone(Error),
}

impl ArchiveAnswer {
    fn present(self) -> Result<Arc<dyn Object>> {
        match self {
            ArchiveAnswer::Here(object) => Ok(object),
            ArchiveAnswer::Gone(error) => Err(error),
        }
    }
}

/// Reads contents out of the archives of one repository. Shared by threads.
#[derive(Debug)]
pub struct ContentReader {
    store: Arc<dyn Store>,
    /// Where the newest generation of the catalog is.
    newest: PathBuf,
    /// By name: an archive's bytes never change.
    archives: Mutex<LruCache<String, Arc<dyn Object>>>,
    /// By id of a content: the name of its archive, and the place in it.
    places: Mutex<LruCache<i64, Arc<(String, ContentPlace)>>>,
    segments: Mutex<LruCache<(i64, u64), SharedPiece>>,
    chunks: Mutex<LruCache<Hash, SharedPiece>>,
}

impl ContentReader {
    pub(super) fn new(store: Arc<dyn Store>, newest: PathBuf) -> Self {
        ContentReader {
            store,
            newest,
            archives: cache(OPEN_ARCHIVES),
            places: cache(PLACE_CACHE),
            segments: cache(SEGMENT_CACHE),
            chunks: cache(CHUNK_CACHE),
        }
    }

    /// The same contents, for a catalog of another lineage: what is cached here goes by the ids of
    /// one alone.
    pub fn with_other_ids(&self) -> ContentReader {
        ContentReader::new(self.store.clone(), self.newest.clone())
    }

    /// Segment `index` (of [`SEGMENT`] plain bytes, the last may be shorter) of content `id`,
    /// verified against its hash. `Damaged` when the bytes are not what was written.
    pub fn segment(&self, catalog: &Connection, id: i64, index: u64) -> Result<Arc<Vec<u8>>> {
        once(&self.segments, (id, index), || {
            let place = self.place(catalog, id)?;
            match self.archive(&place.0)? {
                ArchiveAnswer::Here(object) => read(&*object, &place.1, index),
                ArchiveAnswer::Gone(error) => self.moved_segment(place.1.hash, index, error),
            }
        })
    }

    /// The segment of a content whose archive was pruned since the reader's catalog: where the
    /// newest one says.
    fn moved_segment(&self, hash: Hash, index: u64, gone: Error) -> Result<Vec<u8>> {
        let newest = self.newest_catalog(&gone)?;
        let Some(id) = query::content_id(&newest, hash)? else { return Err(gone) };
        let (archive, place) = checked_place(&newest, id)?;
        match archive {
            0 => Err(gone),
            _ => {
                let object = self.archive(&query::archive_name(&newest, archive)?)?.present()?;
                read(&*object, &place, index)
            }
        }
    }

    fn newest_catalog(&self, gone: &Error) -> Result<Catalog> {
        let opened = Generation::open(&self.newest).and_then(|generation| generation.connect());
        opened.map_err(|_| Error::damaged(gone))
    }

    /// The chunk of `stream` that holds the plain byte `offset`, and where that chunk begins in the
    /// stream. `Invalid` past the end.
    pub fn chunk_at(
        &self,
        catalog: &Connection,
        stream: &StreamInfo,
        offset: u64,
    ) -> Result<(u64, Arc<Vec<u8>>)> {
        let mut begin = 0;
        for chunk in &stream.chunks {
            // Saturating: a crafted record may say anything.
            let end = chunk.size.saturating_add(begin);
            if offset < end {
                return Ok((begin, self.chunk(catalog, chunk.hash)?));
            }
            begin = end;
        }
        Err(Error::invalid(format_args!("byte {offset} is past the end of a stream of {begin}")))
    }

    /// The plain bytes of the chunk called `hash`, verified.
    pub fn chunk(&self, catalog: &Connection, hash: Hash) -> Result<Arc<Vec<u8>>> {
        once(&self.chunks, hash, || self.read_chunk(catalog, hash))
    }

    fn read_chunk(&self, catalog: &Connection, hash: Hash) -> Result<Vec<u8>> {
        let row = query::chunk(catalog, hash)?;
        match self.archive(&query::archive_name(catalog, row.archive)?)? {
            ArchiveAnswer::Here(object) => self.chunk_in(&*object, catalog, &row),
            ArchiveAnswer::Gone(error) => {
                let newest = self.newest_catalog(&error)?;
                let row = query::chunk(&newest, hash)?;
                let object =
                    self.archive(&query::archive_name(&newest, row.archive)?)?.present()?;
                self.chunk_in(&*object, &newest, &row)
            }
        }
    }

    fn chunk_in(
        &self,
        object: &dyn Object,
        catalog: &Connection,
        row: &query::ChunkRow,
    ) -> Result<Vec<u8>> {
        let mut prefix = Vec::new();
        for key in &row.keys {
            prefix.extend_from_slice(&self.key_chunk(catalog, *key)?);
        }
        archive::read_chunk(object, &row.place, &prefix)
    }

    fn key_chunk(&self, catalog: &Connection, hash: Hash) -> Result<Arc<Vec<u8>>> {
        if query::chunk(catalog, hash)?.keys.is_empty() {
            self.chunk(catalog, hash)
        } else {
            Err(Error::damaged(format_args!("chunk {hash} is a patch and cannot be a key")))
        }
    }

    /// Says that `len` bytes from `offset` of the archive `id` will be wanted soon. Nothing depends
    /// on it.
    pub fn will_need(&self, catalog: &Connection, id: i64, offset: u64, len: u64) {
        let archive = query::archive_name(catalog, id).and_then(|name| self.archive(&name));
        if let Ok(ArchiveAnswer::Here(object)) = archive {
            object.will_need(offset, len);
        }
    }

    fn place(&self, catalog: &Connection, id: i64) -> Result<Arc<(String, ContentPlace)>> {
        if let Some(place) = locked(&self.places).get(&id) {
            return Ok(place.clone());
        }
        let (archive, place) = checked_place(catalog, id)?;
        let place = Arc::new((query::archive_name(catalog, archive)?, place));
        locked(&self.places).put(id, place.clone());
        Ok(place)
    }

    fn archive(&self, name: &str) -> Result<ArchiveAnswer> {
        if let Some(object) = locked(&self.archives).get(name) {
            return Ok(ArchiveAnswer::Here(object.clone()));
        }
        let object: Arc<dyn Object> = match self.store.open(&format!("archives/{name}")) {
            Ok(object) => Arc::from(object),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let gone = Error::damaged(format_args!("the archive {name} is missing"));
                return Ok(ArchiveAnswer::Gone(gone.caused_by(error)));
            }
            Err(error) => return Err(error),
        };
        locked(&self.archives).put(name.to_owned(), object.clone());
        Ok(ArchiveAnswer::Here(object))
    }

    /// Forgets what is cached: the next reader looks again. For a new generation of the catalog.
    pub fn clear(&self) {
        locked(&self.archives).clear();
        locked(&self.places).clear();
        locked(&self.segments).clear();
    }
}

fn read(object: &dyn Object, place: &ContentPlace, index: u64) -> Result<Vec<u8>> {
    advise(object, place, index);
    archive::read_segment(object, place, index)
}

/// Archive and place of the content `id`, its tree verified.
fn checked_place(catalog: &Connection, id: i64) -> Result<(i64, ContentPlace)> {
    let (archive, place) = query::content_place(catalog, id)?;
    if place.tree.is_empty() || archive::hasher::tree_matches(&place.tree, place.hash) {
        Ok((archive, place))
    } else {
        Err(Error::damaged(format_args!("the catalog's record of content {}", place.hash)))
    }
}

fn advise(object: &dyn Object, place: &ContentPlace, index: u64) {
    // Someone who begins at the front will want the rest; someone who goes on will want what comes
    // next.
    let begin = index * SEGMENT;
    let ahead = place.size.saturating_sub(begin).min(READ_AHEAD);
    if place.frames.is_none() && ahead > SEGMENT && index.is_multiple_of(4) {
        object.will_need(place.offset + begin, ahead);
    }
}

fn cache<K: std::hash::Hash + Eq, V>(entries: usize) -> Mutex<LruCache<K, V>> {
    Mutex::new(LruCache::new(NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN)))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A cache that a panicking thread left behind is still a cache.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The piece `key`: from the cache, from the thread that is reading it just now, or by `read`.
fn once<K: std::hash::Hash + Eq + Clone>(
    cache: &Mutex<LruCache<K, SharedPiece>>,
    key: K,
    read: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<Arc<Vec<u8>>> {
    let piece = locked(cache).get_or_insert(key.clone(), SharedPiece::default).clone();
    let mut failure = None;
    let bytes = piece
        .get_or_init(|| read().map(Arc::new).map_err(|error| failure.insert(error).repeated()));
    bytes.as_ref().map(Arc::clone).map_err(|error| {
        locked(cache).pop(&key);
        failure.unwrap_or_else(|| error.repeated())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_for_a_read_that_failed_gets_the_first_ones_class() {
        let pieces = cache(1);
        let failed = SharedPiece::default();
        failed.set(Err(Error::new(ErrorKind::Exhausted, "no descriptor left"))).unwrap();
        locked(&pieces).put(1, failed);
        let error = once(&pieces, 1, || panic!("it was read by the first")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert_eq!(*once(&pieces, 1, || Ok(vec![7])).unwrap(), [7], "failures are not kept");
    }

    #[test]
    fn who_reads_first_gets_the_error_with_its_cause() {
        let full = || Err(Error::io("reading x", std::io::Error::from_raw_os_error(5)));
        let error = once(&cache(1), 1, full).unwrap_err();
        assert!(std::error::Error::source(&error).is_some());
    }
}
