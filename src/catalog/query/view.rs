//! What a view asks: which users, albums, people, tags and stacks, what lies in them, and where
//! their bytes are.
//!
//! `at` is always the time of a snapshot. Questions about a folder's members answer with every
//! version that any snapshot has, marked where it holds at `at`: names depend on all of them.

use rusqlite::{Connection, Row};

use super::kept::{self, HELD};
use super::search::{many, one};
use super::unsigned;
use crate::base::file::FileKind;
use crate::base::{Error, Hash, Result, Sha1, SnapshotId};
use crate::catalog::FilePart;

/// An id as Immich gives it.
pub type ImmichId = [u8; 16];

/// A snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Seconds since 1970.
    pub time: i64,
    pub number: u16,
    /// Its dump was verified.
    pub good: bool,
}

const SNAPSHOT: &str = "SELECT time, number, good FROM snapshot";

fn snapshot(row: &Row<'_>) -> rusqlite::Result<SnapshotRow> {
    let time = row.get(0)?;
    // What is no time cannot be reckoned with.
    SnapshotId::from_seconds(time)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, time))?;
    Ok(SnapshotRow { time, number: row.get(1)?, good: row.get(2)? })
}

/// The snapshots from time `from` to before `to`, oldest first.
pub fn snapshots(db: &Connection, from: i64, to: i64) -> Result<Vec<SnapshotRow>> {
    let mut ask =
        db.prepare_cached(&format!("{SNAPSHOT} WHERE time >= ?1 AND time < ?2 ORDER BY time"))?;
    Ok(ask.query_map((from, to), snapshot)?.collect::<Result<_, _>>()?)
}

/// The snapshot with `number`.
pub fn snapshot_by_number(db: &Connection, number: u16) -> Result<Option<SnapshotRow>> {
    one(db, &format!("{SNAPSHOT} WHERE number = ?1"), [number], snapshot)
}

/// The newest snapshot, or the newest good one.
pub fn newest_snapshot(db: &Connection, good: bool) -> Result<Option<SnapshotRow>> {
    one(db, &format!("{SNAPSHOT} WHERE good >= ?1 ORDER BY time DESC LIMIT 1"), [good], snapshot)
}

