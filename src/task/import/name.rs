//! The date in a name, in whichever form a program or a person wrote it.
//!
//! Immich: `immich-db-backup-1795355789684`, `…-20261122T144832-v3.1.0-pg15.20`;
//! postgres-backup-local: `immich-20260329-020003`; nfrastack/db-backup:
//! `pgsql_immich_db_20261125-020000`; autopostgresqlbackup: `immich_2026-11-26_02h00m.Thursday`;
//! scripts: `$(date +%F)`, `+%Y%m%d`, `+%Y-%m-%d_%H-%M`, `+%s`, `+%d-%m-%Y`, `+%FT%TZ`.
//!
//! Limits: of `05-11-2026` nobody knows which is the month; it tells nothing.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use super::date::DateStamp;

/// The first date in `text`.
pub(super) fn stamp(text: &str) -> Option<DateStamp> {
    let bytes = text.as_bytes();
    let begins =
        |&at: &usize| bytes[at].is_ascii_digit() && (at == 0 || !bytes[at - 1].is_ascii_digit());
    (0..bytes.len()).filter(begins).find_map(|at| NameRest(&bytes[at..]).stamp())
}

/// What is still to be read of a name.
#[derive(Clone, Copy)]
struct NameRest<'a>(&'a [u8]);

impl NameRest<'_> {
    fn stamp(mut self) -> Option<DateStamp> {
        let instant =
            |seconds: Option<i64>| Some(DateStamp::Instant(Timestamp::from_second(seconds?).ok()?));
        match self.digits() {
            13 => Some(DateStamp::Instant(Timestamp::from_millisecond(self.number(13)?).ok()?)),
            10 if self.0[0] == b'1' => instant(self.number(10)),
            8 | 12 | 14 => {
                let day = date(self.number(4)?, self.number(2)?, self.number(2)?)?;
                self.time(day)
            }
            4 => {
                let year = self.number(4)?;
                let (month, day) = (self.part(b"-_.")?, self.part(b"-_.")?);
                self.time(date(year, month, day)?)
            }
            1 | 2 => {
                let first = self.number(self.digits())?;
                let (second, year) = (self.part(b"-_.")?, self.year()?);
                // What is greater than 12 is no month; of two others nobody knows.
                let day = match (first > 12, second > 12) {
                    (true, false) => date(year, second, first)?,
                    (false, true) => date(year, first, second)?,
                    _ if first == second => date(year, first, second)?,
                    _ => return None,
                };
                self.time(day)
            }
            _ => None,
        }
    }

    /// What follows a day: a time on the wall, perhaps with its zone, or none.
    fn time(mut self, day: Date) -> Option<DateStamp> {
        let glued = self.digits() > 0;
        if !glued {
            let between =
                self.0.iter().take(4).take_while(|byte| b"Tt_-@. ".contains(byte)).count();
            self.0 = &self.0[between..];
            if between == 0 || !matches!(self.digits(), 2 | 4 | 6) {
                return Some(DateStamp::Day(day));
            }
        }
        let read = |name: &mut Self| {
            let (hour, minute) = (name.number(2)?, name.part(b"-_.:hH")?);
            let second = name.part(b"-_.:mM").unwrap_or(0);
            Time::new(hour.try_into().ok()?, minute.try_into().ok()?, second.try_into().ok()?, 0)
                .ok()
        };
        let Some(time) = read(&mut self) else { return Some(DateStamp::Day(day)) };
        let wall = DateTime::from_parts(day, time);
        let zoned = self.zone().and_then(|zone| zone.to_timestamp(wall).ok());
        Some(zoned.map_or(DateStamp::Second(wall), DateStamp::Instant))
    }

    /// `Z`, or an offset such as `+0100`.
    fn zone(&mut self) -> Option<TimeZone> {
        match self.0 {
            [b'Z', rest @ ..] if !rest.first().is_some_and(u8::is_ascii_alphanumeric) => {
                Some(TimeZone::UTC)
            }
            [b'+', rest @ ..] => {
                let mut name = NameRest(rest);
                let (hours, minutes) = (name.number(2)?, name.part(b":").unwrap_or(0));
                Some(
                    Offset::from_seconds((hours * 3600 + minutes * 60).try_into().ok()?)
                        .ok()?
                        .to_time_zone(),
                )
            }
            _ => None,
        }
    }

    /// Digits at the front.
    fn digits(&self) -> usize {
        self.0.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// The number of the first `len` bytes.
    fn number(&mut self, len: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(len)?;
        let number = std::str::from_utf8(number)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        self.0 = rest;
        number.parse().ok()
    }

    /// A number of two digits after one of `between`, which may be left out.
    fn part(&mut self, between: &[u8]) -> Option<i64> {
        let mut ahead = *self;
        if ahead.0.first().is_some_and(|byte| between.contains(byte)) {
            ahead.0 = &ahead.0[1..];
        }
        let number = ahead.number(2)?;
        *self = ahead;
        Some(number)
    }

    /// A year of four digits after a `-`, `_` or `.`.
    fn year(&mut self) -> Option<i64> {
        let [b'-' | b'_' | b'.', rest @ ..] = self.0 else { return None };
        self.0 = rest;
        if self.digits() == 4 { self.number(4) } else { None }
    }
}

