//! What is to be done: each thing that a check finds, with the place where the right bytes are.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::record::FoundRecord;
use super::salvage::{ArchiveSalvage, is_headless};
use super::{RepairRemedy, RepairStep, origin, record};
use crate::archive::{frame, hasher};
use crate::base::stored::{ChunkLine, IndexLine};
use crate::base::{Error, FilePath, Hash, Monitor, Result, SnapshotId};
use crate::catalog::Catalog;
use crate::catalog::CatalogNight;
use crate::catalog::query::check as ask;
use crate::repo::shelf::{ArchiveSpot, hash_of};
use crate::repo::{ArchiveInventory, Repository, SnapshotRecord, StreamInfo};
use crate::source::LibraryPlaces;
use crate::task::check::{
    CheckExtent, CheckFinding, CheckReading, DamagedBytes, DamagedMember, RepositorySurvey,
    SnapshotPart, name, read,
};

/// The file that says what a repository is.
const DESCRIPTION: &str = "shoebox.json";

/// A list of a snapshot, as the catalog remembers it.
type RememberedList<'a> = fn(CatalogNight<'a>) -> Result<Vec<u8>>;

/// What a repair will do, in the order in which it does it.
#[derive(Debug)]
pub(super) struct RepairPlan {
    pub steps: Vec<RepairStep>,
    pub survey: RepositorySurvey,
    pub reading: CheckReading,
    pub has_description: bool,
    /// There is a catalog that can be believed.
    pub has_catalog: bool,
    /// Records that are written again.
    pub records: BTreeMap<SnapshotId, FoundRecord>,
    /// Where the bytes of contents and chunks come from that no archive holds whole that stays.
    pub origins: HashMap<Hash, ByteOrigin>,
    /// Where the files are that `origins` names.
    pub upload_location: Option<Arc<LibraryPlaces>>,
    /// Archives that are set aside when all that is whole in them is in others.
    pub replaced: BTreeSet<usize>,
}

/// Where right bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ByteOrigin {
    /// In an archive.
    Copy(ArchiveSpot),
    /// In UPLOAD_LOCATION.
    File(FilePath),
    /// A piece of a list that the catalog remembers: one zstd frame, and its plain bytes.
    Made(Vec<u8>, u64),
}

impl RepairPlan {
    /// Reads everything; `wrong` is what is wrong with the repository's description.
    pub fn of(
        repository: &Repository,
        wrong: Option<Error>,
        upload_location: Option<&Path>,
        monitor: &dyn Monitor,
    ) -> Result<RepairPlan> {
        let catalog = sound_catalog(repository);
        let mut shelf = ArchiveInventory::open(repository)?;
        let salvage = ArchiveSalvage::of(&mut shelf, catalog.as_ref())?;
        salvage.chunks(&mut shelf, catalog.as_ref())?;
        let records = record::found(repository, &shelf, catalog.as_ref())?;
        let known = records.iter().map(|(id, (record, _))| (*id, record.clone())).collect();
        let mut survey = RepositorySurvey::with(repository, shelf, &known, monitor)?;
        if !salvage.is_empty() {
            salvage.contents(&mut survey.shelf, catalog.as_ref(), &survey.contents)?;
            survey = RepositorySurvey::with(repository, survey.shelf, &known, monitor)?;
        }
        let reading = read(&mut survey, CheckExtent::All, &HashMap::new(), monitor)?;
        let mut findings = name(&mut survey, &reading)?;
        findings.extend(
            wrong.as_ref().map(|error| CheckFinding::Other {
                file: DESCRIPTION.into(),
                message: error.chain(),
            }),
        );
        let mut plan = RepairPlan {
            steps: Vec::new(),
            survey,
            reading,
            has_description: wrong.is_none(),
            has_catalog: catalog.is_some(),
            records,
            origins: HashMap::new(),
            upload_location: upload_location.map(origin::open).transpose()?,
            replaced: BTreeSet::new(),
        };
        plan.find_origins(monitor)?;
        if let Some(db) = &catalog {
            plan.remember_lists(db);
        }
        plan.choose_replaced()?;
        for finding in findings {
            let remedy = plan.remedy(&finding)?;
            plan.steps.push(RepairStep { finding, remedy });
        }
        Ok(plan)
    }

    /// The records as they will be.
    pub fn new_records(&self) -> impl Iterator<Item = &SnapshotRecord> {
        self.records.values().map(|(record, _)| record)
    }

    // Where bytes are
    // -----------------------------------------------------------------------------------------

