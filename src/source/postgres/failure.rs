//! What a client's complaint means, in one line, and what to do next.
//!
//! The texts are those of the clients of PostgreSQL 13 to 18 (`LC_ALL=C`) and of Docker 20 to 28.
//! What is not recognised is told as it came. The server's own words are in its own language:
//! nothing is decided by them (`diagnosis` asks), and only the message is better where they are
//! English.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;

use crate::base::{Error, ErrorKind};

use super::ServerPlace;
use super::process::ProcessEnd;

/// What ran, as the person knows it.
#[derive(Debug, Clone)]
pub(super) struct FailedProgram {
    program: &'static str,
    docker: Option<(String, String)>,
}

impl FailedProgram {
    pub(super) fn new(program: &'static str, server: &ServerPlace) -> Self {
        let docker = match server {
            ServerPlace::Docker { container, docker } => {
                Some((container.clone(), docker.to_string_lossy().into_owned()))
            }
            ServerPlace::Url(_) | ServerPlace::Environment | ServerPlace::Private(_) => None,
        };
        FailedProgram { program, docker }
    }

    /// A server in a new container of `image`.
    pub(super) fn in_container(image: &str, docker: &OsStr) -> Self {
        FailedProgram {
            program: "postgres",
            docker: Some((image.to_owned(), docker.to_string_lossy().into_owned())),
        }
    }
}

impl fmt::Display for FailedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.docker {
            None => f.write_str(self.program),
            Some((container, _)) => write!(f, "{} in container {container}", self.program),
        }
    }
}

/// A client that did not succeed.
#[derive(Debug)]
pub(super) struct ClientFailure {
    subject: FailedProgram,
    ended: ProcessEnd,
}

/// How psql ends when a statement of its input fails (PostgreSQL manual, psql, "Exit Status").
const SCRIPT_FAILED: i32 = 3;

/// A one-line message and the next step.
type FailureText = (String, String);

impl ClientFailure {
    pub(super) fn new(subject: FailedProgram, ended: ProcessEnd) -> Self {
        ClientFailure { subject, ended }
    }

    /// True if another, newer client could succeed.
    pub(super) fn client_is_too_old(&self) -> bool {
        self.ended.complaint.contains("server version mismatch")
    }

    /// True if the server may answer in a moment: it is starting, or not there yet.
    pub(super) fn may_pass(&self) -> bool {
        let text = self.ended.complaint.as_str();
        let restarting = self.subject.docker.is_some() && any(text, &["is restarting"]);
        let unknown_host = text.contains("could not translate host name");
        restarting || (!unknown_host && reach(text).is_some())
    }

    /// True if a server answered and let the client in nowhere: its words stand after a severity
    /// and two spaces.
    pub(super) fn was_turned_away(&self) -> bool {
        let is_script =
            self.subject.program == "psql" && self.ended.status.code() == Some(SCRIPT_FAILED);
        !is_script && turned_away(&self.ended.complaint)
    }

    /// The query of pg_dump that failed; before version 15 it begins with a small letter.
    pub(super) fn query(&self) -> Option<&str> {
        self.ended.complaint.split_once("uery was: ").map(|(_, query)| query)
    }

    /// The end of what the client wrote to stderr.
    pub(super) fn complaint(&self) -> &str {
        &self.ended.complaint
    }

    /// The error, with the client's last words underneath.
    pub(super) fn into_error(self) -> Error {
        let text = self.ended.complaint.as_str();
        let told = docker(text, &self.subject)
            .or_else(|| version(text))
            .or_else(|| login(text))
            .or_else(|| locked(text))
            .or_else(|| busy(text))
            .or_else(|| gone(text))
            .or_else(|| reach(text))
            .or_else(|| if self.was_turned_away() { refused() } else { None });
        match told {
            Some((message, hint)) => self.told(message, hint),
            None => self.over_its_words(self.unrecognised()),
        }
    }

    /// The error `message`, with the client's last words underneath.
    pub(super) fn told(&self, message: String, hint: impl fmt::Display) -> Error {
        self.over_its_words(Error::new(ErrorKind::Program, message).hint(hint))
    }

    fn over_its_words(&self, error: Error) -> Error {
        let words = last_words(&self.ended.complaint);
        if words.is_empty() { error } else { error.caused_by(words) }
    }

