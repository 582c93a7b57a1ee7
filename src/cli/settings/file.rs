//! The settings file, `shoebox.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{GivenSetting, SettingKey, SettingOrigin};
use crate::base::{Error, Result};

/// Where the file is looked for when nobody names one, after the person's own `shoebox.toml`.
const SYSTEM: &str = "/etc/shoebox.toml";

/// The file that was read.
#[derive(Debug, Default)]
pub(super) struct SettingsFile {
    /// None where there is none.
    pub file: Option<PathBuf>,
    pub given: BTreeMap<String, GivenSetting>,
    pub warnings: Vec<String>,
    /// One that is there and may not be read by this person.
    pub closed: Option<PathBuf>,
}

/// Reads the file that is `named`, else the one at a usual place, if there is one.
pub(super) fn read(keys: &[SettingKey], named: Option<&Path>) -> Result<SettingsFile> {
    let mut read = SettingsFile::default();
    let Some((path, text)) = found(named, &mut read)? else { return Ok(read) };
    // Not its own words: they show the line, which may hold a secret.
    let unread = |error: toml::de::Error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        wrong(&path, format_args!("line {line}: {}", error.message()))
    };
    let table: Table = text.parse().map_err(unread)?;
    let mut take = |key: &str, value| take(keys, &path, key, value, &mut read.given);
    for (name, value) in &table {
        match value {
            Value::Table(table) => {
                table.iter().try_for_each(|(key, value)| take(&format!("{name}.{key}"), value))?
            }
            value => take(name, value)?,
        }
    }
    read.warnings.extend(warning_if_open(keys, &path, &read.given));
    read.file = Some(path);
    Ok(read)
}

/// The file and its text.
fn found(named: Option<&Path>, read: &mut SettingsFile) -> Result<Option<(PathBuf, String)>> {
    if let Some(path) = named {
        let reading = |error| {
            Error::io(format_args!("reading the settings file {}", path.display()), error)
                .hint("`shoebox config --reference > shoebox.toml` makes one to begin with")
        };
        return Ok(Some((path.to_owned(), fs::read_to_string(path).map_err(reading)?)));
    }
    for path in usual_places() {
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // It is the administrator's, and this is somebody else.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                read.closed = Some(path)
            }
            Err(error) => read
                .warnings
                .push(format!("the settings file {} is not used: {error}", path.display())),
        }
    }
    Ok(None)
}

fn usual_places() -> Vec<PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".config"));
    let own = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(home);
    own.map(|folder| folder.join("shoebox.toml"))
        .into_iter()
        .chain([PathBuf::from(SYSTEM)])
        .collect()
}

fn take(
    keys: &[SettingKey],
    file: &Path,
    path: &str,
    value: &Value,
    given: &mut BTreeMap<String, GivenSetting>,
) -> Result<()> {
    let key =
        keys.iter().find(|key| key.path() == path).ok_or_else(|| unknown(keys, file, path))?;
    let texts =
        texts(key, value).map_err(|message| wrong(file, format_args!("{path}: {message}")))?;
    if let Some(texts) = texts {
        try_out(key, &texts).map_err(|message| wrong(file, format_args!("{path}: {message}")))?;
        given.insert(
            key.env.clone(),
            GivenSetting { texts, origin: SettingOrigin::File(file.to_owned()) },
        );
    }
    Ok(())
}

/// The texts that a flag would be given; none for a switch that is off.
fn texts(key: &SettingKey, value: &Value) -> std::result::Result<Option<Vec<String>>, String> {
    match value {
        Value::Boolean(on) if key.is_switch() => Ok(on.then(|| vec!["true".to_owned()])),
        _ if key.is_switch() => Err("is true or false".to_owned()),
        Value::Array(values) if key.is_list() => values
            .iter()
            .map(|value| text(value).ok_or_else(|| "is a list of texts".to_owned()))
            .collect::<std::result::Result<_, _>>()
            .map(Some),
        value => text(value).map(|text| Some(vec![text])).ok_or_else(|| {
            if key.is_list() {
                "is a text or a list of texts".to_owned()
            } else {
                "is one text or number".to_owned()
            }
        }),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(is) => Some(is.to_string()),
        _ => None,
    }
}

/// Asks the flag itself whether it takes these values.
fn try_out(key: &SettingKey, texts: &[String]) -> std::result::Result<(), String> {
    let Some(arg) = key.arg.clone().filter(|_| !key.is_switch()) else { return Ok(()) };
    let alone = clap::Command::new("shoebox").disable_help_flag(true).arg(arg.env(None::<&str>));
    let flags = texts.iter().map(|text| format!("--{}={text}", key.name));
    let said = alone.try_get_matches_from(std::iter::once("shoebox".to_owned()).chain(flags));
    said.map(drop).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    })
}

fn unknown(keys: &[SettingKey], file: &Path, path: &str) -> Error {
    let near = |key: &SettingKey| {
        let whole = strsim::jaro_winkler(&key.path(), path);
        let name = strsim::jaro_winkler(&key.name, path.rsplit('.').next().unwrap_or(path));
        whole.max(name)
    };
    let nearest =
        keys.iter().max_by(|a, b| near(a).total_cmp(&near(b))).filter(|key| near(key) > 0.85);
    let error = wrong(file, format_args!("unknown setting `{path}`"));
    match nearest {
        Some(key) => error.hint(format_args!(
            "did you mean `{}`? `shoebox config --reference` has them all",
            key.path()
        )),
        None => error,
    }
}

fn wrong(file: &Path, message: impl std::fmt::Display) -> Error {
    Error::invalid(format_args!("the settings file {}: {message}", file.display()))
        .hint("`shoebox config --reference` prints all settings with what they mean")
}

/// A password that everybody can read is told.
fn warning_if_open(
    keys: &[SettingKey],
    path: &Path,
    given: &BTreeMap<String, GivenSetting>,
) -> Option<String> {
    let holds_secret = keys.iter().any(|key| key.is_secret() && given.contains_key(&key.env));
    let mode = fs::metadata(path).map_or(0, |meta| meta.permissions().mode());
    let is_open = holds_secret && mode & 0o077 != 0;
    is_open.then(|| {
        format!("{0} holds a secret and others may read it: chmod 600 {0}", path.display())
    })
}
