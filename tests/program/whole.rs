//! Everything back: UPLOAD_LOCATION as a snapshot holds it, into a new folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::backup_library::{ANN, Home, noise, odd_tree, set_mtime, tree};
use crate::support::whole_restore as options;
use rusqlite::Connection;
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::base::{ErrorKind, Monitor, Phase, Problem};
use shoebox::repo::Repository;
use shoebox::source::ExternalFolder;
use shoebox::task::backup::backup;
use shoebox::task::restore::whole::{Options, Report, restore};

const FOLDERS: [&str; 6] = ["backups", "encoded-video", "library", "profile", "thumbs", "upload"];

/// Restores; nothing may be left out.
#[track_caller]
fn all(repository: &Repository, options: &Options) -> Report {
    let problems = ProblemCollector::default();
    let report = restore(repository, options, &problems).unwrap();
    assert_eq!((problems.problems(), report.left_out), (vec![], 0));
    assert_eq!(report.restored + report.already_there, report.files);
    report
}

/// A library with everything odd, backed up.
fn odd() -> Home {
    let home = Home::new();
    odd_tree(&home);
    assert_eq!(home.backup().problems, []);
    home
}

/// What lies in `to` is what lies in `from`, and the folders that a server wants besides.
#[track_caller]
fn same(from: &Path, to: &Path) {
    let (wanted, mut found) = (tree(from), tree(to));
    for name in FOLDERS {
        let marker = format!("{name}/.immich");
        let text = fs::read_to_string(to.join(&marker)).unwrap();
        assert!(
            text.len() == 13 && text.bytes().all(|byte| byte.is_ascii_digit()),
            "{marker}: {text}"
        );
        if !wanted.contains_key(name.as_bytes()) {
            found.remove(name.as_bytes());
        }
        if !wanted.contains_key(marker.as_bytes()) {
            found.remove(marker.as_bytes());
        }
    }
    for (path, what) in &wanted {
        assert_eq!(found.get(path), Some(what), "{}", path.escape_ascii());
    }
    let more: Vec<_> = found
        .keys()
        .filter(|path| !wanted.contains_key(*path))
        .map(|p| p.escape_ascii().to_string())
        .collect();
    assert!(more.is_empty(), "{more:?}");
}

#[test]
fn everything_comes_back_as_it_lay_on_disk() {
    let home = odd();
    let to = home.dir.path().join("new/library");
    let report = all(&home.repository(), &options(&to));
    same(&home.upload(), &to);
    assert_eq!(report.restored, report.files);
    let bytes: u64 = report.folders.iter().map(|part| part.bytes).sum();
    assert_eq!((bytes, report.restored_bytes), (report.bytes, report.bytes));
    let names: Vec<_> = report.folders.iter().map(|part| part.folder.as_str()).collect();
    assert_eq!(names, ["library", "profile", "upload"]);
    // Nothing of ours is left there.
    let left =
        fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, FOLDERS);
    // What the snapshot did not bring is as its neighbours are: what may write there may write
    // here.
    let like = |name: &str| {
        let meta = fs::metadata(to.join(name)).unwrap();
        (meta.mode(), meta.uid(), meta.gid())
    };
    assert_eq!(like("thumbs"), like("upload"));
    assert_eq!(like("thumbs/.immich").0 & 0o777, 0o644);
}

/// Asks to stop after so many files.
struct StopAfter(AtomicU64);

