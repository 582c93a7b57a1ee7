//! What the kernel is told when something fails.

use fuser::Errno;

use crate::base::{Error, ErrorKind};

/// The errno of `error`. Never `ENOSYS`: to the kernel that means "this operation does not exist",
/// and it stops asking for the life of the mount.
pub(super) fn errno(error: &Error) -> Errno {
    match error.kind() {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::Exists => Errno::EEXIST,
        ErrorKind::Damaged | ErrorKind::Io | ErrorKind::Program | ErrorKind::Bug => Errno::EIO,
        ErrorKind::Locked => Errno::EAGAIN,
        ErrorKind::Unsupported => Errno::EOPNOTSUPP,
        ErrorKind::Invalid => Errno::EINVAL,
        ErrorKind::Refused => Errno::EPERM,
        ErrorKind::Permission => Errno::EACCES,
        ErrorKind::NoSpace => Errno::ENOSPC,
        ErrorKind::Exhausted => Errno::ENFILE,
        ErrorKind::Interrupted => Errno::EINTR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_an_input_output_error() {
        assert_eq!(errno(&Error::damaged("x")).code(), libc::EIO);
        assert_eq!(errno(&Error::not_found("x")).code(), libc::ENOENT);
    }
}
