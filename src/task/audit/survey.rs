//! The comparison itself: three passes over the catalog, and what is left of them.
//!
//! What a simple comparison gets wrong is told apart here: checksums of paths (the catalog has none
//! of them), names in another normalization, external libraries, generated files, litter, and what
//! came while the backup ran.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use super::finding::{AuditAside, AuditClass};
use crate::base::library::{Asset, ExternalLibrary, LibraryRecord, User, Visibility};
use crate::base::{Error, Result, Sha1};
use crate::catalog::night::{DiskFile, SuspectAsset};
use crate::catalog::query::audit::{self as ask, ShownVersion};
use crate::catalog::query::{folder, search};
use crate::catalog::{Catalog, CatalogNight, ImmichId};

/// A thing that was found, not named yet.
#[derive(Debug)]
pub(super) enum UnnamedFinding {
    Asset(AuditClass, SuspectAsset),
    /// The row of an asset, for what is told of the asset and not of its file.
    Row(AuditClass, u64),
    File(DiskFile, Vec<u8>),
    Library(ExternalLibrary, u64),
}

impl UnnamedFinding {
    pub fn class(&self) -> AuditClass {
        match self {
            UnnamedFinding::Asset(class, _) | UnnamedFinding::Row(class, _) => *class,
            UnnamedFinding::File(..) => AuditClass::NoRow,
            UnnamedFinding::Library(..) => AuditClass::NotCovered,
        }
    }

    pub fn count(&self) -> u64 {
        match self {
            UnnamedFinding::Library(_, count) => *count,
            _ => 1,
        }
    }
}

/// All that is found in one snapshot.
#[derive(Debug)]
pub(super) struct AuditSurvey<'a> {
    pub db: &'a Catalog,
    pub at: i64,
    pub users: Vec<User>,
    libraries: Vec<(ExternalLibrary, u64)>,
    /// Folders of external libraries that are in the snapshot, as the file list shows them.
    covered: Vec<Vec<u8>>,
    /// The oldest snapshot has all its files new.
    is_first: bool,
    folders: HashMap<i64, Vec<u8>>,
    pub found: Vec<UnnamedFinding>,
    pub aside: AuditAside,
}

/// Compares what the snapshot at `at` has.
pub(super) fn survey(db: &Catalog, at: i64) -> Result<AuditSurvey<'_>> {
    let night = db.night(at);
    let mut survey = AuditSurvey {
        db,
        at,
        users: night.user_records()?.iter().map(|line| user(line)).collect::<Result<_>>()?,
        libraries: night
            .external_libraries()?
            .iter()
            .map(|line| Ok((library(line)?, 0)))
            .collect::<Result<_>>()?,
        covered: Vec::new(),
        is_first: ask::oldest(db)? == Some(at),
        folders: HashMap::new(),
        found: Vec::new(),
        aside: AuditAside::default(),
    };
    survey.covered = survey.covered_roots()?;
    survey.assets()?;
    survey.sidecars()?;
    survey.files()?;
    let left_out =
        std::mem::take(&mut survey.libraries).into_iter().filter(|(_, count)| *count > 0);
    survey.found.extend(left_out.map(|(library, count)| UnnamedFinding::Library(library, count)));
    Ok(survey)
}

impl<'a> AuditSurvey<'a> {
    fn assets(&mut self) -> Result<()> {
        let night = self.db.night(self.at);
        night.suspects(|suspect| self.asset(suspect))?;
        self.found.extend(
            night
                .without_live_row()?
                .into_iter()
                .map(|row| UnnamedFinding::Row(AuditClass::NoLiveVideo, row)),
        );
        Ok(())
    }

    fn asset(&mut self, suspect: SuspectAsset) -> Result<()> {
        let class = match suspect.file {
            None => self.absent(&suspect)?,
            Some((file, true)) => self.elsewhere(&suspect, file)?,
            Some((file, false)) => self.differs(&suspect, file)?,
        };
        self.found.extend(class.map(|class| UnnamedFinding::Asset(class, suspect)));
        Ok(())
    }

    fn absent(&mut self, suspect: &SuspectAsset) -> Result<Option<AuditClass>> {
        if let Some(path) = suspect.path.as_deref().filter(|path| path.starts_with(b"external/")) {
            if !self.covered.iter().any(|root| lies_in(path, root)) {
                self.not_covered(path, &suspect.owner);
                return Ok(None);
            }
            if asset(self.db, suspect.row)?.offline {
                self.aside.offline += 1;
                return Ok(None);
            }
        }
        if suspect.path.is_none() && asset(self.db, suspect.row)?.library.is_some() {
            self.not_covered(&[], &suspect.owner);
            return Ok(None);
        }
        let is_half = suspect.visibility == Visibility::Hidden
            && self.night().still_of(&suspect.id)?.is_some();
        Ok(Some(if is_half { AuditClass::NoLiveVideo } else { AuditClass::NoFile }))
    }

