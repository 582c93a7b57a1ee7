//! What is a folder by itself: albums, people, tags and stacks.

use rusqlite::Row;

use super::CatalogNight;
use crate::base::Result;
use crate::catalog::ImmichId;
use crate::catalog::sql::{many, one};

/// A thing that is a folder by itself, in one of its versions: user, album, person, tag, stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderRecord {
    pub row: u64,
    pub id: ImmichId,
    pub name: String,
    /// What decides who keeps a name: an album's creation, else the first snapshot with this
    /// version.
    pub since: i64,
    /// It holds at the time that was asked for.
    pub holds: bool,
}

pub(super) fn folder(row: &Row<'_>) -> rusqlite::Result<FolderRecord> {
    Ok(FolderRecord {
        row: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        since: row.get(3)?,
        holds: row.get(4)?,
    })
}

/// Tables whose rows are folders.
#[derive(Debug, Clone, Copy)]
pub enum RecordTable {
    User,
    AlbumUser,
    Person,
    Tag,
    Stack,
}

impl CatalogNight<'_> {
    /// All versions of the albums that `user` has ever seen; a row is the user's view of the album.
    pub fn albums(self, user: &ImmichId) -> Result<Vec<FolderRecord>> {
        let sql =
            "SELECT m.row, m.album, a.name, a.created, holds(m) AND holds(a) AND NOT a.deleted
                   FROM album_user m CROSS JOIN album a ON a.id = m.album WHERE m.user = ?2";
        many(self.db, sql, (self.at, user), folder)
    }

    /// All versions of the named persons of `user` that are not hidden.
    pub fn people(self, user: &ImmichId) -> Result<Vec<FolderRecord>> {
        let sql = "SELECT row, id, name, since, holds(person) FROM person
                   WHERE owner = ?2 AND NOT hidden AND trim(name) <> ''";
        many(self.db, sql, (self.at, user), folder)
    }

    /// All versions of the tags of `user`; the name is the whole path.
    pub fn tags(self, user: &ImmichId) -> Result<Vec<FolderRecord>> {
        let sql = "SELECT row, id, value, since, holds(tag) FROM tag WHERE owner = ?2";
        many(self.db, sql, (self.at, user), folder)
    }

    /// All versions of the stacks of `user`, called as the asset that is shown; without a name
    /// where that one is locked and locked ones are not asked for.
    pub fn stacks(self, user: &ImmichId, locked: bool) -> Result<Vec<FolderRecord>> {
        let sql = "SELECT s.row, s.id, coalesce(
                     (SELECT a.name FROM asset a WHERE a.id = s.first AND (?3 OR a.visibility <> 3 \
                      AND NOT EXISTS (SELECT 1 FROM asset n WHERE n.id = s.first AND \
                      n.visibility = 3 AND holds(n)))
                      ORDER BY a.since DESC LIMIT 1), ''),
                   s.since, holds(s) FROM stack s WHERE s.owner = ?2";
        many(self.db, sql, (self.at, user, locked), folder)
    }

    /// Id of the thing in `row` (of an album user: the album), who owns or sees it (of a user:
    /// itself) and what it is called (a tag's value; else nothing).
    pub fn folder_row(
        self,
        table: RecordTable,
        row: u64,
    ) -> Result<Option<(ImmichId, ImmichId, String)>> {
        let from = match table {
            RecordTable::User => "x.id, x.id, '' FROM user",
            RecordTable::AlbumUser => "x.album, x.user, '' FROM album_user",
            RecordTable::Person => "x.id, x.owner, '' FROM person",
            RecordTable::Tag => "x.id, x.owner, x.value FROM tag",
            RecordTable::Stack => "x.id, x.owner, '' FROM stack",
        };
        let sql = format!("SELECT {from} x WHERE x.row = ?2 AND holds(x)");
        one(self.db, &sql, (self.at, row), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    }

    /// Ids and names of the albums that hold the asset `id`, by name.
    pub fn albums_of(self, id: &ImmichId) -> Result<Vec<(ImmichId, String)>> {
        let sql = "SELECT b.id, b.name FROM album_asset m CROSS JOIN album b ON b.id = m.album
                   WHERE m.asset = ?2 AND holds(m) AND holds(b) AND NOT b.deleted
                   ORDER BY b.name, b.id";
        many(self.db, sql, (self.at, id), |row| Ok((row.get(0)?, row.get(1)?)))
    }
}
