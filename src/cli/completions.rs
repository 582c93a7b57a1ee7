//! `shoebox completions`

use clap::CommandFactory;
use clap_complete::Shell;

use super::output::Output;
use super::{Cli, CommandOutcome};
use crate::base::Result;

/// Print a script that completes commands and flags in your shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  shoebox completions bash > \
        ~/.local/share/bash-completion/completions/shoebox")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub fn run(self, output: &Output) -> Result<CommandOutcome> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "shoebox", &mut script);
        output.bytes(&script)?;
        Ok(CommandOutcome::Whole)
    }
}
