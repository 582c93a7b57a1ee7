//! The library that a database describes: its staged rows as records.

use rusqlite::Row;
use uuid::Uuid;

use super::paths::{self, Paths};
use super::staging::{Staged, Staging};
use super::{Dump, oddities, time};
use crate::base::library::*;
use crate::base::{Result, Sha1};

/// The staged rows of the database that was chosen.
pub struct Library {
    staging: Staging,
    paths: Paths,
    /// Names lack their extension: before v1.98 Immich kept them so.
    bare_names: bool,
}

/// The migration that added the extension to `originalFileName`: `AddExtensionToOriginalFileName1709763765506`.
const NAMES_HAVE_EXTENSIONS: i64 = 1_709_763_765_506;

impl Library {
    /// Settles the rows and fills in what they say of the whole.
    pub fn settle(staging: Staging, dump: &mut Dump) -> Result<()> {
        staging.settle()?;
        dump.immich = staging.first("SELECT version FROM version ORDER BY created DESC, rowid DESC")?;
        dump.schema = schema(&staging)?;
        dump.media_location = media_location(&staging)?;
        dump.census = census(&staging)?;
        let paths = Paths::new(dump.media_location.as_deref());
        dump.warnings.extend(oddities::find(&staging, &paths)?);
        let newest: Option<i64> = staging.first("SELECT max(time) FROM typeorm")?;
        let bare_names = !staging.has("kysely") && newest.is_some_and(|newest| newest < NAMES_HAVE_EXTENSIONS);
        dump.library = Some(Library { staging, paths, bare_names });
        Ok(())
    }

