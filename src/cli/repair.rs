//! `shoebox repair`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::check;
use super::output::{Output, plural, printable};
use super::progress::Progress;
use super::{CommandOutcome, GlobalArgs};
use crate::base::Result;
use crate::task::repair::{self, Options, RepairRemedy, Report};

/// Repair a damaged repository
///
/// Reads everything, and shows for each thing that is damaged or missing how it can be repaired, or
/// why it cannot. With --apply it does so: what is intact is stored again in new archives and read
/// back, then the catalog is rebuilt, and files that are no longer needed are moved to the
/// repository's folder `damaged`, where you can inspect and delete them. Nothing is changed in
/// place.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<RepairTarget>,
    /// Repair it; default: only show what would be done
    #[arg(long)]
    apply: bool,
    /// A copy of the originals to repair from: the server's UPLOAD_LOCATION
    #[arg(long, env = "SHOEBOX_UPLOAD_LOCATION", value_name = "FOLDER")]
    upload_location: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum RepairTarget {
    /// Rebuild the catalog from the archives and snapshots
    ///
    /// The catalog is an index that makes shoebox fast; it holds nothing that is not in the
    /// archives. Use this when it is missing or damaged, or when an older shoebox did not
    /// understand the dumps of a newer Immich: what it missed, such as people, is read from them
    /// again. No archive and no snapshot is changed.
    #[command(after_help = "JSON: {\"snapshots\": N, \"archives\": N, \"reread\": N}")]
    Catalog,
}

const EXAMPLES: &str = "\
Examples:
  shoebox repair                                                        what is wrong, and what \
  can be done
  shoebox repair --upload-location /srv/immich/library --apply          repair it, from the server \
  where nothing else has it

JSON: one object a finding, as `shoebox check` has them, with \"remedy\": \"repair\"|\"leave\" and \
\"how\"; the last is {\"finding\": \"summary\", \"findings\", \"repaired\",
\"applied\", \"written\": [], \"aside\": []}. Exit code 3: something is to be fixed, or cannot be";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        match self.what {
            Some(RepairTarget::Catalog) => catalog(global, output),
            None => self.repair(global, output),
        }
    }

    fn repair(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let patience = global.patience()?;
        let options =
            Options { upload_location: self.upload_location, apply: self.apply, patience };
        let progress = Progress::new(output)?;
        let report = repair::repair(global.repository_path()?, &options, &progress);
        output.problems(&progress.finish());
        let report = report?;
        for step in &report.steps {
            let text = match &step.remedy {
                RepairRemedy::Repair(how) => format!(
                    "{}\n  repair: {}",
                    printable(&check::text(&step.finding)),
                    printable(how)
                ),
                RepairRemedy::Leave(why) => {
                    format!(
                        "{}\n  cannot be repaired: {}",
                        printable(&check::text(&step.finding)),
                        printable(why)
                    )
                }
            };
            output.answer(step, text)?;
        }
        output.answer(&json(&report), summary(&report))?;
        Ok(if report.is_whole() { CommandOutcome::Whole } else { CommandOutcome::Partly })
    }
}

fn json(report: &Report) -> serde_json::Value {
    let done = report.done.clone().unwrap_or_default();
    json!({
        "finding": "summary",
        "findings": report.steps.len(),
        "repaired": report.repaired(),
        "applied": report.done.is_some(),
        "written": done.written,
        "aside": done.aside,
    })
}

fn summary(report: &Report) -> String {
    let (all, repaired) = (report.steps.len() as u64, report.repaired() as u64);
    let findings = plural(all, "finding", "findings");
    match &report.done {
        _ if all == 0 => "all is well: there is nothing to repair".to_owned(),
        None if repaired == 0 => format!("{findings}, none of which can be repaired"),
        None => format!("{findings}, of which {repaired} can be repaired; --apply does it"),
        Some(done) => format!(
            "{findings}, {repaired} repaired: {} written, {} moved to damaged/",
            plural(done.written.len() as u64, "archive", "archives"),
            plural(done.aside.len() as u64, "file", "files")
        ),
    }
}

fn catalog(global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
    let progress = Progress::new(output)?;
    let rebuilt = repair::catalog(&global.open()?, &progress);
    let problems = progress.finish();
    output.problems(&problems);
    let repair::RebuiltCatalog { snapshots, archives, reread } = rebuilt?;
    let again = match reread {
        0 => String::new(),
        many => format!(
            "; {} got what an older shoebox missed in their dumps",
            plural(many, "snapshot", "snapshots")
        ),
    };
    let text = format!(
        "the catalog is rebuilt: {} in {}{again}",
        plural(snapshots, "snapshot", "snapshots"),
        plural(archives, "archive", "archives")
    );
    output
        .answer(&json!({ "snapshots": snapshots, "archives": archives, "reread": reread }), text)?;
    Ok(if problems.is_empty() { CommandOutcome::Whole } else { CommandOutcome::Partly })
}
