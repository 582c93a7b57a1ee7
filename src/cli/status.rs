//! `shoebox status`

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::output::{Output, count, plural, printable, size};
use super::value::duration;
use super::{CommandOutcome, GlobalArgs, run};
use crate::base::Result;
use crate::base::amount::ago;
use crate::repo::notes::StepOutcome;
use crate::service::journal::is_served;
use crate::task::status::{self, AgeLimits, LastSnapshot, RepositoryStatus};

/// Show backup health and what needs attention
///
/// Red when the newest good snapshot, or the newest that passed a check, is too old, when the
/// library shrank, a drill failed or the disk is full. `shoebox run` serves the same at /healthz
/// and /metrics.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How old the newest good snapshot may be
    #[arg(
        long,
        env = "SHOEBOX_MAX_AGE",
        value_name = "TIME",
        default_value = "2d",
        value_parser = duration,
    )]
    max_age: SignedDuration,
    /// How old the newest checked snapshot may be
    #[arg(
        long,
        env = "SHOEBOX_MAX_AGE_VERIFIED",
        value_name = "TIME",
        default_value = "8d",
        value_parser = duration,
    )]
    max_age_verified: SignedDuration,
}

const EXAMPLES: &str = "\
Examples:
  shoebox status
  shoebox status --max-age 26h || echo 'look at the backup'

JSON: {\"healthy\", \"findings\": [{\"red\", \"what\", \"next\"}], \"repository\", \"snapshots\", \
\"last\": {\"id\", \"good\", \"assets\", \"files\", \"bytes\", \"as_of\", \"moved\", \"missing\", \
\"not_covered\",
\"unreadable\", \"alarm\", \"immich\"}, \"good\", \"verified\", \"verified_at\", \"checked\", \
\"coverage\": percent, \"drilled\", \"size\", \"growth\", \"free\": bytes, \"run\": {\"ended\",
\"outcome\", \"began\", \"trigger\", \"steps\"}, \"running_since\", \"served\", \"next_run\"}. \
Exit code 3: it is red";

/// What JSON has besides.
#[derive(Serialize)]
struct StatusRow<'a> {
    #[serde(flatten)]
    status: &'a RepositoryStatus,
    /// A service runs.
    served: bool,
    next_run: Option<Timestamp>,
}

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let repository = global.open()?;
        let now = Timestamp::now();
        let status = status::status(&repository, self.limits(), now)?;
        let served = is_served(&repository);
        let began = status.run.as_ref().map(|last| last.run.began);
        let next_run = run::next(global, began, now).filter(|_| served);
        let row = StatusRow { status: &status, served, next_run };
        output.answer(&row, text(&row, now))?;
        Ok(if status.healthy { CommandOutcome::Whole } else { CommandOutcome::Partly })
    }

    pub fn limits(&self) -> AgeLimits {
        AgeLimits { snapshot: self.max_age, verified: self.max_age_verified }
    }
}

fn text(row: &StatusRow<'_>, now: Timestamp) -> String {
    let status = row.status;
    let local =
        |time: Timestamp| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string();
    let when = |time: Timestamp| format!("{} ({} ago)", local(time), ago(now.duration_since(time)));
    let never = || "never".to_owned();
    let mut lines = vec![
        format!(
            "repository     {} ({})",
            status.repository,
            plural(status.snapshots, "snapshot", "snapshots")
        ),
        format!(
            "last snapshot  {}",
            status.last.as_ref().map_or_else(never, |last| format!(
                "{}: {}",
                when(last.id.time()),
                state(last)
            ))
        ),
        format!(
            "checked        {}; {}% of the bytes within 30 days",
            status.verified.map_or_else(
                || "no snapshot yet".to_owned(),
                |id| format!("the snapshot of {}", when(id.time()))
            ),
            status.coverage
        ),
        format!("last drill     {}", status.drilled.map_or_else(never, when)),
        format!(
            "size           {}, {} more in 30 days; {} free",
            size(status.size),
            size(status.growth),
            size(status.free)
        ),
    ];
    if let Some(last) = &status.run {
        let how = match last.outcome {
            StepOutcome::Done => "well",
            StepOutcome::Partly => "with findings",
            StepOutcome::Interrupted => "interrupted",
            StepOutcome::Failed => "FAILED",
        };
        lines.push(format!("last run       {}: {how}", when(last.ended)));
        let bad = last.run.steps.iter().filter(|step| step.outcome != StepOutcome::Done);
        let first = |text: &str| printable(text.lines().next().unwrap_or_default());
        lines.extend(
            bad.map(|step| format!("               {}: {}", step.job.name(), first(&step.text))),
        );
    }
    if let Some(since) = status.running_since {
        lines.push(format!(
            "running        since {} ({})",
            local(since),
            ago(now.duration_since(since))
        ));
    }
    lines.push(match (row.served, row.next_run) {
        (true, Some(next)) => format!("next run       {}", local(next)),
        (true, None) => "next run       the service runs".to_owned(),
        (false, _) => "next run       no service runs here (`shoebox run`, or cron)".to_owned(),
    });
    for finding in &status.findings {
        let mark = if finding.red { "RED " } else { "note" };
        lines.push(format!("{mark}  {}\n      {}", printable(&finding.what), finding.next));
    }
    if status.findings.is_empty() {
        lines.push("all is well".to_owned());
    }
    lines.join("\n")
}

fn state(last: &LastSnapshot) -> String {
    let bad = [
        (last.missing, "without a file"),
        (last.changed, "changed on the disk"),
        (last.not_covered, "of external libraries not covered"),
        (last.unreadable, "unreadable"),
    ];
    let bad: Vec<String> = bad
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", count(*number)))
        .collect();
    let words = match (last.good, bad.is_empty()) {
        (false, _) => "bad dump".to_owned(),
        (true, true) => "complete".to_owned(),
        (true, false) => bad.join(", "),
    };
    format!("{words}; {}, {}", plural(last.assets, "asset", "assets"), size(last.bytes))
}
