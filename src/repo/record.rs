//! The snapshot record: the small JSON file whose existence makes a snapshot.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::reading::ReadList;
use crate::base::dump::{DumpInfo, DumpVerdict};
use crate::base::library::LibraryCensus;
use crate::base::{FilePath, Hash, SnapshotId};

/// What is known of one snapshot. Written last, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Version of the repository format that wrote it.
    pub format: u32,
    pub id: SnapshotId,
    /// Counts up by one with each snapshot that is made, which need not be the newest; never used
    /// twice.
    pub number: u16,
    /// Id of the repository.
    pub repository: String,
    pub host: String,
    /// Version of shoebox that wrote it.
    pub shoebox: String,
    /// The UPLOAD_LOCATION that was read, as it was called on that host.
    pub upload_location: String,
    pub dump: DumpInfo,
    /// The three streams.
    pub streams: SnapshotStreams,
    /// Archives that this snapshot wrote.
    pub archives: Vec<ArchiveInfo>,
    pub census: LibraryCensus,
    pub files: FileCount,
    pub completeness: Completeness,
    /// The folders of external libraries that were given, as the file list shows them: also those
    /// that were not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external: Vec<FilePath>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// When the files were looked at for the last time: what changed later by its ctime is read
    /// again. Absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walked: Option<Timestamp>,
    /// How the library shrank since the snapshot before, where that is more than usual: nothing is
    /// forgotten until a person acknowledges it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarm: Vec<String>,
    /// It was made later, from a dump of the past: its files are those of the dump's assets that
    /// the repository had then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedFrom>,
    /// Its dump was read again ([`super::reading`]): what the record itself says. In no record on
    /// disk, but in the catalog's copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Box<ReadList>>,
}

/// The file that a snapshot was imported from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedFrom {
    /// Its name, below the folder that was given.
    pub file: String,
    /// BLAKE3 of its bytes as they were, still compressed.
    pub hash: Hash,
}

/// The streams of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotStreams {
    /// The dump, plain SQL text.
    pub dump: StreamInfo,
    /// The file list.
    pub files: StreamInfo,
    /// The library list.
    pub library: StreamInfo,
}

impl SnapshotStreams {
    /// The chunks of all three.
    pub fn chunks(&self) -> impl Iterator<Item = &StreamChunk> {
        [&self.dump, &self.files, &self.library].into_iter().flat_map(|stream| &stream.chunks)
    }
}

/// A stream: its chunks put together in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Plain bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<StreamChunk>,
}

/// One chunk of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamChunk {
    /// BLAKE3 of its plain bytes.
    pub hash: Hash,
    /// Plain bytes.
    pub size: u64,
}

/// An archive that a snapshot wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchiveInfo {
    /// Name below `archives/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of its index, as its tail says.
    pub hash: Hash,
}

/// How many files a snapshot holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FileCount {
    pub files: u64,
    pub bytes: u64,
    /// Contents that were new, and their plain bytes.
    pub new_contents: u64,
    pub new_bytes: u64,
    /// Generated files were asked for and are among them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub generated: bool,
}

/// Whether the originals of all assets are in the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Completeness {
    /// Assets of which the original is in the snapshot.
    pub present: u64,
    /// Of these, found by SHA-1 under another path than the database says.
    pub moved: u64,
    /// Assets of which the original is not in it: number, and the first few by name.
    pub missing: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_names: Vec<String>,
    /// Assets of external libraries whose root was not given.
    pub not_covered: u64,
    /// Files that could not be read.
    pub unreadable: u64,
    /// Assets whose file has other bytes than Immich recorded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changed: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl SnapshotRecord {
    /// Bytes of the archives that its backup wrote.
    pub fn stored_bytes(&self) -> u64 {
        self.archives.iter().map(|archive| archive.size).sum()
    }

    /// The record without the chunk lists, which say nothing to people.
    pub fn without_chunks(mut self) -> Self {
        for stream in [&mut self.streams.dump, &mut self.streams.files, &mut self.streams.library] {
            stream.chunks.clear();
        }
        self.written.iter_mut().for_each(|written| written.library.chunks.clear());
        self
    }

    /// True when no files were read for it: it says nothing of what lay on disk.
    pub fn is_imported(&self) -> bool {
        self.imported.is_some()
    }

    /// The time of the state that a recovery gives: that of its dump, which may be older than the
    /// files.
    pub fn as_of(&self) -> Timestamp {
        let taken = self.id.time();
        self.dump.made.map_or(taken, |made| made.min(taken))
    }

    /// False when every original lay on the disk as Immich recorded it.
    pub fn lacks_originals(&self) -> bool {
        let Completeness { missing, changed, not_covered, .. } = self.completeness;
        missing + changed + not_covered > 0
    }

    /// True when its database names photos and it has none of them.
    pub fn lacks_all_originals(&self) -> bool {
        self.is_good() && self.census.assets > 0 && self.completeness.present == 0
    }

    /// True when it may become `latest`.
    pub fn is_good(&self) -> bool {
        self.dump.verdict == DumpVerdict::Good
    }
}
