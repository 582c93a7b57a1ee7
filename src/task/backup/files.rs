//! The files: one merge of two sorted streams, what is on disk and what the last snapshot had.
//!
//! The walk decides what must be read; reader threads read it; one thread writes the list in order.
//! Channels between them are bounded, so memory is.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::certain::ReadTime;
use super::read::{FileReader, ReadOutcome};
use super::share::ReadShare;
use crate::base::file::{FileEntry, FileKind};
use crate::base::{
    Context, Error, ErrorKind, FilePath, Hash, Monitor, Phase, Problem, Result, StopNotice,
    json_line,
};
use crate::catalog::{Catalog, Generation, query};
use crate::repo::{self, ContentReader, ContentSink, SnapshotRecord, StreamReader, StreamWriter};
use crate::source::{FoundEntry, FoundKind, LibraryPlaces, WalkObstacle};

/// Entries that go to the list writer at once: one by one, waking it costs more than its work.
const BATCH: usize = 64;
/// Batches that may wait for the list writer.
const BATCHES: usize = 64;

/// How often who waits for a reader looks whether there is one.
const LOOK_UP: Duration = Duration::from_millis(500);

/// One pass over the files.
pub(super) struct FilePass<'a> {
    pub sink: &'a ContentSink,
    pub generation: &'a Generation,
    pub contents: &'a ContentReader,
    pub places: &'a LibraryPlaces,
    pub last: Option<&'a SnapshotRecord>,
    /// Folder for the list while it is made.
    pub scratch: PathBuf,
    /// What is read again though it seems unchanged.
    pub reread: ReadShare,
    pub readers: usize,
    pub monitor: &'a dyn Monitor,
}

/// What a pass found.
#[derive(Debug)]
pub(super) struct PassResult {
    list: File,
    /// Files (folders and symlinks aside), and their bytes.
    pub files: u64,
    pub bytes: u64,
    pub begun: Timestamp,
    /// The files by the root that they lie in.
    roots: HashMap<FilePath, u64>,
    /// Files that were not read.
    pub unchanged: u64,
    /// What could not be stored.
    pub problems: Vec<Problem>,
    unsettled: bool,
}

impl PassResult {
    /// True when something changed or vanished under the reader's hands: a second look is due.
    pub fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// How many files lie in the roots at and below `folder`.
    pub fn files_in(&self, folder: &FilePath) -> u64 {
        let below =
            self.roots.iter().filter(|(root, _)| root.as_path().starts_with(folder.as_path()));
        below.map(|(_, files)| files).sum()
    }

    /// The list as a stream.
    pub fn copy_list(&self, writer: &mut StreamWriter<'_>) -> Result<()> {
        let mut list = self.reader()?;
        let mut piece = vec![0; 1 << 20];
        loop {
            match list.read(&mut piece).context(|| "reading the list of files")? {
                0 => return Ok(()),
                len => writer.push(&piece[..len])?,
            }
        }
    }

    fn reader(&self) -> Result<BufReader<File>> {
        let mut list = self.list.try_clone().context(|| "reading the list of files")?;
        list.rewind().context(|| "reading the list of files")?;
        Ok(BufReader::with_capacity(1 << 16, list))
    }
}

/// An entry of the list, or the promise of one.
struct ListSlot {
    content: EntryPromise,
    /// Other names of the same file will follow.
    has_links: bool,
}

enum EntryPromise {
    Ready(FileEntry),
    /// A file that is being read; nothing when it could not be stored.
    Reading(Receiver<Option<FileEntry>>),
    /// Another name of a file that stands in the list already.
    Link(FileEntry),
}

struct ReadJob {
    found: FoundEntry,
    reply: Sender<Option<FileEntry>>,
}

/// What the threads of a pass share.
struct PassShared<'a> {
    problems: Mutex<Vec<Problem>>,
    unsettled: AtomicBool,
    failed: AtomicBool,
    monitor: &'a dyn Monitor,
}

