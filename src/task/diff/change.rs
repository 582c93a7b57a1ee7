//! What can change about an asset from one snapshot to another, and finding it out.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::base::library::Visibility;
use crate::base::{Error, Result};
use crate::catalog::query::history::Content;

/// One change of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added { size: Option<u64> },
    /// It is gone, from the trash too.
    Deleted { size: Option<u64> },
    /// It was erased, and the same bytes were uploaded again by the same owner: it has a new id.
    GivenBack { was: Uuid },
    /// Other bytes.
    Edited { from: u64, to: u64 },
    /// Its file is not in the snapshot any more, while the asset is.
    Missing,
    /// Its file is in the snapshot now.
    Present { size: u64 },
    /// Another name in Immich.
    Renamed { from: String, to: String },
    /// The same bytes at another place on disk.
    Moved { from: String, to: String },
    /// Put into the trash.
    Trashed,
    /// Taken out of the trash.
    Restored,
    /// Marked as a favorite.
    Favorited,
    /// Marked as a favorite no more.
    Unfavorited,
    /// Archived, locked, hidden, or back in the timeline.
    Shown { from: Visibility, to: Visibility },
    /// Put into an album.
    Joined { album: String },
    /// Taken out of an album.
    Left { album: String },
    /// Got a tag.
    Tagged { tag: String },
    /// Lost a tag.
    Untagged { tag: String },
    /// A person was recognised in it.
    Recognised { person: String },
    /// A person is in it no more.
    Unrecognised { person: String },
    /// Other things that Immich knows of it, by field of the library list, and what each was and
    /// is.
    Details { fields: Vec<String>, values: BTreeMap<String, Turn> },
}

/// What a field was and is; null where there is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    pub from: Value,
    pub to: Value,
}

impl Change {
    /// The letter that `diff` puts in front.
    pub fn mark(&self) -> char {
        match self {
            Change::Added { .. } => '+',
            Change::Deleted { .. } => '-',
            Change::GivenBack { .. } => 'N',
            Change::Edited { .. } => 'M',
            Change::Missing => '!',
            Change::Present { .. } => 'P',
            Change::Renamed { .. } => 'R',
            Change::Moved { .. } => 'V',
            Change::Trashed => 'T',
            Change::Restored => 'U',
            Change::Favorited => 'F',
            Change::Unfavorited => 'f',
            Change::Shown { to: Visibility::Archive, .. } => 'A',
            Change::Shown { .. } => 'S',
            Change::Joined { .. } | Change::Left { .. } => 'J',
            Change::Tagged { .. } | Change::Untagged { .. } => 'G',
            Change::Recognised { .. } | Change::Unrecognised { .. } => 'W',
            Change::Details { .. } => 'D',
        }
    }
}

/// An asset as one snapshot has it.
#[derive(Debug, Clone)]
pub struct State {
    /// Its record of the library list.
    pub record: Map<String, Value>,
    pub content: Option<Content>,
    /// Names of its albums, tags and people; sorted. Empty where they are not compared.
    pub albums: Vec<String>,
    pub tags: Vec<String>,
    pub people: Vec<String>,
}

impl State {
    /// An asset with the record `line`.
    pub fn new(line: &str, content: Option<Content>) -> Result<State> {
        let record = serde_json::from_str(line)
            .map_err(|error| Error::damaged("an asset of the catalog").caused_by(error))?;
        Ok(State { record, content, albums: Vec::new(), tags: Vec::new(), people: Vec::new() })
    }

