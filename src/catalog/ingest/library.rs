//! Changes of the library list into the catalog.

use jiff::tz::TimeZone;
use rusqlite::{Connection, ToSql};
use uuid::Uuid;

use super::ListChange;
use crate::base::library::{Album, Asset, LibraryRecord, Person};
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
        let tie = |table, (first, one), (second, other)| {
            self.insert(table, &[(first, bytes(one)), (second, bytes(other))])
        };
        match record {
            LibraryRecord::User(r) => {
                let columns: [ColumnValue<'_>; 4] =
                    [("id", bytes(&r.id)), ("name", &r.name), ("email", &r.email), ("line", &line)];
                self.insert("user", &columns)
            }
            LibraryRecord::Asset(r) => self.open_asset(r, &line),
            LibraryRecord::Album(r) => self.open_album(r, &line),
            LibraryRecord::AlbumUser(r) => {
                let columns: [ColumnValue<'_>; 3] =
                    [("album", bytes(&r.album)), ("user", bytes(&r.user)), ("role", &r.role)];
                self.insert("album_user", &columns)
            }
            LibraryRecord::AlbumAsset(r) => {
                tie("album_asset", ("album", &r.album), ("asset", &r.asset))
            }
            LibraryRecord::Person(r) => self.open_person(r, &line),
            LibraryRecord::PersonAsset(r) => {
                tie("person_asset", ("person", &r.person), ("asset", &r.asset))
            }
            LibraryRecord::Stack(r) => {
                let first = r.primary.as_ref().map(Uuid::as_bytes);
                self.insert_own("stack", (&r.id, &r.owner), &line, Some(("first", &first)))
            }
            LibraryRecord::Tag(r) => {
                self.insert_own("tag", (&r.id, &r.owner), &line, Some(("value", &r.value)))
            }
            LibraryRecord::TagAsset(r) => tie("tag_asset", ("tag", &r.tag), ("asset", &r.asset)),
            LibraryRecord::ExternalLibrary(r) => {
                self.insert_own("external_library", (&r.id, &r.owner), &line, None)
            }
        }?;
        self.note(record)
    }

    /// Adds a row that holds from now on.
    fn insert(&self, table: &str, columns: &[ColumnValue<'_>]) -> Result<()> {
        let names: String = columns.iter().flat_map(|(name, _)| [", ", name]).collect();
        let marks = ", ?".repeat(columns.len());
        let sql = format!("INSERT INTO {table} (since, until{names}) VALUES (?, ?{marks})");
        let range: [&dyn ToSql; 2] = [&self.time, &FOREVER];
        let values = columns.iter().map(|(_, value)| *value);
        let values: Vec<&dyn ToSql> = range.into_iter().chain(values).collect();
        self.db.prepare_cached(&sql)?.execute(&*values)?;
        Ok(())
    }

    /// Adds what belongs to one user.
    fn insert_own(
        &self,
        table: &str,
        (id, owner): (&Uuid, &Uuid),
        line: &str,
        more: Option<ColumnValue<'_>>,
    ) -> Result<()> {
        let own: [ColumnValue<'_>; 3] =
            [("id", bytes(id)), ("owner", bytes(owner)), ("line", &line)];
        self.insert(table, &own.into_iter().chain(more).collect::<Vec<_>>())
    }

    fn open_album(&self, album: &Album, line: &str) -> Result<()> {
        self.insert(
            "album",
            &[
                ("id", bytes(&album.id)),
                ("name", &album.name),
                ("created", &album.created.map_or(0, |time| time.as_millisecond())),
                ("deleted", &album.deleted.is_some()),
                ("line", &line),
            ],
        )
    }

    fn open_person(&self, person: &Person, line: &str) -> Result<()> {
        self.insert(
            "person",
            &[
                ("id", bytes(&person.id)),
                ("owner", bytes(&person.owner)),
                ("name", &person.name),
                ("hidden", &person.hidden),
                ("grp", bytes(person.group.as_ref().unwrap_or(&person.id))),
                ("locked", &person.locked),
                ("line", &line),
            ],
        )
    }

    fn open_asset(&self, asset: &Asset, line: &str) -> Result<()> {
        let taken =
            asset.taken.to_zoned(TimeZone::UTC).map_or(0, |time| time.timestamp().as_millisecond());
        let month = i64::from(asset.taken.year()) * 12 + i64::from(asset.taken.month()) - 1;
        self.insert(
            "asset",
            &[
                ("id", bytes(&asset.id)),
                ("owner", bytes(&asset.owner)),
                ("name", &asset.name),
                ("month", &month),
                ("taken", &taken),
                ("created", &asset.created.as_millisecond()),
                ("added", &asset.added.as_millisecond()),
                ("favorite", &asset.favorite),
                ("visibility", &asset.visibility),
                ("trashed", &asset.trashed.is_some()),
                ("live", &asset.live_video.as_ref().map(Uuid::as_bytes)),
                ("stack", &asset.stack.as_ref().map(Uuid::as_bytes)),
                ("sha1", &asset.sha1.map(|sha1| sha1.0)),
                ("path", &asset.file.as_ref().map(FilePath::as_bytes)),
                ("sidecar", &asset.sidecar.as_ref().map(FilePath::as_bytes)),
                ("line", &line),
            ],
        )
    }
}

/// A column and its value.
type ColumnValue<'a> = (&'a str, &'a dyn ToSql);

fn bytes(id: &Uuid) -> &[u8; 16] {
    id.as_bytes()
}
