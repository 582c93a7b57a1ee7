//! What a dump of Immich's database means: whether it is whole, and what library it describes.
//!
//! A dump is text that is read once, front to back, in bounded memory; nothing in it is ever
//! executed. Every byte is handed on as it arrives, so that one pass verifies, understands and
//! stores it. Tables and columns are found by their names, in every shape they have had from v1.92
//! to v3.3 ([`tables`]); the rows that matter wait in a temporary SQLite file ([`staging`]) and
//! come out as sorted [`LibraryRecord`]s.
//!
//! A damaged or foreign dump is no error but a [`DumpVerdict`]: the caller decides what becomes of it.
//!
//! Limits: dumps of pg_dump and pg_dumpall in plain format with COPY blocks, in UTF-8. A line may
//! have 256 MiB. A table whose columns have a line end in their name is refused.

mod choose;
mod copy;
mod database;
mod dump_name;
mod duplicates;
mod encoding;
pub mod fit;
mod input;
mod lexer;
mod library;
mod newness;
mod oddities;
mod paths;
mod planted;
mod scan;
mod staging;
mod tables;
mod time;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;

pub use self::dump_name::{DumpName, LEFT_OUT};
use self::input::{DumpInput, LineCollector};
use self::library::StagedLibrary;
pub use self::newness::{READER, is_worth_rereading, newer_than_known};
pub use self::paths::PathMap;
pub use self::planted::{CodeKind, PlantedCode, QUESTION, planted};
use self::scan::{DumpScan, ScanStop};
use crate::base::dump::DumpInfo;
pub use crate::base::dump::{DumpKind, DumpVerdict};
use crate::base::library::{LibraryCensus, LibraryRecord};
use crate::base::{Error, ErrorKind, Result};

/// How to read a dump.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The database that is Immich's, where a cluster dump holds several.
    pub database: Option<&'a str>,
    /// A folder for a temporary file of about the size of the rows that matter.
    pub staging: &'a Path,
}

/// A dump that was read to its end.
pub struct ReadDump {
    pub verdict: DumpVerdict,
    pub kind: DumpKind,
    /// The database that was read, where the dump names it.
    pub database: Option<String>,
    /// The version of the server, such as `15.20`.
    pub postgres: Option<String>,
    /// The version of pg_dump.
    pub tool: Option<String>,
    /// When pg_dump began, where it was asked to say so (`--verbose`).
    pub started: Option<Timestamp>,
    /// The version of Immich that ran last.
    pub immich: Option<String>,
    /// The newest migration: what shape the tables have.
    pub schema: Option<String>,
    /// Where Immich's container sees UPLOAD_LOCATION.
    pub media_location: Option<String>,
    /// PostgreSQL extensions that the database needs.
    pub extensions: Vec<String>,
    pub census: LibraryCensus,
    /// Rows of every table of the database; tables outside the schema `public` as `schema.table`.
    pub rows: BTreeMap<String, u64>,
    /// Plain bytes.
    pub bytes: u64,
    pub lines: u64,
    /// Keys that two rows have, one lower-case line each.
    pub duplicates: Vec<String>,
    /// What is odd about a dump that is otherwise good, one lower-case line each.
    pub warnings: Vec<String>,
    /// What this reader looked for and did not find, or found and does not know: views lack it. One
    /// lower-case line each.
    pub lacks: Vec<String>,
    /// It is whole, and has no table of Immich: another program's.
    pub is_foreign: bool,
    /// It is whole, and bad only because a restore would refuse it.
    pub is_unfit: bool,
    library: Option<StagedLibrary>,
}

impl ReadDump {
    /// Hands out what the dump says, sorted by [`LibraryRecord::key`], each key once. Refused for a bad
    /// dump.
    pub fn records(&self, each: &mut dyn FnMut(LibraryRecord) -> Result<()>) -> Result<()> {
        let refused = || Error::new(ErrorKind::Refused, "a bad dump has no records");
        self.library.as_ref().ok_or_else(refused)?.records(each)
    }

