//! Checking a repository: is everything there, does it say the same everywhere, are all bytes what
//! was written?
//!
//! Always holds: a check takes no lock and changes nothing; it writes one note, so that what was
//! verified is remembered and the next check goes on where this one ended. What looks wrong while a
//! backup or a prune publishes is looked at again before it is told.
//!
//! The structure is checked always: records, indexes of archives, lists, catalog. An archive is
//! verified whole or not at all, and then every byte of it: headers and padding too (see
//! [`crate::archive::verify`]).
//!
//! Limits: some 200 bytes of memory a content. Names of photos come from the catalog; without one
//! they are told by path.

mod finding;
mod name;
mod read;
mod survey;

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub use self::finding::{CheckFinding, DamagedBytes, DamagedPhoto, LostFile, SnapshotPart};
pub(in crate::task) use self::name::name;
pub use self::read::CheckExtent;
pub(in crate::task) use self::read::{CheckReading, DamagedMember, read};
pub(in crate::task) use self::survey::RepositorySurvey;
use crate::base::amount::plural;
use crate::base::{ErrorKind, Monitor, Phase, Result, SnapshotId};
use crate::repo::Repository;
use crate::repo::notes::{CheckNote, NoteKind};

/// How often a repository that changes is looked at again.
const LOOKS: u32 = 5;
/// How long a catalog that is behind is waited for, each time.
const PAUSE: Duration = Duration::from_millis(300);
/// What was verified longer ago does not count as covered.
const RECENT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What a check found.
#[derive(Debug)]
pub struct Report {
    /// Photos first. Empty: everything that was looked at is right.
    pub findings: Vec<CheckFinding>,
    pub snapshots: u64,
    pub archives: u64,
    /// Bytes of the archives that were read.
    pub read: u64,
    /// Bytes of the archives that were to be read.
    pub chosen: u64,
    /// Not all that was to be read was.
    pub stopped: bool,
    /// The person stopped it, not the time.
    pub interrupted: bool,
    /// Snapshots that passed: whole, and every archive that holds something of them was verified,
    /// now or before.
    pub passed: Vec<SnapshotId>,
    pub coverage: CheckCoverage,
    /// False when the repository is read-only: the next check does not know of this one.
    pub remembered: bool,
}

/// How much of a repository was verified of late.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CheckCoverage {
    /// Bytes of all archives.
    pub bytes: u64,
    /// Bytes of those that were verified within the last 30 days.
    pub recent: u64,
    /// Archives that were never verified.
    pub never: u64,
    /// When the one that was verified longest ago was; `None` when one never was.
    pub oldest: Option<Timestamp>,
    /// Days until the rest is verified too, at the pace of the last 30 days.
    pub days_left: Option<u64>,
}

/// Checks `repository`, reading photos as far as `extent` says.
pub fn check(
    repository: &Repository,
    extent: CheckExtent,
    monitor: &dyn Monitor,
) -> Result<Report> {
    monitor.begin(Phase::Check, None, None);
    let notes = repository.notes()?;
    let known: HashMap<String, Timestamp> =
        notes.verified().into_iter().map(|(name, time)| (name.to_owned(), time)).collect();
    let mut survey = settled(repository, monitor)?;
    let reading = read(&mut survey, extent, &known, monitor)?;
    let findings = name(&mut survey, &reading)?;

    let mut verified = known;
    verified.extend(reading.verified.clone());
    verified.retain(|name, _| !reading.flawed.contains(name));
    let passed = survey.passed(&|name| verified.contains_key(name));
    let now = Timestamp::now();
    let found = CheckNote {
        verified: reading.verified.clone(),
        passed: passed.iter().map(|id| (*id, now)).collect(),
        flawed: reading.flawed.clone(),
    };
    let counts = |name: &str| {
        let archive = survey.shelf.number(name).map(|number| &survey.shelf.archives()[number]);
        archive.is_some_and(|archive| !archive.retired && archive.index.is_ok())
            && !reading.flawed.contains(name)
    };
    let is_there = |id| survey.records.iter().any(|record| record.id == id);
    let is_needless = |name: &str| {
        survey.shelf.number(name).is_none_or(|number| survey.shelf.archives()[number].retired)
    };
    let remembered =
        remember(repository, notes.after_check(found, &counts, &is_there, &is_needless))?;
    Ok(Report {
        findings,
        snapshots: (survey.records.len() + survey.unreadable.len()) as u64,
        archives: survey.shelf.archives().iter().filter(|archive| !archive.retired).count() as u64,
        read: reading.bytes,
        chosen: reading.chosen,
        stopped: reading.stopped,
        interrupted: reading.stopped && monitor.stopped(),
        passed,
        coverage: CheckCoverage::of(&survey, &verified, now),
        remembered,
    })
}

