//! A repository: the folder with the archives, the snapshots and the catalog. Opens and locks it, writes snapshots
//! into it, reads contents out of it, rebuilds its catalog.
//!
//! Always holds: a snapshot exists when its record exists, and a record is written only when all that it names is
//! safe on disk. Readers never lock; there is one writer. May touch the store, archives and the catalog; knows
//! nothing of Immich, of views or of terminals.

pub mod content;
pub mod record;

pub use content::Contents;
pub use record::{Completeness, DumpInfo, DumpKind, SnapshotRecord, Stream, StreamChunk, Verdict};