    /// What a snapshot's record keeps of it.
    pub fn info(&self) -> DumpInfo {
        DumpInfo {
            kind: self.kind,
            verdict: self.verdict.clone(),
            unfit: self.is_unfit,
            database: self.database.clone(),
            immich: self.immich.clone(),
            schema: self.schema.clone(),
            postgres: self.postgres.clone(),
            tool: self.tool.clone(),
            extensions: self.extensions.clone(),
            duplicates: self.duplicates.clone(),
            made: None,
            media_location: self.media_location.clone(),
            rows: self.rows.clone(),
            reader: READER,
            lacks: self.lacks.clone(),
        }
    }

    /// True when it may count as a backup.
    pub fn is_good(&self) -> bool {
        self.verdict == DumpVerdict::Good
    }

    fn empty(kind: DumpKind) -> ReadDump {
        ReadDump {
            verdict: DumpVerdict::Good,
            kind,
            database: None,
            postgres: None,
            tool: None,
            started: None,
            immich: None,
            schema: None,
            media_location: None,
            extensions: Vec::new(),
            census: LibraryCensus::default(),
            rows: BTreeMap::new(),
            bytes: 0,
            lines: 0,
            duplicates: Vec::new(),
            warnings: Vec::new(),
            lacks: Vec::new(),
            is_foreign: false,
            is_unfit: false,
            library: None,
        }
    }
}

/// Reads a dump, plain or packed ([`input`]), to its end; every byte that pg_dump printed goes to
/// `tee`, in order, also after it turned out bad (except that nothing follows damaged data).
///
/// # Errors
/// What fails on our side: reading, `tee`, the temporary file. [`crate::base::ErrorKind::Invalid`] where the person
/// has to choose: two databases of Immich and none named, or none of that name.
pub fn read(
    input: &mut dyn Read,
    options: &Options,
    tee: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<ReadDump> {
    let mut input = DumpInput::open(input)?;
    let mut scan = DumpScan::new(options.staging, options.database);
    let mut fault = input.foreign.take().map(|reason| bad(1, reason));
    let mut lines = LineCollector::new();
    let (mut bytes, mut ends, mut last) = (0, 0, b'\n');
    loop {
        let got = match input.read(lines.space()) {
            Ok(0) => break,
            Ok(got) => got,
            Err(input::InputStop::Failed(error)) => return Err(error),
            Err(input::InputStop::Damaged(reason)) => {
                fault.get_or_insert_with(|| bad(ends + 1, reason));
                break;
            }
        };
        let fresh = lines.fresh(got);
        tee(fresh)?;
        bytes += got as u64;
        ends += memchr::memchr_iter(b'\n', fresh).count() as u64;
        last = fresh[got - 1];
        let whole = lines.push(got);
        if fault.is_none() {
            fault = judge(scan.lines(lines.front(whole)), &scan)?;
        }
        if fault.is_none() && whole == 0 && lines.too_long() {
            fault = Some(bad(scan.line + 1, "a line is longer than any that pg_dump writes"));
        }
        let done = if fault.is_some() { lines.pending() } else { whole };
        lines.drop_front(done);
    }
    if fault.is_none() {
        fault = judge(scan.lines(lines.front(lines.pending())).and_then(|()| scan.end()), &scan)?;
    }
    let mut dump = match fault {
        None => choose::choose(scan, options.database)?,
        Some(verdict) => choose::describe(&scan, verdict),
    };
    dump.warnings.extend(input.warning().map(str::to_owned));
    dump.bytes = bytes;
    dump.lines = ends + u64::from(last != b'\n');
    Ok(dump)
}

fn bad(line: u64, reason: impl Into<String>) -> DumpVerdict {
    DumpVerdict::Bad { line, reason: reason.into() }
}

/// The verdict that ends a scan, if it ends.
fn judge(outcome: Result<(), ScanStop>, scan: &DumpScan) -> Result<Option<DumpVerdict>> {
    match outcome {
        Ok(()) => Ok(None),
        Err(ScanStop::Bad(reason)) => {
            let (line, reason) = scan.fault().unwrap_or((scan.line.max(1), reason));
            Ok(Some(bad(line, reason)))
        }
        Err(ScanStop::Failed(error)) => Err(error),
    }
}
