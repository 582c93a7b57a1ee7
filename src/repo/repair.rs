//! What a repair does to a repository, under the writer's lock.
//!
//! Always holds: nothing is changed in place and nothing is deleted. What takes the place of
//! something is written and durable first; what is of no use any more goes to `damaged/`, where a
//! person may look at it.

use super::lock::RepositoryLock;
use super::record::SnapshotRecord;
use super::repository::Repository;
use super::session::{
    add_archives, archive_names, catch_up, copies, drop_missing_archives, encode, in_transaction,
    prepare,
};
use super::writer::ContentSink;
use crate::base::monitor::SilentMonitor;
use crate::base::{Monitor, Result};
use crate::catalog::{CatalogDraft, ingest, query};

/// The one writer of a repository that is repaired. Unlike a session it does not ask for a catalog.
#[derive(Debug)]
pub struct RepairSession {
    repository: Repository,
    _lock: RepositoryLock,
}

impl RepairSession {
    /// Takes the lock.
    pub fn begin(repository: &Repository, monitor: &dyn Monitor) -> Result<RepairSession> {
        Ok(RepairSession {
            repository: repository.clone(),
            _lock: prepare(repository, "repair", monitor)?,
        })
    }

    /// Writes `shoebox.json` again.
    pub fn write_description(&self) -> Result<()> {
        self.repository.write_description()
    }

    /// Writes `README.txt` again.
    pub fn write_readme(&self) -> Result<()> {
        self.repository.write_readme()
    }

    /// Moves the file `name` to `damaged/`.
    pub fn set_aside(&self, name: &str) -> Result<()> {
        self.repository.set_aside(name)
    }

    /// Writes the record of a snapshot again; a damaged one is kept in `damaged/`.
    pub fn put_record(&self, record: &SnapshotRecord) -> Result<()> {
        self.repository.put_record(record.id, encode(&record.clone().as_written())?.as_bytes())
    }

    /// Where copies go: see [`super::WriteSession::copies`].
    pub fn copies(&self) -> Result<ContentSink> {
        copies(&self.repository)
    }

    /// Brings up to date what the catalog says of archives, and nothing else: it knows snapshots
    /// whose lists are lost.
    pub fn refresh_catalog(&self, monitor: &dyn Monitor) -> Result<()> {
        let generation = self.repository.catalog()?;
        let mut draft = CatalogDraft::copy_of(&generation, &self.repository.scratch("catalog")?)?;
        let claimed = archive_names(&self.repository)?.into_iter().collect();
        let needed = query::archive_names(draft.connection())?.into_keys().collect();
        in_transaction(draft.connection(), |db| {
            drop_missing_archives(&self.repository, db, &SilentMonitor)?;
            add_archives(&self.repository, db, &claimed, &needed, monitor)?;
            ingest::drop_orphans(db)
        })?;
        draft.publish(&self.repository.catalog_path()).map(drop)
    }

    /// Brings the catalog up to date, or rebuilds it.
    pub fn publish_catalog(&self, rebuild: bool, monitor: &dyn Monitor) -> Result<()> {
        let known = self.repository.catalog().ok().filter(|_| !rebuild);
        catch_up(&self.repository, known.as_ref(), monitor).map(drop)
    }
}
