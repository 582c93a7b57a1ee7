//! A writer at work: holds the lock, brings the catalog up to date, publishes the next generation.
//!
//! Bringing up to date and rebuilding are the same walk: archives that the catalog does not know,
//! then snapshots that it does not know, oldest first. A crash between any two steps of a backup is
//! repaired by the next session.

use std::collections::HashSet;
use std::fs;

use rusqlite::Connection;
use serde::de::DeserializeOwned;

use super::content::ContentReader;
use super::lock::RepositoryLock;
use super::notes::NoteKind;
use super::record::{Completeness, SnapshotRecord, SnapshotStreams, StreamChunk, StreamInfo};
use super::repository::{Repository, is_scratch, record_name};
use super::stream::StreamReader;
use super::writer::{ContentSink, WrittenArchives};
use crate::archive::ArchiveReader;
use crate::base::file::FileEntry;
use crate::base::library::LibraryRecord;
use crate::base::monitor::ProblemCollector;
use crate::base::stored::IndexLine;
use crate::base::{Context, Error, ErrorKind, Hash, Monitor, Phase, Problem, Result, SnapshotId};
use crate::catalog::Catalog;
use crate::catalog::{CatalogDraft, Generation, ingest, query};
use crate::store;

/// The one writer of a repository.
#[derive(Debug)]
pub struct WriteSession {
    pub(super) repository: Repository,
    pub(super) generation: Generation,
    _lock: RepositoryLock,
}

