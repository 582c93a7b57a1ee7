//! Each FUSE operation: ask the view, reply. `SEMANTICS.md` says the same in a table.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
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
use super::preview::{self, PreviewQuestion};
use super::xattr;
use crate::base::Result;
use crate::view::live::{LiveView, absence, lifetime};
use crate::view::{FolderEntry, Ino, Node, NodeKind, ROOT};

/// The most bytes of one read: what the kernel allows.
const LARGEST_READ: u32 = 1 << 20;

/// Requests that may wait at once, for readers side by side.
const BACKGROUND: u16 = 64;

/// Cookies of `.` and `..`; a child's come after.
const DOTS: u64 = 2;

/// The view, with what only FUSE needs to know.
pub(super) struct FuseTree {
    live: Arc<LiveView>,
    uid: u32,
    gid: u32,
    xattrs: bool,
    /// Opens are answered once with ENOSYS, and the kernel sends no more.
    no_open: bool,
    no_opendir: bool,
    ends: ListingEnds,
}

impl FuseTree {
    /// The tree of `live`, owned as `options` say.
    pub fn new(live: Arc<LiveView>, options: &Options) -> FuseTree {
        FuseTree {
            live,
            uid: options.uid.unwrap_or_else(|| geteuid().as_raw()),
            gid: options.gid.unwrap_or_else(|| getegid().as_raw()),
            xattrs: options.xattrs,
            no_open: false,
            no_opendir: false,
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

    fn find(&self, parent: Ino, name: &[u8]) -> Result<Option<Node>> {
        let view = self.live.visit(parent);
        match name {
            b"." => view.node(parent).map(Some),
            b".." => view.node(view.parent(parent)?).map(Some),
            _ => view.child(parent, name),
        }
    }

    /// Hands `.`, `..` and the children of `ino` from `offset` on to `add`, with their cookies,
    /// until it says "full".
    fn list(
        &self,
        ino: Ino,
        offset: u64,
        mut add: impl FnMut(u64, &OsStr, &Node) -> bool,
    ) -> Result<()> {
        let view = self.live.visit(ino);
        if ino.is_fixed() && self.ends.ended(ino, offset) {
            return Ok(());
        }
        if offset < 1 && add(1, OsStr::new("."), &dot(ino)) {
            return Ok(());
        }
        if offset < DOTS && add(DOTS, OsStr::new(".."), &dot(view.parent(ino)?)) {
            return Ok(());
        }
        let mut last = Some(offset.max(DOTS));
        view.children(
            ino,
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

    fn xattr(&self, ino: Ino, name: &OsStr) -> Result<Option<Vec<u8>>> {
        let Some(asset) = self.live.glance(ino).asset(ino)? else { return Ok(None) };
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

    fn slot(&self, ino: Ino) -> Option<std::sync::MutexGuard<'_, (u64, u64)>> {
        let slot = self.0.get((ino.0 % 64) as usize)?;
        Some(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, ino: Ino, end: u64) {
        if let Some(mut slot) = self.slot(ino) {
            *slot = (ino.0, end);
        }
    }

    fn ended(&self, ino: Ino, offset: u64) -> bool {
        offset >= DOTS && self.slot(ino).is_some_and(|slot| *slot == (ino.0, offset))
    }
}

/// What a listing says of `.` and `..`: the kernel takes the number and that it is a folder,
/// nothing else.
fn dot(ino: Ino) -> Node {
    Node { ino, kind: NodeKind::Folder, size: 0, mtime_ns: 0, mode: 0o755, owner: None }
}

/// What the kernel takes as "there is no such name", to be believed for a while.
const NOTHING: Node =
    Node { ino: Ino(0), kind: NodeKind::File, size: 0, mtime_ns: 0, mode: 0, owner: None };

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

/// Operations that are always answered with one errno, each with its arguments after the request;
/// the last is the reply.
macro_rules! always {
    ($errno:ident: $($name:ident($($argument:ty),+);)+) => {
        $(always! { @one $errno $name [] $($argument),+ })+
    };
    (@one $errno:ident $name:ident [$($seen:ty,)*] $reply:ty) => {
        fn $name(&self, _: &Request, $(_: $seen,)* reply: $reply) {
            reply.error(Errno::$errno);
        }
    };
    (@one $errno:ident $name:ident [$($seen:ty,)*] $next:ty, $($rest:ty),+) => {
        always! { @one $errno $name [$($seen,)* $next,] $($rest),+ }
    };
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
        let parent = Ino(parent.0);
        match (self.find(parent, name.as_bytes()), absence(parent)) {
            (Ok(Some(node)), _) => reply.entry_with_ttls(
                &lifetime(node.ino),
                &lifetime(parent),
                &self.attr(&node),
                Generation(0),
            ),
            (Ok(None), Some(absent)) => {
                reply.entry(&absent, &self.attr(&NOTHING), Generation(0));
            }
            (Ok(None), None) => reply.error(Errno::ENOENT),
            (Err(error), _) => reply.error(errno(&error)),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        // What watches over mounts asks for the top and for `statfs` all day: nobody looks into the
        // mount for that.
        let ino = Ino(ino.0);
        let view = if ino == ROOT { self.live.glance(ino) } else { self.live.visit(ino) };
        match view.node(ino) {
            Ok(node) => reply.attr(&lifetime(ino), &self.attr(&node)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let ino = Ino(ino.0);
        match self.live.visit(ino).target(ino) {
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
        let mut reply = Some(reply);
        let read = self.live.read(Ino(ino.0), offset, size as usize, |bytes| {
            if let Some(reply) = reply.take() {
                reply.data(bytes);
            }
        });
        let Err(error) = read else { return };
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
        let listed = self.list(Ino(ino.0), offset, |cookie, name, node| {
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
        let listed = self.list(Ino(ino.0), offset, |cookie, name, node| {
            let attr = self.attr(node);
            reply.add(attr.ino, cookie, name, &lifetime(Ino(ino.0)), &attr, Generation(0))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.live.glance(ROOT).totals() {
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
        match self.xattr(Ino(ino.0), name) {
            Ok(Some(value)) => reply_xattr(reply, size, &value),
            Ok(None) => reply.error(Errno::ENODATA),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.xattrs {
            return reply.error(Errno::ENOSYS);
        }
        let ino = Ino(ino.0);
        match self.live.glance(ino).asset(ino) {
            Ok(asset) => {
                reply_xattr(reply, size, &asset.as_ref().map(xattr::names).unwrap_or_default())
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    // Operations that never do anything here: the kernel asks once, does them itself, and asks no
    // more.

    always! {
        ENOSYS:
        flush(INodeNo, FileHandle, LockOwner, ReplyEmpty);
        fsync(INodeNo, FileHandle, bool, ReplyEmpty);
        fsyncdir(INodeNo, FileHandle, bool, ReplyEmpty);
        lseek(INodeNo, FileHandle, i64, i32, ReplyLseek);
        poll(INodeNo, FileHandle, PollNotifier, PollEvents, PollFlags, ReplyPoll);
        bmap(INodeNo, u32, u64, ReplyBmap);
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
        let ino = Ino(ino.0);
        match self.live.visit(ino).preview(ino, edge, offset, preview::ROOM, preview::answer) {
            Ok(Some(answer)) => reply.ioctl(0, &answer),
            Ok(None) => reply.error(Errno::ENODATA),
            Err(error) => reply.error(errno(&error)),
        }
    }

    // Changes. The kernel refuses most by itself, since the mount is read-only.

    always! {
        EROFS:
        setattr(
            INodeNo, Option<u32>, Option<u32>, Option<u32>, Option<u64>, Option<TimeOrNow>,
            Option<TimeOrNow>, Option<SystemTime>, Option<FileHandle>, Option<SystemTime>,
            Option<SystemTime>, Option<SystemTime>, Option<BsdFileFlags>, ReplyAttr
        );
        mknod(INodeNo, &OsStr, u32, u32, u32, ReplyEntry);
        mkdir(INodeNo, &OsStr, u32, u32, ReplyEntry);
        unlink(INodeNo, &OsStr, ReplyEmpty);
        rmdir(INodeNo, &OsStr, ReplyEmpty);
        symlink(INodeNo, &OsStr, &Path, ReplyEntry);
        rename(INodeNo, &OsStr, INodeNo, &OsStr, RenameFlags, ReplyEmpty);
        link(INodeNo, INodeNo, &OsStr, ReplyEntry);
        create(INodeNo, &OsStr, u32, u32, i32, ReplyCreate);
        write(
            INodeNo, FileHandle, u64, &[u8], WriteFlags, OpenFlags, Option<LockOwner>, ReplyWrite
        );
        setxattr(INodeNo, &OsStr, &[u8], i32, u32, ReplyEmpty);
        removexattr(INodeNo, &OsStr, ReplyEmpty);
        fallocate(INodeNo, FileHandle, u64, u64, i32, ReplyEmpty);
        copy_file_range(
            INodeNo, FileHandle, u64, INodeNo, FileHandle, u64, u64, CopyFileRangeFlags, ReplyWrite
        );
    }
}
