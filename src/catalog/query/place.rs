//! Where bytes are.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Row};

use super::{kept, unsigned};
use crate::base::stored::{ChunkPlace, ContentPlace};
use crate::base::{Error, FilePath, Hash, Result, Sha1};
use crate::catalog::FOREVER;
use crate::catalog::sql::one;

/// A chunk of a stream.
#[derive(Debug, Clone)]
pub struct ChunkRow {
    /// The archive that holds it.
    pub archive: i64,
    pub place: ChunkPlace,
    /// Its key chunks; none when it is a key itself.
    pub keys: Vec<Hash>,
}

/// The chunk called `hash`. `Damaged` when no archive has it.
pub fn chunk(db: &Connection, hash: Hash) -> Result<ChunkRow> {
    db.prepare_cached("SELECT archive, size, offset, stored, keys FROM chunk WHERE hash = ?1")?
        .query_row([hash.0], |row| {
            let keys: Option<Vec<u8>> = row.get(4)?;
            let size = unsigned(row.get(1)?);
            let place = ChunkPlace {
                hash,
                size,
                offset: unsigned(row.get(2)?),
                stored: unsigned(row.get(3)?),
            };
            let keys =
                keys.unwrap_or_default().chunks_exact(32).filter_map(Hash::from_slice).collect();
            Ok(ChunkRow { archive: row.get(0)?, place, keys })
        })
        .optional()?
        .ok_or_else(|| Error::damaged(format_args!("no archive holds chunk {hash}")))
}

/// Bytes of all contents that some archive holds, as they are unpacked.
pub fn stored_bytes(db: &Connection) -> Result<u64> {
    Ok(db.query_row("SELECT coalesce(sum(size), 0) FROM content", (), |row| row.get(0))?)
}

/// True when some archive holds the chunk called `hash`.
pub fn has_chunk(db: &Connection, hash: Hash) -> Result<bool> {
    Ok(db.prepare_cached("SELECT 1 FROM chunk WHERE hash = ?1")?.exists([hash.0])?)
}

/// The content called `hash`, if some archive holds it.
pub fn content_id(db: &Connection, hash: Hash) -> Result<Option<i64>> {
    Ok(db
        .prepare_cached("SELECT id FROM content WHERE hash = ?1")?
        .query_row([hash.0], |row| row.get(0))
        .optional()?)
}

/// True when some archive holds the content called `hash`.
pub fn has_content(db: &Connection, hash: Hash) -> Result<bool> {
    Ok(db
        .prepare_cached("SELECT 1 FROM content WHERE hash = ?1 AND archive > 0")?
        .exists([hash.0])?)
}

/// True when some archive holds a content of `size` bytes: another one of that size may well be the
/// same.
pub fn has_content_of(db: &Connection, size: u64) -> Result<bool> {
    let sql = "SELECT 1 FROM content WHERE size = ?1 AND size > 16777216 AND archive > 0";
    Ok(db.prepare_cached(sql)?.exists([size as i64])?)
}

/// True when a file of the newest snapshot has a content that no archive holds.
pub fn shows_lost_content(db: &Connection) -> Result<bool> {
    let sql = "SELECT 1 FROM content c JOIN file f ON f.content = c.id WHERE c.archive = 0 AND \
        +f.until = ?1";
    Ok(db.prepare_cached(sql)?.exists([FOREVER])?)
}

/// True when a file of any snapshot has a content, or its dump names one, that no archive holds.
pub fn lacks_content(db: &Connection) -> Result<bool> {
    let sql = "SELECT 1 FROM content c JOIN file f ON f.content = c.id WHERE c.archive = 0
                   AND EXISTS (SELECT 1 FROM snapshot s WHERE s.time >= f.since AND s.time < \
                   f.until)
               UNION ALL SELECT 1 FROM content c JOIN asset a ON a.sha1 = c.sha1 AND a.sha1 IS NOT \
               NULL WHERE c.archive = 0
                   AND EXISTS (SELECT 1 FROM snapshot s WHERE s.time >= a.since AND s.time < \
                   a.until)";
    Ok(db.prepare_cached(sql)?.exists(())?)
}

/// The contents that snapshots name and no archive holds.
pub fn lost_contents(db: &Connection) -> Result<HashSet<Hash>> {
    let mut statement = db.prepare_cached("SELECT hash FROM content WHERE archive = 0")?;
    let hashes = statement.query_map((), |row| Ok(Hash(row.get(0)?)))?;
    Ok(hashes.collect::<rusqlite::Result<_>>()?)
}

/// The content of the file that an interrupted backup saw at `path` with this size and time, and
/// the archive that holds it.
pub fn seen(
    db: &Connection,
    path: &FilePath,
    size: u64,
    mtime: i64,
) -> Result<Option<(Hash, String)>> {
    let sql =
        "SELECT c.hash, a.name FROM seen s JOIN content c ON c.id = s.content JOIN archive a \
        ON a.id = c.archive
               WHERE s.path = ?1 AND s.size = ?2 AND s.mtime = ?3";
    let of_row = |row: &Row<'_>| Ok((Hash(row.get(0)?), row.get(1)?));
    Ok(db
        .prepare_cached(sql)?
        .query_row((path.as_bytes(), size as i64, mtime), of_row)
        .optional()?)
}

