//! Real libraries, backed up, mounted, and compared with what Immich's own API said about them.
//!
//! The libraries lie in `../shared/immich` (or below `$SHOEBOX_SHARED`); without them the test says
//! that it was skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::Value;
use shoebox::base::monitor::ProblemCollector;
use shoebox::mount::{self, MountedView};
use shoebox::repo::Repository;
use shoebox::source::ExternalFolder;
use shoebox::task::backup::{self, DumpSource};
use shoebox::view::name::{safe, split};
use shoebox::view::{self, View};

/// What one file of a folder must be: one of two names, and the hash of its bytes.
#[derive(Debug, Clone)]
struct Expected {
    names: [String; 2],
    sha1: String,
    sidecar: bool,
}

/// Folders below a user's, and what each must show.
type Folders = BTreeMap<String, Vec<Expected>>;

fn shared() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("SHOEBOX_SHARED").map_or(beside, PathBuf::from).join("immich");
    folder.is_dir().then_some(folder)
}

fn sha1(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    hex::encode(<sha1::Sha1 as sha1::Digest>::digest(bytes))
}

fn untar(tar: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let done = Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(to).status().unwrap();
    assert!(done.success(), "{}", tar.display());
}

/// The folder that holds `upload/` and `library/`, wherever the tar put it.
fn upload_location(below: &Path) -> PathBuf {
    let found = walkdir::WalkDir::new(below)
        .max_depth(3)
        .into_iter()
        .flatten()
        .find(|entry| entry.file_name() == "upload");
    found.unwrap().path().parent().unwrap().to_owned()
}

struct Backed {
    dir: tempfile::TempDir,
    truth: Value,
    external: PathBuf,
}

/// Backs up `state` into a new repository.
fn back_up(shared: &Path, state: &Path) -> Backed {
    let dir = tempfile::tempdir().unwrap();
    untar(&state.join("upload-location.tar"), &dir.path().join("tar"));
    untar(&shared.join("external-library.tar"), &dir.path().join("external"));
    let repository = Repository::create(&dir.path().join("repo")).unwrap();
    let family = walkdir::WalkDir::new(dir.path().join("external"))
        .into_iter()
        .flatten()
        .find(|e| e.file_name() == "family");
    let external = family.map_or(dir.path().join("external"), |entry| entry.into_path());
    let options = backup::Options {
        upload_location: upload_location(&dir.path().join("tar")),
        dump: DumpSource::File(state.join("pg_dump-immich.sql")),
        database: None,
        generated: true,
        paranoid: false,
        reread_days: None,
        external: vec![ExternalFolder {
            server: "/mnt/external/family".into(),
            folder: external.clone(),
        }],
        folders: Vec::new(),
        exclude: Vec::new(),
        keep_bad_dump: false,
        accept_shrink: false,
        accept_little_space: false,
        accept_other_library: false,
        alarm_shrink: 10,
        max_age: jiff::SignedDuration::from_hours(48),
        readers: 2,
    };
    let monitor = ProblemCollector::default();
    backup::backup(&repository, options, &monitor).unwrap();
    let truth = serde_json::from_slice(&fs::read(state.join("truth.json")).unwrap()).unwrap();
    Backed { dir, truth, external }
}

fn mounted(backed: &Backed, locked: bool) -> (MountedView, PathBuf) {
    let repository = Repository::open(&backed.dir.path().join("repo")).unwrap();
    let options = view::Options { locked, user: None, time_zone: TimeZone::UTC };
    let view =
        View::open(&repository.catalog_path(), Arc::new(repository.contents()), options).unwrap();
    let point = backed.dir.path().join(format!("mount-{locked}"));
    fs::create_dir(&point).unwrap();
    let mount = MountedView::start(Arc::new(view), &point, &mount::Options::default()).unwrap();
    (mount, point)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The names that something called `name` may have: its own, or with the beginning of its id.
fn both(name: &str, id: &str) -> [String; 2] {
    let (stem, extension) = split(name);
    [name.to_owned(), format!("{stem} ({}){extension}", &id[..8])]
}

struct Truth<'a> {
    backed: &'a Backed,
    assets: BTreeMap<&'a str, &'a Value>,
    halves: BTreeSet<&'a str>,
}

