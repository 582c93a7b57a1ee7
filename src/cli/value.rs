//! What flags are given, where that is no number and no path.

use crate::base::{Error, Kind, Result};

/// Reads a share, such as `20%` or `20`.
pub(super) fn percent(text: &str) -> Result<u8> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|number| *number <= 100);
    number.ok_or_else(|| Error::new(Kind::Invalid, format_args!("`{text}` is no share from 0% to 100%")))
}
