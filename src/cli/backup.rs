//! `shoebox backup`

use std::ffi::OsStr;
use std::path::PathBuf;

use jiff::SignedDuration;

use super::output::{CommandAnswer, Output, count, plural, size};
use super::progress::Progress;
use super::server::{ServerArgs, password};
use super::value::{duration, percent};
use super::{CommandOutcome, GlobalArgs};
use crate::base::dump::DumpVerdict;
use crate::base::{Error, ErrorKind, FilePath, Monitor, Problem, Result};
use crate::immich;
use crate::source::installation::Installation;
use crate::source::location::FOLDERS;
use crate::source::{
    DatabaseAccess, DumpPatience, DumpRequest, DumpTool, ExternalFolder, ImmichEnv, LibraryRoot,
    ServerPlace,
};
use crate::task::audit::AuditClass;
use crate::task::backup::{self, DumpSource, Options, Report};
use crate::task::doctor::DoctorSetup;

/// Create a snapshot: the database dump, then the original files
///
/// Unchanged files are not read again, and an interrupted backup continues where it stopped. Where
/// Immich moved or erased photos while the backup ran, its database is asked again (twice at most),
/// so that both are one state; with --dump a recovery puts the files where that dump says. A dump
/// that is cut short or damaged fails the run; one that is older than --max-age of `status` is a
/// problem.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Immich's UPLOAD_LOCATION on this machine
    #[arg(long, env = "SHOEBOX_UPLOAD_LOCATION", value_name = "FOLDER")]
    upload_location: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    /// Use this dump: a file (.sql, plain or packed: .gz, .zst, .xz, .bz2), a folder of dumps (the
    /// newest), or - for standard input
    #[arg(long, env = "SHOEBOX_DUMP", value_name = "FILE", group = "from")]
    dump: Option<PathBuf>,
    /// Name of Immich's database, if the dump holds several
    #[arg(long, env = "SHOEBOX_DATABASE_NAME", value_name = "NAME")]
    database_name: Option<String>,
    /// Dump the whole cluster with pg_dumpall instead of one database with pg_dump
    #[arg(long, env = "SHOEBOX_CLUSTER")]
    cluster: bool,
    /// An external library: the path that the server sees, =, the folder here (repeatable)
    #[arg(
        long,
        env = "SHOEBOX_EXTERNAL",
        value_name = "SERVER_PATH[=FOLDER]",
        value_delimiter = ',',
        value_parser = external,
    )]
    external: Vec<ExternalFolder>,
    /// A folder of UPLOAD_LOCATION that is elsewhere: its path there, =, the folder here, such as
    /// profile=/mnt/ssd/profile (repeatable)
    #[arg(
        long,
        env = "SHOEBOX_FOLDER",
        value_name = "PATH=FOLDER",
        value_delimiter = ',',
        value_parser = folder,
    )]
    folder: Vec<LibraryRoot>,
    /// Include thumbnails and transcoded videos, which Immich can make again
    #[arg(long, env = "SHOEBOX_GENERATED")]
    generated: bool,
    /// Exclude paths that match, such as '**/@eaDir' (repeatable)
    #[arg(long, env = "SHOEBOX_EXCLUDE", value_name = "PATTERN", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Read every file again, whatever its time, and verify what is stored of it; damaged photos
    /// are stored again
    #[arg(long)]
    paranoid: bool,
    /// Read every file again within this time, a share each day, to find rot; 0s: never. Default in
    /// `shoebox run`: 30d
    #[arg(long, env = "SHOEBOX_REREAD_CYCLE", value_name = "TIME", value_parser = duration)]
    reread_cycle: Option<SignedDuration>,
    /// Number of threads that read files
    #[arg(long, env = "SHOEBOX_READERS", value_name = "N", default_value_t = 2)]
    readers: usize,
    /// How long to wait for a table that another session has locked
    #[arg(
        long,
        env = "SHOEBOX_LOCK_WAIT_TIMEOUT",
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration,
    )]
    lock_wait_timeout: SignedDuration,
    /// How long the database may send nothing before the dump is aborted
    #[arg(
        long,
        env = "SHOEBOX_DUMP_IDLE_TIMEOUT",
        value_name = "TIME",
        default_value = "30m",
        value_parser = duration,
    )]
    dump_idle_timeout: SignedDuration,
    /// Create a snapshot even if the dump is bad, for inspection: it never becomes `latest`, and
    /// the exit code is 1
    #[arg(long)]
    keep_bad_dump: bool,
    /// Accept that files are gone since the last snapshot, and acknowledge the alarm if there is
    /// one
    #[arg(long)]
    accept_shrink: bool,
    /// Start a first backup that does not seem to fit on the repository's disk
    #[arg(long)]
    accept_little_space: bool,
    /// The library may shrink by this share before its snapshot gets an alarm (see below)
    #[arg(
        long,
        env = "SHOEBOX_ALARM_SHRINK",
        value_name = "PERCENT",
        default_value = "10%",
        value_parser = percent,
    )]
    alarm_shrink: u8,
    /// Accept that this is another Immich server than the last snapshot's
    #[arg(long)]
    accept_other_library: bool,
}

