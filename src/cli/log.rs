//! `shoebox log`

use jiff::tz::TimeZone;

use super::diff::turned;
use super::output::{Output, printable, size};
use super::{Done, Global};
use crate::base::Result;
use crate::base::library::Visibility;
use crate::task::diff::Change;
use crate::task::log::{self, Event, History, Options};

/// Tell the history of one photo: when it came, what changed, when it was deleted
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// An id, a file name, or a path in the tree of any snapshot
    #[arg(value_name = "ASSET")]
    asset: String,
    /// Whose, where several have a file of that name: name, address or id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Locked ones too
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
    pub fn run(self, global: &Global, output: &Output) -> Result<Done> {
        let options = Options { asset: self.asset, user: self.user, locked: self.locked };
        let history = log::log(&global.open()?, &options)?;
        output.answer(&history, text(&history))?;
        Ok(Done::Whole)
    }
}

fn text(history: &History) -> String {
    let History { id, name, owner, taken, path, .. } = history;
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

fn event(event: &Event) -> Vec<String> {
    let time =
        event.snapshot.time().to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string();
    let line =
        |change: &Change| printable(&format!("{}  {time}  {}", event.snapshot, words(change)));
    event.changes.iter().map(line).collect()
}

fn words(change: &Change) -> String {
    let bytes =
        |bytes: &Option<u64>| bytes.map(|bytes| format!(" ({})", size(bytes))).unwrap_or_default();
    match change {
        Change::Added { size } => format!("first seen{}", bytes(size)),
        Change::Deleted { size } => format!("deleted{}", bytes(size)),
        Change::GivenBack { was } => format!("erased and uploaded again; it was {was}"),
        Change::Edited { from, to } => format!("other bytes: {} -> {}", size(*from), size(*to)),
        Change::Missing => "its file is missing".to_owned(),
        Change::Present { size: bytes } => format!("its file is there ({})", size(*bytes)),
        Change::Renamed { from, to } => format!("renamed: {from} -> {to}"),
        Change::Moved { from, to } => format!("moved on disk: files/{from} -> files/{to}"),
        Change::Trashed => "put into the trash".to_owned(),
        Change::Restored => "back from the trash".to_owned(),
        Change::Favorited => "made a favorite".to_owned(),
        Change::Unfavorited => "a favorite no more".to_owned(),
        Change::Shown { to: Visibility::Timeline, .. } => "back in the timeline".to_owned(),
        Change::Shown { to: Visibility::Archive, .. } => "archived".to_owned(),
        Change::Shown { to: Visibility::Hidden, .. } => "hidden".to_owned(),
        Change::Shown { to: Visibility::Locked, .. } => "locked".to_owned(),
        Change::Joined { album } => format!("put into the album \"{album}\""),
        Change::Left { album } => format!("taken out of the album \"{album}\""),
        Change::Tagged { tag } => format!("tagged \"{tag}\""),
        Change::Untagged { tag } => format!("no more tagged \"{tag}\""),
        Change::Recognised { person } => format!("{person} is in it"),
        Change::Unrecognised { person } => format!("{person} is not in it any more"),
        Change::Details { values, .. } => {
            let all: Vec<String> = values.iter().map(|(field, turn)| turned(field, turn)).collect();
            format!("changed: {}", all.join(", "))
        }
    }
}
