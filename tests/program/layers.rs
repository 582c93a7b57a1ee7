//! The plan of the house: a room uses only rooms on lower floors, rooms of one floor do not know
//! each other, and a type's name stands for one thing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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

/// Every source file: its path below `src` and its text.
pub(crate) fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = walkdir::WalkDir::new(&source).into_iter().map(Result::unwrap);
    files.filter(|file| file.path().extension().is_some_and(|it| it == "rs")).map(move |file| {
        let path = file.path().strip_prefix(&source).unwrap().to_owned();
        (path, fs::read_to_string(file.path()).unwrap())
    })
}

#[test]
fn a_room_uses_only_rooms_on_lower_floors() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in sources() {
        let room = path.iter().next().and_then(|first| first.to_str()).unwrap_or_default();
        if !room.chars().all(char::is_alphanumeric) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
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

/// The tasks, from the ground up: one uses only tasks on lower floors. `src/task/mod.rs` draws them.
const TASK_FLOORS: [&[&str]; 4] = [
    &["open", "reread", "space"],
    &[
        "acknowledge",
        "audit",
        "check",
        "dump",
        "find",
        "forget",
        "import",
        "snapshots",
        "status",
        "thumbnail",
    ],
    &["backup", "database", "diff", "doctor", "prune", "repair", "restore"],
    &["drill", "log"],
];

/// The tasks that `line` names, as code of `src/task/` or of the top of a task's own folder may.
fn tasks_named<'a>(line: &'a str, is_top: bool) -> Vec<&'a str> {
    let begins = if is_top { ["task::", "use super::"] } else { ["task::", "super::super::"] };
    let after = begins.iter().flat_map(|it| line.split(it).skip(1));
    let word = |rest: &'a str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next();
    after.filter_map(word).filter(|word| TASK_FLOORS.concat().contains(word)).collect()
}

#[test]
fn a_task_uses_only_tasks_on_lower_floors() {
    let floor = |task: &str| TASK_FLOORS.iter().position(|floor| floor.contains(&task));
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in sources() {
        let Ok(below) = path.strip_prefix("task") else { continue };
        let task = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let is_top = below.iter().count() == 1 || below.ends_with("mod.rs");
        if task == "mod" {
            continue;
        }
        let own = floor(task).unwrap_or_else(|| panic!("the task `{task}` has no floor"));
        for line in text.lines().map(|line| line.split("//").next().unwrap_or_default()) {
            for other in tasks_named(line, is_top).into_iter().filter(|other| *other != task) {
                seen += 1;
                if floor(other).unwrap() >= own {
                    wrong.push(format!("src/{}: {task} uses {other}", path.display()));
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} uses were seen");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_test_above_sees_tasks_too() {
    assert_eq!(tasks_named("use crate::task::find::{AssetFinder, unknown};", false), ["find"]);
    assert_eq!(tasks_named("use super::open::find_snapshot;", true), ["open"]);
    assert!(tasks_named("use super::open::find_snapshot;", false).is_empty());
}

/// Names that each module may have for itself: they stand behind its name, as `forget::Options`.
const EACH_MODULE: [&str; 3] = ["Args", "Options", "Report"];

/// The types that `text` declares at the top of its module, without those of its tests.
fn types(text: &str) -> impl Iterator<Item = &str> {
    let product = text.lines().take_while(|line| *line != "#[cfg(test)]");
    product.filter_map(|line| {
        let public = ["pub ", "pub(super) ", "pub(crate) "];
        let line = public.iter().find_map(|it| line.strip_prefix(it)).unwrap_or(line);
        let (kind, rest) = line.split_once(' ')?;
        let is_type = ["struct", "enum", "trait", "union", "type"].contains(&kind);
        is_type.then(|| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
    })
}

#[test]
fn a_types_name_stands_once_in_the_crate_and_most_have_two_words() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources() {
        for name in types(&text).filter(|name| !EACH_MODULE.contains(name)) {
            places.entry(name.to_owned()).or_default().push(path.display().to_string());
        }
    }
    assert!(places.len() > 500, "only {} types were seen", places.len());
    let twice: Vec<_> = places.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "two things with one name: {twice:#?}");
    let is_one_word = |name: &str| name.chars().filter(|c| c.is_uppercase()).count() == 1;
    let one_word = places.keys().filter(|name| is_one_word(name)).count();
    assert!(one_word * 5 < places.len(), "{one_word} of {} names have one word", places.len());
}

#[test]
fn the_test_above_sees_each_kind_of_type() {
    let text = "pub struct A;\nenum B {\npub(super) trait C\npub type D<T> = E;\n    type F = G;\n\
                fn struct_h() {}\n#[cfg(test)]\nmod tests {\nstruct I;\n";
    assert_eq!(types(text).collect::<Vec<_>>(), ["A", "B", "C", "D"]);
}
