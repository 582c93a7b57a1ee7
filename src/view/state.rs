//! One generation of the catalog as the view holds it: a few connections, and what was worked out
//! from them.
//!
//! Always holds: never more than [`CONNECTIONS`] connections and [`ENTRIES`] entries of listings
//! (one listing may be longer by itself: then it is the only one). All of it is dropped when a
//! newer generation takes over.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use lru::LruCache;

use super::ino::Ino;
use super::listing::Listing;
use super::read::{ByteSource, FileBytes};
use crate::base::{Error, ErrorKind, Result};
use crate::catalog::night::{CatalogNight, HiddenPaths};
use crate::catalog::query;
use crate::catalog::query::snapshot::{self as ask, SnapshotRow};
use crate::catalog::{Catalog, Generation};

/// Connections to the catalog, each with up to 4 MiB of cache.
pub const CONNECTIONS: usize = 4;

/// Entries of all listings that are kept, about 60 bytes each.
pub const ENTRIES: usize = 60_000;

/// Files of which it is known where their bytes are, and folders of which it is known where they
/// lie.
const OPENED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Snapshots of which number and time are known.
const NUMBERS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Snapshots of which it is known what is locked.
const PRIVATE: NonZeroUsize = NonZeroUsize::new(4).unwrap();

pub(super) struct ViewState {
    pub generation: Generation,
    pub lineage: Option<String>,
    /// Hands out bytes by the ids of this lineage.
    pub source: Arc<dyn ByteSource>,
    pool: Mutex<ConnectionPool>,
    returned: Condvar,
    listings: Mutex<Listings>,
    bytes: Mutex<LruCache<Ino, FileBytes>>,
    hidden: Mutex<LruCache<i64, Arc<HiddenPaths>>>,
    numbers: Mutex<LruCache<u16, SnapshotRow>>,
    /// By time and row of a folder in `files/`: the place that it lies in, and the place that it
    /// is.
    pub folders: Mutex<LruCache<(i64, u64), (i64, i64)>>,
    /// By time and place: the row of the folder.
    pub places: Mutex<LruCache<(i64, i64), u64>>,
    pub snapshots: OnceLock<Vec<NamedSnapshot>>,
    /// What `README.txt` says.
    pub readme: OnceLock<Arc<str>>,
    pub totals: OnceLock<(u64, u64)>,
}

/// A snapshot and its name.
#[derive(Debug, Clone)]
pub(super) struct NamedSnapshot {
    pub snapshot: SnapshotRow,
    pub name: String,
}

struct ConnectionPool {
    idle: Vec<Catalog>,
    open: usize,
}

struct Listings {
    cache: LruCache<Ino, Arc<Listing>>,
    entries: usize,
}

impl ViewState {
    /// The generation at `path` as it is now.
    pub fn open(path: &Path, source: Arc<dyn ByteSource>) -> Result<ViewState> {
        let generation = Generation::open(path)?;
        let connection = generation.connect()?;
        let lineage = query::meta(&connection, "lineage")?;
        Ok(ViewState {
            generation,
            lineage,
            source,
            pool: Mutex::new(ConnectionPool { idle: vec![connection], open: 1 }),
            returned: Condvar::new(),
            listings: Mutex::new(Listings { cache: LruCache::unbounded(), entries: 0 }),
            bytes: Mutex::new(LruCache::new(OPENED)),
            hidden: Mutex::new(LruCache::new(PRIVATE)),
            numbers: Mutex::new(LruCache::new(NUMBERS)),
            folders: Mutex::new(LruCache::new(OPENED)),
            places: Mutex::new(LruCache::new(NUMBERS)),
            snapshots: OnceLock::new(),
            readme: OnceLock::new(),
            totals: OnceLock::new(),
        })
    }

    /// Lends a connection. Must not be called while one is held.
    pub fn with<T>(&self, work: impl FnOnce(&Catalog) -> Result<T>) -> Result<T> {
        let lent = LentConnection { state: self, connection: Some(self.take()?) };
        match &lent.connection {
            Some(connection) => work(connection),
            None => Err(Error::new(ErrorKind::Io, "no connection to the catalog")),
        }
    }

