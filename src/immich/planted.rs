//! Code in a database that is not Immich's: what runs by itself when rows are written or read, and
//! what Immich's own schema never had. The catalogs of the server say what there is ([`QUESTION`]);
//! nothing of it is run.
//!
//! A function is Immich's if it has the name of one, in any version, and does what those do: change
//! rows, call functions that everybody may call. Whatever else runs (triggers, defaults, checks, …)
//! is Immich's if it calls no others. Of a kind that Immich never made (rules, policies, event
//! triggers, casts, …) there is none.
//!
//! Limits: a list, and no wall. Who gives a function of Immich's other changes of rows to do is not
//! found. In the database of an Immich that is newer than this reader, a function of a new name
//! passes if it does no more than the known ones do.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{Error, ErrorKind, Result};

/// What to ask the database; [`planted`] reads the answer. No schema may be on the search path but
/// `pg_catalog`.
pub const QUESTION: &str = include_str!("planted.sql");

/// Functions of Immich's, of all versions.
const IMMICH: [&str; 36] = [
    "album_asset_delete_audit",
    "album_assets_delete_audit",
    "album_delete_audit",
    "album_user_after_insert",
    "album_user_delete",
    "album_user_delete_audit",
    "album_users_delete_audit",
    "albums_delete_audit",
    "asset_delete_audit",
    "asset_edit_audit",
    "asset_edit_delete",
    "asset_edit_insert",
    "asset_face_audit",
    "asset_metadata_audit",
    "asset_ocr_delete_audit",
    "assets_delete_audit",
    "f_concat_ws",
    "f_unaccent",
    "immich_uuid_v7",
    "ll_to_earth_public",
    "memories_delete_audit",
    "memory_asset_delete_audit",
    "memory_assets_delete_audit",
    "memory_delete_audit",
    "partner_delete_audit",
    "partners_delete_audit",
    "person_delete_audit",
    "person_delete_shares",
    "person_group_delete_audit",
    "person_user_after_insert",
    "stack_delete_audit",
    "stacks_delete_audit",
    "updated_at",
    "user_delete_audit",
    "user_metadata_audit",
    "users_delete_audit",
];

/// What no function of Immich's says: it runs a text, or changes more than rows.
const POWERFUL: [&str; 17] = [
    "alter",
    "authorization",
    "call",
    "copy",
    "create",
    "drop",
    "execute",
    "grant",
    "import",
    "listen",
    "load",
    "notify",
    "program",
    "reset",
    "revoke",
    "security",
    "truncate",
];

/// Words before a parenthesis that call nothing: of SQL, types with a length, kinds of indexes.
const PLAIN: &str = "all and any array as between bit bpchar btree by case char character check \
    coalesce conflict decimal \
    distinct else elsif end except exists extract filter from gin gist greatest halfvec hash \
    having hnsw if ilike in include \
    intersect interval is ivfflat join key lateral least like limit materialized not nullif \
    numeric on or over partition return \
    returning row select set some then time timestamp trim union using values varchar varying \
    vchordrq vector vectors \
    when where while with";

/// What kind of code it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeKind {
    Function,
    Trigger,
    Default,
    GeneratedColumn,
    Check,
    Index,
    View,
    Rule,
    Policy,
    EventTrigger,
    Cast,
    Operator,
    Language,
    Statistics,
}

impl fmt::Display for CodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CodeKind::Function => "function",
            CodeKind::Trigger => "trigger",
            CodeKind::Default => "default",
            CodeKind::GeneratedColumn => "generated column",
            CodeKind::Check => "check",
            CodeKind::Index => "index",
            CodeKind::View => "view",
            CodeKind::Rule => "rule",
            CodeKind::Policy => "policy",
            CodeKind::EventTrigger => "event trigger",
            CodeKind::Cast => "cast",
            CodeKind::Operator => "operator",
            CodeKind::Language => "language",
            CodeKind::Statistics => "statistics",
        })
    }
}

/// Code that Immich's schema does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlantedCode {
    pub kind: CodeKind,
    /// As SQL writes it: `public.f(integer)`, `t on public.asset`, `public.asset.id`.
    pub name: String,
    /// By what it is known.
    pub why: String,
}

impl fmt::Display for PlantedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

