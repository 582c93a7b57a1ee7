//! A dump is code that somebody else may have written: whatever it holds, nothing of it runs with
//! power.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backup_library::{Home, dump as bare_dump};
use crate::support::postgres::debian;
use crate::support::{Docker, Postgres};
use assert_cmd::prelude::*;
use shoebox::base::ErrorKind;
use shoebox::base::monitor::SilentMonitor;
use shoebox::immich::fit;
use shoebox::source::{DatabaseAccess, ServerPlace};
use shoebox::task::database::{self, LoadRights, Options};
use shoebox::task::drill::{self, DrillServers};
use tempfile::TempDir;

const ROWS: &str = "COPY public.evil (a) FROM stdin;\nx\n\\.\n\n";

/// Kinds of hostile dumps: a name, what comes before the tables' rows, and what comes after them.
/// `CANARY` is a file to be made.
fn hostile() -> Vec<(&'static str, String, String)> {
    let runs = |name: &str, kind: &str| {
        format!(
            "CREATE FUNCTION public.{name}() RETURNS {kind} LANGUAGE plpgsql AS $$\nBEGIN\n  \
                EXECUTE 'CO' || 'PY (SELECT 1) TO PRO' || 'GRAM ''touch CANARY''';\n  RETURN \
                {};\nEND\n$$;\n",
            if kind == "trigger" { "NEW" } else { "1" }
        )
    };
    let pwn = runs("does", "integer")
        + "CREATE FUNCTION public.pwn() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN \
            RETURN public.does(); END $$;\n";
    let table = "CREATE TABLE public.evil (a text);\n";
    let body = |text: &str| {
        format!(
            "CREATE FUNCTION public.pwn() RETURNS integer LANGUAGE plpgsql AS $$\nBEGIN\n{text}  \
                EXECUTE 'CO' || 'PY (SELECT 1) TO PRO' || 'GRAM ''touch CANARY''';\n  RETURN \
                1;\nEND\n$$;\nCREATE TABLE public.evil (a text DEFAULT 'x', b integer DEFAULT \
                public.pwn());\n"
        )
    };
    let all = [
        (
            "a check",
            format!("{pwn}CREATE TABLE public.evil (a text, CHECK (public.pwn() > 0));\n"),
            String::new(),
        ),
        (
            "a default",
            format!("{pwn}CREATE TABLE public.evil (a text, b integer DEFAULT public.pwn());\n"),
            String::new(),
        ),
        (
            "a generated column",
            format!(
                "{pwn}CREATE TABLE public.evil (a text, b integer GENERATED \
            ALWAYS AS (public.pwn()) STORED);\n"
            ),
            String::new(),
        ),
        (
            "a domain",
            format!(
                "{pwn}CREATE DOMAIN public.d AS text CHECK (public.pwn() > \
            0);\nCREATE TABLE public.evil (a public.d);\n"
            ),
            String::new(),
        ),
        (
            "a trigger",
            format!(
                "{}{table}CREATE TRIGGER t BEFORE INSERT ON public.evil FOR EACH ROW \
            EXECUTE FUNCTION public.fires();\n",
                runs("fires", "trigger")
            ),
            String::new(),
        ),
        (
            "a security definer",
            format!(
                "{}{table}CREATE TRIGGER t BEFORE INSERT ON public.evil FOR \
            EACH ROW EXECUTE FUNCTION public.fires();\n",
                runs("fires", "trigger").replace("plpgsql", "plpgsql SECURITY DEFINER")
            ),
            String::new(),
        ),
        (
            "a view with a trigger",
            format!(
                "{}CREATE VIEW public.evil AS SELECT 'x'::text AS \
            a;\nCREATE TRIGGER t INSTEAD OF INSERT ON public.evil FOR EACH ROW EXECUTE FUNCTION \
            public.fires();\n",
                runs("fires", "trigger")
            ),
            String::new(),
        ),
        (
            "a view that is counted",
            format!(
                "{pwn}{}CREATE VIEW public.evil AS SELECT 'x'::text AS \
            a WHERE public.pwn() > 0;\nCREATE TRIGGER t INSTEAD OF INSERT ON public.evil FOR EACH \
            ROW EXECUTE FUNCTION public.quiet();\n",
                runs("quiet", "trigger").replace("EXECUTE 'CO'", "PERFORM 'CO'")
            ),
            String::new(),
        ),
        (
            "a rule",
            format!(
                "{pwn}{table}CREATE TABLE public.log (n integer);\nCREATE RULE r AS ON \
            INSERT TO public.log DO ALSO SELECT public.pwn();\nCREATE FUNCTION public.adds() \
            RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (1); RETURN \
            NEW; END $$;\nCREATE TRIGGER t BEFORE INSERT ON public.evil FOR EACH ROW EXECUTE \
            FUNCTION public.adds();\n"
            ),
            String::new(),
        ),
        (
            "an index",
            format!("{pwn}{table}"),
            "CREATE INDEX i ON public.evil USING btree ((public.pwn()));\n".to_owned(),
        ),
        (
            "a constraint",
            format!("{pwn}{table}"),
            "ALTER TABLE ONLY public.evil ADD CONSTRAINT c CHECK ((public.pwn() > 0));\n"
                .to_owned(),
        ),
        (
            "a materialized view",
            format!(
                "{pwn}{table}CREATE MATERIALIZED VIEW public.m AS SELECT \
            public.pwn() AS n WITH NO DATA;\n"
            ),
            "REFRESH MATERIALIZED VIEW public.m;\n".to_owned(),
        ),
        (
            "an event trigger",
            format!(
                "{}{table}CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE \
            FUNCTION public.fires();\n",
                runs("fires", "event_trigger").replace("RETURN 1;", "RETURN;")
            ),
            "CREATE TABLE public.later (a text);\n".to_owned(),
        ),
        (
            "a large object",
            "SELECT pg_catalog.lo_create('777');\nSELECT pg_catalog.lo_open('777', \
            131072);\nSELECT pg_catalog.lowrite(0, '\\x41');\nSELECT \
            pg_catalog.lo_close(0);\nCREATE TABLE public.evil (a text, b integer DEFAULT \
            lo_export(777, 'CANARY'));\n"
                .to_owned(),
            String::new(),
        ),
        (
            "a way back to who connects",
            body("  EXECUTE 'RESET SESSION AUTHORIZATION';\n  EXECUTE 'RESET ROLE';\n"),
            String::new(),
        ),
        (
            "a role that rises",
            body(
                "  BEGIN EXECUTE 'ALTER ROLE ' || current_user || ' SUPERUSER'; \
            EXCEPTION WHEN OTHERS THEN NULL; END;\n",
            ),
            String::new(),
        ),
        (
            "a language",
            "CREATE FUNCTION public.pwn() RETURNS integer LANGUAGE c AS 'libc.so.6', \
            'getpid';\nCREATE TABLE public.evil (a text, b integer DEFAULT \
            public.pwn());\n"
                .to_owned(),
            String::new(),
        ),
    ];
    all.map(|(name, before, after)| (name, before, format!("{ROWS}{after}"))).into()
}

