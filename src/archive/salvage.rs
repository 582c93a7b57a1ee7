//! Finding the members of an archive whose index is lost: by their tar headers, past any damage.
//!
//! A block that is no header is passed over, so after damage the next member with a right checksum
//! is found again. Nothing found here is believed until its bytes hash to a name that is known from
//! elsewhere.
//!
//! Limits: a member whose header is damaged is not found. A content may itself be a tar: of what
//! looks like members inside it nothing is lost, since the scan only jumps over data that end where
//! another header, or zeros, begin.

use super::index::{INDEX_NAME, TAIL_NAME};
use super::member::{BLOCK, FoundHeader};
use super::reader::header_before;
use super::{Digests, Hasher, MAX_CHUNK, SEGMENT, frame};
use crate::base::object::Object;
use crate::base::stored::{ChunkLine, ContentLine, ContentPlace};
use crate::base::{FilePath, Hash, Result, Sha1};

/// No pax header is longer.
const MAX_EXTENSION: u64 = 64 << 10;
/// Blocks that are read at once while looking for a header.
const WINDOW: usize = 128 << 10;

/// A member that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalvagedMember {
    /// What its header says.
    pub header: FoundHeader,
    /// Where its data begin.
    pub offset: u64,
}

/// The members of `object`, in order; shoebox's own index and tail are left out.
pub fn scan(object: &dyn Object) -> Result<Vec<SalvagedMember>> {
    let (mut members, mut at) = (Vec::new(), 0);
    while let Some((found, start)) = next_header(object, at)? {
        let Some(member) = member_at(object, found, start)? else {
            at = start + BLOCK;
            continue;
        };
        at = match end_of(object, &member)? {
            Some(end) => end,
            None => member.offset,
        };
        if member.header.name != INDEX_NAME.as_bytes() && member.header.name != TAIL_NAME.as_bytes()
        {
            members.push(member);
        }
    }
    Ok(members)
}

/// The first header at or after `at`, and where it is.
fn next_header(object: &dyn Object, mut at: u64) -> Result<Option<(FoundHeader, u64)>> {
    while at + BLOCK <= object.size() {
        let len = (object.size() - at).min(WINDOW as u64) / BLOCK * BLOCK;
        let mut window = vec![0; len as usize];
        object.read_at(at, &mut window)?;
        let blocks = window.chunks_exact(BLOCK as usize).enumerate();
        let mut found = blocks.filter_map(|(index, block)| {
            Some((FoundHeader::of_block(block)?, index as u64 * BLOCK))
        });
        if let Some((found, offset)) = found.next() {
            return Ok(Some((found, at + offset)));
        }
        at += len;
    }
    Ok(None)
}

/// The member whose header begins at `start`, its pax header taken in.
fn member_at(
    object: &dyn Object,
    found: FoundHeader,
    start: u64,
) -> Result<Option<SalvagedMember>> {
    if !found.is_extension {
        return Ok(Some(SalvagedMember { header: found, offset: start + BLOCK }));
    }
    let own = start + BLOCK + found.size.next_multiple_of(BLOCK);
    if found.size > MAX_EXTENSION || own + BLOCK > object.size() {
        return Ok(None);
    }
    let mut bytes = vec![0; (own + BLOCK - start - BLOCK) as usize];
    object.read_at(start + BLOCK, &mut bytes)?;
    let (records, header) = bytes.split_at(bytes.len() - BLOCK as usize);
    let header = FoundHeader::of_block(header).filter(|header| !header.is_extension).and_then(
        |mut header| {
            header.extend(&records[..found.size as usize])?;
            Some(header)
        },
    );
    Ok(header.map(|header| SalvagedMember { header, offset: own + BLOCK }))
}

/// Where the member ends, if what follows there is a header, the end of the tar or the end of the
/// object.
fn end_of(object: &dyn Object, member: &SalvagedMember) -> Result<Option<u64>> {
    let Some(end) = member
        .offset
        .checked_add(member.header.size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX))
    else {
        return Ok(None);
    };
    if end == object.size() {
        return Ok(Some(end));
    }
    if end + BLOCK > object.size() {
        return Ok(None);
    }
    let mut block = [0; BLOCK as usize];
    object.read_at(end, &mut block)?;
    let is_end = block == [0; BLOCK as usize] || FoundHeader::of_block(&block).is_some();
    Ok(is_end.then_some(end))
}

