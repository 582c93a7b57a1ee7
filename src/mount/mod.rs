//! The view as FUSE: a folder of the computer that shows a repository, read-only.
//!
//! A thin translation. [`fs`] asks the view and replies, [`point`] looks at the mount point before
//! anything happens and says in our own words why it does not work, [`errno`] is the total map from
//! errors. `SEMANTICS.md` says what every reader of the mount may rely on; `tests/kernel/mount.rs`
//! and `tests/kernel/desktop.rs` hold it line by line. [`preview`] is a question beside those of a
//! file system, [`idle`] the end of a mount that nobody needs.
//!
//! Always holds: nothing here panics; every mount that was made is unmounted when its [`MountedView`]
//! goes away. Works as root and, through `fusermount3`, as anybody.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod errno;
mod fs;
mod idle;
pub mod point;
pub mod preview;
mod xattr;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL};

use crate::base::{Context, Error, ErrorKind, Result};
use crate::view::View;
use crate::view::live::LiveView;

/// How a view is mounted.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Who owns what is below `users/`; the mounting user if not said.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Let other users of the computer in.
    pub allow_other: bool,
    /// Answer for extended attributes: `user.shoebox.asset` and others.
    pub xattrs: bool,
    /// What `mount` and `df` show, as [`source`] makes it.
    pub source: String,
    /// The repository's folder, if it is one: the mount point must not lie in it.
    pub repository: Option<PathBuf>,
    /// Threads that answer; as many as there are processors, four at most, if not said.
    pub threads: Option<usize>,
    /// Unmount once nobody asked for anything so long, and nobody uses the mount.
    pub idle: Option<Duration>,
}

/// A mounted view. Unmounts when dropped, even if it is in use.
#[derive(Debug)]
pub struct MountedView {
    unmounter: Unmounter,
    served: Option<JoinHandle<std::io::Result<()>>>,
    /// Whoever waits for the mount to be idle ends with this.
    _ended: mpsc::Sender<()>,
}

impl MountedView {
    /// Mounts `view` at `mountpoint`, an empty folder. The mount answers on return.
    pub fn start(view: Arc<View>, mountpoint: &Path, options: &Options) -> Result<MountedView> {
        let point = point::check(mountpoint, options.repository.as_deref())?;
        let live = Arc::new(LiveView::new(view));
        let served = fs::FuseTree::new(live.clone(), options);
        let session = Session::new(served, &point, &config(options))
            .map_err(|error| point::failed(&point, error))?;
        let served = std::thread::Builder::new()
            .name("mount".to_owned())
            .spawn(move || session.run())
            .context(|| "starting a thread for the mount")?;
        let (sender, ended) = mpsc::channel();
        let mount =
            MountedView { unmounter: Unmounter { point }, served: Some(served), _ended: sender };
        if let Some(idle) = options.idle {
            let unmounter = mount.unmounter();
            std::thread::Builder::new()
                .name("idle".to_owned())
                .spawn(move || idle::watch(&live, idle, &unmounter, &ended))
                .context(|| "starting a thread for the mount")?;
        }
        // `Session::new` has greeted the kernel, and the thread will answer: nothing is left to
        // wait for. A process that asks its own mount cannot even be killed while it waits.
        point::raise_read_ahead(&mount.unmounter.point);
        Ok(mount)
    }

    /// Waits until somebody unmounts.
    pub fn wait(mut self) -> Result<()> {
        self.join()
    }

    /// Unmounts; `Locked` while somebody uses it, and then the mount goes on.
    pub fn unmount(&self) -> Result<()> {
        self.unmounter.unmount()
    }

    /// What unmounts from elsewhere, such as a thread that waits for signals.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    fn join(&mut self) -> Result<()> {
        let Some(served) = self.served.take() else { return Ok(()) };
        match served.join() {
            Ok(ended) => ended.context(|| "serving the mount"),
            Err(_) => Err(Error::new(ErrorKind::Io, "the mount's thread ended unexpectedly")),
        }
    }
}

impl Drop for MountedView {
    fn drop(&mut self) {
        if self.served.is_none() {
            return;
        }
        let ended = self.unmounter.detach().and_then(|()| self.join());
        if let Err(error) = ended {
            tracing::warn!(%error, "unmounting");
        }
    }
}

/// Unmounts a [`MountedView`].
#[derive(Debug, Clone)]
pub struct Unmounter {
    point: PathBuf,
}

impl Unmounter {
    /// Unmounts; `Locked` while somebody uses the mount.
    pub fn unmount(&self) -> Result<()> {
        point::unmount(&self.point, false)
    }

    /// Takes the mount out of the tree at once; who uses it still can, until they are done.
    pub fn detach(&self) -> Result<()> {
        point::unmount(&self.point, true)
    }
}

/// `text` as the name of a mounted file system: without what the table of mounts cannot say
/// plainly.
pub fn source(text: &str) -> String {
    match text.replace([',', '\\', '\n', '\t', ' '], "_") {
        empty if empty.is_empty() => "shoebox:".to_owned(),
        source => source,
    }
}

fn config(options: &Options) -> Config {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
        MountOption::DefaultPermissions,
        MountOption::FSName(source(&options.source)),
        MountOption::Subtype("shoebox".to_owned()),
    ];
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(options.threads.unwrap_or(cores.min(4)).max(1));
    config.clone_fd = true;
    config
}
