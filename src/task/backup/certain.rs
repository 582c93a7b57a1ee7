//! Whether a file that looks as it did when it was read can have changed since.
//!
//! The mtime of a file that changes twice within a tick of its clock is the same both times, and a
//! program may set it back (`touch -r`, `rsync -t`). So a file is read again where its mtime was
//! young when it was read, as Git does it, and where its ctime is later than that. A ctime that
//! wobbles, as on some NAS systems, costs reading and is no evidence of a change.
//!
//! Limit: these clocks are the file system's. One that lags behind hides a change by its lag, where
//! size and mtime are the same.

use jiff::{SignedDuration, Timestamp};

use crate::base::SnapshotId;
use crate::repo::SnapshotRecord;
use crate::source::FoundEntry;

/// The longest tick of a file system's clock, and some more: FAT has two seconds.
const TICK: i64 = 3_000_000_000;
/// How far the kernel's clock for fine times may be behind.
const FINE_TICK: i64 = 10_000_000;
/// A time that lies so far ahead was set by somebody, and is not that of a clock.
const FUTURE: SignedDuration = SignedDuration::from_hours(24);

/// When files were read that one may believe to be the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadTime {
    /// They were read at this time or later; nanoseconds since 1970.
    begun: i64,
    /// It is exactly this time.
    is_exact: bool,
    /// Later than now, if by a clock.
    future: i64,
}

impl ReadTime {
    /// That of a pass over the files that began at `time`.
    pub fn at(time: Timestamp) -> ReadTime {
        ReadTime { begun: nanoseconds(time), is_exact: true, future: future() }
    }

    /// That of a snapshot.
    pub fn of(record: &SnapshotRecord) -> ReadTime {
        record.walked.map_or_else(|| ReadTime::since(record.id), ReadTime::at)
    }

    /// That of a backup that began at `id` and may have ended early.
    pub fn since(id: SnapshotId) -> ReadTime {
        ReadTime { begun: nanoseconds(id.time()), is_exact: false, future: future() }
    }

    /// True when `found`, of which size and mtime are the same, is the same.
    pub fn holds_for(&self, found: &FoundEntry) -> bool {
        let is_young = (self.begun.saturating_sub(TICK)..=self.future).contains(&found.mtime);
        let tick = if found.ctime % 1_000_000_000 == 0 { TICK } else { FINE_TICK };
        let is_touched = self.is_exact && found.ctime >= self.begun.saturating_sub(tick);
        !is_young && !is_touched
    }
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

fn future() -> i64 {
    nanoseconds(Timestamp::now().saturating_add(FUTURE).unwrap_or(Timestamp::MAX))
}
