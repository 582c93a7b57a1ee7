//! What a check found, in words that people use: photos, snapshots, files of the repository.

use jiff::civil::DateTime;
use serde::Serialize;
use uuid::Uuid;

use crate::base::{FilePath, Hash, SnapshotId};

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum CheckFinding {
    /// The bytes of a photo or video, or of its sidecar.
    Photo(DamagedPhoto),
    /// The bytes of a file that is no asset.
    File(LostFile),
    /// A part of a snapshot.
    Snapshot { snapshot: SnapshotId, part: SnapshotPart, message: String },
    /// An archive, whatever photos are in it.
    Archive { archive: String, message: String },
    /// The catalog.
    Catalog { message: String },
    /// Another file of the repository.
    Other { file: String, message: String },
}

/// A photo whose bytes are damaged or lost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DamagedPhoto {
    pub asset: Uuid,
    /// It is its sidecar that is damaged.
    pub sidecar: bool,
    pub owner: String,
    pub name: String,
    /// Wall-clock time where it was taken.
    pub taken: DateTime,
    pub albums: Vec<String>,
    /// The snapshots that show it with these bytes.
    pub snapshots: Vec<SnapshotId>,
    #[serde(flatten)]
    pub bytes: DamagedBytes,
    /// The newest snapshot that has the same photo with other bytes, which are in some archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_version: Option<SnapshotId>,
}

/// A file whose bytes are damaged or lost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LostFile {
    pub path: FilePath,
    /// The snapshots that show it with these bytes.
    pub snapshots: Vec<SnapshotId>,
    #[serde(flatten)]
    pub bytes: DamagedBytes,
}

/// Bytes that are damaged or lost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DamagedBytes {
    pub blake3: Hash,
    pub size: u64,
    /// The archive that holds them damaged; `None` when no archive holds them.
    pub archive: Option<String>,
    /// An archive that holds them whole.
    pub copy: Option<String>,
}

/// A part of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotPart {
    Record,
    Dump,
    Files,
    Library,
}

impl SnapshotPart {
    /// What it means that it is damaged.
    pub fn meaning(self) -> &'static str {
        match self {
            SnapshotPart::Record => "nothing of this snapshot can be shown until it is repaired",
            SnapshotPart::Dump => {
                "the database of this snapshot cannot be restored whole; its photos can"
            }
            SnapshotPart::Files => {
                "which files this snapshot had are not known from the archives alone; the photos \
                    are there"
            }
            SnapshotPart::Library => {
                "names, albums and dates of this snapshot are not known from the archives alone; \
                    the files and the dump are there"
            }
        }
    }
}
