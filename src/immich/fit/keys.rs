//! Keys of tables, and rows that have a key which an earlier row has: the mark of a broken index,
//! on which a restore stops.
//!
//! pg_dump writes keys after all rows, so one pass finds the keys and the next one the rows.
//!
//! Limit: fields are compared as they are written. A partial index, one of expressions, and one
//! that counts NULLs as equal are not known.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use serde::Serialize;

use super::statement::Statement;
use super::token::TokenKind;
use crate::immich::copy::CopyHeader;

/// Rows that are named, and keys that are known: bounds what a hostile dump can ask for.
const MOST: usize = 1000;
/// Characters of a key that are shown.
const SHOWN: usize = 120;

/// A table's schema and name.
type KeyTable = (String, String);

/// The columns of each primary key and unique constraint, by table.
#[derive(Debug, Clone, Default)]
pub struct UniqueKeys(BTreeMap<KeyTable, Vec<Vec<String>>>);

impl UniqueKeys {
    /// Takes the key that `statement` makes, if it makes one.
    pub fn add(&mut self, statement: &Statement) {
        if let Some((table, columns)) = key(statement).filter(|_| self.0.len() < MOST) {
            self.0.entry(table).or_default().push(columns);
        }
    }

    /// The sieve for the rows of `header`, if its table has a key.
    pub fn sieve(&self, header: &CopyHeader) -> Option<KeySieve> {
        let keys = self.0.get(&(header.schema.clone(), header.table.clone()))?;
        let place = |column: &String| header.columns.iter().position(|of| of == column);
        let known = |columns: &Vec<String>| {
            let at = columns.iter().map(place).collect::<Option<Vec<_>>>()?;
            Some(KeyIndex { columns: columns.join(", "), at, lines: HashMap::new() })
        };
        let keys: Vec<_> = keys.iter().filter_map(known).collect();
        (!keys.is_empty()).then(|| KeySieve { keys, hashers: Default::default() })
    }
}

/// `ALTER TABLE ONLY … ADD CONSTRAINT … PRIMARY KEY (…)` or `UNIQUE (…)`, or
/// `CREATE UNIQUE INDEX … (…)` of plain columns.
fn key(statement: &Statement) -> Option<(KeyTable, Vec<String>)> {
    let (at, opening) =
        if statement.begins("ALTER TABLE ONLY") && statement.find("ADD CONSTRAINT").is_some() {
            let kind = statement
                .find("PRIMARY KEY (")
                .map(|at| at + 2)
                .or(statement.find("UNIQUE (").map(|at| at + 1))?;
            (3, kind)
        } else if statement.begins("CREATE UNIQUE INDEX") && statement.find("WHERE").is_none() {
            (statement.find("ON")? + 1, statement.find("USING btree (")? + 2)
        } else {
            return None;
        };
    let table = (statement.name(at)?, statement.name(at + 2)?);
    let mut columns = Vec::new();
    for at in (opening + 1..statement.len()).step_by(2) {
        columns.push(statement.name(at).filter(|_| statement.kind(at) != Some(TokenKind::Symbol))?);
        if statement.is(at + 1, ")") {
            return Some((table, columns));
        }
        if !statement.is(at + 1, ",") {
            return None;
        }
    }
    None
}

/// A row whose key an earlier row has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DuplicateRow {
    pub table: String,
    /// As PostgreSQL writes it: `(id)=(7)`.
    pub key: String,
    /// The dump's line of the row, from 1, and that of the earlier one.
    pub line: u64,
    pub first: u64,
}

/// The rows of one table, told apart by their keys.
#[derive(Debug)]
pub struct KeySieve {
    keys: Vec<KeyIndex>,
    /// Two, so that no row is taken for another.
    hashers: [RandomState; 2],
}

#[derive(Debug)]
struct KeyIndex {
    /// As they are shown.
    columns: String,
    /// Where they stand in a row.
    at: Vec<usize>,
    /// The line of each key.
    lines: HashMap<[u64; 2], u64>,
}

impl KeySieve {
    /// Those of the whole lines `rows` that have keys of their own; the others go to `found`.
    /// `line` is that of the first.
    pub fn pass(
        &mut self,
        rows: &[u8],
        line: u64,
        table: &str,
        found: &mut Vec<DuplicateRow>,
    ) -> Vec<u8> {
        let mut kept = Vec::with_capacity(rows.len());
        for (row, line) in rows.split_inclusive(|&byte| byte == b'\n').zip(line..) {
            match self.earlier(row.strip_suffix(b"\n").unwrap_or(row), line) {
                None => kept.extend_from_slice(row),
                Some((key, first)) if found.len() < MOST => {
                    found.push(DuplicateRow { table: table.to_owned(), key, line, first });
                }
                Some(_) => {}
            }
        }
        kept
    }

    /// The key that `row` shares with an earlier row, and that row's line; else the keys of `row`
    /// are known from now on.
    fn earlier(&mut self, row: &[u8], line: u64) -> Option<(String, u64)> {
        let fields: Vec<&[u8]> = row.split(|&byte| byte == b'\t').collect();
        let mut own = Vec::new();
        for (number, key) in self.keys.iter().enumerate() {
            let values: Option<Vec<&[u8]>> =
                key.at.iter().map(|&at| fields.get(at).copied()).collect();
            let Some(values) = values.filter(|values| !values.contains(&&b"\\N"[..])) else {
                continue;
            };
            let hash = self.hashers.each_ref().map(|hasher| hasher.hash_one(&values));
            if let Some(&first) = key.lines.get(&hash) {
                return Some((format!("({})=({})", key.columns, shown(&values)), first));
            }
            own.push((number, hash));
        }
        for (number, hash) in own {
            self.keys[number].lines.insert(hash, line);
        }
        None
    }
}

fn shown(values: &[&[u8]]) -> String {
    let text = String::from_utf8_lossy(&values.join(&b", "[..])).into_owned();
    text.chars().take(SHOWN).collect::<String>().replace(char::is_control, "?")
}
