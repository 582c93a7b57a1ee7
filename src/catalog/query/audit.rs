//! What an audit asks: where the database, the files and Immich's checksums do not agree in one
//! snapshot.
//!
//! Each question is one pass over a table, or one look-up for something that such a pass has found.

use rusqlite::Connection;

use super::unsigned;
use crate::base::library::Visibility;
use crate::base::{Result, Sha1};
use crate::catalog::FilePart;
use crate::catalog::ImmichId;
use crate::catalog::sql::{many, one};

/// An asset that something is wrong with, as far as one pass can tell.
#[derive(Debug, Clone)]
pub struct SuspectAsset {
    pub row: i64,
    pub id: ImmichId,
    pub owner: ImmichId,
    pub visibility: Visibility,
    /// Where the database says its file is.
    pub path: Option<Vec<u8>>,
    /// SHA-1 of the bytes as Immich recorded it.
    pub sha1: Option<Sha1>,
    /// The file that shows its bytes, and whether it was found by SHA-1 elsewhere; `None` when
    /// there is none.
    pub file: Option<(u64, bool)>,
}

/// Runs through the assets at `at` that have no file, whose file was found elsewhere, or whose
/// bytes are not what Immich recorded. Bytes that no archive holds are not judged: their SHA-1 is
/// not known. The plus keeps SQLite from choosing the index on `until`, which nearly all rows
/// share.
pub fn suspects(
    db: &Connection,
    at: i64,
    mut each: impl FnMut(SuspectAsset) -> Result<()>,
) -> Result<()> {
    let sql = "SELECT a.row, a.id, a.owner, a.visibility, a.path, a.sha1, f.file, f.moved FROM \
        asset a
               LEFT JOIN asset_file f ON f.asset = a.id AND f.part = 0 AND f.since <= ?1 AND \
               f.until > ?1
               LEFT JOIN content c ON c.id = f.content AND c.archive > 0
               WHERE a.since <= ?1 AND +a.until > ?1 AND (f.asset IS NULL OR f.moved = 1 OR a.sha1 \
               <> c.sha1)";
    let mut ask = db.prepare_cached(sql)?;
    let mut rows = ask.query([at])?;
    while let Some(row) = rows.next()? {
        let file = row.get::<_, Option<u64>>(6)?.zip(row.get(7)?);
        each(SuspectAsset {
            row: row.get(0)?,
            id: row.get(1)?,
            owner: row.get(2)?,
            visibility: row.get(3)?,
            path: row.get(4)?,
            sha1: row.get::<_, Option<[u8; 20]>>(5)?.map(Sha1),
            file,
        })?;
    }
    Ok(())
}

/// Runs through the rows of the files that assets show at `at`: originals and sidecars.
pub fn claimed(db: &Connection, at: i64, mut each: impl FnMut(u64)) -> Result<()> {
    let mut ask =
        db.prepare_cached("SELECT file FROM asset_file WHERE since <= ?1 AND until > ?1")?;
    let mut rows = ask.query([at])?;
    while let Some(row) = rows.next()? {
        each(row.get(0)?);
    }
    Ok(())
}

/// A file on disk.
#[derive(Debug, Clone)]
pub struct AuditFile {
    pub row: u64,
    pub folder: i64,
    pub name: Vec<u8>,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    pub content: Option<i64>,
    /// The first snapshot that has it so.
    pub since: i64,
}

/// Runs through the files at `at` whose row `wanted` says yes to.
pub fn files(
    db: &Connection,
    at: i64,
    wanted: impl Fn(u64) -> bool,
    mut each: impl FnMut(AuditFile) -> Result<()>,
) -> Result<()> {
    let sql = "SELECT row, folder, name, size, mtime, content, since FROM file WHERE kind = 0 AND \
        since <= ?1 AND until > ?1";
    let mut ask = db.prepare_cached(sql)?;
    let mut rows = ask.query([at])?;
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        if wanted(number) {
            each(AuditFile {
                row: number,
                folder: row.get(1)?,
                name: row.get(2)?,
                size: unsigned(row.get(3)?),
                mtime: row.get(4)?,
                content: row.get(5)?,
                since: row.get(6)?,
            })?;
        }
    }
    Ok(())
}

/// The highest row of any file.
pub fn last_file(db: &Connection) -> Result<u64> {
    Ok(one(db, "SELECT coalesce(max(row), 0) FROM file", (), |row| row.get(0))?.unwrap_or(0))
}

/// Rows of the assets at `at` whose sidecar is not there.
pub fn without_sidecar(db: &Connection, at: i64) -> Result<Vec<i64>> {
    let sql = "SELECT a.row FROM asset a WHERE a.sidecar IS NOT NULL AND a.since <= ?1 AND \
        +a.until > ?1 AND NOT EXISTS
               (SELECT 1 FROM asset_file f WHERE f.asset = a.id AND f.part = 1 AND f.since <= ?1 \
               AND f.until > ?1)";
    many(db, sql, [at], |row| row.get(0))
}

/// Rows of the assets at `at` whose moving half has no row.
pub fn without_live_row(db: &Connection, at: i64) -> Result<Vec<i64>> {
    let sql =
        "SELECT a.row FROM asset a WHERE a.live IS NOT NULL AND a.since <= ?1 AND +a.until > \
        ?1 AND NOT EXISTS
               (SELECT 1 FROM asset v WHERE v.id = a.live AND v.since <= ?1 AND v.until > ?1)";
    many(db, sql, [at], |row| row.get(0))
}

