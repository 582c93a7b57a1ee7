//! The view: a snapshot as the tree that people browse, computed from the catalog and nothing else.
//!
//! Node to attributes, to children, to one child by name, to bytes: each is a query or two. There
//! is no table of nodes: a number says by itself what it is ([`ino`]). What a folder of `users/`
//! holds is worked out when it is first asked for and kept for a while ([`ViewState`] says how much);
//! `files/` is never kept. Names follow the one rule in [`name`], contents of folders those in
//! [`users`].
//!
//! Always holds: from the top no call leads to locked assets, nor with [`Options::user`] to
//! anything but that person's tree. A node keeps its number, and a file its bytes, as long as the
//! catalog keeps its lineage; also in a snapshot that was forgotten meanwhile, until its archives
//! are deleted. Knows nothing of FUSE.
//!
//! Limits: those of [`ino`]; with a catalog that was rebuilt under a view the view goes on with the
//! old one until it is opened again. A snapshot shows what was private *then*: an asset that was
//! locked later is seen in earlier snapshots.

mod files;
pub mod ino;
mod listing;
pub mod live;
pub mod name;
mod node;
mod preview;
mod read;
mod state;
mod top;
mod users;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::tz::TimeZone;
use uuid::Uuid;

pub use crate::catalog::night::OnDisk;
pub use ino::{AssetPart, Ino, ROOT};
pub use read::ByteSource;

use crate::base::library::User;
use crate::base::{Error, Hash, Result, Sha1, SnapshotId};
use crate::catalog::{Catalog, ImmichId, query};
use ino::{NodePlace, SnapshotNode};
use read::FileBytes;
use state::ViewState;
use users::SnapshotView;

/// How a library is shown.
#[derive(Debug, Clone)]
pub struct Options {
    /// Show locked assets.
    pub locked: bool,
    /// Show only this person's tree: name, address, storage label or id. `files/` and `database/`
    /// are hidden then.
    pub user: Option<String>,
    /// In which snapshots are named.
    pub time_zone: TimeZone,
}

impl Default for Options {
    fn default() -> Self {
        Options { locked: false, user: None, time_zone: TimeZone::system() }
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    File,
    Folder,
    Symlink,
}

/// A node's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    pub ino: Ino,
    pub kind: NodeKind,
    /// Bytes of a file or of a symlink's target; 0 for folders.
    pub size: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub mtime_ns: i64,
    /// Permission bits.
    pub mode: u16,
    /// Owner and group as they were on disk; only in `files/`.
    pub owner: Option<(u32, u32)>,
}

/// One entry of a folder.
#[derive(Debug, Clone, Copy)]
pub struct FolderEntry<'a> {
    pub name: &'a [u8],
    /// Where to go on after this entry; never 0.
    pub cookie: u64,
    pub node: Node,
}

/// The asset that a file of `users/` belongs to.
#[derive(Debug, Clone)]
pub struct ViewAsset {
    /// Of a moving half its own id, of a sidecar the photo's.
    pub id: Uuid,
    pub part: AssetPart,
    /// Of the file's bytes.
    pub blake3: Hash,
    /// Of the file's bytes.
    pub sha1: Sha1,
    /// What the server's disk had.
    pub on_disk: OnDisk,
    /// The albums that hold it.
    pub albums: Vec<String>,
}

/// How much the repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewTotals {
    /// Bytes of all archives.
    pub bytes: u64,
    /// Contents: files that differ.
    pub contents: u64,
}

/// The tree of one repository. Shared by threads.
pub struct View {
    catalog: PathBuf,
    options: Options,
    user: Option<ImmichId>,
    shown: RwLock<ShownGeneration>,
}

/// What is shown: the newest generation, and for whoever is in a snapshot that was forgotten since,
/// the last that had it.
struct ShownGeneration {
    now: Arc<ViewState>,
    /// Newest first.
    past: Vec<Arc<ViewState>>,
    /// The last state of each catalog that was rebuilt since, the oldest first. The kernel knows
    /// the nodes of their snapshots by numbers which mean others in a rebuilt one: so they are
    /// shown out of them for as long as the mount lasts.
    rebuilt: Vec<Arc<ViewState>>,
}

/// Older generations that are kept.
const PAST: usize = 4;

