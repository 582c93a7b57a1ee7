//! Originals that are still in UPLOAD_LOCATION: found by their hash, and stored again.
//!
//! A file is believed when its bytes hash as the damaged ones were called, wherever it lies; it is
//! hashed again while it is stored.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::archive::{Digests, Hasher, NewContent, SEGMENT, StoredContent, hasher};
use crate::base::{Error, FilePath, Hash, Monitor, Result};
use crate::repo::ContentSink;
use crate::source::{ExcludePatterns, FoundKind, LibraryPlaces, LibraryRoot, WalkObstacle, walk};

/// A file up to this size is read into memory whole.
const SMALL: u64 = 16 << 20;

/// What stands for the folder in the paths of its walk.
const TOP: &str = "UPLOAD_LOCATION";

/// The folder `root`, to be read.
pub(super) fn open(root: &Path) -> Result<Arc<LibraryPlaces>> {
    if !root.is_dir() {
        return Err(Error::not_found(format_args!("the UPLOAD_LOCATION {}", root.display())));
    }
    let root = LibraryRoot { folder: root.to_owned(), shown: FilePath::new(TOP)? };
    Ok(Arc::new(LibraryPlaces::open(vec![root], Vec::new())?))
}

/// Looks in `places` for files with the bytes that are `wanted` (with their sizes).
pub(super) fn search(
    places: &Arc<LibraryPlaces>,
    wanted: &HashMap<Hash, u64>,
    monitor: &dyn Monitor,
) -> Result<BTreeMap<Hash, FilePath>> {
    let sizes: HashSet<u64> = wanted.values().copied().collect();
    let mut found = BTreeMap::new();
    for entry in walk(places, Vec::new(), ExcludePatterns::default()) {
        if found.len() == wanted.len() || monitor.stopped() {
            break;
        }
        let entry = match entry {
            Ok(entry) if entry.kind == FoundKind::File && sizes.contains(&entry.size) => entry,
            // What cannot be read is not what is looked for.
            Ok(_) | Err(WalkObstacle::Problem(_)) => continue,
            Err(WalkObstacle::End(error)) => return Err(error),
        };
        match places
            .file(&entry.path)
            .and_then(|mut file| read::<io::Error>(&mut file, &mut |_| Ok(())))
        {
            Ok(Digests { hash, .. }) if wanted.contains_key(&hash) => {
                found.entry(hash).or_insert(own(&entry.path)?);
            }
            Ok(_) => {}
            Err(error) => places.ending(&entry.path, &error).map_or(Ok(()), Err)?,
        }
    }
    Ok(found)
}

/// Stores the file at `path` of `places`, whose bytes are called `hash`. False when they are not
/// any more.
pub(super) fn store(
    sink: &ContentSink,
    places: &LibraryPlaces,
    path: &FilePath,
    hash: Hash,
) -> Result<bool> {
    let Ok(mut file) = places.file(&FilePath::new(TOP)?.join(path.as_bytes())?) else {
        return Ok(false);
    };
    let Ok(meta) = file.metadata() else { return Ok(false) };
    let seen = seen(path, &meta);
    if meta.len() <= SMALL {
        let mut plain = Vec::new();
        if (&mut file).take(SMALL).read_to_end(&mut plain).is_err() {
            return Ok(false);
        }
        let digests = hasher::digest(&plain);
        if digests.hash == hash {
            sink.add_content(&seen, &digests, StoredContent::choose(path, plain)?)?;
        }
        return Ok(digests.hash == hash);
    }
    let mut first = vec![0; SEGMENT];
    let has_first = file.read_exact(&mut first).and_then(|()| file.rewind());
    if has_first.is_err() {
        return Ok(false);
    }
    let added =
        sink.add_large(seen, meta.len(), &first, |large| -> Result<Digests, OriginFailure> {
            let digests =
                read(&mut file, &mut |plain| large.segment(plain).map_err(OriginFailure::Fatal))?;
            if digests.hash == hash && digests.size == meta.len() {
                Ok(digests)
            } else {
                Err(OriginFailure::Changed)
            }
        });
    match added {
        Ok(_) => Ok(true),
        Err(OriginFailure::Changed) => Ok(false),
        Err(OriginFailure::Fatal(error)) => Err(error),
    }
}

enum OriginFailure {
    /// The file is not, or is not any more, what was looked for; or it cannot be read.
    Changed,
    /// The repository cannot be written.
    Fatal(Error),
}

impl From<Error> for OriginFailure {
    fn from(error: Error) -> Self {
        OriginFailure::Fatal(error)
    }
}

impl From<io::Error> for OriginFailure {
    fn from(_: io::Error) -> Self {
        OriginFailure::Changed
    }
}

/// Reads `file` to its end, a segment at a time.
fn read<E: From<io::Error>>(
    file: &mut File,
    each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<Digests, E> {
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

/// A path of the walk as a file list has it.
fn own(path: &FilePath) -> Result<FilePath> {
    FilePath::new(path.as_bytes().get(TOP.len() + 1..).unwrap_or_default())
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
