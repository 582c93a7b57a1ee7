//! Who loads a dump: a role that has no power, and logs in by itself.
//!
//! A dump is code: functions, defaults and checks of it run while it is loaded, and whoever owned a
//! table of Immich's could have written them. So a superuser only makes the extensions and a role;
//! the dump is loaded over a second connection as that role, to which the server refuses programs,
//! files and other databases whatever the dump says. What it made is given to the superuser
//! afterwards, and the role is gone.

use uuid::Uuid;

use super::plan::MadePlan;
use super::{LoadRights, Options};
use crate::base::{Error, ErrorKind, Result};
use crate::immich::fit::quoted;
use crate::source::postgres::{self};
use crate::source::{DatabaseAccess, Secret};

/// Of a superuser's statements no name may be taken for one of the dump's.
const SAFELY: &str = "SET search_path = pg_catalog;\n";

/// The connection that loads.
pub(super) struct LoadConnection {
    /// Whose statements are those of the dump.
    pub access: DatabaseAccess,
    role: Option<LoadRole>,
}

/// A role that was made for this.
struct LoadRole {
    admin: DatabaseAccess,
    name: String,
    database: String,
    heir: Option<String>,
    /// Extensions that were not there before.
    extensions: Vec<String>,
}

impl LoadConnection {
    /// Prepares `database` for the dump, and connects as the one who loads it.
    ///
    /// # Errors
    /// `Refused` when the role that was made for it is not let in.
    pub fn prepare(database: &str, made: &MadePlan, options: &Options) -> Result<LoadConnection> {
        let admin =
            DatabaseAccess { database: Some(database.to_owned()), ..options.target.clone() };
        let heir = match &options.rights {
            LoadRights::Borrowed if made.probe.superuser => Some(made.probe.user.clone()),
            LoadRights::Kept(_) => None,
            LoadRights::Borrowed | LoadRights::Own => {
                return Ok(LoadConnection { access: admin, role: None });
            }
        };
        let name = match &options.rights {
            LoadRights::Kept(name) => name.clone(),
            _ => format!("shoebox_{}", Uuid::new_v4().simple()),
        };
        let password = Uuid::new_v4().simple().to_string();
        let installed =
            |name: &&String| made.plan.makes_database() || !made.probe.installed.contains(*name);
        let extensions = made.fitted.created.keys().filter(installed).cloned().collect();
        let role = LoadRole {
            admin: admin.clone(),
            name: name.clone(),
            database: database.to_owned(),
            heir,
            extensions,
        };
        postgres::ask(&admin, &role.begin(&password, made))?;
        let access =
            DatabaseAccess { user: Some(name), password: Some(Secret::new(password)), ..admin };
        let loader = LoadConnection { access, role: Some(role) };
        loader.prove()?;
        Ok(loader)
    }

    /// Makes sure that it is the role that the server let in.
    fn prove(&self) -> Result<()> {
        let Some(role) = &self.role else { return Ok(()) };
        let refused = || {
            Error::new(
                ErrorKind::Refused,
                "the server does not let in the role without power that was made to load the dump",
            )
            .hint(
                "let it in (pg_hba.conf: any role with its password); --trust-dump loads \
                    with your own rights, for a dump whose database nobody else had in hand",
            )
        };
        let question = "SELECT session_user, rolsuper FROM pg_catalog.pg_roles WHERE rolname = \
            session_user;\n";
        let answer = postgres::ask(&self.access, question)
            .map_err(|error| refused().caused_by(error.chain()))?;
        if answer.trim() == format!("{}|f", role.name) { Ok(()) } else { Err(refused()) }
    }

    /// Gives what was loaded to whom it is for.
    pub fn hand_over(mut self) -> Result<()> {
        let Some(role) = &self.role else { return Ok(()) };
        if let Some(heir) = &role.heir {
            let (name, heir) = (quoted(&role.name), quoted(heir));
            postgres::ask(
                &role.admin,
                &format!(
                    "{SAFELY}REASSIGN OWNED BY {name} TO {heir};\nDROP OWNED BY {name};\nDROP ROLE \
                        {name};\n"
                ),
            )?;
        }
        self.role = None;
        Ok(())
    }
}

impl Drop for LoadConnection {
    /// What was made for a dump that was not loaded goes.
    fn drop(&mut self) {
        if let Some(role) = self.role.take()
            && let Err(error) = postgres::ask(&role.admin, &role.undo())
        {
            tracing::warn!(
                "the role {} and its extensions are left on the server: {}",
                role.name,
                error.chain()
            );
        }
    }
}

impl LoadRole {
    fn begin(&self, password: &str, made: &MadePlan) -> String {
        let (name, database) = (quoted(&self.name), quoted(&self.database));
        let mut sql = format!(
            "{SAFELY}BEGIN;
CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD \
'{password}';
GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {name};
GRANT ALL ON SCHEMA public TO {name};\n"
        );
        for (extension, schema) in &made.fitted.created {
            let (extension, schema) = (quoted(extension), quoted(schema));
            sql += &format!("CREATE SCHEMA IF NOT EXISTS {schema};\n");
            sql += &format!(
                "CREATE EXTENSION IF NOT EXISTS {extension} WITH SCHEMA {schema} CASCADE;\n"
            );
            sql += &format!("GRANT USAGE ON SCHEMA {schema} TO {name};\n");
        }
        sql + "COMMIT;\n"
    }

    fn undo(&self) -> String {
        let name = quoted(&self.name);
        let drop =
            |extension: &String| format!("DROP EXTENSION IF EXISTS {};\n", quoted(extension));
        let extensions: String = self.extensions.iter().rev().map(drop).collect();
        format!("{SAFELY}DROP OWNED BY {name} CASCADE;\n{extensions}DROP ROLE {name};\n")
    }
}
