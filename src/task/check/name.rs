//! Which photos, files and snapshots damaged bytes belong to.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::finding::{CheckFinding, DamagedBytes, DamagedPhoto, LostFile, SnapshotPart};
use super::read::{CheckReading, DamagedMember};
use super::survey::RepositorySurvey;
use crate::base::{FilePath, Hash, Result, SnapshotId};
use crate::catalog::query::check::{self as ask, ContentShowing};
use crate::catalog::query::{folder, history};
use crate::catalog::{Catalog, FilePart, ImmichId, query};
use crate::repo::shelf::ArchiveSpot;

/// Everything that `survey` and `reading` found, named.
pub(in crate::task) fn name(
    survey: &mut RepositorySurvey,
    reading: &CheckReading,
) -> Result<Vec<CheckFinding>> {
    let mut findings = survey.findings.clone();
    findings.extend(archives(survey, reading));
    findings.extend(chunks(survey, reading));
    let mut damaged = BTreeMap::new();
    for (spot, what) in &reading.bad {
        if let DamagedMember::Content(line) = what
            && survey.contents.contains_key(&line.content)
        {
            damaged.insert(line.content, Some(spot.archive));
        }
    }
    damaged.extend(survey.lost.iter().map(|hash| (*hash, None)));
    findings.extend(contents(survey, reading, &damaged)?);
    findings.sort_by_cached_key(order);
    findings.dedup();
    Ok(findings)
}

/// Photos first, by owner, name and date; then files by path; then the rest.
fn order(finding: &CheckFinding) -> (u8, String, String) {
    match finding {
        CheckFinding::Photo(photo) => {
            (0, photo.owner.clone(), format!("{} {}", photo.name, photo.taken))
        }
        CheckFinding::File(file) => (1, file.path.to_string(), String::new()),
        CheckFinding::Snapshot { snapshot, part, .. } => {
            (2, snapshot.to_string(), format!("{part:?}"))
        }
        CheckFinding::Archive { archive, message } => (3, archive.clone(), message.clone()),
        CheckFinding::Catalog { message } => (4, message.clone(), String::new()),
        CheckFinding::Other { file, .. } => (5, file.clone(), String::new()),
    }
}

/// Flaws of archives that are not flaws of what a snapshot shows.
fn archives(survey: &RepositorySurvey, reading: &CheckReading) -> Vec<CheckFinding> {
    let name = |number: usize| survey.shelf.archives()[number].name.clone();
    let headers = reading.headers.iter().map(|(number, members)| CheckFinding::Archive {
        archive: name(*number),
        message: format!(
            "the tar headers of {members} of its members are damaged; shoebox reads them all the \
                same"
        ),
    });
    let unused = reading.bad.iter().filter_map(|(spot, damaged)| match damaged {
        DamagedMember::Content(line) if !survey.contents.contains_key(&line.content) => {
            Some(CheckFinding::Archive {
                archive: name(spot.archive),
                message: format!("`{}` is damaged; no snapshot shows it", line.path),
            })
        }
        DamagedMember::Chunk(line) if survey.users_of(line.chunk).is_empty() => {
            Some(CheckFinding::Archive {
                archive: name(spot.archive),
                message: format!("a piece ({}) is damaged that no snapshot needs", line.chunk),
            })
        }
        _ => None,
    });
    headers.chain(unused).collect()
}

/// Parts of snapshots whose chunks are damaged.
fn chunks(survey: &RepositorySurvey, reading: &CheckReading) -> Vec<CheckFinding> {
    let mut parts: BTreeMap<(SnapshotId, SnapshotPart), BTreeSet<Hash>> = BTreeMap::new();
    for damaged in reading.bad.values() {
        let DamagedMember::Chunk(line) = damaged else { continue };
        for user in survey.users_of(line.chunk) {
            parts.entry(user).or_default().insert(line.chunk);
        }
    }
    let told = |id: SnapshotId, part: SnapshotPart| {
        survey.findings.iter().any(|finding| matches!(finding, CheckFinding::Snapshot { snapshot, part: other, .. } if (*snapshot, *other) == (id, part)))
    };
    let new = parts.into_iter().filter(|((id, part), _)| !told(*id, *part));
    new.map(|((snapshot, part), pieces)| {
        let pieces = match pieces.len() {
            1 => "a piece of it is damaged".to_owned(),
            many => format!("{many} pieces of it are damaged"),
        };
        CheckFinding::Snapshot { snapshot, part, message: pieces }
    })
    .collect()
}

/// Photos and files whose bytes are damaged (in that archive) or lost.
fn contents(
    survey: &mut RepositorySurvey,
    reading: &CheckReading,
    damaged: &BTreeMap<Hash, Option<usize>>,
) -> Result<Vec<CheckFinding>> {
    let (mut findings, mut unnamed) = (Vec::new(), BTreeMap::new());
    for (hash, archive) in damaged {
        let bytes = bytes(survey, reading, *hash, *archive)?;
        let named = match &survey.catalog {
            // A catalog that is wrong in places may fail here: then the list of files has to do.
            Some(db) => by_catalog(db, survey, reading, &bytes).unwrap_or_default(),
            None => Vec::new(),
        };
        if named.is_empty() { drop(unnamed.insert(*hash, bytes)) } else { findings.extend(named) }
    }
    let mut nameless = unnamed.clone();
    for (entry, snapshots) in survey.entries_of(&unnamed.keys().copied().collect())? {
        if let Some(bytes) = entry.hash.and_then(|hash| unnamed.get(&hash)) {
            nameless.remove(&bytes.blake3);
            let snapshots = snapshots.into_iter().collect();
            findings.push(CheckFinding::File(LostFile {
                path: entry.path,
                snapshots,
                bytes: bytes.clone(),
            }));
        }
    }
    // Kept for a photo whose file is another one now, and there is no catalog to say for which.
    findings.extend(nameless.into_values().filter_map(|bytes| {
        let message =
            format!("a photo's bytes ({}) are damaged that are kept for it", bytes.blake3);
        Some(CheckFinding::Archive { archive: bytes.archive?, message })
    }));
    Ok(findings)
}

