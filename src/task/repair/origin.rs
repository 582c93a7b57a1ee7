//! Originals that are still in UPLOAD_LOCATION: found by their hash, and stored again.
//!
//! A file is believed when its bytes hash as the damaged ones were called, wherever it lies; it is hashed again while it is
//! stored.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::archive::{Digests, Hasher, NewContent, SEGMENT, Stored, hasher};
use crate::base::{Error, FilePath, Hash, Monitor, Result};
use crate::repo::ContentSink;

/// A file up to this size is read into memory whole.
const SMALL: u64 = 16 << 20;

/// Looks below `root` for files with the bytes that are `wanted` (with their sizes).
pub(super) fn search(
    root: &Path,
    wanted: &HashMap<Hash, u64>,
    monitor: &dyn Monitor,
) -> Result<BTreeMap<Hash, FilePath>> {
    let sizes: HashSet<u64> = wanted.values().copied().collect();
    let mut found = BTreeMap::new();
    if !root.is_dir() {
        return Err(Error::not_found(format_args!("the UPLOAD_LOCATION {}", root.display())));
    }
    let walk = walkdir::WalkDir::new(root).follow_links(false).sort_by_file_name();
    // What cannot be read is not what is looked for.
    for entry in walk.into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
        if found.len() == wanted.len() || monitor.stopped() {
            break;
        }
        let is_of_size = entry.metadata().is_ok_and(|meta| sizes.contains(&meta.len()));
        let path = entry.path().strip_prefix(root).ok().map(|path| FilePath::new(path.as_os_str().as_encoded_bytes()));
        let (true, Some(Ok(path))) = (is_of_size, path) else { continue };
        let hash = open(entry.path()).and_then(|mut file| read::<io::Error>(&mut file, &mut |_| Ok(())));
        if let Ok(Digests { hash, .. }) = hash
            && wanted.contains_key(&hash)
        {
            found.entry(hash).or_insert(path);
        }
    }
    Ok(found)
}

/// Stores the file at `path` below `root`, whose bytes are called `hash`. False when they are not any more.
pub(super) fn store(sink: &ContentSink, root: &Path, path: &FilePath, hash: Hash) -> Result<bool> {
    let place: PathBuf = path.below(root);
    let Ok(mut file) = open(&place) else { return Ok(false) };
    let Ok(meta) = file.metadata() else { return Ok(false) };
    let seen = seen(path, &meta);
    if meta.len() <= SMALL {
        let mut plain = Vec::new();
        if (&mut file).take(SMALL).read_to_end(&mut plain).is_err() {
            return Ok(false);
        }
        let digests = hasher::digest(&plain);
        if digests.hash == hash {
            sink.add_content(&seen, &digests, Stored::choose(path, plain)?)?;
        }
        return Ok(digests.hash == hash);
    }
    let mut first = vec![0; SEGMENT];
    let has_first = file.read_exact(&mut first).and_then(|()| file.rewind());
    if has_first.is_err() {
        return Ok(false);
    }
    let added = sink.add_large(seen, meta.len(), &first, |large| -> Result<Digests, Failure> {
        let digests = read(&mut file, &mut |plain| large.segment(plain).map_err(Failure::Fatal))?;
        if digests.hash == hash && digests.size == meta.len() { Ok(digests) } else { Err(Failure::Changed) }
    });
    match added {
        Ok(_) => Ok(true),
        Err(Failure::Changed) => Ok(false),
        Err(Failure::Fatal(error)) => Err(error),
    }
}

enum Failure {
    /// The file is not, or is not any more, what was looked for; or it cannot be read.
    Changed,
    /// The repository cannot be written.
    Fatal(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Fatal(error)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Failure::Changed
    }
}

/// Reads `file` to its end, a segment at a time.
fn read<E: From<io::Error>>(file: &mut File, each: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<Digests, E> {
    let (mut hasher, mut segment) = (Hasher::default(), Vec::with_capacity(SEGMENT));
    loop {
        segment.clear();
        (&mut *file).take(SEGMENT as u64).read_to_end(&mut segment)?;
        if segment.is_empty() {
            return Ok(hasher.finish());
        }
        hasher.update(&segment);
        each(&segment)?;
    }
}

/// Opens a file and nothing else: no symlink is followed, no pipe waited for.
fn open(place: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(place)
}

fn seen<'a>(path: &'a FilePath, meta: &Metadata) -> NewContent<'a> {
    NewContent {
        path,
        mtime: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
    }
}
