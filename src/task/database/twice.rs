//! Two rows with one key, on which a server stops: which they are.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use super::Options;
use super::plan::{self, DumpSinks, MadePlan};
use crate::base::{Error, ErrorKind, Monitor, Phase, Result};
use crate::immich::fit::{DuplicateRow, FitTarget};
use crate::task::dump::SnapshotDump;

/// Pairs of rows that are shown.
const SHOWN: usize = 5;
/// Characters of a row that are shown.
const LONGEST: usize = 100;

/// What `refused`, the server's word about a key, is about. What cannot be found out is left as it
/// was told.
pub(super) fn explain(
    refused: Error,
    dump: &SnapshotDump,
    made: &MadePlan,
    options: &Options,
    monitor: &dyn Monitor,
) -> Error {
    match find(dump, made, options, monitor) {
        Ok(found) if !found.is_empty() => told(&refused, &found, dump),
        Ok(_) | Err(_) => refused,
    }
}

fn find(
    dump: &SnapshotDump,
    made: &MadePlan,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Vec<DuplicateRow>> {
    let target = FitTarget { keys: Some(made.fitted.keys.clone()), ..made.target.clone() };
    let sinks = DumpSinks { each: &mut |_| Ok(()), beside: &mut |_| Ok(()) };
    let database = options.source_database.as_deref();
    Ok(plan::read(dump, database, &target, monitor, Phase::Dump, sinks)?.duplicates)
}

fn told(refused: &Error, found: &[DuplicateRow], dump: &SnapshotDump) -> Error {
    let shown = &found[..found.len().min(SHOWN)];
    let rows = rows(dump, shown).unwrap_or_default();
    let row = |line: &u64| format!("line {line}: {}", rows.get(line).map_or("", String::as_str));
    let pair = |it: &DuplicateRow| {
        format!("table {}, key {}\n  {}\n  {}", it.table, it.key, row(&it.first), row(&it.line))
    };
    let pairs: Vec<_> = shown.iter().map(pair).collect();
    let DuplicateRow { table, key, line, first } = &found[0];
    let more =
        if found.len() > 1 { format!(", and {} more", found.len() - 1) } else { String::new() };
    Error::new(
        ErrorKind::Program,
        format_args!(
            "two rows of table {table} have the key {key}: lines {first} and {line} of \
            the dump{more}"
        ),
    )
    .caused_by(format!("{}\n{}", refused.chain(), pairs.join("\n")))
    .hint("--skip-duplicates continues without the later row of each; nothing was changed")
}

/// The rows of `duplicates`, shortened, by line.
fn rows(dump: &SnapshotDump, duplicates: &[DuplicateRow]) -> Result<BTreeMap<u64, String>> {
    let mut wanted: BTreeMap<u64, String> = duplicates
        .iter()
        .flat_map(|it| [it.first, it.line])
        .map(|line| (line, String::new()))
        .collect();
    let last = wanted.keys().last().copied().unwrap_or(0);
    let mut reader = BufReader::new(dump.reader());
    let mut text = Vec::new();
    for line in 1..=last {
        text.clear();
        reader
            .read_until(b'\n', &mut text)
            .map_err(|error| Error::damaged("the dump").caused_by(error))?;
        if let Some(row) = wanted.get_mut(&line) {
            let shown: String =
                String::from_utf8_lossy(&text).trim_end().chars().take(LONGEST).collect();
            *row = shown.replace('\t', " | ").replace(char::is_control, "?");
        }
    }
    Ok(wanted)
}
