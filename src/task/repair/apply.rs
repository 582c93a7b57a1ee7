//! Doing what was planned: copies first, then the catalog, and what they replace goes last.

use std::collections::HashSet;

use super::plan::{ByteOrigin, RepairPlan};
use super::{RepairRemedy, RepairResult, RepairStep, origin};
use crate::archive::verify::{VerifyHelper, verify};
use crate::base::monitor::SilentMonitor;
use crate::base::stored::{ChunkLine, IndexLine};
use crate::base::{Error, ErrorKind, Hash, Monitor, Phase, Result, StopNotice};
use crate::repo::shelf::ArchiveSpot;
use crate::repo::{ArchiveInventory, ContentSink, RepairSession};
use crate::task::check::{CheckFinding, SnapshotPart};

/// How a repair ends that is stopped.
const STOPPED: StopNotice = StopNotice::starts_over("stopped; nothing was replaced");

impl RepairPlan {
    /// Repairs what can be repaired.
    pub fn apply(
        &mut self,
        session: &RepairSession,
        monitor: &dyn Monitor,
    ) -> Result<RepairResult> {
        let mut repaired = RepairResult::default();
        if !self.has_description {
            session.write_description()?;
        }
        self.repair_files(session, &mut repaired)?;
        self.new_records().try_for_each(|record| session.put_record(record))?;
        repaired.written = self.copy(session, monitor)?;
        let changes =
            !repaired.written.is_empty() || !self.records.is_empty() || !self.replaced.is_empty();
        if changes || self.survey.is_catalog_bad {
            self.publish_catalog(session, true, monitor)?;
        }
        for number in &self.replaced {
            let name = format!("archives/{}", self.survey.shelf.archives()[*number].name);
            session.set_aside(&name)?;
            repaired.aside.push(name);
        }
        if !self.replaced.is_empty() {
            // It was told already what is not there any more.
            self.publish_catalog(session, false, &SilentMonitor)?;
        }
        Ok(repaired)
    }

    /// Of a snapshot whose record or lists are lost for good, the catalog may be all that is left:
    /// it is not rebuilt then.
    fn publish_catalog(
        &self,
        session: &RepairSession,
        rebuild: bool,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let is_lost = |step: &&RepairStep| match (&step.finding, &step.remedy) {
            (CheckFinding::Snapshot { part, .. }, RepairRemedy::Leave(_)) => {
                *part != SnapshotPart::Dump
            }
            _ => false,
        };
        if self.has_catalog && self.steps.iter().any(|step| is_lost(&step)) {
            session.refresh_catalog(monitor)
        } else {
            session.publish_catalog(rebuild, monitor)
        }
    }

