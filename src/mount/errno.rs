//! What the kernel is told when something fails.

use fuser::Errno;

use crate::base::{Error, Kind};

/// The errno of `error`. Never `ENOSYS`: to the kernel that means "this operation does not exist",
/// and it stops asking for the life of the mount.
pub(super) fn errno(error: &Error) -> Errno {
    match error.kind() {
        Kind::NotFound => Errno::ENOENT,
        Kind::Exists => Errno::EEXIST,
        Kind::Damaged | Kind::Io | Kind::Program => Errno::EIO,
        Kind::Locked => Errno::EAGAIN,
        Kind::Unsupported => Errno::EOPNOTSUPP,
        Kind::Invalid => Errno::EINVAL,
        Kind::Refused => Errno::EPERM,
        Kind::Permission => Errno::EACCES,
        Kind::NoSpace => Errno::ENOSPC,
        Kind::Exhausted => Errno::ENFILE,
        Kind::Interrupted => Errno::EINTR,
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
