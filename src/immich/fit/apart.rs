//! What is not Immich's and left out: each object by its name, for a person who wants it back.

use std::collections::{BTreeMap, BTreeSet};

use super::foreign;
use super::rule;
use super::statement::Statement;
use crate::base::amount::plural;

/// Objects that are named; bounds what a hostile dump can ask for.
const MOST: usize = 1000;

/// Kinds that the other lists have not, or shorter.
const OTHER_KINDS: [&str; 3] = ["EXTENSION", "TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY"];

/// Objects of others so far.
#[derive(Debug, Default)]
pub struct ObjectsApart {
    /// In the order of the dump.
    objects: Vec<String>,
    known: BTreeSet<String>,
    rows: BTreeMap<String, u64>,
}

impl ObjectsApart {
    /// Takes a statement that is left out.
    pub fn add(&mut self, statement: &Statement) {
        self.extend(named(statement));
    }

    /// Takes rows of `table` that are left out.
    pub fn count(&mut self, table: &str, rows: u64) {
        let table = &table.replace(char::is_control, "?");
        if self.rows.len() < MOST {
            *self.rows.entry(table.to_owned()).or_default() += rows;
        }
    }

    /// Takes note of `table`, whose rows are left out.
    pub fn mention(&mut self, table: &str) {
        self.extend([format!("table {table}")]);
    }

    /// Each object as `event trigger note`, a table with its rows; of those of an extension only
    /// the rows are in a dump.
    pub fn into_list(mut self) -> Vec<String> {
        let tables: Vec<_> = self.rows.keys().map(|table| format!("table {table}")).collect();
        self.extend(tables);
        let rows = |object: &String| self.rows.get(object.strip_prefix("table ")?).copied();
        let counted = |object: &String| match rows(object) {
            Some(count) => format!("{object} ({})", plural(count, "row", "rows")),
            None => object.clone(),
        };
        self.objects.iter().map(counted).collect()
    }

    /// Takes objects by their names.
    pub fn extend(&mut self, objects: impl IntoIterator<Item = String>) {
        for object in objects {
            let object = object.replace(char::is_control, "?");
            if self.objects.len() < MOST && self.known.insert(object.clone()) {
                self.objects.push(object);
            }
        }
    }
}

/// The object that a `CREATE` makes.
fn named(statement: &Statement) -> Option<String> {
    let first = if statement.has_at(1, "OR REPLACE") { 3 } else { 1 };
    let kinds = rule::CREATED
        .iter()
        .chain(&rule::CREATED_RARELY)
        .chain(&foreign::KINDS)
        .chain(&OTHER_KINDS);
    let kind = kinds.filter(|kind| statement.has_at(first, kind)).max_by_key(|kind| kind.len());
    let kind = kind.filter(|_| statement.begins("CREATE"))?;
    let mut at = first + kind.split(' ').count();
    if statement.has_at(at, "IF NOT EXISTS") {
        at += 3;
    }
    let name = match (statement.name(at), statement.is(at + 1, ".")) {
        (Some(schema), true) if schema != "public" => {
            format!(" {schema}.{}", statement.name(at + 2)?)
        }
        (Some(_), true) => format!(" {}", statement.name(at + 2)?),
        (Some(_), false) if *kind == "USER MAPPING" => format!(" of {}", statement.name(at + 1)?),
        (Some(name), false) => format!(" {name}"),
        (None, _) => String::new(),
    };
    Some(kind.to_ascii_lowercase() + &name)
}
