//! A small library written straight into a catalog, its bytes kept in memory: for tests of the view
//! and of the mount.

#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::types::Value;
use serde_json::json;
use shoebox::base::file::{FileEntry, FileKind};
use shoebox::base::library::{
    Album, AlbumAsset, AlbumRole, AlbumUser, Asset, LibraryRecord, Person, PersonAsset, Stack, Tag,
    TagAsset, User, Visibility,
};
use shoebox::base::{Error, FilePath, Hash, Result, SnapshotId};
use shoebox::catalog::{Catalog, CatalogDraft, FOREVER, Generation};
use shoebox::repo::content::SEGMENT;
use shoebox::repo::record::StreamInfo;
use shoebox::view::{ByteSource, Options, View};
use uuid::Uuid;

/// Contents and dumps, by what they are called.
#[derive(Default)]
pub struct Memory {
    contents: Mutex<HashMap<i64, Vec<u8>>>,
    dumps: Mutex<HashMap<u64, Vec<u8>>>,
    pub damaged: Mutex<HashSet<i64>>,
}

impl ByteSource for Memory {
    fn segment(&self, _: &Catalog, id: i64, index: u64) -> Result<Arc<Vec<u8>>> {
        if self.damaged.lock().unwrap().contains(&id) {
            return Err(Error::damaged(format_args!("content {id}")));
        }
        let contents = self.contents.lock().unwrap();
        let bytes = contents.get(&id).ok_or_else(|| Error::not_found("content"))?;
        let from = ((index * SEGMENT) as usize).min(bytes.len());
        let to = (from + SEGMENT as usize).min(bytes.len());
        Ok(Arc::new(bytes[from..to].to_vec()))
    }

    fn chunk_at(&self, _: &Catalog, stream: &StreamInfo, _: u64) -> Result<(u64, Arc<Vec<u8>>)> {
        Ok((0, Arc::new(self.dumps.lock().unwrap()[&stream.size].clone())))
    }
}

/// What one snapshot holds.
#[derive(Default, Clone)]
pub struct State {
    pub records: Vec<LibraryRecord>,
    pub files: Vec<(FileEntry, Vec<u8>)>,
    pub dump: String,
}

pub struct Library {
    pub dir: tempfile::TempDir,
    draft: Option<CatalogDraft>,
    pub bytes: Arc<Memory>,
    open: BTreeMap<(&'static str, String), (String, i64)>,
    rows: i64,
    hashes: HashMap<Hash, i64>,
    number: u16,
    drafts: u32,
}

pub fn uuid(number: u8) -> Uuid {
    Uuid::from_bytes([number; 16])
}

pub fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

pub fn user(number: u8, name: &str) -> User {
    let email = format!("{}@example.com", name.split(' ').next().unwrap().to_lowercase());
    User {
        id: uuid(number),
        name: name.into(),
        email,
        admin: false,
        label: None,
        deleted: None,
        picture: None,
    }
}

/// An asset that was taken and uploaded on the day `2024-05-<number>`.
pub fn asset(number: u8, owner: u8, name: &str) -> Asset {
    let time = format!("2024-05-{:02}T10:00:00Z", number % 28 + 1);
    let created: Timestamp = time.parse().unwrap();
    let record = json!({
        "id": uuid(number), "owner": uuid(owner), "type": "image", "name": name,
        "path": format!("/data/upload/{owner}/{number}-{name}"), "file": format!("upload/{owner}/{number}.bin"),
        "taken": created.to_zoned(TimeZone::UTC).datetime(), "created": created,
        "added": Timestamp::from_second(1_700_000_000 + i64::from(number)).unwrap(),
    });
    serde_json::from_value(record).unwrap()
}

pub fn file(at: &str, bytes: &[u8]) -> (FileEntry, Vec<u8>) {
    let hash = Some(Hash(*blake3::hash(bytes).as_bytes()));
    let (size, mtime) = (bytes.len() as u64, 1_600_000_000_123_456_789);
    let entry = FileEntry {
        path: path(at),
        kind: FileKind::File,
        size,
        mtime,
        mode: 0o640,
        uid: 1000,
        gid: 100,
        hash,
        target: None,
        link: None,
    };
    (entry, bytes.to_vec())
}

pub fn symlink(at: &str, target: &str) -> (FileEntry, Vec<u8>) {
    let (entry, _) = file(at, b"");
    (
        FileEntry {
            kind: FileKind::Symlink,
            hash: None,
            target: Some(target.into()),
            mode: 0o777,
            ..entry
        },
        vec![],
    )
}

impl State {
    pub fn add(&mut self, record: LibraryRecord) -> &mut State {
        self.records.push(record);
        self
    }

