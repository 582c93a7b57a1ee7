//! Backing up: the database first, then the files, then the record.
//!
//! A busy server moves and erases photos meanwhile. What is not where the database says is looked
//! at a second time, and a server is asked again too, before anything is said about it: so both are
//! one state, and what was erased on purpose is no problem. A dump that is a file stays as it is:
//! then a recovery lays the files where it says ([`crate::task::restore::whole`]).

mod alarm;
mod certain;
mod dump;
mod files;
mod gone;
mod read;
mod share;
mod worse;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use uuid::Uuid;

pub use self::dump::DumpSource;
use self::files::{FilePass, PassResult};
use self::gone::RowCounts;
use self::share::ReadShare;
use crate::base::amount::{plural, size};
use crate::base::dump::{DumpInfo, DumpVerdict};
use crate::base::library::{Asset, LibraryRecord};
use crate::base::{
    Error, ErrorKind, FilePath, Monitor, Phase, Problem, Result, SnapshotId, StopNotice,
};
use crate::catalog::query;
use crate::catalog::query::kept::{WorseOriginal, worsened};
use crate::catalog::query::layout::FoundElsewhere;
use crate::immich;
use crate::repo::notes::NoteKind;
use crate::repo::{
    self, Completeness, ContentReader, ContentSink, FORMAT_VERSION, FileCount, ReferenceStream,
    Repository, SnapshotRecord, SnapshotStreams, StagedSnapshot, StreamInfo, StreamWriter,
    WriteSession, WrittenArchives,
};
use crate::source::{ExcludePatterns, LibraryPlaces, LibraryRoot, UploadLocation};
use crate::task::audit::{self, AuditClass, AuditTallies};
use crate::task::reread::reread;
use crate::task::space::{self, DiskSpace, SpaceVerdict};
use crate::task::status::{MANY, ago};

/// How often database and files are looked at, at most.
const LOOKS: u32 = 3;
/// A dump that is older than this is spoken of.
const OLD: SignedDuration = SignedDuration::from_hours(48);

/// A folder of an external library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalFolder {
    /// The path as the Immich server sees it, such as `/mnt/external/family`.
    pub server: PathBuf,
    /// The same folder on this machine.
    pub folder: PathBuf,
}

/// What to back up, and how.
#[derive(Debug)]
pub struct Options {
    pub upload_location: PathBuf,
    pub dump: DumpSource,
    /// Immich's database, where a cluster dump holds several.
    pub database: Option<String>,
    /// Take thumbnails and transcoded videos too.
    pub generated: bool,
    /// Read every file again, whatever its time says.
    pub paranoid: bool,
    /// Read every file again within so many days, a share of them at a time.
    pub reread_days: Option<u32>,
    pub external: Vec<ExternalFolder>,
    /// Folders of UPLOAD_LOCATION, or below it, that lie in other places.
    pub folders: Vec<LibraryRoot>,
    /// Patterns of paths that are left out.
    pub exclude: Vec<String>,
    /// Make a snapshot even when the dump is bad; it is marked, and never `latest`.
    pub keep_bad_dump: bool,
    /// Accept that the library lost most of its files since the last snapshot.
    pub accept_shrink: bool,
    /// Begin a first backup that does not seem to fit on the repository's disk.
    pub accept_little_space: bool,
    /// Accept that this is another library than the last snapshot's.
    pub accept_other_library: bool,
    /// The library may shrink by so many percent before the snapshot gets an alarm.
    pub alarm_shrink: u8,
    /// How old the dump may be before that is a problem.
    pub max_age: SignedDuration,
    /// Threads that read files.
    pub readers: usize,
}

/// What a backup did.
#[derive(Debug)]
pub struct Report {
    pub record: SnapshotRecord,
    /// Files that were not read, being as the last snapshot had them.
    pub unchanged: u64,
    /// Bytes that the repository grew by, in archives.
    pub grown: u64,
    /// Where database, files and checksums do not agree: how much of each class.
    pub audit: AuditTallies,
    /// The alarm in the record was accepted beforehand.
    pub is_acknowledged: bool,
    /// Earlier snapshots whose dumps were read again, as an older shoebox missed something of them.
    pub reread: u64,
    /// An older snapshot whose alarm nobody acknowledged.
    pub standing: Option<SnapshotRecord>,
    /// What could not be read, or is missing or changed now and was not before. Any of these makes
    /// the exit code 3.
    pub problems: Vec<Problem>,
}

