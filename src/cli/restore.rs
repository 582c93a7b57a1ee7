//! `shoebox restore`

use std::path::PathBuf;

use super::find::FindFilters;
use super::output::{Output, count, plural, printable, size};
use super::progress::Progress;
use super::{CommandOutcome, GlobalArgs};
use crate::base::{Error, ErrorKind, Result, SnapshotId};
use crate::task::restore::whole::{self, ExternalFolder, RestorePart};
use crate::task::restore::{self, Options, Report, RestoreSelection};

/// Restore photos: a selection of a snapshot, or all of it, to a folder
///
/// Give paths of the tree (as `shoebox ls` and the mount show them), or select photos by flags.
/// Live photos come with their moving half, and photos with their sidecar. Existing files are not
/// overwritten unless --overwrite is given; identical ones are skipped, so an interrupted restore
/// continues where it stopped.
///
/// A photo whose file is gone from the server's disk, or has other bytes there than Immich recorded
/// (ransomware, rot, an edit in place), comes back as it was uploaded; what was on the disk is
/// under files/ of the tree.
///
/// --all creates a new UPLOAD_LOCATION, locked photos included: every file as it was on disk (name,
/// rights, time, links; owners when run as root), photos as they were uploaded, and Immich's six
/// folders with their markers. The database is not in it: see `shoebox restore-database`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Paths in the snapshot's tree, such as 'users/Ann Lee/albums/Rome': each is written as
    /// `cp -r PATH DIR/` would
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Restore the whole snapshot: a new UPLOAD_LOCATION
    #[arg(long, conflicts_with_all = ["paths", "name"])]
    all: bool,
    /// The folder to write into; it is created
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The snapshot: an id, a name in the mount, or `latest`
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// File names, as `shoebox find` has them
    #[arg(long, value_name = "PATTERN")]
    name: Vec<String>,
    #[command(flatten)]
    filters: FindFilters,
    /// Only show what would be written, and how much
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Replace files that are there and differ
    #[arg(long)]
    overwrite: bool,
    /// With --all: restore into a folder that is not empty
    #[arg(long)]
    accept_non_empty: bool,
    /// With --all: photos exactly as they were on the disk, changed ones too, and none that was
    /// missing there
    #[arg(long)]
    as_on_disk: bool,
    /// With --all: an external library: the path that the server sees, =, the folder for its files
    /// (repeatable)
    #[arg(
        long,
        value_name = "SERVER_PATH[=FOLDER]",
        value_delimiter = ',',
        value_parser = super::backup::external,
    )]
    external: Vec<ExternalFolder>,
}

const EXAMPLES: &str = "\
Where photos go that are chosen by flags:
  --asset alone   DIR/NAME
  --album alone   DIR/ALBUM/NAME
  else            DIR/USER/2024/2024-05/NAME
Of two with the same name in one folder, the later one gets a few letters of its id in brackets.
Photos in the trash come too. Locked ones, and their files under files/, are left out without \
--locked or --all.

--all takes an empty folder, or one in which it was interrupted before (it lies there with a file \
`.shoebox-restore` until it is
done). No file gets back a right to run as somebody else (set-id). What of external libraries is \
given no folder is left out.

Examples:
  shoebox restore --to ~/back 'users/Ann Lee/by date/2024/2024-05/IMG_0001.HEIC'
  shoebox restore --to ~/back --snapshot 2026-05-01T030005Z --asset \
  5b1d8f0e-0e6c-4c4f-9d55-0b6f2b9b6a52
  shoebox restore --to ~/back --album Rome --dry-run
  shoebox restore --to ~/back --user 'Ann Lee' --taken 2024-05..2024-06
  shoebox restore --to ~/back files database
  shoebox restore --all --to /srv/immich/library --dry-run
  shoebox restore --all --to /srv/immich/library --external /mnt/family=/srv/family

