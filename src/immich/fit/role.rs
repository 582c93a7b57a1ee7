//! Whose things are: owners, grants, and the roles of a cluster dump.

use std::collections::BTreeSet;

use super::change::Reason;
use super::extension::Extensions;
use super::rule::Fate;
use super::statement::{Statement, quoted};
use super::target::Target;

/// What stands for the target's user in SQL.
fn user(target: &Target) -> String {
    target.user.as_deref().map_or("CURRENT_USER".to_owned(), quoted)
}

/// Why owners change.
pub fn owner_reason(target: &Target) -> Reason {
    let what = match &target.user {
        Some(user) => format!("owner is {user}"),
        None => "owner is whoever loads the file".to_owned(),
    };
    Reason::new(what, "Immich's user is the one that connects here, whatever it was called before")
}

/// The role of `ALTER … OWNER TO role`, and where it stands.
pub fn owner(statement: &Statement) -> Option<(usize, String)> {
    let at = statement.find_last("OWNER TO").filter(|at| at + 3 == statement.len())? + 2;
    Some((at, statement.name(at)?))
}

/// `ALTER … OWNER TO owner`, fitted; the role stands at `at`.
pub fn map_owner(statement: &Statement, at: usize, owner: &str, target: &Target) -> Fate {
    match target.with_roles || target.user.as_deref() == Some(owner) {
        true => Fate::Keep,
        false => Fate::Change(statement.with(&[(at..at + 1, user(target))]), owner_reason(target)),
    }
}

/// `GRANT`, `REVOKE` and `ALTER DEFAULT PRIVILEGES`, fitted.
///
/// `owners` are those of what the dump holds: their rights become those of the target's user.
pub fn privilege(statement: &Statement, target: &Target, extensions: &Extensions, owners: &BTreeSet<String>) -> Fate {
    if statement.find("ON DATABASE").is_some() {
        return Fate::Omit(Reason::new(
            "rights on the database left alone",
            "who may connect is the other server's own choice",
        ));
    }
    if statement.find("ON SCHEMA public").is_some() && statement.begins("REVOKE") {
        return Fate::Omit(Reason::new("rights on schema public are not taken away", "Immich needs them"));
    }
    if let Some(fate) = extensions.privilege(statement) {
        return fate;
    }
    let mut changes = Vec::new();
    let grantee = if statement.find("REVOKE").is_some() { "FROM" } else { "TO" };
    let places = [statement.find("FOR ROLE").map(|at| at + 2), statement.find_last(grantee).map(|at| at + 1)];
    for at in places.into_iter().flatten() {
        let Some(role) = statement.name(at) else { continue };
        if statement.is(at, "PUBLIC") || target.with_roles || target.user.as_ref() == Some(&role) {
            continue;
        }
        if owners.contains(&role) || statement.has_at(at.saturating_sub(2), "FOR ROLE") {
            changes.push((at..at + 1, user(target)));
        } else if !target.roles.contains(&role) {
            return Fate::Omit(Reason::new(
                format!("rights of {role} left out"),
                "the other server has no such role; --roles creates those of a cluster dump",
            ));
        }
    }
    match changes.is_empty() {
        true => Fate::Keep,
        false => Fate::Change(
            statement.with(&changes),
            Reason::new("rights of the owner given to the new one", "Immich's user is the one that connects here"),
        ),
    }
}

/// A statement outside of all databases of a cluster dump, where roles are asked for.
pub fn global(statement: &Statement, target: &Target) -> Fate {
    let name = statement.name(2).unwrap_or_default();
    let about_role = statement.begins("CREATE ROLE") || statement.begins("ALTER ROLE");
    match about_role && statement.find("IN DATABASE").is_none() {
        true if target.roles.contains(&name) => Fate::Omit(Reason::new(
            format!("role {name} left as it is"),
            "it is there already; its password is never changed",
        )),
        true => Fate::Keep,
        false => Fate::Omit(Reason::new(
            "the rest of the cluster left alone",
            "roles are never dropped, nor made members of others",
        )),
    }
}
