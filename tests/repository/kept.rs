//! What Immich recorded is kept: the bytes of an original whose SHA-1 a snapshot's dump names
//! outlive whatever becomes of its file, and are what is shown and restored.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backup_library::{ANN, Home, noise, reads, set_mtime, sha1_of};
use crate::support::{under_clock, whole_restore};
use assert_cmd::prelude::*;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use sha1::{Digest, Sha1};
use shoebox::base::SnapshotId;
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::mount::{self, MountedView};
use shoebox::repo::{WriteSession, prune};
use shoebox::task::acknowledge::acknowledge;
use shoebox::task::backup::{Options, backup};
use shoebox::task::check::{self, CheckExtent};
use shoebox::task::open::open_view;
use shoebox::task::restore::whole;
use shoebox::view;

/// So many photos.
const PHOTOS: u64 = 40;

fn photo(number: u64) -> Vec<u8> {
    noise(number, 3000 + 7 * number as usize)
}

fn place(home: &Home, number: u64) -> PathBuf {
    home.upload().join(format!("upload/{ANN}/{number}.jpg"))
}

/// A dump that names the photos by their SHA-1.
fn dump(numbers: impl Iterator<Item = u64>) -> String {
    let mut text = "--\n-- PostgreSQL database dump\n--\n\n".to_owned();
    for table in ["album", "asset", "\"user\""] {
        writeln!(text, "CREATE TABLE public.{table} (x text);").unwrap();
    }
    text.push_str("COPY public.album (id, \"albumName\") FROM stdin;\n\\.\n\n");
    text.push_str(
        "COPY public.asset (id, \"ownerId\", type, \"originalPath\", \
        \"originalFileName\", checksum, \"localDateTime\", \"createdAt\") FROM stdin;\n",
    );
    for number in numbers {
        let sha1 = hex::encode(Sha1::digest(photo(number)));
        writeln!(text, "{number:08x}-1111-4111-8111-111111111111\t{ANN}\tIMAGE\t/data/upload/{ANN}/{number}.jpg\tIMG_{number}.jpg\t\\\\x{sha1}\t2025-01-02 03:04:05+00\t2025-05-10 03:04:05+00").unwrap();
    }
    text.push_str("\\.\n\nCOPY public.\"user\" (id, name, email) FROM stdin;\n");
    writeln!(
        text,
        "{ANN}\tAnn Lee\tann@example.com\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n"
    )
    .unwrap();
    text
}

/// A library whose photos are what its database says, backed up once.
fn home() -> Home {
    let home = Home::new();
    for number in 1..=PHOTOS {
        home.write(format!("upload/{ANN}/{number}.jpg"), &photo(number));
    }
    home.write_dump(&dump(1..=PHOTOS));
    let report = home.backup();
    assert_eq!((report.record.completeness.present, report.record.alarm.len()), (PHOTOS, 0));
    home
}

/// What becomes of a file.
type Fate = fn(&Path);

const FATES: [(&str, Fate); 6] = [
    ("encrypted in place", |path| {
        let bytes: Vec<u8> = fs::read(path).unwrap().into_iter().map(|byte| byte ^ 0xa5).collect();
        fs::write(path, bytes).unwrap();
    }),
    ("encrypted and renamed", |path| {
        let bytes: Vec<u8> = fs::read(path).unwrap().into_iter().map(|byte| byte ^ 0xa5).collect();
        fs::write(path, bytes).unwrap();
        fs::rename(path, path.with_extension("jpg.locked")).unwrap();
    }),
    ("truncated", |path| {
        fs::File::options().write(true).open(path).unwrap().set_len(1000).unwrap()
    }),
    ("emptied", |path| fs::write(path, "").unwrap()),
    ("gone", |path| fs::remove_file(path).unwrap()),
    ("another disk's", |path| {
        fs::write(path, noise(fs::metadata(path).unwrap().len() + 99, 5000)).unwrap()
    }),
];

