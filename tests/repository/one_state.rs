//! A snapshot is one state: after a recovery of files and database every path that a row names
//! holds its bytes, whatever Immich moved, changed or erased between the dump and the walk.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use sha1::{Digest, Sha1};
use shoebox::base::Problem;
use shoebox::base::monitor::ProblemCollector;
use shoebox::source::{DatabaseAccess, DumpRequest, ServerPlace};
use shoebox::task::audit;
use shoebox::task::backup::DumpSource;
use shoebox::task::drill::{self, AssetFault, DrillServers};
use shoebox::task::find::FindQuery;
use shoebox::task::restore as selected;
use shoebox::task::restore::whole::{Options, Report, restore};
use shoebox::task::status::{AgeLimits, status};

use crate::support::postgres::debian;
use crate::support::{Era, Postgres, sample_library, whole_restore as options};

use crate::backup_library::{ANN, Home, noise, set_mtime, tree};

const BOB: &str = "22222222-2222-4222-8222-222222222222";

/// A row of the database.
#[derive(Clone)]
struct Photo {
    number: u64,
    owner: &'static str,
    path: String,
    sidecar: bool,
    /// The number of what its bytes are: another row may have the same.
    bytes: u64,
}

impl Photo {
    fn new(number: u64, path: &str) -> Photo {
        Photo { number, owner: ANN, path: path.to_owned(), sidecar: false, bytes: number }
    }

    fn with_sidecar(self) -> Photo {
        Photo { sidecar: true, ..self }
    }

    fn at(&self, path: &str) -> Photo {
        Photo { path: path.to_owned(), ..self.clone() }
    }

    fn bytes(&self) -> Vec<u8> {
        noise(self.bytes, 2000)
    }

    fn xmp(&self) -> Vec<u8> {
        format!("<x:xmpmeta>{}</x:xmpmeta>", self.number).into_bytes()
    }

    fn line(&self) -> String {
        let sidecar =
            if self.sidecar { format!("/data/{}.xmp", self.path) } else { "\\N".to_owned() };
        let (number, owner, path, sha1) =
            (self.number, self.owner, &self.path, hex::encode(Sha1::digest(self.bytes())));
        format!(
            "{number:08x}-1111-4111-8111-111111111111\t{owner}\tIMAGE\t/data/{path}\tIMG_{number}.jpg\t\\\\x{sha1}\t2025-01-02 03:04:05+00\t{sidecar}"
        )
    }

    /// Puts its files into the library.
    fn put(&self, home: &Home) {
        home.write(&self.path, &self.bytes());
        if self.sidecar {
            home.write(format!("{}.xmp", self.path), &self.xmp());
        }
    }
}

fn dump(photos: &[Photo]) -> String {
    let mut text = String::from("--\n-- PostgreSQL database dump\n--\n\n");
    let mut copy = |table: &str, columns: &str, rows: Vec<String>| {
        let columns_with_types = columns.replace(',', " text,");
        text += &format!("CREATE TABLE public.{table} ({columns_with_types} text);\n\n");
        text += &format!("COPY public.{table} ({columns}) FROM stdin;\n");
        rows.iter().for_each(|row| text += &format!("{row}\n"));
        text += "\\.\n\n\n";
    };
    copy("album", "id, \"albumName\"", Vec::new());
    let columns = "id, \"ownerId\", type, \"originalPath\", \"originalFileName\", checksum, \
        \"localDateTime\", \"sidecarPath\"";
    copy("asset", columns, photos.iter().map(Photo::line).collect());
    let users = vec![
        format!("{ANN}\tAnn Lee\tann@example.com\tann\t/data/profile/{ANN}/ann.webp"),
        format!("{BOB}\tBob\tbob@example.com\t\\N\t"),
    ];
    copy("\"user\"", "id, name, email, \"storageLabel\", \"profileImagePath\"", users);
    text + "--\n-- PostgreSQL database dump complete\n--\n\n"
}

