//! `shoebox restore`

use std::path::PathBuf;

use super::find::Filters;
use super::output::{Output, count, plural, printable, size};
use super::progress::Progress;
use super::{Done, Global};
use crate::base::{Error, Kind, Result};
use crate::task::restore::{self, Options, Report, Selection};

/// Bring photos back: write a selection of a snapshot to a folder
///
/// Give paths of the tree (as `shoebox ls` and the mount show them), or say by flags which photos are meant. Live
/// photos come with their moving half, and photos with their sidecar. Nothing that is there is overwritten unless
/// told; what is there already and the same is not written again, so an interrupted restore goes on where it was.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Paths in the snapshot's tree, such as 'users/Ann Lee/albums/Rome': each is written as `cp -r PATH DIR/` would
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The folder to write into; it is made
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The snapshot: an id, a name in the mount, or `latest`
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// File names, as `shoebox find` has them
    #[arg(long, value_name = "PATTERN")]
    name: Vec<String>,
    #[command(flatten)]
    filters: Filters,
    /// Only say what would be written, and how much
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Replace files that are there and differ
    #[arg(long)]
    overwrite: bool,
}

const EXAMPLES: &str = "\
Where photos go that are chosen by flags:
  --asset alone   DIR/NAME
  --album alone   DIR/ALBUM/NAME
  else            DIR/USER/2024/2024-05/NAME
Of two with the same name in one folder, the later one gets a few letters of its id in brackets.
Photos in the trash come too. Locked ones, and their files under files/, are left out without --locked.

Examples:
  shoebox restore --to ~/back 'users/Ann Lee/by date/2024/2024-05/IMG_0001.HEIC'
  shoebox restore --to ~/back --snapshot 2026-05-01T030005Z --asset 5b1d8f0e-0e6c-4c4f-9d55-0b6f2b9b6a52
  shoebox restore --to ~/back --album Rome --dry-run
  shoebox restore --to ~/back --user 'Ann Lee' --taken 2024-05..2024-06
  shoebox restore --to ~/back files database

JSON: {\"snapshot\", \"to\", \"dry_run\", \"files\", \"bytes\": selected, \"restored\", \"restored_bytes\", \"already_there\", \"left_out\", \"notes\": []}; before it,
with --dry-run or -v, one object a file: {\"to\", \"from\", \"size\"}. Exit code 3: something was left out; it is named";

impl Args {
    pub fn run(self, global: &Global, output: &Output) -> Result<Done> {
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
                let text = format!("{:>10}  {}", size(planned.size), printable(&planned.to.to_string_lossy()));
                output.answer(planned, text)?;
            }
        }
        output.answer(&json(&report, &options), summary(&report, &options))?;
        Ok(if problems.is_empty() { Done::Whole } else { Done::Partly })
    }

    fn options(self) -> Result<Options> {
        let query = self.filters.query(self.name);
        let paths: Vec<Vec<u8>> = self.paths.iter().map(|path| path.as_os_str().as_encoded_bytes().to_vec()).collect();
        let selection = match (paths.is_empty(), query.is_empty()) {
            (false, true) => Selection::Paths(paths),
            (true, false) => Selection::Assets(query),
            (true, true) => {
                return Err(Error::new(Kind::Invalid, "restore what?")
                    .hint("give paths (`shoebox ls latest` shows the tree), or --asset, --album, --user, --taken, --name, --person"));
            }
            (false, false) => {
                return Err(Error::new(Kind::Invalid, "paths and flags that select photos do not go together")
                    .hint("run it once with the paths and once with the flags"));
            }
        };
        let Args { to, snapshot, overwrite, dry_run, filters, .. } = self;
        Ok(Options { snapshot, selection, to, overwrite, dry_run, locked: filters.locked })
    }
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
    let restored = format!("{} ({})", plural(report.restored, "file", "files"), size(report.restored_bytes));
    let mut text = format!("restored {restored} of {} to {to}", report.snapshot);
    if report.already_there > 0 {
        text += &format!(", {} there already", count(report.already_there));
    }
    if report.left_out > 0 {
        text += &format!(", {} left out", count(report.left_out));
    }
    text
}
