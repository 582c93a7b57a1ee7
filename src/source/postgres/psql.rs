//! psql: asks a database, and feeds it.
//!
//! What always holds: what is fed reaches psql by its standard input only; psql stops at the first error; where psql knows
//! `\restrict`, no command of psql in it is obeyed. A [`Feed`] that is dropped closes the connection without a COMMIT.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{SendFlags, send};

use super::command::{self, Client};
use super::failure::{self, Failure, Subject};
use super::process::Process;
use super::{Access, Clients, Server};
use crate::base::{Error, Kind, Result};

const PSQL: &str = "psql";
/// No start-up file, no ornament, no question at a terminal; `-f -` makes psql say on which line an error is.
const FLAGS: [&str; 8] = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "--no-password", "--file=-"];
/// For what is fed: nobody reads its answers.
const FEED: [&str; 9] =
    ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "--no-password", "--output=/dev/null", "--file=-"];
/// For a question that begins with a command that an older psql may not know.
const LENIENT: [&str; 6] = ["-X", "-q", "-A", "-t", "--no-password", "--file=-"];

/// Runs `sql` and hands back what psql printed: a line a row, fields joined by `|`.
pub fn ask(access: &Access, sql: &str) -> Result<String> {
    converse(access, sql, &FLAGS)?.map(|answer| answer.text).map_err(Failure::into_error)
}

/// What psql printed, and what it complained of while it succeeded.
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) complaint: String,
}

/// Runs `sql`, going on after an error.
pub(super) fn ask_leniently(access: &Access, sql: &str) -> Result<Result<Answer, Failure>> {
    converse(access, sql, &LENIENT)
}

fn converse(access: &Access, sql: &str, flags: &[&str]) -> Result<Result<Answer, Failure>> {
    let mut child = Child::start(access, flags)?;
    // A psql that could not connect does not listen; why it did not is told below.
    let _ = child.write(sql.as_bytes());
    child.input = None;
    let mut text = String::new();
    let read = child.process.read_to_string(&mut text);
    let subject = child.subject.clone();
    let ended = child.process.end().map_err(|error| Error::io(format_args!("waiting for {subject}"), error))?;
    read.map_err(|error| Error::io(format_args!("reading from {subject}"), error))?;
    match ended.status.success() {
        true => Ok(Ok(Answer { text, complaint: ended.complaint })),
        false => Ok(Err(Failure::new(subject, ended))),
    }
}

/// A running psql.
struct Child {
    process: Process,
    /// A socket and not a pipe: writing to a psql that has ended is an error then, and never a signal.
    input: Option<UnixStream>,
    subject: Subject,
}

impl Child {
    fn start(access: &Access, flags: &[&str]) -> Result<Child> {
        let subject = Subject::new(PSQL, &access.server);
        let (input, theirs) =
            UnixStream::pair().map_err(|error| Error::io(format_args!("starting {subject}"), error))?;
        let command = command(access, flags)?;
        let process = Process::start_reading(command, Stdio::from(OwnedFd::from(theirs)));
        let process = process.map_err(|error| failure::not_started(&subject, error))?;
        Ok(Child { process, input: Some(input), subject })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(input) = &self.input else { return Err(ErrorKind::BrokenPipe.into()) };
        while !bytes.is_empty() {
            match send(input, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn command(access: &Access, flags: &[&str]) -> Result<Command> {
    if let Server::Docker { container, docker } = &access.server {
        let client = Client { program: Path::new(PSQL), flags };
        return command::in_container(access, container, docker, client, true);
    }
    if let Server::Private(private) = &access.server {
        return Ok(private.client(access, &Client { program: Path::new(PSQL), flags }));
    }
    let program = Clients::of_this_machine().first(PSQL).ok_or_else(|| failure::client_missing(PSQL))?;
    command::on_this_machine(access, Client { program: &program, flags })
}

/// Where something that is fed comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Line of the dump, from 1.
    pub line: u64,
    pub table: Option<String>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            None => write!(f, "line {} of the dump", self.line),
            Some(table) => write!(f, "line {} of the dump (table {table})", self.line),
        }
    }
}

/// SQL on its way into a database.
pub struct Feed {
    child: Child,
    /// Lines written so far.
    lines: u64,
    /// Where the lines from the given one on come from.
    origins: Vec<(u64, Origin)>,
    deaf: bool,
}

impl Feed {
    /// Starts psql; nothing is sent yet.
    pub fn start(access: &Access) -> Result<Feed> {
        Ok(Feed { child: Child::start(access, &FEED)?, lines: 0, origins: Vec::new(), deaf: false })
    }

