//! Files, folders and symlinks as they lay on disk.

use rusqlite::Row;

use super::CatalogNight;
use crate::base::file::FileKind;
use crate::base::{FilePath, Hash, Result};
use crate::catalog::query::folder::{self, TOP};
use crate::catalog::query::unsigned;
use crate::catalog::sql::{count, each, many, one, written_out};

/// A file, folder or symlink as it lay on disk.
#[derive(Debug, Clone)]
pub struct DiskFile {
    pub row: u64,
    /// The first snapshot that has it so.
    pub since: i64,
    pub folder: i64,
    pub name: Vec<u8>,
    pub kind: FileKind,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub content: Option<i64>,
    pub child: Option<i64>,
}

/// In SQL: what a [`DiskFile`] has of the row `x`.
pub(in crate::catalog) const COLUMNS: &str = "x.row, x.folder, x.name, x.kind, x.size, x.mtime, \
    x.mode, x.uid, x.gid, x.content, x.child, x.since";

/// The files of the snapshot.
fn having(condition: &str) -> String {
    format!("SELECT {COLUMNS} FROM file x WHERE holds(x) AND {condition}")
}

pub(in crate::catalog) fn file(row: &Row<'_>) -> rusqlite::Result<DiskFile> {
    Ok(DiskFile {
        row: row.get(0)?,
        folder: row.get(1)?,
        name: row.get(2)?,
        kind: row.get(3)?,
        size: row.get(4)?,
        mtime: row.get(5)?,
        mode: row.get(6)?,
        uid: row.get(7)?,
        gid: row.get(8)?,
        content: row.get(9)?,
        child: row.get(10)?,
        since: row.get(11)?,
    })
}

