//! Changes of the file list into the catalog.

use rusqlite::{Connection, OptionalExtension};

use super::ListChange;
use super::archive::content;
use crate::base::file::{FileEntry, FileKind};
use crate::base::{FilePath, Result};
use crate::catalog::FOREVER;

/// Takes the changes of a file list, in the list's order.
#[derive(Debug)]
pub struct FileIngest<'a> {
    db: &'a Connection,
    time: i64,
    next_row: i64,
    /// The folders that lead to the last path: name and id.
    trail: Vec<(Vec<u8>, i64)>,
}

impl<'a> FileIngest<'a> {
    /// Begins the snapshot at `time`. Paths that change are noted in the temporary table
    /// `changed_path`.
    pub fn begin(db: &'a Connection, time: i64) -> Result<Self> {
        db.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS changed_path (path BLOB PRIMARY KEY) WITHOUT ROWID; \
                DELETE FROM changed_path;",
        )?;
        let next_row =
            db.query_row("SELECT coalesce(max(row), 0) + 1 FROM file", (), |row| row.get(0))?;
        Ok(FileIngest { db, time, next_row, trail: Vec::new() })
    }

    /// Takes one change.
    pub fn apply(&mut self, change: &ListChange<FileEntry>) -> Result<()> {
        match change {
            ListChange::Added(entry) => self.open(entry),
            ListChange::Removed(entry) => self.close(entry),
            ListChange::Replaced(old, new) => self.close(old).and_then(|()| self.open(new)),
        }
    }

    fn close(&mut self, entry: &FileEntry) -> Result<()> {
        let folder = self.folder_of(&entry.path)?;
        self.db
            .prepare_cached(
                "UPDATE file SET until = ?1 WHERE folder = ?2 AND name = ?3 AND until = ?4",
            )?
            .execute((self.time, folder, entry.path.name(), FOREVER))?;
        self.note(&entry.path)
    }

    fn open(&mut self, entry: &FileEntry) -> Result<()> {
        let folder = self.folder_of(&entry.path)?;
        let content = entry.hash.map(|hash| content(self.db, hash, entry.size)).transpose()?;
        let child = (entry.kind == FileKind::Folder)
            .then(|| place(self.db, folder, entry.path.name()))
            .transpose()?;
        let sql = "INSERT INTO file (folder, name, since, until, row, kind, size, mtime, mode, \
            uid, gid, content, child, target, link)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
        self.db.prepare_cached(sql)?.execute(rusqlite::params![
            folder,
            entry.path.name(),
            self.time,
            FOREVER,
            self.next_row,
            entry.kind,
            entry.size as i64,
            entry.mtime,
            entry.mode,
            entry.uid,
            entry.gid,
            content,
            child,
            entry.target,
            entry.link.as_ref().map(FilePath::as_bytes),
        ])?;
        self.next_row += 1;
        self.note(&entry.path)
    }

    fn note(&self, path: &FilePath) -> Result<()> {
        self.db
            .prepare_cached("INSERT OR IGNORE INTO changed_path VALUES (?1)")?
            .execute([path.as_bytes()])?;
        Ok(())
    }

    /// The folder that holds `path`, as a place. Neighbours in the list mostly share it.
    fn folder_of(&mut self, path: &FilePath) -> Result<i64> {
        let Some(folder) = path.parent() else { return Ok(0) };
        let mut parent = 0;
        for (depth, name) in folder.parts().enumerate() {
            if self.trail.get(depth).is_none_or(|(known, _)| known != name) {
                self.trail.truncate(depth);
                self.trail.push((name.to_vec(), place(self.db, parent, name)?));
            }
            parent = self.trail[depth].1;
        }
        self.trail.truncate(folder.parts().count());
        Ok(parent)
    }
}

/// The folder `name` in `parent`, as a place: one that was never there is made.
fn place(db: &Connection, parent: i64, name: &[u8]) -> Result<i64> {
    let known = db
        .prepare_cached("SELECT id FROM folder WHERE parent = ?1 AND name = ?2")?
        .query_row((parent, name), |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => Ok(db
            .prepare_cached("INSERT INTO folder (parent, name) VALUES (?1, ?2) RETURNING id")?
            .query_row((parent, name), |row| row.get(0))?),
    }
}
