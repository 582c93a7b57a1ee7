//! What a repository keeps, loses, finds and repairs: backup, check, prune, repair, import.

mod alarm;
mod audit;
#[path = "../backup_library/mod.rs"]
mod backup_library;
mod check;
mod clock;
#[path = "../crafted/mod.rs"]
mod crafted;
mod damage;
mod elsewhere;
mod files;
mod flips;
mod forget_like_restic;
mod format;
mod given_back;
mod hostile;
mod import;
mod kept;
mod matrix;
mod one_state;
mod oracle;
mod prune;
mod recover;
mod repair;
mod states;
mod stopped;
#[path = "../support/mod.rs"]
mod support;
#[path = "../two_nights/mod.rs"]
mod two_nights;
