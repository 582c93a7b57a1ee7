//! Everything that is known of an asset: what `find --json` prints.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::Serialize;
use uuid::Uuid;

use super::{AssetFinder, FindHit, PlaceFinder};
use crate::base::library::{Asset, AssetType, Visibility};
use crate::base::{Error, Hash, Result, Sha1, SnapshotId};
use crate::catalog::FilePart;
use crate::catalog::night::{OnDisk, StoredAsset};
use crate::catalog::query::{self, search as ask};

/// A thing with an id and a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedThing {
    pub id: Uuid,
    pub name: String,
}

/// From which snapshot to which there was an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SnapshotSpan {
    pub first: SnapshotId,
    pub last: SnapshotId,
    /// The newest snapshot has it no more.
    pub deleted: bool,
}

/// An asset with all that belongs to it, as one snapshot has it.
#[derive(Debug, Clone, Serialize)]
pub struct FoundAsset {
    pub id: Uuid,
    pub owner: NamedThing,
    /// The name that it was uploaded with.
    pub name: String,
    /// The snapshot that says all this.
    pub snapshot: SnapshotId,
    /// Where the tree shows it, below the snapshot.
    pub path: Option<String>,
    /// Where it lay on disk, below `files/` of the tree; where the database says, when its bytes
    /// are not there.
    pub file: Option<String>,
    /// Its bytes are in the repository.
    pub present: bool,
    /// What the server's disk had at that path: of what is not the same, the bytes are those that
    /// Immich recorded, where the repository has them.
    pub disk: OnDisk,
    pub size: Option<u64>,
    /// Of the bytes; else as Immich recorded it.
    pub sha1: Option<Sha1>,
    pub blake3: Option<Hash>,
    /// Wall-clock time where it was taken.
    pub taken: DateTime,
    /// The instant.
    pub created: Timestamp,
    /// The upload.
    pub added: Timestamp,
    #[serde(rename = "type")]
    pub kind: AssetType,
    pub favorite: bool,
    pub visibility: Visibility,
    pub trashed: bool,
    /// The asset that is its moving half.
    pub live_video: Option<Uuid>,
    pub stack: Option<Uuid>,
    pub albums: Vec<NamedThing>,
    pub tags: Vec<String>,
    pub people: Vec<String>,
    /// Its XMP sidecar, below `files/` of the tree.
    pub sidecar: Option<String>,
    pub description: Option<String>,
    pub rating: Option<i32>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    pub city: Option<String>,
    pub country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<SnapshotSpan>,
}

/// Everything about `hit`.
pub(super) fn record(
    finder: &AssetFinder,
    hit: &FindHit,
    places: &mut PlaceFinder<'_>,
) -> Result<FoundAsset> {
    let (night, id) = (finder.night(hit.at), &hit.version.id);
    let asset = asset_in(finder, hit.version.row)?;
    let original = night.stored(id, FilePart::Original)?;
    let kept = kept_bytes(finder, hit)?;
    let shown = kept.or(original.as_ref().map(|stored| (stored.size, stored.sha1, stored.blake3)));
    let sidecar = night.stored(id, FilePart::Sidecar)?;
    let file_of = |stored: Option<&StoredAsset>| {
        let file = stored.and_then(|stored| stored.file.as_ref());
        file.map(|(folder, name)| places.file(*folder, name)).transpose()
    };
    let said = asset.file.as_ref().map(|path| format!("files/{path}"));
    let (file, sidecar) = (file_of(original.as_ref())?.or(said), file_of(sidecar.as_ref())?);
    let owner = finder.owner(hit)?;
    let albums = night.albums_of(id)?.into_iter();
    Ok(FoundAsset {
        id: asset.id,
        owner: NamedThing { id: asset.owner, name: owner },
        snapshot: hit.snapshot()?,
        path: places.shown(hit)?.map(|shown| shown.path),
        file,
        present: kept.is_some() || original.as_ref().is_some_and(|stored| stored.present),
        disk: finder.on_disk(hit)?,
        size: shown.map(|(size, ..)| size).or(asset.size),
        sha1: shown.map(|(_, sha1, _)| sha1).or(asset.sha1),
        blake3: shown.map(|(.., blake3)| blake3),
        taken: asset.taken,
        created: asset.created,
        added: asset.added,
        kind: asset.kind,
        favorite: asset.favorite,
        visibility: asset.visibility,
        trashed: asset.trashed.is_some(),
        live_video: asset.live_video,
        stack: asset.stack,
        albums: albums.map(|(id, name)| NamedThing { id: Uuid::from_bytes(id), name }).collect(),
        tags: night.tags_of(id)?,
        people: night.people_of(id)?,
        sidecar,
        name: asset.name,
        description: asset.description,
        rating: asset.rating,
        latitude: asset.latitude,
        longitude: asset.longitude,
        city: asset.city,
        country: asset.country,
        snapshots: hit.range,
    })
}

/// Size and hashes of the bytes that Immich recorded, where the disk has others or none.
fn kept_bytes(finder: &AssetFinder, hit: &FindHit) -> Result<Option<(u64, Sha1, Hash)>> {
    let Some((content, size)) = finder.night(hit.at).kept_bytes(&hit.version.id)? else {
        return Ok(None);
    };
    let hashes = query::content_hashes(&finder.db, content)?;
    Ok(hashes.map(|(blake3, sha1)| (size, sha1, blake3)))
}

/// The record of the asset in `row`.
fn asset_in(finder: &AssetFinder, row: u64) -> Result<Asset> {
    let line = ask::line(&finder.db, row)?.ok_or_else(|| Error::not_found("asset"))?;
    serde_json::from_str(&line)
        .map_err(|error| Error::damaged("an asset of the catalog").caused_by(error))
}
