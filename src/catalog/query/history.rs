//! What a comparison asks: which rows hold at one time and not at another, and all versions of one
//! asset.
//!
//! Rows are compared by the ranges in which they hold, so a night without change costs one pass
//! over a table and no row. Whoever asks puts old and new versions together and decides what is
//! private.

use rusqlite::{Connection, Params, Row};

use crate::base::Result;
use crate::catalog::ImmichId;
use crate::catalog::night::{COLUMNS, DiskFile, file};
use crate::catalog::sql::{many, one};

/// Both times that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimePair {
    pub old: i64,
    pub new: i64,
}

/// What holds at the old time only, and what holds at the new time only.
pub type ListDifference<T> = (Vec<T>, Vec<T>);

/// Asks for rows of `from` (`x`) that hold at the old time (first) and not at the new, or the other
/// way round.
fn differing<T>(
    db: &Connection,
    select: &str,
    from: &str,
    pair: TimePair,
    map: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<ListDifference<T>> {
    let sql = format!("SELECT {select} FROM {from} AND holds(x) AND NOT holds(x, ?2)");
    let old = many(db, &sql, (pair.old, pair.new), &map)?;
    let new = many(db, &sql, (pair.new, pair.old), &map)?;
    Ok((old, new))
}

/// A version of a record: its id and its line of the library list.
#[derive(Debug, Clone)]
pub struct RecordVersion {
    pub id: ImmichId,
    pub line: String,
}

fn line(row: &Row<'_>) -> rusqlite::Result<RecordVersion> {
    Ok(RecordVersion { id: row.get(0)?, line: row.get(1)? })
}

/// Kinds of records that are compared by their lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    Album,
    Person,
    Tag,
    User,
}

/// Versions that hold at one of both times only: old ones, new ones.
pub fn records(
    db: &Connection,
    kind: RecordKind,
    pair: TimePair,
) -> Result<ListDifference<RecordVersion>> {
    let table = match kind {
        RecordKind::Album => "album x WHERE NOT x.deleted",
        RecordKind::Person => "person x WHERE trim(x.name) <> ''",
        RecordKind::Tag => "tag x WHERE 1",
        RecordKind::User => "user x WHERE 1",
    };
    differing(db, "x.id, x.line", table, pair, line)
}

/// Album and asset of memberships that hold at one of both times only.
pub fn memberships(
    db: &Connection,
    pair: TimePair,
) -> Result<ListDifference<(ImmichId, ImmichId)>> {
    differing(db, "x.album, x.asset", "album_asset x WHERE 1", pair, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// Assets of which a version, or the bytes, hold at one of both times only; each once.
pub fn changed_assets(db: &Connection, pair: TimePair) -> Result<Vec<ImmichId>> {
    let asset = |row: &Row<'_>| row.get::<_, ImmichId>(0);
    let mut ids = Vec::new();
    for (select, from) in
        [("x.id", "asset x WHERE 1"), ("x.asset", "asset_file x WHERE x.part = 0")]
    {
        let (old, new) = differing(db, select, from, pair, asset)?;
        ids.extend(old.into_iter().chain(new));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Files that no asset shows, that hold at one of both times only: old ones, new ones.
pub fn loose_files(db: &Connection, pair: TimePair) -> Result<ListDifference<DiskFile>> {
    // An asset's bytes are found by their content: that is what the catalog has an index for.
    let from = "file x WHERE x.kind = 0 AND NOT EXISTS (SELECT 1 FROM asset_file f WHERE f.content \
        = x.content AND f.file = x.row)";
    differing(db, COLUMNS, from, pair, file)
}

/// Something that held for a time.
#[derive(Debug, Clone)]
pub struct TimeRange<T> {
    pub since: i64,
    pub until: i64,
    pub what: T,
}

fn held<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    map: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<TimeRange<T>>> {
    many(db, sql, params, |row| {
        Ok(TimeRange { since: row.get(0)?, until: row.get(1)?, what: map(row)? })
    })
}

/// All versions of the asset `id`: row, line, and whether it is locked.
pub fn versions(db: &Connection, id: &ImmichId) -> Result<Vec<TimeRange<(u64, String, bool)>>> {
    let sql =
        "SELECT since, until, row, line, visibility = 3 FROM asset WHERE id = ?1 ORDER BY since";
    held(db, sql, [id], |row| Ok((row.get(2)?, row.get(3)?, row.get(4)?)))
}

/// The contents that the original of the asset `id` had: id, size, and folder and name of the file.
pub fn contents(db: &Connection, id: &ImmichId) -> Result<Vec<TimeRange<AssetContent>>> {
    let sql = "SELECT f.since, f.until, f.content, f.size FROM asset_file f WHERE f.asset = ?1 AND \
        f.part = 0 ORDER BY f.since";
    held(db, sql, [id], |row| Ok(AssetContent { id: row.get(2)?, size: row.get(3)? }))
}

/// The bytes of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssetContent {
    pub id: i64,
    pub size: u64,
}

/// The albums, tags or people that the asset `id` had, each version by name.
pub fn ties(
    db: &Connection,
    kind: RecordKind,
    id: &ImmichId,
) -> Result<Vec<TimeRange<(ImmichId, String)>>> {
    let (tie, thing, name) = match kind {
        RecordKind::Tag => ("tag", "tag", "value"),
        RecordKind::Person => ("person", "person", "name"),
        _ => ("album", "album", "name"),
    };
    let sql = format!(
        "SELECT max(m.since, t.since), min(m.until, t.until), t.id, t.{name} FROM {tie}_asset m \
            CROSS JOIN {thing} t ON t.id = m.{tie}
         WHERE m.asset = ?1 AND m.since < t.until AND m.until > t.since ORDER BY 1, 4"
    );
    held(db, &sql, [id], |row| Ok((row.get(2)?, row.get(3)?)))
}

/// The asset that shows the file in `row` with its original or its sidecar, in any snapshot.
pub fn asset_of_file(db: &Connection, row: u64) -> Result<Option<ImmichId>> {
    let sql = "SELECT f.asset FROM file x CROSS JOIN asset_file f ON f.content = x.content AND \
        f.file = x.row WHERE x.row = ?1 LIMIT 1";
    one(db, sql, [row], |row| row.get(0))
}
