//! A disk in memory: what shows, what is durable, and what a power cut may leave.
//!
//! The model is as strict as POSIX allows: bytes of a file are durable after an fsync of that file,
//! names in a folder after an fsync of that folder. All else may be there or not after a power cut,
//! each change by itself, a write also by half. A rename is there or not, as on every journaling
//! file system.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// The top folder.
pub const TOP: u64 = 1;

/// A state of the disk.
#[derive(Debug, Clone)]
pub struct Disk {
    nodes: BTreeMap<u64, Node>,
}

/// A file or a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub mode: u32,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Body {
    File(Arc<Vec<u8>>),
    Folder(BTreeMap<OsString, u64>),
}

/// What was done to a disk.
#[derive(Debug, Clone)]
pub enum Change {
    Create { folder: u64, name: OsString, node: u64, mode: u32, is_folder: bool },
    Write { node: u64, offset: u64, bytes: Arc<Vec<u8>> },
    Resize { node: u64, size: u64 },
    Mode { node: u64, mode: u32 },
    Remove { folder: u64, name: OsString, node: u64 },
    Rename { from: (u64, OsString), to: (u64, OsString), node: u64 },
    SyncFile(u64),
    SyncFolder(u64),
}

/// How much of a change is on the disk after a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    All,
    Half,
    Nothing,
}

impl Change {
    /// True when `later` makes it durable.
    fn is_settled_by(&self, later: &Change) -> bool {
        match (self, later) {
            (
                Change::Write { node, .. } | Change::Resize { node, .. },
                Change::SyncFile(synced),
            ) => node == synced,
            (
                Change::Create { folder, .. } | Change::Remove { folder, .. },
                Change::SyncFolder(synced),
            ) => folder == synced,
            (Change::Rename { from, to, .. }, Change::SyncFolder(synced)) => {
                from.0 == *synced || to.0 == *synced
            }
            _ => false,
        }
    }

    /// True when it is durable by an fsync of a folder.
    pub fn is_of_names(&self) -> bool {
        matches!(self, Change::Create { .. } | Change::Remove { .. } | Change::Rename { .. })
    }

    /// In a word, for messages.
    pub fn word(&self) -> &'static str {
        match self {
            Change::Create { is_folder: true, .. } => "mkdir",
            Change::Create { .. } => "create",
            Change::Write { .. } => "write",
            Change::Resize { .. } => "resize",
            Change::Mode { .. } => "chmod",
            Change::Remove { .. } => "remove",
            Change::Rename { .. } => "rename",
            Change::SyncFile(_) => "fsync",
            Change::SyncFolder(_) => "fsync of a folder",
        }
    }
}

impl Disk {
    /// The disk with what lies below `root`.
    pub fn of(root: &Path) -> Disk {
        let top = Node { mode: 0o700, body: Body::Folder(BTreeMap::new()) };
        let mut disk = Disk { nodes: BTreeMap::from([(TOP, top)]) };
        disk.take_in(root, TOP);
        disk
    }

    fn take_in(&mut self, place: &Path, folder: u64) {
        for entry in fs::read_dir(place).unwrap().map(Result::unwrap) {
            let (node, meta) = (self.unused(), entry.metadata().unwrap());
            let body = if meta.is_dir() {
                Body::Folder(BTreeMap::new())
            } else {
                Body::File(Arc::new(fs::read(entry.path()).unwrap()))
            };
            self.nodes.insert(node, Node { mode: meta.permissions().mode() & 0o7777, body });
            self.entries(folder).insert(entry.file_name(), node);
            if meta.is_dir() {
                self.take_in(&entry.path(), node);
            }
        }
    }

    /// Writes all of it below the folder `root`, which must be empty.
    pub fn write_to(&self, root: &Path) {
        self.write_folder(TOP, root);
    }

    fn write_folder(&self, folder: u64, place: &Path) {
        fs::set_permissions(place, fs::Permissions::from_mode(0o700)).unwrap();
        for (name, node) in self.list(folder) {
            let (place, node_) = (place.join(name), &self.nodes[&node]);
            match &node_.body {
                Body::Folder(_) => {
                    fs::create_dir(&place).unwrap();
                    self.write_folder(node, &place);
                }
                Body::File(bytes) => {
                    fs::write(&place, &**bytes).unwrap();
                    fs::set_permissions(&place, fs::Permissions::from_mode(node_.mode)).unwrap();
                }
            }
        }
    }

    /// A number that no node has.
    pub fn unused(&self) -> u64 {
        self.nodes.last_key_value().map_or(TOP, |(node, _)| node + 1)
    }

    pub fn node(&self, node: u64) -> Option<&Node> {
        self.nodes.get(&node)
    }

    pub fn child(&self, folder: u64, name: &OsStr) -> Option<u64> {
        match &self.nodes.get(&folder)?.body {
            Body::Folder(entries) => entries.get(name).copied(),
            Body::File(_) => None,
        }
    }

    /// What is in `folder`.
    pub fn list(&self, folder: u64) -> Vec<(OsString, u64)> {
        match &self.nodes[&folder].body {
            Body::Folder(entries) => {
                entries.iter().map(|(name, node)| (name.clone(), *node)).collect()
            }
            Body::File(_) => Vec::new(),
        }
    }