/// A library whose disk is as `disk` says, with a dump that says `database`.
fn library(disk: &[Photo], database: &[Photo]) -> Home {
    let home = Home::new();
    disk.iter().for_each(|photo| photo.put(&home));
    home.write(format!("profile/{ANN}/ann.webp"), b"Ann");
    home.write_dump(&dump(database));
    home
}

fn restored(home: &Home) -> (PathBuf, Report, Vec<Problem>) {
    let to = home.dir.path().join("new");
    let problems = ProblemCollector::default();
    let report = restore(&home.repository(), &options(&to), &problems).unwrap();
    (to, report, problems.problems())
}

/// Every row's files are where it says.
#[track_caller]
fn holds(to: &Path, database: &[Photo]) {
    for photo in database {
        let found = fs::read(to.join(&photo.path))
            .unwrap_or_else(|error| panic!("{}: {error}", photo.path));
        assert!(found == photo.bytes(), "{} has other bytes", photo.path);
        if photo.sidecar {
            let found = fs::read(to.join(format!("{}.xmp", photo.path)));
            assert!(found.is_ok_and(|found| found == photo.xmp()), "the sidecar of {}", photo.path);
        }
    }
}

/// How many files lie in `folder`, markers aside.
fn files(folder: &Path) -> usize {
    let all = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    all.filter(|entry| entry.file_type().is_file() && entry.file_name() != ".immich").count()
}

fn uploaded(number: u64) -> Photo {
    Photo::new(number, &format!("upload/{ANN}/{number:02x}/{number}.jpg"))
}

#[test]
fn photos_and_sidecars_that_moved_after_the_dump_come_back_where_it_says() {
    let database: Vec<Photo> = (1..=6).map(|number| uploaded(number).with_sidecar()).collect();
    let moved =
        |photo: &Photo| photo.at(&format!("library/ann/2025/2025-01/IMG_{}.jpg", photo.number));
    let disk: Vec<Photo> = database
        .iter()
        .map(|photo| if photo.number > 2 { moved(photo) } else { photo.clone() })
        .collect();
    let home = library(&disk, &database);
    let kept = home.write("library/ann/notes.txt", b"no row names this");
    home.backup();
    let (to, report, problems) = restored(&home);
    assert_eq!((problems, report.moved, report.earlier, report.left_out), (vec![], 8, 0, 0));
    holds(&to, &database);
    // Nothing is there twice, and what no row names stays.
    assert_eq!(files(&to), files(&home.upload()));
    assert_eq!(fs::read(to.join("library/ann/notes.txt")).unwrap(), fs::read(kept).unwrap());
    assert!(
        report.notes[0].starts_with("8 files were not where the database"),
        "{:?}",
        report.notes
    );
    let like =
        |path: &str| fs::metadata(to.join(path)).map(|meta| (meta.mode(), meta.uid())).unwrap();
    assert_eq!(like(&format!("upload/{ANN}/03")), like(&format!("upload/{ANN}/02")));
}

#[test]
fn a_changed_template_and_an_older_dump_make_one_state() {
    let old: Vec<Photo> = (1..=40)
        .map(|number| {
            Photo::new(number, &format!("library/ann/2019/11/{number}.jpg")).with_sidecar()
        })
        .collect();
    let disk: Vec<Photo> = old
        .iter()
        .map(|photo| photo.at(&format!("library/ann/2019-11-15/{}.jpg", photo.number)))
        .collect();
    let home = library(&disk, &old);
    home.backup();
    let (to, report, problems) = restored(&home);
    assert_eq!((problems, report.moved), (vec![], 80));
    holds(&to, &old);
    assert_eq!(files(&to), 81);
}

