//! A night under a clock that was wrong, and the numbers of snapshots: neither stops the next
//! backup.

use std::fs;

use crate::backup_library::{Home, tick};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use shoebox::base::monitor::SilentMonitor;
use shoebox::base::{ErrorKind, SnapshotId};
use shoebox::repo::notes::NoteKind;
use shoebox::repo::prune::Options as Pruning;
use shoebox::repo::{Repository, SnapshotRecord, WriteSession};
use shoebox::task::acknowledge::acknowledge;
use shoebox::task::check::{CheckExtent, check};
use shoebox::task::forget::{self, ForgetChoice, KeepPolicy};
use shoebox::task::prune::prune;
use shoebox::task::status::{AgeLimits, StatusFinding, status};

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

fn findings(repository: &Repository) -> Vec<StatusFinding> {
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let limits = AgeLimits { snapshot: days(2), verified: days(45) };
    status(repository, limits, Timestamp::now()).unwrap().findings
}

fn forgetting(choice: ForgetChoice) -> forget::Options {
    forget::Options {
        choice,
        zone: TimeZone::UTC,
        now: Timestamp::now(),
        accept_clock: false,
        apply: true,
    }
}

fn last_one() -> KeepPolicy {
    KeepPolicy {
        keep: vec![(forget::policy::KeepPeriod::Snapshot, forget::policy::KeepCount::Of(1))],
        ..KeepPolicy::default()
    }
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
    assert!(
        third > first
            && third.time().duration_since(Timestamp::now()) < SignedDuration::from_secs(10)
    );
    assert_eq!(known(&repository), [first, third], "it is kept aside");
    assert!(check(&repository, CheckExtent::All, &SilentMonitor).unwrap().findings.is_empty());
    let told = findings(&repository);
    let red = told.iter().find(|finding| finding.what.contains("dated in the future")).unwrap();
    assert!(red.red && red.next.contains(&format!("shoebox forget {AHEAD} --apply")), "{red:?}");

    // No rule forgets until a person says that the clock is right, and nothing that it needs is
    // given back while it is there.
    let by_rule = forgetting(ForgetChoice::ByPolicy(last_one()));
    let refused = forget::forget(&repository, &by_rule, &SilentMonitor).unwrap_err();
    assert!(
        refused.next_step().unwrap().contains(&format!("shoebox forget {AHEAD} --apply")),
        "{refused:?}"
    );
    let accepted = forget::Options { accept_clock: true, ..by_rule };
    let report = forget::forget(&repository, &accepted, &SilentMonitor).unwrap();
    let gone: Vec<_> = report
        .fates
        .iter()
        .filter(|fate| fate.reasons.is_empty())
        .map(|fate| fate.record.id)
        .collect();
    assert_eq!(gone, [first]);
    let pruning = Pruning { max_unused: 0, grace: SignedDuration::ZERO, now: Timestamp::now() };
    let refused = prune(&repository, &pruning, false, false, &SilentMonitor).unwrap_err();
    assert!(
        refused.kind() == ErrorKind::Refused
            && refused.next_step().unwrap().contains("shoebox forget 2099")
    );

    forget::forget(
        &repository,
        &forgetting(ForgetChoice::Named(vec![AHEAD.to_owned()])),
        &SilentMonitor,
    )
    .unwrap();
    assert_eq!(repository.snapshot_ids().unwrap(), [third]);
    prune(&repository, &pruning, false, false, &SilentMonitor).unwrap();
    assert!(
        !findings(&repository).iter().any(|finding| finding.what.contains("dated in the future"))
    );
    assert!(check(&repository, CheckExtent::All, &SilentMonitor).unwrap().findings.is_empty());
}

#[test]
fn a_snapshot_whose_time_came_is_taken_in_like_any_other() {
    let (home, first) = with_a_night_ahead();
    let third = home.backup().record.id;
    let then: SnapshotId = SnapshotId::from_seconds(first.seconds() - 86_400).unwrap();
    rewrite(&home.repository(), AHEAD.parse().unwrap(), |record| record.id = then);
    drop(WriteSession::begin(&home.repository(), "look", &SilentMonitor).unwrap());
    assert_eq!(known(&home.repository()), [then, first, third]);
    assert!(
        check(&home.repository(), CheckExtent::All, &SilentMonitor).unwrap().findings.is_empty()
    );
}

/// Two nights of the past, and after them `nights` that the clock dated to `ahead` from now and
/// later, each with a photo of its own.
fn nights_ahead(nights: u8, ahead: SignedDuration) -> (Home, Vec<SnapshotId>) {
    let (home, now) = (Home::new(), SnapshotId::at(Timestamp::now()).seconds());
    let day = 86_400;
    let past = [now - 2 * day, now - day];
    let future = (0..i64::from(nights)).map(|night| now + ahead.as_secs() + night * day);
    for (number, time) in past.into_iter().chain(future).enumerate() {
        home.write(
            format!("upload/{number}.jpg"),
            format!("the photo of night {number}").as_bytes(),
        );
        let made = home.backup().record.id;
        let id = SnapshotId::from_seconds(time).unwrap();
        rewrite(&home.repository(), made, |record| record.id = id);
    }
    let ids = home.repository().ids_to_come().unwrap();
    (home, ids)
}