/// Forgets all but the newest snapshot, and prunes at once.
fn forget_and_prune(home: &Home) {
    acknowledge(&home.repository(), "latest").unwrap();
    let ids = home.repository().snapshot_ids().unwrap();
    let mut session = WriteSession::begin(&home.repository(), "forget", &SilentMonitor).unwrap();
    session.forget(&ids[..ids.len() - 1], &SilentMonitor).unwrap();
    let options =
        prune::Options { max_unused: 0, grace: SignedDuration::ZERO, now: Timestamp::now() };
    session.prune(&options, &SilentMonitor).unwrap();
}

/// The photos of `users/` in the newest snapshot, by name: SHA-1 of what is read.
fn shown(home: &Home) -> BTreeMap<String, Option<String>> {
    let by_date = "/users/Ann Lee/by date/2025/2025-01/";
    let all = reads(&home.repo_path()).into_iter();
    all.filter_map(|(path, sha1)| Some((path.split_once(by_date)?.1.to_owned(), sha1))).collect()
}

fn uploaded() -> BTreeMap<String, Option<String>> {
    (1..=PHOTOS)
        .map(|number| (format!("IMG_{number}.jpg"), Some(hex::encode(Sha1::digest(photo(number))))))
        .collect()
}

/// The photos in UPLOAD_LOCATION as a full restore of the newest snapshot makes it, by name: SHA-1.
fn restored(home: &Home, as_on_disk: bool) -> BTreeMap<String, String> {
    restored_of(home, "latest", as_on_disk)
}

fn restored_of(home: &Home, snapshot: &str, as_on_disk: bool) -> BTreeMap<String, String> {
    let to = home.dir.path().join("restored");
    let options =
        whole::Options { snapshot: snapshot.to_owned(), as_on_disk, ..whole_restore(&to) };
    let problems = ProblemCollector::default();
    let report = whole::restore(&home.repository(), &options, &problems).unwrap();
    assert_eq!((problems.problems().len(), report.left_out), (0, 0));
    let photos =
        fs::read_dir(to.join(format!("upload/{ANN}"))).unwrap().map(|entry| entry.unwrap());
    let named =
        photos.map(|entry| (entry.file_name().into_string().unwrap(), sha1_of(&entry.path())));
    let found = named.filter(|(name, _)| name.ends_with(".jpg")).collect();
    fs::remove_dir_all(to).unwrap();
    found
}

/// The same without shoebox: `files/` with what is in `uploaded/` over it.
fn recovered(home: &Home) -> BTreeMap<String, String> {
    recovered_of(home, "latest")
}

fn recovered_of(home: &Home, snapshot: &str) -> BTreeMap<String, String> {
    let to = home.dir.path().join("recovered");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/recover");
    let said = Command::new(script).arg(home.repo_path()).arg(snapshot).arg(&to).output().unwrap();
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
    let photos = |folder: &str| {
        fs::read_dir(to.join(folder).join(format!("upload/{ANN}"))).into_iter().flatten()
    };
    let all = photos("files").chain(photos("uploaded")).map(|entry| entry.unwrap());
    let named = all.map(|entry| (entry.file_name().into_string().unwrap(), sha1_of(&entry.path())));
    let found = named.filter(|(name, _)| name.ends_with(".jpg")).collect();
    fs::remove_dir_all(to).unwrap();
    found
}

fn by_path() -> BTreeMap<String, String> {
    (1..=PHOTOS)
        .map(|number| (format!("{number}.jpg"), hex::encode(Sha1::digest(photo(number)))))
        .collect()
}

fn check(home: &Home) {
    let report = check::check(&home.repository(), CheckExtent::All, &SilentMonitor).unwrap();
    assert_eq!(report.findings, []);
}

