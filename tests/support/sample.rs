//! The sample library that `scripts/sample-library` makes.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{project, run};

/// Which names the tables have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// v3.3.1: people of groups, and one whom two users know.
    Groups,
    /// v3.1.0.
    New,
    /// v1.132.3.
    Old,
}

/// A library on disk and the SQL of its database.
pub struct SampleLibrary {
    folder: TempDir,
    era: Era,
}

/// The sample library in `state` 1 or 2.
pub fn sample_library(state: u32, era: Era) -> SampleLibrary {
    let library = SampleLibrary { folder: tempfile::tempdir().expect("a temporary folder"), era };
    library.become_state(state);
    library
}

impl SampleLibrary {
    /// Changes files and SQL in place, as the living library does between two nights.
    pub fn become_state(&self, state: u32) {
        let era = match self.era {
            Era::Groups => "groups",
            Era::New => "new",
            Era::Old => "old",
        };
        let mut command = Command::new(project().join("scripts/sample-library"));
        command
            .arg("--out")
            .arg(self.upload_location())
            .arg("--sql")
            .arg(self.sql())
            .arg("--external")
            .arg(self.external());
        run(command.args(["--state", &state.to_string(), "--era", era]));
    }

    /// Its UPLOAD_LOCATION.
    pub fn upload_location(&self) -> PathBuf {
        self.folder.path().join("UPLOAD_LOCATION")
    }

    /// The folder that stands for `/mnt/external/family`.
    pub fn external(&self) -> PathBuf {
        self.folder.path().join("external")
    }

    /// The database: load it into an empty one.
    pub fn sql(&self) -> PathBuf {
        self.folder.path().join("immich.sql")
    }

    /// What is true of it; see `scripts/sample/truth.py`.
    pub fn truth(&self) -> Value {
        let text = std::fs::read_to_string(self.folder.path().join("truth.json"))
            .expect("truth.json was written");
        serde_json::from_str(&text).expect("truth.json is JSON")
    }
}
