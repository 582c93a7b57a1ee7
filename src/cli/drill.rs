//! `shoebox drill`

use std::ffi::OsString;
use std::path::PathBuf;

use super::output::{CommandAnswer, Output, count, plural, printable, size};
use super::progress::Progress;
use super::{CommandOutcome, GlobalArgs};
use crate::base::{Monitor, Problem, Result};
use crate::task::drill::{self, DrillServers, Options, Report};

/// Rehearse the recovery: load the dump into a throw-away server, and read photos
///
/// Loads the newest snapshot's dump into a PostgreSQL server that is made for this and removed
/// afterwards, by the code of a real restore. Rows are counted, and photos drawn at random from
/// that database are read as the mount reads them and compared with it: SHA-1, or the size where
/// Immich has no hash of the bytes (external libraries). The result is remembered: `shoebox
/// snapshots` shows the age of the last success.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The snapshot: an id, a name in the mount, or `latest`
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// How many photos to read
    #[arg(long, env = "SHOEBOX_DRILL_ASSETS", value_name = "N", default_value_t = 200)]
    assets: u64,
    /// Draw the same photos as the drill that printed this number
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// The server's programs: a folder with initdb, postgres and psql
    #[arg(long, env = "SHOEBOX_DRILL_POSTGRES", value_name = "FOLDER", group = "server")]
    postgres: Option<PathBuf>,
    /// Use a container of this image, or without IMAGE of that of Immich's own database
    #[arg(
        long,
        value_name = "IMAGE",
        num_args = 0..=1,
        default_missing_value = "",
        group = "server",
    )]
    docker: Option<String>,
    /// No sandbox around the server: what the dump runs has your rights on this machine; only for a
    /// dump that you trust
    #[arg(
        long,
        env = "SHOEBOX_DRILL_NO_SANDBOX",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(),
    )]
    no_sandbox: bool,
    /// No server: only read the dump and count its rows, which is not a success
    #[arg(long, group = "server")]
    no_server: bool,
    /// Do nothing if no server can be had
    #[arg(long, conflicts_with = "no_server")]
    require_server: bool,
    /// Code in the database that is known and yours, as it was reported ("trigger t on
    /// public.asset"): not reported again
    #[arg(long, env = "SHOEBOX_ACCEPT_CODE", value_name = "CODE")]
    accept_code: Vec<String>,
    /// The program to use instead of docker, such as podman
    #[arg(long, env = "SHOEBOX_DOCKER_PROGRAM", value_name = "PROGRAM", default_value = "docker")]
    docker_program: OsString,
}

const EXAMPLES: &str = "\
Which server: the best of this machine's that has the extensions which the dump needs; else a \
container, if docker answers, of
the image that Immich's own database has here, else of one of Immich's that fits (it is fetched). \
It stands behind walls (bubblewrap, or the container): no network, no repository, and the dump is \
loaded by a
role without power. It listens to nobody else, and its data lies in TMPDIR: about twice the dump's \
size. Without one the dump
is only read and its rows are counted: that is no success, and is said.

Examples:
  shoebox drill
  shoebox drill --assets 2000 --postgres /usr/lib/postgresql/18/bin
  shoebox drill --docker

