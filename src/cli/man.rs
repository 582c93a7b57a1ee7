//! `shoebox man`

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Cli, CommandOutcome};
use crate::base::{Context, Result};

/// Write the manual pages, one for each command
///
/// They say what `--help` says. A package has them already.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  shoebox man ~/.local/share/man/man1 && man shoebox-backup")]
pub(super) struct Args {
    /// Where to; the folder is made if it is not there
    folder: PathBuf,
}

impl Args {
    pub fn run(self) -> Result<CommandOutcome> {
        fs::create_dir_all(&self.folder)
            .context(|| format!("making the folder {}", self.folder.display()))?;
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        write_pages(&program, &self.folder)?;
        Ok(CommandOutcome::Whole)
    }
}

/// Writes the page of `command`, and those of its subcommands.
fn write_pages(command: &Command, folder: &Path) -> Result<()> {
    let name = page_name(command);
    let path = folder.join(format!("{name}.1"));
    let mut text = Vec::new();
    page(command, &mut text).context(|| format!("rendering the page {name}"))?;
    fs::write(&path, text).context(|| format!("writing {}", path.display()))?;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|each| write_pages(each, folder))
}

fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(command: &Command, out: &mut impl Write) -> io::Result<()> {
    let usage = command.clone().render_usage().to_string();
    let described = command.clone().override_usage(usage.trim_start_matches("Usage: ").to_owned());
    // What every command understands comes last.
    let man = Man::new(described.mut_args(|arg| {
        if arg.is_global_set() { arg.help_heading("Global options") } else { arg }
    }));
    // No date: the same source makes the same page. `Man` would leave the empty field out, and the
    // others would move up.
    let version = env!("CARGO_PKG_VERSION");
    writeln!(
        out,
        ".TH {} 1 \"\" \"shoebox {version}\" \"shoebox manual\"",
        page_name(command).replace('-', "\\-")
    )?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.get_subcommands().any(|each| !each.is_hide_set()) {
        man.render_subcommands_section(out)?;
    }
    let more = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    for section in sections(&more) {
        section.render(&mut roff);
    }
    see_also(command, &mut roff);
    // Its own `to_writer` would begin with the preamble that the other sections have had.
    out.write_all(roff.to_roff().as_bytes())
}

fn see_also(command: &Command, roff: &mut Roff) {
    if page_name(command) != "shoebox" {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold("shoebox"), roman("(1), which lists all commands and the exit codes")]);
    }
}

/// A section of a page, out of the text that follows a command's help.
#[derive(Debug, PartialEq, Eq)]
struct PageSection<'a> {
    title: String,
    body: Vec<SectionPart<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
enum SectionPart<'a> {
    /// Lines that flow.
    Prose(Vec<&'a str>),
    /// Lines that stand as they are: commands.
    Verbatim(Vec<&'a str>),
}

/// Divides the text after a command's help, block by block: a line that ends with a colon is the
/// title of the indented lines below it, what begins with `JSON:` or `Text:` tells of the output,
/// and the rest are notes.
fn sections(text: &str) -> Vec<PageSection<'_>> {
    let mut sections: Vec<PageSection<'_>> = Vec::new();
    for block in text.split("\n\n").filter(|block| !block.is_empty()) {
        let (head, below) = block.split_once('\n').unwrap_or((block, ""));
        let (title, body) = match head.strip_suffix(':') {
            Some(title) if below.starts_with(INDENT) => (title_of(title), parts(below)),
            _ if tells_output(head) => ("OUTPUT".to_owned(), parts(block)),
            _ => ("NOTES".to_owned(), parts(block)),
        };
        match sections.iter_mut().find(|section| section.title == title) {
            Some(section) => section.body.extend(body),
            None => sections.push(PageSection { title, body }),
        }
    }
    sections
}

const INDENT: &str = "  ";

fn tells_output(line: &str) -> bool {
    line.starts_with("JSON: ") || line.starts_with("Text: ")
}

/// The title that manual pages use.
fn title_of(heading: &str) -> String {
    match heading {
        "Example" => "EXAMPLES".to_owned(),
        "Exit codes" => "EXIT STATUS".to_owned(),
        other => other.to_uppercase(),
    }
}

fn parts(block: &str) -> Vec<SectionPart<'_>> {
    let mut parts = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix(INDENT), parts.last_mut()) {
            (Some(line), Some(SectionPart::Verbatim(lines))) => lines.push(line),
            (Some(line), _) => parts.push(SectionPart::Verbatim(vec![line])),
            (None, Some(SectionPart::Prose(lines))) if !tells_output(line) => lines.push(line),
            (None, _) => parts.push(SectionPart::Prose(vec![line])),
        }
    }
    parts
}

impl PageSection<'_> {
    fn render(&self, roff: &mut Roff) {
        roff.control("SH", [self.title.as_str()]);
        for (index, part) in self.body.iter().enumerate() {
            if index > 0 {
                roff.control("PP", []);
            }
            part.render(roff);
        }
    }
}

impl SectionPart<'_> {
    fn render(&self, roff: &mut Roff) {
        let lines = |roff: &mut Roff, lines: &[&str]| {
            for line in lines {
                roff.text([roman(*line)]);
            }
        };
        match self {
            // Flush left only: JSON has words as long as a line.
            SectionPart::Prose(text) => {
                roff.control("na", []);
                lines(roff, text);
                roff.control("ad", []);
            }
            SectionPart::Verbatim(text) => {
                roff.control("EX", []);
                lines(roff, text);
                roff.control("EE", []);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_as_they_are_and_prose_flows() {
        let text = "Two\nlines.\n\nExamples:\n  shoebox a   first\n  shoebox b\nNot \
            indented.\n\nText: time\nJSON: one\nobject";
        let section = |title: &str, body| PageSection { title: title.to_owned(), body };
        let expected = [
            section("NOTES", vec![SectionPart::Prose(vec!["Two", "lines."])]),
            section(
                "EXAMPLES",
                vec![
                    SectionPart::Verbatim(vec!["shoebox a   first", "shoebox b"]),
                    SectionPart::Prose(vec!["Not indented."]),
                ],
            ),
            section(
                "OUTPUT",
                vec![
                    SectionPart::Prose(vec!["Text: time"]),
                    SectionPart::Prose(vec!["JSON: one", "object"]),
                ],
            ),
        ];
        assert_eq!(sections(text), expected);
        assert_eq!(sections(""), []);
    }
}
