//! Finding photos, comparing snapshots, and the history of one photo.

use std::path::Path;
use std::process::Command;

use crate::two_nights::{Nights, nights, options};
use serde_json::{Value, json};
use shoebox::base::monitor::SilentMonitor;
use shoebox::repo::Repository;
use shoebox::task::backup;
use shoebox::task::diff::{self, FieldChange};
use shoebox::task::find::{AssetFinder, FindHit, FindQuery, FindSpan};
use shoebox::task::log;

fn find(nights: &Nights, query: FindQuery, span: &FindSpan) -> Vec<FindHit> {
    AssetFinder::open(&nights.repository(), query.locked).unwrap().find(&query, span).unwrap()
}

fn latest() -> FindSpan {
    FindSpan::Snapshot("latest".into())
}

fn names(hits: &[FindHit]) -> Vec<&str> {
    let mut names: Vec<_> = hits.iter().map(FindHit::name).collect();
    names.sort_unstable();
    names
}

/// What `found` says, in the words of truth.json.
fn as_truth(found: &Value) -> Value {
    let time = |field: &str| found[field].as_str().unwrap().trim_end_matches('Z').to_owned();
    let ids: Vec<_> =
        found["albums"].as_array().unwrap().iter().map(|album| album["id"].clone()).collect();
    let file = |field: &str| {
        found[field].as_str().map(|path| path.trim_start_matches("files/").to_owned())
    };
    json!({
        "id": found["id"], "owner": found["owner"]["name"], "name": found["name"], "type": found["type"], "taken": time("taken"), "created": time("created"),
        "favorite": found["favorite"], "trashed": found["trashed"], "visibility": found["visibility"], "live": found["live_video"],
        "tags": found["tags"], "people": found["people"], "albums": sorted(ids), "size": found["size"], "sha1": found["sha1"],
        "file": file("file"), "sidecar": file("sidecar"), "city": found["city"],
    })
}

fn sorted(mut list: Vec<Value>) -> Vec<Value> {
    list.sort_by_key(ToString::to_string);
    list
}

fn truth(asset: &Value) -> Value {
    let time = |field: &str| asset[field].as_str().unwrap().trim_end_matches(".000Z").to_owned();
    let people: Vec<_> =
        asset["people"].as_array().unwrap().iter().filter(|name| *name != "").cloned().collect();
    let empty = |value: &Value| if value == "" { Value::Null } else { value.clone() };
    json!({
        "id": asset["id"], "owner": asset["ownerName"], "name": asset["originalFileName"],
        "type": asset["type"].as_str().unwrap().to_lowercase(), "taken": time("localDateTime"), "created": time("fileCreatedAt"),
        "favorite": asset["isFavorite"], "trashed": asset["isTrashed"], "visibility": asset["visibility"], "live": asset["livePhotoVideoId"],
        "tags": sorted(asset["tags"].as_array().unwrap().clone()), "people": sorted(people),
        "albums": sorted(asset["albums"].as_array().unwrap().clone()), "size": asset["fileSize"], "sha1": asset["checksumHex"],
        "file": asset["pathUnderUploadLocation"], "sidecar": asset["sidecarUnderUploadLocation"], "city": empty(&asset["exif"]["city"]),
    })
}

#[test]
fn find_says_what_is_true_of_each_asset_in_each_night() {
    let nights = nights();
    for night in [0, 1] {
        let said =
            nights.shoebox(&["find", "*", "--json", "--locked", "--snapshot", &nights.ids[night]]);
        assert_eq!(said.code, 0, "{}", said.err);
        let found = said.json();
        let expected = nights.truth[night]["assets"].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for asset in expected {
            let one = found
                .iter()
                .find(|found| found["id"] == asset["id"])
                .unwrap_or_else(|| panic!("{asset}"));
            assert_eq!(one["present"], true, "{one}");
            let (mut one, mut asset) = (as_truth(one), truth(asset));
            if asset["file"].is_null() {
                // Of external files Immich knows no hash, and truth.json no place.
                for field in ["file", "sha1"] {
                    assert!(one[field].is_string());
                    (one[field], asset[field]) = (Value::Null, Value::Null);
                }
            }
            assert_eq!(one, asset);
        }
    }
}

