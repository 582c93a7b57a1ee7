//! `shoebox mount`

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use super::output::{Output, aside, printable};
use super::{Done, Global, signal};
use crate::base::{Context, Result};
use crate::mount::{self, Mount, Unmounter};
use crate::task::open::open_view;
use crate::view;

/// Show all snapshots as a folder, read-only
///
/// Look in MOUNTPOINT/latest: by person, then by date, album, people, tags; `deleted since` holds what earlier snapshots
/// had; `files` is what lay on the server's disk; `database` the dump. Copy out what you need like from any folder.
/// New snapshots appear by themselves.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shoebox mount /mnt/photos
  shoebox mount --background --user 'Ann Lee' ~/my-photos
  fusermount3 -u ~/my-photos        # or Ctrl-C in the foreground")]
pub(super) struct Args {
    /// An empty folder
    mountpoint: PathBuf,
    /// Go on in the background
    #[arg(long)]
    background: bool,
    /// Let other users of this computer in (needs `user_allow_other` in /etc/fuse.conf, or root)
    #[arg(long, env = "SHOEBOX_ALLOW_OTHER")]
    allow_other: bool,
    /// Who owns the photos; you, if not given
    #[arg(long, value_name = "ID")]
    uid: Option<u32>,
    /// Which group owns the photos; yours, if not given
    #[arg(long, value_name = "ID")]
    gid: Option<u32>,
    /// One person's tree alone: name, address or id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Show locked assets too
    #[arg(long)]
    locked: bool,
    /// Answer for extended attributes: asset id, hashes, albums (makes `ls -l` slower)
    #[arg(long)]
    xattrs: bool,
}

/// Set for the process that serves in the background: it tells its parent when it is ready.
const SERVING: &str = "SHOEBOX_SERVING_IN_BACKGROUND";

impl Args {
    pub fn run(self, global: &Global, output: &Output) -> Result<Done> {
        let serving = std::env::var_os(SERVING).is_some();
        if self.background && !serving {
            return self.start_in_background(output);
        }
        // Listening comes first: who asks to end while the mount is being made finds nobody left over.
        let signals = signal::listen()?;
        let mount = self.mount(global)?;
        unmount_on_signals(signals, mount.unmounter())?;
        match serving {
            true => detach()?,
            false => output.note(self.greeting("Ctrl-C unmounts")),
        }
        mount.wait()?;
        Ok(Done::Whole)
    }

    fn mount(&self, global: &Global) -> Result<Mount> {
        let repository = global.open()?;
        let options = view::Options { locked: self.locked, user: self.user.clone(), ..view::Options::default() };
        let view = open_view(&repository, options)?;
        let options = mount::Options {
            uid: self.uid,
            gid: self.gid,
            allow_other: self.allow_other,
            xattrs: self.xattrs,
            name: repository.id().to_string(),
            repository: Some(repository.root().to_owned()),
            threads: None,
        };
        Mount::start(view, &self.mountpoint, &options)
    }

    fn greeting(&self, how_to_stop: &str) -> String {
        let point = self.mountpoint.display();
        format!("mounted: look in {point}/latest\n{how_to_stop}")
    }

    /// Starts this program again, away from the terminal, and waits until its mount answers.
    fn start_in_background(&self, output: &Output) -> Result<Done> {
        let starting = || "starting in the background";
        let program = std::env::current_exe().context(starting)?;
        let mut child = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(SERVING, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context(starting)?;
        let mut ready = String::new();
        child.stdout.take().map(|mut out| out.read_to_string(&mut ready)).transpose().context(starting)?;
        if ready.is_empty() {
            // It has said on standard error why it ended.
            child.wait().context(starting)?;
            return Ok(Done::Failed);
        }
        output.note(self.greeting(&format!("`fusermount3 -u {}` unmounts", self.mountpoint.display())));
        Ok(Done::Whole)
    }
}

/// Tells the parent that the mount answers, and leaves its terminal.
fn detach() -> Result<()> {
    let detaching = || "leaving the terminal";
    rustix::process::setsid().context(detaching)?;
    std::io::stdout().write_all(b"ready\n").context(detaching)?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").context(detaching)?;
    rustix::stdio::dup2_stdout(&null).context(detaching)?;
    rustix::stdio::dup2_stderr(&null).context(detaching)
}

/// The first Ctrl-C unmounts, unless somebody uses the mount; the second one takes it out all the same.
fn unmount_on_signals(signals: Signals, unmounter: Unmounter) -> Result<()> {
    let asked = AtomicBool::new(false);
    signal::on_stop(signals, move |signal| {
        let insist = signal != SIGINT || asked.swap(true, Ordering::Relaxed);
        let done = if insist { unmounter.detach() } else { unmounter.unmount() };
        if let Err(error) = done {
            aside(printable(&format!(
                "shoebox: {error}; close what uses it, or press Ctrl-C again to unmount all the same"
            )));
        }
    })
}
