//! Finding assets: by name, person, album, tag and time of taking, in one snapshot or in all of
//! them.
//!
//! The catalog is asked first; what the tree calls an asset is then looked up in the listings of
//! the folders that hold the hits, each listed once. Over all snapshots an asset is one hit, as it
//! was in the newest snapshot where it answered.
//!
//! Always holds: locked assets, and moving halves of locked ones, are no hits unless asked for;
//! over all snapshots neither are those that are locked now. Bad snapshots do not count where a
//! good one is there: a dump that was cut short deletes nothing.

mod name;
mod place;
mod range;
mod record;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

pub use self::name::NamePattern;
use self::name::choose;
pub(super) use self::name::unknown;
pub use self::place::{PlaceFinder, TreePlace};
pub use self::range::DayRange;
pub use self::record::{FoundAsset, NamedThing, SnapshotSpan};
use super::open::{find_snapshot, open_view};
use crate::base::{Result, SnapshotId};
use crate::catalog::ImmichId;
use crate::catalog::night::{AssetRow, OnDisk};
use crate::catalog::query::search::{self as ask, AssetFilter, NamedKind, SearchTime};
use crate::catalog::{Catalog, CatalogNight};
use crate::repo::Repository;
use crate::view::{self, View, find_user};

/// Which assets are wanted. Several values of one kind: any of them; several kinds: all of them.
#[derive(Debug, Clone, Default)]
pub struct FindQuery {
    /// Patterns for the name; see [`NamePattern`].
    pub names: Vec<String>,
    /// Owners: name, address, storage label or id.
    pub users: Vec<String>,
    /// Albums: name or id. All of that name are meant.
    pub albums: Vec<String>,
    /// Named people: name or id.
    pub people: Vec<String>,
    /// Tags: the whole path or id; those below it are meant too.
    pub tags: Vec<String>,
    pub assets: Vec<Uuid>,
    pub taken: Option<DayRange>,
    pub favorite: bool,
    /// Locked ones too.
    pub locked: bool,
}

impl FindQuery {
    /// True when it asks for nothing in particular.
    pub fn is_empty(&self) -> bool {
        let lists = [&self.names, &self.users, &self.albums, &self.people, &self.tags];
        lists.into_iter().all(Vec::is_empty)
            && self.assets.is_empty()
            && self.taken.is_none()
            && !self.favorite
    }
}

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindSpan {
    /// In one snapshot: id, name in the tree, or `latest`.
    Snapshot(String),
    /// In all of them.
    All,
}

/// An asset that answers.
#[derive(Debug, Clone)]
pub struct FindHit {
    pub(super) version: AssetRow,
    /// The snapshot that shows it so, seconds since 1970.
    pub(super) at: i64,
    /// Over all snapshots: the first and the last that have it, and whether the newest has it not.
    pub range: Option<SnapshotSpan>,
}

impl FindHit {
    /// Its id in Immich.
    pub fn id(&self) -> Uuid {
        Uuid::from_bytes(self.version.id)
    }

    /// The name that it was uploaded with.
    pub fn name(&self) -> &str {
        &self.version.name
    }

    /// Wall-clock time where it was taken.
    pub fn taken(&self) -> jiff::civil::DateTime {
        self.version.wall_clock()
    }
}

/// Asks a repository for assets.
pub struct AssetFinder {
    pub(super) view: Arc<View>,
    pub(super) db: Catalog,
    /// The snapshots that count, oldest first.
    pub(super) times: Vec<i64>,
}

impl AssetFinder {
    /// Opens `repository`.
    pub fn open(repository: &Repository, locked: bool) -> Result<AssetFinder> {
        let view = open_view(repository, view::Options { locked, ..view::Options::default() })?;
        let db = repository.catalog()?.connect()?;
        let times = ask::times(&db)?;
        Ok(AssetFinder { view, db, times })
    }

    /// The assets that answer to `query`, by the time of taking.
    pub fn find(&self, query: &FindQuery, span: &FindSpan) -> Result<Vec<FindHit>> {
        let when = self.when(span)?;
        let patterns =
            query.names.iter().map(|text| NamePattern::parse(text)).collect::<Result<Vec<_>>>()?;
        let filter = self.filter(query, when)?;
        let versions =
            ask::assets(&self.db, when, &filter, move |name| name::matches(&patterns, name))?;
        let mut hits = match when {
            SearchTime::At(at) => {
                versions.into_iter().map(|version| FindHit { version, at, range: None }).collect()
            }
            SearchTime::Ever => self.ever(versions)?,
        };
        hits.sort_unstable_by_key(|hit: &FindHit| {
            (hit.version.taken, hit.version.added, hit.version.id)
        });
        Ok(hits)
    }

