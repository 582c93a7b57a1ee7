//! What a node is like, which folder it lies in, and where its bytes are: for each kind of node one
//! query or two.

use std::sync::Arc;

use uuid::Uuid;

use super::ino::{AssetPart, Ino, NodePlace, SmartFolder, SnapshotNode};
use super::read::FileBytes;
use super::users::{SnapshotView, milliseconds};
use super::{Node, NodeKind, ViewAsset};
use crate::base::file::FileKind;
use crate::base::{Error, Result};
use crate::catalog::night::{AssetRow, MemberTable, OnDisk, RecordTable};
use crate::catalog::query;
use crate::catalog::{CatalogNight, FilePart};
use crate::repo::record::StreamInfo;
use crate::repo::record_of;

/// The asset behind a node: as of when, and which file of it.
#[derive(Debug, Clone)]
struct NodeAsset<'a> {
    asset: AssetRow,
    night: CatalogNight<'a>,
    part: AssetPart,
}

impl<'a> SnapshotView<'a> {
    /// The attributes of `spot`, which is `ino`.
    pub fn node(&self, spot: SnapshotNode, ino: Ino) -> Result<Node> {
        let folder = Node::folder(ino, self.mtime());
        match spot {
            SnapshotNode::Top | SnapshotNode::Users => Ok(folder),
            SnapshotNode::Files if self.shows_files() => Ok(folder),
            SnapshotNode::Files => Err(Error::not_found("folder")),
            SnapshotNode::Database => self.whole().map(|()| folder),
            SnapshotNode::Dump => self.dump()?.ok_or_else(|| Error::not_found("dump")),
            SnapshotNode::User(user) => self.user_id(user).map(|_| folder),
            SnapshotNode::Picture(user) => self
                .picture(user)?
                .map(|(_, _, node)| node)
                .ok_or_else(|| Error::not_found("picture")),
            SnapshotNode::Shelf(SmartFolder::Locked, _) if !self.view.options.locked => {
                Err(Error::not_found("locked"))
            }
            SnapshotNode::Shelf(_, user)
            | SnapshotNode::Year(user, _)
            | SnapshotNode::Month(user, _) => self.user_id(user).map(|_| folder),
            SnapshotNode::Album(row) => self.thing(RecordTable::AlbumUser, row).map(|_| folder),
            SnapshotNode::Person(row) => self.thing(RecordTable::Person, row).map(|_| folder),
            SnapshotNode::Tag(row, _) => self.thing(RecordTable::Tag, row).map(|_| folder),
            SnapshotNode::Stack(row) => self.thing(RecordTable::Stack, row).map(|_| folder),
            SnapshotNode::Gone(user, earlier) => {
                self.earlier(earlier)?;
                self.user_id(user).map(|_| folder)
            }
            SnapshotNode::Item(..) | SnapshotNode::AlbumItem(..) | SnapshotNode::GoneItem(..) => {
                self.item(spot, ino)
            }
            SnapshotNode::File(row) => {
                self.file_node(&self.file(row)?)?.ok_or_else(|| Error::not_found("file"))
            }
        }
    }

    fn item(&self, spot: SnapshotNode, ino: Ino) -> Result<Node> {
        let shown = self.shown(spot)?;
        let (_, size, created) = self.asset_bytes(&shown)?;
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
        let Some(ino) = self.ino(SnapshotNode::Dump) else { return Ok(None) };
        let size = self.stream()?.size;
        let node = Node { mode: 0o400, ..Node::file(ino, size, self.mtime()) };
        Ok((size > 0).then_some(node))
    }

    fn stream(&self) -> Result<Arc<StreamInfo>> {
        let ino = self.ino(SnapshotNode::Dump).unwrap_or(Ino(0));
        let find = || {
            let record = record_of(self.db, self.time())?;
            Ok(FileBytes::Stream(Arc::new(record.streams.dump)))
        };
        match self.state.bytes(ino, find)? {
            FileBytes::Stream(stream) => Ok(stream),
            _ => Err(Error::not_found("dump")),
        }
    }

