//! The machine that the manual speaks of: Immich in Docker in `/srv/immich`, a disk at `/mnt/usb`,
//! a new one at `/mnt/new`.
//!
//! It is a mount and a process namespace beside the real machine, which sees nothing of it; when
//! the value goes, or the thread that made it ends, so do all its processes and mounts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Era, Postgres, SampleLibrary, postgres, project, run, sample_library};

/// The night of the sample library's first state, whose one photo is gone in the second, the night
/// after.
pub const FIRST: &str = "2026-11-22 03:00:05";
const SECOND: &str = "2026-11-23 03:00:05";

pub struct Machine {
    holder: Child,
    /// The process whose namespaces these are.
    inside: u32,
    folder: TempDir,
    pub library: SampleLibrary,
    pub database: Postgres,
}

/// How a block ended, and what it printed: both streams, in the order of lines.
pub struct Said {
    pub code: i32,
    pub text: String,
}

const COMPOSE: &str = "
services:
  immich-server:
    container_name: immich_server
    image: ghcr.io/immich-app/immich-server:${IMMICH_VERSION:-release}
    volumes:
      - ${UPLOAD_LOCATION}:/data
      - /srv/family:/mnt/external/family:ro
    depends_on: [redis, database]
  redis:
    container_name: immich_redis
    image: docker.io/valkey/valkey:9
  database:
    container_name: immich_postgres
    image: ghcr.io/immich-app/postgres:14-vectorchord0.4.3-pgvectors0.2.0
    volumes:
      - ${DB_DATA_LOCATION}:/var/lib/postgresql/data
    healthcheck: {disable: false}
";

const ENV: &str = "UPLOAD_LOCATION=./library
DB_DATA_LOCATION=./postgres
IMMICH_VERSION=v3
DB_PASSWORD=postgres
DB_USERNAME=postgres
DB_DATABASE_NAME=immich
";

