//! Where Immich is on this machine: its `.env` file, its containers, its UPLOAD_LOCATION.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::ImmichEnv;
use super::docker::{self, Container};
use super::location::FOLDERS;
use super::places::LibraryRoot;
use crate::base::{Error, ErrorKind, FilePath, Result};

/// Where people put Immich's compose file, `~` being each home folder.
const USUAL: [&str; 11] = [
    ".",
    "~/immich-app",
    "~/immich",
    "~/docker/immich",
    "/opt/immich",
    "/opt/immich-app",
    "/srv/immich",
    "/docker/immich",
    "/opt/stacks/immich",
    "/mnt/user/appdata/immich",
    "/root/immich-app",
];
/// Where the server has UPLOAD_LOCATION, since v1.137 and before.
const MEDIA: [&str; 2] = ["/data", "/usr/src/app/upload"];

/// What was found of Immich.
#[derive(Debug)]
pub struct Installation {
    /// The `.env` file, and what it says.
    pub env: Option<(PathBuf, ImmichEnv)>,
    /// Why the `.env` file that was found without being named is of no use.
    pub misread: Option<Error>,
    pub containers: Result<Vec<Container>>,
}

impl Installation {
    /// Looks into `folder`, which must hold Immich's `.env` file; without one where docker says,
    /// else at the usual places.
    pub fn find(folder: Option<&Path>, docker: &OsStr) -> Result<Installation> {
        let containers = docker::containers(docker);
        if let Some(folder) = folder {
            return Ok(Installation { env: Some(named(folder)?), misread: None, containers });
        }
        let said = containers.iter().flatten().filter(|it| it.is_server() || it.is_database());
        let said = said.filter_map(|container| container.compose_folder().map(Path::to_owned));
        let mut misread = None;
        let places: Vec<PathBuf> = said.chain(usual()).collect();
        let env = places.iter().find_map(|place| match of_immich(place) {
            Ok(env) => env,
            Err(error) => {
                misread.get_or_insert(error);
                None
            }
        });
        Ok(Installation { misread: misread.filter(|_| env.is_none()), env, containers })
    }

    /// The container of the database: of the `.env` file's own compose project, if there are
    /// several.
    pub fn database(&self) -> Option<&Container> {
        self.container(Container::is_database)
    }

    /// The container of the server.
    pub fn server(&self) -> Option<&Container> {
        self.container(Container::is_server)
    }

    fn container(&self, is_it: fn(&Container) -> bool) -> Option<&Container> {
        let folder = self.env.as_ref().and_then(|(file, _)| file.parent());
        let all = || self.containers.iter().flatten().filter(|container| is_it(container));
        all()
            .find(|container| folder.is_some() && container.compose_folder() == folder)
            .or_else(|| all().next())
    }

    /// UPLOAD_LOCATION on this machine: what the server's container sees, else what the `.env` file
    /// says.
    pub fn upload_location(&self) -> Option<PathBuf> {
        let seen = self.server().and_then(|server| {
            MEDIA.iter().find_map(|path| server.on_this_machine(Path::new(path)))
        });
        let said = || self.env.as_ref()?.1.upload_location.clone();
        // Each folder may be a mount of its own: theirs lie beside one another.
        let beside = || self.mounted().find_map(|root| Some(root.folder.parent()?.to_owned()));
        seen.or_else(said).or_else(beside)
    }

    /// Folders of UPLOAD_LOCATION that the server's container has from other places of this
    /// machine.
    pub fn elsewhere(&self) -> Vec<LibraryRoot> {
        let location = self.upload_location();
        let usual = |root: &LibraryRoot| {
            location.as_ref().map(|location| root.shown.below(location).canonicalize())
        };
        let is_usual = |root: &LibraryRoot| matches!((usual(root), root.folder.canonicalize()), (Some(Ok(a)), Ok(b)) if a == b);
        self.mounted().filter(|root| !is_usual(root)).collect()
    }

    /// What the server's container has below the place of UPLOAD_LOCATION by a mount of its own.
    fn mounted(&self) -> impl Iterator<Item = LibraryRoot> {
        let mounts = self.server().into_iter().flat_map(|server| &server.mounts);
        let shown = |target: &Path| {
            let rest = MEDIA.iter().find_map(|media| target.strip_prefix(media).ok())?;
            let shown = FilePath::new(rest.as_os_str().as_encoded_bytes()).ok()?;
            FOLDERS
                .iter()
                .any(|name| shown.parts().next() == Some(name.as_bytes()))
                .then_some(shown)
        };
        mounts.filter_map(move |bind| {
            Some(LibraryRoot { folder: bind.source.clone(), shown: shown(&bind.target)? })
        })
    }
}

/// The `.env` file in `folder`, where a person says that it is.
fn named(folder: &Path) -> Result<(PathBuf, ImmichEnv)> {
    let env = ImmichEnv::read(folder).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Error::invalid(format_args!("no .env file of Immich found in {}", folder.display()))
                .hint(
                    "name the folder of its compose file: --immich FOLDER; or \
                SHOEBOX_UPLOAD_LOCATION=FOLDER without it",
                )
        }
        _ => error,
    })?;
    if env.upload_location.is_none() {
        return Err(env.without_location());
    }
    Ok((env.file.canonicalize().unwrap_or_else(|_| env.file.clone()), env))
}

/// Immich's `.env` file in `place`, if there is one: it says UPLOAD_LOCATION.
fn of_immich(place: &Path) -> Result<Option<(PathBuf, ImmichEnv)>> {
    match ImmichEnv::read(place) {
        Ok(env) if env.upload_location.is_none() => Ok(None),
        Ok(env) => Ok(Some((env.file.canonicalize().unwrap_or_else(|_| env.file.clone()), env))),
        // Others have such files too, in any folder: only one that speaks of Immich is worth a
        // word.
        Err(error) if error.kind() == ErrorKind::Invalid && speaks_of_immich(place) => Err(error),
        Err(_) => Ok(None),
    }
}

fn speaks_of_immich(place: &Path) -> bool {
    let text = std::fs::read(place.join(".env")).unwrap_or_default();
    memchr::memmem::find(&text, b"UPLOAD_LOCATION").is_some()
}

fn usual() -> impl Iterator<Item = PathBuf> {
    let homes =
        std::fs::read_dir("/home").into_iter().flatten().flatten().map(|entry| entry.path());
    let homes: Vec<PathBuf> = std::env::home_dir().into_iter().chain(homes).collect();
    USUAL.iter().flat_map(move |place| match place.strip_prefix("~/") {
        Some(rest) => homes.iter().map(|home| home.join(rest)).collect(),
        None => vec![PathBuf::from(place)],
    })
}