impl<'a> Truth<'a> {
    fn new(backed: &'a Backed) -> Truth<'a> {
        let assets = list(&backed.truth, "assets");
        Truth {
            backed,
            assets: assets.iter().map(|asset| (text(asset, "id"), asset)).collect(),
            halves: assets.iter().filter_map(|asset| asset["livePhotoVideoId"].as_str()).collect(),
        }
    }

    fn visibility(&self, asset: &Value) -> &'static str {
        match (asset["visibility"].as_str(), asset["isArchived"].as_bool()) {
            (Some("locked"), _) => "locked",
            (Some("hidden"), _) => "hidden",
            (Some("archive"), _) | (None, Some(true)) => "archive",
            (None, _) if self.halves.contains(text(asset, "id")) => "hidden",
            _ => "timeline",
        }
    }

    /// Shown as itself: not in the trash, not locked, not hidden.
    fn is_shown(&self, asset: &Value) -> bool {
        asset["isTrashed"] == false && matches!(self.visibility(asset), "timeline" | "archive")
    }

    fn sha1(&self, asset: &Value) -> Option<String> {
        if asset["checksumIsSha1OfPath"] == true {
            let below = text(asset, "originalPath").strip_prefix("/mnt/external/family/")?;
            let file = self.backed.external.join(below);
            return file.exists().then(|| sha1(&file));
        }
        Some(text(asset, "checksumHex").to_owned())
    }

    /// The files of an asset: itself and its moving half.
    fn files(&self, asset: &Value) -> Vec<Expected> {
        let Some(sha1) = self.sha1(asset) else { return Vec::new() };
        let name = safe(text(asset, "originalFileName"), "unnamed");
        let id = text(asset, "id");
        let sidecar = asset["db"]["sidecarPath"].is_string();
        let mut files = vec![Expected { names: both(&name, id), sha1, sidecar }];
        if let Some(half) =
            asset["livePhotoVideoId"].as_str().and_then(|half| self.assets.get(half))
        {
            let moving = format!("{}{}", split(&name).0, split(text(half, "originalFileName")).1);
            files.push(Expected {
                names: both(&moving, id),
                sha1: self.sha1(half).unwrap(),
                sidecar: false,
            });
        }
        files
    }

    fn add(&self, folders: &mut Folders, folder: String, asset: &Value) {
        folders.entry(folder).or_default().extend(self.files(asset));
    }

    fn folders(&self, user: &Value, locked: bool) -> Folders {
        let email = text(user, "email");
        let shelves =
            ["favorites", "archived", "trash"].map(|shelf| (shelf.to_owned(), Vec::new()));
        let mut folders = Folders::from(shelves);
        for asset in self.assets.values().filter(|asset| text(asset, "ownerEmail") == email) {
            let visibility = self.visibility(asset);
            if self.is_shown(asset) {
                self.shown(&mut folders, asset, visibility);
            } else if asset["isTrashed"] == true && matches!(visibility, "timeline" | "archive") {
                self.add(&mut folders, "trash".into(), asset);
            } else if locked && visibility == "locked" {
                self.add(&mut folders, "locked".into(), asset);
            }
        }
        folders.retain(|folder, files| !files.is_empty() || !folder.starts_with("by date/"));
        folders
    }

    fn shown(&self, folders: &mut Folders, asset: &Value, visibility: &str) {
        if visibility == "timeline" {
            let taken = text(asset, "localDateTime");
            self.add(folders, format!("by date/{}/{}", &taken[..4], &taken[..7]), asset);
        } else {
            self.add(folders, "archived".into(), asset);
        }
        if asset["isFavorite"] == true {
            self.add(folders, "favorites".into(), asset);
        }
        for person in list(asset, "people") {
            self.add(
                folders,
                format!("people/{}", safe(person.as_str().unwrap(), "unnamed")),
                asset,
            );
        }
        for tag in list(asset, "tags") {
            let levels: Vec<_> =
                tag.as_str().unwrap().split('/').map(|level| safe(level, "tag")).collect();
            self.add(folders, format!("tags/{}", levels.join("/")), asset);
        }
        if asset["db"]["stackId"].is_string() {
            self.add(folders, "stacks".into(), asset);
        }
    }

