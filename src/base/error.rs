//! The one error of the crate: what went wrong, and what to do next.
//!
//! An error is divided by what the caller does about it ([`ErrorKind`]), not by which library raised it.
//! A message is one lower-case line that names the thing; the source's words are not repeated in
//! it. The hint, if any, is the next step for the person at the terminal.

use std::fmt::Display;

/// `Result` with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The named thing is not there.
    NotFound,
    /// Something is there where nothing should be.
    Exists,
    /// Bytes on disk are not what was written; they are never handed out.
    Damaged,
    /// Another process holds the repository.
    Locked,
    /// Written by a newer shoebox, or beyond what this build can do.
    Unsupported,
    /// The person's input cannot be used as it is.
    Invalid,
    /// The library does not look like itself (unmounted disk, another library, a bad dump).
    Refused,
    /// A program that shoebox runs failed; the message holds its last lines.
    Program,
    /// The system does not permit it.
    Permission,
    /// No space is left where it was to be written.
    NoSpace,
    /// This process or machine has no descriptor, or no memory, left.
    Exhausted,
    /// Stopped by a signal.
    Interrupted,
    /// Any other failure of the operating system.
    Io,
    /// shoebox did something that it never should; no file is at fault.
    Bug,
}

/// What went wrong, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Display) -> Self {
        Error { kind, message: message.to_string(), hint: None, source: None }
    }

    /// Adds the next step for the person at the terminal.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Adds the error underneath.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message with those of its causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let words = cause.to_string();
            if !text.ends_with(&words) {
                text = format!("{text}: {words}");
            }
            source = cause.source();
        }
        text
    }

    /// True when bytes on disk cannot be had: they are not what was written, or the disk does not
    /// give them.
    pub fn is_damage(&self) -> bool {
        matches!(self.kind, ErrorKind::Damaged | ErrorKind::Io)
    }

    /// The next step for the person at the terminal.
    pub fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The same for somebody else who waited for it: the class, the words and the next step.
    #[must_use]
    pub fn repeated(&self) -> Self {
        Error { kind: self.kind, message: self.chain(), hint: self.hint.clone(), source: None }
    }

    /// A named thing that is not there.
    pub fn not_found(what: impl Display) -> Self {
        Error::new(ErrorKind::NotFound, format_args!("{what} not found"))
    }

    /// Bytes that are not what was written.
    pub fn damaged(what: impl Display) -> Self {
        Error::new(ErrorKind::Damaged, format_args!("damaged: {what}")).hint(
            "other photos are not affected; `shoebox backup --paranoid` stores it again \
                while the original is still on the server",
        )
    }

    /// Input that cannot be used as it is.
    pub fn invalid(message: impl Display) -> Self {
        Error::new(ErrorKind::Invalid, message)
    }

    /// Something that shoebox never should have done.
    pub fn bug(what: impl Display) -> Self {
        Error::new(ErrorKind::Bug, format_args!("internal error: {what}"))
            .hint("nothing is known to be damaged; please report this message as a bug of shoebox")
    }

    /// What an operating-system call on `what` said.
    pub fn io(what: impl Display, source: std::io::Error) -> Self {
        use std::io;
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::Permission
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            _ if is_exhausted(&source) => ErrorKind::Exhausted,
            _ => ErrorKind::Io,
        };
        Error::new(kind, what).caused_by(source).if_full()
    }

    /// Adds what to do about a disk that is full, or a limit that is reached, if that is what it
    /// is.
    #[must_use]
    pub fn if_full(self) -> Self {
        match self.kind {
            ErrorKind::NoSpace => self.hint(
                "free some space or use a larger disk, then run it again: it continues where it \
                    stopped",
            ),
            ErrorKind::Exhausted => self.hint(
                "allow more open files (`ulimit -n`, LimitNOFILE= of the service) or memory; what \
                    else runs here and holds them?",
            ),
            _ => self,
        }
    }
}

