//! What a full restore writes: every entry of the file list, with the folder and place that it goes
//! to.
//!
//! Straight from the catalog in one pass, and then by where the bytes lie: archives are read front
//! to back. About 200 bytes a file are in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;

use super::layout::FileLayout;
use crate::base::amount::plural;
use crate::base::library::ExternalLibrary;
use crate::base::{FilePath, Monitor, Problem, Result};
use crate::catalog::CatalogNight;
use crate::catalog::query::folder;
use crate::catalog::query::whole::{self as ask, EntryKind, FolderPlace, ListEntry};
use crate::source::ExternalFolder;
use crate::task::restore::folder::{FileAttributes, is_part_name};

/// Where the file list shows external libraries: below this, by the path that the server knows.
const EXTERNAL: &[u8] = b"external";
/// No path is longer.
const LONGEST: usize = 4096;
/// Folders keep what is not about running programs: the group that new files get, and whose files
/// others may remove.
const FOLDER_MODE: u32 = 0o3777;
/// A photo needs no rights to run as somebody else; a stranger's repository must not get them.
const FILE_MODE: u32 = 0o777;
/// A block of most file systems: what a file takes of the disk is rounded up to it.
const BLOCK: u64 = 4096;

/// A file that is to be written, or another name of one.
#[derive(Debug)]
pub(super) struct WholeItem {
    /// The catalog's row.
    pub row: u64,
    /// Its folder, in [`WholePlan::places`].
    pub place: usize,
    pub name: Box<[u8]>,
    pub attributes: FileAttributes,
    pub content: i64,
    /// 0: no archive holds it.
    pub archive: i64,
    pub offset: u64,
}

impl WholeItem {
    /// What it takes of a disk.
    pub fn room(&self) -> u64 {
        self.attributes.size.div_ceil(BLOCK).saturating_mul(BLOCK)
    }
}

/// Where a folder of the file list goes to.
#[derive(Debug, Clone)]
pub(super) struct FolderTarget {
    /// The folder that is restored into: 0 is the new UPLOAD_LOCATION, then the external ones.
    pub root: usize,
    /// Below that; `None` is the folder itself.
    pub path: Option<FilePath>,
}

/// A symlink.
#[derive(Debug)]
pub(super) struct PlannedLink {
    pub item: WholeItem,
    pub target: Vec<u8>,
}

/// The file that has a further name: its root, and its path below that.
pub(super) type FirstName = (usize, FilePath);

/// Files and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileSum {
    pub files: u64,
    pub bytes: u64,
}

impl FileSum {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// All that is to be written.
#[derive(Debug, Default)]
pub(super) struct WholePlan {
    pub places: Vec<FolderTarget>,
    /// By archive and offset.
    pub files: Vec<WholeItem>,
    /// Further names, each with the path of the first.
    pub links: Vec<(WholeItem, FirstName)>,
    pub symlinks: Vec<PlannedLink>,
    /// A folder comes before what it holds.
    pub folders: Vec<(usize, FilePath, FileAttributes)>,
    /// What goes where, by root and topmost folder.
    pub sums: BTreeMap<(usize, Vec<u8>), FileSum>,
    /// What takes room, by root: bytes in whole blocks, and entries.
    pub room: Vec<FileSum>,
    /// Of external libraries that go nowhere, by the folder that the server knows.
    pub without_folder: BTreeMap<String, FileSum>,
    /// Files that are laid where the database says: those that lay elsewhere, and those that only
    /// an earlier snapshot has.
    pub moved: u64,
    pub earlier: u64,
    /// Files that get a name beside one of these.
    pub beside: u64,
    /// Entries that cannot be restored, however.
    pub senseless: u64,
    pub notes: Vec<String>,
}

impl WholePlan {
    /// Files, other names and symlinks.
    pub fn entries(&self) -> u64 {
        (self.files.len() + self.links.len() + self.symlinks.len()) as u64
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, item| sum.saturating_add(item.attributes.size))
    }

