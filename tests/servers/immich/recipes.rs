//! What people's recipes make of a dump is taken as pg_dump printed it, and what cannot be taken is
//! called by its name.

use std::io::Write;

use crate::immich::made::{Text, cluster, small, whole};
use crate::immich::{fault, gzip, read, read_with};
use shoebox::immich::DumpVerdict;

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder =
        lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(6)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder =
        lzma_rust2::LzipWriter::new(Vec::new(), lzma_rust2::LzipOptions::with_preset(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn utf16(text: &str, bytes: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

fn twice(pack: fn(&[u8]) -> Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    [pack(first), pack(second)].concat()
}

/// It is good, and what is kept of `told` is `text`.
fn is_taken(name: &str, told: &[u8], text: &Text) {
    let (dump, copy) = read_with(told, None);
    let dump = dump.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(dump.verdict, DumpVerdict::Good, "{name}");
    assert!(copy == text.bytes(), "{name}: other bytes were kept");
    assert_eq!((dump.bytes, dump.census.assets), (text.0.len() as u64, 2), "{name}");
}

#[test]
fn however_a_dump_is_packed_it_is_kept_as_pg_dump_printed_it() {
    type Packer = fn(&[u8]) -> Vec<u8>;
    let packers: [(&str, Packer); 5] =
        [("gzip", gzip), ("zstd", zstd), ("bzip2", bzip2), ("xz", xz), ("lzip", lzip)];
    for text in [whole(true), cluster(&[("immich", small(Text::default()))])] {
        for (name, pack) in packers {
            let packed = pack(text.bytes());
            is_taken(name, &packed, &text);
            is_taken(&format!("{name} in two members"), &twice(pack, text.bytes()), &text);
            is_taken(&format!("{name} in gzip"), &gzip(&packed), &text);
            is_taken(&format!("{name} in {name}"), &pack(&packed), &text);
            for cut in (1..packed.len()).step_by(7) {
                assert!(!read(&packed[..cut]).is_good(), "{name} cut at byte {cut}");
            }
            let (_, reason) = fault(&packed[..packed.len() - 9]);
            assert!(reason.contains(name) && reason.contains("cut short"), "{reason}");
        }
    }
}

#[test]
fn what_gzip_calls_good_is_good() {
    let text = whole(false);
    let packed = gzip(text.bytes());
    is_taken("zeros after it", &[packed.clone(), vec![0; 70_000]].concat(), &text);
    let builder = flate2::GzBuilder::new()
        .filename("immich.sql")
        .comment("a night")
        .extra(b"AB\x02\0xy".to_vec())
        .mtime(7);
    let mut encoder = builder.write(Vec::new(), flate2::Compression::best());
    encoder.write_all(text.bytes()).unwrap();
    is_taken("fields in its header", &encoder.finish().unwrap(), &text);
    is_taken("an empty member", &[gzip(b""), packed.clone()].concat(), &text);
    let (_, reason) = fault(&[packed, b"rest".to_vec()].concat());
    assert!(reason.contains("follows the end of the gzip data"), "{reason}");
}

#[test]
fn ends_of_lines_that_a_terminal_wrote_are_taken_off() {
    let body = "CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS $$\r\n SELECT 1 \r $$;";
    let text = small(Text::head(true).sql(body)).tail(true);
    for (name, end) in [("docker exec -t", "\r\n"), ("and a Windows shell", "\r\r\n")] {
        let told = text.0.replace('\n', end);
        is_taken(name, told.as_bytes(), &text);
        is_taken(name, &gzip(told.as_bytes()), &text);
        let line = 1 + text.0.lines().position(|line| line.contains("Ann Lee")).unwrap() as u64;
        let mixed = told.replace(&format!("Ann Lee\tt{end}"), "Ann Lee\tt\n");
        let (at, reason) = fault(mixed.as_bytes());
        assert!(
            at == line && reason.contains("some lines end in CR LF and others do not"),
            "{at}: {reason}"
        );
    }
}

#[test]
fn what_a_windows_shell_wrote_is_read_back_into_utf8() {
    let text = whole(true);
    let windows = text.0.replace('\n', "\r\n");
    is_taken("a byte order mark", format!("\u{feff}{windows}").as_bytes(), &text);
    is_taken("a byte order mark alone", format!("\u{feff}{}", text.0).as_bytes(), &text);
    for (name, told) in [
        ("UTF-16, little end first", utf16(&format!("\u{feff}{windows}"), u16::to_le_bytes)),
        ("UTF-16, big end first", utf16(&format!("\u{feff}{windows}"), u16::to_be_bytes)),
        ("UTF-16 without a mark", utf16(&windows, u16::to_le_bytes)),
    ] {
        is_taken(name, &told, &text);
        is_taken(name, &gzip(&told), &text);
        let warnings = read(&told).warnings;
        assert!(
            warnings.iter().any(|warning| warning.contains("may be spoiled")),
            "{name}: {warnings:?}"
        );
        assert!(!read(&told[..told.len() / 2]).is_good(), "{name}");
        assert!(!read(&told[..told.len() / 2 + 1]).is_good(), "{name}");
    }
}

#[test]
fn what_cannot_be_taken_is_called_by_its_name_and_so_inside_of_gzip() {
    let tar = {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(4);
        builder.append_data(&mut header, "immich.sql", &b"dump"[..]).unwrap();
        builder.into_inner().unwrap()
    };
    let tar_format = {
        let mut tar = vec![0; 1024];
        tar[..8].copy_from_slice(b"toc.dat\0");
        tar
    };
    let kinds: [(&[u8], &str); 22] = [
        (b"PGDMP\x01\x0f\0", "pg_restore -f"),
        (&tar_format, "pg_restore -f"),
        (&tar, "tar -x"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"7z\xbc\xaf\x27\x1crest", "7z archive"),
        (b"Rar!\x1a\x07\x01", "rar archive"),
        (&[0x04, 0x22, 0x4d, 0x18, 1], "lz4 -d"),
        (b"age-encryption.org/v1\n", "age -d"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "age -d"),
        (b"-----BEGIN PGP MESSAGE-----\n", "gpg -d"),
        (&[0x8c, 0x0d, 4, 9, 3, 2], "gpg -d"),
        (&[0x85, 0x01, 0x0c, 3, 1], "gpg -d"),
        (&[0x84, 0x5e, 3, 1], "gpg -d"),
        (&[0xc3, 0x2e, 5, 9], "gpg -d"),
        (b"Salted__12345678", "openssl"),
        (b"U2FsdGVkX1/abc=\n", "openssl"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n", "encrypted"),
        (b"SQLite format 3\0", "SQLite"),
        (b"-- MySQL dump 10.13\n", "MySQL"),
        (b"H4sIAAAAAAAAA\n", "base64"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\xff\xfe\0\0-\0\0\0", "UTF-32"),
    ];
    for (bytes, words) in kinds {
        for (at, told) in
            [bytes.to_vec(), gzip(bytes), xz(&gzip(bytes)), zstd(bytes)].iter().enumerate()
        {
            let (line, reason) = fault(told);
            assert!(line == 1 && reason.contains(words), "{words}, {at}: {reason}");
        }
    }
    let (_, reason) = fault(&gzip(&gzip(&gzip(&gzip(&gzip(whole(true).bytes()))))));
    assert!(reason.contains("too many times"), "{reason}");
}

#[test]
fn a_file_that_unpacks_without_end_is_given_up() {
    let zeros = zstd(&vec![b'-'; 64 << 20]);
    let bomb: Vec<u8> = std::iter::repeat_n(zeros, 24).flatten().collect();
    let folder = tempfile::tempdir().unwrap();
    let options = shoebox::immich::Options { database: None, staging: folder.path() };
    let mut kept = 0_u64;
    let dump = shoebox::immich::read(&mut &*bomb, &options, &mut |bytes| {
        kept += bytes.len() as u64;
        Ok(())
    });
    assert!(!dump.unwrap().is_good());
    assert!(kept < (1 << 30) + (8 << 20), "{kept} bytes came out of {}", bomb.len());
}
