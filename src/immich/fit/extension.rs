//! Extensions: what the server has, what takes the place of what it has not, and what is missing.
//!
//! Embeddings of pgvecto.rs (`vectors.vector(512)`), which Immich 3 knows no more, are loaded as
//! text, row by row as they are in the dump, and then become `real[]`, from which Immich makes its
//! own type again. Their indexes, and those of VectorChord where the server has it not, are left
//! out: Immich builds them at its next start.

use std::collections::{BTreeMap, BTreeSet};

use super::change::FitReason;
use super::rule::StatementFate;
use super::statement::{Statement, quoted};
use super::target::FitTarget;
use super::token::TokenKind;

/// What Immich cannot do without.
const NEEDED: [&str; 6] = ["cube", "earthdistance", "pg_trgm", "unaccent", "uuid-ossp", "vector"];
/// What any owner of a database may make: PostgreSQL itself calls them trusted (`trusted = true` in
/// their control files, since version 13). Tables and indexes of Immich's may have come to use
/// them, so they are made where the server offers them.
const TRUSTED: [&str; 15] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "dict_int",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "ltree",
    "pgcrypto",
    "seg",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
];
const VECTORS: &str = "vectors";
const VECTORCHORD: &str = "vchord";

/// What the rules know of the dump's extensions so far.
pub struct DumpExtensions<'a> {
    target: &'a FitTarget,
    /// Extensions that the dump needs and the server has not.
    pub missing: BTreeSet<String>,
    /// Extensions of the dump, and the version that the server has.
    pub found: BTreeMap<String, Option<String>>,
    /// Extensions that are created, each with its schema.
    pub created: BTreeMap<String, String>,
    /// Columns that wait to become `real[]`, by quoted table.
    arrays: BTreeMap<String, Vec<String>>,
}

impl<'a> DumpExtensions<'a> {
    pub fn new(target: &'a FitTarget) -> Self {
        DumpExtensions {
            target,
            missing: BTreeSet::new(),
            found: BTreeMap::new(),
            created: BTreeMap::new(),
            arrays: BTreeMap::new(),
        }
    }

    /// `CREATE EXTENSION [IF NOT EXISTS] name …`.
    pub fn create(&mut self, statement: &Statement) -> StatementFate {
        let at = if statement.has_at(2, "IF NOT EXISTS") { 5 } else { 2 };
        let Some(name) = statement.name(at).filter(|name| name.len() < 64) else {
            return StatementFate::Refuse("a CREATE EXTENSION without a name".to_owned());
        };
        let version = self.target.extensions.as_ref().and_then(|known| known.get(&name).cloned());
        if self.found.len() < 1000 {
            self.found.insert(name.clone(), version);
        }
        let is_needed = NEEDED.contains(&name.as_str())
            || [VECTORS, VECTORCHORD, "plpgsql"].contains(&name.as_str());
        if !is_needed && !TRUSTED.contains(&name.as_str()) && !self.target.foreign {
            let why =
                "Immich does not need it: it is kept in a file; --with-foreign-objects loads it";
            return StatementFate::Apart(FitReason::new(format!("extension {name} left out"), why));
        }
        if self.target.offers(&name) {
            if name == VECTORCHORD && !self.target.preloads(VECTORCHORD) {
                self.missing.insert("vchord in shared_preload_libraries".to_owned());
            }
            if self.created.len() < 1000 {
                let schema = statement.find("WITH SCHEMA").and_then(|at| statement.name(at + 2));
                self.created.insert(name, schema.unwrap_or_else(|| "public".to_owned()));
            }
            return StatementFate::Keep;
        }
        match name.as_str() {
            VECTORS => StatementFate::Omit(vectors()),
            VECTORCHORD => StatementFate::Omit(vectorchord()),
            needed if NEEDED.contains(&needed) => {
                self.missing.insert(name);
                StatementFate::Keep
            }
            _ => StatementFate::Apart(FitReason::new(
                format!("extension {name} left out"),
                "the server has it not, and Immich does not need it",
            )),
        }
    }

