//! Power loss: what was not synced is there or not, in any mixture.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::crash::cuts::run;
use crate::crash::expected::Expected;
use crate::crash::faulty::{Change, Disk, Fault, Kept};
use crate::crash::past::{Night, Past, Work, folder};
use crate::crash::places;

/// After how many of the operations the power is cut in the usual run.
const SAMPLE: usize = 10;
/// How many mixtures are tried each time, besides all and nothing; one in the usual run.
const MIXTURES: u64 = 3;

/// What survives of that which is not durable.
#[derive(Debug, Clone, Copy)]
enum Survives {
    Nothing,
    All,
    Mixture(u64),
}

impl Survives {
    fn all() -> impl Iterator<Item = Survives> {
        let mixtures = places(MIXTURES as usize, 1, 0).len() as u64;
        [Survives::Nothing, Survives::All].into_iter().chain((0..mixtures).map(Survives::Mixture))
    }

    /// The disk `before`, with `changes`, after the power was cut.
    fn of(self, before: &Disk, changes: &[Change]) -> Disk {
        let mut number = 0_u64;
        before.after_power_cut(changes, &mut |_| {
            number += 1;
            match self {
                Survives::Nothing => Kept::Nothing,
                Survives::All => Kept::All,
                Survives::Mixture(seed) => [Kept::All, Kept::Nothing, Kept::Half]
                    [(mixed(seed << 32 | number) % 3) as usize],
            }
        })
    }
}

/// A number without pattern for each `seed` (SplitMix64).
pub fn mixed(seed: u64) -> u64 {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// States that were looked at: many moments leave the same.
#[derive(Default)]
struct Seen(HashSet<u64>);

impl Seen {
    fn is_new(&mut self, disk: &Disk) -> bool {
        let mut hasher = DefaultHasher::new();
        disk.files().hash(&mut hasher);
        self.0.insert(hasher.finish())
    }
}

/// Cuts the power after each operation of `work`.
fn cut_everywhere(past: &Past, work: &Work, kept: &[Night]) {
    let disk = Disk::of(&past.home.repo_path());
    let (uncut, done) = run(past, &disk, work, None);
    assert!(done, "{work:?} without a cut");
    let root = folder();
    uncut.disk.write_to(root.path());
    let expected = Expected::of(root.path());
    let (mut seen, mut cuts) = (Seen::default(), 0);
    let count = uncut.changes.len();
    for at in places(count, SAMPLE, 0).into_iter().chain([count]) {
        for survives in Survives::all() {
            let after = survives.of(&disk, &uncut.changes[..at]);
            cuts += 1;
            if seen.is_new(&after) {
                let what = format!(
                    "{work:?}, power cut after operation {at} of {count}, {survives:?} survives"
                );
                let root = folder();
                after.write_to(root.path());
                expected.assert_holds(past, root.path(), work, kept, at == count, &what);
            }
        }
    }
    println!(
        "{work:?}: {cuts} power cuts at {count} operations, {} states of the disk",
        seen.0.len()
    );
}

#[test]
fn a_power_cut_during_a_backup_loses_nothing() {
    let past = Past::new(2);
    cut_everywhere(&past, &Work::Backup, &past.nights);
}

#[test]
fn a_power_cut_during_a_forget_loses_nothing_else() {
    let past = Past::new(3);
    let kept = [past.nights[0].clone(), past.nights[2].clone()];
    cut_everywhere(&past, &Work::Forget(past.nights[1].id), &kept);
}

#[test]
fn a_power_cut_during_an_import_loses_nothing() {
    let past = Past::with_dumps();
    cut_everywhere(&past, &Work::Import, &past.nights);
}

#[test]
fn a_power_cut_during_a_prune_loses_nothing() {
    let past = Past::forgotten();
    cut_everywhere(&past, &Work::Prune, &past.nights);
}

/// The first process is killed when it has made, renamed or removed something, a second one does
/// its work and says that it is done; then the power is cut.
fn cut_after_a_kill(past: &Past, first: &Work, second: &Work, kept: &[Night]) {
    let disk = Disk::of(&past.home.repo_path());
    let (uncut, _) = run(past, &disk, first, None);
    let mut cuts = 0;
    let names = |at: &usize| uncut.changes[*at].is_of_names();
    for at in (0..uncut.count).filter(names) {
        let (killed, _) = run(past, &disk, first, Some((Fault::Kill, at)));
        let (second_run, done) = run(past, &killed.disk, second, None);
        let word = uncut.changes.get(at).map_or("?", Change::word);
        let what =
            format!("{first:?} killed at operation {at} ({word}), {second:?}, then a power cut");
        assert!(done, "{what}");
        let root = folder();
        second_run.disk.write_to(root.path());
        let expected = Expected::of(root.path());
        let changes = [killed.changes, second_run.changes].concat();
        for survives in Survives::all() {
            let root = folder();
            survives.of(&disk, &changes).write_to(root.path());
            let what = format!("{what}; {survives:?} survives");
            expected.assert_holds(past, root.path(), second, kept, true, &what);
            cuts += 1;
        }
    }
    assert!(cuts > 0);
    println!("{first:?} killed, {second:?}: {cuts} power cuts");
}

#[test]
fn what_a_killed_backup_left_is_durable_before_the_next_one_leans_on_it() {
    let past = Past::new(2);
    // The folder of a year is made by the first archive of that year.
    let archives = past.home.repo_path().join("archives");
    std::fs::create_dir(archives.join("2020")).unwrap();
    let year = std::fs::read_dir(&archives)
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.file_name() != "2020");
    std::fs::rename(year.unwrap().path(), archives.join("2020/x")).unwrap();
    for entry in std::fs::read_dir(archives.join("2020/x")).unwrap().map(Result::unwrap) {
        std::fs::rename(entry.path(), archives.join("2020").join(entry.file_name())).unwrap();
    }
    std::fs::remove_dir(archives.join("2020/x")).unwrap();
    past.work(&past.home.repo_path(), &Work::RepairCatalog, "after moving the archives");
    cut_after_a_kill(&past, &Work::Backup, &Work::Backup, &past.nights);
}

#[test]
fn what_a_killed_forget_deleted_is_gone_for_good_before_a_prune_deletes_what_it_needed() {
    let past = Past::new(3);
    let kept = [past.nights[0].clone(), past.nights[2].clone()];
    cut_after_a_kill(&past, &Work::Forget(past.nights[1].id), &Work::Prune, &kept);
}
