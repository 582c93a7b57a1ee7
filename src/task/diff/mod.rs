//! What changed in the library between two snapshots: assets by their ids and contents, albums,
//! people, tags, accounts, and files that belong to no asset.
//!
//! A photo that the storage template moved is a move, however many moved; a file whose bytes are
//! found at another path is renamed, not deleted and born again. Locked assets are told of only
//! when asked for, in either snapshot.
//!
//! Limits: changes of mode, owner or time of a file are no changes, nor are Immich's `.immich`
//! markers, which it writes at each start.

mod alike;
mod change;
mod file;
mod thing;

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use uuid::Uuid;

pub use self::alike::AlikeChange;
pub(super) use self::change::{AssetState, compare};
pub use self::change::{FieldChange, OldNew};
pub use self::file::FileChange;
pub use self::thing::{AlbumChange, ThingChange};
use super::find::{AssetFinder, FindHit, PlaceFinder};
use super::open::find_snapshot;
use crate::base::{Result, SnapshotId};
use crate::catalog::FilePart;
use crate::catalog::ImmichId;
use crate::catalog::night::AssetRow;
use crate::catalog::query::history::{self as ask, AssetContent, TimePair};
use crate::catalog::query::search;
use crate::repo::Repository;
use crate::view::find_user;

/// What to compare.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots: id, name in the tree, or `latest`.
    pub old: String,
    pub new: String,
    /// What belongs to this person only.
    pub user: Option<String>,
    /// Name each asset of which only the place on disk changed; else they are only counted.
    pub moves: bool,
    pub locked: bool,
}

/// What changed.
#[derive(Debug, Clone)]
pub struct SnapshotDiff {
    pub old: SnapshotId,
    pub new: SnapshotId,
    pub assets: Vec<AssetChange>,
    /// Changes that many of `assets` have in common, as when Immich calls a country otherwise; most
    /// photos first.
    pub alike: Vec<AlikeChange>,
    pub albums: Vec<AlbumChange>,
    /// People, tags and accounts.
    pub things: Vec<ThingChange>,
    pub files: Vec<FileChange>,
    pub summary: DiffSummary,
}

/// An asset that changed.
#[derive(Debug, Clone, Serialize)]
pub struct AssetChange {
    pub id: Uuid,
    pub owner: String,
    pub name: String,
    /// Where the tree shows it: in the new snapshot, or in the old one when it is deleted.
    pub path: Option<String>,
    pub changes: Vec<FieldChange>,
}

/// How much changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DiffSummary {
    pub added: u64,
    pub added_bytes: u64,
    pub deleted: u64,
    pub deleted_bytes: u64,
    /// Erased, and uploaded again.
    pub given_back: u64,
    /// Other bytes.
    pub edited: u64,
    pub trashed: u64,
    pub restored: u64,
    /// Moved on disk, the bytes being the same.
    pub moved: u64,
    /// Changed in any other way.
    pub changed: u64,
    pub albums: u64,
    /// People, tags and accounts.
    pub things: u64,
    /// Files without an asset.
    pub files: u64,
}

/// Compares two snapshots of `repository`.
pub fn diff(repository: &Repository, options: &Options) -> Result<SnapshotDiff> {
    let finder = AssetFinder::open(repository, options.locked)?;
    let id = |name: &str| find_snapshot(&finder.view, name).map(|found| found.0);
    let (old, new) = (id(&options.old)?, id(&options.new)?);
    let user = options.user.as_deref().map(|user| find_user(&finder.db, user)).transpose()?;
    let pair = TimePair { old: old.seconds(), new: new.seconds() };
    let comparing = DiffWork { finder: &finder, pair, user, options };
    comparing.diff(old, new)
}

/// A comparison at work.
struct DiffWork<'a> {
    finder: &'a AssetFinder,
    pair: TimePair,
    user: Option<ImmichId>,
    options: &'a Options,
}

