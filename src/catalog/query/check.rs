//! What a check asks: whether the catalog is whole and says what the archives say, and which photos
//! a content is.

use rusqlite::Connection;

use super::content_place;
use crate::base::stored::ContentPlace;
use crate::base::{Hash, Result, Sha1};
use crate::catalog::FilePart;
use crate::catalog::ImmichId;
use crate::catalog::sql::{many, one};

/// What SQLite's own check has to say; `None` when it finds nothing wrong.
pub fn integrity(db: &Connection) -> Result<Option<String>> {
    let said: String = db.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?;
    Ok((said != "ok").then_some(said))
}

/// An archive, as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedArchive {
    pub id: i64,
    pub name: String,
    pub size: u64,
    pub hash: Hash,
}

/// All archives.
pub fn archives(db: &Connection) -> Result<Vec<CheckedArchive>> {
    many(db, "SELECT id, name, size, hash FROM archive ORDER BY name", (), |row| {
        Ok(CheckedArchive {
            id: row.get(0)?,
            name: row.get(1)?,
            size: row.get(2)?,
            hash: Hash(row.get(3)?),
        })
    })
}

/// How many contents and chunks the catalog says are in the archive `id`.
pub fn held(db: &Connection, id: i64) -> Result<u64> {
    let sql = "SELECT (SELECT count(*) FROM content WHERE archive = ?1) + (SELECT count(*) FROM \
        chunk WHERE archive = ?1)";
    Ok(one(db, sql, [id], |row| row.get(0))?.unwrap_or(0))
}

/// Where the content called `hash` is: its archive, its SHA-1 and the place. `None` when the
/// catalog does not know it.
pub fn content(db: &Connection, hash: Hash) -> Result<Option<(i64, Sha1, ContentPlace)>> {
    let found =
        one(db, "SELECT id, sha1 FROM content WHERE hash = ?1 AND archive > 0", [hash.0], |row| {
            Ok((row.get::<_, i64>(0)?, Sha1(row.get(1)?)))
        })?;
    let Some((id, sha1)) = found else { return Ok(None) };
    let (archive, place) = content_place(db, id)?;
    Ok(Some((archive, sha1, place)))
}

/// The contents that the catalog says are in the archive `id`: SHA-1 and place.
pub fn contents_of(db: &Connection, id: i64) -> Result<Vec<(Sha1, ContentPlace)>> {
    let found: Vec<(i64, Sha1)> =
        many(db, "SELECT id, sha1 FROM content WHERE archive = ?1 ORDER BY offset", [id], |row| {
            Ok((row.get(0)?, Sha1(row.get(1)?)))
        })?;
    found.into_iter().map(|(id, sha1)| Ok((sha1, content_place(db, id)?.1))).collect()
}

/// The chunks that the catalog says are in the archive `id`.
pub fn chunks_of(db: &Connection, id: i64) -> Result<Vec<Hash>> {
    many(db, "SELECT hash FROM chunk WHERE archive = ?1 ORDER BY offset", [id], |row| {
        Ok(Hash(row.get(0)?))
    })
}

/// How many rows say another size than the content that they show.
pub fn wrong_sizes(db: &Connection) -> Result<u64> {
    let sql = "SELECT (SELECT count(*) FROM file f CROSS JOIN content c ON c.id = f.content WHERE \
        c.size <> f.size)
                    + (SELECT count(*) FROM asset_file f CROSS JOIN content c ON c.id = f.content \
                    WHERE c.size <> f.size)";
    Ok(one(db, sql, [], |row| row.get(0))?.unwrap_or(0))
}

/// Times of all snapshots, oldest first.
pub fn times(db: &Connection) -> Result<Vec<i64>> {
    many(db, "SELECT time FROM snapshot ORDER BY time", (), |row| row.get(0))
}

/// An asset that shows a content in the snapshots from `since` to before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentShowing {
    pub asset: ImmichId,
    pub part: FilePart,
    pub since: i64,
    pub until: i64,
}

/// The assets that show the content `id`, or whose recorded bytes it is.
pub fn showings(db: &Connection, id: i64) -> Result<Vec<ContentShowing>> {
    let sql = "SELECT asset, part, since, until FROM asset_file WHERE content = ?1
               UNION SELECT a.id, 0, a.since, a.until FROM content c CROSS JOIN asset a ON a.sha1 \
               = c.sha1 AND a.sha1 IS NOT NULL
                 WHERE c.id = ?1 ORDER BY 1, 2, 3";
    many(db, sql, [id], |row| {
        Ok(ContentShowing {
            asset: row.get(0)?,
            part: row.get(1)?,
            since: row.get(2)?,
            until: row.get(3)?,
        })
    })
}

/// A file that shows a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    pub folder: i64,
    pub name: Vec<u8>,
    pub since: i64,
    pub until: i64,
}

/// The files that show the content `id`.
pub fn files_of(db: &Connection, id: i64) -> Result<Vec<FileRow>> {
    let sql = "SELECT folder, name, since, until FROM file WHERE content = ?1 ORDER BY folder, \
        name, since";
    many(db, sql, [id], |row| {
        Ok(FileRow {
            folder: row.get(0)?,
            name: row.get(1)?,
            since: row.get(2)?,
            until: row.get(3)?,
        })
    })
}
