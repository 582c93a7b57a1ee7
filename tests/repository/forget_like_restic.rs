//! Forgetting keeps what restic keeps: both are given the same snapshots and the same words.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::thread;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use shoebox::task::forget::KeepPolicy;
use shoebox::task::forget::policy::{KeepCount, KeepPeriod};

const ZONE: &str = "Europe/Berlin";

/// Some nights in a row, nights without one, several a day, and years that lie apart; around
/// midnight, the end of the year and the hour that comes twice.
const TIMES: [&str; 24] = [
    "2021-06-01 03:00:00",
    "2022-12-31 23:59:59",
    "2023-01-01 00:00:00",
    "2023-01-01 12:00:00",
    "2023-07-09 23:30:00",
    "2024-02-29 03:00:00",
    "2024-10-27 00:30:00",
    "2024-10-27 01:30:00",
    "2024-10-27 03:30:00",
    "2024-12-30 03:00:00",
    "2025-01-05 03:00:00",
    "2025-01-06 03:00:00",
    "2025-02-28 03:00:00",
    "2025-03-01 00:10:00",
    "2025-03-01 00:50:00",
    "2025-03-01 01:10:00",
    "2025-03-05 03:00:00",
    "2025-03-06 03:00:00",
    "2025-03-07 03:00:00",
    "2025-03-07 15:00:00",
    "2025-03-08 03:00:00",
    "2025-03-09 03:00:00",
    "2025-03-10 03:00:00",
    "2025-03-10 03:00:30",
];

const WORDS: [&[&str]; 12] = [
    &["--keep-last", "3"],
    &["--keep-hourly", "5"],
    &["--keep-daily", "7"],
    &["--keep-weekly", "4"],
    &["--keep-monthly", "6"],
    &["--keep-yearly", "10"],
    &["--keep-daily", "3", "--keep-weekly", "2", "--keep-monthly", "12", "--keep-yearly", "3"],
    &["--keep-within", "7d"],
    &["--keep-within", "1y2m3d4h"],
    &["--keep-within-daily", "1m", "--keep-within-monthly", "2y"],
    &["--keep-within-hourly", "10d", "--keep-within-weekly", "3m", "--keep-within-yearly", "5y"],
    &["--keep-last", "1", "--keep-within", "2d", "--keep-monthly", "2"],
];

struct Restic(tempfile::TempDir);

impl Restic {
    /// A repository with a snapshot at each of the times.
    fn new() -> Restic {
        let restic = Restic(tempfile::tempdir().unwrap());
        std::fs::write(restic.0.path().join("file"), "a file").unwrap();
        restic.run(&["init"]);
        thread::scope(|scope| {
            for time in TIMES {
                let restic = &restic;
                scope.spawn(move || {
                    restic.run(&["backup", "--host", "host", "--time", time, "file"])
                });
            }
        });
        restic
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("restic");
        command
            .current_dir(self.0.path())
            .env("RESTIC_PASSWORD", "x")
            .env("TZ", ZONE)
            .env("RESTIC_REPOSITORY", "repo");
        let output = command
            .arg("--no-cache")
            .args(arguments)
            .output()
            .expect("restic; `scripts/setup` installs it");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// The snapshots that it would keep.
    fn kept(&self, words: &[&str]) -> BTreeSet<Timestamp> {
        let output = self.run(&[&["forget", "--dry-run", "--json", "--no-lock"], words].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let groups: Vec<Value> =
            serde_json::from_str(text.lines().find(|line| line.starts_with('[')).unwrap()).unwrap();
        let time =
            |snapshot: &Value| snapshot["time"].as_str().unwrap().parse::<Timestamp>().unwrap();
        groups.iter().flat_map(|group| group["keep"].as_array().unwrap()).map(time).collect()
    }
}

/// What shoebox makes of the words.
fn policy(words: &[&str]) -> KeepPolicy {
    let mut policy = KeepPolicy::default();
    for pair in words.chunks(2) {
        let (word, value) = (pair[0].trim_start_matches("--keep-"), pair[1]);
        let every = |word: &str| match word {
            "last" => KeepPeriod::Snapshot,
            "hourly" => KeepPeriod::Hour,
            "daily" => KeepPeriod::Day,
            "weekly" => KeepPeriod::Week,
            "monthly" => KeepPeriod::Month,
            "yearly" => KeepPeriod::Year,
            _ => panic!("{word}"),
        };
        match word.strip_prefix("within") {
            Some("") => policy.within = Some(value.parse().unwrap()),
            Some(word) => policy
                .keep_within
                .push((every(word.trim_start_matches('-')), value.parse().unwrap())),
            None => policy.keep.push((every(word), KeepCount::Of(value.parse().unwrap()))),
        }
    }
    policy
}

#[test]
fn restic_keeps_the_same_snapshots() {
    let zone = TimeZone::get(ZONE).unwrap();
    let instant = |time: &str| {
        let civil = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).unwrap();
        civil.to_zoned(zone.clone()).unwrap().timestamp()
    };
    let newest_first: Vec<Timestamp> = TIMES.iter().rev().map(|time| instant(time)).collect();
    let restic = Restic::new();
    let all = restic.kept(&["--keep-last", "1000"]);
    assert_eq!(all, newest_first.iter().copied().collect());
    let theirs = thread::scope(|scope| {
        let asked = WORDS.map(|words| scope.spawn(|| restic.kept(words)));
        asked.map(|asked| asked.join().unwrap())
    });
    for (words, theirs) in WORDS.into_iter().zip(theirs) {
        let reasons = policy(words).reasons(&newest_first, &zone).unwrap();
        let kept = newest_first
            .iter()
            .zip(reasons)
            .filter(|(_, reasons)| !reasons.is_empty())
            .map(|(time, _)| *time);
        assert_eq!(kept.collect::<BTreeSet<_>>(), theirs, "{words:?}");
    }
}
