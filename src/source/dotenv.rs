//! The assignments of a `.env` file, as Docker Compose reads them.
//!
//! The authority is Compose itself (compose-go 2, packages `dotenv` and `template`), whose oddities
//! are kept: `:` assigns as `=` does, ` #` begins a comment and a quote a string only at the
//! beginning of a value, `$name` that is not set is nothing. What Compose refuses is an error that
//! names the line.
//!
//! Limits: what is not UTF-8 is read with U+FFFD in its place; a value is at most [`LONGEST`] long.

use std::collections::HashMap;

/// Bytes of a value: the kernel gives a program no longer variable (`MAX_ARG_STRLEN`).
const LONGEST: usize = 128 << 10;
/// Defaults in defaults.
const DEEPEST: usize = 32;

/// A line that cannot be understood, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadLine {
    pub line: usize,
    pub reason: String,
}

/// What `text` assigns; the last assignment of a name counts. `outside` comes before the file where
/// a value refers to a name.
pub fn parse(
    text: &str,
    outside: &dyn Fn(&str) -> Option<String>,
) -> std::result::Result<HashMap<String, String>, UnreadLine> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut parser = EnvParser { text, at: 0, known: HashMap::new(), outside };
    while parser.skip_to_name() {
        let begin = parser.at;
        parser.assignment().map_err(|reason| UnreadLine { line: line_of(text, begin), reason })?;
    }
    Ok(parser.known)
}

/// The number of the line that holds byte `at`, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

type EnvVariables<T> = std::result::Result<T, String>;

struct EnvParser<'a> {
    text: &'a str,
    at: usize,
    known: HashMap<String, String>,
    outside: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> EnvParser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The rest of the line, its end included.
    fn line(&self) -> &'a str {
        self.rest().split_inclusive('\n').next().unwrap_or_default()
    }

    /// Passes over blanks, empty lines and comments. False at the end.
    fn skip_to_name(&mut self) -> bool {
        loop {
            self.at = self.text.len() - self.rest().trim_start().len();
            if self.rest().starts_with('#') {
                self.at += self.line().len()
            } else {
                return !self.rest().is_empty();
            }
        }
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(is_blank).len();
    }

    /// `NAME=value`, or a `NAME` alone, which stands for what it is outside.
    fn assignment(&mut self) -> EnvVariables<()> {
        if self
            .rest()
            .strip_prefix("export")
            .is_some_and(|rest| rest.starts_with(char::is_whitespace))
        {
            self.at += "export".len();
            self.skip_blanks();
        }
        let line = self.line();
        let end = line.find(['=', ':', '\n']);
        let name = &line[..end.unwrap_or(line.len())];
        if let Some(wrong) = name.chars().find(|it| !is_of_name(*it) && !is_blank(*it)) {
            return Err(format!("there is a {wrong:?} in the name of a variable"));
        }
        let name = name.trim_end();
        if name.contains(' ') {
            return Err("there is a blank in the name of a variable".to_owned());
        }
        self.at += end.map_or(line.len(), |end| end + 1);
        let value = match end.map(|end| line.as_bytes()[end]) {
            None | Some(b'\n') => (self.outside)(name),
            Some(_) => Some(self.value()?),
        };
        if let Some(value) = value {
            self.known.insert(name.to_owned(), value);
        }
        Ok(())
    }

    fn value(&mut self) -> EnvVariables<String> {
        self.skip_blanks();
        match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            _ => {
                let line = self.line();
                self.at += line.len();
                let line = line.strip_suffix('\n').unwrap_or(line);
                self.expand(line.split_once(" #").map_or(line, |(value, _)| value).trim_end(), 0)
            }
        }
    }

    /// Up to the next `quote` that no backslash precedes, over lines if need be.
    fn quoted(&mut self, quote: char) -> EnvVariables<String> {
        let inside = &self.rest()[1..];
        let mut text = String::new();
        let mut letters = inside.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => match letters.next() {
                    Some((_, next)) if next == quote => text.push(quote),
                    Some((_, next)) => text.extend(['\\', next]),
                    None => break,
                },
                _ if letter == quote => {
                    self.at += 1 + at + 1;
                    return if quote == '"' { self.expand(&unescape(&text), 0) } else { Ok(text) };
                }
                _ => text.push(letter),
            }
        }
        Err(format!("the {quote} that begins its value has no end"))
    }

    fn lookup(&self, name: &str) -> Option<String> {
        (self.outside)(name).or_else(|| self.known.get(name).cloned())
    }

    /// `text` with `$NAME`, `${NAME}` and their defaults replaced.
    fn expand(&self, text: &str, depth: usize) -> EnvVariables<String> {
        if depth > DEEPEST {
            return Err("its defaults are nested too deeply".to_owned());
        }
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            let (value, left) = self.reference(after, depth)?;
            expanded.push_str(&value);
            if expanded.len() > LONGEST {
                return Err("its value is longer than 128 KiB".to_owned());
            }
            rest = left;
        }
        Ok(expanded + rest)
    }

    /// What stands for `$` and the beginning of `after`, and what is left of `after`.
    fn reference<'t>(&self, after: &'t str, depth: usize) -> EnvVariables<(String, &'t str)> {
        if let Some(rest) = after.strip_prefix('$') {
            return Ok(("$".to_owned(), rest));
        }
        let Some(inside) = after.strip_prefix('{') else {
            let (name, rest) = identifier(after);
            let value = if name.is_empty() {
                "$".to_owned()
            } else {
                self.lookup(name).unwrap_or_default()
            };
            return Ok((value, rest));
        };
        let (name, rest) = identifier(inside);
        // The value itself may be a password.
        let wrong = || {
            "its `${` begins no reference to a variable; a $ that is a letter is written $$"
                .to_owned()
        };
        if name.is_empty() {
            return Err(wrong());
        }
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((self.lookup(name).unwrap_or_default(), rest));
        }
        let (also_empty, operator) =
            rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
        let Some(kind @ ('-' | '+' | '?')) = operator.chars().next() else { return Err(wrong()) };
        let (word, rest) = braced(&operator[1..]).ok_or_else(wrong)?;
        let value = self.lookup(name);
        let is_set = value.as_ref().is_some_and(|value| !also_empty || !value.is_empty());
        let text = match (kind, is_set) {
            ('+', true) | ('-', false) => self.expand(word, depth + 1)?,
            ('?', false) => return Err(format!("{name} is required, and not set: {word}")),
            _ => value.unwrap_or_default(),
        };
        Ok((text, rest))
    }
}

