//! Bringing the database back: into real servers, from dumps of the sample library and of real
//! Immich servers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::backup_library::{Home, dump as bare_dump};
use crate::support::postgres::{debian, free_port, from_debian};
use crate::support::{Docker, Era, Postgres, run, sample_library, shared};
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::base::{Error, ErrorKind};
use shoebox::immich::fit::{self, FitTarget};
use shoebox::source::{DatabaseAccess, DumpRequest, DumpTool, Secret, ServerPlace};
use shoebox::task::backup::{self, DumpSource, backup};
use shoebox::task::database::{self, Options, Report};

fn to(server: &Postgres, database: &str) -> Options {
    Options::new(DatabaseAccess::new(ServerPlace::Url(server.url(database))))
}

/// Backs up the dump that `source` gives.
fn back_up(home: &Home, source: DumpSource, database: Option<&str>) {
    let options =
        backup::Options { dump: source, database: database.map(str::to_owned), ..home.options() };
    backup(&home.repository(), options, &SilentMonitor).unwrap();
}

/// A repository with a snapshot of the sample library's database.
fn sample(server: &Postgres, era: Era, tool: DumpTool) -> Home {
    let library = sample_library(1, era);
    server.create_database("immich");
    server.load("immich", &library.sql());
    let home = Home::new();
    let request = DumpRequest { tool, ..DumpRequest::new(ServerPlace::Url(server.url("immich"))) };
    back_up(&home, DumpSource::Server(request), Some("immich"));
    home
}

/// Each table's rows, as one hash, and how many they are.
fn contents(server: &Postgres, database: &str) -> BTreeMap<String, String> {
    let names = server.psql(
        database,
        "SELECT quote_ident(schemaname) || '.' || \
        quote_ident(tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', \
        'information_schema')",
    );
    let hash = |table: &str| {
        server.psql(
            database,
            &format!(
                "SELECT count(*), md5(coalesce(string_agg(t::text, E'\\n' \
            ORDER BY t::text COLLATE \"C\"), '')) FROM {table} t"
            ),
        )
    };
    names.lines().map(|table| (table.to_owned(), hash(table))).collect()
}

fn restore(home: &Home, options: &Options) -> Report {
    let monitor = ProblemCollector::default();
    let report = database::restore(&home.repository(), options, &monitor)
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!((monitor.problems(), &report.differences), (vec![], &vec![]));
    report
}

fn told(error: &Error) -> String {
    format!("{error} ({})", error.next_step().unwrap_or("no hint"))
}

#[test]
fn the_database_comes_back_on_the_same_and_on_newer_servers() {
    let source = Postgres::start(debian());
    for (era, tool) in [
        (Era::Groups, DumpTool::PgDump),
        (Era::New, DumpTool::PgDump),
        (Era::Old, DumpTool::PgDumpall),
    ] {
        let home = sample(&source, era, tool);
        let expected = contents(&source, "immich");
        assert!(expected.len() > 10, "{expected:?}");
        for major in from_debian() {
            let server = Postgres::start(major);
            // Another owner, with a name that has to be quoted, and a database that is not there.
            server.psql("postgres", "CREATE ROLE \"my-user\" LOGIN SUPERUSER");
            let mut options = to(&server, "new-immich");
            options.target.user = Some("my-user".to_owned());
            let report = restore(&home, &options);
            assert!(report.plan.create && report.tables > 10 && report.rows > 100, "{report:?}");
            assert_eq!(contents(&server, "new-immich"), expected, "{major}");
            let owners = server.psql(
                "new-immich",
                "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'",
            );
            assert_eq!(owners, "my-user");
        }
        source.psql("postgres", "DROP DATABASE immich");
    }
}

#[test]
fn however_pg_dump_was_asked_to_write_it_the_database_comes_back() {
    let server = Postgres::start(debian());
    server.create_database("immich");
    server.load("immich", &sample_library(1, Era::New).sql());
    let expected = contents(&server, "immich");
    let asked: [&[&str]; 4] = [
        &["--clean"],
        &["--clean", "--create", "--no-owner", "--no-privileges"],
        &["--quote-all-identifiers"],
        &["--quote-all-identifiers", "--clean", "--use-set-session-authorization"],
    ];
    for (number, arguments) in asked.into_iter().enumerate() {
        let dump = run(server.client("pg_dump", "immich").args(arguments)).stdout;
        let name = format!("immich{number}");
        restore(&with_dump(&String::from_utf8(dump).unwrap()), &to(&server, &name));
        assert_eq!(contents(&server, &name), expected, "{arguments:?}");
    }
}

