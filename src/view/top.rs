//! What lies above snapshots: the README, the snapshots by the local time at which they were taken,
//! and `latest`.
//!
//! A snapshot is called `2026-11-22 03.00`. A later one of the same minute, and one in the hour
//! that comes twice when summer time ends, has its seconds and its offset from UTC too:
//! `2026-11-22 03.00.41 +01`. So a name depends on no other snapshot but those of its minute, and
//! none is used twice.

use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::ino::{Ino, NodePlace, ROOT, SnapshotNode};
use super::state::{NamedSnapshot, ViewState};
use super::{FolderEntry, Node, View};
use crate::base::{Error, Result, SnapshotId};
use crate::catalog::Catalog;
use crate::catalog::query::snapshot::{self as ask, SnapshotRow};
use crate::immich;

const MINUTE: i64 = 60;

/// What `README.txt` says of every repository.
const README: &str = "\
This folder shows the snapshots of a photo library (Immich), read-only. Nothing here can be \
changed or deleted.

latest/                      the newest snapshot
snapshots/2026-11-22 03.00/  the library as it was at that time
  users/NAME/                one person's photos, under the names they were uploaded with
    by date/2024/2024-05/    by the month in which they were taken
    albums/                  the person's own albums and those shared with them
    favorites/ archived/ trash/ people/ tags/ stacks/
    deleted since/           what an earlier snapshot had and this one has not
  files/                     the same photos as they lie on the server's disk
  database/immich.sql        the whole database (it holds password hashes: only you can read it)

To get a photo back, copy it out of here. A live photo is two files with one name (IMG_1.HEIC and \
IMG_1.MOV);
a .xmp file holds what was written about the photo of the same name. Where two photos of a folder \
have the
same name, the later one has a few letters of its id in brackets.

A photo that was damaged on the backup disk cannot be opened (input/output error): it is never \
shown wrongly.
Photos of the locked folder are only shown when the backup was opened with --locked.
";

/// What `README.txt` says: also that the newest snapshot is of an Immich that is newer than this
/// shoebox.
pub(super) fn readme(state: &ViewState, db: &Catalog) -> Result<Arc<str>> {
    if let Some(known) = state.readme.get() {
        return Ok(known.clone());
    }
    let newer = immich::newer_than_known(ask::newest_schema(db)?.as_deref());
    let text = newer
        .map_or_else(|| README.to_owned(), |newer| format!("{README}\n{}\n", sentence(&newer)));
    Ok(state.readme.get_or_init(|| text.into()).clone())
}

/// The words with a capital letter and a stop.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).chain(['.']).collect()
}

/// The name of `snapshot`; `first` when no other was taken earlier in its minute.
fn name(snapshot: SnapshotRow, first: bool, zone: &TimeZone) -> String {
    let time = SnapshotId::from_seconds(snapshot.time)
        .map(SnapshotId::time)
        .unwrap_or_default()
        .to_zoned(zone.clone());
    let again = zone
        .to_ambiguous_timestamp(time.datetime())
        .earlier()
        .is_ok_and(|earlier| earlier < time.timestamp());
    let format = if first && !again { "%Y-%m-%d %H.%M" } else { "%Y-%m-%d %H.%M.%S" };
    let offset = if first && !again { String::new() } else { format!(" {}", time.offset()) };
    let flaw = if snapshot.good { "" } else { " (incomplete dump)" };
    format!("{}{}{flaw}", time.strftime(format), offset.replace(':', "."))
}

/// The name of one snapshot.
pub(super) fn name_of(db: &Catalog, snapshot: SnapshotRow, zone: &TimeZone) -> Result<String> {
    let minute = snapshot.time - snapshot.time.rem_euclid(MINUTE);
    let first = ask::snapshots(db, minute, snapshot.time)?.is_empty();
    Ok(name(snapshot, first, zone))
}

/// All snapshots with their names, oldest first.
pub(super) fn named<'a>(
    state: &'a ViewState,
    db: &Catalog,
    zone: &TimeZone,
) -> Result<&'a [NamedSnapshot]> {
    if let Some(known) = state.snapshots.get() {
        return Ok(known);
    }
    let all = ask::snapshots(db, i64::MIN, i64::MAX)?;
    let mut last = None;
    let name = |snapshot: SnapshotRow| {
        let minute = snapshot.time.div_euclid(MINUTE);
        let first = last.replace(minute) != Some(minute);
        NamedSnapshot { snapshot, name: name(snapshot, first, zone) }
    };
    let names = all.into_iter().map(name).collect();
    Ok(state.snapshots.get_or_init(|| names))
}

/// The snapshot called `text`, without looking at all of them: only at those of its minute.
fn by_name(db: &Catalog, text: &str, zone: &TimeZone) -> Result<Option<SnapshotRow>> {
    let Some(minute) = text
        .get(..16)
        .and_then(|head| jiff::civil::DateTime::strptime("%Y-%m-%d %H.%M", head).ok())
    else {
        return Ok(None);
    };
    let ambiguous = zone.to_ambiguous_timestamp(minute);
    let times = [ambiguous.earlier(), ambiguous.later()];
    for time in times.into_iter().flatten() {
        let from = time.as_second();
        for snapshot in ask::snapshots(db, from, from + MINUTE)? {
            if name_of(db, snapshot, zone)? == text {
                return Ok(Some(snapshot));
            }
        }
    }
    Ok(None)
}

