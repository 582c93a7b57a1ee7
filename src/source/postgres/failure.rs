//! What a client's complaint means, in one line, and what to do next.
//!
//! The texts are those of PostgreSQL 13 to 18 (`LC_ALL=C`) and of Docker 20 to 28. What is not recognised is told as it
//! came. The server's own words are in its own language; then the general message is all there is.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;

use crate::base::{Error, Kind};

use super::process::Ended;
use super::{DumpRequest, DumpTool, Server};

/// What ran, as the person knows it.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    program: &'static str,
    docker: Option<(String, String)>,
}

impl Subject {
    pub(super) fn of(request: &DumpRequest) -> Self {
        let docker = match &request.server {
            Server::Docker { container, docker } => Some((container.clone(), docker.to_string_lossy().into_owned())),
            Server::Url(_) | Server::Environment => None,
        };
        Subject { program: request.tool.program(), docker }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.docker {
            None => f.write_str(self.program),
            Some((container, _)) => write!(f, "{} in container {container}", self.program),
        }
    }
}

/// A client that did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    subject: Subject,
    ended: Ended,
}

/// A one-line message and the next step.
type Told = (String, String);

impl Failure {
    pub(super) fn new(subject: Subject, ended: Ended) -> Self {
        Failure { subject, ended }
    }

    /// True if another, newer client could succeed.
    pub(super) fn client_is_too_old(&self) -> bool {
        self.ended.complaint.contains("server version mismatch")
    }

    /// The error, with the client's last words underneath.
    pub(super) fn into_error(self) -> Error {
        let text = self.ended.complaint.as_str();
        let told = docker(text, &self.subject)
            .or_else(|| version(text))
            .or_else(|| login(text, &self.subject))
            .or_else(|| reach(text))
            .or_else(|| rights(text));
        let words = last_words(text);
        let error = match told {
            Some((message, hint)) => Error::new(Kind::Program, message).hint(hint),
            None => self.unrecognised(),
        };
        if words.is_empty() { error } else { error.caused_by(words) }
    }

    fn unrecognised(&self) -> Error {
        let subject = &self.subject;
        match (self.ended.status.signal(), self.ended.status.code()) {
            (Some(9), _) => Error::new(Kind::Program, format_args!("{subject} was killed"))
                .hint("the system may have run out of memory; `dmesg` tells"),
            (Some(signal), _) => Error::new(Kind::Program, format_args!("{subject} was ended by signal {signal}")),
            (None, Some(0)) => Error::new(Kind::Program, format_args!("{subject} wrote nothing")),
            (None, code) => {
                Error::new(Kind::Program, format_args!("{subject} failed with exit code {}", code.unwrap_or(-1)))
            }
        }
    }
}

/// A client that is not on this machine.
pub(super) fn client_missing(tool: DumpTool) -> Error {
    Error::new(Kind::NotFound, format_args!("{} is not installed", tool.program())).hint(
        "install it (Debian, Ubuntu: `apt install postgresql-client`), or use the one in Immich's container: `--docker immich_postgres`",
    )
}

/// A program that could not be started.
pub(super) fn not_started(subject: &Subject, error: io::Error) -> Error {
    match &subject.docker {
        Some((_, docker)) if error.kind() == io::ErrorKind::NotFound => {
            Error::new(Kind::NotFound, format_args!("{docker} is not installed"))
                .hint("install Docker's client, or give the database's address in place of the container")
        }
        Some((_, docker)) => Error::io(format_args!("starting {docker}"), error),
        None => Error::io(format_args!("starting {subject}"), error),
    }
}

fn docker(text: &str, subject: &Subject) -> Option<Told> {
    let (container, docker) = subject.docker.as_ref()?;
    let any = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    let (message, hint) = if any(&["No such container", "no container with name or ID"]) {
        (
            format!("there is no container {container}"),
            format!("`{docker} ps` lists the running ones; Immich's compose file calls it immich_postgres"),
        )
    } else if any(&["is not running", "container state improper", "is paused", "is restarting"]) {
        (format!("container {container} is not running"), "start Immich first: `docker compose up -d`".to_owned())
    } else if any(&["permission denied while trying to connect", "Got permission denied"]) {
        (
            format!("{docker} may not be used by this user"),
            "run as root, or add the user to the group docker and log in again".to_owned(),
        )
    } else if any(&[
        "Cannot connect to the Docker daemon",
        "docker daemon is not running",
        "failed to connect to the docker API",
    ]) {
        ("the Docker daemon does not answer".to_owned(), "start it (`systemctl start docker`) and try again".to_owned())
    } else if any(&["executable file not found", ": not found", "no such file or directory: unknown"]) {
        (format!("container {container} has no {}", subject.program), "name the container of the database, not the one of the server; Immich's compose file calls it immich_postgres".to_owned())
    } else {
        return None;
    };
    Some((message, hint))
}

