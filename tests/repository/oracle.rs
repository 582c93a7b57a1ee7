//! Programs that know nothing of shoebox compare the mount with the folder that was backed up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::backup_library::{Home, dump, odd_tree};
use crate::support::shared;
use shoebox::base::monitor::SilentMonitor;
use shoebox::mount::{self, MountedView};
use shoebox::task::backup::{DumpSource, Options, backup};
use shoebox::task::open::open_view;
use shoebox::view;

/// A library, backed up and mounted.
struct Shown {
    /// Holds everything, and the repository.
    home: Home,
    /// UPLOAD_LOCATION.
    source: PathBuf,
    point: PathBuf,
    _mount: MountedView,
}

/// The originals.
const FOLDERS: [&str; 3] = ["upload", "library", "profile"];

/// One with everything odd.
fn odd() -> Shown {
    let home = Home::new();
    odd_tree(&home);
    home.write_dump(&dump(10, 0));
    let source = home.upload();
    shown(home, source, None)
}

/// That, and those of real servers where there are some.
fn libraries() -> Vec<Shown> {
    let mut all = vec![odd()];
    let Some(shared) = shared() else {
        println!("no real libraries here: only the one that is made");
        return all;
    };
    for state in ["state-1", "state-2", "old-1"] {
        let (home, state) = (Home::new(), shared.join("immich").join(state));
        let folder = home.dir.path().join("tar");
        fs::create_dir(&folder).unwrap();
        agrees(
            "tar",
            &[
                &"--warning=no-timestamp",
                &"-xf",
                &state.join("upload-location.tar"),
                &"-C",
                &folder,
            ],
        );
        let marked = |entry: &walkdir::DirEntry| entry.path().join("upload/.immich").is_file();
        let source =
            walkdir::WalkDir::new(&folder).into_iter().flatten().find(marked).unwrap().into_path();
        all.push(shown(home, source, Some(state.join("pg_dump-immich.sql"))));
    }
    all
}

fn shown(home: Home, source: PathBuf, dump: Option<PathBuf>) -> Shown {
    let dump = DumpSource::File(dump.unwrap_or_else(|| home.dump_path()));
    let options = Options { upload_location: source.clone(), dump, ..home.options() };
    let unreadable =
        backup(&home.repository(), options, &SilentMonitor).unwrap().record.completeness.unreadable;
    assert_eq!(unreadable, 0);
    let point = home.dir.path().join("mount");
    fs::create_dir(&point).unwrap();
    let view =
        open_view(&home.repository(), view::Options { locked: true, ..view::Options::default() })
            .unwrap();
    let mount = MountedView::start(view, &point, &mount::Options::default()).unwrap();
    Shown { home, source, point, _mount: mount }
}

impl Shown {
    fn files(&self) -> PathBuf {
        self.point.join("latest/files")
    }

    fn folders(&self) -> Vec<&'static str> {
        FOLDERS.into_iter().filter(|name| self.source.join(name).is_dir()).collect()
    }
}

/// Runs `program`; it must end well and say nothing.
#[track_caller]
fn agrees(program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let output = Command::new(program)
        .args(arguments.iter().map(AsRef::as_ref))
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let said = [output.stdout.clone(), output.stderr.clone()].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{program}: {}",
        String::from_utf8_lossy(&said)
    );
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
    for shown in libraries() {
        let (source, files) = (&shown.source, shown.files());
        for name in shown.folders() {
            let (there, here) = (source.join(name).join("."), files.join(name).join("."));
            agrees("diff", &[&"-r", &"--no-dereference", &there, &here]);
            for (from, to) in [(&there, &here), (&here, &there)] {
                agrees(
                    "rsync",
                    &[&"-rlptgoc", &"--delete", &"--dry-run", &"--itemize-changes", from, to],
                );
            }
        }
        // Packed from one side, compared with the other.
        for (from, to) in [(source, &files), (&files, source)] {
            let compare = format!(
                "tar --create --hard-dereference --file - {} | tar --compare --file - --directory \
                    '{}'",
                shown.folders().join(" "),
                to.display()
            );
            let differences =
                format!("{compare} 2>&1 | grep -v 'Not linked to\\|implausibly old' || true");
            assert_eq!(shell(&differences, from), "");
        }
    }
}