    /// Hands out the records, sorted by key, each key once.
    pub fn records(&self, each: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
        for (sql, make) in QUERIES {
            let mut statement = self.staging.db().prepare(sql).staged()?;
            let mut rows = statement.query([]).staged()?;
            let mut last = None;
            while let Some(row) = rows.next().staged()? {
                let record = make(self, row).staged()?;
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

fn schema(staging: &Staging) -> Result<Option<String>> {
    match staging.first("SELECT max(name) FROM kysely")? {
        Some(name) => Ok(Some(name)),
        None => staging.first("SELECT name FROM typeorm ORDER BY time DESC"),
    }
}

fn census(staging: &Staging) -> Result<Census> {
    let newest: Option<i64> = staging.first("SELECT max(added) FROM asset")?;
    Ok(Census {
        users: staging.count("SELECT count(*) FROM user")?,
        assets: staging.count("SELECT count(*) FROM asset")?,
        albums: staging.count("SELECT count(*) FROM album")?,
        newest: newest.and_then(time::instant),
    })
}

/// The media location as the database has it since v1.137, else as the paths of originals show it.
fn media_location(staging: &Staging) -> Result<Option<String>> {
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

fn shown_location(staging: &Staging) -> Result<Option<String>> {
    let sql = "SELECT asset.path, user.id, coalesce(user.label, '') FROM asset JOIN user ON user.id = asset.owner
               WHERE coalesce(asset.external, 0) = 0";
    let mut statement = staging.db().prepare(sql).staged()?;
    let mut rows = statement.query([]).staged()?;
    while let Some(row) = rows.next().staged()? {
        let (path, owner, label): (String, _, String) =
            (row.get(0).staged()?, id(row, 1).staged()?, row.get(2).staged()?);
        if let Some(location) = paths::location(&path, [&owner.to_string(), &label]) {
            return Ok(Some(location.to_owned()));
        }
    }
    Ok(None)
}

type Make = fn(&Library, &Row) -> rusqlite::Result<Record>;

/// One question for each kind of record, in the order of their keys. Rows that point nowhere are left out
/// ([`oddities`] counts them).
const QUERIES: [(&str, Make); 11] = [
    ("SELECT id, name, description, created, deleted FROM album ORDER BY id", album),
    (
        "SELECT album, asset FROM album_asset
         WHERE album IN (SELECT id FROM album) AND asset IN (SELECT id FROM asset) ORDER BY album, asset",
        album_asset,
    ),
    (
        "SELECT album, user, role FROM album_user
         WHERE album IN (SELECT id FROM album) AND user IN (SELECT id FROM user)
         ORDER BY album, user, CASE role WHEN 'owner' THEN 0 WHEN 'editor' THEN 1 ELSE 2 END",
        album_user,
    ),
    (include_str!("assets.sql"), asset),
    ("SELECT id, owner, name, roots, deleted FROM library WHERE type IS NOT 'UPLOAD' ORDER BY id", external_library),
    ("SELECT id, owner, name, hidden, favorite, born FROM person ORDER BY id", person),
    (
        "SELECT DISTINCT person, asset FROM face
         WHERE deleted IS NULL AND visible IS NOT 0
           AND person IN (SELECT id FROM person) AND asset IN (SELECT id FROM asset)
         ORDER BY person, asset",
        person_asset,
    ),
    ("SELECT id, owner, cover FROM stack WHERE owner IS NOT NULL ORDER BY id", stack),
    ("SELECT id, owner, value FROM tag ORDER BY id", tag),
    (
        "SELECT tag, asset FROM tag_asset
         WHERE tag IN (SELECT id FROM tag) AND asset IN (SELECT id FROM asset) ORDER BY tag, asset",
        tag_asset,
    ),
    ("SELECT id, name, email, admin, label, deleted, picture FROM user ORDER BY id", user),
];

fn album(_: &Library, row: &Row) -> rusqlite::Result<Record> {
    Ok(Record::Album(Album {
        id: id(row, 0)?,
        name: text(row, 1)?,
        description: filled(row, 2)?,
        created: instant(row, 3)?,
        deleted: instant(row, 4)?,
    }))
}

fn album_asset(_: &Library, row: &Row) -> rusqlite::Result<Record> {
    Ok(Record::AlbumAsset(AlbumAsset { album: id(row, 0)?, asset: id(row, 1)? }))
}

fn album_user(_: &Library, row: &Row) -> rusqlite::Result<Record> {
    let role = match text(row, 2)?.as_str() {
        "owner" => Role::Owner,
        "editor" => Role::Editor,
        _ => Role::Viewer,
    };
    Ok(Record::AlbumUser(AlbumUser { album: id(row, 0)?, user: id(row, 1)?, role }))
}

fn external_library(_: &Library, row: &Row) -> rusqlite::Result<Record> {
    let roots = serde_json::from_str(&text(row, 3)?).unwrap_or_default();
    let (id, owner, name) = (id(row, 0)?, id(row, 1)?, text(row, 2)?);
    Ok(Record::ExternalLibrary(ExternalLibrary { id, owner, name, roots, deleted: instant(row, 4)? }))
}

fn person(_: &Library, row: &Row) -> rusqlite::Result<Record> {
    Ok(Record::Person(Person {
        id: id(row, 0)?,
        owner: id(row, 1)?,
        name: text(row, 2)?,
        hidden: flag(row, 3)?,
        favorite: flag(row, 4)?,
        born: filled(row, 5)?,
    }))
}

fn person_asset(_: &Library, row: &Row) -> rusqlite::Result<Record> {
    Ok(Record::PersonAsset(PersonAsset { person: id(row, 0)?, asset: id(row, 1)? }))
}

fn stack(_: &Library, row: &Row) -> rusqlite::Result<Record> {
    Ok(Record::Stack(Stack { id: id(row, 0)?, owner: id(row, 1)?, primary: maybe_id(row, 2)? }))
}

fn tag(_: &Library, row: &Row) -> rusqlite::Result<Record> {
    Ok(Record::Tag(Tag { id: id(row, 0)?, owner: id(row, 1)?, value: text(row, 2)? }))
}

fn tag_asset(_: &Library, row: &Row) -> rusqlite::Result<Record> {
    Ok(Record::TagAsset(TagAsset { tag: id(row, 0)?, asset: id(row, 1)? }))
}

fn user(library: &Library, row: &Row) -> rusqlite::Result<Record> {
    Ok(Record::User(User {
        id: id(row, 0)?,
        name: text(row, 1)?,
        email: text(row, 2)?,
        admin: flag(row, 3)?,
        label: filled(row, 4)?,
        deleted: instant(row, 5)?,
        picture: filled(row, 6)?.and_then(|path| library.paths.file(&path, false)),
    }))
}

fn asset(library: &Library, row: &Row) -> rusqlite::Result<Record> {
    let path: String = row.get("path")?;
    let external = row.get("external")?;
    let hashed_path = match row.get::<_, Option<String>>("algorithm")? {
        Some(algorithm) => algorithm != "sha1",
        None => external,
    };
    let taken: Option<i64> = row.get("taken")?;
    let moment = |column: &str| row.get::<_, Option<i64>>(column).map(|micros| micros.and_then(time::instant));
    let file = |path: Option<String>| path.and_then(|path| library.paths.file(&path, external));
    Ok(Record::Asset(Box::new(Asset {
        id: row.get("id").map(Uuid::from_bytes)?,
        owner: row.get("owner").map(Uuid::from_bytes)?,
        kind: kind(&row.get::<_, String>("type")?),
        name: library.name(row.get("name")?, &path),
        file: library.paths.file(&path, external),
        sha1: row.get::<_, Option<Vec<u8>>>("sha1")?.filter(|_| !hashed_path).and_then(|sha1| Sha1::from_slice(&sha1)),
        taken: taken.and_then(time::civil).unwrap_or_default(),
        created: moment("created")?.unwrap_or_default(),
        added: moment("added")?.unwrap_or_default(),
        favorite: row.get("favorite")?,
        visibility: visibility(&row.get::<_, String>("visibility")?),
        trashed: moment("trashed")?,
        live_video: row.get::<_, Option<_>>("live_video")?.map(Uuid::from_bytes),
        stack: row.get::<_, Option<_>>("stack")?.map(Uuid::from_bytes),
        library: row.get::<_, Option<_>>("library")?.map(Uuid::from_bytes),
        offline: row.get("offline")?,
        sidecar: file(row.get("sidecar")?),
        edited: row.get("edited")?,
        size: row.get::<_, Option<i64>>("size")?.and_then(|size| size.try_into().ok()),
        make: row.get("make")?,
        model: row.get("model")?,
        time_zone: row.get("time_zone")?,
        latitude: row.get("latitude")?,
        longitude: row.get("longitude")?,
        city: row.get("city")?,
        state: row.get("state")?,
        country: row.get("country")?,
        description: row.get::<_, Option<String>>("description")?.filter(|text| !text.is_empty()),
        rating: row.get::<_, Option<i64>>("rating")?.and_then(|rating| rating.try_into().ok()),
        path,
    })))
}

impl Library {
    /// The name with the extension of `path`, where Immich did not keep it in the name.
    fn name(&self, name: String, path: &str) -> String {
        let file = path.rsplit('/').next().unwrap_or_default();
        match file.rsplit_once('.') {
            Some((_, extension)) if self.bare_names && !extension.is_empty() => format!("{name}.{extension}"),
            _ => name,
        }
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

fn id(row: &Row, at: usize) -> rusqlite::Result<Uuid> {
    row.get(at).map(Uuid::from_bytes)
}

fn maybe_id(row: &Row, at: usize) -> rusqlite::Result<Option<Uuid>> {
    Ok(row.get::<_, Option<_>>(at)?.map(Uuid::from_bytes))
}

fn text(row: &Row, at: usize) -> rusqlite::Result<String> {
    Ok(row.get::<_, Option<String>>(at)?.unwrap_or_default())
}

/// Text that is there and not empty.
fn filled(row: &Row, at: usize) -> rusqlite::Result<Option<String>> {
    Ok(row.get::<_, Option<String>>(at)?.filter(|text| !text.is_empty()))
}

fn flag(row: &Row, at: usize) -> rusqlite::Result<bool> {
    Ok(row.get::<_, Option<bool>>(at)?.unwrap_or_default())
}

fn instant(row: &Row, at: usize) -> rusqlite::Result<Option<jiff::Timestamp>> {
    Ok(row.get::<_, Option<i64>>(at)?.and_then(time::instant))
}
