//! A snapshot's dump as a file that Immich's own restore takes (Administration > Maintenance, or
//! the welcome page).
//!
//! Immich tells the kind of a dump by its file's name: one that names a version up to 2.4 it takes
//! for a cluster dump. So the file of an older library carries no version; what it holds is always
//! one database (`server/src/services/database-backup.service.ts`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::beside::{self, BesideDraft};
use super::plan::{self, DumpSinks};
use crate::base::durable::{give_name, sync, sync_folder};
use crate::base::{Context, Error, ErrorKind, Monitor, Phase, Result, SnapshotId};
use crate::immich::fit::{FitChange, FitTarget};
use crate::repo::{Repository, SnapshotRecord};
use crate::task::dump::SnapshotDump;

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct EmittedFile {
    pub snapshot: SnapshotId,
    pub file: PathBuf,
    /// Bytes on disk.
    pub size: u64,
    pub changes: Vec<FitChange>,
    pub tables: u64,
    pub rows: u64,
    /// What is not Immich's and was left out, and the file that keeps it.
    pub left_out: Vec<String>,
    pub left_out_file: Option<PathBuf>,
    /// Immich lists only files with names of a certain form; `false` if this is none.
    pub listed: bool,
}

/// Writes the dump of `snapshot` to `to`, or under the right name if that is a folder. What is
/// there is never overwritten.
///
/// `source_database` says which database of a cluster dump, and `left_out` where what is not
/// Immich's goes, as in [`super::Options`].
pub fn emit(
    repository: &Repository,
    snapshot: &str,
    source_database: Option<&str>,
    to: &Path,
    left_out: Option<&Path>,
    monitor: &dyn Monitor,
) -> Result<EmittedFile> {
    let dump = super::open(repository, snapshot)?;
    let file = if to.is_dir() { to.join(name(&dump.record)) } else { to.to_owned() };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder =
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = tempfile::Builder::new().prefix(".shoebox-").tempfile_in(folder);
    let draft = draft.context(|| format!("writing into {}", folder.display()))?;
    let gzip = !name.ends_with(".sql");
    let left_out_file = left_out.map(|to| beside::place(to, dump.id));
    let mut beside = left_out_file.as_deref().map(|file| BesideDraft::new(file, dump.id));
    let (fitted, size) =
        write(&dump, source_database, draft.as_file(), gzip, beside.as_mut(), monitor)?;
    // A copy of an older state is no newer dump than the one that was made after it.
    draft
        .as_file()
        .set_modified(state(&dump.record).into())
        .context(|| format!("writing into {}", folder.display()))?;
    belong(draft.as_file(), folder).context(|| format!("writing into {}", folder.display()))?;
    let draft = draft.into_temp_path();
    give_name(&draft, &file).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::Exists, format_args!("{} is there already", file.display()))
                .hint("give another name, or a folder: the file is then named as Immich wants it")
        }
        _ => Error::io(format_args!("writing {}", file.display()), error),
    })?;
    // It lies under its name now: there is nothing to clear away.
    let _ = draft.keep();
    sync_folder(folder).context(|| format!("writing {}", file.display()))?;
    beside.map_or(Ok(()), BesideDraft::finish)?;
    let left_out_file = left_out_file.filter(|_| !fitted.apart.is_empty());
    let (left_out, rows) = (fitted.apart, fitted.rows.values().sum());
    let (changes, tables, listed) = (fitted.changes, fitted.rows.len() as u64, is_listed(&name));
    Ok(EmittedFile {
        snapshot: dump.id,
        file,
        size,
        changes,
        tables,
        rows,
        left_out,
        left_out_file,
        listed,
    })
}

/// Gives the file to whom its folder belongs, who may be Immich under another user, with the rights
/// that the folder gives.
fn belong(file: &File, folder: &Path) -> std::io::Result<()> {
    let there = std::fs::metadata(folder)?;
    let made = file.metadata()?;
    if (there.uid(), there.gid()) != (made.uid(), made.gid())
        && rustix::process::geteuid().is_root()
    {
        fchown(file, Some(there.uid()), Some(there.gid()))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(0o600 | there.mode() & 0o640))
}

