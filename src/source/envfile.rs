//! Immich's `.env` file: where its files are and how its database is reached.
//!
//! Reading it changes nothing in this process's environment. Docker Compose allows what the crate does not, blanks
//! in an unquoted value, so such a line is read here (Docker's manual, "Env file syntax").
//!
//! Limit: `*_FILE` variables name paths inside the containers and are not followed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::{Error, Result};

use super::Secret;

/// What an Immich `.env` file says, with Immich's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImmichEnv {
    /// UPLOAD_LOCATION; a relative one is taken from the folder of the `.env` file, as Compose does.
    pub upload_location: Option<PathBuf>,
    /// DB_USERNAME, else `postgres`.
    pub user: String,
    /// DB_DATABASE_NAME, else `immich`.
    pub database: String,
    /// DB_PASSWORD.
    pub password: Option<Secret>,
    /// DB_HOSTNAME. The default, `database`, is a name inside Docker's network only.
    pub host: Option<String>,
    /// DB_PORT.
    pub port: Option<u16>,
    /// DB_URL, which Immich takes instead of the single values. It may hold the password.
    pub url: Option<Secret>,
}

impl ImmichEnv {
    /// Reads `path`, which is the file or the folder that holds it.
    pub fn read(path: &Path) -> Result<ImmichEnv> {
        let file = if path.is_dir() { path.join(".env") } else { path.to_owned() };
        let values = values(&file)?;
        let get = |name: &str| values.get(name).filter(|value| !value.is_empty()).cloned();
        let folder = file.parent().unwrap_or(Path::new("."));
        let port = get("DB_PORT").map(|port| port.parse().map_err(|_| not_a_port(&port, &file))).transpose()?;
        Ok(ImmichEnv {
            upload_location: get("UPLOAD_LOCATION").map(|text| place(&text, folder)),
            user: get("DB_USERNAME").unwrap_or_else(|| "postgres".into()),
            database: get("DB_DATABASE_NAME").unwrap_or_else(|| "immich".into()),
            password: get("DB_PASSWORD").map(Secret::new),
            host: get("DB_HOSTNAME"),
            port,
            url: get("DB_URL").map(Secret::new),
        })
    }
}

/// Every assignment of the file; the last one of a name counts. A line that means nothing is passed over.
fn values(file: &Path) -> Result<HashMap<String, String>> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, error))?;
    let quoted: String = text.lines().map(|line| quote_blanks(line) + "\n").collect();
    Ok(dotenvy::from_read_iter(quoted.as_bytes()).flatten().collect())
}

/// Puts quotes around an unquoted value with blanks in it.
fn quote_blanks(line: &str) -> Cow<'_, str> {
    let Some((name, value)) = line.split_once('=') else { return line.into() };
    let value = value.trim_start();
    let bare = value.split_once(" #").map_or(value, |(value, _)| value).trim_end();
    if name.trim_start().starts_with('#') || value.starts_with(['"', '\'']) || !bare.contains(char::is_whitespace) {
        return line.into();
    }
    format!("{name}=\"{}\"", bare.replace('\\', r"\\").replace('"', "\\\"")).into()
}

/// A path as Compose takes it: `~` is the home folder, a relative one starts at the compose file's folder.
fn place(text: &str, folder: &Path) -> PathBuf {
    match (text.strip_prefix("~/"), env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => folder.join(text.strip_prefix("./").unwrap_or(text)),
    }
}

fn not_a_port(port: &str, file: &Path) -> Error {
    Error::invalid(format_args!("DB_PORT in {} is `{port}`, which is no port", file.display()))
}

fn unreadable(file: &Path, error: io::Error) -> Error {
    Error::io(format_args!("reading {}", file.display()), error)
        .hint("it lies beside Immich's docker-compose.yml; name it or its folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (tempfile::TempDir, Result<ImmichEnv>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".env"), text).unwrap();
        let read = ImmichEnv::read(folder.path());
        (folder, read)
    }

    #[test]
    fn immichs_example_file_is_read_and_the_environment_left_alone() {
        let (folder, read) = read(
            "# You can find documentation at …\r\n\r\nUPLOAD_LOCATION=./library\r\nDB_DATA_LOCATION=./postgres\r\n\
             # TZ=Etc/UTC\r\nIMMICH_VERSION=v2\r\nDB_PASSWORD=postgres_x9\r\nDB_USERNAME=ann\r\n",
        );
        let read = read.unwrap();
        assert_eq!(read.upload_location, Some(folder.path().join("library")));
        assert_eq!((read.user.as_str(), read.database.as_str()), ("ann", "immich"));
        assert_eq!(read.password, Some(Secret::new("postgres_x9")));
        assert_eq!((read.host, read.port, read.url), (None, None, None));
        assert!(env::var_os("DB_DATA_LOCATION").is_none());
    }

    #[test]
    fn odd_values_are_read_as_compose_reads_them() {
        let (_folder, read) = read(
            "BASE=/mnt/my disk\nUPLOAD_LOCATION=/mnt/my photos # the big disk\nDB_PASSWORD='a$b #c'\n\
             DB_DATABASE_NAME=\"im mich\"\nthis is no line\nDB_HOSTNAME=${DB_NO_SUCH_THING}nas\nDB_PORT=5433\nDB_USERNAME=\n",
        );
        let read = read.unwrap();
        assert_eq!(read.upload_location.as_deref(), Some(Path::new("/mnt/my photos")));
        assert_eq!(read.password, Some(Secret::new("a$b #c")));
        assert_eq!((read.database.as_str(), read.user.as_str()), ("im mich", "postgres"));
        assert_eq!((read.host.as_deref(), read.port), (Some("nas"), Some(5433)));
    }

    #[test]
    fn a_missing_file_says_which_and_a_bad_port_too() {
        let error = ImmichEnv::read(Path::new("/no/such/.env")).unwrap_err();
        assert_eq!(error.to_string(), "reading /no/such/.env");
        assert!(read("DB_PORT=many\n").1.unwrap_err().to_string().contains("`many`"));
    }

    #[test]
    fn what_it_shows_of_itself_holds_no_password() {
        let read = read("DB_PASSWORD=hunter2\nDB_URL=postgres://a:hunter2@b/c\n").1.unwrap();
        assert!(!format!("{read:?}").contains("hunter2"));
    }
}