impl WriteSession {
    /// Takes the lock for `doing` and brings the catalog up to date; a missing or damaged one is
    /// rebuilt.
    pub fn begin(
        repository: &Repository,
        doing: &str,
        monitor: &dyn Monitor,
    ) -> Result<WriteSession> {
        let lock = prepare(repository, doing, monitor)?;
        let generation = up_to_date(repository, monitor).or_else(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::Damaged | ErrorKind::Unsupported => {
                catch_up(repository, None, monitor)
            }
            _ => Err(error),
        })?;
        Ok(WriteSession { repository: repository.clone(), generation, _lock: lock })
    }

    /// Takes the lock and rebuilds the catalog from archives and snapshots.
    pub fn rebuild(repository: &Repository, monitor: &dyn Monitor) -> Result<WriteSession> {
        let lock = prepare(repository, "repair catalog", monitor)?;
        let generation = catch_up(repository, None, monitor)?;
        Ok(WriteSession { repository: repository.clone(), generation, _lock: lock })
    }

    /// The catalog as it is now.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Forgets the snapshots `ids`: their records are deleted, durably, and the next generation of
    /// the catalog has them no more. What only they needed stays until a prune.
    pub fn forget(&mut self, ids: &[SnapshotId], monitor: &dyn Monitor) -> Result<()> {
        for id in ids {
            self.repository.store().delete(&record_name(*id))?;
            self.repository.remove_reading(*id)?;
        }
        self.generation = catch_up(&self.repository, Some(&self.generation), monitor)?;
        Ok(())
    }

    /// The number of the next snapshot: the next free one after the last that was given, and after
    /// the highest the lowest, so that one that was forgotten is not used again for as long as can
    /// be.
    pub fn next_number(&self) -> Result<u16> {
        next_free(query::snapshot::last_number(&*self.generation.connect()?)?, &self.numbers()?)
    }

    /// The numbers of all snapshots that are there, of those too that the catalog could not take.
    pub(super) fn numbers(&self) -> Result<HashSet<u16>> {
        let db = self.generation.connect()?;
        let mut numbers = query::snapshot::numbers(&db)?;
        let known: HashSet<SnapshotId> = query::snapshot::ids(&db)?.into_iter().collect();
        let others = self.repository.snapshot_ids()?.into_iter().filter(|id| !known.contains(id));
        numbers.extend(
            others.filter_map(|id| self.repository.record(id).ok()).map(|record| record.number),
        );
        Ok(numbers)
    }

    /// Where the new bytes of snapshot `id` go.
    pub fn sink(&self, id: SnapshotId) -> ContentSink {
        ContentSink::new(self.repository.store().clone(), id)
    }

    /// Where what is copied out of older archives goes: its archives are named by the time of the
    /// copying, and later than all archives and snapshots that there are, whatever the clock says.
    /// The catalog prefers the newer of two copies, and no name that a record or a reader knows is
    /// used for another archive.
    pub fn copies(&self) -> Result<ContentSink> {
        copies(&self.repository)
    }

    /// Tries the snapshot `record`, whose archives are all published: fills in how complete it is.
    /// Nothing shows of it until [`WriteSession::commit`].
    pub fn stage(
        &self,
        mut record: SnapshotRecord,
        written: &WrittenArchives,
    ) -> Result<StagedSnapshot> {
        let mut draft =
            CatalogDraft::copy_of(&self.generation, &self.repository.scratch("catalog")?)?;
        let claimed = written.archives.iter().map(|archive| archive.name.clone()).collect();
        let unreadable = ProblemCollector::default();
        in_transaction(draft.connection(), |db| {
            add_archives(&self.repository, db, &claimed, &claimed, &unreadable)?;
            add_row(db, &record, &encode(&record)?)
        })?;
        // A snapshot must not claim what cannot be read back.
        if let Some(Problem { subject, message }) = unreadable.problems().into_iter().next() {
            return Err(Error::damaged(format_args!("{subject}, just written: {message}")));
        }
        let files = ingest_snapshot(&self.repository, draft.connection(), &record)?;
        if query::shows_lost_content(draft.connection())? {
            return Err(Error::damaged("a file of this snapshot is in no archive"));
        }
        record.completeness = Completeness {
            present: files.present,
            moved: files.moved,
            missing: files.missing,
            missing_names: files.missing_names,
            not_covered: files.not_covered,
            unreadable: record.completeness.unreadable,
            changed: files.changed,
        };
        Ok(StagedSnapshot { draft, record })
    }

    /// Makes the snapshot: writes its record, publishes the catalog. Durable on return.
    pub fn commit(self, staged: StagedSnapshot) -> Result<SnapshotRecord> {
        let StagedSnapshot { mut draft, record } = staged;
        let json = encode(&record)?;
        add_row(draft.connection(), &record, &json)?;
        ingest::clear_seen(draft.connection())?;
        store::write_all(&**self.repository.store(), &record_name(record.id), json.as_bytes())?;
        draft.publish(&self.repository.catalog_path())?;
        Ok(record)
    }
}

/// The next number after `last` that is not `taken`; after the highest comes 1.
pub(super) fn next_free(last: u16, taken: &HashSet<u16>) -> Result<u16> {
    let numbers = (last..=u16::MAX).skip(1).chain(1..=last);
    numbers.into_iter().find(|number| !taken.contains(number)).ok_or_else(|| {
        Error::new(ErrorKind::Refused, "the repository has 65,535 snapshots, its most").hint(
            "forget some: `shoebox forget --keep-daily 30 --keep-monthly unlimited --apply`, or \
                with rules of your own",
        )
    })
}

/// See [`WriteSession::copies`].
pub(super) fn copies(repository: &Repository) -> Result<ContentSink> {
    Ok(ContentSink::new(repository.store().clone(), copy_time(repository)?))
}

/// When the backup began that made the archive `name`.
pub fn time_of(name: &str) -> Option<SnapshotId> {
    name.rsplit_once('/')?.1.rsplit_once('-')?.0.parse().ok()
}

/// What new archives are called by that are no backup's.
pub(super) fn copy_time(repository: &Repository) -> Result<SnapshotId> {
    let listed = repository.store().list("archives")?;
    let archives = listed.iter().filter_map(|listed| time_of(&listed.name));
    let newest = archives.chain(repository.snapshot_ids()?).max();
    let now = SnapshotId::at(jiff::Timestamp::now());
    match newest.filter(|newest| *newest >= now) {
        None => Ok(now),
        Some(newest) => SnapshotId::from_seconds(newest.seconds().saturating_add(1)),
    }
}

