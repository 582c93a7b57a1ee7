//! A backup at work: takes the dump, walks the files, and stages the snapshot.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::files::{FilePass, PassResult};
use super::gone::RowCounts;
use super::problem::{link, old_dump};
use super::share::ReadShare;
use super::{DumpSource, Options, alarm, dump, worse_since};
use crate::base::dump::{DumpInfo, DumpVerdict};
use crate::base::library::{Asset, LibraryRecord};
use crate::base::{
    Error, ErrorKind, FilePath, Monitor, Phase, Problem, Result, SnapshotId, StopNotice, json_line,
};
use crate::catalog::night::FoundElsewhere;
use crate::catalog::query;
use crate::immich;
use crate::repo::{
    Completeness, ContentReader, ContentSink, FORMAT_VERSION, FileCount, ReferenceStream,
    Repository, SnapshotRecord, SnapshotStreams, StagedSnapshot, StreamInfo, StreamWriter,
    WriteSession, WrittenArchives,
};
use crate::source::{ExcludePatterns, ExternalFolder, LibraryPlaces, LibraryRoot, UploadLocation};
use crate::task::space::{self, DiskSpace, SpaceVerdict};

/// How often database and files are looked at, at most.
const LOOKS: u32 = 3;
/// A dump that is older than this is spoken of.
const OLD: SignedDuration = SignedDuration::from_hours(48);

/// A backup at work.
pub(super) struct BackupWork<'a> {
    pub repository: &'a Repository,
    pub session: &'a WriteSession,
    pub sink: &'a ContentSink,
    pub contents: &'a ContentReader,
    /// The newest snapshot: what streams are patches on.
    pub newest: Option<SnapshotRecord>,
    /// The newest that was not imported: what lay on disk.
    pub last: Option<SnapshotRecord>,
    /// The snapshots that this one may not have shrunk since.
    pub before: Vec<SnapshotRecord>,
    pub location: UploadLocation,
    pub options: Options,
    pub monitor: &'a dyn Monitor,
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
            files.filter(|file| !file.is_external() && !self.places.is_walked(file)).cloned(),
        );
    }
}

impl BackupWork<'_> {
    /// Stores all that the snapshot `id` needs, and tries it: until database and files are one
    /// state, at most [`LOOKS`] times.
    pub fn run(
        &self,
        id: SnapshotId,
        last_good: Option<i64>,
    ) -> Result<(StagedSnapshot, PassResult)> {
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
        let mut apart = db.night(staged.record().id.seconds()).apart()?;
        if let (false, Some(before)) = (apart.is_empty(), self.last_good()) {
            let before = db.night(before.seconds()).apart()?;
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
                    writer.push(&json_line(&record)?)
                })
            },
        )?;
        if shared { Ok((stream, plan)) } else { Err(another_library()) }
    }

    /// The accounts of the last snapshot whose dump was good; none where any library will do.
    fn known_users(&self) -> Result<HashSet<Uuid>> {
        let db = self.session.generation().connect()?;
        match query::snapshot::newest_good(&db)? {
            Some(time) if !self.options.accept_other_library => db.night(time).user_ids(),
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
            let links = staged.catalog().night(staged.record().id.seconds()).links_in_the_way()?;
            problems.extend(links.iter().filter_map(|found| link(found, &plan.places)));
        }
        Ok(problems)
    }

    /// A first backup that cannot fit is refused before it takes an hour to find out. What an
    /// interrupted one has stored counts.
    pub fn refuse_overfull(&self) -> Result<()> {
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
        let stored = query::stored_bytes(&*self.session.generation().connect()?)?;
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
            self.session
                .generation()
                .connect()?
                .night(last.id.seconds())
                .count_files_below(&external)?
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
        let mut record = self.record(id, taken, pass, list, &written)?;
        if old_dump(&record, self.options.max_age).is_none() {
            let old = old_dump(&record, OLD);
            record.warnings.extend(old.map(|words| format!("the database dump: {words}")));
        }
        record.alarm = alarm::alarm(&self.before, &record, self.options.alarm_shrink);
        let db = self.session.generation().connect()?;
        record.alarm.extend(plan.pointed.alarm(&plan.places, pass, &self.before, &db)?);
        self.session.stage(record, &written)
    }

    /// What is known of the snapshot; the alarm comes later.
    fn record(
        &self,
        id: SnapshotId,
        taken: &TakenDump,
        pass: &PassResult,
        list: StreamInfo,
        written: &WrittenArchives,
    ) -> Result<SnapshotRecord> {
        let dump = &taken.dump;
        Ok(SnapshotRecord {
            format: FORMAT_VERSION,
            id,
            number: self.session.next_number()?,
            repository: self.repository.id().to_string(),
            host: Repository::host(),
            shoebox: env!("CARGO_PKG_VERSION").to_owned(),
            upload_location: self.location.folder().display().to_string(),
            dump: DumpInfo { made: dump::made(&taken.origin, dump), ..dump.info() },
            streams: SnapshotStreams {
                dump: taken.stream.clone(),
                files: list,
                library: taken.library.clone(),
            },
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
                .map(ExternalFolder::shown)
                .collect::<Result<_>>()?,
            walked: Some(pass.begun),
            alarm: Vec::new(),
            imported: None,
            written: None,
        })
    }

    fn reference(&self, pick: impl Fn(&SnapshotStreams) -> &StreamInfo) -> Result<ReferenceStream> {
        match &self.newest {
            None => Ok(ReferenceStream::default()),
            Some(newest) => {
                ReferenceStream::of(pick(&newest.streams), &*self.session.generation().connect()?)
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
            set up again on purpose, use --accept-other-library",
    )
}

/// The folders to walk.
pub(super) fn roots(location: &UploadLocation, options: &Options) -> Result<Vec<LibraryRoot>> {
    let external = options.external.iter().map(ExternalFolder::root);
    location.roots(options.generated).into_iter().map(Ok).chain(external).collect()
}
