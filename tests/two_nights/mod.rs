//! A repository with two snapshots of the sample library: one before a summer, one after it. Shared
//! by the tests of a binary as long as any of them uses it; only read.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use serde_json::Value;
use shoebox::base::monitor::SilentMonitor;
use shoebox::repo::Repository;
use shoebox::source::ExternalFolder;
use shoebox::task::backup::{self, DumpSource};
use tempfile::TempDir;

use crate::support::postgres::debian;
use crate::support::{Era, Postgres, SampleLibrary, run, sample_library};

/// The repository, and what is true of it.
pub struct Nights {
    pub dir: TempDir,
    pub library: SampleLibrary,
    /// Of the first snapshot, and of the second.
    pub truth: [Value; 2],
    pub ids: [String; 2],
}

/// The two nights.
pub fn nights() -> Arc<Nights> {
    static KNOWN: Mutex<Weak<Nights>> = Mutex::new(Weak::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(nights) = known.upgrade() {
        return nights;
    }
    let nights = Arc::new(Nights::make());
    *known = Arc::downgrade(&nights);
    nights
}

/// What pg_dump prints of the sample library in `state`.
pub fn dump(state: u32, sql: &Path) -> &'static [u8] {
    static DUMPS: [OnceLock<Vec<u8>>; 2] = [OnceLock::new(), OnceLock::new()];
    DUMPS[state as usize - 1].get_or_init(|| {
        let server = Postgres::start(debian());
        server.create_database("immich");
        server.load("immich", sql);
        run(&mut server.client("pg_dump", "immich")).stdout
    })
}

impl Nights {
    fn make() -> Nights {
        let dir = tempfile::tempdir().unwrap();
        let library = sample_library(1, Era::New);
        let repository = Repository::create(&dir.path().join("repository")).unwrap();
        let night = |state: u32| {
            let file = dir.path().join("immich.sql");
            std::fs::write(&file, dump(state, &library.sql())).unwrap();
            let options = options(library.upload_location(), file, library.external());
            let id =
                backup::backup(&repository, options, &SilentMonitor).unwrap().record.id.to_string();
            (library.truth(), id)
        };
        let first = night(1);
        library.become_state(2);
        let second = night(2);
        drop(repository);
        Nights { dir, library, truth: [first.0, second.0], ids: [first.1, second.1] }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    pub fn repository(&self) -> Repository {
        Repository::open(&self.root()).unwrap()
    }

    /// A copy of the repository that may be spoiled.
    pub fn copy(&self) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        run(Command::new("cp").arg("-a").arg(self.root()).arg(dir.path()));
        let root = dir.path().join("repository");
        (dir, root)
    }

    /// The asset called `name` as it was in the first (0) or second (1) night.
    pub fn asset(&self, night: usize, name: &str) -> &Value {
        let assets = self.truth[night]["assets"].as_array().unwrap();
        let found = assets.iter().find(|asset| asset["originalFileName"] == name);
        found.unwrap_or_else(|| panic!("no {name} in night {night}"))
    }

    pub fn id(&self, night: usize, name: &str) -> uuid::Uuid {
        self.asset(night, name)["id"].as_str().unwrap().parse().unwrap()
    }

    /// Runs shoebox on this repository.
    pub fn shoebox(&self, arguments: &[&str]) -> Said {
        shoebox(&self.root(), arguments)
    }
}

/// How a run of shoebox ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The lines of the answer, as JSON.
    pub fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs shoebox on the repository `root`.
pub fn shoebox(root: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
    let Output { status, stdout, stderr } =
        command.arg("-r").arg(root).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

/// A plain backup of what lies at `upload_location`.
pub fn options(upload_location: PathBuf, dump: PathBuf, external: PathBuf) -> backup::Options {
    backup::Options {
        upload_location,
        dump: DumpSource::File(dump),
        database: None,
        generated: false,
        paranoid: false,
        reread_days: None,
        external: vec![ExternalFolder { server: "/mnt/external/family".into(), folder: external }],
        folders: Vec::new(),
        exclude: Vec::new(),
        keep_bad_dump: false,
        accept_shrink: false,
        accept_little_space: false,
        accept_other_library: false,
        alarm_shrink: 10,
        max_age: jiff::SignedDuration::from_hours(48),
        readers: 1,
    }
}

/// SHA-1 of a file, in hex.
pub fn sha1(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    hex::encode(<sha1::Sha1 as sha1::Digest>::digest(bytes))
}

/// The files below `folder`, sorted.
pub fn files(folder: &Path) -> Vec<String> {
    let all = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = all.filter(|entry| !entry.file_type().is_dir());
    files
        .map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned())
        .collect()
}
