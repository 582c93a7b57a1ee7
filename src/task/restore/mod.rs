//! Restoring a selection: paths of the tree, or assets that answer to a search, out of one snapshot
//! into a folder.
//!
//! First it is worked out what goes where ([`plan`], [`select`]), then it is written ([`folder`]),
//! on several threads. Every byte is verified as it is read. A file that is there already is left
//! as it is unless told otherwise; one that is the same counts as done, so an interrupted restore
//! goes on where it was.
//!
//! Always holds: nothing is written outside the folder; a file has its name only when it is whole;
//! damage of one file is a problem by its name, and the others come out. Limits: hard links come
//! out as copies, extended attributes were never kept.

mod engine;
mod folder;
mod plan;
mod select;
pub mod whole;

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::engine::{FileResult, RestoreEngine, RestoreTally};
use self::folder::{RestoreTarget, append, continues_with};
use self::plan::{RestoreItem, RestorePlan};
use super::find::{AssetFinder, FindQuery};
use super::open::find_snapshot;
use crate::base::{Error, ErrorKind, Monitor, Phase, Result, SnapshotId, StopNotice};
use crate::repo::Repository;
use crate::view::{self, View};

/// How a restore ends that is stopped.
const STOPPED: StopNotice =
    StopNotice { message: "stopped; what was restored so far is whole", ..StopNotice::CONTINUES };
/// Bytes that are read at once: a segment.
const PIECE: usize = 1 << 20;

/// What is wanted.
#[derive(Debug, Clone)]
pub enum RestoreSelection {
    /// Paths of the tree below the snapshot, each written as `cp -r PATH DIR/` would.
    Paths(Vec<Vec<u8>>),
    /// Assets that answer, with their moving halves and sidecars.
    Assets(FindQuery),
}

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Id, name in the tree, or `latest`.
    pub snapshot: String,
    pub selection: RestoreSelection,
    /// The folder to write into; it is made.
    pub to: PathBuf,
    /// Replace files that are there and differ.
    pub overwrite: bool,
    /// Only say what would be written.
    pub dry_run: bool,
    /// Locked ones too.
    pub locked: bool,
}

/// A file that was written, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedFile {
    /// Where to.
    #[serde(serialize_with = "path")]
    pub to: PathBuf,
    /// Where the tree shows it.
    pub from: String,
    pub size: u64,
}

/// What a restore did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub snapshot: SnapshotId,
    /// Files and symlinks that were selected, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// Of these, written.
    pub restored: u64,
    pub restored_bytes: u64,
    /// Of these, there already, the same.
    pub already_there: u64,
    /// Of these, not written: see the problems.
    pub left_out: u64,
    /// All that was selected, in the order in which it is written.
    #[serde(skip)]
    pub planned: Vec<PlannedFile>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Restores what `options` select. Files that are left out are problems told to `monitor`.