impl CatalogNight<'_> {
    /// The file in `row`, if the snapshot has it.
    pub fn file(self, row: u64) -> Result<Option<DiskFile>> {
        one(self.db, &having("x.row = ?2"), (self.at, row), file)
    }

    /// The entry called `name` of `folder`.
    pub fn file_by_name(self, folder: i64, name: &[u8]) -> Result<Option<DiskFile>> {
        let sql = having("x.folder = ?2 AND x.name = ?3");
        one(self.db, &sql, (self.at, folder, name), file)
    }

    /// The entry that lies below the top where `parts` lead.
    pub fn file_at<'p>(
        self,
        parts: impl IntoIterator<Item = &'p [u8]>,
    ) -> Result<Option<DiskFile>> {
        let (mut folder, mut found) = (Some(TOP), None);
        for part in parts {
            let Some(place) = folder else { return Ok(None) };
            let Some(file) = self.file_by_name(place, part)? else { return Ok(None) };
            folder = file.child;
            found = Some(file);
        }
        Ok(found)
    }

    /// The entry that makes the place `folder` a folder.
    pub fn file_of_folder(self, folder: i64) -> Result<Option<DiskFile>> {
        let sql = having("x.child = ?2 AND x.child IS NOT NULL");
        one(self.db, &sql, (self.at, folder), file)
    }

    /// Runs through the entries of `folder` in the order of their names, from after the entry in
    /// row `after` (0: from the front), until `each` says false.
    pub fn files(
        self,
        folder: i64,
        after: u64,
        mut each: impl FnMut(DiskFile) -> Result<bool>,
    ) -> Result<()> {
        let last = match after {
            0 => None,
            row => one(self.db, "SELECT name FROM file WHERE row = ?1", [row], |row| {
                row.get::<_, Vec<u8>>(0)
            })?,
        };
        let from = if last.is_some() { "x.name > ?3" } else { "?3 IS NULL" };
        let sql = written_out(&having(&format!("x.folder = ?2 AND {from} ORDER BY x.name")));
        let mut statement = self.db.prepare_cached(&sql)?;
        let mut rows = statement.query((self.at, folder, last))?;
        while let Some(row) = rows.next()? {
            if !each(file(row)?)? {
                break;
            }
        }
        Ok(())
    }

    /// The entries of `folder` whose names begin with `start`, which does not end in a byte of 255;
    /// a hundred at most.
    pub fn files_named(self, folder: i64, start: &[u8]) -> Result<Vec<DiskFile>> {
        let mut end = start.to_vec();
        if let Some(last) = end.last_mut() {
            *last = last.saturating_add(1);
        }
        let sql =
            having("x.folder = ?2 AND x.name >= ?3 AND x.name < ?4 ORDER BY x.name LIMIT 100");
        many(self.db, &sql, (self.at, folder, start, end), file)
    }

    /// The target of the symlink in `row`.
    pub fn symlink(self, row: u64) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT target FROM file WHERE row = ?2 AND holds(file)";
        let target = one(self.db, sql, (self.at, row), |row| row.get::<_, Option<Vec<u8>>>(0))?;
        Ok(target.flatten())
    }

    /// Runs through the files whose row `wanted` says yes to.
    pub fn all_files(
        self,
        wanted: impl Fn(u64) -> bool,
        mut take: impl FnMut(DiskFile) -> Result<()>,
    ) -> Result<()> {
        each(self.db, &having("x.kind = 0"), [self.at], |row| {
            if wanted(row.get(0)?) { take(file(row)?) } else { Ok(()) }
        })
    }

    /// How many files there are.
    pub fn count_files(self) -> Result<u64> {
        count(self.db, "SELECT count(*) FROM file WHERE kind = 0 AND holds(file)", [self.at])
    }

    /// The contents that the files show, with their sizes.
    pub fn contents(self) -> Result<Vec<(Hash, u64)>> {
        let sql = "SELECT DISTINCT c.hash, c.size FROM file f CROSS JOIN content c
                   ON c.id = f.content WHERE holds(f)";
        many(self.db, sql, [self.at], |row| Ok((Hash(row.get(0)?), unsigned(row.get(1)?))))
    }

    /// True when there is a file below the folder at `path`.
    pub fn has_files_below(self, path: &FilePath) -> Result<bool> {
        Ok(self.files_below("SELECT EXISTS(SELECT 1", ")", path)? > 0)
    }

    /// How many files there are below the folder at `path`.
    pub fn count_files_below(self, path: &FilePath) -> Result<u64> {
        self.files_below("SELECT count(*)", "", path)
    }

    fn files_below(self, what: &str, end: &str, path: &FilePath) -> Result<u64> {
        let Some(folder) = folder::place_at(self.db, path.parts())? else { return Ok(0) };
        let sql = format!(
            "WITH RECURSIVE below (id) AS (VALUES (?2) UNION ALL SELECT f.id FROM below b
               JOIN folder f ON f.parent = b.id)
             {what} FROM below b JOIN file f ON f.folder = b.id WHERE f.kind = 0 AND holds(f) {end}"
        );
        count(self.db, &sql, (self.at, folder))
    }

    /// The symlinks at or below which assets are lacking.
    pub fn links_in_the_way(self) -> Result<Vec<LinkInTheWay>> {
        let sql = "SELECT folder, name, target FROM file WHERE kind = 2 AND holds(file)";
        let links: Vec<(i64, Vec<u8>, Option<Vec<u8>>)> =
            many(self.db, sql, [self.at], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut found = Vec::new();
        for (folder, name, target) in links {
            let path = folder::path_in(self.db, folder, &name)?;
            let assets = self.lacking_below(&path)?;
            if assets > 0 {
                found.push(LinkInTheWay { path, target: target.unwrap_or_default(), assets });
            }
        }
        Ok(found)
    }

    /// How many assets are lacking at `path` or below it.
    fn lacking_below(self, path: &[u8]) -> Result<u64> {
        let sql = "SELECT count(*) FROM asset a WHERE a.path IS NOT NULL
                   AND (a.path = ?2 OR a.path > ?3 AND a.path < ?4) AND holds(a) AND NOT EXISTS
                   (SELECT 1 FROM asset_file f WHERE f.asset = a.id AND f.part = 0 AND holds(f))";
        let (from, to) = ([path, b"/"].concat(), [path, b"0"].concat());
        count(self.db, sql, (self.at, path, from, to))
    }
}

/// A symlink that lies where a folder or a photo should be.
#[derive(Debug)]
pub struct LinkInTheWay {
    pub path: Vec<u8>,
    pub target: Vec<u8>,
    /// Assets that are lacking at it or below it.
    pub assets: u64,
}
