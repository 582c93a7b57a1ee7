//! Through the kernel's FUSE: the mount, its tree, its desktop, its memory.

#[path = "../backup_library/mod.rs"]
mod backup_library;
#[path = "../mount_library/mod.rs"]
mod mount_library;
#[path = "../support/mod.rs"]
mod support;

mod desktop;
mod mount;
mod mount_memory;
mod rebuilt;
mod view;
