//! Keys that two rows have: the mark of a broken index, on which a restore stops.
//!
//! Of the tables that are staged all rows are compared; of any other table of the schema `public`
//! the first million ids, and what they show counts if the dump itself says that `id` is the key.
//!
//! Source: immich#12245, where a restore says `could not create unique index "PK_…"`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use uuid::Uuid;

use super::database::DumpDatabase;
use super::staging::{StagingError, StagingFile};
use super::tables::StagedTable;
use crate::base::Result;

/// The keys of staged tables. Of the others there may be rows that Immich itself wrote twice.
const KEYS: [(&str, &str); 9] = [
    ("user", "id"),
    ("asset", "id"),
    ("album", "id"),
    ("tag", "id"),
    ("stack", "id"),
    ("library", "id"),
    ("exif", "asset"),
    ("album_asset", "album, asset"),
    ("tag_asset", "tag, asset"),
];
/// Pairs of rows that are named.
const NAMED: usize = 10;
/// Ids of one table that are compared while it streams by: some 32 MB.
const MOST: usize = 1 << 20;

/// Characters of an id that are shown.
const LONGEST: usize = 64;

/// The ids of a table that is not staged, while its rows pass.
pub struct UnstagedIds {
    /// Where the id stands in a row.
    at: usize,
    hasher: RandomState,
    lines: HashMap<u64, u64>,
}

impl UnstagedIds {
    pub fn new(at: usize) -> Self {
        UnstagedIds { at, hasher: RandomState::new(), lines: HashMap::new() }
    }

    /// Takes the row on `line`; its id and the earlier line that has the same.
    pub fn add(&mut self, row: &str, line: u64) -> Option<(String, u64)> {
        if self.lines.len() == MOST {
            return None;
        }
        let id = row.split('\t').nth(self.at)?;
        let first = self.lines.insert(self.hasher.hash_one(id), line).filter(|_| id != r"\N")?;
        Some((id.chars().take(LONGEST).collect::<String>().replace(char::is_control, "?"), first))
    }
}

/// What is said of each, most of it by name.
pub fn find(database: &DumpDatabase, staging: &StagingFile) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (table, columns) in KEYS {
        let Some(name) = StagedTable::named(table).map(|table| table.from[0]) else { continue };
        let sql = format!(
            "SELECT {0}, min(line), max(line) FROM {table}
             WHERE ({columns}) IN (SELECT {columns} FROM {table} GROUP BY {columns} HAVING \
             count(*) > 1 LIMIT {NAMED})
             GROUP BY {columns}",
            columns.split(',').next().unwrap_or_default()
        );
        let mut statement = staging.db().prepare(&sql).staged()?;
        let rows = statement
            .query_map((), |row| Ok((row.get(0).map(Uuid::from_bytes)?, row.get(1)?, row.get(2)?)));
        for row in rows.staged()? {
            let (id, first, second): (Uuid, u64, u64) = row.staged()?;
            found.push(format!(
                "table {name} has the key {id} twice: lines {first} and {second} of the dump"
            ));
        }
    }
    let keyed = database.repeated.iter().filter(|(table, ..)| database.trial.is_key(table));
    found.extend(keyed.map(|(table, id, first, second)| {
        format!("table {table} has the key {id} twice: lines {first} and {second} of the dump")
    }));
    found.truncate(NAMED);
    Ok(found)
}