#[test]
fn photos_that_changed_places_come_back_in_their_own() {
    let database: Vec<Photo> =
        (1..=3).map(|number| Photo::new(number, &format!("library/ann/{number}.jpg"))).collect();
    // Each lies where another belongs.
    let disk: Vec<Photo> = database
        .iter()
        .map(|photo| photo.at(&format!("library/ann/{}.jpg", photo.number % 3 + 1)))
        .collect();
    let home = library(&disk, &database);
    home.backup();
    let (to, report, problems) = restored(&home);
    assert_eq!((problems, report.moved), (vec![], 3));
    holds(&to, &database);
    assert_eq!(files(&to), 4);
}

#[test]
fn what_lies_where_a_photo_belongs_gets_a_name_beside_it() {
    let database = [Photo::new(1, "library/ann/1.jpg")];
    let home =
        library(&[Photo::new(1, "upload/x/1.jpg"), Photo::new(9, "library/ann/1.jpg")], &database);
    home.write("library/ann/1.jpg.as-found", b"taken");
    home.backup();
    let (to, report, problems) = restored(&home);
    assert_eq!((problems, report.moved), (vec![], 1));
    holds(&to, &database);
    assert_eq!(fs::read(to.join("library/ann/1.jpg.as-found")).unwrap(), b"taken");
    assert_eq!(fs::read(to.join("library/ann/1.jpg.as-found-2")).unwrap(), noise(9, 2000));
    assert!(!to.join("upload/x/1.jpg").exists());
}

#[test]
fn of_two_rows_with_one_path_the_one_that_lies_there_has_it_and_the_other_is_told() {
    let mine = Photo::new(1, "library/ann/1.jpg");
    let other = Photo::new(2, "library/ann/1.jpg");
    let home = library(&[mine.clone(), other.at("upload/x/2.jpg")], &[mine.clone(), other.clone()]);
    home.backup();
    let (to, _, problems) = restored(&home);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].subject == "library/ann/1.jpg"
            && problems[0].message.contains("two photos have this path")
    );
    holds(&to, &[mine, other.at("upload/x/2.jpg")]);
}

#[test]
fn one_file_that_two_rows_need_is_there_twice() {
    // The same photo of two people; of one the row is behind.
    let ann = Photo::new(1, "upload/ann/1.jpg").with_sidecar();
    let bob = Photo { owner: BOB, bytes: 1, ..Photo::new(2, "library/bob/1.jpg") };
    let home = library(std::slice::from_ref(&bob), &[ann.clone(), bob.clone()]);
    home.backup();
    let (to, report, _) = restored(&home);
    assert_eq!(report.moved, 1);
    holds(&to, &[Photo { sidecar: false, ..ann }, bob]);
}

#[test]
fn of_two_files_with_the_same_bytes_each_row_gets_that_of_its_owner_with_its_sidecar() {
    let ann = Photo::new(1, &format!("upload/{ANN}/1.jpg")).with_sidecar();
    let bob = Photo { owner: BOB, bytes: 1, ..Photo::new(2, &format!("upload/{BOB}/2.jpg")) }
        .with_sidecar();
    let disk = [bob.at(&format!("library/{BOB}/IMG.jpg")), ann.at("library/ann/IMG.jpg")];
    let home = library(&disk, &[ann.clone(), bob.clone()]);
    home.backup();
    let (to, report, problems) = restored(&home);
    assert_eq!((problems, report.moved), (vec![], 4));
    holds(&to, &[ann, bob]);
    assert_eq!(files(&to), 5);
}

#[test]
fn further_names_of_a_file_that_is_laid_elsewhere_stay_names_of_it() {
    let database = [Photo::new(1, "library/ann/a/1.jpg")];
    let home = library(&[database[0].at("library/ann/b/1.jpg")], &database);
    let second = home.upload().join("library/ann/z.jpg");
    fs::hard_link(home.upload().join("library/ann/b/1.jpg"), &second).unwrap();
    home.backup();
    let (to, _, problems) = restored(&home);
    assert_eq!(problems, vec![]);
    holds(&to, &database);
    let inode = |path: &str| fs::metadata(to.join(path)).unwrap().ino();
    let names: Vec<&str> = ["library/ann/b/1.jpg", "library/ann/z.jpg"]
        .into_iter()
        .filter(|path| to.join(path).exists())
        .collect();
    assert!(names.iter().any(|path| inode(path) == inode("library/ann/a/1.jpg")), "{names:?}");
}

