//! Writing files out, on several threads: what a selection and a whole snapshot share.
//!
//! Always holds: what is there already and is not the same stays, unless it is to be replaced; a
//! file that cannot be written is a problem by its name, and the others come out.

use std::fs::File;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::STOPPED;
use super::folder::{FileAttributes, PlaceContent, RestoreTarget};
use crate::base::{Error, ErrorKind, FilePath, Monitor, Problem, Result};

/// Threads that write at most.
const WRITERS: usize = 4;

/// How one file ended.
pub(super) enum FileResult {
    Written,
    AlreadyThere,
}

/// What was done so far.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct RestoreTally {
    pub restored: u64,
    pub restored_bytes: u64,
    pub already_there: u64,
}

/// Writes what a plan says, and counts it.
pub(super) struct RestoreEngine<'a> {
    pub monitor: &'a dyn Monitor,
    /// Replace what is there and differs.
    overwrite: bool,
    tally: Mutex<RestoreTally>,
}

impl<'a> RestoreEngine<'a> {
    pub fn new(monitor: &'a dyn Monitor, overwrite: bool) -> RestoreEngine<'a> {
        RestoreEngine { monitor, overwrite, tally: Mutex::default() }
    }

    /// What was done.
    pub fn tally(&self) -> RestoreTally {
        *self.locked()
    }

    fn locked(&self) -> MutexGuard<'_, RestoreTally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the numbers below `count` to several threads, each with what `begin` makes for it. All
    /// threads end before the first failure is returned.
    pub fn share<T>(
        &self,
        count: usize,
        begin: impl Fn() -> Result<T> + Sync,
        each: impl Fn(&mut T, usize) -> Result<()> + Sync,
    ) -> Result<()> {
        let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let writer = || {
            let mut own = begin()?;
            while !has_failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                each(&mut own, number)?;
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(WRITERS);
        std::thread::scope(|scope| {
            let work =
                || writer().inspect_err(|_: &Error| has_failed.store(true, Ordering::Relaxed));
            let writers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let ended = writers.into_iter().map(|writer| {
                writer.join().unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Io, "a thread that restores ended early"))
                })
            });
            ended.collect::<Vec<Result<()>>>().into_iter().collect()
        })
    }

    /// Writes a file, unless the same is there: `holds` tells whether a file that looks so has its
    /// bytes, `copy` writes them.
    pub fn file(
        &self,
        target: &mut RestoreTarget,
        at: &FilePath,
        attributes: &FileAttributes,
        holds: impl FnOnce(&File) -> Result<bool>,
        copy: impl FnOnce(&mut File) -> Result<()>,
    ) -> Result<FileResult> {
        STOPPED.check(self.monitor)?;
        if self.is_there(target, at, attributes, holds)? {
            return Ok(FileResult::AlreadyThere);
        }
        target.write(at, attributes, self.overwrite, copy)?;
        Ok(FileResult::Written)
    }

    /// True when the same file is there; an error when it is another thing that is not to be
    /// replaced.
    pub fn is_there(
        &self,
        target: &mut RestoreTarget,
        at: &FilePath,
        attributes: &FileAttributes,
        holds: impl FnOnce(&File) -> Result<bool>,
    ) -> Result<bool> {
        match target.look(at, attributes)? {
            PlaceContent::Nothing => Ok(false),
            PlaceContent::Folder => Err(folder_in_place(at)),
            PlaceContent::Alike(file) if holds(&file)? => Ok(true),
            PlaceContent::Alike(_) | PlaceContent::Other if self.overwrite => Ok(false),
            PlaceContent::Alike(_) | PlaceContent::Other => Err(exists(
                at,
                "exists with other content or time, not overwritten (--overwrite replaces it)",
            )),
        }
    }

    /// Makes a symlink that leads to `wanted`, unless it is there.
    pub fn symlink(
        &self,
        target: &mut RestoreTarget,
        at: &FilePath,
        wanted: &[u8],
        like: &FileAttributes,
    ) -> Result<FileResult> {
        STOPPED.check(self.monitor)?;
        match target.look(at, like)? {
            PlaceContent::Nothing => {}
            _ if target.target_of(at)?.as_deref() == Some(wanted) => {
                return Ok(FileResult::AlreadyThere);
            }
            PlaceContent::Folder => return Err(folder_in_place(at)),
            _ if !self.overwrite => {
                return Err(exists(at, "exists, not overwritten (--overwrite replaces it)"));
            }
            _ => {}
        }
        target.link(at, wanted, like, self.overwrite)?;
        Ok(FileResult::Written)
    }

    /// Counts a file of so many `bytes`, or reports it by its `subject` as left out. Fails where the
    /// next one would end no better.
    pub fn note(
        &self,
        done: Result<FileResult>,
        bytes: u64,
        subject: impl FnOnce() -> String,
    ) -> Result<()> {
        match done {
            Ok(FileResult::Written) => {
                let mut tally = self.locked();
                tally.restored += 1;
                tally.restored_bytes += bytes;
            }
            Ok(FileResult::AlreadyThere) => self.locked().already_there += 1,
            Err(error) => return self.leave_out(subject(), error),
        }
        self.monitor.advance(1, 0);
        Ok(())
    }

    /// Reports what is left out; fails where the next one would end no better.
    pub fn leave_out(&self, subject: String, error: Error) -> Result<()> {
        if matches!(
            error.kind(),
            ErrorKind::NoSpace | ErrorKind::Exhausted | ErrorKind::Interrupted
        ) {
            return Err(error);
        }
        self.monitor.problem(Problem { subject, message: error.chain() });
        Ok(())
    }
}

/// What lies at `at` is a folder, which is never replaced.
pub(super) fn folder_in_place(at: &FilePath) -> Error {
    exists(at, "a folder of that name is there")
}

fn exists(at: &FilePath, message: &str) -> Error {
    Error::new(ErrorKind::Exists, format_args!("{at}: {message}"))
}
