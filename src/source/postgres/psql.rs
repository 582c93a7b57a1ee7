//! psql: asks a database, and feeds it.
//!
//! What always holds: what is fed reaches psql by its standard input only; psql stops at the first
//! error; where psql knows `\restrict`, no command of psql in it is obeyed. A [`SqlFeed`] that is
//! dropped closes the connection without a COMMIT.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::net::{SendFlags, send};

use super::failure::{self, ClientFailure, FailedProgram};
use super::process::Process;
use super::{DatabaseAccess, command, diagnosis};
use crate::base::{Error, ErrorKind, Result};

const PSQL: &str = "psql";
/// No start-up file, no ornament, no question at a terminal; `-f -` makes psql say on which line an
/// error is.
const FLAGS: [&str; 8] =
    ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "--no-password", "--file=-"];
/// For what is fed: nobody reads its answers, and an error has its SQLSTATE.
const FEED: [&str; 11] = [
    "-X",
    "-q",
    "-A",
    "-t",
    "-v",
    "ON_ERROR_STOP=1",
    "-v",
    "VERBOSITY=verbose",
    "--no-password",
    "--output=/dev/null",
    "--file=-",
];
/// For a question that begins with a command that an older psql may not know.
const LENIENT: [&str; 6] = ["-X", "-q", "-A", "-t", "--no-password", "--file=-"];

/// Runs `sql` and hands back what psql printed: a line a row, fields joined by `|`.
pub fn ask(access: &DatabaseAccess, sql: &str) -> Result<String> {
    let answer = converse(access, sql, &FLAGS)?;
    answer.map(|answer| answer.text).map_err(|failure| diagnosis::explain(access, failure))
}

/// The same, of a living database: gives up where another session holds a lock on what is asked, or
/// the answer takes long.
pub fn ask_soon(access: &DatabaseAccess, sql: &str) -> Result<String> {
    ask(access, &format!("SET lock_timeout = '30s'; SET statement_timeout = '5min'; {sql}"))
}

/// What psql printed, and what it complained of while it succeeded.
pub(super) struct PsqlAnswer {
    pub(super) text: String,
    pub(super) complaint: String,
}

/// Runs `sql`, going on after an error.
pub(super) fn ask_leniently(
    access: &DatabaseAccess,
    sql: &str,
) -> Result<Result<PsqlAnswer, ClientFailure>> {
    converse(access, sql, &LENIENT)
}

fn converse(
    access: &DatabaseAccess,
    sql: &str,
    flags: &[&str],
) -> Result<Result<PsqlAnswer, ClientFailure>> {
    let mut child = PsqlChild::start(access, flags)?;
    // A psql that could not connect does not listen; why it did not is told below.
    let _ = child.write(sql.as_bytes());
    child.input = None;
    let mut text = String::new();
    let read = child.process.read_to_string(&mut text);
    let subject = child.subject.clone();
    let ended = child
        .process
        .end()
        .map_err(|error| Error::io(format_args!("waiting for {subject}"), error))?;
    read.map_err(|error| Error::io(format_args!("reading from {subject}"), error))?;
    if ended.status.success() {
        Ok(Ok(PsqlAnswer { text, complaint: ended.complaint }))
    } else {
        Ok(Err(ClientFailure::new(subject, ended)))
    }
}

/// A running psql.
struct PsqlChild {
    process: Process,
    /// A socket and not a pipe: writing to a psql that has ended is an error then, and never a
    /// signal.
    input: Option<UnixStream>,
    subject: FailedProgram,
}

impl PsqlChild {
    fn start(access: &DatabaseAccess, flags: &[&str]) -> Result<PsqlChild> {
        let subject = FailedProgram::new(PSQL, &access.server);
        let (input, theirs) = UnixStream::pair()
            .map_err(|error| Error::io(format_args!("starting {subject}"), error))?;
        let command = command::of(access, PSQL, flags, true)?;
        let process = Process::start_reading(command, Stdio::from(OwnedFd::from(theirs)));
        let process = process.map_err(|error| failure::not_started(&subject, error))?;
        Ok(PsqlChild { process, input: Some(input), subject })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(input) = &self.input else { return Err(io::ErrorKind::BrokenPipe.into()) };
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

/// Where something that is fed comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedOrigin {
    /// Line of the dump, from 1.
    pub line: u64,
    pub table: Option<String>,
}

impl fmt::Display for FeedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            None => write!(f, "line {} of the dump", self.line),
            Some(table) => write!(f, "line {} of the dump (table {table})", self.line),
        }
    }
}