struct Trap {
    _folder: TempDir,
    canary: PathBuf,
}

/// A file that everybody may make.
fn trap() -> Trap {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    Trap { canary: folder.path().join("canary"), _folder: folder }
}

/// A repository with the dump that has these statements before and after the rows; `None` if the
/// backup finds it bad.
fn repository(before: &str, after: &str, canary: &Path) -> Option<Home> {
    let text = bare_dump(5, 0).replacen("COPY ", &format!("{before}COPY "), 1);
    let end = "--\n-- PostgreSQL database dump complete";
    let text = text.replacen(end, &format!("{after}{end}"), 1);
    assert!(text.contains(after));
    let home = Home::new();
    home.write_dump(&text.replace("CANARY", canary.to_str().unwrap()));
    home.try_backup(&SilentMonitor).ok()?;
    Some(home)
}

#[test]
fn nothing_that_a_hostile_dump_holds_runs_a_program_or_writes_a_file() {
    let server = Postgres::start(debian());
    let (mut tried, mut dangerous) = (0, 0);
    for (name, before, after) in hostile() {
        let trap = trap();
        let Some(home) = repository(&before, &after, &trap.canary) else {
            panic!("{name} is no dump")
        };
        let database = format!("d{tried}");
        let options = Options::new(DatabaseAccess::new(ServerPlace::Url(server.url(&database))));
        let loaded = database::restore(&home.repository(), &options, &SilentMonitor);
        assert!(!trap.canary.exists(), "{name}: {loaded:?}");
        // Nor with the rights of a role that stays behind.
        let roles = server
            .psql("postgres", "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolcanlogin");
        assert_eq!(roles, "postgres", "{name}");
        tried += 1;
        // Who trusts it gets what it holds: that is what was kept from happening.
        server.psql("postgres", &format!("DROP DATABASE IF EXISTS {database}"));
        let own = database::restore(
            &home.repository(),
            &Options { rights: LoadRights::Own, ..options },
            &SilentMonitor,
        );
        println!(
            "{name}: {}: {}",
            trap.canary.exists(),
            own.err().map_or("loaded".to_owned(), |error| error.chain())
        );
        dangerous += u32::from(trap.canary.exists());
    }
    println!("{tried} hostile dumps restored, {dangerous} of which run a program for a superuser");
    assert!(dangerous >= 13, "only {dangerous} of {tried} are dangerous at all");
}

#[test]
fn nothing_that_a_hostile_dump_holds_gets_out_of_a_drill() {
    let programs = PathBuf::from(format!("/usr/lib/postgresql/{}/bin", debian()));
    for (name, before, after) in hostile() {
        let trap = trap();
        let Some(home) = repository(&before, &after, &trap.canary) else {
            panic!("{name} is no dump")
        };
        let files = || walkdir::WalkDir::new(home.repo_path().join("archives")).into_iter().count();
        let before = files();
        let servers = DrillServers::Programs(programs.clone());
        let options = drill::Options {
            snapshot: "latest".to_owned(),
            servers,
            sandbox: true,
            require_server: true,
            accepted: Vec::new(),
            assets: 1,
            seed: 1,
        };
        let drilled = drill::drill(&home.repository(), &options, &SilentMonitor);
        assert!(!trap.canary.exists(), "{name}: {drilled:?}");
        assert_eq!(files(), before, "{name}");
    }
}

