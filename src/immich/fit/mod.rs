//! Fits a dump to the server that it is restored into: the dump as a stream of statements, of which
//! some are changed or left out, each for a reason that is told; rows pass byte for byte.
//!
//! Pure: a reader in, pieces of SQL out. What always holds for what comes out: it is the dump of
//! one database; every statement is one that pg_dump writes for a database ([`rule`]) and one for
//! psql and the server alike ([`token`]); no psql command is among them; nothing begins or ends a
//! transaction; it came from a dump that was read to its end, if [`fit`] returned `Ok`.
//!
//! Limits: CR LF is fixed between statements only. The reader refuses dumps that a Windows shell
//! rewrote, since nobody can tell which ends of lines inside of their texts were there before; so
//! does this, where rows have a CR.

mod apart;
mod change;
mod column;
mod extension;
mod foreign;
mod keys;
mod needs;
mod role;
mod rule;
mod statement;
mod target;
mod token;
mod trial;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use self::apart::ObjectsApart;
use self::change::FitChanges;
use self::column::SplitRows;
use self::keys::KeySieve;
use self::rule::{FitRules, StatementFate};
use self::statement::Statement;
use self::token::Token;
use super::copy::CopyHeader;
use super::database;
use super::encoding::{self, DumpEncoding};
use super::input::LineCollector;
use super::lexer::{DumpLexer, conforming};
use super::scan::{is_message, message_reason};
use crate::base::{Error, ErrorKind, Result};

pub use change::FitChange;
pub use keys::{DuplicateRow, UniqueKeys};
pub use statement::quoted;
pub use target::FitTarget;
pub use trial::FitTrial;

/// A longer statement is refused: Immich's longest has some kilobytes.
const LONGEST: usize = 4 << 20;

/// psql takes it for the end of the line, and what follows for another.
const NUL: &str = "there is a NUL byte, which PostgreSQL knows in no text";

/// Some of the fitted dump.
#[derive(Debug, Clone, Copy)]
pub struct FittedPiece<'a> {
    /// Whole lines.
    pub bytes: &'a [u8],
    /// The line of the dump that it comes from, from 1.
    pub line: u64,
    /// The table whose rows these are; the header and the end of its block belong to it.
    pub table: Option<&'a str>,
}

/// What a dump is, now that it is fitted.
#[derive(Debug, Clone, Default)]
pub struct FittedDump {
    /// In the order of the dump.
    pub changes: Vec<FitChange>,
    /// The dump's extensions, and the version that the server has of each.
    pub extensions: BTreeMap<String, Option<String>>,
    /// Extensions that the dump creates, and the schema of each.
    pub created: BTreeMap<String, String>,
    /// Tables whose rows were left out, since they are not Immich's.
    pub left_out: BTreeSet<String>,
    /// What is not Immich's and was left out, such as `event trigger note` or
    /// `table notes (3 rows)`.
    pub apart: Vec<String>,
    /// Keys of its tables.
    pub keys: UniqueKeys,
    /// Rows that were left out since an earlier one has their key; the first thousand.
    pub duplicates: Vec<DuplicateRow>,
    /// What the dump needs and the server has not.
    pub missing: Vec<String>,
    /// Rows of each table, named as in a snapshot's record.
    pub rows: BTreeMap<String, u64>,
    /// The same tables as SQL names them.
    pub tables: BTreeMap<String, String>,
}

/// Reads `dump`, plain text, to its end and hands what is to be run to `each`, in order.
///
/// In a cluster dump the database called `database` is meant; a dump of one database is taken
/// whatever it is called.
///
/// # Errors
/// `Refused`, with the line, for what may not be run; `Damaged` for a dump that is not whole. What
/// was handed out before must then not be committed.
pub fn fit(
    dump: &mut dyn Read,
    database: Option<&str>,
    target: &FitTarget,
    each: &mut dyn FnMut(FittedPiece) -> Result<()>,
) -> Result<FittedDump> {
    fit_apart(dump, database, target, each, &mut |_| Ok(()))
}

