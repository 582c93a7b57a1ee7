//! `shoebox ls`

use std::ops::ControlFlow;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::find::mark;
use super::output::{Output, plural, printable, size};
use super::{CommandOutcome, GlobalArgs};
use crate::base::{Error, ErrorKind, Result};
use crate::task::open::{find_snapshot, open_view};
use crate::view::{self, Node, NodeKind, OnDisk, ROOT, View};

/// List a folder of a snapshot, or the snapshots' folders
///
/// The tree is the one that `shoebox mount` shows.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shoebox ls
  shoebox ls latest 'users/Ann Lee/albums'
  shoebox ls 2026-11-22T030005Z files/library

JSON: {\"name\", \"kind\": file|folder|symlink, \"size\": bytes, \"time\": RFC 3339, \"mode\": \
bits, \"disk\": changed|missing where the server's
disk had the photo not as it was uploaded}; names that are not UTF-8 have \"name_hex\" too")]
pub(super) struct Args {
    /// The snapshot: an id, a name in the mount, or `latest`
    snapshot: Option<String>,
    /// A path in it
    path: Option<PathBuf>,
    /// Show sizes and times
    #[arg(short, long)]
    long: bool,
    /// Show locked assets
    #[arg(long)]
    locked: bool,
    /// Only this person's tree: name, address or id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

#[derive(Debug, Serialize)]
struct EntryRow {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    kind: &'static str,
    size: u64,
    time: Timestamp,
    mode: u16,
    #[serde(skip_serializing_if = "is_same")]
    disk: OnDisk,
}

fn is_same(disk: &OnDisk) -> bool {
    *disk == OnDisk::Same
}

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let options = view::Options {
            locked: self.locked,
            user: self.user.clone(),
            ..view::Options::default()
        };
        let view = open_view(&global.open()?, options)?;
        let rows = list(&view, self.folder(&view)?)?;
        if self.long && !output.is_json() {
            output.table(&rows, &["Size", "Time", "Name"], &[0], long)?
        } else {
            rows.iter().try_for_each(|row| output.answer(row, short(row)))?
        }
        let strange = rows.iter().filter(|row| !is_same(&row.disk)).count() as u64;
        if strange > 0 {
            let photos = plural(strange, "photo was", "photos were");
            output.note(format_args!(
                "{photos} not on the server's disk as uploaded: -l marks them, `shoebox audit` \
                    shows more"
            ));
        }
        Ok(CommandOutcome::Whole)
    }

    fn folder(&self, view: &View) -> Result<Node> {
        let Some(snapshot) = &self.snapshot else { return view.resolve(ROOT, b"snapshots") };
        let top = find_snapshot(view, snapshot)?.1;
        match &self.path {
            Some(path) => view.resolve(top.ino, path.as_os_str().as_encoded_bytes()),
            None => Ok(top),
        }
    }
}

fn list(view: &View, node: Node) -> Result<Vec<EntryRow>> {
    if node.kind != NodeKind::Folder {
        return Err(Error::new(ErrorKind::Invalid, "that is a file, not a folder")
            .hint("`shoebox restore --to DIR PATH` copies it out"));
    }
    let mut rows = Vec::new();
    view.children(node.ino, 0, &mut |entry| {
        rows.push((entry.node.ino, row(entry.name, &entry.node)));
        ControlFlow::Continue(())
    })?;
    rows.into_iter().map(|(ino, row)| Ok(EntryRow { disk: view.on_disk(ino)?, ..row })).collect()
}

fn row(name: &[u8], node: &Node) -> EntryRow {
    EntryRow {
        name: String::from_utf8_lossy(name).into_owned(),
        name_hex: std::str::from_utf8(name).is_err().then(|| hex::encode(name)),
        kind: match node.kind {
            NodeKind::File => "file",
            NodeKind::Folder => "folder",
            NodeKind::Symlink => "symlink",
        },
        size: node.size,
        time: Timestamp::from_nanosecond(node.mtime_ns.into()).unwrap_or(Timestamp::UNIX_EPOCH),
        mode: node.mode,
        disk: OnDisk::Same,
    }
}

fn short(row: &EntryRow) -> String {
    let slash = if row.kind == "folder" { "/" } else { "" };
    format!("{}{slash}", printable(&row.name))
}

fn long(row: &EntryRow) -> Vec<String> {
    let time = row.time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string();
    let size = if row.kind == "file" { size(row.size) } else { String::new() };
    vec![size, time, short(row) + mark(row.disk)]
}
