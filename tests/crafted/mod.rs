//! Repositories that no shoebox wrote: their lists, records and archives say what a test wants them
//! to say, with all hashes right.
#![allow(dead_code)] // each test file uses its own part

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use shoebox::archive::{ArchiveWriter, NewContent, StoredContent, frame, hasher};
use shoebox::base::dump::{DumpInfo, DumpKind, DumpVerdict};
use shoebox::base::library::LibraryCensus;
use shoebox::base::{FilePath, SnapshotId};
use shoebox::repo::{
    ArchiveInfo, Completeness, FileCount, Repository, SnapshotRecord, SnapshotStreams, StreamChunk,
    StreamInfo,
};
use shoebox::view::{self, Ino, ROOT, View};

/// The content that every crafted repository holds.
pub const PHOTO: &[u8] = b"the bytes of a photo, as far as anybody knows";
pub const ANN: &str = "11111111-1111-4111-8111-111111111111";

/// What a snapshot says.
#[derive(Debug, Clone, Default)]
pub struct Crafted {
    /// The file list.
    pub files: Vec<u8>,
    /// The library list.
    pub library: Vec<u8>,
    pub dump: Vec<u8>,
}

impl Crafted {
    /// A small library that is as it should be.
    pub fn sound() -> Crafted {
        Crafted {
            files: file_list(&[]),
            library: library_list(&[]),
            dump: b"-- no dump\n".to_vec(),
        }
    }

    /// Makes the repository `root` with this one snapshot, and no catalog.
    pub fn write(&self, root: &Path) -> Repository {
        let repository = Repository::create(root).unwrap();
        fs::remove_file(repository.catalog_path()).unwrap();
        self.add(&repository, "2026-11-22T030005Z", 1);
        repository
    }

    /// Adds a snapshot with an archive of its own.
    pub fn add(&self, repository: &Repository, id: &str, number: u16) {
        let mut archive = ArchiveWriter::new(repository.store().draft().unwrap());
        let path = FilePath::new("upload/photo.jpg").unwrap();
        let seen = NewContent { path: &path, mtime: 0, mode: 0o644, uid: 0, gid: 0 };
        archive
            .add_content(&seen, &hasher::digest(PHOTO), StoredContent::Plain(PHOTO.to_vec()))
            .unwrap();
        let streams = SnapshotStreams {
            dump: stream(&mut archive, &[&self.dump]),
            files: stream(&mut archive, &[&self.files]),
            library: stream(&mut archive, &[&self.library]),
        };
        let name = format!("{}/{id}-0001.tar", &id[..4]);
        let finished = archive.finish(&format!("archives/{name}")).unwrap();
        let archive = ArchiveInfo { name, size: finished.size, hash: finished.hash };
        put_record(
            repository,
            &record(repository, id.parse().unwrap(), number, streams, vec![archive]),
        );
    }
}

/// Adds `pieces` as the chunks of a stream.
pub fn stream(archive: &mut ArchiveWriter, pieces: &[&[u8]]) -> StreamInfo {
    let mut stream = StreamInfo::default();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        let (hash, size) = (hasher::hash(piece), piece.len() as u64);
        archive.add_chunk(hash, size, &frame::compress(piece).unwrap(), &[]).unwrap();
        stream.chunks.push(StreamChunk { hash, size });
        stream.size += size;
    }
    stream
}

/// A record that says nothing of itself.
pub fn record(
    repository: &Repository,
    id: SnapshotId,
    number: u16,
    streams: SnapshotStreams,
    archives: Vec<ArchiveInfo>,
) -> SnapshotRecord {
    SnapshotRecord {
        format: 1,
        id,
        number,
        repository: repository.id().to_string(),
        host: "elsewhere".into(),
        shoebox: "0".into(),
        upload_location: "/photos".into(),
        dump: DumpInfo {
            kind: DumpKind::Database,
            verdict: DumpVerdict::Good,
            unfit: false,
            database: None,
            immich: None,
            schema: None,
            postgres: None,
            tool: None,
            extensions: Vec::new(),
            duplicates: Vec::new(),
            made: None,
            media_location: None,
            rows: BTreeMap::new(),
            reader: 1,
            lacks: Vec::new(),
        },
        streams,
        archives,
        census: LibraryCensus::default(),
        files: FileCount::default(),
        completeness: Completeness::default(),
        external: Vec::new(),
        walked: None,
        warnings: Vec::new(),
        alarm: Vec::new(),
        imported: None,
        written: None,
    }
}

