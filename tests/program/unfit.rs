//! A snapshot whose dump a restore would refuse: nobody knows what is locked in it, so `files/` is
//! not there without `--locked` (`src/mount/SEMANTICS.md`, T5); and to whom a dump belongs that is
//! written for Immich.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;
use shoebox::base::monitor::SilentMonitor;
use shoebox::task::database;

use crate::backup_library::{ANN, Home, dump, noise, tick};
use crate::support::Said;

fn shoebox(home: &Home, arguments: &[&str]) -> Said {
    let mut command = Command::cargo_bin("shoebox").unwrap();
    Said::of(
        command
            .env("SHOEBOX_REPOSITORY", home.repo_path())
            .env("SHOEBOX_CONFIG", "/dev/null")
            .args(arguments),
    )
}

fn home() -> Home {
    let home = Home::new();
    home.write(format!("upload/{ANN}/1.jpg"), &noise(1, 10_000));
    home.write_dump(&dump(3, 1));
    home
}

#[test]
fn a_snapshot_with_an_unfit_dump_gives_nothing_of_its_files_without_locked() {
    let home = home();
    let refused = "SELECT pg_sleep(1);\nCREATE TABLE public.smart_search";
    home.write_dump(&dump(3, 1).replacen("CREATE TABLE public.smart_search", refused, 1));
    let unfit = home.backup().record;
    assert!(unfit.dump.unfit && !unfit.is_good());
    let id = unfit.id.to_string();
    tick();
    let (photo, to) = (format!("files/upload/{ANN}/1.jpg"), home.dir.path().join("to"));
    let to = to.to_str().unwrap();

    assert_eq!(shoebox(&home, &["ls", &id]).ends(0).out, "database/\nusers/\n");
    assert_eq!(shoebox(&home, &["ls", &id, "users"]).ends(0).out, "");
    let place = format!("files/upload/{ANN}");
    assert!(shoebox(&home, &["ls", &id, &place]).ends(1).out.is_empty());
    let found = shoebox(&home, &["find", "--all-snapshots", "*.jpg"]);
    assert!(found.out.is_empty(), "{}", found.out);
    assert!(
        !shoebox(&home, &["restore", "--snapshot", &id, &photo, "--to", to]).ends(1).err.is_empty()
    );
    assert_eq!(fs::read_dir(to).map_or(0, Iterator::count), 0);

    let listed = shoebox(&home, &["ls", "--locked", &id, &place]).ends(0).out;
    assert!(listed.contains("1.jpg"), "{listed}");
    shoebox(&home, &["restore", "--locked", "--snapshot", &id, &photo, "--to", to]).ends(0);
    let restored = walkdir::WalkDir::new(to)
        .into_iter()
        .flatten()
        .find(|entry| entry.file_type().is_file())
        .unwrap();
    assert!(fs::read(restored.path()).unwrap() == noise(1, 10_000));
}

#[test]
fn a_dump_that_root_writes_for_immich_belongs_to_whom_its_folder_belongs_with_the_rights_of_the_folder()
 {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root to give files away");
    }
    let home = home();
    home.backup();
    for (mode, expected) in [(0o755, 0o640), (0o750, 0o640), (0o700, 0o600), (0o777, 0o640)] {
        let folder = home.dir.path().join(format!("backups-{mode:o}"));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        chown(&folder, Some(1234), Some(2345)).unwrap();
        let file =
            database::emit(&home.repository(), "latest", None, &folder, None, &SilentMonitor)
                .unwrap()
                .file;
        let made = file.metadata().unwrap();
        assert_eq!(
            (made.uid(), made.gid(), made.mode() & 0o7777),
            (1234, 2345, expected),
            "{mode:o}"
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
