//! What is not Immich's in its database: left out of a restore, kept in a file, and brought back by
//! psql.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use crate::backup_library::Home;
use crate::support::postgres::{Postgres, debian};
use crate::support::{Era, run, sample_library};
use shoebox::base::monitor::SilentMonitor;
use shoebox::source::{DatabaseAccess, DumpRequest, ServerPlace};
use shoebox::task::backup::{self, DumpSource, backup};
use shoebox::task::database::{self, LoadRights, Options};

const OTHERS: &str = "CREATE EXTENSION dblink; CREATE EXTENSION postgres_fdw; CREATE ROLE reader;
CREATE TABLE notes (id int PRIMARY KEY, what dblink_pkey_results);
INSERT INTO notes VALUES (1, '(1,a)'), (2, NULL);
GRANT SELECT ON notes TO reader;
COMMENT ON TABLE notes IS 'mine';
CREATE SERVER nas FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nas');
CREATE FOREIGN TABLE far (id int) SERVER nas;
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER note_ddl ON sql_drop EXECUTE FUNCTION note();";

/// All that the statements above made.
const FOUND: &str = "SELECT (SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension \
    WHERE extname IN ('dblink', 'postgres_fdw')),
    (SELECT string_agg(srvname, ',') FROM pg_foreign_server), (SELECT string_agg(evtname, ',') \
    FROM pg_event_trigger),
    (SELECT string_agg(relname || relkind::text, ',' ORDER BY relname) FROM pg_class WHERE relname \
    IN ('notes', 'far', 'notes_pkey'))";
const ALL: &str = "dblink,postgres_fdw|nas|note_ddl|farf,notesr,notes_pkeyi";

/// A snapshot of the sample library's database with `more` in it.
fn backed_up(server: &Postgres, more: &str) -> (Home, backup::Report) {
    server.create_database("immich");
    server.load("immich", &sample_library(1, Era::New).sql());
    server.psql("immich", more);
    let home = Home::new();
    let dump = DumpSource::Server(DumpRequest::new(ServerPlace::Url(server.url("immich"))));
    let report =
        backup(&home.repository(), backup::Options { dump, ..home.options() }, &SilentMonitor)
            .unwrap();
    (home, report)
}

fn to(server: &Postgres, database: &str, home: &Home) -> Options {
    let left_out = Some(home.dir.path().join("left out"));
    fs::create_dir_all(left_out.as_ref().unwrap()).unwrap();
    let accepted = vec!["function public.note()".to_owned()];
    Options {
        left_out,
        accepted,
        ..Options::new(DatabaseAccess::new(ServerPlace::Url(server.url(database))))
    }
}

#[test]
fn what_is_left_out_is_said_at_backup_kept_in_a_private_file_and_comes_back_by_psql() {
    let server = Postgres::start(debian());
    let (home, night) = backed_up(&server, OTHERS);
    assert_eq!(server.psql("immich", FOUND), ALL);
    let note =
        night.record.warnings.iter().find(|warning| warning.contains("not Immich's")).unwrap();
    assert!(
        note.contains("extension dblink") && note.contains("leaves it out and keeps it in a file"),
        "{note}"
    );
    assert!(
        !night.problems.iter().any(|problem| problem.message.contains("not Immich's")),
        "{:?}",
        night.problems
    );

    let options = to(&server, "again", &home);
    let plan = database::plan(&home.repository(), &options, &SilentMonitor).unwrap();
    let expected = [
        "event trigger note_ddl",
        "extension dblink",
        "extension postgres_fdw",
        "foreign table far",
        "server nas",
        "table notes (2 rows)",
    ];
    let mut listed = plan.left_out.clone();
    listed.sort();
    assert_eq!(listed, expected);
    let file = plan.left_out_file.unwrap();
    assert!(!file.exists(), "a plan writes nothing");

    let report = database::restore(&home.repository(), &options, &SilentMonitor).unwrap();
    assert!(report.is_as_expected(), "{report:?}");
    assert_eq!(
        (report.plan.left_out_file.as_ref(), server.psql("again", FOUND).as_str()),
        (Some(&file), "|||")
    );
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    server.load("again", &file);
    assert_eq!(server.psql("again", FOUND), ALL);
    let rows = "SELECT id, what, has_table_privilege('reader', 'notes', 'SELECT'), \
        obj_description('notes'::regclass) FROM notes ORDER BY id";
    assert_eq!(server.psql("again", rows), server.psql("immich", rows));

    // A second one goes under another name.
    let report = database::restore(
        &home.repository(),
        &Options { replace: true, ..options.clone() },
        &SilentMonitor,
    )
    .unwrap();
    assert_ne!(report.plan.left_out_file.unwrap(), file);
    let named = Options { left_out: Some(file), replace: true, ..options };
    let error = database::restore(&home.repository(), &named, &SilentMonitor).unwrap_err();
    assert!(error.to_string().ends_with("is there already"), "{error}");
}

