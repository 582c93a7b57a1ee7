//! `shoebox diff`

use serde::Serialize;
use serde_json::Value;

use super::output::{Output, count, plural, printable, size};
use super::{CommandOutcome, GlobalArgs};
use crate::base::Result;
use crate::task::diff::{
    self, AssetChange, DiffSummary, FieldChange, OldNew, Options, SnapshotDiff,
};

/// Compare two snapshots: photos, albums, people, tags and files
///
/// Photos are matched by their ids in Immich and by their bytes: one that moved on disk is the same
/// photo.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The snapshot that is compared: an id, a name in the mount, or `latest`
    old: String,
    /// The snapshot that it is compared with
    #[arg(default_value = "latest")]
    new: String,
    /// Only what belongs to this person: name, address or id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Include locked photos
    #[arg(long)]
    locked: bool,
}

const EXAMPLES: &str = "\
Marks of photos (several may appear together):
  +  added              T  put into the trash      V  moved on disk (listed with -v, else only \
  counted)
  -  deleted            U  back from the trash     A  archived     S  back in the timeline, or \
  locked
  M  other bytes        F  made a favorite         D  dates, places, description, rating or the like
  R  renamed            f  a favorite no more      !  its file is missing    P  its file is there \
  again
  N  erased and uploaded again: the same photo with a new id
A detail that changed alike on many photos, such as a country that Immich calls otherwise now, is \
one line; -v lists each photo.
Marks of albums, people, tags, accounts and files: + - R as above; M changed.

Examples:
  shoebox diff 2026-11-21T030005Z
  shoebox diff '2026-11-01 03.00' latest --user 'Ann Lee'
  shoebox diff 2026-11-21T030005Z --json | jq 'select(.kind == \"asset\" and .changes[].change == \
  \"deleted\") | .path'

JSON: one object a change: {\"kind\": \"asset\", \"id\", \"owner\", \"name\", \"path\", \
\"changes\": [{\"change\", …}]} (of details: \"values\": {FIELD: {\"from\", \"to\"}}), {\"kind\": \
\"album\", \"id\", \"what\", \"name\",
\"from\", \"joined\", \"left\"}, {\"kind\": \"person\"|\"tag\"|\"user\", \"id\", \"what\", \
\"name\", \"from\"}, {\"kind\": \"file\", \"what\", \"path\", \"from\", \"size\"}; the last is
{\"kind\": \"summary\", \"old\", \"new\", \"added\", \"added_bytes\", \"deleted\", …}. \"what\": \
added|deleted|renamed|changed";

/// A line of JSON with its kind.
#[derive(Serialize)]
struct KindedLine<'a, T: Serialize> {
    kind: &'static str,
    #[serde(flatten)]
    what: &'a T,
}

#[derive(Serialize)]
struct DiffTotal<'a> {
    old: crate::base::SnapshotId,
    new: crate::base::SnapshotId,
    #[serde(flatten)]
    summary: &'a DiffSummary,
}

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let moves = global.verbose > 0 || output.is_json();
        let options =
            Options { old: self.old, new: self.new, user: self.user, moves, locked: self.locked };
        let diff = diff::diff(&global.open()?, &options)?;
        if output.is_json() {
            json(&diff, output)?
        } else {
            text(&diff, moves, output)?
        }
        Ok(CommandOutcome::Whole)
    }
}

fn json(diff: &SnapshotDiff, output: &Output) -> Result<()> {
    let SnapshotDiff { old, new, summary, .. } = diff;
    diff.assets
        .iter()
        .try_for_each(|what| output.answer(&KindedLine { kind: "asset", what }, ""))?;
    diff.albums
        .iter()
        .try_for_each(|what| output.answer(&KindedLine { kind: "album", what }, ""))?;
    diff.things.iter().try_for_each(|what| output.answer(what, ""))?;
    diff.files.iter().try_for_each(|what| output.answer(&KindedLine { kind: "file", what }, ""))?;
    output.answer(
        &KindedLine { kind: "summary", what: &DiffTotal { old: *old, new: *new, summary } },
        "",
    )
}