/// True when this process or machine has no descriptor, or no memory, left: no file is at fault.
pub fn is_exhausted(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        let kind = kind_of(&source);
        let repair =
            "`shoebox repair catalog` builds a new one from the archives; no photo is lost";
        match kind {
            ErrorKind::Bug => Error::bug("a wrong question to the catalog").caused_by(source),
            ErrorKind::Damaged => Error::new(kind, doing(&source)).caused_by(source).hint(repair),
            _ => Error::new(kind, doing(&source))
                .caused_by(source)
                .hint("look at the disk: is it mounted, writable, and its cable in place?")
                .if_full(),
        }
    }
}
/// The class of an error of rusqlite. What a row holds may be damage; how it was asked for is ours.
fn kind_of(source: &rusqlite::Error) -> ErrorKind {
    use rusqlite::Error as Sqlite;
    match source {
        Sqlite::SqliteFailure(error, _) | Sqlite::SqlInputError { error, .. } => {
            kind_of_code(*error)
        }
        Sqlite::FromSqlConversionFailure(..)
        | Sqlite::IntegralValueOutOfRange(..)
        | Sqlite::InvalidColumnType(..)
        | Sqlite::Utf8Error(..)
        | Sqlite::QueryReturnedNoRows
        | Sqlite::QueryReturnedMoreThanOneRow
        | Sqlite::BlobSizeError
        | Sqlite::UserFunctionError(_) => ErrorKind::Damaged,
        // A wrong statement, wrong parameters, and whatever a later rusqlite adds.
        _ => ErrorKind::Bug,
    }
}

/// The class of a result code of SQLite. The schema was compared with ours when the catalog was
/// opened, and lists are verified before they are taken in: a statement that does not fit is ours.
/// Source: <https://sqlite.org/rescode.html>.
fn kind_of_code(error: rusqlite::ffi::Error) -> ErrorKind {
    use rusqlite::ErrorCode;
    match error.code {
        ErrorCode::SystemIoFailure if error.extended_code == rusqlite::ffi::SQLITE_IOERR_DATA => {
            ErrorKind::Damaged
        }
        // The file may be as good as ever: nothing is rebuilt because a cable is loose.
        ErrorCode::SystemIoFailure => ErrorKind::Io,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TooBig => {
            ErrorKind::Damaged
        }
        ErrorCode::DiskFull => ErrorKind::NoSpace,
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly => {
            ErrorKind::Permission
        }
        ErrorCode::OutOfMemory => ErrorKind::Exhausted,
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed => ErrorKind::Locked,
        ErrorCode::OperationInterrupted => ErrorKind::Interrupted,
        ErrorCode::NoLargeFileSupport => ErrorKind::Unsupported,
        // A wrong statement, a broken constraint, a mismatch of types, misuse, and whatever a later
        // SQLite adds.
        _ => ErrorKind::Bug,
    }
}

/// What SQLite could not do. Source: <https://sqlite.org/rescode.html>.
fn doing(error: &rusqlite::Error) -> &'static str {
    use rusqlite::ffi::{
        SQLITE_FULL, SQLITE_IOERR_DATA, SQLITE_IOERR_DELETE, SQLITE_IOERR_FSYNC,
        SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE,
    };
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(SQLITE_IOERR_DATA) => "a page of the catalog is not what was written",
        Some(
            SQLITE_FULL
            | SQLITE_IOERR_WRITE
            | SQLITE_IOERR_FSYNC
            | SQLITE_IOERR_TRUNCATE
            | SQLITE_IOERR_DELETE,
        ) => "the catalog could not be written",
        _ => "the catalog could not be read",
    }
}

/// Names the thing that an operating-system call was about.
pub trait Context<T> {
    /// Wraps the failure with `what` it was about, such as `reading /mnt/usb/photos/shoebox.json`.
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|source| Error::io(what(), source))
    }
}

impl<T> Context<T> for std::result::Result<T, rustix::io::Errno> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|errno| Error::io(what(), errno.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_statement_is_a_bug_and_a_wrong_value_is_damage() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); INSERT INTO t VALUES (1, 'x')",
        )
        .unwrap();
        let number = |sql: &str| db.query_row(sql, (), |row| row.get::<_, i64>(0));
        for wrong in ["SELECT nothing FROM t", "SELECT FROM", "SELECT a FROM t WHERE a = ?1"] {
            let error = Error::from(number(wrong).unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Bug, "{wrong}: {error}");
            assert!(error.next_step().unwrap().contains("report"), "{wrong}");
        }
        let twice = db.execute("INSERT INTO t VALUES (1, 'y')", ()).unwrap_err();
        assert_eq!(Error::from(twice).kind(), ErrorKind::Bug);
        for value in ["SELECT b FROM t", "SELECT a FROM t WHERE a = 2"] {
            let error = Error::from(number(value).unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Damaged, "{value}: {error}");
            assert!(error.next_step().unwrap().contains("repair catalog"), "{value}");
        }
    }

    #[test]
    fn who_hears_of_an_error_again_gets_its_class_and_words() {
        let error = Error::io("reading x", std::io::Error::from_raw_os_error(libc::EMFILE));
        let again = error.repeated();
        assert_eq!((again.kind(), again.to_string()), (ErrorKind::Exhausted, error.chain()));
        assert_eq!(again.next_step(), error.next_step());
    }
}
