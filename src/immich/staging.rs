//! The rows of one database, kept in a temporary SQLite file while the dump is read and until its
//! records are out.
//!
//! The file holds only the columns that the records need, never passwords or tokens, and is gone
//! when the value is dropped. It is not durable and need not be: after a crash the dump is read
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;
use sha1::Digest;
use tempfile::NamedTempFile;
use uuid::Uuid;

use super::copy::{self, CopyHeader};
use super::tables::{ColumnNeed, FieldCast, StagedColumn, StagedTable, TABLES};
use super::time;
use crate::base::{Context, Error, ErrorKind, Result};

/// The temporary file and what is known of its rows.
pub struct StagingFile {
    db: Connection,
    /// Deletes the file.
    _file: NamedTempFile,
    /// Staging names of the tables, and of `table.column`, that the dump had.
    present: BTreeSet<String>,
    /// Values that could not be read, by `table.column`: how many, and the line of the first.
    unreadable: BTreeMap<String, (u64, u64)>,
    /// Tables of which rows were left out.
    left_out: BTreeSet<&'static str>,
}

/// How the rows of one COPY block are staged.
#[derive(Debug)]
pub struct StagePlan {
    table: &'static StagedTable,
    insert: String,
    /// Where each staging column is in a row.
    positions: Vec<Option<usize>>,
    only: Option<(usize, &'static str)>,
}

impl StagePlan {
    /// Fits `table` to the columns of `header`; `Err` names the column that cannot be missed.
    pub fn new(
        table: &'static StagedTable,
        header: &CopyHeader,
    ) -> std::result::Result<StagePlan, &'static str> {
        let missing = |column: &&StagedColumn| {
            column.need == ColumnNeed::Must && column.position(header).is_none()
        };
        if let Some(column) = table.columns.iter().find(missing) {
            return Err(column.from[0]);
        }
        let only = match table.only {
            Some((name, value)) => {
                Some((header.columns.iter().position(|column| column == name).ok_or(name)?, value))
            }
            None => None,
        };
        // The last is its line in the dump.
        let places = vec!["?"; table.columns.len() + 1].join(", ");
        let insert = format!("INSERT INTO {} VALUES ({places})", table.name);
        Ok(StagePlan {
            table,
            insert,
            positions: table.columns.iter().map(|column| column.position(header)).collect(),
            only,
        })
    }

    /// The staging name of the table.
    pub fn table(&self) -> &'static str {
        self.table.name
    }

    /// The wanted columns that the dump has not.
    pub fn lacks(&self) -> impl Iterator<Item = &'static str> {
        let columns = self.table.columns.iter().zip(&self.positions);
        columns
            .filter(|(column, at)| column.need == ColumnNeed::Wanted && at.is_none())
            .map(|(column, _)| column.from[0])
    }
}

