//! The alarm: a library that is smaller than it was by more than is usual, or of which the disk
//! lost or changed originals.
//!
//! Each figure is compared with the largest that a good snapshot of the last 30 days had (of the
//! newest good one, if that is older), so a library that loses a little every night is noticed too.
//! What came before the snapshot that a person acknowledged last does not count.

use jiff::{SignedDuration, Timestamp};

use super::worse_since;

use crate::base::amount::{count, plural, size};
use crate::base::library::AccountCensus;
use crate::base::{Error, Result, SnapshotId};
use crate::catalog::night::WorseOriginal;
use crate::repo::{Repository, SnapshotRecord, StagedSnapshot};

/// How long a snapshot is compared with.
const WINDOW: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The snapshots that the one called `id` may not have shrunk since, oldest first.
pub(super) fn before(repository: &Repository, id: SnapshotId) -> Result<Vec<SnapshotRecord>> {
    let acknowledged = repository.notes()?.acknowledged();
    let mut before = Vec::new();
    for earlier in repository
        .present_ids()?
        .into_iter()
        .rev()
        .take_while(|earlier| Some(*earlier) >= acknowledged)
    {
        let is_old = id.time().duration_since(earlier.time()) > WINDOW;
        if is_old && !before.is_empty() {
            break;
        }
        // A record that cannot be read is told elsewhere. An imported one counts the files that
        // were left, not those there were.
        before.extend(
            repository
                .record(earlier)
                .ok()
                .filter(|record| record.is_good() && !record.is_imported()),
        );
    }
    before.reverse();
    Ok(before)
}

/// Why the snapshot `now` is alarming: what it lost by more than `share` percent since one of
/// `before`, the accounts that are gone or empty, and a newest upload that is older than it was.
/// Nothing of a snapshot whose dump is bad.
pub(super) fn alarm(before: &[SnapshotRecord], now: &SnapshotRecord, share: u8) -> Vec<String> {
    if !now.is_good() {
        return Vec::new();
    }
    let alike: Vec<&SnapshotRecord> =
        before.iter().filter(|record| record.files.generated == now.files.generated).collect();
    let all: Vec<&SnapshotRecord> = before.iter().collect();
    let fallen =
        |before: &[&SnapshotRecord], figure: &AlarmFigure| fallen(before, now, share, figure);
    let mut alarm = Vec::new();
    alarm.extend(fallen(&all, &ASSETS));
    alarm.extend(fallen(&alike, &FILES));
    alarm.extend(fallen(&alike, &BYTES));
    alarm.extend(newest(&all, now));
    alarm.extend(accounts(before, now));
    alarm
}

/// One figure of a snapshot.
struct AlarmFigure {
    of: fn(&SnapshotRecord) -> u64,
    text: fn(u64) -> String,
}

const ASSETS: AlarmFigure = AlarmFigure {
    of: |record| record.census.assets,
    text: |number| plural(number, "asset", "assets"),
};
const FILES: AlarmFigure =
    AlarmFigure { of: |record| record.files.files, text: |number| plural(number, "file", "files") };
const BYTES: AlarmFigure = AlarmFigure { of: |record| record.files.bytes, text: size };

fn fallen(
    before: &[&SnapshotRecord],
    now: &SnapshotRecord,
    share: u8,
    figure: &AlarmFigure,
) -> Option<String> {
    let most = before.iter().rev().max_by_key(|record| (figure.of)(record))?;
    let (was, is) = ((figure.of)(most), (figure.of)(now));
    let lost = was.saturating_sub(is);
    let is_alarming = u128::from(lost) * 100 > u128::from(was) * u128::from(share);
    is_alarming.then(|| {
        let percent = u128::from(lost) * 100 / u128::from(was);
        format!(
            "{} where snapshot {} had {} ({percent}% less)",
            (figure.text)(is),
            most.id,
            (figure.text)(was)
        )
    })
}

