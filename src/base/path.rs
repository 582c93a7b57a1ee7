//! Paths of files in a library: relative, safe to join to a folder, bytes rather than text.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// A file's path below UPLOAD_LOCATION: components joined by `/`, never empty, never absolute, no
/// component empty, `.` or `..`, no NUL. Joining it to a folder therefore stays below that folder
/// (as long as no symlink stands in the way).
///
/// Ordered component by component, each as bytes, so that a folder comes right before what it
/// holds: the order of a file list.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FilePath(Vec<u8>);

impl FilePath {
    /// Checks `bytes` and takes them as a path.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let bytes = bytes.into();
        let safe =
            bytes.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
                && !bytes.contains(&0);
        if !safe {
            return Err(Error::invalid(format_args!(
                "`{}` is not a safe relative path",
                bytes.escape_ascii()
            )));
        }
        Ok(FilePath(bytes))
    }

    /// Where a file list shows the folder `server` of an external library, as the server sees it.
    pub fn external(server: &str) -> Result<Self> {
        FilePath::new(format!("external/{}", server.trim_matches('/')))
    }

    /// True of what an external library holds.
    pub fn is_external(&self) -> bool {
        self.parts().next() == Some(b"external")
    }

    /// The bytes, components joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as the standard library's path.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// This path below the folder `root`.
    pub fn below(&self, root: &Path) -> PathBuf {
        root.join(self.as_path())
    }

    /// The components, from the top.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/')
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        self.parts().last().unwrap_or_default()
    }

    /// The folder that holds it; `None` at the top.
    pub fn parent(&self) -> Option<FilePath> {
        let slash = memchr::memrchr(b'/', &self.0)?;
        Some(FilePath(self.0[..slash].to_vec()))
    }

    /// The same as bytes.
    pub fn parent_bytes(&self) -> Option<&[u8]> {
        Some(&self.0[..memchr::memrchr(b'/', &self.0)?])
    }

    /// The entry `name` of this folder.
    pub fn join(&self, name: &[u8]) -> Result<FilePath> {
        let mut bytes = self.0.clone();
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        FilePath::new(bytes)
    }

    /// The path as text where it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl Ord for FilePath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for FilePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of [`FilePath`]s on their bytes.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let at = a.iter().zip(b).position(|(x, y)| x != y);
    match at {
        None => a.len().cmp(&b.len()),
        Some(at) => rank(a[at]).cmp(&rank(b[at])),
    }
}

/// A slash sorts before every other byte: that makes byte order the order of components.
fn rank(byte: u8) -> u16 {
    if byte == b'/' { 0 } else { u16::from(byte) + 1 }
}

impl Borrow<[u8]> for FilePath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// A path as JSON: a string where it is UTF-8, else `{"hex": "…"}`.
impl serde::Serialize for FilePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::bytes::serialize(&self.0, serializer)
    }
}

impl<'de> serde::Deserialize<'de> for FilePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FilePath::new(super::bytes::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_its_folder() {
        for bad in ["", "/", "/etc/passwd", "a//b", "a/", "a/../b", "..", ".", "./a", "a/.", "a\0b"]
        {
            assert!(FilePath::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", "...", "a/..b", " ", "a\nb"] {
            assert!(FilePath::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_folder_comes_right_before_what_it_holds() {
        let mut paths: Vec<_> = ["a-b", "a/c", "a", "a/b/c", "a/b", "a.b", "b"]
            .map(|p| FilePath::new(p).unwrap())
            .into();
        paths.sort();
        let order: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(order, ["a", "a/b", "a/b/c", "a/c", "a-b", "a.b", "b"]);
    }

    #[test]
    fn a_path_that_is_not_utf8_survives_json() {
        let path = FilePath::new(b"upload/\xff\xfe.jpg".to_vec()).unwrap();
        let json = serde_json::to_string(&path).unwrap();
        assert_eq!(json, r#"{"hex":"75706c6f61642ffffe2e6a7067"}"#);
        assert_eq!(serde_json::from_str::<FilePath>(&json).unwrap(), path);
    }
}
