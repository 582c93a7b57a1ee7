//! How a repository is, on one screen: what it holds, when that was last shown to be right, and
//! what a person should do.
//!
//! Cheap: it reads notes, the names of archives, the records of the last 30 days and back to what a
//! person acknowledged and, once, the catalog. It takes no lock and changes nothing.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::base::{ErrorKind, Result, SnapshotId};
use crate::repo::notes::{RunNote, StepOutcome};
use crate::repo::{Notes, Repository, SKEW, SnapshotRecord, is_to_come};
use crate::task::space::DiskSpace;

mod finding;

pub(in crate::task) use self::finding::MANY;
use self::finding::StatusEvidence;
pub use self::finding::StatusFinding;

/// Growth is told of this time, and an archive counts as checked that was read within it.
const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How old things may be before that is trouble.
#[derive(Debug, Clone, Copy)]
pub struct AgeLimits {
    /// Of the newest snapshot whose dump is good.
    pub snapshot: SignedDuration,
    /// Of the newest snapshot that passed a check.
    pub verified: SignedDuration,
}

/// How a repository is.
#[derive(Debug, Clone, Serialize)]
pub struct RepositoryStatus {
    /// Nothing is wrong that a person should know of today.
    pub healthy: bool,
    pub findings: Vec<StatusFinding>,
    /// The folder.
    pub repository: String,
    pub snapshots: u64,
    /// The newest snapshot, be its dump good or bad.
    pub last: Option<LastSnapshot>,
    /// The newest one whose dump is good.
    pub good: Option<SnapshotId>,
    /// The newest one that passed a check, and when it last did.
    pub verified: Option<SnapshotId>,
    pub verified_at: Option<Timestamp>,
    pub checked: Option<Timestamp>,
    /// Percent of the archives' bytes that were read and found right within 30 days.
    pub coverage: u64,
    /// The last drill that succeeded.
    pub drilled: Option<Timestamp>,
    /// The newest snapshot with an alarm that nobody acknowledged.
    pub alarm: Option<SnapshotId>,
    /// Bytes of all archives.
    pub size: u64,
    /// Bytes that the snapshots of the last 30 days added.
    pub growth: u64,
    /// Bytes that are free on the repository's disk.
    pub free: u64,
    pub run: Option<LastRun>,
    /// Since when a run is under way.
    pub running_since: Option<Timestamp>,
}

/// A snapshot in short.
#[derive(Debug, Clone, Serialize)]
pub struct LastSnapshot {
    pub id: SnapshotId,
    pub good: bool,
    pub assets: u64,
    pub files: u64,
    pub bytes: u64,
    /// The state of the library that it gives back: the time of its dump.
    pub as_of: Timestamp,
    /// Assets whose original lies elsewhere than the database says.
    pub moved: u64,
    /// Assets whose original is not in it.
    pub missing: u64,
    pub not_covered: u64,
    pub unreadable: u64,
    /// Assets whose file has other bytes than Immich recorded.
    pub changed: u64,
    /// Photos are in its database, and none of them is in it.
    pub empty: bool,
    pub alarm: Vec<String>,
    pub immich: Option<String>,
}

/// The last run of the service.
#[derive(Debug, Clone, Serialize)]
pub struct LastRun {
    pub ended: Timestamp,
    pub outcome: StepOutcome,
    #[serde(flatten)]
    pub run: RunNote,
}

/// How `repository` is at `now`.
pub fn status(
    repository: &Repository,
    limits: AgeLimits,
    now: Timestamp,
) -> Result<RepositoryStatus> {
    let notes = repository.notes()?;
    let all = repository.snapshot_ids()?;
    let ids: Vec<_> = all.iter().copied().filter(|id| !is_to_come(*id, now)).collect();
    let records = recent(repository, &ids, now)?;
    let alarming = repository.alarming(&notes)?;
    let mut status = RepositoryStatus {
        snapshots: all.len() as u64,
        alarm: alarming.as_ref().map(|record| record.id),
        ..figures(repository, &notes, &ids, &records, now)?
    };
    let seen = StatusEvidence {
        status: &status,
        records: &records,
        alarming: alarming.as_ref(),
        notes: &notes,
        limits,
        now,
        created: repository.created(),
    };
    let mut findings: Vec<StatusFinding> = seen.of_long_run().into_iter().collect();
    findings.extend(finding::of_catalog(repository));
    findings.extend(finding::of_clock(&all, now));
    findings.extend(finding::of_number(all.len()));
    findings.extend(finding::of_space(DiskSpace::of(repository, &records, now)?));
    findings.extend(seen.findings());
    status.healthy = !findings.iter().any(|finding| finding.red);
    status.findings = findings;
    Ok(status)
}

