//! The text of `COPY … FROM stdin` blocks: their header, their fields, arrays inside a field.
//!
//! Nothing here trusts a position: a header names its columns, and a row is understood by those
//! names.

use std::borrow::Cow;

/// What a header may name at most: PostgreSQL's own limit on columns (manual, appendix K).
const MAX_COLUMNS: usize = 1600;
/// Longer than any identifier: PostgreSQL cuts them at 63 bytes, some builds at 255.
const MAX_NAME: usize = 256;

/// The line that opens a COPY block: `COPY public.asset (id, "ownerId") FROM stdin;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyHeader {
    pub schema: String,
    pub table: String,
    pub columns: Vec<String>,
}

impl CopyHeader {
    /// Reads `line`; `None` where it has not the shape that pg_dump writes.
    pub fn parse(line: &str) -> Option<CopyHeader> {
        let (schema, rest) = name(line.strip_prefix("COPY ")?)?;
        let (table, rest) = name(rest.strip_prefix('.')?)?;
        let rest = rest.strip_prefix(' ')?;
        if let Some("FROM stdin;") = rest.strip_prefix(' ') {
            return Some(CopyHeader { schema, table, columns: Vec::new() });
        }
        let (columns, rest) = columns(rest.strip_prefix('(')?)?;
        (rest == " FROM stdin;").then_some(CopyHeader { schema, table, columns })
    }
}

/// The column list after its opening bracket, and what follows the closing one.
fn columns(mut rest: &str) -> Option<(Vec<String>, &str)> {
    let mut columns = Vec::new();
    while columns.len() < MAX_COLUMNS {
        let (column, after) = name(rest)?;
        columns.push(column);
        if let Some(end) = after.strip_prefix(')') {
            return Some((columns, end));
        }
        rest = after.strip_prefix(", ")?;
    }
    None
}

/// An identifier, bare or quoted, and what follows it.
///
/// Source: PostgreSQL manual, section "Identifiers and Key Words".
pub fn name(text: &str) -> Option<(String, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted_name(quoted),
        None => bare_name(text),
    }
    .filter(|(name, _)| !name.is_empty() && name.len() <= MAX_NAME)
}

fn bare_name(text: &str) -> Option<(String, &str)> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
    let end = text.find(|c| !inside(c)).unwrap_or(text.len());
    Some((text[..end].to_owned(), &text[end..]))
}

fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let quote = rest.find('"')?;
        name.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => rest = after,
            None => return Some((name, rest)),
        }
        name.push('"');
    }
}

/// One field of a row, unescaped; `None` is SQL NULL.
///
/// Source: PostgreSQL manual, `COPY`, section "Text Format".
pub fn field(raw: &str) -> Option<Cow<'_, str>> {
    if raw == r"\N" {
        return None;
    }
    if !raw.contains('\\') {
        return Some(Cow::Borrowed(raw));
    }
    Some(Cow::Owned(unescape(raw)))
}

fn unescape(raw: &str) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some(slash) = memchr::memchr(b'\\', rest) {
        bytes.extend_from_slice(&rest[..slash]);
        let (byte, used) = escape(&rest[slash + 1..]);
        bytes.push(byte);
        rest = &rest[slash + 1 + used..];
    }
    bytes.extend_from_slice(rest);
    String::from_utf8(bytes)
        .unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned())
}

/// The byte that the escape after a backslash stands for, and how many bytes it takes.
fn escape(text: &[u8]) -> (u8, usize) {
    match text.first() {
        None => (b'\\', 0),
        Some(b'b') => (0x08, 1),
        Some(b'f') => (0x0c, 1),
        Some(b'n') => (b'\n', 1),
        Some(b'r') => (b'\r', 1),
        Some(b't') => (b'\t', 1),
        Some(b'v') => (0x0b, 1),
        Some(b'0'..=b'7') => digits(text, 8, 3),
        Some(b'x') if text.get(1).is_some_and(u8::is_ascii_hexdigit) => {
            let (byte, used) = digits(&text[1..], 16, 2);
            (byte, used + 1)
        }
        Some(&other) => (other, 1),
    }
}

fn digits(text: &[u8], radix: u32, most: usize) -> (u8, usize) {
    let values = text.iter().map_while(|&byte| char::from(byte).to_digit(radix)).take(most);
    let (value, used) =
        values.fold((0, 0), |(value, used), digit| (value * radix + digit, used + 1));
    (value as u8, used)
}

