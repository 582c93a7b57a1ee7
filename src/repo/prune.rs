//! Pruning: giving back the space of what no snapshot needs.
//!
//! A snapshot needs what its files show, and every content whose SHA-1 its dump names, whatever
//! lies at that photo's path by now: what Immich vouches for does not age out because the disk was
//! overwritten.
//!
//! An archive that holds nothing that is needed is retired. One that holds a lot that is not needed
//! is rewritten: what is needed is copied, verified, into new archives, these are read back
//! whole, the next catalog is published, and only then is the old one retired. A retired archive
//! lies where it was until its grace period is over; then it is deleted.
//!
//! Always holds: at every moment each remaining snapshot can be read from what is published. A
//! prune that is cut short leaves at most copies, which the next one clears away. An archive of
//! which something that is needed cannot be read is left alone.
//!
//! What was rewritten is not rewritten again: only what gets smaller is, and small archives
//! where many can become one.
//!
//! Limits: the keys of patches are kept for as long as a patch that is needed names them, even
//! where few do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::content::ContentReader;
use super::notes::{NoteKind, RetirementNote};
use super::session::{WriteSession, add_archives, in_transaction};
use super::writer::ContentSink;
use super::{Repository, record_of};
use crate::archive::{ArchiveReader, read_chunk, read_segment};
use crate::base::stored::{ChunkPlace, ContentPlace, IndexLine};
use crate::base::{
    Error, ErrorKind, Hash, Monitor, Phase, Problem, Result, SnapshotId, StopNotice,
};
use crate::catalog::{CatalogDraft, ingest, query};
use crate::store::{Object, Store};

/// How a repository is pruned.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// An archive is rewritten when a larger share of it is not needed, in percent.
    pub max_unused: u8,
    /// How long a retired archive stays.
    pub grace: SignedDuration,
    /// The time that counts as now.
    pub now: Timestamp,
}

/// How much of an archive is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveUse {
    id: i64,
    /// Name below `archives/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Stored bytes of what is needed.
    pub needed: u64,
    /// What headers, padding and index of it take at most.
    overhead: u64,
    /// Stored bytes of contents that the catalog knows there and nothing needs.
    dead: u64,
}

impl ArchiveUse {
    /// Bytes that rewriting it gives back for certain: what was written so has none.
    fn gain(&self) -> u64 {
        self.size
            .saturating_sub(self.needed)
            .saturating_sub(self.overhead)
            .saturating_sub(ENDS)
            .max(self.dead)
    }
}

/// What a member takes besides its bytes: a header, one of pax, padding, a line of the index.
const MEMBER: u64 = 2560;
/// The same of each MiB: its chaining value in the index.
const MEMBER_PER_MIB: u64 = 48;
/// The end of an archive, and what a gain should be worth.
const ENDS: u64 = 8 << 10;
/// An archive below that is small. So many small ones are merged, for each is a file to list and to
/// open.
const SMALL: u64 = 4 << 20;
const MANY: usize = 32;

/// What a prune will do.
#[derive(Debug, Clone, Default)]
pub struct PrunePlan {
    /// Archives that nothing needs.
    pub retire: Vec<ArchiveUse>,
    /// Archives of which too much is not needed, and small ones where there are many.
    pub rewrite: Vec<ArchiveUse>,
    /// Archives that stay as they are.
    pub keep: Vec<ArchiveUse>,
    /// Retired archives whose grace period is over, and their bytes.
    pub delete: Vec<(String, u64)>,
    /// Retired archives that still wait, and their bytes.
    pub waiting: Vec<(String, u64)>,
}

/// What a prune did.
#[derive(Debug, Clone, Default)]
pub struct PruneResult {
    /// Archives that were retired, and their bytes.
    pub retired: Vec<(String, u64)>,
    /// New archives, and their bytes.
    pub written: Vec<(String, u64)>,
    /// Archives that were deleted, and their bytes.
    pub deleted: Vec<(String, u64)>,
}

/// What the snapshots of a catalog need.
struct NeededContents {
    contents: HashSet<i64>,
    chunks: HashSet<Hash>,
}

