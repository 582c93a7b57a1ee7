//! Repair: what is damaged is repaired from wherever it is still whole, and never made worse.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::backup_library::{ANN, Home, dump, noise, reads};
use shoebox::base::monitor::SilentMonitor;
use shoebox::base::stored::IndexLine;
use shoebox::task::check::{CheckExtent, CheckFinding, SnapshotPart, check};
use shoebox::task::repair::{Options, RepairRemedy, Report, repair};

/// Three nights: photos come, the dump changes; the last photo of each is large enough to have
/// segments.
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

fn repaired(home: &Home) -> Report {
    repair(
        &home.repo_path(),
        &Options { apply: true, upload_location: None, ..Options::default() },
        &SilentMonitor,
    )
    .unwrap()
}

fn repaired_from_server(home: &Home) -> Report {
    repair(
        &home.repo_path(),
        &Options { apply: true, upload_location: Some(home.upload()), ..Options::default() },
        &SilentMonitor,
    )
    .unwrap()
}

fn findings(home: &Home) -> Vec<CheckFinding> {
    check(&home.repository(), CheckExtent::All, &SilentMonitor).unwrap().findings
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
    home.repo_path()
        .join(format!("snapshots/{}.json", home.repository().snapshot_ids().unwrap()[0]))
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

/// All of it was repaired, everything reads as `before`, nothing is left to find or to do.
fn assert_whole(home: &Home, report: &Report, before: &BTreeMap<String, Option<String>>) {
    assert!(report.is_whole() && !report.steps.is_empty(), "{:#?}", report.steps);
    assert_eq!(findings(home), vec![], "{:#?}", report.steps);
    assert_eq!(reads(&home.repo_path()), *before);
    assert_does_nothing_more(home);
}

fn assert_does_nothing_more(home: &Home) {
    let before = state(home);
    let again = repaired(home);
    assert!(
        again.done.as_ref().unwrap().written.is_empty() && again.done.unwrap().aside.is_empty()
    );
    assert!(state(home) == before, "a second repair changed something");
}

#[test]
fn what_is_sound_is_left_alone() {
    let home = nights();
    let before = state(&home);
    let report = repaired_from_server(&home);
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
    let options =
        Options { apply: false, upload_location: Some(home.upload()), ..Options::default() };
    let plan = repair(&home.repo_path(), &options, &SilentMonitor).unwrap();
    assert!(!plan.is_whole() && plan.done.is_none());
    assert_eq!(plan.repaired(), plan.steps.len(), "{:#?}", plan.steps);
    assert!(state(&home) == before);
}

#[test]
fn a_lost_record_comes_back_from_the_catalog() {
    let home = nights();
    let (before, path) = (reads(&home.repo_path()), first_record(&home));
    let record = fs::read(&path).unwrap();
    for damage in [&b""[..], b"{\"format\": 1", &record[..record.len() / 2]] {
        fs::write(&path, damage).unwrap();
        assert_whole(&home, &repaired(&home), &before);
        assert_eq!(fs::read(&path).unwrap(), record);
    }
    fs::remove_file(&path).unwrap();
    assert_whole(&home, &repaired(&home), &before);
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
    assert_whole(&home, &repaired(&home), &before);
    assert_eq!((fs::read(path(0)).unwrap(), fs::read(path(1)).unwrap()), (first, second));
}

#[test]
fn a_record_that_nothing_else_has_is_told_and_what_is_known_of_it_stays() {
    let home = nights();
    fs::write(first_record(&home), "{").unwrap();
    fs::remove_file(home.repo_path().join("catalog.sqlite")).unwrap();
    let report = repaired(&home);
    assert!(!report.is_whole());
    let left: Vec<_> =
        report.steps.iter().filter(|step| matches!(step.remedy, RepairRemedy::Leave(_))).collect();
    assert!(
        matches!(left[..], [step] if matches!(step.finding, CheckFinding::Snapshot { .. })),
        "{left:#?}"
    );
    assert!(!reads(&home.repo_path()).is_empty());
    assert_does_nothing_more(&home);
}

#[test]
fn a_description_that_is_lost_or_of_another_repository_is_written_again() {
    let (home, other) = (nights(), Home::new());
    let (before, id) = (reads(&home.repo_path()), home.repository().id());
    let path = home.repo_path().join("shoebox.json");
    fs::remove_file(&path).unwrap();
    assert_whole(&home, &repaired(&home), &before);
    assert_eq!(home.repository().id(), id);
    fs::write(&path, "{").unwrap();
    assert_whole(&home, &repaired(&home), &before);
    fs::copy(other.repo_path().join("shoebox.json"), &path).unwrap();
    assert_whole(&home, &repaired(&home), &before);
    assert_eq!(home.repository().id(), id);
}

#[test]
fn a_lost_readme_and_a_damaged_note_are_repaired() {
    let home = nights();
    let before = reads(&home.repo_path());
    findings(&home);
    let note = home.repository().notes().unwrap().list[0].0.clone();
    fs::write(home.repo_path().join(&note), "{").unwrap();
    fs::remove_file(home.repo_path().join("README.txt")).unwrap();
    let report = repaired(&home);
    assert_eq!(report.done.as_ref().unwrap().aside, [note]);
    assert_whole(&home, &report, &before);
}

#[test]
fn a_catalog_that_is_lost_damaged_or_of_another_repository_is_built_again() {
    let (home, other) = (nights(), nights());
    let (before, path) = (reads(&home.repo_path()), home.repo_path().join("catalog.sqlite"));
    fs::remove_file(&path).unwrap();
    assert_whole(&home, &repaired(&home), &before);
    fs::write(&path, "no catalog").unwrap();
    assert_whole(&home, &repaired(&home), &before);
    fs::copy(other.repo_path().join("catalog.sqlite"), &path).unwrap();
    assert_whole(&home, &repaired(&home), &before);
}

#[test]
fn a_folder_that_is_no_repository_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = repair(
        dir.path(),
        &Options { apply: true, upload_location: None, ..Options::default() },
        &SilentMonitor,
    )
    .unwrap_err();
    assert_eq!(error.kind(), shoebox::base::ErrorKind::NotFound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

// Archives
// ----------------------------------------------------------------------------------------------------------

/// How an archive loses its index: a bit of it, a bit of its tail, its end.
const HEADLESS: [fn(&Path); 3] = [
    |path| flip(path, index_at(path)),
    |path| flip(path, fs::metadata(path).unwrap().len() as usize - 1530),
    |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..index_at(path)]).unwrap();
    },
];

