//! Forgetting snapshots by a policy or by name, and what stops it.
//!
//! Always kept, whatever the policy says: the newest snapshot, the newest good one, and the last
//! one that passed a check. An imported snapshot lists the files that were left of its day: it
//! never takes the place of one that was made then, in these and in every rule of a policy. It is
//! kept where a rule would keep it if all were alike. Snapshots with a bad dump use up no rule:
//! they are kept by [`KeepPolicy::within`] alone. Nothing is forgotten while a snapshot has an alarm
//! that nobody acknowledged, or a record that cannot be read, or while the clock looks wrong or a
//! snapshot is dated in the future.

pub mod policy;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

pub use self::policy::KeepPolicy;
use crate::base::{Error, ErrorKind, Monitor, Result, SnapshotId};
use crate::catalog::Catalog;
use crate::repo::{Notes, Repository, SnapshotRecord, WriteSession, is_to_come, prune};

/// A pause between the two newest snapshots that is longer makes the clock suspect, if it is also
/// unusual.
const LONG_PAUSE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// So many times the usual pause is unusual.
const UNUSUAL: i32 = 10;
/// Such a pause is suspect until so much was backed up after it: who did not set a clock right by
/// then lives with it.
const TRUSTED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Which snapshots go.
#[derive(Debug, Clone)]
pub enum ForgetChoice {
    /// All that no rule keeps.
    ByPolicy(KeepPolicy),
    /// These, named by id.
    Named(Vec<String>),
}

/// What to forget.
#[derive(Debug, Clone)]
pub struct Options {
    pub choice: ForgetChoice,
    /// Days, weeks and hours are those of this zone.
    pub zone: TimeZone,
    /// The time that counts as now.
    pub now: Timestamp,
    /// The clock is right, whatever it looks like.
    pub accept_clock: bool,
    /// Forget; else only say what would be forgotten.
    pub apply: bool,
}

/// One snapshot, and what becomes of it.
#[derive(Debug, Clone)]
pub struct SnapshotFate {
    pub record: SnapshotRecord,
    /// Why it is kept; empty: it goes.
    pub reasons: Vec<String>,
}

/// What was, or would be, forgotten.
#[derive(Debug, Clone)]
pub struct Report {
    /// Oldest first.
    pub fates: Vec<SnapshotFate>,
    /// Bytes in archives that only the forgotten ones need: what a prune can give back.
    pub freed: u64,
}

/// Forgets, or says what would be forgotten.
pub fn forget(repository: &Repository, options: &Options, monitor: &dyn Monitor) -> Result<Report> {
    if !options.apply {
        let db = repository.catalog()?.connect()?;
        return plan(repository, &db, options);
    }
    let mut session = WriteSession::begin(repository, "forget", monitor)?;
    let report = plan(repository, &session.generation().connect()?, options)?;
    let ids: Vec<SnapshotId> = report
        .fates
        .iter()
        .filter(|fate| fate.reasons.is_empty())
        .map(|fate| fate.record.id)
        .collect();
    if !ids.is_empty() {
        session.forget(&ids, monitor)?;
    }
    Ok(report)
}

fn plan(repository: &Repository, db: &Catalog, options: &Options) -> Result<Report> {
    let (ahead, records): (Vec<_>, Vec<_>) =
        records(repository)?.into_iter().partition(|record| is_to_come(record.id, options.now));
    let notes = repository.notes()?;
    refuse_alarm(&records, &notes)?;
    if !options.accept_clock {
        refuse_ahead(&ahead, &options.choice)?;
        refuse_clock(&times(&records))?;
    }
    let always = always_kept(&records, &notes);
    let chosen = match &options.choice {
        ForgetChoice::ByPolicy(policy) => by_policy(policy, &records, &options.zone)?,
        ForgetChoice::Named(names) => by_name(names, &records, &always, options.now)?,
    };
    let kept_aside = fates_ahead(ahead, &options.choice, &records)?;
    let mut fates: Vec<SnapshotFate> = records
        .into_iter()
        .map(|record| {
            let mut reasons = chosen.get(&record.id).cloned().unwrap_or_default();
            reasons.extend(always.get(&record.id).iter().map(|reason| (*reason).to_string()));
            SnapshotFate { record, reasons }
        })
        .collect();
    fates.extend(kept_aside);
    let freed = freed(db, &fates)?;
    Ok(Report { fates, freed })
}

