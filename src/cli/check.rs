//! `shoebox check`

use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::json;

use super::output::{CommandAnswer, Output, count, plural, printable, size};
use super::progress::Progress;
use super::{CommandOutcome, GlobalArgs};
use crate::base::{Error, ErrorKind, Monitor, Problem, Result, SnapshotId};
use crate::task::check::{self, CheckExtent, CheckFinding, DamagedBytes, Report};

/// Findings that are told one by one.
const TOLD: usize = 100;

/// Check the repository: is everything there, and is it what was backed up?
///
/// The structure is always checked: records, archives, lists, catalog. How many of the photos are
/// read and compared with their hashes is up to you; what was read is remembered, and the next
/// check continues with what was not read for longest. Read-only; blocks nobody. Damage is reported
/// per photo: owner, name, date, and where an intact copy is.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Read everything
    #[arg(long, conflicts_with_all = ["read_data_subset", "max_duration"])]
    read_data: bool,
    /// Read this share of the bytes
    #[arg(long, value_name = "PERCENT", value_parser = share, conflicts_with = "max_duration")]
    read_data_subset: Option<f64>,
    /// Read for this long, such as 2h: a share that fits a night
    #[arg(long, env = "SHOEBOX_CHECK_DURATION", value_name = "TIME")]
    max_duration: Option<SignedDuration>,
}

const EXAMPLES: &str = "\
Examples:
  shoebox check                       the structure: seconds
  shoebox check --max-duration 2h     every night
  shoebox check --read-data           everything, as long as it takes

JSON: one object a finding: {\"finding\": \"photo\", \"asset\", \"sidecar\", \"owner\", \"name\", \
\"taken\", \"albums\", \"snapshots\", \"blake3\", \"size\", \"archive\", \"copy\",
\"other_version\"}, {\"finding\": \"file\", \"path\", …}, {\"finding\": \"snapshot\", \
\"snapshot\", \"part\", \"message\"}, {\"finding\": \"archive\"|\"catalog\"|\"other\", …};
the last is {\"finding\": \"summary\", \"findings\", \"snapshots\", \"archives\", \"read\", \
\"stopped\", \"interrupted\", \"passed\": [], \"coverage\": {\"bytes\", \"recent\", \"never\", \
\"oldest\",
\"days_left\"}, \"remembered\"}. Exit code 3: something is damaged or missing";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let repository = global.open()?;
        let extent = self.extent()?;
        let progress = Progress::new(output)?;
        let report = check::check(&repository, extent, &progress);
        output.problems(&progress.finish());
        let report = report?;
        let told = if output.is_json() { report.findings.len() } else { TOLD };
        for finding in report.findings.iter().take(told) {
            output.answer(finding, printable(&text(finding)))?;
        }
        let more = report.findings.len().saturating_sub(told);
        if more > 0 {
            output.answer(
                &json!(null),
                format!("and {} more (all of them with --json)", count(more as u64)),
            )?;
        }
        output.answer(&json(&report), summary(&report, extent))?;
        Ok(if report.interrupted {
            CommandOutcome::Stopped
        } else if report.findings.is_empty() {
            CommandOutcome::Whole
        } else {
            CommandOutcome::Partly
        })
    }

    /// What it is in a run where nothing else is set: a share that fits a night.
    pub fn for_a_night(self) -> Args {
        let is_set =
            self.read_data || self.read_data_subset.is_some() || self.max_duration.is_some();
        if is_set {
            self
        } else {
            Args { max_duration: Some(SignedDuration::from_hours(1)), ..self }
        }
    }

    /// The same for a run of the service: what it finds are problems.
    pub fn perform(self, global: &GlobalArgs, monitor: &dyn Monitor) -> Result<CommandAnswer> {
        let extent = self.extent()?;
        let report = check::check(&global.open()?, extent, monitor)?;
        if report.interrupted {
            return Err(Error::new(ErrorKind::Interrupted, stopped(&report)).hint(goes_on(&report)));
        }
        let problem = |finding: &CheckFinding| Problem {
            subject: "found".to_owned(),
            message: printable(&text(finding)),
        };
        let problems = report.findings.iter().take(TOLD).map(problem).collect();
        Ok(CommandAnswer {
            text: summary(&report, extent),
            notes: Vec::new(),
            problems,
            done: CommandOutcome::Whole,
        })
    }

    fn extent(&self) -> Result<CheckExtent> {
        match (self.read_data, self.read_data_subset, self.max_duration) {
            (true, ..) => Ok(CheckExtent::All),
            (_, Some(percent), _) => Ok(CheckExtent::Percent(percent)),
            (_, _, Some(time)) => Duration::try_from(time)
                .map(CheckExtent::Time)
                .map_err(|_| Error::invalid("--max-duration takes a time such as 2h or 90m")),
            _ => Ok(CheckExtent::Structure),
        }
    }
}