/// Where the content `id` is: its archive, and the place in it.
pub fn content_place(db: &Connection, id: i64) -> Result<(i64, ContentPlace)> {
    db.prepare_cached(
        "SELECT archive, hash, size, offset, stored, frames, tree FROM content WHERE id = ?1",
    )?
    .query_row([id], |row| Ok((row.get(0)?, place(row)?)))
    .optional()?
    .ok_or_else(|| Error::damaged(format_args!("no archive holds content {id}")))
}

fn place(row: &Row<'_>) -> rusqlite::Result<ContentPlace> {
    let frames: Option<Vec<u8>> = row.get(5)?;
    let lens = |bytes: Vec<u8>| {
        bytes
            .chunks_exact(4)
            .map(|len| u32::from_le_bytes([len[0], len[1], len[2], len[3]]))
            .collect()
    };
    Ok(ContentPlace {
        hash: Hash(row.get(1)?),
        size: unsigned(row.get(2)?),
        offset: unsigned(row.get(3)?),
        stored: unsigned(row.get(4)?),
        frames: frames.map(lens),
        tree: row.get::<_, Option<Vec<u8>>>(6)?.unwrap_or_default(),
    })
}

/// The name of the archive `id`, below `archives/`.
pub fn archive_name(db: &Connection, id: i64) -> Result<String> {
    db.prepare_cached("SELECT name FROM archive WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Error::damaged(format_args!("the catalog has no archive {id}")))
}

/// An archive.
#[derive(Debug, Clone)]
pub struct ArchiveRow {
    pub id: i64,
    /// Name below `archives/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// All archives, by name.
pub fn archives(db: &Connection) -> Result<Vec<ArchiveRow>> {
    let mut statement = db.prepare_cached("SELECT id, name, size FROM archive ORDER BY name")?;
    let row = |row: &Row<'_>| {
        Ok(ArchiveRow { id: row.get(0)?, name: row.get(1)?, size: unsigned(row.get(2)?) })
    };
    Ok(statement.query_map((), row)?.collect::<rusqlite::Result<_>>()?)
}

/// The contents that some snapshot of `times` (ascending) needs: those that its files show, and
/// those whose SHA-1 its dump names.
pub fn needed_contents(db: &Connection, times: &[i64]) -> Result<HashSet<i64>> {
    let holds = |since: i64, until: i64| {
        times.get(times.partition_point(|time| *time < since)).is_some_and(|time| *time < until)
    };
    let mut statement =
        db.prepare_cached("SELECT content, since, until FROM file WHERE content IS NOT NULL")?;
    let mut rows = statement.query(())?;
    let mut needed = HashSet::new();
    while let Some(row) = rows.next()? {
        if holds(row.get(1)?, row.get(2)?) {
            needed.insert(row.get(0)?);
        }
    }
    let kept = kept::ranges(db)?.into_iter().filter(|range| holds(range.since, range.until));
    needed.extend(kept.map(|range| range.content));
    Ok(needed)
}

/// Id, archive and stored bytes of each content that an archive holds.
pub fn stored_contents(db: &Connection, each: &mut dyn FnMut(i64, i64, u64)) -> Result<()> {
    let mut statement =
        db.prepare_cached("SELECT id, archive, stored FROM content WHERE archive > 0")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        each(row.get(0)?, row.get(1)?, unsigned(row.get(2)?));
    }
    Ok(())
}

/// Archives of which a file is remembered that no snapshot names: an interrupted backup wrote them.
pub fn unclaimed_archives(db: &Connection) -> Result<HashSet<i64>> {
    let sql = "SELECT DISTINCT c.archive FROM seen s JOIN content c ON c.id = s.content";
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// All archives that the catalog knows, by name.
pub fn archive_names(db: &Connection) -> Result<HashMap<String, i64>> {
    let mut statement = db.prepare_cached("SELECT name, id FROM archive")?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Bytes of all archives, and how many contents they hold.
pub fn totals(db: &Connection) -> Result<(u64, u64)> {
    let sql = "SELECT (SELECT coalesce(sum(size), 0) FROM archive), (SELECT count(*) FROM content)";
    Ok(db.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// The hashes of a content.
pub fn content_hashes(db: &Connection, content: i64) -> Result<Option<(Hash, Sha1)>> {
    let hashes = |row: &Row<'_>| Ok((Hash(row.get(0)?), Sha1(row.get(1)?)));
    one(db, "SELECT hash, sha1 FROM content WHERE id = ?1", [content], hashes)
}

/// How many bytes a content has.
pub fn content_size(db: &Connection, content: i64) -> Result<Option<u64>> {
    one(db, "SELECT size FROM content WHERE id = ?1", [content], |row| row.get(0))
}

/// True when the content `id` has this SHA-1, or that cannot be told.
pub fn is_content_of(db: &Connection, id: i64, sha1: Option<&[u8; 20]>) -> Result<bool> {
    let Some(sha1) = sha1 else { return Ok(true) };
    let sql = "SELECT archive = 0 OR sha1 = ?2 FROM content WHERE id = ?1";
    Ok(one(db, sql, (id, sha1), |row| row.get(0))?.unwrap_or(false))
}
