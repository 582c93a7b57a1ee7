//! Amounts as people read them.

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