/// Backs up the library into `repository`.
pub fn backup(repository: &Repository, options: Options, monitor: &dyn Monitor) -> Result<Report> {
    let location = UploadLocation::open(&options.upload_location, &options.folders)?;
    refuse_nesting(repository, &roots(&location, &options)?)?;
    let mut session = WriteSession::begin(repository, "backup", monitor)?;
    let reread = reread(repository, &mut session, monitor)?;
    let (newest, last) = last_records(&session)?;
    // The catalog lacks a snapshot whose lists are lost; its record is there all the same.
    let id = next_id(repository, Timestamp::now())?;
    warn_of_the_last(repository.snapshot_ids()?.len());
    let sink = session.sink(id);
    let contents = repository.contents();
    let before = alarm::before(repository, id)?;
    let max_age = options.max_age;
    let is_accepted = options.accept_shrink || options.accept_other_library;
    let work = BackupWork {
        repository,
        session: &session,
        sink: &sink,
        contents: &contents,
        newest,
        last,
        before,
        location,
        options,
        monitor,
    };
    let last_good = last_good(&session)?;
    work.refuse_overfull()?;
    let (mut staged, pass) =
        work.run(id, last_good).map_err(|error| keep_what_is_done(error, &sink))?;
    let worse = worse_since(&staged, last_good)?;
    staged.add_alarm(alarm::lost(&staged, &work.before)?.into_iter().collect());
    drop(work);
    let tallies = if staged.record().is_good() {
        audit::count(staged.catalog(), id.seconds())?
    } else {
        AuditTallies::new()
    };
    let views = views(&session, &staged)?;
    let sidecars = worse::sidecars(
        &staged,
        last_good.filter(|_| tallies.contains_key(&AuditClass::NoSidecar)),
    )?;
    let written = sink.finish()?;
    let record = session.commit(staged)?;
    if is_accepted && !record.alarm.is_empty() {
        repository.add_note(NoteKind::Acknowledgement { snapshot: record.id })?;
    }
    let standing =
        repository.alarming(&repository.notes()?)?.filter(|alarming| alarming.id != record.id);
    let mut report = report(record, pass, written, &worse, max_age);
    report.problems.extend(views.into_iter().chain(sidecars));
    report.problems.extend(of_clock(&repository.ids_to_come()?));
    Ok(Report { is_acknowledged: is_accepted, audit: tallies, standing, reread, ..report })
}

/// The originals that are worse on the disk than in the snapshot at `before`. Most nights have
/// none, and cost no look.
fn worse_since(staged: &StagedSnapshot, before: Option<i64>) -> Result<Vec<WorseOriginal>> {
    if staged.record().lacks_originals() {
        worsened(staged.catalog(), before, staged.record().id.seconds())
    } else {
        Ok(Vec::new())
    }
}

/// Who is asked to stop finishes the archive at hand, so that the next run goes on from there.
fn keep_what_is_done(error: Error, sink: &ContentSink) -> Error {
    if error.kind() != ErrorKind::Interrupted {
        return error;
    }
    if let Err(error) = sink.flush() {
        tracing::warn!(%error, "finishing the last archive");
        return error;
    }
    let written = sink.written();
    let files = plural(written.contents, "new file", "new files");
    let message = format!("stopped; {files} ({}) stored so far", size(written.bytes));
    Error::new(ErrorKind::Interrupted, message)
        .hint("run it again: the next backup continues from there")
}

