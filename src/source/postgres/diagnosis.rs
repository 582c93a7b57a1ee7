//! Why a server refused a client: asked, and not read from its words, which are in the server's own
//! language.
//!
//! libpq hands on no SQLSTATE of a connection that failed. So `pg_isready`, which knows it, says
//! whether the server is only starting, and another database of the server whether the one that is
//! meant is there.
//!
//! Limit: who is let in nowhere cannot ask; what the server said then stands under a general
//! message.

use std::path::Path;
use std::process::Stdio;

use super::command::{self, ClientCommand};
use super::failure::ClientFailure;
use super::{DatabaseAccess, ServerPlace, psql};
use crate::base::{Error, Result};

/// Databases that every server has.
pub(super) const ALWAYS_THERE: [&str; 2] = ["postgres", "template1"];
/// How `pg_isready` ends where the server answers that nobody can connect now (PostgreSQL manual,
/// pg_isready).
const REJECTS: i32 = 1;

/// What is not readable, as a query names it and as a person reads it.
const UNREADABLE: &str = "SET search_path = pg_catalog;
SELECT CASE nspname WHEN 'pg_catalog' THEN '' ELSE quote_ident(nspname) || '.' END || \
quote_ident(relname),
  CASE relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || relname
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'm', 'S') AND (nspname !~ '^pg_' OR relname = 'pg_authid') AND nspname \
<> 'information_schema'
  AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
ORDER BY length(relname) DESC LIMIT 10000;\n";

/// Who holds a lock in which a dump cannot read: the table as a query names it and as a person
/// reads it, the process, and what is known of it. Not its statement, which has words of the
/// library in it.
const BLOCKING: &str = "SET search_path = pg_catalog;
SELECT quote_ident(nspname) || '.' || quote_ident(relname), relname, pid, concat_ws(', ', \
nullif(application_name, ''), 'user ' || usename,
  state || ' since ' || to_char(state_change AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'))
FROM pg_locks l JOIN pg_class c ON c.oid = relation JOIN pg_namespace n ON n.oid = relnamespace \
JOIN pg_stat_activity a USING (pid)
WHERE l.mode = 'AccessExclusiveLock' AND granted AND l.database = (SELECT oid FROM pg_database \
WHERE datname = current_database())
ORDER BY length(relname) DESC LIMIT 10000;\n";

/// What a server has against a client.
#[derive(Debug)]
pub(super) enum ServerRefusal {
    /// It starts or stops: SQLSTATE 57P03.
    NotNow,
    /// It has no database `name`; `other` is one that it has.
    NoDatabase { name: String, other: DatabaseAccess },
    /// Another session holds a lock on `table`.
    Blocked { table: String, pid: String, who: String },
    /// The user may not read this.
    Unreadable(String),
}

/// Asks for the reason of `failure`; `None` where it is another, or nobody answers.
pub(super) fn diagnose(access: &DatabaseAccess, failure: &ClientFailure) -> Option<ServerRefusal> {
    if let Some(query) = failure.query() {
        return blocked(access, query)
            .or_else(|| unreadable(access, query).map(ServerRefusal::Unreadable));
    }
    if !failure.was_turned_away() {
        return None;
    }
    if rejects(access) { Some(ServerRefusal::NotNow) } else { missing(access) }
}

/// The error of `failure`, with its reason if that can be found out.
pub(super) fn explain(access: &DatabaseAccess, failure: ClientFailure) -> Error {
    let (message, hint) = match diagnose(access, &failure) {
        None => return failure.into_error(),
        Some(ServerRefusal::NotNow) => {
            ("the database server is just starting or stopping".to_owned(), "try again in a minute")
        }
        Some(ServerRefusal::Blocked { table, pid, who }) => {
            let message = format!("another session holds a lock on table {table}");
            let hint = format!(
                "it is process {pid} of the database server ({who}); try again when it is done, or \
                    end it: `SELECT pg_terminate_backend({pid})`"
            );
            return failure.told(message, hint);
        }
        Some(ServerRefusal::NoDatabase { name, .. }) => (
            format!("database {name} does not exist on the server"),
            "name it with `--database-name` (DB_DATABASE_NAME in Immich's .env file, usually \
                immich)",
        ),
        Some(ServerRefusal::Unreadable(what)) if what.ends_with("pg_authid") => (
            format!("the database user may not read {what}"),
            "`pg_dumpall` needs a superuser; `pg_dump` of the one database does not",
        ),
        Some(ServerRefusal::Unreadable(what)) => (
            format!("the database user may not read {what}"),
            "dump as the user that Immich itself uses (DB_USERNAME in its .env file)",
        ),
    };
    failure.told(message, hint)
}

fn rejects(access: &DatabaseAccess) -> bool {
    let ready = command::of(access, "pg_isready", &["--quiet"], true);
    let ended = ready.and_then(|mut command| run(&mut command));
    ended.is_ok_and(|output| output.status.code() == Some(REJECTS))
}

fn run(command: &mut std::process::Command) -> Result<std::process::Output> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::io("asking the database server", error))
}

/// The database that is meant, if the server says that it has none of that name.
fn missing(access: &DatabaseAccess) -> Option<ServerRefusal> {
    let name = meant(access)?;
    let sql = format!(
        "SELECT count(*) FROM pg_catalog.pg_database WHERE datname = '{}';\n",
        name.replace('\'', "''")
    );
    ALWAYS_THERE.iter().map(|other| access.at(other)).find_map(|other| {
        let answer = psql::ask_leniently(&other, &sql).ok()?.ok()?;
        (answer.text.trim() == "0").then(|| ServerRefusal::NoDatabase { name: name.clone(), other })
    })
}

/// The database that clients ask for; `None` where only libpq or the container knows, and does not
/// say.
fn meant(access: &DatabaseAccess) -> Option<String> {
    match &access.server {
        ServerPlace::Docker { container, docker } => {
            let client = ClientCommand {
                program: Path::new("sh"),
                flags: &["-c", "printf %s \"$PGDATABASE\""],
            };
            let output =
                run(&mut command::in_container(access, container, docker, client, false).ok()?)
                    .ok()?;
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
                .filter(|name| !name.is_empty())
        }
        ServerPlace::Url(_) | ServerPlace::Environment => command::database(access),
        ServerPlace::Private(_) => access.database.clone(),
    }
}

fn blocked(access: &DatabaseAccess, query: &str) -> Option<ServerRefusal> {
    if !query.trim_start().starts_with("LOCK TABLE ") {
        return None;
    }
    let answer = psql::ask_leniently(access, BLOCKING).ok()?.ok()?;
    let mut rows = answer.text.lines().filter_map(|row| {
        let mut fields = row.splitn(4, '|');
        Some((fields.next()?, fields.next()?, fields.next()?, fields.next()?))
    });
    let (_, table, pid, who) = rows.find(|(name, ..)| query.contains(name))?;
    Some(ServerRefusal::Blocked {
        table: table.to_owned(),
        pid: pid.to_owned(),
        who: who.to_owned(),
    })
}

fn unreadable(access: &DatabaseAccess, query: &str) -> Option<String> {
    let answer = psql::ask_leniently(access, UNREADABLE).ok()?.ok()?;
    let rows = answer.text.lines().filter_map(|row| row.rsplit_once('|'));
    rows.into_iter().find(|(name, _)| query.contains(name)).map(|(_, what)| what.to_owned())
}
