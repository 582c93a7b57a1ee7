//! Small dumps made for a test, in the form that pg_dump writes.

use std::fmt::Write;

pub const ANN: &str = "00000000-0000-4000-8000-00000000000a";
pub const BO: &str = "00000000-0000-4000-8000-00000000000b";
pub const HEAD: &str = "--\n-- PostgreSQL database dump\n--\n\n";
pub const TAIL: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";
pub const KEY: &str = "kQ8fK3";

/// An id that ends in `n`.
pub fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

/// The text of a dump that grows.
#[derive(Default, Clone)]
pub struct Text(pub String);

impl Text {
    /// The beginning of a database's dump.
    pub fn head(restricted: bool) -> Self {
        let mut text = Text(HEAD.to_owned());
        if restricted {
            write!(text.0, "\\restrict {KEY}\n\n").unwrap();
        }
        text.0 += "-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)\n\
                   -- Dumped by pg_dump version 16.11 (Debian 16.11-1)\n\n\
                   SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n\n";
        text
    }

    /// The end of a database's dump.
    pub fn tail(mut self, restricted: bool) -> Self {
        self.0 += TAIL;
        if restricted {
            write!(self.0, "\\unrestrict {KEY}\n\n").unwrap();
        }
        self
    }

    pub fn sql(mut self, sql: &str) -> Self {
        self.0 += sql;
        self.0 += "\n\n";
        self
    }

    /// A COPY block: columns and fields parted by blanks, `~` for a blank in a field.
    pub fn copy(mut self, table: &str, columns: &str, rows: &[&str]) -> Self {
        let columns: Vec<_> = columns.split(' ').map(quoted).collect();
        writeln!(self.0, "CREATE TABLE public.{} (x text);\n", quoted(table)).unwrap();
        writeln!(self.0, "COPY public.{} ({}) FROM stdin;", quoted(table), columns.join(", "))
            .unwrap();
        for row in rows {
            writeln!(self.0, "{}", row.replace(' ', "\t").replace('~', " ")).unwrap();
        }
        self.0 += "\\.\n\n\n";
        self
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn quoted(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        && name != "user"
        && name != "order";
    if bare { name.to_owned() } else { format!("\"{name}\"") }
}

/// The tables that a v3 database must have, with one user, two photos and one album.
pub fn small(text: Text) -> Text {
    let (one, two, album) = (id(1), id(2), id(0xa1));
    text.copy(
        "album",
        "id albumName createdAt description deletedAt order",
        &[&format!(r"{album} Rome 2025-01-01~00:00:00+00 \N \N desc")],
    )
    .copy("album_asset", "albumId assetId", &[&format!("{album} {one}")])
    .copy("album_user", "albumId userId role", &[&format!("{album} {ANN} owner")])
    .copy(
        "asset",
        "id ownerId type originalPath originalFileName checksum localDateTime visibility",
        &[
            &format!(
                r"{one} {ANN} IMAGE /data/upload/{ANN}/aa/bb/1.jpg IMG\\_1.jpg \\x{0} 2025-01-02~03:04:05+00 timeline",
                "ab".repeat(20)
            ),
            &format!(
                r"{two} {ANN} VIDEO /data/upload/{ANN}/aa/bb/2.mov é.mov \\x{0} 2025-01-02~03:04:05+00 hidden",
                "cd".repeat(20)
            ),
        ],
    )
    .copy("user", "id email name isAdmin", &[&format!("{ANN} ann@example.com Ann~Lee t")])
}

/// A whole dump of `small`.
pub fn whole(restricted: bool) -> Text {
    small(Text::head(restricted).sql("CREATE TABLE public.memory (\n    id uuid NOT NULL\n);"))
        .tail(restricted)
}

/// A cluster dump of these databases, each with its contents.
pub fn cluster(databases: &[(&str, Text)]) -> Text {
    let mut text = Text(format!(
        "--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict {KEY}c\n\nCREATE ROLE \
            postgres;\n\n\\unrestrict {KEY}c\n\n"
    ));
    for (name, contents) in databases {
        text.0 += &Text::head(true).0;
        write!(
            text.0,
            "CREATE DATABASE {name};\n\n\\unrestrict {KEY}\n\\connect {name}\n\\restrict {KEY}\n\n"
        )
        .unwrap();
        text.0 += &contents.0;
        text = text.tail(true);
    }
    text.0 += "--\n-- PostgreSQL database cluster dump complete\n--\n\n";
    text
}