#[derive(Deserialize)]
struct PlantedAnswer {
    /// Functions that do no harm.
    calls: BTreeSet<String>,
    found: Vec<RunningObject>,
}

/// Something that runs by itself.
#[derive(Deserialize)]
struct RunningObject {
    kind: CodeKind,
    name: String,
    /// The name alone of a function in the schema `public`.
    function: Option<String>,
    language: Option<String>,
    definer: bool,
    text: Option<String>,
}

/// What in the database that gave this answer to [`QUESTION`] is not Immich's; `newer` if its
/// Immich is newer than this reader knows.
pub fn planted(answer: &str, newer: bool) -> Result<Vec<PlantedCode>> {
    let PlantedAnswer { mut calls, found } =
        serde_json::from_str(answer.trim()).map_err(|error| {
            Error::new(
                ErrorKind::Program,
                "the database does not report its functions and triggers",
            )
            .caused_by(error)
        })?;
    calls.extend(IMMICH.map(str::to_owned));
    if newer {
        let names = || found.iter().filter_map(|it| it.function.clone());
        let all = names().chain(calls.iter().cloned()).collect();
        let harmless = found.iter().filter(|it| it.function_fault(&all).is_none());
        calls.extend(harmless.filter_map(|it| it.function.clone()));
    }
    let planted = |it: &RunningObject| {
        let why = it.fault(&calls)?;
        Some(PlantedCode { kind: it.kind, name: it.name.clone(), why })
    };
    let mut all: Vec<_> = found.iter().filter_map(planted).collect();
    all.sort_unstable();
    Ok(all)
}

impl RunningObject {
    /// Why it is not Immich's.
    fn fault(&self, calls: &BTreeSet<String>) -> Option<String> {
        match self.kind {
            CodeKind::Function => {
                let known = self.function.as_ref().is_some_and(|name| calls.contains(name));
                let unknown = || (!known).then(|| "Immich has no function of that name".to_owned());
                self.function_fault(calls).or_else(unknown)
            }
            CodeKind::Trigger
            | CodeKind::Default
            | CodeKind::GeneratedColumn
            | CodeKind::Check
            | CodeKind::Index
            | CodeKind::View => foreign_call(&words(self.text.as_deref()?), calls),
            CodeKind::Rule
            | CodeKind::Policy
            | CodeKind::EventTrigger
            | CodeKind::Cast
            | CodeKind::Operator
            | CodeKind::Language
            | CodeKind::Statistics => Some("Immich has none".to_owned()),
        }
    }

    /// Why no function of Immich's is like this one, whatever it is called.
    fn function_fault(&self, calls: &BTreeSet<String>) -> Option<String> {
        if self.definer {
            return Some("it runs with the rights of its owner (SECURITY DEFINER)".to_owned());
        }
        let language = self.language.as_deref().unwrap_or_default();
        if !["sql", "plpgsql"].contains(&language) {
            return Some(format!("it is written in {language}"));
        }
        // Before its language stand its arguments, and its own name.
        let (head, body) = self.text.as_deref()?.split_once(" LANGUAGE ")?;
        let arguments = head.split("CREATE OR REPLACE ").next().unwrap_or_default();
        let words = words(&format!("{arguments} {body}"));
        let powerful =
            words.iter().enumerate().find(|(at, word)| is_powerful(word, words.get(at + 1)));
        let powerful = powerful.map(|(_, word)| {
            format!("it contains {}, which no function of Immich's does", word.to_uppercase())
        });
        powerful.or_else(|| foreign_call(&words, calls))
    }
}

fn is_powerful(word: &str, next: Option<&String>) -> bool {
    let goes_on = || next.is_some_and(|next| ["nothing", "update"].contains(&next.as_str()));
    POWERFUL.contains(&word) || word == "do" && !goes_on()
}

/// The first call of a function that is not among those.
fn foreign_call(words: &[String], calls: &BTreeSet<String>) -> Option<String> {
    let mut called = words
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[1] == "(")
        .map(|(at, pair)| (at, &pair[0]));
    let foreign = called.find(|(at, name)| {
        name.starts_with(begins_name)
            && !PLAIN.split(' ').any(|word| word == name.as_str())
            && !calls.contains(*name)
            && !is_table(words, *at)
    });
    foreign.map(|(_, name)| format!("it calls {name}"))
}

