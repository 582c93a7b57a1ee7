//! Programs that know nothing of shoebox compare the mount with the folder that was backed up.

mod backup_library;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use backup_library::{Home, dump, odd_tree};
use shoebox::mount::{self, Mount};
use shoebox::task::open::open_view;
use shoebox::view;

/// A library with everything odd, backed up and mounted.
struct Shown {
    home: Home,
    point: PathBuf,
    _mount: Mount,
}

fn odd() -> Shown {
    shown(|home| {
        odd_tree(home);
        home.write_dump(&dump(10, 0));
    })
}

fn shown(fill: impl FnOnce(&Home)) -> Shown {
    let home = Home::new();
    fill(&home);
    assert_eq!(home.backup().problems, []);
    let point = home.dir.path().join("mount");
    fs::create_dir(&point).unwrap();
    let view = open_view(&home.repository(), view::Options::default()).unwrap();
    let mount = Mount::start(view, &point, &mount::Options::default()).unwrap();
    Shown { home, point, _mount: mount }
}

impl Shown {
    fn files(&self) -> PathBuf {
        self.point.join("latest/files")
    }

    fn source(&self) -> PathBuf {
        self.home.upload()
    }
}

/// Runs `program`; it must end well and say nothing.
#[track_caller]
fn agrees(program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let output = Command::new(program).args(arguments.iter().map(AsRef::as_ref)).env("LC_ALL", "C").output().unwrap();
    let said = [output.stdout.clone(), output.stderr.clone()].concat();
    assert!(output.status.success() && said.is_empty(), "{program}: {}", String::from_utf8_lossy(&said));
    output
}

fn shell(script: &str, folder: &Path) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn diff_rsync_and_tar_find_no_difference_between_mount_and_disk() {
    let shown = odd();
    let (source, files) = (shown.source(), shown.files());
    for name in ["upload", "library", "profile"] {
        let (there, here) = (source.join(name).join("."), files.join(name).join("."));
        agrees("diff", &[&"-r", &"--no-dereference", &there, &here]);
        for (from, to) in [(&there, &here), (&here, &there)] {
            agrees("rsync", &[&"-rlptgoc", &"--delete", &"--dry-run", &"--itemize-changes", from, to]);
        }
    }
    let compare = format!(
        "tar --create --hard-dereference --file - upload library profile | tar --compare --file - --directory '{}'",
        source.display()
    );
    assert_eq!(shell(&format!("{compare} 2>&1 | grep -v 'Not linked to\\|implausibly old' || true"), &files), "");
}

#[test]
fn hashes_sizes_and_attributes_agree() {
    let shown = odd();
    let hash = "find . -type f -print0 | sort -z | xargs -0 sha1sum -b";
    assert_eq!(shell(hash, &shown.source()), shell(hash, &shown.files()));
    // Folders have their own sizes on every file system, and hard links are files of their own here.
    let list = "find . -mindepth 1 \\( -type d -printf '%P %y %m %T@ %U %G\\n' -o -printf '%P %y %s %m %T@ %U %G %l\\n' \\) | sort";
    assert_eq!(shell(list, &shown.source()), shell(list, &shown.files()));
    let sizes = "find . -type f -printf '%s %b\\n' | awk '{ if ($2 != int(($1 + 511) / 512)) print }'";
    assert_eq!(shell(sizes, &shown.files()), "");
    let apparent = "du --apparent-size --count-links --block-size=1 library/ann/* | cut -f1";
    assert_eq!(shell(apparent, &shown.source()), shell(apparent, &shown.files()));
}

#[test]
fn fio_verifies_what_it_wrote_with_four_readers_and_by_mmap() {
    let shown = shown(|home| {
        for name in ["1.jpg", "2.jpg"] {
            home.write(format!("upload/{}/{name}", backup_library::ANN), b"a photo that the dump names");
        }
        let folder = home.upload().join("library");
        shell(
            "fio --name=w --filename=pattern.bin --rw=write --bs=64k --size=24m --verify=crc32c --do_verify=0 --minimal",
            &folder,
        );
    });
    let scratch = tempfile::tempdir().unwrap();
    for engine in ["psync", "mmap"] {
        let file = shown.files().join("library/pattern.bin");
        let script = format!(
            "fio --name=r --readonly --filename='{}' --rw=randread --bs=64k --size=24m --verify=crc32c --verify_fatal=1 \
             --numjobs=4 --ioengine={engine} --minimal",
            file.display()
        );
        shell(&script, scratch.path());
    }
}

#[test]
fn a_photo_comes_out_by_every_program_that_people_use() {
    let shown = odd();
    let ann = format!("upload/{}", backup_library::ANN);
    let (photo, original) =
        (shown.files().join(&ann).join("2.jpg"), fs::read(shown.source().join(&ann).join("2.jpg")).unwrap());
    let out = shown.home.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let take = |script: &str| {
        let script = script.replace("PHOTO", &format!("'{}'", photo.display()));
        shell(&format!("rm -f 2.jpg; {script}"), &out);
        assert!(fs::read(out.join("2.jpg")).unwrap() == original, "{script}");
    };
    take("cp -a PHOTO .");
    take("rsync -a PHOTO .");
    take("tar -C \"$(dirname PHOTO)\" -cf - 2.jpg | tar -xf -");
    take("dd if=PHOTO of=2.jpg bs=37k status=none");
    take("find \"$(dirname PHOTO)\" -name 2.jpg -exec cp {} . \\;");
    take("gio copy PHOTO 2.jpg");
    take("python3 -c 'import shutil, sys; shutil.copy2(sys.argv[1], \".\")' PHOTO");
    assert!(
        shell(&format!("gio info --attributes standard::size,time::modified '{}'", photo.display()), &out)
            .contains("3500000")
    );
    assert!(shell(&format!("gio list --long '{}'", photo.parent().unwrap().display()), &out).contains("2.jpg"));
}
