//! Reading archives: the index from the end, and single segments and chunks from the middle, each
//! verified.

use super::index::{ArchiveTail, TAIL_FROM_END, TAIL_LEN};
use super::member::{BLOCK, FoundHeader};
use super::{MAX_CHUNK, SEGMENT, frame, hasher};
use crate::base::object::Object;
use crate::base::stored::{ChunkPlace, ContentPlace, IndexLine};
use crate::base::{Error, Hash, Result};

/// An archive that is open for reading.
#[derive(Debug)]
pub struct ArchiveReader {
    object: Box<dyn Object>,
    tail: ArchiveTail,
}

impl ArchiveReader {
    /// Reads the tail. `Damaged` when there is none: the archive was cut short, or it is none of
    /// ours.
    pub fn open(object: Box<dyn Object>) -> Result<Self> {
        let size = object.size();
        let at = size
            .checked_sub(TAIL_FROM_END)
            .ok_or_else(|| Error::damaged("the archive is too short to be one"))?;
        let mut bytes = [0; TAIL_LEN as usize];
        object.read_at(at, &mut bytes)?;
        let tail = ArchiveTail::decode(&bytes)?;
        if tail.fits(size) {
            Ok(ArchiveReader { object, tail })
        } else {
            Err(Error::damaged("the archive's tail points outside it"))
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

    pub(super) fn object(&self) -> &dyn Object {
        &*self.object
    }

    pub(super) fn tail(&self) -> &ArchiveTail {
        &self.tail
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
        None => Some((
            place.offset.checked_add(index.checked_mul(SEGMENT as u64)?)?,
            place.segment_len(index),
        )),
        Some(frames) => {
            let at = usize::try_from(index).ok()?;
            let before: u64 = frames.get(..at)?.iter().map(|&len| u64::from(len)).sum();
            Some((place.offset.checked_add(before)?, *frames.get(at)? as usize))
        }
    }
}

fn matches(place: &ContentPlace, index: u64, plain: &[u8]) -> bool {
    if place.tree.is_empty() {
        index == 0 && hasher::hash(plain) == place.hash
    } else {
        hasher::segment_matches(&place.tree, index, plain)
    }
}

/// The plain bytes of segment `index` of the content at `place`, verified. `Damaged` when they are
/// not what was written, whatever the reason.
pub fn read_segment(object: &dyn Object, place: &ContentPlace, index: u64) -> Result<Vec<u8>> {
    let (stored, plain) = stored_segment(object, place, index)?;
    Ok(plain.unwrap_or(stored))
}

/// The stored bytes of segment `index`, and the plain ones where these are others; verified.
pub(super) fn stored_segment(
    object: &dyn Object,
    place: &ContentPlace,
    index: u64,
) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let damaged = || Error::damaged(format_args!("content {}", place.hash));
    let (offset, stored) = stored_at(place, index).ok_or_else(damaged)?;
    if stored > zstd_safe::compress_bound(SEGMENT) {
        return Err(damaged());
    }
    let mut bytes = vec![0; stored];
    object.read_at(offset, &mut bytes)?;
    let plain = match place.frames {
        None => None,
        Some(_) => Some(
            frame::decompress(&bytes, place.segment_len(index))
                .map_err(|error| damaged().caused_by(error))?,
        ),
    };
    if matches(place, index, plain.as_deref().unwrap_or(&bytes)) {
        Ok((bytes, plain))
    } else {
        Err(damaged())
    }
}

/// The plain bytes of the chunk at `place`, verified; `prefix` is what its key chunks make, empty
/// for a key chunk.
pub fn read_chunk(object: &dyn Object, place: &ChunkPlace, prefix: &[u8]) -> Result<Vec<u8>> {
    Ok(stored_chunk(object, place, prefix)?.1)
}

/// The frame of the chunk at `place` and its plain bytes, verified.
pub(super) fn stored_chunk(
    object: &dyn Object,
    place: &ChunkPlace,
    prefix: &[u8],
) -> Result<(Vec<u8>, Vec<u8>)> {
    let damaged = || Error::damaged(format_args!("chunk {}", place.hash));
    if place.size > MAX_CHUNK || place.stored > zstd_safe::compress_bound(MAX_CHUNK as usize) as u64
    {
        return Err(damaged());
    }
    let mut bytes = vec![0; place.stored as usize];
    object.read_at(place.offset, &mut bytes)?;
    let plain = match prefix {
        [] => frame::decompress(&bytes, place.size as usize),
        prefix => frame::decompress_patch(&bytes, prefix, place.size as usize),
    };
    let plain = plain.map_err(|error| damaged().caused_by(error))?;
    if hasher::hash(&plain) == place.hash { Ok((bytes, plain)) } else { Err(damaged()) }
}

/// No pax header of a member is longer.
const MAX_EXTENSION: u64 = 64 << 10;

/// The header of the member whose data begin at `offset`; `None` when it cannot be read.
pub(super) fn header_before(object: &dyn Object, offset: u64) -> Option<FoundHeader> {
    let from = offset.saturating_sub(MAX_EXTENSION).next_multiple_of(BLOCK);
    let mut blocks = vec![0; usize::try_from(offset.checked_sub(from)?).ok()?];
    object.read_at(from, &mut blocks).ok()?;
    let own = blocks.len().checked_sub(BLOCK as usize)?;
    let mut found = FoundHeader::of_block(&blocks[own..]).filter(|found| !found.is_extension)?;
    // A pax header in front of it ends where it begins.
    for at in (0..own).step_by(BLOCK as usize).rev() {
        let Some(before) =
            FoundHeader::of_block(&blocks[at..]).filter(|before| before.is_extension)
        else {
            continue;
        };
        let data = at + BLOCK as usize;
        if before.size.next_multiple_of(BLOCK) == (own - data) as u64 {
            found.extend(&blocks[data..data + before.size as usize])?;
            break;
        }
    }
    Some(found)
}
