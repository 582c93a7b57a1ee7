//! Whose things are: owners, grants, and the roles of a cluster dump.

use std::collections::BTreeSet;

use super::change::FitReason;
use super::extension::DumpExtensions;
use super::rule::StatementFate;
use super::statement::Statement;
use super::target::FitTarget;

/// What stands for whoever loads the dump.
const LOADER: &str = "CURRENT_USER";

/// Why owners are left out.
pub fn owner_reason(target: &FitTarget) -> FitReason {
    let what = match &target.user {
        Some(user) => format!("owners left out: all will belong to {user}"),
        None => {
            "owners left out: everything will belong to the role that loads the file".to_owned()
        }
    };
    FitReason::new(
        what,
        "Immich's user is the one that connects here, whatever it was called before",
    )
}

/// The role of `ALTER … OWNER TO role`.
pub fn owner(statement: &Statement) -> Option<String> {
    let at = statement.find_last("OWNER TO").filter(|at| at + 3 == statement.len())? + 2;
    statement.name(at)
}

/// `GRANT`, `REVOKE` and `ALTER DEFAULT PRIVILEGES`, fitted.
///
/// `owners` are those of what the dump holds: their rights become those of the target's user.
pub fn privilege(
    statement: &Statement,
    target: &FitTarget,
    extensions: &DumpExtensions,
    owners: &BTreeSet<String>,
) -> StatementFate {
    if statement.find("ON DATABASE").is_some() {
        return StatementFate::Omit(FitReason::new(
            "rights on the database left alone",
            "who may connect is the other server's own choice",
        ));
    }
    if statement.find("ON SCHEMA public").is_some() {
        return StatementFate::Omit(FitReason::new(
            "rights on schema public left alone",
            "they are the database owner's to give, and Immich needs them",
        ));
    }
    if let Some(fate) = extensions.privilege(statement) {
        return fate;
    }
    let mut changes = Vec::new();
    let grantee = if statement.find("REVOKE").is_some() { "FROM" } else { "TO" };
    let places = [
        statement.find("FOR ROLE").map(|at| at + 2),
        statement.find_last(grantee).map(|at| at + 1),
    ];
    for at in places.into_iter().flatten() {
        let Some(role) = statement.name(at) else { continue };
        if statement.is(at, "PUBLIC") || target.with_roles || target.user.as_ref() == Some(&role) {
            continue;
        }
        if owners.contains(&role) || statement.has_at(at.saturating_sub(2), "FOR ROLE") {
            changes.push((at..at + 1, LOADER.to_owned()));
        } else if !target.roles.contains(&role) {
            return StatementFate::Omit(FitReason::new(
                format!("rights of {role} left out"),
                "the other server has no such role; --roles creates those of a cluster dump",
            ));
        }
    }
    if changes.is_empty() {
        StatementFate::Keep
    } else {
        StatementFate::Change(
            statement.with(&changes),
            FitReason::new(
                "rights of the owner given to the new one",
                "Immich's user is the one that connects here",
            ),
        )
    }
}

/// A statement outside of all databases of a cluster dump, where roles are asked for.
pub fn global(statement: &Statement, target: &FitTarget) -> StatementFate {
    let name = statement.name(2).unwrap_or_default();
    let about_role = statement.begins("CREATE ROLE") || statement.begins("ALTER ROLE");
    StatementFate::Omit(if !about_role || statement.find("IN DATABASE").is_some() {
        let why = "roles are never dropped, nor made members of others";
        FitReason::new("the rest of the cluster left alone", why)
    } else if target.roles.contains(&name) {
        let why = "it is there already; its password is never changed";
        FitReason::new(format!("role {name} left as it is"), why)
    } else {
        return StatementFate::Keep;
    })
}
