//! Real dumps say what the server's API said.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use crate::immich::{gzip, read_with, records};
use jiff::Timestamp;
use serde_json::{Value, json};
use shoebox::base::ErrorKind;
use shoebox::base::library::{AlbumRole, Asset, AssetType, LibraryRecord, Visibility};
use shoebox::immich::{DumpKind, DumpVerdict, ReadDump};

/// The folder of real data; says so and gives nothing where it is not there.
fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("SHOEBOX_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from)
        .join("immich");
    if !folder.is_dir() {
        eprintln!("skipped: there is no {}", folder.display());
        return None;
    }
    Some(folder)
}

fn file(state: &str, name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(shared()?.join(state).join(name)).unwrap())
}

fn truth(state: &str) -> Value {
    serde_json::from_slice(&file(state, "truth.json").unwrap()).unwrap()
}

/// Immich's own dumps in the state's tar, the newest last.
fn own_dumps(state: &str) -> Vec<(String, Vec<u8>)> {
    let mut tar = tar::Archive::new(
        std::fs::File::open(shared().unwrap().join(state).join("upload-location.tar")).unwrap(),
    );
    let mut dumps = Vec::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".sql.gz") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            dumps.push((name, bytes));
        }
    }
    dumps.sort();
    dumps
}

fn good(bytes: &[u8], database: Option<&str>) -> ReadDump {
    let (dump, _) = read_with(bytes, database);
    let dump = dump.unwrap();
    assert_eq!(dump.verdict, DumpVerdict::Good);
    dump
}

/// What the records say, in the words of truth.json.
#[derive(Default)]
struct Library {
    users: BTreeMap<String, Value>,
    assets: BTreeMap<String, Box<Asset>>,
    albums: BTreeMap<String, String>,
    members: BTreeMap<String, BTreeSet<String>>,
    roles: BTreeMap<String, BTreeMap<String, AlbumRole>>,
    people: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    shows: BTreeMap<String, BTreeSet<String>>,
    carries: BTreeMap<String, BTreeSet<String>>,
}

impl Library {
    fn of(dump: &ReadDump) -> Library {
        let mut it = Library::default();
        let (mut shows, mut carries) = (Vec::new(), Vec::new());
        for record in records(dump) {
            match record {
                LibraryRecord::User(user) => {
                    let value = json!({
                        "id": user.id, "name": user.name, "email": user.email, "isAdmin": user.admin,
                        "storageLabel": user.label, "picture": user.picture, "deletedAt": user.deleted,
                    });
                    it.users.insert(user.id.to_string(), value);
                }
                LibraryRecord::Asset(asset) => drop(it.assets.insert(asset.id.to_string(), asset)),
                LibraryRecord::Album(album) => {
                    drop(it.albums.insert(album.id.to_string(), album.name))
                }
                LibraryRecord::AlbumAsset(row) => {
                    it.members
                        .entry(row.album.to_string())
                        .or_default()
                        .insert(row.asset.to_string());
                }
                LibraryRecord::AlbumUser(row) => {
                    it.roles
                        .entry(row.album.to_string())
                        .or_default()
                        .insert(row.user.to_string(), row.role);
                }
                LibraryRecord::Person(person) => {
                    drop(it.people.insert(person.id.to_string(), person.name))
                }
                LibraryRecord::Tag(tag) => drop(it.tags.insert(tag.id.to_string(), tag.value)),
                LibraryRecord::PersonAsset(row) => {
                    shows.push((row.asset.to_string(), row.person.to_string()))
                }
                LibraryRecord::TagAsset(row) => {
                    carries.push((row.asset.to_string(), row.tag.to_string()))
                }
                LibraryRecord::Stack(_) | LibraryRecord::ExternalLibrary(_) => {}
            }
        }
        for (asset, person) in shows {
            it.shows.entry(asset).or_default().insert(it.people[&person].clone());
        }
        for (asset, tag) in carries {
            it.carries.entry(asset).or_default().insert(it.tags[&tag].clone());
        }
        it
    }

    fn agrees(&self, truth: &Value) {
        self.users_agree(truth);
        self.albums_agree(truth);
        let assets = truth["assets"].as_array().unwrap();
        assert_eq!(self.assets.len(), assets.len());
        for asset in assets {
            self.asset_agrees(asset);
        }
    }

    fn users_agree(&self, truth: &Value) {
        let users = truth["users"].as_array().unwrap();
        assert_eq!(self.users.len(), users.len());
        for user in users {
            let ours = &self.users[text(&user["id"])];
            for key in ["name", "email", "isAdmin", "storageLabel", "deletedAt"] {
                assert_eq!(ours[key], user[key], "{key}");
            }
            match text(&user["profileImagePath"]).split_once("profile/") {
                Some((_, path)) => assert_eq!(ours["picture"], format!("profile/{path}")),
                None => assert_eq!(ours["picture"], Value::Null),
            }
        }
    }

