//! Users.

use super::{CatalogNight, FolderRecord, group};
use crate::base::Result;
use crate::catalog::ImmichId;
use crate::catalog::sql::{many, one};

/// In SQL: what the user `u` is called. An account without a name goes by its address.
pub(super) const USER_NAME: &str = "CASE WHEN trim(u.name) = '' THEN u.email ELSE u.name END";

impl CatalogNight<'_> {
    /// All versions of all users.
    pub fn users(self) -> Result<Vec<FolderRecord>> {
        let sql = format!("SELECT u.row, u.id, {USER_NAME}, u.since, holds(u) FROM user u");
        many(self.db, &sql, [self.at], group::folder)
    }

    /// The row of the user `id`.
    pub fn user_row(self, id: &ImmichId) -> Result<Option<u64>> {
        let sql = "SELECT row FROM user WHERE id = ?2 AND holds(user)";
        one(self.db, sql, (self.at, id), |row| row.get(0))
    }
}
