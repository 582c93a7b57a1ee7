//! Importing dumps of the past: what postgres-backup-local and Immich kept, laid out as they lay it
//! out, each dump by a real pg_dump.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use crate::backup_library::{ANN, Home, dump as small_dump, noise, reads};
use crate::support::postgres::debian;
use crate::support::{Era, Postgres, SampleLibrary, run, sample_library};
use crate::two_nights::{Said, sha1, shoebox};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::base::{ErrorKind, Monitor, Phase, Problem, SnapshotId};
use shoebox::mount::{self, MountedView};
use shoebox::repo::{ImportedFrom, Repository, SnapshotRecord, SnapshotStreams};
use shoebox::task::backup::{self, DumpSource, Report as Backed, backup as back_up};
use shoebox::task::check::{CheckExtent, check};
use shoebox::task::find::{AssetFinder, FindQuery, FindSpan};
use shoebox::task::forget::policy::{KeepCount, KeepPeriod};
use shoebox::task::forget::{self, ForgetChoice, KeepPolicy, forget};
use shoebox::task::import::{ImportEntry, ImportOutcome, Options, Report, import};
use shoebox::task::{open, repair};
use shoebox::view;
use tempfile::TempDir;

/// What real servers gave: as postgres-backup-local has them made (`pg_dump -Z1`).
struct Dumps {
    /// Of one day.
    june: Vec<u8>,
    /// Of the same state, dumped once more: the same but for pg_dump's random keys.
    june_again: Vec<u8>,
    /// An album is called otherwise.
    july: Vec<u8>,
    /// A whole cluster, with another program's database, as Immich 2.4 made them.
    cluster: Vec<u8>,
    /// Plain text, after the summer.
    november: Vec<u8>,
    /// The custom format.
    custom: Vec<u8>,
    /// The directory format, by file.
    directory: BTreeMap<String, Vec<u8>>,
    /// Of another program.
    foreign: Vec<u8>,
}

fn dumps() -> &'static Dumps {
    static DUMPS: OnceLock<Dumps> = OnceLock::new();
    DUMPS.get_or_init(|| {
        let server = Postgres::start(debian());
        let library = sample_library(1, Era::New);
        for (name, state) in [("immich", 1), ("later", 2)] {
            library.become_state(state);
            server.create_database(name);
            server.load(name, &library.sql());
        }
        server.create_database("nextcloud");
        server.psql(
            "nextcloud",
            "CREATE TABLE oc_files (id int, name text); INSERT INTO oc_files VALUES (1, 'x')",
        );
        let of = |program: &str, database: &str, arguments: &[&str]| {
            run(server.client(program, database).args(arguments)).stdout
        };
        let june = of("pg_dump", "immich", &["-Z1"]);
        let june_again = of("pg_dump", "immich", &["-Z1"]);
        server.psql(
            "immich",
            "UPDATE album SET \"albumName\" = 'Rome in spring' WHERE \"albumName\" = 'Rome'",
        );
        let cluster = {
            server.psql("postgres", "ALTER DATABASE later RENAME TO set_aside");
            let text = of(
                "pg_dumpall",
                "postgres",
                &["--clean", "--if-exists", "--exclude-database=set_aside"],
            );
            server.psql("postgres", "ALTER DATABASE set_aside RENAME TO later");
            gzip(&text)
        };
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("directory");
        run(server.client("pg_dump", "immich").args(["-Fd", "-f"]).arg(&to));
        let files = fs::read_dir(&to).unwrap().map(Result::unwrap);
        let directory = files
            .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
            .collect();
        Dumps {
            june,
            june_again,
            july: of("pg_dump", "immich", &["-Z1", "--clean", "--if-exists"]),
            cluster,
            november: of("pg_dump", "later", &[]),
            custom: of("pg_dump", "immich", &["-Fc"]),
            directory,
            foreign: of("pg_dump", "nextcloud", &["-Z1"]),
        }
    })
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(plain).unwrap();
    gzip.finish().unwrap()
}

fn gunzip(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::copy(&mut flate2::read::MultiGzDecoder::new(packed), &mut plain).unwrap();
    plain
}

/// Writes a file that was last changed at `time`.
fn put(path: PathBuf, bytes: &[u8], time: &str) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    let time: SystemTime = time.parse::<Timestamp>().unwrap().into();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    path
}

