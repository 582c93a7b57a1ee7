//! A tree of names, wherever it comes from: a folder, a mount, the view.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha1::{Digest, Sha1};
use shoebox::view::{Ino, NodeKind, View};

/// An entry of a tree.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// `f`, `d` or `l`.
    pub kind: char,
    /// Permission bits; 0 for symlinks.
    pub mode: u32,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    /// A file's bytes, a symlink's target.
    pub bytes: Vec<u8>,
    /// Of the bytes, in hexadecimal.
    pub sha1: String,
}

impl Entry {
    fn new(kind: char, mode: u32, mtime: i64, bytes: Vec<u8>) -> Entry {
        let sha1 = hex::encode(Sha1::digest(&bytes));
        Entry { kind, mode: if kind == 'l' { 0 } else { mode }, mtime, bytes, sha1 }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Entry { kind, mode, mtime, bytes, sha1 } = self;
        write!(f, "{kind} {mode:o} {mtime} {} bytes {}", bytes.len(), &sha1[..8])
    }
}

/// Entries by path.
pub type Tree = BTreeMap<Vec<u8>, Entry>;

/// What lies below `root`.
pub fn tree_of_folder(root: &Path) -> Tree {
    let entries = walkdir::WalkDir::new(root).min_depth(1).into_iter().map(Result::unwrap);
    entries
        .map(|entry| {
            let meta = entry.path().symlink_metadata().unwrap();
            let (kind, bytes) = match () {
                () if meta.is_dir() => ('d', Vec::new()),
                () if meta.is_symlink() => {
                    ('l', fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().to_vec())
                }
                () => ('f', fs::read(entry.path()).unwrap()),
            };
            let mtime = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
            let path = entry.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            (path, Entry::new(kind, meta.mode() & 0o7777, mtime, bytes))
        })
        .collect()
}

/// What `view` shows below `folder`.
pub fn tree_of_view(view: &View, folder: Ino) -> Tree {
    let mut tree = Tree::new();
    add_folder(view, folder, &[], &mut tree);
    tree
}

fn add_folder(view: &View, folder: Ino, above: &[u8], tree: &mut Tree) {
    let mut entries = Vec::new();
    view.children(folder, 0, &mut |entry| {
        entries.push((entry.name.to_vec(), entry.node));
        ControlFlow::Continue(())
    })
    .unwrap();
    for (name, node) in entries {
        assert_eq!(view.child(folder, &name).unwrap(), Some(node));
        let path = if above.is_empty() { name } else { [above, b"/", &name].concat() };
        let (kind, bytes) = match node.kind {
            NodeKind::File => ('f', read(view, node.ino, node.size)),
            NodeKind::Symlink => ('l', view.target(node.ino).unwrap()),
            NodeKind::Folder => ('d', Vec::new()),
        };
        if kind == 'd' {
            add_folder(view, node.ino, &path, tree);
        }
        let known = tree.insert(path, Entry::new(kind, node.mode.into(), node.mtime_ns, bytes));
        assert_eq!(known, None, "a name is there twice");
    }
}

fn read(view: &View, ino: Ino, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < size {
        view.read(ino, bytes.len() as u64, 1 << 20, |piece| bytes.extend_from_slice(piece))
            .unwrap();
    }
    bytes
}

/// Further names of files, and the first of each.
pub fn hard_links(root: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut firsts = BTreeMap::new();
    let mut links = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(Result::unwrap) {
        let meta = entry.path().symlink_metadata().unwrap();
        let path = entry.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        if meta.is_file() && meta.nlink() > 1 {
            let first = firsts.entry(meta.ino()).or_insert_with(|| path.clone());
            links.insert(path, first.clone());
        }
    }
    links
}

/// Two trees are the same, or a word about where they differ.
pub fn assert_same(what: &str, found: &Tree, wanted: &Tree) {
    let differing: Vec<String> = found
        .keys()
        .chain(wanted.keys())
        .filter(|path| found.get(*path) != wanted.get(*path))
        .map(|path| {
            format!("{}: {:?}, not {:?}", path.escape_ascii(), found.get(path), wanted.get(path))
        })
        .collect();
    assert!(differing.is_empty(), "{what}: {differing:#?}");
}