fn newest(before: &[&SnapshotRecord], now: &SnapshotRecord) -> Option<String> {
    let latest = before.iter().rev().max_by_key(|record| record.census.newest)?;
    let (was, is) = (latest.census.newest?, now.census.newest);
    let told = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M UTC").to_string();
    match is {
        Some(is) if is >= was => None,
        Some(is) => Some(format!(
            "the newest upload is of {}, and was of {} in snapshot {}: an older database?",
            told(is),
            told(was),
            latest.id
        )),
        None => Some(format!(
            "nothing was ever uploaded, and snapshot {} had uploads until {}",
            latest.id,
            told(was)
        )),
    }
}

/// Accounts that had assets and now are gone or have none.
fn accounts(before: &[SnapshotRecord], now: &SnapshotRecord) -> Vec<String> {
    let mut lost: Vec<(&AccountCensus, SnapshotId)> = Vec::new();
    for record in before.iter().rev() {
        for account in record.census.accounts.iter().filter(|account| account.assets > 0) {
            let is_known = lost.iter().any(|(other, _)| other.id == account.id);
            if !is_known && !has_assets(now, account) {
                lost.push((account, record.id));
            }
        }
    }
    let told = |(account, id): (&AccountCensus, SnapshotId)| {
        let is_there = now.census.accounts.iter().any(|other| other.id == account.id);
        let state = if is_there { "has no asset" } else { "is gone" };
        let had = count(account.assets);
        format!("the account {} {state}, and had {had} in snapshot {id}", account.name)
    };
    lost.into_iter().map(told).collect()
}

/// The share of originals, in percent, and the number, that may turn bad before that is alarming;
/// fewer than [`FEW`] never are.
const SHARE: u64 = 1;
const MANY: u64 = 100;
const FEW: u64 = 3;

/// Why a snapshot is alarming for what the disk made of its originals: how many are gone, or
/// changed, that were right in the newest or in the oldest of `before`; of a library that was never
/// backed up, how many have no file. Any that rotted.
pub(super) fn lost(staged: &StagedSnapshot, before: &[SnapshotRecord]) -> Result<Option<String>> {
    let since = |record: Option<&SnapshotRecord>| {
        let worse = worse_since(staged, record.map(|record| record.id.seconds()))?;
        Ok::<_, Error>((worse, record.map(|record| record.id)))
    };
    let mut losses = vec![since(before.last())?];
    // Who loses a little every night.
    if before.len() > 1 {
        losses.push(since(before.first())?);
    }
    let complete = &staged.record().completeness;
    let originals = complete.present + complete.missing;
    let alarming = losses.into_iter().filter(|(worse, _)| is_alarming(worse, originals));
    Ok(alarming
        .max_by_key(|(worse, _)| worse.len())
        .map(|(worse, since)| told(&worse, since, originals)))
}

fn is_alarming(worse: &[WorseOriginal], originals: u64) -> bool {
    let lost = worse.len() as u64;
    let is_many = lost >= FEW && (lost > MANY || lost * 100 > originals * SHARE);
    is_many || worse.iter().any(|it| it.rotten)
}

fn told(worse: &[WorseOriginal], since: Option<SnapshotId>, originals: u64) -> String {
    let many =
        |wanted: fn(&WorseOriginal) -> bool| worse.iter().filter(|it| wanted(it)).count() as u64;
    let kinds = [
        (many(|it| it.missing), "missing"),
        (many(|it| it.rotten), "rotten"),
        (many(|it| !it.missing && !it.rotten), "changed"),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, kind)| format!("{} {kind}", count(*number)))
        .collect();
    let since = since.map_or_else(String::new, |since| format!(" since snapshot {since}"));
    format!(
        "{} of {} are not on the disk as they were uploaded: {}{since}; the uploaded bytes are \
            kept of {}",
        count(worse.len() as u64),
        plural(originals, "photo", "photos"),
        kinds.join(", "),
        count(many(|it| it.kept)),
    )
}

fn has_assets(record: &SnapshotRecord, account: &AccountCensus) -> bool {
    record.census.accounts.iter().any(|other| other.id == account.id && other.assets > 0)
}
