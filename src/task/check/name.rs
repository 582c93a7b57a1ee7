//! Which photos, files and snapshots damaged bytes belong to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use rusqlite::Connection;
use uuid::Uuid;

use super::finding::{Bytes, Finding, LostFile, Part, Photo};
use super::read::{Damaged, Reading};
use super::survey::Survey;
use crate::base::{FilePath, Hash, Result, SnapshotId};
use crate::catalog::query;
use crate::catalog::query::check::{self as ask, Showing};
use crate::catalog::query::{history, search, view};
use crate::repo::shelf::Spot;

/// Everything that `survey` and `reading` found, named.
pub(in crate::task) fn name(survey: &mut Survey, reading: &Reading) -> Result<Vec<Finding>> {
    let mut findings = survey.findings.clone();
    findings.extend(archives(survey, reading));
    findings.extend(chunks(survey, reading));
    let mut damaged = BTreeMap::new();
    for (spot, what) in &reading.bad {
        if let Damaged::Content(line) = what
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
fn order(finding: &Finding) -> (u8, String, String) {
    match finding {
        Finding::Photo(photo) => {
            (0, photo.owner.clone(), format!("{} {}", photo.name, photo.taken))
        }
        Finding::File(file) => (1, file.path.to_string(), String::new()),
        Finding::Snapshot { snapshot, part, .. } => (2, snapshot.to_string(), format!("{part:?}")),
        Finding::Archive { archive, message } => (3, archive.clone(), message.clone()),
        Finding::Catalog { message } => (4, message.clone(), String::new()),
        Finding::Other { file, .. } => (5, file.clone(), String::new()),
    }
}

/// Flaws of archives that are not flaws of what a snapshot shows.
fn archives(survey: &Survey, reading: &Reading) -> Vec<Finding> {
    let name = |number: usize| survey.shelf.archives()[number].name.clone();
    let headers = reading.headers.iter().map(|(number, members)| Finding::Archive {
        archive: name(*number),
        message: format!(
            "what tells `tar` of {members} of its members is damaged; shoebox reads \
            them all the same"
        ),
    });
    let unused = reading.bad.iter().filter_map(|(spot, damaged)| match damaged {
        Damaged::Content(line) if !survey.contents.contains_key(&line.content) => {
            Some(Finding::Archive {
                archive: name(spot.archive),
                message: format!("`{}` is damaged; no snapshot shows it", line.path),
            })
        }
        Damaged::Chunk(line) if survey.users_of(line.chunk).is_empty() => Some(Finding::Archive {
            archive: name(spot.archive),
            message: format!("a piece ({}) is damaged that no snapshot needs", line.chunk),
        }),
        _ => None,
    });
    headers.chain(unused).collect()
}

/// Parts of snapshots whose chunks are damaged.
fn chunks(survey: &Survey, reading: &Reading) -> Vec<Finding> {
    let mut parts: BTreeMap<(SnapshotId, Part), BTreeSet<Hash>> = BTreeMap::new();
    for damaged in reading.bad.values() {
        let Damaged::Chunk(line) = damaged else { continue };
        for user in survey.users_of(line.chunk) {
            parts.entry(user).or_default().insert(line.chunk);
        }
    }
    let told = |id: SnapshotId, part: Part| {
        survey.findings.iter().any(|finding| matches!(finding, Finding::Snapshot { snapshot, part: other, .. } if (*snapshot, *other) == (id, part)))
    };
    let new = parts.into_iter().filter(|((id, part), _)| !told(*id, *part));
    new.map(|((snapshot, part), pieces)| {
        let pieces = match pieces.len() {
            1 => "a piece of it is damaged".to_owned(),
            many => format!("{many} pieces of it are damaged"),
        };
        Finding::Snapshot { snapshot, part, message: pieces }
    })
    .collect()
}

/// Photos and files whose bytes are damaged (in that archive) or lost.
fn contents(
    survey: &mut Survey,
    reading: &Reading,
    damaged: &BTreeMap<Hash, Option<usize>>,
) -> Result<Vec<Finding>> {
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
            findings.push(Finding::File(LostFile {
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
        Some(Finding::Archive { archive: bytes.archive?, message })
    }));
    Ok(findings)
}

fn bytes(
    survey: &mut Survey,
    reading: &Reading,
    hash: Hash,
    archive: Option<usize>,
) -> Result<Bytes> {
    let copy = survey.shelf.sound_content(hash, &|spot| reading.bad.contains_key(&spot))?;
    let name = |number: usize| survey.shelf.archives()[number].name.clone();
    Ok(Bytes {
        blake3: hash,
        size: survey.contents.get(&hash).copied().unwrap_or(0),
        archive: archive.map(name),
        copy: copy.map(|(spot, _)| name(spot.archive)),
    })
}

/// The photos that show a content, and the files that show it and are no photos.
fn by_catalog(
    db: &Connection,
    survey: &Survey,
    reading: &Reading,
    bytes: &Bytes,
) -> Result<Vec<Finding>> {
    let Some(content) = query::content_id(db, bytes.blake3)? else { return Ok(Vec::new()) };
    let (times, mut findings) = (ask::times(db)?, Vec::new());
    let showings = ask::showings(db, content)?;
    for of_one in showings.chunk_by(|a, b| (a.asset, a.part) == (b.asset, b.part)) {
        findings.extend(photo(db, survey, reading, bytes, of_one, &times)?.map(Finding::Photo));
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
            files.entry(ask::path(db, file.folder, &file.name)?).or_default().extend(alone);
        }
    }
    for (path, snapshots) in files {
        let (path, snapshots) = (FilePath::new(path)?, snapshots.into_iter().collect());
        findings.push(Finding::File(LostFile { path, snapshots, bytes: bytes.clone() }));
    }
    Ok(findings)
}

fn photo(
    db: &Connection,
    survey: &Survey,
    reading: &Reading,
    bytes: &Bytes,
    showings: &[Showing],
    times: &[i64],
) -> Result<Option<Photo>> {
    let holds =
        |time: &&i64| showings.iter().any(|showing| (showing.since..showing.until).contains(*time));
    let shown: Vec<i64> = times.iter().filter(holds).copied().collect();
    let (Some(first), Some(at)) = (showings.first(), shown.last().copied()) else {
        return Ok(None);
    };
    let Some(asset) = search::asset(db, &first.asset, at)? else { return Ok(None) };
    Ok(Some(Photo {
        asset: Uuid::from_bytes(asset.id),
        sidecar: first.part == 1,
        owner: search::user_name(db, &asset.owner, at)?.unwrap_or_default(),
        name: asset.name,
        taken: wall_clock(asset.taken),
        albums: search::albums_of(db, &asset.id, at)?.into_iter().map(|(_, name)| name).collect(),
        snapshots: shown.iter().filter_map(|time| SnapshotId::from_seconds(*time).ok()).collect(),
        bytes: bytes.clone(),
        other_version: match first.part {
            0 => other_version(db, survey, reading, &asset.id, bytes.blake3, times)?,
            _ => None,
        },
    }))
}

/// The newest snapshot in which the asset has other bytes, that some archive holds undamaged.
fn other_version(
    db: &Connection,
    survey: &Survey,
    reading: &Reading,
    asset: &view::Id,
    damaged: Hash,
    times: &[i64],
) -> Result<Option<SnapshotId>> {
    for held in history::contents(db, asset)?.iter().rev() {
        let Some((hash, _)) = view::hashes(db, held.what.id)?.filter(|(hash, _)| *hash != damaged)
        else {
            continue;
        };
        let is_there =
            survey.shelf.live_copies(hash).any(|spot: Spot| !reading.bad.contains_key(&spot));
        let newest = times.iter().rev().find(|time| (held.since..held.until).contains(*time));
        if let (true, Some(newest)) = (is_there, newest) {
            return SnapshotId::from_seconds(*newest).map(Some);
        }
    }
    Ok(None)
}

/// A wall-clock time, as the catalog keeps it.
fn wall_clock(milliseconds: i64) -> DateTime {
    let time =
        jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(jiff::tz::TimeZone::UTC).datetime()
}
