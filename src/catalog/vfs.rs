//! The way by which SQLite reads a sealed catalog: each page is verified before SQLite sees it.
//!
//! A *VFS* (<https://sqlite.org/vfs.html>) called `shoebox-sealed`. Its files are [`SealedCatalog`] ones
//! that were opened before and are only lent here; nothing is ever written through it. What SQLite
//! opens besides, such as room for a large sort, goes to the VFS of the system. A page that is not
//! what was published is `SQLITE_IOERR_DATA`, which becomes `Damaged`.
//!
//! The crates for this need a C compiler's headers when they are built (sqlite-plugin) or a name in
//! UTF-8; this is the least of the interface that a file needs which never changes.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, OnceLock};

use rusqlite::ffi;

use super::seal::{PAGE, PageFailure, SealedCatalog};

/// What the VFS is called in a URI.
pub(super) const NAME: &str = "shoebox-sealed";
const C_NAME: &CStr = c"shoebox-sealed";

thread_local! {
    /// What the connection that this thread is opening reads.
    static LENT: Cell<Option<Arc<SealedCatalog>>> = const { Cell::new(None) };
}

/// Calls `open`, which opens one connection through this VFS: it reads `sealed`.
pub(super) fn lend<T>(
    sealed: &Arc<SealedCatalog>,
    open: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let code = registered();
    if code != ffi::SQLITE_OK {
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    }
    LENT.set(Some(sealed.clone()));
    let opened = open();
    LENT.set(None);
    opened
}

/// A file as SQLite holds it: it knows the first field alone, and gives the room for the whole.
#[repr(C)]
struct SealedFile {
    base: ffi::sqlite3_file,
    sealed: Option<Arc<SealedCatalog>>,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Of version 1: no shared memory, and no page that is mapped instead of read.
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(refuse_write),
    xTruncate: Some(refuse_size),
    xSync: Some(nothing),
    xFileSize: Some(size),
    xLock: Some(nothing),
    xUnlock: Some(nothing),
    xCheckReservedLock: Some(is_not_reserved),
    xFileControl: Some(no_control),
    xSectorSize: Some(sector),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Makes the VFS known to SQLite, once for the life of the process; SQLite's answer.
fn registered() -> c_int {
    static DONE: OnceLock<c_int> = OnceLock::new();
    *DONE.get_or_init(|| {
        // SAFETY: asked for the default VFS, SQLite (which this initialises) answers with one that
        // lives as long as the process, or with null.
        let Some(system) = (unsafe { ffi::sqlite3_vfs_find(std::ptr::null()).as_ref() }) else {
            return ffi::SQLITE_ERROR;
        };
        let room = c_int::try_from(size_of::<SealedFile>()).unwrap_or(c_int::MAX);
        let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
            zName: C_NAME.as_ptr(),
            pNext: std::ptr::null_mut(),
            szOsFile: system.szOsFile.max(room),
            xOpen: Some(open),
            ..*system
        }));
        // SAFETY: `vfs` and its name live as long as the process; what is not ours in it are
        // functions of the system's VFS, which look at nothing of it but what was copied.
        unsafe { ffi::sqlite3_vfs_register(vfs, 0) }
    })
}

/// `xOpen`: the catalog that was lent, or a file of the system.
unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 {
        // SAFETY: the arguments are SQLite's own, passed on to the VFS that they would have gone
        // to; `registered` saw to it that there is room for its file.
        return unsafe {
            let system = ffi::sqlite3_vfs_find(std::ptr::null());
            match system.as_ref().and_then(|system| system.xOpen) {
                Some(open) => open(system, name, file, flags, out),
                None => ffi::SQLITE_CANTOPEN,
            }
        };
    }
    let sealed = LENT.take();
    let code = if sealed.is_some() { ffi::SQLITE_OK } else { ffi::SQLITE_CANTOPEN };
    // SAFETY: `file` is room for `szOsFile` bytes, aligned for any type, which is ours until
    // `close`. Without methods SQLite takes it for not open. `out` is null or SQLite's.
    unsafe {
        let methods: *const ffi::sqlite3_io_methods =
            if sealed.is_some() { &raw const METHODS } else { std::ptr::null() };
        file.cast::<SealedFile>()
            .write(SealedFile { base: ffi::sqlite3_file { pMethods: methods }, sealed });
        if let Some(out) = out.as_mut() {
            *out = ffi::SQLITE_OPEN_READONLY | ffi::SQLITE_OPEN_MAIN_DB;
        }
    }
    code
}

/// `xClose`.
unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: only files that `open` wrote have these methods, and SQLite closes each once.
    unsafe { file.cast::<SealedFile>().drop_in_place() };
    ffi::SQLITE_OK
}

/// `xRead`. A piece that ends after the file is filled up with zeros, as SQLite asks for.
unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    len: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: only files that `open` wrote have these methods; `into` is room for `len` bytes that
    // nobody else looks at.
    let (sealed, bytes) = unsafe {
        let bytes =
            std::slice::from_raw_parts_mut(into.cast::<u8>(), usize::try_from(len).unwrap_or(0));
        (&(*file.cast::<SealedFile>()).sealed, bytes)
    };
    let (Some(sealed), Ok(offset)) = (sealed, u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    match sealed.read(offset, bytes) {
        Ok(true) => ffi::SQLITE_OK,
        Ok(false) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(PageFailure::Disk(_)) => ffi::SQLITE_IOERR_READ,
        Err(PageFailure::Page(_)) => ffi::SQLITE_IOERR_DATA,
    }
}

/// `xFileSize`.
unsafe extern "C" fn size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: only files that `open` wrote have these methods; `size` is SQLite's.
    let (sealed, size) = unsafe { (&(*file.cast::<SealedFile>()).sealed, size.as_mut()) };
    let (Some(sealed), Some(size)) = (sealed, size) else { return ffi::SQLITE_IOERR_FSTAT };
    *size = ffi::sqlite3_int64::try_from(sealed.size()).unwrap_or(ffi::sqlite3_int64::MAX);
    ffi::SQLITE_OK
}

unsafe extern "C" fn refuse_write(
    _: *mut ffi::sqlite3_file,
    _: *const c_void,
    _: c_int,
    _: ffi::sqlite3_int64,
) -> c_int {
    ffi::SQLITE_READONLY
}

unsafe extern "C" fn refuse_size(_: *mut ffi::sqlite3_file, _: ffi::sqlite3_int64) -> c_int {
    ffi::SQLITE_READONLY
}

unsafe extern "C" fn nothing(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn is_not_reserved(_: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: `out` is null or SQLite's.
    if let Some(out) = unsafe { out.as_mut() } {
        *out = 0;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn no_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector(_: *mut ffi::sqlite3_file) -> c_int {
    PAGE as c_int
}

unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_IMMUTABLE
}
