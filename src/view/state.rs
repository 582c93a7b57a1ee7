//! One generation of the catalog as the view holds it: a few connections, and what was worked out from them.
//!
//! Always holds: never more than [`CONNECTIONS`] connections and [`ENTRIES`] entries of listings (one listing may be longer
//! by itself: then it is the only one). All of it is dropped when a newer generation takes over.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use lru::LruCache;
use rusqlite::Connection;

use super::ino::Ino;
use super::listing::Listing;
use super::read::Bytes;
use super::top::Named;
use crate::base::{Error, Kind, Result};
use crate::catalog::Generation;
use crate::catalog::query::view::{self as ask, Private};

/// Connections to the catalog, each with up to 4 MiB of cache.
pub const CONNECTIONS: usize = 4;

/// Entries of all listings that are kept, about 60 bytes each.
pub const ENTRIES: usize = 60_000;

/// Nodes of which it is known where their bytes are.
const OPENED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Snapshots of which it is known what is locked.
const PRIVATE: NonZeroUsize = NonZeroUsize::new(4).unwrap();

pub(super) struct State {
    pub generation: Generation,
    pub lineage: Option<String>,
    pool: Mutex<Pool>,
    returned: Condvar,
    listings: Mutex<Listings>,
    bytes: Mutex<LruCache<Ino, Bytes>>,
    private: Mutex<LruCache<i64, Arc<Private>>>,
    pub snapshots: OnceLock<Vec<Named>>,
    pub totals: OnceLock<(u64, u64)>,
}

struct Pool {
    idle: Vec<Connection>,
    open: usize,
}

struct Listings {
    cache: LruCache<Ino, Arc<Listing>>,
    entries: usize,
}

impl State {
    /// The generation at `path` as it is now.
    pub fn open(path: &Path) -> Result<State> {
        let generation = Generation::open(path)?;
        let connection = generation.connect()?;
        let lineage = ask::meta(&connection, "lineage")?;
        Ok(State {
            generation,
            lineage,
            pool: Mutex::new(Pool { idle: vec![connection], open: 1 }),
            returned: Condvar::new(),
            listings: Mutex::new(Listings { cache: LruCache::unbounded(), entries: 0 }),
            bytes: Mutex::new(LruCache::new(OPENED)),
            private: Mutex::new(LruCache::new(PRIVATE)),
            snapshots: OnceLock::new(),
            totals: OnceLock::new(),
        })
    }

    /// Lends a connection. Must not be called while one is held.
    pub fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let lent = Lent { state: self, connection: Some(self.take()?) };
        match &lent.connection {
            Some(connection) => work(connection),
            None => Err(Error::new(Kind::Io, "no connection to the catalog")),
        }
    }

    fn take(&self) -> Result<Connection> {
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
                    // The file was replaced: the connections there are go on with the old one.
                    Err(error) if pool.open == 0 => return Err(error),
                    Err(_) => {}
                }
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The listing of `folder`, from memory or from `make`.
    pub fn listing(&self, folder: Ino, make: impl FnOnce() -> Result<Listing>) -> Result<Arc<Listing>> {
        if let Some(known) = lock(&self.listings).cache.get(&folder) {
            return Ok(known.clone());
        }
        let made = Arc::new(make()?);
        lock(&self.listings).put(folder, made.clone());
        Ok(made)
    }

    /// Where the bytes of `file` are, from memory or from `find`.
    pub fn bytes(&self, file: Ino, find: impl FnOnce() -> Result<Bytes>) -> Result<Bytes> {
        if let Some(known) = lock(&self.bytes).get(&file) {
            return Ok(known.clone());
        }
        let found = find()?;
        lock(&self.bytes).put(file, found.clone());
        Ok(found)
    }

    /// What is locked at `at`.
    pub fn private(&self, db: &Connection, at: i64) -> Result<Arc<Private>> {
        if let Some(known) = lock(&self.private).get(&at) {
            return Ok(known.clone());
        }
        let private = Arc::new(ask::private(db, at)?);
        lock(&self.private).put(at, private.clone());
        Ok(private)
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
struct Lent<'a> {
    state: &'a State,
    connection: Option<Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        lock(&self.state.pool).idle.extend(self.connection.take());
        self.state.returned.notify_one();
    }
}

/// Locks, also after a panic elsewhere: everything here is only a cache.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
