//! Forgetting and pruning: what stays is right bit for bit, what goes gives its space back, and
//! readers go on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backup_library::{Home, dump, noise};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::{Mode, OFlags};
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::base::{ErrorKind, SnapshotId};
use shoebox::catalog::query;
use shoebox::mount::{self, MountedView};
use shoebox::repo::notes::{CheckNote, NoteKind};
use shoebox::repo::prune::Options;
use shoebox::repo::{Repository, SnapshotRecord, StreamReader, WriteSession};
use shoebox::task::forget::policy::{KeepCount, KeepPeriod, KeepPolicy};
use shoebox::task::forget::{self, ForgetChoice, forget};
use shoebox::task::prune::prune;
use shoebox::view::{self, View};

/// The files of a library by path.
type Files = BTreeMap<String, Vec<u8>>;

/// A repository with some nights, and what each of them held.
struct Nights {
    home: Home,
    truth: Vec<(SnapshotId, Files, String)>,
}

impl Nights {
    /// Each night a file comes, one goes, and the dump changes.
    fn new(nights: u64) -> Nights {
        let mut all = Nights { home: Home::new(), truth: Vec::new() };
        for seed in 0..8 {
            all.home.write(format!("upload/stays-{seed}.jpg"), &noise(seed + 1, 60_000));
        }
        for night in 0..nights {
            all.home.write(format!("upload/night-{night}.jpg"), &noise(night + 100, 150_000));
            all.home.write(format!("upload/big-{night}.mov"), &noise(night + 200, 2_500_000));
            if night > 0 {
                fs::remove_file(all.home.upload().join(format!("upload/night-{}.jpg", night - 1)))
                    .unwrap();
                fs::remove_file(all.home.upload().join(format!("upload/big-{}.mov", night - 1)))
                    .unwrap();
            }
            all.home.write_dump(&dump(20_000, night));
            let id = all.home.backup().record.id;
            let text = fs::read_to_string(all.home.dump_path()).unwrap();
            all.truth.push((id, files(&all.home.upload()), text));
        }
        all
    }

    fn repository(&self) -> Repository {
        self.home.repository()
    }

    fn ids(&self) -> Vec<SnapshotId> {
        self.truth.iter().map(|(id, _, _)| *id).collect()
    }

    /// Forgets the nights at these positions.
    fn forget(&self, nights: &[usize]) {
        let names = nights.iter().map(|night| self.truth[*night].0.to_string()).collect();
        forget(&self.repository(), &options(ForgetChoice::Named(names)), &SilentMonitor).unwrap();
    }

    fn prune(&self, grace: SignedDuration) -> shoebox::repo::prune::PruneResult {
        prune(&self.repository(), &pruning(grace), false, false, &SilentMonitor)
            .unwrap()
            .pruned
            .unwrap()
    }

    /// The nights at these positions, and no others, are there whole, by the catalog and by a
    /// rebuilt one.
    fn assert_whole(&self, nights: &[usize]) {
        let expected: Vec<SnapshotId> = nights.iter().map(|night| self.truth[*night].0).collect();
        for rebuilt in [false, true] {
            if rebuilt {
                drop(WriteSession::rebuild(&self.repository(), &SilentMonitor).unwrap());
            }
            assert_eq!(
                query::snapshot::ids(&self.repository().catalog().unwrap().connect().unwrap())
                    .unwrap(),
                expected
            );
            for night in nights {
                self.assert_night(*night);
            }
        }
    }

    fn assert_night(&self, night: usize) {
        let (id, files, text) = &self.truth[night];
        let repository = self.repository();
        let view = open(&repository);
        let top = view.snapshot(&id.to_string()).unwrap().ino;
        for (path, bytes) in files {
            assert!(read(&view, top, path) == *bytes, "{path} of night {night}");
        }
        let (db, contents) =
            (repository.catalog().unwrap().connect().unwrap(), repository.contents());
        let record = repository.record(*id).unwrap();
        let mut dump = String::new();
        StreamReader::new(&db, &contents, &record.streams.dump).read_to_string(&mut dump).unwrap();
        assert!(dump == *text, "the dump of night {night}");
    }
}

fn open(repository: &Repository) -> View {
    View::open(
        &repository.catalog_path(),
        Arc::new(repository.contents()),
        view::Options::default(),
    )
    .unwrap()
}

