//! Reading archives whole: which ones, in which order, until when; and what is wrong in them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::survey::RepositorySurvey;
use crate::archive::verify::{ArchiveFlaw, VerifyHelper, verify};
use crate::base::stored::{ChunkLine, ContentLine, IndexLine};
use crate::base::{Error, ErrorKind, Hash, Monitor, Phase, Result};
use crate::repo::ArchiveInventory;
use crate::repo::shelf::{ArchiveSpot, hash_of};

/// How much is to be read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CheckExtent {
    /// No photos: the structure alone.
    Structure,
    /// All archives.
    All,
    /// So many percent of the bytes.
    Percent(f64),
    /// Archives, until so much time is over.
    Time(Duration),
}

/// What reading found.
#[derive(Debug, Default)]
pub(in crate::task) struct CheckReading {
    /// Archives that were read whole and are right, and when that began.
    pub verified: BTreeMap<String, Timestamp>,
    /// Archives that have flaws.
    pub flawed: BTreeSet<String>,
    /// Contents and chunks that are not what was written, by where they are.
    pub bad: HashMap<ArchiveSpot, DamagedMember>,
    /// Archives of which `tar` is told wrong things, though all bytes may be right: how many
    /// members.
    pub headers: BTreeMap<usize, u64>,
    /// Bytes of archives that were read.
    pub bytes: u64,
    /// Bytes of the archives that were to be read.
    pub chosen: u64,
    /// Not all that was to be read was: the person, or the time, stopped it.
    pub stopped: bool,
}

/// A content or chunk that is not what was written.
#[derive(Debug)]
pub(in crate::task) enum DamagedMember {
    Content(ContentLine),
    Chunk(ChunkLine),
}

/// Reads as many archives as `extent` says: never verified ones first, then those that were
/// verified longest ago.
pub(in crate::task) fn read(
    survey: &mut RepositorySurvey,
    extent: CheckExtent,
    verified: &HashMap<String, Timestamp>,
    monitor: &dyn Monitor,
) -> Result<CheckReading> {
    let (chosen, begun) = (choose(&survey.shelf, extent, verified), Instant::now());
    let bytes = chosen.iter().map(|number| survey.shelf.archives()[*number].size).sum();
    let mut reading = CheckReading { chosen: bytes, ..CheckReading::default() };
    if extent == CheckExtent::Structure {
        return Ok(reading);
    }
    monitor.begin(Phase::Check, Some(chosen.len() as u64), Some(bytes));
    for number in chosen {
        let is_over = matches!(extent, CheckExtent::Time(limit) if begun.elapsed() >= limit);
        if is_over || !read_archive(&mut survey.shelf, number, &mut reading, monitor)? {
            reading.stopped = true;
            break;
        }
    }
    Ok(reading)
}

/// The archives to read, in order.
fn choose(
    shelf: &ArchiveInventory,
    extent: CheckExtent,
    verified: &HashMap<String, Timestamp>,
) -> Vec<usize> {
    let archives = shelf.archives();
    let mut chosen: Vec<usize> = (0..archives.len())
        .filter(|at| !archives[*at].retired && archives[*at].index.is_ok())
        .collect();
    chosen.sort_by_key(|at| (verified.get(&archives[*at].name), *at));
    if let CheckExtent::Percent(percent) = extent {
        let all: u64 = chosen.iter().map(|at| archives[*at].size).sum();
        let (mut sum, wanted) = (0, (all as f64 * percent / 100.0) as u64);
        chosen.retain(|at| {
            let is_due = sum < wanted;
            sum += archives[*at].size;
            is_due
        });
    }
    chosen
}

/// False when the person stopped it.
fn read_archive(
    shelf: &mut ArchiveInventory,
    number: usize,
    reading: &mut CheckReading,
    monitor: &dyn Monitor,
) -> Result<bool> {
    let (begun, name) = (Timestamp::now(), shelf.archives()[number].name.clone());
    let opened = shelf.reader(number).and_then(|reader| Ok((reader, shelf.lines(number)?)));
    let (reader, lines) = match opened {
        // A prune deleted it just now.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    let Some(flaws) = verify(&reader, &lines, &mut ReadHelper { shelf, monitor })? else {
        return Ok(false);
    };
    let size = shelf.archives()[number].size;
    reading.bytes += size;
    monitor.advance(1, size.saturating_sub(lines.iter().map(|line| line.place().1).sum()));
    if flaws.is_empty() {
        reading.verified.insert(name, begun);
    } else {
        reading.flawed.insert(name);
    }
    // A member may lie in an archive twice.
    let places: HashMap<(Hash, u64), usize> =
        lines.iter().enumerate().map(|(line, of)| ((hash_of(of), of.place().0), line)).collect();
    let mut headers = HashSet::new();
    for flaw in flaws {
        match flaw {
            ArchiveFlaw::Header(line) => drop(headers.insert(line.place().0)),
            ArchiveFlaw::Frame => drop(headers.insert(u64::MAX)),
            ArchiveFlaw::Member(line, _) => {
                let spot = ArchiveSpot {
                    archive: number,
                    line: places[&(hash_of(&line), line.place().0)],
                };
                let damaged = match line {
                    IndexLine::Content(line) => DamagedMember::Content(line),
                    IndexLine::Chunk(line) => DamagedMember::Chunk(line),
                };
                reading.bad.insert(spot, damaged);
            }
        }
    }
    if !headers.is_empty() {
        reading.headers.insert(number, headers.len() as u64);
    }
    Ok(true)
}

struct ReadHelper<'a> {
    shelf: &'a mut ArchiveInventory,
    monitor: &'a dyn Monitor,
}

impl VerifyHelper for ReadHelper<'_> {
    fn prefix(&mut self, patch: &ChunkLine) -> Result<Vec<u8>> {
        match self.shelf.prefix(&patch.keys) {
            Err(error) if error.is_damage() => {
                Err(Error::damaged(format_args!("chunk {}, whose key is lost", patch.chunk))
                    .caused_by(error))
            }
            other => other,
        }
    }

    fn advance(&mut self, bytes: u64) -> bool {
        self.monitor.advance(0, bytes);
        !self.monitor.stopped()
    }
}
