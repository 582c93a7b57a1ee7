//! What becomes of each statement: kept, changed, left out, or refused.
//!
//! The list of what passes is that of pg_dump 13 to 18 for one database
//! (`src/bin/pg_dump/pg_dump.c`), without what could reach beyond the database: other languages
//! than SQL and PL/pgSQL, foreign servers, subscriptions, event triggers.
//!
//! Limit: a function's body is not understood. The direct forms of running a program are refused;
//! SQL that a function puts together while it runs is the server's business, as in every restore.

use std::collections::BTreeSet;

use super::change::FitReason;
use super::column::SplitTable;
use super::extension::DumpExtensions;
use super::foreign::ForeignObjects;
use super::needs::CreatedObjects;
use super::role;
use super::statement::Statement;
use super::target::FitTarget;
use super::token::TokenKind;
use crate::immich::encoding::DumpEncoding;

/// What becomes of a statement.
#[derive(Debug)]
pub enum StatementFate {
    Keep,
    Change(String, FitReason),
    Omit(FitReason),
    /// Left out since it is not Immich's.
    Apart(FitReason),
    /// A table of Immich's without columns that are not.
    Split(SplitTable, FitReason),
    Refuse(String),
}

pub(super) const CREATED: [&str; 21] = [
    "SCHEMA",
    "TYPE",
    "DOMAIN",
    "FUNCTION",
    "PROCEDURE",
    "AGGREGATE",
    "OPERATOR",
    "CAST",
    "COLLATION",
    "TABLE",
    "UNLOGGED TABLE",
    "VIEW",
    "OR REPLACE VIEW",
    "MATERIALIZED VIEW",
    "SEQUENCE",
    "INDEX",
    "UNIQUE INDEX",
    "TRIGGER",
    "CONSTRAINT TRIGGER",
    "STATISTICS",
    "RULE",
];
pub(super) const CREATED_RARELY: [&str; 4] =
    ["POLICY", "PUBLICATION", "TEXT SEARCH", "UNLOGGED SEQUENCE"];
const ALTERED: [&str; 20] = [
    "SCHEMA",
    "TYPE",
    "DOMAIN",
    "FUNCTION",
    "PROCEDURE",
    "AGGREGATE",
    "OPERATOR",
    "COLLATION",
    "TABLE",
    "VIEW",
    "MATERIALIZED VIEW",
    "SEQUENCE",
    "INDEX",
    "STATISTICS",
    "PUBLICATION",
    "TEXT SEARCH",
    "LARGE OBJECT",
    "DEFAULT PRIVILEGES",
    "EXTENSION",
    "POLICY",
];
/// Functions that pg_dump calls, with literals only.
const CALLED: [&str; 4] = ["setval", "lo_create", "lo_open", "lowrite"];

/// Bounds what a hostile dump can ask for.
const MAX_OWNERS: usize = 1000;

/// The rules' view of the dump so far.
pub struct FitRules<'a> {
    target: &'a FitTarget,
    pub extensions: DumpExtensions<'a>,
    pub needs: CreatedObjects,
    pub foreign: ForeignObjects,
    /// Owners of what the dump holds.
    owners: BTreeSet<String>,
}

impl<'a> FitRules<'a> {
    pub fn new(target: &'a FitTarget) -> Self {
        FitRules {
            target,
            extensions: DumpExtensions::new(target),
            needs: CreatedObjects::default(),
            foreign: ForeignObjects::default(),
            owners: BTreeSet::new(),
        }
    }

    /// What becomes of `statement`, which belongs to the database that is restored.
    pub fn judge(&mut self, statement: &Statement) -> StatementFate {
        if statement.begins("DROP") || is_drop(statement) {
            return dropped();
        }
        if let Some(reason) = self.foreign.judge(statement).filter(|_| !self.target.foreign) {
            return StatementFate::Apart(reason);
        }
        match statement.word(0).to_ascii_uppercase().as_str() {
            "SET" => self.set(statement),
            "SELECT" => select(statement),
            "CREATE" => self.create(statement),
            "ALTER" => self.alter(statement),
            "COMMENT" => comment(statement),
            "GRANT" | "REVOKE" => {
                role::privilege(statement, self.target, &self.extensions, &self.owners)
            }
            "SECURITY" if statement.begins("SECURITY LABEL") => StatementFate::Omit(
                FitReason::new("SECURITY LABEL left out", "it belongs to another server's modules"),
            ),
            "REFRESH" if statement.begins("REFRESH MATERIALIZED VIEW") => StatementFate::Keep,
            "UPDATE" if statement.begins("UPDATE pg_catalog . pg_database") => database(),
            "BEGIN" | "COMMIT" if statement.len() == 1 => StatementFate::Omit(FitReason::new(
                "BEGIN and COMMIT left out",
                "all of it is one transaction",
            )),
            _ => foreign(statement),
        }
    }

