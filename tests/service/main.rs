//! The service, as a person has it: real processes, a real clock, signals, and what it tells
//! others.

#[path = "../backup_library/mod.rs"]
mod backup_library;
mod endpoint;
mod messages;
mod nights;
mod place;
mod runs;
mod settings;
#[path = "../support/mod.rs"]
mod support;
