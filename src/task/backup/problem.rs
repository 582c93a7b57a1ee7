//! What a night has to say besides its figures: of the dump, the views, the clock, and of what
//! stands in the way of photos.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jiff::SignedDuration;

use crate::base::amount::{ago, plural};
use crate::base::dump::DumpVerdict;
use crate::base::{FilePath, Problem, Result, SnapshotId};
use crate::catalog::night::LinkInTheWay;
use crate::catalog::query;
use crate::repo::{SnapshotRecord, StagedSnapshot, WriteSession};
use crate::source::LibraryPlaces;
use crate::task::status::MANY;

/// What keeps a dump that is whole from being restored. The photos are stored all the same.
pub(super) fn unfit(record: &SnapshotRecord) -> Option<Problem> {
    match &record.dump.verdict {
        DumpVerdict::Bad { line, reason } if record.dump.unfit => Some(Problem {
            subject: "the database dump".to_owned(),
            message: format!(
                "a restore would refuse it, so this snapshot is not `latest`: line {line}: {reason}"
            ),
        }),
        _ => None,
    }
}

/// What is to be said where the dump was made longer than `limit` before the files were read.
pub(super) fn old_dump(record: &SnapshotRecord, limit: SignedDuration) -> Option<String> {
    let age = record.id.time().duration_since(record.as_of());
    (age > limit).then(|| {
        format!(
            "it was made {} before: a recovery gives that state, and what came since is in \
            files/ only",
            ago(age)
        )
    })
}

/// What the views of the new snapshot lack: what the reader of the dump missed, and what is gone
/// overnight while the photos are there.
pub(super) fn views(session: &WriteSession, staged: &StagedSnapshot) -> Result<Vec<Problem>> {
    let record = staged.record();
    let problem = |message: String| Problem { subject: "views".to_owned(), message };
    let safe = "photos and database are safe, and the views lack it until shoebox is updated";
    let mut problems: Vec<_> =
        record.dump.lacks.iter().map(|lack| problem(format!("{lack}; {safe}"))).collect();
    let before = query::snapshot::newest_good(&*session.generation().connect()?)?;
    let Some(before) = before.filter(|_| record.is_good()) else { return Ok(problems) };
    for (kind, count) in staged.catalog().night(record.id.seconds()).emptied(before)? {
        // One of a kind is deleted in a moment.
        if count > 1 {
            let then = SnapshotId::from_seconds(before)?;
            problems.push(problem(format!(
                "{kind}: none, and snapshot {then} had {}; if nobody deleted them in Immich, \
                    update shoebox: photos and database are safe",
                crate::base::amount::count(count)
            )));
        }
    }
    Ok(problems)
}

/// Keys that two rows have.
pub(super) fn duplicates(record: &SnapshotRecord) -> impl Iterator<Item = Problem> {
    record.dump.duplicates.iter().map(|duplicate| Problem {
        subject: "the database".to_owned(),
        message: format!(
            "{duplicate}: an index is broken, and a restore stops there, unless \
            `restore-database --skip-duplicates` leaves the later row out; repair it while the \
            server is there (REINDEX)"
        ),
    })
}

/// Said every night: a backup without a photo is none.
pub(super) fn nothing_in_it(record: &SnapshotRecord) -> Problem {
    let photos = plural(record.census.assets, "photo", "photos");
    let next = match record.completeness.not_covered {
        0 => "look whether UPLOAD_LOCATION is the right folder and its disk is mounted",
        _ => "--external SERVER_PATH=FOLDER takes those of external libraries",
    };
    Problem {
        subject: "this backup".to_owned(),
        message: format!("none of {photos} is in it; {next}"),
    }
}

/// Said every night: which clock was wrong is for a person to say, and until then nothing is
/// forgotten by itself.
pub(super) fn of_clock(ahead: &[SnapshotId]) -> Option<Problem> {
    let first = ahead.first()?;
    let many = plural(ahead.len() as u64, "snapshot is", "snapshots are");
    let message = format!(
        "{many} dated in the future, the first of {first}: nothing is forgotten or pruned; set it \
            right, or see `shoebox status`"
    );
    Some(Problem { subject: "the clock".to_owned(), message })
}

/// More snapshots than a repository can have are far away, but not for ever.
pub(super) fn warn_of_the_last(snapshots: usize) {
    if snapshots >= MANY {
        tracing::warn!(
            "the repository has {snapshots} snapshots, and no more are made at 65,535: `shoebox \
                forget` makes room"
        );
    }
}

/// A link that stands where photos are looked for.
pub(super) fn link(found: &LinkInTheWay, places: &LibraryPlaces) -> Option<Problem> {
    let path = FilePath::new(&*found.path).ok()?;
    let above = places.folder_of(places.root_of(&path)?)?;
    let rest = path.as_bytes().strip_prefix(places.root_of(&path)?.as_bytes())?;
    let place = above.join(Path::new(OsStr::from_bytes(rest.strip_prefix(b"/")?)));
    let target = place.parent()?.join(OsStr::from_bytes(&found.target));
    let lie = plural(found.assets, "photo is", "photos are");
    let way_out = match target.canonicalize() {
        Ok(folder) if folder.is_dir() => {
            format!("--folder {path}={} takes it from there", folder.display())
        }
        Ok(_) => "put the photo itself there; a hard link will do".to_owned(),
        Err(_) => "and it leads nowhere: is its disk mounted?".to_owned(),
    };
    let message = format!(
        "it is a link to {}, which is not followed, and {lie} behind it; {way_out}",
        target.display()
    );
    Some(Problem { subject: path.to_string(), message })
}
