//! Which bytes each asset has in a snapshot: by the path that the database says, else by SHA-1.
//!
//! A sidecar has no checksum in the database: it follows its photo. Where that was found elsewhere,
//! the sidecar is looked for beside it, under its name ([`beside`]).

use rusqlite::{Connection, OptionalExtension};
use unicode_normalization::UnicodeNormalization;

use crate::base::{FilePath, Result};
use crate::catalog::query::folder::path_of_file;
use crate::catalog::query::kept::{COVERED, EXTERNAL};
use crate::catalog::query::unsigned;
use crate::catalog::{FOREVER, FilePart};

/// How many assets of a snapshot have their bytes in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssetFiles {
    pub present: u64,
    /// Of these, found elsewhere than the database says.
    pub moved: u64,
    /// Assets whose original is not in the snapshot, external libraries that were not given left
    /// aside.
    pub missing: u64,
    /// Names of the first few of these.
    pub missing_names: Vec<String>,
    /// Assets of external libraries that were not given.
    pub not_covered: u64,
    /// Assets whose file has other bytes than Immich recorded.
    pub changed: u64,
}

/// What an asset shows.
#[derive(Debug, PartialEq, Eq)]
struct ShownFiles {
    content: i64,
    size: i64,
    file: i64,
    moved: bool,
    differs: bool,
}

/// Brings `asset_file` up to the snapshot at `time`, after its files and its library were taken in:
/// looks again at the assets that changed, whose path changed, or that were missing.
pub fn resolve_asset_files(db: &Connection, time: i64) -> Result<AssetFiles> {
    db.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS look (id BLOB PRIMARY KEY) WITHOUT ROWID; \
        DELETE FROM look;",
    )?;
    db.execute_batch(
        "INSERT OR IGNORE INTO look SELECT id FROM changed_asset;
         INSERT OR IGNORE INTO look SELECT a.id FROM changed_path p JOIN asset a ON a.path = p.path;
         INSERT OR IGNORE INTO look SELECT a.id FROM changed_path p JOIN asset a ON a.sidecar = \
         p.path;
         INSERT OR IGNORE INTO look SELECT asset FROM asset_file WHERE moved = 1;",
    )?;
    db.execute(
        "INSERT OR IGNORE INTO look SELECT a.id FROM asset a WHERE a.until = ?1 AND NOT EXISTS
             (SELECT 1 FROM asset_file f WHERE f.asset = a.id AND f.part = 0 AND f.until = ?1)",
        [FOREVER],
    )?;
    look_again_where_names_are_composed_otherwise(db)?;
    look_again(db, time)?;
    count(db, time)
}

/// A path that changed concerns also the assets that name it in another normalization.
fn look_again_where_names_are_composed_otherwise(db: &Connection) -> Result<()> {
    let mut statement = db.prepare("SELECT path FROM changed_path")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        for other in other_forms(row.get_ref(0)?.as_blob().unwrap_or_default()) {
            let sql =
                "INSERT OR IGNORE INTO look SELECT id FROM asset WHERE path = ?1 AND path IS \
                NOT NULL
                       UNION ALL SELECT id FROM asset WHERE sidecar = ?1 AND sidecar IS NOT NULL";
            db.prepare_cached(sql)?.execute([other])?;
        }
    }
    Ok(())
}

/// The same text with its letters composed otherwise, where that is other bytes: servers and disks
/// do not agree on `ü`.
fn other_forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| !text.is_ascii()) else {
        return Vec::new();
    };
    let forms = [text.nfc().collect::<String>(), text.nfd().collect()];
    forms.into_iter().map(String::into_bytes).filter(|form| form != bytes).collect()
}

/// By path: neighbours share folders, so the pages that are needed stay near. The plus keeps SQLite
/// from choosing the index on `until`, which nearly all rows share.
const LOOK_AGAIN: &str = "SELECT l.id, a.path, a.sidecar, a.sha1, a.owner, a.sidecar IS NULL AND \
    instr(a.line, '\"sidecar_elsewhere\":true') > 0 FROM look l LEFT JOIN asset a ON a.id = l.id \
    AND +a.until = ?1 ORDER BY a.path";

fn look_again(db: &Connection, time: i64) -> Result<()> {
    let mut statement = db.prepare(LOOK_AGAIN)?;
    let mut rows = statement.query([FOREVER])?;
    while let Some(row) = rows.next()? {
        let id: Vec<u8> = row.get(0)?;
        let (path, sidecar): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(1)?, row.get(2)?);
        let (sha1, owner): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(3)?, row.get(4)?);
        let named = NamedFiles {
            path: path.as_deref(),
            sidecar: sidecar.as_deref(),
            owner: owner.as_deref(),
            sidecar_elsewhere: row.get::<_, Option<bool>>(5)?.unwrap_or(false),
        };
        let original = original(db, &named, sha1.as_deref())?;
        let sidecar = of_sidecar(db, &named, original.as_ref())?;
        update(db, time, &id, FilePart::Original, original)?;
        update(db, time, &id, FilePart::Sidecar, sidecar)?;
    }
    Ok(())
}