/// The bytes of a `bytea`, in either of the formats that the setting `bytea_output` chooses.
///
/// Source: PostgreSQL manual, section "Binary Data Types".
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix(r"\x") {
        return hex::decode(digits).ok();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, used) = match (first, after) {
            (b'\\', [b'\\', ..]) => (b'\\', 1),
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                ((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'), 3)
            }
            (b'\\', _) => return None,
            (byte, _) => (byte, 0),
        };
        bytes.push(byte);
        rest = &after[used..];
    }
    Some(bytes)
}

/// The elements of a one-dimensional array, such as `{/mnt/a,"b c"}`; NULL elements are left out.
///
/// Source: PostgreSQL manual, section "Array Input and Output Syntax".
pub fn list(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    let mut chars = inner.chars().peekable();
    while chars.peek().is_some() {
        let quoted = chars.next_if_eq(&'"').is_some();
        let mut element = String::new();
        while let Some(c) = chars.next_if(|&c| if quoted { c != '"' } else { c != ',' }) {
            element.push(if c == '\\' { chars.next()? } else { c });
        }
        if quoted {
            chars.next_if_eq(&'"')?;
        }
        if quoted || element != "NULL" {
            elements.push(element);
        }
        match chars.next() {
            None | Some(',') => {}
            Some(_) => return None,
        }
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn null_is_not_the_empty_string() {
        assert_eq!(field(r"\N"), None);
        assert_eq!(field("").as_deref(), Some(""));
        assert_eq!(field(r"\\N").as_deref(), Some(r"\N"));
    }

    #[test]
    fn escapes_stand_for_what_the_manual_says() {
        assert_eq!(
            field(r"a\tb\nc\rd\\e\bf\fg\v").as_deref(),
            Some("a\tb\nc\rd\\e\u{8}f\u{c}g\u{b}")
        );
        assert_eq!(field(r"\101\x42\x4\q\x").as_deref(), Some("AB\u{4}qx"));
        assert_eq!(field(r"\303\251").as_deref(), Some("é"));
        assert_eq!(field(r"\\.").as_deref(), Some(r"\."));
        assert_eq!(field("end\\").as_deref(), Some("end\\"));
    }

    #[test]
    fn bytes_are_read_in_both_formats() {
        assert_eq!(bytes(r"\x00ff5c41").unwrap(), b"\x00\xff\\A");
        assert_eq!(bytes(r"\000\377\\A").unwrap(), b"\x00\xff\\A");
        assert_eq!(bytes(r"").unwrap(), b"");
        for text in [r"\x0", r"\xzz", r"\9", r"\400", "\\"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn a_header_names_its_columns_bare_or_quoted() {
        let header =
            CopyHeader::parse(r#"COPY public."user" (id, "isAdmin", "a ""b"", c") FROM stdin;"#)
                .unwrap();
        assert_eq!((header.schema.as_str(), header.table.as_str()), ("public", "user"));
        assert_eq!(header.columns, ["id", "isAdmin", r#"a "b", c"#]);
        assert_eq!(CopyHeader::parse("COPY public.nothing  FROM stdin;").unwrap().columns.len(), 0);
    }

    #[test]
    fn any_other_copy_is_not_a_header() {
        for line in [
            "COPY public.asset (id) FROM PROGRAM 'rm -rf /';",
            "COPY public.asset (id) FROM stdin",
            "COPY public.asset (id) FROM stdin;\r",
            "COPY public.asset (id,) FROM stdin;",
            "COPY public.asset () FROM stdin;",
            "COPY public.\"asset (id) FROM stdin;",
            "COPY asset (id) FROM stdin;",
            "COPY public.asset (id) TO stdout;",
        ] {
            assert_eq!(CopyHeader::parse(line), None, "{line}");
        }
    }

    #[test]
    fn an_array_is_a_list_of_its_elements() {
        assert_eq!(list("{}").unwrap(), [""; 0]);
        assert_eq!(
            list(r#"{/mnt/a,"b c","q\"\\",NULL,"NULL"}"#).unwrap(),
            ["/mnt/a", "b c", "q\"\\", "NULL"]
        );
        assert_eq!(list("{\"a"), None);
        assert_eq!(list("a,b"), None);
    }

    fn escaped(text: &str) -> String {
        text.replace('\\', r"\\").replace('\t', r"\t").replace('\n', r"\n").replace('\r', r"\r")
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_field_reads_back_as_what_was_escaped(text in "[\\\\Nntx0.\t\n\ré\u{1f3d6}]{0,12}") {
            let raw = escaped(&text);
            prop_assert_eq!(field(&raw).unwrap(), text);
        }

        #[test]
        fn no_field_or_header_panics(text in "[\\\\\"(), .x0-9{}COPYé]{0,40}") {
            let _ = (field(&text), list(&text), CopyHeader::parse(&text), CopyHeader::parse(&format!("COPY {text}")));
        }
    }
}
