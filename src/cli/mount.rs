//! `shoebox mount`

use std::fs::DirBuilder;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::SignedDuration;

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use super::desktop::{self, FolderOpener};
use super::output::{Output, aside, printable};
use super::{CommandOutcome, GlobalArgs, signal, value};
use crate::base::mounted::how_to_unmount;
use crate::base::{Context, Error, Result};
use crate::mount::{self, MountedView, Unmounter, point};
use crate::repo::Repository;
use crate::task::open::open_view;
use crate::view;
use crate::view::name::NameShape;

/// Show all snapshots as a folder, read-only
///
/// Look in MOUNTPOINT/latest: by person, then by date, album, people, tags; `deleted since` holds
/// what earlier snapshots had; `files` is the server's disk as it was; `database` the dump. Copy
/// out what you need as from any folder. New snapshots appear by themselves.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shoebox mount /mnt/photos
  shoebox mount --open              # in your file manager; unmounts by itself when nobody looks \
  any more
  shoebox mount --background --user 'Ann Lee' ~/my-photos
  fusermount3 -u ~/my-photos        # or Ctrl-C in the foreground")]
pub(super) struct Args {
    /// An empty folder; optional with --open, which makes one and removes it in the end
    #[arg(required_unless_present = "open")]
    mountpoint: Option<PathBuf>,
    /// Run in the background, and open the newest snapshot in the file manager
    #[arg(long)]
    open: bool,
    /// Run in the background
    #[arg(long)]
    background: bool,
    /// Unmount once it was idle for this long, such as 30m or 2h; 0s: never. Default: 30m without
    /// MOUNTPOINT, else never
    #[arg(long, env = "SHOEBOX_IDLE", value_name = "DURATION", value_parser = value::duration)]
    idle: Option<SignedDuration>,
    /// Allow other users to access it (needs `user_allow_other` in /etc/fuse.conf, or root)
    #[arg(long, env = "SHOEBOX_ALLOW_OTHER")]
    allow_other: bool,
    /// Owner of the photos; default: you
    #[arg(long, value_name = "ID")]
    uid: Option<u32>,
    /// Group of the photos; default: yours
    #[arg(long, value_name = "ID")]
    gid: Option<u32>,
    /// Only this person's tree: name, address or id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Show locked assets too
    #[arg(long)]
    locked: bool,
    /// Provide extended attributes: asset id, hashes, albums (makes `ls -l` slower)
    #[arg(long)]
    xattrs: bool,
    /// What `mount` and `df` show; /etc/fstab's own words, so that mount(8) knows it again
    #[arg(long, hide = true)]
    source: Option<String>,
}

/// Set for the process that serves in the background, to its mount point: it tells its parent when
/// it is ready.
const SERVING: &str = "SHOEBOX_SERVING_IN_BACKGROUND";

