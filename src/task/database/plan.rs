//! What a restore would do, and why.

use std::io::Read;
use std::path::PathBuf;

use serde::Serialize;

use super::{LoadRights, Options, beside};
use crate::base::amount::plural;
use crate::base::dump::DumpKind;
use crate::base::{Error, ErrorKind, Monitor, Phase, Result, SnapshotId};
use crate::immich::fit::{self, DuplicateRow, FitChange, FitTarget, FittedDump};
use crate::repo::SnapshotRecord;
use crate::source::ServerPlace;
use crate::source::postgres::{self, ClientWeakness, ServerProbe, ServerReached};
use crate::task::dump::SnapshotDump;

/// What a restore would do.
#[derive(Debug, Clone, Serialize)]
pub struct DatabasePlan {
    pub snapshot: SnapshotId,
    pub kind: DumpKind,
    /// The database's name in the dump, where it has one.
    pub source_database: Option<String>,
    /// Version of the server that the dump is of.
    pub dump_postgres: Option<String>,
    /// Version of the Immich that wrote the database.
    pub immich: Option<String>,
    /// Version of the server.
    pub server: String,
    /// The database to restore into, and who will own it.
    pub database: String,
    pub user: String,
    /// The database is not there and will be made.
    pub create: bool,
    /// Tables of the schema `public` that are replaced.
    pub replace: u64,
    /// A new database takes the place of this one.
    #[serde(skip)]
    pub(super) replaces: bool,
    pub extensions: Vec<NeededExtension>,
    pub changes: Vec<FitChange>,
    /// What is not Immich's and is left out, such as `event trigger note` or
    /// `table notes (3 rows)`.
    pub left_out: Vec<String>,
    /// The file that keeps it.
    pub left_out_file: Option<PathBuf>,
    /// Rows that are left out since an earlier one has their key.
    pub duplicates: Vec<DuplicateRow>,
    pub tables: u64,
    pub rows: u64,
    /// Plain bytes of the dump.
    pub bytes: u64,
    pub warnings: Vec<String>,
    /// What is known against the psql that loads it; one of the warnings.
    pub client: Option<String>,
    /// What stands in the way.
    pub obstacles: Vec<RestoreObstacle>,
}

/// An extension that the dump needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeededExtension {
    pub name: String,
    /// The version that the server has.
    pub version: Option<String>,
}

/// Something that a restore will not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreObstacle {
    pub what: String,
    /// What to do about it.
    pub next: String,
}

/// A plan, and what is needed to carry it out.
pub(super) struct MadePlan {
    pub plan: DatabasePlan,
    pub target: FitTarget,
    pub probe: ServerProbe,
    pub fitted: FittedDump,
}

/// Tables by which a database is known to be Immich's, of both eras.
const IMMICH: [&str; 6] =
    ["asset", "assets", "system_metadata", "kysely_migrations", "migrations", "geodata_places"];

