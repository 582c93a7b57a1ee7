//! What lies at a path, and what once lay there.

use super::CatalogNight;
use super::user::USER_NAME;
use crate::base::file::FileKind;
use crate::base::{FilePath, Result};
use crate::catalog::ImmichId;
use crate::catalog::query::folder::{self, TOP};
use crate::catalog::query::whole::{EntryKind, FileContent, ListEntry, entry_of};
use crate::catalog::sql::one;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathOccupant {
    Nothing,
    /// A file: its row and content.
    File(u64, i64),
    /// A symlink, there or above it: its row and path.
    Symlink(u64, FilePath),
    Folder,
    /// Something that is no folder lies above it.
    Below,
}

impl PathOccupant {
    /// True where a file can be laid, and no other one leaves its place for it.
    pub fn is_free(&self) -> bool {
        match self {
            PathOccupant::Nothing | PathOccupant::Symlink(..) => true,
            PathOccupant::File(..) | PathOccupant::Folder | PathOccupant::Below => false,
        }
    }
}

impl CatalogNight<'_> {
    /// What lies at `path`.
    pub fn occupant(self, path: &FilePath) -> Result<PathOccupant> {
        let (mut folder, mut above) = (TOP, Vec::new());
        let mut parts = path.parts().peekable();
        while let Some(part) = parts.next() {
            let Some(found) = self.file_by_name(folder, part)? else {
                return Ok(PathOccupant::Nothing);
            };
            above.push(part);
            match (parts.peek(), found.child, found.content) {
                (Some(_), Some(child), _) => folder = child,
                (None, Some(_), _) => return Ok(PathOccupant::Folder),
                (None, None, Some(content)) => return Ok(PathOccupant::File(found.row, content)),
                (_, None, None) if found.kind == FileKind::Symlink => {
                    return Ok(PathOccupant::Symlink(found.row, FilePath::new(above.join(&b'/'))?));
                }
                (_, None, _) => return Ok(PathOccupant::Below),
            }
        }
        Ok(PathOccupant::Nothing)
    }

    /// The folder at `path`.
    pub fn folder_at(self, path: &FilePath) -> Result<Option<ListEntry>> {
        let found = self.file_at(path.parts())?.filter(|file| file.child.is_some());
        self.entry(found.map(|file| file.row))
    }

    fn entry(self, row: Option<u64>) -> Result<Option<ListEntry>> {
        Ok(row.map(|row| entry_of(self.db, row)).transpose()?.flatten())
    }

    /// A file with these bytes, if an archive holds them, and whether it is one of the snapshot:
    /// those come first, then those of that name, then the newest.
    pub fn file_with(self, sha1: &[u8; 20], name: &[u8]) -> Result<Option<(ListEntry, bool)>> {
        let sql = "SELECT f.row, holds(f) FROM content c CROSS JOIN file f ON f.content = c.id
                   WHERE c.sha1 = ?2 AND c.archive > 0
                   ORDER BY 2 DESC, f.name = ?3 DESC, f.since DESC LIMIT 1";
        let found = one(self.db, sql, (self.at, sha1, name), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some((row, is_here)) = found else { return Ok(None) };
        Ok(entry_of(self.db, row)?.map(|entry| (entry, is_here)))
    }

    /// What Immich recorded of an asset as a file called `name`, where only the bytes are left: its
    /// time is that of the taking.
    pub fn kept_file(self, asset: &ImmichId, name: &[u8]) -> Result<Option<ListEntry>> {
        let sql = "SELECT k.id, k.archive, k.offset, k.size, a.created FROM asset a
                   CROSS JOIN content k ON k.sha1 = a.sha1 AND k.archive > 0
                   WHERE a.id = ?2 AND holds(a) ORDER BY k.hash LIMIT 1";
        one(self.db, sql, (self.at, asset), |row| {
            let (content, archive, offset) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(ListEntry {
                row: 0,
                folder: TOP,
                name: name.to_vec(),
                kind: EntryKind::File(FileContent { content, archive, offset, link: None }),
                size: row.get(3)?,
                mtime: row.get::<_, i64>(4)?.saturating_mul(1_000_000),
                mode: 0o644,
                uid: 0,
                gid: 0,
            })
        })
    }

    /// The newest file that lay at `path` until now, in whatever snapshot, if an archive holds its
    /// bytes.
    pub fn last_at(self, path: &FilePath) -> Result<Option<ListEntry>> {
        let parent = path.parent();
        let parts = parent.iter().flat_map(FilePath::parts);
        let Some(folder) = folder::place_at(self.db, parts)? else { return Ok(None) };
        let sql = "SELECT f.row FROM file f
                   CROSS JOIN content c ON c.id = f.content AND c.archive > 0
                   WHERE f.folder = ?2 AND f.name = ?3 AND f.since <= ?1
                   ORDER BY f.since DESC LIMIT 1";
        self.entry(one(self.db, sql, (self.at, folder, path.name()), |row| row.get(0))?)
    }

    /// The asset whose original or sidecar the file in `row` is: its name, and its owner's.
    pub fn photo_in(self, row: u64) -> Result<Option<(String, String)>> {
        let sql = format!(
            "SELECT a.name, {USER_NAME} FROM file x
             CROSS JOIN asset_file f ON f.content = x.content AND f.file = x.row AND holds(f)
             CROSS JOIN asset a ON a.id = f.asset AND holds(a)
             CROSS JOIN user u ON u.id = a.owner AND holds(u) WHERE x.row = ?2 LIMIT 1"
        );
        one(self.db, &sql, (self.at, row), |row| Ok((row.get(0)?, row.get(1)?)))
    }
}
