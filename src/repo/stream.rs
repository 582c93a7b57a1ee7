//! Streams: content that mostly repeats from night to night, cut into chunks.
//!
//! Nearly every chunk of a database dump changes every night, but little of it: so a chunk that is
//! new is stored as a patch on what lay at the same place the night before. Key chunks are never
//! patches, so reading one chunk takes at most three others.

use std::borrow::Borrow;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use fastcdc::v2020::FastCDC;
use rusqlite::Connection;

use super::content::ContentReader;
use super::record::{StreamChunk, StreamInfo};
use super::writer::ContentSink;
use crate::archive::{self, MAX_KEYS, frame};
use crate::base::{Error, ErrorKind, Hash, Result};
use crate::catalog::Catalog;
use crate::catalog::{Generation, query};

/// FastCDC's bounds.
const MIN: usize = 1 << 20;
const AVERAGE: usize = 4 << 20;
const MAX: usize = 8 << 20;
/// A chunk is prolonged to the end of its line, by no more than this: three keys and a chunk stay
/// below a patch's window.
const TO_LINE_END: usize = 7 << 20;
/// No line of a list is longer. Reading one may take sixteen times its bytes, for a moment.
const MAX_LINE: u64 = 16 << 20;
/// What may be compressed at the same time.
const IN_FLIGHT: usize = 2;
/// A patch over this share of its plain bytes is stored plain and becomes a key.
const PATCH_SHARE: usize = 4;

/// The chunks of the same stream the night before, with where they lay.
#[derive(Debug, Default, Clone)]
pub struct ReferenceStream(Vec<KnownChunk>);

#[derive(Debug, Clone)]
struct KnownChunk {
    begin: u64,
    end: u64,
    /// Itself if it is a key, else its key chunks; the likeliest last, next to what is patched.
    keys: Vec<Hash>,
}

impl ReferenceStream {
    /// `stream` as something to patch against.
    pub fn of(stream: &StreamInfo, catalog: &Connection) -> Result<ReferenceStream> {
        let mut begin = 0;
        let mut known = Vec::with_capacity(stream.chunks.len());
        for chunk in &stream.chunks {
            let end = chunk.size.saturating_add(begin);
            match query::chunk(catalog, chunk.hash) {
                Ok(row) if row.keys.is_empty() => {
                    known.push(KnownChunk { begin, end, keys: vec![chunk.hash] })
                }
                Ok(row) => known.push(KnownChunk { begin, end, keys: row.keys }),
                // A chunk that is lost is no help, and no hindrance.
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                Err(error) => return Err(error),
            }
            begin = end;
        }
        Ok(ReferenceStream(known))
    }

    /// The keys that most likely resemble the bytes from `begin` to `end`, the likeliest last.
    fn keys(&self, begin: u64, end: u64) -> Vec<Hash> {
        let mut weights: Vec<(u64, Hash)> = Vec::new();
        for known in self.0.iter().filter(|known| known.begin < end && known.end > begin) {
            let overlap = known.end.min(end) - known.begin.max(begin);
            for (rank, key) in known.keys.iter().rev().enumerate() {
                let weight = overlap >> rank;
                match weights.iter_mut().find(|(_, other)| other == key) {
                    Some((sum, _)) => *sum += weight,
                    None => weights.push((weight, *key)),
                }
            }
        }
        weights.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        weights.truncate(MAX_KEYS);
        weights.into_iter().rev().map(|(_, key)| key).collect()
    }
}

/// Takes a stream's bytes and stores its chunks.
#[derive(Debug)]
pub struct StreamWriter<'a> {
    sink: &'a ContentSink,
    catalog: Catalog,
    reference: ReferenceStream,
    buffer: Vec<u8>,
    stream: StreamInfo,
    jobs: Sender<ChunkJob>,
}

#[derive(Debug)]
struct ChunkJob {
    hash: Hash,
    plain: Vec<u8>,
    keys: Vec<Hash>,
    /// An archive holds it already, or should.
    known: bool,
}