pub fn restore(
    repository: &Repository,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Report> {
    refuse_repository(repository, &options.to)?;
    let finder = AssetFinder::open(repository, options.locked)?;
    let (report, plan) = prepare(&finder, options, monitor)?;
    if options.dry_run { Ok(report) } else { write(&finder.view, &plan, options, report, monitor) }
}

/// Works out what goes where.
fn prepare(
    finder: &AssetFinder,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<(Report, RestorePlan)> {
    let (snapshot, top) = find_snapshot(&finder.view, &options.snapshot)?;
    let plan = match &options.selection {
        RestoreSelection::Paths(paths) => plan::of_paths(finder, top.ino, paths, monitor)?,
        RestoreSelection::Assets(query) => {
            let query = FindQuery { locked: options.locked, ..query.clone() };
            select::of_query(finder, &query, &options.snapshot, snapshot.seconds(), monitor)?
        }
    };
    let planned = |item: &RestoreItem| PlannedFile {
        to: item.at.below(&options.to),
        from: item.from.clone(),
        size: item.attributes.size,
    };
    let report = Report {
        snapshot,
        files: plan.items.len() as u64,
        bytes: plan.bytes(),
        restored: 0,
        restored_bytes: 0,
        already_there: 0,
        left_out: 0,
        planned: plan.items.iter().map(planned).collect(),
        notes: plan.notes.iter().cloned().chain(plan.kept_note()).collect(),
    };
    Ok((report, plan))
}

/// What a restore writes into a repository would be taken for a part of it.
fn refuse_repository(repository: &Repository, to: &Path) -> Result<()> {
    let absolute = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
    let real = absolute.ancestors().find_map(|folder| {
        let rest = absolute.strip_prefix(folder).ok()?;
        Some(std::fs::canonicalize(folder).ok()?.join(rest))
    });
    if real.is_some_and(|real| real.starts_with(repository.root())) {
        Err(Error::new(
            ErrorKind::Refused,
            format_args!("{} is inside the repository", to.display()),
        )
        .hint("restore to a folder elsewhere"))
    } else {
        Ok(())
    }
}

fn write(
    view: &View,
    plan: &RestorePlan,
    options: &Options,
    report: Report,
    monitor: &dyn Monitor,
) -> Result<Report> {
    monitor.begin(Phase::Restore, Some(report.files), Some(report.bytes));
    let work = RestoreWork { view, engine: RestoreEngine::new(monitor, options.overwrite) };
    let mut target = RestoreTarget::create_for_its_owner(&options.to)?;
    for (folder, _) in &plan.folders {
        if let Err(error) = target.make_folder(folder) {
            work.engine.leave_out(folder.to_string(), error)?;
        }
    }
    work.engine.share(
        plan.items.len(),
        || RestoreTarget::create_for_its_owner(&options.to),
        |target, number| {
            let item = &plan.items[number];
            let done = work.one(target, item);
            work.engine.note(done, item.attributes.size, || item.from.clone())
        },
    )?;
    // From below to above: writing into a folder changes its time.
    for (folder, attributes) in plan.folders.iter().rev() {
        let Some(attributes) = attributes else { continue };
        if let Err(error) = target.finish_folder(folder, attributes) {
            work.engine.leave_out(folder.to_string(), error)?;
        }
    }
    target.sync()?;
    let RestoreTally { restored, restored_bytes, already_there } = work.engine.tally();
    let left_out = report.files - restored - already_there;
    Ok(Report { restored, restored_bytes, already_there, left_out, ..report })
}

/// A restore at work.
struct RestoreWork<'a> {
    view: &'a View,
    engine: RestoreEngine<'a>,
}

impl RestoreWork<'_> {
    fn one(&self, target: &mut RestoreTarget, item: &RestoreItem) -> Result<FileResult> {
        if item.kind == view::NodeKind::Symlink {
            let wanted = self.view.target(item.ino)?;
            return self.engine.symlink(target, &item.at, &wanted, &item.attributes);
        }
        self.engine.file(
            target,
            &item.at,
            &item.attributes,
            |file| self.holds(item, file),
            |file| self.pieces(item, |bytes| append(file, bytes, &item.at).map(|()| true)),
        )
    }

    /// True when `file` holds the bytes of `item`.
    fn holds(&self, item: &RestoreItem, file: &File) -> Result<bool> {
        let mut same = true;
        self.pieces(item, |bytes| {
            same = continues_with(file, bytes);
            Ok(same)
        })?;
        Ok(same)
    }

    /// Hands the bytes of `item` to `take`, piece by piece, verified, while it says to go on.
    fn pieces(
        &self,
        item: &RestoreItem,
        mut take: impl FnMut(&[u8]) -> Result<bool>,
    ) -> Result<()> {
        let mut offset = 0;
        while offset < item.attributes.size {
            STOPPED.check(self.engine.monitor)?;
            let (len, on) = self.view.read(item.ino, offset, PIECE, |bytes| {
                Ok::<_, Error>((bytes.len() as u64, take(bytes)?))
            })??;
            if len == 0 {
                return Err(Error::damaged(format_args!(
                    "{} is shorter than the catalog records",
                    item.from
                )));
            }
            offset += len;
            self.engine.monitor.advance(0, len);
            if !on {
                break;
            }
        }
        Ok(())
    }
}

/// A path as JSON: a string where it is UTF-8, else `{"hex": "…"}`.
fn path<S: serde::Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    crate::base::bytes::serialize(path.as_os_str().as_encoded_bytes(), serializer)
}
