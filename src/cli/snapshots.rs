//! `shoebox snapshots`

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::output::{Output, count, plural, size};
use super::{CommandOutcome, GlobalArgs};
use crate::base::Result;
use crate::immich;
use crate::repo::{Notes, SnapshotRecord};
use crate::task::snapshots::snapshots;

/// List the snapshots with their alarms, last checks and the last drill
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  shoebox snapshots --json | jq .id\n\nJSON: the snapshot record (see \
        FORMAT.md), one a line, oldest first, without chunk lists; with \"alarming\" (its alarm is \
        not
acknowledged), \"checked\" and \"drilled\" (when it last passed a check, and a drill)"
)]
pub(super) struct Args {
    /// Only the newest N
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

/// A snapshot, and what is remembered of it.
#[derive(Serialize)]
struct SnapshotLine {
    #[serde(flatten)]
    record: SnapshotRecord,
    alarming: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    checked: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drilled: Option<Timestamp>,
}

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let listed = snapshots(&global.open()?)?;
        output.problems(&listed.problems);
        let skip = self.last.map_or(0, |last| listed.records.len().saturating_sub(last));
        let passed = listed.notes.passed();
        let row = |record: SnapshotRecord| SnapshotLine {
            alarming: listed.notes.is_alarming(&record),
            checked: passed.get(&record.id).copied(),
            drilled: listed.notes.drilled(record.id),
            record: record.without_chunks(),
        };
        let rows: Vec<SnapshotLine> = listed.records.into_iter().skip(skip).map(row).collect();
        if rows.is_empty() && !output.is_json() {
            output.note("no snapshot yet: `shoebox backup` makes one");
            return Ok(CommandOutcome::Whole);
        }
        let heads = [
            "ID", "Time", "Immich", "Assets", "Albums", "Files", "Size", "New", "Checked", "State",
        ];
        output.table(&rows, &heads, &[3, 4, 5, 6, 7], cells)?;
        if !output.is_json() {
            output.note(drill(&listed.notes, Timestamp::now()));
            alarms(&rows, output);
            let newer = rows
                .last()
                .and_then(|row| immich::newer_than_known(row.record.dump.schema.as_deref()));
            newer.iter().for_each(|newer| output.note(format_args!("note: {newer}")));
        }
        Ok(if listed.problems.is_empty() { CommandOutcome::Whole } else { CommandOutcome::Partly })
    }
}

fn cells(row: &SnapshotLine) -> Vec<String> {
    let record = &row.record;
    let local = |time: Timestamp, format: &str| {
        time.to_zoned(TimeZone::system()).strftime(format).to_string()
    };
    vec![
        record.id.to_string(),
        local(record.id.time(), "%Y-%m-%d %H:%M"),
        record.dump.immich.clone().unwrap_or_default(),
        count(record.census.assets),
        count(record.census.albums),
        count(record.files.files),
        size(record.files.bytes),
        size(record.archives.iter().map(|archive| archive.size).sum()),
        row.checked.map_or_else(|| "never".to_owned(), |time| local(time, "%Y-%m-%d")),
        state(row),
    ]
}

fn state(row: &SnapshotLine) -> String {
    if row.record.is_imported() { format!("imported, {}", condition(row)) } else { condition(row) }
}

fn condition(row: &SnapshotLine) -> String {
    let complete = &row.record.completeness;
    match (row.record.is_good(), row.alarming, complete.missing, complete.unreadable) {
        (false, _, _, _) => "bad dump".to_owned(),
        (true, true, _, _) => "ALARM".to_owned(),
        (true, false, 0, 0) if complete.not_covered > 0 => {
            format!("complete but for {} not covered", count(complete.not_covered))
        }
        (true, false, 0, 0) => "complete".to_owned(),
        (true, false, 0, unreadable) => format!("{} unreadable", count(unreadable)),
        (true, false, missing, _) => format!("{} without a file", count(missing)),
    }
}

/// How long ago it was last shown that all of this would come back.
fn drill(notes: &Notes, now: Timestamp) -> String {
    match notes.last_drill() {
        None => "no drill has succeeded yet: `shoebox drill` rehearses the recovery".to_owned(),
        Some((time, drill)) => {
            let ago = match now.duration_since(time).as_hours() / 24 {
                days if days < 1 => "less than a day ago".to_owned(),
                days => format!("{} ago", plural(days.unsigned_abs(), "day", "days")),
            };
            format!("last drill that succeeded: {ago}, on snapshot {}", drill.snapshot)
        }
    }
}

fn alarms(rows: &[SnapshotLine], output: &Output) {
    let mut alarms: Vec<(String, Vec<&SnapshotLine>)> = Vec::new();
    for row in rows.iter().filter(|row| row.alarming) {
        let alarm = row.record.alarm.join("; ");
        match alarms.last_mut().filter(|(last, _)| *last == alarm) {
            Some((_, same)) => same.push(row),
            None => alarms.push((alarm, vec![row])),
        }
    }
    for (alarm, rows) in &alarms {
        let of = match rows.as_slice() {
            [first, .., last] => {
                format!("{} to {} ({} snapshots)", first.record.id, last.record.id, rows.len())
            }
            rows => rows.iter().map(|row| row.record.id.to_string()).collect(),
        };
        output.note(format!("alarm of {of}: {alarm}"));
    }
    if !alarms.is_empty() {
        output.note(
            "nothing is forgotten until then; if the library is right as it is: shoebox \
                acknowledge latest",
        );
    }
}
