//! When something is due: cron words, `@daily` and the like, `@every 6h`, `never`.
//!
//! The calendar is that of a time zone, daylight saving included: a time of day that a night lacks
//! comes right after the gap, one that it has twice counts once (croner, which follows the Open
//! Cron Pattern Specification).

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use crate::base::{Error, Result};

/// When something is due.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    kind: ScheduleKind,
}

#[derive(Debug, Clone)]
enum ScheduleKind {
    Never,
    Every(SignedDuration),
    Calendar(Box<Cron>),
}

impl Schedule {
    /// True when nothing is ever due.
    pub fn is_never(&self) -> bool {
        matches!(self.kind, ScheduleKind::Never)
    }

    /// The first time after `last`, when it was done last, that it is due; `None` for never.
    pub fn next(&self, last: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.kind {
            ScheduleKind::Never => None,
            ScheduleKind::Every(duration) => last.checked_add(*duration).ok(),
            ScheduleKind::Calendar(cron) => {
                let next = cron.find_next_occurrence(&last.to_zoned(zone.clone()), false);
                next.ok().map(|zoned| zoned.timestamp())
            }
        }
    }

    /// True when it is due at `now` and was done last at `last`. What was never done is due.
    pub fn is_due(&self, last: Option<Timestamp>, now: Timestamp, zone: &TimeZone) -> bool {
        match last {
            // A clock that was wrong must not keep it from being done for years.
            Some(last) if last <= now => self.next(last, zone).is_some_and(|next| next <= now),
            _ => !self.is_never(),
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;
    fn from_str(text: &str) -> Result<Schedule> {
        let word = text.trim();
        let kind = match word.to_ascii_lowercase().as_str() {
            "never" | "off" => ScheduleKind::Never,
            "@midnight" => calendar("@daily")?,
            lower => match lower.strip_prefix("@every") {
                Some(time) => ScheduleKind::Every(every(time.trim()).ok_or_else(|| wrong(word))?),
                None => calendar(word)?,
            },
        };
        Ok(Schedule { text: word.to_owned(), kind })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn calendar(text: &str) -> Result<ScheduleKind> {
    let parser = CronParser::builder().seconds(Seconds::Optional).build();
    let cron = parser.parse(text).map_err(|error| wrong(text).caused_by(error))?;
    // 30 February is understood, and never comes.
    let comes = cron.find_next_occurrence(&Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC), false);
    comes.map_err(|error| wrong(text).caused_by(error))?;
    Ok(ScheduleKind::Calendar(Box::new(cron)))
}

/// A length of time of at least a minute.
fn every(text: &str) -> Option<SignedDuration> {
    let span: Span = text.parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    (duration >= SignedDuration::from_mins(1)).then_some(duration)
}

fn wrong(text: &str) -> Error {
    Error::invalid(format_args!("`{text}` is not a schedule")).hint(
        "such as @daily, @weekly, \"@every 6h\", \"30 3 * * *\" (minute, hour, day, month, \
            weekday), or never",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, last: &str, zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let last: Timestamp = last.parse().unwrap();
        let next = schedule.parse::<Schedule>().unwrap().next(last, &zone).unwrap();
        next.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    #[test]
    fn words_of_cron_and_lengths_of_time_are_understood() {
        for (schedule, expected) in [
            ("@daily", "2026-11-28 00:00:00"),
            ("@midnight", "2026-11-28 00:00:00"),
            ("@hourly", "2026-11-27 13:00:00"),
            ("@weekly", "2026-11-29 00:00:00"),
            ("@monthly", "2026-12-01 00:00:00"),
            ("30 3 * * *", "2026-11-28 03:30:00"),
            ("15 30 3 * * *", "2026-11-28 03:30:15"),
            ("0 4 * * MON-FRI", "2026-11-30 04:00:00"),
            ("@every 6h", "2026-11-27 18:20:00"),
            ("@every 1h30m", "2026-11-27 13:50:00"),
            ("@every 30d", "2026-12-27 12:20:00"),
        ] {
            assert_eq!(next(schedule, "2026-11-27T12:20:00Z", "UTC"), expected, "{schedule}");
        }
    }

    #[test]
    fn the_night_of_a_clock_change_has_its_backup_once() {
        // In Berlin, 02:30 is not there on 2027-03-28 and is there twice on 2026-10-25.
        let berlin = "Europe/Berlin";
        assert_eq!(next("30 2 * * *", "2027-03-27T12:00:00Z", berlin), "2027-03-28 03:00:00");
        assert_eq!(next("30 2 * * *", "2026-10-24T12:00:00Z", berlin), "2026-10-25 02:30:00");
        // 00:30 UTC is the first 02:30; the next one is the next day.
        assert_eq!(next("30 2 * * *", "2026-10-25T00:30:00Z", berlin), "2026-10-26 02:30:00");
    }

    #[test]
    fn what_was_never_done_or_was_done_in_the_future_is_due_and_never_is_not() {
        let (zone, now) = (TimeZone::UTC, "2026-11-27T12:00:00Z".parse().unwrap());
        let daily: Schedule = "@daily".parse().unwrap();
        let at = |text: &str| Some(text.parse().unwrap());
        assert!(
            daily.is_due(None, now, &zone) && daily.is_due(at("2036-01-01T00:00:00Z"), now, &zone)
        );
        assert!(daily.is_due(at("2026-11-26T23:00:00Z"), now, &zone));
        assert!(!daily.is_due(at("2026-11-27T00:00:01Z"), now, &zone));
        assert!(!"never".parse::<Schedule>().unwrap().is_due(None, now, &zone));
    }

    #[test]
    fn nonsense_is_no_schedule() {
        for text in
            ["", "daily", "@every", "@every 1s", "@every -6h", "61 * * * *", "0 0 30 2 *", "* * *"]
        {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
