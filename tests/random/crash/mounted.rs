//! `shoebox mount` as a process of its own: it may be killed at any time, and nothing here waits
//! for it for ever.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tempfile::TempDir;

/// Nothing that is waited for takes so long.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `holds`.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `child` has ended.
pub fn ended(child: &mut Child, what: &str) -> ExitStatus {
    let mut status = None;
    wait_until(what, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// A mount that can be killed and made again.
pub struct Mount {
    point: TempDir,
    child: Option<Child>,
}

impl Mount {
    /// Not yet mounted.
    pub fn new() -> Mount {
        Mount { point: tempfile::tempdir().unwrap(), child: None }
    }

    /// The mount point.
    pub fn point(&self) -> PathBuf {
        self.point.path().to_owned()
    }

    /// Begins to mount the repository in `root`.
    pub fn spawn(&mut self, root: &Path) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
        command.arg("--quiet").arg("-r").arg(root).arg("mount").arg(self.point.path());
        self.child = Some(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
    }

    /// Mounts, and waits until it answers. Helpers of a mount that was killed may get in the way
    /// for a moment.
    pub fn start(&mut self, root: &Path) {
        self.spawn(root);
        let point = self.point();
        wait_until("the mount answers", || {
            if self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
                self.free();
                self.spawn(root);
            }
            answers(&point)
        });
    }

    /// The folders of its snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.point.path().join("snapshots")).unwrap();
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        folders
    }

    /// `kill -9`, and frees the mount point as its user would.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().unwrap();
        ended(&mut child, "a mount that was killed is gone");
        self.free();
    }

    /// Asks it to end; how it did.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        ended(&mut child, "a mount that was asked to end has")
    }

    /// Takes away what a killed mount left.
    fn free(&self) {
        while is_dead(self.point.path()) {
            let _ = Command::new("fusermount3")
                .args(["-u", "-z"])
                .arg(self.point.path())
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.free();
    }
}

/// True when a mount is left at `point` that nobody serves. What the kernel remembers of a mount
/// says nothing about that.
pub fn is_dead(point: &Path) -> bool {
    let asked = rustix::fs::statvfs(point);
    matches!(asked, Err(Errno::NOTCONN | Errno::CONNABORTED))
}

/// True when something is mounted at `point`, and is served.
fn answers(point: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
    rustix::fs::statvfs(point).is_ok() && device(point) != point.parent().and_then(device)
}