/// The content that `member` is, if its plain bytes have a name that is `wanted`: taken as they
/// are, or as zstd frames.
pub fn content(
    object: &dyn Object,
    member: &SalvagedMember,
    wanted: &dyn Fn(Hash) -> bool,
) -> Result<Option<ContentLine>> {
    if member.offset.checked_add(member.header.size).is_none_or(|end| end > object.size()) {
        return Ok(None);
    }
    let digests = plain(object, member)?;
    if wanted(digests.hash) {
        return Ok(line(member, &member.header.name, digests, None));
    }
    let Some(name) = member.header.name.strip_suffix(b".zst") else { return Ok(None) };
    let framed = framed(object, member)?.filter(|(digests, _)| wanted(digests.hash));
    Ok(framed.and_then(|(digests, frames)| line(member, name, digests, Some(frames))))
}

/// The content that is said to be at `place`, if its header can be read; not yet verified.
pub fn content_at(object: &dyn Object, sha1: Sha1, place: &ContentPlace) -> Option<ContentLine> {
    let header = header_before(object, place.offset)?;
    let name = match place.frames {
        None => &header.name[..],
        Some(_) => header.name.strip_suffix(b".zst")?,
    };
    Some(content_line(sha1, place, FilePath::new(name).ok()?, header.mtime))
}

/// The line of a content at `place` that was first seen at `path`.
pub fn content_line(sha1: Sha1, place: &ContentPlace, path: FilePath, mtime: i64) -> ContentLine {
    let ContentPlace { hash, size, offset, stored, frames, tree } = place.clone();
    ContentLine { content: hash, sha1, size, offset, stored, frames, tree, path, mtime }
}

fn line(
    member: &SalvagedMember,
    name: &[u8],
    digests: Digests,
    frames: Option<Vec<u32>>,
) -> Option<ContentLine> {
    Some(ContentLine {
        content: digests.hash,
        sha1: digests.sha1,
        size: digests.size,
        offset: member.offset,
        stored: member.header.size,
        frames,
        tree: digests.tree,
        path: FilePath::new(name).ok()?,
        mtime: member.header.mtime,
    })
}

fn plain(object: &dyn Object, member: &SalvagedMember) -> Result<Digests> {
    let (mut hasher, mut at, mut left) = (Hasher::default(), member.offset, member.header.size);
    let mut piece = vec![0; SEGMENT];
    while left > 0 {
        let len = left.min(SEGMENT as u64) as usize;
        object.read_at(at, &mut piece[..len])?;
        hasher.update(&piece[..len]);
        (at, left) = (at + len as u64, left - len as u64);
    }
    Ok(hasher.finish())
}

/// The digests of what the frames of `member` hold, and their sizes; `None` when they are no frames
/// of a segment each.
fn framed(object: &dyn Object, member: &SalvagedMember) -> Result<Option<(Digests, Vec<u32>)>> {
    let (mut hasher, mut frames, mut at) = (Hasher::default(), Vec::new(), 0);
    while at < member.header.size {
        let len = (member.header.size - at).min(zstd_safe::compress_bound(SEGMENT) as u64);
        let mut bytes = vec![0; len as usize];
        object.read_at(member.offset + at, &mut bytes)?;
        let Some((frame, plain)) = first_frame(&bytes, SEGMENT as u64) else { return Ok(None) };
        hasher.update(&plain);
        frames.push(frame as u32);
        at += frame as u64;
    }
    let digests = hasher.finish();
    let is_segments = frames.len() as u64 == digests.size.div_ceil(SEGMENT as u64);
    Ok(is_segments.then_some((digests, frames)))
}

/// Stored and plain bytes of the first frame in `bytes`, which may have `most` plain ones.
fn first_frame(bytes: &[u8], most: u64) -> Option<(usize, Vec<u8>)> {
    let len = zstd_safe::find_frame_compressed_size(bytes).ok()?;
    let size = zstd_safe::get_frame_content_size(bytes).ok()??;
    let frame = bytes.get(..len).filter(|_| size <= most)?;
    frame::decompress(frame, size as usize).ok().map(|plain| (len, plain))
}

