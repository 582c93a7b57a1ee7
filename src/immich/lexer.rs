//! Follows the quoting of SQL statements line by line: enough to know where a statement begins, so
//! that text inside a function body or a string is never taken for a COPY block or a comment.
//!
//! Source: PostgreSQL manual, "Lexical Structure". Nothing is parsed further, and nothing is ever
//! run.

use memchr::memmem;

/// Where the text stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum QuoteState {
    #[default]
    None,
    /// `'…'`; in `E'…'` a backslash escapes.
    Text { escapes: bool },
    /// `"…"`.
    Name,
    /// `$tag$ … $tag$`.
    Dollar(Vec<u8>),
    /// `/* … */`, which nests.
    Comment(u32),
}

/// The quoting at the end of the lines so far.
#[derive(Debug, Default)]
pub struct DumpLexer {
    quote: QuoteState,
    /// A statement has begun and its semicolon has not come.
    open: bool,
    /// `standard_conforming_strings` is off: a backslash escapes in every string.
    pub escapes: bool,
    /// Then: where strings begin on the line at hand that have no prefix.
    bare: Vec<usize>,
}

impl DumpLexer {
    /// True where the next line begins a statement, a comment or a psql command.
    pub fn at_start(&self) -> bool {
        self.quote == QuoteState::None && !self.open
    }

    /// True inside a string, a quoted name, a function body or a block comment.
    pub fn in_quotes(&self) -> bool {
        self.quote != QuoteState::None
    }

    /// Goes over one line (without its line end).
    pub fn line(&mut self, line: &str) {
        let line = line.as_bytes();
        self.bare.clear();
        let mut at = 0;
        while at < line.len() {
            at = match &self.quote {
                QuoteState::None => self.plain(line, at),
                QuoteState::Text { escapes } => self.text(line, at, *escapes),
                QuoteState::Name => self.name(line, at),
                QuoteState::Dollar(_) => self.dollar(line, at),
                QuoteState::Comment(depth) => self.comment(line, at, *depth),
            };
        }
    }

    fn plain(&mut self, line: &[u8], at: usize) -> usize {
        let two = (line[at], line.get(at + 1));
        match two {
            (b'-', Some(b'-')) => return line.len(),
            (b'/', Some(b'*')) => return self.enter(QuoteState::Comment(1), at + 2),
            (b'\'', _) if self.escapes && !(at > 0 && in_name(line[at - 1])) => {
                self.bare.push(at);
                return self.begin(QuoteState::Text { escapes: true }, at + 1);
            }
            (b'\'', _) => {
                return self
                    .begin(QuoteState::Text { escapes: self.escapes || has_e(line, at) }, at + 1);
            }
            (b'"', _) => return self.begin(QuoteState::Name, at + 1),
            (b'$', _) => {
                if let Some(tag) = dollar_tag(line, at) {
                    return self.begin(QuoteState::Dollar(tag.to_vec()), at + tag.len());
                }
                self.open = true;
            }
            (b';', _) => self.open = false,
            (b' ' | b'\t' | b'\r', _) => {}
            _ => self.open = true,
        }
        at + 1
    }

    fn enter(&mut self, quote: QuoteState, next: usize) -> usize {
        self.quote = quote;
        next
    }

    fn begin(&mut self, quote: QuoteState, next: usize) -> usize {
        self.open = true;
        self.enter(quote, next)
    }

    fn text(&mut self, line: &[u8], at: usize, escapes: bool) -> usize {
        match (line[at], line.get(at + 1)) {
            (b'\\', _) if escapes => at + 2,
            (b'\'', Some(b'\'')) => at + 2,
            (b'\'', _) => self.enter(QuoteState::None, at + 1),
            _ => at + 1,
        }
    }

    fn name(&mut self, line: &[u8], at: usize) -> usize {
        match memchr::memchr(b'"', &line[at..]) {
            Some(quote) => self.enter(QuoteState::None, at + quote + 1),
            None => line.len(),
        }
    }

