//! Where the database of a snapshot wants its files, as far as they did not lie there: what a
//! recovery must know.

use std::collections::HashMap;

use rusqlite::Connection;
use uuid::Uuid;

use super::audit;

use super::whole::{self, EntryKind, FileContent, ListEntry};
use crate::base::file::FileKind;
use crate::base::library::User;
use crate::base::{FilePath, Result};
use crate::catalog::sql::{many, one};
use crate::catalog::{CatalogNight, ImmichId};

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

/// Runs through the assets at `at` whose original or sidecar is not at its path, or may not be:
/// names that are not ASCII are found in other forms too. External libraries are left aside. The
/// plus keeps SQLite from the index on `until`, which nearly all rows share.
pub fn misplaced(
    db: &Connection,
    at: i64,
    mut each: impl FnMut(MisplacedFile) -> Result<()>,
) -> Result<()> {
    let sql = "SELECT a.id, a.path, a.sidecar, a.sha1, f.file, s.file FROM asset a
               LEFT JOIN asset_file f ON f.asset = a.id AND f.part = 0 AND f.since <= ?1 AND \
               f.until > ?1
               LEFT JOIN asset_file s ON s.asset = a.id AND s.part = 1 AND s.since <= ?1 AND \
               s.until > ?1
               LEFT JOIN content c ON c.id = f.content AND c.archive > 0
               WHERE a.since <= ?1 AND +a.until > ?1 AND a.path IS NOT NULL AND instr(a.path, \
               CAST('external/' AS BLOB)) <> 1
                 AND (f.asset IS NULL OR f.moved = 1 OR a.sha1 <> c.sha1 OR length(CAST(a.path AS \
                 TEXT)) < length(a.path)
                      OR s.moved = 1 OR (a.sidecar IS NOT NULL AND s.asset IS NULL))
               ORDER BY a.id";
    let mut ask = db.prepare_cached(sql)?;
    let mut rows = ask.query([at])?;
    while let Some(row) = rows.next()? {
        each(MisplacedFile {
            asset: row.get(0)?,
            path: row.get(1)?,
            sidecar: row.get(2)?,
            sha1: row.get(3)?,
            file: row.get(4)?,
            sidecar_file: row.get(5)?,
        })?;
    }
    Ok(())
}

/// Runs through the assets at `at` whose path is neither UPLOAD_LOCATION's nor an external
/// library's: the path as the database has it, and the file that shows the asset's bytes.
pub fn outside(
    db: &Connection,
    at: i64,
    mut each: impl FnMut(String, Option<u64>) -> Result<()>,
) -> Result<()> {
    let sql = "SELECT coalesce(json_extract(a.line, '$.path'), ''), f.file FROM asset a
               LEFT JOIN asset_file f ON f.asset = a.id AND f.part = 0 AND f.since <= ?1 AND \
               f.until > ?1
               WHERE a.since <= ?1 AND +a.until > ?1 AND a.path IS NULL";
    let mut ask = db.prepare_cached(sql)?;
    let mut rows = ask.query([at])?;
    while let Some(row) = rows.next()? {
        each(row.get(0)?, row.get(1)?)?;
    }
    Ok(())
}

/// Where the database has a file, and the folder and name where it was found.
pub type FoundElsewhere = (Vec<u8>, Option<(i64, Vec<u8>)>);

