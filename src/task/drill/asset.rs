//! Reading assets through the tree, and comparing them.

use std::collections::HashMap;

use uuid::Uuid;

use super::finding::{AssetFault, WrongAsset};
use super::sample::{AssetSample, SampledAsset};
use super::{Report, STOPPED};
use crate::archive::Hasher;
use crate::base::{Error, ErrorKind, Monitor, Phase, Problem, Result, Sha1};
use crate::catalog::FilePart;
use crate::catalog::query;
use crate::immich::PathMap;
use crate::repo::Repository;
use crate::task::dump::SnapshotDump;
use crate::task::find::{AssetFinder, FindHit, FindQuery, FindSpan, PlaceFinder};
use crate::task::open::find_snapshot;
use crate::task::restore::whole::layout::FileLayout;
use crate::view::ino::{NodePlace, SnapshotNode};
use crate::view::{Ino, View};

/// How many are looked up at a time.
const BATCH: usize = 500;
/// Read at a time: a segment.
const PIECE: usize = 1 << 20;

/// Reads what was drawn, and writes into `report` what came of it.
pub(super) fn compare(
    repository: &Repository,
    dump: &SnapshotDump,
    sample: AssetSample,
    report: &mut Report,
    monitor: &dyn Monitor,
) -> Result<()> {
    let rows = sample.into_rows();
    let bytes = rows.iter().filter_map(|row| row.size).fold(0, u64::saturating_add);
    monitor.begin(Phase::Check, Some(rows.len() as u64), Some(bytes));
    let finder = AssetFinder::open(repository, true)?;
    let snapshot = dump.id.to_string();
    let folder = find_snapshot(&finder.view, &snapshot)?.1;
    let told = dump.record.completeness.missing + dump.record.completeness.not_covered;
    let gaps_are_told = finder.view.without_bytes(folder.ino)? <= told;
    let layout = FileLayout::of_snapshot(finder.night(dump.id.seconds()))?;
    let paths = PathMap::new(dump.record.dump.media_location.as_deref());
    let places = finder.places();
    let mut reading = AssetReading {
        finder: &finder,
        places,
        layout,
        paths,
        at: dump.id.seconds(),
        gaps_are_told,
        monitor,
    };
    for batch in rows.chunks(BATCH) {
        let ids = batch.iter().map(|row| row.id).collect();
        let query = FindQuery { assets: ids, locked: true, ..FindQuery::default() };
        let hits = finder.find(&query, &FindSpan::Snapshot(snapshot.clone()))?;
        let hits: HashMap<Uuid, &FindHit> = hits.iter().map(|hit| (hit.id(), hit)).collect();
        for row in batch {
            STOPPED.check(monitor)?;
            count(row, reading.asset(row, hits.get(&row.id).copied())?, report, monitor);
        }
    }
    Ok(())
}

/// What came of an asset.
enum AssetOutcome {
    /// It is what the database says, so many bytes.
    Right(u64),
    /// Its original is not in the snapshot, and that says so itself.
    WithoutFile,
    Wrong(String, AssetFault),
}

fn count(row: &SampledAsset, outcome: AssetOutcome, report: &mut Report, monitor: &dyn Monitor) {
    match outcome {
        AssetOutcome::Right(bytes) => {
            report.assets += 1;
            report.unhashed += u64::from(row.sha1.is_none());
            report.bytes += bytes;
        }
        AssetOutcome::WithoutFile => report.without_file += 1,
        AssetOutcome::Wrong(path, fault) => {
            monitor.problem(Problem { subject: path.clone(), message: fault.to_string() });
            report.wrong.push(WrongAsset { asset: row.id, path, fault });
        }
    }
}

struct AssetReading<'a> {
    finder: &'a AssetFinder,
    places: PlaceFinder<'a>,
    /// What a recovery lays elsewhere than it lay.
    layout: FileLayout,
    paths: PathMap,
    at: i64,
    /// The snapshot knows itself of as many originals that are not there as its tree lacks.
    gaps_are_told: bool,
    monitor: &'a dyn Monitor,
}

