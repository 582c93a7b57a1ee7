//! Where a recovery lays the files that did not lie where the database of their snapshot says.
//!
//! The database and the files of a server are not read at one moment: Immich moves photos
//! meanwhile, or the dump is older. A server that is set up from both looks for each file where its
//! database says, so there it must be: a photo that was found by its content, its sidecar that lay
//! beside it, bytes that Immich recorded and that only an earlier snapshot has in a file.
//!
//! Always holds: a file that no row names stays at its own path; where one is laid over another,
//! the other gets a name beside it ([`BESIDE`]), so no bytes are lost, and a symlink that is in a
//! photo's way likewise; of two rows with one path the one whose bytes lie there has it, else the
//! first by id.
//!
//! Limits: external libraries come back as they lay.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::base::{FilePath, Problem, Result};
use crate::catalog::night::{MisplacedFile, PathOccupant};
use crate::catalog::query::folder;
use crate::catalog::query::whole::{EntryKind, ListEntry, entry_of};
use crate::catalog::{Catalog, CatalogNight, query};

/// What is put to the name of a file that another one is laid over.
const BESIDE: &str = ".as-found";
/// No name is longer.
const LONGEST_NAME: usize = 255;

/// What is laid at a path.
#[derive(Debug)]
pub(in crate::task) struct LaidFile {
    pub entry: ListEntry,
    /// Where it lay in this snapshot; `None` where only an earlier one has it.
    from: Option<FilePath>,
}

/// Where the files go to that do not go to their own path.
#[derive(Debug, Default)]
pub(in crate::task) struct FileLayout {
    pub(super) laid: BTreeMap<FilePath, LaidFile>,
    /// Rows of files that are laid elsewhere, and not at their own path.
    leaving: HashSet<u64>,
    /// Rows of files that another one is laid over: their new name.
    beside: HashMap<u64, FilePath>,
    /// New places of files that have further names.
    renamed: HashMap<FilePath, FilePath>,
    /// Folders that the snapshot has not, each with the one that it is to be like.
    pub(super) folders: BTreeMap<FilePath, ListEntry>,
    pub(super) problems: Vec<Problem>,
}

/// A path of the database, and what should be there.
struct WantedPath {
    path: FilePath,
    laid: LaidFile,
    /// A sidecar that no row names goes only where nothing is.
    is_guess: bool,
}

impl FileLayout {
    /// Works it out for one snapshot.
    pub fn of_snapshot(night: CatalogNight<'_>) -> Result<FileLayout> {
        let mut wishes = Vec::new();
        night.misplaced(|misplaced| {
            wishes.extend(original(night, &misplaced)?);
            wishes.extend(sidecar(night, &misplaced)?);
            Ok(())
        })?;
        wishes.extend(pictures(night)?);
        let mut layout = FileLayout::default();
        for wish in wishes {
            if let Some(reason) = layout.grant(night, wish)? {
                layout.problems.push(reason);
            }
        }
        layout.settle(night)?;
        Ok(layout)
    }

    /// Where the file of the snapshot in `row` goes to by the name of its entry: `None` when not to
    /// its folder at all.
    pub(super) fn name_of<'a>(&'a self, row: u64, own: &'a [u8]) -> Option<&'a [u8]> {
        match self.beside.get(&row) {
            Some(path) => Some(path.name()),
            None => (!self.leaving.contains(&row)).then_some(own),
        }
    }

    /// Where the file goes to that lay at `path`.
    pub(super) fn renamed<'a>(&'a self, path: &'a FilePath) -> &'a FilePath {
        self.renamed.get(path).unwrap_or(path)
    }

    /// The content of the file that a recovery lays at `path`.
    pub fn content_at(&self, night: CatalogNight<'_>, path: &FilePath) -> Result<Option<i64>> {
        if let Some(laid) = self.laid.get(path) {
            return Ok(content(&laid.entry));
        }
        Ok(match night.occupant(path)? {
            PathOccupant::File(row, content)
                if self.name_of(row, path.name()) == Some(path.name()) =>
            {
                Some(content)
            }
            _ => None,
        })
    }

    /// How many files are laid where the database says, and lay elsewhere.
    pub fn moved(&self) -> u64 {
        self.laid.values().filter(|laid| laid.from.is_some()).count() as u64
    }

    /// How many files are laid that this snapshot has not on its disk.
    pub fn earlier(&self) -> u64 {
        self.laid.values().filter(|laid| laid.from.is_none()).count() as u64
    }

    /// How many files get a name beside the one that is laid over them.
    pub fn beside(&self) -> u64 {
        self.beside.len() as u64
    }