/// Where the bytes of the index are.
fn index_at(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    let text = String::from_utf8_lossy(&bytes[bytes.len() - 1536..]).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("index-offset ")).unwrap();
    line.parse::<usize>().unwrap() + 20
}

#[test]
fn an_archive_without_an_index_is_made_again_from_its_members() {
    for damage in HEADLESS {
        let home = nights();
        let before = reads(&home.repo_path());
        home.archives().iter().for_each(|archive| damage(archive));
        assert_whole(&home, &repaired(&home), &before);
    }
}

#[test]
fn an_archive_without_an_index_is_made_again_without_a_catalog_too() {
    for damage in HEADLESS {
        let home = nights();
        let before = reads(&home.repo_path());
        // Those of later nights have patches, whose keys only the index and the catalog know.
        damage(&home.archives()[0]);
        fs::remove_file(home.repo_path().join("catalog.sqlite")).unwrap();
        assert_whole(&home, &repaired(&home), &before);
    }
}

#[test]
fn past_damage_the_rest_of_an_archive_without_an_index_is_found() {
    let home = nights();
    let before = reads(&home.repo_path());
    let (archive, at, _) = place(&home, "/1.jpg");
    // The photo's header and its first bytes are gone.
    let mut bytes = fs::read(&archive).unwrap();
    bytes[at - 512..at + 100].fill(0x33);
    fs::write(&archive, bytes).unwrap();
    HEADLESS[0](&archive);
    let report = repaired(&home);
    assert!(!report.is_whole());
    let after = reads(&home.repo_path());
    for (path, bytes) in &before {
        let is_photo = path.contains("IMG_1") || path.ends_with("/1.jpg");
        assert_eq!(after[path].as_ref(), bytes.as_ref().filter(|_| !is_photo), "{path}");
    }
    assert_does_nothing_more(&home);
    assert_whole(&home, &repaired_from_server(&home), &before);
}

#[test]
fn a_damaged_photo_comes_from_the_server_wherever_it_lies_there() {
    let home = nights();
    let before = reads(&home.repo_path());
    for name in ["/1.jpg", "large-1.mov", "loose-2.jpg"] {
        let (archive, at, len) = place(&home, name);
        flip(&archive, at + len / 2);
    }
    fs::rename(home.upload().join("library/loose-2.jpg"), home.upload().join("profile/moved.jpg"))
        .unwrap();
    // A file of the same size with other bytes is not taken for it.
    home.write("upload/a.jpg", &noise(777, 90_000));
    assert_whole(&home, &repaired_from_server(&home), &before);
}