    /// Counts a photo to the library that it belongs to: by its folder, which says it without
    /// reading the whole record.
    fn not_covered(&mut self, path: &[u8], owner: &[u8; 16]) {
        let fits = |library: &ExternalLibrary| {
            library.roots.iter().any(|root| lies_in(path, &shown(root)))
        };
        let own = |library: &ExternalLibrary| library.owner.as_bytes() == owner;
        let at = self.libraries.iter().position(|(library, _)| fits(library) && own(library));
        let at = at.or_else(|| self.libraries.iter().position(|(library, _)| own(library)));
        let at = at.unwrap_or_else(|| {
            let owner = Uuid::from_bytes(*owner);
            let unknown = ExternalLibrary {
                id: Uuid::nil(),
                owner,
                name: String::new(),
                roots: Vec::new(),
                deleted: None,
            };
            self.libraries.push((unknown, 0));
            self.libraries.len() - 1
        });
        self.libraries[at].1 += 1;
    }

    fn elsewhere(&mut self, suspect: &SuspectAsset, file: u64) -> Result<Option<AuditClass>> {
        let Some(path) = &suspect.path else {
            self.aside.unmapped += 1;
            return Ok(None);
        };
        let found = self.path_of(file)?;
        if is_same_name(path, &found) {
            return Ok(None);
        }
        Ok(Some(AuditClass::Elsewhere))
    }

    fn differs(&self, suspect: &SuspectAsset, file: u64) -> Result<Option<AuditClass>> {
        let (Some(sha1), Some((size, mtime, _))) =
            (suspect.sha1, ask::size_and_time(self.db, file)?)
        else {
            return Ok(None);
        };
        let right = right_version(self.db, &suspect.id, self.at, &sha1)?;
        Ok(Some(match right {
            Some(right) if (right.size, right.mtime) == (size, mtime) => AuditClass::Rotten,
            Some(_) => AuditClass::Edited,
            None if self.night().kept_bytes(&suspect.id)?.is_some() => AuditClass::Edited,
            None => AuditClass::Differs,
        }))
    }

    fn sidecars(&mut self) -> Result<()> {
        for row in self.night().without_sidecar()? {
            let path = asset(self.db, row)?.sidecar;
            let path = path.as_ref().map(|path| path.as_bytes()).unwrap_or_default();
            if !path.starts_with(b"external/")
                || self.covered.iter().any(|root| lies_in(path, root))
            {
                self.found.push(UnnamedFinding::Row(AuditClass::NoSidecar, row));
            }
        }
        Ok(())
    }

    fn files(&mut self) -> Result<()> {
        let night = self.db.night(self.at);
        let mut claimed =
            vec![0_u64; usize::try_from(ask::last_file(self.db)? / 64 + 1).unwrap_or(usize::MAX)];
        night.claimed_files(|row| {
            if let Some(word) = claimed.get_mut((row / 64) as usize) {
                *word |= 1 << (row % 64);
            }
        })?;
        let is_free = |row: u64| {
            claimed.get((row / 64) as usize).is_none_or(|word| word & (1 << (row % 64)) == 0)
        };
        let pictures: HashSet<Vec<u8>> = self
            .users
            .iter()
            .filter_map(|user| Some(user.picture.as_ref()?.as_bytes().to_vec()))
            .collect();
        night.all_files(is_free, |file| {
            let path = self.path(file.folder, &file.name)?;
            self.file(file, path, &pictures);
            Ok(())
        })
    }

    fn file(&mut self, file: DiskFile, path: Vec<u8>, pictures: &HashSet<Vec<u8>>) {
        let is_new = file.since == self.at && !self.is_first
            || file.mtime >= self.at.saturating_mul(1_000_000_000);
        match path.split(|&byte| byte == b'/').next() {
            _ if is_litter(&path) => self.aside.litter += 1,
            Some(b"thumbs" | b"backups") => self.aside.generated += 1,
            Some(b"encoded-video") if !file.name.ends_with(b"-MP.mp4") => self.aside.generated += 1,
            Some(b"external") => self.aside.external += 1,
            Some(b"profile") if pictures.contains(&path) => {}
            _ if is_new => self.aside.new_files += 1,
            _ => self.found.push(UnnamedFinding::File(file, path)),
        }
    }

    /// The import folders whose own folder the snapshot shows.
    fn covered_roots(&self) -> Result<Vec<Vec<u8>>> {
        let record = crate::repo::record_of(self.db, self.at)?;
        let mut covered: Vec<Vec<u8>> =
            record.external.iter().map(|root| root.as_bytes().to_vec()).collect();
        for root in
            self.libraries.iter().flat_map(|(library, _)| &library.roots).map(|root| shown(root))
        {
            if self.is_folder(&root)? {
                covered.push(root);
            }
        }
        Ok(covered)
    }