/// A snapshot that is all there but for its record.
#[derive(Debug)]
pub struct StagedSnapshot {
    draft: CatalogDraft,
    record: SnapshotRecord,
}

impl StagedSnapshot {
    /// What its record will say.
    pub fn record(&self) -> &SnapshotRecord {
        &self.record
    }

    /// Adds to its alarm what is known only now.
    pub fn add_alarm(&mut self, alarm: Vec<String>) {
        self.record.alarm.extend(alarm);
    }

    /// The catalog with it.
    pub fn catalog(&self) -> &Catalog {
        self.draft.reader()
    }
}

pub(super) fn encode(record: &SnapshotRecord) -> Result<String> {
    serde_json::to_string_pretty(record)
        .map_err(|error| Error::new(ErrorKind::Io, "writing a snapshot record").caused_by(error))
}

pub(super) fn prepare(
    repository: &Repository,
    doing: &str,
    monitor: &dyn Monitor,
) -> Result<RepositoryLock> {
    let lock =
        RepositoryLock::wait(&repository.lock_path(), doing, repository.patience(), monitor)?;
    // What follows leans on what is there.
    repository.store().settle()?;
    let tmp = repository.root().join("tmp");
    if tmp.is_symlink() {
        return Err(Error::new(ErrorKind::Refused, format_args!("{} is a symlink", tmp.display()))
            .hint(
                "what a backup left there is deleted; look at where it leads, and take the link \
                away",
            ));
    }
    // What an interrupted writer left is of no use: nothing of it was published.
    match fs::read_dir(&tmp) {
        Ok(entries) => entries
            .flatten()
            .filter(|entry| is_scratch(&entry.file_name()))
            .for_each(|entry| drop(fs::remove_file(entry.path()))),
        Err(_) => fs::create_dir(&tmp).context(|| format!("creating {}", tmp.display()))?,
    }
    Ok(lock)
}

/// The catalog with all that the store holds.
fn up_to_date(repository: &Repository, monitor: &dyn Monitor) -> Result<Generation> {
    let generation = repository.catalog()?;
    generation.verify()?;
    if is_current(repository, &generation, monitor)? {
        Ok(generation)
    } else {
        catch_up(repository, Some(&generation), monitor)
    }
}

fn is_current(
    repository: &Repository,
    generation: &Generation,
    monitor: &dyn Monitor,
) -> Result<bool> {
    let db = generation.connect()?;
    let names: HashSet<String> = query::archive_names(&db)?.into_keys().collect();
    let (mut known, there) = (query::snapshot::ids(&db)?, repository.present_ids()?);
    for id in query::snapshot::unreadable(&db)?.into_iter().filter(|id| there.contains(id)) {
        if is_readable_again(repository, &db, id) {
            return Ok(false);
        }
        monitor.problem(Problem {
            subject: format!("snapshot {id}"),
            message: "it cannot be read; to silence this, move its file out of snapshots/"
                .to_owned(),
        });
        known.push(id);
    }
    known.sort();
    let has_readings = readings_of(&db)? == readings_in_use(repository)?;
    Ok(known == there
        && has_readings
        && names == archives_in_use(repository)?.into_iter().collect())
}

/// True when a snapshot that could not be read can be: what its lists lacked was stored again
/// since.
fn is_readable_again(repository: &Repository, db: &Connection, id: SnapshotId) -> bool {
    let contents = repository.contents();
    repository.record(id).is_ok_and(|record| {
        let mut lists = record.streams.files.chunks.iter().chain(&record.streams.library.chunks);
        lists.all(|chunk| contents.chunk(db, chunk.hash).is_ok())
    })
}

