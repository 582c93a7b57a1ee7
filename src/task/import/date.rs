//! When a dump was made: what its name and its file's time say.
//!
//! A file's time is the most precise there is, as long as nobody has copied the file; so it counts
//! where the name does not contradict it. Names tell the time on the wall where the dump was made,
//! in whatever zone that is.
//!
//! Limits: a file that was copied within the period of its name (the month of
//! `monthly/immich-202603.sql.gz`) is taken to be of that time.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use jiff::civil::{Date, DateTime, ISOWeekDate, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ToSpan};
use serde::Serialize;

use super::name;

/// No clock on a wall is further ahead of UTC.
const AHEAD: SignedDuration = SignedDuration::from_hours(14);
/// No clock is further behind than 12 hours, and no dump takes longer than the rest.
const BEHIND: SignedDuration = SignedDuration::from_hours(18);

/// What a name says. The more precise comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DateStamp {
    /// An instant: Immich up to v1.135, and names that tell their zone.
    Instant(Timestamp),
    /// A second or a minute on the wall: Immich since v1.136, `last/` of postgres-backup-local,
    /// most scripts.
    Second(DateTime),
    /// A day: `daily/`.
    Day(Date),
    /// A week, by its Monday: `weekly/`.
    Week(Date),
    /// A month, by its first day: `monthly/`.
    Month(Date),
    /// Nothing.
    None,
}

/// Where a date is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DateSource {
    /// Its name tells the instant.
    Name,
    /// The file's time; its name agrees.
    FileAndName,
    /// The file's time; its name tells none.
    File,
    /// Its name, taken as of this machine's time zone, since the file's time is another.
    NameHere,
    /// The newest row in it: what else tells a time is earlier.
    Row,
}

impl fmt::Display for DateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DateSource::Name => "name",
            DateSource::FileAndName => "file's time, as named",
            DateSource::File => "file's time",
            DateSource::NameHere => "name, local time",
            DateSource::Row => "its newest row",
        })
    }
}

/// When a dump was made, as well as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatedDump {
    pub time: Timestamp,
    pub source: DateSource,
}

impl DateStamp {
    /// What the name of the file at `path` says; else the folder that it lies in, which also tells
    /// what six digits are.
    pub fn of(path: &Path) -> DateStamp {
        let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let name = text(path.file_name());
        let folder = text(path.parent().and_then(Path::file_name));
        let of_folder = || match folder.as_str() {
            "weekly" => six_digits(&name).and_then(week).map(DateStamp::Week),
            "monthly" => {
                six_digits(&name).and_then(|month| day(&format!("{month}01"))).map(DateStamp::Month)
            }
            folder => name::stamp(folder),
        };
        name::stamp(&name).or_else(of_folder).unwrap_or(DateStamp::None)
    }

    /// How precise it is: 0 to the second, the higher the less.
    pub fn rank(self) -> u8 {
        match self {
            DateStamp::Instant(_) | DateStamp::Second(_) => 0,
            DateStamp::Day(_) => 1,
            DateStamp::Week(_) => 2,
            DateStamp::Month(_) => 3,
            DateStamp::None => 4,
        }
    }

    /// The time on the wall when it begins, and how long it is.
    fn period(self) -> Option<(DateTime, Span)> {
        match self {
            DateStamp::Second(time) => Some((time, Span::new())),
            DateStamp::Day(day) => Some((day.into(), 1.day())),
            DateStamp::Week(monday) => Some((monday.into(), 1.week())),
            DateStamp::Month(first) => Some((first.into(), 1.month())),
            DateStamp::Instant(_) | DateStamp::None => None,
        }
    }

    /// The date of a file with this name and the time `file`, in `here`.
    pub fn dated(self, file: Timestamp, here: &TimeZone) -> DatedDump {
        let by_file = DatedDump { time: file, source: DateSource::File };
        let Some((begin, length)) = self.period() else {
            return match self {
                DateStamp::Instant(time) => DatedDump { time, source: DateSource::Name },
                _ => by_file,
            };
        };
        if agrees(begin, length, file).unwrap_or(false) {
            return DatedDump { source: DateSource::FileAndName, ..by_file };
        }
        match here.to_timestamp(begin) {
            Ok(time) => DatedDump { time, source: DateSource::NameHere },
            Err(_) => by_file,
        }
    }
}

/// True when `file` lies in the period on some wall on earth.
fn agrees(begin: DateTime, length: Span, file: Timestamp) -> Result<bool, jiff::Error> {
    let utc = |time| TimeZone::UTC.to_timestamp(time);
    let (from, to) =
        (utc(begin)?.checked_sub(AHEAD)?, utc(begin.checked_add(length)?)?.checked_add(BEHIND)?);
    Ok(from <= file && file <= to)
}