    /// Where the tree shows hits; remembers what it has looked up.
    pub fn places(&self) -> PlaceFinder<'_> {
        PlaceFinder::new(self)
    }

    /// Everything that is known of `hit`.
    pub fn record(&self, hit: &FindHit, places: &mut PlaceFinder<'_>) -> Result<FoundAsset> {
        record::record(self, hit, places)
    }

    /// What the server's disk had of `hit`.
    pub fn on_disk(&self, hit: &FindHit) -> Result<OnDisk> {
        self.night(hit.at).on_disk(&hit.version.id)
    }

    /// What the catalog knows of the snapshot at `at`.
    pub(in crate::task) fn night(&self, at: i64) -> CatalogNight<'_> {
        self.db.night(at)
    }

    /// Who owns `hit`.
    pub fn owner(&self, hit: &FindHit) -> Result<String> {
        self.night(hit.at).owner_name(&hit.version)
    }

    fn when(&self, span: &FindSpan) -> Result<SearchTime> {
        match span {
            FindSpan::Snapshot(name) => {
                Ok(SearchTime::At(find_snapshot(&self.view, name)?.0.seconds()))
            }
            FindSpan::All => Ok(SearchTime::Ever),
        }
    }

    pub(super) fn filter(&self, query: &FindQuery, when: SearchTime) -> Result<AssetFilter> {
        let users =
            query.users.iter().map(|user| find_user(&self.db, user)).collect::<Result<Vec<_>>>()?;
        let ids: Vec<_> = query.assets.iter().map(|id| id.into_bytes()).collect();
        Ok(AssetFilter {
            owners: some(users),
            albums: self.things(NamedKind::Album, "album", &query.albums, when)?,
            people: self.things(NamedKind::Person, "person", &query.people, when)?,
            tags: self.things(NamedKind::Tag, "tag", &query.tags, when)?,
            ids: some(ids),
            taken: query.taken.map(DayRange::milliseconds),
            favorite: query.favorite,
            locked: query.locked,
        })
    }

    fn things(
        &self,
        thing: NamedKind,
        what: &str,
        texts: &[String],
        when: SearchTime,
    ) -> Result<Option<Vec<ImmichId>>> {
        if texts.is_empty() {
            return Ok(None);
        }
        let known = ask::named(&self.db, thing, when)?;
        let mut ids = Vec::new();
        for text in texts {
            let chosen = choose(what, &known, text.trim_end_matches('/'))?;
            if thing == NamedKind::Tag {
                ids.extend(below(&known, &chosen));
            }
            ids.extend(chosen);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Some(ids))
    }

    /// One hit an asset: its newest version that a snapshot shows.
    fn ever(&self, versions: Vec<AssetRow>) -> Result<Vec<FindHit>> {
        let mut newest: HashMap<ImmichId, FindHit> = HashMap::new();
        for version in versions {
            let Some((_, at)) = self.shown(version.since, version.until) else { continue };
            let known = newest.get(&version.id).is_none_or(|hit| hit.at < at);
            if known {
                newest.insert(version.id, FindHit { version, at, range: None });
            }
        }
        let mut hits: Vec<FindHit> = newest.into_values().collect();
        for hit in &mut hits {
            hit.range = self.snapshots_of(&hit.version.id)?;
        }
        self.join_given_back(hits)
    }

    /// Makes one hit of a photo that was erased and given back under a new id: it is not deleted.
    fn join_given_back(&self, mut hits: Vec<FindHit>) -> Result<Vec<FindHit>> {
        let Some(now) = self.times.last() else { return Ok(hits) };
        let mut first: HashMap<ImmichId, SnapshotId> = HashMap::new();
        let (mut back, there) =
            (HashSet::new(), hits.iter().map(|hit| hit.version.id).collect::<HashSet<ImmichId>>());
        for hit in hits.iter().filter(|hit| hit.range.is_some_and(|range| range.deleted)) {
            let Some(heir) = self.night(*now).given_back(hit.version.row)? else { continue };
            if let (true, Some(range)) = (there.contains(&heir), hit.range) {
                back.insert(hit.version.id);
                let known = first.entry(heir).or_insert(range.first);
                *known = range.first.min(*known);
            }
        }
        hits.retain(|hit| !back.contains(&hit.version.id));
        for hit in &mut hits {
            if let (Some(first), Some(range)) = (first.get(&hit.version.id), hit.range.as_mut()) {
                range.first = range.first.min(*first);
            }
        }
        Ok(hits)
    }

    /// The first and the last snapshot in a range, if there is one in it.
    pub(super) fn shown(&self, since: i64, until: i64) -> Option<(i64, i64)> {
        let from = self.times.partition_point(|time| *time < since);
        let to = self.times.partition_point(|time| *time < until);
        (from < to).then(|| (self.times[from], self.times[to - 1]))
    }

    fn snapshots_of(&self, id: &ImmichId) -> Result<Option<SnapshotSpan>> {
        let ranges = ask::ranges(&self.db, id)?;
        let shown: Vec<_> =
            ranges.into_iter().filter_map(|(since, until)| self.shown(since, until)).collect();
        let (Some(first), Some(last)) =
            (shown.iter().map(|s| s.0).min(), shown.iter().map(|s| s.1).max())
        else {
            return Ok(None);
        };
        Ok(Some(SnapshotSpan {
            first: SnapshotId::from_seconds(first)?,
            last: SnapshotId::from_seconds(last)?,
            deleted: self.times.last() != Some(&last),
        }))
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// The tags below those that were chosen: Immich's search means them too.
fn below(tags: &[(ImmichId, String)], chosen: &[ImmichId]) -> Vec<ImmichId> {
    let roots: Vec<String> = tags
        .iter()
        .filter(|(id, _)| chosen.contains(id))
        .map(|(_, value)| format!("{value}/"))
        .collect();
    tags.iter()
        .filter(|(_, value)| roots.iter().any(|root| value.starts_with(root)))
        .map(|(id, _)| *id)
        .collect()
}
