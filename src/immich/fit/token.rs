//! Cuts one statement into tokens, as psql and the server do, and refuses whatever the two might
//! read differently.
//!
//! Source: PostgreSQL manual, "Lexical Structure"; `src/fe_utils/psqlscan.l` of PostgreSQL 18 for
//! what ends a statement. What always holds for a statement that comes out whole: it is exactly one
//! for psql and for the server, and no backslash stands outside of its quotes, so that nothing in
//! it is a command to psql.
//!
//! Limit: stricter than SQL. Block comments, strings that go on after a line end and numbers glued
//! to names are refused, since pg_dump writes none.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A bare name or key word.
    Word,
    /// `"…"`.
    Name,
    /// `'…'`, without its prefix.
    Text,
    /// `$tag$ … $tag$`.
    Dollar,
    Number,
    /// One character.
    Symbol,
}

/// Part of a statement: bytes `start..end` of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

type CutOutcome<T> = Result<T, &'static str>;

const NOT_PG_DUMP: &str = "a statement is written as pg_dump never writes it";
const COMMAND: &str = "there is a psql command where pg_dump writes none";

/// The tokens of `text`, without the closing semicolon; `None` while the statement is not at its
/// end.
pub fn cut(text: &str) -> CutOutcome<Option<Vec<Token>>> {
    let mut cutter = StatementCutter {
        text: text.as_bytes(),
        at: 0,
        tokens: Vec::new(),
        depth: 0,
        begins: 0,
        names: 0,
        first: [0; 4],
    };
    loop {
        match cutter.next()? {
            CutStep::Go => {}
            CutStep::Open => return Ok(None),
            CutStep::End => break,
        }
    }
    let (tokens, rest) = (cutter.tokens, &text[cutter.at..]);
    if !rest.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with("--")) {
        return Err("two statements are on one line");
    }
    block(text, &tokens).map(|()| Some(tokens))
}

enum CutStep {
    Go,
    Open,
    End,
}

struct StatementCutter<'a> {
    text: &'a [u8],
    at: usize,
    tokens: Vec<Token>,
    depth: u32,
    /// How many BEGIN and CASE of a function's body wait for their END.
    begins: u32,
    /// Bare words so far, and the first letters of those that say that a function is made; as psql
    /// counts.
    names: usize,
    first: [u8; 4],
}

