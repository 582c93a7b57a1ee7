//! What a dump is fitted to: a server as it was found, or a file that any server may be given.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::UniqueKeys;

/// Where the dump goes.
#[derive(Debug, Clone, Default)]
pub struct FitTarget {
    /// Major version; `None` for a file.
    pub major: Option<u32>,
    /// Who owns what is made; `None` for a file: whoever loads it.
    pub user: Option<String>,
    /// Names of the settings that it knows.
    pub settings: BTreeSet<String>,
    /// Extensions that can be created, with their version; `None` for a file.
    pub extensions: Option<BTreeMap<String, String>>,
    /// `shared_preload_libraries`, where the user may see it.
    pub preloaded: Option<String>,
    pub roles: BTreeSet<String>,
    /// Create the roles of a cluster dump that are not there, and leave everything with its owner.
    pub with_roles: bool,
    /// Keep what is not Immich's.
    pub foreign: bool,
    /// Hold back rows that have one of these keys a second time.
    pub keys: Option<UniqueKeys>,
}

/// What pg_dump sets and PostgreSQL 14, the oldest server that Immich runs on, knows.
const KNOWN_EVERYWHERE: [&str; 14] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "client_encoding",
    "standard_conforming_strings",
    "check_function_bodies",
    "xmloption",
    "client_min_messages",
    "row_security",
    "default_tablespace",
    "default_table_access_method",
    "default_toast_compression",
    "escape_string_warning",
];

impl FitTarget {
    /// A file for a server that is not known.
    pub fn file() -> FitTarget {
        FitTarget { settings: KNOWN_EVERYWHERE.map(str::to_owned).into(), ..FitTarget::default() }
    }

    /// True unless the server has no extension `name`.
    pub fn offers(&self, name: &str) -> bool {
        match &self.extensions {
            Some(extensions) => extensions.contains_key(name),
            // Immich 3 knows no pgvecto.rs any more, so a file does without.
            None => name != "vectors",
        }
    }

    /// True unless `library` is known to be missing in `shared_preload_libraries`.
    pub fn preloads(&self, library: &str) -> bool {
        self.preloaded.as_ref().is_none_or(|list| list.contains(library))
    }
}