    /// Where `item` goes to: the root, and the path below it. `None` for a name that is none.
    pub fn at(&self, item: &WholeItem) -> Option<(usize, FilePath)> {
        let place = self.places.get(item.place)?;
        let path = match &place.path {
            Some(folder) => folder.join(&item.name).ok()?,
            None => FilePath::new(&*item.name).ok()?,
        };
        Some((place.root, path))
    }
}

/// Plans all that the snapshot holds, laid as `layout` says. `external` says where external
/// libraries go to.
pub(super) fn of_snapshot(
    night: CatalogNight<'_>,
    layout: &FileLayout,
    external: &[ExternalFolder],
    monitor: &dyn Monitor,
) -> Result<WholePlan> {
    layout.problems.iter().for_each(|problem| monitor.problem(problem.clone()));
    let mut planner = WholePlanner {
        layout,
        tree: FolderTree {
            folders: ask::folders(night.catalog())?
                .into_iter()
                .map(|folder| (folder.id, folder))
                .collect(),
            external,
        },
        known: HashMap::new(),
        libraries: library_roots(night)?,
        own: rustix::process::geteuid().is_root(),
        with_rights: 0,
        unfinished: 0,
        plan: WholePlan {
            room: vec![FileSum::default(); external.len() + 1],
            ..WholePlan::default()
        },
    };
    night.entries(|entry| {
        match entry {
            Some(entry) => planner.add(entry),
            None => planner.plan.senseless += 1,
        }
        Ok(())
    })?;
    planner.lay();
    let plan = planner.finish();
    if plan.senseless > 0 {
        let subject = format!("{} of the snapshot", plural(plan.senseless, "entry", "entries"));
        monitor.problem(Problem {
            subject,
            message: "left out: its name or place in the catalog is not safe".to_owned(),
        });
    }
    Ok(plan)
}

/// The folders of the external libraries, as the server sees them.
fn library_roots(night: CatalogNight<'_>) -> Result<Vec<String>> {
    let lines = night.external_libraries()?;
    let libraries =
        lines.iter().filter_map(|line| serde_json::from_str::<ExternalLibrary>(line).ok());
    Ok(libraries.flat_map(|library| library.roots).collect())
}

/// What a place of the catalog is.
#[derive(Clone)]
enum KnownPlace {
    At(usize),
    /// Of an external library that goes nowhere: as the server sees it.
    Nowhere(Vec<u8>),
    Unsafe,
}

struct WholePlanner<'a> {
    layout: &'a FileLayout,
    tree: FolderTree<'a>,
    known: HashMap<i64, KnownPlace>,
    libraries: Vec<String>,
    own: bool,
    with_rights: u64,
    unfinished: u64,
    plan: WholePlan,
}