/// The asset whose moving half is `video` at `at`: its row, and whether it is locked.
pub fn still_of(db: &Connection, video: &ImmichId, at: i64) -> Result<Option<(i64, bool)>> {
    let sql = "SELECT row, visibility = 3 FROM asset WHERE live = ?1 AND live IS NOT NULL AND \
        since <= ?2 AND until > ?2 LIMIT 1";
    one(db, sql, (video, at), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Record and owner of the asset in `row`.
pub fn asset_line(db: &Connection, row: i64) -> Result<Option<String>> {
    one(db, "SELECT line FROM asset WHERE row = ?1", [row], |row| row.get(0))
}

/// Size and time of the file in `row` and the snapshot that has it so first.
pub fn size_and_time(db: &Connection, row: u64) -> Result<Option<(u64, i64, i64)>> {
    one(db, "SELECT size, mtime, since FROM file WHERE row = ?1", [row], |row| {
        Ok((unsigned(row.get(0)?), row.get(1)?, row.get(2)?))
    })
}

/// Bytes that an asset has shown at its path.
#[derive(Debug, Clone, Copy)]
pub struct ShownVersion {
    pub since: i64,
    pub until: i64,
    pub sha1: Sha1,
    pub size: u64,
    pub mtime: i64,
}

/// What the asset showed at its path before or at `at`, newest first.
pub fn versions(db: &Connection, asset: &ImmichId, at: i64) -> Result<Vec<ShownVersion>> {
    let sql = "SELECT f.since, f.until, c.sha1, l.size, l.mtime FROM asset_file f
               CROSS JOIN content c ON c.id = f.content AND c.archive > 0 CROSS JOIN file l ON \
               l.row = f.file
               WHERE f.asset = ?1 AND f.part = 0 AND f.since <= ?2 AND f.moved = 0 ORDER BY \
               f.since DESC";
    many(db, sql, (asset, at), |row| {
        Ok(ShownVersion {
            since: row.get(0)?,
            until: row.get(1)?,
            sha1: Sha1(row.get(2)?),
            size: unsigned(row.get(3)?),
            mtime: row.get(4)?,
        })
    })
}

/// From when to before when some file had the bytes with this SHA-1, if an archive still holds
/// them.
pub fn ranges_of(db: &Connection, sha1: &Sha1) -> Result<Vec<(i64, i64)>> {
    let sql = "SELECT f.since, f.until FROM content c CROSS JOIN file f ON f.content = c.id
               WHERE c.sha1 = ?1 AND c.archive > 0 ORDER BY f.until DESC LIMIT 100";
    many(db, sql, [sha1.0], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// From when to before when a file of an asset was there, newest first.
pub fn ranges_of_part(
    db: &Connection,
    asset: &ImmichId,
    part: FilePart,
) -> Result<Vec<(i64, i64)>> {
    let sql = "SELECT f.since, f.until FROM asset_file f CROSS JOIN content c ON c.id = f.content \
        AND c.archive > 0
               WHERE f.asset = ?1 AND f.part = ?2 ORDER BY f.since DESC LIMIT 100";
    many(db, sql, (asset, part), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The newest snapshot from `since` to before `until`.
pub fn newest_in(db: &Connection, since: i64, until: i64) -> Result<Option<i64>> {
    let sql = "SELECT max(time) FROM snapshot WHERE time >= ?1 AND time < ?2";
    Ok(one(db, sql, (since, until), |row| row.get(0))?.flatten())
}

/// The oldest snapshot.
pub fn oldest(db: &Connection) -> Result<Option<i64>> {
    Ok(one(db, "SELECT min(time) FROM snapshot", (), |row| row.get(0))?.flatten())
}

/// An asset that shows the content `id` as its original at `at`: its row, and whether one such is
/// locked.
pub fn shown_by(db: &Connection, content: i64, at: i64) -> Result<Option<(i64, bool)>> {
    let sql =
        "SELECT a.row, a.visibility = 3 OR EXISTS (SELECT 1 FROM asset p WHERE p.live = a.id AND \
            p.live IS NOT NULL
                   AND p.visibility = 3 AND p.since <= ?2 AND p.until > ?2) AS locked
               FROM asset_file f CROSS JOIN asset a ON a.id = f.asset
               WHERE f.content = ?1 AND f.since <= ?2 AND f.until > ?2 AND a.since <= ?2 AND \
               a.until > ?2
               ORDER BY locked DESC, a.row LIMIT 1";
    one(db, sql, (content, at), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// True when an asset at `at` has its file at the file in `row`, where the database says.
pub fn is_at_home(db: &Connection, content: i64, row: u64, at: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM asset_file WHERE content = ?1 AND file = ?2 AND moved = 0 AND since \
        <= ?3 AND until > ?3 LIMIT 1";
    Ok(one(db, sql, (content, row, at), |_| Ok(()))?.is_some())
}

/// Records of the accounts at `at`.
pub fn users(db: &Connection, at: i64) -> Result<Vec<String>> {
    many(db, "SELECT line FROM user WHERE since <= ?1 AND until > ?1", [at], |row| row.get(0))
}

/// Records of the external libraries at `at`.
pub fn libraries(db: &Connection, at: i64) -> Result<Vec<String>> {
    many(db, "SELECT line FROM external_library WHERE since <= ?1 AND until > ?1", [at], |row| {
        row.get(0)
    })
}