/// A value of the catalog's `meta` table.
pub fn meta(db: &Connection, key: &str) -> Result<Option<String>> {
    one(db, "SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
}

/// Bytes of all archives, and how many contents they hold.
pub fn totals(db: &Connection) -> Result<(u64, u64)> {
    let sql = "SELECT (SELECT coalesce(sum(size), 0) FROM archive), (SELECT count(*) FROM content)";
    Ok(db.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// A thing that is a folder by itself, in one of its versions: user, album, person, tag, stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderRecord {
    pub row: u64,
    pub id: ImmichId,
    pub name: String,
    /// What decides who keeps a name: an album's creation, else the first snapshot with this
    /// version.
    pub since: i64,
    /// It holds at the time that was asked for.
    pub holds: bool,
}

fn thing(row: &Row<'_>) -> rusqlite::Result<FolderRecord> {
    Ok(FolderRecord {
        row: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        since: row.get(3)?,
        holds: row.get(4)?,
    })
}

/// All versions of all users. An account without a name goes by its address.
pub fn users(db: &Connection, at: i64) -> Result<Vec<FolderRecord>> {
    let sql = "SELECT row, id, CASE WHEN trim(name) = '' THEN email ELSE name END, since, since <= \
        ?1 AND until > ?1 FROM user";
    many(db, sql, [at], thing)
}

/// All versions of the albums that `user` has ever seen; a row is the user's view of the album.
pub fn albums(db: &Connection, user: &ImmichId, at: i64) -> Result<Vec<FolderRecord>> {
    let sql = "SELECT m.row, m.album, a.name, a.created,
               m.since <= ?2 AND m.until > ?2 AND a.since <= ?2 AND a.until > ?2 AND NOT a.deleted
               FROM album_user m CROSS JOIN album a ON a.id = m.album WHERE m.user = ?1";
    many(db, sql, (user, at), thing)
}

/// All versions of the named persons of `user` that are not hidden.
pub fn people(db: &Connection, user: &ImmichId, at: i64) -> Result<Vec<FolderRecord>> {
    let sql = "SELECT row, id, name, since, since <= ?2 AND until > ?2 FROM person
               WHERE owner = ?1 AND NOT hidden AND trim(name) <> ''";
    many(db, sql, (user, at), thing)
}

/// All versions of the tags of `user`; the name is the whole path.
pub fn tags(db: &Connection, user: &ImmichId, at: i64) -> Result<Vec<FolderRecord>> {
    let sql = "SELECT row, id, value, since, since <= ?2 AND until > ?2 FROM tag WHERE owner = ?1";
    many(db, sql, (user, at), thing)
}

/// All versions of the stacks of `user`, called as the asset that is shown; without a name where
/// that one is locked at `at` and locked ones are not asked for.
pub fn stacks(
    db: &Connection,
    user: &ImmichId,
    at: i64,
    locked: bool,
) -> Result<Vec<FolderRecord>> {
    let sql = "SELECT s.row, s.id, coalesce(
                 (SELECT a.name FROM asset a WHERE a.id = s.first AND (?3 OR a.visibility <> 3 AND \
                 NOT EXISTS
                    (SELECT 1 FROM asset n WHERE n.id = s.first AND n.visibility = 3 AND n.since \
                    <= ?2 AND n.until > ?2))
                  ORDER BY a.since DESC LIMIT 1), ''),
               s.since, s.since <= ?2 AND s.until > ?2 FROM stack s WHERE s.owner = ?1";
    many(db, sql, (user, at, locked), thing)
}

/// Tables whose rows are folders.
#[derive(Debug, Clone, Copy)]
pub enum RecordTable {
    User,
    AlbumUser,
    Person,
    Tag,
    Stack,
}

/// Id of the thing in `row` (of an album user: the album), who owns or sees it (of a user: itself)
/// and what it is called (a tag's value; else nothing), where it holds at `at`.
pub fn folder_row(
    db: &Connection,
    table: RecordTable,
    row: u64,
    at: i64,
) -> Result<Option<(ImmichId, ImmichId, String)>> {
    let select = match table {
        RecordTable::User => "id, id, '' FROM user",
        RecordTable::AlbumUser => "album, user, '' FROM album_user",
        RecordTable::Person => "id, owner, '' FROM person",
        RecordTable::Tag => "id, owner, value FROM tag",
        RecordTable::Stack => "id, owner, '' FROM stack",
    };
    let sql = format!("SELECT {select} WHERE row = ?1 AND since <= ?2 AND until > ?2");
    one(db, &sql, (row, at), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}

/// The row of the user with `id` at `at`.
pub fn user_row(db: &Connection, id: &ImmichId, at: i64) -> Result<Option<u64>> {
    one(db, "SELECT row FROM user WHERE id = ?1 AND since <= ?2 AND until > ?2", (id, at), |row| {
        row.get(0)
    })
}

/// The record of the user in `row`, JSON.
pub fn user_line(db: &Connection, row: u64) -> Result<Option<String>> {
    one(db, "SELECT line FROM user WHERE row = ?1", [row], |row| row.get(0))
}

/// Id and record of every version of every user, newest first.
pub fn user_lines(db: &Connection) -> Result<Vec<(ImmichId, String)>> {
    many(db, "SELECT id, line FROM user ORDER BY since DESC, row", (), |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// Where assets are members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberSource {
    Month {
        owner: ImmichId,
        month: i64,
    },
    Favorites {
        owner: ImmichId,
    },
    Archived {
        owner: ImmichId,
    },
    Trash {
        owner: ImmichId,
    },
    Locked {
        owner: ImmichId,
    },
    Stack {
        stack: ImmichId,
    },
    Album {
        album: ImmichId,
    },
    Person {
        person: ImmichId,
    },
    Tag {
        tag: ImmichId,
    },
    /// Of which the disk had other bytes than Immich recorded, or no file.
    Changed {
        owner: ImmichId,
    },
    /// What was there at the time asked for and ended before or at `now` (at any time: for names).
    Gone {
        owner: ImmichId,
        now: i64,
    },
}

/// An asset in a folder, in one of its versions.
#[derive(Debug, Clone)]
pub struct MemberAsset {
    /// Row of the asset, or of what ties it to an album, person or tag.
    pub row: u64,
    pub id: ImmichId,
    pub name: String,
    /// Whose it is, and its bytes, as Immich knows them.
    pub owner: ImmichId,
    pub sha1: Option<[u8; 20]>,
    /// From when to before when this version holds.
    pub range: (i64, i64),
    /// Upload, milliseconds since 1970.
    pub added: i64,
    /// The instant it was taken, milliseconds since 1970.
    pub created: i64,
    /// Name of its moving half.
    pub video: Option<String>,
    /// The original, where this version holds and there are bytes of it.
    pub original: Option<ShownBytes>,
    pub sidecar: Option<u64>,
    /// When the moving half was made, and its bytes, likewise.
    pub moving: Option<(i64, ShownBytes)>,
}

/// The bytes that an asset shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownBytes {
    pub size: u64,
    /// Those that Immich recorded, and not the file's: see [`super::kept`].
    pub kept: bool,
}

/// Runs through the members of `source` in all their versions.
pub fn members(
    db: &Connection,
    source: MemberSource,
    at: i64,
    locked: bool,
    mut each: impl FnMut(MemberAsset),
) -> Result<()> {
    const ASSET: &str = "a.row, a.since <= ?1 AND a.until > ?1";
    const TIED: &str = "m.row, m.since <= ?1 AND m.until > ?1 AND a.since <= ?1 AND a.until > ?1";
    const SHOWN: &str = "a.trashed = 0 AND a.visibility IN (0, 1)";
    let plain = |owner, condition: String| {
        (ASSET, format!("asset a WHERE a.owner = ?2 AND {condition}"), owner, 0)
    };
    let tied = |table, key, id| (TIED, tied(table, key, SHOWN), id, 0);
    let (head, from, key, extra) = match source {
        MemberSource::Month { owner, month } => (
            ASSET,
            "asset a WHERE a.owner = ?2 AND a.month = ?3 AND a.visibility = 0 AND a.trashed = 0"
                .to_owned(),
            owner,
            month,
        ),
        MemberSource::Favorites { owner } => plain(owner, format!("a.favorite = 1 AND {SHOWN}")),
        // `<> 0` says again what the partial index asks for: SQLite compares terms, not their
        // meaning.
        MemberSource::Archived { owner } => {
            plain(owner, "a.visibility = 1 AND a.visibility <> 0 AND a.trashed = 0".into())
        }
        MemberSource::Trash { owner } => {
            plain(owner, "a.visibility IN (0, 1) AND a.trashed = 1 AND a.trashed <> 0".into())
        }
        MemberSource::Locked { owner } => plain(owner, LOCKED.into()),
        MemberSource::Changed { owner } => plain(
            owner,
            format!(
                "a.since <= ?1 AND +a.until > ?1 AND a.visibility <> 2 AND (a.visibility <> 3 OR ?4)
                 AND (NOT EXISTS ({}) OR a.live IS NOT NULL AND NOT EXISTS ({}))",
                kept::is_right("a.id", "?1"),
                kept::is_right("a.live", "?1")
            ),
        ),
        MemberSource::Stack { stack } => {
            (ASSET, format!("asset a WHERE a.stack = ?2 AND {SHOWN}"), stack, 0)
        }
        MemberSource::Album { album } => tied("album_asset", "album", album),
        MemberSource::Person { person } => tied("person_asset", "person", person),
        MemberSource::Tag { tag } => tied("tag_asset", "tag", tag),
        MemberSource::Gone { owner, now } => (
            "a.row, NOT EXISTS (SELECT 1 FROM asset n WHERE n.id = a.id AND n.since <= ?3 AND \
                n.until > ?3)
             AND NOT EXISTS (SELECT 1 FROM asset n WHERE n.sha1 = a.sha1 AND n.sha1 IS NOT NULL \
             AND n.owner = a.owner
                             AND n.since <= ?3 AND n.until > ?3)",
            format!(
                "asset a WHERE a.id IN ({GONE}) AND a.since <= ?1 AND a.until > ?1 AND \
                    (a.visibility IN (0, 1) OR (a.visibility = 3 AND ?4))"
            ),
            owner,
            now,
        ),
    };
    let sql = member_query(head, &from);
    let mut ask = db.prepare_cached(&sql)?;
    let mut rows = ask.query((at, key, extra, locked))?;
    while let Some(row) = rows.next()? {
        each(member(db, row, at)?);
    }
    Ok(())
}

fn tied(table: &str, key: &str, shown: &str) -> String {
    format!("{table} m CROSS JOIN asset a ON a.id = m.asset WHERE m.{key} = ?2 AND {shown}")
}

/// Locked assets that are not the moving half of another.
const LOCKED: &str = "a.visibility = 3 AND a.visibility <> 0
    AND NOT EXISTS (SELECT 1 FROM asset p WHERE p.live = a.id AND p.since <= ?1 AND p.until > ?1)";

/// Assets of an owner that some snapshot after `?1` has not at all.
const GONE: &str = "SELECT d.id FROM asset d WHERE d.until > ?1 AND d.until < 9223372036854775807 \
    AND d.owner = ?2
    AND NOT EXISTS (SELECT 1 FROM asset n WHERE n.id = d.id AND n.since <= d.until AND n.until > \
    d.until)";

/// Sizes of files that may have other bytes than were recorded are told as negative numbers: a look
/// for what is kept is taken for these alone.
fn member_query(head: &str, from: &str) -> String {
    let bytes = |asset: &str, part: u8| {
        format!(
            "(SELECT CASE WHEN f.differs THEN -1 - f.size ELSE f.size END FROM asset_file f WHERE \
                f.asset = {asset} AND f.part = {part} AND f.since <= ?1 AND f.until > ?1)"
        )
    };
    let (original, sidecar, moving) = (bytes("a.id", 0), bytes("a.id", 1), bytes("a.live", 0));
    format!(
        "SELECT {head}, a.id, a.name, a.added, a.created,
         (SELECT v.name FROM asset v WHERE v.id = a.live ORDER BY v.since DESC LIMIT 1),
         {original}, {sidecar}, {moving},
         (SELECT v.created FROM asset v WHERE v.id = a.live AND v.since <= ?1 AND v.until > ?1
          AND (v.visibility <> 3 OR ?4)), a.live, a.owner, a.sha1, a.since, a.until
         FROM {from}"
    )
}

fn member(db: &Connection, row: &Row<'_>, at: i64) -> Result<MemberAsset> {
    let holds: bool = row.get(1)?;
    let size = |column| Ok::<Option<i64>, Error>(if holds { row.get(column)? } else { None });
    let id: ImmichId = row.get(2)?;
    let moving = match (row.get(10)?, row.get::<_, Option<ImmichId>>(11)?) {
        (Some(created), Some(half)) if holds => {
            shown(db, &half, at, size(9)?)?.map(|shown| (created, shown))
        }
        _ => None,
    };
    let original = if holds { shown(db, &id, at, size(7)?)? } else { None };
    Ok(MemberAsset {
        row: row.get(0)?,
        id,
        name: row.get(3)?,
        owner: row.get(12)?,
        sha1: row.get(13)?,
        range: (row.get(14)?, row.get(15)?),
        added: row.get(4)?,
        created: row.get(5)?,
        video: row.get(6)?,
        original,
        sidecar: size(8)?.map(unsigned),
        moving,
    })
}

/// What the asset `id` shows, whose file has so many bytes: less than none where they may be others
/// than were recorded.
fn shown(db: &Connection, id: &ImmichId, at: i64, file: Option<i64>) -> Result<Option<ShownBytes>> {
    match file {
        Some(size) if size >= 0 => Ok(Some(ShownBytes { size: unsigned(size), kept: false })),
        _ => {
            let kept = kept::content(db, id, at)?.map(|(_, size)| ShownBytes { size, kept: true });
            Ok(kept.or(file.map(|size| ShownBytes { size: unsigned(-1 - size), kept: false })))
        }
    }
}

/// The months of the years -9999 to 9999: a wall clock shows no others.
const MONTHS: std::ops::RangeInclusive<i64> = -9999 * 12..=9999 * 12 + 11;

/// The first month from `from` on in which `owner` has an asset in the timeline at `at`. Looks at
/// one row a month.
pub fn next_month(db: &Connection, owner: &ImmichId, from: i64, at: i64) -> Result<Option<i64>> {
    let mut from = from.max(*MONTHS.start());
    loop {
        let next = "SELECT min(month) FROM asset WHERE owner = ?1 AND month >= ?2";
        let month = one(db, next, (owner, from), |row| row.get::<_, Option<i64>>(0))?.flatten();
        let Some(month) = month.filter(|month| MONTHS.contains(month)) else { return Ok(None) };
        let shown = format!(
            "SELECT 1 FROM asset a WHERE a.owner = ?1 AND a.month = ?2 AND a.since <= ?3 AND \
                a.until > ?3
             AND a.visibility = 0 AND a.trashed = 0 AND (EXISTS (SELECT 1 FROM asset_file f
             WHERE f.asset = a.id AND f.part = 0 AND f.since <= ?3 AND f.until > ?3) OR {HELD}) \
             LIMIT 1"
        );
        if one(db, &shown, (owner, month, at), |_| Ok(()))?.is_some() {
            return Ok(Some(month));
        }
        from = month + 1;
    }
}

/// From when to before when `owner` had assets (with bytes, locked ones only if asked for) that are
/// gone at `at`. What was given back is not: the same bytes under a new id.
pub fn gone_ranges(
    db: &Connection,
    owner: &ImmichId,
    at: i64,
    locked: bool,
) -> Result<Vec<(i64, i64)>> {
    let gone = "a.until <= ?2 AND a.owner = ?1 AND (a.visibility IN (0, 1) OR (a.visibility = 3 \
        AND ?3))
                AND NOT EXISTS (SELECT 1 FROM asset n WHERE n.id = a.id AND n.since <= ?2 AND \
                n.until > ?2)
                AND NOT EXISTS (SELECT 1 FROM asset n WHERE n.sha1 = a.sha1 AND n.sha1 IS NOT NULL \
                AND n.owner = a.owner
                                AND n.since <= ?2 AND n.until > ?2)";
    let sql = format!(
        "SELECT max(a.since, f.since), min(a.until, f.until) FROM asset a JOIN asset_file f
           ON f.asset = a.id AND f.part = 0 AND f.since < a.until AND f.until > a.since WHERE {gone}
         UNION SELECT a.since, a.until FROM asset a WHERE {gone} AND {HELD}"
    );
    many(db, &sql, (owner, at, locked), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// An asset as one snapshot has it.
#[derive(Debug, Clone, Copy)]
pub struct AssetRow {
    pub id: ImmichId,
    pub created: i64,
    pub locked: bool,
    pub live: Option<ImmichId>,
}

/// Tables whose rows show an asset.
#[derive(Debug, Clone, Copy)]
pub enum MemberTable {
    Asset,
    AlbumAsset,
    PersonAsset,
    TagAsset,
}

/// The asset that `row` of a table shows at `at`.
pub fn asset_of(db: &Connection, tie: MemberTable, row: u64, at: i64) -> Result<Option<AssetRow>> {
    let from = match tie {
        MemberTable::Asset => "asset a WHERE a.row = ?1",
        MemberTable::AlbumAsset => {
            "album_asset m CROSS JOIN asset a ON a.id = m.asset WHERE m.row = ?1 AND m.since <= ?2 \
                AND m.until > ?2"
        }
        MemberTable::PersonAsset => {
            "person_asset m CROSS JOIN asset a ON a.id = m.asset WHERE m.row = ?1 AND m.since <= \
                ?2 AND m.until > ?2"
        }
        MemberTable::TagAsset => {
            "tag_asset m CROSS JOIN asset a ON a.id = m.asset WHERE m.row = ?1 AND m.since <= ?2 \
                AND m.until > ?2"
        }
    };
    let sql = format!(
        "SELECT a.id, a.created, a.visibility = 3, a.live FROM {from} AND a.since <= ?2 AND \
            a.until > ?2"
    );
    one(db, &sql, (row, at), asset)
}

/// The asset with `id` at `at`.
pub fn asset(row: &Row<'_>) -> rusqlite::Result<AssetRow> {
    Ok(AssetRow { id: row.get(0)?, created: row.get(1)?, locked: row.get(2)?, live: row.get(3)? })
}

/// The asset with `id` at `at`.
pub fn asset_by_id(db: &Connection, id: &ImmichId, at: i64) -> Result<Option<AssetRow>> {
    let sql = "SELECT id, created, visibility = 3, live FROM asset WHERE id = ?1 AND since <= ?2 \
        AND until > ?2";
    one(db, sql, (id, at), asset)
}

/// The owner of the asset with `id` at `at`.
pub fn owner_of(db: &Connection, id: &ImmichId, at: i64) -> Result<Option<ImmichId>> {
    let sql = "SELECT owner FROM asset WHERE id = ?1 AND since <= ?2 AND until > ?2";
    one(db, sql, (id, at), |row| row.get(0))
}

/// The asset whose original lies at `path` at `at`.
pub fn asset_at(db: &Connection, path: &[u8], at: i64) -> Result<Option<ImmichId>> {
    let sql = "SELECT id FROM asset WHERE path = ?1 AND path IS NOT NULL AND since <= ?2 AND until \
        > ?2 ORDER BY row LIMIT 1";
    one(db, sql, (path, at), |row| row.get(0))
}

/// Content and size of a file of an asset at `at`, as it lay on the disk.
pub fn asset_bytes(
    db: &Connection,
    id: &ImmichId,
    part: FilePart,
    at: i64,
) -> Result<Option<(i64, u64)>> {
    let sql = "SELECT content, size FROM asset_file WHERE asset = ?1 AND part = ?2 AND since <= ?3 \
        AND until > ?3";
    one(db, sql, (id, part, at), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// How many assets of `owner` (of all, if `None`) have no bytes in the snapshot at `at`: missing
/// files that nothing is kept of, and external libraries that no root covers. No view shows them.
pub fn without_bytes(db: &Connection, owner: Option<&ImmichId>, at: i64) -> Result<u64> {
    let sql = format!(
        "SELECT count(*) FROM asset a WHERE a.since <= ?1 AND a.until > ?1 AND (?2 IS NULL OR \
            a.owner = ?2)
         AND NOT EXISTS (SELECT 1 FROM asset_file f WHERE f.asset = a.id AND f.part = 0 AND \
         f.since <= ?1 AND f.until > ?1)
         AND NOT {HELD}"
    );
    Ok(one(db, &sql, (at, owner), |row| row.get(0))?.unwrap_or(0))
}

/// Names of the albums that hold the asset `id` at `at`, by name.
pub fn albums_of(db: &Connection, id: &ImmichId, at: i64) -> Result<Vec<String>> {
    let sql =
        "SELECT a.name FROM album_asset m CROSS JOIN album a ON a.id = m.album WHERE m.asset \
        = ?1
               AND m.since <= ?2 AND m.until > ?2 AND a.since <= ?2 AND a.until > ?2 AND NOT \
               a.deleted ORDER BY a.name, a.id";
    many(db, sql, (id, at), |row| row.get(0))
}

/// The hashes of a content.
pub fn hashes(db: &Connection, content: i64) -> Result<Option<(Hash, Sha1)>> {
    let hashes = |row: &Row<'_>| Ok((Hash(row.get(0)?), Sha1(row.get(1)?)));
    one(db, "SELECT hash, sha1 FROM content WHERE id = ?1", [content], hashes)
}

/// How many bytes a content has.
pub fn content_size(db: &Connection, content: i64) -> Result<Option<u64>> {
    one(db, "SELECT size FROM content WHERE id = ?1", [content], |row| row.get(0))
}

/// A file, folder or symlink as it lay on disk.
#[derive(Debug, Clone)]
pub struct DiskFile {
    pub row: u64,
    pub folder: i64,
    pub name: Vec<u8>,
    pub kind: FileKind,
    pub size: u64,
    pub mtime: i64,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub content: Option<i64>,
    pub child: Option<i64>,
}

const FILE: &str =
    "SELECT row, folder, name, kind, size, mtime, mode, uid, gid, content, child FROM file";

fn file(row: &Row<'_>) -> rusqlite::Result<DiskFile> {
    Ok(DiskFile {
        row: row.get(0)?,
        folder: row.get(1)?,
        name: row.get(2)?,
        kind: row.get(3)?,
        size: row.get(4)?,
        mtime: row.get(5)?,
        mode: row.get(6)?,
        uid: row.get(7)?,
        gid: row.get(8)?,
        content: row.get(9)?,
        child: row.get(10)?,
    })
}

/// The file in `row`, where it holds at `at`.
pub fn file_by_row(db: &Connection, row: u64, at: i64) -> Result<Option<DiskFile>> {
    one(db, &format!("{FILE} WHERE row = ?1 AND since <= ?2 AND until > ?2"), (row, at), file)
}

/// The entry called `name` of `folder` at `at`.
pub fn file_by_name(
    db: &Connection,
    folder: i64,
    name: &[u8],
    at: i64,
) -> Result<Option<DiskFile>> {
    let sql = format!("{FILE} WHERE folder = ?1 AND name = ?2 AND since <= ?3 AND until > ?3");
    one(db, &sql, (folder, name, at), file)
}

/// The entry that makes the place `folder` a folder at `at`.
pub fn file_of_folder(db: &Connection, folder: i64, at: i64) -> Result<Option<DiskFile>> {
    let sql =
        format!("{FILE} WHERE child = ?1 AND child IS NOT NULL AND since <= ?2 AND until > ?2");
    one(db, &sql, (folder, at), file)
}

/// Runs through the entries of `folder` at `at` in the order of their names, from after the entry
/// in row `after` (0: from the front), until `each` says false.
pub fn files(
    db: &Connection,
    folder: i64,
    after: u64,
    at: i64,
    mut each: impl FnMut(DiskFile) -> Result<bool>,
) -> Result<()> {
    let last = match after {
        0 => None,
        row => {
            one(db, "SELECT name FROM file WHERE row = ?1", [row], |row| row.get::<_, Vec<u8>>(0))?
        }
    };
    let from = if last.is_some() { "AND name > ?3" } else { "AND ?3 IS NULL" };
    let sql =
        format!("{FILE} WHERE folder = ?1 AND since <= ?2 AND until > ?2 {from} ORDER BY name");
    let mut ask = db.prepare_cached(&sql)?;
    let mut rows = ask.query((folder, at, last))?;
    while let Some(row) = rows.next()? {
        if !each(file(row)?)? {
            break;
        }
    }
    Ok(())
}

/// The entries of `folder` at `at` whose names begin with `start`, which does not end in a byte of
/// 255; a hundred at most.
pub fn files_named(db: &Connection, folder: i64, start: &[u8], at: i64) -> Result<Vec<DiskFile>> {
    let mut end = start.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    let sql = format!(
        "{FILE} WHERE folder = ?1 AND name >= ?2 AND name < ?3 AND since <= ?4 AND until > ?4 \
            ORDER BY name LIMIT 100"
    );
    many(db, &sql, (folder, start, end, at), file)
}

/// The target of the symlink in `row`.
pub fn symlink(db: &Connection, row: u64, at: i64) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT target FROM file WHERE row = ?1 AND since <= ?2 AND until > ?2";
    Ok(one(db, sql, (row, at), |row| row.get::<_, Option<Vec<u8>>>(0))?.flatten())
}

/// What must not be seen of the locked assets at `at`.
#[derive(Debug, Default)]
pub struct HiddenPaths {
    /// Ids of the assets, of their moving halves, and of the persons that they show: a person's
    /// thumbnail is cut out of a photo, and the catalog does not know of which.
    pub ids: Vec<ImmichId>,
    /// Where the database says their files are.
    pub paths: Vec<Vec<u8>>,
    /// The last components of `paths`: what can be asked without knowing a file's whole path.
    pub names: Vec<Vec<u8>>,
    /// What is in them.
    pub contents: Vec<i64>,
}

/// Everything about locked assets at `at`, each list sorted.
pub fn private(db: &Connection, at: i64) -> Result<HiddenPaths> {
    let sql = "WITH own AS (SELECT a.id, a.live FROM user u CROSS JOIN asset a ON a.owner = u.id
                 WHERE u.row IN (SELECT min(row) FROM user GROUP BY id)
                 AND a.visibility = 3 AND a.visibility <> 0 AND a.since <= ?1 AND a.until > ?1),
               both AS (SELECT id FROM own UNION SELECT live FROM own WHERE live IS NOT NULL)
               SELECT b.id, v.path, v.sidecar,
               (SELECT content FROM asset_file f WHERE f.asset = b.id AND f.part = 0 AND f.since \
               <= ?1 AND f.until > ?1),
               (SELECT content FROM asset_file f WHERE f.asset = b.id AND f.part = 1 AND f.since \
               <= ?1 AND f.until > ?1),
               (SELECT k.id FROM content k WHERE k.sha1 = v.sha1 ORDER BY k.hash LIMIT 1)
               FROM both b CROSS JOIN asset v ON v.id = b.id AND v.since <= ?1 AND v.until > ?1";
    let mut private = HiddenPaths::default();
    let mut ask = db.prepare_cached(sql)?;
    let mut rows = ask.query([at])?;
    while let Some(row) = rows.next()? {
        private.ids.push(row.get(0)?);
        for column in [1, 2] {
            let path = row.get::<_, Option<Vec<u8>>>(column)?;
            private.paths.extend(path.iter().flat_map(|path| sidecars(path)));
            private.paths.extend(path);
            private.contents.extend(row.get::<_, Option<i64>>(column + 2)?);
        }
        // What Immich recorded of it may lie elsewhere, where its own file was changed or is gone.
        private.contents.extend(row.get::<_, Option<i64>>(5)?);
    }
    private.ids.extend(people_on_locked(db, at)?);
    let name =
        |path: &Vec<u8>| path.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    private.names = private.paths.iter().map(name).collect();
    private.names.sort_unstable();
    private.ids.sort_unstable();
    private.paths.sort_unstable();
    private.contents.sort_unstable();
    Ok(private)
}

/// Immich's ids of the persons that a locked photo shows, be it the photo of another owner who
/// knows them too.
fn people_on_locked(db: &Connection, at: i64) -> Result<Vec<ImmichId>> {
    let sql = "SELECT p.grp FROM user u CROSS JOIN asset a ON a.owner = u.id
               CROSS JOIN person_asset m ON m.asset = a.id CROSS JOIN person p ON p.id = m.person
               WHERE u.row IN (SELECT min(row) FROM user GROUP BY id) AND a.visibility = 3 AND \
               a.visibility <> 0
               AND a.since <= ?1 AND a.until > ?1 AND m.since <= ?1 AND m.until > ?1
               UNION SELECT grp FROM person WHERE locked = 1 AND since <= ?1 AND until > ?1";
    many(db, sql, [at], |row| row.get(0))
}

/// Where a sidecar of the file at `path` lies, also one that Immich has not found yet: `a.jpg.xmp`
/// and `a.xmp`.
fn sidecars(path: &[u8]) -> Vec<Vec<u8>> {
    let name = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let stem =
        path.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > name).unwrap_or(path.len());
    let with = |path: &[u8], end: &[u8]| [path, end].concat();
    [&path[..stem], path]
        .into_iter()
        .flat_map(|path| [with(path, b".xmp"), with(path, b".XMP")])
        .collect()
}

/// True when an asset that is not locked has its file or sidecar at `path` at `at`.
pub fn is_shown_asset(db: &Connection, path: &[u8], at: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM asset WHERE path = ?1 AND path IS NOT NULL AND visibility <> 3 AND \
        since <= ?2 AND until > ?2 UNION ALL
               SELECT 1 FROM asset WHERE sidecar = ?1 AND sidecar IS NOT NULL AND visibility <> 3 \
               AND since <= ?2 AND until > ?2 LIMIT 1";
    Ok(one(db, sql, (path, at), |_| Ok(()))?.is_some())
}
