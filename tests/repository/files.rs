//! Whatever lies in UPLOAD_LOCATION, and whatever happens meanwhile: a file is stored whole, or it
//! is named.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::backup_library::{ANN, Home, dump, noise, odd_tree, set_mtime, text};
use jiff::{SignedDuration, Timestamp};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use shoebox::base::file::FileEntry;
use shoebox::base::monitor::SilentMonitor;
use shoebox::base::{ErrorKind, FilePath, Monitor, Phase, Problem};
use shoebox::catalog::query;
use shoebox::repo::{Repository, SnapshotRecord, StreamReader, WriteSession};
use shoebox::task::backup::{Options, Report, backup};
use shoebox::task::status::{AgeLimits, status};

/// The problems of a report with files, and what they are.
fn problems(report: &Report) -> Vec<(String, String)> {
    let named = |problem: &&Problem| {
        !problem.message.contains("the database names") && problem.subject != "this backup"
    };
    let mut all: Vec<_> = report
        .problems
        .iter()
        .filter(named)
        .map(|p| (p.subject.clone(), p.message.clone()))
        .collect();
    all.sort();
    all
}

/// The file list of a snapshot.
fn listed(home: &Home, record: &SnapshotRecord) -> Vec<FileEntry> {
    use std::io::{BufRead, BufReader};
    let repository = home.repository();
    let contents = repository.contents();
    let db = repository.catalog().unwrap().connect().unwrap();
    let lines = BufReader::new(StreamReader::new(&db, &contents, &record.streams.files)).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

fn names(home: &Home, record: &SnapshotRecord) -> HashSet<Vec<u8>> {
    listed(home, record).into_iter().map(|entry| entry.path.as_bytes().to_vec()).collect()
}

/// The plain bytes of the file at `path` in the newest snapshot, each segment verified.
fn stored(home: &Home, record: &SnapshotRecord, path: &str) -> Vec<u8> {
    let entry = listed(home, record)
        .into_iter()
        .find(|entry| entry.path.as_bytes() == path.as_bytes())
        .unwrap();
    let repository = home.repository();
    let db = repository.catalog().unwrap().connect().unwrap();
    let id = query::content_id(&db, entry.hash.unwrap()).unwrap().unwrap();
    let contents = repository.contents();
    let segments =
        (0..entry.size.div_ceil(1 << 20)).map(|index| contents.segment(&db, id, index).unwrap());
    segments.flat_map(|segment| segment.to_vec()).collect()
}

#[test]
fn odd_files_are_stored_and_what_is_no_file_is_named() {
    let home = Home::new();
    let files = odd_tree(&home);
    let at = |name: &str| home.upload().join("upload").join(name);
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o644.into(), 0)
        .unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let report = home.backup();
    let left_out = |path: &str| {
        let what = "it is a pipe, a socket or a device and was left out";
        (path.to_owned(), format!("{what}; --exclude {path} accepts that"))
    };
    assert_eq!(problems(&report), [left_out("upload/pipe"), left_out("upload/socket")]);
    assert_eq!(report.record.completeness.unreadable, 2);
    let all = names(&home, &report.record);
    assert!(files.iter().all(|path| all.contains(path)));
    assert!(all.contains(&b"library/dangling"[..]) && all.contains(&b"profile/empty folder"[..]));
    // Three markers and two hard links besides; equal files are stored once, and the empty one is a
    // content too.
    assert_eq!(report.record.files.files, files.len() as u64 + 5);
    assert_eq!(report.record.files.new_contents, files.len() as u64 - 1 + 1);
    let again = home.backup();
    assert_eq!((again.unchanged, again.record.files.new_contents), (report.record.files.files, 0));
    assert_eq!(again.record.streams, report.record.streams);
}

