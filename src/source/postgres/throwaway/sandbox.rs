//! Walls around a throw-away server and its clients: namespaces of their own, made by bubblewrap.
//!
//! Always holds inside of them: there is no network, no other process, no device, and of this
//! machine's files the programs alone (`/usr`, and where the server and its libraries are
//! installed), to be read; the server's own folder is all that can be written. The repository, the
//! photos, homes, sockets and the environment are not there.
//!
//! Root makes the namespaces itself and then becomes the server's user; everybody else, and a root
//! whose power was taken away (a service in a cage), makes them inside of a user namespace, which
//! some systems forbid.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::failure::last_words;
use crate::base::{Context, Error, ErrorKind, Result};

/// Where programs and their libraries lie besides `/usr`: links into it, or folders.
const SYSTEM: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
const SETTINGS: [&str; 3] = ["/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime"];
/// Of the environment, what programs are found by.
const KEPT: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];
/// In the server's folder: the one user that there is.
const PASSWD: &str = "passwd";

/// Uid and gid.
pub type SystemUser = (u32, u32);

/// How programs of the throw-away server are started.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    /// The command line that goes before theirs.
    words: Vec<OsString>,
    /// Whom a command is started as, where that is another.
    user: Option<SystemUser>,
}

impl Sandbox {
    /// No walls, for those who insist.
    pub fn none(user: Option<SystemUser>) -> Sandbox {
        Sandbox { words: Vec::new(), user }
    }

    /// Walls around what uses the programs in `bin` and the folder `folder`; `hidden` is kept out
    /// even if it lies among the programs.
    ///
    /// # Errors
    /// `NotFound` without bubblewrap, `Unsupported` where it may not make them.
    pub fn around(
        folder: &Path,
        bin: &Path,
        hidden: &Path,
        user: Option<SystemUser>,
    ) -> Result<Sandbox> {
        let (uid, gid) = user
            .unwrap_or((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
        let passwd = folder.join(PASSWD);
        fs::write(&passwd, format!("postgres:x:{uid}:{gid}::/:/bin/sh\n"))
            .context(|| "writing into a new folder")?;
        fs::set_permissions(&passwd, fs::Permissions::from_mode(0o644))
            .context(|| "writing into a new folder")?;
        let mut why = String::new();
        for way in ways(&walls(folder, bin, hidden)?, user, uid, gid) {
            match way.attempt() {
                Ok(()) => return Ok(way),
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
                Err(error) => why = error.chain(),
            }
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            "no walls can be put around a server of this machine: what a dump runs would see it",
        )
        .caused_by(why)
        .hint(
            "let bubblewrap make namespaces (user namespaces must be allowed), or use \
                docker; --no-sandbox does without walls, for a dump that is trusted",
        ))
    }

    fn attempt(&self) -> Result<()> {
        let output =
            self.command("true").stdin(Stdio::null()).output().map_err(|error| {
                match error.kind() {
                    std::io::ErrorKind::NotFound => missing(),
                    _ => Error::io("starting bwrap", error),
                }
            })?;
        if output.status.success() {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Program,
                last_words(&String::from_utf8_lossy(&output.stderr)),
            ))
        }
    }

    /// `program` inside of the walls, with an environment of its own.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.run(self.words.iter().map(OsString::as_os_str).chain([program.as_ref()]))
    }

    /// What is inside of the walls, still to be named, kept by `script`, which is outside of them.
    pub fn kept(&self, script: &str, folder: &Path) -> Command {
        let keeper = [
            OsStr::new("sh"),
            OsStr::new("-c"),
            OsStr::new(script),
            OsStr::new("sh"),
            folder.as_os_str(),
        ];
        self.run(keeper.into_iter().chain(self.words.iter().map(OsString::as_os_str)))
    }

    fn run<'a>(&self, mut words: impl Iterator<Item = &'a OsStr>) -> Command {
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).current_dir("/").env_clear().env("LC_ALL", "C");
        command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn missing() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "bubblewrap is not installed: without it what a dump runs would see this machine",
    )
    .hint(
        "`apt install bubblewrap`, or use docker; --no-sandbox does without walls, for a \
            dump that is trusted",
    )
}

