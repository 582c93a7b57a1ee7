//! Giving back the space of what no snapshot needs: see [`crate::repo::prune`].

use super::forget::{refuse_clock, times};
use crate::base::{Error, ErrorKind, Monitor, Result};
use crate::catalog::query;
use crate::repo::prune::{Options, PrunePlan, PruneResult};
use crate::repo::{Repository, WriteSession, is_to_come, record_of};

/// What a prune did, or would do.
#[derive(Debug, Clone)]
pub struct Report {
    pub plan: PrunePlan,
    /// Nothing where it was only planned.
    pub pruned: Option<PruneResult>,
}

/// Prunes, or with `dry_run` says what would be done. Refused where a snapshot cannot be read,
/// since nobody knows what it needs, and while the clock looks wrong, unless `accept_clock`.
pub fn prune(
    repository: &Repository,
    options: &Options,
    accept_clock: bool,
    dry_run: bool,
    monitor: &dyn Monitor,
) -> Result<Report> {
    let mut session = WriteSession::begin(repository, "prune", monitor)?;
    let db = session.generation().connect()?;
    if let Some(id) = query::snapshot::unreadable(&db)?.first() {
        return Err(Error::new(
            ErrorKind::Refused,
            format_args!("snapshot {id} cannot be read: nobody knows what it needs"),
        )
        .hint(
            "`shoebox repair` may fix it; or move its file out of snapshots/, and the snapshot \
            is gone",
        ));
    }
    if let Some(id) = repository.snapshot_ids()?.into_iter().find(|id| is_to_come(*id, options.now))
    {
        let message =
            format!("snapshot {id} is dated in the future: what it needs is not known before");
        return Err(Error::new(ErrorKind::Refused, message).hint(format_args!(
            "if this machine's clock is right, forget that snapshot: `shoebox forget {id} \
                --apply`"
        )));
    }
    if !accept_clock {
        let ids = query::snapshot::ids(&db)?.into_iter();
        let records = ids.map(|id| record_of(&db, id.seconds())).collect::<Result<Vec<_>>>()?;
        refuse_clock(&times(&records))?;
    }
    drop(db);
    let plan = session.plan_prune(options)?;
    let pruned = if dry_run { None } else { Some(session.prune(options, monitor)?) };
    Ok(Report { plan, pruned })
}
