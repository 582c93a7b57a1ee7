//! A snapshot's database dump.

use std::io::Read;

use super::open::{find_snapshot, open_view};
use crate::base::{Error, Result, SnapshotId};
use crate::catalog::Catalog;
use crate::repo::{ContentReader, Repository, SnapshotRecord, StreamReader, record_of};
use crate::view;

/// A snapshot of which the dump is wanted.
pub(super) struct SnapshotDump {
    pub id: SnapshotId,
    pub record: SnapshotRecord,
    catalog: Catalog,
    contents: ContentReader,
}

impl SnapshotDump {
    /// The snapshot that `name` names.
    pub fn open(repository: &Repository, name: &str) -> Result<SnapshotDump> {
        let view = open_view(repository, view::Options::default())?;
        let id = find_snapshot(&view, name)?.0;
        let catalog = repository.catalog()?.connect()?;
        let record = record_of(&catalog, id.seconds())?;
        Ok(SnapshotDump { id, record, catalog, contents: repository.contents() })
    }

    /// The dump's bytes, verified as they are read.
    pub fn reader(&self) -> StreamReader<'_, &Catalog> {
        StreamReader::new(&self.catalog, &self.contents, &self.record.streams.dump)
    }
}

/// Hands the dump of the snapshot that `name` names to `each`, piece by piece, verified.
pub fn dump(
    repository: &Repository,
    name: &str,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let dump = SnapshotDump::open(repository, name)?;
    let mut reader = dump.reader();
    let mut piece = vec![0; 1 << 20];
    loop {
        match reader.read(&mut piece).map_err(|error| {
            Error::damaged(format_args!("the dump of {}", dump.id)).caused_by(error)
        })? {
            0 => return Ok(()),
            len => each(&piece[..len])?,
        }
    }
}
