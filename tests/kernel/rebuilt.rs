//! A catalog that is rebuilt under a mount: by `repair catalog`, by an import of older nights,
//! after an update of its schema.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use shoebox::base::monitor::SilentMonitor;
use shoebox::mount::{self, MountedView};
use shoebox::repo::WriteSession;
use shoebox::task::backup::{Options, backup};
use shoebox::view::{self, View};

use crate::backup_library::{ANN, Home, noise, tick};

/// The names in `snapshots/`, once there are so many.
fn snapshots(point: &Path, count: usize) -> Vec<PathBuf> {
    let begun = Instant::now();
    loop {
        let mut names: Vec<PathBuf> = fs::read_dir(point.join("snapshots"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        if names.len() == count {
            return names;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{names:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn photo(snapshot: &Path, number: u64) -> PathBuf {
    snapshot.join(format!("files/upload/{ANN}/{number}.jpg"))
}

fn write_photo(home: &Home, number: u64) {
    home.write(format!("upload/{ANN}/{number}.jpg"), &noise(number, 3 << 20));
}

/// The promises of `src/mount/SEMANTICS.md` that a test holds.
fn holds(_: &[&str]) {}

#[test]
fn a_mount_takes_over_a_rebuilt_catalog_and_what_is_open_reads_on() {
    holds(&["T11"]);
    if !Path::new("/dev/fuse").exists() {
        return println!("skipped: no /dev/fuse");
    }
    let home = Home::new();
    // A night that is forgotten: a rebuilt catalog gives its numbers to others.
    (90..93).for_each(|number| write_photo(&home, number));
    let forgotten = home.backup().record.id;
    (90..93).for_each(|number| {
        fs::remove_file(home.upload().join(format!("upload/{ANN}/{number}.jpg"))).unwrap()
    });
    let mut photos: Vec<u64> = (40..44).collect();
    photos.iter().for_each(|number| write_photo(&home, *number));
    tick();
    let shrunk = Options { accept_shrink: true, ..home.options() };
    backup(&home.repository(), shrunk, &SilentMonitor).unwrap();
    let mut session = WriteSession::begin(&home.repository(), "forget", &SilentMonitor).unwrap();
    session.forget(&[forgotten], &SilentMonitor).unwrap();
    drop(session);
    let repository = home.repository();
    let view = View::open(
        &repository.catalog_path(),
        Arc::new(repository.contents()),
        view::Options::default(),
    );
    let point = home.dir.path().join("point");
    fs::create_dir(&point).unwrap();
    let mount =
        MountedView::start(Arc::new(view.unwrap()), &point, &mount::Options::default()).unwrap();
    let first = snapshots(&point, 1).remove(0);
    let open: Vec<(u64, File, u64)> = photos
        .iter()
        .map(|number| {
            let file = File::open(photo(&first, *number)).unwrap();
            file.read_exact_at(&mut [0; 10], 0).unwrap();
            (*number, file, photo(&first, *number).metadata().unwrap().ino())
        })
        .collect();

    for night in 0..3 {
        let number = 10 + night;
        write_photo(&home, number);
        photos.push(number);
        tick();
        home.backup();
        drop(WriteSession::rebuild(&home.repository(), &SilentMonitor).unwrap());
        let nights = snapshots(&point, night as usize + 2);
        assert_eq!(nights[0], first);
        for (number, file, ino) in &open {
            let mut bytes = vec![0; 3 << 20];
            fadvise(file, 0, None, Advice::DontNeed).unwrap();
            file.read_exact_at(&mut bytes, 0).unwrap();
            assert!(bytes == noise(*number, 3 << 20), "{number}, which was open");
            assert_eq!(photo(&first, *number).metadata().unwrap().ino(), *ino);
        }
        let newest = nights.last().unwrap();
        for number in &photos {
            assert!(
                fs::read(photo(newest, *number)).unwrap() == noise(*number, 3 << 20),
                "{number} of {newest:?}"
            );
        }
        let begun = Instant::now();
        while fs::read_link(point.join("latest")).unwrap().file_name() != newest.file_name() {
            assert!(begun.elapsed() < Duration::from_secs(60), "`latest` stays");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    drop(open);
    mount.unmount().unwrap();
}
