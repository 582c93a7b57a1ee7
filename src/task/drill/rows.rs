//! What the assets are, as the loaded database says, or else the dump; and how many rows there are.

use std::collections::BTreeSet;
use std::io::Read;

use super::STOPPED;
use super::sample::{AssetSample, SampledAsset};
use super::server::{DATABASE, OWNER};
use crate::base::library::LibraryRecord;
use crate::base::{Error, ErrorKind, Monitor, Phase, Problem, Result, Sha1};
use crate::immich::{self, DumpVerdict};
use crate::source::postgres::throwaway::ThrowAway;
use crate::task::database::{self, Report, RowDifference};
use crate::task::dump::SnapshotDump;

/// What is to come back.
pub(super) struct ExpectedRows {
    pub tables: u64,
    pub rows: u64,
    pub differences: Vec<RowDifference>,
    pub sample: AssetSample,
}

/// The tables, of both eras, that are asked, newest first.
const ASSET: [&str; 2] = ["asset", "assets"];
const EXIF: [&str; 2] = ["asset_exif", "exif"];
const LIBRARY: [&str; 2] = ["library", "libraries"];

const COLUMNS: &str =
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' \
        AND table_name IN
     ('asset', 'assets', 'asset_exif', 'exif', 'library', 'libraries')";

/// Draws from the database that was loaded.
pub(super) fn of_server(
    server: &ThrowAway,
    report: Report,
    mut sample: AssetSample,
    monitor: &dyn Monitor,
) -> Result<ExpectedRows> {
    let mut columns = BTreeSet::new();
    server.rows(OWNER, DATABASE, COLUMNS, &mut |line| {
        columns.extend(
            line.split_once('\t').map(|(table, column)| (table.to_owned(), column.to_owned())),
        );
        Ok(())
    })?;
    let unreadable = || Error::new(ErrorKind::Program, "the database does not report its assets");
    let question = question(&columns).ok_or_else(unreadable)?;
    server.rows(OWNER, DATABASE, &question, &mut |line| {
        STOPPED.check(monitor)?;
        sample.offer(row(line).ok_or_else(unreadable)?);
        Ok(())
    })?;
    Ok(ExpectedRows {
        tables: report.tables,
        rows: report.rows,
        differences: report.differences,
        sample,
    })
}

