//! An Immich that is newer than shoebox: people of cluster groups, nights whose people an older
//! reader missed, and what is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;

use crate::backup_library::{ANN, Home, noise};
use assert_cmd::prelude::*;
use jiff::tz::TimeZone;
use serde_json::Value;
use sha1::{Digest, Sha1};
use shoebox::base::SnapshotId;
use shoebox::base::library::LibraryRecord;
use shoebox::base::monitor::SilentMonitor;
use shoebox::repo::{StreamWriter, WriteSession};
use shoebox::task::backup::{Options, backup};
use shoebox::view::{self, NodeKind, ROOT, View};

const BO: &str = "22222222-2222-4222-8222-222222222222";
const OMA: &str = "c1111111-1111-4111-8111-111111111111";
const CAT: &str = "c2222222-2222-4222-8222-222222222222";
const V3_0: &str = "1777667825574-ChangeDurationToInteger";
const V3_3: &str = "1790693088454-AddPersonUserTableSharedBySharedWithConstraint";

/// A library of Ann and Bo: photos 1 to 6 are Ann's, 7 to 9 are Bo's. Oma is on 1, 2 and (of a
/// cluster) 7, the cat on 3.
#[derive(Clone)]
struct Library {
    /// In the form of v3.2 and newer.
    new: bool,
    /// Bo has a row of Oma, "Elise".
    shared: bool,
    migration: &'static str,
    locked: Vec<u64>,
    country: &'static str,
}

impl Library {
    fn old() -> Library {
        Library {
            new: false,
            shared: false,
            migration: V3_0,
            locked: Vec::new(),
            country: "United States of America",
        }
    }

    fn new() -> Library {
        Library { new: true, migration: V3_3, ..Library::old() }
    }

    fn cluster() -> Library {
        Library { shared: true, ..Library::new() }
    }