/// What postgres-backup-local does with a dump: `last/`, hard links to it, and symlinks to the
/// newest (`backup.sh`).
fn keep(root: &Path, database: &str, bytes: &[u8], names: [&str; 4], time: &str) {
    let [second, day, week, month] = names;
    let file = put(root.join(format!("last/{database}-{second}.sql.gz")), bytes, time);
    for (folder, name) in [("daily", day), ("weekly", week), ("monthly", month)] {
        let link = root.join(format!("{folder}/{database}-{name}.sql.gz"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&link);
        fs::hard_link(&file, &link).unwrap();
        let latest = root.join(format!("{folder}/{database}-latest.sql.gz"));
        let _ = fs::remove_file(&latest);
        symlink(link.file_name().unwrap(), latest).unwrap();
    }
    let latest = root.join(format!("last/{database}-latest.sql.gz"));
    let _ = fs::remove_file(&latest);
    symlink(file.file_name().unwrap(), latest).unwrap();
}

/// A folder of postgres-backup-local's as it looks after some weeks, of Immich and another program;
/// what was made first has no name left in `last/` and `daily/`.
fn backups(root: &Path) {
    let (dumps, time) = (dumps(), "2026-06-07T00:00:41Z");
    keep(root, "immich", &dumps.june, ["20260607-020003", "20260607", "202623", "202606"], time);
    fs::remove_file(root.join("last/immich-20260607-020003.sql.gz")).unwrap();
    fs::remove_file(root.join("daily/immich-20260607.sql.gz")).unwrap();
    for (bytes, name) in [(&dumps.foreign, "nextcloud"), (&dumps.july, "immich")] {
        keep(
            root,
            name,
            bytes,
            ["20260705-020003", "20260705", "202627", "202607"],
            "2026-07-05T00:00:44Z",
        );
    }
    // What a clean-up leaves: a symlink to nothing.
    symlink("immich-20250101.sql.gz", root.join("daily/immich-old.sql.gz")).unwrap();
}

const JUNE: &str = "2026-06-07T000041Z";
const JULY: &str = "2026-07-05T000044Z";

/// A repository, and the library after the summer.
struct Now {
    dir: TempDir,
    library: SampleLibrary,
}

impl Now {
    fn new() -> Now {
        let (dir, library) = (tempfile::tempdir().unwrap(), sample_library(2, Era::New));
        Repository::create(&dir.path().join("repository")).unwrap();
        fs::write(dir.path().join("immich.sql"), &dumps().november).unwrap();
        Now { dir, library }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    fn repository(&self) -> Repository {
        Repository::open(&self.root()).unwrap()
    }

    fn backups(&self) -> PathBuf {
        self.dir.path().join("backups")
    }

    fn back_up(&self) -> Backed {
        let dump = self.dir.path().join("immich.sql");
        let options = crate::two_nights::options(
            self.library.upload_location(),
            dump,
            self.library.external(),
        );
        back_up(&self.repository(), options, &SilentMonitor).unwrap()
    }

    fn shoebox(&self, arguments: &[&str]) -> Said {
        shoebox(&self.root(), arguments)
    }

    fn import(&self) -> Report {
        import_into(&self.repository(), &[self.backups()])
    }

    fn record(&self, id: &str) -> SnapshotRecord {
        self.repository().record(id.parse().unwrap()).unwrap()
    }

    /// The assets of `truth.json`, by id.
    fn truth(&self) -> BTreeMap<String, Value> {
        let truth = self.library.truth();
        let assets = truth["assets"].as_array().unwrap().iter();
        assets.map(|asset| (asset["id"].as_str().unwrap().to_owned(), asset.clone())).collect()
    }
}

fn options(paths: &[PathBuf]) -> Options {
    Options {
        paths: paths.to_vec(),
        database: None,
        accept_other_library: false,
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        now: Timestamp::now(),
        dry_run: false,
    }
}

fn import_into(repository: &Repository, paths: &[PathBuf]) -> Report {
    import(repository, &options(paths), &SilentMonitor).unwrap()
}

fn assert_sound(repository: &Repository) {
    let monitor = ProblemCollector::default();
    let report = check(repository, CheckExtent::All, &monitor).unwrap();
    assert!(report.findings.is_empty() && monitor.problems().is_empty(), "{:#?}", report.findings);
}

fn ids(repository: &Repository) -> Vec<String> {
    repository.snapshot_ids().unwrap().iter().map(ToString::to_string).collect()
}

/// What came of each file, in a word, with its reason or its snapshot.
fn outcomes(report: &Report) -> BTreeMap<String, (&'static str, String)> {
    let outcome = |entry: &ImportEntry| match &entry.outcome {
        ImportOutcome::Imported { snapshot, .. } => ("imported", snapshot.to_string()),
        ImportOutcome::Skipped { why, .. } => ("skipped", why.clone()),
        ImportOutcome::Postponed { why } => ("postponed", why.clone()),
        ImportOutcome::Refused { why } => ("refused", why.clone()),
    };
    report.entries.iter().map(|entry| (entry.file.clone(), outcome(entry))).collect()
}

#[test]
fn what_postgres_backup_local_kept_is_browsable_beside_the_backups() {
    let now = Now::new();
    let first = now.back_up().record;
    let before = now.truth();
    backups(&now.backups());
    let path = now.backups().display().to_string();

    let plan = now.shoebox(&["import", "--dry-run", "--json", &path]);
    assert_eq!((plan.code, plan.err.as_str()), (0, ""), "{plan:?}");
    assert_eq!(now.repository().snapshot_ids().unwrap(), [first.id], "a dry run writes nothing");
    let said = now.shoebox(&["import", "--json", &path]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let told = said.json();
    let without_summary = |told: &[Value]| told[..told.len() - 1].to_vec();
    assert_eq!(without_summary(&plan.json()), without_summary(&told), "it does what it said");
    let of = |file: &str| {
        told.iter()
            .find(|entry| entry["file"] == file)
            .unwrap_or_else(|| panic!("{file}: {told:#?}"))
    };
    assert_eq!(told.len(), 4, "each dump once, however many names it has: {told:#?}");
    // June has lost its exact name; its links' names do not contradict the file's time.
    let june = of("weekly/immich-202623.sql.gz");
    assert_eq!((&june["snapshot"], &june["dated_by"]), (&JUNE.into(), &"file_and_name".into()));
    assert_eq!(of("last/immich-20260705-020003.sql.gz")["snapshot"], JULY);
    assert_eq!(of("last/nextcloud-20260705-020003.sql.gz")["outcome"], "skipped");
    assert_eq!(told[3]["imported"], 2);
    assert_eq!(ids(&now.repository()), [JUNE, JULY, &first.id.to_string()]);

    // Each photo that is still there, at its path of that day, and no other file.
    let record = now.record(JUNE);
    assert_eq!(record.imported.as_ref().unwrap().file, "weekly/immich-202623.sql.gz");
    let june_state = {
        now.library.become_state(1);
        let truth = now.truth();
        now.library.become_state(2);
        truth
    };
    let is_known =
        |asset: &&Value| before.values().any(|later| later["checksumHex"] == asset["checksumHex"]);
    let own = |asset: &&Value| asset["pathUnderUploadLocation"].is_string();
    let expected: BTreeMap<&str, &str> = june_state
        .values()
        .filter(own)
        .filter(is_known)
        .map(|asset| {
            (
                asset["pathUnderUploadLocation"].as_str().unwrap(),
                asset["checksumHex"].as_str().unwrap(),
            )
        })
        .collect();
    let gone = june_state.values().filter(own).filter(|asset| !is_known(asset)).count();
    assert!(expected.len() > 40 && gone == 1, "{} there, {gone} gone", expected.len());
    let complete = &record.completeness;
    assert_eq!(
        (complete.missing, &complete.missing_names[..]),
        (1, &["Birthday cake.jpg".to_owned()][..])
    );
    assert_eq!(complete.present + complete.missing + complete.not_covered, june_state.len() as u64);
    assert_eq!(record.files.files, expected.len() as u64);
    let mountpoint = now.dir.path().join("mountpoint");
    fs::create_dir(&mountpoint).unwrap();
    let view = open::open_view(
        &now.repository(),
        view::Options { locked: true, time_zone: TimeZone::UTC, user: None },
    )
    .unwrap();
    let mount = MountedView::start(view, &mountpoint, &mount::Options::default()).unwrap();
    let top = mountpoint.join("snapshots/2026-06-07 00.00");
    let shown = crate::two_nights::files(&top.join("files"));
    assert_eq!(shown.iter().map(String::as_str).collect::<Vec<_>>(), {
        let mut paths: Vec<&str> = expected.keys().copied().collect();
        paths.sort_by_key(|path| path.split('/').collect::<Vec<_>>());
        paths
    });
    for (path, sum) in &expected {
        assert_eq!(sha1(&top.join("files").join(path)), *sum, "{path}");
    }
    assert_eq!(fs::read(top.join("database/immich.sql")).unwrap(), gunzip(&dumps().june));
    assert!(top.join("users/Ann Lee/albums/Rome").is_dir());
    assert!(
        mountpoint.join("snapshots/2026-07-05 00.00/users/Ann Lee/albums/Rome in spring").is_dir()
    );
    assert!(
        fs::read_link(mountpoint.join("latest")).unwrap()
            != Path::new("snapshots/2026-07-05 00.00")
    );
    // Snapshots are listed in the order of time, one after the other.
    let listed: Vec<String> = fs::read_dir(mountpoint.join("snapshots"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(listed.len() == 3 && listed.is_sorted(), "{listed:?}");
    drop(mount);
    assert!(
        now.shoebox(&["snapshots"]).out.contains("imported, "),
        "{}",
        now.shoebox(&["snapshots"]).out
    );
    let listed = now.shoebox(&["ls", JUNE, "users/Ann Lee/albums/Rome"]);
    assert!(listed.code == 0 && listed.out.contains("Colosseum.jpeg"), "{listed:?}");

    // The next backup is as it would have been.
    let next = now.back_up();
    assert_eq!((&next.record.alarm, next.record.files.new_contents), (&Vec::new(), 0));
    assert_eq!(next.problems, []);
    assert_eq!(next.record.number, 4);
    assert_sound(&now.repository());
    // A second import finds nothing to do.
    let again = now.import();
    assert_eq!((again.imported(), again.grown), (0, 0), "{:#?}", again.entries);
    // Another catalog says the same.
    let all = reads(&now.root());
    assert!(all.values().all(Option::is_some) && all.len() > 200);
    let audit = now.shoebox(&["audit", "--snapshot", JUNE, "--json"]);
    let totals = audit.json().pop().unwrap()["totals"].clone();
    assert_eq!(
        (&totals["no_file"]["count"], &totals["not_covered"]["count"]),
        (&complete.missing.into(), &complete.not_covered.into())
    );
    repair::catalog(&now.repository(), &SilentMonitor).unwrap();
    assert_eq!(reads(&now.root()), all);
    assert_eq!(now.shoebox(&["audit", "--snapshot", JUNE, "--json"]).out, audit.out);
    assert_eq!(now.shoebox(&["diff", JUNE, "latest"]).code, 0);
    // What was lost between then and now is not brought back by it, and what was kept is found.
    let finder = AssetFinder::open(&now.repository(), true).unwrap();
    let hits = finder.find(
        &FindQuery { names: vec!["Colosseum.jpeg".into()], ..FindQuery::default() },
        &FindSpan::Snapshot(JUNE.into()),
    );
    assert_eq!(hits.unwrap().len(), 1);
    let drill = now.shoebox(&["drill", "--snapshot", JUNE]);
    assert_eq!(drill.code, 0, "{drill:?}");
    // The library was laid again for its truth, so the backup before read it once more; this one
    // does not.
    let quiet = now.back_up();
    assert_eq!(quiet.unchanged, quiet.record.files.files);
}

#[test]
fn imported_first_they_show_what_was_and_the_first_backup_is_a_first_one() {
    let now = Now::new();
    backups(&now.backups());
    let said = now.shoebox(&["import", &now.backups().display().to_string()]);
    assert!(
        said.code == 0 && said.out.contains("2 dumps imported, 1 skipped, 0 refused"),
        "{said:?}"
    );
    assert!(said.err.contains("no backup was made yet"), "{}", said.err);
    let record = now.record(JULY);
    assert_eq!((record.files.files, record.completeness.present), (0, 0));
    assert!(record.completeness.missing > 40);
    let hits = AssetFinder::open(&now.repository(), true).unwrap();
    let query = FindQuery { albums: vec!["Rome in spring".into()], ..FindQuery::default() };
    assert!(!hits.find(&query, &FindSpan::Snapshot("latest".into())).unwrap().is_empty());
    let first = now.back_up();
    assert_eq!((first.unchanged, &first.record.alarm), (0, &Vec::new()));
    assert_eq!(first.problems, []);
    assert_eq!(now.shoebox(&["ls", "latest", "files/upload"]).code, 0);
    let view = open::open_view(&now.repository(), view::Options::default()).unwrap();
    assert_eq!(
        view.snapshot_of(view.snapshot("latest").unwrap().ino).unwrap(),
        Some(first.record.id)
    );
    assert_sound(&now.repository());
    // Dumps of nearly the same cost next to nothing.
    let stored = |id: &str| now.record(id).archives.iter().map(|archive| archive.size).sum::<u64>();
    assert!(stored(JUNE) * 2 < stored(JULY), "{} after {}", stored(JUNE), stored(JULY));
}

#[test]
fn what_is_no_dump_of_the_library_is_named_and_the_others_go_on() {
    let now = Now::new();
    now.back_up();
    let (root, dumps) = (now.backups(), dumps());
    let at = |name: &str, bytes: &[u8]| drop(put(root.join(name), bytes, "2026-07-05T00:00:44Z"));
    at("last/immich-20260705-020003.sql.gz", &dumps.july);
    at("last/immich-20260704-020003.sql.gz", &dumps.june[..dumps.june.len() / 2]);
    let plain = String::from_utf8(gunzip(&dumps.june)).unwrap();
    let lines: Vec<&str> = plain.lines().collect();
    at(
        "last/immich-20260703-020003.sql.gz",
        &gzip(lines[..lines.len() - 20].join("\n").as_bytes()),
    );
    at("last/immich-20260702-020003.sql.gz", &dumps.custom);
    at("last/immich-20260701-020003.backup", &dumps.custom);
    for (name, bytes) in &dumps.directory {
        at(&format!("last/immich-20260630-020003.sql.gz/{name}"), bytes);
    }
    let accounts = now.record(&ids(&now.repository())[0]).census.accounts;
    let other = accounts.iter().fold(plain.clone(), |text, account| {
        let id = account.id.to_string();
        text.replace(&id, &format!("{}f00d", &id[..id.len() - 4]))
    });
    at("last/other-20260705-020003.sql.gz", &gzip(other.as_bytes()));
    at("last/nextcloud-20260705-020003.sql.gz", &dumps.foreign);
    at("immich-db-backup-20260705T020003-v3.1.0-pg15.20.sql.gz.tmp", &dumps.july[..100]);
    at("last/immich-20260629-020003.sql.gz", b"");
    at("README.md", b"not a dump");
    at("immich-db-backup-20990101T020003-v3.1.0-pg15.20.sql.gz", &dumps.june);
    let path = root.display().to_string();
    let said = now.shoebox(&["import", &path]);
    assert_eq!(said.code, 3, "{said:?}");
    let report = now.import();
    let told = outcomes(&report);
    let is = |name: &str, outcome: &str, why: &str| {
        let (found, reason) = &told[name];
        assert!(*found == outcome && reason.contains(why), "{name}: {found}: {reason}");
        assert!(said.out.contains(why), "{why}: {}", said.out);
    };
    is("last/immich-20260705-020003.sql.gz", "skipped", JULY);
    is(
        "last/immich-20260704-020003.sql.gz",
        "refused",
        "the gzip data ends early: the dump was cut short",
    );
    is(
        "last/immich-20260703-020003.sql.gz",
        "refused",
        &format!("line {}: the dump ends", lines.len() - 20),
    );
    is("last/immich-20260702-020003.sql.gz", "refused", "custom format");
    is("last/immich-20260701-020003.backup", "refused", "custom format");
    is("last/immich-20260630-020003.sql.gz", "refused", "directory format");
    is("last/other-20260705-020003.sql.gz", "refused", "--accept-other-library");
    is("last/nextcloud-20260705-020003.sql.gz", "skipped", "another program");
    is("immich-db-backup-20260705T020003-v3.1.0-pg15.20.sql.gz.tmp", "skipped", "cut short");
    is("last/immich-20260629-020003.sql.gz", "refused", "it is empty");
    is("immich-db-backup-20990101T020003-v3.1.0-pg15.20.sql.gz", "refused", "still to come");
    assert_eq!(told.len(), 11, "{told:#?}");
    assert_eq!(ids(&now.repository()).len(), 2);
    let accepting = Options {
        accept_other_library: true,
        ..options(&[root.join("last/other-20260705-020003.sql.gz")])
    };
    let accepted = import(&now.repository(), &accepting, &SilentMonitor).unwrap();
    assert_eq!(accepted.imported(), 1, "{:#?}", accepted.entries);
    assert_sound(&now.repository());
    let error =
        import(&now.repository(), &options(&[root.join("nowhere")]), &SilentMonitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(now.shoebox(&["import"]).code, 2);
}

#[test]
fn immichs_own_dumps_of_both_eras_are_dated_by_their_names_and_files() {
    let now = Now::new();
    now.back_up();
    let (root, dumps) = (now.backups(), dumps());
    let copied = "2026-11-26T10:00:00Z";
    put(root.join("immich-db-backup-1780797641684.sql.gz"), &dumps.june, copied);
    put(
        root.join("immich-db-backup-20260705T020044-v2.4.1-pg14.19.sql.gz"),
        &dumps.cluster,
        "2026-07-04T16:00:50Z",
    );
    put(
        root.join("uploaded-immich-db-backup-20260806T020044-v2.5.0-pg14.19.sql.gz"),
        &dumps.july,
        copied,
    );
    let told = outcomes(&now.import());
    let is =
        |name: &str, id: &str| assert_eq!(told[name], ("imported", id.to_owned()), "{told:#?}");
    is("immich-db-backup-1780797641684.sql.gz", "2026-06-07T020041Z");
    // Ten hours ahead of UTC.
    is("immich-db-backup-20260705T020044-v2.4.1-pg14.19.sql.gz", "2026-07-04T160050Z");
    // Copied: by its name, in the zone that is given.
    is("uploaded-immich-db-backup-20260806T020044-v2.5.0-pg14.19.sql.gz", "2026-08-06T000044Z");
    let record = now.record("2026-07-04T160050Z");
    assert_eq!(record.dump.database.as_deref(), Some("immich"));
    assert_sound(&now.repository());
}

#[test]
fn copies_that_lost_their_times_are_one_dump_with_the_most_precise_date() {
    let now = Now::new();
    now.back_up();
    let (root, dumps) = (now.backups(), dumps());
    let copied = "2026-11-26T10:00:00Z";
    for name in [
        "monthly/immich-202606",
        "weekly/immich-202623",
        "daily/immich-20260607",
        "last/immich-20260607-020003",
    ] {
        put(root.join(format!("{name}.sql.gz")), &dumps.june, copied);
    }
    // The next day's, of the same state, and one that is older than what is in it.
    put(root.join("last/immich-20260608-020003.sql.gz"), &dumps.june_again, copied);
    put(root.join("daily/immich-20260301.sql.gz"), &dumps.july, copied);
    // What a backup took already.
    put(root.join("immich.sql"), &dumps.november, "2026-09-01T00:00:00Z");
    let report = now.import();
    let told = outcomes(&report);
    assert_eq!(
        told["last/immich-20260608-020003.sql.gz"],
        ("imported", "2026-06-08T000003Z".to_owned()),
        "{told:#?}"
    );
    for name in [
        "monthly/immich-202606",
        "weekly/immich-202623",
        "daily/immich-20260607",
        "last/immich-20260607-020003",
    ] {
        let (outcome, why) = &told[&format!("{name}.sql.gz")];
        assert!(*outcome == "skipped" && why.contains("2026-06-08T000003Z"), "{name}: {why}");
    }
    assert_eq!(told["daily/immich-20260301.sql.gz"], ("imported", "2026-05-02T180001Z".to_owned()));
    assert_eq!(told["immich.sql"].0, "skipped", "{told:#?}");
    // Without the later one each name tells the day.
    let alone = Now::new();
    alone.back_up();
    fs::remove_file(root.join("last/immich-20260608-020003.sql.gz")).unwrap();
    let told = outcomes(&import_into(&alone.repository(), &[root]));
    assert_eq!(
        told["last/immich-20260607-020003.sql.gz"],
        ("imported", JUNE.replace("0041", "0003"))
    );
    assert_eq!(told.values().filter(|(outcome, _)| *outcome == "imported").count(), 2, "{told:#?}");
}

/// A small library with three dumps of the past beside it.
fn small() -> Home {
    let home = Home::new();
    for number in 0..3 {
        home.write(format!("upload/{ANN}/{number}.jpg"), &noise(number + 1, 20_000));
    }
    home.write_dump(&small_dump(300, 9));
    for night in 1..=3 {
        let path = home.dir.path().join(format!("backups/last/immich-2026100{night}-020000.sql"));
        put(path, small_dump(300, night).as_bytes(), &format!("2026-10-0{night}T02:00:00Z"));
    }
    home
}

fn past(home: &Home) -> Vec<PathBuf> {
    vec![home.dir.path().join("backups")]
}

/// Asks to stop after so many dumps.
struct Stop(AtomicUsize);

impl Monitor for Stop {
    fn begin(&self, _: Phase, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, files: u64, _: u64) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(files as usize)
        });
    }
    fn problem(&self, problem: Problem) {
        panic!("{problem:?}");
    }
    fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn who_is_stopped_keeps_what_is_imported_and_goes_on_from_there() {
    let home = small();
    let made = home.backup().record.id;
    let error =
        import(&home.repository(), &options(&past(&home)), &Stop(AtomicUsize::new(1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.to_string().contains("1 dump was imported"), "{error}");
    let known = |home: &Home| {
        let db = home.repository().catalog().unwrap().connect().unwrap();
        shoebox::catalog::query::snapshot::ids(&db).unwrap()
    };
    let third: SnapshotId = "2026-10-03T020000Z".parse().unwrap();
    assert_eq!(known(&home), [third, made], "the newest first, and the catalog has it");
    assert_sound(&home.repository());
    let report = import_into(&home.repository(), &past(&home));
    assert_eq!(report.imported(), 2);
    assert_eq!(known(&home).len(), 4);
    assert_sound(&home.repository());
}

#[test]
fn a_record_that_the_catalog_lacks_is_taken_in_by_the_next_backup() {
    let home = small();
    home.backup();
    let catalog = fs::read(home.repo_path().join("catalog.sqlite")).unwrap();
    import_into(&home.repository(), &past(&home));
    let all = reads(&home.repo_path());
    // As if it had been killed before the catalog was there.
    fs::write(home.repo_path().join("catalog.sqlite"), catalog).unwrap();
    let report = home.backup();
    assert_eq!((report.unchanged, report.record.alarm.len()), (report.record.files.files, 0));
    let now = reads(&home.repo_path());
    assert!(all.iter().all(|(path, sum)| now.get(path) == Some(sum)));
    assert_sound(&home.repository());
}

#[test]
fn a_number_is_not_used_twice_also_when_the_last_that_was_imported_is_forgotten() {
    let home = small();
    home.backup();
    import_into(&home.repository(), &past(&home));
    let numbers = |home: &Home| -> Vec<u16> {
        let repository = home.repository();
        let ids = repository.snapshot_ids().unwrap();
        ids.into_iter().map(|id| repository.record(id).unwrap().number).collect()
    };
    assert_eq!(numbers(&home), [4, 3, 2, 1]);
    forgetting(&home, ForgetChoice::Named(vec!["2026-10-01T020000Z".into()]));
    home.backup();
    assert_eq!(numbers(&home), [3, 2, 1, 5]);
    // What was forgotten can be imported again.
    assert_eq!(import_into(&home.repository(), &past(&home)).imported(), 1);
    assert_eq!(numbers(&home), [6, 3, 2, 1, 5]);
    assert_sound(&home.repository());
}

fn forgetting(home: &Home, choice: ForgetChoice) -> forget::Report {
    let options = forget::Options {
        choice,
        zone: TimeZone::UTC,
        now: Timestamp::now(),
        accept_clock: false,
        apply: true,
    };
    forget(&home.repository(), &options, &SilentMonitor).unwrap()
}

#[test]
fn an_imported_snapshot_is_no_reason_for_an_alarm_or_to_forget_a_backup_or_to_doubt_the_clock() {
    let home = small();
    let end = "\\.\n\n\nCOPY public.smart_search";
    let large = small_dump(10, 1).replace(end, &format!("{}{end}", more_photos(50)));
    let yesterday = Timestamp::now() - jiff::SignedDuration::from_hours(24);
    put(home.dir.path().join("backups/large.sql"), large.as_bytes(), &yesterday.to_string());
    let report = import_into(&home.repository(), &past(&home));
    assert_eq!(report.imported(), 4, "{:#?}", report.entries);
    // What the imported ones lack is no reason to keep still about what is missing.
    fs::remove_file(home.upload().join(format!("upload/{ANN}/2.jpg"))).unwrap();
    let first = home.backup();
    let (alarm, problems) = (&first.record.alarm, &first.problems);
    assert_eq!((alarm.len(), first.unchanged, problems.len()), (0, 0, 1), "{alarm:?} {problems:?}");
    // The one of yesterday, of this month too, takes no place.
    let one =
        KeepPolicy { keep: vec![(KeepPeriod::Month, KeepCount::Of(1))], ..KeepPolicy::default() };
    let fates = forgetting(&home, ForgetChoice::ByPolicy(one)).fates;
    let kept: Vec<_> =
        fates.iter().filter(|fate| !fate.reasons.is_empty()).map(|fate| fate.record.id).collect();
    assert_eq!(kept, [first.record.id]);
    assert_eq!(ids(&home.repository()).len(), 1);
}

fn more_photos(count: u64) -> String {
    let photo = |number: u64| {
        format!(
            "{number:08x}-3333-4111-8111-111111111111\t{ANN}\tIMAGE\t/data/upload/{ANN}/m{number}.jpg\tm{number}.jpg\t\\\\x{number:040x}\t2025-01-02 03:04:05+00\n"
        )
    };
    (1000..1000 + count).map(photo).collect()
}

#[test]
fn what_is_newer_than_the_last_backup_waits_for_the_next() {
    let home = small();
    let made = home.backup().record.id;
    let path = home.dir.path().join("backups/tonight.sql");
    put(path.clone(), small_dump(300, 20).as_bytes(), &Timestamp::now().to_string());
    std::thread::sleep(std::time::Duration::from_millis(1100));
    put(path, small_dump(300, 20).as_bytes(), &Timestamp::now().to_string());
    let told = outcomes(&import_into(&home.repository(), &past(&home)));
    assert!(
        told["tonight.sql"].0 == "postponed" && told["tonight.sql"].1.contains(&made.to_string()),
        "{told:#?}"
    );
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let latest = home.backup().record.id;
    assert_eq!(import_into(&home.repository(), &past(&home)).imported(), 1);
    assert_eq!(home.repository().snapshot_ids().unwrap().last(), Some(&latest));
    assert_sound(&home.repository());
}

#[test]
fn nothing_is_imported_where_the_catalog_is_all_that_is_left_of_a_snapshot() {
    let home = small();
    let record = home.backup().record;
    let list = record.streams.files.chunks[0].hash;
    let (archive, line) = home
        .lines()
        .into_iter()
        .find(|(_, line)| matches!(line, shoebox::base::stored::IndexLine::Chunk(line) if line.chunk == list))
        .unwrap();
    let mut bytes = fs::read(&archive).unwrap();
    bytes[line.place().0 as usize + 20] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let error = import(&home.repository(), &options(&past(&home)), &SilentMonitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(error.next_step().unwrap().contains("shoebox repair"));
    assert_eq!(ids(&home.repository()).len(), 1);
}

/// Real servers' own `backups/`, beside the files of the last state.
#[test]
fn what_a_real_server_kept_shows_every_photo_at_its_old_place() {
    let Some(shared) = crate::support::shared() else { return };
    let states = shared.join("immich");
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::create(&dir.path().join("repository")).unwrap();
    let library = dir.path().join("library");
    fs::create_dir(&library).unwrap();
    run(Command::new("tar")
        .arg("-xf")
        .arg(states.join("state-2/upload-location.tar"))
        .arg("-C")
        .arg(&library));
    let library = library.join("UPLOAD_LOCATION");
    let options_of = |dump: PathBuf| backup::Options {
        external: Vec::new(),
        dump: DumpSource::File(dump),
        ..crate::two_nights::options(library.clone(), PathBuf::new(), dir.path().to_owned())
    };
    back_up(&repository, options_of(states.join("state-2/pg_dump-immich.sql")), &SilentMonitor)
        .unwrap();
    let old = dir.path().join("old");
    fs::create_dir(&old).unwrap();
    run(Command::new("tar")
        .arg("-xf")
        .arg(states.join("old-1/upload-location.tar"))
        .arg("-C")
        .arg(&old));
    let report =
        import_into(&repository, &[library.join("backups"), old.join("UPLOAD_LOCATION/backups")]);
    let told = outcomes(&report);
    println!("{told:#?}");
    let first = &told["immich-db-backup-20261122T144832-v3.1.0-pg15.20.sql.gz"];
    assert_eq!(first.0, "imported");
    // A server of its own, with two databases of Immich in its cluster.
    assert_eq!(told["immich-db-backup-1795355789684.sql.gz"].0, "refused");
    let truth = |state: &str| -> Value {
        serde_json::from_slice(&fs::read(states.join(state).join("truth.json")).unwrap()).unwrap()
    };
    let (then, now) = (truth("state-1"), truth("state-2"));
    let now = now["assets"].as_array().unwrap();
    let finder = AssetFinder::open(&repository, true).unwrap();
    let view =
        open::open_view(&repository, view::Options { locked: true, ..view::Options::default() })
            .unwrap();
    let top = view.snapshot(&first.1).unwrap().ino;
    let mut read = 0;
    for asset in then["assets"].as_array().unwrap() {
        let (Some(path), Some(sum)) =
            (asset["pathUnderUploadLocation"].as_str(), asset["checksumHex"].as_str())
        else {
            continue;
        };
        let is_there = now.iter().any(|later| later["checksumHex"] == sum);
        let node = view.resolve(top, format!("files/{path}").as_bytes());
        assert_eq!(node.is_ok(), is_there, "{path}");
        let Ok(node) = node else { continue };
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < node.size {
            view.read(node.ino, bytes.len() as u64, 1 << 20, |piece| {
                bytes.extend_from_slice(piece)
            })
            .unwrap();
        }
        assert_eq!(hex::encode(<sha1::Sha1 as sha1::Digest>::digest(&bytes)), sum, "{path}");
        read += 1;
    }
    assert!(read > 40, "{read}");
    let hits = finder
        .find(
            &FindQuery { locked: true, ..FindQuery::default() },
            &FindSpan::Snapshot(first.1.clone()),
        )
        .unwrap();
    assert_eq!(hits.len(), then["assets"].as_array().unwrap().len());
    assert_sound(&repository);
}

#[test]
fn what_an_import_lists_is_never_taken_for_what_lies_on_disk() {
    let home = small();
    let photo = home.upload().join(format!("upload/{ANN}/1.jpg"));
    let made = home.backup().record.id;
    // The photo is in an archive, and no snapshot shows it.
    fs::remove_file(home.repo_path().join(format!("snapshots/{made}.json"))).unwrap();
    let text = small_dump(300, 1).replacen(&format!("{:040x}", 1), &sha1(&photo), 1);
    let path =
        put(home.dir.path().join("immich-20260901.sql"), text.as_bytes(), "2026-09-01T02:00:00Z");
    assert_eq!(import_into(&home.repository(), &[path]).imported(), 1);
    let id: SnapshotId = "2026-09-01T020000Z".parse().unwrap();
    let record = home.repository().record(id).unwrap();
    assert_eq!(
        (record.files.files, record.completeness.present, record.completeness.missing),
        (1, 1, 1)
    );
    // Other bytes, as many, and the time that the import made up.
    fs::write(&photo, noise(77, 20_000)).unwrap();
    let view = open::open_view(&home.repository(), view::Options::default()).unwrap();
    let top = view.snapshot(&id.to_string()).unwrap().ino;
    let shown = view.resolve(top, format!("files/upload/{ANN}/1.jpg").as_bytes()).unwrap();
    crate::backup_library::set_mtime(&photo, shown.mtime_ns);
    let made = home.backup().record;
    assert_eq!(made.alarm.len(), 0);
    let told = reads(&home.repo_path());
    let of = |id: SnapshotId| {
        let minute = id.time().strftime("%Y-%m-%d %H.%M").to_string();
        let is_it = |path: &str| {
            path.contains(&minute) && path.contains("/files/") && path.ends_with("/1.jpg")
        };
        let found = told.iter().find(|(path, _)| is_it(path));
        found.unwrap().1.clone().unwrap()
    };
    assert_eq!(of(id), hex::encode(<sha1::Sha1 as sha1::Digest>::digest(noise(2, 20_000))));
    assert_eq!(of(made.id), sha1(&photo));
}

/// A repository with records of these snapshots, imported where it says so.
fn recorded(snapshots: &[(&str, bool)]) -> (TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::create(&dir.path().join("repository")).unwrap();
    for (number, (id, is_imported)) in snapshots.iter().enumerate() {
        let (id, number) = (id.parse().unwrap(), number as u16 + 1);
        let record =
            crate::crafted::record(&repository, id, number, SnapshotStreams::default(), Vec::new());
        let from = ImportedFrom { file: "immich.sql".into(), hash: shoebox::base::Hash([0; 32]) };
        crate::crafted::put_record(
            &repository,
            &SnapshotRecord { imported: is_imported.then_some(from), ..record },
        );
    }
    (dir, repository)
}

/// What stays, by a rule.
fn kept(repository: &Repository, rule: (KeepPeriod, KeepCount), now: &str) -> Vec<String> {
    let choice = ForgetChoice::ByPolicy(KeepPolicy { keep: vec![rule], ..KeepPolicy::default() });
    let options = forget::Options {
        choice,
        zone: TimeZone::UTC,
        now: now.parse().unwrap(),
        accept_clock: false,
        apply: false,
    };
    let fates = forget(repository, &options, &SilentMonitor).unwrap().fates;
    fates
        .iter()
        .filter(|fate| !fate.reasons.is_empty())
        .map(|fate| fate.record.id.to_string())
        .collect()
}

#[test]
fn rules_keep_what_they_would_keep_without_imported_ones() {
    let (_dir, repository) = recorded(&[
        ("2026-10-05T020000Z", true),
        ("2026-11-01T030000Z", false),
        ("2026-11-01T220000Z", true),
        ("2026-11-02T030000Z", false),
    ]);
    let by_day = kept(&repository, (KeepPeriod::Day, KeepCount::Of(2)), "2026-11-02T04:00:00Z");
    assert_eq!(by_day, ["2026-11-01T030000Z", "2026-11-01T220000Z", "2026-11-02T030000Z"]);
    let by_month = kept(&repository, (KeepPeriod::Month, KeepCount::Of(2)), "2026-11-02T04:00:00Z");
    assert_eq!(by_month, ["2026-10-05T020000Z", "2026-11-02T030000Z"]);
    // The newest that a backup made stays also where an imported one is newer.
    let (_dir, repository) =
        recorded(&[("2026-11-01T030000Z", false), ("2026-11-03T030000Z", true)]);
    let last = kept(&repository, (KeepPeriod::Snapshot, KeepCount::Of(1)), "2026-11-03T04:00:00Z");
    assert_eq!(last, ["2026-11-01T030000Z", "2026-11-03T030000Z"]);
    // Two years between the dumps and the first backup are no clock that jumped.
    let days = ["2024-01-01T030000Z", "2024-01-02T030000Z", "2024-01-03T030000Z"];
    let (_dir, repository) = recorded(&[
        (days[0], true),
        (days[1], true),
        (days[2], true),
        ("2026-11-01T030000Z", false),
    ]);
    assert_eq!(
        kept(&repository, (KeepPeriod::Snapshot, KeepCount::Of(9)), "2026-11-01T04:00:00Z").len(),
        4
    );
}

#[test]
fn nights_that_were_copied_in_one_go_are_as_many_snapshots_dated_by_their_names() {
    let home = small();
    home.backup();
    let folder = home.dir.path().join("old");
    let copied = (Timestamp::now() - jiff::SignedDuration::from_hours(5)).to_string();
    let names = [
        ("pgsql_immich_database_20251123-020000.sql.gz", "2025-11-23T010000Z"),
        ("pgsql_immich_database_20251124-020000.sql.gz", "2025-11-24T010000Z"),
        ("immich_2025-11-26_02h00m.Thursday.sql.gz", "2025-11-26T010000Z"),
        ("immich-2025-11-27.sql.gz", "2025-11-26T230000Z"),
        ("immich-db-backup-20251128.sql.gz", "2025-11-27T230000Z"),
        ("dump_2025-11-29_02-00.sql.gz", "2025-11-29T010000Z"),
        // The same minute, another dump.
        ("last/dump_2025-11-29_02-00.sql.gz", "2025-11-29T010001Z"),
    ];
    for (night, (name, _)) in (40..).zip(names) {
        put(folder.join(name), &gzip(small_dump(300, night).as_bytes()), &copied);
    }
    let nameless: Vec<_> = ["a", "b", "c"].map(|name| folder.join(format!("{name}.sql"))).into();
    for (night, path) in (60..).zip(&nameless) {
        put(path.clone(), small_dump(300, night).as_bytes(), "2024-05-06T07:08:09Z");
    }
    let report = import_into(&home.repository(), std::slice::from_ref(&folder));
    assert_eq!((report.imported(), report.left_out()), (10, 0), "{:#?}", report.entries);
    let ids = ids(&home.repository());
    for id in names.map(|(_, id)| id).iter().chain(&[
        "2024-05-06T070809Z",
        "2024-05-06T070810Z",
        "2024-05-06T070811Z",
    ]) {
        assert!(ids.iter().any(|known| known == id), "{id}: {ids:?}");
    }
    // Once more: all of it is there.
    let again = import_into(&home.repository(), std::slice::from_ref(&folder));
    assert_eq!((again.imported(), again.left_out()), (0, 0), "{:#?}", again.entries);
    assert_sound(&home.repository());
}

#[test]
fn what_is_not_in_the_repository_is_counted_and_its_files_are_not_called_needless() {
    let home = small();
    home.backup();
    let folder = home.dir.path().join("old");
    put(
        folder.join("immich-2025-11-27.sql"),
        small_dump(300, 40).as_bytes(),
        "2025-11-27T02:00:00Z",
    );
    put(
        folder.join("tonight.sql"),
        small_dump(300, 41).as_bytes(),
        &(Timestamp::now() + jiff::SignedDuration::from_secs(30)).to_string(),
    );
    put(folder.join("half.sql"), &small_dump(300, 42).as_bytes()[..20_000], "2025-11-28T02:00:00Z");
    put(folder.join("immich.sql.tmp"), b"--", "2025-11-28T02:00:00Z");
    let said = shoebox(&home.repo_path(), &["import", folder.to_str().unwrap()]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(
        said.out.contains("1 dump imported, 1 skipped, 1 left for later, 1 refused"),
        "{said:?}"
    );
    assert!(
        said.err.contains("needed no more; 3 other files are not in the repository: keep them"),
        "{said:?}"
    );
}
