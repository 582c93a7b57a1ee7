//! The damage matrix: every kind of damage to every kind of file of a repository. What still
//! restores, what a check says, what a repair gives back, and what restores then; told in `matrix.txt`,
//! which `SHOEBOX_GOLDEN=write` rewrites.
//!
//! Held in every case, whatever the report says: no read ever gives wrong bytes, a repair takes
//! nothing away that could be read before it, and a second one does nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::backup_library::{ANN, Home, copy_folder, dump, noise, reads};
use shoebox::base::monitor::SilentMonitor;
use shoebox::base::stored::IndexLine;
use shoebox::repo::Repository;
use shoebox::task::check::{CheckExtent, CheckFinding, check};
use shoebox::task::repair::{Options, RepairRemedy, Report, repair};

type Reads = BTreeMap<String, Option<String>>;

/// Three nights; the photos of the first are no longer on the server, and in the second only the
/// dump changes.
struct Matrix {
    home: Home,
    /// What a sound repository gives.
    truth: Reads,
    /// One of another library.
    other: Home,
    report: String,
}

/// Where something is.
struct Spot {
    archive: PathBuf,
    at: usize,
    len: usize,
}

/// A backup whose archive is the same each time: one reader keeps the order of the files.
fn night(home: &Home) {
    let options = shoebox::task::backup::Options { readers: 1, ..home.options() };
    shoebox::task::backup::backup(&home.repository(), options, &SilentMonitor).unwrap();
}

fn nights(home: &Home) {
    home.write(format!("upload/{ANN}/1.jpg"), &noise(1, 30_000));
    home.write("library/gone.jpg", &noise(2, 20_000));
    home.write_dump(&dump(2_000, 0));
    night(home);
    home.write_dump(&dump(2_000, 1));
    night(home);
    fs::remove_file(home.upload().join("library/gone.jpg")).unwrap();
    home.write(format!("upload/{ANN}/2.jpg"), &noise(3, 40_000));
    home.write("library/new.jpg", &noise(4, 20_000));
    home.write_dump(&dump(2_000, 2));
    night(home);
    check(&home.repository(), CheckExtent::All, &SilentMonitor).unwrap();
    shoebox::task::acknowledge::acknowledge(&home.repository(), "latest").unwrap();
}

impl Matrix {
    fn new() -> Matrix {
        let (home, other) = (Home::new(), Home::new());
        nights(&home);
        // No snapshot of the other repository is called as one of this: they are named by the
        // second.
        let last = home.repository().snapshot_ids().unwrap()[2].time();
        while jiff::Timestamp::now() <= last + jiff::SignedDuration::from_secs(1) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        nights(&other);
        let truth = reads(&home.repo_path());
        assert!(truth.len() > 20 && truth.values().all(Option::is_some), "{truth:#?}");
        Matrix { home, truth, other, report: String::new() }
    }

    fn id(&self, night: usize) -> String {
        self.home.repository().snapshot_ids().unwrap()[night].to_string()
    }

