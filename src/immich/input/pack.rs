//! How a file is packed: told by its first bytes, and unpacked in bounded memory.

use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::{LzipReader, LzmaReader, XzReader};

use super::{InputLayer, refuse};

/// What a window of xz may take, in KiB: four times that of `xz -9`.
const XZ_MEMORY: u32 = 256 << 10;
const BUFFER: usize = 128 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PackFormat {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Lzma,
    Lzip,
}

impl PackFormat {
    /// What begins with `head`.
    pub fn of(head: &[u8]) -> Option<PackFormat> {
        match head {
            [0x1f, 0x8b, ..] => Some(PackFormat::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Some(PackFormat::Zstd)
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(PackFormat::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(PackFormat::Bzip2),
            [0x5d, 0, 0, _, _, ..] => Some(PackFormat::Lzma),
            [b'L', b'Z', b'I', b'P', ..] => Some(PackFormat::Lzip),
            _ => None,
        }
    }

    pub fn open(self, packed: InputLayer<'_>) -> io::Result<InputLayer<'_>> {
        let packed = BufReader::with_capacity(BUFFER, packed);
        Ok(match self {
            PackFormat::Gzip => Box::new(GzipMembers { member: Some(GzDecoder::new(packed)) }),
            PackFormat::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
            PackFormat::Xz => Box::new(XzReader::new_mem_limit(packed, true, XZ_MEMORY)),
            PackFormat::Bzip2 => Box::new(MultiBzDecoder::new(packed)),
            PackFormat::Lzma => Box::new(LzmaReader::new_mem_limit(packed, XZ_MEMORY, None)?),
            PackFormat::Lzip => Box::new(LzipReader::new(packed)),
        })
    }

    /// What is wrong with packed data whose reader failed so.
    pub fn complaint(self, error: &io::Error) -> String {
        let name = match self {
            PackFormat::Gzip => "gzip",
            PackFormat::Zstd => "zstd",
            PackFormat::Xz => "xz",
            PackFormat::Bzip2 => "bzip2",
            PackFormat::Lzma => "lzma",
            PackFormat::Lzip => "lzip",
        };
        let text = error.to_string();
        if error.kind() == io::ErrorKind::OutOfMemory
            || text.contains("too much memory")
            || text.contains("memory limit")
        {
            return format!(
                "the {name} data needs more memory than is given to a dump; unpack it first"
            );
        }
        if error.kind() == io::ErrorKind::UnexpectedEof || text.contains("incomplete frame") {
            format!("the {name} data ends early: the dump was cut short")
        } else {
            format!("the {name} data is damaged")
        }
    }
}

/// All members of a gzip file, one after the other; zeros between and after them are padding, as to
/// `gzip -t`.
struct GzipMembers<R> {
    /// `None` after the last.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let got = member.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            self.member = match self.member.take() {
                Some(done) => next(done.into_inner())?,
                None => None,
            };
        }
        Ok(0)
    }
}

fn next<R: BufRead>(mut packed: R) -> io::Result<Option<GzDecoder<R>>> {
    loop {
        let ahead = packed.fill_buf()?;
        let zeros = ahead.iter().take_while(|&&byte| byte == 0).count();
        match ahead.get(zeros) {
            None if ahead.is_empty() => return Ok(None),
            None => {}
            Some(0x1f) => {
                packed.consume(zeros);
                return Ok(Some(GzDecoder::new(packed)));
            }
            Some(_) => return refuse("something follows the end of the gzip data"),
        }
        packed.consume(zeros);
    }
}