#[test]
fn what_is_not_immichs_is_loaded_where_that_is_wanted() {
    let server = Postgres::start(debian());
    let (home, _) = backed_up(&server, OTHERS);
    let options = Options { foreign: true, rights: LoadRights::Own, ..to(&server, "again", &home) };
    let report = database::restore(&home.repository(), &options, &SilentMonitor).unwrap();
    assert!(report.plan.left_out.is_empty() && report.differences.is_empty(), "{report:?}");
    assert_eq!(server.psql("again", FOUND), ALL);
}

#[test]
fn an_emitted_dump_leaves_the_same_out() {
    let server = Postgres::start(debian());
    let (home, _) = backed_up(&server, OTHERS);
    let options = to(&server, "again", &home);
    let file = home.dir.path().join("mine.sql");
    let emitted = database::emit(
        &home.repository(),
        "latest",
        None,
        &file,
        options.left_out.as_deref(),
        &SilentMonitor,
    )
    .unwrap();
    server.create_database("again");
    server.load("again", &file);
    assert_eq!(server.psql("again", FOUND), "|||");
    server.load("again", &emitted.left_out_file.unwrap());
    assert_eq!(server.psql("again", FOUND), ALL);
}

#[test]
fn nothing_is_written_where_nothing_is_left_out() {
    let server = Postgres::start(debian());
    let (home, night) = backed_up(&server, "CREATE TABLE diary (id int)");
    assert!(
        !night.record.warnings.iter().any(|warning| warning.contains("not Immich's")),
        "{:?}",
        night.record.warnings
    );
    let options = to(&server, "again", &home);
    let report = database::restore(&home.repository(), &options, &SilentMonitor).unwrap();
    assert!(report.plan.left_out.is_empty() && report.plan.left_out_file.is_none());
    let file = home.dir.path().join("mine.sql");
    let folder = options.left_out.unwrap();
    database::emit(&home.repository(), "latest", None, &file, Some(&folder), &SilentMonitor)
        .unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    assert_eq!(server.psql("again", "SELECT count(*) FROM diary"), "0");
}

/// What came to be in Immich's own tables, and what pg_dumpall writes of the database's settings.
const WITHIN: &str = "CREATE EXTENSION hstore; CREATE EXTENSION pgcrypto; CREATE EXTENSION \
    btree_gin; CREATE EXTENSION citext;
ALTER TABLE album ADD COLUMN extra hstore DEFAULT 'a=>1', ADD COLUMN code text DEFAULT \
encode(gen_random_bytes(4), 'hex'), ADD COLUMN word citext;
CREATE INDEX album_gin ON album USING gin (id);
CREATE ROLE reader; ALTER ROLE reader IN DATABASE immich SET work_mem = '8MB'; ALTER DATABASE \
immich SET jit = off;";

#[test]
fn what_every_server_may_make_is_made_for_immichs_tables_that_use_it() {
    let server = Postgres::start(debian());
    let (home, night) = backed_up(&server, WITHIN);
    assert!(night.record.is_good(), "{:?}", night.problems);
    let report =
        database::restore(&home.repository(), &to(&server, "again", &home), &SilentMonitor)
            .unwrap();
    assert!(report.plan.left_out.is_empty() && report.differences.is_empty(), "{report:?}");
    for question in [
        "SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension",
        "SELECT string_agg(a::text, ';' ORDER BY id) FROM album a",
        "SELECT indexdef FROM pg_indexes WHERE indexname = 'album_gin'",
    ] {
        assert_eq!(server.psql("again", question), server.psql("immich", question), "{question}");
    }
}

