//! A library, a repository and a settings file: what a service works with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::CommandCargoExt;
use rustix::process::{Pid, Signal, kill_process};
use shoebox::repo::notes::{NoteKind, RunNote};

use crate::backup_library::{ANN, Home, dump};
use crate::support::Said;

/// Where a service works.
pub struct Place {
    pub home: Home,
}

impl Place {
    /// A library with two photos. Each run backs up and checks; drills are left to others.
    pub fn new() -> Place {
        let place = Place { home: Home::new() };
        for number in 1..=2 {
            place.home.write(format!("upload/{ANN}/{number}.jpg"), b"a photo");
        }
        place.home.write_dump(&dump(3, 0));
        place.write_settings("");
        place
    }

    pub fn settings(&self) -> PathBuf {
        self.home.dir.path().join("shoebox.toml")
    }

    /// Writes the settings file: what a service needs, and `more`.
    pub fn write_settings(&self, more: &str) {
        let text = format!(
            "repository = {:?}\n[backup]\nupload-location = {:?}\ndump = {:?}\n[run]\njitter = \
                \"0s\"\ndrill-every = \"never\"\n{more}",
            self.home.repo_path(),
            self.home.upload(),
            self.home.dump_path(),
        );
        fs::write(self.settings(), text).unwrap();
        fs::set_permissions(self.settings(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// shoebox with these settings and nothing of the environment that could be one.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare();
        command.env("SHOEBOX_CONFIG", self.settings()).args(arguments);
        command
    }

    pub fn shoebox(&self, arguments: &[&str]) -> Said {
        Said::of(&mut self.command(arguments))
    }

    /// Starts the service.
    pub fn serve(&self, arguments: &[&str]) -> Serving {
        Serving::start(self.command(&["run"]).args(arguments))
    }

    /// The runs that the repository remembers, oldest first.
    pub fn runs(&self) -> Vec<RunNote> {
        let notes = self.home.repository().notes().unwrap();
        let runs = notes.list.into_iter().filter_map(|(_, note)| {
            if let NoteKind::Run(run) = note.what { Some(run) } else { None }
        });
        runs.collect()
    }

    pub fn snapshots(&self) -> usize {
        self.home.repository().snapshot_ids().unwrap().len()
    }
}

/// shoebox with nothing of the environment that could be a setting.
pub fn bare() -> Command {
    let mut command = Command::cargo_bin("shoebox").unwrap();
    let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    let is_setting = |name: &str| {
        ["SHOEBOX_", "PG", "POSTGRES_", "BACKUP_", "WEBHOOK_", "NOTIFY_", "WATCHDOG_"]
            .iter()
            .any(|begin| name.starts_with(begin))
    };
    for name in names.iter().filter(|name| name.to_str().is_some_and(is_setting)) {
        command.env_remove(name);
    }
    command.env("TZ", "UTC");
    command
}

/// A service that runs; killed when dropped.
pub struct Serving {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Serving {
    pub fn start(command: &mut Command) -> Serving {
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        Serving { child, log }
    }

    /// What it has said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }

    /// Waits until it has said `text` so many times.
    #[track_caller]
    pub fn says(&self, text: &str, times: usize) {
        wait(&format!("`{text}`"), || self.said().matches(text).count() >= times, || self.said());
    }

    /// How many descriptors and threads it has.
    pub fn takes(&self) -> (usize, usize) {
        let count =
            |what: &str| fs::read_dir(format!("/proc/{}/{what}", self.child.id())).unwrap().count();
        (count("fd"), count("task"))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: how it ended, and what it said.
    #[track_caller]
    pub fn ends(mut self, code: i32) -> String {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(code), "{status}: {}", self.said());
                return self.said();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {}", self.said());
    }

    #[track_caller]
    pub fn stop(self) -> String {
        self.signal(Signal::TERM);
        self.ends(0)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `holds`; `told` is said when it never does.
#[track_caller]
pub fn wait(what: &str, mut holds: impl FnMut() -> bool, told: impl Fn() -> String) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited for {what} in vain: {}", told());
        std::thread::sleep(Duration::from_millis(20));
    }
}
