//! How a repository is, on one screen: what it holds, when that was last shown to be right, and
//! what a person should do.
//!
//! Cheap: it reads notes, the names of archives, the records of the last 30 days and back to what a
//! person acknowledged and, once, the catalog. It takes no lock and changes nothing.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::base::amount::plural;
use crate::base::{ErrorKind, Result, SnapshotId};
use crate::immich;
use crate::repo::notes::{DrillNote, RunNote, ServiceJob, StepOutcome};
use crate::repo::{Notes, Repository, SKEW, SnapshotRecord, is_to_come};
use crate::task::space::{DiskSpace, SpaceVerdict};

/// Growth is told of this time, and an archive counts as checked that was read within it.
const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// From so many snapshots on a person is told that there is an end to them.
pub(in crate::task) const MANY: usize = 60_000;

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

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusFinding {
    /// It is trouble now; else it may become trouble.
    pub red: bool,
    pub what: String,
    /// What to do.
    pub next: String,
}

/// How `repository` is at `now`.
pub fn status(
    repository: &Repository,
    limits: AgeLimits,
    now: Timestamp,
) -> Result<RepositoryStatus> {
    let notes = repository.notes()?;
    let (all, ids) = (
        repository.snapshot_ids()?,
        repository
            .snapshot_ids()?
            .into_iter()
            .filter(|id| !is_to_come(*id, now))
            .collect::<Vec<_>>(),
    );
    let records = recent(repository, &ids, now)?;
    let archives = archives(repository)?;
    let newest = records.first();
    let passed = notes.passed();
    let verified = ids.iter().rev().find_map(|id| Some((*id, *passed.get(id)?)));
    let size = archives.iter().map(|(_, size)| size).sum();
    let mut status = RepositoryStatus {
        healthy: true,
        findings: Vec::new(),
        repository: repository.root().display().to_string(),
        snapshots: all.len() as u64,
        last: newest.map(LastSnapshot::of),
        good: records.iter().find(|record| record.is_good()).map(|record| record.id),
        verified: verified.map(|(id, _)| id),
        verified_at: verified.map(|(_, time)| time),
        checked: notes.last_check(),
        coverage: coverage(&notes, &archives, now),
        drilled: notes.last_drill().map(|(time, _)| time),
        alarm: None,
        size,
        growth: growth(&records, now),
        free: repository.free_space()?,
        run: notes
            .runs()
            .rfind(|(ended, _)| ended.duration_since(now) <= SKEW)
            .map(|(ended, run)| LastRun { ended, outcome: run.outcome(), run: run.clone() }),
        running_since: repository.run_since(),
    };
    status.findings.extend(of_long_run(&notes, status.running_since, now));
    let alarming = repository.alarming(&notes)?;
    status.alarm = alarming.as_ref().map(|record| record.id);
    status.findings.extend(of_catalog(repository));
    status.findings.extend(of_clock(&all, now));
    status.findings.extend(of_number(all.len()));
    status.findings.extend(of_space(DiskSpace::of(repository, &records, now)?));
    status.findings.extend(findings(
        &status,
        &records,
        alarming.as_ref(),
        &notes,
        limits,
        now,
        repository.created(),
    ));
    status.healthy = !status.findings.iter().any(|finding| finding.red);
    Ok(status)
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

fn findings(
    status: &RepositoryStatus,
    records: &[SnapshotRecord],
    alarming: Option<&SnapshotRecord>,
    notes: &Notes,
    limits: AgeLimits,
    now: Timestamp,
    created: Timestamp,
) -> Vec<StatusFinding> {
    let red = |what: String, next: &str| StatusFinding { red: true, what, next: next.to_owned() };
    let amber = |what: String, next: &str| StatusFinding { red: false, ..red(what, next) };
    let age = |id: Option<SnapshotId>| now.duration_since(id.map_or(created, SnapshotId::time));
    // A snapshot is as old as its dump: that is the state that a recovery gives.
    let good = records.iter().find(|record| record.is_good());
    let good_age = now.duration_since(good.map_or(created, SnapshotRecord::as_of));
    let mut all = Vec::new();
    let look = "`shoebox backup` says why there is no newer one";
    match (status.good, good_age > limits.snapshot) {
        (Some(_), true) if age(status.good) <= limits.snapshot => all.push(red(
            format!("the database dump of the newest snapshot is {} old", ago(good_age)),
            "give `backup --dump` a newer one, or let it ask the database itself: photos that came \
                since are in files/ only",
        )),
        (Some(_), true) => all
            .push(red(format!("the newest good snapshot is {} old", ago(age(status.good))), look)),
        (None, true) => {
            all.push(red("there is no good snapshot".to_owned(), "`shoebox backup` makes one"))
        }
        (None, false) => {
            all.push(amber("there is no snapshot yet".to_owned(), "`shoebox backup` makes one"))
        }
        (Some(_), false) => {}
    }
    let flawed = notes.flawed();
    if !flawed.is_empty() {
        let what =
            format!("damage was found in {}", plural(flawed.len() as u64, "archive", "archives"));
        all.push(red(
            what,
            "`shoebox repair` says what can be mended; `shoebox check --read-data` \
            names the photos",
        ));
    }
    // What is too old is told once.
    if age(status.verified) > limits.verified
        && all.iter().all(|finding: &StatusFinding| !finding.red)
    {
        let what = match status.verified {
            Some(id) => {
                format!("the newest snapshot that passed a check is {} old", ago(age(Some(id))))
            }
            None => "no snapshot has passed a check".to_owned(),
        };
        all.push(red(what, "`shoebox check --read-data` checks them, or says what is damaged"));
    }
    if let Some(record) = alarming {
        let what = format!("alarm of snapshot {}: {}", record.id, record.alarm.join("; "));
        all.push(red(
            what,
            "look at the library; if it is right as it is: `shoebox acknowledge latest`",
        ));
    }
    if let Some(last) = status.last.as_ref().filter(|last| last.moved > 0) {
        let photos = plural(last.moved, "photo lies", "photos lie");
        all.push(amber(
            format!("in the newest snapshot {photos} elsewhere than its database says"),
            "`shoebox restore --all` lays them where it says; `shoebox audit` tells which",
        ));
    }
    if let Some(last) = status.last.as_ref().filter(|last| last.empty) {
        let photos = plural(last.assets, "photo", "photos");
        let what = format!("none of {photos} is in the newest snapshot");
        all.push(red(
            what,
            "look whether UPLOAD_LOCATION is the right folder and its disk is \
            mounted; photos of external libraries need --external",
        ));
    }
    if status.last.as_ref().is_some_and(|last| last.good && last.assets == 0) {
        let what = "the newest snapshot has no photo: its database names none".to_owned();
        all.push(amber(what, "if there are photos in Immich, this is another database"));
    }
    if status.last.as_ref().is_some_and(|last| !last.good) {
        all.push(amber(
            "the newest snapshot has a bad dump".to_owned(),
            "make the dump again: `shoebox backup`",
        ));
    }
    all.extend(records.iter().find(|record| record.is_good()).and_then(of_newness));
    let lacking = records
        .iter()
        .filter(|record| record.is_good() && immich::is_worth_rereading(&record.dump))
        .count();
    if lacking > 0 {
        let many = plural(lacking as u64, "snapshot lacks", "snapshots lack");
        let what = format!("{many} what an older shoebox missed in the dump, such as people");
        all.push(amber(
            what,
            "the next backup reads it again, and so does `shoebox repair catalog`",
        ));
    }
    all.extend(
        of_drills(notes, status)
            .map(|(is_red, what, next)| StatusFinding { red: is_red, ..red(what, next) }),
    );
    all.extend(of_run(status));
    if !notes.problems.is_empty() {
        let many = plural(notes.problems.len() as u64, "note is", "notes are");
        all.push(amber(format!("{many} damaged"), "`shoebox check` names what is damaged"));
    }
    all
}

/// What is wrong with the catalog, of which every page is looked at.
fn of_catalog(repository: &Repository) -> Option<StatusFinding> {
    let error = repository.catalog().and_then(|generation| generation.verify()).err()?;
    let next = error.next_step().unwrap_or("`shoebox check` says what is wrong").to_owned();
    // One of another version is what an update of shoebox leaves.
    Some(StatusFinding { red: error.kind() != ErrorKind::Unsupported, what: error.chain(), next })
}

/// Snapshots that a clock which was wrong dated to a time to come: they are kept aside.
fn of_clock(ids: &[SnapshotId], now: Timestamp) -> Option<StatusFinding> {
    let ahead: Vec<String> =
        ids.iter().filter(|id| is_to_come(**id, now)).map(SnapshotId::to_string).collect();
    let first = ahead.first()?;
    let what = match ahead.len() {
        1 => {
            format!("snapshot {first} is of a time which is still to come: a clock is or was wrong")
        }
        many => format!(
            "{many} snapshots, the first of {first}, are of a time which is still to come: a clock \
                is or was wrong"
        ),
    };
    let next = format!(
        "set this machine's clock right; if it is right, forget them (they are kept aside \
            meanwhile, and nothing is pruned): `shoebox forget {} --apply`",
        ahead.join(" ")
    );
    Some(StatusFinding { red: true, what, next })
}

/// More snapshots than a repository can have are far away, but not for ever.
fn of_number(snapshots: usize) -> Option<StatusFinding> {
    if snapshots < MANY {
        return None;
    }
    let what = format!("the repository has {snapshots} snapshots; at 65,535 no more are made");
    let next =
        "forget some: `shoebox forget --keep-daily 30 --keep-monthly unlimited --apply`".to_owned();
    Some(StatusFinding { red: false, what, next })
}

/// What is to be said of a dump that is newer than this reader, or not as it expects.
fn of_newness(record: &SnapshotRecord) -> Option<StatusFinding> {
    let newer = immich::newer_than_known(record.dump.schema.as_deref());
    let next =
        "install the newest shoebox: its first backup reads what is missing out of the dumps that \
            are kept"
            .to_owned();
    match record.dump.lacks.as_slice() {
        [] => newer.map(|what| StatusFinding { red: false, what, next }),
        _ if immich::is_worth_rereading(&record.dump) => None,
        lacks => {
            let lacks =
                format!("the views of snapshot {} lack something: {}", record.id, lacks.join("; "));
            let what = newer.map_or_else(|| lacks.clone(), |newer| format!("{newer} ({lacks})"));
            Some(StatusFinding { red: true, what, next })
        }
    }
}

fn of_drills(notes: &Notes, status: &RepositoryStatus) -> Option<(bool, String, &'static str)> {
    let newest: Option<&DrillNote> = notes.drills().last().map(|(_, drill)| drill);
    match newest {
        Some(DrillNote { failure: Some(failure), snapshot, .. }) => Some((
            true,
            format!("the last drill, on snapshot {snapshot}, failed: {failure}"),
            "`shoebox drill` tries again; `shoebox check --read-data` finds what is damaged",
        )),
        _ if status.drilled.is_none() && status.good.is_some() => Some((
            false,
            "no drill has succeeded yet".to_owned(),
            "`shoebox drill` rehearses the recovery",
        )),
        _ => None,
    }
}

fn of_run(status: &RepositoryStatus) -> Option<StatusFinding> {
    let last = status.run.as_ref()?;
    let words = match last.outcome {
        StepOutcome::Failed => "failed",
        StepOutcome::Partly => "ended with findings",
        StepOutcome::Done | StepOutcome::Interrupted => return None,
    };
    let steps: Vec<&str> = last
        .run
        .steps
        .iter()
        .filter(|step| step.outcome == last.outcome)
        .map(|step| step.job.name())
        .collect();
    let is_damage = last
        .run
        .steps
        .iter()
        .any(|step| step.job == ServiceJob::Check && step.outcome == StepOutcome::Partly);
    Some(StatusFinding {
        red: last.outcome == StepOutcome::Failed || is_damage,
        what: format!("the last run {words}: {}", steps.join(", ")),
        next: steps.iter().map(|name| format!("`shoebox {name}`")).collect::<Vec<_>>().join(", ")
            + " by hand says why",
    })
}

fn of_space(space: DiskSpace) -> Option<StatusFinding> {
    let next =
        "free some, use a larger disk, or keep less: `shoebox forget`, `shoebox prune`".to_owned();
    let red = match space.verdict() {
        SpaceVerdict::Enough => return None,
        SpaceVerdict::Scarce => false,
        SpaceVerdict::Lacking => true,
    };
    Some(StatusFinding { red, what: space.to_string(), next })
}

/// A run that takes far longer than any before it: it may wait for something that never comes.
fn of_long_run(notes: &Notes, since: Option<Timestamp>, now: Timestamp) -> Option<StatusFinding> {
    let since = since?;
    let lasted = |run: &RunNote| run.steps.iter().map(|step| step.seconds).sum::<u64>();
    let longest =
        SignedDuration::from_secs(notes.runs().map(|(_, run)| lasted(run)).max()?.cast_signed());
    if now.duration_since(since)
        <= longest.saturating_mul(2).saturating_add(SignedDuration::from_hours(1))
    {
        return None;
    }
    let began = since.strftime("%Y-%m-%d %H:%M UTC");
    Some(StatusFinding {
        red: false,
        what: format!(
            "a backup is under way since {began}, longer than ever before ({} at most)",
            ago(longest)
        ),
        next: "see what it waits for; SIGTERM ends it cleanly, and the next one goes on from there"
            .to_owned(),
    })
}

/// A length of time in the unit that a person would use.
pub fn ago(duration: SignedDuration) -> String {
    let minutes = duration.as_mins().max(0).unsigned_abs();
    match minutes {
        0..120 => plural(minutes, "minute", "minutes"),
        120..2880 => plural(minutes / 60, "hour", "hours"),
        _ => plural(minutes / 1440, "day", "days"),
    }
}
