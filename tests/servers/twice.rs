//! Two rows with one key, as a broken index lets them in: named at backup and restore, and a
//! restore that goes on without.

use std::io::Read;

use crate::backup_library::Home;
use crate::support::postgres::{Postgres, debian};
use crate::support::{Era, sample_library};
use shoebox::base::monitor::SilentMonitor;
use shoebox::source::{DatabaseAccess, DumpRequest, ServerPlace, postgres};
use shoebox::task::database::{self, Options};

/// What pg_dump writes of the sample library.
fn dumped(server: &Postgres) -> String {
    server.create_database("immich");
    server.load("immich", &sample_library(1, Era::New).sql());
    let mut text = String::new();
    let request = DumpRequest::new(ServerPlace::Url(server.url("immich")));
    postgres::start(&request, &SilentMonitor).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// The dump with the first row of `table` twice, the lines of both, and its first field.
fn doubled(text: &str, table: &str) -> (String, [usize; 2], String) {
    let at = text.find(&format!("COPY public.{table} (")).unwrap();
    let row = at + text[at..].find('\n').unwrap() + 1;
    let end = row + text[row..].find("\\.\n").unwrap();
    let first = text[row..].lines().next().unwrap().to_owned();
    let lines = [text[..row].lines().count() + 1, text[..end].lines().count() + 1];
    let id = first.split('\t').next().unwrap().to_owned();
    (format!("{}{first}\n{}", &text[..end], &text[end..]), lines, id)
}

#[test]
fn a_row_that_is_there_twice_is_named_with_both_lines_and_a_restore_goes_on_without_it() {
    let server = Postgres::start(debian());
    let text = dumped(&server);
    let tables = ["asset", "\"user\"", "album", "session"].into_iter();
    for table in tables.filter(|table| text.contains(&format!("COPY public.{table} ("))) {
        let (twice, [first, line], id) = doubled(&text, table);
        let name = table.trim_matches('"');
        let home = Home::new();
        home.write_dump(&twice);
        let night = home.backup();
        let said: Vec<_> = night.problems.iter().map(|problem| &problem.message).collect();
        let expected =
            format!("table {name} has the key {id} twice: lines {first} and {line} of the dump");
        let found = said
            .iter()
            .find(|said| said.starts_with(&expected))
            .unwrap_or_else(|| panic!("{expected}: {said:?}"));
        assert!(found.contains("`restore-database --skip-duplicates`"), "{found}");

        let database = format!("again_{name}");
        let mut options =
            Options::new(DatabaseAccess::new(ServerPlace::Url(server.url(&database))));
        let error = database::restore(&home.repository(), &options, &SilentMonitor).unwrap_err();
        let expected = format!(
            "two rows of table {name} have the key (id)=({id}): lines {first} and {line} of the \
                dump"
        );
        assert_eq!(error.to_string(), expected);
        assert!(error.next_step().unwrap().contains("--skip-duplicates"));
        let chain = error.chain();
        for part in
            [format!("line {first}: {id}"), format!("line {line}: {id}"), "(id)=".to_owned()]
        {
            assert!(chain.contains(&part), "{part}: {chain}");
        }

        options.skip_duplicates = true;
        let plan = database::plan(&home.repository(), &options, &SilentMonitor).unwrap();
        let found: Vec<_> =
            plan.duplicates.iter().map(|it| (it.table.as_str(), it.line, it.first)).collect();
        assert_eq!(found, [(name, line as u64, first as u64)]);
        assert_eq!(plan.duplicates[0].key, format!("(id)=({id})"));
        let report = database::restore(&home.repository(), &options, &SilentMonitor).unwrap();
        assert!(
            report.differences.is_empty() && report.plan.duplicates == plan.duplicates,
            "{report:?}"
        );
        let rows = format!(
            "SELECT md5(string_agg(t::text, ';' ORDER BY t::text COLLATE \"C\")) FROM {table} t"
        );
        assert_eq!(server.psql(&database, &rows), server.psql("immich", &rows));
    }
}

#[test]
fn without_a_row_that_is_there_twice_the_flag_changes_nothing() {
    let server = Postgres::start(debian());
    let home = Home::new();
    home.write_dump(&dumped(&server));
    home.backup();
    let plain = Options::new(DatabaseAccess::new(ServerPlace::Url(server.url("plain"))));
    let plan = database::plan(&home.repository(), &plain, &SilentMonitor).unwrap();
    let flagged = Options { skip_duplicates: true, ..plain };
    let report = database::restore(&home.repository(), &flagged, &SilentMonitor).unwrap();
    assert!(report.is_as_expected() && report.plan.duplicates.is_empty(), "{report:?}");
    assert_eq!(report.rows, plan.rows);
}
