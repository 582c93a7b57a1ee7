//! Repair: what is damaged is mended from wherever it is still whole, and never made worse.

mod backup_library;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use backup_library::{ANN, Home, dump, noise, reads};
use shoebox::base::monitor::Silent;
use shoebox::base::stored::IndexLine;
use shoebox::task::check::{Extent, Finding, check};
use shoebox::task::repair::{Options, Remedy, Report, repair};

/// Three nights: photos come, the dump changes; the last photo of each is large enough to have segments.
fn nights() -> Home {
    let home = Home::new();
    for night in 0..3 {
        home.write(format!("upload/{ANN}/{}.jpg", night + 1), &noise(night + 1, 200_000));
        home.write(format!("library/loose-{night}.jpg"), &noise(night + 40, 90_000));
        home.write(format!("library/large-{night}.mov"), &noise(night + 80, 1_200_000));
        home.write_dump(&dump(2_000, night));
        home.backup();
    }
    home
}

fn mend(home: &Home) -> Report {
    repair(&home.repo_path(), &Options { apply: true, upload_location: None }, &Silent).unwrap()
}

fn mend_from_server(home: &Home) -> Report {
    repair(&home.repo_path(), &Options { apply: true, upload_location: Some(home.upload()) }, &Silent).unwrap()
}

fn findings(home: &Home) -> Vec<Finding> {
    check(&home.repository(), Extent::All, &Silent).unwrap().findings
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// The archive that holds the content whose path ends in `name`, and where its bytes are.
fn place(home: &Home, name: &str) -> (PathBuf, usize, usize) {
    let found = home.lines().into_iter().find_map(|(archive, line)| match line {
        IndexLine::Content(line) if line.path.as_bytes().ends_with(name.as_bytes()) => {
            Some((archive, line.offset as usize, line.stored as usize))
        }
        _ => None,
    });
    found.unwrap()
}

fn first_record(home: &Home) -> PathBuf {
    home.repo_path().join(format!("snapshots/{}.json", home.repository().snapshot_ids().unwrap()[0]))
}

/// Files outside of `damaged/`, `tmp/` and `notes/`, with their bytes.
fn state(home: &Home) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = walkdir::WalkDir::new(home.repo_path()).into_iter().map(Result::unwrap);
    let files = all.filter(|entry| entry.file_type().is_file());
    let kept = files.filter(|entry| {
        let path = entry.path().strip_prefix(home.repo_path()).unwrap();
        !["notes", "tmp", "lock"].iter().any(|name| path.starts_with(name))
    });
    kept.map(|entry| (entry.path().to_owned(), fs::read(entry.path()).unwrap())).collect()
}

/// All of it was mended, everything reads as `before`, nothing is left to find or to do.
fn assert_whole(home: &Home, report: &Report, before: &BTreeMap<String, Option<String>>) {
    assert!(report.is_whole() && !report.steps.is_empty(), "{:#?}", report.steps);
    assert_eq!(findings(home), vec![], "{:#?}", report.steps);
    assert_eq!(reads(&home.repo_path()), *before);
    assert_does_nothing_more(home);
}

fn assert_does_nothing_more(home: &Home) {
    let before = state(home);
    let again = mend(home);
    assert!(again.done.as_ref().unwrap().written.is_empty() && again.done.unwrap().aside.is_empty());
    assert!(state(home) == before, "a second repair changed something");
}

#[test]
fn what_is_sound_is_left_alone() {
    let home = nights();
    let before = state(&home);
    let report = mend_from_server(&home);
    assert!(report.is_whole() && report.steps.is_empty());
    assert!(state(&home) == before);
}

#[test]
fn a_plan_changes_nothing() {
    let home = nights();
    let (archive, at, _) = place(&home, "/1.jpg");
    flip(&archive, at + 10);
    fs::write(first_record(&home), "{").unwrap();
    let before = state(&home);
    let options = Options { apply: false, upload_location: Some(home.upload()) };
    let plan = repair(&home.repo_path(), &options, &Silent).unwrap();
    assert!(!plan.is_whole() && plan.done.is_none());
    assert_eq!(plan.mended(), plan.steps.len(), "{:#?}", plan.steps);
    assert!(state(&home) == before);
}

