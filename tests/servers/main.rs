//! With real PostgreSQL servers and clients: dumps on arrival, loading them, drills, the living
//! Immich.

mod arrival;
#[path = "../backup_library/mod.rs"]
mod backup_library;
mod database;
mod drill;
mod drill_server;
mod immich;
mod language;
mod newer;
mod others;
mod planted;
mod replaced;
mod source;
#[path = "../support/mod.rs"]
mod support;
mod throwaway;
mod twice;
mod untrusted;