impl<'a> FilePass<'a> {
    /// Walks, reads what is new, writes the list. `before` is the pass before this one, if there
    /// was one.
    pub fn run(
        &self,
        walk: impl Iterator<Item = std::result::Result<FoundEntry, WalkObstacle>> + Send,
        before: Option<PassResult>,
    ) -> Result<PassResult> {
        self.monitor.begin(Phase::Store, None, None);
        let begun = Timestamp::now();
        let shared = PassShared {
            problems: Mutex::default(),
            unsettled: false.into(),
            failed: false.into(),
            monitor: self.monitor,
        };
        let list = tempfile::tempfile_in(&self.scratch).context(|| "making the list of files")?;
        let mut pass = thread::scope(|scope| {
            let (jobs, queue) = bounded::<ReadJob>(self.readers * 2);
            let (slots, listed) = bounded::<Vec<ListSlot>>(BATCHES);
            let readers: Vec<_> = (0..self.readers)
                .map(|_| {
                    let (queue, shared) = (queue.clone(), &shared);
                    scope.spawn(move || self.read(shared, queue))
                })
                .collect();
            let lister = scope.spawn(|| write_list(list, listed, self.places, &shared));
            drop(queue);
            let walked = self
                .merge(before.as_ref(), &shared, &jobs)
                .and_then(|merge| merge.run(walk, slots));
            drop(jobs);
            // A reader's failure is the cause of whatever failed after it.
            for reader in readers {
                reader.join().map_err(|_| ended("reads files"))??;
            }
            let pass = lister.join().map_err(|_| ended("lists files"))??;
            walked.map(|unchanged| PassResult { unchanged, begun, ..pass })
        })?;
        pass.problems = shared.problems.into_inner().unwrap_or_default();
        pass.unsettled = shared.unsettled.into_inner();
        Ok(pass)
    }

    fn merge<'b>(
        &'b self,
        before: Option<&PassResult>,
        shared: &'b PassShared<'b>,
        jobs: &'b Sender<ReadJob>,
    ) -> Result<ListMerge<'b>> {
        let db = self.generation.connect()?;
        let lost = query::lost_contents(&db)?;
        let known = self.known(before)?.peekable();
        let reading =
            before.map(|pass| ReadTime::at(pass.begun)).or_else(|| self.last.map(ReadTime::of));
        Ok(ListMerge {
            files: self,
            db,
            known,
            reading,
            lost,
            links: HashMap::new(),
            unchanged: 0,
            shared,
            jobs,
        })
    }

    /// The entries of the pass before, else of the last snapshot.
    fn known(
        &self,
        before: Option<&PassResult>,
    ) -> Result<Box<dyn Iterator<Item = Result<FileEntry>> + '_>> {
        let list: Box<dyn Read + '_> = match (before, self.last) {
            (Some(pass), _) => Box::new(pass.reader()?),
            (None, None) => Box::new(std::io::empty()),
            (None, Some(last)) => Box::new(StreamReader::new(
                self.generation.connect()?,
                self.contents,
                &last.streams.files,
            )),
        };
        let entry = |line: Result<Vec<u8>>| {
            let damaged = || Error::damaged("the list of files of the last snapshot");
            serde_json::from_slice(&line?).map_err(|error| damaged().caused_by(error))
        };
        Ok(Box::new(repo::lines(list).map(entry)))
    }

    fn read(&self, shared: &PassShared<'_>, queue: Receiver<ReadJob>) -> Result<()> {
        let alarm = EndAlarm { failed: &shared.failed, armed: true };
        let verify = (self.reread == ReadShare::Everything).then_some(self.contents);
        let mut reader = FileReader::new(
            self.sink,
            self.places,
            self.generation.connect()?,
            verify,
            self.monitor,
        );
        for job in queue {
            let outcome = reader.store(&job.found)?;
            // The lister is gone only when the pass has failed.
            let _ = job.reply.send(shared.settle(job.found.path, outcome));
        }
        alarm.disarm();
        Ok(())
    }
}

/// Tells the other threads when its own ends early, by an error or a panic.
struct EndAlarm<'a> {
    failed: &'a AtomicBool,
    armed: bool,
}

impl EndAlarm<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for EndAlarm<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

impl PassShared<'_> {
    fn problem(&self, problem: Problem) {
        self.problems.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(problem);
    }

    /// The entry that a reader promised; nothing when the readers have failed, even if the promise
    /// is still in a queue.
    fn wait(&self, reading: &Receiver<Option<FileEntry>>) -> Option<FileEntry> {
        loop {
            match reading.recv_timeout(LOOK_UP) {
                Ok(entry) => return entry,
                Err(RecvTimeoutError::Timeout) if !self.failed.load(Ordering::Relaxed) => {}
                Err(_) => return None,
            }
        }
    }

    fn settle(&self, path: FilePath, outcome: ReadOutcome) -> Option<FileEntry> {
        let message = match outcome {
            ReadOutcome::Stored(entry) => {
                self.monitor.advance(1, entry.size);
                return Some(entry);
            }
            ReadOutcome::Changing => "it kept changing while it was read".to_owned(),
            ReadOutcome::Vanished => "it vanished before it could be read".to_owned(),
            ReadOutcome::Unreadable(message) => message,
        };
        self.unsettled.store(true, Ordering::Relaxed);
        self.problem(Problem { subject: path.to_string(), message });
        None
    }
}

