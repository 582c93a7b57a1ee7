//! Reading from somebody who may keep silent for long.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Monitor;

/// How often a reader that waits asks whether it is to stop.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Reads, and gives up when the monitor is asked to stop, though nothing comes.
pub struct StoppableReader<'m, R> {
    inner: R,
    monitor: &'m dyn Monitor,
}

impl<'m, R: Read + AsFd> StoppableReader<'m, R> {
    /// Reads from `inner`.
    pub fn new(inner: R, monitor: &'m dyn Monitor) -> Self {
        StoppableReader { inner, monitor }
    }
}

impl<R: Read + AsFd> Read for StoppableReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait(self.inner.as_fd(), self.monitor, Duration::MAX)?;
        self.inner.read(buffer)
    }
}

/// Waits until `fd` has something to read, or its end.
///
/// # Errors
/// When the monitor is asked to stop. It is no `Interrupted`, which many a reader takes for "try
/// again". `TimedOut` when nothing comes for as long as `most`.
pub fn wait(fd: BorrowedFd<'_>, monitor: &dyn Monitor, most: Duration) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        if begun.elapsed() > most {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        if monitor.stopped() {
            return Err(io::Error::other("stopped"));
        }
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&PAUSE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