    fn dump(&self) -> String {
        let mut text = "--\n-- PostgreSQL database dump\n--\n\n".to_owned();
        let mut copy = |table: &str, columns: &str, rows: &[String]| {
            writeln!(
                text,
                "CREATE TABLE public.{table} (x text);\n\nCOPY public.{table} \
                ({columns}) FROM stdin;"
            )
            .unwrap();
            rows.iter().for_each(|row| {
                writeln!(text, "{}", row.replace(' ', "\t").replace('~', " ")).unwrap()
            });
            text.push_str("\\.\n\n");
        };
        let [group, face] = if self.new {
            ["\"personGroupId\"", "\"personGroupId\""]
        } else {
            ["id", "\"personId\""]
        };
        let owner = |number: u64| if number < 7 { ANN } else { BO };
        let photo = |number: u64| {
            let visibility = if self.locked.contains(&number) { "locked" } else { "timeline" };
            let sha1 = hex::encode(Sha1::digest(noise(number, 5000)));
            let owner = owner(number);
            format!(
                r"{} {owner} IMAGE /data/upload/{owner}/{number}.jpg {number}.jpg \\x{sha1} 2025-01-02~03:04:05+00 2025-01-02~03:04:05+00 2025-01-02~03:04:05+00 \N f {visibility} \N \N f",
                asset(number)
            )
        };
        copy(
            "album",
            "id, \"albumName\", description",
            &[format!(r"{} Rome \N", id("a", 1)), format!(r"{} Oslo \N", id("a", 2))],
        );
        copy(
            "album_asset",
            "\"albumId\", \"assetId\"",
            &[format!("{} {}", id("a", 1), asset(1)), format!("{} {}", id("a", 2), asset(2))],
        );
        copy(
            "album_user",
            "\"albumId\", \"userId\", role",
            &[format!("{} {ANN} owner", id("a", 1)), format!("{} {ANN} owner", id("a", 2))],
        );
        copy(
            "asset",
            "id, \"ownerId\", type, \"originalPath\", \"originalFileName\", checksum, \
                \"localDateTime\", \"fileCreatedAt\", \"createdAt\", \"deletedAt\", \
                \"isFavorite\", visibility, \"livePhotoVideoId\", \"libraryId\", \"isExternal\"",
            &(1..=9).map(photo).collect::<Vec<_>>(),
        );
        copy(
            "asset_exif",
            "\"assetId\", country",
            &(1..=6)
                .map(|n| format!("{} {}", asset(n), self.country.replace(' ', "~")))
                .collect::<Vec<_>>(),
        );
        let shown = [(1, OMA), (2, OMA), (3, CAT), (7, OMA)];
        let shown = shown.iter().filter(|(number, _)| self.shared || *number < 7);
        let faces: Vec<String> =
            shown.map(|(number, person)| format!("{} {person}", asset(*number))).collect();
        copy("asset_face", &format!("\"assetId\", {face}"), &faces);
        copy("asset_file", "\"assetId\", type, path", &[]);
        copy("kysely_migrations", "name", &[self.migration.to_owned()]);
        copy("library", "id, \"ownerId\", name, \"importPaths\"", &[]);
        let mut people = vec![
            format!("{OMA} {ANN} Oma 2025-02-01~00:00:00+00"),
            format!("{CAT} {ANN} Cat 2025-02-01~00:00:00+00"),
        ];
        people.extend(self.shared.then(|| format!("{OMA} {BO} Elise 2026-11-01~00:00:00+00")));
        copy("person", &format!("{group}, \"ownerId\", name, \"createdAt\""), &people);
        if self.new {
            let groups =
                [OMA, CAT].map(|group| format!("{group} {} 2025-02-01~00:00:00+00", id("f", 1)));
            copy("person_group", "id, \"clusterGroupId\", \"createdAt\"", &groups);
            let shared: Vec<String> =
                self.shared.then(|| format!("{OMA} {ANN} {BO} read")).into_iter().collect();
            copy(
                "person_user",
                "\"personGroupId\", \"sharedById\", \"sharedWithId\", role",
                &shared,
            );
        }
        copy(
            "tag",
            "id, \"userId\", value",
            &[format!("{} {ANN} Trips", id("b", 1)), format!("{} {ANN} Home", id("b", 2))],
        );
        copy(
            "tag_asset",
            "\"assetId\", \"tagId\"",
            &[format!("{} {}", asset(1), id("b", 1)), format!("{} {}", asset(2), id("b", 2))],
        );
        copy(
            "\"user\"",
            "id, name, email, \"isAdmin\", password",
            &[format!(r"{ANN} Ann ann@example.com t \N"), format!(r"{BO} Bo bo@example.com f \N")],
        );
        text.push_str("--\n-- PostgreSQL database dump complete\n--\n\n");
        text
    }
}

fn id(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:07x}-1111-4111-8111-111111111111")
}

fn asset(number: u64) -> String {
    id("0", number)
}

/// All photos on disk, and of Oma a thumbnail for each owner.
fn home() -> Home {
    let home = Home::new();
    for number in 1..=9 {
        let owner = if number < 7 { ANN } else { BO };
        home.write(format!("upload/{owner}/{number}.jpg"), &noise(number, 5000));
    }
    for owner in [ANN, BO] {
        home.write(format!("thumbs/{owner}/c1/11/{OMA}.jpeg"), &noise(100, 900));
        home.write(format!("thumbs/{owner}/c2/22/{CAT}.jpeg"), &noise(101, 900));
    }
    fs::write(home.upload().join("thumbs/.immich"), "1700000000000").unwrap();
    home
}

fn night(home: &Home, dump: &str) -> shoebox::task::backup::Report {
    home.write_dump(dump);
    backup(&home.repository(), Options { generated: true, ..home.options() }, &SilentMonitor)
        .unwrap()
}