/// Rules count from the newest snapshot, and which one that is depends on the clock that is right:
/// that of now, or the one before.
fn refuse_ahead(ahead: &[SnapshotRecord], choice: &ForgetChoice) -> Result<()> {
    let (ForgetChoice::ByPolicy(_), Some(first)) = (choice, ahead.first()) else { return Ok(()) };
    let ids: Vec<String> = ahead.iter().map(|record| record.id.to_string()).collect();
    let message =
        format!("nothing is forgotten while snapshot {} is dated in the future", first.id);
    Err(Error::new(ErrorKind::Refused, message).hint(format_args!(
        "set this machine's clock right; if it is right: shoebox forget {} --apply",
        ids.join(" ")
    )))
}

/// What becomes of snapshots dated in the future: no rule counts them, none forgets them; they go by
/// name.
fn fates_ahead(
    ahead: Vec<SnapshotRecord>,
    choice: &ForgetChoice,
    others: &[SnapshotRecord],
) -> Result<Vec<SnapshotFate>> {
    let is_named = |record: &SnapshotRecord| match choice {
        ForgetChoice::ByPolicy(_) => false,
        ForgetChoice::Named(names) => {
            names.iter().any(|name| name.parse().is_ok_and(|id: SnapshotId| id == record.id))
        }
    };
    if ahead.iter().any(is_named) && !others.iter().any(SnapshotRecord::is_good) {
        return Err(Error::new(
            ErrorKind::Refused,
            "no other snapshot is good: one dated in the future is kept until there is one",
        )
        .hint("set this machine's clock right, or make a backup first"));
    }
    let reasons = |record: &SnapshotRecord| {
        if is_named(record) { vec![] } else { vec!["dated in the future".to_owned()] }
    };
    Ok(ahead.into_iter().map(|record| SnapshotFate { reasons: reasons(&record), record }).collect())
}

/// All records, oldest first. One that cannot be read stops everything: nobody knows what it stands
/// for.
fn records(repository: &Repository) -> Result<Vec<SnapshotRecord>> {
    let read = |id| {
        repository.record(id).map_err(|error| match error.kind() {
            ErrorKind::Damaged | ErrorKind::NotFound => Error::new(
                ErrorKind::Refused,
                format_args!("the record of snapshot {id} cannot be read"),
            )
            .caused_by(error)
            .hint(
                "`shoebox repair` may fix it; or move the file out of snapshots/, and \
                        the snapshot is gone",
            ),
            _ => error,
        })
    };
    repository.snapshot_ids()?.into_iter().map(read).collect()
}

fn refuse_alarm(records: &[SnapshotRecord], notes: &Notes) -> Result<()> {
    // The newest: who acknowledges it acknowledges those before.
    match records.iter().rev().find(|record| notes.is_alarming(record)) {
        None => Ok(()),
        Some(record) => Err(Error::new(
            ErrorKind::Refused,
            format_args!(
                "nothing is forgotten while snapshot {} has an alarm: {}",
                record.id,
                record.alarm.join("; ")
            ),
        )
        .hint(format_args!(
            "look at the library; if it is right as it is: shoebox acknowledge {}",
            record.id
        ))),
    }
}

/// When the snapshots were made, oldest first; of imported ones their files say it, and not this
/// machine's clock.
pub fn times<'a>(records: impl IntoIterator<Item = &'a SnapshotRecord>) -> Vec<Timestamp> {
    records
        .into_iter()
        .filter(|record| !record.is_imported())
        .map(|record| record.id.time())
        .collect()
}

/// Stops where the newest snapshots seem to be made under a clock that was wrong. `times` ascend.
pub fn refuse_clock(times: &[Timestamp]) -> Result<()> {
    let refused = |message: String| {
        Err(Error::new(ErrorKind::Refused, message)
            .hint("if the clock is right, use --accept-clock"))
    };
    let Some(newest) = times.last() else { return Ok(()) };
    let mut pauses: Vec<SignedDuration> =
        times.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
    pauses.sort_unstable();
    let usual = pauses.get(pauses.len().saturating_sub(1) / 2).copied().unwrap_or_default();
    let is_long =
        |pause: SignedDuration| pause > LONG_PAUSE && pause > usual.saturating_mul(UNUSUAL);
    let of_late = times.windows(2).filter(|pair| newest.duration_since(pair[1]) < TRUSTED);
    if let Some(pause) =
        of_late.map(|pair| pair[1].duration_since(pair[0])).find(|pause| is_long(*pause))
    {
        let days = pause.as_hours() / 24;
        return refused(format!(
            "of the newest snapshots one came {days} days after the one before, far more than \
                usual: was a clock wrong?"
        ));
    }
    Ok(())
}

