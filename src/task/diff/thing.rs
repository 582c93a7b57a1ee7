//! Albums, people, tags and accounts that changed.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::DiffWork;
use crate::base::{Error, Result};
use crate::catalog::ImmichId;
use crate::catalog::query::history::{self as ask, RecordKind, RecordVersion};

/// What happened to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThingEvent {
    Added,
    Deleted,
    Renamed,
    /// Anything else about it; of an album: its members.
    Changed,
}

impl ThingEvent {
    /// The letter that `diff` puts in front.
    pub fn mark(self) -> char {
        match self {
            ThingEvent::Added => '+',
            ThingEvent::Deleted => '-',
            ThingEvent::Renamed => 'R',
            ThingEvent::Changed => 'M',
        }
    }
}

/// An album that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlbumChange {
    pub id: Uuid,
    pub what: ThingEvent,
    pub name: String,
    /// What it was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Assets that it holds now and did not.
    pub joined: u64,
    /// Assets that it held and does not now.
    pub left: u64,
}

/// A person, tag or account that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThingChange {
    /// `person`, `tag` or `user`.
    #[serde(rename = "kind")]
    pub sort: &'static str,
    pub id: Uuid,
    pub what: ThingEvent,
    pub name: String,
    /// What it was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Old and new record of one id.
type RecordPair = (Option<Map<String, Value>>, Option<Map<String, Value>>);

impl DiffWork<'_> {
    pub(super) fn albums(&self) -> Result<Vec<AlbumChange>> {
        let db = &self.finder.db;
        let both = self.records(RecordKind::Album)?;
        let mut changed: BTreeMap<ImmichId, AlbumChange> = BTreeMap::new();
        for (id, (old, new)) in both {
            let Some((what, name, from)) = told(old, new, "name") else { continue };
            changed.insert(
                id,
                AlbumChange { id: Uuid::from_bytes(id), what, name, from, joined: 0, left: 0 },
            );
        }
        for (id, joined, left) in self.members()? {
            let new = db.night(self.pair.new).album_name(&id)?;
            let Some(name) =
                new.map_or_else(|| db.night(self.pair.old).album_name(&id), |name| Ok(Some(name)))?
            else {
                continue;
            };
            let entry = changed.entry(id).or_insert_with(|| AlbumChange {
                id: Uuid::from_bytes(id),
                what: ThingEvent::Changed,
                name,
                from: None,
                joined: 0,
                left: 0,
            });
            (entry.joined, entry.left) = (joined, left);
        }
        let mut shown = Vec::new();
        for (id, change) in changed {
            if self.sees(&id)? {
                shown.push(change);
            }
        }
        shown.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(shown)
    }

    fn sees(&self, album: &ImmichId) -> Result<bool> {
        let Some(user) = self.user else { return Ok(true) };
        let sees = |at| self.finder.night(at).sees_album(album, &user);
        Ok(sees(self.pair.old)? || sees(self.pair.new)?)
    }

    /// Albums with how many assets joined and left.
    fn members(&self) -> Result<Vec<(ImmichId, u64, u64)>> {
        let (old, new) = ask::memberships(&self.finder.db, self.pair)?;
        let mut counts: HashMap<ImmichId, (u64, u64)> = HashMap::new();
        // A row that ended and began again is no change.
        let both: std::collections::HashSet<_> = old.iter().copied().collect();
        let now: std::collections::HashSet<_> = new.iter().copied().collect();
        for (album, asset) in now.difference(&both) {
            if self.may_tell(asset)? {
                counts.entry(*album).or_default().0 += 1;
            }
        }
        for (album, asset) in both.difference(&now) {
            if self.may_tell(asset)? {
                counts.entry(*album).or_default().1 += 1;
            }
        }
        Ok(counts.into_iter().map(|(album, (joined, left))| (album, joined, left)).collect())
    }

    fn may_tell(&self, asset: &ImmichId) -> Result<bool> {
        let locked = |at| {
            Ok::<_, Error>(
                self.finder.night(at).owner_and_lock(asset)?.is_some_and(|(_, locked)| locked),
            )
        };
        Ok(self.options.locked || !(locked(self.pair.old)? || locked(self.pair.new)?))
    }

    /// People, tags and accounts.
    pub(super) fn things(&self) -> Result<Vec<ThingChange>> {
        let mut all = Vec::new();
        for (kind, sort, field, owner) in [
            (RecordKind::User, "user", "name", "id"),
            (RecordKind::Person, "person", "name", "owner"),
            (RecordKind::Tag, "tag", "value", "owner"),
        ] {
            for (id, (old, new)) in self.records(kind)? {
                let belongs = |record: &Map<String, Value>| {
                    self.user.is_none_or(|user| is_id(record.get(owner), &user))
                };
                if !old.iter().chain(&new).all(belongs) {
                    continue;
                }
                let Some((what, name, from)) = told(old, new, field) else { continue };
                all.push(ThingChange { sort, id: Uuid::from_bytes(id), what, name, from });
            }
        }
        Ok(all)
    }

    fn records(&self, kind: RecordKind) -> Result<BTreeMap<ImmichId, RecordPair>> {
        let (old, new) = ask::records(&self.finder.db, kind, self.pair)?;
        let mut both: BTreeMap<ImmichId, RecordPair> = BTreeMap::new();
        for line in old {
            both.entry(line.id).or_default().0 = Some(parse(&line)?);
        }
        for line in new {
            both.entry(line.id).or_default().1 = Some(parse(&line)?);
        }
        Ok(both)
    }
}

fn parse(line: &RecordVersion) -> Result<Map<String, Value>> {
    serde_json::from_str(&line.line)
        .map_err(|error| Error::damaged("a record of the catalog").caused_by(error))
}

fn is_id(value: Option<&Value>, id: &ImmichId) -> bool {
    value
        .and_then(Value::as_str)
        .and_then(|text| Uuid::parse_str(text).ok())
        .is_some_and(|found| found.as_bytes() == id)
}

/// What happened, the name, and the name before.
fn told(
    old: Option<Map<String, Value>>,
    new: Option<Map<String, Value>>,
    field: &str,
) -> Option<(ThingEvent, String, Option<String>)> {
    let name = |record: &Map<String, Value>| {
        record.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    match (old, new) {
        (None, Some(new)) => Some((ThingEvent::Added, name(&new), None)),
        (Some(old), None) => Some((ThingEvent::Deleted, name(&old), None)),
        (Some(old), Some(new)) if name(&old) != name(&new) => {
            Some((ThingEvent::Renamed, name(&new), Some(name(&old))))
        }
        (Some(old), Some(new)) if old != new => Some((ThingEvent::Changed, name(&new), None)),
        _ => None,
    }
}
