//! The living Immich, with real parts: PostgreSQL's own clients and servers, and folders on disk.
//! Only docker is a stand-in, which prints what docker prints and runs the real client.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::support::postgres::{debian, free_port, newer_versions};
use crate::support::{Docker, Era, Postgres, sample_library};
use shoebox::base::monitor::SilentMonitor;
use shoebox::base::{Error, ErrorKind, FilePath, Problem};
use shoebox::source::postgres::{ClientPrograms, start, start_among};
use shoebox::source::{
    DumpRequest, DumpTool, ExcludePatterns, FoundEntry, FoundKind, LibraryPlaces, LibraryRoot,
    Secret, ServerPlace, UploadLocation, WalkObstacle, walk,
};

fn read(request: &DumpRequest) -> Result<String, Error> {
    let mut dump = start(request, &SilentMonitor)?;
    let mut text = String::new();
    dump.read_to_string(&mut text).unwrap();
    dump.finish()?;
    Ok(text)
}

fn refusal(request: &DumpRequest) -> (ErrorKind, String, String) {
    let error = read(request).expect_err("this dump must fail");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    println!("{error}\n  {source}\n  hint: {}", error.next_step().unwrap_or("-"));
    (error.kind(), error.to_string(), error.next_step().unwrap_or_default().to_owned())
}

fn url(text: impl Into<String>) -> DumpRequest {
    DumpRequest::new(ServerPlace::Url(text.into()))
}

