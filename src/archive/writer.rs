//! Writing one archive.
//!
//! A member is in the index only when all of its bytes are in the draft; what fails on the way is
//! taken back.

use super::index::{self, ArchiveTail};
use super::member::{MemberHeader, content_name, may_be_compressed, padding};
use super::reader::{header_before, stored_chunk, stored_segment};
use super::{Digests, SEGMENT, frame, hasher};
use crate::base::object::{Object, ObjectDraft};
use crate::base::stored::{ChunkLine, ContentLine, ContentPlace, IndexLine};
use crate::base::{Error, FilePath, Hash, Result};

/// Bytes of plain data that a trial of compression takes.
const TRIAL: usize = SEGMENT;
/// Content over this size gets a header that leaves room for any compressed size.
pub(super) const WIDE: u64 = 1 << 32;

/// A content and how it was first seen.
#[derive(Debug, Clone)]
pub struct NewContent<'a> {
    pub path: &'a FilePath,
    pub mtime: i64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// A small content in the form that it will be stored in: the work that readers do before they take
/// the writer.
#[derive(Debug)]
pub enum StoredContent {
    /// As it is.
    Plain(Vec<u8>),
    /// zstd frames of a segment each, and the length of each.
    Frames(Vec<u8>, Vec<u32>),
}

impl StoredContent {
    /// Chooses the form of `plain`, the file at `path`, by a trial on its first segment.
    pub fn choose(path: &FilePath, plain: Vec<u8>) -> Result<StoredContent> {
        if !pays(path, &plain[..plain.len().min(TRIAL)], plain.len() as u64)? {
            return Ok(StoredContent::Plain(plain));
        }
        let (mut bytes, mut lens) = (Vec::new(), Vec::new());
        for segment in plain.chunks(SEGMENT) {
            let frame = frame::compress(segment)?;
            lens.push(frame.len() as u32);
            bytes.extend_from_slice(&frame);
        }
        Ok(StoredContent::Frames(bytes, lens))
    }

    fn parts(self) -> (Vec<u8>, Option<Vec<u32>>) {
        match self {
            StoredContent::Plain(bytes) => (bytes, None),
            StoredContent::Frames(bytes, lens) => (bytes, Some(lens)),
        }
    }
}

/// True when compressing pays: a tenth less in the trial, and at least one tar block less.
fn pays(path: &FilePath, first: &[u8], size: u64) -> Result<bool> {
    if size <= 512 || !may_be_compressed(path) {
        return Ok(false);
    }
    let tried = frame::compress(first)?.len();
    Ok(tried * 10 <= first.len() * 9 && tried + 512 <= first.len())
}

/// An archive that is being written.
#[derive(Debug)]
pub struct ArchiveWriter {
    draft: Box<dyn ObjectDraft>,
    lines: Vec<IndexLine>,
}

/// A finished archive.
#[derive(Debug)]
pub struct FinishedArchive {
    /// What is in it.
    pub lines: Vec<IndexLine>,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the index.
    pub hash: Hash,
}

impl ArchiveWriter {
    /// Begins an archive in `draft`.
    pub fn new(draft: Box<dyn ObjectDraft>) -> Self {
        ArchiveWriter { draft, lines: Vec::new() }
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.draft.size()
    }

    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds a content whose bytes are at hand.
    pub fn add_content(
        &mut self,
        seen: &NewContent<'_>,
        digests: &Digests,
        stored: StoredContent,
    ) -> Result<()> {
        let (bytes, frames) = stored.parts();
        let name = content_name(seen.path, frames.is_some());
        let offset = self.add_member(&header(seen, &name), &bytes)?;
        self.lines.push(content_line(seen, digests, offset, bytes.len() as u64, frames));
        Ok(())
    }

    /// Adds a chunk: one zstd frame, and its key chunks when it is a patch.
    pub fn add_chunk(&mut self, chunk: Hash, size: u64, frame: &[u8], keys: &[Hash]) -> Result<()> {
        let offset = self.add_member(&MemberHeader::own(&format!("chunks/{chunk}.zst")), frame)?;
        let stored = frame.len() as u64;
        self.lines.push(IndexLine::Chunk(ChunkLine {
            chunk,
            size,
            offset,
            stored,
            keys: keys.to_vec(),
        }));
        Ok(())
    }

