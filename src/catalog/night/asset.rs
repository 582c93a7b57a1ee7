//! Assets: which is where, and how many there are.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Row;

use super::{CatalogNight, HELD};
use crate::base::Result;
use crate::base::library::Visibility;
use crate::catalog::sql::{count, exists, many, one};
use crate::catalog::{FilePart, ImmichId};

/// One version of an asset.
#[derive(Debug, Clone)]
pub struct AssetRow {
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
    /// The instant, milliseconds since 1970.
    pub created: i64,
    /// Upload, milliseconds since 1970.
    pub added: i64,
    pub visibility: Visibility,
    pub trashed: bool,
    pub favorite: bool,
    pub live: Option<ImmichId>,
}

impl AssetRow {
    /// Wall-clock time where it was taken.
    pub fn wall_clock(&self) -> DateTime {
        let since = SignedDuration::from_millis(self.taken);
        let time = Timestamp::UNIX_EPOCH.saturating_add(since).unwrap_or(Timestamp::UNIX_EPOCH);
        time.to_zoned(TimeZone::UTC).datetime()
    }

    /// True when it is to be seen only where locked assets are asked for.
    pub fn is_locked(&self) -> bool {
        self.visibility == Visibility::Locked
    }
}

/// In SQL: what an [`AssetRow`] has of asset `a`.
pub(in crate::catalog) const ASSET: &str = "SELECT a.row, a.id, a.since, a.until, a.owner, a.name, \
    a.month, a.taken, a.created, a.added, a.visibility, a.trashed, a.favorite, a.live FROM";

pub(in crate::catalog) fn asset(row: &Row<'_>) -> rusqlite::Result<AssetRow> {
    Ok(AssetRow {
        row: row.get(0)?,
        id: row.get(1)?,
        since: row.get(2)?,
        until: row.get(3)?,
        owner: row.get(4)?,
        name: row.get(5)?,
        month: row.get(6)?,
        taken: row.get(7)?,
        created: row.get(8)?,
        added: row.get(9)?,
        visibility: row.get(10)?,
        trashed: row.get(11)?,
        favorite: row.get(12)?,
        live: row.get(13)?,
    })
}

/// In SQL: asset `a`, or the photo whose moving half it is, is locked.
pub(in crate::catalog) const IS_LOCKED: &str = "(a.visibility = 3 OR EXISTS (SELECT 1 FROM asset p \
    WHERE p.live = a.id AND p.live IS NOT NULL AND p.visibility = 3 AND holds(p)))";

/// Tables whose rows show an asset.
#[derive(Debug, Clone, Copy)]
pub enum MemberTable {
    Asset,
    AlbumAsset,
    PersonAsset,
    TagAsset,
}

/// The months of the years -9999 to 9999: a wall clock shows no others.
const MONTHS: std::ops::RangeInclusive<i64> = -9999 * 12..=9999 * 12 + 11;