fn report(
    record: SnapshotRecord,
    pass: PassResult,
    written: WrittenArchives,
    worse: &[WorseOriginal],
    max_age: SignedDuration,
) -> Report {
    let mut problems: Vec<Problem> =
        unfit(&record).into_iter().chain(duplicates(&record)).chain(pass.problems).collect();
    let subject = "the database dump".to_owned();
    problems.extend(old_dump(&record, max_age).map(|message| Problem { subject, message }));
    problems.extend(worse::problems(worse));
    problems.extend(record.lacks_all_originals().then(|| nothing_in_it(&record)));
    let grown = written.archives.iter().map(|archive| archive.size).sum();
    Report {
        record,
        unchanged: pass.unchanged,
        grown,
        audit: AuditTallies::new(),
        is_acknowledged: false,
        reread: 0,
        standing: None,
        problems,
    }
}

/// What keeps a dump that is whole from being restored. The photos are stored all the same.
fn unfit(record: &SnapshotRecord) -> Option<Problem> {
    match &record.dump.verdict {
        DumpVerdict::Bad { line, reason } if record.dump.unfit => Some(Problem {
            subject: "the database dump".to_owned(),
            message: format!(
                "a restore would refuse it, so this snapshot is not `latest`: line {line}: {reason}"
            ),
        }),
        _ => None,
    }
}

/// What is to be said where the dump was made longer than `limit` before the files were read.
fn old_dump(record: &SnapshotRecord, limit: SignedDuration) -> Option<String> {
    let age = record.id.time().duration_since(record.as_of());
    (age > limit).then(|| {
        format!(
            "it was made {} before: a recovery gives that state, and what came since is in \
            files/ only",
            ago(age)
        )
    })
}

/// What the views of the new snapshot lack: what the reader of the dump missed, and what is gone
/// overnight while the photos are there.
fn views(session: &WriteSession, staged: &StagedSnapshot) -> Result<Vec<Problem>> {
    let record = staged.record();
    let problem = |message: String| Problem { subject: "views".to_owned(), message };
    let safe = "photos and database are safe, and the views lack it until shoebox is updated";
    let mut problems: Vec<_> =
        record.dump.lacks.iter().map(|lack| problem(format!("{lack}; {safe}"))).collect();
    let before = query::snapshot::newest_good(&session.generation().connect()?)?;
    let Some(before) = before.filter(|_| record.is_good()) else { return Ok(problems) };
    for (kind, count) in query::snapshot::emptied(staged.catalog(), before, record.id.seconds())? {
        // One of a kind is deleted in a moment.
        if count > 1 {
            let then = SnapshotId::from_seconds(before)?;
            problems.push(problem(format!(
                "{kind}: none, and snapshot {then} had {}; if nobody deleted them in Immich, \
                    update shoebox: photos and database are safe",
                crate::base::amount::count(count)
            )));
        }
    }
    Ok(problems)
}

/// Keys that two rows have.
fn duplicates(record: &SnapshotRecord) -> impl Iterator<Item = Problem> {
    record.dump.duplicates.iter().map(|duplicate| Problem {
        subject: "the database".to_owned(),
        message: format!(
            "{duplicate}: an index is broken, and a restore stops there, unless \
            `restore-database --skip-duplicates` leaves the later row out; repair it while the \
            server is there (REINDEX)"
        ),
    })
}

/// Said every night: a backup without a photo is none.
fn nothing_in_it(record: &SnapshotRecord) -> Problem {
    let photos = plural(record.census.assets, "photo", "photos");
    let next = match record.completeness.not_covered {
        0 => "look whether UPLOAD_LOCATION is the right folder and its disk is mounted",
        _ => "--external SERVER_PATH=FOLDER takes those of external libraries",
    };
    Problem {
        subject: "this backup".to_owned(),
        message: format!("none of {photos} is in it; {next}"),
    }
}

/// A backup at work.
struct BackupWork<'a> {
    repository: &'a Repository,
    session: &'a WriteSession,
    sink: &'a ContentSink,
    contents: &'a ContentReader,
    /// The newest snapshot: what streams are patches on.
    newest: Option<SnapshotRecord>,
    /// The newest that was not imported: what lay on disk.
    last: Option<SnapshotRecord>,
    /// The snapshots that this one may not have shrunk since.
    before: Vec<SnapshotRecord>,
    location: UploadLocation,
    options: Options,
    monitor: &'a dyn Monitor,
}

