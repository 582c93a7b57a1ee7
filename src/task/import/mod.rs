//! Importing dumps of the past: those that postgres-backup-local and Immich have made, each as a
//! snapshot of its day.
//!
//! Always holds: only what was verified becomes a snapshot, once, at the time when it was made, and
//! after it was read back out of the repository. The files that are imported from are only read. A
//! dump that cannot be taken is told, and the others go on. Snapshots that a backup made stay what
//! they are: an import adds none that is newer than the newest of them.
//!
//! Limits: of the files of that day only originals are there that the repository has under their
//! SHA-1 when it is imported (see [`files`]). Of a bad dump over a gigabyte, what was stored before
//! it turned out bad stays until a prune.

pub(in crate::task) mod date;
mod files;
mod find;
mod name;
mod read;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use uuid::Uuid;

pub use self::date::DateSource;
use self::date::DatedDump;
use self::files::OriginalCollector;
use self::find::{FoundDump, FoundFiles, LeftFile};
use self::read::{Fingerprint, ImportFailure, TakenRead};
use crate::base::dump::DumpVerdict;
use crate::base::library::LibraryRecord;
use crate::base::{
    Error, ErrorKind, Hash, Monitor, Phase, Problem, Result, SnapshotId, StopNotice, json_line,
};
use crate::catalog::{Catalog, query};
use crate::immich::{self, ReadDump};
use crate::repo::{
    Completeness, ContentSink, FORMAT_VERSION, FileCount, ImportSession, ImportedFrom,
    ReferenceStream, Repository, SKEW, SnapshotRecord, SnapshotStreams, StreamInfo, StreamWriter,
    WriteSession,
};

/// What to import, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Dumps, and folders of dumps.
    pub paths: Vec<PathBuf>,
    /// Immich's database, where a dump holds several.
    pub database: Option<String>,
    /// Take dumps of other Immich servers too.
    pub accept_other_library: bool,
    /// The zone of names that tell a time and no zone.
    pub zone: TimeZone,
    /// No dump is younger.
    pub now: Timestamp,
    /// Read and verify everything, and write nothing.
    pub dry_run: bool,
}

/// What came of one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImportEntry {
    /// Its name, below the folder that was given.
    pub file: String,
    /// When it was made, and where that is from; nothing of what is no dump.
    pub time: Option<Timestamp>,
    pub dated_by: Option<DateSource>,
    #[serde(flatten)]
    pub outcome: ImportOutcome,
}

/// What came of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ImportOutcome {
    /// It is a snapshot now, or would be: which, how many assets it has, and of how many the
    /// original is there.
    Imported { snapshot: SnapshotId, assets: u64, present: u64, missing: u64, not_covered: u64 },
    /// There is nothing to do with it; is what it holds in the repository?
    Skipped { why: String, in_repository: bool },
    /// It is good, and cannot be taken yet.
    Postponed { why: String },
    /// It cannot be taken: what is wrong with it.
    Refused { why: String },
}

/// What an import did, or would do.
#[derive(Debug)]
pub struct Report {
    /// By time.
    pub entries: Vec<ImportEntry>,
    /// Bytes that the repository grew by, in archives.
    pub grown: u64,
    /// There is no backup yet: the snapshots show no photo.
    pub is_first: bool,
}

impl Report {
    /// How many snapshots came, or would come.
    pub fn imported(&self) -> u64 {
        self.entries
            .iter()
            .filter(|entry| matches!(entry.outcome, ImportOutcome::Imported { .. }))
            .count() as u64
    }

    /// How many files hold what is not in the repository.
    pub fn left_out(&self) -> u64 {
        let is_in = |entry: &&ImportEntry| match entry.outcome {
            ImportOutcome::Imported { .. } => true,
            ImportOutcome::Skipped { in_repository, .. } => in_repository,
            ImportOutcome::Postponed { .. } | ImportOutcome::Refused { .. } => false,
        };
        self.entries.iter().filter(|entry| !is_in(entry)).count() as u64
    }
}