/// How long a mount stays without anybody looking into it when it chose its place by itself.
const IDLE: Duration = Duration::from_secs(30 * 60);

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        if let Some(point) = std::env::var_os(SERVING) {
            return self.serve(Path::new(&point), true, global, output);
        }
        if self.open {
            return self.mount_and_open(global, output);
        }
        let point =
            self.mountpoint.clone().ok_or_else(|| Error::invalid("no mount point given"))?;
        if self.background {
            self.start_in_background(&point, output)
        } else {
            self.serve(&point, false, global, output)
        }
    }

    /// Mounts, unless that was done before, and opens the newest snapshot.
    fn mount_and_open(&self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        // Where nothing can be opened, nothing is mounted.
        let openers = FolderOpener::all()?;
        let repository = global.open()?;
        let source = self.source(&repository);
        let point = match &self.mountpoint {
            Some(point) => {
                std::path::absolute(point).context(|| format!("looking at {}", point.display()))?
            }
            None => self.choose(&repository, &source)?,
        };
        match point::source(&point)? {
            Some(there) if there == source && point::answers(&point) => {
                output.note(format!("mounted already: look in {}/latest", point.display()));
            }
            there => {
                if there.is_some() && self.mountpoint.is_none() {
                    point::free(&point)?;
                }
                if self.start_in_background(&point, output)? == CommandOutcome::Failed {
                    return Ok(CommandOutcome::Failed);
                }
            }
        }
        // Past the symlink: the window says which night it shows, and each look at a photo is
        // spared a question.
        let shown = point.join("latest").canonicalize().unwrap_or(point);
        desktop::open(&openers, &shown)?;
        Ok(CommandOutcome::Whole)
    }

    /// A place for this mount, called as the repository: the same each time, so that a second
    /// `--open` finds the first. Another repository of the same name gets its id behind it.
    fn choose(&self, repository: &Repository, source: &str) -> Result<PathBuf> {
        let folder = desktop::mounts_folder()?;
        let name = repository
            .root()
            .file_name()
            .map(|name| name.to_string_lossy())
            .unwrap_or("photos".into());
        let shown = match (&self.user, self.locked) {
            (None, false) => String::new(),
            (None, true) => " with locked photos".to_owned(),
            (Some(user), false) => format!(" of {user}"),
            (Some(user), true) => format!(" of {user} with locked photos"),
        };
        let id = repository.id().to_string();
        let names =
            [format!("{name}{shown}"), format!("{name} {}{shown}", id.get(..8).unwrap_or(&id))];
        let places = names.map(|name| folder.join(NameShape::folder(&name, "photos").name("")));
        for place in &places {
            let free = match point::source(place)? {
                Some(there) => there == source,
                None => {
                    std::fs::read_dir(place).map_or(true, |mut entries| entries.next().is_none())
                }
            };
            if free {
                return Ok(place.clone());
            }
        }
        Err(Error::invalid(format_args!("{} is not empty", folder.display()))
            .hint("give a folder as MOUNTPOINT"))
    }

    /// Mounts at `point` and stays until somebody unmounts.
    fn serve(
        &self,
        point: &Path,
        in_background: bool,
        global: &GlobalArgs,
        output: &Output,
    ) -> Result<CommandOutcome> {
        // Listening comes first: who asks to end while the mount is being made finds nobody left
        // over.
        let signals = signal::listen()?;
        let own = self.mountpoint.is_none();
        if own {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(point).context(|| format!("making {}", point.display()))?;
        }
        let served = self.mount(point, global).and_then(|mount| {
            unmount_on_signals(signals, mount.unmounter())?;
            if in_background {
                detach()?
            } else {
                output.note(greeting(point, "Ctrl-C unmounts"))
            }
            tell_systemd();
            mount.wait()
        });
        if own {
            // Left as it is where somebody else uses it.
            let _ = std::fs::remove_dir(point);
            let _ = point.parent().map(std::fs::remove_dir);
        }
        served.map(|()| CommandOutcome::Whole)
    }

    fn mount(&self, point: &Path, global: &GlobalArgs) -> Result<MountedView> {
        let repository = global.open()?;
        let options = view::Options {
            locked: self.locked,
            user: self.user.clone(),
            ..view::Options::default()
        };
        let view = open_view(&repository, options)?;
        let idle = self
            .idle
            .map(SignedDuration::unsigned_abs)
            .or_else(|| self.mountpoint.is_none().then_some(IDLE));
        let options = mount::Options {
            uid: self.uid,
            gid: self.gid,
            allow_other: self.allow_other,
            xattrs: self.xattrs,
            source: self.source(&repository),
            repository: Some(repository.root().to_owned()),
            threads: None,
            idle: idle.filter(|idle| !idle.is_zero()),
        };
        MountedView::start(view, point, &options)
    }

    fn source(&self, repository: &Repository) -> String {
        mount::source(self.source.as_deref().unwrap_or(&format!("shoebox:{}", repository.id())))
    }

    /// Starts this program again, away from the terminal, and waits until its mount answers.
    fn start_in_background(&self, point: &Path, output: &Output) -> Result<CommandOutcome> {
        let starting = || "starting in the background";
        let program = std::env::current_exe().context(starting)?;
        let mut arguments = std::env::args_os();
        let mut child = Command::new(program)
            .arg0(arguments.next().unwrap_or_default())
            .args(arguments)
            .env(SERVING, point)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context(starting)?;
        let mut ready = String::new();
        child
            .stdout
            .take()
            .map(|mut out| out.read_to_string(&mut ready))
            .transpose()
            .context(starting)?;
        if ready.is_empty() {
            // It has said on standard error why it ended.
            child.wait().context(starting)?;
            return Ok(CommandOutcome::Failed);
        }
        let real = point.canonicalize().unwrap_or_else(|_| point.to_owned());
        output.note(greeting(point, &format!("`{}` unmounts", how_to_unmount(&real, false))));
        Ok(CommandOutcome::Whole)
    }
}

fn greeting(point: &Path, how_to_stop: &str) -> String {
    format!("mounted: look in {}/latest\n{how_to_stop}", point.display())
}

/// Tells systemd that the mount answers, where it started this (`Type=notify`).
fn tell_systemd() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "systemd could not be notified that the mount is ready");
    }
}

/// Tells the parent that the mount answers, and leaves its terminal.
fn detach() -> Result<()> {
    let detaching = || "leaving the terminal";
    rustix::process::setsid().context(detaching)?;
    std::io::stdout().write_all(b"ready\n").context(detaching)?;
    let null =
        std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").context(detaching)?;
    rustix::stdio::dup2_stdout(&null).context(detaching)?;
    rustix::stdio::dup2_stderr(&null).context(detaching)
}

/// The first Ctrl-C unmounts, unless somebody uses the mount; the second one takes it out all the
/// same.
fn unmount_on_signals(signals: Signals, unmounter: Unmounter) -> Result<()> {
    let asked = AtomicBool::new(false);
    signal::on_stop(signals, move |signal| {
        let insist = signal != SIGINT || asked.swap(true, Ordering::Relaxed);
        let done = if insist { unmounter.detach() } else { unmounter.unmount() };
        if let Err(error) = done {
            aside(printable(&format!(
                "shoebox: {error}; close what uses it, or press Ctrl-C again to unmount all the \
                    same"
            )));
        }
    })
}
