//! `shoebox init`

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use toml::{Table, Value};

use super::output::Output;
use super::{CommandOutcome, GlobalArgs, backup, doctor};
use crate::base::{Context, Error, ErrorKind, Result};
use crate::repo::Repository;
use crate::source::installation::Installation;
use crate::source::{DatabaseAccess, ServerPlace};
use crate::task::doctor::{Diagnosis, DoctorSetup, examine};

/// Create a new repository
///
/// The folder must be empty or not exist. Keep it on another disk than the photos. It is private
/// (0700), because dumps hold passwords and session tokens.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  shoebox init -r /mnt/usb/photos\n  shoebox init --guided -r \
        /mnt/usb/photos\n\nJSON: {\"repository\": ID, \"folder\": PATH}")]
pub(super) struct Args {
    /// Find Immich on this machine, write a settings file, and show the next steps
    #[arg(long)]
    guided: bool,
    /// The folder of Immich's compose file; default: ask docker and look in the usual places
    #[arg(long, value_name = "FOLDER", requires = "guided")]
    immich: Option<PathBuf>,
}

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        if self.guided {
            return self.guide(global, output);
        }
        let repository = Repository::create(global.repository_path()?)?;
        let folder = repository.root().display().to_string();
        let text = format!(
            "made a repository in {folder}\nnext: shoebox backup --upload-location FOLDER --docker \
                CONTAINER"
        );
        output.answer(&json!({ "repository": repository.id(), "folder": folder }), text)?;
        Ok(CommandOutcome::Whole)
    }

    /// Everything that a first backup needs.
    fn guide(&self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let file = free_place(global)?;
        let backup: backup::Args = super::run::backup_settings(global)?;
        let mut installation = Installation::find(self.immich.as_deref(), backup.docker_program())?;
        if let Some(error) = installation.misread.take() {
            return Err(error);
        }
        let mut setup = backup.setup(global, &installation)?;
        let folder = std::path::absolute(global.repository_path()?)
            .context(|| "naming the repository's folder")?;
        let diagnosis = examine(&installation, &setup);
        let text = settings(&folder, &installation, &setup, &diagnosis)?;
        // What is not right is told first; the repository comes before the file, so that all of it
        // can be done again.
        let repository = match Repository::open(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Repository::create(&folder)?,
            opened => opened?,
        };
        write(&file, &text)?;
        setup.repository = Some(folder);
        setup.external.extend(diagnosis.uncovered);
        setup.folders.extend(diagnosis.elsewhere);
        let done = doctor::tell(&examine(&installation, &setup).findings, output)?;
        output.note(format!(
            "the repository is in {}, the settings are in {}",
            repository.root().display(),
            file.display()
        ));
        output.note(
            "next: `shoebox run --once` makes the first backup; `shoebox run` makes one \
            every night",
        );
        Ok(done)
    }
}

/// Where the settings file goes: where there is none yet.
fn free_place(global: &GlobalArgs) -> Result<PathBuf> {
    let usual = || {
        if rustix::process::geteuid().is_root() {
            Some(PathBuf::from("/etc/shoebox.toml"))
        } else {
            std::env::home_dir().map(|home| home.join(".config/shoebox.toml"))
        }
    };
    if let Some(file) = &global.settings.file {
        return Err(Error::new(
            ErrorKind::Exists,
            format_args!("there is a settings file already: {}", file.display()),
        )
        .hint("check it with `shoebox doctor`; or move it away and run this again"));
    }
    global
        .settings
        .wanted
        .clone()
        .or_else(usual)
        .ok_or_else(|| Error::invalid("no place for the settings file given").hint("--config FILE"))
}

/// The settings file for what was found.
fn settings(
    folder: &Path,
    installation: &Installation,
    setup: &DoctorSetup,
    diagnosis: &Diagnosis,
) -> Result<String> {
    let text = |path: &Path| Value::String(path.display().to_string());
    let mut backup = Table::new();
    if let Some((file, _)) = &installation.env {
        backup.insert("env-file".to_owned(), text(file));
    }
    let location = setup.upload_location.as_ref().ok_or_else(|| {
        Error::not_found("Immich's photos").hint(
            "name the folder of its compose file: --immich FOLDER; or \
                SHOEBOX_UPLOAD_LOCATION=FOLDER",
        )
    })?;
    backup.insert("upload-location".to_owned(), text(location));
    match (&setup.access, &setup.dump) {
        (Some((DatabaseAccess { server: ServerPlace::Docker { container, .. }, .. }, _)), _) => {
            backup.insert("docker".to_owned(), Value::String(container.clone()));
        }
        (Some((DatabaseAccess { server: ServerPlace::Url(url), .. }, _)), _) => {
            backup.insert("database-url".to_owned(), Value::String(url.clone()));
        }
        (_, Some(dump)) => {
            backup.insert("dump".to_owned(), text(dump));
        }
        _ => {}
    }
    let all = setup.external.iter().chain(&diagnosis.uncovered);
    let external: Vec<Value> = all
        .map(|it| Value::String(format!("{}={}", it.server.display(), it.folder.display())))
        .collect();
    if !external.is_empty() {
        backup.insert("external".to_owned(), Value::Array(external));
    }
    // What the .env file says is read there.
    let said = installation.env.as_ref().map(|(_, env)| env.folders.as_slice()).unwrap_or_default();
    let folders =
        setup.folders.iter().filter(|root| !said.contains(root)).chain(&diagnosis.elsewhere);
    let folders: Vec<Value> = folders
        .map(|root| Value::String(format!("{}={}", root.shown, root.folder.display())))
        .collect();
    if !folders.is_empty() {
        backup.insert("folder".to_owned(), Value::Array(folders));
    }
    let mut all = Table::new();
    all.insert("repository".to_owned(), text(folder));
    all.insert("backup".to_owned(), Value::Table(backup));
    Ok(format!(
        "# Settings of shoebox, made by `shoebox init --guided`. `shoebox config --reference` has \
            all that there are.\n{all}{REST}"
    ))
}

const REST: &str = r#"
[run]
# When: @daily, "@every 6h", or minute, hour, day, month, weekday.
schedule = "0 3 * * *"

# How much is kept; everything while nothing is said.
[forget]
#keep-daily = 14
#keep-weekly = 8
#keep-monthly = 24
#keep-yearly = "unlimited"

# Who is told when it is not fine: `shoebox notify` sends a message to try.
[notify]
#ntfy-url = "https://ntfy.sh/our-photos"
#healthchecks-url = "https://hc-ping.com/UUID"
"#;

fn write(path: &Path, text: &str) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context(writing)?;
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).context(writing)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).context(writing)
}