impl View {
    /// The view of the catalog file `catalog`, whose bytes come from `source`. `NotFound` when
    /// there is no such user.
    pub fn open(catalog: &Path, source: Arc<dyn ByteSource>, options: Options) -> Result<View> {
        let state = ViewState::open(catalog, source)?;
        let user =
            options.user.as_deref().map(|user| state.with(|db| find_user(db, user))).transpose()?;
        Ok(View {
            catalog: catalog.to_owned(),
            options,
            user,
            shown: RwLock::new(ShownGeneration {
                now: Arc::new(state),
                past: Vec::new(),
                rebuilt: Vec::new(),
            }),
        })
    }

    /// Takes over a newer catalog, if there is one; true if so. What is cached of the old one is
    /// dropped.
    pub fn refresh(&self) -> Result<bool> {
        let old = self.state();
        if !old.generation.is_outdated() {
            return Ok(false);
        }
        let new = ViewState::open(&self.catalog, old.source.clone())?;
        if new.lineage != old.lineage {
            return self.take_over_rebuilt(old, new).map(|()| true);
        }
        let is_needed = old.has_more_than(&new)?;
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        shown.now = Arc::new(new);
        if is_needed {
            old.shrink();
            shown.past.insert(0, old);
            shown.past.truncate(PAST);
        }
        shown.now.source.renew();
        Ok(true)
    }

    /// Shows `new`, of which the ids are others, beside `old`.
    fn take_over_rebuilt(&self, old: Arc<ViewState>, mut new: ViewState) -> Result<()> {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        let source = old.source.for_rebuilt().filter(|_| shown.rebuilt.len() < PAST);
        let Some(source) = source else {
            return Err(Error::damaged("the catalog was rebuilt; what is shown is the one before")
                .hint("unmount and mount again to see the new one"));
        };
        old.shrink();
        old.source.renew();
        shown.rebuilt.push(old);
        new.source = source;
        shown.now = Arc::new(new);
        Ok(())
    }

    /// The repository's id, as the catalog says.
    pub fn repository(&self) -> Result<Option<String>> {
        self.with(|_, db| query::meta(db, "repository"))
    }

    /// The attributes of a node.
    pub fn node(&self, ino: Ino) -> Result<Node> {
        self.at(
            ino,
            |place, state, db| self.top_node(state, db, place, ino),
            |at, spot| at.node(spot, ino),
        )
    }

    /// The entry called `name` of the folder `parent`; `None` when there is none.
    pub fn child(&self, parent: Ino, name: &[u8]) -> Result<Option<Node>> {
        self.at(
            parent,
            |place, state, db| match place {
                NodePlace::Root => self.root_child(state, db, name),
                NodePlace::Snapshots => self.snapshot_child(db, name),
                _ => Ok(None),
            },
            |at, spot| match spot {
                SnapshotNode::Files | SnapshotNode::File(_) => at.file_child(spot, name),
                _ if std::str::from_utf8(name).is_ok_and(name::is_probe) => Ok(None),
                _ => Ok(at.state.listing(parent, || at.list(spot))?.find(name)),
            },
        )
    }

