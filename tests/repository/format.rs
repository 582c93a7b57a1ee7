//! The format holds still: these bytes, read by any `tar`, and refused where they are not what was
//! written.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backup_library::{Home, noise, odd_tree, text};
use shoebox::archive::{ArchiveReader, ArchiveWriter, NewContent, StoredContent, hasher};
use shoebox::base::monitor::SilentMonitor;
use shoebox::base::stored::{ContentLine, IndexLine};
use shoebox::base::{ErrorKind, FilePath, Result};
use shoebox::repo::{Repository, WriteSession};
use shoebox::store::{FolderStore, Store};

const NAME: &str = "archives/2026/2026-11-22T030005Z-0001.tar";

/// A zstd frame of one raw block (RFC 8878, 3.1.1): the same whatever zstd's version.
fn raw_frame(plain: &[u8]) -> Vec<u8> {
    let block = ((plain.len() as u32) << 3) | 1;
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, plain.len() as u8], &block.to_le_bytes()[..3], plain].concat()
}

/// An archive of fixed input, with every kind of header and line.
fn fixed(root: &Path) -> PathBuf {
    let store = FolderStore::new(root);
    store.create_folder("tmp").unwrap();
    let mut archive = ArchiveWriter::new(store.draft().unwrap());
    let mut add = |path: Vec<u8>, mtime: i64, uid: u32, plain: &[u8], stored: StoredContent| {
        let path = FilePath::new(path).unwrap();
        let seen = NewContent { path: &path, mtime, mode: 0o640, uid, gid: 100 };
        archive.add_content(&seen, &hasher::digest(plain), stored).unwrap();
    };
    let photo = noise(1, 3000);
    add(
        "upload/photo.jpg".into(),
        1_700_000_000_000_000_000,
        1000,
        &photo,
        StoredContent::Plain(photo.clone()),
    );
    add(
        "upload/fraction.jpg".into(),
        1_700_000_000_000_000_001,
        1000,
        b"fraction",
        StoredContent::Plain(b"fraction".to_vec()),
    );
    add(
        "upload/old.jpg".into(),
        -1_500_000_000,
        1000,
        b"old",
        StoredContent::Plain(b"old".to_vec()),
    );
    add("upload/empty".into(), 0, 3_000_000, b"", StoredContent::Plain(vec![]));
    let frame = raw_frame(b"compressed");
    let stored = StoredContent::Frames(frame.clone(), vec![frame.len() as u32]);
    add("upload/raw.dng".into(), 1, 1000, b"compressed", stored);
    add(b"upload/\xff\xfe.jpg".to_vec(), 0, 0, b"bytes", StoredContent::Plain(b"bytes".to_vec()));
    add(
        [b"upload/\xff", "n".repeat(200).as_bytes()].concat(),
        0,
        0,
        b"long bytes",
        StoredContent::Plain(b"long bytes".to_vec()),
    );
    add(
        format!("upload/{}/\u{e4}", "l".repeat(240)).into(),
        0,
        0,
        b"long",
        StoredContent::Plain(b"long".to_vec()),
    );
    let key = hasher::hash(b"key");
    archive.add_chunk(key, 3, &raw_frame(b"key"), &[]).unwrap();
    archive.add_chunk(hasher::hash(b"patch"), 5, &raw_frame(b"patch"), &[key]).unwrap();
    // A name that leaves no room for `.zst`: stored as it is.
    let path = FilePath::new(format!("upload/{}", "t".repeat(252))).unwrap();
    let seen = NewContent { path: &path, mtime: 0, mode: 0o600, uid: 0, gid: 0 };
    let plain = text((2 << 20) + 77);
    let mut large = archive.large_content(seen, plain.len() as u64, &plain[..1 << 20]).unwrap();
    plain.chunks(1 << 20).for_each(|segment| large.segment(segment).unwrap());
    large.finish(&hasher::digest(&plain)).unwrap();
    archive.finish(NAME).unwrap();
    root.join(NAME)
}

