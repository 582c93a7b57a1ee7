//! Bringing in snapshots of the past, before those that there are.
//!
//! Always holds: as with a backup, the record comes last, when all that it names is safe on disk
//! and was read back. A snapshot of the past shows as soon as the catalog has it, and that tells
//! each snapshot by its difference to the one before: it is rebuilt at the end
//! ([`WriteSession::take_in`]). Whoever is cut short leaves records that the catalog lacks, and the next
//! writer rebuilds it.

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;

use super::content::ContentReader;
use super::record::{SnapshotRecord, StreamInfo};
use super::repository::record_name;
use super::session::{
    WriteSession, catch_up, copy_time, encode, in_transaction, index_of, new_draft, next_free,
};
use super::stream::StreamReader;
use super::writer::{ContentSink, WrittenArchives};
use crate::base::stored::IndexLine;
use crate::base::{Context, Error, ErrorKind, Hash, Monitor, Result, SnapshotId};
use crate::catalog::{CatalogDraft, Generation, ingest, query};
use crate::store;

/// Snapshots that are being brought in.
#[derive(Debug)]
pub struct ImportSession<'a> {
    session: &'a WriteSession,
    contents: ContentReader,
    /// A catalog of our own, which knows streams and nothing else: those that are brought in too.
    known: ScratchGeneration,
    /// What the new archives are called by.
    time: SnapshotId,
    /// The last that was given, and all that are taken.
    last: u16,
    taken: HashSet<u16>,
}

/// A generation that goes with whoever made it.
#[derive(Debug)]
struct ScratchGeneration {
    generation: Generation,
    path: PathBuf,
}

impl Drop for ScratchGeneration {
    fn drop(&mut self) {
        // What stays is thrown away by the next writer.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl WriteSession {
    /// Begins to bring in snapshots of the past. Refused where the catalog could not be rebuilt:
    /// it may be all that is left of a snapshot whose lists are damaged.
    pub fn past(&self) -> Result<ImportSession<'_>> {
        let db = self.generation.connect()?;
        let contents = self.repository.contents();
        self.refuse_lost_lists(&db, &contents)?;
        let mut draft = new_draft(&self.repository, &self.repository.scratch("catalog")?)?;
        in_transaction(draft.connection(), |draft| ingest::copy_streams(&db, draft))?;
        let known = self.scratch(draft)?;
        Ok(ImportSession {
            session: self,
            contents,
            known,
            time: copy_time(&self.repository)?,
            last: query::snapshot::last_number(&db)?,
            taken: self.numbers()?,
        })
    }

    /// Rebuilds the catalog, with the snapshots that were brought in: durable on return.
    pub fn take_in(&mut self, monitor: &dyn Monitor) -> Result<()> {
        self.generation = catch_up(&self.repository, Some(&self.generation), monitor)?;
        Ok(())
    }

    fn refuse_lost_lists(&self, db: &rusqlite::Connection, contents: &ContentReader) -> Result<()> {
        let mut seen = HashSet::new();
        for id in query::snapshot::ids(db)? {
            let streams = super::record_of(db, id.seconds())?.streams;
            let chunks = streams.files.chunks.iter().chain(&streams.library.chunks);
            for chunk in chunks.filter(|chunk| seen.insert(chunk.hash)) {
                contents.chunk(db, chunk.hash).map_err(|error| match error.kind() {
                    ErrorKind::Damaged => Error::new(
                        ErrorKind::Refused,
                        format_args!("the lists of snapshot {id} are damaged"),
                    )
                    .caused_by(error)
                    .hint("nothing was imported; `shoebox repair` shows what can be repaired"),
                    _ => error,
                })?;
            }
        }
        Ok(())
    }

    fn scratch(&self, draft: CatalogDraft) -> Result<ScratchGeneration> {
        let path = self.repository.scratch("catalog")?;
        let generation = draft.publish(&path)?;
        Ok(ScratchGeneration { generation, path })
    }
}

impl ImportSession<'_> {
    /// What is known of streams, those that were brought in too.
    pub fn generation(&self) -> &Generation {
        &self.known.generation
    }

    /// Reads them.
    pub fn contents(&self) -> &ContentReader {
        &self.contents
    }

    /// Where the new bytes of one snapshot go.
    pub fn sink(&self) -> ContentSink {
        self.session.sink(self.time)
    }

    /// Makes the snapshot `record`, of which all is in the archives `written` or was there before;
    /// its dump has the hash `dump`. All its streams are read back first. Durable on return; the
    /// number is filled in.
    pub fn commit(
        &mut self,
        record: SnapshotRecord,
        written: &WrittenArchives,
        dump: Hash,
    ) -> Result<SnapshotRecord> {
        self.learn(written)?;
        let number = next_free(self.last, &self.taken)?;
        let record = SnapshotRecord { number, ..record };
        let back = self.read_back(&record.streams.dump)?;
        if back != dump {
            return Err(Error::damaged("a dump that was just written is another one"));
        }
        self.read_back(&record.streams.files)?;
        self.read_back(&record.streams.library)?;
        let store = self.session.repository.store();
        store::write_all(&**store, &record_name(record.id), encode(&record)?.as_bytes())?;
        self.last = number;
        self.taken.insert(number);
        Ok(record)
    }

    fn learn(&mut self, written: &WrittenArchives) -> Result<()> {
        let repository = &self.session.repository;
        let mut draft =
            CatalogDraft::copy_of(&self.known.generation, &repository.scratch("catalog")?)?;
        in_transaction(draft.connection(), |db| {
            for archive in &written.archives {
                let (mut lines, size, hash) = index_of(repository, &archive.name)?;
                lines.retain(|line| matches!(line, IndexLine::Chunk(_)));
                ingest::add_archive(db, &archive.name, size, hash, &lines, false)?;
            }
            Ok(())
        })?;
        self.known = self.session.scratch(draft)?;
        Ok(())
    }

    /// The hash of the stream's bytes, as they are in the archives.
    fn read_back(&self, stream: &StreamInfo) -> Result<Hash> {
        let mut reader =
            StreamReader::new(self.known.generation.connect()?, &self.contents, stream);
        let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; 1 << 20]);
        loop {
            match reader.read(&mut piece).context(|| "reading back what was written")? {
                0 => return Ok(Hash(*hasher.finalize().as_bytes())),
                len => drop(hasher.update(&piece[..len])),
            }
        }
    }
}
