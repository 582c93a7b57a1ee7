//! The server that a drill loads the dump into.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{Options, STOPPED};
use crate::base::{Error, ErrorKind, Monitor, Result};
use crate::repo::Repository;
use crate::source::DatabaseAccess;
use crate::source::installation::Installation;
use crate::source::postgres::throwaway::{
    SandboxWalls, ServerPrograms, ThrowAway, WantedServer, docker_answers, image,
};
use crate::task::database::{self, LoadRights, Report};
use crate::task::dump::SnapshotDump;

/// What the database is called on the throw-away server.
pub(super) const DATABASE: &str = "immich";
const SUPERUSER: &str = "postgres";
/// Whose database it is there: nobody with power.
pub(super) const OWNER: &str = "immich";
const NEXT: &str =
    "install PostgreSQL (`apt install postgresql`) with what Immich needs, or docker";
const NEXT_IN_CONTAINER: &str = "this is a container without docker: run `shoebox drill` on the \
    machine itself; or put a PostgreSQL server \
    with what Immich needs, and bubblewrap, into the image, and name its programs: \
    SHOEBOX_DRILL_POSTGRES=/usr/lib/postgresql/17/bin";

/// Which server to load the dump into.
#[derive(Debug, Clone)]
pub enum DrillServers {
    /// The best of this machine's, if it has what the dump needs; else a container, if `docker`
    /// answers; else none.
    Any { docker: OsString },
    /// The programs in this folder.
    Programs(PathBuf),
    /// A container of this image; else of that of Immich's own database as it runs here; else of
    /// one that fits.
    Container { docker: OsString, image: Option<String> },
    /// None.
    None,
}

/// What came of looking for a server.
pub(super) enum ServerTrial {
    Loaded {
        server: ThrowAway,
        report: Box<Report>,
    },
    /// A server was there, of this version, and the dump did not load.
    Failed {
        server: String,
        error: Error,
    },
    /// None, and why.
    None {
        why: String,
        next: String,
    },
}

/// A server that can be had.
enum ServerCandidate {
    Programs(ServerPrograms),
    /// The program that stands for docker, and the image.
    Container(OsString, String),
}

/// Loads the dump into the first server that has what it needs.
///
/// # Errors
/// A server that was named cannot be had, or lacks what the dump needs; or none can be had where
/// one is required.
pub(super) fn load(
    repository: &Repository,
    dump: &SnapshotDump,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<ServerTrial> {
    let info = &dump.record.dump;
    let wanted = WantedServer {
        major: info.postgres.as_deref().and_then(major),
        extensions: info.extensions.clone(),
    };
    let named =
        matches!(options.servers, DrillServers::Programs(_) | DrillServers::Container { .. });
    let (mut reasons, mut next) = (Vec::new(), None);
    for candidate in options.servers.candidates(&wanted)? {
        STOPPED.check(monitor)?;
        match attempt(repository, dump, &candidate, &wanted, options, monitor)? {
            Ok(tried) => return Ok(tried),
            Err(error) if named => return Err(error),
            Err(error) => {
                reasons.push(error.chain());
                // What is to be done about a server of this machine is said for all of them.
                let hint = error
                    .next_step()
                    .filter(|_| matches!(candidate, ServerCandidate::Container(..)));
                next = next.or(hint.map(str::to_owned));
            }
        }
    }
    let why = match (&options.servers, reasons.is_empty()) {
        (DrillServers::None, _) => "none was wanted".to_owned(),
        (_, true) => "this machine has no PostgreSQL server, and docker does not answer".to_owned(),
        (_, false) => reasons.join("; "),
    };
    let next =
        next.unwrap_or_else(|| if is_in_container() { NEXT_IN_CONTAINER } else { NEXT }.to_owned());
    if options.require_server {
        return Err(
            Error::new(ErrorKind::NotFound, format_args!("no server can be had: {why}")).hint(next)
        );
    }
    Ok(ServerTrial::None { why, next })
}

/// True inside of docker's containers, podman's and systemd's.
fn is_in_container() -> bool {
    let is_said = std::env::var_os("container").is_some_and(|name| !name.is_empty());
    is_said || ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists())
}

/// The image that Immich's own database has here, since the dump came out of it; else one of
/// Immich's own that fits.
fn suitable_image(docker: &OsStr, wanted: &WantedServer) -> String {
    let installation = Installation::find(None, docker).ok();
    let running = installation
        .as_ref()
        .and_then(Installation::database)
        .map(|container| container.image.clone());
    let is_older = |image: &String| {
        image_major(image).zip(wanted.major).is_some_and(|(has, wants)| has < wants)
    };
    running.filter(|image| !is_older(image)).unwrap_or_else(|| image(wanted))
}

