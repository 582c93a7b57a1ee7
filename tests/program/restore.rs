//! Getting photos back out of a snapshot.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::two_nights::{Nights, files, nights, sha1, shoebox};
use jiff::Timestamp;
use rusqlite::Connection;
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::base::{ErrorKind, Monitor, Phase, Problem};
use shoebox::repo::Repository;
use shoebox::task::find::FindQuery;
use shoebox::task::restore::{Options, Report, RestoreSelection, restore};
use tempfile::TempDir;

fn paths(paths: &[&str]) -> RestoreSelection {
    RestoreSelection::Paths(paths.iter().map(|path| path.as_bytes().to_vec()).collect())
}

fn assets(query: FindQuery) -> RestoreSelection {
    RestoreSelection::Assets(query)
}

fn named(name: &str) -> RestoreSelection {
    assets(FindQuery { names: vec![name.into()], ..FindQuery::default() })
}

fn albums(album: &str) -> RestoreSelection {
    assets(FindQuery { albums: vec![album.into()], ..FindQuery::default() })
}

fn options(selection: RestoreSelection, to: &Path) -> Options {
    Options {
        snapshot: "latest".into(),
        selection,
        to: to.to_owned(),
        overwrite: false,
        dry_run: false,
        locked: false,
    }
}

/// Restores into a fresh folder; nothing may be left out.
fn fresh(nights: &Nights, selection: RestoreSelection) -> (TempDir, Report) {
    let dir = tempfile::tempdir().unwrap();
    let problems = ProblemCollector::default();
    let report = restore(&nights.repository(), &options(selection, dir.path()), &problems).unwrap();
    assert!(problems.problems().is_empty(), "{:?}", problems.problems());
    assert_eq!((report.restored, report.left_out), (report.files, 0));
    (dir, report)
}

fn mtime(path: &Path) -> i128 {
    let meta = fs::symlink_metadata(path).unwrap();
    i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())
}

