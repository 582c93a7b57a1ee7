//! `shoebox doctor`

use std::path::PathBuf;

use jiff::Timestamp;

use super::output::{Output, plural, printable};
use super::{CommandOutcome, GlobalArgs, backup, run};
use crate::base::Result;
use crate::repo::Repository;
use crate::service::journal::{self, LastStart};
use crate::service::notify::NotifyEvent;
use crate::source::installation::Installation;
use crate::task::doctor::{self, DoctorFinding, FindingState, ServiceFacts};

/// Check everything that a backup, a restore and a mount need, and how to fix problems
///
/// Finds Immich's .env file and containers, and checks: the photos and whether they can be read,
/// the database and its client, external libraries that are not covered, the repository, its disk
/// and space, FUSE, dead mounts, the clock, the service and its last run. Settings that are given
/// count; the rest is what was found. Read-only.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The folder of Immich's compose file; default: ask docker and look in the usual places
    #[arg(long, value_name = "FOLDER")]
    immich: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  shoebox doctor
  shoebox doctor --immich /srv/immich
  shoebox init --guided -r /mnt/usb/photos      makes a settings file of what it finds

JSON: one object a thing: {\"state\": \"good\"|\"note\"|\"bad\", \"what\", \"fix\"}; exit code 3: \
something is bad";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let backup: backup::Args = run::backup_settings(global)?;
        let installation = Installation::find(self.immich.as_deref(), backup.docker_program())?;
        let setup = backup.setup(global, &installation)?;
        let mut found = doctor::examine(&installation, &setup).findings;
        // Why it does not open is among the findings.
        if let Ok(repository) = global.open() {
            found.extend(doctor::service(&repository, facts(global, &repository)?)?);
        }
        tell(&found, output)
    }
}

fn facts(global: &GlobalArgs, repository: &Repository) -> Result<ServiceFacts> {
    let (is_served, now) = (journal::is_served(repository), Timestamp::now());
    let next = run::next(global, LastStart::of(repository)?.began, now).filter(|_| is_served);
    let is_told = run::targets(global)?.iter().any(|target| target.wants(NotifyEvent::Failure));
    Ok(ServiceFacts { is_served, next, is_told })
}

/// Prints what was found.
pub(super) fn tell(found: &[DoctorFinding], output: &Output) -> Result<CommandOutcome> {
    found.iter().try_for_each(|finding| output.answer(finding, text(finding)))?;
    let many = |state| found.iter().filter(|finding| finding.state == state).count() as u64;
    let bad = many(FindingState::Bad);
    output.note(match (bad, many(FindingState::Note)) {
        (0, 0) => "all is well".to_owned(),
        (0, notes) => {
            format!(
                "nothing is wrong; {}",
                plural(notes, "thing could be better", "things could be better")
            )
        }
        (bad, _) => format!("{} found", plural(bad, "problem", "problems")),
    });
    Ok(if bad == 0 { CommandOutcome::Whole } else { CommandOutcome::Partly })
}

/// A finding as it is shown.
fn text(finding: &DoctorFinding) -> String {
    let mark = match finding.state {
        FindingState::Good => "✓",
        FindingState::Note => "!",
        FindingState::Bad => "✗",
    };
    let fix =
        finding.fix.as_ref().map(|fix| format!("\n    {}", printable(fix))).unwrap_or_default();
    format!("{mark} {}{fix}", printable(&finding.what))
}
