//! shoebox keeps backups of an Immich photo library that open like a folder.
//!
//! The rooms, by floor; a room uses only rooms on lower floors (`tests/program/layers.rs` holds
//! it):
//!
//! ```text
//! 6  main.rs · cli/          one file a subcommand: flags in, a task, words out
//! 5  mount/ · service/       the view as FUSE · runs every night, and says how it is
//! 4  task/                   one use case a file, no terminal
//! 3  source/ · view/         the living Immich · a snapshot as the tree that people browse
//! 2  repo/                   open, lock, write a snapshot, read content, rebuild
//! 1  catalog/ · archive/ · store/ · immich/
//! 0  base/                   errors, hashes, paths, records, progress
//! ```
//!
//! `ARCHITECTURE.md` follows a photo, a read, a dump, a setting and a night through them.

pub mod archive;
pub mod base;
pub mod catalog;
pub mod cli;
pub mod immich;
pub mod mount;
pub mod repo;
pub mod service;
pub mod source;
pub mod store;
pub mod task;
pub mod view;
