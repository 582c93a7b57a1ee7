//! Which of the machine's PostgreSQL servers a dump is tried on: the one that fits it best.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Folders of folders `MAJOR/bin` (Debian, Ubuntu), and of folders `pgsql-MAJOR/bin` (Fedora, Red
/// Hat).
const VERSIONS: [&str; 2] = ["/usr/lib/postgresql", "/usr"];
/// What has to lie side by side.
const NEEDED: [&str; 3] = ["initdb", "postgres", "psql"];

/// The programs of one PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPrograms {
    /// The folder they lie in.
    pub bin: PathBuf,
    /// Such as `15.18`.
    pub version: String,
}

/// What a dump wants of a server.
#[derive(Debug, Clone, Default)]
pub struct WantedServer {
    /// The major version that it was made with.
    pub major: Option<u32>,
    pub extensions: Vec<String>,
}

impl ServerPrograms {
    /// The programs in the folder `bin`; `None` when there is no server.
    pub fn in_folder(bin: &Path) -> Option<ServerPrograms> {
        let bin = fs::canonicalize(bin).ok()?;
        if !NEEDED.iter().all(|name| bin.join(name).is_file()) {
            return None;
        }
        let output = Command::new(bin.join("postgres"))
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let said = String::from_utf8(output.ok()?.stdout).ok()?;
        let version = said.split("(PostgreSQL) ").nth(1)?.split_whitespace().next()?.to_owned();
        Some(ServerPrograms { bin, version })
    }

    /// All that this machine has: on PATH, and where packages put them.
    pub fn of_this_machine() -> Vec<ServerPrograms> {
        Self::among(&env::var_os("PATH").unwrap_or_default(), &VERSIONS.map(Path::new))
    }

    fn among(path: &OsString, versions: &[&Path]) -> Vec<ServerPrograms> {
        let below = |folder: &&Path| {
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
        };
        let packaged = versions
            .iter()
            .flat_map(below)
            .filter(|folder| is_version(folder))
            .map(|folder| folder.join("bin"));
        let folders: BTreeSet<PathBuf> = env::split_paths(path).chain(packaged).collect();
        let mut found: Vec<ServerPrograms> =
            folders.iter().filter_map(|folder| ServerPrograms::in_folder(folder)).collect();
        found.dedup();
        found
    }

    /// The one that fits best: that lacks the fewest extensions; then of the same major version,
    /// else of the nearest newer one, else of the nearest older one.
    pub fn best(found: Vec<ServerPrograms>, wanted: &WantedServer) -> Option<ServerPrograms> {
        found.into_iter().min_by_key(|programs| {
            let (major, wish) = (programs.major(), wanted.major.unwrap_or(0));
            (programs.lacks(&wanted.extensions), major < wish, major.abs_diff(wish))
        })
    }

    /// The major version, 0 if unknown.
    pub fn major(&self) -> u32 {
        self.version
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or(0)
    }

    fn lacks(&self, extensions: &[String]) -> usize {
        extensions.iter().filter(|name| !self.has(name)).count()
    }

    /// True if the extension is installed, as far as its control file is where packages put it.
    pub fn has(&self, extension: &str) -> bool {
        let control = format!("{extension}.control");
        let above = self.bin.parent().unwrap_or(&self.bin);
        let places = [above.join("share/extension"), above.join("share/postgresql/extension")];
        let debian =
            Path::new("/usr/share/postgresql").join(self.major().to_string()).join("extension");
        let packaged = self.bin.starts_with("/usr/lib/postgresql").then_some(debian);
        places.into_iter().chain(packaged).any(|place| place.join(&control).is_file())
    }
}

fn is_version(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let number = name.strip_prefix("pgsql-").unwrap_or(&name);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn server(folder: &Path, version: &str, extensions: &[&str]) {
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).unwrap();
        for name in NEEDED {
            fs::write(
                bin.join(name),
                format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version} (Debian)'\n"),
            )
            .unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let share = folder.join("share/extension");
        fs::create_dir_all(&share).unwrap();
        for name in extensions {
            fs::write(share.join(format!("{name}.control")), "").unwrap();
        }
    }

    #[test]
    fn the_best_server_has_the_extensions_and_then_the_nearest_version_that_is_not_older() {
        let folder = tempfile::tempdir().unwrap();
        let versions = folder.path().join("versions");
        for (major, extensions) in [
            ("9", &[][..]),
            ("14", &[]),
            ("16", &[]),
            ("17", &["vector", "cube"]),
            ("18", &["vector"]),
        ] {
            server(&versions.join(major), &format!("{major}.2"), extensions);
        }
        server(&folder.path().join("on path"), "19beta1", &[]);
        server(&versions.join("notes"), "15.1", &[]);
        fs::create_dir_all(versions.join("15/bin")).unwrap();
        let found = ServerPrograms::among(&folder.path().join("on path/bin").into(), &[&versions]);
        assert_eq!(found.len(), 6);
        let best = |major: u32, extensions: &[&str]| {
            let extensions = extensions.iter().map(|&name| name.to_owned()).collect();
            ServerPrograms::best(found.clone(), &WantedServer { major: Some(major), extensions })
                .unwrap()
                .major()
        };
        assert_eq!([best(14, &[]), best(15, &[]), best(19, &[]), best(20, &[])], [14, 16, 19, 19]);
        assert_eq!(
            [best(14, &["vector"]), best(18, &["vector"]), best(18, &["vector", "cube"])],
            [17, 18, 17]
        );
        assert_eq!(ServerPrograms::best(Vec::new(), &WantedServer::default()), None);
    }
}
