//! An archive's index into the catalog.

use rusqlite::{Connection, OptionalExtension};

use crate::base::stored::{ChunkLine, ContentLine, IndexLine};
use crate::base::{Hash, Result};
use crate::catalog::query::has_chunk;
use crate::catalog::sql::many;

/// Adds the archive `name` of `size` bytes, whose index has the hash `hash` and the lines `lines`.
/// With `unclaimed`, no snapshot names it yet: its files are remembered, so that an interrupted
/// backup need not read them again.
pub fn add_archive(
    db: &Connection,
    name: &str,
    size: u64,
    hash: Hash,
    lines: &[IndexLine],
    unclaimed: bool,
) -> Result<()> {
    let id: i64 = db
        .prepare_cached("INSERT INTO archive (name, size, hash) VALUES (?1, ?2, ?3) RETURNING id")?
        .query_row((name, size as i64, hash.0), |row| row.get(0))?;
    for line in lines {
        match line {
            IndexLine::Content(line) => {
                let content = add_content(db, id, line)?;
                if unclaimed {
                    db.prepare_cached(
                        "INSERT OR IGNORE INTO seen (path, size, mtime, content) VALUES (?1, ?2, \
                            ?3, ?4)",
                    )?
                    .execute((
                        line.path.as_bytes(),
                        line.size as i64,
                        line.mtime,
                        content,
                    ))?;
                }
            }
            IndexLine::Chunk(line) => add_chunk(db, id, line)?,
        }
    }
    Ok(())
}

/// Takes in `lines` of the archive `id`, which is known: what was lost is there again.
pub fn add_lines(db: &Connection, id: i64, lines: &[IndexLine]) -> Result<()> {
    for line in lines {
        match line {
            IndexLine::Content(line) => add_content(db, id, line).map(drop)?,
            IndexLine::Chunk(line) => add_chunk(db, id, line)?,
        }
    }
    Ok(())
}

/// Copies from `known` what it says of archives and chunks, and nothing of contents: enough to read
/// streams.
pub fn copy_streams(known: &Connection, db: &Connection) -> Result<()> {
    let mut archives = known.prepare("SELECT id, name, size, hash FROM archive")?;
    let mut rows = archives.query(())?;
    while let Some(row) = rows.next()? {
        let values: (i64, String, i64, [u8; 32]) = row.try_into()?;
        db.prepare_cached("INSERT INTO archive (id, name, size, hash) VALUES (?1, ?2, ?3, ?4)")?
            .execute(values)?;
    }
    let mut chunks =
        known.prepare("SELECT hash, size, archive, offset, stored, keys FROM chunk")?;
    let mut rows = chunks.query(())?;
    let sql = "INSERT INTO chunk (hash, size, archive, offset, stored, keys) VALUES (?1, ?2, ?3, \
        ?4, ?5, ?6)";
    while let Some(row) = rows.next()? {
        let values: ([u8; 32], i64, i64, i64, i64, Option<Vec<u8>>) = row.try_into()?;
        db.prepare_cached(sql)?.execute(values)?;
    }
    Ok(())
}

/// Adds a content, or fills in where it is if it was lost. Its id.
fn add_content(db: &Connection, archive: i64, line: &ContentLine) -> Result<i64> {
    let frames = line
        .frames
        .as_ref()
        .map(|lens| lens.iter().flat_map(|len| len.to_le_bytes()).collect::<Vec<u8>>());
    let tree = (!line.tree.is_empty()).then_some(&line.tree);
    let sql = "INSERT INTO content (hash, sha1, size, archive, offset, stored, frames, tree)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (hash) DO UPDATE SET sha1 = ?2, size = ?3, archive = ?4, offset = ?5, \
               stored = ?6,
                   frames = ?7, tree = ?8
                   WHERE archive = 0 OR (SELECT name FROM archive WHERE id = ?4) > (SELECT name \
                   FROM archive WHERE id = content.archive)
               RETURNING id";
    let values = (
        line.content.0,
        line.sha1.0,
        line.size as i64,
        archive,
        line.offset as i64,
        line.stored as i64,
        frames,
        tree,
    );
    let id = db.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    match id {
        Some(id) => Ok(id),
        // It is elsewhere already; one place is enough.
        None => Ok(db
            .prepare_cached("SELECT id FROM content WHERE hash = ?1")?
            .query_row([line.content.0], |row| row.get(0))?),
    }
}

