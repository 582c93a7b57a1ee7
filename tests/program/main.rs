//! What a person sees and has in hand: answers, errors, exit codes, what is written out, the
//! package.

#[path = "../backup_library/mod.rs"]
mod backup_library;
mod cli;
mod doctor;
mod envfile;
mod history;
mod layers;
mod manual;
mod package;
mod restore;
mod sql;
#[path = "../support/mod.rs"]
mod support;
#[path = "../two_nights/mod.rs"]
mod two_nights;
mod unfit;
mod whole;
mod written_out;
