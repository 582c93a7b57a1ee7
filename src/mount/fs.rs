//! Each FUSE operation: ask the view, reply. `SEMANTICS.md` says the same in a table.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags,
    PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::process::{getegid, geteuid};

use super::Options;
use super::errno::errno;
use super::idle::IdleClock;
use super::preview::{self, PreviewQuestion};
use super::xattr;
use crate::base::{ErrorKind, Result};
use crate::view::ino::NodePlace;
use crate::view::{FolderEntry, Ino, Node, NodeKind, View};

/// How long the kernel believes what lies in a snapshot: it never changes.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// How long it believes the top, `snapshots/` and `latest`; also how often a newer catalog is
/// looked for.
const SHORT: Duration = Duration::from_secs(1);

/// How long it believes that a name of a snapshot is not there.
const ABSENT: Duration = Duration::from_secs(60);

/// The most bytes of one read: what the kernel allows.
const LARGEST_READ: u32 = 1 << 20;

/// Requests that may wait at once, for readers side by side.
const BACKGROUND: u16 = 64;

/// Damaged files that are remembered, so that each is reported once.
const REPORTED: usize = 4096;

/// Cookies of `.` and `..`; a child's come after.
const DOTS: u64 = 2;

/// The view, with what only FUSE needs to know.
pub(super) struct FuseTree {
    view: Arc<View>,
    uid: u32,
    gid: u32,
    xattrs: bool,
    /// Opens are answered once with ENOSYS, and the kernel sends no more.
    no_open: bool,
    no_opendir: bool,
    clock: IdleClock,
    /// Milliseconds of `clock` when a newer catalog was last looked for.
    looked: AtomicU64,
    stuck: AtomicBool,
    reported: Mutex<HashSet<u64>>,
    ends: ListingEnds,
}

impl FuseTree {
    /// The tree of `view`, owned as `options` say.
    pub fn new(view: Arc<View>, options: &Options, clock: IdleClock) -> FuseTree {
        FuseTree {
            view,
            uid: options.uid.unwrap_or_else(|| geteuid().as_raw()),
            gid: options.gid.unwrap_or_else(|| getegid().as_raw()),
            xattrs: options.xattrs,
            no_open: false,
            no_opendir: false,
            clock,
            looked: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
            reported: Mutex::new(HashSet::new()),
            ends: ListingEnds::new(),
        }
    }

    fn attr(&self, node: &Node) -> FileAttr {
        let time = time(node.mtime_ns);
        let (uid, gid) = node.owner.unwrap_or((self.uid, self.gid));
        FileAttr {
            ino: INodeNo(node.ino.0),
            size: node.size,
            blocks: node.size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: file_type(node.kind),
            perm: node.mode,
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Looks for a newer catalog, at most once a second, where `ino` is a place that shows it.
    fn refresh(&self, ino: INodeNo) {
        if is_fixed(ino) {
            return;
        }
        let now = self.clock.now();
        let last = self.looked.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= SHORT.as_millis() as u64;
        if !due
            || self
                .looked
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        if let Err(error) = self.view.refresh()
            && !self.stuck.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, hint = error.next_step(), "the newer catalog cannot be shown");
        }
    }

    fn find(&self, parent: INodeNo, name: &[u8]) -> Result<Option<Node>> {
        match name {
            b"." => self.view.node(Ino(parent.0)).map(Some),
            b".." => self.view.node(self.view.parent(Ino(parent.0))?).map(Some),
            _ => self.view.child(Ino(parent.0), name),
        }
    }

    /// Hands `.`, `..` and the children of `ino` from `offset` on to `add`, with their cookies,
    /// until it says "full".
    fn list(
        &self,
        ino: INodeNo,
        offset: u64,
        mut add: impl FnMut(u64, &OsStr, &Node) -> bool,
    ) -> Result<()> {
        self.clock.touch();
        self.refresh(ino);
        if is_fixed(ino) && self.ends.ended(ino, offset) {
            return Ok(());
        }
        if offset < 1 && add(1, OsStr::new("."), &dot(Ino(ino.0))) {
            return Ok(());
        }
        if offset < DOTS && add(DOTS, OsStr::new(".."), &dot(self.view.parent(Ino(ino.0))?)) {
            return Ok(());
        }
        let mut last = Some(offset.max(DOTS));
        self.view.children(
            Ino(ino.0),
            offset.saturating_sub(DOTS),
            &mut |FolderEntry { name, cookie, node }| {
                if add(cookie + DOTS, OsStr::from_bytes(name), &node) {
                    last = None;
                    ControlFlow::Break(())
                } else {
                    last = Some(cookie + DOTS);
                    ControlFlow::Continue(())
                }
            },
        )?;
        if let Some(last) = last {
            self.ends.note(ino, last);
        }
        Ok(())
    }

    /// Says once for each file that it cannot be read.
    fn report(&self, ino: INodeNo, error: &crate::base::Error) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < REPORTED && reported.insert(ino.0) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(ino = ino.0, %error, cause, "a file cannot be read");
        }
    }

    fn xattr(&self, ino: INodeNo, name: &OsStr) -> Result<Option<Vec<u8>>> {
        let Some(asset) = self.view.asset(Ino(ino.0))? else { return Ok(None) };
        let found = xattr::all(&asset).into_iter().find(|(known, _)| OsStr::new(known) == name);
        Ok(found.map(|(_, value)| value))
    }
}

/// Where listings ended lately. The kernel asks each time whether there is more: this answers
/// without a question to the catalog. One slot for each few inodes, each a folder and its end.
struct ListingEnds([Mutex<(u64, u64)>; 64]);