#[test]
fn hashes_sizes_and_attributes_agree() {
    for shown in libraries() {
        let (source, files, folders) = (&shown.source, &shown.files(), shown.folders().join(" "));
        let hash = format!("find {folders} -type f -print0 | sort -z | xargs -0 sha1sum -b");
        assert_eq!(shell(&hash, source), shell(&hash, files));
        let sums = shown.home.dir.path().join("sums");
        shell(&format!("{hash} > '{}'", sums.display()), source);
        shell(&format!("sha1sum --check --strict --quiet '{}'", sums.display()), files);
        // Folders have their own sizes on every file system, and hard links are files of their own
        // here.
        let list = format!(
            "find {folders} -mindepth 1 \\( -type d -printf '%p %y %m %T@ %U %G\\n' -o -printf '%p \
                %y %s %m %T@ %U %G %l\\n' \\) | sort"
        );
        assert_eq!(shell(&list, source), shell(&list, files));
        let sizes =
            "find . -type f -printf '%s %b\\n' | awk '{ if ($2 != int(($1 + 511) / 512)) print }'";
        assert_eq!(shell(sizes, files), "");
        let apparent = format!(
            "find {folders} -type f -print0 | sort -z | du --files0-from=- --apparent-size \
                --count-links --block-size=1"
        );
        assert_eq!(shell(&apparent, source), shell(&apparent, files));
        // What it takes up is what its blocks say.
        let blocks =
            "find . ! -type d -printf '%b\\n' | awk '{ all += $1 } END { print all * 512 }'";
        let taken = "du --block-size=1 --summarize --count-links . | cut -f1";
        assert_eq!(shell(blocks, files), shell(taken, files));
    }
}

/// Compares a file with its original, block by block in four random orders at once, half of them
/// through a mapping.
const FOUR_READERS: &str = "
import mmap, os, random, sys
from concurrent.futures import ThreadPoolExecutor

shown, original = (os.open(path, os.O_RDONLY) for path in sys.argv[1:])
size, block = os.stat(original).st_size, 64 << 10
mapped = mmap.mmap(shown, size, prot=mmap.PROT_READ)

def read(seed):
    places = list(range(0, size, block))
    random.Random(seed).shuffle(places)
    for at in places:
        found = mapped[at:at + block] if seed % 2 else os.pread(shown, block, at)
        assert found == os.pread(original, block, at), at
    return len(places)

print(sum(ThreadPoolExecutor(4).map(read, range(4))))
";

#[test]
fn four_readers_at_random_and_by_mmap_find_what_was_written() {
    let home = Home::new();
    for name in ["1.jpg", "2.jpg"] {
        home.write(
            format!("upload/{}/{name}", crate::backup_library::ANN),
            b"a photo that the dump names",
        );
    }
    let source = home.upload();
    let original = source.join("library/pattern.bin");
    shell("head -c 25000001 /dev/urandom > pattern.bin", &source.join("library"));
    let shown = shown(home, source, None);
    let file = shown.files().join("library/pattern.bin");
    let script = format!(
        "python3 - '{}' '{}' << 'END'{FOUR_READERS}END",
        file.display(),
        original.display()
    );
    assert_eq!(shell(&script, shown.home.dir.path()).trim(), "1528");
}

#[test]
fn a_photo_comes_out_by_every_program_that_people_use() {
    let shown = odd();
    let ann = format!("upload/{}", crate::backup_library::ANN);
    let (photo, original) = (
        shown.files().join(&ann).join("2.jpg"),
        fs::read(shown.source.join(&ann).join("2.jpg")).unwrap(),
    );
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
        shell(
            &format!("gio info --attributes standard::size,time::modified '{}'", photo.display()),
            &out
        )
        .contains("3500000")
    );
    assert!(
        shell(&format!("gio list --long '{}'", photo.parent().unwrap().display()), &out)
            .contains("2.jpg")
    );
}