impl WholePlanner<'_> {
    fn add(&mut self, mut entry: ListEntry) {
        let Some(name) = self.layout.name_of(entry.row, &entry.name) else { return };
        if name != entry.name {
            entry.name = name.to_vec();
        }
        if is_part_name(&entry.name) {
            self.unfinished += 1;
            return;
        }
        if !is_name(&entry.name) {
            self.plan.senseless += 1;
            return;
        }
        match entry.kind {
            EntryKind::Folder(place) => self.add_folder(place, &entry),
            _ => self.add_file(entry),
        }
    }

    fn add_folder(&mut self, place: i64, entry: &ListEntry) {
        let attributes = self.attributes(entry, FOLDER_MODE);
        match self.place(place) {
            KnownPlace::At(index) => {
                let FolderTarget { root, path } = self.plan.places[index].clone();
                self.plan.room[root].add(BLOCK);
                self.plan.folders.extend(path.map(|path| (root, path, attributes)));
            }
            KnownPlace::Nowhere(_) => {}
            KnownPlace::Unsafe => self.plan.senseless += 1,
        }
    }

    fn add_file(&mut self, entry: ListEntry) {
        let place = match self.place(entry.folder) {
            KnownPlace::At(index) => index,
            KnownPlace::Nowhere(server) => {
                let library = library_of(&server, &self.libraries);
                return self.plan.without_folder.entry(library).or_default().add(entry.size);
            }
            KnownPlace::Unsafe => {
                self.plan.senseless += 1;
                return;
            }
        };
        self.add_to(place, entry);
    }

    /// Adds what is laid where the database says, with the folders that the snapshot has not.
    fn lay(&mut self) {
        let layout = self.layout;
        for (path, like) in &layout.folders {
            let attributes = self.attributes(like, FOLDER_MODE);
            self.plan.room[0].add(BLOCK);
            self.plan.folders.push((0, path.clone(), attributes));
        }
        for (path, laid) in &layout.laid {
            self.plan.places.push(FolderTarget { root: 0, path: path.parent() });
            self.add_to(
                self.plan.places.len() - 1,
                ListEntry { name: path.name().to_vec(), ..laid.entry.clone() },
            );
        }
    }

    fn add_to(&mut self, place: usize, entry: ListEntry) {
        let attributes = self.attributes(&entry, FILE_MODE);
        let ListEntry { row, name, kind, mode, .. } = entry;
        let item = |content, archive, offset| WholeItem {
            row,
            place,
            name: name.into(),
            attributes,
            content,
            archive,
            offset,
        };
        match kind {
            EntryKind::Symlink(target) => self.add_symlink(item(0, 0, 0), target),
            EntryKind::File(bytes) => {
                self.with_rights += u64::from(mode & 0o6000 != 0);
                let link = bytes.link.and_then(|link| FilePath::new(link).ok());
                let first = link.and_then(|link| self.tree.first(self.layout.renamed(&link)));
                self.add_content(item(bytes.content, bytes.archive, bytes.offset), first);
            }
            EntryKind::Folder(_) => {}
        }
    }

    fn add_symlink(&mut self, item: WholeItem, target: Vec<u8>) {
        let FolderTarget { root, path } = &self.plan.places[item.place];
        // What a server writes into must be a folder of its own.
        if *root == 0 && path.is_none() {
            self.plan.senseless += 1;
            return;
        }
        self.count(item.place, 0, 0);
        self.plan.symlinks.push(PlannedLink { item, target });
    }

    fn add_content(&mut self, item: WholeItem, first: Option<FirstName>) {
        match first {
            Some(first) => {
                self.count(item.place, 0, 0);
                self.plan.links.push((item, first));
            }
            None => {
                let room = if item.archive == 0 { 0 } else { item.room() };
                self.count(item.place, item.attributes.size, room);
                self.plan.files.push(item);
            }
        }
    }

    fn count(&mut self, place: usize, bytes: u64, room: u64) {
        let FolderTarget { root, path } = &self.plan.places[place];
        let top = path.as_ref().and_then(|path| path.parts().next()).unwrap_or_default();
        self.plan.room[*root].add(room);
        self.plan.sums.entry((*root, top.to_vec())).or_default().add(bytes);
    }

    fn attributes(&self, entry: &ListEntry, mode: u32) -> FileAttributes {
        let size = if matches!(entry.kind, EntryKind::File(_)) { entry.size } else { 0 };
        let owner = self.own.then_some((entry.uid, entry.gid));
        FileAttributes { size, mtime_ns: entry.mtime, mode: entry.mode & mode, owner }
    }

    /// The place `id` of the catalog.
    fn place(&mut self, id: i64) -> KnownPlace {
        let (tree, places) = (&self.tree, &mut self.plan.places);
        let known = self.known.entry(id).or_insert_with(|| match tree.path(id) {
            None => KnownPlace::Unsafe,
            Some(path) => match tree.goes_to(&path) {
                Ok(place) => {
                    places.push(place);
                    KnownPlace::At(places.len() - 1)
                }
                Err(server) => KnownPlace::Nowhere(server),
            },
        });
        known.clone()
    }

    fn finish(self) -> WholePlan {
        let mut plan = self.plan;
        (plan.moved, plan.earlier, plan.beside) =
            (self.layout.moved(), self.layout.earlier(), self.layout.beside());
        plan.files.sort_by_key(|item| (item.archive, item.offset));
        plan.folders.sort_by(|(root, path, _), (other, second, _)| {
            root.cmp(other).then_with(|| path.cmp(second))
        });
        if self.with_rights > 0 {
            let files = plural(self.with_rights, "file", "files");
            plan.notes.push(format!(
                "{files} had the right to run as somebody else (set-id); that is not given back"
            ));
        }
        if self.unfinished > 0 {
            let files = plural(self.unfinished, "file", "files");
            plan.notes.push(format!("{files} that an earlier restore had not finished: left out"));
        }
        plan
    }
}