impl AssetReading<'_> {
    fn asset(&mut self, row: &SampledAsset, hit: Option<&FindHit>) -> Result<AssetOutcome> {
        let Some(hit) = hit else {
            return Ok(AssetOutcome::Wrong(row.id.to_string(), AssetFault::Unknown));
        };
        let Some((path, ino)) = self.place(hit)? else {
            return Ok(if self.gaps_are_told {
                AssetOutcome::WithoutFile
            } else {
                AssetOutcome::Wrong(hit.name().to_owned(), AssetFault::Missing)
            });
        };
        match read(&self.finder.view, ino, self.monitor) {
            Ok((sha1, size)) => Ok(match fault(row, sha1, size).or(self.misplaced(row)?) {
                None => AssetOutcome::Right(size),
                Some(fault) => AssetOutcome::Wrong(path, fault),
            }),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                Ok(AssetOutcome::Wrong(path, AssetFault::Damaged { message: error.chain() }))
            }
        }
    }

    /// What is wrong with the place that a recovery gives it. External libraries are laid where it
    /// is said then.
    fn misplaced(&self, row: &SampledAsset) -> Result<Option<AssetFault>> {
        if row.is_external {
            return Ok(None);
        }
        let night = self.finder.night(self.at);
        let path = self.paths.file(&row.path, false);
        let content = path.map(|path| self.layout.content_at(night, &path)).transpose()?.flatten();
        let is_there = match content {
            Some(content) => query::is_content_of(
                night.catalog(),
                content,
                row.sha1.as_ref().map(|sha1| &sha1.0),
            )?,
            None => false,
        };
        Ok((!is_there).then(|| AssetFault::Elsewhere { place: row.path.clone() }))
    }

    /// Where the tree shows it: on a shelf, or at least among the files.
    fn place(&mut self, hit: &FindHit) -> Result<Option<(String, Ino)>> {
        if let Some(shown) = self.places.shown(hit)? {
            return Ok(Some((shown.path, shown.ino)));
        }
        let stored = self.finder.night(hit.at).stored(hit.id().as_bytes(), FilePart::Original)?;
        let (Some(stored), Some(number)) = (stored, self.places.number(hit.at)?) else {
            return Ok(None);
        };
        let (Some((folder, name)), Some(ino)) =
            (stored.file, NodePlace::In(number, SnapshotNode::File(stored.row)).pack())
        else {
            return Ok(None);
        };
        Ok(Some((self.places.file(folder, &name)?, ino)))
    }
}

/// What is wrong with bytes of this SHA-1 and number.
fn fault(row: &SampledAsset, sha1: Sha1, size: u64) -> Option<AssetFault> {
    match (row.sha1, row.size) {
        (Some(database), _) if database != sha1 => {
            Some(AssetFault::Checksum { database, file: sha1 })
        }
        (None, Some(database)) if database != size => {
            Some(AssetFault::Size { database, file: size })
        }
        _ => None,
    }
}

/// The SHA-1 and the number of the bytes that the tree hands out, which must be as many as it says.
fn read(view: &View, ino: Ino, monitor: &dyn Monitor) -> Result<(Sha1, u64)> {
    let size = view.node(ino)?.size;
    let (mut hasher, mut at) = (Hasher::default(), 0);
    while at < size {
        STOPPED.check(monitor)?;
        let got = view.read(ino, at, PIECE, |piece| {
            hasher.update(piece);
            piece.len() as u64
        })?;
        if got == 0 {
            return Err(Error::damaged(format_args!("{at} bytes can be read of {size}")));
        }
        at += got;
        monitor.advance(0, got);
    }
    monitor.advance(1, 0);
    Ok((hasher.finish().sha1, size))
}
