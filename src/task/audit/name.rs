//! Whose each thing is, what it is called, and where what is missing can be had.

use std::collections::HashMap;

use uuid::Uuid;

use super::finding::{AuditClass, AuditFinding};
use super::survey::{AuditSurvey, UnnamedFinding, asset, right_version};
use crate::base::library::{Asset, User, Visibility};
use crate::base::{Result, SnapshotId};
use crate::catalog::FilePart;
use crate::catalog::night::{DiskFile, SuspectAsset};
use crate::catalog::query::audit as ask;
use crate::catalog::{Catalog, ImmichId};

/// Everything that `survey` found, of `user` alone if given.
pub(super) fn name(
    survey: &mut AuditSurvey<'_>,
    user: Option<ImmichId>,
    locked: bool,
) -> Result<Vec<AuditFinding>> {
    let mut findings = Vec::new();
    let owners = AccountNames::new(&survey.users);
    for raw in std::mem::take(&mut survey.found) {
        let mut finding = match raw {
            UnnamedFinding::Asset(class, suspect) => of_asset(survey, &owners, class, &suspect)?,
            UnnamedFinding::Row(class, row) => of_row(survey, &owners, class, row)?,
            UnnamedFinding::File(file, path) => of_file(survey, &owners, &file, &path)?,
            UnnamedFinding::Library(library, count) => AuditFinding {
                name: Some(library.name).filter(|name| !name.is_empty()),
                path: Some(library.roots.join(", ")).filter(|path| !path.is_empty()),
                count,
                ..blank(AuditClass::NotCovered, &owners, Some(library.owner))
            },
        };
        if user.is_some_and(|user| finding.owner != Some(Uuid::from_bytes(user))) {
            continue;
        }
        if finding.locked && !locked {
            finding = hidden(finding);
        }
        findings.push(finding);
    }
    findings.sort_by_cached_key(order);
    Ok(findings)
}

fn order(
    finding: &AuditFinding,
) -> (bool, String, Option<Uuid>, AuditClass, Option<String>, Option<String>) {
    let (name, path) = (finding.name.clone(), finding.path.clone());
    (finding.owner.is_none(), finding.owner_name.clone(), finding.owner, finding.class, name, path)
}

/// What may be told of a locked photo to who did not ask for them.
fn hidden(finding: AuditFinding) -> AuditFinding {
    AuditFinding {
        asset: None,
        name: None,
        taken: None,
        path: None,
        found: None,
        of: None,
        ..finding
    }
}

fn blank(class: AuditClass, owners: &AccountNames, owner: Option<Uuid>) -> AuditFinding {
    AuditFinding {
        class,
        owner,
        owner_name: owner.map(|owner| owners.name(owner)).unwrap_or_default(),
        asset: None,
        name: None,
        taken: None,
        path: None,
        found: None,
        of: None,
        snapshot: None,
        kept: false,
        count: 1,
        size: None,
        trashed: false,
        locked: false,
    }
}

fn of_record(
    class: AuditClass,
    owners: &AccountNames,
    asset: &Asset,
    is_locked: bool,
) -> AuditFinding {
    AuditFinding {
        asset: Some(asset.id),
        name: Some(asset.name.clone()),
        taken: Some(asset.taken),
        path: Some(asset.file.as_ref().map_or_else(|| asset.path.clone(), ToString::to_string)),
        size: asset.size,
        trashed: asset.trashed.is_some(),
        locked: is_locked || asset.visibility == Visibility::Locked,
        ..blank(class, owners, Some(asset.owner))
    }
}

fn of_asset(
    survey: &mut AuditSurvey<'_>,
    owners: &AccountNames,
    class: AuditClass,
    suspect: &SuspectAsset,
) -> Result<AuditFinding> {
    let (db, at) = (survey.db, survey.at);
    let record = asset(db, suspect.row)?;
    let still = db.night(at).still_of(&suspect.id)?;
    let mut finding = of_record(class, owners, &record, still.is_some_and(|(_, locked)| locked));
    finding.of = still.map(|(row, _)| asset(db, row)).transpose()?.map(|still| still.name);
    match (class, suspect.file) {
        (AuditClass::Elsewhere, Some((file, _))) => {
            finding.found = Some(text(&survey.path_of(file)?));
            finding.of = home_of(db, file, at)?.or(finding.of);
        }
        (_, Some((file, _))) => {
            finding.size = ask::size_and_time(db, file)?.map(|(size, ..)| size);
            finding.snapshot = right_snapshot(db, suspect, at)?;
        }
        (_, None) => finding.snapshot = earlier_snapshot(db, suspect)?,
    }
    // What no snapshot has on its disk any more, this one restores as it was uploaded.
    finding.kept = db.night(at).kept_bytes(&suspect.id)?.is_some();
    if finding.kept && finding.snapshot.is_none() {
        finding.snapshot = Some(SnapshotId::from_seconds(at)?);
    }
    Ok(finding)
}

