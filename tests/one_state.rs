//! A snapshot is one state: after a recovery of files and database every path that a row names holds its bytes, whatever Immich
//! moved, changed or erased between the dump and the walk.

mod backup_library;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};
use shoebox::base::Problem;
use shoebox::base::monitor::Collect;
use shoebox::task::restore::whole::{Options, Report, restore};

use backup_library::{ANN, Home, noise, tree};

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
        let sidecar = if self.sidecar { format!("/data/{}.xmp", self.path) } else { "\\N".to_owned() };
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
        text += &format!("COPY public.{table} ({columns}) FROM stdin;\n");
        rows.iter().for_each(|row| text += &format!("{row}\n"));
        text += "\\.\n\n\n";
    };
    copy("album", "id, \"albumName\"", Vec::new());
    let columns =
        "id, \"ownerId\", type, \"originalPath\", \"originalFileName\", checksum, \"localDateTime\", \"sidecarPath\"";
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

fn options(to: &Path) -> Options {
    Options {
        snapshot: "latest".into(),
        to: to.to_owned(),
        external: Vec::new(),
        accept_non_empty: false,
        overwrite: false,
        dry_run: false,
    }
}

fn restored(home: &Home) -> (PathBuf, Report, Vec<Problem>) {
    let to = home.dir.path().join("new");
    let problems = Collect::default();
    let report = restore(&home.repository(), &options(&to), &problems).unwrap();
    (to, report, problems.problems())
}

/// Every row's files are where it says.
#[track_caller]
fn holds(to: &Path, database: &[Photo]) {
    for photo in database {
        let found = fs::read(to.join(&photo.path)).unwrap_or_else(|error| panic!("{}: {error}", photo.path));
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
    let moved = |photo: &Photo| photo.at(&format!("library/ann/2025/2025-01/IMG_{}.jpg", photo.number));
    let disk: Vec<Photo> =
        database.iter().map(|photo| if photo.number > 2 { moved(photo) } else { photo.clone() }).collect();
    let home = library(&disk, &database);
    let kept = home.write("library/ann/notes.txt", b"no row names this");
    home.backup();
    let (to, report, problems) = restored(&home);
    assert_eq!((problems, report.moved, report.earlier, report.left_out), (vec![], 8, 0, 0));
    holds(&to, &database);
    // Nothing is there twice, and what no row names stays.
    assert_eq!(files(&to), files(&home.upload()));
    assert_eq!(fs::read(to.join("library/ann/notes.txt")).unwrap(), fs::read(kept).unwrap());
    assert!(report.notes[0].starts_with("8 files lay elsewhere than the database"), "{:?}", report.notes);
    let like = |path: &str| fs::metadata(to.join(path)).map(|meta| (meta.mode(), meta.uid())).unwrap();
    assert_eq!(like(&format!("upload/{ANN}/03")), like(&format!("upload/{ANN}/02")));
}

#[test]
fn a_changed_template_and_an_older_dump_make_one_state() {
    let old: Vec<Photo> = (1..=40)
        .map(|number| Photo::new(number, &format!("library/ann/2019/11/{number}.jpg")).with_sidecar())
        .collect();
    let disk: Vec<Photo> =
        old.iter().map(|photo| photo.at(&format!("library/ann/2019-11-15/{}.jpg", photo.number))).collect();
    let home = library(&disk, &old);
    home.backup();
    let (to, report, problems) = restored(&home);
    assert_eq!((problems, report.moved), (vec![], 80));
    holds(&to, &old);
    assert_eq!(files(&to), 81);
}

#[test]
fn photos_that_changed_places_come_back_in_their_own() {
    let database: Vec<Photo> = (1..=3).map(|number| Photo::new(number, &format!("library/ann/{number}.jpg"))).collect();
    // Each lies where another belongs.
    let disk: Vec<Photo> =
        database.iter().map(|photo| photo.at(&format!("library/ann/{}.jpg", photo.number % 3 + 1))).collect();
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
    let home = library(&[Photo::new(1, "upload/x/1.jpg"), Photo::new(9, "library/ann/1.jpg")], &database);
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
    assert!(problems[0].subject == "library/ann/1.jpg" && problems[0].message.contains("two photos have this path"));
    holds(&to, &[mine, other.at("upload/x/2.jpg")]);
}

#[test]
fn one_file_that_two_rows_need_is_there_twice() {
    // The same photo of two people; of one the row is behind.
    let ann = Photo::new(1, "upload/ann/1.jpg").with_sidecar();
    let bob = Photo { owner: BOB, bytes: 1, ..Photo::new(2, "library/bob/1.jpg") };
    let home = library(&[bob.clone()], &[ann.clone(), bob.clone()]);
    home.backup();
    let (to, report, _) = restored(&home);
    assert_eq!(report.moved, 1);
    holds(&to, &[Photo { sidecar: false, ..ann }, bob]);
}

#[test]
fn of_two_files_with_the_same_bytes_each_row_gets_that_of_its_owner_with_its_sidecar() {
    let ann = Photo::new(1, &format!("upload/{ANN}/1.jpg")).with_sidecar();
    let bob = Photo { owner: BOB, bytes: 1, ..Photo::new(2, &format!("upload/{BOB}/2.jpg")) }.with_sidecar();
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
    let names: Vec<&str> =
        ["library/ann/b/1.jpg", "library/ann/z.jpg"].into_iter().filter(|path| to.join(path).exists()).collect();
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
fn pictures_and_sidecars_that_are_gone_come_from_the_snapshot_before() {
    let database: Vec<Photo> = (1..=2).map(|number| uploaded(number).with_sidecar()).collect();
    let home = library(&database, &database);
    home.backup();
    fs::remove_file(home.upload().join(format!("profile/{ANN}/ann.webp"))).unwrap();
    home.write(format!("profile/{ANN}/new.webp"), b"Ann today");
    fs::remove_file(home.upload().join(format!("{}.xmp", database[0].path))).unwrap();
    home.backup();
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
    let disk: Vec<Photo> =
        database.iter().map(|photo| photo.at(&format!("library/ann/{}.jpg", photo.number))).collect();
    let home = library(&disk, &database);
    home.backup();
    let (to, first, _) = restored(&home);
    let again = Options { accept_non_empty: true, ..options(&to) };
    let report = restore(&home.repository(), &again, &Collect::default()).unwrap();
    assert_eq!((report.restored, report.already_there), (0, first.files));
}
