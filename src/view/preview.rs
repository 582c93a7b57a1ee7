//! Immich's own small pictures of a photo: generated files that lie beside the originals when they
//! were backed up too.
//!
//! Immich keeps them at `thumbs/OWNER/aa/bb/`, under names that begin with the asset's id:
//! `ID_preview.jpeg` and `ID_thumbnail.webp` (since v1.126), `ID-preview.jpeg` and
//! `ID-thumbnail.webp`, and before them `ID.jpeg` and `ID.webp`. The format is a setting of the
//! server's. What an edit made has `_edited` in its name: the original is what is shown, so the
//! picture of the original comes first.

use uuid::Uuid;

use super::ino::{AssetPart, SnapshotNode};
use super::read::FileBytes;
use super::users::SnapshotView;
use crate::base::Result;
use crate::base::file::FileKind;
use crate::catalog::query::folder;
use crate::catalog::query::view::{self as ask, DiskFile, ImmichId};

/// Up to this many pixels a side the thumbnail will do: its shorter side has 250.
const THUMBNAIL: u32 = 256;

/// The place above `thumbs/`.
const TOP: i64 = 0;

/// What a generated file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PreviewKind {
    /// About 250 pixels.
    Thumbnail,
    /// About 1440 pixels.
    Preview,
}

impl SnapshotView<'_> {
    /// The bytes of Immich's picture of the photo or video `spot`, best for `edge` pixels a side;
    /// `None` where it shows no asset, or none was backed up. Whoever may not see the file may not
    /// see the picture.
    pub fn preview(&self, spot: SnapshotNode, edge: u32) -> Result<Option<FileBytes>> {
        let Some((id, owner, at)) = self.pictured(spot)? else { return Ok(None) };
        let mut made = self.generated(&id, &owner, at)?;
        let small = edge <= THUMBNAIL;
        made.sort_by_key(|(made, edited, _)| (*edited, (*made == PreviewKind::Thumbnail) != small));
        let best =
            made.into_iter().next().and_then(|(_, _, file)| Some((file.content?, file.size)));
        best.map(|(content, size)| self.content(content, size)).transpose()
    }

    /// Id and owner of the asset that `spot` shows, and as of when: a photo that is gone had its
    /// pictures then.
    fn pictured(&self, spot: SnapshotNode) -> Result<Option<(ImmichId, ImmichId, i64)>> {
        let id = match spot {
            SnapshotNode::Item(_, _, part)
            | SnapshotNode::AlbumItem(_, _, part)
            | SnapshotNode::GoneItem(_, _, part) => match part {
                AssetPart::Sidecar => None,
                _ => self.asset(spot)?.map(|asset| asset.id.into_bytes()),
            },
            SnapshotNode::File(row) => {
                let file = self.file(row)?;
                let path = folder::path_in(self.db, file.folder, &file.name)?;
                ask::asset_at(self.db, &path, self.time())?
            }
            _ => None,
        };
        let Some(id) = id else { return Ok(None) };
        let at = match spot {
            SnapshotNode::GoneItem(earlier, ..) => self.earlier(earlier)?,
            _ => self.time(),
        };
        Ok(ask::owner_of(self.db, &id, at)?.map(|owner| (id, owner, at)))
    }

    /// The generated files of the asset `id` at `at`: what each is, and whether an edit made it.
    fn generated(
        &self,
        id: &ImmichId,
        owner: &ImmichId,
        at: i64,
    ) -> Result<Vec<(PreviewKind, bool, DiskFile)>> {
        let id = Uuid::from_bytes(*id).to_string();
        let owner = Uuid::from_bytes(*owner).to_string();
        let mut folder = TOP;
        for part in ["thumbs", &owner, &id[..2], &id[2..4]] {
            let found = ask::file_by_name(self.db, folder, part.as_bytes(), at)?;
            let Some(child) = found.and_then(|file| file.child) else { return Ok(Vec::new()) };
            folder = child;
        }
        let files = ask::files_named(self.db, folder, id.as_bytes(), at)?;
        let made = |file: DiskFile| {
            let rest = std::str::from_utf8(&file.name).ok()?.get(id.len()..)?.to_owned();
            Some((made(&rest)?, rest.contains("edited"), file))
        };
        Ok(files
            .into_iter()
            .filter(|file| file.kind == FileKind::File && file.size > 0)
            .filter_map(made)
            .collect())
    }
}

/// What a generated file is whose name goes on with `rest` after the asset's id.
fn made(rest: &str) -> Option<PreviewKind> {
    match rest {
        ".webp" => Some(PreviewKind::Thumbnail),
        ".jpeg" => Some(PreviewKind::Preview),
        _ if rest.get(1..)?.starts_with("thumbnail") => Some(PreviewKind::Thumbnail),
        _ if rest.get(1..)?.starts_with("preview") => Some(PreviewKind::Preview),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_each_era_are_known_and_others_are_not() {
        for name in [".webp", "-thumbnail.webp", "_thumbnail.webp", "_thumbnail_edited.webp"] {
            assert_eq!(made(name), Some(PreviewKind::Thumbnail), "{name}");
        }
        for name in [".jpeg", "-preview.jpeg", "_preview.webp", "_preview_edited.jpeg"] {
            assert_eq!(made(name), Some(PreviewKind::Preview), "{name}");
        }
        for name in ["", ".mp4", "_fullsize.jpeg", "_fullsize_edited.jpeg", "é"] {
            assert_eq!(made(name), None, "{name}");
        }
    }
}
