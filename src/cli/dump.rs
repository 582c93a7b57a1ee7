//! `shoebox dump`

use super::output::Output;
use super::{CommandOutcome, GlobalArgs};
use crate::base::Result;
use crate::task::dump::dump;

/// Print the database dump of a snapshot
///
/// It is the SQL text that pg_dump or pg_dumpall made. It holds passwords and session tokens: keep
/// it private.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  shoebox dump > immich.sql\n  shoebox dump 2026-11-22T030005Z | gzip \
        > immich.sql.gz"
)]
pub(super) struct Args {
    /// The snapshot: an id, a name in the mount, or `latest`
    #[arg(default_value = "latest")]
    snapshot: String,
}

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        dump(&global.open()?, &self.snapshot, &mut |bytes| output.bytes(bytes))?;
        Ok(CommandOutcome::Whole)
    }
}
