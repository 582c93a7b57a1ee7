//! Reading contents and streams: verified, in segments, through a bounded cache.

use std::sync::Arc;

use rusqlite::Connection;

use super::record::Stream;
use crate::base::Result;

/// Bytes of a segment: contents are verified and cached in these pieces.
pub const SEGMENT: u64 = 1 << 20;

/// Reads contents out of the archives of one repository. Shared by threads.
#[derive(Debug)]
pub struct Contents {}

impl Contents {
    /// Segment `index` (of [`SEGMENT`] plain bytes, the last may be shorter) of content `id`, verified against its
    /// hash. `Damaged` when the bytes are not what was written.
    pub fn segment(&self, _catalog: &Connection, _id: i64, _index: u64) -> Result<Arc<Vec<u8>>> {
        todo!()
    }

    /// The chunk of `stream` that holds the plain byte `offset`, and where that chunk begins in the stream.
    pub fn chunk_at(&self, _catalog: &Connection, _stream: &Stream, _offset: u64) -> Result<(u64, Arc<Vec<u8>>)> {
        todo!()
    }
}