impl ListingEnds {
    fn new() -> ListingEnds {
        ListingEnds(std::array::from_fn(|_| Mutex::new((0, 0))))
    }

    fn slot(&self, ino: INodeNo) -> Option<std::sync::MutexGuard<'_, (u64, u64)>> {
        let slot = self.0.get((ino.0 % 64) as usize)?;
        Some(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, ino: INodeNo, end: u64) {
        if let Some(mut slot) = self.slot(ino) {
            *slot = (ino.0, end);
        }
    }

    fn ended(&self, ino: INodeNo, offset: u64) -> bool {
        offset >= DOTS && self.slot(ino).is_some_and(|slot| *slot == (ino.0, offset))
    }
}

/// What a listing says of `.` and `..`: the kernel takes the number and that it is a folder,
/// nothing else.
fn dot(ino: Ino) -> Node {
    Node { ino, kind: NodeKind::Folder, size: 0, mtime_ns: 0, mode: 0o755, owner: None }
}

/// True for what lies in a snapshot.
fn is_fixed(ino: INodeNo) -> bool {
    matches!(NodePlace::unpack(Ino(ino.0)), Some(NodePlace::In(..)))
}

/// How long the kernel may believe an entry of `parent`, or the attributes of `parent` itself.
fn ttl(parent: INodeNo) -> Duration {
    if is_fixed(parent) { LONG } else { SHORT }
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Folder => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
    }
}

fn time(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    let time = if nanoseconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// Replies with `value` as xattr calls want it: its size when nothing is asked for, ERANGE when it
/// does not fit.
fn reply_xattr(reply: ReplyXattr, size: u32, value: &[u8]) {
    match (size as usize, u32::try_from(value.len())) {
        (0, Ok(len)) => reply.size(len),
        (room, _) if room < value.len() => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}

impl Filesystem for FuseTree {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let offered = config.capabilities();
        self.no_open = offered.contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        self.no_opendir = offered.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        // CACHE_SYMLINKS: each path through `latest` is a question otherwise. It is another symlink
        // each time that it moves. AUTO_INVAL_DATA: listings of the top and of `snapshots/` are
        // dropped when their mtime moves.
        let wanted = InitFlags::FUSE_NO_OPEN_SUPPORT
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_AUTO_INVAL_DATA
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_EXPORT_SUPPORT;
        for flag in wanted & offered {
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(LARGEST_READ);
        let _ = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.clock.touch();
        self.refresh(parent);
        match self.find(parent, name.as_bytes()) {
            Ok(Some(node)) => reply.entry_with_ttls(
                &ttl(INodeNo(node.ino.0)),
                &ttl(parent),
                &self.attr(&node),
                Generation(0),
            ),
            Ok(None) if is_fixed(parent) => {
                let nothing = Node {
                    ino: Ino(0),
                    kind: NodeKind::File,
                    size: 0,
                    mtime_ns: 0,
                    mode: 0,
                    owner: None,
                };
                reply.entry(&ABSENT, &self.attr(&nothing), Generation(0));
            }
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        // What watches over mounts asks for the top and for `statfs` all day: nobody looks into the
        // mount for that.
        if ino != INodeNo::ROOT {
            self.clock.touch();
        }
        self.refresh(ino);
        match self.view.node(Ino(ino.0)) {
            Ok(node) => reply.attr(&ttl(ino), &self.attr(&node)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.clock.touch();
        self.refresh(ino);
        match self.view.target(Ino(ino.0)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.no_open {
            reply.error(Errno::ENOSYS)
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE)
        }
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.no_opendir {
            reply.error(Errno::ENOSYS)
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR)
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.clock.touch();
        let mut reply = Some(reply);
        let read = self.view.read(Ino(ino.0), offset, size as usize, |bytes| {
            if let Some(reply) = reply.take() {
                reply.data(bytes);
            }
        });
        let Err(error) = read else { return };
        if error.kind() != ErrorKind::Invalid {
            self.report(ino, &error);
        }
        if let Some(reply) = reply {
            reply.error(errno(&error));
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.list(ino, offset, |cookie, name, node| {
            reply.add(INodeNo(node.ino.0), cookie, file_type(node.kind), name)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.list(ino, offset, |cookie, name, node| {
            reply.add(INodeNo(node.ino.0), cookie, name, &ttl(ino), &self.attr(node), Generation(0))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.view.totals() {
            Ok(totals) => {
                reply.statfs(totals.bytes.div_ceil(512), 0, 0, totals.contents, 0, 512, 255, 512)
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.xattrs {
            return reply.error(Errno::ENOSYS);
        }
        match self.xattr(ino, name) {
            Ok(Some(value)) => reply_xattr(reply, size, &value),
            Ok(None) => reply.error(Errno::ENODATA),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.xattrs {
            return reply.error(Errno::ENOSYS);
        }
        match self.view.asset(Ino(ino.0)) {
            Ok(asset) => {
                reply_xattr(reply, size, &asset.as_ref().map(xattr::names).unwrap_or_default())
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    // Operations that never do anything here: the kernel asks once, does them itself, and asks no
    // more.

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn bmap(&self, _: &Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        command: u32,
        asked: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        let (preview::REQUEST, Some(PreviewQuestion { edge, offset })) =
            (command, PreviewQuestion::read(asked))
        else {
            return reply.error(Errno::ENOTTY);
        };
        self.clock.touch();
        match self.view.preview(Ino(ino.0), edge, offset, preview::ROOM, preview::answer) {
            Ok(Some(answer)) => reply.ioctl(0, &answer),
            Ok(None) => reply.error(Errno::ENODATA),
            Err(error) => reply.error(errno(&error)),
        }
    }

    // Changes. The kernel refuses most by itself, since the mount is read-only.

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }
}