    /// Finds, for everything that a snapshot needs and that is damaged or lost, where it is whole.
    fn find_origins(&mut self, monitor: &dyn Monitor) -> Result<()> {
        let mut wanted = HashMap::new();
        for hash in self.needed_contents() {
            match self
                .survey
                .shelf
                .sound_content(hash, &|spot| self.reading.bad.contains_key(&spot))?
            {
                Some((spot, _)) => drop(self.origins.insert(hash, ByteOrigin::Copy(spot))),
                None => {
                    wanted.insert(hash, self.survey.contents.get(&hash).copied().unwrap_or(0));
                }
            }
        }
        for hash in self.needed_chunks() {
            if let Some(spot) = self.sound_chunk(hash, false)? {
                self.origins.insert(hash, ByteOrigin::Copy(spot));
            }
        }
        if let Some(places) = self.upload_location.as_ref().filter(|_| !wanted.is_empty()) {
            let found = origin::search(places, &wanted, monitor)?;
            self.origins
                .extend(found.into_iter().map(|(hash, path)| (hash, ByteOrigin::File(path))));
        }
        Ok(())
    }

    /// Finds pieces of lists that no archive holds whole in what the catalog remembers of these
    /// lists.
    fn remember_lists(&mut self, db: &Catalog) {
        let mut lost = self.needed_chunks();
        lost.retain(|hash| !self.origins.contains_key(hash));
        for record in &self.survey.records {
            let time = record.id.seconds();
            let lists: [(&StreamInfo, RememberedList<'_>); 2] = [
                (&record.streams.files, CatalogNight::file_list),
                (&record.streams.library, CatalogNight::library_list),
            ];
            for (stream, listed) in lists {
                if !stream.chunks.iter().any(|chunk| lost.contains(&chunk.hash)) {
                    continue;
                }
                // A catalog that makes no sense remembers nothing.
                let bytes = listed(db.night(time)).unwrap_or_default();
                let mut at = 0_usize;
                for chunk in &stream.chunks {
                    let end = usize::try_from(chunk.size)
                        .ok()
                        .and_then(|size| at.checked_add(size))
                        .unwrap_or(usize::MAX);
                    let Some(plain) = bytes.get(at..end) else { break };
                    if lost.contains(&chunk.hash)
                        && hasher::hash(plain) == chunk.hash
                        && let Ok(frame) = frame::compress(plain)
                    {
                        lost.remove(&chunk.hash);
                        self.origins.insert(chunk.hash, ByteOrigin::Made(frame, chunk.size));
                    }
                    at = end;
                }
            }
        }
    }

    /// Contents that a snapshot shows, of which a copy is damaged, or none is left.
    fn needed_contents(&self) -> BTreeSet<Hash> {
        let bad = self.reading.bad.values().filter_map(|damaged| match damaged {
            DamagedMember::Content(line) => Some(line.content),
            DamagedMember::Chunk(_) => None,
        });
        let shown = bad.filter(|hash| self.survey.contents.contains_key(hash));
        shown.chain(self.survey.lost.iter().copied()).collect()
    }

    /// Chunks that a snapshot needs, of which a copy is damaged, or none is left.
    fn needed_chunks(&self) -> BTreeSet<Hash> {
        let bad = self.reading.bad.values().filter_map(|damaged| match damaged {
            DamagedMember::Chunk(line) => Some(line.chunk),
            DamagedMember::Content(_) => None,
        });
        let used = bad.filter(|hash| !self.survey.users_of(*hash).is_empty());
        let in_streams =
            self.survey.records.iter().flat_map(|record| record.chunks().map(|chunk| chunk.hash));
        let lost = in_streams.filter(|hash| !self.survey.shelf.has_chunk(*hash));
        used.chain(lost).chain(self.survey.lost_chunks.iter().copied()).collect()
    }

    /// The first copy of the chunk called `hash` that verifies; with `as_key`, one that is no
    /// patch.
    pub fn sound_chunk(&mut self, hash: Hash, as_key: bool) -> Result<Option<ArchiveSpot>> {
        for spot in self.survey.shelf.copies(hash) {
            if self.reading.bad.contains_key(&spot)
                || as_key && !self.survey.shelf.keys(spot).is_empty()
            {
                continue;
            }
            let IndexLine::Chunk(line) = self.survey.shelf.line(spot)? else { continue };
            match self.survey.shelf.chunk_at(spot, &line) {
                Ok(_) => return Ok(Some(spot)),
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// True when an archive that stays holds `line` whole, and readers take it from there rather
    /// than from the archive `than`: it is newer.
    pub fn stands(&self, line: &IndexLine, than: Option<usize>) -> bool {
        let is_key = matches!(line, IndexLine::Chunk(ChunkLine { keys, .. }) if keys.is_empty());
        let shelf = &self.survey.shelf;
        shelf.live_copies(hash_of(line)).any(|spot| {
            !self.replaced.contains(&spot.archive)
                && shelf.archives()[spot.archive].index.is_ok()
                && !self.reading.bad.contains_key(&spot)
                && than.is_none_or(|than| spot.archive > than)
                && (!is_key || shelf.keys(spot).is_empty())
        })
    }

    // Archives
    // ---------------------------------------------------------------------------------------------

    /// Those that have a flaw, and of which nothing that is needed stays lost.
    fn choose_replaced(&mut self) -> Result<()> {
        let archives = self.survey.shelf.archives();
        let headless = (0..archives.len()).filter(|at| is_headless(&archives[*at]));
        let mut replaced: BTreeSet<usize> = headless.collect();
        let numbers = self.reading.flawed.iter().filter_map(|name| self.survey.shelf.number(name));
        let flawed: BTreeSet<usize> = numbers.chain(self.survey.others.iter().copied()).collect();
        replaced.extend(flawed.into_iter().filter(|at| self.is_repaired(*at)));
        self.replaced = replaced;
        Ok(())
    }

    /// True when all that is damaged in the archive is to be had elsewhere, or needed by nobody.
    fn is_repaired(&self, archive: usize) -> bool {
        let nobody_knows = self.survey.unreadable.iter().any(|id| !self.records.contains_key(id));
        let damaged = self.reading.bad.iter().filter(|(spot, _)| spot.archive == archive);
        damaged.into_iter().all(|(_, damaged)| {
            let (hash, is_needed) = match damaged {
                DamagedMember::Content(line) => {
                    (line.content, self.survey.contents.contains_key(&line.content))
                }
                DamagedMember::Chunk(line) => {
                    (line.chunk, !self.survey.users_of(line.chunk).is_empty())
                }
            };
            self.origins.contains_key(&hash) || !is_needed && !nobody_knows
        })
    }

    fn archive_name(&self, number: usize) -> &str {
        &self.survey.shelf.archives()[number].name
    }

    // Remedies
    // ---------------------------------------------------------------------------------------------

    fn remedy(&mut self, finding: &CheckFinding) -> Result<RepairRemedy> {
        Ok(match finding {
            CheckFinding::Photo(photo) => self.for_bytes(&photo.bytes),
            CheckFinding::File(file) => self.for_bytes(&file.bytes),
            CheckFinding::Snapshot { snapshot, part: SnapshotPart::Record, .. } => {
                self.for_record(*snapshot)
            }
            CheckFinding::Snapshot { snapshot, part, .. } => self.for_part(*snapshot, *part),
            CheckFinding::Archive { archive, .. } => self.for_archive(archive)?,
            CheckFinding::Catalog { .. } => {
                RepairRemedy::Repair("it is rebuilt from the archives".into())
            }
            CheckFinding::Other { file, .. } if file.starts_with("notes/") => {
                RepairRemedy::Repair("it is moved to damaged/".into())
            }
            CheckFinding::Other { .. } => RepairRemedy::Repair("it is written again".into()),
        })
    }

    fn for_bytes(&self, bytes: &DamagedBytes) -> RepairRemedy {
        match self.origins.get(&bytes.blake3) {
            Some(ByteOrigin::File(path)) => {
                RepairRemedy::Repair(format!("it is stored again from {path} in UPLOAD_LOCATION"))
            }
            Some(ByteOrigin::Copy(spot)) => {
                let (name, number) = (self.archive_name(spot.archive), bytes.archive.as_deref());
                let stays = number
                    .and_then(|name| self.survey.shelf.number(name))
                    .is_some_and(|at| !self.replaced.contains(&at));
                if stays && self.is_read_from(*spot, number) {
                    RepairRemedy::Leave(format!(
                        "it is read from {name}; the damaged archive stays, since more is lost in \
                            it"
                    ))
                } else {
                    RepairRemedy::Repair(format!("it is whole in {name}"))
                }
            }
            Some(ByteOrigin::Made(..)) => RepairRemedy::Repair("the catalog remembers it".into()),
            None if self.upload_location.is_some() => RepairRemedy::Leave(
                "no archive and no file in UPLOAD_LOCATION has these bytes".into(),
            ),
            None => RepairRemedy::Leave(
                "no archive has these bytes; --upload-location FOLDER reads the original there"
                    .into(),
            ),
        }
    }

    /// True when readers take the bytes from the copy at `spot`, and not from the archive called
    /// `damaged`.
    fn is_read_from(&self, spot: ArchiveSpot, damaged: Option<&str>) -> bool {
        let archive = &self.survey.shelf.archives()[spot.archive];
        !archive.retired && archive.index.is_ok() && Some(archive.name.as_str()) > damaged
    }

    fn for_record(&self, id: SnapshotId) -> RepairRemedy {
        match self.records.get(&id) {
            Some((_, place)) => RepairRemedy::Repair(format!(
                "it is written again as {place} has it, and all that it names is there"
            )),
            None if self.survey.unreadable.contains(&id) => {
                RepairRemedy::Leave("nothing else has it whole".into())
            }
            None => RepairRemedy::Leave("no other copy of it exists".into()),
        }
    }

    /// Each chunk of the part that is not whole has to be elsewhere.
    fn for_part(&self, id: SnapshotId, part: SnapshotPart) -> RepairRemedy {
        let needed = self.needed_chunks();
        let Some(record) = self.survey.records.iter().find(|record| record.id == id) else {
            return RepairRemedy::Leave("its record cannot be read".into());
        };
        let stream = match part {
            SnapshotPart::Files => &record.streams.files,
            SnapshotPart::Library => &record.streams.library,
            SnapshotPart::Dump | SnapshotPart::Record => &record.streams.dump,
        };
        let is_made = |hash: &Hash| matches!(self.origins.get(hash), Some(ByteOrigin::Made(..)));
        let keys = |hash: Hash| {
            self.survey
                .shelf
                .copies(hash)
                .into_iter()
                .flat_map(|spot| self.survey.shelf.keys(spot).to_vec())
        };
        let of_one =
            |hash: Hash| keys(hash).filter(|_| !is_made(&hash)).chain([hash]).collect::<Vec<_>>();
        let all: HashSet<Hash> =
            stream.chunks.iter().flat_map(|chunk| of_one(chunk.hash)).collect();
        let damaged: Vec<&Hash> = all.iter().filter(|hash| needed.contains(hash)).collect();
        if damaged.is_empty() {
            RepairRemedy::Leave("its record is wrong in itself".into())
        } else if !damaged.iter().all(|hash| self.origins.contains_key(hash)) {
            RepairRemedy::Leave("no archive has these pieces".into())
        } else if damaged.into_iter().any(is_made) {
            RepairRemedy::Repair("the catalog remembers it, byte for byte".into())
        } else {
            RepairRemedy::Repair("its pieces are whole in another archive".into())
        }
    }

    fn for_archive(&mut self, name: &str) -> Result<RepairRemedy> {
        let Some(number) = self.survey.shelf.number(name) else {
            return Ok(RepairRemedy::Leave("it is gone".into()));
        };
        if self.survey.shelf.archives()[number].index.is_err() && !self.replaced.contains(&number) {
            return Ok(RepairRemedy::Leave(
                "the disk does not give it: look at the disk and its cable".into(),
            ));
        }
        if !self.replaced.contains(&number) {
            return Ok(RepairRemedy::Leave(
                "it stays as it is: something in it is damaged of which there is no copy".into(),
            ));
        }
        let bad = self.reading.bad.keys().filter(|spot| spot.archive == number).count();
        let whole = self.survey.shelf.lines(number)?.len().saturating_sub(bad);
        Ok(RepairRemedy::Repair(match whole {
            0 => "nothing in it is whole; it is moved to damaged/".to_owned(),
            1 => {
                "what is whole in it (one thing) is stored in a new archive; the old one is moved \
                to damaged/"
                    .to_owned()
            }
            _ => format!(
                "what is whole in it ({whole} things) is stored in a new archive; the old one is \
                    moved to damaged/"
            ),
        }))
    }
}

/// The catalog, if it is this repository's, as it was published, and SQLite finds nothing wrong
/// with it.
fn sound_catalog(repository: &Repository) -> Option<Catalog> {
    let generation = repository.catalog().ok()?;
    generation.verify().ok()?;
    let db = generation.connect().ok()?;
    let id = crate::catalog::query::meta(&db, "repository").ok()??;
    let is_whole = ask::integrity(&db).is_ok_and(|said| said.is_none());
    (id == repository.id().to_string() && is_whole).then_some(db)
}
