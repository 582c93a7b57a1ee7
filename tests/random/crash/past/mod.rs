//! A repository with some nights behind it, what each of them held, and what must hold after
//! anything went wrong.

#![allow(dead_code)] // each test file uses its own part

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use shoebox::archive::ArchiveReader;
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::base::stored::IndexLine;
use shoebox::base::{ErrorKind, Hash, SnapshotId};
use shoebox::repo::{Repository, StreamReader, prune};
use shoebox::task::backup::backup;
use shoebox::task::check::{CheckExtent, check};
use shoebox::task::forget::{self, ForgetChoice, forget};
use shoebox::task::import::{self, import};
use shoebox::task::{prune::prune, repair};
use shoebox::view::{self, View};
use tempfile::TempDir;

use crate::backup_library::{ANN, Home, dump, noise, sha1_of};

/// The days of dumps that are imported.
const IMPORTED: [&str; 2] = ["20260301", "20260302"];

/// What one snapshot has to give back.
#[derive(Debug, Clone)]
pub struct Night {
    pub id: SnapshotId,
    files: BTreeMap<String, Vec<u8>>,
    dump: Vec<u8>,
}

/// A library, its repository, and the truth.
pub struct Past {
    pub home: Home,
    pub nights: Vec<Night>,
}

/// What is done to a repository.
#[derive(Debug, Clone)]
pub enum Work {
    Backup,
    Forget(SnapshotId),
    Prune,
    RepairCatalog,
    Repair,
    Import,
}

impl Night {
    /// Its files.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> + Clone {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// `folder` holds every one of its files.
    pub fn assert_restored(&self, folder: &Path, what: &str) {
        for (path, bytes) in &self.files {
            let found = fs::read(folder.join(path))
                .unwrap_or_else(|error| panic!("{what}: {path}: {error}"));
            assert!(found == *bytes, "{what}: {path} is another");
        }
    }
}

impl Past {
    /// So many nights; the library has changed once more since the last of them.
    pub fn new(nights: u64) -> Past {
        let mut past = Past { home: Home::new(), nights: Vec::new() };
        for number in 0..3 {
            past.home.write(format!("upload/{ANN}/stays-{number}.jpg"), &noise(number + 1, 20_000));
        }
        // What the dump names.
        for number in 1..=2 {
            past.home.write(format!("upload/{ANN}/{number}.jpg"), &noise(number + 10, 1000));
        }
        for night in 0..nights {
            past.change(night);
            let id = past.home.backup().record.id;
            past.nights.push(past.night(id));
        }
        past.change(nights);
        past
    }

    /// Two nights, and the space of a third one that was forgotten.
    pub fn forgotten() -> Past {
        let mut past = Past::new(3);
        let first = past.nights.remove(0);
        past.work(&past.home.repo_path(), &Work::Forget(first.id), "forgetting");
        past
    }

    /// Two nights; the index of an archive is lost, what tells `tar` of a member of the other, and
    /// the README.
    pub fn damaged() -> Past {
        let past = Past::new(2);
        let (archives, lines) = (past.home.archives(), past.home.lines());
        let of = |archive: &PathBuf| -> Vec<(u64, u64)> {
            lines.iter().filter(|(path, _)| path == archive).map(|(_, line)| line.place()).collect()
        };
        let (last, stored) = *of(&archives[0]).last().unwrap();
        flip(&archives[0], (last + stored).next_multiple_of(512) as usize + 512 + 30);
        flip(&archives[1], of(&archives[1])[0].0 as usize - 510);
        fs::remove_file(past.home.repo_path().join("README.txt")).unwrap();
        past
    }

