//! Files, folders and symlinks as they lay on disk.

use rusqlite::Row;

use super::CatalogNight;
use crate::base::Result;
use crate::base::file::FileKind;
use crate::catalog::query::folder::TOP;
use crate::catalog::sql::{many, one, written_out};

/// A file, folder or symlink as it lay on disk.
#[derive(Debug, Clone)]
pub struct DiskFile {
    pub row: u64,
    pub folder: i64,
    pub name: Vec<u8>,
    pub kind: FileKind,
    pub size: u64,
    pub mtime: i64,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub content: Option<i64>,
    pub child: Option<i64>,
}

const FILE: &str = "SELECT row, folder, name, kind, size, mtime, mode, uid, gid, content, child \
    FROM file WHERE holds(file)";

fn file(row: &Row<'_>) -> rusqlite::Result<DiskFile> {
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
    })
}

impl CatalogNight<'_> {
    /// The file in `row`, if the snapshot has it.
    pub fn file(self, row: u64) -> Result<Option<DiskFile>> {
        one(self.db, &format!("{FILE} AND row = ?2"), (self.at, row), file)
    }

    /// The entry called `name` of `folder`.
    pub fn file_by_name(self, folder: i64, name: &[u8]) -> Result<Option<DiskFile>> {
        let sql = format!("{FILE} AND folder = ?2 AND name = ?3");
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
        let sql = format!("{FILE} AND child = ?2 AND child IS NOT NULL");
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
        let from = if last.is_some() { "name > ?3" } else { "?3 IS NULL" };
        let sql = written_out(&format!("{FILE} AND folder = ?2 AND {from} ORDER BY name"));
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
            format!("{FILE} AND folder = ?2 AND name >= ?3 AND name < ?4 ORDER BY name LIMIT 100");
        many(self.db, &sql, (self.at, folder, start, end), file)
    }

    /// The target of the symlink in `row`.
    pub fn symlink(self, row: u64) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT target FROM file WHERE row = ?2 AND holds(file)";
        let target = one(self.db, sql, (self.at, row), |row| row.get::<_, Option<Vec<u8>>>(0))?;
        Ok(target.flatten())
    }
}
