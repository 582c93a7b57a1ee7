//! Assets: which is where, and how many there are.

use rusqlite::Row;

use super::{CatalogNight, HELD};
use crate::base::Result;
use crate::catalog::sql::{count, exists, many, one};
use crate::catalog::{FilePart, ImmichId};

/// An asset as one snapshot has it.
#[derive(Debug, Clone, Copy)]
pub struct AssetRow {
    pub id: ImmichId,
    pub created: i64,
    pub locked: bool,
    pub live: Option<ImmichId>,
}

const ASSET: &str = "SELECT a.id, a.created, a.visibility = 3, a.live FROM";

fn asset(row: &Row<'_>) -> rusqlite::Result<AssetRow> {
    Ok(AssetRow { id: row.get(0)?, created: row.get(1)?, locked: row.get(2)?, live: row.get(3)? })
}

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
