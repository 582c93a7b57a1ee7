//! The lists of a snapshot, as the catalog remembers them: the lines that they had, byte for byte.

use std::collections::HashMap;

use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::search::many;
use super::{unsigned, whole};
use crate::base::file::{FileEntry, FileKind};
use crate::base::library::{AlbumAsset, AlbumUser, PersonAsset, Record, Role, TagAsset};
use crate::base::{Error, FilePath, Hash, Kind, Result};

/// The file list of the snapshot at `time`.
pub fn files(db: &Connection, time: i64) -> Result<Vec<u8>> {
    let folders: HashMap<i64, (i64, Vec<u8>)> =
        whole::folders(db)?.into_iter().map(|folder| (folder.id, (folder.parent, folder.name))).collect();
    let sql = "SELECT f.folder, f.name, f.kind, f.size, f.mtime, f.mode, f.uid, f.gid, c.hash, f.target, f.link
               FROM file f LEFT JOIN content c ON c.id = f.content WHERE f.since <= ?1 AND f.until > ?1";
    let rows = many(db, sql, [time], |row| Ok((row.get(0)?, row.get(1)?, entry(row)?)))?;
    let mut entries = Vec::with_capacity(rows.len());
    for (folder, name, mut entry) in rows {
        entry.path = path(&folders, folder, name)?;
        entries.push(entry);
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    lines(&entries)
}

/// An entry without its path.
fn entry(row: &Row<'_>) -> rusqlite::Result<FileEntry> {
    let link: Option<Vec<u8>> = row.get(10)?;
    Ok(FileEntry {
        path: FilePath::new("x").map_err(|_| rusqlite::Error::InvalidQuery)?,
        kind: match row.get::<_, i64>(2)? {
            0 => FileKind::File,
            1 => FileKind::Folder,
            _ => FileKind::Symlink,
        },
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

fn path(folders: &HashMap<i64, (i64, Vec<u8>)>, folder: i64, name: Vec<u8>) -> Result<FilePath> {
    let (mut path, mut at) = (name, folder);
    // Deeper than any path can be: a crafted catalog may make a ring.
    for _ in 0..4096 {
        let Some((parent, name)) = folders.get(&at) else { break };
        path = [&name[..], b"/", &path].concat();
        at = *parent;
    }
    FilePath::new(path)
}

/// The library list of the snapshot at `time`.
pub fn library(db: &Connection, time: i64) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    for kind in [
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
    ] {
        list.extend(records(db, kind, time)?);
    }
    Ok(list)
}

/// The records of one kind, sorted by their ids.
fn records(db: &Connection, kind: &str, time: i64) -> Result<Vec<u8>> {
    let pair = |first: &str, second: &str, third: &str| -> Result<Vec<(Uuid, Uuid, i64)>> {
        let sql =
            format!("SELECT {first}, {second}, {third} FROM {kind} WHERE since <= ?1 AND until > ?1 ORDER BY 1, 2");
        many(db, &sql, [time], |row| Ok((Uuid::from_bytes(row.get(0)?), Uuid::from_bytes(row.get(1)?), row.get(2)?)))
    };
    let made: Vec<Record> = match kind {
        "album_asset" => {
            let made = |(album, asset, _)| Record::AlbumAsset(AlbumAsset { album, asset });
            pair("album", "asset", "0")?.into_iter().map(made).collect()
        }
        "album_user" => {
            let made = |(album, user, number)| Record::AlbumUser(AlbumUser { album, user, role: role(number) });
            pair("album", "user", "role")?.into_iter().map(made).collect()
        }
        "person_asset" => {
            let made = |(person, asset, _)| Record::PersonAsset(PersonAsset { person, asset });
            pair("person", "asset", "0")?.into_iter().map(made).collect()
        }
        "tag_asset" => {
            let made = |(tag, asset, _)| Record::TagAsset(TagAsset { tag, asset });
            pair("tag", "asset", "0")?.into_iter().map(made).collect()
        }
        _ => {
            let sql = format!("SELECT line FROM {kind} WHERE since <= ?1 AND until > ?1 ORDER BY id");
            let kept: Vec<String> = many(db, &sql, [time], |row| row.get(0))?;
            return Ok(kept.into_iter().flat_map(|line| (line + "\n").into_bytes()).collect());
        }
    };
    lines(&made)
}

fn role(number: i64) -> Role {
    match number {
        0 => Role::Owner,
        1 => Role::Editor,
        _ => Role::Viewer,
    }
}

fn lines<T: serde::Serialize>(values: &[T]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for value in values {
        serde_json::to_writer(&mut bytes, value)
            .map_err(|error| Error::new(Kind::Io, "writing a list").caused_by(error))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}
