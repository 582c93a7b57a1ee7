//! Where a repository's files lie. Everything above asks by name and never learns that they are
//! files in a folder.
//!
//! Always holds: an object appears under its name whole and durable, or not at all, and is never
//! changed after that. Reading is by range; writing is front to back into a [`ObjectDraft`], of which
//! nothing counts until it is published.
//!
//! Limits: a draft may take back its end or rewrite a header, so a store whose disk takes bytes
//! from front to back alone keeps it in a work folder on a local disk until it is published.

mod folder;
mod spool;

pub use folder::FolderStore;

use std::fmt::Debug;
use std::path::PathBuf;

pub use crate::base::object::{Object, ObjectDraft};
use crate::base::{Error, Result};

/// One object of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Name, folders joined by `/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// A place for named objects.
pub trait Store: Send + Sync + Debug {
    /// Opens `name` for reading. `NotFound` when it is not there.
    fn open(&self, name: &str) -> Result<Box<dyn Object>>;
    /// All objects below the folder `prefix`, sorted by name.
    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>>;
    /// Begins an object.
    fn draft(&self) -> Result<Box<dyn ObjectDraft>>;
    /// A folder for what is rewritten while it is made, on a disk that takes this. What is left
    /// there is of no use to the next writer.
    fn work_folder(&self) -> Result<PathBuf>;
    /// Deletes `name`: durable on return. Deleting what is not there is not an error.
    fn delete(&self, name: &str) -> Result<()>;
    /// Makes durable what shows: a writer that was killed may have published or deleted what a
    /// power cut takes back.
    fn settle(&self) -> Result<()>;
}

/// The whole of the object `name`, at most `limit` bytes. `Damaged` when it is larger.
pub fn read_all(store: &dyn Store, name: &str, limit: u64) -> Result<Vec<u8>> {
    let object = store.open(name)?;
    if object.size() > limit {
        return Err(Error::damaged(format_args!("{name} is larger than such a file can be")));
    }
    let mut bytes = vec![0; object.size() as usize];
    object.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Writes the object `name` at once.
pub fn write_all(store: &dyn Store, name: &str, bytes: &[u8]) -> Result<()> {
    let mut draft = store.draft()?;
    draft.append(bytes)?;
    draft.publish(name)
}
