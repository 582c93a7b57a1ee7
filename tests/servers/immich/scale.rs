//! Large dumps: speed and memory. Slow, so on demand:
//! `cargo test --release --test servers immich::scale -- --ignored --nocapture`.

use std::io::Read;
use std::time::Instant;

use crate::immich::made::{ANN, Text};
use shoebox::immich::{self, DumpVerdict, Options};

/// A dump that is made while it is read: `parts` of a head, rows by their number, a tail.
struct Made<F: FnMut(u64, &mut String)> {
    rows: u64,
    row: F,
    next: u64,
    ready: String,
    taken: usize,
    tail: String,
}

impl<F: FnMut(u64, &mut String)> Made<F> {
    fn fill(&mut self) {
        self.ready.clear();
        self.taken = 0;
        while self.next < self.rows && self.ready.len() < 1 << 16 {
            (self.row)(self.next, &mut self.ready);
            self.next += 1;
        }
        if self.ready.is_empty() {
            self.ready.push_str(&std::mem::take(&mut self.tail));
        }
    }
}

impl<F: FnMut(u64, &mut String)> Read for Made<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.taken == self.ready.len() {
            self.fill();
        }
        let count = (self.ready.len() - self.taken).min(buffer.len());
        buffer[..count].copy_from_slice(&self.ready.as_bytes()[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

/// The most memory that this process has held, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn measure(what: &str, mut input: impl Read) -> immich::ReadDump {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let options = Options { database: None, staging: folder.path() };
    let dump = immich::read(&mut input, &options, &mut |_| Ok(())).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what}: {:.0} MB in {seconds:.1} s, {:.0} MB/s, peak {} MiB",
        dump.bytes as f64 / 1e6,
        dump.bytes as f64 / 1e6 / seconds,
        peak()
    );
    assert_eq!(dump.verdict, DumpVerdict::Good);
    dump
}

#[test]
#[ignore = "slow: reads a gigabyte"]
fn rows_that_do_not_matter_pass_quickly() {
    let chunk: String = (0..400)
        .map(|n| {
            format!(
                "{n}\tSome place {n}\t13.4{n}\t52.5{n}\tDE\t16\t00\t2026-01-01\tBerlin, \
            Land\t\\N\tBärlin,Berlino,柏林\n"
            )
        })
        .collect();
    let head = Text::head(false).0
        + "CREATE TABLE public.geodata_places (x text);\nCOPY public.geodata_places (id, a, b, c, \
            d, e, f, g, h, i, j) FROM stdin;\n";
    let tail = format!("\\.\n\n{}", crate::immich::made::small(Text::default()).tail(false).0);
    let row = |n, out: &mut String| out.push_str(if n == 0 { &head } else { &chunk });
    let rows = 1_000_000_000 / chunk.len() as u64;
    let dump =
        measure("geodata", Made { rows, row, next: 0, ready: String::new(), taken: 0, tail });
    assert!(dump.rows["geodata_places"] > 1_000_000);
}

#[test]
#[ignore = "slow: a million assets"]
fn a_million_assets_are_read_in_bounded_memory() {
    const ASSETS: u64 = 1_000_000;
    let uuid = |n: u64| {
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{:08x}-{:04x}-4000-8000-{n:012x}", mixed >> 32, (mixed >> 16) & 0xffff)
    };
    let when = "2025-01-02 03:04:05.678+00";
    let row = |n: u64, out: &mut String| match n {
        0 => {
            *out += &Text::head(false).0;
            *out += &format!(
                "CREATE TABLE public.album (x text);\nCOPY public.album (id, \"albumName\") FROM \
                    stdin;\n{}\tRome\n\\.\n\n",
                uuid(0)
            );
            *out += &format!(
                "CREATE TABLE public.album_user (x text);\nCOPY public.album_user (\"albumId\", \
                    \"userId\", role) FROM stdin;\n{}\t{ANN}\towner\n\\.\n\n",
                uuid(0)
            );
            *out += "CREATE TABLE public.album_asset (x text);\nCOPY public.album_asset \
                (\"albumId\", \"assetId\") FROM stdin;\n";
        }
        n if n <= ASSETS => *out += &format!("{}\t{}\n", uuid(0), uuid(n)),
        n if n <= 2 * ASSETS => {
            let n = n - ASSETS;
            if n == 1 {
                *out += "\\.\n\nCREATE TABLE public.asset (x text);\nCOPY public.asset (id, \
                    \"ownerId\", type, \"originalPath\", \"fileCreatedAt\", \"isFavorite\", \
                    checksum, \"livePhotoVideoId\", \"createdAt\", \"originalFileName\", \
                    \"libraryId\", \"isExternal\", \"deletedAt\", \"localDateTime\", \"stackId\", \
                    status, visibility, \"checksumAlgorithm\") FROM stdin;\n";
            }
            let id = uuid(n);
            *out += &format!(
                "{id}\t{ANN}\tIMAGE\t/data/upload/{ANN}/aa/bb/{id}.jpg\t{when}\tf\t\\\\x{n:040x}\t\\N\t{when}\tIMG_{n}.jpg\t\\N\tf\t\\N\t{when}\t\\N\tactive\ttimeline\tsha1\n"
            );
        }
        n => {
            let n = n - 2 * ASSETS;
            if n == 1 {
                *out += "\\.\n\nCREATE TABLE public.asset_exif (x text);\nCOPY public.asset_exif \
                    (\"assetId\", make, model, latitude, longitude, city, country, description, \
                    \"fileSizeInByte\") FROM stdin;\n";
            }
            *out += &format!("{}\tCanon\tEOS R6\t52.5\t13.4\tBerlin\tGermany\t\t123456\n", uuid(n));
        }
    };
    let users =
        Text::default().copy("user", "id email name isAdmin", &[&format!("{ANN} a@b Ann t")]);
    let tail = format!("\\.\n\n{}", users.tail(false).0);
    let dump = measure(
        "assets",
        Made { rows: 3 * ASSETS + 1, row, next: 0, ready: String::new(), taken: 0, tail },
    );
    let start = Instant::now();
    let mut count = 0_u64;
    let mut last = None;
    dump.records(&mut |record| {
        assert!(last < Some(record.key()));
        last = Some(record.key());
        count += 1;
        Ok(())
    })
    .unwrap();
    println!("{count} records in {:.1} s, peak {} MiB", start.elapsed().as_secs_f64(), peak());
    assert_eq!(count, 2 * ASSETS + 3);
    assert!(peak() < 400, "memory is bounded");
}