    /// Hands the entries of the folder `parent` to `each`, from after the one with cookie `after`
    /// (0: from the front), in an order that stays the same. `each` must not ask this view
    /// anything.
    pub fn children(
        &self,
        parent: Ino,
        after: u64,
        each: &mut dyn FnMut(FolderEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let found = place(ino_of(parent)?);
        let state = self.state_of(&found);
        state.with(|db| match found {
            FoundNode::Top(NodePlace::Root) => self.root_children(&state, db, after, each),
            FoundNode::Top(NodePlace::Snapshots) => self.snapshot_children(&state, db, after, each),
            FoundNode::Top(_) => Err(Error::invalid("not a folder")),
            FoundNode::In(number, spot) => {
                let at = self.snapshot_at(&state, db, number)?;
                match spot {
                    SnapshotNode::Files | SnapshotNode::File(_) => {
                        at.file_children(spot, after, each)
                    }
                    _ => {
                        let listing = state.listing(parent, || at.list(spot))?;
                        walk(&listing, after, each);
                        Ok(())
                    }
                }
            }
        })
    }

    /// The folder that the folder `ino` lies in; the top's is itself.
    pub fn parent(&self, ino: Ino) -> Result<Ino> {
        self.at(ino, |_, _, _| Ok(ROOT), |at, spot| at.parent(spot))
    }

    /// Calls `take` with up to `len` bytes from `offset` of the file `ino`, fewer only where it
    /// ends. `Damaged` when the bytes are not what was written: they are never handed out.
    pub fn read<T>(
        &self,
        ino: Ino,
        offset: u64,
        len: usize,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        let found = place(ino_of(ino)?);
        let state = self.state_of(&found);
        state.with(|db| {
            let bytes = state.bytes(ino, || match found {
                FoundNode::Top(NodePlace::Readme) => top::readme(&state, db).map(FileBytes::Text),
                FoundNode::Top(_) => Err(Error::invalid("not a file")),
                FoundNode::In(number, spot) => self.snapshot_at(&state, db, number)?.bytes(spot),
            })?;
            bytes.read(&*state.source, db, offset, len, take)
        })
    }

    /// Calls `take` with the size of Immich's own picture of the photo or video `ino`, and with up
    /// to `len` bytes of it from `offset`; `None` where there is none. `edge`: how many pixels a
    /// side are wanted.
    pub fn preview<T>(
        &self,
        ino: Ino,
        edge: u32,
        offset: u64,
        len: usize,
        take: impl FnOnce(u64, &[u8]) -> T,
    ) -> Result<Option<T>> {
        let found = place(ino_of(ino)?);
        let FoundNode::In(number, spot) = found else { return Ok(None) };
        let state = self.state_of(&found);
        state.with(|db| {
            let Some(bytes) = self.snapshot_at(&state, db, number)?.preview(spot, edge)? else {
                return Ok(None);
            };
            bytes.read(&*state.source, db, offset, len, |read| take(bytes.size(), read)).map(Some)
        })
    }

    /// Where the symlink `ino` points.
    pub fn target(&self, ino: Ino) -> Result<Vec<u8>> {
        let found = self.at(
            ino,
            |place, _, db| match place {
                NodePlace::Latest(number) => {
                    self.latest_target(db, number).map(|target| Some(target.into_bytes()))
                }
                _ => Ok(None),
            },
            |at, spot| match spot {
                SnapshotNode::File(row) => {
                    at.file(row)?;
                    at.night.symlink(row)
                }
                _ => Ok(None),
            },
        );
        found?.ok_or_else(|| Error::invalid("not a symlink"))
    }

    /// The asset that the file `ino` of `users/` belongs to; `None` for everything else.
    pub fn asset(&self, ino: Ino) -> Result<Option<ViewAsset>> {
        self.at(ino, |_, _, _| Ok(None), |at, spot| at.asset(spot))
    }

    /// What the server's disk had of the asset's file `ino`; everything else is as it lay there.
    pub fn on_disk(&self, ino: Ino) -> Result<OnDisk> {
        self.at(ino, |_, _, _| Ok(OnDisk::Same), |at, spot| at.on_disk(spot))
    }

    /// The snapshot that `ino` lies in; `None` above snapshots.
    pub fn snapshot_of(&self, ino: Ino) -> Result<Option<SnapshotId>> {
        self.at(ino, |_, _, _| Ok(None), |at, _| SnapshotId::from_seconds(at.time()).map(Some))
    }

    /// The node at `path` below `folder`; `latest` stands for the snapshot it points to. `NotFound`
    /// names what is missing.
    pub fn resolve(&self, folder: Ino, path: &[u8]) -> Result<Node> {
        let missing = || Error::not_found(format_args!("`{}`", String::from_utf8_lossy(path)));
        let mut node = self.node(folder)?;
        for part in path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            node = self.child(node.ino, part)?.ok_or_else(missing)?;
            if matches!(NodePlace::unpack(node.ino), Some(NodePlace::Latest(_))) {
                node = self.snapshot("latest")?;
            }
        }
        Ok(node)
    }

    /// How many assets of the snapshot in `ino` have no bytes in it, and so are nowhere in the
    /// tree: files that were missing, and external libraries that were not covered.
    pub fn without_bytes(&self, ino: Ino) -> Result<u64> {
        self.at(ino, |_, _, _| Ok(0), |at, _| at.night.without_bytes(self.user.as_ref()))
    }

    /// How much the repository holds.
    pub fn totals(&self) -> Result<ViewTotals> {
        let state = self.state();
        let (bytes, contents) = match state.totals.get() {
            Some(known) => *known,
            None => {
                let counted = state.with(|db| query::totals(db))?;
                *state.totals.get_or_init(|| counted)
            }
        };
        Ok(ViewTotals { bytes, contents })
    }

