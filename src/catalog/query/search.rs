//! What a search asks: which assets answer to a filter, in one snapshot or in any, and what is
//! known of each.
//!
//! Albums, people and tags are given by id: whoever asks has found them by [`named`]. Locked
//! assets, and the moving halves of locked ones, are left out unless asked for; over all snapshots
//! also those that are locked *now*.

use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::base::library::Visibility;
use crate::base::{Hash, Result, Sha1};
use crate::catalog::FilePart;
use crate::catalog::ImmichId;
use crate::catalog::sql::{many, one};

/// In which snapshots to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchTime {
    /// In the one at this time.
    At(i64),
    /// In all of them.
    Ever,
}

/// Which assets are wanted; `None` is no condition, a list is any of it.
#[derive(Debug, Clone, Default)]
pub struct AssetFilter {
    pub owners: Option<Vec<ImmichId>>,
    pub albums: Option<Vec<ImmichId>>,
    pub people: Option<Vec<ImmichId>>,
    pub tags: Option<Vec<ImmichId>>,
    pub ids: Option<Vec<ImmichId>>,
    /// Wall clock as if UTC, milliseconds since 1970: from, and before.
    pub taken: Option<(i64, i64)>,
    pub favorite: bool,
    pub locked: bool,
}

/// One version of an asset.
#[derive(Debug, Clone)]
pub struct FoundVersion {
    pub row: u64,
    pub id: ImmichId,
    /// It holds in snapshots from this time to before `until`.
    pub since: i64,
    pub until: i64,
    pub owner: ImmichId,
    pub name: String,
    /// Year * 12 + month - 1.
    pub month: i64,
    /// Wall clock as if UTC, milliseconds since 1970.
    pub taken: i64,
    /// Upload, milliseconds since 1970.
    pub added: i64,
    pub visibility: Visibility,
    pub trashed: bool,
    pub favorite: bool,
    pub live: Option<ImmichId>,
}

const VERSION: &str =
    "SELECT a.row, a.id, a.since, a.until, a.owner, a.name, a.month, a.taken, a.added, \
        a.visibility, a.trashed,
    a.favorite, a.live FROM asset a";

fn version(row: &Row<'_>) -> rusqlite::Result<FoundVersion> {
    Ok(FoundVersion {
        row: row.get(0)?,
        id: row.get(1)?,
        since: row.get(2)?,
        until: row.get(3)?,
        owner: row.get(4)?,
        name: row.get(5)?,
        month: row.get(6)?,
        taken: row.get(7)?,
        added: row.get(8)?,
        visibility: row.get(9)?,
        trashed: row.get(10)?,
        favorite: row.get(11)?,
        live: row.get(12)?,
    })
}