/// Asks the server, reads the dump to its end, and says what would be done.
pub(super) fn make(
    dump: &SnapshotDump,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<MadePlan> {
    let (probe, missing) =
        match postgres::probe(&options.target, options.wait, &|| monitor.stopped())? {
            ServerReached::Database(probe) => (probe, None),
            ServerReached::NoDatabase { name, probe } => (probe, Some(name)),
        };
    let mut target = target(&probe, options);
    let pass = |target: &FitTarget| {
        let sinks = DumpSinks { each: &mut |_| Ok(()), beside: &mut |_| Ok(()) };
        read(dump, options.source_database.as_deref(), target, monitor, Phase::Dump, sinks)
    };
    let mut fitted = pass(&target)?;
    if options.skip_duplicates {
        target.keys = Some(std::mem::take(&mut fitted.keys));
        fitted = pass(&target)?;
    }
    let mut plan = describe(dump, options, &probe, missing.as_deref(), &fitted);
    plan.warnings.extend(apart(&dump.record));
    judge(&mut plan, &probe, &fitted, options);
    Ok(MadePlan { plan, target, probe, fitted })
}

/// The plan, before anything is judged. `missing` is the database that is not there yet.
fn describe(
    dump: &SnapshotDump,
    options: &Options,
    probe: &ServerProbe,
    missing: Option<&str>,
    fitted: &FittedDump,
) -> DatabasePlan {
    let info = &dump.record.dump;
    let tables = if missing.is_some() { 0 } else { probe.tables.len() as u64 };
    DatabasePlan {
        snapshot: dump.id,
        kind: info.kind,
        source_database: source_database(dump, options.source_database.as_deref())
            .map(str::to_owned),
        dump_postgres: info.postgres.clone(),
        immich: info.immich.clone(),
        server: probe.version.clone(),
        database: missing.unwrap_or(&probe.database).to_owned(),
        user: probe.user.clone(),
        create: missing.is_some(),
        replace: if options.replace { tables } else { 0 },
        replaces: options.replace && missing.is_none(),
        extensions: fitted
            .extensions
            .iter()
            .map(|(name, version)| extension(name, version))
            .collect(),
        changes: fitted.changes.clone(),
        left_out: fitted.apart.clone(),
        duplicates: fitted.duplicates.clone(),
        left_out_file: options
            .left_out
            .as_deref()
            .filter(|_| !fitted.apart.is_empty())
            .map(|to| beside::place(to, dump.id)),
        tables: fitted.rows.len() as u64,
        rows: fitted.rows.values().sum(),
        bytes: dump.record.streams.dump.size,
        warnings: Vec::new(),
        client: None,
        obstacles: Vec::new(),
    }
}

fn extension(name: &str, version: &Option<String>) -> NeededExtension {
    NeededExtension { name: name.to_owned(), version: version.clone() }
}

/// The server as the rules want to know it.
fn target(probe: &ServerProbe, options: &Options) -> FitTarget {
    let version = |(name, version): (&String, &Option<String>)| {
        (name.clone(), version.clone().unwrap_or_default())
    };
    FitTarget {
        major: Some(probe.major()),
        user: Some(probe.user.clone()),
        settings: probe.settings.clone(),
        extensions: Some(probe.extensions.iter().map(version).collect()),
        preloaded: probe.preloaded.clone(),
        roles: probe.roles.clone(),
        with_roles: options.roles,
        foreign: options.foreign,
        keys: None,
    }
}

/// The database of a cluster dump that is meant.
pub(super) fn source_database<'a>(
    dump: &'a SnapshotDump,
    wanted: Option<&'a str>,
) -> Option<&'a str> {
    wanted.or(dump.record.dump.database.as_deref())
}

/// Reads the dump to its end, fitted, telling the monitor of it as `phase`.
pub(super) fn read(
    dump: &SnapshotDump,
    database: Option<&str>,
    target: &FitTarget,
    monitor: &dyn Monitor,
    phase: Phase,
    sinks: DumpSinks,
) -> Result<FittedDump> {
    let stream = &dump.record.streams.dump;
    monitor.begin(phase, None, Some(stream.size));
    let mut reader = CountedReader { inner: dump.reader(), monitor, bytes: 0 };
    let DumpSinks { each, beside } = sinks;
    let mut each = |piece: fit::FittedPiece| {
        if monitor.stopped() {
            Err(Error::new(ErrorKind::Interrupted, "stopped; the database is as it was"))
        } else {
            each(piece)
        }
    };
    let fitted =
        fit::fit_apart(&mut reader, source_database(dump, database), target, &mut each, beside)?;
    if reader.bytes == stream.size {
        Ok(fitted)
    } else {
        Err(Error::damaged(format_args!("the dump of {} has not its size", dump.id)))
    }
}

/// Where a dump goes while it is read.
pub(super) struct DumpSinks<'a> {
    /// Takes what is run.
    pub each: &'a mut dyn FnMut(fit::FittedPiece) -> Result<()>,
    /// Takes what is not Immich's.
    pub beside: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

/// Tells the monitor how much was read.
struct CountedReader<'a, R> {
    inner: R,
    monitor: &'a dyn Monitor,
    bytes: u64,
}

impl<R: Read> Read for CountedReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.bytes += got as u64;
        self.monitor.advance(0, got as u64);
        Ok(got)
    }
}

/// What is to be said where the files of the snapshot do not lie where its database says.
fn apart(record: &SnapshotRecord) -> Option<String> {
    let photos = plural(record.completeness.moved, "photo", "photos");
    (record.completeness.moved > 0).then(|| {
        format!(
            "{photos} were not where this database says: `shoebox restore --all --snapshot {}` \
                puts them there; a folder of another time has them elsewhere",
            record.id
        )
    })
}

