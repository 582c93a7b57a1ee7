//! Reads a dump line by line: what stands where, and whether it is whole.
//!
//! The first thing that is wrong ends the scan, with its line and a reason that a person
//! understands. What always holds for a dump that ends well: every database in it, and the cluster,
//! ended with its completion comment; every `\restrict` was lifted by its own key; every COPY block
//! was closed, and each of its rows had as many fields as its header has columns.
//!
//! Limits: statements are followed for their quoting, not understood; a dump that was edited by
//! hand may pass.

use std::path::Path;

use jiff::Timestamp;

use super::copy::{self, CopyHeader};
use super::database::{self, DumpDatabase};
use super::duplicates::UnstagedIds;
use super::encoding::{self, DumpEncoding};
use super::input::MIXED;
use super::lexer::DumpLexer;
use super::staging::{StagePlan, StagingFile};
use super::tables::{StagedTable, VITAL};
use super::time;
use crate::base::{Error, Result};

/// More tables than a server holds; bounds the memory that a hostile dump can ask for.
const MAX_TABLES: usize = 100_000;
/// More databases than one server holds.
const MAX_DATABASES: usize = 1_000;
/// Each database of Immich keeps a temporary file open until one is chosen.
const MAX_STAGED: usize = 16;

/// Why a scan ends early.
pub enum ScanStop {
    /// The dump is bad, for this reason.
    Bad(String),
    /// Something failed on our side.
    Failed(Error),
}

impl From<Error> for ScanStop {
    fn from(error: Error) -> Self {
        ScanStop::Failed(error)
    }
}

fn bad<T>(reason: impl Into<String>) -> Result<T, ScanStop> {
    Err(ScanStop::Bad(reason.into()))
}

/// What part of the dump the next line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanPlace {
    /// Before the comment that begins a dump.
    Head,
    /// In a cluster dump, outside of any database's.
    Cluster,
    /// In a database's dump.
    Database,
    /// After the completion comment, before the line that closes it; then comes this.
    Closing { cluster: bool },
    /// After the end.
    End,
}

/// A COPY block that is being read.
#[derive(Default)]
struct ScanBlock {
    /// The table as a person knows it.
    table: String,
    /// `None` where the header is not understood.
    columns: Option<usize>,
    plan: Option<StagePlan>,
    /// Of a table that is not staged.
    ids: Option<UnstagedIds>,
    rows: u64,
}

/// The scan so far.
pub struct DumpScan<'a> {
    staging: &'a Path,
    wanted: Option<&'a str>,
    place: ScanPlace,
    lexer: DumpLexer,
    block: Option<ScanBlock>,
    /// The key of the `\restrict` that is in force.
    key: Option<String>,
    tables: usize,
    current: usize,
    /// What the database at hand is written in.
    encoding: DumpEncoding,
    pub line: u64,
    pub cluster: bool,
    pub databases: Vec<DumpDatabase>,
    pub postgres: Option<String>,
    pub tool: Option<String>,
    pub started: Option<Timestamp>,
}

impl<'a> DumpScan<'a> {
    /// Begins; only the database `wanted` is staged, if one is.
    pub fn new(staging: &'a Path, wanted: Option<&'a str>) -> Self {
        DumpScan {
            staging,
            wanted,
            place: ScanPlace::Head,
            lexer: DumpLexer::default(),
            block: None,
            key: None,
            tables: 0,
            current: 0,
            encoding: DumpEncoding::Utf8,
            line: 0,
            cluster: false,
            databases: vec![DumpDatabase::default()],
            postgres: None,
            tool: None,
            started: None,
        }
    }

