//! What is written out of a repository fits the disk and the person that it is written for.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::backup_library::{Home, dump};
use crate::support::{Said, is_root};
use assert_cmd::cargo::CommandCargoExt;

fn shoebox(home: &Home, arguments: &[&str]) -> Said {
    let mut command = Command::cargo_bin("shoebox").unwrap();
    Said::of(
        command.arg("-r").arg(home.repo_path()).args(arguments).env("SHOEBOX_CONFIG", "/dev/null"),
    )
}

fn recover(home: &Home, to: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/recover");
    crate::support::run(
        Command::new(script).arg(home.repo_path()).args(["latest".as_ref(), to.as_os_str()]),
    );
}

#[test]
fn a_sparse_file_stays_sparse_whichever_way_it_comes_back() {
    const SIZE: u64 = 300 << 20;
    let home = Home::new();
    let original = home.write("library/sparse.raw", b"begin");
    let file = fs::File::options().write(true).open(&original).unwrap();
    file.write_all_at(b"middle", SIZE / 2 + 777).unwrap();
    file.set_len(SIZE).unwrap();
    home.write("library/dense.raw", &[7; 200_000]);
    home.write_dump(&dump(0, 0));
    home.backup();
    let to = |name: &str| home.dir.path().join(name);
    shoebox(&home, &["restore", "--all", "--to", to("all").to_str().unwrap()]).ends(0);
    shoebox(&home, &["restore", "files/library/sparse.raw", "--to", to("one").to_str().unwrap()])
        .ends(0);
    recover(&home, &to("recovered"));
    let found = |folder: &str| {
        let all = walkdir::WalkDir::new(to(folder)).into_iter().flatten();
        all.into_iter().find(|entry| entry.file_name() == "sparse.raw").unwrap().into_path()
    };
    let whole = fs::read(&original).unwrap();
    for folder in ["all", "one", "recovered"] {
        let back = found(folder);
        assert!(fs::read(&back).unwrap() == whole, "{folder}");
        let taken = fs::metadata(&back).unwrap().blocks() * 512;
        assert!(taken < 4 << 20, "{folder}: {taken} bytes of the disk");
    }
    assert_eq!(fs::read(to("all/library/dense.raw")).unwrap(), [7; 200_000]);
}

#[test]
fn nobody_gets_a_file_that_runs_as_somebody_else() {
    let home = Home::new();
    let file = home.write("library/ann/program.jpg", b"#!/bin/sh\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(0o3775)).unwrap();
    home.write_dump(&dump(0, 0));
    home.backup();
    let to = |name: &str| home.dir.path().join(name);
    shoebox(&home, &["restore", "--all", "--to", to("all").to_str().unwrap()]).ends(0);
    recover(&home, &to("recovered"));
    for entry in [to("all"), to("recovered")].iter().flat_map(walkdir::WalkDir::new).flatten() {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        match entry.file_name().to_str().unwrap() {
            "program.jpg" => assert_eq!(mode, 0o755, "{}", entry.path().display()),
            "ann" => assert_eq!(mode, 0o3775, "{}", entry.path().display()),
            _ => assert_eq!(mode & 0o6000, 0, "{}", entry.path().display()),
        }
    }
}

#[test]
fn what_root_restores_into_a_persons_folder_belongs_to_that_person() {
    if !is_root() {
        println!("skipped: only root restores for others");
        return;
    }
    const ANNA: (u32, u32) = (4242, 4343);
    let home = Home::new();
    for name in ["library/ann/a.jpg", "library/ann/b.jpg"] {
        home.write(name, name.as_bytes());
    }
    symlink("a.jpg", home.upload().join("library/ann/link.jpg")).unwrap();
    home.write_dump(&dump(0, 0));
    home.backup();
    let of_anna = home.dir.path().join("anna");
    fs::create_dir(&of_anna).unwrap();
    chown(&of_anna, Some(ANNA.0), Some(ANNA.1)).unwrap();
    let below = of_anna.join("new folder/back");
    shoebox(&home, &["restore", "files/library/ann", "--to", below.to_str().unwrap()]).ends(0);
    let made: Vec<_> = walkdir::WalkDir::new(&of_anna).into_iter().flatten().collect();
    assert!(made.len() >= 6, "{made:?}");
    for entry in made {
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        assert_eq!((meta.uid(), meta.gid()), ANNA, "{}", entry.path().display());
    }
    // A folder of root's stays root's, and a whole library keeps the owners that it had.
    let of_root = home.dir.path().join("root");
    shoebox(&home, &["restore", "files/library/ann", "--to", of_root.to_str().unwrap()]).ends(0);
    let all = of_anna.join("all");
    shoebox(&home, &["restore", "--all", "--to", all.to_str().unwrap()]).ends(0);
    for file in walkdir::WalkDir::new(&of_root)
        .into_iter()
        .chain(walkdir::WalkDir::new(all.join("library")))
        .flatten()
    {
        assert_eq!(
            fs::symlink_metadata(file.path()).unwrap().uid(),
            0,
            "{}",
            file.path().display()
        );
    }
}
