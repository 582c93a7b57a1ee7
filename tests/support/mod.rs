//! What tests share: a throw-away PostgreSQL server, a stand-in for docker, and the sample library.
//!
//! Use it as `mod support;`. Everything started here ends with the value that stands for it, also
//! when a test fails.
#![allow(dead_code, unused_imports)] // each test file uses its own part

pub mod docker;
pub mod postgres;
pub mod receiver;
pub mod said;
pub mod sample;

pub use docker::Docker;
pub use postgres::Postgres;
pub use said::Said;
pub use sample::{Era, SampleLibrary, sample_library};

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use shoebox::task::restore::whole;

/// The project's folder.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Real Immich data that lies beside the project, or `None` with a word about it.
pub fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("SHOEBOX_SHARED")
        .map_or_else(|| project().join("../shared"), PathBuf::from);
    if folder.join("immich").is_dir() {
        return Some(folder);
    }
    println!("skipped: {} holds no real Immich data", folder.display());
    None
}

/// A restore of all of the newest snapshot to the folder `to`, which must be empty.
pub fn whole_restore(to: &Path) -> whole::Options {
    whole::Options {
        snapshot: "latest".into(),
        to: to.to_owned(),
        external: Vec::new(),
        accept_non_empty: false,
        overwrite: false,
        as_on_disk: false,
        dry_run: false,
    }
}

/// The same command under a clock that says `time`, as `faketime -f` takes it. The times of files
/// stay those of the disk.
pub fn under_clock(time: &str, command: &Command) -> Command {
    let mut under = Command::new("faketime");
    under.args(["-f", time]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => under.env(name, value),
            None => under.env_remove(name),
        };
    }
    under.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1").env("TZ", "UTC");
    under
}

/// True for root, who may do what a test wants to see refused.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What the test runner calls the test `name` of `module`, which is `module_path!()`.
pub fn test_name(module: &str, name: &str) -> String {
    let (_, module) = module.split_once("::").unwrap();
    format!("{module}::{name}")
}

/// Runs a command to its end; a failure ends the test with what it said.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}
