//! Damage in the repository, and what the next backup makes of it.

mod backup_library;

use std::fs;
use std::os::unix::fs::FileExt;

use backup_library::{Home, dump, noise};
use shoebox::base::Hash;
use shoebox::base::monitor::{Collect, Silent};
use shoebox::base::stored::IndexLine;
use shoebox::repo::{Session, SnapshotRecord};

/// Flips a bit in the middle of the chunk called `hash`.
fn flip_chunk(home: &Home, hash: Hash) {
    let mut flipped = 0;
    for (archive, line) in home.lines() {
        if let IndexLine::Chunk(chunk) = line
            && chunk.chunk == hash
        {
            let file = fs::OpenOptions::new().read(true).write(true).open(archive).unwrap();
            let (mut byte, at) = ([0], chunk.offset + chunk.stored / 2);
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
}

fn nights(home: &Home) -> SnapshotRecord {
    for name in ["a", "b", "c"] {
        home.write(format!("upload/{name}.jpg"), &noise(name.len() as u64 + 7, 50_000));
    }
    home.write_dump(&dump(300, 0));
    home.backup().record
}

/// The next backup goes on, and what it made is whole: a catalog built from it alone has every file.
fn assert_goes_on(home: &Home, complaint: &str) {
    home.write("upload/new.jpg", &noise(99, 1000));
    home.write_dump(&dump(301, 1));
    let monitor = Collect::default();
    let report = home.try_backup(&monitor).unwrap();
    assert!(
        monitor.problems().iter().any(|problem| problem.subject.contains(complaint)) || complaint.is_empty(),
        "{:?}",
        monitor.problems()
    );
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let db = Session::rebuild(&home.repository(), &Silent).unwrap().generation().connect().unwrap();
    let count = |sql: &str| db.query_row(sql, (), |row| row.get::<_, u64>(0)).unwrap();
    assert_eq!(
        count("SELECT count(*) FROM file WHERE kind = 0 AND until = 9223372036854775807"),
        report.record.files.files
    );
    assert_eq!(count("SELECT count(*) FROM asset WHERE until = 9223372036854775807"), report.record.census.assets);
    assert_eq!(count("SELECT count(*) FROM content WHERE archive = 0"), 0);
}

#[test]
fn a_damaged_list_of_files_does_not_stop_the_next_night() {
    let home = Home::new();
    let record = nights(&home);
    flip_chunk(&home, record.streams.files.chunks[0].hash);
    assert_goes_on(&home, "list of files");
}

#[test]
fn a_damaged_list_of_files_is_stored_again_when_nothing_changed() {
    let home = Home::new();
    let record = nights(&home);
    flip_chunk(&home, record.streams.files.chunks[0].hash);
    let again = home.try_backup(&Collect::default()).unwrap();
    assert_eq!(again.record.streams.files, record.streams.files);
    let db = Session::rebuild(&home.repository(), &Silent).unwrap().generation().connect().unwrap();
    home.repository().contents().chunk(&db, record.streams.files.chunks[0].hash).unwrap();
}

#[test]
fn a_damaged_library_list_does_not_stop_the_next_night() {
    let home = Home::new();
    let record = nights(&home);
    flip_chunk(&home, record.streams.library.chunks[0].hash);
    assert_goes_on(&home, "");
}

#[test]
fn a_damaged_dump_does_not_stop_the_next_night() {
    let home = Home::new();
    let record = nights(&home);
    flip_chunk(&home, record.streams.dump.chunks[0].hash);
    assert_goes_on(&home, "");
}

#[test]
fn a_backup_that_is_asked_to_stop_keeps_what_it_has_read() {
    struct StopAfter(std::sync::atomic::AtomicI64);
    impl shoebox::base::Monitor for StopAfter {
        fn begin(&self, _: shoebox::base::Phase, _: Option<u64>, _: Option<u64>) {}
        fn advance(&self, files: u64, _: u64) {
            self.0.fetch_sub(files as i64, std::sync::atomic::Ordering::Relaxed);
        }
        fn problem(&self, _: shoebox::base::Problem) {}
        fn stopped(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::Relaxed) <= 0
        }
    }
    let home = Home::new();
    for i in 0..200 {
        home.write(format!("upload/{i:03}.jpg"), &noise(i, 2000));
    }
    home.write_dump(&dump(300, 0));
    let stopped = home.try_backup(&StopAfter(100.into())).unwrap_err();
    assert_eq!(stopped.kind(), shoebox::base::Kind::Interrupted);
    let report = home.backup();
    assert!(report.unchanged >= 90, "{}", report.unchanged);
}
