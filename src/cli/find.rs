//! `shoebox find`

use clap::ArgAction;
use uuid::Uuid;

use super::output::{Output, plural, printable, size};
use super::{CommandOutcome, GlobalArgs};
use crate::base::{Error, ErrorKind, Result};
use crate::task::find::{
    AssetFinder, DayRange, FindHit, FindQuery, FindSpan, FoundAsset, PlaceFinder,
};
use crate::view::OnDisk;

/// Find photos and videos by name, person, album, tag or time
///
/// A PATTERN with *, ?, [...] or {a,b} matches the whole file name (as it was uploaded); a word
/// without these matches anywhere in it. Case does not matter. Several patterns: any of them;
/// several kinds of flags: all of them. Includes archived and trashed photos, and both halves of a
/// live photo.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// File names
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    #[command(flatten)]
    filters: FindFilters,
    /// The snapshot: an id, a name in the mount, or `latest`
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Search all snapshots, including what was deleted since: each photo once, with the first and
    /// the last snapshot that have it
    #[arg(long, conflicts_with = "snapshot")]
    all_snapshots: bool,
    /// Show sizes, ids and marks
    #[arg(short, long)]
    long: bool,
}

/// Which assets are wanted.
#[derive(Debug, clap::Args)]
pub(super) struct FindFilters {
    /// This person's photos: name, address or id (repeatable, like all of these)
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,
    /// In this album: name (all albums of that name) or id
    #[arg(long, value_name = "NAME")]
    album: Vec<String>,
    /// Taken then, local time of the photo: 2024, 2024-05, 2024-05-01, 2024-05..2024-06
    /// (inclusive), ..2020
    #[arg(long, value_name = "RANGE")]
    taken: Option<DayRange>,
    /// With this person in it: their name in Immich
    #[arg(long, value_name = "NAME")]
    person: Vec<String>,
    /// With this tag (its whole path, such as Trips/Rome) or one below it
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// The asset with this id, as in Immich's address bar
    #[arg(long, value_name = "ID")]
    asset: Vec<Uuid>,
    /// Favorites only
    #[arg(long, action = ArgAction::SetTrue)]
    favorite: bool,
    /// Include locked photos
    #[arg(long)]
    pub(super) locked: bool,
}

const EXAMPLES: &str = "\
Examples:
  shoebox find IMG_1234
  shoebox find 'IMG_12*.HEIC' --user 'Ann Lee' --taken 2024-05..2024-06
  shoebox find --album Rome --json | jq -r .path
  shoebox find beach --all-snapshots      which snapshots have it, deleted or not

Text: time of taking, owner, path in the tree (`shoebox ls latest PATH`, `shoebox restore --to DIR \
PATH`).
JSON: one object an asset: {\"id\", \"owner\": {\"id\", \"name\"}, \"name\", \"snapshot\", \
\"path\": in the tree, \"file\": as it lay on disk, below
the snapshot, \"present\": its bytes are there, \"disk\": same|changed|missing (else than same: \
the bytes are those that Immich
recorded, where there are any), \"size\", \"sha1\", \"blake3\", \"taken\": wall clock, \
\"created\", \"added\", \"type\", \"favorite\",
\"visibility\", \"trashed\", \"live_video\", \"stack\", \"albums\": [{\"id\", \"name\"}], \
\"tags\": [], \"people\": [], \"sidecar\", \"description\", \"rating\",
\"latitude\", \"longitude\", \"city\", \"country\"}; with --all-snapshots also \"snapshots\": \
{\"first\", \"last\", \"deleted\"}; what is
not known is null";

impl FindFilters {
    pub fn query(&self, names: Vec<String>) -> FindQuery {
        FindQuery {
            names,
            users: self.user.clone(),
            albums: self.album.clone(),
            people: self.person.clone(),
            tags: self.tag.clone(),
            assets: self.asset.clone(),
            taken: self.taken,
            favorite: self.favorite,
            locked: self.locked,
        }
    }
}

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let query = self.filters.query(self.patterns.clone());
        if query.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "no name or flag given")
                .hint("shoebox find IMG_1234, or '*' for everything"));
        }
        let finder = AssetFinder::open(&global.open()?, self.filters.locked)?;
        let span = if self.all_snapshots {
            FindSpan::All
        } else {
            FindSpan::Snapshot(self.snapshot.clone())
        };
        let hits = finder.find(&query, &span)?;
        let mut places = finder.places();
        if output.is_json() {
            hits.iter().try_for_each(|hit| output.answer(&finder.record(hit, &mut places)?, ""))?
        } else {
            self.text(&finder, &hits, &mut places, output)?
        }
        Ok(CommandOutcome::Whole)
    }

    fn text(
        &self,
        finder: &AssetFinder,
        hits: &[FindHit],
        places: &mut PlaceFinder<'_>,
        output: &Output,
    ) -> Result<()> {
        let rows = hits
            .iter()
            .map(|hit| FoundRow::new(finder, hit, places, self.long))
            .collect::<Result<Vec<_>>>()?;
        let width = rows.iter().map(|row| row.user.chars().count()).max().unwrap_or(0);
        rows.iter().try_for_each(|row| output.bytes(row.line(width).as_bytes()))?;
        let deleted =
            hits.iter().filter(|hit| hit.range.is_some_and(|range| range.deleted)).count() as u64;
        let also = if deleted > 0 {
            format!(", {} of them deleted since", super::output::count(deleted))
        } else {
            String::new()
        };
        output.note(format_args!("{}{also}", plural(hits.len() as u64, "asset", "assets")));
        Ok(())
    }
}

/// One line of the answer.
struct FoundRow {
    taken: String,
    user: String,
    path: String,
    range: String,
    long: String,
    mark: &'static str,
}

impl FoundRow {
    fn new(
        finder: &AssetFinder,
        hit: &FindHit,
        places: &mut PlaceFinder<'_>,
        long: bool,
    ) -> Result<FoundRow> {
        let path = places.shown(hit)?.map(|shown| shown.path);
        let range = hit.range.map(|range| {
            let deleted = if range.deleted { "  deleted since" } else { "" };
            format!("  {}..{}{deleted}", range.first, range.last)
        });
        Ok(FoundRow {
            taken: hit.taken().strftime("%Y-%m-%d %H:%M:%S").to_string(),
            user: printable(&finder.owner(hit)?),
            path: path.map_or_else(
                || format!("{} (not in the tree: no file)", printable(hit.name())),
                |path| printable(&path),
            ),
            range: range.unwrap_or_default(),
            long: if long { details(&finder.record(hit, places)?) } else { String::new() },
            mark: mark(finder.on_disk(hit)?),
        })
    }

    fn line(&self, width: usize) -> String {
        let FoundRow { taken, user, path, range, long, mark } = self;
        format!("{taken}  {user:width$}{long}{range}  {path}{mark}\n")
    }
}

/// What is said of a photo that the server's disk has not as it was uploaded.
pub(super) fn mark(disk: OnDisk) -> &'static str {
    match disk {
        OnDisk::Same => "",
        OnDisk::Changed => "  [changed on the disk]",
        OnDisk::Missing => "  [not on the disk]",
    }
}

fn details(found: &FoundAsset) -> String {
    let marks = [
        (found.favorite, "favorite"),
        (found.live_video.is_some(), "live"),
        (found.sidecar.is_some(), "sidecar"),
    ];
    let marks: Vec<&str> = marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect();
    let size = found.size.map(size).unwrap_or_default();
    format!("  {size:>10}  {}  {:8}", found.id, marks.join(","))
}
