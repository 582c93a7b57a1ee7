//! A dump that is not whole never passes.

use crate::immich::made::{self, Text, cluster, id, small, whole};
use crate::immich::{fault, gzip, read, read_with, records};
use proptest::prelude::*;
use shoebox::base::{Error, ErrorKind};
use shoebox::immich::{DumpKind, DumpVerdict, Options};

#[test]
fn a_whole_dump_is_good_plain_or_gzipped_and_every_byte_is_handed_on() {
    for text in [whole(false), whole(true), cluster(&[("immich", small(Text::default()))])] {
        for bytes in [text.bytes().to_vec(), gzip(text.bytes())] {
            let (dump, copy) = read_with(&bytes, None);
            let dump = dump.unwrap();
            assert_eq!(dump.verdict, DumpVerdict::Good);
            assert_eq!(copy, text.bytes());
            assert_eq!(dump.bytes, text.0.len() as u64);
            assert_eq!(dump.lines, text.0.lines().count() as u64);
            assert_eq!(
                (dump.postgres.as_deref(), dump.tool.as_deref()),
                (Some("15.20"), Some("16.11"))
            );
            assert_eq!((dump.census.users, dump.census.assets, dump.census.albums), (1, 2, 1));
        }
    }
}

#[test]
fn a_dump_cut_at_any_byte_is_bad() {
    for text in [
        whole(false),
        whole(true),
        cluster(&[("immich", small(Text::default())), ("other", Text::default())]),
    ] {
        let needed = text.0.trim_end().len();
        for cut in 0..needed {
            assert!(!read(&text.bytes()[..cut]).is_good(), "cut at byte {cut} of {needed}");
        }
        for cut in needed..=text.0.len() {
            assert!(read(&text.bytes()[..cut]).is_good(), "cut in the blank lines at byte {cut}");
        }
    }
}

#[test]
fn a_gzipped_dump_cut_at_any_byte_is_bad() {
    let bytes = gzip(whole(true).bytes());
    for cut in 0..bytes.len() {
        assert!(!read(&bytes[..cut]).is_good(), "cut at byte {cut} of {}", bytes.len());
    }
}

#[test]
fn a_gzipped_dump_with_a_flipped_bit_is_bad_unless_the_bit_says_nothing() {
    let text = whole(true);
    let bytes = gzip(text.bytes());
    for at in 10..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        let (dump, copy) = read_with(&bytes, None);
        assert!(!dump.unwrap().is_good() || copy == text.bytes(), "flipped at byte {at}");
    }
}

#[test]
fn a_dump_without_any_one_of_its_lines_is_bad_or_lost_only_a_row_or_a_statement() {
    const STATEMENT: [&str; 3] = ["CREATE TABLE public.memory (", "    id uuid NOT NULL", ");"];
    let text = whole(true);
    let lines: Vec<_> = text.0.lines().collect();
    for gone in 0..lines.len() {
        let kept = lines
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != gone)
            .map(|(_, line)| format!("{line}\n"));
        let harmless = lines[gone].is_empty()
            || lines[gone].contains('\t')
            || lines[gone] == "--"
            || lines[gone].starts_with("-- Dumped")
            || lines[gone].starts_with("SET ")
            || STATEMENT.contains(&lines[gone]);
        let good = read(kept.collect::<String>().as_bytes()).is_good();
        assert!(!good || harmless, "passed without line {}: {}", gone + 1, lines[gone]);
    }
}

