//! Snapshot names: a time in UTC that sorts as text.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

const FORMAT: &str = "%Y-%m-%dT%H%M%SZ";

/// A snapshot's id: its time, whole seconds UTC, as `2026-11-22T030005Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(i64);

impl SnapshotId {
    /// The id of a snapshot taken at `time`.
    pub fn at(time: Timestamp) -> Self {
        SnapshotId(time.as_second())
    }

    /// Seconds since 1970-01-01 UTC.
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// The id whose [`SnapshotId::seconds`] are `seconds`.
    pub fn from_seconds(seconds: i64) -> Result<Self> {
        Timestamp::from_second(seconds)
            .map(SnapshotId::at)
            .map_err(|_| Error::invalid(format_args!("{seconds} is not the time of a snapshot")))
    }

    /// When it was taken.
    pub fn time(self) -> Timestamp {
        Timestamp::from_second(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.time().strftime(FORMAT))
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SnapshotId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let digits = text.strip_suffix('Z').unwrap_or(text);
        let time = jiff::civil::DateTime::strptime("%Y-%m-%dT%H%M%S", digits)
            .and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC))
            .map_err(|_| {
                Error::invalid(format_args!(
                    "`{text}` is not a snapshot id such as 2026-11-22T030005Z"
                ))
            })?;
        Ok(SnapshotId::at(time.timestamp()))
    }
}

impl Serialize for SnapshotId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SnapshotId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_the_time_that_made_it() {
        let id: SnapshotId = "2026-11-22T030005Z".parse().unwrap();
        assert_eq!(id.to_string(), "2026-11-22T030005Z");
        assert_eq!(SnapshotId::from_seconds(id.seconds()).unwrap(), id);
        assert!("2026-11-22".parse::<SnapshotId>().is_err());
    }
}
