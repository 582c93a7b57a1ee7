//! Generations: a finished catalog file, sealed and opened immutable; and the draft that becomes
//! the next one.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempPath;

use super::seal::{SealedCatalog, not_a_catalog, of_another_version, seal};
use super::{APPLICATION, Catalog, VERSION, vfs};
use crate::base::durable::{copy_over, sync_folder};
use crate::base::{Context, Error, Result};

const SCHEMA: &str = include_str!("schema.sql");

/// No value has more bytes. The longest are records, which stay below half of it, and the chaining
/// values of huge files.
const LONGEST_VALUE: i32 = 128 << 20;

/// Tells one generation of a catalog from another: device, inode and modification time of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationStamp(u64, u64, i64, i64);

/// A finished catalog file. Opens any number of read-only connections (one a thread), to that very
/// file: also when another one has its name by now. Each page is verified when it is read.
#[derive(Debug, Clone)]
pub struct Generation {
    path: PathBuf,
    stamp: GenerationStamp,
    sealed: Arc<SealedCatalog>,
}

impl Generation {
    /// The generation at `path` as it is now. `NotFound` when there is none; `Damaged` when it is
    /// no catalog or of another schema version (a rebuild fixes both).
    pub fn open(path: &Path) -> Result<Generation> {
        let opening = || format!("opening the catalog {}", path.display());
        // Looked at first: a pipe would be waited for.
        GenerationStamp::of(&std::fs::metadata(path).context(opening)?, path)?;
        let file = File::open(path).context(opening)?;
        let stamp = GenerationStamp::of(&file.metadata().context(opening)?, path)?;
        let generation = Generation {
            path: path.to_owned(),
            stamp,
            sealed: Arc::new(SealedCatalog::open(file, path)?),
        };
        check_schema(&*generation.connect()?, path)?;
        Ok(generation)
    }

    /// Reads it all. `Damaged` where a page is not what was published.
    pub fn verify(&self) -> Result<()> {
        self.sealed.all(&self.path, |_| Ok(()))
    }

    /// A new read-only connection to this generation.
    pub fn connect(&self) -> Result<Catalog> {
        // `immutable=1`: no locks and no journal. Legal because a generation never changes.
        let uri = format!("file:{}?immutable=1&vfs={}", escape(&self.path), vfs::NAME);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = vfs::lend(&self.sealed, || Connection::open_with_flags(uri, flags))?;
        keep_plans(&connection)?;
        trust_nothing(&connection)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096;")?;
        Ok(Catalog(connection))
    }

    /// True when the file at its path is another generation by now.
    pub fn is_outdated(&self) -> bool {
        let now = std::fs::metadata(&self.path)
            .ok()
            .and_then(|meta| GenerationStamp::of(&meta, &self.path).ok());
        now.is_some_and(|now| now != self.stamp)
    }

    /// When it was published: nanoseconds since 1970.
    pub fn published(&self) -> i64 {
        self.stamp.2.saturating_mul(1_000_000_000).saturating_add(self.stamp.3)
    }

    /// What tells this generation from others.
    pub fn stamp(&self) -> GenerationStamp {
        self.stamp
    }
}

impl GenerationStamp {
    fn of(meta: &Metadata, path: &Path) -> Result<GenerationStamp> {
        if meta.is_file() {
            Ok(GenerationStamp(meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
        } else {
            Err(not_a_catalog(path, "is not a readable catalog"))
        }
    }
}

/// A catalog that is being written: a file of its own until [`CatalogDraft::publish`].
#[derive(Debug)]
pub struct CatalogDraft {
    catalog: Catalog,
    /// Deletes the file when the draft is dropped.
    path: TempPath,
}

impl CatalogDraft {
    /// An empty catalog at `path`, which must not exist.
    pub fn create(path: &Path) -> Result<CatalogDraft> {
        new_file(path)?;
        let connection = Connection::open(path)?;
        configure_writer(&connection)?;
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "application_id", APPLICATION)?;
        connection.pragma_update(None, "user_version", VERSION)?;
        Ok(CatalogDraft { catalog: Catalog(connection), path: own(path)? })
    }

    /// A copy of `generation` at `path`, which must not exist. `Damaged` when that one is not what
    /// was published: what is wrong with it would be sealed as right.
    pub fn copy_of(generation: &Generation, path: &Path) -> Result<CatalogDraft> {
        let mut copy = new_file(path)?;
        let path = own(path)?;
        let copying = || format!("copying the catalog to {}", path.display());
        generation.sealed.all(&generation.path, |pages| copy.write_all(pages).context(copying))?;
        let connection = Connection::open(&path)?;
        configure_writer(&connection)?;
        Ok(CatalogDraft { catalog: Catalog(connection), path })
    }

    /// The connection to write through.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.catalog.0
    }

    /// The catalog to ask something.
    pub fn reader(&self) -> &Catalog {
        &self.catalog
    }

    /// Makes this draft the generation at `target`: durable on return.
    pub fn publish(self, target: &Path) -> Result<Generation> {
        let CatalogDraft { catalog: Catalog(connection), path } = self;
        connection.execute_batch("PRAGMA optimize")?;
        connection.close().map_err(|(_, error)| error)?;
        let publishing = || format!("publishing {}", target.display());
        seal(&path)?;
        let path = beside(path, target)?;
        path.persist(target).map_err(|error| Error::io(publishing(), error.error))?;
        if let Some(folder) = target.parent() {
            sync_folder(folder).context(|| format!("writing {}", folder.display()))?;
        }
        Generation::open(target)
    }
}

/// A new file at `path`. Private from the first byte: it holds names and places of a family.
fn new_file(path: &Path) -> Result<File> {
    let creating = || format!("creating {}", path.display());
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).context(creating)
}

