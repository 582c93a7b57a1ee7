//! What must not be seen because it is locked.

use super::CatalogNight;
use crate::base::Result;
use crate::catalog::ImmichId;
use crate::catalog::sql::{each, many};

/// What must not be seen of the locked assets of a snapshot.
#[derive(Debug, Default)]
pub struct HiddenPaths {
    /// Ids of the assets, of their moving halves, and of the persons that they show: a person's
    /// thumbnail is cut out of a photo, and the catalog does not know of which.
    pub ids: Vec<ImmichId>,
    /// Where the database says their files are.
    pub paths: Vec<Vec<u8>>,
    /// The last components of `paths`: what can be asked without knowing a file's whole path.
    pub names: Vec<Vec<u8>>,
    /// What is in them.
    pub contents: Vec<i64>,
}

/// The locked assets `a` of all users `u`.
const LOCKED: &str = "FROM user u CROSS JOIN asset a ON a.owner = u.id";
const IS_LOCKED: &str = "u.row IN (SELECT min(row) FROM user GROUP BY id)
    AND a.visibility = 3 AND a.visibility <> 0 AND holds(a)";

impl CatalogNight<'_> {
    /// Everything about locked assets, each list sorted.
    pub fn hidden(self) -> Result<HiddenPaths> {
        let part = |part: u8| {
            format!(
                "(SELECT content FROM asset_file f WHERE f.asset = b.id AND f.part = {part} \
                 AND holds(f))"
            )
        };
        let sql = format!(
            "WITH own AS (SELECT a.id, a.live {LOCKED} WHERE {IS_LOCKED}),
             both AS (SELECT id FROM own UNION SELECT live FROM own WHERE live IS NOT NULL)
             SELECT b.id, v.path, v.sidecar, {}, {},
             (SELECT k.id FROM content k WHERE k.sha1 = v.sha1 ORDER BY k.hash LIMIT 1)
             FROM both b CROSS JOIN asset v ON v.id = b.id AND holds(v)",
            part(0),
            part(1)
        );
        let mut hidden = HiddenPaths::default();
        each(self.db, &sql, [self.at], |row| {
            hidden.ids.push(row.get(0)?);
            for column in [1, 2] {
                let path = row.get::<_, Option<Vec<u8>>>(column)?;
                hidden.paths.extend(path.iter().flat_map(|path| sidecars(path)));
                hidden.paths.extend(path);
                hidden.contents.extend(row.get::<_, Option<i64>>(column + 2)?);
            }
            // What Immich recorded of it may lie elsewhere, where its own file was changed or is
            // gone.
            hidden.contents.extend(row.get::<_, Option<i64>>(5)?);
            Ok(())
        })?;
        hidden.ids.extend(self.people_on_locked()?);
        Ok(hidden.sorted())
    }

    /// Immich's ids of the persons that a locked photo shows, be it the photo of another owner who
    /// knows them too.
    fn people_on_locked(self) -> Result<Vec<ImmichId>> {
        let sql = format!(
            "SELECT p.grp {LOCKED} CROSS JOIN person_asset m ON m.asset = a.id
             CROSS JOIN person p ON p.id = m.person WHERE {IS_LOCKED} AND holds(m)
             UNION SELECT grp FROM person WHERE locked = 1 AND holds(person)"
        );
        many(self.db, &sql, [self.at], |row| row.get(0))
    }
}

impl HiddenPaths {
    fn sorted(mut self) -> HiddenPaths {
        let name =
            |path: &Vec<u8>| path.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
        self.names = self.paths.iter().map(name).collect();
        self.names.sort_unstable();
        self.ids.sort_unstable();
        self.paths.sort_unstable();
        self.contents.sort_unstable();
        self
    }
}

/// Where a sidecar of the file at `path` lies, also one that Immich has not found yet: `a.jpg.xmp`
/// and `a.xmp`.
fn sidecars(path: &[u8]) -> Vec<Vec<u8>> {
    let name = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let stem =
        path.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > name).unwrap_or(path.len());
    let with = |path: &[u8], end: &[u8]| [path, end].concat();
    [&path[..stem], path]
        .into_iter()
        .flat_map(|path| [with(path, b".xmp"), with(path, b".XMP")])
        .collect()
}
