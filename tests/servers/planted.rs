//! Code in a database that is not Immich's: it is listed when a dump was loaded, and what is
//! Immich's own is not.

use std::fs;
use std::process::Command;

use crate::backup_library::{Home, dump as bare_dump};
use crate::support::postgres::{debian, from_debian};
use crate::support::{Era, Postgres, sample_library, shared};
use assert_cmd::prelude::*;
use serde_json::Value;
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::source::{DatabaseAccess, DumpRequest, ServerPlace};
use shoebox::task::backup::{self, DumpSource, backup};
use shoebox::task::database::{self, LoadRights, Options, Report};

fn to(server: &Postgres, database: &str) -> Options {
    Options::new(DatabaseAccess::new(ServerPlace::Url(server.url(database))))
}

/// What was listed: kind, name, why.
fn listed(report: &Report) -> Vec<String> {
    report.code.iter().map(|code| format!("{code}: {}", code.why)).collect()
}

/// A repository with a dump that has these statements before its rows.
fn with_statements(statements: &str) -> Home {
    let home = Home::new();
    home.write_dump(&bare_dump(5, 0).replacen("COPY ", &format!("{statements}COPY "), 1));
    home.backup();
    home
}

fn function(name: &str, returns: &str, kind: &str, body: &str) -> String {
    format!(
        "CREATE FUNCTION public.{name}() RETURNS {returns} LANGUAGE plpgsql{kind} AS $$ BEGIN \
            {body}; END $$;\n"
    )
}

/// Statements of a dump, and what is listed of them.
fn planted() -> Vec<(String, Vec<&'static str>)> {
    let plain =
        || function("pwn", "integer", "", "RETURN 1") + "CREATE TABLE public.evil (a integer);\n";
    let fires = || function("fires", "trigger", "", "RETURN NEW");
    const PWN: &str = "function public.pwn(): Immich has no function of that name";
    const FIRES: &str = "function public.fires(): Immich has no function of that name";
    vec![
        (
            function("pwn", "integer", " SECURITY DEFINER", "RETURN 1"),
            vec!["function public.pwn(): it runs with the rights of its owner (SECURITY DEFINER)"],
        ),
        (
            function("updated_at", "trigger", "", "EXECUTE 'CO' || 'PY'; RETURN NEW"),
            vec![
                "function public.updated_at(): it contains EXECUTE, which no function of Immich's does",
            ],
        ),
        (
            function(
                "updated_at",
                "trigger",
                "",
                "PERFORM pg_read_file('/etc/passwd'); RETURN NEW",
            ),
            vec!["function public.updated_at(): it calls pg_read_file"],
        ),
        (
            fires()
                + "CREATE TRIGGER t AFTER DELETE ON public.asset FOR EACH ROW EXECUTE FUNCTION \
                public.fires();\n",
            vec![FIRES, "trigger t on public.asset: it calls fires"],
        ),
        (
            plain() + "ALTER TABLE public.evil ALTER COLUMN a SET DEFAULT public.pwn();\n",
            vec![PWN, "default public.evil.a: it calls pwn"],
        ),
        (
            "CREATE TABLE public.evil (a text DEFAULT pg_read_file('/etc/passwd'), b text DEFAULT \
                lower('A'));\n"
                .into(),
            vec!["default public.evil.a: it calls pg_read_file"],
        ),
        (
            "CREATE TABLE public.evil (a tsquery DEFAULT ts_rewrite('a'::tsquery, 'SELECT 1'));\n"
                .into(),
            vec!["default public.evil.a: it calls ts_rewrite"],
        ),
        (
            "CREATE TABLE public.evil (a text DEFAULT query_to_xml('SELECT 1', true, true, ''));\n"
                .into(),
            vec!["default public.evil.a: it calls query_to_xml"],
        ),
        (
            plain().replace("plpgsql", "plpgsql IMMUTABLE")
                + "CREATE TABLE public.more (a integer, b integer GENERATED ALWAYS AS \
                    (public.pwn()) STORED);\n",
            vec![PWN, "generated column public.more.b: it calls pwn"],
        ),
        (
            plain()
                + "CREATE TABLE public.more (a integer, CONSTRAINT c CHECK ((public.pwn() > \
                0)));\n",
            vec![PWN, "check c on public.more: it calls pwn"],
        ),
        (
            plain()
                + "CREATE DOMAIN public.d AS integer CONSTRAINT c CHECK ((public.pwn() > 0));\n",
            vec![PWN, "check c on public.d: it calls pwn"],
        ),
        (
            plain()
                + "CREATE RULE r AS ON INSERT TO public.evil DO ALSO DELETE FROM public.asset;\n",
            vec![PWN, "rule r on public.evil: Immich has none"],
        ),
        (
            plain() + "CREATE POLICY p ON public.evil USING ((public.pwn() > 0));\n",
            vec![PWN, "policy p on public.evil: Immich has none"],
        ),
        (
            plain().replace("plpgsql", "plpgsql IMMUTABLE")
                + "CREATE INDEX i ON public.evil USING btree (public.pwn());\n",
            vec![PWN, "index public.i: it calls pwn"],
        ),
        (
            plain()
                + "CREATE VIEW public.v AS SELECT public.pwn() AS a, count(*) AS n FROM \
                public.asset;\n",
            vec![PWN, "view public.v: it calls pwn"],
        ),
        (
            "CREATE VIEW public.v AS SELECT count(*), max(id::text) FROM public.asset;\n".into(),
            vec![],
        ),
    ]
}