/// Somebody's psql, ended when dropped.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn open(server: &Postgres) -> Session {
        let mut psql = server.client("psql", "postgres");
        psql.args(["-X", "-q", "-A", "-t"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = psql.spawn().unwrap();
        let (input, output) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Session { child, input, output }
    }

    /// Sends `sql`; the first line of the answer.
    fn ask(&mut self, sql: &str) -> String {
        writeln!(self.input, "{sql}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_docker(docker: &Docker, container: &str) -> DumpRequest {
    DumpRequest::new(ServerPlace::Docker { container: container.into(), docker: docker.program() })
}

fn assert_whole(dump: &str, table: &str) {
    assert!(dump.contains(&format!("COPY public.{table} (")), "no rows of {table}");
    assert!(dump.contains("dump complete"), "not complete");
}

#[test]
fn both_clients_dump_the_sample_library_by_url() {
    let library = sample_library(1, Era::New);
    let server = Postgres::start(debian());
    server.create_database("immich");
    server.load("immich", &library.sql());
    assert_eq!(
        server.psql("immich", "SELECT count(*) FROM asset"),
        library.truth()["counts"]["assets"].to_string()
    );

    let one = read(&url(server.url("immich"))).unwrap();
    assert_whole(&one, "asset");
    assert!(one.contains("DROP TABLE IF EXISTS public.asset;") && !one.contains("\\connect"));
    // Without a name it is the one that Immich's compose file names.
    assert_eq!(read(&url(server.url(""))).unwrap().len(), one.len());

    let all =
        read(&DumpRequest { tool: DumpTool::PgDumpall, ..url(server.url("immich")) }).unwrap();
    assert!(all.contains("PostgreSQL database cluster dump") && all.contains("\\connect immich"));
    assert_whole(&all, "asset");
}

#[test]
fn both_states_and_eras_of_the_sample_library_load_and_dump() {
    let server = Postgres::start(debian());
    for (state, era, table) in [
        (2, Era::Groups, "asset"),
        (2, Era::New, "asset"),
        (1, Era::Old, "assets"),
        (2, Era::Old, "assets"),
    ] {
        let library = sample_library(state, era);
        let name = format!("immich {state} {era:?}");
        server.create_database(&name);
        server.load(&name, &library.sql());
        let dump = read(&DumpRequest { database: Some(name), ..url(server.url("")) }).unwrap();
        assert_whole(&dump, table);
    }
}

#[test]
fn a_password_reaches_the_server_by_url_by_request_and_by_file_and_a_wrong_one_is_refused() {
    let password = "p@ss/w:rd %20 \"ü'";
    let server = Postgres::with_password(password);
    server.create_database("odd 'db' =/?\"");
    let database = Some("odd 'db' =/?\"".to_owned());
    let plain = format!("postgresql://postgres@127.0.0.1:{}/", server.port());

    let given = DumpRequest {
        database: database.clone(),
        password: Some(Secret::new(password)),
        ..url(&plain)
    };
    assert!(read(&given).unwrap().contains("dump complete"));
    let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let inside = format!("postgresql://postgres:{encoded}@127.0.0.1:{}/", server.port());
    assert!(
        read(&DumpRequest { database: database.clone(), ..url(inside) })
            .unwrap()
            .contains("dump complete")
    );

    let file = server.socket_folder().join("pgpass");
    let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
    fs::write(&file, format!("127.0.0.1:{}:*:postgres:{escaped}\n", server.port())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let by_file = format!("{plain}?passfile={}", file.display());
    assert!(read(&DumpRequest { database, ..url(by_file) }).unwrap().contains("dump complete"));

    let wrong = DumpRequest { password: Some(Secret::new("hunter2")), ..url(&plain) };
    let (kind, message, hint) = refusal(&wrong);
    assert_eq!(
        (kind, message.as_str()),
        (ErrorKind::Program, "the database refused the password for user postgres")
    );
    assert!(hint.contains("DB_PASSWORD"));
    let error = read(&wrong).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"));
    assert_eq!(refusal(&url(plain)).1, "the database asks for a password");
}

#[test]
fn the_environment_leads_to_the_server_and_a_password_is_never_on_a_command_line() {
    if std::env::var_os("SHOEBOX_TEST_DUMP").is_some() {
        return dump_by_environment();
    }
    let server = Postgres::with_password("hunter2");
    server.create_database("immich");
    // libpq's variables are the process's own, so the dump is made by this same test in a process
    // of its own.
    let name = "the_environment_leads_to_the_server_and_a_password_is_never_on_a_command_line";
    let name = crate::support::test_name(module_path!(), name);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", &name, "--nocapture"])
        .envs(server.environment())
        .env("SHOEBOX_TEST_DUMP", "1");
    crate::support::run(&mut child);
}

/// Holds a dump open by a lock, looks at every command line, and lets it go.
fn dump_by_environment() {
    let request = DumpRequest::new(ServerPlace::Environment);
    assert!(read(&request).unwrap().contains("dump complete"));
    let mut lock = Command::new("psql");
    lock.args(["-X", "-d", "immich", "-c", "CREATE TABLE held ()"]);
    crate::support::run(&mut lock);
    let mut lock = Command::new("psql");
    lock.args(["-X", "-d", "immich", "-c", "BEGIN; LOCK held; SELECT pg_sleep(4); COMMIT"]);
    let mut holder = lock.stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    let dumping = std::thread::spawn(move || read(&request).map(|dump| dump.len()));
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let lines = command_lines();
    assert!(lines.iter().any(|line| line.contains("pg_dump")), "the dump waits for the lock");
    assert!(!lines.iter().any(|line| line.contains("hunter2")));
    holder.wait().unwrap();
    assert!(dumping.join().unwrap().unwrap() > 0);
}

fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

#[test]
fn a_server_a_database_a_user_or_a_host_that_is_not_there_is_named() {
    let server = Postgres::start(debian());
    let port = free_port();
    for (text, message, hint) in [
        (server.url("nope"), "database nope does not exist on the server", "DB_DATABASE_NAME"),
        (
            format!("postgresql://bob@127.0.0.1:{}/postgres", server.port()),
            "the server knows no user bob",
            "DB_USERNAME",
        ),
        (format!("postgresql://a@127.0.0.1:{port}/x"), "does not answer", "--docker"),
        ("postgresql:///x?host=/no/such/folder".to_owned(), "does not answer", "--docker"),
        (
            "postgresql://a@database.invalid/x".to_owned(),
            "the host database.invalid is not known",
            "--docker",
        ),
    ] {
        let (kind, said, next) = refusal(&url(text));
        assert_eq!(kind, ErrorKind::Program);
        assert!(said.contains(message), "{said}");
        assert!(next.contains(hint), "{next}");
    }
}

#[test]
fn a_table_that_somebody_holds_locked_ends_the_dump_and_names_the_process() {
    let server = Postgres::start(debian());
    server.psql("postgres", "CREATE TABLE album (id int); CREATE TABLE \"asset file\" (id int)");
    let mut holder = Session::open(&server);
    let pid = holder.ask("SELECT pg_backend_pid();");
    holder.ask("BEGIN; LOCK TABLE \"asset file\" IN ACCESS EXCLUSIVE MODE; SELECT 1;");
    for tool in [DumpTool::PgDump, DumpTool::PgDumpall] {
        let mut request = DumpRequest { tool, ..url(server.url("postgres")) };
        request.patience.lock = Duration::from_millis(200);
        let (kind, message, hint) = refusal(&request);
        assert_eq!(
            (kind, message.as_str()),
            (ErrorKind::Program, "another session holds a lock on table asset file")
        );
        assert!(
            hint.contains(&format!("process {pid} "))
                && hint.contains("idle in transaction since 20"),
            "{hint}"
        );
        assert!(hint.contains(&format!("`SELECT pg_terminate_backend({pid})`")), "{hint}");
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pg_dump%'";
    assert_eq!(server.psql("postgres", waiting), "0", "no dump is left behind");
    drop(holder);
    assert!(read(&url(server.url("postgres"))).unwrap().contains("dump complete"));
}

#[test]
fn a_client_that_sends_nothing_is_ended_with_its_children() {
    for words in ["", "echo '-- PostgreSQL database dump';"] {
        let folder = tempfile::tempdir().unwrap();
        let (program, pid) = (folder.path().join("pg_dump"), folder.path().join("pid"));
        fs::write(
            &program,
            format!("#!/bin/sh\n{words} sleep 1000 & echo $! > {}; wait\n", pid.display()),
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let clients = ClientPrograms { path: folder.path().into(), versions: "/nowhere".into() };
        let mut request = url("postgresql://localhost/immich");
        request.patience.idle = Duration::from_secs(1);
        let error = match start_among(&request, &clients, &SilentMonitor) {
            Err(error) => error,
            Ok(mut dump) => {
                dump.read_to_string(&mut String::new()).unwrap_err();
                dump.given_up().expect("it says why")
            }
        };
        assert_eq!(error.to_string(), "pg_dump sent nothing for 1 second and was ended");
        let child = fs::read_to_string(&pid).unwrap();
        let is_there = || {
            let stat =
                fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let ended = (0..500).any(|_| {
            !is_there() || {
                std::thread::sleep(Duration::from_millis(10));
                false
            }
        });
        assert!(ended, "the client's child {child} goes on");
    }
}

#[test]
fn a_user_who_may_not_read_is_told_which_table() {
    let server = Postgres::start(debian());
    server.psql("postgres", "CREATE ROLE reader LOGIN; CREATE TABLE asset (id int)");
    let request = url(format!("postgresql://reader@127.0.0.1:{}/postgres", server.port()));
    let (kind, message, hint) = refusal(&request);
    assert_eq!(
        (kind, message.as_str()),
        (ErrorKind::Program, "the database user may not read table asset")
    );
    assert!(hint.contains("DB_USERNAME"));
    let all = refusal(&DumpRequest { tool: DumpTool::PgDumpall, ..request });
    assert!(all.2.contains("superuser"), "{}", all.2);
}

#[test]
fn a_client_that_is_too_old_is_replaced_by_the_newest_or_the_cure_is_told() {
    if !Postgres::is_installed(16) || !Postgres::is_installed(18) {
        return;
    }
    let debians = PathBuf::from(format!("/usr/lib/postgresql/{}/bin", debian()));
    let server = Postgres::start(18);
    let request = url(server.url("postgres"));
    let old = ClientPrograms { path: debians.clone().into(), versions: "/nowhere".into() };
    let error = start_among(&request, &old, &SilentMonitor).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Program);
    assert!(
        error.to_string().starts_with(&format!("the PostgreSQL client (version {}.", debian())),
        "{error}"
    );
    assert!(error.to_string().contains("older than the server (version 18."), "{error}");
    assert!(error.next_step().unwrap().contains("postgresql-client-18"), "{:?}", error.next_step());

    for tool in [DumpTool::PgDump, DumpTool::PgDumpall] {
        let newest = ClientPrograms { path: debians.clone().into(), versions: newer_versions() };
        let mut dump =
            start_among(&DumpRequest { tool, ..request.clone() }, &newest, &SilentMonitor).unwrap();
        let mut text = String::new();
        dump.read_to_string(&mut text).unwrap();
        dump.finish().unwrap();
        assert!(text.contains("Dumped by pg_dump version 18."));
    }
}

#[test]
fn a_machine_without_clients_is_told_which_package() {
    let none = ClientPrograms { path: OsString::new(), versions: "/nowhere".into() };
    let error = start_among(&url("postgresql://a@b/c"), &none, &SilentMonitor).err().unwrap();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotFound, "pg_dump is not installed")
    );
    assert!(error.next_step().unwrap().contains("postgresql-client"));
}

#[test]
fn the_client_in_the_container_is_told_what_the_container_was_set_up_with() {
    let server = Postgres::with_password("inside secret");
    server.psql("postgres", "CREATE ROLE \"im mich\" LOGIN SUPERUSER PASSWORD 'o''dd $x'");
    server.create_database("my \"photos\"");
    let socket = server.socket_folder().display().to_string();
    let port = server.port().to_string();
    let reach = [("PGHOST", socket.as_str()), ("PGPORT", port.as_str())];
    let secret = server.socket_folder().join("container secret");
    fs::write(&secret, "inside secret\n").unwrap();
    let file = secret.display().to_string();
    let docker = Docker::new()
        .container(
            "immich_postgres",
            &[
                &reach[..],
                &[
                    ("POSTGRES_USER", "im mich"),
                    ("POSTGRES_PASSWORD", "o'dd $x"),
                    ("POSTGRES_DB", "my \"photos\""),
                ],
            ]
            .concat(),
        )
        .container(
            "by_file",
            &[&reach[..], &[("POSTGRES_PASSWORD_FILE", &file), ("POSTGRES_DB", "postgres")]]
                .concat(),
        )
        .container("bare", &reach);

    for container in ["immich_postgres", "by_file"] {
        assert!(
            read(&in_docker(&docker, container)).unwrap().contains("dump complete"),
            "{container}"
        );
    }
    let bare = in_docker(&docker, "bare");
    let named = DumpRequest {
        user: Some("im mich".into()),
        database: Some("my \"photos\"".into()),
        password: Some(Secret::new("o'dd $x")),
        ..bare.clone()
    };
    assert!(read(&named).unwrap().contains("dump complete"));
    assert!(
        read(&DumpRequest { tool: DumpTool::PgDumpall, ..named })
            .unwrap()
            .contains("cluster dump complete")
    );
    assert!(!docker.calls().contains("o'dd"), "the password is on docker's command line");

    assert_eq!(refusal(&bare).1, "the database asks for a password");
    let unknown = DumpRequest { password: Some(Secret::new("inside secret")), ..bare };
    assert_eq!(refusal(&unknown).1, "database immich does not exist on the server");
}

#[test]
fn what_docker_refuses_is_told_with_the_next_step() {
    // The server's image has a shell, and no client on its PATH.
    let image = tempfile::tempdir().unwrap();
    for program in ["sh", "cat"] {
        symlink(Path::new("/bin").join(program), image.path().join(program)).unwrap();
    }
    let path = image.path().display().to_string();
    let docker =
        Docker::new().stopped("immich_postgres").container("immich_server", &[("PATH", &path)]);
    for (container, message) in [
        ("immich_postgres", "container immich_postgres is not running"),
        ("nope", "no container is called nope"),
    ] {
        let (kind, said, hint) = refusal(&in_docker(&docker, container));
        assert_eq!((kind, said.as_str()), (ErrorKind::Program, message));
        assert!(hint.contains("docker") || hint.contains("container"));
    }
    let denied = "permission denied while trying to connect to the Docker daemon socket at \
        unix:///var/run/docker.sock: \
                  Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.50/containers/x/json\": dial unix \
                  /var/run/docker.sock: connect: permission denied";
    assert!(refusal(&in_docker(&Docker::saying(denied), "x")).2.contains("group docker"));
    let down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker \
        daemon running?";
    assert_eq!(
        refusal(&in_docker(&Docker::saying(down), "x")).1,
        "the Docker daemon does not answer"
    );
    let bare = "OCI runtime exec failed: exec failed: unable to start container process: exec: \
        \"pg_dump\": executable file not found in $PATH: unknown";
    assert_eq!(refusal(&in_docker(&Docker::saying(bare), "x")).1, "container x has no pg_dump");

    let missing = DumpRequest::new(ServerPlace::Docker {
        container: "x".into(),
        docker: "/nowhere/docker".into(),
    });
    assert_eq!(refusal(&missing).0, ErrorKind::NotFound);
}

#[test]
fn a_dump_that_is_dropped_leaves_no_client_behind() {
    let server = Postgres::start(debian());
    server.psql(
        "postgres",
        "CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
    );
    let mut dump = start(&url(server.url("postgres")), &SilentMonitor).unwrap();
    dump.read_exact(&mut [0; 100_000]).unwrap();
    assert_eq!(
        server.psql(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump'"
        ),
        "1"
    );
    drop(dump);
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        server.psql(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump'",
        ) == "0"
    });
    assert!(gone, "the client is still connected");
}

#[test]
fn a_server_that_dies_in_the_middle_makes_the_dump_fail() {
    let server = Postgres::start(debian());
    server.psql(
        "postgres",
        "CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
    );
    let mut dump = start(&url(server.url("postgres")), &SilentMonitor).unwrap();
    dump.read_exact(&mut [0; 100_000]).unwrap();
    server.psql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg_dump'",
    );
    let mut rest = Vec::new();
    dump.read_to_end(&mut rest).unwrap();
    assert_eq!(dump.finish().unwrap_err().kind(), ErrorKind::Program);
}

