//! `files/`: UPLOAD_LOCATION as it lay on disk, straight from the catalog, one indexed query a
//! folder or a name.
//!
//! Unless locked assets are asked for, nothing of them is here either: not their files and
//! sidecars, wherever the database or the backup found them, not a second file with the same bytes
//! that no other asset owns, and not the generated files, whose names begin with the asset's id, or
//! with the id of a person that a locked asset shows.

use std::ops::ControlFlow;

use uuid::Uuid;

use super::ino::SnapshotNode;
use super::state::lock;
use super::users::SnapshotView;
use super::{FolderEntry, Node, NodeKind};
use crate::base::file::FileKind;
use crate::base::{Error, Result};
use crate::catalog::night::DiskFile;
use crate::catalog::query::folder::{self, TOP};

/// No kernel takes a longer name from a file system in user space (`FUSE_NAME_MAX`,
/// fs/fuse/fuse_i.h).
const LONGEST_NAME: usize = 1024;

impl SnapshotView<'_> {
    /// The place that the folder `spot` is.
    fn place(&self, spot: SnapshotNode) -> Result<i64> {
        match spot {
            SnapshotNode::Files if self.shows_files() => Ok(TOP),
            SnapshotNode::File(row) => Ok(self.folder_places(row)?.1),
            _ => Err(Error::invalid("not a folder of files/")),
        }
    }

    /// The file in `row`, if this view shows it.
    pub fn file(&self, row: u64) -> Result<DiskFile> {
        let file = if self.shows_files() { self.night.file(row)? } else { None };
        let shown = file
            .map(|file| Ok::<_, Error>((!self.is_private(&file)?).then_some(file)))
            .transpose()?
            .flatten();
        shown.ok_or_else(|| Error::not_found("file"))
    }

    pub fn file_child(&self, spot: SnapshotNode, name: &[u8]) -> Result<Option<Node>> {
        let Some(file) = self.night.file_by_name(self.place(spot)?, name)? else {
            return Ok(None);
        };
        if self.is_private(&file)? {
            return Ok(None);
        }
        self.file_node(&file)
    }

    pub fn file_children(
        &self,
        spot: SnapshotNode,
        after: u64,
        each: &mut dyn FnMut(FolderEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let place = self.place(spot)?;
        self.night.files(place, after, |file| {
            if self.is_private(&file)? {
                return Ok(true);
            }
            let Some(node) = self.file_node(&file)? else { return Ok(true) };
            if let Some(child) = file.child {
                lock(&self.state.folders).put((self.time(), file.row), (file.folder, child));
            }
            Ok(each(FolderEntry { name: &file.name, cookie: file.row, node }).is_continue())
        })
    }

    pub fn file_node(&self, file: &DiskFile) -> Result<Option<Node>> {
        let Some(ino) = self.ino(SnapshotNode::File(file.row)).filter(|_| is_name(&file.name))
        else {
            return Ok(None);
        };
        let (kind, size) = match file.kind {
            FileKind::Folder => (NodeKind::Folder, 0),
            FileKind::Symlink => (
                NodeKind::Symlink,
                self.night.symlink(file.row)?.map_or(0, |target| target.len() as u64),
            ),
            FileKind::File => (NodeKind::File, file.size),
        };
        let owner = Some((file.uid, file.gid));
        Ok(Some(Node { ino, kind, size, mtime_ns: file.mtime, mode: file.mode & 0o7777, owner }))
    }

    /// The folder above the one in `row`.
    pub fn file_parent(&self, row: u64) -> Result<SnapshotNode> {
        let (place, _) = self.folder_places(row)?;
        if place == TOP {
            return Ok(SnapshotNode::Files);
        }
        let key = (self.time(), place);
        if let Some(above) = lock(&self.state.places).get(&key) {
            return Ok(SnapshotNode::File(*above));
        }
        let above = self.night.file_of_folder(place)?.ok_or_else(|| Error::not_found("folder"))?;
        lock(&self.state.places).put(key, above.row);
        Ok(SnapshotNode::File(above.row))
    }

    /// The place that the folder in `row` lies in, and the place that it is. A walk asks this of
    /// each folder that it has just seen in a listing.
    fn folder_places(&self, row: u64) -> Result<(i64, i64)> {
        if let Some(places) =
            lock(&self.state.folders).get(&(self.time(), row)).filter(|_| self.shows_files())
        {
            return Ok(*places);
        }
        let file = self.file(row)?;
        Ok((file.folder, file.child.ok_or_else(|| Error::invalid("not a folder"))?))
    }

    fn is_private(&self, file: &DiskFile) -> Result<bool> {
        if self.view.options.locked || file.kind == FileKind::Folder {
            return Ok(false);
        }
        let hidden = self.state.hidden(self.night)?;
        if hidden.ids.is_empty() {
            return Ok(false);
        }
        let id = std::str::from_utf8(&file.name)
            .ok()
            .and_then(|name| name.get(..36))
            .and_then(|head| Uuid::parse_str(head).ok());
        if id.is_some_and(|id| hidden.ids.binary_search(id.as_bytes()).is_ok()) {
            return Ok(true);
        }
        let same_bytes =
            file.content.is_some_and(|content| hidden.contents.binary_search(&content).is_ok());
        if !same_bytes && hidden.names.binary_search(&file.name).is_err() {
            return Ok(false);
        }
        let path = folder::path_in(self.db, file.folder, &file.name)?;
        if hidden.paths.binary_search(&path).is_ok() {
            return Ok(true);
        }
        Ok(same_bytes && !self.night.is_shown_asset(&path)?)
    }
}

/// True for what can be a name in a folder. A backup stores no other, but a crafted catalog may
/// hold any bytes, and one such name would make a whole folder unreadable for the kernel.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= LONGEST_NAME
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}
