//! Folders: Immich's own, and the repository.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::{Access, access};

use super::{DoctorFinding, DoctorSetup};
use crate::base::amount::plural;
use crate::base::{ErrorKind, FilePath, Result};
use crate::repo::Repository;
use crate::source::installation::Installation;
use crate::source::{
    ExcludePatterns, FoundKind, LibraryPlaces, LibraryRoot, UploadLocation, WalkObstacle, walk,
};
use crate::task::space::{DiskSpace, SpaceVerdict};
use crate::task::status;

/// So many files are tried for permission to read.
const TRIED: usize = 5000;

/// The `.env` file and the containers.
pub(super) fn immich(installation: &Installation, setup: &DoctorSetup) -> Vec<DoctorFinding> {
    let mut found = Vec::new();
    match (&installation.env, &installation.misread) {
        (Some((file, _)), _) => {
            found.push(DoctorFinding::good(format!("Immich's settings are in {}", file.display())))
        }
        (None, Some(error)) => found.push(DoctorFinding::of(error)),
        (None, None) => found.push(DoctorFinding::note(
            "Immich's .env file was not found",
            "name its folder: shoebox doctor --immich FOLDER; or set upload-location and the \
                database by themselves",
        )),
    }
    let by_docker = matches!(&setup.access, Some((access, _)) if matches!(access.server, crate::source::ServerPlace::Docker { .. }));
    match &installation.containers {
        Ok(all) if !all.is_empty() => {
            for (name, container) in
                [("server", installation.server()), ("database", installation.database())]
            {
                found.push(match container {
                    Some(it) if it.running => DoctorFinding::good(format!(
                        "Immich's {name} runs in container {} ({})",
                        it.name, it.image
                    )),
                    Some(it) => DoctorFinding::bad(
                        format!("container {} of Immich's {name} does not run", it.name),
                        format!("docker start {}", it.name),
                    ),
                    None => DoctorFinding::note(
                        format!("no container of Immich's {name} was found"),
                        "docker ps -a lists what there is",
                    ),
                });
            }
        }
        Ok(_) => found.push(DoctorFinding::note(
            "docker has no containers",
            "is Immich on another machine? then use --database-url",
        )),
        Err(error) if by_docker => found.push(DoctorFinding::of(error)),
        Err(error) => found.push(DoctorFinding::note(
            error.chain(),
            "not needed if the database is reached by its address",
        )),
    }
    found
}

pub(super) fn upload_location(setup: &DoctorSetup) -> Vec<DoctorFinding> {
    let Some(folder) = &setup.upload_location else {
        return vec![DoctorFinding::bad(
            "it is not known where the photos are (UPLOAD_LOCATION)",
            "shoebox backup --upload-location FOLDER; or upload-location in the settings file",
        )];
    };
    let location = match UploadLocation::open(folder, &setup.folders) {
        Ok(location) => location,
        Err(error) => return vec![DoctorFinding::of(&error)],
    };
    if let Some(gone) = setup.folders.iter().find(|root| !root.folder.is_dir()) {
        let what = format!(
            "{} of UPLOAD_LOCATION is to be read from {}, which is not there",
            gone.shown,
            gone.folder.display()
        );
        return vec![DoctorFinding::bad(
            what,
            "is its disk mounted? its path is `folder` in the settings file, or in Immich's .env \
                file",
        )];
    }
    let mut tried = 0;
    let mut closed: Vec<PathBuf> = Vec::new();
    for root in location.roots(false) {
        match readable(root) {
            Ok((some, unread)) => {
                tried += some;
                closed.extend(unread.iter().map(|path| location.place(path)));
            }
            Err(error) => return vec![DoctorFinding::of(&error)],
        }
    }
    match closed.first() {
        None => {
            vec![DoctorFinding::good(format!(
                "the photos in {} can be read ({tried} tried)",
                location.folder().display()
            ))]
        }
        Some(first) => {
            let what = plural(closed.len() as u64, "file or folder", "files or folders");
            vec![DoctorFinding::bad(
                format!("{what} of the photos may not be read, such as {}", first.display()),
                "run as root or as the user that owns them, or give the service the capability \
                    CAP_DAC_READ_SEARCH",
            )]
        }
    }
}

/// Folders that the server has from other places, which no setting says. Those that Immich makes
/// again are no loss.
pub(super) fn elsewhere(installation: &Installation, setup: &DoctorSetup) -> Vec<LibraryRoot> {
    let is_told = |root: &LibraryRoot| setup.folders.iter().any(|told| told.shown == root.shown);
    let is_needed =
        |root: &LibraryRoot| !matches!(root.shown.parts().next(), Some(b"thumbs" | b"backups"));
    installation.elsewhere().into_iter().filter(|root| !is_told(root) && is_needed(root)).collect()
}