    fn take(&self) -> Result<Catalog> {
        let mut pool = lock(&self.pool);
        loop {
            if let Some(connection) = pool.idle.pop() {
                return Ok(connection);
            }
            if pool.open < CONNECTIONS {
                match self.generation.connect() {
                    Ok(connection) => {
                        pool.open += 1;
                        return Ok(connection);
                    }
                    // One more that cannot be had is not needed.
                    Err(error) if pool.open == 0 => return Err(error),
                    Err(_) => {}
                }
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The listing of `folder`, from memory or from `make`.
    pub fn listing(
        &self,
        folder: Ino,
        make: impl FnOnce() -> Result<Listing>,
    ) -> Result<Arc<Listing>> {
        if let Some(known) = lock(&self.listings).cache.get(&folder) {
            return Ok(known.clone());
        }
        let made = Arc::new(make()?);
        lock(&self.listings).put(folder, made.clone());
        Ok(made)
    }

    /// Where the bytes of `file` are, from memory or from `find`.
    pub fn bytes(&self, file: Ino, find: impl FnOnce() -> Result<FileBytes>) -> Result<FileBytes> {
        if let Some(known) = lock(&self.bytes).get(&file) {
            return Ok(known.clone());
        }
        let found = find()?;
        lock(&self.bytes).put(file, found.clone());
        Ok(found)
    }

    /// The snapshot with `number`.
    pub fn snapshot(&self, db: &Catalog, number: u16) -> Result<SnapshotRow> {
        if let Some(known) = lock(&self.numbers).get(&number) {
            return Ok(*known);
        }
        let snapshot =
            ask::snapshot_by_number(db, number)?.ok_or_else(|| Error::not_found("snapshot"))?;
        lock(&self.numbers).put(number, snapshot);
        Ok(snapshot)
    }

    /// True when it has the snapshot with `number`.
    pub fn has(&self, number: u16) -> bool {
        lock(&self.numbers).contains(&number) || self.with(|db| self.snapshot(db, number)).is_ok()
    }

    /// True when some snapshot of this generation is not in `newer`.
    pub fn has_more_than(&self, newer: &ViewState) -> Result<bool> {
        let numbers = |state: &ViewState| {
            state.with(|db| {
                Ok(ask::snapshots(db, i64::MIN, i64::MAX)?
                    .into_iter()
                    .map(|snapshot| snapshot.number))
            })
        };
        let newer: HashSet<u16> = numbers(newer)?.collect();
        Ok(numbers(self)?.any(|number| !newer.contains(&number)))
    }

    /// Drops what is cached, and connections beside the first.
    pub fn shrink(&self) {
        let mut pool = lock(&self.pool);
        pool.open -= pool.idle.len().saturating_sub(1);
        pool.idle.truncate(1);
        let mut listings = lock(&self.listings);
        listings.cache.clear();
        listings.entries = 0;
    }

    /// What is locked at that time.
    pub fn hidden(&self, night: CatalogNight<'_>) -> Result<Arc<HiddenPaths>> {
        if let Some(known) = lock(&self.hidden).get(&night.time()) {
            return Ok(known.clone());
        }
        let hidden = Arc::new(night.hidden()?);
        lock(&self.hidden).put(night.time(), hidden.clone());
        Ok(hidden)
    }
}

impl Listings {
    fn put(&mut self, folder: Ino, listing: Arc<Listing>) {
        self.entries += listing.len() + 1;
        if let Some(old) = self.cache.put(folder, listing) {
            self.entries -= old.len() + 1;
        }
        while self.entries > ENTRIES && self.cache.len() > 1 {
            let Some((_, oldest)) = self.cache.pop_lru() else { break };
            self.entries -= oldest.len() + 1;
        }
    }
}

/// A connection that goes back to its pool, also when its borrower panics.
struct LentConnection<'a> {
    state: &'a ViewState,
    connection: Option<Catalog>,
}

impl Drop for LentConnection<'_> {
    fn drop(&mut self) {
        lock(&self.state.pool).idle.extend(self.connection.take());
        self.state.returned.notify_one();
    }
}

/// Locks, also after a panic elsewhere: everything here is only a cache.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
