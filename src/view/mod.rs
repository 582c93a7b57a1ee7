pub mod ino;
pub mod name;