#[test]
fn a_folder_where_a_photo_belongs_keeps_its_place_and_the_photo_is_told() {
    let database = [Photo::new(1, "library/ann/1.jpg"), Photo::new(2, "library/ann/2.jpg/2.jpg")];
    let disk = [database[0].at("upload/1.jpg"), database[1].at("upload/2.jpg")];
    let home = library(&disk, &database);
    home.write("library/ann/1.jpg/inner.txt", b"inner");
    home.write("library/ann/2.jpg", b"a file");
    home.backup();
    let (to, _, problems) = restored(&home);
    assert_eq!(problems.len(), 2, "{problems:?}");
    holds(&to, &disk);
    assert_eq!(tree(&to.join("library/ann")), tree(&home.upload().join("library/ann")));
}

#[test]
fn a_photo_that_became_a_link_or_a_folder_comes_back_from_the_night_before() {
    let database = [
        Photo::new(1, "library/ann/1.jpg"),
        Photo::new(2, "library/ann/2.jpg"),
        Photo::new(3, "library/bob/3.jpg").with_sidecar(),
        Photo::new(4, "library/bob/a/4.jpg"),
    ];
    let home = library(&database, &database);
    home.backup();
    let library = home.upload().join("library");
    fs::remove_file(library.join("ann/1.jpg")).unwrap();
    symlink("/dev/null", library.join("ann/1.jpg")).unwrap();
    fs::remove_file(library.join("ann/2.jpg")).unwrap();
    home.write("library/ann/2.jpg/inner.txt", b"inner");
    fs::rename(library.join("bob"), home.dir.path().join("other disk")).unwrap();
    symlink(home.dir.path().join("other disk"), library.join("bob")).unwrap();
    home.backup();
    let (to, report, problems) = restored(&home);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].subject, "library/ann/2.jpg");
    assert_eq!(report.earlier, 5);
    holds(
        &to,
        &[&database[..1], &database[2..], &[database[1].at("library/ann/2.jpg.as-found")]].concat(),
    );
    assert_eq!(fs::read(to.join("library/ann/2.jpg/inner.txt")).unwrap(), b"inner");
    assert_eq!(
        fs::read_link(to.join("library/ann/1.jpg.as-found")).unwrap(),
        Path::new("/dev/null")
    );
    assert!(to.join("library/bob.as-found").is_symlink());
}

#[test]
fn pictures_and_sidecars_that_are_gone_come_from_the_snapshot_before() {
    let database: Vec<Photo> = (1..=2).map(|number| uploaded(number).with_sidecar()).collect();
    let home = library(&database, &database);
    home.backup();
    fs::remove_file(home.upload().join(format!("profile/{ANN}/ann.webp"))).unwrap();
    home.write(format!("profile/{ANN}/new.webp"), b"Ann today");
    fs::remove_file(home.upload().join(format!("{}.xmp", database[0].path))).unwrap();
    let problems = home.backup().problems;
    assert!(problems.iter().any(|problem| problem.subject == "1 sidecar gone"), "{problems:?}");
    assert_eq!(home.backup().problems, []);
    let (to, report, _) = restored(&home);
    assert_eq!(report.earlier, 2);
    holds(&to, &database);
    assert_eq!(fs::read(to.join(format!("profile/{ANN}/ann.webp"))).unwrap(), b"Ann");
    assert_eq!(fs::read(to.join(format!("profile/{ANN}/new.webp"))).unwrap(), b"Ann today");
}

#[test]
fn letters_that_are_composed_otherwise_are_laid_as_the_database_writes_them() {
    let database = [Photo::new(1, "library/ann/Z\u{fc}rich/1.jpg")];
    let home = library(&[database[0].at("library/ann/Zu\u{308}rich/1.jpg")], &database);
    home.backup();
    let (to, report, problems) = restored(&home);
    assert_eq!((problems, report.moved), (vec![], 1));
    holds(&to, &database);
}