fn add_chunk(db: &Connection, archive: i64, line: &ChunkLine) -> Result<()> {
    let keys: Vec<u8> = line.keys.iter().flat_map(|key| key.0).collect();
    // Of two copies the newer archive's counts: it was stored again because the older one was of no
    // use. But what is a key stays one: others lean on it.
    db.prepare_cached(
        "INSERT INTO chunk (hash, size, archive, offset, stored, keys) VALUES (?1, ?2, ?3, ?4, ?5, \
            ?6)
         ON CONFLICT (hash) DO UPDATE SET size = ?2, archive = ?3, offset = ?4, stored = ?5, keys \
         = ?6
             WHERE (SELECT name FROM archive WHERE id = ?3) > (SELECT name FROM archive WHERE id = \
             chunk.archive)
                 AND (?6 IS NULL OR chunk.keys IS NOT NULL)",
    )?
    .execute((
        line.chunk.0,
        line.size as i64,
        archive,
        line.offset as i64,
        line.stored as i64,
        (!keys.is_empty()).then_some(keys),
    ))?;
    Ok(())
}

/// Notes that the archive `id` is gone: what it alone held is lost, and is stored again when it is
/// seen again.
pub fn forget_archive(db: &Connection, id: i64) -> Result<()> {
    db.execute(
        "DELETE FROM seen WHERE content IN (SELECT id FROM content WHERE archive = ?1)",
        [id],
    )?;
    db.execute("UPDATE content SET archive = 0 WHERE archive = ?1", [id])?;
    db.execute("DELETE FROM chunk WHERE archive = ?1", [id])?;
    db.execute("DELETE FROM archive WHERE id = ?1", [id])?;
    Ok(())
}

/// Notes that the archive `id` is not needed: what it holds and nothing names is known no more.
/// False, and nothing is done, when a file shows a content that only it holds, or an asset names it
/// by its SHA-1.
pub fn retire_archive(db: &Connection, id: i64) -> Result<bool> {
    let needed = "SELECT 1 FROM content c JOIN file f ON f.content = c.id WHERE c.archive = ?1
                  UNION ALL SELECT 1 FROM content c JOIN asset a ON a.sha1 = c.sha1 AND a.sha1 IS \
                  NOT NULL WHERE c.archive = ?1";
    if db.prepare_cached(needed)?.exists([id])? {
        return Ok(false);
    }
    db.execute(
        "DELETE FROM seen WHERE content IN (SELECT id FROM content WHERE archive = ?1)",
        [id],
    )?;
    db.execute("DELETE FROM content WHERE archive = ?1", [id])?;
    db.execute("DELETE FROM chunk WHERE archive = ?1", [id])?;
    db.execute("DELETE FROM archive WHERE id = ?1", [id])?;
    Ok(true)
}

/// The id of the content called `hash`; one that no archive holds is noted as lost.
pub(super) fn content(db: &Connection, hash: Hash, size: u64) -> Result<i64> {
    if let Some(id) = crate::catalog::query::content_id(db, hash)? {
        return Ok(id);
    }
    let sql = "INSERT INTO content (hash, sha1, size, archive, offset, stored) VALUES (?1, x'', \
        ?2, 0, 0, 0) RETURNING id";
    Ok(db.prepare_cached(sql)?.query_row((hash.0, size as i64), |row| row.get(0))?)
}

/// Forgets patches whose key chunks are lost: they cannot be read, and are stored again when they
/// are seen again.
pub fn drop_orphans(db: &Connection) -> Result<()> {
    let sql = "SELECT hash, keys FROM chunk WHERE keys IS NOT NULL";
    let patches: Vec<([u8; 32], Vec<u8>)> =
        many(db, sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (patch, keys) in patches {
        for key in keys.chunks_exact(32).filter_map(Hash::from_slice) {
            if !has_chunk(db, key)? {
                db.execute("DELETE FROM chunk WHERE hash = ?1", [patch])?;
                break;
            }
        }
    }
    Ok(())
}
