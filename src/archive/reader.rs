//! Reading archives: the index from the end, and single segments and chunks from the middle, each verified.

use super::index::{TAIL_FROM_END, TAIL_LEN, Tail};
use super::{MAX_CHUNK, SEGMENT, frame, hasher};
use crate::base::object::Object;
use crate::base::stored::{ChunkPlace, ContentPlace, IndexLine};
use crate::base::{Error, Hash, Result};

/// An archive that is open for reading.
#[derive(Debug)]
pub struct ArchiveReader {
    object: Box<dyn Object>,
    tail: Tail,
}

impl ArchiveReader {
    /// Reads the tail. `Damaged` when there is none: the archive was cut short, or it is none of ours.
    pub fn open(object: Box<dyn Object>) -> Result<Self> {
        let size = object.size();
        let at = size.checked_sub(TAIL_FROM_END).ok_or_else(|| Error::damaged("the archive is too short to be one"))?;
        let mut bytes = [0; TAIL_LEN as usize];
        object.read_at(at, &mut bytes)?;
        let tail = Tail::decode(&bytes)?;
        match tail.fits(size) {
            true => Ok(ArchiveReader { object, tail }),
            false => Err(Error::damaged("the archive's tail points outside it")),
        }
    }

    /// BLAKE3 of the index.
    pub fn hash(&self) -> Hash {
        self.tail.hash
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.object.size()
    }

    /// What is in it.
    pub fn lines(&self) -> Result<Vec<IndexLine>> {
        let mut frame = vec![0; self.tail.stored as usize];
        self.object.read_at(self.tail.offset, &mut frame)?;
        self.tail.lines(&frame)
    }
}

/// Where the stored bytes of segment `index` begin, and how many they are.
fn stored_at(place: &ContentPlace, index: u64) -> Option<(u64, usize)> {
    match &place.frames {
        None => Some((place.offset.checked_add(index.checked_mul(SEGMENT as u64)?)?, place.segment_len(index))),
        Some(frames) => {
            let at = usize::try_from(index).ok()?;
            let before: u64 = frames.get(..at)?.iter().map(|&len| u64::from(len)).sum();
            Some((place.offset.checked_add(before)?, *frames.get(at)? as usize))
        }
    }
}

fn matches(place: &ContentPlace, index: u64, plain: &[u8]) -> bool {
    match place.tree.is_empty() {
        true => index == 0 && hasher::hash(plain) == place.hash,
        false => hasher::segment_matches(&place.tree, index, plain),
    }
}

/// The plain bytes of segment `index` of the content at `place`, verified. `Damaged` when they are not what was
/// written, whatever the reason.
pub fn read_segment(object: &dyn Object, place: &ContentPlace, index: u64) -> Result<Vec<u8>> {
    let damaged = || Error::damaged(format_args!("content {}", place.hash));
    let (offset, stored) = stored_at(place, index).ok_or_else(damaged)?;
    if stored > zstd_safe::compress_bound(SEGMENT) {
        return Err(damaged());
    }
    let mut bytes = vec![0; stored];
    object.read_at(offset, &mut bytes)?;
    let plain = match place.frames {
        None => bytes,
        Some(_) => frame::decompress(&bytes, place.segment_len(index)).map_err(|error| damaged().caused_by(error))?,
    };
    if matches(place, index, &plain) { Ok(plain) } else { Err(damaged()) }
}

/// The plain bytes of the chunk at `place`, verified; `prefix` is what its key chunks make, empty for a key chunk.
pub fn read_chunk(object: &dyn Object, place: &ChunkPlace, prefix: &[u8]) -> Result<Vec<u8>> {
    let damaged = || Error::damaged(format_args!("chunk {}", place.hash));
    if place.size > MAX_CHUNK || place.stored > zstd_safe::compress_bound(MAX_CHUNK as usize) as u64 {
        return Err(damaged());
    }
    let mut bytes = vec![0; place.stored as usize];
    object.read_at(place.offset, &mut bytes)?;
    let plain = match prefix {
        [] => frame::decompress(&bytes, place.size as usize),
        prefix => frame::decompress_patch(&bytes, prefix, place.size as usize),
    };
    let plain = plain.map_err(|error| damaged().caused_by(error))?;
    if hasher::hash(&plain) == place.hash { Ok(plain) } else { Err(damaged()) }
}
