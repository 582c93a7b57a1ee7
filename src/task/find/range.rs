//! Times of taking, as people write them: `2024`, `2024-05`, `2024-05-01`, or two of these with
//! `..` between them.

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::base::{Error, Result};

/// From the first moment of one day to before the first moment of another, by the wall clock where
/// a photo was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRange {
    from: Date,
    /// `None`: without an end.
    before: Option<Date>,
}

impl DayRange {
    /// Reads `text`; both ends belong to it, and either may be left out around `..`.
    pub fn parse(text: &str) -> Result<DayRange> {
        let wrong = || {
            Error::invalid(format_args!(
                "`{text}` is not a time such as 2024, 2024-05, 2024-05-01 or 2024-05..2024-06"
            ))
        };
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let edge = |text: &str| {
            (!text.trim().is_empty()).then(|| period(text.trim()).ok_or_else(wrong)).transpose()
        };
        let (first, last) = (edge(first)?, edge(last)?);
        let range = DayRange {
            from: first.map_or(Date::MIN, |first| first.0),
            before: last.and_then(|last| last.1),
        };
        if range.before.is_some_and(|before| before <= range.from)
            || (first.is_none() && last.is_none())
        {
            Err(wrong())
        } else {
            Ok(range)
        }
    }

    /// From and before, in milliseconds since 1970, the wall clock taken as UTC.
    pub fn milliseconds(self) -> (i64, i64) {
        // The first and the last day of all have no instant in every zone: they stand for no bound.
        let instant =
            |date: Date| Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond());
        let before = self.before.and_then(instant).unwrap_or(i64::MAX);
        (instant(self.from).unwrap_or(i64::MIN), before)
    }
}

impl std::str::FromStr for DayRange {
    type Err = Error;
    fn from_str(text: &str) -> Result<DayRange> {
        DayRange::parse(text)
    }
}

/// The first day of a year, month or day, and the first day after it (`None` after the last of
/// all).
fn period(text: &str) -> Option<(Date, Option<Date>)> {
    let parts: Vec<&str> = text.split('-').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() > 3 || parts[0].len() != 4 || !parts.iter().all(digits) {
        return None;
    }
    let number = |at: usize| parts.get(at).map_or(Some(1), |part| part.parse::<i8>().ok());
    let from = Date::new(parts[0].parse().ok()?, number(1)?, number(2)?).ok()?;
    let length = match parts.len() {
        1 => 1.year(),
        2 => 1.month(),
        _ => 1.day(),
    };
    Some((from, from.checked_add(length).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(text: &str) -> (String, String) {
        let range = DayRange::parse(text).unwrap();
        (range.from.to_string(), range.before.map_or("-".to_owned(), |before| before.to_string()))
    }

    #[test]
    fn both_ends_belong_to_a_range() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(days("2024"), pair("2024-01-01", "2025-01-01"));
        assert_eq!(days("2024-02"), pair("2024-02-01", "2024-03-01"));
        assert_eq!(days("2024-12-31"), pair("2024-12-31", "2025-01-01"));
        assert_eq!(days("2024-05..2024-06"), pair("2024-05-01", "2024-07-01"));
        assert_eq!(days("..2020").1, "2021-01-01");
        assert_eq!(days("2020-02-29.."), pair("2020-02-29", "-"));
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        for wrong in [
            "",
            "..",
            "24",
            "2024-13",
            "2023-02-29",
            "2024-05-01-01",
            "may 2024",
            "2025..2024",
            "2024-",
            "-2024",
        ] {
            assert!(
                DayRange::parse(wrong).unwrap_err().to_string().contains("2024-05-01"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn milliseconds_are_of_the_wall_clock() {
        assert_eq!(DayRange::parse("1970-01-01").unwrap().milliseconds(), (0, 86_400_000));
        assert_eq!(DayRange::parse("..1969").unwrap().milliseconds(), (i64::MIN, 0));
        assert_eq!(DayRange::parse("1970..").unwrap().milliseconds(), (0, i64::MAX));
        assert_eq!(DayRange::parse("9999").unwrap().milliseconds().1, i64::MAX);
    }
}
