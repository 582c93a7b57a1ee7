//! `shoebox`: see `shoebox --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shoebox::cli::main(std::env::args_os())
}
