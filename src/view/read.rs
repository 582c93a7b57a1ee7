//! Where a file's bytes are, and reading them.

use std::sync::Arc;

use crate::base::{Error, ErrorKind, Result};
use crate::catalog::Catalog;
use crate::repo::content::{ContentReader, SEGMENT};
use crate::repo::record::StreamInfo;

/// What hands out verified bytes: the contents of a repository.
pub trait ByteSource: Send + Sync {
    /// Segment `index` of content `id`, as [`ContentReader::segment`].
    fn segment(&self, catalog: &Catalog, id: i64, index: u64) -> Result<Arc<Vec<u8>>>;
    /// The chunk that holds `offset` and where it begins, as [`ContentReader::chunk_at`].
    fn chunk_at(
        &self,
        catalog: &Catalog,
        stream: &StreamInfo,
        offset: u64,
    ) -> Result<(u64, Arc<Vec<u8>>)>;
    /// A newer catalog is used from now on: places may have changed.
    fn renew(&self) {}
    /// The same bytes, asked for by the ids of a catalog that was rebuilt; `None` where it cannot.
    fn for_rebuilt(&self) -> Option<Arc<dyn ByteSource>> {
        None
    }
}

impl ByteSource for ContentReader {
    fn segment(&self, catalog: &Catalog, id: i64, index: u64) -> Result<Arc<Vec<u8>>> {
        ContentReader::segment(self, catalog, id, index)
    }

    fn chunk_at(
        &self,
        catalog: &Catalog,
        stream: &StreamInfo,
        offset: u64,
    ) -> Result<(u64, Arc<Vec<u8>>)> {
        ContentReader::chunk_at(self, catalog, stream, offset)
    }

    fn renew(&self) {
        ContentReader::clear(self);
    }

    fn for_rebuilt(&self) -> Option<Arc<dyn ByteSource>> {
        Some(Arc::new(self.with_other_ids()))
    }
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
pub(super) enum FileBytes {
    Content(i64, u64),
    Stream(Arc<StreamInfo>),
    Text(Arc<str>),
}

impl FileBytes {
    pub fn size(&self) -> u64 {
        match self {
            FileBytes::Content(_, size) => *size,
            FileBytes::Stream(stream) => stream.size,
            FileBytes::Text(text) => text.len() as u64,
        }
    }

    /// Calls `take` with up to `len` bytes from `offset`, fewer only where the file ends.
    pub fn read<T>(
        &self,
        source: &dyn ByteSource,
        db: &Catalog,
        offset: u64,
        len: usize,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        let end = offset.saturating_add(len as u64).min(self.size());
        if offset >= end {
            return Ok(take(&[]));
        }
        let first = self.piece(source, db, offset, end).map_err(never_not_found)?;
        if first.1.len() as u64 >= end - first.0 {
            return Ok(take(first.slice(offset, end)));
        }
        let mut bytes = Vec::with_capacity((end - offset) as usize);
        bytes.extend_from_slice(first.slice(offset, end));
        while offset + (bytes.len() as u64) < end {
            let at = offset + bytes.len() as u64;
            let piece = self.piece(source, db, at, end).map_err(never_not_found)?;
            bytes.extend_from_slice(piece.slice(at, end));
        }
        Ok(take(&bytes))
    }

    /// The piece that holds the byte at `offset`: where it begins, and its bytes. Fails rather than
    /// be too short.
    fn piece(
        &self,
        source: &dyn ByteSource,
        db: &Catalog,
        offset: u64,
        end: u64,
    ) -> Result<ReadPiece> {
        let piece = match self {
            FileBytes::Content(id, _) => {
                let index = offset / SEGMENT;
                ReadPiece(index * SEGMENT, source.segment(db, *id, index)?)
            }
            FileBytes::Stream(stream) => {
                let (start, bytes) = source.chunk_at(db, stream, offset)?;
                ReadPiece(start, bytes)
            }
            FileBytes::Text(text) => ReadPiece(0, Arc::new(text.as_bytes().to_vec())),
        };
        if piece.slice(offset, end).is_empty() {
            Err(Error::damaged("a stored file is shorter than the catalog records"))
        } else {
            Ok(piece)
        }
    }
}

struct ReadPiece(u64, Arc<Vec<u8>>);

impl ReadPiece {
    fn slice(&self, offset: u64, end: u64) -> &[u8] {
        let from = offset
            .checked_sub(self.0)
            .map_or(self.1.len(), |from| (from as usize).min(self.1.len()));
        let to = ((end - self.0.min(end)) as usize).clamp(from, self.1.len());
        &self.1[from..to]
    }
}

/// A file that the catalog shows and whose archive is missing is damage, not "no such file".
fn never_not_found(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => {
            Error::damaged("an archive that holds this file is missing").caused_by(error)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;

    impl ByteSource for Counting {
        fn segment(&self, _: &Catalog, _: i64, index: u64) -> Result<Arc<Vec<u8>>> {
            match index {
                0 | 1 => Ok(Arc::new(vec![index as u8; SEGMENT as usize])),
                2 => Ok(Arc::new(vec![2; 10])),
                _ => Err(Error::not_found("segment")),
            }
        }

        fn chunk_at(&self, _: &Catalog, _: &StreamInfo, _: u64) -> Result<(u64, Arc<Vec<u8>>)> {
            Err(Error::not_found("chunk"))
        }
    }

    fn read(size: u64, offset: u64, len: usize) -> Result<Vec<u8>> {
        let db = Catalog::from(rusqlite::Connection::open_in_memory().unwrap());
        FileBytes::Content(1, size).read(&Counting, &db, offset, len, <[u8]>::to_vec)
    }

    #[test]
    fn a_read_over_segments_is_put_together_and_ends_with_the_file() {
        let size = 2 * SEGMENT + 10;
        assert_eq!(read(size, SEGMENT - 2, 4).unwrap(), [0, 0, 1, 1]);
        assert_eq!(read(size, 2 * SEGMENT - 1, 100).unwrap(), [vec![1], vec![2; 10]].concat());
        assert!(read(size, size, 100).unwrap().is_empty());
        assert_eq!(read(size, SEGMENT, 3).unwrap(), [1, 1, 1]);
        assert_eq!(read(size, 1, 2 * SEGMENT as usize).unwrap().len(), 2 * SEGMENT as usize);
    }

    #[test]
    fn a_content_that_is_too_short_is_damage_and_never_zeros() {
        assert_eq!(read(2 * SEGMENT + 20, 2 * SEGMENT, 20).unwrap_err().kind(), ErrorKind::Damaged);
        assert_eq!(read(9 * SEGMENT, 3 * SEGMENT, 20).unwrap_err().kind(), ErrorKind::Damaged);
    }
}
