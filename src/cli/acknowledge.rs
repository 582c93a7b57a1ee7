//! `shoebox acknowledge`

use serde_json::json;

use super::output::Output;
use super::{CommandOutcome, GlobalArgs};
use crate::base::Result;
use crate::task::acknowledge::{Report, acknowledge};

/// Acknowledge a snapshot's alarm
///
/// A backup that finds the library much smaller than before puts an alarm on its snapshot, and
/// nothing is forgotten from then on: the earlier snapshots may be all that is left. Look at the
/// library and at `shoebox diff`. If the library is right as it is, acknowledge the newest
/// snapshot: its alarm and earlier ones no longer count, and later snapshots are compared with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  shoebox acknowledge latest\n  shoebox acknowledge \
        2026-11-22T030005Z\n\n\
JSON: {\"snapshot\": ID, \"acknowledged\": [{\"id\": ID, \"alarm\": [TEXT, …]}, …]}")]
pub(super) struct Args {
    /// The snapshot: an id, or latest
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
}

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let report = acknowledge(&global.open()?, &self.snapshot)?;
        let calmed: Vec<_> = report
            .calmed
            .iter()
            .map(|record| json!({ "id": record.id, "alarm": record.alarm }))
            .collect();
        output.answer(
            &json!({ "snapshot": report.snapshot, "acknowledged": calmed }),
            text(&report),
        )?;
        Ok(CommandOutcome::Whole)
    }
}

fn text(report: &Report) -> String {
    let told = |record: &crate::repo::SnapshotRecord| {
        format!("acknowledged {}: {}", record.id, record.alarm.join("; "))
    };
    if report.calmed.is_empty() {
        format!("there is no alarm up to snapshot {}: nothing to acknowledge", report.snapshot)
    } else {
        report.calmed.iter().map(told).collect::<Vec<_>>().join("\n")
    }
}
