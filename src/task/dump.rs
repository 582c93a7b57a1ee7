//! A snapshot's database dump.

use std::io::Read;

use super::open::{find_snapshot, open_view};
use crate::base::{Error, Result};
use crate::repo::{Repository, StreamReader, record_of};
use crate::view;

/// Hands the dump of the snapshot that `name` names to `each`, piece by piece, verified.
pub fn dump(repository: &Repository, name: &str, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let view = open_view(repository, view::Options::default())?;
    let id = find_snapshot(&view, name)?.0;
    let (db, contents) = (repository.catalog()?.connect()?, repository.contents());
    let record = record_of(&db, id.seconds())?;
    let mut reader = StreamReader::new(&db, &contents, &record.streams.dump);
    let mut piece = vec![0; 1 << 20];
    loop {
        match reader
            .read(&mut piece)
            .map_err(|error| Error::damaged(format_args!("the dump of {id}")).caused_by(error))?
        {
            0 => return Ok(()),
            len => each(&piece[..len])?,
        }
    }
}
