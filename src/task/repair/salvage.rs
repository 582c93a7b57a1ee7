//! What is in archives whose index is lost: from where the catalog says that it was, and from the
//! headers of the members.
//!
//! Nothing is taken in that does not verify: a chunk hashes as its member is called, a content as
//! the catalog or a list of files calls it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::archive::salvage::{self, SalvagedMember};
use crate::archive::{read_chunk, verify::verify_content};
use crate::base::stored::{ChunkLine, ChunkPlace, IndexLine};
use crate::base::{ErrorKind, FilePath, Hash, Result};
use crate::catalog::query::check as ask;
use crate::catalog::query::folder;
use crate::catalog::{Catalog, query};
use crate::repo::ArchiveInventory;
use crate::repo::shelf::InventoryEntry;

/// An archive without an index.
#[derive(Debug)]
struct HeadlessArchive {
    number: usize,
    /// Its id in the catalog.
    id: Option<i64>,
    members: Vec<SalvagedMember>,
}

/// The archives without an index.
#[derive(Debug)]
pub(super) struct ArchiveSalvage(Vec<HeadlessArchive>);

impl ArchiveSalvage {
    /// Looks for the members of all archives that need it.
    pub fn of(shelf: &mut ArchiveInventory, catalog: Option<&Catalog>) -> Result<ArchiveSalvage> {
        let ids: BTreeMap<String, i64> = match catalog {
            Some(db) => ask::archives(db)
                .unwrap_or_default()
                .into_iter()
                .map(|row| (row.name, row.id))
                .collect(),
            None => BTreeMap::new(),
        };
        let mut headless = Vec::new();
        for number in 0..shelf.archives().len() {
            let archive = &shelf.archives()[number];
            if is_headless(archive) {
                let id = ids.get(&archive.name).copied();
                let members = unless_damaged(
                    shelf.object(number).and_then(|object| salvage::scan(&*object)),
                )?;
                headless.push(HeadlessArchive { number, id, members: members.unwrap_or_default() });
            }
        }
        Ok(ArchiveSalvage(headless))
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in the chunks: keys first, since patches are read with them.
    pub fn chunks(&self, shelf: &mut ArchiveInventory, catalog: Option<&Catalog>) -> Result<()> {
        let mut patches = Vec::new();
        for archive in &self.0 {
            for line in archive.chunk_lines(shelf, catalog)? {
                if line.keys.is_empty() {
                    take_chunk(shelf, archive.number, line)?
                } else {
                    patches.push((archive.number, line))
                }
            }
        }
        patches.into_iter().try_for_each(|(number, line)| take_chunk(shelf, number, line))
    }

    /// Takes in the contents that are `wanted`, or that the catalog knows.
    pub fn contents(
        &self,
        shelf: &mut ArchiveInventory,
        catalog: Option<&Catalog>,
        wanted: &HashMap<Hash, u64>,
    ) -> Result<()> {
        for archive in &self.0 {
            let mut taken = HashSet::new();
            let known = match (catalog, archive.id) {
                (Some(db), Some(id)) => ask::contents_of(db, id).unwrap_or_default(),
                _ => Vec::new(),
            };
            let object = shelf.object(archive.number)?;
            for (sha1, place) in known {
                let line = match salvage::content_at(&*object, sha1, &place) {
                    Some(line) => line,
                    None => salvage::content_line(sha1, &place, path_of(catalog, place.hash)?, 0),
                };
                if unless_damaged(verify_content(&*object, &line, &mut |_| true))?.is_some() {
                    taken.insert(line.offset);
                    shelf.add_found(archive.number, IndexLine::Content(line));
                }
            }
            for member in archive.members.iter().filter(|member| !taken.contains(&member.offset)) {
                let found = salvage::content(&*object, member, &|hash| wanted.contains_key(&hash));
                if let Some(line) = unless_damaged(found)?.flatten() {
                    shelf.add_found(archive.number, IndexLine::Content(line));
                }
            }
        }
        Ok(())
    }
}

impl HeadlessArchive {
    /// The chunks that may be there, by offset.
    fn chunk_lines(
        &self,
        shelf: &mut ArchiveInventory,
        catalog: Option<&Catalog>,
    ) -> Result<Vec<ChunkLine>> {
        let mut lines = BTreeMap::new();
        if let (Some(db), Some(id)) = (catalog, self.id) {
            for hash in ask::chunks_of(db, id).unwrap_or_default() {
                let Ok(row) = query::chunk(db, hash) else { continue };
                let ChunkPlace { hash, size, offset, stored } = row.place;
                lines.insert(
                    offset,
                    ChunkLine { chunk: hash, size, offset, stored, keys: row.keys },
                );
            }
        }
        let object = shelf.object(self.number)?;
        for member in &self.members {
            if let Some(line) = unless_damaged(salvage::chunk(&*object, member))?.flatten() {
                lines.entry(line.offset).or_insert(line);
            }
        }
        Ok(lines.into_values().collect())
    }
}

/// Takes in a chunk if it verifies.
fn take_chunk(shelf: &mut ArchiveInventory, number: usize, line: ChunkLine) -> Result<()> {
    let Some(prefix) = unless_damaged(shelf.prefix(&line.keys))? else { return Ok(()) };
    let object = shelf.object(number)?;
    if unless_damaged(read_chunk(&*object, &ChunkPlace::from(&line), &prefix))?.is_some() {
        shelf.add_found(number, IndexLine::Chunk(line));
    }
    Ok(())
}

/// A path that shows the content called `hash`.
fn path_of(catalog: Option<&Catalog>, hash: Hash) -> Result<FilePath> {
    let named = || -> Option<FilePath> {
        let db = catalog?;
        let id = query::content_id(db, hash).ok()??;
        let file = ask::files_of(db, id).ok()?.into_iter().next()?;
        FilePath::new(folder::path_in(db, file.folder, &file.name).ok()?).ok()
    };
    named().map_or_else(|| FilePath::new(format!("found/{hash}")), Ok)
}

/// `None` for bytes that are not what was written. What the disk does not give just now may be
/// whole: that is an error.
fn unless_damaged<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(None),
        Err(error) => {
            Err(error
                .hint("look at the disk and its cable, then run it again: nothing was changed"))
        }
    }
}

/// True when the index is not what was written; one that the disk does not give just now may be.
pub(super) fn is_headless(archive: &InventoryEntry) -> bool {
    !archive.retired
        && archive.index.as_ref().is_err_and(|error| error.kind() == ErrorKind::Damaged)
}
