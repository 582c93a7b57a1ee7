//! A library as plain values, on disk and in a dump: what is changed, and what each snapshot has to
//! show of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use crate::backup_library::{noise, set_mtime, text};
use crate::model::tree::{Tree, tree_of_folder};

/// Accounts: id and name.
pub const USERS: [(&str, &str); 2] = [
    ("11111111-1111-4111-8111-111111111111", "Ann"),
    ("22222222-2222-4222-8222-222222222222", "Bo"),
];

/// So few names, for photos and for albums, that they clash.
const NAMES: [&str; 4] = ["a.jpg", "A.JPG", "a.jpg.xmp", "b"];
const ALBUMS: [&str; 3] = ["Rome", "rome", "x/y"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    Timeline,
    Archive,
    Hidden,
    Locked,
}

#[derive(Debug, Clone)]
pub struct Asset {
    pub owner: usize,
    pub name: &'static str,
    pub month: u8,
    /// Where the file is, below UPLOAD_LOCATION; and where the database says that it is.
    place: String,
    named: String,
    pub sha1: String,
    pub trashed: bool,
    pub favorite: bool,
    pub visibility: Visibility,
    sidecar: bool,
}

#[derive(Debug, Clone)]
pub struct Album {
    pub name: &'static str,
    pub owner: usize,
    pub shared: bool,
    pub assets: BTreeSet<u32>,
}

/// Rows of the database.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    pub assets: BTreeMap<u32, Asset>,
    pub albums: BTreeMap<u32, Album>,
}

/// A change of the library. Numbers pick one of what is there.
#[derive(Debug, Clone)]
pub enum Change {
    Add {
        owner: usize,
        name: usize,
        month: u8,
        bytes: usize,
    },
    /// The file and what the database records of it: what becomes of a photo where the two differ
    /// is in `tests/repository/kept.rs`, in random nights too.
    Edit {
        asset: usize,
        bytes: usize,
    },
    Touch(usize),
    Mode(usize, u32),
    Rename(usize, usize),
    /// By the storage template; the database may learn of it or not.
    Move {
        asset: usize,
        told: bool,
    },
    Trash(usize),
    Restore(usize),
    Favorite(usize),
    Show(usize, usize),
    Delete(usize),
    /// The file goes, the row stays.
    Lose(usize),
    Sidecar(usize),
    /// The file alone changes, or goes.
    EditSidecar(usize, bool),
    CreateAlbum {
        owner: usize,
        name: usize,
        shared: bool,
    },
    RenameAlbum(usize, usize),
    AddToAlbum(usize, usize),
    RemoveFromAlbum(usize, usize),
    DeleteAlbum(usize),
    /// A file that no row names, a further name of one, a symlink; gone when it is there already.
    Loose(usize, usize),
    HardLink(usize),
    Symlink(usize),
}

pub struct Library {
    pub root: PathBuf,
    pub rows: Rows,
    next: u32,
    ticks: i64,
}

impl Library {
    /// An empty library with Immich's markers.
    pub fn new(root: &Path) -> Library {
        for name in ["upload", "library", "profile"] {
            fs::create_dir_all(root.join(name)).unwrap();
            fs::write(root.join(name).join(".immich"), "1700000000000").unwrap();
        }
        Library { root: root.to_owned(), rows: Rows::default(), next: 1, ticks: 0 }
    }

    /// What a plain copy of the files would be.
    pub fn copy(&self) -> Tree {
        tree_of_folder(&self.root)
    }

