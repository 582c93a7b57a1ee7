//! Places: where a folder, or a file in it, lies below the top.

use rusqlite::Connection;

use crate::base::{Error, Result};
use crate::catalog::sql::one;

/// The place above `upload/` and `library/`.
pub const TOP: i64 = 0;

/// More folders than lie above any file: a crafted catalog may make a ring of them.
const DEEPEST: usize = 4096;

/// The path of the place `folder`, empty for the top; `above` knows the parent and the name of one.
pub fn path_by<N: AsRef<[u8]>>(
    folder: i64,
    mut above: impl FnMut(i64) -> Result<Option<(i64, N)>>,
) -> Result<Vec<u8>> {
    let (mut parts, mut place) = (Vec::new(), folder);
    while place != TOP {
        let (parent, name) =
            above(place)?.ok_or_else(|| Error::damaged("a folder of the catalog"))?;
        parts.push(name);
        place = parent;
        if parts.len() > DEEPEST {
            return Err(Error::damaged("a folder of the catalog contains itself"));
        }
    }
    let parts: Vec<&[u8]> = parts.iter().rev().map(AsRef::as_ref).collect();
    Ok(parts.join(&b'/'))
}

/// The path of the place `folder`, empty for the top.
pub fn path_of(db: &Connection, folder: i64) -> Result<Vec<u8>> {
    path_by(folder, |place| {
        one(db, "SELECT parent, name FROM folder WHERE id = ?1", [place], |row| {
            Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?))
        })
    })
}

/// The path of what is called `name` in the place `folder`.
pub fn path_in(db: &Connection, folder: i64, name: &[u8]) -> Result<Vec<u8>> {
    Ok(join(path_of(db, folder)?, name))
}

/// The path of the file in `row`.
pub fn path_of_file(db: &Connection, row: u64) -> Result<Option<Vec<u8>>> {
    place_of_file(db, row)?.map(|(folder, name)| path_in(db, folder, &name)).transpose()
}

/// Folder and name of the file in `row`.
pub fn place_of_file(db: &Connection, row: u64) -> Result<Option<(i64, Vec<u8>)>> {
    one(db, "SELECT folder, name FROM file WHERE row = ?1", [row], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// The place where `parts` lead, in whatever snapshot.
pub fn place_at<'p>(
    db: &Connection,
    parts: impl IntoIterator<Item = &'p [u8]>,
) -> Result<Option<i64>> {
    let mut place = Some(TOP);
    let sql = "SELECT id FROM folder WHERE parent = ?1 AND name = ?2";
    for part in parts {
        let Some(parent) = place else { break };
        place = one(db, sql, (parent, part), |row| row.get(0))?;
    }
    Ok(place)
}

/// What is called `name` in the folder at `path`, which is empty at the top.
pub fn join(mut path: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_names_from_the_top_down() {
        let above = |place| {
            Ok([(2, (1, "2022")), (1, (TOP, "library"))]
                .into_iter()
                .find_map(|(id, found)| (id == place).then_some(found)))
        };
        assert_eq!(path_by(2, above).unwrap(), b"library/2022");
        assert_eq!(path_by(TOP, above).unwrap(), b"");
        assert!(path_by(3, above).unwrap_err().to_string().contains("a folder of the catalog"));
        assert_eq!(join(path_by(TOP, above).unwrap(), b"a.jpg"), b"a.jpg");
        assert_eq!(join(path_by(1, above).unwrap(), b"a.jpg"), b"library/a.jpg");
    }

    #[test]
    fn folders_that_lie_in_each_other_are_an_error() {
        let error = path_by(1, |place| Ok(Some((3 - place, "ring")))).unwrap_err();
        assert!(error.to_string().contains("contains itself"), "{error}");
    }
}
