//! After any sequence of changes, backups, forgetting, pruning and runs that were cut short, each
//! snapshot that is still there is what a plain copy was: in the view, through the kernel, restored
//! whole, restored in part.
//!
//! The same cases each time; `SHOEBOX_CASES=1000` runs so many, `SHOEBOX_SEED=2` others.

mod library;
mod shown;
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::base::{ErrorKind, Monitor, Phase, Problem, SnapshotId};
use shoebox::mount::{self, MountedView};
use shoebox::repo::notes::NoteKind;
use shoebox::repo::prune::Options as Pruning;
use shoebox::repo::{Repository, StreamReader, WriteSession};
use shoebox::task::backup;
use shoebox::task::check::{CheckExtent, check};
use shoebox::task::forget::policy::{KeepCount, KeepPeriod, KeepPolicy};
use shoebox::task::forget::{self, ForgetChoice};
use shoebox::task::restore::{self, RestoreSelection, whole};
use shoebox::task::{prune, repair};
use shoebox::view::{self, View};

use crate::backup_library::plain_backup;
use crate::support::whole_restore;
use library::{Change, Library};
use shown::{Copy, Shown};
use tree::{Tree, assert_same, hard_links, tree_of_folder, tree_of_view};

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    Change(Change),
    Backup,
    /// Stopped by a signal after so many looks at it.
    StoppedBackup(u64),
    /// Killed when all archives were written, before the record was.
    KilledBeforeRecord,
    /// Killed when the record was written, before the catalog was.
    KilledBeforeCatalog,
    Forget(u32),
    ForgetOne(usize),
    Prune {
        unused: u8,
        grace: bool,
    },
    StoppedPrune(u64),
    LoseCatalog,
}

fn change() -> impl Strategy<Value = Change> {
    use Change::*;
    let (asset, album, bytes, name) = (0..3usize, 0..2usize, 0..5usize, 0..4usize);
    prop_oneof![
        6 => (0..2usize, name.clone(), 1..3u8, bytes.clone())
            .prop_map(|(owner, name, month, bytes)| Add { owner, name, month, bytes }),
        2 => (asset.clone(), bytes.clone()).prop_map(|(asset, bytes)| Edit { asset, bytes }),
        1 => asset.clone().prop_map(Touch),
        1 => (asset.clone(), prop::sample::select(vec![0o400u32, 0o644, 0o755])).prop_map(|(asset, mode)| Mode(asset, mode)),
        1 => (asset.clone(), name).prop_map(|(asset, name)| Rename(asset, name)),
        2 => (asset.clone(), any::<bool>()).prop_map(|(asset, told)| Move { asset, told }),
        2 => asset.clone().prop_map(Trash),
        1 => asset.clone().prop_map(Restore),
        1 => asset.clone().prop_map(Favorite),
        2 => (asset.clone(), 0..4usize).prop_map(|(asset, visibility)| Show(asset, visibility)),
        2 => asset.clone().prop_map(Delete),
        1 => asset.clone().prop_map(Lose),
        2 => asset.clone().prop_map(Sidecar),
        2 => (asset.clone(), any::<bool>()).prop_map(|(asset, gone)| EditSidecar(asset, gone)),
        2 => (0..2usize, album.clone(), any::<bool>()).prop_map(|(owner, name, shared)| CreateAlbum { owner, name, shared }),
        1 => (album.clone(), 0..3usize).prop_map(|(album, name)| RenameAlbum(album, name)),
        3 => (album.clone(), asset.clone()).prop_map(|(album, asset)| AddToAlbum(album, asset)),
        1 => (album.clone(), asset.clone()).prop_map(|(album, asset)| RemoveFromAlbum(album, asset)),
        1 => album.prop_map(DeleteAlbum),
        1 => (0..2usize, bytes).prop_map(|(name, bytes)| Loose(name, bytes)),
        1 => asset.prop_map(HardLink),
        1 => (0..2usize).prop_map(Symlink),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => change().prop_map(Step::Change),
        8 => Just(Step::Backup),
        1 => (0..40u64).prop_map(Step::StoppedBackup),
        1 => Just(Step::KilledBeforeRecord),
        1 => Just(Step::KilledBeforeCatalog),
        1 => (1..4u32).prop_map(Step::Forget),
        1 => (0..4usize).prop_map(Step::ForgetOne),
        2 => (prop::sample::select(vec![0u8, 20, 100]), any::<bool>()).prop_map(|(unused, grace)| Step::Prune { unused, grace }),
        1 => (0..6u64).prop_map(Step::StoppedPrune),
        1 => Just(Step::LoseCatalog),
    ]
}

