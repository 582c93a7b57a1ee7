//! Folders that are not where they are looked for: disks that are not mounted, links, places of
//! their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::backup_library::{ANN, Home, noise, set_mtime};
use crate::support::whole_restore;
use shoebox::base::FilePath;
use shoebox::base::monitor::SilentMonitor;
use shoebox::source::ExternalFolder;
use shoebox::source::LibraryRoot;
use shoebox::task::backup::{Options, Report, backup};
use shoebox::task::restore::whole::{OutsidePhotos, restore};

const FAMILY: &str = "f1111111-1111-4111-8111-111111111111";
/// Every file is as old as this.
const LONG_AGO: i64 = 1_700_000_000_000_000_000;

/// Twenty photos of Ann's, of one the moving half, four of an external library, and her picture.
struct Library {
    home: Home,
}

impl Library {
    fn new() -> Library {
        let library = Library { home: Home::new() };
        let mut rows = Vec::new();
        for number in 0..20 {
            rows.push(library.put(number, &format!("upload/{ANN}/aa/{number}.jpg")));
        }
        rows.push(library.put(20, &format!("encoded-video/{ANN}/aa/20-MP.mp4")));
        library.put(21, &format!("profile/{ANN}/ann.webp"));
        fs::create_dir_all(library.family()).unwrap();
        for number in 30..34 {
            fs::write(library.family().join(format!("{number}.jpg")), noise(number, 900)).unwrap();
            rows.push(row(number, &format!("/mnt/external/family/{number}.jpg"), true));
        }
        library.home.write_dump(&dump(&rows));
        library
    }

    /// Writes a file of the library; the row that names it.
    fn put(&self, number: u64, path: &str) -> String {
        set_mtime(&self.home.write(path, &noise(number, 1000)), LONG_AGO);
        row(number, &format!("/data/{path}"), false)
    }

    fn family(&self) -> PathBuf {
        self.home.dir.path().join("family")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.upload().join(path)
    }

    fn options(&self) -> Options {
        let family =
            ExternalFolder { server: "/mnt/external/family".into(), folder: self.family() };
        Options { external: vec![family], ..self.home.options() }
    }

    fn backup(&self) -> Report {
        backup(&self.home.repository(), self.options(), &SilentMonitor).unwrap()
    }

    fn backup_shrunk(&self) -> Report {
        backup(
            &self.home.repository(),
            Options { accept_shrink: true, ..self.options() },
            &SilentMonitor,
        )
        .unwrap()
    }

    fn backup_with(&self, folders: Vec<LibraryRoot>) -> Report {
        backup(&self.home.repository(), Options { folders, ..self.options() }, &SilentMonitor)
            .unwrap()
    }

    /// Moves a folder of UPLOAD_LOCATION to another disk.
    fn move_away(&self, path: &str, name: &str) -> PathBuf {
        let place = self.home.dir.path().join(name);
        fs::rename(self.at(path), &place).unwrap();
        place
    }

    fn has_files(&self, report: &Report, path: &str) -> bool {
        let db = self.home.repository().catalog().unwrap().connect().unwrap();
        let path = FilePath::new(path).unwrap();
        db.night(report.record.id.seconds()).has_files_below(&path).unwrap()
    }
}

fn row(number: u64, path: &str, is_external: bool) -> String {
    let (library, external) = if is_external { (FAMILY, "t") } else { ("\\N", "f") };
    let sha1 = if is_external {
        "00".repeat(20)
    } else {
        hex::encode(<sha1::Sha1 as sha1::Digest>::digest(noise(number, 1000)))
    };
    let name = path.rsplit('/').next().unwrap();
    format!(
        "{number:08x}-1111-4111-8111-111111111111\t{ANN}\tIMAGE\t{path}\t{name}\t\\\\x{sha1}\t2025-01-02 03:04:05+00\t{library}\t{external}"
    )
}