/// The chunk that `member` says it is: its name and its plain size, not yet verified. `None` when
/// it is no chunk.
pub fn chunk(object: &dyn Object, member: &SalvagedMember) -> Result<Option<ChunkLine>> {
    let name = std::str::from_utf8(&member.header.name).unwrap_or_default();
    let hash = name
        .strip_prefix("chunks/")
        .and_then(|name| name.strip_suffix(".zst"))
        .and_then(|hash| hash.parse().ok());
    let (Some(chunk), offset, stored) = (hash, member.offset, member.header.size) else {
        return Ok(None);
    };
    let is_inside = offset.checked_add(stored).is_some_and(|end| end <= object.size());
    if !is_inside || stored > zstd_safe::compress_bound(MAX_CHUNK as usize) as u64 {
        return Ok(None);
    }
    let mut frame = vec![0; stored as usize];
    object.read_at(offset, &mut frame)?;
    let size =
        zstd_safe::get_frame_content_size(&frame).ok().flatten().filter(|size| *size <= MAX_CHUNK);
    Ok(size.map(|size| ChunkLine { chunk, size, offset, stored, keys: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::hasher;
    use crate::archive::memory::MemoryFiles;
    use crate::archive::{ArchiveWriter, NewContent, StoredContent};

    /// An archive of three photos, a compressible file and a chunk; its bytes, and the hashes in
    /// order.
    fn archive() -> (Vec<u8>, Vec<Hash>) {
        let memory = MemoryFiles::default();
        let mut writer = ArchiveWriter::new(memory.draft());
        let mut hashes = Vec::new();
        for number in 0..4u8 {
            let mut plain = vec![b'a'; 40_000];
            if number < 3 {
                blake3::Hasher::new_derive_key(&number.to_string()).finalize_xof().fill(&mut plain);
            }
            let path =
                FilePath::new(format!("upload/{}{number}", "n".repeat(60 * usize::from(number))))
                    .unwrap();
            let seen = NewContent {
                path: &path,
                mtime: 1_600_000_000_000_000_001,
                mode: 0o640,
                uid: 1,
                gid: 2,
            };
            let digests = hasher::digest(&plain);
            hashes.push(digests.hash);
            writer
                .add_content(&seen, &digests, StoredContent::choose(&path, plain).unwrap())
                .unwrap();
        }
        let chunk = b"line\n".repeat(3000);
        hashes.push(hasher::hash(&chunk));
        writer.add_chunk(hashes[4], 15_000, &frame::compress(&chunk).unwrap(), &[]).unwrap();
        writer.finish("a.tar").unwrap();
        (memory.bytes("a.tar"), hashes)
    }

    /// What the scan of `bytes` finds of `hashes`: numbers of contents and chunks.
    fn found(bytes: &[u8], hashes: &[Hash]) -> Vec<usize> {
        let memory = MemoryFiles::default();
        memory.put("damaged.tar", bytes.to_vec());
        let object = memory.open("damaged.tar");
        let number = |hash: Hash| hashes.iter().position(|other| *other == hash).unwrap();
        let members = scan(&*object).unwrap();
        let one = |member: &SalvagedMember| match chunk(&*object, member).unwrap() {
            Some(line) => Some(number(line.chunk)),
            None => content(&*object, member, &|hash| hashes.contains(&hash))
                .unwrap()
                .map(|line| number(line.content)),
        };
        members.iter().filter_map(one).collect()
    }

    #[test]
    fn all_members_are_found_without_an_index_and_up_to_a_cut() {
        let (bytes, hashes) = archive();
        assert_eq!(found(&bytes, &hashes), [0, 1, 2, 3, 4]);
        assert_eq!(found(&bytes[..bytes.len() - 2000], &hashes), [0, 1, 2, 3, 4]);
        assert_eq!(found(&bytes[..100_000], &hashes), [0, 1]);
        assert_eq!(found(&bytes[..77], &hashes), [0usize; 0]);
    }

    #[test]
    fn past_a_damaged_header_the_next_member_is_found_again() {
        let (bytes, hashes) = archive();
        let mut flipped = bytes.clone();
        flipped[3] ^= 1;
        // Only what the pax header said is lost: the photo's own header follows.
        assert_eq!(found(&flipped, &hashes), [0, 1, 2, 3, 4]);
        flipped[1024 + 3] ^= 1;
        assert_eq!(found(&flipped, &hashes), [1, 2, 3, 4]);
        let mut noise = bytes.clone();
        noise[30_000..60_000].fill(0x5a);
        assert_eq!(found(&noise, &hashes), [2, 3, 4]);
        let mut zeros = bytes;
        zeros[30_000..60_000].fill(0);
        assert_eq!(found(&zeros, &hashes), [2, 3, 4]);
    }

    #[test]
    fn a_size_that_lies_hides_nothing() {
        let (bytes, hashes) = archive();
        let path = b"upload/0".as_slice();
        let liar = super::super::member::MemberHeader {
            name: path,
            mtime: 0,
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        let mut lying = liar.blocks(90_000, false).unwrap();
        lying.extend(bytes);
        assert_eq!(found(&lying, &hashes), [0, 1, 2, 3, 4]);
    }
}
