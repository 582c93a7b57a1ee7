//! What is fuzzed: everything that reads bytes which somebody else may have written. A target
//! panics when it finds something.

use std::cell::OnceCell;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use shoebox::archive::verify::{VerifyHelper, verify};
use shoebox::archive::{ArchiveReader, ArchiveTail, frame, hasher, read_chunk, read_segment};
use shoebox::base::file::FileEntry;
use shoebox::base::library::LibraryRecord;
use shoebox::base::monitor::SilentMonitor;
use shoebox::base::object::Object;
use shoebox::base::stored::{ChunkLine, IndexLine};
use shoebox::base::{Error, FilePath, Result};
use shoebox::immich::{self, fit};
use shoebox::repo::{Note, Repository, SnapshotRecord, WriteSession, lines};
use shoebox::source::envfile::ImmichEnv;
use shoebox::task::restore::whole;
use shoebox::view::name::{NameShape, NameSuffixes, NamedUnit, is_probe, safe};

use crate::crafted::Crafted;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 11] = [
    ("archive", archive),
    ("catalog", catalog),
    ("dump", dump),
    ("envfile", envfile),
    ("fit", fit),
    ("index", index),
    ("list", list),
    ("name", name),
    ("note", note),
    ("record", record),
    ("repository", repository),
];

/// Parts the inputs of `index` and `repository` into theirs.
pub const PART: &[u8] = b"\n====\n";

/// Words that the inputs are made of.
#[allow(dead_code)] // libFuzzer reads them from a file
pub const WORDS: &[&str] = &[
    "\\.\n",
    "\\connect ",
    "\\restrict a\n",
    "\\unrestrict a\n",
    "\\N",
    "\t",
    "\r\n",
    "\0",
    "\u{feff}",
    "--\n",
    "COPY public.asset (id) FROM stdin;\n",
    "COPY public.\"user\" (id, name) FROM stdin;\n",
    "SET client_encoding = 'UTF8';\n",
    "CREATE TABLE ",
    "CREATE DATABASE ",
    "CREATE EXTENSION ",
    "CREATE FUNCTION ",
    "ALTER ",
    "DROP ",
    "GRANT ",
    "COMMENT ON ",
    "SELECT pg_catalog.set_config('search_path', '', false);\n",
    "SELECT pg_catalog.setval(",
    "OWNER TO ",
    "$$",
    "$_$",
    "E'",
    "'",
    "\"",
    "/*",
    "*/",
    "{\"",
    "\":",
    "null",
    "true",
    "-1",
    "0",
    "18446744073709551615",
    "9223372036854775807",
    "1e999",
    "\"path\":\"",
    "\"kind\":\"file\"",
    "\"kind\":\"folder\"",
    "\"kind\":\"symlink\"",
    "\"kind\":\"asset\"",
    "\"hash\":\"",
    "\"hex\":\"",
    "\"target\":\"",
    "\"link\":\"",
    "\"size\":",
    "\"mtime\":",
    "\"mode\":",
    "\"frames\":[",
    "\"tree\":\"",
    "\"keys\":[",
    "\"offset\":",
    "\"stored\":",
    "../",
    "/etc/passwd",
    "upload/",
    "library/",
    "external/",
    "snapshots/",
    "2026-11-22T030005Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "-009999-01-01T00:00:00",
    "11111111-1111-4111-8111-111111111111",
    "path=",
    "mtime=",
    "size=",
    "30 mtime=-1.000000000\n",
    "ustar\u{0}00",
    "CON",
    ".Trash-",
    ".jpg",
    " (01010101)",
    "e\u{301}",
    "index-offset ",
    "index-stored ",
    "index-size ",
    "index-blake3 ",
    "shoebox archive 1\n",
];

/// A folder of this thread, in memory where there is one. It lasts as long as the thread.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

/// An archive's last words: its bytes as they are, read as a reader and as a check reads them.
fn archive(data: &[u8]) {
    if let Ok(tail) = ArchiveTail::decode(data) {
        assert_eq!(ArchiveTail::decode(&tail.encode()).unwrap(), tail);
    }
    read_archive(data);
}

/// An archive with the index that the first part says and the members that the second is; all
/// hashes right.
fn index(data: &[u8]) {
    let (index, members) = parts(data);
    let mut bytes = members.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    let frame = frame::compress(index).unwrap();
    let offset = bytes.len() as u64;
    let tail = ArchiveTail {
        offset,
        stored: frame.len() as u64,
        size: index.len() as u64,
        hash: hasher::hash(index),
    };
    bytes.extend_from_slice(&frame);
    bytes.resize(bytes.len().next_multiple_of(512) + 512, 0);
    bytes.extend_from_slice(&tail.encode());
    bytes.extend_from_slice(&[0; 1024]);
    read_archive(&bytes);
}

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Object for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let begin = usize::try_from(offset).ok();
        let bytes = begin.and_then(|begin| self.0.get(begin..begin.checked_add(buffer.len())?));
        buffer.copy_from_slice(bytes.ok_or_else(|| Error::damaged("too short"))?);
        Ok(())
    }
}