    fn is_folder(&self, path: &[u8]) -> Result<bool> {
        let found = self.night().file_at(path.split(|&byte| byte == b'/'))?;
        Ok(found.is_some_and(|file| file.child.is_some()))
    }

    fn night(&self) -> CatalogNight<'a> {
        self.db.night(self.at)
    }

    /// The path of the file in `row`.
    pub fn path_of(&mut self, row: u64) -> Result<Vec<u8>> {
        let (folder, name) = folder::place_of_file(self.db, row)?
            .ok_or_else(|| Error::damaged("a file of the catalog"))?;
        self.path(folder, &name)
    }

    fn path(&mut self, folder: i64, name: &[u8]) -> Result<Vec<u8>> {
        let above = match self.folders.entry(folder) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(folder::path_of(self.db, folder)?),
        };
        Ok(folder::join(above.clone(), name))
    }
}

/// The newest version of an asset at its path that has the bytes which Immich recorded.
pub(super) fn right_version(
    db: &Catalog,
    asset: &ImmichId,
    at: i64,
    sha1: &Sha1,
) -> Result<Option<ShownVersion>> {
    Ok(ask::versions(db, asset, at)?.into_iter().find(|version| version.sha1 == *sha1))
}

/// The record of the asset in `row`.
pub(super) fn asset(db: &Catalog, row: u64) -> Result<Asset> {
    match search::line(db, row)?.map(|line| serde_json::from_str(&line)) {
        Some(Ok(LibraryRecord::Asset(asset))) => Ok(*asset),
        _ => Err(Error::damaged("an asset of the catalog")),
    }
}

fn user(line: &str) -> Result<User> {
    serde_json::from_str(line)
        .map_err(|error| Error::damaged("a user of the catalog").caused_by(error))
}

fn library(line: &str) -> Result<ExternalLibrary> {
    serde_json::from_str(line)
        .map_err(|error| Error::damaged("a library of the catalog").caused_by(error))
}

/// Where the file list shows the import folder `root`.
fn shown(root: &str) -> Vec<u8> {
    format!("external/{}", root.trim_matches('/')).into_bytes()
}

fn lies_in(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// True when two paths differ by nothing that people or file systems tell apart: only in how
/// letters are composed.
fn is_same_name(a: &[u8], b: &[u8]) -> bool {
    match (std::str::from_utf8(a), std::str::from_utf8(b)) {
        (Ok(a), Ok(b)) => a.nfc().eq(b.nfc()),
        _ => a == b,
    }
}

/// Immich's markers, what desktops and file systems leave, and uploads and copies that are not
/// finished.
fn is_litter(path: &[u8]) -> bool {
    let names = path.split(|&byte| byte == b'/');
    let (depth, name) = (names.clone().count(), names.clone().next_back().unwrap_or_default());
    let begins = |with: &[u8]| name.starts_with(with);
    let ends = |with: &[u8]| name.ends_with(with);
    let folders: [&[u8]; 6] =
        [b"@eaDir", b"#recycle", b".stfolder", b".stversions", b".@__thumb", b"lost+found"];
    depth == 2 && name == b".immich"
        || names.into_iter().any(|part| folders.contains(&part) || part.starts_with(b".Trash-"))
        || [
            &b".fuse_hidden"[..],
            b".nfs",
            b"._",
            b".syncthing.",
            b"~syncthing~",
            b".smbdelete",
            b".goutputstream-",
        ]
        .into_iter()
        .any(begins)
        || [&b".tmp"[..], b".part", b".partial", b".crdownload"].into_iter().any(ends)
        || matches!(
            name,
            b".DS_Store" | b"Thumbs.db" | b"desktop.ini" | b".hidden" | b".directory" | b".nomedia"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litter_is_told_from_photos() {
        for path in [
            "upload/.immich",
            "upload/u/aa/.fuse_hidden0000000a00000001",
            "library/ann/2024/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
            "library/ann/.DS_Store",
            "library/ann/._IMG_1.jpg",
            "upload/u/aa/bb/x.jpg.part",
        ] {
            assert!(is_litter(path.as_bytes()), "{path}");
        }
        for path in [
            "upload/u/aa/.immich",
            "library/ann/party.jpg",
            "library/ann/Thumbs.db.jpg",
            "upload/u/tmp.jpg",
        ] {
            assert!(!is_litter(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_name_in_another_normalization_is_the_same_name() {
        assert!(is_same_name(
            "library/ann/Zu\u{308}rich.jpg".as_bytes(),
            "library/ann/Z\u{fc}rich.jpg".as_bytes()
        ));
        assert!(!is_same_name(b"library/ann/a.JPG", b"library/ann/a.jpg"));
    }
}
