//! Opening a repository.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::content::ContentReader;
use super::record::SnapshotRecord;
use super::session::WriteSession;
use super::{FORMAT_VERSION, lock};
use crate::base::durable::{sync, sync_folder};
use crate::base::monitor::SilentMonitor;
use crate::base::{Context, Error, ErrorKind, Result, SnapshotId};
use crate::catalog::Generation;
use crate::store::{self, FolderStore, Store};

/// A repository's own description: `shoebox.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RepositoryDescription {
    format: u32,
    id: Uuid,
    created: Timestamp,
    shoebox: String,
}

/// A repository that is there.
#[derive(Debug, Clone)]
pub struct Repository {
    root: PathBuf,
    description: RepositoryDescription,
    store: Arc<dyn Store>,
    /// How long a writer waits for the lock.
    patience: Duration,
}

const DESCRIPTION: &str = "shoebox.json";
const README_NAME: &str = "README.txt";
const README: &[u8] = include_bytes!("README.txt");
/// Where files go that are of no use any more: a person may look at them, and delete them.
const DAMAGED: &str = "damaged";
/// How the names of files in `tmp/` begin: drafts, catalogs, staged rows of a dump.
const SCRATCH: [&str; 4] = ["draft-", "catalog-", "dump-", ".tmp"];
/// Clocks of two machines differ by less: what is later than now by more is dated in the future.
pub const SKEW: SignedDuration = SignedDuration::from_hours(1);
/// No record is larger: that of a dump of two terabytes has 50 MB.
const RECORD_LIMIT: u64 = 64 << 20;

