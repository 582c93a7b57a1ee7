//! What would be written where: worked out whole before anything is written, so that a dry run
//! shows it and no two files ever want the same place.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::folder::FileAttributes;
use crate::base::amount::plural;
use crate::base::{FilePath, Monitor, Problem, Result};
use crate::task::find::{AssetFinder, PlaceFinder, unknown};
use crate::view::ino::{NodePlace, SnapshotNode};
use crate::view::{AssetPart, Ino, Node, NodeKind, View};

/// Rights of what has none of its own.
const FILE_MODE: u32 = 0o644;
/// Rights of the dump: it holds passwords and session tokens.
const DUMP_MODE: u32 = 0o600;

/// A file or symlink that is to be written.
#[derive(Debug, Clone)]
pub(super) struct RestoreItem {
    /// Below the folder that is restored into.
    pub at: FilePath,
    /// What it is in the tree: for people.
    pub from: String,
    pub ino: Ino,
    pub kind: NodeKind,
    pub attributes: FileAttributes,
}

/// All that is to be written.
#[derive(Debug, Default)]
pub(super) struct RestorePlan {
    pub items: Vec<RestoreItem>,
    /// Folders, and what those of `files/` were like; a folder comes before what it holds.
    pub folders: Vec<(FilePath, Option<FileAttributes>)>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl RestorePlan {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.attributes.size).sum()
    }

    /// How many are not what lay on the disk.
    pub fn kept_note(&self) -> Option<String> {
        let is_kept =
            |item: &&RestoreItem| part_and_photo(item.ino).is_some_and(|(part, _)| part.is_kept());
        let kept = self.items.iter().filter(is_kept).count() as u64;
        let files = plural(kept, "file was", "files were");
        (kept > 0).then(|| {
            format!("{files} changed or missing on the server's disk: restored as uploaded")
        })
    }

    /// Adds a file or symlink.
    pub fn add(&mut self, at: FilePath, from: String, node: &Node) {
        let attributes = attributes(node);
        self.items.push(RestoreItem { at, from, ino: node.ino, kind: node.kind, attributes });
    }
}

/// What a node of the tree is like when it is written out: exact below `files/`, for everybody to
/// read below `users/`.
fn attributes(node: &Node) -> FileAttributes {
    let own = node.owner.filter(|_| rustix::process::geteuid().is_root());
    let mode = match (NodePlace::unpack(node.ino), node.kind) {
        // A photo needs no rights to run as somebody else; a stranger's repository must not get
        // them.
        (Some(NodePlace::In(_, SnapshotNode::File(_))), NodeKind::File) => {
            u32::from(node.mode) & 0o777
        }
        (Some(NodePlace::In(_, SnapshotNode::File(_))), _) => u32::from(node.mode),
        (Some(NodePlace::In(_, SnapshotNode::Dump)), _) => DUMP_MODE,
        _ => FILE_MODE,
    };
    FileAttributes {
        size: if node.kind == NodeKind::File { node.size } else { 0 },
        mtime_ns: node.mtime_ns,
        mode,
        owner: own,
    }
}

/// Plans `paths` of the tree below `top`, each as `cp -r PATH DIR/` would write it.
pub(super) fn of_paths(
    finder: &AssetFinder,
    top: Ino,
    paths: &[Vec<u8>],
    monitor: &dyn Monitor,
) -> Result<RestorePlan> {
    let mut walk = TreeWalk {
        view: &finder.view,
        monitor,
        plan: RestorePlan::default(),
        seen: HashSet::new(),
    };
    let mut roots: Vec<(Vec<u8>, String, Node)> = Vec::new();
    for path in paths {
        let (folder, node) = find(&finder.view, top, path)?;
        let text = String::from_utf8_lossy(path).trim_matches('/').to_owned();
        match path.split(|&byte| byte == b'/').rfind(|part| !matches!(*part, b"" | b".")) {
            Some(name) => roots.extend(with_parts(&finder.view, folder, name, &text, node)?),
            None => roots.extend(list(&finder.view, node.ino)?.into_iter().map(|(name, node)| {
                let text = String::from_utf8_lossy(&name).into_owned();
                (name, text, node)
            })),
        }
    }
    let mut taken = HashSet::new();
    let mut known = HashSet::new();
    for (name, text, node) in roots {
        if known.insert(node.ino) {
            let free = free_name(&name, &taken);
            taken.insert(free.clone());
            walk.root(&free, text, node)?;
        }
    }
    Ok(walk.plan)
}

/// `name`, with a number where it is taken.
fn free_name(name: &[u8], taken: &HashSet<Vec<u8>>) -> Vec<u8> {
    let dot = memchr::memrchr(b'.', name)
        .filter(|dot| *dot > 0 && name.len() - dot <= 6)
        .unwrap_or(name.len());
    let numbered = (2..)
        .map(|number| [&name[..dot], format!(" ({number})").as_bytes(), &name[dot..]].concat());
    std::iter::once(name.to_vec())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or_default()
}