impl CatalogNight<'_> {
    /// The asset that `row` of a table shows.
    pub fn asset_of(self, tie: MemberTable, row: u64) -> Result<Option<AssetRow>> {
        let tied = match tie {
            MemberTable::Asset => None,
            MemberTable::AlbumAsset => Some("album_asset"),
            MemberTable::PersonAsset => Some("person_asset"),
            MemberTable::TagAsset => Some("tag_asset"),
        };
        let from = match tied {
            None => "asset a WHERE a.row = ?2".to_owned(),
            Some(table) => format!(
                "{table} m CROSS JOIN asset a ON a.id = m.asset WHERE m.row = ?2 AND holds(m)"
            ),
        };
        one(self.db, &format!("{ASSET} {from} AND holds(a)"), (self.at, row), asset)
    }

    /// The asset `id`.
    pub fn asset(self, id: &ImmichId) -> Result<Option<AssetRow>> {
        let sql = format!("{ASSET} asset a WHERE a.id = ?2 AND holds(a)");
        one(self.db, &sql, (self.at, id), asset)
    }

    /// The owner of the asset `id`.
    pub fn owner_of(self, id: &ImmichId) -> Result<Option<ImmichId>> {
        let sql = "SELECT owner FROM asset WHERE id = ?2 AND holds(asset)";
        one(self.db, sql, (self.at, id), |row| row.get(0))
    }

    /// The asset whose moving half is `video`.
    pub fn photo_of(self, video: &ImmichId) -> Result<Option<AssetRow>> {
        let sql = format!(
            "{ASSET} asset a WHERE a.live = ?2 AND a.live IS NOT NULL AND holds(a)
             ORDER BY a.added, a.id LIMIT 1"
        );
        one(self.db, &sql, (self.at, video), asset)
    }

    /// The asset whose moving half is `video`: its row, and whether it is locked.
    pub fn still_of(self, video: &ImmichId) -> Result<Option<(u64, bool)>> {
        let sql = "SELECT row, visibility = 3 FROM asset WHERE live = ?2 AND live IS NOT NULL AND
                   holds(asset) LIMIT 1";
        one(self.db, sql, (self.at, video), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The asset that has the owner and the bytes of the version in `row`, under another id: it was
    /// given back.
    pub fn given_back(self, row: u64) -> Result<Option<ImmichId>> {
        let sql = "SELECT n.id FROM asset a CROSS JOIN asset n ON n.sha1 = a.sha1 AND
                   n.sha1 IS NOT NULL AND n.owner = a.owner AND n.id <> a.id
                   WHERE a.row = ?2 AND holds(n) ORDER BY n.added, n.id LIMIT 1";
        one(self.db, sql, (self.at, row), |row| row.get(0))
    }

    /// Owner of the asset `id`, and whether it, or the photo whose moving half it is, is locked.
    pub fn owner_and_lock(self, id: &ImmichId) -> Result<Option<(ImmichId, bool)>> {
        let sql = format!("SELECT a.owner, {IS_LOCKED} FROM asset a WHERE a.id = ?2 AND holds(a)");
        one(self.db, &sql, (self.at, id), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// An asset that shows the content `id` as its original: its row, and whether one such is
    /// locked.
    pub fn asset_showing(self, content: i64) -> Result<Option<(u64, bool)>> {
        let sql = format!(
            "SELECT a.row, {IS_LOCKED} AS locked FROM asset_file f CROSS JOIN asset a ON a.id = \
             f.asset WHERE f.content = ?2 AND holds(f) AND holds(a)
             ORDER BY locked DESC, a.row LIMIT 1"
        );
        one(self.db, &sql, (self.at, content), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// True when an asset has its original or its sidecar at `path`.
    pub fn is_named(self, path: &[u8]) -> Result<bool> {
        let sql = "SELECT 1 FROM asset WHERE path = ?2 AND holds(asset)
                   UNION ALL SELECT 1 FROM asset WHERE sidecar = ?2 AND holds(asset)";
        exists(self.db, sql, (self.at, path))
    }

    /// True when an asset has its original at `path`, and `content` is what Immich recorded of it,
    /// or may be.
    pub fn is_rightful(self, path: &[u8], content: i64) -> Result<bool> {
        let sql = "SELECT 1 FROM asset a CROSS JOIN content c ON c.id = ?3
                   WHERE a.path = ?2 AND holds(a) AND (a.sha1 IS NULL OR a.sha1 = c.sha1)";
        exists(self.db, sql, (self.at, path, content))
    }

    /// True when an asset has its file at the file in `row`, where the database says.
    pub fn is_at_home(self, content: i64, row: u64) -> Result<bool> {
        let sql = "SELECT 1 FROM asset_file WHERE content = ?2 AND file = ?3 AND moved = 0 AND
                   holds(asset_file) LIMIT 1";
        exists(self.db, sql, (self.at, content, row))
    }

    /// The asset whose original lies at `path`.
    pub fn asset_at(self, path: &[u8]) -> Result<Option<ImmichId>> {
        let sql = "SELECT id FROM asset WHERE path = ?2 AND path IS NOT NULL AND holds(asset)
                   ORDER BY row LIMIT 1";
        one(self.db, sql, (self.at, path), |row| row.get(0))
    }

    /// True when an asset that is not locked has its file or sidecar at `path`.
    pub fn is_shown_asset(self, path: &[u8]) -> Result<bool> {
        let sql = "SELECT 1 FROM asset WHERE path = ?2 AND path IS NOT NULL AND visibility <> 3 AND
                   holds(asset) UNION ALL
                   SELECT 1 FROM asset WHERE sidecar = ?2 AND sidecar IS NOT NULL AND
                   visibility <> 3 AND holds(asset) LIMIT 1";
        exists(self.db, sql, (self.at, path))
    }

    /// Content and size of a file of the asset `id`, as it lay on the disk.
    pub fn asset_bytes(self, id: &ImmichId, part: FilePart) -> Result<Option<(i64, u64)>> {
        let sql = "SELECT content, size FROM asset_file WHERE asset = ?2 AND part = ?3 AND
                   holds(asset_file)";
        one(self.db, sql, (self.at, id, part), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// How many assets of `owner` (of all, if `None`) have no bytes in the snapshot: missing files
    /// that nothing is kept of, and external libraries that no root covers. No view shows them.
    pub fn without_bytes(self, owner: Option<&ImmichId>) -> Result<u64> {
        let sql = format!(
            "SELECT count(*) FROM asset a WHERE holds(a) AND (?2 IS NULL OR a.owner = ?2)
             AND NOT EXISTS (SELECT 1 FROM asset_file f WHERE f.asset = a.id AND f.part = 0 AND \
             holds(f)) AND NOT {HELD}"
        );
        count(self.db, &sql, (self.at, owner))
    }

    /// The first month from `from` on in which `owner` has an asset in the timeline. Looks at one
    /// row a month.
    pub fn next_month(self, owner: &ImmichId, from: i64) -> Result<Option<i64>> {
        let mut from = from.max(*MONTHS.start());
        let shown = format!(
            "SELECT 1 FROM asset a WHERE a.owner = ?2 AND a.month = ?3 AND holds(a)
             AND a.visibility = 0 AND a.trashed = 0 AND (EXISTS (SELECT 1 FROM asset_file f
             WHERE f.asset = a.id AND f.part = 0 AND holds(f)) OR {HELD}) LIMIT 1"
        );
        loop {
            let next = "SELECT min(month) FROM asset WHERE owner = ?1 AND month >= ?2";
            let month = one(self.db, next, (owner, from), |row| row.get::<_, Option<i64>>(0))?;
            let month = month.flatten().filter(|month| MONTHS.contains(month));
            let Some(month) = month else { return Ok(None) };
            if exists(self.db, &shown, (self.at, owner, month))? {
                return Ok(Some(month));
            }
            from = month + 1;
        }
    }

    /// From when to before when `owner` had assets (with bytes, locked ones only if asked for) that
    /// are gone. What was given back is not: the same bytes under a new id.
    pub fn gone_ranges(self, owner: &ImmichId, locked: bool) -> Result<Vec<(i64, i64)>> {
        let gone = "a.until <= ?1 AND a.owner = ?2 AND (a.visibility IN (0, 1) OR \
                    (a.visibility = 3 AND ?3))
                    AND NOT EXISTS (SELECT 1 FROM asset n WHERE n.id = a.id AND holds(n))
                    AND NOT EXISTS (SELECT 1 FROM asset n WHERE n.sha1 = a.sha1 AND n.sha1 IS NOT \
                    NULL AND n.owner = a.owner AND holds(n))";
        let sql = format!(
            "SELECT max(a.since, f.since), min(a.until, f.until) FROM asset a JOIN asset_file f
               ON f.asset = a.id AND f.part = 0 AND f.since < a.until AND f.until > a.since
               WHERE {gone}
             UNION SELECT a.since, a.until FROM asset a WHERE {gone} AND {HELD}"
        );
        many(self.db, &sql, (self.at, owner, locked), |row| Ok((row.get(0)?, row.get(1)?)))
    }
}
