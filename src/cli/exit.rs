//! Exit codes: the total map from how a command ended.

use std::process::ExitCode;

use super::CommandOutcome;
use crate::base::{Error, ErrorKind};

pub(super) const USAGE: u8 = 2;
const FAILED: u8 = 1;
const PARTLY: u8 = 3;
/// As a shell says it of what Ctrl-C ended.
pub(super) const STOPPED: u8 = 130;

pub(super) fn of_done(done: CommandOutcome) -> ExitCode {
    ExitCode::from(match done {
        CommandOutcome::Whole => 0,
        CommandOutcome::Partly => PARTLY,
        CommandOutcome::Failed => FAILED,
        CommandOutcome::Stopped => STOPPED,
    })
}

pub(super) fn of_error(error: &Error) -> ExitCode {
    ExitCode::from(match error.kind() {
        ErrorKind::Invalid => USAGE,
        ErrorKind::Interrupted => STOPPED,
        ErrorKind::NotFound
        | ErrorKind::Exists
        | ErrorKind::Damaged
        | ErrorKind::Locked
        | ErrorKind::Unsupported
        | ErrorKind::Refused
        | ErrorKind::Program
        | ErrorKind::Permission
        | ErrorKind::NoSpace
        | ErrorKind::Exhausted
        | ErrorKind::Io
        | ErrorKind::Bug => FAILED,
    })
}
