//! The assets that lie in a folder.

use rusqlite::Row;

use super::{CatalogNight, kept};
use crate::base::{Error, Result};
use crate::catalog::ImmichId;
use crate::catalog::query::unsigned;
use crate::catalog::sql::each;

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

/// Assets that people see: neither hidden nor locked.
const SHOWN: &str = "a.trashed = 0 AND a.visibility IN (0, 1)";

/// The assets of an owner of which the disk had not, at the time, what Immich recorded.
fn changed() -> String {
    format!(
        "asset a WHERE a.owner = ?2 AND holds(+a) AND a.visibility <> 2
         AND (a.visibility <> 3 OR ?4)
         AND (NOT EXISTS ({}) OR a.live IS NOT NULL AND NOT EXISTS ({}))",
        kept::is_right("a.id"),
        kept::is_right("a.live")
    )
}

fn own(condition: &str) -> String {
    format!("asset a WHERE a.owner = ?2 AND {condition}")
}

fn tied(table: &str) -> String {
    format!("{table}_asset m CROSS JOIN asset a ON a.id = m.asset WHERE m.{table} = ?2 AND {SHOWN}")
}

/// Locked assets that are not the moving half of another.
const LOCKED: &str = "a.visibility = 3 AND a.visibility <> 0
    AND NOT EXISTS (SELECT 1 FROM asset p WHERE p.live = a.id AND holds(p))";

/// Assets of an owner that some snapshot after `?1` has not at all.
const GONE: &str = "asset a WHERE a.id IN
    (SELECT d.id FROM asset d WHERE d.until > ?1 AND d.until < 9223372036854775807 AND d.owner = ?2
     AND NOT EXISTS (SELECT 1 FROM asset n WHERE n.id = d.id AND holds(n, d.until)))
    AND holds(a) AND (a.visibility IN (0, 1) OR (a.visibility = 3 AND ?4))";

/// What ended is gone when neither its id nor, of that owner, its bytes are there at `?3`.
const IS_GONE: &str = "a.row, NOT EXISTS (SELECT 1 FROM asset n WHERE n.id = a.id AND holds(n, ?3))
     AND NOT EXISTS (SELECT 1 FROM asset n WHERE n.sha1 = a.sha1 AND n.sha1 IS NOT NULL
                     AND n.owner = a.owner AND holds(n, ?3))";

impl MemberSource {
    /// The member's row, and whether it holds.
    fn head(self) -> &'static str {
        match self {
            MemberSource::Album { .. } | MemberSource::Person { .. } | MemberSource::Tag { .. } => {
                "m.row, holds(m) AND holds(a)"
            }
            MemberSource::Gone { .. } => IS_GONE,
            MemberSource::Month { .. }
            | MemberSource::Favorites { .. }
            | MemberSource::Archived { .. }
            | MemberSource::Trash { .. }
            | MemberSource::Locked { .. }
            | MemberSource::Stack { .. }
            | MemberSource::Changed { .. } => "a.row, holds(a)",
        }
    }

    /// The tables and the condition. `<> 0` says again what a partial index asks for: SQLite
    /// compares terms, not their meaning.
    fn from(self) -> String {
        match self {
            MemberSource::Month { .. } => {
                own("a.month = ?3 AND a.visibility = 0 AND a.trashed = 0")
            }
            MemberSource::Favorites { .. } => own(&format!("a.favorite = 1 AND {SHOWN}")),
            MemberSource::Archived { .. } => {
                own("a.visibility = 1 AND a.visibility <> 0 AND a.trashed = 0")
            }
            MemberSource::Trash { .. } => {
                own("a.visibility IN (0, 1) AND a.trashed = 1 AND a.trashed <> 0")
            }
            MemberSource::Locked { .. } => own(LOCKED),
            MemberSource::Changed { .. } => changed(),
            MemberSource::Stack { .. } => format!("asset a WHERE a.stack = ?2 AND {SHOWN}"),
            MemberSource::Album { .. } => tied("album"),
            MemberSource::Person { .. } => tied("person"),
            MemberSource::Tag { .. } => tied("tag"),
            MemberSource::Gone { .. } => GONE.to_owned(),
        }
    }

    /// What `?2` and `?3` stand for.
    fn keys(self) -> (ImmichId, i64) {
        match self {
            MemberSource::Month { owner: id, month: number }
            | MemberSource::Gone { owner: id, now: number } => (id, number),
            MemberSource::Favorites { owner: id }
            | MemberSource::Archived { owner: id }
            | MemberSource::Trash { owner: id }
            | MemberSource::Locked { owner: id }
            | MemberSource::Changed { owner: id }
            | MemberSource::Stack { stack: id }
            | MemberSource::Album { album: id }
            | MemberSource::Person { person: id }
            | MemberSource::Tag { tag: id } => (id, 0),
        }
    }

    /// Sizes of files that may have other bytes than were recorded are negative numbers: a look for
    /// what is kept is taken for these alone.
    fn sql(self) -> String {
        let bytes = |asset: &str, part: u8| {
            format!(
                "(SELECT CASE WHEN f.differs THEN -1 - f.size ELSE f.size END FROM asset_file f
                  WHERE f.asset = {asset} AND f.part = {part} AND holds(f))"
            )
        };
        let (original, sidecar, moving) = (bytes("a.id", 0), bytes("a.id", 1), bytes("a.live", 0));
        let (head, from) = (self.head(), self.from());
        format!(
            "SELECT {head}, a.id, a.name, a.added, a.created,
             (SELECT v.name FROM asset v WHERE v.id = a.live ORDER BY v.since DESC LIMIT 1),
             {original}, {sidecar}, {moving},
             (SELECT v.created FROM asset v WHERE v.id = a.live AND holds(v)
              AND (v.visibility <> 3 OR ?4)), a.live, a.owner, a.sha1, a.since, a.until
             FROM {from}"
        )
    }
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
    /// Those that Immich recorded, and not the file's.
    pub kept: bool,
}

impl CatalogNight<'_> {
    /// Runs through the members of `source` in all their versions.
    pub fn members(
        self,
        source: MemberSource,
        locked: bool,
        mut take: impl FnMut(MemberAsset),
    ) -> Result<()> {
        let (id, number) = source.keys();
        each(self.db, &source.sql(), (self.at, id, number, locked), |row| {
            take(self.member(row)?);
            Ok(())
        })
    }

    fn member(self, row: &Row<'_>) -> Result<MemberAsset> {
        let holds: bool = row.get(1)?;
        let size = |column| Ok::<Option<i64>, Error>(if holds { row.get(column)? } else { None });
        let id: ImmichId = row.get(2)?;
        let moving = match (row.get(10)?, row.get::<_, Option<ImmichId>>(11)?) {
            (Some(created), Some(half)) if holds => {
                self.shown(&half, size(9)?)?.map(|shown| (created, shown))
            }
            _ => None,
        };
        let original = if holds { self.shown(&id, size(7)?)? } else { None };
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

    /// What the asset `id` shows, whose file has so many bytes: less than none where they may be
    /// others than were recorded.
    fn shown(self, id: &ImmichId, file: Option<i64>) -> Result<Option<ShownBytes>> {
        match file {
            Some(size) if size >= 0 => Ok(Some(ShownBytes { size: unsigned(size), kept: false })),
            _ => {
                let kept = self.kept_bytes(id)?.map(|(_, size)| ShownBytes { size, kept: true });
                Ok(kept.or(file.map(|size| ShownBytes { size: unsigned(-1 - size), kept: false })))
            }
        }
    }
}