    /// Two nights, and two dumps of earlier days, which name a photo that is still there.
    pub fn with_dumps() -> Past {
        let past = Past::new(2);
        for (day, night) in IMPORTED.into_iter().zip(past.imported()) {
            let file = past.dumps().join(format!("last/immich-{day}-020000.sql"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, night.dump).unwrap();
            fs::File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .set_modified(night.id.time().into())
                .unwrap();
        }
        past
    }

    fn dumps(&self) -> PathBuf {
        self.home.dir.path().join("dumps")
    }

    /// What the snapshots have to give back that come of these dumps.
    pub fn imported(&self) -> Vec<Night> {
        let photo = noise(1, 20_000);
        let sum = sha1_of(&self.home.upload().join(format!("upload/{ANN}/stays-0.jpg")));
        let night = |(number, day): (usize, &str)| {
            let text = dump(300, 10 + number as u64).replacen(&format!("{:040x}", 1), &sum, 1);
            let id = format!("{}-{}-{}T020000Z", &day[..4], &day[4..6], &day[6..]).parse().unwrap();
            let files = BTreeMap::from([(format!("upload/{ANN}/1.jpg"), photo.clone())]);
            Night { id, files, dump: text.into_bytes() }
        };
        IMPORTED.into_iter().enumerate().map(night).collect()
    }

    /// A file comes, one goes, the dump is another one.
    pub fn change(&self, night: u64) {
        let name = |night: u64| format!("upload/{ANN}/night-{night}.jpg");
        self.home.write(name(night), &noise(night + 100, 60_000));
        if let Some(before) = night.checked_sub(1) {
            let _ = fs::remove_file(self.home.upload().join(name(before)));
        }
        self.home.write_dump(&dump(300, night));
    }

    /// The library as it is now, as the snapshot `id` has to give it back.
    pub fn night(&self, id: SnapshotId) -> Night {
        Night {
            id,
            files: files(&self.home.upload()),
            dump: fs::read(self.home.dump_path()).unwrap(),
        }
    }

    /// shoebox itself, told to do `work` on the repository in `root`.
    pub fn command(&self, root: &Path, work: &Work) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
        command.arg("--quiet").arg("-r").arg(root);
        match work {
            Work::Backup => {
                command.args(["backup", "--upload-location"]).arg(self.home.upload());
                command.arg("--dump").arg(self.home.dump_path())
            }
            Work::Forget(id) => command.args(["forget", "--apply", &id.to_string()]),
            Work::Prune => command.args(["prune", "--grace", "0d"]),
            Work::RepairCatalog => command.args(["repair", "catalog"]),
            Work::Repair => {
                command.args(["repair", "--apply", "--upload-location"]).arg(self.home.upload())
            }
            Work::Import => command.arg("import").arg(self.dumps()),
        };
        command
    }

    fn importing(&self) -> import::Options {
        import::Options {
            paths: vec![self.dumps()],
            database: None,
            accept_other_library: false,
            zone: TimeZone::UTC,
            now: Timestamp::now(),
            dry_run: false,
        }
    }

    /// shoebox itself, told to restore all of `night` to `folder`.
    pub fn restore(&self, night: &Night, folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
        command.arg("--quiet").arg("-r").arg(self.home.repo_path()).args([
            "restore",
            "--all",
            "--snapshot",
        ]);
        command.arg(night.id.to_string()).arg("--to").arg(folder);
        command
    }

