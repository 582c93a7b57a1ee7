//! The files of a dump of the past: the originals that the repository still has, by the SHA-1 that
//! the dump says.
//!
//! Always holds: a file is listed at a path only if the dump names that path for an asset with
//! these bytes. What no SHA-1 vouches for (sidecars, profile pictures, external libraries) is left
//! out, since nobody knows what its bytes were on that day.

use std::collections::HashSet;

use crate::base::file::{FileEntry, FileKind};
use crate::base::library::Asset;
use crate::base::{FilePath, Result, SnapshotId};
use crate::catalog::Catalog;
use crate::catalog::query::past;
use crate::repo::{Completeness, FileCount};

/// Missing assets that are named.
const NAMED: usize = 10;

/// Collects the originals of a dump's assets.
pub(super) struct OriginalCollector<'a> {
    db: &'a Catalog,
    found: Vec<OriginalFile>,
    /// Contents of assets whose path cannot be listed.
    homeless: Vec<(i64, LostAsset)>,
    missing: u64,
    /// Those that were uploaded first.
    lost: Vec<LostAsset>,
    not_covered: u64,
}

struct OriginalFile {
    path: FilePath,
    content: i64,
    /// When the photo was taken, nanoseconds since 1970.
    taken: i64,
}

/// When a missing asset was uploaded, and its name.
type LostAsset = (i64, String);

impl<'a> OriginalCollector<'a> {
    /// Looks for them in `db`.
    pub fn new(db: &'a Catalog) -> Self {
        OriginalCollector {
            db,
            found: Vec::new(),
            homeless: Vec::new(),
            missing: 0,
            lost: Vec::new(),
            not_covered: 0,
        }
    }

    /// Takes the next asset.
    pub fn add(&mut self, asset: &Asset) -> Result<()> {
        let content =
            asset.sha1.map(|sha1| past::content(self.db, sha1, asset.size)).transpose()?.flatten();
        let lost = || (asset.added.as_microsecond(), asset.name.clone());
        match (content, &asset.file) {
            (Some(content), Some(file)) => {
                let taken = i64::try_from(asset.created.as_nanosecond()).unwrap_or(0);
                self.found.push(OriginalFile { path: file.clone(), content, taken });
            }
            (Some(content), None) => self.homeless.push((content, lost())),
            (None, file) => {
                let is_external = match file {
                    Some(file) => file.is_external(),
                    None => asset.library.is_some(),
                };
                if is_external { self.not_covered += 1 } else { self.lose(lost()) }
            }
        }
        Ok(())
    }

    fn lose(&mut self, lost: LostAsset) {
        self.missing += 1;
        let place = self.lost.partition_point(|other| *other <= lost);
        self.lost.insert(place, lost);
        self.lost.truncate(NAMED);
    }

    /// Hands out the file list of the snapshot `id`, and says how much it is.
    pub fn finish(
        mut self,
        id: SnapshotId,
        each: &mut dyn FnMut(&FileEntry) -> Result<()>,
    ) -> Result<(FileCount, Completeness)> {
        let present = self.found.len() as u64;
        let listed: HashSet<i64> = if self.homeless.is_empty() {
            HashSet::new()
        } else {
            self.found.iter().map(|original| original.content).collect()
        };
        let mut moved = 0;
        for (content, lost) in std::mem::take(&mut self.homeless) {
            if listed.contains(&content) { moved += 1 } else { self.lose(lost) }
        }
        let files = self.list(id, each)?;
        let completeness = Completeness {
            present: present + moved,
            moved,
            missing: self.missing,
            missing_names: self.lost.into_iter().map(|(_, name)| name).collect(),
            not_covered: self.not_covered,
            unreadable: 0,
            changed: 0,
        };
        Ok((files, completeness))
    }

    fn list(
        &mut self,
        id: SnapshotId,
        each: &mut dyn FnMut(&FileEntry) -> Result<()>,
    ) -> Result<FileCount> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path).then(a.content.cmp(&b.content)));
        let mut count = FileCount::default();
        let mut last: Option<FilePath> = None;
        for original in &found {
            // Only a forged dump names a path twice, or a file as a folder.
            if last.as_ref().is_some_and(|last| original.path.as_path().starts_with(last.as_path()))
            {
                continue;
            }
            let file = self.entry(original)?;
            let mut folders = folders_between(last.as_ref(), &file.path)?;
            folders.reverse();
            for path in folders {
                each(&folder(path, id, &file))?;
            }
            each(&file)?;
            (count.files, count.bytes) = (count.files + 1, count.bytes + file.size);
            last = Some(file.path);
        }
        Ok(count)
    }

    fn entry(&self, original: &OriginalFile) -> Result<FileEntry> {
        let shown = past::shown(self.db, original.content, original.path.name())?;
        let unknown = past::FileMeta { mtime: original.taken, mode: 0o644, uid: 0, gid: 0 };
        let meta = shown.file.unwrap_or(unknown);
        Ok(FileEntry {
            path: original.path.clone(),
            kind: FileKind::File,
            size: shown.size,
            mtime: meta.mtime,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            hash: Some(shown.hash),
            target: None,
            link: None,
        })
    }
}

/// The folders above `path` that are not above `last`, the innermost first.
fn folders_between(last: Option<&FilePath>, path: &FilePath) -> Result<Vec<FilePath>> {
    let mut folders = Vec::new();
    let mut next = path.parent();
    while let Some(folder) = next {
        if last.is_some_and(|last| last.as_path().starts_with(folder.as_path())) {
            break;
        }
        next = folder.parent();
        folders.push(folder);
    }
    Ok(folders)
}

fn folder(path: FilePath, id: SnapshotId, first: &FileEntry) -> FileEntry {
    FileEntry {
        path,
        kind: FileKind::Folder,
        size: 0,
        mtime: id.seconds().saturating_mul(1_000_000_000),
        mode: 0o755,
        uid: first.uid,
        gid: first.gid,
        hash: None,
        target: None,
        link: None,
    }
}
