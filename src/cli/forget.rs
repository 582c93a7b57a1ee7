//! `shoebox forget`

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::output::{CommandAnswer, Output, plural, size};
use super::progress::Progress;
use super::{CommandOutcome, GlobalArgs};
use crate::base::{Monitor, Result};
use crate::task::forget::policy::{KeepCount, KeepPeriod, KeepWithin};
use crate::task::forget::{self, ForgetChoice, KeepPolicy, Options, Report, SnapshotFate};

/// Forget old snapshots by keep rules, as restic does; a dry run unless --apply is given
///
/// Forgets what no rule keeps. The newest snapshot, the newest good one, and the last one that
/// passed a check are always kept. `shoebox prune` then frees the space. Nothing is forgotten while
/// a snapshot has an unacknowledged alarm, while the clock looks wrong, or while a snapshot is
/// dated in the future.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Forget these, by their ids, instead of following rules
    #[arg(
        value_name = "SNAPSHOT",
        conflicts_with_all = ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within"],
    )]
    snapshots: Vec<String>,
    /// Keep the newest N snapshots (or `unlimited`, like all of these)
    #[arg(short = 'l', long, env = "SHOEBOX_KEEP_LAST", value_name = "N")]
    keep_last: Option<KeepCount>,
    /// Keep the newest of each hour, for the N newest hours that have one
    #[arg(short = 'H', long, env = "SHOEBOX_KEEP_HOURLY", value_name = "N")]
    keep_hourly: Option<KeepCount>,
    /// Keep the newest of each day
    #[arg(short = 'd', long, env = "SHOEBOX_KEEP_DAILY", value_name = "N")]
    keep_daily: Option<KeepCount>,
    /// Keep the newest of each week
    #[arg(short = 'w', long, env = "SHOEBOX_KEEP_WEEKLY", value_name = "N")]
    keep_weekly: Option<KeepCount>,
    /// Keep the newest of each month
    #[arg(short = 'm', long, env = "SHOEBOX_KEEP_MONTHLY", value_name = "N")]
    keep_monthly: Option<KeepCount>,
    /// Keep the newest of each year
    #[arg(short = 'y', long, env = "SHOEBOX_KEEP_YEARLY", value_name = "N")]
    keep_yearly: Option<KeepCount>,
    /// Keep all that are not older than the newest by more than this, such as 14d or 1y6m
    #[arg(long, env = "SHOEBOX_KEEP_WITHIN", value_name = "TIME")]
    keep_within: Option<KeepWithin>,
    /// Keep the newest of each hour within this time of the newest snapshot
    #[arg(long, env = "SHOEBOX_KEEP_WITHIN_HOURLY", value_name = "TIME")]
    keep_within_hourly: Option<KeepWithin>,
    /// Keep the newest of each day within this time
    #[arg(long, env = "SHOEBOX_KEEP_WITHIN_DAILY", value_name = "TIME")]
    keep_within_daily: Option<KeepWithin>,
    /// Keep the newest of each week within this time
    #[arg(long, env = "SHOEBOX_KEEP_WITHIN_WEEKLY", value_name = "TIME")]
    keep_within_weekly: Option<KeepWithin>,
    /// Keep the newest of each month within this time
    #[arg(long, env = "SHOEBOX_KEEP_WITHIN_MONTHLY", value_name = "TIME")]
    keep_within_monthly: Option<KeepWithin>,
    /// Keep the newest of each year within this time
    #[arg(long, env = "SHOEBOX_KEEP_WITHIN_YEARLY", value_name = "TIME")]
    keep_within_yearly: Option<KeepWithin>,
    /// Forget the snapshots; default: only show which
    #[arg(long)]
    apply: bool,
    /// Proceed although the clock looks wrong
    #[arg(long)]
    accept_clock: bool,
}

const EXAMPLES: &str = "\
Examples:
  shoebox forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --keep-yearly 10
  shoebox forget --keep-within 30d --keep-monthly unlimited --apply && shoebox prune
  shoebox forget 2026-05-01T030005Z --apply

Rules add up. Hours, days and weeks are those of this machine's time zone; `within` counts back \
from the newest snapshot.
A snapshot with a bad dump uses up no rule and is kept by --keep-within alone.

