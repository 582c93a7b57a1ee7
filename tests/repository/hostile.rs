//! A repository that somebody made who means harm: nothing is written outside of it or of the
//! folder that is restored into, no symlink leads out, nothing panics, nothing is waited for,
//! memory stays bounded.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::backup_library::{Home, noise, tree};
use crate::crafted::{ANN, Crafted, PHOTO, file_list, library_list, open_view, put_record, walk};
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use rustix::fs::{CWD, Mode};
use shoebox::archive::{ArchiveTail, frame, hasher};
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::base::{ErrorKind, Monitor, Result};
use shoebox::catalog::{Generation, seal};
use shoebox::mount::{self, MountedView};
use shoebox::repo::prune::Options as Pruning;
use shoebox::repo::{Repository, StreamChunk, WriteSession};
use shoebox::task::check::{CheckExtent, check};
use shoebox::task::find::{AssetFinder, FindQuery, FindSpan};
use shoebox::task::prune::prune;
use shoebox::task::repair::{Options as Repairing, repair};
use shoebox::task::restore::{self, RestoreSelection, whole};

/// A folder that nobody may touch, with what somebody might want to touch.
struct Outside(tempfile::TempDir, std::collections::BTreeMap<Vec<u8>, String>);

impl Outside {
    fn new() -> Outside {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "precious",
            "draft-1",
            "catalog-1",
            "dump-1",
            ".tmp1",
            "photo.jpg",
            "2026-11-22T030005Z.json",
        ] {
            fs::write(dir.path().join(name), "not ours").unwrap();
        }
        fs::create_dir(dir.path().join("2026")).unwrap();
        fs::write(dir.path().join("2026/2026-11-22T030005Z-0001.tar"), "not ours").unwrap();
        let before = tree(dir.path());
        Outside(dir, before)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        assert_eq!(tree(self.path()), self.1, "{what}");
    }
}

/// A repository with one sound snapshot, in a folder of its own.
fn made(crafted: &Crafted) -> (tempfile::TempDir, Repository) {
    let memory = Path::new("/dev/shm");
    let dir =
        if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let repository = crafted.write(&dir.path().join("repository"));
    (dir, repository)
}

fn sound() -> (tempfile::TempDir, Repository) {
    let (dir, repository) = made(&Crafted::sound());
    drop(WriteSession::rebuild(&repository, &SilentMonitor).unwrap());
    (dir, repository)
}

/// Restores all into `to`, and what people see into `to/part`.
fn restore_all(repository: &Repository, to: &Path, monitor: &dyn Monitor) -> Result<()> {
    let options = whole::Options {
        snapshot: "latest".into(),
        to: to.to_owned(),
        external: Vec::new(),
        accept_non_empty: true,
        as_on_disk: false,
        overwrite: true,
        dry_run: false,
    };
    let done = whole::restore(repository, &options, monitor).map(drop);
    let options = restore::Options {
        snapshot: "latest".into(),
        selection: RestoreSelection::Paths(vec![b"users".to_vec(), b"files".to_vec()]),
        to: to.join("part"),
        overwrite: true,
        dry_run: false,
        locked: true,
    };
    done.and(restore::restore(repository, &options, monitor).map(drop))
}

fn prune_all(repository: &Repository) -> Result<()> {
    let options = Pruning { max_unused: 0, grace: SignedDuration::ZERO, now: Timestamp::now() };
    prune(repository, &options, true, false, &SilentMonitor).map(drop)
}

fn find_all(repository: &Repository) -> Result<()> {
    let finder = AssetFinder::open(repository, true)?;
    let mut places = finder.places();
    for hit in finder.find(&FindQuery::default(), &FindSpan::Snapshot("latest".into()))? {
        let _ = finder.record(&hit, &mut places);
    }
    Ok(())
}

