//! Verifying a whole archive: every byte of it, not only those that a reader of the catalog would
//! come to.
//!
//! Always holds: an archive without a flaw is, byte for byte, one that the writer could have
//! written from its index; its contents and chunks hash as they are called.
//!
//! Limits: of an owner over 0o7777777, which stands in a pax record without a checksum, only the
//! form is verified.

use super::index::{ArchiveTail, INDEX_NAME, TAIL_LEN, TAIL_NAME};
use super::member::{BLOCK, MemberHeader, content_name, padding};
use super::reader::{header_before, read_chunk, read_segment};
use super::writer::WIDE;
use super::{ArchiveReader, hasher};
use crate::base::object::Object;
use crate::base::stored::{ChunkLine, ContentLine, ContentPlace, IndexLine};
use crate::base::{Error, Result};

/// No header of a member is longer, its pax header included.
const MAX_HEADER: u64 = 64 << 10;

/// Something in an archive that is not as it was written.
#[derive(Debug)]
pub enum ArchiveFlaw {
    /// The bytes of a content or chunk.
    Member(IndexLine, Error),
    /// What tells `tar` of a member; its bytes may be right.
    Header(IndexLine),
    /// What lies around the members: the index's own header, zeros.
    Frame,
}

/// Helps a verification: gives it what it cannot know, and may stop it.
pub trait VerifyHelper {
    /// The plain bytes of the key chunks of a patch, put together.
    fn prefix(&mut self, patch: &ChunkLine) -> Result<Vec<u8>>;
    /// So many more bytes are read. False: stop.
    fn advance(&mut self, bytes: u64) -> bool;
}

/// Reads all of `archive`, whose index says `lines`. The flaws found; `None` when the helper
/// stopped it.
pub fn verify(
    archive: &ArchiveReader,
    lines: &[IndexLine],
    helper: &mut dyn VerifyHelper,
) -> Result<Option<Vec<ArchiveFlaw>>> {
    let (object, mut flaws, mut at) = (archive.object(), Vec::new(), 0);
    for line in lines {
        let (offset, stored) = line.place();
        if !has_header(object, at, line)? {
            flaws.push(ArchiveFlaw::Header(line.clone()));
        }
        match verify_member(object, line, helper) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) if error.is_damage() => flaws.push(ArchiveFlaw::Member(line.clone(), error)),
            Err(error) => return Err(error),
        }
        at = offset + stored.next_multiple_of(BLOCK);
        if !is(object, offset + stored, &vec![0; padding(stored)])? {
            flaws.push(ArchiveFlaw::Header(line.clone()));
        }
    }
    if !ends(object, at, archive.tail())? {
        flaws.push(ArchiveFlaw::Frame);
    }
    Ok(Some(flaws))
}

/// True when the bytes from `at` to the data of `line` are the header that the writer writes for
/// it.
fn has_header(object: &dyn Object, at: u64, line: &IndexLine) -> Result<bool> {
    let (offset, stored) = line.place();
    let Some(found) = header_before(object, offset) else { return Ok(false) };
    if offset <= at || offset - at > MAX_HEADER {
        return Ok(false);
    }
    let blocks = match line {
        IndexLine::Chunk(line) => {
            MemberHeader::own(&format!("chunks/{}.zst", line.chunk)).blocks(stored, false)?
        }
        IndexLine::Content(line) => {
            let name = content_name(&line.path, line.frames.is_some());
            let header = MemberHeader {
                name: &name,
                mtime: line.mtime,
                mode: found.mode,
                uid: found.uid,
                gid: found.gid,
            };
            header.blocks(stored, line.frames.is_some() && line.size >= WIDE)?
        }
    };
    is(object, at, &blocks).map(|same| same && at + blocks.len() as u64 == offset)
}

/// False when the helper stopped it.
fn verify_member(
    object: &dyn Object,
    line: &IndexLine,
    helper: &mut dyn VerifyHelper,
) -> Result<bool> {
    match line {
        IndexLine::Content(line) => {
            verify_content(object, line, &mut |bytes| helper.advance(bytes))
        }
        IndexLine::Chunk(line) => {
            let prefix = if line.keys.is_empty() { Vec::new() } else { helper.prefix(line)? };
            read_chunk(object, &line.into(), &prefix)?;
            Ok(helper.advance(line.stored))
        }
    }
}

/// Reads the content that `line` says is in `object`. `advance` hears of stored bytes and may stop
/// it: false then.
pub fn verify_content(
    object: &dyn Object,
    line: &ContentLine,
    advance: &mut dyn FnMut(u64) -> bool,
) -> Result<bool> {
    let place = ContentPlace::from(line);
    if !place.tree.is_empty() && !hasher::tree_matches(&place.tree, place.hash) {
        return Err(Error::damaged(format_args!("content {}", place.hash)));
    }
    for index in 0..place.segments() {
        read_segment(object, &place, index)?;
        if !advance(line.stored / place.segments()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// True when from `at` on there are the index's header, the index, the tail and the end of a tar,
/// and nothing else.
fn ends(object: &dyn Object, at: u64, tail: &ArchiveTail) -> Result<bool> {
    let header = MemberHeader::own(INDEX_NAME).blocks(tail.stored, false)?;
    let mut rest = vec![0; padding(tail.stored)];
    rest.extend(MemberHeader::own(TAIL_NAME).blocks(TAIL_LEN, false)?);
    rest.extend(tail.encode());
    rest.extend([0; 1024]);
    let after = tail.offset + tail.stored;
    let is_whole =
        at + header.len() as u64 == tail.offset && after + rest.len() as u64 == object.size();
    Ok(is_whole && is(object, at, &header)? && is(object, after, &rest)?)
}

/// True when `object` has `bytes` at `at`.
fn is(object: &dyn Object, at: u64, bytes: &[u8]) -> Result<bool> {
    let mut there = vec![0; bytes.len()];
    match object.read_at(at, &mut there) {
        Ok(()) => Ok(there == bytes),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error),
    }
}
