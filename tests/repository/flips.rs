//! What becomes of a catalog that decays: whatever bit or page of it is another, no reader is
//! handed a wrong byte or a wrong name, a check says so, and the next writer rebuilds it.
//!
//! A usual run takes a sample; `SHOEBOX_CASES=2000` tries so many, `SHOEBOX_SEED=2` others.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use shoebox::base::Result;
use shoebox::base::monitor::SilentMonitor;
use shoebox::repo::{Repository, WriteSession};
use shoebox::task::check::{CheckExtent, CheckFinding, check};
use shoebox::view::{self, Ino, Node, NodeKind, ROOT, View};

use crate::backup_library::noise;
use crate::two_nights::nights;

/// Bytes of a page.
const PAGE: usize = 4096;

/// What a reader sees: each path, what it is, and what is in it. A folder that could not be listed
/// and a file that could not be read are in neither.
#[derive(Default, PartialEq)]
struct Seen {
    nodes: BTreeMap<String, Node>,
    files: BTreeMap<String, blake3::Hash>,
    folders: BTreeMap<String, usize>,
    failures: usize,
}

fn open(repository: &Repository) -> Result<View> {
    let options = view::Options { locked: true, user: None, time_zone: jiff::tz::TimeZone::UTC };
    View::open(&repository.catalog_path(), Arc::new(repository.contents()), options)
}

impl Seen {
    fn of(view: &View) -> Seen {
        let mut seen = Seen::default();
        seen.folder(view, ROOT, "");
        seen
    }

    fn folder(&mut self, view: &View, folder: Ino, at: &str) {
        let mut entries = Vec::new();
        let listed = view.children(folder, 0, &mut |entry| {
            entries.push((format!("{at}/{}", entry.name.escape_ascii()), entry.node));
            ControlFlow::Continue(())
        });
        if listed.is_ok() {
            self.folders.insert(at.to_owned(), entries.len());
        } else {
            self.failures += 1;
        }
        for (path, node) in entries {
            match node.kind {
                NodeKind::Folder => self.folder(view, node.ino, &path),
                NodeKind::File => self.file(view, node, &path),
                NodeKind::Symlink => self.symlink(view, node, &path),
            }
            self.nodes.insert(path, node);
        }
    }

    fn file(&mut self, view: &View, node: Node, path: &str) {
        match view.read(node.ino, 0, node.size as usize + 1, blake3::hash) {
            Ok(hash) => drop(self.files.insert(path.to_owned(), hash)),
            Err(_) => self.failures += 1,
        }
    }

    fn symlink(&mut self, view: &View, node: Node, path: &str) {
        match view.target(node.ino) {
            Ok(target) => drop(self.files.insert(path.to_owned(), blake3::hash(&target))),
            Err(_) => self.failures += 1,
        }
    }

    /// What is wrong in it, where `truth` is right: a name that is not there, another node, other
    /// bytes, a folder that says it is all and is not.
    fn lies(&self, truth: &Seen) -> Vec<String> {
        let nodes = self.nodes.iter().filter(|(path, node)| truth.nodes.get(*path) != Some(node));
        let files = self.files.iter().filter(|(path, hash)| truth.files.get(*path) != Some(hash));
        let folders =
            self.folders.iter().filter(|(path, count)| truth.folders.get(*path) != Some(count));
        let name = |path: &String, what: &str| format!("{path}: {what}");
        (nodes.map(|(path, _)| name(path, "name or attributes")))
            .chain(files.map(|(path, _)| name(path, "bytes")))
            .chain(folders.map(|(path, _)| name(path, "listing")))
            .collect()
    }
}

/// A repository with two nights of the sample library, and its catalog's bytes.
fn home() -> (tempfile::TempDir, Repository, Vec<u8>) {
    let (dir, root): (tempfile::TempDir, PathBuf) = nights().copy();
    let repository = Repository::open(&root).unwrap();
    let catalog = fs::read(repository.catalog_path()).unwrap();
    (dir, repository, catalog)
}

/// Another file each time: a generation is never written into.
fn put(repository: &Repository, catalog: &[u8]) {
    let fresh = repository.root().join("tmp/fresh");
    fs::write(&fresh, catalog).unwrap();
    // The top of the tree shows when it was published.
    fs::File::options()
        .write(true)
        .open(&fresh)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    fs::rename(&fresh, repository.catalog_path()).unwrap();
}

