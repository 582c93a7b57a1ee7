//! Snapshots.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use crate::base::{Result, SnapshotId};

/// Ids of all snapshots that the catalog knows, oldest first.
pub fn ids(db: &Connection) -> Result<Vec<SnapshotId>> {
    let mut statement = db.prepare_cached("SELECT time FROM snapshot ORDER BY time")?;
    let times = statement.query_map((), |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    times.into_iter().map(SnapshotId::from_seconds).collect()
}

/// Snapshots that are there and cannot be read.
pub fn unreadable(db: &Connection) -> Result<Vec<SnapshotId>> {
    let mut statement = db.prepare_cached("SELECT time FROM unreadable ORDER BY time")?;
    let times = statement.query_map((), |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    times.into_iter().map(SnapshotId::from_seconds).collect()
}

/// The newest snapshot whose dump was good.
pub fn newest_good(db: &Connection) -> Result<Option<i64>> {
    Ok(db.prepare_cached("SELECT max(time) FROM snapshot WHERE good = 1")?.query_row((), |row| row.get(0))?)
}

/// The number that was given last, as far as this catalog knows; 0 where there was none.
pub fn last_number(db: &Connection) -> Result<u16> {
    let sql = "SELECT coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'number'), 0)";
    let number: i64 = db.prepare_cached(sql)?.query_row((), |row| row.get(0))?;
    Ok(u16::try_from(number).unwrap_or(0))
}

/// The numbers of all snapshots.
pub fn numbers(db: &Connection) -> Result<HashSet<u16>> {
    let mut statement = db.prepare_cached("SELECT number FROM snapshot")?;
    let numbers = statement.query_map((), |row| row.get(0))?;
    Ok(numbers.collect::<rusqlite::Result<_>>()?)
}

/// The newest snapshot before `time` (seconds since 1970).
pub fn before(db: &Connection, time: i64) -> Result<Option<i64>> {
    let sql = "SELECT max(time) FROM snapshot WHERE time < ?1";
    Ok(db.prepare_cached(sql)?.query_row([time], |row| row.get(0))?)
}

/// The oldest snapshot after `time` (seconds since 1970).
pub fn after(db: &Connection, time: i64) -> Result<Option<i64>> {
    let sql = "SELECT min(time) FROM snapshot WHERE time > ?1";
    Ok(db.prepare_cached(sql)?.query_row([time], |row| row.get(0))?)
}

/// The record of the snapshot at `time`, as JSON.
pub fn record(db: &Connection, time: i64) -> Result<Option<String>> {
    Ok(db
        .prepare_cached("SELECT record FROM snapshot WHERE time = ?1")?
        .query_row([time], |row| row.get(0))
        .optional()?)
}

/// The accounts of the snapshot at `time`.
pub fn user_ids(db: &Connection, time: i64) -> Result<HashSet<Uuid>> {
    let mut statement = db.prepare_cached("SELECT id FROM user WHERE since <= ?1 AND until > ?1")?;
    let ids = statement.query_map([time], |row| row.get(0).map(Uuid::from_bytes))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}
