//! What `users/` of a snapshot has to show, and whether a tree shows it.

use std::collections::{BTreeMap, BTreeSet};

use shoebox::base::SnapshotId;
use shoebox::view::name::{safe, split};

use crate::model::library::{Album, Asset, Rows, USERS, Visibility, uuid};
use crate::model::tree::{Entry, Tree};

/// What a snapshot is: a plain copy of the files, and the rows.
#[derive(Clone)]
pub struct Copy {
    pub id: SnapshotId,
    pub files: Tree,
    pub rows: Rows,
    pub dump: String,
}

/// A tree of `users/`, from which everything is taken that is as it should be.
pub struct Shown<'a> {
    what: String,
    left: BTreeMap<String, &'a Entry>,
}

impl<'a> Shown<'a> {
    pub fn new(what: &str, tree: &'a Tree) -> Shown<'a> {
        let left = tree
            .iter()
            .map(|(path, entry)| (String::from_utf8(path.clone()).unwrap(), entry))
            .collect();
        Shown { what: what.to_owned(), left }
    }

    /// All of `now`; `earlier` are the snapshots before it with their names, oldest first.
    pub fn expect(mut self, now: &Copy, earlier: &[(&str, &Copy)], locked: bool) {
        for (user, (_, name)) in USERS.iter().enumerate() {
            self.folder(name);
            for shelf in [
                "by date",
                "albums",
                "favorites",
                "archived",
                "trash",
                "people",
                "tags",
                "stacks",
                "deleted since",
            ] {
                self.folder(&format!("{name}/{shelf}"));
            }
            if locked {
                self.folder(&format!("{name}/locked"));
            }
            self.shelves(user, now, locked);
            self.albums(user, now);
            for (when, then) in earlier {
                self.deleted_since(user, when, then, now, locked);
            }
        }
        assert!(self.left.is_empty(), "{} shows more: {:#?}", self.what, self.left);
    }

    fn shelves(&mut self, user: usize, now: &Copy, locked: bool) {
        let mut folders: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (id, asset) in now.rows.assets.iter().filter(|(_, asset)| asset.owner == user) {
            for folder in shelves_of(asset, locked) {
                folders.entry(format!("{}/{folder}", USERS[user].1)).or_default().push(*id);
            }
        }
        let with_bytes = |id: &u32| now.rows.assets[id].bytes(&now.files).is_some();
        folders.retain(|folder, ids| !folder.contains("/by date/") || ids.iter().any(with_bytes));
        if folders.keys().any(|folder| folder.contains("/by date/")) {
            self.folder(&format!("{}/by date/2024", USERS[user].1));
        }
        for (folder, ids) in folders {
            if folder.contains("/by date/") {
                self.folder(&folder);
            }
            self.files(&folder, &ids, now);
        }
    }

    fn albums(&mut self, user: usize, now: &Copy) {
        let sees = |album: &Album| album.owner == user || album.shared;
        for (id, album) in now.rows.albums.iter().filter(|(_, album)| sees(album)) {
            let name = safe(album.name, "unnamed album");
            let above = format!("{}/albums", USERS[user].1);
            let folder = self.one_of(&above, [format!("{name} ({})", &uuid(*id)[..8]), name]);
            self.folder(&folder);
            let shown = |id: &&u32| is_shown(&now.rows.assets[*id]);
            let ids: Vec<u32> = album.assets.iter().filter(shown).copied().collect();
            self.files(&folder, &ids, now);
        }
    }

    fn deleted_since(&mut self, user: usize, when: &str, then: &Copy, now: &Copy, locked: bool) {
        let is_gone = |(id, asset): &(&u32, &Asset)| {
            let may = asset.visibility != Visibility::Hidden
                && (locked || asset.visibility != Visibility::Locked);
            let is_there = |other: &Asset| other.owner == asset.owner && other.sha1 == asset.sha1;
            let is_gone =
                !now.rows.assets.contains_key(id) && !now.rows.assets.values().any(is_there);
            asset.owner == user && may && is_gone && asset.bytes(&then.files).is_some()
        };
        let gone: Vec<u32> = then.rows.assets.iter().filter(is_gone).map(|(id, _)| *id).collect();
        if !gone.is_empty() {
            let folder = format!("{}/deleted since/{when}", USERS[user].1);
            self.folder(&folder);
            self.files(&folder, &gone, then);
        }
    }

    /// The assets `ids` of `copy` are in `folder`, each with its sidecar.
    fn files(&mut self, folder: &str, ids: &[u32], copy: &Copy) {
        let mut names = BTreeSet::new();
        for id in ids {
            let asset = &copy.rows.assets[id];
            let Some(bytes) = asset.bytes(&copy.files) else { continue };
            let name = safe(asset.name, "unnamed");
            let (stem, extension) = split(&name);
            let own = format!("{stem} ({}){extension}", &uuid(*id)[..8]);
            let before =
                self.called_before(folder, [stem, extension], (bytes, asset.taken()), copy);
            let path = match before {
                Some(before) if !self.left.contains_key(&format!("{folder}/{own}")) => before,
                _ => self.one_of(folder, [own, name.clone()]),
            };
            self.file(&path, bytes, asset.taken());
            if let Some(sidecar) = asset.sidecar(&copy.files) {
                self.file(&format!("{path}.xmp"), sidecar, asset.taken());
            }
            assert!(names.insert(path), "{}: {id} takes another's name", self.what);
        }
    }

    /// What is in `folder` with these bytes and this time under an id that is gone: a photo that
    /// was given back keeps its name.
    fn called_before(
        &self,
        folder: &str,
        name: [&str; 2],
        like: (&[u8], i64),
        copy: &Copy,
    ) -> Option<String> {
        let [stem, extension] = name;
        let (start, end) = (format!("{folder}/{stem} ("), format!("){extension}"));
        let there = copy.rows.assets.iter().filter(|(_, asset)| asset.bytes(&copy.files).is_some());
        let there: BTreeSet<String> = there.map(|(id, _)| uuid(*id)[..8].to_owned()).collect();
        let is_gone = |path: &str| {
            let id = path.strip_prefix(&start).and_then(|rest| rest.strip_suffix(&end));
            id.is_some_and(|id| id.len() == 8 && !there.contains(id))
        };
        let mut found = self
            .left
            .iter()
            .filter(|(path, entry)| is_gone(path) && (&entry.bytes[..], entry.mtime) == like);
        found.next().map(|(path, _)| path.clone())
    }

    /// The first of these names that is in `folder`.
    fn one_of(&self, folder: &str, names: [String; 2]) -> String {
        let [long, short] = names.map(|name| format!("{folder}/{name}"));
        if self.left.contains_key(&long) { long } else { short }
    }

    fn file(&mut self, path: &str, bytes: &[u8], mtime: i64) {
        let found = self
            .left
            .remove(path)
            .unwrap_or_else(|| panic!("{}: {path} is not among {:#?}", self.what, self.left));
        assert!(
            found.kind == 'f' && found.bytes == bytes,
            "{}: {path} has other bytes: {found:?}",
            self.what
        );
        assert_eq!(found.mtime, mtime, "{}: the time of {path}", self.what);
    }

    fn folder(&mut self, path: &str) {
        let found = self
            .left
            .remove(path)
            .unwrap_or_else(|| panic!("{}: no folder {path} in {:#?}", self.what, self.left));
        assert_eq!(found.kind, 'd', "{}: {path}", self.what);
    }
}

/// Shown as itself: not in the trash, not locked, not hidden.
fn is_shown(asset: &Asset) -> bool {
    !asset.trashed && matches!(asset.visibility, Visibility::Timeline | Visibility::Archive)
}

fn shelves_of(asset: &Asset, locked: bool) -> Vec<String> {
    let mut folders = Vec::new();
    match asset.visibility {
        Visibility::Hidden => return folders,
        Visibility::Locked => return if locked { vec!["locked".into()] } else { folders },
        _ if asset.trashed => return vec!["trash".into()],
        Visibility::Timeline => folders.push(format!("by date/2024/2024-{:02}", asset.month)),
        Visibility::Archive => folders.push("archived".into()),
    }
    if asset.favorite {
        folders.push("favorites".into());
    }
    folders
}
