//! Snapshots.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row};

use crate::base::{Result, SnapshotId};
use crate::catalog::sql::{many, one};

/// A snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Seconds since 1970.
    pub time: i64,
    pub number: u16,
    /// Its dump was verified.
    pub good: bool,
}

const SNAPSHOT: &str = "SELECT time, number, good FROM snapshot";

fn snapshot(row: &Row<'_>) -> rusqlite::Result<SnapshotRow> {
    let time = row.get(0)?;
    // What is no time cannot be reckoned with.
    SnapshotId::from_seconds(time)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, time))?;
    Ok(SnapshotRow { time, number: row.get(1)?, good: row.get(2)? })
}

/// The snapshots from time `from` to before `to`, oldest first.
pub fn snapshots(db: &Connection, from: i64, to: i64) -> Result<Vec<SnapshotRow>> {
    let sql = format!("{SNAPSHOT} WHERE time >= ?1 AND time < ?2 ORDER BY time");
    many(db, &sql, (from, to), snapshot)
}

/// The snapshot with `number`.
pub fn snapshot_by_number(db: &Connection, number: u16) -> Result<Option<SnapshotRow>> {
    one(db, &format!("{SNAPSHOT} WHERE number = ?1"), [number], snapshot)
}

/// The newest snapshot, or the newest good one.
pub fn newest_snapshot(db: &Connection, good: bool) -> Result<Option<SnapshotRow>> {
    one(db, &format!("{SNAPSHOT} WHERE good >= ?1 ORDER BY time DESC LIMIT 1"), [good], snapshot)
}

/// Ids of all snapshots that the catalog knows, oldest first.
pub fn ids(db: &Connection) -> Result<Vec<SnapshotId>> {
    let mut statement = db.prepare_cached("SELECT time FROM snapshot ORDER BY time")?;
    let times = statement
        .query_map((), |row| row.get::<_, i64>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    times.into_iter().map(SnapshotId::from_seconds).collect()
}

/// Snapshots that are there and cannot be read.
pub fn unreadable(db: &Connection) -> Result<Vec<SnapshotId>> {
    let mut statement = db.prepare_cached("SELECT time FROM unreadable ORDER BY time")?;
    let times = statement
        .query_map((), |row| row.get::<_, i64>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    times.into_iter().map(SnapshotId::from_seconds).collect()
}

/// The newest snapshot whose dump was good.
pub fn newest_good(db: &Connection) -> Result<Option<i64>> {
    Ok(db
        .prepare_cached("SELECT max(time) FROM snapshot WHERE good = 1")?
        .query_row((), |row| row.get(0))?)
}

/// The newest migration that the database of the newest good snapshot has had.
pub fn newest_schema(db: &Connection) -> Result<Option<String>> {
    let sql = "SELECT json_extract(record, '$.dump.schema') FROM snapshot WHERE good = 1 ORDER BY \
        time DESC LIMIT 1";
    Ok(db.prepare_cached(sql)?.query_row((), |row| row.get(0)).optional()?.flatten())
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