/// Asks to stop when it was looked at so often.
struct Stop(AtomicU64);

impl Monitor for Stop {
    fn begin(&self, _: Phase, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, _: u64, _: u64) {}
    fn problem(&self, _: Problem) {}
    fn stopped(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_err()
    }
}

/// A library, its repository, and what the snapshots in it have to be.
struct World {
    dir: tempfile::TempDir,
    library: Library,
    copies: Vec<Copy>,
}

impl World {
    fn new() -> World {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
            .unwrap();
        let library = Library::new(&dir.path().join("immich"));
        Repository::create(&dir.path().join("repository")).unwrap();
        World { dir, library, copies: Vec::new() }
    }

    fn repository(&self) -> Repository {
        Repository::open(&self.dir.path().join("repository")).unwrap()
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Change(change) => self.library.change(change),
            Step::Backup => assert!(self.backup(&SilentMonitor)),
            Step::StoppedBackup(looks) => drop(self.backup(&Stop(AtomicU64::new(*looks)))),
            Step::KilledBeforeRecord => {
                let catalog = self.catalog();
                assert!(self.backup(&SilentMonitor));
                let id = self.copies.pop().unwrap().id;
                fs::remove_file(self.repository().root().join(format!("snapshots/{id}.json")))
                    .unwrap();
                self.put_back(catalog);
            }
            Step::KilledBeforeCatalog => {
                let catalog = self.catalog();
                assert!(self.backup(&SilentMonitor));
                self.put_back(catalog);
            }
            Step::Forget(last) => {
                let rules = KeepPolicy {
                    keep: vec![(KeepPeriod::Snapshot, KeepCount::Of(*last))],
                    ..KeepPolicy::default()
                };
                self.forget(ForgetChoice::ByPolicy(rules), *last as usize);
            }
            Step::ForgetOne(number) => {
                // The newest one is never forgotten, by name neither.
                let older = self.copies.len().saturating_sub(1);
                if older > 0 {
                    self.forget(
                        ForgetChoice::Named(vec![self.copies[number % older].id.to_string()]),
                        1,
                    );
                }
            }
            Step::Prune { unused, grace } => {
                let grace =
                    if *grace { SignedDuration::from_hours(24) } else { SignedDuration::ZERO };
                self.prune(*unused, grace, &SilentMonitor).unwrap();
            }
            Step::StoppedPrune(looks) => {
                self.prune(0, SignedDuration::ZERO, &Stop(AtomicU64::new(*looks)));
            }
            Step::LoseCatalog => {
                let _ = fs::remove_file(self.repository().catalog_path());
                repair::catalog(&self.repository(), &SilentMonitor).unwrap();
            }
        }
    }
}

impl World {
    /// Makes a backup; false when it was stopped before its end.
    fn backup(&mut self, monitor: &dyn Monitor) -> bool {
        let (files, rows, dump) =
            (self.library.copy(), self.library.rows.clone(), self.library.dump());
        let path = self.dir.path().join("immich.sql");
        fs::write(&path, &dump).unwrap();
        let plain = plain_backup(self.library.root.clone(), path);
        let options = backup::Options { accept_shrink: true, alarm_shrink: 100, ..plain };
        let repository = self.repository();
        match backup::backup(&repository, options, monitor) {
            Ok(report) => {
                let id = report.record.id;
                // Where the library shrank there is an alarm, which is as it should be.
                repository.add_note(NoteKind::Acknowledgement { snapshot: id }).unwrap();
                self.copies.push(Copy { id, files, rows, dump });
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
                false
            }
        }
    }

    fn catalog(&self) -> Vec<u8> {
        fs::read(self.repository().catalog_path()).unwrap()
    }

    fn put_back(&self, catalog: Vec<u8>) {
        let (old, path) = (self.dir.path().join("old"), self.repository().catalog_path());
        fs::write(&old, catalog).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(old, path).unwrap();
    }

