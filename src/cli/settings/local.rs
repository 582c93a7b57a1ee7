//! The variables of prodrigestivill/postgres-backup-local, which Immich's guide named for years:
//! they mean here what they meant there. They count where `POSTGRES_HOST` is set, as it must be
//! there; else they are somebody else's.
//!
//! Source: its README, "Environment Variables"; `env.sh`, `backup.sh` and `hooks/00-webhook`.
//!
//! Limits: what is not set keeps shoebox's default and not its default there, so nothing is
//! forgotten unless some `BACKUP_KEEP_…` is set. `POSTGRES_EXTRA_OPTS` is not used: a dump must be
//! plain SQL and whole.

use std::collections::BTreeMap;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{GivenSetting, SettingOrigin};
use crate::base::{Context, Error, Result};

/// What it writes where a variable is not set.
const UNSET: &str = "**None**";
/// The repository lies beside the folders that it made in `BACKUP_DIR`.
const BESIDE: &str = "shoebox";

/// Variables whose text is taken as it is.
const SAME: [(&str, &str); 10] = [
    ("SCHEDULE", "SHOEBOX_SCHEDULE"),
    ("BACKUP_ON_START", "SHOEBOX_ON_START"),
    ("HEALTHCHECK_PORT", "SHOEBOX_HEALTHCHECK_PORT"),
    ("WEBHOOK_URL", "SHOEBOX_WEBHOOK_URL"),
    ("WEBHOOK_ERROR_URL", "SHOEBOX_WEBHOOK_ERROR_URL"),
    ("WEBHOOK_PRE_BACKUP_URL", "SHOEBOX_WEBHOOK_PRE_BACKUP_URL"),
    ("WEBHOOK_POST_BACKUP_URL", "SHOEBOX_WEBHOOK_POST_BACKUP_URL"),
    ("WEBHOOK_EXTRA_ARGS", "SHOEBOX_WEBHOOK_EXTRA_ARGS"),
    ("POSTGRES_PASSWORD", "SHOEBOX_DATABASE_PASSWORD"),
    ("POSTGRES_PASSWORD_FILE", "SHOEBOX_DATABASE_PASSWORD_FILE"),
];

/// How a number becomes a length of time.
type TimeUnit = fn(u64) -> String;

/// How long each kind of dump is kept: the variable, the setting, and what its number counts.
const KEEP: [(&str, &str, TimeUnit); 4] = [
    ("BACKUP_KEEP_MINS", "SHOEBOX_KEEP_WITHIN", |minutes| format!("{}h", minutes.div_ceil(60))),
    ("BACKUP_KEEP_DAYS", "SHOEBOX_KEEP_WITHIN_DAILY", |days| format!("{days}d")),
    ("BACKUP_KEEP_WEEKS", "SHOEBOX_KEEP_WITHIN_WEEKLY", |weeks| {
        format!("{}d", weeks.saturating_mul(7).saturating_add(1))
    }),
    ("BACKUP_KEEP_MONTHS", "SHOEBOX_KEEP_WITHIN_MONTHLY", |months| {
        format!("{}d", months.saturating_mul(31).saturating_add(1))
    }),
];

/// What the variables give, by the setting's own variable; `get` asks the environment.
pub(super) fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<BTreeMap<String, GivenSetting>> {
    let get = |name: &str| get(name).filter(|text| !text.is_empty() && text != UNSET);
    let mut given = BTreeMap::new();
    let mut put = |env: &str, name: &str, text: String| {
        given.insert(
            env.to_owned(),
            GivenSetting { texts: vec![text], origin: SettingOrigin::Local(name.to_owned()) },
        );
    };
    let Some(host) = get("POSTGRES_HOST") else { return Ok(BTreeMap::new()) };
    put("SHOEBOX_DATABASE_URL", "POSTGRES_HOST", url(&host, &get)?);
    if let Some(folder) = get("BACKUP_DIR") {
        put(
            "SHOEBOX_REPOSITORY",
            "BACKUP_DIR",
            Path::new(&folder).join(BESIDE).display().to_string(),
        );
    }
    for (name, env) in SAME {
        if let Some(text) = get(name) {
            put(env, name, text);
        }
    }
    for (name, env, within) in KEEP {
        if let Some(text) = get(name) {
            put(
                env,
                name,
                within(text.trim().parse().map_err(|_| wrong(name, &text, "is no number"))?),
            );
        }
    }
    if get("POSTGRES_CLUSTER").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        put("SHOEBOX_CLUSTER", "POSTGRES_CLUSTER", "true".to_owned());
    }
    if get("POSTGRES_PASSFILE_STORE").is_some() {
        return Err(Error::invalid("POSTGRES_PASSFILE_STORE is not understood")
            .hint("call the variable PGPASSFILE"));
    }
    Ok(given)
}