fn dump(rows: &[String]) -> String {
    let mut text = String::from("--\n-- PostgreSQL database dump\n--\n\n");
    let mut copy = |table: &str, columns: &str, rows: &[String]| {
        text += &format!(
            "CREATE TABLE public.{table} (x text);\n\nCOPY public.{table} ({columns}) FROM stdin;\n"
        );
        rows.iter().for_each(|row| text += &format!("{row}\n"));
        text += "\\.\n\n\n";
    };
    let columns = "id, \"ownerId\", type, \"originalPath\", \"originalFileName\", checksum, \
        \"localDateTime\", \"libraryId\", \"isExternal\"";
    copy("asset", columns, rows);
    copy("album", "id, \"albumName\"", &[]);
    let user = format!("{ANN}\tAnn Lee\tann@example.com\t/data/profile/{ANN}/ann.webp");
    copy("\"user\"", "id, name, email, \"profileImagePath\"", &[user]);
    let library = format!("{FAMILY}\t{ANN}\tFamily NAS\t{{/mnt/external/family}}");
    copy("library", "id, \"ownerId\", name, \"importPaths\"", &[library]);
    text + "--\n-- PostgreSQL database dump complete\n--\n\n"
}

fn told(shown: &str, folder: &Path) -> LibraryRoot {
    LibraryRoot { folder: folder.to_owned(), shown: FilePath::new(shown).unwrap() }
}

#[test]
fn photos_that_the_database_has_outside_of_upload_location_come_back_with_what_to_mount_where() {
    let library = Library::new();
    // Immich's container has the folder library/ under another name; one more disk of it nobody
    // backs up.
    let mut rows: Vec<String> =
        (40..43).map(|n| library.put(n, &format!("library/ann/{n}.jpg"))).collect();
    rows.iter_mut().for_each(|row| *row = row.replace("/data/library/", "/photos/lib/"));
    rows.push(row(50, "/mnt/old disk/50.jpg", false));
    rows.push(library.put(60, &format!("upload/{ANN}/aa/60.jpg")));
    library.home.write_dump(&dump(&rows));
    let place = library.move_away("library", "ssd");
    let report = library.backup_with(vec![told("library", &place)]);
    assert_eq!((report.record.completeness.present, report.record.completeness.missing), (4, 1));

    let to = library.home.dir.path().join("new");
    let restored =
        restore(&library.home.repository(), &whole_restore(&to), &SilentMonitor).unwrap();
    let outside = |server: &str, folder: Option<&str>, photos| OutsidePhotos {
        server: server.to_owned(),
        folder: folder.map(str::to_owned),
        photos,
    };
    assert_eq!(
        restored.outside,
        [outside("/mnt/old disk", None, 1), outside("/photos/lib", Some("library"), 3)]
    );
    let said = restored.notes.join("\n");
    let wanted = format!(
        "3 photos are in /photos/lib by the database, outside of UPLOAD_LOCATION: laid in {}; let \
            Immich's containers have that folder at /photos/lib",
        to.join("library").display()
    );
    assert!(said.contains(&wanted), "{said}");
    assert!(
        said.contains("1 photo is in /mnt/old disk by the database")
            && said.contains("no file of that name"),
        "{said}"
    );
    // So mounted, each photo is where the database says.
    for number in 40..43 {
        assert_eq!(
            fs::read(to.join(format!("library/ann/{number}.jpg"))).unwrap(),
            noise(number, 1000)
        );
    }
}

/// The problems, one a line.
fn said(report: &Report) -> String {
    report
        .problems
        .iter()
        .map(|problem| format!("{}: {}\n", problem.subject, problem.message))
        .collect()
}

#[test]
fn an_external_library_whose_disk_is_not_mounted_is_an_alarm_whatever_its_share() {
    let home = Library::new();
    let first = home.backup();
    assert_eq!(
        (first.record.alarm.as_slice(), first.record.completeness.not_covered),
        (&[][..], 0),
        "{}",
        said(&first)
    );
    let (mounted, empty) = (home.family(), home.home.dir.path().join("disk"));
    fs::rename(&mounted, &empty).unwrap();
    fs::create_dir(&mounted).unwrap();
    for night in 0..2 {
        let report = home.backup();
        let alarm = report.record.alarm.join("\n");
        assert!(
            alarm.contains(" of Family NAS are gone: is its disk mounted?"),
            "night {night}: {alarm}"
        );
        assert!(
            said(&report).contains("external/mnt/external/family: ")
                && said(&report).contains("it is empty")
        );
        assert_eq!(report.record.completeness.not_covered, 0, "it is covered");
    }
    // Where the folder itself is not there, the rest is backed up all the same.
    fs::remove_dir(&mounted).unwrap();
    let report = home.backup();
    assert!(
        said(&report).contains("external/mnt/external/family: is not there"),
        "{}",
        said(&report)
    );
    assert!(!report.record.alarm.is_empty() && report.record.files.files >= 20);
    fs::rename(&empty, &mounted).unwrap();
    assert_eq!(home.backup().record.alarm, Vec::<String>::new());
}