#[test]
fn a_photo_that_nothing_else_has_stays_as_it_is_and_so_does_its_archive() {
    let home = nights();
    let (archive, at, _) = place(&home, "large-1.mov");
    flip(&archive, at + (1 << 20) + 10);
    let (other, at, _) = place(&home, "/2.jpg");
    assert_eq!(archive, other);
    flip(&archive, at);
    fs::remove_file(home.upload().join("library/large-1.mov")).unwrap();
    let before = reads(&home.repo_path());
    let report = repaired_from_server(&home);
    assert!(!report.is_whole() && report.repaired() == 1, "{:#?}", report.steps);
    assert!(archive.exists());
    let after = reads(&home.repo_path());
    for (path, bytes) in before.iter().filter(|(_, bytes)| bytes.is_some()) {
        assert_eq!(after[path], *bytes, "{path}");
    }
    assert!(
        after.iter().filter(|(path, _)| path.ends_with("/2.jpg")).all(|(_, bytes)| bytes.is_some())
    );
    assert_does_nothing_more(&home);
}

#[test]
fn what_tells_tar_of_a_member_is_written_again() {
    let home = nights();
    let before = reads(&home.repo_path());
    let (archive, at, len) = place(&home, "/2.jpg");
    flip(&archive, at - 500);
    flip(&archive, at + len + 3);
    let last = fs::metadata(&archive).unwrap().len() as usize - 7;
    flip(&archive, last);
    assert_whole(&home, &repaired(&home), &before);
}

#[test]
fn archives_under_each_others_names_are_put_right() {
    let home = nights();
    let before = reads(&home.repo_path());
    let archives = home.archives();
    let (first, second) = (fs::read(&archives[0]).unwrap(), fs::read(&archives[1]).unwrap());
    fs::write(&archives[0], second).unwrap();
    fs::write(&archives[1], first).unwrap();
    assert_whole(&home, &repaired(&home), &before);
}

#[test]
fn what_a_retired_archive_still_has_is_taken_from_there() {
    use shoebox::repo::prune::Options as Pruning;
    use shoebox::task::forget::{self, ForgetChoice, forget};
    let home = nights();
    // A night of which little is needed after the next one.
    let goes = home.write("library/goes.bin", &noise(77, 300_000));
    home.write("library/stays.bin", &noise(78, 100_000));
    home.backup();
    fs::remove_file(goes).unwrap();
    home.backup();
    let (ids, now) = (home.repository().snapshot_ids().unwrap(), jiff::Timestamp::now());
    let choice =
        ForgetChoice::Named(ids[..ids.len() - 1].iter().map(ToString::to_string).collect());
    let options = forget::Options {
        choice,
        zone: jiff::tz::TimeZone::UTC,
        now,
        accept_clock: false,
        apply: true,
    };
    forget(&home.repository(), &options, &SilentMonitor).unwrap();
    let old = home.archives().len();
    let pruning = Pruning { max_unused: 0, grace: jiff::SignedDuration::from_hours(24), now };
    shoebox::task::prune::prune(&home.repository(), &pruning, false, false, &SilentMonitor)
        .unwrap();
    let before = reads(&home.repo_path());
    let new = home.archives().split_off(old);
    assert!(!new.is_empty());
    // All that was copied is damaged, chunks of dumps too.
    let lines = home.lines().into_iter().filter(|(archive, _)| new.contains(archive));
    lines.for_each(|(archive, line)| flip(&archive, line.place().0 as usize + 20));
    assert_whole(&home, &repaired(&home), &before);
}

#[test]
fn a_lost_archive_comes_back_but_for_the_dump() {
    let home = nights();
    let before = reads(&home.repo_path());
    // All lists and dumps of later nights lean on what is in the first.
    fs::remove_file(&home.archives()[0]).unwrap();
    let report = repaired_from_server(&home);
    let left =
        |step: &&shoebox::task::repair::RepairStep| matches!(step.remedy, RepairRemedy::Leave(_));
    for step in report.steps.iter().filter(left) {
        assert!(
            matches!(&step.finding, CheckFinding::Snapshot { part: SnapshotPart::Dump, .. }),
            "{step:#?}"
        );
    }
    let is_dump = |path: &str| path.contains("/database/");
    let after = reads(&home.repo_path());
    assert!(
        before.iter().filter(|(path, _)| !is_dump(path)).all(|(path, bytes)| after[path] == *bytes)
    );
    assert_does_nothing_more(&home);
    // The lists that were made again from the catalog are enough for a new one.
    fs::remove_file(home.repo_path().join("catalog.sqlite")).unwrap();
    repaired(&home);
    assert_eq!(reads(&home.repo_path()), after);
}