/// What Immich's manual has people send a dump through before they load it.
const RECIPE: &str = r"s/SELECT pg_catalog.set_config('search_path', '', false);/SELECT pg_catalog.set_config('search_path', 'public, pg_catalog', true);/g";

#[test]
fn a_dump_that_went_through_the_sed_of_immichs_manual_comes_back() {
    let source = Postgres::start(debian());
    let home = sample(&source, Era::Groups, DumpTool::PgDump);
    let expected = contents(&source, "immich");
    for tool in ["pg_dump", "pg_dumpall"] {
        let dump = run(source.client(tool, "immich").args(["--clean", "--if-exists"])).stdout;
        fs::write(home.dump_path(), dump).unwrap();
        let rewritten = run(Command::new("sed").arg(RECIPE).arg(home.dump_path())).stdout;
        assert!(String::from_utf8_lossy(&rewritten).contains("'public, pg_catalog', true"));
        fs::write(home.dump_path(), rewritten).unwrap();
        back_up(&home, DumpSource::File(home.dump_path()), Some("immich"));
        let server = Postgres::start(debian());
        restore(&home, &to(&server, "immich"));
        assert_eq!(contents(&server, "immich"), expected, "{tool}");
    }
}

/// The rows that a dump's COPY blocks have, by table and columns.
fn rows(dump: &str) -> BTreeMap<String, Vec<&str>> {
    let (mut all, mut open): (BTreeMap<String, Vec<&str>>, Option<String>) = Default::default();
    for line in dump.lines() {
        match &open {
            None => {
                open = line
                    .strip_prefix("COPY ")
                    .and_then(|rest| rest.strip_suffix(" FROM stdin;"))
                    .map(str::to_owned);
                all.extend(open.clone().map(|table| (table, Vec::new())));
            }
            Some(_) if line == r"\." => open = None,
            Some(table) => all.get_mut(table).unwrap().push(line),
        }
    }
    all
}

/// The part of a cluster dump that is the database `name`; a dump of one database is that.
fn part<'a>(dump: &'a str, name: &str) -> &'a str {
    // The first time it is made, the second time it is filled.
    let Some(begin) = dump.rfind(&format!("\n\\connect {name}\n")) else { return dump };
    let rest = &dump[begin + 1..];
    rest.find("\n\\connect ").map_or(rest, |end| &rest[..end])
}

#[test]
fn every_real_dump_loads_and_each_row_is_the_dumps_own() {
    let Some(shared) = shared() else { return };
    let cases = [
        ("state-1/pg_dump-immich.sql", None),
        ("state-1/pg_dumpall.sql", Some("immich")),
        ("state-2/pg_dump-immich.sql", None),
        ("old-1/pg_dump-immich.sql", None),
        ("old-1/pg_dumpall.sql", Some("immich132")),
    ];
    for major in from_debian() {
        let server = Postgres::start(major);
        for (at, (file, database)) in cases.iter().enumerate() {
            let path = shared.join("immich").join(file);
            let home = Home::new();
            back_up(&home, DumpSource::File(path.clone()), *database);
            let name = format!("immich{at}");
            let options = to(&server, &name);
            let plan = database::plan(&home.repository(), &options, &SilentMonitor).unwrap();
            if let Some(obstacle) = plan.obstacles.first() {
                // Debian's server has no pgvector: what is lacking is named.
                assert!(
                    major == debian() && obstacle.what.contains("vector"),
                    "{file} on {major}: {obstacle:?}"
                );
                continue;
            }
            restore(&home, &options);
            let text = fs::read_to_string(&path).unwrap();
            let mut compared = 0;
            for (table, mut expected) in rows(part(&text, database.unwrap_or("immich"))) {
                let answer = run(server.client("psql", &name).args([
                    "-X",
                    "-q",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-c",
                    &format!("COPY {table} TO STDOUT"),
                ]));
                let answer = String::from_utf8(answer.stdout).unwrap();
                let mut found: Vec<&str> = answer.lines().collect();
                expected.sort_unstable();
                found.sort_unstable();
                assert!(expected == found, "{file} on {major}: {table}");
                compared += 1;
            }
            assert!(compared > 30, "{file}: {compared}");
        }
    }
}

