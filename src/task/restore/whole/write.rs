//! A full restore at work: files on several threads, archive after archive; then what stands on
//! them.
//!
//! Further names of files come after all files, and symlinks after these: no entry can be written
//! through another one. Folders get their rights and times last, from below to above.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::claim::ClaimState;
use super::plan::{WholeItem, WholePlan, firsts};
use super::{FOLDERS, MARKER, Options, RestoreRoots};
use crate::base::{Error, FilePath, Monitor, Result, SnapshotId};
use crate::catalog::{Catalog, Generation, query};
use crate::repo::content::SEGMENT;
use crate::repo::{ContentReader, Repository};
use crate::task::restore::STOPPED;
use crate::task::restore::engine::{FileResult, RestoreEngine, RestoreTally, folder_in_place};
use crate::task::restore::folder::{
    FileAttributes, PlaceContent, RestoreTarget, append, begin_writing,
};

/// What a thread takes at a time, of one archive: so many files, or so many bytes.
const BATCH: usize = 256;
const BATCH_BYTES: u64 = 8 << 20;
/// After so many bytes of a file the disk begins to write them.
const BEGIN: u64 = 8 << 20;

/// A restore at work.
pub(super) struct WholeWork<'a> {
    catalog: &'a Generation,
    contents: ContentReader,
    plan: &'a WholePlan,
    roots: &'a RestoreRoots,
    at: i64,
    options: &'a Options,
    engine: RestoreEngine<'a>,
    /// The files that are whole and in their place.
    whole: Vec<AtomicBool>,
}

/// What one thread works with.
struct WriterThread<'a> {
    catalog: Catalog,
    roots: &'a RestoreRoots,
    targets: Vec<Option<RestoreTarget>>,
}

impl WriterThread<'_> {
    fn target(&mut self, root: usize) -> Result<&mut RestoreTarget> {
        let target = &mut self.targets[root];
        match target {
            Some(target) => Ok(target),
            None => Ok(target.insert(RestoreTarget::create(&self.roots.0[root].0)?)),
        }
    }
}

impl<'a> WholeWork<'a> {
    pub fn new(
        repository: &Repository,
        catalog: &'a Generation,
        plan: &'a WholePlan,
        roots: &'a RestoreRoots,
        at: SnapshotId,
        options: &'a Options,
        monitor: &'a dyn Monitor,
    ) -> WholeWork<'a> {
        WholeWork {
            catalog,
            contents: repository.contents(),
            plan,
            roots,
            at: at.seconds(),
            options,
            engine: RestoreEngine::new(monitor, options.overwrite),
            whole: plan.files.iter().map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Writes all of it: durable on return.
    pub fn run(self) -> Result<RestoreTally> {
        let mut hands = self.hands()?;
        self.unlock_folders(&mut hands)?;
        self.files()?;
        self.links(&mut hands)?;
        self.symlinks(&mut hands)?;
        self.markers(&mut hands)?;
        self.finish_folders(&mut hands)?;
        for root in 0..self.roots.0.len() {
            hands.target(root)?.sync()?;
        }
        Ok(self.engine.tally())
    }

    fn hands(&self) -> Result<WriterThread<'a>> {
        let targets = self.roots.0.iter().map(|_| None).collect();
        Ok(WriterThread { catalog: self.catalog.connect()?, roots: self.roots, targets })
    }

