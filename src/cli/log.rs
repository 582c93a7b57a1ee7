//! `shoebox log`

use jiff::tz::TimeZone;

use super::diff::turned;
use super::output::{Output, printable, size};
use super::{CommandOutcome, GlobalArgs};
use crate::base::Result;
use crate::base::library::Visibility;
use crate::task::diff::FieldChange;
use crate::task::log::{self, AssetHistory, HistoryEvent, Options};

/// Show one photo's history: when it came, what changed, when it was deleted
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// An id, a file name, or a path in the tree of any snapshot
    #[arg(value_name = "ASSET")]
    asset: String,
    /// The owner, if several have a file of that name: name, address or id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Include locked photos
    #[arg(long)]
    locked: bool,
}

const EXAMPLES: &str = "\
Examples:
  shoebox log 'users/Ann Lee/by date/2024/2024-05/IMG_0001.HEIC'
  shoebox log files/library/admin/2024/2024-05-01/IMG_0001.heic
  shoebox log IMG_0001.HEIC --user 'Ann Lee'
  shoebox log 5b1d8f0e-0e6c-4c4f-9d55-0b6f2b9b6a52 --json

JSON: {\"id\", \"name\", \"owner\", \"taken\", \"path\", \"first\", \"last\": snapshots, \
\"deleted\", \"events\": [{\"snapshot\", \"changes\": [{\"change\", …}]}]};
\"change\" is added, deleted, edited, missing, present, renamed, moved, trashed, restored, \
favorited, unfavorited, shown, joined,
left, tagged, untagged, recognised, unrecognised or details";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let options = Options { asset: self.asset, user: self.user, locked: self.locked };
        let history = log::log(&global.open()?, &options)?;
        output.answer(&history, text(&history))?;
        Ok(CommandOutcome::Whole)
    }
}

fn text(history: &AssetHistory) -> String {
    let AssetHistory { id, name, owner, taken, path, .. } = history;
    let mut lines = vec![
        printable(&format!("{name}  {owner}, taken {}", taken.strftime("%Y-%m-%d %H:%M:%S"))),
        format!("id    {id}"),
    ];
    if let Some(path) = path {
        let when = if history.deleted { format!("  (in {})", history.last) } else { String::new() };
        lines.push(format!("path  {}{when}", printable(path)));
    }
    lines.extend(history.events.iter().flat_map(event));
    if history.deleted {
        lines.push(format!(
            "`shoebox restore --to DIR --snapshot {} --asset {id}` brings it back",
            history.last
        ))
    } else {
        lines.push(format!("still there in {}", history.last))
    }
    lines.join("\n")
}

fn event(event: &HistoryEvent) -> Vec<String> {
    let time =
        event.snapshot.time().to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string();
    let line =
        |change: &FieldChange| printable(&format!("{}  {time}  {}", event.snapshot, words(change)));
    event.changes.iter().map(line).collect()
}

fn words(change: &FieldChange) -> String {
    let bytes =
        |bytes: &Option<u64>| bytes.map(|bytes| format!(" ({})", size(bytes))).unwrap_or_default();
    match change {
        FieldChange::Added { size } => format!("first seen{}", bytes(size)),
        FieldChange::Deleted { size } => format!("deleted{}", bytes(size)),
        FieldChange::GivenBack { was } => format!("erased and uploaded again; it was {was}"),
        FieldChange::Edited { from, to } => {
            format!("other bytes: {} -> {}", size(*from), size(*to))
        }
        FieldChange::Missing => "its file is missing".to_owned(),
        FieldChange::Present { size: bytes } => format!("its file is there ({})", size(*bytes)),
        FieldChange::Renamed { from, to } => format!("renamed: {from} -> {to}"),
        FieldChange::Moved { from, to } => format!("moved on disk: files/{from} -> files/{to}"),
        FieldChange::Trashed => "put into the trash".to_owned(),
        FieldChange::Restored => "back from the trash".to_owned(),
        FieldChange::Favorited => "made a favorite".to_owned(),
        FieldChange::Unfavorited => "a favorite no more".to_owned(),
        FieldChange::Shown { to: Visibility::Timeline, .. } => "back in the timeline".to_owned(),
        FieldChange::Shown { to: Visibility::Archive, .. } => "archived".to_owned(),
        FieldChange::Shown { to: Visibility::Hidden, .. } => "hidden".to_owned(),
        FieldChange::Shown { to: Visibility::Locked, .. } => "locked".to_owned(),
        FieldChange::Joined { album } => format!("put into the album \"{album}\""),
        FieldChange::Left { album } => format!("taken out of the album \"{album}\""),
        FieldChange::Tagged { tag } => format!("tagged \"{tag}\""),
        FieldChange::Untagged { tag } => format!("no more tagged \"{tag}\""),
        FieldChange::Recognised { person } => format!("{person} is in it"),
        FieldChange::Unrecognised { person } => format!("{person} is not in it any more"),
        FieldChange::Details { values, .. } => {
            let all: Vec<String> = values.iter().map(|(field, turn)| turned(field, turn)).collect();
            format!("changed: {}", all.join(", "))
        }
    }
}