    /// Grants a wish, or says why not.
    fn grant(&mut self, night: CatalogNight<'_>, wish: WantedPath) -> Result<Option<Problem>> {
        let WantedPath { path, laid, is_guess } = wish;
        let refused = |path: &FilePath, message: &str| {
            let problem = Problem { subject: path.to_string(), message: message.to_owned() };
            Ok((!is_guess).then_some(problem))
        };
        if let Some(other) = self.laid.get(&path) {
            return if content(&other.entry) == content(&laid.entry) {
                Ok(None)
            } else {
                refused(
                    &path,
                    "two photos have this path in the database: one of them is not there",
                )
            };
        }
        if self.is_in_the_way(&path) {
            return refused(
                &path,
                "the database has it where another file's folder is: it stays where it was found",
            );
        }
        match night.occupant(&path)? {
            PathOccupant::Symlink(..) if is_guess => return Ok(None),
            PathOccupant::Nothing | PathOccupant::Symlink(..) => {}
            PathOccupant::Folder if laid.from.is_none() && !is_guess => {
                let beside = self.name_beside(night, &path)?;
                let message =
                    format!("a folder is there: what belongs there is laid beside it, as {beside}");
                self.laid.insert(beside, laid);
                return refused(&path, &message);
            }
            PathOccupant::Folder | PathOccupant::Below => {
                return refused(
                    &path,
                    "another thing than a file is there: it stays where it was found",
                );
            }
            PathOccupant::File(_, found) if content(&laid.entry) == Some(found) => return Ok(None),
            PathOccupant::File(..) if is_guess => return Ok(None),
            PathOccupant::File(_, found) if night.is_rightful(path.as_bytes(), found)? => {
                return refused(
                    &path,
                    "two photos have this path in the database: one of them is not there",
                );
            }
            PathOccupant::File(..) => {}
        }
        self.laid.insert(path, laid);
        Ok(None)
    }

    /// True when `path` lies below a file that is laid, or is a folder of one.
    fn is_in_the_way(&self, path: &FilePath) -> bool {
        let mut above = path.parent();
        while let Some(folder) = above {
            if self.laid.contains_key(&folder) {
                return true;
            }
            above = folder.parent();
        }
        let next = self.laid.range::<FilePath, _>(path..).next();
        next.is_some_and(|(next, _)| next.as_path().starts_with(path.as_path()))
    }

    /// What becomes of the files that are laid elsewhere, and of those that one is laid over.
    fn settle(&mut self, night: CatalogNight<'_>) -> Result<()> {
        for (path, laid) in &self.laid {
            let Some(from) = laid.from.as_ref().filter(|from| !is_external(from)) else { continue };
            if self.laid.contains_key(from) || !is_wanted(night, from)? {
                self.leaving.insert(laid.entry.row);
                self.renamed.entry(from.clone()).or_insert_with(|| path.clone());
            }
        }
        for path in self.laid.keys() {
            let (row, taken) = match night.occupant(path)? {
                PathOccupant::File(row, _) if !self.leaving.contains(&row) => (row, path.clone()),
                PathOccupant::Symlink(row, link) => (row, link),
                PathOccupant::Nothing
                | PathOccupant::File(..)
                | PathOccupant::Folder
                | PathOccupant::Below => {
                    continue;
                }
            };
            let beside = self.name_beside(night, &taken)?;
            self.renamed.insert(taken, beside.clone());
            self.beside.insert(row, beside);
        }
        self.new_folders(night)
    }

    /// A name beside `path` that nothing has.
    fn name_beside(&self, night: CatalogNight<'_>, path: &FilePath) -> Result<FilePath> {
        let mut number = 1;
        loop {
            let ending = if number == 1 { BESIDE.to_owned() } else { format!("{BESIDE}-{number}") };
            let name = path.name();
            let kept = &name[..name.len().min(LONGEST_NAME - ending.len())];
            let name = [kept, ending.as_bytes()].concat();
            let beside = match path.parent() {
                Some(folder) => folder.join(&name)?,
                None => FilePath::new(name)?,
            };
            if !self.laid.contains_key(&beside) && night.occupant(&beside)? == PathOccupant::Nothing
            {
                return Ok(beside);
            }
            number += 1;
        }
    }

    fn new_folders(&mut self, night: CatalogNight<'_>) -> Result<()> {
        for path in self.laid.keys() {
            let (mut missing, mut above, mut like) = (Vec::new(), path.parent(), None);
            while let Some(folder) = above {
                like = match self.folders.get(&folder) {
                    Some(like) => Some(like.clone()),
                    None => night.folder_at(&folder)?,
                };
                if like.is_some() {
                    break;
                }
                above = folder.parent();
                missing.push(folder);
            }
            if let Some(like) = like {
                self.folders.extend(missing.into_iter().map(|folder| (folder, like.clone())));
            }
        }
        Ok(())
    }
}

/// True when some row names the file at `path` as it is: its bytes are needed there too.
fn is_wanted(night: CatalogNight<'_>, path: &FilePath) -> Result<bool> {
    night.is_named(path.as_bytes())
}