#[test]
fn a_hole_of_many_gigabytes_takes_little_time_and_space() {
    let home = Home::new();
    for (name, size, marker) in [("three.tif", 3u64 << 30, b"3"), ("nine.tif", (9 << 30) + 5, b"9")]
    {
        let file = File::create(home.upload().join("upload").join(name)).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(marker, size - 1).unwrap();
    }
    let begun = Instant::now();
    let report = home.backup();
    println!("{:?} for 12 GiB of holes, {} bytes stored", begun.elapsed(), report.grown);
    assert!(report.grown < 4 << 20, "{}", report.grown);
    assert!(begun.elapsed() < Duration::from_secs(240), "{:?}", begun.elapsed());
    let entry = listed(&home, &report.record)
        .into_iter()
        .find(|e| e.path.as_bytes() == b"upload/nine.tif")
        .unwrap();
    assert_eq!(entry.size, (9 << 30) + 5);
    let repository = home.repository();
    let db = repository.catalog().unwrap().connect().unwrap();
    let id = query::content_id(&db, entry.hash.unwrap()).unwrap().unwrap();
    let last = repository.contents().segment(&db, id, 9 << 10).unwrap();
    assert_eq!(last[..], *b"\0\0\0\x009");
    for archive in home.archives() {
        let listed = Command::new("tar").arg("tvf").arg(archive).output().unwrap();
        assert!(listed.status.success() && listed.stderr.is_empty());
    }
    assert_eq!(home.backup().record.files.new_contents, 0);
}

/// Does something at the first news of a file.
struct AtFirstFile<F>(AtomicBool, F);

impl<F: Fn() + Sync> Monitor for AtFirstFile<F> {
    fn begin(&self, _: Phase, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, files: u64, _: u64) {
        if files > 0 && !self.0.swap(true, Ordering::Relaxed) {
            self.1();
        }
    }
    fn problem(&self, _: Problem) {}
}

#[test]
fn a_file_that_keeps_changing_is_named_and_never_stored_half() {
    let home = Home::new();
    // Large enough that it changes during every try, also on a busy machine.
    let grows = home.write(format!("upload/{ANN}/grows.mov"), &noise(1, 100 << 20));
    let shrinks = home.write(format!("upload/{ANN}/shrinks.jpg"), &noise(2, 14 << 20));
    home.write(format!("upload/{ANN}/still.jpg"), &noise(3, 100_000));
    let stop = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = OpenOptions::new().append(true).open(&grows).unwrap();
            let mut size = 14 << 20;
            // It ends by itself, also when the backup has failed.
            while !stop.load(Ordering::Relaxed) && size > 0 {
                file.write_all(b"more").unwrap();
                size -= 1;
                OpenOptions::new().write(true).open(&shrinks).unwrap().set_len(size).unwrap();
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        let report = home.try_backup(&SilentMonitor);
        stop.store(true, Ordering::Relaxed);
        report.unwrap()
    });
    let found = problems(&report);
    assert!(
        found.iter().all(|(_, message)| message == "it kept changing while it was read"),
        "{found:?}"
    );
    let named = |path: &str| found.iter().any(|(subject, _)| subject == path);
    let path = |name: &str| format!("upload/{ANN}/{name}");
    assert!(named(&path("grows.mov")));
    let all = names(&home, &report.record);
    for name in ["grows.mov", "shrinks.jpg", "still.jpg"].map(path) {
        assert_eq!(all.contains(name.as_bytes()), !named(&name), "{name}");
    }
    if !named(&path("shrinks.jpg")) {
        // It held still for as long as one try takes: then it is what it was at that time.
        assert!(noise(2, 14 << 20).starts_with(&stored(
            &home,
            &report.record,
            &path("shrinks.jpg")
        )));
    }
    let next = home.backup();
    assert_eq!(problems(&next), []);
    assert!(stored(&home, &next.record, &path("grows.mov")) == fs::read(grows).unwrap());
}

#[test]
fn a_file_that_vanishes_is_simply_not_there() {
    let home = Home::new();
    for number in 0..200 {
        home.write(format!("upload/{ANN}/{number:03}.jpg"), &noise(number, 20_000));
    }
    let last = home.upload().join(format!("upload/{ANN}/199.jpg"));
    let report =
        home.try_backup(&AtFirstFile(false.into(), || fs::remove_file(&last).unwrap())).unwrap();
    assert_eq!(problems(&report), []);
    assert_eq!(report.record.files.files, 199 + 3);
}

