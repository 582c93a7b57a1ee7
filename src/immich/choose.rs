//! Which database of a dump is Immich's, and what the dump is once that is known.

use super::database::DumpDatabase;
use super::duplicates;
use super::library::StagedLibrary;
use super::scan::DumpScan;
use super::tables::{REQUIRED, StagedTable, VITAL};
use super::{DumpKind, DumpVerdict, ReadDump, bad, newness};
use crate::base::{Error, ErrorKind, Result};

/// The dump behind a scan that ended well.
pub fn choose(mut scan: DumpScan, wanted: Option<&str>) -> Result<ReadDump> {
    let index = match wanted {
        Some(name) => named(&scan.databases, name)?,
        None => only(&scan.databases)?,
    };
    let verdict = verdict(&scan.databases[index], scan.line)?;
    let mut dump = describe(&scan, verdict);
    let database = scan.databases.swap_remove(index);
    if let (Some(staging), true) = (&database.staging, dump.is_good()) {
        staging.index()?;
        dump.duplicates = duplicates::find(&database, staging)?;
    }
    dump.is_foreign = database.fault.is_none() && database.missing().eq(REQUIRED);
    dump.database = database.name;
    dump.extensions = database.extensions.into_iter().collect();
    dump.rows = database.rows;
    dump.warnings = database.warnings;
    dump.lacks = database.lacks;
    match database.staging {
        Some(staging) if dump.is_good() => StagedLibrary::settle(staging, &mut dump)?,
        _ => {}
    }
    if dump.is_good() && dump.census.users == 0 {
        dump.verdict =
            bad(scan.line, "the database has no user: it is not a library that anyone used");
        dump.library = None;
    }
    if let (true, Some((line, reason))) = (dump.is_good(), database.trial.refusal()) {
        dump.verdict = bad(*line, reason.clone());
        dump.is_unfit = true;
        dump.library = None;
    }
    dump.warnings.extend(others(database.trial.into_apart()));
    Ok(dump)
}

/// Objects that are named in a note.
const NAMED: usize = 5;

/// What is said where the database has what a restore leaves out.
fn others(mut objects: Vec<String>) -> Option<String> {
    let more = objects.len().saturating_sub(NAMED);
    objects.truncate(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!objects.is_empty()).then(|| {
        format!(
            "the database has what is not Immich's ({}{rest}): `restore-database` leaves it out \
                and keeps it in a file",
            objects.join(", ")
        )
    })
}

/// What a scan saw of the dump as a whole.
pub fn describe(scan: &DumpScan, verdict: DumpVerdict) -> ReadDump {
    let kind = if scan.cluster { DumpKind::Cluster } else { DumpKind::Database };
    ReadDump {
        verdict,
        postgres: scan.postgres.clone(),
        tool: scan.tool.clone(),
        started: scan.started,
        ..ReadDump::empty(kind)
    }
}

fn verdict(database: &DumpDatabase, line: u64) -> Result<DumpVerdict> {
    if let Some((line, reason)) = &database.fault {
        return Ok(bad(*line, reason.clone()));
    }
    // An Immich of the future may call its tables otherwise: its photos are worth a night all the
    // same.
    let is_newer = newness::is_unknown(database.schema()?.as_deref());
    let missing = database.missing().filter(|table| !is_newer || VITAL.contains(table));
    let missing: Vec<_> =
        missing.filter_map(StagedTable::staged).map(|table| table.from.join(" or ")).collect();
    Ok(if missing.is_empty() {
        DumpVerdict::Good
    } else {
        bad(line, format!("the rows of a table of Immich are missing: {}", missing.join(", ")))
    })
}

/// The database called `name`; a dump that names none is taken to be the one that is meant.
fn named(databases: &[DumpDatabase], name: &str) -> Result<usize> {
    let named = databases.iter().position(|database| database.name.as_deref() == Some(name));
    let nameless = databases.iter().all(|database| database.name.is_none());
    named.or(nameless.then_some(0)).ok_or_else(|| {
        let names = names(databases.iter());
        Error::invalid(format_args!("the dump has no database `{name}`; it has {names}"))
            .hint("give --database-name one of them (Immich's DB_DATABASE_NAME)")
    })
}

/// The only database that is Immich's; without one, that which comes nearest.
fn only(databases: &[DumpDatabase]) -> Result<usize> {
    let immich: Vec<_> =
        (0..databases.len()).filter(|&index| databases[index].is_immich()).collect();
    match immich[..] {
        [index] => Ok(index),
        [] => {
            Ok((0..databases.len()).min_by_key(|&index| nearness(&databases[index])).unwrap_or(0))
        }
        _ => {
            let names = names(immich.iter().map(|&index| &databases[index]));
            Err(Error::new(
                ErrorKind::Invalid,
                format_args!("the dump has {} databases of Immich: {names}", immich.len()),
            )
            .hint("choose one with --database-name (Immich's DB_DATABASE_NAME)"))
        }
    }
}

/// The less the nearer: a fault may be why its tables are missing.
fn nearness(database: &DumpDatabase) -> (usize, bool) {
    (database.missing().count(), database.fault.is_none())
}

fn names<'a>(databases: impl Iterator<Item = &'a DumpDatabase>) -> String {
    let names: Vec<_> = databases
        .filter_map(|database| database.name.as_deref())
        .take(20)
        .map(|name| format!("`{name}`"))
        .collect();
    names.join(", ")
}
