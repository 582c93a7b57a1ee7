//! A folder's entries, worked out once: names in one piece of memory, sorted, so that a name is
//! found by halving and a place in the list is the same each time it is worked out.

use super::ino::{Ino, NodePlace, SnapshotNode};
use super::name::{NameShape, NameSuffixes, NamedUnit};
use super::{Node, NodeKind};
use crate::catalog::night::FolderRecord;

/// The entries of a folder, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: String,
    items: Vec<ListingItem>,
}

#[derive(Debug)]
struct ListingItem {
    ino: Ino,
    size: u64,
    mtime_ns: i64,
    start: u32,
    end: u32,
    kind: NodeKind,
    mode: u16,
}

impl Listing {
    /// The listing of `entries`, whose names differ.
    pub fn new(mut entries: Vec<(String, Node)>) -> Listing {
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut listing =
            Listing { names: String::new(), items: Vec::with_capacity(entries.len()) };
        for (name, node) in entries {
            let start = listing.names.len() as u32;
            listing.names.push_str(&name);
            let end = listing.names.len() as u32;
            let Node { ino, size, mtime_ns, kind, mode, owner: _ } = node;
            listing.items.push(ListingItem { ino, size, mtime_ns, start, end, kind, mode });
        }
        listing.names.shrink_to_fit();
        listing
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// The entry at `index`.
    pub fn at(&self, index: usize) -> Option<(&str, Node)> {
        self.items.get(index).map(|item| (self.name(item), item.node()))
    }

    /// The entry called `name`.
    pub fn find(&self, name: &[u8]) -> Option<Node> {
        let index =
            self.items.binary_search_by(|item| self.name(item).as_bytes().cmp(name)).ok()?;
        self.items.get(index).map(ListingItem::node)
    }

    fn name(&self, item: &ListingItem) -> &str {
        &self.names[item.start as usize..item.end as usize]
    }
}

impl ListingItem {
    fn node(&self) -> Node {
        let ListingItem { ino, size, mtime_ns, kind, mode, .. } = *self;
        Node { ino, kind, size, mtime_ns, mode, owner: None }
    }
}

/// Gives folders their names: those of `things` that hold, with what `spot` makes of their rows.
pub(super) fn folders(
    things: &[FolderRecord],
    stand_in: &str,
    snapshot: u16,
    mtime_ns: i64,
    spot: impl Fn(&FolderRecord) -> SnapshotNode,
) -> Listing {
    let mut suffixes = NameSuffixes::default();
    suffixes.decide(units(things, stand_in));
    let shown = things.iter().filter(|thing| thing.holds).filter_map(|thing| {
        let ino = NodePlace::In(snapshot, spot(thing)).pack()?;
        let name = NameShape::folder(&thing.name, stand_in).name(suffixes.of(&thing.id));
        Some((name, Node::folder(ino, mtime_ns)))
    });
    Listing::new(shown.collect())
}

/// The versions of `things`, put together by id.
pub(super) fn units(things: &[FolderRecord], stand_in: &str) -> Vec<NamedUnit> {
    let mut units = std::collections::HashMap::new();
    for thing in things {
        let new = || NamedUnit { since: thing.since, id: thing.id, shapes: Vec::new() };
        let unit = units.entry(thing.id).or_insert_with(new);
        unit.since = unit.since.min(thing.since);
        unit.shapes.push(NameShape::folder(&thing.name, stand_in));
    }
    units.into_values().collect()
}
