//! `users/`: what each folder of a person holds. The rules, as Immich has them:
//!
//! | folder | shows |
//! | --- | --- |
//! | by date | the timeline: not archived, locked, hidden or in the trash; by wall clock where it was taken |
//! | albums | albums that the person owns or is a member of, also empty ones; assets of any owner that are not in the trash, locked or hidden |
//! | favorites, tags, stacks | the person's own, archived ones included |
//! | people | the same, and what a partner shares of it; persons with a name that are not hidden |
//! | archived | archived ones that are not in the trash |
//! | trash | the trash, without locked ones |
//! | locked | locked ones, in the trash or not; only where asked for |
//! | deleted since/SNAPSHOT | what that earlier snapshot had and this one has not at all: neither its id nor, of that owner, its bytes |
//! | changed on disk | of which the server's disk had other bytes than Immich recorded, or no file; only where there is one |
//!
//! An asset shows the bytes that Immich recorded wherever some archive holds them, whatever its
//! file was; `files/` shows that.
//!
//! An asset without bytes in the snapshot is not shown ([`View::without_bytes`] counts them). All
//! other shelves are always there, also when they are empty.

use std::collections::HashMap;

use super::ino::{AssetPart, Ino, NodePlace, SmartFolder, SnapshotNode};
use super::listing::{Listing, folders, units};
use super::name::{NameShape, NameSuffixes, NamedUnit, split};
use super::state::{NamedSnapshot, ViewState};
use super::top::{named, nanoseconds};
use super::{Node, View};
use crate::base::library::User;
use crate::base::{Error, Result};
use crate::catalog::night::{
    DiskFile, FolderRecord, MemberAsset, MemberSource, RecordTable, ShownBytes,
};
use crate::catalog::query::snapshot::SnapshotRow;
use crate::catalog::query::user::user_line;
use crate::catalog::{Catalog, CatalogNight, ImmichId};

/// The months of a year, as the catalog counts them.
const YEAR: i64 = 12;

/// The deepest level of a tag that is shown.
const LEVELS: usize = 63;

/// One snapshot under work.
pub(super) struct SnapshotView<'a> {
    pub view: &'a View,
    pub state: &'a ViewState,
    pub db: &'a Catalog,
    pub night: CatalogNight<'a>,
    pub snapshot: SnapshotRow,
}

impl<'a> SnapshotView<'a> {
    pub fn time(&self) -> i64 {
        self.snapshot.time
    }

    pub fn mtime(&self) -> i64 {
        nanoseconds(self.snapshot.time)
    }

    pub fn ino(&self, spot: SnapshotNode) -> Option<Ino> {
        NodePlace::In(self.snapshot.number, spot).pack()
    }

    fn folder(&self, name: impl Into<String>, spot: SnapshotNode) -> Option<(String, Node)> {
        Some((name.into(), Node::folder(self.ino(spot)?, self.mtime())))
    }

    /// The entries of a folder of `users/`, or of the snapshot's top.
    pub fn list(&self, spot: SnapshotNode) -> Result<Listing> {
        match spot {
            SnapshotNode::Top => self.top(),
            SnapshotNode::Database => Ok(Listing::new(
                self.dump()?.map(|node| ("immich.sql".into(), node)).into_iter().collect(),
            )),
            SnapshotNode::Users => self.users(),
            SnapshotNode::User(user) => self.user(user),
            SnapshotNode::Shelf(shelf, user) => self.shelf(shelf, user, &self.user_id(user)?),
            SnapshotNode::Year(user, year) => self.year(user, year),
            SnapshotNode::Month(user, month) => {
                let source = MemberSource::Month { owner: self.user_id(user)?, month };
                self.assets(source, |row, part| SnapshotNode::Item(SmartFolder::ByDate, row, part))
            }
            SnapshotNode::Album(user) => {
                let album = self.thing(RecordTable::AlbumUser, user)?.0;
                self.assets(MemberSource::Album { album }, |row, part| {
                    SnapshotNode::AlbumItem(user, row, part)
                })
            }
            SnapshotNode::Person(row) => {
                let person = self.thing(RecordTable::Person, row)?.0;
                self.assets(MemberSource::Person { person }, |row, part| {
                    SnapshotNode::Item(SmartFolder::People, row, part)
                })
            }
            SnapshotNode::Stack(row) => {
                let stack = self.thing(RecordTable::Stack, row)?.0;
                self.assets(MemberSource::Stack { stack }, |row, part| {
                    SnapshotNode::Item(SmartFolder::Stacks, row, part)
                })
            }
            SnapshotNode::Tag(row, level) => self.tag(row, level),
            SnapshotNode::Gone(user, earlier) => self.gone(user, earlier),
            _ => Err(Error::invalid("not a folder")),
        }
    }

