//! The command line: one file a subcommand. Each reads its flags, calls a task and prints; nothing
//! else.
//!
//! Standard output is the answer only; progress, problems and errors go to standard error. Exit
//! codes: 0 done, 1 failed, 2 wrong usage, 3 finished, but something was left out or found damaged,
//! 130 stopped by a signal.

mod acknowledge;
mod audit;
mod backup;
mod check;
mod completions;
mod config;
mod desktop;
mod diff;
mod doctor;
mod drill;
mod dump;
mod exit;
mod find;
mod forget;
mod help;
mod import;
mod init;
mod log;
mod ls;
mod man;
mod mount;
mod mount_helper;
mod notify;
mod output;
mod progress;
mod prune;
mod repair;
mod restore;
mod restore_database;
mod run;
mod server;
mod settings;
mod signal;
mod snapshots;
mod status;
mod thumbnailer;
mod thumbnails;
mod value;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use self::output::Output;
use self::settings::Settings;
use crate::base::{Error, ErrorKind, Result};
use crate::repo::Repository;

/// Backups of an Immich photo library that you can open like a folder.
#[derive(Debug, Parser)]
#[command(
    name = "shoebox",
    version,
    max_term_width = 110,
    after_help = EXAMPLES,
    disable_help_subcommand = true,
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: ShoeboxCommand,
}

const EXAMPLES: &str = "\
Examples:
  export SHOEBOX_REPOSITORY=/mnt/usb/photos
  shoebox init
  shoebox backup --upload-location /srv/immich/library --docker immich_postgres
  shoebox mount /mnt/photos
  shoebox help restore          the manual: how to restore; `shoebox help` lists its pages

Exit codes:
  0  done
  1  failed; nothing of an earlier snapshot is lost
  2  wrong usage
  3  finished, but something was left out or found damaged: see the output
  130  interrupted (Ctrl-C); what was done is printed";

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
struct GlobalArgs {
    /// The repository's folder
    #[arg(short, long, global = true, env = "SHOEBOX_REPOSITORY", value_name = "FOLDER")]
    repository: Option<PathBuf>,
    /// Wait up to this long for another shoebox to finish, such as 10m or 2h; default: fail at once
    #[arg(long, global = true, env = "SHOEBOX_RETRY_LOCK", value_name = "DURATION")]
    retry_lock: Option<jiff::Span>,
    /// The settings file; default: ~/.config/shoebox.toml or /etc/shoebox.toml, if it exists
    #[arg(long, global = true, env = "SHOEBOX_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON, one object per line
    #[arg(long, global = true)]
    json: bool,
    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// More output (-vv: debug)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// What the settings file and others' variables give.
    #[arg(skip)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum ShoeboxCommand {
    Init(init::Args),
    Backup(Box<backup::Args>),
    Run(run::Args),
    Status(status::Args),
    Notify(Box<notify::Args>),
    Doctor(doctor::Args),
    Import(import::Args),
    Snapshots(snapshots::Args),
    Mount(mount::Args),
    Thumbnails(thumbnails::Args),
    Ls(ls::Args),
    Find(find::Args),
    Diff(diff::Args),
    Log(log::Args),
    Restore(restore::Args),
    RestoreDatabase(Box<restore_database::Args>),
    Dump(dump::Args),
    Check(check::Args),
    Audit(audit::Args),
    Drill(drill::Args),
    Acknowledge(acknowledge::Args),
    Forget(Box<forget::Args>),
    Prune(prune::Args),
    Repair(repair::Args),
    Config(config::Args),
    Completions(completions::Args),
    Help(help::Args),
    #[command(hide = true)]
    Man(man::Args),
    Thumbnailer(thumbnailer::Args),
}

/// How a command ended when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommandOutcome {
    /// All of it.
    Whole,
    /// Something was left out or found damaged.
    Partly,
    /// It failed, and another process has said why.
    Failed,
    /// Somebody asked it to stop, and it has said what was done.
    Stopped,
}

/// Runs the program with `arguments`, the first being its own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.first().is_some_and(|name| mount_helper::is_meant(name)) {
        return help_mount(&arguments);
    }
    match settings::parse(&arguments) {
        Ok(cli) => start(cli),
        Err(unparsed) => unparsed.told(exit::USAGE),
    }
}

