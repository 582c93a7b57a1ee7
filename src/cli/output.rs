//! What is printed: answers on standard output, as text or as JSON; the rest on standard error.

use std::error::Error as _;
use std::fmt::Display;
use std::io::{IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, TableStyle};
use serde::Serialize;
use serde_json::json;

pub(super) use crate::base::amount::{count, plural, size};
use crate::base::{Error, Kind, Problem, Result};

/// Prints a command's answers.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub fn new(json: bool, quiet: bool) -> Self {
        Output { json, quiet }
    }

    /// True when answers are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// True when a person sees the progress.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// True when plain lines may tell the progress.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints one answer: `value` as a line of JSON, or `text`.
    pub fn answer(&self, value: &impl Serialize, text: impl Display) -> Result<()> {
        match self.json {
            true => self.bytes(&[&serde_json::to_vec(value).map_err(not_written)?[..], b"\n"].concat()),
            false => self.bytes(format!("{text}\n").as_bytes()),
        }
    }

    /// Prints bytes as they are.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        std::io::stdout().lock().write_all(bytes).map_err(|error| Error::io("writing the answer", error))
    }

    /// Prints rows of JSON objects, or a table: one heading and one cell a column. `right` columns are numbers.
    pub fn table<R: Serialize>(
        &self,
        rows: &[R],
        heads: &[&str],
        right: &[usize],
        cells: impl Fn(&R) -> Vec<String>,
    ) -> Result<()> {
        if self.json {
            return rows.iter().try_for_each(|row| self.answer(row, ""));
        }
        let mut table = Table::new();
        table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled).set_header(heads);
        for row in rows {
            table.add_row(cells(row));
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if right.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().try_for_each(|line| self.bytes(format!("{}\n", line.trim_end()).as_bytes()))
    }

    /// Tells something on the side, unless it is to be quiet.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Tells of problems.
    pub fn problems(&self, problems: &[Problem]) {
        for Problem { subject, message } in problems {
            match self.json {
                true => eprintln!("{}", json!({ "problem": message, "subject": subject })),
                false => eprintln!("problem: {}: {message}", printable(subject)),
            }
        }
    }

    /// Tells why the command failed, and what to do next.
    pub fn error(&self, error: &Error) {
        let mut message = printable(&error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = printable(&cause.to_string());
            if !message.ends_with(&cause_text) {
                message = format!("{message}: {cause_text}");
            }
            source = cause.source();
        }
        if self.json {
            eprintln!(
                "{}",
                json!({ "error": message, "hint": error.next_step(), "kind": format!("{:?}", error.kind()) })
            );
            return;
        }
        eprintln!("shoebox: {message}");
        if let Some(hint) = error.next_step() {
            eprintln!("hint: {}", hint.lines().map(printable).collect::<Vec<_>>().join("\n"));
        }
    }
}

fn not_written(error: serde_json::Error) -> Error {
    Error::new(Kind::Io, "writing the answer").caused_by(error)
}

/// Text of one line that cannot play with a terminal: names come from strangers.
pub(super) fn printable(text: &str) -> String {
    let plain = |c: char| match c {
        '\n' | '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(plain).collect()
}
