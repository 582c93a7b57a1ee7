//! The encoding that a database's dump is written in: `SET client_encoding = 'LATIN1';`, which
//! pg_dump takes from the database.
//!
//! Source: PostgreSQL manual, section "Supported Character Sets". `SQL_ASCII` is no encoding: of
//! Immich the bytes are UTF-8.
//!
//! Limits: EUC_TW, EUC_JIS_2004, JOHAB, SHIFT_JIS_2004 and MULE_INTERNAL are not known.

use std::borrow::Cow;

use encoding_rs as rs;

/// What the text of a dump is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DumpEncoding {
    #[default]
    Utf8,
    /// Each byte is the character of its number, also where Windows has others.
    Latin1,
    Other(&'static rs::Encoding),
}

impl DumpEncoding {
    /// What PostgreSQL calls `name`, in whichever of its spellings, with or without quotes.
    pub fn named(name: &str) -> Option<DumpEncoding> {
        let plain = name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_uppercase();
        let other = match plain.as_str() {
            "UTF8" | "UNICODE" | "SQLASCII" => return Some(DumpEncoding::Utf8),
            "LATIN1" | "ISO88591" => return Some(DumpEncoding::Latin1),
            "LATIN2" | "ISO88592" => rs::ISO_8859_2,
            "LATIN3" | "ISO88593" => rs::ISO_8859_3,
            "LATIN4" | "ISO88594" => rs::ISO_8859_4,
            "LATIN5" | "ISO88599" | "WIN1254" => rs::WINDOWS_1254,
            "LATIN6" | "ISO885910" => rs::ISO_8859_10,
            "LATIN7" | "ISO885913" => rs::ISO_8859_13,
            "LATIN8" | "ISO885914" => rs::ISO_8859_14,
            "LATIN9" | "ISO885915" => rs::ISO_8859_15,
            "LATIN10" | "ISO885916" => rs::ISO_8859_16,
            "ISO88595" => rs::ISO_8859_5,
            "ISO88596" => rs::ISO_8859_6,
            "ISO88597" => rs::ISO_8859_7,
            "ISO88598" => rs::ISO_8859_8,
            "WIN1250" => rs::WINDOWS_1250,
            "WIN1251" | "WIN" => rs::WINDOWS_1251,
            "WIN1252" => rs::WINDOWS_1252,
            "WIN1253" => rs::WINDOWS_1253,
            "WIN1255" => rs::WINDOWS_1255,
            "WIN1256" => rs::WINDOWS_1256,
            "WIN1257" => rs::WINDOWS_1257,
            "WIN1258" => rs::WINDOWS_1258,
            "WIN866" | "ALT" => rs::IBM866,
            "WIN874" => rs::WINDOWS_874,
            "KOI8R" | "KOI8" => rs::KOI8_R,
            "KOI8U" => rs::KOI8_U,
            "EUCJP" => rs::EUC_JP,
            "SJIS" | "SHIFTJIS" | "MSKANJI" | "WIN932" | "WINDOWS932" => rs::SHIFT_JIS,
            "EUCKR" | "UHC" | "WIN949" | "WINDOWS949" => rs::EUC_KR,
            "EUCCN" | "GBK" | "WIN936" | "WINDOWS936" => rs::GBK,
            "GB18030" => rs::GB18030,
            "BIG5" | "WIN950" | "WINDOWS950" => rs::BIG5,
            _ => return None,
        };
        Some(DumpEncoding::Other(other))
    }

    /// `bytes` as text; `None` where they are none in this encoding.
    pub fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            DumpEncoding::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            DumpEncoding::Latin1 => Some(rs::mem::decode_latin1(bytes)),
            DumpEncoding::Other(encoding) => {
                encoding.decode_without_bom_handling_and_without_replacement(bytes)
            }
        }
    }
}

/// The value in `SET setting = value;`, as it is written.
pub fn setting<'a>(line: &'a str, setting: &str) -> Option<&'a str> {
    line.strip_prefix("SET ")?
        .strip_prefix(setting)?
        .strip_prefix(" = ")?
        .trim_end()
        .strip_suffix(';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_in_the_encoding_that_the_dump_names() {
        let read = |name: &str, bytes: &[u8]| {
            DumpEncoding::named(name).unwrap().decode(bytes).map(Cow::into_owned)
        };
        assert_eq!(read("'UTF8'", "é".as_bytes()).unwrap(), "é");
        assert_eq!(read("'SQL_ASCII'", b"\xe9"), None);
        assert_eq!(read("'LATIN1'", b"\xe9 \x80").unwrap(), "é \u{80}");
        assert_eq!(read("'WIN1252'", b"\xe9 \x80").unwrap(), "é €");
        assert_eq!(read("'LATIN9'", b"\xa4").unwrap(), "€");
        // The second byte of these is a backslash.
        assert_eq!(read("'SJIS'", b"\x95\x5c").unwrap(), "表");
        assert_eq!(read("'BIG5'", b"\xa5\x5c").unwrap(), "功");
        assert_eq!(read("'EUC_JP'", b"\xc9\xbd").unwrap(), "表");
        assert_eq!(read("'EUC_KR'", b"\xb0\xa1").unwrap(), "가");
        assert_eq!(DumpEncoding::named("'EUC_TW'"), None);
        assert_eq!(setting("SET client_encoding = 'LATIN1';", "client_encoding"), Some("'LATIN1'"));
    }
}
