//! What a dump says of itself: part of a snapshot's record.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What printed a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DumpKind {
    /// pg_dumpall: roles and every database.
    Cluster,
    /// pg_dump: one database.
    Database,
}

/// Whether a dump would restore, as far as reading it can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DumpVerdict {
    /// Whole, and it holds a library.
    Good,
    /// Not whole, or not a library.
    Bad {
        /// Line of the dump, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a dump says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DumpInfo {
    pub kind: DumpKind,
    pub verdict: DumpVerdict,
    /// It is whole, and bad only because a restore would refuse it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfit: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Version of Immich that wrote the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immich: Option<String>,
    /// Newest migration: the schema's exact level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Version of the Postgres server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<String>,
    /// Version of pg_dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// When it was made, as well as that is known: what it says itself, the name and the time of
    /// its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Timestamp>,
    /// Keys that two rows have: a broken index, on which a restore stops.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duplicates: Vec<String>,
    /// Prefix of Immich's paths in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_location: Option<String>,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// The number of the reader that made the library list: a higher one understands more. Absent:
    /// the first.
    #[serde(default = "first")]
    pub reader: u32,
    /// What that reader missed in the dump: the library list lacks it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

fn first() -> u32 {
    1
}