const EXAMPLES: &str = "\
Where the dump comes from: --docker, --database-url or --dump; else the PG* variables of libpq \
(PGHOST, PGUSER, …).
A password comes by PGPASSWORD or SHOEBOX_DATABASE_PASSWORD (or ..._FILE), by --env-file, or by \
~/.pgpass: never on a command line.

An alarm freezes `shoebox forget`, and is exit code 3 and red in `shoebox status`, until `shoebox \
acknowledge latest`. It is raised when
the library shrank by more than --alarm-shrink since the largest of 30 days; when more than 1% of \
the originals, or more than 100, and
3 at least, are missing or have other bytes than Immich recorded that were right in the last good \
snapshot, or in one of the last 30
days (in the first backup: are missing); and when any file rotted: other bytes, the same size and \
time (--reread-cycle and --paranoid read those).
Fewer are named each night, with exit code 3, and so are sidecars that are gone. Photos that were \
deleted in Immich do not count.

Examples:
  shoebox backup --env-file /srv/immich/.env --docker immich_postgres
  shoebox backup --upload-location /srv/immich/library --dump /srv/immich/library/backups
  docker exec immich_postgres pg_dump -U postgres immich | shoebox backup --upload-location \
  /srv/immich/library --dump -
  shoebox backup --env-file /srv/immich --docker immich_postgres --external /mnt/family=/srv/family
  shoebox backup --env-file /srv/immich --docker immich_postgres --folder \
  encoded-video=/mnt/ssd/video

