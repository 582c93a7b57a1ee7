//! A dump is code that somebody else may have written: whatever it holds, nothing of it runs with power.

mod backup_library;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use backup_library::{Home, dump as bare_dump};
use shoebox::base::Kind;
use shoebox::base::monitor::Silent;
use shoebox::immich::fit;
use shoebox::source::{Access, Server};
use shoebox::task::database::{self, Options, Rights};
use shoebox::task::drill::{self, Servers};
use support::Postgres;
use support::postgres::debian;
use tempfile::TempDir;

const ROWS: &str = "COPY public.evil (a) FROM stdin;\nx\n\\.\n\n";

/// Kinds of hostile dumps: a name, what comes before the tables' rows, and what comes after them. `CANARY` is a file to be made.
fn hostile() -> Vec<(&'static str, String, String)> {
    let runs = |name: &str, kind: &str| {
        format!(
            "CREATE FUNCTION public.{name}() RETURNS {kind} LANGUAGE plpgsql AS $$\nBEGIN\n  EXECUTE 'CO' || 'PY (SELECT 1) TO PRO' || 'GRAM ''touch CANARY''';\n  RETURN {};\nEND\n$$;\n",
            if kind == "trigger" { "NEW" } else { "1" }
        )
    };
    let pwn = runs("does", "integer")
        + "CREATE FUNCTION public.pwn() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN public.does(); END $$;\n";
    let table = "CREATE TABLE public.evil (a text);\n";
    let body = |text: &str| {
        format!(
            "CREATE FUNCTION public.pwn() RETURNS integer LANGUAGE plpgsql AS $$\nBEGIN\n{text}  EXECUTE 'CO' || 'PY (SELECT 1) TO PRO' || 'GRAM ''touch CANARY''';\n  RETURN 1;\nEND\n$$;\nCREATE TABLE public.evil (a text DEFAULT 'x', b integer DEFAULT public.pwn());\n"
        )
    };
    let all = [
        ("a check", format!("{pwn}CREATE TABLE public.evil (a text, CHECK (public.pwn() > 0));\n"), String::new()),
        ("a default", format!("{pwn}CREATE TABLE public.evil (a text, b integer DEFAULT public.pwn());\n"), String::new()),
        ("a generated column", format!("{pwn}CREATE TABLE public.evil (a text, b integer GENERATED ALWAYS AS (public.pwn()) STORED);\n"), String::new()),
        ("a domain", format!("{pwn}CREATE DOMAIN public.d AS text CHECK (public.pwn() > 0);\nCREATE TABLE public.evil (a public.d);\n"), String::new()),
        ("a trigger", format!("{}{table}CREATE TRIGGER t BEFORE INSERT ON public.evil FOR EACH ROW EXECUTE FUNCTION public.fires();\n", runs("fires", "trigger")), String::new()),
        ("a security definer", format!("{}{table}CREATE TRIGGER t BEFORE INSERT ON public.evil FOR EACH ROW EXECUTE FUNCTION public.fires();\n", runs("fires", "trigger").replace("plpgsql", "plpgsql SECURITY DEFINER")), String::new()),
        ("a view with a trigger", format!("{}CREATE VIEW public.evil AS SELECT 'x'::text AS a;\nCREATE TRIGGER t INSTEAD OF INSERT ON public.evil FOR EACH ROW EXECUTE FUNCTION public.fires();\n", runs("fires", "trigger")), String::new()),
        ("a view that is counted", format!("{pwn}{}CREATE VIEW public.evil AS SELECT 'x'::text AS a WHERE public.pwn() > 0;\nCREATE TRIGGER t INSTEAD OF INSERT ON public.evil FOR EACH ROW EXECUTE FUNCTION public.quiet();\n", runs("quiet", "trigger").replace("EXECUTE 'CO'", "PERFORM 'CO'")), String::new()),
        ("a rule", format!("{pwn}{table}CREATE TABLE public.log (n integer);\nCREATE RULE r AS ON INSERT TO public.log DO ALSO SELECT public.pwn();\nCREATE FUNCTION public.adds() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (1); RETURN NEW; END $$;\nCREATE TRIGGER t BEFORE INSERT ON public.evil FOR EACH ROW EXECUTE FUNCTION public.adds();\n"), String::new()),
        ("an index", format!("{pwn}{table}"), "CREATE INDEX i ON public.evil USING btree ((public.pwn()));\n".to_owned()),
        ("a constraint", format!("{pwn}{table}"), "ALTER TABLE ONLY public.evil ADD CONSTRAINT c CHECK ((public.pwn() > 0));\n".to_owned()),
        ("a materialized view", format!("{pwn}{table}CREATE MATERIALIZED VIEW public.m AS SELECT public.pwn() AS n WITH NO DATA;\n"), "REFRESH MATERIALIZED VIEW public.m;\n".to_owned()),
        ("an event trigger", format!("{}{table}CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.fires();\n", runs("fires", "event_trigger").replace("RETURN 1;", "RETURN;")), "CREATE TABLE public.later (a text);\n".to_owned()),
        ("a large object", "SELECT pg_catalog.lo_create('777');\nSELECT pg_catalog.lo_open('777', 131072);\nSELECT pg_catalog.lowrite(0, '\\x41');\nSELECT pg_catalog.lo_close(0);\nCREATE TABLE public.evil (a text, b integer DEFAULT lo_export(777, 'CANARY'));\n".to_owned(), String::new()),
        ("a way back to who connects", body("  EXECUTE 'RESET SESSION AUTHORIZATION';\n  EXECUTE 'RESET ROLE';\n"), String::new()),
        ("a role that rises", body("  BEGIN EXECUTE 'ALTER ROLE ' || current_user || ' SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;\n"), String::new()),
        ("a language", "CREATE FUNCTION public.pwn() RETURNS integer LANGUAGE c AS 'libc.so.6', 'getpid';\nCREATE TABLE public.evil (a text, b integer DEFAULT public.pwn());\n".to_owned(), String::new()),
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

/// A repository with the dump that has these statements before and after the rows; `None` if the backup finds it bad.
fn repository(before: &str, after: &str, canary: &Path) -> Option<Home> {
    let text = bare_dump(5, 0).replacen("COPY ", &format!("{before}COPY "), 1);
    let end = "--\n-- PostgreSQL database dump complete";
    let text = text.replacen(end, &format!("{after}{end}"), 1);
    assert!(text.contains(after));
    let home = Home::new();
    home.write_dump(&text.replace("CANARY", canary.to_str().unwrap()));
    home.try_backup(&Silent).ok()?;
    Some(home)
}

#[test]
fn nothing_that_a_hostile_dump_holds_runs_a_program_or_writes_a_file() {
    let server = Postgres::start(debian());
    let (mut tried, mut dangerous) = (0, 0);
    for (name, before, after) in hostile() {
        let trap = trap();
        let Some(home) = repository(&before, &after, &trap.canary) else { panic!("{name} is no dump") };
        let database = format!("d{tried}");
        let options = Options::new(Access::new(Server::Url(server.url(&database))));
        let loaded = database::restore(&home.repository(), &options, &Silent);
        assert!(!trap.canary.exists(), "{name}: {loaded:?}");
        // Nor with the rights of a role that stays behind.
        let roles = server.psql("postgres", "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolcanlogin");
        assert_eq!(roles, "postgres", "{name}");
        tried += 1;
        // Who trusts it gets what it holds: that is what was kept from happening.
        server.psql("postgres", &format!("DROP DATABASE IF EXISTS {database}"));
        let own = database::restore(&home.repository(), &Options { rights: Rights::Own, ..options }, &Silent);
        println!("{name}: {}: {}", trap.canary.exists(), own.err().map_or("loaded".to_owned(), |error| error.chain()));
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
        let Some(home) = repository(&before, &after, &trap.canary) else { panic!("{name} is no dump") };
        let files = || walkdir::WalkDir::new(home.repo_path().join("archives")).into_iter().count();
        let before = files();
        let servers = Servers::Programs(programs.clone());
        let options = drill::Options {
            snapshot: "latest".to_owned(),
            servers,
            sandbox: true,
            require_server: true,
            accepted: Vec::new(),
            assets: 1,
            seed: 1,
        };
        let drilled = drill::drill(&home.repository(), &options, &Silent);
        assert!(!trap.canary.exists(), "{name}: {drilled:?}");
        assert_eq!(files(), before, "{name}");
    }
}

/// A repository that a stranger made may say of any dump that it is good.
#[test]
fn a_nul_byte_in_a_row_or_a_statement_is_refused_before_psql_sees_it() {
    let row = format!(
        "COPY public.evil (a) FROM stdin;\n1\n\0{}\\.\nSELECT 1;\nCOPY public.evil (a) FROM stdin;\n2\n\\.\n\n",
        "A".repeat(8188)
    );
    let whole = |before: &str, after: &str| {
        let text = bare_dump(5, 0).replacen("COPY ", &format!("{before}COPY "), 1);
        let end = "--\n-- PostgreSQL database dump complete";
        text.replacen(end, &format!("{after}{end}"), 1)
    };
    let fitted = |text: &str| fit::fit(&mut text.as_bytes(), None, &fit::Target::file(), &mut |_| Ok(()));
    assert!(fitted(&whole("CREATE TABLE public.evil (a text);\n", ROWS)).is_ok());
    for text in [
        whole("CREATE TABLE public.evil (a text);\n", &row),
        whole("CREATE TABLE public.evil (a text DEFAULT '\0');\n", ROWS),
    ] {
        let error = fitted(&text).unwrap_err();
        assert!(error.kind() == Kind::Refused && error.to_string().contains("NUL"), "{error}");
    }
}
