//! The service: are backups made by themselves, did the last one go well, and does anybody hear of
//! it.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::DoctorFinding;
use crate::base::Result;
use crate::base::amount::ago;
use crate::repo::Repository;
use crate::repo::notes::{RunNote, StepOutcome};

/// A scheduler that made no run for so long makes none.
const WEEK: SignedDuration = SignedDuration::from_hours(8 * 24);

/// What settings and locks say of the service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceFacts {
    /// One runs.
    pub is_served: bool,
    /// When the next run is due, if one runs.
    pub next: Option<Timestamp>,
    /// Somebody is told of failures.
    pub is_told: bool,
}

/// Looks at the service of `repository`.
pub fn service(repository: &Repository, facts: ServiceFacts) -> Result<Vec<DoctorFinding>> {
    let (notes, now) = (repository.notes()?, Timestamp::now());
    let last = notes.runs().last();
    let is_recent = last.is_some_and(|(ended, _)| now.duration_since(ended) <= WEEK);
    let mut found =
        vec![schedule(facts, last.map(|(ended, _)| now.duration_since(ended)), is_recent)];
    found.extend(last.and_then(|(_, run)| outcome(run)));
    if (facts.is_served || is_recent) && !facts.is_told {
        found.push(DoctorFinding::note(
            "nobody is notified when a backup fails",
            "name a target in [notify], such as ntfy-url or email-url; `shoebox notify` tries it",
        ));
    }
    Ok(found)
}

fn schedule(facts: ServiceFacts, age: Option<SignedDuration>, is_recent: bool) -> DoctorFinding {
    let fix = "systemctl enable --now shoebox, or the compose file that comes with shoebox, or \
        cron: shoebox run --once";
    match (facts.is_served, age) {
        (true, _) => {
            let next = facts.next.map(|next| {
                next.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
            });
            let due = next.map(|next| format!("; the next run is due {next}")).unwrap_or_default();
            DoctorFinding::good(format!("the service runs{due}"))
        }
        (false, Some(age)) if is_recent => DoctorFinding::good(format!(
            "backups are made by a scheduler, the last one {} ago",
            ago(age)
        )),
        (false, Some(age)) => {
            DoctorFinding::note(format!("no service runs; the last run was {} ago", ago(age)), fix)
        }
        (false, None) => DoctorFinding::note("no service makes backups every night", fix),
    }
}

/// What is wrong with the last run.
fn outcome(run: &RunNote) -> Option<DoctorFinding> {
    match run.outcome() {
        StepOutcome::Failed => Some(DoctorFinding::bad(
            "the last run of the service failed",
            "shoebox status names the step and why",
        )),
        StepOutcome::Partly => Some(DoctorFinding::note(
            "the last run of the service ended with findings",
            "shoebox status names them",
        )),
        StepOutcome::Done | StepOutcome::Interrupted => None,
    }
}