    /// Any other `CREATE`.
    pub fn create_other(&mut self, statement: &Statement) -> StatementFate {
        if statement.begins("CREATE SCHEMA vectors") && self.lacks(VECTORS) {
            return StatementFate::Omit(vectors());
        }
        let index = statement.begins("CREATE INDEX") || statement.begins("CREATE UNIQUE INDEX");
        if index
            && self.lacks(VECTORCHORD)
            && ["USING vchordrq", "USING vchordg"].iter().any(|by| statement.find(by).is_some())
        {
            return StatementFate::Omit(vectorchord());
        }
        if index
            && self.lacks(VECTORS)
            && ["USING vectors", "vectors ."].iter().any(|by| statement.find(by).is_some())
        {
            return StatementFate::Omit(vectors());
        }
        if statement.has_at(1, "TABLE") || statement.has_at(1, "UNLOGGED TABLE") {
            self.table(statement)
        } else {
            StatementFate::Keep
        }
    }

    /// `CREATE TABLE`: columns of pgvecto.rs become text for now.
    fn table(&mut self, statement: &Statement) -> StatementFate {
        if !self.lacks(VECTORS) {
            return StatementFate::Keep;
        }
        let columns: Vec<_> =
            (1..statement.len()).filter(|&at| statement.has_at(at, "vectors . vector")).collect();
        if columns.is_empty() {
            return StatementFate::Keep;
        }
        let at = if statement.is(1, "TABLE") { 2 } else { 3 };
        let table = match (statement.name(at), statement.name(at + 2)) {
            (Some(schema), Some(table)) => format!("{}.{}", quoted(&schema), quoted(&table)),
            _ => return StatementFate::Refuse("a CREATE TABLE without a name".to_owned()),
        };
        let mut changes = Vec::new();
        for at in columns {
            let Some(column) = statement.name(at - 1) else { continue };
            let sized = statement.is(at + 3, "(")
                && statement.kind(at + 4) == Some(TokenKind::Number)
                && statement.is(at + 5, ")");
            changes.push((at..at + if sized { 6 } else { 3 }, "text".to_owned()));
            self.arrays.entry(table.clone()).or_default().push(quoted(&column));
        }
        StatementFate::Change(statement.with(&changes), vectors())
    }

    /// What follows the rows of a table: its embeddings become arrays.
    pub fn after_rows(&mut self, schema: &str, table: &str) -> Option<String> {
        let table = format!("{}.{}", quoted(schema), quoted(table));
        let columns = self.arrays.remove(&table)?;
        let cast = |column: &String| {
            format!(
                "ALTER COLUMN {column} TYPE real[] USING pg_catalog.translate({column}, '[]', \
                    '{{}}')::real[]"
            )
        };
        Some(format!(
            "ALTER TABLE {table} {};\n",
            columns.iter().map(cast).collect::<Vec<_>>().join(", ")
        ))
    }

    /// `ALTER` of what is left out.
    pub fn alter(&self, statement: &Statement) -> Option<StatementFate> {
        let gone = self.lacks(VECTORS)
            && (statement.begins("ALTER SCHEMA vectors")
                || statement.begins("ALTER EXTENSION vectors"));
        gone.then(|| StatementFate::Omit(vectors()))
    }

    /// Rights on what is left out.
    pub fn privilege(&self, statement: &Statement) -> Option<StatementFate> {
        (self.lacks(VECTORS) && statement.find("ON SCHEMA vectors").is_some())
            .then(|| StatementFate::Omit(vectors()))
    }

    fn lacks(&self, name: &str) -> bool {
        !self.target.offers(name)
    }
}

fn vectors() -> FitReason {
    FitReason::new(
        "embeddings of pgvecto.rs become real[], without their indexes",
        "the server has no extension vectors; Immich turns them into its own type and builds the \
            indexes again",
    )
}

fn vectorchord() -> FitReason {
    FitReason::new(
        "extension vchord and its indexes left out",
        "the server has no VectorChord; Immich builds the indexes again with pgvector",
    )
}