/// True for the last name of `INSERT INTO schema.table (…)`.
fn is_table(words: &[String], mut at: usize) -> bool {
    while at >= 2 && words[at - 1] == "." {
        at -= 2;
    }
    at >= 1 && words[at - 1] == "into"
}

fn begins_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

/// The words of SQL, in small letters where it does not quote them, and its other characters;
/// strings and comments are left out, the text between dollars is not.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => string(rest, words.last().is_some_and(|word| word == "e")),
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            c if begins_name(c) => rest
                .find(|c: char| !(c.is_alphanumeric() || "_$".contains(c)))
                .unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        match first {
            '"' => words.push(word.trim_matches('"').to_owned()),
            '\'' => {}
            _ if word.starts_with("--") || word.starts_with("/*") || first.is_whitespace() => {}
            _ => words.push(word.to_lowercase()),
        }
        rest = after;
    }
    words
}

/// The length of the string that `text` begins with.
fn string(text: &str, escapes: bool) -> usize {
    let mut escaped = true;
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'\'' && !escaped {
            return at + 1;
        }
        escaped = escapes && byte == b'\\' && !escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: &str = r#""calls": ["now", "unaccent", "pg_trigger_depth"]"#;

    fn function(name: &str, definition: &str) -> String {
        let text = serde_json::to_string(&format!(
            " CREATE OR REPLACE FUNCTION public.{name}()\n RETURNS trigger\n{definition}"
        ));
        format!(
            r#"{{"kind": "function", "name": "public.{name}()", "function": "{name}", "language": "plpgsql", "definer": false, "text": {}}}"#,
            text.unwrap()
        )
    }

    fn found(found: &str, newer: bool) -> Vec<String> {
        let all = planted(&format!("{{{CALLS}, \"found\": [{found}]}}"), newer).unwrap();
        all.iter().map(|code| format!("{code}: {}", code.why)).collect()
    }

    #[test]
    fn a_function_of_immichs_name_does_what_immichs_do() {
        let of = |body: &str| {
            found(
                &function(
                    "updated_at",
                    &format!(" LANGUAGE plpgsql\nAS $function${body}$function$"),
                ),
                false,
            )
        };
        for body in [
            r#"BEGIN INSERT INTO "asset_audit" ("id") SELECT 'pwn()' FROM old ON CONFLICT ("id") DO NOTHING; RETURN NULL; END"#,
            "BEGIN -- EXECUTE\n IF pg_trigger_depth() = 1 THEN new.t = now(); END IF; RETURN \
                f_unaccent('it''s x('); END",
        ] {
            assert_eq!(of(body), [""; 0], "{body}");
        }
        for (body, why) in [
            (
                "BEGIN EXECUTE 'CO' || 'PY'; END",
                "it contains EXECUTE, which no function of Immich's does",
            ),
            ("BEGIN PERFORM pg_read_file ('/etc/passwd'); END", "it calls pg_read_file"),
            ("BEGIN PERFORM E'\\'', pwn(); END", "it calls pwn"),
            ("BEGIN DO 'BEGIN END'; END", "it contains DO, which no function of Immich's does"),
        ] {
            assert_eq!(of(body), [format!("function public.updated_at(): {why}")], "{body}");
        }
    }

    #[test]
    fn a_function_of_another_name_is_immichs_only_if_immich_is_newer_and_it_does_no_more() {
        let plain = function(
            "later_audit",
            " LANGUAGE plpgsql\nAS $function$BEGIN RETURN NULL; END$function$",
        );
        let fires = r#"{"kind": "trigger", "name": "t on public.asset", "function": null, "language": null, "definer": false,
            "text": "CREATE TRIGGER t AFTER DELETE ON public.asset FOR EACH ROW EXECUTE FUNCTION public.later_audit()"}"#;
        let both = format!("{plain}, {fires}");
        assert_eq!(
            found(&both, false),
            [
                "function public.later_audit(): Immich has no function of that name",
                "trigger t on public.asset: it calls later_audit"
            ]
        );
        assert_eq!(found(&both, true), [""; 0]);
        let definer = plain.replace(r#""definer": false"#, r#""definer": true"#);
        assert_eq!(found(&format!("{definer}, {fires}"), true).len(), 2);
    }

    #[test]
    fn what_the_server_does_not_say_is_an_error() {
        assert!(planted("", false).is_err());
    }
}