    /// Begins a content that is too large to be at hand whole: `size` plain bytes, of which `first`
    /// is the first segment. Give it the segments in order, then [`LargeContent::finish`]; dropped
    /// before that, it leaves nothing.
    pub fn large_content<'a>(
        &'a mut self,
        seen: NewContent<'a>,
        size: u64,
        first: &[u8],
    ) -> Result<LargeContent<'a>> {
        let compressed = pays(seen.path, first, size)?;
        let name = content_name(seen.path, compressed);
        let start = self.draft.size();
        let wide = compressed && size >= WIDE;
        let blocks = header(&seen, &name).blocks(size, wide)?;
        let large = LargeContent {
            start,
            data: start + blocks.len() as u64,
            wide,
            frames: compressed.then(Vec::new),
            name,
            seen,
            done: false,
            writer: self,
        };
        large.writer.draft.append(&blocks)?;
        Ok(large)
    }

    /// Adds a copy of the content that `line` says is in the archive `from`, as it is stored there:
    /// with its name, time, mode and owner (those of a member whose header is damaged are 0600, 0
    /// and 0). Each segment is verified before it is written. `Damaged` when one is not what was
    /// written; nothing of it stays then.
    pub fn copy_content(&mut self, from: &dyn Object, line: &ContentLine) -> Result<()> {
        let start = self.draft.size();
        let copied = self.append_copy(from, line);
        if copied.is_err() {
            self.draft.truncate(start)?;
        }
        self.lines.push(IndexLine::Content(ContentLine { offset: copied?, ..line.clone() }));
        Ok(())
    }

    /// Adds a copy of the chunk that `line` says is in the archive `from`, as it is stored there;
    /// `prefix` is what its key chunks make, empty for a key chunk. `Damaged` when it is not what
    /// was written.
    pub fn copy_chunk(&mut self, from: &dyn Object, line: &ChunkLine, prefix: &[u8]) -> Result<()> {
        let frame = stored_chunk(from, &line.into(), prefix)?.0;
        self.add_chunk(line.chunk, line.size, &frame, &line.keys)
    }

    fn append_copy(&mut self, from: &dyn Object, line: &ContentLine) -> Result<u64> {
        let place = ContentPlace::from(line);
        if !place.tree.is_empty() && !hasher::tree_matches(&place.tree, place.hash) {
            return Err(Error::damaged(format_args!("content {}", place.hash)));
        }
        let name = content_name(&line.path, line.frames.is_some());
        let mut header = MemberHeader { mtime: line.mtime, ..MemberHeader::own("") };
        header.name = &name;
        if let Some(old) = header_before(from, line.offset) {
            (header.mode, header.uid, header.gid) = (old.mode, old.uid, old.gid);
        }
        self.draft
            .append(&header.blocks(line.stored, line.frames.is_some() && line.size >= WIDE)?)?;
        let offset = self.draft.size();
        for index in 0..place.segments() {
            self.draft.append(&stored_segment(from, &place, index)?.0)?;
        }
        self.draft.append(&vec![0; padding(line.stored)])?;
        Ok(offset)
    }

    /// Writes index and tail and publishes the archive as `name`: durable on return.
    pub fn finish(mut self, name: &str) -> Result<FinishedArchive> {
        let encoded = index::encode(&self.lines)?;
        let offset = self.add_member(&MemberHeader::own(index::INDEX_NAME), &encoded.frame)?;
        let tail = ArchiveTail {
            offset,
            stored: encoded.frame.len() as u64,
            size: encoded.size,
            hash: encoded.hash,
        };
        self.add_member(&MemberHeader::own(index::TAIL_NAME), &tail.encode())?;
        self.draft.append(&[0; 1024])?;
        let size = self.draft.size();
        self.draft.publish(name)?;
        Ok(FinishedArchive { lines: self.lines, size, hash: tail.hash })
    }

    /// Appends a whole member; where its bytes begin. A failure takes back what was written of it.
    fn add_member(&mut self, header: &MemberHeader<'_>, bytes: &[u8]) -> Result<u64> {
        let start = self.draft.size();
        let written = self.append_member(header, bytes);
        if written.is_err() {
            self.draft.truncate(start)?;
        }
        written
    }

    fn append_member(&mut self, header: &MemberHeader<'_>, bytes: &[u8]) -> Result<u64> {
        let size = bytes.len() as u64;
        self.draft.append(&header.blocks(size, false)?)?;
        let offset = self.draft.size();
        self.draft.append(bytes)?;
        self.draft.append(&vec![0; padding(size)])?;
        Ok(offset)
    }
}

/// A large content that is being written.
#[derive(Debug)]
pub struct LargeContent<'a> {
    writer: &'a mut ArchiveWriter,
    seen: NewContent<'a>,
    name: Vec<u8>,
    /// Where the member's header begins.
    start: u64,
    /// Where its bytes begin.
    data: u64,
    wide: bool,
    frames: Option<Vec<u32>>,
    done: bool,
}

impl LargeContent<'_> {
    /// Adds the next segment: [`SEGMENT`] bytes, fewer only at the end.
    pub fn segment(&mut self, plain: &[u8]) -> Result<()> {
        match &mut self.frames {
            None => self.writer.draft.append(plain),
            Some(lens) => {
                let frame = frame::compress(plain)?;
                lens.push(frame.len() as u32);
                self.writer.draft.append(&frame)
            }
        }
    }

    /// Completes the member: `digests` are those of all segments given.
    pub fn finish(mut self, digests: &Digests) -> Result<()> {
        let stored = self.writer.draft.size() - self.data;
        self.writer.draft.append(&vec![0; padding(stored)])?;
        if self.frames.is_some() {
            let blocks = header(&self.seen, &self.name).blocks(stored, self.wide)?;
            self.writer.draft.rewrite(self.start, &blocks)?;
        }
        let line = content_line(&self.seen, digests, self.data, stored, self.frames.take());
        self.writer.lines.push(line);
        self.done = true;
        Ok(())
    }

    /// Takes the member back.
    pub fn abandon(mut self) -> Result<()> {
        self.done = true;
        self.writer.draft.truncate(self.start)
    }
}