    pub fn change(&mut self, change: &Change) {
        match *change {
            Change::Add { owner, name, month, bytes } => {
                self.add(owner, NAMES[name], month, &content(bytes))
            }
            Change::CreateAlbum { owner, name, shared } => {
                let id = self.id();
                self.rows.albums.insert(
                    id,
                    Album { name: ALBUMS[name], owner, shared, assets: BTreeSet::new() },
                );
            }
            Change::RenameAlbum(album, name) => {
                self.album(album, |album, _| album.name = ALBUMS[name])
            }
            Change::AddToAlbum(album, asset) => self.album(album, |album, assets| {
                album.assets.extend(pick(assets, asset));
            }),
            Change::RemoveFromAlbum(album, asset) => self.album(album, |album, _| {
                let gone = album.assets.iter().nth(asset % album.assets.len().max(1)).copied();
                gone.map(|gone| album.assets.remove(&gone));
            }),
            Change::DeleteAlbum(album) => {
                if let Some(id) =
                    self.rows.albums.keys().nth(album % self.rows.albums.len().max(1)).copied()
                {
                    self.rows.albums.remove(&id);
                }
            }
            Change::Loose(name, bytes) => self.toggle(&format!("upload/loose-{name}"), |path| {
                fs::write(path, content(bytes)).unwrap();
            }),
            Change::Symlink(name) => {
                self.toggle(&format!("library/link-{name}"), |path| {
                    symlink("../upload", path).unwrap()
                });
            }
            Change::HardLink(asset) => {
                let Some(first) = self.asset(asset).map(|asset| self.root.join(&asset.place))
                else {
                    return;
                };
                if first.exists() {
                    self.toggle("profile/hard link", |path| fs::hard_link(&first, path).unwrap());
                }
            }
            _ => self.change_asset(change),
        }
    }

    fn change_asset(&mut self, change: &Change) {
        match *change {
            Change::Edit { asset, bytes } => {
                let is_there =
                    self.asset(asset).is_some_and(|asset| self.root.join(&asset.place).exists());
                self.file(asset, |path| fs::write(path, content(bytes)).unwrap());
                if is_there {
                    self.row(asset, |asset| asset.sha1 = hex::encode(Sha1::digest(content(bytes))));
                }
            }
            Change::Touch(asset) => self.file(asset, |_| ()),
            Change::Mode(asset, mode) => {
                self.file(asset, |path| {
                    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap()
                });
            }
            Change::Lose(asset) => {
                self.file(asset, |path| fs::remove_file(path).unwrap());
                let unknown = hex::encode(Sha1::digest(format!("unknown {}", self.ticks)));
                self.row(asset, |asset| asset.sha1 = unknown);
            }
            Change::Rename(asset, name) => self.row(asset, |asset| asset.name = NAMES[name]),
            Change::Trash(asset) => self.row(asset, |asset| asset.trashed = true),
            Change::Restore(asset) => self.row(asset, |asset| asset.trashed = false),
            Change::Favorite(asset) => self.row(asset, |asset| asset.favorite = !asset.favorite),
            Change::Show(asset, visibility) => {
                const ALL: [Visibility; 4] = [
                    Visibility::Timeline,
                    Visibility::Archive,
                    Visibility::Hidden,
                    Visibility::Locked,
                ];
                self.row(asset, |asset| asset.visibility = ALL[visibility]);
            }
            Change::Sidecar(asset) => {
                let Some(path) = self.asset(asset).map(|asset| format!("{}.xmp", asset.named))
                else {
                    return;
                };
                self.toggle(&path, |path| fs::write(path, "<xmp>").unwrap());
                let there = self.root.join(&path).exists();
                self.row(asset, |asset| asset.sidecar = there);
            }
            Change::EditSidecar(asset, gone) => {
                let Some(path) = self.asset(asset).map(|asset| format!("{}.xmp", asset.named))
                else {
                    return;
                };
                let path = self.root.join(path);
                match (path.exists(), gone) {
                    (false, _) => {}
                    (true, true) => fs::remove_file(&path).unwrap(),
                    (true, false) => fs::write(&path, format!("<xmp {}>", self.ticks)).unwrap(),
                }
                self.tick(&path);
            }
            Change::Move { asset, told } => self.relocate(asset, told),
            Change::Delete(asset) => {
                self.file(asset, |path| fs::remove_file(path).unwrap());
                let Some(id) = pick(&self.rows.assets, asset) else { return };
                self.rows.assets.remove(&id);
                self.rows
                    .albums
                    .values_mut()
                    .for_each(|album| album.assets.retain(|asset| *asset != id));
            }
            _ => unreachable!("{change:?} is no change of an asset"),
        }
    }