/// The draft at `path`, on the disk of `target`: what was made on another is copied, front to back,
/// to the `tmp/` beside `target`.
fn beside(path: TempPath, target: &Path) -> Result<TempPath> {
    let writing = || format!("writing {}", target.display());
    let folder = target.parent().unwrap_or(Path::new("."));
    let disk = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).context(writing);
    if disk(&path)? == disk(folder)? {
        return Ok(path);
    }
    let there = folder.join("tmp").join(path.file_name().unwrap_or_default());
    let file = new_file(&there)?;
    let there = own(&there)?;
    copy_over(&path, &file).context(writing)?;
    Ok(there)
}

fn own(path: &Path) -> Result<TempPath> {
    TempPath::try_from_path(path).context(|| format!("writing {}", path.display()))
}

/// A catalog may come from a stranger's stick: nothing in its schema is run, and no value is larger
/// than one of ours can be.
fn trust_nothing(connection: &Connection) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    Ok(())
}

/// A statement is compiled once. Without the stability guarantee
/// (<https://sqlite.org/queryplanner-ng.html>, section 4) SQLite compiles it again whenever a value
/// is bound that the statistics might have an opinion about: for each folder of a walk.
fn keep_plans(connection: &Connection) -> Result<()> {
    connection.set_prepared_statement_cache_capacity(128);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn configure_writer(connection: &Connection) -> Result<()> {
    keep_plans(connection)?;
    trust_nothing(connection)?;
    // The draft is a private copy: what a crash leaves of it is thrown away, so no journal on disk
    // is needed.
    connection.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA \
            cache_size = -65536; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(())
}

fn check_schema(connection: &Connection, path: &Path) -> Result<()> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let problem = match (number("application_id")?, number("user_version")?) {
        (APPLICATION, VERSION) if has_our_schema(connection)? => return Ok(()),
        (APPLICATION, VERSION) => "has another schema than shoebox gave it".to_owned(),
        (APPLICATION, version) => return Err(of_another_version(version)),
        _ => "is not a readable catalog".to_owned(),
    };
    Err(not_a_catalog(path, &problem))
}

/// True when there are the tables and indexes of `schema.sql`, word for word, and nothing else but
/// what SQLite itself makes: a default, a check or an index on an expression could do much before
/// any trigger would.
fn has_our_schema(connection: &Connection) -> Result<bool> {
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT IN \
        ('sqlite_sequence', 'sqlite_stat1', 'sqlite_stat4')";
    let mut statements = connection.prepare(sql)?;
    let found = statements
        .query_map((), |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut ours = statements_of(SCHEMA);
    let mut found: Vec<String> = found.iter().map(|sql| without_comments(sql)).collect();
    ours.sort_unstable();
    found.sort_unstable();
    Ok(ours == found)
}

/// The statements of a schema that has no semicolon in its words.
fn statements_of(schema: &str) -> Vec<String> {
    let all = without_comments(schema);
    all.split(';').map(|sql| sql.trim().to_owned()).filter(|sql| !sql.is_empty()).collect()
}

/// The words of `sql`, one blank between them.
fn without_comments(sql: &str) -> String {
    let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// A path as a SQLite URI has it. Source: <https://sqlite.org/uri.html>, section 3.1.
fn escape(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte);
    path.as_os_str().as_bytes().iter().fold(String::new(), |text, byte| {
        if plain(byte) {
            text + &char::from(*byte).to_string()
        } else {
            text + &format!("%{byte:02X}")
        }
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::base::ErrorKind;

    #[test]
    fn a_published_draft_is_a_generation_and_the_next_one_outdates_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("cata log?#%.sqlite");
        let first = CatalogDraft::create(&dir.path().join("a")).unwrap().publish(&target).unwrap();
        assert!(!first.is_outdated());
        let reader = first.connect().unwrap();
        let mut next = CatalogDraft::copy_of(&first, &dir.path().join("b")).unwrap();
        next.connection().execute("INSERT INTO meta VALUES ('lineage', 'x')", ()).unwrap();
        let second = next.publish(&target).unwrap();
        assert!(first.is_outdated());
        let count = |c: &Connection| {
            c.query_row("SELECT count(*) FROM meta", (), |r| r.get::<_, i64>(0)).unwrap()
        };
        assert_eq!((count(&reader), count(&second.connect().unwrap())), (0, 1));
    }

    #[test]
    fn a_statement_is_not_compiled_again_for_other_values() {
        let dir = tempfile::tempdir().unwrap();
        let mut draft = CatalogDraft::create(&dir.path().join("a")).unwrap();
        for n in 0..200 {
            let sql = "INSERT INTO file (folder, name, since, until, row, kind, size, mtime, mode, \
                uid, gid) VALUES (?1, ?2, ?1, 9, ?1, 0, 0, 0, 0, 0, 0)";
            draft.connection().execute(sql, (n, n.to_string())).unwrap();
        }
        draft.connection().execute_batch("ANALYZE").unwrap();
        let reader = draft.publish(&dir.path().join("catalog")).unwrap().connect().unwrap();
        let mut ask = reader
            .prepare("SELECT count(*) FROM file WHERE folder = ?1 AND since <= ?2 AND until > ?2")
            .unwrap();
        for n in 0..10 {
            assert_eq!(
                ask.query_row((n, n), |row| row.get::<_, i64>(0)).unwrap(),
                i64::from(n < 9)
            );
        }
        assert_eq!(ask.get_status(StatementStatus::RePrepare), 0);
    }

    #[test]
    fn something_else_is_refused_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.sqlite");
        assert_eq!(Generation::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::write(&path, "not a database, but long enough to look like one ".repeat(40))
            .unwrap();
        let error = Generation::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.next_step().unwrap().contains("repair catalog"));
    }
}
