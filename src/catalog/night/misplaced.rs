//! Where the database of a snapshot wants its files, as far as they did not lie there: what a
//! recovery must know.

use std::collections::HashMap;

use uuid::Uuid;

use super::CatalogNight;
use crate::base::library::User;
use crate::base::{FilePath, Result};
use crate::catalog::ImmichId;
use crate::catalog::sql::{each, many};

/// A file that the database names, which does not lie at its path as it should.
#[derive(Debug)]
pub struct MisplacedFile {
    pub asset: ImmichId,
    /// The path of its original, as the file list would show it.
    pub path: Vec<u8>,
    pub sidecar: Option<Vec<u8>>,
    pub sha1: Option<[u8; 20]>,
    /// The file that shows its bytes; they may be other ones than Immich recorded.
    pub file: Option<u64>,
    /// The file that shows its sidecar.
    pub sidecar_file: Option<u64>,
}

/// Where the database has a file, and the folder and name where it was found.
pub type FoundElsewhere = (Vec<u8>, Option<(i64, Vec<u8>)>);

/// In SQL: the assets that are not of an external library, with the files of their originals (`f`)
/// and sidecars (`s`).
const WITH_FILES: &str = "asset a
    LEFT JOIN asset_file f ON f.asset = a.id AND f.part = 0 AND holds(f)
    LEFT JOIN asset_file s ON s.asset = a.id AND s.part = 1 AND holds(s)";
const OWN: &str =
    "holds(+a) AND a.path IS NOT NULL AND instr(a.path, CAST('external/' AS BLOB)) <> 1";

impl CatalogNight<'_> {
    /// Runs through the assets whose original or sidecar is not at its path, or may not be: names
    /// that are not ASCII are found in other forms too. External libraries are left aside.
    pub fn misplaced(self, mut take: impl FnMut(MisplacedFile) -> Result<()>) -> Result<()> {
        let sql = format!(
            "SELECT a.id, a.path, a.sidecar, a.sha1, f.file, s.file FROM {WITH_FILES}
             LEFT JOIN content c ON c.id = f.content AND c.archive > 0
             WHERE {OWN} AND (f.asset IS NULL OR f.moved = 1 OR a.sha1 <> c.sha1
                  OR length(CAST(a.path AS TEXT)) < length(a.path)
                  OR s.moved = 1 OR (a.sidecar IS NOT NULL AND s.asset IS NULL))
             ORDER BY a.id"
        );
        each(self.db, &sql, [self.at], |row| {
            take(MisplacedFile {
                asset: row.get(0)?,
                path: row.get(1)?,
                sidecar: row.get(2)?,
                sha1: row.get(3)?,
                file: row.get(4)?,
                sidecar_file: row.get(5)?,
            })
        })
    }

    /// Runs through the assets whose path is neither UPLOAD_LOCATION's nor an external library's:
    /// the path as the database has it, and the file that shows the asset's bytes.
    pub fn outside(self, mut take: impl FnMut(String, Option<u64>) -> Result<()>) -> Result<()> {
        let sql = "SELECT coalesce(json_extract(a.line, '$.path'), ''), f.file FROM asset a
                   LEFT JOIN asset_file f ON f.asset = a.id AND f.part = 0 AND holds(f)
                   WHERE holds(+a) AND a.path IS NULL";
        each(self.db, sql, [self.at], |row| take(row.get(0)?, row.get(1)?))
    }

    /// The assets whose original or sidecar is not at its path, and the accounts whose picture is
    /// not.
    pub fn apart(self) -> Result<HashMap<Uuid, FoundElsewhere>> {
        let sql = format!(
            "SELECT a.id, a.path, x.folder, x.name FROM {WITH_FILES}
             LEFT JOIN file x ON x.row = f.file
             WHERE {OWN} AND (f.asset IS NULL OR f.moved = 1 OR s.moved = 1
                              OR (a.sidecar IS NOT NULL AND s.asset IS NULL))"
        );
        let row = |row: &rusqlite::Row<'_>| {
            let found = row.get::<_, Option<i64>>(2)?.zip(row.get(3)?);
            Ok((Uuid::from_bytes(row.get(0)?), (row.get(1)?, found)))
        };
        let mut apart: HashMap<Uuid, FoundElsewhere> =
            many(self.db, &sql, [self.at], row)?.into_iter().collect();
        for (user, picture) in self.pictures()? {
            if self.occupant(&picture)?.is_free() {
                apart.insert(user, (picture.as_bytes().to_vec(), None));
            }
        }
        Ok(apart)
    }

    /// The accounts that have a picture, with its path.
    pub fn pictures(self) -> Result<Vec<(Uuid, FilePath)>> {
        let users = self.user_records()?;
        let users = users.iter().filter_map(|line| serde_json::from_str::<User>(line).ok());
        Ok(users.filter_map(|user| Some((user.id, user.picture?))).collect())
    }
}
