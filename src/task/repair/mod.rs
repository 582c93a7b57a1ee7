//! Repairing a repository: what a check finds, and for each of it where the right bytes are to be
//! had.
//!
//! Always holds: a repair never makes anything worse. It changes no archive and deletes nothing:
//! what verifies is written into new archives, these are read back whole, the next catalog is
//! published, and only then what is of no use any more is moved to `damaged/`. Bytes are believed
//! when they hash as a record, a list, an index or the catalog calls them, and not before. One that
//! is cut short leaves copies, which the next one finds; one that has nothing left to repair does
//! nothing.
//!
//! An archive of which something is lost for good stays where it is, for the sake of what can still
//! be read of it.
//!
//! Limits: everything is read, once. Of an archive whose index is lost together with the catalog,
//! the patches of dumps and lists cannot be told.

mod apply;
mod origin;
mod plan;
mod record;
mod salvage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use self::plan::RepairPlan;
use super::check::CheckFinding;
use crate::base::{ErrorKind, Monitor, Result, StopNotice};
use crate::catalog::query;
use crate::repo::{RepairSession, Repository, WriteSession};
use crate::task::reread::reread;

/// How a repository is repaired.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where originals may still be: the living UPLOAD_LOCATION.
    pub upload_location: Option<PathBuf>,
    /// Do it; else only say what would be done.
    pub apply: bool,
    /// How long it waits for the lock.
    pub patience: Duration,
}

/// One thing that is not as it should be, and what is done about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RepairStep {
    #[serde(flatten)]
    pub finding: CheckFinding,
    #[serde(flatten)]
    pub remedy: RepairRemedy,
}

/// What is done about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "remedy", content = "how", rename_all = "snake_case")]
pub enum RepairRemedy {
    /// It is repaired: how.
    Repair(String),
    /// It cannot be: why.
    Leave(String),
}

/// What a repair did, or would do.
#[derive(Debug)]
pub struct Report {
    /// Empty: all is well.
    pub steps: Vec<RepairStep>,
    /// Nothing where it was only planned.
    pub done: Option<RepairResult>,
}

/// What a repair changed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RepairResult {
    /// New archives.
    pub written: Vec<String>,
    /// Files that are in `damaged/` now, by the names that they had.
    pub aside: Vec<String>,
}

impl Report {
    /// Findings that are repaired, or would be.
    pub fn repaired(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.remedy, RepairRemedy::Repair(_))).count()
    }

    /// True when nothing is left to do.
    pub fn is_whole(&self) -> bool {
        self.steps.is_empty() || self.done.is_some() && self.repaired() == self.steps.len()
    }
}

/// Repairs the repository in the folder `root`, or says what a repair would do.
pub fn repair(root: &Path, options: &Options, monitor: &dyn Monitor) -> Result<Report> {
    let (repository, description) = Repository::recognize(root)?;
    let repository = repository.with_patience(options.patience);
    let session = match RepairSession::begin(&repository, monitor) {
        // What is on a read-only disk can be looked at.
        Err(error) if error.kind() == ErrorKind::Permission && !options.apply => None,
        begun => Some(begun?),
    };
    let mut plan =
        RepairPlan::of(&repository, description, options.upload_location.as_deref(), monitor)?;
    StopNotice::starts_over("stopped; nothing was changed").check(monitor)?;
    let done = match session.filter(|_| options.apply) {
        Some(session) => Some(plan.apply(&session, monitor)?),
        None => None,
    };
    Ok(Report { steps: plan.steps, done })
}

/// A catalog that was rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuiltCatalog {
    /// Snapshots that it knows.
    pub snapshots: u64,
    /// Archives that it knows.
    pub archives: u64,
    /// Snapshots whose dumps were read again, as an older shoebox missed something of them.
    pub reread: u64,
}

/// Rebuilds the catalog from archives and snapshots; dumps of which an older shoebox missed
/// something are read again. What cannot be read goes to the monitor.
pub fn catalog(repository: &Repository, monitor: &dyn Monitor) -> Result<RebuiltCatalog> {
    let mut session = WriteSession::rebuild(repository, monitor)?;
    let reread = reread(repository, &mut session, monitor)?;
    let db = session.generation().connect()?;
    let snapshots = query::snapshot::ids(&db)?.len() as u64;
    Ok(RebuiltCatalog { snapshots, archives: query::archive_names(&db)?.len() as u64, reread })
}
