//! The library that a database describes: its staged rows as records.

use rusqlite::Row;
use rusqlite::types::FromSql;
use uuid::Uuid;

use super::paths::{self, PathMap};
use super::staging::{StagingError, StagingFile};
use super::{ReadDump, oddities, time};
use crate::base::library::*;
use crate::base::{Result, Sha1};

/// The staged rows of the database that was chosen.
pub struct StagedLibrary {
    staging: StagingFile,
    paths: PathMap,
    /// Names lack their extension: before v1.98 Immich kept them so.
    bare_names: bool,
}

/// The migration that added the extension to `originalFileName`:
/// `AddExtensionToOriginalFileName1709763765506`.
const NAMES_HAVE_EXTENSIONS: i64 = 1_709_763_765_506;

impl StagedLibrary {
    /// Settles the rows and fills in what they say of the whole.
    pub fn settle(staging: StagingFile, dump: &mut ReadDump) -> Result<()> {
        staging.settle()?;
        dump.immich =
            staging.first("SELECT version FROM version ORDER BY created DESC, rowid DESC")?;
        dump.schema = staging.schema()?;
        dump.media_location = media_location(&staging)?;
        dump.census = census(&staging)?;
        let paths = PathMap::new(dump.media_location.as_deref());
        dump.warnings.extend(oddities::find(&staging, &paths)?);
        dump.lacks.extend(oddities::lacks(&staging)?);
        // A database that names neither was put together by hand: that something is not there says
        // nothing of a newer Immich.
        if dump.immich.is_none() && dump.schema.is_none() {
            dump.warnings.append(&mut dump.lacks);
        }
        let newest: Option<i64> = staging.first("SELECT max(time) FROM typeorm")?;
        let bare_names =
            !staging.has("kysely") && newest.is_some_and(|newest| newest < NAMES_HAVE_EXTENSIONS);
        dump.library = Some(StagedLibrary { staging, paths, bare_names });
        Ok(())
    }

    /// Hands out the records, sorted by key, each key once.
    pub fn records(&self, each: &mut dyn FnMut(LibraryRecord) -> Result<()>) -> Result<()> {
        for (sql, make) in QUERIES {
            let mut statement = self.staging.db().prepare(sql).staged()?;
            let mut rows = statement.query([]).staged()?;
            let mut last = None;
            while let Some(row) = rows.next().staged()? {
                let record = make(self, &mut RowCells { row, at: 0 }).staged()?;
                let key = record.key();
                if last != Some(key) {
                    last = Some(key);
                    each(record)?;
                }
            }
        }
        Ok(())
    }
}

fn census(staging: &StagingFile) -> Result<LibraryCensus> {
    let newest: Option<i64> = staging.first("SELECT max(added) FROM asset")?;
    Ok(LibraryCensus {
        users: staging.count("SELECT count(DISTINCT id) FROM user")?,
        assets: staging.count("SELECT count(DISTINCT id) FROM asset")?,
        albums: staging.count("SELECT count(DISTINCT id) FROM album")?,
        newest: newest.and_then(time::instant),
        accounts: accounts(staging)?,
    })
}

fn accounts(staging: &StagingFile) -> Result<Vec<AccountCensus>> {
    let sql = "SELECT user.id, coalesce(user.name, ''), coalesce(owned.assets, 0) FROM user
               LEFT JOIN (SELECT owner, count(DISTINCT id) AS assets FROM asset GROUP BY owner) \
               owned ON owned.owner = user.id
               GROUP BY user.id ORDER BY user.id";
    let mut statement = staging.db().prepare(sql).staged()?;
    let rows = statement.query_map((), |row| {
        Ok(AccountCensus {
            id: Uuid::from_bytes(row.get(0)?),
            name: row.get(1)?,
            assets: row.get(2)?,
        })
    });
    rows.staged()?.collect::<rusqlite::Result<_>>().staged()
}

/// The media location as the database has it since v1.137, else as the paths of originals show it.
fn media_location(staging: &StagingFile) -> Result<Option<String>> {
    #[derive(serde::Deserialize)]
    struct MediaLocation {
        location: String,
    }
    let said: Option<String> = staging.first("SELECT value FROM metadata")?;
    match said.and_then(|json| serde_json::from_str::<MediaLocation>(&json).ok()) {
        Some(said) => Ok(Some(said.location)),
        None => shown_location(staging),
    }
}

