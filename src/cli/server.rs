//! Which database server is meant: what backup and restore-database understand alike.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::GlobalArgs;
use crate::base::Result;
use crate::source::{ImmichEnv, Secret, ServerPlace};

/// Where Immich's database is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ServerArgs {
    /// Immich's .env file (or its folder), for UPLOAD_LOCATION, DB_USERNAME, DB_PASSWORD and
    /// DB_DATABASE_NAME
    #[arg(long, env = "SHOEBOX_ENV_FILE", value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Use the database in this container, by `docker exec`
    #[arg(long, env = "SHOEBOX_DOCKER", value_name = "CONTAINER", group = "from")]
    docker: Option<String>,
    /// Use this database: postgresql://USER@HOST/DATABASE
    #[arg(
        long,
        env = "SHOEBOX_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        group = "from"
    )]
    database_url: Option<String>,
    /// The program to use instead of docker, such as podman
    #[arg(long, env = "SHOEBOX_DOCKER_PROGRAM", value_name = "PROGRAM", default_value = "docker")]
    docker_program: PathBuf,
}

impl ServerArgs {
    /// Immich's own settings, if they were named.
    pub fn env(&self) -> Result<Option<ImmichEnv>> {
        self.env_file.as_deref().map(|file: &Path| ImmichEnv::read(file)).transpose()
    }

    /// The program that stands for docker.
    pub fn docker_program(&self) -> &OsStr {
        self.docker_program.as_os_str()
    }

    /// True when it is said where the database is.
    pub fn is_said(&self) -> bool {
        self.docker.is_some() || self.database_url.is_some()
    }

    /// The server: the container, the URL, what `env` says, or else the `PG*` variables.
    pub fn server(&self, env: Option<&ImmichEnv>) -> ServerPlace {
        match (&self.docker, &self.database_url, env.and_then(|env| env.url.as_ref())) {
            (Some(container), _, _) => ServerPlace::Docker {
                container: container.clone(),
                docker: self.docker_program.clone().into_os_string(),
            },
            (None, Some(url), _) => ServerPlace::Url(url.clone()),
            (None, None, Some(url)) => ServerPlace::Url(url.expose().to_owned()),
            (None, None, None) => ServerPlace::Environment,
        }
    }
}

/// The password for the database: of our own settings, else of Immich's.
pub(super) fn password(global: &GlobalArgs, env: Option<&ImmichEnv>) -> Result<Option<Secret>> {
    match global.settings.secret("SHOEBOX_DATABASE_PASSWORD")? {
        Some(password) => Ok(Some(password)),
        None => Ok(env.and_then(|env| env.password.clone())),
    }
}