    fn dollar(&mut self, line: &[u8], at: usize) -> usize {
        let QuoteState::Dollar(tag) = &self.quote else { return line.len() };
        match memmem::find(&line[at..], tag) {
            Some(end) => {
                let next = at + end + tag.len();
                self.enter(QuoteState::None, next)
            }
            None => line.len(),
        }
    }

    fn comment(&mut self, line: &[u8], at: usize, depth: u32) -> usize {
        match (line[at], line.get(at + 1)) {
            (b'/', Some(b'*')) => self.enter(QuoteState::Comment(depth.saturating_add(1)), at + 2),
            (b'*', Some(b'/')) if depth == 1 => self.enter(QuoteState::None, at + 2),
            (b'*', Some(b'/')) => self.enter(QuoteState::Comment(depth - 1), at + 2),
            _ => at + 1,
        }
    }
}

/// The statement `text` of a dump that was made with `standard_conforming_strings` off, for a
/// server where it is on: if it has a backslash, its strings are written with an `E`.
pub fn conforming(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut lexer = DumpLexer { escapes: true, ..DumpLexer::default() };
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        lexer.line(line.trim_end_matches('\n'));
        let mut done = 0;
        for at in std::mem::take(&mut lexer.bare) {
            out.push_str(&line[done..at]);
            out.push('E');
            done = at;
        }
        out.push_str(&line[done..]);
    }
    out
}

/// True where the quote at `at` is that of an `E'…'` string.
fn has_e(line: &[u8], at: usize) -> bool {
    at > 0 && matches!(line[at - 1], b'e' | b'E') && !(at > 1 && in_name(line[at - 2]))
}

/// The whole `$tag$` that begins at `at`, if one does.
fn dollar_tag(line: &[u8], at: usize) -> Option<&[u8]> {
    if at > 0 && in_name(line[at - 1]) {
        return None;
    }
    let length = line[at + 1..].iter().take_while(|&&byte| byte != b'$' && in_name(byte)).count();
    let tag = &line[at..];
    let digit = tag.get(1).is_some_and(u8::is_ascii_digit);
    (tag.get(length + 1) == Some(&b'$') && !digit).then(|| &tag[..length + 2])
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> DumpLexer {
        let mut lexer = DumpLexer::default();
        text.split('\n').for_each(|line| lexer.line(line));
        lexer
    }

    #[test]
    fn strings_whose_backslashes_escape_are_written_so_that_they_always_do() {
        let is = |text: &str, expected: &str| assert_eq!(conforming(text), expected);
        is("SET client_encoding = 'UTF8';\n", "SET client_encoding = 'UTF8';\n");
        is(
            "COMMENT ON x IS 'it''s \\\\ \\'\nof 'y' $$'\\$$;\n",
            "COMMENT ON x IS E'it''s \\\\ \\'\nof 'y' $$'\\$$;\n",
        );
        is("SELECT E'\\n', 'a', X'ff' -- 'b'\n;", "SELECT E'\\n', E'a', X'ff' -- 'b'\n;");
    }

    #[test]
    fn a_statement_ends_at_its_own_semicolon_only() {
        for whole in [
            "SELECT 1;",
            "SELECT 'a;''b\nc';",
            r"SELECT E'it\'s; ' ;",
            r"SELECT 'back\';",
            "SELECT \"a;\"\"b\";",
            "AS $$ BEGIN; $1; END; $$;",
            "AS $_$ $$ ' $_$;",
            "SELECT 1; -- it's",
            "/* ' /* \" */ ; */ SELECT a$b$c;",
            "SELECT $1;",
            "",
        ] {
            assert!(after(whole).at_start(), "{whole}");
        }
        for open in [
            "SELECT",
            "SELECT 'a;",
            "AS $$ ;\n COPY",
            "AS $a$ $b$;",
            "/* ;",
            "SELECT \"a;",
            r"SELECT E'a\';",
        ] {
            assert!(!after(open).at_start(), "{open}");
        }
    }
}