    fn id(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn add(&mut self, owner: usize, name: &'static str, month: u8, bytes: &[u8]) {
        let id = self.id();
        let place = format!("upload/{}/{id}", USERS[owner].0);
        let sha1 = hex::encode(Sha1::digest(bytes));
        let (named, visibility) = (place.clone(), Visibility::Timeline);
        let asset = Asset {
            owner,
            name,
            month,
            place,
            named,
            sha1,
            trashed: false,
            favorite: false,
            visibility,
            sidecar: false,
        };
        let path = self.root.join(&asset.place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        self.tick(&path);
        self.rows.assets.insert(id, asset);
    }

    fn relocate(&mut self, number: usize, told: bool) {
        let ticks = self.ticks;
        let Some(asset) = self.asset(number) else { return };
        let (from, to) = (
            self.root.join(&asset.place),
            format!("library/{}/{ticks}/{}", USERS[asset.owner].1, asset.name),
        );
        if from.exists() {
            fs::create_dir_all(self.root.join(&to).parent().unwrap()).unwrap();
            fs::rename(from, self.root.join(&to)).unwrap();
            self.ticks += 1;
            self.row(number, |asset| {
                asset.place.clone_from(&to);
                if told {
                    asset.named = to;
                }
            });
        }
    }

    fn asset(&self, number: usize) -> Option<&Asset> {
        self.rows.assets.get(&pick(&self.rows.assets, number)?)
    }

    fn row(&mut self, number: usize, change: impl FnOnce(&mut Asset)) {
        if let Some(id) = pick(&self.rows.assets, number) {
            change(self.rows.assets.get_mut(&id).unwrap());
        }
    }

    fn album(&mut self, number: usize, change: impl FnOnce(&mut Album, &BTreeMap<u32, Asset>)) {
        let count = self.rows.albums.len().max(1);
        if let Some(album) = self.rows.albums.values_mut().nth(number % count) {
            change(album, &self.rows.assets);
        }
    }

    /// Changes the file of an asset, if it is there.
    fn file(&mut self, number: usize, change: impl FnOnce(&Path)) {
        let Some(path) = self.asset(number).map(|asset| self.root.join(&asset.place)) else {
            return;
        };
        if path.exists() {
            change(&path);
            self.tick(&path);
        }
    }

    /// Removes `path` where it is there; else `make` makes it.
    fn toggle(&mut self, path: &str, make: impl FnOnce(&Path)) {
        let path = self.root.join(path);
        if path.symlink_metadata().is_ok() {
            return fs::remove_file(path).unwrap();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        make(&path);
        self.tick(&path);
    }

    /// Another time for what was written just now.
    fn tick(&mut self, path: &Path) {
        self.ticks += 1;
        if path.symlink_metadata().is_ok() {
            set_mtime(path, 1_600_000_000_000_000_000 + self.ticks * 1_000_000_007);
        }
    }

    /// What pg_dump prints of the rows.
    pub fn dump(&self) -> String {
        let mut text = String::from(
            "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.20\n-- \
                Dumped by pg_dump version 15.20\n\n\
             SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n\n",
        );
        let mut copy = |table: &str, columns: &str, rows: Vec<String>| {
            writeln!(text, "CREATE TABLE public.{table} (x text);\n").unwrap();
            writeln!(text, "COPY public.{table} ({columns}) FROM stdin;").unwrap();
            rows.iter().for_each(|row| writeln!(text, "{row}").unwrap());
            text.push_str("\\.\n\n\n");
        };
        let Rows { assets, albums } = &self.rows;
        let album = |(id, album): (&u32, &Album)| {
            format!("{}\t{}\t2020-01-01 00:00:00+00", uuid(*id), album.name)
        };
        copy("album", "id, \"albumName\", \"createdAt\"", albums.iter().map(album).collect());
        let member = |id: u32, album: &Album| {
            album
                .assets
                .iter()
                .map(|asset| format!("{}\t{}", uuid(id), uuid(*asset)))
                .collect::<Vec<_>>()
        };
        let members = albums.iter().flat_map(|(id, album)| member(*id, album)).collect();
        copy("album_asset", "\"albumId\", \"assetId\"", members);
        let seen = |(id, album): (&u32, &Album)| {
            let other = album
                .shared
                .then(|| format!("{}\t{}\tviewer", uuid(*id), USERS[1 - album.owner].0));
            [Some(format!("{}\t{}\towner", uuid(*id), USERS[album.owner].0)), other]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        };
        copy("album_user", "\"albumId\", \"userId\", role", albums.iter().flat_map(seen).collect());
        let columns = "id, \"ownerId\", type, \"originalPath\", \"originalFileName\", checksum, \
            \"localDateTime\", \"fileCreatedAt\", \"createdAt\", \"deletedAt\", status, \
            visibility, \"isFavorite\"";
        copy("asset", columns, assets.iter().map(|(id, asset)| asset_row(*id, asset)).collect());
        let sidecar = |(id, asset): (&u32, &Asset)| {
            asset.sidecar.then(|| format!("{}\t/data/{}.xmp\tsidecar", uuid(*id), asset.named))
        };
        copy("asset_file", "\"assetId\", path, type", assets.iter().filter_map(sidecar).collect());
        let user = |(id, name): &(&str, &str)| format!("{id}\t{name}\t{name}@example.com");
        copy("\"user\"", "id, name, email", USERS.iter().map(user).collect());
        text.push_str("--\n-- PostgreSQL database dump complete\n--\n\n");
        text
    }
}

fn asset_row(id: u32, asset: &Asset) -> String {
    let taken = format!("2024-{:02}-01 10:00:00+00", asset.month);
    let (deleted, status) =
        if asset.trashed { ("2025-01-01 00:00:00+00", "trashed") } else { ("\\N", "active") };
    let visibility = format!("{:?}", asset.visibility).to_lowercase();
    let favorite = if asset.favorite { "t" } else { "f" };
    let (owner, named, name, sha1) = (USERS[asset.owner].0, &asset.named, asset.name, &asset.sha1);
    let added = format!("2024-05-01 10:{:02}:{:02}+00", id / 60 % 60, id % 60);
    format!(
        "{}\t{owner}\tIMAGE\t/data/{named}\t{name}\t\\\\x{sha1}\t{taken}\t{taken}\t{added}\t{deleted}\t{status}\t{visibility}\t{favorite}",
        uuid(id)
    )
}

pub fn uuid(id: u32) -> String {
    format!("{id:08x}-3333-4333-8333-333333333333")
}

fn pick(assets: &BTreeMap<u32, Asset>, number: usize) -> Option<u32> {
    assets.keys().nth(number % assets.len().max(1)).copied()
}

/// So few contents that they are the same now and then: none, small ones, one that shrinks, one of
/// two segments.
fn content(number: usize) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        3 => text(3_000),
        4 => noise(4, (1 << 20) + 5),
        _ => noise(number as u64, 300),
    }
}

impl Asset {
    /// The bytes that a snapshot with these files has of it: by path, else by SHA-1.
    pub fn bytes<'a>(&self, files: &'a Tree) -> Option<&'a [u8]> {
        let files_only = |path: &[u8]| {
            files.get(path).filter(|entry| entry.kind == 'f').map(|entry| &entry.bytes[..])
        };
        let alike = || {
            files.values().filter(|entry| entry.kind == 'f').find(|entry| entry.sha1 == self.sha1)
        };
        files_only(self.named.as_bytes()).or_else(|| alike().map(|entry| &entry.bytes[..]))
    }

    pub fn sidecar<'a>(&self, files: &'a Tree) -> Option<&'a [u8]> {
        let entry = files.get(format!("{}.xmp", self.named).as_bytes()).filter(|_| self.sidecar)?;
        Some(&entry.bytes)
    }

    /// Nanoseconds since 1970.
    pub fn taken(&self) -> i64 {
        let time: jiff::Timestamp = format!("2024-{:02}-01T10:00:00Z", self.month).parse().unwrap();
        i64::try_from(time.as_nanosecond()).unwrap()
    }
}
