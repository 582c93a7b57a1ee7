//! Amounts as people read them.

use jiff::SignedDuration;

/// Bytes: `1.30 GB`.
pub fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// A number: `12,431`.
pub fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// `1 photo`, `2 photos`.
pub fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A length of time in the unit that a person would use.
pub fn ago(duration: SignedDuration) -> String {
    let minutes = duration.as_mins().max(0).unsigned_abs();
    match minutes {
        0..120 => plural(minutes, "minute", "minutes"),
        120..2880 => plural(minutes / 60, "hour", "hours"),
        _ => plural(minutes / 1440, "day", "days"),
    }
}
