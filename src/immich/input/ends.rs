//! The ends of lines: a terminal (`docker exec -t`) puts a CR before every LF, and a Windows shell
//! perhaps another one.
//!
//! pg_dump itself ends its first line in LF alone, and writes a CR of a row as `\r`. So as many CRs
//! as stand before the first LF were put before every one, and are taken off again without loss; a
//! CR that a function's body had before stays.

use std::io::{self, Read};

use super::{InputLayer, refuse};

/// `layer`, which begins with `head`, with the ends of lines that pg_dump wrote.
pub(super) fn unify<'a>(layer: InputLayer<'a>, head: &[u8]) -> InputLayer<'a> {
    let first = memchr::memchr(b'\n', head).unwrap_or(0);
    match returns(&head[..first]) {
        0 => layer,
        each => Box::new(LineEndUnifier {
            inner: layer,
            each,
            raw: vec![0; 64 << 10],
            held: 0,
            out: Vec::new(),
            at: 0,
            state: LineEnds::Reading,
        }),
    }
}

/// How many CRs `line` ends in.
fn returns(line: &[u8]) -> usize {
    line.iter().rev().take_while(|&&byte| byte == b'\r').count()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnds {
    Reading,
    Done,
    /// A line ends otherwise than the first.
    Mixed,
}

struct LineEndUnifier<R> {
    inner: R,
    /// CRs before each LF.
    each: usize,
    raw: Vec<u8>,
    /// CRs at the end of what was read: what follows them decides.
    held: usize,
    out: Vec<u8>,
    /// What was handed out of `out`.
    at: usize,
    state: LineEnds,
}

impl<R: Read> LineEndUnifier<R> {
    fn fill(&mut self) -> io::Result<()> {
        self.raw.resize(self.held + (64 << 10), b'\r');
        self.raw[..self.held].fill(b'\r');
        let got = self.inner.read(&mut self.raw[self.held..])?;
        let whole = &self.raw[..self.held + got];
        (self.at, self.held) = (0, 0);
        self.out.clear();
        if got == 0 {
            self.state = LineEnds::Done;
            self.out.extend_from_slice(whole);
            return Ok(());
        }
        self.held = returns(whole);
        let whole = &whole[..whole.len() - self.held];
        let mut rest = whole;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if returns(&rest[..end]) < self.each {
                self.state = LineEnds::Mixed;
                return Ok(());
            }
            self.out.extend_from_slice(&rest[..end - self.each]);
            self.out.push(b'\n');
            rest = &rest[end + 1..];
        }
        self.out.extend_from_slice(rest);
        Ok(())
    }
}

impl<R: Read> Read for LineEndUnifier<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.out.len() && self.state == LineEnds::Reading {
            self.fill()?;
        }
        let count = buffer.len().min(self.out.len() - self.at);
        if count == 0 && self.state == LineEnds::Mixed {
            return refuse(MIXED);
        }
        buffer[..count].copy_from_slice(&self.out[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// What is said of lines that end in two ways.
pub const MIXED: &str = "some lines end in CR LF and others do not: the dump was rewritten; let \
    pg_dump write the file itself (--file)";

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out `text` in pieces.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    fn unified(text: &[u8], step: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        unify(Box::new(Drip(text, step)), text).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn the_returns_of_a_terminal_are_taken_off_and_no_others() {
        let text = b"--\n\n$$ a\r\n b \r c $$;\n\r\nend\r";
        for put in [&b"\n"[..], b"\r\n", b"\r\r\n"] {
            let told: Vec<u8> = text
                .iter()
                .flat_map(|byte| if *byte == b'\n' { put } else { std::slice::from_ref(byte) })
                .copied()
                .collect();
            for step in [1, 2, 3, 5, 100] {
                assert_eq!(unified(&told, step).unwrap(), text, "{put:?} {step}");
            }
        }
        for step in [1, 3, 100] {
            assert!(unified(b"--\r\na\nb\r\n", step).unwrap_err().to_string().contains("CR LF"));
        }
    }
}