fn version(text: &str) -> Option<Told> {
    if !text.contains("server version mismatch") {
        return None;
    }
    let server = between(text, "server version: ", ";").map(|version| version.trim().to_owned());
    let client = between(text, "pg_dump version: ", " ").or_else(|| between(text, "pg_dumpall version: ", " "));
    let number = |version: Option<&str>| version.unwrap_or("unknown").lines().next().unwrap_or_default().to_owned();
    let (server, client) = (number(server.as_deref()), number(client));
    let major = server.split('.').next().unwrap_or_default().to_owned();
    Some((
        format!("the PostgreSQL client (version {client}) is older than the server (version {server})"),
        format!(
            "use the client in Immich's container (`--docker immich_postgres`), or install version {major} (`apt install postgresql-client-{major}`)"
        ),
    ))
}

fn login(text: &str, subject: &Subject) -> Option<Told> {
    let has = |needle: &str| text.contains(needle);
    let user = between(text, "user \"", "\"").map_or(String::new(), |user| format!(" for user {user}"));
    if has("password authentication failed") {
        Some((format!("the database refused the password{user}"), "it is DB_PASSWORD in Immich's .env file".to_owned()))
    } else if has("no password supplied") {
        let hint = "set DB_PASSWORD (as in Immich's .env file), PGPASSWORD or a ~/.pgpass file".to_owned();
        Some(("the database asks for a password".to_owned(), hint))
    } else if has("Peer authentication failed") || has("Ident authentication failed") || has("no pg_hba.conf entry") {
        let hint = "name another user, connect by TCP with a password, or allow it in pg_hba.conf".to_owned();
        Some((format!("the database does not let this connection in{user}"), hint))
    } else if has("database \"") && has("\" does not exist") {
        let name = between(text, "database \"", "\"").unwrap_or_default();
        let hint = "name it with `--database-name` (DB_DATABASE_NAME in Immich's .env file, usually immich)".to_owned();
        Some((format!("there is no database {name} on the server"), hint))
    } else if has("role \"") && has("\" does not exist") {
        let name = between(text, "role \"", "\"").unwrap_or_default();
        let place = if subject.docker.is_some() { "the container's database" } else { "the server" };
        Some((
            format!("{place} knows no user {name}"),
            "it is DB_USERNAME in Immich's .env file, usually postgres".to_owned(),
        ))
    } else {
        None
    }
}

fn reach(text: &str) -> Option<Told> {
    let any = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    let place = between(text, "connection to server at ", " failed")
        .or_else(|| between(text, "connection to server on ", " failed"));
    let server = place
        .map_or("the database server".to_owned(), |place| format!("the database server at {}", place.replace('"', "")));
    if any(&["starting up", "shutting down", "recovery mode"]) {
        return Some((
            "the database server is just starting or stopping".to_owned(),
            "try again in a minute".to_owned(),
        ));
    }
    if any(&["too many clients", "remaining connection slots"]) {
        return Some((
            "the database server has no connection left".to_owned(),
            "try again later, or raise max_connections".to_owned(),
        ));
    }
    if any(&["could not translate host name"]) {
        let host = between(text, "host name \"", "\"").unwrap_or_default();
        let hint = "inside Docker's network it is `database`; from outside use `--docker immich_postgres`, or publish the port and use localhost";
        return Some((format!("the host {host} is not known"), hint.to_owned()));
    }
    let unreachable = any(&[
        "Connection refused",
        "timeout expired",
        "timed out",
        "No route to host",
        "unreachable",
        "No such file or directory",
    ]);
    unreachable.then(|| {
        let hint =
            "is it running? Immich's compose file publishes no port: use `--docker immich_postgres`, or publish it";
        (format!("{server} does not answer"), hint.to_owned())
    })
}

fn rights(text: &str) -> Option<Told> {
    let object = between(text, "permission denied for ", "\n").map(str::trim)?;
    let hint = if text.contains("pg_authid") {
        "`pg_dumpall` needs a superuser; `pg_dump` of the one database does not"
    } else {
        "dump as the user that Immich itself uses (DB_USERNAME in its .env file)"
    };
    Some((format!("the database user may not read {object}"), hint.to_owned()))
}

/// What stands between `start` and `end`, or the end of the text.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end).map_or(rest, |(inner, _)| inner))
}

/// The last lines that say something.
fn last_words(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join("\n")
}