/// Writes a snapshot's record, in place of one that is there.
pub fn put_record(repository: &Repository, record: &SnapshotRecord) {
    let path = repository.root().join(format!("snapshots/{}.json", record.id));
    fs::write(path, serde_json::to_vec(record).unwrap()).unwrap();
}

/// A file list of the usual folders and one photo, and `more` lines at its end.
pub fn file_list(more: &[&str]) -> Vec<u8> {
    let folder = |path: &str| {
        format!(r#"{{"path":"{path}","kind":"folder","mtime":1,"mode":493,"uid":0,"gid":0}}"#)
    };
    let hash = hasher::hash(PHOTO);
    let photo = format!(
        r#"{{"path":"upload/photo.jpg","kind":"file","size":{},"mtime":1,"mode":420,"uid":0,"gid":0,"hash":"{hash}"}}"#,
        PHOTO.len()
    );
    let link = r#"{"path":"upload/link","kind":"symlink","mtime":1,"mode":511,"uid":0,"gid":0,"target":"../etc"}"#;
    let mut lines = vec![folder("library"), folder("upload"), link.to_owned(), photo];
    lines.extend(more.iter().map(|line| (*line).to_owned()));
    (lines.join("\n") + "\n").into_bytes()
}

/// A library list of a user with one photo in one album, and `more` lines at its end.
pub fn library_list(more: &[&str]) -> Vec<u8> {
    let (album, asset) =
        ("a1111111-1111-4111-8111-111111111111", "00000001-1111-4111-8111-111111111111");
    let sha1 = hasher::digest(PHOTO).sha1;
    let mut lines = vec![
        format!(r#"{{"kind":"album","id":"{album}","name":"Rome"}}"#),
        format!(r#"{{"kind":"album_asset","album":"{album}","asset":"{asset}"}}"#),
        format!(r#"{{"kind":"album_user","album":"{album}","user":"{ANN}","role":"owner"}}"#),
        format!(
            r#"{{"kind":"asset","id":"{asset}","owner":"{ANN}","type":"image","name":"photo.jpg","path":"/data/upload/photo.jpg","file":"upload/photo.jpg","sha1":"{sha1}","taken":"2025-01-02T03:04:05","created":"2025-01-02T03:04:05Z","added":"2025-01-02T03:04:05Z"}}"#
        ),
        format!(r#"{{"kind":"user","id":"{ANN}","name":"Ann Lee","email":"ann@example.com"}}"#),
    ];
    lines.extend(more.iter().map(|line| (*line).to_owned()));
    (lines.join("\n") + "\n").into_bytes()
}

/// The view of a repository; locked assets too.
pub fn open_view(repository: &Repository) -> shoebox::base::Result<View> {
    let options = view::Options { locked: true, user: None, time_zone: jiff::tz::TimeZone::UTC };
    View::open(&repository.catalog_path(), Arc::new(repository.contents()), options)
}

/// Asks a view all that a mount asks, for up to `limit` nodes from the top. Failures are answers
/// too; every name must be one that a folder can hold.
pub fn walk(view: &View, limit: usize) -> usize {
    let mut waiting = vec![ROOT];
    let mut seen = 0;
    while let Some(ino) = waiting.pop().filter(|_| seen < limit) {
        seen += 1;
        let Ok(node) = view.node(ino) else { continue };
        let _ = (view.parent(ino), view.asset(ino), view.snapshot_of(ino), view.without_bytes(ino));
        match node.kind {
            view::NodeKind::File => {
                let _ = view.read(ino, 0, 100, <[u8]>::len);
                let _ = view.read(ino, node.size.saturating_sub(10), 100, <[u8]>::len);
            }
            view::NodeKind::Symlink => drop(view.target(ino)),
            view::NodeKind::Folder => list(view, ino, limit, &mut waiting),
        }
    }
    let _ = view.totals();
    seen
}

fn list(view: &View, folder: Ino, limit: usize, waiting: &mut Vec<Ino>) {
    let mut names = Vec::new();
    let _ = view.children(folder, 0, &mut |entry| {
        let bad = matches!(entry.name, b"" | b"." | b"..")
            || entry.name.iter().any(|byte| matches!(byte, b'/' | 0));
        assert!(!bad && entry.name.len() <= 1024, "a folder shows `{}`", entry.name.escape_ascii());
        waiting.push(entry.node.ino);
        names.push(entry.name.to_vec());
        if names.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    for name in names.iter().take(50) {
        let _ = view.child(folder, name);
    }
}
