//! Damage in the repository, and what the next backup makes of it.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::backup_library::{Home, dump, noise};
use shoebox::base::Hash;
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::base::stored::IndexLine;
use shoebox::repo::{SnapshotRecord, WriteSession};
use shoebox::task::backup::{Options, backup};

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
    for (seed, name) in ["a", "b", "c"].into_iter().enumerate() {
        home.write(format!("upload/{name}.jpg"), &noise(seed as u64 + 70, 50_000));
    }
    home.write_dump(&dump(300, 0));
    home.backup().record
}

/// The next backup goes on, and what it made is whole: a catalog built from it alone has every
/// file.
fn assert_goes_on(home: &Home, complaint: &str) {
    home.write("upload/new.jpg", &noise(99, 1000));
    home.write_dump(&dump(301, 1));
    let monitor = ProblemCollector::default();
    let report = home.try_backup(&monitor).unwrap();
    assert!(
        monitor.problems().iter().any(|problem| problem.subject.contains(complaint))
            || complaint.is_empty(),
        "{:?}",
        monitor.problems()
    );
    // The photos of the dump have no files in this library.
    assert!(
        report.problems.iter().all(|problem| problem.subject == "this backup"),
        "{:?}",
        report.problems
    );
    let db = WriteSession::rebuild(&home.repository(), &SilentMonitor)
        .unwrap()
        .generation()
        .connect()
        .unwrap();
    let count = |sql: &str| db.query_row(sql, (), |row| row.get::<_, u64>(0)).unwrap();
    assert_eq!(
        count("SELECT count(*) FROM file WHERE kind = 0 AND until = 9223372036854775807"),
        report.record.files.files
    );
    assert_eq!(
        count("SELECT count(*) FROM asset WHERE until = 9223372036854775807"),
        report.record.census.assets
    );
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
    let again = home.try_backup(&ProblemCollector::default()).unwrap();
    assert_eq!(again.record.streams.files, record.streams.files);
    let db = WriteSession::rebuild(&home.repository(), &SilentMonitor)
        .unwrap()
        .generation()
        .connect()
        .unwrap();
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
    assert_eq!(stopped.kind(), shoebox::base::ErrorKind::Interrupted);
    let report = home.backup();
    assert!(report.unchanged >= 90, "{}", report.unchanged);
}

/// Flips a bit in the stored bytes of the content whose path ends in `name`.
fn flip_content(home: &Home, name: &str) {
    let found = home.lines().into_iter().find_map(|(archive, line)| match line {
        IndexLine::Content(line) if line.path.as_bytes().ends_with(name.as_bytes()) => {
            Some((archive, line))
        }
        _ => None,
    });
    let (archive, line) = found.unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(archive).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, line.offset + 5).unwrap();
    file.write_all_at(&[byte[0] ^ 1], line.offset + 5).unwrap();
}

fn content_of(home: &Home, hash: Hash) -> shoebox::base::Result<()> {
    let db = home.repository().catalog().unwrap().connect().unwrap();
    let id = shoebox::catalog::query::content_id(&db, hash).unwrap().unwrap();
    home.repository().contents().segment(&db, id, 0).map(drop)
}

#[test]
fn a_paranoid_backup_stores_a_damaged_photo_again_and_a_rebuilt_catalog_agrees() {
    let home = Home::new();
    nights(&home);
    let hash =
        shoebox::archive::hasher::hash(&fs::read(home.upload().join("upload/a.jpg")).unwrap());
    content_of(&home, hash).unwrap();
    flip_content(&home, "upload/a.jpg");
    let hint = content_of(&home, hash).unwrap_err();
    assert!(hint.next_step().unwrap().contains("--paranoid"));
    home.backup();
    content_of(&home, hash).unwrap_err();
    let options = shoebox::task::backup::Options { paranoid: true, ..home.options() };
    let report =
        shoebox::task::backup::backup(&home.repository(), options, &SilentMonitor).unwrap();
    assert_eq!(report.record.files.new_contents, 1);
    content_of(&home, hash).unwrap();
    drop(WriteSession::rebuild(&home.repository(), &SilentMonitor).unwrap());
    content_of(&home, hash).unwrap();
}

fn lineage(home: &Home) -> String {
    let db = home.repository().catalog().unwrap().connect().unwrap();
    db.query_row("SELECT value FROM meta WHERE key = 'lineage'", (), |row| row.get(0)).unwrap()
}