#[test]
fn an_external_library_that_has_nearly_all_files_does_not_cost_the_night() {
    let home = Library::new();
    for number in 0..2000 {
        fs::write(home.family().join(format!("{number}.jpg")), number.to_string()).unwrap();
    }
    home.backup();
    fs::rename(home.family(), home.home.dir.path().join("disk")).unwrap();
    fs::create_dir(home.family()).unwrap();
    let report = home.backup();
    assert!(
        report.record.alarm.iter().any(|alarm| alarm.contains("Family NAS are gone")),
        "{:?}",
        report.record.alarm
    );
}

#[test]
fn a_photo_of_a_covered_external_library_that_is_gone_is_a_problem() {
    let home = Library::new();
    home.backup();
    fs::remove_file(home.family().join("31.jpg")).unwrap();
    let report = home.backup();
    assert!(said(&report).contains("31.jpg"), "{}", said(&report));
    assert_eq!(
        (report.record.completeness.missing, report.record.completeness.not_covered),
        (1, 0)
    );
}

#[test]
fn folders_in_other_places_are_named_and_taken_from_where_they_are_told_to_lie() {
    let home = Library::new();
    let whole = home.backup().record;
    let upload = home.home.upload();
    let uploads = upload.join("uploads");
    fs::rename(upload.join("upload"), &uploads).unwrap();
    let video = home.move_away("encoded-video", "ssd-video");
    fs::create_dir(upload.join("encoded-video")).unwrap();
    let report = home.backup_shrunk();
    let problems = said(&report);
    assert!(
        problems.contains(&format!("uploads looks like it; --folder upload={}", uploads.display())),
        "{problems}"
    );
    let both = home.backup_with(vec![told("upload", &uploads), told("encoded-video", &video)]);
    assert_eq!(said(&both), "");
    assert_eq!(
        (both.record.files.files, both.record.completeness),
        (whole.files.files, whole.completeness)
    );
}

#[test]
fn originals_behind_a_link_are_named_with_the_way_out_and_taken_when_they_are_told() {
    let home = Library::new();
    let whole = home.backup().record;
    let upload = home.home.upload().join("upload");
    let user = fs::read_dir(&upload)
        .unwrap()
        .flatten()
        .find(|entry| entry.path().is_dir())
        .unwrap()
        .file_name();
    let shown = format!("upload/{}", user.to_string_lossy());
    let disk = home.move_away(&shown, "disk");
    symlink(&disk, upload.join(&user)).unwrap();
    let report = home.backup_shrunk();
    let way_out =
        format!("--folder {shown}={} takes it from there", disk.canonicalize().unwrap().display());
    let problems = said(&report);
    assert!(problems.contains("is a link to") && problems.contains(&way_out), "{problems}");
    let taken = home.backup_with(vec![told(&shown, &disk)]);
    assert_eq!(said(&taken), "");
    assert_eq!(
        (taken.record.files.files, taken.record.completeness),
        (whole.files.files, whole.completeness)
    );
}

#[test]
fn a_link_in_the_place_of_a_folder_leads_to_folders_of_immich_only() {
    let home = Library::new();
    home.backup();
    let outside = home.home.dir.path().join("secrets");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("key"), "secret").unwrap();
    let profile = home.move_away("profile", "profile");
    let place = home.home.upload().join("profile");
    symlink(&outside, &place).unwrap();
    let report = home.backup();
    assert!(
        said(&report).contains("profile: 1 file of the database is in this folder"),
        "{}",
        said(&report)
    );
    assert!(
        said(&report).contains("is a link to") && !home.has_files(&report, "profile"),
        "{}",
        said(&report)
    );
    // Its own folder on a larger disk is followed.
    fs::remove_file(&place).unwrap();
    fs::write(profile.join(".immich"), "1").unwrap();
    symlink(&profile, &place).unwrap();
    assert!(home.has_files(&home.backup(), "profile"));
}
