//! Restoring everything: UPLOAD_LOCATION as a snapshot holds it, into a new folder.
//!
//! All that the file list names comes back, locked or not, as it lay on disk: names byte for byte,
//! rights, times in nanoseconds of files and folders, symlinks, further names of one file, and
//! owners where this process may give them (root). Only what the database of the snapshot has at
//! another path is laid there ([`layout`]), so that both are one state. Immich's six folders are
//! there at the end, each with its marker.
//!
//! An original that the disk had with other bytes than Immich recorded, or not at all, comes back
//! as it was uploaded, where the repository has the bytes: ransomware, rot and a wrong disk are not
//! restored unless asked for.
//!
//! Always holds: nothing is written outside the folders that were given, and through no symlink; a
//! file has its name only when it is whole and verified; damage of one file is a problem by its
//! name, and the others come out; ended anywhere and run again it goes on, and ends the same.
//! Nobody's bytes get a right to run as somebody else (set-id) from a repository.
//!
//! Limits: extended attributes and holes were never kept. Where the disk has no hard links, they
//! come out as copies.

mod claim;
pub(in crate::task) mod layout;
mod outside;
mod plan;
mod space;
mod write;

use std::path::{Path, PathBuf};

use serde::Serialize;
use uuid::Uuid;

use self::claim::{ClaimState, ClaimTicket, FolderClaim};
use self::layout::FileLayout;
pub use self::outside::OutsidePhotos;
use self::plan::WholePlan;
use super::engine::RestoreTally;
use super::refuse_repository;
use crate::base::amount::plural;
use crate::base::{Error, ErrorKind, Monitor, Phase, Result, SnapshotId};
use crate::catalog::Generation;
use crate::repo::{Repository, SnapshotRecord, record_of};
pub use crate::source::ExternalFolder;
use crate::task::open::{find_snapshot, open_view};
use crate::view;

/// The folders that a server wants to find.
const FOLDERS: [&str; 6] = ["backups", "encoded-video", "library", "profile", "thumbs", "upload"];
/// The file that it wants to find in each.
const MARKER: &str = ".immich";

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Id, name in the tree, or `latest`.
    pub snapshot: String,
    /// The new UPLOAD_LOCATION; it is made.
    pub to: PathBuf,
    /// Where the files of external libraries go to; those of others are left out.
    pub external: Vec<ExternalFolder>,
    /// Add to folders in which something is.
    pub accept_non_empty: bool,
    /// Replace files that are there and differ.
    pub overwrite: bool,
    /// Restore every file as it lay on the disk and where it lay, also where Immich recorded other
    /// bytes or another path.
    pub as_on_disk: bool,
    /// Only say what would be written.
    pub dry_run: bool,
}

/// A folder, and what goes into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestorePart {
    /// A folder of UPLOAD_LOCATION, or the path of an external library as the server sees it.
    pub folder: String,
    pub files: u64,
    pub bytes: u64,
}

/// What a full restore did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub snapshot: SnapshotId,
    /// Files, symlinks and further names of files that the snapshot holds, and the bytes of all
    /// files.
    pub files: u64,
    pub bytes: u64,
    /// Of these, written.
    pub restored: u64,
    pub restored_bytes: u64,
    /// Of these, there already, the same.
    pub already_there: u64,
    /// Of these, not written: see the problems.
    pub left_out: u64,
    /// Files that lay elsewhere than the database says, and are laid where it says.
    pub moved: u64,
    /// Files that the database names and the disk had not, or not as Immich recorded them: their
    /// bytes are those that were uploaded, or of an earlier snapshot.
    pub earlier: u64,
    /// Thumbnails and transcoded videos are among the files.
    pub generated: bool,
    /// What goes where.
    pub folders: Vec<RestorePart>,
    /// External libraries that go nowhere.
    pub without_folder: Vec<RestorePart>,
    /// Photos that Immich looks for outside of UPLOAD_LOCATION.
    pub outside: Vec<OutsidePhotos>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Restores all of a snapshot. Files that are left out are problems told to `monitor`.