/// What the database says of an asset's files.
struct NamedFiles<'a> {
    path: Option<&'a [u8]>,
    sidecar: Option<&'a [u8]>,
    owner: Option<&'a [u8]>,
    /// It has a sidecar where none of ours can be.
    sidecar_elsewhere: bool,
}

fn original(
    db: &Connection,
    named: &NamedFiles<'_>,
    sha1: Option<&[u8]>,
) -> Result<Option<ShownFiles>> {
    match by_path(db, named.path, sha1)? {
        Some(shown) => Ok(Some(shown)),
        None => by_sha1(db, named, sha1),
    }
}

fn of_sidecar(
    db: &Connection,
    named: &NamedFiles<'_>,
    original: Option<&ShownFiles>,
) -> Result<Option<ShownFiles>> {
    match (by_path(db, named.sidecar, None)?, original) {
        (None, Some(original)) if original.moved || named.sidecar_elsewhere => {
            follow(db, named, original)
        }
        (found, _) => Ok(found),
    }
}

/// The sidecar beside `photo`, where one of them is not where the database says. Nothing that
/// another row names.
fn follow(
    db: &Connection,
    named: &NamedFiles<'_>,
    photo: &ShownFiles,
) -> Result<Option<ShownFiles>> {
    let Some(found) = path_of_file(db, unsigned(photo.file))? else { return Ok(None) };
    if photo.moved && is_named(db, &found)? {
        return Ok(None);
    }
    for path in beside(named, &found) {
        let shown = by_path(db, Some(&path), None)?;
        if let Some(shown) = shown.filter(|shown| shown.file != photo.file)
            && !is_named(db, &path)?
        {
            return Ok(Some(ShownFiles { moved: true, ..shown }));
        }
    }
    Ok(None)
}

/// True when `path` is where the database has an original or a sidecar.
fn is_named(db: &Connection, path: &[u8]) -> Result<bool> {
    let sql = "SELECT 1 FROM asset WHERE path = ?1 AND until = ?2
               UNION ALL SELECT 1 FROM asset WHERE sidecar = ?1 AND until = ?2";
    Ok(db.prepare_cached(sql)?.exists((path, FOREVER))?)
}

/// Where the sidecar of a photo may lie that was found at `found`: what the database puts to the
/// photo's name, or in place of its ending, and the folder changed as the photo's was; else what
/// Immich itself looks for.
fn beside(named: &NamedFiles<'_>, found: &[u8]) -> Vec<Vec<u8>> {
    let mut places = Vec::new();
    if let (Some(path), Some(sidecar)) = (named.path, named.sidecar) {
        for (old, new) in [(path, found), (stem(path), stem(found))] {
            if let Some(end) = after(sidecar, old).filter(|end| end.starts_with(b".")) {
                let ends = [end.to_vec(), end.to_ascii_lowercase(), end.to_ascii_uppercase()];
                places.extend(ends.into_iter().map(|end| [new, &end].concat()));
            }
        }
        let same = path.iter().rev().zip(found.iter().rev()).take_while(|(a, b)| a == b).count();
        let (old, new) = (&path[..path.len() - same], &found[..found.len() - same]);
        places.extend(sidecar.strip_prefix(old).map(|rest| [new, rest].concat()));
    }
    let ends = [&b".xmp"[..], b".XMP"];
    places.extend(
        [found, stem(found)].into_iter().flat_map(|start| ends.map(|end| [start, end].concat())),
    );
    places
}

/// What follows `start` in `path`; upper and lower case are not told apart: on some disks they are
/// not.
fn after<'a>(path: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = path.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

/// `path` without the ending of its name.
fn stem(path: &[u8]) -> &[u8] {
    let name = memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1);
    match memchr::memrchr(b'.', path) {
        Some(dot) if dot > name => &path[..dot],
        _ => path,
    }
}

/// The file at `path` in the newest snapshot; else the one whose path differs in how letters are
/// composed only, if its bytes are not known to be another photo's.
fn by_path(
    db: &Connection,
    path: Option<&[u8]>,
    sha1: Option<&[u8]>,
) -> Result<Option<ShownFiles>> {
    let Some(path) = path.and_then(|path| FilePath::new(path).ok()) else { return Ok(None) };
    let parts: Vec<&[u8]> = path.parts().collect();
    match in_folder(db, 0, &parts, sha1, false)? {
        None if !path.as_bytes().is_ascii() => {
            Ok(in_folder(db, 0, &parts, sha1, true)?.filter(|found| !found.differs))
        }
        found => Ok(found),
    }
}