/// The value of a field of an archive's tail.
fn tail_field(bytes: &[u8], name: &str) -> String {
    let tail = std::str::from_utf8(&bytes[bytes.len() - 1536..bytes.len() - 1024]).unwrap();
    tail.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

#[test]
fn an_archive_of_fixed_input_has_exactly_these_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(fixed(dir.path())).unwrap();
    // How the index shrinks is zstd's business; up to its header, and what it says, is ours.
    let index: usize = tail_field(&bytes, "index-offset ").parse().unwrap();
    let before = hasher::hash(&bytes[..index - 512]).to_string();
    let said = (
        index,
        before.as_str(),
        &*tail_field(&bytes, "index-size "),
        &*tail_field(&bytes, "index-blake3 "),
    );
    assert_eq!(said, GOLDEN);
    assert_eq!(&bytes[bytes.len() - 2048..][..14], b".shoebox/tail\0");
    assert_eq!(bytes[bytes.len() - 1024..], [0; 1024]);
}

/// Where the index begins, BLAKE3 of what lies before its header, its plain size and its BLAKE3.
const GOLDEN: (usize, &str, &str, &str) = (
    2_118_144,
    "d73ca5afa8082752c9ac4a04e102a1a3b761d142eeebaa77e960dc3bc91be77a",
    "3279",
    "ab2e7cc89f23bb85a79d3f3eff8f4363d3ccd56371b36cf1665536f77b629994",
);

fn open(bytes: &[u8]) -> Result<Vec<IndexLine>> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.tar"), bytes).unwrap();
    ArchiveReader::open(FolderStore::new(dir.path()).open("a.tar")?)?.lines()
}

fn kind_of(bytes: &[u8]) -> ErrorKind {
    open(bytes).unwrap_err().kind()
}

#[test]
fn an_archive_that_is_not_what_was_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(fixed(dir.path())).unwrap();
    assert_eq!(open(&bytes).unwrap().len(), 11);
    for cut in [0, 1, 512, 1535, 1536, 2048, 100_000, bytes.len() - 1024, bytes.len() - 1] {
        assert_eq!(kind_of(&bytes[..cut]), ErrorKind::Damaged, "cut at {cut}");
    }
    assert_eq!(kind_of(&[&bytes[..], &[0; 512]].concat()), ErrorKind::Damaged);
    let (offset, stored): (usize, usize) = (
        tail_field(&bytes, "index-offset ").parse().unwrap(),
        tail_field(&bytes, "index-stored ").parse().unwrap(),
    );
    for at in [offset, offset + 9, offset + stored / 2, offset + stored - 1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert_eq!(kind_of(&flipped), ErrorKind::Damaged, "flipped at {at}");
    }
    let mut newer = bytes.clone();
    let version = bytes.len() - 1536 + "shoebox archive ".len();
    newer[version] = b'2';
    let error = open(&newer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.next_step().unwrap().contains("newer shoebox"));
    for number in ["index-offset", "index-stored", "index-size"] {
        let text = format!("{number} {}", tail_field(&bytes, &format!("{number} ")));
        let at = bytes.windows(text.len()).rposition(|window| window == text.as_bytes()).unwrap();
        let mut wrong = bytes.clone();
        wrong[at + number.len() + 1] = b'9';
        assert_eq!(kind_of(&wrong), ErrorKind::Damaged, "{number}");
    }
}

#[test]
fn what_a_newer_shoebox_wrote_is_refused_kindly() {
    let home = Home::new();
    let id = home.backup().record.id;
    let replace = |name: &str, old: &str, new: &str| {
        let path = home.repo_path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{text}");
        fs::write(path, text.replacen(old, new, 1)).unwrap();
    };
    let (old, new) = ("\"format\": 1", "\"format\": 2");
    let record = format!("snapshots/{id}.json");
    replace(&record, old, new);
    let refused = [
        home.repository().record(id).unwrap_err(),
        WriteSession::rebuild(&home.repository(), &SilentMonitor).unwrap_err(),
    ];
    replace(&record, "\"number\"", "\"numero\"");
    let unknown = home.repository().record(id).unwrap_err();
    replace(&record, "\"numero\"", "\"number\"");
    replace(&record, new, old);
    home.repository().record(id).unwrap();
    replace("shoebox.json", old, new);
    let description = Repository::open(&home.repo_path()).unwrap_err();
    replace("shoebox.json", "\"id\"", "\"name\"");
    let unknown_description = Repository::open(&home.repo_path()).unwrap_err();
    for error in refused.into_iter().chain([unknown, description, unknown_description]) {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(
            error.to_string().contains("format 2")
                && error.next_step().unwrap().contains("newer shoebox")
        );
    }
}

fn said(command: &mut Command) -> (String, String) {
    let output = command.env("LC_ALL", "C.UTF-8").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    // GNU tar says so of a record that it does not need.
    let notes = text(&output.stderr)
        .replace("tar: Ignoring unknown extended header keyword 'hdrcharset'\n", "");
    (text(&output.stdout), notes)
}

