//! From when to before when bytes were there, in whatever snapshot: what an audit asks of something
//! that a night has not.

use rusqlite::Connection;

use super::unsigned;
use crate::base::{Result, Sha1};
use crate::catalog::FilePart;
use crate::catalog::ImmichId;
use crate::catalog::sql::{many, one};

/// The highest row of any file.
pub fn last_file(db: &Connection) -> Result<u64> {
    Ok(one(db, "SELECT coalesce(max(row), 0) FROM file", (), |row| row.get(0))?.unwrap_or(0))
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