    fn top(&self) -> Result<Listing> {
        let all = [
            ("files", SnapshotNode::Files, self.shows_files()),
            ("database", SnapshotNode::Database, self.view.user.is_none()),
            ("users", SnapshotNode::Users, true),
        ];
        let shown = all
            .into_iter()
            .filter(|(_, _, is_shown)| *is_shown)
            .map(|(name, spot, _)| (name, spot));
        Ok(Listing::new(shown.filter_map(|(name, spot)| self.folder(name, spot)).collect()))
    }

    fn users(&self) -> Result<Listing> {
        let mut users = self.night.users()?;
        for user in &mut users {
            user.holds &= self.view.user.is_none_or(|only| only == user.id);
        }
        Ok(self.folders(&users, "unnamed", SnapshotNode::User))
    }

    fn folders(
        &self,
        things: &[FolderRecord],
        stand_in: &str,
        spot: impl Fn(u64) -> SnapshotNode,
    ) -> Listing {
        folders(things, stand_in, self.snapshot.number, self.mtime(), |thing| spot(thing.row))
    }

    fn user(&self, user: u64) -> Result<Listing> {
        self.user_id(user)?;
        let is_changed = self.is_changed_on_disk(user)?;
        let shown = |shelf: &SmartFolder| match shelf {
            SmartFolder::Locked => self.view.options.locked,
            SmartFolder::ChangedOnDisk => is_changed,
            _ => true,
        };
        let shelves = SmartFolder::ALL.into_iter().filter(shown);
        let mut all: Vec<_> = shelves
            .filter_map(|shelf| self.folder(shelf.name(), SnapshotNode::Shelf(shelf, user)))
            .collect();
        all.extend(self.picture(user)?.map(|(name, _, node)| (name, node)));
        Ok(Listing::new(all))
    }

    /// True when the shelf of what the disk has not as it was uploaded holds something.
    fn is_changed_on_disk(&self, user: u64) -> Result<bool> {
        if !self.night.may_differ()? {
            return Ok(false);
        }
        let (source, mut is_any) = (MemberSource::Changed { owner: self.user_id(user)? }, false);
        self.night.members(source, self.view.options.locked, |member| {
            is_any |= member.original.is_some()
        })?;
        Ok(is_any)
    }

    /// The profile picture: its name here, its file, its node.
    pub fn picture(&self, user: u64) -> Result<Option<(String, DiskFile, Node)>> {
        let Some(line) = user_line(self.db, user)? else { return Ok(None) };
        let record: User = serde_json::from_str(&line)
            .map_err(|error| Error::damaged("a user of the catalog").caused_by(error))?;
        let Some(file) =
            record.picture.map(|path| self.night.file_at(path.parts())).transpose()?.flatten()
        else {
            return Ok(None);
        };
        let Some(ino) = self.ino(SnapshotNode::Picture(user)).filter(|_| file.content.is_some())
        else {
            return Ok(None);
        };
        let name = String::from_utf8_lossy(&file.name).into_owned();
        let node = Node::file(ino, file.size, file.mtime);
        Ok(Some((format!("profile picture{}", split(&name).1), file, node)))
    }

    /// The id of the user in `row`.
    pub fn user_id(&self, row: u64) -> Result<ImmichId> {
        Ok(self.thing(RecordTable::User, row)?.0)
    }

    /// Id, owner and value of the thing in `row`, if this view shows its owner's tree.
    pub fn thing(&self, table: RecordTable, row: u64) -> Result<(ImmichId, ImmichId, String)> {
        let found = self.night.folder_row(table, row)?;
        let shown = found.filter(|(_, owner, _)| self.view.user.is_none_or(|only| only == *owner));
        shown.ok_or_else(|| Error::not_found("folder"))
    }