impl Machine {
    /// Immich runs; of shoebox there is the package, in the home folder, and the source.
    pub fn with_immich() -> Machine {
        let (folder, library) = (tempfile::tempdir().unwrap(), sample_library(1, Era::New));
        let database = Postgres::start(postgres::debian());
        for name in ["", "etc", "bin", "home", "tmp"] {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(folder.path().join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::write(folder.path().join("tmp/place"), "/").unwrap();
        fs::set_permissions(folder.path().join("tmp/place"), fs::Permissions::from_mode(0o666))
            .unwrap();
        fill_programs(&folder.path().join("bin"), &database);
        fs::write(folder.path().join("home/shoebox_0.1.0-1_amd64.deb"), "").unwrap();
        fs::create_dir(folder.path().join("home/shoebox")).unwrap();
        for part in [&library.upload_location(), &library.external()] {
            fs::set_permissions(part.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let (holder, inside) = enter(folder.path());
        let machine = Machine { holder, inside, folder, library, database };
        machine.write("srv/immich/docker-compose.yml", COMPOSE);
        machine.write("srv/immich/.env", ENV);
        machine.load();
        machine.prepare(&format!(
            "mkdir /srv/immich/library /srv/immich/postgres /srv/family
             mount --bind -o ro '{}' ~/shoebox
             mount --bind '{}' /srv/immich/library
             mount --bind '{}' /srv/family
             cd /srv/immich
             docker compose up -d",
            project().display(),
            machine.library.upload_location().display(),
            machine.library.external().display()
        ));
        machine
    }

    /// shoebox has been set up, and has made a snapshot of both states of the library.
    /// [`Machine::first`] keeps the first one.
    pub fn with_two_nights() -> Machine {
        let machine = Machine::with_immich();
        let night = |time: &str| format!("NO_FAKE_STAT=1 faketime -f '{time}' shoebox backup");
        machine.prepare(
            "apt install ./shoebox_*.deb; shoebox init --guided -r /mnt/usb/photos \
            --immich /srv/immich",
        );
        machine.prepare(
            "mkdir /mnt/usb/keep; cp /srv/immich/docker-compose.yml /srv/immich/.env \
            /etc/shoebox.toml /usr/share/doc/shoebox/examples/recover /mnt/usb/keep/; systemctl \
            start shoebox",
        );
        machine.prepare(&night(FIRST));
        run(Command::new("cp")
            .arg("-a")
            .arg(machine.library.upload_location())
            .arg(machine.first()));
        machine.library.become_state(2);
        machine.load();
        machine.prepare(&night(SECOND));
        machine
    }

    /// The library as it was in the first night.
    pub fn first(&self) -> PathBuf {
        self.folder.path().join("first")
    }

    /// Loads the library's database again.
    fn load(&self) {
        self.database.psql("postgres", "DROP DATABASE IF EXISTS immich WITH (FORCE)");
        self.database.create_database("immich");
        self.database.load("immich", &self.library.sql());
    }

    /// Nothing is left but the disk at `/mnt/usb`; what stays of the library is for the test alone.
    pub fn dies(&self) {
        self.prepare(
            "umount /srv/immich/library /srv/family
             rm -rf /srv/immich /srv/family /etc/shoebox.toml /usr/share/doc/shoebox
             cd \"$(dirname \"$(command -v docker)\")\"
             rm -f docker.json shoebox runs.*",
        );
        self.database.psql("postgres", "DROP DATABASE immich WITH (FORCE)");
    }

    /// Runs `block` as a person would type it, in the folder where the last one ended: at home, at
    /// first.
    pub fn types(&self, block: &str) -> Said {
        self.runs("ann", block)
    }

    /// What the story needs before a recipe, done by root. The reader begins at home.
    #[track_caller]
    pub fn prepare(&self, block: &str) {
        let said = self.runs("root", &format!("cd; {block}"));
        fs::write(self.place(), self.path("~/").to_str().unwrap()).unwrap();
        assert_eq!(said.code, 0, "{block}\n{}", said.text);
    }

    /// The file that says in which folder the reader is.
    fn place(&self) -> PathBuf {
        self.folder.path().join("tmp/place")
    }

    fn runs(&self, user: &str, block: &str) -> Said {
        let (proc, home) = (format!("/proc/{}/ns", self.inside), self.folder.path().join("home"));
        let bin = self.folder.path().join("bin");
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount={proc}/mnt")).arg(format!("--pid={proc}/pid")).arg("--");
        command.args([
            "setpriv",
            "--reuid",
            user,
            "--regid",
            user,
            "--clear-groups",
            "--",
            "env",
            "-i",
        ]);
        command.arg(format!("--chdir={}", home.display())).arg(format!("HOME={}", home.display()));
        command.arg(format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()));
        command
            .arg(format!("TMPDIR={}", self.folder.path().join("tmp").display()))
            .arg(format!("USER={user}"));
        command.args(["TERM=dumb", "LANG=C.UTF-8", "TZ=UTC", "COLUMNS=100"]);
        command.arg(format!("PLACE={}", self.place().display()));
        let script = "trap 'pwd > \"$PLACE\"' EXIT; cd \"$(cat \"$PLACE\")\"; eval \"$1\"";
        command
            .args(["timeout", "300", "bash", "-euo", "pipefail", "-c", script, "bash"])
            .arg(block);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned();
        Said { code: output.status.code().unwrap_or(-1), text }
    }

    /// A path of this machine, for the test to look at; `~` is the home folder.
    pub fn path(&self, path: &str) -> PathBuf {
        match path.strip_prefix("~/") {
            Some(path) => self.folder.path().join("home").join(path),
            None => PathBuf::from(format!("/proc/{}/root", self.inside))
                .join(path.trim_start_matches('/')),
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// True when the unit of systemd, or the container, runs.
    pub fn is_running(&self, name: &str) -> bool {
        let bin = self.folder.path().join("bin");
        let docker = fs::read_to_string(bin.join("docker.json")).unwrap_or_default();
        let docker: serde_json::Value = serde_json::from_str(&docker).unwrap_or_default();
        bin.join(format!("runs.{name}")).exists()
            || docker["containers"][name]["running"] == json!(true)
    }

    /// Each table of the database with a hash of its rows.
    pub fn rows(&self) -> BTreeMap<String, String> {
        let tables = self.database.psql(
            "immich",
            "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
        );
        let hash = |table: &str| {
            let sql = format!(
                "SELECT count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {table} t"
            );
            self.database.psql("immich", &sql)
        };
        tables.lines().map(|table| (table.to_owned(), hash(table))).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// What is on PATH before anything is installed, and what the package holds.
fn fill_programs(bin: &Path, database: &Postgres) {
    let package = bin.join("package");
    fs::create_dir(&package).unwrap();
    let copy = |from: PathBuf, to: PathBuf| {
        run(Command::new("cp").arg("-r").arg(from).arg(to));
    };
    copy(env!("CARGO_BIN_EXE_shoebox").into(), package.join("shoebox"));
    copy(project().join("scripts/recover"), package.join("recover"));
    copy(project().join("scripts/package/compose.yml"), package.join("compose.yml"));
    copy(project().join("scripts/package/systemd"), package.join("systemd"));
    copy(project().join("scripts/package/Dockerfile"), bin.join("Dockerfile"));
    for (script, name) in [("docker.py", "docker"), ("apt", "apt"), ("systemctl", "systemctl")] {
        copy(project().join("tests/program/manual").join(script), bin.join(name));
    }
    let sudo = "#!/bin/sh\nexec \"$(dirname \"$0\")/../etc/elevate\" --reuid=0 --regid=0 \
        --clear-groups -- \"$@\"\n";
    fs::write(bin.join("sudo"), sudo).unwrap();
    fs::set_permissions(bin.join("sudo"), fs::Permissions::from_mode(0o755)).unwrap();
    let server =
        json!({ "PGHOST": database.socket_folder(), "PGPORT": database.port().to_string() });
    fs::write(bin.join("server.json"), server.to_string()).unwrap();
}

/// Starts the namespaces: the process that holds them, and the first one in them.
fn enter(folder: &Path) -> (Child, u32) {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "--",
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command
        .args(["--propagation", "private", "--", "bash"])
        .arg(project().join("tests/program/manual/machine.sh"))
        .arg(folder);
    let mut holder = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "the machine of the manual could not be made");
    let children = format!("/proc/{0}/task/{0}/children", holder.id());
    let inside = fs::read_to_string(children).unwrap().trim().parse().expect("one process");
    (holder, inside)
}
