//! What a drill finds wrong with an asset.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

use crate::base::Sha1;

/// An asset that is not what the database says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrongAsset {
    pub asset: Uuid,
    /// Where the tree shows it, below the snapshot; its name where the tree does not; else its id.
    pub path: String,
    #[serde(flatten)]
    pub fault: AssetFault,
}

/// What is wrong with an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum AssetFault {
    /// Its bytes are damaged, or cannot be read.
    Damaged { message: String },
    /// Its bytes are whole, and others than Immich hashed.
    Checksum { database: Sha1, file: Sha1 },
    /// Its bytes are whole, and not as many as Immich counted; told only where it did not hash
    /// them.
    Size { database: u64, file: u64 },
    /// The database has it, and the snapshot's tree and list know nothing of it.
    Unknown,
    /// Its original is not in the snapshot, which does not say so.
    Missing,
    /// After a recovery nothing, or another file, would be where the database looks for it.
    Elsewhere { place: String },
}

impl fmt::Display for AssetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AssetFault::Damaged { message } => f.write_str(message),
            AssetFault::Checksum { database, file } => {
                write!(
                    f,
                    "its SHA-1 is {file}, and {database} in the database: it was another file when \
                        it was backed up"
                )
            }
            AssetFault::Size { database, file } => {
                write!(f, "it has {file} bytes, and {database} in the database")
            }
            AssetFault::Unknown => {
                f.write_str("it is in the database, and the snapshot does not know it")
            }
            AssetFault::Elsewhere { place } => {
                write!(
                    f,
                    "after a recovery its bytes would not be at {place}, where the database looks \
                        for them"
                )
            }
            AssetFault::Missing => f.write_str(
                "its original is not in the snapshot, and the snapshot does not record that",
            ),
        }
    }
}
