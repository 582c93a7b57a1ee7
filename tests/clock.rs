//! A night under a clock that was wrong, and the numbers of snapshots: neither stops the next backup.

mod backup_library;

use std::fs;

use backup_library::{Home, tick};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use shoebox::base::monitor::Silent;
use shoebox::base::{Kind, SnapshotId};
use shoebox::repo::prune::Options as Pruning;
use shoebox::repo::{Repository, Session, SnapshotRecord};
use shoebox::task::check::{Extent, check};
use shoebox::task::forget::{self, Choice, Policy};
use shoebox::task::prune::prune;
use shoebox::task::status::{Finding, Limits, status};

const AHEAD: &str = "2099-01-01T030005Z";

/// Makes the record of the snapshot `id` say something else, as if it had been made so.
fn rewrite(repository: &Repository, id: SnapshotId, change: impl Fn(&mut SnapshotRecord)) {
    let mut record = repository.record(id).unwrap();
    change(&mut record);
    let place = |id: SnapshotId| repository.root().join(format!("snapshots/{id}.json"));
    fs::remove_file(place(id)).unwrap();
    fs::write(place(record.id), serde_json::to_vec(&record).unwrap()).unwrap();
}

/// A library with two nights, of which the second was made under a clock that was decades ahead.
fn with_a_night_ahead() -> (Home, SnapshotId) {
    let home = Home::new();
    home.write("upload/a.jpg", b"a photo of the first night");
    let first = home.backup().record.id;
    tick();
    home.write("upload/b.jpg", b"a photo that only the second night has");
    let second = home.backup().record.id;
    rewrite(&home.repository(), second, |record| record.id = AHEAD.parse().unwrap());
    fs::remove_file(home.upload().join("upload/b.jpg")).unwrap();
    (home, first)
}

fn findings(repository: &Repository) -> Vec<Finding> {
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let limits = Limits { snapshot: days(2), verified: days(45) };
    status(repository, limits, Timestamp::now()).unwrap().findings
}

fn forgetting(choice: Choice) -> forget::Options {
    forget::Options { choice, zone: TimeZone::UTC, now: Timestamp::now(), accept_clock: false, apply: true }
}

fn known(repository: &Repository) -> Vec<SnapshotId> {
    let db = repository.catalog().unwrap().connect().unwrap();
    shoebox::catalog::query::snapshot::ids(&db).unwrap()
}

#[test]
fn one_night_under_a_clock_that_was_ahead_stops_no_backup_and_is_forgotten_by_name() {
    let (home, first) = with_a_night_ahead();
    let repository = home.repository();
    let third = home.backup().record.id;
    // Ids are whole seconds and ascend: the third night of one second is a little ahead.
    assert!(third > first && third.time().duration_since(Timestamp::now()) < SignedDuration::from_secs(10));
    assert_eq!(known(&repository), [first, third], "it is kept aside");
    assert!(check(&repository, Extent::All, &Silent).unwrap().findings.is_empty());
    let told = findings(&repository);
    let red = told.iter().find(|finding| finding.what.contains("still to come")).unwrap();
    assert!(red.red && red.next.contains(&format!("shoebox forget {AHEAD} --apply")), "{red:?}");

    // Retention leaves it alone, and nothing that it needs is given back while it is there.
    let policy =
        Policy { keep: vec![(forget::policy::Every::Snapshot, forget::policy::Count::Of(1))], ..Policy::default() };
    let report = forget::forget(&repository, &forgetting(Choice::ByPolicy(policy)), &Silent).unwrap();
    let gone: Vec<_> = report.fates.iter().filter(|fate| fate.reasons.is_empty()).map(|fate| fate.record.id).collect();
    assert_eq!(gone, [first]);
    let pruning = Pruning { max_unused: 0, grace: SignedDuration::ZERO, now: Timestamp::now() };
    let refused = prune(&repository, &pruning, false, false, &Silent).unwrap_err();
    assert!(refused.kind() == Kind::Refused && refused.next_step().unwrap().contains("shoebox forget 2099"));

    forget::forget(&repository, &forgetting(Choice::Named(vec![AHEAD.to_owned()])), &Silent).unwrap();
    assert_eq!(repository.snapshot_ids().unwrap(), [third]);
    prune(&repository, &pruning, false, false, &Silent).unwrap();
    assert!(!findings(&repository).iter().any(|finding| finding.what.contains("still to come")));
    assert!(check(&repository, Extent::All, &Silent).unwrap().findings.is_empty());
}

#[test]
fn a_snapshot_whose_time_came_is_taken_in_like_any_other() {
    let (home, first) = with_a_night_ahead();
    let third = home.backup().record.id;
    let then: SnapshotId = SnapshotId::from_seconds(first.seconds() - 86_400).unwrap();
    rewrite(&home.repository(), AHEAD.parse().unwrap(), |record| record.id = then);
    drop(Session::begin(&home.repository(), "look", &Silent).unwrap());
    assert_eq!(known(&home.repository()), [then, first, third]);
    assert!(check(&home.repository(), Extent::All, &Silent).unwrap().findings.is_empty());
}

#[test]
fn the_numbers_of_forgotten_snapshots_are_used_again_after_the_highest() {
    let home = Home::new();
    home.write("upload/a.jpg", b"a photo");
    let number = |home: &Home| home.backup().record.number;
    assert_eq!((number(&home), number(&home)), (1, 2));
    tick();
    let last = home.backup().record.id;
    rewrite(&home.repository(), last, |record| record.number = u16::MAX);
    drop(Session::rebuild(&home.repository(), &Silent).unwrap());
    assert_eq!(number(&home), 3, "1 and 2 are taken");
    let ids = home.repository().snapshot_ids().unwrap();
    let named = Choice::Named(ids[..2].iter().map(ToString::to_string).collect());
    forget::forget(&home.repository(), &forgetting(named), &Silent).unwrap();
    assert_eq!(number(&home), 4, "not at once: whoever has the mount open is still in the one that was forgotten");
    assert!(check(&home.repository(), Extent::All, &Silent).unwrap().findings.is_empty());
}
