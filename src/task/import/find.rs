//! Finding dumps: in the folders that postgres-backup-local and Immich keep, and wherever else a
//! person points to.
//!
//! postgres-backup-local links each dump into `last/`, `daily/`, `weekly/` and `monthly/`, and
//! `…-latest` points to one by a symlink: however many names a file has, it is found once, and
//! dated by the most precise of them.
//!
//! Source: `backup.sh` of prodrigestivill/docker-postgres-backup-local.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use walkdir::{DirEntry, WalkDir};

use super::date::{DateStamp, DatedDump};
use crate::base::{Error, Result};
use crate::immich::DumpName;

/// Folders are looked into so deep: `last/` lies below the folder that is given, or below that of a
/// server.
const DEPTH: usize = 3;

/// What tells a file from others under all its names: device, inode, size and time. Some file
/// systems give one inode to all.
type FileNumber = (u64, u64, u64, Timestamp);

/// A file that may be a dump.
#[derive(Debug)]
pub(super) struct FoundDump {
    pub path: PathBuf,
    /// As it is told: below the folder that was given.
    pub name: String,
    /// Bytes, as they lie there.
    pub size: u64,
    pub dated: DatedDump,
    rank: u8,
}

/// What is no dump, though it looks like one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftFile {
    pub name: String,
    pub why: &'static str,
    /// The person will miss it.
    pub is_problem: bool,
}

/// What lies in the folders that were given.
#[derive(Debug, Default)]
pub(super) struct FoundFiles {
    /// Those whose date is the most precise first, and of these the newest: so of two copies of a
    /// dump the better named counts.
    pub dumps: Vec<FoundDump>,
    pub left: Vec<LeftFile>,
}

/// Looks for dumps at `paths`: files are taken as they are, folders are looked into. Names are of
/// the zone `here` where nothing else is known.
pub(super) fn find(paths: &[PathBuf], here: &TimeZone) -> Result<FoundFiles> {
    let mut finds = FoundFiles::default();
    let mut by_file = HashMap::new();
    for path in paths {
        let meta = fs::metadata(path).map_err(|error| {
            Error::io(format_args!("opening {}", path.display()), error).hint(
                "import takes dumps, and folders of dumps: Immich's own backups/, or that of \
                    postgres-backup-local",
            )
        })?;
        if meta.is_dir() {
            folder(path, here, &mut by_file, &mut finds)
        } else {
            add(path, name(path, path), &meta, here, &mut by_file, &mut finds)
        }
    }
    finds
        .dumps
        .sort_by(|a, b| (a.rank, b.dated.time, &a.name).cmp(&(b.rank, a.dated.time, &b.name)));
    Ok(finds)
}

fn folder(
    root: &Path,
    here: &TimeZone,
    by_file: &mut HashMap<FileNumber, usize>,
    finds: &mut FoundFiles,
) {
    let mut walk = WalkDir::new(root).max_depth(DEPTH).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(root);
                finds.left.push(LeftFile {
                    name: name(root, path),
                    why: "it cannot be looked into",
                    is_problem: true,
                });
                continue;
            }
        };
        let told = || name(root, entry.path());
        if entry.file_type().is_dir() {
            if entry.path().join("toc.dat").is_file() {
                let why = "this is a dump in pg_dump's directory format; make a plain one, without \
                    -Fd (or convert it: pg_restore -f dump.sql)";
                finds.left.push(LeftFile { name: told(), why, is_problem: true });
                walk.skip_current_dir();
            }
            continue;
        }
        // Where a symlink leads: nowhere, if what it pointed to was cleaned up.
        let Some(meta) = fs::metadata(entry.path()).ok().filter(Metadata::is_file) else {
            continue;
        };
        match kind(&entry) {
            DumpName::Dump => add(entry.path(), told(), &meta, here, by_file, finds),
            DumpName::Unfinished => {
                let why = "a backup that was cut short left it";
                finds.left.push(LeftFile { name: told(), why, is_problem: false });
            }
            DumpName::Other => {}
        }
    }
}

/// What a file of a folder looks like: by its name, or by the date in it where it names no kind.
fn kind(entry: &DirEntry) -> DumpName {
    match DumpName::of(&entry.file_name().to_string_lossy()) {
        DumpName::Other
            if is_bare(entry.path()) && DateStamp::of(entry.path()) != DateStamp::None =>
        {
            DumpName::Dump
        }
        kind => kind,
    }
}

/// Names without a kind are those of postgres-backup-local with another suffix of its own, or none.
fn is_bare(path: &Path) -> bool {
    path.extension().is_none_or(|extension| {
        ["gz", "zst", "xz", "bz2"].iter().any(|packed| extension == *packed)
    })
}

fn add(
    path: &Path,
    name: String,
    meta: &Metadata,
    here: &TimeZone,
    by_file: &mut HashMap<FileNumber, usize>,
    finds: &mut FoundFiles,
) {
    let stamp = DateStamp::of(path);
    let time =
        Timestamp::new(meta.mtime(), meta.mtime_nsec() as i32).unwrap_or(Timestamp::UNIX_EPOCH);
    let found = FoundDump {
        path: path.to_owned(),
        name,
        size: meta.size(),
        dated: stamp.dated(time, here),
        rank: stamp.rank(),
    };
    let inode = (meta.dev(), meta.ino(), found.size, time);
    let place = *by_file.entry(inode).or_insert(finds.dumps.len());
    match finds.dumps.get_mut(place) {
        None => finds.dumps.push(found),
        Some(known) if found.rank < known.rank => *known = found,
        Some(_) => {}
    }
}

/// `path` as it is told: below `root`, or by its own name.
fn name(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty());
    below
        .unwrap_or_else(|| Path::new(path.file_name().unwrap_or_default()))
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_is_found_once_under_the_name_that_says_most() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["daily", "weekly", "monthly"] {
            fs::create_dir(at(folder)).unwrap();
        }
        fs::write(at("weekly/immich-202623.sql.gz"), "dump").unwrap();
        fs::hard_link(at("weekly/immich-202623.sql.gz"), at("daily/immich-20260607.sql.gz"))
            .unwrap();
        fs::hard_link(at("weekly/immich-202623.sql.gz"), at("monthly/immich-202606.sql.gz"))
            .unwrap();
        symlink("immich-20260607.sql.gz", at("daily/immich-latest.sql.gz")).unwrap();
        symlink("immich-19990101.sql.gz", at("daily/immich-gone.sql.gz")).unwrap();
        fs::write(at("daily/notes.txt"), "none").unwrap();
        fs::write(at("immich-db-backup-1.sql.gz.tmp"), "half").unwrap();
        let finds =
            find(&[dir.path().to_owned(), at("daily/immich-latest.sql.gz")], &TimeZone::UTC)
                .unwrap();
        let names: Vec<&str> = finds.dumps.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["daily/immich-20260607.sql.gz"]);
        assert_eq!(finds.dumps[0].dated.time.to_string(), "2026-06-07T00:00:00Z");
        let left: Vec<(&str, bool)> =
            finds.left.iter().map(|left| (left.name.as_str(), left.is_problem)).collect();
        assert_eq!(left, [("immich-db-backup-1.sql.gz.tmp", false)]);
    }
}