    pub fn user(&mut self, user: User) -> &mut State {
        self.add(LibraryRecord::User(user))
    }

    /// An asset with a file of its own, whose bytes say its number.
    pub fn asset(&mut self, asset: Asset) -> &mut State {
        let bytes = format!("bytes of {}", asset.id).into_bytes();
        self.asset_with(asset, &bytes)
    }

    pub fn asset_with(&mut self, asset: Asset, bytes: &[u8]) -> &mut State {
        if let Some(at) = &asset.file {
            self.files.push(file(at.as_str().unwrap(), bytes));
        }
        if let Some(at) = &asset.sidecar {
            self.files.push(file(at.as_str().unwrap(), format!("<xmp {}>", asset.id).as_bytes()));
        }
        self.add(LibraryRecord::Asset(Box::new(asset)))
    }

    pub fn album(&mut self, number: u8, name: &str, users: &[u8], assets: &[u8]) -> &mut State {
        let id = uuid(number);
        let created = Some(Timestamp::from_second(1_600_000_000).unwrap());
        self.add(LibraryRecord::Album(Album {
            id,
            name: name.into(),
            description: None,
            created,
            deleted: None,
        }));
        for user in users {
            self.add(LibraryRecord::AlbumUser(AlbumUser {
                album: id,
                user: uuid(*user),
                role: AlbumRole::Editor,
            }));
        }
        for asset in assets {
            self.add(LibraryRecord::AlbumAsset(AlbumAsset { album: id, asset: uuid(*asset) }));
        }
        self
    }

    pub fn tag(&mut self, number: u8, owner: u8, value: &str, assets: &[u8]) -> &mut State {
        self.add(LibraryRecord::Tag(Tag {
            id: uuid(number),
            owner: uuid(owner),
            value: value.into(),
        }));
        for asset in assets {
            self.add(LibraryRecord::TagAsset(TagAsset { tag: uuid(number), asset: uuid(*asset) }));
        }
        self
    }

    pub fn person(
        &mut self,
        number: u8,
        owner: u8,
        name: &str,
        hidden: bool,
        assets: &[u8],
    ) -> &mut State {
        let (id, owner) = (uuid(number), uuid(owner));
        self.add(LibraryRecord::Person(Person {
            id,
            owner,
            name: name.into(),
            hidden,
            favorite: false,
            born: None,
            group: None,
            locked: false,
        }));
        for asset in assets {
            self.add(LibraryRecord::PersonAsset(PersonAsset { person: id, asset: uuid(*asset) }));
        }
        self
    }

    pub fn stack(&mut self, number: u8, owner: u8, first: u8) -> &mut State {
        self.add(LibraryRecord::Stack(Stack {
            id: uuid(number),
            owner: uuid(owner),
            primary: Some(uuid(first)),
        }))
    }

    /// Changes the asset with `number`.
    pub fn change(&mut self, number: u8, change: impl FnOnce(&mut Asset)) -> &mut State {
        let asset = self.records.iter_mut().find_map(|record| match record {
            LibraryRecord::Asset(asset) if asset.id == uuid(number) => Some(asset),
            _ => None,
        });
        change(asset.unwrap());
        self
    }

    /// Takes the asset with `number` away, with its file.
    pub fn delete(&mut self, number: u8) -> &mut State {
        let at = path(&format!("upload/1/{number}.bin"));
        self.files.retain(|(entry, _)| entry.path != at);
        self.records.retain(
            |record| !matches!(record, LibraryRecord::Asset(asset) if asset.id == uuid(number)),
        );
        self
    }
}

impl Library {
    pub fn new() -> Library {
        let dir = tempfile::tempdir().unwrap();
        let draft = CatalogDraft::create(&dir.path().join("draft")).unwrap();
        let mut library = Library {
            dir,
            draft: Some(draft),
            bytes: Arc::default(),
            open: BTreeMap::new(),
            rows: 0,
            hashes: HashMap::new(),
            number: 0,
            drafts: 0,
        };
        library.run("INSERT INTO meta VALUES ('lineage', 'one'), ('repository', 'repo')", ());
        library.run("INSERT INTO folder VALUES (0, -1, x'')", ());
        library.run("INSERT INTO archive VALUES (1, 'one.tar', 1000000, x'00')", ());
        library
    }

