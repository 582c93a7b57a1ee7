//! The structure of a repository: what its files say of each other, without reading photos.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::finding::{CheckFinding, SnapshotPart};
use crate::base::file::FileEntry;
use crate::base::library::LibraryRecord;
use crate::base::stored::IndexLine;
use crate::base::{Error, ErrorKind, Hash, Monitor, Result, Sha1, SnapshotId};
use crate::catalog::query::check as ask;
use crate::catalog::query::list::{self, ListSum};
use crate::catalog::{Catalog, query};
use crate::repo::shelf::ArchiveSpot;
use crate::repo::{ArchiveInventory, Repository, SnapshotRecord, StreamInfo};

/// Complaints of one kind that are told one by one.
const TOLD: usize = 3;

/// The archives that hold a content or chunk: one of them must be whole.
type HolderArchives = Vec<usize>;

/// What a line of the library list says of bytes.
#[derive(serde::Deserialize)]
struct NamedBytes {
    #[serde(default)]
    sha1: Option<Sha1>,
}

/// What a repository is made of, and what is wrong with that.
#[derive(Debug)]
pub(in crate::task) struct RepositorySurvey {
    pub repository: Repository,
    pub shelf: ArchiveInventory,
    /// Those that can be read, oldest first.
    pub records: Vec<SnapshotRecord>,
    /// Snapshots whose record cannot be read.
    pub unreadable: Vec<SnapshotId>,
    /// To ask for names; `None` when it cannot be believed.
    pub catalog: Option<Catalog>,
    /// The catalog has to be rebuilt, or brought up to date.
    pub is_catalog_bad: bool,
    /// Archives that are not those that their snapshots wrote.
    pub others: BTreeSet<usize>,
    /// Contents that snapshots show, or that their dumps name by SHA-1, with their sizes.
    pub contents: HashMap<Hash, u64>,
    /// Of these, the ones that no archive holds.
    pub lost: BTreeSet<Hash>,
    /// Chunks that no archive holds, or whose keys no archive holds, or that cannot be read.
    pub lost_chunks: BTreeSet<Hash>,
    /// What each snapshot that is whole so far needs.
    needs: BTreeMap<SnapshotId, HashSet<HolderArchives>>,
    pub findings: Vec<CheckFinding>,
}

/// What a chunk of a list says.
#[derive(Debug, Default)]
struct ListedChunk {
    /// Who holds the contents that it names.
    holders: HashSet<HolderArchives>,
    /// What its lines amount to; `None` when not all of them are understood.
    amount: Option<ListSum>,
}

impl RepositorySurvey {
    /// Looks at everything but photos.
    pub fn of(repository: &Repository, monitor: &dyn Monitor) -> Result<RepositorySurvey> {
        RepositorySurvey::with(
            repository,
            ArchiveInventory::open(repository)?,
            &BTreeMap::new(),
            monitor,
        )
    }

    /// Looks at everything but photos; `records` holds those that are right where the repository's
    /// own are not.
    pub fn with(
        repository: &Repository,
        shelf: ArchiveInventory,
        records: &BTreeMap<SnapshotId, SnapshotRecord>,
        monitor: &dyn Monitor,
    ) -> Result<RepositorySurvey> {
        let mut survey = RepositorySurvey {
            repository: repository.clone(),
            shelf,
            records: Vec::new(),
            unreadable: Vec::new(),
            catalog: None,
            is_catalog_bad: false,
            others: BTreeSet::new(),
            contents: HashMap::new(),
            lost: BTreeSet::new(),
            lost_chunks: BTreeSet::new(),
            needs: BTreeMap::new(),
            findings: Vec::new(),
        };
        survey.read_records(records)?;
        survey.look_at_archives();
        survey.look_at_catalog()?;
        survey.look_at_notes()?;
        let mut lists = HashMap::new();
        for at in 0..survey.records.len() {
            if monitor.stopped() {
                return Err(survey.stopped(at));
            }
            survey.look_at_streams(at, &mut lists)?;
        }
        survey.compare_lists(&lists)?;
        Ok(survey)
    }