/// Imports the dumps of the past that `options` name, or says what an import would do.
pub fn import(repository: &Repository, options: &Options, monitor: &dyn Monitor) -> Result<Report> {
    let finds = find::find(&options.paths, &options.zone)?;
    if options.dry_run {
        let db = repository.catalog()?.connect()?;
        let staging =
            tempfile::tempdir().map_err(|error| Error::io("making a temporary folder", error))?;
        return ImportWork::new(repository, &db, options, staging.path(), None, monitor)?
            .run(finds);
    }
    let mut session = WriteSession::begin(repository, "import", monitor)?;
    let report = {
        let db = session.generation().connect()?;
        let staging = repository.store().work_folder()?;
        ImportWork::new(repository, &db, options, &staging, Some(session.past()?), monitor)?
            .run(finds)
    };
    // Who was stopped keeps what is done. Where something failed, the next writer sees to it.
    let is_whole = report.as_ref().map_or_else(
        |error| error.kind() == ErrorKind::Interrupted,
        |report| report.imported() > 0,
    );
    if is_whole {
        session.take_in(monitor)?;
    }
    report
}

/// An import at work.
struct ImportWork<'a> {
    repository: &'a Repository,
    options: &'a Options,
    /// The catalog as it was before.
    db: &'a Catalog,
    staging: &'a Path,
    /// Where snapshots come in; nothing in a dry run.
    past: Option<ImportSession<'a>>,
    monitor: &'a dyn Monitor,
    /// All snapshots, those too that came in meanwhile.
    records: Vec<SnapshotRecord>,
    /// Their ids, and those of records that cannot be read.
    ids: HashSet<SnapshotId>,
    /// The newest good one that a backup made: what is newer is no past.
    newest: Option<SnapshotId>,
    /// The accounts of the library; none while any library will do.
    users: HashSet<Uuid>,
    /// By hash of a file: what became of it.
    files: HashMap<Hash, String>,
    /// Fingerprints of dumps, as far as they were needed.
    prints: HashMap<SnapshotId, Hash>,
    grown: u64,
}

/// The file's hash, where its bytes were stored, and what was read.
type NewDump = (Hash, Option<(ContentSink, StreamInfo)>, TakenRead);

/// A dump that is good to become a snapshot.
struct GoodDump<'a> {
    found: &'a FoundDump,
    file: Hash,
    taken: TakenRead,
    id: SnapshotId,
    dated_by: DateSource,
}

impl<'a> ImportWork<'a> {
    fn new(
        repository: &'a Repository,
        db: &'a Catalog,
        options: &'a Options,
        staging: &'a Path,
        past: Option<ImportSession<'a>>,
        monitor: &'a dyn Monitor,
    ) -> Result<Self> {
        let ids = repository.snapshot_ids()?;
        let records: Vec<SnapshotRecord> =
            ids.iter().copied().filter_map(|id| repository.record(id).ok()).collect();
        let made = records.iter().rev().find(|record| record.is_good() && !record.is_imported());
        let users = match query::snapshot::newest_good(db)? {
            Some(time) if !options.accept_other_library => db.night(time).user_ids()?,
            _ => HashSet::new(),
        };
        let imported = |record: &SnapshotRecord| {
            Some((record.imported.as_ref()?.hash, is_snapshot(record.id)))
        };
        Ok(ImportWork {
            newest: made.map(|record| record.id),
            ids: ids.into_iter().collect(),
            files: records.iter().filter_map(imported).collect(),
            repository,
            options,
            db,
            staging,
            past,
            monitor,
            records,
            users,
            prints: HashMap::new(),
            grown: 0,
        })
    }

    fn run(mut self, finds: FoundFiles) -> Result<Report> {
        let bytes = finds.dumps.iter().map(|found| found.size).sum();
        self.monitor.begin(Phase::Dump, Some(finds.dumps.len() as u64), Some(bytes));
        let mut entries: Vec<ImportEntry> = finds.left.into_iter().map(left).collect();
        for found in &finds.dumps {
            let entry = self.file(found).map_err(|error| self.stopped(error, &entries))?;
            entries.push(entry);
            self.monitor.advance(1, 0);
        }
        entries.sort_by(|a, b| (a.time, &a.file).cmp(&(b.time, &b.file)));
        Ok(Report { entries, grown: self.grown, is_first: self.newest.is_none() })
    }