#[test]
fn a_lost_record_comes_back_from_the_catalog() {
    let home = nights();
    let (before, path) = (reads(&home.repo_path()), first_record(&home));
    let record = fs::read(&path).unwrap();
    for damage in [&b""[..], b"{\"format\": 1", &record[..record.len() / 2]] {
        fs::write(&path, damage).unwrap();
        assert_whole(&home, &mend(&home), &before);
        assert_eq!(fs::read(&path).unwrap(), record);
    }
    fs::remove_file(&path).unwrap();
    assert_whole(&home, &mend(&home), &before);
    assert_eq!(fs::read(&path).unwrap(), record);
}

#[test]
fn records_under_each_others_names_are_put_right_even_without_a_catalog() {
    let home = nights();
    let before = reads(&home.repo_path());
    let ids = home.repository().snapshot_ids().unwrap();
    let path = |at: usize| home.repo_path().join(format!("snapshots/{}.json", ids[at]));
    let (first, second) = (fs::read(path(0)).unwrap(), fs::read(path(1)).unwrap());
    fs::write(path(0), &second).unwrap();
    fs::write(path(1), &first).unwrap();
    fs::remove_file(home.repo_path().join("catalog.sqlite")).unwrap();
    assert_whole(&home, &mend(&home), &before);
    assert_eq!((fs::read(path(0)).unwrap(), fs::read(path(1)).unwrap()), (first, second));
}

#[test]
fn a_record_that_nothing_else_has_is_told_and_what_is_known_of_it_stays() {
    let home = nights();
    fs::write(first_record(&home), "{").unwrap();
    fs::remove_file(home.repo_path().join("catalog.sqlite")).unwrap();
    let report = mend(&home);
    assert!(!report.is_whole());
    let left: Vec<_> = report.steps.iter().filter(|step| matches!(step.remedy, Remedy::Leave(_))).collect();
    assert!(matches!(left[..], [step] if matches!(step.finding, Finding::Snapshot { .. })), "{left:#?}");
    assert!(!reads(&home.repo_path()).is_empty());
    assert_does_nothing_more(&home);
}

#[test]
fn a_description_that_is_lost_or_of_another_repository_is_written_again() {
    let (home, other) = (nights(), Home::new());
    let (before, id) = (reads(&home.repo_path()), home.repository().id());
    let path = home.repo_path().join("shoebox.json");
    fs::remove_file(&path).unwrap();
    assert_whole(&home, &mend(&home), &before);
    assert_eq!(home.repository().id(), id);
    fs::write(&path, "{").unwrap();
    assert_whole(&home, &mend(&home), &before);
    fs::copy(other.repo_path().join("shoebox.json"), &path).unwrap();
    assert_whole(&home, &mend(&home), &before);
    assert_eq!(home.repository().id(), id);
}

#[test]
fn a_lost_readme_and_a_damaged_note_are_mended() {
    let home = nights();
    let before = reads(&home.repo_path());
    findings(&home);
    let note = home.repository().notes().unwrap().list[0].0.clone();
    fs::write(home.repo_path().join(&note), "{").unwrap();
    fs::remove_file(home.repo_path().join("README.txt")).unwrap();
    let report = mend(&home);
    assert_eq!(report.done.as_ref().unwrap().aside, [note]);
    assert_whole(&home, &report, &before);
}

#[test]
fn a_catalog_that_is_lost_damaged_or_of_another_repository_is_built_anew() {
    let (home, other) = (nights(), nights());
    let (before, path) = (reads(&home.repo_path()), home.repo_path().join("catalog.sqlite"));
    fs::remove_file(&path).unwrap();
    assert_whole(&home, &mend(&home), &before);
    fs::write(&path, "no catalog").unwrap();
    assert_whole(&home, &mend(&home), &before);
    fs::copy(other.repo_path().join("catalog.sqlite"), &path).unwrap();
    assert_whole(&home, &mend(&home), &before);
}

#[test]
fn a_folder_that_is_no_repository_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = repair(dir.path(), &Options { apply: true, upload_location: None }, &Silent).unwrap_err();
    assert_eq!(error.kind(), shoebox::base::Kind::NotFound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
