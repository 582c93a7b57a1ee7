//! Fifty nights in a row, on which what can go wrong does: every one ends with the right exit code
//! and message, and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::place::bare;
use crate::support::receiver::Receiver;
use crate::support::{
    self, Era, Postgres, Said, SampleLibrary, is_root, sample_library, under_clock,
};

const NIGHTS: u64 = 50;
/// Room for the repository: what is missing of it is the disk that is full.
const ROOM: u64 = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Nothing,
    /// The database closes the connection after so many bytes.
    DatabaseGone(u64),
    /// So many bytes are free.
    DiskFull(u64),
    /// UPLOAD_LOCATION is an empty folder.
    Unmounted,
    /// The clock is three days slow.
    ClockBack,
    /// Somebody ends it after so many milliseconds.
    Stopped(u64),
}

/// Everything that a night needs.
struct World {
    folder: TempDir,
    library: SampleLibrary,
    database: Postgres,
    line: Line,
    receiver: Receiver,
    /// The repository's disk is a file system of its own, that can be full.
    has_disk: bool,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let library = sample_library(1, Era::New);
        let database = Postgres::start(support::postgres::debian());
        database.create_database("immich");
        database.load("immich", &library.sql());
        let line = Line::to(database.port());
        fs::create_dir(folder.path().join("disk")).unwrap();
        let mut world =
            World { folder, library, database, line, receiver: Receiver::start(), has_disk: false };
        world.has_disk = world.mount();
        world.command(&["init"]).output().unwrap();
        world
    }

    /// Puts a small file system under the repository. Only root may.
    fn mount(&self) -> bool {
        if !is_root() {
            println!("the disk is never full: only root can mount one");
            return false;
        }
        let size = format!("size={ROOM}");
        support::run(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "shoebox-test"])
                .arg(self.disk()),
        );
        true
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn repository(&self) -> PathBuf {
        self.disk().join("repository")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare();
        command
            .args(arguments)
            .env("SHOEBOX_CONFIG", "/dev/null")
            .env("SHOEBOX_REPOSITORY", self.repository())
            .env("SHOEBOX_UPLOAD_LOCATION", self.library.upload_location())
            .env(
                "SHOEBOX_DATABASE_URL",
                format!("postgresql://postgres@127.0.0.1:{}/immich", self.line.port),
            )
            .env("SHOEBOX_WEBHOOK_URL", self.receiver.url("hook"))
            .env("SHOEBOX_KEEP_LAST", "20")
            .env("SHOEBOX_FORGET_EVERY", "@every 1m")
            .env("SHOEBOX_DRILL_EVERY", "never")
            .env("PGCONNECT_TIMEOUT", "5");
        command
    }

    /// One night with `fault`: how the run ended.
    fn night(&self, number: u64, fault: Fault) -> Said {
        let upload = self.library.upload_location();
        fs::write(upload.join(format!("upload/night-{number}.bin")), noise(number, 300_000))
            .unwrap();
        let away = self.folder.path().join("away");
        let ballast = self.disk().join("ballast");
        match fault {
            Fault::DatabaseGone(bytes) => self.line.cut_after(bytes),
            Fault::DiskFull(free) => fill(&ballast, free),
            Fault::Unmounted => {
                fs::rename(&upload, &away).unwrap();
                fs::create_dir(&upload).unwrap();
            }
            Fault::Nothing | Fault::ClockBack | Fault::Stopped(_) => {}
        }
        let said = match fault {
            Fault::Stopped(after) => self.stopped(Duration::from_millis(after)),
            Fault::ClockBack => {
                Said::of(&mut under_clock("-3d", &self.command(&["run", "--once"])))
            }
            _ => Said::of(&mut self.command(&["run", "--once"])),
        };
        self.line.cut_after(u64::MAX);
        let _ = fs::remove_file(&ballast);
        if away.exists() {
            fs::remove_dir(&upload).unwrap();
            fs::rename(&away, &upload).unwrap();
        }
        said
    }

    /// A run that is asked to end.
    fn stopped(&self, after: Duration) -> Said {
        let mut command = self.command(&["run", "--once"]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let id = Pid::from_child(&child);
        thread::sleep(after);
        let _ = kill_process(id, Signal::TERM);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    fn snapshots(&self) -> BTreeSet<String> {
        let said = Said::of(&mut self.command(&["snapshots", "--json"])).ends(0);
        let id = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        said.out.lines().map(id).collect()
    }

    /// The events that were told since `before` messages.
    fn told(&self, before: usize) -> Vec<String> {
        let got = self.receiver.got();
        got[before..].iter().map(|got| got.json()["event"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.has_disk {
            let _ = Command::new("umount").arg("--lazy").arg(self.disk()).status();
        }
    }
}

/// Fills the disk of `ballast` until `free` bytes are left.
fn fill(ballast: &Path, free: u64) {
    let disk = rustix::fs::statvfs(ballast.parent().unwrap()).unwrap();
    let size = (disk.f_bavail * disk.f_frsize).saturating_sub(free);
    let file = fs::File::create(ballast).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size).unwrap();
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

/// A line to the database that can be cut.
struct Line {
    port: u16,
    /// So many more bytes come from the server.
    left: Arc<AtomicU64>,
}

impl Line {
    fn to(server: u16) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let counted = left.clone();
        // It ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let counted = counted.clone();
                thread::spawn(move || drop(pass(client, server, &counted)));
            }
        });
        Line { port, left }
    }

    fn cut_after(&self, bytes: u64) {
        self.left.store(bytes, Ordering::Relaxed);
    }
}