    /// Notes and the README.
    fn repair_files(&self, session: &RepairSession, repaired: &mut RepairResult) -> Result<()> {
        for step in &self.steps {
            match (&step.finding, &step.remedy) {
                (CheckFinding::Other { file, .. }, RepairRemedy::Repair(_))
                    if file.starts_with("notes/") =>
                {
                    session.set_aside(file)?;
                    repaired.aside.push(file.clone());
                }
                (CheckFinding::Other { file, .. }, RepairRemedy::Repair(_))
                    if file == "README.txt" =>
                {
                    session.write_readme()?
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes new archives, and reads them back; their names.
    fn copy(&mut self, session: &RepairSession, monitor: &dyn Monitor) -> Result<Vec<String>> {
        let (spots, files) = (self.spots()?, self.files());
        let made = self
            .origins
            .iter()
            .filter(|(_, origin)| matches!(origin, ByteOrigin::Made(..)))
            .count();
        if spots.is_empty() && files.is_empty() && made == 0 {
            return Ok(Vec::new());
        }
        monitor.begin(Phase::Repair, Some((spots.len() + files.len()) as u64), None);
        let sink = session.copies()?;
        for (hash, origin) in &self.origins {
            if let ByteOrigin::Made(frame, size) = origin {
                sink.add_chunk(*hash, *size, frame, &[])?;
            }
        }
        for spot in spots {
            STOPPED.check(monitor)?;
            self.copy_one(&sink, spot)?;
            monitor.advance(1, 0);
        }
        if let Some(places) = self.upload_location.clone() {
            for (hash, path) in files {
                STOPPED.check(monitor)?;
                if !origin::store(&sink, &places, &path, hash)? {
                    let message = format!("{path} changed while it was read: nothing was replaced");
                    return Err(Error::new(ErrorKind::Refused, message)
                        .hint("run it again: it looks for another copy"));
                }
                monitor.advance(1, 0);
            }
        }
        let written = sink.finish()?;
        written.archives.iter().try_for_each(|archive| self.verify(&archive.name))?;
        Ok(written.archives.into_iter().map(|archive| archive.name).collect())
    }

    /// What is copied: everything whole in archives that are replaced, and what is damaged or lost
    /// elsewhere; keys first.
    fn spots(&mut self) -> Result<Vec<ArchiveSpot>> {
        let mut spots: Vec<ArchiveSpot> = Vec::new();
        for number in self.replaced.clone() {
            for (line, of) in self.survey.shelf.lines(number)?.iter().enumerate() {
                let spot = ArchiveSpot { archive: number, line };
                if !self.reading.bad.contains_key(&spot) && !self.stands(of, Some(number)) {
                    spots.push(spot);
                }
            }
        }
        let origins: Vec<(Hash, ArchiveSpot)> = self
            .origins
            .iter()
            .filter_map(|(hash, origin)| match origin {
                ByteOrigin::Copy(spot) => Some((*hash, *spot)),
                ByteOrigin::File(_) | ByteOrigin::Made(..) => None,
            })
            .collect();
        for (hash, spot) in origins {
            let line = self.survey.shelf.line(spot)?;
            // The newest that is damaged is the one that readers would take.
            let damaged = self
                .reading
                .bad
                .keys()
                .copied()
                .filter(|bad| self.survey.shelf.copies(hash).contains(bad));
            if !self.stands(&line, damaged.map(|bad| bad.archive).max()) {
                spots.push(spot);
            }
        }
        spots.extend(self.lost_keys(&spots)?);
        spots.sort_by_key(|spot| (!self.survey.shelf.keys(*spot).is_empty(), *spot));
        spots.dedup();
        Ok(spots)
    }

    /// The keys that the patches at `spots` need, and that no archive that stays has.
    fn lost_keys(&mut self, spots: &[ArchiveSpot]) -> Result<Vec<ArchiveSpot>> {
        let keys: HashSet<Hash> =
            spots.iter().flat_map(|spot| self.survey.shelf.keys(*spot).to_vec()).collect();
        let mut lost = Vec::new();
        for key in keys {
            let Some(spot) = self.sound_chunk(key, true)? else { continue };
            let line = self.survey.shelf.line(spot)?;
            if !self.stands(&line, None) {
                lost.push(spot);
            }
        }
        Ok(lost)
    }

    fn files(&self) -> Vec<(Hash, crate::base::FilePath)> {
        let files = self.origins.iter().filter_map(|(hash, origin)| match origin {
            ByteOrigin::File(path) => Some((*hash, path.clone())),
            ByteOrigin::Copy(_) | ByteOrigin::Made(..) => None,
        });
        let mut files: Vec<_> = files.collect();
        files.sort();
        files
    }

    fn copy_one(&mut self, sink: &ContentSink, spot: ArchiveSpot) -> Result<()> {
        let shelf = &mut self.survey.shelf;
        let (line, object) = (shelf.line(spot)?, shelf.object(spot.archive)?);
        match line {
            IndexLine::Content(line) => sink.copy_content(&*object, &line),
            IndexLine::Chunk(line) => {
                let prefix = shelf.prefix(&line.keys)?;
                sink.copy_chunk(&*object, &line, &prefix)
            }
        }
    }

    /// Reads a new archive back whole.
    fn verify(&mut self, name: &str) -> Result<()> {
        let shelf = &mut self.survey.shelf;
        let archive = shelf.open_new(name)?;
        match verify(&archive, &archive.lines()?, &mut PatchKeys(shelf))? {
            Some(flaws) if flaws.is_empty() => Ok(()),
            _ => Err(Error::damaged(format_args!("archives/{name}, just written"))
                .hint("the disk does not keep what is written to it: nothing was replaced")),
        }
    }
}

/// Keys of patches, from the archives that were there before.
struct PatchKeys<'a>(&'a mut ArchiveInventory);

impl VerifyHelper for PatchKeys<'_> {
    fn prefix(&mut self, patch: &ChunkLine) -> Result<Vec<u8>> {
        self.0.prefix(&patch.keys)
    }

    fn advance(&mut self, _: u64) -> bool {
        true
    }
}