#[test]
fn a_restore_of_everything_that_is_run_again_finds_all_of_it_there() {
    let database: Vec<Photo> = (1..=6).map(|number| uploaded(number).with_sidecar()).collect();
    let disk: Vec<Photo> = database
        .iter()
        .map(|photo| photo.at(&format!("library/ann/{}.jpg", photo.number)))
        .collect();
    let home = library(&disk, &database);
    home.backup();
    let (to, first, _) = restored(&home);
    let again = Options { accept_non_empty: true, ..options(&to) };
    let report = restore(&home.repository(), &again, &ProblemCollector::default()).unwrap();
    assert_eq!((report.restored, report.already_there), (0, first.files));
}

/// A server that is asked for its dump again and again, and goes on meanwhile.
struct Busy {
    home: Home,
}

impl Busy {
    /// The `n`th dump says `states[n]`, the last from then on; before the first the disk is as
    /// `states[0]`. After each dump comes what [`Busy::after`] says.
    fn new(states: &[&[Photo]]) -> Busy {
        let busy = Busy { home: library(states[0], states[0]) };
        for (number, state) in states.iter().enumerate() {
            fs::write(busy.at(&format!("dump-{}.sql", number + 1)), dump(state)).unwrap();
        }
        let script = "#!/bin/bash
            case \"$*\" in *--version*) echo 'pg_dump (PostgreSQL) 15.20'; exit;; *pg_dump*) ;; *) \
            exit;; esac
            cd \"$(dirname \"$0\")\"
            echo >> asked
            n=$(wc -l < asked)
            file=dump-$n.sql; [ -e $file ] || file=$(ls dump-*.sql | sort -V | tail -1)
            cat $file
            if [ -e after-$n ]; then . ./after-$n; fi\n";
        fs::write(busy.at("docker"), script).unwrap();
        fs::set_permissions(busy.at("docker"), fs::Permissions::from_mode(0o755)).unwrap();
        busy
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.dir.path().join(name)
    }

    /// After the `n`th dump the photos are as in `to`.
    fn after(&self, n: u32, from: &[Photo], to: &[Photo]) {
        let mut script = String::from("cd immich\n");
        for photo in from {
            let now = to.iter().find(|other| other.number == photo.number);
            for end in ["", ".xmp"].into_iter().take(if photo.sidecar { 2 } else { 1 }) {
                script += &match now {
                    Some(now) if now.path == photo.path => String::new(),
                    Some(now) => format!(
                        "mkdir -p $(dirname {0}) && mv {1}{end} {0}{end}\n",
                        now.path, photo.path
                    ),
                    None => format!("rm {}{end}\n", photo.path),
                };
            }
        }
        fs::write(self.at(&format!("after-{n}")), script).unwrap();
    }

    fn backup(&self) -> shoebox::task::backup::Report {
        let server = ServerPlace::Docker {
            container: "immich_postgres".into(),
            docker: self.at("docker").into(),
        };
        let dump = DumpSource::Server(DumpRequest::new(server));
        let options = shoebox::task::backup::Options { dump, ..self.home.options() };
        shoebox::task::backup::backup(
            &self.home.repository(),
            options,
            &shoebox::base::monitor::SilentMonitor,
        )
        .unwrap()
    }

    /// How often the dump was taken.
    fn asked(&self) -> usize {
        fs::read_to_string(self.at("asked")).unwrap().len()
    }
}

fn filed(photos: &[Photo], folder: &str) -> Vec<Photo> {
    photos
        .iter()
        .map(|photo| photo.at(&format!("library/ann/{folder}/{}.jpg", photo.number)))
        .collect()
}