    /// Goes over `bytes`, which are whole lines (the dump's last one may lack its line end).
    pub fn lines(&mut self, bytes: &[u8]) -> Result<(), ScanStop> {
        let returns = memchr::memchr(b'\r', bytes).is_some();
        // Nearly all is clean UTF-8, and looked at once for many lines.
        let clean = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| memchr::memchr(0, text.as_bytes()).is_none());
        let mut at = 0;
        while at < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[at..]).map(|end| at + end);
            let line = at..end.unwrap_or(bytes.len());
            self.line += 1;
            match clean {
                Some(text) if self.encoding == DumpEncoding::Utf8 => {
                    self.next(&text[line], returns)?
                }
                _ => self.raw(&bytes[line], returns)?,
            }
            at = end.map_or(bytes.len(), |end| end + 1);
        }
        Ok(())
    }

    /// A line that may be no text. What lies in a database that is not Immich's passes as bytes.
    fn raw(&mut self, line: &[u8], returns: bool) -> Result<(), ScanStop> {
        if memchr::memchr(0, line).is_some() {
            self.spoil("there is a NUL byte: the dump was rewritten or damaged")?;
        }
        match self.encoding.decode(line) {
            Some(text) => self.next(&text, returns),
            None => {
                self.spoil(match self.encoding {
                    DumpEncoding::Utf8 => "it is not UTF-8: the dump was rewritten or damaged",
                    _ => "it is not in the encoding that the dump names",
                })?;
                self.next(&String::from_utf8_lossy(line), returns)
            }
        }
    }

    /// Something is wrong on this line: the fault of the database that it belongs to, which may not
    /// be Immich's.
    fn spoil(&mut self, reason: impl Into<String>) -> Result<(), ScanStop> {
        match self.place {
            ScanPlace::Database | ScanPlace::Closing { .. } => {
                self.databases[self.current].fault.get_or_insert((self.line, reason.into()));
                Ok(())
            }
            ScanPlace::Cluster => Ok(()),
            ScanPlace::Head | ScanPlace::End => bad(reason),
        }
    }

    /// What was wrong with the only database before the scan ended.
    pub fn fault(&self) -> Option<(u64, String)> {
        if self.cluster { None } else { self.databases[self.current].fault.clone() }
    }

    /// The end of the dump: `Err` unless it may end here.
    pub fn end(&self) -> Result<(), ScanStop> {
        if let Some(block) = &self.block {
            return bad(format!(
                "the dump ends in the rows of table {}: it was cut short",
                block.table
            ));
        }
        match self.place {
            ScanPlace::Head if self.line == 0 => bad("the dump is empty"),
            ScanPlace::Head => {
                bad("it ends before a dump of pg_dump or pg_dumpall begins: it was cut short")
            }
            ScanPlace::End if self.key.is_none() => Ok(()),
            _ => bad("the dump ends before its last line: it was cut short"),
        }
    }

    fn next(&mut self, line: &str, returns: bool) -> Result<(), ScanStop> {
        if self.block.is_some() {
            if returns && line.contains('\r') {
                self.spoil(MIXED)?;
            }
            return self.row(line);
        }
        if let ScanPlace::Closing { cluster } = self.place {
            return self.close(line, cluster);
        }
        if self.lexer.at_start() && self.begins(line)? {
            return Ok(());
        }
        self.lexer.line(line);
        if self.place == ScanPlace::Database {
            self.databases[self.current].trial.line(line, self.line, &self.lexer);
        }
        if line.ends_with('\r') && !self.lexer.in_quotes() {
            self.spoil(MIXED)?;
        }
        Ok(())
    }

    /// A line where a statement may begin; true when it was no statement.
    fn begins(&mut self, line: &str) -> Result<bool, ScanStop> {
        if line.is_empty() {
            return Ok(true);
        }
        let special = line.starts_with("--") || line.starts_with('\\');
        if special && line.ends_with('\r') {
            self.spoil(MIXED)?;
        }
        if line.starts_with("--") {
            return self.comment(line).map(|()| true);
        }
        if self.place != ScanPlace::Head && is_message(line) {
            self.databases[self.current].trial.refuse(self.line, message_reason(line));
            return Ok(true);
        }
        match self.place {
            ScanPlace::Head => return bad(head(line)),
            ScanPlace::End if !line.starts_with("\\unrestrict") && !line.trim().is_empty() => {
                return bad("there is text after the end of the dump");
            }
            _ => {}
        }
        if let Some(command) = line.strip_prefix('\\') {
            return self.command(command).map(|()| true);
        }
        self.statement(line)
    }

    fn comment(&mut self, line: &str) -> Result<(), ScanStop> {
        match (line, self.place) {
            ("-- PostgreSQL database cluster dump", ScanPlace::Head) => {
                self.place = ScanPlace::Cluster;
                self.cluster = true;
            }
            ("-- PostgreSQL database dump", ScanPlace::Head | ScanPlace::Cluster) => self.begin(),
            ("-- PostgreSQL database dump", ScanPlace::Database) if self.cluster => {
                self.spoil("the dump of this database ends early: it was cut short")?;
                self.leave();
                self.begin();
            }
            ("-- PostgreSQL database dump complete", ScanPlace::Database) => {
                self.place = ScanPlace::Closing { cluster: false }
            }
            ("-- PostgreSQL database cluster dump complete", ScanPlace::Cluster) => {
                self.place = ScanPlace::Closing { cluster: true }
            }
            (
                "-- PostgreSQL database dump" | "-- PostgreSQL database cluster dump",
                ScanPlace::End,
            ) => {
                return bad("a second dump follows the first; keep each in its own file");
            }
            ("-- PostgreSQL database dump" | "-- PostgreSQL database cluster dump", _) => {
                return bad("another dump begins before this one ended: it was cut short");
            }
            (line, ScanPlace::Database) => self.versions(line),
            _ => {}
        }
        Ok(())
    }

    /// A database's dump begins.
    fn begin(&mut self) {
        self.place = ScanPlace::Database;
        (self.encoding, self.lexer.escapes) = (DumpEncoding::Utf8, false);
    }

    /// A database's dump is over: what follows in a cluster dump is nobody's until the next
    /// `\connect`.
    fn leave(&mut self) {
        if self.cluster {
            self.current = 0;
        }
        (self.encoding, self.lexer.escapes) = (DumpEncoding::Utf8, false);
    }

    fn versions(&mut self, line: &str) {
        let word = |rest: &str| rest.split(' ').next().map(str::to_owned);
        if let Some(rest) = line.strip_prefix("-- Dumped from database version ") {
            self.postgres = self.postgres.take().or_else(|| word(rest));
        } else if let Some(rest) = line.strip_prefix("-- Dumped by pg_dump version ") {
            self.tool = self.tool.take().or_else(|| word(rest));
        } else if let Some(rest) = line.strip_prefix("-- Started on ") {
            self.started = self.started.or_else(|| time::started(rest));
        }
    }

    /// The line after a completion comment.
    fn close(&mut self, line: &str, cluster: bool) -> Result<(), ScanStop> {
        if line != "--" {
            return bad("the dump ends in its last comment: it was cut short");
        }
        self.place = if self.cluster && !cluster { ScanPlace::Cluster } else { ScanPlace::End };
        self.leave();
        Ok(())
    }

    /// A line for psql. pg_dump writes four kinds of them.
    fn command(&mut self, command: &str) -> Result<(), ScanStop> {
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match word {
            "connect" => self.connect(rest),
            // Stands before a `\connect` to a name with characters such as `-`, while psql reads
            // that name.
            "encoding" if rest == "SQL_ASCII" => Ok(()),
            "restrict" if self.key.is_none() && !rest.is_empty() => {
                self.key = Some(rest.to_owned());
                Ok(())
            }
            "unrestrict" if self.key.as_deref() == Some(rest) => {
                self.key = None;
                Ok(())
            }
            "restrict" => {
                self.key = Some(rest.to_owned());
                self.spoil("a \\restrict line follows another that was not lifted")
            }
            "unrestrict" => self.spoil(
                "the \\unrestrict line does not fit its \\restrict line: the dump was \
                    cut short or edited",
            ),
            "." => self.spoil("rows end where none began: the dump was edited or damaged"),
            _ => {
                self.spoil("there is a psql command that pg_dump never writes: the dump was edited")
            }
        }
    }

    fn connect(&mut self, target: &str) -> Result<(), ScanStop> {
        let Some(name) = database::named(target) else {
            return bad("the \\connect line is not one that pg_dump writes");
        };
        let is_left = |database: &&mut DumpDatabase| {
            database.name.as_ref() != Some(&name) && !database.is_immich()
        };
        self.databases.iter_mut().filter(is_left).for_each(|database| database.staging = None);
        let known =
            self.databases.iter().position(|database| database.name.as_ref() == Some(&name));
        self.current = known.unwrap_or(self.databases.len());
        (self.encoding, self.lexer.escapes) = (DumpEncoding::Utf8, false);
        if known.is_none() {
            self.databases.push(DumpDatabase { name: Some(name), ..DumpDatabase::default() });
        }
        let staged = self.databases.iter().filter(|database| database.staging.is_some()).count();
        if self.databases.len() > MAX_DATABASES || staged > MAX_STAGED {
            bad("the dump has more databases than a server can hold")
        } else {
            Ok(())
        }
    }

    /// The first line of a statement; true when it opened a COPY block.
    fn statement(&mut self, line: &str) -> Result<bool, ScanStop> {
        let first = line.trim_start().split([' ', '\t', '(']).next().unwrap_or_default();
        if first.eq_ignore_ascii_case("COPY") {
            return match CopyHeader::parse(line) {
                Some(header) => self.open(header).map(|()| true),
                None => {
                    self.spoil("a COPY statement is not of the form that pg_dump writes")?;
                    let rows = line.trim_end().ends_with("FROM stdin;")
                        && self.place == ScanPlace::Database;
                    self.block = rows.then(ScanBlock::default);
                    Ok(rows)
                }
            };
        }
        if let Some(rest) = line.strip_prefix("INSERT INTO public.") {
            self.insert(rest)?;
        } else if let Some(rest) = line.strip_prefix("CREATE EXTENSION IF NOT EXISTS ") {
            self.extension(rest);
        } else if self.place == ScanPlace::Database {
            self.settings(line)?;
        }
        Ok(false)
    }

    /// What changes how the rest of a database's dump is to be read.
    fn settings(&mut self, line: &str) -> Result<(), ScanStop> {
        if let Some(value) = encoding::setting(line, "standard_conforming_strings") {
            self.lexer.escapes = value == "off";
        }
        let Some(name) = encoding::setting(line, "client_encoding") else { return Ok(()) };
        match DumpEncoding::named(name) {
            Some(encoding) => self.encoding = encoding,
            None => self.spoil(format!(
                "the dump is written in {name}, which cannot be read; make it with --encoding=UTF8"
            ))?,
        }
        Ok(())
    }

    fn insert(&mut self, rest: &str) -> Result<(), ScanStop> {
        match copy::name(rest).and_then(|(name, _)| StagedTable::find(&name)) {
            Some(_) => self.spoil(
                "the dump holds INSERT statements in place of COPY blocks; make it \
                    without --inserts",
            ),
            None => Ok(()),
        }
    }

    fn extension(&mut self, rest: &str) {
        let extensions = &mut self.databases[self.current].extensions;
        if let Some((name, _)) = copy::name(rest).filter(|_| extensions.len() < MAX_TABLES / 100) {
            extensions.insert(name);
        }
    }

    /// The header of a COPY block.
    fn open(&mut self, header: CopyHeader) -> Result<(), ScanStop> {
        if self.place != ScanPlace::Database {
            return bad("rows are outside of a database's dump");
        }
        self.tables += 1;
        if self.tables > MAX_TABLES {
            return bad("the dump has more tables than a server can hold");
        }
        self.databases[self.current].trial.rows(&header, self.line);
        let public = header.schema == "public";
        let plan = match StagedTable::find(&header.table).filter(|_| public) {
            Some(table) => self.plan(table, &header)?,
            None => None,
        };
        let id = header.columns.iter().position(|column| column == "id");
        let ids = id.filter(|_| public && plan.is_none() && self.is_meant()).map(UnstagedIds::new);
        let table =
            if public { header.table } else { format!("{}.{}", header.schema, header.table) };
        self.block =
            Some(ScanBlock { table, columns: Some(header.columns.len()), plan, ids, rows: 0 });
        Ok(())
    }

    /// False in a database that is not the one that is wanted.
    fn is_meant(&self) -> bool {
        let name = &self.databases[self.current].name;
        self.wanted.is_none() || name.is_none() || name.as_deref() == self.wanted
    }

    /// How the rows of `table` are staged; `None` where they cannot be or need not be.
    fn plan(
        &mut self,
        table: &'static StagedTable,
        header: &CopyHeader,
    ) -> Result<Option<StagePlan>> {
        if !self.is_meant() {
            return Ok(None);
        }
        let database = &mut self.databases[self.current];
        let plan = match StagePlan::new(table, header) {
            Ok(plan) => plan,
            Err(column) if VITAL.contains(&table.name) => {
                let reason = format!("table {} has no column {column}", header.table);
                database.fault.get_or_insert((self.line, reason));
                return Ok(None);
            }
            Err(column) => {
                database
                    .lacks
                    .push(format!("table {} has no column {column}: it is left out", header.table));
                return Ok(None);
            }
        };
        let lacks: Vec<_> = plan.lacks().collect();
        if !lacks.is_empty() {
            database.lacks.push(format!(
                "table {} has no column {}",
                header.table,
                lacks.join(", ")
            ));
        }
        let staging = match &mut database.staging {
            Some(staging) => staging,
            none => none.insert(StagingFile::create(self.staging)?),
        };
        if !staging.begin(&plan) {
            let reason = format!(
                "table {} appears a second time, or under both its old and its new name",
                header.table
            );
            database.fault.get_or_insert((self.line, reason));
            return Ok(None);
        }
        Ok(Some(plan))
    }

    /// A line of a COPY block.
    fn row(&mut self, line: &str) -> Result<(), ScanStop> {
        let Some(block) = &mut self.block else { return Ok(()) };
        if line == r"\." {
            let rows = std::mem::take(&mut block.rows);
            let table = std::mem::take(&mut block.table);
            self.block = None;
            *self.databases[self.current].rows.entry(table).or_default() += rows;
            return Ok(());
        }
        // pg_dump writes a backslash of a row twice, so here the dump of the next database begins.
        if line.starts_with(r"\connect ") {
            let reason = format!(
                "the dump of this database ends in the rows of table {}: it was cut short",
                block.table
            );
            (self.block, self.key) = (None, None);
            self.spoil(reason)?;
            return self.begins(line).map(|_| ());
        }
        block.rows += 1;
        let Some(columns) = block.columns else { return Ok(()) };
        let fields = match columns {
            0 => line.len(),
            _ => memchr::memchr_iter(b'\t', line.as_bytes()).count() + 1,
        };
        if fields != columns {
            let reason = format!(
                "a row of table {} has {fields} fields where its header names {columns}",
                block.table
            );
            return self.spoil(reason);
        }
        if let Some((id, first)) = block.ids.as_mut().and_then(|ids| ids.add(line, self.line)) {
            let repeated = &mut self.databases[self.current].repeated;
            repeated.push((block.table.clone(), id, first, self.line));
            repeated.truncate(100);
        }
        match &block.plan {
            Some(plan) => stage(&mut self.databases[self.current], plan, line, self.line),
            None => Ok(()),
        }
    }
}

