//! What the repository still has of photos that a dump of the past names.

use rusqlite::{Connection, OptionalExtension};

use super::unsigned;
use crate::base::{Error, Hash, Result, Sha1};

/// A content as a file of some snapshot shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentFile {
    pub hash: Hash,
    /// Plain bytes.
    pub size: u64,
    /// What is known of a file with these bytes; `None` when no snapshot has one.
    pub file: Option<FileMeta>,
}

/// What the disk said of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMeta {
    /// Nanoseconds since 1970.
    pub mtime: i64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// The content with this SHA-1 that some archive holds; of several, which only a forgery brings
/// about, one of `size` bytes.
pub fn content(db: &Connection, sha1: Sha1, size: Option<u64>) -> Result<Option<i64>> {
    let sql = "SELECT id FROM content WHERE sha1 = ?1 AND archive > 0 ORDER BY size = ?2 DESC, id \
        LIMIT 1";
    let size = size.and_then(|size| i64::try_from(size).ok());
    Ok(db.prepare_cached(sql)?.query_row((sha1.0, size), |row| row.get(0)).optional()?)
}

/// The content `id`, with what the oldest file says that shows it; one that is called `name` before
/// others.
pub fn shown(db: &Connection, id: i64, name: &[u8]) -> Result<ContentFile> {
    let sql = "SELECT hash, size FROM content WHERE id = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, [u8; 32]>(0)?, unsigned(row.get(1)?)));
    let (hash, size) = db
        .prepare_cached(sql)?
        .query_row([id], row)
        .optional()?
        .ok_or_else(|| Error::not_found("a content"))?;
    let sql = "SELECT mtime, mode, uid, gid FROM file WHERE content = ?1 ORDER BY name = ?2 DESC, \
        since, row LIMIT 1";
    let meta = |row: &rusqlite::Row<'_>| {
        Ok(FileMeta { mtime: row.get(0)?, mode: row.get(1)?, uid: row.get(2)?, gid: row.get(3)? })
    };
    let file = db.prepare_cached(sql)?.query_row((id, name), meta).optional()?;
    Ok(ContentFile { hash: Hash(hash), size, file })
}
