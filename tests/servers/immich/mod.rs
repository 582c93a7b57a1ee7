//! What a dump means: real dumps against what the server's API said, small made-up ones of every
//! era, and damage.

mod damage;
mod elsewhere;
mod eras;
mod groups;
mod made;
mod postgres;
mod recipes;
mod scale;
mod truth;

use shoebox::base::library::LibraryRecord;
use shoebox::immich::{self, DumpVerdict, Options, ReadDump};

/// Reads `bytes` as a dump; what went to the tee comes along.
pub fn read_with(
    bytes: &[u8],
    database: Option<&str>,
) -> (shoebox::base::Result<ReadDump>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut copy = Vec::new();
    let dump =
        immich::read(&mut &*bytes, &Options { database, staging: folder.path() }, &mut |bytes| {
            copy.extend_from_slice(bytes);
            Ok(())
        });
    (dump, copy)
}

pub fn read(bytes: &[u8]) -> ReadDump {
    read_with(bytes, None).0.unwrap()
}

pub fn records(dump: &ReadDump) -> Vec<LibraryRecord> {
    let mut records = Vec::new();
    dump.records(&mut |record| {
        records.push(record);
        Ok(())
    })
    .unwrap();
    assert!(
        records.windows(2).all(|two| two[0].key() < two[1].key()),
        "the records are sorted and unique"
    );
    records
}

/// The line and the reason of a bad dump.
pub fn fault(bytes: &[u8]) -> (u64, String) {
    match read(bytes).verdict {
        DumpVerdict::Bad { line, reason } => (line, reason),
        DumpVerdict::Good => panic!("the dump passed as good"),
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
