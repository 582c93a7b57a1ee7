//! Two at once: a writer waits for the other or is refused with who that is; readers go on.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::crash::mounted::{LIMIT, Mount, ended, wait_until};
use crate::crash::past::{Past, Work, assert_sound, assert_whole, ids};
use shoebox::repo::Repository;

/// A backup that holds the lock until it is given the rest of its dump.
struct Holder {
    child: Child,
}

impl Holder {
    fn new(past: &Past) -> Holder {
        let root = past.home.repo_path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
        command.arg("--quiet").arg("-r").arg(&root).args([
            "backup",
            "--dump",
            "-",
            "--upload-location",
        ]);
        command.arg(past.home.upload()).stdin(Stdio::piped()).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        let pid = format!("\"pid\":{}", child.id());
        let lock = root.join("lock");
        wait_until("the backup has the lock", || {
            fs::read_to_string(&lock).is_ok_and(|text| text.contains(&pid))
        });
        Holder { child }
    }

    fn finish(mut self, past: &Past) {
        let dump = fs::read(past.home.dump_path()).unwrap();
        self.child.stdin.take().unwrap().write_all(&dump).unwrap();
        assert!(ended(&mut self.child, "the backup that had the lock").success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn output(past: &Past, work: &Work) -> Output {
    past.command(&past.home.repo_path(), work).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_other_writer_is_told_who_has_the_repository_since_when_and_readers_go_on() {
    let past = Past::new(2);
    let holder = Holder::new(&past);
    for work in [Work::Backup, Work::Forget(past.nights[0].id), Work::Prune, Work::RepairCatalog] {
        let refused = output(&past, &work);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{work:?}: {said}");
        let who =
            format!("`backup` on {} (process {}) since 20", Repository::host(), holder.child.id());
        assert!(said.contains(&who) && said.contains("--retry-lock"), "{work:?}: {said}");
    }
    assert_whole(&past.home.repo_path(), &past.nights, "while a backup is at work");
    assert_sound(&past.home.repo_path(), "while a backup is at work");
    holder.finish(&past);
    assert_eq!(ids(&past.home.repo_path()).len(), 3);
}

#[test]
fn a_patient_backup_and_a_patient_prune_wait_for_the_backup_that_is_at_work() {
    let past = Past::forgotten();
    let root = past.home.repo_path();
    let holder = Holder::new(&past);
    let mut waiting: Vec<Child> = [Work::Backup, Work::Prune]
        .iter()
        .map(|work| {
            let mut command = past.command(&root, work);
            command.args(["--retry-lock", &format!("{}s", LIMIT.as_secs())]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    holder.finish(&past);
    for child in &mut waiting {
        assert!(ended(child, "a writer that waits").success());
    }
    let mut nights = past.nights.clone();
    nights.extend(ids(&root)[2..].iter().map(|id| past.night(*id)));
    assert_eq!(nights.len(), 4);
    assert_whole(&root, &nights, "after all of them");
    assert_sound(&root, "after all of them");
}

#[test]
fn who_waits_can_be_asked_to_end() {
    let past = Past::new(1);
    let holder = Holder::new(&past);
    let mut command = past.command(&past.home.repo_path(), &Work::Prune);
    // Not quiet: it says that it waits.
    command
        .args(["--retry-lock", "1h"])
        .env("SHOEBOX_LOG", "shoebox=warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut waiting = command.stderr(log.reopen().unwrap()).spawn().unwrap();
    wait_until("it says that it waits", || {
        fs::read_to_string(log.path()).unwrap().contains("waiting for it")
    });
    let pid = rustix::process::Pid::from_child(&waiting);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(!ended(&mut waiting, "a waiting prune that was asked to end").success());
    assert!(fs::read_to_string(log.path()).unwrap().contains("stopped"));
    holder.finish(&past);
}

#[test]
fn a_dead_holder_holds_nothing() {
    let past = Past::new(1);
    let mut holder = Holder::new(&past);
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    let lock = fs::read_to_string(past.home.repo_path().join("lock")).unwrap();
    assert!(lock.contains(&holder.child.id().to_string()), "{lock}");
    let done = output(&past, &Work::Backup);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_prune_takes_nothing_from_a_mount_that_is_in_use() {
    let past = Past::forgotten();
    let root = past.home.repo_path();
    let mut mount = Mount::new();
    mount.start(&root);
    let folders = mount.snapshots();
    let place = |night: usize, path: &str| folders[night].join("files").join(path);
    let files =
        past.nights.iter().enumerate().flat_map(|(number, night)| {
            night.files().map(move |(path, bytes)| (number, path, bytes))
        });
    // Open before the prune, read after it.
    let open: Vec<_> = files
        .clone()
        .map(|(night, path, bytes)| (fs::File::open(place(night, path)).unwrap(), bytes))
        .collect();
    let done = output(&past, &Work::Prune);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for (mut file, bytes) in open {
        let mut found = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut found).unwrap();
        assert!(found == bytes);
    }
    for (night, path, bytes) in files {
        assert!(fs::read(place(night, path)).unwrap() == bytes, "{path}");
    }
    assert!(mount.terminate().success());
    assert!(is_empty(&mount.point()));
}

#[test]
fn a_mount_that_is_asked_to_end_while_it_is_made_leaves_nothing() {
    let past = Past::new(1);
    let point = tempfile::tempdir().unwrap();
    // As root shoebox mounts by itself; else fusermount3 does, before it answers.
    let call = if rustix::process::geteuid().is_root() { "mount" } else { "recvmsg" };
    if !crate::crash::inject::strace_works() {
        return;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", &format!("inject={call}:signal=TERM:when=1")]);
    command
        .arg(env!("CARGO_BIN_EXE_shoebox"))
        .arg("-r")
        .arg(past.home.repo_path())
        .arg("mount")
        .arg(point.path());
    let mut mount =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = ended(&mut mount, "the mount that was asked to end");
    assert!(!crate::crash::mounted::is_dead(point.path()), "{status}");
    assert!(is_empty(point.path()), "{status}");
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}
