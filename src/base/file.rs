//! A file as a snapshot holds it: the records of a file list.

use serde::{Deserialize, Serialize};

use super::hash::Hash;
use super::path::FilePath;

/// What an entry of a file list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    File,
    Folder,
    Symlink,
}

/// One line of a file list. Lists are sorted by `path` (see [`FilePath`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub path: FilePath,
    pub kind: FileKind,
    /// Bytes; 0 for folders and symlinks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub mtime: i64,
    /// Permission bits, without the type: `0o644` is 420.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The content; files only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// Where a symlink points.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::bytes::option")]
    pub target: Option<Vec<u8>>,
    /// The first path in the list that is a hard link to the same file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<FilePath>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}