/// How many findings there are before all was looked at.
pub fn so_far(findings: usize) -> String {
    match findings {
        0 => "nothing wrong so far".to_owned(),
        many => format!("{} so far", plural(many as u64, "finding", "findings")),
    }
}

/// A survey of a state that holds: what looks wrong while something is published is looked at
/// again.
fn settled(repository: &Repository, monitor: &dyn Monitor) -> Result<RepositorySurvey> {
    for _ in 1..LOOKS {
        let before = state(repository)?;
        let survey = RepositorySurvey::of(repository, monitor)?;
        let may_pass = survey.is_catalog_bad || state(repository)? != before;
        if survey.findings.is_empty() || monitor.stopped() || !may_pass {
            return Ok(survey);
        }
        // A writer publishes the record first and then the catalog.
        std::thread::sleep(PAUSE);
    }
    RepositorySurvey::of(repository, monitor)
}

/// What changes when something is published.
fn state(repository: &Repository) -> Result<impl PartialEq> {
    let (store, mut names) = (repository.store(), Vec::new());
    for folder in ["archives", "snapshots", "notes"] {
        names.extend(store.list(folder)?.into_iter().map(|listed| listed.name));
    }
    Ok((names, repository.catalog().ok().map(|generation| generation.stamp())))
}

/// Writes down what is known now, in place of what was. False when the repository is read-only.
fn remember(repository: &Repository, checked: CheckNote) -> Result<bool> {
    let old: Vec<String> =
        repository.notes()?.names_of_checks().into_iter().map(str::to_owned).collect();
    if old.is_empty() && checked == CheckNote::default() {
        return Ok(true);
    }
    match repository.add_note(NoteKind::Check(checked)) {
        Ok(new) => {
            old.iter()
                .filter(|name| **name != new)
                .try_for_each(|name| repository.remove_note(name))?;
            Ok(true)
        }
        Err(error) if matches!(error.kind(), ErrorKind::Permission | ErrorKind::NoSpace) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

impl CheckCoverage {
    fn of(
        survey: &RepositorySurvey,
        verified: &HashMap<String, Timestamp>,
        now: Timestamp,
    ) -> CheckCoverage {
        let archives = survey.shelf.archives().iter().filter(|archive| !archive.retired);
        let times: Vec<(u64, Option<Timestamp>)> =
            archives.map(|archive| (archive.size, verified.get(&archive.name).copied())).collect();
        let bytes = times.iter().map(|(size, _)| size).sum();
        let of_late: Vec<(u64, Timestamp)> = times
            .iter()
            .filter_map(|(size, time)| Some((*size, (*time)?)))
            .filter(|(_, time)| now.duration_since(*time) <= RECENT)
            .collect();
        let recent = of_late.iter().map(|(size, _)| size).sum();
        let first = of_late.iter().map(|(_, time)| *time).min();
        let never = times.iter().filter(|(_, time)| time.is_none()).count() as u64;
        let oldest = times.iter().filter_map(|(_, time)| *time).min().filter(|_| never == 0);
        CheckCoverage {
            bytes,
            recent,
            never,
            oldest,
            days_left: days_left(bytes, recent, first, now),
        }
    }
}

/// The pace can be told when there was more than a day of it.
fn days_left(bytes: u64, recent: u64, first: Option<Timestamp>, now: Timestamp) -> Option<u64> {
    let hours = now.duration_since(first?).as_hours();
    if bytes == recent || recent == 0 || hours < 24 {
        return None;
    }
    let a_day = recent as f64 / (hours as f64 / 24.0);
    Some(((bytes - recent) as f64 / a_day).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_the_pace_says() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let before = |days: i64| Some(now - SignedDuration::from_hours(24 * days));
        assert_eq!(days_left(1000, 200, before(4), now), Some(16));
        assert_eq!(days_left(1000, 1000, before(4), now), None);
        assert_eq!(days_left(1000, 200, before(0), now), None);
        assert_eq!(days_left(1000, 0, None, now), None);
    }
}