    fn shown(&self, spot: SnapshotNode) -> Result<NodeAsset<'a>> {
        let (tie, row, night, part) = match spot {
            SnapshotNode::Item(SmartFolder::People, row, part) => {
                (MemberTable::PersonAsset, row, self.night, part)
            }
            SnapshotNode::Item(SmartFolder::Tags, row, part) => {
                (MemberTable::TagAsset, row, self.night, part)
            }
            SnapshotNode::Item(_, row, part) => (MemberTable::Asset, row, self.night, part),
            SnapshotNode::AlbumItem(_, row, part) => {
                (MemberTable::AlbumAsset, row, self.night, part)
            }
            SnapshotNode::GoneItem(earlier, row, part) => {
                (MemberTable::Asset, row, self.earlier(earlier)?, part)
            }
            _ => return Err(Error::not_found("asset")),
        };
        let asset = night
            .asset_of(tie, row)?
            .filter(|asset| self.view.options.locked || !asset.is_locked());
        Ok(NodeAsset { asset: asset.ok_or_else(|| Error::not_found("asset"))?, night, part })
    }

    /// Content, size and time of what is shown.
    fn asset_bytes(&self, shown: &NodeAsset<'_>) -> Result<(i64, u64, i64)> {
        let (asset, part) = match shown.part {
            AssetPart::Original | AssetPart::KeptOriginal => {
                (shown.asset.clone(), FilePart::Original)
            }
            AssetPart::Sidecar => (shown.asset.clone(), FilePart::Sidecar),
            AssetPart::Video | AssetPart::KeptVideo => (self.moving(shown)?, FilePart::Original),
        };
        let found = if shown.part.is_kept() {
            shown.night.kept_bytes(&asset.id)?
        } else {
            shown.night.asset_bytes(&asset.id, part)?
        };
        let (content, size) = found.ok_or_else(|| Error::not_found("file"))?;
        Ok((content, size, asset.created))
    }

    fn moving(&self, shown: &NodeAsset<'_>) -> Result<AssetRow> {
        let id = shown.asset.live.ok_or_else(|| Error::not_found("moving half"))?;
        let half =
            shown.night.asset(&id)?.filter(|half| self.view.options.locked || !half.is_locked());
        half.ok_or_else(|| Error::not_found("moving half"))
    }

    /// Where the bytes of `spot` are.
    pub fn bytes(&self, spot: SnapshotNode) -> Result<FileBytes> {
        match spot {
            SnapshotNode::Dump => {
                self.whole()?;
                self.stream().map(FileBytes::Stream)
            }
            SnapshotNode::Picture(user) => {
                let (_, file, _) =
                    self.picture(user)?.ok_or_else(|| Error::not_found("picture"))?;
                self.content(file.content.ok_or_else(|| Error::not_found("picture"))?, file.size)
            }
            SnapshotNode::File(row) => {
                let file = self.file(row)?;
                match (file.kind, file.content) {
                    (FileKind::File, Some(content)) => self.content(content, file.size),
                    (FileKind::File, None) if file.size == 0 => Ok(FileBytes::Text("".into())),
                    (FileKind::File, None) => Err(Error::damaged(format_args!(
                        "{} has no content",
                        file.name.escape_ascii()
                    ))),
                    (FileKind::Folder | FileKind::Symlink, _) => Err(Error::invalid("not a file")),
                }
            }
            _ => {
                let (content, size, _) = self.asset_bytes(&self.shown(spot)?)?;
                self.content(content, size)
            }
        }
    }

    /// The bytes of a file of `size` bytes that shows `content`.
    pub fn content(&self, content: i64, size: u64) -> Result<FileBytes> {
        if query::content_size(self.db, content)? == Some(size) {
            return Ok(FileBytes::Content(content, size));
        }
        Err(Error::damaged("the catalog has two sizes for one file")
            .hint("`shoebox repair catalog` builds a new one from the archives; no photo is lost"))
    }

    /// The asset that `spot` shows a file of.
    pub fn asset(&self, spot: SnapshotNode) -> Result<Option<ViewAsset>> {
        let Ok(shown) = self.shown(spot) else { return Ok(None) };
        let (content, _, _) = self.asset_bytes(&shown)?;
        let (blake3, sha1) = query::content_hashes(self.db, content)?
            .ok_or_else(|| Error::damaged("a content of the catalog"))?;
        let albums = shown.night.albums_of(&shown.asset.id)?.into_iter().map(|(_, name)| name);
        let id = match shown.part.on_disk() {
            AssetPart::Video => self.moving(&shown)?.id,
            _ => shown.asset.id,
        };
        let on_disk = self.on_disk(spot)?;
        Ok(Some(ViewAsset {
            id: Uuid::from_bytes(id),
            part: shown.part,
            blake3,
            sha1,
            on_disk,
            albums: albums.collect(),
        }))
    }

    /// What the disk had of the asset's file that `spot` shows; of what is no asset's, itself.
    pub fn on_disk(&self, spot: SnapshotNode) -> Result<OnDisk> {
        let Ok(shown) = self.shown(spot) else { return Ok(OnDisk::Same) };
        match shown.part.on_disk() {
            AssetPart::Sidecar => Ok(OnDisk::Same),
            AssetPart::Video => shown.night.on_disk(&self.moving(&shown)?.id),
            _ => shown.night.on_disk(&shown.asset.id),
        }
    }

    /// The folder that the folder `spot` lies in.
    pub fn parent(&self, spot: SnapshotNode) -> Result<Ino> {
        let above = match spot {
            SnapshotNode::Top => return Ok(NodePlace::Snapshots.pack().unwrap_or(super::ROOT)),
            SnapshotNode::Users | SnapshotNode::Files | SnapshotNode::Database => SnapshotNode::Top,
            SnapshotNode::Dump => SnapshotNode::Database,
            SnapshotNode::User(_) => SnapshotNode::Users,
            SnapshotNode::Shelf(_, user) | SnapshotNode::Picture(user) => SnapshotNode::User(user),
            SnapshotNode::Year(user, _) => SnapshotNode::Shelf(SmartFolder::ByDate, user),
            SnapshotNode::Month(user, month) => SnapshotNode::Year(user, month.div_euclid(12)),
            SnapshotNode::Album(row) => {
                self.shelf_above(RecordTable::AlbumUser, row, SmartFolder::Albums)?
            }
            SnapshotNode::Person(row) => {
                self.shelf_above(RecordTable::Person, row, SmartFolder::People)?
            }
            SnapshotNode::Stack(row) => {
                self.shelf_above(RecordTable::Stack, row, SmartFolder::Stacks)?
            }
            SnapshotNode::Tag(row, level) => return self.above_tag(row, level),
            SnapshotNode::Gone(user, _) => SnapshotNode::Shelf(SmartFolder::DeletedSince, user),
            SnapshotNode::File(row) => self.file_parent(row)?,
            SnapshotNode::Item(..) | SnapshotNode::AlbumItem(..) | SnapshotNode::GoneItem(..) => {
                return Err(Error::invalid("not a folder"));
            }
        };
        self.ino(above).ok_or_else(|| Error::not_found("folder"))
    }

    fn shelf_above(
        &self,
        table: RecordTable,
        row: u64,
        shelf: SmartFolder,
    ) -> Result<SnapshotNode> {
        let (_, owner, _) = self.thing(table, row)?;
        let user = self.night.user_row(&owner)?;
        Ok(SnapshotNode::Shelf(shelf, user.ok_or_else(|| Error::not_found("user"))?))
    }

    fn above_tag(&self, row: u64, level: u8) -> Result<Ino> {
        let (_, owner, value) = self.thing(RecordTable::Tag, row)?;
        let above = match level {
            0 | 1 => self.ino(self.shelf_above(RecordTable::Tag, row, SmartFolder::Tags)?),
            _ => self.tag_folder(&owner, &value, usize::from(level) - 1)?,
        };
        above.ok_or_else(|| Error::not_found("folder"))
    }
}

impl Node {
    /// As a copy of it should be: the mount itself is read-only whatever the modes say.
    pub(super) fn folder(ino: Ino, mtime_ns: i64) -> Node {
        Node { ino, kind: NodeKind::Folder, size: 0, mtime_ns, mode: 0o755, owner: None }
    }

    pub(super) fn file(ino: Ino, size: u64, mtime_ns: i64) -> Node {
        Node { ino, kind: NodeKind::File, size, mtime_ns, mode: 0o644, owner: None }
    }

    pub(super) fn symlink(ino: Ino, size: u64, mtime_ns: i64) -> Node {
        Node { ino, kind: NodeKind::Symlink, size, mtime_ns, mode: 0o777, owner: None }
    }
}
