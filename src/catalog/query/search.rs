//! What a search asks: which assets answer to a filter, in one snapshot or in any, and what is
//! known of each.
//!
//! Albums, people and tags are given by id: whoever asks has found them by [`named`]. Locked
//! assets, and the moving halves of locked ones, are left out unless asked for; over all snapshots
//! also those that are locked *now*.

use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::base::Result;
use crate::catalog::ImmichId;
use crate::catalog::night::AssetRow;
use crate::catalog::night::{ASSET, asset};
use crate::catalog::sql::{many, one, written_out};

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

/// The versions of assets that answer to `filter` and whose name `matches`, in no order.
pub fn assets(
    db: &Connection,
    when: SearchTime,
    filter: &AssetFilter,
    matches: impl Fn(&str) -> bool + Send + 'static,
) -> Result<Vec<AssetRow>> {
    // In SQL, so that a name that does not match costs no row: most do not.
    db.create_scalar_function("name_matches", 1, FunctionFlags::SQLITE_UTF8, move |context| {
        Ok(context.get_raw(0).as_str().is_ok_and(&matches))
    })?;
    let mut question = SqlQuestion::default();
    question.ask(when, filter);
    let sql = format!(
        "{ASSET} asset a WHERE {} AND name_matches(a.name)",
        question.conditions.join(" AND ")
    );
    let mut statement = db.prepare(&sql)?;
    let found = statement.query_map(params_from_iter(question.values), asset)?;
    Ok(found.collect::<Result<_, _>>()?)
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
            SearchTime::At(at) => {
                self.add(written_out(&format!("holds({table}, ?)")), [at, at].map(Value::from))
            }
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

/// Times of the snapshots, oldest first: of the good ones, unless there are none.
pub fn times(db: &Connection) -> Result<Vec<i64>> {
    let sql =
        "SELECT time FROM snapshot WHERE good >= (SELECT max(good) FROM snapshot) ORDER BY time";
    many(db, sql, (), |row| row.get(0))
}
