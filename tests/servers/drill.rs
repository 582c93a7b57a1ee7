//! Drills: what would come back is said to, what would not is not, and how it ended is remembered.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::backup_library::Home;
use crate::support::postgres::{debian, newer_versions};
use crate::support::{Era, Postgres, SampleLibrary, sample_library, shared};
use assert_cmd::prelude::*;
use serde_json::Value;
use shoebox::base::monitor::{ProblemCollector, SilentMonitor};
use shoebox::base::stored::IndexLine;
use shoebox::base::{ErrorKind, Problem};
use shoebox::repo::WriteSession;
use shoebox::source::ExternalFolder;
use shoebox::source::postgres::throwaway::ServerPrograms;
use shoebox::task::backup::{self, DumpSource, backup};
use shoebox::task::drill::{self, AssetFault, DrillServers, Options, Report, drill};

/// What pg_dump and pg_dumpall print of the sample library's database in that era. Made once:
/// servers take their time.
fn dumped(era: Era) -> &'static [u8] {
    static DUMPS: [OnceLock<Vec<u8>>; 3] = [const { OnceLock::new() }; 3];
    DUMPS[era as usize].get_or_init(|| {
        let server = Postgres::start(debian());
        server.create_database("immich");
        server.load("immich", &sample_library(1, era).sql());
        let mut client = match era {
            Era::Groups | Era::New => server.client("pg_dump", "immich"),
            Era::Old => server.client("pg_dumpall", "immich"),
        };
        crate::support::run(client.args(["--clean", "--if-exists"])).stdout
    })
}

/// A repository with a snapshot of the sample library, files and database.
fn sample(era: Era) -> (Home, SampleLibrary) {
    let (home, library) = (Home::new(), sample_library(1, era));
    fs::write(home.dump_path(), dumped(era)).unwrap();
    back_up(&home, &library, DumpSource::File(home.dump_path()));
    (home, library)
}

fn back_up(home: &Home, library: &SampleLibrary, dump: DumpSource) {
    let database = Some("immich".to_owned());
    let external =
        vec![ExternalFolder { server: "/mnt/external/family".into(), folder: library.external() }];
    let upload_location = library.upload_location();
    let options = backup::Options { dump, database, upload_location, external, ..home.options() };
    backup(&home.repository(), options, &SilentMonitor).unwrap();
}

fn programs(major: u32) -> DrillServers {
    let debian = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    DrillServers::Programs(if debian.is_dir() {
        debian
    } else {
        newer_versions().join(format!("{major}/bin"))
    })
}

fn options(servers: DrillServers) -> Options {
    let (snapshot, accepted) = ("latest".to_owned(), Vec::new());
    Options {
        snapshot,
        servers,
        sandbox: true,
        require_server: false,
        accepted,
        assets: 1000,
        seed: 7,
    }
}

/// Its report, and what it told on the way.
fn drilled(home: &Home, options: &Options) -> (Report, Vec<Problem>) {
    let monitor = ProblemCollector::default();
    let report = drill(&home.repository(), options, &monitor).unwrap();
    (report, monitor.problems())
}

/// Changes the record of the only snapshot, and the catalog with it.
fn rewrite_rows(home: &Home, table: &str) {
    let repository = home.repository();
    let id = repository.snapshot_ids().unwrap()[0];
    let mut record = repository.record(id).unwrap();
    *record.dump.rows.get_mut(table).unwrap() += 1;
    let path = home.repo_path().join(format!("snapshots/{id}.json"));
    fs::write(path, serde_json::to_vec(&record).unwrap()).unwrap();
    drop(WriteSession::rebuild(&repository, &SilentMonitor).unwrap());
}

#[test]
fn a_snapshot_of_either_era_that_would_come_back_passes_and_is_remembered() {
    for era in [Era::New, Era::Old] {
        let (home, library) = sample(era);
        let (report, problems) = drilled(&home, &options(programs(debian())));
        assert_eq!((problems, report.failure.as_deref()), (vec![], None));
        assert!(
            report.is_success()
                && report.remembered
                && report
                    .server
                    .as_ref()
                    .unwrap()
                    .starts_with(&format!("PostgreSQL {}.", debian()))
        );
        let assets = library.truth()["counts"]["assets"].as_u64().unwrap();
        assert_eq!((report.of, report.assets + report.without_file), (assets, assets));
        assert!(report.rows > 100 && report.unhashed > 0, "{report:?}");
        let notes = home.repository().notes().unwrap();
        assert_eq!(notes.last_drill().unwrap().1.assets, report.assets);
        // The same seed draws the same few; another draws others.
        let few = |seed| {
            drilled(&home, &Options { assets: 3, seed, ..options(DrillServers::None) }).0.bytes
        };
        assert_eq!(few(1), few(1));
        assert_ne!(few(1), few(2));
    }
}

