//! Where the tree shows an asset: its path without the snapshot, as `shoebox ls` and the mount have
//! it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::{AssetFinder, FindHit};
use crate::base::library::Visibility;
use crate::base::{Result, SnapshotId};
use crate::catalog::ImmichId;
use crate::catalog::night::AssetRow;
use crate::catalog::query::folder;
use crate::catalog::query::snapshot;
use crate::view::ino::{NodePlace, SmartFolder, SnapshotNode};
use crate::view::{AssetPart, Ino};

/// Where one asset is in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreePlace {
    /// Below the snapshot: `users/Ann Lee/by date/2024/2024-05/IMG_1.HEIC`.
    pub path: String,
    /// The folder that holds it.
    pub folder: String,
    pub(in crate::task) ino: Ino,
}

/// The names in a folder, by what they stand for.
type PlaceNames = Rc<HashMap<Ino, String>>;

/// Looks up paths of hits. Each folder is listed once.
pub struct PlaceFinder<'a> {
    finder: &'a AssetFinder,
    folders: HashMap<Ino, PlaceNames>,
    numbers: HashMap<i64, Option<u16>>,
    users: HashMap<(i64, ImmichId), Option<(u64, String)>>,
}

impl<'a> PlaceFinder<'a> {
    pub(super) fn new(finder: &'a AssetFinder) -> Self {
        PlaceFinder {
            finder,
            folders: HashMap::new(),
            numbers: HashMap::new(),
            users: HashMap::new(),
        }
    }

    /// Where the tree shows `hit`; `None` when it has no bytes in the snapshot, so is nowhere.
    pub fn shown(&mut self, hit: &FindHit) -> Result<Option<TreePlace>> {
        let Some(number) = self.number(hit.at)? else { return Ok(None) };
        if hit.version.visibility != Visibility::Hidden {
            return self.on_shelf(&hit.version, hit.at, number, AssetPart::Original);
        }
        // A moving half is where its photo is.
        match self.finder.night(hit.at).photo_of(&hit.version.id)? {
            Some(photo) => self.on_shelf(&photo, hit.at, number, AssetPart::Video),
            None => Ok(None),
        }
    }

    fn on_shelf(
        &mut self,
        asset: &AssetRow,
        at: i64,
        number: u16,
        part: AssetPart,
    ) -> Result<Option<TreePlace>> {
        let Some((user, owner)) = self.user(at, &asset.owner)? else { return Ok(None) };
        let (shelf, folder, below) = match (asset.visibility, asset.trashed) {
            (Visibility::Locked, _) => {
                (SmartFolder::Locked, SnapshotNode::Shelf(SmartFolder::Locked, user), String::new())
            }
            (_, true) => {
                (SmartFolder::Trash, SnapshotNode::Shelf(SmartFolder::Trash, user), String::new())
            }
            (Visibility::Archive, _) => (
                SmartFolder::Archived,
                SnapshotNode::Shelf(SmartFolder::Archived, user),
                String::new(),
            ),
            (Visibility::Timeline | Visibility::Hidden, _) => {
                (SmartFolder::ByDate, SnapshotNode::Month(user, asset.month), month(asset.month))
            }
        };
        let pack = |spot| NodePlace::In(number, spot).pack();
        let Some(folder) = pack(folder) else { return Ok(None) };
        let names = self.names(folder)?;
        let inos = part
            .kept()
            .into_iter()
            .chain([part])
            .filter_map(|part| pack(SnapshotNode::Item(shelf, asset.row, part)));
        let mut named = inos.filter_map(|ino| Some((ino, names.get(&ino)?.clone())));
        let Some((ino, name)) = named.next() else { return Ok(None) };
        let folder = format!("users/{owner}/{}{below}", shelf.name());
        Ok(Some(TreePlace { path: format!("{folder}/{name}"), folder, ino }))
    }

    /// The row of the user with `id`, and the name of their folder.
    pub(in crate::task) fn user(
        &mut self,
        at: i64,
        id: &ImmichId,
    ) -> Result<Option<(u64, String)>> {
        if let Some(known) = self.users.get(&(at, *id)) {
            return Ok(known.clone());
        }
        let found = self.look_up_user(at, id)?;
        self.users.insert((at, *id), found.clone());
        Ok(found)
    }

    fn look_up_user(&mut self, at: i64, id: &ImmichId) -> Result<Option<(u64, String)>> {
        let Some(number) = self.number(at)? else { return Ok(None) };
        let Some(row) = self.finder.night(at).user_row(id)? else { return Ok(None) };
        let pack = |spot| NodePlace::In(number, spot).pack();
        let (Some(users), Some(user)) = (pack(SnapshotNode::Users), pack(SnapshotNode::User(row)))
        else {
            return Ok(None);
        };
        Ok(self.names(users)?.get(&user).map(|name| (row, name.clone())))
    }

    /// What the folder of the album `id` is called where its owner sees it.
    pub(in crate::task) fn album(&mut self, at: i64, id: &ImmichId) -> Result<Option<String>> {
        let Some(number) = self.number(at)? else { return Ok(None) };
        let Some((row, owner)) = self.finder.night(at).seen_by(id)?.first().copied() else {
            return Ok(None);
        };
        let Some((user, _)) = self.user(at, &owner)? else { return Ok(None) };
        let pack = |spot| NodePlace::In(number, spot).pack();
        let (Some(albums), Some(album)) =
            (pack(SnapshotNode::Shelf(SmartFolder::Albums, user)), pack(SnapshotNode::Album(row)))
        else {
            return Ok(None);
        };
        Ok(self.names(albums)?.get(&album).cloned())
    }

    /// The number of the snapshot at `at`.
    pub(in crate::task) fn number(&mut self, at: i64) -> Result<Option<u16>> {
        if let Some(known) = self.numbers.get(&at) {
            return Ok(*known);
        }
        let number = snapshot::snapshots(&self.finder.db, at, at.saturating_add(1))?
            .first()
            .map(|found| found.number);
        self.numbers.insert(at, number);
        Ok(number)
    }

    fn names(&mut self, folder: Ino) -> Result<PlaceNames> {
        if let Some(known) = self.folders.get(&folder) {
            return Ok(known.clone());
        }
        let mut names = HashMap::new();
        self.finder.view.children(folder, 0, &mut |entry| {
            names.insert(entry.node.ino, String::from_utf8_lossy(entry.name).into_owned());
            ControlFlow::Continue(())
        })?;
        let names = Rc::new(names);
        self.folders.insert(folder, names.clone());
        Ok(names)
    }

    /// Where the file list shows the place `folder` and the file `name` in it: `files/upload/…`.
    pub(in crate::task) fn file(&self, folder: i64, name: &[u8]) -> Result<String> {
        let path = folder::path_in(&self.finder.db, folder, name)?;
        Ok(format!("files/{}", String::from_utf8_lossy(&path)))
    }
}

fn month(month: i64) -> String {
    let year = month.div_euclid(12);
    format!("/{year:04}/{year:04}-{:02}", month.rem_euclid(12) + 1)
}

impl FindHit {
    /// The snapshot that shows it so.
    pub fn snapshot(&self) -> Result<SnapshotId> {
        SnapshotId::from_seconds(self.at)
    }
}
