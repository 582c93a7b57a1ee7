//! Use cases, one a file: what a person asks for, without flags and without a terminal.
//!
//! A task opens what it needs from the rooms below, tells a [`Monitor`](crate::base::Monitor) how
//! it goes, and returns a report. Damage of one file is no error of the task: it goes to the
//! monitor, and the work goes on.
//!
//! A task uses only tasks on lower floors (`tests/program/layers.rs` holds it):
//!
//! ```text
//! 3  drill · log
//! 2  backup · database · diff · doctor · prune · repair · restore
//! 1  acknowledge · audit · check · dump · find · forget · import · snapshots · status · thumbnail
//! 0  open · reread · space
//! ```

pub mod acknowledge;
pub mod audit;
pub mod backup;
pub mod check;
pub mod database;
pub mod diff;
pub mod doctor;
pub mod drill;
pub mod dump;
pub mod find;
pub mod forget;
pub mod import;
pub mod log;
pub mod open;
pub mod prune;
pub mod repair;
pub mod reread;
pub mod restore;
pub mod snapshots;
pub mod space;
pub mod status;
pub mod thumbnail;
