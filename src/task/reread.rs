//! Reading again what an older shoebox did not understand of the dumps that it stored.
//!
//! A snapshot that was written while its reader missed something, such as the people of a newer
//! Immich, keeps the whole dump. What its library list lacks is read out of that, once, and stored
//! as a reading; the catalog is then rebuilt.

use crate::base::{Error, ErrorKind, Monitor, Phase, Problem, Result, StopNotice, json_line};
use crate::immich;
use crate::repo::{
    DumpReading, ReadList, ReferenceStream, Repository, SnapshotRecord, StreamInfo, StreamReader,
    StreamWriter, WriteSession, record_of,
};

/// Reads the dumps again of which an older reader missed something; how many snapshots have a
/// better list now.
pub fn reread(
    repository: &Repository,
    session: &mut WriteSession,
    monitor: &dyn Monitor,
) -> Result<u64> {
    let lacking = lacking(repository, session)?;
    if lacking.is_empty() {
        return Ok(0);
    }
    monitor.begin(Phase::Dump, Some(lacking.len() as u64), None);
    let sink = session.copies()?;
    let mut readings = Vec::new();
    for record in &lacking {
        match again(repository, session, &sink, record, monitor) {
            Ok(reading) => readings.push(reading),
            // The snapshot stays as it is; a check names what is damaged.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Damaged | ErrorKind::Refused | ErrorKind::Invalid
                ) =>
            {
                let message = format!("its dump cannot be read again: {}", error.chain());
                monitor.problem(Problem { subject: format!("snapshot {}", record.id), message });
                // What is damaged may be repaired. What this reader takes for no good dump it does
                // not ask again.
                readings.extend(
                    (error.kind() != ErrorKind::Damaged)
                        .then(|| reading(record, of_record(record))),
                );
            }
            Err(error) => return Err(error),
        }
        monitor.advance(1, 0);
    }
    sink.finish()?;
    readings.iter().try_for_each(|reading| repository.put_reading(reading))?;
    session.take_in(monitor)?;
    Ok(readings.len() as u64)
}

/// The snapshots to read again: those whose list lacks something, and those whose reading the
/// catalog could not take.
fn lacking(repository: &Repository, session: &WriteSession) -> Result<Vec<SnapshotRecord>> {
    let db = session.generation().connect()?;
    let mut lacking = Vec::new();
    for id in crate::catalog::query::snapshot::ids(&db)? {
        let known = record_of(&db, id.seconds())?;
        if known.is_good() && immich::is_worth_rereading(&known.dump) {
            lacking.push(repository.record(id).map_or(known, SnapshotRecord::as_written));
        }
    }
    Ok(lacking)
}

fn again(
    repository: &Repository,
    session: &WriteSession,
    sink: &crate::repo::ContentSink,
    record: &SnapshotRecord,
    monitor: &dyn Monitor,
) -> Result<DumpReading> {
    let (generation, contents) = (session.generation(), repository.contents());
    let staging = repository.store().work_folder()?;
    let options = immich::Options { database: record.dump.database.as_deref(), staging: &staging };
    // What keeps it from being read is why, and not that reading failed.
    let mut input = StreamReader::new(generation.connect()?, &contents, &record.streams.dump);
    let dump = immich::read(&mut input, &options, &mut |_| StopNotice::CONTINUES.check(monitor))
        .map_err(cause)?;
    let reference = ReferenceStream::of(&record.streams.library, &*generation.connect()?)?;
    let ((), library): ((), StreamInfo) =
        StreamWriter::run(sink, generation, &contents, reference, |writer| {
            dump.records(&mut |record| writer.push(&json_line(&record)?))
        })?;
    Ok(reading(
        record,
        ReadList { reader: immich::READER, lacks: dump.lacks, warnings: dump.warnings, library },
    ))
}

fn reading(record: &SnapshotRecord, listed: ReadList) -> DumpReading {
    DumpReading { snapshot: record.id, shoebox: env!("CARGO_PKG_VERSION").to_owned(), listed }
}

/// The list that the record has.
fn of_record(record: &SnapshotRecord) -> ReadList {
    let (lacks, warnings) = (record.dump.lacks.clone(), record.warnings.clone());
    ReadList { reader: immich::READER, lacks, warnings, library: record.streams.library.clone() }
}

/// The error of ours behind a failed read.
fn cause(error: Error) -> Error {
    let mut source = std::error::Error::source(&error);
    while let Some(below) = source {
        let kind = below.downcast_ref::<Error>().map(Error::kind);
        let inner = below
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref()?.downcast_ref::<Error>());
        if kind.or(inner.map(Error::kind)) == Some(ErrorKind::Damaged) {
            return Error::damaged("a piece of it").caused_by(error);
        }
        source = below.source();
    }
    error
}
