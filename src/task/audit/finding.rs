//! What an audit finds.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use serde::Serialize;
use uuid::Uuid;

use crate::base::SnapshotId;

/// What does not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditClass {
    /// The database has the photo, and its bytes are nowhere in the library.
    NoFile,
    /// The moving half of a live photo is not there.
    NoLiveVideo,
    /// The bytes changed while size and time of the file stayed: the disk did that.
    Rotten,
    /// The file was changed or replaced since a snapshot that has the bytes which Immich recorded.
    Edited,
    /// The bytes are not what Immich recorded, and no snapshot has them at this path.
    Differs,
    /// The sidecar that the database names is not there.
    NoSidecar,
    /// The file is not where the database says; its bytes lie somewhere else.
    Elsewhere,
    /// A file that no row of the database names.
    NoRow,
    /// Photos of an external library that no root of the backup covers.
    NotCovered,
}

impl AuditClass {
    /// Each of them, the worst first.
    pub const ALL: [AuditClass; 9] = [
        AuditClass::NoFile,
        AuditClass::NoLiveVideo,
        AuditClass::Rotten,
        AuditClass::Edited,
        AuditClass::Differs,
        AuditClass::NoSidecar,
        AuditClass::Elsewhere,
        AuditClass::NoRow,
        AuditClass::NotCovered,
    ];
}

/// How many, and how many bytes where it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct AuditTally {
    pub count: u64,
    pub bytes: u64,
}

/// Totals by class; those that are not there are none.
pub type AuditTallies = BTreeMap<AuditClass, AuditTally>;

/// What looks wrong to a simple comparison and is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct AuditAside {
    /// Files that are new in this snapshot and have no row: an upload while the backup ran. The
    /// next snapshot tells.
    pub new_files: u64,
    /// Marks and litter of file systems, desktops and uploads.
    pub litter: u64,
    /// Files that Immich makes again by itself, and its dumps.
    pub generated: u64,
    /// Files in external libraries' folders that Immich has not taken in.
    pub external: u64,
    /// Photos of external libraries that Immich knows to be gone.
    pub offline: u64,
    /// Photos found by SHA-1 whose path in the database lies outside UPLOAD_LOCATION as far as can
    /// be told.
    pub unmapped: u64,
}

/// One thing that does not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditFinding {
    #[serde(rename = "finding")]
    pub class: AuditClass,
    /// Whose: `None` when no account fits.
    pub owner: Option<Uuid>,
    /// The owner's name; where no account fits, the folder's.
    pub owner_name: String,
    pub asset: Option<Uuid>,
    /// The name that it was uploaded with, a library's name, or the file's. Nothing of a locked
    /// photo unless asked for.
    pub name: Option<String>,
    /// Wall-clock time where it was taken.
    pub taken: Option<DateTime>,
    /// Below UPLOAD_LOCATION: where it is or should be; of a library, the folder as the server sees
    /// it.
    pub path: Option<String>,
    /// Where the bytes lie, below UPLOAD_LOCATION.
    pub found: Option<String>,
    /// The photo that has the same bytes, or that belongs to it.
    pub of: Option<String>,
    /// The newest snapshot that has what is missing.
    pub snapshot: Option<SnapshotId>,
    /// The bytes that Immich recorded are kept: they are what is shown and restored, and stay while
    /// a snapshot names them.
    pub kept: bool,
    /// More than one only of a library that is not covered.
    pub count: u64,
    /// Bytes, where they are known.
    pub size: Option<u64>,
    pub trashed: bool,
    pub locked: bool,
}
