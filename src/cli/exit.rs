//! Exit codes: the total map from how a command ended.

use std::process::ExitCode;

use super::Done;
use crate::base::{Error, Kind};

pub(super) const USAGE: u8 = 2;
const FAILED: u8 = 1;
const PARTLY: u8 = 3;
/// As a shell says it of what Ctrl-C ended.
pub(super) const STOPPED: u8 = 130;

pub(super) fn of_done(done: Done) -> ExitCode {
    ExitCode::from(match done {
        Done::Whole => 0,
        Done::Partly => PARTLY,
        Done::Failed => FAILED,
        Done::Stopped => STOPPED,
    })
}

pub(super) fn of_error(error: &Error) -> ExitCode {
    ExitCode::from(match error.kind() {
        Kind::Invalid => USAGE,
        Kind::Interrupted => STOPPED,
        Kind::NotFound
        | Kind::Exists
        | Kind::Damaged
        | Kind::Locked
        | Kind::Unsupported
        | Kind::Refused
        | Kind::Program
        | Kind::Permission
        | Kind::NoSpace
        | Kind::Exhausted
        | Kind::Io => FAILED,
    })
}