    fn shelf(&self, shelf: SmartFolder, user: u64, id: &ImmichId) -> Result<Listing> {
        let (night, owner) = (self.night, *id);
        let items = |source| self.assets(source, |row, part| SnapshotNode::Item(shelf, row, part));
        match shelf {
            SmartFolder::ByDate => self.years(user, id),
            SmartFolder::Albums => {
                Ok(self.folders(&night.albums(id)?, "unnamed album", SnapshotNode::Album))
            }
            SmartFolder::People => {
                Ok(self.folders(&night.people(id)?, "unnamed", SnapshotNode::Person))
            }
            SmartFolder::Stacks => {
                Ok(self.stacks(&mut night.stacks(id, self.view.options.locked)?))
            }
            SmartFolder::Tags => self.tags(id, &[], NameSuffixes::default(), Vec::new()),
            SmartFolder::DeletedSince => self.deleted_since(user, id),
            SmartFolder::Favorites => items(MemberSource::Favorites { owner }),
            SmartFolder::Archived => items(MemberSource::Archived { owner }),
            SmartFolder::Trash => items(MemberSource::Trash { owner }),
            SmartFolder::ChangedOnDisk => items(MemberSource::Changed { owner }),
            SmartFolder::Locked if self.view.options.locked => {
                items(MemberSource::Locked { owner })
            }
            SmartFolder::Locked => Err(Error::not_found("locked")),
        }
    }

    /// A stack's folder is called as the asset that it shows, without its extension, unless that
    /// one is not to be seen.
    fn stacks(&self, stacks: &mut [FolderRecord]) -> Listing {
        for stack in &mut *stacks {
            stack.name.truncate(split(&stack.name).0.len());
        }
        self.folders(stacks, "stack", SnapshotNode::Stack)
    }

    fn years(&self, user: u64, id: &ImmichId) -> Result<Listing> {
        let mut years = Vec::new();
        let mut from = i64::MIN;
        while let Some(month) = self.night.next_month(id, from)? {
            let year = month.div_euclid(YEAR);
            years.extend(self.folder(format!("{year:04}"), SnapshotNode::Year(user, year)));
            from = (year + 1) * YEAR;
        }
        Ok(Listing::new(years))
    }

    fn year(&self, user: u64, year: i64) -> Result<Listing> {
        let id = self.user_id(user)?;
        let end = year.saturating_add(1).saturating_mul(YEAR);
        let mut months = Vec::new();
        let mut from = year.saturating_mul(YEAR);
        while let Some(month) = self.night.next_month(&id, from)?.filter(|month| *month < end) {
            let name = format!("{year:04}-{:02}", month.rem_euclid(YEAR) + 1);
            months.extend(self.folder(name, SnapshotNode::Month(user, month)));
            from = month + 1;
        }
        Ok(Listing::new(months))
    }

    fn assets(
        &self,
        source: MemberSource,
        spot: impl Fn(u64, AssetPart) -> SnapshotNode,
    ) -> Result<Listing> {
        let mut entries = Vec::new();
        self.add_assets(source, self.night, NameSuffixes::default(), &mut entries, spot)?;
        Ok(Listing::new(entries))
    }

    /// Adds what `source` has in `night` to `entries`, under names that `suffixes` has not given
    /// yet.
    fn add_assets(
        &self,
        source: MemberSource,
        night: CatalogNight<'_>,
        mut suffixes: NameSuffixes,
        entries: &mut Vec<(String, Node)>,
        spot: impl Fn(u64, AssetPart) -> SnapshotNode,
    ) -> Result<()> {
        let mut all: HashMap<ImmichId, NamedUnit> = HashMap::new();
        let (mut shown, mut heirs) = (Vec::new(), AssetHeirs::default());
        night.members(source, self.view.options.locked, |member| {
            let new = || NamedUnit { since: member.added, id: member.id, shapes: Vec::new() };
            let unit = all.entry(member.id).or_insert_with(new);
            unit.since = unit.since.min(member.added);
            let shape = NameShape::asset(&member.name, member.video.as_deref());
            if !unit.shapes.contains(&shape) {
                unit.shapes.push(shape.clone());
            }
            heirs.add(&member);
            if member.original.is_some() {
                shown.push((shape, member));
            }
        })?;
        let first = heirs.first_of_each(&mut all);
        suffixes.decide(all.into_values().collect());
        for (shape, member) in shown {
            let id = first.get(&member.id).unwrap_or(&member.id);
            self.add_asset(&shape, &member, suffixes.of(id), entries, &spot);
        }
        Ok(())
    }

