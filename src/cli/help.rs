//! `shoebox help`: the manual's pages, and what `--help` says.
//!
//! The pages are for people in a bad hour, so nothing that may be broken is asked for them: no
//! settings file, no repository. `tests/program/manual/` executes each indented block of them, word
//! for word.

use std::fmt::Write;

use clap::CommandFactory;

use super::output::Output;
use super::{Cli, CommandOutcome};
use crate::base::{Error, Result};

/// Show the manual: how to set up, how to get things back; or the help of a command
///
/// Without a topic: all commands and all pages of the manual. Where a page and a command share a
/// name, this shows the page, and `shoebox COMMAND --help` the command.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  shoebox help                    lists the pages\n  shoebox help \
        restore            how to get things back\n  shoebox help setup | lp         on paper, for \
        a bad hour\n  shoebox help backup             what `shoebox backup --help` says"
)]
pub(super) struct Args {
    /// A page of the manual, or a command
    topic: Vec<String>,
}

/// A page of the manual. Its first line is `# ` and its title, and what is indented by four blanks
/// is a recipe.
struct ManualPage {
    name: &'static str,
    text: &'static str,
}

macro_rules! pages {
    ($($name:literal),*) => { [$(ManualPage { name: $name, text: include_str!(concat!("manual/", $name, ".md")) }),*] };
}

const PAGES: [ManualPage; 7] =
    pages!["setup", "restore", "server", "move", "disk", "plain", "missing"];

impl Args {
    pub fn run(self, output: &Output) -> Result<CommandOutcome> {
        let words: Vec<&str> = self.topic.iter().map(String::as_str).collect();
        let text = match (&words[..], page(&words)) {
            ([], _) => format!("{}\n{}", command_help(&[]).unwrap_or_default(), list()),
            (_, Some(page)) => page.whole(),
            (_, None) => command_help(&words).ok_or_else(|| unknown(&words))?,
        };
        output.bytes(text.as_bytes())?;
        Ok(CommandOutcome::Whole)
    }
}

impl ManualPage {
    fn title(&self) -> &str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    /// The page, and where the flags are if a command has its name.
    fn whole(&self) -> String {
        let flags = command_help(&[self.name]).map(|_| {
            format!(
                "\nThis is a page of the manual. `shoebox {} --help` has the flags of that \
                command.\n",
                self.name
            )
        });
        format!("{}{}", self.text, flags.unwrap_or_default())
    }
}

fn page(words: &[&str]) -> Option<&'static ManualPage> {
    const ALL: &[ManualPage] = &PAGES;
    ALL.iter().find(|page| words == [page.name])
}

/// A line for each page.
fn list() -> String {
    PAGES.iter().fold("Manual (shoebox help PAGE):\n".to_owned(), |mut text, page| {
        let _ = writeln!(text, "  {:<8} {}", page.name, page.title());
        text
    })
}

/// What `--help` says of the command, or subcommand, of this name.
fn command_help(words: &[&str]) -> Option<String> {
    let program = Cli::command();
    words.iter().try_fold(&program, |command, word| command.find_subcommand(word))?;
    // Asked for as a person would, so that it is the same.
    let asked = ["shoebox"].iter().chain(words).chain(&["--help"]);
    program.clone().try_get_matches_from(asked).err().map(|help| help.render().to_string())
}

fn unknown(words: &[&str]) -> Error {
    let wanted = words.join(" ");
    let program = Cli::command();
    let commands = program
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(clap::Command::get_name);
    let alike = PAGES.iter().map(|page| page.name).chain(commands);
    let alike = alike
        .map(|name| (strsim::jaro_winkler(name, &wanted), name))
        .filter(|(alike, _)| *alike > 0.8);
    let nearest = alike.max_by(|(one, _), (other, _)| one.total_cmp(other));
    let nearest = nearest
        .map(|(_, name)| format!("did you mean `shoebox help {name}`?\n"))
        .unwrap_or_default();
    Error::invalid(format_args!("no page and no command is called {wanted:?}"))
        .hint(format_args!("{nearest}{}", list().trim_end()))
}
