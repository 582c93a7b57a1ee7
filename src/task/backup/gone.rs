//! Folders that the database's rows point into, and that are not there, or empty: a disk that is
//! not mounted, a folder that lies in another place.

use std::collections::{BTreeMap, HashMap};

use super::files::PassResult;
use crate::base::amount::plural;
use crate::base::library::{Asset, ExternalLibrary, User};
use crate::base::{FilePath, Problem, Result};
use crate::catalog::Catalog;
use crate::repo::SnapshotRecord;
use crate::source::{LibraryPlaces, UploadLocation};

/// How many rows point into each folder, as it is shown.
#[derive(Debug, Default)]
pub(super) struct RowCounts {
    rows: BTreeMap<FilePath, u64>,
    /// External libraries by their folders.
    names: HashMap<FilePath, String>,
}

impl RowCounts {
    pub fn add_asset(&mut self, asset: &Asset, places: &LibraryPlaces) {
        asset.file.iter().filter(|_| !asset.offline).for_each(|file| self.add(file, places));
    }

    pub fn add_user(&mut self, user: &User, places: &LibraryPlaces) {
        user.picture.iter().for_each(|picture| self.add(picture, places));
    }

    pub fn add_library(&mut self, library: &ExternalLibrary) {
        let shown = library.roots.iter().filter_map(|root| FilePath::external(root).ok());
        self.names.extend(shown.map(|root| (root, library.name.clone())));
    }

    fn add(&mut self, file: &FilePath, places: &LibraryPlaces) {
        let top = || FilePath::new(file.parts().next()?).ok().filter(|_| !file.is_external());
        if let Some(folder) = places.root_of(file).cloned().or_else(top) {
            *self.rows.entry(folder).or_default() += 1;
        }
    }

    /// The folders that are gone, with the rows that point into each.
    pub fn gone<'a>(
        &'a self,
        places: &'a LibraryPlaces,
        pass: &'a PassResult,
    ) -> impl Iterator<Item = (&'a FilePath, u64)> {
        let is_gone = |folder: &FilePath| pass.files_in(folder) == 0 && places.is_bare(folder);
        self.rows
            .iter()
            .filter(move |(folder, _)| is_gone(folder))
            .map(|(folder, rows)| (folder, *rows))
    }

    /// What the photos in `folder` are called together.
    fn name(&self, folder: &FilePath) -> String {
        let lies_in = |root: &&FilePath| root.as_path().starts_with(folder.as_path());
        self.names
            .keys()
            .find(lies_in)
            .map_or_else(|| folder.to_string(), |root| self.names[root].clone())
    }

    /// What is alarming: folders of which one of `before` had files.
    pub fn alarm(
        &self,
        places: &LibraryPlaces,
        pass: &PassResult,
        before: &[SnapshotRecord],
        db: &Catalog,
    ) -> Result<Vec<String>> {
        let mut alarm = Vec::new();
        for (folder, rows) in self.gone(places, pass) {
            let had =
                |record: &SnapshotRecord| db.night(record.id.seconds()).has_files_below(folder);
            if before
                .iter()
                .rev()
                .map(had)
                .find(|had| !matches!(had, Ok(false)))
                .transpose()?
                .is_some()
            {
                let all = if rows == 1 {
                    "the only file".to_owned()
                } else {
                    format!("all {}", plural(rows, "photo", "photos"))
                };
                alarm
                    .push(format!("{all} of {} are gone: is its disk mounted?", self.name(folder)));
            }
        }
        Ok(alarm)
    }

    /// What is told of each folder, with the way out.
    pub fn problems(
        &self,
        places: &LibraryPlaces,
        pass: &PassResult,
        location: &UploadLocation,
    ) -> Vec<Problem> {
        let told = |(folder, rows): (&FilePath, u64)| {
            let rows = plural(rows, "file of the database is", "files of the database are");
            let place = places.folder_of(folder).map(|place| place.display().to_string());
            let place = place.unwrap_or_else(|| location.place(folder).display().to_string());
            let state = if places.is_open(folder) { "it is empty" } else { "it is not there" };
            let message = format!(
                "{rows} in this folder, and {state}: {}",
                way_out(folder, &place, location)
            );
            Problem { subject: folder.to_string(), message }
        };
        self.gone(places, pass).map(told).collect()
    }
}

fn way_out(folder: &FilePath, place: &str, location: &UploadLocation) -> String {
    let elsewhere = |at: &str| format!("--folder {folder}={at} takes it from there");
    if folder.is_external() {
        return format!("is the disk of {place} mounted?");
    }
    match (location.link(folder), location.alike(folder)) {
        (Some(link), _) => format!(
            "{place} is a link to {}, which is not followed; {}",
            link.display(),
            elsewhere(&link.display().to_string())
        ),
        (None, Some(alike)) => {
            format!(
                "{} looks like it; {}",
                alike.display(),
                elsewhere(&alike.display().to_string())
            )
        }
        (None, None) => {
            format!("is its disk mounted? if it is in another place, {}", elsewhere("FOLDER"))
        }
    }
}
