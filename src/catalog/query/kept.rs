//! Contents that dumps name by their SHA-1 and that need not be a file's, and originals that the disk
//! has not as Immich recorded them: see `night/kept.rs`.

use rusqlite::Connection;

use super::unsigned;
use crate::base::{Hash, Result};
use crate::catalog::sql::many;

/// A content that the dumps of the snapshots from `since` to before `until` name, and that need not
/// be the file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VouchedContent {
    pub content: i64,
    pub hash: Hash,
    pub size: u64,
    pub since: i64,
    pub until: i64,
}

/// Every content that some snapshot needs because its dump names the SHA-1, though no file that the
/// asset had all that time shows it. One pass over the assets.
pub fn ranges(db: &Connection) -> Result<Vec<VouchedContent>> {
    let sql = "SELECT k.id, k.hash, k.size, a.since, a.until FROM asset a CROSS JOIN content k ON \
        k.sha1 = a.sha1
               WHERE a.sha1 IS NOT NULL AND NOT EXISTS
                 (SELECT 1 FROM asset_file f WHERE f.asset = a.id AND f.part = 0 AND f.since <= \
                 a.since
                  AND f.until >= a.until AND f.differs = 0)";
    many(db, sql, (), |row| {
        Ok(VouchedContent {
            content: row.get(0)?,
            hash: Hash(row.get(1)?),
            size: unsigned(row.get(2)?),
            since: row.get(3)?,
            until: row.get(4)?,
        })
    })
}

/// In SQL, before a query with [`EXTERNAL`]: the folders of external libraries that were given to
/// the snapshot at ?1.
pub(in crate::catalog) const COVERED: &str = "covered (root) AS MATERIALIZED
    (SELECT CAST(e.value || '/' AS BLOB) FROM snapshot s, json_each(s.record, '$.external') e \
    WHERE s.time = ?1)";

/// In SQL: asset `a` is of an external library that was not given.
pub(in crate::catalog) const EXTERNAL: &str =
    "CASE WHEN a.path IS NULL THEN json_extract(a.line, '$.library') IS NOT NULL
          ELSE instr(a.path, CAST('external/' AS BLOB)) = 1
               AND NOT EXISTS (SELECT 1 FROM covered WHERE instr(a.path, covered.root) = 1) END";
