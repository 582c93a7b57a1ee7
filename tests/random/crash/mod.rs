//! Nothing is lost: whatever goes wrong while shoebox writes, and whenever, every snapshot that it
//! said is done gives back every byte, and the next run ends as if nothing had happened.
//!
//! | WHAT GOES WRONG | WHERE | ALL OF IT |
//! | --- | --- | --- |
//! | an operation fails, the disk is full or gone, the process is killed | `cuts`, on a file system that fails on demand | `SHOEBOX_CUTS=all` |
//! | a system call fails | `inject`, with strace on a real disk | `SHOEBOX_CUTS=all` |
//! | the power is cut | `power`, on a disk that forgets what was not synced | `SHOEBOX_CUTS=all` |
//! | processes are killed at any moment | `kills`, with a mount that is read all the while | `SHOEBOX_KILLS=1000` |
//! | the disk has no hard links, no safe rename, no random writes | `poor_disk`, as exFAT and rclone have it | |
//! | the process of a mount is killed | `stale`, as root and as anybody | |
//! | two at once | `two_at_once` | |
//!
//! The usual run tries a sample.

mod cuts;
mod expected;
mod faulty;
mod inject;
mod kills;
mod mounted;
mod past;
mod poor_disk;
mod power;
mod stale;
mod two_at_once;

/// The places that are tried, of `count` that there are: every so many, or all where that is asked
/// for.
fn places(count: usize, sample: usize, offset: usize) -> Vec<usize> {
    match std::env::var("SHOEBOX_CUTS").as_deref() {
        Ok("all") => (0..count).collect(),
        _ => {
            let stride = count.div_ceil(sample).max(1);
            (offset % stride..count).step_by(stride).collect()
        }
    }
}
