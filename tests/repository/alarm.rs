//! The alarm: a library that shrank is stored, marked and told, and nothing is forgotten until a
//! person has looked.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};

use crate::backup_library::{ANN, Home, noise};
use assert_cmd::prelude::*;
use serde_json::Value;
use sha1::{Digest, Sha1};
use shoebox::base::monitor::SilentMonitor;
use shoebox::task::acknowledge::acknowledge;
use shoebox::task::backup::{Options, Report, backup};

const BO: &str = "22222222-2222-4222-8222-222222222222";

/// A dump in which Ann and Bo have so many photos, the newest uploaded on that day of May. `None`:
/// Bo has no account.
fn dump(ann: u64, bo: Option<u64>, day: u64) -> String {
    let mut text = "--\n-- PostgreSQL database dump\n--\n\n".to_owned();
    for table in ["album", "asset", "\"user\""] {
        writeln!(text, "CREATE TABLE public.{table} (x text);").unwrap();
    }
    text.push_str("COPY public.album (id, \"albumName\") FROM stdin;\n\\.\n\n");
    text.push_str(
        "COPY public.asset (id, \"ownerId\", type, \"originalPath\", \
        \"originalFileName\", checksum, \"localDateTime\", \"createdAt\") FROM stdin;\n",
    );
    for (owner, prefix, photos) in [(ANN, 1, ann), (BO, 2, bo.unwrap_or(0))] {
        for number in 1..=photos {
            let id = format!("{prefix}{number:07x}-1111-4111-8111-111111111111");
            // All of them are one of ten files.
            let (file, sha1) =
                (number % 10, hex::encode(Sha1::digest(noise(number % 10 + 1, 10_000))));
            writeln!(text, "{id}\t{owner}\tIMAGE\t/data/upload/{ANN}/{file}.jpg\t{number}.jpg\t\\\\x{sha1}\t2025-01-02 03:04:05+00\t2025-05-{day:02} 03:04:05+00").unwrap();
        }
    }
    text.push_str("\\.\n\nCOPY public.\"user\" (id, name, email) FROM stdin;\n");
    writeln!(text, "{ANN}\tAnn Lee\tann@example.com").unwrap();
    if bo.is_some() {
        writeln!(text, "{BO}\tBo Kim\tbo@example.com").unwrap();
    }
    text.push_str("\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n");
    text
}

/// A library of ten files in which Ann has 100 photos and Bo 20, backed up once.
fn home() -> Home {
    let home = Home::new();
    for number in 0..10u64 {
        home.write(format!("upload/{ANN}/{number}.jpg"), &noise(number + 1, 10_000));
    }
    home.write_dump(&dump(100, Some(20), 10));
    assert_eq!(home.backup().record.alarm, [""; 0]);
    home
}

fn night(home: &Home, dump: &str) -> Report {
    home.write_dump(dump);
    home.backup()
}

