//! Checking: what is sound passes, and every kind of damage to every kind of file is found and
//! named.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::backup_library::{ANN, Home, dump, noise};
use shoebox::base::ErrorKind;
use shoebox::base::monitor::{Monitor, Phase, Problem, ProblemCollector, SilentMonitor};
use shoebox::base::stored::IndexLine;
use shoebox::repo::prune::Options as Pruning;
use shoebox::task::check::{CheckExtent, CheckFinding, Report, SnapshotPart, check};
use shoebox::task::forget::{self, ForgetChoice, forget};
use shoebox::task::prune::prune;

/// Three nights: photos come, the dump changes.
fn nights() -> Home {
    let home = Home::new();
    for night in 0..3 {
        home.write(format!("upload/{ANN}/{}.jpg", night + 1), &noise(night + 1, 200_000));
        home.write(format!("library/loose-{night}.jpg"), &noise(night + 40, 90_000));
        home.write_dump(&dump(20_000, night));
        home.backup();
    }
    home
}

fn checked(home: &Home, extent: CheckExtent) -> Report {
    check(&home.repository(), extent, &SilentMonitor).unwrap()
}

fn findings(home: &Home) -> Vec<CheckFinding> {
    checked(home, CheckExtent::All).findings
}

/// The archive that holds the content whose path ends in `name`, and where its bytes are.
fn place(home: &Home, name: &str) -> (PathBuf, usize, usize) {
    let found = home.lines().into_iter().find_map(|(archive, line)| match line {
        IndexLine::Content(line) if line.path.as_bytes().ends_with(name.as_bytes()) => {
            Some((archive, line.offset as usize, line.stored as usize))
        }
        _ => None,
    });
    found.unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Stops once so many archives were read.
struct StopAfter(AtomicUsize);

impl Monitor for StopAfter {
    fn begin(&self, _: Phase, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, files: u64, _: u64) {
        let left = self.0.load(Ordering::SeqCst);
        self.0.store(left.saturating_sub(files as usize), Ordering::SeqCst);
    }
    fn problem(&self, _: Problem) {}
    fn stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

#[test]
fn a_check_that_is_stopped_passes_nothing_that_it_has_not_seen_and_the_next_one_goes_on() {
    let home = nights();
    let archives = home.archives().len();
    let stopped = check(&home.repository(), CheckExtent::All, &StopAfter(1.into())).unwrap();
    assert!(stopped.interrupted && stopped.stopped && stopped.findings.is_empty() && archives > 2);
    assert!(
        stopped.read > 0 && stopped.read < stopped.chosen,
        "{} of {}",
        stopped.read,
        stopped.chosen
    );
    assert_eq!(stopped.coverage.never as usize, archives - 1);
    // Before anything was looked at, nothing is said of the snapshots.
    let error = check(&home.repository(), CheckExtent::All, &StopAfter(0.into())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(error.to_string(), "stopped: 0 of 3 snapshots looked at, nothing wrong so far");
    assert_eq!(
        checked(&home, CheckExtent::Structure).passed.len(),
        1,
        "what the one archive that was read holds"
    );
    let rest = checked(&home, CheckExtent::All);
    assert!(!rest.interrupted && rest.passed.len() == 3 && rest.coverage.never == 0);
}

#[test]
fn what_is_sound_passes_and_is_remembered() {
    let home = nights();
    let first = checked(&home, CheckExtent::Structure);
    assert_eq!((first.findings, first.read, first.passed.len()), (vec![], 0, 0));
    let whole = checked(&home, CheckExtent::All);
    let total: u64 =
        home.archives().iter().map(|archive| fs::metadata(archive).unwrap().len()).sum();
    assert_eq!((whole.findings, whole.read, whole.snapshots), (vec![], total, 3));
    assert_eq!(whole.passed, home.repository().snapshot_ids().unwrap());
    assert_eq!((whole.coverage.recent, whole.coverage.never), (total, 0));
    // What one check read counts for the next; its note took the place of the one before.
    let again = checked(&home, CheckExtent::Structure);
    assert_eq!((again.passed.len(), again.coverage.recent), (3, total));
    assert_eq!(home.repository().notes().unwrap().list.len(), 1);
    // A new night was not read yet.
    home.write("upload/new.jpg", &noise(99, 5000));
    home.backup();
    let next = checked(&home, CheckExtent::Structure);
    assert_eq!((next.passed.len(), next.coverage.never), (3, 1));
}

#[test]
fn a_share_a_night_reads_what_was_not_read_for_longest() {
    let home = nights();
    let archives = home.archives().len();
    assert!(archives >= 3);
    let none = checked(&home, CheckExtent::Time(Duration::ZERO));
    assert_eq!((none.read, none.stopped), (0, true));
    let mut looks = 0;
    while checked(&home, CheckExtent::Structure).coverage.never > 0 {
        let look = checked(&home, CheckExtent::Percent(1.0));
        assert!(look.read > 0 && look.findings.is_empty());
        looks += 1;
        assert!(looks <= archives, "the same archive was read twice before all were read once");
    }
    assert_eq!(looks, archives);
}

#[test]
fn a_damaged_photo_is_told_by_whose_which_and_when() {
    let home = nights();
    let (archive, at, _) = place(&home, "2.jpg");
    flip(&archive, at + 1000);
    let findings = findings(&home);
    let [CheckFinding::Photo(photo)] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((photo.owner.as_str(), photo.name.as_str()), ("Ann Lee", "IMG_2.jpg"));
    assert_eq!(photo.taken.to_string(), "2025-01-02T03:04:05");
    assert_eq!(photo.snapshots, home.repository().snapshot_ids().unwrap()[1..]);
    assert!(archive.ends_with(photo.bytes.archive.as_ref().unwrap()) && photo.bytes.copy.is_none());
    // Without reading photos nothing is seen, and what was found before is not forgotten into a
    // pass.
    let quick = checked(&home, CheckExtent::Structure);
    assert_eq!(quick.passed, home.repository().snapshot_ids().unwrap()[..1]);
    // A backup that reads everything stores it again, and the copy is named until the old archive
    // is gone.
    let options = shoebox::task::backup::Options { paranoid: true, ..home.options() };
    shoebox::task::backup::backup(&home.repository(), options, &SilentMonitor).unwrap();
    let after = checked(&home, CheckExtent::All).findings;
    let [CheckFinding::Photo(photo)] = &after[..] else { panic!("{after:?}") };
    assert!(photo.bytes.copy.is_some());
}

#[test]
fn a_damaged_file_without_a_photo_and_a_damaged_dump_are_told_as_such() {
    let home = nights();
    let (archive, at, len) = place(&home, "loose-1.jpg");
    flip(&archive, at + len - 1);
    let record = home.repository().record(home.repository().snapshot_ids().unwrap()[0]).unwrap();
    let chunk = record.streams.dump.chunks[0].hash;
    for (archive, line) in home.lines() {
        if let IndexLine::Chunk(line) = line
            && line.chunk == chunk
        {
            flip(&archive, (line.offset + line.stored / 2) as usize);
        }
    }
    let findings = findings(&home);
    assert!(
        findings
            .iter()
            .any(|finding| matches!(finding, CheckFinding::File(file) if file.path.to_string() == "library/loose-1.jpg"))
    );
    let dump = |finding: &CheckFinding| matches!(finding, CheckFinding::Snapshot { snapshot, part: SnapshotPart::Dump, .. } if *snapshot == record.id);
    assert!(findings.iter().any(dump), "{findings:?}");
}

/// Every kind of file in a repository, by one of its kind.
fn kinds(home: &Home) -> Vec<(&'static str, PathBuf)> {
    let root = home.repo_path();
    let record = home.repository().snapshot_ids().unwrap()[1];
    let notes = home.repository().notes().unwrap();
    vec![
        ("record", root.join(format!("snapshots/{record}.json"))),
        ("archive", home.archives()[0].clone()),
        ("later archive", home.archives()[1].clone()),
        ("catalog", root.join("catalog.sqlite")),
        ("note", root.join(&notes.list[0].0)),
        ("README", root.join("README.txt")),
    ]
}

#[test]
fn every_kind_of_damage_to_every_kind_of_file_is_found() {
    type Manner = (&'static str, fn(&Path));
    let manners: [Manner; 5] = [
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("emptied", |path| fs::write(path, "").unwrap()),
        ("cut in half", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("flipped in its middle", |path| {
            flip(path, fs::metadata(path).unwrap().len() as usize / 2)
        }),
        ("flipped near its end", |path| {
            flip(path, fs::metadata(path).unwrap().len() as usize - 1100)
        }),
    ];
    let home = nights();
    checked(&home, CheckExtent::All);
    let saved = home.dir.path().join("saved");
    for at in 0..kinds(&home).len() {
        // A check writes a note of its own each time.
        let (kind, path) = kinds(&home).swap_remove(at);
        fs::copy(&path, &saved).unwrap();
        for (manner, damage) in manners {
            fs::copy(&saved, &path).unwrap();
            if fs::metadata(&path).unwrap().len() < 1200 && manner == "flipped near its end" {
                continue;
            }
            damage(&path);
            let found = findings(&home);
            let harmless = match kind {
                // What a check remembered is lost, and no more; the README's words are for people.
                "note" => manner == "deleted" || manner.starts_with("flipped"),
                "README" => manner.starts_with("flipped") || manner == "cut in half",
                // A bit of a page that is not in use, or of text that no two places hold.
                "catalog" => manner.starts_with("flipped"),
                _ => false,
            };
            assert!(!found.is_empty() || harmless, "a {kind} that was {manner} was not found");
        }
        fs::copy(&saved, &path).unwrap();
        let sound = findings(&home);
        assert_eq!(sound, vec![], "after the {kind} was put back");
    }
}

#[test]
fn a_pruned_repository_is_sound() {
    let home = nights();
    let ids = home.repository().snapshot_ids().unwrap();
    let choice = ForgetChoice::Named(vec![ids[0].to_string(), ids[1].to_string()]);
    let now = jiff::Timestamp::now();
    let options = forget::Options {
        choice,
        zone: jiff::tz::TimeZone::UTC,
        now,
        accept_clock: false,
        apply: true,
    };
    forget(&home.repository(), &options, &SilentMonitor).unwrap();
    assert_eq!(findings(&home), vec![]);
    for grace in [jiff::SignedDuration::from_hours(24), jiff::SignedDuration::ZERO] {
        prune(
            &home.repository(),
            &Pruning { max_unused: 0, grace, now },
            false,
            false,
            &SilentMonitor,
        )
        .unwrap();
        assert_eq!(findings(&home), vec![]);
    }
    let report = checked(&home, CheckExtent::All);
    assert_eq!(report.passed, ids[2..]);
}

#[test]
fn a_check_beside_backups_tells_nothing_that_is_not_so() {
    let home = nights();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for night in 0..4 {
                home.write(format!("upload/beside-{night}.jpg"), &noise(night + 700, 3000));
                home.try_backup(&ProblemCollector::default()).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            assert_eq!(checked(&home, CheckExtent::All).findings, vec![]);
        }
    });
    assert_eq!(findings(&home), vec![]);
}
