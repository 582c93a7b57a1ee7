//! The settings that there are: read off the command line's own definition, so that no list of them
//! can be out of date.

use clap::{Arg, ArgAction, Command};

/// A setting.
#[derive(Debug, Clone)]
pub(in crate::cli) struct SettingKey {
    /// The command whose flag it is first; none where every command understands it.
    pub table: Option<String>,
    /// The flag's long name.
    pub name: String,
    /// Its environment variable.
    pub env: String,
    /// One line of help.
    pub help: String,
    /// The flag; none where it is no flag, because a command line is read by everybody on the
    /// machine.
    pub arg: Option<Arg>,
}

/// Settings that are secrets: never flags. Each may be a file's name instead, by `NAME-file`.
const SECRETS: [(&str, &str, &str, &str); 4] = [
    (
        "backup",
        "database-password",
        "SHOEBOX_DATABASE_PASSWORD",
        "The password of Immich's database",
    ),
    ("notify", "ntfy-token", "SHOEBOX_NTFY_TOKEN", "The access token of the ntfy server"),
    ("notify", "gotify-token", "SHOEBOX_GOTIFY_TOKEN", "The token of the Gotify application"),
    ("notify", "email-password", "SHOEBOX_EMAIL_PASSWORD", "The password of the mail server"),
];

impl SettingKey {
    /// As it is called in the file: `backup.docker`.
    pub fn path(&self) -> String {
        match &self.table {
            Some(table) => format!("{table}.{}", self.name),
            None => self.name.clone(),
        }
    }

    /// True when its value is not to be shown.
    pub fn is_secret(&self) -> bool {
        self.arg.as_ref().map_or(!self.env.ends_with("_FILE"), Arg::is_hide_env_values_set)
    }

    /// True when it is on or off and takes no value.
    pub fn is_switch(&self) -> bool {
        self.arg.as_ref().is_some_and(|arg| matches!(arg.get_action(), ArgAction::SetTrue))
    }

    /// True when it may be given several times.
    pub fn is_list(&self) -> bool {
        self.arg.as_ref().is_some_and(|arg| matches!(arg.get_action(), ArgAction::Append))
    }

    /// What holds when nobody says anything.
    pub fn default(&self) -> Option<String> {
        let values = self.arg.as_ref()?.get_default_values();
        (!values.is_empty()).then(|| {
            values.iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",")
        })
    }
}

/// All settings of `command`, in the order of its commands and their flags.
pub(in crate::cli) fn keys(command: &Command) -> Vec<SettingKey> {
    let mut keys: Vec<SettingKey> = Vec::new();
    let commands = std::iter::once((None, command))
        .chain(command.get_subcommands().map(|it| (Some(it.get_name()), it)));
    for (table, command) in commands {
        for arg in command.get_arguments() {
            let key = key(table, arg).filter(|key| !keys.iter().any(|other| other.env == key.env));
            keys.extend(key);
        }
        keys.extend(SECRETS.iter().filter(|(of, ..)| Some(*of) == table).flat_map(secret));
    }
    keys
}

fn key(table: Option<&str>, arg: &Arg) -> Option<SettingKey> {
    let env = arg.get_env()?.to_string_lossy().into_owned();
    // A settings file cannot name the settings file.
    let name = arg.get_long().filter(|name| *name != "config")?;
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    Some(SettingKey {
        table: table.map(str::to_owned),
        name: name.to_owned(),
        env,
        help,
        arg: Some(arg.clone()),
    })
}

fn secret((table, name, env, help): &(&str, &str, &str, &str)) -> [SettingKey; 2] {
    let key = |suffix: &str, env_suffix: &str, help: String| SettingKey {
        table: Some((*table).to_owned()),
        name: format!("{name}{suffix}"),
        env: format!("{env}{env_suffix}"),
        help,
        arg: None,
    };
    [
        key("", "", format!("{help}; better in a file of its own")),
        key("-file", "_FILE", format!("{help}: the file that holds it")),
    ]
}