/// The database's address, without the password.
fn url(host: &str, get: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let user =
        named(get, "POSTGRES_USER")?.map(|user| format!("{}@", encoded(&user))).unwrap_or_default();
    let database =
        named(get, "POSTGRES_DB")?.map(|name| format!("/{}", encoded(&name))).unwrap_or_default();
    let port = get("POSTGRES_PORT").map(|port| format!(":{port}")).unwrap_or_default();
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        encoded(host).replace("%2E", ".").replace("%2D", "-")
    };
    Ok(format!("postgresql://{user}{host}{port}{database}"))
}

/// The name that the variable, or the file that its `_FILE` names, holds.
fn named(get: &dyn Fn(&str) -> Option<String>, name: &str) -> Result<Option<String>> {
    let variable = format!("{name}_FILE");
    let text = match (get(name), get(&variable)) {
        (Some(text), _) => text,
        (None, Some(path)) => std::fs::read_to_string(&path)
            .context(|| format!("reading {path}, which {variable} names"))?,
        (None, None) => return Ok(None),
    };
    match text.trim() {
        several if name == "POSTGRES_DB" && several.contains([',', ' ', '\n']) => {
            Err(wrong(name, several, "names several; a repository holds one library"))
        }
        one => Ok(Some(one.to_owned())),
    }
}

fn wrong(name: &str, text: &str, message: &str) -> Error {
    Error::invalid(format_args!("{name} is `{text}`: it {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(variables: &[(&str, &str)]) -> Result<BTreeMap<String, String>> {
        let get = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Ok(read(&get)?.into_iter().map(|(env, given)| (env, given.texts.concat())).collect())
    }

    #[test]
    fn variables_of_postgres_backup_local_mean_what_they_meant_there() {
        let given = given(&[
            ("POSTGRES_HOST", "database"),
            ("POSTGRES_DB", "immich"),
            ("POSTGRES_USER", "post gres"),
            ("POSTGRES_PASSWORD", "a b"),
            ("POSTGRES_EXTRA_OPTS", "-Z6"),
            ("BACKUP_DIR", "/backups"),
            ("SCHEDULE", "@every 6h"),
            ("BACKUP_KEEP_MINS", "1441"),
            ("BACKUP_KEEP_DAYS", "7"),
            ("BACKUP_KEEP_WEEKS", "4"),
            ("BACKUP_KEEP_MONTHS", "6"),
            ("WEBHOOK_URL", UNSET),
        ])
        .unwrap();
        let expected = [
            ("SHOEBOX_DATABASE_PASSWORD", "a b"),
            ("SHOEBOX_DATABASE_URL", "postgresql://post%20gres@database/immich"),
            ("SHOEBOX_KEEP_WITHIN", "25h"),
            ("SHOEBOX_KEEP_WITHIN_DAILY", "7d"),
            ("SHOEBOX_KEEP_WITHIN_MONTHLY", "187d"),
            ("SHOEBOX_KEEP_WITHIN_WEEKLY", "29d"),
            ("SHOEBOX_REPOSITORY", "/backups/shoebox"),
            ("SHOEBOX_SCHEDULE", "@every 6h"),
        ];
        let found: Vec<(&str, &str)> =
            given.iter().map(|(env, text)| (env.as_str(), text.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn variables_of_others_and_several_databases_are_not_taken() {
        assert!(given(&[("BACKUP_DIR", "/home/ann"), ("SCHEDULE", "hourly")]).unwrap().is_empty());
        let several =
            given(&[("POSTGRES_HOST", "db"), ("POSTGRES_DB", "immich,nextcloud")]).unwrap_err();
        assert!(several.to_string().contains("names several"), "{several}");
        assert!(given(&[("POSTGRES_HOST", "db"), ("BACKUP_KEEP_DAYS", "week")]).is_err());
    }
}
