//! PostgreSQL's text for times: `2025-03-15 06:08:09.123+00`.
//!
//! Limits: `infinity`, years before Christ and after 9999 are not times to us.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Unit};

/// Microseconds since 1970-01-01 UTC; a text without an offset is taken as UTC.
///
/// Source: PostgreSQL manual, section "Date/Time Output" (pg_dump sets the ISO style).
pub fn micros(text: &str) -> Option<i64> {
    if !text.as_bytes().first()?.is_ascii_digit() || text.contains('[') {
        return None;
    }
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok()?,
    };
    Some(time.round(Unit::Microsecond).ok()?.as_microsecond())
}

/// The instant of [`micros`].
pub fn instant(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros).ok()
}

/// The instant of pg_dump's `Started on 2026-11-24 02:00:00 CET`. An abbreviation that is not UTC's
/// tells no offset: then the time is taken to be of this machine's zone.
///
/// Source: `pg_dump.c`, `dumpTimestamp`: strftime with `%Y-%m-%d %H:%M:%S %Z`.
pub fn started(text: &str) -> Option<Timestamp> {
    let (time, zone) = text.trim().split_at_checked("2026-11-24 02:00:00".len())?;
    let time = DateTime::strptime("%Y-%m-%d %H:%M:%S", time).ok()?;
    let zone = match zone.trim() {
        "UTC" | "GMT" | "Etc/UTC" => TimeZone::UTC,
        zone => offset(zone).map_or_else(TimeZone::system, TimeZone::fixed),
    };
    zone.to_timestamp(time).ok()
}

/// An offset such as `+03` or `-0330`.
fn offset(text: &str) -> Option<Offset> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.strip_prefix(['+', '-'])?;
    let (hours, minutes) = digits.split_at_checked(2)?;
    let minutes = if minutes.is_empty() { 0 } else { minutes.parse().ok()? };
    Offset::from_seconds(sign * (hours.parse::<i32>().ok()? * 3600 + minutes * 60)).ok()
}

/// The wall-clock time that Immich stored as if it were UTC (`localDateTime`).
pub fn civil(micros: i64) -> Option<DateTime> {
    Some(TimeZone::UTC.to_datetime(instant(micros)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_whatever_the_servers_zone() {
        let at = |text| instant(micros(text).unwrap()).unwrap().to_string();
        assert_eq!(at("2025-03-15 06:08:09+00"), "2025-03-15T06:08:09Z");
        assert_eq!(at("2025-03-15 06:08:09.123+00"), "2025-03-15T06:08:09.123Z");
        assert_eq!(at("2025-03-15 06:08:09.123456+05:30"), "2025-03-15T00:38:09.123456Z");
        assert_eq!(at("1899-12-31 23:59:59-03:30:52"), "1900-01-01T03:30:51Z");
        assert_eq!(at("2025-03-15 06:08:09"), "2025-03-15T06:08:09Z");
        assert_eq!(
            civil(micros("2018-05-01 10:10:10+00").unwrap()).unwrap().to_string(),
            "2018-05-01T10:10:10"
        );
    }

    #[test]
    fn the_time_that_pg_dump_tells_is_read_in_its_zone() {
        let at = |text| started(text).map(|time| time.to_string());
        assert_eq!(at("2026-11-24 02:00:00 UTC").as_deref(), Some("2026-11-24T02:00:00Z"));
        assert_eq!(at("2026-11-24 02:00:00 +03").as_deref(), Some("2026-11-23T23:00:00Z"));
        assert_eq!(at("2026-11-24 02:00:00 -0330").as_deref(), Some("2026-11-24T05:30:00Z"));
        assert!(started("2026-11-24 02:00:00 CET").is_some());
        assert_eq!(
            [
                at(""),
                at("2026-11-24"),
                at("2026-13-24 02:00:00 UTC"),
                at("\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}")
            ],
            [const { None }; 4]
        );
    }

    #[test]
    fn what_no_calendar_holds_is_no_time() {
        for text in [
            "infinity",
            "-infinity",
            "0044-03-15 06:08:09+00 BC",
            "12025-03-15 06:08:09+00",
            "",
            "x",
            "2025",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }
}