/// Stages a row. One that cannot be understood is the fault of its database, which may not be the
/// one that is wanted.
fn stage(
    database: &mut DumpDatabase,
    plan: &StagePlan,
    row: &str,
    line: u64,
) -> Result<(), ScanStop> {
    let (Some(staging), None) = (&mut database.staging, &database.fault) else { return Ok(()) };
    let tabs = memchr::memchr_iter(b'\t', row.as_bytes()).chain([row.len()]);
    let fields: Vec<&str> =
        tabs.scan(0, |start, tab| Some(&row[std::mem::replace(start, tab + 1)..tab])).collect();
    match staging.insert(plan, &fields, line)? {
        Some(reason) if VITAL.contains(&plan.table()) => database.fault = Some((line, reason)),
        Some(reason) => {
            database.warnings.push(format!("line {line}: {reason}"));
            database.warnings.truncate(100);
        }
        None => {}
    }
    Ok(())
}

/// What to say of a first line that is none of a dump's.
fn head(line: &str) -> String {
    if is_message(line) {
        format!("this is not a dump but a message: {}", start_of(line))
    } else {
        format!(
            "this is not the beginning of a pg_dump or pg_dumpall dump: {}; messages of a shell or \
                a tool must not be in the file",
            start_of(line)
        )
    }
}

/// Why a message among the statements is refused.
pub fn message_reason(line: &str) -> String {
    format!("there is a message among the statements: {}; {ALONE}", start_of(line))
}

const ALONE: &str = "keep messages out of the file: without 2>&1, and without -t of `docker exec`";

/// True for what a program that makes dumps writes to its standard error; nothing else of a dump is
/// repeated, since it may be a row.
pub fn is_message(line: &str) -> bool {
    const PROGRAMS: [&str; 7] =
        ["pg_dump:", "pg_dumpall:", "psql:", "docker:", "Error", "error", "OCI runtime"];
    const SERVER: [&str; 7] =
        ["WARNING:  ", "NOTICE:  ", "ERROR:  ", "DETAIL:  ", "HINT:  ", "CONTEXT:  ", "time=\""];
    PROGRAMS.iter().chain(&SERVER).any(|begin| line.starts_with(begin))
}

fn start_of(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(120).collect()
}
