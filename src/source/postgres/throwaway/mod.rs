//! A PostgreSQL server that is thrown away: made for one rehearsal, in a temporary folder or in a
//! container, and gone with it.
//!
//! Always holds: no server, folder or container that was there before is touched. What is loaded
//! into it is untrusted: the server and its clients run inside of walls ([`sandbox`]), or inside a
//! container without a network, and are reached by a socket in the server's own folder and by
//! nothing else. It ends and its data is removed when the value is dropped, and also when shoebox
//! is killed: a keeper, a small shell script, waits for the end of its input, which comes with the
//! end of shoebox in whatever way.
//!
//! PostgreSQL refuses to run as root: root starts it as the user `postgres`, else `nobody`. Nothing
//! is synced to the disk, which makes it quick and of no use after a power cut. Limits: the data
//! lies in TMPDIR and takes about twice the dump's size; a keeper that is killed itself leaves the
//! server running.

mod programs;
mod sandbox;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::TempDir;

pub use programs::{ServerPrograms, WantedServer};
use sandbox::{Sandbox, SystemUser};

use super::command::ClientCommand;
use super::failure::{self, ClientFailure, FailedProgram};
use super::process::{Process, ProcessEnd};
use super::{DatabaseAccess, ServerPlace};
use crate::base::{Context, Error, ErrorKind, Result};

const KEEPER: &str = include_str!("keeper.sh");
const IN_FOLDER: &str = include_str!("folder.sh");
const IN_CONTAINER: &str = include_str!("container.sh");
/// A path of a socket has 107 bytes at most (unix(7)).
const LONGEST_FOLDER: usize = 70;