#[test]
fn no_number_of_nights_under_any_clock_stops_a_backup_and_nothing_is_forgotten_until_a_person_looks()
 {
    let hours = SignedDuration::from_hours;
    let offsets = [hours(2), hours(47), hours(24 * 10), hours(24 * 365 * 50)];
    for (nights, ahead) in (1..=5).flat_map(|nights| offsets.map(|ahead| (nights, ahead))) {
        let case = format!("{nights} nights, {ahead} ahead");
        let (home, aside) = nights_ahead(nights, ahead);
        let repository = home.repository();
        assert_eq!(aside.len(), usize::from(nights), "{case}");
        for night in 0..2 {
            home.write(
                format!("upload/after-{night}.jpg"),
                format!("a photo after it, {night}").as_bytes(),
            );
            let report = home.backup();
            assert!(!aside.contains(&report.record.id) && report.record.is_good(), "{case}");
            assert!(report.problems.iter().any(|problem| problem.subject == "the clock"), "{case}");
            assert_eq!(known(&repository).last(), Some(&report.record.id), "{case}");
            assert_eq!(
                report.record.files.new_contents, 1,
                "{case}: what is stored is not stored twice"
            );
        }
        assert!(
            findings(&repository)
                .iter()
                .any(|finding| finding.red && finding.what.contains("dated in the future"))
        );
        let by_rule = forgetting(ForgetChoice::ByPolicy(last_one()));
        let refused = forget::forget(&repository, &by_rule, &SilentMonitor).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Refused, "{case}");
        let pruning = Pruning { max_unused: 0, grace: SignedDuration::ZERO, now: Timestamp::now() };
        assert_eq!(
            prune(&repository, &pruning, false, false, &SilentMonitor).unwrap_err().kind(),
            ErrorKind::Refused,
            "{case}"
        );
        assert!(
            check(&repository, CheckExtent::All, &SilentMonitor).unwrap().findings.is_empty(),
            "{case}"
        );

        // It was the clock before: they go by name. It is that of now: their time comes, and all of
        // them are there.
        if nights % 2 == 1 {
            let named = ForgetChoice::Named(aside.iter().map(ToString::to_string).collect());
            forget::forget(&repository, &forgetting(named), &SilentMonitor).unwrap();
            assert_eq!(known(&repository).len(), 4, "{case}");
            prune(&repository, &pruning, true, false, &SilentMonitor).unwrap();
        } else {
            for (day, id) in (10..).zip(&aside) {
                let then = Timestamp::now() - SignedDuration::from_hours(24 * day);
                rewrite(&repository, *id, |record| record.id = SnapshotId::at(then));
            }
            drop(WriteSession::begin(&repository, "look", &SilentMonitor).unwrap());
            assert_eq!(known(&repository).len(), 4 + usize::from(nights), "{case}");
        }
        assert!(
            home.backup().problems.iter().all(|problem| problem.subject != "the clock"),
            "{case}"
        );
        assert!(
            !findings(&repository)
                .iter()
                .any(|finding| finding.what.contains("dated in the future")),
            "{case}"
        );
        assert!(
            check(&repository, CheckExtent::All, &SilentMonitor).unwrap().findings.is_empty(),
            "{case}"
        );
    }
}

#[test]
fn an_alarm_that_was_acknowledged_under_a_clock_ahead_silences_none_of_now() {
    let home = Home::new();
    let photos: Vec<_> = (0..10)
        .map(|n| home.write(format!("upload/{n}.jpg"), format!("photo {n}").as_bytes()))
        .collect();
    let repository = home.repository();
    home.backup();
    tick();
    let ahead = home.backup().record.id;
    rewrite(&repository, ahead, |record| {
        record.id = AHEAD.parse().unwrap();
        record.alarm = vec!["fewer files".to_owned()];
    });
    repository.add_note(NoteKind::Acknowledgement { snapshot: AHEAD.parse().unwrap() }).unwrap();
    photos.iter().for_each(|photo| fs::remove_file(photo).unwrap());
    let record = home.backup().record;
    assert!(!record.alarm.is_empty());
    let alarming = repository.alarming(&repository.notes().unwrap()).unwrap();
    assert_eq!(alarming.map(|record| record.id), Some(record.id));
    assert_eq!(acknowledge(&repository, "latest").unwrap().snapshot, record.id);
    assert!(repository.alarming(&repository.notes().unwrap()).unwrap().is_none());
}

#[test]
fn sixty_thousand_snapshots_are_warned_of_long_before_there_can_be_no_more() {
    let home = Home::new();
    home.backup();
    let repository = home.repository();
    let warned = || {
        findings(&repository).into_iter().find(|finding| finding.what.contains("at 65,535 no more"))
    };
    // What is in the records does not matter to their number.
    let place = |seconds: i64| {
        let id = SnapshotId::from_seconds(seconds).unwrap();
        fs::write(repository.root().join(format!("snapshots/{id}.json")), "{}").unwrap();
    };
    (1..59_999).for_each(place);
    assert_eq!(repository.snapshot_ids().unwrap().len(), 59_999);
    assert_eq!(warned(), None);
    place(59_999);
    let warning = warned().unwrap();
    assert!(
        !warning.red
            && warning.what.contains("60000 snapshots")
            && warning.next.contains("shoebox forget")
    );
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
    drop(WriteSession::rebuild(&home.repository(), &SilentMonitor).unwrap());
    assert_eq!(number(&home), 3, "1 and 2 are taken");
    let ids = home.repository().snapshot_ids().unwrap();
    let named = ForgetChoice::Named(ids[..2].iter().map(ToString::to_string).collect());
    forget::forget(&home.repository(), &forgetting(named), &SilentMonitor).unwrap();
    assert_eq!(
        number(&home),
        4,
        "not at once: whoever has the mount open is still in the one that was forgotten"
    );
    assert!(
        check(&home.repository(), CheckExtent::All, &SilentMonitor).unwrap().findings.is_empty()
    );
}
