//! A drill: a rehearsal of the recovery, with nothing at stake.
//!
//! The dump is loaded into a PostgreSQL server that is thrown away afterwards, by the same code
//! that restores it in earnest. Assets are drawn at random from the database that was loaded, read
//! through the view, and compared with what it says of them; and it is asked whether a recovery
//! would lay them where it looks for them. How it ended is noted in the repository, so that the age
//! of the last success can be told.
//!
//! Where no server can be had, the dump is read to its end by our own parser, its rows are counted,
//! and the assets are drawn from what it says. That is noted too, and is no success.
//!
//! Always holds: no lock is taken, and nothing but the note is written into the repository. A
//! server that lacks what the dump needs, or trouble of this machine, is no failure of the backup:
//! it is not noted. Nor is a drill that was stopped.
//!
//! Limits: of an asset whose checksum in the database is that of its path (external libraries) its
//! own hash is verified, and its size compared; where the checksum is that of the bytes, nothing
//! else is asked.

mod asset;
mod finding;
mod rows;
mod sample;
mod server;

use serde::Serialize;

pub use self::finding::{AssetFault, WrongAsset};
use self::rows::ExpectedRows;
use self::sample::AssetSample;
pub use self::server::DrillServers;
use self::server::ServerTrial;
use super::database::RowDifference;
use super::dump::SnapshotDump;
use crate::base::{Error, ErrorKind, Monitor, Result, SnapshotId, StopNotice};
use crate::immich::PlantedCode;
use crate::repo::notes::{DrillNote, NoteKind};
use crate::repo::{Completeness, Repository};

/// How a drill ends that is stopped.
const STOPPED: StopNotice =
    StopNotice { message: "stopped", next: "the server is gone; nothing was noted" };
/// Notes of drills that are kept; the last success is kept besides.
const KEPT: usize = 30;

/// What to rehearse.
#[derive(Debug, Clone)]
pub struct Options {
    /// An id, a name in the tree, or `latest`.
    pub snapshot: String,
    /// Where a server may come from.
    pub servers: DrillServers,
    /// The server is kept from the rest of this machine.
    pub sandbox: bool,
    /// Where none can be had, nothing is done.
    pub require_server: bool,
    /// Code that is not Immich's and is known, as it is displayed.
    pub accepted: Vec<String>,
    /// How many assets are read.
    pub assets: u64,
    /// The same seed draws the same assets.
    pub seed: u64,
}

/// How a drill ended.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub snapshot: SnapshotId,
    /// The server that the dump was loaded into; `None` when none could be had.
    pub server: Option<String>,
    /// What is known against the psql that loaded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The server did not take the dump.
    pub refused: bool,
    /// Why there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_server: Option<String>,
    /// How to get one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Tables and rows that were loaded, or read.
    pub tables: u64,
    pub rows: u64,
    pub differences: Vec<RowDifference>,
    /// What runs by itself in the database that was loaded, and Immich's schema does not have.
    pub code: Vec<PlantedCode>,
    /// Assets that the database has: of these some are drawn.
    pub of: u64,
    /// Assets that were read and are right, and their bytes.
    pub assets: u64,
    pub bytes: u64,
    /// Of these, assets of which Immich has no hash of the bytes.
    pub unhashed: u64,
    /// Assets that were damaged, or not what the database says.
    pub wrong: Vec<WrongAsset>,
    /// Assets that were drawn and whose original is not in the snapshot, as it says itself.
    pub without_file: u64,
    pub seed: u64,
    /// Why it did not succeed; `None` when it did, as far as it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// False when the repository is read-only.
    pub remembered: bool,
}

impl Report {
    /// True when the dump was loaded and all was as it should be.
    pub fn is_success(&self) -> bool {
        self.server.is_some() && self.failure.is_none()
    }
}

/// Rehearses the recovery of a snapshot.
///
/// # Errors
/// What keeps it from being tried at all, and being stopped. That the snapshot would not come back
/// is no error but in the report.
pub fn drill(repository: &Repository, options: &Options, monitor: &dyn Monitor) -> Result<Report> {
    let done = rehearse(repository, options, monitor);
    // What a client says when it is ended is not why the drill ends.
    STOPPED.check(monitor)?;
    let mut report = done?;
    report.remembered = remember(repository, &report)?;
    Ok(report)
}