fn root(folder: &Path, shown: &str) -> LibraryRoot {
    LibraryRoot { folder: folder.to_owned(), shown: FilePath::new(shown).unwrap() }
}

fn places(walked: Vec<LibraryRoot>, beside: Vec<LibraryRoot>) -> Arc<LibraryPlaces> {
    Arc::new(LibraryPlaces::open(walked, beside).unwrap())
}

fn found(roots: Vec<LibraryRoot>) -> Vec<FoundEntry> {
    walk(&places(roots, Vec::new()), Vec::new(), ExcludePatterns::default())
        .map(|item| item.unwrap())
        .collect()
}

fn problem(obstacle: WalkObstacle) -> Problem {
    match obstacle {
        WalkObstacle::Problem(problem) => problem,
        WalkObstacle::End(error) => panic!("{}", error.chain()),
    }
}

fn shown(found: &[FoundEntry]) -> Vec<FilePath> {
    found.iter().map(|found| found.path.clone()).collect()
}

#[test]
fn the_walk_tells_what_the_standard_library_tells_in_the_order_of_a_file_list() {
    let library = sample_library(2, Era::New);
    let location = UploadLocation::open(&library.upload_location(), &[]).unwrap();
    let found = found(location.roots(true));
    assert!(shown(&found).is_sorted());

    let everything: BTreeSet<FilePath> = walkdir::WalkDir::new(location.folder())
        .min_depth(1)
        .into_iter()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .strip_prefix(location.folder())
                .unwrap()
                .as_os_str()
                .to_owned()
                .into_vec()
        })
        .map(|bytes| FilePath::new(bytes).unwrap())
        .filter(|path| path.parts().next() != Some(b"backups"))
        .collect();
    assert_eq!(shown(&found), Vec::from_iter(everything));
    for found in found {
        use std::os::unix::fs::MetadataExt;
        let real = fs::symlink_metadata(location.place(&found.path)).unwrap();
        let time = real.mtime() * 1_000_000_000 + real.mtime_nsec();
        assert_eq!((found.size, found.mtime, found.mode), (real.len(), time, real.mode() & 0o7777));
        assert_eq!(
            (found.uid, found.gid, found.dev, found.ino, found.links),
            (real.uid(), real.gid(), real.dev(), real.ino(), real.nlink())
        );
        assert_eq!(found.kind == FoundKind::Folder, real.is_dir());
    }
}