    pub fn catalog(&self) -> PathBuf {
        self.dir.path().join("catalog.sqlite")
    }

    /// Publishes the catalog; what follows goes into the next generation.
    pub fn publish(&mut self) -> &mut Library {
        let generation = self.draft.take().unwrap().publish(&self.catalog()).unwrap();
        self.drafts += 1;
        self.draft = Some(
            CatalogDraft::copy_of(
                &generation,
                &self.dir.path().join(format!("draft{}", self.drafts)),
            )
            .unwrap(),
        );
        self
    }

    pub fn view(&self, options: Options) -> View {
        View::open(
            &self.catalog(),
            self.bytes.clone(),
            Options { time_zone: TimeZone::UTC, ..options },
        )
        .unwrap()
    }

    pub fn generation(&self) -> Generation {
        Generation::open(&self.catalog()).unwrap()
    }

    pub fn run(&mut self, sql: &str, params: impl rusqlite::Params) {
        self.draft.as_mut().unwrap().connection().execute(sql, params).unwrap();
    }

    pub fn content(&mut self, bytes: &[u8]) -> i64 {
        let hash = Hash(*blake3::hash(bytes).as_bytes());
        if let Some(id) = self.hashes.get(&hash) {
            return *id;
        }
        let id = self.hashes.len() as i64 + 1;
        let sha1: [u8; 20] = <sha1::Sha1 as sha1::Digest>::digest(bytes).into();
        self.hashes.insert(hash, id);
        self.bytes.contents.lock().unwrap().insert(id, bytes.to_vec());
        self.run(
            "INSERT INTO content VALUES (?1, ?2, ?3, ?4, 1, 0, ?4, NULL, NULL)",
            (id, hash.0, sha1, bytes.len() as i64),
        );
        id
    }

    pub fn snapshot(&mut self, at: &str, good: bool, state: &State) -> &mut Library {
        let id: SnapshotId = at.parse().unwrap();
        self.number += 1;
        self.insert_snapshot(id, good, &state.dump);
        let mut now = BTreeMap::new();
        for (entry, bytes) in &state.files {
            self.file_row(entry, bytes, &mut now);
        }
        let mut paths: HashMap<FilePath, (Vec<u8>, i64)> = HashMap::new();
        for (entry, bytes) in &state.files {
            paths.insert(entry.path.clone(), (bytes.clone(), 0));
        }
        for record in &state.records {
            record_row(record, &mut now);
            if let LibraryRecord::Asset(asset) = record {
                for (part, at) in [(0, &asset.file), (1, &asset.sidecar)] {
                    let Some((bytes, _)) = at.as_ref().and_then(|at| paths.get(at)) else {
                        continue;
                    };
                    let content = self.content(&bytes.clone());
                    let sha1: [u8; 20] = <sha1::Sha1 as sha1::Digest>::digest(bytes).into();
                    let differs = asset.sha1.is_some_and(|recorded| recorded.0 != sha1);
                    let key = format!("{}{part}", asset.id);
                    let columns = vec![
                        ("asset", blob(asset.id)),
                        ("part", int(part)),
                        ("content", int(content)),
                        ("size", int(bytes.len() as i64)),
                        ("file", int(0)),
                        ("moved", int(0)),
                        ("differs", int((part == 0 && differs) as i64)),
                    ];
                    now.insert(("asset_file", key), columns);
                }
            }
        }
        self.apply(id.seconds(), now);
        self
    }

    fn insert_snapshot(&mut self, id: SnapshotId, good: bool, dump: &str) {
        self.bytes.dumps.lock().unwrap().insert(dump.len() as u64, dump.as_bytes().to_vec());
        let verdict = if good {
            json!("good")
        } else {
            json!({ "bad": { "line": 7, "reason": "cut short" } })
        };
        let stream = json!({ "size": 0, "chunks": [] });
        let record = json!({
            "format": 1, "id": id, "number": self.number, "repository": "repo", "host": "h", "shoebox": "0", "upload_location": "/u",
            "dump": { "kind": "database", "verdict": verdict, "rows": {} },
            "streams": { "dump": { "size": dump.len(), "chunks": [] }, "files": stream, "library": stream },
            "archives": [], "census": { "users": 0, "assets": 0, "albums": 0 },
            "files": { "files": 0, "bytes": 0, "new_contents": 0, "new_bytes": 0 },
            "completeness": { "present": 0, "moved": 0, "missing": 0, "not_covered": 0, "unreadable": 0 },
        });
        let row = (id.seconds(), self.number, good, record.to_string());
        self.run("INSERT INTO snapshot VALUES (?1, ?2, ?3, ?4)", row);
    }

