//! What is printed: answers on standard output, as text or as JSON; the rest on standard error.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, TableStyle};
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
pub(super) use crate::base::amount::{count, plural, size};
use crate::base::{Error, ErrorKind, Problem, Result};

/// What a command came to, in words, for those who print it elsewhere.
#[derive(Debug)]
pub(super) struct CommandAnswer {
    pub text: String,
    /// What is not wrong, and good to know.
    pub notes: Vec<String>,
    /// Besides those that the monitor heard. Any makes it [`super::CommandOutcome::Partly`].
    pub problems: Vec<Problem>,
    pub done: CommandOutcome,
}

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
        if self.json {
            self.bytes(&[&serde_json::to_vec(value).map_err(not_written)?[..], b"\n"].concat())
        } else {
            self.bytes(format!("{}\n", lines(&text.to_string())).as_bytes())
        }
    }

    /// Prints bytes as they are. Who reads no more, as `head` does, ends the program without a
    /// word.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| {
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                super::signal::end_of_pipe();
            }
            Error::io("writing the answer", error)
        })
    }

    /// Prints rows of JSON objects, or a table: one heading and one cell a column. `right` columns
    /// are numbers.
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
        table
            .load_style(TableStyle::new())
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(heads);
        for row in rows {
            table.add_row(cells(row).iter().map(|cell| printable(cell)).collect::<Vec<_>>());
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
            aside(lines(&text.to_string()));
        }
    }

    /// Tells of problems.
    pub fn problems(&self, problems: &[Problem]) {
        for Problem { subject, message } in problems {
            if self.json {
                aside(json!({ "problem": message, "subject": subject }))
            } else {
                aside(format_args!("problem: {}: {}", printable(subject), printable(message)))
            }
        }
    }

    /// Tells why the command failed, and what to do next.
    pub fn error(&self, error: &Error) {
        let message = error.chain();
        if self.json {
            aside(
                json!({ "error": message, "hint": error.next_step(), "kind": format!("{:?}", error.kind()) }),
            );
            return;
        }
        aside(format_args!("shoebox: {}", printable(&message)));
        if let Some(hint) = error.next_step() {
            aside(format_args!(
                "hint: {}",
                hint.lines().map(printable).collect::<Vec<_>>().join("\n")
            ));
        }
    }
}

/// A line on standard error. That nobody hears it is no reason to stop.
pub(super) fn aside(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn not_written(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Io, "writing the answer").caused_by(error)
}

/// Text of one line that cannot play with a terminal: names come from strangers.
pub(super) fn printable(text: &str) -> String {
    let plain = |c: char| match c {
        '\n' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() || turns_text(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(plain).collect()
}

/// The same for our own text of several lines, with what was put into it.
fn lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Marks that are not seen and make what follows look like something else: `gpj.exe` like
/// `exe.jpg`. The joiners of emoji and of Persian are none of them.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_play_with_a_terminal() {
        for bad in [
            "\u{1b}[2J",
            "\u{9b}2J",
            "\r",
            "\u{7}",
            "\u{202e}gpj.exe",
            "\u{2066}",
            "\u{200f}",
            "\u{61c}",
            "a\nb",
            "a\u{2028}b",
        ] {
            let shown = printable(bad);
            assert!(
                !shown.chars().any(|c| c.is_control() || turns_text(c) || c == '\u{2028}'),
                "{shown:?}"
            );
        }
        for good in ["Zürich 東京.jpg", "👩\u{200d}👧.jpg", "می\u{200c}خواهم"] {
            assert_eq!(printable(good), good);
        }
        assert_eq!(lines("one\ntwo \u{1b}"), "one\ntwo \u{fffd}");
    }
}
