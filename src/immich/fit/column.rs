//! Columns of Immich's own tables whose type an extension of others brings: left out of the table
//! and of each row, and kept as statements that bring them back.
//!
//! Limit: a column that must not be NULL and has no default is only brought back into an empty
//! table.

use std::collections::{BTreeMap, BTreeSet};

use super::statement::{Statement, quoted};
use crate::immich::copy::CopyHeader;

/// A table's schema and name.
type ColumnTable = (String, String);

/// What was taken out of tables so far.
#[derive(Debug, Default)]
pub struct RemovedColumns(BTreeMap<ColumnTable, BTreeSet<String>>);

/// A `CREATE TABLE` in two parts.
#[derive(Debug)]
pub struct SplitTable {
    /// Without the columns.
    pub rest: String,
    /// What adds them again.
    pub added: String,
    /// As `column spot of table asset`.
    pub named: Vec<String>,
}

/// Rows in two parts.
#[derive(Debug)]
pub struct SplitRows {
    /// The header of what is left.
    pub header: String,
    /// Where the columns stand in a row.
    places: BTreeSet<usize>,
    /// What goes before whole rows that are kept, and after them.
    pub before: String,
    pub after: String,
}

impl RemovedColumns {
    /// Takes out of `CREATE TABLE table` the columns that begin at the tokens `foreign`, and what
    /// names them.
    pub fn split(
        &mut self,
        statement: &Statement,
        table: ColumnTable,
        foreign: &BTreeSet<usize>,
    ) -> Option<SplitTable> {
        let elements = elements(statement)?;
        let taken: BTreeSet<_> = elements
            .iter()
            .filter(|it| foreign.contains(&it.start))
            .filter_map(|it| statement.name(it.start))
            .collect();
        let names = |at: usize| statement.name(at).is_some_and(|name| taken.contains(&name));
        let (out, rest): (Vec<_>, Vec<_>) =
            elements.into_iter().partition(|it| it.clone().any(names));
        if out.is_empty() || rest.is_empty() {
            return None;
        }
        let text = |it: &std::ops::Range<usize>| statement.slice(it.clone()).to_owned();
        let name = sql(&table);
        let added =
            out.iter().map(|it| format!("ALTER TABLE {name} ADD {};\n", text(it))).collect();
        let body =
            rest.iter().map(|it| format!("    {}", text(it))).collect::<Vec<_>>().join(",\n");
        let all =
            rest[0].start.min(out[0].start)..rest[rest.len() - 1].end.max(out[out.len() - 1].end);
        let named =
            taken.iter().map(|column| format!("column {column} of table {}", table.1)).collect();
        self.0.insert(table, taken);
        Some(SplitTable {
            rest: statement.with(&[(all, body.trim_start().to_owned())]),
            added,
            named,
        })
    }

    /// True for a statement about a column that was taken out.
    pub fn are_used(
        &self,
        statement: &Statement,
        tables: impl Iterator<Item = ColumnTable>,
    ) -> bool {
        let gone: Vec<_> = tables.filter_map(|table| self.0.get(&table)).collect();
        let names = |at: usize| {
            statement.name(at).is_some_and(|name| gone.iter().any(|gone| gone.contains(&name)))
        };
        !gone.is_empty() && (1..statement.len()).any(names)
    }

    /// How the rows of `header` are split, if columns of them were taken out.
    pub fn rows(&self, header: &CopyHeader) -> Option<SplitRows> {
        let table = (header.schema.clone(), header.table.clone());
        let gone = self.0.get(&table)?;
        let is_gone = |column: &&String| gone.contains(*column);
        let places: BTreeSet<_> =
            (0..header.columns.len()).filter(|&at| gone.contains(&header.columns[at])).collect();
        let kept: Vec<_> = header.columns.iter().filter(|column| !is_gone(column)).collect();
        if places.is_empty() {
            return None;
        }
        let list = |columns: &[&String]| {
            columns.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(", ")
        };
        let (name, draft) =
            (sql(&table), format!("pg_temp.{}", quoted(&format!("left_out_{}", header.table))));
        let same = |it: &&String| format!("t.{0} IS NOT DISTINCT FROM l.{0}", quoted(it));
        let same = key(&kept).iter().map(same).collect::<Vec<_>>().join(" AND ");
        let set = |it: &String| format!("{0} = l.{0}", quoted(it));
        let set = header.columns.iter().filter(is_gone).map(set).collect::<Vec<_>>().join(", ");
        let whole: Vec<_> = header.columns.iter().collect();
        Some(SplitRows {
            header: format!("COPY {name} ({}) FROM stdin;\n", list(&kept)),
            places,
            before: format!(
                "CREATE TEMPORARY TABLE {} (LIKE {name});\nCOPY {draft} ({}) FROM stdin;\n",
                quoted(&format!("left_out_{}", header.table)),
                list(&whole)
            ),
            after: format!(
                "ALTER TABLE {name} DISABLE TRIGGER USER;\nUPDATE {name} t SET {set} FROM {draft} \
                    l WHERE {same};\n\
                 ALTER TABLE {name} ENABLE TRIGGER USER;\nDROP TABLE {draft};\n\n"
            ),
        })
    }
}

impl SplitRows {
    /// The whole lines `rows` without the columns.
    pub fn cut(&self, rows: &[u8]) -> Vec<u8> {
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows.split_inclusive(|&byte| byte == b'\n') {
            if row == b"\\.\n" {
                kept.extend_from_slice(row);
                continue;
            }
            let fields =
                row.strip_suffix(b"\n").unwrap_or(row).split(|&byte| byte == b'\t').enumerate();
            let fields: Vec<_> = fields
                .filter(|(at, _)| !self.places.contains(at))
                .map(|(_, field)| field)
                .collect();
            kept.extend_from_slice(&fields.join(&b'\t'));
            kept.push(b'\n');
        }
        kept
    }
}

/// What tells a row of Immich's from another: its `id`, else the ids that it joins, else all.
fn key<'a>(columns: &[&'a String]) -> Vec<&'a String> {
    let chosen = |test: &dyn Fn(&str) -> bool| {
        columns.iter().filter(|it| test(it)).copied().collect::<Vec<_>>()
    };
    let ways = [chosen(&|it| it == "id"), chosen(&|it| it.ends_with("Id")), columns.to_vec()];
    ways.into_iter().find(|way| !way.is_empty()).unwrap_or_default()
}

/// The parts of a `CREATE TABLE` between its brackets, as ranges of tokens.
fn elements(statement: &Statement) -> Option<Vec<std::ops::Range<usize>>> {
    let open = (0..statement.len()).find(|&at| statement.is(at, "("))?;
    let (mut depth, mut start, mut elements) = (0, open + 1, Vec::new());
    for at in open..statement.len() {
        depth += i32::from(statement.is(at, "(")) - i32::from(statement.is(at, ")"));
        if depth == 0 || (depth == 1 && statement.is(at, ",")) {
            elements.push(start..at);
            start = at + 1;
        }
        if depth == 0 {
            return Some(elements);
        }
    }
    None
}

fn sql((schema, name): &ColumnTable) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}
