//! Carrying the plan out.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::beside::BesideDraft;
use super::loader::LoadConnection;
use super::place::DatabasePlace;
use super::plan::{self, DumpSinks, MadePlan};
use super::{Options, Report, RowDifference, twice};
use crate::base::{Error, ErrorKind, Monitor, Phase, Problem, Result};
use crate::immich::{self, PlantedCode};
use crate::source::DatabaseAccess;
use crate::source::postgres::{self, SqlFeed};
use crate::task::dump::SnapshotDump;

/// Loads the dump and compares the counts.
pub(super) fn load(
    dump: &SnapshotDump,
    made: MadePlan,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Report> {
    let place = DatabasePlace::prepare(&made, options)?;
    let loader = LoadConnection::prepare(&place.database, &made, options)?;
    let mut beside = made.plan.left_out_file.as_deref().map(|file| BesideDraft::new(file, dump.id));
    feed(dump, &made, &loader.access, options, beside.as_mut(), monitor)?;
    let expected = match options.source_database {
        None if made.plan.duplicates.is_empty() => &dump.record.dump.rows,
        None | Some(_) => &made.fitted.rows,
    };
    let found = count(&loader.access, &made.fitted.tables)?;
    let mut code = planted(dump, &loader.access)?;
    code.retain(|found| !options.accepted.contains(&found.to_string()));
    loader.hand_over()?;
    let kept = place.finish()?;
    beside.map_or(Ok(()), BesideDraft::finish)?;
    let mut differences = compare(expected, &found);
    differences.retain(|difference| !made.fitted.left_out.contains(&difference.table));
    for RowDifference { table, expected, found } in &differences {
        let message = format!("{found} rows are in the database, {expected} were in the dump");
        monitor.problem(Problem { subject: format!("table {table}"), message });
    }
    tell(&code, monitor);
    let (tables, rows) = (found.len() as u64, found.values().sum());
    Ok(Report { tables, rows, kept, differences, code, plan: made.plan })
}

/// What runs by itself in the database, and is not Immich's. Asked as the role that loaded it.
fn planted(dump: &SnapshotDump, access: &DatabaseAccess) -> Result<Vec<PlantedCode>> {
    let answer =
        postgres::ask(access, &format!("SET search_path = pg_catalog;\n{}", immich::QUESTION))?;
    let newer = immich::newer_than_known(dump.record.dump.schema.as_deref()).is_some();
    immich::planted(&answer, newer)
}

fn tell(code: &[PlantedCode], monitor: &dyn Monitor) {
    for found in code {
        let message = format!("not Immich's, and it runs by itself: {}", found.why);
        monitor.problem(Problem { subject: found.to_string(), message });
    }
}

/// The transaction, as psql is told it.
fn feed(
    dump: &SnapshotDump,
    made: &MadePlan,
    access: &DatabaseAccess,
    options: &Options,
    beside: Option<&mut BesideDraft>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let mut feed = SqlFeed::start(access)?;
    match send(dump, made, &mut feed, options, beside, monitor) {
        Ok(()) => feed.finish(),
        // When psql stopped listening it says why; else the reason is ours, and without a COMMIT
        // nothing has happened.
        Err(error) if feed.is_deaf() => feed.finish().and(Err(error.into())),
        Err(error) => Err(error.into()),
    }
    .map_err(|rejection| {
        if rejection.is_duplicate {
            twice::explain(rejection.error, dump, made, options, monitor)
        } else {
            rejection.error
        }
    })
}

fn send(
    dump: &SnapshotDump,
    made: &MadePlan,
    feed: &mut SqlFeed,
    options: &Options,
    mut beside: Option<&mut BesideDraft>,
    monitor: &dyn Monitor,
) -> Result<()> {
    if made.probe.restricts {
        feed.say(&format!("\\restrict {}\n", Uuid::new_v4().simple()))?;
    }
    feed.say("BEGIN;\n")?;
    let database = options.source_database.as_deref();
    let sinks = DumpSinks {
        each: &mut |piece| feed.write(piece.bytes, piece.line, piece.table),
        beside: &mut |bytes| beside.as_mut().map_or(Ok(()), |draft| draft.write(bytes)),
    };
    plan::read(dump, database, &made.target, monitor, Phase::Load, sinks)?;
    // Not lifted again: it is in lifting that psql had a flaw, and nothing follows.
    feed.say("COMMIT;\n")
}

/// How many rows the server has of each table; `tables` are their names, with those that SQL has
/// for them.
fn count(
    access: &DatabaseAccess,
    tables: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, u64>> {
    let selects: Vec<_> = tables
        .values()
        .enumerate()
        .map(|(at, sql)| format!("SELECT {at}, count(*) FROM {sql}"))
        .collect();
    if selects.is_empty() {
        return Ok(BTreeMap::new());
    }
    let answer = postgres::ask(access, &(selects.join(" UNION ALL\n") + ";\n"))?;
    let names: Vec<_> = tables.keys().collect();
    let row = |line: &str| {
        let (at, count) = line.split_once('|')?;
        Some(((*names.get(at.parse::<usize>().ok()?)?).clone(), count.parse().ok()?))
    };
    let counts: Option<BTreeMap<_, _>> = answer.lines().map(row).collect();
    let unreadable =
        || Error::new(ErrorKind::Program, "the database does not report how many rows it has");
    counts.filter(|counts| counts.len() == tables.len()).ok_or_else(unreadable)
}

/// Tables that have not as many rows.
pub(in crate::task) fn compare(
    expected: &BTreeMap<String, u64>,
    found: &BTreeMap<String, u64>,
) -> Vec<RowDifference> {
    let tables: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let rows = |of: &BTreeMap<String, u64>, table: &String| of.get(table).copied().unwrap_or(0);
    let each = tables.into_iter().map(|table| RowDifference {
        table: table.clone(),
        expected: rows(expected, table),
        found: rows(found, table),
    });
    each.filter(|difference| difference.expected != difference.found).collect()
}