impl DiffWork<'_> {
    fn diff(&self, old: SnapshotId, new: SnapshotId) -> Result<SnapshotDiff> {
        let mut summary = DiffSummary::default();
        let mut places = self.finder.places();
        let assets = self.assets(&mut places, &mut summary)?;
        let albums = self.albums()?;
        let things = self.things()?;
        let files = if self.user.is_none() { self.files(&mut places)? } else { Vec::new() };
        summary.albums = albums.len() as u64;
        summary.things = things.len() as u64;
        summary.files = files.len() as u64;
        Ok(SnapshotDiff {
            old,
            new,
            alike: alike::find(&assets),
            assets,
            albums,
            things,
            files,
            summary,
        })
    }

    fn assets(
        &self,
        places: &mut PlaceFinder<'_>,
        summary: &mut DiffSummary,
    ) -> Result<Vec<AssetChange>> {
        let mut changed = Vec::new();
        let ids = ask::changed_assets(&self.finder.db, self.pair)?;
        let given_back = self.given_back(&ids)?;
        let gone: HashSet<&ImmichId> = given_back.values().collect();
        for id in ids.iter().filter(|id| !gone.contains(id)) {
            if !self.is_shown(id)? {
                continue;
            }
            let (old, new) = (self.version(id, self.pair.old)?, self.version(id, self.pair.new)?);
            let changes = match given_back.get(id) {
                Some(was) => vec![FieldChange::GivenBack { was: Uuid::from_bytes(*was) }],
                None => compare(
                    self.state(old.as_ref(), self.pair.old)?.as_ref(),
                    self.state(new.as_ref(), self.pair.new)?.as_ref(),
                ),
            };
            summary.count(&changes);
            let only_moved =
                changes.iter().all(|change| matches!(change, FieldChange::Moved { .. }));
            if changes.is_empty() || (only_moved && !self.options.moves) {
                continue;
            }
            let (version, at) = match (new, old) {
                (Some(new), _) => (new, self.pair.new),
                (None, Some(old)) => (old, self.pair.old),
                (None, None) => continue,
            };
            changed.push(self.told(FindHit { version, at, range: None }, changes, places)?);
        }
        changed.sort_by(|a, b| {
            (&a.owner, &a.path, &a.name, a.id).cmp(&(&b.owner, &b.path, &b.name, b.id))
        });
        Ok(changed)
    }

    /// Of `ids` the new ones that are old ones given back, each with the id that it had. Both must
    /// be shown.
    fn given_back(&self, ids: &[ImmichId]) -> Result<HashMap<ImmichId, ImmichId>> {
        let mut found = HashMap::new();
        for id in ids {
            let Some(old) = self.version(id, self.pair.old)? else { continue };
            if self.version(id, self.pair.new)?.is_some() {
                continue;
            }
            let Some(heir) = self.finder.night(self.pair.new).given_back(old.row)? else {
                continue;
            };
            if self.version(&heir, self.pair.old)?.is_none()
                && self.is_shown(id)?
                && self.is_shown(&heir)?
            {
                found.entry(heir).or_insert(*id);
            }
        }
        Ok(found)
    }

    fn told(
        &self,
        hit: FindHit,
        changes: Vec<FieldChange>,
        places: &mut PlaceFinder<'_>,
    ) -> Result<AssetChange> {
        let path = places.shown(&hit)?.map(|shown| shown.path);
        Ok(AssetChange {
            id: hit.id(),
            owner: self.finder.owner(&hit)?,
            name: hit.name().to_owned(),
            path,
            changes,
        })
    }

    /// It belongs to whom was asked for, and is locked in neither snapshot unless that was asked
    /// for.
    fn is_shown(&self, id: &ImmichId) -> Result<bool> {
        for at in [self.pair.old, self.pair.new] {
            let Some((owner, locked)) = self.finder.night(at).owner_and_lock(id)? else {
                continue;
            };
            if (locked && !self.options.locked) || self.user.is_some_and(|user| user != owner) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn version(&self, id: &ImmichId, at: i64) -> Result<Option<AssetRow>> {
        self.finder.night(at).asset(id)
    }

    fn state(&self, version: Option<&AssetRow>, at: i64) -> Result<Option<AssetState>> {
        let Some(version) = version else { return Ok(None) };
        let db = &self.finder.db;
        let line = search::line(db, version.row)?.unwrap_or_default();
        let bytes = db.night(at).asset_bytes(&version.id, FilePart::Original)?;
        AssetState::new(&line, bytes.map(|(id, size)| AssetContent { id, size })).map(Some)
    }
}

impl DiffSummary {
    fn count(&mut self, changes: &[FieldChange]) {
        let mut other = false;
        for change in changes {
            match change {
                FieldChange::Added { size } => {
                    (self.added, self.added_bytes) =
                        (self.added + 1, self.added_bytes + size.unwrap_or(0))
                }
                FieldChange::Deleted { size } => {
                    (self.deleted, self.deleted_bytes) =
                        (self.deleted + 1, self.deleted_bytes + size.unwrap_or(0))
                }
                FieldChange::GivenBack { .. } => self.given_back += 1,
                FieldChange::Edited { .. } => self.edited += 1,
                FieldChange::Trashed => self.trashed += 1,
                FieldChange::Restored => self.restored += 1,
                FieldChange::Moved { .. } => self.moved += 1,
                _ => other = true,
            }
        }
        self.changed += u64::from(other);
    }

    /// True when nothing changed at all.
    pub fn is_empty(&self) -> bool {
        *self == DiffSummary::default()
    }
}
