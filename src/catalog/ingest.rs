//! Bringing new archives and snapshots into a catalog that is being written.
//!
//! A snapshot is brought in by its difference to the one before: only lines of its lists that are
//! not in the lists of the night before are read. Backup and rebuild use the same functions, so a
//! rebuilt catalog answers as the lost one did.

mod archive;
mod asset_file;
mod file;
mod library;
mod merge;

pub use archive::{
    add_archive, add_lines, copy_streams, drop_orphans, forget_archive, retire_archive,
};
pub use asset_file::{AssetFiles, resolve_asset_files};
pub use file::FileIngest;
pub use library::LibraryIngest;
pub use merge::{ListChange, merge};

use rusqlite::{Connection, ErrorCode};

use super::FOREVER;
use super::query::snapshot::last_number;
use crate::base::{Error, Result};

/// Notes that the snapshot at `time` exists. `record` is its record, JSON.
pub fn add_snapshot(
    db: &Connection,
    time: i64,
    number: u16,
    good: bool,
    record: &str,
) -> Result<()> {
    if is_ahead(number, last_number(db)?) {
        let last = "INSERT INTO meta (key, value) VALUES ('number', ?1) ON CONFLICT (key) DO \
            UPDATE SET value = ?1";
        db.prepare_cached(last)?.execute([number])?;
    }
    let sql = "INSERT INTO snapshot (time, number, good, record) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (time) DO UPDATE SET number = ?2, good = ?3, record = ?4";
    match db.prepare_cached(sql)?.execute((time, number, good, record)) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(Error::damaged(format_args!("two snapshots have the number {number}")))
        }
        done => Ok(done.map(drop)?),
    }
}

/// Remembers `value` in the catalog's `meta` table.
pub fn set_meta(db: &Connection, key: &str, value: &str) -> Result<()> {
    let sql =
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
    db.prepare_cached(sql)?.execute((key, value))?;
    Ok(())
}

/// True when `number` was given after `last`: numbers go round. Source: RFC 1982, serial number
/// arithmetic.
fn is_ahead(number: u16, last: u16) -> bool {
    last == 0 || (1..=i16::MAX as u16).contains(&number.wrapping_sub(last))
}

/// Notes that there is a snapshot at `time` that cannot be read.
pub fn add_unreadable(db: &Connection, time: i64) -> Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO unreadable (time) VALUES (?1)")?.execute([time])?;
    Ok(())
}

/// Forgets which files an interrupted backup had seen: a finished one has named them all.
pub fn clear_seen(db: &Connection) -> Result<()> {
    db.execute("DELETE FROM seen", ())?;
    Ok(())
}

/// Tables whose rows hold from one snapshot to another.
const TIMED: [&str; 13] = [
    "external_library",
    "file",
    "user",
    "asset",
    "asset_file",
    "album",
    "album_user",
    "album_asset",
    "person",
    "person_asset",
    "stack",
    "tag",
    "tag_asset",
];

/// Ends every row at `time`: what holds from then on comes again.
pub fn end_all(db: &Connection, time: i64) -> Result<()> {
    for table in TIMED {
        db.execute(&format!("UPDATE {table} SET until = ?1 WHERE until = ?2"), (time, FOREVER))?;
    }
    Ok(())
}

/// Takes back the newest snapshot, at `time`: its rows end, those that it ended hold on.
pub fn remove_newest(db: &Connection, time: i64) -> Result<()> {
    for table in TIMED {
        db.execute(&format!("DELETE FROM {table} WHERE since = ?1"), [time])?;
        db.execute(&format!("UPDATE {table} SET until = ?2 WHERE until = ?1"), (time, FOREVER))?;
    }
    remove_snapshot(db, time)
}

/// Forgets that there was a snapshot at `time`. Rows that held in it alone stay; no question finds
/// them.
pub fn remove_snapshot(db: &Connection, time: i64) -> Result<()> {
    db.execute("DELETE FROM snapshot WHERE time = ?1", [time])?;
    db.execute("DELETE FROM unreadable WHERE time = ?1", [time])?;
    Ok(())
}

/// Deletes the rows that hold in no snapshot any more.
pub fn remove_dead_rows(db: &Connection) -> Result<()> {
    for table in TIMED {
        let sql = format!(
            "DELETE FROM {table} WHERE NOT EXISTS
                 (SELECT 1 FROM snapshot s WHERE s.time >= {table}.since AND s.time < \
                 {table}.until)"
        );
        db.execute(&sql, ())?;
    }
    Ok(())
}