fn pass(client: TcpStream, server: u16, left: &AtomicU64) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server))?;
    let (mut asks, mut hears) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || io::copy(&mut asks, &mut hears));
    let (mut from, mut to) = (server, client);
    let mut buffer = [0; 8192];
    loop {
        let filled = from.read(&mut buffer)?;
        let may = left.load(Ordering::Relaxed);
        if filled == 0 || (filled as u64) > may {
            let _ = to.shutdown(std::net::Shutdown::Both);
            return from.shutdown(std::net::Shutdown::Both);
        }
        left.fetch_sub(if may == u64::MAX { 0 } else { filled as u64 }, Ordering::Relaxed);
        to.write_all(&buffer[..filled])?;
    }
}

fn fault(random: u64) -> Fault {
    let more = random / 100;
    match random % 100 {
        0..30 => Fault::Nothing,
        30..46 => Fault::DatabaseGone(more % 120_000),
        46..62 => Fault::DiskFull(more % 4_000_000),
        62..72 => Fault::Unmounted,
        72..80 => Fault::ClockBack,
        _ => Fault::Stopped(more % 1500),
    }
}

/// Asserts that the run of `fault` ended as it must.
fn judge(fault: Fault, said: &Said, told: &[String]) {
    let is = |code: i32, events: &[&str]| said.code == code && told == events;
    let right = match fault {
        Fault::Nothing => is(0, &["success"]),
        Fault::DatabaseGone(_) | Fault::DiskFull(_) => {
            // The whole dump, or all that is new, may have fitted.
            is(0, &["success"]) || is(1, &["failure"]) && said.err.contains("backup: hint: ")
        }
        Fault::Unmounted => is(1, &["failure"]) && said.err.contains("is empty"),
        // The first night's snapshots are ahead of such a clock: the backup is made, and said to
        // need a look.
        Fault::ClockBack => is(3, &["warning"]) && said.err.contains("dated in the future"),
        // Before it listens to signals nothing has begun.
        Fault::Stopped(_) => {
            is(0, &["success"])
                || is(130, &[]) && said.err.contains("stopped")
                || is(-1, &[]) && said.err.is_empty()
        }
    };
    assert!(right, "{fault:?} ended with {} and told {told:?}: {}", said.code, said.err);
}

#[test]
fn fifty_nights_with_all_that_goes_wrong_lose_nothing() {
    let world = World::new();
    assert_eq!(world.night(1000, Fault::Nothing).code, 0);
    let mut ended: BTreeMap<(String, i32), u64> = BTreeMap::new();
    for number in 0..NIGHTS {
        let random = u64::from_le_bytes(noise(number + 77, 64)[56..].try_into().unwrap());
        let fault = match fault(random) {
            Fault::DiskFull(_) if !world.has_disk => Fault::Nothing,
            fault => fault,
        };
        let (before, told) = (world.snapshots(), world.receiver.got().len());
        let said = world.night(number, fault);
        judge(fault, &said, &world.told(told));
        let after = world.snapshots();
        // A backup that failed forgets nothing; one that did not adds one.
        match said.code {
            0 | 3 => assert_eq!(after.difference(&before).count(), 1, "{fault:?}: {}", said.err),
            _ => assert!(before.is_subset(&after), "{fault:?}: {}", said.err),
        }
        let kind = format!("{fault:?}").split('(').next().unwrap().to_owned();
        *ended.entry((kind, said.code)).or_default() += 1;
        if matches!(fault, Fault::ClockBack) {
            // By that clock all else was dated in the future. The next backup would take it in by
            // itself.
            Said::of(&mut world.command(&["repair", "catalog"])).ends(0);
        }
        let checked = Said::of(&mut world.command(&["check"]));
        assert_eq!(checked.code, 0, "after {fault:?}: {}{}", checked.out, checked.err);
    }
    println!("{ended:?}");
    let failed: u64 =
        ended.iter().filter(|((_, code), _)| *code != 0).map(|(_, nights)| nights).sum();
    assert!((NIGHTS / 4..NIGHTS).contains(&failed), "{failed} nights failed");
    assert_eq!(world.night(2000, Fault::Nothing).code, 0);
    Said::of(&mut world.command(&["check", "--read-data"])).ends(0);
    let back = world.folder.path().join("back");
    Said::of(world.command(&["restore", "--all", "--to"]).arg(&back)).ends(0);
    for name in ["upload", "library", "profile"] {
        support::run(
            Command::new("diff")
                .arg("-r")
                .arg(back.join(name))
                .arg(world.library.upload_location().join(name)),
        );
    }
    assert_eq!(world.database.psql("immich", "SELECT 1"), "1");
}