fn write(
    dump: &SnapshotDump,
    database: Option<&str>,
    file: &File,
    gzip: bool,
    mut beside: Option<&mut BesideDraft>,
    monitor: &dyn Monitor,
) -> Result<(crate::immich::fit::FittedDump, u64)> {
    let failed = |error| Error::io("writing the dump", error);
    let mut out: Box<dyn FinishWrite> = if gzip {
        Box::new(GzEncoder::new(BufWriter::new(file), Compression::default()))
    } else {
        Box::new(BufWriter::new(file))
    };
    out.write_all(head(&dump.record).as_bytes()).map_err(failed)?;
    let sinks = DumpSinks {
        each: &mut |piece| out.write_all(piece.bytes).map_err(failed),
        beside: &mut |bytes| beside.as_mut().map_or(Ok(()), |draft| draft.write(bytes)),
    };
    let fitted = plan::read(dump, database, &FitTarget::file(), monitor, Phase::Restore, sinks)?;
    out.write_all(TAIL.as_bytes()).map_err(failed)?;
    out.finish().and_then(|()| sync(file)).map_err(failed)?;
    Ok((fitted, file.metadata().map_err(failed)?.len()))
}

/// Writes what it still holds.
trait FinishWrite: Write {
    fn finish(self: Box<Self>) -> std::io::Result<()>;
}

impl<W: Write> FinishWrite for BufWriter<W> {
    fn finish(mut self: Box<Self>) -> std::io::Result<()> {
        self.flush()
    }
}

impl<W: Write> FinishWrite for GzEncoder<BufWriter<W>> {
    fn finish(self: Box<Self>) -> std::io::Result<()> {
        GzEncoder::finish(*self)?.flush()
    }
}

fn head(record: &SnapshotRecord) -> String {
    let line = |what: &str, version: &Option<String>| {
        version
            .as_deref()
            .map(|version| format!("-- {what} version {}\n", version.replace(['\n', '\r'], " ")))
            .unwrap_or_default()
    };
    format!(
        "--\n-- PostgreSQL database dump\n--\n\n{}{}\n",
        line("Dumped from database", &record.dump.postgres),
        line("Dumped by pg_dump", &record.dump.tool)
    )
}

const TAIL: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";

/// When the database was as the dump has it.
fn state(record: &SnapshotRecord) -> Timestamp {
    record.dump.made.unwrap_or(record.id.time())
}

/// The name that Immich gives its own backups, in local time.
fn name(record: &SnapshotRecord) -> String {
    let time = state(record).to_zoned(TimeZone::system()).strftime("%Y%m%dT%H%M%S");
    let version =
        record.dump.immich.as_deref().map(|version| clean(version.trim_start_matches('v')));
    let version = version
        .filter(|version| is_new(version))
        .map(|version| format!("-v{version}"))
        .unwrap_or_default();
    let postgres = record
        .dump
        .postgres
        .as_deref()
        .map(|version| format!("-pg{}", clean(version)))
        .unwrap_or_default();
    format!("immich-db-backup-{time}{version}{postgres}.sql.gz")
}

/// The characters that a name may have.
fn clean(text: &str) -> String {
    text.chars().filter(|&c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_')).take(40).collect()
}

/// True for versions of Immich that make dumps of one database.
fn is_new(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(2), Some(5))
}

/// True for the names that Immich shows in its list, and takes for the dump of one database.
fn is_listed(name: &str) -> bool {
    let stem = name.strip_suffix(".sql.gz").or(name.strip_suffix(".sql"));
    let fits = |stem: &str| {
        stem.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let version = name
        .split_once("-v")
        .and_then(|(_, rest)| rest.rsplit_once('-'))
        .map(|(version, _)| version);
    stem.is_some_and(fits)
        && version.is_none_or(|version| is_new(version.split('-').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_immich_takes_for_one_database_are_listed() {
        for name in [
            "immich-db-backup-20261122T145323-v3.1.0-pg15.20.sql.gz",
            "mine.sql",
            "immich-db-backup-20261122T145323-pg14.2.sql.gz",
        ] {
            assert!(is_listed(name), "{name}");
        }
        for name in
            ["a b.sql.gz", "immich.dump", "immich-db-backup-20261122T145323-v2.4.1-pg14.sql.gz"]
        {
            assert!(!is_listed(name), "{name}");
        }
        assert!(is_new("2.5.0") && is_new("3.0.0") && !is_new("2.4.9") && !is_new("1.132.3"));
    }
}
