//! PostgreSQL's text for times: `2025-03-15 06:08:09.123+00`.
//!
//! Limits: `infinity`, years before Christ and after 9999 are not times to us.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
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
        assert_eq!(civil(micros("2018-05-01 10:10:10+00").unwrap()).unwrap().to_string(), "2018-05-01T10:10:10");
    }

    #[test]
    fn what_no_calendar_holds_is_no_time() {
        for text in ["infinity", "-infinity", "0044-03-15 06:08:09+00 BC", "12025-03-15 06:08:09+00", "", "x", "2025"] {
            assert_eq!(micros(text), None, "{text}");
        }
    }
}
