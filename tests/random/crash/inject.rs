//! System calls that fail, and kills at system calls, on a real disk: strace's injection.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::crash::expected::Expected;
use crate::crash::faulty::Disk;
use crate::crash::past::{Night, Past, Work, assert_sound, assert_whole, folder};
use crate::crash::places;
use shoebox::repo::Repository;

/// How many of the calls of one kind go wrong in the usual run.
const SAMPLE: usize = 2;

/// System calls that change something, and how they fail.
const CALLS: [(&str, &str); 7] = [
    ("fsync", "EIO"),
    ("write", "ENOSPC"),
    ("pwrite64", "ENOSPC"),
    ("copy_file_range", "ENOSPC"),
    ("rename", "EIO"),
    ("renameat2", "EIO"),
    ("unlink", "EIO"),
];

/// Does `work` under strace; how it ended, and what strace wrote down.
fn run(past: &Past, root: &Path, work: &Work, options: &[&str]) -> (ExitStatus, String) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let command = past.command(root, work);
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-o"]).arg(log.path()).args(options);
    strace.arg(command.get_program()).args(command.get_args());
    let status =
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    (status, fs::read_to_string(log.path()).unwrap())
}

/// How often `call` happens, in the thread that makes most of them: strace counts by thread.
fn count(past: &Past, disk: &Disk, work: &Work, call: &str) -> usize {
    let root = folder();
    disk.write_to(root.path());
    let (status, log) = run(past, root.path(), work, &["-e", &format!("trace={call}")]);
    assert!(status.success(), "{work:?}: {status}");
    let mut threads = HashMap::new();
    for line in log.lines().filter(|line| line.contains(&format!(" {call}("))) {
        *threads.entry(line.split_whitespace().next().unwrap().to_owned()).or_insert(0) += 1;
    }
    threads.into_values().max().unwrap_or(0)
}

pub fn strace_works() -> bool {
    let works = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        println!("skipped: strace cannot attach to a process here");
    }
    works
}

/// Lets each call of `work` go wrong.
fn inject_everywhere(past: &Past, work: &Work, kept: &[Night]) {
    if !strace_works() {
        return;
    }
    let disk = Disk::of(&past.home.repo_path());
    let root = folder();
    disk.write_to(root.path());
    past.work(root.path(), work, "without an injection");
    let expected = Expected::of(root.path());
    let (mut injections, mut tried) = (0, 0);
    for (number, (call, error)) in CALLS.into_iter().enumerate() {
        let count = count(past, &disk, work, call);
        for (offset, how) in
            [format!("error={error}"), "signal=KILL".to_owned()].into_iter().enumerate()
        {
            for at in places(count, SAMPLE, number + offset) {
                let root = folder();
                disk.write_to(root.path());
                let inject = format!("inject={call}:{how}:when={}", at + 1);
                let (status, log) = run(past, root.path(), work, &["-e", &inject]);
                assert!(
                    status.code().is_some() || status.signal() == Some(9),
                    "{work:?}, {inject}: {status}"
                );
                tried += 1;
                injections +=
                    usize::from(log.contains("(INJECTED)") || log.contains("killed by SIGKILL"));
                expected.assert_holds(
                    past,
                    root.path(),
                    work,
                    kept,
                    status.success(),
                    &format!("{work:?}, {inject}"),
                );
            }
        }
    }
    // Threads share their work differently each time: some calls do not come to be.
    assert!(injections > tried / 2, "{work:?}: only {injections} of {tried} runs had an injection");
    println!("{work:?}: {injections} injections");
}

/// What tells a catalog from one that was rebuilt.
fn lineage(root: &Path) -> String {
    let db = Repository::open(root).unwrap().catalog().unwrap().connect().unwrap();
    db.query_row("SELECT value FROM meta WHERE key = 'lineage'", (), |row| row.get(0)).unwrap()
}

#[test]
fn a_disk_that_does_not_read_for_a_moment_costs_no_catalog() {
    if !strace_works() {
        return;
    }
    let past = Past::new(2);
    let disk = Disk::of(&past.home.repo_path());
    let (known, count) =
        (lineage(&past.home.repo_path()), count(&past, &disk, &Work::Backup, "pread64"));
    let mut failed = 0;
    for at in places(count, 6, 0) {
        for how in ["", "+"] {
            let root = folder();
            disk.write_to(root.path());
            let inject = format!("inject=pread64:error=EIO:when={}{how}", at + 1);
            let (status, _) = run(&past, root.path(), &Work::Backup, &["-e", &inject]);
            failed += usize::from(!status.success());
            assert_whole(root.path(), &past.nights, &inject);
            assert_eq!(lineage(root.path()), known, "{inject}");
            past.work(root.path(), &Work::Backup, &inject);
            assert_eq!(lineage(root.path()), known, "{inject}, after the next run");
            assert_sound(root.path(), &inject);
        }
    }
    assert!(failed > 0, "no backup minded");
    println!("{failed} backups failed by reads that failed");
}

#[test]
fn a_backup_whose_calls_fail_loses_nothing() {
    let past = Past::new(2);
    inject_everywhere(&past, &Work::Backup, &past.nights);
}

#[test]
fn a_forget_whose_calls_fail_loses_nothing_else() {
    let past = Past::new(3);
    let kept = [past.nights[0].clone(), past.nights[2].clone()];
    inject_everywhere(&past, &Work::Forget(past.nights[1].id), &kept);
}

#[test]
fn a_prune_whose_calls_fail_loses_nothing() {
    let past = Past::forgotten();
    inject_everywhere(&past, &Work::Prune, &past.nights);
}