    /// Albums that `email` sees: the two names that each may have, and its files.
    fn albums(&self, email: &str) -> Vec<([String; 2], Vec<Expected>)> {
        let sees = |album: &&Value| {
            text(album, "owner") == email
                || list(album, "users").iter().any(|user| text(user, "email") == email)
        };
        let shown = list(&self.backed.truth, "albums").iter().filter(sees);
        shown
            .map(|album| {
                let name = safe(text(album, "albumName"), "unnamed album");
                let suffixed = format!("{name} ({})", &text(album, "id")[..8]);
                let assets =
                    list(album, "assetIds").iter().map(|id| self.assets[id.as_str().unwrap()]);
                let files =
                    assets.filter(|asset| self.is_shown(asset)).flat_map(|asset| self.files(asset));
                ([name, suffixed], files.collect())
            })
            .collect()
    }
}

/// Names and hashes of the files right in `folder`.
fn files(folder: &Path) -> Vec<(String, String)> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = entries.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|entry| (entry.file_name().into_string().unwrap(), sha1(&entry.path()))).collect()
}

fn compare(folder: &Path, expected: &[Expected]) {
    compare_files(&folder.display().to_string(), files(folder), expected);
}

fn compare_files(what: &str, mut shown: Vec<(String, String)>, expected: &[Expected]) {
    for file in expected {
        let found =
            shown.iter().position(|(name, sha1)| file.names.contains(name) && *sha1 == file.sha1);
        let found = found.unwrap_or_else(|| panic!("{what}: {file:?} is not among {shown:?}"));
        let (name, _) = shown.swap_remove(found);
        let sidecar = shown.iter().position(|(other, _)| *other == format!("{name}.xmp"));
        assert_eq!(sidecar.is_some(), file.sidecar, "{what}: the sidecar of {name}");
        sidecar.map(|index| shown.swap_remove(index));
    }
    assert!(shown.is_empty(), "{what} shows {shown:?} too");
}

fn compare_user(truth: &Truth<'_>, user: &Value, top: &Path, locked: bool) {
    let home = top.join(safe(text(user, "name"), "unnamed"));
    let mut folders = truth.folders(user, locked);
    assert_eq!(home.join("locked").exists(), locked);
    let stacked = folders.remove("stacks").unwrap_or_default();
    let stacks =
        fs::read_dir(home.join("stacks")).unwrap().map(|entry| files(&entry.unwrap().path()));
    compare_files("stacks", stacks.flatten().collect(), &stacked);
    for (folder, expected) in &folders {
        compare(&home.join(folder), expected);
    }
    for shelf in ["by date", "people", "tags"] {
        for entry in walkdir::WalkDir::new(home.join(shelf)).into_iter().map(Result::unwrap) {
            let inside = entry.path().strip_prefix(&home).unwrap().to_str().unwrap();
            let known = folders
                .keys()
                .any(|folder| format!("{folder}/").starts_with(&format!("{inside}/")));
            // A tag that nothing carries any more is still a folder.
            assert!(
                entry.file_type().is_file() || known || entry.depth() == 0 || shelf == "tags",
                "{inside}"
            );
        }
    }
    let albums = truth.albums(text(user, "email"));
    assert_eq!(fs::read_dir(home.join("albums")).unwrap().count(), albums.len());
    for ([name, suffixed], expected) in albums {
        let folder = [suffixed, name]
            .map(|name| home.join("albums").join(name))
            .into_iter()
            .find(|folder| folder.exists());
        compare(&folder.unwrap(), &expected);
    }
}

