//! What a dump uses without making it: a part of a database (`--data-only`, `--schema`) is whole as
//! a file, and loads nowhere.

use std::collections::BTreeSet;

use super::statement::Statement;
use crate::immich::copy::CopyHeader;
use crate::immich::tables::StagedTable;

/// What Immich's tables, indexes and functions take from extensions: schema (where it says
/// something), name, extension.
const PROVIDED: [(Option<&str>, &str, &str); 8] = [
    (Some("vectors"), "vector", "vectors"),
    (None, "vector", "vector"),
    (None, "uuid_generate_v4", "uuid-ossp"),
    (None, "gin_trgm_ops", "pg_trgm"),
    (None, "unaccent", "unaccent"),
    (None, "ll_to_earth", "earthdistance"),
    (None, "earth", "earthdistance"),
    (None, "cube", "cube"),
];

/// Names that a dump may create before they are no longer told apart; bounds what a hostile one can
/// ask for.
const MOST: usize = 100_000;

/// What the dump has created so far.
#[derive(Debug, Default)]
pub struct CreatedObjects {
    /// Tables, types and functions, without their schema.
    created: BTreeSet<String>,
}

impl CreatedObjects {
    /// Takes note of what `statement`, a `CREATE`, makes; says what it uses that nothing makes,
    /// given the `extensions` so far.
    pub fn create(&mut self, statement: &Statement, has: impl Fn(&str) -> bool) -> Option<String> {
        let kind = ["TABLE", "UNLOGGED TABLE", "FUNCTION", "TYPE", "DOMAIN"]
            .iter()
            .find(|kind| statement.has_at(1, kind));
        if let Some(kind) = kind.filter(|_| self.created.len() < MOST) {
            let at = 1 + kind.split(' ').count();
            let name = if statement.is(at + 1, ".") { at + 2 } else { at };
            self.created.extend(statement.name(name));
        }
        if kind.is_none() && !statement.has_at(1, "INDEX") {
            return None;
        }
        (2..statement.len()).filter(|&at| statement.is(at - 1, ".")).find_map(|at| {
            let (schema, name) = (statement.name(at - 2)?, statement.name(at)?);
            let fits = |of: &Option<&str>| of.is_none_or(|of| of == schema);
            let (_, _, extension) =
                PROVIDED.iter().find(|(of, provided, _)| fits(of) && *provided == name)?;
            (!has(extension) && !self.created.contains(&name)).then(|| {
                format!(
                    "it uses {name} of the extension {extension}, and nothing in the dump creates \
                        that: it is a part of the database (pg_dump --schema, --exclude-extension)"
                )
            })
        })
    }

    /// Why rows have nowhere to go.
    pub fn rows(&self, header: &CopyHeader) -> Option<String> {
        let is_immichs = header.schema == "public" && StagedTable::find(&header.table).is_some();
        (is_immichs && !self.created.contains(&header.table)).then(|| {
            format!(
                "there are rows for table {}, and nothing creates the table: the dump is a part of \
                    the database (pg_dump --data-only, --section)",
                header.table
            )
        })
    }
}