#[test]
fn each_path_that_find_prints_is_in_the_tree_and_holds_the_asset() {
    let nights = nights();
    let finder = AssetFinder::open(&nights.repository(), true).unwrap();
    let hits = finder.find(&FindQuery { locked: true, ..FindQuery::default() }, &latest()).unwrap();
    let repository = nights.repository();
    let options = shoebox::view::Options { locked: true, ..shoebox::view::Options::default() };
    let view = shoebox::task::open::open_view(&repository, options).unwrap();
    let top = view.snapshot("latest").unwrap();
    let mut places = finder.places();
    for hit in &hits {
        let shown =
            places.shown(hit).unwrap().unwrap_or_else(|| panic!("{} is nowhere", hit.name()));
        let node = view.resolve(top.ino, shown.path.as_bytes()).unwrap();
        assert_eq!(view.asset(node.ino).unwrap().unwrap().id, hit.id(), "{}", shown.path);
    }
}

#[test]
fn filters_mean_any_of_one_kind_and_all_of_several() {
    let nights = nights();
    let ask = |query: FindQuery| find(&nights, query, &latest());
    let text = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let named = |texts: &[&str]| FindQuery { names: text(texts), ..FindQuery::default() };
    assert_eq!(names(&ask(named(&["colosseum"]))), ["Colosseum.jpeg"]);
    assert_eq!(names(&ask(named(&["img_5001*"]))), ["IMG_5001.HEIC", "IMG_5001.MOV"]);
    assert_eq!(
        names(&ask(named(&["*.tif", "*.png"]))),
        ["Screenshot_2025-01-01.png", "scan 1958.tif"]
    );
    assert_eq!(ask(named(&["IMG_0001.JPG"])).len(), 4, "three of one day, one plain");
    let taken =
        |range: &str| FindQuery { taken: Some(range.parse().unwrap()), ..FindQuery::default() };
    assert_eq!(names(&ask(taken("..1960"))), ["scan 1958.tif"]);
    assert_eq!(names(&ask(taken("2024-12-31"))), ["New Year.jpg"], "by the clock on the wall");
    assert_eq!(ask(taken("2024-05-12..2024-05-13")).len(), 5);
    let tag = |tag: &str| FindQuery { tags: text(&[tag]), ..FindQuery::default() };
    assert_eq!(ask(tag("Trips")).len(), 2, "tags below are meant too");
    assert_eq!(
        names(&ask(FindQuery { people: text(&["bo"]), ..FindQuery::default() })),
        ["Birthday cake (2).jpg", "First steps.mp4"]
    );
    let album = |names: &[&str]| FindQuery { albums: text(names), ..FindQuery::default() };
    assert_eq!(ask(album(&["Holiday"])).len(), 3, "both albums of that name");
    assert_eq!(ask(album(&["Birthday", "Holiday"])).len(), 4);
    let both = FindQuery { users: text(&["zoe@example.com"]), ..album(&["Roma 2024/2026"]) };
    assert_eq!(names(&ask(both)), ["DSC_0100.JPG", "IMG_9003.JPG"]);
    let favorites = FindQuery { favorite: true, ..named(&["*.mp4"]) };
    assert_eq!(names(&ask(favorites)), ["First steps.mp4"]);
}

#[test]
fn a_deleted_photo_is_found_in_all_snapshots_with_the_last_that_had_it() {
    let nights = nights();
    assert!(
        find(
            &nights,
            FindQuery { names: vec!["Birthday cake.jpg".into()], ..FindQuery::default() },
            &latest()
        )
        .is_empty()
    );
    let hits = find(
        &nights,
        FindQuery { names: vec!["birthday".into()], ..FindQuery::default() },
        &FindSpan::All,
    );
    assert_eq!(names(&hits), ["Birthday cake (2).jpg", "Birthday cake.jpg"]);
    for hit in &hits {
        let range = hit.range.unwrap();
        let deleted = hit.name() == "Birthday cake.jpg";
        let last = if deleted { 0 } else { 1 };
        assert_eq!(
            (range.first.to_string(), range.last.to_string(), range.deleted),
            (nights.ids[0].clone(), nights.ids[last].clone(), deleted)
        );
    }
    let said = nights.shoebox(&["find", "birthday cake.jpg", "--all-snapshots"]);
    assert!(
        said.out.contains("deleted since  users/") && said.err.contains("1 of them deleted since"),
        "{said:?}"
    );
    // By an album that is called otherwise now.
    let rome = FindQuery { albums: vec!["Rome".into()], ..FindQuery::default() };
    assert_eq!(find(&nights, rome, &FindSpan::All).len(), 6);
}

