//! `shoebox snapshots`

use jiff::tz::TimeZone;

use super::output::{Output, count, size};
use super::{Done, Global};
use crate::base::Result;
use crate::repo::SnapshotRecord;
use crate::task::snapshots::snapshots;

/// List the snapshots
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  shoebox snapshots --json | jq .id\n\nJSON: the snapshot record (see FORMAT.md), one a line, oldest first; the chunk lists are left out"
)]
pub(super) struct Args {
    /// The newest few only
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

impl Args {
    pub fn run(self, global: &Global, output: &Output) -> Result<Done> {
        let listed = snapshots(&global.open()?)?;
        output.problems(&listed.problems);
        let skip = self.last.map_or(0, |last| listed.records.len().saturating_sub(last));
        let records: Vec<_> = listed.records.into_iter().skip(skip).map(SnapshotRecord::without_chunks).collect();
        if records.is_empty() && !output.is_json() {
            output.note("no snapshot yet: `shoebox backup` makes one");
            return Ok(Done::Whole);
        }
        let heads = ["ID", "Time", "Immich", "Assets", "Albums", "Files", "Size", "New", "State"];
        output.table(&records, &heads, &[3, 4, 5, 6, 7], cells)?;
        Ok(if listed.problems.is_empty() { Done::Whole } else { Done::Partly })
    }
}

fn cells(record: &SnapshotRecord) -> Vec<String> {
    vec![
        record.id.to_string(),
        record.id.time().to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
        record.dump.immich.clone().unwrap_or_default(),
        count(record.census.assets),
        count(record.census.albums),
        count(record.files.files),
        size(record.files.bytes),
        size(record.archives.iter().map(|archive| archive.size).sum()),
        state(record),
    ]
}

fn state(record: &SnapshotRecord) -> String {
    let missing = record.completeness.missing + record.completeness.not_covered;
    match (record.is_good(), missing, record.completeness.unreadable) {
        (false, _, _) => "bad dump".to_owned(),
        (true, 0, 0) => "complete".to_owned(),
        (true, 0, unreadable) => format!("{} unreadable", count(unreadable)),
        (true, missing, _) => format!("{} without a file", count(missing)),
    }
}