#[derive(serde::Deserialize)]
struct Member {
    name: String,
    offset: u64,
    size: u64,
    mtime: i64,
}

/// What Python's tarfile finds.
fn members(archive: &Path) -> Vec<Member> {
    const SCRIPT: &str = "
import json, math, os, sys, tarfile
for m in tarfile.open(sys.argv[1], 'r:'):
    print(json.dumps({'name': os.fsencode(m.name).hex(), 'offset': m.offset_data, 'size': m.size, \
    'mtime': math.floor(m.mtime)}))
";
    let (text, notes) =
        said(Command::new("python3").args(["-X", "utf8", "-c", SCRIPT]).arg(archive));
    assert_eq!(notes, "");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_tar_lists_what_the_index_names() {
    let home = Home::new();
    odd_tree(&home);
    home.backup();
    let fixed = fixed(home.dir.path());
    for archive in home.archives().into_iter().chain([fixed]) {
        for tar in ["tar", "bsdtar"] {
            let (listed, notes) = said(Command::new(tar).arg("tvf").arg(&archive));
            assert_eq!(notes, "", "{tar}");
            assert!(listed.trim_end().ends_with(".shoebox/tail"));
        }
        let lines = open(&fs::read(&archive).unwrap()).unwrap();
        let members = members(&archive);
        assert_eq!(members.len(), lines.len() + 2);
        for (line, member) in lines.iter().zip(&members) {
            assert_eq!((member.offset, member.size), line.place());
            let (name, mtime) = match line {
                IndexLine::Chunk(line) => (format!("chunks/{}.zst", line.chunk).into_bytes(), 0),
                IndexLine::Content(line) => (name_of(line), line.mtime.div_euclid(1_000_000_000)),
            };
            assert_eq!((&member.name, member.mtime), (&hex::encode(name), mtime));
        }
    }
}

fn name_of(line: &ContentLine) -> Vec<u8> {
    let suffix: &[u8] = if line.frames.is_some() { b".zst" } else { b"" };
    [line.path.as_bytes(), suffix].concat()
}

#[test]
fn what_any_tar_extracts_is_the_file_itself() {
    let home = Home::new();
    let files = odd_tree(&home);
    home.backup();
    let contents: HashMap<Vec<u8>, ContentLine> = home
        .lines()
        .into_iter()
        .filter_map(|(_, line)| match line {
            IndexLine::Content(line) => Some((line.path.as_bytes().to_vec(), line)),
            IndexLine::Chunk(_) => None,
        })
        .collect();
    for tar in ["tar", "bsdtar"] {
        let folder = tempfile::tempdir().unwrap();
        for archive in home.archives() {
            let (_, notes) =
                said(Command::new(tar).arg("xf").arg(archive).arg("-C").arg(folder.path()));
            assert!(
                notes
                    .lines()
                    .all(|line| line.contains("implausibly old time")
                        || line.contains("in the future")),
                "{tar}: {notes}"
            );
        }
        let mut compared = 0;
        // The member `a.dng.zst` is there twice: the file of that name, and the compressed `a.dng`.
        for path in
            files.iter().filter(|path| !path.ends_with(b"a.dng.zst") && !path.ends_with(b"a.dng"))
        {
            let Some(line) = contents.get(path) else { continue };
            let source = home.upload().join(OsStr::from_bytes(path));
            let got = folder.path().join(OsStr::from_bytes(&name_of(line)));
            let (meta, wanted) = (got.metadata().unwrap(), source.metadata().unwrap());
            assert_eq!(meta.mode() & 0o777, wanted.mode() & 0o777, "{tar} {got:?}");
            // libarchive reads -1.5 as -0.5; GNU tar and Python agree with us.
            if tar == "tar" || wanted.mtime() >= 0 {
                let time = |meta: &fs::Metadata| (meta.mtime(), meta.mtime_nsec());
                assert_eq!(time(&meta), time(&wanted), "{tar} {got:?}");
            }
            let bytes = match line.frames {
                None => fs::read(&got).unwrap(),
                Some(_) => Command::new("zstd").arg("-dcq").arg(&got).output().unwrap().stdout,
            };
            assert!(bytes == fs::read(source).unwrap(), "{tar} {got:?}");
            compared += 1;
        }
        assert!(compared >= 18, "{compared}");
    }
}
