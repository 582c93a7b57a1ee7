//! Which files a backup reads again although nothing about them changed, so that rot is found.
//!
//! Each day has the share of the paths that fall to it, and each path falls to one day of a cycle.
//! A backup reads the shares of all days since the last snapshot: nothing is to be remembered, and
//! no night that was missed leaves a share out.

use jiff::Timestamp;

use crate::base::FilePath;

const DAY: i64 = 86_400;

/// The share of the files that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadShare {
    Nothing,
    /// The shares of the days after the first and up to the second, in a cycle of so many.
    Days(i64, i64, i64),
    Everything,
}

impl ReadShare {
    /// What is due at `now` in a cycle of `days`, after a snapshot of `last`.
    pub(super) fn of(days: Option<u32>, last: Option<Timestamp>, now: Timestamp) -> ReadShare {
        let day = |time: Timestamp| time.as_second().div_euclid(DAY);
        match (days, last) {
            (None | Some(0), _) | (_, None) => ReadShare::Nothing,
            (Some(days), Some(last)) => ReadShare::Days(day(last), day(now), days.into()),
        }
    }

    /// True when the file at `path` is read again.
    pub(super) fn includes(self, path: &FilePath) -> bool {
        match self {
            ReadShare::Nothing => false,
            ReadShare::Everything => true,
            ReadShare::Days(after, until, cycle) => {
                let hash = blake3::hash(path.as_bytes());
                let [a, b, c, d, ..] = *hash.as_bytes();
                let place = i64::from(u32::from_le_bytes([a, b, c, d]));
                // The first day after `after` that the path falls to.
                let first = after + 1 + (place - (after + 1)).rem_euclid(cycle);
                first <= until
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_cycle_each_file_is_read_once_whatever_nights_are_missed() {
        let at = |day: i64| Timestamp::from_second(day * DAY + 3 * 3600).unwrap();
        for nights in [
            (1000..=1030).collect::<Vec<_>>(),
            vec![1000, 1001, 1007, 1008, 1022, 1030],
            vec![1000, 1030],
        ] {
            for number in 0..500 {
                let path = FilePath::new(format!("upload/{number}.jpg")).unwrap();
                let read = nights.windows(2).filter(|pair| {
                    ReadShare::of(Some(30), Some(at(pair[0])), at(pair[1])).includes(&path)
                });
                assert_eq!(read.count(), 1, "{path} in {nights:?}");
            }
        }
        let path = FilePath::new("upload/1.jpg").unwrap();
        assert!(
            (0..60).all(|day| !ReadShare::of(Some(30), Some(at(day)), at(day)).includes(&path)),
            "once a day"
        );
        assert!(
            !ReadShare::of(Some(30), Some(at(9)), at(2)).includes(&path),
            "a clock that went back"
        );
    }
}
