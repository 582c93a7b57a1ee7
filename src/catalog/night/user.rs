//! Users.

use std::collections::HashSet;

use uuid::Uuid;

use super::{AssetRow, CatalogNight, FolderRecord, group};
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

    /// Who owns `asset`; empty where nobody is known to.
    pub fn owner_name(self, asset: &AssetRow) -> Result<String> {
        let sql = format!("SELECT {USER_NAME} FROM user u WHERE u.id = ?2 AND holds(u)");
        Ok(one(self.db, &sql, (self.at, asset.owner), |row| row.get(0))?.unwrap_or_default())
    }

    /// Ids of the accounts.
    pub fn user_ids(self) -> Result<HashSet<Uuid>> {
        let sql = "SELECT id FROM user WHERE holds(user)";
        let ids = many(self.db, sql, [self.at], |row| row.get(0).map(Uuid::from_bytes))?;
        Ok(ids.into_iter().collect())
    }

    /// Records of the accounts, JSON.
    pub fn user_records(self) -> Result<Vec<String>> {
        many(self.db, "SELECT line FROM user WHERE holds(user)", [self.at], |row| row.get(0))
    }

    /// Records of the external libraries, JSON.
    pub fn external_libraries(self) -> Result<Vec<String>> {
        let sql = "SELECT line FROM external_library WHERE holds(external_library) ORDER BY id";
        many(self.db, sql, [self.at], |row| row.get(0))
    }
}