    /// What is told of an import that was stopped, or that failed.
    fn stopped(&self, error: Error, entries: &[ImportEntry]) -> Error {
        let done = entries
            .iter()
            .filter(|entry| matches!(entry.outcome, ImportOutcome::Imported { .. }))
            .count();
        match (error.kind(), self.options.dry_run) {
            (ErrorKind::Interrupted, false) => {
                let done = crate::base::amount::plural(done as u64, "dump was", "dumps were");
                Error::new(ErrorKind::Interrupted, format_args!("stopped; {done} imported"))
                    .hint(StopNotice::CONTINUES.next)
            }
            _ => error,
        }
    }

    fn file(&mut self, found: &FoundDump) -> Result<ImportEntry> {
        let DatedDump { time, source, .. } = found.dated;
        let entry = |time, source, outcome| ImportEntry {
            file: found.name.clone(),
            time: Some(time),
            dated_by: Some(source),
            outcome,
        };
        let (file, sink, taken) = match self.read_new(found)? {
            Ok(read) => read,
            Err(outcome) => return Ok(entry(time, source, outcome)),
        };
        if let Some(outcome) = self.judge_dump(&taken.dump) {
            return Ok(entry(time, source, outcome));
        }
        for lack in &taken.dump.lacks {
            let (subject, message) = (found.name.clone(), format!("{lack}: the views lack it"));
            self.monitor.problem(Problem { subject, message });
        }
        let DatedDump { time, source } = not_before(found.dated, &taken.dump, self.options.now);
        let id = match self.id(time, &taken)? {
            Ok(id) => id,
            Err(outcome) => return Ok(entry(time, source, outcome)),
        };
        let good = GoodDump { found, file, taken, id, dated_by: source };
        Ok(entry(id.time(), good.dated_by, self.take(good, sink)?))
    }

    /// Reads a dump to its end; its bytes go where they will stay, unless it is a dry run.
    /// Reads a file that was not imported before; why it is not taken, where it is not.
    fn read_new(&self, found: &FoundDump) -> Result<Result<NewDump, ImportOutcome>> {
        let monitor = self.monitor;
        let hashed = read::hash(&found.path, &mut |len| {
            monitor.advance(0, len as u64);
            StopNotice::CONTINUES.check(monitor)
        });
        let read = hashed.and_then(|file| match self.files.get(&file) {
            Some(known) => {
                let why = known.clone();
                Ok(Err(ImportOutcome::Skipped { why, in_repository: true }))
            }
            None => {
                let (sink, taken, stream) = self.read(found, file)?;
                Ok(Ok((file, sink.map(|sink| (sink, stream)), taken)))
            }
        });
        match read {
            Ok(read) => Ok(read),
            Err(ImportFailure::File(why)) => Ok(Err(ImportOutcome::Refused { why })),
            Err(ImportFailure::Fatal(error)) if error.kind() == ErrorKind::Invalid => {
                let hint = error.next_step().map(|hint| format!("; {hint}")).unwrap_or_default();
                Ok(Err(ImportOutcome::Refused { why: format!("{error}{hint}") }))
            }
            Err(ImportFailure::Fatal(error)) => Err(error),
        }
    }

    fn read(
        &self,
        found: &FoundDump,
        file: Hash,
    ) -> Result<(Option<ContentSink>, TakenRead, StreamInfo), ImportFailure> {
        let (staging, monitor) = (self.staging, self.monitor);
        let options = immich::Options { database: self.options.database.as_deref(), staging };
        let Some(past) = &self.past else {
            let taken = read::read(&found.path, file, &options, &mut |_| {
                StopNotice::CONTINUES.check(monitor)
            })?;
            return Ok((None, taken, StreamInfo::default()));
        };
        let sink = past.sink();
        let reference = self.reference(past, found.dated.time, |streams| &streams.dump)?;
        // What is wrong with the file is no failure of the writer.
        let mut failure = None;
        let (taken, stream) =
            StreamWriter::run(&sink, past.generation(), past.contents(), reference, |writer| {
                let read = read::read(&found.path, file, &options, &mut |bytes| {
                    StopNotice::CONTINUES.check(monitor)?;
                    writer.push(bytes)
                });
                match read {
                    Ok(taken) => Ok(Some(taken)),
                    Err(ImportFailure::Fatal(error)) => Err(error),
                    Err(ImportFailure::File(why)) => {
                        failure = Some(why);
                        Ok(None)
                    }
                }
            })?;
        match taken {
            Some(taken) => Ok((Some(sink), taken, stream)),
            None => Err(ImportFailure::File(failure.unwrap_or_default())),
        }
    }

