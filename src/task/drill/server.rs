//! Where a drill's server comes from.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::base::dump::DumpInfo;
use crate::base::{Error, Result};
use crate::source::postgres::throwaway::{Programs, ThrowAway, Wanted, docker_answers, image};

/// Which server to load the dump into.
#[derive(Debug, Clone)]
pub enum Servers {
    /// The best of this machine's, if it has what the dump needs; else a container, if `docker` answers.
    Any { docker: OsString },
    /// The programs in this folder.
    Programs(PathBuf),
    /// A container of this image; else of Immich's own that fits.
    Container { docker: OsString, image: Option<String> },
    /// None.
    None,
}

impl Servers {
    /// Starts one for the dump `info`. The inner error says why there is none.
    pub(super) fn start(&self, info: &DumpInfo) -> Result<std::result::Result<ThrowAway, String>> {
        let major = info.postgres.as_deref().and_then(|version| version.split('.').next()?.parse().ok());
        let wanted = Wanted { major, extensions: info.extensions.clone() };
        match self {
            Servers::None => Ok(Err("none was wanted".to_owned())),
            Servers::Programs(folder) => {
                let programs = Programs::in_folder(folder).ok_or_else(|| no_programs(folder))?;
                ThrowAway::in_folder(&programs, &wanted).map(Ok)
            }
            Servers::Container { docker, image: chosen } => {
                let image = chosen.clone().unwrap_or_else(|| image(&wanted));
                ThrowAway::in_container(docker, &image).map(Ok)
            }
            Servers::Any { docker } => any(docker, &wanted),
        }
    }
}

fn any(docker: &OsString, wanted: &Wanted) -> Result<std::result::Result<ThrowAway, String>> {
    let best = Programs::best(Programs::of_this_machine(), wanted);
    let lacking = |programs: &Programs| -> Vec<String> {
        let lacks = wanted.extensions.iter().filter(|name| name.as_str() != "plpgsql" && !programs.has(name));
        lacks.cloned().collect()
    };
    match best {
        Some(programs) if lacking(&programs).is_empty() => ThrowAway::in_folder(&programs, wanted).map(Ok),
        _ if docker_answers(docker) => ThrowAway::in_container(docker, &image(wanted)).map(Ok),
        Some(programs) => Ok(Err(format!(
            "this machine's PostgreSQL {} lacks {}, and {} does not answer",
            programs.version,
            lacking(&programs).join(", "),
            docker.display()
        ))),
        None => Ok(Err(format!("this machine has no PostgreSQL server, and {} does not answer", docker.display()))),
    }
}

fn no_programs(folder: &std::path::Path) -> Error {
    Error::not_found(format_args!("a PostgreSQL server in {}", folder.display()))
        .hint("the folder must hold initdb, postgres and psql, such as /usr/lib/postgresql/18/bin")
}