impl<'a> StreamWriter<'a> {
    /// Runs `feed` with a writer of a new stream; what `feed` returns, and the stream. Its chunks
    /// are in `sink` on return, not yet durable. A failure of storing shows in `feed`'s next write,
    /// or here.
    pub fn run<T>(
        sink: &'a ContentSink,
        generation: &Generation,
        contents: &ContentReader,
        reference: ReferenceStream,
        feed: impl FnOnce(&mut StreamWriter<'a>) -> Result<T>,
    ) -> Result<(T, StreamInfo)> {
        thread::scope(|scope| {
            let (jobs, queue) = bounded::<ChunkJob>(IN_FLIGHT);
            let workers: Vec<_> = (0..IN_FLIGHT)
                .map(|_| {
                    let queue = queue.clone();
                    scope
                        .spawn(move || store_chunks(sink, &*generation.connect()?, contents, queue))
                })
                .collect();
            drop(queue);
            let mut writer = StreamWriter {
                sink,
                catalog: generation.connect()?,
                reference,
                buffer: Vec::new(),
                stream: StreamInfo::default(),
                jobs,
            };
            let fed = feed(&mut writer).and_then(|fed| writer.flush_rest().map(|()| fed));
            let StreamWriter { stream, jobs, .. } = writer;
            drop(jobs);
            for worker in workers {
                worker.join().map_err(|_| {
                    Error::new(ErrorKind::Io, "a thread that stores chunks ended early")
                })??;
            }
            Ok((fed?, stream))
        })
    }

    /// Adds `bytes`.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        let mut begin = 0;
        while self.buffer.len() - begin >= MAX + TO_LINE_END {
            begin += self.store_next(begin)?;
        }
        self.buffer.drain(..begin);
        Ok(())
    }