/// Bytes that are free on the disk of `folder` for whoever asks.
pub fn free_space(folder: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(folder)
        .context(|| format!("asking for the space of {}", folder.display()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

impl Repository {
    /// Makes a repository in the folder `root`, which must be empty or not there. What fails leaves
    /// it so.
    pub fn create(root: &Path) -> Result<Repository> {
        refuse_content(root)?;
        let missing: Vec<&Path> =
            root.ancestors().take_while(|folder| fs::symlink_metadata(folder).is_err()).collect();
        Repository::begin(root).inspect_err(|_| take_back(root, &missing))
    }

    fn begin(root: &Path) -> Result<Repository> {
        let folder = FolderStore::new(root);
        for name in ["archives", "snapshots", "notes", "tmp"] {
            folder.create_folder(name)?;
        }
        let root = fs::canonicalize(root).context(|| format!("opening {}", root.display()))?;
        set_private(&root)?;
        let folder = FolderStore::new(&root);
        store::write_all(&folder, README_NAME, README)?;
        let description = RepositoryDescription {
            format: FORMAT_VERSION,
            id: Uuid::new_v4(),
            created: Timestamp::now(),
            shoebox: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let json = encode(&description)?;
        let repository =
            Repository { root, description, store: Arc::new(folder), patience: Duration::ZERO };
        // The description comes last: without it the folder is no repository, and `init` can be run
        // again.
        drop(WriteSession::begin(&repository, "init", &SilentMonitor)?);
        store::write_all(&*repository.store, DESCRIPTION, &json)?;
        Ok(repository)
    }

    /// The repository in the folder `root`. `NotFound` when there is none, `Unsupported` when a
    /// newer shoebox made it.
    pub fn open(root: &Path) -> Result<Repository> {
        let root = fs::canonicalize(root).map_err(|error| not_here(root).caused_by(error))?;
        let folder = FolderStore::new(&root);
        let json =
            store::read_all(&folder, DESCRIPTION, 1 << 20).map_err(|error| match error.kind() {
                ErrorKind::NotFound => not_here(&root),
                ErrorKind::Permission => {
                    error.hint("repositories are private; run this as the user that owns it")
                }
                _ => error,
            })?;
        let description = describe(&json, &root)?;
        Ok(Repository { root, description, store: Arc::new(folder), patience: Duration::ZERO })
    }

    /// The same, whose writers wait for so long while another one is at work.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Repository {
        Repository { patience, ..self }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// The repository in the folder `root` even if its description is lost or is another's: records
    /// and catalog say which it is. With it, what is wrong with the description.
    pub fn recognize(root: &Path) -> Result<(Repository, Option<Error>)> {
        let (mut repository, wrong) = match Repository::open(root) {
            Ok(repository) => (repository, None),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Damaged) => {
                let Ok(root) = fs::canonicalize(root) else { return Err(error) };
                let description = RepositoryDescription {
                    format: FORMAT_VERSION,
                    id: Uuid::nil(),
                    created: Timestamp::now(),
                    shoebox: env!("CARGO_PKG_VERSION").to_owned(),
                };
                let store = Arc::new(FolderStore::new(&root));
                (Repository { description, store, root, patience: Duration::ZERO }, Some(error))
            }
            Err(error) => return Err(error),
        };
        match (repository.said_to_be(wrong.is_some()), wrong) {
            (Some(said), None) if said.id == repository.id() => Ok((repository, None)),
            (None, None) => Ok((repository, None)),
            (Some(said), wrong) => {
                let wrong = wrong.unwrap_or_else(|| {
                    Error::damaged(format_args!("{DESCRIPTION} belongs to another repository"))
                });
                repository.description = said;
                Ok((repository, Some(wrong)))
            }
            (None, Some(error)) => Err(error),
        }
    }

    /// What all records that can be read say of the repository; where there are none, what the
    /// catalog says, if it is asked.
    fn said_to_be(&self, asks_catalog: bool) -> Option<RepositoryDescription> {
        let records = self.snapshot_ids().ok()?.into_iter().filter_map(|id| self.record(id).ok());
        let said: Vec<_> =
            records.map(|record| (record.repository, record.id.time(), record.shoebox)).collect();
        let known = || {
            crate::catalog::query::meta(&*self.catalog().ok()?.connect().ok()?, "repository")
                .ok()?
        };
        let (id, created, shoebox) = match said.first() {
            Some(first) => first.clone(),
            None if !asks_catalog => return None,
            None => (known()?, self.description.created, self.description.shoebox.clone()),
        };
        let agree = said.iter().all(|(other, ..)| *other == id);
        let id = id.parse().ok().filter(|_| agree)?;
        Some(RepositoryDescription { format: FORMAT_VERSION, id, created, shoebox })
    }

    /// Writes the description again. One that is there and wrong is set aside.
    pub(super) fn write_description(&self) -> Result<()> {
        self.set_aside(DESCRIPTION)?;
        store::write_all(&*self.store, DESCRIPTION, &encode(&self.description)?)
    }

    /// Writes the folder's README again.
    pub(super) fn write_readme(&self) -> Result<()> {
        self.set_aside(README_NAME)?;
        store::write_all(&*self.store, README_NAME, README)
    }

    /// Moves the file `name`, which is of no use any more, to `damaged/`: durable on return.
    /// Nothing happens when it is not there.
    pub(super) fn set_aside(&self, name: &str) -> Result<()> {
        let (from, to) = (self.root.join(name), self.aside(name)?);
        let moving = || format!("moving {} to {}", from.display(), to.display());
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io(moving(), error)),
            Ok(()) => {
                sync_folder(&self.root.join(DAMAGED)).context(moving)?;
                sync_folder(from.parent().unwrap_or(&self.root)).context(moving)
            }
        }
    }

    /// A free name below `damaged/`.
    fn aside(&self, name: &str) -> Result<PathBuf> {
        FolderStore::new(&self.root).create_folder(DAMAGED)?;
        let name = format!("{}-{}", SnapshotId::at(Timestamp::now()), name.replace('/', "-"));
        let mut names =
            std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
        let free = names.find(|name| !self.root.join(DAMAGED).join(name).exists());
        Ok(self.root.join(DAMAGED).join(free.unwrap_or(name)))
    }

    /// Puts `json` in the place of the record of snapshot `id`; a damaged one that is there is kept
    /// in `damaged/`. At no time is there none where one was: whoever looks meanwhile must not take
    /// it for forgotten.
    pub(super) fn put_record(&self, id: SnapshotId, json: &[u8]) -> Result<()> {
        let target = self.root.join(record_name(id));
        let scratch = self.root.join("tmp").join(format!("draft-{}", Uuid::new_v4().simple()));
        if !target.exists() {
            return store::write_all(&*self.store, &record_name(id), json);
        }
        let replacing = || format!("writing {}", target.display());
        // A pipe has nothing to keep, and would be waited for.
        if target.is_file() {
            fs::copy(&target, self.aside(&record_name(id))?).context(replacing)?;
        }
        fs::write(&scratch, json).context(replacing)?;
        fs::set_permissions(&scratch, fs::Permissions::from_mode(0o600)).context(replacing)?;
        fs::File::open(&scratch).and_then(|file| sync(&file)).context(replacing)?;
        fs::rename(&scratch, &target).context(replacing)?;
        sync_folder(&self.root.join("snapshots")).context(replacing)
    }

    /// True when the folder's README is there.
    pub fn has_readme(&self) -> bool {
        fs::metadata(self.root.join(README_NAME)).is_ok_and(|meta| meta.len() > 0)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// When it was made.
    pub fn created(&self) -> Timestamp {
        self.description.created
    }

    /// Bytes that are free on its disk for whoever asks.
    pub fn free_space(&self) -> Result<u64> {
        free_space(&self.root)
    }

    /// What tells this repository from others.
    pub fn id(&self) -> Uuid {
        self.description.id
    }

    /// Where its files lie.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Where its catalog is.
    pub fn catalog_path(&self) -> PathBuf {
        self.root.join("catalog.sqlite")
    }

    /// The lock of the one run at a time, of a service or of `run --once`.
    pub fn run_lock_path(&self) -> PathBuf {
        self.root.join("tmp").join("run.lock")
    }

    /// Since when a run is under way.
    pub fn run_since(&self) -> Option<Timestamp> {
        super::RepositoryLock::held_since(&self.run_lock_path())
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// A fresh name for a file of work in progress.
    pub(super) fn scratch(&self, what: &str) -> Result<PathBuf> {
        Ok(self.store.work_folder()?.join(format!("{what}-{}", Uuid::new_v4().simple())))
    }

    /// The newest generation of the catalog. An error says how to get a missing or damaged one
    /// back.
    pub fn catalog(&self) -> Result<Generation> {
        Generation::open(&self.catalog_path()).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Error::new(ErrorKind::NotFound, "the repository's catalog is missing").hint(
                    "`shoebox repair catalog` builds a new one from the archives; no photo is lost",
                )
            }
            _ => error,
        })
    }

    /// Reads contents.
    pub fn contents(&self) -> ContentReader {
        ContentReader::new(self.store.clone(), self.catalog_path())
    }

    /// Ids of all snapshots, oldest first, by the records that exist.
    pub fn snapshot_ids(&self) -> Result<Vec<SnapshotId>> {
        let names = self.store.list("snapshots")?;
        let mut ids: Vec<SnapshotId> = names
            .iter()
            .filter_map(|listed| {
                listed.name.strip_prefix("snapshots/")?.strip_suffix(".json")?.parse().ok()
            })
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// Those of [`Repository::snapshot_ids`] that count: what a clock that was wrong dated to a
    /// time to come is kept aside until that time, or until it is forgotten by name. Nothing waits
    /// for it meanwhile.
    pub fn present_ids(&self) -> Result<Vec<SnapshotId>> {
        let now = Timestamp::now();
        Ok(self.snapshot_ids()?.into_iter().filter(|id| !is_to_come(*id, now)).collect())
    }

    /// The others, oldest first. Nobody can tell which clock was wrong: the one that they were made
    /// under, or that of now. So they stop no backup, and while there are any, nothing is forgotten
    /// by rules and nothing is pruned.
    pub fn ids_to_come(&self) -> Result<Vec<SnapshotId>> {
        let now = Timestamp::now();
        Ok(self.snapshot_ids()?.into_iter().filter(|id| is_to_come(*id, now)).collect())
    }

    /// The record of snapshot `id`; with what its dump was found to say when it was read again.
    pub fn record(&self, id: SnapshotId) -> Result<SnapshotRecord> {
        let name = record_name(id);
        let json = store::read_all(&*self.store, &name, RECORD_LIMIT)?;
        let record: SnapshotRecord = serde_json::from_slice(&json)
            .map_err(|error| newer_or_damaged(&json, &name).caused_by(error))?;
        match (record.format > FORMAT_VERSION, record.id == id) {
            (true, _) => Err(newer(record.format)),
            (false, true) => self.with_reading(record.as_written()),
            (false, false) => {
                Err(Error::damaged(format_args!("{name} is the record of {}", record.id)))
            }
        }
    }

    /// The name of this machine, as records have it.
    pub fn host() -> String {
        lock::host()
    }
}

/// True for the id of a snapshot that cannot have been made yet: a clock is or was wrong.
pub fn is_to_come(id: SnapshotId, now: Timestamp) -> bool {
    id.time().duration_since(now) > SKEW
}

fn encode(description: &RepositoryDescription) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(description)
        .map_err(|e| Error::new(ErrorKind::Io, "describing the repository").caused_by(e))
}

