//! The command line and the environment of a client.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::base::{Error, Result};

use super::failure;
use super::url::{ConnectionUrl, KEEPALIVES};
use super::{ClientPrograms, DatabaseAccess, ServerPlace};

/// What Immich's compose file calls its database (DB_DATABASE_NAME).
const IMMICH_DATABASE: &str = "immich";

/// Runs in the container: `sh -c SCRIPT sh USER DATABASE PROGRAM FLAGS…`, where an empty argument
/// means "as the container was set up". The variables are those of the postgres image and of
/// Immich's compose file; each may also be given as a file.
const SCRIPT: &str = r#"
user=${1:-${POSTGRES_USER:-$(cat "$POSTGRES_USER_FILE" 2>/dev/null)}}
database=${2:-${POSTGRES_DB:-$(cat "$POSTGRES_DB_FILE" 2>/dev/null)}}
password=${PGPASSWORD:-${POSTGRES_PASSWORD:-$(cat "$POSTGRES_PASSWORD_FILE" 2>/dev/null)}}
export PGUSER="${user:-postgres}" PGDATABASE="${database:-immich}" PGPASSWORD="$password"
shift 2
exec "$@"
"#;

/// Goes before it for a client that changes the database: while the image sets a new one up, a
/// server of a few moments listens on the socket only.
const BY_TCP: &str = r#"export PGHOST="${PGHOST:-127.0.0.1}""#;

/// A client program with its flags, before it is known where the server is.
pub(super) struct ClientCommand<'a> {
    pub(super) program: &'a Path,
    pub(super) flags: &'a [&'a str],
}

/// `client` for a server that this machine reaches.
pub(super) fn on_this_machine(access: &DatabaseAccess, client: ClientCommand) -> Result<Command> {
    let mut command = Command::new(client.program);
    command.args(client.flags).env("LC_ALL", "C").env_remove("PGCLIENTENCODING");
    if env::var_os("PGCONNECT_TIMEOUT").is_none() {
        command.env("PGCONNECT_TIMEOUT", "30");
    }
    let password = match &access.server {
        ServerPlace::Url(text) => {
            let (mut url, password) = ConnectionUrl::parse(text)?;
            fit(&mut url, access);
            url.keep_alive();
            command.arg(format!("--dbname={}", url.without_password()));
            password
        }
        ServerPlace::Environment | ServerPlace::Docker { .. } | ServerPlace::Private(_) => {
            command.arg(format!("--dbname={}", KEEPALIVES.join(" ")));
            command.envs(access.user.as_ref().map(|user| ("PGUSER", user)));
            command.envs(database_variable(access).map(|name| ("PGDATABASE", name)));
            None
        }
    };
    command.envs(
        access
            .password
            .as_ref()
            .or(password.as_ref())
            .map(|secret| ("PGPASSWORD", secret.expose())),
    );
    Ok(command)
}

/// The client `program`, wherever `access` has it; `fed` when it reads what is written to it.
pub(super) fn of(
    access: &DatabaseAccess,
    program: &'static str,
    flags: &[&str],
    fed: bool,
) -> Result<Command> {
    let client = ClientCommand { program: Path::new(program), flags };
    match &access.server {
        ServerPlace::Docker { container, docker } => {
            in_container(access, container, docker, client, fed)
        }
        ServerPlace::Private(private) => Ok(private.client(access, &client)),
        ServerPlace::Url(_) | ServerPlace::Environment => {
            let found = ClientPrograms::of_this_machine()
                .first(program)
                .ok_or_else(|| failure::client_missing(program))?;
            on_this_machine(access, ClientCommand { program: &found, flags })
        }
    }
}

/// The database that a client on this machine asks for, unless it stands in a service file.
pub(super) fn database(access: &DatabaseAccess) -> Option<String> {
    let variable = || env::var("PGDATABASE").ok().filter(|name| !name.is_empty());
    match &access.server {
        ServerPlace::Url(text) => {
            let (mut url, _) = ConnectionUrl::parse(text).ok()?;
            fit(&mut url, access);
            url.database().map(str::to_owned).or_else(variable)
        }
        ServerPlace::Environment | ServerPlace::Docker { .. } | ServerPlace::Private(_) => {
            database_variable(access).map(str::to_owned).or_else(variable)
        }
    }
}

/// Puts what is named apart from it into the URL.
fn fit(url: &mut ConnectionUrl, access: &DatabaseAccess) {
    if let Some(user) = &access.user {
        url.set_user(user);
    }
    match &access.database {
        Some(database) => url.set_database(database),
        None if !url.names_database() && !environment_names_database() => {
            url.set_database(IMMICH_DATABASE)
        }
        None => {}
    }
}

/// The database by its variable: unlike the flag, libpq never takes that for a connection string.
fn database_variable(access: &DatabaseAccess) -> Option<&str> {
    match &access.database {
        Some(database) => Some(database),
        None if environment_names_database() => None,
        None => Some(IMMICH_DATABASE),
    }
}

fn environment_names_database() -> bool {
    ["PGDATABASE", "PGSERVICE"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The client inside `container`; `fed` when it reads what is written to it. Only the *name* of the
/// password's variable is on the command line.
pub(super) fn in_container(
    access: &DatabaseAccess,
    container: &str,
    docker: &OsStr,
    client: ClientCommand,
    fed: bool,
) -> Result<Command> {
    if container.is_empty() || container.starts_with('-') {
        return Err(Error::invalid(format_args!(
            "`{container}` is not the name of a \
            container"
        ))
        .hint(
            "`docker ps` lists the running ones; Immich's compose file calls it immich_postgres",
        ));
    }
    let mut command = Command::new(docker);
    command.arg("exec").args(fed.then_some("-i")).args(["-e", "LC_ALL=C"]);
    if let Some(password) = &access.password {
        command.args(["-e", "PGPASSWORD"]).env("PGPASSWORD", password.expose());
    }
    let script = if fed { [BY_TCP, SCRIPT].concat() } else { SCRIPT.to_owned() };
    command.args([container, "sh", "-c", &script, "sh"]);
    command.args([access.user.as_deref().unwrap_or(""), access.database.as_deref().unwrap_or("")]);
    command.arg(client.program).args(client.flags);
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
        let mut request = DatabaseAccess::new(ServerPlace::Url(url));
        let client = || ClientCommand { program: Path::new("pg_dump"), flags: &["--clean"] };
        let command = on_this_machine(&request, client()).unwrap();
        let database = "--dbname=postgresql://ann@db/immich?keepalives_idle=60&keepalives_interval=10&keepalives_count=6";
        assert_eq!(words(&command), ["--clean", database]);
        assert_eq!(variable(&command, "PGPASSWORD").as_deref(), Some("hunter2"));

        request.password = Some(Secret::new("hunter3"));
        let command = on_this_machine(&request, client()).unwrap();
        assert_eq!(variable(&command, "PGPASSWORD").as_deref(), Some("hunter3"));
        let command =
            in_container(&request, "immich_postgres", OsStr::new("docker"), client(), true)
                .unwrap();
        assert!(!words(&command).concat().contains("hunter"));
        assert_eq!(variable(&command, "PGPASSWORD").as_deref(), Some("hunter3"));
    }

    #[test]
    fn a_containers_name_is_not_taken_for_a_flag() {
        let request = DatabaseAccess::new(ServerPlace::docker("--privileged"));
        let client = ClientCommand { program: Path::new("psql"), flags: &[] };
        assert!(
            in_container(&request, "--privileged", OsStr::new("docker"), client, false).is_err()
        );
    }
}
