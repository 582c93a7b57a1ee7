//! What flags are given, where that is no number and no path.

use jiff::{SignedDuration, Span, SpanRelativeTo};

use crate::base::{Error, ErrorKind, Result};

/// Reads a share, such as `20%` or `20`.
pub(super) fn percent(text: &str) -> Result<u8> {
    let number =
        text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|number| *number <= 100);
    number.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format_args!("`{text}` is not a share from 0% to 100%"))
    })
}

/// Reads a length of time, such as `2h` or `8d`; a day has 24 hours.
pub(super) fn duration(text: &str) -> Result<SignedDuration> {
    let span: Option<Span> = text.parse().ok();
    let duration = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    duration.filter(|duration| !duration.is_negative()).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format_args!("`{text}` is not a duration such as 30m, 2h or 8d"),
        )
    })
}