JSON: the snapshot record (see FORMAT.md) without chunk lists, with \"unchanged\" (files not \
read), \"grown\" (bytes), \"problems\" and\n\"audit\" (numbers by class, as `shoebox audit` calls \
them)";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let progress = Progress::new(output)?;
        let result = self.backup(global, &progress);
        let mut problems = progress.finish();
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                output.problems(&problems);
                return Err(error);
            }
        };
        problems.extend(report.problems.iter().cloned());
        problems.extend(alarm(&report));
        output.problems(&problems);
        notes(&report).iter().for_each(|note| output.note(note));
        output.answer(&json(&report), summary(&report))?;
        match &report.record.dump.verdict {
            DumpVerdict::Bad { line, reason } if !report.record.dump.unfit => {
                Err(bad_dump(*line, reason))
            }
            _ if problems.is_empty() => Ok(CommandOutcome::Whole),
            _ => Ok(CommandOutcome::Partly),
        }
    }

    /// With what a service does unless it is set otherwise: files are read again within a month.
    pub fn for_a_night(self) -> Args {
        Args {
            reread_cycle: self.reread_cycle.or(Some(SignedDuration::from_hours(30 * 24))),
            ..self
        }
    }

    /// Refuses standard input, which a service has no one at.
    pub fn refuse_input(&self) -> Result<()> {
        match &self.dump {
            Some(dump) if dump.as_os_str() == "-" => {
                Err(Error::invalid("a run takes no dump from standard input"))
            }
            _ => Ok(()),
        }
    }

    /// The same for a run of the service.
    pub fn perform(self, global: &GlobalArgs, monitor: &dyn Monitor) -> Result<CommandAnswer> {
        let report = self.backup(global, monitor)?;
        if let (DumpVerdict::Bad { line, reason }, false) =
            (&report.record.dump.verdict, report.record.dump.unfit)
        {
            return Err(bad_dump(*line, reason));
        }
        let problems: Vec<Problem> =
            report.problems.iter().cloned().chain(alarm(&report)).collect();
        // Messages have the first line only.
        let newer = immich::newer_than_known(report.record.dump.schema.as_deref());
        let text = [summary(&report)].into_iter().chain(newer).collect::<Vec<_>>().join("; ");
        Ok(CommandAnswer { text, notes: notes(&report), problems, done: CommandOutcome::Whole })
    }

    fn backup(self, global: &GlobalArgs, monitor: &dyn Monitor) -> Result<Report> {
        backup::backup(&global.open()?, self.options(global)?, monitor)
    }

    pub fn options(self, global: &GlobalArgs) -> Result<Options> {
        let env = self.server.env()?;
        let upload_location =
            self.upload_location.clone().or_else(|| env.as_ref()?.upload_location.clone());
        let dump = self.source(global, env.as_ref())?;
        let database =
            self.database_name.clone().or_else(|| env.as_ref().map(|env| env.database.clone()));
        Ok(Options {
            upload_location: upload_location.ok_or_else(|| which_location(env.as_ref()))?,
            dump,
            database,
            generated: self.generated,
            paranoid: self.paranoid,
            reread_days: self.reread_cycle.map(days),
            folders: with_env(self.folder, env.as_ref()),
            external: self.external,
            exclude: self.exclude,
            keep_bad_dump: self.keep_bad_dump,
            accept_shrink: self.accept_shrink,
            accept_little_space: self.accept_little_space,
            accept_other_library: self.accept_other_library,
            alarm_shrink: self.alarm_shrink,
            max_age: super::run::limits(global)?.snapshot,
            readers: self.readers,
        })
    }

    pub fn docker_program(&self) -> &OsStr {
        self.server.docker_program()
    }

    /// What the settings say, completed by what was found: for the doctor.
    pub fn setup(&self, global: &GlobalArgs, installation: &Installation) -> Result<DoctorSetup> {
        let said = self.server.env()?;
        let env = said.as_ref().or(installation.env.as_ref().map(|(_, env)| env));
        let location =
            self.upload_location.clone().or_else(|| said.as_ref()?.upload_location.clone());
        let source = self.source(global, env)?;
        let (access, dump) = match source {
            DumpSource::Server(request) => {
                (Some((self.access(&request, installation), request.tool)), None)
            }
            DumpSource::File(path) => (None, Some(path)),
            DumpSource::Input => (None, None),
        };
        Ok(DoctorSetup {
            upload_location: location.or_else(|| installation.upload_location()),
            access,
            dump,
            folders: with_env(self.folder.clone(), env),
            external: self.external.clone(),
            repository: global.repository.clone(),
        })
    }

    /// Where the database is: as it is said, else in the container that was found.
    fn access(&self, request: &DumpRequest, installation: &Installation) -> DatabaseAccess {
        let is_said = self.server.is_said() || std::env::var_os("PGHOST").is_some();
        let server = match installation.database().filter(|_| !is_said) {
            Some(found) => ServerPlace::Docker {
                container: found.name.clone(),
                docker: self.docker_program().to_owned(),
            },
            None => request.server.clone(),
        };
        let DumpRequest { database, user, password, .. } = request.clone();
        DatabaseAccess { server, database, user, password }
    }

    fn source(&self, global: &GlobalArgs, env: Option<&ImmichEnv>) -> Result<DumpSource> {
        match &self.dump {
            Some(dump) if dump.as_os_str() == "-" => return Ok(DumpSource::Input),
            Some(dump) => return Ok(DumpSource::File(dump.clone())),
            None => {}
        }
        Ok(DumpSource::Server(DumpRequest {
            server: self.server.server(env),
            tool: if self.cluster { DumpTool::PgDumpall } else { DumpTool::PgDump },
            database: self.database_name.clone().or_else(|| env.map(|env| env.database.clone())),
            user: env.map(|env| env.user.clone()),
            password: password(global, env)?,
            patience: DumpPatience {
                lock: self.lock_wait_timeout.unsigned_abs(),
                idle: self.dump_idle_timeout.unsigned_abs(),
            },
        }))
    }
}

/// Whole days, and one at least of any time at all.
fn days(time: SignedDuration) -> u32 {
    u32::try_from(time.as_hours().max(0).unsigned_abs().div_ceil(24)).unwrap_or(u32::MAX)
}

fn which_location(env: Option<&ImmichEnv>) -> Error {
    if let Some(env) = env {
        return env.without_location();
    }
    Error::new(ErrorKind::Invalid, "no UPLOAD_LOCATION given")
        .hint("give --upload-location FOLDER, or --env-file FILE with Immich's .env file")
}

fn bad_dump(line: u64, reason: &str) -> Error {
    Error::new(ErrorKind::Refused, format_args!("the database dump is bad: line {line}: {reason}"))
        .hint("the snapshot was kept for inspection and is not `latest`; make the dump again")
}

/// Reads `SERVER_PATH=FOLDER`.
pub(super) fn external(text: &str) -> std::result::Result<ExternalFolder, String> {
    let (server, folder) = text.split_once('=').unwrap_or((text, text));
    if server.starts_with('/') {
        Ok(ExternalFolder { server: server.into(), folder: folder.into() })
    } else {
        Err(format!("`{server}` is not an absolute path as the Immich server sees it"))
    }
}