impl StatementCutter<'_> {
    fn next(&mut self) -> CutOutcome<CutStep> {
        let Some(&byte) = self.text.get(self.at) else { return Ok(CutStep::Open) };
        let two = (byte, self.text.get(self.at + 1).copied());
        match two {
            (b' ' | b'\t' | b'\n', _) => self.at += 1,
            (b'-', Some(b'-')) => return self.comment(),
            (b'/', Some(b'*')) => return Err(NOT_PG_DUMP),
            (b'\\', _) => return Err(COMMAND),
            (b'\'', _) => return self.string(),
            (b'"', _) => return self.name(),
            (b'$', _) => return self.dollar(),
            (b'0'..=b'9', _) | (b'.', Some(b'0'..=b'9')) => return self.number(),
            (b';', _) if self.depth == 0 && self.begins == 0 => {
                self.at += 1;
                return Ok(CutStep::End);
            }
            (byte, _) if begins_name(byte) => return self.word(),
            (byte, _) if byte < b' ' || byte == 0x7f => {
                return Err("a statement contains a control character");
            }
            (byte, _) => {
                match byte {
                    b'(' => self.depth += 1,
                    b')' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.push(TokenKind::Symbol, self.at + 1);
            }
        }
        Ok(CutStep::Go)
    }

    fn push(&mut self, kind: TokenKind, end: usize) {
        self.tokens.push(Token { kind, start: self.at, end });
        self.at = end;
    }

    /// The token that ends where the next one begins.
    fn glued(&self) -> Option<Token> {
        self.tokens
            .last()
            .copied()
            .filter(|token| token.end == self.at && token.kind != TokenKind::Symbol)
    }

    fn comment(&mut self) -> CutOutcome<CutStep> {
        let rest = &self.text[self.at..];
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        if rest[..end].contains(&b'\r') {
            return Err("a comment contains a carriage return");
        }
        self.at += end;
        Ok(CutStep::Go)
    }

    fn string(&mut self) -> CutOutcome<CutStep> {
        let escapes = match self.glued() {
            None => false,
            Some(token) => match (token.kind, &self.text[token.start..token.end]) {
                (TokenKind::Word, b"E" | b"e") => true,
                (TokenKind::Word, b"B" | b"b" | b"X" | b"x" | b"N" | b"n") => false,
                _ => return Err(NOT_PG_DUMP),
            },
        };
        // Across a line end two strings are one, and the second is read as the first was.
        if self.tokens.last().is_some_and(|token| token.kind == TokenKind::Text) {
            return Err(NOT_PG_DUMP);
        }
        let mut at = self.at + 1;
        loop {
            match (self.text.get(at), self.text.get(at + 1)) {
                (None, _) => return Ok(CutStep::Open),
                (Some(b'\\'), _) if escapes => at += 2,
                (Some(b'\''), Some(b'\'')) => at += 2,
                (Some(b'\''), _) => break,
                _ => at += 1,
            }
        }
        self.push(TokenKind::Text, at + 1);
        Ok(CutStep::Go)
    }

    fn name(&mut self) -> CutOutcome<CutStep> {
        if self.glued().is_some() {
            return Err(NOT_PG_DUMP);
        }
        let mut at = self.at + 1;
        loop {
            match memchr::memchr(b'"', self.text.get(at..).unwrap_or_default()) {
                None => return Ok(CutStep::Open),
                Some(quote) => at += quote + 1,
            }
            match self.text.get(at) {
                Some(b'"') => at += 1,
                _ => break,
            }
        }
        self.push(TokenKind::Name, at);
        Ok(CutStep::Go)
    }

    fn dollar(&mut self) -> CutOutcome<CutStep> {
        if self.glued().is_some() {
            return Err(NOT_PG_DUMP);
        }
        let rest = &self.text[self.at + 1..];
        if rest.first().is_some_and(u8::is_ascii_digit) {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            return self.end_number(self.at + 1 + digits);
        }
        let length = rest.iter().take_while(|&&byte| byte != b'$' && in_name(byte)).count();
        if rest.get(length) != Some(&b'$') {
            return Err(NOT_PG_DUMP);
        }
        let tag = &self.text[self.at..self.at + length + 2];
        match memchr::memmem::find(&self.text[self.at + tag.len()..], tag) {
            None => Ok(CutStep::Open),
            Some(end) => {
                let end = self.at + tag.len() + end + tag.len();
                self.push(TokenKind::Dollar, end);
                Ok(CutStep::Go)
            }
        }
    }

    fn number(&mut self) -> CutOutcome<CutStep> {
        let digits = |at: usize| {
            self.text[at.min(self.text.len())..].iter().take_while(|b| b.is_ascii_digit()).count()
        };
        let mut at = self.at + digits(self.at);
        if self.text.get(at) == Some(&b'.') {
            at += 1 + digits(at + 1);
        }
        if matches!(self.text.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.text.get(at + 1), Some(b'+' | b'-')));
            at += match digits(at + 1 + sign) {
                0 => 0,
                more => 1 + sign + more,
            };
        }
        self.end_number(at)
    }

    fn end_number(&mut self, end: usize) -> CutOutcome<CutStep> {
        if self.glued().is_some() || self.text.get(end).is_some_and(|&byte| in_name(byte)) {
            return Err(NOT_PG_DUMP);
        }
        self.push(TokenKind::Number, end);
        Ok(CutStep::Go)
    }

    fn word(&mut self) -> CutOutcome<CutStep> {
        if self.glued().is_some() {
            return Err(NOT_PG_DUMP);
        }
        let length = self.text[self.at..].iter().take_while(|&&byte| in_name(byte)).count();
        let word = self.text[self.at..self.at + length].to_ascii_lowercase();
        self.push(TokenKind::Word, self.at + length);
        self.count(&word);
        Ok(CutStep::Go)
    }

    /// Follows BEGIN … END in a function's body as psql does.
    fn count(&mut self, word: &[u8]) {
        if let (Some(first), b"create" | b"function" | b"procedure" | b"or" | b"replace") =
            (self.first.get_mut(self.names), word)
        {
            *first = word[0];
        }
        self.names += 1;
        let makes_function =
            matches!(self.first, [b'c', b'f' | b'p', ..] | [b'c', b'o', b'r', b'f' | b'p']);
        if !makes_function || self.depth > 0 {
            return;
        }
        match word {
            b"begin" => self.begins += 1,
            b"case" if self.begins > 0 => self.begins += 1,
            b"end" => self.begins = self.begins.saturating_sub(1),
            _ => {}
        }
    }
}

fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

