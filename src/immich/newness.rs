//! How new a database is, against the newest that this reader was tested with.

use crate::base::dump::DumpInfo;

/// Counts up whenever a reader understands more of a dump than the one before: what that one missed
/// is read again.
pub const READER: u32 = 2;

/// The newest migration of Immich that each reader was tested with, from the first on: those of
/// v3.1 and v3.3.
const TESTED: [&str; READER as usize] = [
    "1784836013770-MinFacePreferenceMigration",
    "1790693088454-AddPersonUserTableSharedBySharedWithConstraint",
];

/// True when tables at the migration `schema` are newer than the reader of that number knew.
pub(super) fn is_newer(schema: &str, reader: u32) -> bool {
    let known = TESTED.get(reader.saturating_sub(1) as usize).or(TESTED.last());
    known.is_some_and(|known| time(schema) > time(known))
}

/// True when a database at the migration `schema` is newer than this reader knows.
pub(super) fn is_unknown(schema: Option<&str>) -> bool {
    schema.is_some_and(|schema| is_newer(schema, READER))
}

/// What is to be said of a database whose newest migration is `schema`, where it is newer than this
/// reader knows.
pub fn newer_than_known(schema: Option<&str>) -> Option<String> {
    let schema = schema.filter(|schema| is_newer(schema, READER))?;
    Some(format!(
        "this Immich is newer than this shoebox (its newest migration is {}): photos and database \
            are safe; some views may \
         lack things: update shoebox",
        schema.escape_debug()
    ))
}

/// True when the reader of a dump missed something that this one may understand.
pub fn is_worth_rereading(dump: &DumpInfo) -> bool {
    dump.reader < READER
        && (!dump.lacks.is_empty()
            || dump.schema.as_deref().is_some_and(|schema| is_newer(schema, dump.reader)))
}

/// When a migration was written, milliseconds since 1970: the first number of `1784836013770-Name`,
/// the last of the older `Name1744910873956`.
fn time(migration: &str) -> u64 {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let head = digits(migration);
    let tail = migration.bytes().rev().take_while(u8::is_ascii_digit).count();
    let number = if head > 0 { &migration[..head] } else { &migration[migration.len() - tail..] };
    number.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_after_the_newest_tested_one_is_newer_whatever_it_is_called() {
        for known in
            [TESTED[1], TESTED[0], "AddMissingIndex1744910873956", "A1704571051932", "", "-"]
        {
            assert_eq!(newer_than_known(Some(known)), None, "{known}");
        }
        for newer in ["1790693088455-A", "1800000000000", "SomeThing1800000000000"] {
            assert!(newer_than_known(Some(newer)).unwrap().contains(newer), "{newer}");
        }
        assert_eq!(newer_than_known(None), None);
    }

    #[test]
    fn what_one_reader_did_not_know_another_may() {
        assert!(
            is_newer("1787148183729-ClusterGroups", 1)
                && !is_newer("1787148183729-ClusterGroups", 2)
        );
        assert!(is_newer("1800000000000-X", 2) && is_newer("1800000000000-X", 3));
    }
}
