//! One snapshot, as the catalog knows it: what is asked of it, filed by what it is asked about.
//!
//! Questions about a folder's members answer with every version that any snapshot has, marked where
//! it holds in this one: names depend on all of them.

mod asset;
mod file;
mod group;
mod hidden;
mod kept;
mod member;
mod user;

use rusqlite::Connection;

pub use asset::{AssetRow, MemberTable};
pub use file::DiskFile;
pub use group::{FolderRecord, RecordTable};
pub use hidden::HiddenPaths;
pub(in crate::catalog) use kept::HELD;
pub use kept::OnDisk;
pub use member::{MemberAsset, MemberSource, ShownBytes};

/// The catalog at the time of one snapshot. In the SQL of its questions `?1` is that time.
#[derive(Debug, Clone, Copy)]
pub struct CatalogNight<'a> {
    pub(in crate::catalog) db: &'a Connection,
    pub(in crate::catalog) at: i64,
}

impl<'a> CatalogNight<'a> {
    /// What `db` knows of the snapshot at the time `at`, in seconds since 1970.
    pub fn new(db: &'a Connection, at: i64) -> CatalogNight<'a> {
        CatalogNight { db, at }
    }

    /// When the snapshot was taken, in seconds since 1970.
    pub fn time(self) -> i64 {
        self.at
    }
}