    fn unrecognised(&self) -> Error {
        let subject = &self.subject;
        match (self.ended.status.signal(), self.ended.status.code()) {
            (Some(9), _) => Error::new(ErrorKind::Program, format_args!("{subject} was killed"))
                .hint("the system may have run out of memory; see `dmesg`"),
            (Some(signal), _) => Error::new(
                ErrorKind::Program,
                format_args!("{subject} was ended by signal {signal}"),
            ),
            (None, Some(0)) => {
                Error::new(ErrorKind::Program, format_args!("{subject} wrote nothing"))
            }
            (None, code) => Error::new(
                ErrorKind::Program,
                format_args!("{subject} failed with exit code {}", code.unwrap_or(-1)),
            ),
        }
    }
}

/// A client that is not on this machine.
pub(super) fn client_missing(program: &str) -> Error {
    Error::new(ErrorKind::NotFound, format_args!("{program} is not installed")).hint(
        "install it (Debian, Ubuntu: `apt install postgresql-client`), or use the one in Immich's \
            container: `--docker immich_postgres`",
    )
}

/// A program that could not be started.
pub(super) fn not_started(subject: &FailedProgram, error: io::Error) -> Error {
    match &subject.docker {
        Some((_, docker)) if error.kind() == io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format_args!("{docker} is not installed")).hint(
                "install Docker's client, or give the database's address in place of the container",
            )
        }
        Some((_, docker)) => Error::io(format_args!("starting {docker}"), error),
        None => Error::io(format_args!("starting {subject}"), error),
    }
}

fn told(message: impl fmt::Display, hint: impl fmt::Display) -> Option<FailureText> {
    Some((message.to_string(), hint.to_string()))
}

fn any(text: &str, needles: &[&str]) -> bool {
    needles.iter().any(|needle| text.contains(needle))
}

fn docker(text: &str, subject: &FailedProgram) -> Option<FailureText> {
    let (container, docker) = subject.docker.as_ref()?;
    if any(text, &["No such container", "no container with name or ID"]) {
        let hint = format!(
            "`{docker} ps` lists the running ones; Immich's compose file calls it immich_postgres"
        );
        told(format_args!("no container is called {container}"), hint)
    } else if any(
        text,
        &["is not running", "container state improper", "is paused", "is restarting"],
    ) {
        told(
            format_args!("container {container} is not running"),
            "start Immich first: `docker compose up -d`",
        )
    } else if any(text, &["permission denied while trying to connect"]) {
        let hint = "run as root, or add the user to the group docker and log in again";
        told(format_args!("{docker} may not be used by this user"), hint)
    } else if any(
        text,
        &["Cannot connect to the Docker daemon", "failed to connect to the docker API"],
    ) {
        told(
            "the Docker daemon does not answer",
            "start it (`systemctl start docker`) and try again",
        )
    } else if any(
        text,
        &["Unable to find image", "No such image", "manifest unknown", "pull access denied"],
    ) {
        let hint =
            format!("`{docker} pull {container}` shows why; `--docker IMAGE` uses another one");
        told(
            format_args!("the image {container} is not on this machine, and cannot be fetched"),
            hint,
        )
    } else if any(
        text,
        &["executable file not found", ": not found", "no such file or directory: unknown"],
    ) {
        let hint = "name the container of the database, not the server's; Immich's compose file \
            calls it immich_postgres";
        told(format_args!("container {container} has no {}", subject.program), hint)
    } else {
        None
    }
}

fn version(text: &str) -> Option<FailureText> {
    if !text.contains("server version mismatch") {
        return None;
    }
    let number = |before: &str| text.split_once(before)?.1.split([';', ' ', '\n']).next();
    let server = number("server version: ").unwrap_or("unknown");
    let client =
        number("pg_dump version: ").or(number("pg_dumpall version: ")).unwrap_or("unknown");
    let major = server.split('.').next().unwrap_or_default();
    told(
        format_args!(
            "the PostgreSQL client (version {client}) is older than the server (version {server})"
        ),
        format_args!(
            "use the client in Immich's container (`--docker immich_postgres`), or install version \
                {major} (`apt install postgresql-client-{major}`)"
        ),
    )
}