/// Where the record of snapshot `id` is.
pub(super) fn record_name(id: SnapshotId) -> String {
    format!("snapshots/{id}.json")
}

fn newer_or_damaged(json: &[u8], name: &str) -> Error {
    #[derive(Deserialize)]
    struct RepositoryFormat {
        format: u32,
    }
    match serde_json::from_slice::<RepositoryFormat>(json) {
        Ok(RepositoryFormat { format }) if format > FORMAT_VERSION => newer(format),
        _ => Error::damaged(name),
    }
}

fn describe(json: &[u8], root: &Path) -> Result<RepositoryDescription> {
    let name = root.join(DESCRIPTION);
    let description: RepositoryDescription = serde_json::from_slice(json).map_err(|error| {
        let error = newer_or_damaged(json, &name.display().to_string()).caused_by(error);
        if error.kind() == ErrorKind::Damaged {
            error.hint("`shoebox repair` writes it again; no photo is lost")
        } else {
            error
        }
    })?;
    if description.format > FORMAT_VERSION {
        Err(newer(description.format))
    } else {
        Ok(description)
    }
}

fn newer(format: u32) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format_args!("the repository has format {format}, this shoebox knows {FORMAT_VERSION}"),
    )
    .hint("a newer shoebox made it; install that version to use it")
}