fn in_name(byte: u8) -> bool {
    begins_name(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// Refuses semicolons inside a statement that could make it several for the server: they may stand
/// in the body of a function (`BEGIN ATOMIC … END`) and in the actions of a rule.
fn block(text: &str, tokens: &[Token]) -> CutOutcome<()> {
    let word = |index: usize| tokens.get(index).map_or("", |token| &text[token.start..token.end]);
    let is = |index: usize, expected: &str| word(index).eq_ignore_ascii_case(expected);
    let semicolon = |index: &usize| tokens[*index].kind == TokenKind::Symbol && word(*index) == ";";
    let mut inside = (0..tokens.len()).filter(semicolon).peekable();
    if inside.peek().is_none() || (is(0, "CREATE") && is(1, "RULE")) {
        return Ok(());
    }
    let starts: Vec<_> = (0..tokens.len()).filter(|&index| is(index, "BEGIN")).collect();
    let [start] = starts[..] else { return Err(NOT_PG_DUMP) };
    if !is(start + 1, "ATOMIC") || !is(tokens.len() - 1, "END") {
        return Err(NOT_PG_DUMP);
    }
    let follows =
        ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "RETURN", "END"];
    if inside
        .all(|at| !is(at - 1, "END") && at > start && follows.iter().any(|next| is(at + 1, next)))
    {
        Ok(())
    } else {
        Err(NOT_PG_DUMP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let tokens = cut(text).unwrap().expect("a whole statement");
        tokens.iter().map(|token| text[token.start..token.end].to_owned()).collect()
    }

    #[test]
    fn a_statement_is_cut_where_the_server_cuts_it() {
        assert_eq!(
            words("ALTER TABLE public.\"a \"\"b\" ADD c1 numeric(3,1) DEFAULT 1.5e+3;"),
            [
                "ALTER",
                "TABLE",
                "public",
                ".",
                "\"a \"\"b\"",
                "ADD",
                "c1",
                "numeric",
                "(",
                "3",
                ",",
                "1",
                ")",
                "DEFAULT",
                "1.5e+3"
            ]
        );
        assert_eq!(words(r"SELECT E'it\'s; \\', 'back\', $_$ ' ; \! $_$;")[2], r"'it\'s; \\'");
        assert_eq!(
            words("SELECT $1 -- ' ; \n + 'x''y'; -- done\n\n"),
            ["SELECT", "$1", "+", "'x''y'"]
        );
        assert_eq!(words("SELECT B'01', X'ff', U&'\\0041';").len(), 10);
    }

    #[test]
    fn a_statement_that_is_not_at_its_end_is_open() {
        for text in [
            "SELECT",
            "SELECT 'a;",
            "SELECT $$ ; ",
            "SELECT \"a;",
            "CREATE TABLE x (a int;",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1;",
        ] {
            assert_eq!(cut(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn the_body_of_a_function_is_one_statement() {
        let text = "CREATE FUNCTION public.g(integer) RETURNS integer\n    LANGUAGE sql\n    BEGIN \
            ATOMIC\n SELECT $1;\n \
                    SELECT CASE WHEN true THEN 2 END AS x;\nEND;";
        assert!(cut(text).unwrap().is_some());
        let rule = "CREATE RULE r AS\n    ON DELETE TO public.one DO INSTEAD ( DELETE FROM \
            public.a;\n SELECT 1;\n);";
        assert!(cut(rule).unwrap().is_some());
    }

    #[test]
    fn what_psql_and_the_server_might_read_differently_is_refused() {
        for text in [
            r"SELECT 1 \! touch /tmp/x",
            r"SELECT 'a' \g /tmp/x",
            "SELECT 1; \\! x",
            "SELECT 1; SELECT 2;",
            "SELECT 1E'\\'; \\! x\n'",
            "SELECT 1$a$; $a$;",
            "SELECT $1$a$; $a$;",
            "SELECT E'a'\n'\\'; \\! x';",
            "SELECT /* ; */ 1;",
            "SELECT 1 -- x\r\\! x\n;",
            "SELECT a'b';",
            "CREATE FUNCTION public.begin() RETURNS int LANGUAGE sql AS 'x'; COPY t FROM PROGRAM \
                'x'; END;",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 AS case; END; COPY \
                t FROM PROGRAM 'x'; END;",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 AS case; END; \
                SELECT 1; END;",
            "CREATE TABLE x (a int; COPY t FROM PROGRAM 'x';);",
        ] {
            assert!(cut(text).is_err(), "{text}");
        }
    }
}
