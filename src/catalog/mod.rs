//! The catalog: one SQLite file that answers every question quickly. `schema.sql` is its
//! documentation.
//!
//! Always holds: a catalog that is open for reading never changes under the reader. A writer works
//! on a copy and publishes it by rename (a *generation*); readers open a generation immutable and
//! notice a newer one by its inode. What is published is sealed, page by page (`seal`): no page
//! that is not what was written reaches a reader, and a catalog that fails is rebuilt by the
//! next writer. Another schema version is never migrated: the catalog is rebuilt from archives and
//! snapshots.
//!
//! Limits: 65,535 snapshots at a time; times are whole seconds.

mod column;
mod generation;
mod handle;
pub mod ingest;
pub mod night;
pub mod query;
mod seal;
mod sql;
mod vfs;

pub use column::FilePart;
pub use generation::{CatalogDraft, Generation, GenerationStamp};
pub use handle::Catalog;
pub use night::CatalogNight;
pub use seal::seal;

/// An id as Immich gives it.
pub type ImmichId = [u8; 16];

/// `until` of a row that still holds.
pub const FOREVER: i64 = i64::MAX;

/// The schema's version, in `PRAGMA user_version`.
pub const VERSION: i64 = 3;

/// `PRAGMA application_id` of a catalog: "shbx".
pub const APPLICATION: i64 = 0x7368_6278;
