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
pub enum KeepCount {
    Of(u32),
    Unlimited,
}

impl FromStr for KeepCount {
    type Err = Error;
    fn from_str(text: &str) -> Result<KeepCount> {
        match text {
            "unlimited" | "-1" => Ok(KeepCount::Unlimited),
            _ => text.parse().map(KeepCount::Of).map_err(|_| {
                Error::invalid(format_args!("`{text}` is neither a number nor `unlimited`"))
            }),
        }
    }
}

/// A length of time in the calendar, such as `1y6m7d12h`.
#[derive(Debug, Clone, Copy)]
pub struct KeepWithin(Span);

impl FromStr for KeepWithin {
    type Err = Error;
    fn from_str(text: &str) -> Result<KeepWithin> {
        let wrong = || {
            Error::invalid(format_args!(
                "`{text}` is not a duration such as 14d, 6m or 1y6m7d12h (years, months, days, \
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
        if text.is_empty() { Err(wrong()) } else { Ok(KeepWithin(span)) }
    }
}

impl fmt::Display for KeepWithin {
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
pub enum KeepPeriod {
    Snapshot,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl KeepPeriod {
    /// Two snapshots of the same period have the same.
    fn period(self, time: &Zoned, position: usize) -> (i64, i64) {
        let day =
            i64::from(time.year()) * 10_000 + i64::from(time.month()) * 100 + i64::from(time.day());
        let week = time.date().iso_week_date();
        match self {
            KeepPeriod::Snapshot => (position as i64, 0),
            KeepPeriod::Hour => (day, time.hour().into()),
            KeepPeriod::Day => (day, 0),
            KeepPeriod::Week => (week.year().into(), week.week().into()),
            KeepPeriod::Month => (time.year().into(), time.month().into()),
            KeepPeriod::Year => (time.year().into(), 0),
        }
    }

    fn word(self) -> &'static str {
        match self {
            KeepPeriod::Snapshot => "last",
            KeepPeriod::Hour => "hourly",
            KeepPeriod::Day => "daily",
            KeepPeriod::Week => "weekly",
            KeepPeriod::Month => "monthly",
            KeepPeriod::Year => "yearly",
        }
    }
}

/// What is to be kept.
#[derive(Debug, Clone, Default)]
pub struct KeepPolicy {
    /// The newest of each period, for so many.
    pub keep: Vec<(KeepPeriod, KeepCount)>,
    /// All that are not older than the newest by more than this.
    pub within: Option<KeepWithin>,
    /// The newest of each period that is not older.
    pub keep_within: Vec<(KeepPeriod, KeepWithin)>,
}

impl KeepPolicy {
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
        let back = |within: &KeepWithin| {
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
                KeepCount::Of(count) => *count as usize,
                KeepCount::Unlimited => usize::MAX,
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
fn newest_of_each(every: KeepPeriod, times: &[Zoned]) -> Vec<usize> {
    let periods: Vec<_> =
        times.iter().enumerate().map(|(at, time)| every.period(time, at)).collect();
    (0..times.len()).filter(|&at| at == 0 || periods[at] != periods[at - 1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(policy: &KeepPolicy, times: &[&str]) -> Vec<String> {
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
        let policy =
            KeepPolicy { keep: vec![(KeepPeriod::Day, KeepCount::Of(2))], ..KeepPolicy::default() };
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
        let policy = KeepPolicy {
            keep: vec![
                (KeepPeriod::Snapshot, KeepCount::Of(1)),
                (KeepPeriod::Year, KeepCount::Unlimited),
            ],
            within: Some("1d".parse().unwrap()),
            keep_within: vec![(KeepPeriod::Month, "1y2m".parse().unwrap())],
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
            assert!(text.parse::<KeepWithin>().is_err(), "{text}");
        }
        assert_eq!("1y6m7d12h".parse::<KeepWithin>().unwrap().to_string(), "1y6m7d12h");
        assert!("x".parse::<KeepCount>().is_err() && "-2".parse::<KeepCount>().is_err());
        assert_eq!("-1".parse::<KeepCount>().unwrap(), KeepCount::Unlimited);
    }
}
