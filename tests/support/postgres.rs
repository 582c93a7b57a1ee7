//! A PostgreSQL server that lives as long as a test.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{is_root, run};

/// The major version that this Debian brings: 15 in Debian 12, 17 in Debian 13.
pub fn debian() -> u32 {
    let versions = std::fs::read_dir(DEBIANS).into_iter().flatten().flatten();
    let majors = versions.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    majors.max().expect("`scripts/setup` installs PostgreSQL")
}

/// Debian's version and the newer ones that are installed, ascending: what Debian's `pg_dump` can
/// be restored to.
pub fn from_debian() -> Vec<u32> {
    let mut majors = vec![debian()];
    majors.extend(
        [16, 18].into_iter().filter(|major| *major > debian() && Postgres::is_installed(*major)),
    );
    majors
}

const DEBIANS: &str = "/usr/lib/postgresql";

/// A real server on a free port of 127.0.0.1 and a socket in its folder; superuser `postgres`.
///
/// It also ends if the thread that started it ends without dropping it, so do not keep one in a
/// static.
pub struct Postgres {
    folder: TempDir,
    child: Child,
    port: u16,
    password: Option<String>,
}

impl Postgres {
    /// A server of `major` that trusts everybody.
    pub fn start(major: u32) -> Postgres {
        Self::launch(major, None, None)
    }

    /// A server of Debian's version whose messages are German.
    pub fn speaking_german() -> Postgres {
        Self::launch(debian(), None, Some("de_DE"))
    }

    /// A server of Debian's version that asks for `password` (scram), by socket and by TCP.
    pub fn with_password(password: &str) -> Postgres {
        Self::launch(debian(), Some(password), None)
    }

    /// True if a server of `major` is installed; else says how to get it.
    pub fn is_installed(major: u32) -> bool {
        let found = programs(major).is_some();
        if !found {
            println!("skipped: there is no PostgreSQL {major}; `scripts/setup` installs it");
        }
        found
    }

    fn launch(major: u32, password: Option<&str>, language: Option<&str>) -> Postgres {
        let programs = programs(major).unwrap_or_else(|| {
            panic!("there is no PostgreSQL {major}; `scripts/setup` installs it")
        });
        let folder = data_folder(&programs, password, language);
        for _ in 0..5 {
            let port = free_port();
            let mut child = serve(&programs, folder.path(), port);
            if answers(&mut child, folder.path(), port) {
                return Postgres { folder, child, port, password: password.map(str::to_owned) };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("PostgreSQL {major} does not start: {log}");
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its socket.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// A URL of `database`, with the password if there is one.
    pub fn url(&self, database: &str) -> String {
        let password =
            self.password.as_ref().map(|password| format!(":{password}")).unwrap_or_default();
        format!("postgresql://postgres{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database.
    pub fn create_database(&self, name: &str) {
        self.psql(
            "postgres",
            &format!(
                "CREATE DATABASE \"{}\" TEMPLATE template0 ENCODING 'UTF8'",
                name.replace('"', "\"\"")
            ),
        );
    }

    /// Runs SQL in `database`; the answer's rows, fields joined by `|`.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let output = run(self.client("psql", database).args([
            "-X",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ]));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Loads a file of SQL into `database`.
    pub fn load(&self, database: &str, file: &Path) {
        run(self
            .client("psql", database)
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(file));
    }

    /// A client program that reaches this server by the environment.
    pub fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.environment()).env("PGDATABASE", database);
        command
    }

    /// The `PG*` variables that lead here.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("PGHOST", self.folder.path().display().to_string()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", "postgres".to_owned()),
        ];
        variables.extend(self.password.clone().map(|password| ("PGPASSWORD", password)));
        variables
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        let signal = |signal| rustix::process::kill_process(id, signal);
        let _ = signal(rustix::process::Signal::INT);
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(10) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = signal(rustix::process::Signal::QUIT);
        let _ = self.child.wait();
    }
}

/// Where `scripts/setup` puts what Debian does not have.
pub fn cache() -> PathBuf {
    if let Some(folder) = std::env::var_os("SHOEBOX_TEST_CACHE") {
        return folder.into();
    }
    if is_root() {
        return "/var/cache/shoebox-tests".into();
    }
    let home = || std::env::home_dir().unwrap_or_default().join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("shoebox-tests")
}

/// The folder of folders `MAJOR/bin` with servers and clients that are newer than Debian's.
pub fn newer_versions() -> PathBuf {
    cache().join("postgres")
}

/// A client program of `major`.
pub fn program(major: u32, name: &str) -> PathBuf {
    programs(major)
        .unwrap_or_else(|| panic!("there is no PostgreSQL {major}; `scripts/setup` installs it"))
        .join(name)
}

fn programs(major: u32) -> Option<PathBuf> {
    [PathBuf::from(DEBIANS), newer_versions()]
        .into_iter()
        .map(|versions| versions.join(major.to_string()).join("bin"))
        .find(|folder| folder.join("initdb").exists())
}

/// Makes the data folder. It belongs to `postgres` when we are root, since the server refuses to
/// run as root.
fn data_folder(programs: &Path, password: Option<&str>, language: Option<&str>) -> TempDir {
    let folder =
        tempfile::Builder::new().prefix("shoebox-pg").tempdir().expect("a temporary folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, password.unwrap_or_default())
        .expect("writing into the temporary folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
        .expect("own folder");
    if is_root() {
        let (uid, gid) = postgres_ids();
        for path in [folder.path(), &secret] {
            chown(path, Some(uid), Some(gid)).expect("root may give away a folder");
        }
    }
    let mut initdb = as_server(programs.join("initdb"));
    if let Some(language) = language {
        let locale = folder.path().join(format!("{language}.UTF-8"));
        run(Command::new("localedef").args(["-i", language, "-f", "UTF-8"]).arg(locale));
        initdb.arg(format!("--lc-messages={language}.UTF-8")).env("LOCPATH", folder.path());
    }
    initdb
        .args(["--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"])
        .arg(folder.path().join("data"));
    match password {
        Some(_) => initdb.arg("--auth=scram-sha-256").arg("--pwfile").arg(&secret),
        None => initdb.arg("--auth=trust"),
    };
    run(&mut initdb);
    folder
}

fn serve(programs: &Path, folder: &Path, port: u16) -> Child {
    let log = std::fs::File::create(folder.join("log")).expect("a log file");
    as_server(programs.join("postgres"))
        .env("LOCPATH", folder)
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder)
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-F",
            "-c",
            "shared_buffers=16MB",
            "-c",
            "max_connections=20",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("starting the server")
}

/// A command that ends with us, and that runs as `postgres` when we are root.
fn as_server(program: PathBuf) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/").env("LC_ALL", "C");
    command
}

fn answers(child: &mut Child, folder: &Path, port: u16) -> bool {
    let started = Instant::now();
    let socket = folder.join(format!(".s.PGSQL.{port}"));
    while started.elapsed() < Duration::from_secs(30) && matches!(child.try_wait(), Ok(None)) {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        let ready = log.contains("ready to accept connections")
            || log.contains("bereit, um Verbindungen anzunehmen");
        if ready && socket.exists() && TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn postgres_ids() -> (u32, u32) {
    let id = |flag: &str| {
        let output = run(Command::new("id").args([flag, "postgres"]));
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("id prints a number")
    };
    (id("-u"), id("-g"))
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse => panic!("no port is free"),
        _ => panic!("loopback: {error}"),
    });
    listener.local_addr().expect("a bound socket has an address").port()
}
