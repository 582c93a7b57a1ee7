//! Stored bytes: the records of an archive's index, and the places that they name.

use serde::{Deserialize, Serialize};

use super::{FilePath, Hash, Sha1};

/// Plain bytes of a segment: contents are hashed, compressed, verified and cached in these pieces.
pub const SEGMENT: usize = 1 << 20;

/// One line of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "LineFields")]
pub enum IndexLine {
    /// A whole file.
    Content(ContentLine),
    /// A piece of a stream.
    Chunk(ChunkLine),
}

/// The fields of both kinds of lines. To try one kind after the other, serde would keep a line in a
/// form that takes many times its bytes: a crafted index could exhaust memory.
#[derive(Deserialize)]
struct LineFields {
    content: Option<Hash>,
    sha1: Option<Sha1>,
    chunk: Option<Hash>,
    size: u64,
    offset: u64,
    stored: u64,
    frames: Option<Vec<u32>>,
    #[serde(default, with = "hex::serde")]
    tree: Vec<u8>,
    path: Option<FilePath>,
    mtime: Option<i64>,
    #[serde(default)]
    keys: Vec<Hash>,
}

impl TryFrom<LineFields> for IndexLine {
    type Error = &'static str;

    fn try_from(fields: LineFields) -> Result<Self, Self::Error> {
        let LineFields {
            content,
            sha1,
            chunk,
            size,
            offset,
            stored,
            frames,
            tree,
            path,
            mtime,
            keys,
        } = fields;
        match (content, sha1, path, mtime, chunk) {
            (Some(content), Some(sha1), Some(path), Some(mtime), _) => {
                Ok(IndexLine::Content(ContentLine {
                    content,
                    sha1,
                    size,
                    offset,
                    stored,
                    frames,
                    tree,
                    path,
                    mtime,
                }))
            }
            (.., Some(chunk)) => {
                Ok(IndexLine::Chunk(ChunkLine { chunk, size, offset, stored, keys }))
            }
            _ => Err("a line is neither a content's nor a chunk's"),
        }
    }
}

/// A file's content in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentLine {
    /// BLAKE3 of the plain bytes.
    pub content: Hash,
    pub sha1: Sha1,
    /// Plain bytes.
    pub size: u64,
    /// Where the stored bytes begin, from the start of the tar.
    pub offset: u64,
    /// Stored bytes.
    pub stored: u64,
    /// Stored bytes of each zstd frame (1 MiB plain each, the last may be shorter). Absent: stored
    /// as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<Vec<u32>>,
    /// Over 1 MiB: the BLAKE3 chaining value of each 1 MiB segment, 64 hex digits apiece.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "hex::serde")]
    pub tree: Vec<u8>,
    /// The path that it was first seen with.
    pub path: FilePath,
    /// The mtime that it was first seen with, nanoseconds since 1970.
    pub mtime: i64,
}

/// A chunk in an archive: one zstd frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkLine {
    /// BLAKE3 of the plain bytes.
    pub chunk: Hash,
    /// Plain bytes.
    pub size: u64,
    /// Where the frame begins, from the start of the tar.
    pub offset: u64,
    /// Bytes of the frame.
    pub stored: u64,
    /// A patch: the key chunks whose plain bytes, put together in this order, are its prefix.
    /// Absent: a key chunk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Hash>,
}

impl IndexLine {
    /// Where the stored bytes begin and how many they are.
    pub fn place(&self) -> (u64, u64) {
        match self {
            IndexLine::Content(line) => (line.offset, line.stored),
            IndexLine::Chunk(line) => (line.offset, line.stored),
        }
    }

    /// Plain bytes.
    pub fn size(&self) -> u64 {
        match self {
            IndexLine::Content(line) => line.size,
            IndexLine::Chunk(line) => line.size,
        }
    }
}

/// Where a content's stored bytes are, as the catalog says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentPlace {
    pub hash: Hash,
    /// Plain bytes.
    pub size: u64,
    pub offset: u64,
    pub stored: u64,
    /// Stored bytes of each frame; `None` when it is stored as it is.
    pub frames: Option<Vec<u32>>,
    /// Over one segment: the chaining value of each. To be verified against `hash` before it is
    /// believed.
    pub tree: Vec<u8>,
}

impl From<&ContentLine> for ContentPlace {
    fn from(line: &ContentLine) -> Self {
        ContentPlace {
            hash: line.content,
            size: line.size,
            offset: line.offset,
            stored: line.stored,
            frames: line.frames.clone(),
            tree: line.tree.clone(),
        }
    }
}

impl ContentPlace {
    /// How many segments it has; an empty content has one, which is empty.
    pub fn segments(&self) -> u64 {
        self.size.div_ceil(SEGMENT as u64).max(1)
    }

    /// Plain bytes of segment `index`; 0 past the end.
    pub fn segment_len(&self, index: u64) -> usize {
        let begin = index.saturating_mul(SEGMENT as u64).min(self.size);
        (self.size - begin).min(SEGMENT as u64) as usize
    }
}

/// Where a chunk's frame is, as the catalog says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPlace {
    pub hash: Hash,
    /// Plain bytes.
    pub size: u64,
    pub offset: u64,
    pub stored: u64,
}

impl From<&ChunkLine> for ChunkPlace {
    fn from(line: &ChunkLine) -> Self {
        ChunkPlace { hash: line.chunk, size: line.size, offset: line.offset, stored: line.stored }
    }
}