/// What became of SQL that was not taken.
#[derive(Debug)]
pub struct FeedRejection {
    pub error: Error,
    /// Two rows have one key (SQLSTATE 23505).
    pub is_duplicate: bool,
}

impl From<Error> for FeedRejection {
    fn from(error: Error) -> Self {
        FeedRejection { error, is_duplicate: false }
    }
}

/// SQL on its way into a database.
pub struct SqlFeed {
    child: PsqlChild,
    /// Lines written so far.
    lines: u64,
    /// Where the lines from the given one on come from.
    origins: Vec<(u64, FeedOrigin)>,
    deaf: bool,
}

impl SqlFeed {
    /// Starts psql; nothing is sent yet.
    pub fn start(access: &DatabaseAccess) -> Result<SqlFeed> {
        Ok(SqlFeed {
            child: PsqlChild::start(access, &FEED)?,
            lines: 0,
            origins: Vec::new(),
            deaf: false,
        })
    }

    /// Sends whole lines of our own.
    pub fn say(&mut self, sql: &str) -> Result<()> {
        self.send(sql.as_bytes())
    }

    /// Sends whole lines of the dump, of which the first is its line `line`.
    pub fn write(&mut self, bytes: &[u8], line: u64, table: Option<&str>) -> Result<()> {
        let goes_on = table.is_some()
            && self.origins.last().is_some_and(|(_, last)| last.table.as_deref() == table);
        if !goes_on {
            self.origins
                .push((self.lines + 1, FeedOrigin { line, table: table.map(str::to_owned) }));
        }
        self.send(bytes)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.child.write(bytes).map_err(|error| {
            self.deaf = true;
            Error::new(ErrorKind::Program, "psql stopped listening").caused_by(error)
        })
    }

    /// True when psql stopped listening; [`finish`](SqlFeed::finish) tells why.
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Waits for psql: `Ok` if everything that was sent is done.
    pub fn finish(self) -> std::result::Result<(), FeedRejection> {
        let SqlFeed { mut child, origins, .. } = self;
        child.input = None;
        let subject = child.subject;
        let ended = child
            .process
            .end()
            .map_err(|error| Error::io(format_args!("waiting for {subject}"), error))?;
        if ended.status.success() {
            Ok(())
        } else {
            Err(refusal(ClientFailure::new(subject, ended), &origins))
        }
    }
}

/// What the server refused, and where in the dump that stands.
fn refusal(failure: ClientFailure, origins: &[(u64, FeedOrigin)]) -> FeedRejection {
    let Some(told) = complaint(failure.complaint()) else { return failure.into_error().into() };
    let place = origins.iter().rev().find(|(first, _)| *first <= told.line);
    let error = match place {
        None => Error::new(
            ErrorKind::Program,
            format_args!("the database refused to begin: {}", told.message),
        ),
        Some((_, origin)) => {
            let row = origin.table.as_ref().and_then(|table| told.row(table)).unwrap_or(0);
            let origin = FeedOrigin { line: origin.line + row, ..origin.clone() };
            Error::new(
                ErrorKind::Program,
                format_args!("the database refused {origin}: {}", told.message),
            )
        }
    };
    let error = error.hint(hint(&told.code, &told.message));
    let error = if told.detail.is_empty() { error } else { error.caused_by(told.detail) };
    FeedRejection { error, is_duplicate: told.code == DUPLICATE }
}

/// SQLSTATE unique_violation.
const DUPLICATE: &str = "23505";