fn read(view: &View, top: view::Ino, path: &str) -> Vec<u8> {
    let node = view.resolve(top, format!("files/{path}").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < node.size {
        view.read(node.ino, bytes.len() as u64, 1 << 20, |piece| bytes.extend_from_slice(piece))
            .unwrap();
    }
    bytes
}

fn files(root: &Path) -> Files {
    let entries = walkdir::WalkDir::new(root)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file());
    entries
        .map(|entry| {
            let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            (path, fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn options(choice: ForgetChoice) -> forget::Options {
    forget::Options {
        choice,
        zone: TimeZone::UTC,
        now: Timestamp::now(),
        accept_clock: false,
        apply: true,
    }
}

fn pruning(grace: SignedDuration) -> Options {
    Options { max_unused: 20, grace, now: Timestamp::now() }
}

fn total(repository: &Repository) -> u64 {
    repository.store().list("archives").unwrap().iter().map(|archive| archive.size).sum()
}

#[test]
fn a_prune_after_a_prune_does_nothing_and_many_small_archives_become_one() {
    let home = Home::new();
    let quiet = |night: u64| {
        home.write(format!("upload/{night}.xmp"), format!("a sidecar of night {night}").as_bytes());
        home.write_dump(&dump(40, night));
        home.backup();
    };
    let prunes = |now: bool| {
        let grace = if now { SignedDuration::ZERO } else { SignedDuration::from_hours(24) };
        let pruned = prune(&home.repository(), &pruning(grace), false, false, &SilentMonitor)
            .unwrap()
            .pruned
            .unwrap();
        (pruned.retired.len(), pruned.written.len(), pruned.deleted.len())
    };
    (0..3).for_each(quiet);
    assert_eq!(
        [prunes(true), prunes(true)],
        [(0, 0, 0); 2],
        "small archives of quiet nights, each of which is needed"
    );
    (3..40).for_each(quiet);
    let before = home.archives().len();
    assert!(before >= 40, "{before}");
    let (retired, written, _) = prunes(true);
    assert_eq!((retired, written), (before, 1));
    assert_eq!([prunes(true), prunes(true)], [(0, 0, 0); 2]);
    let check = shoebox::task::check::check(
        &home.repository(),
        shoebox::task::check::CheckExtent::All,
        &SilentMonitor,
    )
    .unwrap();
    assert!(check.findings.is_empty() && check.passed.len() == 40, "{:?}", check.findings);

    let nights = Nights::new(5);
    nights.forget(&[1, 2, 3]);
    assert!(!nights.prune(SignedDuration::ZERO).retired.is_empty());
    let again = nights.prune(SignedDuration::ZERO);
    assert!(
        again.retired.is_empty() && again.written.is_empty() && again.deleted.is_empty(),
        "{again:?}"
    );
    nights.assert_whole(&[0, 4]);
}

#[test]
fn what_stays_is_whole_and_what_goes_gives_its_space_back() {
    let nights = Nights::new(5);
    let before = total(&nights.repository());
    nights.forget(&[0, 1, 3]);
    nights.assert_whole(&[2, 4]);
    let pruned = nights.prune(SignedDuration::ZERO);
    assert!(!pruned.retired.is_empty() && !pruned.written.is_empty(), "{pruned:?}");
    assert_eq!(pruned.deleted.len(), pruned.retired.len());
    nights.assert_whole(&[2, 4]);
    // Three nights had 2.65 MB each that nothing needs now.
    let after = total(&nights.repository());
    assert!(before - after > 3 * 2_600_000, "{before} {after}");
    assert_eq!(nights.repository().notes().unwrap().list.len(), 0);
    let again = nights.prune(SignedDuration::ZERO);
    assert!(
        again.retired.is_empty() && again.written.is_empty() && again.deleted.is_empty(),
        "{again:?}"
    );
}

#[test]
fn the_keys_of_patches_that_are_needed_stay() {
    let nights = Nights::new(4);
    let keys = |night: usize| {
        let repository = nights.repository();
        let db = repository.catalog().unwrap().connect().unwrap();
        let record = repository.record(nights.truth[night].0).unwrap();
        record
            .streams
            .dump
            .chunks
            .iter()
            .map(|chunk| query::chunk(&db, chunk.hash).unwrap().keys.len())
            .sum::<usize>()
    };
    assert!(keys(3) > 0, "the last night's dump is no patch: this test shows nothing");
    nights.forget(&[0, 1, 2]);
    nights.prune(SignedDuration::ZERO);
    assert!(keys(3) > 0);
    nights.assert_whole(&[3]);
}

#[test]
fn a_retired_archive_waits_and_costs_no_rebuild_and_no_complaint() {
    let nights = Nights::new(3);
    nights.forget(&[0]);
    let pruned = nights.prune(SignedDuration::from_hours(24));
    assert!(!pruned.retired.is_empty() && pruned.deleted.is_empty(), "{pruned:?}");
    let there = |name: &String| nights.home.repo_path().join("archives").join(name).exists();
    assert!(pruned.retired.iter().all(|(name, _)| there(name)));
    let inode = |home: &Home| {
        std::os::unix::fs::MetadataExt::ino(
            &fs::metadata(home.repo_path().join("catalog.sqlite")).unwrap(),
        )
    };
    let built = inode(&nights.home);
    for _ in 0..2 {
        let monitor = ProblemCollector::default();
        drop(WriteSession::begin(&nights.repository(), "look", &monitor).unwrap());
        assert_eq!(monitor.problems(), []);
    }
    assert_eq!(inode(&nights.home), built);
    nights.assert_whole(&[1, 2]);
    let waiting = prune(
        &nights.repository(),
        &pruning(SignedDuration::from_hours(24)),
        false,
        true,
        &SilentMonitor,
    )
    .unwrap();
    assert_eq!(waiting.plan.waiting.len(), pruned.retired.len());
    let deleted = nights.prune(SignedDuration::ZERO).deleted;
    assert_eq!(deleted.len(), pruned.retired.len());
    let monitor = ProblemCollector::default();
    drop(WriteSession::begin(&nights.repository(), "look", &monitor).unwrap());
    assert_eq!(monitor.problems(), []);
    nights.assert_whole(&[1, 2]);
}

#[test]
fn a_retired_archive_counts_again_when_the_new_one_is_lost() {
    let nights = Nights::new(3);
    nights.forget(&[0]);
    let pruned = nights.prune(SignedDuration::from_hours(24));
    for (name, _) in &pruned.written {
        fs::remove_file(nights.home.repo_path().join("archives").join(name)).unwrap();
    }
    let monitor = ProblemCollector::default();
    drop(WriteSession::begin(&nights.repository(), "look", &monitor).unwrap());
    assert!(
        monitor.problems().iter().any(|problem| problem.message.contains("counts again")),
        "{:?}",
        monitor.problems()
    );
    nights.assert_whole(&[1, 2]);
}

#[test]
fn a_view_of_before_reads_on_when_the_archives_are_gone() {
    let nights = Nights::new(3);
    let repository = nights.repository();
    let view = open(&repository);
    let (id, files, _) = &nights.truth[2];
    let top = view.snapshot(&id.to_string()).unwrap().ino;
    nights.forget(&[0, 1]);
    nights.prune(SignedDuration::ZERO);
    for (path, bytes) in files {
        assert!(read(&view, top, path) == *bytes, "{path}");
    }
}

/// Says which rows of SEMANTICS.md a test holds.
fn holds(_: &[&str]) {}

#[test]
fn who_is_in_a_snapshot_that_is_forgotten_stays_in_it_and_reads_on() {
    holds(&["T9"]);
    if fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        println!("skipped: /dev/fuse cannot be opened");
        return;
    }
    let nights = Nights::new(3);
    let point = nights.home.dir.path().join("mount");
    fs::create_dir(&point).unwrap();
    let _mount = MountedView::start(
        Arc::new(open(&nights.repository())),
        &point,
        &mount::Options::default(),
    )
    .unwrap();
    let snapshots = || {
        let entries = fs::read_dir(point.join("snapshots")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    let before = snapshots();
    let first = point.join("snapshots").join(before.first().unwrap());
    let folder = fs::File::open(first.join("files/upload")).unwrap();
    let video = fs::File::open(first.join("files/upload/big-0.mov")).unwrap();
    let below = |name: &str| {
        rustix::fs::openat(&folder, name, OFlags::RDONLY, Mode::empty()).map(fs::File::from)
    };
    let is_whole = |mut file: fs::File, path: &str| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == nights.truth[0].1[path], "{path}");
    };
    for round in 0..2 {
        nights.forget(&[round]);
        nights.prune(SignedDuration::from_hours(24));
        let begun = Instant::now();
        while snapshots().len() > 2 - round {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", snapshots());
            std::thread::sleep(Duration::from_millis(100));
        }
        is_whole(
            below(&format!("stays-{round}.jpg")).unwrap(),
            &format!("upload/stays-{round}.jpg"),
        );
    }
    is_whole(video, "upload/big-0.mov");
    is_whole(below("night-0.jpg").unwrap(), "upload/night-0.jpg");
    assert!(below("night-1.jpg").is_err());
}

#[test]
fn a_damaged_photo_makes_its_archive_stay() {
    let nights = Nights::new(3);
    nights.forget(&[0]);
    let lines = nights.home.lines();
    let (archive, line) = lines
        .iter()
        .find_map(|(archive, line)| match line {
            shoebox::base::stored::IndexLine::Content(line)
                if line.path.as_bytes().ends_with(b"stays-3.jpg") =>
            {
                Some((archive, line))
            }
            _ => None,
        })
        .unwrap();
    let mut bytes = fs::read(archive).unwrap();
    bytes[line.offset as usize + 77] ^= 4;
    fs::write(archive, bytes).unwrap();
    let monitor = ProblemCollector::default();
    prune(&nights.repository(), &pruning(SignedDuration::ZERO), false, false, &monitor).unwrap();
    assert!(
        monitor.problems().iter().any(|problem| problem.message.contains("left as it is")),
        "{:?}",
        monitor.problems()
    );
    assert!(archive.exists());
}

#[test]
fn what_an_interrupted_backup_left_stays_for_the_grace_period() {
    struct StopAfter(std::sync::atomic::AtomicI64);
    impl shoebox::base::Monitor for StopAfter {
        fn begin(&self, _: shoebox::base::Phase, _: Option<u64>, _: Option<u64>) {}
        fn advance(&self, files: u64, _: u64) {
            self.0.fetch_sub(files as i64, std::sync::atomic::Ordering::Relaxed);
        }
        fn problem(&self, _: shoebox::base::Problem) {}
        fn stopped(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::Relaxed) <= 0
        }
    }
    let nights = Nights::new(2);
    for number in 0..60 {
        nights.home.write(format!("upload/new-{number:02}.jpg"), &noise(number + 900, 3000));
    }
    let stopped = nights.home.try_backup(&StopAfter(50.into())).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Interrupted);
    let pruned = nights.prune(SignedDuration::from_hours(24));
    assert!(pruned.retired.is_empty(), "{pruned:?}");
    let report = nights.home.backup();
    assert!(report.unchanged > 20, "{}", report.unchanged);
}

#[test]
fn the_newest_the_newest_good_and_the_last_checked_are_always_kept() {
    let nights = Nights::new(4);
    let ids = nights.ids();
    let checked =
        CheckNote { passed: BTreeMap::from([(ids[1], Timestamp::now())]), ..CheckNote::default() };
    nights.repository().add_note(NoteKind::Check(checked)).unwrap();
    let policy = KeepPolicy {
        keep: vec![(KeepPeriod::Snapshot, KeepCount::Of(1))],
        ..KeepPolicy::default()
    };
    let report =
        forget(&nights.repository(), &options(ForgetChoice::ByPolicy(policy)), &SilentMonitor)
            .unwrap();
    assert!(report.freed > 2 * 2_600_000, "{}", report.freed);
    nights.assert_whole(&[1, 3]);
    for id in [ids[1], ids[3]] {
        let named = options(ForgetChoice::Named(vec![id.to_string()]));
        assert_eq!(
            forget(&nights.repository(), &named, &SilentMonitor).unwrap_err().kind(),
            ErrorKind::Refused
        );
    }
    nights.assert_whole(&[1, 3]);
}

#[test]
fn a_dry_run_forgets_nothing() {
    let nights = Nights::new(3);
    let policy =
        KeepPolicy { keep: vec![(KeepPeriod::Day, KeepCount::Of(1))], ..KeepPolicy::default() };
    let dry = forget::Options { apply: false, ..options(ForgetChoice::ByPolicy(policy)) };
    let report = forget(&nights.repository(), &dry, &SilentMonitor).unwrap();
    assert_eq!(report.fates.iter().filter(|fate| fate.reasons.is_empty()).count(), 2);
    nights.assert_whole(&[0, 1, 2]);
    nights.forget(&[1]);
    let before = total(&nights.repository());
    prune(&nights.repository(), &pruning(SignedDuration::ZERO), false, true, &SilentMonitor)
        .unwrap();
    assert_eq!(total(&nights.repository()), before);
}

fn rewrite(nights: &Nights, night: usize, change: impl FnOnce(&mut SnapshotRecord)) {
    let id = nights.truth[night].0;
    let mut record = nights.repository().record(id).unwrap();
    change(&mut record);
    let path = nights.home.repo_path().join(format!("snapshots/{id}.json"));
    fs::write(path, serde_json::to_vec(&record).unwrap()).unwrap();
}

#[test]
fn an_alarm_stops_forgetting_until_it_is_acknowledged() {
    let nights = Nights::new(3);
    rewrite(&nights, 1, |record| {
        record.alarm = vec!["the library lost 90 of 100 assets".to_owned()]
    });
    let choice = options(ForgetChoice::Named(vec![nights.truth[0].0.to_string()]));
    let error = forget(&nights.repository(), &choice, &SilentMonitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error.next_step().unwrap().contains(&format!("shoebox acknowledge {}", nights.truth[1].0))
    );
    nights
        .repository()
        .add_note(NoteKind::Acknowledgement { snapshot: nights.truth[1].0 })
        .unwrap();
    forget(&nights.repository(), &choice, &SilentMonitor).unwrap();
    nights.assert_whole(&[1, 2]);
}

#[test]
fn a_record_that_cannot_be_read_stops_forgetting_and_pruning() {
    let nights = Nights::new(3);
    fs::write(nights.home.repo_path().join(format!("snapshots/{}.json", nights.truth[1].0)), "{")
        .unwrap();
    let choice = options(ForgetChoice::Named(vec![nights.truth[0].0.to_string()]));
    assert_eq!(
        forget(&nights.repository(), &choice, &SilentMonitor).unwrap_err().kind(),
        ErrorKind::Refused
    );
    fs::remove_file(nights.home.repo_path().join("catalog.sqlite")).unwrap();
    let pruned =
        prune(&nights.repository(), &pruning(SignedDuration::ZERO), false, false, &SilentMonitor);
    assert_eq!(pruned.unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn a_clock_that_jumped_stops_forgetting() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let nights = ["2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z", "2026-01-03T03:00:00Z"].map(at);
    assert!(forget::refuse_clock(&nights).is_ok());
    let jumped = [&nights[..], &[at("2031-01-04T03:00:00Z")]].concat();
    assert!(forget::refuse_clock(&jumped).is_err());
    let yearly = ["2023-01-01T03:00:00Z", "2024-01-01T03:00:00Z", "2025-01-01T03:00:00Z"].map(at);
    assert!(forget::refuse_clock(&yearly).is_ok());
}

#[test]
fn no_archive_gets_the_name_of_one_that_was_there_before() {
    let nights = Nights::new(5);
    let names = || {
        let listed = nights.repository().store().list("archives").unwrap();
        listed.into_iter().map(|listed| listed.name).collect::<BTreeSet<_>>()
    };
    let (mut ever, mut rewritten) = (names(), 0);
    for night in 0..3 {
        nights.forget(&[night]);
        let before = names();
        let options = Options { max_unused: 0, ..pruning(SignedDuration::ZERO) };
        prune(&nights.repository(), &options, true, false, &SilentMonitor).unwrap();
        nights.home.write(format!("upload/after-{night}.jpg"), &noise(night as u64 + 300, 50_000));
        nights.home.backup();
        let new: BTreeSet<_> = names().difference(&before).cloned().collect();
        assert!(new.is_disjoint(&ever), "{new:?} {ever:?}");
        rewritten += new.len();
        ever.extend(new);
    }
    assert!(rewritten > 3, "{rewritten}: a prune wrote some too");
    assert!(findings(&nights).is_empty(), "{:?}", findings(&nights));
}

fn findings(nights: &Nights) -> Vec<shoebox::task::check::CheckFinding> {
    use shoebox::task::check::{CheckExtent, check};
    check(&nights.repository(), CheckExtent::All, &SilentMonitor).unwrap().findings
}