/// Asks for id, SHA-1 of the bytes, size and path (in hex) of every asset, and whether it is
/// external, whatever the version; `None` where there is no table of assets.
///
/// The rules are those of `immich/assets.sql` and `immich/library.rs`: up to v2.6 an external
/// asset's checksum is that of its path, then `checksumAlgorithm` says it; up to v1.105 an upload
/// has a library too.
fn question(columns: &BTreeSet<(String, String)>) -> Option<String> {
    let has = |table: &str, column: &str| columns.contains(&(table.to_owned(), column.to_owned()));
    let among = |tables: [&'static str; 2], column: &str| {
        tables.into_iter().find(|table| has(table, column))
    };
    let asset = among(ASSET, "id")?;
    let in_library = match (has(asset, "libraryId"), among(LIBRARY, "type")) {
        (false, _) => "false".to_owned(),
        (true, None) => r#"a."libraryId" IS NOT NULL"#.to_owned(),
        (true, Some(table)) => format!(
            r#"a."libraryId" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM public.{table} l WHERE l.id = a."libraryId" AND l.type = 'UPLOAD')"#
        ),
    };
    let external = if has(asset, "isExternal") {
        format!(r#"coalesce(a."isExternal", {in_library})"#)
    } else {
        in_library
    };
    let of_bytes = if has(asset, "checksumAlgorithm") {
        format!(r#"coalesce(a."checksumAlgorithm"::text = 'sha1', NOT ({external}))"#)
    } else {
        format!("NOT ({external})")
    };
    let sha1 = if has(asset, "checksum") {
        format!("CASE WHEN {of_bytes} THEN encode(a.checksum, 'hex') END")
    } else {
        "NULL".to_owned()
    };
    let (size, join) = match among(EXIF, "fileSizeInByte").filter(|table| has(table, "assetId")) {
        Some(table) => (
            r#"e."fileSizeInByte""#,
            format!(r#" LEFT JOIN public.{table} e ON e."assetId" = a.id"#),
        ),
        None => ("NULL", String::new()),
    };
    let path = if has(asset, "originalPath") {
        r#"encode(convert_to(a."originalPath", 'UTF8'), 'hex')"#
    } else {
        "''"
    };
    Some(format!(
        "SELECT a.id, {sha1}, {size}, {path}, ({external})::int FROM public.{asset} a{join}"
    ))
}

fn row(line: &str) -> Option<SampledAsset> {
    let mut fields = line.split('\t');
    let (id, sha1, size) = (fields.next()?, fields.next()?, fields.next()?);
    let path = String::from_utf8(hex::decode(fields.next()?).ok()?).ok()?;
    let is_external = fields.next()? == "1";
    let sha1 = match sha1 {
        "" => None,
        sha1 => Sha1::from_slice(&hex::decode(sha1).ok()?),
    };
    Some(SampledAsset { id: id.parse().ok()?, sha1, path, is_external, size: size.parse().ok() })
}

/// Draws from the dump itself, read to its end by our own parser. `Damaged` when it cannot be.
pub(super) fn of_dump(
    dump: &SnapshotDump,
    mut sample: AssetSample,
    monitor: &dyn Monitor,
) -> Result<ExpectedRows> {
    let staging =
        tempfile::tempdir().map_err(|error| Error::io("making a temporary folder", error))?;
    let found = read_again(dump, staging.path(), monitor)?;
    found.records(&mut |record| {
        if let LibraryRecord::Asset(asset) = record {
            STOPPED.check(monitor)?;
            let is_external = asset.file.as_ref().is_some_and(|file| file.is_external());
            let is_external = is_external || asset.library.is_some();
            sample.offer(SampledAsset {
                id: asset.id,
                sha1: asset.sha1,
                path: asset.path,
                is_external,
                size: asset.size,
            });
        }
        Ok(())
    })?;
    let differences = database::compare(&dump.record.dump.rows, &found.rows);
    for RowDifference { table, expected, found } in &differences {
        let message =
            format!("{found} rows are in the dump, {expected} were counted when it was backed up");
        monitor.problem(Problem { subject: format!("table {table}"), message });
    }
    Ok(ExpectedRows {
        tables: found.rows.len() as u64,
        rows: found.rows.values().sum(),
        differences,
        sample,
    })
}

fn read_again(
    dump: &SnapshotDump,
    staging: &std::path::Path,
    monitor: &dyn Monitor,
) -> Result<immich::ReadDump> {
    let record = &dump.record;
    monitor.begin(Phase::Dump, None, Some(record.streams.dump.size));
    let options = immich::Options { database: record.dump.database.as_deref(), staging };
    let mut reader = RowReader { inner: dump.reader(), failed: false };
    let read = immich::read(&mut reader, &options, &mut |bytes| {
        monitor.advance(0, bytes.len() as u64);
        STOPPED.check(monitor)
    });
    let found = match read {
        Err(error) if reader.failed => return Err(Error::damaged("the dump").caused_by(error)),
        read => read?,
    };
    match &found.verdict {
        DumpVerdict::Good => Ok(found),
        DumpVerdict::Bad { line, reason } => {
            let message = format!("line {line} of the dump: {reason}");
            Err(Error::new(ErrorKind::Damaged, message))
        }
    }
}

/// Knows whether it was the repository that could not be read.
struct RowReader<R> {
    inner: R,
    failed: bool,
}

impl<R: Read> Read for RowReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer);
        self.failed |= read.is_err();
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(all: &[(&str, &str)]) -> BTreeSet<(String, String)> {
        all.iter().map(|(table, column)| ((*table).to_owned(), (*column).to_owned())).collect()
    }

    #[test]
    fn tables_of_both_eras_are_asked_for_what_they_have() {
        let new = columns(&[
            ("asset", "id"),
            ("asset", "checksum"),
            ("asset", "checksumAlgorithm"),
            ("asset", "isExternal"),
            ("asset", "originalPath"),
            ("asset_exif", "assetId"),
            ("asset_exif", "fileSizeInByte"),
        ]);
        let question_of = |columns| question(columns).unwrap();
        assert_eq!(
            question_of(&new),
            r#"SELECT a.id, CASE WHEN coalesce(a."checksumAlgorithm"::text = 'sha1', NOT (coalesce(a."isExternal", false))) THEN encode(a.checksum, 'hex') END, e."fileSizeInByte", encode(convert_to(a."originalPath", 'UTF8'), 'hex'), (coalesce(a."isExternal", false))::int FROM public.asset a LEFT JOIN public.asset_exif e ON e."assetId" = a.id"#
        );
        let old = columns(&[
            ("assets", "id"),
            ("assets", "checksum"),
            ("assets", "libraryId"),
            ("libraries", "type"),
        ]);
        assert!(
            question_of(&old).contains("l.type = 'UPLOAD'")
                && question_of(&old).contains("public.assets a")
        );
        assert_eq!(question(&columns(&[("album", "id")])), None);
    }

    #[test]
    fn a_row_without_a_hash_of_its_bytes_has_none_and_a_strange_one_is_refused() {
        let id = "00000001-1111-4111-8111-111111111111";
        assert_eq!(row(&format!("{id}\t\t\t\t0")).unwrap().sha1, None);
        let full = row(&format!("{id}\t{}\t12\t2f64\t1", "ab".repeat(20))).unwrap();
        assert_eq!((full.path.as_str(), full.is_external), ("/d", true));
        assert_eq!((full.sha1, full.size), (Some(Sha1([0xab; 20])), Some(12)));
        assert_eq!(row("x\t\t"), None);
        assert_eq!(row(&format!("{id}\tzz\t\t\t0")), None);
    }
}
