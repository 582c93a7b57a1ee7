//! The history of one asset over all snapshots: when it came, each change, and when it went.
//!
//! An asset is named by its id, by its file name, or by a path in the tree of any snapshot
//! (`users/…`, `files/…`). Bad snapshots do not count. An asset that is locked now has no history
//! unless locked ones are asked for; the times when it was locked are left out.

use jiff::civil::DateTime;
use serde::Serialize;
use uuid::Uuid;

use super::diff::{AssetState, FieldChange, compare};
use super::find::{AssetFinder, FindHit, FindQuery, FindSpan};
use super::open::find_snapshot;
use crate::base::{Error, ErrorKind, Result, SnapshotId};
use crate::catalog::ImmichId;
use crate::catalog::query::history::{self as ask, AssetContent, TimeRange};
use crate::repo::Repository;
use crate::view::Ino;
use crate::view::ino::{NodePlace, SnapshotNode};

/// Assets that are offered where a name means several.
const OFFERED: usize = 8;

/// Which asset.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Id, file name or path.
    pub asset: String,
    /// Of whom, where several have such a file.
    pub user: Option<String>,
    pub locked: bool,
}

/// What happened to an asset.
#[derive(Debug, Clone, Serialize)]
pub struct AssetHistory {
    pub id: Uuid,
    pub name: String,
    pub owner: String,
    pub taken: DateTime,
    /// Where the tree shows it: in the newest snapshot that has it.
    pub path: Option<String>,
    pub first: SnapshotId,
    pub last: SnapshotId,
    /// The newest snapshot has it no more.
    pub deleted: bool,
    /// Oldest first; the first says that it was added.
    pub events: Vec<HistoryEvent>,
}

/// What was different in a snapshot from the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryEvent {
    pub snapshot: SnapshotId,
    pub changes: Vec<FieldChange>,
}

/// The history of the asset that `options` name.
pub fn log(repository: &Repository, options: &Options) -> Result<AssetHistory> {
    let finder = AssetFinder::open(repository, options.locked)?;
    let hit = find(&finder, options)?;
    let events = AssetPast::of(&finder, &hit.id().into_bytes(), options.locked)?.events()?;
    let range = hit.range.ok_or_else(|| Error::not_found("asset"))?;
    let path = finder.places().shown(&hit)?.map(|shown| shown.path);
    Ok(AssetHistory {
        id: hit.id(),
        name: hit.name().to_owned(),
        owner: finder.owner(&hit)?,
        taken: hit.taken(),
        path,
        first: range.first,
        last: range.last,
        deleted: range.deleted,
        events,
    })
}

fn find(finder: &AssetFinder, options: &Options) -> Result<FindHit> {
    let text = options.asset.trim_end_matches('/');
    let missing = || {
        Error::not_found(format_args!("asset `{text}`")).hint(
            "give an id, a file name or a path in the tree; `shoebox find --all-snapshots` \
                finds them",
        )
    };
    let users = options.user.iter().cloned().collect();
    let mut query = FindQuery { users, locked: options.locked, ..FindQuery::default() };
    match (Uuid::parse_str(text), text.contains('/')) {
        (Ok(id), _) => query.assets = vec![id],
        (_, true) => query.assets = vec![at_path(finder, text)?.ok_or_else(missing)?],
        _ => query.names = vec![text.to_owned()],
    }
    let mut hits = finder.find(&query, &FindSpan::All)?;
    if hits.iter().any(|hit| hit.name() == text) {
        hits.retain(|hit| hit.name() == text);
    }
    match (hits.pop(), hits.len()) {
        (Some(hit), 0) => Ok(hit),
        (Some(last), _) => {
            hits.push(last);
            Err(several(finder, text, &hits)?)
        }
        (None, _) => Err(missing()),
    }
}

fn several(finder: &AssetFinder, text: &str, hits: &[FindHit]) -> Result<Error> {
    let shown: Vec<String> = hits
        .iter()
        .take(OFFERED)
        .map(|hit| {
            Ok(format!(
                "{} ({}, {}, {})",
                hit.id(),
                hit.name(),
                finder.owner(hit)?,
                hit.taken().date()
            ))
        })
        .collect::<Result<_>>()?;
    let more = if hits.len() > OFFERED {
        format!(" and {} more", hits.len() - OFFERED)
    } else {
        String::new()
    };
    Ok(Error::new(ErrorKind::Invalid, format_args!("`{text}` means several assets"))
        .hint(format_args!("use an id or a path: {}{more}", shown.join(", "))))
}

