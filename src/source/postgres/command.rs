//! The command line and the environment of a client.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use crate::base::{Error, Result};

use super::url::ConnectionUrl;
use super::{DumpRequest, DumpTool, Server};

/// What Immich's compose file calls its database (DB_DATABASE_NAME).
const IMMICH_DATABASE: &str = "immich";

/// Immich's flags (`database-backup.service.ts`), and never a question at a terminal.
const FLAGS: [&str; 3] = ["--clean", "--if-exists", "--no-password"];

/// Runs in the container: `sh -c SCRIPT sh TOOL USER DATABASE`, where an empty argument means "as the container was set up".
/// The variables are those of the postgres image and of Immich's compose file; each may also be given as a file.
const SCRIPT: &str = r#"
user=${2:-${POSTGRES_USER:-$(cat "$POSTGRES_USER_FILE" 2>/dev/null)}}
database=${3:-${POSTGRES_DB:-$(cat "$POSTGRES_DB_FILE" 2>/dev/null)}}
password=${PGPASSWORD:-${POSTGRES_PASSWORD:-$(cat "$POSTGRES_PASSWORD_FILE" 2>/dev/null)}}
export PGUSER="${user:-postgres}" PGDATABASE="${database:-immich}" PGPASSWORD="$password"
exec "$1" --clean --if-exists --no-password
"#;

/// `program` for a server that this machine reaches.
pub(super) fn on_this_machine(request: &DumpRequest, program: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    command.args(FLAGS).env("LC_ALL", "C").env_remove("PGCLIENTENCODING");
    if env::var_os("PGCONNECT_TIMEOUT").is_none() {
        command.env("PGCONNECT_TIMEOUT", "30");
    }
    let password = match &request.server {
        Server::Url(text) => {
            let (mut url, password) = ConnectionUrl::parse(text)?;
            fit(&mut url, request);
            command.arg(format!("--dbname={}", url.without_password()));
            password
        }
        Server::Environment | Server::Docker { .. } => {
            command.envs(request.user.as_ref().map(|user| ("PGUSER", user)));
            command.envs(database_variable(request).map(|name| ("PGDATABASE", name)));
            None
        }
    };
    command.envs(request.password.as_ref().or(password.as_ref()).map(|secret| ("PGPASSWORD", secret.expose())));
    Ok(command)
}

/// Puts what the request names into the URL.
fn fit(url: &mut ConnectionUrl, request: &DumpRequest) {
    if let Some(user) = &request.user {
        url.set_user(user);
    }
    match &request.database {
        Some(database) => url.set_database(database),
        None if !url.names_database() && !environment_names_database() => url.set_database(IMMICH_DATABASE),
        None => {}
    }
}

/// The database by its variable: unlike the flag, libpq never takes that for a connection string.
fn database_variable(request: &DumpRequest) -> Option<&str> {
    match &request.database {
        Some(database) => Some(database),
        None if environment_names_database() => None,
        None => Some(IMMICH_DATABASE),
    }
}

fn environment_names_database() -> bool {
    ["PGDATABASE", "PGSERVICE"].iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The client inside `container`. Only the *name* of the password's variable is on the command line.
pub(super) fn in_container(request: &DumpRequest, container: &str, docker: &OsStr) -> Result<Command> {
    if container.is_empty() || container.starts_with('-') {
        return Err(Error::invalid(format_args!("`{container}` is no name of a container"))
            .hint("`docker ps` lists the running ones; Immich's compose file calls it immich_postgres"));
    }
    let mut command = Command::new(docker);
    command.args(["exec", "-e", "LC_ALL=C"]);
    if let Some(password) = &request.password {
        command.args(["-e", "PGPASSWORD"]).env("PGPASSWORD", password.expose());
    }
    let database = request.database.as_deref().filter(|_| request.tool == DumpTool::PgDump);
    let arguments = [request.tool.program(), request.user.as_deref().unwrap_or(""), database.unwrap_or("")];
    command.args([container, "sh", "-c", SCRIPT, "sh"]).args(arguments.map(OsString::from));
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Secret;

    fn words(command: &Command) -> Vec<String> {
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    fn variable(command: &Command, name: &str) -> Option<String> {
        let (_, value) = command.get_envs().find(|(key, _)| *key == name)?;
        Some(value?.to_string_lossy().into_owned())
    }

    #[test]
    fn a_password_is_never_on_the_command_line() {
        let url = "postgresql://ann:hunter2@db/immich".to_owned();
        let mut request = DumpRequest::new(Server::Url(url));
        let command = on_this_machine(&request, Path::new("pg_dump")).unwrap();
        assert_eq!(words(&command), [&FLAGS[..], &["--dbname=postgresql://ann@db/immich"]].concat());
        assert_eq!(variable(&command, "PGPASSWORD").as_deref(), Some("hunter2"));

        request.password = Some(Secret::new("hunter3"));
        let command = on_this_machine(&request, Path::new("pg_dump")).unwrap();
        assert_eq!(variable(&command, "PGPASSWORD").as_deref(), Some("hunter3"));
        let command = in_container(&request, "immich_postgres", OsStr::new("docker")).unwrap();
        assert!(!words(&command).concat().contains("hunter"));
        assert_eq!(variable(&command, "PGPASSWORD").as_deref(), Some("hunter3"));
    }

    #[test]
    fn a_containers_name_is_not_taken_for_a_flag() {
        let request = DumpRequest::new(Server::docker("--privileged"));
        assert!(in_container(&request, "--privileged", OsStr::new("docker")).is_err());
    }
}