    /// Every file that shows, by path, but those that are being written: what tells one state from
    /// another.
    pub fn files(&self) -> BTreeMap<String, Arc<Vec<u8>>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![(TOP, String::new())];
        while let Some((folder, path)) = folders.pop() {
            for (name, node) in self.list(folder) {
                let path = format!("{path}/{}", name.to_string_lossy());
                match &self.nodes[&node].body {
                    Body::Folder(_) if path == "/tmp" => {}
                    Body::Folder(_) => folders.push((node, path)),
                    Body::File(bytes) => drop(files.insert(path, bytes.clone())),
                }
            }
        }
        files
    }

    fn entries(&mut self, folder: u64) -> &mut BTreeMap<OsString, u64> {
        match &mut self.nodes.get_mut(&folder).unwrap().body {
            Body::Folder(entries) => entries,
            Body::File(_) => panic!("{folder} is a file"),
        }
    }

    fn bytes(&mut self, node: u64) -> &mut Vec<u8> {
        match &mut self.nodes.get_mut(&node).unwrap().body {
            Body::File(bytes) => Arc::make_mut(bytes),
            Body::Folder(_) => panic!("{node} is a folder"),
        }
    }

    /// Does `change`, or so much of it.
    pub fn apply(&mut self, change: &Change, kept: Kept) {
        if let Change::Create { node, mode, is_folder, .. } = change {
            let body =
                if *is_folder { Body::Folder(BTreeMap::new()) } else { Body::File(Arc::default()) };
            self.nodes.insert(*node, Node { mode: *mode, body });
        }
        if kept == Kept::Nothing {
            return;
        }
        match change {
            Change::Create { folder, name, node, .. } => {
                self.entries(*folder).insert(name.clone(), *node);
            }
            Change::Write { node, offset, bytes } => {
                let len = if kept == Kept::Half { bytes.len() / 2 } else { bytes.len() };
                let (begin, end) = (*offset as usize, *offset as usize + len);
                let all = self.bytes(*node);
                all.resize(all.len().max(end), 0);
                all[begin..end].copy_from_slice(&bytes[..len]);
            }
            Change::Resize { node, size } => self.bytes(*node).resize(*size as usize, 0),
            Change::Mode { node, mode } => self.nodes.get_mut(node).unwrap().mode = *mode,
            Change::Remove { folder, name, node } => {
                if self.child(*folder, name) == Some(*node) {
                    self.entries(*folder).remove(name);
                }
            }
            Change::Rename { from, to, node } => {
                if self.child(from.0, &from.1) == Some(*node) {
                    self.entries(from.0).remove(&from.1);
                }
                self.entries(to.0).insert(to.1.clone(), *node);
            }
            Change::SyncFile(_) | Change::SyncFolder(_) => {}
        }
    }

    /// What is left of this disk, to which `changes` were done, when the power is cut; `keep` says
    /// it of each change that is not durable.
    pub fn after_power_cut(
        &self,
        changes: &[Change],
        keep: &mut dyn FnMut(&Change) -> Kept,
    ) -> Disk {
        let mut disk = self.clone();
        for (number, change) in changes.iter().enumerate() {
            let settled = changes[number..].iter().any(|later| change.is_settled_by(later));
            let kept = if settled || matches!(change, Change::Mode { .. }) {
                Kept::All
            } else {
                keep(change)
            };
            disk.apply(change, kept);
        }
        disk
    }
}

#[test]
fn only_what_was_synced_is_sure_to_survive() {
    let mut disk = Disk { nodes: BTreeMap::new() };
    disk.nodes.insert(TOP, Node { mode: 0o700, body: Body::Folder(BTreeMap::new()) });
    let write = |node, text: &str| Change::Write {
        node,
        offset: 0,
        bytes: Arc::new(text.as_bytes().to_vec()),
    };
    let create = |name: &str, node| Change::Create {
        folder: TOP,
        name: name.into(),
        node,
        mode: 0o600,
        is_folder: false,
    };
    let rename = Change::Rename { from: (TOP, "a".into()), to: (TOP, "b".into()), node: 2 };
    let changes = [create("a", 2), write(2, "1234"), Change::SyncFile(2), rename, write(2, "5678")];
    let after = |changes: &[Change], kept| {
        let files = disk.after_power_cut(changes, &mut |_| kept).files();
        files
            .into_iter()
            .map(|(path, bytes)| (path, String::from_utf8(bytes.to_vec()).unwrap()))
            .collect::<Vec<_>>()
    };
    let one = |path: &str, text: &str| vec![(path.to_owned(), text.to_owned())];
    assert_eq!(after(&changes, Kept::Nothing), []);
    assert_eq!(after(&changes, Kept::All), one("/b", "5678"));
    assert_eq!(after(&changes, Kept::Half), one("/b", "5634"));
    let synced = [&changes[..], &[Change::SyncFolder(TOP)]].concat();
    assert_eq!(after(&synced, Kept::Nothing), one("/b", "1234"));
}
