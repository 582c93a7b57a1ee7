//! The tree of a snapshot, without FUSE.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::mount_library::{Library, State, asset, file, symlink, user, uuid};
use shoebox::base::library::Visibility;
use shoebox::view::{AssetPart, Node, NodeKind, Options, ROOT, View};

const FIRST: &str = "2026-11-21T030005Z";
const SECOND: &str = "2026-11-22T030005Z";

fn list(view: &View, node: Node) -> Vec<(String, Node)> {
    let mut all = Vec::new();
    view.children(node.ino, 0, &mut |entry| {
        all.push((String::from_utf8_lossy(entry.name).into_owned(), entry.node));
        ControlFlow::Continue(())
    })
    .unwrap();
    all
}

/// The names in the folder at `path`.
fn names(view: &View, path: &str) -> Vec<String> {
    let node =
        view.resolve(ROOT, path.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}"));
    list(view, node).into_iter().map(|(name, _)| name).collect()
}

fn walk(view: &View, node: Node, at: &str, all: &mut Vec<(String, Node)>) {
    for (name, child) in list(view, node) {
        let path = format!("{at}/{name}");
        let found = view
            .child(node.ino, name.as_bytes())
            .unwrap()
            .unwrap_or_else(|| panic!("{path} is listed, not found"));
        assert_eq!(found, child, "{path}: by name");
        assert_eq!(
            view.node(child.ino).unwrap_or_else(|e| panic!("{path}: {e}")),
            child,
            "{path}: by number"
        );
        all.push((path.clone(), child));
        if child.kind == NodeKind::Folder {
            assert_eq!(view.parent(child.ino).unwrap(), node.ino, "{path}: its parent");
            walk(view, child, &path, all);
        }
    }
}

fn everything(view: &View) -> Vec<(String, Node)> {
    let mut all = Vec::new();
    walk(view, view.node(ROOT).unwrap(), "", &mut all);
    all
}