#[test]
fn without_a_server_it_says_so_and_is_no_success() {
    let (home, _library) = sample(Era::New);
    let (report, problems) = drilled(&home, &options(DrillServers::None));
    assert_eq!((problems, report.failure.as_deref(), report.is_success()), (vec![], None, false));
    assert!(report.rows > 100 && report.assets > 10);
    assert!(home.repository().notes().unwrap().last_drill().is_none());
    rewrite_rows(&home, "album");
    let (report, _) = drilled(&home, &options(DrillServers::None));
    assert_eq!(report.failure.as_deref(), Some("1 tables have another number of rows"));
}

#[test]
fn a_table_with_fewer_rows_than_were_recorded_fails() {
    let (home, _library) = sample(Era::New);
    rewrite_rows(&home, "album");
    let (report, problems) = drilled(&home, &options(programs(debian())));
    assert_eq!((report.differences.len(), report.differences[0].table.as_str()), (1, "album"));
    assert!(!report.is_success() && problems[0].subject == "table album", "{problems:?}");
    assert!(home.repository().notes().unwrap().last_drill().is_none());
}

#[test]
fn a_photo_that_is_damaged_or_is_not_what_the_database_says_fails() {
    let (home, library) = sample(Era::New);
    let (sound, _) = drilled(&home, &options(DrillServers::None));
    let photos = home.lines().into_iter().filter_map(|(archive, line)| match line {
        IndexLine::Content(line)
            if line.frames.is_none() && is_uploaded_jpeg(&line.path.to_string()) =>
        {
            Some((archive, line))
        }
        _ => None,
    });
    let (archive, line) = photos.max_by_key(|(_, line)| line.size).unwrap();
    let mut bytes = fs::read(&archive).unwrap();
    bytes[line.offset as usize + 5] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let (report, problems) = drilled(&home, &options(programs(debian())));
    let wrong = report.wrong.len() as u64;
    assert!(wrong > 0 && wrong + report.assets == sound.assets, "{report:?}");
    assert_eq!(problems.len() as u64, wrong);
    assert!(
        problems[0].subject.starts_with("users/") && problems[0].message.contains("damaged"),
        "{problems:?}"
    );
    assert!(report.failure.unwrap().contains("photos are not right"));

    // The disk rotted before the backup: the bytes are well kept, and not the photo.
    let path = library.upload_location().join(line.path.as_path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let other = Home::new();
    back_up(&other, &library, DumpSource::File(dump_of(&home)));
    let (report, problems) = drilled(&other, &options(programs(debian())));
    assert!(
        matches!(report.wrong[..], [drill::WrongAsset { fault: AssetFault::Checksum { .. }, .. }]),
        "{problems:?}"
    );
    assert!(problems[0].message.starts_with("its SHA-1 is "), "{problems:?}");
}

fn is_uploaded_jpeg(path: &str) -> bool {
    path.starts_with("upload/") && path.ends_with(".jpg")
}

#[test]
fn what_the_database_has_and_the_snapshot_lacks_without_saying_so_is_told() {
    let (home, _library) = sample(Era::New);
    let (sound, _) = drilled(&home, &options(DrillServers::None));
    let catalog = rusqlite::Connection::open(home.repository().catalog_path()).unwrap();
    // Of an external library: others are found by their SHA-1, wherever they are.
    let with_file = "SELECT f.asset FROM asset_file f JOIN asset a ON a.id = f.asset WHERE f.part \
        = 0 AND a.sha1 IS NULL ORDER BY f.asset LIMIT 1";
    for table in ["asset_file WHERE asset", "asset WHERE id"] {
        // The second time another asset is the first, and loses its row and with it its place.
        catalog.execute(&format!("DELETE FROM {table} = ({with_file})"), []).unwrap();
    }
    drop(catalog);
    shoebox::catalog::seal(&home.repository().catalog_path()).unwrap();
    let (report, problems) = drilled(&home, &options(DrillServers::None));
    let (missing, unknown) = (AssetFault::Missing, AssetFault::Unknown);
    let count =
        |fault: &AssetFault| report.wrong.iter().filter(|wrong| wrong.fault == *fault).count();
    assert_eq!(count(&unknown), 1, "{problems:?}");
    // Nobody can say which of those without a file is the one that the snapshot does not speak of.
    assert_eq!(
        (count(&missing) as u64, report.without_file),
        (sound.without_file + 1, 0),
        "{problems:?}"
    );
    assert!(report.failure.is_some());
}

#[test]
fn a_file_of_an_external_library_has_the_size_that_the_database_says() {
    let (home, library) = sample(Era::New);
    let (sound, _) = drilled(&home, &options(DrillServers::None));
    assert!(sound.unhashed > 0);
    let files = walkdir::WalkDir::new(library.external()).into_iter().flatten();
    let photos: Vec<_> =
        files.filter(|entry| entry.path().extension().is_some_and(|end| end == "jpg")).collect();
    fs::write(photos[0].path(), "short").unwrap();
    let other = Home::new();
    back_up(&other, &library, DumpSource::File(home.dump_path()));
    let (report, problems) = drilled(&other, &options(DrillServers::None));
    assert!(
        matches!(
            report.wrong[..],
            [drill::WrongAsset { fault: AssetFault::Size { file: 5, .. }, .. }]
        ),
        "{problems:?}"
    );
}

#[test]
fn a_dump_that_is_damaged_fails_with_a_server_and_without() {
    let (home, _library) = sample(Era::New);
    let record = home.repository().record(home.repository().snapshot_ids().unwrap()[0]).unwrap();
    let last = record.streams.dump.chunks.last().unwrap().hash;
    for (archive, line) in home.lines() {
        if let IndexLine::Chunk(line) = line
            && line.chunk == last
        {
            let mut bytes = fs::read(&archive).unwrap();
            bytes[(line.offset + line.stored / 2) as usize] ^= 1;
            fs::write(&archive, bytes).unwrap();
        }
    }
    for servers in [programs(debian()), DrillServers::None] {
        let (report, _) = drilled(&home, &options(servers));
        assert!(report.failure.as_deref().unwrap().contains("damaged"), "{report:?}");
    }
    assert!(home.repository().notes().unwrap().last_drill().is_none());
}

#[test]
fn a_server_that_lacks_an_extension_is_no_failure_of_the_backup() {
    if ServerPrograms::of_this_machine().iter().any(|programs| programs.has("vector")) {
        return println!("skipped: this machine's PostgreSQL has pgvector");
    }
    let home = Home::new();
    let text = String::from_utf8(dumped(Era::New).to_vec()).unwrap();
    let extension = "CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;\n\n\nCREATE TABLE ";
    home.write_dump(&text.replacen("CREATE TABLE ", extension, 1));
    back_up(&home, &sample_library(1, Era::New), DumpSource::File(home.dump_path()));
    let named =
        drill(&home.repository(), &options(programs(debian())), &SilentMonitor).unwrap_err();
    assert!(named.to_string().contains("vector"), "{named}");
    let any = options(DrillServers::Any { docker: "/nothing/docker".into() });
    let required =
        drill(&home.repository(), &Options { require_server: true, ..any.clone() }, &SilentMonitor)
            .unwrap_err();
    assert!(required.to_string().contains("vector"), "{required}");
    assert!(home.repository().notes().unwrap().list.is_empty());
    // Else it does what can be done, and says why it is no more.
    let (report, problems) = drilled(&home, &any);
    assert_eq!((report.failure, problems), (None, vec![]));
    assert!(report.no_server.unwrap().contains("vector") && report.assets > 10);
    assert!(home.repository().notes().unwrap().last_drill().is_none());
}

/// A folder in which the server's user can make its own.
fn temporary(home: &Home) -> PathBuf {
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let folder = home.dir.path().join("tmp");
    fs::create_dir(&folder).unwrap();
    folder
}

#[test]
fn a_drill_that_is_told_to_end_takes_its_server_with_it_and_does_not_count() {
    let (home, _library) = sample(Era::New);
    let temporary = temporary(&home);
    let mut command = Command::cargo_bin("shoebox").unwrap();
    command.env("SHOEBOX_REPOSITORY", home.repo_path()).env("TMPDIR", &temporary);
    command.args(["drill", "--postgres", &format!("/usr/lib/postgresql/{}/bin", debian())]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let serves = || {
        let folders = fs::read_dir(&temporary).unwrap().flatten();
        folders.into_iter().any(|folder| folder.path().join("data/postmaster.pid").exists())
    };
    while !serves() {
        assert!(child.try_wait().unwrap().is_none(), "it ended without a server");
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code().is_some_and(|code| code != 0 && code != 3)
            && told.contains("shoebox: stopped"),
        "{told}"
    );
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    assert!(home.repository().notes().unwrap().list.is_empty());
}

#[test]
fn a_repository_that_cannot_be_written_is_rehearsed_and_not_remembered() {
    let (home, _library) = sample(Era::New);
    let temporary = temporary(&home);
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o777)).unwrap();
    crate::support::run(Command::new("chmod").args(["-R", "a+rX,a-w"]).arg(home.repo_path()));
    let binary = home.dir.path().join("shoebox");
    fs::copy(assert_cmd::cargo::cargo_bin("shoebox"), &binary).unwrap();
    // Root may write anywhere.
    let mut command =
        if crate::support::is_root() { Command::new("setpriv") } else { Command::new("env") };
    if crate::support::is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command
        .arg(binary)
        .args(["drill", "--no-server", "--assets", "3", "--repository"])
        .arg(home.repo_path());
    let output = command.env("TMPDIR", &temporary).current_dir("/").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    crate::support::run(Command::new("chmod").args(["-R", "u+w"]).arg(home.repo_path()));
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(
        told.contains("note: the repository is read-only: this drill is not remembered"),
        "{told}"
    );
    assert!(home.repository().notes().unwrap().list.is_empty());
}

