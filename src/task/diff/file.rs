//! Files on disk that belong to no asset and changed.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::DiffWork;
use super::thing::ThingEvent;
use crate::base::{ErrorKind, Result};
use crate::catalog::night::DiskFile;
use crate::catalog::query::history as ask;
use crate::task::find::PlaceFinder;
use crate::view::ino::{NodePlace, SnapshotNode};

/// What Immich writes into each folder at each start.
const MARKER: &[u8] = b".immich";

/// A file without an asset that came, went, changed or is called otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    pub what: ThingEvent,
    /// Below the snapshot: `files/…`.
    pub path: String,
    /// Where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub size: u64,
}

impl DiffWork<'_> {
    pub(super) fn files(&self, places: &mut PlaceFinder<'_>) -> Result<Vec<FileChange>> {
        let (old, new) = ask::loose_files(&self.finder.db, self.pair)?;
        let mut went = self.shown(old, self.pair.old, places)?;
        let mut came = self.shown(new, self.pair.new, places)?;
        let mut changes = Vec::new();
        let same: Vec<String> =
            went.keys().filter(|path| came.contains_key(*path)).cloned().collect();
        for path in same {
            if let (Some(old), Some(new)) = (went.remove(&path), came.remove(&path))
                && old.content != new.content
            {
                changes.push(FileChange {
                    what: ThingEvent::Changed,
                    path,
                    from: None,
                    size: new.size,
                });
            }
        }
        changes.extend(renamed(&mut went, &mut came));
        let change = |what| {
            move |(path, file): (String, DiskFile)| FileChange {
                what,
                path,
                from: None,
                size: file.size,
            }
        };
        changes.extend(came.into_iter().map(change(ThingEvent::Added)));
        changes.extend(went.into_iter().map(change(ThingEvent::Deleted)));
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    }

    /// By path, those that may be seen.
    fn shown(
        &self,
        files: Vec<DiskFile>,
        at: i64,
        places: &mut PlaceFinder<'_>,
    ) -> Result<BTreeMap<String, DiskFile>> {
        let mut shown = BTreeMap::new();
        let Some(number) = places.number(at)? else { return Ok(shown) };
        for file in files.into_iter().filter(|file| file.name != MARKER) {
            let Some(ino) = NodePlace::In(number, SnapshotNode::File(file.row)).pack() else {
                continue;
            };
            match self.finder.view.node(ino) {
                Ok(_) => shown.insert(places.file(file.folder, &file.name)?, file),
                // The view keeps what is locked to itself.
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        Ok(shown)
    }
}

/// Takes out pairs with the same bytes.
fn renamed(
    went: &mut BTreeMap<String, DiskFile>,
    came: &mut BTreeMap<String, DiskFile>,
) -> Vec<FileChange> {
    let mut by_content: HashMap<i64, Vec<String>> = HashMap::new();
    for (path, file) in went.iter().rev() {
        if let Some(content) = file.content {
            by_content.entry(content).or_default().push(path.clone());
        }
    }
    let paths: Vec<String> = came.keys().cloned().collect();
    let mut changes = Vec::new();
    for path in paths {
        let content = came.get(&path).and_then(|file| file.content);
        let Some(from) = content.and_then(|content| by_content.get_mut(&content)?.pop()) else {
            continue;
        };
        went.remove(&from);
        if let Some(file) = came.remove(&path) {
            changes.push(FileChange {
                what: ThingEvent::Renamed,
                path,
                from: Some(from),
                size: file.size,
            });
        }
    }
    changes
}
