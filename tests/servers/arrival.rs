//! What is called good when it arrives comes back: each dump is judged as a restore would judge it.

use crate::backup_library::{Home, dump};
use crate::support::{Era, Postgres, sample_library};
use shoebox::base::monitor::SilentMonitor;
use shoebox::repo::SnapshotRecord;
use shoebox::source::{DumpRequest, DumpTool, ServerPlace};
use shoebox::task::backup::{DumpSource, Options, Report, backup};
use shoebox::task::dump::dump as print_dump;

/// A library with a good snapshot.
fn home() -> Home {
    let home = Home::new();
    for number in 1..=3 {
        home.write(
            format!("upload/{}/{number}.jpg", crate::backup_library::ANN),
            &crate::backup_library::noise(number, 10_000),
        );
    }
    home.write_dump(&dump(5, 1));
    assert!(home.backup().record.is_good());
    home
}

fn latest(home: &Home) -> SnapshotRecord {
    let repository = home.repository();
    let mut records =
        repository.snapshot_ids().unwrap().into_iter().map(|id| repository.record(id).unwrap());
    records.rfind(SnapshotRecord::is_good).unwrap()
}

fn told(report: &Report) -> String {
    report
        .problems
        .iter()
        .map(|problem| format!("{}: {}\n", problem.subject, problem.message))
        .collect()
}

#[test]
fn what_a_restore_would_refuse_is_said_the_night_it_arrives() {
    let home = home();
    let good = latest(&home);
    let whole = dump(5, 2);
    let table = "CREATE TABLE public.smart_search";
    let before = |text: &str| whole.replacen(table, &format!("{text}{table}"), 1);
    let only = |kept: &dyn Fn(&str) -> bool| {
        whole.lines().filter(|line| kept(line)).map(|line| format!("{line}\n")).collect::<String>()
    };
    let stderr = "pg_dump: warning: there are circular foreign-key constraints on this \
        table:\npg_dump: detail: asset\n";
    let collation = "WARNING:  database \"immich\" has a collation version mismatch\nDETAIL:  It \
        was created in the user's time.\n";
    let vectors = whole.replacen("embedding text", "embedding public.vector(512)", 1);
    let cases = [
        (only(&|line| !line.starts_with("CREATE TABLE")), "--data-only"),
        (vectors.clone(), "vector"),
        (
            before("CREATE TABLE public.a (id uuid DEFAULT public.uuid_generate_v4() NOT NULL);\n"),
            "uuid-ossp",
        ),
        (
            before(
                "CREATE INDEX a ON public.album USING gin (\"albumName\" public.gin_trgm_ops);\n",
            ),
            "pg_trgm",
        ),
        (before(stderr), "message"),
        (before(collation), "message"),
        (before("SET session_replication_role = replica;\n"), "SET session_replication_role"),
        (before("SELECT pg_sleep(1);\n"), "SELECT"),
        (before("LOCK TABLE public.album;\n"), "LOCK TABLE"),
        (
            before("CREATE TABLE public.x (a int; DROP TABLE public.album;);\n"),
            "pg_dump never writes",
        ),
    ];
    for (text, words) in &cases {
        home.write_dump(text);
        let report =
            home.try_backup(&SilentMonitor).unwrap_or_else(|error| panic!("{words}: {error}"));
        let said = told(&report);
        assert!(
            said.contains("the database dump: a restore would refuse it") && said.contains(words),
            "{words}: {said}"
        );
        let record = &report.record;
        assert!(
            record.dump.unfit && !record.is_good() && record.files.files == good.files.files,
            "{words}"
        );
        assert_eq!(latest(&home).id, good.id, "{words}");
    }
    // Where the extension is made, it is used rightly.
    let extension = format!("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;\n{table}");
    home.write_dump(&vectors.replacen(table, &extension, 1));
    let report = home.backup();
    assert!(report.record.is_good(), "{:?}", report.record.dump.verdict);
}