#[test]
fn a_database_of_immich_is_refused_and_replaced_only_when_told() {
    let server = Postgres::start(debian());
    let home = sample(&server, Era::New, DumpTool::PgDump);
    let expected = contents(&server, "immich");
    server.psql(
        "immich",
        "DELETE FROM album_asset; CREATE TABLE later (id int); INSERT INTO later VALUES (1)",
    );
    let changed = contents(&server, "immich");
    let options = to(&server, "immich");
    let error = database::restore(&home.repository(), &options, &SilentMonitor).unwrap_err();
    assert!(
        error.to_string().contains("has Immich's tables already")
            && error.next_step().unwrap().contains("--replace"),
        "{}",
        told(&error)
    );
    assert_eq!(contents(&server, "immich"), changed);
    let plan = database::plan(
        &home.repository(),
        &Options { replace: true, ..options.clone() },
        &SilentMonitor,
    )
    .unwrap();
    assert!(plan.replace > 10 && plan.obstacles.is_empty(), "{plan:?}");
    assert_eq!(contents(&server, "immich"), changed);
    let report = restore(&home, &Options { replace: true, ..options.clone() });
    assert_eq!(contents(&server, "immich"), expected);
    // What was there is kept, whole.
    assert_eq!(contents(&server, &report.kept.unwrap()), changed);
    // Not under the feet of somebody who works with it.
    let mut other =
        server.client("psql", "immich").args(["-c", "SELECT pg_sleep(600)"]).spawn().unwrap();
    while server.psql(
        "postgres",
        "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'",
    ) != "1"
    {}
    let refused = database::restore(
        &home.repository(),
        &Options { replace: true, ..options },
        &SilentMonitor,
    )
    .unwrap_err();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(
        told(&refused).contains("in use by 1 other") && told(&refused).contains("stop Immich"),
        "{}",
        told(&refused)
    );
    let databases =
        server.psql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'immich%'");
    assert_eq!((databases.as_str(), roles(&server).as_str()), ("2", "postgres"));
}

/// Roles that may log in.
fn roles(server: &Postgres) -> String {
    server.psql("postgres", "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolcanlogin")
}

/// A repository whose dump is `text`.
fn with_dump(text: &str) -> Home {
    let home = Home::new();
    home.write_dump(text);
    home.backup();
    home
}

/// A dump that loads.
fn loadable(rows: u64) -> String {
    bare_dump(rows, 0)
}

