//! Which snapshots a policy keeps: restic's rules, word for word.
//!
//! Snapshots are looked at from the newest to the oldest. A rule such as `daily 7` keeps the newest
//! snapshot of each day, for the seven newest days that have one; days, weeks (ISO 8601) and hours
//! are those of the given time zone. `within` counts back from the newest snapshot and not from
//! now: a pause, or a clock that is wrong, forgets nothing. Every rule keeps what it keeps; what no
//! rule keeps is forgotten.
//!
//! Source: restic's manual, "Removing snapshots according to a policy";
//! `internal/restic/snapshot_policy.go`.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use crate::base::{Error, Result};

/// How many a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    Of(u32),
    Unlimited,
}

impl FromStr for Count {
    type Err = Error;
    fn from_str(text: &str) -> Result<Count> {
        match text {
            "unlimited" | "-1" => Ok(Count::Unlimited),
            _ => text.parse().map(Count::Of).map_err(|_| {
                Error::invalid(format_args!("`{text}` is neither a number nor `unlimited`"))
            }),
        }
    }
}

/// A length of time in the calendar, such as `1y6m7d12h`.
#[derive(Debug, Clone, Copy)]
pub struct Within(Span);

impl FromStr for Within {
    type Err = Error;
    fn from_str(text: &str) -> Result<Within> {
        let wrong = || {
            Error::invalid(format_args!(
                "`{text}` is no length of time such as 14d, 6m or 1y6m7d12h (years, months, days, \
                    hours)"
            ))
        };
        let (mut span, mut rest) = (Span::new(), text);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
            let unit = rest[digits..].chars().next().ok_or_else(wrong)?;
            span = match unit {
                'y' => span.try_years(number),
                'm' => span.try_months(number),
                'd' => span.try_days(number),
                'h' => span.try_hours(number),
                _ => return Err(wrong()),
            }
            .map_err(|_| wrong())?;
            rest = &rest[digits + 1..];
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Within(span)) }
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.0.get_years().into(), 'y'),
            (self.0.get_months(), 'm'),
            (self.0.get_days(), 'd'),
            (self.0.get_hours(), 'h'),
        ];
        parts
            .iter()
            .filter(|(number, _)| *number != 0)
            .try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

/// What a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    Snapshot,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Every {
    /// Two snapshots of the same period have the same.
    fn period(self, time: &Zoned, position: usize) -> (i64, i64) {
        let day =
            i64::from(time.year()) * 10_000 + i64::from(time.month()) * 100 + i64::from(time.day());
        let week = time.date().iso_week_date();
        match self {
            Every::Snapshot => (position as i64, 0),
            Every::Hour => (day, time.hour().into()),
            Every::Day => (day, 0),
            Every::Week => (week.year().into(), week.week().into()),
            Every::Month => (time.year().into(), time.month().into()),
            Every::Year => (time.year().into(), 0),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Every::Snapshot => "last",
            Every::Hour => "hourly",
            Every::Day => "daily",
            Every::Week => "weekly",
            Every::Month => "monthly",
            Every::Year => "yearly",
        }
    }
}

/// What is to be kept.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The newest of each period, for so many.
    pub keep: Vec<(Every, Count)>,
    /// All that are not older than the newest by more than this.
    pub within: Option<Within>,
    /// The newest of each period that is not older.
    pub keep_within: Vec<(Every, Within)>,
}

impl Policy {
    /// True when it has no rule.
    pub fn is_empty(&self) -> bool {
        self.keep.is_empty() && self.within.is_none() && self.keep_within.is_empty()
    }

    /// Why each of the snapshots taken at `times`, newest first, is kept; nothing for those that
    /// go.
    pub fn reasons(&self, times: &[Timestamp], zone: &TimeZone) -> Result<Vec<Vec<String>>> {
        let times: Vec<Zoned> = times.iter().map(|time| time.to_zoned(zone.clone())).collect();
        let Some(newest) = times.first() else { return Ok(Vec::new()) };
        let mut reasons = vec![Vec::new(); times.len()];
        let back = |within: &Within| {
            newest
                .checked_sub(within.0)
                .map_err(|_| Error::invalid(format_args!("{within} is longer than time itself")))
        };
        if let Some(within) = &self.within {
            let first = back(within)?;
            let young = times.iter().zip(&mut reasons).filter(|(time, _)| **time > first);
            young.for_each(|(_, reasons)| reasons.push(format!("within {within}")));
        }
        for (every, count) in &self.keep {
            let newest_of_each = newest_of_each(*every, &times);
            let many = match count {
                Count::Of(count) => *count as usize,
                Count::Unlimited => usize::MAX,
            };
            newest_of_each
                .into_iter()
                .take(many)
                .for_each(|at| reasons[at].push(every.word().to_owned()));
        }
        for (every, within) in &self.keep_within {
            let first = back(within)?;
            let young = newest_of_each(*every, &times).into_iter().filter(|at| times[*at] > first);
            young.for_each(|at| reasons[at].push(format!("{} within {within}", every.word())));
        }
        Ok(reasons)
    }
}

/// Positions of the newest snapshot of each period.
fn newest_of_each(every: Every, times: &[Zoned]) -> Vec<usize> {
    let periods: Vec<_> =
        times.iter().enumerate().map(|(at, time)| every.period(time, at)).collect();
    (0..times.len()).filter(|&at| at == 0 || periods[at] != periods[at - 1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(policy: &Policy, times: &[&str]) -> Vec<String> {
        let times: Vec<Timestamp> = times.iter().map(|time| time.parse().unwrap()).collect();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        policy
            .reasons(&times, &zone)
            .unwrap()
            .into_iter()
            .map(|reasons| reasons.join(", "))
            .collect()
    }

    #[test]
    fn the_newest_of_each_day_is_kept_by_the_local_calendar() {
        let policy = Policy { keep: vec![(Every::Day, Count::Of(2))], ..Policy::default() };
        // 23:30 UTC is the next day in Berlin.
        let times = [
            "2026-03-03T01:00:00Z",
            "2026-03-02T23:30:00Z",
            "2026-03-02T12:00:00Z",
            "2026-03-01T12:00:00Z",
        ];
        assert_eq!(kept(&policy, &times), ["daily", "", "daily", ""]);
    }

    #[test]
    fn rules_add_up_and_within_counts_from_the_newest() {
        let policy = Policy {
            keep: vec![(Every::Snapshot, Count::Of(1)), (Every::Year, Count::Unlimited)],
            within: Some("1d".parse().unwrap()),
            keep_within: vec![(Every::Month, "1y2m".parse().unwrap())],
        };
        let times = [
            "2020-05-02T12:00:00Z",
            "2020-05-01T12:00:01Z",
            "2020-05-01T12:00:00Z",
            "2020-04-01T12:00:00Z",
            "2018-01-01T12:00:00Z",
        ];
        let expected = [
            "within 1d, last, yearly, monthly within 1y2m",
            "within 1d",
            "",
            "monthly within 1y2m",
            "yearly",
        ];
        assert_eq!(kept(&policy, &times), expected);
    }

    #[test]
    fn lengths_and_counts_that_make_no_sense_are_refused() {
        for text in ["", "d", "3", "3x", "-1d", "1d ", "99999999999y"] {
            assert!(text.parse::<Within>().is_err(), "{text}");
        }
        assert_eq!("1y6m7d12h".parse::<Within>().unwrap().to_string(), "1y6m7d12h");
        assert!("x".parse::<Count>().is_err() && "-2".parse::<Count>().is_err());
        assert_eq!("-1".parse::<Count>().unwrap(), Count::Unlimited);
    }
}