/// The node at `path`, and the folder that holds it. The error for what is not there offers what
/// is.
fn find(view: &View, top: Ino, path: &[u8]) -> Result<(Ino, Node)> {
    let (mut folder, mut node) = (top, view.node(top)?);
    for part in path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
        folder = node.ino;
        let child = if node.kind == NodeKind::Folder { view.child(folder, part)? } else { None };
        node = match child {
            Some(child) => child,
            None => return Err(missing(view, &node, path, part)),
        };
    }
    Ok((folder, node))
}

fn missing(view: &View, folder: &Node, path: &[u8], part: &[u8]) -> crate::base::Error {
    let names = list(view, folder.ino).unwrap_or_default();
    let names: Vec<String> =
        names.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    let (path, part) = (String::from_utf8_lossy(path), String::from_utf8_lossy(part));
    let what = if *path == *part { "path".to_owned() } else { format!("path `{path}`:") };
    unknown(&what, names.iter().map(String::as_str), &part)
}

/// `node`, and with a photo of `users/` its moving half and its sidecar.
fn with_parts(
    view: &View,
    folder: Ino,
    name: &[u8],
    text: &str,
    node: Node,
) -> Result<Vec<(Vec<u8>, String, Node)>> {
    let mut all = vec![(name.to_vec(), text.to_owned(), node)];
    if let Some(key) = photo(node.ino) {
        let above = &text[..text.rfind('/').map_or(0, |slash| slash + 1)];
        for (name, node) in list(view, folder)? {
            if photo_of_part(node.ino) == Some(key) {
                let text = format!("{above}{}", String::from_utf8_lossy(&name));
                all.push((name, text, node));
            }
        }
    }
    Ok(all)
}

fn photo(ino: Ino) -> Option<NodePlace> {
    let (part, photo) = part_and_photo(ino)?;
    (part.on_disk() == AssetPart::Original).then_some(photo)
}

/// The photo that a moving half or a sidecar belongs to.
fn photo_of_part(ino: Ino) -> Option<NodePlace> {
    let (part, photo) = part_and_photo(ino)?;
    (part.on_disk() != AssetPart::Original).then_some(photo)
}

/// Which file of an asset this is, and the asset's original: the same for bytes that are kept.
fn part_and_photo(ino: Ino) -> Option<(AssetPart, NodePlace)> {
    let NodePlace::In(number, spot) = NodePlace::unpack(ino)? else { return None };
    let (part, spot) = match spot {
        SnapshotNode::Item(shelf, row, part) => {
            (part, SnapshotNode::Item(shelf, row, AssetPart::Original))
        }
        SnapshotNode::AlbumItem(user, row, part) => {
            (part, SnapshotNode::AlbumItem(user, row, AssetPart::Original))
        }
        SnapshotNode::GoneItem(earlier, row, part) => {
            (part, SnapshotNode::GoneItem(earlier, row, AssetPart::Original))
        }
        _ => return None,
    };
    Some((part, NodePlace::In(number, spot)))
}

fn list(view: &View, folder: Ino) -> Result<Vec<(Vec<u8>, Node)>> {
    let mut entries = Vec::new();
    view.children(folder, 0, &mut |entry| {
        entries.push((entry.name.to_vec(), entry.node));
        ControlFlow::Continue(())
    })?;
    Ok(entries)
}

/// A walk through the tree.
struct TreeWalk<'a> {
    view: &'a View,
    monitor: &'a dyn Monitor,
    plan: RestorePlan,
    /// Folders that were seen: a damaged catalog may lead in a circle.
    seen: HashSet<Ino>,
}

impl TreeWalk<'_> {
    fn root(&mut self, name: &[u8], from: String, node: Node) -> Result<()> {
        let Ok(at) = FilePath::new(name) else { return self.refuse(from) };
        let mut open = vec![(at, from, node)];
        while let Some((at, from, node)) = open.pop() {
            if node.kind != NodeKind::Folder {
                self.plan.add(at, from, &node);
                continue;
            }
            if !self.seen.insert(node.ino) {
                self.refuse(from)?;
                continue;
            }
            let exact = matches!(
                NodePlace::unpack(node.ino),
                Some(NodePlace::In(_, SnapshotNode::File(_)))
            );
            self.plan.folders.push((at.clone(), exact.then(|| attributes(&node))));
            let mut entries = list(self.view, node.ino)?;
            entries.reverse();
            for (name, child) in entries {
                let from = format!("{from}/{}", String::from_utf8_lossy(&name));
                // A name with a slash would join as two: it is as unsafe as `..`.
                match at.join(&name).ok().filter(|_| !name.contains(&b'/')) {
                    Some(at) => open.push((at, from, child)),
                    None => self.refuse(from)?,
                }
            }
        }
        Ok(())
    }

    fn refuse(&self, subject: String) -> Result<()> {
        let message = "left out: its name or place in the catalog is not safe".to_owned();
        self.monitor.problem(Problem { subject, message });
        Ok(())
    }
}

/// What hits of a search are called in a report.
pub(super) fn label(
    places: &mut PlaceFinder<'_>,
    hit: &crate::task::find::FindHit,
) -> Result<String> {
    Ok(places.shown(hit)?.map_or_else(|| hit.name().to_owned(), |shown| shown.path))
}