#[test]
fn a_dump_that_fails_leaves_nothing_and_names_its_line() {
    let server = Postgres::start(debian());
    let whole = loadable(2000);
    let broken = whole.replacen(
        "00000000-2222-4222-8222-222222222222\t",
        "00000000-2222-4222-8222-22222222222x\t",
        1,
    );
    let line = broken.lines().position(|line| line.contains("22222222222x")).unwrap() + 1;
    let error =
        database::restore(&with_dump(&broken).repository(), &to(&server, "immich"), &SilentMonitor)
            .unwrap_err();
    let expected = format!("line {line} of the dump (table smart_search)");
    assert!(error.to_string().contains(&expected), "{expected}: {}", told(&error));
    assert_eq!(
        server.psql("immich", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0"
    );
    assert_eq!(roles(&server), "postgres");
    restore(&with_dump(&whole), &to(&server, "immich"));
    // What was there stays when the replacement fails.
    let before = contents(&server, "immich");
    let replace = Options { replace: true, ..to(&server, "immich") };
    database::restore(&with_dump(&broken).repository(), &replace, &SilentMonitor).unwrap_err();
    assert_eq!(contents(&server, "immich"), before);
}

#[test]
fn a_dump_that_cannot_be_read_to_its_end_is_not_committed() {
    let server = Postgres::start(debian());
    let home = with_dump(&loadable(200_000));
    // The last chunk of the dump is damaged: most of it can be read.
    let record = home.repository().record(home.repository().snapshot_ids().unwrap()[0]).unwrap();
    let last = record.streams.dump.chunks.last().unwrap().hash;
    assert!(record.streams.dump.chunks.len() > 2);
    for (archive, line) in home.lines() {
        if let shoebox::base::stored::IndexLine::Chunk(chunk) = line
            && chunk.chunk == last
        {
            let mut bytes = fs::read(&archive).unwrap();
            bytes[(chunk.offset + chunk.stored / 2) as usize] ^= 1;
            fs::write(&archive, bytes).unwrap();
        }
    }
    server.create_database("immich");
    let error =
        database::restore(&home.repository(), &to(&server, "immich"), &SilentMonitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{}", told(&error));
    assert_eq!(
        server.psql("immich", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0"
    );
}

#[test]
fn nothing_in_a_dump_is_run_but_what_pg_dump_writes() {
    let server = Postgres::start(debian());
    server.create_database("immich");
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::PermissionsExt::set_mode(
        &mut fs::metadata(dir.path()).unwrap().permissions(),
        0o777,
    );
    let proof = dir.path().join("proof");
    let proof = proof.display();
    let hostile = [
        format!("COPY public.album FROM PROGRAM 'touch {proof}';\n"),
        format!("SELECT 1 \\g | touch {proof}\n;\n"),
        format!("DO $$ BEGIN EXECUTE 'COPY public.album TO PROGRAM ''touch {proof}'''; END $$;\n"),
        "SELECT pg_read_file('/etc/passwd');\n".to_owned(),
        "ALTER SYSTEM SET log_directory = '/tmp';\n".to_owned(),
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$; DROP TABLE \
            public.album;\n"
            .to_owned(),
    ];
    for statement in &hostile {
        let text = loadable(5).replacen(
            "CREATE TABLE public.smart_search",
            &format!("{statement}CREATE TABLE public.smart_search"),
            1,
        );
        let home = Home::new();
        home.write_dump(&text);
        let error = fit::fit(&mut text.as_bytes(), None, &FitTarget::file(), &mut |_| Ok(()))
            .expect_err(statement);
        assert_eq!(error.kind(), ErrorKind::Refused, "{statement}: {}", told(&error));
        // All are found when the dump arrives: some end the backup.
        let Ok(report) = home.try_backup(&SilentMonitor) else { continue };
        assert!(report.record.dump.unfit && !report.record.is_good(), "{statement}");
        let options = Options { snapshot: report.record.id.to_string(), ..to(&server, "immich") };
        let error =
            database::restore(&home.repository(), &options, &SilentMonitor).expect_err(statement);
        assert_eq!(error.kind(), ErrorKind::Refused, "{statement}: {}", told(&error));
    }
    assert!(!dir.path().join("proof").exists());
    assert_eq!(
        server.psql("immich", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0"
    );
}

#[test]
fn a_dump_neither_ends_the_transaction_nor_drops_anything() {
    let server = Postgres::start(debian());
    server.create_database("immich");
    server.psql("immich", "CREATE TABLE mine (id int)");
    let commands = "COMMIT;\nDROP TABLE IF EXISTS public.mine;\n";
    let text = loadable(5).replacen(
        "CREATE TABLE public.smart_search",
        &format!("{commands}CREATE TABLE public.smart_search"),
        1,
    );
    let broken = text.replacen("00000000-2222-4222-8222-222222222222\t", "x\t", 1);
    database::restore(&with_dump(&broken).repository(), &to(&server, "immich"), &SilentMonitor)
        .unwrap_err();
    let tables = || {
        server.psql(
            "immich",
            "SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_tables WHERE schemaname \
                = 'public'",
        )
    };
    assert_eq!(tables(), "mine");
    restore(&with_dump(&text), &to(&server, "immich"));
    assert_eq!(tables(), "album,asset,mine,smart_search,user");
}

#[test]
fn rows_that_look_like_commands_are_rows() {
    let server = Postgres::start(debian());
    let nasty = [
        r"\\! touch x",
        r"\\.",
        r"\\unrestrict key",
        "COMMIT;",
        "';--",
        r"tab\there",
        r"\\copy",
        "$$",
        "-- PostgreSQL database dump complete",
    ];
    let row = |name: &&str| format!("a1111111-1111-4111-8111-111111111111\t{name}\n");
    let rows: String = nasty.iter().map(row).collect();
    let text = loadable(5).replacen("a1111111-1111-4111-8111-111111111111\tRome\n", &rows, 1);
    restore(&with_dump(&text), &to(&server, "immich"));
    let found = run(server.client("psql", "immich").args([
        "-X",
        "-q",
        "-c",
        "COPY public.album (\"albumName\") TO STDOUT",
    ]));
    let found = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.lines().collect::<Vec<_>>(), nasty);
}

#[test]
fn rows_that_are_missing_afterwards_are_told() {
    let server = Postgres::start(debian());
    server.create_database("immich");
    let trigger = "CREATE FUNCTION public.drop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        RETURN NULL; END $$;
CREATE TRIGGER lose BEFORE INSERT ON public.album FOR EACH ROW EXECUTE FUNCTION \
public.drop_it();\n";
    let text = loadable(5).replacen("COPY public.album", &format!("{trigger}COPY public.album"), 1);
    let monitor = ProblemCollector::default();
    let report =
        database::restore(&with_dump(&text).repository(), &to(&server, "immich"), &monitor)
            .unwrap();
    assert_eq!(report.differences.len(), 1);
    let problems = monitor.problems();
    assert_eq!(
        (problems[0].subject.as_str(), problems[0].message.as_str()),
        ("table album", "0 rows are in the database, 1 were in the dump")
    );
}

#[test]
fn a_server_that_comes_late_is_waited_for_and_a_wrong_password_is_not() {
    let home = with_dump(&loadable(5));
    let none = Options {
        wait: Duration::from_millis(700),
        ..Options::new(DatabaseAccess::new(ServerPlace::Url(format!(
            "postgresql://postgres@127.0.0.1:{}/immich",
            free_port()
        ))))
    };
    let error = database::restore(&home.repository(), &none, &SilentMonitor).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Program | ErrorKind::NotFound | ErrorKind::Permission),
        "{}",
        told(&error)
    );
    let server = Postgres::with_password("right");
    let mut options = to(&server, "immich");
    options.wait = Duration::from_secs(600);
    options.target.password = Some(Secret::new("wrong"));
    let error = database::restore(&home.repository(), &options, &SilentMonitor).unwrap_err();
    assert!(told(&error).contains("password"), "{}", told(&error));
    options.target.password = None;
    restore(&home, &options);
}

#[test]
fn the_database_in_a_container_is_restored_by_docker_exec() {
    let server = Postgres::with_password("secret");
    let port = server.port().to_string();
    let host = server.socket_folder().display().to_string();
    let inside = [
        ("PGHOST", host.as_str()),
        ("PGPORT", port.as_str()),
        ("POSTGRES_USER", "postgres"),
        ("POSTGRES_PASSWORD", "secret"),
        ("POSTGRES_DB", "immich"),
    ];
    let docker = Docker::new().container("immich_postgres", &inside);
    let access = DatabaseAccess::new(ServerPlace::Docker {
        container: "immich_postgres".to_owned(),
        docker: docker.program(),
    });
    let report = restore(&with_dump(&loadable(50)), &Options::new(access));
    assert_eq!(report.plan.database, "immich");
    assert!(!docker.calls().contains("secret"), "{}", docker.calls());
    assert_eq!(server.psql("immich", "SELECT count(*) FROM smart_search"), "50");
}

/// Loads `file` as Immich's own restore does (BACKUP facts: drop schema public, one transaction,
/// stop at the first error).
fn load_as_immich(server: &Postgres, database: &str, file: &Path) {
    server.create_database(database);
    let script = format!(
        "(echo 'BEGIN; DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public;'; gunzip -c \
            '{}'; echo 'COMMIT;') | psql -X -q -v ON_ERROR_STOP=1",
        file.display()
    );
    run(server
        .client("bash", database)
        .args(["-o", "pipefail", "-c", &script])
        .stdout(std::process::Stdio::null()));
}

#[test]
fn an_emitted_file_has_the_name_and_the_form_that_immich_wants() {
    let server = Postgres::start(debian());
    let home = sample(&server, Era::New, DumpTool::PgDumpall);
    let expected = contents(&server, "immich");
    let folder = home.dir.path().join("backups");
    fs::create_dir(&folder).unwrap();
    let emitted =
        database::emit(&home.repository(), "latest", None, &folder, None, &SilentMonitor).unwrap();
    let name = emitted.file.file_name().unwrap().to_str().unwrap();
    assert!(
        emitted.listed && name.starts_with("immich-db-backup-2") && name.ends_with(".sql.gz"),
        "{name}"
    );
    load_as_immich(&server, "again", &emitted.file);
    assert_eq!(contents(&server, "again"), expected);
    let text =
        String::from_utf8(run(Command::new("gunzip").arg("-c").arg(&emitted.file)).stdout).unwrap();
    for word in ["\\connect", "CREATE ROLE", "\\restrict", "DROP DATABASE"] {
        assert!(!text.contains(word), "{word}");
    }
    let error =
        database::emit(&home.repository(), "latest", None, &emitted.file, None, &SilentMonitor)
            .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
}

#[test]
fn an_emitted_copy_of_an_older_night_is_not_the_newest_dump_of_its_folder() {
    let home = with_dump(&loadable(3));
    let night = home.repository().snapshot_ids().unwrap()[0].to_string();
    let folder = home.dir.path().join("backups");
    fs::create_dir(&folder).unwrap();
    let newer = folder.join("immich.sql");
    fs::write(&newer, loadable(7)).unwrap();
    let emitted =
        database::emit(&home.repository(), &night, None, &folder, None, &SilentMonitor).unwrap();
    let times = [&emitted.file, &newer].map(|file| fs::metadata(file).unwrap().modified().unwrap());
    assert!(times[0] <= times[1], "{times:?}");
    // The same where somebody copied it, so that the file is of now.
    for _ in 0..2 {
        let options = backup::Options { dump: DumpSource::File(folder.clone()), ..home.options() };
        let report = backup(&home.repository(), options, &SilentMonitor).unwrap();
        assert_eq!(report.record.dump.rows["smart_search"], 7);
        let copied = folder.join("immich-db-backup-20240101T020000-v3.1.0-pg15.sql.gz");
        fs::copy(&emitted.file, copied).unwrap();
    }
}

#[test]
fn what_is_not_immichs_is_left_out_with_its_rows_and_rights_and_told() {
    let server = Postgres::start(debian());
    let others = "CREATE EXTENSION IF NOT EXISTS pg_cron WITH SCHEMA pg_catalog;
CREATE EXTENSION IF NOT EXISTS postgis WITH SCHEMA public;
CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION public.py() RETURNS integer LANGUAGE plpython3u AS $$ return 1 $$;
ALTER FUNCTION public.py() OWNER TO postgres;
CREATE SERVER nas FOREIGN DATA WRAPPER postgres_fdw OPTIONS (
    host 'nas'
);
ALTER SERVER nas OWNER TO postgres;
CREATE USER MAPPING FOR postgres SERVER nas;
CREATE FOREIGN TABLE public.far (
    id integer
)
SERVER nas;
ALTER TABLE public.far OWNER TO postgres;
CREATE TABLE public.my_places (
    id integer NOT NULL,
    spot public.geometry(Point,4326)
);
CREATE SUBSCRIPTION moved CONNECTION 'host=old dbname=immich' PUBLICATION all_tables WITH (connect \
= false, slot_name = 'moved');
CREATE PUBLICATION all_tables FOR ALL TABLES WITH (publish = 'insert');
CREATE DEFAULT CONVERSION public.c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
CREATE TEXT SEARCH PARSER public.words (
    START = prsd_start,
    GETTOKEN = prsd_nexttoken,
    END = prsd_end,
    LEXTYPES = prsd_lextype );
CREATE TEXT SEARCH CONFIGURATION public.plain (
    PARSER = public.words );
CREATE TEXT SEARCH TEMPLATE public.stems (
    LEXIZE = dsimple_lexize );
CREATE OPERATOR FAMILY public.backwards USING btree;
CREATE OPERATOR CLASS public.backwards_ops
    FOR TYPE integer USING btree FAMILY public.backwards AS
    OPERATOR 1 >(integer,integer);
CREATE TABLE public.far_away (
    id integer
);
CREATE INDEX far_away_id ON public.far_away USING btree (id public.backwards_ops);
COPY cron.job (jobid, schedule) FROM stdin;
1\t0 3 * * *
\\.

SELECT pg_catalog.setval('cron.jobid_seq', 1, true);
COPY public.my_places (id, spot) FROM stdin;
1\t0101
\\.

CREATE INDEX my_places_spot ON public.my_places USING gist (spot);
CREATE EVENT TRIGGER note_ddl ON ddl_command_end
   EXECUTE FUNCTION public.note();
ALTER EVENT TRIGGER note_ddl OWNER TO postgres;
GRANT SELECT ON TABLE cron.job TO postgres;
GRANT USAGE ON FOREIGN SERVER nas TO postgres;
GRANT SELECT ON TABLE public.far TO postgres;
";
    let end = "--\n-- PostgreSQL database dump complete";
    let home = with_dump(&loadable(5).replacen(end, &format!("{others}{end}"), 1));
    // Nothing calls it, now that the event trigger is left out.
    let accepted = vec!["function public.note()".to_owned()];
    let report = restore(&home, &Options { accepted, ..to(&server, "immich") });
    let told: Vec<_> = report.plan.changes.iter().map(|change| change.what.as_str()).collect();
    for what in [
        "extension pg_cron",
        "extension postgis",
        "event triggers",
        "extensions of others",
        "language plpython3u",
    ] {
        assert!(told.iter().any(|told| told.contains(what)), "{what}: {told:?}");
    }
    let tables = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE \
        relnamespace = 'public'::regnamespace AND relkind IN ('r', 'f')";
    assert_eq!(server.psql("immich", tables), "album,asset,far_away,smart_search,user");
    let kinds = "SELECT (SELECT count(*) FROM pg_index WHERE indrelid = 'far_away'::regclass)
        + (SELECT count(*) FROM pg_opfamily WHERE opfname = 'backwards') + (SELECT count(*) FROM \
        pg_ts_config WHERE cfgname = 'plain')";
    assert_eq!(server.psql("immich", kinds), "0");
}

/// Immich's own change of a file that it restores: after `OWNER TO ` the user's name is written
/// over what is there, byte by byte; what is left of it is put in at the `;`. It ends at the first
/// rows.
fn rewritten(dump: &str, user: &str) -> String {
    let (head, rows) = dump.split_once("FROM stdin").unwrap_or((dump, ""));
    let mut parts = head.split("OWNER TO ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_at(part.find(';').unwrap_or(part.len()));
        let over = name.get(user.len()..).unwrap_or_default();
        text += &format!("OWNER TO {user}{over}{rest}");
    }
    format!("{text}FROM stdin{rows}")
}

#[test]
fn an_emitted_file_survives_immichs_change_of_owners_and_is_taken_again() {
    assert_eq!(
        rewritten("ALTER TABLE a OWNER TO CURRENT_USER;", "postgres"),
        "ALTER TABLE a OWNER TO postgresUSER;FROM stdin"
    );
    let server = Postgres::start(debian());
    let home = sample(&server, Era::New, DumpTool::PgDump);
    let expected = contents(&server, "immich");
    let folder = home.dir.path().join("backups");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let file = folder.join("mine.sql");
    database::emit(&home.repository(), "latest", None, &file, None, &SilentMonitor).unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o640);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("FROM stdin") && !text.contains("OWNER TO"));
    fs::write(home.dump_path(), rewritten(&text, "postgres")).unwrap();
    server.create_database("again");
    server.load("again", &home.dump_path());
    assert_eq!(contents(&server, "again"), expected);
    // It is a dump that is good, and restores.
    let other = Home::new();
    back_up(&other, DumpSource::File(file), None);
    restore(&other, &to(&server, "third"));
    assert_eq!(contents(&server, "third"), expected);
}