/// A day in the years of which there can be dumps.
fn date(year: i64, month: i64, day: i64) -> Option<Date> {
    let year: i16 = year.try_into().ok().filter(|year| (2000..2100).contains(year))?;
    Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_read_as_people_write_them() {
        let second = |text: &str| Some(DateStamp::Second(text.parse().unwrap()));
        let day = |text: &str| Some(DateStamp::Day(text.parse().unwrap()));
        let instant = |text: &str| Some(DateStamp::Instant(text.parse().unwrap()));
        for (name, expected) in [
            ("pgsql_immich_database_20261125-020000.sql.gz", second("2026-11-25T02:00:00")),
            ("immich_2026-11-26_02h00m.Thursday.sql.gz", second("2026-11-26T02:00:00")),
            ("immich-2026-11-27.sql.gz", day("2026-11-27")),
            ("immich-db-backup-20261124.sql", day("2026-11-24")),
            ("dump_2026-11-28_02-00.sql.gz", second("2026-11-28T02:00:00")),
            ("dump_2026-11-28_02-00-07.sql.gz", second("2026-11-28T02:00:07")),
            ("2026_11_28__02_00.sql", second("2026-11-28T02:00:00")),
            ("2026.11.28-02.30.sql", second("2026-11-28T02:30:00")),
            ("20261125T020000.sql.zst", second("2026-11-25T02:00:00")),
            ("immich20261125.sql", day("2026-11-25")),
            ("immich-20261125020001.sql", second("2026-11-25T02:00:01")),
            ("immich_202611250200.sql", second("2026-11-25T02:00:00")),
            ("immich-2026-11-25T02:00:00.sql", second("2026-11-25T02:00:00")),
            ("immich 2026-11-25 02-00.sql", second("2026-11-25T02:00:00")),
            ("immich.sql.2026-11-25.gz", day("2026-11-25")),
            ("immich.sql-20261125", day("2026-11-25")),
            ("db-v15-25-11-2026.sql", day("2026-11-25")),
            ("25.11.2026_0230.sql", second("2026-11-25T02:30:00")),
            ("11-25-2026.sql", day("2026-11-25")),
            ("20261125T020000Z.sql", instant("2026-11-25T02:00:00Z")),
            ("2026-11-25T02-00-00Z.sql", instant("2026-11-25T02:00:00Z")),
            ("2026-11-25T02:00:00+01:00.sql", instant("2026-11-25T01:00:00Z")),
            ("immich-1795355789.sql", instant("2026-11-22T13:56:29Z")),
            ("immich-db-backup-1795355789684.sql.gz", instant("2026-11-22T13:56:29.684Z")),
            (
                "immich-db-backup-20261122T144832-v3.1.0-pg15.20.sql.gz",
                second("2026-11-22T14:48:32"),
            ),
            ("backup-20261122-3.sql.gz", day("2026-11-22")),
            ("dump-2026-11-22-v3.1.0.sql", day("2026-11-22")),
            ("2026-11-22_99-00.sql", day("2026-11-22")),
            ("immich.sql", None),
            ("immich-202603.sql.gz", None),
            ("05-11-2026.sql", None),
            ("2026-13-01.sql", None),
            ("20260230.sql", None),
            ("v3.1.0-pg15.20.sql", None),
            ("12345678.sql", None),
            ("é2026-é.sql", None),
        ] {
            assert_eq!(stamp(name), expected, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_name_panics(name in "[-0-9_.TZ+: hé]{0,24}") {
            let _ = stamp(&name);
        }
    }
}