/// What makes loading quick, all of it without a thought for a crash.
const SETTINGS: [(&str, &str); 13] = [
    ("autovacuum", "off"),
    ("checkpoint_timeout", "1h"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    // Writes code and runs it, which a service in a cage may not.
    ("jit", "off"),
    ("maintenance_work_mem", "128MB"),
    // Needs shared memory, of which containers have little.
    ("max_parallel_maintenance_workers", "0"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "2GB"),
    ("shared_buffers", "128MB"),
    ("synchronous_commit", "off"),
    ("wal_level", "minimal"),
    ("max_connections", "20"),
];
/// In a folder: the socket lies beside the data, and nothing listens on the network.
const PRIVATE: [(&str, &str); 4] = [
    ("listen_addresses", ""),
    ("port", "5432"),
    ("unix_socket_directories", "."),
    ("unix_socket_permissions", "0700"),
];
/// The role that rules it, and the database that it is asked in.
const SUPERUSER: &str = "postgres";
/// Extensions that have to be loaded at the start.
const PRELOADED: [&str; 2] = ["vchord", "vectors"];

/// What is to keep a server of this machine from the rest of it.
#[derive(Debug, Clone, Copy)]
pub enum SandboxWalls<'a> {
    /// A sandbox; this folder is not in it, wherever it lies.
    Around(&'a Path),
    /// Nothing, since somebody insists.
    None,
}

/// A throw-away server in a folder of this machine, with the client that may talk to it.
#[derive(Debug, Clone)]
pub struct PrivateServer {
    folder: PathBuf,
    bin: PathBuf,
    sandbox: Sandbox,
}

impl PrivateServer {
    /// The client with its flags, inside of the server's walls.
    pub(super) fn client(&self, access: &DatabaseAccess, client: &ClientCommand) -> Command {
        let mut command = self.sandbox.command(self.bin.join(client.program));
        let (user, database) = (access.user.as_deref(), access.database.as_deref());
        let url = url(&self.folder, user.unwrap_or(SUPERUSER), database.unwrap_or(SUPERUSER));
        command.args(client.flags).arg(format!("--dbname={url}"));
        command.envs(access.password.as_ref().map(|secret| ("PGPASSWORD", secret.expose())));
        command
    }
}

/// A server of its own, superuser `postgres`.
#[derive(Debug)]
pub struct ThrowAway {
    place: ServerFolder,
    keeper: Child,
    /// The keeper waits for its end.
    leash: Option<ChildStdin>,
    version: String,
}

#[derive(Debug)]
enum ServerFolder {
    /// The folder is removed after the private one's last use.
    Folder {
        _folder: TempDir,
        private: PrivateServer,
    },
    Container {
        docker: OsString,
        name: String,
    },
}

impl ThrowAway {
    /// Starts one of this machine's servers in a temporary folder.
    pub fn in_folder(
        programs: &ServerPrograms,
        wanted: &WantedServer,
        walls: SandboxWalls,
    ) -> Result<ThrowAway> {
        let user = server_user();
        let folder = private_folder(user)?;
        let sandbox = match walls {
            SandboxWalls::Around(hidden) => {
                Sandbox::around(folder.path(), &programs.bin, hidden, user)?
            }
            SandboxWalls::None => Sandbox::none(user),
        };
        let mut keeper = sandbox.kept(KEEPER, folder.path());
        keeper.args(["sh", "-c", IN_FOLDER, "sh"]).arg(folder.path()).arg(&programs.bin);
        keeper.arg(settings(programs, wanted)).process_group(0);
        let what = format!("PostgreSQL {} in {}", programs.version, programs.bin.display());
        let (child, leash) = start(keeper, &what)?.map_err(|ended| {
            Error::new(ErrorKind::Program, format_args!("{what} does not start"))
                .caused_by(failure::last_words(&ended.complaint))
                .hint(
                    "`--postgres FOLDER` uses other programs, `--docker` a container; TMPDIR sets \
                        the folder for temporary files",
                )
        })?;
        let private =
            PrivateServer { folder: folder.path().to_owned(), bin: programs.bin.clone(), sandbox };
        let place = ServerFolder::Folder { _folder: folder, private };
        Ok(ThrowAway {
            place,
            keeper: child,
            leash: Some(leash),
            version: programs.version.clone(),
        })
    }

    /// Starts a container of `image` through `docker` (or a program with the same flags), which
    /// fetches it if need be.
    pub fn in_container(docker: &OsStr, image: &str) -> Result<ThrowAway> {
        if image.is_empty() || image.starts_with('-') {
            return Err(Error::invalid(format_args!("`{image}` is not the name of an image")));
        }
        let name = format!("shoebox-drill-{}", uuid::Uuid::new_v4().simple());
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", IN_CONTAINER, "sh"])
            .current_dir("/")
            .process_group(0)
            .env("LC_ALL", "C");
        keeper.arg(docker).arg(&name).arg(image).arg("postgres");
        keeper.args(
            SETTINGS.iter().flat_map(|(key, value)| ["-c".to_owned(), format!("{key}={value}")]),
        );
        let subject = FailedProgram::in_container(image, docker);
        let (child, leash) = start(keeper, "docker")?
            .map_err(|ended| ClientFailure::new(subject, ended).into_error())?;
        let place = ServerFolder::Container { docker: docker.to_owned(), name };
        let mut server =
            ThrowAway { place, keeper: child, leash: Some(leash), version: String::new() };
        server.version = server
            .ask(SUPERUSER, "SHOW server_version")?
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(server)
    }

    /// Such as `18.4`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How clients reach it.
    pub fn server(&self) -> ServerPlace {
        match &self.place {
            ServerFolder::Folder { private, .. } => ServerPlace::Private(private.clone()),
            ServerFolder::Container { docker, name } => {
                ServerPlace::Docker { container: name.clone(), docker: docker.clone() }
            }
        }
    }

    /// The one value, or the few lines, that `sql` answers the superuser with, in the database of
    /// that name.
    pub fn ask(&self, database: &str, sql: &str) -> Result<String> {
        let mut lines = Vec::new();
        self.rows(SUPERUSER, database, sql, &mut |line| {
            lines.push(line.to_owned());
            Ok(())
        })?;
        Ok(lines.join("\n"))
    }

    /// Hands each row of `sql`'s answer to `each`, fields joined by tabs; `user` is who asks.
    pub fn rows(
        &self,
        user: &str,
        database: &str,
        sql: &str,
        each: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let process = Process::start(self.psql(user, database, sql)).context(|| "starting psql")?;
        let mut lines = BufReader::with_capacity(1 << 16, process);
        let mut line = String::new();
        while lines.read_line(&mut line).context(|| "reading from psql")? > 0 {
            each(line.trim_end_matches('\n'))?;
            line.clear();
        }
        let ended = lines.into_inner().end().context(|| "waiting for psql")?;
        if ended.status.success() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Program, "a question to the throw-away server failed")
                .caused_by(failure::last_words(&ended.complaint)))
        }
    }

    fn psql(&self, user: &str, database: &str, sql: &str) -> Command {
        // Nothing that is asked for holds a tab or a line's end.
        let flags = ["-X", "-q", "-A", "-t", "-w", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", sql];
        match &self.place {
            ServerFolder::Folder { private, .. } => {
                let (user, database) = (Some(user.to_owned()), Some(database.to_owned()));
                let access =
                    DatabaseAccess { user, database, ..DatabaseAccess::new(self.server()) };
                private
                    .client(&access, &ClientCommand { program: Path::new("psql"), flags: &flags })
            }
            ServerFolder::Container { docker, name } => {
                let mut command = Command::new(docker);
                command
                    .args(["exec", name, "psql", "--username", user, "--dbname", database])
                    .args(flags);
                command
            }
        }
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        self.leash = None;
        let _ = self.keeper.wait();
    }
}