#[test]
fn where_photos_moved_while_the_backup_ran_the_dump_is_taken_again() {
    let old: Vec<Photo> = (1..=5).map(|number| uploaded(number).with_sidecar()).collect();
    let new = filed(&old, "2025");
    let busy = Busy::new(&[&old, &new]);
    busy.after(1, &old, &new);
    let report = busy.backup();
    assert_eq!((busy.asked(), report.problems, report.record.completeness.moved), (2, vec![], 0));
    let (to, restored, _) = restored(&busy.home);
    assert_eq!(restored.moved, 0);
    holds(&to, &new);
    // A quiet night asks once.
    busy.backup();
    assert_eq!(busy.asked(), 3);
}

#[test]
fn a_server_that_never_rests_is_asked_three_times_and_the_rest_is_laid_right() {
    let states: Vec<Vec<Photo>> = {
        let first: Vec<Photo> = (1..=5).map(uploaded).collect();
        let later = ["a", "b", "c"].map(|folder| filed(&first, folder));
        std::iter::once(first).chain(later).collect()
    };
    let busy = Busy::new(&[&states[0], &states[1], &states[2], &states[3]]);
    (0..3).for_each(|n| busy.after(n as u32 + 1, &states[n], &states[n + 1]));
    let report = busy.backup();
    assert_eq!((busy.asked(), report.problems, report.record.completeness.moved), (3, vec![], 5));
    let (to, restored, _) = restored(&busy.home);
    assert_eq!(restored.moved, 5);
    holds(&to, &states[2]);
}

#[test]
fn what_was_erased_on_purpose_while_the_backup_ran_is_no_problem() {
    let old: Vec<Photo> = (1..=5).map(uploaded).collect();
    let busy = Busy::new(&[&old, &old[1..]]);
    busy.after(1, &old, &old[1..]);
    let report = busy.backup();
    assert_eq!((busy.asked(), report.problems, report.record.completeness.missing), (2, vec![], 0));
}

#[test]
fn what_is_really_gone_is_a_problem_once_and_costs_one_dump_more() {
    let all: Vec<Photo> = (1..=5).map(uploaded).collect();
    let busy = Busy::new(&[&all]);
    busy.after(1, &all, &all[1..]);
    let report = busy.backup();
    assert_eq!(
        (busy.asked(), report.problems.len(), report.record.completeness.missing),
        (2, 1, 1)
    );
    busy.backup();
    assert_eq!(busy.asked(), 3);
}

#[test]
fn a_dump_that_cannot_be_taken_again_does_not_cost_the_first() {
    let old: Vec<Photo> = (1..=5).map(uploaded).collect();
    let new = filed(&old, "2025");
    let busy = Busy::new(&[&old]);
    busy.after(1, &old, &new);
    fs::write(busy.at("dump-2.sql"), "--\n-- PostgreSQL database dump\n--\n").unwrap();
    let report = busy.backup();
    assert_eq!(report.record.completeness.moved, 5);
    assert!(
        report.record.warnings.iter().any(|warning| warning.contains("could not be taken again")),
        "{:?}",
        report.record.warnings
    );
    let (to, _, problems) = restored(&busy.home);
    assert_eq!(problems, vec![]);
    holds(&to, &old);
}

#[test]
fn an_old_dump_is_a_problem_and_never_green() {
    let photos: Vec<Photo> = (1..=3).map(uploaded).collect();
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    for (age, is_red) in [(1, false), (14, true), (40, true), (90, true)] {
        let home = library(&photos, &photos);
        set_mtime(&home.dump_path(), (Timestamp::now() - days(age)).as_nanosecond() as i64);
        let report = home.backup();
        assert_eq!(report.problems.len(), usize::from(is_red), "{age}: {:?}", report.problems);
        let made = report.record.dump.made.unwrap();
        assert!(
            (Timestamp::now().duration_since(made) - days(age)).abs()
                < SignedDuration::from_mins(5)
        );
        let status = status(
            &home.repository(),
            AgeLimits { snapshot: days(2), verified: days(8) },
            Timestamp::now(),
        )
        .unwrap();
        assert_eq!(!status.healthy, is_red, "{age}: {:?}", status.findings);
    }
    // The dump's own word counts, and then its name.
    let home = library(&photos, &photos);
    home.write_dump(&dump(&photos).replacen(
        "\n\nCREATE",
        "\n\n-- Started on 2026-01-02 03:04:05 UTC\n\nCREATE",
        1,
    ));
    assert_eq!(home.backup().record.dump.made.unwrap().to_string(), "2026-01-02T03:04:05Z");
}

