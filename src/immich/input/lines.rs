//! Whole lines out of bytes that come as they like, in bounded memory.

/// Collects bytes until they are whole lines.
pub struct LineCollector {
    buffer: Vec<u8>,
    filled: usize,
}

/// A longer line is refused: PostgreSQL's own limit is 1 GB for a field, Immich's longest are some
/// megabytes.
const LONGEST: usize = 256 << 20;
const FIRST: usize = 256 << 10;

impl LineCollector {
    pub fn new() -> Self {
        LineCollector { buffer: vec![0; FIRST], filled: 0 }
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
