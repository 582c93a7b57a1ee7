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
mod last;
mod problem;
mod read;
mod share;
mod work;
mod worse;

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

pub use self::dump::DumpSource;
use self::files::PassResult;
use self::last::{last_good, last_records, next_id};
use self::problem::{
    duplicates, nothing_in_it, of_clock, old_dump, unfit, views, warn_of_the_last,
};
use self::work::{BackupWork, roots};
use crate::base::amount::{plural, size};
use crate::base::{Error, ErrorKind, Monitor, Problem, Result};
use crate::catalog::night::WorseOriginal;
use crate::repo::notes::NoteKind;
use crate::repo::{
    ContentSink, Repository, SnapshotRecord, StagedSnapshot, WriteSession, WrittenArchives,
};
use crate::source::{ExternalFolder, LibraryRoot, UploadLocation};
use crate::task::audit::{self, AuditClass, AuditTallies};
use crate::task::reread::reread;

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
        staged.catalog().night(staged.record().id.seconds()).worsened(before)
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

/// A repository in a folder that is backed up would take itself in, every night again.
fn refuse_nesting(repository: &Repository, roots: &[LibraryRoot]) -> Result<()> {
    let repository = repository.root();
    for folder in roots.iter().filter_map(|root| root.folder.canonicalize().ok()) {
        if repository.starts_with(&folder) || folder.starts_with(repository) {
            let message =
                format!("{} and {} are inside one another", repository.display(), folder.display());
            return Err(Error::new(ErrorKind::Refused, message)
                .hint("keep the repository outside of what it backs up, best on another disk"));
        }
    }
    Ok(())
}
