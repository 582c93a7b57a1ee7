//! A dump of the living database, made by PostgreSQL's own client and read as it comes.
//!
//! The commands are those of Immich: `pg_dump --clean --if-exists`, or `pg_dumpall` with the same
//! flags, run on this machine or inside the database's container. What always holds: a password
//! goes to the client by its environment and never by a command line; the client never asks at a
//! terminal (`--no-password`); its own messages are English (`LC_ALL=C`), since `failure` reads
//! them, and what the server says in whatever language decides nothing (`diagnosis`); a
//! [`RunningDump`] that is dropped takes its client with it.
//!
//! Limit: when a `docker exec` is cut short, Docker leaves the `pg_dump` in the container running
//! until its next write fails (moby#9098).

mod clients;
mod command;
mod diagnosis;
mod failure;
mod probe;
mod process;
mod psql;
pub mod throwaway;
mod url;

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::base::amount::plural;
use crate::base::{Error, ErrorKind, Monitor, Result};
use crate::source::Secret;

pub use clients::{ClientPrograms, ClientWeakness, client_version};
use command::ClientCommand;
use failure::ClientFailure;
use process::Process;

pub use probe::{ServerProbe, ServerReached, probe};
pub use psql::{FeedRejection, SqlFeed, ask, ask_soon};

/// Where the database is.
#[derive(Debug, Clone)]
pub enum ServerPlace {
    /// `postgresql://USER@HOST:PORT/DATABASE`; it may hold the password.
    Url(String),
    /// Where libpq's `PG*` environment variables say, else the local socket.
    Environment,
    /// Inside a running container, asked through `docker exec` (or a program with the same flags,
    /// such as podman).
    Docker { container: String, docker: OsString },
    /// Made by ourselves, behind walls.
    Private(throwaway::PrivateServer),
}

impl ServerPlace {
    /// The database in the container `container`, asked through `docker`.
    pub fn docker(container: impl Into<String>) -> Self {
        ServerPlace::Docker { container: container.into(), docker: "docker".into() }
    }
}

/// The client that makes the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DumpTool {
    /// One database.
    #[default]
    PgDump,
    /// The cluster: roles and every database. Needs a superuser.
    PgDumpall,
}

impl DumpTool {
    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            DumpTool::PgDump => "pg_dump",
            DumpTool::PgDumpall => "pg_dumpall",
        }
    }
}

/// Immich's flags (`database-backup.service.ts`), and never a question at a terminal.
const FLAGS: [&str; 3] = ["--clean", "--if-exists", "--no-password"];
/// The server itself brings Immich's database into UTF-8, if it is in another encoding. Of a
/// cluster it would have to bring all databases, and fails where another program's has no encoding
/// at all.
const IN_UTF8: &str = "--encoding=UTF8";

/// True where a database or a role has an encoding for its clients, in which not every row of it
/// can be written, and each database has an encoding that can be brought into UTF-8.
const IS_REENCODED: &str = "SELECT (current_setting('client_encoding') <> getdatabaseencoding()
    OR EXISTS (SELECT FROM pg_catalog.pg_db_role_setting, unnest(setconfig) s WHERE s LIKE \
    'client_encoding=%'))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datallowconn AND \
  pg_encoding_to_char(encoding) = 'SQL_ASCII');\n";

/// The flags of the client that makes this dump, of which the last is `lock_wait`.
fn flags<'a>(request: &DumpRequest, lock_wait: &'a str) -> Vec<&'a str> {
    let is_in_utf8 = match request.tool {
        DumpTool::PgDump => true,
        // Who cannot be asked is dumped as it is, and says itself what is wrong.
        DumpTool::PgDumpall => ask_soon(&request.access().at("postgres"), IS_REENCODED)
            .is_ok_and(|answer| answer.trim() == "t"),
    };
    FLAGS.into_iter().chain(is_in_utf8.then_some(IN_UTF8)).chain([lock_wait]).collect()
}

/// How long a dump waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpPatience {
    /// For a table that another session has locked, as a migration of Immich's does for moments.
    pub lock: Duration,
    /// For a client that sends nothing.
    pub idle: Duration,
}

impl Default for DumpPatience {
    fn default() -> Self {
        DumpPatience { lock: Duration::from_secs(300), idle: Duration::from_secs(1800) }
    }
}

impl DumpPatience {
    /// The client's flag. No time at all would be no limit.
    fn flag(self) -> String {
        format!("--lock-wait-timeout={}", self.lock.as_millis().clamp(1, i32::MAX as u128))
    }

    fn too_silent(self, subject: &failure::FailedProgram) -> Error {
        let text = format!(
            "{subject} sent nothing for {} and was ended",
            plural(self.idle.as_secs(), "second", "seconds")
        );
        Error::new(ErrorKind::Program, text).hint(
            "is the database server, or the way to it, busy or gone? see its log (`docker logs \
                immich_postgres`); --dump-idle-timeout sets the limit",
        )
    }
}

/// Who asks which database, and where. What is `None` is taken from the server's description, else
/// Immich's defaults.
#[derive(Debug, Clone)]
pub struct DatabaseAccess {
    pub server: ServerPlace,
    pub database: Option<String>,
    pub user: Option<String>,
    pub password: Option<Secret>,
}

impl DatabaseAccess {
    /// Immich's database on `server`.
    pub fn new(server: ServerPlace) -> Self {
        DatabaseAccess { server, database: None, user: None, password: None }
    }

    /// The same server, asked in another database.
    pub fn at(&self, database: &str) -> Self {
        DatabaseAccess { database: Some(database.to_owned()), ..self.clone() }
    }
}

