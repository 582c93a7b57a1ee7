//! UPLOAD_LOCATION: the folder in which Immich keeps its files.
//!
//! Opening it checks that it is what it should be, since an unmounted disk must never look like a
//! library that lost everything: a `.immich` marker (Immich writes one into each of its folders,
//! and checks them at its own start), or, from the years before the markers, a folder named by a
//! user's id.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::base::{Context, Error, ErrorKind, FilePath, Result};

use super::places::LibraryRoot;

/// Folders whose files Immich cannot make again.
pub const ORIGINALS: [&str; 3] = ["library", "profile", "upload"];
/// Folders whose files Immich makes again (motion-photo videos apart, which are assets).
pub const GENERATED: [&str; 2] = ["encoded-video", "thumbs"];
/// Where Immich keeps the dumps that it makes itself.
pub const BACKUPS: &str = "backups";
/// All folders of UPLOAD_LOCATION.
pub const FOLDERS: [&str; 6] = ["library", "profile", "upload", "encoded-video", "thumbs", BACKUPS];
/// The file that Immich writes into each of its folders.
pub const MARKER: &str = ".immich";

/// So many entries of a folder are looked at when guessing which folder was meant.
const GUESSES: usize = 1000;

/// A folder that was found to be Immich's UPLOAD_LOCATION.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadLocation {
    folder: PathBuf,
    /// Folders of it, or below it, that lie in other places.
    told: Vec<LibraryRoot>,
}

impl UploadLocation {
    /// Checks `folder`, of which the folders `told` lie in other places. A [`crate::base::ErrorKind::Refused`] says
    /// why it cannot be it, and which folder probably is.
    pub fn open(folder: &Path, told: &[LibraryRoot]) -> Result<UploadLocation> {
        let what = || format!("reading {}", folder.display());
        match fs::metadata(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(folder)),
            Err(error) => return Err(error).context(what),
            Ok(metadata) if !metadata.is_dir() => return Err(not_a_folder(folder)),
            Ok(_) => {}
        }
        let absolute = fs::canonicalize(folder).context(what)?;
        fs::read_dir(&absolute).context(what)?;
        match judge(&absolute) {
            LocationLooks::Right => Ok(UploadLocation { folder: absolute, told: told.to_vec() }),
            LocationLooks::Other if told.iter().any(|root| holds_originals(&root.shown)) => {
                Ok(UploadLocation { folder: absolute, told: told.to_vec() })
            }
            LocationLooks::Unmarked => Err(unmarked(folder, &absolute)),
            LocationLooks::Other => Err(other(folder, &absolute)),
        }
    }

    /// The folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where `path` of a file list is on this machine.
    pub fn place(&self, path: &FilePath) -> PathBuf {
        path.below(&self.folder)
    }

    /// The folders to walk: originals, and generated files too if asked for. What is not there and
    /// was not told is left out.
    pub fn roots(&self, generated: bool) -> Vec<LibraryRoot> {
        let wanted: Vec<&str> =
            ORIGINALS.iter().chain(GENERATED.iter().filter(|_| generated)).copied().collect();
        let below = self
            .told
            .iter()
            .filter(|root| is_below(root, &wanted) || is_below(root, &["external"]));
        wanted.iter().filter_map(|name| self.root(name)).chain(below.cloned()).collect()
    }

    /// The folders that are not walked and of which single files are read.
    pub fn beside(&self, generated: bool) -> Vec<LibraryRoot> {
        let wanted: Vec<&str> = GENERATED.iter().filter(|_| !generated).copied().collect();
        let below = self.told.iter().filter(|root| is_below(root, &wanted));
        wanted.iter().filter_map(|name| self.root(name)).chain(below.cloned()).collect()
    }

    fn root(&self, name: &str) -> Option<LibraryRoot> {
        let shown = FilePath::new(name).ok()?;
        if let Some(told) = self.told.iter().find(|root| root.shown == shown) {
            return Some(told.clone());
        }
        let folder = self.folder.join(name);
        // A link is followed to a folder of Immich's, and to no other: who may write here must not
        // choose what is read.
        let is_link = folder.is_symlink();
        (folder.is_dir() && (!is_link || is_immichs(&folder)))
            .then_some(LibraryRoot { folder, shown })
    }

    /// Where the link leads that stands in the place of the folder `path`.
    pub fn link(&self, path: &FilePath) -> Option<PathBuf> {
        let target = fs::read_link(self.place(path)).ok()?;
        let target = self.folder.join(target);
        Some(target.canonicalize().unwrap_or(target))
    }

    /// A folder beside the place of `path` whose name is much like it, such as `uploads`.
    pub fn alike(&self, path: &FilePath) -> Option<PathBuf> {
        let wanted = path.as_str()?;
        let near = |folder: &Path| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_known = FOLDERS.contains(&name.as_str());
            let is_part = name.len() > 4 && wanted.ends_with(&name);
            if is_known {
                0.0
            } else {
                strsim::jaro_winkler(&name, wanted) + f64::from(u8::from(is_part))
            }
        };
        let nearest = children(&self.folder).max_by(|a, b| near(a).total_cmp(&near(b)))?;
        (near(&nearest) > 0.85).then_some(nearest)
    }

    /// Immich's own folder of dumps, if there is one.
    pub fn backups(&self) -> Option<PathBuf> {
        let told = self.told.iter().find(|root| root.shown.as_bytes() == BACKUPS.as_bytes());
        let folder = told.map_or_else(|| self.folder.join(BACKUPS), |root| root.folder.clone());
        Some(folder).filter(|folder| folder.is_dir())
    }
}

