//! What a node is like, which folder it lies in, and where its bytes are: for each kind of node one
//! query or two.

use std::sync::Arc;

use uuid::Uuid;

use super::ino::{Ino, Part, Place, Shelf, Spot};
use super::read::Bytes;
use super::users::{At, milliseconds};
use super::{Asset, Kind, Node};
use crate::base::{Error, Result};
use crate::catalog::query::kept::{self, OnDisk};
use crate::catalog::query::view::{self as ask, Table, Tie};
use crate::repo::record::Stream;
use crate::repo::record_of;

/// The asset behind a node: as of when, and which file of it.
#[derive(Debug, Clone, Copy)]
struct Shown {
    asset: ask::Asset,
    at: i64,
    part: Part,
}

impl At<'_> {
    /// The attributes of `spot`, which is `ino`.
    pub fn node(&self, spot: Spot, ino: Ino) -> Result<Node> {
        let folder = Node::folder(ino, self.mtime());
        match spot {
            Spot::Top | Spot::Users => Ok(folder),
            Spot::Files if self.shows_files() => Ok(folder),
            Spot::Files => Err(Error::not_found("folder")),
            Spot::Database => self.whole().map(|()| folder),
            Spot::Dump => self.dump()?.ok_or_else(|| Error::not_found("dump")),
            Spot::User(user) => self.user_id(user).map(|_| folder),
            Spot::Picture(user) => self
                .picture(user)?
                .map(|(_, _, node)| node)
                .ok_or_else(|| Error::not_found("picture")),
            Spot::Shelf(Shelf::Locked, _) if !self.view.options.locked => {
                Err(Error::not_found("locked"))
            }
            Spot::Shelf(_, user) | Spot::Year(user, _) | Spot::Month(user, _) => {
                self.user_id(user).map(|_| folder)
            }
            Spot::Album(row) => self.thing(Table::AlbumUser, row).map(|_| folder),
            Spot::Person(row) => self.thing(Table::Person, row).map(|_| folder),
            Spot::Tag(row, _) => self.thing(Table::Tag, row).map(|_| folder),
            Spot::Stack(row) => self.thing(Table::Stack, row).map(|_| folder),
            Spot::Gone(user, earlier) => {
                self.earlier(earlier)?;
                self.user_id(user).map(|_| folder)
            }
            Spot::Item(..) | Spot::AlbumItem(..) | Spot::GoneItem(..) => self.item(spot, ino),
            Spot::File(row) => {
                self.file_node(&self.file(row)?)?.ok_or_else(|| Error::not_found("file"))
            }
        }
    }

    fn item(&self, spot: Spot, ino: Ino) -> Result<Node> {
        let shown = self.shown(spot)?;
        let (_, size, created) = self.asset_bytes(shown)?;
        Ok(Node::file(ino, size, milliseconds(created)))
    }

    /// Fails where the view is of one person alone.
    fn whole(&self) -> Result<()> {
        match self.view.user {
            None => Ok(()),
            Some(_) => Err(Error::not_found("folder")),
        }
    }

    /// True where `files/` is shown: to whoever sees all, and where it is known what is locked.
    pub fn shows_files(&self) -> bool {
        self.view.user.is_none() && (self.view.options.locked || self.snapshot.good)
    }

    /// The dump, for the owner of the mount alone; `None` in a snapshot without one.
    pub fn dump(&self) -> Result<Option<Node>> {
        self.whole()?;
        let Some(ino) = self.ino(Spot::Dump) else { return Ok(None) };
        let size = self.stream()?.size;
        let node = Node { mode: 0o400, ..Node::file(ino, size, self.mtime()) };
        Ok((size > 0).then_some(node))
    }

    fn stream(&self) -> Result<Arc<Stream>> {
        let ino = self.ino(Spot::Dump).unwrap_or(Ino(0));
        let find = || {
            let record = record_of(self.db, self.time())?;
            Ok(Bytes::Stream(Arc::new(record.streams.dump)))
        };
        match self.state.bytes(ino, find)? {
            Bytes::Stream(stream) => Ok(stream),
            _ => Err(Error::not_found("dump")),
        }
    }

    fn shown(&self, spot: Spot) -> Result<Shown> {
        let (tie, row, at, part) = match spot {
            Spot::Item(Shelf::People, row, part) => (Tie::PersonAsset, row, self.time(), part),
            Spot::Item(Shelf::Tags, row, part) => (Tie::TagAsset, row, self.time(), part),
            Spot::Item(_, row, part) => (Tie::Asset, row, self.time(), part),
            Spot::AlbumItem(_, row, part) => (Tie::AlbumAsset, row, self.time(), part),
            Spot::GoneItem(earlier, row, part) => (Tie::Asset, row, self.earlier(earlier)?, part),
            _ => return Err(Error::not_found("asset")),
        };
        let asset = ask::asset_of(self.db, tie, row, at)?
            .filter(|asset| self.view.options.locked || !asset.locked);
        Ok(Shown { asset: asset.ok_or_else(|| Error::not_found("asset"))?, at, part })
    }

    /// Content, size and time of what is shown.
    fn asset_bytes(&self, shown: Shown) -> Result<(i64, u64, i64)> {
        let (asset, part) = match shown.part {
            Part::Original | Part::KeptOriginal => (shown.asset, 0),
            Part::Sidecar => (shown.asset, 1),
            Part::Video | Part::KeptVideo => (self.moving(shown)?, 0),
        };
        let found = if shown.part.is_kept() {
            kept::content(self.db, &asset.id, shown.at)?
        } else {
            ask::asset_bytes(self.db, &asset.id, part, shown.at)?
        };
        let (content, size) = found.ok_or_else(|| Error::not_found("file"))?;
        Ok((content, size, asset.created))
    }

    fn moving(&self, shown: Shown) -> Result<ask::Asset> {
        let id = shown.asset.live.ok_or_else(|| Error::not_found("moving half"))?;
        let half = ask::asset_by_id(self.db, &id, shown.at)?
            .filter(|half| self.view.options.locked || !half.locked);
        half.ok_or_else(|| Error::not_found("moving half"))
    }

    /// Where the bytes of `spot` are.
    pub fn bytes(&self, spot: Spot) -> Result<Bytes> {
        match spot {
            Spot::Dump => {
                self.whole()?;
                self.stream().map(Bytes::Stream)
            }
            Spot::Picture(user) => {
                let (_, file, _) =
                    self.picture(user)?.ok_or_else(|| Error::not_found("picture"))?;
                self.content(file.content.ok_or_else(|| Error::not_found("picture"))?, file.size)
            }
            Spot::File(row) => {
                let file = self.file(row)?;
                match (file.kind, file.content) {
                    (0, Some(content)) => self.content(content, file.size),
                    (0, None) if file.size == 0 => Ok(Bytes::Text("".into())),
                    (0, None) => Err(Error::damaged(format_args!(
                        "{} has no content",
                        file.name.escape_ascii()
                    ))),
                    _ => Err(Error::invalid("not a file")),
                }
            }
            _ => {
                let (content, size, _) = self.asset_bytes(self.shown(spot)?)?;
                self.content(content, size)
            }
        }
    }

    /// The bytes of a file of `size` bytes that shows `content`.
    pub fn content(&self, content: i64, size: u64) -> Result<Bytes> {
        if ask::content_size(self.db, content)? == Some(size) {
            return Ok(Bytes::Content(content, size));
        }
        Err(Error::damaged("the catalog says two things of a file's size")
            .hint("`shoebox repair catalog` builds a new one from the archives; no photo is lost"))
    }

    /// The asset that `spot` shows a file of.
    pub fn asset(&self, spot: Spot) -> Result<Option<Asset>> {
        let Ok(shown) = self.shown(spot) else { return Ok(None) };
        let (content, _, _) = self.asset_bytes(shown)?;
        let (blake3, sha1) = ask::hashes(self.db, content)?
            .ok_or_else(|| Error::damaged("a content of the catalog"))?;
        let albums = ask::albums_of(self.db, &shown.asset.id, shown.at)?;
        let id = match shown.part.on_disk() {
            Part::Video => self.moving(shown)?.id,
            _ => shown.asset.id,
        };
        let on_disk = self.on_disk(spot)?;
        Ok(Some(Asset {
            id: Uuid::from_bytes(id),
            part: shown.part,
            blake3,
            sha1,
            on_disk,
            albums,
        }))
    }

    /// What the disk had of the asset's file that `spot` shows; of what is no asset's, itself.
    pub fn on_disk(&self, spot: Spot) -> Result<OnDisk> {
        let Ok(shown) = self.shown(spot) else { return Ok(OnDisk::Same) };
        match shown.part.on_disk() {
            Part::Sidecar => Ok(OnDisk::Same),
            Part::Video => kept::on_disk(self.db, &self.moving(shown)?.id, shown.at),
            _ => kept::on_disk(self.db, &shown.asset.id, shown.at),
        }
    }

    /// The folder that the folder `spot` lies in.
    pub fn parent(&self, spot: Spot) -> Result<Ino> {
        let above = match spot {
            Spot::Top => return Ok(Place::Snapshots.pack().unwrap_or(super::ROOT)),
            Spot::Users | Spot::Files | Spot::Database => Spot::Top,
            Spot::Dump => Spot::Database,
            Spot::User(_) => Spot::Users,
            Spot::Shelf(_, user) | Spot::Picture(user) => Spot::User(user),
            Spot::Year(user, _) => Spot::Shelf(Shelf::ByDate, user),
            Spot::Month(user, month) => Spot::Year(user, month.div_euclid(12)),
            Spot::Album(row) => self.shelf_above(Table::AlbumUser, row, Shelf::Albums)?,
            Spot::Person(row) => self.shelf_above(Table::Person, row, Shelf::People)?,
            Spot::Stack(row) => self.shelf_above(Table::Stack, row, Shelf::Stacks)?,
            Spot::Tag(row, level) => return self.above_tag(row, level),
            Spot::Gone(user, _) => Spot::Shelf(Shelf::DeletedSince, user),
            Spot::File(row) => self.file_parent(row)?,
            Spot::Item(..) | Spot::AlbumItem(..) | Spot::GoneItem(..) => {
                return Err(Error::invalid("not a folder"));
            }
        };
        self.ino(above).ok_or_else(|| Error::not_found("folder"))
    }

    fn shelf_above(&self, table: Table, row: u64, shelf: Shelf) -> Result<Spot> {
        let (_, owner, _) = self.thing(table, row)?;
        let user = ask::user_row(self.db, &owner, self.time())?;
        Ok(Spot::Shelf(shelf, user.ok_or_else(|| Error::not_found("user"))?))
    }

    fn above_tag(&self, row: u64, level: u8) -> Result<Ino> {
        let (_, owner, value) = self.thing(Table::Tag, row)?;
        let above = match level {
            0 | 1 => self.ino(self.shelf_above(Table::Tag, row, Shelf::Tags)?),
            _ => self.tag_folder(&owner, &value, usize::from(level) - 1)?,
        };
        above.ok_or_else(|| Error::not_found("folder"))
    }
}

impl Node {
    /// As a copy of it should be: the mount itself is read-only whatever the modes say.
    pub(super) fn folder(ino: Ino, mtime_ns: i64) -> Node {
        Node { ino, kind: Kind::Folder, size: 0, mtime_ns, mode: 0o755, owner: None }
    }

    pub(super) fn file(ino: Ino, size: u64, mtime_ns: i64) -> Node {
        Node { ino, kind: Kind::File, size, mtime_ns, mode: 0o644, owner: None }
    }

    pub(super) fn symlink(ino: Ino, size: u64, mtime_ns: i64) -> Node {
        Node { ino, kind: Kind::Symlink, size, mtime_ns, mode: 0o777, owner: None }
    }
}