/// Adds what is to be said, and what stands in the way.
fn judge(plan: &mut DatabasePlan, probe: &ServerProbe, fitted: &FittedDump, options: &Options) {
    let dumps = plan.dump_postgres.as_deref().and_then(major);
    if let Some(newer) = dumps.filter(|&major| major > probe.major()) {
        plan.warnings.push(format!(
            "the dump is of PostgreSQL {newer}, the server is version {}: what it does not know is \
                left out",
            probe.major()
        ));
    }
    if plan.create && !probe.may_create {
        plan.obstacle(
            format!(
                "database {} does not exist on the server, and user {} may not create one",
                plan.database, plan.user
            ),
            "make it as a superuser, or name another with --database-name",
        );
    }
    if !plan.create {
        occupied(plan, probe, options);
        if probe.encoding != "UTF8" && !options.replace {
            plan.obstacle(
                format!("the database {} has the encoding {}", plan.database, probe.encoding),
                "--replace makes a new one with UTF8 and keeps this one under another name",
            );
        }
    }
    lacking(plan, fitted, dumps);
    if let Some(file) = plan
        .left_out_file
        .as_ref()
        .filter(|file| file.exists())
        .map(|file| file.display().to_string())
    {
        plan.obstacle(
            format!("{file} is there already"),
            "give another name for what is left out: --left-out FILE",
        );
    }
    if let Some(weakness) = probe.weakness() {
        client(plan, weakness, options);
    }
}

/// What is to be said of a psql that is too old; what it runs, it runs where it is.
fn client(plan: &mut DatabasePlan, weakness: ClientWeakness, options: &Options) {
    let here = match &options.target.server {
        ServerPlace::Url(_) | ServerPlace::Environment => true,
        ServerPlace::Docker { .. } | ServerPlace::Private(_) => false,
    };
    let is_trusted = options.rights == LoadRights::Own;
    if here && !is_trusted && matches!(weakness, ClientWeakness::Obedient(_)) {
        let next = format!(
            "{}; or let the one in the database's container load it: --docker; --trust-dump takes \
                it as it is, for a dump whose \
             database nobody else had in hand",
            weakness.cure()
        );
        return plan.obstacle(weakness.to_string(), next);
    }
    let cure = if here { weakness.cure() } else { "use a newer PostgreSQL there".to_owned() };
    plan.client = Some(format!("{weakness}: {cure}"));
    plan.warnings.extend(plan.client.clone());
}

fn occupied(plan: &mut DatabasePlan, probe: &ServerProbe, options: &Options) {
    if options.replace {
        return replaced(plan, probe);
    }
    if IMMICH.iter().any(|table| probe.tables.contains(*table)) {
        plan.obstacle(
            format!("the database {} has Immich's tables already", plan.database),
            "for a fresh one: stop Immich (`docker compose down`), move the folder \
                DB_DATA_LOCATION away, start the database alone \
             (`docker compose up -d database`); or drop what is there: --replace",
        );
    } else if !probe.tables.is_empty() {
        let count = probe.tables.len();
        plan.warnings
            .push(format!("the database has {count} other tables in schema public; they stay"));
    }
}

/// What keeps the database from being replaced.
fn replaced(plan: &mut DatabasePlan, probe: &ServerProbe) {
    if !probe.sessions.is_empty() {
        let count = plural(
            probe.sessions.iter().map(|it| it.count).sum(),
            "other session",
            "other sessions",
        );
        let who: Vec<_> = probe.sessions.iter().map(ToString::to_string).collect();
        plan.obstacle(
            format!("the database {} is in use by {count}: {}", plan.database, who.join(", ")),
            "stop Immich first: `docker compose stop immich-server` (and whatever else uses its \
                database)",
        );
    }
    if !probe.may_create {
        plan.obstacle(
            format!(
                "user {} may not make a database, and what is there is only replaced by a new one",
                plan.user
            ),
            format_args!(
                "have a superuser allow it: ALTER ROLE {} CREATEDB; or connect as a superuser",
                fit::quoted(&plan.user)
            ),
        );
    } else if !probe.owns {
        plan.obstacle(
            format!(
                "the database {} does not belong to user {}, who cannot rename it",
                plan.database, plan.user
            ),
            "connect as its owner, or as a superuser",
        );
    }
}

fn lacking(plan: &mut DatabasePlan, fitted: &FittedDump, dumps: Option<u32>) {
    if fitted.missing.is_empty() {
        return;
    }
    let (major, missing) = (dumps.unwrap_or(14).max(14), fitted.missing.join(", "));
    plan.obstacle(
        format!("the server lacks what the dump needs: {missing}"),
        format_args!(
            "use Immich's own database image, such as \
                ghcr.io/immich-app/postgres:{major}-vectorchord0.4.3, with its settings \
             (shared_preload_libraries) as they are; Immich's compose file names the one that fits"
        ),
    );
}

impl DatabasePlan {
    /// The database that is loaded is made for it.
    pub(super) fn makes_database(&self) -> bool {
        self.create || self.replaces
    }

    fn obstacle(&mut self, what: String, next: impl std::fmt::Display) {
        self.obstacles.push(RestoreObstacle { what, next: next.to_string() });
    }
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}
