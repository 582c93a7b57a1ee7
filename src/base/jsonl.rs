//! JSON Lines: what lists, indexes and notes are made of.

use super::{Error, ErrorKind, Result};

/// `value` as one line, with its end.
pub fn json_line<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)
        .map_err(|error| Error::new(ErrorKind::Io, "writing a list").caused_by(error))?;
    line.push(b'\n');
    Ok(line)
}
