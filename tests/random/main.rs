//! What is tried by the hundred: cuts and kills at any moment, random nights, mutated input.

#[path = "../backup_library/mod.rs"]
mod backup_library;
#[path = "../crafted/mod.rs"]
mod crafted;
mod crash;
mod fuzz;
mod model;
#[path = "../support/mod.rs"]
mod support;
