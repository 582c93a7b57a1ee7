//! The doctor: looks at all that a backup, a restore and a mount need, before they need it, and
//! says how to fix what is not right.
//!
//! Always holds: it changes nothing, on neither side. What it cannot look at because something else
//! is wrong, it does not judge.

mod database;
mod machine;
mod place;
mod service;

use std::path::PathBuf;

pub use service::{ServiceFacts, service};

use serde::Serialize;

use crate::base::Error;
use crate::source::ExternalFolder;
use crate::source::installation::Installation;
use crate::source::{ClientPrograms, DatabaseAccess, DumpTool, LibraryRoot};

/// What the settings say, completed by what was found.
#[derive(Debug)]
pub struct DoctorSetup {
    pub upload_location: Option<PathBuf>,
    /// The database, unless dumps come from files.
    pub access: Option<(DatabaseAccess, DumpTool)>,
    /// Dumps come from here.
    pub dump: Option<PathBuf>,
    pub external: Vec<ExternalFolder>,
    /// Folders of UPLOAD_LOCATION that lie in other places.
    pub folders: Vec<LibraryRoot>,
    pub repository: Option<PathBuf>,
}

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    Good,
    /// It works, and could be better.
    Note,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DoctorFinding {
    pub state: FindingState,
    pub what: String,
    /// How to fix it: a command, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl DoctorFinding {
    fn good(what: impl Into<String>) -> DoctorFinding {
        DoctorFinding { state: FindingState::Good, what: what.into(), fix: None }
    }

    fn note(what: impl Into<String>, fix: impl Into<String>) -> DoctorFinding {
        DoctorFinding { state: FindingState::Note, what: what.into(), fix: Some(fix.into()) }
    }

    fn bad(what: impl Into<String>, fix: impl Into<String>) -> DoctorFinding {
        DoctorFinding { state: FindingState::Bad, what: what.into(), fix: Some(fix.into()) }
    }

    fn of(error: &Error) -> DoctorFinding {
        DoctorFinding {
            state: FindingState::Bad,
            what: error.chain(),
            fix: error.next_step().map(str::to_owned),
        }
    }
}

/// What was found, and what could be done about external libraries.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    pub findings: Vec<DoctorFinding>,
    /// Folders of external libraries that no setting covers and that are on this machine.
    pub uncovered: Vec<ExternalFolder>,
    /// Folders of UPLOAD_LOCATION that lie in other places, which no setting says.
    pub elsewhere: Vec<LibraryRoot>,
}

/// Looks at everything.
pub fn examine(installation: &Installation, setup: &DoctorSetup) -> Diagnosis {
    let mut found = place::immich(installation, setup);
    found.extend(place::upload_location(setup));
    let elsewhere = place::elsewhere(installation, setup);
    found.extend(elsewhere.iter().map(place::untold));
    let library = database::database(setup, &ClientPrograms::of_this_machine());
    found.extend(library.findings);
    found.extend(database::external(&library.roots, installation, setup));
    found.extend(place::repository(setup, library.bytes));
    found.push(machine::fuse());
    found.extend(machine::stale_mounts());
    found.push(machine::clock(setup, library.time));
    Diagnosis {
        findings: found,
        uncovered: database::uncovered(&library.roots, installation, setup),
        elsewhere,
    }
}
