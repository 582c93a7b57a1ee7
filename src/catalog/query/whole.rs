//! All that lay on disk in one snapshot: what a full restore asks.

use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::base::Result;
use crate::base::file::FileKind;
use crate::catalog::CatalogNight;
use crate::catalog::sql::each;

/// Names and targets over this are none.
const LONGEST: usize = 4096;

/// A folder as a place, in whatever snapshot.
#[derive(Debug, Clone)]
pub struct FolderPlace {
    pub id: i64,
    pub parent: i64,
    pub name: Vec<u8>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    File(FileContent),
    /// A folder: this one, as a place.
    Folder(i64),
    /// Where it points.
    Symlink(Vec<u8>),
}

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    pub content: i64,
    /// The archive that holds them, 0 for none, and where they begin in it.
    pub archive: i64,
    pub offset: u64,
    /// Path of the file that this is another name of.
    pub link: Option<Vec<u8>>,
}

/// An entry of the file list.
#[derive(Debug, Clone)]
pub struct ListEntry {
    pub row: u64,
    /// The place that it lies in.
    pub folder: i64,
    pub name: Vec<u8>,
    pub kind: EntryKind,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// All places that any snapshot knows. Those whose name cannot be one are left out, and so is what
/// lies in them.
pub fn folders(db: &Connection) -> Result<Vec<FolderPlace>> {
    let mut ask = db.prepare("SELECT id, parent, name FROM folder WHERE id <> 0")?;
    let mut rows = ask.query(())?;
    let mut folders = Vec::new();
    while let Some(row) = rows.next()? {
        folders.extend(folder(row));
    }
    Ok(folders)
}

fn folder(row: &Row<'_>) -> Option<FolderPlace> {
    Some(FolderPlace { id: row.get(0).ok()?, parent: row.get(1).ok()?, name: short(row, 2)? })
}

const ENTRY: &str =
    "SELECT f.row, f.folder, f.name, f.kind, f.size, f.mtime, f.mode, f.uid, f.gid, f.content, \
        f.child, f.target,
                       f.link, c.archive, c.offset, c.stored, c.size, c.frames IS NULL, \
                       length(c.frames), a.size
                     FROM file f LEFT JOIN content c ON c.id = f.content LEFT JOIN archive a ON \
                     a.id = c.archive";

impl CatalogNight<'_> {
    /// Runs through the entries of the file list, by the place that they lie in and by name. `None`
    /// stands for a row that makes no sense. A file whose bytes do not fit into their archive is
    /// one that no archive holds.
    pub fn entries(self, mut take: impl FnMut(Option<ListEntry>) -> Result<()>) -> Result<()> {
        let sql = format!("{ENTRY} WHERE holds(f) ORDER BY f.folder, f.name");
        each(self.db, &sql, [self.at], |row| take(entry(row)))
    }
}

/// The entry in `row`, of whatever snapshot. `None` for a row that makes no sense.
pub fn entry_of(db: &Connection, row: u64) -> Result<Option<ListEntry>> {
    let sql = format!("{ENTRY} WHERE f.row = ?1");
    Ok(db.prepare_cached(&sql)?.query_row([row], |row| Ok(entry(row))).optional()?.flatten())
}

fn entry(row: &Row<'_>) -> Option<ListEntry> {
    let size = get(row, 4)?;
    let kind = match get(row, 3)? {
        FileKind::File => EntryKind::File(bytes(row, size)?),
        FileKind::Folder => EntryKind::Folder(get(row, 10)?),
        FileKind::Symlink => EntryKind::Symlink(short(row, 11)?),
    };
    Some(ListEntry {
        row: get(row, 0)?,
        folder: get(row, 1)?,
        name: short(row, 2)?,
        kind,
        size,
        mtime: get(row, 5)?,
        mode: get(row, 6)?,
        uid: get(row, 7)?,
        gid: get(row, 8)?,
    })
}

fn bytes(row: &Row<'_>, size: u64) -> Option<FileContent> {
    let link = if is_null(row, 12) { None } else { Some(short(row, 12)?) };
    let (archive, offset) = place(row, size).unwrap_or_default();
    Some(FileContent { content: get(row, 9).unwrap_or(0), archive, offset, link })
}

/// The archive, and where in it, if it can be there.
fn place(row: &Row<'_>, size: u64) -> Option<(i64, u64)> {
    let (offset, stored) = (get::<u64>(row, 14)?, get::<u64>(row, 15)?);
    let segments = size.div_ceil(crate::base::stored::SEGMENT as u64);
    let whole = if get::<bool>(row, 17)? {
        stored == size
    } else {
        get::<u64>(row, 18)? == segments.checked_mul(4)?
    };
    let fits = offset.checked_add(stored)? <= get(row, 19)?;
    (whole && fits && get::<u64>(row, 16)? == size).then_some((get(row, 13)?, offset))
}

fn get<T: FromSql>(row: &Row<'_>, column: usize) -> Option<T> {
    row.get(column).ok()
}

fn is_null(row: &Row<'_>, column: usize) -> bool {
    matches!(row.get_ref(column), Ok(ValueRef::Null))
}

/// Bytes of a sensible length; nothing larger is copied.
fn short(row: &Row<'_>, column: usize) -> Option<Vec<u8>> {
    match row.get_ref(column).ok()? {
        ValueRef::Blob(bytes) if bytes.len() <= LONGEST => Some(bytes.to_vec()),
        _ => None,
    }
}
