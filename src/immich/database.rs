//! One database of a dump: what the scan has found out about it.

use std::collections::{BTreeMap, BTreeSet};

use super::copy;
use super::fit::FitTrial;
use super::staging::StagingFile;
use super::tables::REQUIRED;
use crate::base::Result;

/// One database of the dump.
#[derive(Default)]
pub struct DumpDatabase {
    /// `None` in a dump that does not say.
    pub name: Option<String>,
    /// Rows by table, `public` left out.
    pub rows: BTreeMap<String, u64>,
    pub extensions: BTreeSet<String>,
    pub staging: Option<StagingFile>,
    /// What keeps it from being read as Immich's, with its line.
    pub fault: Option<(u64, String)>,
    pub warnings: Vec<String>,
    /// See [`super::ReadDump::lacks`].
    pub lacks: Vec<String>,
    /// Tables that are not staged in which two rows have one id, with it and their lines.
    pub repeated: Vec<(String, String, u64, u64)>,
    /// What a restore would say of it.
    pub trial: FitTrial,
}

impl DumpDatabase {
    /// True when it has the tables that every Immich has.
    pub fn is_immich(&self) -> bool {
        self.missing().next().is_none()
    }

    /// The newest migration.
    pub fn schema(&self) -> Result<Option<String>> {
        self.staging.as_ref().map_or(Ok(None), StagingFile::schema)
    }

    /// The tables of Immich that it has not.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        REQUIRED
            .into_iter()
            .filter(|table| !self.staging.as_ref().is_some_and(|staging| staging.has(table)))
    }
}

/// The database that a `\connect` line names: bare, quoted, or in a connection string.
///
/// Source: PostgreSQL, `appendPsqlMetaConnect` in `src/fe_utils/string_utils.c`.
pub fn named(target: &str) -> Option<String> {
    match target.strip_prefix("-reuse-previous=on ") {
        None => copy::name(target)
            .filter(|(_, rest)| rest.is_empty())
            .map(|(name, _)| name)
            .or_else(|| dotted(target)),
        Some(connection) => {
            let (connection, _) = copy::name(connection)?;
            let value = connection.strip_prefix("dbname=")?;
            match value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')) {
                None => Some(value.to_owned()),
                Some(quoted) => Some(unquote(quoted)),
            }
        }
    }
}

/// Older tools write names with dots bare.
fn dotted(target: &str) -> Option<String> {
    let bare = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    (!target.is_empty() && target.len() <= 256 && target.chars().all(bare))
        .then(|| target.to_owned())
}

fn unquote(quoted: &str) -> String {
    let mut name = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        name.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_bare_quoted_or_in_a_connection_string() {
        let is = |target, name: &str| assert_eq!(named(target).as_deref(), Some(name), "{target}");
        is("immich", "immich");
        is("\"Immich\"", "Immich");
        is("-reuse-previous=on \"dbname='immich-db'\"", "immich-db");
        is(r#"-reuse-previous=on "dbname='it\'s a ""\\'""#, r#"it's a "\"#);
        is("-reuse-previous=on \"dbname=immich\"", "immich");
        is("immich-db", "immich-db");
        assert_eq!(named(""), None);
        assert_eq!(named("immich postgres localhost"), None);
    }
}