    /// One case: the repository with `damage` done to it.
    fn case(&mut self, kind: &str, manner: &str, damage: impl Fn(&Path)) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repository");
        copy_folder(&self.home.repo_path(), &root);
        damage(&root);
        let before = self.read(&root, kind, manner);
        let found = findings(&root);
        let first = repaired(&root, &self.home.upload());
        let after = self.read(&root, kind, manner);
        for (path, bytes) in before.iter().filter(|(_, bytes)| bytes.is_some()) {
            assert_eq!(after.get(path), Some(bytes), "{kind}, {manner}: {path} was taken away");
        }
        let second = repaired(&root, &self.home.upload());
        let done = second.done.as_ref().unwrap();
        assert!(done.written.is_empty() && done.aside.is_empty(), "{kind}, {manner}: {second:#?}");
        self.tell(&root, kind, manner, [&before, &after], found, &first);
    }

    /// What can be read; never anything wrong.
    fn read(&self, root: &Path, kind: &str, manner: &str) -> Reads {
        let all = reads(root);
        for (path, bytes) in all.iter().filter(|(_, bytes)| bytes.is_some()) {
            assert_eq!(
                self.truth.get(path),
                Some(bytes),
                "{kind}, {manner}: {path} has wrong bytes"
            );
        }
        all
    }

    fn tell(
        &mut self,
        root: &Path,
        kind: &str,
        manner: &str,
        reads: [&Reads; 2],
        found: Vec<String>,
        report: &Report,
    ) {
        let all = self.truth.len();
        let [before, after] =
            reads.map(|reads| match reads.values().filter(|bytes| bytes.is_some()).count() {
                right if right == all => "everything".to_owned(),
                0 => "nothing".to_owned(),
                right => format!("{right} of {all} files"),
            });
        let mut text = format!("{kind}, {manner}\n");
        let mut found = found;
        found.dedup();
        writeln!(text, "  restores   {before}").unwrap();
        let found = if found.is_empty() { vec!["finds nothing".to_owned()] } else { found };
        found.iter().for_each(|finding| writeln!(text, "  check      {finding}").unwrap());
        let told = report.steps.iter().map(|step| match (name(&step.finding), &step.remedy) {
            (finding, RepairRemedy::Repair(how)) => format!("  repairs    {finding}: {how}\n"),
            (finding, RepairRemedy::Leave(why)) => format!("  cannot     {finding}: {why}\n"),
        });
        let mut told: Vec<String> = told.collect();
        told.dedup();
        text += &told.concat();
        writeln!(text, "  restores   {after}\n").unwrap();
        self.report += &self.plain(text, root);
    }

    /// Without what differs from run to run.
    fn plain(&self, mut text: String, root: &Path) -> String {
        text = text.replace(&root.display().to_string(), "REPOSITORY");
        for (night, name) in ["FIRST", "SECOND", "THIRD"].into_iter().enumerate() {
            let id = self.id(night);
            text = text.replace(&format!("{}/{id}", &id[..4]), name).replace(&id, name);
        }
        without_hashes(&text)
    }

    /// Where the content is whose path ends in `name`.
    fn content(&self, name: &str) -> Spot {
        self.spot(|line| matches!(line, IndexLine::Content(line) if line.path.as_bytes().ends_with(name.as_bytes())))
    }

    /// Where the first chunk of a dump is.
    fn dump_chunk(&self, night: usize) -> Spot {
        let repository = self.home.repository();
        let hash =
            repository.record(self.id(night).parse().unwrap()).unwrap().streams.dump.chunks[0].hash;
        self.spot(|line| matches!(line, IndexLine::Chunk(line) if line.chunk == hash))
    }

    fn spot(&self, is_it: impl Fn(&IndexLine) -> bool) -> Spot {
        let (archive, line) = self.home.lines().into_iter().find(|(_, line)| is_it(line)).unwrap();
        let archive = archive.strip_prefix(self.home.repo_path()).unwrap().to_owned();
        Spot { archive, at: line.place().0 as usize, len: line.place().1 as usize }
    }
}

/// Each hash as the word HASH.
fn without_hashes(text: &str) -> String {
    let mut plain = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_hash = word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain += if is_hash { "HASH" } else { word };
        plain += &piece[word.len()..];
    }
    plain
}

fn repaired(root: &Path, upload_location: &Path) -> Report {
    let options = Options {
        apply: true,
        upload_location: Some(upload_location.to_owned()),
        ..Options::default()
    };
    repair(root, &options, &SilentMonitor).unwrap()
}

/// What a check says, a line each.
fn findings(root: &Path) -> Vec<String> {
    let report = Repository::open(root)
        .and_then(|repository| check(&repository, CheckExtent::All, &SilentMonitor));
    match report {
        Ok(report) => report.findings.iter().map(said).collect(),
        Err(error) => vec![format!("fails: {error}")],
    }
}

