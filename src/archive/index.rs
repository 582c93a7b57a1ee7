//! An archive's index and tail: what is in it, found from its end.

use std::fmt::Write as _;

use super::member::BLOCK;
use super::{FORMAT_VERSION, SEGMENT, frame, hasher};
use crate::base::stored::IndexLine;
use crate::base::{Error, ErrorKind, Hash, Result};

/// Member name of the index.
pub const INDEX_NAME: &str = ".shoebox/index.jsonl.zst";
/// Member name of the tail.
pub const TAIL_NAME: &str = ".shoebox/tail";
/// Bytes of the tail's data.
pub const TAIL_LEN: u64 = 512;
/// Where the tail's data begins, counted from the end of the archive: its block and the two blocks
/// that end a tar.
pub const TAIL_FROM_END: u64 = TAIL_LEN + 1024;
/// No index is larger, compressed or plain: a crafted archive cannot exhaust memory. Of an archive
/// full of empty files it would be 100 MB, of a file of a terabyte 75 MB.
const MAX_INDEX: u64 = 256 << 20;

/// An index as the bytes of its member.
pub fn encode(lines: &[IndexLine]) -> Result<EncodedIndex> {
    let mut plain = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut plain, line).map_err(|error| {
            Error::new(ErrorKind::Io, "writing an archive's index").caused_by(error)
        })?;
        plain.push(b'\n');
    }
    Ok(EncodedIndex {
        hash: hasher::hash(&plain),
        size: plain.len() as u64,
        frame: frame::compress(&plain)?,
    })
}

/// An index, ready to be written.
#[derive(Debug)]
pub struct EncodedIndex {
    /// BLAKE3 of the plain lines.
    pub hash: Hash,
    /// Bytes of the plain lines.
    pub size: u64,
    /// The lines as one zstd frame.
    pub frame: Vec<u8>,
}

/// Where an archive's index is, and what it must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveTail {
    /// Where the index's frame begins, from the start of the tar.
    pub offset: u64,
    /// Bytes of the frame.
    pub stored: u64,
    /// Bytes of the plain lines.
    pub size: u64,
    /// BLAKE3 of the plain lines.
    pub hash: Hash,
}

impl ArchiveTail {
    /// The tail's data: lines of text, filled with line feeds.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("shoebox archive {FORMAT_VERSION}\n");
        let ArchiveTail { offset, stored, size, hash } = self;
        write!(
            text,
            "index-offset {offset}\nindex-stored {stored}\nindex-size {size}\nindex-blake3 {hash}\n"
        )
        .expect("holds because writing to a String does not fail");
        let mut bytes = text.into_bytes();
        bytes.resize(TAIL_LEN as usize, b'\n');
        bytes
    }

    /// Reads a tail. `Damaged` when it is none, `Unsupported` when a newer shoebox wrote it.
    pub fn decode(bytes: &[u8]) -> Result<ArchiveTail> {
        let text = std::str::from_utf8(bytes).map_err(|_| not_a_tail())?;
        let mut fields = text.lines();
        let version = fields
            .next()
            .and_then(|line| line.strip_prefix("shoebox archive "))
            .ok_or_else(not_a_tail)?;
        if version.parse::<u32>().map_err(|_| not_a_tail())? > FORMAT_VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format_args!("the archive is of format {version}"),
            )
            .hint("a newer shoebox wrote it; use that version to read it"));
        }
        let mut field = |name: &str| {
            fields
                .next()
                .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .ok_or_else(not_a_tail)
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| not_a_tail());
        Ok(ArchiveTail {
            offset: number(field("index-offset")?)?,
            stored: number(field("index-stored")?)?,
            size: number(field("index-size")?)?,
            hash: field("index-blake3")?.parse().map_err(|_| not_a_tail())?,
        })
    }

    /// True when an archive of `len` bytes can hold this index.
    pub fn fits(&self, len: u64) -> bool {
        self.size <= MAX_INDEX
            && self.stored <= MAX_INDEX
            && self.offset.checked_add(self.stored).is_some_and(|end| end <= len)
    }

    /// The lines of the index whose frame is `frame`. `Damaged` when it is not the one that the
    /// tail names, or a line points outside the archive.
    pub fn lines(&self, frame: &[u8]) -> Result<Vec<IndexLine>> {
        let plain = frame::decompress(frame, self.size as usize)?;
        if hasher::hash(&plain) != self.hash {
            return Err(Error::damaged("an archive's index"));
        }
        let lines = serde_json::Deserializer::from_slice(&plain).into_iter();
        let lines: Result<Vec<IndexLine>, _> = lines.collect();
        let lines = lines.map_err(|error| Error::damaged("an archive's index").caused_by(error))?;
        let mut end = 0;
        for line in &lines {
            end = self.end_of(line, end).ok_or_else(|| {
                Error::damaged(
                    "an archive's index points outside the archive, or twice to one place",
                )
            })?;
        }
        Ok(lines)
    }

    /// Where the member of `line` ends, if it has a place of its own behind the one that ends at
    /// `before`, and its numbers agree: so an index has no more lines than its archive has room for
    /// members.
    fn end_of(&self, line: &IndexLine, before: u64) -> Option<u64> {
        let (offset, stored) = line.place();
        let end = offset.checked_add(stored).filter(|end| *end <= self.offset)?;
        (offset.checked_sub(before)? >= BLOCK && is_consistent(line)).then_some(end)
    }
}