struct Keyless;

impl VerifyHelper for Keyless {
    fn prefix(&mut self, _: &ChunkLine) -> Result<Vec<u8>> {
        Ok(b"some key chunk".to_vec())
    }

    fn advance(&mut self, _: u64) -> bool {
        true
    }
}

fn read_archive(data: &[u8]) {
    let object = Bytes(data.to_vec());
    let Ok(archive) = ArchiveReader::open(Box::new(Bytes(data.to_vec()))) else { return };
    let Ok(lines) = archive.lines() else { return };
    for line in lines.iter().take(100) {
        match line {
            IndexLine::Chunk(line) => drop(read_chunk(&object, &line.into(), &[])),
            IndexLine::Content(line) => {
                let place = line.into();
                let _ = (read_segment(&object, &place, 0), read_segment(&object, &place, 1));
            }
        }
    }
    let _ = verify(&archive, &lines, &mut Keyless);
}

/// A dump, plain or gzip; what is read of it is sorted, and every plain byte is handed on.
fn dump(data: &[u8]) {
    thread_local! { static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() }; }
    FOLDER.with(|cell| {
        let staging = cell.get_or_init(folder).path();
        let mut copy = Vec::new();
        let read =
            immich::read(&mut &*data, &immich::Options { database: None, staging }, &mut |bytes| {
                copy.extend_from_slice(bytes);
                Ok(())
            });
        assert!(data.starts_with(&[0x1f, 0x8b]) || copy == data, "not every byte is handed on");
        let Ok(dump) = read else { return };
        let mut last = None;
        let handed = dump.records(&mut |record| {
            let key = record.key();
            assert!(last.is_none_or(|last| last < key), "{key:?} is out of order");
            last = Some(key);
            let text = serde_json::to_string(&record).unwrap();
            let back: LibraryRecord =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(back.key(), key);
            Ok(())
        });
        handed.unwrap_or_else(|error| assert!(!dump.is_good(), "{error}"));
    });
}

/// A dump, fitted to a file: what comes out is fitted already.
fn fit(data: &[u8]) {
    let target = fit::FitTarget::file();
    let Some(once) = fitted(data, &target) else { return };
    let Some(twice) = fitted(&once, &target) else {
        panic!("what was fitted is refused: {}", once.escape_ascii())
    };
    assert!(
        without_comments(&once) == without_comments(&twice),
        "{} becomes {}",
        once.escape_ascii(),
        twice.escape_ascii()
    );
}

fn fitted(data: &[u8], target: &fit::FitTarget) -> Option<Vec<u8>> {
    let mut out = b"--\n-- PostgreSQL database dump\n--\n\n".to_vec();
    let fitted = fit::fit(&mut &*data, None, target, &mut |piece| {
        out.extend_from_slice(piece.bytes);
        Ok(())
    });
    out.extend_from_slice(b"--\n-- PostgreSQL database dump complete\n--\n\n");
    fitted.ok().map(|_| as_dumped(&out))
}

/// With the one statement that nobody but the fitting writes as pg_dump had it.
fn as_dumped(sql: &[u8]) -> Vec<u8> {
    const SET: [&[u8]; 2] = [
        b"SELECT pg_catalog.set_config('search_path', 'public, pg_catalog', true);\n",
        b"SELECT pg_catalog.set_config('search_path', '', false);\n",
    ];
    let mut out = Vec::new();
    for line in sql.split_inclusive(|&byte| byte == b'\n') {
        out.extend_from_slice(if line == SET[0] { SET[1] } else { line });
    }
    out
}

/// Comments of a head and an end are left out as such.
fn without_comments(sql: &[u8]) -> Vec<&[u8]> {
    sql.split(|&byte| byte == b'\n')
        .filter(|line| !line.starts_with(b"--") && !line.is_empty())
        .collect()
}

/// Lists: what can be read is written back as it was understood.
fn list(data: &[u8]) {
    for line in lines(data).map_while(Result::ok) {
        if let Ok(entry) = serde_json::from_slice::<FileEntry>(&line) {
            assert_eq!(
                serde_json::from_slice::<FileEntry>(&serde_json::to_vec(&entry).unwrap()).unwrap(),
                entry
            );
            let below = entry.path.below(Path::new("/top"));
            assert!(
                below.starts_with("/top")
                    && below.components().all(|part| part.as_os_str() != "..")
            );
            assert!(FilePath::new(entry.path.as_bytes()).is_ok());
        }
        if let Ok(record) = serde_json::from_slice::<LibraryRecord>(&line) {
            let text = serde_json::to_vec(&record).unwrap();
            assert_eq!(serde_json::from_slice::<LibraryRecord>(&text).unwrap().key(), record.key());
        }
    }
}