/// The major version in a tag such as `14-vectorchord0.4.3` or `pg14-v0.2.0`.
fn image_major(image: &str) -> Option<u32> {
    let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
    let digits = tag.trim_start_matches("pg").split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

impl DrillServers {
    fn candidates(&self, wanted: &WantedServer) -> Result<Vec<ServerCandidate>> {
        let container = |docker: &OsString, chosen: Option<&String>| {
            let image = chosen.cloned().unwrap_or_else(|| suitable_image(docker, wanted));
            ServerCandidate::Container(docker.clone(), image)
        };
        Ok(match self {
            DrillServers::None => Vec::new(),
            DrillServers::Container { docker, image } => vec![container(docker, image.as_ref())],
            DrillServers::Programs(folder) => {
                let found = ServerPrograms::in_folder(folder)
                    .or_else(|| ServerPrograms::in_folder(&folder.join("bin")));
                vec![ServerCandidate::Programs(found.ok_or_else(|| no_programs(folder))?)]
            }
            DrillServers::Any { docker } => {
                let local = ServerPrograms::best(ServerPrograms::of_this_machine(), wanted)
                    .map(ServerCandidate::Programs);
                let other = docker_answers(docker).then(|| container(docker, None));
                local.into_iter().chain(other).collect()
            }
        })
    }
}

fn no_programs(folder: &Path) -> Error {
    Error::not_found(format_args!("a PostgreSQL server in {}", folder.display()))
        .hint("the folder must hold initdb, postgres and psql, such as /usr/lib/postgresql/18/bin")
}

/// Starts a server and loads the dump; the inner error says why this server is none for this dump.
fn attempt(
    repository: &Repository,
    dump: &SnapshotDump,
    candidate: &ServerCandidate,
    wanted: &WantedServer,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Result<ServerTrial>> {
    let walls =
        if options.sandbox { SandboxWalls::Around(repository.root()) } else { SandboxWalls::None };
    let started = match candidate {
        ServerCandidate::Programs(programs) => ThrowAway::in_folder(programs, wanted, walls),
        ServerCandidate::Container(docker, image) => ThrowAway::in_container(docker, image),
    };
    let server = match started {
        Ok(server) => server,
        Err(error) => return Ok(Err(error)),
    };
    let (database, user) = (Some(DATABASE.to_owned()), Some(SUPERUSER.to_owned()));
    let target = DatabaseAccess { database, user, ..DatabaseAccess::new(server.server()) };
    let rights = LoadRights::Kept(OWNER.to_owned());
    let (snapshot, accepted) = (dump.id.to_string(), options.accepted.clone());
    let options =
        database::Options { snapshot, rights, accepted, ..database::Options::new(target) };
    match database::attempt(repository, &options, monitor) {
        Ok(Ok(report)) => Ok(Ok(ServerTrial::Loaded { server, report: Box::new(report) })),
        Ok(Err(obstacle)) => {
            let what = format!("PostgreSQL {}: {}", server.version(), obstacle.what);
            Ok(Err(Error::new(ErrorKind::Refused, what)
                .hint("`--docker` takes a container of Immich's own image")))
        }
        Err(error) if is_of_the_dump(error.kind()) => {
            Ok(Ok(ServerTrial::Failed { server: server.version().to_owned(), error }))
        }
        Err(error) => Err(error),
    }
}

/// True where the dump, or the server that was fed with it, is what failed; the rest is trouble of
/// this machine.
fn is_of_the_dump(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Damaged
        | ErrorKind::Refused
        | ErrorKind::Program
        | ErrorKind::Unsupported
        | ErrorKind::Invalid => true,
        ErrorKind::NotFound
        | ErrorKind::Exists
        | ErrorKind::Locked
        | ErrorKind::Permission
        | ErrorKind::NoSpace
        | ErrorKind::Exhausted
        | ErrorKind::Interrupted
        | ErrorKind::Io
        | ErrorKind::Bug => false,
    }
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_tag_says_which_postgresql_is_in_it() {
        for (image, major) in [
            (
                "ghcr.io/immich-app/postgres:14-vectorchord0.4.3-pgvectors0.2.0@sha256:bcf63357191b",
                Some(14),
            ),
            ("tensorchord/pgvecto-rs:pg16-v0.2.1", Some(16)),
            ("registry:5000/postgres:17", Some(17)),
            ("postgres:latest", None),
            ("postgres", None),
        ] {
            assert_eq!(image_major(image), major, "{image}");
        }
    }
}