fn bytes(
    survey: &mut RepositorySurvey,
    reading: &CheckReading,
    hash: Hash,
    archive: Option<usize>,
) -> Result<DamagedBytes> {
    let copy = survey.shelf.sound_content(hash, &|spot| reading.bad.contains_key(&spot))?;
    let name = |number: usize| survey.shelf.archives()[number].name.clone();
    Ok(DamagedBytes {
        blake3: hash,
        size: survey.contents.get(&hash).copied().unwrap_or(0),
        archive: archive.map(name),
        copy: copy.map(|(spot, _)| name(spot.archive)),
    })
}

/// The photos that show a content, and the files that show it and are no photos.
fn by_catalog(
    db: &Catalog,
    survey: &RepositorySurvey,
    reading: &CheckReading,
    bytes: &DamagedBytes,
) -> Result<Vec<CheckFinding>> {
    let Some(content) = query::content_id(db, bytes.blake3)? else { return Ok(Vec::new()) };
    let (times, mut findings) = (ask::times(db)?, Vec::new());
    let showings = ask::showings(db, content)?;
    for of_one in showings.chunk_by(|a, b| (a.asset, a.part) == (b.asset, b.part)) {
        findings
            .extend(photo(db, survey, reading, bytes, of_one, &times)?.map(CheckFinding::Photo));
    }
    // A file is told of by itself in the snapshots in which no photo shows these bytes.
    let shown =
        |time: i64| showings.iter().any(|showing| showing.since <= time && time < showing.until);
    let mut files: BTreeMap<Vec<u8>, BTreeSet<SnapshotId>> = BTreeMap::new();
    for file in ask::files_of(db, content)? {
        let alone =
            times.iter().filter(|time| (file.since..file.until).contains(*time) && !shown(**time));
        let alone: BTreeSet<SnapshotId> =
            alone.filter_map(|time| SnapshotId::from_seconds(*time).ok()).collect();
        if !alone.is_empty() {
            files.entry(folder::path_in(db, file.folder, &file.name)?).or_default().extend(alone);
        }
    }
    for (path, snapshots) in files {
        let (path, snapshots) = (FilePath::new(path)?, snapshots.into_iter().collect());
        findings.push(CheckFinding::File(LostFile { path, snapshots, bytes: bytes.clone() }));
    }
    Ok(findings)
}

fn photo(
    db: &Catalog,
    survey: &RepositorySurvey,
    reading: &CheckReading,
    bytes: &DamagedBytes,
    showings: &[ContentShowing],
    times: &[i64],
) -> Result<Option<DamagedPhoto>> {
    let holds =
        |time: &&i64| showings.iter().any(|showing| (showing.since..showing.until).contains(*time));
    let shown: Vec<i64> = times.iter().filter(holds).copied().collect();
    let (Some(first), Some(at)) = (showings.first(), shown.last().copied()) else {
        return Ok(None);
    };
    let night = db.night(at);
    let Some(asset) = night.asset(&first.asset)? else { return Ok(None) };
    Ok(Some(DamagedPhoto {
        asset: Uuid::from_bytes(asset.id),
        sidecar: first.part == FilePart::Sidecar,
        owner: night.owner_name(&asset)?,
        taken: asset.wall_clock(),
        name: asset.name,
        albums: night.albums_of(&asset.id)?.into_iter().map(|(_, name)| name).collect(),
        snapshots: shown.iter().filter_map(|time| SnapshotId::from_seconds(*time).ok()).collect(),
        bytes: bytes.clone(),
        other_version: match first.part {
            FilePart::Original => {
                other_version(db, survey, reading, &asset.id, bytes.blake3, times)?
            }
            FilePart::Sidecar => None,
        },
    }))
}

/// The newest snapshot in which the asset has other bytes, that some archive holds undamaged.
fn other_version(
    db: &Catalog,
    survey: &RepositorySurvey,
    reading: &CheckReading,
    asset: &ImmichId,
    damaged: Hash,
    times: &[i64],
) -> Result<Option<SnapshotId>> {
    for held in history::contents(db, asset)?.iter().rev() {
        let Some((hash, _)) =
            query::content_hashes(db, held.what.id)?.filter(|(hash, _)| *hash != damaged)
        else {
            continue;
        };
        let is_there = survey
            .shelf
            .live_copies(hash)
            .any(|spot: ArchiveSpot| !reading.bad.contains_key(&spot));
        let newest = times.iter().rev().find(|time| (held.since..held.until).contains(*time));
        if let (true, Some(newest)) = (is_there, newest) {
            return SnapshotId::from_seconds(*newest).map(Some);
        }
    }
    Ok(None)
}
