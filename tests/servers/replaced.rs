//! `restore-database --replace`: the new database is set up as the old one was, and nobody is
//! replaced who works with it.

use std::process::{Child, Command, Stdio};

use crate::backup_library::{Home, dump as bare_dump};
use crate::support::Postgres;
use crate::support::postgres::debian;
use shoebox::base::monitor::SilentMonitor;
use shoebox::source::{DatabaseAccess, ServerPlace};
use shoebox::task::database::{self, DatabasePlan, Options};

/// Replaces the database immich, as that user.
fn replacing(server: &Postgres, user: &str) -> Options {
    let target = DatabaseAccess {
        user: Some(user.to_owned()),
        ..DatabaseAccess::new(ServerPlace::Url(server.url("immich")))
    };
    Options { replace: true, ..Options::new(target) }
}

fn with_dump() -> Home {
    let home = Home::new();
    home.write_dump(&bare_dump(5, 0));
    home.backup();
    home
}

fn plan(home: &Home, options: &Options) -> DatabasePlan {
    database::plan(&home.repository(), options, &SilentMonitor).unwrap()
}

/// What stands in the way, and what to do about it.
fn in_the_way(plan: &DatabasePlan) -> Vec<String> {
    plan.obstacles.iter().map(|it| format!("{}: {}", it.what, it.next)).collect()
}

/// Owner, rights, limit, comment and settings of a database, without its name.
fn set_up(server: &Postgres, database: &str) -> String {
    server.psql(
        "postgres",
        &format!(
            "SELECT pg_get_userbyid(datdba), datacl::text[] @> '{{reader=c*/owner}}', datacl, \
                datconnlimit, shobj_description(oid, 'pg_database'),
               (SELECT string_agg(setrole::regrole || ': ' || setconfig::text, '; ' ORDER BY \
               setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid)
             FROM pg_database d WHERE datname = '{database}'"
        ),
    )
}

#[test]
fn the_database_that_takes_the_place_has_the_owner_the_rights_and_the_settings_of_the_old_one() {
    let server = Postgres::start(debian());
    server.create_database("immich");
    server.psql("postgres", "CREATE ROLE owner LOGIN; CREATE ROLE reader; CREATE ROLE \"My Role\"");
    for change in [
        "ALTER DATABASE immich OWNER TO owner",
        "ALTER DATABASE immich SET search_path = \"$user\", public, \"odd, name\"",
        "ALTER DATABASE immich SET work_mem = '64MB'",
        "ALTER DATABASE immich SET \"vchordrq.probes\" = '1,2'",
        "ALTER DATABASE immich SET client_encoding = 'LATIN1'",
        // A restore that took it over at once would not write a row.
        "ALTER DATABASE immich SET default_transaction_read_only = on",
        "ALTER ROLE \"My Role\" IN DATABASE immich SET statement_timeout = '5s'",
        "ALTER DATABASE immich CONNECTION LIMIT 50",
        "COMMENT ON DATABASE immich IS 'it''s \\ Ann''s'",
        "REVOKE ALL ON DATABASE immich FROM PUBLIC",
        "GRANT CONNECT ON DATABASE immich TO reader WITH GRANT OPTION",
        "REVOKE TEMPORARY ON DATABASE immich FROM owner",
    ] {
        server.psql("postgres", change);
    }
    let before = set_up(&server, "immich");
    assert!(
        before.starts_with("owner|t|") && before.contains("|50|") && before.contains("5s"),
        "{before}"
    );
    let report = database::restore(
        &with_dump().repository(),
        &replacing(&server, "postgres"),
        &SilentMonitor,
    )
    .unwrap();
    assert_eq!(set_up(&server, "immich"), before);
    assert_eq!(set_up(&server, &report.kept.unwrap()), before);
    assert_eq!(server.psql("immich", "SELECT count(*) FROM public.smart_search"), "5");
}

#[test]
fn a_user_who_may_not_replace_it_is_told_in_the_plan_and_who_may_needs_no_superuser() {
    let server = Postgres::start(debian());
    server.create_database("immich");
    server.psql(
        "postgres",
        "CREATE ROLE ann LOGIN; CREATE ROLE bo LOGIN CREATEDB; ALTER DATABASE immich OWNER TO ann",
    );
    let home = with_dump();
    let refused = |user: &str, expected: &str| {
        let told = in_the_way(&plan(&home, &replacing(&server, user)));
        assert!(told.len() == 1 && told[0].contains(expected), "{user}: {told:?}");
        let error =
            database::restore(&home.repository(), &replacing(&server, user), &SilentMonitor)
                .unwrap_err();
        assert!(told[0].starts_with(&error.to_string()), "{error}");
        assert_eq!(
            server
                .psql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'immich%'"),
            "1"
        );
    };
    refused("ann", "ALTER ROLE \"ann\" CREATEDB");
    refused("bo", "does not belong to user bo");
    server.psql("postgres", "ALTER ROLE ann CREATEDB");
    server.psql("postgres", "ALTER DATABASE immich SET work_mem = '64MB'");
    let report =
        database::restore(&home.repository(), &replacing(&server, "ann"), &SilentMonitor).unwrap();
    assert!(report.kept.is_some() && set_up(&server, "immich").starts_with("ann|"));
    assert_eq!(server.psql("immich", "SHOW work_mem"), "64MB");
    // What she may not set, the old one keeps, and nothing is loaded.
    server.psql("postgres", "ALTER DATABASE immich SET log_min_duration_statement = 5");
    let error = database::restore(&home.repository(), &replacing(&server, "ann"), &SilentMonitor)
        .unwrap_err();
    assert!(error.chain().contains("log_min_duration_statement"), "{}", error.chain());
    assert_eq!(
        server.psql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'immich%'"),
        "2"
    );
}

/// Ends with the test, however that ends.
struct Session(Child);

impl Session {
    /// A client of that name, which waits for its input to end.
    fn new(server: &Postgres, name: &str) -> Session {
        let mut client = Command::new("psql");
        client.args(["-X", "-q", &server.url("immich")]).env("PGAPPNAME", name);
        Session(client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_is_connected_is_named_by_application_and_address_to_everybody() {
    let server = Postgres::start(debian());
    server.create_database("immich");
    server.psql("postgres", "CREATE ROLE ann LOGIN CREATEDB; ALTER DATABASE immich OWNER TO ann");
    let _sessions =
        ["immich-server", "immich-server", "pgAdmin 4"].map(|name| Session::new(&server, name));
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'immich'";
    let seen = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        server.psql("postgres", connected) == "3"
    });
    assert!(seen, "the sessions do not begin");
    let told = in_the_way(&plan(&with_dump(), &replacing(&server, "postgres")));
    let expected = "the database immich is in use by 3 other sessions: immich-server at 127.0.0.1 \
        (2 times), pgAdmin 4 at 127.0.0.1: stop Immich first";
    assert!(told[0].starts_with(expected), "{told:?}");
    // Who may not see from where is told the rest.
    let told = in_the_way(&plan(&with_dump(), &replacing(&server, "ann")));
    assert!(told[0].contains("in use by 3 other sessions: immich-server at "), "{told:?}");
}