fn not_here(root: &Path) -> Error {
    let error =
        Error::new(ErrorKind::NotFound, format_args!("no repository found in {}", root.display()));
    if root.join("snapshots").is_dir() && root.join("archives").is_dir() {
        let is_empty = |name: &str| {
            fs::read_dir(root.join(name)).is_ok_and(|mut entries| entries.next().is_none())
        };
        if is_empty("snapshots") && is_empty("archives") {
            return error.hint("an `init` was cut short there: run `shoebox init` again");
        }
        return error.hint(
            "its shoebox.json is missing; `shoebox repair` writes it again: no photo is lost",
        );
    }
    error.hint(
        "is the disk mounted? `shoebox init` makes a new repository; -r or SHOEBOX_REPOSITORY sets \
            the path",
    )
}

fn refuse_content(root: &Path) -> Result<()> {
    if root.join(DESCRIPTION).exists() {
        return Err(Error::new(
            ErrorKind::Exists,
            format_args!("{} is a repository already", root.display()),
        )
        .hint("run `shoebox backup`; an existing repository needs no init"));
    }
    match fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(format_args!("opening {}", root.display()), error)),
        Ok(entries) => {
            if entries.flatten().any(|entry| !is_left_over(&entry)) {
                Err(Error::new(ErrorKind::Exists, format_args!("{} is not empty", root.display()))
                    .hint(
                        "give init a new folder of its own, such as a folder `photos` on the \
                        backup disk",
                    ))
            } else {
                clear(root)
            }
        }
    }
}

/// True for what an `init` that was cut short leaves, and for a file system's own folder. Nothing
/// else is ever removed.
fn is_left_over(entry: &fs::DirEntry) -> bool {
    let path = entry.path();
    let inside = || {
        fs::read_dir(&path)
            .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>())
    };
    match entry.file_name().to_str() {
        Some("lost+found") => true,
        Some("archives" | "snapshots" | "notes") => inside().is_ok_and(|names| names.is_empty()),
        Some("tmp") => inside().is_ok_and(|names| names.iter().all(|name| is_scratch(name))),
        // A pipe would be waited for.
        Some("README.txt") => path.is_file() && fs::read(&path).is_ok_and(|text| text == README),
        Some("catalog.sqlite") => Generation::open(&path).is_ok(),
        Some("lock") => fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() < 1024),
        _ => false,
    }
}

/// True for the name of a file of work in progress.
pub(super) fn is_scratch(name: &OsStr) -> bool {
    SCRATCH.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

fn clear(root: &Path) -> Result<()> {
    for name in ["README.txt", "catalog.sqlite"] {
        match fs::remove_file(root.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format_args!("clearing {}", root.display()), error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes away what an `init` that failed has made below `root`, and the folders that were `missing`
/// before.
fn take_back(root: &Path, missing: &[&Path]) {
    // Whatever cannot be taken away stays, for the next try.
    for entry in fs::read_dir(root).into_iter().flatten().flatten().filter(is_left_over) {
        let path = entry.path();
        if entry.file_name() != "lost+found" {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
    for folder in missing {
        let _ = fs::remove_dir(folder);
    }
}

fn set_private(root: &Path) -> Result<()> {
    fs::set_permissions(root, fs::Permissions::from_mode(0o700))
        .context(|| format!("making {} private", root.display()))
}
