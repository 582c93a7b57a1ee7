//! `shoebox restore-database`

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::output::{Output, plural, printable, size};
use super::progress::Progress;
use super::server::{ServerArgs, password};
use super::{CommandOutcome, GlobalArgs};
use crate::base::{Error, Result};
use crate::immich::fit::DuplicateRow;
use crate::source::DatabaseAccess;
use crate::task::database::{self, DatabasePlan, EmittedFile, LoadRights, Options, Report};

/// Restore the database: load a snapshot's dump into a fresh PostgreSQL server
///
/// Waits until the server answers, refuses a database that has Immich's tables already, fits the
/// dump to the server (statements only, never a row), loads it in one transaction that stops at the
/// first error, and compares the number of rows of every table with what was backed up. Stop Immich
/// first; start it when the files are there as well.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The snapshot: an id, a name in the mount, or `latest`
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    #[command(flatten)]
    server: ServerArgs,
    /// The database to restore into; it is created if it does not exist
    #[arg(long, env = "SHOEBOX_DATABASE_NAME", value_name = "NAME")]
    database_name: Option<String>,
    /// Which database of a cluster dump that holds several; default: the one that was backed up
    #[arg(long, value_name = "NAME")]
    source_database: Option<String>,
    /// Only show what would be done, and why
    #[arg(long)]
    plan: bool,
    /// Replace a database that has Immich's tables: it is kept under another name, and its owner,
    /// rights and settings are taken over
    #[arg(long)]
    replace: bool,
    /// Create missing roles of a cluster dump (without passwords), and keep all owners
    #[arg(long, requires = "trust_dump")]
    roles: bool,
    /// Load what is not Immich's as well (event triggers, foreign servers, other extensions and
    /// their tables, …)
    #[arg(long, requires = "trust_dump")]
    with_foreign_objects: bool,
    /// Skip rows whose key an earlier row has, which a broken index lets in; each is listed
    #[arg(long, conflicts_with = "emit")]
    skip_duplicates: bool,
    /// Where to keep what is not Immich's and is left out, for psql: a file, or a folder for one
    #[arg(long, value_name = "FILE", default_value = ".")]
    left_out: PathBuf,
    /// Load with the rights of the connecting user instead of a role without power: functions of
    /// the dump run as that user
    #[arg(long)]
    trust_dump: bool,
    /// Code in the database that is known and yours, as it was reported ("trigger t on
    /// public.asset"): not reported again
    #[arg(long, env = "SHOEBOX_ACCEPT_CODE", value_name = "CODE")]
    accept_code: Vec<String>,
    /// How long to wait until the server answers
    #[arg(long, value_name = "TIME", default_value = "60s")]
    wait_for: jiff::SignedDuration,
    /// Write a file for Immich's own web restore instead of connecting to a server; in a folder it
    /// gets the right name
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["plan", "replace", "roles", "trust_dump", "from"],
    )]
    emit: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Which server: --docker or --database-url; else the PG* variables of libpq (PGHOST, PGUSER, …).
A password comes by PGPASSWORD or SHOEBOX_DATABASE_PASSWORD (or ..._FILE), by --env-file, or by \
~/.pgpass: never on a command line.

A fresh server: stop Immich (`docker compose down`), move the folder DB_DATA_LOCATION away, \
`docker compose up -d database`.
Roles and passwords of the server stay as they are; everything will belong to the user who connects.

Examples:
  shoebox restore-database --env-file /srv/immich/.env --docker immich_postgres --plan
  shoebox restore-database --env-file /srv/immich/.env --docker immich_postgres
  shoebox restore-database --database-url postgresql://postgres@localhost/immich --replace
  shoebox restore-database --emit /srv/immich/library/backups