fn login(text: &str) -> Option<FailureText> {
    let user =
        between(text, "user \"", "\"").map_or(String::new(), |user| format!(" for user {user}"));
    if any(text, &["password authentication failed"]) {
        told(
            format_args!("the database refused the password{user}"),
            "it is DB_PASSWORD in Immich's .env file: give that with --env-file, or the password \
                by PGPASSWORD",
        )
    } else if any(text, &["no password supplied"]) {
        let hint = "set DB_PASSWORD (as in Immich's .env file), PGPASSWORD or a ~/.pgpass file";
        told("the database asks for a password", hint)
    } else if any(
        text,
        &["Peer authentication failed", "Ident authentication failed", "no pg_hba.conf entry"],
    ) {
        let hint = "name another user, connect by TCP with a password, or allow it in pg_hba.conf";
        told(format_args!("the database does not let this connection in{user}"), hint)
    } else if let Some(name) = between(text, "FATAL:  role \"", "\" does not exist") {
        let hint = "it is DB_USERNAME in Immich's .env file, usually postgres";
        told(format_args!("the server knows no user {name}"), hint)
    } else {
        None
    }
}

/// pg_dump tells the statement in whatever language the server speaks.
fn locked(text: &str) -> Option<FailureText> {
    let table =
        text.split_once("Query was: LOCK TABLE ")?.1.split(" IN ACCESS SHARE MODE").next()?;
    let table: String = table.chars().take(60).collect();
    let hint = "is Immich being updated, or a psql left open? `SELECT pid, state FROM \
        pg_stat_activity` lists the sessions; try again later";
    told(format_args!("another session holds a lock on {table}"), hint)
}

fn busy(text: &str) -> Option<FailureText> {
    if any(text, &["too many clients", "remaining connection slots"]) {
        told(
            "the database server has no connection left",
            "try again later, or raise max_connections",
        )
    } else {
        None
    }
}

/// True if words of a server stand in it, such as `failed: FATAL:  …`; libpq's own have no two
/// spaces.
fn turned_away(text: &str) -> bool {
    text.lines().any(|line| line.contains("error: ") && line.contains(":  "))
}

fn refused() -> Option<FailureText> {
    let hint = "user and password are DB_USERNAME and DB_PASSWORD in Immich's .env file \
        (--env-file reads them); \
                the server's message says which it refused";
    told("the database server let nobody in", hint)
}

const GONE: &[&str] = &[
    "server closed the connection unexpectedly",
    "terminating connection due to",
    "lost synchronization with server",
    "connection to server was lost",
    "SSL connection has been closed unexpectedly",
    "Connection reset by peer",
    "Broken pipe",
];

fn gone(text: &str) -> Option<FailureText> {
    let hint = "is it being restarted, or out of memory? see its log (`docker logs \
        immich_postgres`); try again when it is back";
    any(text, GONE)
        .then(|| ("the database server went away in the middle".to_owned(), hint.to_owned()))
}

fn reach(text: &str) -> Option<FailureText> {
    if let Some(host) = between(text, "could not translate host name \"", "\"") {
        let hint = "`database` is a name inside Docker's network; from outside use `--docker \
            immich_postgres`, or publish the port and use localhost";
        return told(format_args!("the host {host} is not known"), hint);
    }
    let place = between(text, "connection to server at ", " failed").or(between(
        text,
        "connection to server on ",
        " failed",
    ));
    let no_socket = place.is_some_and(|place| place.starts_with("socket"))
        && text.contains("No such file or directory");
    let silent = any(
        text,
        &["Connection refused", "timeout expired", "timed out", "No route to host", "unreachable"],
    );
    if !no_socket && !silent {
        return None;
    }
    let place = place.map_or(String::new(), |place| format!(" at {}", place.replace('"', "")));
    let hint = "is it running? Immich's compose file publishes no port: use `--docker \
        immich_postgres`, or publish it";
    told(format_args!("the database server{place} does not answer"), hint)
}

/// What stands between `start` and `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}

/// The last lines that say something; not the query that failed, which is of any length.
pub(super) fn last_words(text: &str) -> String {
    let text =
        text.split("Query was:").next().unwrap_or(text).trim_end_matches("pg_dump: detail: ");
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join("\n")
}