/// What is kept whatever is wanted, and why.
fn always_kept(records: &[SnapshotRecord], notes: &Notes) -> BTreeMap<SnapshotId, &'static str> {
    let there: HashSet<SnapshotId> = records.iter().map(|record| record.id).collect();
    let mut always = BTreeMap::new();
    let passed = notes.passed();
    always.extend(
        passed
            .keys()
            .rev()
            .find(|id| there.contains(id))
            .map(|id| (*id, "last that passed a check")),
    );
    let newest = |wanted: &dyn Fn(&SnapshotRecord) -> bool| {
        let mut found = records.iter().rev().filter(|record| wanted(record));
        found
            .clone()
            .find(|record| !record.is_imported())
            .or_else(|| found.next())
            .map(|record| record.id)
    };
    always.extend(newest(&SnapshotRecord::is_good).map(|id| (id, "newest good one")));
    always.extend(newest(&|_| true).map(|id| (id, "newest")));
    always
}

fn by_policy(
    policy: &KeepPolicy,
    records: &[SnapshotRecord],
    zone: &TimeZone,
) -> Result<BTreeMap<SnapshotId, Vec<String>>> {
    if policy.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "no keep rule given").hint(
            "give rules, such as --keep-daily 7 --keep-weekly 5 --keep-monthly 12 \
                --keep-yearly 10; or name the snapshots that go",
        ));
    }
    let kept = |policy: &KeepPolicy,
                records: &[&SnapshotRecord]|
     -> Result<Vec<(SnapshotId, Vec<String>)>> {
        let ids: Vec<SnapshotId> = records.iter().rev().map(|record| record.id).collect();
        let times: Vec<Timestamp> = ids.iter().map(|id| id.time()).collect();
        Ok(ids.into_iter().zip(policy.reasons(&times, zone)?).collect())
    };
    let all: Vec<&SnapshotRecord> = records.iter().collect();
    let good: Vec<&SnapshotRecord> = records.iter().filter(|record| record.is_good()).collect();
    let only_within = KeepPolicy { within: policy.within, ..KeepPolicy::default() };
    let mut reasons: BTreeMap<_, _> = kept(&only_within, &all)?.into_iter().collect();
    reasons.extend(kept(policy, &good)?);
    // As if there were no imported ones: none of these goes because of one.
    let made: Vec<&SnapshotRecord> =
        good.into_iter().filter(|record| !record.is_imported()).collect();
    reasons.extend(kept(policy, &made)?);
    Ok(reasons)
}

/// All but those that are named are kept.
fn by_name(
    names: &[String],
    records: &[SnapshotRecord],
    always: &BTreeMap<SnapshotId, &'static str>,
    now: Timestamp,
) -> Result<BTreeMap<SnapshotId, Vec<String>>> {
    let mut named = BTreeSet::new();
    for name in names {
        let id: SnapshotId = name.parse()?;
        if is_to_come(id, now) {
            continue;
        }
        if !records.iter().any(|record| record.id == id) {
            return Err(Error::not_found(format_args!("snapshot {id}"))
                .hint("`shoebox snapshots` lists them"));
        }
        if let Some(reason) = always.get(&id) {
            return Err(Error::new(
                ErrorKind::Refused,
                format_args!("snapshot {id} is the {reason}: it is always kept"),
            )
            .hint("make a newer snapshot, or let a newer one pass a check, first"));
        }
        named.insert(id);
    }
    let others = records.iter().filter(|record| !named.contains(&record.id));
    Ok(others.map(|record| (record.id, vec!["not named".to_owned()])).collect())
}

/// Bytes of archives that would be needed no more.
fn freed(db: &Catalog, fates: &[SnapshotFate]) -> Result<u64> {
    let known: HashSet<SnapshotId> =
        crate::catalog::query::snapshot::ids(db)?.into_iter().collect();
    let ids = |kept: &dyn Fn(&SnapshotFate) -> bool| -> Vec<SnapshotId> {
        fates
            .iter()
            .filter(|fate| kept(fate) && known.contains(&fate.record.id))
            .map(|fate| fate.record.id)
            .collect()
    };
    let needed = |ids: &[SnapshotId]| -> Result<u64> {
        Ok(prune::uses(db, ids)?.iter().map(|archive| archive.needed).sum())
    };
    Ok(needed(&ids(&|_| true))?.saturating_sub(needed(&ids(&|fate| !fate.reasons.is_empty()))?))
}