#[test]
fn what_immich_recorded_outlives_whatever_becomes_of_its_file() {
    for (name, fate) in FATES {
        let home = home();
        crate::backup_library::tick();
        (1..=PHOTOS - 5).for_each(|number| fate(&place(&home, number)));
        home.try_backup(&SilentMonitor).unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
        home.backup();
        forget_and_prune(&home);
        assert_eq!(home.repository().snapshot_ids().unwrap().len(), 1);
        assert_eq!(shown(&home), uploaded(), "{name}");
        assert_eq!(restored(&home, false), by_path(), "{name}");
        assert_eq!(recovered(&home), by_path(), "{name}");
        check(&home);
        drop(WriteSession::rebuild(&home.repository(), &SilentMonitor).unwrap());
        assert_eq!(shown(&home), uploaded(), "{name}, with another catalog");
        forget_and_prune(&home);
        assert_eq!(shown(&home), uploaded(), "{name}, pruned again");
    }
}

/// What happens to a library of a few photos.
#[derive(Debug, Clone)]
enum Step {
    /// Something becomes of the file of a photo; its row stays.
    Harm(u64, usize),
    /// The file is there again as it was uploaded; the row too, where it was deleted.
    Upload(u64),
    /// Row and file go.
    Delete(u64),
    Backup,
    /// Which of the older snapshots stay, by the bits.
    Forget(u8),
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    // Nothing becomes of the first photo: a library without any is refused.
    let number = 2..6u64;
    prop_oneof![
        6 => (number.clone(), 0..FATES.len()).prop_map(|(number, fate)| Step::Harm(number, fate)),
        2 => number.clone().prop_map(Step::Upload),
        1 => number.prop_map(Step::Delete),
        6 => Just(Step::Backup),
        2 => any::<u8>().prop_map(Step::Forget),
        3 => Just(Step::Prune),
    ]
}

/// A night: the photos that its database names, and the files that lay on the disk, by name.
struct Night {
    id: SnapshotId,
    named: BTreeSet<u64>,
    disk: BTreeMap<String, String>,
}

/// A library, its nights, and the photos whose uploaded bytes must be kept.
struct Model {
    home: Home,
    named: BTreeSet<u64>,
    nights: Vec<Night>,
    kept: BTreeSet<u64>,
}