    /// Does `work` on the repository in `root`; it has to succeed. What was forgotten already need
    /// not be forgotten again.
    pub fn work(&self, root: &Path, work: &Work, what: &str) {
        let repository = Repository::open(root).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let done = match work {
            Work::Backup => backup(&repository, self.home.options(), &SilentMonitor).map(drop),
            Work::Forget(id) => match forget(&repository, &forgetting(*id), &SilentMonitor) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                done => done.map(drop),
            },
            Work::Prune => prune(&repository, &pruning(), false, false, &SilentMonitor).map(drop),
            Work::RepairCatalog => repair::catalog(&repository, &SilentMonitor).map(drop),
            Work::Repair => {
                let options = repair::Options { apply: true, ..repair::Options::default() };
                repair::repair(root, &options, &SilentMonitor).map(drop)
            }
            Work::Import => import(&repository, &self.importing(), &SilentMonitor).map(drop),
        };
        done.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn forgetting(id: SnapshotId) -> forget::Options {
    let choice = ForgetChoice::Named(vec![id.to_string()]);
    forget::Options {
        choice,
        zone: TimeZone::UTC,
        now: Timestamp::now(),
        accept_clock: false,
        apply: true,
    }
}

fn pruning() -> prune::Options {
    prune::Options { max_unused: 20, grace: SignedDuration::ZERO, now: Timestamp::now() }
}

/// A temporary folder in memory, where there is one: nothing here is about the speed of a disk.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// The snapshots `nights` of the repository in `root` give back every byte, by the catalog as it
/// lies there.
pub fn assert_whole(root: &Path, nights: &[Night], what: &str) {
    let repository = Repository::open(root).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let contents = repository.contents();
    let catalog = repository.catalog().unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let db = catalog.connect().unwrap();
    let view = View::open(
        &repository.catalog_path(),
        Arc::new(repository.contents()),
        view::Options::default(),
    );
    let view = view.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    for night in nights {
        let top = view
            .snapshot(&night.id.to_string())
            .unwrap_or_else(|error| panic!("{what}: {error:?}"))
            .ino;
        for (path, bytes) in &night.files {
            assert!(
                read(&view, top, path, what) == *bytes,
                "{what}: {path} of {} is another",
                night.id
            );
        }
        let record =
            repository.record(night.id).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let mut text = Vec::new();
        let mut stream = StreamReader::new(&db, &contents, &record.streams.dump);
        std::io::Read::read_to_end(&mut stream, &mut text)
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!(text == night.dump, "{what}: the dump of {} is another", night.id);
    }
}

fn read(view: &View, top: view::Ino, path: &str, what: &str) -> Vec<u8> {
    let node = view.resolve(top, format!("files/{path}").as_bytes());
    let node = node.unwrap_or_else(|error| panic!("{what}: {path}: {error:?}"));
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < node.size {
        let piece = view
            .read(node.ino, bytes.len() as u64, 1 << 20, |piece| bytes.extend_from_slice(piece));
        piece.unwrap_or_else(|error| panic!("{what}: {path}: {error:?}"));
    }
    bytes
}

/// A check that reads everything finds nothing.
pub fn assert_sound(root: &Path, what: &str) {
    let monitor = ProblemCollector::default();
    let report = check(&Repository::open(root).unwrap(), CheckExtent::All, &monitor).unwrap();
    assert!(report.findings.is_empty(), "{what}: {:#?}", report.findings);
    assert_eq!(monitor.problems(), [], "{what}");
}

/// Every content and chunk that the archives of `root` hold, and how often.
pub fn stored(root: &Path) -> BTreeMap<Hash, usize> {
    let repository = Repository::open(root).unwrap();
    let mut stored = BTreeMap::new();
    for listed in repository.store().list("archives").unwrap() {
        for line in ArchiveReader::open(repository.store().open(&listed.name).unwrap())
            .unwrap()
            .lines()
            .unwrap()
        {
            let hash = match line {
                IndexLine::Content(line) => line.content,
                IndexLine::Chunk(line) => line.chunk,
            };
            *stored.entry(hash).or_default() += 1;
        }
    }
    stored
}

/// Ids of the snapshots that the catalog of `root` knows.
pub fn known(root: &Path) -> Vec<SnapshotId> {
    let db = Repository::open(root).unwrap().catalog().unwrap().connect().unwrap();
    shoebox::catalog::query::snapshot::ids(&db).unwrap()
}

/// Ids of the snapshots in `root`.
pub fn ids(root: &Path) -> Vec<SnapshotId> {
    Repository::open(root).unwrap().snapshot_ids().unwrap()
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    all.filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            (path, fs::read(entry.path()).unwrap())
        })
        .collect()
}
