//! A whole snapshot comes back without shoebox: by `scripts/recover`, and by hand as README.txt
//! says.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::backup_library::{ANN, Home, dump, noise, odd_tree, tick, tree};
use serde_json::json;
use shoebox::archive::{ArchiveWriter, frame, hasher};
use shoebox::base::stored::{ChunkLine, ContentLine, IndexLine};
use shoebox::repo::{SnapshotRecord, StreamChunk};
use shoebox::store::{FolderStore, Store, write_all};

/// About 20 MB of rows.
const ROWS: u64 = 82_000;

fn recover(arguments: &[&Path]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/recover");
    Command::new(script).args(arguments).output().unwrap()
}

/// Recovers; what was said on standard error.
fn recovered(arguments: &[&Path], code: i32) -> String {
    let output = recover(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// A library after two nights, and what it was in each.
struct Nights {
    home: Home,
    records: Vec<SnapshotRecord>,
    dumps: Vec<String>,
    trees: Vec<BTreeMap<Vec<u8>, String>>,
}

fn two_nights() -> Nights {
    let home = Home::new();
    odd_tree(&home);
    let mut nights = Nights { home, records: vec![], dumps: vec![], trees: vec![] };
    nights.night(0);
    tick();
    let upload = nights.home.upload();
    fs::rename(upload.join("library/ann/-rf"), upload.join("library/moved.jpg")).unwrap();
    fs::remove_file(upload.join("library/ann/ blank ")).unwrap();
    nights.home.write(format!("upload/{ANN}/new.jpg"), &noise(99, 40_000));
    nights.home.write(format!("upload/{ANN}/1.jpg"), &noise(98, 300_001));
    nights.night(1);
    nights
}

impl Nights {
    fn night(&mut self, number: u64) {
        let text = dump(ROWS, number);
        self.home.write_dump(&text);
        let report = self.home.backup();
        assert_eq!(
            report.problems.iter().filter(|p| !p.message.contains("the database names")).count(),
            0
        );
        self.records.push(report.record);
        self.dumps.push(text);
        self.trees.push(tree(&self.home.upload()));
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.home.dir.path().join(name)
    }

    fn check(&self, night: usize, folder: &Path) {
        assert!(
            fs::read(folder.join("database/immich.sql")).unwrap() == self.dumps[night].as_bytes()
        );
        assert_same(&tree(&folder.join("files")), &self.trees[night]);
    }

    fn chunk_lines(&self) -> Vec<(PathBuf, ChunkLine)> {
        let chunk = |(path, line)| match line {
            IndexLine::Chunk(line) => Some((path, line)),
            IndexLine::Content(_) => None,
        };
        self.home.lines().into_iter().filter_map(chunk).collect()
    }

    fn content_at(&self, path: &str) -> (PathBuf, ContentLine) {
        let found = self.home.lines().into_iter().find_map(|(archive, line)| match line {
            IndexLine::Content(line) if line.path.as_bytes() == path.as_bytes() => {
                Some((archive, line))
            }
            _ => None,
        });
        found.unwrap()
    }
}

fn assert_same(got: &BTreeMap<Vec<u8>, String>, wanted: &BTreeMap<Vec<u8>, String>) {
    for (path, entry) in wanted {
        assert_eq!(got.get(path), Some(entry), "{}", path.escape_ascii());
    }
    assert_eq!(got.len(), wanted.len());
}

#[test]
fn every_night_comes_back_byte_for_byte() {
    let nights = two_nights();
    assert!(
        nights.chunk_lines().iter().any(|(_, line)| !line.keys.is_empty()),
        "no chunk is a patch"
    );
    let repo = nights.home.repo_path();
    fs::remove_file(repo.join("catalog.sqlite")).unwrap();
    let (first, second) = (nights.folder("first"), nights.folder("second"));
    let id = nights.records[0].id.to_string();
    assert_eq!(recovered(&[&repo, Path::new(&id), &first], 0), "");
    assert_eq!(recovered(&[&repo, &second], 0), "");
    nights.check(0, &first);
    nights.check(1, &second);
    let library = fs::read_to_string(second.join("database/library.jsonl")).unwrap();
    assert!(library.contains(r#""kind":"user""#) && library.contains("ann@example.com"));
    assert!(recovered(&[&repo, &second], 1).contains("is not empty"));
    nights.check(1, &second);
    damage_is_named(&nights);
    by_hand(&nights);
}

/// One byte of a photo flipped: it is named, the rest comes back.
fn damage_is_named(nights: &Nights) {
    let (archive, line) = nights.content_at(&format!("upload/{ANN}/2.jpg"));
    let file = OpenOptions::new().read(true).write(true).open(archive).unwrap();
    let flip = || {
        let mut byte = [0];
        file.read_exact_at(&mut byte, line.offset + 1_000_000).unwrap();
        file.write_all_at(&[byte[0] ^ 1], line.offset + 1_000_000).unwrap();
    };
    flip();
    let folder = nights.folder("damaged");
    let said = recovered(&[&nights.home.repo_path(), Path::new("latest"), &folder], 3);
    flip();
    assert!(
        said.starts_with(&format!("damaged: upload/{ANN}/2.jpg: ")) && said.lines().count() == 1,
        "{said}"
    );
    let mut wanted = nights.trees[1].clone();
    wanted.remove(format!("upload/{ANN}/2.jpg").as_bytes());
    assert_same(&tree(&folder.join("files")), &wanted);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    // GNU tar says so of a record that it does not need.
    let said = String::from_utf8_lossy(&output.stderr)
        .replace("tar: Ignoring unknown extended header keyword 'hdrcharset'\n", "");
    assert!(output.status.success() && said.is_empty(), "{command:?}: {said}");
}

/// README.txt's own words, with tar and zstd.
fn by_hand(nights: &Nights) {
    let dir = tempfile::tempdir().unwrap();
    let extract = |archive: &Path, member: &str| {
        run(Command::new("tar").arg("xf").arg(archive).arg(member).current_dir(&dir));
        dir.path().join(member)
    };
    let photo = format!("upload/{ANN}/2.jpg");
    let place = extract(&nights.content_at(&photo).0, &photo);
    assert!(fs::read(place).unwrap() == fs::read(nights.home.upload().join(&photo)).unwrap());
    let raw = format!("upload/{ANN}/large.tif");
    let place = extract(&nights.content_at(&raw).0, &format!("{raw}.zst"));
    run(Command::new("zstd").arg("-dq").arg(place));
    assert!(
        fs::read(dir.path().join(&raw)).unwrap()
            == fs::read(nights.home.upload().join(&raw)).unwrap()
    );

    let chunks = nights.chunk_lines();
    let find = |hash| chunks.iter().find(|(_, line)| line.chunk == hash).unwrap();
    let (archive, patch) = chunks
        .iter()
        .filter(|(_, line)| line.size > 1 << 20)
        .find(|(_, l)| !l.keys.is_empty())
        .unwrap();
    let mut prefix = Vec::new();
    for key in &patch.keys {
        let place = extract(&find(*key).0, &format!("chunks/{key}.zst"));
        run(Command::new("zstd").arg("-dq").arg(&place));
        prefix.extend(fs::read(place.with_extension("")).unwrap());
    }
    fs::write(dir.path().join("PREFIX"), prefix).unwrap();
    let place = extract(archive, &format!("chunks/{}.zst", patch.chunk));
    run(Command::new("zstd")
        .args(["-dq", "--long=26", "--patch-from=PREFIX"])
        .arg(&place)
        .current_dir(&dir));
    let plain = fs::read(place.with_extension("")).unwrap();
    assert_eq!(hasher::hash(&plain), patch.chunk);
    assert!(plain == slice(&nights.dumps[1], &nights.records[1].streams.dump.chunks, patch.chunk));
}

/// The bytes of a stream that its chunk `hash` has.
fn slice<'a>(text: &'a str, chunks: &[StreamChunk], hash: shoebox::base::Hash) -> &'a [u8] {
    let before: u64 =
        chunks.iter().take_while(|chunk| chunk.hash != hash).map(|chunk| chunk.size).sum();
    let size = chunks.iter().find(|chunk| chunk.hash == hash).unwrap().size;
    &text.as_bytes()[before as usize..(before + size) as usize]
}

/// A repository with one snapshot whose list of files is `list`.
fn crafted(root: &Path, list: &str) {
    let store = FolderStore::new(root);
    store.create_folder("tmp").unwrap();
    let mut archive = ArchiveWriter::new(store.draft().unwrap());
    let mut chunk = |text: &str| {
        let hash = hasher::hash(text.as_bytes());
        archive
            .add_chunk(hash, text.len() as u64, &frame::compress(text.as_bytes()).unwrap(), &[])
            .unwrap();
        json!({ "size": text.len(), "chunks": [{ "hash": hash, "size": text.len() }] })
    };
    let (files, dump) = (chunk(list), chunk("-- a dump\n"));
    let path = shoebox::base::FilePath::new("upload/evil").unwrap();
    let seen = shoebox::archive::NewContent { path: &path, mtime: 0, mode: 0o644, uid: 0, gid: 0 };
    let stored = shoebox::archive::StoredContent::Plain(b"evil".to_vec());
    archive.add_content(&seen, &hasher::digest(b"evil"), stored).unwrap();
    archive.finish("archives/2026/2026-01-01T000000Z-0001.tar").unwrap();
    let none = json!({ "size": 0, "chunks": [] });
    let record = json!({
        "format": 1, "id": "2026-01-01T000000Z", "dump": { "verdict": "good" },
        "streams": { "dump": dump, "files": files, "library": none },
    });
    write_all(&store, "snapshots/2026-01-01T000000Z.json", record.to_string().as_bytes()).unwrap();
    write_all(&store, "shoebox.json", br#"{"format": 1}"#).unwrap();
}

#[test]
fn a_crafted_list_cannot_write_outside() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let evil = hasher::hash(b"evil").to_string();
    let meta = r#""mtime":0,"mode":511,"uid":0,"gid":0"#;
    let file = |path: &str| {
        format!("{{\"path\":{path},\"kind\":\"file\",\"size\":4,{meta},\"hash\":\"{evil}\"}}")
    };
    let symlink = |path: &str, target: &str| {
        format!("{{\"path\":\"{path}\",\"kind\":\"symlink\",\"target\":\"{target}\",{meta}}}")
    };
    let out = outside.to_str().unwrap();
    let mut lines = vec![
        file("\"../evil\""),
        file(&format!("\"{out}/absolute\"")),
        file("\"a/../../../evil\""),
        file(r#"{"hex":"2e2e2f6576696c"}"#),
        file("\"\""),
        file(r#""nul\u0000""#),
        symlink("link", out),
        file("\"link/below\""),
        format!("{{\"path\":\"link/folder\",\"kind\":\"folder\",{meta}}}"),
        format!("{{\"path\":\"link\",\"kind\":\"folder\",{meta}}}"),
        symlink("file", &format!("{out}/through")),
        file("\"file\""),
        format!(
            "{{\"path\":\"hard\",\"kind\":\"file\",\"size\":4,{meta},\"hash\":\"{evil}\",\"link\":\"../../outside/x\"}}"
        ),
        format!(
            "{{\"path\":\"mtime\",\"kind\":\"file\",\"mtime\":\"x\",\"mode\":0,\"uid\":0,\"gid\":0,\"hash\":\"{evil}\"}}"
        ),
        "[]".to_owned(),
        "not json".to_owned(),
    ];
    let wrong = lines.len() - 2; // the two symlinks are as good as any
    lines.push(file("\"good/file\""));
    lines.push(symlink("other", "/etc/passwd"));
    let repo = dir.path().join("repository");
    crafted(&repo, &(lines.join("\n") + "\n"));
    let folder = dir.path().join("recovered");
    let said = recovered(&[&repo, &folder], 3);
    assert_eq!(said.lines().count(), wrong, "{said}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let files: Vec<_> =
        tree(&folder).into_keys().map(|path| path.escape_ascii().to_string()).collect();
    let wanted = "database database/immich.sql database/library.jsonl files files/file files/good \
        files/good/file files/link files/other";
    assert_eq!(files.join(" "), wanted);
    assert_eq!(fs::read(folder.join("files/good/file")).unwrap(), b"evil");
}

#[test]
fn what_is_newer_or_missing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repository");
    crafted(&repo, "");
    let folder = dir.path().join("recovered");
    assert!(
        recovered(&[&repo, Path::new("2020-01-01T000000Z"), &folder], 1)
            .contains("2026-01-01T000000Z")
    );
    assert!(!folder.exists());
    assert!(recovered(&[&repo], 2).contains("recover REPOSITORY"));
    fs::write(repo.join("shoebox.json"), r#"{"format": 2}"#).unwrap();
    assert!(recovered(&[&repo, &folder], 1).contains("format 2"));
    fs::remove_file(repo.join("shoebox.json")).unwrap();
    assert!(recovered(&[&repo, &folder], 3).contains("shoebox.json"));
    fs::write(repo.join("shoebox.json"), r#"{"format": 1}"#).unwrap();
    let archive = repo.join("archives/2026/2026-01-01T000000Z-0001.tar");
    let cut = fs::read(&archive).unwrap();
    fs::write(&archive, &cut[..cut.len() - 700]).unwrap();
    let said = recovered(&[&repo, &dir.path().join("cut")], 3);
    assert!(said.contains("has no tail") && !said.contains("Traceback"), "{said}");
}
