//! Readings: library lists that were made again, out of dumps that an older reader did not
//! understand whole.
//!
//! A record is never changed. A reading lies beside it as `readings/ID.json`, and where it is by a
//! higher reader than the record's list, its list counts in place of that one. What the record
//! itself says stays with it ([`SnapshotRecord::as_written`]), and its chunks stay needed. Nothing
//! hangs on a reading: one that is lost is made again.

use serde::{Deserialize, Serialize};

use super::record::{SnapshotRecord, StreamChunk, StreamInfo};
use super::repository::Repository;
use crate::base::{Error, ErrorKind, Result, SnapshotId};
use crate::store;

/// No reading is larger: it names the chunks of one list.
const LIMIT: u64 = 64 << 20;

/// What a reader made of a snapshot's dump.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DumpReading {
    pub snapshot: SnapshotId,
    /// Version of shoebox that made it.
    pub shoebox: String,
    #[serde(flatten)]
    pub listed: ReadList,
}

/// A library list, and what its reader said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadList {
    /// See [`crate::base::dump::DumpInfo::reader`].
    pub reader: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    pub library: StreamInfo,
}

impl SnapshotRecord {
    /// The record as it was written, without what was read later.
    #[must_use]
    pub fn as_written(mut self) -> SnapshotRecord {
        if let Some(written) = self.written.take() {
            self.put(*written);
        }
        self
    }

    /// The chunks of all that it needs: those of its streams, and of the list that a reading took
    /// the place of.
    pub fn chunks(&self) -> impl Iterator<Item = &StreamChunk> {
        self.streams.chunks().chain(self.written.iter().flat_map(|written| &written.library.chunks))
    }

    /// The same, with `listed` in the place of its own list; unless its own reader knew as much.
    fn read_again(mut self, listed: ReadList) -> SnapshotRecord {
        if listed.reader > self.dump.reader {
            let written = self.put(listed);
            self.written = Some(Box::new(written));
        }
        self
    }

    fn put(&mut self, listed: ReadList) -> ReadList {
        ReadList {
            reader: std::mem::replace(&mut self.dump.reader, listed.reader),
            lacks: std::mem::replace(&mut self.dump.lacks, listed.lacks),
            warnings: std::mem::replace(&mut self.warnings, listed.warnings),
            library: std::mem::replace(&mut self.streams.library, listed.library),
        }
    }
}

impl Repository {
    /// Takes over the reading of the snapshot, where there is one. One that is damaged is none.
    pub(super) fn with_reading(&self, record: SnapshotRecord) -> Result<SnapshotRecord> {
        let json = match store::read_all(&**self.store(), &name(record.id), LIMIT) {
            Ok(json) => json,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Damaged) => {
                return Ok(record);
            }
            Err(error) => return Err(error),
        };
        match serde_json::from_slice::<DumpReading>(&json) {
            Ok(reading) if reading.snapshot == record.id => Ok(record.read_again(reading.listed)),
            _ => Ok(record),
        }
    }

    /// Remembers `reading`, in place of an older one: durable on return.
    pub fn put_reading(&self, reading: &DumpReading) -> Result<()> {
        let json = serde_json::to_vec_pretty(reading)
            .map_err(|error| Error::new(ErrorKind::Io, "writing a reading").caused_by(error))?;
        self.remove_reading(reading.snapshot)?;
        store::write_all(&**self.store(), &name(reading.snapshot), &json)
    }

    /// Forgets the reading of the snapshot `id`.
    pub(super) fn remove_reading(&self, id: SnapshotId) -> Result<()> {
        self.store().delete(&name(id))
    }

    /// The snapshots that have a reading, each with a number that is another when the reading is.
    pub(super) fn readings(&self) -> Result<Vec<(SnapshotId, u32)>> {
        let ids =
            self.store().list("readings")?.into_iter().filter_map(|listed| id_of(&listed.name));
        let read = |id: SnapshotId| match self.record(id) {
            Ok(record) => Ok(record.written.is_some().then_some((id, record.dump.reader))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Damaged) => {
                Ok(None)
            }
            Err(error) => Err(error),
        };
        ids.filter_map(|id| read(id).transpose()).collect()
    }
}

fn name(id: SnapshotId) -> String {
    format!("readings/{id}.json")
}

fn id_of(name: &str) -> Option<SnapshotId> {
    name.strip_prefix("readings/")?.strip_suffix(".json")?.parse().ok()
}