    fn set(&self, statement: &Statement) -> StatementFate {
        if statement.begins("SET SESSION AUTHORIZATION") {
            return StatementFate::Omit(role::owner_reason(self.target));
        }
        let (Some(name), true) = (statement.name(1), statement.is(2, "=") && statement.len() == 4)
        else {
            return foreign(statement);
        };
        let value = statement.word(3);
        match (name.as_str(), value) {
            ("standard_conforming_strings", "on") | ("client_encoding", "'UTF8'") => {
                StatementFate::Keep
            }
            ("standard_conforming_strings", "off") => StatementFate::Change(
                "SET standard_conforming_strings = on;\n".to_owned(),
                FitReason::new(
                    "strings with a backslash are written with an E",
                    "the database had standard_conforming_strings off",
                ),
            ),
            ("client_encoding", name) if DumpEncoding::named(name).is_some() => {
                StatementFate::Change(
                    "SET client_encoding = 'UTF8';\n".to_owned(),
                    FitReason::new(
                        "all text is brought into UTF-8",
                        format!("the dump is written in {name}"),
                    ),
                )
            }
            ("standard_conforming_strings" | "client_encoding", _) => {
                StatementFate::Refuse(format!(
                    "the dump sets {name} to {value}; only PostgreSQL's default can be read safely"
                ))
            }
            ("default_tablespace", value) if value != "''" => StatementFate::Omit(FitReason::new(
                "tablespaces left out",
                "the other server has its own disks",
            )),
            ("default_with_oids", _) => StatementFate::Omit(FitReason::new(
                "SET default_with_oids left out",
                "PostgreSQL knows it no more since version 12",
            )),
            ("default_transaction_read_only", _) => StatementFate::Keep,
            (name, _) if self.target.settings.contains(name) && is_dumps_own(name) => {
                StatementFate::Keep
            }
            (name, _) if is_dumps_own(name) => StatementFate::Omit(FitReason::new(
                format!("SET {name} left out"),
                self.unknown_setting(),
            )),
            _ => foreign(statement),
        }
    }

    fn unknown_setting(&self) -> String {
        match self.target.major {
            Some(major) => format!("PostgreSQL {major} does not know it"),
            None => "older servers do not know it".to_owned(),
        }
    }

    fn create(&mut self, statement: &Statement) -> StatementFate {
        if statement.begins("CREATE DATABASE") {
            return database();
        }
        if statement.begins("CREATE EXTENSION") {
            let fate = self.extensions.create(statement);
            let schema = statement.find("WITH SCHEMA").and_then(|at| statement.name(at + 2));
            let name = statement.name(if statement.has_at(2, "IF NOT EXISTS") { 5 } else { 2 });
            let schema = schema.unwrap_or_else(|| "public".to_owned());
            self.foreign.extension(
                &name.unwrap_or_default(),
                schema,
                matches!(fate, StatementFate::Keep),
            );
            return fate;
        }
        if statement.begins("CREATE SCHEMA public") && statement.len() == 3 {
            let why = "every database has that schema already";
            return StatementFate::Change(
                "CREATE SCHEMA IF NOT EXISTS public;\n".to_owned(),
                FitReason::new("CREATE SCHEMA public made harmless", why),
            );
        }
        if statement.begins("CREATE SCHEMA") && statement.len() == 3 {
            let why = "it already exists where an extension uses it";
            return StatementFate::Change(
                format!("CREATE SCHEMA IF NOT EXISTS {};\n", statement.word(2)),
                FitReason::new("schemas are made unless they are there", why),
            );
        }
        if !self.target.foreign
            && !CREATED.iter().chain(&CREATED_RARELY).any(|kind| statement.has_at(1, kind))
        {
            return foreign(statement);
        }
        if let Some(reason) = function_reason(statement).filter(|_| !self.target.foreign) {
            return StatementFate::Refuse(reason);
        }
        if let Some(reason) =
            self.needs.create(statement, |name| self.extensions.found.contains_key(name))
        {
            return StatementFate::Refuse(reason);
        }
        match self.extensions.create_other(statement) {
            StatementFate::Keep if !self.target.foreign => self
                .foreign
                .split(statement)
                .map_or(StatementFate::Keep, |(split, reason)| StatementFate::Split(split, reason)),
            fate => fate,
        }
    }

    fn alter(&mut self, statement: &Statement) -> StatementFate {
        let is_of_role = statement.begins("ALTER ROLE") && statement.find("IN DATABASE").is_some();
        if statement.begins("ALTER DATABASE") || is_of_role {
            return database();
        }
        if statement.begins("ALTER DEFAULT PRIVILEGES") {
            return role::privilege(statement, self.target, &self.extensions, &self.owners);
        }
        if !self.target.foreign && !ALTERED.iter().any(|kind| statement.has_at(1, kind)) {
            return foreign(statement);
        }
        if statement.begins("ALTER SCHEMA public OWNER TO") {
            let why = "it belongs to the owner of the database";
            return StatementFate::Omit(FitReason::new(
                "the owner of schema public left alone",
                why,
            ));
        }
        if let Some(fate) = self.extensions.alter(statement) {
            return fate;
        }
        match role::owner(statement) {
            Some(owner) => {
                if self.owners.len() < MAX_OWNERS {
                    self.owners.insert(owner);
                }
                if self.target.with_roles {
                    StatementFate::Keep
                } else {
                    StatementFate::Omit(role::owner_reason(self.target))
                }
            }
            None => StatementFate::Keep,
        }
    }
}

