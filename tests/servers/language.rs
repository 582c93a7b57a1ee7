//! A server that does not speak English: what it refuses is understood all the same.

use std::io::Read;

use crate::backup_library::Home;
use crate::support::postgres::{Postgres, debian};
use crate::support::{Docker, Era, sample_library};
use shoebox::base::Error;
use shoebox::base::monitor::SilentMonitor;
use shoebox::source::postgres;
use shoebox::source::{DatabaseAccess, DumpRequest, DumpTool, ServerPlace};
use shoebox::task::backup::DumpSource;
use shoebox::task::database::{self, Options};

fn servers() -> [Postgres; 2] {
    let german = Postgres::speaking_german();
    assert_eq!(german.psql("postgres", "SHOW lc_messages"), "de_DE.UTF-8");
    [Postgres::start(debian()), german]
}

fn told(error: &Error) -> String {
    format!("{error} ({})", error.next_step().unwrap_or("no hint"))
}

fn dump_fails(request: &DumpRequest) -> String {
    match postgres::start(request, &SilentMonitor) {
        Ok(dump) => told(&dump.finish().unwrap_err()),
        Err(error) => told(&error),
    }
}

#[test]
fn a_database_that_is_not_there_is_named_in_every_language() {
    for server in servers() {
        let hint = "database no'pe does not exist on the server (name it with `--database-name`";
        let request = DumpRequest::new(ServerPlace::Url(server.url("no%27pe")));
        let said = dump_fails(&request);
        assert!(said.starts_with(hint), "{said}");
        let home = Home::new();
        let options =
            shoebox::task::backup::Options { dump: DumpSource::Server(request), ..home.options() };
        let error =
            shoebox::task::backup::backup(&home.repository(), options, &SilentMonitor).unwrap_err();
        assert!(told(&error).starts_with(hint), "{}", told(&error));

        let socket = server.socket_folder().display().to_string();
        let port = server.port().to_string();
        let inside = [("PGHOST", socket.as_str()), ("PGPORT", &port), ("POSTGRES_DB", "no'pe")];
        let docker = Docker::new().container("db", &inside);
        let program = docker.program();
        let docker = ServerPlace::Docker { container: "db".to_owned(), docker: program };
        let said = dump_fails(&DumpRequest::new(docker));
        assert!(said.starts_with(hint), "{said}");
    }
}

#[test]
fn a_user_who_may_not_read_is_told_which_table_in_every_language() {
    for server in servers() {
        server.psql("postgres", "CREATE ROLE reader LOGIN; CREATE TABLE asset (id int)");
        let url = format!("postgresql://reader@127.0.0.1:{}/postgres", server.port());
        let request = DumpRequest::new(ServerPlace::Url(url));
        assert!(
            dump_fails(&request).starts_with("the database user may not read table asset (dump as")
        );
        let all = dump_fails(&DumpRequest { tool: DumpTool::PgDumpall, ..request });
        assert!(all.contains("`pg_dumpall` needs a superuser"), "{all}");
    }
}

#[test]
fn a_login_that_is_refused_is_told_in_every_language() {
    for server in servers() {
        let url = format!("postgresql://bob@127.0.0.1:{}/postgres", server.port());
        let said = dump_fails(&DumpRequest::new(ServerPlace::Url(url)));
        assert!(said.contains("DB_USERNAME"), "{said}");
        assert!(!said.contains("exit code"), "{said}");
    }
}

/// What pg_dump writes of the sample library.
fn dumped(server: &Postgres) -> String {
    server.create_database("immich");
    server.load("immich", &sample_library(1, Era::New).sql());
    let mut text = String::new();
    postgres::start(&DumpRequest::new(ServerPlace::Url(server.url("immich"))), &SilentMonitor)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// A repository whose newest snapshot has the dump `text`.
fn backed_up(text: &str) -> Home {
    let home = Home::new();
    home.write_dump(text);
    home.backup();
    home
}

#[test]
fn a_dump_is_restored_and_refused_alike_in_every_language() {
    for server in servers() {
        let home = backed_up(&dumped(&server));
        let mut options = Options::new(DatabaseAccess::new(ServerPlace::Url(server.url("new"))));
        let report = database::restore(&home.repository(), &options, &SilentMonitor).unwrap();
        assert!(report.plan.create && report.is_as_expected(), "{report:?}");

        server.create_database("used");
        server.psql(
            "used",
            "CREATE TYPE asset_visibility_enum AS ENUM ('x'); CREATE TYPE assets_status_enum AS \
                ENUM ('x')",
        );
        options.target = DatabaseAccess::new(ServerPlace::Url(server.url("used")));
        let error = database::restore(&home.repository(), &options, &SilentMonitor).unwrap_err();
        assert!(error.to_string().starts_with("the database refused line "), "{error}");
        assert!(
            error.next_step().unwrap().contains("the database is not empty"),
            "{}",
            told(&error)
        );
    }
}

#[test]
fn a_row_that_is_refused_is_named_by_its_line_in_every_language() {
    for server in servers() {
        let sql = dumped(&server);
        let at = sql.find("COPY public.system_metadata (").unwrap();
        let end = at + sql[at..].find("\\.\n").unwrap();
        let text = format!("{}bad\t{{no json\n{}", &sql[..end], &sql[end..]);
        let line = sql[..end].lines().count() + 1;
        let options = Options::new(DatabaseAccess::new(ServerPlace::Url(server.url("new"))));
        let error = database::restore(&backed_up(&text).repository(), &options, &SilentMonitor)
            .unwrap_err();
        let expected =
            format!("the database refused line {line} of the dump (table system_metadata): ");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}
