//! The bytes that Immich recorded, of originals that lie on the disk with other bytes or not at
//! all.
//!
//! An asset whose file has another SHA-1 than its row says, or that has no file, shows the content
//! with the recorded SHA-1 if some archive holds one: it is *kept*. This is worked out when it is
//! asked for, so it holds for every snapshot whatever came first, and a catalog that was rebuilt
//! says the same. A content that a snapshot's dump names by its SHA-1 is needed by that snapshot
//! (`query::kept::ranges`), whatever lies at the path.

use super::CatalogNight;
use crate::base::{Hash, Result, Sha1};
use crate::catalog::sql::one;
use crate::catalog::{FilePart, ImmichId};

/// In SQL: a file of `asset` that is known to have the recorded bytes.
pub(super) fn is_right(asset: &str) -> String {
    format!(
        "SELECT 1 FROM asset_file r WHERE r.asset = {asset} AND r.part = 0 AND holds(r)
         AND r.differs = 0"
    )
}

/// In SQL: `column` of the kept content (`k`) of asset `a`; else NULL. Of two contents with one
/// SHA-1, which only a forgery brings about, one is chosen by its hash.
fn column(column: &str) -> String {
    let right = is_right("a.id");
    format!(
        "CASE WHEN EXISTS ({right}) THEN NULL ELSE
           (SELECT k.{column} FROM content k WHERE k.sha1 = a.sha1 AND k.archive > 0 AND NOT EXISTS
              (SELECT 1 FROM asset_file s WHERE s.asset = a.id AND s.part = 0 AND holds(s)
               AND s.content = k.id) ORDER BY k.hash LIMIT 1) END"
    )
}

/// In SQL: some archive holds the bytes that Immich recorded of asset `a`.
pub(in crate::catalog) const HELD: &str =
    "EXISTS (SELECT 1 FROM content k WHERE k.sha1 = a.sha1 AND k.archive > 0)";

/// What lies on the disk of an asset's original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisk {
    /// The bytes that Immich recorded, as far as is known.
    Same,
    /// Other bytes.
    Changed,
    /// Nothing.
    Missing,
}

/// The bytes of an asset in a snapshot.
#[derive(Debug, Clone)]
pub struct StoredAsset {
    pub size: u64,
    pub blake3: Hash,
    pub sha1: Sha1,
    /// Some archive holds them.
    pub present: bool,
    /// Row of the file that showed them.
    pub row: u64,
    /// Folder and name of that file.
    pub file: Option<(i64, Vec<u8>)>,
}

impl CatalogNight<'_> {
    /// A file of the asset `id`, as it lay on the disk.
    pub fn stored(self, id: &ImmichId, part: FilePart) -> Result<Option<StoredAsset>> {
        let sql = "SELECT f.size, c.hash, c.sha1, c.archive > 0, f.file, x.folder, x.name
                   FROM asset_file f CROSS JOIN content c ON c.id = f.content
                   LEFT JOIN file x ON x.row = f.file
                   WHERE f.asset = ?2 AND f.part = ?3 AND holds(f)";
        one(self.db, sql, (self.at, id, part), |row| {
            Ok(StoredAsset {
                size: row.get(0)?,
                blake3: Hash(row.get(1)?),
                sha1: Sha1(row.get(2)?),
                present: row.get(3)?,
                row: row.get(4)?,
                file: row.get::<_, Option<i64>>(5)?.zip(row.get(6)?),
            })
        })
    }

    /// The kept content of the asset `id`, and its size; `None` where the file has the recorded
    /// bytes, or nothing has.
    pub fn kept_bytes(self, id: &ImmichId) -> Result<Option<(i64, u64)>> {
        let (content, size) = (column("id"), column("size"));
        let sql = format!("SELECT {content}, {size} FROM asset a WHERE a.id = ?2 AND holds(a)");
        let found = one(self.db, &sql, (self.at, id), |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<u64>>(1)?))
        })?;
        Ok(found.and_then(|(content, size)| content.zip(size)))
    }

    /// What lay on the disk of the asset `id`.
    pub fn on_disk(self, id: &ImmichId) -> Result<OnDisk> {
        let sql = "SELECT f.differs = 0 OR c.archive = 0 OR c.sha1 = a.sha1 FROM asset a
                   CROSS JOIN asset_file f ON f.asset = a.id AND f.part = 0 AND holds(f)
                   CROSS JOIN content c ON c.id = f.content WHERE a.id = ?2 AND holds(a)";
        Ok(match one(self.db, sql, (self.at, id), |row| row.get(0))? {
            Some(true) => OnDisk::Same,
            Some(false) => OnDisk::Changed,
            None => OnDisk::Missing,
        })
    }

    /// False when the disk is known to have had every original as Immich recorded it. Costs no look
    /// at assets.
    pub fn may_differ(self) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM asset_file WHERE differs = 1 AND holds(asset_file))
                     OR json_extract(record, '$.completeness.missing') > 0 FROM snapshot
                   WHERE time = ?1";
        Ok(one(self.db, sql, [self.at], |row| row.get(0))?.unwrap_or(false))
    }
}
