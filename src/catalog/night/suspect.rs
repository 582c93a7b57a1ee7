//! Where the database, the files and Immich's checksums do not agree.
//!
//! Each question is one pass over a table.

use super::CatalogNight;
use crate::base::library::Visibility;
use crate::base::{Result, Sha1};
use crate::catalog::ImmichId;
use crate::catalog::night::asset::IS_LOCKED;
use crate::catalog::night::kept::HELD;
use crate::catalog::query::kept::{COVERED, EXTERNAL};
use crate::catalog::sql::{count, each, many};

/// An asset that something is wrong with, as far as one pass can tell.
#[derive(Debug, Clone)]
pub struct SuspectAsset {
    pub row: u64,
    pub id: ImmichId,
    pub owner: ImmichId,
    pub visibility: Visibility,
    /// Where the database says its file is.
    pub path: Option<Vec<u8>>,
    /// SHA-1 of the bytes as Immich recorded it.
    pub sha1: Option<Sha1>,
    /// The file that shows its bytes, and whether it was found by SHA-1 elsewhere; `None` when
    /// there is none.
    pub file: Option<(u64, bool)>,
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

impl CatalogNight<'_> {
    /// Runs through the assets that have no file, whose file was found elsewhere, or whose bytes
    /// are not what Immich recorded. Bytes that no archive holds are not judged: their SHA-1 is not
    /// known.
    pub fn suspects(self, mut take: impl FnMut(SuspectAsset) -> Result<()>) -> Result<()> {
        let sql = "SELECT a.row, a.id, a.owner, a.visibility, a.path, a.sha1, f.file, f.moved
                   FROM asset a
                   LEFT JOIN asset_file f ON f.asset = a.id AND f.part = 0 AND holds(f)
                   LEFT JOIN content c ON c.id = f.content AND c.archive > 0
                   WHERE holds(+a) AND (f.asset IS NULL OR f.moved = 1 OR a.sha1 <> c.sha1)";
        each(self.db, sql, [self.at], |row| {
            let file = row.get::<_, Option<u64>>(6)?.zip(row.get(7)?);
            take(SuspectAsset {
                row: row.get(0)?,
                id: row.get(1)?,
                owner: row.get(2)?,
                visibility: row.get(3)?,
                path: row.get(4)?,
                sha1: row.get::<_, Option<[u8; 20]>>(5)?.map(Sha1),
                file,
            })
        })
    }

    /// Rows of the assets whose sidecar is not there.
    pub fn without_sidecar(self) -> Result<Vec<u64>> {
        let sql =
            "SELECT a.row FROM asset a WHERE a.sidecar IS NOT NULL AND holds(+a) AND NOT EXISTS
                   (SELECT 1 FROM asset_file f WHERE f.asset = a.id AND f.part = 1 AND holds(f))";
        many(self.db, sql, [self.at], |row| row.get(0))
    }

    /// Rows of the assets whose moving half has no row.
    pub fn without_live_row(self) -> Result<Vec<u64>> {
        let sql = "SELECT a.row FROM asset a WHERE a.live IS NOT NULL AND holds(+a) AND NOT EXISTS
                   (SELECT 1 FROM asset v WHERE v.id = a.live AND holds(v))";
        many(self.db, sql, [self.at], |row| row.get(0))
    }

    /// Runs through the rows of the files that assets show: originals and sidecars.
    pub fn claimed_files(self, mut take: impl FnMut(u64)) -> Result<()> {
        let sql = "SELECT file FROM asset_file WHERE holds(asset_file)";
        each(self.db, sql, [self.at], |row| {
            take(row.get(0)?);
            Ok(())
        })
    }

    /// The originals that the disk has not as Immich recorded them, and that it had so at `before`,
    /// or had changed and has no more, or that came since; those of libraries that were never
    /// covered, and those that Immich knows to be offline, left aside. Without `before`: those that
    /// have no file. By upload.
    pub fn worsened(self, before: Option<i64>) -> Result<Vec<WorseOriginal>> {
        let sql = format!(
            "WITH {COVERED} SELECT a.name, {IS_LOCKED}, n.asset IS NULL,
               n.asset IS NOT NULL AND p.asset IS NOT NULL AND p.differs = 0 AND EXISTS
                 (SELECT 1 FROM file x CROSS JOIN file y ON y.row = p.file
                  WHERE x.row = n.file AND x.size = y.size AND x.mtime = y.mtime),
               {HELD}
             FROM asset a
             LEFT JOIN asset_file n ON n.asset = a.id AND n.part = 0 AND holds(n)
             LEFT JOIN content c ON c.id = n.content
             LEFT JOIN asset o ON o.id = a.id AND holds(o, ?2)
             LEFT JOIN asset_file p ON p.asset = a.id AND p.part = 0 AND holds(p, ?2)
             LEFT JOIN content q ON q.id = p.content
             WHERE holds(+a) AND (n.asset IS NULL OR n.differs = 1)
               AND (n.asset IS NULL OR c.sha1 <> a.sha1)
               AND CASE WHEN o.id IS NULL
                        THEN (?2 IS NOT NULL OR n.asset IS NULL) AND NOT ({EXTERNAL})
                        ELSE p.asset IS NOT NULL
                             AND (n.asset IS NULL OR p.differs = 0 OR q.sha1 = o.sha1) END
               AND json_extract(a.line, '$.offline') IS NOT 1
             ORDER BY a.added, a.row"
        );
        many(self.db, &sql, (self.at, before), |row| {
            Ok(WorseOriginal {
                name: row.get(0)?,
                locked: row.get(1)?,
                missing: row.get(2)?,
                rotten: row.get(3)?,
                kept: row.get(4)?,
            })
        })
    }

    /// How many sidecars the database names that are not there, and were at `before`.
    pub fn sidecars_gone(self, before: i64) -> Result<u64> {
        let sql = "SELECT count(*) FROM asset a
             JOIN asset_file p ON p.asset = a.id AND p.part = 1 AND holds(p, ?2)
             WHERE a.sidecar IS NOT NULL AND holds(+a) AND NOT EXISTS
                 (SELECT 1 FROM asset_file n WHERE n.asset = a.id AND n.part = 1 AND holds(n))";
        count(self.db, sql, (self.at, before))
    }
}
