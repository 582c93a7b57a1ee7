//! What is odd about a library whose dump is whole: reported, never shown as something empty.

use super::paths::PathMap;
use super::staging::{StagingError, StagingFile};
use super::tables::{EXPECTED, StagedTable};
use crate::base::Result;

/// A count of rows that should be 0, and what is said when it is not.
const QUESTIONS: [(&str, &str); 10] = [
    (
        "SELECT count(*) FROM album WHERE id NOT IN (SELECT album FROM album_user WHERE role = \
            'owner')",
        "albums have no owner",
    ),
    (
        "SELECT count(*) FROM album_asset WHERE asset NOT IN (SELECT id FROM asset)",
        "rows of albums point at no asset",
    ),
    (
        "SELECT count(*) FROM album_asset WHERE album NOT IN (SELECT id FROM album)",
        "rows of albums point at no album",
    ),
    (
        "SELECT count(*) FROM tag_asset WHERE tag NOT IN (SELECT id FROM tag)",
        "rows of tags point at no tag",
    ),
    (
        "SELECT count(*) FROM tag_asset WHERE asset NOT IN (SELECT id FROM asset)",
        "rows of tags point at no asset",
    ),
    (
        "SELECT count(*) FROM face WHERE person NOT IN (SELECT grp FROM person)",
        "faces belong to no person",
    ),
    (
        "SELECT count(*) FROM asset WHERE owner NOT IN (SELECT id FROM user)",
        "assets have an owner that is not a user",
    ),
    ("SELECT count(*) FROM asset WHERE added IS NULL", "assets have no readable upload time"),
    (
        "SELECT count(*) FROM asset WHERE live_video IS NOT NULL AND live_video NOT IN (SELECT id \
            FROM asset)",
        "live photos have lost their video",
    ),
    ("SELECT count(*) FROM stack WHERE owner IS NULL", "stacks have no owner; they are left out"),
];

/// A count of rows with a value that we do not know, and what is said when it is not 0.
const UNKNOWN: [(&str, &str); 5] = [
    (
        "SELECT count(*) FROM asset WHERE visibility NOT IN ('timeline', 'archive', 'hidden', \
            'locked')",
        "assets have a visibility that this shoebox does not know; they are shown as locked",
    ),
    (
        "SELECT count(*) FROM asset WHERE type NOT IN ('IMAGE', 'VIDEO', 'AUDIO', 'OTHER')",
        "assets are of a type that this shoebox does not know",
    ),
    (
        "SELECT count(*) FROM asset WHERE status NOT IN ('active', 'trashed', 'deleted')",
        "assets have a status that this shoebox does not know",
    ),
    (
        "SELECT count(*) FROM asset WHERE algorithm NOT IN ('sha1', 'sha1-path')",
        "assets have a checksum of a kind that this shoebox does not know; their bytes are not \
            compared with it",
    ),
    (
        "SELECT count(*) FROM album_user WHERE role NOT IN ('owner', 'editor', 'viewer')",
        "members of albums have a role that this shoebox does not know; they are taken for viewers",
    ),
];

/// Everything odd, one line each.
pub fn find(staging: &StagingFile, paths: &PathMap) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (name, (count, line)) in staging.unreadable() {
        found.push(format!("{count} values of {name} could not be read, the first on line {line}"));
    }
    found.extend(counted(staging, &QUESTIONS)?);
    found.extend(strayed(staging, paths)?);
    Ok(found)
}

/// What the views lack because the database is not as we know it, one line each.
pub fn lacks(staging: &StagingFile) -> Result<Vec<String>> {
    let mut found = missing(staging);
    for table in staging.left_out() {
        if staging.count(&format!("SELECT count(*) FROM {table}"))? == 0 {
            found.push(format!("no row of table {table} could be read"));
        }
    }
    for name in staging.unreadable().keys() {
        let Some((table, column)) = name.split_once('.') else { continue };
        if staging.count(&format!("SELECT count({column}) FROM {table}"))? == 0 {
            found.push(format!("no value of {name} could be read"));
        }
    }
    found.extend(counted(staging, &UNKNOWN)?);
    Ok(found)
}

fn counted(staging: &StagingFile, questions: &[(&str, &str)]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (sql, words) in questions {
        let count = staging.count(sql)?;
        if count > 0 {
            found.push(format!("{count} {words}"));
        }
    }
    Ok(found)
}

/// Tables and columns that each version has in one place or another, and this dump in none.
fn missing(staging: &StagingFile) -> Vec<String> {
    let tables =
        EXPECTED.into_iter().filter(|table| !staging.has(table)).filter_map(StagedTable::staged);
    let mut missing: Vec<_> = tables
        .map(|table| format!("the dump has no rows for table {}", table.from.join(" or ")))
        .collect();
    let mut any = |names: &[&str], words: &str| {
        if !names.iter().any(|name| staging.has(name)) {
            missing.push(words.to_owned());
        }
    };
    any(
        &["asset.visibility", "asset.visible"],
        "nothing says which assets are hidden or locked; all are shown",
    );
    any(&["asset.sidecar", "file"], "nothing says which assets have a sidecar");
    any(
        &["asset.external", "asset.library"],
        "nothing says which assets are of an external library",
    );
    if staging.has("asset.stack") {
        any(&["stack"], "the dump has no rows for table stack or asset_stack");
    }
    if staging.has("version") {
        any(&["kysely", "typeorm"], "nothing says which migration the database is at");
    }
    missing
}

/// Assets whose file lies where no backup of UPLOAD_LOCATION can have it.
fn strayed(staging: &StagingFile, paths: &PathMap) -> Result<Option<String>> {
    let sql = "SELECT asset.path, coalesce(asset.external, asset.library IS NOT NULL AND \
        library.type IS NOT 'UPLOAD')
               FROM asset LEFT JOIN library ON library.id = asset.library";
    let mut statement = staging.db().prepare(sql).staged()?;
    let mut rows = statement.query([]).staged()?;
    let (mut count, mut first) = (0_u64, None);
    while let Some(row) = rows.next().staged()? {
        let (path, external): (String, bool) = (row.get(0).staged()?, row.get(1).staged()?);
        if paths.file(&path, external).is_none() {
            count += 1;
            first.get_or_insert(path);
        }
    }
    Ok(first.map(|path| {
        format!(
            "{count} assets have a path outside of UPLOAD_LOCATION, such as {}",
            path.escape_debug()
        )
    }))
}