/// Reads `PATH=FOLDER`.
fn folder(text: &str) -> std::result::Result<LibraryRoot, String> {
    let (path, folder) =
        text.split_once('=').ok_or("it is PATH=FOLDER, such as profile=/mnt/ssd/profile")?;
    let shown = FilePath::new(path.trim_matches('/')).map_err(|error| error.to_string())?;
    let is_known = FOLDERS
        .iter()
        .chain([&"external"])
        .any(|name| shown.parts().next() == Some(name.as_bytes()));
    if !is_known {
        return Err(format!("`{path}` is not one of {}, nor in one of them", FOLDERS.join(", ")));
    }
    Ok(LibraryRoot { folder: folder.into(), shown })
}

/// The folders that were told, and those of Immich's `.env` file that were not.
fn with_env(mut told: Vec<LibraryRoot>, env: Option<&ImmichEnv>) -> Vec<LibraryRoot> {
    let said = env.map(|env| env.folders.as_slice()).unwrap_or_default();
    let other: Vec<LibraryRoot> = said
        .iter()
        .filter(|said| told.iter().all(|root| root.shown != said.shown))
        .cloned()
        .collect();
    told.extend(other);
    told
}

/// How the library shrank, and what became of its originals; or an older alarm that still stands.
fn alarm(report: &Report) -> Vec<Problem> {
    let problem =
        |message: &String| Problem { subject: "alarm".to_owned(), message: message.clone() };
    let own = report.record.alarm.iter().filter(|_| !report.is_acknowledged).map(problem);
    let standing = report.standing.iter().filter(|_| report.record.alarm.is_empty());
    own.chain(standing.map(|record| {
        problem(&format!(
            "nobody acknowledged that of snapshot {}: {}",
            record.id,
            record.alarm.join("; ")
        ))
    }))
    .collect()
}

/// What is not wrong, and good to know.
fn notes(report: &Report) -> Vec<String> {
    let record = &report.record;
    let accepted = record.alarm.iter().filter(|_| report.is_acknowledged);
    let mut notes: Vec<String> = accepted.map(|alarm| format!("note: accepted: {alarm}")).collect();
    if !alarm(report).is_empty() {
        notes.push(
            "note: nothing is forgotten until you have looked; if the library is right as \
            it is: shoebox acknowledge latest"
                .to_owned(),
        );
    }
    if report.reread > 0 {
        let snapshots = plural(report.reread, "earlier snapshot", "earlier snapshots");
        notes.push(format!(
            "note: {snapshots} got what an older shoebox missed in their dumps; \
            mount again to see it"
        ));
    }
    let newer = immich::newer_than_known(record.dump.schema.as_deref());
    notes.extend(newer.iter().chain(&record.warnings).map(|warning| format!("note: {warning}")));
    let complete = &record.completeness;
    if complete.not_covered > 0 {
        let assets = plural(complete.not_covered, "photo", "photos");
        notes.push(format!(
            "note: {assets} of external libraries not in this backup; --external \
                SERVER_PATH=FOLDER covers them"
        ));
    }
    let mut tallies = report.audit.clone();
    tallies.remove(&AuditClass::NotCovered);
    if !tallies.is_empty() {
        notes.push(format!("note: {}; `shoebox audit` lists them", super::audit::totals(&tallies)));
    }
    if complete.moved > 0 {
        notes.push(
            "note: `restore --all` puts files that are elsewhere where the database expects them"
                .to_owned(),
        );
    }
    notes
}

fn summary(report: &Report) -> String {
    let record = &report.record;
    format!(
        "snapshot {}: {}, {} in {}; {} new ({}); the repository grew by {}",
        record.id,
        plural(record.census.assets, "asset", "assets"),
        size(record.files.bytes),
        plural(record.files.files, "file", "files"),
        count(record.files.new_contents),
        size(record.files.new_bytes),
        size(report.grown),
    )
}

/// Numbers by class, as `shoebox audit` calls them.
fn audit(report: &Report) -> serde_json::Value {
    let counts = report.audit.iter().filter_map(|(class, tally)| {
        Some((
            serde_json::to_value(class).ok()?.as_str()?.to_owned(),
            serde_json::Value::from(tally.count),
        ))
    });
    counts.collect::<serde_json::Map<_, _>>().into()
}

fn json(report: &Report) -> serde_json::Value {
    let mut value =
        serde_json::to_value(report.record.clone().without_chunks()).unwrap_or_default();
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|p| serde_json::json!({ "subject": p.subject, "message": p.message }))
        .collect();
    if let Some(object) = value.as_object_mut() {
        object.insert("unchanged".to_owned(), report.unchanged.into());
        object.insert("grown".to_owned(), report.grown.into());
        object.insert("problems".to_owned(), problems.into());
        object.insert("audit".to_owned(), audit(report));
    }
    value
}