/// The assets at `at` whose original or sidecar is not at its path, and the accounts whose picture
/// is not.
pub fn apart(db: &Connection, at: i64) -> Result<HashMap<Uuid, FoundElsewhere>> {
    let sql = "SELECT a.id, a.path, x.folder, x.name FROM asset a
               LEFT JOIN asset_file f ON f.asset = a.id AND f.part = 0 AND f.since <= ?1 AND \
               f.until > ?1
               LEFT JOIN asset_file s ON s.asset = a.id AND s.part = 1 AND s.since <= ?1 AND \
               s.until > ?1
               LEFT JOIN file x ON x.row = f.file
               WHERE a.since <= ?1 AND +a.until > ?1 AND a.path IS NOT NULL AND instr(a.path, \
               CAST('external/' AS BLOB)) <> 1
                 AND (f.asset IS NULL OR f.moved = 1 OR s.moved = 1 OR (a.sidecar IS NOT NULL AND \
                 s.asset IS NULL))";
    let row = |row: &rusqlite::Row<'_>| {
        let found = row.get::<_, Option<i64>>(2)?.zip(row.get(3)?);
        Ok((Uuid::from_bytes(row.get(0)?), (row.get(1)?, found)))
    };
    let mut apart: HashMap<Uuid, FoundElsewhere> = many(db, sql, [at], row)?.into_iter().collect();
    for (user, picture) in pictures(db, at)? {
        if occupant(db, &picture, at)?.is_free() {
            apart.insert(user, (picture.as_bytes().to_vec(), None));
        }
    }
    Ok(apart)
}

