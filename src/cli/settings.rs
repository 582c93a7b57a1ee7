//! Settings: what flags are when nobody gives them.
//!
//! A setting is a flag that has an environment variable. Its value comes from, in this order: the
//! command line, the variable `SHOEBOX_…`, what variables of postgres-backup-local say ([`local`]),
//! the settings file, the default. In the file a table is a command and a key is its flag:
//! `[backup]`, `docker = "immich_postgres"`. Commands that share a variable share the setting.
//!
//! Always holds: what was said closer to the person wins as a whole. Who names one of several flags
//! that exclude one another (a dump, a container, a URL) is not contradicted by the file.

mod file;
mod key;
mod local;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Id};

pub(super) use self::key::{SettingKey, keys};
use super::output::Output;
use super::{Cli, exit};
use crate::base::{Error, Result};
use crate::source::Secret;

/// Where a value comes from that was given neither as a flag nor as the setting's own variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SettingOrigin {
    /// Variables of postgres-backup-local, by their names.
    Local(String),
    File(PathBuf),
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GivenSetting {
    /// One text; several where the flag may be given several times.
    pub texts: Vec<String>,
    pub origin: SettingOrigin,
}

/// What is given by the file and by others' variables, by the setting's own variable.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The file that was named and is not there, for the one command that makes it.
    pub wanted: Option<PathBuf>,
    /// What a person should know of it, one line each.
    pub warnings: Vec<String>,
    /// A settings file that only the administrator may read.
    pub closed: Option<PathBuf>,
    given: BTreeMap<String, GivenSetting>,
}

/// Why there is nothing to run.
pub(super) enum ParseStop {
    /// The command line is wrong, or asks for help.
    Usage(clap::Error),
    /// The settings are.
    Settings(Error),
}

impl ParseStop {
    /// Tells why, and ends with `usage` where the command line is wrong.
    pub fn told(self, usage: u8) -> ExitCode {
        match self {
            ParseStop::Usage(error) => {
                let _ = error.print();
                ExitCode::from(if error.use_stderr() { usage } else { 0 })
            }
            ParseStop::Settings(error) => {
                Output::new(false, false).error(&error);
                exit::of_error(&error)
            }
        }
    }
}

impl From<Error> for ParseStop {
    fn from(error: Error) -> Self {
        ParseStop::Settings(error)
    }
}

impl From<clap::Error> for ParseStop {
    fn from(error: clap::Error) -> Self {
        ParseStop::Usage(error)
    }
}

/// Reads the command line `arguments`, the first being the program's name, with the settings.
pub(super) fn parse(arguments: &[OsString]) -> std::result::Result<Cli, ParseStop> {
    let command = lenient(Cli::command());
    let said = command.clone().try_get_matches_from(arguments)?;
    if needs_none(&said) {
        return Ok(Cli::from_arg_matches(&said)?);
    }
    let named = said.get_one::<PathBuf>("config").map(PathBuf::as_path);
    let makes_it = matches!(said.subcommand(), Some(("init", said)) if said.get_flag("guided"));
    let wanted = named.filter(|path| makes_it && !path.exists());
    let mut settings =
        Settings::read(&command, named.filter(|_| wanted.is_none()), wanted.is_some())?;
    settings.wanted = wanted.map(Path::to_owned);
    let matches = settings.apply(command, &said).try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.global.settings = settings;
    Ok(cli)
}

/// True for what has to work where the settings are wrong.
fn needs_none(said: &ArgMatches) -> bool {
    match said.subcommand() {
        Some(("help", _)) => true,
        Some(("config", said)) => said.get_flag("reference"),
        _ => false,
    }
}

/// A variable that is empty is as good as none, as compose files have them; a switch takes every
/// word for yes and no.
fn lenient(command: Command) -> Command {
    let arg = |arg: Arg| {
        let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|text| text.is_empty());
        let arg = if is_empty { arg.env(None::<&str>) } else { arg };
        match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            _ => arg,
        }
    };
    command.mut_args(arg).mut_subcommands(|command| command.mut_args(arg))
}

impl Settings {
    /// Reads the file `named`, else the one at a usual place, if there is one, unless there is to
    /// be none; and the environment.
    fn read(command: &Command, named: Option<&Path>, no_file: bool) -> Result<Settings> {
        let keys = keys(command);
        let file::SettingsFile { file, mut given, warnings, closed } =
            if no_file { file::SettingsFile::default() } else { file::read(&keys, named)? };
        let nearer = local::read(&|name| std::env::var(name).ok())?;
        // Only a command that was built knows its groups.
        let mut built = command.clone();
        built.build();
        given.retain(|env, _| !excluded(&built, env, &nearer));
        given.extend(nearer);
        Ok(Settings { file, wanted: None, warnings, closed, given })
    }

