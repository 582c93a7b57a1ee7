//! Planning the assets that answer to a search: into which folder each goes, and what it is called
//! there.
//!
//! Assets that are named by id lie side by side; an album alone is a folder with its name;
//! everything else is sorted by person, year and month. Names follow the view's rule among those
//! that are restored into one folder, so a photo, its moving half and its sidecar keep one stem,
//! and no two are ever one.

use std::collections::{BTreeMap, HashSet};

use super::plan::{RestorePlan, label};
use crate::base::library::Visibility;
use crate::base::{Error, ErrorKind, FilePath, Monitor, Problem, Result};
use crate::catalog::ImmichId;
use crate::catalog::night::AssetRow;
use crate::catalog::query::search::{self as ask, SearchTime};
use crate::task::find::{AssetFinder, FindHit, FindQuery, FindSpan, PlaceFinder};
use crate::view::ino::{NodePlace, SmartFolder, SnapshotNode};
use crate::view::name::{NameShape, NameSuffixes, NamedUnit};
use crate::view::{AssetPart, Node};

/// An asset with its files.
struct ChosenAsset {
    version: AssetRow,
    from: String,
    shape: NameShape,
    original: Node,
    sidecar: Option<Node>,
    video: Option<Node>,
}

/// Plans what answers to `query` in the snapshot at `at`, called `snapshot`.
pub(super) fn of_query(
    finder: &AssetFinder,
    query: &FindQuery,
    snapshot: &str,
    at: i64,
    monitor: &dyn Monitor,
) -> Result<RestorePlan> {
    let hits = finder.find(query, &FindSpan::Snapshot(snapshot.to_owned()))?;
    if hits.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "no photo answers to that in this snapshot")
            .hint(
                "`shoebox find --all-snapshots` with the same flags shows which snapshots have one",
            ));
    }
    let mut selection =
        SelectedFiles { finder, places: finder.places(), at, plan: RestorePlan::default() };
    let chosen = selection.choose(hits, monitor)?;
    let folders = selection.folders(query, &chosen)?;
    for (folder, members) in folders {
        selection.name(folder.as_ref(), &members)?;
    }
    Ok(selection.plan)
}

struct SelectedFiles<'a> {
    finder: &'a AssetFinder,
    places: PlaceFinder<'a>,
    at: i64,
    plan: RestorePlan,
}