/// A repository that a stranger made may say of any dump that it is good.
#[test]
fn a_nul_byte_in_a_row_or_a_statement_is_refused_before_psql_sees_it() {
    let row = format!(
        "COPY public.evil (a) FROM stdin;\n1\n\0{}\\.\nSELECT 1;\nCOPY public.evil (a) FROM \
            stdin;\n2\n\\.\n\n",
        "A".repeat(8188)
    );
    let whole = |before: &str, after: &str| {
        let text = bare_dump(5, 0).replacen("COPY ", &format!("{before}COPY "), 1);
        let end = "--\n-- PostgreSQL database dump complete";
        text.replacen(end, &format!("{after}{end}"), 1)
    };
    let fitted =
        |text: &str| fit::fit(&mut text.as_bytes(), None, &fit::FitTarget::file(), &mut |_| Ok(()));
    assert!(fitted(&whole("CREATE TABLE public.evil (a text);\n", ROWS)).is_ok());
    for text in [
        whole("CREATE TABLE public.evil (a text);\n", &row),
        whole("CREATE TABLE public.evil (a text DEFAULT '\0');\n", ROWS),
    ] {
        let error = fitted(&text).unwrap_err();
        assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("NUL"), "{error}");
    }
}

/// A folder with a psql of another version: the real one that says so, and does not know
/// `\\restrict` if `ignorant`.
fn psql_of(version: u32, ignorant: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let real = format!("/usr/lib/postgresql/{}/bin/psql -v VERSION_NUM={version}", debian());
    let script = if ignorant {
        format!(
            "#!/bin/sh\necho 'invalid command \\\\restrict' >&2\nsed -u '/^.restrict /d' | {real} \
                \"$@\"\n"
        )
    } else {
        format!("#!/bin/sh\nexec {real} \"$@\"\n")
    };
    let program = folder.path().join("psql");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// What `restore-database` says and how it ends, with that folder before all others on PATH.
fn restored_by(psql: &Path, home: &Home, arguments: &[&str]) -> (Option<i32>, String) {
    let path = format!("{}:{}", psql.display(), std::env::var("PATH").unwrap());
    let mut command = Command::cargo_bin("shoebox").unwrap();
    command
        .env("PATH", path)
        .env("SHOEBOX_REPOSITORY", home.repo_path())
        .arg("restore-database")
        .args(arguments);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_psql_that_is_too_old_is_told_and_one_that_obeys_commands_of_a_dump_reads_none_here() {
    let server = Postgres::start(debian());
    let home = repository("", "", Path::new("/nothing")).unwrap();
    for (version, ignorant, code, words) in [
        (150019, false, 0, ""),
        (
            150018,
            false,
            0,
            "note: psql 15.18 has a flaw in what keeps commands in a dump from being run \
                (CVE-2026-18408)",
        ),
        (
            150013,
            true,
            1,
            "psql 15.13 is too old to keep commands in a dump from being run (CVE-2025-8714)",
        ),
    ] {
        let (psql, name) = (psql_of(version, ignorant), format!("d{version}"));
        let (found, said) =
            restored_by(psql.path(), &home, &["--database-url", &server.url(&name)]);
        assert_eq!(found, Some(code), "{version}: {said}");
        assert_eq!(
            said.contains("apt install --only-upgrade postgresql-client-15"),
            !words.is_empty(),
            "{said}"
        );
        assert!(
            said.contains(words) && said.contains("CVE") != words.is_empty(),
            "{version}: {said}"
        );
        let made = server.psql(
            "postgres",
            &format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'"),
        );
        assert_eq!(made == "1", code == 0, "{version}: {said}");
    }
    let (psql, url) = (psql_of(150013, true), server.url("trusted"));
    let (code, said) = restored_by(psql.path(), &home, &["--database-url", &url, "--trust-dump"]);
    assert!(code == Some(0) && said.contains("note: psql 15.13 is too old"), "{said}");
    // Inside of the database's container it runs nothing here.
    let docker = Docker::new().container(
        "immich_postgres",
        &[
            ("PGHOST", &server.socket_folder().display().to_string()),
            ("PGPORT", &server.port().to_string()),
        ],
    );
    let program = docker.program().into_string().unwrap();
    let inside =
        ["--docker", "immich_postgres", "--docker-program", &program, "--database-name", "inside"];
    let (code, said) = restored_by(psql.path(), &home, &inside);
    assert!(
        code == Some(0) && said.contains("15.13 is too old") && said.contains("a newer PostgreSQL"),
        "{said}"
    );
}