    fn file_row(&mut self, entry: &FileEntry, bytes: &[u8], now: &mut Rows) {
        let mut parent = 0;
        let parts: Vec<Vec<u8>> = entry.path.parts().map(<[u8]>::to_vec).collect();
        for part in &parts[..parts.len() - 1] {
            let folder = self.folder(parent, part);
            let columns = file_columns(parent, part, 1, 0, 0o750, entry, None, Some(folder));
            now.insert(("file", format!("{parent:08}{}", hex::encode(part))), columns);
            parent = folder;
        }
        let name = parts.last().unwrap();
        let content = (entry.kind == FileKind::File).then(|| self.content(bytes));
        let kind = if entry.kind == FileKind::Symlink { 2 } else { 0 };
        let columns = file_columns(
            parent,
            name,
            kind,
            entry.size as i64,
            entry.mode.into(),
            entry,
            content,
            None,
        );
        now.insert(("file", format!("{parent:08}{}", hex::encode(name))), columns);
    }

    fn folder(&mut self, parent: i64, name: &[u8]) -> i64 {
        self.run("INSERT OR IGNORE INTO folder (parent, name) VALUES (?1, ?2)", (parent, name));
        let db = self.draft.as_mut().unwrap().connection();
        db.query_row(
            "SELECT id FROM folder WHERE parent = ?1 AND name = ?2",
            (parent, name),
            |row| row.get(0),
        )
        .unwrap()
    }

    /// Ends the rows that do not hold any more and begins the new ones.
    fn apply(&mut self, at: i64, now: Rows) {
        let gone: Vec<_> = self
            .open
            .iter()
            .filter(|(key, (text, _))| {
                now.get(*key).map(|row| format!("{row:?}")).as_ref() != Some(text)
            })
            .collect();
        let gone: Vec<_> = gone.into_iter().map(|(key, (_, row))| (key.clone(), *row)).collect();
        for (key, row) in gone {
            let column = if key.0 == "asset_file" { "rowless" } else { "row" };
            match column {
                "row" => {
                    self.run(&format!("UPDATE {} SET until = ?1 WHERE row = ?2", key.0), (at, row))
                }
                _ => {
                    let id = Uuid::parse_str(&key.1[..36]).unwrap();
                    let part: i64 = key.1[36..].parse().unwrap();
                    let sql = "UPDATE asset_file SET until = ?1 WHERE asset = ?2 AND part = ?3 AND \
                        until = ?4";
                    self.run(sql, (at, id.as_bytes(), part, FOREVER));
                }
            }
            self.open.remove(&key);
        }
        for (key, mut columns) in now {
            if self.open.contains_key(&key) {
                continue;
            }
            let text = format!("{columns:?}");
            self.rows += 1;
            columns.extend([("since", int(at)), ("until", int(FOREVER))]);
            if key.0 != "asset_file" {
                columns.push(("row", int(self.rows)));
            }
            let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
            let marks: Vec<_> = (1..=columns.len()).map(|index| format!("?{index}")).collect();
            let sql =
                format!("INSERT INTO {} ({}) VALUES ({})", key.0, names.join(","), marks.join(","));
            let values: Vec<Value> = columns.into_iter().map(|(_, value)| value).collect();
            self.run(&sql, rusqlite::params_from_iter(values));
            self.open.insert(key, (text, self.rows));
        }
    }
}

type Rows = BTreeMap<(&'static str, String), Vec<(&'static str, Value)>>;

fn blob(id: Uuid) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}