fn original(night: CatalogNight<'_>, misplaced: &MisplacedFile) -> Result<Option<WantedPath>> {
    let Ok(path) = FilePath::new(&*misplaced.path) else { return Ok(None) };
    let sha1 = misplaced.sha1.as_ref();
    if let Some(row) = misplaced.file
        && let Some(laid) = lying(night.catalog(), row)?
        && let Some(content) = content(&laid.entry)
        && query::is_content_of(night.catalog(), content, sha1)?
    {
        return Ok((laid.from.as_ref() != Some(&path)).then_some(WantedPath {
            path,
            laid,
            is_guess: false,
        }));
    }
    let Some(sha1) = sha1 else { return Ok(None) };
    let laid = match night.file_with(sha1, path.name())? {
        Some((entry, true)) => lying(night.catalog(), entry.row)?,
        Some((entry, false)) => Some(earlier(entry)),
        None => kept(night, misplaced, &path)?,
    };
    Ok(laid.map(|laid| WantedPath { path, laid, is_guess: false }))
}

/// The bytes that Immich recorded, which no snapshot has in a file any more: as the file that is
/// there now, or its folder.
fn kept(
    night: CatalogNight<'_>,
    misplaced: &MisplacedFile,
    path: &FilePath,
) -> Result<Option<LaidFile>> {
    let Some(entry) = night.kept_file(&misplaced.asset, path.name())? else {
        return Ok(None);
    };
    let mut like = misplaced.file.map(|row| entry_of(night.catalog(), row)).transpose()?.flatten();
    let mode = like.as_ref().map_or(entry.mode, |like| like.mode);
    let mut folder = path.parent();
    while let (None, Some(above)) = (&like, &folder) {
        like = night.folder_at(above)?;
        folder = above.parent();
    }
    let (uid, gid) = like.map_or((0, 0), |like| (like.uid, like.gid));
    Ok(Some(LaidFile { entry: ListEntry { mode, uid, gid, ..entry }, from: None }))
}

fn sidecar(night: CatalogNight<'_>, misplaced: &MisplacedFile) -> Result<Option<WantedPath>> {
    let found =
        misplaced.sidecar_file.map(|row| lying(night.catalog(), row)).transpose()?.flatten();
    let is_guess = misplaced.sidecar.is_none();
    let path = match (&misplaced.sidecar, &found) {
        (Some(path), _) => FilePath::new(&**path).ok(),
        (None, Some(found)) => beside_photo(night.catalog(), misplaced, found)?,
        (None, None) => None,
    };
    let Some(path) = path else { return Ok(None) };
    let laid = match found {
        Some(found) if found.from.as_ref() == Some(&path) => None,
        Some(found) => Some(found),
        None if is_external(&path) => None,
        None => night.last_at(&path)?.map(earlier),
    };
    Ok(laid.map(|laid| WantedPath { path, laid, is_guess }))
}

/// Where the sidecar `found` lies to the photo as the database has it, as it lay to the photo as it
/// was found.
fn beside_photo(
    db: &Catalog,
    misplaced: &MisplacedFile,
    found: &LaidFile,
) -> Result<Option<FilePath>> {
    let photo = misplaced.file.map(|row| folder::path_of_file(db, row)).transpose()?.flatten();
    let ending = photo
        .as_ref()
        .zip(found.from.as_ref())
        .and_then(|(photo, from)| from.as_bytes().strip_prefix(&**photo));
    Ok(ending.and_then(|ending| FilePath::new([&misplaced.path, ending].concat()).ok()))
}

/// Pictures of accounts that are not there, and that an earlier snapshot has.
fn pictures(night: CatalogNight<'_>) -> Result<Vec<WantedPath>> {
    let mut wishes = Vec::new();
    for (_, path) in night.pictures()? {
        if !is_external(&path)
            && night.occupant(&path)?.is_free()
            && let Some(entry) = night.last_at(&path)?
        {
            wishes.push(WantedPath { path, laid: earlier(entry), is_guess: false });
        }
    }
    Ok(wishes)
}

/// The file of this snapshot in `row`.
fn lying(db: &Catalog, row: u64) -> Result<Option<LaidFile>> {
    let (Some(entry), Some(path)) = (entry_of(db, row)?, folder::path_of_file(db, row)?) else {
        return Ok(None);
    };
    Ok(FilePath::new(path).ok().map(|from| LaidFile { entry, from: Some(from) }))
}

/// A file of an earlier snapshot. What it was another name of was then.
fn earlier(mut entry: ListEntry) -> LaidFile {
    if let EntryKind::File(bytes) = &mut entry.kind {
        bytes.link = None;
    }
    LaidFile { entry, from: None }
}

fn content(entry: &ListEntry) -> Option<i64> {
    match &entry.kind {
        EntryKind::File(bytes) => Some(bytes.content),
        EntryKind::Folder(_) | EntryKind::Symlink(_) => None,
    }
}

fn is_external(path: &FilePath) -> bool {
    path.parts().next() == Some(b"external")
}