fn record(data: &[u8]) {
    let Ok(record) = serde_json::from_slice::<SnapshotRecord>(data) else { return };
    let text = serde_json::to_vec(&record).unwrap();
    assert_eq!(serde_json::from_slice::<SnapshotRecord>(&text).unwrap(), record);
    let _ = (record.id.to_string(), record.is_good(), record.without_chunks());
}

fn note(data: &[u8]) {
    let Ok(note) = serde_json::from_slice::<Note>(data) else { return };
    let text = serde_json::to_vec(&note).unwrap();
    assert_eq!(serde_json::from_slice::<Note>(&text).unwrap(), note);
}

fn envfile(data: &[u8]) {
    thread_local! { static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() }; }
    FOLDER.with(|cell| {
        let path = cell.get_or_init(folder).path().join(".env");
        fs::write(&path, data).unwrap();
        let _ = ImmichEnv::read(&path);
    });
}

/// Names: one per line, all in one folder.
fn name(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut units = Vec::new();
    for (number, raw) in text.split('\n').take(20).enumerate() {
        let name = safe(raw, "unnamed");
        assert_eq!(safe(&name, "unnamed"), name, "{raw:?}");
        assert!(
            !name.is_empty()
                && !is_probe(&name)
                && !name.contains(['/', '\0'])
                && !matches!(&*name, "." | "..")
        );
        let mut id = [number as u8 / 3; 16];
        id[15] = number as u8;
        let video = (number % 2 == 1).then_some(raw);
        units.push(NamedUnit {
            since: number as i64 % 3,
            id,
            shapes: vec![NameShape::asset(raw, video)],
        });
    }
    let mut suffixes = NameSuffixes::default();
    suffixes.decide(units.clone());
    let mut seen = std::collections::HashSet::new();
    for unit in &units {
        let name = unit.shapes[0].name(suffixes.of(&unit.id));
        assert!(name.len() <= 255 && seen.insert(name.clone()), "{name} is there twice");
    }
}

/// A catalog in a repository, and all that is asked of one.
fn catalog(data: &[u8]) {
    thread_local! { static MADE: OnceCell<(tempfile::TempDir, Repository)> = const { OnceCell::new() }; }
    MADE.with(|cell| {
        let (dir, repository) = cell.get_or_init(|| {
            let dir = folder();
            let repository = Crafted::sound().write(&dir.path().join("repository"));
            (dir, repository)
        });
        // Another file each time: a generation is never written into.
        let fresh = dir.path().join("fresh");
        fs::File::create(&fresh).unwrap().write_all(data).unwrap();
        // Whoever makes up a catalog seals it: without, its first page would be all that is looked
        // at.
        let _ = shoebox::catalog::seal(&fresh);
        fs::rename(&fresh, repository.catalog_path()).unwrap();
        use_all(repository, dir.path(), true);
    });
}

/// A whole repository: the lists and the dump that the parts say, taken in by a rebuild, shown,
/// restored.
fn repository(data: &[u8]) {
    let (files, rest) = parts(data);
    let (library, dump) = parts(rest);
    let dir = folder();
    let crafted = Crafted { files: files.to_vec(), library: library.to_vec(), dump: dump.to_vec() };
    let repository = crafted.write(&dir.path().join("repository"));
    if WriteSession::rebuild(&repository, &SilentMonitor).is_ok() {
        use_all(&repository, dir.path(), false);
    }
}

/// Everything that reads a repository. Nothing may be written outside `dir/new`.
fn use_all(repository: &Repository, dir: &Path, dry_run: bool) {
    if let Ok(view) = crate::crafted::open_view(repository) {
        crate::crafted::walk(&view, 300);
    }
    let options = whole::Options {
        snapshot: "latest".into(),
        to: dir.join("above/new"),
        external: Vec::new(),
        accept_non_empty: true,
        as_on_disk: false,
        overwrite: true,
        dry_run,
    };
    let _ = whole::restore(repository, &options, &SilentMonitor);
    let above = fs::read_dir(dir.join("above")).map_or(0, Iterator::count);
    assert!(above <= 1, "something was written beside the folder");
}

/// What stands before and after the first [`PART`].
fn parts(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.windows(PART.len()).position(|window| window == PART);
    at.map_or((data, &[][..]), |at| (&data[..at], &data[at + PART.len()..]))
}