#[test]
fn settings_of_a_role_in_the_database_stop_no_restore() {
    for arguments in [&["--create"][..], &["--create", "--clean"]] {
        let server = Postgres::start(debian());
        server.create_database("immich");
        server.load("immich", &sample_library(1, Era::New).sql());
        server.psql("immich", WITHIN);
        let dump = run(server.client("pg_dump", "immich").args(arguments)).stdout;
        let dump = String::from_utf8(dump).unwrap();
        assert!(dump.contains("ALTER ROLE reader IN DATABASE immich SET"), "{arguments:?}");
        let home = Home::new();
        home.write_dump(&dump);
        assert!(home.backup().record.is_good());
        let report =
            database::restore(&home.repository(), &to(&server, "again", &home), &SilentMonitor)
                .unwrap();
        assert!(report.differences.is_empty(), "{report:?}");
    }
}

#[test]
fn functions_with_power_and_dictionaries_with_files_of_another_server_stop_no_restore() {
    let server = Postgres::start(debian());
    let more = "CREATE FUNCTION loud() RETURNS int LANGUAGE sql SET log_min_messages TO 'debug1' \
        AS 'SELECT 1';
        CREATE FUNCTION loads() RETURNS int LANGUAGE sql SET session_preload_libraries TO \
        'auto_explain' AS 'SELECT 1';
        CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = synonym, SYNONYMS = synonym_sample);
        CREATE TEXT SEARCH DICTIONARY plain (TEMPLATE = simple, STOPWORDS = english);
        CREATE TEXT SEARCH CONFIGURATION mine (COPY = english);
        ALTER TEXT SEARCH CONFIGURATION mine ALTER MAPPING FOR asciiword WITH words, simple;";
    let (home, night) = backed_up(&server, more);
    assert!(night.record.is_good(), "{:?}", night.problems);
    // The file is on the server that was, and not on this one.
    let mut text = String::new();
    let request = DumpRequest::new(ServerPlace::Url(server.url("immich")));
    shoebox::source::postgres::start(&request, &SilentMonitor)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    home.write_dump(&text.replace("synonym_sample", "no_such_file"));
    home.backup();
    let report =
        database::restore(&home.repository(), &to(&server, "again", &home), &SilentMonitor)
            .unwrap();
    let mut listed = report.plan.left_out.clone();
    listed.sort();
    assert_eq!(listed, ["function loads", "function loud", "text search dictionary words"]);
    let found = "SELECT string_agg(dictname, ',') FROM pg_ts_dict WHERE dictnamespace = \
        'public'::regnamespace AND dictname <> 'unaccent'";
    assert_eq!(server.psql("again", found), "plain");
}

/// A column of an extension of others in Immich's own table, with what hangs on it.
const COLUMN: &str = "CREATE EXTENSION dblink;
ALTER TABLE album ADD COLUMN spot dblink_pkey_results, ADD COLUMN after_it text DEFAULT 'x',
    ADD CONSTRAINT spot_is_near CHECK ((spot).position < 100);
UPDATE album SET spot = ROW(7, \"albumName\")::dblink_pkey_results WHERE id = (SELECT \
min(id::text)::uuid FROM album);
CREATE INDEX album_spot ON album (((spot).position));
COMMENT ON COLUMN album.spot IS 'where';";

#[test]
fn a_column_of_another_extension_in_immichs_table_is_left_out_and_comes_back_by_psql() {
    let server = Postgres::start(debian());
    let (home, night) = backed_up(&server, COLUMN);
    assert!(night.record.is_good(), "{:?}", night.problems);
    let report =
        database::restore(&home.repository(), &to(&server, "again", &home), &SilentMonitor)
            .unwrap();
    assert!(report.differences.is_empty(), "{report:?}");
    let mut listed = report.plan.left_out.clone();
    listed.sort();
    assert_eq!(listed, ["column spot of table album", "extension dblink", "index album_spot"]);
    let rest = "SELECT json_agg(to_jsonb(a) - 'spot' ORDER BY id) FROM album a";
    assert_eq!(server.psql("again", rest), server.psql("immich", rest));
    server.load("again", &report.plan.left_out_file.unwrap());
    for question in [
        rest,
        "SELECT json_agg(to_jsonb(a) ORDER BY id) FROM album a",
        "SELECT indexdef FROM pg_indexes WHERE indexname = 'album_spot'",
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'spot_is_near'",
        "SELECT col_description('album'::regclass, attnum) FROM pg_attribute WHERE attname = \
            'spot'",
    ] {
        let answer = server.psql("again", question);
        assert!(
            !answer.is_empty() && answer == server.psql("immich", question),
            "{question}: {answer}"
        );
    }
}
