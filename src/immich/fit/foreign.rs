//! What is not Immich's in its database: left out with its rows (and kept apart),
//! since it would stop the restore of all the rest.
//!
//! Two kinds. What no Immich ever makes (event triggers, foreign servers and tables, subscriptions,
//! …), by its kind; and what belongs to an extension that Immich does not need: all in a schema
//! that nothing in the dump creates, tables with columns of its types, and whatever names one of
//! these again. A table of Immich's is never left out; a column of it may be ([`super::column`]).
//!
//! Limit: told by names. An index or a function that needs a left-out extension in another way is
//! kept, and the server refuses it.

use std::collections::BTreeSet;

use super::change::FitReason;
use super::column::{RemovedColumns, SplitTable};
use super::statement::Statement;
use super::token::TokenKind;
use crate::immich::copy::CopyHeader;
use crate::immich::tables::StagedTable;

/// Kinds of objects that Immich never makes, as they stand after CREATE, ALTER, COMMENT ON or GRANT
/// … ON.
pub(super) const KINDS: [&str; 19] = [
    "EVENT TRIGGER",
    "FOREIGN TABLE",
    "FOREIGN DATA WRAPPER",
    "FOREIGN SERVER",
    "SERVER",
    "USER MAPPING",
    "SUBSCRIPTION",
    "PUBLICATION",
    "CONVERSION",
    "DEFAULT CONVERSION",
    "ACCESS METHOD",
    "TRANSFORM",
    "LANGUAGE",
    "TRUSTED LANGUAGE",
    "PROCEDURAL LANGUAGE",
    "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE",
    "OPERATOR FAMILY",
    "OPERATOR CLASS",
];
/// Those of them that lie in a schema, and that other objects name.
const NAMED: [&str; 5] = [
    "FOREIGN TABLE",
    "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE",
    "OPERATOR FAMILY",
    "OPERATOR CLASS",
];
const ALWAYS_THERE: [&str; 4] = ["public", "pg_catalog", "information_schema", "vectors"];
/// Types of the extensions that Immich needs.
const TYPES: [&str; 12] = [
    "vector",
    "halfvec",
    "sparsevec",
    "cube",
    "earth",
    "gtrgm",
    "sphere_vector",
    "sphere_halfvec",
    "scalar8",
    "rabitq4",
    "rabitq8",
    "bit",
];
/// Types of the extensions that are made where the server offers them.
const TYPES_OF_OTHERS: [(&str, &str); 15] = [
    ("citext", "citext"),
    ("hstore", "hstore"),
    ("intarray", "query_int"),
    ("isn", "ean13"),
    ("isn", "isbn13"),
    ("isn", "isbn"),
    ("isn", "ismn13"),
    ("isn", "ismn"),
    ("isn", "issn13"),
    ("isn", "issn"),
    ("isn", "upc"),
    ("ltree", "lquery"),
    ("ltree", "ltree"),
    ("ltree", "ltxtquery"),
    ("seg", "seg"),
];
/// Settings that only a superuser may set (`context` superuser in `pg_settings`) and that a
/// function can have.
const POWERFUL: [&str; 24] = [
    "backtrace_functions",
    "commit_delay",
    "deadlock_timeout",
    "dynamic_library_path",
    "ignore_checksum_failure",
    "jit_provider",
    "lc_messages",
    "lo_compat_privileges",
    "log_duration",
    "log_error_verbosity",
    "log_lock_waits",
    "log_min_duration_statement",
    "log_min_error_statement",
    "log_min_messages",
    "log_replication_commands",
    "log_statement",
    "log_temp_files",
    "max_stack_depth",
    "session_preload_libraries",
    "session_replication_role",
    "temp_file_limit",
    "track_activities",
    "track_functions",
    "zero_damaged_pages",
];
/// Lists of stop words that every PostgreSQL brings.
const STOP_WORDS: [&str; 15] = [
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "hungarian",
    "italian",
    "nepali",
    "norwegian",
    "portuguese",
    "russian",
    "spanish",
    "swedish",
    "turkish",
];
/// Bounds what a hostile dump can ask for.
const MOST: usize = 100_000;

