#![doc = include_str!("FORMAT.md")]

pub mod frame;
pub mod hasher;
mod index;
mod member;
#[cfg(test)]
mod memory;
mod reader;
pub mod salvage;
pub mod verify;
mod writer;

pub use hasher::{Digests, Hasher};
pub use index::ArchiveTail;
pub use reader::{ArchiveReader, read_chunk, read_segment};
pub use writer::{ArchiveWriter, FinishedArchive, LargeContent, NewContent, StoredContent};

/// Version of the archive format that this code writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

pub use crate::base::stored::SEGMENT;

/// No chunk of a stream has more plain bytes.
pub const MAX_CHUNK: u64 = 16 << 20;

/// A patch names at most so many key chunks.
pub const MAX_KEYS: usize = 3;
