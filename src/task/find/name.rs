//! Names as people type them: patterns for file names, and names of users, albums, people and tags.

use globset::{GlobBuilder, GlobMatcher};
use uuid::Uuid;

use crate::base::{Error, Result};
use crate::catalog::ImmichId;
use crate::view::name::fold;

/// Names that are offered in place of an unknown one.
const OFFERED: usize = 8;

/// A pattern for file names. Whether letters are small or capital never matters, nor how accents
/// are put together.
///
/// With `*`, `?`, `[…]` or `{…}` it stands for the whole name; without, the text may be anywhere in
/// it.
#[derive(Debug, Clone)]
pub enum NamePattern {
    /// The whole name.
    Glob(Box<GlobMatcher>),
    /// Anywhere in the name.
    Part(String),
}

impl NamePattern {
    /// Reads `text`.
    pub fn parse(text: &str) -> Result<NamePattern> {
        let text = fold(text);
        if !text.contains(['*', '?', '[', '{']) {
            return Ok(NamePattern::Part(text));
        }
        let glob = GlobBuilder::new(&text).backslash_escape(true).build();
        let glob = glob.map_err(|error| {
            Error::invalid(format_args!("`{text}` is not a pattern")).caused_by(error)
        })?;
        Ok(NamePattern::Glob(Box::new(glob.compile_matcher())))
    }

    /// True when it fits the name whose folded form is `folded`.
    fn fits(&self, folded: &str) -> bool {
        match self {
            NamePattern::Glob(glob) => glob.is_match(folded),
            NamePattern::Part(part) => folded.contains(part.as_str()),
        }
    }
}

/// True when any of `patterns` fits `name`, or there is none.
pub fn matches(patterns: &[NamePattern], name: &str) -> bool {
    if patterns.is_empty() {
        return true;
    }
    let folded = fold(name);
    patterns.iter().any(|pattern| pattern.fits(&folded))
}

/// The ids of those of `things` that `text` means: by id, by name, or by name but for small and
/// capital letters. `what` they are is for the error, which offers names that are near.
pub fn choose(what: &str, things: &[(ImmichId, String)], text: &str) -> Result<Vec<ImmichId>> {
    let by = |same: &dyn Fn(&(ImmichId, String)) -> bool| {
        let mut ids: Vec<ImmichId> =
            things.iter().filter(|thing| same(thing)).map(|thing| thing.0).collect();
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(*id));
        ids
    };
    let id = Uuid::parse_str(text).ok().map(Uuid::into_bytes);
    let mut ids = by(&|(known, name)| Some(*known) == id || name == text);
    if ids.is_empty() {
        ids = by(&|(_, name)| fold(name.trim()) == fold(text.trim()));
    }
    if ids.is_empty() {
        Err(unknown(what, things.iter().map(|(_, name)| name.as_str()), text))
    } else {
        Ok(ids)
    }
}

/// The error for a name that is not there, with the names that are near it.
pub fn unknown<'a>(what: &str, names: impl Iterator<Item = &'a str>, text: &str) -> Error {
    let mut names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let error = Error::not_found(format_args!("{what} `{text}`"));
    if names.is_empty() {
        return error.hint(format_args!("nothing that was searched has a {what}"));
    }
    let wanted = fold(text);
    let nearness = |name: &&str| {
        let name = fold(name);
        let inside = name.contains(&wanted) || wanted.contains(&name);
        if inside { 2.0 } else { strsim::jaro_winkler(&name, &wanted) }
    };
    let all = names.len();
    names.sort_by(|a, b| nearness(b).total_cmp(&nearness(a)));
    names.truncate(OFFERED);
    let more = if all > OFFERED { format!(" and {} more", all - OFFERED) } else { String::new() };
    error.hint(format_args!("known: {}{more}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        matches(&[NamePattern::parse(pattern).unwrap()], name)
    }

    #[test]
    fn a_pattern_stands_for_the_whole_name_and_a_word_for_any_part_of_it() {
        assert!(fits("IMG_12*", "img_1234.heic") && !fits("IMG_12*", "my IMG_1234.heic"));
        assert!(fits("1234", "IMG_1234.HEIC") && fits("img_1234.heic", "IMG_1234.HEIC"));
        assert!(fits("*.{jpg,png}", "A.PNG") && !fits("*.{jpg,png}", "a.heic"));
        assert!(fits("*", "a/b.jpg") && fits("[ab]?.jpg", "B1.jpg"));
        assert!(fits("Zoe\u{308}", "zo\u{eb}.jpg"));
        assert!(fits(r"what\?*", "What?.jpg") && !fits(r"what\?*", "Whats.jpg"));
        assert!(NamePattern::parse("[a").is_err());
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_that_are_near() {
        let things: Vec<(ImmichId, String)> = (0..20)
            .map(|n| ([n; 16], format!("album {n}")))
            .chain([([50; 16], "Rome".to_owned())])
            .collect();
        let error = choose("album", &things, "Rom").unwrap_err();
        assert!(error.next_step().unwrap().starts_with("known: Rome, "), "{:?}", error.next_step());
        assert_eq!(choose("album", &things, "rome ").unwrap(), [[50; 16]]);
        assert_eq!(
            choose("album", &things, &Uuid::from_bytes([3; 16]).to_string()).unwrap(),
            [[3; 16]]
        );
    }
}