    /// What is like a stream of the snapshot at `time`: that of the nearest one.
    fn reference(
        &self,
        past: &ImportSession<'_>,
        time: Timestamp,
        pick: impl Fn(&SnapshotStreams) -> &StreamInfo,
    ) -> Result<ReferenceStream> {
        let nearest =
            self.records.iter().min_by_key(|record| record.id.time().duration_since(time).abs());
        match nearest {
            None => Ok(ReferenceStream::default()),
            Some(record) => {
                ReferenceStream::of(pick(&record.streams), &*past.generation().connect()?)
            }
        }
    }

    /// Why a dump is not to be taken, whenever it was made.
    fn judge_dump(&self, dump: &ReadDump) -> Option<ImportOutcome> {
        let refused = |why: String| Some(ImportOutcome::Refused { why });
        match &dump.verdict {
            _ if dump.is_foreign => {
                let why = "the database of another program than Immich".to_owned();
                return Some(ImportOutcome::Skipped { why, in_repository: false });
            }
            DumpVerdict::Bad { line, reason } => return refused(format!("line {line}: {reason}")),
            DumpVerdict::Good => {}
        }
        let is_shared = dump.census.accounts.iter().any(|account| self.users.contains(&account.id));
        if self.users.is_empty() || is_shared {
            None
        } else {
            refused(
                "it belongs to another library: none of its accounts is in the repository's; \
                    --accept-other-library imports it all the same"
                    .to_owned(),
            )
        }
    }

    /// The id of the snapshot that a dump of `time` becomes; or why it becomes none.
    fn id(
        &mut self,
        time: Timestamp,
        taken: &TakenRead,
    ) -> Result<Result<SnapshotId, ImportOutcome>> {
        if time.duration_since(self.options.now) > SKEW {
            let why = "its time is still to come: is a clock wrong?".to_owned();
            return Ok(Err(ImportOutcome::Refused { why }));
        }
        if let Some(same) = self.same_dump(taken)? {
            let why = format!("the same as that of snapshot {same}");
            return Ok(Err(ImportOutcome::Skipped { why, in_repository: true }));
        }
        let mut id = SnapshotId::at(time);
        // Files that were copied together have one time.
        while self.ids.contains(&id) {
            id = SnapshotId::from_seconds(id.seconds().saturating_add(1))?;
        }
        if let Some(newest) = self.newest.filter(|newest| id > *newest) {
            let why = format!("newer than the last backup, {newest}: import it after the next one");
            return Ok(Err(ImportOutcome::Postponed { why }));
        }
        Ok(Ok(id))
    }

    /// The snapshot that has this dump already, but for what is random in it.
    fn same_dump(&mut self, taken: &TakenRead) -> Result<Option<SnapshotId>> {
        let dump = &taken.dump;
        let alike = |record: &&SnapshotRecord| {
            record.is_good()
                && record.streams.dump.size == dump.bytes
                && record.dump.rows == dump.rows
        };
        let alike: Vec<SnapshotRecord> = self.records.iter().filter(alike).cloned().collect();
        for record in alike {
            if self.print(&record)? == Some(taken.print) {
                return Ok(Some(record.id));
            }
        }
        Ok(None)
    }