impl SelectedFiles<'_> {
    /// The assets with their files; a moving half stands for its photo.
    fn choose(&mut self, hits: Vec<FindHit>, monitor: &dyn Monitor) -> Result<Vec<ChosenAsset>> {
        let mut known = HashSet::new();
        let mut chosen = Vec::new();
        for mut hit in hits {
            if hit.version.visibility == Visibility::Hidden
                && let Some(photo) = self.finder.night(self.at).photo_of(&hit.version.id)?
            {
                hit.version = photo;
            }
            if !known.insert(hit.version.id) {
                continue;
            }
            let from = label(&mut self.places, &hit)?;
            match self.files(hit.version, from.clone())? {
                Some(found) => chosen.push(found),
                None => {
                    let message = "its bytes are not in this snapshot".to_owned();
                    monitor.problem(Problem { subject: from, message });
                }
            }
        }
        Ok(chosen)
    }

    fn files(&mut self, version: AssetRow, from: String) -> Result<Option<ChosenAsset>> {
        let Some(original) = self.node(version.row, AssetPart::Original)? else { return Ok(None) };
        let sidecar = self.node(version.row, AssetPart::Sidecar)?;
        let mut video =
            if version.live.is_some() { self.node(version.row, AssetPart::Video)? } else { None };
        let half = version.live.filter(|_| video.is_some());
        let half = half.map(|live| self.finder.night(self.at).asset(&live)).transpose()?.flatten();
        video = video.filter(|_| half.is_some());
        let shape = NameShape::asset(&version.name, half.as_ref().map(|half| half.name.as_str()));
        Ok(Some(ChosenAsset { version, from, shape, original, sidecar, video }))
    }

    /// The file of the asset in `row` as the tree shows it.
    fn node(&mut self, row: u64, part: AssetPart) -> Result<Option<Node>> {
        let kept = part.kept().map(|part| self.node_of(row, part)).transpose()?.flatten();
        if kept.is_some() { Ok(kept) } else { self.node_of(row, part) }
    }

    fn node_of(&mut self, row: u64, part: AssetPart) -> Result<Option<Node>> {
        let number = self.places.number(self.at)?;
        let ino = number.and_then(|number| {
            NodePlace::In(number, SnapshotNode::Item(SmartFolder::ByDate, row, part)).pack()
        });
        let Some(ino) = ino else { return Ok(None) };
        match self.finder.view.node(ino) {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Which assets go into which folder; `None` is the one that is restored into.
    fn folders<'c>(
        &mut self,
        query: &FindQuery,
        chosen: &'c [ChosenAsset],
    ) -> Result<BTreeMap<Option<FilePath>, Vec<&'c ChosenAsset>>> {
        let only_albums =
            FindQuery { albums: Vec::new(), locked: false, ..query.clone() }.is_empty();
        let only_ids = FindQuery { assets: Vec::new(), locked: false, ..query.clone() }.is_empty();
        let mut folders: BTreeMap<Option<FilePath>, Vec<&ChosenAsset>> = BTreeMap::new();
        if only_ids {
            folders.insert(None, chosen.iter().collect());
        } else if only_albums {
            let albums = self.albums(query)?;
            for asset in chosen {
                let of_asset = self.finder.night(self.at).albums_of(&asset.version.id)?;
                for (_, folder) in
                    albums.iter().filter(|(id, _)| of_asset.iter().any(|(other, _)| other == id))
                {
                    folders.entry(Some(FilePath::new(folder.as_str())?)).or_default().push(asset);
                }
            }
        } else {
            for asset in chosen {
                folders.entry(Some(self.by_date(&asset.version)?)).or_default().push(asset);
            }
        }
        Ok(folders)
    }

    /// The albums that are meant, each with the name of its folder: as the tree has it, and no two
    /// the same.
    fn albums(&mut self, query: &FindQuery) -> Result<Vec<(ImmichId, String)>> {
        let ids = self.finder.filter(query, SearchTime::At(self.at))?.albums.unwrap_or_default();
        let named = ask::named(&self.finder.db, ask::NamedKind::Album, SearchTime::At(self.at))?;
        let mut shapes = Vec::new();
        for (id, name) in named.into_iter().filter(|(id, _)| ids.contains(id)) {
            let name = self.places.album(self.at, &id)?.unwrap_or(name);
            shapes.push((id, NameShape::folder(&name, "unnamed album")));
        }
        let mut suffixes = NameSuffixes::default();
        let unit = |(order, (id, shape)): (usize, &(ImmichId, NameShape))| NamedUnit {
            since: order as i64,
            id: *id,
            shapes: vec![shape.clone()],
        };
        suffixes.decide(shapes.iter().enumerate().map(unit).collect());
        let albums: Vec<_> =
            shapes.into_iter().map(|(id, shape)| (id, shape.name(suffixes.of(&id)))).collect();
        if albums.len() > query.albums.len() {
            let names: Vec<&str> = albums.iter().map(|(_, name)| name.as_str()).collect();
            self.plan.notes.push(format!(
                "several albums have that name; all are taken: {}",
                names.join(", ")
            ));
        }
        Ok(albums)
    }

    fn by_date(&mut self, version: &AssetRow) -> Result<FilePath> {
        let user = match self.places.user(self.at, &version.owner)? {
            Some((_, name)) => name,
            None => uuid::Uuid::from_bytes(version.owner).to_string(),
        };
        let (year, month) = (version.month.div_euclid(12), version.month.rem_euclid(12) + 1);
        FilePath::new(format!("{user}/{year:04}/{year:04}-{month:02}"))
    }

    fn name(&mut self, folder: Option<&FilePath>, members: &[&ChosenAsset]) -> Result<()> {
        let mut suffixes = NameSuffixes::default();
        let unit = |asset: &&ChosenAsset| NamedUnit {
            since: asset.version.added,
            id: asset.version.id,
            shapes: vec![asset.shape.clone()],
        };
        suffixes.decide(members.iter().map(unit).collect());
        let path = |name: String| match folder {
            Some(folder) => folder.join(name.as_bytes()),
            None => FilePath::new(name),
        };
        for asset in members {
            let suffix = suffixes.of(&asset.version.id);
            self.plan.add(path(asset.shape.name(suffix))?, asset.from.clone(), &asset.original);
            if let Some(sidecar) = &asset.sidecar {
                self.plan.add(
                    path(asset.shape.sidecar(suffix))?,
                    format!("{} (sidecar)", asset.from),
                    sidecar,
                );
            }
            if let Some(video) = &asset.video {
                self.plan.add(
                    path(asset.shape.video(suffix))?,
                    format!("{} (moving half)", asset.from),
                    video,
                );
            }
        }
        Ok(())
    }
}
