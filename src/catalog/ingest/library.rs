//! Changes of the library list into the catalog.

use jiff::tz::TimeZone;
use rusqlite::Connection;
use uuid::Uuid;

use super::ListChange;
use crate::base::library::{Asset, LibraryRecord};
use crate::base::{Error, ErrorKind, FilePath, Result};
use crate::catalog::FOREVER;

/// Takes the changes of a library list.
#[derive(Debug)]
pub struct LibraryIngest<'a> {
    db: &'a Connection,
    time: i64,
}

impl<'a> LibraryIngest<'a> {
    /// Begins the snapshot at `time`. Assets that change are noted in the temporary table
    /// `changed_asset`.
    pub fn begin(db: &'a Connection, time: i64) -> Result<Self> {
        db.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS changed_asset (id BLOB PRIMARY KEY) WITHOUT ROWID; \
                DELETE FROM changed_asset;",
        )?;
        Ok(LibraryIngest { db, time })
    }

    /// Takes one change.
    pub fn apply(&self, change: &ListChange<LibraryRecord>) -> Result<()> {
        match change {
            ListChange::Added(record) => self.open(record),
            ListChange::Removed(record) => self.close(record),
            ListChange::Replaced(old, new) => self.close(old).and_then(|()| self.open(new)),
        }
    }

    fn close(&self, record: &LibraryRecord) -> Result<()> {
        let (kind, first, second) = record.key();
        let keys = match record {
            LibraryRecord::AlbumUser(_) => "album = ?3 AND user = ?4",
            LibraryRecord::AlbumAsset(_) => "album = ?3 AND asset = ?4",
            LibraryRecord::PersonAsset(_) => "person = ?3 AND asset = ?4",
            LibraryRecord::TagAsset(_) => "tag = ?3 AND asset = ?4",
            _ => "id = ?3 AND ?4 IS NOT NULL",
        };
        self.db
            .prepare_cached(&format!("UPDATE {kind} SET until = ?1 WHERE +until = ?2 AND {keys}"))?
            .execute((self.time, FOREVER, bytes(&first), bytes(&second)))?;
        self.note(record)
    }

    fn note(&self, record: &LibraryRecord) -> Result<()> {
        if let LibraryRecord::Asset(asset) = record {
            self.db
                .prepare_cached("INSERT OR IGNORE INTO changed_asset VALUES (?1)")?
                .execute([bytes(&asset.id)])?;
        }
        Ok(())
    }

    fn open(&self, record: &LibraryRecord) -> Result<()> {
        let line = serde_json::to_string(record)
            .map_err(|e| Error::new(ErrorKind::Io, "writing a record").caused_by(e))?;
        let (since, until) = (self.time, FOREVER);
        let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<()> {
            self.db.prepare_cached(sql)?.execute(values)?;
            Ok(())
        };
        match record {
            LibraryRecord::User(r) => run(
                "INSERT INTO user (id, since, until, name, email, line) VALUES (?1, ?2, ?3, ?4, \
                    ?5, ?6)",
                &[bytes(&r.id), &since, &until, &r.name, &r.email, &line],
            ),
            LibraryRecord::Asset(r) => self.open_asset(r, &line),
            LibraryRecord::Album(r) => run(
                "INSERT INTO album (id, since, until, name, created, deleted, line) VALUES (?1, \
                    ?2, ?3, ?4, ?5, ?6, ?7)",
                &[
                    bytes(&r.id),
                    &since,
                    &until,
                    &r.name,
                    &r.created.map_or(0, |t| t.as_millisecond()),
                    &r.deleted.is_some(),
                    &line,
                ],
            ),
            LibraryRecord::AlbumUser(r) => run(
                "INSERT INTO album_user (album, user, since, until, role) VALUES (?1, ?2, ?3, ?4, \
                    ?5)",
                &[bytes(&r.album), bytes(&r.user), &since, &until, &r.role],
            ),
            LibraryRecord::AlbumAsset(r) => run(
                "INSERT INTO album_asset (album, asset, since, until) VALUES (?1, ?2, ?3, ?4)",
                &[bytes(&r.album), bytes(&r.asset), &since, &until],
            ),
            LibraryRecord::Person(r) => run(
                "INSERT INTO person (id, since, until, owner, name, hidden, grp, locked, line)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                &[
                    bytes(&r.id),
                    &since,
                    &until,
                    bytes(&r.owner),
                    &r.name,
                    &r.hidden,
                    bytes(r.group.as_ref().unwrap_or(&r.id)),
                    &r.locked,
                    &line,
                ],
            ),
            LibraryRecord::PersonAsset(r) => run(
                "INSERT INTO person_asset (person, asset, since, until) VALUES (?1, ?2, ?3, ?4)",
                &[bytes(&r.person), bytes(&r.asset), &since, &until],
            ),
            LibraryRecord::Stack(r) => run(
                "INSERT INTO stack (id, since, until, owner, first, line) VALUES (?1, ?2, ?3, ?4, \
                    ?5, ?6)",
                &[
                    bytes(&r.id),
                    &since,
                    &until,
                    bytes(&r.owner),
                    &r.primary.as_ref().map(Uuid::as_bytes),
                    &line,
                ],
            ),
            LibraryRecord::Tag(r) => run(
                "INSERT INTO tag (id, since, until, owner, value, line) VALUES (?1, ?2, ?3, ?4, \
                    ?5, ?6)",
                &[bytes(&r.id), &since, &until, bytes(&r.owner), &r.value, &line],
            ),
            LibraryRecord::TagAsset(r) => run(
                "INSERT INTO tag_asset (tag, asset, since, until) VALUES (?1, ?2, ?3, ?4)",
                &[bytes(&r.tag), bytes(&r.asset), &since, &until],
            ),
            LibraryRecord::ExternalLibrary(r) => run(
                "INSERT INTO external_library (id, since, until, owner, line) VALUES (?1, ?2, ?3, \
                    ?4, ?5)",
                &[bytes(&r.id), &since, &until, bytes(&r.owner), &line],
            ),
        }?;
        self.note(record)
    }

    fn open_asset(&self, asset: &Asset, line: &str) -> Result<()> {
        let sql =
            "INSERT INTO asset (id, since, until, owner, name, month, taken, created, added, \
            favorite, visibility, trashed,
                       live, stack, sha1, path, sidecar, line)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, \
                   ?17, ?18)";
        let taken =
            asset.taken.to_zoned(TimeZone::UTC).map_or(0, |time| time.timestamp().as_millisecond());
        let month = i64::from(asset.taken.year()) * 12 + i64::from(asset.taken.month()) - 1;
        self.db.prepare_cached(sql)?.execute(rusqlite::params![
            asset.id.as_bytes(),
            self.time,
            FOREVER,
            asset.owner.as_bytes(),
            asset.name,
            month,
            taken,
            asset.created.as_millisecond(),
            asset.added.as_millisecond(),
            asset.favorite,
            asset.visibility,
            asset.trashed.is_some(),
            asset.live_video.as_ref().map(Uuid::as_bytes),
            asset.stack.as_ref().map(Uuid::as_bytes),
            asset.sha1.map(|sha1| sha1.0),
            asset.file.as_ref().map(FilePath::as_bytes),
            asset.sidecar.as_ref().map(FilePath::as_bytes),
            line,
        ])?;
        Ok(())
    }
}

fn bytes(id: &Uuid) -> &[u8; 16] {
    id.as_bytes()
}
