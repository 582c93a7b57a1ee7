//! Immich's `.env` file: where its files are and how its database is reached.
//!
//! Reading it changes nothing in this process's environment, which counts where the file refers to
//! it (`${NAME:-default}`).
//!
//! Limit: `*_FILE` variables name paths inside the containers and are not followed.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::{Error, FilePath, Result};

use super::Secret;
use super::dotenv::{self, UnreadLine};
use super::places::LibraryRoot;

/// What an Immich `.env` file says, with Immich's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImmichEnv {
    /// The file that says all this.
    pub file: PathBuf,
    /// UPLOAD_LOCATION; a relative one is taken from the folder of the `.env` file, as Compose
    /// does.
    pub upload_location: Option<PathBuf>,
    /// The folders that lie in other places, by the names of Immich's guide (docs.immich.app,
    /// Custom file locations).
    pub folders: Vec<LibraryRoot>,
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
        let text = fs::read(&file).map_err(|error| unreadable(&file, error))?;
        let values = dotenv::parse(&String::from_utf8_lossy(&text), &|name| env::var(name).ok())
            .map_err(|misread| not_understood(&misread, &file))?;
        let get = |name: &str| match values.get(name).filter(|value| !value.is_empty()) {
            Some(value) if value.contains(['\0', '\u{FFFD}']) => Err(not_text(name, &file)),
            value => Ok(value.cloned()),
        };
        let folder = file.parent().unwrap_or(Path::new("."));
        let port = get("DB_PORT")?
            .map(|port| port.parse().map_err(|_| not_a_port(&port, &file)))
            .transpose()?;
        Ok(ImmichEnv {
            upload_location: get("UPLOAD_LOCATION")?.map(|text| place(&text, folder)),
            folders: folders(&get, folder)?,
            user: get("DB_USERNAME")?.unwrap_or_else(|| "postgres".into()),
            database: get("DB_DATABASE_NAME")?.unwrap_or_else(|| "immich".into()),
            password: get("DB_PASSWORD")?.map(Secret::new),
            host: get("DB_HOSTNAME")?,
            port,
            url: get("DB_URL")?.map(Secret::new),
            file,
        })
    }

    /// That the file was read, and does not say where the photos are.
    pub fn without_location(&self) -> Error {
        Error::invalid(format_args!("UPLOAD_LOCATION is not set in {}", self.file.display()))
            .hint("pass --upload-location FOLDER, or the file that sets it")
    }
}

/// What `.env` files call the folders of UPLOAD_LOCATION that lie in other places.
const CUSTOM: [(&str, &str); 3] = [
    ("PROFILE_LOCATION", "profile"),
    ("THUMB_LOCATION", "thumbs"),
    ("ENCODED_VIDEO_LOCATION", "encoded-video"),
];

fn folders(
    get: &dyn Fn(&str) -> Result<Option<String>>,
    folder: &Path,
) -> Result<Vec<LibraryRoot>> {
    let mut folders = Vec::new();
    for (name, shown) in CUSTOM {
        if let Some(text) = get(name)? {
            folders
                .push(LibraryRoot { folder: place(&text, folder), shown: FilePath::new(shown)? });
        }
    }
    Ok(folders)
}

/// A path as Compose takes it: `~` is the home folder, a relative one starts at the compose file's
/// folder.
fn place(text: &str, folder: &Path) -> PathBuf {
    match (text.strip_prefix("~/"), env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => folder.join(text.strip_prefix("./").unwrap_or(text)),
    }
}

fn not_a_port(port: &str, file: &Path) -> Error {
    Error::invalid(format_args!("DB_PORT in {} is `{port}`, which is not a port", file.display()))
}

fn not_text(name: &str, file: &Path) -> Error {
    Error::invalid(format_args!("{name} in {} is not UTF-8 text", file.display()))
        .hint("save the file as UTF-8")
}

fn not_understood(misread: &UnreadLine, file: &Path) -> Error {
    let UnreadLine { line, reason } = misread;
    Error::invalid(format_args!("line {line} of {} cannot be read: {reason}", file.display())).hint(
        "docker compose refuses it too; a value with $, # or quotes in it goes into single quotes",
    )
}

fn unreadable(file: &Path, error: io::Error) -> Error {
    Error::io(format_args!("reading {}", file.display()), error)
        .hint("it is next to Immich's docker-compose.yml; pass it or its folder")
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
            "BASE=/mnt/my disk\nUPLOAD_LOCATION=/mnt/my photos # the big disk\nDB_PASSWORD='a$b \
                #c'\n\
             DB_DATABASE_NAME=\"im mich\"\nDB_HOSTNAME=${DB_NO_SUCH_THING}nas\nDB_PORT=5433\nDB_USERNAME=\n",
        );
        let read = read.unwrap();
        assert_eq!(read.upload_location.as_deref(), Some(Path::new("/mnt/my photos")));
        assert_eq!(read.password, Some(Secret::new("a$b #c")));
        assert_eq!((read.database.as_str(), read.user.as_str()), ("im mich", "postgres"));
        assert_eq!((read.host.as_deref(), read.port), (Some("nas"), Some(5433)));
    }

    #[test]
    fn a_line_that_is_not_understood_is_named_with_the_file_and_without_the_value() {
        for (text, line, why) in [
            ("A=1\nthis is no line\n", 2, "a blank in the name"),
            (
                "A=1\n\nDB_PASSWORD='it\nUPLOAD_LOCATION=/srv\n",
                3,
                "the ' that begins its value has no end",
            ),
            ("# a comment\nDB_PASSWORD=hunter2${\n", 2, "begins no reference"),
            (
                "UPLOAD_LOCATION=${DB_NO_SUCH_THING:?say where}/x\n",
                1,
                "DB_NO_SUCH_THING is required, and not set: say where",
            ),
            ("DB_PASSWORD=a\n-----BEGIN*KEY-----\n", 2, "there is a '*' in the name"),
        ] {
            let (folder, read) = read(text);
            let error = read.unwrap_err();
            let begin = format!("line {line} of {}/.env cannot be read: ", folder.path().display());
            let said = error.to_string();
            assert!(
                said.starts_with(&begin) && said.contains(why) && !said.contains("hunter2"),
                "{said}"
            );
            assert_eq!(error.kind(), crate::base::ErrorKind::Invalid);
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join(".env"),
            b"# f\xfcr uns\nDB_USERNAME=ann\nUPLOAD_LOCATION=/f\xfcr\n",
        )
        .unwrap();
        let said = ImmichEnv::read(folder.path()).unwrap_err().to_string();
        assert!(
            said.starts_with("UPLOAD_LOCATION in ") && said.ends_with(" is not UTF-8 text"),
            "{said}"
        );
        fs::write(folder.path().join(".env"), b"# f\xfcr uns\nDB_USERNAME=ann\n").unwrap();
        assert_eq!(ImmichEnv::read(folder.path()).unwrap().user, "ann");
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