#[test]
fn a_deleted_photo_comes_back_byte_for_byte_with_its_time() {
    let nights = nights();
    let truth = nights.asset(0, "Birthday cake.jpg");
    let id = truth["id"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("new folder/back");
    let to_text = to.to_str().unwrap();
    let said = nights.shoebox(&["restore", "--to", to_text, "--asset", id]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("--all-snapshots"), "{said:?}");
    let said = nights.shoebox(&[
        "restore",
        "--to",
        to_text,
        "--asset",
        id,
        "--snapshot",
        &nights.ids[0],
        "--json",
    ]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.json()[0]["restored"], 1);
    let file = to.join("Birthday cake.jpg");
    assert_eq!(files(&to), ["Birthday cake.jpg"]);
    assert_eq!(sha1(&file), truth["checksumHex"].as_str().unwrap());
    let created: Timestamp = truth["fileCreatedAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(mtime(&file), created.as_nanosecond());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o644);
    // The newest snapshot's `deleted since` has it too.
    let since = nights.shoebox(&["ls", "latest", "users/Ann Lee/deleted since"]).out;
    let user = nights.asset(0, "Birthday cake.jpg")["ownerName"].as_str().unwrap();
    let since = if since.is_empty() {
        nights.shoebox(&["ls", "latest", &format!("users/{user}/deleted since")]).out
    } else {
        since
    };
    let folder = since.trim().trim_end_matches('/');
    let (dir, _) =
        fresh(&nights, paths(&[&format!("users/{user}/deleted since/{folder}/Birthday cake.jpg")]));
    assert_eq!(sha1(&dir.path().join("Birthday cake.jpg")), truth["checksumHex"].as_str().unwrap());
}

#[test]
fn live_pairs_and_sidecars_come_along_however_the_photo_is_named() {
    let nights = nights();
    let id = nights.id(1, "IMG_5001.HEIC");
    let pair = ["IMG_5001.HEIC", "IMG_5001.MOV"];
    let (dir, report) =
        fresh(&nights, assets(FindQuery { assets: vec![id], ..FindQuery::default() }));
    assert_eq!(files(dir.path()), pair);
    assert_eq!(report.files, 2);
    for name in pair {
        assert_eq!(
            sha1(&dir.path().join(name)),
            nights.asset(1, name)["checksumHex"].as_str().unwrap()
        );
    }
    // By the moving half alone.
    let (dir, _) = fresh(
        &nights,
        assets(FindQuery { assets: vec![nights.id(1, "IMG_5001.MOV")], ..FindQuery::default() }),
    );
    assert_eq!(files(dir.path()), pair);
    let user = nights.asset(1, "IMG_5001.HEIC")["ownerName"].as_str().unwrap();
    let (dir, _) = fresh(&nights, named("IMG_5001*"));
    assert_eq!(files(dir.path()), pair.map(|name| format!("{user}/2024/2024-05/{name}")));
    // By its path, also when both are named.
    let month = format!("users/{user}/by date/2024/2024-05");
    let (dir, _) = fresh(
        &nights,
        paths(&[&format!("{month}/IMG_5001.HEIC"), &format!("{month}/IMG_5001.MOV")]),
    );
    assert_eq!(files(dir.path()), pair);
    let (dir, _) = fresh(
        &nights,
        assets(FindQuery { assets: vec![nights.id(1, "DSC_0100.JPG")], ..FindQuery::default() }),
    );
    assert_eq!(files(dir.path()), ["DSC_0100.JPG", "DSC_0100.JPG.xmp"]);
    let sidecar = nights.asset(1, "DSC_0100.JPG")["sidecarUnderUploadLocation"].as_str().unwrap();
    let there = nights.library.upload_location().join(sidecar);
    assert_eq!(sha1(&dir.path().join("DSC_0100.JPG.xmp")), sha1(&there));
}

#[test]
fn photos_of_one_name_in_one_folder_get_names_of_their_own() {
    let nights = nights();
    let (dir, _) = fresh(
        &nights,
        assets(FindQuery { taken: Some("2024-03-09".parse().unwrap()), ..FindQuery::default() }),
    );
    let found = files(dir.path());
    assert_eq!(found.len(), 4, "three photos and a sidecar: {found:?}");
    let folded: std::collections::HashSet<_> =
        found.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(folded.len(), 4, "{found:?}");
    let mut hashes: Vec<_> = found
        .iter()
        .filter(|n| !n.ends_with(".xmp"))
        .map(|name| sha1(&dir.path().join(name)))
        .collect();
    hashes.sort();
    let all = nights.truth[1]["assets"].as_array().unwrap();
    let mut wanted: Vec<_> = all
        .iter()
        .filter(|asset| asset["localDateTime"].as_str().unwrap().starts_with("2024-03-09"))
        .map(|asset| asset["checksumHex"].as_str().unwrap().to_owned())
        .collect();
    wanted.sort();
    assert_eq!(hashes, wanted);
}

#[test]
fn albums_of_one_name_are_restored_into_folders_of_their_own() {
    let nights = nights();
    let (dir, report) = fresh(&nights, albums("holiday"));
    let found = files(dir.path());
    let folders: std::collections::BTreeSet<_> =
        found.iter().map(|name| name.split('/').next().unwrap()).collect();
    assert_eq!((folders.len(), found.len()), (2, 3), "{found:?}");
    assert!(report.notes[0].contains("all are taken: Holiday, Holiday ("), "{:?}", report.notes);
    // Album `..` is a folder with a safe name, and its two names are one letter in two forms.
    let (dir, _) = fresh(&nights, albums(".."));
    let found = files(dir.path());
    assert!(found.iter().all(|name| name.starts_with("__/")) && found.len() == 2, "{found:?}");
    let (dir, _) = fresh(&nights, albums("Roma 2024/2026"));
    assert_eq!(fs::read_dir(dir.path().join("Roma 2024_2026")).unwrap().count(), 8);
}

#[test]
fn what_is_there_is_kept_unless_told_and_what_is_the_same_is_done() {
    let nights = nights();
    let (dir, _) = fresh(&nights, albums("Holiday"));
    let mut wanted = options(albums("Holiday"), dir.path());
    let again = restore(&nights.repository(), &wanted, &SilentMonitor).unwrap();
    assert_eq!((again.restored, again.already_there, again.left_out), (0, again.files, 0));
    let (mine, gone) =
        (dir.path().join(&files(dir.path())[0]), dir.path().join(&files(dir.path())[1]));
    let before = mtime(&mine);
    fs::remove_file(&gone).unwrap();
    // Same size, same time, other bytes.
    let mut bytes = fs::read(&mine).unwrap();
    bytes[100] ^= 1;
    fs::write(&mine, &bytes).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(before as u64);
    fs::File::options().write(true).open(&mine).unwrap().set_modified(time).unwrap();
    let problems = ProblemCollector::default();
    let report = restore(&nights.repository(), &wanted, &problems).unwrap();
    assert_eq!((report.restored, report.left_out), (1, 1));
    let problem = &problems.problems()[0];
    assert!(
        problem.message.contains("exists") && problem.message.contains("--overwrite"),
        "{problem:?}"
    );
    assert_eq!(fs::read(&mine).unwrap(), bytes);
    let said =
        nights.shoebox(&["restore", "--album", "Holiday", "--to", dir.path().to_str().unwrap()]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("1 left out") && said.err.contains("problem: users/"), "{said:?}");
    wanted.overwrite = true;
    let report = restore(&nights.repository(), &wanted, &SilentMonitor).unwrap();
    assert_eq!((report.restored, report.already_there), (1, report.files - 1));
    bytes[100] ^= 1;
    assert_eq!(fs::read(&mine).unwrap(), bytes);
    // A folder is never replaced.
    fs::remove_file(&mine).unwrap();
    fs::create_dir(&mine).unwrap();
    assert_eq!(restore(&nights.repository(), &wanted, &SilentMonitor).unwrap().left_out, 1);
}

#[test]
fn a_dry_run_says_everything_and_writes_nothing() {
    let nights = nights();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("not made");
    let arguments = ["restore", "--album", "Birthday", "--dry-run", "--to", to.to_str().unwrap()];
    let said = nights.shoebox(&arguments);
    assert_eq!(said.code, 0);
    assert!(
        said.out.contains("not made/Birthday/Birthday cake (2).jpg")
            && said.out.contains("1 file ("),
        "{}",
        said.out
    );
    let json = nights.shoebox(&[&arguments[..], &["--json"]].concat()).json();
    assert_eq!(json[0]["size"], nights.asset(1, "Birthday cake (2).jpg")["fileSize"]);
    assert!(json[0]["from"].as_str().unwrap().starts_with("users/") && json[1]["dry_run"] == true);
    assert!(!to.exists());
}

#[test]
fn files_come_out_exactly_as_they_lay_on_disk() {
    let nights = nights();
    let dir = tempfile::tempdir().unwrap();
    let all = Options { locked: true, ..options(paths(&["files", "database"]), dir.path()) };
    let report = restore(&nights.repository(), &all, &SilentMonitor).unwrap();
    assert_eq!(report.left_out, 0);
    let root = dir.path().join("files");
    let from = nights.library.upload_location();
    let mut seen = 0;
    for entry in walkdir::WalkDir::new(&root).min_depth(1).into_iter().map(Result::unwrap) {
        let below = entry.path().strip_prefix(&root).unwrap();
        if below.starts_with("external") {
            continue;
        }
        let (there, here) =
            (fs::symlink_metadata(from.join(below)).unwrap(), entry.metadata().unwrap());
        assert_eq!(
            (here.mode(), mtime(entry.path())),
            (there.mode(), mtime(&from.join(below))),
            "{}",
            below.display()
        );
        if crate::support::is_root() {
            assert_eq!((here.uid(), here.gid()), (there.uid(), there.gid()));
        }
        if here.is_file() {
            seen += 1;
            assert_eq!(fs::read(entry.path()).unwrap(), fs::read(from.join(below)).unwrap());
        }
    }
    let inside = nights.truth[1]["assets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|asset| asset["external"] == false)
        .count();
    assert!(seen > inside, "{seen}");
    let dump = dir.path().join("database/immich.sql");
    assert_eq!(fs::metadata(&dump).unwrap().mode() & 0o777, 0o600, "it holds passwords");
    assert!(fs::read_to_string(&dump).unwrap().contains("PostgreSQL database dump complete"));
    let (locked, _) = fresh(&nights, paths(&["files", "users"]));
    let secret = nights.asset(1, "passport.jpg")["checksumHex"].as_str().unwrap().to_owned();
    assert!(files(locked.path()).iter().all(|name| sha1(&locked.path().join(name)) != secret));
}

#[test]
fn a_path_is_written_as_cp_would_and_an_unknown_one_names_its_neighbours() {
    let nights = nights();
    let user = nights.asset(1, "First steps.mp4")["ownerName"].as_str().unwrap().to_owned();
    let (dir, _) = fresh(
        &nights,
        paths(&[
            &format!("users/{user}/albums/Birthday"),
            &format!("/users/{user}/albums/Holiday/"),
        ]),
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    assert!(dir.path().join("Birthday/Birthday cake (2).jpg").is_file());
    let error = |path: &str| {
        restore(&nights.repository(), &options(paths(&[path]), dir.path()), &SilentMonitor)
            .unwrap_err()
    };
    let wrong = error(&format!("users/{user}/albums/Birthdays"));
    assert_eq!(wrong.kind(), ErrorKind::NotFound);
    assert!(wrong.next_step().unwrap().starts_with("known: Birthday,"), "{wrong:?}");
    assert_eq!(error("../etc").kind(), ErrorKind::NotFound);
    let said = |arguments: &[&str]| {
        nights.shoebox(&[&["restore", "--to", dir.path().to_str().unwrap()], arguments].concat())
    };
    assert_eq!((said(&[]).code, said(&["files", "--favorite"]).code), (2, 2));
    assert_eq!(said(&["--user", "eve"]).code, 1);
    assert_eq!(nights.shoebox(&["restore", "files"]).code, 2, "--to is needed");
    let inside = nights.root().join("tmp/x");
    let refused =
        restore(&nights.repository(), &options(paths(&["files"]), &inside), &SilentMonitor)
            .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(!inside.exists());
}

#[test]
fn links_odd_names_and_odd_rights_of_files_survive() {
    let dir = tempfile::tempdir().unwrap();
    let library = crate::support::sample_library(1, crate::support::Era::New);
    let (root, sql) = (library.upload_location(), dir.path().join("immich.sql"));
    fs::write(&sql, crate::two_nights::dump(1, &library.sql())).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"upload/not utf-8 \xff.txt");
    fs::write(root.join(odd), "odd").unwrap();
    symlink("/etc/passwd", root.join("library/link")).unwrap();
    fs::write(root.join("library/tool"), "#!/bin/sh").unwrap();
    fs::set_permissions(root.join("library/tool"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::create_dir(root.join("library/closed")).unwrap();
    fs::set_permissions(root.join("library/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let repository = Repository::create(&dir.path().join("repository")).unwrap();
    let backup = crate::two_nights::options(root.clone(), sql, library.external());
    shoebox::task::backup::backup(&repository, backup, &SilentMonitor).unwrap();
    let to = dir.path().join("out");
    for (restored, already) in [(true, false), (false, true)] {
        let report =
            restore(&repository, &options(paths(&["files"]), &to), &SilentMonitor).unwrap();
        assert_eq!(
            (report.restored == report.files, report.already_there == report.files),
            (restored, already)
        );
    }
    let files = to.join("files");
    assert_eq!(fs::read(files.join(odd)).unwrap(), b"odd");
    assert_eq!(fs::read_link(files.join("library/link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(mtime(&files.join("library/link")), mtime(&root.join("library/link")));
    let mode = |name: &str| fs::metadata(files.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode("library/tool"), mode("library/closed")),
        (0o750, 0o700),
        "no file runs as somebody else"
    );
    assert_eq!(mtime(&files.join("library")), mtime(&root.join("library")));
    let said = shoebox(
        &dir.path().join("repository"),
        &["restore", "files/upload", "-n", "--json", "--to", "x"],
    );
    assert!(said.out.contains("{\"hex\":"), "a path that is not UTF-8");
}

/// A repository whose catalog was changed by somebody who means harm.
fn hostile(nights: &Nights, change: &str) -> (TempDir, PathBuf) {
    let (dir, root) = nights.copy();
    let db = Connection::open(root.join("catalog.sqlite")).unwrap();
    db.execute_batch(&format!("PRAGMA journal_mode = MEMORY; {change}")).unwrap();
    shoebox::catalog::seal(&root.join("catalog.sqlite")).unwrap();
    (dir, root)
}

#[test]
fn nothing_of_a_hostile_repository_gets_out_of_the_folder() {
    let nights = nights();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let (_kept, root) = hostile(
        &nights,
        &format!(
            "UPDATE file SET name = CAST('../../escaped' AS BLOB) WHERE row = (SELECT min(row) \
                FROM file WHERE kind = 0 AND until > (SELECT max(time) FROM snapshot));
             UPDATE file SET name = CAST('..' AS BLOB) WHERE row = (SELECT max(row) FROM file \
             WHERE kind = 0);
             UPDATE file SET kind = 2, target = CAST('{target}' AS BLOB) WHERE row = (SELECT \
             max(row) FROM file WHERE kind = 1);
             UPDATE file SET child = folder WHERE row = (SELECT min(row) FROM file WHERE kind = 1 \
             AND folder <> 0 AND until > (SELECT max(time) FROM snapshot));
             UPDATE asset SET name = '../../' || name; UPDATE user SET name = '..'; UPDATE album \
             SET name = '../x';"
        ),
    );
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("a/b/c");
    let problems = ProblemCollector::default();
    let repository = Repository::open(&root).unwrap();
    for selection in [paths(&["files"]), paths(&["users"]), named("*"), albums("../x")] {
        let _ = restore(&repository, &options(selection, &to), &problems).unwrap();
    }
    assert!(
        problems.problems().iter().any(|problem| problem.message.contains("not safe")),
        "{:?}",
        problems.problems()
    );
    assert_eq!(files(outside.path()), Vec::<String>::new());
    let above = |folder: &Path| {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    assert_eq!(
        (above(dir.path()), above(&dir.path().join("a")), above(&dir.path().join("a/b"))),
        (vec!["a".into()], vec!["b".into()], vec!["c".into()])
    );
}

#[test]
fn a_symlink_in_the_folder_is_never_followed() {
    let nights = nights();
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), dir.path().join("Birthday")).unwrap();
    let problems = ProblemCollector::default();
    for overwrite in [false, true] {
        let wanted = Options { overwrite, ..options(albums("Birthday"), dir.path()) };
        assert_eq!(restore(&nights.repository(), &wanted, &problems).unwrap().left_out, 1);
    }
    assert!(
        problems.problems()[0].message.contains("links are not followed"),
        "{:?}",
        problems.problems()
    );
    assert!(files(outside.path()).is_empty());
}

#[test]
fn damage_of_one_photo_is_told_by_its_name_and_the_others_come_out() {
    let nights = nights();
    let (_kept, root) = nights.copy();
    let db = Connection::open(root.join("catalog.sqlite")).unwrap();
    let sha1_of =
        hex::decode(nights.asset(1, "Birthday cake (2).jpg")["checksumHex"].as_str().unwrap())
            .unwrap();
    let sql = "SELECT a.name, c.offset FROM content c JOIN archive a ON a.id = c.archive WHERE \
        c.sha1 = ?1";
    let (archive, offset): (String, i64) =
        db.query_row(sql, [sha1_of], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    drop(db);
    let file = root.join("archives").join(archive);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[offset as usize + 50] ^= 1;
    fs::write(&file, bytes).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let said = shoebox(
        &root,
        &[
            "restore",
            "--name",
            "birthday",
            "--name",
            "colosseum",
            "--to",
            dir.path().to_str().unwrap(),
        ],
    );
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("Birthday cake (2).jpg: damaged"), "{said:?}");
    let found = files(dir.path());
    assert!(found.len() == 1 && found[0].ends_with("Colosseum.jpeg"), "{found:?}");
}

/// Asks to stop at once.
struct Stop;

impl Monitor for Stop {
    fn begin(&self, phase: Phase, files: Option<u64>, bytes: Option<u64>) {
        assert!(phase == Phase::Restore && files.is_some() && bytes.is_some());
    }
    fn advance(&self, _: u64, _: u64) {}
    fn problem(&self, _: Problem) {}
    fn stopped(&self) -> bool {
        true
    }
}

#[test]
fn a_restore_that_is_stopped_leaves_no_half_file_and_goes_on_later() {
    let nights = nights();
    let dir = tempfile::tempdir().unwrap();
    let wanted = options(named("*"), dir.path());
    let error = restore(&nights.repository(), &wanted, &Stop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(files(dir.path()).is_empty());
    let report = restore(&nights.repository(), &wanted, &SilentMonitor).unwrap();
    assert_eq!(report.restored, report.files);
    assert!(files(dir.path()).iter().all(|name| !name.contains(".part")));
}

#[test]
fn a_full_disk_ends_the_restore_with_a_way_on() {
    let nights = nights();
    if !crate::support::is_root() {
        println!("skipped: only root may mount a small disk");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    if let Err(error) = rustix::mount::mount("tmpfs", &disk, "tmpfs", flags, Some(c"size=1m")) {
        println!("skipped: {error}");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        restore(&nights.repository(), &options(named("*"), &disk), &SilentMonitor)
    });
    let left: Vec<_> = files(&disk).into_iter().filter(|name| name.contains(".part")).collect();
    rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::DETACH).unwrap();
    let error = result.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert!(error.next_step().unwrap().contains("continues where it stopped"));
    assert!(left.is_empty(), "{left:?}");
}