JSON: one object a snapshot: {\"id\", \"keep\", \"reasons\": []}; the last is {\"kind\": \
\"summary\", \"applied\", \"kept\", \"forgotten\", \"freed\": bytes that a prune
can give back}";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let options = self.options();
        let progress = Progress::new(output)?;
        let done = forget::forget(&global.open()?, &options, &progress);
        let problems = progress.finish();
        output.problems(&problems);
        let report = done?;
        print(&report, &options, output)?;
        Ok(if problems.is_empty() { CommandOutcome::Whole } else { CommandOutcome::Partly })
    }

    /// The same for a run of the service, applied; nothing where an alarm or the clock stops it,
    /// which the backup has told.
    pub fn perform(self, global: &GlobalArgs, monitor: &dyn Monitor) -> Result<CommandAnswer> {
        let repository = global.open()?;
        let told = |text: String| {
            Ok(CommandAnswer {
                text,
                notes: Vec::new(),
                problems: Vec::new(),
                done: CommandOutcome::Whole,
            })
        };
        if repository.alarming(&repository.notes()?)?.is_some() {
            return told("nothing is forgotten while a snapshot has an alarm".to_owned());
        }
        if !self.accept_clock && !repository.ids_to_come()?.is_empty() {
            return told("nothing is forgotten while a snapshot is dated in the future".to_owned());
        }
        let options = Options { apply: true, ..self.options() };
        let report = forget::forget(&repository, &options, monitor)?;
        told(summary(&report, &options).1)
    }

    /// True when some rule was given.
    pub fn has_rules(&self) -> bool {
        match self.clone().options().choice {
            ForgetChoice::ByPolicy(policy) => {
                !policy.keep.is_empty() || policy.within.is_some() || !policy.keep_within.is_empty()
            }
            ForgetChoice::Named(_) => false,
        }
    }

    fn options(self) -> Options {
        let keep = [
            (KeepPeriod::Snapshot, self.keep_last),
            (KeepPeriod::Hour, self.keep_hourly),
            (KeepPeriod::Day, self.keep_daily),
            (KeepPeriod::Week, self.keep_weekly),
            (KeepPeriod::Month, self.keep_monthly),
            (KeepPeriod::Year, self.keep_yearly),
        ];
        let keep_within = [
            (KeepPeriod::Hour, self.keep_within_hourly),
            (KeepPeriod::Day, self.keep_within_daily),
            (KeepPeriod::Week, self.keep_within_weekly),
            (KeepPeriod::Month, self.keep_within_monthly),
            (KeepPeriod::Year, self.keep_within_yearly),
        ];
        let policy = KeepPolicy {
            keep: keep.into_iter().filter_map(|(every, count)| Some((every, count?))).collect(),
            within: self.keep_within,
            keep_within: keep_within
                .into_iter()
                .filter_map(|(every, within)| Some((every, within?)))
                .collect(),
        };
        let choice = if self.snapshots.is_empty() {
            ForgetChoice::ByPolicy(policy)
        } else {
            ForgetChoice::Named(self.snapshots)
        };
        let (zone, now) = (TimeZone::system(), Timestamp::now());
        Options { choice, zone, now, accept_clock: self.accept_clock, apply: self.apply }
    }
}

fn print(report: &Report, options: &Options, output: &Output) -> Result<()> {
    if output.is_json() {
        for fate in &report.fates {
            let keep = !fate.reasons.is_empty();
            output.answer(
                &json!({ "id": fate.record.id, "keep": keep, "reasons": fate.reasons }),
                "",
            )?;
        }
    } else {
        let rows: Vec<[String; 3]> =
            report.fates.iter().map(|fate| cells(fate, &options.zone)).collect();
        output.table(&rows, &["ID", "Time", "Kept as"], &[], |row| row.to_vec())?;
    }
    let (value, text) = summary(report, options);
    output.answer(&value, text)
}

fn summary(report: &Report, options: &Options) -> (serde_json::Value, String) {
    let gone = report.fates.iter().filter(|fate| fate.reasons.is_empty()).count();
    let kept = report.fates.len() - gone;
    let (word, rest) = if options.apply {
        ("forgotten", "; `shoebox prune` gives the space back")
    } else {
        ("would be forgotten", "; --apply does it")
    };
    let text = format!(
        "{} {word}, {kept} kept; {} needed no more{rest}",
        plural(gone as u64, "snapshot", "snapshots"),
        size(report.freed),
    );
    let value = json!({ "kind": "summary", "applied": options.apply, "kept": kept, "forgotten": gone, "freed": report.freed });
    (value, text)
}

fn cells(fate: &SnapshotFate, zone: &TimeZone) -> [String; 3] {
    let time = fate.record.id.time().to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string();
    let kept = if fate.reasons.is_empty() { "(goes)".to_owned() } else { fate.reasons.join(", ") };
    [fate.record.id.to_string(), time, kept]
}