#[test]
fn a_record_that_cannot_be_read_is_named_each_night_and_costs_no_rebuild() {
    let home = Home::new();
    let first = nights(&home).id;
    home.backup();
    let path = home.repo_path().join(format!("snapshots/{first}.json"));
    fs::write(&path, "{").unwrap();
    fs::remove_file(home.repo_path().join("catalog.sqlite")).unwrap();
    home.backup();
    let built = lineage(&home);
    for _ in 0..2 {
        let monitor = ProblemCollector::default();
        home.try_backup(&monitor).unwrap();
        assert!(
            monitor.problems().iter().any(|problem| problem.subject.contains(&first.to_string()))
        );
    }
    assert_eq!(lineage(&home), built);
    fs::remove_file(path).unwrap();
    let monitor = ProblemCollector::default();
    home.try_backup(&monitor).unwrap();
    assert_eq!(monitor.problems(), []);
    assert_eq!(lineage(&home), built);
}

#[test]
fn snapshots_that_are_taken_away_by_hand_leave_a_right_catalog() {
    let home = Home::new();
    let mut ids = vec![nights(&home).id];
    for number in 0..3 {
        home.write(format!("upload/{number}-only.jpg"), &noise(number + 40, 900));
        ids.push(home.backup().record.id);
        fs::remove_file(home.upload().join(format!("upload/{number}-only.jpg"))).unwrap();
    }
    for id in [ids[1], ids[3], ids[2]] {
        fs::remove_file(home.repo_path().join(format!("snapshots/{id}.json"))).unwrap();
        drop(WriteSession::begin(&home.repository(), "look", &SilentMonitor).unwrap());
    }
    home.backup();
    let count = |home: &Home| {
        let db = home.repository().catalog().unwrap().connect().unwrap();
        let sql = "SELECT group_concat(name) FROM (SELECT CAST(name AS TEXT) AS name FROM file \
            WHERE until = 9223372036854775807 ORDER BY 1)";
        db.query_row(sql, (), |row| row.get::<_, String>(0)).unwrap()
    };
    let kept = count(&home);
    assert!(!kept.contains("only"), "{kept}");
    drop(WriteSession::rebuild(&home.repository(), &SilentMonitor).unwrap());
    assert_eq!(count(&home), kept);
}

#[test]
fn init_removes_nothing_that_is_not_its_own() {
    for (name, bytes) in [
        ("README.txt", "mine"),
        ("catalog.sqlite", "mine"),
        ("tmp/holiday.jpg", "mine"),
        ("archives/x", "mine"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let error = shoebox::repo::Repository::create(dir.path()).unwrap_err();
        assert_eq!(error.kind(), shoebox::base::ErrorKind::Exists, "{name}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
    }
}

#[test]
fn an_init_that_was_cut_short_can_be_run_again() {
    let dir = tempfile::tempdir().unwrap();
    shoebox::repo::Repository::create(dir.path()).unwrap();
    fs::remove_file(dir.path().join("shoebox.json")).unwrap();
    shoebox::repo::Repository::create(dir.path()).unwrap();
}

#[test]
fn a_repository_does_not_back_itself_up() {
    let home = Home::new();
    nights(&home);
    let external = |folder: &std::path::Path| shoebox::source::ExternalFolder {
        server: "/mnt/all".into(),
        folder: folder.into(),
    };
    for folder in [home.dir.path(), &home.repo_path(), &home.repo_path().join("archives")] {
        let options =
            shoebox::task::backup::Options { external: vec![external(folder)], ..home.options() };
        let error =
            shoebox::task::backup::backup(&home.repository(), options, &SilentMonitor).unwrap_err();
        assert_eq!(error.kind(), shoebox::base::ErrorKind::Refused);
        assert!(error.to_string().contains("are inside one another"), "{error}");
    }
}

#[test]
fn a_photo_whose_newer_copy_is_lost_is_read_from_the_older_one() {
    let home = Home::new();
    nights(&home);
    let first = home.archives();
    let (archive, at) = home
        .lines()
        .into_iter()
        .find_map(|(archive, line)| match line {
            IndexLine::Content(line) if line.path.as_bytes().ends_with(b"b.jpg") => {
                Some((archive, line.offset + 77))
            }
            _ => None,
        })
        .unwrap();
    let flip = || {
        let file = fs::OpenOptions::new().read(true).write(true).open(&archive).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    flip();
    let options = Options { paranoid: true, ..home.options() };
    backup(&home.repository(), options, &SilentMonitor).unwrap();
    assert_eq!(home.copies(50_000), 4, "the damaged photo is stored again");
    flip();
    for newer in home.archives().iter().filter(|archive| !first.contains(archive)) {
        fs::remove_file(newer).unwrap();
    }
    drop(WriteSession::begin(&home.repository(), "test", &SilentMonitor).unwrap());
    let db = home.repository().catalog().unwrap().connect().unwrap();
    let lost: u64 = db
        .query_row("SELECT count(*) FROM content WHERE archive = 0", (), |row| row.get(0))
        .unwrap();
    assert_eq!(lost, 0);
}