fn said(finding: &CheckFinding) -> String {
    let state = |bytes: &shoebox::task::check::DamagedBytes| match (&bytes.archive, &bytes.copy) {
        (Some(archive), Some(copy)) => format!("damaged in {archive}, whole in {copy}"),
        (Some(archive), None) => format!("damaged in {archive}"),
        (None, _) => "in no archive".to_owned(),
    };
    match finding {
        CheckFinding::Photo(photo) => format!("{}: {}", name(finding), state(&photo.bytes)),
        CheckFinding::File(file) => format!("{}: {}", name(finding), state(&file.bytes)),
        // What SQLite says depends on its version.
        CheckFinding::Catalog { .. } => {
            format!("{}: it is damaged, or says other things than the archives", name(finding))
        }
        // Where JSON and zstd stumble depends on what the record and the index say of this machine.
        CheckFinding::Snapshot { message, .. } => {
            format!("{}: {}", name(finding), before(message, ".json: "))
        }
        CheckFinding::Archive { message, .. } => {
            format!("{}: {}", name(finding), before(message, " frame: "))
        }
        CheckFinding::Other { file, message } => {
            format!("{}: {}", name(finding), message.replace(file, "it"))
        }
    }
}

/// What comes before `end`, and `end` without its colon.
fn before(message: &str, end: &str) -> String {
    match message.split_once(end) {
        Some((begin, _)) => format!("{begin}{}", end.trim_end_matches(": ")),
        None => message.to_owned(),
    }
}

fn name(finding: &CheckFinding) -> String {
    match finding {
        CheckFinding::Photo(photo) => format!("photo {} of {}", photo.name, photo.owner),
        CheckFinding::File(file) => format!("file {}", file.path),
        CheckFinding::Snapshot { snapshot, part, .. } => {
            format!("{} of {snapshot}", format!("{part:?}").to_lowercase())
        }
        CheckFinding::Archive { archive, .. } => format!("archive {archive}"),
        CheckFinding::Catalog { .. } => "catalog".to_owned(),
        CheckFinding::Other { file, .. } if file.starts_with("notes/") => "note".to_owned(),
        CheckFinding::Other { file, .. } => file.clone(),
    }
}

// Damage
// --------------------------------------------------------------------------------------------------------------

fn delete(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn truncate(path: &Path) {
    cut(path, fs::metadata(path).unwrap().len() as usize / 2);
}

fn cut(path: &Path, len: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..len]).unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn swap(a: &Path, b: &Path) {
    let (first, second) = (fs::read(a).unwrap(), fs::read(b).unwrap());
    fs::write(a, second).unwrap();
    fs::write(b, first).unwrap();
}

/// Where `text` is in a file.
fn find(path: &Path, text: &str) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
}

