//! Mending a repository.

use crate::base::{Monitor, Result};
use crate::catalog::query;
use crate::repo::{Repository, Session};

/// A catalog that was built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Snapshots that it knows.
    pub snapshots: u64,
    /// Archives that it knows.
    pub archives: u64,
}

/// Builds the catalog anew from archives and snapshots. What cannot be read goes to the monitor.
pub fn catalog(repository: &Repository, monitor: &dyn Monitor) -> Result<Rebuilt> {
    let db = Session::rebuild(repository, monitor)?.generation().connect()?;
    let snapshots = query::snapshot::ids(&db)?.len() as u64;
    Ok(Rebuilt { snapshots, archives: query::archive_names(&db)?.len() as u64 })
}