/// What notes, records and archives say, before anything is made of it.
fn figures(
    repository: &Repository,
    notes: &Notes,
    ids: &[SnapshotId],
    records: &[SnapshotRecord],
    now: Timestamp,
) -> Result<RepositoryStatus> {
    let archives = archives(repository)?;
    let passed = notes.passed();
    let verified = ids.iter().rev().find_map(|id| Some((*id, *passed.get(id)?)));
    let last_run = notes.runs().rfind(|(ended, _)| ended.duration_since(now) <= SKEW);
    Ok(RepositoryStatus {
        healthy: true,
        findings: Vec::new(),
        repository: repository.root().display().to_string(),
        snapshots: ids.len() as u64,
        last: records.first().map(LastSnapshot::of),
        good: records.iter().find(|record| record.is_good()).map(|record| record.id),
        verified: verified.map(|(id, _)| id),
        verified_at: verified.map(|(_, time)| time),
        checked: notes.last_check(),
        coverage: coverage(notes, &archives, now),
        drilled: notes.last_drill().map(|(time, _)| time),
        alarm: None,
        size: archives.iter().map(|(_, size)| size).sum(),
        growth: growth(records, now),
        free: repository.free_space()?,
        run: last_run.map(|(ended, run)| LastRun {
            ended,
            outcome: run.outcome(),
            run: run.clone(),
        }),
        running_since: repository.run_since(),
    })
}

impl LastSnapshot {
    fn of(record: &SnapshotRecord) -> LastSnapshot {
        let complete = &record.completeness;
        LastSnapshot {
            id: record.id,
            good: record.is_good(),
            assets: record.census.assets,
            files: record.files.files,
            bytes: record.files.bytes,
            as_of: record.as_of(),
            moved: complete.moved,
            missing: complete.missing,
            not_covered: complete.not_covered,
            unreadable: complete.unreadable,
            changed: complete.changed,
            empty: record.lacks_all_originals(),
            alarm: record.alarm.clone(),
            immich: record.dump.immich.clone(),
        }
    }
}

/// The records of the last 30 days and back to the newest good one, the newest first.
pub(super) fn recent(
    repository: &Repository,
    ids: &[SnapshotId],
    now: Timestamp,
) -> Result<Vec<SnapshotRecord>> {
    let mut records: Vec<SnapshotRecord> = Vec::new();
    for id in ids.iter().rev() {
        let is_old = now.duration_since(id.time()) > MONTH;
        if is_old && records.iter().any(SnapshotRecord::is_good) {
            break;
        }
        match repository.record(*id) {
            Ok(record) => records.push(record),
            // A check tells of it; or it was forgotten just now.
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

/// Archives by their names below `archives/`, and their bytes.
fn archives(repository: &Repository) -> Result<Vec<(String, u64)>> {
    let listed = repository.store().list("archives")?;
    let name = |name: &str| name.strip_prefix("archives/").unwrap_or(name).to_owned();
    Ok(listed.iter().map(|listed| (name(&listed.name), listed.size)).collect())
}

fn coverage(notes: &Notes, archives: &[(String, u64)], now: Timestamp) -> u64 {
    let (verified, retired) = (notes.verified(), notes.retired());
    let archives = || archives.iter().filter(|(name, _)| !retired.contains_key(name.as_str()));
    let is_recent =
        |name: &str| verified.get(name).is_some_and(|time| now.duration_since(*time) <= MONTH);
    let all: u64 = archives().map(|(_, size)| size).sum();
    let recent: u64 = archives().filter(|(name, _)| is_recent(name)).map(|(_, size)| size).sum();
    (recent * 100).checked_div(all).unwrap_or(0)
}

fn growth(records: &[SnapshotRecord], now: Timestamp) -> u64 {
    let recent = records.iter().filter(|record| now.duration_since(record.id.time()) <= MONTH);
    recent.map(SnapshotRecord::stored_bytes).sum()
}
