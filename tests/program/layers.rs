//! The floors: a room uses only rooms on lower floors, and rooms of one floor do not know each
//! other.

use std::fs;
use std::path::Path;

/// The rooms, from the ground up. `src/lib.rs` draws them.
const FLOORS: [&[&str]; 7] = [
    &["base"],
    &["archive", "catalog", "immich", "store"],
    &["repo"],
    &["source", "view"],
    &["task"],
    &["mount", "service"],
    &["cli"],
];

fn floor(room: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&room))
        .unwrap_or_else(|| panic!("`{room}` has no floor"))
}

/// The rooms that `line` names as `crate::ROOM`, also in a group: `use crate::{a, b::c};`.
fn named(line: &str) -> Vec<&str> {
    let after = line.split("crate::").skip(1);
    let words = after.flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => group
            .split(['{', '}', ','])
            .map(|item| item.trim().split("::").next().unwrap_or(""))
            .collect(),
        None => vec![rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")],
    });
    words.filter(|word| FLOORS.concat().contains(word)).collect()
}

#[test]
fn a_room_uses_only_rooms_on_lower_floors() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for entry in walkdir::WalkDir::new(&source).into_iter().map(Result::unwrap) {
        let path = entry.path().strip_prefix(&source).unwrap();
        let room = path.iter().next().and_then(|first| first.to_str()).unwrap_or_default();
        if entry.file_type().is_dir()
            || !room.chars().all(char::is_alphanumeric)
            || path.extension().is_none_or(|e| e != "rs")
        {
            continue;
        }
        for (number, line) in fs::read_to_string(entry.path()).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for other in named(code) {
                seen += 1;
                if other != room && floor(other) >= floor(room) {
                    wrong.push(format!(
                        "src/{}:{}: {room} uses {other}",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} uses were seen: does this test still read the sources?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_test_above_sees_what_it_should() {
    assert_eq!(
        named("use crate::{base::Error, catalog, repo::{Stream}};"),
        ["base", "catalog", "repo"]
    );
    assert_eq!(named("let x = crate::view::open(crate::base::y);"), ["view", "base"]);
    assert!(named("use super::view;").is_empty());
}
