//! One statement of a dump, asked by its words.

use super::token::{Token, TokenKind};
use crate::immich::copy;

/// A whole statement and its tokens.
pub struct Statement<'a> {
    text: &'a str,
    tokens: &'a [Token],
}

impl<'a> Statement<'a> {
    pub fn new(text: &'a str, tokens: &'a [Token]) -> Self {
        Statement { text, tokens }
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Token `index` as it is written; nothing past the end.
    pub fn word(&self, index: usize) -> &'a str {
        self.tokens.get(index).map_or("", |token| &self.text[token.start..token.end])
    }

    pub fn kind(&self, index: usize) -> Option<TokenKind> {
        self.tokens.get(index).map(|token| token.kind)
    }

    /// True if token `index` is the bare word or the symbol `expected`; of a name, which is written
    /// in small letters, also where it is quoted (`pg_dump --quote-all-identifiers`).
    pub fn is(&self, index: usize, expected: &str) -> bool {
        match self.kind(index) {
            Some(TokenKind::Word | TokenKind::Symbol) => {
                self.word(index).eq_ignore_ascii_case(expected)
            }
            Some(TokenKind::Name) => {
                self.name(index).as_deref() == Some(expected) && is_name(expected)
            }
            _ => false,
        }
    }

    /// True if the words from `index` on are those of `phrase`.
    pub fn has_at(&self, index: usize, phrase: &str) -> bool {
        phrase.split(' ').enumerate().all(|(offset, word)| self.is(index + offset, word))
    }

    /// True if it begins with the words of `phrase`.
    pub fn begins(&self, phrase: &str) -> bool {
        self.has_at(0, phrase)
    }

    /// Where the words of `phrase` first stand, outside of quotes.
    pub fn find(&self, phrase: &str) -> Option<usize> {
        (0..self.len()).find(|&index| self.has_at(index, phrase))
    }

    /// Where the words of `phrase` last stand, outside of quotes.
    pub fn find_last(&self, phrase: &str) -> Option<usize> {
        (0..self.len()).rev().find(|&index| self.has_at(index, phrase))
    }

    /// The identifier that token `index` is.
    pub fn name(&self, index: usize) -> Option<String> {
        match self.kind(index)? {
            TokenKind::Word => Some(self.word(index).to_ascii_lowercase()),
            TokenKind::Name => copy::name(self.word(index)).map(|(name, _)| name),
            _ => None,
        }
    }

    /// The text of the tokens `range`.
    pub fn slice(&self, range: std::ops::Range<usize>) -> &'a str {
        &self.text[self.tokens[range.start].start..self.tokens[range.end - 1].end]
    }

    /// The text with other words in place of single tokens; `changes` are sorted by token.
    pub fn with(&self, changes: &[(std::ops::Range<usize>, String)]) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut at = 0;
        for (range, new) in changes {
            text.push_str(&self.text[at..self.tokens[range.start].start]);
            text.push_str(new);
            at = self.tokens[range.end - 1].end;
        }
        text + &self.text[at..]
    }
}

/// `name` as an identifier in quotes.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
/// True for what cannot be one of SQL's own words in a phrase of ours: those have capital letters.
fn is_name(word: &str) -> bool {
    !word.chars().any(|letter| letter.is_ascii_uppercase())
}