fn shown_location(staging: &StagingFile) -> Result<Option<String>> {
    let sql = "SELECT asset.path, user.id, coalesce(user.label, '') FROM asset JOIN user ON \
        user.id = asset.owner
               WHERE coalesce(asset.external, 0) = 0";
    let mut statement = staging.db().prepare(sql).staged()?;
    let mut rows = statement.query([]).staged()?;
    while let Some(row) = rows.next().staged()? {
        let (path, owner, label): (String, _, String) = (
            row.get(0).staged()?,
            row.get(1).map(Uuid::from_bytes).staged()?,
            row.get(2).staged()?,
        );
        if let Some(location) = paths::location(&path, [&owner.to_string(), &label]) {
            return Ok(Some(location.to_owned()));
        }
    }
    Ok(None)
}

type RecordMaker = fn(&StagedLibrary, &mut RowCells) -> rusqlite::Result<LibraryRecord>;

/// One question for each kind of record, in the order of their keys. Rows that point nowhere are
/// left out ([`oddities`] counts them).
const QUERIES: [(&str, RecordMaker); 11] = [
    ("SELECT id, name, description, created, deleted FROM album ORDER BY id", album),
    (
        "SELECT album, asset FROM album_asset
         WHERE album IN (SELECT id FROM album) AND asset IN (SELECT id FROM asset) ORDER BY album, \
         asset",
        album_asset,
    ),
    (
        "SELECT album, user, role FROM album_user
         WHERE album IN (SELECT id FROM album) AND user IN (SELECT id FROM user)
         ORDER BY album, user, CASE role WHEN 'owner' THEN 0 WHEN 'editor' THEN 1 ELSE 2 END",
        album_user,
    ),
    (include_str!("assets.sql"), asset),
    (
        "SELECT id, owner, name, roots, deleted FROM library WHERE type IS NOT 'UPLOAD' ORDER BY \
        id",
        external_library,
    ),
    (include_str!("people.sql"), person),
    (include_str!("people_assets.sql"), person_asset),
    ("SELECT id, owner, cover FROM stack WHERE owner IS NOT NULL ORDER BY id", stack),
    ("SELECT id, owner, value FROM tag ORDER BY id", tag),
    (
        "SELECT tag, asset FROM tag_asset
         WHERE tag IN (SELECT id FROM tag) AND asset IN (SELECT id FROM asset) ORDER BY tag, asset",
        tag_asset,
    ),
    ("SELECT id, name, email, admin, label, deleted, picture FROM user ORDER BY id", user),
];

fn album(_: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    Ok(LibraryRecord::Album(Album {
        id: row.id()?,
        name: row.text()?,
        description: row.filled()?,
        created: row.instant()?,
        deleted: row.instant()?,
    }))
}

fn album_asset(_: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    Ok(LibraryRecord::AlbumAsset(AlbumAsset { album: row.id()?, asset: row.id()? }))
}

fn album_user(_: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    Ok(LibraryRecord::AlbumUser(AlbumUser {
        album: row.id()?,
        user: row.id()?,
        role: role(&row.text()?),
    }))
}

fn external_library(_: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    Ok(LibraryRecord::ExternalLibrary(ExternalLibrary {
        id: row.id()?,
        owner: row.id()?,
        name: row.text()?,
        roots: serde_json::from_str(&row.text()?).unwrap_or_default(),
        deleted: row.instant()?,
    }))
}

fn person(_: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    let (id, group) = (row.id()?, row.id()?);
    Ok(LibraryRecord::Person(Person {
        id,
        group: (group != id).then_some(group),
        owner: row.id()?,
        name: row.text()?,
        hidden: row.flag()?,
        favorite: row.flag()?,
        born: row.filled()?,
        locked: row.flag()?,
    }))
}

fn person_asset(_: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    Ok(LibraryRecord::PersonAsset(PersonAsset { person: row.id()?, asset: row.id()? }))
}

fn stack(_: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    Ok(LibraryRecord::Stack(Stack { id: row.id()?, owner: row.id()?, primary: row.maybe_id()? }))
}

fn tag(_: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    Ok(LibraryRecord::Tag(Tag { id: row.id()?, owner: row.id()?, value: row.text()? }))
}

fn tag_asset(_: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    Ok(LibraryRecord::TagAsset(TagAsset { tag: row.id()?, asset: row.id()? }))
}

fn user(library: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    Ok(LibraryRecord::User(User {
        id: row.id()?,
        name: row.text()?,
        email: row.text()?,
        admin: row.flag()?,
        label: row.filled()?,
        deleted: row.instant()?,
        picture: row.filled()?.and_then(|path| library.paths.file(&path, false)),
    }))
}