/// The asset at a path in the tree: of the snapshot that it names, else of the newest that has it.
fn at_path(finder: &AssetFinder, text: &str) -> Result<Option<Uuid>> {
    let path = text.trim_start_matches('/');
    let named = path.strip_prefix("snapshots/").and_then(|rest| rest.split_once('/'));
    if let Some((snapshot, rest)) =
        named.or_else(|| Some(("latest", path.strip_prefix("latest/")?)))
    {
        return in_snapshot(finder, find_snapshot(&finder.view, snapshot)?.1.ino, rest);
    }
    for time in finder.times.iter().rev() {
        let top = finder.view.snapshot(&SnapshotId::from_seconds(*time)?.to_string())?;
        if let Some(found) = in_snapshot(finder, top.ino, path)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn in_snapshot(finder: &AssetFinder, top: Ino, path: &str) -> Result<Option<Uuid>> {
    let node = match finder.view.resolve(top, path.as_bytes()) {
        Ok(node) => node,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    match NodePlace::unpack(node.ino) {
        Some(NodePlace::In(_, SnapshotNode::File(row))) => {
            Ok(ask::asset_of_file(&finder.db, row)?.map(Uuid::from_bytes))
        }
        _ => Ok(finder.view.asset(node.ino)?.map(|asset| asset.id)),
    }
}

/// Everything that ever held of one asset.
struct AssetPast<'a> {
    finder: &'a AssetFinder,
    locked: bool,
    versions: Vec<TimeRange<(u64, String, bool)>>,
    contents: Vec<TimeRange<AssetContent>>,
    albums: Vec<TimeRange<(ImmichId, String)>>,
    tags: Vec<TimeRange<(ImmichId, String)>>,
    people: Vec<TimeRange<(ImmichId, String)>>,
}

impl<'a> AssetPast<'a> {
    fn of(finder: &'a AssetFinder, id: &ImmichId, locked: bool) -> Result<AssetPast<'a>> {
        let db = &finder.db;
        Ok(AssetPast {
            finder,
            locked,
            versions: ask::versions(db, id)?,
            contents: ask::contents(db, id)?,
            albums: ask::ties(db, ask::RecordKind::Album, id)?,
            tags: ask::ties(db, ask::RecordKind::Tag, id)?,
            people: ask::ties(db, ask::RecordKind::Person, id)?,
        })
    }

    fn events(&self) -> Result<Vec<HistoryEvent>> {
        let mut events = Vec::new();
        let mut before: Option<AssetState> = None;
        for time in self.edges() {
            let version = at(&self.versions, time).next();
            if version.is_some_and(|(_, _, locked)| *locked && !self.locked) {
                continue;
            }
            let now = version.map(|(_, line, _)| self.state(line, time)).transpose()?;
            let changes = compare(before.as_ref(), now.as_ref());
            if !changes.is_empty() {
                events.push(HistoryEvent { snapshot: SnapshotId::from_seconds(time)?, changes });
            }
            before = now;
        }
        Ok(events)
    }

    fn state(&self, line: &str, time: i64) -> Result<AssetState> {
        let names = |held: &[TimeRange<(ImmichId, String)>]| {
            let mut names: Vec<String> = at(held, time).map(|(_, name)| name.clone()).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let mut state = AssetState::new(line, at(&self.contents, time).next().copied())?;
        (state.albums, state.tags, state.people) =
            (names(&self.albums), names(&self.tags), names(&self.people));
        Ok(state)
    }

    /// The snapshots in which something may differ from the one before.
    fn edges(&self) -> Vec<i64> {
        let mut edges = Vec::new();
        let ties = [&self.albums, &self.tags, &self.people].into_iter().flatten();
        let ranges = ties.map(|held| (held.since, held.until));
        let ranges = ranges.chain(self.versions.iter().map(|held| (held.since, held.until)));
        let ranges = ranges.chain(self.contents.iter().map(|held| (held.since, held.until)));
        let times = &self.finder.times;
        for edge in ranges.flat_map(|(since, until)| [since, until]) {
            edges.extend(times.get(times.partition_point(|time| *time < edge)));
        }
        edges.sort_unstable();
        edges.dedup();
        edges
    }
}

/// What held at `time`.
fn at<T>(all: &[TimeRange<T>], time: i64) -> impl Iterator<Item = &T> {
    all.iter().filter(move |held| held.since <= time && held.until > time).map(|held| &held.what)
}