pub fn restore(
    repository: &Repository,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Report> {
    let view = open_view(repository, view::Options::default())?;
    let (snapshot, _) = find_snapshot(&view, &options.snapshot)?;
    drop(view);
    let catalog = repository.catalog()?;
    let record = record_of(&*catalog.connect()?, snapshot.seconds())?;
    let ticket = ClaimTicket::new(repository.id(), snapshot, &options.external);
    let roots = RestoreRoots::judge(repository, &record, options, &ticket)?;
    let db = catalog.connect()?;
    let layout = if options.as_on_disk {
        FileLayout::default()
    } else {
        FileLayout::of_snapshot(db.night(snapshot.seconds()))?
    };
    let plan =
        plan::of_snapshot(db.night(snapshot.seconds()), &layout, &options.external, monitor)?;
    let outside = outside::of_snapshot(db.night(snapshot.seconds()), &layout)?;
    let mut report = report(&record, &plan, outside, options);
    match (space::check(&plan, &roots), options.dry_run) {
        (Err(error), false) => Err(error),
        (enough, true) => {
            report.notes.extend(enough.err().map(|error| error.to_string()));
            Ok(report)
        }
        (Ok(()), false) => {
            write(repository, &catalog, plan, &roots, &ticket, report, options, monitor)
        }
    }
}

/// The folders that are restored into: UPLOAD_LOCATION, then the external ones.
struct RestoreRoots(Vec<(PathBuf, ClaimState)>);

impl RestoreRoots {
    /// Refuses folders that must not be restored into.
    fn judge(
        repository: &Repository,
        record: &SnapshotRecord,
        options: &Options,
        ticket: &ClaimTicket,
    ) -> Result<RestoreRoots> {
        let folders: Vec<&Path> = [&options.to]
            .into_iter()
            .chain(options.external.iter().map(|e| &e.folder))
            .map(PathBuf::as_path)
            .collect();
        for folder in &folders {
            refuse_repository(repository, folder)?;
        }
        refuse_overlap(repository, &folders)?;
        let own = (record.host == Repository::host()).then(|| Path::new(&record.upload_location));
        let accept = options.accept_non_empty;
        let begun = claim::begun(&options.to, ticket, accept)?;
        let state = |folder: &Path, is_begun: bool| {
            if is_begun { Ok(ClaimState::Begun) } else { claim::judge(folder, accept, own) }
        };
        let is_begun = |folder: &Path| match &begun {
            Some(begun) => *folder == *options.to || begun.external.contains(&claim::text(folder)),
            None => false,
        };
        let judged = folders
            .iter()
            .map(|folder| Ok((folder.to_path_buf(), state(folder, is_begun(folder))?)));
        Ok(RestoreRoots(judged.collect::<Result<_>>()?))
    }
}

/// A folder in another one would be mixed into it, and a repository into what is restored.
fn refuse_overlap(repository: &Repository, folders: &[&Path]) -> Result<()> {
    let real: Vec<PathBuf> = folders.iter().map(|folder| claim::real(folder)).collect();
    for (index, folder) in real.iter().enumerate() {
        if repository.root().starts_with(folder) {
            let message = format!("the repository is inside {}", folders[index].display());
            return Err(
                Error::new(ErrorKind::Refused, message).hint("give a folder of its own beside it")
            );
        }
        if let Some(inner) = real
            .iter()
            .enumerate()
            .position(|(other, inner)| other != index && inner.starts_with(folder))
        {
            let message =
                format!("{} is inside {}", folders[inner].display(), folders[index].display());
            return Err(Error::new(ErrorKind::Refused, message)
                .hint("give each library a folder of its own"));
        }
    }
    Ok(())
}

impl ClaimTicket {
    fn new(repository: Uuid, snapshot: SnapshotId, external: &[ExternalFolder]) -> ClaimTicket {
        ClaimTicket {
            repository,
            snapshot,
            external: external.iter().map(|external| claim::text(&external.folder)).collect(),
        }
    }
}

fn report(
    record: &SnapshotRecord,
    plan: &WholePlan,
    outside: Vec<OutsidePhotos>,
    options: &Options,
) -> Report {
    let mut folders: Vec<RestorePart> = Vec::new();
    for ((root, top), sum) in &plan.sums {
        let folder = match root.checked_sub(1) {
            None => String::from_utf8_lossy(top).into_owned(),
            Some(external) => claim::text(&options.external[external].server),
        };
        match folders.last_mut().filter(|last| last.folder == folder) {
            Some(last) => {
                (last.files, last.bytes) =
                    (last.files + sum.files, last.bytes.saturating_add(sum.bytes))
            }
            None => folders.push(RestorePart { folder, files: sum.files, bytes: sum.bytes }),
        }
    }
    let without = |(folder, sum): (&String, &plan::FileSum)| RestorePart {
        folder: folder.clone(),
        files: sum.files,
        bytes: sum.bytes,
    };
    let mut notes = plan.notes.clone();
    notes.extend(laid(plan));
    notes.extend(to_mount(&outside, &options.to));
    if !rustix::process::geteuid().is_root() {
        notes.push(
            "files belong to the user who restores; only root can give them back their owners"
                .to_owned(),
        );
    }
    Report {
        snapshot: record.id,
        generated: record.files.generated,
        files: plan.entries(),
        bytes: plan.bytes(),
        restored: 0,
        restored_bytes: 0,
        already_there: 0,
        left_out: 0,
        moved: plan.moved,
        earlier: plan.earlier,
        folders,
        without_folder: plan.without_folder.iter().map(without).collect(),
        outside,
        notes,
    }
}

/// What is not as it lay on the disk.
fn laid(plan: &WholePlan) -> Vec<String> {
    let told = |number: u64, one: &str, many: &str, words: &str| {
        (number > 0).then(|| format!("{} {words}", plural(number, one, many)))
    };
    let moved =
        "not where the database of the snapshot says: restored to where Immich looks for them";
    let earlier =
        "not on the disk as Immich recorded: restored as uploaded (--as-on-disk: as on the disk)";
    let beside = "where another belongs: beside it, with `.as-found` put to the name";
    let all = [
        told(plan.moved, "file was", "files were", moved),
        told(plan.earlier, "file was", "files were", earlier),
        told(plan.beside, "file was", "files were", beside),
    ];
    all.into_iter().flatten().collect()
}

/// No more folders are told one by one.
const MANY_FOLDERS: usize = 10;

/// What Immich must see at other places than below UPLOAD_LOCATION.
fn to_mount(outside: &[OutsidePhotos], to: &Path) -> Vec<String> {
    let told = |one: &OutsidePhotos| {
        let (photos, server) = (plural(one.photos, "photo is", "photos are"), &one.server);
        let where_to = match &one.folder {
            Some(folder) => {
                format!(
                    "laid in {}; let Immich's containers have that folder at {server}",
                    to.join(folder).display()
                )
            }
            None => "no file of that name is in this snapshot".to_owned(),
        };
        format!("{photos} in {server} by the database, outside of UPLOAD_LOCATION: {where_to}")
    };
    let more = outside.len().saturating_sub(MANY_FOLDERS);
    let rest = (more > 0).then(|| {
        format!(
            "and so in {} (--json has them all)",
            plural(more as u64, "more folder", "more folders")
        )
    });
    outside.iter().take(MANY_FOLDERS).map(told).chain(rest).collect()
}

#[allow(clippy::too_many_arguments, reason = "one call, of what was just worked out")]
fn write(
    repository: &Repository,
    catalog: &Generation,
    plan: WholePlan,
    roots: &RestoreRoots,
    ticket: &ClaimTicket,
    report: Report,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Report> {
    monitor.begin(Phase::Restore, Some(report.files), Some(report.bytes));
    let claim = FolderClaim::take(&options.to, ticket)?;
    let work =
        write::WholeWork::new(repository, catalog, &plan, roots, ticket.snapshot, options, monitor);
    let RestoreTally { restored, restored_bytes, already_there } = work.run()?;
    claim.finish()?;
    let left_out = report.files - restored - already_there;
    Ok(Report { restored, restored_bytes, already_there, left_out, ..report })
}