/// Reads a row of `assets.sql`, in its order.
fn asset(library: &StagedLibrary, row: &mut RowCells) -> rusqlite::Result<LibraryRecord> {
    let (path, external) = (row.text()?, row.flag()?);
    let file = |path: String| library.paths.file(&path, external);
    let (id, owner) = (row.id()?, row.id()?);
    let mut is_elsewhere = false;
    Ok(LibraryRecord::Asset(Box::new(Asset {
        id,
        owner,
        kind: kind(&row.text()?),
        name: library.name(row.text()?, &path),
        sha1: sha1(row.next()?, row.next()?, external),
        taken: row.next::<Option<i64>>()?.and_then(time::civil).unwrap_or_default(),
        created: row.instant()?.unwrap_or_default(),
        added: row.instant()?.unwrap_or_default(),
        favorite: row.flag()?,
        visibility: visibility(&row.text()?),
        trashed: row.instant()?,
        live_video: row.maybe_id()?,
        stack: row.maybe_id()?,
        library: row.maybe_id()?,
        offline: row.flag()?,
        edited: row.flag()?,
        sidecar: row.filled()?.and_then(|path| {
            let found = file(path.clone()).or_else(|| paths::of_owner(&path, &owner.to_string()));
            is_elsewhere = found.is_none();
            found
        }),
        sidecar_elsewhere: is_elsewhere,
        size: row.next::<Option<i64>>()?.and_then(|size| size.try_into().ok()),
        make: row.next()?,
        model: row.next()?,
        time_zone: row.next()?,
        latitude: row.next()?,
        longitude: row.next()?,
        city: row.next()?,
        state: row.next()?,
        country: row.next()?,
        description: row.filled()?,
        rating: row.next::<Option<i64>>()?.and_then(|rating| rating.try_into().ok()),
        file: file(path.clone()),
        path,
    })))
}

/// The SHA-1 of an asset's bytes, unless Immich hashed its path. Before v2.7 only `external` tells.
fn sha1(sha1: Option<Vec<u8>>, algorithm: Option<String>, external: bool) -> Option<Sha1> {
    let of_bytes = algorithm.map_or(!external, |algorithm| algorithm == "sha1");
    sha1.filter(|_| of_bytes).and_then(|sha1| Sha1::from_slice(&sha1))
}

impl StagedLibrary {
    /// The name with the extension of `path`, where Immich did not keep it in the name.
    fn name(&self, name: String, path: &str) -> String {
        let file = path.rsplit('/').next().unwrap_or_default();
        match file.rsplit_once('.') {
            Some((_, extension)) if self.bare_names && !extension.is_empty() => {
                format!("{name}.{extension}")
            }
            _ => name,
        }
    }
}

fn role(text: &str) -> AlbumRole {
    match text {
        "owner" => AlbumRole::Owner,
        "editor" => AlbumRole::Editor,
        _ => AlbumRole::Viewer,
    }
}

fn kind(text: &str) -> AssetType {
    match text {
        "IMAGE" => AssetType::Image,
        "VIDEO" => AssetType::Video,
        "AUDIO" => AssetType::Audio,
        _ => AssetType::Other,
    }
}

/// A visibility that we do not know is shown as little as possible.
fn visibility(text: &str) -> Visibility {
    match text {
        "timeline" => Visibility::Timeline,
        "archive" => Visibility::Archive,
        "hidden" => Visibility::Hidden,
        _ => Visibility::Locked,
    }
}

/// The columns of a row, one after the other.
struct RowCells<'a> {
    row: &'a Row<'a>,
    at: usize,
}

impl RowCells<'_> {
    fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.at += 1;
        self.row.get(self.at - 1)
    }

    fn id(&mut self) -> rusqlite::Result<Uuid> {
        self.next().map(Uuid::from_bytes)
    }

    fn maybe_id(&mut self) -> rusqlite::Result<Option<Uuid>> {
        Ok(self.next::<Option<_>>()?.map(Uuid::from_bytes))
    }

    fn text(&mut self) -> rusqlite::Result<String> {
        Ok(self.next::<Option<_>>()?.unwrap_or_default())
    }

    /// Text that is there and not empty.
    fn filled(&mut self) -> rusqlite::Result<Option<String>> {
        Ok(self.next::<Option<String>>()?.filter(|text| !text.is_empty()))
    }

    fn flag(&mut self) -> rusqlite::Result<bool> {
        Ok(self.next::<Option<_>>()?.unwrap_or_default())
    }

    fn instant(&mut self) -> rusqlite::Result<Option<jiff::Timestamp>> {
        Ok(self.next::<Option<i64>>()?.and_then(time::instant))
    }
}
