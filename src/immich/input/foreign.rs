//! Files that are no plain dump, by their first bytes, and what to do about each.

const ENCRYPTED: &str = "this is encrypted; decrypt it first";

/// What begins so, wherever it lies.
const KINDS: [(&[u8], &str); 24] = [
    (
        b"PGDMP",
        "this is a dump in pg_dump's custom format; make a plain one, without -Fc (or convert it: \
            pg_restore -f dump.sql)",
    ),
    (
        b"toc.dat\0",
        "this is a dump in pg_dump's tar format; make a plain one, without -Ft (or convert it: \
            pg_restore -f dump.sql)",
    ),
    (b"PK\x03\x04", "this is a zip archive; unpack it first (unzip)"),
    (b"7z\xbc\xaf\x27\x1c", "this is a 7z archive; unpack it first (7z x)"),
    (b"Rar!\x1a\x07", "this is a rar archive; unpack it first (unrar x)"),
    (
        &[0x04, 0x22, 0x4d, 0x18],
        "this is compressed with lz4; decompress it first (lz4 -d), or use gzip",
    ),
    (b"\x89LZO\0\r\n", "this is compressed with lzop; decompress it first (lzop -d), or use gzip"),
    (
        &[0x1f, 0x9d],
        "this is compressed with compress (.Z); decompress it first (gzip -d), or use gzip",
    ),
    (&[0xff, 0xfe, 0, 0], "this is UTF-32; let pg_dump write the file itself (--file)"),
    (&[0, 0, 0xfe, 0xff], "this is UTF-32; let pg_dump write the file itself (--file)"),
    (b"age-encryption.org/", "this is encrypted with age; decrypt it first (age -d)"),
    (b"-----BEGIN AGE ENCRYPTED FILE", "this is encrypted with age; decrypt it first (age -d)"),
    (b"-----BEGIN PGP MESSAGE", "this is encrypted with gpg; decrypt it first (gpg -d)"),
    (b"Salted__", "this is encrypted with openssl; decrypt it first (openssl enc -d)"),
    (b"U2FsdGVkX1", "this is encrypted with openssl; decrypt it first (openssl enc -d -a)"),
    (b"$ANSIBLE_VAULT;", ENCRYPTED),
    (b"LUKS\xba\xbe", ENCRYPTED),
    (b"H4sI", "this is base64; decode it first (base64 -d)"),
    (b"SQLite format 3\0", "this is a database of SQLite; Immich's is one of PostgreSQL"),
    (b"-- MySQL dump", "this is a dump of MySQL; Immich's database is PostgreSQL"),
    (b"-- MariaDB dump", "this is a dump of MariaDB; Immich's database is PostgreSQL"),
    (b"/*M!999999", "this is a dump of MariaDB; Immich's database is PostgreSQL"),
    (b"<!DOCTYPE", "this is a web page and no dump"),
    (b"<html", "this is a web page and no dump"),
];

/// What a file that begins with `head` is, if it is no plain dump.
pub(super) fn kind(head: &[u8]) -> Option<&'static str> {
    let known = KINDS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, reason)| *reason);
    known
        .or_else(|| {
            is_openpgp(head).then_some("this is encrypted with gpg; decrypt it first (gpg -d)")
        })
        .or_else(|| {
            // POSIX pax, chapter "ustar Interchange Format".
            let tar = head.get(257..262) == Some(b"ustar");
            tar.then_some(
                "this is a tar archive; unpack it first (tar -x), and give the dump that is in it",
            )
        })
}

/// The first packet of a message that is encrypted to a key or with a passphrase.
///
/// Source: RFC 4880 and RFC 9580, sections on packet headers and on tags 1 and 3.
fn is_openpgp(head: &[u8]) -> bool {
    matches!(
        head,
        [0x84, _, 2..=6, ..]
            | [0x85, _, _, 2..=6, ..]
            | [0xc1, 0..=191, 3 | 6, ..]
            | [0xc1, 192..=223, _, 3 | 6, ..]
            | [0x8c | 0xc3, 4..=191, 4..=6, ..]
    )
}