    /// The fingerprint of a snapshot's dump; `None` where it is damaged.
    fn print(&mut self, record: &SnapshotRecord) -> Result<Option<Hash>> {
        if let Some(known) = self.prints.get(&record.id) {
            return Ok(Some(*known));
        }
        let contents = self.repository.contents();
        let mut print = Fingerprint::default();
        for chunk in &record.streams.dump.chunks {
            match contents.chunk(self.db, chunk.hash) {
                Ok(bytes) => print.update(&bytes),
                Err(error) if error.kind() == ErrorKind::Damaged => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let print = print.finish();
        self.prints.insert(record.id, print);
        Ok(Some(print))
    }

    /// Makes the snapshot, or says what it would have.
    fn take(
        &mut self,
        good: GoodDump<'_>,
        stored: Option<(ContentSink, StreamInfo)>,
    ) -> Result<ImportOutcome> {
        let mut originals = OriginalCollector::new(self.db);
        let record = match (stored, self.past.take()) {
            (Some((sink, stream)), Some(mut past)) => {
                let record = self.store(&mut past, &good, sink, stream, originals)?;
                self.past = Some(past);
                record
            }
            _ => {
                good.taken.dump.records(&mut |record| match &record {
                    LibraryRecord::Asset(asset) => originals.add(asset),
                    _ => Ok(()),
                })?;
                let (files, completeness) = originals.finish(good.id, &mut |_| Ok(()))?;
                self.record(&good, SnapshotStreams::default(), files, completeness)
            }
        };
        let Completeness { present, missing, not_covered, .. } = record.completeness;
        let assets = record.census.assets;
        self.files.insert(good.file, is_snapshot(good.id));
        self.prints.insert(good.id, good.taken.print);
        if self.users.is_empty() && !self.options.accept_other_library {
            self.users = record.census.accounts.iter().map(|account| account.id).collect();
        }
        self.ids.insert(good.id);
        self.records.push(record);
        Ok(ImportOutcome::Imported { snapshot: good.id, assets, present, missing, not_covered })
    }

    fn store(
        &mut self,
        past: &mut ImportSession<'_>,
        good: &GoodDump<'_>,
        sink: ContentSink,
        dump: StreamInfo,
        mut originals: OriginalCollector<'_>,
    ) -> Result<SnapshotRecord> {
        let time = good.id.time();
        let reference = self.reference(past, time, |streams| &streams.library)?;
        let ((), library) =
            StreamWriter::run(&sink, past.generation(), past.contents(), reference, |writer| {
                good.taken.dump.records(&mut |record| {
                    if let LibraryRecord::Asset(asset) = &record {
                        originals.add(asset)?;
                    }
                    writer.push(&json_line(&record)?)
                })
            })?;
        let reference = self.reference(past, time, |streams| &streams.files)?;
        let ((files, completeness), list) =
            StreamWriter::run(&sink, past.generation(), past.contents(), reference, |writer| {
                originals.finish(good.id, &mut |entry| writer.push(&json_line(entry)?))
            })?;
        let written = sink.finish()?;
        let streams = SnapshotStreams { dump, files: list, library };
        let record = SnapshotRecord {
            archives: written.archives.clone(),
            ..self.record(good, streams, files, completeness)
        };
        self.grown += written.archives.iter().map(|archive| archive.size).sum::<u64>();
        past.commit(record, &written, good.taken.plain)
    }

    /// What is known of the snapshot; its number is filled in when it is made.
    fn record(
        &self,
        good: &GoodDump<'_>,
        streams: SnapshotStreams,
        files: FileCount,
        completeness: Completeness,
    ) -> SnapshotRecord {
        let dump = &good.taken.dump;
        let mut streams = streams;
        // Nothing is stored of it in a dry run; that it is as long as another one counts.
        streams.dump.size = dump.bytes;
        SnapshotRecord {
            format: FORMAT_VERSION,
            id: good.id,
            number: 0,
            repository: self.repository.id().to_string(),
            host: Repository::host(),
            shoebox: env!("CARGO_PKG_VERSION").to_owned(),
            upload_location: String::new(),
            dump: dump.info(),
            streams,
            archives: Vec::new(),
            census: dump.census.clone(),
            files,
            completeness,
            external: Vec::new(),
            walked: None,
            warnings: dump.warnings.clone(),
            alarm: Vec::new(),
            written: None,
            imported: Some(ImportedFrom { file: good.found.name.clone(), hash: good.file }),
        }
    }
}

fn is_snapshot(id: SnapshotId) -> String {
    format!("it is snapshot {id}")
}

fn left(left: LeftFile) -> ImportEntry {
    let why = left.why.to_owned();
    let outcome = if left.is_problem {
        ImportOutcome::Refused { why }
    } else {
        ImportOutcome::Skipped { why, in_repository: false }
    };
    ImportEntry { file: left.name, time: None, dated_by: None, outcome }
}

/// A dump is no older than what is in it. A row that is still to come says nothing.
fn not_before(dated: DatedDump, dump: &ReadDump, now: Timestamp) -> DatedDump {
    let newest = dump.census.newest.filter(|newest| *newest > dated.time && *newest <= now);
    // The second after: ids are whole seconds.
    match newest.and_then(|newest| newest.checked_add(SignedDuration::from_secs(1)).ok()) {
        Some(time) => DatedDump { time, source: DateSource::Row },
        None => dated,
    }
}