    /// That it was stopped when so many snapshots had been looked at: of the others nobody knows
    /// anything.
    fn stopped(&self, looked_at: usize) -> Error {
        let found = super::so_far(self.findings.len());
        let all = self.records.len();
        Error::new(
            ErrorKind::Interrupted,
            format_args!("stopped: {looked_at} of {all} snapshots looked at, {found}"),
        )
        .hint("run it again: it starts from the beginning")
    }

    /// The rows of a sound catalog against the lists: what a reader is shown against what was
    /// stored.
    fn compare_lists(&mut self, lists: &HashMap<Hash, Option<ListedChunk>>) -> Result<()> {
        let Some(db) = self.catalog.as_ref().filter(|_| !self.is_catalog_bad) else {
            return Ok(());
        };
        let known: HashSet<SnapshotId> = query::snapshot::ids(db)?.into_iter().collect();
        let records: Vec<&SnapshotRecord> =
            self.records.iter().filter(|record| known.contains(&record.id)).collect();
        let times: Vec<i64> = records.iter().map(|record| record.id.seconds()).collect();
        let mut wrong = Vec::new();
        for (is_library, what) in [(false, "files"), (true, "library")] {
            let shown = list::amounts(db, &times, is_library)?;
            for (record, shown) in records.iter().zip(shown) {
                let stream =
                    if is_library { &record.streams.library } else { &record.streams.files };
                let stored = stream.chunks.iter().try_fold(ListSum::default(), |sum, chunk| {
                    Some(sum.with(lists.get(&chunk.hash)?.as_ref()?.amount?))
                });
                if stored.is_some_and(|stored| stored != shown) {
                    wrong.push(format!(
                        "its {what} of snapshot {} are not those of the archives",
                        record.id
                    ));
                }
            }
        }
        if ask::wrong_sizes(db)? > 0 {
            wrong.push("it has two sizes for one file".to_owned());
        }
        self.tell_of_catalog(wrong);
        Ok(())
    }

    /// Takes back that the snapshot `id` is whole.
    fn complain(&mut self, snapshot: SnapshotId, part: SnapshotPart, message: String) {
        self.needs.remove(&snapshot);
        self.findings.push(CheckFinding::Snapshot { snapshot, part, message });
    }

