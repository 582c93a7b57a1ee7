//! A drill: a rehearsal of the recovery, with nothing at stake.
//!
//! The dump is loaded into a PostgreSQL server that is thrown away afterwards, by the same code that restores it in earnest;
//! then photos are drawn at random, read through the view, and compared with what the loaded database says of them. How it
//! ended is noted in the repository, so that the age of the last success can be told.
//!
//! Where no server can be had, the dump is read to its end and its rows are counted, and the photos are compared with what it
//! said when it was backed up. That is noted too, and is no success.
//!
//! Limits: of a photo whose checksum in the database is that of its path (external libraries) only its own hash is verified.

mod sample;
mod server;

use std::collections::HashMap;

use rusqlite::Connection;
use serde::Serialize;
use uuid::Uuid;

pub use self::sample::Drawn;
pub use self::server::Servers;
use super::database::{self, Difference};
use super::dump::SnapshotDump;
use super::open::open_view;
use crate::archive::Hasher;
use crate::base::{Error, Kind, Monitor, Phase, Problem, Result, Sha1, SnapshotId};
use crate::immich;
use crate::repo::Repository;
use crate::repo::notes::{Drill, What};
use crate::source::Access;
use crate::source::postgres::{self, throwaway::ThrowAway};
use crate::view::{self, View};

/// Name of the database on the throw-away server.
const DATABASE: &str = "immich";
/// Notes of drills that are kept; the last success is kept besides.
const KEPT: usize = 30;
/// Assets that the database is asked about at once.
const ASKED: usize = 5000;
const READ: usize = 1 << 20;