/// The walk beside the last list.
struct ListMerge<'a> {
    files: &'a FilePass<'a>,
    db: Catalog,
    known: Peekable<Box<dyn Iterator<Item = Result<FileEntry>> + 'a>>,
    /// When those that are known were read.
    reading: Option<ReadTime>,
    /// Contents that no archive holds any more: their files are read again.
    lost: HashSet<Hash>,
    /// First path of each file that has several: by device, inode, and (inodes alone wobble on NAS
    /// systems) size and time.
    links: HashMap<(u64, u64, u64, i64), FilePath>,
    unchanged: u64,
    shared: &'a PassShared<'a>,
    jobs: &'a Sender<ReadJob>,
}

impl ListMerge<'_> {
    /// Fills `slots` from the walk; the number of files that need not be read. Ends early when
    /// another thread failed.
    fn run(
        mut self,
        walk: impl Iterator<Item = std::result::Result<FoundEntry, WalkObstacle>>,
        slots: Sender<Vec<ListSlot>>,
    ) -> Result<u64> {
        let mut batch = Vec::with_capacity(BATCH);
        for found in walk {
            StopNotice::CONTINUES.check(self.files.monitor)?;
            match found {
                Ok(found) => batch.extend(self.slot(found)?),
                Err(WalkObstacle::Problem(problem)) => self.shared.problem(problem),
                Err(WalkObstacle::End(error)) => return Err(error),
            }
            let full = batch.len() >= BATCH;
            let sent = !full
                || slots.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).is_ok();
            if !sent || self.shared.failed.load(Ordering::Relaxed) {
                return Ok(self.unchanged);
            }
        }
        // A lister that is gone has failed, and says so itself.
        let _ = slots.send(batch);
        Ok(self.unchanged)
    }

    fn slot(&mut self, found: FoundEntry) -> Result<Option<ListSlot>> {
        if found.kind == FoundKind::File {
            let link = self.first_name(&found);
            let has_links = found.links > 1 && link.is_none();
            return Ok(Some(ListSlot { content: self.file(found, link)?, has_links }));
        }
        match other_entry(found) {
            Ok(entry) => {
                Ok(Some(ListSlot { content: EntryPromise::Ready(entry), has_links: false }))
            }
            Err(problem) => {
                self.shared.problem(problem);
                Ok(None)
            }
        }
    }

    /// The first path of the file, when this is another one.
    fn first_name(&mut self, found: &FoundEntry) -> Option<FilePath> {
        if found.links < 2 {
            return None;
        }
        let first = self
            .links
            .entry((found.dev, found.ino, found.size, found.mtime))
            .or_insert_with(|| found.path.clone());
        (*first != found.path).then(|| first.clone())
    }

    fn file(&mut self, found: FoundEntry, link: Option<FilePath>) -> Result<EntryPromise> {
        if let Some(hash) = self.unchanged(&found)? {
            self.unchanged += 1;
            self.files.monitor.advance(1, found.size);
            return Ok(EntryPromise::Ready(FileEntry {
                hash: Some(hash),
                link,
                ..entry(&found, FileKind::File)
            }));
        }
        if link.is_some() {
            return Ok(EntryPromise::Link(FileEntry { link, ..entry(&found, FileKind::File) }));
        }
        let (reply, reading) = bounded(1);
        // When nobody takes jobs any more, the readers have failed; `reading` then says so by its
        // silence.
        let _ = self.jobs.send(ReadJob { found, reply });
        Ok(EntryPromise::Reading(reading))
    }

    /// What the last list has at `path`. A list that is damaged ends here: what it would have said
    /// is read again.
    fn last(&mut self, path: &FilePath) -> Result<Option<FileEntry>> {
        match same_path(&mut self.known, path) {
            Err(error) if error.kind() == ErrorKind::Damaged => {
                let message = "it is damaged; what it names is read again".to_owned();
                self.files.monitor.problem(Problem {
                    subject: "the last snapshot's list of files".to_owned(),
                    message,
                });
                self.known =
                    (Box::new(std::iter::empty()) as Box<dyn Iterator<Item = _>>).peekable();
                Ok(None)
            }
            other => other,
        }
    }

    /// The content of a file that need not be read: as the last snapshot had it, or an interrupted
    /// backup.
    fn unchanged(&mut self, found: &FoundEntry) -> Result<Option<Hash>> {
        let last = self.last(&found.path)?;
        if self.files.reread.includes(&found.path) {
            return Ok(None);
        }
        let is_certain = |reading: &ReadTime| reading.holds_for(found);
        // Inodes wobble on NAS systems and are no evidence (restic#2499).
        let same = |last: &FileEntry| {
            let is_alike =
                last.kind == FileKind::File && last.size == found.size && last.mtime == found.mtime;
            is_alike && self.reading.as_ref().is_some_and(is_certain)
        };
        let hash =
            last.filter(same).and_then(|last| last.hash).filter(|hash| !self.lost.contains(hash));
        match hash {
            Some(hash) => Ok(Some(hash)),
            None => {
                let seen = query::seen(&self.db, &found.path, found.size, found.mtime)?;
                let is_certain = |(_, archive): &(Hash, String)| {
                    repo::time_of(archive).is_some_and(|id| ReadTime::since(id).holds_for(found))
                };
                Ok(seen.filter(is_certain).map(|(hash, _)| hash))
            }
        }
    }
}