JSON: {\"snapshot\", \"to\", \"dry_run\", \"files\", \"bytes\": selected, \"restored\", \
\"restored_bytes\", \"already_there\", \"left_out\", \"notes\": []}; before it,
with --dry-run or -v, one object a file: {\"to\", \"from\", \"size\"}. With --all one object only, \
with \"as_uploaded\" (photos that the disk had
not so), \"folders\" and \"without_folder\": [{\"folder\", \"files\", \"bytes\"}], and
\"outside\" (photos whose path in the database is outside of UPLOAD_LOCATION): [{\"server\", \
\"folder\", \"photos\"}]. Exit code 3: something was left out; it is named";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        if self.all {
            return self.whole(global, output);
        }
        if self.accept_non_empty || self.as_on_disk || !self.external.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "--accept-non-empty, --as-on-disk and --external are for --all",
            ));
        }
        let options = self.options()?;
        let repository = global.open()?;
        let progress = Progress::new(output)?;
        let result = restore::restore(&repository, &options, &progress);
        let problems = progress.finish();
        output.problems(&problems);
        let report = result?;
        report.notes.iter().for_each(|note| output.note(format_args!("note: {}", printable(note))));
        if options.dry_run || global.verbose > 0 {
            for planned in &report.planned {
                let text = format!(
                    "{:>10}  {}",
                    size(planned.size),
                    printable(&planned.to.to_string_lossy())
                );
                output.answer(planned, text)?;
            }
        }
        output.answer(&json(&report, &options), summary(&report, &options))?;
        Ok(if problems.is_empty() { CommandOutcome::Whole } else { CommandOutcome::Partly })
    }

    /// Restores everything.
    fn whole(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        if !self.filters.query(Vec::new()).is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "--all and flags that select photos do not go together",
            )
            .hint("leave out --all, or the others"));
        }
        let repository = global.open()?;
        let Args {
            to, snapshot, overwrite, dry_run, accept_non_empty, as_on_disk, external, ..
        } = self;
        let options = whole::Options {
            snapshot,
            to,
            external,
            accept_non_empty,
            overwrite,
            as_on_disk,
            dry_run,
        };
        let progress = Progress::new(output)?;
        let result = whole::restore(&repository, &options, &progress);
        let problems = progress.finish();
        output.problems(&problems);
        let report = result?;
        report.notes.iter().for_each(|note| output.note(format_args!("note: {}", printable(note))));
        report
            .without_folder
            .iter()
            .for_each(|part| output.note(format_args!("note: {}", without_folder(part))));
        output.answer(&whole_json(&report, &options), whole_summary(&report, &options))?;
        Ok(if problems.is_empty() { CommandOutcome::Whole } else { CommandOutcome::Partly })
    }

    fn options(self) -> Result<Options> {
        let query = self.filters.query(self.name);
        let paths: Vec<Vec<u8>> =
            self.paths.iter().map(|path| path.as_os_str().as_encoded_bytes().to_vec()).collect();
        let selection = match (paths.is_empty(), query.is_empty()) {
            (false, true) => RestoreSelection::Paths(paths),
            (true, false) => RestoreSelection::Assets(query),
            (true, true) => {
                return Err(Error::new(ErrorKind::Invalid, "nothing to restore given").hint(
                    "give paths (`shoebox ls latest` shows the tree), or --asset, --album, \
                        --user, --taken, --name, --person, or --all",
                ));
            }
            (false, false) => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "paths and flags that select photos do not go together",
                )
                .hint("run it once with the paths and once with the flags"));
            }
        };
        let Args { to, snapshot, overwrite, dry_run, filters, .. } = self;
        Ok(Options { snapshot, selection, to, overwrite, dry_run, locked: filters.locked })
    }
}

fn without_folder(part: &RestorePart) -> String {
    let (files, folder) = (plural(part.files, "file", "files"), printable(&part.folder));
    format!(
        "{files} ({}) of an external library left out; --external '{folder}=FOLDER' restores them \
            to FOLDER",
        size(part.bytes)
    )
}

fn whole_json(report: &whole::Report, options: &whole::Options) -> serde_json::Value {
    let mut value = serde_json::json!(report);
    value["to"] = options.to.to_string_lossy().into();
    value["dry_run"] = options.dry_run.into();
    value
}

fn whole_summary(report: &whole::Report, options: &whole::Options) -> String {
    let to = options.to.display();
    if options.dry_run {
        let line = |part: &RestorePart| {
            format!(
                "{:>10}  {:>9}  {}\n",
                size(part.bytes),
                count(part.files),
                printable(&part.folder)
            )
        };
        let all = format!("{} ({})", plural(report.files, "file", "files"), size(report.bytes));
        let lines: String = report.folders.iter().map(line).collect();
        return format!("{lines}{all} of {} would be restored to {to}", report.snapshot);
    }
    let done = [report.restored, report.restored_bytes, report.already_there, report.left_out];
    let mut text = restored(done, report.snapshot, to);
    text += &format!(
        "\nnext: the database: shoebox restore-database --snapshot {} --docker CONTAINER",
        report.snapshot
    );
    if !report.generated {
        text += "\nthen, in Immich: Administration, Jobs: generate thumbnails and transcode videos \
            for ALL (MISSING makes none)";
    }
    text
}

/// How many files were written and their bytes, how many were there already, and how many were left
/// out.
fn restored(
    [files, bytes, there, left_out]: [u64; 4],
    snapshot: SnapshotId,
    to: std::path::Display<'_>,
) -> String {
    let mut text = format!(
        "restored {} ({}) of {snapshot} to {to}",
        plural(files, "file", "files"),
        size(bytes)
    );
    if there > 0 {
        text += &format!(", {} there already", count(there));
    }
    if left_out > 0 {
        text += &format!(", {} left out", count(left_out));
    }
    text
}

fn json(report: &Report, options: &Options) -> serde_json::Value {
    let mut value = serde_json::json!(report);
    value["to"] = options.to.to_string_lossy().into();
    value["dry_run"] = options.dry_run.into();
    value
}

fn summary(report: &Report, options: &Options) -> String {
    let all = format!("{} ({})", plural(report.files, "file", "files"), size(report.bytes));
    let to = options.to.display();
    if options.dry_run {
        return format!("{all} of {} would be restored to {to}", report.snapshot);
    }
    let done = [report.restored, report.restored_bytes, report.already_there, report.left_out];
    restored(done, report.snapshot, to)
}
