//! A library on disk, its dump and a repository beside it: for tests that make real backups.

#![allow(dead_code)] // each test file uses its own part

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha1::{Digest, Sha1};
use shoebox::archive::ArchiveReader;
use shoebox::base::monitor::SilentMonitor;
use shoebox::base::stored::IndexLine;
use shoebox::base::{Monitor, Result};
use shoebox::repo::Repository;
use shoebox::task::backup::{DumpSource, Options, Report, backup};

pub const ANN: &str = "11111111-1111-4111-8111-111111111111";

/// A library and a repository in a temporary folder.
pub struct Home {
    pub dir: tempfile::TempDir,
}

impl Home {
    /// An empty library with Immich's markers, a small dump, and an empty repository.
    pub fn new() -> Home {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        for name in ["upload", "library", "profile"] {
            fs::create_dir_all(home.upload().join(name)).unwrap();
            home.write(Path::new(name).join(".immich"), b"1700000000000");
        }
        home.write_dump(&dump(0, 0));
        Repository::create(&home.repo_path()).unwrap();
        home
    }

    /// UPLOAD_LOCATION.
    pub fn upload(&self) -> PathBuf {
        self.dir.path().join("immich")
    }

    pub fn repo_path(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    pub fn repository(&self) -> Repository {
        Repository::open(&self.repo_path()).unwrap()
    }

    pub fn dump_path(&self) -> PathBuf {
        self.dir.path().join("immich.sql")
    }

    pub fn write_dump(&self, text: &str) {
        fs::write(self.dump_path(), text).unwrap();
    }

    /// Writes a file of the library.
    pub fn write(&self, path: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.upload().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        lie_for_long(&path);
        path
    }

    pub fn options(&self) -> Options {
        plain_backup(self.upload(), self.dump_path())
    }

    pub fn backup(&self) -> Report {
        self.try_backup(&SilentMonitor).unwrap()
    }

    pub fn try_backup(&self, monitor: &dyn Monitor) -> Result<Report> {
        // What was touched less than a tick of the kernel's clock before it was read is read once
        // more by the next one.
        std::thread::sleep(Duration::from_millis(20));
        backup(&self.repository(), self.options(), monitor)
    }

    /// Every archive, oldest first.
    pub fn archives(&self) -> Vec<PathBuf> {
        let listed = self.repository().store().list("archives").unwrap();
        listed.into_iter().map(|listed| self.repo_path().join(listed.name)).collect()
    }

    /// Every index line, with its archive.
    pub fn lines(&self) -> Vec<(PathBuf, IndexLine)> {
        let read = |path: PathBuf| {
            let name = path.strip_prefix(self.repo_path()).unwrap().to_str().unwrap().to_owned();
            let object = self.repository().store().open(&name).unwrap();
            let lines = ArchiveReader::open(object).unwrap().lines().unwrap();
            lines.into_iter().map(move |line| (path.clone(), line)).collect::<Vec<_>>()
        };
        self.archives().into_iter().flat_map(read).collect()
    }

    /// How many contents of `size` bytes the archives hold.
    pub fn copies(&self, size: u64) -> usize {
        self.lines()
            .iter()
            .filter(|(_, line)| matches!(line, IndexLine::Content(line) if line.size == size))
            .count()
    }
}

/// A backup of what lies at `upload_location`, with the dump in a file, and all else as it is
/// without flags.
pub fn plain_backup(upload_location: PathBuf, dump: PathBuf) -> Options {
    Options {
        upload_location,
        dump: DumpSource::File(dump),
        database: None,
        generated: false,
        paranoid: false,
        reread_days: None,
        external: Vec::new(),
        folders: Vec::new(),
        exclude: Vec::new(),
        keep_bad_dump: false,
        accept_shrink: false,
        accept_little_space: false,
        accept_other_library: false,
        alarm_shrink: 10,
        max_age: jiff::SignedDuration::from_hours(48),
        readers: 2,
    }
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(len);
    bytes
}

/// Bytes that compress well.
pub fn text(len: usize) -> Vec<u8> {
    (0..)
        .flat_map(|line: u32| format!("line {line} of a long and boring story\n").into_bytes())
        .take(len)
        .collect()
}

const TABLES: &str = "CREATE TABLE public.album (id uuid, \"albumName\" text);
CREATE TABLE public.asset (id uuid, \"ownerId\" uuid, type text, \"originalPath\" text, \
\"originalFileName\" text, checksum bytea, \"localDateTime\" timestamptz);
CREATE TABLE public.smart_search (\"assetId\" uuid, embedding text);
CREATE TABLE public.\"user\" (id uuid, name text, email text);

";

/// A whole dump of a small library, with `rows` rows of a table that is large on real servers;
/// every two-hundredth is another one each `night`.
pub fn dump(rows: u64, night: u64) -> String {
    let mut text = String::from(
        "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.20\n-- Dumped \
            by pg_dump version 15.20\n\n\
         SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n\n",
    );
    text.push_str(TABLES);
    let mut copy = |table: &str, columns: &str, rows: &mut dyn Iterator<Item = String>| {
        writeln!(text, "COPY public.{table} ({columns}) FROM stdin;").unwrap();
        rows.for_each(|row| writeln!(text, "{row}").unwrap());
        text.push_str("\\.\n\n\n");
    };
    copy(
        "album",
        "id, \"albumName\"",
        &mut std::iter::once("a1111111-1111-4111-8111-111111111111\tRome".to_owned()),
    );
    let photo = |number: u64| {
        format!(
            "{number:08x}-1111-4111-8111-111111111111\t{ANN}\tIMAGE\t/data/upload/{ANN}/{number}.jpg\tIMG_{number}.jpg\t\\\\x{:040x}\t2025-01-02 03:04:05+00",
            number
        )
    };
    let columns = "id, \"ownerId\", type, \"originalPath\", \"originalFileName\", checksum, \
        \"localDateTime\"";
    copy("asset", columns, &mut (1..=2).map(photo));
    let search = |row: u64| {
        let seed = if row % 200 == night % 200 { row + night * 1_000_000_000 } else { row };
        format!("{row:08x}-2222-4222-8222-222222222222\t[{}]", hex::encode(noise(seed, 100)))
    };
    copy("smart_search", "\"assetId\", embedding", &mut (0..rows).map(search));
    copy(
        "\"user\"",
        "id, name, email",
        &mut std::iter::once(format!("{ANN}\tAnn Lee\tann@example.com")),
    );
    text.push_str("--\n-- PostgreSQL database dump complete\n--\n\n");
    text
}

/// Lets a file be an hour older: one that changed just now is read a second time.
fn lie_for_long(path: &Path) {
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Sets an entry's time, nanoseconds since 1970; a symlink's own.
pub fn set_mtime(path: &Path, nanos: i64) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec {
        tv_sec: nanos.div_euclid(1_000_000_000),
        tv_nsec: nanos.rem_euclid(1_000_000_000),
    };
    utimensat(
        CWD,
        path,
        &Timestamps { last_access: time, last_modification: time },
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
}

/// Fills the library with everything odd. The paths of its files, without other names of the same.
pub fn odd_tree(home: &Home) -> Vec<Vec<u8>> {
    let mut files: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (format!("upload/{ANN}/1.jpg").into(), noise(1, 300_001)),
        (format!("upload/{ANN}/2.jpg").into(), noise(2, 3_500_000)),
        (format!("upload/{ANN}/2.jpg.xmp").into(), text(5000)),
        (format!("upload/{ANN}/a.dng").into(), text(3_500_000)),
        (format!("upload/{ANN}/a.dng.zst").into(), noise(3, 1000)),
        (format!("upload/{ANN}/empty").into(), vec![]),
        (format!("upload/{ANN}/copy of 1.jpg").into(), noise(1, 300_001)),
        (format!("upload/{ANN}/one MiB").into(), noise(4, 1 << 20)),
        (format!("upload/{ANN}/large.mov").into(), noise(5, (16 << 20) + 12_345)),
        (format!("upload/{ANN}/large.tif").into(), text((17 << 20) + 5)),
        ("library/ann/line\nend \u{e4} \u{1f600} \\ \" '.jpg".into(), noise(6, 700)),
        (b"library/ann/not \xff\xfe utf-8.jpg".to_vec(), noise(7, 700)),
        ([b"library/ann/\xff", "n".repeat(150).as_bytes()].concat(), text(6000)),
        (format!("library/ann/{}", "l".repeat(255)).into(), text(7000)),
        (format!("library/ann/{}", "m".repeat(251)).into(), text(7001)),
        (format!("library/{}/{}.jpg", "d".repeat(200), "e".repeat(200)).into(), noise(8, 700)),
        // The hundredth byte is a slash.
        (format!("library/{}/after the slash", "s".repeat(91)).into(), noise(9, 700)),
        ("library/ann/old.jpg".into(), noise(10, 700)),
        ("library/ann/late.jpg".into(), noise(11, 700)),
        ("library/ann/-rf".into(), noise(12, 700)),
        ("library/ann/ blank ".into(), noise(13, 700)),
    ];
    for (seed, (path, bytes)) in files.iter().enumerate() {
        let place = home.write(OsStr::from_bytes(path), bytes);
        set_mtime(&place, 1_700_000_000_123_456_789 + seed as i64 * 1_000_000_007);
        fs::set_permissions(
            &place,
            fs::Permissions::from_mode([0o644, 0o400, 0o755, 0o600][seed % 4]),
        )
        .unwrap();
    }
    let at = |path: &str| home.upload().join(path);
    set_mtime(&at("library/ann/old.jpg"), -1_500_000_000);
    set_mtime(&at("library/ann/late.jpg"), 9_000_000_000_000_000_000);
    set_mtime(&at(&format!("upload/{ANN}/1.jpg")), 1_600_000_000_000_000_000);
    fs::hard_link(at("library/ann/old.jpg"), at("library/hard link.jpg")).unwrap();
    fs::hard_link(at("library/ann/old.jpg"), at("profile/other link.jpg")).unwrap();
    for (name, target) in
        [("dangling", "nowhere/at all"), ("absolute", "/etc/passwd"), ("folder", "../upload")]
    {
        symlink(target, at("library").join(name)).unwrap();
        set_mtime(&at("library").join(name), 1_650_000_000_000_000_001);
    }
    symlink(OsStr::from_bytes(b"\xff\xfe"), at("library/bytes")).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(at("library/ann/late.jpg"), Some(1234), Some(5678)).unwrap();
        std::os::unix::fs::lchown(at("library/ann/old.jpg"), Some(3_000_000), Some(3_000_001))
            .unwrap();
        std::os::unix::fs::lchown(at("library/dangling"), Some(1234), Some(5678)).unwrap();
    }
    fs::create_dir(at("profile/empty folder")).unwrap();
    fs::set_permissions(at("profile/empty folder"), fs::Permissions::from_mode(0o2750)).unwrap();
    set_mtime(&at("profile/empty folder"), 1_234_567_890_987_654_321);
    fs::set_permissions(
        at(&format!("library/{}", "d".repeat(200))),
        fs::Permissions::from_mode(0o555),
    )
    .unwrap();
    set_mtime(&at("library/ann"), 1_111_111_111_111_111_111);
    files.sort();
    files.into_iter().map(|(path, _)| path).collect()
}

/// What lies below `root`, by path: kind, mode, time, owner, and the bytes by hash. Hard links name
/// their first path.
pub fn tree(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut firsts = BTreeMap::new();
    let mut entries = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let entry = entry.unwrap();
        let meta = entry.path().symlink_metadata().unwrap();
        let path = entry.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let what = if meta.is_dir() {
            "folder".to_owned()
        } else if meta.is_symlink() {
            format!("symlink to {:?}", fs::read_link(entry.path()).unwrap())
        } else if meta.is_file() {
            let first = firsts.entry(meta.ino()).or_insert_with(|| path.clone());
            format!("file {} like {}", sha1_of(entry.path()), first.escape_ascii())
        } else {
            continue;
        };
        let mode = if meta.is_symlink() { 0 } else { meta.mode() & 0o7777 };
        let (mtime, nanos, uid, gid) = (meta.mtime(), meta.mtime_nsec(), meta.uid(), meta.gid());
        entries.insert(path, format!("{what} {mode:o} {mtime}.{nanos:09} {uid}:{gid}"));
    }
    entries
}

/// The SHA-1 of a file.
pub fn sha1_of(path: &Path) -> String {
    let (mut file, mut sha1, mut piece) =
        (File::open(path).unwrap(), Sha1::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).unwrap() {
            0 => return hex::encode(sha1.finalize()),
            len => sha1.update(&piece[..len]),
        }
    }
}