/// What to rehearse.
#[derive(Debug, Clone)]
pub struct Options {
    /// An id, a name in the tree, or `latest`.
    pub snapshot: String,
    /// Where a server may come from.
    pub servers: Servers,
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
    /// Why there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_server: Option<String>,
    /// Tables and rows that were loaded, or read.
    pub tables: u64,
    pub rows: u64,
    pub differences: Vec<Difference>,
    /// Assets that were read and are right, and their bytes.
    pub assets: u64,
    pub bytes: u64,
    /// Assets that were damaged, or not what the database says.
    pub wrong: u64,
    /// Assets of the snapshot whose original is not in it: they could not be drawn.
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
/// What keeps it from being tried at all, and being stopped. That the snapshot would not come back is no error but in the report.
pub fn drill(repository: &Repository, options: &Options, monitor: &dyn Monitor) -> Result<Report> {
    let dump = SnapshotDump::open(repository, &options.snapshot)?;
    if !dump.record.is_good() {
        return Err(Error::new(Kind::Refused, format_args!("the dump of snapshot {} is bad", dump.id))
            .hint("it was kept for inspection and does not restore; choose another: --snapshot"));
    }
    let completeness = &dump.record.completeness;
    let mut report = Report {
        snapshot: dump.id,
        server: None,
        no_server: None,
        tables: 0,
        rows: 0,
        differences: Vec::new(),
        assets: 0,
        bytes: 0,
        wrong: 0,
        without_file: completeness.missing + completeness.not_covered,
        seed: options.seed,
        failure: None,
        remembered: true,
    };
    let server = match options.servers.start(&dump.record.dump)? {
        Ok(server) => Some(server),
        Err(reason) => {
            report.no_server = Some(reason);
            None
        }
    };
    let loaded = match &server {
        Some(server) => load(repository, server, &mut report, monitor),
        None => read(repository, &dump, &mut report, monitor),
    };
    match loaded {
        Ok(()) => {}
        Err(error) if error.kind() == Kind::Interrupted => return Err(error),
        Err(error) => report.failure = Some(chain(&error)),
    }
    if report.failure.is_none() {
        photos(repository, &dump, server.as_ref(), options, &mut report, monitor)?;
        report.failure = verdict(&report);
    }
    drop(server);
    report.remembered = remember(repository, &report)?;
    Ok(report)
}

/// Loads the dump as a restore does.
fn load(repository: &Repository, server: &ThrowAway, report: &mut Report, monitor: &dyn Monitor) -> Result<()> {
    report.server = Some(format!("PostgreSQL {}", server.version()));
    server.create_database(DATABASE)?;
    let snapshot = report.snapshot.to_string();
    let options = database::Options { snapshot, ..database::Options::new(access(server)) };
    let done = database::restore(repository, &options, monitor)?;
    (report.tables, report.rows, report.differences) = (done.tables, done.rows, done.differences);
    Ok(())
}

fn access(server: &ThrowAway) -> Access {
    let database = Some(DATABASE.to_owned());
    Access { server: server.server(DATABASE), database, user: Some("postgres".to_owned()), password: None }
}

/// Reads the dump to its end and counts its rows.
fn read(repository: &Repository, dump: &SnapshotDump, report: &mut Report, monitor: &dyn Monitor) -> Result<()> {
    monitor.begin(Phase::Dump, None, Some(dump.record.streams.dump.size));
    let said = &dump.record.dump;
    let staging = tempfile::tempdir_in(repository.root().join("tmp")).or_else(|_| tempfile::tempdir());
    let staging = staging.map_err(|error| Error::io("making a folder for the rows of the dump", error))?;
    let options = immich::Options { database: said.database.as_deref(), staging: staging.path() };
    let found = immich::read(&mut dump.reader(), &options, &mut |piece| {
        monitor.advance(0, piece.len() as u64);
        stop_if_asked(monitor)
    })?;
    if !found.is_good() {
        return Err(Error::damaged("the dump"));
    }
    (report.tables, report.rows) = (found.rows.len() as u64, found.rows.values().sum());
    report.differences = database::compare(&said.rows, &found.rows);
    Ok(())
}

/// Reads photos through the view, and compares them with the database.
fn photos(
    repository: &Repository,
    dump: &SnapshotDump,
    server: Option<&ThrowAway>,
    options: &Options,
    report: &mut Report,
    monitor: &dyn Monitor,
) -> Result<()> {
    let view = open_view(repository, view::Options { locked: true, ..view::Options::default() })?;
    let catalog = repository.catalog()?.connect()?;
    let drawn = sample::draw(&catalog, dump.id.seconds(), options.assets, options.seed)?;
    let said = match server {
        Some(server) => checksums(&access(server), &dump.record.dump.rows, &drawn)?,
        None => drawn.iter().filter_map(|asset| Some((asset.id, asset.sha1?))).collect(),
    };
    monitor.begin(Phase::Check, Some(drawn.len() as u64), Some(drawn.iter().map(|asset| asset.size).sum()));
    for asset in &drawn {
        let right = match sha1(&view, &catalog, dump, asset, monitor) {
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => Err(chain(&error)),
            Ok(sha1) => compare(asset, sha1, said.get(&asset.id).copied()),
        };
        match right {
            Ok(()) => {
                report.assets += 1;
                report.bytes += asset.size;
            }
            Err(message) => {
                report.wrong += 1;
                monitor.problem(Problem { subject: asset.name.clone(), message });
            }
        }
    }
    Ok(())
}

/// What the loaded database says of the assets that were drawn.
fn checksums(
    access: &Access,
    rows: &std::collections::BTreeMap<String, u64>,
    drawn: &[Drawn],
) -> Result<HashMap<Uuid, Sha1>> {
    // Until Immich 1.136 the table was called `assets`.
    let table = if rows.contains_key("asset") { "asset" } else { "assets" };
    let mut said: HashMap<Uuid, Sha1> = HashMap::new();
    for some in drawn.chunks(ASKED) {
        let ids: Vec<String> = some.iter().map(|asset| format!("'{}'", asset.id)).collect();
        let sql = format!(
            "SELECT id, encode(checksum, 'hex') FROM public.{table} WHERE id IN ({}) AND checksum IS NOT NULL;\n",
            ids.join(",")
        );
        let answer = postgres::ask(access, &sql)?;
        said.extend(answer.lines().filter_map(checksum));
    }
    Ok(said)
}

fn checksum(line: &str) -> Option<(Uuid, Sha1)> {
    let (id, sha1) = line.split_once('|')?;
    Some((id.parse().ok()?, sha1.parse().ok()?))
}

/// The SHA-1 of what the view hands out for `asset`.
fn sha1(view: &View, db: &Connection, dump: &SnapshotDump, asset: &Drawn, monitor: &dyn Monitor) -> Result<Sha1> {
    let ino = sample::ino(db, dump.record.number, dump.id.seconds(), asset)?;
    let (mut hasher, mut at) = (Hasher::default(), 0);
    let size = view.node(ino)?.size;
    while at < size {
        stop_if_asked(monitor)?;
        at += view.read(ino, at, READ, |piece| {
            hasher.update(piece);
            piece.len() as u64
        })?;
    }
    monitor.advance(1, size);
    Ok(hasher.finish().sha1)
}

fn compare(asset: &Drawn, found: Sha1, said: Option<Sha1>) -> std::result::Result<(), String> {
    match said {
        // Its checksum is that of its path.
        Some(_) if asset.sha1.is_none() => Ok(()),
        Some(said) if said == found => Ok(()),
        Some(said) => Err(format!("its SHA-1 is {found}, and {said} in the database")),
        None => Err("it is not in the loaded database".to_owned()),
    }
}

fn verdict(report: &Report) -> Option<String> {
    let mut reasons = Vec::new();
    if !report.differences.is_empty() {
        reasons.push(format!("{} tables have another number of rows", report.differences.len()));
    }
    if report.wrong > 0 {
        reasons.push(format!("{} of {} photos are not right", report.wrong, report.wrong + report.assets));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn stop_if_asked(monitor: &dyn Monitor) -> Result<()> {
    match monitor.stopped() {
        true => Err(Error::new(Kind::Interrupted, "stopped").hint("the server is gone; nothing was noted")),
        false => Ok(()),
    }
}

/// The error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Notes how it ended. False when the repository is read-only.
fn remember(repository: &Repository, report: &Report) -> Result<bool> {
    let note = Drill {
        snapshot: report.snapshot,
        failure: report.failure.clone(),
        server: report.server.clone(),
        tables: report.tables,
        rows: report.rows,
        assets: report.assets,
    };
    match repository.add_note(What::Drill(note)) {
        Ok(_) => forget_old(repository).map(|()| true),
        Err(error) if matches!(error.kind(), Kind::Permission | Kind::NoSpace) => Ok(false),
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
            What::Drill(drill) => Some((name, drill.is_success())),
            _ => None,
        })
        .collect();
    let success = drills.iter().rposition(|(_, success)| *success);
    let old = drills.iter().enumerate().take(drills.len().saturating_sub(KEPT));
    old.filter(|(at, _)| Some(*at) != success).try_for_each(|(_, (name, _))| repository.remove_note(name))
}