    /// Forgets; the `last` newest ones must still be there.
    fn forget(&mut self, choice: ForgetChoice, last: usize) {
        let options = forget::Options {
            choice,
            zone: TimeZone::UTC,
            now: Timestamp::now(),
            accept_clock: true,
            apply: true,
        };
        let report = forget::forget(&self.repository(), &options, &SilentMonitor).unwrap();
        let gone =
            report.fates.iter().filter(|fate| fate.reasons.is_empty()).map(|fate| fate.record.id);
        let gone: BTreeSet<SnapshotId> = gone.collect();
        let newest: BTreeSet<SnapshotId> =
            self.copies.iter().rev().take(last).map(|copy| copy.id).collect();
        assert!(gone.is_disjoint(&newest), "{gone:?} went");
        self.copies.retain(|copy| !gone.contains(&copy.id));
    }

    /// Prunes; `None` when it was stopped.
    fn prune(
        &self,
        unused: u8,
        grace: SignedDuration,
        monitor: &dyn Monitor,
    ) -> Option<prune::Report> {
        let options = Pruning { max_unused: unused, grace, now: Timestamp::now() };
        match prune::prune(&self.repository(), &options, true, false, monitor) {
            Ok(report) => Some(report),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
                None
            }
        }
    }

    /// Every snapshot that is there is what it was, and no other is.
    fn verify(&self, through_kernel: bool) {
        let repository = self.repository();
        // Whoever was killed left it to the next one to bring the catalog up to date.
        let monitor = ProblemCollector::default();
        drop(WriteSession::begin(&repository, "look", &monitor).unwrap());
        assert_eq!(monitor.problems(), []);
        let ids: Vec<SnapshotId> = self.copies.iter().map(|copy| copy.id).collect();
        assert_eq!(repository.snapshot_ids().unwrap(), ids);
        for locked in [false, true] {
            self.verify_view(&repository, locked);
        }
        if through_kernel {
            self.verify_mount(&repository);
        }
        for (number, copy) in self.copies.iter().enumerate() {
            self.verify_dump(&repository, copy);
            self.verify_restored(&repository, copy, number);
        }
        let checked = check(&repository, CheckExtent::All, &SilentMonitor).unwrap();
        assert!(checked.findings.is_empty(), "{:?}", checked.findings);
        assert_eq!(checked.passed, ids);
    }

    fn verify_view(&self, repository: &Repository, locked: bool) {
        let view = open(repository, locked);
        let names = names(&view);
        for (number, copy) in self.copies.iter().enumerate() {
            let what = format!("{}, locked: {locked}", copy.id);
            let top = view.snapshot(&copy.id.to_string()).unwrap().ino;
            let users = tree_of_view(&view, view.resolve(top, b"users").unwrap().ino);
            Shown::new(&what, &users).expect(copy, &self.earlier(&names, number), locked);
            if locked {
                let files = tree_of_view(&view, view.resolve(top, b"files").unwrap().ino);
                assert_same(&what, &files, &copy.files);
            }
        }
    }

    /// The snapshots before the one with this number, with their names.
    fn earlier<'a>(&'a self, names: &'a [String], number: usize) -> Vec<(&'a str, &'a Copy)> {
        names.iter().map(String::as_str).zip(&self.copies).take(number).collect()
    }

    fn verify_mount(&self, repository: &Repository) {
        let view = open(repository, true);
        let names = names(&view);
        let point = self.dir.path().join("mount");
        fs::create_dir_all(&point).unwrap();
        let mount = MountedView::start(Arc::new(view), &point, &mount::Options::default()).unwrap();
        for (number, copy) in self.copies.iter().enumerate() {
            let top = point.join("snapshots").join(&names[number]);
            assert_same("the mount", &tree_of_folder(&top.join("files")), &copy.files);
            let users = tree_of_folder(&top.join("users"));
            Shown::new("the mount", &users).expect(copy, &self.earlier(&names, number), true);
            assert_eq!(fs::read_to_string(top.join("database/immich.sql")).unwrap(), copy.dump);
        }
        drop(mount);
    }

    fn verify_dump(&self, repository: &Repository, copy: &Copy) {
        let (db, contents) =
            (repository.catalog().unwrap().connect().unwrap(), repository.contents());
        let record = repository.record(copy.id).unwrap();
        let mut dump = String::new();
        std::io::Read::read_to_string(
            &mut StreamReader::new(&db, &contents, &record.streams.dump),
            &mut dump,
        )
        .unwrap();
        assert_eq!(dump, copy.dump);
    }

    /// Restores all of a snapshot, and what its people see.
    fn verify_restored(&self, repository: &Repository, copy: &Copy, number: usize) {
        let (to, snapshot) =
            (self.dir.path().join(format!("restored-{number}")), copy.id.to_string());
        let all = whole_restore(&to.join("all"));
        let options = whole::Options { snapshot: snapshot.clone(), as_on_disk: true, ..all };
        let problems = ProblemCollector::default();
        whole::restore(repository, &options, &problems).unwrap();
        let mut found = tree_of_folder(&to.join("all"));
        // What a server wants to find besides.
        found.retain(|path, _| {
            let own = [&b"backups"[..], b"encoded-video", b"thumbs"]
                .iter()
                .any(|name| path.starts_with(name));
            !own || copy.files.contains_key(path)
        });
        assert_same("restored", &found, &copy.files);

        let paths = vec![b"users".to_vec(), b"files".to_vec()];
        let selection = RestoreSelection::Paths(paths);
        let part = to.join("part");
        let options = restore::Options {
            snapshot,
            selection,
            to: part.clone(),
            overwrite: false,
            dry_run: false,
            locked: true,
        };
        restore::restore(repository, &options, &problems).unwrap();
        assert_eq!(problems.problems(), []);
        assert_eq!(bytes_of(&tree_of_folder(&part.join("files"))), bytes_of(&copy.files));
        let view = open(repository, true);
        let top = view.snapshot(&copy.id.to_string()).unwrap().ino;
        let users = tree_of_view(&view, view.resolve(top, b"users").unwrap().ino);
        assert_eq!(bytes_of(&tree_of_folder(&part.join("users"))), bytes_of(&users));
        if number + 1 == self.copies.len() {
            // Only of the newest: a plain copy of the older ones would have kept their links too.
            let now = self.library.copy();
            if bytes_of(&now) == bytes_of(&copy.files) && now == copy.files {
                assert_eq!(hard_links(&to.join("all")), hard_links(&self.library.root));
            }
        }
    }
}