/// The dump of the newest snapshot, as a file.
fn dump_of(home: &Home) -> PathBuf {
    let mut dump = Vec::new();
    shoebox::task::dump::dump(&home.repository(), "latest", &mut |piece| {
        dump.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    let file = home.dir.path().join("again.sql");
    fs::write(&file, dump).unwrap();
    file
}

#[test]
fn a_dump_that_a_server_refuses_fails_with_the_servers_words() {
    let home = Home::new();
    let library = sample_library(1, Era::New);
    let text = crate::backup_library::dump(2, 0).replacen(
        "00000000-2222-4222-8222-222222222222\t",
        "x\t",
        1,
    );
    home.write_dump(&text);
    back_up(&home, &library, DumpSource::File(home.dump_path()));
    let (report, _) = drilled(&home, &options(programs(debian())));
    assert!(
        report.failure.as_deref().unwrap().contains("the database refused line "),
        "{report:?}"
    );
    // The photos are looked at all the same.
    assert_eq!((report.of, report.without_file), (2, 2));
    assert!(!report.is_success() && home.repository().notes().unwrap().last_drill().is_none());
}

#[test]
fn the_command_says_how_it_ended_and_snapshots_how_long_ago() {
    let (home, _library) = sample(Era::New);
    let shoebox = |arguments: &[&str]| {
        let mut command = Command::cargo_bin("shoebox").unwrap();
        let output =
            command.env("SHOEBOX_REPOSITORY", home.repo_path()).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    assert!(shoebox(&["snapshots"]).2.contains("no drill has succeeded yet"));
    let folder = format!("/usr/lib/postgresql/{}/bin", debian());
    let (code, said, told) = shoebox(&["drill", "--postgres", &folder, "--assets", "5"]);
    assert_eq!(code, Some(0), "{said}{told}");
    assert!(
        said.contains(&format!("loaded into PostgreSQL {}.", debian()))
            && said.ends_with("it would come back\n"),
        "{said}"
    );
    assert!(shoebox(&["snapshots"]).2.contains("last drill that succeeded: less than a day ago"));
    assert_eq!(shoebox(&["drill", "--no-server"]).0, Some(0));
    let (code, said, _) = shoebox(&["--json", "drill", "--docker-program", "/nothing/docker"]);
    let value: Value = serde_json::from_str(&said).unwrap();
    // The machine's own server does, unless it lacks what the sample's database needs.
    assert_eq!(
        (code, value["failure"].is_null(), value["server"].is_string()),
        (Some(0), true, true),
        "{said}"
    );
    let (code, _, told) = shoebox(&["drill", "--postgres", "/nothing"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("hint: the folder must hold initdb, postgres and psql"), "{told}");
    assert_eq!(
        drill(
            &home.repository(),
            &options(DrillServers::Programs("/nothing".into())),
            &SilentMonitor
        )
        .unwrap_err()
        .kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn real_libraries_would_come_back() {
    let Some(shared) = shared() else { return };
    for (state, dump, database, major) in [
        ("state-1", "pg_dump-immich.sql", None, 16),
        ("state-2", "pg_dumpall.sql", Some("immich"), 18),
        ("old-1", "pg_dumpall.sql", Some("immich132"), 18),
    ] {
        let folder = shared.join("immich").join(state);
        let home = Home::new();
        let options = backup::Options {
            upload_location: upload(&folder, &home),
            dump: DumpSource::File(folder.join(dump)),
            database: database.map(str::to_owned),
            ..home.options()
        };
        backup(&home.repository(), options, &SilentMonitor).unwrap();
        let (report, problems) = drilled(&home, &self::options(programs(major)));
        println!("{state}: {report:?}");
        assert_eq!((report.failure.as_deref(), problems), (None, vec![]), "{state}");
        assert!(report.is_success());
    }
}

/// Its UPLOAD_LOCATION, unpacked.
fn upload(state: &Path, home: &Home) -> PathBuf {
    let folder = home.dir.path().join("tar");
    fs::create_dir(&folder).unwrap();
    crate::support::run(
        Command::new("tar")
            .arg("-xf")
            .arg(state.join("upload-location.tar"))
            .arg("-C")
            .arg(&folder),
    );
    let marked = |entry: &walkdir::DirEntry| entry.path().join("upload/.immich").is_file();
    let found = walkdir::WalkDir::new(&folder).into_iter().flatten().find(marked);
    found.unwrap_or_else(|| panic!("{} has no upload/.immich", state.display())).into_path()
}