/// A dump that was taken, and stored.
struct TakenDump {
    origin: dump::DumpOrigin,
    dump: immich::ReadDump,
    stream: StreamInfo,
    library: StreamInfo,
    plan: WalkPlan,
    /// What is to be said of it.
    warning: Option<String>,
}

/// Where to look for files.
struct WalkPlan {
    places: Arc<LibraryPlaces>,
    /// Folders that the database's rows point into.
    pointed: RowCounts,
    /// Files of assets outside the folders that are walked.
    extra: Vec<FilePath>,
}

impl WalkPlan {
    /// Adds the files of `asset` that no walk meets.
    fn add_unwalked(&mut self, asset: &Asset) {
        let files = asset.file.iter().chain(&asset.sidecar);
        self.extra.extend(
            files.filter(|file| !is_external(file) && !self.places.is_walked(file)).cloned(),
        );
    }
}

impl BackupWork<'_> {
    /// Stores all that the snapshot `id` needs, and tries it: until database and files are one
    /// state, at most [`LOOKS`] times.
    fn run(&self, id: SnapshotId, last_good: Option<i64>) -> Result<(StagedSnapshot, PassResult)> {
        let mut taken = self.take()?;
        let mut pass = self.files(&taken.plan, None)?;
        let mut staged = self.stage(id, &taken, &pass)?;
        let mut apart = self.apart(&staged)?;
        let mut is_due = pass.is_unsettled()
            || !apart.is_empty()
            || !worse_since(&staged, last_good)?.is_empty();
        for _ in 1..LOOKS {
            if !is_due {
                break;
            }
            drop(staged);
            if !apart.is_empty() {
                taken = self.take_again(taken)?;
            }
            let unchanged = pass.unchanged;
            pass = self.files(&taken.plan, Some(pass))?;
            // To the second look all is unchanged that the first one read.
            pass.unchanged = pass.unchanged.min(unchanged);
            staged = self.stage(id, &taken, &pass)?;
            let now = self.apart(&staged)?;
            // What is still apart in the same way was not moved just now.
            is_due = !now.is_empty() && now != apart;
            apart = now;
        }
        pass.problems.extend(self.in_the_way(&taken.plan, &pass, &staged)?);
        Ok((staged, pass))
    }

    /// Assets whose files are not where the dump says, and were so, or were not known, in the last
    /// good snapshot.
    fn apart(&self, staged: &StagedSnapshot) -> Result<HashMap<Uuid, FoundElsewhere>> {
        let db = staged.catalog();
        let mut apart = query::layout::apart(db, staged.record().id.seconds())?;
        if let (false, Some(before)) = (apart.is_empty(), self.last_good()) {
            let before = query::layout::apart(db, before.seconds())?;
            apart.retain(|id, _| !before.contains_key(id));
        }
        Ok(apart)
    }

    fn last_good(&self) -> Option<SnapshotId> {
        self.last.as_ref().filter(|last| last.is_good()).map(|last| last.id)
    }

    /// Takes the dump, and what it says.
    fn take(&self) -> Result<TakenDump> {
        let origin = dump::origin(&self.options.dump)?;
        let (dump, stream) = self.dump(&origin)?;
        let (library, plan) = self.library(&dump)?;
        Ok(TakenDump { origin, dump, stream, library, plan, warning: None })
    }

    /// Takes the dump again where there may be a later one: of a server, or where a folder has
    /// another file now. Where it cannot be had, that is no reason to lose the one that is there.
    fn take_again(&self, taken: TakenDump) -> Result<TakenDump> {
        let is_newer = match &self.options.dump {
            DumpSource::Server(_) => true,
            DumpSource::File(_) => dump::origin(&self.options.dump)?.file != taken.origin.file,
            DumpSource::Input => false,
        };
        if !is_newer {
            return Ok(taken);
        }
        match self.take() {
            Ok(later) if later.dump.is_good() || !taken.dump.is_good() => Ok(later),
            Ok(_) => Ok(taken),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Interrupted | ErrorKind::NoSpace | ErrorKind::Exhausted
                ) =>
            {
                Err(error)
            }
            Err(error) => {
                let warning = format!(
                    "files moved while the backup ran, and the dump could not be taken again: \
                        {error}"
                );
                Ok(TakenDump { warning: Some(warning), ..taken })
            }
        }
    }

    fn dump(&self, origin: &dump::DumpOrigin) -> Result<(immich::ReadDump, StreamInfo)> {
        self.monitor.begin(Phase::Dump, None, None);
        let staging = self.repository.store().work_folder()?;
        let options =
            immich::Options { database: self.options.database.as_deref(), staging: &staging };
        let source = &self.options.dump;
        let reference = self.reference(|streams| &streams.dump)?;
        let monitor = self.monitor;
        let taken = StreamWriter::run(
            self.sink,
            self.session.generation(),
            self.contents,
            reference,
            |writer| {
                let mut tee = |bytes: &[u8]| {
                    monitor.advance(0, bytes.len() as u64);
                    StopNotice::CONTINUES.check(monitor)?;
                    writer.push(bytes)
                };
                dump::read(source, origin, &options, &mut tee, monitor)
            },
        )?;
        self.refuse_bad(&taken.0)?;
        Ok(taken)
    }

    fn refuse_bad(&self, dump: &immich::ReadDump) -> Result<()> {
        match &dump.verdict {
            DumpVerdict::Bad { line, reason } if !self.options.keep_bad_dump && !dump.is_unfit => {
                Err(Error::new(
                    ErrorKind::Refused,
                    format_args!("the database dump is bad: line {line}: {reason}"),
                )
                .hint(
                    "nothing was stored; make the dump again, or use --keep-bad-dump to store it \
                        for inspection (it never becomes `latest`)",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Stores what the dump says, in our own words; and where to look for files. The records are
    /// worked out once: of a large library that takes longer than to walk its files.
    fn library(&self, dump: &immich::ReadDump) -> Result<(StreamInfo, WalkPlan)> {
        let walked = roots(&self.location, &self.options)?;
        let places =
            Arc::new(LibraryPlaces::open(walked, self.location.beside(self.options.generated))?);
        let mut plan = WalkPlan { places, pointed: RowCounts::default(), extra: Vec::new() };
        if !dump.is_good() {
            return Ok((StreamInfo::default(), plan));
        }
        let known = self.known_users()?;
        let mut shared = known.is_empty();
        let reference = self.reference(|streams| &streams.library)?;
        let ((), stream) = StreamWriter::run(
            self.sink,
            self.session.generation(),
            self.contents,
            reference,
            |writer| {
                dump.records(&mut |record| {
                    match &record {
                        LibraryRecord::User(user) => {
                            shared |= known.contains(&user.id);
                            plan.pointed.add_user(user, &plan.places);
                        }
                        LibraryRecord::Asset(asset) => {
                            plan.pointed.add_asset(asset, &plan.places);
                            plan.add_unwalked(asset);
                        }
                        LibraryRecord::ExternalLibrary(library) => {
                            plan.pointed.add_library(library)
                        }
                        _ => {}
                    }
                    writer.push(&line(&record)?)
                })
            },
        )?;
        if shared { Ok((stream, plan)) } else { Err(another_library()) }
    }

    /// The accounts of the last snapshot whose dump was good; none where any library will do.
    fn known_users(&self) -> Result<HashSet<Uuid>> {
        let db = self.session.generation().connect()?;
        match query::snapshot::newest_good(&db)? {
            Some(time) if !self.options.accept_other_library => {
                query::snapshot::user_ids(&db, time)
            }
            _ => Ok(HashSet::new()),
        }
    }

    fn reread(&self) -> ReadShare {
        if self.options.paranoid {
            ReadShare::Everything
        } else {
            let last = self.last.as_ref().map(|last| last.id.time());
            ReadShare::of(self.options.reread_days, last, Timestamp::now())
        }
    }

    fn files(&self, plan: &WalkPlan, before: Option<PassResult>) -> Result<PassResult> {
        let files = FilePass {
            sink: self.sink,
            generation: self.session.generation(),
            contents: self.contents,
            places: &plan.places,
            last: self.last.as_ref(),
            scratch: self.repository.store().work_folder()?,
            reread: self.reread(),
            readers: self.options.readers.max(1),
            monitor: self.monitor,
        };
        let walk = crate::source::walk(
            &plan.places,
            plan.extra.clone(),
            ExcludePatterns::new(&self.options.exclude)?,
        );
        let pass = files.run(walk, before)?;
        self.refuse_shrunk(&pass)?;
        Ok(pass)
    }

    /// What keeps photos from the snapshot that lie somewhere: whole folders that are gone, and
    /// links.
    fn in_the_way(
        &self,
        plan: &WalkPlan,
        pass: &PassResult,
        staged: &StagedSnapshot,
    ) -> Result<Vec<Problem>> {
        let mut problems = plan.pointed.problems(&plan.places, pass, &self.location);
        if staged.record().completeness.missing > 0 {
            let links = query::links_in_the_way(staged.catalog(), staged.record().id.seconds())?;
            problems.extend(links.iter().filter_map(|found| link(found, &plan.places)));
        }
        Ok(problems)
    }

    /// A first backup that cannot fit is refused before it takes an hour to find out. What an
    /// interrupted one has stored counts.
    fn refuse_overfull(&self) -> Result<()> {
        if self.last.is_some() || self.options.accept_little_space {
            return Ok(());
        }
        let places =
            Arc::new(LibraryPlaces::open(roots(&self.location, &self.options)?, Vec::new())?);
        let library = space::bytes_of(crate::source::walk(
            &places,
            Vec::new(),
            ExcludePatterns::new(&self.options.exclude)?,
        ));
        let stored = query::stored_bytes(&self.session.generation().connect()?)?;
        let space =
            DiskSpace::before_the_first(self.repository.root(), library.saturating_sub(stored))?;
        if space.verdict() != SpaceVerdict::Lacking {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NoSpace, space).hint(
            "use a larger disk; --accept-little-space begins all the same, for photos that \
                compress well",
        ))
    }

    /// An unmounted disk must never look like a library that lost everything. That of an external
    /// library alone costs an alarm and not the night.
    fn refuse_shrunk(&self, pass: &PassResult) -> Result<()> {
        let Some(last) = &self.last else { return Ok(()) };
        let all = |files: u64, before: u64| {
            before >= 20 && files < before / 10 || before > 0 && files == 0
        };
        let is_less = all(pass.files, last.files.files);
        let external = FilePath::new("external")?;
        let of_others = if is_less {
            query::count_files_below(
                &self.session.generation().connect()?,
                last.id.seconds(),
                &external,
            )?
        } else {
            0
        };
        let before = last.files.files - of_others.min(last.files.files);
        let vanished = is_less && all(pass.files - pass.files_in(&external), before);
        if !vanished || self.options.accept_shrink {
            return Ok(());
        }
        let folder = self.location.folder().display();
        let message =
            format!("{folder} holds {} files, the last snapshot had {before}", pass.files);
        Err(Error::new(ErrorKind::Refused, message).hint(
            "is a disk not mounted? if most photos were deleted on purpose, use --accept-shrink",
        ))
    }

    fn stage(
        &self,
        id: SnapshotId,
        taken: &TakenDump,
        pass: &PassResult,
    ) -> Result<StagedSnapshot> {
        let dump = &taken.dump;
        let plan = &taken.plan;
        let reference = self.reference(|streams| &streams.files)?;
        let ((), list) = StreamWriter::run(
            self.sink,
            self.session.generation(),
            self.contents,
            reference,
            |writer| pass.copy_list(writer),
        )?;
        self.sink.flush()?;
        self.monitor.begin(Phase::Catalog, None, None);
        let written = self.sink.written();
        let streams = SnapshotStreams {
            dump: taken.stream.clone(),
            files: list,
            library: taken.library.clone(),
        };
        let mut record = SnapshotRecord {
            format: FORMAT_VERSION,
            id,
            number: self.session.next_number()?,
            repository: self.repository.id().to_string(),
            host: Repository::host(),
            shoebox: env!("CARGO_PKG_VERSION").to_owned(),
            upload_location: self.location.folder().display().to_string(),
            dump: DumpInfo { made: dump::made(&taken.origin, dump), ..info(dump) },
            streams,
            archives: written.archives.clone(),
            census: dump.census.clone(),
            files: FileCount {
                files: pass.files,
                bytes: pass.bytes,
                new_contents: written.contents,
                new_bytes: written.bytes,
                generated: self.options.generated,
            },
            completeness: Completeness {
                unreadable: pass.problems.len() as u64,
                ..Completeness::default()
            },
            warnings: dump.warnings.iter().chain(&taken.warning).cloned().collect(),
            external: self
                .options
                .external
                .iter()
                .map(|it| shown(&it.server))
                .collect::<Result<_>>()?,
            walked: Some(pass.begun),
            alarm: Vec::new(),
            imported: None,
            written: None,
        };
        if old_dump(&record, self.options.max_age).is_none() {
            let old = old_dump(&record, OLD);
            record.warnings.extend(old.map(|words| format!("the database dump: {words}")));
        }
        record.alarm = alarm::alarm(&self.before, &record, self.options.alarm_shrink);
        let db = self.session.generation().connect()?;
        record.alarm.extend(plan.pointed.alarm(&plan.places, pass, &self.before, &db)?);
        self.session.stage(record, &written)
    }

    fn reference(&self, pick: impl Fn(&SnapshotStreams) -> &StreamInfo) -> Result<ReferenceStream> {
        match &self.newest {
            None => Ok(ReferenceStream::default()),
            Some(newest) => {
                ReferenceStream::of(pick(&newest.streams), &self.session.generation().connect()?)
            }
        }
    }
}

/// A repository holds one library: some account of the last snapshot must be in this one.
fn another_library() -> Error {
    Error::new(
        ErrorKind::Refused,
        "this is another library: no account of the last snapshot is in its database",
    )
    .hint(
        "use a repository of its own for each Immich server (`shoebox init`); if this server was \
            set up anew on purpose, use --accept-other-library",
    )
}

pub(in crate::task) fn info(dump: &immich::ReadDump) -> DumpInfo {
    DumpInfo {
        kind: dump.kind,
        verdict: dump.verdict.clone(),
        unfit: dump.is_unfit,
        database: dump.database.clone(),
        immich: dump.immich.clone(),
        schema: dump.schema.clone(),
        postgres: dump.postgres.clone(),
        tool: dump.tool.clone(),
        extensions: dump.extensions.clone(),
        duplicates: dump.duplicates.clone(),
        made: None,
        media_location: dump.media_location.clone(),
        rows: dump.rows.clone(),
        reader: immich::READER,
        lacks: dump.lacks.clone(),
    }
}

/// The last night that says what the disk had. An imported snapshot lacks files for other reasons.
fn last_good(session: &WriteSession) -> Result<Option<i64>> {
    let db = session.generation().connect()?;
    let record = newest(&db, |record| record.is_good() && !record.is_imported())?;
    Ok(record.map(|record| record.id.seconds()))
}

/// The newest snapshot, and the newest that was not imported: what an imported one lists was not
/// seen on disk, and a file that is like it may have changed since.
fn last_records(
    session: &WriteSession,
) -> Result<(Option<SnapshotRecord>, Option<SnapshotRecord>)> {
    let db = session.generation().connect()?;
    Ok((newest(&db, |_| true)?, newest(&db, |record| !record.is_imported())?))
}

/// The newest snapshot that is as `wanted`.
fn newest(
    db: &Connection,
    wanted: impl Fn(&SnapshotRecord) -> bool,
) -> Result<Option<SnapshotRecord>> {
    let mut time = i64::MAX;
    while let Some(before) = query::snapshot::before(db, time)? {
        let record = repo::record_of(db, before)?;
        if wanted(&record) {
            return Ok(Some(record));
        }
        time = before;
    }
    Ok(None)
}

/// The id of a snapshot taken now. Ids ascend, but for those of a time to come, which wait for
/// nothing.
fn next_id(repository: &Repository, now: Timestamp) -> Result<SnapshotId> {
    let now = SnapshotId::at(now);
    match repository.present_ids()?.pop().filter(|last| *last >= now) {
        None => Ok(now),
        Some(last) => SnapshotId::from_seconds(last.seconds() + 1),
    }
}

/// Said every night: which clock was wrong is for a person to say, and until then nothing is
/// forgotten by itself.
fn of_clock(ahead: &[SnapshotId]) -> Option<Problem> {
    let first = ahead.first()?;
    let many = plural(ahead.len() as u64, "snapshot is", "snapshots are");
    let message = format!(
        "{many} of a time to come, the first of {first}: nothing is forgotten or pruned; set it \
            right, or see `shoebox status`"
    );
    Some(Problem { subject: "the clock".to_owned(), message })
}

/// More snapshots than a repository can have are far away, but not for ever.
fn warn_of_the_last(snapshots: usize) {
    if snapshots >= MANY {
        tracing::warn!(
            "the repository has {snapshots} snapshots, and no more are made at 65,535: `shoebox \
                forget` makes room"
        );
    }
}

/// A link that stands where photos are looked for.
fn link(found: &query::LinkInTheWay, places: &LibraryPlaces) -> Option<Problem> {
    let path = FilePath::new(&*found.path).ok()?;
    let above = places.folder_of(places.root_of(&path)?)?;
    let rest = path.as_bytes().strip_prefix(places.root_of(&path)?.as_bytes())?;
    let place = above.join(Path::new(OsStr::from_bytes(rest.strip_prefix(b"/")?)));
    let target = place.parent()?.join(OsStr::from_bytes(&found.target));
    let lie = plural(found.assets, "photo lies", "photos lie");
    let way_out = match target.canonicalize() {
        Ok(folder) if folder.is_dir() => {
            format!("--folder {path}={} takes it from there", folder.display())
        }
        Ok(_) => "put the photo itself there; a hard link will do".to_owned(),
        Err(_) => "and it leads nowhere: is its disk mounted?".to_owned(),
    };
    let message = format!(
        "it is a link to {}, which is not followed, and {lie} behind it; {way_out}",
        target.display()
    );
    Some(Problem { subject: path.to_string(), message })
}

/// Where the file list shows the folder of an external library that the server sees at `server`.
fn shown(server: &Path) -> Result<FilePath> {
    FilePath::new(format!("external/{}", server.to_string_lossy().trim_matches('/')))
}

/// The folders to walk.
fn roots(location: &UploadLocation, options: &Options) -> Result<Vec<LibraryRoot>> {
    let external = options.external.iter().map(external_root);
    location.roots(options.generated).into_iter().map(Ok).chain(external).collect()
}

/// A repository in a folder that is backed up would take itself in, every night anew.
fn refuse_nesting(repository: &Repository, roots: &[LibraryRoot]) -> Result<()> {
    let repository = repository.root();
    for folder in roots.iter().filter_map(|root| root.folder.canonicalize().ok()) {
        if repository.starts_with(&folder) || folder.starts_with(repository) {
            let message =
                format!("{} and {} lie in one another", repository.display(), folder.display());
            return Err(Error::new(ErrorKind::Refused, message)
                .hint("keep the repository outside of what it backs up, best on another disk"));
        }
    }
    Ok(())
}

fn external_root(external: &ExternalFolder) -> Result<LibraryRoot> {
    Ok(LibraryRoot { folder: external.folder.clone(), shown: shown(&external.server)? })
}

fn is_external(file: &FilePath) -> bool {
    file.parts().next() == Some(b"external")
}

/// A line of a list.
pub(in crate::task) fn line<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)
        .map_err(|error| Error::new(ErrorKind::Io, "writing a list").caused_by(error))?;
    line.push(b'\n');
    Ok(line)
}