fn rehearse(repository: &Repository, options: &Options, monitor: &dyn Monitor) -> Result<Report> {
    let dump = SnapshotDump::open(repository, &options.snapshot)?;
    if !dump.record.is_good() {
        return Err(Error::new(
            ErrorKind::Refused,
            format_args!("the dump of snapshot {} is bad", dump.id),
        )
        .hint("it was kept for inspection and does not restore; choose another: --snapshot"));
    }
    let mut report = report(&dump, options);
    let (expected, failure) = expected(repository, &dump, options, &mut report, monitor)?;
    let mut reasons: Vec<String> = failure.into_iter().collect();
    if let Some(ExpectedRows { tables, rows, differences, sample }) = expected {
        // What our own parser counted was not loaded.
        if !report.refused {
            (report.tables, report.rows, report.differences) = (tables, rows, differences);
        }
        report.of = sample.seen();
        asset::compare(repository, &dump, sample, &mut report, monitor)?;
    }
    reasons.extend(verdict(&report, &dump.record.completeness));
    report.failure = (!reasons.is_empty()).then(|| reasons.join("; "));
    Ok(report)
}

fn report(dump: &SnapshotDump, options: &Options) -> Report {
    Report {
        snapshot: dump.id,
        server: None,
        client: None,
        refused: false,
        no_server: None,
        next: None,
        tables: 0,
        rows: 0,
        differences: Vec::new(),
        code: Vec::new(),
        of: 0,
        assets: 0,
        bytes: 0,
        unhashed: 0,
        wrong: Vec::new(),
        without_file: 0,
        seed: options.seed,
        failure: None,
        remembered: false,
    }
}

/// What is to come back, as the loaded database says, else the dump; and why the dump does not.
fn expected(
    repository: &Repository,
    dump: &SnapshotDump,
    options: &Options,
    report: &mut Report,
    monitor: &dyn Monitor,
) -> Result<(Option<ExpectedRows>, Option<String>)> {
    let sample = AssetSample::new(options.seed, options.assets);
    let failure = match server::load(repository, dump, options, monitor)? {
        ServerTrial::Loaded { server, report: loaded } => {
            report.server = Some(format!("PostgreSQL {}", server.version()));
            report.client.clone_from(&loaded.plan.client);
            report.code.clone_from(&loaded.code);
            return Ok((Some(rows::of_server(&server, *loaded, sample, monitor)?), None));
        }
        ServerTrial::Failed { server, error } => {
            report.server = Some(format!("PostgreSQL {server}"));
            report.refused = true;
            Some(error.chain())
        }
        ServerTrial::None { why, next } => {
            report.no_server = Some(why);
            report.next = Some(next);
            None
        }
    };
    // The photos are still looked at.
    match rows::of_dump(dump, sample, monitor) {
        Ok(expected) => Ok((Some(expected), failure)),
        Err(error) if error.kind() == ErrorKind::Damaged => {
            Ok((None, failure.or_else(|| Some(error.chain()))))
        }
        Err(error) => Err(error),
    }
}

fn verdict(report: &Report, complete: &Completeness) -> Option<String> {
    let mut reasons = Vec::new();
    if !report.differences.is_empty() {
        reasons.push(format!("{} tables have another number of rows", report.differences.len()));
    }
    if !report.wrong.is_empty() {
        let (wrong, all) = (report.wrong.len() as u64, report.wrong.len() as u64 + report.assets);
        reasons.push(format!("{wrong} of {all} photos are not right"));
    }
    // A backup without photos brings none back, whatever it says of itself.
    let (lost, right) = (report.without_file, report.assets);
    if lost > 0 && (right == 0 || lost > right && complete.missing > complete.present) {
        reasons.push(format!(
            "{lost} of {} photos are not in the snapshot",
            lost + right + report.wrong.len() as u64
        ));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Notes how it ended. False when the repository is read-only.
fn remember(repository: &Repository, report: &Report) -> Result<bool> {
    let note = DrillNote {
        snapshot: report.snapshot,
        failure: report.failure.clone(),
        server: report.server.clone(),
        tables: report.tables,
        rows: report.rows,
        assets: report.assets,
        seed: report.seed,
    };
    match repository.add_note(NoteKind::Drill(note)) {
        Ok(_) => forget_old(repository).map(|()| true),
        Err(error) if matches!(error.kind(), ErrorKind::Permission | ErrorKind::NoSpace) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Forgets all but the last few drills, and the last success.
fn forget_old(repository: &Repository) -> Result<()> {
    let notes = repository.notes()?;
    let drills: Vec<(&String, bool)> = notes
        .list
        .iter()
        .filter_map(|(name, note)| match &note.what {
            NoteKind::Drill(drill) => Some((name, drill.is_success())),
            _ => None,
        })
        .collect();
    let success = drills.iter().rposition(|(_, success)| *success);
    let old = drills.iter().enumerate().take(drills.len().saturating_sub(KEPT));
    old.filter(|(at, _)| Some(*at) != success)
        .try_for_each(|(_, (name, _))| repository.remove_note(name))
}