/// Files and symlinks alone: what they hold.
fn bytes_of(tree: &Tree) -> Vec<(&[u8], &[u8])> {
    let some = tree.iter().filter(|(_, entry)| entry.kind != 'd');
    some.map(|(path, entry)| (&path[..], &entry.bytes[..])).collect()
}

fn open(repository: &Repository, locked: bool) -> View {
    let options = view::Options { locked, user: None, time_zone: TimeZone::UTC };
    View::open(&repository.catalog_path(), Arc::new(repository.contents()), options).unwrap()
}

/// What snapshots are called, oldest first.
fn names(view: &View) -> Vec<String> {
    let folder = view.resolve(view::ROOT, b"snapshots").unwrap().ino;
    let mut names = Vec::new();
    view.children(folder, 0, &mut |entry| {
        let id = view.snapshot_of(entry.node.ino).unwrap();
        names.push((id, String::from_utf8(entry.name.to_vec()).unwrap()));
        ControlFlow::Continue(())
    })
    .unwrap();
    names.sort();
    names.into_iter().map(|(_, name)| name).collect()
}

/// One in so many cases goes through the kernel too.
const THROUGH_KERNEL: u64 = 4;

#[test]
fn each_snapshot_is_what_a_plain_copy_was_whatever_happened() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let config = Config {
        cases: number("SHOEBOX_CASES").unwrap_or(24).try_into().unwrap(),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(number("SHOEBOX_SEED").unwrap_or(1)),
        max_shrink_iters: 300,
        ..Config::default()
    };
    let cases = AtomicU64::new(0);
    let steps = prop::collection::vec(step(), 1..40);
    let failed = TestRunner::new(config).run(&steps, |steps| {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        world.verify(cases.fetch_add(1, Ordering::Relaxed).is_multiple_of(THROUGH_KERNEL));
        Ok(())
    });
    println!("{} cases", cases.into_inner());
    failed.unwrap_or_else(|error| panic!("{error}"));
}