pub(super) fn untold(root: &LibraryRoot) -> DoctorFinding {
    let (shown, folder) = (&root.shown, root.folder.display());
    DoctorFinding::bad(
        format!("the server has {shown} from {folder}, and the backup does not take it from there"),
        format!(
            "folder = [\"{shown}={folder}\"] in [backup] of the settings file, or --folder \
                {shown}={folder}"
        ),
    )
}

/// How many files and folders below `root` were tried, and those that may not be read.
fn readable(root: LibraryRoot) -> Result<(usize, Vec<FilePath>)> {
    let places = Arc::new(LibraryPlaces::open(vec![root], Vec::new())?);
    let (mut tried, mut closed) = (0, Vec::new());
    for entry in walk(&places, Vec::new(), ExcludePatterns::default()).take(TRIED) {
        tried += 1;
        match entry {
            Ok(entry) if entry.kind == FoundKind::File && places.file(&entry.path).is_err() => {
                closed.push(entry.path)
            }
            Ok(_) => {}
            Err(WalkObstacle::Problem(problem)) => closed.extend(FilePath::new(problem.subject)),
            Err(WalkObstacle::End(error)) => return Err(error),
        }
    }
    Ok((tried, closed))
}

/// The repository; `library` is how many bytes the photos have, where that is known.
pub(super) fn repository(setup: &DoctorSetup, library: Option<u64>) -> Vec<DoctorFinding> {
    let Some(folder) = &setup.repository else {
        return vec![DoctorFinding::bad(
            "it is not known where backups go",
            "export SHOEBOX_REPOSITORY=FOLDER, on another disk than the photos",
        )];
    };
    let shown = folder.display();
    let mut found = Vec::new();
    let opened = Repository::open(folder);
    let disk = match &opened {
        Ok(repository) => {
            found.push(writable(repository.root()));
            Some(repository.root().to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let disk = folder.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned);
            found.push(DoctorFinding::bad(
                format!("no repository found in {shown} yet"),
                format!("shoebox init -r {shown}; first see that its disk is mounted"),
            ));
            disk
        }
        Err(error) => {
            found.push(DoctorFinding::of(error));
            None
        }
    };
    let Some(disk) = disk else { return found };
    found.extend(same_disk(&disk, setup));
    found.push(space(&disk, &opened, library).unwrap_or_else(|error| DoctorFinding::of(&error)));
    found
}

fn writable(root: &Path) -> DoctorFinding {
    match access(root, Access::WRITE_OK) {
        Ok(()) => {
            DoctorFinding::good(format!("the repository in {} can be written", root.display()))
        }
        Err(_) => DoctorFinding::bad(
            format!("the repository in {} may not be written by this user", root.display()),
            "run as the user that owns it; is its disk mounted read-only?",
        ),
    }
}

/// One disk that dies takes both.
fn same_disk(disk: &Path, setup: &DoctorSetup) -> Option<DoctorFinding> {
    let photos = setup.upload_location.as_ref()?;
    let (a, b) = (disk.metadata().ok()?.dev(), photos.metadata().ok()?.dev());
    Some(if a == b {
        DoctorFinding::note(
            "the repository is on the same disk as the photos: when it dies, both are gone",
            "put it on another disk, or copy it to one: rsync -a",
        )
    } else {
        DoctorFinding::good("the repository is on another file system than the photos")
    })
}

/// The room on `disk`; `library`: bytes of the photos, where the database says it.
fn space(disk: &Path, opened: &Result<Repository>, library: Option<u64>) -> Result<DoctorFinding> {
    let later =
        opened.as_ref().ok().filter(|it| it.snapshot_ids().is_ok_and(|ids| !ids.is_empty()));
    let now = Timestamp::now();
    let (space, fix) = match later {
        None => (
            DiskSpace::before_the_first(disk, library.unwrap_or(0))?,
            "use a larger disk: the first backup holds every photo once",
        ),
        Some(repository) => (
            DiskSpace::of(
                repository,
                &status::recent(repository, &repository.snapshot_ids()?, now)?,
                now,
            )?,
            "make room, or keep less: shoebox forget, shoebox prune",
        ),
    };
    Ok(match space.verdict() {
        SpaceVerdict::Enough => DoctorFinding::good(space.to_string()),
        SpaceVerdict::Scarce => DoctorFinding::note(space.to_string(), fix),
        SpaceVerdict::Lacking => DoctorFinding::bad(space.to_string(), fix),
    })
}
