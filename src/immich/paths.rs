//! Where a path of Immich's database lies below UPLOAD_LOCATION.
//!
//! Immich writes paths as its container sees them: `upload/upload/…` (up to v1.135),
//! `/usr/src/app/upload/…` (v1.136), `/data/…` (since v1.137, told by the system metadata
//! `MediaLocation`), or a custom folder in their place.

use crate::base::FilePath;

/// The folders of UPLOAD_LOCATION that rows point into.
const FOLDERS: [&str; 5] = ["upload", "library", "profile", "encoded-video", "thumbs"];
/// Where Immich's containers have had UPLOAD_LOCATION, in the order they are tried.
const USUAL: [&str; 3] = ["/data", "/usr/src/app/upload", "upload"];
/// Where a file list shows the files of external libraries.
const EXTERNAL: &str = "external";

/// Maps paths of one database.
#[derive(Debug, Clone)]
pub struct PathMap {
    prefixes: Vec<String>,
}

impl PathMap {
    /// For a server whose media location is `location`; the usual ones are tried as well.
    pub fn new(location: Option<&str>) -> Self {
        let own = location.map(|location| location.trim_end_matches('/').to_owned());
        PathMap { prefixes: own.into_iter().chain(USUAL.map(str::to_owned)).collect() }
    }

    /// Where the file list shows `path`; `None` when it lies elsewhere or is not safe to join to a
    /// folder.
    pub fn file(&self, path: &str, external: bool) -> Option<FilePath> {
        if external && path.starts_with('/') {
            return FilePath::new(format!("{EXTERNAL}{path}")).ok();
        }
        let rest = self.prefixes.iter().find_map(|prefix| below(prefix, path))?;
        FilePath::new(rest).ok()
    }
}

/// The rest of `path` under `prefix`, if it begins with a folder that Immich keeps there.
fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?.strip_prefix('/')?;
    let (folder, _) = rest.split_once('/')?;
    FOLDERS.contains(&folder).then_some(rest)
}

/// The media location that `path` shows, if one of Immich's folders is followed there by the
/// owner's: its id or label.
pub fn location<'a>(path: &'a str, owner: [&str; 2]) -> Option<&'a str> {
    let mut end = 0;
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let owned = parts.peek().is_some_and(|next| owner.contains(next));
        if owned && FOLDERS.contains(&part) {
            return path[..end].strip_suffix('/');
        }
        end += part.len() + 1;
    }
    None
}

/// Where a file of the account `owner` lies below UPLOAD_LOCATION that an older mount named:
/// Immich's folder and the account's follow one another in its path.
pub fn of_owner(path: &str, owner: &str) -> Option<FilePath> {
    let old = location(path, [owner, owner])?;
    FilePath::new(below(old, path)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(location: Option<&str>, path: &str) -> Option<String> {
        PathMap::new(location).file(path, false).map(|path| path.to_string())
    }

    #[test]
    fn the_prefix_of_every_era_is_taken_off() {
        let is = |path, file: &str| assert_eq!(mapped(None, path).as_deref(), Some(file), "{path}");
        is("upload/upload/u1/aa/bb/x.jpg", "upload/u1/aa/bb/x.jpg");
        is("upload/library/admin/2024/x.jpg", "library/admin/2024/x.jpg");
        is("upload/encoded-video/u1/aa/bb/x-MP.mp4", "encoded-video/u1/aa/bb/x-MP.mp4");
        is("/usr/src/app/upload/upload/u1/x.jpg", "upload/u1/x.jpg");
        is("/data/profile/u1/x.webp", "profile/u1/x.webp");
    }

    #[test]
    fn a_custom_media_location_is_taken_off() {
        assert_eq!(
            mapped(Some("/photos/"), "/photos/library/a/x.jpg").as_deref(),
            Some("library/a/x.jpg")
        );
        assert_eq!(mapped(Some("/"), "/upload/a/x.jpg").as_deref(), Some("upload/a/x.jpg"));
        assert_eq!(mapped(None, "/photos/library/a/x.jpg"), None);
        assert_eq!(mapped(Some("/photo"), "/photos/library/a/x.jpg"), None);
    }

    #[test]
    fn a_path_that_leaves_the_folder_is_refused() {
        for path in [
            "/data/upload/../../etc/passwd",
            "/data/../etc",
            "/etc/passwd",
            "",
            "/data/upload",
            "/data/upload//x",
        ] {
            assert_eq!(mapped(None, path), None, "{path}");
        }
        assert_eq!(PathMap::new(None).file("/mnt/../etc/passwd", true), None);
        assert_eq!(PathMap::new(None).file("/", true), None);
    }

    #[test]
    fn an_external_file_keeps_its_own_path() {
        let path = PathMap::new(None).file("/mnt/external/x.jpg", true).unwrap();
        assert_eq!(path.to_string(), "external/mnt/external/x.jpg");
    }

    #[test]
    fn the_media_location_shows_in_a_path_that_names_its_owner() {
        assert_eq!(location("upload/upload/u1/aa/x.jpg", ["u1", "ann"]), Some("upload"));
        assert_eq!(
            location("/pool/media/library/ann/2024/x.jpg", ["u1", "ann"]),
            Some("/pool/media")
        );
        assert_eq!(location("/upload/u1/x.jpg", ["u1", "ann"]), Some(""));
        assert_eq!(location("/mnt/x.jpg", ["u1", "ann"]), None);
        assert_eq!(location("upload/u1/x.jpg", ["u1", "ann"]), None);
    }

    #[test]
    fn a_path_of_an_older_mount_lies_in_the_folder_of_its_account() {
        let of_u1 = |path| of_owner(path, "u1").map(|path| path.to_string());
        assert_eq!(
            of_u1("/mnt/old/upload/u1/aa/bb/x.xmp").as_deref(),
            Some("upload/u1/aa/bb/x.xmp")
        );
        assert_eq!(of_u1("/mnt/old/upload/u2/aa/bb/x.xmp"), None);
        assert_eq!(of_u1("/mnt/old/photos/u1/x.xmp"), None);
    }
}