    fn add_asset(
        &self,
        shape: &NameShape,
        member: &MemberAsset,
        suffix: &str,
        entries: &mut Vec<(String, Node)>,
        spot: &impl Fn(u64, AssetPart) -> SnapshotNode,
    ) {
        let mut add = |part, name, size, created: i64| {
            let ino = self.ino(spot(member.row, part));
            entries.extend(ino.map(|ino| (name, Node::file(ino, size, milliseconds(created)))));
        };
        let part =
            |part: AssetPart, shown: ShownBytes| part.kept().filter(|_| shown.kept).unwrap_or(part);
        if let Some(shown) = member.original {
            add(part(AssetPart::Original, shown), shape.name(suffix), shown.size, member.created);
        }
        if let Some(size) = member.sidecar {
            add(AssetPart::Sidecar, shape.sidecar(suffix), size, member.created);
        }
        if let Some((created, shown)) = member.moving {
            add(part(AssetPart::Video, shown), shape.video(suffix), shown.size, created);
        }
    }

    /// The folder of the first `level` levels of the tag in `row`: the tags below it, and its own
    /// assets.
    fn tag(&self, row: u64, level: u8) -> Result<Listing> {
        let (_, owner, value) = self.thing(RecordTable::Tag, row)?;
        let path: Vec<&str> = levels(&value).take(usize::from(level)).collect();
        let tags = self.night.tags(&owner)?;
        let own = tags
            .iter()
            .filter(|tag| levels(&tag.name).eq(path.iter().copied()))
            .find(|tag| tag.holds);
        let Some(own) = own else {
            return self.tags(&owner, &path, NameSuffixes::default(), Vec::new());
        };
        let mut suffixes = NameSuffixes::default();
        suffixes.decide(units(&below(&tags, &path), "tag"));
        let mut entries = Vec::new();
        let spot = |row, part| SnapshotNode::Item(SmartFolder::Tags, row, part);
        self.add_assets(
            MemberSource::Tag { tag: own.id },
            self.night,
            suffixes,
            &mut entries,
            spot,
        )?;
        self.tags(&owner, &path, NameSuffixes::default(), entries)
    }

    /// The folders right below `path`, after `entries`.
    fn tags(
        &self,
        owner: &ImmichId,
        path: &[&str],
        mut suffixes: NameSuffixes,
        mut entries: Vec<(String, Node)>,
    ) -> Result<Listing> {
        let tags = self.night.tags(owner)?;
        let below = below(&tags, path);
        suffixes.decide(units(&below, "tag"));
        for tag in below.iter().filter(|tag| tag.holds) {
            let name = NameShape::folder(&tag.name, "tag").name(suffixes.of(&tag.id));
            entries.extend(self.folder(name, SnapshotNode::Tag(tag.row, path.len() as u8 + 1)));
        }
        Ok(Listing::new(entries))
    }

    /// The number of the tag folder of the first `level` levels of `value`.
    pub fn tag_folder(&self, owner: &ImmichId, value: &str, level: usize) -> Result<Option<Ino>> {
        let path: Vec<&str> = levels(value).take(level).collect();
        let (Some(last), true) = (path.last(), path.len() == level) else { return Ok(None) };
        let tags = self.night.tags(owner)?;
        let same =
            below(&tags, &path[..level - 1]).into_iter().find(|tag| tag.holds && tag.name == *last);
        Ok(same.and_then(|tag| self.ino(SnapshotNode::Tag(tag.row, level as u8))))
    }

    fn deleted_since(&self, user: u64, id: &ImmichId) -> Result<Listing> {
        if !self.snapshot.good {
            return Ok(Listing::default());
        }
        let ranges = self.night.gone_ranges(id, self.view.options.locked)?;
        let all = named(self.state, self.db, &self.view.options.time_zone)?;
        let mut had = vec![false; all.len()];
        for (from, to) in ranges {
            let at = |time: i64| all.partition_point(|named| named.snapshot.time < time);
            had[at(from)..at(to).max(at(from))].fill(true);
        }
        let folder = |named: &NamedSnapshot| {
            self.folder(named.name.clone(), SnapshotNode::Gone(user, named.snapshot.number))
        };
        let shown = all.iter().zip(had).filter(|(named, had)| *had && named.snapshot.good);
        Ok(Listing::new(shown.filter_map(|(named, _)| folder(named)).collect()))
    }