    fn albums_agree(&self, truth: &Value) {
        let albums = truth["albums"].as_array().unwrap();
        assert_eq!(self.albums.len(), albums.len());
        for album in albums {
            let id = text(&album["id"]);
            assert_eq!(self.albums[id], text(&album["albumName"]));
            // The API leaves out what is in the trash, and what neither timeline nor archive shows.
            let seen = self.members.get(id).into_iter().flatten().filter(|id| {
                let asset = &self.assets[*id];
                asset.trashed.is_none()
                    && matches!(asset.visibility, Visibility::Timeline | Visibility::Archive)
            });
            assert_eq!(
                seen.cloned().collect::<BTreeSet<_>>(),
                texts(&album["assetIds"]),
                "album {id}"
            );
            let mut roles = BTreeMap::from([(text(&album["owner"]).to_owned(), json!("owner"))]);
            for user in album["users"].as_array().unwrap() {
                roles.insert(text(&user["email"]).to_owned(), user["role"].clone());
            }
            let ours = self.roles[id]
                .iter()
                .map(|(user, role)| (text(&self.users[user]["email"]).to_owned(), json!(role)));
            assert_eq!(ours.collect::<BTreeMap<_, _>>(), roles, "album {id}");
        }
    }

    fn asset_agrees(&self, truth: &Value) {
        let id = text(&truth["id"]);
        let asset = &self.assets[id];
        let is = |ours: Value, theirs: &Value, what: &str| {
            assert_eq!(&ours, theirs, "{what} of {}", asset.name)
        };
        is(self.users[&asset.owner.to_string()]["email"].clone(), &truth["ownerEmail"], "owner");
        is(json!(asset.name), &truth["originalFileName"], "name");
        is(json!(asset.path), &truth["originalPath"], "path");
        is(json!(kind(asset.kind)), &truth["type"], "type");
        is(json!(asset.favorite), &truth["isFavorite"], "favourite");
        is(json!(asset.trashed.is_some()), &truth["isTrashed"], "trash");
        is(json!(asset.live_video), &truth["livePhotoVideoId"], "live video");
        is(json!(asset.library), &truth["libraryId"], "library");
        is(json!(asset.stack), &truth["db"]["stackId"], "stack");
        match truth["visibility"].as_str() {
            Some(_) => is(json!(asset.visibility), &truth["visibility"], "visibility"),
            None => {
                is(json!(asset.visibility == Visibility::Archive), &truth["isArchived"], "archive")
            }
        }
        assert_eq!(
            asset.created,
            text(&truth["fileCreatedAt"]).parse::<Timestamp>().unwrap(),
            "{}",
            asset.name
        );
        assert_eq!(
            asset.taken,
            text(&truth["localDateTime"]).trim_end_matches('Z').parse().unwrap(),
            "{}",
            asset.name
        );
        if let Some(trashed) = truth["db"]["deletedAt"].as_str() {
            assert_eq!(asset.trashed, Some(trashed.parse().unwrap()));
        }
        let external = truth["external"] == true;
        let sha1 = asset.sha1.map(|sha1| sha1.to_string());
        assert_eq!(
            sha1.as_deref(),
            (!external).then(|| text(&truth["checksumHex"])),
            "{}",
            asset.name
        );
        let file = if external {
            format!("external{}", asset.path)
        } else {
            text(&truth["pathUnderUploadLocation"]).to_owned()
        };
        assert_eq!(asset.file.as_ref().unwrap().as_str(), Some(file.as_str()));
        let sidecar = truth["db"]["sidecarPath"].as_str();
        let ours = asset.sidecar.as_ref().and_then(|path| path.as_str());
        assert_eq!(ours.is_some(), sidecar.is_some(), "{}", asset.name);
        assert!(sidecar.unwrap_or_default().ends_with(ours.unwrap_or_default()), "{}", asset.name);
        let none = BTreeSet::new();
        assert_eq!(self.carries.get(id).unwrap_or(&none), &texts(&truth["tags"]), "{}", asset.name);
        assert_eq!(self.shows.get(id).unwrap_or(&none), &texts(&truth["people"]), "{}", asset.name);
        self.exif_agrees(asset, &truth["exif"]);
    }

    fn exif_agrees(&self, asset: &Asset, exif: &Value) {
        let is = |ours: Value, key: &str| assert_eq!(ours, exif[key], "{key} of {}", asset.name);
        is(json!(asset.make), "make");
        is(json!(asset.model), "model");
        is(json!(asset.time_zone), "timeZone");
        is(json!(asset.latitude), "latitude");
        is(json!(asset.longitude), "longitude");
        is(json!(asset.city), "city");
        is(json!(asset.state), "state");
        is(json!(asset.country), "country");
        is(json!(asset.rating), "rating");
        is(json!(asset.size), "fileSizeInByte");
        is(json!(asset.description.clone().unwrap_or_default()), "description");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|value| text(value).to_owned()).collect()
}

fn kind(kind: AssetType) -> &'static str {
    match kind {
        AssetType::Image => "IMAGE",
        AssetType::Video => "VIDEO",
        AssetType::Audio => "AUDIO",
        AssetType::Other => "OTHER",
    }
}