#[test]
fn damaged_lists_are_made_again_from_the_catalog() {
    let home = Home::new();
    crate::backup_library::odd_tree(&home);
    home.write_dump(&dump(300, 0));
    home.backup();
    let before = reads(&home.repo_path());
    let record = home.repository().record(home.repository().snapshot_ids().unwrap()[0]).unwrap();
    for stream in [&record.streams.files, &record.streams.library] {
        for (archive, line) in home.lines() {
            if matches!(&line, IndexLine::Chunk(line) if line.chunk == stream.chunks[0].hash) {
                flip(&archive, line.place().0 as usize + 20);
            }
        }
    }
    assert_whole(&home, &repaired(&home), &before);
}

#[test]
fn one_that_was_cut_short_is_finished_by_the_next() {
    let home = nights();
    let (before, catalog) = (reads(&home.repo_path()), home.repo_path().join("catalog.sqlite"));
    let archive = home.archives()[1].clone();
    HEADLESS[0](&archive);
    let (damaged, old) = (fs::read(&archive).unwrap(), fs::read(&catalog).unwrap());
    let first = repaired(&home);
    assert_whole(&home, &first, &before);
    // Cut before the old archive was moved.
    fs::write(&archive, &damaged).unwrap();
    let second = repaired(&home);
    assert_eq!(
        (second.done.as_ref().unwrap().written.len(), second.done.as_ref().unwrap().aside.len()),
        (0, 1)
    );
    assert_whole(&home, &second, &before);
    // Cut before the catalog was published.
    fs::write(&archive, &damaged).unwrap();
    fs::write(&catalog, &old).unwrap();
    assert_eq!(reads(&home.repo_path()), before);
    assert_whole(&home, &repaired(&home), &before);
}

// The command
// -------------------------------------------------------------------------------------------------------

#[test]
fn the_command_shows_its_plan_first_and_its_code_says_what_is_left() {
    let home = nights();
    let shoebox = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shoebox"));
        command
            .arg("-qr")
            .arg(home.repo_path())
            .args(arguments)
            .env("SHOEBOX_UPLOAD_LOCATION", home.upload());
        let output = command.output().unwrap();
        let text =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text)
    };
    assert_eq!(shoebox(&["repair"]), (0, "all is well: there is nothing to repair\n".to_owned()));
    let (archive, at, _) = place(&home, "/1.jpg");
    flip(&archive, at + 10);
    fs::remove_file(home.repo_path().join("shoebox.json")).unwrap();
    let (code, text) = shoebox(&["check"]);
    assert!(code == 1 && text.contains("`shoebox repair` writes it again"), "{text}");
    let (code, text) = shoebox(&["repair"]);
    assert!(
        code == 3 && text.contains("2 findings, of which 2 can be repaired; --apply does it"),
        "{text}"
    );
    assert!(text.contains("Ann Lee: IMG_1.jpg, taken 2025-01-02 03:04: damaged in "), "{text}");
    assert!(text.contains("  repair: it is stored again from upload/"), "{text}");
    let (code, text) = shoebox(&["repair", "--json", "--apply"]);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (code, &lines[0]["finding"], &lines[0]["remedy"]),
        (0, &"photo".into(), &"repair".into()),
        "{text}"
    );
    assert_eq!(
        (&lines[2]["finding"], &lines[2]["repaired"], &lines[2]["applied"]),
        (&"summary".into(), &2.into(), &true.into())
    );
    assert_eq!(lines[2]["aside"].as_array().unwrap().len(), 1);
    assert_eq!(shoebox(&["repair", "--apply"]).0, 0);
    assert_eq!(shoebox(&["check", "--read-data"]).0, 0);
    assert_eq!(shoebox(&["repair", "catalog"]).0, 0);
}

#[test]
fn one_writer_at_a_time() {
    let home = nights();
    let session =
        shoebox::repo::WriteSession::begin(&home.repository(), "backup", &SilentMonitor).unwrap();
    let error = repair(&home.repo_path(), &Options::default(), &SilentMonitor).unwrap_err();
    assert_eq!(error.kind(), shoebox::base::ErrorKind::Locked);
    drop(session);
    repair(&home.repo_path(), &Options::default(), &SilentMonitor).unwrap();
}