    fn gone(&self, user: u64, earlier: u16) -> Result<Listing> {
        let owner = self.user_id(user)?;
        let then = self.earlier(earlier)?;
        let source = MemberSource::Gone { owner, now: self.time() };
        let mut entries = Vec::new();
        let spot = |row, part| SnapshotNode::GoneItem(earlier, row, part);
        self.add_assets(source, then, NameSuffixes::default(), &mut entries, spot)?;
        Ok(Listing::new(entries))
    }

    /// The earlier snapshot `number`.
    pub fn earlier(&self, number: u16) -> Result<CatalogNight<'a>> {
        let earlier = self.state.snapshot(self.db, number)?.time;
        let earlier = (earlier < self.time()).then_some(self.db.night(earlier));
        earlier.ok_or_else(|| Error::not_found("snapshot"))
    }
}

/// Assets that may be one photo, which was erased and given back under a new id: of one owner, with
/// the same bytes.
#[derive(Default)]
struct AssetHeirs(HashMap<(ImmichId, [u8; 20]), Vec<AssetVersion>>);

/// An asset, and from when until when it was there.
type AssetVersion = (ImmichId, (i64, i64));

impl AssetHeirs {
    fn add(&mut self, member: &MemberAsset) {
        if let Some(sha1) = member.sha1 {
            self.0.entry((member.owner, sha1)).or_default().push((member.id, member.range));
        }
    }

    /// Makes one unit of `all` of those that are never there at the same time: they share a name.
    /// Which unit each is in.
    fn first_of_each(self, all: &mut HashMap<ImmichId, NamedUnit>) -> HashMap<ImmichId, ImmichId> {
        let mut first = HashMap::new();
        for mut versions in self.0.into_values() {
            versions.sort_unstable_by_key(|(id, range)| (*range, *id));
            let id = versions[0].0;
            let overlap =
                versions.windows(2).any(|pair| pair[0].0 != pair[1].0 && pair[0].1.1 > pair[1].1.0);
            if overlap {
                continue;
            }
            for (heir, _) in versions.into_iter().filter(|(heir, _)| *heir != id) {
                let Some(unit) = all.remove(&heir) else { continue };
                first.insert(heir, id);
                if let Some(own) = all.get_mut(&id) {
                    own.shapes.extend(unit.shapes);
                }
            }
        }
        first
    }
}

/// The levels of a tag's value.
fn levels(value: &str) -> impl Iterator<Item = &str> {
    value.split('/').filter(|level| !level.is_empty()).take(LEVELS)
}

/// What lies right below `path`: one thing a level and version, called as the level. It is the tag
/// itself where there is one, else the first of the tags further down.
fn below(tags: &[FolderRecord], path: &[&str]) -> Vec<FolderRecord> {
    let mut found: HashMap<String, Vec<&FolderRecord>> = HashMap::new();
    for tag in tags {
        let mut rest = levels(&tag.name);
        if path.iter().all(|level| rest.next() == Some(level))
            && let Some(level) = rest.next()
        {
            found.entry(level.to_owned()).or_default().push(tag);
        }
    }
    found.into_iter().map(|(level, tags)| folder_of(level, tags, path.len() + 1)).collect()
}

fn folder_of(level: String, tags: Vec<&FolderRecord>, depth: usize) -> FolderRecord {
    let own = |tag: &&&FolderRecord| levels(&tag.name).count() == depth;
    let least = |holds: bool| {
        let all = || tags.iter().filter(move |tag| tag.holds || !holds);
        all().find(own).or_else(|| all().min_by_key(|tag| tag.row))
    };
    let since = tags.iter().map(|tag| tag.since).min().unwrap_or_default();
    let id = tags
        .iter()
        .find(own)
        .or_else(|| tags.iter().min_by_key(|tag| (tag.since, tag.id)))
        .map_or([0; 16], |tag| tag.id);
    let row = least(true).or_else(|| least(false)).map_or(0, |tag| tag.row);
    FolderRecord { row, id, name: level, since, holds: tags.iter().any(|tag| tag.holds) }
}

pub(super) fn milliseconds(milliseconds: i64) -> i64 {
    milliseconds.saturating_mul(1_000_000)
}
