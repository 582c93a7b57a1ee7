//! The question for a small picture of a photo, asked of an open file of the mount: an ioctl.
//!
//! Why not a path: a file manager's thumbnailer runs in a sandbox that shows it the one file and
//! nothing beside it (libgnome-desktop binds it to `/tmp`), and an open file leads to the mount all
//! the same. Why not an extended attribute: those hold 64 KiB at most, and a mount that has any is
//! asked for them by every `ls -l`.
//!
//! ```text
//! OFFSET  SIZE  asked                       answered
//! 0       8     pixels a side               bytes of the whole picture
//! 8       8     from which byte on          how many bytes follow
//! 16      …     -                           the bytes
//! ```
//!
//! Numbers are the machine's own. No picture: ENODATA. On any other file system the question is
//! unknown (ENOTTY).

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::base::{Error, Result};

/// Bytes of question and of answer.
const SIZE: usize = 16_000;
const HEAD: usize = 16;

/// Bytes of a picture in one answer.
pub(super) const ROOM: usize = SIZE - HEAD;

/// `_IOWR(0xB5, 1, [u8; SIZE])`, as `asm-generic/ioctl.h` puts it together.
pub(super) const REQUEST: u32 = (3 << 30) | ((SIZE as u32) << 16) | (0xB5 << 8) | 1;

/// The most bytes of a picture: no preview is nearly as large, and another file system may answer
/// anything.
const LARGEST: u64 = 32 << 20;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreviewQuestion {
    pub edge: u32,
    pub offset: u64,
}

impl PreviewQuestion {
    /// Reads a question; `None` when it is too short to be one.
    pub fn read(bytes: &[u8]) -> Option<PreviewQuestion> {
        let (edge, offset) = head(bytes)?;
        Some(PreviewQuestion { edge: u32::try_from(edge).unwrap_or(u32::MAX), offset })
    }
}

/// The answer: `bytes` of a picture of `size`.
pub(super) fn answer(size: u64, bytes: &[u8]) -> Vec<u8> {
    let mut answer = write_head(size, bytes.len() as u64).to_vec();
    answer.extend_from_slice(bytes);
    answer.resize(SIZE, 0);
    answer
}

fn head(bytes: &[u8]) -> Option<(u64, u64)> {
    let number = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    Some((number(0)?, number(8)?))
}

fn write_head(first: u64, second: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let (left, right) = head.split_at_mut(8);
    left.copy_from_slice(&first.to_ne_bytes());
    right.copy_from_slice(&second.to_ne_bytes());
    head
}

/// Immich's own picture of the photo `file`, best for `edge` pixels a side: a JPEG or WebP file.
/// `None` when `file` is of no mount of ours, or no picture of it was backed up. Nothing of the
/// photo itself is read.
pub fn ask(file: &File, edge: u32) -> Result<Option<Vec<u8>>> {
    let mut picture = Vec::new();
    loop {
        let mut buffer = vec![0; SIZE];
        let question = write_head(edge.into(), picture.len() as u64);
        buffer.iter_mut().zip(question).for_each(|(to, from)| *to = from);
        match call(file, &mut buffer).raw_os_error() {
            None | Some(0) => {}
            Some(
                libc::ENOTTY
                | libc::ENODATA
                | libc::ENOSYS
                | libc::EOPNOTSUPP
                | libc::EINVAL
                | libc::EISDIR,
            ) => {
                return Ok(None);
            }
            Some(code) => {
                return Err(Error::io(
                    "asking the mount for a preview",
                    std::io::Error::from_raw_os_error(code),
                ));
            }
        }
        let (size, len) = head(&buffer).unwrap_or_default();
        let more = usize::try_from(len).ok().and_then(|len| buffer.get(HEAD..HEAD + len.min(ROOM)));
        let more = more.unwrap_or_default();
        picture.extend_from_slice(more);
        match (picture.len() as u64, more.is_empty()) {
            (have, _) if size == have => return Ok(Some(picture)),
            (have, false) if have < size && size <= LARGEST => {}
            _ => return Err(Error::damaged("the mount gave half a preview")),
        }
    }
}

/// Asks; error 0 when it was answered.
fn call(file: &File, buffer: &mut [u8]) -> std::io::Error {
    // SAFETY: the descriptor is open while `file` lives; the request says that SIZE bytes are read
    // and written, and the buffer is as long.
    let code =
        unsafe { libc::ioctl(file.as_raw_fd(), REQUEST as libc::Ioctl, buffer.as_mut_ptr()) };
    match code {
        0.. => std::io::Error::from_raw_os_error(0),
        _ => std::io::Error::last_os_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_and_an_answer_are_read_as_they_were_written() {
        assert_eq!(
            PreviewQuestion::read(&write_head(256, 7)),
            Some(PreviewQuestion { edge: 256, offset: 7 })
        );
        assert_eq!(
            PreviewQuestion::read(&write_head(u64::MAX, 7)).map(|question| question.edge),
            Some(u32::MAX)
        );
        assert_eq!(PreviewQuestion::read(&[0; 15]), None);
        let answer = answer(70_000, b"abc");
        assert_eq!(
            (answer.len(), head(&answer), answer.get(16..20)),
            (SIZE, Some((70_000, 3)), Some(&b"abc\0"[..]))
        );
    }

    #[test]
    fn other_file_systems_know_no_such_question() {
        let asked = File::open("/proc/self/exe").map(|file| ask(&file, 256));
        assert!(matches!(asked, Ok(Ok(None))));
    }
}