impl Model {
    fn new() -> Model {
        let mut model = Model {
            home: Home::new(),
            named: BTreeSet::new(),
            nights: Vec::new(),
            kept: BTreeSet::new(),
        };
        (1..6).for_each(|number| model.take(&Step::Upload(number)));
        model.take(&Step::Backup);
        model
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Harm(number, fate) => {
                let path = place(&self.home, number);
                if path.exists() {
                    (FATES[fate].1)(&path);
                }
            }
            Step::Upload(number) => {
                self.home.write(format!("upload/{ANN}/{number}.jpg"), &photo(number));
                self.named.insert(number);
            }
            Step::Delete(number) => {
                let _ = fs::remove_file(place(&self.home, number));
                self.named.remove(&number);
            }
            Step::Backup => self.backup(),
            Step::Forget(bits) => self.forget(bits),
            Step::Prune => {
                let options = prune::Options {
                    max_unused: 0,
                    grace: SignedDuration::ZERO,
                    now: Timestamp::now(),
                };
                WriteSession::begin(&self.home.repository(), "prune", &SilentMonitor)
                    .unwrap()
                    .prune(&options, &SilentMonitor)
                    .unwrap();
            }
        }
    }

    fn backup(&mut self) {
        self.home.write_dump(&dump(self.named.iter().copied()));
        let id = self.home.backup().record.id;
        let files = fs::read_dir(self.home.upload().join(format!("upload/{ANN}")))
            .unwrap()
            .map(Result::unwrap);
        let disk: BTreeMap<_, _> = files
            .map(|file| (file.file_name().into_string().unwrap(), sha1_of(&file.path())))
            .collect();
        let stored = self
            .named
            .iter()
            .filter(|number| disk.get(&named(**number)) == Some(&uploaded_sha1(**number)));
        self.kept.extend(stored);
        self.nights.push(Night { id, named: self.named.clone(), disk });
    }

    fn forget(&mut self, bits: u8) {
        let newest = self.nights.len() - 1;
        let stays = |index: usize| index == newest || bits >> (index % 8) & 1 == 1;
        let gone: Vec<SnapshotId> = self
            .nights
            .iter()
            .enumerate()
            .filter(|(index, _)| !stays(*index))
            .map(|(_, night)| night.id)
            .collect();
        WriteSession::begin(&self.home.repository(), "forget", &SilentMonitor)
            .unwrap()
            .forget(&gone, &SilentMonitor)
            .unwrap();
        self.nights.retain(|night| !gone.contains(&night.id));
        self.kept.retain(|number| self.nights.iter().any(|night| night.named.contains(number)));
    }

    /// Each night gives back each photo that it names as it was uploaded, and its disk as it was.
    /// How many its disk had not.
    fn verify(&self) -> usize {
        let mut pinned = 0;
        for night in &self.nights {
            let snapshot = night.id.to_string();
            let back = restored_of(&self.home, &snapshot, false);
            for number in night.named.intersection(&self.kept) {
                assert_eq!(
                    back.get(&named(*number)),
                    Some(&uploaded_sha1(*number)),
                    "{snapshot}: photo {number}"
                );
                pinned +=
                    usize::from(night.disk.get(&named(*number)) != Some(&uploaded_sha1(*number)));
            }
            let photos = night.disk.iter().filter(|(name, _)| name.ends_with(".jpg"));
            let photos = photos.map(|(name, sha1)| (name.clone(), sha1.clone())).collect();
            assert_eq!(
                restored_of(&self.home, &snapshot, true),
                photos,
                "{snapshot}: as on the disk"
            );
        }
        let checked =
            check::check(&self.home.repository(), CheckExtent::All, &SilentMonitor).unwrap();
        assert!(checked.findings.is_empty(), "{:?}", checked.findings);
        pinned
    }
}

fn named(number: u64) -> String {
    format!("{number}.jpg")
}

fn uploaded_sha1(number: u64) -> String {
    hex::encode(Sha1::digest(photo(number)))
}