impl NeededContents {
    /// What the snapshots at `times` (ascending) need.
    fn of(db: &Connection, times: &[i64]) -> Result<NeededContents> {
        let mut chunks = HashSet::new();
        for time in times {
            chunks.extend(record_of(db, *time)?.chunks().map(|chunk| chunk.hash));
        }
        let patches: Vec<Hash> = chunks.iter().copied().collect();
        for hash in patches {
            match query::chunk(db, hash) {
                Ok(row) => chunks.extend(row.keys),
                // What is lost needs nothing.
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                Err(error) => return Err(error),
            }
        }
        Ok(NeededContents { contents: query::needed_contents(db, times)?, chunks })
    }

    /// How much of each archive that is.
    fn uses(&self, db: &Connection) -> Result<Vec<ArchiveUse>> {
        // Stored bytes, and what goes with them.
        let mut needed: HashMap<i64, (u64, u64)> = HashMap::new();
        let mut count = |archive: i64, stored: u64| {
            let (bytes, overhead) = needed.entry(archive).or_default();
            *bytes += stored;
            *overhead += MEMBER + (stored >> 20) * MEMBER_PER_MIB;
        };
        let mut dead: HashMap<i64, u64> = HashMap::new();
        query::stored_contents(db, &mut |content, archive, stored| {
            if self.contents.contains(&content) {
                count(archive, stored)
            } else {
                *dead.entry(archive).or_default() += stored
            }
        })?;
        for hash in &self.chunks {
            match query::chunk(db, *hash) {
                Ok(row) => count(row.archive, row.place.stored),
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                Err(error) => return Err(error),
            }
        }
        let uses = query::archives(db)?.into_iter().map(|archive| {
            let (needed, overhead) = needed.get(&archive.id).copied().unwrap_or_default();
            let dead = dead.get(&archive.id).copied().unwrap_or(0);
            ArchiveUse {
                id: archive.id,
                needed,
                overhead,
                dead,
                name: archive.name,
                size: archive.size,
            }
        });
        Ok(uses.collect())
    }
}

/// How much of each archive the snapshots `kept` need: what is left of a repository when the others
/// are forgotten.
pub fn uses(db: &Connection, kept: &[SnapshotId]) -> Result<Vec<ArchiveUse>> {
    let mut times: Vec<i64> = kept.iter().map(|id| id.seconds()).collect();
    times.sort_unstable();
    NeededContents::of(db, &times)?.uses(db)
}

impl WriteSession {
    /// What a prune would do now.
    pub fn plan_prune(&self, options: &Options) -> Result<PrunePlan> {
        let db = self.generation().connect()?;
        self.plan_with(&db, &NeededContents::of(&db, &times(&db)?)?, options)
    }

    fn plan_with(
        &self,
        db: &Connection,
        needs: &NeededContents,
        options: &Options,
    ) -> Result<PrunePlan> {
        let mut plan = PrunePlan::default();
        let unclaimed = query::unclaimed_archives(db)?;
        let mut small = Vec::new();
        for archive in needs.uses(db)? {
            let most = u128::from(archive.size) * u128::from(options.max_unused) / 100;
            // The next backup goes on from what an interrupted one left.
            let young =
                unclaimed.contains(&archive.id) && !is_over(written_at(&archive.name), options);
            let place = match archive.needed {
                _ if young => &mut plan.keep,
                0 => &mut plan.retire,
                _ if u128::from(archive.gain()) > most => &mut plan.rewrite,
                _ if archive.size < SMALL => &mut small,
                _ => &mut plan.keep,
            };
            place.push(archive);
        }
        if small.len() < MANY { &mut plan.keep } else { &mut plan.rewrite }.append(&mut small);
        let known: HashSet<&str> = [&plan.keep, &plan.retire, &plan.rewrite]
            .into_iter()
            .flatten()
            .map(|archive| archive.name.as_str())
            .collect();
        let notes = self.repository.notes()?;
        let sizes = sizes(&self.repository)?;
        let (mut delete, mut waiting) = (Vec::new(), Vec::new());
        for (name, since) in notes.retired() {
            let Some(size) = sizes.get(name).filter(|_| !known.contains(name)) else { continue };
            let place = if is_over(Some(since), options) { &mut delete } else { &mut waiting };
            place.push((name.to_owned(), *size));
        }
        (plan.delete, plan.waiting) = (delete, waiting);
        Ok(plan)
    }