/// True for a name of one entry.
fn is_name(name: &[u8]) -> bool {
    name.len() <= 255 && !name.contains(&b'/') && FilePath::new(name).is_ok()
}

/// The library that a folder of the server belongs to, or the folder.
fn library_of(server: &[u8], libraries: &[String]) -> String {
    let holds = |library: &&String| is_below(server, trimmed(library.as_bytes()));
    match libraries.iter().filter(holds).max_by_key(|library| library.len()) {
        Some(library) => library.clone(),
        None => String::from_utf8_lossy(server).into_owned(),
    }
}

/// A folder's path without slashes at its end.
fn trimmed(path: &[u8]) -> &[u8] {
    let len = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    &path[..len]
}

/// True when `path` is `folder` or lies in it.
fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The folders of the catalog, and where they go to.
struct FolderTree<'a> {
    folders: HashMap<i64, FolderPlace>,
    external: &'a [ExternalFolder],
}

impl FolderTree<'_> {
    /// The path of the place `id`, empty for the top. `None` when it is not there, or is no safe
    /// path.
    fn path(&self, id: i64) -> Option<Vec<u8>> {
        let above = |id| {
            let folder = self.folders.get(&id).filter(|folder| is_name(&folder.name));
            Ok(folder.map(|folder| (folder.parent, &folder.name)))
        };
        folder::path_by(id, above).ok().filter(|path| path.len() < LONGEST)
    }

    /// Where the file at `path` of the file list goes to.
    fn first(&self, path: &FilePath) -> Option<FirstName> {
        let FolderTarget { root, path: folder } = self.goes_to(path.parent_bytes()?).ok()?;
        match folder {
            Some(folder) => Some((root, folder.join(path.name()).ok()?)),
            None => Some((root, FilePath::new(path.name()).ok()?)),
        }
    }

    /// Where the folder at `path` goes to; what the server calls it if it goes nowhere.
    fn goes_to(&self, path: &[u8]) -> std::result::Result<FolderTarget, Vec<u8>> {
        if !is_below(path, EXTERNAL) {
            return Ok(FolderTarget { root: 0, path: FilePath::new(path).ok() });
        }
        let server = &path[EXTERNAL.len()..];
        let roots =
            self.external.iter().map(|external| trimmed(external.server.as_os_str().as_bytes()));
        let found = roots.enumerate().filter(|(_, root)| is_below(server, root));
        match found.max_by_key(|(_, root)| root.len()) {
            Some((index, root)) => {
                let rest = server[root.len()..].strip_prefix(b"/").unwrap_or_default();
                Ok(FolderTarget { root: index + 1, path: FilePath::new(rest).ok() })
            }
            None => Err(server.to_vec()),
        }
    }
}

/// The files that `links` speak of: their place in `files`.
pub(super) fn firsts(plan: &WholePlan) -> HashMap<FirstName, usize> {
    let wanted: HashSet<&FirstName> = plan.links.iter().map(|(_, first)| first).collect();
    let names: HashSet<&[u8]> = wanted.iter().map(|(_, path)| path.name()).collect();
    let likely = plan.files.iter().enumerate().filter(|(_, item)| names.contains(&*item.name));
    let placed = likely.filter_map(|(index, item)| Some((plan.at(item)?, index)));
    placed.filter(|(at, _)| wanted.contains(at)).collect()
}
