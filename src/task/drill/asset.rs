//! Reading assets through the tree, and comparing them.

use std::collections::HashMap;

use uuid::Uuid;

use super::finding::{Fault, Wrong};
use super::sample::{Row, Sample};
use super::{Report, stop_if_asked};
use crate::archive::Hasher;
use crate::base::{Error, Kind, Monitor, Phase, Problem, Result, Sha1};
use crate::catalog::query::{layout, search};
use crate::immich::Paths;
use crate::repo::Repository;
use crate::task::dump::SnapshotDump;
use crate::task::find::{Finder, Hit, Places, Query, Span};
use crate::task::open::find_snapshot;
use crate::task::restore::whole::layout::Layout;
use crate::view::ino::{Place, Spot};
use crate::view::{Ino, View};

/// How many are looked up at a time.
const BATCH: usize = 500;
/// Read at a time: a segment.
const PIECE: usize = 1 << 20;

/// Reads what was drawn, and writes into `report` what came of it.
pub(super) fn compare(
    repository: &Repository,
    dump: &SnapshotDump,
    sample: Sample,
    report: &mut Report,
    monitor: &dyn Monitor,
) -> Result<()> {
    let rows = sample.into_rows();
    let bytes = rows.iter().filter_map(|row| row.size).fold(0, u64::saturating_add);
    monitor.begin(Phase::Check, Some(rows.len() as u64), Some(bytes));
    let finder = Finder::open(repository, true)?;
    let snapshot = dump.id.to_string();
    let folder = find_snapshot(&finder.view, &snapshot)?.1;
    let told = dump.record.completeness.missing + dump.record.completeness.not_covered;
    let gaps_are_told = finder.view.without_bytes(folder.ino)? <= told;
    let layout = Layout::of_snapshot(&finder.db, dump.id.seconds())?;
    let paths = Paths::new(dump.record.dump.media_location.as_deref());
    let places = finder.places();
    let mut reading = Reading {
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
        let query = Query { assets: ids, locked: true, ..Query::default() };
        let hits = finder.find(&query, &Span::Snapshot(snapshot.clone()))?;
        let hits: HashMap<Uuid, &Hit> = hits.iter().map(|hit| (hit.id(), hit)).collect();
        for row in batch {
            stop_if_asked(monitor)?;
            count(row, reading.asset(row, hits.get(&row.id).copied())?, report, monitor);
        }
    }
    Ok(())
}

/// What came of an asset.
enum Outcome {
    /// It is what the database says, so many bytes.
    Right(u64),
    /// Its original is not in the snapshot, and that says so itself.
    WithoutFile,
    Wrong(String, Fault),
}

fn count(row: &Row, outcome: Outcome, report: &mut Report, monitor: &dyn Monitor) {
    match outcome {
        Outcome::Right(bytes) => {
            report.assets += 1;
            report.unhashed += u64::from(row.sha1.is_none());
            report.bytes += bytes;
        }
        Outcome::WithoutFile => report.without_file += 1,
        Outcome::Wrong(path, fault) => {
            monitor.problem(Problem { subject: path.clone(), message: fault.to_string() });
            report.wrong.push(Wrong { asset: row.id, path, fault });
        }
    }
}

struct Reading<'a> {
    finder: &'a Finder,
    places: Places<'a>,
    /// What a recovery lays elsewhere than it lay.
    layout: Layout,
    paths: Paths,
    at: i64,
    /// The snapshot knows itself of as many originals that are not there as its tree lacks.
    gaps_are_told: bool,
    monitor: &'a dyn Monitor,
}

impl Reading<'_> {
    fn asset(&mut self, row: &Row, hit: Option<&Hit>) -> Result<Outcome> {
        let Some(hit) = hit else { return Ok(Outcome::Wrong(row.id.to_string(), Fault::Unknown)) };
        let Some((path, ino)) = self.place(hit)? else {
            return Ok(if self.gaps_are_told {
                Outcome::WithoutFile
            } else {
                Outcome::Wrong(hit.name().to_owned(), Fault::Missing)
            });
        };
        match read(&self.finder.view, ino, self.monitor) {
            Ok((sha1, size)) => Ok(match fault(row, sha1, size).or(self.misplaced(row)?) {
                None => Outcome::Right(size),
                Some(fault) => Outcome::Wrong(path, fault),
            }),
            Err(error) if error.kind() == Kind::Interrupted => Err(error),
            Err(error) => Ok(Outcome::Wrong(path, Fault::Damaged { message: error.chain() })),
        }
    }

    /// What is wrong with the place that a recovery gives it. External libraries are laid where it
    /// is said then.
    fn misplaced(&self, row: &Row) -> Result<Option<Fault>> {
        if row.is_external {
            return Ok(None);
        }
        let (db, at) = (&self.finder.db, self.at);
        let path = self.paths.file(&row.path, false);
        let content = path.map(|path| self.layout.content_at(db, &path, at)).transpose()?.flatten();
        let is_there = match content {
            Some(content) => {
                layout::is_content_of(db, content, row.sha1.as_ref().map(|sha1| &sha1.0))?
            }
            None => false,
        };
        Ok((!is_there).then(|| Fault::Elsewhere { place: row.path.clone() }))
    }

    /// Where the tree shows it: on a shelf, or at least among the files.
    fn place(&mut self, hit: &Hit) -> Result<Option<(String, Ino)>> {
        if let Some(shown) = self.places.shown(hit)? {
            return Ok(Some((shown.path, shown.ino)));
        }
        let stored = search::stored(&self.finder.db, hit.id().as_bytes(), 0, hit.at)?;
        let (Some(stored), Some(number)) = (stored, self.places.number(hit.at)?) else {
            return Ok(None);
        };
        let (Some((folder, name)), Some(ino)) =
            (stored.file, Place::In(number, Spot::File(stored.row)).pack())
        else {
            return Ok(None);
        };
        Ok(Some((self.places.file(folder, &name)?, ino)))
    }
}

/// What is wrong with bytes of this SHA-1 and number.
fn fault(row: &Row, sha1: Sha1, size: u64) -> Option<Fault> {
    match (row.sha1, row.size) {
        (Some(database), _) if database != sha1 => Some(Fault::Checksum { database, file: sha1 }),
        (None, Some(database)) if database != size => Some(Fault::Size { database, file: size }),
        _ => None,
    }
}

/// The SHA-1 and the number of the bytes that the tree hands out, which must be as many as it says.
fn read(view: &View, ino: Ino, monitor: &dyn Monitor) -> Result<(Sha1, u64)> {
    let size = view.node(ino)?.size;
    let (mut hasher, mut at) = (Hasher::default(), 0);
    while at < size {
        stop_if_asked(monitor)?;
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
