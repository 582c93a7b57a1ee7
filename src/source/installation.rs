//! Where Immich is on this machine: its `.env` file, its containers, its UPLOAD_LOCATION.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::ImmichEnv;
use super::docker::{self, Container};
use crate::base::Result;

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
    pub containers: Result<Vec<Container>>,
}

impl Installation {
    /// Looks into `folder`, else where docker says, else at the usual places.
    pub fn find(folder: Option<&Path>, docker: &OsStr) -> Installation {
        let containers = docker::containers(docker);
        let said = containers.iter().flatten().filter(|it| it.is_server() || it.is_database());
        let said = said.filter_map(|container| container.compose_folder().map(Path::to_owned));
        let places: Vec<PathBuf> = match folder {
            Some(folder) => vec![folder.to_owned()],
            None => said.chain(usual()).collect(),
        };
        let env = places.iter().find_map(|place| of_immich(place));
        Installation { env, containers }
    }

    /// The container of the database: of the `.env` file's own compose project, if there are several.
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
        all().find(|container| folder.is_some() && container.compose_folder() == folder).or_else(|| all().next())
    }

    /// UPLOAD_LOCATION on this machine: what the server's container sees, else what the `.env` file says.
    pub fn upload_location(&self) -> Option<PathBuf> {
        let seen =
            self.server().and_then(|server| MEDIA.iter().find_map(|path| server.on_this_machine(Path::new(path))));
        seen.or_else(|| self.env.as_ref()?.1.upload_location.clone())
    }
}

/// Immich's `.env` file in `place`, if there is one: it says UPLOAD_LOCATION.
fn of_immich(place: &Path) -> Option<(PathBuf, ImmichEnv)> {
    let file = if place.is_dir() { place.join(".env") } else { place.to_owned() };
    let env = ImmichEnv::read(&file).ok()?;
    env.upload_location.is_some().then_some((file.canonicalize().unwrap_or(file), env))
}

fn usual() -> impl Iterator<Item = PathBuf> {
    let homes = std::fs::read_dir("/home").into_iter().flatten().flatten().map(|entry| entry.path());
    let homes: Vec<PathBuf> = std::env::home_dir().into_iter().chain(homes).collect();
    USUAL.iter().flat_map(move |place| match place.strip_prefix("~/") {
        Some(rest) => homes.iter().map(|home| home.join(rest)).collect(),
        None => vec![PathBuf::from(place)],
    })
}