impl Monitor for StopAfter {
    fn begin(&self, phase: Phase, files: Option<u64>, bytes: Option<u64>) {
        assert!(phase == Phase::Restore && files.is_some() && bytes.is_some());
    }
    fn advance(&self, files: u64, _: u64) {
        self.0.fetch_sub(files.min(self.0.load(Ordering::Relaxed)), Ordering::Relaxed);
    }
    fn problem(&self, problem: Problem) {
        panic!("{problem:?}");
    }
    fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn a_restore_that_is_stopped_again_and_again_goes_on_and_ends_the_same() {
    let home = odd();
    let to = home.dir.path().join("new");
    let mut there = 0;
    for files in [0, 1, 2, 5, 9, 14, 20, 25] {
        let error =
            restore(&home.repository(), &options(&to), &StopAfter(files.into())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert!(to.join(".shoebox-restore").is_file());
        // Another restore is not mixed into it.
        there = there.max(tree(&to).len());
    }
    assert!(there > 10);
    let report = all(&home.repository(), &options(&to));
    assert!(report.already_there > 10 && report.restored > 0, "{report:?}");
    same(&home.upload(), &to);
}

/// The program at work, by the user who runs the tests or by nobody.
fn start(home: &Home, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
    command.arg("-r").arg(home.repo_path()).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn shoebox(home: &Home, arguments: &[&str]) -> (i32, String, String) {
    said(start(home, arguments).wait_with_output().unwrap())
}

fn said(Output { status, stdout, stderr }: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8_lossy(&bytes as &Vec<u8>).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn count(folder: &Path) -> usize {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .count()
}

#[test]
fn a_restore_that_is_killed_anywhere_and_run_again_ends_the_same() {
    let home = odd();
    for number in 0..400 {
        home.write(format!("upload/{ANN}/{:02}/{number}.jpg", number % 20), &noise(number, 20_000));
    }
    home.backup();
    let to = home.dir.path().join("new");
    let to_text = to.to_str().unwrap();
    let arguments = ["restore", "--all", "--to", to_text];
    let mut kills = 0;
    for wanted in [1, 40, 80, 120, 200, 300, 380] {
        let mut child = start(&home, &arguments);
        let begun = Instant::now();
        while count(&to) < wanted
            && child.try_wait().unwrap().is_none()
            && begun.elapsed() < Duration::from_secs(60)
        {}
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // It may have been done before it could be killed: then it is a whole library, and is not
    // restored into again.
    if to.join(".shoebox-restore").exists() {
        let (code, out, err) = shoebox(&home, &arguments);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("next: the database: shoebox restore-database"), "{out}");
    }
    println!("{kills} kills");
    same(&home.upload(), &to);
    let (code, _, err) = shoebox(&home, &arguments);
    assert!(code == 1 && err.contains("is not empty"), "{err}");
}

#[test]
fn a_folder_with_something_in_it_is_refused_and_mixed_into_only_when_told() {
    let home = odd();
    let to = home.dir.path().join("new");
    let mine = to.join("library/ann/-rf");
    fs::create_dir_all(mine.parent().unwrap()).unwrap();
    fs::write(&mine, "my own").unwrap();
    fs::write(to.join("other"), "of mine").unwrap();
    let refused = restore(&home.repository(), &options(&to), &SilentMonitor).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.next_step().unwrap().contains("--accept-non-empty"), "{refused:?}");
    let mixed = Options { accept_non_empty: true, ..options(&to) };
    let problems = ProblemCollector::default();
    let report = restore(&home.repository(), &mixed, &problems).unwrap();
    assert_eq!((report.left_out, problems.problems().len()), (1, 1), "{:?}", problems.problems());
    assert!(problems.problems()[0].message.contains("not overwritten (--overwrite replaces it)"));
    assert_eq!(fs::read(&mine).unwrap(), b"my own");
    let report = all(&home.repository(), &Options { overwrite: true, ..mixed });
    assert_eq!((report.restored, report.already_there), (1, report.files - 1));
    assert_eq!(fs::read(to.join("other")).unwrap(), b"of mine");
    fs::remove_file(to.join("other")).unwrap();
    same(&home.upload(), &to);
}

#[test]
fn folders_in_which_a_restore_would_do_harm_are_refused() {
    let home = odd();
    let refused = |options: &Options| {
        let error = restore(&home.repository(), options, &SilentMonitor).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
        format!("{error}: {}", error.next_step().unwrap())
    };
    assert!(
        refused(&options(&home.repo_path().join("tmp/new"))).contains("is inside the repository")
    );
    assert!(!home.repo_path().join("tmp/new").exists());
    let accepting = Options { accept_non_empty: true, ..options(home.dir.path()) };
    assert!(refused(&accepting).contains("the repository is inside"));
    let living = refused(&options(&home.upload()));
    assert!(
        living.contains("own UPLOAD_LOCATION") && living.contains("--accept-non-empty"),
        "{living}"
    );
    let to = home.dir.path().join("new");
    let external = |folder: PathBuf| vec![ExternalFolder { server: "/mnt/family".into(), folder }];
    for inner in [to.join("family"), to.clone(), to.join("x/../family")] {
        let overlapping = Options { external: external(inner), ..options(&to) };
        assert!(refused(&overlapping).contains("is inside"));
    }
    assert!(
        refused(&Options { external: external(home.upload()), ..options(&to) })
            .contains("not empty")
    );
    // Of another snapshot that was not finished.
    restore(&home.repository(), &options(&to), &StopAfter(3.into())).unwrap_err();
    std::thread::sleep(Duration::from_millis(1100));
    home.write("library/later.jpg", b"later");
    home.backup();
    let text = refused(&options(&to));
    assert!(
        text.contains("holds an unfinished restore of snapshot") && text.contains("--snapshot"),
        "{text}"
    );
    let first = home.repository().snapshot_ids().unwrap()[0].to_string();
    all(&home.repository(), &Options { snapshot: first, ..options(&to) });
    assert!(!to.join("library/later.jpg").exists());
}

#[test]
fn a_new_server_may_have_made_its_folders_before() {
    let home = odd();
    let to = home.dir.path().join("new");
    for name in FOLDERS {
        fs::create_dir_all(to.join(name)).unwrap();
        fs::write(to.join(name).join(".immich"), "1800000000000").unwrap();
    }
    let report = all(&home.repository(), &options(&to));
    assert_eq!(report.already_there, 3);
    assert_eq!(fs::read(to.join("upload/.immich")).unwrap(), b"1800000000000");
    assert_eq!(fs::read(to.join(format!("upload/{ANN}/1.jpg"))).unwrap(), noise(1, 300_001));
}

#[test]
fn external_libraries_go_where_it_is_said_and_are_counted_where_it_is_not() {
    let home = Home::new();
    let family = home.dir.path().join("family");
    fs::create_dir_all(family.join("2020/summer")).unwrap();
    fs::write(family.join("2020/summer/a.jpg"), noise(1, 5000)).unwrap();
    fs::hard_link(family.join("2020/summer/a.jpg"), family.join("again.jpg")).unwrap();
    symlink("2020", family.join("newest")).unwrap();
    set_mtime(&family.join("2020/summer"), 1_111_111_111_222_222_222);
    home.write(format!("upload/{ANN}/1.jpg"), &noise(2, 5000));
    let external = |folder: &Path| {
        vec![ExternalFolder { server: "/mnt/family/".into(), folder: folder.to_owned() }]
    };
    backup(&home.repository(), backup_library_options(&home, external(&family)), &SilentMonitor)
        .unwrap();
    let to = home.dir.path().join("new");
    let report = all(&home.repository(), &options(&to));
    let without: Vec<_> =
        report.without_folder.iter().map(|part| (part.folder.as_str(), part.files)).collect();
    assert_eq!(without.iter().map(|(_, files)| files).sum::<u64>(), 3, "{without:?}");
    assert!(without.iter().all(|(folder, _)| folder.starts_with("/mnt/family")), "{without:?}");
    assert!(!to.join("external").exists());
    let (second, elsewhere) = (home.dir.path().join("second"), home.dir.path().join("elsewhere"));
    let report =
        all(&home.repository(), &Options { external: external(&elsewhere), ..options(&second) });
    assert!(
        report.without_folder.is_empty()
            && report.folders.iter().any(|part| part.folder == "/mnt/family/"),
        "{report:?}"
    );
    assert_eq!(tree(&elsewhere), tree(&family));
    assert_eq!(tree(&second).len(), tree(&to).len());
    let text = shoebox(
        &home,
        &["restore", "--all", "--dry-run", "--to", home.dir.path().join("third").to_str().unwrap()],
    )
    .2;
    assert!(text.contains("of an external library left out; --external '/mnt/family"), "{text}");
}

fn backup_library_options(
    home: &Home,
    external: Vec<ExternalFolder>,
) -> shoebox::task::backup::Options {
    shoebox::task::backup::Options { external, ..home.options() }
}

#[test]
fn no_file_gets_a_right_to_run_as_somebody_else() {
    let home = odd();
    let tool = home.write("library/tool", b"#!/bin/sh");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(home.upload().join("library/ann"), fs::Permissions::from_mode(0o3775))
        .unwrap();
    home.backup();
    let to = home.dir.path().join("new");
    let report = all(&home.repository(), &options(&to));
    let mode = |path: &str| fs::metadata(to.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("library/tool"), mode("library/ann")),
        (0o755, 0o3775),
        "a folder's group is no such right"
    );
    assert!(
        report.notes[0].starts_with("1 file had the right to run as somebody else"),
        "{:?}",
        report.notes
    );
}

#[test]
fn a_dry_run_tells_what_goes_where_and_writes_nothing() {
    let home = odd();
    let to = home.dir.path().join("new");
    let arguments = ["restore", "--all", "--dry-run", "--to", to.to_str().unwrap()];
    let (code, out, err) = shoebox(&home, &arguments);
    assert_eq!(code, 0, "{err}");
    for name in ["library", "profile", "upload", "would be restored to"] {
        assert!(out.contains(name), "{out}");
    }
    let (_, out, _) = shoebox(&home, &[&arguments[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let bytes: u64 = json["folders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!((json["dry_run"].as_bool(), json["bytes"].as_u64()), (Some(true), Some(bytes)));
    assert!(!to.exists());
    assert_eq!(shoebox(&home, &["restore", "--all", "files", "--to", "x"]).0, 2);
    assert_eq!(shoebox(&home, &["restore", "--all", "--favorite", "--to", "x"]).0, 2);
    assert_eq!(shoebox(&home, &["restore", "files", "--accept-non-empty", "--to", "x"]).0, 2);
}

#[test]
fn a_disk_that_is_too_small_is_told_before_anything_is_written() {
    let home = odd();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may mount a small disk");
        return;
    }
    let disk = home.dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    if let Err(error) = rustix::mount::mount("tmpfs", &disk, "tmpfs", flags, Some(c"size=8m")) {
        println!("skipped: {error}");
        return;
    }
    let to = disk.join("new");
    let result =
        std::panic::catch_unwind(|| restore(&home.repository(), &options(&to), &SilentMonitor));
    let dry = std::panic::catch_unwind(|| {
        restore(&home.repository(), &Options { dry_run: true, ..options(&to) }, &SilentMonitor)
    });
    let there = to.exists();
    rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::DETACH).unwrap();
    let error = result.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(
        error.to_string().contains("are needed for") && error.to_string().contains("are free"),
        "{error}"
    );
    assert!(dry.unwrap().unwrap().notes.iter().any(|note| note.contains("are needed for")));
    assert!(!there);
}

/// Flips a bit of the content that the newest snapshot shows at `path`.
fn damage(home: &Home, name: &str) {
    let db = Connection::open(home.repo_path().join("catalog.sqlite")).unwrap();
    let sql = "SELECT a.name, c.offset FROM file f JOIN content c ON c.id = f.content JOIN archive \
        a ON a.id = c.archive WHERE f.name = ?1";
    let (archive, offset): (String, usize) =
        db.query_row(sql, [name.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let file = home.repo_path().join("archives").join(archive);
    let mut bytes = fs::read(&file).unwrap();
    bytes[offset + 10] ^= 1;
    fs::write(&file, bytes).unwrap();
}

#[test]
fn a_damaged_photo_is_left_out_by_name_and_all_others_come() {
    let home = odd();
    damage(&home, "2.jpg");
    let to = home.dir.path().join("new");
    let (code, out, err) = shoebox(&home, &["restore", "--all", "--to", to.to_str().unwrap()]);
    assert_eq!(code, 3, "{err}");
    assert!(
        err.contains(&format!("problem: upload/{ANN}/2.jpg (IMG_2.jpg of Ann Lee): damaged")),
        "{err}"
    );
    assert!(out.contains("1 left out"), "{out}");
    let (mut wanted, found) = (tree(&home.upload()), tree(&to));
    let lost = format!("upload/{ANN}/2.jpg");
    assert!(wanted.remove(lost.as_bytes()).is_some() && !found.contains_key(lost.as_bytes()));
    assert!(wanted.iter().all(|(path, what)| found.get(path) == Some(what)));
    assert!(!to.join(".shoebox-restore").exists());
    // Where it is there already, damage of the archive is no loss.
    fs::copy(home.upload().join(&lost), to.join(&lost)).unwrap();
    let time = fs::metadata(home.upload().join(&lost)).unwrap().modified().unwrap();
    fs::File::open(to.join(&lost)).unwrap().set_modified(time).unwrap();
    let report = all(&home.repository(), &Options { accept_non_empty: true, ..options(&to) });
    assert_eq!(report.already_there, report.files);
}

#[test]
fn the_first_name_of_a_file_may_be_lost_and_the_others_are_not_the_wrong_one() {
    let home = odd();
    damage(&home, "old.jpg");
    let to = home.dir.path().join("new");
    let problems = ProblemCollector::default();
    let report = restore(&home.repository(), &options(&to), &problems).unwrap();
    assert_eq!((report.left_out, problems.problems().len()), (3, 3), "{:?}", problems.problems());
    assert!(!to.join("library/hard link.jpg").exists());
}

/// Copies the repository and changes its catalog as somebody would who means harm.
fn hostile(home: &Home, change: &str) -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    // The archives are the same files: nobody writes into them.
    let copied =
        Command::new("cp").arg("-al").arg(home.repo_path()).arg(dir.path()).status().unwrap();
    assert!(copied.success());
    let root = dir.path().join("repository");
    fs::remove_file(root.join("catalog.sqlite")).unwrap();
    fs::copy(home.repo_path().join("catalog.sqlite"), root.join("catalog.sqlite")).unwrap();
    let db = Connection::open(root.join("catalog.sqlite")).unwrap();
    db.execute_batch(&format!("PRAGMA journal_mode = MEMORY; PRAGMA foreign_keys = OFF; {change}"))
        .unwrap_or_else(|error| panic!("{change}: {error}"));
    drop(db);
    shoebox::catalog::seal(&root.join("catalog.sqlite")).unwrap();
    (dir, Repository::open(&root).unwrap())
}

/// Restores what was changed by `change`: nothing may get out of the folder. What went wrong.
fn survives(home: &Home, change: &str) -> Vec<Problem> {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("1.jpg"), "not ours").unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let before = (tree(outside.path()), fs::metadata(outside.path()).unwrap().mtime_nsec());
    let (_kept, repository) =
        hostile(home, &change.replace("OUTSIDE", outside.path().to_str().unwrap()));
    let above = tempfile::tempdir().unwrap();
    let to = above.path().join("a/b");
    let problems = ProblemCollector::default();
    for overwrite in [false, true] {
        let wanted = Options { overwrite, accept_non_empty: true, ..options(&to) };
        // A record or catalog that makes no sense at all is an error: fine.
        let _ = restore(&repository, &wanted, &problems);
        let names =
            |folder: &Path| fs::read_dir(folder).map(|entries| entries.count()).unwrap_or(0);
        assert!(names(above.path()) <= 1 && names(&above.path().join("a")) <= 1, "{change}");
        assert_eq!(
            (tree(outside.path()), fs::metadata(outside.path()).unwrap().mtime_nsec()),
            before,
            "{change}"
        );
        assert_eq!(fs::metadata(outside.path()).unwrap().mode() & 0o777, 0o711, "{change}");
        for entry in walkdir::WalkDir::new(&to).into_iter().filter_map(Result::ok) {
            let meta = entry.metadata().unwrap();
            assert!(
                !meta.is_file() || meta.mode() & 0o6000 == 0,
                "{change}: {}",
                entry.path().display()
            );
        }
    }
    problems.problems()
}

#[test]
fn nothing_of_a_hostile_catalog_gets_out_of_the_folder() {
    let home = odd();
    let jpg = "(SELECT row FROM file WHERE name = CAST('1.jpg' AS BLOB))";
    let ann = "(SELECT id FROM folder WHERE name = CAST('ann' AS BLOB))";
    let library = "(SELECT id FROM folder WHERE name = CAST('library' AS BLOB))";
    let names = [
        "'../../escaped'",
        "'..'",
        "'.'",
        "''",
        "'/'",
        "'/etc/escaped'",
        "'a/b'",
        "x'610062'",
        "zeroblob(256)",
        "zeroblob(20000000)",
        "'text'",
    ];
    let mut changes: Vec<String> = Vec::new();
    for name in names {
        changes.push(format!("UPDATE file SET name = CAST({name} AS BLOB) WHERE row = {jpg}"));
        changes.push(format!("UPDATE folder SET name = CAST({name} AS BLOB) WHERE id = {ann}"));
        changes.push(format!("UPDATE folder SET name = CAST({name} AS BLOB) WHERE id = {library}"));
        changes.push(format!("UPDATE file SET link = CAST({name} AS BLOB) WHERE row = {jpg}"));
        changes.push(format!(
            "UPDATE file SET kind = 2, target = CAST({name} AS BLOB) WHERE row = {jpg}"
        ));
    }
    for folder in [ann, library] {
        changes.push(format!("UPDATE folder SET parent = id WHERE id = {folder}"));
        changes.push(format!("UPDATE folder SET parent = 999999 WHERE id = {folder}"));
        changes.push(format!("UPDATE folder SET parent = {ann} WHERE id = {folder}"));
        // A symlink where a folder is, with files that would go through it.
        changes.push(format!(
            "UPDATE file SET kind = 2, target = CAST('OUTSIDE' AS BLOB) WHERE child = {folder}"
        ));
        changes.push(format!(
            "UPDATE file SET mode = 4294967295, mtime = 'x' WHERE folder = {folder}"
        ));
    }
    for value in ["-1", "9223372036854775807", "'x'", "NULL", "x'00'", "0"] {
        for column in ["size", "mtime", "mode", "uid", "gid", "content", "kind", "child"] {
            changes.push(format!("UPDATE OR IGNORE file SET {column} = {value} WHERE row = {jpg}"));
        }
        for column in ["archive", "offset", "stored", "size", "frames", "tree"] {
            changes.push(format!("UPDATE OR IGNORE content SET {column} = {value}"));
        }
    }
    changes.push("UPDATE file SET mode = mode | 3072".into());
    changes.push("UPDATE file SET link = CAST('library/dangling' AS BLOB) WHERE kind = 0".into());
    changes.push("UPDATE file SET link = CAST('library/ann' AS BLOB) WHERE kind = 0".into());
    changes
        .push(format!("UPDATE file SET link = CAST('upload/{ANN}/2.jpg' AS BLOB) WHERE kind = 0"));
    changes.push(
        "UPDATE file SET name = CAST('.shoebox-restore' AS BLOB), folder = 0 WHERE name = \
            CAST('2.jpg' AS BLOB)"
            .into(),
    );
    changes.push(
        "UPDATE file SET folder = 0, kind = 2, target = CAST('OUTSIDE' AS BLOB) WHERE name = \
            CAST('1.jpg' AS BLOB)"
            .into(),
    );
    changes.push("UPDATE snapshot SET record = '{}'".into());
    changes.push("UPDATE snapshot SET number = 70000".into());
    changes.push("DELETE FROM archive".into());
    changes.push("DELETE FROM folder".into());
    changes.push("DELETE FROM content".into());
    println!("{} hostile catalogs", changes.len());
    for change in &changes {
        survives(&home, change);
    }
}

#[test]
fn a_symlink_that_a_list_names_is_no_way_to_what_it_points_to() {
    let home = odd();
    // `library` is a symlink, and files lie below it; `upload` is one at the top.
    let problems = survives(
        &home,
        "UPDATE file SET kind = 2, target = CAST('OUTSIDE' AS BLOB) WHERE kind = 1",
    );
    assert!(problems.iter().any(|problem| problem.message.contains("not safe")), "{problems:?}");
    // Two entries of one name: a symlink, and the file that would be written through it.
    let twice = "INSERT INTO file SELECT folder, name, since - 1, until, row + 100000, 2, 0, \
        mtime, mode, uid, gid, NULL, NULL, CAST('OUTSIDE/1.jpg' AS BLOB), NULL
                 FROM file WHERE kind = 0";
    let problems = survives(&home, twice);
    assert!(problems.iter().any(|problem| problem.message.contains("exists")), "{problems:?}");
}

#[test]
fn a_link_that_claims_another_files_bytes_gets_its_own() {
    let home = odd();
    let change = format!(
        "UPDATE file SET link = CAST('upload/{ANN}/1.jpg' AS BLOB) WHERE name = CAST('2.jpg' AS \
            BLOB)"
    );
    let (_kept, repository) = hostile(&home, &change);
    let to = home.dir.path().join("new");
    all(&repository, &options(&to));
    assert_eq!(fs::read(to.join(format!("upload/{ANN}/2.jpg"))).unwrap(), noise(2, 3_500_000));
}

#[test]
fn a_symlink_that_is_swapped_in_meanwhile_is_not_followed() {
    let home = odd();
    for number in 0..300 {
        home.write(format!("library/ann/{number}.jpg"), &noise(number, 3000));
    }
    home.backup();
    let outside = tempfile::tempdir().unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let before = fs::metadata(outside.path()).unwrap();
    let to = home.dir.path().join("new");
    let (folder, link) = (to.join("library/ann"), to.join("library/other"));
    fs::create_dir_all(&folder).unwrap();
    symlink(outside.path(), &link).unwrap();
    let (done, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // It ends by itself, also when what it disturbs has failed.
            while !done.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(120) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                let cwd = rustix::fs::CWD;
                let swapped = rustix::fs::renameat_with(cwd, &folder, cwd, &link, exchange);
                swaps.fetch_add(u64::from(swapped.is_ok()), Ordering::Relaxed);
            }
        });
        for round in 0..20 {
            let wanted =
                Options { accept_non_empty: true, overwrite: round % 2 == 1, ..options(&to) };
            let _ = restore(&home.repository(), &wanted, &ProblemCollector::default());
        }
        done.store(true, Ordering::Relaxed);
    });
    let after = fs::metadata(outside.path()).unwrap();
    println!("{} swaps", swaps.load(Ordering::Relaxed));
    assert!(swaps.load(Ordering::Relaxed) > 0, "the disk cannot exchange names");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(
        (after.mode(), after.mtime(), after.mtime_nsec()),
        (before.mode(), before.mtime(), before.mtime_nsec())
    );
}