impl Drop for LargeContent<'_> {
    fn drop(&mut self) {
        if !self.done {
            // The failure that led here is already on its way up; a draft that cannot even shrink
            // fails at the next write.
            let _ = self.writer.draft.truncate(self.start);
        }
    }
}

fn header<'a>(seen: &NewContent<'a>, name: &'a [u8]) -> MemberHeader<'a> {
    MemberHeader { name, mtime: seen.mtime, mode: seen.mode, uid: seen.uid, gid: seen.gid }
}

fn content_line(
    seen: &NewContent<'_>,
    digests: &Digests,
    offset: u64,
    stored: u64,
    frames: Option<Vec<u32>>,
) -> IndexLine {
    IndexLine::Content(ContentLine {
        content: digests.hash,
        sha1: digests.sha1,
        size: digests.size,
        offset,
        stored,
        frames,
        tree: digests.tree.clone(),
        path: seen.path.clone(),
        mtime: seen.mtime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ArchiveReader;
    use crate::archive::memory::MemoryFiles;
    use crate::base::ErrorKind;

    /// Noise that does not shrink; `b'a'` repeated does.
    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_copy_is_the_same_member_at_another_place() {
        let store = MemoryFiles::default();
        let long = FilePath::new(format!("upload/{}.jpg", "n".repeat(200))).unwrap();
        let mut writer = ArchiveWriter::new(store.draft());
        for (plain, uid) in
            [(noise(3_000_000), 7), (vec![b'a'; 2_500_000], 1 << 30), (Vec::new(), 0)]
        {
            let seen = NewContent {
                path: &long,
                mtime: 1_600_000_000_123_456_789,
                mode: 0o640,
                uid,
                gid: 9,
            };
            let digests = hasher::digest(&plain);
            writer
                .add_content(&seen, &digests, StoredContent::choose(&long, plain).unwrap())
                .unwrap();
        }
        let (key, patched) = (b"one line\n".repeat(9000), b"one line!\n".repeat(9000));
        writer
            .add_chunk(hasher::hash(&key), key.len() as u64, &frame::compress(&key).unwrap(), &[])
            .unwrap();
        let patch = frame::compress_patch(&patched, &key).unwrap();
        writer
            .add_chunk(hasher::hash(&patched), patched.len() as u64, &patch, &[hasher::hash(&key)])
            .unwrap();
        let old = writer.finish("old.tar").unwrap();

        let from = store.open("old.tar");
        let mut copy = ArchiveWriter::new(store.draft());
        copy.add_chunk(hasher::hash(b"x"), 1, &frame::compress(b"x").unwrap(), &[]).unwrap();
        for line in &old.lines {
            match line {
                IndexLine::Content(line) => copy.copy_content(&*from, line).unwrap(),
                IndexLine::Chunk(line) if line.keys.is_empty() => {
                    copy.copy_chunk(&*from, line, b"").unwrap()
                }
                IndexLine::Chunk(line) => copy.copy_chunk(&*from, line, &key).unwrap(),
            }
        }
        let new = copy.finish("new.tar").unwrap();
        let to = store.open("new.tar");
        assert_eq!(ArchiveReader::open(store.open("new.tar")).unwrap().lines().unwrap(), new.lines);
        for (a, b) in old.lines.iter().zip(&new.lines[1..]) {
            assert_eq!(
                header_before(&*from, a.place().0).unwrap(),
                header_before(&*to, b.place().0).unwrap()
            );
            let bytes = |object: &dyn Object, (at, len): (u64, u64)| {
                let mut bytes = vec![0; len as usize];
                object.read_at(at, &mut bytes).unwrap();
                bytes
            };
            assert_eq!(bytes(&*from, a.place()), bytes(&*to, b.place()));
        }
    }

    #[test]
    fn a_damaged_segment_is_not_copied_and_leaves_nothing() {
        let store = MemoryFiles::default();
        let path = FilePath::new("upload/a.jpg").unwrap();
        let plain = noise(3_000_000);
        let seen = NewContent { path: &path, mtime: 0, mode: 0o644, uid: 0, gid: 0 };
        let mut writer = ArchiveWriter::new(store.draft());
        writer.add_content(&seen, &hasher::digest(&plain), StoredContent::Plain(plain)).unwrap();
        let lines = writer.finish("old.tar").unwrap().lines;
        let IndexLine::Content(line) = &lines[0] else { panic!("a content") };
        let mut bytes = store.bytes("old.tar");
        bytes[line.offset as usize + 2_500_000] ^= 1;
        store.put("old.tar", bytes);
        let mut copy = ArchiveWriter::new(store.draft());
        let error = copy.copy_content(&*store.open("old.tar"), line).unwrap_err();
        assert_eq!((error.kind(), copy.size(), copy.is_empty()), (ErrorKind::Damaged, 0, true));
    }
}