#[test]
fn odd_names_and_kinds_come_through() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(255);
    let names: Vec<Vec<u8>> = [
        b"\xff\xfe.jpg".as_slice(),
        b"new\nline",
        b" ",
        b"-rf",
        b"...",
        b"a-b",
        b"a.b",
        long.as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .into();
    for name in &names {
        fs::write(folder.path().join(OsString::from_vec(name.clone())), "x").unwrap();
    }
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/z"), "").unwrap();
    symlink("/etc", folder.path().join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), rustix::fs::Mode::RUSR)
        .unwrap();
    fs::hard_link(folder.path().join("a/z"), folder.path().join("twin")).unwrap();

    let found = found(vec![root(folder.path(), "upload")]);
    assert!(shown(&found).is_sorted());
    assert_eq!(found.len(), names.len() + 6);
    let kind =
        |name: &str| found.iter().find(|found| found.path.name() == name.as_bytes()).unwrap();
    assert_eq!(kind("link").kind, FoundKind::Symlink);
    assert_eq!(kind("pipe").kind, FoundKind::Special);
    assert_eq!((kind("z").links, kind("z").ino), (2, kind("twin").ino));
}

#[test]
fn roots_and_single_files_are_merged_with_the_folders_above_them() {
    let folder = tempfile::tempdir().unwrap();
    for path in [
        "upload/u/1.jpg",
        "encoded-video/u/aa/1-MP.mp4",
        "encoded-video/u/aa/2.mp4",
        "nas/family/x.jpg",
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    fs::set_permissions(folder.path().join("encoded-video/u"), fs::Permissions::from_mode(0o750))
        .unwrap();
    let single = FilePath::new("encoded-video/u/aa/1-MP.mp4").unwrap();
    let inside = FilePath::new("upload/u/1.jpg").unwrap();
    let roots = vec![
        root(&folder.path().join("upload"), "upload"),
        root(&folder.path().join("nas/family"), "external/mnt/family"),
    ];
    let beside = vec![root(&folder.path().join("encoded-video"), "encoded-video")];
    let walked = walk(&places(roots, beside), vec![inside, single], ExcludePatterns::default());
    let found: Vec<FoundEntry> = walked.map(|item| item.unwrap()).collect();
    let paths: Vec<_> = found.iter().map(|found| found.path.to_string()).collect();
    assert_eq!(
        paths,
        [
            "encoded-video",
            "encoded-video/u",
            "encoded-video/u/aa",
            "encoded-video/u/aa/1-MP.mp4",
            "external",
            "external/mnt",
            "external/mnt/family",
            "external/mnt/family/x.jpg",
            "upload",
            "upload/u",
            "upload/u/1.jpg"
        ]
    );
    assert_eq!(found[1].mode, 0o750);
    assert!(found[..3].iter().chain(&found[4..7]).all(|found| found.kind == FoundKind::Folder));
}

#[test]
fn what_vanishes_or_is_not_there_is_a_problem_and_the_walk_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    let extra = vec![FilePath::new("encoded-video/gone.mp4").unwrap()];
    let roots = vec![root(folder.path(), "upload"), root(&folder.path().join("none"), "library")];
    let mut seen = Vec::new();
    let mut problems = Vec::new();
    for item in walk(&places(roots, Vec::new()), extra, ExcludePatterns::default()) {
        match item {
            Ok(found) => {
                if found.path.name() == b"upload" {
                    fs::remove_file(folder.path().join("b")).unwrap();
                }
                seen.push(found.path.to_string());
            }
            Err(obstacle) => problems.push(problem(obstacle)),
        }
    }
    assert_eq!(seen, ["encoded-video", "upload", "upload/a", "upload/c"]);
    let subjects: BTreeSet<_> = problems.iter().map(|problem| problem.subject.as_str()).collect();
    // Who names a single file knows what it lacks when it is not there: that is no problem of the
    // walk.
    assert_eq!(subjects, BTreeSet::from(["library", "upload/b"]));
    assert!(problems.iter().all(
        |problem| problem.message.contains("vanished") || problem.message.contains("not there")
    ));
}

