//! A file system that fails on demand and remembers all that was done to it: real programs run on
//! it through the kernel.
//!
//! Every operation that changes something is counted: creating, writing, resizing, removing,
//! renaming, fsync of files and folders. One of them goes wrong, in the way that [`Fault`] says.

#![allow(dead_code)] // each test file uses its own part

pub mod disk;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    Session, TimeOrNow, WriteFlags,
};

use disk::{Body, TOP};
pub use disk::{Change, Disk, Kept};

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with EIO and is not done; the next ones succeed. Of an fsync: what was to be synced
    /// is not.
    Error,
    /// It and all after it fail with EIO: the cable was pulled.
    Gone,
    /// The disk is full from then on; a write is done by half.
    Full,
    /// It is done, and yet fails with EIO: a rename on a network share.
    Torn,
    /// It is done, and the process that asked for it is killed.
    Kill,
}

pub const FAULTS: [Fault; 5] = [Fault::Error, Fault::Gone, Fault::Full, Fault::Torn, Fault::Kill];

/// What a disk cannot do at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lack {
    #[default]
    Nothing,
    /// No rename that replaces nothing; links fail with EPERM (exFAT), or with the other.
    Names(Links),
    /// No rename either: nothing can be published.
    Renames,
    /// No names as above, and a file is written from front to back or not at all, and not read by
    /// whoever writes it (rclone).
    RandomWrites,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    Eperm,
    Eio,
}

/// The fault, and the number of the operation (from 0) that it happens to.
pub type Cut = Option<(Fault, usize)>;

struct State {
    disk: Disk,
    changes: Vec<Change>,
    /// Operations so far.
    count: usize,
    cut: Cut,
    lack: Lack,
}

/// The file system while it is mounted.
pub struct Mounted {
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
}

/// What became of the disk.
pub struct Outcome {
    pub disk: Disk,
    /// What was done, in order.
    pub changes: Vec<Change>,
    /// How many operations there were, failed ones too.
    pub count: usize,
}

impl Mounted {
    /// Mounts `disk` at the empty folder `point`.
    pub fn new(disk: Disk, point: &Path, cut: Cut) -> Mounted {
        Mounted::that_lacks(Lack::Nothing, disk, point, cut)
    }

    /// The same of a disk that cannot do so much.
    pub fn that_lacks(lack: Lack, disk: Disk, point: &Path, cut: Cut) -> Mounted {
        let state = Arc::new(Mutex::new(State { disk, changes: Vec::new(), count: 0, cut, lack }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RW, MountOption::FSName("faulty".to_owned())];
        let session = Session::new(Served(state.clone()), point, &config).unwrap().spawn().unwrap();
        Mounted { state, session: Some(session) }
    }

    /// Unmounts. Nobody may use it any more.
    pub fn end(mut self) -> Outcome {
        self.session.take().unwrap().umount_and_join().unwrap();
        let state = self.state.lock().unwrap();
        Outcome { disk: state.disk.clone(), changes: state.changes.clone(), count: state.count }
    }
}

impl State {
    /// Does `change`, unless it is the one that goes wrong.
    fn change(&mut self, change: Change, pid: u32) -> Result<(), Errno> {
        let number = self.count;
        self.count += 1;
        match self.cut {
            Some((Fault::Error, at)) if number == at => Err(Errno::EIO),
            Some((Fault::Gone, at)) if number >= at => Err(Errno::EIO),
            Some((Fault::Full, at)) if number >= at && change.takes_space() => Err(Errno::ENOSPC),
            Some((Fault::Torn, at)) if number == at => {
                self.apply(change);
                Err(Errno::EIO)
            }
            Some((Fault::Kill, at)) if number == at => {
                self.apply(change);
                let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                Ok(())
            }
            _ => {
                self.apply(change);
                Ok(())
            }
        }
    }

    fn apply(&mut self, change: Change) {
        self.disk.apply(&change, Kept::All);
        self.changes.push(change);
    }

    /// How many bytes of a write are done before the disk is full.
    fn fits(&self, len: usize) -> usize {
        match self.cut {
            Some((Fault::Full, at)) if self.count == at && len > 1 => len / 2,
            _ => len,
        }
    }