/// Nothing of a locked asset is anywhere: not its bytes, not its names, not what was generated from
/// it.
fn nothing_locked(truth: &Truth<'_>, top: &Path) {
    let locked: Vec<&Value> = truth
        .assets
        .values()
        .copied()
        .filter(|asset| truth.visibility(asset) == "locked")
        .collect();
    let halves = locked
        .iter()
        .filter_map(|asset| truth.assets.get(asset["livePhotoVideoId"].as_str()?).copied());
    let private: Vec<&Value> = locked.iter().copied().chain(halves).collect();
    let hashes: BTreeSet<&str> = private.iter().map(|asset| text(asset, "checksumHex")).collect();
    for entry in walkdir::WalkDir::new(top)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
    {
        let name = entry.file_name().to_string_lossy();
        assert!(
            !private.iter().any(|asset| name.starts_with(text(asset, "id"))),
            "{}",
            entry.path().display()
        );
        assert!(!hashes.contains(sha1(entry.path()).as_str()), "{}", entry.path().display());
    }
}

#[test]
fn each_person_sees_what_immich_showed_them() {
    let Some(shared) = shared() else { return println!("skipped: no real libraries here") };
    let mut states: Vec<_> =
        fs::read_dir(&shared).unwrap().map(|entry| entry.unwrap().path()).collect();
    states.retain(|state| state.join("truth.json").exists());
    states.sort();
    for state in states {
        println!("{}", state.display());
        let backed = back_up(&shared, &state);
        let truth = Truth::new(&backed);
        for locked in [false, true] {
            let (_mount, point) = mounted(&backed, locked);
            let users = list(&backed.truth, "users");
            let top = point.join("latest/users");
            assert_eq!(fs::read_dir(&top).unwrap().count(), users.len());
            for user in users {
                compare_user(&truth, user, &top, locked);
            }
            if !locked {
                nothing_locked(&truth, &point.join("latest"));
            }
        }
    }
}

/// Path below the mount, and the hash of the bytes or the errno.
fn everything(point: &Path) -> BTreeMap<PathBuf, Result<String, Option<i32>>> {
    let all = walkdir::WalkDir::new(point.join("latest/")).into_iter().map(Result::unwrap);
    let files = all.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let read = fs::read(entry.path()).map_err(|error| error.raw_os_error());
            let hash = read.map(|bytes| hex::encode(<sha1::Sha1 as sha1::Digest>::digest(bytes)));
            (entry.path().strip_prefix(point).unwrap().to_owned(), hash)
        })
        .collect()
}

#[test]
fn flipped_bytes_in_an_archive_are_errors_and_never_other_bytes() {
    let Some(shared) = shared() else { return println!("skipped: no real libraries here") };
    let backed = back_up(&shared, &shared.join("state-1"));
    let (mount, point) = mounted(&backed, false);
    let before = everything(&point);
    drop(mount);
    fs::remove_dir(&point).unwrap();
    let archives = walkdir::WalkDir::new(backed.dir.path().join("repo/archives"))
        .into_iter()
        .map(Result::unwrap);
    let largest = archives
        .filter(|entry| entry.file_type().is_file())
        .max_by_key(|entry| entry.metadata().unwrap().len());
    let archive = largest.unwrap().into_path();
    let mut bytes = fs::read(&archive).unwrap();
    for at in (50_000..bytes.len() - 200_000).step_by(300_000) {
        bytes[at] ^= 1;
    }
    fs::write(&archive, bytes).unwrap();
    let (_mount, point) = mounted(&backed, false);
    let after = everything(&point);
    assert!(before.values().all(Result::is_ok) && before.keys().eq(after.keys()));
    for (path, read) in &after {
        assert!(
            read == &before[path] || read == &Err(Some(libc::EIO)),
            "{}: {read:?}",
            path.display()
        );
    }
    let damaged = after.values().filter(|read| read.is_err()).count();
    assert!(damaged > 3 && damaged < after.len() / 2, "{damaged} of {}", after.len());
}
