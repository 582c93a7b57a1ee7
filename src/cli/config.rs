//! `shoebox config`

use clap::CommandFactory;
use serde::Serialize;

use super::output::Output;
use super::settings::{GivenSetting, SettingKey, SettingOrigin, Settings, keys};
use super::{Cli, CommandOutcome, GlobalArgs};
use crate::base::Result;

/// Show the settings in force, and where each comes from
///
/// A setting is a flag that has an environment variable. The command line comes first, then the
/// variable, then the settings file, then the default. In the file, a table is a command and a key
/// is its flag.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print all settings and their meaning, as a file to start from
    #[arg(long)]
    reference: bool,
    /// Only settings that are set
    #[arg(long, conflicts_with = "reference")]
    set: bool,
}

const EXAMPLES: &str = "\
The settings file is the one that --config names, else ~/.config/shoebox.toml, else \
/etc/shoebox.toml. No file is needed: every
setting is also a variable, and those of postgres-backup-local (POSTGRES_HOST, SCHEDULE, \
BACKUP_KEEP_DAYS, …) are understood.

Examples:
  shoebox config --reference > /etc/shoebox.toml
  shoebox config --set

JSON: one object a setting: {\"key\", \"variable\", \"value\", \"from\": \
\"default\"|\"environment\"|\"file\"|\"unset\", \"source\"}; secrets have no value";

/// A setting in force.
#[derive(Debug, Serialize)]
struct SettingRow {
    key: String,
    variable: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    from: &'static str,
    /// The variable, or the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let keys = keys(&Cli::command());
        if self.reference {
            output.bytes(reference(&keys).as_bytes())?;
            return Ok(CommandOutcome::Whole);
        }
        let is_shown = |row: &SettingRow| !self.set || !matches!(row.from, "default" | "unset");
        let rows: Vec<SettingRow> =
            keys.iter().map(|key| row(key, &global.settings)).filter(is_shown).collect();
        output.table(&rows, &["Setting", "Value", "From"], &[], |row| {
            let from = row.source.clone().unwrap_or_else(|| row.from.to_owned());
            vec![row.key.clone(), row.value.clone().unwrap_or_default(), from]
        })?;
        match &global.settings.file {
            Some(file) => output.note(format!("settings file: {}", file.display())),
            None => output.note(
                "there is no settings file; `shoebox config --reference > FILE` makes \
                    one to begin with",
            ),
        }
        Ok(CommandOutcome::Whole)
    }
}

fn row(key: &SettingKey, settings: &Settings) -> SettingRow {
    let (value, from, source) = match (std::env::var(&key.env), settings.given(&key.env)) {
        (Ok(text), _) => (Some(text), "environment", Some(key.env.clone())),
        (Err(_), Some(GivenSetting { texts, origin: SettingOrigin::Local(name) })) => {
            (Some(texts.join(",")), "environment", Some(name.clone()))
        }
        (Err(_), Some(GivenSetting { texts, origin: SettingOrigin::File(file) })) => {
            (Some(texts.join(",")), "file", Some(file.display().to_string()))
        }
        (Err(_), None) => match key.default() {
            Some(value) => (Some(value), "default", None),
            None => (None, "unset", None),
        },
    };
    let value = value.map(|value| if key.is_secret() { "…".to_owned() } else { value });
    SettingRow { key: key.path(), variable: key.env.clone(), value, from, source }
}

/// All settings as a file in which nothing is set.
fn reference(keys: &[SettingKey]) -> String {
    let mut text = String::from(
        "# Settings of shoebox. A table is a command, a key is its flag: see `shoebox COMMAND \
            --help`.\n\
         # What is commented out is not set: it shows the default or an example.\n",
    );
    let mut table = None;
    for key in keys {
        if key.table != table {
            text += &format!("\n[{}]\n", key.table.as_deref().unwrap_or_default());
            table.clone_from(&key.table);
        }
        let value = match (key.default(), key.is_switch(), key.is_list()) {
            (_, true, _) => "false".to_owned(),
            (default, _, true) => {
                let values = default.unwrap_or_else(|| example(key));
                format!("[{}]", values.split(',').map(quoted).collect::<Vec<_>>().join(", "))
            }
            (Some(default), ..) if default.parse::<u64>().is_ok() => default,
            (Some(default), ..) => quoted(&default),
            (None, ..) => quoted(&example(key)),
        };
        text += &format!(
            "# {}\n# ({})\n#{} = {value}\n",
            key.help.replace('\n', "\n# "),
            key.env,
            key.name
        );
    }
    text
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What the help calls the value: `FOLDER`.
fn example(key: &SettingKey) -> String {
    let names = key.arg.as_ref().and_then(|arg| arg.get_value_names());
    names.and_then(|names| names.first()).map_or_else(|| "…".to_owned(), ToString::to_string)
}