    /// Prunes. What cannot be read is told to `monitor`, and its archive stays.
    pub fn prune(&mut self, options: &Options, monitor: &dyn Monitor) -> Result<PruneResult> {
        let db = self.generation.connect()?;
        let needs = NeededContents::of(&db, &times(&db)?)?;
        let plan = self.plan_with(&db, &needs, options)?;
        let mut pruned = PruneResult::default();
        if !plan.retire.is_empty() || !plan.rewrite.is_empty() {
            let sink = self.copies()?;
            let copied = self.copy(&db, &needs, &plan, &sink, monitor)?;
            let written = sink.finish()?;
            for archive in &written.archives {
                verify(&self.repository, &db, &archive.name)?;
                pruned.written.push((archive.name.clone(), archive.size));
            }
            drop(db);
            let names = written.archives.into_iter().map(|archive| archive.name).collect();
            pruned.retired =
                self.retire(plan.retire.into_iter().chain(copied).collect(), &names, monitor)?;
        }
        pruned.deleted = self.delete_retired(options)?;
        Ok(pruned)
    }

    /// Copies what is needed of the archives that are rewritten; those of which all was copied.
    fn copy(
        &self,
        db: &Connection,
        needs: &NeededContents,
        plan: &PrunePlan,
        sink: &ContentSink,
        monitor: &dyn Monitor,
    ) -> Result<Vec<ArchiveUse>> {
        let bytes = plan.rewrite.iter().map(|archive| archive.needed).sum();
        monitor.begin(Phase::Prune, None, Some(bytes));
        let copy = MemberCopier {
            db,
            needs,
            sink,
            contents: &self.repository.contents(),
            store: &**self.repository.store(),
            monitor,
        };
        let mut whole = Vec::new();
        for archive in &plan.rewrite {
            if copy.archive(archive)? {
                whole.push(archive.clone());
            }
        }
        Ok(whole)
    }

    /// Publishes the catalog without `archives`, then notes that they are retired.
    fn retire(
        &mut self,
        archives: Vec<ArchiveUse>,
        written: &HashSet<String>,
        monitor: &dyn Monitor,
    ) -> Result<Vec<(String, u64)>> {
        let mut draft =
            CatalogDraft::copy_of(&self.generation, &self.repository.scratch("catalog")?)?;
        let retired = in_transaction(draft.connection(), |db| {
            ingest::remove_dead_rows(db)?;
            add_archives(&self.repository, db, written, written, monitor)?;
            let needs = NeededContents::of(db, &times(db)?)?;
            let still = needs.uses(db)?;
            let mut retired = Vec::new();
            for archive in archives {
                let needed = still.iter().any(|other| other.id == archive.id && other.needed > 0);
                if !needed && ingest::retire_archive(db, archive.id)? {
                    retired.push((archive.name, archive.size));
                }
            }
            ingest::drop_orphans(db)?;
            Ok(retired)
        })?;
        self.generation = draft.publish(&self.repository.catalog_path())?;
        let names: BTreeSet<String> = retired.iter().map(|(name, _)| name.clone()).collect();
        if !names.is_empty() {
            self.repository.add_note(NoteKind::Retirement(RetirementNote {
                archives: names,
                by: "prune".to_owned(),
            }))?;
        }
        Ok(retired)
    }

    /// Deletes retired archives whose grace period is over, and then the notes that named them.
    fn delete_retired(&self, options: &Options) -> Result<Vec<(String, u64)>> {
        let db = self.generation.connect()?;
        let known: HashSet<String> = query::archive_names(&db)?.into_keys().collect();
        let sizes = sizes(&self.repository)?;
        let mut deleted = Vec::new();
        for (name, note) in self.repository.notes()?.list {
            let NoteKind::Retirement(retirement) = &note.what else { continue };
            if !is_over(Some(note.time), options) {
                continue;
            }
            for archive in retirement.archives.iter().filter(|archive| !known.contains(*archive)) {
                if let Some(size) = sizes.get(archive) {
                    self.repository.store().delete(&format!("archives/{archive}"))?;
                    deleted.push((archive.clone(), *size));
                }
            }
            self.repository.remove_note(&name)?;
        }
        Ok(deleted)
    }
}

/// Copies members of old archives.
struct MemberCopier<'a> {
    db: &'a Connection,
    needs: &'a NeededContents,
    sink: &'a ContentSink,
    contents: &'a ContentReader,
    store: &'a dyn Store,
    monitor: &'a dyn Monitor,
}