#[test]
fn the_verdict_names_the_line_and_the_reason() {
    let says = |bytes: &[u8], line: u64, words: &str| {
        let (at, reason) = fault(bytes);
        assert!(reason.contains(words), "{reason}");
        assert_eq!(at, line, "{reason}");
    };
    says(b"", 1, "empty");
    says(b"\n\n", 2, "before a dump");
    says(b"PGDMP\x01\x0e", 1, "custom format");
    says(b"\xff\xfe-\0-\0", 1, "cut short");
    says(b"pg_dump: error: connection refused\n", 1, "connection refused");
    says(b"some row\tof a photo\n", 1, "not the beginning");
    says(
        b"Defaulted container \"postgres\" out of: postgres, metrics\n--\n-- Post",
        1,
        "must not be in the file",
    );
    let text = whole(true).0;
    let lines = text.lines().count() as u64;
    let line = |words: &str| 1 + text.lines().position(|line| line.contains(words)).unwrap() as u64;
    says(
        text.replace("é.mov\t", "").as_bytes(),
        line("é.mov"),
        "asset has 7 fields where its header names 8",
    );
    says(text.replace("é.mov", "e\0.mov").as_bytes(), line("é.mov"), "NUL");
    says(text.replace("Ann Lee", "Ann\rLee").as_bytes(), line("Ann Lee"), "CR LF");
    let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
    says(&latin, line("é.mov"), "UTF-8");
    says(text.replace("'UTF8'", "'EUC_TW'").as_bytes(), line("client_encoding"), "--encoding=UTF8");
    says(
        text.replace("\\unrestrict k", "\\unrestrict x").as_bytes(),
        line("\\unrestrict"),
        "\\unrestrict",
    );
    says(text.replace(made::ANN, "7").as_bytes(), line("IMG\\\\"), "unreadable");
    says(format!("{text}{text}").as_bytes(), lines + 2, "second dump");
    says(format!("{text}DROP TABLE x;\n").as_bytes(), lines + 1, "after the end");
    says(
        text.replace("CREATE TABLE", "\\! rm -rf /\nCREATE TABLE").as_bytes(),
        line("CREATE TABLE"),
        "psql command",
    );
    says(
        text.replace("CREATE TABLE", "COPY x FROM PROGRAM 'ls';\nCREATE TABLE").as_bytes(),
        line("CREATE TABLE"),
        "COPY",
    );
    says(
        text.replace("CREATE TABLE", "INSERT INTO public.asset VALUES ('a');\nCREATE TABLE")
            .as_bytes(),
        line("CREATE TABLE"),
        "--inserts",
    );
    says(
        Text::head(true).tail(true).bytes(),
        18,
        "user or users, asset or assets, album or albums",
    );
}

#[test]
fn a_library_without_users_is_bad() {
    let text = whole(true).0;
    let user = text.lines().find(|line| line.contains("ann@example.com")).unwrap();
    let (_, reason) = fault(text.replace(&format!("{user}\n"), "").as_bytes());
    assert!(reason.contains("no user"), "{reason}");
}

#[test]
fn what_comes_after_the_fault_is_still_handed_on() {
    let text = whole(true).0.replace("é.mov\t", "");
    let (dump, copy) = read_with(text.as_bytes(), None);
    let dump = dump.unwrap();
    assert!(!dump.is_good());
    assert_eq!(copy, text.as_bytes());
    assert_eq!(dump.records(&mut |_| Ok(())).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn text_that_looks_like_rows_or_an_end_is_not_taken_for_it() {
    let fooling = "CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $_$\r\n\
        COPY public.asset (id) FROM stdin;\nno\trow\n\\.\n\\! ls\n-- PostgreSQL database dump \
        complete\n--\n'\"\n$_$;\n\
        COMMENT ON TABLE public.x IS 'it''s\nCOPY public.album (id) FROM stdin;\n\\restrict \
        x\n--';\n\
        COMMENT ON TABLE public.x IS E'it\\'s\nCOPY public.album (id) FROM stdin;';\n\
        CREATE TABLE public.\"a\n\\.\nb\" ();";
    let text = small(Text::head(true).sql(fooling)).tail(true);
    let dump = read(text.bytes());
    assert_eq!(dump.verdict, DumpVerdict::Good);
    assert_eq!(dump.census.assets, 2);
    // Read rightly too, though pg_dump writes none.
    let comment = "/* COPY public.asset (id) FROM stdin; /* */\n-- PostgreSQL database dump\n*/ \
        CREATE TABLE x ();";
    let dump = read(small(Text::head(true).sql(comment)).tail(true).bytes());
    assert!(dump.is_unfit && dump.census.assets == 2, "{:?}", dump.verdict);
}

#[test]
fn a_line_may_have_megabytes() {
    let long = format!("1 {}", "x\\\\".repeat(2 << 20));
    let text = small(Text::head(true).copy("plugin", "id wasm", &[&long])).tail(true);
    let dump = read(&gzip(text.bytes()));
    assert_eq!(dump.verdict, DumpVerdict::Good);
    assert_eq!(dump.rows["plugin"], 1);
}

#[test]
fn two_libraries_in_a_cluster_have_to_be_told_apart_by_name() {
    let more = small(Text::default()).0.replace("Rome", "Oslo");
    let text = cluster(&[
        ("immich", small(Text::default())),
        ("empty", Text::default()),
        ("\"Immich 2\"", Text(more)),
    ]);
    let error = read_with(text.bytes(), None).0.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("`immich`, `Immich 2`"), "{error}");
    assert!(error.next_step().unwrap().contains("--database-name"));

    let dump = read_with(text.bytes(), Some("Immich 2")).0.unwrap();
    assert_eq!((dump.verdict.clone(), dump.kind), (DumpVerdict::Good, DumpKind::Cluster));
    assert_eq!(dump.database.as_deref(), Some("Immich 2"));
    assert!(serde_json::to_string(&records(&dump)).unwrap().contains("Oslo"));

    let error = read_with(text.bytes(), Some("photos")).0.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.to_string().contains("`photos`") && error.to_string().contains("`empty`"),
        "{error}"
    );
    assert!(!read_with(text.bytes(), Some("empty")).0.unwrap().is_good());
}

