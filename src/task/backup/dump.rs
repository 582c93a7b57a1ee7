//! Where a dump comes from.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::patient::StoppableReader;
use crate::base::{Context, Error, ErrorKind, Monitor, Result, StopNotice};
use crate::immich::{self, DumpName, Options, ReadDump};
use crate::source::{DumpRequest, postgres};
use crate::task::import::date::DateStamp;

/// A source of a dump.
#[derive(Debug)]
pub enum DumpSource {
    /// A database server, asked now.
    Server(DumpRequest),
    /// A file, plain or packed; or a folder of dumps, of which the newest is taken.
    File(PathBuf),
    /// Standard input.
    Input,
}

/// What is known of a dump before it is read.
#[derive(Debug, Default)]
pub struct DumpOrigin {
    /// The file that is read, of a folder the newest.
    pub file: Option<PathBuf>,
    /// When it was made: now, or what the file's name and time say.
    pub made: Option<Timestamp>,
}

/// Looks which dump `source` has now.
pub fn origin(source: &DumpSource) -> Result<DumpOrigin> {
    match source {
        DumpSource::Server(_) => Ok(DumpOrigin { file: None, made: Some(Timestamp::now()) }),
        DumpSource::Input => Ok(DumpOrigin::default()),
        DumpSource::File(path) => {
            let path = newest(path)?;
            let modified = fs::metadata(&path).and_then(|meta| meta.modified());
            let modified = modified.context(|| format!("reading {}", path.display()))?;
            let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
            let made = DateStamp::of(&path).dated(modified, &TimeZone::system()).time;
            Ok(DumpOrigin { file: Some(path), made: Some(made) })
        }
    }
}

/// When `dump` was made: what it says itself comes first; no earlier than its newest row.
pub fn made(origin: &DumpOrigin, dump: &ReadDump) -> Option<Timestamp> {
    let made =
        dump.started.filter(|_| origin.file.is_some() || origin.made.is_none()).or(origin.made)?;
    let newest = dump.census.newest.filter(|newest| *newest <= Timestamp::now());
    Some(newest.map_or(made, |newest| newest.max(made)))
}

/// Reads the dump from `source`, which is `origin`, handing every plain byte to `tee`. Gives up
/// when the monitor is asked to stop, though nothing comes.
pub fn read(
    source: &DumpSource,
    origin: &DumpOrigin,
    options: &Options<'_>,
    tee: &mut dyn FnMut(&[u8]) -> Result<()>,
    monitor: &dyn Monitor,
) -> Result<ReadDump> {
    let read = match source {
        DumpSource::Server(request) => read_server(request, options, tee, monitor),
        DumpSource::Input => {
            immich::read(&mut StoppableReader::new(io::stdin().lock(), monitor), options, tee)
        }
        DumpSource::File(path) => {
            let path = origin.file.as_ref().unwrap_or(path);
            let file =
                File::open(path).context(|| format!("opening the dump {}", path.display()))?;
            immich::read(&mut StoppableReader::new(file, monitor), options, tee)
        }
    };
    // What the client says when it is ended is not why the backup ends.
    StopNotice::CONTINUES.check(monitor)?;
    read
}

fn read_server(
    request: &DumpRequest,
    options: &Options<'_>,
    tee: &mut dyn FnMut(&[u8]) -> Result<()>,
    monitor: &dyn Monitor,
) -> Result<ReadDump> {
    let mut running = postgres::start(request, monitor)?;
    let dump = immich::read(&mut running, options, tee);
    // A client that failed says more than what is wrong with the half dump that it left. But when
    // the reader was the first to give up, the client only fails because nobody listens.
    match &dump {
        Err(_) if let Some(error) = running.given_up() => Err(error),
        Ok(_) => running.finish().and(dump),
        Err(_) => dump,
    }
}

/// What a folder with a `toc.dat` is.
pub(in crate::task) const DIRECTORY_FORMAT: &str = "a dump in pg_dump's directory format";

/// The file at `path`, or the newest dump in that folder (Immich's own `backups/`, or what
/// postgres-backup-local keeps).
fn newest(path: &Path) -> Result<PathBuf> {
    let meta = fs::metadata(path).map_err(|error| {
        Error::io(format_args!("opening the dump {}", path.display()), error)
            .hint("--dump takes a file, a folder of dumps, or - for standard input")
    })?;
    if !meta.is_dir() {
        return Ok(path.to_owned());
    }
    if path.join("toc.dat").is_file() {
        return Err(Error::new(
            ErrorKind::Refused,
            format_args!("{} is {DIRECTORY_FORMAT}", path.display()),
        )
        .hint("make a plain one, without -Fd, or convert it: pg_restore -f dump.sql"));
    }
    let files = walkdir::WalkDir::new(path)
        .max_depth(3)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file());
    let dumps =
        files.filter(|entry| DumpName::of(&entry.file_name().to_string_lossy()) == DumpName::Dump);
    let dated = dumps.filter_map(|entry| {
        let modified = entry.metadata().ok()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some((age(entry.path(), modified), modified, entry.into_path()))
    });
    dated.max().map(|(.., path)| path).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format_args!("no dump (*.sql, *.sql.gz, …) in {}", path.display()),
        )
        .hint("Immich writes its own into UPLOAD_LOCATION/backups at 02:00 if that is switched on")
    })
}

/// What counts for the newest: the time that a name tells, as of a copy of an older dump; a file is
/// never newer than its own time.
fn age(path: &Path, modified: SystemTime) -> Timestamp {
    let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
    DateStamp::of(path).dated(modified, &TimeZone::system()).time.min(modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_folder_the_newest_whole_dump_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        for (name, age) in [("last/a.sql.gz", 30), ("daily/b.sql.gz", 20), ("c.sql.gz.tmp", 10)] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(path).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        }
        assert_eq!(newest(dir.path()).unwrap(), dir.path().join("daily/b.sql.gz"));
        // A copy of an older dump, one that claims to be of the future, and what a restore left
        // out.
        for name in ["immich-20200101T020000.sql.gz", "left-out-of-2026-11-28T020000Z.sql"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let future = File::create(dir.path().join("immich-20990101T020000.sql.gz")).unwrap();
        future.set_modified(SystemTime::now() - std::time::Duration::from_secs(40)).unwrap();
        assert_eq!(newest(dir.path()).unwrap(), dir.path().join("daily/b.sql.gz"));
        assert_eq!(newest(&dir.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(
            newest(tempfile::tempdir().unwrap().path())
                .unwrap_err()
                .to_string()
                .starts_with("no dump")
        );
    }
}