/// Every archive that is there, by name.
pub(super) fn archive_names(repository: &Repository) -> Result<Vec<String>> {
    let listed = repository.store().list("archives")?;
    let names = listed
        .into_iter()
        .filter_map(|listed| Some(listed.name.strip_prefix("archives/")?.to_owned()));
    Ok(names.filter(|name| name.ends_with(".tar")).collect())
}

/// The archives that count: those that wait for their deletion are left aside.
fn archives_in_use(repository: &Repository) -> Result<Vec<String>> {
    let notes = repository.notes()?;
    let retired = notes.retired();
    Ok(archive_names(repository)?
        .into_iter()
        .filter(|name| !retired.contains_key(name.as_str()))
        .collect())
}

/// The next generation, with all that the store holds; from nothing when `known` is `None`.
/// Archives that wait for their deletion are taken back where something is lost without them.
pub(super) fn catch_up(
    repository: &Repository,
    known: Option<&Generation>,
    monitor: &dyn Monitor,
) -> Result<Generation> {
    let needed = match known {
        Some(generation) => query::archive_names(&*generation.connect()?)?.into_keys().collect(),
        None => HashSet::new(),
    };
    let next = catch_up_without_retired(repository, known, &needed, monitor)?;
    if !is_missed(repository, &next)? {
        Ok(next)
    } else {
        reinstate(repository, monitor)?;
        catch_up_without_retired(repository, None, &needed, monitor)
    }
}

/// True when archives wait for their deletion, and something is lost that they may hold.
fn is_missed(repository: &Repository, generation: &Generation) -> Result<bool> {
    let notes = repository.notes()?;
    let there: HashSet<String> = archive_names(repository)?.into_iter().collect();
    let db = generation.connect()?;
    Ok(notes.retired().keys().any(|name| there.contains(*name)) && lacks_something(&db)?)
}

