//! `shoebox import`

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::output::{Output, count, plural, size};
use super::progress::Progress;
use super::{CommandOutcome, GlobalArgs};
use crate::base::Result;
use crate::task::import::{self, ImportEntry, ImportOutcome, Options, Report};

/// Import old database dumps as dated snapshots
///
/// Imports what postgres-backup-local and Immich itself have kept: each dump is verified, dated by
/// its name and its file's time, and imported once, however many names it has. An imported snapshot
/// shows the photos of its day that the repository still has, by their SHA-1: so make a backup
/// first. The dumps are only read; run it again at any time, nothing is imported twice.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Dumps (.sql, plain or packed: .gz, .zst, .xz, .bz2), and folders of dumps
    #[arg(required = true, value_name = "FOLDER|FILE")]
    paths: Vec<PathBuf>,
    /// Only verify and date the dumps, and show what would be imported
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Name of Immich's database, if a dump holds several
    #[arg(long, env = "SHOEBOX_DATABASE_NAME", value_name = "NAME")]
    database_name: Option<String>,
    /// Accept dumps of another Immich server than the repository's
    #[arg(long)]
    accept_other_library: bool,
}

const EXAMPLES: &str = "\
Examples:
  shoebox import --dry-run /srv/immich/backups    of postgres-backup-local: last/, daily/, \
  weekly/, monthly/
  shoebox import /srv/immich/library/backups      Immich's own
  shoebox import immich-2024.sql.gz               any name will do: then it is as old as its \
  file's time says

Dates in names are read in the usual forms: immich-2026-11-28.sql.gz, dump_20261128-020000, \
2026-11-28_02-00, …T020000Z; dumps of one
second are snapshots of the seconds after it. A time in a name is of no zone: where the file's own \
time is of another day, it is taken as of this machine's zone (or TZ).
Such a snapshot has no sidecars, no profile pictures, no external libraries, and no photos that \
were gone before the first backup;
how many are missing is told, and is no failure. While there is a backup, `latest` is one: a dump \
that is newer is left for later.

JSON: one object a file, by time: {\"file\", \"time\", \"dated_by\": \"name\", \"file_and_name\", \
\"file\", \"name_here\" or \"row\", \"outcome\":
\"imported\", \"skipped\" (with \"in_repository\"), \"postponed\" or \"refused\", with \"why\", or \
\"snapshot\", \"assets\", \"present\", \"missing\", \"not_covered\"}; the last is
{\"kind\": \"summary\", \"dry_run\", \"imported\", \"skipped\", \"postponed\", \"refused\", \
\"grown\": bytes}. Exit code 3: a dump was refused or left for later";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let options = Options {
            paths: self.paths,
            database: self.database_name,
            accept_other_library: self.accept_other_library,
            zone: TimeZone::system(),
            now: Timestamp::now(),
            dry_run: self.dry_run,
        };
        let progress = Progress::new(output)?;
        let done = import::import(&global.open()?, &options, &progress);
        let problems = progress.finish();
        output.problems(&problems);
        let report = done?;
        print(&report, &options, output)?;
        let is_whole = problems.is_empty() && refused(&report) == 0 && postponed(&report) == 0;
        Ok(if is_whole { CommandOutcome::Whole } else { CommandOutcome::Partly })
    }
}

fn print(report: &Report, options: &Options, output: &Output) -> Result<()> {
    if !report.entries.is_empty() {
        output.table(&report.entries, &["Time", "Dated by", "File", "Outcome"], &[], |entry| {
            cells(entry, options)
        })?;
    }
    output.answer(&summary(report, options.dry_run), text(report, options.dry_run))?;
    if report.imported() > 0 && !output.is_json() {
        notes(report, options.dry_run, output);
    }
    Ok(())
}

fn notes(report: &Report, dry_run: bool, output: &Output) {
    if report.is_first {
        output.note(
            "note: no backup was made yet, so these snapshots show no photo; after the first one, \
                `shoebox forget` them by id and import them again",
        );
    }
    if !dry_run {
        let rest = match report.left_out() {
            0 => String::new(),
            1 => "; 1 other file is not in the repository: keep it".to_owned(),
            number => {
                format!("; {} other files are not in the repository: keep them", count(number))
            }
        };
        output.note(format!(
            "note: what was imported was read back out of the repository and is what its file was: \
                those files are needed no more{rest}"
        ));
    }
}

fn cells(entry: &ImportEntry, options: &Options) -> Vec<String> {
    let local = |time: Timestamp| {
        time.to_zoned(options.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    };
    let outcome = match &entry.outcome {
        ImportOutcome::Imported { snapshot, assets, present, .. } => {
            let is = if options.dry_run { "would be" } else { "is" };
            let assets = plural(*assets, "asset", "assets");
            format!("{is} snapshot {snapshot}: {assets}, {} with their file", count(*present))
        }
        ImportOutcome::Skipped { why, .. } => format!("skipped: {why}"),
        ImportOutcome::Postponed { why } => format!("left for later: {why}"),
        ImportOutcome::Refused { why } => format!("REFUSED: {why}"),
    };
    let source = entry.dated_by.map_or_else(String::new, |source| source.to_string());
    vec![entry.time.map_or_else(String::new, local), source, entry.file.clone(), outcome]
}

/// How many files came out as `is` says.
fn number(report: &Report, is: fn(&ImportOutcome) -> bool) -> u64 {
    report.entries.iter().filter(|entry| is(&entry.outcome)).count() as u64
}

fn skipped(report: &Report) -> u64 {
    number(report, |outcome| matches!(outcome, ImportOutcome::Skipped { .. }))
}

fn postponed(report: &Report) -> u64 {
    number(report, |outcome| matches!(outcome, ImportOutcome::Postponed { .. }))
}

fn refused(report: &Report) -> u64 {
    number(report, |outcome| matches!(outcome, ImportOutcome::Refused { .. }))
}

fn summary(report: &Report, dry_run: bool) -> serde_json::Value {
    json!({
        "kind": "summary",
        "dry_run": dry_run,
        "imported": report.imported(),
        "skipped": skipped(report),
        "postponed": postponed(report),
        "refused": refused(report),
        "grown": report.grown,
    })
}

fn text(report: &Report, dry_run: bool) -> String {
    if report.entries.is_empty() {
        return "no dump (*.sql, *.sql.gz, …) found".to_owned();
    }
    let dumps = plural(report.imported(), "dump", "dumps");
    let later = match postponed(report) {
        0 => String::new(),
        number => format!("{} left for later, ", count(number)),
    };
    let rest =
        format!("{} skipped, {later}{} refused", count(skipped(report)), count(refused(report)));
    if dry_run {
        format!("{dumps} would be imported, {rest}; nothing was written")
    } else {
        format!("{dumps} imported, {rest}; the repository grew by {}", size(report.grown))
    }
}