impl View {
    /// Nanoseconds since 1970 of the newest snapshot: when the top of the tree last changed.
    pub(super) fn top_mtime(&self, db: &Catalog) -> Result<i64> {
        Ok(ask::newest_snapshot(db, false)?.map_or(0, |newest| nanoseconds(newest.time)))
    }

    pub(super) fn top_node(
        &self,
        state: &ViewState,
        db: &Catalog,
        place: NodePlace,
        ino: Ino,
    ) -> Result<Node> {
        let mtime = self.top_mtime(db)?;
        match place {
            NodePlace::Readme => Ok(Node::file(ino, readme(state, db)?.len() as u64, mtime)),
            NodePlace::Latest(number) => {
                Ok(Node::symlink(ino, self.latest_target(db, number)?.len() as u64, mtime))
            }
            // Who keeps a listing sees by the time that a snapshot was forgotten, too.
            _ => Ok(Node::folder(ino, state.generation.published())),
        }
    }

    /// Where `latest` points while the snapshot with `number` is the newest good one.
    pub(super) fn latest_target(&self, db: &Catalog, number: u16) -> Result<String> {
        let snapshot =
            ask::snapshot_by_number(db, number)?.ok_or_else(|| Error::not_found("snapshot"))?;
        Ok(format!("snapshots/{}", name_of(db, snapshot, &self.options.time_zone)?))
    }

    pub(super) fn root_child(
        &self,
        state: &ViewState,
        db: &Catalog,
        name: &[u8],
    ) -> Result<Option<Node>> {
        let place = match name {
            b"README.txt" => NodePlace::Readme,
            b"latest" => match ask::newest_snapshot(db, true)? {
                Some(newest) => NodePlace::Latest(newest.number),
                None => return Ok(None),
            },
            b"snapshots" => NodePlace::Snapshots,
            _ => return Ok(None),
        };
        match self.top_node(state, db, place, place.pack().unwrap_or(ROOT)) {
            Err(error) if error.kind() == crate::base::ErrorKind::NotFound => Ok(None),
            node => node.map(Some),
        }
    }

    pub(super) fn root_children(
        &self,
        state: &ViewState,
        db: &Catalog,
        after: u64,
        each: &mut dyn FnMut(FolderEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        for (index, name) in
            ["README.txt", "latest", "snapshots"].into_iter().enumerate().skip(after as usize)
        {
            let Some(node) = self.root_child(state, db, name.as_bytes())? else { continue };
            if each(FolderEntry { name: name.as_bytes(), cookie: index as u64 + 1, node })
                .is_break()
            {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn snapshot_child(&self, db: &Catalog, name: &[u8]) -> Result<Option<Node>> {
        let Ok(text) = std::str::from_utf8(name) else { return Ok(None) };
        Ok(by_name(db, text, &self.options.time_zone)?.and_then(snapshot_node))
    }

    pub(super) fn snapshot_children(
        &self,
        state: &ViewState,
        db: &Catalog,
        after: u64,
        each: &mut dyn FnMut(FolderEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let all = named(state, db, &self.options.time_zone)?;
        let rest = all.partition_point(|named| cookie(named.snapshot) <= after);
        for named in &all[rest..] {
            let Some(node) = snapshot_node(named.snapshot) else { continue };
            let cookie = cookie(named.snapshot);
            if each(FolderEntry { name: named.name.as_bytes(), cookie, node }).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The folder of the snapshot that `text` names: `latest`, its id (`2026-11-22T030005Z`), or
    /// what it is called in the tree.
    pub fn snapshot(&self, text: &str) -> Result<Node> {
        self.with(|_, db| {
            let found = match (text, text.parse::<SnapshotId>()) {
                ("latest", _) => ask::newest_snapshot(db, true)?,
                (_, Ok(id)) => ask::snapshots(db, id.seconds(), id.seconds() + 1)?.first().copied(),
                _ => by_name(db, text, &self.options.time_zone)?,
            };
            found.and_then(snapshot_node).ok_or_else(|| {
                Error::not_found(format_args!("snapshot `{text}`"))
                    .hint("`shoebox snapshots` lists them")
            })
        })
    }
}

/// Where a listing goes on after `snapshot`. By its time: one of the past may come in before those
/// that there are. Seconds since the year -9999, before which there are no timestamps.
fn cookie(snapshot: SnapshotRow) -> u64 {
    snapshot.time.saturating_sub(jiff::Timestamp::MIN.as_second()).max(0).unsigned_abs() + 1
}

fn snapshot_node(snapshot: SnapshotRow) -> Option<Node> {
    Some(Node::folder(
        NodePlace::In(snapshot.number, SnapshotNode::Top).pack()?,
        nanoseconds(snapshot.time),
    ))
}

pub(super) fn nanoseconds(seconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, good: bool) -> SnapshotRow {
        SnapshotRow { time: text.parse::<SnapshotId>().unwrap().seconds(), number: 1, good }
    }

    #[test]
    fn a_snapshot_is_called_by_its_local_time() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(name(at("2026-11-22T030005Z", true), true, &zone), "2026-11-22 04.00");
        assert_eq!(name(at("2026-11-22T030041Z", true), false, &zone), "2026-11-22 04.00.41 +01");
        assert_eq!(
            name(at("2026-11-22T030005Z", false), true, &zone),
            "2026-11-22 04.00 (incomplete dump)"
        );
    }

    #[test]
    fn the_hour_that_comes_twice_gives_two_names() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(name(at("2026-10-25T003000Z", true), true, &zone), "2026-10-25 02.30");
        assert_eq!(name(at("2026-10-25T013000Z", true), true, &zone), "2026-10-25 02.30.00 +01");
    }
}
