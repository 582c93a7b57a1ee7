//! What lies in other databases of the cluster, and what a database is written in, does not keep
//! Immich's part from being read.

use crate::immich::made::{KEY, Text, cluster, small};
use crate::immich::{read, read_with, records};
use shoebox::immich::DumpVerdict;
use shoebox::immich::fit::{self, FitTarget};

/// What the fitting hands on of the database `immich`.
fn fitted(dump: &[u8]) -> String {
    let mut out = Vec::new();
    fit::fit(&mut &*dump, Some("immich"), &FitTarget::file(), &mut |piece| {
        out.extend_from_slice(piece.bytes);
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(dump)));
    String::from_utf8(out).unwrap()
}

/// `text`, in which `~1` stands for a byte that is no UTF-8, and so on.
fn bytes(text: &Text) -> Vec<u8> {
    let marks: [(&[u8], &[u8]); 3] = [(b"~1", b"caf\xe9"), (b"~2", b"\0"), (b"~3", b"\xff\xfe\r")];
    marks.iter().fold(text.bytes().to_vec(), |bytes, (mark, byte)| {
        let mut out = Vec::new();
        let mut rest = &bytes[..];
        while let Some(at) = rest.windows(2).position(|two| two == *mark) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(byte);
            rest = &rest[at + 2..];
        }
        out.extend_from_slice(rest);
        out
    })
}

#[test]
fn whatever_lies_in_other_databases_passes_as_it_is() {
    let rows = "COPY public.doc (id, t) FROM stdin;\n";
    let others = [
        ("another encoding", format!("SET client_encoding = 'LATIN1';\n{rows}1\t~1\n\\.\n")),
        (
            "an encoding that nobody knows",
            format!("SET client_encoding = 'MULE_INTERNAL';\n{rows}1\t~1\n\\.\n"),
        ),
        ("no encoding at all", format!("SET client_encoding = 'SQL_ASCII';\n{rows}1\t~1\n\\.\n")),
        ("no UTF-8", format!("COMMENT ON TABLE x IS '~1';\n-- ~1\n{rows}1\t~1\n\\.\n")),
        ("NUL", format!("{rows}1\t~2\n~2\n\\.\nSELECT '~2';\n")),
        ("CR", format!("-- a\r\n{rows}1\ta\rb\r\n\\.\nSELECT 1;\r\n~3\n;")),
        ("rows of another length", format!("{rows}1\n1\t2\t3\n\\.\n")),
        ("rows that end nowhere", format!("{rows}1\t2\n")),
        ("rows by INSERT", "INSERT INTO public.album VALUES (1);\n".to_owned()),
        ("a COPY of another kind", "COPY public.doc FROM stdin;\n1\t'it''s\n\\.\n".to_owned()),
        ("commands to psql", "\\! ls\n\\.\n\\set x 1\n".to_owned()),
        (
            "statements of any kind",
            "CREATE FUNCTION x() LANGUAGE c AS 'a', 'b';\nBEGIN;; SET a TO b;\n".to_owned(),
        ),
        (
            "strings with backslashes",
            "SET standard_conforming_strings = off;\nSELECT 'it\\'s';\n".to_owned(),
        ),
        ("a message", "pg_dump: error: it's gone\n".to_owned()),
        ("keys that are not lifted", format!("\\unrestrict {KEY}\n\\restrict x\n\\restrict y\n")),
    ];
    for (name, other) in others {
        for after in [false, true] {
            let (immich, other) =
                (("immich", small(Text::default())), ("shop", Text(other.clone())));
            let mut text = cluster(&if after { [immich, other] } else { [other, immich] });
            if name == "rows that end nowhere" && !after {
                // The client died: of that dump there is no end.
                let end = "--\n-- PostgreSQL database dump complete\n--\n\n";
                text = Text(text.0.replacen(
                    &format!("1\t2\n{end}\\unrestrict {KEY}\n\n"),
                    "1\t2\n",
                    1,
                ));
            } else if name == "rows that end nowhere" {
                continue;
            }
            if name == "keys that are not lifted" {
                text = Text(text.0.replacen("\\restrict y\n--", "\\restrict y\n\n--", 1));
            }
            let bytes = bytes(&text);
            for wanted in [None, Some("immich")] {
                let (dump, copy) = read_with(&bytes, wanted);
                let dump = dump.unwrap();
                if name == "keys that are not lifted" && after {
                    continue;
                }
                assert_eq!(dump.verdict, DumpVerdict::Good, "{name}, {after}");
                assert_eq!((dump.census.assets, records(&dump).len()), (2, 6), "{name}");
                assert!(copy == bytes, "{name}: other bytes were kept");
            }
            if name != "keys that are not lifted" || !after {
                assert!(fitted(&bytes).contains("é.mov"), "{name}");
            }
        }
    }
    // The cluster's own end is still needed.
    let text = cluster(&[("immich", small(Text::default())), ("shop", Text::default())]).0;
    let end = text.rfind("--\n-- PostgreSQL database cluster dump complete").unwrap();
    assert!(!read(&text.as_bytes()[..end]).is_good());
}

#[test]
fn a_database_in_any_encoding_is_read_and_restored_alike() {
    let plain = small(Text::head(true)).tail(true).0;
    let expected = serde_json::to_string(&records(&read(plain.as_bytes()))).unwrap();
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("'SQL_ASCII'", plain.clone().into_bytes()),
        ("'LATIN1'", plain.chars().map(|c| c as u8).collect()),
    ];
    for (name, encoding) in [
        ("'WIN1252'", encoding_rs::WINDOWS_1252),
        ("'LATIN9'", encoding_rs::ISO_8859_15),
        ("'GB18030'", encoding_rs::GB18030),
    ] {
        cases.push((name, encoding.encode(&plain).0.into_owned()));
    }
    for (name, bytes) in cases {
        let head = b"SET client_encoding = 'UTF8';";
        let at = bytes.windows(head.len()).position(|line| line == head).unwrap();
        let named = format!("SET client_encoding = {name};");
        let told = [&bytes[..at], named.as_bytes(), &bytes[at + head.len()..]].concat();
        let (dump, copy) = read_with(&told, None);
        let dump = dump.unwrap();
        assert_eq!(dump.verdict, DumpVerdict::Good, "{name}");
        assert!(
            copy == told && serde_json::to_string(&records(&dump)).unwrap() == expected,
            "{name}"
        );
        let sql = fitted(&told);
        assert!(
            sql.contains("é.mov")
                && sql.contains("SET client_encoding = 'UTF8';")
                && !sql.contains(name),
            "{name}"
        );
    }
}

#[test]
fn strings_whose_backslashes_escape_are_read_as_the_server_meant_them() {
    let sql = "COMMENT ON TABLE public.album IS 'it\\'s; \\\\';\nCOMMENT ON TABLE public.asset IS \
        'plain';";
    let text =
        small(Text::head(true).sql(sql)).tail(true).0.replacen("strings = on", "strings = off", 1);
    let dump = read(text.as_bytes());
    assert_eq!(dump.verdict, DumpVerdict::Good);
    let sql = fitted(text.as_bytes());
    assert!(sql.contains("IS E'it\\'s; \\\\';") && sql.contains("IS 'plain';"), "{sql}");
    assert!(sql.contains("SET standard_conforming_strings = on;"), "{sql}");
}