    /// What is given for the setting of the variable `env`.
    pub fn given(&self, env: &str) -> Option<&GivenSetting> {
        self.given.get(env)
    }

    /// The secret that the variable `env` holds, else the file that `env` + `_FILE` names, else
    /// what is given.
    pub fn secret(&self, env: &str) -> Result<Option<Secret>> {
        if let Some(secret) = Secret::from_env(env)? {
            return Ok(Some(secret));
        }
        match (self.text(env), self.text(&format!("{env}_FILE"))) {
            (Some(text), _) => Ok(Some(Secret::new(text))),
            (None, Some(path)) => Secret::from_file(Path::new(path)).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn text(&self, env: &str) -> Option<&str> {
        self.given(env)?.texts.first().map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Makes what is given the defaults of the flags of `command`, unless `said` has them or one
    /// that excludes them.
    fn apply(&self, command: Command, said: &ArgMatches) -> Command {
        let mut built = command.clone();
        built.build();
        let command = self.apply_to(command, &built, said);
        let Some((name, said)) = said.subcommand() else { return command };
        let Some(built) = built.find_subcommand(name) else { return command };
        command.mut_subcommand(name, |command| self.apply_to(command, built, said))
    }

    /// `built` is the same command, which knows its groups.
    fn apply_to(&self, mut command: Command, built: &Command, said: &ArgMatches) -> Command {
        let ids: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
        for id in ids {
            let is_said =
                rivals(built, id.as_str()).iter().any(|rival| is_explicit(said, rival.as_str()));
            let Some(given) = env_of(&command, id.as_str()).and_then(|env| self.given(&env)) else {
                continue;
            };
            if !is_said {
                command = command.mut_arg(&id, |arg| arg.default_values(given.texts.clone()));
            }
        }
        command
    }
}

fn env_of(command: &Command, id: &str) -> Option<String> {
    let arg = command.get_arguments().find(|arg| arg.get_id() == id)?;
    Some(arg.get_env()?.to_string_lossy().into_owned())
}

/// The flag `id` and those of which only one can be given with it.
fn rivals(command: &Command, id: &str) -> Vec<Id> {
    let groups = command
        .get_groups()
        .cloned()
        .filter_map(|mut group| (!group.is_multiple()).then_some(group));
    let members = groups.map(|group| group.get_args().cloned().collect::<Vec<Id>>());
    members
        .filter(|members| members.iter().any(|member| member == id))
        .flatten()
        .chain([Id::from(id.to_owned())])
        .collect()
}

fn is_explicit(said: &ArgMatches, id: &str) -> bool {
    let source = said.try_contains_id(id).ok().and_then(|_| said.value_source(id));
    matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

/// True when `nearer` has the setting `env` or one that excludes it.
fn excluded(command: &Command, env: &str, nearer: &BTreeMap<String, GivenSetting>) -> bool {
    // A secret may be given by itself or by a file's name.
    let secret = env.strip_suffix("_FILE").unwrap_or(env);
    nearer.contains_key(env)
        || nearer.contains_key(secret)
        || nearer.contains_key(&format!("{secret}_FILE"))
        || command.get_subcommands().any(|command| {
            let Some(arg) =
                command.get_arguments().find(|arg| arg.get_env().is_some_and(|it| it == env))
            else {
                return false;
            };
            let rivals = rivals(command, arg.get_id().as_str());
            rivals
                .iter()
                .filter_map(|id| env_of(command, id.as_str()))
                .any(|env| nearer.contains_key(&env))
        })
}

/// That the settings are in `file`, and this person may not read it: with the command as it was
/// typed.
pub(super) fn closed(file: &Path) -> Error {
    let words = std::env::args()
        .skip(1)
        .map(|word| shlex::try_quote(&word).map_or(word.clone(), |word| word.into_owned()));
    let typed: Vec<String> = ["sudo shoebox".to_owned()].into_iter().chain(words).collect();
    Error::new(
        crate::base::ErrorKind::Permission,
        format_args!(
            "the settings are in {}, which only the administrator may read",
            file.display()
        ),
    )
    .hint(typed.join(" "))
}
