//! `shoebox repair`

use clap::Subcommand;
use serde_json::json;

use super::output::{Output, plural};
use super::progress::Progress;
use super::{Done, Global};
use crate::base::Result;
use crate::task::repair;

/// Mend a repository
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Build the catalog anew from the archives and snapshots
    ///
    /// The catalog is an index that makes shoebox quick; it holds nothing that is not in the archives. Use this when
    /// it is missing or damaged. No archive and no snapshot is changed.
    #[command(after_help = "JSON: {\"snapshots\": N, \"archives\": N}")]
    Catalog,
}

impl Args {
    pub fn run(self, global: &Global, output: &Output) -> Result<Done> {
        let What::Catalog = self.what;
        let progress = Progress::new(output)?;
        let rebuilt = repair::catalog(&global.open()?, &progress);
        let problems = progress.finish();
        output.problems(&problems);
        let repair::Rebuilt { snapshots, archives } = rebuilt?;
        let text = format!(
            "the catalog is built anew: {} in {}",
            plural(snapshots, "snapshot", "snapshots"),
            plural(archives, "archive", "archives")
        );
        output.answer(&json!({ "snapshots": snapshots, "archives": archives }), text)?;
        Ok(if problems.is_empty() { Done::Whole } else { Done::Partly })
    }
}