/// An object's schema and name.
type ObjectName = (String, String);

/// What of the dump is not Immich's, so far.
#[derive(Debug, Default)]
pub struct ForeignObjects {
    schemas: BTreeSet<String>,
    /// Types that the dump makes.
    types: BTreeSet<ObjectName>,
    /// Schemas of the extensions that were left out.
    without: BTreeSet<String>,
    gone: BTreeSet<ObjectName>,
    /// Columns that were taken out of Immich's tables.
    pub columns: RemovedColumns,
}

impl ForeignObjects {
    /// Why `statement` is left out, if it is.
    pub fn judge(&mut self, statement: &Statement) -> Option<FitReason> {
        if statement.begins("CREATE SCHEMA") && self.schemas.len() < MOST {
            self.schemas.extend(statement.name(2));
        }
        let object = pairs(statement).next();
        if is_of_a_kind(statement) {
            self.lose(object.filter(|_| NAMED.iter().any(|kind| statement.has_at(1, kind))));
            return Some(reason(
                "what Immich never makes left out (event triggers, foreign servers, subscriptions, \
                    …)",
            ));
        }
        let creates = statement.begins("CREATE");
        let called = setval(statement);
        let of_others =
            called.as_ref().or(object.as_ref()).is_some_and(|name| self.is_of_others(name));
        let uses = pairs(statement).any(|name| self.gone.contains(&name))
            || self.has_column(statement, object.as_ref())
            || self.columns.are_used(statement, pairs(statement));
        let in_language = creates && language(statement).is_some();
        if creates && needs_power(statement) {
            self.lose(object);
            return Some(reason("functions with settings that only a superuser may set left out"));
        }
        if creates && needs_file(statement) {
            self.lose(object);
            return Some(reason("dictionaries with files of another server left out"));
        }
        if of_others || uses || in_language {
            self.lose(object.filter(|_| creates));
            return Some(match language(statement).filter(|_| in_language) {
                Some(language) => reason(&format!("functions in the language {language} left out")),
                None => reason("what belongs to extensions of others left out, with its rows"),
            });
        }
        if creates
            && ["TYPE", "DOMAIN", "TABLE"].iter().any(|kind| statement.has_at(1, kind))
            && self.types.len() < MOST
        {
            self.types.extend(object);
        }
        None
    }

    /// An extension in `schema` was left out, or one that is kept may be in a schema of its own.
    pub fn extension(&mut self, name: &str, schema: String, kept: bool) {
        if kept {
            let types = TYPES_OF_OTHERS.iter().filter(|(extension, _)| *extension == name);
            self.types.extend(types.map(|(_, kind)| (schema.clone(), (*kind).to_owned())));
            self.schemas.insert(schema)
        } else {
            self.without.insert(schema)
        };
    }

    /// True if the rows of a table are left out.
    pub fn has_rows(&self, header: &CopyHeader) -> bool {
        let name = (header.schema.clone(), header.table.clone());
        self.gone.contains(&name) || self.is_of_others(&name)
    }

    fn lose(&mut self, object: Option<ObjectName>) {
        if self.gone.len() < MOST {
            self.gone.extend(object.filter(|name| !is_immichs(name)));
        }
    }

    fn is_of_others(&self, name: &ObjectName) -> bool {
        !ALWAYS_THERE.contains(&name.0.as_str()) && !self.schemas.contains(&name.0)
    }

    /// True for a table of others that has a column of a left-out extension's type.
    fn has_column(&self, statement: &Statement, table: Option<&ObjectName>) -> bool {
        !table.is_some_and(is_immichs) && !self.typed(statement).is_empty()
    }

    /// A table of Immich's with columns of a left-out extension's type, without them.
    pub fn split(&mut self, statement: &Statement) -> Option<(SplitTable, FitReason)> {
        let table = pairs(statement).next().filter(is_immichs)?;
        let typed = self.typed(statement);
        let split = self.columns.split(statement, table, &typed).filter(|_| !typed.is_empty())?;
        Some((split, reason("columns of extensions of others left out of Immich's tables")))
    }