/// The six digits at the end of a name such as `immich-202603.sql.gz`.
fn six_digits(name: &str) -> Option<&str> {
    let stem = name.split('.').next()?;
    let (_, last) = stem.rsplit_once('-')?;
    (last.len() == 6 && last.bytes().all(|byte| byte.is_ascii_digit())).then_some(last)
}

fn day(text: &str) -> Option<Date> {
    Date::strptime("%Y%m%d", text).ok()
}

/// `GGGGVV`: an ISO 8601 week.
fn week(text: &str) -> Option<Date> {
    let (year, week) = text.split_at_checked(4)?;
    Some(ISOWeekDate::new(year.parse().ok()?, week.parse().ok()?, Weekday::Monday).ok()?.date())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(path: &str, file: &str) -> (String, DateSource) {
        let here = TimeZone::get("Europe/Berlin").unwrap();
        let DatedDump { time, source } =
            DateStamp::of(Path::new(path)).dated(file.parse().unwrap(), &here);
        (time.to_string(), source)
    }

    #[test]
    fn names_of_both_programs_and_all_their_years_are_read() {
        let is = |path: &str, stamp: DateStamp| {
            assert_eq!(DateStamp::of(Path::new(path)), stamp, "{path}")
        };
        let at = |text: &str| DateStamp::Second(text.parse().unwrap());
        let on = |text: &str| text.parse::<Date>().unwrap();
        is("backups/last/immich-20260329-020003.sql.gz", at("2026-03-29T02:00:03"));
        is("backups/daily/immich-20250329-020003.sql.gz", at("2025-03-29T02:00:03"));
        is("backups/daily/my-own.db-20260329.sql.gz", DateStamp::Day(on("2026-03-29")));
        is("backups/weekly/immich-202601.sql.gz", DateStamp::Week(on("2025-12-29")));
        is("backups/monthly/immich-202603.sql.gz", DateStamp::Month(on("2026-03-01")));
        is("backups/last/immich-20260329-020003.dump", at("2026-03-29T02:00:03"));
        is(
            "immich-db-backup-1795355789684.sql.gz",
            DateStamp::Instant(Timestamp::from_millisecond(1795355789684).unwrap()),
        );
        is("immich-db-backup-20261122T144832-v3.1.0-pg15.20.sql.gz", at("2026-11-22T14:48:32"));
        is(
            "restore-point-immich-db-backup-20261122T144832-v3.1.0-pg15.20.sql.gz",
            at("2026-11-22T14:48:32"),
        );
        is(
            "uploaded-immich-db-backup-1795355789684.sql.gz",
            DateStamp::of(Path::new("immich-db-backup-1795355789684.sql.gz")),
        );
        is("old/2026-03-29/immich.sql.gz", DateStamp::Day(on("2026-03-29")));
        for path in [
            "last/immich-latest.sql.gz",
            "immich.sql",
            "x/immich-202603.sql.gz",
            "monthly/immich-202613.sql.gz",
            "weekly/immich-202654.sql.gz",
            "daily/immich-20260230.sql.gz",
            "immich-db-backup-2026é.sql",
            "",
        ] {
            is(path, DateStamp::None);
        }
    }

    #[test]
    fn the_files_time_counts_where_the_name_agrees_in_some_zone() {
        let same = |path, file: &str| {
            assert_eq!(dated(path, file), (file.to_owned(), DateSource::FileAndName))
        };
        same("last/immich-20260329-020003.sql.gz", "2026-03-29T02:04:41Z");
        same("last/immich-20260329-020003.sql.gz", "2026-03-28T13:04:41Z");
        same("daily/immich-20260329.sql.gz", "2026-03-29T02:04:41Z");
        same("weekly/immich-202613.sql.gz", "2026-03-29T02:04:41Z");
        same("monthly/immich-202603.sql.gz", "2026-03-31T22:04:41Z");
        assert_eq!(dated("immich.sql", "2026-03-31T22:04:41Z").1, DateSource::File);
        let instant = "immich-db-backup-1795355789684.sql.gz";
        assert_eq!(
            dated(instant, "2030-01-01T00:00:00Z"),
            ("2026-11-22T13:56:29.684Z".into(), DateSource::Name)
        );
    }

    #[test]
    fn a_file_that_was_copied_has_the_date_of_its_name() {
        let copied = "2026-11-27T20:00:00Z";
        let name = |path, time: &str| {
            assert_eq!(dated(path, copied), (time.to_owned(), DateSource::NameHere))
        };
        name("last/immich-20260329-040003.sql.gz", "2026-03-29T02:00:03Z");
        name("daily/immich-20260329.sql.gz", "2026-03-28T23:00:00Z");
        name("weekly/immich-202613.sql.gz", "2026-03-22T23:00:00Z");
        name("monthly/immich-202603.sql.gz", "2026-02-28T23:00:00Z");
        name("immich-db-backup-20260329T040003-v2.5.0-pg14.19.sql.gz", "2026-03-29T02:00:03Z");
    }
}