/// Runs `work` without root's right to read everything.
fn unprivileged<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let run = || {
        let mut sets = capabilities(None).unwrap();
        sets.effective &= !(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
        set_capabilities(None, sets).unwrap();
        work()
    };
    // Rights are a thread's own, and threads that it starts have the same.
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_stored() {
    let home = Home::new();
    let secret = home.write(format!("upload/{ANN}/secret.jpg"), b"secret");
    let below = home.write(format!("upload/{ANN}/shut/below.jpg"), b"below");
    home.write(format!("upload/{ANN}/open.jpg"), b"open");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o0)).unwrap();
    fs::set_permissions(below.parent().unwrap(), fs::Permissions::from_mode(0o0)).unwrap();
    let report = unprivileged(|| home.backup());
    fs::set_permissions(below.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    let found = problems(&report);
    let subjects: Vec<_> = found.iter().map(|(subject, _)| subject.clone()).collect();
    assert_eq!(
        subjects,
        [format!("upload/{ANN}/secret.jpg"), format!("upload/{ANN}/shut")],
        "{found:?}"
    );
    assert!(
        found.iter().all(|(_, message)| message.to_lowercase().contains("permission denied")),
        "{found:?}"
    );
    let all = names(&home, &report.record);
    assert!(all.contains(format!("upload/{ANN}/open.jpg").as_bytes()));
    assert!(!all.contains(format!("upload/{ANN}/secret.jpg").as_bytes()));
}

#[test]
fn a_large_file_that_two_people_have_is_stored_once() {
    let home = Home::new();
    for size in [(16 << 20) + 1, (256 << 20) + 1] {
        let bytes = noise(size as u64, size);
        for owner in ["ann", "bo"] {
            home.write(format!("library/{owner}/{size}.mov"), &bytes);
        }
    }
    let report = home.backup();
    for size in [(16 << 20) + 1, (256 << 20) + 1] {
        assert_eq!(home.copies(size), 1, "{size}");
    }
    assert_eq!(report.record.files.new_contents, 3, "the markers are one content");
    assert!(report.grown < 280 << 20);
    let third = home.upload().join("library/third.mov");
    fs::copy(home.upload().join(format!("library/ann/{}.mov", (256 << 20) + 1)), third).unwrap();
    let next = home.backup();
    assert_eq!((next.record.files.new_contents, home.copies((256 << 20) + 1)), (0, 1));
}

#[test]
fn a_file_moved_by_the_storage_template_is_not_stored_again() {
    let home = Home::new();
    for number in 0..30 {
        home.write(format!("upload/{ANN}/{number}.jpg"), &noise(number, 50_000));
    }
    home.write(format!("upload/{ANN}/large.mov"), &noise(99, 17 << 20));
    home.backup();
    fs::create_dir(home.upload().join("library/ann")).unwrap();
    for entry in fs::read_dir(home.upload().join("upload").join(ANN)).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), home.upload().join("library/ann").join(entry.file_name()))
            .unwrap();
    }
    let report = home.backup();
    assert_eq!((report.record.files.new_contents, report.record.files.new_bytes), (0, 0));
    assert_eq!(report.record.files.files, 31 + 3);
    assert!(report.grown < 100_000, "{}", report.grown);
}

/// Asks to stop after so many files.
struct StopAfter(AtomicU64, u64);

impl Monitor for StopAfter {
    fn begin(&self, _: Phase, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, files: u64, _: u64) {
        self.0.fetch_add(files, Ordering::Relaxed);
    }
    fn problem(&self, _: Problem) {}
    fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= self.1
    }
}

