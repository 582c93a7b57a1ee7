//! The database: is it reached, does the client fit, is it Immich's, what does it say of external
//! libraries.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::{DoctorFinding, DoctorSetup};
use crate::immich;
use crate::source::ExternalFolder;
use crate::source::installation::Installation;
use crate::source::postgres::{
    ClientWeakness, ServerProbe, ServerReached, ask_soon, client_version, probe,
};
use crate::source::{ClientPrograms, DatabaseAccess, DumpTool, ServerPlace};

/// What the database told.
#[derive(Debug, Default)]
pub(super) struct DatabaseFacts {
    pub findings: Vec<DoctorFinding>,
    /// Bytes of the photos.
    pub bytes: Option<u64>,
    /// The folders of external libraries, as the server sees them.
    pub roots: Vec<ExternalRoot>,
    pub time: Option<Timestamp>,
}

/// A folder of an external library.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ExternalRoot {
    pub library: String,
    pub path: PathBuf,
}

/// One question for all.
#[derive(Deserialize)]
struct ServerFacts {
    now: i64,
    bytes: Option<u64>,
    version: Option<String>,
    schema: Option<String>,
    roots: Vec<ExternalRoot>,
}

pub(super) fn database(setup: &DoctorSetup, clients: &ClientPrograms) -> DatabaseFacts {
    let mut library = DatabaseFacts::default();
    let Some((access, tool)) = &setup.access else {
        library.findings.extend(setup.dump.as_deref().map(dumps));
        return library;
    };
    let reached = match probe(access, Duration::ZERO, &|| false) {
        Ok(ServerReached::Database(probe)) => probe,
        Ok(ServerReached::NoDatabase { name, .. }) => {
            let fix = "name it: database-name in the settings file (DB_DATABASE_NAME of Immich's \
                .env file)";
            library
                .findings
                .push(DoctorFinding::bad(format!("the server has no database {name}"), fix));
            return library;
        }
        Err(error) => {
            library.findings.push(DoctorFinding::of(&error));
            return library;
        }
    };
    let told = format!("the database {} answers: PostgreSQL {}", reached.database, reached.version);
    library.findings.push(DoctorFinding::good(told));
    library.findings.extend(client(access, *tool, &reached, clients));
    library.findings.extend(reached.weakness().map(|weakness| old(access, weakness)));
    facts(access, &reached, &mut library);
    library
}

/// The client that would make the dump must not be older than the server.
fn client(
    access: &DatabaseAccess,
    tool: DumpTool,
    server: &ServerProbe,
    clients: &ClientPrograms,
) -> Option<DoctorFinding> {
    if matches!(access.server, ServerPlace::Docker { .. }) {
        return Some(DoctorFinding::good(
            "the dump is made by the client in the container, which fits",
        ));
    }
    let program = tool.program();
    let Some(version) = client_version(program, clients) else {
        let fix = "apt install postgresql-client; or use the one in the container: --docker \
            immich_postgres";
        return Some(DoctorFinding::bad(format!("{program} is not installed"), fix));
    };
    Some(if version >= server.major() {
        DoctorFinding::good(format!("{program} {version} fits the server"))
    } else {
        DoctorFinding::bad(
            format!("{program} {version} is older than the server, version {}", server.major()),
            format!(
                "apt install postgresql-client-{}; or use the one in the container: --docker \
                    immich_postgres",
                server.major()
            ),
        )
    })
}

/// A psql that is too old to read a dump that somebody else may have written.
fn old(access: &DatabaseAccess, weakness: ClientWeakness) -> DoctorFinding {
    let in_container =
        || "pull a newer image of the database (`docker compose pull database`)".to_owned();
    let fix = match access.server {
        ServerPlace::Docker { .. } => in_container(),
        ServerPlace::Url(_) | ServerPlace::Environment | ServerPlace::Private(_) => weakness.cure(),
    };
    DoctorFinding::note(format!("{weakness}: `restore-database` reads dumps by it"), fix)
}

fn facts(access: &DatabaseAccess, probe: &ServerProbe, library: &mut DatabaseFacts) {
    let Some(sql) = facts_sql(probe) else {
        let fix =
            "name Immich's database: database-name in the settings file; or let Immich start once";
        let what = format!("the database {} is not Immich's", probe.database);
        library.findings.push(DoctorFinding::bad(what, fix));
        return;
    };
    match ask_soon(access, &sql).map(|text| serde_json::from_str::<ServerFacts>(text.trim())) {
        Ok(Ok(facts)) => library.take(facts),
        Ok(Err(error)) => tracing::debug!(%error, "what the database says of Immich"),
        Err(error) => library.findings.push(DoctorFinding::of(&error)),
    }
}

