//! The bytes of a dump: plain or gzip, told apart by their first bytes, taken line by line in bounded memory.

use std::io::{self, BufReader, Chain, Cursor, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use crate::base::{Error, Result};

const GZIP: &[u8] = &[0x1f, 0x8b];
/// Kinds of file that are not a plain dump, by their first bytes, and what to do about them.
const FOREIGN: [(&[u8], &str); 8] = [
    (
        b"PGDMP",
        "this is a dump in pg_dump's custom format; make a plain one, without -Fc (or convert it: pg_restore -f dump.sql)",
    ),
    (
        b"toc.dat",
        "this is a dump in pg_dump's tar format; make a plain one, without -Ft (or convert it: pg_restore -f dump.sql)",
    ),
    (&[0x28, 0xb5, 0x2f, 0xfd], "this is compressed with zstd; decompress it first, or use gzip"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "this is compressed with xz; decompress it first, or use gzip"),
    (b"BZh", "this is compressed with bzip2; decompress it first, or use gzip"),
    (b"PK\x03\x04", "this is a zip archive; unpack it first"),
    (&[0xff, 0xfe], "this is UTF-16: a Windows shell rewrote it; let pg_dump write the file itself (--file)"),
    (&[0xfe, 0xff], "this is UTF-16: a Windows shell rewrote it; let pg_dump write the file itself (--file)"),
];

type Raw<'a> = Chain<Cursor<Vec<u8>>, Watched<'a>>;

/// A dump's plain bytes.
pub enum Input<'a> {
    Plain(Raw<'a>),
    Gzip(Box<MultiGzDecoder<BufReader<Raw<'a>>>>),
}

/// Why no more bytes come.
pub enum Stop {
    /// The gzip data is damaged or ends early.
    Damaged(String),
    /// Reading failed on our side.
    Failed(Error),
}

impl<'a> Input<'a> {
    /// Looks at the first bytes of `input`.
    pub fn open(input: &'a mut dyn Read) -> Result<(Input<'a>, Option<&'static str>)> {
        let mut input = Watched { input, failed: false };
        let mut head = Vec::with_capacity(8);
        input.by_ref().take(8).read_to_end(&mut head).map_err(failed)?;
        let foreign = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, reason)| *reason);
        let gzip = head.starts_with(GZIP);
        let raw = Cursor::new(head).chain(input);
        let input = match gzip {
            true => Input::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(128 << 10, raw)))),
            false => Input::Plain(raw),
        };
        Ok((input, foreign))
    }

    /// Reads some bytes into `buffer`; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Stop> {
        loop {
            let got = match self {
                Input::Plain(raw) => raw.read(buffer),
                Input::Gzip(decoder) => decoder.read(buffer),
            };
            match got {
                Ok(got) => return Ok(got),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.stop(error)),
            }
        }
    }

    fn stop(&self, error: io::Error) -> Stop {
        match self {
            Input::Gzip(decoder) if !decoder.get_ref().get_ref().get_ref().1.failed => Stop::Damaged(
                match error.kind() {
                    ErrorKind::UnexpectedEof => "the gzip data ends early: the dump was cut short",
                    _ => "the gzip data is damaged",
                }
                .to_owned(),
            ),
            _ => Stop::Failed(failed(error)),
        }
    }
}

fn failed(error: io::Error) -> Error {
    Error::io("reading the dump", error)
}

/// Remembers whether the reader underneath failed, so that its failure is not taken for damaged gzip data.
pub struct Watched<'a> {
    input: &'a mut dyn Read,
    failed: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer);
        self.failed |= got.as_ref().is_err_and(|error| error.kind() != ErrorKind::Interrupted);
        got
    }
}

/// Collects bytes until they are whole lines.
pub struct Lines {
    buffer: Vec<u8>,
    filled: usize,
}

/// A longer line is refused: PostgreSQL's own limit is 1 GB for a field, Immich's longest are some megabytes.
const LONGEST: usize = 256 << 20;
const FIRST: usize = 256 << 10;

impl Lines {
    pub fn new() -> Self {
        Lines { buffer: vec![0; FIRST], filled: 0 }
    }

    /// Where the next bytes go; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// The `count` bytes that were put there last.
    pub fn fresh(&self, count: usize) -> &[u8] {
        &self.buffer[self.filled..self.filled + count]
    }

    /// Takes `count` fresh bytes in: how many bytes at the front are whole lines.
    pub fn push(&mut self, count: usize) -> usize {
        let newline = memchr::memrchr(b'\n', self.fresh(count));
        let whole = newline.map_or(0, |at| self.filled + at + 1);
        self.filled += count;
        whole
    }

    /// The first `count` bytes.
    pub fn front(&self, count: usize) -> &[u8] {
        &self.buffer[..count]
    }

    /// Forgets the first `count` bytes.
    pub fn drop_front(&mut self, count: usize) {
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
    }

    /// Bytes that are no whole line yet.
    pub fn pending(&self) -> usize {
        self.filled
    }

    /// True when one line is longer than any that a dump has.
    pub fn too_long(&self) -> bool {
        self.filled >= LONGEST
    }
}
