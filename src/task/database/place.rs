//! The database that a dump is loaded into: the one that is meant, or one that takes its place when
//! all is well.

use jiff::Timestamp;
use uuid::Uuid;

use super::plan::MadePlan;
use super::{Options, inherit};
use crate::base::{Error, ErrorKind, Result};
use crate::immich::fit::quoted;
use crate::source::DatabaseAccess;
use crate::source::postgres;

/// PostgreSQL cuts longer names.
const LONGEST_NAME: usize = 63;

/// Where the dump goes.
pub(super) struct DatabasePlace {
    pub database: String,
    swap: Option<DatabaseSwap>,
}

/// A new database beside the one that it will replace.
struct DatabaseSwap {
    /// Another database of the server: what one is connected to cannot be renamed.
    beside: DatabaseAccess,
    draft: String,
    name: String,
    kept: String,
    /// Statements that give it what the other one is set up with.
    inheritance: String,
}

impl DatabasePlace {
    /// Makes a database where one is to be made.
    pub fn prepare(made: &MadePlan, options: &Options) -> Result<DatabasePlace> {
        let name = made.plan.database.clone();
        let at = |database: &str| DatabaseAccess {
            database: Some(database.to_owned()),
            ..options.target.clone()
        };
        if made.plan.create {
            create(&at(&made.probe.database), &name)?;
            return Ok(DatabasePlace { database: name, swap: None });
        }
        if !options.replace {
            return Ok(DatabasePlace { database: name, swap: None });
        }
        let beside = ["postgres", "template1"].map(at).into_iter().find(|other| {
            other.database.as_ref() != Some(&name) && postgres::ask(other, "SELECT 1;\n").is_ok()
        });
        let beside = beside.ok_or_else(|| {
            Error::new(
                ErrorKind::Refused,
                "no other database to connect to while this one is replaced",
            )
            .hint("let this user connect to the database postgres")
        })?;
        let draft =
            beside_name(&name, &format!("_shoebox_{}", &Uuid::new_v4().simple().to_string()[..12]));
        let kept =
            beside_name(&name, &Timestamp::now().strftime("_before_%Y%m%dT%H%M%SZ").to_string());
        create(&beside, &draft)?;
        let swap = DatabaseSwap { beside, draft, name, kept, inheritance: String::new() };
        let mut place = DatabasePlace { database: swap.draft.clone(), swap: Some(swap) };
        place.swap.as_mut().map_or(Ok(()), DatabaseSwap::inherit)?;
        Ok(place)
    }

    /// Puts what was loaded into the place of what was there, which is kept under the name that
    /// this returns.
    pub fn finish(mut self) -> Result<Option<String>> {
        let Some(swap) = &self.swap else { return Ok(None) };
        let (draft, name, kept) = (quoted(&swap.draft), quoted(&swap.name), quoted(&swap.kept));
        let sql = format!(
            "BEGIN;\n{}ALTER DATABASE {name} RENAME TO {kept};\nALTER DATABASE {draft} RENAME TO \
                {name};\nCOMMIT;\n",
            swap.inheritance
        );
        postgres::ask(&swap.beside, &sql).map_err(|error| {
            Error::new(
                ErrorKind::Refused,
                format_args!("the database {} was not replaced, and is as it was", swap.name),
            )
            .caused_by(error.chain())
            .hint(
                "if it is in use: stop Immich (`docker compose stop immich-server`), and run \
                    it again",
            )
        })?;
        Ok(self.swap.take().map(|swap| swap.kept))
    }
}

impl DatabaseSwap {
    /// Reads what is to be taken over, before anything is loaded. It takes effect at the end: what
    /// is set for Immich is not for a restore.
    fn inherit(&mut self) -> Result<()> {
        self.inheritance = inherit::statements(&self.beside, &self.name, &self.draft)?;
        inherit::attempt(&self.beside, &self.name, &self.inheritance)
    }
}

impl Drop for DatabasePlace {
    /// A database that took nobody's place goes.
    fn drop(&mut self) {
        if let Some(swap) = &self.swap
            && let Err(error) = postgres::ask(
                &swap.beside,
                &format!("DROP DATABASE IF EXISTS {};\n", quoted(&swap.draft)),
            )
        {
            tracing::warn!("the database {} is left on the server: {}", swap.draft, error.chain());
        }
    }
}

fn create(access: &DatabaseAccess, name: &str) -> Result<()> {
    let sql = format!("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8';\n", quoted(name));
    postgres::ask(access, &sql).map(drop)
}

/// `name` with `end`, as long as a name may be.
fn beside_name(name: &str, end: &str) -> String {
    let room = LONGEST_NAME - end.len();
    let cut = (0..=room.min(name.len())).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    format!("{}{end}", &name[..cut])
}