/// psql's words about an error; only its labels are English, the texts are in the server's
/// language.
#[derive(Debug, PartialEq, Eq)]
struct PsqlComplaint {
    /// Line of what was fed, from 1.
    line: u64,
    /// SQLSTATE.
    code: String,
    message: String,
    /// Such as the key that two rows have.
    detail: String,
    /// Such as the row of a COPY block.
    context: String,
}

/// Reads `psql:<stdin>:12: ERROR:  42P07: …`, and the `DETAIL:  …` and `CONTEXT:  …` after it
/// (psql's VERBOSITY verbose).
fn complaint(text: &str) -> Option<PsqlComplaint> {
    let starts = text.match_indices("psql:<stdin>:").map(|(at, _)| &text[at..]);
    starts.filter_map(one_complaint).last()
}

fn one_complaint(text: &str) -> Option<PsqlComplaint> {
    let (line, rest) = text.strip_prefix("psql:<stdin>:")?.split_once(": ")?;
    let (_severity, rest) = rest.split_once(":  ")?;
    let (code, rest) = rest.split_once(": ")?;
    if code.len() != 5
        || !code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
    {
        return None;
    }
    let labelled =
        |label: &str| rest.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
    Some(PsqlComplaint {
        line: line.parse().ok()?,
        code: code.to_owned(),
        message: rest.lines().next().unwrap_or_default().trim().to_owned(),
        detail: labelled("DETAIL:  ").to_owned(),
        context: rest.split_once("\nCONTEXT:  ").map_or("", |(_, context)| context).to_owned(),
    })
}

impl PsqlComplaint {
    /// The row of the COPY block of `table`, from 1: the first number after its name, in whatever
    /// language.
    fn row(&self, table: &str) -> Option<u64> {
        let name = table.rsplit('.').next().unwrap_or(table);
        let mut lines = self.context.lines().filter_map(|line| line.strip_prefix("COPY "));
        let (_, after) = lines.find_map(|line| line.split_once(name))?;
        let digits = after.trim_start_matches(|c: char| !c.is_ascii_digit());
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }
}

/// The next step for a SQLSTATE (PostgreSQL manual, appendix A); of what libraries themselves say,
/// the name of the setting.
fn hint(code: &str, message: &str) -> &'static str {
    match code {
        _ if message.contains("shared_preload_libraries") => {
            "the server's settings must name the library in shared_preload_libraries, as Immich's \
                image \
             ghcr.io/immich-app/postgres does; nothing was changed"
        }
        "42501" => {
            "only a superuser may do that: connect as the user that the server was set up with; \
                nothing was changed"
        }
        "42P06" | "42P07" | "42710" | "42723" => {
            "the database is not empty: begin with a fresh one, or use --replace; nothing was \
                changed"
        }
        "53100" => "make room on the server's disk and run it again; nothing was changed",
        _ => "nothing was changed: it was one transaction",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psqls_words_are_understood_in_whatever_language() {
        for (severity, context) in
            [("ERROR", "line 3, column id: \"x\""), ("FEHLER", "Zeile 3, Spalte id: »x«")]
        {
            let text = format!(
                "psql:<stdin>:12: {severity}:  22P02: no uuid\nCONTEXT:  JSON data, line 1\nCOPY \
                    asset, {context}\n"
            );
            let told = complaint(&text).unwrap();
            assert_eq!((told.line, told.code.as_str(), told.row("asset")), (12, "22P02", Some(3)));
            assert_eq!(told.message, "no uuid");
        }
        let text =
            "psql:<stdin>:3: NOTE:  00000: a\npsql:<stdin>:7: ERROR:  42P07: b\nDETAIL:  c\n";
        let told = complaint(text).unwrap();
        assert_eq!((told.line, told.detail.as_str(), told.row("a")), (7, "c", None));
        assert_eq!(complaint("psql: error: connection to server failed"), None);
    }

    #[test]
    fn a_refusal_names_the_line_of_the_dump() {
        let origin =
            |line, table: Option<&str>| FeedOrigin { line, table: table.map(str::to_owned) };
        assert_eq!(origin(7, None).to_string(), "line 7 of the dump");
        assert_eq!(origin(7, Some("asset")).to_string(), "line 7 of the dump (table asset)");
    }
}