/// Waits until file times that are taken now differ from those before.
pub fn tick() {
    let begun = SystemTime::now();
    while begun.elapsed().unwrap_or_default() < Duration::from_millis(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every file below `snapshots/` of the view of the repository at `root`, read whole: its SHA-1, or
/// `None` for an error. Empty when the view cannot be opened.
pub fn reads(root: &Path) -> BTreeMap<String, Option<String>> {
    let options =
        shoebox::view::Options { time_zone: jiff::tz::TimeZone::UTC, ..Default::default() };
    let view = Repository::open(root)
        .and_then(|repository| shoebox::task::open::open_view(&repository, options));
    let mut all = BTreeMap::new();
    if let Ok(view) = view
        && let Ok(top) = view.resolve(shoebox::view::ROOT, b"snapshots")
    {
        read_folder(&view, top, "", &mut all);
    }
    all
}

fn read_folder(
    view: &shoebox::view::View,
    folder: shoebox::view::Node,
    at: &str,
    all: &mut BTreeMap<String, Option<String>>,
) {
    use shoebox::view::NodeKind;
    let mut children = Vec::new();
    let listed = view.children(folder.ino, 0, &mut |entry| {
        children.push((String::from_utf8_lossy(entry.name).into_owned(), entry.node));
        std::ops::ControlFlow::Continue(())
    });
    if listed.is_err() {
        all.insert(at.to_owned(), None);
    }
    for (name, node) in children {
        let path = format!("{at}/{name}");
        match node.kind {
            NodeKind::Folder => read_folder(view, node, &path, all),
            NodeKind::Symlink => {}
            NodeKind::File => drop(all.insert(path, read_whole(view, node))),
        }
    }
}

fn read_whole(view: &shoebox::view::View, node: shoebox::view::Node) -> Option<String> {
    let (mut sha1, mut at) = (Sha1::new(), 0);
    while at < node.size {
        let read = view.read(node.ino, at, 1 << 20, |bytes| {
            sha1.update(bytes);
            bytes.len() as u64
        });
        match read.ok()? {
            0 => return None,
            more => at += more,
        }
    }
    Some(hex::encode(sha1.finalize()))
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(target).unwrap();
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