    fn read_records(&mut self, known: &BTreeMap<SnapshotId, SnapshotRecord>) -> Result<()> {
        let mut numbers: HashMap<u16, SnapshotId> = HashMap::new();
        let ids: BTreeSet<SnapshotId> =
            self.repository.snapshot_ids()?.into_iter().chain(known.keys().copied()).collect();
        for id in ids {
            let record = match self.repository.record(id) {
                Ok(_) if known.contains_key(&id) => {
                    self.complain(
                        id,
                        SnapshotPart::Record,
                        "it names pieces that are in no archive".to_owned(),
                    );
                    self.records.push(known[&id].clone());
                    continue;
                }
                Ok(record) => record,
                // Forgotten just now.
                Err(error) if error.kind() == ErrorKind::NotFound && !known.contains_key(&id) => {
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
                Err(error) => {
                    self.complain(id, SnapshotPart::Record, error.chain());
                    match known.get(&id) {
                        Some(record) => self.records.push(record.clone()),
                        None => self.unreadable.push(id),
                    }
                    continue;
                }
            };
            self.needs.insert(id, HashSet::new());
            if record.repository != self.repository.id().to_string() {
                self.complain(
                    id,
                    SnapshotPart::Record,
                    "it belongs to another repository".to_owned(),
                );
            }
            if let Some(other) = numbers.insert(record.number, id) {
                self.complain(
                    id,
                    SnapshotPart::Record,
                    format!("it has the number {} of {other}", record.number),
                );
            }
            self.records.push(record);
        }
        Ok(())
    }

    /// Archives that cannot be read, or are others than the records say.
    fn look_at_archives(&mut self) {
        let mut said = HashMap::new();
        for record in &self.records {
            said.extend(
                record.archives.iter().map(|info| (info.name.as_str(), (info.size, info.hash))),
            );
        }
        for (number, archive) in
            self.shelf.archives().iter().enumerate().filter(|(_, archive)| !archive.retired)
        {
            let message = match (&archive.index, said.get(archive.name.as_str())) {
                (Err(error), _) => {
                    format!("{}; what is in it is found by `shoebox repair`", error.chain())
                }
                (Ok(hash), Some((size, said))) if hash != said || *size != archive.size => {
                    self.others.insert(number);
                    "it is not the archive that its snapshot wrote".to_owned()
                }
                _ => continue,
            };
            self.findings.push(CheckFinding::Archive { archive: archive.name.clone(), message });
        }
    }

    fn look_at_notes(&mut self) -> Result<()> {
        for problem in self.repository.notes()?.problems {
            let message = format!("{}; what it remembered is lost, no photo is", problem.message);
            self.findings.push(CheckFinding::Other { file: problem.subject, message });
        }
        if !self.repository.has_readme() {
            let message =
                "it is missing: it explains how to get everything back without shoebox".to_owned();
            self.findings.push(CheckFinding::Other { file: "README.txt".to_owned(), message });
        }
        Ok(())
    }

    // The catalog
    // ---------------------------------------------------------------------------------------------

    fn look_at_catalog(&mut self) -> Result<()> {
        let opened = self.repository.catalog().and_then(|generation| {
            generation.verify()?;
            generation.connect()
        });
        let complaints = match opened {
            Err(error) if error.kind() == ErrorKind::Permission => return Err(error),
            Err(error) => vec![error.chain()],
            Ok(db) => match ask::integrity(&db) {
                Err(error) => vec![error.chain()],
                Ok(Some(said)) => vec![format!("SQLite reports: {said}")],
                Ok(None) => {
                    let complaints = self.compare(&db).unwrap_or_else(|error| vec![error.chain()]);
                    // One that is only old, or wrong in places, still knows what photos are called.
                    self.catalog = Some(db);
                    complaints
                }
            },
        };
        self.tell_of_catalog(complaints);
        Ok(())
    }

    fn tell_of_catalog(&mut self, complaints: Vec<String>) {
        self.is_catalog_bad |= !complaints.is_empty();
        let more = complaints.len().saturating_sub(TOLD);
        self.findings.extend(
            complaints.into_iter().take(TOLD).map(|message| CheckFinding::Catalog { message }),
        );
        if more > 0 {
            self.findings
                .push(CheckFinding::Catalog { message: format!("and {more} more of this kind") });
        }
    }

    /// What the catalog says against what archives and records say.
    fn compare(&mut self, db: &Catalog) -> Result<Vec<String>> {
        let mut complaints = self.compare_snapshots(db)?;
        let mut rows: BTreeMap<String, ask::CheckedArchive> =
            ask::archives(db)?.into_iter().map(|row| (row.name.clone(), row)).collect();
        let ids: HashSet<i64> = rows.values().map(|row| row.id).collect();
        let claimed: HashSet<String> = self
            .records
            .iter()
            .flat_map(|record| record.archives.iter().map(|archive| archive.name.clone()))
            .collect();
        for number in 0..self.shelf.archives().len() {
            let archive = &self.shelf.archives()[number];
            let (name, size, known) =
                (archive.name.clone(), archive.size, rows.remove(&archive.name));
            match (&archive.index, known) {
                (_, Some(_)) if archive.retired => {
                    complaints.push(format!("it still knows {name}, which is retired"))
                }
                // What no record names, a backup is writing just now, or one that was cut short
                // wrote it.
                (Ok(_), None) if !archive.retired && claimed.contains(&name) => {
                    complaints.push(format!("it does not know {name}"));
                }
                (Ok(hash), Some(row)) if row.hash != *hash || row.size != size => {
                    complaints.push(format!("it knows {name} as another one"));
                }
                (Ok(_), Some(row)) => {
                    complaints.extend(self.compare_places(db, number, row.id, &ids)?)
                }
                _ => {}
            }
        }
        complaints
            .extend(rows.into_keys().map(|name| format!("it knows {name}, which is not there")));
        Ok(complaints)
    }

    fn compare_snapshots(&self, db: &Catalog) -> Result<Vec<String>> {
        let (known, there) = (query::snapshot::ids(db)?, self.repository.present_ids()?);
        let noted = query::snapshot::unreadable(db)?;
        let all: BTreeSet<SnapshotId> = known.iter().chain(&noted).copied().collect();
        let missing = there
            .iter()
            .filter(|id| !all.contains(id))
            .map(|id| format!("it does not know snapshot {id}"));
        let extra = all.iter().filter(|id| !there.contains(id));
        let extra = extra.map(|id| format!("it knows snapshot {id}, whose record is not there"));
        let mut complaints: Vec<String> = missing.chain(extra).collect();
        for record in self.records.iter().filter(|record| known.contains(&record.id)) {
            if crate::repo::record_of(db, record.id.seconds())? != *record {
                complaints.push(format!("it has another record of snapshot {}", record.id));
            }
        }
        if let Some(newest) = self.records.last().filter(|newest| known.contains(&newest.id))
            && db.night(newest.id.seconds()).count_files()? != newest.files.files
        {
            complaints.push(format!("it does not have all files of snapshot {}", newest.id));
        }
        Ok(complaints)
    }

    /// Whether the catalog has a place for everything in archive `number`, and the right one where
    /// it is in that archive.
    fn compare_places(
        &mut self,
        db: &Catalog,
        number: usize,
        id: i64,
        ids: &HashSet<i64>,
    ) -> Result<Option<String>> {
        let (mut held, lines) = (0, self.shelf.lines(number)?);
        for line in lines.iter() {
            let (archive, is_right) = match line {
                IndexLine::Content(line) => match ask::content(db, line.content)? {
                    Some((archive, sha1, place)) => {
                        (archive, sha1 == line.sha1 && place == line.into())
                    }
                    None => (0, false),
                },
                IndexLine::Chunk(line) => match query::chunk(db, line.chunk) {
                    Ok(row) => (row.archive, row.keys == line.keys && row.place == line.into()),
                    // A patch whose key is lost is left out.
                    Err(_) if !self.shelf.has_chunk(line.chunk) => continue,
                    Err(_) => (0, false),
                },
            };
            let is_elsewhere = archive != id && ids.contains(&archive);
            if !is_right && !is_elsewhere {
                let name = &self.shelf.archives()[number].name;
                return Ok(Some(format!("it has a wrong place for something in {name}")));
            }
            held += u64::from(archive == id);
        }
        let name = &self.shelf.archives()[number].name;
        Ok((ask::held(db, id)? != held)
            .then(|| format!("it looks for something in {name} that is not there")))
    }

    // Streams
    // ---------------------------------------------------------------------------------------------

    fn look_at_streams(
        &mut self,
        at: usize,
        lists: &mut HashMap<Hash, Option<ListedChunk>>,
    ) -> Result<()> {
        let record = self.records[at].clone();
        let streams = &record.streams;
        for (part, stream) in [
            (SnapshotPart::Dump, &streams.dump),
            (SnapshotPart::Files, &streams.files),
            (SnapshotPart::Library, &streams.library),
        ]
        .into_iter()
        .chain(record.written.iter().map(|written| (SnapshotPart::Library, &written.library)))
        {
            let sum = stream.chunks.iter().try_fold(0u64, |sum, chunk| sum.checked_add(chunk.size));
            if sum != Some(stream.size) {
                self.complain(
                    record.id,
                    part,
                    "its chunks are not as many bytes as it says".to_owned(),
                );
            }
            self.need_chunks(record.id, part, stream);
        }
        self.read_list(record.id, SnapshotPart::Library, &streams.library, lists)?;
        if !self.read_list(record.id, SnapshotPart::Files, &streams.files, lists)? {
            self.ask_for_contents(record.id);
        }
        Ok(())
    }

    /// Notes which archives hold the chunks of `stream` and their keys; complains of those that
    /// none holds.
    fn need_chunks(&mut self, id: SnapshotId, part: SnapshotPart, stream: &StreamInfo) {
        let lost: BTreeSet<Hash> = stream
            .chunks
            .iter()
            .map(|chunk| chunk.hash)
            .filter(|hash| !self.shelf.has_chunk(*hash))
            .collect();
        for hash in stream.chunks.iter().map(|chunk| chunk.hash) {
            let spots: Vec<ArchiveSpot> = self.shelf.live_copies(hash).collect();
            let keys = spots.iter().flat_map(|spot| self.shelf.keys(*spot).to_vec());
            let holders =
                keys.map(|key| self.holders(key)).chain([self.holders(hash)]).collect::<Vec<_>>();
            if let Some(needs) = self.needs.get_mut(&id) {
                needs.extend(holders);
            }
        }
        if !lost.is_empty() {
            let message =
                format!("{} of its {} pieces are in no archive", lost.len(), stream.chunks.len());
            self.complain(id, part, message);
        }
        self.lost_chunks.extend(lost);
    }

    fn holders(&self, hash: Hash) -> HolderArchives {
        let mut holders: Vec<usize> =
            self.shelf.live_copies(hash).map(|spot| spot.archive).collect();
        holders.sort_unstable();
        holders.dedup();
        holders
    }

    /// Reads a list, each chunk once for all snapshots. False when it cannot be read.
    fn read_list(
        &mut self,
        id: SnapshotId,
        part: SnapshotPart,
        stream: &StreamInfo,
        lists: &mut HashMap<Hash, Option<ListedChunk>>,
    ) -> Result<bool> {
        let mut bad = BTreeSet::new();
        for chunk in &stream.chunks {
            if let Entry::Vacant(unread) = lists.entry(chunk.hash) {
                unread.insert(self.read_chunk(chunk.hash, part)?);
            }
            match (lists.get(&chunk.hash), self.needs.get_mut(&id)) {
                (Some(Some(listed)), Some(needs)) => needs.extend(listed.holders.iter().cloned()),
                (Some(Some(_)), None) => {}
                _ => drop(bad.insert(chunk.hash)),
            }
        }
        // Those that are in no archive were told of.
        let damaged = bad.iter().filter(|hash| !self.lost_chunks.contains(hash)).count();
        if damaged > 0 {
            self.complain(
                id,
                part,
                format!("{damaged} of its {} pieces cannot be read", stream.chunks.len()),
            );
        }
        let is_whole = bad.is_empty();
        self.lost_chunks.extend(bad);
        Ok(is_whole)
    }

    /// What a chunk of a list says; `None` when it cannot be read.
    fn read_chunk(&mut self, hash: Hash, part: SnapshotPart) -> Result<Option<ListedChunk>> {
        let plain = match self.shelf.chunk(hash) {
            Ok(plain) => plain,
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(error),
        };
        let (mut listed, mut amount) = (ListedChunk::default(), ListSum::default());
        match part {
            SnapshotPart::Files => {
                for entry in serde_json::Deserializer::from_slice(&plain).into_iter::<FileEntry>() {
                    let Ok(entry) = entry else { return Ok(None) };
                    amount.add(&entry)?;
                    if let Some(hash) = entry.hash {
                        listed.holders.insert(self.need_content(hash, entry.size));
                    }
                }
            }
            SnapshotPart::Library => {
                // What a dump names by its SHA-1 is needed, whatever lies at the path by now.
                for named in
                    serde_json::Deserializer::from_slice(&plain).into_iter::<NamedBytes>().flatten()
                {
                    for (hash, size) in
                        named.sha1.map(|sha1| self.shelf.with_sha1(sha1)).unwrap_or_default()
                    {
                        listed.holders.insert(self.need_content(hash, size));
                    }
                }
                for record in
                    serde_json::Deserializer::from_slice(&plain).into_iter::<LibraryRecord>()
                {
                    // A kind that this shoebox does not know is not damage.
                    let Ok(record) = record else { return Ok(Some(listed)) };
                    amount.add(&record)?;
                }
            }
            SnapshotPart::Dump | SnapshotPart::Record => {}
        }
        listed.amount = Some(amount);
        Ok(Some(listed))
    }

    fn need_content(&mut self, hash: Hash, size: u64) -> HolderArchives {
        self.contents.insert(hash, size);
        let holders = self.holders(hash);
        if holders.is_empty() {
            self.lost.insert(hash);
        }
        holders
    }

    /// What the catalog remembers of a file list that is lost.
    fn ask_for_contents(&mut self, id: SnapshotId) {
        let known = self.catalog.as_ref().and_then(|db| db.night(id.seconds()).contents().ok());
        for (hash, size) in known.unwrap_or_default() {
            self.need_content(hash, size);
        }
    }

    // Answers
    // ---------------------------------------------------------------------------------------------

    /// The snapshots of which nothing is wrong, and all that they need is in archives that are
    /// `whole`.
    pub fn passed(&self, whole: &dyn Fn(&str) -> bool) -> Vec<SnapshotId> {
        let is_whole: Vec<bool> =
            self.shelf.archives().iter().map(|archive| whole(&archive.name)).collect();
        let passes = |needs: &HashSet<HolderArchives>| {
            needs.iter().all(|holders| holders.iter().any(|at| is_whole[*at]))
        };
        self.needs.iter().filter(|(_, needs)| passes(needs)).map(|(id, _)| *id).collect()
    }

    /// The snapshots, and the parts of them, that need the chunk called `hash` itself or as a key.
    pub fn users_of(&self, hash: Hash) -> Vec<(SnapshotId, SnapshotPart)> {
        let uses = |stream: &StreamInfo| {
            let keys = |of: Hash| {
                self.shelf.live_copies(of).any(|spot| self.shelf.keys(spot).contains(&hash))
            };
            stream.chunks.iter().any(|chunk| chunk.hash == hash || keys(chunk.hash))
        };
        let mut users = Vec::new();
        for SnapshotRecord { id, streams, .. } in &self.records {
            let parts = [
                (SnapshotPart::Dump, &streams.dump),
                (SnapshotPart::Files, &streams.files),
                (SnapshotPart::Library, &streams.library),
            ];
            users.extend(
                parts.into_iter().filter(|(_, stream)| uses(stream)).map(|(part, _)| (*id, part)),
            );
        }
        users
    }

    /// The entries of all file lists that show one of `contents`, with the snapshots that do.
    pub fn entries_of(
        &mut self,
        contents: &BTreeSet<Hash>,
    ) -> Result<Vec<(FileEntry, BTreeSet<SnapshotId>)>> {
        let mut by_chunk: BTreeMap<Hash, BTreeSet<SnapshotId>> = BTreeMap::new();
        for record in &self.records {
            for chunk in &record.streams.files.chunks {
                by_chunk.entry(chunk.hash).or_default().insert(record.id);
            }
        }
        let mut found: BTreeMap<(Vec<u8>, Hash), (FileEntry, BTreeSet<SnapshotId>)> =
            BTreeMap::new();
        for (chunk, ids) in by_chunk.into_iter().filter(|_| !contents.is_empty()) {
            let Ok(plain) = self.shelf.chunk(chunk) else { continue };
            for entry in
                serde_json::Deserializer::from_slice(&plain).into_iter::<FileEntry>().flatten()
            {
                if let Some(hash) = entry.hash.filter(|hash| contents.contains(hash)) {
                    let key = (entry.path.as_bytes().to_vec(), hash);
                    found.entry(key).or_insert_with(|| (entry, BTreeSet::new())).1.extend(&ids);
                }
            }
        }
        Ok(found.into_values().collect())
    }
}