#[test]
fn an_interrupted_backup_goes_on_where_it_was() {
    let home = Home::new();
    for number in 0..300 {
        home.write(format!("upload/{ANN}/{number:03}.jpg"), &noise(number, 1 << 20));
    }
    let error = home.try_backup(&StopAfter(0.into(), 290)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(home.repository().snapshot_ids().unwrap(), []);
    assert_eq!(home.archives().len(), 2, "the archive at hand is finished");
    assert_eq!(fs::read_dir(home.repo_path().join("tmp")).unwrap().count(), 0);
    let report = home.backup();
    assert!((285..303).contains(&report.unchanged), "{}", report.unchanged);
    assert_eq!(report.record.files.files, 303);
    assert_eq!(
        report.unchanged + report.record.files.new_contents + 2,
        303,
        "the markers are one content"
    );
    assert_eq!(problems(&report), []);
    let path = format!("upload/{ANN}/000.jpg");
    assert!(stored(&home, &report.record, &path) == noise(0, 1 << 20));
    assert_eq!(home.backup().unchanged, 303);
}

#[test]
fn a_folder_that_is_swapped_for_a_link_while_the_backup_reads_brings_nothing_from_outside() {
    let home = Home::new();
    let outside = tempfile::tempdir().unwrap();
    let photos = |folder: &Path, text: &str| {
        fs::create_dir_all(folder).unwrap();
        (0..200).for_each(|number| {
            fs::write(folder.join(format!("{number}.jpg")), format!("{text} {number}")).unwrap()
        });
    };
    let at = |name: &str| home.upload().join("upload").join(name);
    let (real, aside, link) = (at("zz"), at("aside"), at("link"));
    photos(&real, "inside");
    photos(&outside.path().join("secrets"), "secret");
    std::os::unix::fs::symlink(outside.path().join("secrets"), &link).unwrap();
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let swap = || {
        // It ends by itself, also when the backup has failed.
        while !stop.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(120) {
            fs::rename(&real, &aside).unwrap();
            fs::rename(&link, &real).unwrap();
            fs::rename(&real, &link).unwrap();
            fs::rename(&aside, &real).unwrap();
        }
    };
    let mut reports = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(swap);
        let options = || Options { accept_shrink: true, ..home.options() };
        while reports.len() < 10
            && begun.elapsed() < Duration::from_secs(20)
            && reports.last().is_none_or(Result::is_ok)
        {
            reports.push(backup(&home.repository(), options(), &SilentMonitor));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let reports: Vec<Report> = reports.into_iter().map(Result::unwrap).collect();
    let mut tried = 0;
    for report in &reports {
        for entry in listed(&home, &report.record) {
            let name = String::from_utf8_lossy(entry.path.as_bytes()).into_owned();
            let in_the_folder = ["upload/zz/", "upload/aside/", "upload/link/"]
                .iter()
                .any(|at| name.starts_with(at));
            if in_the_folder && entry.hash.is_some() {
                tried += 1;
                assert!(stored(&home, &report.record, &name).starts_with(b"inside"), "{name}");
            }
        }
    }
    println!("{tried} files in {} snapshots", reports.len());
    assert!(tried > 0);
}

#[test]
fn a_backup_without_descriptors_fails_and_never_leaves_files_out() {
    let mut refused = 0;
    for limit in 12..=24 {
        let home = Home::new();
        (0..60).for_each(|number| {
            drop(home.write(format!("upload/{ANN}/{number:02}.jpg"), &noise(number, 1000)))
        });
        let said = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\""))
            .args([env!("CARGO_BIN_EXE_shoebox"), "backup", "--repository"])
            .args([
                home.repo_path().as_os_str(),
                OsStr::new("--upload-location"),
                home.upload().as_os_str(),
            ])
            .args([OsStr::new("--dump"), home.dump_path().as_os_str()])
            .output()
            .unwrap();
        let said_so = String::from_utf8_lossy(&said.stderr).into_owned();
        let records = home.repository().snapshot_ids().unwrap();
        let files = records
            .iter()
            .map(|id| home.repository().record(*id).unwrap().files.files)
            .collect::<Vec<_>>();
        assert!(files.iter().all(|files| *files == 63), "{limit}: {files:?} {said_so}");
        // Two photos of the dump have no files: such a backup ends with 3.
        assert_eq!(
            said.status.code(),
            Some(if records.is_empty() { 1 } else { 3 }),
            "{limit}: {said_so}"
        );
        refused += u32::from(records.is_empty());
    }
    assert!((1..13).contains(&refused), "{refused} of the limits were too low");
}

#[test]
fn a_file_that_changed_and_kept_its_size_and_time_is_read_again_and_others_are_not() {
    let home = Home::new();
    let path = format!("upload/{ANN}/edited.jpg");
    let place = home.write(&path, &noise(1, 1000));
    home.write(format!("upload/{ANN}/still.jpg"), &noise(2, 1000));
    set_mtime(&place, 1_700_000_000_000_000_000);
    home.backup();
    // As `touch -r`, `rsync -t` and `exiftool -P` leave it.
    fs::write(&place, noise(3, 1000)).unwrap();
    set_mtime(&place, 1_700_000_000_000_000_000);
    let report = home.backup();
    assert!(stored(&home, &report.record, &path) == noise(3, 1000));
    assert_eq!(report.unchanged, 4, "the markers and the other photo");
    assert_eq!(home.backup().unchanged, 5);
}