    /// A run before this may have closed folders already.
    fn unlock_folders(&self, hands: &mut WriterThread<'_>) -> Result<()> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        for (root, path, attributes) in &self.plan.folders {
            if attributes.mode & 0o700 != 0o700 && self.roots.0[*root].1 != ClaimState::Empty {
                // What keeps us out is told where a file cannot be written.
                let _ = hands.target(*root)?.unlock(path);
            }
        }
        Ok(())
    }

    /// Writes the files, on several threads.
    fn files(&self) -> Result<()> {
        let batches = batches(&self.plan.files);
        self.engine.share(
            batches.len(),
            || self.hands(),
            |hands, number| self.batch(hands, batches[number].clone()),
        )
    }

    fn batch(&self, hands: &mut WriterThread<'_>, batch: Range<usize>) -> Result<()> {
        self.read_ahead(hands, &self.plan.files[batch.clone()]);
        for index in batch {
            let item = &self.plan.files[index];
            let done = self.file(hands, item);
            self.whole[index].store(done.is_ok(), Ordering::Relaxed);
            self.note(hands, item, item.attributes.size, done)?;
        }
        Ok(())
    }

    /// Says what of the archive is wanted next. Nothing depends on it.
    fn read_ahead(&self, hands: &WriterThread<'_>, items: &[WholeItem]) {
        if let [first, .., last] = items {
            let len = last.offset.saturating_sub(first.offset).min(BATCH_BYTES);
            self.contents.will_need(&hands.catalog, first.archive, first.offset, len);
        }
    }

    fn file(&self, hands: &mut WriterThread<'_>, item: &WholeItem) -> Result<FileResult> {
        STOPPED.check(self.engine.monitor)?;
        let (root, at) = self.place(item)?;
        if self.is_there(hands, item, root, &at)? {
            return Ok(FileResult::AlreadyThere);
        }
        if item.archive == 0 {
            return Err(Error::damaged("no archive holds its bytes"));
        }
        // The two parts of `hands` are used at the same time.
        let WriterThread { catalog, roots, targets } = hands;
        let target = match &mut targets[root] {
            Some(target) => target,
            none => none.insert(RestoreTarget::create(&roots.0[root].0)?),
        };
        target.write(&at, &item.attributes, self.options.overwrite, |file| {
            self.copy(catalog, item, file, &at)
        })?;
        Ok(FileResult::Written)
    }

    fn place(&self, item: &WholeItem) -> Result<(usize, FilePath)> {
        self.plan.at(item).ok_or_else(|| Error::damaged("its name in the catalog"))
    }

    /// True when what lies at `at` is `item`; an error when it is another thing that is not to be
    /// replaced.
    fn is_there(
        &self,
        hands: &mut WriterThread<'_>,
        item: &WholeItem,
        root: usize,
        at: &FilePath,
    ) -> Result<bool> {
        if root == 0 && is_marker(at) {
            // A server that was started before has made its own.
            return match hands.target(root)?.look(at, &item.attributes)? {
                PlaceContent::Nothing => Ok(false),
                PlaceContent::Folder => Err(folder_in_place(at)),
                PlaceContent::Alike(_) | PlaceContent::Other => Ok(true),
            };
        }
        if self.roots.0[root].1 == ClaimState::Empty {
            return Ok(false);
        }
        hands.target(root)?;
        let WriterThread { catalog, targets, .. } = hands;
        let Some(target) = &mut targets[root] else { return Ok(false) };
        self.engine.is_there(target, at, &item.attributes, |file| holds(catalog, item, file))
    }

    fn copy(
        &self,
        catalog: &Catalog,
        item: &WholeItem,
        file: &mut File,
        at: &FilePath,
    ) -> Result<()> {
        let size = item.attributes.size;
        let mut begun = 0;
        for index in 0..size.div_ceil(SEGMENT) {
            STOPPED.check(self.engine.monitor)?;
            let segment = self.contents.segment(catalog, item.content, index)?;
            append(file, &segment, at)?;
            let written = size.min((index + 1) * SEGMENT);
            if written - begun >= BEGIN {
                begin_writing(file, begun, written - begun);
                begun = written;
            }
            self.engine.monitor.advance(0, segment.len() as u64);
        }
        Ok(())
    }

    /// Gives files their further names.
    fn links(&self, hands: &mut WriterThread<'_>) -> Result<()> {
        let firsts = firsts(self.plan);
        for (item, first) in &self.plan.links {
            let done = self.link(hands, item, first, &firsts);
            self.note(hands, item, 0, done)?;
        }
        Ok(())
    }

    fn link(
        &self,
        hands: &mut WriterThread<'_>,
        item: &WholeItem,
        first: &(usize, FilePath),
        firsts: &HashMap<(usize, FilePath), usize>,
    ) -> Result<FileResult> {
        STOPPED.check(self.engine.monitor)?;
        let (root, at) = self.place(item)?;
        // Only of a file that is whole, with the same bytes: a list may claim anything.
        let same = |&index: &usize| {
            let other = &self.plan.files[index];
            other.content == item.content && self.whole[index].load(Ordering::Relaxed)
        };
        let target = hands.target(root)?;
        let identity = match firsts.get(first).filter(|index| first.0 == root && same(index)) {
            Some(_) => target.identity(&first.1)?,
            None => None,
        };
        let Some(identity) = identity else { return self.file(hands, item) };
        if target.identity(&at)? == Some(identity) || self.is_there(hands, item, root, &at)? {
            return Ok(FileResult::AlreadyThere);
        }
        if hands.target(root)?.hard_link(&first.1, identity, &at, self.options.overwrite)? {
            Ok(FileResult::Written)
        } else {
            self.file(hands, item)
        }
    }

    fn symlinks(&self, hands: &mut WriterThread<'_>) -> Result<()> {
        for symlink in &self.plan.symlinks {
            let done = self.symlink(hands, &symlink.item, &symlink.target);
            self.note(hands, &symlink.item, 0, done)?;
        }
        Ok(())
    }

    fn symlink(
        &self,
        hands: &mut WriterThread<'_>,
        item: &WholeItem,
        wanted: &[u8],
    ) -> Result<FileResult> {
        let (root, at) = self.place(item)?;
        self.engine.symlink(hands.target(root)?, &at, wanted, &item.attributes)
    }

    /// Makes the folders and markers that a server wants to find, where the snapshot did not bring
    /// them.
    fn markers(&self, hands: &mut WriterThread<'_>) -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let text = format!("{:013}", now.as_millis());
        let mtime_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        for name in FOLDERS {
            let folder = FilePath::new(name)?;
            let own = self.attributes_of(&folder);
            // As its neighbours are: what may write there may write here.
            let like = own.or_else(|| {
                ["upload", "library", "profile"]
                    .iter()
                    .find_map(|name| self.attributes_of(&FilePath::new(*name).ok()?))
            });
            let like =
                like.unwrap_or(FileAttributes { size: 0, mtime_ns, mode: 0o755, owner: None });
            if let Err(error) = self.marker(
                hands,
                &folder,
                own.is_some(),
                FileAttributes { mtime_ns, ..like },
                &text,
            ) {
                self.engine.leave_out(format!("{name}/{MARKER}"), error)?;
            }
        }
        Ok(())
    }

    fn marker(
        &self,
        hands: &mut WriterThread<'_>,
        folder: &FilePath,
        listed: bool,
        like: FileAttributes,
        text: &str,
    ) -> Result<()> {
        let (target, at) = (hands.target(0)?, folder.join(MARKER.as_bytes())?);
        if target.has(&at)? {
            return Ok(());
        }
        let is_new = !listed && !target.has(folder)?;
        let attributes = FileAttributes { size: text.len() as u64, mode: 0o644, ..like };
        target.write(&at, &attributes, false, |file| append(file, text.as_bytes(), &at))?;
        if is_new { target.finish_folder(folder, &like) } else { Ok(()) }
    }

    fn attributes_of(&self, folder: &FilePath) -> Option<FileAttributes> {
        let key = |(root, path, _): &(usize, FilePath, FileAttributes)| (*root, path.clone());
        let index = self
            .plan
            .folders
            .binary_search_by(|entry| key(entry).cmp(&(0, folder.clone())))
            .ok()?;
        Some(self.plan.folders[index].2)
    }

    /// From below to above: writing into a folder changes its time.
    fn finish_folders(&self, hands: &mut WriterThread<'_>) -> Result<()> {
        for (root, path, attributes) in self.plan.folders.iter().rev() {
            STOPPED.check(self.engine.monitor)?;
            if let Err(error) = hands.target(*root)?.finish_folder(path, attributes) {
                self.engine.leave_out(path.to_string(), error)?;
            }
        }
        Ok(())
    }

    /// Counts a file, or reports it as left out, by the photo that it is.
    fn note(
        &self,
        hands: &WriterThread<'_>,
        item: &WholeItem,
        bytes: u64,
        done: Result<FileResult>,
    ) -> Result<()> {
        self.engine.note(done, bytes, || {
            let at = match self.plan.at(item) {
                Some((0, at)) => at.to_string(),
                Some((root, at)) => {
                    let library = &self.options.external[root - 1];
                    format!("{}/{at}", super::claim::text(&library.server))
                }
                None => String::from_utf8_lossy(&item.name).into_owned(),
            };
            match hands.catalog.night(self.at).photo_in(item.row).unwrap_or_default() {
                Some((name, owner)) => format!("{at} ({name} of {owner})"),
                None => at,
            }
        })
    }
}

/// Files that are taken together: neighbours in one archive.
fn batches(files: &[WholeItem]) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, item) in files.iter().enumerate() {
        let fits = |batch: &&mut Range<usize>| {
            files[batch.start].archive == item.archive && batch.len() < BATCH && bytes < BATCH_BYTES
        };
        match batches.last_mut().filter(fits) {
            Some(batch) => batch.end = index + 1,
            None => {
                bytes = 0;
                batches.push(index..index + 1);
            }
        }
        bytes += item.attributes.size;
    }
    batches
}

fn is_marker(at: &FilePath) -> bool {
    at.name() == MARKER.as_bytes()
        && FOLDERS.iter().any(|name| at.parent_bytes() == Some(name.as_bytes()))
}

/// True when `file` holds the bytes of `item`.
fn holds(catalog: &Catalog, item: &WholeItem, file: &File) -> Result<bool> {
    let (_, place) = query::content_place(catalog, item.content)?;
    let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; SEGMENT as usize]);
    let mut file = file.take(item.attributes.size);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.finalize().as_bytes() == &place.hash.0),
            Ok(len) => hasher.update(&piece[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // What cannot be read is not the same.
            Err(_) => return Ok(false),
        };
    }
}
