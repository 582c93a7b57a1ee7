//! Containers, as docker tells of them: which run Immich, and which folders of this machine they
//! see.
//!
//! Only asked for, never changed. What a container's environment holds (passwords) is not kept.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::base::{Error, ErrorKind, Result};

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub running: bool,
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<ContainerBind>,
}

/// A folder of this machine in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerBind {
    /// On this machine.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedContainer {
    name: String,
    state: ContainerState,
    config: ContainerConfig,
    #[serde(default)]
    mounts: Vec<ContainerMount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerState {
    running: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerConfig {
    image: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerMount {
    source: PathBuf,
    destination: PathBuf,
}

impl Container {
    /// True for the database of Immich: its image, or the name that its compose file gives.
    pub fn is_database(&self) -> bool {
        let images =
            ["immich-app/postgres", "tensorchord/pgvecto-rs", "tensorchord/vchord-postgres"];
        self.name == "immich_postgres" || images.iter().any(|image| self.image.contains(image))
    }

    /// True for Immich's server.
    pub fn is_server(&self) -> bool {
        self.image.contains("immich-server")
    }

    /// The folder of its compose file.
    pub fn compose_folder(&self) -> Option<&Path> {
        self.labels.get("com.docker.compose.project.working_dir").map(Path::new)
    }

    /// Where the folder `target` of the container lies on this machine.
    pub fn on_this_machine(&self, target: &Path) -> Option<PathBuf> {
        let inside = self.mounts.iter().filter(|bind| target.starts_with(&bind.target));
        let nearest = inside.max_by_key(|bind| bind.target.components().count())?;
        let rest = target.strip_prefix(&nearest.target).ok()?;
        Some(if rest.as_os_str().is_empty() {
            nearest.source.clone()
        } else {
            nearest.source.join(rest)
        })
    }
}

/// All containers, running or not, that `docker` (or a program with the same flags) knows.
pub fn containers(docker: &OsStr) -> Result<Vec<Container>> {
    let ids = ask(docker, &["ps", "--all", "--quiet"])?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let text = ask(docker, &[&["inspect", "--type", "container"], &ids[..]].concat())?;
    let all: Vec<InspectedContainer> = serde_json::from_str(&text).map_err(|error| {
        Error::new(ErrorKind::Program, "docker's answer is not understood").caused_by(error)
    })?;
    Ok(all.into_iter().map(Container::from).collect())
}

impl From<InspectedContainer> for Container {
    fn from(found: InspectedContainer) -> Container {
        let bind = |mount: ContainerMount| ContainerBind {
            source: mount.source,
            target: mount.destination,
        };
        Container {
            name: found.name.trim_start_matches('/').to_owned(),
            image: found.config.image,
            running: found.state.running,
            labels: found.config.labels.unwrap_or_default(),
            mounts: found.mounts.into_iter().map(bind).collect(),
        }
    }
}

fn ask(docker: &OsStr, arguments: &[&str]) -> Result<String> {
    let name = docker.to_string_lossy();
    let output =
        Command::new(docker).args(arguments).env("LC_ALL", "C").output().map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::NotFound => {
                    Error::new(ErrorKind::NotFound, format_args!("{name} is not installed"))
                }
                _ => Error::io(format_args!("starting {name}"), error),
            }
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.lines().next().unwrap_or_default();
    let error = Error::new(ErrorKind::Program, format_args!("{name} does not answer: {words}"));
    Err(if words.contains("permission denied") {
        error.hint("run as root, or add the user to the group docker and log in again")
    } else {
        error.hint("start it: `systemctl start docker`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSPECTED: &str = r#"[{"Id":"1","Name":"/immich_server","State":{"Running":true,"Pid":1},
        "Config":{"Image":"ghcr.io/immich-app/immich-server:v3","Env":["DB_PASSWORD=x"],
                  "Labels":{"com.docker.compose.project.working_dir":"/srv/immich"}},
        "Mounts":[{"Type":"bind","Source":"/srv/immich/library","Destination":"/data","RW":true},
                  {"Type":"bind","Source":"/mnt/nas","Destination":"/mnt/external","RW":false}]}]"#;

    #[test]
    fn a_folder_of_a_container_is_found_on_this_machine() {
        let all: Vec<InspectedContainer> = serde_json::from_str(INSPECTED).unwrap();
        let server = Container::from(all.into_iter().next().unwrap());
        assert!(server.is_server() && server.running && !server.is_database());
        assert_eq!(server.compose_folder(), Some(Path::new("/srv/immich")));
        let here = |target: &str| server.on_this_machine(Path::new(target));
        assert_eq!(here("/data"), Some("/srv/immich/library".into()));
        assert_eq!(here("/mnt/external/family"), Some("/mnt/nas/family".into()));
        assert_eq!(here("/other"), None);
    }
}
