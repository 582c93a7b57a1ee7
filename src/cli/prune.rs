//! `shoebox prune`

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::output::{CommandAnswer, Output, plural, size};
use super::progress::Progress;
use super::value::percent;
use super::{CommandOutcome, GlobalArgs};
use crate::base::{Error, Monitor, Result};
use crate::repo::prune::{ArchiveUse, Options};
use crate::task::prune::{self, Report};

/// Reclaim space that no snapshot uses
///
/// Archives that nothing needs are retired; those that are largely unused are rewritten, read back
/// and verified, and then the old ones are retired. A later prune deletes what is retired once its
/// grace period is over. Whatever happens in between, every snapshot stays readable, and mounts
/// keep working.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Rewrite an archive when more than this share of it is unused
    #[arg(
        long,
        env = "SHOEBOX_MAX_UNUSED",
        value_name = "PERCENT",
        default_value = "20%",
        value_parser = percent,
    )]
    max_unused: u8,
    /// How long a retired archive stays before it is deleted, such as 36h or 7d
    #[arg(long, env = "SHOEBOX_GRACE", value_name = "TIME", default_value = "1d")]
    grace: jiff::Span,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Proceed although the clock looks wrong
    #[arg(long)]
    accept_clock: bool,
}

const EXAMPLES: &str = "\
Examples:
  shoebox prune --dry-run
  shoebox prune
  shoebox prune --grace 0d          delete at once: no way back, and who reads a forgotten \
  snapshot just now gets an error

JSON: {\"dry_run\", \"retired\", \"rewritten\", \"written\", \"deleted\", \"waiting\": \
[{\"archive\", \"size\"}, …]}; exit code 3: an archive could not be read whole and was
left as it is";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let progress = Progress::new(output)?;
        let done = self.prune(global, &progress);
        let problems = progress.finish();
        output.problems(&problems);
        let report = done?;
        output.answer(&json(&report), text(&report))?;
        Ok(if problems.is_empty() { CommandOutcome::Whole } else { CommandOutcome::Partly })
    }

    /// The same for a run of the service; nothing where the clock stops it, which the backup has
    /// told.
    pub fn perform(self, global: &GlobalArgs, monitor: &dyn Monitor) -> Result<CommandAnswer> {
        let told = |text: String| CommandAnswer {
            text,
            notes: Vec::new(),
            problems: Vec::new(),
            done: CommandOutcome::Whole,
        };
        if !global.open()?.ids_to_come()?.is_empty() {
            return Ok(told(
                "nothing is pruned while a snapshot is dated in the future".to_owned(),
            ));
        }
        Ok(told(text(&self.prune(global, monitor)?)))
    }

    fn prune(&self, global: &GlobalArgs, monitor: &dyn Monitor) -> Result<Report> {
        let grace = self.grace.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
        let grace =
            grace.map_err(|error| Error::invalid("that is not a grace period").caused_by(error))?;
        let options = Options {
            max_unused: self.max_unused,
            grace: grace.max(SignedDuration::ZERO),
            now: Timestamp::now(),
        };
        prune::prune(&global.open()?, &options, self.accept_clock, self.dry_run, monitor)
    }
}

fn json(report: &Report) -> serde_json::Value {
    let list = |all: &[(String, u64)]| -> Vec<_> {
        all.iter().map(|(archive, size)| json!({ "archive": archive, "size": size })).collect()
    };
    let pruned = report.pruned.clone().unwrap_or_default();
    let planned = |all: &[ArchiveUse]| -> Vec<(String, u64)> {
        all.iter().map(|archive| (archive.name.clone(), archive.size)).collect()
    };
    let dry = report.pruned.is_none();
    let retired = if dry { planned(&report.plan.retire) } else { pruned.retired };
    let deleted = if dry { report.plan.delete.clone() } else { pruned.deleted };
    json!({
        "dry_run": dry,
        "retired": list(&retired),
        "rewritten": list(&planned(&report.plan.rewrite)),
        "written": list(&pruned.written),
        "deleted": list(&deleted),
        "waiting": list(&report.plan.waiting),
    })
}

fn text(report: &Report) -> String {
    let told = |all: &[(String, u64)]| {
        format!(
            "{} ({})",
            plural(all.len() as u64, "archive", "archives"),
            size(all.iter().map(|(_, size)| size).sum())
        )
    };
    let Some(pruned) = &report.pruned else {
        let plan = &report.plan;
        let used = |all: &[ArchiveUse]| -> Vec<(String, u64)> {
            all.iter().map(|archive| (archive.name.clone(), archive.size)).collect()
        };
        return format!(
            "{} would be retired, {} rewritten, {} deleted",
            told(&used(&plan.retire)),
            told(&used(&plan.rewrite)),
            told(&plan.delete)
        );
    };
    let mut text = format!(
        "{} retired, {} written, {} deleted",
        told(&pruned.retired),
        told(&pruned.written),
        told(&pruned.deleted)
    );
    if !pruned.retired.is_empty() && pruned.deleted.is_empty() {
        text += "; a prune after the grace period deletes what is retired";
    }
    text
}