#[test]
fn a_folder_that_may_not_be_read_is_a_problem_and_its_neighbours_are_told() {
    if std::env::var_os("SHOEBOX_TEST_WALK").is_none() && crate::support::is_root() {
        // Root may read everything, so this test runs itself as somebody else.
        let name = "a_folder_that_may_not_be_read_is_a_problem_and_its_neighbours_are_told";
        let name = crate::support::test_name(module_path!(), name);
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new("setpriv");
        child
            .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--"])
            .arg(program);
        crate::support::run(
            child.args(["--exact", &name]).env("SHOEBOX_TEST_WALK", "1").current_dir("/"),
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["closed", "list only", "open"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("x"), "").unwrap();
    }
    let mode = |name: &str, mode| {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap()
    };
    mode("closed", 0o000);
    mode("list only", 0o400);
    let (found, problems): (Vec<_>, Vec<_>) = walk(
        &places(vec![root(folder.path(), "u")], Vec::new()),
        Vec::new(),
        ExcludePatterns::default(),
    )
    .partition(Result::is_ok);
    mode("closed", 0o700);
    mode("list only", 0o700);
    let paths: Vec<_> = found.into_iter().map(|found| found.unwrap().path.to_string()).collect();
    assert_eq!(paths, ["u", "u/closed", "u/list only", "u/open", "u/open/x"]);
    let problems: Vec<_> = problems.into_iter().map(|item| problem(item.unwrap_err())).collect();
    assert_eq!(problems[0].subject, "u/closed");
    assert_eq!(problems[1].subject, "u/list only/x");
    assert!(problems.iter().all(|problem| problem.message.contains("permission denied")));
}

#[test]
fn deep_folders_are_walked_with_few_of_them_open() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join(["d"; 300].join("/"));
    fs::create_dir_all(&deep).unwrap();
    let mut place = folder.path().to_owned();
    for _ in 0..300 {
        fs::write(place.join("z"), "").unwrap();
        place.push("d");
    }
    let mut walk = walk(
        &places(vec![root(folder.path(), "u")], Vec::new()),
        Vec::new(),
        ExcludePatterns::default(),
    );
    let mut paths = Vec::new();
    let mut most = 0;
    for item in &mut walk {
        paths.push(item.unwrap().path);
        if paths.len() == 250 {
            most = fs::read_dir("/proc/self/fd")
                .unwrap()
                .flatten()
                .filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(folder.path())))
                .count();
        }
    }
    assert_eq!(paths.len(), 601);
    assert!(paths.is_sorted());
    assert!(most > 0 && most < 70, "{most} open folders");
}