    /// Sends whole lines of our own.
    pub fn say(&mut self, sql: &str) -> Result<()> {
        self.send(sql.as_bytes())
    }

    /// Sends whole lines of the dump, of which the first is its line `line`.
    pub fn write(&mut self, bytes: &[u8], line: u64, table: Option<&str>) -> Result<()> {
        let goes_on = table.is_some() && self.origins.last().is_some_and(|(_, last)| last.table.as_deref() == table);
        if !goes_on {
            self.origins.push((self.lines + 1, Origin { line, table: table.map(str::to_owned) }));
        }
        self.send(bytes)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.child.write(bytes).map_err(|error| {
            self.deaf = true;
            Error::new(Kind::Program, "psql stopped listening").caused_by(error)
        })
    }

    /// True when psql stopped listening; [`finish`](Feed::finish) tells why.
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Waits for psql: `Ok` if everything that was sent is done.
    pub fn finish(self) -> Result<()> {
        let Feed { mut child, origins, .. } = self;
        child.input = None;
        let subject = child.subject;
        let ended = child.process.end().map_err(|error| Error::io(format_args!("waiting for {subject}"), error))?;
        match ended.status.success() {
            true => Ok(()),
            false => Err(refusal(Failure::new(subject, ended), &origins)),
        }
    }
}

/// What the server refused, and where in the dump that stands.
fn refusal(failure: Failure, origins: &[(u64, Origin)]) -> Error {
    let Some(told) = complaint(failure.complaint()) else { return failure.into_error() };
    let place = origins.iter().rev().find(|(first, _)| *first <= told.line);
    let error = match place {
        None => Error::new(Kind::Program, format_args!("the database refused to begin: {}", told.message)),
        Some((_, origin)) => {
            let line = origin.line + told.row.filter(|_| origin.table.is_some()).unwrap_or(0);
            let origin = Origin { line, ..origin.clone() };
            Error::new(Kind::Program, format_args!("the database refused {origin}: {}", told.message))
        }
    };
    error.hint(hint(&told.message))
}

/// psql's words about an error.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    /// Line of what was fed, from 1.
    line: u64,
    message: String,
    /// Row of a COPY block, from 1.
    row: Option<u64>,
}

/// Reads `psql:<stdin>:12: ERROR:  …` and the `CONTEXT:  COPY asset, line 3` after it.
fn complaint(text: &str) -> Option<Complaint> {
    let (before, after) = text.rsplit_once(": ERROR:  ")?;
    let line = before.rsplit_once(':')?.1.parse().ok()?;
    let context = after.lines().find_map(|line| line.strip_prefix("CONTEXT:  COPY "));
    let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    let row = context.and_then(|context| number(context.split_once(", line ")?.1));
    Some(Complaint { line, message: after.lines().next().unwrap_or_default().trim().to_owned(), row })
}

fn hint(message: &str) -> &'static str {
    if message.contains("shared_preload_libraries") {
        "the server's settings must name the library in shared_preload_libraries, as Immich's image ghcr.io/immich-app/postgres does; \
         nothing was changed"
    } else if message.contains("permission denied to create extension") || message.contains("must be superuser") {
        "only a superuser may do that: connect as the user that the server was set up with; nothing was changed"
    } else if message.contains("already exists") {
        "the database is not empty: begin with a fresh one, or use --replace; nothing was changed"
    } else if message.contains("No space left") {
        "make room on the server's disk and run it again; nothing was changed"
    } else {
        "nothing was changed: it was one transaction"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psqls_words_are_understood() {
        let text = "psql:<stdin>:12: ERROR:  invalid input syntax for type uuid: \"x\"\nCONTEXT:  COPY asset, line 3, column id: \"x\"\n";
        let told = complaint(text).unwrap();
        assert_eq!((told.line, told.row), (12, Some(3)));
        assert_eq!(told.message, "invalid input syntax for type uuid: \"x\"");
        let text = "psql:<stdin>:7: ERROR:  relation \"a\" already exists\n";
        assert_eq!(complaint(text).unwrap().row, None);
        assert_eq!(complaint("psql: error: connection to server failed"), None);
    }

    #[test]
    fn a_refusal_names_the_line_of_the_dump() {
        let origin = |line, table: Option<&str>| Origin { line, table: table.map(str::to_owned) };
        assert_eq!(origin(7, None).to_string(), "line 7 of the dump");
        assert_eq!(origin(7, Some("asset")).to_string(), "line 7 of the dump (table asset)");
    }
}