#[test]
fn what_runs_by_itself_and_is_not_immichs_is_listed_by_kind_and_name() {
    let server = Postgres::start(debian());
    for (at, (statements, expected)) in planted().into_iter().enumerate() {
        let home = with_statements(&statements);
        let monitor = ProblemCollector::default();
        let report =
            database::restore(&home.repository(), &to(&server, &format!("d{at}")), &monitor)
                .unwrap_or_else(|error| panic!("{statements}: {}", error.chain()));
        assert_eq!(listed(&report), expected, "{statements}");
        assert_eq!(report.is_as_expected(), expected.is_empty());
        let told: Vec<_> = monitor.problems().into_iter().map(|problem| problem.subject).collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        assert!(
            told.iter().zip(&expected).all(|(told, expected)| expected.starts_with(told)),
            "{told:?}"
        );
    }
}

#[test]
fn an_event_trigger_that_somebody_insists_on_is_listed() {
    let server = Postgres::start(debian());
    let statements = function("fires", "event_trigger", "", "RETURN")
        + "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.fires();\n";
    let home = with_statements(&statements);
    let options = Options { foreign: true, rights: LoadRights::Own, ..to(&server, "immich") };
    let report = database::restore(&home.repository(), &options, &SilentMonitor).unwrap();
    let expected = [
        "function public.fires(): Immich has no function of that name",
        "event trigger e: Immich has none",
    ];
    assert_eq!(listed(&report), expected);
}

#[test]
fn what_is_accepted_is_not_listed_and_the_rest_is() {
    let server = Postgres::start(debian());
    let home = with_statements(
        &(function("mine", "integer", "", "RETURN 1")
            + &function("pwn", "integer", "", "RETURN 1")),
    );
    let accepted = vec!["function public.mine()".to_owned()];
    let report = database::restore(
        &home.repository(),
        &Options { accepted, ..to(&server, "immich") },
        &SilentMonitor,
    );
    assert_eq!(
        listed(&report.unwrap()),
        ["function public.pwn(): Immich has no function of that name"]
    );
}

#[test]
fn of_a_library_of_either_era_nothing_is_listed() {
    let server = Postgres::start(debian());
    for era in [Era::New, Era::Old] {
        server.create_database("immich");
        server.load("immich", &sample_library(1, era).sql());
        let home = Home::new();
        let dump = DumpSource::Server(DumpRequest::new(ServerPlace::Url(server.url("immich"))));
        backup(&home.repository(), backup::Options { dump, ..home.options() }, &SilentMonitor)
            .unwrap();
        server.psql("postgres", "DROP DATABASE immich");
        let report =
            database::restore(&home.repository(), &to(&server, "back"), &SilentMonitor).unwrap();
        assert_eq!(listed(&report), [""; 0]);
        server.psql("postgres", "DROP DATABASE back");
    }
}

#[test]
fn of_real_libraries_of_every_era_nothing_is_listed() {
    let Some(shared) = shared() else { return };
    let files = [
        ("state-1/pg_dumpall.sql", Some("immich")),
        ("state-2/pg_dump-immich.sql", None),
        ("state-2-as-3.2/pg_dump-immich.sql.gz", None),
        ("state-2-as-3.2/pg_dump-immich-cluster.sql.gz", None),
        ("old-1/pg_dumpall.sql", Some("immich132")),
    ];
    for major in from_debian() {
        let server = Postgres::start(major);
        for (at, (file, database)) in files.iter().enumerate() {
            let home = Home::new();
            let dump = DumpSource::File(shared.join("immich").join(file));
            let database = database.map(str::to_owned);
            backup(
                &home.repository(),
                backup::Options { dump, database, ..home.options() },
                &SilentMonitor,
            )
            .unwrap();
            let options = to(&server, &format!("immich{at}"));
            if !database::plan(&home.repository(), &options, &SilentMonitor)
                .unwrap()
                .obstacles
                .is_empty()
            {
                // Debian's server has no pgvector.
                assert_eq!(major, debian(), "{file}");
                continue;
            }
            let report = database::restore(&home.repository(), &options, &SilentMonitor).unwrap();
            assert_eq!(listed(&report), [""; 0], "{file} on {major}");
        }
    }
}

#[test]
fn a_drill_lists_it_and_is_a_success_that_ends_with_3() {
    let home = with_statements(&function("pwn", "integer", " SECURITY DEFINER", "RETURN 1"));
    let shoebox = |arguments: &[&str]| {
        let mut command = Command::cargo_bin("shoebox").unwrap();
        command.env("SHOEBOX_REPOSITORY", home.repo_path()).args(arguments);
        let output = command
            .args(["--postgres", &format!("/usr/lib/postgresql/{}/bin", debian())])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    // Of this library no photo was backed up, which is another fault.
    let folder = home.repo_path().join("snapshots");
    assert!(fs::read_dir(folder).unwrap().count() > 0);
    let (code, said, told) = shoebox(&["drill", "--assets", "0"]);
    assert_eq!(code, Some(3), "{said}{told}");
    assert!(
        told.contains("problem: function public.pwn(): not Immich's, and it runs by itself: "),
        "{told}"
    );
    assert!(told.contains("hint: find out who made it"), "{told}");
    let (code, said, _) = shoebox(&["--json", "drill", "--assets", "0"]);
    let value: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &value["code"][0]["kind"]), (Some(3), &Value::from("function")), "{said}");
    assert_eq!(value["code"][0]["name"], "public.pwn()", "{said}");
    assert!(value.get("failure").is_none(), "{said}");
    let (code, said, told) =
        shoebox(&["drill", "--assets", "0", "--accept-code", "function public.pwn()"]);
    assert_eq!(code, Some(0), "{said}{told}");
}