    fn flush_rest(&mut self) -> Result<()> {
        let mut begin = 0;
        while begin < self.buffer.len() {
            begin += self.store_next(begin)?;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Stores the chunk that begins at `begin` of the buffer; its length.
    fn store_next(&mut self, begin: usize) -> Result<usize> {
        let len = chunk_len(&self.buffer[begin..]);
        let plain = &self.buffer[begin..begin + len];
        let hash = archive::hasher::hash(plain);
        let at = self.stream.size;
        if !self.sink.has_added(hash) {
            let known = query::has_chunk(&self.catalog, hash)?;
            let keys = self.reference.keys(at, at + len as u64);
            let job = ChunkJob { hash, plain: plain.to_vec(), keys, known };
            self.jobs.send(job).map_err(|_| Error::new(ErrorKind::Io, "storing chunks failed"))?;
        }
        self.stream.chunks.push(StreamChunk { hash, size: len as u64 });
        self.stream.size += len as u64;
        Ok(len)
    }
}

impl Write for StreamWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.push(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where the chunk at the beginning of `bytes` ends: where FastCDC cuts, prolonged to the end of
/// the line, so that lists are made of whole lines.
fn chunk_len(bytes: &[u8]) -> usize {
    let cut =
        FastCDC::new(bytes, MIN, AVERAGE, MAX).next().map_or(bytes.len(), |chunk| chunk.length);
    let len = cut.clamp(1, bytes.len());
    if bytes[len - 1] == b'\n' {
        return len;
    }
    let rest = &bytes[len..bytes.len().min(len + TO_LINE_END)];
    memchr::memchr(b'\n', rest).map_or(len, |at| len + at + 1)
}

fn store_chunks(
    sink: &ContentSink,
    catalog: &Connection,
    contents: &ContentReader,
    queue: Receiver<ChunkJob>,
) -> Result<()> {
    for ChunkJob { hash, plain, keys, known } in queue {
        // A snapshot stands on its lists and its dump: what is reused of them is read first, and
        // stored again if it is damaged.
        if known && is_readable(catalog, contents, hash)? {
            continue;
        }
        let size = plain.len() as u64;
        // What takes the place of a damaged chunk may be a key of others: it is plain.
        let keys = if known { Vec::new() } else { keys };
        match patch(catalog, contents, &plain, &keys)? {
            Some(frame) => sink.add_chunk(hash, size, &frame, &keys)?,
            None => sink.add_chunk(hash, size, &frame::compress(&plain)?, &[])?,
        }
    }
    Ok(())
}

fn is_readable(catalog: &Connection, contents: &ContentReader, hash: Hash) -> Result<bool> {
    match contents.chunk(catalog, hash) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(false),
        Err(error) => Err(error),
    }
}

/// `plain` as a patch on `keys`, if that pays.
fn patch(
    catalog: &Connection,
    contents: &ContentReader,
    plain: &[u8],
    keys: &[Hash],
) -> Result<Option<Vec<u8>>> {
    let mut prefix = Vec::new();
    for key in keys {
        match contents.chunk(catalog, *key) {
            Ok(bytes) => prefix.extend_from_slice(&bytes),
            // A damaged key would make damaged patches: start over.
            Err(error) if error.kind() == ErrorKind::Damaged => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    if prefix.is_empty() {
        return Ok(None);
    }
    let frame = frame::compress_patch(plain, &prefix)?;
    Ok((frame.len() * PATCH_SHARE <= plain.len()).then_some(frame))
}

/// Reads a stream from its beginning. `C` is a connection to the catalog, or a reference to one.
#[derive(Debug)]
pub struct StreamReader<'a, C> {
    catalog: C,
    contents: &'a ContentReader,
    chunks: std::vec::IntoIter<StreamChunk>,
    current: Arc<Vec<u8>>,
    at: usize,
}

impl<'a, C: Borrow<Connection>> StreamReader<'a, C> {
    /// Reads `stream`.
    pub fn new(catalog: C, contents: &'a ContentReader, stream: &StreamInfo) -> Self {
        Self::of_chunks(catalog, contents, stream.chunks.clone())
    }

    /// Reads the given chunks, one after the other.
    pub fn of_chunks(catalog: C, contents: &'a ContentReader, chunks: Vec<StreamChunk>) -> Self {
        StreamReader {
            catalog,
            contents,
            chunks: chunks.into_iter(),
            current: Arc::default(),
            at: 0,
        }
    }
}

impl<C: Borrow<Connection>> Read for StreamReader<'_, C> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.current.len() {
            let Some(chunk) = self.chunks.next() else { return Ok(0) };
            self.current = self
                .contents
                .chunk(self.catalog.borrow(), chunk.hash)
                .map_err(std::io::Error::other)?;
            self.at = 0;
        }
        let len = buffer.len().min(self.current.len() - self.at);
        buffer[..len].copy_from_slice(&self.current[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// The lines of a list, without their ends. `Damaged` where one cannot be read, or is longer than a
/// line can be: a crafted repository cannot exhaust memory.
pub fn lines(list: impl Read) -> impl Iterator<Item = Result<Vec<u8>>> {
    let mut list = BufReader::with_capacity(1 << 16, list);
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        match list.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) if line.len() as u64 == MAX_LINE => {
                Some(Err(Error::damaged("a list has a line without an end")))
            }
            Ok(_) => {
                line.truncate(line.len() - usize::from(line.ends_with(b"\n")));
                Some(Ok(line))
            }
            Err(error) => Some(Err(Error::damaged("a list of a snapshot").caused_by(error))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u8) -> Hash {
        Hash([n; 32])
    }

    #[test]
    fn the_keys_are_those_of_what_lay_at_the_same_place() {
        let known = |begin, end, keys: &[u8]| KnownChunk {
            begin,
            end,
            keys: keys.iter().map(|&n| hash(n)).collect(),
        };
        let reference = ReferenceStream(vec![
            known(0, 100, &[1]),
            known(100, 200, &[3, 1, 2]),
            known(200, 300, &[3]),
        ]);
        assert_eq!(reference.keys(100, 200), [hash(3), hash(1), hash(2)]);
        assert_eq!(reference.keys(190, 290), [hash(1), hash(2), hash(3)]);
        assert_eq!(reference.keys(300, 400), []);
    }

    #[test]
    fn chunks_end_where_lines_end() {
        let line = b"0123456789 abcdefghijklmnopqrstuvwxyz\n";
        let text: Vec<u8> =
            (0..400_000u32).flat_map(|i| [&i.to_le_bytes()[..2], &line[..]].concat()).collect();
        let mut at = 0;
        while at < text.len() {
            let len = chunk_len(&text[at..]);
            assert!(len >= MIN.min(text.len() - at) && len <= MAX + TO_LINE_END);
            at += len;
            assert_eq!(text[at - 1], b'\n');
        }
    }
}
