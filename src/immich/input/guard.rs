//! What was read, and how much came out of it.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use super::refuse;

/// So much may come out of any file.
const FREE: u64 = 1 << 30;
/// Beyond that, so many times what was read: gzip's own limit is 1032, and no dump comes near it.
const RATIO: u64 = 1000;

/// Counts what is read from outside, and remembers whether that failed: a failure of the reader
/// underneath is no damage.
#[derive(Debug, Default, Clone)]
pub(super) struct InputMeter(Rc<InputCounts>);

#[derive(Debug, Default)]
struct InputCounts {
    bytes: Cell<u64>,
    failed: Cell<bool>,
}

impl InputMeter {
    /// True when reading from outside failed.
    pub fn failed(&self) -> bool {
        self.0.failed.get()
    }

    pub fn watch<'a>(&self, input: &'a mut dyn Read) -> impl Read + use<'a> {
        MeteredReader { input, meter: self.clone() }
    }
}

struct MeteredReader<'a> {
    input: &'a mut dyn Read,
    meter: InputMeter,
}

impl Read for MeteredReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer);
        let InputCounts { bytes, failed } = &*self.meter.0;
        match &got {
            Ok(got) => bytes.set(bytes.get() + *got as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => failed.set(true),
        }
        got
    }
}

/// Ends what unpacks to more than any dump.
pub(super) struct SizeGuard<R> {
    inner: R,
    meter: InputMeter,
    out: u64,
}

impl<R: Read> SizeGuard<R> {
    pub fn new(inner: R, meter: InputMeter) -> Self {
        SizeGuard { inner, meter, out: 0 }
    }
}

impl<R: Read> Read for SizeGuard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.out += got as u64;
        if is_too_much(self.out, self.meter.0.bytes.get()) {
            refuse(format!("it unpacks to more than {RATIO} times its size: this is not a dump"))
        } else {
            Ok(got)
        }
    }
}

fn is_too_much(out: u64, read: u64) -> bool {
    out > FREE && out / RATIO > read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_dump_does_is_too_much() {
        assert!(
            !is_too_much(FREE, 1000)
                && !is_too_much(100 << 30, 1 << 30)
                && !is_too_much(FREE + 1, FREE / 900)
        );
        assert!(is_too_much(FREE + RATIO, 1000) && is_too_much(1 << 40, 1 << 20));
    }
}