fn share(text: &str) -> Result<f64> {
    super::value::percent(text).map(f64::from)
}

/// A finding in words.
pub(super) fn text(finding: &CheckFinding) -> String {
    match finding {
        CheckFinding::Photo(photo) => {
            let sidecar = if photo.sidecar { " (its sidecar)" } else { "" };
            let taken = photo.taken.strftime("%Y-%m-%d %H:%M");
            let albums = if photo.albums.is_empty() {
                String::new()
            } else {
                format!(", in {}", photo.albums.join(", "))
            };
            let other = photo
                .other_version
                .map(|id| format!("; {id} has another version"))
                .unwrap_or_default();
            let (owner, name) = (&photo.owner, &photo.name);
            let what = state(&photo.bytes);
            format!(
                "{owner}: {name}{sidecar}, taken {taken}{albums}: {what}; shown in {}{other}",
                shown(&photo.snapshots)
            )
        }
        CheckFinding::File(file) => {
            format!(
                "files/{}: {}; shown in {}",
                file.path,
                state(&file.bytes),
                shown(&file.snapshots)
            )
        }
        CheckFinding::Snapshot { snapshot, part, message } => {
            format!("snapshot {snapshot}: {part:?}: {message}: {}", part.meaning())
        }
        CheckFinding::Archive { archive, message } => format!("archives/{archive}: {message}"),
        CheckFinding::Catalog { message } => {
            format!("catalog: {message}; `shoebox repair catalog` builds a new one")
        }
        CheckFinding::Other { file, message } => format!("{file}: {message}"),
    }
}

fn state(bytes: &DamagedBytes) -> String {
    match (&bytes.archive, &bytes.copy) {
        (Some(archive), Some(copy)) => format!("damaged in {archive}, whole in {copy}"),
        (Some(archive), None) => format!("damaged in {archive}"),
        (None, _) => "in no archive".to_owned(),
    }
}

fn shown(snapshots: &[SnapshotId]) -> String {
    match snapshots {
        [] => "no snapshot".to_owned(),
        [one] => one.to_string(),
        [first, .., last] => format!("{} snapshots from {first} to {last}", snapshots.len()),
    }
}

fn json(report: &Report) -> serde_json::Value {
    json!({
        "finding": "summary",
        "findings": report.findings.len(),
        "snapshots": report.snapshots,
        "archives": report.archives,
        "read": report.read,
        "stopped": report.stopped,
        "interrupted": report.interrupted,
        "passed": report.passed,
        "coverage": report.coverage,
        "remembered": report.remembered,
    })
}

/// What was done of a check that somebody stopped.
fn stopped(report: &Report) -> String {
    let share = (report.read * 100).checked_div(report.chosen).unwrap_or(0);
    format!(
        "stopped: {share}% of {} read, {}",
        size(report.chosen),
        check::so_far(report.findings.len())
    )
}

/// What the next check does.
fn goes_on(report: &Report) -> &'static str {
    if report.remembered {
        "run it again: it begins with what was not read yet"
    } else {
        "run it again: it starts from the beginning, as this repository is read-only"
    }
}

fn summary(report: &Report, extent: CheckExtent) -> String {
    if report.interrupted {
        return format!("{}\n{}", stopped(report), goes_on(report));
    }
    let mut text = format!(
        "checked {} in {}: {}",
        plural(report.snapshots, "snapshot", "snapshots"),
        plural(report.archives, "archive", "archives"),
        match report.findings.len() as u64 {
            0 => "all is well".to_owned(),
            many => format!(
                "{}; `shoebox repair` shows what can be repaired",
                plural(many, "finding", "findings")
            ),
        }
    );
    if extent != CheckExtent::Structure {
        text += &format!("; {} read", size(report.read));
    }
    let coverage = &report.coverage;
    let share = (coverage.recent * 100).checked_div(coverage.bytes).unwrap_or(100);
    text += &format!("\nread within the last 30 days: {share}% of {}", size(coverage.bytes));
    if let Some(days) = coverage.days_left {
        text += &format!("; the rest within {} at this pace", plural(days, "day", "days"));
    }
    if let Some(oldest) = coverage.oldest {
        text +=
            &format!("; none before {}", oldest.to_zoned(TimeZone::system()).strftime("%Y-%m-%d"));
    }
    if !report.remembered {
        text += "\nthe repository is read-only: the next check does not know what this one read";
    }
    text
}
