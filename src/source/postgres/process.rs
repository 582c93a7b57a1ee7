//! A child whose output is read and whose complaints are kept.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::base::{Monitor, patient};

/// How much of the end of stderr is kept.
const KEPT: usize = 8 * 1024;

/// How a child ended.
#[derive(Debug)]
pub(super) struct ProcessEnd {
    pub(super) status: ExitStatus,
    /// The end of what it wrote to stderr.
    pub(super) complaint: String,
}

/// A running child in a process group of its own; dropping it kills the group (`pg_dumpall` has
/// children) and reaps the child. Its stderr is read by a thread, so that a talkative child never
/// blocks.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
    running: bool,
}

impl Process {
    /// Starts a child that reads nothing.
    pub(super) fn start(command: Command) -> io::Result<Process> {
        Self::start_reading(command, Stdio::null())
    }

    /// Starts a child that reads `input`.
    pub(super) fn start_reading(mut command: Command, input: Stdio) -> io::Result<Process> {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take().map(|stderr| thread::spawn(move || tail(stderr)));
        Ok(Process { child, stdout, stderr, running: true })
    }

    /// Waits for the child, which gets SIGPIPE if it still has something to print.
    pub(super) fn end(mut self) -> io::Result<ProcessEnd> {
        self.stdout = None;
        let status = self.child.wait()?;
        self.running = false;
        let complaint =
            self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Ok(ProcessEnd { status, complaint })
    }
}

impl Process {
    /// Reads what the child printed; gives up when the monitor is asked to stop, or nothing comes
    /// for as long as `most`.
    pub(super) fn read_patiently(
        &mut self,
        buffer: &mut [u8],
        monitor: &dyn Monitor,
        most: Duration,
    ) -> io::Result<usize> {
        let Some(stdout) = self.stdout.as_mut() else { return Ok(0) };
        patient::wait(stdout.as_fd(), monitor, most)?;
        stdout.read(buffer)
    }
}

impl Read for Process {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stdout.as_mut().map_or(Ok(0), |stdout| stdout.read(buffer))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.running {
            // The group is there as long as its leader is not reaped. A failure means that it just
            // ended by itself.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Reads to the end and keeps the last bytes.
fn tail(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(filled @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..filled]);
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
    String::from_utf8_lossy(&kept[kept.len().saturating_sub(KEPT)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talkative_child_does_not_block_and_its_last_words_are_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "seq 100000 >&2; echo dump; echo 'the end' >&2; exit 3"]);
        let mut process = Process::start(command).unwrap();
        let mut text = String::new();
        process.read_to_string(&mut text).unwrap();
        assert_eq!(text, "dump\n");
        let ended = process.end().unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert!(ended.complaint.ends_with("100000\nthe end\n") && ended.complaint.len() <= KEPT);
    }

    #[test]
    fn dropping_ends_the_child_and_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
        let mut process = Process::start(command).unwrap();
        let mut line = [0; 32];
        let filled = process.read(&mut line).unwrap();
        let grandchild = String::from_utf8_lossy(&line[..filled]).trim().to_owned();
        drop(process);
        let state = (0..100).find_map(|_| {
            thread::sleep(std::time::Duration::from_millis(20));
            let stat =
                std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
        assert!(state.is_some(), "the child's child {grandchild} is still running");
    }
}