fn shoebox(home: &Home, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("shoebox").unwrap();
    command.env("SHOEBOX_REPOSITORY", home.repo_path()).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn open(home: &Home, options: view::Options) -> View {
    let repository = home.repository();
    View::open(&repository.catalog_path(), Arc::new(repository.contents()), options).unwrap()
}

/// By user and person, the files in the person's folder of the newest snapshot.
fn people(home: &Home, options: view::Options) -> BTreeMap<String, BTreeSet<String>> {
    let view = open(home, view::Options { time_zone: TimeZone::UTC, ..options });
    let top = view.resolve(ROOT, b"latest/users").unwrap();
    let mut people = BTreeMap::new();
    for (user, node) in children(&view, top) {
        let shelf = view.resolve(node.ino, b"people").unwrap();
        for (person, folder) in children(&view, shelf) {
            people.insert(
                format!("{user}/{person}"),
                children(&view, folder).into_iter().map(|(name, _)| name).collect(),
            );
        }
    }
    people
}

fn children(view: &View, folder: view::Node) -> Vec<(String, view::Node)> {
    let mut children = Vec::new();
    view.children(folder.ino, 0, &mut |entry| {
        children.push((String::from_utf8_lossy(entry.name).into_owned(), entry.node));
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    children
}

/// The names of all files below `folder` of the newest snapshot.
fn files(view: &View, folder: view::Node) -> Vec<String> {
    let inside = |(name, node): (String, view::Node)| match node.kind {
        NodeKind::Folder => files(view, node),
        _ => vec![name],
    };
    children(view, folder).into_iter().flat_map(inside).collect()
}

fn thumbnails(home: &Home) -> usize {
    let view = open(home, view::Options { time_zone: TimeZone::UTC, ..Default::default() });
    let folder = view.resolve(ROOT, b"latest/files/thumbs").unwrap();
    files(&view, folder).iter().filter(|name| name.starts_with(OMA)).count()
}

fn expected(all: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    all.iter()
        .map(|(folder, names)| {
            ((*folder).to_owned(), names.iter().map(|name| (*name).to_owned()).collect())
        })
        .collect()
}

/// What a shoebox that did not know v3.2 left of the newest snapshot: a list without people, in a
/// record that says no reader.
fn forget_people(home: &Home) {
    let repository = home.repository();
    let id = *repository.snapshot_ids().unwrap().last().unwrap();
    let record = repository.record(id).unwrap();
    let session = WriteSession::begin(&repository, "test", &SilentMonitor).unwrap();
    let sink = session.copies().unwrap();
    let (contents, db) = (repository.contents(), session.generation().connect().unwrap());
    let list = shoebox::repo::lines(shoebox::repo::StreamReader::new(
        &db,
        &contents,
        &record.streams.library,
    ));
    let lines: Vec<Vec<u8>> = list.map(Result::unwrap).collect();
    let is_person = |line: &Vec<u8>| {
        matches!(
            serde_json::from_slice(line).unwrap(),
            LibraryRecord::Person(_) | LibraryRecord::PersonAsset(_)
        )
    };
    let ((), library) = StreamWriter::run(
        &sink,
        session.generation(),
        &contents,
        shoebox::repo::ReferenceStream::default(),
        |writer| {
            lines
                .iter()
                .filter(|line| !is_person(line))
                .try_for_each(|line| writer.push(&[line, &b"\n"[..]].concat()))
        },
    )
    .unwrap();
    let written = sink.finish().unwrap();
    drop(session);
    let path = home.repo_path().join(format!("snapshots/{id}.json"));
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["streams"]["library"] = serde_json::to_value(&library).unwrap();
    json["archives"]
        .as_array_mut()
        .unwrap()
        .extend(written.archives.iter().map(|one| serde_json::to_value(one).unwrap()));
    json["dump"].as_object_mut().unwrap().remove("reader");
    json["warnings"] = serde_json::json!(["table person has no column id: it is left out"]);
    fs::write(&path, serde_json::to_vec_pretty(&json).unwrap()).unwrap();
    fs::remove_file(home.repository().catalog_path()).unwrap();
    drop(WriteSession::begin(&repository, "test", &SilentMonitor).unwrap());
}

fn snapshots(home: &Home) -> Vec<SnapshotId> {
    home.repository().snapshot_ids().unwrap()
}

fn wait_for_the_next_second() {
    std::thread::sleep(std::time::Duration::from_millis(1100));
}

#[test]
fn the_update_to_groups_changes_nothing_in_the_history() {
    let home = home();
    night(&home, &Library::old().dump());
    let before = people(&home, view::Options::default());
    assert_eq!(before, expected(&[("Ann/Cat", &["3.jpg"]), ("Ann/Oma", &["1.jpg", "2.jpg"])]));
    wait_for_the_next_second();
    let report = night(&home, &Library::new().dump());
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(people(&home, view::Options::default()), before);
    let ids = snapshots(&home);
    let diff = shoebox(&home, &["diff", &ids[0].to_string(), "latest"]);
    assert!(said(&diff).contains("no change"), "{}", said(&diff));
    wait_for_the_next_second();
    night(&home, &Library::cluster().dump());
    let diff = said(&shoebox(&home, &["diff", &ids[1].to_string(), "latest"]));
    assert!(diff.contains("+   person \"Elise\"") && !diff.contains("Oma"), "{diff}");
}

#[test]
fn nobody_sees_anothers_photos_of_a_person_whom_both_know_in_any_mode() {
    let home = home();
    night(&home, &Library::cluster().dump());
    type Shown<'a> = (&'a str, &'a [&'a str]);
    let ann: [Shown; 2] = [("Ann/Cat", &["3.jpg"]), ("Ann/Oma", &["1.jpg", "2.jpg"])];
    let bo: [Shown; 1] = [("Bo/Elise", &["7.jpg"])];
    let all = expected(&[&ann[..], &bo[..]].concat());
    for locked in [false, true] {
        assert_eq!(people(&home, view::Options { locked, ..Default::default() }), all);
        let only = |user: &str| {
            people(
                &home,
                view::Options { locked, user: Some(user.to_owned()), ..Default::default() },
            )
        };
        assert_eq!((only("Ann"), only("Bo")), (expected(&ann), expected(&bo)));
    }
    let find = |name: &str| said(&shoebox(&home, &["find", "--person", name]));
    assert!(
        find("Elise").contains("7.jpg") && !find("Elise").contains("1.jpg"),
        "{}",
        find("Elise")
    );
    assert!(find("Oma").contains("1.jpg") && !find("Oma").contains("7.jpg"), "{}", find("Oma"));
}

#[test]
fn the_thumbnails_of_a_person_on_a_locked_photo_are_hidden_under_every_name() {
    for (locked, shown) in [(vec![], 2), (vec![1], 0), (vec![7], 0), (vec![3], 2)] {
        let home = home();
        night(&home, &Library { locked: locked.clone(), ..Library::cluster() }.dump());
        assert_eq!(thumbnails(&home), shown, "{locked:?}");
    }
}

#[test]
fn a_night_that_an_older_shoebox_read_without_people_gets_them_by_itself_at_the_next_backup() {
    let home = home();
    night(&home, &Library::old().dump());
    let all = people(&home, view::Options::default());
    wait_for_the_next_second();
    night(&home, &Library::new().dump());
    forget_people(&home);
    assert_eq!(people(&home, view::Options::default()), BTreeMap::new());
    assert!(
        said(&shoebox(&home, &["status"]))
            .contains("1 snapshot lacks what an older shoebox missed")
    );
    let written =
        fs::read(home.repo_path().join(format!("snapshots/{}.json", snapshots(&home)[1]))).unwrap();
    wait_for_the_next_second();
    let report = night(&home, &Library::new().dump());
    assert_eq!((report.reread, report.problems.len()), (1, 0), "{:?}", report.problems);
    assert_eq!(night(&home, &Library::new().dump()).reread, 0, "it is done once");
    let ids = snapshots(&home);
    for pair in ids.windows(2) {
        let diff = said(&shoebox(&home, &["diff", &pair[0].to_string(), &pair[1].to_string()]));
        assert!(diff.contains("no change"), "{diff}");
    }
    assert_eq!(
        fs::read(home.repo_path().join(format!("snapshots/{}.json", ids[1]))).unwrap(),
        written,
        "records never change"
    );
    let find =
        said(&shoebox(&home, &["find", "--person", "Oma", "--snapshot", &ids[1].to_string()]));
    assert!(find.contains("1.jpg") && find.contains("2.jpg"), "{find}");
    assert_eq!(people(&home, view::Options::default()), all);
    assert!(!said(&shoebox(&home, &["status"])).contains("older shoebox"));
    let check = shoebox(&home, &["check", "--read-data"]);
    assert!(check.status.success(), "{}", said(&check));
}

#[test]
fn repair_catalog_reads_such_a_night_again_and_a_reading_that_is_lost_is_made_again() {
    let home = home();
    night(&home, &Library::cluster().dump());
    let all = people(&home, view::Options::default());
    forget_people(&home);
    let repair = said(&shoebox(&home, &["repair", "catalog"]));
    assert!(repair.contains("1 snapshot got what an older shoebox missed"), "{repair}");
    assert_eq!(people(&home, view::Options::default()), all);
    let reading = home.repo_path().join(format!("readings/{}.json", snapshots(&home)[0]));
    for harm in [None, Some("{"), Some("{\"snapshot\": 1}")] {
        match harm {
            None => fs::remove_file(&reading).unwrap(),
            Some(text) => fs::write(&reading, text).unwrap(),
        }
        drop(WriteSession::begin(&home.repository(), "test", &SilentMonitor).unwrap());
        assert_eq!(people(&home, view::Options::default()), BTreeMap::new(), "{harm:?}");
        shoebox(&home, &["repair", "catalog"]);
        assert_eq!(people(&home, view::Options::default()), all, "{harm:?}");
    }
}

/// The names of people in what `scripts/recover` makes of the newest snapshot; its exit code and
/// what it says.
fn recovered_people(home: &Home) -> (BTreeSet<String>, i32, String) {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/recover");
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(script).arg(home.repo_path()).arg(folder.path()).output().unwrap();
    let list = fs::read_to_string(folder.path().join("database/library.jsonl")).unwrap();
    let names = list.lines().filter_map(|line| match serde_json::from_str(line).unwrap() {
        LibraryRecord::Person(person) => Some(person.name),
        _ => None,
    });
    (names.collect(), output.status.code().unwrap(), said(&output))
}

#[test]
fn a_recovery_without_shoebox_takes_the_list_that_was_read_again_and_else_the_records_own() {
    let home = home();
    night(&home, &Library::new().dump());
    forget_people(&home);
    assert_eq!(recovered_people(&home).0, BTreeSet::new());
    shoebox(&home, &["repair", "catalog"]);
    let (names, code, said) = recovered_people(&home);
    assert_eq!((names, code), (["Cat", "Oma"].map(str::to_owned).into(), 0), "{said}");

    let reading = home.repo_path().join(format!("readings/{}.json", snapshots(&home)[0]));
    let whole = fs::read_to_string(&reading).unwrap();
    let mut lost: Value = serde_json::from_str(&whole).unwrap();
    lost["library"]["chunks"][0]["hash"] = "0".repeat(64).into();
    let mut older: Value = serde_json::from_str(&whole).unwrap();
    older["reader"] = 1.into();
    let mut anothers: Value = serde_json::from_str(&whole).unwrap();
    anothers["snapshot"] = "2020-01-01T000000Z".into();
    for (text, code) in [
        (lost.to_string(), 3),
        ("{".to_owned(), 3),
        (older.to_string(), 0),
        (anothers.to_string(), 0),
    ] {
        fs::write(&reading, &text).unwrap();
        let (names, found, said) = recovered_people(&home);
        assert_eq!((names, found), (BTreeSet::new(), code), "{text}: {said}");
        assert_eq!(said.contains("readings/"), code == 3, "{said}");
    }
}

#[test]
fn what_was_read_again_stays_through_a_prune_and_goes_with_its_snapshot() {
    let home = home();
    night(&home, &Library::new().dump());
    forget_people(&home);
    wait_for_the_next_second();
    night(&home, &Library::new().dump());
    let all = people(&home, view::Options::default());
    let first = snapshots(&home)[0].to_string();
    shoebox(&home, &["prune", "--grace", "0s", "--apply"]);
    shoebox(&home, &["prune", "--grace", "0s", "--apply"]);
    fs::remove_file(home.repository().catalog_path()).unwrap();
    assert!(shoebox(&home, &["repair", "catalog"]).status.success());
    let find = said(&shoebox(&home, &["find", "--person", "Oma", "--snapshot", &first]));
    assert!(find.contains("1.jpg"), "{find}");
    shoebox(&home, &["forget", "--keep-last", "1", "--apply"]);
    assert_eq!(snapshots(&home).len(), 1);
    assert!(!home.repo_path().join(format!("readings/{first}.json")).exists());
    assert_eq!(people(&home, view::Options::default()), all);
}

#[test]
fn an_immich_that_is_newer_is_in_the_message_of_a_night_that_went_well() {
    let (home, receiver) = (home(), crate::support::receiver::Receiver::start());
    home.write_dump(&Library { migration: "1899999999999-Future", ..Library::new() }.dump());
    let settings = home.dir.path().join("shoebox.toml");
    let text = format!(
        "repository = {:?}\n[backup]\nupload-location = {:?}\ndump = {:?}\n[run]\ndrill-every = \
            \"never\"\n[notify]\non = [\"success\"]\nwebhook-url = {:?}\nntfy-url = {:?}\n",
        home.repo_path(),
        home.upload(),
        home.dump_path(),
        receiver.url("hook"),
        receiver.url("topic"),
    );
    fs::write(&settings, text).unwrap();
    fs::set_permissions(&settings, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let run = shoebox(&home, &["--config", settings.to_str().unwrap(), "run", "--once"]);
    assert!(run.status.success(), "{}", said(&run));
    for path in ["/hook", "/"] {
        let told = receiver.to(path).remove(0).json()["message"].to_string();
        assert!(
            told.contains("this Immich is newer than this shoebox (its newest migration is 18999"),
            "{path}: {told}"
        );
    }
}

/// What the README of a mount says.
fn readme(home: &Home) -> String {
    let view = open(home, view::Options { time_zone: TimeZone::UTC, ..Default::default() });
    let node = view.resolve(ROOT, b"README.txt").unwrap();
    let text = view.read(node.ino, 0, 1 << 20, <[u8]>::to_vec).unwrap();
    assert_eq!(text.len() as u64, node.size);
    String::from_utf8(text).unwrap()
}

/// What a night says of a dump that is not as known: exit code, and all that was printed by backup
/// and status.
fn told(home: &Home, dump: &str) -> (i32, String, String) {
    home.write_dump(dump);
    let (upload, file) = (home.upload(), home.dump_path());
    let backup = shoebox(
        home,
        &[
            "backup",
            "--upload-location",
            upload.to_str().unwrap(),
            "--dump",
            file.to_str().unwrap(),
        ],
    );
    (backup.status.code().unwrap(), said(&backup), said(&shoebox(home, &["status"])))
}

#[test]
fn an_immich_that_is_newer_than_known_is_said_to_be_so_and_its_night_is_good() {
    let home = home();
    let (code, backup, status) = told(&home, &Library::new().dump());
    assert_eq!((code, backup.contains("newer")), (0, false), "{backup}");
    assert!(!status.contains("newer"), "{status}");
    wait_for_the_next_second();
    let dump = Library { migration: "1899999999999-Future", ..Library::new() }.dump();
    let (code, backup, status) = told(&home, &dump);
    let words = "this Immich is newer than this shoebox (its newest migration is \
        1899999999999-Future): photos and database are safe; some views may lack things: update \
        shoebox";
    assert_eq!(code, 0, "{backup}");
    assert!(backup.contains(words), "{backup}");
    assert!(status.contains(words), "{status}");
    assert!(said(&shoebox(&home, &["snapshots"])).contains(words));
    let sentence = format!("\nThis{}.\n", &words[4..]);
    assert!(readme(&home).ends_with(&sentence), "{}", readme(&home));
    wait_for_the_next_second();
    night(&home, &Library::new().dump());
    assert!(!readme(&home).contains("newer"), "the newest snapshot counts");
}

#[test]
fn a_table_or_column_that_is_gone_is_a_problem_and_the_photos_are_safe() {
    let whole = Library { migration: "1899999999999-Future", ..Library::new() }.dump();
    for (from, to, words) in [
        ("COPY public.person ", "COPY public.people ", "no rows for table person"),
        (
            "\"personGroupId\") FROM",
            "\"beingId\") FROM",
            "table asset_face has no column personGroupId",
        ),
        ("COPY public.asset_face ", "COPY public.face ", "no rows for table asset_face"),
        ("COPY public.album ", "COPY public.collection ", "no rows for table album"),
        ("COPY public.asset_exif ", "COPY public.asset_metadata ", "no rows for table asset_exif"),
        ("\"userId\", value)", "\"userId\", path)", "table tag has no column value"),
        ("\ttimeline\t", "\tvault\t", "a visibility that this shoebox does not know"),
    ] {
        let home = home();
        night(&home, &Library::new().dump());
        wait_for_the_next_second();
        let dump = whole.replace(from, to);
        assert_ne!(dump, whole, "{from}");
        let (code, backup, status) = told(&home, &dump);
        assert_eq!(code, 3, "{words}: {backup}");
        assert!(backup.contains("problem") && backup.contains(words), "{words}: {backup}");
        assert!(status.contains("RED") && status.contains(words), "{words}: {status}");
        let record = home.repository().record(snapshots(&home)[1]).unwrap();
        assert_eq!((record.is_good(), record.completeness.present), (true, 9), "{words}");
    }
}

#[test]
fn a_view_that_goes_from_something_to_nothing_overnight_is_a_problem() {
    let without = |dump: &str, table: &str| {
        let begin = dump.find(&format!("COPY public.{table} ")).unwrap();
        let rows = begin + dump[begin..].find('\n').unwrap() + 1;
        let end = rows + dump[rows..].find("\\.\n").unwrap();
        [&dump[..rows], &dump[end..]].concat()
    };
    let whole = Library::new().dump();
    for (table, kind, was) in [
        ("person", "people: none", "had 2"),
        ("asset_face", "photos of people: none", "had 3"),
        ("tag", "tags: none", "had 2"),
        ("album_asset", "photos in albums: none", "had 2"),
    ] {
        let home = home();
        night(&home, &whole);
        wait_for_the_next_second();
        let report = night(&home, &without(&whole, table));
        let told: Vec<&str> =
            report.problems.iter().map(|problem| problem.message.as_str()).collect();
        assert!(
            told.iter().any(|told| told.starts_with(kind) && told.contains(was)),
            "{table}: {told:?}"
        );
        wait_for_the_next_second();
        let after = night(&home, &without(&whole, table)).problems;
        assert!(after.is_empty(), "it is told once: {after:?}");
    }
}

#[test]
fn a_change_that_many_photos_have_in_common_is_one_line_and_whole_in_json() {
    let home = home();
    night(&home, &Library::new().dump());
    wait_for_the_next_second();
    night(&home, &Library { country: "United States", ..Library::new() }.dump());
    let first = snapshots(&home)[0].to_string();
    let line = "country: United States of America → United States";
    let diff = said(&shoebox(&home, &["diff", &first, "latest"]));
    assert!(diff.contains(&format!("D   {line}, 6 photos")) && !diff.contains(".jpg"), "{diff}");
    let each = said(&shoebox(&home, &["-v", "diff", &first, "latest"]));
    assert_eq!(each.matches(".jpg").count(), 6, "{each}");
    let json = shoebox(&home, &["diff", &first, "latest", "--json"]);
    let rows: Vec<Value> =
        said(&json).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let assets: Vec<&Value> = rows.iter().filter(|row| row["kind"] == "asset").collect();
    assert_eq!(assets.len(), 6);
    assert_eq!(assets[0]["changes"][0]["values"]["country"]["to"], "United States");
    let log = said(&shoebox(&home, &["log", "1.jpg"]));
    assert!(log.contains(&format!("changed: {line}")), "{log}");
}
