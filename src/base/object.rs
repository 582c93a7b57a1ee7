//! The seam between what is read and written and where it lies: an object to read by range, a draft
//! to write front to back.

use std::fmt::Debug;

use super::Result;

/// An object that is open for reading, by any number of threads.
pub trait Object: Send + Sync + Debug {
    /// Bytes.
    fn size(&self) -> u64;
    /// Fills `buffer` from `offset`. `Damaged` when the object ends before that.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Says that `len` bytes from `offset` will be wanted soon.
    fn will_need(&self, _offset: u64, _len: u64) {}
}

/// An object that is being written.
pub trait ObjectDraft: Send + Debug {
    /// Bytes so far.
    fn size(&self) -> u64;
    /// Adds `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;
    /// Writes `bytes` over those at `offset`, which are there already.
    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Takes back all from `size` on.
    fn truncate(&mut self, size: u64) -> Result<()>;
    /// Makes it the object `name`: durable on return. `Exists` when there is one of that name.
    fn publish(self: Box<Self>, name: &str) -> Result<()>;
}