/// Settings of a database or a role that change what a client prints and that pg_dump itself does
/// not set back (`setup_connection` in PostgreSQL's `pg_dump.c` sets DateStyle, IntervalStyle,
/// extra_float_digits, synchronize_seqscans, row_security, search_path and the timeouts), and those
/// that it does.
const SETTINGS: [(&str, &str); 20] = [
    ("bytea_output", "'escape'"),
    ("standard_conforming_strings", "off"),
    ("backslash_quote", "on"),
    ("escape_string_warning", "on"),
    ("TimeZone", "'Asia/Kathmandu'"),
    ("lc_monetary", "'C'"),
    ("lc_numeric", "'C'"),
    ("lc_time", "'C'"),
    ("quote_all_identifiers", "on"),
    ("xmlbinary", "hex"),
    ("xmloption", "document"),
    ("array_nulls", "off"),
    ("client_min_messages", "debug1"),
    ("search_path", "pg_catalog"),
    ("DateStyle", "'German, DMY'"),
    ("IntervalStyle", "iso_8601"),
    ("extra_float_digits", "-15"),
    ("statement_timeout", "'20s'"),
    ("row_security", "on"),
    ("default_transaction_read_only", "on"),
];

/// What a client of `major` prints of the server: of Debian's, what shoebox has it print.
fn from(home: &Home, server: &Postgres, major: u32, tool: DumpTool) -> DumpSource {
    if major == crate::support::postgres::debian() {
        return DumpSource::Server(DumpRequest {
            tool,
            ..DumpRequest::new(ServerPlace::Url(server.url("immich")))
        });
    }
    let mut client =
        std::process::Command::new(crate::support::postgres::program(major, tool.program()));
    client.envs(server.environment()).args((tool == DumpTool::PgDump).then_some("immich"));
    home.write_dump(&String::from_utf8(crate::support::run(&mut client).stdout).unwrap());
    DumpSource::File(home.dump_path())
}

fn back_up(home: &Home, dump: DumpSource) -> Report {
    let options = Options { dump, database: Some("immich".to_owned()), ..home.options() };
    backup(&home.repository(), options, &SilentMonitor).unwrap_or_else(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        panic!("{error}: {source:?}")
    })
}