JSON: {\"snapshot\", \"server\", \"client\", \"refused\", \"no_server\", \"next\", \"tables\", \
\"rows\", \"differences\": [{\"table\", \"expected\", \"found\"}], \"code\": [{\"kind\", \"name\", \
\"why\"}], \"of\", \"assets\", \"bytes\", \"unhashed\", \"wrong\": [{\"asset\", \"path\",
\"fault\": \"damaged\"|\"checksum\"|\"size\"|\"unknown\"|\"missing\", …}], \"without_file\", \
\"seed\", \"failure\", \"remembered\"}. Exit code 3: it failed, or no server could be
had and none was refused, or something runs in the database that is not Immich's (`code`)";

pub(super) const CODE: &str = "hint: find out who made it before Immich starts on such a database, \
    where it runs with the rights of Immich's user; \
                               what is yours: --accept-code";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let repository = global.open()?;
        let progress = Progress::new(output)?;
        let is_without = self.no_server;
        let done = drill::drill(&repository, &self.options(), &progress);
        output.problems(&progress.finish());
        let report = done?;
        if let Some(failure) = &report.failure {
            output.problems(&[Problem {
                subject: "the drill failed".to_owned(),
                message: failure.clone(),
            }]);
        }
        notes(&report).iter().for_each(|note| output.note(note));
        output.answer(&report, text(&report))?;
        let is_well = report.is_success() || is_without && report.failure.is_none();
        Ok(if is_well && report.code.is_empty() {
            CommandOutcome::Whole
        } else {
            CommandOutcome::Partly
        })
    }

    /// The same for a run of the service. That no server can be had is told, and is no finding of
    /// each month.
    pub fn perform(self, global: &GlobalArgs, monitor: &dyn Monitor) -> Result<CommandAnswer> {
        let report = drill::drill(&global.open()?, &self.options(), monitor)?;
        let problem = |message: &String| Problem {
            subject: "the drill failed".to_owned(),
            message: message.clone(),
        };
        let problems = report.failure.iter().map(problem).collect();
        Ok(CommandAnswer {
            text: text(&report),
            notes: notes(&report),
            problems,
            done: CommandOutcome::Whole,
        })
    }

    fn options(self) -> Options {
        let docker = self.docker_program;
        let servers = match (self.postgres, self.docker, self.no_server) {
            (Some(folder), _, _) => DrillServers::Programs(folder),
            (_, Some(image), _) => DrillServers::Container {
                docker,
                image: Some(image).filter(|image| !image.is_empty()),
            },
            (_, _, true) => DrillServers::None,
            _ => DrillServers::Any { docker },
        };
        let seed = self.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().1 >> 32);
        let (sandbox, require_server) = (!self.no_sandbox, self.require_server);
        let (snapshot, accepted) = (self.snapshot, self.accept_code);
        Options { snapshot, servers, sandbox, require_server, accepted, assets: self.assets, seed }
    }
}

fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if report.without_file > 0 {
        let photos =
            plural(report.without_file, "photo that was drawn has", "photos that were drawn have");
        notes.push(format!("note: {photos} no file in this snapshot, as it says itself"));
    }
    if let Some(client) = &report.client {
        notes.push(format!("note: {client}"));
    }
    if !report.code.is_empty() {
        notes.push(CODE.to_owned());
    }
    if let Some(reason) = &report.no_server {
        notes.push(format!("note: the dump was read and not loaded: {}", printable(reason)));
    }
    if let Some(next) = &report.next {
        notes.push(format!("hint: {}", printable(next)));
    }
    if !report.remembered {
        notes.push("note: the repository is read-only: this drill is not remembered".to_owned());
    }
    notes
}

fn text(report: &Report) -> String {
    let outcome = match (&report.failure, report.is_success()) {
        (Some(_), _) => "FAILED: it would not all come back",
        (None, true) if report.without_file > 0 => "what is in it would come back",
        (None, true) if !report.code.is_empty() => {
            "it would come back, with code that is not Immich's"
        }
        (None, true) => "it would come back",
        (None, false) if report.without_file > 0 => {
            "as far as could be tried, what is in it would come back"
        }
        (None, false) => "as far as could be tried, it would come back",
    };
    let database = match &report.server {
        Some(server) if report.refused => format!("nothing was loaded into {server}"),
        Some(server) => format!(
            "{} rows in {} tables loaded into {server}",
            count(report.rows),
            count(report.tables)
        ),
        None => format!("{} rows in {} tables read", count(report.rows), count(report.tables)),
    };
    let photos = count(report.assets);
    format!(
        "drill on {}: {database}; {photos} of {} ({}) read and right (seed {}): {outcome}",
        report.snapshot,
        plural(report.of, "photo", "photos"),
        size(report.bytes),
        report.seed
    )
}