/// Path below UPLOAD_LOCATION and SHA-1 of every original that is Immich's own, as the database
/// says.
fn originals(server: &Postgres, database: &str) -> Vec<(String, String)> {
    let sql = "SELECT encode(checksum, 'hex') || substr(\"originalPath\", 6) FROM asset WHERE NOT \
        \"isExternal\" ORDER BY id";
    let rows = server.psql(database, sql);
    rows.lines().map(|row| (row[41..].to_owned(), row[..40].to_owned())).collect()
}

/// Sidecars that the database names, likewise.
fn sidecars(server: &Postgres, database: &str) -> Vec<String> {
    let sql = "SELECT substr(path, 7) FROM asset_file WHERE type = 'sidecar' ORDER BY path";
    server.psql(database, sql).lines().map(str::to_owned).collect()
}

fn has_sha1(file: &Path, sha1: &str) -> bool {
    fs::read(file).is_ok_and(|bytes| hex::encode(Sha1::digest(bytes)) == sha1)
}

#[test]
fn files_and_database_of_a_migrated_library_fit_together_in_a_real_server() {
    let library = sample_library(1, Era::New);
    let server = Postgres::start(debian());
    server.create_database("immich");
    server.load("immich", &library.sql());
    let home = Home::new();
    let old = home.dir.path().join("old.sql");
    let dump = server.client("pg_dump", "immich").output().unwrap();
    assert!(dump.status.success());
    fs::write(&old, dump.stdout).unwrap();
    let upload = library.upload_location();
    let whole: Vec<_> = originals(&server, "immich")
        .into_iter()
        .filter(|(path, sha1)| has_sha1(&upload.join(path), sha1))
        .collect();
    let beside: Vec<String> =
        sidecars(&server, "immich").into_iter().filter(|path| upload.join(path).exists()).collect();
    assert!(whole.len() > 20 && !beside.is_empty(), "{} {}", whole.len(), beside.len());
    // The storage template changes after the dump: every photo gets another folder and name, twice.
    for night in ["2019-11", "2019/11"] {
        for (number, (path, _)) in whole.iter().enumerate() {
            let from = if night == "2019-11" {
                upload.join(path)
            } else {
                upload.join(format!("library/x/2019-11/{number}.jpg"))
            };
            let to = upload.join(format!("library/x/{night}/{number}.jpg"));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            if from.exists() {
                fs::rename(&from, &to).unwrap();
                let xmp = |photo: &Path| photo.with_added_extension("xmp");
                let _ = fs::rename(xmp(&from), xmp(&to));
            }
        }
        let options = shoebox::task::backup::Options {
            upload_location: upload.clone(),
            dump: DumpSource::File(old.clone()),
            max_age: SignedDuration::from_hours(24 * 365_000),
            ..home.options()
        };
        let report = shoebox::task::backup::backup(
            &home.repository(),
            options,
            &shoebox::base::monitor::SilentMonitor,
        )
        .unwrap();
        assert!(
            report.record.completeness.moved as usize >= whole.len() - 2,
            "{:?}",
            report.record.completeness
        );
    }
    let (to, report, _) = restored(&home);
    assert!(report.moved as usize >= whole.len() - 2, "{}", report.moved);
    let target = shoebox::task::database::Options::new(DatabaseAccess::new(ServerPlace::Url(
        server.url("again"),
    )));
    let loaded =
        shoebox::task::database::restore(&home.repository(), &target, &ProblemCollector::default())
            .unwrap();
    assert!(
        loaded.plan.warnings.iter().any(|warning| warning.contains("restore --all")),
        "{:?}",
        loaded.plan.warnings
    );
    let rows = originals(&server, "again");
    for row @ (path, sha1) in &rows {
        assert!(!whole.contains(row) || has_sha1(&to.join(path), sha1), "{path}");
    }
    for path in sidecars(&server, "again").iter().filter(|path| beside.contains(path)) {
        assert!(to.join(path).exists(), "{path}");
    }
    assert_eq!(rows.iter().filter(|row| whole.contains(row)).count(), whole.len());
}