#[test]
fn what_is_excluded_is_not_told_and_not_entered() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["a/@eaDir/x", "a/photo.jpg", "b.tmp", "b/c.tmp"] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let exclude = ExcludePatterns::new(&["**/@eaDir", "upload/*.tmp"]).unwrap();
    let paths: Vec<_> =
        walk(&places(vec![root(folder.path(), "upload")], Vec::new()), Vec::new(), exclude)
            .map(|item| item.unwrap().path.to_string())
            .collect();
    assert_eq!(paths, ["upload", "upload/a", "upload/a/photo.jpg", "upload/b", "upload/b/c.tmp"]);
    assert!(ExcludePatterns::new(&["[z"]).is_err());
}

#[test]
fn a_folder_that_is_a_symlink_to_another_disk_is_walked() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("big disk")).unwrap();
    fs::create_dir_all(folder.path().join("immich/upload")).unwrap();
    fs::write(folder.path().join("immich/upload/.immich"), "1").unwrap();
    fs::write(folder.path().join("big disk/.immich"), "1").unwrap();
    fs::write(folder.path().join("big disk/x.jpg"), "x").unwrap();
    symlink("../big disk", folder.path().join("immich/library")).unwrap();
    let location = UploadLocation::open(&folder.path().join("immich"), &[]).unwrap();
    let paths: Vec<_> =
        found(location.roots(false)).iter().map(|found| found.path.to_string()).collect();
    assert_eq!(paths, ["library", "library/.immich", "library/x.jpg", "upload", "upload/.immich"]);
}