JSON: the plan: {\"snapshot\", \"kind\", \"dump_postgres\", \"immich\", \"server\", \"database\", \
\"user\", \"create\", \"replace\", \"extensions\": [], \"changes\": [{\"what\", \"why\",
\"statements\", \"line\"}], \"left_out\": [], \"left_out_file\", \"duplicates\": [{\"table\", \
\"key\", \"line\", \"first\"}], \"tables\", \"rows\", \"bytes\", \"warnings\": [], \"client\", \
\"obstacles\": [{\"what\", \"next\"}]}; without --plan {\"plan\", \"tables\", \"rows\", \"kept\", \
\"differences\": [],
\"code\": [{\"kind\", \"name\", \"why\"}]}.
Exit code 3: the number of rows of a table differs, or something runs in the database that is not \
Immich's (`code`); it is named";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let repository = global.open()?;
        let progress = Progress::new(output)?;
        if let Some(file) = &self.emit {
            let (database, left_out) =
                (self.source_database.as_deref(), Some(self.left_out.as_path()));
            let done =
                database::emit(&repository, &self.snapshot, database, file, left_out, &progress);
            output.problems(&progress.finish());
            return emitted(&done?, output);
        }
        let options = self.options(global)?;
        if self.plan {
            let plan = database::plan(&repository, &options, &progress);
            output.problems(&progress.finish());
            return planned(&plan?, output);
        }
        let report = database::restore(&repository, &options, &progress);
        output.problems(&progress.finish());
        restored(&report?, output)
    }

    fn options(&self, global: &GlobalArgs) -> Result<Options> {
        let env = self.server.env()?;
        let target = DatabaseAccess {
            server: self.server.server(env.as_ref()),
            database: self
                .database_name
                .clone()
                .or_else(|| env.as_ref().map(|env| env.database.clone())),
            user: env.as_ref().map(|env| env.user.clone()),
            password: password(global, env.as_ref())?,
        };
        let wait = Duration::try_from(self.wait_for)
            .map_err(|_| Error::invalid("--wait-for takes a time such as 60s or 5m"))?;
        Ok(Options {
            snapshot: self.snapshot.clone(),
            target,
            source_database: self.source_database.clone(),
            replace: self.replace,
            roles: self.roles,
            foreign: self.with_foreign_objects,
            wait,
            accepted: self.accept_code.clone(),
            skip_duplicates: self.skip_duplicates,
            left_out: Some(self.left_out.clone()),
            rights: if self.trust_dump { LoadRights::Own } else { LoadRights::Borrowed },
        })
    }
}

fn planned(plan: &DatabasePlan, output: &Output) -> Result<CommandOutcome> {
    output.answer(plan, lines(plan).join("\n"))?;
    Ok(if plan.obstacles.is_empty() { CommandOutcome::Whole } else { CommandOutcome::Failed })
}

fn lines(plan: &DatabasePlan) -> Vec<String> {
    let unknown = || "unknown".to_owned();
    let dump = format!(
        "dump: {:?} of PostgreSQL {}, Immich {}; {} in {}, {}",
        plan.kind,
        plan.dump_postgres.clone().unwrap_or_else(unknown),
        plan.immich.clone().unwrap_or_else(unknown),
        plural(plan.rows, "row", "rows"),
        plural(plan.tables, "table", "tables"),
        size(plan.bytes),
    );
    let made = if plan.create { " (will be made)" } else { "" };
    let server = format!(
        "server: PostgreSQL {}, database {}{made}, user {}",
        plan.server, plan.database, plan.user
    );
    let mut lines = vec![format!("snapshot: {}", plan.snapshot), dump, server];
    if plan.replace > 0 {
        let tables = plural(plan.replace, "table", "tables");
        lines.push(format!(
            "replaced: {tables} of schema public; the database is kept under another name"
        ));
    }
    for extension in &plan.extensions {
        let version = extension
            .version
            .as_ref()
            .map_or("not on the server".to_owned(), |version| format!("version {version}"));
        lines.push(format!("extension: {}: {version}", extension.name));
    }
    for change in &plan.changes {
        lines.push(format!(
            "change: {} ({}): {}",
            change.what,
            plural(change.statements, "statement", "statements"),
            change.why
        ));
    }
    lines.extend(plan.left_out.iter().map(|object| format!("left out: {object}")));
    lines.extend(
        plan.left_out_file.iter().map(|file| format!("left out is kept in: {}", file.display())),
    );
    lines.extend(plan.duplicates.iter().map(duplicate));
    lines.extend(plan.warnings.iter().map(|warning| format!("note: {warning}")));
    for obstacle in &plan.obstacles {
        lines.push(format!("in the way: {}", obstacle.what));
        lines.push(format!("hint: {}", obstacle.next));
    }
    lines.iter().map(|line| printable(line)).collect()
}