/// True when a snapshot cannot be read whole by what the catalog knows.
fn lacks_something(db: &Connection) -> Result<bool> {
    if query::lacks_content(db)? || !query::snapshot::unreadable(db)?.is_empty() {
        return Ok(true);
    }
    for id in query::snapshot::ids(db)? {
        for chunk in super::record_of(db, id.seconds())?.chunks() {
            if !query::has_chunk(db, chunk.hash)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Lets every archive that waits for its deletion count again.
fn reinstate(repository: &Repository, monitor: &dyn Monitor) -> Result<()> {
    for (name, note) in &repository.notes()?.list {
        if let NoteKind::Retirement(retirement) = &note.what {
            repository.remove_note(name)?;
            let message =
                "something is lost without it: it is not deleted, and counts again".to_owned();
            let problem = |archive: &String| Problem {
                subject: format!("archives/{archive}"),
                message: message.clone(),
            };
            retirement.archives.iter().map(problem).for_each(|problem| monitor.problem(problem));
        }
    }
    Ok(())
}

fn catch_up_without_retired(
    repository: &Repository,
    known: Option<&Generation>,
    needed: &HashSet<String>,
    monitor: &dyn Monitor,
) -> Result<Generation> {
    monitor.begin(Phase::Catalog, None, None);
    let path = repository.scratch("catalog")?;
    let known = match known {
        Some(generation) if extends(repository, generation)? => Some(generation),
        _ => None,
    };
    let mut draft = match known {
        Some(generation) => CatalogDraft::copy_of(generation, &path)?,
        None => new_draft(repository, &path)?,
    };
    in_transaction(draft.connection(), |db| {
        drop_missing_snapshots(repository, db)?;
        let records = new_records(repository, db, monitor)?;
        let claimed = records
            .iter()
            .flat_map(|record| record.archives.iter().map(|archive| archive.name.clone()))
            .collect();
        drop_missing_archives(repository, db, monitor)?;
        add_archives(repository, db, &claimed, needed, monitor)?;
        ingest::drop_orphans(db)
    })?;
    if known.is_some() && !has_newest_lists(draft.connection())? {
        // What comes next is told by its difference to lists that are lost: start over, without
        // that snapshot.
        drop(draft);
        return catch_up_without_retired(repository, None, needed, monitor);
    }
    for record in new_records(repository, draft.connection(), monitor)? {
        take_in(repository, draft.connection(), &record, monitor)?;
        monitor.advance(1, 0);
    }
    ingest::set_meta(draft.connection(), READINGS, &readings_in_use(repository)?)?;
    draft.publish(&repository.catalog_path())
}

/// The key of the catalog's `meta` under which it says which readings it has taken in.
const READINGS: &str = "readings";

/// The readings that the catalog has taken in, of snapshots that it knows.
fn readings_of(db: &Connection) -> Result<String> {
    let known: HashSet<String> =
        query::snapshot::ids(db)?.iter().map(SnapshotId::to_string).collect();
    let all = query::meta(db, READINGS)?.unwrap_or_default();
    let there = all
        .split_whitespace()
        .filter(|one| one.split('/').next().is_some_and(|id| known.contains(id)));
    Ok(there.collect::<Vec<_>>().join(" "))
}

/// The readings of snapshots that are there.
fn readings_in_use(repository: &Repository) -> Result<String> {
    let all = repository.readings()?;
    Ok(all.iter().map(|(id, reader)| format!("{id}/{reader}")).collect::<Vec<_>>().join(" "))
}

/// Takes in one snapshot. One whose lists are lost is a problem, and is remembered as such.
fn take_in(
    repository: &Repository,
    db: &mut Connection,
    record: &SnapshotRecord,
    monitor: &dyn Monitor,
) -> Result<()> {
    let added = in_transaction(db, |db| add_row(db, record, &encode(record)?));
    match added.and_then(|()| ingest_snapshot(repository, db, record)) {
        Ok(_) => Ok(()),
        // Without the list that was read later it is what it was before.
        Err(error)
            if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound)
                && record.written.is_some() =>
        {
            in_transaction(db, |db| ingest::remove_newest(db, record.id.seconds()))?;
            take_in(repository, db, &record.clone().as_written(), monitor)
        }
        Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
            monitor.problem(Problem {
                subject: format!("snapshot {}", record.id),
                message: describe(&error),
            });
            in_transaction(db, |db| {
                ingest::remove_newest(db, record.id.seconds())?;
                ingest::add_unreadable(db, record.id.seconds())
            })
        }
        Err(error) => Err(error),
    }
}

fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

pub(super) fn new_draft(repository: &Repository, path: &std::path::Path) -> Result<CatalogDraft> {
    let mut draft = CatalogDraft::create(path)?;
    let lineage = uuid::Uuid::new_v4().to_string();
    for (key, value) in [("repository", repository.id().to_string()), ("lineage", lineage)] {
        ingest::set_meta(draft.connection(), key, &value)?;
    }
    Ok(draft)
}

/// True when the catalog can be brought up to date without starting over: it is of this repository,
/// its newest snapshot is still there, and what it lacks is newer.
fn extends(repository: &Repository, generation: &Generation) -> Result<bool> {
    let db = generation.connect()?;
    let own = query::meta(&db, "repository")?.unwrap_or_default();
    let (known, there) = (query::snapshot::ids(&db)?, repository.present_ids()?);
    let newest = known.last().copied();
    let mut unreadable = query::snapshot::unreadable(&db)?;
    unreadable.retain(|id| !is_readable_again(repository, &db, *id));
    let is_new = |id: &&SnapshotId| !known.contains(id) && !unreadable.contains(id);
    let in_order = there.iter().filter(is_new).all(|id| Some(*id) > newest);
    let has_newest = newest.is_none_or(|newest| there.contains(&newest))
        && readings_of(&db)? == readings_in_use(repository)?;
    Ok(own == repository.id().to_string() && in_order && has_newest)
}

fn drop_missing_snapshots(repository: &Repository, db: &Connection) -> Result<()> {
    let there: HashSet<SnapshotId> = repository.present_ids()?.into_iter().collect();
    let known = query::snapshot::ids(db)?.into_iter().chain(query::snapshot::unreadable(db)?);
    for id in known.filter(|id| !there.contains(id)) {
        ingest::remove_snapshot(db, id.seconds())?;
    }
    Ok(())
}

pub(super) fn drop_missing_archives(
    repository: &Repository,
    db: &Connection,
    monitor: &dyn Monitor,
) -> Result<()> {
    let notes = repository.notes()?;
    let retired = notes.retired();
    let there: HashSet<String> = archives_in_use(repository)?.into_iter().collect();
    let mut is_less = false;
    for (name, id) in
        query::archive_names(db)?.into_iter().filter(|(name, _)| !there.contains(name))
    {
        if !retired.contains_key(name.as_str()) {
            is_less = true;
            monitor.problem(Problem {
                subject: format!("archives/{name}"),
                message: "the archive is missing; photos that only it held are stored again when \
                    they are still there"
                    .to_owned(),
            });
        }
        ingest::forget_archive(db, id)?;
    }
    if is_less { fill_in(repository, db) } else { Ok(()) }
}

/// Finds other copies of what was in archives that are gone: the newest archive that holds one
/// counts.
fn fill_in(repository: &Repository, db: &Connection) -> Result<()> {
    let mut known: Vec<(String, i64)> = query::archive_names(db)?.into_iter().collect();
    known.sort();
    for (name, id) in known.into_iter().rev() {
        // One that cannot be read is told elsewhere.
        if let Ok((lines, ..)) = index_of(repository, &name) {
            ingest::add_lines(db, id, &lines)?;
        }
    }
    Ok(())
}

/// What the archive called `name` holds, its size, and the hash of its index.
pub(super) fn index_of(repository: &Repository, name: &str) -> Result<(Vec<IndexLine>, u64, Hash)> {
    let archive = ArchiveReader::open(repository.store().open(&format!("archives/{name}"))?)?;
    Ok((archive.lines()?, archive.size(), archive.hash()))
}

/// True when some archive holds every chunk of the newest snapshot's lists.
fn has_newest_lists(db: &Connection) -> Result<bool> {
    let Some(newest) = query::snapshot::before(db, i64::MAX)? else { return Ok(true) };
    let streams = super::record_of(db, newest)?.streams;
    for chunk in streams.files.chunks.iter().chain(&streams.library.chunks) {
        if !query::has_chunk(db, chunk.hash)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Records of snapshots that the catalog does not know, oldest first. One that cannot be read is a
/// problem.
fn new_records(
    repository: &Repository,
    db: &Connection,
    monitor: &dyn Monitor,
) -> Result<Vec<SnapshotRecord>> {
    let mut known: HashSet<SnapshotId> = query::snapshot::ids(db)?.into_iter().collect();
    known.extend(query::snapshot::unreadable(db)?);
    let mut records = Vec::new();
    for id in repository.present_ids()?.into_iter().filter(|id| !known.contains(id)) {
        match repository.record(id) {
            Ok(record) => records.push(record),
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
                monitor.problem(Problem {
                    subject: format!("snapshot {id}"),
                    message: describe(&error),
                });
                ingest::add_unreadable(db, id.seconds())?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

/// Adds the archives that the catalog does not know. Files of those that no snapshot claims are
/// remembered. One that is damaged is a problem. One that the disk does not give just now is so
/// too, unless it is `needed`: a catalog that knows it must not be replaced by one that does not.
pub(super) fn add_archives(
    repository: &Repository,
    db: &Connection,
    claimed: &HashSet<String>,
    needed: &HashSet<String>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let known = query::archive_names(db)?;
    // The newest first: what is there twice was stored again because the older copy was of no use.
    for name in
        archives_in_use(repository)?.into_iter().rev().filter(|name| !known.contains_key(name))
    {
        match index_of(repository, &name) {
            Ok((lines, size, hash)) => {
                ingest::add_archive(db, &name, size, hash, &lines, !claimed.contains(&name))?
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            Err(error) if error.kind() != ErrorKind::Damaged && needed.contains(&name) => {
                return Err(error.hint(
                    "look at the disk and its cable; if that file is lost for good, `shoebox \
                        repair catalog` continues without it",
                ));
            }
            Err(error) => monitor.problem(Problem {
                subject: format!("archives/{name}"),
                message: describe(&error),
            }),
        }
    }
    Ok(())
}

fn add_row(db: &Connection, record: &SnapshotRecord, json: &str) -> Result<()> {
    ingest::add_snapshot(db, record.id.seconds(), record.number, record.is_good(), json)
}

/// Brings the lists of `record` into the draft: by their difference to the snapshot before, or whole
/// when the lists of that one are damaged.
fn ingest_snapshot(
    repository: &Repository,
    db: &mut Connection,
    record: &SnapshotRecord,
) -> Result<ingest::AssetFiles> {
    let time = record.id.seconds();
    let before = match query::snapshot::before(db, time)? {
        Some(before) => super::record_of(db, before)?.streams,
        None => SnapshotStreams::default(),
    };
    let contents = repository.contents();
    let by_difference = in_transaction(db, |db| ingest_lists(db, &contents, &before, record));
    match by_difference {
        // `Bug`: rows of a catalog that do not go with its lists break a constraint.
        Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Bug) => {
            in_transaction(db, |db| {
                ingest::end_all(db, time)?;
                ingest_lists(db, &contents, &SnapshotStreams::default(), record)
            })
        }
        other => other,
    }
}

fn ingest_lists(
    db: &Connection,
    contents: &ContentReader,
    before: &SnapshotStreams,
    record: &SnapshotRecord,
) -> Result<ingest::AssetFiles> {
    let time = record.id.seconds();
    let mut files = ingest::FileIngest::begin(db, time)?;
    let (old, new) = differing(&before.files, &record.streams.files);
    let (old, new) = (lines::<FileEntry>(db, contents, old), lines(db, contents, new));
    ingest::merge(old, new, |a, b| a.path.cmp(&b.path), |change| files.apply(&change))?;
    let library = ingest::LibraryIngest::begin(db, time)?;
    let (old, new) = differing(&before.library, &record.streams.library);
    let (old, new) = (lines::<LibraryRecord>(db, contents, old), lines(db, contents, new));
    ingest::merge(old, new, |a, b| a.key().cmp(&b.key()), |change| library.apply(&change))?;
    ingest::resolve_asset_files(db, time)
}

/// The chunks of two streams that are not in both. Lists are cut at line ends, so these are whole
/// lines.
fn differing(old: &StreamInfo, new: &StreamInfo) -> (Vec<StreamChunk>, Vec<StreamChunk>) {
    let hashes = |stream: &StreamInfo| {
        stream.chunks.iter().map(|chunk| chunk.hash).collect::<HashSet<Hash>>()
    };
    let without = |stream: &StreamInfo, other: HashSet<Hash>| {
        stream.chunks.iter().copied().filter(|chunk| !other.contains(&chunk.hash)).collect()
    };
    (without(old, hashes(new)), without(new, hashes(old)))
}

fn lines<'a, T: DeserializeOwned + 'a>(
    db: &'a Connection,
    contents: &'a ContentReader,
    chunks: Vec<StreamChunk>,
) -> impl Iterator<Item = Result<T>> + 'a {
    super::stream::lines(StreamReader::of_chunks(db, contents, chunks)).map(|line| {
        serde_json::from_slice(&line?)
            .map_err(|error| Error::damaged("a list of this snapshot").caused_by(error))
    })
}

pub(super) fn in_transaction<T>(
    db: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    let transaction = db.transaction()?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}
