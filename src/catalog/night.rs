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
mod misplaced;
mod path;
mod suspect;
mod user;

pub(in crate::catalog) use asset::{ASSET, asset};
pub use asset::{AssetRow, MemberTable};
pub(in crate::catalog) use file::{COLUMNS, file};
pub use file::{DiskFile, LinkInTheWay};
pub use group::{FolderRecord, RecordTable};
pub use hidden::HiddenPaths;
pub(in crate::catalog) use kept::HELD;
pub use kept::{OnDisk, StoredAsset};
pub use member::{MemberAsset, MemberSource, ShownBytes};
pub use misplaced::{FoundElsewhere, MisplacedFile};
pub use path::PathOccupant;
pub use suspect::{SuspectAsset, WorseOriginal};

use super::Catalog;

/// The catalog at the time of one snapshot. In the SQL of its questions `?1` is that time.
#[derive(Debug, Clone, Copy)]
pub struct CatalogNight<'a> {
    pub(in crate::catalog) db: &'a Catalog,
    pub(in crate::catalog) at: i64,
}

impl<'a> CatalogNight<'a> {
    /// The catalog: for questions that are not about one snapshot.
    pub fn catalog(self) -> &'a Catalog {
        self.db
    }

    /// When the snapshot was taken, in seconds since 1970.
    pub fn time(self) -> i64 {
        self.at
    }
}