fn restored(report: &Report, output: &Output) -> Result<CommandOutcome> {
    let plan = &report.plan;
    plan.warnings
        .iter()
        .for_each(|warning| output.note(format_args!("note: {}", printable(warning))));
    if !report.code.is_empty() {
        output.note(super::drill::CODE);
    }
    if let Some(kept) = &report.kept {
        output.note(format_args!(
            "note: the database that was there is kept as {0}; when all is well: psql -c 'DROP \
                DATABASE \"{0}\"'",
            printable(kept)
        ));
    }
    plan.duplicates
        .iter()
        .for_each(|it| output.note(format_args!("note: {}", printable(&duplicate(it)))));
    left_out(&plan.left_out, plan.left_out_file.as_deref(), output);
    let text = format!(
        "loaded {} in {} of {} into database {} of PostgreSQL {}\nnext: the files (`shoebox \
            restore --all`), if they are not there; then start Immich{}",
        plural(report.rows, "row", "rows"),
        plural(report.tables, "table", "tables"),
        plan.snapshot,
        printable(&plan.database),
        printable(&plan.server),
        plan.immich
            .as_deref()
            .map(|version| format!(" {} or newer", printable(&named(version))))
            .unwrap_or_default(),
    );
    output.answer(report, text)?;
    Ok(if report.is_as_expected() { CommandOutcome::Whole } else { CommandOutcome::Partly })
}

fn duplicate(it: &DuplicateRow) -> String {
    let DuplicateRow { table, key, line, first } = it;
    format!(
        "left out: a row of table {table}, line {line} of the dump: line {first} has its key {key}"
    )
}

/// Says what was left out, and where it is.
fn left_out(objects: &[String], file: Option<&Path>, output: &Output) {
    if let Some(file) = file {
        let what = plural(objects.len() as u64, "object", "objects");
        let names: Vec<_> =
            objects.iter().take(5).map(|object| printable(object).to_string()).collect();
        let more = if objects.len() > names.len() { ", …" } else { "" };
        output.note(format_args!(
            "note: {what} that are not Immich's left out, and kept in {} ({}{more})",
            printable(&file.display().to_string()),
            names.join(", ")
        ));
    }
}

/// A version as Immich calls its images.
fn named(version: &str) -> String {
    format!("v{}", version.trim_start_matches('v'))
}

fn emitted(emitted: &EmittedFile, output: &Output) -> Result<CommandOutcome> {
    if !emitted.listed {
        output.note(
            "note: Immich lists only names such as \
            immich-db-backup-20261122T145323-v3.1.0-pg15.20.sql.gz; give a folder and it is named \
            so",
        );
    }
    let name = emitted.file.file_name().unwrap_or_default().to_string_lossy();
    if emitted.listed && !name.contains("-v") {
        output.note(
            "note: Immich's page marks a file as fit by the version in its name, and this \
            name has none; give a folder and it is named so from v2.5 on",
        );
    }
    left_out(&emitted.left_out, emitted.left_out_file.as_deref(), output);
    let text = format!(
        "wrote {} ({}, {} in {}) of {}",
        emitted.file.display(),
        size(emitted.size),
        plural(emitted.rows, "row", "rows"),
        plural(emitted.tables, "table", "tables"),
        emitted.snapshot,
    );
    output.answer(emitted, printable(&text))?;
    Ok(CommandOutcome::Whole)
}
