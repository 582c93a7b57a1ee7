//! Bringing the database back: a snapshot's dump into a server, or into a file that Immich's own
//! restore takes.
//!
//! What always holds: the dump is read to its end and fitted once before the server is asked to
//! change anything; it is then loaded in one transaction of ours, whose COMMIT is sent only after
//! the dump was read to its end a second time, so that what is cut short, refused or stopped leaves
//! the database as it was; rows arrive byte for byte; afterwards the server's own counts are
//! compared with those of the dump.
//!
//! A dump is untrusted: no superuser runs its statements ([`loader`]) unless told to. What is
//! replaced is kept ([`place`]).
//!
//! Limit: a database that is not there, and extensions, are made before, outside of the
//! transaction.

mod beside;
mod emit;
mod inherit;
mod load;
mod loader;
mod place;
mod plan;
mod twice;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::dump::SnapshotDump;
use crate::base::{Error, ErrorKind, Monitor, Result};
use crate::immich::PlantedCode;
use crate::repo::Repository;
use crate::source::DatabaseAccess;

pub use emit::{EmittedFile, emit};
pub(super) use load::compare;
pub use plan::{DatabasePlan, NeededExtension, RestoreObstacle};

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// An id, a name in the tree, or `latest`.
    pub snapshot: String,
    /// The server and the database to restore into; a database that is not there is made.
    pub target: DatabaseAccess,
    /// Which database of a cluster dump; else the one that the backup took for Immich's.
    pub source_database: Option<String>,
    /// Load beside the database that is there and put it in its place, which keeps the old one
    /// under another name.
    pub replace: bool,
    /// Create the roles of a cluster dump that are not there, and leave everything with its owner.
    pub roles: bool,
    /// Load what is not Immich's as well.
    pub foreign: bool,
    /// How long to wait until the server answers.
    pub wait: Duration,
    /// With whose rights the dump is loaded.
    pub rights: LoadRights,
    /// Code that is not Immich's and is known, as it is displayed.
    pub accepted: Vec<String>,
    /// Go on without a row whose key an earlier one has.
    pub skip_duplicates: bool,
    /// A file for what is not Immich's and is left out, or a folder for one; `None` keeps nothing
    /// of it.
    pub left_out: Option<PathBuf>,
}

/// Whose rights the statements of a dump have while it is loaded, and who owns what they make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadRights {
    /// A superuser has a role without power load it, and owns it afterwards; anybody else loads it.
    Borrowed,
    /// A role of this name without power loads it, and goes on to own it.
    Kept(String),
    /// The user who connects, whatever that may do: for a dump that is trusted.
    Own,
}

impl Options {
    /// The newest snapshot into an empty database.
    pub fn new(target: DatabaseAccess) -> Self {
        let wait = Duration::from_secs(60);
        let rights = LoadRights::Borrowed;
        Options {
            snapshot: "latest".to_owned(),
            target,
            source_database: None,
            replace: false,
            roles: false,
            wait,
            rights,
            foreign: false,
            accepted: Vec::new(),
            skip_duplicates: false,
            left_out: None,
        }
    }
}

/// How a restore went.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub plan: DatabasePlan,
    /// Tables that were compared.
    pub tables: u64,
    /// Rows that the server has in them.
    pub rows: u64,
    /// What the database that was replaced is called now.
    pub kept: Option<String>,
    /// Tables with another number of rows than the dump.
    pub differences: Vec<RowDifference>,
    /// What runs by itself in the database, and Immich's schema does not have.
    pub code: Vec<PlantedCode>,
}

impl Report {
    /// True when the database is what was backed up, and nothing but Immich's.
    pub fn is_as_expected(&self) -> bool {
        self.differences.is_empty() && self.code.is_empty()
    }
}

/// A table that has not as many rows as the dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowDifference {
    pub table: String,
    pub expected: u64,
    pub found: u64,
}

/// Says what a restore would do; changes nothing.
pub fn plan(
    repository: &Repository,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<DatabasePlan> {
    let dump = open(repository, &options.snapshot)?;
    Ok(plan::make(&dump, options, monitor)?.plan)
}

/// Restores the database.
///
/// # Errors
/// The first obstacle of the plan; what the server refuses, with the line of the dump. The database
/// is then as it was.
pub fn restore(
    repository: &Repository,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Report> {
    let refused =
        |RestoreObstacle { what, next }| Err(Error::new(ErrorKind::Refused, what).hint(next));
    attempt(repository, options, monitor)?.or_else(refused)
}

/// Restores the database if nothing is in the way; else says what.
pub(super) fn attempt(
    repository: &Repository,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<std::result::Result<Report, RestoreObstacle>> {
    let dump = open(repository, &options.snapshot)?;
    let mut made = plan::make(&dump, options, monitor)?;
    if made.plan.obstacles.is_empty() {
        load::load(&dump, made, options, monitor).map(Ok)
    } else {
        Ok(Err(made.plan.obstacles.swap_remove(0)))
    }
}

/// The snapshot's dump, if it is one that restores.
fn open(repository: &Repository, snapshot: &str) -> Result<SnapshotDump> {
    let dump = SnapshotDump::open(repository, snapshot)?;
    if dump.record.is_good() {
        Ok(dump)
    } else {
        Err(Error::new(ErrorKind::Refused, format_args!("the dump of snapshot {} is bad", dump.id))
            .hint(
                "it was kept for inspection (`shoebox dump`); choose another snapshot: --snapshot",
            ))
    }
}