/// What a folder looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LocationLooks {
    Right,
    /// The names are right, and there is nothing of Immich's in them.
    Unmarked,
    Other,
}

fn judge(folder: &Path) -> LocationLooks {
    let here = |name: &&&str| folder.join(name).is_dir();
    if !ORIGINALS.iter().any(|name| here(&name)) {
        return LocationLooks::Other;
    }
    let mut folders = FOLDERS.iter().filter(here);
    if folders.any(|name| is_immichs(&folder.join(name))) {
        LocationLooks::Right
    } else {
        LocationLooks::Unmarked
    }
}

/// True if the folder has Immich's marker, or one named by a user's id.
fn is_immichs(folder: &Path) -> bool {
    folder.join(MARKER).exists() || holds_users(folder)
}

fn holds_originals(shown: &FilePath) -> bool {
    ORIGINALS.iter().any(|name| shown.as_bytes() == name.as_bytes())
}

/// True if the root lies inside of one of `folders`.
fn is_below(root: &LibraryRoot, folders: &[&str]) -> bool {
    root.shown.parent().is_some()
        && folders.iter().any(|name| root.shown.parts().next() == Some(name.as_bytes()))
}

/// True if one of its folders is named by a user's id.
fn holds_users(folder: &Path) -> bool {
    children(folder).any(|child| {
        child.file_name().is_some_and(|name| Uuid::try_parse_ascii(name.as_encoded_bytes()).is_ok())
    })
}

fn children(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(GUESSES);
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

/// The folder that was probably meant: one above, or one or two below.
fn meant(absolute: &Path) -> Option<PathBuf> {
    let right = |folder: &PathBuf| judge(folder) == LocationLooks::Right;
    let above = || absolute.ancestors().skip(1).map(Path::to_owned).find(right);
    let below = || children(absolute).find(right);
    let deeper = || children(absolute).flat_map(|child| children(&child)).find(right);
    above().or_else(below).or_else(deeper)
}

fn missing(folder: &Path) -> Error {
    Error::new(ErrorKind::Refused, format_args!("folder not found: {}", folder.display()))
        .hint("is its disk mounted? UPLOAD_LOCATION in Immich's .env file is its path")
}

fn not_a_folder(folder: &Path) -> Error {
    Error::new(ErrorKind::Refused, format_args!("{} is not a folder", folder.display()))
        .hint("name the folder that UPLOAD_LOCATION in Immich's .env file names")
}

fn unmarked(folder: &Path, absolute: &Path) -> Error {
    let error = Error::new(
        ErrorKind::Refused,
        format_args!("{} holds neither Immich's markers nor photos", folder.display()),
    );
    hinted(
        error,
        absolute,
        "is its disk mounted? Immich keeps a file .immich in each of its folders",
    )
}

fn other(folder: &Path, absolute: &Path) -> Error {
    if fs::read_dir(absolute).is_ok_and(|mut entries| entries.next().is_none()) {
        let error = Error::new(ErrorKind::Refused, format_args!("{} is empty", folder.display()));
        return hinted(error, absolute, "is its disk mounted?");
    }
    let message = "is not Immich's UPLOAD_LOCATION: it holds no upload, library or profile";
    let error = Error::new(ErrorKind::Refused, format_args!("{} {message}", folder.display()));
    hinted(error, absolute, "name the folder that UPLOAD_LOCATION in Immich's .env file names")
}

/// Names the folder that was probably meant, else says `otherwise`.
fn hinted(error: Error, absolute: &Path, otherwise: &str) -> Error {
    match meant(absolute) {
        Some(meant) => error.hint(format_args!("did you mean {}?", meant.display())),
        None => error.hint(otherwise),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(folder: &Path) {
        for name in ORIGINALS.iter().chain(&GENERATED).chain([&BACKUPS]) {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join(MARKER), "1700000000000").unwrap();
        }
    }

    fn refusal(folder: &Path) -> (String, String) {
        let error = UploadLocation::open(folder, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        (error.to_string(), error.next_step().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_marked_folder_is_opened_and_its_originals_are_its_roots() {
        let folder = tempfile::tempdir().unwrap();
        location(folder.path());
        let opened = UploadLocation::open(folder.path(), &[]).unwrap();
        let shown = |roots: Vec<LibraryRoot>| {
            roots.iter().map(|root| root.shown.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(shown(opened.roots(false)), ["library", "profile", "upload"]);
        assert_eq!(shown(opened.roots(true)).len(), 5);
        assert!(opened.backups().is_some());
    }

    #[test]
    fn a_library_from_before_the_markers_is_known_by_its_users() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("upload/2287f06d-7279-476a-8155-ad81da1ffcce/55"))
            .unwrap();
        assert!(UploadLocation::open(folder.path(), &[]).is_ok());
    }

    #[test]
    fn a_neighbouring_folder_is_refused_and_the_right_one_named() {
        let folder = tempfile::tempdir().unwrap();
        let right = folder.path().canonicalize().unwrap().join("immich/library");
        location(&right);
        let meant = format!("did you mean {}?", right.display());
        for wrong in ["", "immich", "immich/library/upload", "immich/library/thumbs"] {
            assert_eq!(refusal(&folder.path().join(wrong)).1, meant, "{wrong}");
        }
    }

    #[test]
    fn an_unmounted_disk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(refusal(folder.path()).0.ends_with(" is empty"));
        assert!(refusal(&folder.path().join("none")).0.starts_with("folder not found"));
        for name in ["upload", "library"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert!(refusal(folder.path()).0.ends_with("neither Immich's markers nor photos"));
    }
}