/// The versions of assets that answer to `filter` and whose name `matches`, in no order.
pub fn assets(
    db: &Connection,
    when: SearchTime,
    filter: &AssetFilter,
    matches: impl Fn(&str) -> bool + Send + 'static,
) -> Result<Vec<FoundVersion>> {
    // In SQL, so that a name that does not match costs no row: most do not.
    db.create_scalar_function("name_matches", 1, FunctionFlags::SQLITE_UTF8, move |context| {
        Ok(context.get_raw(0).as_str().is_ok_and(&matches))
    })?;
    let mut question = SqlQuestion::default();
    question.ask(when, filter);
    let sql =
        format!("{VERSION} WHERE {} AND name_matches(a.name)", question.conditions.join(" AND "));
    let mut statement = db.prepare(&sql)?;
    let found = statement
        .query_map(params_from_iter(question.values), version)?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

/// Conditions and what their question marks stand for.
#[derive(Default)]
struct SqlQuestion {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl SqlQuestion {
    fn ask(&mut self, when: SearchTime, filter: &AssetFilter) {
        self.holds("a", when);
        if let Some((from, before)) = filter.taken {
            self.add("a.taken >= ? AND a.taken < ?", [from, before].map(Value::from));
            // The same again in months, by which the catalog has an index.
            self.add(
                "a.month >= ? AND a.month <= ?",
                [from, before - 1].map(|time| Value::from(month(time))),
            );
        }
        if filter.favorite {
            self.add("a.favorite = 1", []);
        }
        self.any("a.owner", filter.owners.as_deref());
        self.any("a.id", filter.ids.as_deref());
        self.tied(when, "album_asset", "album", filter.albums.as_deref());
        self.tied(when, "person_asset", "person", filter.people.as_deref());
        self.tied(when, "tag_asset", "tag", filter.tags.as_deref());
        if !filter.locked {
            self.unlocked(when);
        }
    }

    fn add(&mut self, condition: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.into());
        self.values.extend(values);
    }

    /// The row of `table` holds at the time; over all snapshots, in one together with `a`.
    fn holds(&mut self, table: &str, when: SearchTime) {
        match when {
            SearchTime::At(at) => self.add(
                format!("{table}.since <= ? AND {table}.until > ?"),
                [at, at].map(Value::from),
            ),
            SearchTime::Ever => {
                self.add(format!("{table}.since < a.until AND {table}.until > a.since"), [])
            }
        }
    }

    fn any(&mut self, column: &str, ids: Option<&[ImmichId]>) {
        let Some(ids) = ids else { return };
        let marks = vec!["?"; ids.len()].join(", ");
        self.add(format!("{column} IN ({marks})"), ids.iter().map(|id| Value::from(id.to_vec())));
    }

    fn tied(&mut self, when: SearchTime, table: &str, key: &str, ids: Option<&[ImmichId]>) {
        let Some(ids) = ids else { return };
        let mut inner = SqlQuestion::default();
        inner.any(&format!("m.{key}"), Some(ids));
        // From the album to its members where a snapshot is given; a version's range has to be
        // compared otherwise.
        let condition = match when {
            SearchTime::At(_) => {
                inner.holds("m", when);
                format!(
                    "a.id IN (SELECT m.asset FROM {table} m WHERE {})",
                    inner.conditions.join(" AND ")
                )
            }
            SearchTime::Ever => {
                let members = format!(
                    "a.id IN (SELECT m.asset FROM {table} m WHERE {})",
                    inner.conditions.join(" AND ")
                );
                let values = std::mem::take(&mut inner.values);
                inner.values = [values.clone(), values].concat();
                let together = "m.asset = a.id AND m.since < a.until AND m.until > a.since";
                let which = inner.conditions.join(" AND ");
                format!(
                    "{members} AND EXISTS (SELECT 1 FROM {table} m WHERE {which} AND {together})"
                )
            }
        };
        self.add(condition, inner.values);
    }

    fn unlocked(&mut self, when: SearchTime) {
        let mut half = SqlQuestion::default();
        half.holds("p", when);
        let half_of_locked =
            "SELECT 1 FROM asset p WHERE p.live = a.id AND p.live IS NOT NULL AND p.visibility = 3";
        self.add(
            format!(
                "a.visibility <> 3 AND NOT EXISTS ({half_of_locked} AND {})",
                half.conditions.join(" AND ")
            ),
            half.values,
        );
        if when == SearchTime::Ever {
            self.add(
                "NOT EXISTS (SELECT 1 FROM asset n WHERE n.id = a.id AND n.visibility = 3
                   AND n.since = (SELECT max(since) FROM asset l WHERE l.id = a.id))",
                [],
            );
            self.add(
                "NOT EXISTS (SELECT 1 FROM asset p WHERE p.live = a.id AND p.live IS NOT NULL AND \
                    p.visibility = 3
                   AND p.since = (SELECT max(since) FROM asset l WHERE l.id = p.id))",
                [],
            );
        }
    }
}