#[test]
fn after_any_sequence_of_harm_and_retention_each_night_gives_back_what_immich_recorded() {
    let config = Config {
        cases: 32,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        max_shrink_iters: 100,
        ..Config::default()
    };
    let pinned = Cell::new(0);
    let ran = TestRunner::new(config).run(&prop::collection::vec(step(), 1..30), |steps| {
        let mut model = Model::new();
        steps.iter().for_each(|step| model.take(step));
        pinned.set(pinned.get() + model.verify());
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    println!("{} photos came back of which the disk had not the bytes", pinned.get());
    assert!(pinned.get() > 100);
}

#[test]
fn the_files_stay_visible_as_they_lie_on_the_disk() {
    let home = home();
    fs::write(place(&home, 1), "encrypted").unwrap();
    fs::remove_file(place(&home, 2)).unwrap();
    home.backup();
    forget_and_prune(&home);
    let files: BTreeMap<String, Option<String>> = reads(&home.repo_path())
        .into_iter()
        .filter_map(|(path, sha1)| Some((path.split_once("/files/")?.1.to_owned(), sha1)))
        .collect();
    assert_eq!(files.len() as u64, PHOTOS - 1 + 3);
    let encrypted = hex::encode(Sha1::digest("encrypted"));
    assert_eq!(files[&format!("upload/{ANN}/1.jpg")], Some(encrypted.clone()));
    let as_on_disk = restored(&home, true);
    assert_eq!((as_on_disk.len() as u64, &as_on_disk["1.jpg"]), (PHOTOS - 1, &encrypted));
    assert_eq!(restored(&home, false), by_path());
}

#[test]
fn what_was_deleted_in_immich_ages_out() {
    let home = home();
    (1..=35).for_each(|number| fs::remove_file(place(&home, number)).unwrap());
    home.write_dump(&dump(36..=PHOTOS));
    home.backup();
    forget_and_prune(&home);
    assert_eq!(home.copies(photo(1).len() as u64), 0);
    assert_eq!(home.copies(photo(36).len() as u64), 1);
}

#[test]
fn a_photo_that_came_back_is_shown_in_the_snapshots_that_lacked_it() {
    let home = Home::new();
    for number in 2..=PHOTOS {
        home.write(format!("upload/{ANN}/{number}.jpg"), &photo(number));
    }
    home.write_dump(&dump(1..=PHOTOS));
    home.backup();
    home.write(format!("upload/{ANN}/1.jpg"), &photo(1));
    home.backup();
    let all = reads(&home.repo_path());
    let of_it = all.iter().filter(|(path, _)| path.ends_with("/by date/2025/2025-01/IMG_1.jpg"));
    assert_eq!(of_it.filter(|(_, sha1)| sha1.is_some()).count(), 2);
}

/// A night: its problems, alarm, and whether the command would end well.
fn night(home: &Home) -> (Vec<String>, Vec<String>) {
    crate::backup_library::tick();
    let report =
        backup(&home.repository(), Options { paranoid: true, ..home.options() }, &SilentMonitor)
            .unwrap();
    let problems =
        report.problems.iter().map(|problem| format!("{}: {}", problem.subject, problem.message));
    (problems.collect(), report.record.alarm)
}

const MISSING: &str = "the database names this photo, but its file is not there; the bytes that \
    were uploaded are kept";
const CHANGED: &str =
    "its file is not what was uploaded any more; the bytes that were uploaded are kept";
const ROTTEN: &str = "rotten on the disk: its bytes changed, and size and time of the file did \
    not; the bytes that were uploaded are kept";

#[test]
fn a_photo_that_goes_is_told_by_name_though_another_one_came_back() {
    let home = home();
    let aside = home.dir.path().join("aside");
    fs::rename(place(&home, 1), &aside).unwrap();
    assert_eq!(night(&home), (vec![format!("IMG_1.jpg: {MISSING}")], vec![]));
    assert_eq!(night(&home), (vec![], vec![]));
    fs::rename(&aside, place(&home, 1)).unwrap();
    fs::rename(place(&home, 2), &aside).unwrap();
    assert_eq!(night(&home), (vec![format!("IMG_2.jpg: {MISSING}")], vec![]));
}

#[test]
fn a_few_that_change_are_named_each_night_and_a_few_a_night_are_an_alarm_in_the_end() {
    let home = home();
    for number in [1, 2] {
        fs::write(place(&home, number), "edited").unwrap();
    }
    assert_eq!(
        night(&home),
        (vec![format!("IMG_1.jpg: {CHANGED}"), format!("IMG_2.jpg: {CHANGED}")], vec![])
    );
    for number in [3, 4] {
        fs::write(place(&home, number), "edited").unwrap();
    }
    let first = home.repository().snapshot_ids().unwrap()[0];
    let (problems, alarm) = night(&home);
    assert_eq!(problems, [3, 4].map(|number| format!("IMG_{number}.jpg: {CHANGED}")));
    let said = format!(
        "4 of 40 photos are not on the disk as they were uploaded: 4 changed since snapshot \
            {first}; the uploaded bytes are kept of 4"
    );
    assert_eq!(alarm, [said]);
    acknowledge(&home.repository(), "latest").unwrap();
    assert_eq!(night(&home), (vec![], vec![]));
}

#[test]
fn an_ordinary_night_is_no_alarm() {
    let home = home();
    home.write(format!("upload/{ANN}/9.jpg.xmp"), b"one");
    home.backup();
    home.write(format!("upload/{ANN}/9.jpg.xmp"), b"another");
    (36..=PHOTOS).for_each(|number| fs::remove_file(place(&home, number)).unwrap());
    home.write_dump(&dump(1..=35));
    let (problems, alarm) = night(&home);
    assert_eq!(problems, [""; 0]);
    // Five of forty are more than --alarm-shrink, which is about another thing.
    assert!(alarm.iter().all(|alarm| alarm.contains(" less)")), "{alarm:?}");
}

#[test]
fn one_rotten_photo_is_a_problem_and_an_alarm() {
    let home = home();
    let path = place(&home, 1);
    let mtime = filetime(&path);
    let mut bytes = photo(1);
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    set_mtime(&path, mtime);
    let (problems, alarm) = night(&home);
    assert_eq!(problems, [format!("IMG_1.jpg: {ROTTEN}")]);
    assert!(
        alarm[0].starts_with(
            "1 of 40 photos are not on the disk as they were uploaded: 1 rotten since"
        ),
        "{alarm:?}"
    );
}

fn filetime(path: &Path) -> i64 {
    let meta = fs::metadata(path).unwrap();
    meta.mtime() * 1_000_000_000 + meta.mtime_nsec()
}

#[test]
fn a_library_half_of_which_is_gone_is_an_alarm_in_its_first_backup() {
    let home = Home::new();
    (1..=PHOTOS / 2)
        .for_each(|number| drop(home.write(format!("upload/{ANN}/{number}.jpg"), &photo(number))));
    home.write_dump(&dump(1..=PHOTOS));
    let (problems, alarm) = night(&home);
    assert_eq!(problems.len(), 11);
    assert_eq!(
        problems[10],
        "10 more photos: the same; the bytes that were uploaded are kept of 0 of them"
    );
    assert_eq!(
        alarm,
        ["20 of 40 photos are not on the disk as they were uploaded: 20 missing; the uploaded \
                bytes are kept of 0"]
    );
    assert_eq!(night(&home).0, [""; 0]);
    assert!(status(&home).contains("RED   alarm of snapshot"));
}

#[test]
fn a_backup_without_photos_is_never_green_and_a_drill_of_it_fails() {
    let home = Home::new();
    home.write_dump(&dump(1..=PHOTOS));
    night(&home);
    acknowledge(&home.repository(), "latest").unwrap();
    let (problems, alarm) = night(&home);
    assert!(
        problems[0].starts_with(
            "this backup: none of 40 photos is in it; look whether UPLOAD_LOCATION is \
                the right folder"
        ),
        "{problems:?}"
    );
    assert_eq!(alarm, [""; 0]);
    assert!(
        status(&home).contains("RED   none of 40 photos is in the newest snapshot"),
        "{}",
        status(&home)
    );
    let drill = shoebox(&home, &["drill", "--no-server"]);
    assert!(drill.contains("FAILED: it would not all come back"), "{drill}");
}

fn status(home: &Home) -> String {
    shoebox(home, &["status"])
}

/// Nights of the service after which the last copy that retention keeps is of an attacked library.
const NIGHTS: u64 = 60;
/// The night before which the library is attacked, and the one after which a person calls that
/// right.
const ATTACK: u64 = 3;
const MISTAKE: u64 = 6;

/// What befalls a library: what it is called, how many of its photos, and what becomes of each.
const ATTACKS: [(&str, u64, Fate); 7] = [
    ("encrypted in place", PHOTOS, FATES[0].1),
    ("encrypted and renamed", PHOTOS, FATES[1].1),
    ("half of them zeros", PHOTOS / 2, |path| {
        fs::write(path, vec![0; fs::metadata(path).unwrap().len() as usize]).unwrap()
    }),
    ("rotten", 1, rot),
    ("truncated", PHOTOS, FATES[2].1),
    ("a wrong disk", PHOTOS, FATES[5].1),
    ("gone", PHOTOS - 5, FATES[4].1),
];

fn rot(path: &Path) {
    let (mtime, mut bytes) = (filetime(path), fs::read(path).unwrap());
    bytes[100] ^= 1;
    fs::write(path, bytes).unwrap();
    set_mtime(path, mtime);
}

#[test]
fn every_good_byte_comes_back_after_sixty_nights_of_retention() {
    std::thread::scope(|scope| {
        let attacks = ATTACKS.map(|attack| scope.spawn(move || sixty_nights(attack)));
        attacks.into_iter().for_each(|attack| attack.join().unwrap());
    });
}

fn sixty_nights((name, many, fate): (&str, u64, Fate)) {
    let home = home_for_service();
    for night in 1..=NIGHTS {
        if night == ATTACK {
            (1..=many).for_each(|number| fate(&place(&home, number)));
        }
        home.write("upload/of the night.bin", &noise(night, 20_000));
        // Rot is seen by who reads every file again.
        let is_thorough = night == ATTACK && name == "rotten";
        let command: &[&str] =
            if is_thorough { &["backup", "--paranoid"] } else { &["run", "--once"] };
        let (code, said) = at_night(&home, night, command);
        let is_bad = (ATTACK..MISTAKE).contains(&night);
        // A backup without a single file of a photo is never well, whatever a person says.
        let is_empty = night >= ATTACK && name == "encrypted and renamed";
        assert_eq!(code, if is_bad || is_empty { 3 } else { 0 }, "{name}, night {night}: {said}");
        if is_bad {
            let (code, said) = at_night(&home, night, &["status"]);
            assert!(
                code == 3 && said.contains("RED   alarm of snapshot"),
                "{name}, night {night}: {said}"
            );
            assert_eq!(
                home.repository().snapshot_ids().unwrap().len() as u64,
                night,
                "{name}: {said}"
            );
        }
        if night == MISTAKE - 1 {
            assert_eq!(at_night(&home, night, &["acknowledge", "latest"]).0, 0);
        }
    }
    let ids = home.repository().snapshot_ids().unwrap();
    assert!(ids.len() <= 8 && ids[0].to_string() > date(ATTACK), "{name}: {ids:?}");
    for id in &ids {
        assert_eq!(restored_of(&home, &id.to_string(), false), by_path(), "{name}, {id}");
        assert_eq!(recovered_of(&home, &id.to_string()), by_path(), "{name}, {id}");
    }
    assert!(mounted(&home, ids.len()), "{name}: the mount");
    check(&home);
}

/// A library with a repository and the settings of a service.
fn home_for_service() -> Home {
    let home = Home::new();
    (1..=PHOTOS)
        .for_each(|number| drop(home.write(format!("upload/{ANN}/{number}.jpg"), &photo(number))));
    home.write_dump(&dump(1..=PHOTOS));
    fs::remove_dir_all(home.repo_path()).unwrap();
    let settings = format!(
        "repository = {:?}\n[backup]\nupload-location = {:?}\ndump = {:?}\n[forget]\nkeep-daily = \
            7\n[run]\njitter = \"0s\"\n\
         forget-every = \"@every 1m\"\nprune-every = \"@every 1m\"\ncheck-every = \"@every \
         1m\"\ndrill-every = \"never\"\n",
        home.repo_path(),
        home.upload(),
        home.dump_path()
    );
    fs::write(home.dir.path().join("shoebox.toml"), settings).unwrap();
    assert_eq!(at_night(&home, 0, &["init"]).0, 0);
    home
}

fn date(night: u64) -> String {
    (jiff::civil::date(2025, 10, 1) + jiff::Span::new().days(night as i64)).to_string()
}

/// The exit code and what was said, at half past two of that night.
fn at_night(home: &Home, night: u64, arguments: &[&str]) -> (i32, String) {
    // Immich's own backup of that night.
    let time: jiff::Timestamp = format!("{}T02:00:00Z", date(night)).parse().unwrap();
    set_mtime(&home.dump_path(), time.as_nanosecond() as i64);
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
    command.args(arguments).env("SHOEBOX_CONFIG", home.dir.path().join("shoebox.toml"));
    let time = format!("{} 02:30:00", date(night));
    let output = under_clock(&time, &command).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// True when all photos of so many snapshots read right through the kernel; also where there is no
/// FUSE.
fn mounted(home: &Home, snapshots: usize) -> bool {
    if fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        println!("skipped: /dev/fuse cannot be opened");
        return true;
    }
    let point = home.dir.path().join("mount");
    fs::create_dir(&point).unwrap();
    let view = open_view(&home.repository(), view::Options::default()).unwrap();
    let mount = MountedView::start(view, &point, &mount::Options::default()).unwrap();
    let folders = fs::read_dir(point.join("snapshots")).unwrap().map(|entry| entry.unwrap().path());
    let right = folders.filter(|snapshot| {
        let photos = fs::read_dir(snapshot.join("users/Ann Lee/by date/2025/2025-01")).unwrap();
        let photos = photos.map(|entry| entry.unwrap());
        let read = photos
            .map(|entry| (entry.file_name().into_string().unwrap(), Some(sha1_of(&entry.path()))));
        read.collect::<BTreeMap<_, _>>() == uploaded()
    });
    let right = right.count();
    drop(mount);
    right == snapshots
}

/// Says which rows of SEMANTICS.md a test holds.
fn holds(_: &[&str]) {}

#[test]
fn a_person_sees_what_the_disk_has_not_as_it_was_uploaded() {
    holds(&["T10", "X2"]);
    let home = home();
    assert_eq!(changed_on_disk(&home), [""; 0]);
    fs::write(place(&home, 1), "encrypted").unwrap();
    fs::remove_file(place(&home, 2)).unwrap();
    home.backup();
    let path = "/users/Ann Lee/changed on disk/IMG_";
    assert_eq!(changed_on_disk(&home), ["1.jpg", "2.jpg"].map(|name| format!("{path}{name}")));
    let listed = shoebox(&home, &["ls", "-l", "latest", "users/Ann Lee/by date/2025/2025-01"]);
    let marked: Vec<&str> = listed.lines().filter(|line| line.contains("[")).collect();
    assert!(marked[0].ends_with("IMG_1.jpg  [changed on the disk]"), "{listed}");
    assert!(marked[1].ends_with("IMG_2.jpg  [not on the disk]") && marked.len() == 2, "{listed}");
    let found = shoebox(&home, &["find", "IMG_1.jpg", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let sha1 = hex::encode(Sha1::digest(photo(1)));
    assert_eq!((&found["disk"], &found["sha1"]), (&"changed".into(), &sha1.into()), "{found}");
    assert!(shoebox(&home, &["find", "IMG_2.jpg"]).ends_with("IMG_2.jpg  [not on the disk]\n"));
}

/// What the shelf of the newest snapshot holds; all of it must be what was uploaded.
fn changed_on_disk(home: &Home) -> Vec<String> {
    let newest = reads(&home.repo_path())
        .into_keys()
        .filter_map(|path| path.split('/').nth(1).map(str::to_owned))
        .max();
    let newest = format!("/{}", newest.unwrap());
    let all = reads(&home.repo_path()).into_iter();
    let shelf: BTreeMap<String, Option<String>> = all
        .filter_map(|(path, sha1)| Some((path.strip_prefix(&newest)?.to_owned(), sha1)))
        .filter(|(path, _)| path.contains("/changed on disk/"))
        .collect();
    for (path, sha1) in &shelf {
        assert_eq!(*sha1, uploaded()[path.rsplit('/').next().unwrap()], "{path}");
    }
    shelf.into_keys().collect()
}

fn shoebox(home: &Home, arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("shoebox").unwrap();
    let output =
        command.env("SHOEBOX_REPOSITORY", home.repo_path()).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
