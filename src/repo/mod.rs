//! A repository: the folder with the archives, the snapshots and the catalog. Opens and locks it,
//! writes snapshots into it, reads contents out of it, rebuilds its catalog.
//!
//! Always holds: a snapshot exists when its record exists, and a record is written only when all
//! that it names is safe on disk. Readers never lock; there is one writer. May touch the store,
//! archives and the catalog; knows nothing of Immich, of views or of terminals.

pub mod content;
mod lock;
pub mod notes;
mod past;
pub mod prune;
pub mod reading;
pub mod record;
mod repair;
mod repository;
mod session;
pub mod shelf;
mod stream;
mod writer;

use rusqlite::Connection;

use crate::base::{Error, Result};
use crate::catalog::query;

pub use content::ContentReader;
pub use lock::RepositoryLock;
pub use notes::{Note, Notes};
pub use past::ImportSession;
pub use reading::{DumpReading, ReadList};
pub use record::{
    ArchiveInfo, Completeness, FileCount, ImportedFrom, SnapshotRecord, SnapshotStreams,
    StreamChunk, StreamInfo,
};
pub use repair::RepairSession;
pub use repository::{Repository, SKEW, free_space, is_to_come};
pub use session::{StagedSnapshot, WriteSession, time_of};
pub use shelf::ArchiveInventory;
pub use stream::{ReferenceStream, StreamReader, StreamWriter, lines};
pub use writer::{ContentSink, WrittenArchives};

/// Version of the repository format that this code writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The record of the snapshot at `time` (seconds since 1970), as the catalog has it.
pub fn record_of(catalog: &Connection, time: i64) -> Result<SnapshotRecord> {
    let json =
        query::snapshot::record(catalog, time)?.ok_or_else(|| Error::not_found("that snapshot"))?;
    serde_json::from_str(&json)
        .map_err(|error| Error::damaged("a snapshot record in the catalog").caused_by(error))
}
