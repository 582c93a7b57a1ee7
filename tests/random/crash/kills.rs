//! kill -9 at any moment, of a backup, a forget, a prune, a restore, a mount, while a mount is
//! read.
//!
//! `SHOEBOX_KILLS` says how many, `SHOEBOX_SEED` which ones.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::crash::mounted::{LIMIT, Mount, ended};
use crate::crash::past::{Night, Past, Work, assert_sound, assert_whole, folder, ids};
use crate::crash::power::mixed;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Numbers that depend on the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mixed(self.0) % below
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Killed,
    Done,
}

/// How long such a run takes that is left alone, roughly.
struct Pace(Duration);

impl Pace {
    /// Lets `child` run for a part of its time, and kills it.
    fn kill(&mut self, mut child: Child, dice: &mut Dice, what: &str) -> End {
        let begun = Instant::now();
        let time = self.0.mul_f64(dice.roll(1000) as f64 / 800.0);
        while begun.elapsed() < time {
            if let Some(status) = child.try_wait().unwrap() {
                self.0 = begun.elapsed();
                let mut said = String::new();
                child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                assert!(status.success(), "{what}: it failed by itself: {said}");
                return End::Done;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        self.0 = self.0.max(time.mul_f64(1.05));
        child.kill().unwrap();
        ended(&mut child, what);
        End::Killed
    }
}

/// Reads the files of `nights`, which the mount shows in `folders`, until it is told to stop. The
/// mount may be gone at times; what it gives is right, and it never says that something is damaged.
fn read_on(folders: &[PathBuf], nights: &[Night], stop: &AtomicBool, read: &AtomicU64) {
    let all = folders.iter().zip(nights);
    let files: Vec<(PathBuf, &[u8])> = all
        .flat_map(|(folder, night)| {
            night.files().map(|(path, bytes)| (folder.join("files").join(path), bytes))
        })
        .collect();
    let mut dice = Dice(7);
    while !stop.load(Ordering::Relaxed) {
        let (path, bytes) = &files[dice.roll(files.len() as u64) as usize];
        match read_from_disk(path) {
            Ok(found) => {
                assert!(found == *bytes, "{} is another", path.display());
                read.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                assert_ne!(error.raw_os_error(), Some(libc::EIO), "{}", path.display());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// The bytes of a file; the kernel does not keep them for the next time.
fn read_from_disk(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    Ok(bytes)
}

#[test]
fn nothing_is_lost_to_kills_at_any_moment_while_a_mount_is_read() {
    let (kills, seed) = (number("SHOEBOX_KILLS", 200), number("SHOEBOX_SEED", 20_261_126));
    println!("SHOEBOX_KILLS={kills} SHOEBOX_SEED={seed}");
    let mut killed = Killed::new(seed);
    let root = killed.past.home.repo_path();
    let pinned = killed.nights.clone();
    let (stop, read) = (AtomicBool::new(false), AtomicU64::new(0));
    killed.mount.start(&root);
    let folders = killed.mount.snapshots();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_on(&folders, &pinned, &stop, &read));
        // Whatever fails here must not keep the reader going.
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| killed.kill_so_often(kills)));
        let (enough, begun) = (read.load(Ordering::Relaxed) + 10, Instant::now());
        while result.is_ok() && read.load(Ordering::Relaxed) < enough && begun.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        assert!(
            result.is_err() || read.load(Ordering::Relaxed) >= enough,
            "the mount gives nothing any more"
        );
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    killed.converge();
    let [backups, forgets, prunes, restores, mounts] = killed.counts;
    println!(
        "{kills} kills: {backups} backups, {forgets} forgets, {prunes} prunes, {restores} \
            restores, {mounts} mounts; \
         {} files read through the mount; {} snapshots",
        read.load(Ordering::Relaxed),
        killed.nights.len()
    );
}

/// What is killed, and what is known of it.
struct Killed {
    past: Past,
    /// Snapshots that must be there.
    nights: Vec<Night>,
    mount: Mount,
    restored: tempfile::TempDir,
    dice: Dice,
    paces: [Pace; 4],
    changes: u64,
    counts: [u64; 5],
}

impl Killed {
    fn new(seed: u64) -> Killed {
        let past = Past::new(2);
        Killed {
            nights: past.nights.clone(),
            past,
            mount: Mount::new(),
            restored: folder(),
            dice: Dice(seed << 20),
            paces: [150, 50, 80, 50].map(|millis| Pace(Duration::from_millis(millis))),
            changes: 2,
            counts: [0; 5],
        }
    }

    fn kill_so_often(&mut self, kills: u64) {
        while self.counts.iter().sum::<u64>() < kills {
            self.kill();
        }
    }

    fn kill(&mut self) {
        let root = self.past.home.repo_path();
        // Snapshots have to come before they can be forgotten.
        let what = [0, 0, 0, 1, 2, 3, 4][self.dice.roll(7) as usize];
        let at = self.counts.iter().sum::<u64>() + 1;
        let message = format!(
            "kill {at}, of {}",
            ["a backup", "a forget", "a prune", "a restore", "a mount"][what]
        );
        let end = match what {
            0 => self.kill_work(&Work::Backup, 0, &message),
            1 => {
                // The first two are read through the mount, and the newest is always kept.
                let last = self.nights.len() - 1;
                if last <= 2 {
                    return;
                }
                let gone = self.nights[2 + self.dice.roll(last as u64 - 2) as usize].id;
                self.kill_work(&Work::Forget(gone), 1, &message)
            }
            2 => self.kill_work(&Work::Prune, 2, &message),
            3 => self.kill_restore(&message),
            _ => {
                // Either while it is at work, or while it is made.
                if self.dice.roll(2) == 0 {
                    self.mount.kill();
                    self.mount.spawn(&root);
                    std::thread::sleep(Duration::from_micros(self.dice.roll(30_000)));
                }
                self.mount.kill();
                self.mount.start(&root);
                End::Killed
            }
        };
        self.counts[what] += u64::from(end == End::Killed);
        self.assert_holds(&message);
    }

    fn kill_work(&mut self, work: &Work, pace: usize, message: &str) -> End {
        let root = self.past.home.repo_path();
        let child = quiet(self.past.command(&root, work).stdin(Stdio::null()));
        let end = self.paces[pace].kill(child, &mut self.dice, message);
        let done = end == End::Done;
        let there = ids(&root);
        let missing: Vec<_> =
            self.nights.iter().map(|night| night.id).filter(|id| !there.contains(id)).collect();
        match work {
            Work::Forget(id) => {
                assert!(missing.iter().all(|gone| gone == id), "{message}: {missing:?} are gone");
                assert!(!done || missing == [*id], "{message}: it is still there");
                self.nights.retain(|night| there.contains(&night.id));
            }
            _ => assert!(missing.is_empty(), "{message}: {missing:?} are gone"),
        }
        if let Work::Backup = work {
            let new: Vec<_> = there
                .into_iter()
                .filter(|id| self.nights.iter().all(|night| night.id != *id))
                .collect();
            assert!(new.len() == usize::from(done) || new.len() == 1, "{message}: {new:?}");
            if !new.is_empty() {
                self.nights.extend(new.into_iter().map(|id| self.past.night(id)));
                self.past.change(self.changes + 1);
                self.changes += 1;
            }
        }
        end
    }

    fn kill_restore(&mut self, message: &str) -> End {
        let mut command = self.past.restore(&self.nights[1], self.restored.path());
        let end = self.paces[3].kill(quiet(command.stdin(Stdio::null())), &mut self.dice, message);
        // Without its claim, a folder with something in it is done, also where the process was
        // killed before it could say so.
        let is_claimed = self.restored.path().join(".shoebox-restore").exists();
        if !is_claimed && self.restored.path().join("upload").exists() {
            self.nights[1].assert_restored(self.restored.path(), message);
            self.restored = folder();
        }
        end
    }

    /// What the catalog knows is whole. It may be behind by the newest snapshot; then the next
    /// writer takes that in.
    fn assert_holds(&self, message: &str) {
        let root = self.past.home.repo_path();
        let known = crate::crash::past::known(&root);
        let nights: Vec<Night> =
            self.nights.iter().filter(|night| known.contains(&night.id)).cloned().collect();
        assert!(nights.len() + 1 >= self.nights.len(), "{message}: the catalog knows {known:?}");
        assert_whole(&root, &nights, message);
    }

    /// All that was begun comes to its end.
    fn converge(&mut self) {
        let root = self.past.home.repo_path();
        let mut command = self.past.restore(&self.nights[1], self.restored.path());
        let mut restore = quiet(command.stdin(Stdio::null()));
        assert!(ended(&mut restore, "the last restore").success());
        self.nights[1].assert_restored(self.restored.path(), "the last restore");
        self.past.work(&root, &Work::Backup, "the last backup");
        self.past.work(&root, &Work::Prune, "the last prune");
        let newest = *ids(&root).last().unwrap();
        self.nights.push(self.past.night(newest));
        assert_eq!(ids(&root), self.nights.iter().map(|night| night.id).collect::<Vec<_>>());
        assert_whole(&root, &self.nights, "at the end");
        assert_sound(&root, "at the end");
        assert!(
            crate::crash::past::stored(&root).values().all(|copies| *copies == 1),
            "something is stored twice"
        );
    }
}

fn quiet(command: &mut std::process::Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}