/// Which dump is wanted. What is `None` is taken from the server's description, else Immich's
/// defaults.
#[derive(Debug, Clone)]
pub struct DumpRequest {
    pub server: ServerPlace,
    pub tool: DumpTool,
    /// Not used by `pg_dumpall`, which dumps every database.
    pub database: Option<String>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub patience: DumpPatience,
}

impl DumpRequest {
    /// A `pg_dump` of Immich's database on `server`.
    pub fn new(server: ServerPlace) -> Self {
        let patience = DumpPatience::default();
        DumpRequest {
            server,
            tool: DumpTool::default(),
            database: None,
            user: None,
            password: None,
            patience,
        }
    }
}

impl DumpRequest {
    /// Where the dump comes from; `pg_dumpall` takes every database, and connects as it is used to.
    fn access(&self) -> DatabaseAccess {
        let DumpRequest { server, tool, database, user, password, patience: _ } = self.clone();
        let in_container = matches!(server, ServerPlace::Docker { .. });
        let database = database.filter(|_| tool == DumpTool::PgDump || !in_container);
        DatabaseAccess { server, database, user, password }
    }
}

/// Starts the client and waits for its first bytes, so that most failures come from here. Gives up,
/// here and while the dump is read, when the monitor is asked to stop: a client waits without end
/// for a table that is locked.
///
/// A client that is older than the server is replaced by the newest one under
/// `/usr/lib/postgresql`.
pub fn start<'m>(request: &DumpRequest, monitor: &'m dyn Monitor) -> Result<RunningDump<'m>> {
    start_among(request, &ClientPrograms::of_this_machine(), monitor)
}

/// The same with other places for the clients.
pub fn start_among<'m>(
    request: &DumpRequest,
    clients: &ClientPrograms,
    monitor: &'m dyn Monitor,
) -> Result<RunningDump<'m>> {
    let lock_wait = request.patience.flag();
    let flags = &*flags(request, &lock_wait);
    let explained = |failure| diagnosis::explain(&request.access(), failure);
    if let ServerPlace::Docker { container, docker } = &request.server {
        let client = ClientCommand { program: Path::new(request.tool.program()), flags };
        let command = command::in_container(&request.access(), container, docker, client, false)?;
        return open(command, request, monitor)?.map_err(explained);
    }
    let program = clients
        .first(request.tool.program())
        .ok_or_else(|| failure::client_missing(request.tool.program()))?;
    let command =
        command::on_this_machine(&request.access(), ClientCommand { program: &program, flags })?;
    match open(command, request, monitor)? {
        Err(failure) if failure.client_is_too_old() => {
            let newest = clients.newest(request.tool.program()).filter(|newest| *newest != program);
            retry(request, newest.as_deref(), flags, failure, monitor)
        }
        outcome => outcome.map_err(explained),
    }
}

/// Tries the newest client in place of the one that failed, which was too old.
fn retry<'m>(
    request: &DumpRequest,
    newest: Option<&Path>,
    flags: &[&str],
    failure: ClientFailure,
    monitor: &'m dyn Monitor,
) -> Result<RunningDump<'m>> {
    let explained = |failure| diagnosis::explain(&request.access(), failure);
    match newest {
        Some(program) => {
            let command =
                command::on_this_machine(&request.access(), ClientCommand { program, flags })?;
            open(command, request, monitor)?.map_err(explained)
        }
        None => Err(failure.into_error()),
    }
}

/// Starts `command`; the inner error says that the client ended before it wrote anything.
fn open<'m>(
    command: Command,
    request: &DumpRequest,
    monitor: &'m dyn Monitor,
) -> Result<Result<RunningDump<'m>, ClientFailure>> {
    let subject = failure::FailedProgram::new(request.tool.program(), &request.server);
    let mut process =
        Process::start(command).map_err(|error| failure::not_started(&subject, error))?;
    let mut head = vec![0; 64 * 1024];
    let reading = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => request.patience.too_silent(&subject),
        _ => Error::io(format_args!("reading from {subject}"), error),
    };
    let filled =
        process.read_patiently(&mut head, monitor, request.patience.idle).map_err(reading)?;
    head.truncate(filled);
    if filled > 0 {
        return Ok(Ok(RunningDump {
            process,
            head: io::Cursor::new(head),
            subject,
            access: request.access(),
            patience: request.patience,
            is_silent: false,
            monitor,
        }));
    }
    let ended =
        process.end().map_err(|error| Error::io(format_args!("waiting for {subject}"), error))?;
    Ok(Err(ClientFailure::new(subject, ended)))
}

/// A dump that is being made: read it to its end, then [`finish`](RunningDump::finish). Dropping it
/// ends the client.
pub struct RunningDump<'m> {
    process: Process,
    head: io::Cursor<Vec<u8>>,
    subject: failure::FailedProgram,
    access: DatabaseAccess,
    patience: DumpPatience,
    is_silent: bool,
    monitor: &'m dyn Monitor,
}

impl RunningDump<'_> {
    /// Why the client was given up, if it was because it sent nothing for too long.
    pub fn given_up(&self) -> Option<Error> {
        self.is_silent.then(|| self.patience.too_silent(&self.subject))
    }

    /// Waits for the client and tells whether it succeeded. Without a success the bytes read are no
    /// dump.
    pub fn finish(self) -> Result<()> {
        let RunningDump { process, subject, access, .. } = self;
        let ended = process
            .end()
            .map_err(|error| Error::io(format_args!("waiting for {subject}"), error))?;
        if ended.status.success() {
            Ok(())
        } else {
            Err(diagnosis::explain(&access, ClientFailure::new(subject, ended)))
        }
    }
}

impl Read for RunningDump<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.head.read(buffer)? {
            0 => {
                let read = self.process.read_patiently(buffer, self.monitor, self.patience.idle);
                self.is_silent |=
                    read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
                read
            }
            filled => Ok(filled),
        }
    }
}