    fn attr(&self, node: u64) -> Result<FileAttr, Errno> {
        let found = self.disk.node(node).ok_or(Errno::ENOENT)?;
        let (kind, size) = match &found.body {
            Body::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
            Body::Folder(_) => (FileType::Directory, 4096),
        };
        Ok(FileAttr {
            ino: INodeNo(node),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: found.mode as u16,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn create(
        &mut self,
        folder: u64,
        name: &OsStr,
        mode: u32,
        is_folder: bool,
        pid: u32,
    ) -> Result<FileAttr, Errno> {
        if self.disk.child(folder, name).is_some() {
            return Err(Errno::EEXIST);
        }
        let node = self.disk.unused();
        self.change(
            Change::Create { folder, name: name.to_owned(), node, mode: mode & 0o7777, is_folder },
            pid,
        )?;
        self.attr(node)
    }

    fn remove(&mut self, folder: u64, name: &OsStr, pid: u32) -> Result<(), Errno> {
        let node = self.disk.child(folder, name).ok_or(Errno::ENOENT)?;
        self.change(Change::Remove { folder, name: name.to_owned(), node }, pid)
    }
}

impl Change {
    fn takes_space(&self) -> bool {
        matches!(self, Change::Create { .. } | Change::Write { .. })
    }
}

struct Served(Arc<Mutex<State>>);

/// The handle of whoever may write.
const WRITER: FileHandle = FileHandle(1);

fn handle(flags: i32) -> FileHandle {
    if flags & libc::O_ACCMODE == libc::O_RDONLY { FileHandle(0) } else { WRITER }
}

const TTL: Duration = Duration::from_secs(3600);

impl Served {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

fn done(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn entry(reply: ReplyEntry, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        let found = state.disk.child(parent.0, name).ok_or(Errno::ENOENT);
        entry(reply, found.and_then(|node| state.attr(node)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().attr(ino.0) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        let mut changed = Ok(());
        let now = state.attr(ino.0).map_or(0, |attr| attr.size);
        if size.is_some_and(|size| size > 0 && size != now) && state.lack == Lack::RandomWrites {
            return reply.error(Errno::EIO);
        }
        if let Some(size) = size {
            changed = state.change(Change::Resize { node: ino.0, size }, request.pid());
        }
        if let (Some(mode), Ok(())) = (mode, changed) {
            changed =
                state.change(Change::Mode { node: ino.0, mode: mode & 0o7777 }, request.pid());
        }
        match changed.and_then(|()| state.attr(ino.0)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let created = self.state().create(parent.0, name, mode & !umask, true, request.pid());
        entry(reply, created);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.state().remove(parent.0, name, request.pid()));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.state().remove(parent.0, name, request.pid()));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        match state.lack {
            Lack::Names(_) | Lack::Renames | Lack::RandomWrites if !flags.is_empty() => {
                return reply.error(Errno::EINVAL);
            }
            Lack::Renames => return reply.error(Errno::EIO),
            _ => {}
        }
        let taken = state.disk.child(newparent.0, newname).is_some();
        if flags.contains(RenameFlags::RENAME_NOREPLACE) && taken {
            return reply.error(Errno::EEXIST);
        }
        let Some(node) = state.disk.child(parent.0, name) else {
            return reply.error(Errno::ENOENT);
        };
        let (from, to) = ((parent.0, name.to_owned()), (newparent.0, newname.to_owned()));
        done(reply, state.change(Change::Rename { from, to, node }, request.pid()));
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        let is_eio = matches!(self.state().lack, Lack::Names(Links::Eio) | Lack::RandomWrites);
        reply.error(if is_eio { Errno::EIO } else { Errno::EPERM });
    }

    fn open(&self, _: &Request, _: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(handle(flags.0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if handle == WRITER && self.state().lack == Lack::RandomWrites {
            return reply.error(Errno::EPERM);
        }
        match self.state().disk.node(ino.0).map(|node| &node.body) {
            Some(Body::File(bytes)) => {
                let begin = bytes.len().min(offset as usize);
                reply.data(&bytes[begin..bytes.len().min(begin + size as usize)]);
            }
            _ => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        if state.lack == Lack::RandomWrites
            && !state.attr(ino.0).is_ok_and(|attr| attr.size == offset)
        {
            return reply.error(Errno::EIO);
        }
        let fits = state.fits(data.len());
        let change = Change::Write { node: ino.0, offset, bytes: Arc::new(data[..fits].to_vec()) };
        if fits < data.len() {
            state.count += 1;
            state.apply(change);
            return reply.written(fits as u32);
        }
        match state.change(change, request.pid()) {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, request: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(reply, self.state().change(Change::SyncFile(ino.0), request.pid()));
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(reply, self.state().change(Change::SyncFolder(ino.0), request.pid()));
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.state();
        let dots = [(".".into(), ino.0), ("..".into(), TOP)];
        let all = dots.into_iter().chain(state.disk.list(ino.0));
        for (number, (name, node)) in all.enumerate().skip(offset as usize) {
            let Ok(attr) = state.attr(node) else { continue };
            if reply.add(INodeNo(node), number as u64 + 1, attr.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 24, 1 << 23, 1 << 23, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        match self.state().create(parent.0, name, mode & !umask, false, request.pid()) {
            Ok(attr) => {
                reply.created(&TTL, &attr, Generation(0), handle(flags), FopenFlags::empty())
            }
            Err(errno) => reply.error(errno),
        }
    }
}
