//! What Ctrl-C stops says so, with what was done, and ends with 130.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::backup_library::{ANN, Home, dump, noise};
use assert_cmd::cargo::CommandCargoExt;
use rustix::process::{Pid, Signal, kill_process};

/// Runs shoebox with slow reads, and presses Ctrl-C once it has said `title`: what it said.
#[track_caller]
fn stopped(home: &Home, arguments: &[&str], title: &str) -> String {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut slow = Command::new("strace");
    let delayed = "inject=pread64,pwrite64,read:delay_enter=20000";
    slow.args(["-f", "-q", "-o", "/dev/null", "-e", "trace=pread64,pwrite64,read", "-e", delayed]);
    slow.arg(Command::cargo_bin("shoebox").unwrap().get_program())
        .arg("-r")
        .arg(home.repo_path())
        .args(arguments);
    slow.env("SHOEBOX_CONFIG", "/dev/null").stdin(Stdio::null());
    slow.stdout(log.reopen().unwrap()).stderr(log.reopen().unwrap());
    let mut child = slow.spawn().expect("strace; `scripts/setup` installs it");
    let said = || fs::read_to_string(log.path()).unwrap();
    let begun = Instant::now();
    while !said().contains(title) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never says `{title}`: {}", said());
        std::thread::sleep(Duration::from_millis(5));
    }
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let program: i32 = children.trim().parse().unwrap();
    kill_process(Pid::from_raw(program).unwrap(), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(130), None), "{arguments:?}: {}", said());
    said()
}

#[test]
fn what_ctrl_c_stops_says_so_with_what_was_done_and_ends_with_130() {
    let home = Home::new();
    for night in 1..=3 {
        for photo in 0..8 {
            home.write(
                format!("upload/{ANN}/{night}-{photo}.jpg"),
                &noise(night * 10 + photo, 1_500_000),
            );
        }
        home.write_dump(&dump(2_000, night));
        home.backup();
    }
    let said = stopped(&home, &["check", "--read-data"], "checking\n");
    assert!(
        said.contains("stopped: ")
            && said.contains("nothing wrong so far")
            && !said.contains("well"),
        "{said}"
    );
    assert!(said.contains("run it again: it "), "{said}");
    let back = home.dir.path().join("back");
    let said = stopped(&home, &["restore", "--all", "--to", back.to_str().unwrap()], "restoring\n");
    assert!(said.contains("stopped; ") && said.contains("hint: run it again"), "{said}");

    home.write(format!("upload/{ANN}/large.mov"), &noise(99, 60_000_000));
    let (upload, text) = (home.upload(), home.dump_path());
    let backup =
        ["backup", "--upload-location", upload.to_str().unwrap(), "--dump", text.to_str().unwrap()];
    let said = stopped(&home, &backup, "reading files\n");
    assert!(
        said.contains("stopped; ")
            && said.contains(" stored so far")
            && said.contains("hint: run it again: the next backup continues from there"),
        "{said}"
    );
}