/// The month of a wall-clock time, as the catalog counts them; no bound where there is no such
/// time.
fn month(milliseconds: i64) -> i64 {
    let Ok(time) = jiff::Timestamp::from_millisecond(milliseconds) else {
        return if milliseconds < 0 { i64::MIN } else { i64::MAX };
    };
    let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

/// The version of the asset `id` at `at`.
pub fn asset(db: &Connection, id: &ImmichId, at: i64) -> Result<Option<FoundVersion>> {
    one(
        db,
        &format!("{VERSION} WHERE a.id = ?1 AND a.since <= ?2 AND a.until > ?2"),
        (id, at),
        version,
    )
}

/// The asset whose moving half is `id` at `at`.
pub fn photo_of(db: &Connection, id: &ImmichId, at: i64) -> Result<Option<FoundVersion>> {
    let sql = format!(
        "{VERSION} WHERE a.live = ?1 AND a.live IS NOT NULL AND a.since <= ?2 AND a.until > ?2 \
            ORDER BY a.added, a.id LIMIT 1"
    );
    one(db, &sql, (id, at), version)
}

/// The asset that has the owner and the bytes of the version in `row` at `at`, under another id: it
/// was given back.
pub fn given_back(db: &Connection, row: u64, at: i64) -> Result<Option<ImmichId>> {
    let sql = "SELECT n.id FROM asset a CROSS JOIN asset n ON n.sha1 = a.sha1 AND n.sha1 IS NOT \
        NULL AND n.owner = a.owner AND n.id <> a.id
               WHERE a.row = ?1 AND n.since <= ?2 AND n.until > ?2 ORDER BY n.added, n.id LIMIT 1";
    one(db, sql, (row, at), |row| row.get(0))
}

/// From when to before when each version of the asset `id` holds, oldest first.
pub fn ranges(db: &Connection, id: &ImmichId) -> Result<Vec<(i64, i64)>> {
    many(db, "SELECT since, until FROM asset WHERE id = ?1 ORDER BY since", [id], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// The record of the asset in `row`, JSON.
pub fn line(db: &Connection, row: u64) -> Result<Option<String>> {
    one(db, "SELECT line FROM asset WHERE row = ?1", [row], |row| row.get(0))
}

/// What people call by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedKind {
    Album,
    Person,
    Tag,
}

/// Id and name of all albums, persons or tags, in one snapshot or in any (then with every name that
/// they had).
pub fn named(
    db: &Connection,
    thing: NamedKind,
    when: SearchTime,
) -> Result<Vec<(ImmichId, String)>> {
    let (select, order) = match thing {
        NamedKind::Album => ("id, name FROM album WHERE NOT deleted", "created, id"),
        NamedKind::Person => ("id, name FROM person WHERE trim(name) <> ''", "since, id"),
        NamedKind::Tag => ("id, value FROM tag WHERE 1", "value, id"),
    };
    let (from, to) = match when {
        SearchTime::At(at) => (at, at),
        SearchTime::Ever => (i64::MAX, i64::MIN),
    };
    let sql = format!("SELECT {select} AND since <= ?1 AND until > ?2 ORDER BY {order}");
    many(db, &sql, (from, to), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The rows of album_user by which people see the album `id` at `at`, the owner's first: row, and
/// user.
pub fn seen_by(db: &Connection, id: &ImmichId, at: i64) -> Result<Vec<(u64, ImmichId)>> {
    let sql = "SELECT row, user FROM album_user WHERE album = ?1 AND since <= ?2 AND until > ?2 \
        ORDER BY role, row";
    many(db, sql, (id, at), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Ids and names of the albums that hold the asset `id` at `at`.
pub fn albums_of(db: &Connection, id: &ImmichId, at: i64) -> Result<Vec<(ImmichId, String)>> {
    let sql = "SELECT b.id, b.name FROM album_asset m CROSS JOIN album b ON b.id = m.album WHERE \
        m.asset = ?1
               AND m.since <= ?2 AND m.until > ?2 AND b.since <= ?2 AND b.until > ?2 AND NOT \
               b.deleted ORDER BY b.name, b.id";
    many(db, sql, (id, at), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The tags of the asset `id` at `at`.
pub fn tags_of(db: &Connection, id: &ImmichId, at: i64) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT t.value FROM tag_asset m CROSS JOIN tag t ON t.id = m.tag WHERE \
        m.asset = ?1
               AND m.since <= ?2 AND m.until > ?2 AND t.since <= ?2 AND t.until > ?2 ORDER BY \
               t.value";
    many(db, sql, (id, at), |row| row.get(0))
}

/// The named people whom the asset `id` shows at `at`.
pub fn people_of(db: &Connection, id: &ImmichId, at: i64) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT p.name FROM person_asset m CROSS JOIN person p ON p.id = m.person \
        WHERE m.asset = ?1
               AND m.since <= ?2 AND m.until > ?2 AND p.since <= ?2 AND p.until > ?2 AND \
               trim(p.name) <> '' ORDER BY p.name";
    many(db, sql, (id, at), |row| row.get(0))
}

/// The bytes of an asset in a snapshot.
#[derive(Debug, Clone)]
pub struct StoredAsset {
    pub size: u64,
    pub blake3: Hash,
    pub sha1: Sha1,
    /// Some archive holds them.
    pub present: bool,
    /// Row of the file that showed them.
    pub row: u64,
    /// Folder and name of that file.
    pub file: Option<(i64, Vec<u8>)>,
}

/// The original or sidecar of the asset `id` at `at`.
pub fn stored(
    db: &Connection,
    id: &ImmichId,
    part: FilePart,
    at: i64,
) -> Result<Option<StoredAsset>> {
    let sql =
        "SELECT f.size, c.hash, c.sha1, c.archive > 0, f.file, x.folder, x.name FROM asset_file f
               CROSS JOIN content c ON c.id = f.content LEFT JOIN file x ON x.row = f.file
               WHERE f.asset = ?1 AND f.part = ?2 AND f.since <= ?3 AND f.until > ?3";
    one(db, sql, (id, part, at), |row| {
        Ok(StoredAsset {
            size: row.get(0)?,
            blake3: Hash(row.get(1)?),
            sha1: Sha1(row.get(2)?),
            present: row.get(3)?,
            row: row.get(4)?,
            file: row.get::<_, Option<i64>>(5)?.zip(row.get(6)?),
        })
    })
}

/// Times of the snapshots, oldest first: of the good ones, unless there are none.
pub fn times(db: &Connection) -> Result<Vec<i64>> {
    let sql =
        "SELECT time FROM snapshot WHERE good >= (SELECT max(good) FROM snapshot) ORDER BY time";
    many(db, sql, (), |row| row.get(0))
}

/// The name of the user `id` at `at`; an account without a name goes by its address.
pub fn user_name(db: &Connection, id: &ImmichId, at: i64) -> Result<Option<String>> {
    let sql = "SELECT CASE WHEN trim(name) = '' THEN email ELSE name END FROM user WHERE id = ?1 \
        AND since <= ?2 AND until > ?2";
    one(db, sql, (id, at), |row| row.get(0))
}