/// The accounts at `at` that have a picture, with its path.
pub fn pictures(db: &Connection, at: i64) -> Result<Vec<(Uuid, FilePath)>> {
    let users = audit::users(db, at)?;
    let users = users.iter().filter_map(|line| serde_json::from_str::<User>(line).ok());
    Ok(users.filter_map(|user| Some((user.id, user.picture?))).collect())
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathOccupant {
    Nothing,
    /// A file: its row and content.
    File(u64, i64),
    /// A symlink, there or above it: its row and path.
    Symlink(u64, FilePath),
    Folder,
    /// Something that is no folder lies above it.
    Below,
}

impl PathOccupant {
    /// True where a file can be laid, and no other one leaves its place for it.
    pub fn is_free(&self) -> bool {
        match self {
            PathOccupant::Nothing | PathOccupant::Symlink(..) => true,
            PathOccupant::File(..) | PathOccupant::Folder | PathOccupant::Below => false,
        }
    }
}

/// What lies at `path` at `at`.
pub fn occupant(db: &Connection, path: &FilePath, at: i64) -> Result<PathOccupant> {
    let (mut folder, mut above) = (0, Vec::new());
    let mut parts = path.parts().peekable();
    while let Some(part) = parts.next() {
        let Some(found) = CatalogNight::new(db, at).file_by_name(folder, part)? else {
            return Ok(PathOccupant::Nothing);
        };
        above.push(part);
        match (parts.peek(), found.child, found.content) {
            (Some(_), Some(child), _) => folder = child,
            (None, Some(_), _) => return Ok(PathOccupant::Folder),
            (None, None, Some(content)) => return Ok(PathOccupant::File(found.row, content)),
            (_, None, None) if found.kind == FileKind::Symlink => {
                return Ok(PathOccupant::Symlink(found.row, FilePath::new(above.join(&b'/'))?));
            }
            (_, None, _) => return Ok(PathOccupant::Below),
        }
    }
    Ok(PathOccupant::Nothing)
}

/// The folder at `path` at `at`.
pub fn folder_at(db: &Connection, path: &FilePath, at: i64) -> Result<Option<ListEntry>> {
    let found = CatalogNight::new(db, at).file_at(path.parts())?;
    match found.filter(|file| file.child.is_some()) {
        Some(file) => whole::entry_of(db, file.row),
        None => Ok(None),
    }
}

/// True when an asset at `at` has its original or its sidecar at `path`.
pub fn is_named(db: &Connection, path: &[u8], at: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM asset WHERE path = ?1 AND since <= ?2 AND until > ?2
               UNION ALL SELECT 1 FROM asset WHERE sidecar = ?1 AND since <= ?2 AND until > ?2";
    Ok(db.prepare_cached(sql)?.exists((path, at))?)
}

/// True when an asset at `at` has its original at `path`, and `content` is what Immich recorded of
/// it, or may be.
pub fn is_rightful(db: &Connection, path: &[u8], content: i64, at: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM asset a CROSS JOIN content c ON c.id = ?2
               WHERE a.path = ?1 AND a.since <= ?3 AND a.until > ?3 AND (a.sha1 IS NULL OR a.sha1 \
               = c.sha1)";
    Ok(db.prepare_cached(sql)?.exists((path, content, at))?)
}

/// A file with these bytes, if an archive holds them, and whether it is one of the snapshot at
/// `at`: those come first, then those of that name, then the newest.
pub fn file_with(
    db: &Connection,
    sha1: &[u8; 20],
    name: &[u8],
    at: i64,
) -> Result<Option<(ListEntry, bool)>> {
    let sql = "SELECT f.row, f.since <= ?3 AND f.until > ?3 FROM content c CROSS JOIN file f ON \
        f.content = c.id
               WHERE c.sha1 = ?1 AND c.archive > 0 ORDER BY 2 DESC, f.name = ?2 DESC, f.since DESC \
               LIMIT 1";
    let Some((row, is_here)) =
        one(db, sql, (sha1, name, at), |row| Ok((row.get(0)?, row.get(1)?)))?
    else {
        return Ok(None);
    };
    Ok(whole::entry_of(db, row)?.map(|entry| (entry, is_here)))
}

/// What Immich recorded of an asset as a file called `name`, where only the bytes are left: its
/// time is that of the taking.
pub fn kept_file(
    db: &Connection,
    asset: &ImmichId,
    name: &[u8],
    at: i64,
) -> Result<Option<ListEntry>> {
    let sql =
        "SELECT k.id, k.archive, k.offset, k.size, a.created FROM asset a CROSS JOIN content \
        k ON k.sha1 = a.sha1 AND k.archive > 0
               WHERE a.id = ?1 AND a.since <= ?2 AND a.until > ?2 ORDER BY k.hash LIMIT 1";
    one(db, sql, (asset, at), |row| {
        let bytes = FileContent {
            content: row.get(0)?,
            archive: row.get(1)?,
            offset: row.get(2)?,
            link: None,
        };
        let mtime = row.get::<_, i64>(4)?.saturating_mul(1_000_000);
        let (kind, name) = (EntryKind::File(bytes), name.to_vec());
        Ok(ListEntry {
            row: 0,
            folder: 0,
            name,
            kind,
            size: row.get(3)?,
            mtime,
            mode: 0o644,
            uid: 0,
            gid: 0,
        })
    })
}

/// The newest file that lay at `path` until `at`, in whatever snapshot, if an archive holds its
/// bytes.
pub fn last_at(db: &Connection, path: &FilePath, at: i64) -> Result<Option<ListEntry>> {
    let mut folder = 0;
    let parent = path.parent();
    for part in parent.iter().flat_map(FilePath::parts) {
        let sql = "SELECT id FROM folder WHERE parent = ?1 AND name = ?2";
        let Some(next) = one(db, sql, (folder, part), |row| row.get::<_, i64>(0))? else {
            return Ok(None);
        };
        folder = next;
    }
    let sql = "SELECT f.row FROM file f CROSS JOIN content c ON c.id = f.content AND c.archive > 0
               WHERE f.folder = ?1 AND f.name = ?2 AND f.since <= ?3 ORDER BY f.since DESC LIMIT 1";
    match one(db, sql, (folder, path.name(), at), |row| row.get(0))? {
        Some(row) => whole::entry_of(db, row),
        None => Ok(None),
    }
}

/// True when the content `id` has this SHA-1, or that cannot be told.
pub fn is_content_of(db: &Connection, id: i64, sha1: Option<&[u8; 20]>) -> Result<bool> {
    let Some(sha1) = sha1 else { return Ok(true) };
    let sql = "SELECT archive = 0 OR sha1 = ?2 FROM content WHERE id = ?1";
    Ok(one(db, sql, (id, sha1), |row| row.get(0))?.unwrap_or(false))
}