/// How case `number` of `seed` harms a catalog: one bit; or a page of noise, of zeros, or another
/// page's bytes.
fn harmed(right: &[u8], seed: u64, number: u64) -> (String, Vec<u8>) {
    let mut wrong = right.to_vec();
    let dice = noise(seed.wrapping_mul(1_000_003) + number, 24);
    let die = |at: usize| u64::from_le_bytes(dice[at * 8..at * 8 + 8].try_into().unwrap()) as usize;
    let page = die(0) % (right.len() / PAGE) * PAGE;
    let other = die(1) % (right.len() / PAGE) * PAGE;
    match number % 6 {
        0 => wrong[page..page + PAGE].copy_from_slice(&noise(die(1) as u64, PAGE)),
        1 => wrong[page..page + PAGE].fill(0),
        2 => wrong.copy_within(other..other + PAGE, page),
        _ => wrong[die(0) % right.len()] ^= 1 << (die(1) % 8),
    }
    (format!("case {number} of seed {seed}"), wrong)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_flipped_bit_and_no_wrong_page_of_a_catalog_is_shown_as_a_byte_or_a_name() {
    let (_dir, repository, right) = home();
    put(&repository, &right);
    let truth = Seen::of(&open(&repository).unwrap());
    assert!(truth.failures == 0 && truth.files.len() > 300, "{} files", truth.files.len());
    let (seed, cases) =
        (number("SHOEBOX_SEED").unwrap_or(1), number("SHOEBOX_CASES").unwrap_or(60));
    let (mut refused, mut partly, mut whole) = (0, 0, 0);
    for (case, wrong) in
        (0..cases).map(|number| harmed(&right, seed, number)).filter(|(_, wrong)| *wrong != right)
    {
        put(&repository, &wrong);
        match open(&repository).map(|view| Seen::of(&view)) {
            Err(_) => refused += 1,
            Ok(seen) => {
                let lies = seen.lies(&truth);
                assert!(lies.is_empty(), "{case}: {lies:?}");
                if seen.failures > 0 { partly += 1 } else { whole += 1 }
            }
        }
        let report = check(&repository, CheckExtent::Structure, &SilentMonitor).unwrap();
        let is_told =
            report.findings.iter().any(|finding| matches!(finding, CheckFinding::Catalog { .. }));
        assert!(is_told, "{case}: {:?}", report.findings);
    }
    println!(
        "{refused} catalogs refused, {partly} shown in part, {whole} shown whole; no wrong byte, \
            no wrong name"
    );
    assert!(cases < 60 || partly > 0 && whole > 0, "{refused} {partly} {whole}");
}

#[test]
fn a_catalog_that_fails_is_built_again_by_the_next_writer() {
    let (_dir, repository, right) = home();
    let names = |seen: &Seen| seen.files.keys().cloned().collect::<Vec<_>>();
    let truth = names(&Seen::of(&open(&repository).unwrap()));
    for number in 0..6 {
        let (case, wrong) = harmed(&right, 7, number);
        put(&repository, &wrong);
        drop(WriteSession::begin(&repository, "look", &SilentMonitor).unwrap());
        assert!(names(&Seen::of(&open(&repository).unwrap())) == truth, "{case}");
        assert!(
            check(&repository, CheckExtent::Structure, &SilentMonitor).unwrap().findings.is_empty(),
            "{case}"
        );
    }
}

#[test]
fn a_catalog_that_is_whole_and_says_other_things_than_the_lists_is_found_by_check() {
    let (_dir, repository, right) = home();
    assert!(
        check(&repository, CheckExtent::Structure, &SilentMonitor).unwrap().findings.is_empty()
    );
    for change in [
        "UPDATE file SET content = (SELECT max(content) FROM file) WHERE row = (SELECT min(row) \
            FROM file WHERE kind = 0)",
        "UPDATE file SET size = size - 1024 WHERE row = (SELECT min(row) FROM file WHERE size > \
            2000)",
        "UPDATE asset_file SET size = size + 1 WHERE asset = (SELECT min(asset) FROM asset_file) \
            AND part = 0",
        "UPDATE file SET name = CAST('other.jpg' AS BLOB) WHERE row = (SELECT min(row) FROM file \
            WHERE kind = 0)",
        "UPDATE file SET until = since + 1 WHERE row = (SELECT min(row) FROM file WHERE kind = 0 \
            AND until > since + 1)",
        "UPDATE folder SET name = CAST('elsewhere' AS BLOB) WHERE id = (SELECT max(id) FROM \
            folder)",
        "DELETE FROM album_asset WHERE row = (SELECT max(row) FROM album_asset)",
        "UPDATE album SET line = replace(line, '\"name\":\"', '\"name\":\"x') WHERE row = 1",
        "UPDATE asset SET since = until - 1 WHERE row = (SELECT min(row) FROM asset WHERE since < \
            until - 1)",
    ] {
        put(&repository, &right);
        let db = rusqlite::Connection::open(repository.catalog_path()).unwrap();
        db.pragma_update(None, "foreign_keys", false).unwrap();
        let changed = db.execute(change, []).unwrap_or_else(|error| panic!("{change}: {error}"));
        assert!(changed > 0, "{change}");
        drop(db);
        shoebox::catalog::seal(&repository.catalog_path()).unwrap();
        let report = check(&repository, CheckExtent::Structure, &SilentMonitor).unwrap();
        let is_told =
            report.findings.iter().any(|finding| matches!(finding, CheckFinding::Catalog { .. }));
        assert!(is_told, "{change}: {:?}", report.findings);
    }
}