#[test]
fn every_kind_of_damage_to_every_kind_of_file() {
    let mut matrix = Matrix::new();
    let others = matrix.other.repo_path();

    let cases: [(&str, &str, &str); 3] = [
        ("shoebox.json", "shoebox.json", "\"id\""),
        ("README.txt", "README.txt", "tar and zstd"),
        ("lock", "lock", "pid"),
    ];
    for (kind, file, text) in cases {
        matrix.case(kind, "deleted", |root| delete(&root.join(file)));
        matrix.case(kind, "truncated", |root| truncate(&root.join(file)));
        matrix.case(kind, "one bit flipped", |root| {
            flip(&root.join(file), find(&root.join(file), text))
        });
        matrix.case(kind, "swapped with another repository's", |root| {
            fs::copy(others.join(file), root.join(file)).unwrap();
        });
    }

    let records = [0, 1, 2].map(|night| format!("snapshots/{}.json", matrix.id(night)));
    let record = &records[0];
    matrix.case("snapshot record", "deleted", |root| delete(&root.join(record)));
    matrix.case("snapshot record", "truncated", |root| truncate(&root.join(record)));
    matrix.case("snapshot record", "one bit flipped", |root| {
        flip(&root.join(record), find(&root.join(record), "\"streams\""))
    });
    matrix.case("snapshot record", "one bit of a hash flipped", |root| {
        let path = root.join(record);
        let at = find(&path, "\"hash\": \"") + 9;
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] = if bytes[at] == b'1' { b'0' } else { b'1' };
        fs::write(&path, bytes).unwrap();
    });
    matrix.case("snapshot record", "swapped with the next", |root| {
        swap(&root.join(record), &root.join(&records[1]))
    });

    let (photo, loose, chunk, patch) = (
        matrix.content("/2.jpg"),
        matrix.content("gone.jpg"),
        matrix.dump_chunk(0),
        matrix.dump_chunk(1),
    );
    let archives = [&loose, &patch, &photo];
    for (number, kind) in [
        "archive with photos that the server has no more",
        "archive with dump chunks",
        "archive with photos",
    ]
    .into_iter()
    .enumerate()
    {
        let (archive, middle) =
            (&archives[number].archive, archives[number].at + archives[number].len / 2);
        let size = fs::metadata(matrix.home.repo_path().join(archive)).unwrap().len() as usize;
        matrix.case(kind, "deleted", |root| delete(&root.join(archive)));
        matrix.case(kind, "truncated", |root| cut(&root.join(archive), middle));
        matrix.case(kind, "one bit of its tail flipped", |root| {
            flip(&root.join(archive), size - 1530)
        });
        matrix.case(kind, "one bit of its index flipped", |root| {
            let path = root.join(archive);
            let bytes = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes[size - 1536..]).into_owned();
            let at: usize = text
                .lines()
                .find_map(|line| line.strip_prefix("index-offset "))
                .unwrap()
                .parse()
                .unwrap();
            flip(&path, at + 30);
        });
        matrix.case(kind, "one bit of its last zeros flipped", |root| {
            flip(&root.join(archive), size - 5)
        });
    }
    matrix.case("archive", "swapped with the next", |root| {
        swap(&root.join(&archives[0].archive), &root.join(&archives[1].archive))
    });
    let members = [
        ("photo", &photo),
        ("photo that the server has no more", &loose),
        ("piece of a dump", &chunk),
        ("patch of a dump", &patch),
    ];
    for (kind, spot) in members {
        matrix.case(kind, "one bit flipped", |root| {
            flip(&root.join(&spot.archive), spot.at + spot.len / 2)
        });
        matrix.case(kind, "one bit of its header flipped", |root| {
            flip(&root.join(&spot.archive), spot.at - 510)
        });
    }
    matrix.case("photo", "swapped with another of its size", |root| {
        let path = root.join(&loose.archive);
        let mut bytes = fs::read(&path).unwrap();
        bytes[loose.at..loose.at + loose.len].copy_from_slice(&noise(4, loose.len));
        fs::write(&path, bytes).unwrap();
    });

    matrix.case("catalog", "deleted", |root| delete(&root.join("catalog.sqlite")));
    matrix.case("catalog", "truncated", |root| truncate(&root.join("catalog.sqlite")));
    matrix.case("catalog", "one bit flipped", |root| flip(&root.join("catalog.sqlite"), 3));
    matrix.case("catalog", "swapped with another repository's", |root| {
        fs::copy(others.join("catalog.sqlite"), root.join("catalog.sqlite")).unwrap();
    });

    let notes: Vec<String> = matrix
        .home
        .repository()
        .notes()
        .unwrap()
        .list
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let note = &notes[0];
    matrix.case("note", "deleted", |root| delete(&root.join(note)));
    matrix.case("note", "truncated", |root| truncate(&root.join(note)));
    matrix.case("note", "one bit flipped", |root| {
        flip(&root.join(note), find(&root.join(note), "\"kind\""))
    });

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matrix.txt");
    if std::env::var_os("SHOEBOX_GOLDEN").is_some_and(|what| what == "write") {
        fs::write(&golden, &matrix.report).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        matrix.report == expected,
        "not as in matrix.txt (SHOEBOX_GOLDEN=write rewrites it):\n{}",
        matrix.report
    );
}
