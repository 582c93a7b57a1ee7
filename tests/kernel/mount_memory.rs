//! A library of 200,000 photos: how much memory the mount takes, and how long a walk over all of
//! it. The mount is a process of its own (this test, run again), so that nothing else is counted.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use crate::mount_library::Library;
use crate::support::test_name;
use shoebox::mount::{self, MountedView};
use shoebox::view;

const PHOTOS: u64 = 200_000;
const MOST_KIB: u64 = 64 << 10;

/// 200,000 assets over fifteen years, each with its file in `upload/1/aa/bb/`.
fn library() -> Library {
    let mut library = Library::new();
    let mut state = crate::mount_library::State::default();
    state.user(crate::mount_library::user(1, "Ann"));
    state.files.push(crate::mount_library::file("upload/1/marker", b"x"));
    library.snapshot("2026-11-21T030005Z", true, &state);
    let upload = "(SELECT id FROM folder WHERE name = CAST('1' AS BLOB))";
    let time = "(SELECT time FROM snapshot), 9223372036854775807";
    let count = |n: u64| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {})",
            n - 1
        )
    };
    let folder = |place: &str, rows: u64, name: &str, id: &str, parent: &str| {
        [
            format!(
                "INSERT INTO folder SELECT {id}, {parent}, CAST({name} AS BLOB) FROM (SELECT i \
                    FROM n)"
            ),
            format!(
                "INSERT INTO file SELECT {parent}, CAST({name} AS BLOB), {time}, {rows} + i, 1, 0, \
                    1500000000000000000, 493, 0, 0, NULL, {id}, NULL, NULL FROM (SELECT i FROM n) \
                    /*{place}*/"
            ),
        ]
    };
    let mut all = Vec::new();
    for sql in folder("aa", 1_000_000, "printf('%02x', i)", "10000 + i", upload) {
        all.push(format!("{} {sql}", count(256)));
    }
    for sql in folder("bb", 2_000_000, "printf('%02x', i % 256)", "100000 + i", "10000 + i / 256") {
        all.push(format!("{} {sql}", count(65_536)));
    }
    let id = "CAST(printf('%016d', i) AS BLOB)";
    all.push(format!(
        "{} INSERT INTO file SELECT 100000 + (i * 7919) % 65536, \
            CAST(printf('%016d-0000-4000-8000-%012x.jpg', i, i) AS BLOB), {time}, 3000000 + i, 0,
         3000000, 1600000000123456789, 420, 1000, 1000, 1, NULL, NULL, NULL FROM n",
        count(PHOTOS)
    ));
    all.push(format!(
        "{} INSERT INTO asset SELECT i + 1, {id}, {time}, x'01010101010101010101010101010101', \
            printf('IMG_%04d.JPG', i % 10000), 2010 * 12 + i % 180,
         i, 1300000000000 + i * 1000, i, i % 100 = 0, i % 50 = 1, i % 1000 = 999, NULL, NULL, \
         NULL, NULL, NULL, '{{}}' FROM n",
        count(PHOTOS)
    ));
    all.push(format!(
        "{} INSERT INTO asset_file SELECT {id}, 0, {time}, 1, 3000000, 0, 0, 0 FROM n",
        count(PHOTOS)
    ));
    for sql in all {
        library.run(&sql, ());
    }
    library.publish();
    library
}

struct Server {
    child: Child,
    _said: BufReader<ChildStdout>,
}

impl Server {
    fn start(library: &Library, point: &Path) -> Server {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let name = test_name(module_path!(), "a_walk_over_a_large_library_takes_little_memory");
        again.args([name.as_str(), "--exact", "--nocapture"]);
        again.env("SHOEBOX_TEST_CATALOG", library.catalog()).env("SHOEBOX_TEST_POINT", point);
        let mut child = again.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("mounted") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "the mount did not start");
        }
        Server { child, _said: said }
    }

    fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

fn serve(catalog: &str, point: &str) {
    let source = Arc::new(crate::mount_library::Memory::default());
    let view = view::View::open(Path::new(catalog), source, view::Options::default()).unwrap();
    let mount =
        MountedView::start(Arc::new(view), Path::new(point), &mount::Options::default()).unwrap();
    println!("mounted");
    let _ = std::io::stdin().read(&mut [0]);
    drop(mount);
}

/// Holds row "M4" of SEMANTICS.md.
#[test]
fn a_walk_over_a_large_library_takes_little_memory() {
    if let (Ok(catalog), Ok(point)) =
        (std::env::var("SHOEBOX_TEST_CATALOG"), std::env::var("SHOEBOX_TEST_POINT"))
    {
        return serve(&catalog, &point);
    }
    if fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        return println!("skipped: /dev/fuse cannot be opened");
    }
    let library = library();
    let point = library.dir.path().join("mount");
    fs::create_dir(&point).unwrap();
    let start = Instant::now();
    let server = Server::start(&library, &point);
    println!("mounted after {:?}, {} KiB", start.elapsed(), server.peak_kib());
    for (what, least) in [("users", 190_000), ("files", 200_000)] {
        for tests in [&["-type", "f"][..], &["-type", "f", "-size", "+0"]] {
            let start = Instant::now();
            let found = Command::new("find")
                .arg(point.join("latest/").join(what))
                .args(tests)
                .output()
                .unwrap();
            let count = found.stdout.iter().filter(|&&byte| byte == b'\n').count();
            println!(
                "find {what} {tests:?}: {count} in {:?}, peak {} KiB",
                start.elapsed(),
                server.peak_kib()
            );
            assert!(found.status.success() && count >= least, "{count}");
        }
    }
    assert!(server.peak_kib() < MOST_KIB, "{} KiB", server.peak_kib());
}
