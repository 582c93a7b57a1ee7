//! The words that every room shares: errors, hashes, safe paths, records, progress. Knows no other
//! room.

pub mod amount;
pub mod bytes;
pub mod dump;
pub mod durable;
pub mod error;
pub mod file;
pub mod hash;
mod jsonl;
pub mod library;
pub mod monitor;
pub mod mounted;
pub mod object;
pub mod path;
pub mod patient;
pub mod snapshot;
pub mod stored;

pub use error::{Context, Error, ErrorKind, Result};
pub use hash::{Hash, Sha1};
pub use jsonl::json_line;
pub use monitor::{Monitor, Phase, Problem, StopNotice};
pub use path::FilePath;
pub use snapshot::SnapshotId;