fn shoebox(home: &Home, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("shoebox").unwrap();
    command.env("SHOEBOX_REPOSITORY", home.repo_path()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn forget(home: &Home) -> Output {
    shoebox(home, &["forget", "--keep-last", "1", "--apply"])
}

#[test]
fn a_library_that_grows_or_loses_a_little_gives_no_alarm() {
    let home = home();
    let first = home.repository().record(home.repository().snapshot_ids().unwrap()[0]).unwrap();
    let accounts: Vec<(&str, u64)> = first
        .census
        .accounts
        .iter()
        .map(|account| (account.name.as_str(), account.assets))
        .collect();
    assert_eq!(accounts, [("Ann Lee", 100), ("Bo Kim", 20)]);
    assert_eq!(night(&home, &dump(120, Some(20), 11)).record.alarm, [""; 0]);
    assert_eq!(night(&home, &dump(108, Some(20), 11)).record.alarm, [""; 0]);
}

#[test]
fn each_way_to_shrink_is_an_alarm_that_says_what_and_since_when() {
    let home = home();
    let first = home.repository().snapshot_ids().unwrap()[0];
    let alarm = |dump: &str| night(&home, dump).record.alarm;
    assert_eq!(
        alarm(&dump(80, Some(20), 10)),
        [format!("100 assets where snapshot {first} had 120 assets (16% less)")]
    );
    let gone = alarm(&dump(130, None, 10));
    assert_eq!(
        gone,
        [format!("the account Bo Kim is gone, and had 20 in snapshot {}", bo_had(&home))]
    );
    // What went a little every night is compared with the largest of the month.
    let third = home.repository().snapshot_ids().unwrap()[2];
    let eroded = alarm(&dump(110, Some(0), 10));
    assert_eq!(eroded[0], format!("110 assets where snapshot {third} had 130 assets (15% less)"));
    assert_eq!(
        eroded[1],
        format!("the account Bo Kim has no asset, and had 20 in snapshot {}", bo_had(&home))
    );
    let older = alarm(&dump(130, Some(20), 9));
    assert!(older[0].starts_with(
        "the newest upload is of 2025-05-09 03:04 UTC, and was of 2025-05-10 03:04 UTC"
    ));
}

/// The newest snapshot in which Bo had photos.
fn bo_had(home: &Home) -> String {
    let repository = home.repository();
    let records =
        repository.snapshot_ids().unwrap().into_iter().map(|id| repository.record(id).unwrap());
    let mut had = records
        .filter(|record| record.census.accounts.iter().any(|a| a.name == "Bo Kim" && a.assets > 0));
    had.next_back().unwrap().id.to_string()
}

#[test]
fn files_that_went_are_an_alarm_but_generated_ones_that_are_not_asked_for_are_none() {
    let home = home();
    for number in 0..20u64 {
        home.write(format!("thumbs/{ANN}/{number}.webp"), &noise(number + 100, 5_000));
    }
    let with =
        backup(&home.repository(), Options { generated: true, ..home.options() }, &SilentMonitor)
            .unwrap();
    assert_eq!((with.record.files.files, with.record.alarm.len()), (33, 0));
    assert_eq!(home.backup().record.alarm, [""; 0]);
    for number in 0..3 {
        fs::remove_file(home.upload().join(format!("upload/{ANN}/{number}.jpg"))).unwrap();
    }
    let alarm = home.backup().record.alarm;
    assert!(
        alarm[0].starts_with("10 files where snapshot ")
            && alarm[0].ends_with("had 13 files (23% less)"),
        "{alarm:?}"
    );
    assert!(alarm[1].starts_with("70.04 kB where snapshot "), "{alarm:?}");
}

#[test]
fn an_alarm_is_told_every_night_and_freezes_forgetting_until_it_is_acknowledged() {
    let home = home();
    home.write_dump(&dump(50, Some(20), 10));
    let (upload, dump_path) = (home.upload(), home.dump_path());
    let arguments = [
        "backup",
        "--upload-location",
        upload.to_str().unwrap(),
        "--dump",
        dump_path.to_str().unwrap(),
    ];
    for _ in 0..2 {
        let said = shoebox(&home, &arguments);
        assert_eq!(said.status.code(), Some(3), "{}", text(&said.stderr));
        assert!(
            text(&said.stderr).contains("problem: alarm: 70 assets where snapshot "),
            "{}",
            text(&said.stderr)
        );
        assert!(text(&said.stderr).contains("shoebox acknowledge latest"));
    }
    assert!(text(&shoebox(&home, &["snapshots"]).stdout).contains("ALARM"));
    let refused = forget(&home);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("has an alarm: 70 assets"), "{}", text(&refused.stderr));

    let said = shoebox(&home, &["--json", "acknowledge", "latest"]);
    let value: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(
        (said.status.code(), value["acknowledged"].as_array().unwrap().len()),
        (Some(0), 2),
        "{value}"
    );
    assert!(!text(&shoebox(&home, &["snapshots"]).stdout).contains("ALARM"));
    // It is the new measure.
    assert_eq!(shoebox(&home, &arguments).status.code(), Some(0));
    assert_eq!(forget(&home).status.code(), Some(0));
    assert_eq!(home.repository().snapshot_ids().unwrap().len(), 1);
    assert_eq!(shoebox(&home, &arguments).status.code(), Some(0));
}

#[test]
fn what_was_accepted_beforehand_is_acknowledged() {
    let home = home();
    home.write_dump(&dump(50, Some(20), 10));
    let report = backup(
        &home.repository(),
        Options { accept_shrink: true, ..home.options() },
        &SilentMonitor,
    )
    .unwrap();
    assert!(report.is_acknowledged && report.record.alarm.len() == 1);
    assert_eq!(home.backup().record.alarm, [""; 0]);
    assert_eq!(acknowledge(&home.repository(), "latest").unwrap().calmed, []);
}

#[test]
fn a_share_of_ones_own_is_heeded_and_a_bad_dump_raises_none() {
    let home = home();
    home.write_dump(&dump(50, Some(20), 10));
    let patient =
        backup(&home.repository(), Options { alarm_shrink: 60, ..home.options() }, &SilentMonitor)
            .unwrap();
    assert_eq!(patient.record.alarm, [""; 0]);
    home.write_dump("SELECT 1;\n");
    let bad = backup(
        &home.repository(),
        Options { keep_bad_dump: true, ..home.options() },
        &SilentMonitor,
    )
    .unwrap();
    assert!(!bad.record.is_good() && bad.record.alarm.is_empty());
    assert!(
        acknowledge(&home.repository(), "2001-01-01T000000Z")
            .unwrap_err()
            .next_step()
            .unwrap()
            .contains("lists them")
    );
}
