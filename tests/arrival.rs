//! What is called good when it arrives comes back: each dump is judged as a restore would judge it.

mod backup_library;
mod support;

use backup_library::{Home, dump};
use shoebox::base::monitor::Silent;
use shoebox::repo::SnapshotRecord;
use shoebox::task::backup::Report;

/// A library with a good snapshot.
fn home() -> Home {
    let home = Home::new();
    for number in 1..=3 {
        home.write(format!("upload/{}/{number}.jpg", backup_library::ANN), &backup_library::noise(number, 10_000));
    }
    home.write_dump(&dump(5, 1));
    assert!(home.backup().record.is_good());
    home
}

fn latest(home: &Home) -> SnapshotRecord {
    let repository = home.repository();
    let records = repository.snapshot_ids().unwrap().into_iter().map(|id| repository.record(id).unwrap());
    records.filter(SnapshotRecord::is_good).last().unwrap()
}

fn told(report: &Report) -> String {
    report.problems.iter().map(|problem| format!("{}: {}\n", problem.subject, problem.message)).collect()
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
    let stderr =
        "pg_dump: warning: there are circular foreign-key constraints on this table:\npg_dump: detail: asset\n";
    let collation =
        "WARNING:  database \"immich\" has a collation version mismatch\nDETAIL:  It was created in the user's time.\n";
    let vectors = whole.replacen("embedding text", "embedding public.vector(512)", 1);
    let cases = [
        (only(&|line| !line.starts_with("CREATE TABLE")), "--data-only"),
        (vectors.clone(), "vector"),
        (before("CREATE TABLE public.a (id uuid DEFAULT public.uuid_generate_v4() NOT NULL);\n"), "uuid-ossp"),
        (before("CREATE INDEX a ON public.album USING gin (\"albumName\" public.gin_trgm_ops);\n"), "pg_trgm"),
        (before(stderr), "message"),
        (before(collation), "message"),
        (before("SET session_replication_role = replica;\n"), "SET session_replication_role"),
        (before("SELECT pg_sleep(1);\n"), "SELECT"),
        (before("LOCK TABLE public.album;\n"), "LOCK TABLE"),
        (before("CREATE TABLE public.x (a int; DROP TABLE public.album;);\n"), "pg_dump never writes"),
    ];
    for (text, words) in &cases {
        home.write_dump(text);
        let report = home.try_backup(&Silent).unwrap_or_else(|error| panic!("{words}: {error}"));
        let said = told(&report);
        assert!(
            said.contains("the database dump: a restore would refuse it") && said.contains(words),
            "{words}: {said}"
        );
        let record = &report.record;
        assert!(record.dump.unfit && !record.is_good() && record.files.files == good.files.files, "{words}");
        assert_eq!(latest(&home).id, good.id, "{words}");
    }
    // Where the extension is made, it is used rightly.
    let extension = format!("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;\n{table}");
    home.write_dump(&vectors.replacen(table, &extension, 1));
    let report = home.backup();
    assert!(report.record.is_good(), "{:?}", report.record.dump.verdict);
}