/// True if `docker` is there and its daemon answers.
pub fn docker_answers(docker: &OsStr) -> bool {
    let mut command = Command::new(docker);
    command.args(["version", "--format", "{{.Server.Version}}"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Immich's own image for what a dump wants. Source: the tags of `ghcr.io/immich-app/postgres`, 14
/// being that of Immich's compose file, with pgvecto.rs in it.
pub fn image(wanted: &WantedServer) -> String {
    let tag = match wanted.major.unwrap_or(14) {
        ..=14 => "14-vectorchord0.4.3-pgvectors0.2.0".to_owned(),
        major => format!("{}-vectorchord0.5.3-pgvector0.8.1", major.min(18)),
    };
    format!("ghcr.io/immich-app/postgres:{tag}")
}

/// Starts a keeper and waits until it says that it is ready; the inner error says how it ended
/// instead.
fn start(mut command: Command, what: &str) -> Result<Result<(Child, ChildStdin), ProcessEnd>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context(|| format!("starting {what}"))?;
    let (leash, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut said = String::new();
    let heard = stdout.map(|stdout| BufReader::new(stdout).read_line(&mut said));
    match leash {
        Some(leash) if said == "ready\n" => return Ok(Ok((child, leash))),
        _ => heard.transpose().context(|| format!("waiting for {what}"))?,
    };
    let mut complaint = Vec::new();
    stderr.map(|mut stderr| stderr.read_to_end(&mut complaint));
    let status = child.wait().context(|| format!("waiting for {what}"))?;
    Ok(Err(ProcessEnd { status, complaint: String::from_utf8_lossy(&complaint).into_owned() }))
}

/// A folder that only the server's user can look into.
fn private_folder(user: Option<SystemUser>) -> Result<TempDir> {
    let usual = std::env::temp_dir();
    let place =
        if usual.as_os_str().len() > LONGEST_FOLDER { PathBuf::from("/tmp") } else { usual };
    let folder = tempfile::Builder::new()
        .prefix("shoebox-drill-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&place);
    let folder = folder.context(|| format!("making a folder in {}", place.display()))?;
    if let Some((uid, gid)) = user {
        chown(folder.path(), Some(uid), Some(gid))
            .context(|| "giving a folder to the server's user")?;
    }
    Ok(folder)
}

/// Whom root starts the server as; `None` when we are not root.
fn server_user() -> Option<SystemUser> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).unwrap_or((65_534, 65_534)))
}

/// Lines of `postgresql.conf`.
fn settings(programs: &ServerPrograms, wanted: &WantedServer) -> String {
    let mut lines: Vec<String> =
        SETTINGS.iter().chain(&PRIVATE).map(|(key, value)| format!("{key} = '{value}'")).collect();
    let wants = |name: &&&str| {
        wanted.extensions.iter().any(|extension| extension == **name) && programs.has(name)
    };
    let preloaded: Vec<&str> = PRELOADED.iter().filter(wants).copied().collect();
    lines.push(format!("shared_preload_libraries = '{}'", preloaded.join(",")));
    lines.join("\n")
}

/// Everything that a variable or a service file could say differently is said.
fn url(folder: &Path, user: &str, database: &str) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let host = encoded(&folder.join("data").to_string_lossy());
    format!(
        "postgresql:///{}?host={host}&hostaddr=&port=5432&user={}&options=",
        encoded(database),
        encoded(user)
    )
}