    fn text(&self, field: &str) -> String {
        match self.record.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    fn is(&self, field: &str) -> bool {
        self.record
            .get(field)
            .is_some_and(|value| !matches!(value, Value::Bool(false) | Value::Null))
    }

    fn visibility(&self) -> Visibility {
        self.record
            .get("visibility")
            .and_then(|value| serde_json::from_value(value.clone()).ok())
            .unwrap_or_default()
    }

    /// Bytes: those that are there, else as Immich recorded.
    pub fn size(&self) -> Option<u64> {
        self.content.map(|content| content.size).or_else(|| self.record.get("size")?.as_u64())
    }
}

/// What changed from `old` to `new`; `None` is an asset that is not there.
pub fn compare(old: Option<&State>, new: Option<&State>) -> Vec<Change> {
    match (old, new) {
        (None, None) => Vec::new(),
        (None, Some(new)) => vec![Change::Added { size: new.size() }],
        (Some(old), None) => vec![Change::Deleted { size: old.size() }],
        (Some(old), Some(new)) => {
            let mut changes = Vec::from_iter(bytes(old, new));
            changes.extend(places(old, new));
            changes.extend(marks(old, new));
            changes.extend(sets(old, new));
            changes.extend(details(old, new));
            changes
        }
    }
}

fn bytes(old: &State, new: &State) -> Option<Change> {
    match (old.content, new.content) {
        (Some(from), Some(to)) if from.id != to.id => {
            Some(Change::Edited { from: from.size, to: to.size })
        }
        (Some(_), None) => Some(Change::Missing),
        (None, Some(to)) => Some(Change::Present { size: to.size }),
        _ => None,
    }
}

fn places(old: &State, new: &State) -> Vec<Change> {
    let other =
        |field| (old.text(field) != new.text(field)).then(|| (old.text(field), new.text(field)));
    let renamed = other("name").map(|(from, to)| Change::Renamed { from, to });
    let moved = other("file").filter(|_| old.is("file") && new.is("file"));
    renamed.into_iter().chain(moved.map(|(from, to)| Change::Moved { from, to })).collect()
}

fn marks(old: &State, new: &State) -> Vec<Change> {
    let turned = |field, on: Change, off: Change| match (old.is(field), new.is(field)) {
        (false, true) => Some(on),
        (true, false) => Some(off),
        _ => None,
    };
    let (from, to) = (old.visibility(), new.visibility());
    let all = [
        turned("trashed", Change::Trashed, Change::Restored),
        turned("favorite", Change::Favorited, Change::Unfavorited),
        (from != to).then_some(Change::Shown { from, to }),
    ];
    all.into_iter().flatten().collect()
}

fn sets(old: &State, new: &State) -> Vec<Change> {
    let without =
        |from: &[String], other: &[String], change: &dyn Fn(String) -> Change| -> Vec<Change> {
            from.iter().filter(|name| !other.contains(name)).cloned().map(change).collect()
        };
    let mut changes = without(&new.albums, &old.albums, &|album| Change::Joined { album });
    changes.extend(without(&old.albums, &new.albums, &|album| Change::Left { album }));
    changes.extend(without(&new.tags, &old.tags, &|tag| Change::Tagged { tag }));
    changes.extend(without(&old.tags, &new.tags, &|tag| Change::Untagged { tag }));
    changes.extend(without(&new.people, &old.people, &|person| Change::Recognised { person }));
    changes.extend(without(&old.people, &new.people, &|person| Change::Unrecognised { person }));
    changes
}

/// Fields that have a change of their own, or that say the same as one.
const TOLD: [&str; 9] =
    ["name", "path", "file", "trashed", "favorite", "visibility", "sha1", "size", "kind"];

fn details(old: &State, new: &State) -> Option<Change> {
    let keys =
        old.record.keys().chain(new.record.keys().filter(|key| !old.record.contains_key(*key)));
    let other = keys.filter(|key| old.record.get(*key) != new.record.get(*key));
    let mut fields: Vec<String> =
        other.filter(|key| !TOLD.contains(&key.as_str())).cloned().collect();
    // A sidecar that moved with its photo is no news.
    if old.is("sidecar") && new.is("sidecar") && old.text("file") != new.text("file") {
        fields.retain(|field| field != "sidecar");
    }
    fields.sort_unstable();
    let value = |state: &State, field: &str| state.record.get(field).cloned().unwrap_or_default();
    let turn =
        |field: &String| (field.clone(), Turn { from: value(old, field), to: value(new, field) });
    let values = fields.iter().map(turn).collect();
    (!fields.is_empty()).then_some(Change::Details { fields, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(line: &str, content: i64) -> State {
        State::new(line, Some(Content { id: content, size: content as u64 })).unwrap()
    }

    #[test]
    fn each_change_is_told_once() {
        let old =
            state(r#"{"name":"a.jpg","file":"upload/a","sidecar":"upload/a.xmp","rating":1}"#, 1);
        let new = state(
            r#"{"name":"a.jpg","file":"library/a","sidecar":"library/a.xmp","trashed":"x","rating":2}"#,
            1,
        );
        let moved = Change::Moved { from: "upload/a".into(), to: "library/a".into() };
        let values = BTreeMap::from([("rating".into(), Turn { from: 1.into(), to: 2.into() })]);
        let details = Change::Details { fields: vec!["rating".into()], values };
        assert_eq!(compare(Some(&old), Some(&new)), [moved, Change::Trashed, details]);
        assert!(compare(Some(&old), Some(&old)).is_empty());
    }

    #[test]
    fn other_bytes_are_an_edit_and_none_are_missing() {
        let (old, mut new) = (state("{}", 1), state("{}", 2));
        assert_eq!(compare(Some(&old), Some(&new)), [Change::Edited { from: 1, to: 2 }]);
        new.content = None;
        assert_eq!(compare(Some(&old), Some(&new)), [Change::Missing]);
        assert_eq!(compare(Some(&new), Some(&old)), [Change::Present { size: 1 }]);
        assert_eq!(compare(None, Some(&old)), [Change::Added { size: Some(1) }]);
    }
}