/// The photo whose own file this is: another one has the same bytes.
fn home_of(db: &Catalog, file: u64, at: i64) -> Result<Option<String>> {
    let Some(content) = db.night(at).file(file)?.and_then(|file| file.content) else {
        return Ok(None);
    };
    if !db.night(at).is_at_home(content, file)? {
        return Ok(None);
    }
    let shown = db.night(at).asset_showing(content)?.filter(|(_, locked)| !locked);
    Ok(shown.map(|(row, _)| asset(db, row)).transpose()?.map(|asset| asset.name))
}

/// The newest snapshot with the bytes that Immich recorded: at this path, else anywhere.
fn right_snapshot(db: &Catalog, suspect: &SuspectAsset, at: i64) -> Result<Option<SnapshotId>> {
    let Some(sha1) = suspect.sha1 else { return Ok(None) };
    let right = right_version(db, &suspect.id, at, &sha1)?.map(|right| (right.since, right.until));
    newest(db, right.into_iter().chain(ask::ranges_of(db, &sha1)?))
}

fn earlier_snapshot(db: &Catalog, suspect: &SuspectAsset) -> Result<Option<SnapshotId>> {
    let by_bytes =
        suspect.sha1.map(|sha1| ask::ranges_of(db, &sha1)).transpose()?.unwrap_or_default();
    newest(
        db,
        ask::ranges_of_part(db, &suspect.id, FilePart::Original)?.into_iter().chain(by_bytes),
    )
}

/// The newest snapshot in the first range that has one.
fn newest(
    db: &Catalog,
    ranges: impl IntoIterator<Item = (i64, i64)>,
) -> Result<Option<SnapshotId>> {
    for (since, until) in ranges {
        if let Some(time) = ask::newest_in(db, since, until)? {
            return SnapshotId::from_seconds(time).map(Some);
        }
    }
    Ok(None)
}

fn of_row(
    survey: &AuditSurvey<'_>,
    owners: &AccountNames,
    class: AuditClass,
    row: u64,
) -> Result<AuditFinding> {
    let record = asset(survey.db, row)?;
    let mut finding = of_record(class, owners, &record, false);
    finding.size = None;
    match class {
        AuditClass::NoSidecar => {
            finding.path = record.sidecar.as_ref().map(ToString::to_string);
            finding.snapshot = newest(
                survey.db,
                ask::ranges_of_part(survey.db, record.id.as_bytes(), FilePart::Sidecar)?,
            )?;
        }
        _ => {
            finding.path = None;
            finding.of = Some(record.name);
            if let Some(video) = record.live_video {
                finding.snapshot = newest(
                    survey.db,
                    ask::ranges_of_part(survey.db, video.as_bytes(), FilePart::Original)?,
                )?;
            }
        }
    }
    Ok(finding)
}

fn of_file(
    survey: &AuditSurvey<'_>,
    owners: &AccountNames,
    file: &DiskFile,
    path: &[u8],
) -> Result<AuditFinding> {
    // Sidecars are often alike: another photo's is no reason to do without this one.
    let content = file.content.filter(|_| !file.name.to_ascii_lowercase().ends_with(b".xmp"));
    let same = content
        .map(|content| survey.db.night(survey.at).asset_showing(content))
        .transpose()?
        .flatten();
    let (owner, folder) = owners.of_path(path);
    let mut finding = blank(AuditClass::NoRow, owners, owner);
    if owner.is_none() {
        finding.owner_name = folder;
    }
    finding.name = Some(text(&file.name));
    finding.path = Some(text(path));
    finding.size = Some(file.size);
    finding.of = same.map(|(row, _)| asset(survey.db, row)).transpose()?.map(|asset| asset.name);
    finding.locked = same.is_some_and(|(_, locked)| locked);
    Ok(finding)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The accounts, by id and by the names of their folders.
struct AccountNames {
    names: HashMap<Uuid, String>,
    folders: HashMap<String, Uuid>,
}

impl AccountNames {
    fn new(users: &[User]) -> AccountNames {
        let ids = users.iter().map(|user| (user.id.to_string(), user.id));
        let labels = users.iter().filter_map(|user| Some((user.label.clone()?, user.id)));
        AccountNames {
            names: users.iter().map(|user| (user.id, user.shown_name().to_owned())).collect(),
            folders: labels.chain(ids).collect(),
        }
    }

    fn name(&self, id: Uuid) -> String {
        self.names.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// Whose folder the path lies in, and what it is called.
    fn of_path(&self, path: &[u8]) -> (Option<Uuid>, String) {
        let folder = path.split(|&byte| byte == b'/').nth(1).map(text).unwrap_or_default();
        (self.folders.get(&folder).copied(), folder)
    }
}
