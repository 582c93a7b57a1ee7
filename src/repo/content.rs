//! Reading contents and chunks: verified, in segments, through bounded caches.
//!
//! Memory: at most 16 segments of 1 MiB and 6 chunks (4 MiB on average, 15 at most), and 64 open files. Several threads that want the same piece read it once.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};

use lru::LruCache;
use rusqlite::Connection;

use super::record::Stream;
use crate::archive;
use crate::base::stored::ContentPlace;
use crate::base::{Error, Hash, Kind, Result};
use crate::catalog::query;
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
type Piece = Arc<OnceLock<Option<Arc<Vec<u8>>>>>;

/// Reads contents out of the archives of one repository. Shared by threads.
#[derive(Debug)]
pub struct Contents {
    store: Arc<dyn Store>,
    archives: Mutex<LruCache<i64, Arc<dyn Object>>>,
    places: Mutex<LruCache<i64, Arc<(i64, ContentPlace)>>>,
    segments: Mutex<LruCache<(i64, u64), Piece>>,
    chunks: Mutex<LruCache<Hash, Piece>>,
}

impl Contents {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Contents {
            store,
            archives: cache(OPEN_ARCHIVES),
            places: cache(PLACE_CACHE),
            segments: cache(SEGMENT_CACHE),
            chunks: cache(CHUNK_CACHE),
        }
    }

    /// Segment `index` (of [`SEGMENT`] plain bytes, the last may be shorter) of content `id`, verified against its
    /// hash. `Damaged` when the bytes are not what was written.
    pub fn segment(&self, catalog: &Connection, id: i64, index: u64) -> Result<Arc<Vec<u8>>> {
        once(&self.segments, (id, index), || {
            let place = self.place(catalog, id)?;
            let object = self.archive(catalog, place.0)?;
            advise(&*object, &place.1, index);
            archive::read_segment(&*object, &place.1, index)
        })
    }

    /// The chunk of `stream` that holds the plain byte `offset`, and where that chunk begins in the stream.
    /// `Invalid` past the end.
    pub fn chunk_at(&self, catalog: &Connection, stream: &Stream, offset: u64) -> Result<(u64, Arc<Vec<u8>>)> {
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
        let mut prefix = Vec::new();
        for key in &row.keys {
            prefix.extend_from_slice(&self.key_chunk(catalog, *key)?);
        }
        archive::read_chunk(&*self.archive(catalog, row.archive)?, &row.place, &prefix)
    }

    fn key_chunk(&self, catalog: &Connection, hash: Hash) -> Result<Arc<Vec<u8>>> {
        match query::chunk(catalog, hash)?.keys.is_empty() {
            true => self.chunk(catalog, hash),
            false => Err(Error::damaged(format_args!("chunk {hash} is a patch and cannot be a key"))),
        }
    }

    fn place(&self, catalog: &Connection, id: i64) -> Result<Arc<(i64, ContentPlace)>> {
        if let Some(place) = locked(&self.places).get(&id) {
            return Ok(place.clone());
        }
        let (archive, place) = query::content_place(catalog, id)?;
        if !place.tree.is_empty() && !archive::hasher::tree_matches(&place.tree, place.hash) {
            return Err(Error::damaged(format_args!("the catalog's record of content {}", place.hash)));
        }
        let place = Arc::new((archive, place));
        locked(&self.places).put(id, place.clone());
        Ok(place)
    }

    fn archive(&self, catalog: &Connection, id: i64) -> Result<Arc<dyn Object>> {
        if let Some(object) = locked(&self.archives).get(&id) {
            return Ok(object.clone());
        }
        let name = query::archive_name(catalog, id)?;
        let object: Arc<dyn Object> =
            Arc::from(self.store.open(&format!("archives/{name}")).map_err(|error| missing(&name, error))?);
        locked(&self.archives).put(id, object.clone());
        Ok(object)
    }

    /// Forgets what is cached: the next reader looks again. For a new generation of the catalog.
    pub fn clear(&self) {
        locked(&self.archives).clear();
        locked(&self.places).clear();
        locked(&self.segments).clear();
    }
}

fn missing(name: &str, error: Error) -> Error {
    match error.kind() {
        Kind::NotFound => Error::damaged(format_args!("the archive {name} is missing")).caused_by(error),
        _ => error,
    }
}

fn advise(object: &dyn Object, place: &ContentPlace, index: u64) {
    // Someone who begins at the front will want the rest; someone who goes on will want what comes next.
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
    cache: &Mutex<LruCache<K, Piece>>,
    key: K,
    read: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<Arc<Vec<u8>>> {
    let piece = locked(cache).get_or_insert(key.clone(), Piece::default).clone();
    let mut failure = None;
    let bytes = piece.get_or_init(|| match read() {
        Ok(bytes) => Some(Arc::new(bytes)),
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    match bytes {
        Some(bytes) => Ok(bytes.clone()),
        None => {
            locked(cache).pop(&key);
            Err(failure.unwrap_or_else(|| Error::damaged("a piece that another reader could not read either")))
        }
    }
}
