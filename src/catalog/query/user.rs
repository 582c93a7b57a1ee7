//! Users, in whatever snapshot.

use rusqlite::Connection;

use crate::base::Result;
use crate::catalog::ImmichId;
use crate::catalog::sql::{many, one};

/// The record of the user in `row`, JSON.
pub fn user_line(db: &Connection, row: u64) -> Result<Option<String>> {
    one(db, "SELECT line FROM user WHERE row = ?1", [row], |row| row.get(0))
}

/// Id and record of every version of every user, newest first.
pub fn user_lines(db: &Connection) -> Result<Vec<(ImmichId, String)>> {
    many(db, "SELECT id, line FROM user ORDER BY since DESC, row", (), |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}
