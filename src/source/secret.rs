//! A password that cannot be printed by mistake.

use std::env;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::base::{Context, Error, Result};

/// A password. Neither `Debug` nor `Display` shows it; only [`Secret::expose`] hands it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` as a password.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The password that the environment variable `name` holds, else the file that `name` + `_FILE`
    /// names (as Docker secrets are handed over); `None` if neither is set or the text is empty.
    pub fn from_env(name: &str) -> Result<Option<Secret>> {
        let file = format!("{name}_FILE");
        let text = match (env::var_os(name), env::var_os(&file)) {
            (Some(text), _) => text
                .into_string()
                .map_err(|_| Error::invalid(format_args!("{name} is not UTF-8")))?,
            (None, Some(path)) => first_line(Path::new(&path))
                .map_err(|error| error.hint(format_args!("{file} names it")))?,
            (None, None) => return Ok(None),
        };
        Ok(Some(text).filter(|text| !text.is_empty()).map(Secret))
    }

    /// The password in the file `path`, which ends with its first line.
    pub fn from_file(path: &Path) -> Result<Secret> {
        first_line(path).map(Secret)
    }

    /// The password itself. Hand it to a child's environment or a socket, never to a command line
    /// or a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A secret's file usually ends with a newline that is not part of it.
fn first_line(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path)
        .context(|| format!("reading the password in {}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn a_secrets_file_is_read_without_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "pa ss \r\n").unwrap();
        assert_eq!(first_line(file.path()).unwrap(), "pa ss ");
    }
}