fn start(cli: Cli) -> ExitCode {
    log(&cli.global);
    let output = Output::new(cli.global.json, cli.global.quiet);
    cli.global
        .settings
        .warnings
        .iter()
        .for_each(|warning| output.note(format_args!("note: {warning}")));
    let closed = cli.global.settings.closed.clone().filter(|_| cli.global.repository.is_some());
    match run(cli, &output) {
        Ok(done) => exit::of_done(done),
        Err(error) => {
            output.error(&error);
            // What is not said may be said there.
            if let (Some(file), ErrorKind::Invalid) = (closed, error.kind()) {
                output.error(&settings::closed(&file));
            }
            exit::of_error(&error)
        }
    }
}

/// As a helper of mount(8), with the exit codes that it wants.
fn help_mount(arguments: &[OsString]) -> ExitCode {
    let command = match mount_helper::translate(arguments) {
        Ok(Some(command)) => command,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            Output::new(false, true).error(&error);
            return ExitCode::from(mount_helper::USAGE);
        }
    };
    match settings::parse(&command) {
        Ok(cli) => match start(cli) {
            ExitCode::SUCCESS => ExitCode::SUCCESS,
            _ => ExitCode::from(mount_helper::FAILED),
        },
        Err(unparsed) => unparsed.told(mount_helper::USAGE),
    }
}

fn run(cli: Cli, output: &Output) -> Result<CommandOutcome> {
    let Cli { global, command } = cli;
    match command {
        ShoeboxCommand::Init(args) => args.run(&global, output),
        ShoeboxCommand::Backup(args) => args.run(&global, output),
        ShoeboxCommand::Run(args) => args.run(&global, output),
        ShoeboxCommand::Status(args) => args.run(&global, output),
        ShoeboxCommand::Notify(args) => args.run(&global, output),
        ShoeboxCommand::Doctor(args) => args.run(&global, output),
        ShoeboxCommand::Import(args) => args.run(&global, output),
        ShoeboxCommand::Snapshots(args) => args.run(&global, output),
        ShoeboxCommand::Mount(args) => args.run(&global, output),
        ShoeboxCommand::Thumbnails(args) => args.run(output),
        ShoeboxCommand::Ls(args) => args.run(&global, output),
        ShoeboxCommand::Find(args) => args.run(&global, output),
        ShoeboxCommand::Diff(args) => args.run(&global, output),
        ShoeboxCommand::Log(args) => args.run(&global, output),
        ShoeboxCommand::Restore(args) => args.run(&global, output),
        ShoeboxCommand::RestoreDatabase(args) => args.run(&global, output),
        ShoeboxCommand::Dump(args) => args.run(&global, output),
        ShoeboxCommand::Drill(args) => args.run(&global, output),
        ShoeboxCommand::Check(args) => args.run(&global, output),
        ShoeboxCommand::Audit(args) => args.run(&global, output),
        ShoeboxCommand::Acknowledge(args) => args.run(&global, output),
        ShoeboxCommand::Forget(args) => args.run(&global, output),
        ShoeboxCommand::Prune(args) => args.run(&global, output),
        ShoeboxCommand::Repair(args) => args.run(&global, output),
        ShoeboxCommand::Config(args) => args.run(&global, output),
        ShoeboxCommand::Completions(args) => args.run(output),
        ShoeboxCommand::Help(args) => args.run(output),
        ShoeboxCommand::Man(args) => args.run(),
        ShoeboxCommand::Thumbnailer(args) => args.run(),
    }
}

impl GlobalArgs {
    fn repository_path(&self) -> Result<&PathBuf> {
        self.repository.as_ref().ok_or_else(|| {
            if let Some(file) = &self.settings.closed {
                return settings::closed(file);
            }
            Error::new(ErrorKind::Invalid, "no repository given")
                .hint("pass -r FOLDER or set SHOEBOX_REPOSITORY")
        })
    }

    fn open(&self) -> Result<Repository> {
        Ok(Repository::open(self.repository_path()?)?.with_patience(self.patience()?))
    }

    /// How long to wait for another writer.
    fn patience(&self) -> Result<Duration> {
        let Some(span) = self.retry_lock else { return Ok(Duration::ZERO) };
        let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
        duration
            .ok()
            .and_then(|duration| duration.try_into().ok())
            .ok_or_else(|| Error::invalid("--retry-lock takes a time such as 10m or 2h"))
    }
}

fn log(global: &GlobalArgs) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_env("SHOEBOX_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("shoebox={level}")));
    // A second start in one process (tests) keeps the first one's log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(
            std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()),
        )
        .with_target(global.verbose > 0)
        .without_time()
        .log_internal_errors(false)
        .try_init();
}
