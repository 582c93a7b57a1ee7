//! The server that a drill loads the dump into.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Options, stop_if_asked};
use crate::base::{Error, Kind, Monitor, Result};
use crate::repo::Repository;
use crate::source::Access;
use crate::source::postgres::throwaway::{Programs, ThrowAway, Walls, Wanted, docker_answers, image};
use crate::task::database::{self, Report, Rights};
use crate::task::dump::SnapshotDump;

/// What the database is called on the throw-away server.
pub(super) const DATABASE: &str = "immich";
const SUPERUSER: &str = "postgres";
/// Whose database it is there: nobody with power.
pub(super) const OWNER: &str = "immich";
const NEXT: &str = "install PostgreSQL (`apt install postgresql`) with what Immich needs, or docker";

/// Which server to load the dump into.
#[derive(Debug, Clone)]
pub enum Servers {
    /// The best of this machine's, if it has what the dump needs; else a container, if `docker` answers; else none.
    Any { docker: OsString },
    /// The programs in this folder.
    Programs(PathBuf),
    /// A container of this image; else of Immich's own that fits.
    Container { docker: OsString, image: Option<String> },
    /// None.
    None,
}

/// What came of looking for a server.
pub(super) enum Tried {
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
    None(String),
}

/// A server that can be had.
enum Candidate {
    Programs(Programs),
    /// The program that stands for docker, and the image.
    Container(OsString, String),
}

/// Loads the dump into the first server that has what it needs.
///
/// # Errors
/// A server that was named cannot be had, or lacks what the dump needs; or none can be had where one is required.
pub(super) fn load(
    repository: &Repository,
    dump: &SnapshotDump,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Tried> {
    let info = &dump.record.dump;
    let wanted = Wanted { major: info.postgres.as_deref().and_then(major), extensions: info.extensions.clone() };
    let named = matches!(options.servers, Servers::Programs(_) | Servers::Container { .. });
    let mut reasons = Vec::new();
    for candidate in options.servers.candidates(&wanted)? {
        stop_if_asked(monitor)?;
        match attempt(repository, dump, &candidate, &wanted, options, monitor)? {
            Ok(tried) => return Ok(tried),
            Err(error) if named => return Err(error),
            Err(error) => reasons.push(error.chain()),
        }
    }
    let why = match (&options.servers, reasons.is_empty()) {
        (Servers::None, _) => "none was wanted".to_owned(),
        (_, true) => "this machine has no PostgreSQL server, and docker does not answer".to_owned(),
        (_, false) => reasons.join("; "),
    };
    match options.require_server {
        true => Err(Error::new(Kind::NotFound, format_args!("no server can be had: {why}")).hint(NEXT)),
        false => Ok(Tried::None(why)),
    }
}

impl Servers {
    fn candidates(&self, wanted: &Wanted) -> Result<Vec<Candidate>> {
        let container = |docker: &OsString, chosen: Option<&String>| {
            Candidate::Container(docker.clone(), chosen.cloned().unwrap_or_else(|| image(wanted)))
        };
        Ok(match self {
            Servers::None => Vec::new(),
            Servers::Container { docker, image } => vec![container(docker, image.as_ref())],
            Servers::Programs(folder) => {
                let found = Programs::in_folder(folder).or_else(|| Programs::in_folder(&folder.join("bin")));
                vec![Candidate::Programs(found.ok_or_else(|| no_programs(folder))?)]
            }
            Servers::Any { docker } => {
                let local = Programs::best(Programs::of_this_machine(), wanted).map(Candidate::Programs);
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
    candidate: &Candidate,
    wanted: &Wanted,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Result<Tried>> {
    let walls = if options.sandbox { Walls::Around(repository.root()) } else { Walls::None };
    let started = match candidate {
        Candidate::Programs(programs) => ThrowAway::in_folder(programs, wanted, walls),
        Candidate::Container(docker, image) => ThrowAway::in_container(docker, image),
    };
    let server = match started {
        Ok(server) => server,
        Err(error) => return Ok(Err(error)),
    };
    let (database, user) = (Some(DATABASE.to_owned()), Some(SUPERUSER.to_owned()));
    let target = Access { database, user, ..Access::new(server.server()) };
    let rights = Rights::Kept(OWNER.to_owned());
    let (snapshot, accepted) = (dump.id.to_string(), options.accepted.clone());
    let options = database::Options { snapshot, rights, accepted, ..database::Options::new(target) };
    match database::attempt(repository, &options, monitor) {
        Ok(Ok(report)) => Ok(Ok(Tried::Loaded { server, report: Box::new(report) })),
        Ok(Err(obstacle)) => {
            let what = format!("PostgreSQL {}: {}", server.version(), obstacle.what);
            Ok(Err(Error::new(Kind::Refused, what).hint("`--docker` takes a container of Immich's own image")))
        }
        Err(error) if is_of_the_dump(error.kind()) => {
            Ok(Ok(Tried::Failed { server: server.version().to_owned(), error }))
        }
        Err(error) => Err(error),
    }
}

/// True where the dump, or the server that was fed with it, is what failed; the rest is trouble of this machine.
fn is_of_the_dump(kind: Kind) -> bool {
    match kind {
        Kind::Damaged | Kind::Refused | Kind::Program | Kind::Unsupported | Kind::Invalid => true,
        Kind::NotFound
        | Kind::Exists
        | Kind::Locked
        | Kind::Permission
        | Kind::NoSpace
        | Kind::Exhausted
        | Kind::Interrupted
        | Kind::Io => false,
    }
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}