fn text(diff: &SnapshotDiff, verbose: bool, output: &Output) -> Result<()> {
    let line = |marks: &str, what: &str| {
        output.bytes(format!("{marks:<3} {}\n", printable(what)).as_bytes())
    };
    output.note(format_args!("comparing {} with {}", diff.old, diff.new));
    let alike = if verbose { &[][..] } else { &diff.alike };
    for asset in &diff.assets {
        let changes = asset.besides(alike);
        let marks: String = changes.iter().map(FieldChange::mark).collect();
        if !changes.is_empty() {
            line(&marks, &describe(asset, &changes))?;
        }
    }
    for one in alike {
        line(
            "D",
            &format!(
                "{}, {}",
                turned(&one.field, &one.turn),
                plural(one.photos, "photo", "photos")
            ),
        )?;
    }
    for album in &diff.albums {
        let members = match (album.joined, album.left) {
            (0, 0) => String::new(),
            (joined, left) => format!("  +{} -{}", count(joined), count(left)),
        };
        line(
            &album.what.mark().to_string(),
            &format!("album {}{members}", called(&album.name, album.from.as_deref())),
        )?;
    }
    for thing in &diff.things {
        let what = format!("{} {}", thing.sort, called(&thing.name, thing.from.as_deref()));
        line(&thing.what.mark().to_string(), &what)?;
    }
    for file in &diff.files {
        let from = file.from.as_ref().map(|from| format!("{from} -> ")).unwrap_or_default();
        line(&file.what.mark().to_string(), &format!("{from}{}  {}", file.path, size(file.size)))?;
    }
    summary(&diff.summary).iter().try_for_each(|text| output.bytes(format!("{text}\n").as_bytes()))
}

fn called(name: &str, from: Option<&str>) -> String {
    match from {
        Some(from) => format!("\"{from}\" -> \"{name}\""),
        None => format!("\"{name}\""),
    }
}

/// What a field was and is.
pub(super) fn turned(field: &str, turn: &OldNew) -> String {
    let shown = |value: &Value| match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) if text.chars().count() > LONGEST => {
            text.chars().take(LONGEST).chain(['…']).collect()
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("{field}: {} → {}", shown(&turn.from), shown(&turn.to))
}

/// Characters of a value that are shown: a description may be a page.
const LONGEST: usize = 60;

fn describe(asset: &AssetChange, changes: &[FieldChange]) -> String {
    let path = asset
        .path
        .clone()
        .unwrap_or_else(|| format!("{} of {} (no file)", asset.name, asset.owner));
    changes.iter().filter_map(more).fold(path, |text, more| format!("{text}  {more}"))
}

/// What a mark does not say.
fn more(change: &FieldChange) -> Option<String> {
    Some(match change {
        FieldChange::Added { size: Some(bytes) } | FieldChange::Deleted { size: Some(bytes) } => {
            size(*bytes)
        }
        FieldChange::GivenBack { was } => format!("was {was}"),
        FieldChange::Edited { from, to } => format!("{} -> {}", size(*from), size(*to)),
        FieldChange::Renamed { from, .. } => format!("was {from}"),
        FieldChange::Moved { from, to } => format!("files/{from} -> files/{to}"),
        FieldChange::Details { fields, .. } => format!("({})", fields.join(", ")),
        _ => return None,
    })
}

fn summary(all: &DiffSummary) -> Vec<String> {
    if all.is_empty() {
        return vec!["no change".to_owned()];
    }
    let with_bytes = |number: u64, what: &str, bytes: u64| {
        format!("{} {what} ({})", plural(number, "asset", "assets"), size(bytes))
    };
    let counts = [
        (all.given_back, "erased and uploaded again"),
        (all.edited, "with other bytes"),
        (all.trashed, "put into the trash"),
        (all.restored, "back from the trash"),
        (all.moved, "moved on disk"),
        (all.changed, "changed otherwise"),
    ];
    let mut lines = Vec::new();
    if all.added > 0 {
        lines.push(with_bytes(all.added, "added", all.added_bytes));
    }
    if all.deleted > 0 {
        lines.push(with_bytes(all.deleted, "deleted", all.deleted_bytes));
    }
    let told = counts.into_iter().filter(|(number, _)| *number > 0);
    lines
        .extend(told.map(|(number, what)| format!("{} {what}", plural(number, "asset", "assets"))));
    let others = [
        (all.albums, "album", "albums"),
        (all.things, "person, tag or account", "people, tags or accounts"),
        (all.files, "file without an asset", "files without an asset"),
    ];
    let told = others.into_iter().filter(|(number, _, _)| *number > 0);
    lines.extend(told.map(|(number, one, many)| format!("{} changed", plural(number, one, many))));
    lines
}