/// The same, and what is left out since it is not Immich's goes to `beside`: statements and rows in
/// the order of the dump.
///
/// # Errors
/// As [`fit`].
pub fn fit_apart(
    dump: &mut dyn Read,
    database: Option<&str>,
    target: &FitTarget,
    each: &mut dyn FnMut(FittedPiece) -> Result<()>,
    beside: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<FittedDump> {
    let mut fitter = DumpFitter::new(database, target, beside);
    let mut lines = LineCollector::new();
    loop {
        let got = match dump.read(lines.space()) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::damaged("the dump").caused_by(error)),
        };
        let whole = lines.push(got);
        fitter.lines(lines.front(whole), each)?;
        lines.drop_front(whole);
        if lines.too_long() {
            return Err(fitter.damaged("a line is longer than any that pg_dump writes"));
        }
    }
    if lines.pending() > 0 {
        return Err(fitter.damaged("the dump ends in the middle of a line"));
    }
    fitter.finish()
}

/// The tokens of the statement `text`, once it is whole; `ends` where it may be.
fn whole_statement(
    text: &str,
    ends: bool,
) -> std::result::Result<Option<Vec<Token>>, &'static str> {
    if text.len() > LONGEST {
        return Err("the statement is longer than any that pg_dump writes");
    }
    match if ends { token::cut(text)? } else { None } {
        Some(tokens) if tokens.is_empty() => Err("an empty statement"),
        tokens => Ok(tokens),
    }
}

/// What part of the dump the next line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FitPlace {
    Head,
    /// Outside of all databases of a cluster dump.
    Cluster,
    /// In a database; is it the one that is wanted?
    Database {
        wanted: bool,
    },
    End,
}

/// A COPY block that is being read.
struct FitBlock {
    header: CopyHeader,
    /// As the record names it.
    table: String,
    wanted: bool,
    /// Not Immich's.
    apart: bool,
    /// Holds rows back whose key is there already.
    sieve: Option<KeySieve>,
    /// Takes columns out that are not Immich's.
    split: Option<SplitRows>,
}

struct DumpFitter<'a> {
    database: Option<&'a str>,
    target: &'a FitTarget,
    rules: FitRules<'a>,
    changes: FitChanges,
    cluster: bool,
    place: FitPlace,
    /// The database that the last `\connect` named, while its dump is read.
    connected: Option<String>,
    /// No database has begun yet.
    globals: bool,
    /// The wanted database was there, and whole.
    whole: bool,
    key: Option<String>,
    /// What the database at hand is written in.
    encoding: DumpEncoding,
    lexer: DumpLexer,
    block: Option<FitBlock>,
    /// The statement so far, and the line that it began on.
    text: String,
    began: u64,
    /// Comments that belong to what follows.
    comments: String,
    line: u64,
    rows: BTreeMap<String, u64>,
    tables: BTreeMap<String, String>,
    left_out: BTreeSet<String>,
    apart: ObjectsApart,
    keys: UniqueKeys,
    duplicates: Vec<DuplicateRow>,
    beside: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

impl<'a> DumpFitter<'a> {
    fn new(
        database: Option<&'a str>,
        target: &'a FitTarget,
        beside: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Self {
        DumpFitter {
            database,
            target,
            rules: FitRules::new(target),
            changes: FitChanges::default(),
            cluster: false,
            place: FitPlace::Head,
            connected: None,
            globals: true,
            whole: false,
            key: None,
            encoding: DumpEncoding::Utf8,
            lexer: DumpLexer::default(),
            block: None,
            text: String::new(),
            began: 0,
            comments: String::new(),
            line: 0,
            rows: BTreeMap::new(),
            left_out: BTreeSet::new(),
            tables: BTreeMap::new(),
            apart: ObjectsApart::default(),
            keys: UniqueKeys::default(),
            duplicates: Vec::new(),
            beside,
        }
    }

    fn refused(&self, line: u64, reason: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Refused, format_args!("line {line} of the dump is refused: {reason}"))
            .hint(
                "nothing was restored; `shoebox dump` prints the dump, to be looked at and \
                restored by hand",
            )
    }