/// How the walls may be built: by root for a user, or by anybody in a user namespace.
fn ways(walls: &[OsString], user: Option<SystemUser>, uid: u32, gid: u32) -> Vec<Sandbox> {
    let way = |words: &[&str], user| Sandbox {
        words: walls.iter().cloned().chain(words.iter().map(OsString::from)).collect(),
        user,
    };
    let (reuid, regid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
    let as_root = [
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CAP_SETUID",
        "--cap-add",
        "CAP_SETGID",
        "--",
        "setpriv",
        &reuid,
        &regid,
        "--clear-groups",
        "--no-new-privs",
        "--",
    ];
    let as_user = ["--unshare-user", "--cap-drop", "ALL", "--"];
    let by_root = user.is_some().then(|| way(&as_root, None));
    by_root.into_iter().chain([way(&as_user, user)]).collect()
}

/// bubblewrap and its flags.
fn walls(folder: &Path, bin: &Path, hidden: &Path) -> Result<Vec<OsString>> {
    let mut words = WallWords(Vec::new());
    words.add([
        "bwrap",
        "--unshare-net",
        "--unshare-pid",
        "--unshare-ipc",
        "--die-with-parent",
        "--new-session",
    ]);
    words.add_system();
    words.add(["--dev", "/dev"]);
    for path in ["/dev/shm", "/tmp"] {
        words.add(["--perms", "1777", "--tmpfs", path]);
    }
    let programs = program_folders(bin);
    programs.iter().for_each(|path| words.bind("--ro-bind", path));
    words.bind("--bind", folder);
    // A program finds libraries beside itself by /proc, which is not there.
    let libraries = std::env::join_paths(&programs).unwrap_or_default();
    words.add([OsStr::new("--setenv"), OsStr::new("LD_LIBRARY_PATH"), &libraries]);
    let hidden =
        fs::canonicalize(hidden).context(|| format!("looking for {}", hidden.display()))?;
    let mut shown = programs.iter().map(PathBuf::as_path).chain([Path::new("/usr")]);
    if shown.any(|shown| hidden.starts_with(shown)) {
        words.add([OsStr::new("--tmpfs"), hidden.as_os_str()]);
    }
    let passwd = folder.join(PASSWD);
    words.add([OsStr::new("--ro-bind"), passwd.as_os_str(), OsStr::new("/etc/passwd")]);
    Ok(words.0)
}

/// The words of a command line of bubblewrap.
struct WallWords(Vec<OsString>);

impl WallWords {
    fn add<const N: usize>(&mut self, words: [impl AsRef<OsStr>; N]) {
        self.0.extend(words.iter().map(|word| word.as_ref().to_owned()));
    }

    /// The programs and settings of this machine that a server cannot do without.
    fn add_system(&mut self) {
        self.add(["--ro-bind", "/usr", "/usr"]);
        for path in SYSTEM {
            match fs::read_link(path) {
                Ok(target) => {
                    self.add([OsStr::new("--symlink"), target.as_os_str(), path.as_ref()])
                }
                Err(_) => self.add(["--ro-bind-try", path, path]),
            }
        }
        // bubblewrap itself would make them as private as what lies in them.
        self.add(["--perms", "0755", "--dir", "/etc"]);
        for path in SETTINGS {
            self.add(["--ro-bind-try", path, path]);
        }
    }

    /// Shows the folder `path` where it is.
    fn bind(&mut self, bind: &str, path: &Path) {
        let parents: Vec<_> =
            path.ancestors().skip(1).filter(|parent| parent.parent().is_some()).collect();
        for parent in parents.iter().rev() {
            self.add(["--perms", "0755", "--dir"]);
            self.add([parent]);
        }
        self.add([OsStr::new(bind), path.as_os_str(), path.as_os_str()]);
    }
}

/// Where the programs in `bin` and their libraries lie, as far as that is not below `/usr`.
fn program_folders(bin: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::from([bin.parent().unwrap_or(bin).to_owned()]);
    let said = Command::new("ldd")
        .args(["postgres", "initdb", "psql"].map(|name| bin.join(name)))
        .output();
    let said =
        said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let libraries = said.lines().filter_map(|line| line.split_once("=> ")?.1.split(" (").next());
    let real = |library| Some(fs::canonicalize(library).ok()?.parent()?.to_owned());
    folders.extend(libraries.filter_map(real));
    folders.retain(|folder| {
        !["/usr", "/lib", "/lib64"].iter().any(|system| folder.starts_with(system))
    });
    folders
}
