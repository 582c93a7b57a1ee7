//! Cut at every write: shoebox itself runs on a file system that counts what changes it, and one
//! operation goes wrong.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use crate::crash::expected::Expected;
use crate::crash::faulty::{Change, Cut, Disk, FAULTS, Mounted, Outcome};
use crate::crash::past::{Night, Past, Work, folder};
use crate::crash::places;

/// How many of the cuts of one kind are tried in the usual run.
const SAMPLE: usize = 5;

/// Does `work` with the real program on `disk`; what became of it, and whether the program said
/// that it is done.
pub fn run(past: &Past, disk: &Disk, work: &Work, cut: Cut) -> (Outcome, bool) {
    let point = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(disk.clone(), point.path(), cut);
    let mut command = past.command(point.path(), work);
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let outcome = mounted.end();
    assert!(status.code().is_some() || status.signal() == Some(9), "{work:?}, {cut:?}: {status}");
    (outcome, status.success())
}

/// Cuts `work` on the repository of `past` everywhere; `kept` are the snapshots that it must not
/// touch.
fn cut_everywhere(past: &Past, work: &Work, kept: &[Night]) {
    let disk = Disk::of(&past.home.repo_path());
    let (uncut, done) = run(past, &disk, work, None);
    assert!(done, "{work:?} without a cut");
    let root = folder();
    uncut.disk.write_to(root.path());
    let expected = Expected::of(root.path());
    let mut cuts = 0;
    for (number, fault) in FAULTS.into_iter().enumerate() {
        for at in places(uncut.count, SAMPLE, number) {
            let (outcome, done) = run(past, &disk, work, Some((fault, at)));
            let word = uncut.changes.get(at).map_or("?", Change::word);
            let what = format!("{work:?}, {fault:?} at operation {at} of {} ({word})", uncut.count);
            let root = folder();
            outcome.disk.write_to(root.path());
            expected.assert_holds(past, root.path(), work, kept, done, &what);
            cuts += 1;
        }
    }
    println!("{work:?}: {cuts} cuts at {} operations", uncut.count);
}

#[test]
fn a_backup_cut_anywhere_loses_nothing_and_the_next_one_is_as_if_it_had_not_been() {
    let past = Past::new(2);
    cut_everywhere(&past, &Work::Backup, &past.nights);
}

#[test]
fn a_forget_cut_anywhere_loses_nothing_else() {
    let past = Past::new(3);
    let kept = [past.nights[0].clone(), past.nights[2].clone()];
    cut_everywhere(&past, &Work::Forget(past.nights[1].id), &kept);
}

#[test]
fn a_prune_cut_anywhere_loses_nothing_and_the_next_one_finishes() {
    let past = Past::forgotten();
    cut_everywhere(&past, &Work::Prune, &past.nights);
}

#[test]
fn a_rebuild_of_the_catalog_cut_anywhere_loses_nothing() {
    let past = Past::new(2);
    std::fs::remove_file(past.home.repo_path().join("catalog.sqlite")).unwrap();
    cut_everywhere(&past, &Work::RepairCatalog, &past.nights);
}

#[test]
fn a_repair_cut_anywhere_loses_nothing_and_the_next_one_finishes() {
    let past = Past::damaged();
    cut_everywhere(&past, &Work::Repair, &past.nights);
}

#[test]
fn an_import_cut_anywhere_loses_nothing_and_the_next_one_goes_on() {
    let past = Past::with_dumps();
    cut_everywhere(&past, &Work::Import, &past.nights);
}
