//! Opening a repository for reading.

use std::sync::Arc;

use crate::base::{Error, Result, SnapshotId};
use crate::repo::Repository;
use crate::view::{Node, Options, View};

/// The view of `repository`.
pub fn open_view(repository: &Repository, options: Options) -> Result<Arc<View>> {
    // The repository knows best what to say of a catalog that is missing.
    repository.catalog()?;
    warn_if_behind(repository)?;
    View::open(&repository.catalog_path(), Arc::new(repository.contents()), options).map(Arc::new)
}

/// The snapshot that `name` names, and its folder in the tree.
pub fn find_snapshot(view: &View, name: &str) -> Result<(SnapshotId, Node)> {
    let node = view.snapshot(name)?;
    let id = view
        .snapshot_of(node.ino)?
        .ok_or_else(|| Error::not_found(format_args!("snapshot `{name}`")))?;
    Ok((id, node))
}

/// A backup that was cut short between its record and the catalog leaves a snapshot that the
/// catalog lacks.
fn warn_if_behind(repository: &Repository) -> Result<()> {
    let known = crate::catalog::query::snapshot::ids(&*repository.catalog()?.connect()?)?;
    let there = repository.present_ids()?;
    if there.iter().any(|id| !known.contains(id)) {
        tracing::warn!(
            "the catalog is older than the archives; `shoebox repair catalog` or the next backup \
                brings it up to date"
        );
    }
    Ok(())
}
