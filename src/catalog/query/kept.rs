//! Contents that dumps name by their SHA-1 and that need not be a file's, and originals that the disk
//! has not as Immich recorded them: see `night/kept.rs`.

use rusqlite::Connection;

use super::unsigned;
use crate::base::{Hash, Result};
use crate::catalog::night::HELD;
use crate::catalog::sql::{many, one};

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

/// An original that the disk has not as Immich recorded it, and had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorseOriginal {
    pub name: String,
    pub locked: bool,
    /// It is gone; else its bytes are others.
    pub missing: bool,
    /// Its bytes changed, and size and time of the file did not.
    pub rotten: bool,
    /// Some archive holds the recorded bytes.
    pub kept: bool,
}

/// The originals that the disk has not at `at` as Immich recorded them, and that it had so at
/// `before`, or had changed and has no more, or that came since; those of libraries that were never
/// covered, and those that Immich knows to be offline, left aside. Without `before`: those that
/// have no file. By upload.
pub fn worsened(db: &Connection, before: Option<i64>, at: i64) -> Result<Vec<WorseOriginal>> {
    let sql = format!(
        "WITH {COVERED} SELECT a.name, a.visibility = 3 OR EXISTS (SELECT 1 FROM asset h WHERE \
            h.live = a.id AND h.live IS NOT NULL
             AND h.visibility = 3 AND h.since <= ?1 AND h.until > ?1),
           n.asset IS NULL,
           n.asset IS NOT NULL AND p.asset IS NOT NULL AND p.differs = 0 AND EXISTS
             (SELECT 1 FROM file x CROSS JOIN file y ON y.row = p.file WHERE x.row = n.file AND \
             x.size = y.size AND x.mtime = y.mtime),
           {HELD}
         FROM asset a
         LEFT JOIN asset_file n ON n.asset = a.id AND n.part = 0 AND n.since <= ?1 AND n.until > ?1
         LEFT JOIN content c ON c.id = n.content
         LEFT JOIN asset o ON o.id = a.id AND o.since <= ?2 AND o.until > ?2
         LEFT JOIN asset_file p ON p.asset = a.id AND p.part = 0 AND p.since <= ?2 AND p.until > ?2
         LEFT JOIN content q ON q.id = p.content
         WHERE a.since <= ?1 AND +a.until > ?1 AND (n.asset IS NULL OR n.differs = 1)
           AND (n.asset IS NULL OR c.sha1 <> a.sha1)
           AND CASE WHEN o.id IS NULL THEN (?2 IS NOT NULL OR n.asset IS NULL) AND NOT ({EXTERNAL})
                    ELSE p.asset IS NOT NULL AND (n.asset IS NULL OR p.differs = 0 OR q.sha1 = \
                    o.sha1) END
           AND json_extract(a.line, '$.offline') IS NOT 1
         ORDER BY a.added, a.row"
    );
    many(db, &sql, (at, before), |row| {
        Ok(WorseOriginal {
            name: row.get(0)?,
            locked: row.get(1)?,
            missing: row.get(2)?,
            rotten: row.get(3)?,
            kept: row.get(4)?,
        })
    })
}

/// How many sidecars the database names at `at` that are not there, and were at `before`.
pub fn sidecars_gone(db: &Connection, before: i64, at: i64) -> Result<u64> {
    let sql = "SELECT count(*) FROM asset a
         JOIN asset_file p ON p.asset = a.id AND p.part = 1 AND p.since <= ?2 AND p.until > ?2
         WHERE a.sidecar IS NOT NULL AND a.since <= ?1 AND +a.until > ?1 AND NOT EXISTS
             (SELECT 1 FROM asset_file n WHERE n.asset = a.id AND n.part = 1 AND n.since <= ?1 AND \
             n.until > ?1)";
    Ok(one(db, sql, (at, before), |row| row.get::<_, i64>(0))?.map_or(0, unsigned))
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