#[test]
fn what_a_program_writes_through_a_mapping_while_the_backup_runs_is_stored_by_the_next_one() {
    let home = Home::new();
    let path = format!("upload/{ANN}/mapped.jpg");
    let place = home.write(&path, &[0; 4096]);
    let program = "import mmap, sys\nf = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), \
        4096); m[0:4] = b'AAAA'\n\
                   print('ready', flush=True); sys.stdin.readline(); m[0:4] = b'BBBB'; m.flush()";
    let mut writer = Command::new("python3")
        .args(["-c", program])
        .arg(&place)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut ready).unwrap();
    home.backup();
    writer.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(writer.wait().unwrap().success());
    let report = home.backup();
    assert_eq!(stored(&home, &report.record, &path)[..4], *b"BBBB");
}

#[test]
fn a_file_that_changes_twice_in_a_second_on_a_disk_that_counts_seconds_is_read_again() {
    let home = Home::new();
    let (image, disk) = (home.dir.path().join("image"), home.upload().join("profile"));
    File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let done = |program: &str, arguments: &[&OsStr]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let is_made = done(
        "mkfs.ext4",
        &["-q", "-F", "-I", "128"]
            .map(OsStr::new)
            .iter()
            .copied()
            .chain([image.as_os_str()])
            .collect::<Vec<_>>(),
    );
    if !is_made
        || !done(
            "mount",
            &[OsStr::new("-o"), OsStr::new("loop"), image.as_os_str(), disk.as_os_str()],
        )
    {
        println!("skipped: a disk that counts seconds cannot be mounted here");
        return;
    }
    let (path, place) = ("profile/rating.xmp", disk.join("rating.xmp"));
    let begun = jiff::Timestamp::now().subsec_nanosecond();
    std::thread::sleep(Duration::from_nanos(1_020_000_000 - u64::from(begun.unsigned_abs())));
    fs::write(&place, "rating=1").unwrap();
    home.backup();
    fs::write(&place, "rating=5").unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let report = home.backup();
    let read = stored(&home, &report.record, path);
    let again = home.backup();
    assert!(done("umount", &[disk.as_os_str()]));
    assert_eq!((read.as_slice(), again.unchanged), (&b"rating=5"[..], again.record.files.files));
}