    fn state(&self) -> Arc<ViewState> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).now.clone()
    }

    /// The newest generation that has what was found; of a catalog that was rebuilt meanwhile, if
    /// it was shown out of that.
    fn state_of(&self, found: &FoundNode) -> Arc<ViewState> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let (now, past, rebuilt) = (shown.now.clone(), shown.past.clone(), shown.rebuilt.clone());
        drop(shown);
        if let FoundNode::In(number, _) = *found
            && let Some(state) = rebuilt.into_iter().find(|state| state.has(number))
        {
            return state;
        }
        match *found {
            FoundNode::In(number, _) if !past.is_empty() && !now.has(number) => {
                past.into_iter().find(|state| state.has(number)).unwrap_or(now)
            }
            _ => now,
        }
    }

    fn with<T>(&self, work: impl FnOnce(&ViewState, &Catalog) -> Result<T>) -> Result<T> {
        let state = self.state();
        state.with(|db| work(&state, db))
    }

    /// Calls `top` for what lies above snapshots and `inside` for what lies in one.
    fn at<T>(
        &self,
        ino: Ino,
        top: impl FnOnce(NodePlace, &ViewState, &Catalog) -> Result<T>,
        inside: impl FnOnce(&SnapshotView<'_>, SnapshotNode) -> Result<T>,
    ) -> Result<T> {
        let found = place(ino_of(ino)?);
        let state = self.state_of(&found);
        state.with(|db| match found {
            FoundNode::Top(place) => top(place, &state, db),
            FoundNode::In(number, spot) => inside(&self.snapshot_at(&state, db, number)?, spot),
        })
    }

    fn snapshot_at<'a>(
        &'a self,
        state: &'a ViewState,
        db: &'a Catalog,
        number: u16,
    ) -> Result<SnapshotView<'a>> {
        let snapshot = state.snapshot(db, number)?;
        let night = db.night(snapshot.time);
        Ok(SnapshotView { view: self, state, db, night, snapshot })
    }
}

enum FoundNode {
    Top(NodePlace),
    In(u16, SnapshotNode),
}

fn ino_of(ino: Ino) -> Result<NodePlace> {
    NodePlace::unpack(ino).ok_or_else(|| Error::not_found("node"))
}

fn place(place: NodePlace) -> FoundNode {
    match place {
        NodePlace::In(number, spot) => FoundNode::In(number, spot),
        _ => FoundNode::Top(place),
    }
}

fn walk(
    listing: &listing::Listing,
    after: u64,
    each: &mut dyn FnMut(FolderEntry<'_>) -> ControlFlow<()>,
) {
    for index in after.. {
        let Some((name, node)) = usize::try_from(index).ok().and_then(|index| listing.at(index))
        else {
            return;
        };
        if each(FolderEntry { name: name.as_bytes(), cookie: index + 1, node }).is_break() {
            return;
        }
    }
}

/// The person that `text` means: in any snapshot, by id, address, storage label or name; the case
/// only matters where two differ by nothing else.
pub(crate) fn find_user(db: &Catalog, text: &str) -> Result<ImmichId> {
    let lines = query::user::user_lines(db)?;
    let users: Vec<User> =
        lines.iter().filter_map(|(_, line)| serde_json::from_str(line).ok()).collect();
    let words = |user: &User| {
        [
            user.id.to_string(),
            user.email.clone(),
            user.label.clone().unwrap_or_default(),
            user.name.clone(),
        ]
    };
    let found = |same: &dyn Fn(&str) -> bool| {
        let mut ids: Vec<Uuid> = users
            .iter()
            .filter(|user| words(user).iter().any(|word| same(word)))
            .map(|user| user.id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let exact = found(&|word| word == text);
    let ids =
        if exact.is_empty() { found(&|word| name::fold(word) == name::fold(text)) } else { exact };
    let known = || {
        let mut names: Vec<String> =
            users.iter().map(|user| format!("{} <{}>", user.name, user.email)).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    };
    match ids.as_slice() {
        [id] => Ok(id.into_bytes()),
        [] => Err(Error::not_found(format_args!("user `{text}`"))
            .hint(format_args!("the library has {}", known()))),
        _ => Err(Error::invalid(format_args!("`{text}` means several users"))
            .hint(format_args!("use the address: {}", known()))),
    }
}