/// Moves `known` on to `path`; what it has there.
fn same_path(
    known: &mut Peekable<impl Iterator<Item = Result<FileEntry>>>,
    path: &FilePath,
) -> Result<Option<FileEntry>> {
    let before = |entry: &Result<FileEntry>| entry.as_ref().is_ok_and(|entry| entry.path < *path);
    while known.next_if(before).is_some() {}
    known.next_if(|entry| entry.as_ref().map_or(true, |entry| entry.path == *path)).transpose()
}

fn entry(found: &FoundEntry, kind: FileKind) -> FileEntry {
    FileEntry {
        path: found.path.clone(),
        kind,
        size: if kind == FileKind::File { found.size } else { 0 },
        mtime: found.mtime,
        mode: found.mode,
        uid: found.uid,
        gid: found.gid,
        hash: None,
        target: None,
        link: None,
    }
}

/// A folder or a symlink. Pipes, sockets and devices are not stored.
fn other_entry(found: FoundEntry) -> std::result::Result<FileEntry, Problem> {
    match found.kind {
        FoundKind::Symlink => Ok(FileEntry {
            target: Some(found.target.clone().unwrap_or_default()),
            ..entry(&found, FileKind::Symlink)
        }),
        FoundKind::Special => {
            let path = found.path.to_string();
            let message = format!(
                "it is a pipe, a socket or a device and was left out; --exclude {} accepts that",
                shlex::try_quote(&globset::escape(&path)).unwrap_or_default()
            );
            Err(Problem { subject: path, message })
        }
        FoundKind::Folder | FoundKind::File => Ok(entry(&found, FileKind::Folder)),
    }
}

fn write_list(
    list: File,
    slots: Receiver<Vec<ListSlot>>,
    places: &LibraryPlaces,
    shared: &PassShared<'_>,
) -> Result<PassResult> {
    let mut out = BufWriter::with_capacity(1 << 18, list);
    let mut pass = (0, 0);
    let mut roots = HashMap::new();
    let mut linked: HashMap<FilePath, FileEntry> = HashMap::new();
    for ListSlot { content, has_links } in slots.into_iter().flatten() {
        let entry = match content {
            EntryPromise::Ready(entry) => Some(entry),
            EntryPromise::Reading(reading) => shared.wait(&reading),
            EntryPromise::Link(entry) => link(entry, &linked, shared),
        };
        let Some(entry) = entry else { continue };
        if entry.kind == FileKind::File {
            pass = (pass.0 + 1, pass.1 + entry.size);
            count_in(&mut roots, places.root_of(&entry.path));
        }
        out.write_all(&json_line(&entry)?).context(|| "writing the list of files")?;
        if has_links {
            linked.insert(entry.path.clone(), entry);
        }
    }
    let list = out
        .into_inner()
        .map_err(|error| Error::io("writing the list of files", error.into_error()))?;
    Ok(PassResult {
        list,
        files: pass.0,
        bytes: pass.1,
        begun: Timestamp::MIN,
        roots,
        unchanged: 0,
        problems: Vec::new(),
        unsettled: false,
    })
}

fn count_in(roots: &mut HashMap<FilePath, u64>, root: Option<&FilePath>) {
    let Some(root) = root else { return };
    match roots.get_mut(root) {
        Some(files) => *files += 1,
        None => drop(roots.insert(root.clone(), 1)),
    }
}

/// A hard link shows what its first name shows, as it was when that was read.
fn link(
    entry: FileEntry,
    linked: &HashMap<FilePath, FileEntry>,
    shared: &PassShared<'_>,
) -> Option<FileEntry> {
    let first = entry.link.as_ref().and_then(|first| linked.get(first));
    if first.is_none() {
        let message = "it is another name of a file that could not be read".to_owned();
        shared.problem(Problem { subject: entry.path.to_string(), message });
    }
    first.map(|first| FileEntry { hash: first.hash, size: first.size, mtime: first.mtime, ..entry })
}

fn ended(what: &str) -> Error {
    Error::new(ErrorKind::Io, format_args!("a thread that {what} ended early"))
}