/// True for the settings that pg_dump writes.
fn is_dumps_own(name: &str) -> bool {
    FitTarget::file().settings.contains(name)
        || matches!(name, "transaction_timeout" | "default_transaction_read_only")
}

fn dropped() -> StatementFate {
    StatementFate::Omit(FitReason::new(
        "DROP left out",
        "nothing of Immich is there before the restore begins",
    ))
}

/// True for what `pg_dump --clean` writes before its DROP statements.
fn is_drop(statement: &Statement) -> bool {
    let taken = ["DROP CONSTRAINT", "DROP DEFAULT", "DISABLE ROW LEVEL SECURITY"];
    let of = ["ALTER TABLE", "ALTER DOMAIN", "ALTER MATERIALIZED VIEW", "ALTER VIEW"];
    of.iter().any(|kind| statement.begins(kind))
        && taken.iter().any(|phrase| statement.find(phrase).is_some())
}

fn database() -> StatementFate {
    StatementFate::Omit(FitReason::new(
        "the database's own settings left alone",
        "it is there, or made with the server's own defaults; Immich sets what it needs",
    ))
}

fn foreign(statement: &Statement) -> StatementFate {
    let words: Vec<_> = (0..3)
        .take_while(|&at| statement.kind(at) == Some(TokenKind::Word))
        .map(|at| statement.word(at))
        .collect();
    StatementFate::Refuse(format!(
        "a statement that is not for a database of Immich: {}",
        words.join(" ")
    ))
}

fn select(statement: &Statement) -> StatementFate {
    if statement.begins("SELECT pg_catalog . set_config (") {
        return match (statement.word(5), statement.word(7), statement.word(9), statement.len()) {
            // As the dump was made, as Immich's manual has it changed, and as `emit` writes it.
            ("'search_path'", "''", "false", 11)
            | ("'search_path'", "'public, pg_catalog'", "true", 11) => StatementFate::Change(
                "SELECT pg_catalog.set_config('search_path', 'public, pg_catalog', true);\n"
                    .to_owned(),
                FitReason::new(
                    "search_path set to public, pg_catalog",
                    "functions of earthdistance find their types no other way (as Immich's manual \
                        has it)",
                ),
            ),
            _ => foreign(statement),
        };
    }
    let statistics = ["pg_restore_relation_stats", "pg_restore_attribute_stats"];
    if statistics
        .iter()
        .any(|name| statement.begins(&format!("SELECT * FROM pg_catalog . {name} (")))
    {
        return StatementFate::Omit(FitReason::new(
            "statistics left out",
            "the server gathers its own",
        ));
    }
    let called =
        CALLED.iter().any(|name| statement.begins(&format!("SELECT pg_catalog . {name} (")));
    let close = called || statement.begins("SELECT pg_catalog . lo_close (");
    let literal = |at: usize| match statement.kind(at) {
        Some(TokenKind::Text | TokenKind::Number) => true,
        Some(TokenKind::Symbol) => matches!(statement.word(at), "," | "-"),
        _ => statement.is(at, "true") || statement.is(at, "false"),
    };
    let last = statement.len() - 1;
    if close && statement.is(last, ")") && (5..last).all(literal) {
        StatementFate::Keep
    } else {
        foreign(statement)
    }
}

fn comment(statement: &Statement) -> StatementFate {
    if statement.begins("COMMENT ON DATABASE") {
        return database();
    }
    if statement.begins("COMMENT ON EXTENSION") {
        return StatementFate::Omit(FitReason::new(
            "comments on extensions left out",
            "each extension brings its own",
        ));
    }
    if statement.begins("COMMENT ON SCHEMA public") {
        return StatementFate::Omit(FitReason::new(
            "the comment on schema public left out",
            "only its owner may set it",
        ));
    }
    if statement.begins("COMMENT ON") { StatementFate::Keep } else { foreign(statement) }
}

/// Why a function of the dump is refused.
fn function_reason(statement: &Statement) -> Option<String> {
    if !["FUNCTION", "PROCEDURE"].iter().any(|kind| statement.has_at(1, kind)) {
        return None;
    }
    let language = statement.find("LANGUAGE").and_then(|at| statement.name(at + 1))?;
    if !["sql", "plpgsql"].contains(&language.as_str()) {
        return Some(format!(
            "a function in the language {language}: it could do anything on the server"
        ));
    }
    let body = (0..statement.len())
        .filter(|&at| matches!(statement.kind(at), Some(TokenKind::Text | TokenKind::Dollar)));
    let runs = |text: &str| {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words: Vec<_> =
            words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
        words
            .iter()
            .position(|word| word == "copy")
            .is_some_and(|at| words[at..].iter().any(|word| word == "program"))
    };
    body.into_iter()
        .any(|at| runs(statement.word(at)))
        .then(|| "a function that would run a program on the server (COPY … PROGRAM)".to_owned())
}