#[test]
fn sidecars_of_rows_with_the_prefix_of_an_older_disk_are_found_beside_their_photos() {
    let photos: Vec<Photo> = (1..=4).map(|number| uploaded(number).with_sidecar()).collect();
    let home = library(&photos, &photos);
    // Of one row both paths are old, of one that of the photo, of one that of the sidecar; of the
    // last as well, and the sidecar was uploaded under a name of its own.
    let old = |text: String, path: &str, end: &str| {
        text.replace(&format!("\t/data/{path}{end}"), &format!("\t/mnt/olddisk/immich/{path}{end}"))
    };
    let text = old(dump(&photos), &photos[0].path, "");
    let text = old(text, &photos[1].path, "\t");
    let text = old(text, &photos[2].path, ".xmp\n");
    let uploaded = format!("upload/{ANN}/bb/own.xmp");
    fs::remove_file(home.upload().join(format!("{}.xmp", photos[3].path))).unwrap();
    home.write(&uploaded, &photos[3].xmp());
    let named = format!("\t/data/{}.xmp\n", photos[3].path);
    home.write_dump(&text.replace(&named, &format!("\t/mnt/olddisk/immich/{uploaded}\n")));
    home.backup();
    let out = home.dir.path().join("out");
    let selection = selected::RestoreSelection::Assets(FindQuery {
        names: vec!["IMG_*".into()],
        ..FindQuery::default()
    });
    let options = selected::Options {
        snapshot: "latest".into(),
        selection,
        to: out.clone(),
        overwrite: false,
        dry_run: false,
        locked: false,
    };
    let report =
        selected::restore(&home.repository(), &options, &ProblemCollector::default()).unwrap();
    assert_eq!(report.files, 8, "{:?}", report.planned);
    // Nobody is told that they are of no photo.
    let options = audit::Options { snapshot: "latest".into(), user: None, locked: false };
    let found = audit::audit(&home.repository(), &options).unwrap().findings;
    assert!(!found.iter().any(|finding| finding.class == audit::AuditClass::NoRow), "{found:?}");
}

#[test]
fn a_drill_asks_for_the_path_as_well_as_for_the_bytes() {
    let mine = Photo::new(1, "library/ann/1.jpg");
    let drilled = |home: &Home| {
        home.backup();
        let servers = DrillServers::None;
        let options = drill::Options {
            snapshot: "latest".into(),
            servers,
            sandbox: true,
            require_server: false,
            accepted: Vec::new(),
            assets: 9,
            seed: 1,
        };
        drill::drill(&home.repository(), &options, &ProblemCollector::default()).unwrap()
    };
    // What moved is laid right by a recovery, so nothing is wrong with it.
    let moved = drilled(&library(&[mine.at("library/x.jpg")], std::slice::from_ref(&mine)));
    assert_eq!((moved.assets, moved.wrong), (1, vec![]));
    // Where a folder lies nothing can be laid.
    let home = library(&[mine.at("library/x.jpg")], std::slice::from_ref(&mine));
    home.write("library/ann/1.jpg/inner.txt", b"inner");
    let wrong = drilled(&home).wrong;
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert_eq!(wrong[0].fault, AssetFault::Elsewhere { place: "/data/library/ann/1.jpg".into() });
}