#[test]
fn tables_of_other_programs_in_the_cluster_do_not_disturb() {
    let other = Text::default()
        .copy("users", "id name", &["1 root"])
        .copy("albums", "id title", &["1 x"])
        .copy("tags", "id label", &["1 x"]);
    let dump = read(cluster(&[("app", other), ("immich", small(Text::default()))]).bytes());
    assert_eq!(dump.verdict, DumpVerdict::Good);
    assert_eq!(dump.database.as_deref(), Some("immich"));
    assert_eq!(dump.rows["user"], 1);
}

#[test]
fn a_nameless_dump_is_the_one_that_is_meant() {
    assert!(read_with(whole(true).bytes(), Some("immich")).0.unwrap().is_good());
}

#[test]
fn failures_on_our_side_are_errors_and_no_verdict() {
    let text = whole(true);
    let folder = tempfile::tempdir().unwrap();
    let options = Options { database: None, staging: folder.path() };
    let full = |_: &[u8]| Err(Error::new(ErrorKind::NoSpace, "full"));
    let error = shoebox::immich::read(&mut text.bytes(), &options, &mut { full }).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NoSpace);

    let gone = Options { database: None, staging: &folder.path().join("gone") };
    let error = shoebox::immich::read(&mut text.bytes(), &gone, &mut |_| Ok(())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    struct Broken<'a>(&'a [u8]);
    impl std::io::Read for Broken<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::other("unplugged")),
                got => Ok(got),
            }
        }
    }
    for bytes in [text.bytes()[..300].to_vec(), gzip(text.bytes())[..300].to_vec()] {
        let error =
            shoebox::immich::read(&mut Broken(&bytes), &options, &mut |_| Ok(())).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Io);
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "no temporary file is left behind"
    );
}

/// A dump that arrives a few bytes at a time.
struct Drip<'a>(&'a [u8], usize);

impl std::io::Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(buffer.len());
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn it_does_not_matter_how_the_bytes_arrive() {
    let text = cluster(&[("immich", small(Text::default()))]);
    let folder = tempfile::tempdir().unwrap();
    let options = Options { database: None, staging: folder.path() };
    for step in [1, 2, 3, 7, 64] {
        for bytes in [text.bytes().to_vec(), gzip(text.bytes())] {
            let dump =
                shoebox::immich::read(&mut Drip(&bytes, step), &options, &mut |_| Ok(())).unwrap();
            assert_eq!(dump.verdict, DumpVerdict::Good, "{step} bytes at a time");
        }
    }
}

/// What mutations are made of: the words that the reader looks for.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\\\\\"'$;\n\t\r. a-]{1,6}",
        Just("\\.\n".to_owned()),
        Just("\nCOPY public.asset (id) FROM stdin;\n".to_owned()),
        Just("\nCOPY public.person (id, \"ownerId\", name) FROM stdin;\n".to_owned()),
        Just(made::TAIL.to_owned()),
        Just(made::HEAD.to_owned()),
        Just("\n\\connect immich\n".to_owned()),
        Just("$$".to_owned()),
        Just(id(7)),
        Just("\u{1f3d6}".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutated_dump_panics(edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..40, piece()), 1..6)) {
        let mut text: Vec<char> = cluster(&[("immich", small(Text::default()))]).0.chars().collect();
        for (at, gone, piece) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + gone).min(text.len());
            text.splice(at..end, piece.chars());
        }
        let text: String = text.into_iter().collect();
        if let (Ok(dump), copy) = read_with(text.as_bytes(), None) {
            prop_assert_eq!(copy, text.as_bytes());
            if dump.is_good() {
                records(&dump);
            }
        }
    }

    #[test]
    fn no_noise_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), gzipped: bool) {
        let bytes = if gzipped { gzip(&bytes) } else { bytes };
        prop_assert!(!read(&bytes).is_good());
    }
}
