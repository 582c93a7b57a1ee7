//! How questions are put to SQLite: statements stay prepared, and `holds(…)` stands for the range in
//! which a row holds.

use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::base::Result;

/// Writes out `holds(ROW)`: the row of the table or alias `ROW` holds at the time `?1`. Of
/// `holds(ROW, TIME)` the time is `TIME`. With a plus before `ROW`, SQLite does not choose an index
/// on `until`, which nearly all rows share.
pub(super) fn written_out(sql: &str) -> String {
    let mut text = String::with_capacity(2 * sql.len());
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once("holds(") {
        let Some((inner, behind)) = after.split_once(')') else { break };
        let (row, time) = inner.split_once(", ").unwrap_or((inner, "?1"));
        let name = row.trim_start_matches('+');
        for piece in [before, "(", name, ".since <= ", time, " AND ", row, ".until > ", time, ")"] {
            text.push_str(piece);
        }
        rest = behind;
    }
    text + rest
}

/// The row that `sql` asks for, if there is one.
pub(super) fn one<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    Ok(db.prepare_cached(&written_out(sql))?.query_row(params, map).optional()?)
}

/// The number that `sql` asks for; 0 where there is none.
pub(super) fn count(db: &Connection, sql: &str, params: impl Params) -> Result<u64> {
    Ok(one(db, sql, params, |row| row.get(0))?.unwrap_or(0))
}

/// True when `sql` finds a row.
pub(super) fn exists(db: &Connection, sql: &str, params: impl Params) -> Result<bool> {
    Ok(db.prepare_cached(&written_out(sql))?.exists(params)?)
}

/// All rows that `sql` asks for.
pub(super) fn many<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    Ok(db.prepare_cached(&written_out(sql))?.query_map(params, map)?.collect::<Result<_, _>>()?)
}

/// Hands the rows that `sql` asks for to `each`, one at a time.
pub(super) fn each(
    db: &Connection,
    sql: &str,
    params: impl Params,
    mut each: impl FnMut(&Row<'_>) -> Result<()>,
) -> Result<()> {
    let mut statement = db.prepare_cached(&written_out(sql))?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        each(row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_from_since_to_before_until() {
        assert_eq!(
            written_out("SELECT id FROM asset a WHERE a.id = ?2 AND holds(a) LIMIT 1"),
            "SELECT id FROM asset a WHERE a.id = ?2 AND (a.since <= ?1 AND a.until > ?1) LIMIT 1"
        );
        assert_eq!(
            written_out("holds(+a) AND NOT holds(n, ?3)"),
            "(a.since <= ?1 AND +a.until > ?1) AND NOT (n.since <= ?3 AND n.until > ?3)"
        );
        assert_eq!(written_out("SELECT max(time) FROM snapshot"), "SELECT max(time) FROM snapshot");
    }
}