fn fifo(path: &Path) {
    let _ = fs::remove_file(path);
    rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

#[test]
fn a_symlink_in_the_repository_is_no_way_out() {
    for name in [
        "tmp",
        "archives",
        "archives/2026",
        "snapshots",
        "notes",
        "catalog.sqlite",
        "lock",
        "README.txt",
    ] {
        let home = Home::new();
        home.write("upload/1.jpg", &noise(1, 3000));
        home.backup();
        let outside = Outside::new();
        let place = home.repo_path().join(name);
        let year = fs::read_dir(home.repo_path().join("archives"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let place = if name == "archives/2026" { year } else { place };
        if place.is_dir() {
            fs::rename(&place, home.dir.path().join("aside")).unwrap()
        } else {
            fs::remove_file(&place).unwrap()
        }
        let target = if name.contains('.') || name == "lock" {
            outside.path().join("precious")
        } else {
            outside.path().into()
        };
        symlink(target, &place).unwrap();
        home.write("upload/2.jpg", &noise(2, 3000));
        // Each may fail: what counts is what it does not do.
        let _ = home.try_backup(&SilentMonitor);
        let _ = prune_all(&home.repository());
        let _ = check(&home.repository(), CheckExtent::All, &SilentMonitor);
        drop(WriteSession::rebuild(&home.repository(), &SilentMonitor));
        let _ = restore_all(&home.repository(), &home.dir.path().join("new"), &SilentMonitor);
        outside.assert_untouched(name);
    }
}

/// Ends the test when `work` does not end: it hangs for good, and a test that waits for it tells
/// nobody.
#[track_caller]
fn must_end(what: &str, work: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    match ended.recv_timeout(Duration::from_secs(120)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: hangs"),
        _ => worker.join().unwrap(),
    }
}

#[test]
fn a_pipe_in_place_of_a_file_is_not_waited_for() {
    for name in [
        "catalog.sqlite",
        "shoebox.json",
        "README.txt",
        "lock",
        "archive",
        "record",
        "notes/2026-11-22T030005Z-check.json",
    ] {
        let (dir, repository) = sound();
        let place = match name {
            "archive" => "archives/2026/2026-11-22T030005Z-0001.tar",
            "record" => "snapshots/2026-11-22T030005Z.json",
            name => name,
        };
        fifo(&repository.root().join(place));
        must_end(name, move || {
            let _ = Repository::open(repository.root());
            let _ = open_view(&repository).map(|view| walk(&view, 100));
            let _ = restore_all(&repository, &dir.path().join("new"), &SilentMonitor);
            let _ = check(&repository, CheckExtent::All, &SilentMonitor);
            let _ = prune_all(&repository);
            drop(WriteSession::rebuild(&repository, &SilentMonitor));
            let options = Repairing { apply: true, upload_location: None, ..Repairing::default() };
            let _ = repair(repository.root(), &options, &SilentMonitor);
        });
    }
}

#[test]
fn a_pipe_in_a_new_repository_s_folder_is_not_waited_for() {
    for name in ["README.txt", "catalog.sqlite", "lock", "shoebox.json", "archives"] {
        let dir = tempfile::tempdir().unwrap();
        fifo(&dir.path().join(name));
        must_end(name, move || {
            let refused = Repository::create(dir.path()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Exists, "{name}");
        });
    }
}

/// Puts something into a folder that is restored into.
type Plant<'a> = &'a dyn Fn(&Path);

#[test]
fn nothing_is_written_through_what_lies_in_the_folder_that_is_restored_into() {
    let (_dir, repository) = sound();
    let outside = Outside::new();
    let planted: [(&str, Plant<'_>); 6] = [
        ("library", &|place| symlink(outside.path(), place).unwrap()),
        ("upload", &|place| symlink(outside.path(), place).unwrap()),
        ("upload/photo.jpg", &|place| symlink(outside.path().join("precious"), place).unwrap()),
        (".shoebox-restore", &|place| symlink(outside.path().join("precious"), place).unwrap()),
        ("upload/photo.jpg", &|place| fifo(place)),
        ("part", &|place| symlink(outside.path(), place).unwrap()),
    ];
    for (name, plant) in planted {
        let to = tempfile::tempdir().unwrap();
        let place = to.path().join(name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        plant(&place);
        let _ = restore_all(&repository, to.path(), &SilentMonitor);
        if name != "part" {
            // `part` is what the person named: that it leads elsewhere is their own doing.
            outside.assert_untouched(name);
        }
        if name == "upload/photo.jpg" {
            assert_eq!(fs::read(&place).unwrap(), PHOTO);
        }
    }
}

/// Lines of a file list, each of them wrong in its way; they sort behind all others.
fn file_lines() -> Vec<String> {
    let mut lines = Vec::new();
    let hash = hasher::hash(PHOTO);
    let usual = |path: &str| {
        format!(
            r#"{{"path":{path},"kind":"file","size":45,"mtime":1,"mode":420,"uid":0,"gid":0,"hash":"{hash}"}}"#
        )
    };
    let long = format!("\"upload/{}\"", "z".repeat(300));
    for path in [
        r#""../escaped""#,
        r#""/etc/escaped""#,
        r#""upload/../../escaped""#,
        r#""upload/z\u0000""#,
        r#""upload//z""#,
        r#""upload/.""#,
        r#""""#,
        r#"{"hex":"2e2e"}"#,
        r#"{"hex":"zz"}"#,
        r#"["z"]"#,
        "7",
        r#""upload/photo.jpg""#,
        r#""upload/photo.jpg/below""#,
        r#""upload/link""#,
        r#""upload/z\u001b[2J\n""#,
        r#""zzz/.shoebox-restore""#,
        r#"".shoebox-restore""#,
        &long,
    ] {
        lines.push(usual(path));
    }
    let z = r#""upload/z""#;
    for (what, other) in [
        (r#""size":45"#, r#""size":18446744073709551615"#),
        (r#""size":45"#, r#""size":9223372036854775807"#),
        (r#""size":45"#, r#""size":0"#),
        (r#""mtime":1"#, r#""mtime":-9223372036854775808"#),
        (r#""mtime":1"#, r#""mtime":9223372036854775807"#),
        (r#""mode":420"#, r#""mode":4294967295"#),
        (r#""uid":0"#, r#""uid":4294967295"#),
        (r#""kind":"file""#, r#""kind":"folder""#),
        (r#""kind":"file""#, r#""kind":"symlink","target":"/etc""#),
        (r#""kind":"file""#, r#""kind":"symlink""#),
        (r#""kind":"file""#, r#""kind":"file","link":"upload/z""#),
        (r#""kind":"file""#, r#""kind":"file","link":"upload""#),
        (r#""kind":"file""#, r#""kind":"file","link":"upload/link""#),
    ] {
        lines.push(usual(z).replace(what, other));
    }
    lines.push(usual(z).replace(&hash.to_string(), &"00".repeat(32)));
    lines
}

/// Lines of a library list, likewise.
fn library_lines() -> Vec<String> {
    let id = "ffffffff-1111-4111-8111-111111111111";
    let asset = "00000001-1111-4111-8111-111111111111";
    let user = |name: &str| format!(r#"{{"kind":"user","id":"{id}","name":"{name}","email":"x"}}"#);
    let levels = "a/".repeat(5000);
    vec![
        user("../../escaped"),
        user(""),
        user(r"\u0000\u001b[2J"),
        user(&"n".repeat(1 << 20)),
        format!(r#"{{"kind":"user","id":"{ANN}","name":"again","email":"x"}}"#),
        format!(r#"{{"kind":"user","id":"{id}","name":"x","email":"x","picture":"../escaped"}}"#),
        format!(r#"{{"kind":"user","id":"{id}","name":"x","email":"x","picture":"upload"}}"#),
        format!(r#"{{"kind":"tag","id":"{id}","owner":"{ANN}","value":"{levels}"}}"#),
        format!(r#"{{"kind":"tag_asset","tag":"{id}","asset":"{asset}"}}"#),
        format!(r#"{{"kind":"stack","id":"{id}","owner":"{id}","primary":"{id}"}}"#),
        format!(r#"{{"kind":"unheard of","id":"{id}"}}"#),
        "[]".into(),
        "{".into(),
        String::new(),
        "null".into(),
        "[".repeat(100_000),
    ]
}

/// Lists with the assets that somebody might think of, in place of the one that is there.
fn asset_lists() -> Vec<Vec<u8>> {
    let list = String::from_utf8(library_list(&[])).unwrap();
    let id = "00000001-1111-4111-8111-111111111111";
    let changes = [
        (r#""file":"upload/photo.jpg""#, r#""file":"upload/link""#.to_owned()),
        (r#""file":"upload/photo.jpg""#, r#""file":"../../etc/passwd""#.to_owned()),
        (r#""name":"photo.jpg""#, r#""name":"../../../escaped""#.to_owned()),
        (r#""name":"photo.jpg""#, r#""name":"\u0000\u001b]0;x\u0007""#.to_owned()),
        (r#""name":"photo.jpg""#, format!(r#""name":"{}""#, "/".repeat(1 << 20))),
        (r#""taken":"2025-01-02T03:04:05""#, r#""taken":"-009999-01-01T00:00:00""#.to_owned()),
        (
            r#""taken":"2025-01-02T03:04:05""#,
            r#""taken":"9999-12-31T23:59:59.999999999""#.to_owned(),
        ),
        (
            r#""created":"2025-01-02T03:04:05Z""#,
            r#""created":"-009999-01-02T01:59:59Z""#.to_owned(),
        ),
        (
            r#""added":"2025-01-02T03:04:05Z""#,
            r#""added":"9999-12-30T22:00:00.999999999Z""#.to_owned(),
        ),
        (r#""type":"image""#, format!(r#""type":"image","live_video":"{id}""#)),
        (r#""type":"image""#, format!(r#""type":"image","stack":"{id}""#)),
        (r#""type":"image""#, r#""type":"image","sidecar":"upload""#.to_owned()),
        (
            r#""type":"image""#,
            r#""type":"image","sidecar":"upload/photo.jpg","visibility":"locked""#.to_owned(),
        ),
        (
            r#""type":"image""#,
            r#""type":"image","size":18446744073709551615,"latitude":1e999"#.to_owned(),
        ),
        (r#""name":"Rome""#, r#""name":"../..""#.to_owned()),
    ];
    changes.iter().map(|(what, other)| list.replace(what, other).into_bytes()).collect()
}

#[test]
fn no_line_of_a_list_gets_out_or_makes_anything_panic() {
    let mut all: Vec<Crafted> = Vec::new();
    let usual = Crafted::sound();
    all.extend(
        file_lines().iter().map(|line| Crafted { files: file_list(&[line]), ..usual.clone() }),
    );
    all.extend(
        library_lines()
            .iter()
            .map(|line| Crafted { library: library_list(&[line]), ..usual.clone() }),
    );
    all.extend(asset_lists().into_iter().map(|library| Crafted { library, ..usual.clone() }));
    println!("{} lists", all.len());
    for crafted in all {
        let what = String::from_utf8_lossy(&[&crafted.files[..], &crafted.library].concat())
            .chars()
            .take(3000)
            .collect::<String>();
        let (dir, repository) = made(&crafted);
        drop(WriteSession::rebuild(&repository, &SilentMonitor));
        let _ = open_view(&repository).map(|view| walk(&view, 200));
        let above = dir.path().join("above");
        let _ = restore_all(&repository, &above.join("a/new"), &SilentMonitor);
        let _ = (find_all(&repository), prune_all(&repository));
        let names = |folder: &Path| fs::read_dir(folder).map_or(0, Iterator::count);
        assert!(
            names(dir.path()) <= 2 && names(&above) <= 1 && names(&above.join("a")) <= 1,
            "{what}"
        );
        assert!(fs::symlink_metadata("/etc/escaped").is_err());
    }
}

#[test]
fn a_list_that_says_a_thing_twice_or_is_out_of_order_is_refused() {
    let twice = r#"{"path":"upload","kind":"folder","mtime":1,"mode":493,"uid":0,"gid":0}"#;
    let again = format!(r#"{{"kind":"user","id":"{ANN}","name":"again","email":"x"}}"#);
    for crafted in [
        Crafted { files: file_list(&[twice]), ..Crafted::sound() },
        Crafted { library: library_list(&[&again]), ..Crafted::sound() },
    ] {
        let (_dir, repository) = made(&crafted);
        let monitor = ProblemCollector::default();
        drop(WriteSession::rebuild(&repository, &monitor));
        assert!(
            monitor.problems().iter().any(|problem| problem.message.contains("out of order")),
            "{:?}",
            monitor.problems()
        );
    }
}

#[test]
fn a_list_of_the_same_chunk_again_and_again_comes_to_an_end() {
    let (_dir, repository) = made(&Crafted::sound());
    let mut record = repository.record("2026-11-22T030005Z".parse().unwrap()).unwrap();
    let chunk: StreamChunk = record.streams.files.chunks[0];
    record.streams.files.chunks = vec![chunk; 300_000];
    record.streams.files.size = chunk.size * 300_000;
    put_record(&repository, &record);
    let monitor = ProblemCollector::default();
    drop(WriteSession::rebuild(&repository, &monitor).unwrap());
    assert!(monitor.problems()[0].message.contains("out of order"), "{:?}", monitor.problems());
}

#[test]
fn no_record_gets_out_or_makes_anything_panic() {
    let (dir, repository) = sound();
    let sound =
        fs::read_to_string(repository.root().join("snapshots/2026-11-22T030005Z.json")).unwrap();
    let changes = [
        (r#""name":"2026/2026-11-22T030005Z-0001.tar""#, r#""name":"../../../etc/passwd""#),
        (r#""name":"2026/2026-11-22T030005Z-0001.tar""#, r#""name":"\u0000""#),
        (r#""number":1"#, r#""number":0"#),
        (r#""number":1"#, r#""number":65535"#),
        (r#""format":1"#, r#""format":0"#),
        (r#""id":"2026-11-22T030005Z""#, r#""id":"9999-12-30T220000Z""#),
        (r#""upload_location":"/photos""#, r#""upload_location":"\u001b[2J""#),
        (r#""dump":{"size":"#, r#""dump":{"size":9"#),
        (r#""files":{"size":"#, r#""files":{"size":99999999999999999"#),
        (r#""rows":{}"#, r#""rows":{"\u0000":18446744073709551615}"#),
    ];
    for (what, other) in changes {
        assert!(sound.contains(what), "{what}");
        fs::write(
            repository.root().join("snapshots/2026-11-22T030005Z.json"),
            sound.replace(what, other),
        )
        .unwrap();
        drop(WriteSession::rebuild(&repository, &SilentMonitor));
        let _ = open_view(&repository).map(|view| walk(&view, 200));
        let _ = restore_all(&repository, &dir.path().join("new"), &SilentMonitor);
        let _ = (
            find_all(&repository),
            check(&repository, CheckExtent::All, &SilentMonitor),
            prune_all(&repository),
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

/// What the catalog of a sound repository becomes when `change` was done to it.
fn with_catalog(repository: &Repository, catalog: &[u8], change: &str) -> bool {
    let fresh = repository.root().join("fresh");
    fs::write(&fresh, catalog).unwrap();
    let db = Connection::open(&fresh).unwrap();
    let done = db
        .execute_batch(&format!("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; {change}"))
        .is_ok();
    drop(db);
    seal(&fresh).unwrap();
    fs::rename(fresh, repository.catalog_path()).unwrap();
    done
}

#[test]
fn what_a_crafted_catalog_brings_along_is_not_run() {
    let (_dir, repository) = sound();
    let catalog = fs::read(repository.catalog_path()).unwrap();
    for change in [
        "CREATE TRIGGER t AFTER INSERT ON archive BEGIN DELETE FROM snapshot; END",
        "CREATE VIEW v AS SELECT * FROM file",
        "ALTER TABLE person RENAME TO other; CREATE VIEW person AS SELECT * FROM other",
        "CREATE TABLE more (a, b AS (hex(zeroblob(1000000000))))",
        "CREATE INDEX more ON file (hex(zeroblob(size)))",
        "CREATE TABLE more (a DEFAULT (randomblob(1000000000)) CHECK (length(a) > 1))",
        "DROP INDEX asset_sha1",
    ] {
        assert!(with_catalog(&repository, &catalog, change), "{change}");
        let error = Generation::open(&repository.catalog_path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{change}");
        assert!(error.to_string().contains("another schema"), "{error}");
        // The next writer makes it again.
        drop(WriteSession::begin(&repository, "look", &SilentMonitor).unwrap());
        assert!(walk(&open_view(&repository).unwrap(), 200) > 20, "{change}");
    }
}

#[test]
fn no_value_of_a_catalog_makes_a_reader_panic() {
    let (_dir, repository) = sound();
    let catalog = fs::read(repository.catalog_path()).unwrap();
    let db = Connection::open(repository.catalog_path()).unwrap();
    let sql = "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE \
        m.type = 'table' AND m.name NOT LIKE 'sqlite%'";
    let columns: Vec<(String, String)> = db
        .prepare(sql)
        .unwrap()
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    drop(db);
    let values = ["-1", "9223372036854775807", "'../../escaped'", "CAST('..' AS BLOB)"];
    let mut tried = 0;
    for (table, column) in &columns {
        for value in values {
            let change = format!("UPDATE OR REPLACE {table} SET {column} = {value}");
            if with_catalog(&repository, &catalog, &change) {
                tried += 1;
                let _ = open_view(&repository).map(|view| walk(&view, 60));
                let _ = find_all(&repository);
            }
        }
    }
    println!("{tried} catalogs");
    assert!(tried > 300, "{tried}");
}

#[test]
fn names_that_no_folder_can_hold_are_not_shown_by_a_mount() {
    let (dir, repository) = sound();
    let catalog = fs::read(repository.catalog_path()).unwrap();
    let point = dir.path().join("mount");
    fs::create_dir(&point).unwrap();
    for name in ["'..'", "'.'", "''", "'a/b'", "'../../etc'", "x'610062'", "zeroblob(300)"] {
        let change = format!(
            "UPDATE file SET name = CAST({name} AS BLOB) WHERE name = CAST('photo.jpg' AS BLOB)"
        );
        assert!(with_catalog(&repository, &catalog, &change), "{change}");
        let mount = MountedView::start(
            Arc::new(open_view(&repository).unwrap()),
            &point,
            &mount::Options::default(),
        )
        .unwrap();
        let files = point.join("latest/files/upload");
        let names = |folder: &Path| {
            fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&files), ["link"], "{name}");
        drop(mount);
    }
}

/// A repository whose only archive has this index, with a tail that is right.
fn with_index(index: &[u8], size: Option<u64>) -> (tempfile::TempDir, Repository) {
    let (dir, repository) = made(&Crafted::sound());
    let frame = frame::compress(index).unwrap();
    let offset = 1 << 20;
    let tail = ArchiveTail {
        offset,
        stored: frame.len() as u64,
        size: size.unwrap_or(index.len() as u64),
        hash: hasher::hash(index),
    };
    let mut bytes = vec![0; offset as usize];
    bytes.extend_from_slice(&frame);
    bytes.resize(bytes.len().next_multiple_of(512) + 512, 0);
    bytes.extend_from_slice(&tail.encode());
    bytes.extend_from_slice(&[0; 1024]);
    fs::write(repository.root().join("archives/2026/2026-11-22T030005Z-0001.tar"), bytes).unwrap();
    (dir, repository)
}

/// Runs shoebox with so many bytes of address space. It ends by itself, and says what is wrong.
#[track_caller]
fn with_little_memory(bytes: u64, repository: &Repository, arguments: &[&str]) -> Output {
    let output = Command::new("prlimit")
        .arg(format!("--as={bytes}"))
        .arg(assert_cmd::cargo::cargo_bin("shoebox"))
        .arg("--repository")
        .arg(repository.root())
        .args(arguments)
        // Each of malloc's arenas takes 64 MiB of addresses.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code().is_some_and(|code| code <= 3),
        "{arguments:?}: {}: {said}",
        output.status
    );
    output
}

/// So many bytes of a JSON list of small numbers: in a form that can hold anything each takes
/// sixteen times its bytes.
fn numbers(bytes: usize) -> String {
    format!("[{}1]", "1,".repeat(bytes / 2))
}

#[test]
fn an_index_takes_no_more_memory_than_an_index_can_have() {
    let line = format!(
        r#"{{"chunk":"{}","size":1,"offset":1024,"stored":1,"more":{}}}"#,
        "00".repeat(32),
        numbers(60 << 20)
    );
    let (_dir, repository) = with_index(line.as_bytes(), None);
    with_little_memory(400 << 20, &repository, &["repair", "catalog"]);
    with_little_memory(400 << 20, &repository, &["check"]);
    let (_dir, repository) = with_index(b"{}", Some(1 << 30));
    with_little_memory(400 << 20, &repository, &["repair", "catalog"]);
}

#[test]
fn a_line_of_a_list_takes_bounded_memory() {
    for path in [numbers(15 << 20), "1".into()] {
        let line =
            format!(r#"{{"path":{path},"kind":"folder","mtime":1,"mode":493,"uid":0,"gid":0}}"#);
        let (_dir, repository) = made(&Crafted { files: file_list(&[&line]), ..Crafted::sound() });
        let output = with_little_memory(400 << 20, &repository, &["repair", "catalog"]);
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let line = format!(r#"{{"more":{},"kind":"user","id":"{ANN}"}}"#, numbers(15 << 20));
    let (_dir, repository) = made(&Crafted { library: library_list(&[&line]), ..Crafted::sound() });
    with_little_memory(600 << 20, &repository, &["repair", "catalog"]);
}

#[test]
fn a_value_of_a_catalog_takes_bounded_memory() {
    let (_dir, repository) = sound();
    let catalog = fs::read(repository.catalog_path()).unwrap();
    assert!(with_catalog(
        &repository,
        &catalog,
        "UPDATE snapshot SET record = zeroblob(200000000)"
    ));
    with_little_memory(400 << 20, &repository, &["snapshots"]);
    with_little_memory(400 << 20, &repository, &["ls", "latest"]);
}

#[test]
fn a_record_that_is_larger_than_one_can_be_is_not_read() {
    let (_dir, repository) = sound();
    let path = repository.root().join("snapshots/2026-11-22T030005Z.json");
    // Sparse: a gigabyte that takes no room.
    fs::File::options().write(true).open(&path).unwrap().set_len(1 << 30).unwrap();
    fs::File::create(repository.root().join("notes/2026-11-22T030005Z-check.json"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    with_little_memory(400 << 20, &repository, &["check"]);
    with_little_memory(400 << 20, &repository, &["repair", "catalog"]);
}

#[test]
fn what_is_found_cannot_command_a_terminal() {
    let name = r#""name":"\u001b[2J\u001b]0;owned\u0007.jpg""#;
    let library = String::from_utf8(library_list(&[])).unwrap();
    let library = library
        .replace(r#""name":"photo.jpg""#, name)
        .replace(r#""name":"Rome""#, r#""name":"\u001b[31mRome""#);
    let library = library.replace(r#""name":"Ann Lee""#, r#""name":"Ann\u001b[2J""#).into_bytes();
    let (_dir, repository) = made(&Crafted { library, ..Crafted::sound() });
    drop(WriteSession::rebuild(&repository, &SilentMonitor).unwrap());
    for arguments in [
        &["find"][..],
        &["ls", "latest/users"],
        &["find", "--album", "*"],
        &["snapshots"],
        &["check"],
    ] {
        let output = Command::new(assert_cmd::cargo::cargo_bin("shoebox"))
            .arg("--repository")
            .arg(repository.root())
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(!said.contains(&0x1b), "{arguments:?}: {}", said.escape_ascii());
    }
}
