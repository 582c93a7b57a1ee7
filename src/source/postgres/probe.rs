//! What a server is like: asked once, before anything is sent to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use uuid::Uuid;

use super::DatabaseAccess;
use super::clients::{ClientWeakness, is_repaired};
use super::diagnosis::{self, ServerRefusal};
use super::failure::ClientFailure;
use super::psql::{self, PsqlAnswer};
use crate::base::{Error, ErrorKind, Result};

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(300);

const QUESTION: &str = "SELECT json_build_object(
  'version', current_setting('server_version'),
  'number', current_setting('server_version_num')::int,
  'user', current_user,
  'database', current_database(),
  'encoding', (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = \
  current_database()),
  'may_create', (SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user),
  'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  'installed', (SELECT coalesce(json_agg(extname), '[]') FROM pg_extension),
  'owns', (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()),
  'sessions', (SELECT coalesce(json_agg(s), '[]') FROM (
    SELECT coalesce(nullif(application_name, ''), usename::text) AS application, \
    coalesce(host(client_addr), 'a local socket') AS client, count(*)
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND \
    coalesce(backend_type, 'client backend') = 'client backend'
    GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2) s),
  'preloaded', (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'),
  'extensions', (SELECT coalesce(json_object_agg(name, default_version), '{}') FROM \
  pg_available_extensions),
  'settings', (SELECT coalesce(json_agg(name), '[]') FROM pg_settings),
  'roles', (SELECT coalesce(json_agg(rolname), '[]') FROM pg_roles),
  'tables', (SELECT coalesce(json_agg(tablename), '[]') FROM pg_tables WHERE schemaname = \
  'public'));
";

/// What a server and its database are like.
#[derive(Debug, Clone, Deserialize)]
pub struct ServerProbe {
    /// As the server says it, such as `15.20 (Debian 15.20-0+deb12u1)`.
    pub version: String,
    number: u32,
    pub user: String,
    pub database: String,
    pub encoding: String,
    /// The user may create databases.
    pub may_create: bool,
    pub superuser: bool,
    /// Extensions that the database has.
    pub installed: BTreeSet<String>,
    /// The user has the rights of the database's owner.
    pub owns: bool,
    /// Other clients that are connected to the database.
    pub sessions: Vec<ClientSessions>,
    /// `shared_preload_libraries`, where the user may see it.
    pub preloaded: Option<String>,
    /// Extensions that can be created, and their version.
    pub extensions: BTreeMap<String, Option<String>>,
    pub settings: BTreeSet<String>,
    pub roles: BTreeSet<String>,
    /// Tables in the schema `public`.
    pub tables: BTreeSet<String>,
    /// psql knows `\restrict`.
    #[serde(skip)]
    pub restricts: bool,
    /// The psql that asked, as the number that it has for its version: 150018 is 15.18.
    #[serde(skip)]
    pub client: Option<u32>,
}

/// Clients of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ClientSessions {
    /// As it calls itself, else its user.
    pub application: String,
    /// Its address.
    pub client: String,
    pub count: u64,
}

impl fmt::Display for ClientSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.application, self.client)?;
        if self.count > 1 { write!(f, " ({} times)", self.count) } else { Ok(()) }
    }
}

impl ServerProbe {
    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.number / 10_000
    }

    /// What is known against the psql that would read a dump.
    pub fn weakness(&self) -> Option<ClientWeakness> {
        if !self.restricts {
            return Some(ClientWeakness::Obedient(self.client));
        }
        Some(ClientWeakness::Flawed(self.client)).filter(|_| !self.client.is_some_and(is_repaired))
    }
}

/// What came of knocking at a server.
#[derive(Debug, Clone)]
pub enum ServerReached {
    Database(ServerProbe),
    /// The server is there and the database `name` is not; the probe is of another database.
    NoDatabase {
        name: String,
        probe: ServerProbe,
    },
}

/// Asks the server, for as long as `wait` until it answers; `stopped` ends the waiting.
///
/// What waiting cannot fix, such as a wrong password, is told at once.
pub fn probe(
    access: &DatabaseAccess,
    wait: Duration,
    stopped: &dyn Fn() -> bool,
) -> Result<ServerReached> {
    let started = Instant::now();
    loop {
        let failure = match question(access)? {
            Ok(probe) => return Ok(ServerReached::Database(probe)),
            Err(failure) => failure,
        };
        let refusal = diagnosis::diagnose(access, &failure);
        if let Some(ServerRefusal::NoDatabase { name, other }) = refusal {
            return match question(&other)? {
                Ok(probe) => Ok(ServerReached::NoDatabase { name, probe }),
                Err(failure) => Err(failure.into_error()),
            };
        }
        let may_pass = failure.may_pass() || matches!(refusal, Some(ServerRefusal::NotNow));
        if !may_pass || started.elapsed() >= wait {
            return Err(diagnosis::explain(access, failure));
        }
        if stopped() {
            return Err(Error::new(
                ErrorKind::Interrupted,
                "stopped while waiting for the database",
            ));
        }
        thread::sleep(PAUSE);
    }
}

fn question(access: &DatabaseAccess) -> Result<Result<ServerProbe, ClientFailure>> {
    let key = Uuid::new_v4().simple();
    let sql = format!("\\echo :VERSION_NUM\n\\restrict {key}\n{QUESTION}");
    let PsqlAnswer { text, complaint } = match psql::ask_leniently(access, &sql)? {
        Ok(answer) => answer,
        Err(failure) => return Ok(Err(failure)),
    };
    let (client, text) = text.split_once('\n').unwrap_or_default();
    let mut probe: ServerProbe = serde_json::from_str(text.trim()).map_err(|error| {
        Error::new(ErrorKind::Program, "the database does not report its version and settings")
            .caused_by(if complaint.is_empty() {
                error.to_string()
            } else {
                complaint.trim().to_owned()
            })
    })?;
    probe.client = client.trim().parse().ok();
    probe.restricts = !complaint.contains("invalid command \\restrict");
    Ok(Ok(probe))
}