fn int(value: impl Into<i64>) -> Value {
    Value::Integer(value.into())
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

fn maybe(value: Option<Vec<u8>>) -> Value {
    value.map_or(Value::Null, Value::Blob)
}

#[allow(clippy::too_many_arguments)]
fn file_columns(
    folder: i64,
    name: &[u8],
    kind: i64,
    size: i64,
    mode: i64,
    entry: &FileEntry,
    content: Option<i64>,
    child: Option<i64>,
) -> Vec<(&'static str, Value)> {
    vec![
        ("folder", int(folder)),
        ("name", Value::Blob(name.to_vec())),
        ("kind", int(kind)),
        ("size", int(size)),
        ("mtime", int(if kind == 1 { 1_500_000_000_000_000_001 } else { entry.mtime })),
        ("mode", int(mode)),
        ("uid", int(entry.uid)),
        ("gid", int(entry.gid)),
        ("content", content.map_or(Value::Null, int)),
        ("child", child.map_or(Value::Null, int)),
        ("target", maybe(entry.target.clone().filter(|_| kind == 2))),
    ]
}

fn record_row(record: &LibraryRecord, now: &mut Rows) {
    let line = serde_json::to_string(record).unwrap();
    let (kind, one, two) = record.key();
    let mut columns = match record {
        LibraryRecord::User(r) => {
            vec![("id", blob(r.id)), ("name", text(&r.name)), ("email", text(&r.email))]
        }
        LibraryRecord::Asset(r) => asset_columns(r),
        LibraryRecord::Album(r) => vec![
            ("id", blob(r.id)),
            ("name", text(&r.name)),
            ("created", int(r.created.map_or(0, |t| t.as_millisecond()))),
            ("deleted", int(r.deleted.is_some())),
        ],
        LibraryRecord::AlbumUser(r) => {
            vec![("album", blob(r.album)), ("user", blob(r.user)), ("role", int(r.role as i64))]
        }
        LibraryRecord::AlbumAsset(r) => vec![("album", blob(r.album)), ("asset", blob(r.asset))],
        LibraryRecord::Person(r) => {
            let grp = blob(r.group.unwrap_or(r.id));
            let own = [
                ("id", blob(r.id)),
                ("owner", blob(r.owner)),
                ("name", text(&r.name)),
                ("hidden", int(r.hidden)),
            ];
            own.into_iter().chain([("grp", grp), ("locked", int(r.locked))]).collect()
        }
        LibraryRecord::PersonAsset(r) => vec![("person", blob(r.person)), ("asset", blob(r.asset))],
        LibraryRecord::Stack(r) => vec![
            ("id", blob(r.id)),
            ("owner", blob(r.owner)),
            ("first", maybe(r.primary.map(|id| id.as_bytes().to_vec()))),
        ],
        LibraryRecord::Tag(r) => {
            vec![("id", blob(r.id)), ("owner", blob(r.owner)), ("value", text(&r.value))]
        }
        LibraryRecord::TagAsset(r) => vec![("tag", blob(r.tag)), ("asset", blob(r.asset))],
        LibraryRecord::ExternalLibrary(r) => vec![("id", blob(r.id)), ("owner", blob(r.owner))],
    };
    if !kind.contains('_') || kind == "external_library" {
        columns.push(("line", text(&line)));
    }
    now.insert((kind, format!("{one}{two}")), columns);
}

fn asset_columns(asset: &Asset) -> Vec<(&'static str, Value)> {
    let taken = asset.taken.to_zoned(TimeZone::UTC).unwrap();
    let visibility = match asset.visibility {
        Visibility::Timeline => 0,
        Visibility::Archive => 1,
        Visibility::Hidden => 2,
        Visibility::Locked => 3,
    };
    let id = |id: Option<Uuid>| maybe(id.map(|id| id.as_bytes().to_vec()));
    let at = |path: &Option<FilePath>| maybe(path.as_ref().map(|path| path.as_bytes().to_vec()));
    vec![
        ("id", blob(asset.id)),
        ("owner", blob(asset.owner)),
        ("name", text(&asset.name)),
        ("month", int(i64::from(taken.year()) * 12 + i64::from(taken.month()) - 1)),
        ("taken", int(taken.timestamp().as_millisecond())),
        ("created", int(asset.created.as_millisecond())),
        ("added", int(asset.added.as_millisecond())),
        ("favorite", int(asset.favorite)),
        ("visibility", int(visibility)),
        ("trashed", int(asset.trashed.is_some())),
        ("live", id(asset.live_video)),
        ("stack", id(asset.stack)),
        ("sha1", maybe(asset.sha1.map(|sha1| sha1.0.to_vec()))),
        ("path", at(&asset.file)),
        ("sidecar", at(&asset.sidecar)),
    ]
}
