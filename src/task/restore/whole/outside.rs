//! Photos whose paths in the database lie outside of UPLOAD_LOCATION: a custom location, another
//! mount of Immich's container.
//!
//! Their files are laid where the backup shows them, below UPLOAD_LOCATION: nobody can tell where
//! this machine wants them. Immich looks for them where its database says, so it must see that
//! folder there, by a mount.

use std::collections::BTreeMap;

use serde::Serialize;

use super::layout::FileLayout;
use crate::base::{FilePath, Result};
use crate::catalog::CatalogNight;
use crate::catalog::query::folder;

/// Photos of one folder of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutsidePhotos {
    /// The folder where the database has them.
    pub server: String,
    /// The folder below UPLOAD_LOCATION in which they are laid; `None` for those of which the
    /// snapshot has no file of that name.
    pub folder: Option<String>,
    pub photos: u64,
}

/// Those of one snapshot, by folder.
pub(super) fn of_snapshot(
    night: CatalogNight<'_>,
    layout: &FileLayout,
) -> Result<Vec<OutsidePhotos>> {
    let mut found: BTreeMap<(String, Option<String>), u64> = BTreeMap::new();
    night.outside(|path, file| {
        let shown = match file {
            Some(row) => folder::path_of_file(night.catalog(), row)?
                .and_then(|shown| FilePath::new(shown).ok()),
            None => None,
        };
        let laid = shown.map(|shown| layout.renamed(&shown).to_string());
        *found.entry(folders(&path, laid.as_deref())).or_default() += 1;
        Ok(())
    })?;
    let outside = found.into_iter().map(|((server, folder), photos)| OutsidePhotos {
        server,
        folder,
        photos,
    });
    Ok(outside.collect())
}

/// The folder of the server and the one that is laid which hold the same photo under the same path:
/// the highest ones.
fn folders(server: &str, laid: Option<&str>) -> (String, Option<String>) {
    let names = |path: &str| path.rsplit('/').map(str::to_owned).collect::<Vec<_>>();
    let (there, here) = (names(server), names(laid.unwrap_or_default()));
    let same = there.iter().zip(&here).take_while(|(there, here)| there == here).count();
    let above = |names: &[String], below: usize| {
        names[below.min(names.len())..]
            .iter()
            .rev()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("/")
    };
    match same {
        0 => (above(&there, 1), None),
        _ => (above(&there, same), Some(above(&here, same))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_to_mount_are_the_highest_below_which_all_is_alike() {
        let is = |server, laid, there: &str, here: Option<&str>| {
            assert_eq!(
                folders(server, laid),
                (there.to_owned(), here.map(str::to_owned)),
                "{server}"
            );
        };
        is("/photos/lib/ann/x.jpg", Some("library/ann/x.jpg"), "/photos/lib", Some("library"));
        is("/pool/media/library/ann/x.jpg", Some("library/ann/x.jpg"), "/pool/media", Some(""));
        is("/mnt/ssd/x.jpg", Some("upload/u/aa/x.jpg"), "/mnt/ssd", Some("upload/u/aa"));
        is("/mnt/ssd/x.jpg", Some("upload/u/aa/y.jpg"), "/mnt/ssd", None);
        is("/mnt/ssd/x.jpg", None, "/mnt/ssd", None);
        is("x.jpg", Some("x.jpg"), "", Some(""));
    }
}