/// The word before the brace that closes, and what comes after: as Compose counts braces, up to the
/// line's last one at most.
fn braced(text: &str) -> Option<(&str, &str)> {
    let line = &text[..text.find('\n').unwrap_or(text.len())];
    let last = line.rfind('}')?;
    let mut open = 1;
    let mut letters = line.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '{' => {
                open += 1;
                letters.next();
            }
            '}' if open == 1 => return Some((&text[..at], &text[at + 1..])),
            '}' => open -= 1,
            _ => {}
        }
    }
    Some((&text[..last], &text[last + 1..]))
}

/// The name that `text` begins with, and the rest.
fn identifier(text: &str) -> (&str, &str) {
    let is_digit_first = text.starts_with(|it: char| it.is_ascii_digit());
    let end = text.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(text.len());
    text.split_at(if is_digit_first { 0 } else { end })
}

/// Resolves the escapes of a value in double quotes; `\$` becomes `$$`, which stands for a `$`.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let (letter, left) = escape(after);
        plain.push_str(letter.as_deref().unwrap_or("\\"));
        rest = left;
    }
    plain + rest
}

/// What a backslash before `after` makes of it, if anything, and what is left.
fn escape(after: &str) -> (Option<String>, &str) {
    let letter = match after.chars().next() {
        Some('a') => "\x07",
        Some('b') => "\x08",
        Some('f') => "\x0C",
        Some('n') => "\n",
        Some('r') => "\r",
        Some('t') => "\t",
        Some('v') => "\x0B",
        Some('"') => "\"",
        Some('\\') => "\\",
        Some('$') => "$$",
        // `\0` and three digits are an octal number; of what is none Compose drops the 0.
        Some('0') => {
            let code =
                after.get(1..4).filter(|digits| digits.bytes().all(|it| it.is_ascii_digit()));
            let letter = code.and_then(|code| u8::from_str_radix(code, 8).ok());
            return (
                letter.map(|it| char::from(it).to_string()),
                &after[if letter.is_some() { 4 } else { 1 }..],
            );
        }
        _ => return (None, after),
    };
    (Some(letter.to_owned()), &after[1..])
}

fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '.' | '-' | '[' | ']')
}

/// A blank that ends no line.
fn is_blank(letter: char) -> bool {
    matches!(letter, '\t' | '\x0B' | '\x0C' | '\r' | ' ' | '\u{85}' | '\u{A0}')
}
