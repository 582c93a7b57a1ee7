//! The lists of a snapshot, as the catalog remembers them: the lines that they had, byte for byte.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::{folder, unsigned, whole};
use crate::base::file::FileEntry;
use crate::base::library::{
    AlbumAsset, AlbumRole, AlbumUser, LibraryRecord, PersonAsset, TagAsset,
};
use crate::base::{Error, ErrorKind, FilePath, Hash, Result};
use crate::catalog::CatalogNight;
use crate::catalog::sql::many;

impl CatalogNight<'_> {
    /// The file list.
    pub fn file_list(self) -> Result<Vec<u8>> {
        let mut entries: Vec<FileEntry> =
            entries(self.db, Some(self.at))?.into_iter().map(|(entry, _)| entry).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        lines(&entries)
    }

    /// The library list.
    pub fn library_list(self) -> Result<Vec<u8>> {
        let mut list = Vec::new();
        for kind in KINDS {
            let records = records(self.db, kind, Some(self.at))?;
            list.extend(records.into_iter().flat_map(|(line, _)| line));
        }
        Ok(list)
    }
}

/// The entries of the snapshot at `time`, or of all, in no order: each with the times from and
/// before which it holds.
fn entries(db: &Connection, time: Option<i64>) -> Result<Vec<(FileEntry, (i64, i64))>> {
    let folders: HashMap<i64, (i64, Vec<u8>)> = whole::folders(db)?
        .into_iter()
        .map(|folder| (folder.id, (folder.parent, folder.name)))
        .collect();
    let sql = "SELECT f.folder, f.name, f.kind, f.size, f.mtime, f.mode, f.uid, f.gid, c.hash, \
        f.target, f.link, f.since, f.until
               FROM file f LEFT JOIN content c ON c.id = f.content WHERE ?1 IS NULL OR holds(f)";
    let rows = many(db, sql, [time], |row| {
        Ok((row.get(0)?, row.get(1)?, entry(row)?, (row.get(11)?, row.get(12)?)))
    })?;
    let made = |(folder, name, mut entry, range): (_, Vec<u8>, FileEntry, _)| {
        let above = folder::path_by(folder, |place| Ok(folders.get(&place).cloned()))?;
        entry.path = FilePath::new(folder::join(above, &name))?;
        Ok((entry, range))
    };
    rows.into_iter().map(made).collect()
}

/// An entry without its path.
fn entry(row: &Row<'_>) -> rusqlite::Result<FileEntry> {
    let link: Option<Vec<u8>> = row.get(10)?;
    Ok(FileEntry {
        path: FilePath::new("x").map_err(|_| rusqlite::Error::InvalidQuery)?,
        kind: row.get(2)?,
        size: unsigned(row.get(3)?),
        mtime: row.get(4)?,
        mode: row.get(5)?,
        uid: row.get(6)?,
        gid: row.get(7)?,
        hash: row.get::<_, Option<[u8; 32]>>(8)?.map(Hash),
        target: row.get(9)?,
        link: link.and_then(|path| FilePath::new(path).ok()),
    })
}

const KINDS: [&str; 11] = [
    "album",
    "album_asset",
    "album_user",
    "asset",
    "external_library",
    "person",
    "person_asset",
    "stack",
    "tag",
    "tag_asset",
    "user",
];

/// A line of a list, and the times from and before which it holds.
type ListedLine = (Vec<u8>, (i64, i64));

/// The records of one kind in the snapshot at `time`, or in all, sorted by their ids.
fn records(db: &Connection, kind: &str, time: Option<i64>) -> Result<Vec<ListedLine>> {
    let holds = format!("?1 IS NULL OR holds({kind})");
    let pair = |first: &str,
                second: &str,
                third: &str,
                made: &dyn Fn(Uuid, Uuid, AlbumRole) -> LibraryRecord| {
        let sql = format!(
            "SELECT {first}, {second}, {third}, since, until FROM {kind} WHERE {holds} ORDER BY 1, \
                2"
        );
        let found = many(db, &sql, [time], |row| {
            let record =
                made(Uuid::from_bytes(row.get(0)?), Uuid::from_bytes(row.get(1)?), row.get(2)?);
            Ok((record, (row.get(3)?, row.get(4)?)))
        })?;
        found.into_iter().map(|(record, range)| Ok((lines(&[record])?, range))).collect()
    };
    match kind {
        "album_asset" => pair("album", "asset", "0", &|album, asset, _| {
            LibraryRecord::AlbumAsset(AlbumAsset { album, asset })
        }),
        "album_user" => pair("album", "user", "role", &|album, user, role| {
            LibraryRecord::AlbumUser(AlbumUser { album, user, role })
        }),
        "person_asset" => pair("person", "asset", "0", &|person, asset, _| {
            LibraryRecord::PersonAsset(PersonAsset { person, asset })
        }),
        "tag_asset" => pair("tag", "asset", "0", &|tag, asset, _| {
            LibraryRecord::TagAsset(TagAsset { tag, asset })
        }),
        _ => {
            let sql = format!("SELECT line, since, until FROM {kind} WHERE {holds} ORDER BY id");
            many(db, &sql, [time], |row| {
                let line: String = row.get(0)?;
                Ok(((line + "\n").into_bytes(), (row.get(1)?, row.get(2)?)))
            })
        }
    }
}

/// What lines amount to, whatever their order: the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListSum(u128);

impl ListSum {
    /// Adds the line that `value` is.
    pub fn add<T: serde::Serialize>(&mut self, value: &T) -> Result<()> {
        *self = ListSum(self.0.wrapping_add(ListSum::of(&lines(std::slice::from_ref(value))?)));
        Ok(())
    }

    /// What this and `other` amount to.
    #[must_use]
    pub fn with(self, other: ListSum) -> ListSum {
        ListSum(self.0.wrapping_add(other.0))
    }

    fn of(line: &[u8]) -> u128 {
        let mut half = [0; 16];
        half.copy_from_slice(&blake3::hash(line).as_bytes()[..16]);
        u128::from_le_bytes(half)
    }
}

/// What the rows amount to that are a list's, for each of the snapshots at `times`, which ascend.
/// One pass over all rows, however many snapshots there are.
pub fn amounts(db: &Connection, times: &[i64], is_library: bool) -> Result<Vec<ListSum>> {
    let mut turns: BTreeMap<i64, u128> = BTreeMap::new();
    let mut note = |line: &[u8], (since, until): (i64, i64)| {
        let value = ListSum::of(line);
        let begun = turns.entry(since).or_default();
        *begun = begun.wrapping_add(value);
        let ended = turns.entry(until).or_default();
        *ended = ended.wrapping_sub(value);
    };
    if is_library {
        for kind in KINDS {
            records(db, kind, None)?.iter().for_each(|(line, range)| note(line, *range));
        }
    } else {
        for (entry, range) in entries(db, None)? {
            note(&lines(&[entry])?, range);
        }
    }
    let (mut sum, mut turns) = (0_u128, turns.into_iter().peekable());
    let amount = |time: &i64| {
        while let Some((_, value)) = turns.next_if(|(turn, _)| turn <= time) {
            sum = sum.wrapping_add(value);
        }
        ListSum(sum)
    };
    Ok(times.iter().map(amount).collect())
}

fn lines<T: serde::Serialize>(values: &[T]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for value in values {
        serde_json::to_writer(&mut bytes, value)
            .map_err(|error| Error::new(ErrorKind::Io, "writing a list").caused_by(error))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}