#[test]
fn a_dump_of_one_database_says_what_the_api_said() {
    for state in ["state-1", "state-2", "old-1"] {
        let Some(bytes) = file(state, "pg_dump-immich.sql") else { return };
        let truth = truth(state);
        for bytes in [bytes.clone(), gzip(&bytes)] {
            let dump = good(&bytes, None);
            Library::of(&dump).agrees(&truth);
            assert_eq!((dump.kind, dump.database.as_deref()), (DumpKind::Database, None));
            assert_eq!(dump.immich.as_deref(), truth["server"].as_str());
            assert_eq!(dump.media_location.as_deref(), truth["mediaLocation"].as_str());
            assert_eq!(dump.postgres.as_deref(), Some("15.20"));
            assert_eq!(json!(dump.census.assets), truth["counts"]["assets"]);
            assert_eq!(json!(dump.census.users), truth["counts"]["users"]);
            assert_eq!((dump.warnings, dump.lacks), (Vec::new(), Vec::new()), "{state}");
        }
    }
}

#[test]
fn the_form_of_v3_2_says_the_same_of_everyone_and_keeps_owners_of_one_group_apart() {
    let Some(bytes) = file("state-2-as-3.2", "pg_dump-immich.sql.gz") else { return };
    let plain = Library::of(&good(&bytes, None));
    plain.agrees(&truth("state-2"));
    let dump = good(&file("state-2-as-3.2", "pg_dump-immich-cluster.sql.gz").unwrap(), None);
    assert_eq!((&dump.warnings, &dump.lacks), (&Vec::new(), &Vec::new()));
    let mut cluster = Library::of(&dump);
    let elise = cluster.people.iter().find(|(_, name)| *name == "Oma Elise").unwrap().0.clone();
    cluster.people.remove(&elise);
    assert_eq!(cluster.people, plain.people, "nobody's id is another");
    let of_elise = |shown: &BTreeSet<String>| shown.contains("Oma Elise");
    let photos: Vec<String> = cluster
        .shows
        .iter()
        .filter(|(_, shown)| of_elise(shown))
        .map(|(id, _)| id.clone())
        .collect();
    assert_eq!(
        photos.iter().map(|id| cluster.assets[id].name.as_str()).collect::<Vec<_>>(),
        ["DSC_0100.JPG"]
    );
    assert_eq!(
        cluster.shows.remove(&photos[0]),
        Some(BTreeSet::from(["Oma Elise".to_owned()])),
        "by no other name"
    );
    assert_eq!(cluster.shows, plain.shows);
}

#[test]
fn a_dump_of_the_cluster_says_what_the_api_said() {
    for state in ["state-1", "state-2"] {
        let Some(bytes) = file(state, "pg_dumpall.sql") else { return };
        let dump = good(&bytes, None);
        Library::of(&dump).agrees(&truth(state));
        assert_eq!((dump.kind, dump.database.as_deref()), (DumpKind::Cluster, Some("immich")));
        assert!(dump.extensions.contains(&"earthdistance".to_owned()), "{:?}", dump.extensions);
    }
}

#[test]
fn a_cluster_with_two_libraries_gives_either_by_name() {
    let Some(bytes) = file("old-1", "pg_dumpall.sql") else { return };
    let error = read_with(&bytes, None).0.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.to_string(), "the dump has 2 databases of Immich: `immich`, `immich132`");

    let old = good(&bytes, Some("immich132"));
    Library::of(&old).agrees(&truth("old-1"));
    assert_eq!(old.immich.as_deref(), Some("1.132.3"));
    assert_eq!(old.schema.as_deref(), Some("1744910873969-InitialMigration"));

    let new = good(&bytes, Some("immich"));
    assert_eq!(new.immich.as_deref(), Some("3.1.0"));
    assert_eq!(
        (new.rows["user"], new.census.users),
        (5, 5),
        "a later state than those with a truth"
    );
    assert_eq!(Library::of(&new).assets.len() as u64, new.rows["asset"]);
}

#[test]
fn immichs_own_dumps_are_whole_and_hold_the_library() {
    if shared().is_none() {
        return;
    }
    for state in ["state-1", "state-2", "old-1"] {
        let (name, bytes) = own_dumps(state).pop().unwrap();
        let database = (state == "old-1").then_some("immich132");
        let dump = good(&bytes, database);
        let library = Library::of(&dump);
        let truth = truth(state);
        assert_eq!(dump.immich.as_deref(), truth["server"].as_str(), "{name}");
        library.agrees(&truth);
    }
}

#[test]
fn a_real_dump_cut_short_is_bad() {
    let Some(bytes) = file("state-1", "pg_dumpall.sql") else { return };
    let zipped = gzip(&bytes);
    for step in 1..60 {
        assert!(!read_with(&bytes[..bytes.len() * step / 60], None).0.unwrap().is_good());
        assert!(!read_with(&zipped[..zipped.len() * step / 60], None).0.unwrap().is_good());
    }
}
