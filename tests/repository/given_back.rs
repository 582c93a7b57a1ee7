//! A photo that was erased for good and uploaded again: the same owner, the same bytes, a new id.

use crate::crafted::Crafted;
use shoebox::base::monitor::SilentMonitor;
use shoebox::repo::{Repository, WriteSession};
use shoebox::task::diff::{self, FieldChange, diff};
use shoebox::task::find::{AssetFinder, FindQuery, FindSpan};

const OLD: &str = "00000001-1111-4111-8111-111111111111";
const NEW: &str = "00000002-1111-4111-8111-111111111111";
const NIGHTS: [&str; 3] = ["2026-11-22T030005Z", "2026-11-23T030005Z", "2026-11-24T030005Z"];

/// Three nights: the photo, nothing, the photo with another id.
fn nights() -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let with = |change: &dyn Fn(&str) -> String| {
        let sound = Crafted::sound();
        Crafted {
            library: change(std::str::from_utf8(&sound.library).unwrap()).into_bytes(),
            ..sound
        }
    };
    let repository = Crafted::sound().write(&dir.path().join("repository"));
    let without = |text: &str| {
        text.lines().filter(|line| !line.contains(OLD)).map(|line| format!("{line}\n")).collect()
    };
    with(&without).add(&repository, NIGHTS[1], 2);
    with(&|text| text.replace(OLD, NEW)).add(&repository, NIGHTS[2], 3);
    drop(WriteSession::rebuild(&repository, &SilentMonitor).unwrap());
    (dir, repository)
}

#[test]
fn diff_tells_it_as_one_change() {
    let (_dir, repository) = nights();
    let between = |old: usize, new: usize| {
        let options = diff::Options {
            old: NIGHTS[old].into(),
            new: NIGHTS[new].into(),
            ..diff::Options::default()
        };
        diff(&repository, &options).unwrap()
    };
    let whole = between(0, 2);
    let [asset] = &whole.assets[..] else { panic!("{:?}", whole.assets) };
    assert_eq!(
        (asset.id.to_string().as_str(), &asset.changes[..]),
        (NEW, &[FieldChange::GivenBack { was: OLD.parse().unwrap() }][..])
    );
    assert_eq!((whole.summary.given_back, whole.summary.added, whole.summary.deleted), (1, 0, 0));
    // Night by night it was deleted, and then it was new.
    assert_eq!((between(0, 1).summary.deleted, between(1, 2).summary.added), (1, 1));
}

#[test]
fn find_over_all_snapshots_shows_it_once_and_not_as_deleted() {
    let (_dir, repository) = nights();
    let finder = AssetFinder::open(&repository, false).unwrap();
    let hits = finder.find(&FindQuery::default(), &FindSpan::All).unwrap();
    let [hit] = &hits[..] else { panic!("{} hits", hits.len()) };
    let range = hit.range.unwrap();
    assert_eq!(
        (hit.id().to_string().as_str(), range.first.to_string().as_str(), range.deleted),
        (NEW, NIGHTS[0], false)
    );
}
