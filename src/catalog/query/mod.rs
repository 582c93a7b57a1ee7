//! Questions to the catalog: one function each, a typed row out.

pub mod audit;
pub mod check;
pub mod folder;
pub mod history;
pub mod kept;
pub mod list;
pub mod past;
mod place;
pub mod search;
pub mod snapshot;
pub mod user;
pub mod whole;

pub use place::{
    ArchiveRow, ChunkRow, archive_name, archive_names, archives, chunk, content_hashes, content_id,
    content_place, content_size, has_chunk, has_content, has_content_of, is_content_of,
    lacks_content, lost_contents, needed_contents, seen, shows_lost_content, stored_bytes,
    stored_contents, totals, unclaimed_archives,
};

use rusqlite::Connection;

use super::sql::one;
use crate::base::Result;

/// A value of the catalog's `meta` table.
pub fn meta(db: &Connection, key: &str) -> Result<Option<String>> {
    one(db, "SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
}

/// A count or an id, as SQLite has it.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
