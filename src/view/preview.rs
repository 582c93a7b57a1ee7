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
use crate::catalog::night::DiskFile;
use crate::catalog::query::folder;
use crate::catalog::{CatalogNight, ImmichId};

/// Up to this many pixels a side the thumbnail will do: its shorter side has 250.
const THUMBNAIL: u32 = 256;

/// What a generated file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PreviewKind {
    /// About 250 pixels.
    Thumbnail,
    /// About 1440 pixels.
    Preview,
}

impl<'a> SnapshotView<'a> {
    /// The bytes of Immich's picture of the photo or video `spot`, best for `edge` pixels a side;
    /// `None` where it shows no asset, or none was backed up. Whoever may not see the file may not
    /// see the picture.
    pub fn preview(&self, spot: SnapshotNode, edge: u32) -> Result<Option<FileBytes>> {
        let Some((id, owner, night)) = self.pictured(spot)? else { return Ok(None) };
        let mut made = generated(night, &id, &owner)?;
        let small = edge <= THUMBNAIL;
        made.sort_by_key(|(made, edited, _)| (*edited, (*made == PreviewKind::Thumbnail) != small));
        let best =
            made.into_iter().next().and_then(|(_, _, file)| Some((file.content?, file.size)));
        best.map(|(content, size)| self.content(content, size)).transpose()
    }

    /// Id and owner of the asset that `spot` shows, and as of when: a photo that is gone had its
    /// pictures then.
    fn pictured(
        &self,
        spot: SnapshotNode,
    ) -> Result<Option<(ImmichId, ImmichId, CatalogNight<'a>)>> {
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
                self.night.asset_at(&path)?
            }
            _ => None,
        };
        let Some(id) = id else { return Ok(None) };
        let night = match spot {
            SnapshotNode::GoneItem(earlier, ..) => self.earlier(earlier)?,
            _ => self.night,
        };
        Ok(night.owner_of(&id)?.map(|owner| (id, owner, night)))
    }
}

/// The generated files of the asset `id`: what each is, and whether an edit made it.
fn generated(
    night: CatalogNight<'_>,
    id: &ImmichId,
    owner: &ImmichId,
) -> Result<Vec<(PreviewKind, bool, DiskFile)>> {
    let id = Uuid::from_bytes(*id).to_string();
    let owner = Uuid::from_bytes(*owner).to_string();
    let parts = ["thumbs", &owner, &id[..2], &id[2..4]].map(str::as_bytes);
    let folder = night.file_at(parts)?.and_then(|file| file.child);
    let Some(folder) = folder else { return Ok(Vec::new()) };
    let made = |file: DiskFile| {
        let rest = std::str::from_utf8(&file.name).ok()?.get(id.len()..)?.to_owned();
        Some((made(&rest)?, rest.contains("edited"), file))
    };
    let files = night.files_named(folder, id.as_bytes())?.into_iter();
    Ok(files.filter(|file| file.kind == FileKind::File && file.size > 0).filter_map(made).collect())
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