impl StagingFile {
    /// Creates the file in `folder`.
    pub fn create(folder: &Path) -> Result<StagingFile> {
        let file = NamedTempFile::with_prefix_in("dump-", folder)
            .context(|| format!("creating a temporary file in {}", folder.display()))?;
        let db = Connection::open(file.path()).staged()?;
        db.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA cache_size = -8192; BEGIN",
        )
        .staged()?;
        db.set_prepared_statement_cache_capacity(32);
        for table in TABLES {
            let columns: Vec<_> = table.columns.iter().map(|column| column.name).collect();
            db.execute_batch(&format!(
                "CREATE TABLE {} ({}, line)",
                table.name,
                columns.join(", ")
            ))
            .staged()?;
        }
        db.create_scalar_function("person_id", 2, FunctionFlags::SQLITE_DETERMINISTIC, |context| {
            Ok(person_id(context.get(0)?, context.get(1)?).into_bytes())
        })
        .staged()?;
        Ok(StagingFile {
            db,
            _file: file,
            present: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            left_out: BTreeSet::new(),
        })
    }

    /// Notes that rows come as `plan` says; false when the table is there already.
    pub fn begin(&mut self, plan: &StagePlan) -> bool {
        let columns = plan.table.columns.iter().zip(&plan.positions).filter(|(_, at)| at.is_some());
        self.present
            .extend(columns.map(|(column, _)| format!("{}.{}", plan.table.name, column.name)));
        self.present.insert(plan.table.name.to_owned())
    }

    /// Stages the row that is on `line`; `Some` says why it cannot be understood.
    pub fn insert(
        &mut self,
        plan: &StagePlan,
        fields: &[&str],
        line: u64,
    ) -> Result<Option<String>> {
        if plan.only.is_some_and(|(at, value)| fields[at] != value) {
            return Ok(None);
        }
        let mut statement = self.db.prepare_cached(&plan.insert).staged()?;
        for (index, (column, at)) in plan.table.columns.iter().zip(&plan.positions).enumerate() {
            let text = at.and_then(|at| copy::field(fields[at]));
            let value = text.as_deref().and_then(|text| value(column.cast, text));
            if value.is_none() && column.need == ColumnNeed::Must {
                self.left_out.insert(plan.table.name);
                return Ok(Some(format!(
                    "the column {} of table {} is unreadable",
                    column.from[0], plan.table.from[0]
                )));
            }
            if value.is_none() && text.is_some() {
                let name = format!("{}.{}", plan.table.name, column.name);
                self.unreadable.entry(name).or_insert((0, line)).0 += 1;
            }
            statement.raw_bind_parameter(index + 1, value.unwrap_or(Value::Null)).staged()?;
        }
        statement.raw_bind_parameter(plan.table.columns.len() + 1, line).staged()?;
        statement.raw_execute().staged()?;
        Ok(None)
    }

    /// True when the dump had the table, or the `table.column` (staging names).
    pub fn has(&self, name: &str) -> bool {
        self.present.contains(name)
    }

    /// Values that could not be read, by `table.column`: how many, and the line of the first.
    pub fn unreadable(&self) -> &BTreeMap<String, (u64, u64)> {
        &self.unreadable
    }

    /// Tables of which rows were left out, as their most needed columns could not be read.
    pub fn left_out(&self) -> &BTreeSet<&'static str> {
        &self.left_out
    }

    /// The rows.
    pub fn db(&self) -> &Connection {
        &self.db
    }

    /// Indexes the rows once all are in.
    pub fn index(&self) -> Result<()> {
        // Sorting for the indexes is what needs memory.
        self.db.execute_batch("PRAGMA cache_size = -65536").staged()?;
        for table in TABLES {
            let sql = format!("CREATE INDEX {0}_index ON {0} ({1})", table.name, table.index);
            self.db.execute_batch(&sql).staged()?;
        }
        Ok(())
    }

    /// Brings the rows of older versions, which are indexed, to the newest shape.
    pub fn settle(&self) -> Result<()> {
        if self.has("asset.stack_parent") {
            self.db.execute_batch(include_str!("adapt_stacks.sql")).staged()?;
        }
        if self.has("person_user") {
            // Since v3.3 a partner's photos show a person also where they are not in the viewer's
            // timeline.
            self.db.execute_batch("UPDATE partner SET timeline = 1").staged()?;
        }
        self.db.execute_batch(include_str!("adapt.sql")).staged()?;
        self.db.execute_batch("COMMIT").staged()
    }

    /// The first column of the first row that `sql` finds.
    pub fn first<T: rusqlite::types::FromSql>(&self, sql: &str) -> Result<Option<T>> {
        let mut statement = self.db.prepare(sql).staged()?;
        let mut rows = statement.query([]).staged()?;
        rows.next()
            .staged()?
            .map(|row| row.get::<_, Option<T>>(0).staged())
            .transpose()
            .map(Option::flatten)
    }

    /// The newest migration.
    pub fn schema(&self) -> Result<Option<String>> {
        match self.first("SELECT max(name) FROM kysely")? {
            Some(name) => Ok(Some(name)),
            None => self.first("SELECT name FROM typeorm ORDER BY time DESC"),
        }
    }

    /// The number that `sql` finds.
    pub fn count(&self, sql: &str) -> Result<u64> {
        Ok(self.first::<i64>(sql)?.unwrap_or(0).unsigned_abs())
    }
}

/// The id of the row that `owner` has of the person `group`, where another row has the group's: a
/// UUID of version 5 whose namespace is the group's and whose name is the owner's (RFC 9562).
fn person_id(group: [u8; 16], owner: [u8; 16]) -> Uuid {
    let digest = sha1::Sha1::digest([group, owner].concat());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_sha1_bytes(bytes).into_uuid()
}

/// The value that `text` stands for; `None` where it is not of its kind.
fn value(cast: FieldCast, text: &str) -> Option<Value> {
    Some(match cast {
        FieldCast::Text => Value::Text(text.to_owned()),
        FieldCast::Id => Value::Blob(Uuid::try_parse(text).ok()?.into_bytes().to_vec()),
        FieldCast::Flag => Value::Integer(match text {
            "t" => 1,
            "f" => 0,
            _ => return None,
        }),
        FieldCast::Time => Value::Integer(time::micros(text)?),
        FieldCast::Bytes => Value::Blob(copy::bytes(text)?),
        FieldCast::Whole => Value::Integer(text.parse().ok()?),
        FieldCast::Real => Value::Real(text.parse().ok().filter(|real: &f64| real.is_finite())?),
        FieldCast::List => Value::Text(serde_json::to_string(&copy::list(text)?).ok()?),
    })
}

/// Says that a failure of SQLite is one of the temporary file, not of the catalog.
pub trait StagingError<T> {
    fn staged(self) -> Result<T>;
}

impl<T> StagingError<T> for rusqlite::Result<T> {
    fn staged(self) -> Result<T> {
        self.map_err(|source| {
            use rusqlite::ErrorCode;
            let kind = match source.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => ErrorKind::NoSpace,
                Some(ErrorCode::OutOfMemory) => ErrorKind::Exhausted,
                Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                    ErrorKind::Permission
                }
                _ => ErrorKind::Io,
            };
            Error::new(kind, "the temporary file for the rows of the dump could not be used")
                .caused_by(source)
                .if_full()
        })
    }
}
