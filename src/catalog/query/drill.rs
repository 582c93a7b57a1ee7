//! What a drill asks: the assets of a snapshot whose bytes are in it.

use rusqlite::Connection;

use super::search::one;
use super::unsigned;
use super::view::Id;
use crate::base::{Error, Result, Sha1};

/// An asset whose original is in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    pub id: Id,
    pub name: String,
    pub size: u64,
    pub sha1: Option<Sha1>,
    /// Hidden: the moving half of a photo, as a rule.
    pub is_hidden: bool,
}

/// Calls `each` with the row and the id of every asset of the snapshot at `at` whose original is in it.
pub fn each_asset(db: &Connection, at: i64, each: &mut dyn FnMut(u64, Id)) -> Result<()> {
    let sql = "SELECT a.row, a.id FROM asset a CROSS JOIN asset_file f ON f.asset = a.id AND f.part = 0 AND f.since <= ?1 AND f.until > ?1
               WHERE a.since <= ?1 AND a.until > ?1";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([at])?;
    while let Some(row) = rows.next()? {
        each(unsigned(row.get(0)?), row.get(1)?);
    }
    Ok(())
}

/// The asset in `row`, as it was at `at`.
pub fn asset(db: &Connection, row: u64, at: i64) -> Result<Asset> {
    let sql = "SELECT a.id, a.name, f.size, a.sha1, a.visibility = 2 FROM asset a
               JOIN asset_file f ON f.asset = a.id AND f.part = 0 AND f.since <= ?2 AND f.until > ?2 WHERE a.row = ?1";
    let found = one(db, sql, (row, at), |row| {
        let sha1: Option<[u8; 20]> = row.get(3)?;
        let size = unsigned(row.get(2)?);
        Ok(Asset { id: row.get(0)?, name: row.get(1)?, size, sha1: sha1.map(Sha1), is_hidden: row.get(4)? })
    })?;
    found.ok_or_else(|| Error::not_found("asset"))
}

/// The row of the file that shows the original of the asset `id` at `at`.
pub fn file(db: &Connection, id: &Id, at: i64) -> Result<u64> {
    let sql = "SELECT file FROM asset_file WHERE asset = ?1 AND part = 0 AND since <= ?2 AND until > ?2";
    one(db, sql, (id, at), |row| row.get(0).map(unsigned))?.ok_or_else(|| Error::not_found("the file of an asset"))
}
