//! Text that a Windows shell rewrote: a byte order mark, or UTF-16 with or without one.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE};

use super::{InputLayer, refuse};

/// Set where letters may have been spoiled before they became UTF-16.
#[derive(Debug, Default, Clone)]
pub(super) struct SpoiltMark(Rc<Cell<bool>>);

impl SpoiltMark {
    pub fn is_doubtful(&self) -> bool {
        self.0.get()
    }
}

/// `layer`, which begins with `head`, as UTF-8 and without a byte order mark.
pub(super) fn narrow<'a>(layer: InputLayer<'a>, head: &[u8], mark: SpoiltMark) -> InputLayer<'a> {
    let encoding = match head {
        [0xef, 0xbb, 0xbf, ..] => return Box::new(SkipBytes { inner: layer, left: 3 }),
        [0xff, 0xfe, ..] | [b'-' | b'\r' | b'\n' | b'\\', 0, ..] => UTF_16LE,
        [0xfe, 0xff, ..] | [0, b'-' | b'\r' | b'\n' | b'\\', ..] => UTF_16BE,
        _ => return layer,
    };
    let decoder = encoding.new_decoder_with_bom_removal();
    Box::new(Utf16Reader {
        inner: layer,
        decoder,
        raw: vec![0; 64 << 10],
        text: Vec::new(),
        at: 0,
        is_done: false,
        mark,
    })
}

/// Leaves out the first bytes.
struct SkipBytes<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for SkipBytes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left > 0 {
            io::copy(&mut (&mut self.inner).take(std::mem::take(&mut self.left)), &mut io::sink())?;
        }
        self.inner.read(buffer)
    }
}

struct Utf16Reader<R> {
    inner: R,
    decoder: Decoder,
    raw: Vec<u8>,
    text: Vec<u8>,
    /// What was handed out of `text`.
    at: usize,
    is_done: bool,
    mark: SpoiltMark,
}

impl<R: Read> Utf16Reader<R> {
    fn fill(&mut self) -> io::Result<()> {
        let got = self.inner.read(&mut self.raw)?;
        self.is_done = got == 0;
        let most =
            self.decoder.max_utf8_buffer_length_without_replacement(got).unwrap_or(4 * got + 16);
        self.text.resize(most, 0);
        let (result, _, written) = self.decoder.decode_to_utf8_without_replacement(
            &self.raw[..got],
            &mut self.text,
            self.is_done,
        );
        self.text.truncate(written);
        self.at = 0;
        if !self.text.is_ascii() {
            self.mark.0.set(true);
        }
        match result {
            DecoderResult::InputEmpty => Ok(()),
            DecoderResult::OutputFull | DecoderResult::Malformed(..) => refuse(
                "it is not complete UTF-16: a Windows shell rewrote it, and something is missing",
            ),
        }
    }
}

impl<R: Read> Read for Utf16Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() && !self.is_done {
            self.fill()?;
        }
        let count = buffer.len().min(self.text.len() - self.at);
        buffer[..count].copy_from_slice(&self.text[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