#[test]
fn locked_assets_are_nowhere_unless_asked_for() {
    let nights = nights();
    let id = nights.id(0, "passport.jpg").to_string();
    for arguments in [
        vec!["find", "*", "--all-snapshots", "--json"],
        vec!["find", "--asset", &id],
        vec!["find", "--asset", &id, "--all-snapshots"],
        vec!["diff", &nights.ids[0], "--json", "-v"],
        vec!["diff", &nights.ids[1], &nights.ids[0], "--json", "-v"],
        vec!["log", &id],
        vec!["log", "passport.jpg"],
    ] {
        let said = nights.shoebox(&arguments);
        assert!(
            !said.out.contains("passport") && !said.out.contains(&id),
            "{arguments:?}: {}",
            said.out
        );
        let locked = nights.shoebox(&[&arguments[..], &["--locked"]].concat());
        assert!(locked.out.contains("passport"), "{arguments:?}: {}{}", locked.out, locked.err);
    }
}

#[test]
fn what_changed_over_the_summer_is_told_and_a_template_move_is_only_a_move() {
    let nights = nights();
    let options = diff::Options {
        old: nights.ids[0].clone(),
        new: "latest".into(),
        locked: true,
        moves: true,
        user: None,
    };
    let diff = diff::diff(&nights.repository(), &options).unwrap();
    let with = |wanted: fn(&FieldChange) -> bool| -> Vec<&str> {
        let has = |asset: &&diff::AssetChange| asset.changes.iter().any(wanted);
        let mut names: Vec<_> =
            diff.assets.iter().filter(has).map(|asset| asset.name.as_str()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(
        with(|c| matches!(c, FieldChange::Added { .. })),
        ["IMG_9001.JPG", "IMG_9002.JPG", "IMG_9003.JPG", "IMG_9004.JPG"]
    );
    assert_eq!(with(|c| matches!(c, FieldChange::Deleted { .. })), ["Birthday cake.jpg"]);
    assert_eq!(with(|c| matches!(c, FieldChange::Trashed)), ["img_0001.jpg"]);
    assert!(
        with(|c| matches!(
            c,
            FieldChange::Edited { .. } | FieldChange::Missing | FieldChange::Renamed { .. }
        ))
        .is_empty()
    );
    let place = |night: usize, asset: &Value| {
        let all = nights.truth[night]["assets"].as_array().unwrap();
        all.iter()
            .find(|other| other["id"] == asset["id"])
            .map(|asset| asset["pathUnderUploadLocation"].clone())
    };
    let assets = nights.truth[1]["assets"].as_array().unwrap();
    let moved = assets
        .iter()
        .filter(|asset| place(0, asset).is_some_and(|old| old != asset["pathUnderUploadLocation"]))
        .count();
    assert_eq!(
        (diff.summary.moved, with(|c| matches!(c, FieldChange::Moved { .. })).len()),
        (moved as u64, moved)
    );
    assert!(moved > 40);
    let albums: Vec<_> = diff
        .albums
        .iter()
        .map(|a| (a.name.as_str(), a.from.as_deref(), a.joined, a.left))
        .collect();
    assert_eq!(albums, [("Birthday", None, 0, 1), ("Roma 2024/2026", Some("Rome"), 2, 0)]);
    assert!(diff.files.is_empty(), "{:?}", diff.files);
    assert!(diff.things.is_empty(), "{:?}", diff.things);
    let only = diff::Options { user: Some("zoe@example.com".into()), moves: false, ..options };
    let zoe = diff::diff(&nights.repository(), &only).unwrap();
    assert_eq!(
        zoe.assets.iter().map(|asset| asset.name.as_str()).collect::<Vec<_>>(),
        ["IMG_9003.JPG"]
    );
    let said = nights.shoebox(&["diff", &nights.ids[0]]);
    assert_eq!(said.code, 0);
    assert!(
        said.out.contains(&format!("{} assets moved on disk", moved - 1)),
        "without the locked one: {}",
        said.out
    );
    assert!(
        said.out
            .lines()
            .any(|line| line.starts_with("-   users/") && line.contains("Birthday cake.jpg")),
        "{}",
        said.out
    );
    assert!(said.out.contains("R   album \"Rome\" -> \"Roma 2024/2026\"  +2 -0"), "{}", said.out);
    assert!(nights.shoebox(&["diff", "latest", "latest"]).out.contains("no change"));
}

#[test]
fn loose_files_that_are_called_otherwise_are_renamed_and_other_bytes_are_an_edit() {
    let dir = tempfile::tempdir().unwrap();
    let library = crate::support::sample_library(1, crate::support::Era::New);
    let repository = Repository::create(&dir.path().join("repository")).unwrap();
    let (root, sql) = (library.upload_location(), dir.path().join("immich.sql"));
    std::fs::write(&sql, crate::two_nights::dump(1, &library.sql())).unwrap();
    let put = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    let night = || {
        backup::backup(
            &repository,
            options(root.clone(), sql.clone(), library.external()),
            &SilentMonitor,
        )
        .unwrap()
        .record
        .id
    };
    put("library/old name.txt", "a loose file");
    put("library/notes.txt", "one");
    put("upload/gone.txt", "gone");
    let first = night();
    std::fs::rename(root.join("library/old name.txt"), root.join("upload/new name.txt")).unwrap();
    std::fs::remove_file(root.join("upload/gone.txt")).unwrap();
    put("library/notes.txt", "two and more");
    put("library/came.txt", "came");
    put("upload/.immich", "1999999999999");
    let truth = library.truth();
    let file = |name: &str| {
        let asset = truth["assets"]
            .as_array()
            .unwrap()
            .iter()
            .find(|asset| asset["originalFileName"] == name)
            .unwrap();
        root.join(asset["pathUnderUploadLocation"].as_str().unwrap())
    };
    std::fs::write(file("Colosseum.jpeg"), "spoiled").unwrap();
    std::fs::remove_file(file("New Year.jpg")).unwrap();
    night();
    let options =
        diff::Options { old: first.to_string(), new: "latest".into(), ..diff::Options::default() };
    let diff = diff::diff(&repository, &options).unwrap();
    let files: Vec<_> =
        diff.files.iter().map(|f| (f.what.mark(), f.path.as_str(), f.from.as_deref())).collect();
    let expected = [
        ('+', "files/library/came.txt", None),
        ('M', "files/library/notes.txt", None),
        ('-', "files/upload/gone.txt", None),
        ('R', "files/upload/new name.txt", Some("files/library/old name.txt")),
    ];
    assert_eq!(files, expected);
    let assets: Vec<_> =
        diff.assets.iter().map(|asset| (asset.name.as_str(), asset.changes.clone())).collect();
    let edited = |size| FieldChange::Edited { from: size, to: 7 };
    let size = |changes: &[FieldChange]| {
        if let FieldChange::Edited { from, .. } = changes[0] { from } else { 0 }
    };
    assert_eq!(assets.len(), 2, "{assets:?}");
    for (name, changes) in assets {
        match name {
            "Colosseum.jpeg" => assert_eq!(changes, [edited(size(&changes))]),
            _ => assert_eq!((name, &changes[..]), ("New Year.jpg", &[FieldChange::Missing][..])),
        }
    }
}

#[test]
fn the_history_of_a_photo_tells_each_change_by_snapshot() {
    let nights = nights();
    let log = |asset: &str| {
        log::log(
            &nights.repository(),
            &log::Options { asset: asset.into(), ..log::Options::default() },
        )
    };
    let deleted = log("Birthday cake.jpg").unwrap();
    assert!(deleted.deleted && deleted.last.to_string() == nights.ids[0]);
    let changes: Vec<_> = deleted
        .events
        .iter()
        .map(|event| (event.snapshot.to_string(), event.changes.as_slice()))
        .collect();
    assert!(
        matches!(&changes[..], [(a, [FieldChange::Added { .. }]), (b, [FieldChange::Deleted { .. }])] if *a == nights.ids[0] && *b == nights.ids[1]),
        "{changes:?}"
    );
    let trashed = log(&nights.id(0, "img_0001.jpg").to_string()).unwrap();
    assert_eq!(trashed.events.last().unwrap().changes, [FieldChange::Trashed]);
    let rome = log("Colosseum.jpeg").unwrap();
    let last = &rome.events.last().unwrap().changes;
    assert!(
        matches!(
            &last[..],
            [FieldChange::Moved { .. }, FieldChange::Joined { .. }, FieldChange::Left { .. }]
        ),
        "{last:?}"
    );
    let path = nights.asset(0, "Colosseum.jpeg")["pathUnderUploadLocation"].as_str().unwrap();
    let again = [
        format!("files/{path}"),
        rome.path.clone().unwrap(),
        format!("latest/{}", rome.path.clone().unwrap()),
    ];
    for name in again {
        assert_eq!(log(&name).unwrap().id, rome.id, "{name}");
    }
    let error = log("IMG_0001.JPG").unwrap_err();
    assert!(error.next_step().unwrap().contains(&nights.id(0, "IMG_0001.JPG").to_string()));
    assert!(log("users/nobody/x.jpg").is_err() && log("no such").is_err());
    let said = nights.shoebox(&["log", "Birthday cake.jpg"]);
    assert!(
        said.code == 0 && said.out.contains("deleted") && said.out.contains("--asset"),
        "{said:?}"
    );
}

#[test]
fn an_unknown_name_is_answered_with_those_there_are() {
    let nights = nights();
    let hint = |arguments: &[&str]| {
        let said = nights.shoebox(arguments);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        said.err
    };
    assert!(hint(&["find", "--album", "Holidays"]).contains("known: Holiday,"));
    assert!(hint(&["find", "--person", "Bob"]).contains("Bo"));
    assert!(hint(&["find", "--tag", "trip"]).contains("Trips"));
    assert!(hint(&["find", "--user", "eve"]).contains("zoe@example.com"));
    assert!(hint(&["find", "*", "--snapshot", "2020-01-01T000000Z"]).contains("shoebox snapshots"));
    assert_eq!(nights.shoebox(&["find"]).code, 2);
    assert_eq!(nights.shoebox(&["find", "--taken", "yesterday"]).code, 2);
    assert_eq!(nights.shoebox(&["find", "[a"]).code, 2);
}

/// Real libraries of one server, before and after its storage template was switched on.
#[test]
fn every_photo_that_a_real_server_moved_is_a_move() {
    let Some(shared) = crate::support::shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::create(&dir.path().join("repository")).unwrap();
    let external = dir.path().join("external");
    std::fs::create_dir(&external).unwrap();
    let ids: Vec<String> = ["state-1", "state-2"]
        .map(|state| {
            let from = shared.join("immich").join(state);
            let to = dir.path().join(state);
            untar(&from.join("upload-location.tar"), &to);
            let options = options(
                to.join("UPLOAD_LOCATION"),
                from.join("pg_dump-immich.sql"),
                external.clone(),
            );
            backup::backup(&repository, options, &SilentMonitor).unwrap().record.id.to_string()
        })
        .into();
    let options = diff::Options {
        old: ids[0].clone(),
        new: ids[1].clone(),
        moves: true,
        locked: true,
        user: None,
    };
    let diff = diff::diff(&repository, &options).unwrap();
    let truth = |state: &str| -> Value {
        serde_json::from_slice(
            &std::fs::read(shared.join("immich").join(state).join("truth.json")).unwrap(),
        )
        .unwrap()
    };
    let (old, new) = (truth("state-1"), truth("state-2"));
    let paths = |truth: &Value| -> std::collections::HashMap<String, Value> {
        let all = truth["assets"].as_array().unwrap().iter();
        all.map(|asset| (asset["id"].as_str().unwrap().to_owned(), asset["originalPath"].clone()))
            .collect()
    };
    let (old, new) = (paths(&old), paths(&new));
    let moved =
        new.iter().filter(|(id, path)| old.get(*id).is_some_and(|old| old != *path)).count();
    let added = new.keys().filter(|id| !old.contains_key(*id)).count();
    let gone = old.keys().filter(|id| !new.contains_key(*id)).count();
    let summary = &diff.summary;
    assert_eq!(
        (summary.moved, summary.added, summary.deleted),
        (moved as u64, added as u64, gone as u64),
        "{summary:?}"
    );
    assert!(moved > 50 && summary.edited == 0);
}

fn untar(tar: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    crate::support::run(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(to));
}