/// True when the line's own numbers agree: what a reader relies on before it allocates.
fn is_consistent(line: &IndexLine) -> bool {
    match line {
        IndexLine::Chunk(line) => {
            line.size <= super::MAX_CHUNK && line.keys.len() <= super::MAX_KEYS
        }
        IndexLine::Content(line) => {
            let segments = line.size.div_ceil(SEGMENT as u64);
            let tree = if segments > 1 { segments * 32 } else { 0 };
            let frames = match &line.frames {
                None => line.stored == line.size,
                Some(frames) => {
                    frames.len() as u64 == segments
                        && frames.iter().map(|&len| u64::from(len)).sum::<u64>() == line.stored
                }
            };
            line.tree.len() as u64 == tree && frames
        }
    }
}

fn not_a_tail() -> Error {
    Error::damaged("the archive has no tail: it was cut short, or it is not an archive of shoebox")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stored::ChunkLine;

    fn tail() -> ArchiveTail {
        ArchiveTail { offset: 1024, stored: 77, size: 300, hash: hasher::hash(b"index") }
    }

    #[test]
    fn a_tail_reads_back() {
        let bytes = tail().encode();
        assert_eq!(bytes.len() as u64, TAIL_LEN);
        assert_eq!(ArchiveTail::decode(&bytes).unwrap(), tail());
    }

    #[test]
    fn a_tail_from_the_future_is_refused_kindly() {
        let text = String::from_utf8(tail().encode()).unwrap().replace("archive 1", "archive 9");
        assert_eq!(
            ArchiveTail::decode(text.as_bytes()).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn no_cut_or_flipped_tail_panics() {
        let bytes = tail().encode();
        for at in 0..bytes.len() {
            let _ = ArchiveTail::decode(&bytes[..at]);
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x41;
            let _ = ArchiveTail::decode(&flipped);
        }
    }

    #[test]
    fn a_line_that_points_outside_is_damage() {
        let line = IndexLine::Chunk(ChunkLine {
            chunk: hasher::hash(b"x"),
            size: 1,
            offset: 900,
            stored: 200,
            keys: vec![],
        });
        let encoded = encode(&[line]).unwrap();
        let tail = ArchiveTail {
            offset: 1024,
            stored: encoded.frame.len() as u64,
            size: encoded.size,
            hash: encoded.hash,
        };
        assert_eq!(tail.lines(&encoded.frame).unwrap_err().kind(), ErrorKind::Damaged);
        let roomy = ArchiveTail { offset: 1100, ..tail };
        assert_eq!(roomy.lines(&encoded.frame).unwrap().len(), 1);
    }
}
