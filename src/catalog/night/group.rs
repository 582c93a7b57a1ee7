//! What is a folder by itself: albums, people, tags and stacks.

use rusqlite::Row;

use super::CatalogNight;
use crate::base::Result;
use crate::catalog::ImmichId;
use crate::catalog::sql::{count, exists, many, one};

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

    /// The tags of the asset `id`.
    pub fn tags_of(self, id: &ImmichId) -> Result<Vec<String>> {
        let sql = "SELECT DISTINCT t.value FROM tag_asset m CROSS JOIN tag t ON t.id = m.tag
                   WHERE m.asset = ?2 AND holds(m) AND holds(t) ORDER BY t.value";
        many(self.db, sql, (self.at, id), |row| row.get(0))
    }

    /// The named people whom the asset `id` shows.
    pub fn people_of(self, id: &ImmichId) -> Result<Vec<String>> {
        let sql =
            "SELECT DISTINCT p.name FROM person_asset m CROSS JOIN person p ON p.id = m.person
                   WHERE m.asset = ?2 AND holds(m) AND holds(p) AND trim(p.name) <> ''
                   ORDER BY p.name";
        many(self.db, sql, (self.at, id), |row| row.get(0))
    }

    /// The name of the album `id`.
    pub fn album_name(self, id: &ImmichId) -> Result<Option<String>> {
        let sql = "SELECT name FROM album WHERE id = ?2 AND holds(album)";
        one(self.db, sql, (self.at, id), |row| row.get(0))
    }

    /// True when `user` sees the album `id`.
    pub fn sees_album(self, id: &ImmichId, user: &ImmichId) -> Result<bool> {
        let sql = "SELECT 1 FROM album_user WHERE album = ?2 AND user = ?3 AND holds(album_user)";
        exists(self.db, sql, (self.at, id, user))
    }

    /// The rows of album_user by which people see the album `id`, the owner's first: row, and user.
    pub fn seen_by(self, id: &ImmichId) -> Result<Vec<(u64, ImmichId)>> {
        let sql = "SELECT row, user FROM album_user WHERE album = ?2 AND holds(album_user)
                   ORDER BY role, row";
        many(self.db, sql, (self.at, id), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Kinds of things of which the snapshot has none and that at `before` had some, with how many;
    /// nothing where the photos are gone, too.
    pub fn emptied(self, before: i64) -> Result<Vec<(&'static str, u64)>> {
        let rows = |what: &str, select: &str, at: i64| {
            let sql = format!("SELECT {select} FROM {what} AND holds(x) LIMIT 1");
            count(self.db, &sql, [at])
        };
        let mut emptied = Vec::new();
        if rows("asset x WHERE 1", "1", self.at)? == 0 {
            return Ok(emptied);
        }
        for (kind, what) in SHOWN {
            if rows(what, "1", self.at)? == 0 {
                emptied.push((kind, rows(what, "count(*)", before)?));
            }
        }
        emptied.retain(|(_, count)| *count > 0);
        Ok(emptied)
    }
}

/// What the views show beside photos, with what fills it: a kind, and the rows that hold of it.
const SHOWN: [(&str, &str); 8] = [
    ("albums", "album x WHERE NOT deleted"),
    ("photos in albums", "album_asset x WHERE 1"),
    ("people", "person x WHERE 1"),
    ("photos of people", "person_asset x WHERE 1"),
    ("stacks", "stack x WHERE 1"),
    ("tags", "tag x WHERE 1"),
    ("photos with tags", "tag_asset x WHERE 1"),
    ("sidecars", "asset x WHERE sidecar IS NOT NULL"),
];
