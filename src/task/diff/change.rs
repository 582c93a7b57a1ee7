//! What can change about an asset from one snapshot to another, and finding it out.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::base::library::Visibility;
use crate::base::{Error, Result};
use crate::catalog::query::history::AssetContent;

/// One change of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum FieldChange {
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
    Details { fields: Vec<String>, values: BTreeMap<String, OldNew> },
}

/// What a field was and is; null where there is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OldNew {
    pub from: Value,
    pub to: Value,
}

impl FieldChange {
    /// The letter that `diff` puts in front.
    pub fn mark(&self) -> char {
        match self {
            FieldChange::Added { .. } => '+',
            FieldChange::Deleted { .. } => '-',
            FieldChange::GivenBack { .. } => 'N',
            FieldChange::Edited { .. } => 'M',
            FieldChange::Missing => '!',
            FieldChange::Present { .. } => 'P',
            FieldChange::Renamed { .. } => 'R',
            FieldChange::Moved { .. } => 'V',
            FieldChange::Trashed => 'T',
            FieldChange::Restored => 'U',
            FieldChange::Favorited => 'F',
            FieldChange::Unfavorited => 'f',
            FieldChange::Shown { to: Visibility::Archive, .. } => 'A',
            FieldChange::Shown { .. } => 'S',
            FieldChange::Joined { .. } | FieldChange::Left { .. } => 'J',
            FieldChange::Tagged { .. } | FieldChange::Untagged { .. } => 'G',
            FieldChange::Recognised { .. } | FieldChange::Unrecognised { .. } => 'W',
            FieldChange::Details { .. } => 'D',
        }
    }
}

/// An asset as one snapshot has it.
#[derive(Debug, Clone)]
pub struct AssetState {
    /// Its record of the library list.
    pub record: Map<String, Value>,
    pub content: Option<AssetContent>,
    /// Names of its albums, tags and people; sorted. Empty where they are not compared.
    pub albums: Vec<String>,
    pub tags: Vec<String>,
    pub people: Vec<String>,
}

impl AssetState {
    /// An asset with the record `line`.
    pub fn new(line: &str, content: Option<AssetContent>) -> Result<AssetState> {
        let record = serde_json::from_str(line)
            .map_err(|error| Error::damaged("an asset of the catalog").caused_by(error))?;
        Ok(AssetState { record, content, albums: Vec::new(), tags: Vec::new(), people: Vec::new() })
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
pub fn compare(old: Option<&AssetState>, new: Option<&AssetState>) -> Vec<FieldChange> {
    match (old, new) {
        (None, None) => Vec::new(),
        (None, Some(new)) => vec![FieldChange::Added { size: new.size() }],
        (Some(old), None) => vec![FieldChange::Deleted { size: old.size() }],
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

fn bytes(old: &AssetState, new: &AssetState) -> Option<FieldChange> {
    match (old.content, new.content) {
        (Some(from), Some(to)) if from.id != to.id => {
            Some(FieldChange::Edited { from: from.size, to: to.size })
        }
        (Some(_), None) => Some(FieldChange::Missing),
        (None, Some(to)) => Some(FieldChange::Present { size: to.size }),
        _ => None,
    }
}

fn places(old: &AssetState, new: &AssetState) -> Vec<FieldChange> {
    let other =
        |field| (old.text(field) != new.text(field)).then(|| (old.text(field), new.text(field)));
    let renamed = other("name").map(|(from, to)| FieldChange::Renamed { from, to });
    let moved = other("file").filter(|_| old.is("file") && new.is("file"));
    renamed.into_iter().chain(moved.map(|(from, to)| FieldChange::Moved { from, to })).collect()
}

fn marks(old: &AssetState, new: &AssetState) -> Vec<FieldChange> {
    let turned = |field, on: FieldChange, off: FieldChange| match (old.is(field), new.is(field)) {
        (false, true) => Some(on),
        (true, false) => Some(off),
        _ => None,
    };
    let (from, to) = (old.visibility(), new.visibility());
    let all = [
        turned("trashed", FieldChange::Trashed, FieldChange::Restored),
        turned("favorite", FieldChange::Favorited, FieldChange::Unfavorited),
        (from != to).then_some(FieldChange::Shown { from, to }),
    ];
    all.into_iter().flatten().collect()
}

fn sets(old: &AssetState, new: &AssetState) -> Vec<FieldChange> {
    let without = |from: &[String],
                   other: &[String],
                   change: &dyn Fn(String) -> FieldChange|
     -> Vec<FieldChange> {
        from.iter().filter(|name| !other.contains(name)).cloned().map(change).collect()
    };
    let mut changes = without(&new.albums, &old.albums, &|album| FieldChange::Joined { album });
    changes.extend(without(&old.albums, &new.albums, &|album| FieldChange::Left { album }));
    changes.extend(without(&new.tags, &old.tags, &|tag| FieldChange::Tagged { tag }));
    changes.extend(without(&old.tags, &new.tags, &|tag| FieldChange::Untagged { tag }));
    changes.extend(without(&new.people, &old.people, &|person| FieldChange::Recognised { person }));
    changes
        .extend(without(&old.people, &new.people, &|person| FieldChange::Unrecognised { person }));
    changes
}

/// Fields that have a change of their own, or that say the same as one.
const TOLD: [&str; 9] =
    ["name", "path", "file", "trashed", "favorite", "visibility", "sha1", "size", "kind"];

fn details(old: &AssetState, new: &AssetState) -> Option<FieldChange> {
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
    let value =
        |state: &AssetState, field: &str| state.record.get(field).cloned().unwrap_or_default();
    let turn =
        |field: &String| (field.clone(), OldNew { from: value(old, field), to: value(new, field) });
    let values = fields.iter().map(turn).collect();
    (!fields.is_empty()).then_some(FieldChange::Details { fields, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(line: &str, content: i64) -> AssetState {
        AssetState::new(line, Some(AssetContent { id: content, size: content as u64 })).unwrap()
    }

    #[test]
    fn each_change_is_told_once() {
        let old =
            state(r#"{"name":"a.jpg","file":"upload/a","sidecar":"upload/a.xmp","rating":1}"#, 1);
        let new = state(
            r#"{"name":"a.jpg","file":"library/a","sidecar":"library/a.xmp","trashed":"x","rating":2}"#,
            1,
        );
        let moved = FieldChange::Moved { from: "upload/a".into(), to: "library/a".into() };
        let values = BTreeMap::from([("rating".into(), OldNew { from: 1.into(), to: 2.into() })]);
        let details = FieldChange::Details { fields: vec!["rating".into()], values };
        assert_eq!(compare(Some(&old), Some(&new)), [moved, FieldChange::Trashed, details]);
        assert!(compare(Some(&old), Some(&old)).is_empty());
    }

    #[test]
    fn other_bytes_are_an_edit_and_none_are_missing() {
        let (old, mut new) = (state("{}", 1), state("{}", 2));
        assert_eq!(compare(Some(&old), Some(&new)), [FieldChange::Edited { from: 1, to: 2 }]);
        new.content = None;
        assert_eq!(compare(Some(&old), Some(&new)), [FieldChange::Missing]);
        assert_eq!(compare(Some(&new), Some(&old)), [FieldChange::Present { size: 1 }]);
        assert_eq!(compare(None, Some(&old)), [FieldChange::Added { size: Some(1) }]);
    }
}