/// Asks for [`ServerFacts`]; `None` where the database is not Immich's.
fn facts_sql(probe: &ServerProbe) -> Option<String> {
    let has = |name: &str| probe.tables.contains(name);
    let table = |names: [&'static str; 2]| names.into_iter().find(|name| has(name));
    table(["asset", "assets"])?;
    let null = || "NULL".to_owned();
    let bytes = table(["asset_exif", "exif"]).map_or_else(null, |table| {
        format!("(SELECT coalesce(sum(\"fileSizeInByte\"), 0) FROM public.{table})")
    });
    let version = if has("version_history") {
        "(SELECT version FROM public.version_history ORDER BY \"createdAt\" DESC LIMIT 1)"
    } else {
        "NULL"
    };
    let schema = if has("kysely_migrations") {
        "(SELECT max(name) FROM public.kysely_migrations)"
    } else {
        "NULL"
    };
    let roots = table(["library", "libraries"]).map_or_else(
        || "'[]'::json".to_owned(),
        |table| {
            format!(
                "(SELECT coalesce(json_agg(json_build_object('library', name, 'path', path)), \
                 '[]') FROM public.{table}, unnest(\"importPaths\") path \
                 WHERE \"deletedAt\" IS NULL)"
            )
        },
    );
    Some(format!(
        "SELECT json_build_object('now', extract(epoch FROM now())::bigint, 'bytes', {bytes}, \
         'version', {version}, 'schema', {schema}, 'roots', {roots});"
    ))
}

impl DatabaseFacts {
    fn take(&mut self, facts: ServerFacts) {
        self.bytes = facts.bytes;
        self.roots = facts.roots;
        self.time = Timestamp::from_second(facts.now).ok();
        let version = facts.version.map_or_else(
            || "of unknown version".to_owned(),
            |version| format!("version {version}"),
        );
        self.findings.push(DoctorFinding::good(format!("it is Immich's, {version}")));
        let newer = immich::newer_than_known(facts.schema.as_deref());
        let newer = newer.map(|newer| DoctorFinding::note(newer, "install the newest shoebox"));
        self.findings.extend(newer);
    }
}

/// Where dumps of others are taken.
fn dumps(path: &Path) -> DoctorFinding {
    if path.exists() {
        DoctorFinding::good(format!("dumps are taken from {}", path.display()))
    } else {
        DoctorFinding::bad(
            format!("dumps are to be taken from {}, which is not there", path.display()),
            "is its disk mounted? its path is `dump` in the settings file",
        )
    }
}

/// The setting that covers a folder.
fn cover<'a>(root: &ExternalRoot, setup: &'a DoctorSetup) -> Option<&'a ExternalFolder> {
    setup.external.iter().find(|external| root.path.starts_with(&external.server))
}

/// How a folder is that a setting covers.
fn covered(root: &ExternalRoot, external: &ExternalFolder) -> DoctorFinding {
    let (path, library) = (root.path.display(), &root.library);
    let below = root.path.strip_prefix(&external.server).unwrap_or(Path::new(""));
    let folder = external.folder.join(below);
    let is = match folder.read_dir().map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            return DoctorFinding::good(format!(
                "the external library {library} at {path} is covered"
            ));
        }
        Ok(false) => "is empty".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "is not there".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    DoctorFinding::bad(
        format!(
            "the external library {library} at {path} is to be read from {}, which {is}",
            folder.display()
        ),
        "is its disk mounted? its path is `external` in [backup] of the settings file",
    )
}

/// Where a folder of the server lies on this machine: as its container sees it, else at the same
/// place.
fn here(root: &ExternalRoot, installation: &Installation) -> Option<PathBuf> {
    let seen = installation.server().and_then(|server| server.on_this_machine(&root.path));
    seen.or_else(|| root.path.is_dir().then(|| root.path.clone()))
}

/// Folders that no setting covers and that are on this machine.
pub(super) fn uncovered(
    roots: &[ExternalRoot],
    installation: &Installation,
    setup: &DoctorSetup,
) -> Vec<ExternalFolder> {
    let open = roots.iter().filter(|root| cover(root, setup).is_none());
    open.filter_map(|root| {
        Some(ExternalFolder { server: root.path.clone(), folder: here(root, installation)? })
    })
    .collect()
}

/// Folders of external libraries, and whether a setting covers them.
pub(super) fn external(
    roots: &[ExternalRoot],
    installation: &Installation,
    setup: &DoctorSetup,
) -> Vec<DoctorFinding> {
    let told = |root: &ExternalRoot| {
        let (path, library) = (root.path.display(), &root.library);
        if let Some(external) = cover(root, setup) {
            return covered(root, external);
        }
        let folder = here(root, installation)
            .map_or_else(|| "FOLDER".to_owned(), |here| here.display().to_string());
        DoctorFinding::note(
            format!("the external library {library} at {path} is not in the backup"),
            format!("external = [\"{path}={folder}\"] in [backup] of the settings file"),
        )
    };
    roots.iter().map(told).collect()
}