/// The file at the path `parts` below `folder`, as it is written or (`loosely`) in another
/// normalization of each part.
fn in_folder(
    db: &Connection,
    folder: i64,
    parts: &[&[u8]],
    sha1: Option<&[u8]>,
    loosely: bool,
) -> Result<Option<ShownFiles>> {
    let Some((part, rest)) = parts.split_first() else { return Ok(None) };
    let others = if loosely { other_forms(part) } else { Vec::new() };
    for name in std::iter::once(*part).chain(others.iter().map(Vec::as_slice)) {
        let found = match rest {
            [] => file_in(db, folder, name, sha1)?,
            _ => match folder_in(db, folder, name)? {
                Some(next) => in_folder(db, next, rest, sha1, loosely)?,
                None => None,
            },
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn folder_in(db: &Connection, parent: i64, name: &[u8]) -> Result<Option<i64>> {
    let sql = "SELECT id FROM folder WHERE parent = ?1 AND name = ?2";
    Ok(db.prepare_cached(sql)?.query_row((parent, name), |row| row.get(0)).optional()?)
}

fn file_in(
    db: &Connection,
    folder: i64,
    name: &[u8],
    sha1: Option<&[u8]>,
) -> Result<Option<ShownFiles>> {
    let sql = "SELECT f.content, f.size, f.row, 0, ?4 IS NOT NULL AND c.sha1 <> ?4
               FROM file f CROSS JOIN content c ON c.id = f.content
               WHERE f.folder = ?1 AND f.name = ?2 AND f.until = ?3";
    Ok(db.prepare_cached(sql)?.query_row((folder, name, FOREVER, sha1), shown).optional()?)
}

/// The file of the newest snapshot with this SHA-1 that is most likely this asset's own.
fn by_sha1(
    db: &Connection,
    named: &NamedFiles<'_>,
    sha1: Option<&[u8]>,
) -> Result<Option<ShownFiles>> {
    let sql = "SELECT f.content, f.size, f.row, 1, 0 FROM content c JOIN file f ON f.content = c.id
               WHERE c.sha1 = ?1 AND f.until = ?2 ORDER BY f.row LIMIT 50";
    let Some(sha1) = sha1 else { return Ok(None) };
    let mut found: Vec<ShownFiles> = db
        .prepare_cached(sql)?
        .query_map((sha1, FOREVER), shown)?
        .collect::<rusqlite::Result<_>>()?;
    if found.len() < 2 {
        return Ok(found.pop());
    }
    let ranked = found
        .into_iter()
        .map(|shown| Ok((likeness(db, named, &shown)?, shown)))
        .collect::<Result<Vec<_>>>()?;
    Ok(ranked.into_iter().min_by_key(|(likeness, _)| *likeness).map(|(_, shown)| shown))
}

/// How unlike an asset's own a file with its bytes is: another one's by its path, in another
/// account's folder, without the sidecar.
fn likeness(db: &Connection, named: &NamedFiles<'_>, shown: &ShownFiles) -> Result<[bool; 3]> {
    let path = path_of_file(db, unsigned(shown.file))?.unwrap_or_default();
    let is_other = is_named(db, &path)?;
    let is_own = match (named.owner, path.split(|&byte| byte == b'/').nth(1)) {
        (Some(owner), Some(folder)) => is_folder_of(db, owner, folder)?,
        _ => false,
    };
    let has_sidecar = named.sidecar.is_none() || follow(db, named, shown)?.is_some();
    Ok([is_other, !is_own, !has_sidecar])
}

/// True when Immich calls the folder of the account `owner` so: its storage label, or its id.
fn is_folder_of(db: &Connection, owner: &[u8], folder: &[u8]) -> Result<bool> {
    let sql = "SELECT json_extract(line, '$.id'), json_extract(line, '$.label') FROM user WHERE id \
        = ?1 AND until = ?2";
    let names = |row: &rusqlite::Row<'_>| Ok([row.get::<_, Option<String>>(0)?, row.get(1)?]);
    let names =
        db.prepare_cached(sql)?.query_row((owner, FOREVER), names).optional()?.unwrap_or_default();
    Ok(names.iter().flatten().any(|name| name.as_bytes() == folder))
}

fn shown(row: &rusqlite::Row<'_>) -> rusqlite::Result<ShownFiles> {
    Ok(ShownFiles {
        content: row.get(0)?,
        size: row.get(1)?,
        file: row.get(2)?,
        moved: row.get(3)?,
        differs: row.get(4)?,
    })
}

/// Makes `wanted` what the asset shows from `time` on.
fn update(
    db: &Connection,
    time: i64,
    asset: &[u8],
    part: FilePart,
    wanted: Option<ShownFiles>,
) -> Result<()> {
    let current = db
        .prepare_cached(
            "SELECT content, size, file, moved, differs FROM asset_file WHERE asset = ?1 AND part \
                = ?2 AND until = ?3",
        )?
        .query_row((asset, part, FOREVER), shown)
        .optional()?;
    if current == wanted {
        return Ok(());
    }
    if current.is_some() {
        db.prepare_cached(
            "UPDATE asset_file SET until = ?1 WHERE asset = ?2 AND part = ?3 AND until = ?4",
        )?
        .execute((time, asset, part, FOREVER))?;
    }
    if let Some(ShownFiles { content, size, file, moved, differs }) = wanted {
        let sql = "INSERT INTO asset_file (asset, part, since, until, content, size, file, moved, \
            differs)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        db.prepare_cached(sql)?
            .execute((asset, part, time, FOREVER, content, size, file, moved, differs))?;
    }
    Ok(())
}

/// Counts in one pass over the assets: each of them takes a look into `asset_file`.
fn count(db: &Connection, time: i64) -> Result<AssetFiles> {
    db.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS absent (row INTEGER PRIMARY KEY, external \
        INTEGER NOT NULL); DELETE FROM absent;",
    )?;
    let absent = format!(
        "WITH {COVERED} INSERT INTO absent SELECT a.row, {EXTERNAL} FROM asset a WHERE a.until = \
            ?2 AND NOT EXISTS
             (SELECT 1 FROM asset_file f WHERE f.asset = a.id AND f.part = 0 AND f.until = ?2)"
    );
    db.execute(&absent, (time, FOREVER))?;
    // Immich knows that these are gone.
    db.execute_batch(
        "DELETE FROM absent WHERE NOT external AND EXISTS (SELECT 1 FROM asset a WHERE a.row = \
            absent.row
             AND instr(a.path, CAST('external/' AS BLOB)) = 1 AND json_extract(a.line, \
             '$.offline'))",
    )?;
    let mut names = db.prepare(
        "SELECT a.name FROM absent JOIN asset a ON a.row = absent.row WHERE NOT external ORDER BY \
            a.added LIMIT 10",
    )?;
    let missing_names = names.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let pair = |row: &rusqlite::Row<'_>| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)));
    let changed = "SELECT count(*) FROM asset_file WHERE differs = 1 AND until = ?1";
    let changed = unsigned(db.query_row(changed, [FOREVER], |row| row.get(0))?);
    let present =
        "SELECT count(*), count(nullif(moved, 0)) FROM asset_file WHERE part = 0 AND until = ?1";
    let (present, moved) = db.query_row(present, [FOREVER], pair)?;
    let absent = "SELECT count(nullif(external, 1)), count(nullif(external, 0)) FROM absent";
    let (missing, not_covered) = db.query_row(absent, (), pair)?;
    Ok(AssetFiles { present, moved, missing, missing_names, not_covered, changed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_is_looked_for_beside_its_photo() {
        let places = |path: &str, sidecar: &str, found: &str| -> Vec<String> {
            let (path, sidecar) = (Some(path.as_bytes()), Some(sidecar.as_bytes()));
            let places = beside(
                &NamedFiles { path, sidecar, owner: None, sidecar_elsewhere: false },
                found.as_bytes(),
            );
            places.into_iter().map(|place| String::from_utf8(place).unwrap()).collect()
        };
        let moved = places("upload/a/x.jpg", "upload/a/x.jpg.xmp", "library/ann/2024/IMG_1.jpg");
        assert_eq!(moved[0], "library/ann/2024/IMG_1.jpg.xmp");
        let instead = places("upload/a/x.jpg", "upload/a/x.xmp", "library/ann/IMG_1.jpg");
        assert_eq!(instead[0], "library/ann/IMG_1.xmp");
        let case = places("library/ann/IMG.JPG", "library/ann/IMG.JPG.XMP", "library/ann/img.jpg");
        assert!(case.contains(&"library/ann/img.jpg.xmp".to_owned()), "{case:?}");
        let prefix =
            places("library/ann/2024/a.jpg", "library/ann/2024/meta.xmp", "library/bo/2024/a.jpg");
        assert_eq!(prefix[..2], ["library/bo/2024/meta.xmp", "library/bo/2024/a.jpg.xmp"]);
    }

    #[test]
    fn one_asset_is_never_looked_for_among_all_that_hold() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../schema.sql")).unwrap();
        db.execute_batch("CREATE TEMP TABLE look (id BLOB PRIMARY KEY) WITHOUT ROWID").unwrap();
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {LOOK_AGAIN}")).unwrap();
        let steps: Vec<String> =
            plan.query_map([FOREVER], |row| row.get(3)).unwrap().flatten().collect();
        assert!(steps.iter().any(|step| step.contains("asset_id (id=?)")), "{steps:?}");
    }
}