impl MemberCopier<'_> {
    /// Copies what is needed of `archive`; true when that was all there.
    fn archive(&self, archive: &ArchiveUse) -> Result<bool> {
        let object = self.store.open(&format!("archives/{}", archive.name))?;
        let lines = match ArchiveReader::open(object).and_then(|reader| reader.lines()) {
            Ok(lines) => lines,
            Err(error) if error.kind() == ErrorKind::Damaged => {
                self.damaged(archive, &error);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let object = self.store.open(&format!("archives/{}", archive.name))?;
        let mut whole = true;
        for line in &lines {
            StopNotice::starts_over("stopped; nothing was deleted").check(self.monitor)?;
            match self.line(archive, &*object, line) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    self.damaged(archive, &error);
                    whole = false;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }

    fn line(&self, archive: &ArchiveUse, from: &dyn Object, line: &IndexLine) -> Result<()> {
        match line {
            IndexLine::Content(content) => {
                let Some(id) = query::content_id(self.db, content.content)? else { return Ok(()) };
                let (holder, place) = query::content_place(self.db, id)?;
                let here = holder == archive.id && place.offset == content.offset;
                if here && self.needs.contents.contains(&id) {
                    self.sink.copy_content(from, content)?;
                    self.monitor.advance(1, content.stored);
                }
            }
            IndexLine::Chunk(chunk) if self.needs.chunks.contains(&chunk.chunk) => {
                let row = query::chunk(self.db, chunk.chunk)?;
                if row.archive == archive.id && row.place.offset == chunk.offset {
                    let prefix = prefix(self.contents, self.db, &chunk.keys)?;
                    self.sink.copy_chunk(from, chunk, &prefix)?;
                    self.monitor.advance(0, chunk.stored);
                }
            }
            IndexLine::Chunk(_) => {}
        }
        Ok(())
    }

    fn damaged(&self, archive: &ArchiveUse, error: &Error) {
        let message = format!("it is left as it is: {error}");
        self.monitor.problem(Problem { subject: format!("archives/{}", archive.name), message });
    }
}

/// What the key chunks `keys` make.
fn prefix(contents: &ContentReader, db: &Connection, keys: &[Hash]) -> Result<Vec<u8>> {
    let mut prefix = Vec::new();
    for key in keys {
        prefix.extend_from_slice(&contents.chunk(db, *key)?);
    }
    Ok(prefix)
}

/// Reads a new archive back whole. Key chunks are those that `db` knows: a copy is the same.
fn verify(repository: &Repository, db: &Connection, name: &str) -> Result<()> {
    let open = || repository.store().open(&format!("archives/{name}"));
    let (lines, object, contents) =
        (ArchiveReader::open(open()?)?.lines()?, open()?, repository.contents());
    for line in &lines {
        match line {
            IndexLine::Content(line) => {
                let place = ContentPlace::from(line);
                (0..place.segments())
                    .try_for_each(|index| read_segment(&*object, &place, index).map(drop))?;
            }
            IndexLine::Chunk(line) => {
                read_chunk(&*object, &ChunkPlace::from(line), &prefix(&contents, db, &line.keys)?)?;
            }
        }
    }
    Ok(())
}

fn times(db: &Connection) -> Result<Vec<i64>> {
    Ok(query::snapshot::ids(db)?.into_iter().map(SnapshotId::seconds).collect())
}

/// When the archive called `name` was written.
fn written_at(name: &str) -> Option<Timestamp> {
    let id = name.rsplit('/').next()?.rsplit_once('-')?.0;
    Some(id.parse::<SnapshotId>().ok()?.time())
}

fn is_over(since: Option<Timestamp>, options: &Options) -> bool {
    // What was retired in this very run is later than its beginning.
    options.grace.is_zero()
        || since.is_some_and(|since| options.now.duration_since(since) >= options.grace)
}

/// Bytes of every archive that is there, by name.
fn sizes(repository: &Repository) -> Result<BTreeMap<String, u64>> {
    let listed = repository.store().list("archives")?.into_iter();
    Ok(listed
        .filter_map(|listed| Some((listed.name.strip_prefix("archives/")?.to_owned(), listed.size)))
        .collect())
}
