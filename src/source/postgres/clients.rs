//! Which of the machine's PostgreSQL clients is run: the one on PATH, and if that is too old the
//! newest one.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian and Ubuntu keep the programs of each major version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The places where clients are looked for.
#[derive(Debug, Clone)]
pub struct ClientPrograms {
    /// Folders joined by `:`, as in the PATH variable.
    pub path: OsString,
    /// A folder of folders `MAJOR/bin`.
    pub versions: PathBuf,
}

impl ClientPrograms {
    /// PATH, and Debian's folder of versions.
    pub fn of_this_machine() -> Self {
        ClientPrograms { path: env::var_os("PATH").unwrap_or_default(), versions: VERSIONS.into() }
    }

    /// The client called `name` on PATH, else the newest one.
    pub(super) fn first(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(&self.path)
            .map(|folder| folder.join(name))
            .find(|program| is_program(program))
            .or_else(|| self.newest(name))
    }

    /// The client of the highest major version under the folder of versions.
    pub(super) fn newest(&self, name: &str) -> Option<PathBuf> {
        fs::read_dir(&self.versions)
            .ok()?
            .flatten()
            .filter_map(|entry| {
                Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path()))
            })
            .map(|(major, folder)| (major, folder.join("bin").join(name)))
            .filter(|(_, program)| is_program(program))
            .max_by_key(|(major, _)| *major)
            .map(|(_, program)| program)
    }
}

/// The major version of the client called `name` that would be run: of the newest one, since that
/// is taken where the first is too old.
pub fn client_version(name: &str, clients: &ClientPrograms) -> Option<u32> {
    let major = |program: PathBuf| {
        let output = Command::new(program).arg("--version").env("LC_ALL", "C").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version =
            text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    clients.first(name).into_iter().chain(clients.newest(name)).filter_map(major).max()
}

/// The first version of each major one whose `\unrestrict` runs nothing (CVE-2026-18408).
const REPAIRED: [(u32, u32); 5] = [(14, 24), (15, 19), (16, 15), (17, 11), (18, 6)];

/// True where the psql of that number, such as 150019, has the flaw no more.
pub(super) fn is_repaired(number: u32) -> bool {
    let (major, minor) = (number / 10_000, number % 10_000);
    let since = REPAIRED.iter().find(|(it, _)| *it == major).map(|(_, since)| *since);
    since.map_or(major > 18, |since| minor >= since)
}

/// What is known against a psql that reads dumps, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientWeakness {
    /// It does not know `\restrict`: commands in what it reads are obeyed.
    Obedient(Option<u32>),
    /// Its guard against them has a flaw.
    Flawed(Option<u32>),
}

impl ClientWeakness {
    fn number(self) -> Option<u32> {
        match self {
            ClientWeakness::Obedient(number) | ClientWeakness::Flawed(number) => number,
        }
    }

    /// How to get another one on this machine.
    pub fn cure(self) -> String {
        let package =
            self.number().map(|number| format!("-{}", number / 10_000)).unwrap_or_default();
        format!("apt update && apt install --only-upgrade postgresql-client{package}")
    }
}

impl fmt::Display for ClientWeakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "psql {}.{}", number / 10_000, number % 10_000)?,
            None => f.write_str("psql")?,
        }
        f.write_str(match self {
            ClientWeakness::Obedient(_) => {
                " is too old to keep commands in a dump from being run (CVE-2025-8714)"
            }
            ClientWeakness::Flawed(_) => {
                " has a flaw in what keeps commands in a dump from being run (CVE-2026-18408)"
            }
        })
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn program(folder: &Path) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join("pg_dump");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_version_is_repaired_from_the_minor_one_of_its_major_on() {
        for number in [140024, 150019, 160015, 170011, 180006, 180007, 190000, 200001] {
            assert!(is_repaired(number), "{number}");
        }
        for number in [90624, 130023, 140023, 150018, 160014, 170010, 180005, 180000] {
            assert!(!is_repaired(number), "{number}");
        }
        let old = ClientWeakness::Flawed(Some(150018));
        assert!(old.to_string().starts_with("psql 15.18 has a flaw"), "{old}");
        assert!(old.cure().ends_with(" postgresql-client-15"), "{}", old.cure());
        assert!(ClientWeakness::Obedient(None).cure().ends_with(" postgresql-client"));
    }

    #[test]
    fn the_newest_client_is_found_by_number_and_path_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let versions = folder.path().join("versions");
        program(&versions.join("9/bin"));
        let newest = program(&versions.join("16/bin"));
        fs::create_dir_all(versions.join("18/bin")).unwrap();
        let mut clients = ClientPrograms { path: folder.path().join("none").into(), versions };
        assert_eq!(clients.first("pg_dump"), Some(newest.clone()));
        let on_path = program(&folder.path().join("on path"));
        clients.path = folder.path().join("on path").into();
        assert_eq!(clients.first("pg_dump"), Some(on_path));
        assert_eq!(clients.newest("pg_dump"), Some(newest));
        assert_eq!(clients.first("pg_dumpall"), None);
    }
}
