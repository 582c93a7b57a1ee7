//! Disks that know neither a rename that replaces nothing nor hard links, as exFAT, rclone and some
//! NAS; and such that take a file from front to back alone, as rclone without a cache for writes.

use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;

use crate::backup_library::{ANN, Home, dump};
use crate::crash::faulty::{Disk, Lack, Links, Mounted};

/// What it said, and its exit code.
fn shoebox(repository: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::cargo_bin("shoebox").unwrap();
    let spool = tempfile::tempdir().unwrap();
    command
        .arg("-r")
        .arg(repository)
        .args(arguments)
        .env("SHOEBOX_CONFIG", "/dev/null")
        .env("TMPDIR", spool.path());
    let output = command.output().unwrap();
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0, "{arguments:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

/// Mounts an empty disk that lacks so much, for as long as `work` goes on.
fn on_disk(lack: Lack, work: impl FnOnce(&Path)) {
    let (empty, point) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mounted = Mounted::that_lacks(lack, Disk::of(empty.path()), point.path(), None);
    work(point.path());
    mounted.end();
}

#[test]
fn every_command_that_writes_works_without_hard_links_a_rename_that_replaces_nothing_and_random_writes()
 {
    for lack in [Lack::Names(Links::Eperm), Lack::Names(Links::Eio), Lack::RandomWrites] {
        on_disk(lack, |disk| {
            let (home, repository) = (Home::new(), disk.join("photos"));
            let does = |arguments: &[&str]| {
                let (code, said) = shoebox(&repository, arguments);
                assert_eq!(code, 0, "{lack:?}, {arguments:?}: {said}");
                said
            };
            does(&["init"]);
            let (upload, text) = (home.upload(), home.dump_path());
            let (upload, text) = (upload.to_str().unwrap(), text.to_str().unwrap());
            for photo in 1..=2 {
                home.write(
                    format!("upload/{ANN}/{photo}.jpg"),
                    format!("photo {photo}").as_bytes(),
                );
            }
            for night in 0..3 {
                home.write(
                    format!("upload/{ANN}/of-night-{night}.jpg"),
                    format!("night {night}").as_bytes(),
                );
                home.write_dump(&dump(3, night));
                does(&["backup", "--upload-location", upload, "--dump", text]);
                crate::backup_library::tick();
            }
            does(&["check", "--read-data"]);
            does(&["forget", "--keep-last", "1", "--apply"]);
            does(&["prune", "--grace", "0s"]);
            std::fs::remove_file(repository.join("README.txt")).unwrap();
            does(&["repair", "--apply"]);
            does(&["repair", "catalog"]);
            does(&["check", "--read-data"]);
            std::fs::create_dir(disk.join("emitted")).unwrap();
            does(&["restore-database", "--emit", disk.join("emitted").to_str().unwrap()]);
            assert_eq!(std::fs::read_dir(disk.join("emitted")).unwrap().count(), 1);
            let back = disk.join("back");
            does(&["restore", "--all", "--to", back.to_str().unwrap()]);
            assert_eq!(
                std::fs::read(back.join(format!("upload/{ANN}/1.jpg"))).unwrap(),
                b"photo 1"
            );
        });
    }
}

#[test]
fn an_init_that_fails_leaves_nothing_and_says_why() {
    on_disk(Lack::Renames, |disk| {
        std::fs::create_dir(disk.join("there")).unwrap();
        for repository in ["there", "new/photos"] {
            let (code, said) = shoebox(&disk.join(repository), &["init"]);
            assert!(code == 1 && said.contains("README.txt: Input/output error"), "{code}: {said}");
        }
        let left: Vec<_> = walkdir::WalkDir::new(disk).min_depth(1).into_iter().flatten().collect();
        assert!(left.len() == 1 && left[0].path().ends_with("there"), "{left:?}");
    });
}

#[test]
fn what_an_init_that_was_killed_leaves_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(shoebox(folder.path(), &["init"]).0, 0);
    std::fs::remove_file(folder.path().join("shoebox.json")).unwrap();
    let (code, said) = shoebox(folder.path(), &["snapshots"]);
    assert!(
        code == 1 && said.contains("hint: an `init` was cut short there: run `shoebox init` again"),
        "{said}"
    );
    assert_eq!(shoebox(folder.path(), &["init"]).0, 0);
    assert_eq!(shoebox(folder.path(), &["snapshots"]).0, 0);
}