    fn damaged(&self, reason: &str) -> Error {
        Error::new(ErrorKind::Damaged, format_args!("line {} of the dump: {reason}", self.line))
            .hint("nothing was restored; another snapshot may be whole: --snapshot")
    }

    /// Goes over whole lines.
    fn lines(
        &mut self,
        mut bytes: &[u8],
        each: &mut dyn FnMut(FittedPiece) -> Result<()>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if self.block.is_some() {
                let taken = self.rows(bytes, each)?;
                bytes = &bytes[taken..];
                continue;
            }
            let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            self.line += 1;
            if !self.is_passed_over() && memchr::memchr(0, &bytes[..end]).is_some() {
                return Err(self.refused(self.line, NUL));
            }
            let text = match self.encoding.decode(&bytes[..end]) {
                Some(text) => text,
                None if self.is_passed_over() => String::from_utf8_lossy(&bytes[..end]),
                None => {
                    return Err(
                        self.damaged("it is not in UTF-8, or in the encoding that it names")
                    );
                }
            };
            self.next(text.trim_end_matches('\n'), each)?;
            bytes = &bytes[end..];
        }
        Ok(())
    }

    /// Rows from the front of `bytes`, up to the end of their block; how many bytes they are.
    fn rows(
        &mut self,
        bytes: &[u8],
        each: &mut dyn FnMut(FittedPiece) -> Result<()>,
    ) -> Result<usize> {
        let (mut at, mut count, mut done) = (0, 0, false);
        while at < bytes.len() && !done {
            let Some(block) = &self.block else { break };
            let end =
                memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |newline| at + newline + 1);
            // pg_dump writes a backslash of a row twice, so here the dump of the next database
            // begins.
            if bytes[at..end].starts_with(b"\\connect ") {
                if block.wanted {
                    return Err(self.damaged("the dump of this database ends in rows"));
                }
                (self.block, self.key) = (None, None);
                break;
            }
            done = &bytes[at..end] == b"\\.\n";
            count += 1;
            at = end;
        }
        let first = self.line + 1;
        if self.block.as_ref().is_none_or(|block| !block.wanted) {
            self.line += count;
            if done {
                self.block = None;
            }
            return Ok(at);
        }
        if let Some(nul) = memchr::memchr(0, &bytes[..at]) {
            let before = memchr::memchr_iter(b'\n', &bytes[..nul]).count() as u64;
            return Err(self.refused(first + before, NUL));
        }
        if let Some(cr) = memchr::memchr(b'\r', &bytes[..at]) {
            let before = memchr::memchr_iter(b'\n', &bytes[..cr]).count() as u64;
            return Err(
                self.refused(first + before, "a row has a carriage return: the dump was rewritten")
            );
        }
        self.line += count;
        let rows = match self.encoding {
            DumpEncoding::Utf8 => Cow::Borrowed(&bytes[..at]),
            encoding => match encoding.decode(&bytes[..at]) {
                Some(text) => Cow::Owned(text.into_owned().into_bytes()),
                None => {
                    return Err(self
                        .refused(first, "these rows are not in the encoding that the dump names"));
                }
            },
        };
        self.hand_out(rows, done, first, each)?;
        if done {
            self.close(each)?;
        }
        Ok(at)
    }

    /// Hands out the whole lines `rows`, of which the last ends the block if it is `done`, to where
    /// they belong.
    fn hand_out(
        &mut self,
        rows: Cow<[u8]>,
        done: bool,
        first: u64,
        each: &mut dyn FnMut(FittedPiece) -> Result<()>,
    ) -> Result<()> {
        let rows = match self
            .block
            .as_mut()
            .and_then(|block| block.sieve.as_mut().map(|sieve| (&block.table, sieve)))
        {
            Some((table, sieve)) => {
                Cow::Owned(sieve.pass(&rows, first, table, &mut self.duplicates))
            }
            None => rows,
        };
        let Some(block) = &self.block else { return Ok(()) };
        let counted = memchr::memchr_iter(b'\n', &rows).count() as u64 - u64::from(done);
        if block.apart {
            self.apart.count(&block.table, counted);
            (self.beside)(&rows)?;
        } else {
            *self.rows.entry(block.table.clone()).or_default() += counted;
            let rows = match &block.split {
                Some(split) => {
                    (self.beside)(&rows)?;
                    Cow::Owned(split.cut(&rows))
                }
                None => rows,
            };
            each(FittedPiece { bytes: &rows, line: first, table: Some(&block.table) })?;
        }
        Ok(())
    }

    fn close(&mut self, each: &mut dyn FnMut(FittedPiece) -> Result<()>) -> Result<()> {
        let Some(block) = self.block.take().filter(|block| block.wanted && !block.apart) else {
            return Ok(());
        };
        if let Some(split) = &block.split {
            (self.beside)(split.after.as_bytes())?;
        }
        match self.rules.extensions.after_rows(&block.header.schema, &block.header.table) {
            Some(sql) => each(FittedPiece {
                bytes: sql.as_bytes(),
                line: self.line,
                table: Some(&block.table),
            }),
            None => Ok(()),
        }
    }

    /// True in the dump of another database, and between them: what lies there is nobody's
    /// business.
    fn is_passed_over(&self) -> bool {
        matches!(self.place, FitPlace::Database { wanted: false } | FitPlace::Cluster)
            && !self.wants_globals()
    }

    fn is_wanted(&self) -> bool {
        self.place == FitPlace::Database { wanted: true }
    }

    /// One line outside of rows, without its line end.
    fn next(&mut self, line: &str, each: &mut dyn FnMut(FittedPiece) -> Result<()>) -> Result<()> {
        let fresh = self.text.is_empty() && self.lexer.at_start();
        let line = if fresh || !self.lexer.in_quotes() {
            line.strip_suffix('\r').unwrap_or(line)
        } else {
            line
        };
        let line = if self.line == 1 { line.trim_start_matches('\u{feff}') } else { line };
        if fresh {
            if line.trim().is_empty() {
                return Ok(());
            }
            if line.starts_with("--") {
                return self.comment(line);
            }
            if let Some(command) = line.strip_prefix('\\') {
                return self.command(command);
            }
            if matches!(self.place, FitPlace::Database { .. }) && is_message(line) {
                return if self.is_wanted() {
                    Err(self.refused(self.line, message_reason(line)))
                } else {
                    Ok(())
                };
            }
            match self.place {
                FitPlace::Head => return Err(self.damaged("this is not the beginning of a dump")),
                FitPlace::End => {
                    return Err(self.damaged("there is text after the end of the dump"));
                }
                _ => {}
            }
            if line.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("COPY")) {
                return self.open(line, each);
            }
            self.began = self.line;
            self.settings(line);
        }
        self.lexer.line(line);
        if self.is_wanted() || self.wants_globals() {
            return self.gather(line, each);
        }
        Ok(())
    }

    /// What changes how the rest of a database's dump is to be read.
    fn settings(&mut self, line: &str) {
        if !matches!(self.place, FitPlace::Database { .. }) {
            return;
        }
        if let Some(value) = encoding::setting(line, "standard_conforming_strings") {
            self.lexer.escapes = value == "off";
        }
        if let Some(encoding) =
            encoding::setting(line, "client_encoding").and_then(DumpEncoding::named)
        {
            self.encoding = encoding;
        }
    }

    /// A database's dump begins, or goes on with a new connection.
    fn begin(&mut self, wanted: bool) {
        self.place = FitPlace::Database { wanted };
        (self.encoding, self.lexer.escapes) = (DumpEncoding::Utf8, false);
    }

    fn wants_globals(&self) -> bool {
        self.target.with_roles && self.globals && self.place == FitPlace::Cluster
    }

    /// Takes a line of a statement in, and judges the statement when it is whole.
    fn gather(
        &mut self,
        line: &str,
        each: &mut dyn FnMut(FittedPiece) -> Result<()>,
    ) -> Result<()> {
        self.text.push_str(line);
        self.text.push('\n');
        if self.lexer.at_start() && self.lexer.escapes {
            self.text = conforming(&self.text);
        }
        let tokens = match whole_statement(&self.text, self.lexer.at_start()) {
            Ok(Some(tokens)) => tokens,
            Ok(None) => return Ok(()),
            Err(reason) => return Err(self.refused(self.began, reason)),
        };
        let text = std::mem::take(&mut self.text);
        let statement = Statement::new(&text, &tokens);
        if self.is_wanted() {
            self.keys.add(&statement);
        }
        let fate = if self.is_wanted() {
            self.rules.judge(&statement)
        } else {
            role::global(&statement, self.target)
        };
        match fate {
            StatementFate::Keep => self.put(&text, each),
            StatementFate::Change(new, reason) => {
                self.changes.add(reason, self.began);
                self.put(&new, each)
            }
            StatementFate::Omit(reason) => {
                self.changes.add(reason, self.began);
                self.comments.clear();
                Ok(())
            }
            StatementFate::Apart(reason) => {
                self.changes.add(reason, self.began);
                self.apart.add(&statement);
                self.put_beside(&text)
            }
            StatementFate::Split(split, reason) => {
                self.changes.add(reason, self.began);
                self.apart.extend(split.named);
                (self.beside)(split.added.as_bytes())?;
                self.put(&split.rest, each)
            }
            StatementFate::Refuse(reason) => Err(self.refused(self.began, reason)),
        }
    }

    /// Hands out what is not Immich's, after its comments.
    fn put_beside(&mut self, text: &str) -> Result<()> {
        let comments = std::mem::take(&mut self.comments);
        (self.beside)(comments.as_bytes())?;
        (self.beside)(text.as_bytes())
    }

    /// Hands out a statement, after its comments.
    fn put(&mut self, text: &str, each: &mut dyn FnMut(FittedPiece) -> Result<()>) -> Result<()> {
        let comments = std::mem::take(&mut self.comments);
        if !comments.is_empty() {
            each(FittedPiece { bytes: comments.as_bytes(), line: self.began, table: None })?;
        }
        each(FittedPiece { bytes: text.as_bytes(), line: self.began, table: None })
    }

    fn comment(&mut self, line: &str) -> Result<()> {
        if line.contains('\r') && !self.is_passed_over() {
            return Err(self.refused(self.line, "a comment contains a carriage return"));
        }
        match (line, self.place) {
            ("-- PostgreSQL database cluster dump", FitPlace::Head) => {
                self.cluster = true;
                self.place = FitPlace::Cluster;
            }
            ("-- PostgreSQL database dump", FitPlace::Head) => self.begin(true),
            ("-- PostgreSQL database dump", FitPlace::Cluster) => {
                self.globals = false;
                self.begin(self.names_wanted());
            }
            // That of the database before was cut short.
            ("-- PostgreSQL database dump", FitPlace::Database { wanted: false }) => {
                self.connected = None
            }
            ("-- PostgreSQL database dump complete", FitPlace::Database { wanted }) => {
                self.whole |= wanted;
                self.connected = None;
                self.place = if self.cluster { FitPlace::Cluster } else { FitPlace::End };
            }
            ("-- PostgreSQL database cluster dump complete", FitPlace::Cluster) => {
                self.place = FitPlace::End
            }
            ("-- PostgreSQL database dump" | "-- PostgreSQL database cluster dump", _) => {
                return Err(self.damaged("another dump begins before this one ended"));
            }
            (line, FitPlace::Database { wanted: true }) if !line.starts_with("-- Dumped ") => {
                if self.comments.len() < LONGEST {
                    self.comments.push_str(line);
                    self.comments.push('\n');
                }
                return Ok(());
            }
            _ => {}
        }
        self.comments.clear();
        Ok(())
    }

    fn names_wanted(&self) -> bool {
        self.connected.is_some() && self.connected.as_deref() == self.database
    }

    /// A line for psql: understood, and never handed on.
    fn command(&mut self, command: &str) -> Result<()> {
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match word {
            "restrict" if self.key.is_none() && !rest.is_empty() => {
                self.key = Some(rest.to_owned())
            }
            "unrestrict" if self.key.as_deref() == Some(rest) => self.key = None,
            "encoding" if rest == "SQL_ASCII" => {}
            "connect" => {
                let Some(name) = database::named(rest) else {
                    return Err(self
                        .refused(self.line, "the \\connect line is not one that pg_dump writes"));
                };
                self.connected = Some(name);
                if let (FitPlace::Database { .. }, true) = (self.place, self.cluster) {
                    self.begin(self.names_wanted());
                }
            }
            // Of a database that was cut short the first key is never lifted.
            "restrict" if self.is_passed_over() => self.key = Some(rest.to_owned()),
            _ if self.is_passed_over() => {}
            _ => {
                return Err(
                    self.refused(self.line, "there is a psql command where pg_dump writes none")
                );
            }
        }
        Ok(())
    }

    /// The header of a COPY block.
    fn open(&mut self, line: &str, each: &mut dyn FnMut(FittedPiece) -> Result<()>) -> Result<()> {
        let Some(header) = CopyHeader::parse(line) else {
            if self.is_passed_over() {
                let header =
                    CopyHeader { schema: String::new(), table: String::new(), columns: Vec::new() };
                let rows = line.trim_end().ends_with("FROM stdin;");
                self.block = rows.then(|| FitBlock {
                    header,
                    table: String::new(),
                    wanted: false,
                    apart: false,
                    sieve: None,
                    split: None,
                });
                return Ok(());
            }
            return Err(
                self.refused(self.line, "a COPY statement is not of the form that pg_dump writes")
            );
        };
        let wanted = self.is_wanted();
        if let Some(reason) = self.rules.needs.rows(&header).filter(|_| wanted) {
            return Err(self.refused(self.line, reason));
        }
        let table = match header.schema.as_str() {
            "public" => header.table.clone(),
            schema => format!("{schema}.{}", header.table),
        };
        let apart = wanted && !self.target.foreign && self.rules.foreign.has_rows(&header);
        let keys = self.target.keys.as_ref().filter(|_| wanted && !apart);
        let sieve = keys.and_then(|keys| keys.sieve(&header));
        let split = self.rules.foreign.columns.rows(&header).filter(|_| wanted && !apart);
        let text = format!("{line}\n");
        if apart {
            if self.left_out.len() < 1000 {
                self.left_out.insert(table.clone());
            }
            self.put_beside(&text)?;
        } else if wanted {
            self.began = self.line;
            self.rows.entry(table.clone()).or_default();
            let name = format!("{}.{}", quoted(&header.schema), quoted(&header.table));
            self.tables.insert(table.clone(), name);
            self.put("", each)?;
            if let Some(split) = &split {
                (self.beside)(split.before.as_bytes())?;
            }
            let text = split.as_ref().map_or(text, |split| split.header.clone());
            each(FittedPiece { bytes: text.as_bytes(), line: self.line, table: Some(&table) })?;
        }
        self.block = Some(FitBlock { header, table, wanted, apart, sieve, split });
        Ok(())
    }

    fn finish(self) -> Result<FittedDump> {
        if let Some(block) = &self.block {
            return Err(self.damaged(&format!("it ends in the rows of table {}", block.table)));
        }
        if !self.text.is_empty() || self.place != FitPlace::End || self.key.is_some() {
            return Err(self.damaged("it ends before its last line"));
        }
        if !self.whole {
            let name = self.database.unwrap_or("(none named)");
            return Err(Error::invalid(format_args!("the dump has no database {name}")));
        }
        Ok(FittedDump {
            changes: self.changes.into_list(),
            missing: self.rules.extensions.missing.into_iter().collect(),
            extensions: self.rules.extensions.found,
            left_out: self.left_out,
            keys: self.keys,
            duplicates: self.duplicates,
            apart: self.apart.into_list(),
            created: self.rules.extensions.created,
            rows: self.rows,
            tables: self.tables,
        })
    }
}
