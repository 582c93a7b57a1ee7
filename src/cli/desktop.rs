//! The desktop: the program that opens a folder in the file manager, and where a mount lies that
//! nobody gave a place.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::base::{Context, Error, ErrorKind, Result};

/// What opens a folder, the first that is there: the program and what comes before the folder.
const OPENERS: [(&str, &[&str]); 2] = [("xdg-open", &[]), ("gio", &["open"])];

/// How long an opener may take to say that it cannot. One that stays is the file manager itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// A way to open a folder.
#[derive(Debug)]
pub(super) struct FolderOpener {
    program: PathBuf,
    arguments: &'static [&'static str],
}

impl FolderOpener {
    /// The ways there are, best first; `Unsupported` where there is none, or no desktop to open a
    /// window on.
    pub fn all() -> Result<Vec<FolderOpener>> {
        let has = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !has("DISPLAY") && !has("WAYLAND_DISPLAY") {
            return Err(Error::new(ErrorKind::Unsupported, "no desktop found to open a folder on")
                .hint(
                    "neither DISPLAY nor WAYLAND_DISPLAY is set; mount without --open and look \
                    into it with `ls`",
                ));
        }
        let found = |(name, arguments): (&str, &'static [&'static str])| {
            find_program(name).map(|program| FolderOpener { program, arguments })
        };
        let all: Vec<FolderOpener> = OPENERS.into_iter().filter_map(found).collect();
        if all.is_empty() {
            Err(Error::new(
                ErrorKind::Unsupported,
                "no program is there that opens folders: neither xdg-open nor gio",
            )
            .hint(
                "install the package xdg-utils, or mount without --open and look into it \
                    with your file manager",
            ))
        } else {
            Ok(all)
        }
    }

    /// Opens `folder`: does not wait for a file manager that stays.
    fn open(&self, folder: &Path) -> Result<()> {
        let name = self.program.display();
        let mut command = Command::new(&self.program);
        // A group of its own: Ctrl-C here does not end the file manager.
        command.args(self.arguments).arg(folder).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().context(|| format!("running {name}"))?;
        match ended(&mut child).context(|| format!("running {name}"))? {
            Some(status) if !status.success() => Err(Error::new(
                ErrorKind::Program,
                format_args!("{name} could not open {}: {status}", folder.display()),
            )
            .hint("it is mounted all the same: open the folder with your file manager")),
            _ => Ok(()),
        }
    }
}

/// Opens `folder` with the first of `openers` that can.
pub(super) fn open(openers: &[FolderOpener], folder: &Path) -> Result<()> {
    let mut done = Ok(());
    for opener in openers {
        done = opener.open(folder);
        if done.is_ok() {
            break;
        }
    }
    done
}

fn ended(child: &mut Child) -> std::io::Result<Option<std::process::ExitStatus>> {
    let start = Instant::now();
    loop {
        match child.try_wait()? {
            None if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            status => return Ok(status),
        }
    }
}

/// The program `name` of `PATH`.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Where mounts lie that nobody gave a place: a folder that only this user sees, gone after logging
/// out. Without one (no `XDG_RUNTIME_DIR`), in the user's cache.
pub(super) fn mounts_folder() -> Result<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(run) = absolute("XDG_RUNTIME_DIR") {
        return Ok(run.join("shoebox"));
    }
    let cache = cache_folder().map(|cache| cache.join("shoebox/mounts"));
    cache.ok_or_else(|| {
        Error::invalid("no mount point given").hint("give an empty folder as MOUNTPOINT")
    })
}

/// The user's cache folder, as the XDG Base Directory Specification has it.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
}