/// A file system of its own with a size; unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None`, with a word about it, where this may not be done.
    fn mount(at: &Path, size: &str) -> Option<Tmpfs> {
        fs::create_dir(at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .output();
        if done.is_ok_and(|output| output.status.success()) {
            return Some(Tmpfs(at.to_owned()));
        }
        println!("skipped: no file system can be mounted here");
        None
    }

    fn resize(&self, size: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_harms_nothing_and_the_next_run_goes_on() {
    let home = Home::new();
    home.write(format!("upload/{ANN}/first.jpg"), &noise(1, 3 << 20));
    fs::remove_dir_all(home.repo_path()).unwrap();
    let Some(disk) = Tmpfs::mount(&home.repo_path(), "16m") else { return };
    Repository::create(&home.repo_path()).unwrap();
    let first = home.backup().record;
    for number in 0..40 {
        home.write(format!("upload/{ANN}/{number}.jpg"), &noise(number + 50, 1 << 20));
    }
    home.write(format!("upload/{ANN}/large.mov"), &noise(99, 20 << 20));
    let error = home.try_backup(&SilentMonitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert!(error.next_step().is_some());
    assert_eq!(home.repository().snapshot_ids().unwrap(), [first.id]);
    let path = format!("upload/{ANN}/first.jpg");
    assert!(stored(&home, &first, &path) == noise(1, 3 << 20));
    assert_eq!(
        fs::read_dir(home.repo_path().join("tmp")).unwrap().count(),
        0,
        "what was begun is gone"
    );
    disk.resize("200m");
    let second = home.backup();
    assert_eq!((problems(&second), second.record.files.new_contents), (vec![], 41));
    assert!(
        stored(&home, &second.record, &format!("upload/{ANN}/large.mov")) == noise(99, 20 << 20)
    );
    assert!(stored(&home, &first, &path) == noise(1, 3 << 20));
}

#[test]
fn a_first_backup_that_cannot_fit_is_refused_before_it_writes_and_doctor_and_status_say_it_too() {
    let home = Home::new();
    for number in 0..6 {
        home.write(format!("upload/{ANN}/{number}.jpg"), &noise(number, 4 << 20));
    }
    let one = home.upload().join(format!("upload/{ANN}/0.jpg"));
    fs::hard_link(&one, home.upload().join("library/linked.jpg")).unwrap();
    fs::remove_dir_all(home.repo_path()).unwrap();
    let Some(disk) = Tmpfs::mount(&home.repo_path(), "16m") else { return };
    Repository::create(&home.repo_path()).unwrap();
    let free = home.repository().free_space().unwrap();
    let error = home.try_backup(&SilentMonitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    let text = error.to_string();
    assert!(
        text.ends_with("free on the repository's disk; the next backup needs up to 25.17 MB"),
        "{text}"
    );
    assert!(error.next_step().unwrap().contains("--accept-little-space"));
    assert_eq!(fs::read_dir(home.repo_path().join("archives")).map_or(0, Iterator::count), 0);
    assert!(home.repository().free_space().unwrap() + (1 << 20) > free);

    // Who insists gets what fits, and the next run has less to store.
    let insisting = || Options { accept_little_space: true, ..home.options() };
    assert_eq!(
        backup(&home.repository(), insisting(), &SilentMonitor).unwrap_err().kind(),
        ErrorKind::NoSpace
    );
    disk.resize("28m");
    let first = home.backup();
    assert_eq!(problems(&first), []);

    // Later nights are measured by those before them.
    home.write(format!("upload/{ANN}/second.jpg"), &noise(60, 200_000));
    home.backup();
    let red = || {
        let limits = AgeLimits {
            snapshot: SignedDuration::from_hours(48),
            verified: SignedDuration::from_hours(9000),
        };
        let found = status(&home.repository(), limits, Timestamp::now()).unwrap().findings;
        found
            .into_iter()
            .filter(|it| it.what.contains("free on the repository's disk"))
            .map(|it| it.red)
            .next()
    };
    assert_eq!(red(), None);
    let left = home.repository().free_space().unwrap();
    let other = File::create(home.repo_path().join("other")).unwrap();
    rustix::fs::fallocate(&other, rustix::fs::FallocateFlags::empty(), 0, left - 8192).unwrap();
    assert_eq!(red(), Some(true));
}

#[test]
fn a_dump_that_does_not_fit_is_no_space_either() {
    let home = Home::new();
    home.write_dump(&dump(60_000, 0));
    fs::remove_dir_all(home.repo_path()).unwrap();
    let Some(_disk) = Tmpfs::mount(&home.repo_path(), "3m") else { return };
    Repository::create(&home.repo_path()).unwrap();
    let error = home.try_backup(&SilentMonitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
}

#[test]
fn a_repository_in_use_names_its_holder() {
    let home = Home::new();
    let repository = home.repository();
    let session = WriteSession::begin(&repository, "backup", &SilentMonitor).unwrap();
    let error = home.try_backup(&SilentMonitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    let holder = format!("`backup` on {} (process {})", Repository::host(), std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
    drop(session);
    home.backup();
}

/// What the catalog says, table by table, in names rather than rows.
fn answers(home: &Home) -> Vec<(String, Vec<String>)> {
    const PLACES: &str = "WITH RECURSIVE place (id, path) AS (SELECT 0, '' UNION ALL
        SELECT f.id, place.path || '/' || hex(f.name) FROM folder f JOIN place ON f.parent = \
        place.id AND f.id <> 0)";
    let file = "(SELECT p.path || '/' || hex(f.name) || f.since FROM file f JOIN place p ON p.id = \
        f.folder WHERE f.row = a.file)";
    let content = "(SELECT hash FROM content c WHERE c.id = a.content)";
    let archive = "(SELECT name FROM archive r WHERE r.id = a.archive)";
    let mut questions = vec![
        ("meta".to_owned(), "SELECT value FROM meta WHERE key <> 'lineage'".to_owned()),
        ("snapshot".to_owned(), "SELECT * FROM snapshot".to_owned()),
        ("archive".to_owned(), "SELECT name, size, hash FROM archive".to_owned()),
        (
            "content".to_owned(),
            format!(
                "SELECT hash, sha1, size, {archive}, offset, stored, frames, tree FROM content a"
            ),
        ),
        (
            "chunk".to_owned(),
            format!("SELECT hash, size, {archive}, offset, stored, keys FROM chunk a"),
        ),
        ("folder".to_owned(), format!("{PLACES} SELECT path FROM place")),
        (
            "file".to_owned(),
            format!(
                "{PLACES} SELECT p.path, a.name, since, until, kind, size, mtime, mode, uid, gid, \
                    {content}, d.path, target, link
                 FROM file a JOIN place p ON p.id = a.folder LEFT JOIN place d ON d.id = a.child"
            ),
        ),
        (
            "asset_file".to_owned(),
            format!(
                "{PLACES} SELECT asset, part, since, until, {content}, \
            size, {file}, moved FROM asset_file a"
            ),
        ),
    ];
    let db = home.repository().catalog().unwrap().connect().unwrap();
    for table in [
        "user",
        "asset",
        "album",
        "album_user",
        "album_asset",
        "person",
        "person_asset",
        "stack",
        "tag",
        "tag_asset",
        "external_library",
    ] {
        let columns: String = db
            .query_row(
                "SELECT group_concat(name) FROM pragma_table_info(?1) WHERE name <> 'row'",
                [table],
                |row| row.get(0),
            )
            .unwrap();
        questions.push((table.to_owned(), format!("SELECT {columns} FROM {table}")));
    }
    let ask = |(table, sql): (String, String)| {
        let mut statement = db.prepare(&sql).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let values = (0..columns).map(|column| {
                row.get::<_, rusqlite::types::Value>(column).map(|value| format!("{value:?}"))
            });
            Ok(values.collect::<rusqlite::Result<Vec<_>>>()?.join(" "))
        };
        let mut rows: Vec<String> =
            statement.query_map((), row).unwrap().map(Result::unwrap).collect();
        rows.sort();
        (table, rows)
    };
    questions.into_iter().map(ask).collect()
}

fn assert_rebuilt_alike(home: &Home) {
    let before = answers(home);
    assert!(before.iter().filter(|(_, rows)| !rows.is_empty()).count() >= 10);
    drop(WriteSession::rebuild(&home.repository(), &SilentMonitor).unwrap());
    for ((table, was), (_, is)) in before.iter().zip(answers(home)) {
        assert_eq!(*was, is, "{table}");
    }
}

/// A few nights in which everything changes.
fn eventful(home: &Home) {
    odd_tree(home);
    home.write(format!("upload/{ANN}/1.jpg"), &noise(1, 1000));
    home.write_dump(&dump(10_000, 0));
    home.backup();
    let upload = home.upload();
    fs::rename(upload.join(format!("upload/{ANN}/1.jpg")), upload.join("library/ann/1.jpg"))
        .unwrap();
    home.write_dump(&dump(10_000, 1).replace("\tRome", "\tRoma").replace("Ann Lee", "Ann Li"));
    home.backup();
    fs::remove_file(upload.join(format!("upload/{ANN}/2.jpg"))).unwrap();
    let long = upload.join(format!("library/{}", "d".repeat(200)));
    fs::set_permissions(&long, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(&long).unwrap();
    home.write(format!("library/{}", "d".repeat(200)), b"a file now");
    set_mtime(&upload.join("library/ann/old.jpg"), 5);
    let text = dump(10_000, 2);
    let second =
        text.lines().find(|line| line.starts_with("00000002-1111")).unwrap().to_owned() + "\n";
    home.write_dump(&text.replacen(&second, "", 1));
    home.backup();
    fs::rename(upload.join("library/ann/1.jpg"), upload.join(format!("upload/{ANN}/1.jpg")))
        .unwrap();
    home.write_dump(&text);
    home.backup();
}

#[test]
fn a_rebuilt_catalog_answers_as_the_lost_one_did() {
    let home = Home::new();
    eventful(&home);
    assert_rebuilt_alike(&home);
    home.backup();
    assert_rebuilt_alike(&home);
}

#[test]
fn a_missing_or_broken_catalog_is_built_again_by_the_next_backup() {
    let home = Home::new();
    eventful(&home);
    let files = home.backup().record.files.files;
    for harm in [
        |path: &Path| fs::remove_file(path).unwrap(),
        |path: &Path| fs::write(path, "no catalog").unwrap(),
    ] {
        let before = answers(&home);
        harm(&home.repo_path().join("catalog.sqlite"));
        assert!(
            home.repository()
                .catalog()
                .unwrap_err()
                .next_step()
                .unwrap()
                .contains("repair catalog")
        );
        drop(WriteSession::begin(&home.repository(), "check", &SilentMonitor).unwrap());
        assert!(answers(&home) == before);
        let report = home.backup();
        assert_eq!((report.unchanged, report.record.files.new_contents), (files, 0));
    }
}

#[test]
fn a_catalog_that_an_update_left_behind_is_no_alarm_and_the_next_backup_rebuilds_it() {
    let home = Home::new();
    home.write(format!("upload/{ANN}/1.jpg"), &noise(1, 1000));
    home.backup();
    let before = answers(&home);
    // Version 2 had no seal; one after it has.
    for is_sealed in [false, true] {
        let catalog = home.repo_path().join("catalog.sqlite");
        let db = rusqlite::Connection::open(&catalog).unwrap();
        db.pragma_update(None, "user_version", 2).unwrap();
        let pages: u64 = db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        drop(db);
        File::options().write(true).open(&catalog).unwrap().set_len(pages * 4096).unwrap();
        if is_sealed {
            shoebox::catalog::seal(&catalog).unwrap();
        }
        let limits = AgeLimits {
            snapshot: SignedDuration::from_hours(48),
            verified: SignedDuration::from_hours(9000),
        };
        let found = status(&home.repository(), limits, Timestamp::now()).unwrap().findings;
        let found: Vec<_> = found.into_iter().filter(|it| it.what.contains("catalog")).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            !found[0].red && found[0].what.ends_with("schema version 2, this shoebox uses 3"),
            "{found:?}"
        );
        assert!(found[0].next.starts_with("the next backup rebuilds it"), "{found:?}");
        drop(WriteSession::begin(&home.repository(), "backup", &SilentMonitor).unwrap());
        assert!(answers(&home) == before);
    }
}

#[test]
fn a_very_long_line_of_a_list_does_not_stop_a_backup() {
    let home = Home::new();
    let long = "x".repeat(5 << 20);
    let name = |night: u64| dump(100, night).replace("Ann Lee", &format!("Ann {night} {long}"));
    for night in 0..2 {
        home.write_dump(&name(night));
        home.backup();
    }
    assert_rebuilt_alike(&home);
}

#[test]
fn a_backup_of_text_shrinks_and_comes_back() {
    let home = Home::new();
    let path = FilePath::new(format!("upload/{ANN}/a.dng")).unwrap();
    home.write(OsStr::from_bytes(path.as_bytes()), &text(40 << 20));
    let report = home.backup();
    assert!(report.grown < 8 << 20, "{}", report.grown);
    assert!(stored(&home, &report.record, path.as_str().unwrap()) == text(40 << 20));
}

#[test]
fn a_lost_archive_is_made_good_by_the_next_backup() {
    for lost in [0, 1] {
        let home = Home::new();
        home.write(format!("upload/{ANN}/1.jpg"), &noise(1, 1000));
        home.write_dump(&dump(60_000, 0));
        home.backup();
        home.write(format!("upload/{ANN}/2.jpg"), &noise(2, 1000));
        home.write_dump(&dump(60_000, 1));
        home.backup();
        fs::remove_file(&home.archives()[lost]).unwrap();
        let report = home.backup();
        assert_eq!(report.record.number, 3);
        assert!(stored(&home, &report.record, &format!("upload/{ANN}/1.jpg")) == noise(1, 1000));
        assert!(stored(&home, &report.record, &format!("upload/{ANN}/2.jpg")) == noise(2, 1000));
        let folder = home.dir.path().join("recovered");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/recover");
        let output = Command::new(script).arg(home.repo_path()).arg(&folder).output().unwrap();
        assert!(
            output.status.success(),
            "archive {lost}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            fs::read(folder.join("database/immich.sql")).unwrap() == dump(60_000, 1).as_bytes()
        );
        assert_eq!(home.backup().record.number, 4);
        assert_rebuilt_alike(&home);
    }
}
