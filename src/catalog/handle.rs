//! An open catalog, as whoever asks it something holds it.

use std::borrow::Borrow;
use std::ops::Deref;

use rusqlite::Connection;

use super::CatalogNight;

/// A catalog that is open for questions: those about one snapshot are put to its [`Catalog::night`],
/// the others are functions of [`super::query`]. Above `repo/` nobody sees SQLite through it.
#[derive(Debug)]
pub struct Catalog(pub(super) Connection);

impl Catalog {
    /// What it knows of the snapshot at the time `at`, in seconds since 1970.
    pub fn night(&self, at: i64) -> CatalogNight<'_> {
        CatalogNight { db: self, at }
    }
}

impl Deref for Catalog {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Borrow<Connection> for Catalog {
    fn borrow(&self) -> &Connection {
        &self.0
    }
}

impl Borrow<Connection> for &Catalog {
    fn borrow(&self) -> &Connection {
        &self.0
    }
}

impl From<Connection> for Catalog {
    fn from(connection: Connection) -> Catalog {
        Catalog(connection)
    }
}