    /// The tokens of a table's columns whose type is a left-out extension's.
    fn typed(&self, statement: &Statement) -> BTreeSet<usize> {
        let is_table =
            statement.begins("CREATE TABLE") || statement.begins("CREATE UNLOGGED TABLE");
        if !is_table || self.without.is_empty() {
            return BTreeSet::new();
        }
        let begins = |at: usize| statement.is(at, "(") || statement.is(at, ",");
        let is_typed = |at: &usize| {
            let pair = || Some((statement.name(*at)?, statement.name(at + 2)?));
            begins(at - 2)
                && statement.is(at + 1, ".")
                && pair().is_some_and(|name| {
                    self.without.contains(&name.0)
                        && !self.types.contains(&name)
                        && !TYPES.contains(&name.1.as_str())
                })
        };
        (2..statement.len()).filter(is_typed).map(|at| at - 1).collect()
    }
}

fn is_immichs(name: &ObjectName) -> bool {
    name.0 == "public" && StagedTable::find(&name.1).is_some()
}

fn reason(what: &str) -> FitReason {
    FitReason::new(
        what,
        "it is not Immich's: it is kept in a file; --with-foreign-objects loads it",
    )
}

fn is_of_a_kind(statement: &Statement) -> bool {
    let at = match statement.word(0).to_ascii_uppercase().as_str() {
        "CREATE" if statement.has_at(1, "OR REPLACE") => 3,
        "CREATE" | "ALTER" => 1,
        "COMMENT" => 2,
        "GRANT" | "REVOKE" => match statement.find("ON") {
            Some(at) => at + 1,
            None => return false,
        },
        _ => return false,
    };
    KINDS.iter().any(|kind| statement.has_at(at, kind))
}

/// The language of a function, if it is one that runs with power.
fn language(statement: &Statement) -> Option<String> {
    if !["FUNCTION", "PROCEDURE"].iter().any(|kind| statement.has_at(1, kind)) {
        return None;
    }
    let language = statement.find("LANGUAGE").and_then(|at| statement.name(at + 1))?;
    (!["sql", "plpgsql"].contains(&language.as_str())).then_some(language)
}

/// True for a function that sets what only a superuser may set.
fn needs_power(statement: &Statement) -> bool {
    let is_function = ["FUNCTION", "PROCEDURE"].iter().any(|kind| statement.has_at(1, kind));
    let sets = |at: usize| {
        statement.is(at, "SET") && POWERFUL.iter().any(|name| statement.is(at + 1, name))
    };
    is_function && (2..statement.len()).any(sets)
}

/// True for a dictionary that reads a file of the server which PostgreSQL does not bring.
fn needs_file(statement: &Statement) -> bool {
    let option = |name: &&str| statement.find(name).filter(|at| statement.is(at + 1, "="));
    let own =
        ["dictfile", "afffile", "synonyms", "rules"].iter().any(|name| option(name).is_some());
    let words = option(&"stopwords").map(|at| statement.word(at + 2).trim_matches('\''));
    statement.begins("CREATE TEXT SEARCH DICTIONARY")
        && (own || words.is_some_and(|words| !STOP_WORDS.contains(&words)))
}

/// Names with a schema, in order.
fn pairs<'a>(statement: &'a Statement) -> impl Iterator<Item = ObjectName> + 'a {
    let pair = |at: usize| {
        let apart = !statement.is(at.wrapping_sub(1), ".");
        (apart && statement.is(at + 1, "."))
            .then(|| Some((statement.name(at)?, statement.name(at + 2)?)))?
    };
    (1..statement.len()).filter_map(pair)
}

/// The sequence that `SELECT pg_catalog.setval('schema.name', …)` means.
fn setval(statement: &Statement) -> Option<ObjectName> {
    let named = statement.begins("SELECT pg_catalog . setval (")
        && statement.kind(5) == Some(TokenKind::Text);
    let (schema, name) = named.then(|| statement.word(5).trim_matches('\''))?.split_once('.')?;
    let plain = |name: &str| name.trim_matches('"').to_owned();
    Some((plain(schema), plain(name)))
}
