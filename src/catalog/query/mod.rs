//! Questions to the catalog: one function each, a typed row out.

pub mod history;
mod place;
pub mod search;
pub mod snapshot;
pub mod view;

pub use place::{
    ChunkRow, archive_name, archive_names, chunk, content_id, content_place, has_chunk, has_content, has_content_of,
    lost_contents, seen, shows_lost_content,
};

/// A count or an id, as SQLite has it.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