/// Loads the snapshot's dump with psql, the judge of what is loadable.
fn loads(home: &Home, report: &Report, server: &Postgres) {
    let mut text = Vec::new();
    print_dump(&home.repository(), &report.record.id.to_string(), &mut |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    let file = home.dir.path().join("loads.sql");
    std::fs::write(&file, text).unwrap();
    server.psql("postgres", "DROP DATABASE IF EXISTS judge");
    server.create_database("judge");
    server.load("judge", &file);
}

#[test]
fn whatever_a_database_sets_for_its_clients_the_library_is_the_same() {
    for major in crate::support::postgres::from_debian() {
        let server = Postgres::start(major);
        server.create_database("immich");
        server.load("immich", &sample_library(1, Era::New).sql());
        let home = Home::new();
        let plain = back_up(&home, from(&home, &server, major, DumpTool::PgDump));
        assert!(plain.record.is_good() && plain.record.census.assets > 20);
        let set = |on: &str, change: &str| {
            drop(server.psql("template1", &format!("ALTER {on} {change}")))
        };
        let is_the_same = |tool: DumpTool, what: &str| {
            let report = back_up(&home, from(&home, &server, major, tool));
            let record = &report.record;
            assert!(record.is_good(), "{major}, {what}: {:?}", record.dump.verdict);
            assert_eq!(record.streams.library, plain.record.streams.library, "{major}, {what}");
            assert_eq!(record.dump.rows, plain.record.dump.rows, "{major}, {what}");
            report
        };
        for (name, value) in SETTINGS {
            set("DATABASE immich", &format!("SET {name} = {value}"));
            is_the_same(DumpTool::PgDump, name);
            set("DATABASE immich", &format!("RESET {name}"));
        }
        // All at once, of the role too; the test itself is of that role.
        for (name, value) in SETTINGS {
            set("DATABASE immich", &format!("SET {name} = {value}"));
            if name != "default_transaction_read_only" {
                set("ROLE postgres", &format!("SET {name} = {value}"));
            }
        }
        let one = is_the_same(DumpTool::PgDump, "all");
        is_the_same(DumpTool::PgDumpall, "all of the cluster");
        set("ROLE postgres", "RESET ALL");
        loads(&home, &one, &server);
    }
}

#[test]
fn a_cluster_with_an_encoding_for_its_clients_is_dumped_whatever_it_is_set_on() {
    let server = Postgres::start(crate::support::postgres::debian());
    server.create_database("immich");
    server.load("immich", &sample_library(1, Era::New).sql());
    let home = Home::new();
    let dump = || from(&home, &server, crate::support::postgres::debian(), DumpTool::PgDumpall);
    let plain = back_up(&home, dump()).record;
    let is_the_same = |what: &str| {
        let record = back_up(&home, dump()).record;
        assert!(record.is_good(), "{what}: {:?}", record.dump.verdict);
        assert_eq!(record.streams.library, plain.streams.library, "{what}");
    };
    server.psql("postgres", "CREATE DATABASE other TEMPLATE template0 ENCODING 'LATIN1'");
    for on in ["DATABASE immich", "ROLE postgres"] {
        server.psql("postgres", &format!("ALTER {on} SET client_encoding = 'LATIN1'"));
        is_the_same(on);
        server.psql("postgres", &format!("ALTER {on} RESET client_encoding"));
    }
    // One that has no encoding at all is written as it is, as long as nobody asks for another.
    server.psql("postgres", "CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII'");
    server.psql(
        "bytes",
        "CREATE TABLE t (a text); INSERT INTO t VALUES (E'\\\\xff')".replace("\\\\", "\\").as_str(),
    );
    is_the_same("a database without an encoding");
}

#[test]
fn a_key_that_two_rows_have_is_told_with_both_and_counted_once() {
    let server = Postgres::start(crate::support::postgres::debian());
    server.create_database("immich");
    server.load("immich", &sample_library(1, Era::New).sql());
    server.psql(
        "immich",
        "CREATE TABLE device (id int PRIMARY KEY, t text); INSERT INTO device VALUES (1, 'a'), (2, \
            'b')",
    );
    server.psql(
        "immich",
        "CREATE TABLE mine (id int, t text); INSERT INTO mine VALUES (1, 'a'), (1, 'b')",
    );
    let home = Home::new();
    let text = crate::support::run(&mut server.client("pg_dump", "immich")).stdout;
    let text = String::from_utf8(text).unwrap();
    home.write_dump(&text);
    let plain = home.backup();
    assert!(
        plain.record.is_good() && plain.record.dump.duplicates.is_empty(),
        "{:?}",
        plain.record.dump.duplicates
    );
    for table in ["asset", "\"user\"", "album", "tag", "asset_exif", "album_asset", "device"] {
        let begin = text.find(&format!("COPY public.{table} (")).unwrap();
        let first = begin + text[begin..].find('\n').unwrap() + 1;
        let row = &text[first..first + text[first..].find('\n').unwrap() + 1];
        let end = first + text[first..].find("\n\\.\n").unwrap() + 1;
        let line = |at: usize| text[..at].lines().count() + 1;
        home.write_dump(&format!("{}{row}{}", &text[..end], &text[end..]));
        let report = home.backup();
        let (told, duplicates) = (told(&report), &report.record.dump.duplicates);
        assert!(report.record.is_good() && duplicates.len() == 1, "{table}: {duplicates:?}");
        assert!(
            told.contains(&format!("lines {} and {} of the dump", line(first), line(end))),
            "{table}: {told}"
        );
        assert_eq!(report.record.census, plain.record.census, "{table}");
        assert_eq!(report.record.streams.library, plain.record.streams.library, "{table}");
    }
}