fn read(view: &View, path: &str) -> String {
    let node =
        view.resolve(ROOT, path.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}"));
    view.read(node.ino, 0, 1 << 20, |bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap()
}

/// A library with something of everything.
fn state() -> State {
    let mut state = State { dump: "-- the dump\n".into(), ..State::default() };
    state.user(user(1, "Ann Lee")).user(user(2, "Bo"));
    state.asset(asset(10, 1, "plain.jpg"));
    let mut live = asset(11, 1, "IMG_1.HEIC");
    live.live_video = Some(uuid(12));
    live.sidecar = Some(crate::mount_library::path("upload/1/11.xmp"));
    live.favorite = true;
    state.asset(live);
    let mut video = asset(12, 1, "IMG_1-x.MOV");
    video.visibility = Visibility::Hidden;
    state.asset(video);
    state.asset(asset(13, 1, "img_1.heic"));
    let mut archived = asset(14, 1, "old.jpg");
    archived.visibility = Visibility::Archive;
    archived.favorite = true;
    state.asset(archived);
    let mut trashed = asset(15, 1, "bad.jpg");
    trashed.trashed = Some("2024-06-01T00:00:00Z".parse().unwrap());
    state.asset(trashed);
    let mut locked = asset(16, 1, "secret.jpg");
    locked.visibility = Visibility::Locked;
    locked.live_video = Some(uuid(17));
    locked.sidecar = Some(crate::mount_library::path("upload/1/16.xmp"));
    state.asset(locked);
    let mut half = asset(17, 1, "secret.mov");
    half.visibility = Visibility::Hidden;
    state.asset(half);
    state.asset(asset(20, 2, "bo.jpg"));
    state
        .files
        .push(file("upload/1/copy-of-secret.bin", format!("bytes of {}", uuid(16)).as_bytes()));
    state.files.push(file(&format!("thumbs/1/{}_preview.jpeg", uuid(16)), b"thumb"));
    state.files.push(file(&format!("thumbs/1/{}_preview.jpeg", uuid(10)), b"thumb 2"));
    state.files.push(symlink("library/link", "../upload/1/10.bin"));
    state.album(30, "Rome", &[1, 2], &[10, 11, 15, 16, 20]);
    state.album(31, "Rome", &[1], &[]);
    state.album(32, "..", &[1], &[]);
    state.album(33, "", &[1], &[]);
    state.tag(40, 1, "Trips", &[13]).tag(41, 1, "Trips/2024/Paris", &[10]).tag(
        42,
        1,
        "Trips/2024:x",
        &[],
    );
    state.person(50, 1, "Cy", false, &[10, 14]).person(51, 1, "Hid", true, &[10]).person(
        52,
        1,
        "",
        false,
        &[10],
    );
    state.stack(60, 1, 10);
    state.change(10, |a| a.stack = Some(uuid(60))).change(13, |a| a.stack = Some(uuid(60)));
    state
}

fn library() -> Library {
    let mut library = Library::new();
    library.snapshot(FIRST, true, &state()).publish();
    library
}

#[test]
fn every_node_is_the_same_by_name_and_by_number_and_none_shares_a_number() {
    let library = library();
    for locked in [false, true] {
        let all = everything(&library.view(Options { locked, ..Options::default() }));
        let numbers: BTreeSet<_> = all.iter().map(|(_, node)| node.ino).collect();
        assert_eq!(numbers.len(), all.len());
        assert!(all.len() > 60);
    }
}

#[test]
fn each_folder_shows_what_immich_shows() {
    let library = library();
    let view = library.view(Options::default());
    let shown = |path: &str| names(&view, &format!("latest/users/Ann Lee/{path}"));
    let live = ["IMG_1.HEIC", "IMG_1.HEIC.xmp", "IMG_1.MOV"];
    assert_eq!(names(&view, ""), ["README.txt", "latest", "snapshots"]);
    assert_eq!(names(&view, "snapshots"), ["2026-11-21 03.00"]);
    assert_eq!(names(&view, "latest"), ["database", "files", "users"]);
    assert_eq!(names(&view, "latest/users"), ["Ann Lee", "Bo"]);
    assert_eq!(shown("by date"), ["2024"]);
    assert_eq!(shown("by date/2024"), ["2024-05"]);
    let month = [live.as_slice(), &["img_1 (0d0d0d0d).heic", "plain.jpg"]].concat();
    assert_eq!(shown("by date/2024/2024-05"), month);
    assert_eq!(shown("favorites"), [live.as_slice(), &["old.jpg"]].concat());
    assert_eq!(shown("archived"), ["old.jpg"]);
    assert_eq!(shown("trash"), ["bad.jpg"]);
    assert_eq!(shown("albums"), ["Rome", "Rome (1f1f1f1f)", "__", "unnamed album"]);
    assert_eq!(shown("albums/Rome"), [live.as_slice(), &["bo.jpg", "plain.jpg"]].concat());
    assert!(shown("albums/__").is_empty());
    assert_eq!(names(&view, "latest/users/Bo/albums/Rome"), shown("albums/Rome"));
    assert_eq!(shown("people"), ["Cy"]);
    assert_eq!(shown("people/Cy"), ["old.jpg", "plain.jpg"]);
    assert_eq!(shown("tags"), ["Trips"]);
    assert_eq!(shown("tags/Trips"), ["2024", "2024_x", "img_1.heic"]);
    assert_eq!(shown("tags/Trips/2024/Paris"), ["plain.jpg"]);
    assert_eq!(shown("stacks"), ["plain"]);
    assert_eq!(shown("stacks/plain"), ["img_1.heic", "plain.jpg"]);
    assert!(!shown("").contains(&"locked".to_owned()));
}

#[test]
fn bytes_times_and_modes_are_those_of_the_asset_or_the_file() {
    let library = library();
    let view = library.view(Options::default());
    let at = |path: &str| view.resolve(ROOT, format!("latest/{path}").as_bytes()).unwrap();
    let photo = at("users/Ann Lee/by date/2024/2024-05/IMG_1.HEIC");
    assert_eq!((photo.mtime_ns, photo.mode), (1_715_508_000_000_000_000, 0o644));
    assert_eq!(
        read(&view, "latest/users/Ann Lee/favorites/IMG_1.MOV"),
        format!("bytes of {}", uuid(12))
    );
    assert_eq!(
        read(&view, "latest/users/Ann Lee/favorites/IMG_1.HEIC.xmp"),
        format!("<xmp {}>", uuid(11))
    );
    let asset = view.asset(photo.ino).unwrap().unwrap();
    assert_eq!(
        (asset.id, asset.part, asset.albums),
        (uuid(11), AssetPart::Original, vec!["Rome".to_owned()])
    );
    let file = at("files/upload/1/10.bin");
    assert_eq!(
        (file.mtime_ns, file.mode, file.owner),
        (1_600_000_000_123_456_789, 0o640, Some((1000, 100)))
    );
    let link = at("files/library/link");
    assert_eq!(
        (link.kind, link.size, view.target(link.ino).unwrap()),
        (NodeKind::Symlink, 18, b"../upload/1/10.bin".to_vec())
    );
    assert_eq!(
        (at("database/immich.sql").mode, read(&view, "latest/database/immich.sql").as_str()),
        (0o400, "-- the dump\n")
    );
    assert!(read(&view, "README.txt").contains("locked folder"));
}

#[test]
fn locked_assets_are_nowhere_unless_asked_for() {
    let library = library();
    let all = |locked| everything(&library.view(Options { locked, ..Options::default() }));
    let ids = [uuid(16), uuid(17)].map(|id| id.to_string());
    let secret = |path: &str| {
        path.contains("secret")
            || ["/16.bin", "/16.xmp", "/17.bin"].iter().any(|end| path.ends_with(end))
            || ids.iter().any(|id| path.contains(id))
    };
    let hidden: Vec<_> = all(false).into_iter().filter(|(path, _)| secret(path)).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    let shown = all(true).into_iter().filter(|(path, _)| secret(path)).count();
    assert_eq!(shown, 3 + 3 + 1 + 1);
    let view = library.view(Options { locked: true, ..Options::default() });
    assert_eq!(
        names(&view, "latest/users/Ann Lee/locked"),
        ["secret.jpg", "secret.jpg.xmp", "secret.mov"]
    );
}

#[test]
fn one_person_sees_only_their_own_tree() {
    let library = library();
    for name in ["Bo", "bo", "bo@example.com", &uuid(2).to_string()] {
        let view = library.view(Options { user: Some(name.into()), ..Options::default() });
        assert_eq!(names(&view, "latest"), ["users"]);
        assert_eq!(names(&view, "latest/users"), ["Bo"]);
    }
    let options = Options { user: Some("Eve".into()), ..Options::default() };
    let error = View::open(&library.catalog(), library.bytes.clone(), options).err().unwrap();
    assert!(error.next_step().unwrap().contains("Ann Lee <ann@example.com>"));
}

#[test]
fn what_was_deleted_is_found_under_each_snapshot_that_had_it() {
    let mut library = Library::new();
    let mut now = state();
    library.snapshot("2026-11-20T030005Z", true, &now);
    library.snapshot("2026-11-20T030006Z", false, &now);
    now.change(13, |a| a.favorite = true);
    library.snapshot(FIRST, true, &now);
    now.delete(10).delete(16).delete(17);
    library.snapshot(SECOND, true, &now).publish();
    let view = library.view(Options::default());
    let gone = "latest/users/Ann Lee/deleted since";
    assert_eq!(names(&view, gone), ["2026-11-20 03.00", "2026-11-21 03.00"]);
    assert_eq!(names(&view, &format!("{gone}/2026-11-21 03.00")), ["plain.jpg"]);
    assert_eq!(
        read(&view, &format!("{gone}/2026-11-20 03.00/plain.jpg")),
        format!("bytes of {}", uuid(10))
    );
    assert!(names(&view, "snapshots/2026-11-21 03.00/users/Ann Lee/deleted since").is_empty());
    assert!(names(&view, "latest/users/Bo/deleted since").is_empty());
    everything(&view);
    let locked = library.view(Options { locked: true, ..Options::default() });
    assert_eq!(
        names(&locked, &format!("{gone}/2026-11-21 03.00")),
        ["plain.jpg", "secret.jpg", "secret.jpg.xmp", "secret.mov"]
    );
}

#[test]
fn a_photo_that_was_given_back_under_a_new_id_is_not_deleted_and_keeps_its_name() {
    let sha1 = |byte: u8| Some(shoebox::base::Sha1([byte; 20]));
    let photo = |number: u8, bytes: u8| {
        let mut photo = asset(number, 1, "IMG_12.JPG");
        photo.sha1 = sha1(bytes);
        photo
    };
    let (mut library, mut now) = (Library::new(), State::default());
    now.user(user(1, "Ann")).asset(photo(10, 1)).asset(photo(12, 2));
    library.snapshot(FIRST, true, &now);
    // One is given back, the other one is gone; a third has the same bytes while the first is
    // there.
    now.delete(10).delete(12).asset(photo(14, 1));
    library.snapshot(SECOND, true, &now);
    now.asset(photo(16, 1));
    library.snapshot("2026-11-23T030005Z", true, &now).publish();
    let view = library.view(Options::default());
    let month =
        |day: &str| names(&view, &format!("snapshots/{day} 03.00/users/Ann/by date/2024/2024-05"));
    assert_eq!(month("2026-11-21"), ["IMG_12 (0c0c0c0c).JPG", "IMG_12.JPG"]);
    assert_eq!(names(&view, "latest/users/Ann/deleted since"), ["2026-11-21 03.00"]);
    assert_eq!(names(&view, "latest/users/Ann/deleted since/2026-11-21 03.00").len(), 1);
    assert_eq!(month("2026-11-22").len(), 1);
    assert_eq!(month("2026-11-23").len(), 2, "two that are there at once have two names");

    let (mut library, mut now) = (Library::new(), State::default());
    now.user(user(1, "Ann")).asset(photo(10, 1));
    library.snapshot(FIRST, true, &now);
    now.delete(10).asset(photo(14, 1));
    library.snapshot(SECOND, true, &now).publish();
    let view = library.view(Options::default());
    for day in ["2026-11-21", "2026-11-22"] {
        assert_eq!(
            names(&view, &format!("snapshots/{day} 03.00/users/Ann/by date/2024/2024-05")),
            ["IMG_12.JPG"]
        );
    }
    assert!(names(&view, "latest/users/Ann/deleted since").is_empty());
}

#[test]
fn a_bad_snapshot_is_listed_with_its_flaw_and_is_never_latest() {
    let mut library = Library::new();
    library.snapshot(FIRST, true, &state()).snapshot(SECOND, false, &State::default()).publish();
    let view = library.view(Options::default());
    assert_eq!(
        names(&view, "snapshots"),
        ["2026-11-21 03.00", "2026-11-22 03.00 (incomplete dump)"]
    );
    assert_eq!(
        view.target(view.child(ROOT, b"latest").unwrap().unwrap().ino).unwrap(),
        b"snapshots/2026-11-21 03.00"
    );
    assert!(names(&view, "snapshots/2026-11-22 03.00 (incomplete dump)/users").is_empty());
    assert_eq!(
        view.snapshot(SECOND).unwrap(),
        view.snapshot("2026-11-22 03.00 (incomplete dump)").unwrap()
    );
}

#[test]
fn a_snapshot_with_an_incomplete_dump_shows_no_files_unless_locked_ones_are_asked_for() {
    let mut library = Library::new();
    library.snapshot(FIRST, false, &state()).publish();
    let (view, all) = (
        library.view(Options::default()),
        library.view(Options { locked: true, ..Options::default() }),
    );
    let top = "snapshots/2026-11-21 03.00 (incomplete dump)";
    assert_eq!(names(&view, top), ["database", "users"]);
    assert_eq!(names(&all, top), ["database", "files", "users"]);
    // Who knows the numbers gets nothing either.
    let files = all.resolve(ROOT, format!("{top}/files").as_bytes()).unwrap().ino;
    let mut waiting = vec![files];
    let mut seen = 0;
    while let Some(ino) = waiting.pop() {
        seen += 1;
        assert!(
            view.node(ino).is_err()
                && view.read(ino, 0, 1, <[u8]>::len).is_err()
                && view.target(ino).is_err()
        );
        let below = |view: &View| {
            let mut found = Vec::new();
            let _ = view.children(ino, 0, &mut |entry| {
                found.push(entry.node.ino);
                ControlFlow::Continue(())
            });
            found
        };
        assert!(below(&view).is_empty() && view.child(ino, b"upload").ok().flatten().is_none());
        waiting.extend(below(&all));
    }
    assert!(seen > 4, "{seen}");
}

#[test]
fn an_asset_has_the_same_name_in_every_snapshot() {
    let mut library = Library::new();
    let mut first = State::default();
    first.user(user(1, "Ann")).asset(asset(12, 1, "a.jpg"));
    let mut second = first.clone();
    second.asset(asset(11, 1, "A.JPG"));
    library.snapshot(FIRST, true, &first).snapshot(SECOND, true, &second).publish();
    let view = library.view(Options::default());
    let month = |snapshot: &str| {
        names(&view, &format!("snapshots/{snapshot}/users/Ann/by date/2024/2024-05"))
    };
    assert_eq!(month("2026-11-21 03.00"), ["a (0c0c0c0c).jpg"]);
    assert_eq!(month("2026-11-22 03.00"), ["A.JPG", "a (0c0c0c0c).jpg"]);
}

#[test]
fn numbers_stay_the_same_when_a_snapshot_is_added_and_the_view_sees_it() {
    let mut library = library();
    let view = library.view(Options::default());
    let before = everything(&view);
    assert!(!view.refresh().unwrap());
    library.snapshot(SECOND, true, &state()).publish();
    assert!(view.refresh().unwrap());
    assert_eq!(names(&view, "snapshots").len(), 2);
    let after = everything(&view);
    assert!(
        before
            .iter()
            .filter(|(path, _)| path.starts_with("/snapshots/"))
            .all(|entry| after.contains(entry))
    );
}

#[test]
fn an_asset_without_bytes_is_counted_and_not_shown() {
    let mut library = Library::new();
    let mut state = state();
    state.files.retain(|(entry, _)| entry.path.as_str() != Some("upload/1/10.bin"));
    library.snapshot(FIRST, true, &state).publish();
    let view = library.view(Options::default());
    let top = view.snapshot("latest").unwrap();
    assert_eq!(view.without_bytes(top.ino).unwrap(), 1);
    assert!(
        !names(&view, "latest/users/Ann Lee/by date/2024/2024-05")
            .contains(&"plain.jpg".to_owned())
    );
    everything(&view);
}

#[test]
fn a_listing_goes_on_from_any_cookie() {
    let library = library();
    let view = library.view(Options::default());
    for path in [
        "",
        "snapshots",
        "latest/users/Ann Lee",
        "latest/files/upload/1",
        "latest/users/Ann Lee/by date/2024/2024-05",
    ] {
        let node = view.resolve(ROOT, path.as_bytes()).unwrap();
        let whole = list(&view, node);
        let (mut after, mut parts) = (0, Vec::new());
        loop {
            let mut one = None;
            let mut each = |entry: shoebox::view::FolderEntry<'_>| {
                one = Some((
                    String::from_utf8_lossy(entry.name).into_owned(),
                    entry.cookie,
                    entry.node,
                ));
                ControlFlow::Break(())
            };
            view.children(node.ino, after, &mut each).unwrap();
            let Some((name, cookie, child)) = one else { break };
            parts.push((name, child));
            after = cookie;
        }
        assert_eq!(parts, whole, "{path}");
    }
}
