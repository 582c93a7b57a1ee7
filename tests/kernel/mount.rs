//! `src/mount/SEMANTICS.md`, line by line, through the kernel. Needs /dev/fuse; without it the
//! tests say so. Every row of that page is named here, in `mount_memory.rs`, `prune.rs` or
//! `desktop.rs`, by its id (`holds(&["A1", …])`).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink as link_to};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mount_library::{Library, State, asset, file, symlink, user, uuid};
use crate::support::test_name;
use rustix::fs::{AtFlags, CWD, SeekFrom as Seeking, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use shoebox::base::ErrorKind;
use shoebox::base::library::Visibility;
use shoebox::mount::{self, MountedView};
use shoebox::view;

const BIG: usize = (3 << 20) + 12_345;
const MONTH: &str = "latest/users/Ann/by date/2024/2024-05";

/// Says which rows of SEMANTICS.md a test holds.
fn holds(_: &[&str]) {}

fn has_fuse() -> bool {
    let there = File::options().read(true).write(true).open("/dev/fuse").is_ok();
    if !there {
        println!("skipped: /dev/fuse cannot be opened");
    }
    there
}

fn big() -> Vec<u8> {
    (0..BIG as u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) as u16).to_le_bytes())
        .take(BIG)
        .collect()
}

fn state() -> State {
    let mut state = State { dump: "-- dump\n".into(), ..State::default() };
    state.user(user(1, "Ann")).user(user(2, "Bo"));
    state.asset_with(asset(10, 1, "big.mp4"), &big());
    let mut live = asset(11, 1, "IMG_1.HEIC");
    live.live_video = Some(uuid(12));
    live.sidecar = Some(crate::mount_library::path("upload/1/11.xmp"));
    state.asset(live);
    let mut half = asset(12, 1, "x.MOV");
    half.visibility = Visibility::Hidden;
    state
        .asset(half)
        .asset(asset(13, 1, "a:b?.jpg"))
        .asset(asset(14, 1, "img_1.heic"))
        .asset(asset(15, 1, "._img.jpg"));
    let mut locked = asset(16, 1, "secret.jpg");
    locked.visibility = Visibility::Locked;
    state.asset(locked).asset(asset(20, 2, "bo.jpg"));
    state.files.push(file("library/.hidden", b"hide\n"));
    let (mut private, bytes) = file("library/private.jpg", b"private");
    private.mode = 0o600;
    state.files.push((private, bytes));
    state.files.push(symlink("library/link", "../upload/1/10.bin"));
    state.album(30, "Rome", &[1, 2], &[10, 11]);
    state
}

struct Mounted {
    library: Library,
    mount: Option<MountedView>,
    point: PathBuf,
}

impl Mounted {
    fn at(&self, path: &str) -> PathBuf {
        self.point.join(path)
    }
}

/// Mounts a library of one snapshot; unmounts when dropped, also when the test fails.
fn mounted(view: view::Options, options: mount::Options) -> Mounted {
    let mut library = Library::new();
    library.snapshot("2026-11-21T030005Z", true, &state()).publish();
    mount(library, view, options)
}

fn mount(library: Library, view: view::Options, options: mount::Options) -> Mounted {
    let point = library.dir.path().join("mount");
    fs::create_dir(&point).unwrap();
    let mount = MountedView::start(Arc::new(library.view(view)), &point, &options).unwrap();
    Mounted { mount: Some(mount), point, library }
}

fn plain() -> Mounted {
    mounted(view::Options::default(), mount::Options::default())
}

fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

fn inodes(top: &Path) -> Vec<(PathBuf, u64)> {
    let all = walkdir::WalkDir::new(top).sort_by_file_name().into_iter().map(Result::unwrap);
    all.map(|entry| {
        let meta = entry.path().symlink_metadata().unwrap();
        assert_eq!(walkdir::DirEntryExt::ino(&entry), meta.ino());
        (entry.path().strip_prefix(top).unwrap().to_owned(), meta.ino())
    })
    .collect()
}

#[test]
fn each_row_of_the_semantics_is_held_by_a_test() {
    let page = include_str!("../../src/mount/SEMANTICS.md");
    let tests = [
        include_str!("mount.rs"),
        include_str!("mount_memory.rs"),
        include_str!("../repository/prune.rs"),
        include_str!("../repository/kept.rs"),
        include_str!("desktop.rs"),
    ]
    .concat();
    let ids = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let ids: Vec<_> = ids.filter(|id| id.len() == 2 && id.as_bytes()[1].is_ascii_digit()).collect();
    assert!(ids.len() > 25);
    for id in ids {
        assert!(tests.contains(&format!("\"{id}\"")), "{id} is not tested");
    }
}

#[test]
fn the_tree_is_as_described() {
    holds(&["T1", "T2", "T4", "T5", "T7", "M6"]);
    if !has_fuse() {
        return;
    }
    let mounted = plain();
    assert_eq!(names(&mounted.point), ["README.txt", "latest", "snapshots"]);
    assert_eq!(
        fs::read_link(mounted.at("latest")).unwrap(),
        Path::new("snapshots/2026-11-21 03.00")
    );
    assert_eq!(names(&mounted.at("latest")), ["database", "files", "users"]);
    let month = [
        "IMG_1.HEIC",
        "IMG_1.HEIC.xmp",
        "IMG_1.MOV",
        "_._img.jpg",
        "a_b_.jpg",
        "big.mp4",
        "img_1 (0e0e0e0e).heic",
    ];
    assert_eq!(names(&mounted.at(MONTH)), month);
    assert!(!mounted.at("latest/files/upload/1/16.bin").exists());
    assert!(fs::read_to_string(mounted.at("README.txt")).unwrap().contains("latest/"));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.contains(mounted.point.to_str().unwrap())).unwrap();
    assert!(
        line.starts_with("shoebox: ") && line.contains(" ro,") && line.contains(" fuse"),
        "{line}"
    );
}

#[test]
fn locked_ones_are_there_when_asked_for_and_one_person_alone_when_asked_for() {
    holds(&["T5", "T6"]);
    if !has_fuse() {
        return;
    }
    let options = view::Options { locked: true, ..view::Options::default() };
    let all = mounted(options, mount::Options::default());
    assert_eq!(names(&all.at("latest/users/Ann/locked")), ["secret.jpg"]);
    assert!(all.at("latest/files/upload/1/16.bin").exists());
    drop(all);
    let options = view::Options { user: Some("bo".into()), ..view::Options::default() };
    let one = mounted(options, mount::Options::default());
    assert_eq!(names(&one.at("latest")), ["users"]);
    assert_eq!(names(&one.at("latest/users")), ["Bo"]);
    assert!(!one.at("latest/files").exists() && !one.at("latest/database/immich.sql").exists());
}

#[test]
fn a_new_snapshot_appears_in_a_running_mount() {
    holds(&["T3", "M5", "A1"]);
    if !has_fuse() {
        return;
    }
    let mut mounted = plain();
    assert_eq!(names(&mounted.at("snapshots")).len(), 1);
    let photo = mounted.at("snapshots/2026-11-21 03.00/users/Ann/by date/2024/2024-05/big.mp4");
    let open = File::open(&photo).unwrap();
    let before = photo.metadata().unwrap().ino();
    let point = mounted.point.clone();
    let latest = || point.join("latest").symlink_metadata().unwrap().ino();
    let first = latest();
    mounted.library.snapshot("2026-11-22T030005Z", true, &state()).publish();
    let start = Instant::now();
    let target = || fs::read_link(mounted.at("latest")).unwrap();
    while target() != Path::new("snapshots/2026-11-22 03.00")
        || names(&mounted.at("snapshots")).len() != 2
    {
        assert!(
            start.elapsed() < Duration::from_millis(2500),
            "{:?} {:?}",
            target(),
            names(&mounted.at("snapshots"))
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    // The kernel keeps the target of a symlink: this is another one.
    assert_ne!(latest(), first);
    assert!(mounted.at(MONTH).join("big.mp4").exists());
    let mut bytes = vec![0; 10];
    open.read_exact_at(&mut bytes, 1 << 20).unwrap();
    assert_eq!((bytes, photo.metadata().unwrap().ino()), (big()[1 << 20..][..10].to_vec(), before));
}

#[test]
fn while_there_is_no_good_snapshot_there_is_no_latest() {
    holds(&["T2", "T4"]);
    if !has_fuse() {
        return;
    }
    let mut library = Library::new();
    library.snapshot("2026-11-21T030005Z", false, &state()).publish();
    let mounted = mount(library, view::Options::default(), mount::Options::default());
    assert_eq!(names(&mounted.point), ["README.txt", "snapshots"]);
    assert_eq!(names(&mounted.at("snapshots")), ["2026-11-21 03.00 (incomplete dump)"]);
    assert_eq!(errno(mounted.at("latest").symlink_metadata()), libc::ENOENT);
}

#[test]
fn what_file_managers_probe_for_is_not_there_but_in_files() {
    holds(&["T8"]);
    if !has_fuse() {
        return;
    }
    let mounted = plain();
    for name in [
        ".Trash",
        ".Trash-1000",
        ".hidden",
        ".DS_Store",
        "._IMG_1.HEIC",
        "desktop.ini",
        "Thumbs.db",
        "autorun.inf",
        ".directory",
    ] {
        for folder in ["", "snapshots", "latest", "latest/users/Ann", MONTH] {
            assert_eq!(
                errno(mounted.at(folder).join(name).symlink_metadata()),
                libc::ENOENT,
                "{folder}/{name}"
            );
        }
    }
    assert_eq!(fs::read(mounted.at("latest/files/library/.hidden")).unwrap(), b"hide\n");
}

#[test]
fn inode_numbers_are_unique_and_stay() {
    holds(&["A1", "A2"]);
    if !has_fuse() {
        return;
    }
    let mut mounted = plain();
    let before = inodes(&mounted.point);
    let unique: BTreeSet<u64> = before.iter().map(|(_, ino)| *ino).collect();
    assert_eq!((unique.len(), before[0].1), (before.len(), 1));
    for (path, _) in &before {
        assert_eq!(mounted.at(path.to_str().unwrap()).symlink_metadata().unwrap().nlink(), 1);
    }
    mounted.mount.take().unwrap().unmount().unwrap();
    let view = Arc::new(mounted.library.view(view::Options::default()));
    mounted.mount =
        Some(MountedView::start(view, &mounted.point, &mount::Options::default()).unwrap());
    assert_eq!(inodes(&mounted.point), before);
}

#[test]
fn attributes_are_as_promised() {
    holds(&["A3", "A4", "A5", "A6"]);
    if !has_fuse() {
        return;
    }
    let mounted = plain();
    let stat = |path: &str| mounted.at(path).symlink_metadata().unwrap();
    let photo = stat(&format!("{MONTH}/big.mp4"));
    assert_eq!((photo.size(), photo.blocks()), (BIG as u64, (BIG as u64).div_ceil(512)));
    assert_eq!((photo.mtime(), photo.mtime_nsec(), photo.mode()), (1_715_421_600, 0, 0o100_644));
    assert_eq!(
        (photo.uid(), photo.gid()),
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    );
    let month = stat(MONTH);
    assert_eq!((month.mode(), month.size(), month.blocks()), (0o40_755, 0, 0));
    let disk = stat("latest/files/upload/1/10.bin");
    assert_eq!(
        (disk.mtime(), disk.mtime_nsec(), disk.mode()),
        (1_600_000_000, 123_456_789, 0o100_640)
    );
    assert_eq!((disk.uid(), disk.gid()), (1000, 100));
    assert_eq!((disk.atime_nsec(), disk.ctime_nsec()), (123_456_789, 123_456_789));
    assert_eq!(stat("latest/files/library/link").size(), 18);
    assert_eq!(stat("latest/database/immich.sql").permissions().mode() & 0o7777, 0o400);
    assert_eq!(fs::read(mounted.at("latest/database/immich.sql")).unwrap(), b"-- dump\n");
    drop(mounted);
    let options = mount::Options { uid: Some(1234), gid: Some(5678), ..mount::Options::default() };
    let mounted = self::mounted(view::Options::default(), options);
    let photo = mounted.at(MONTH).join("big.mp4").metadata().unwrap();
    assert_eq!((photo.uid(), photo.gid()), (1234, 5678));
}

#[test]
fn statfs_says_how_much_the_repository_holds() {
    holds(&["A7"]);
    if !has_fuse() {
        return;
    }
    let mounted = plain();
    let stat = rustix::fs::statvfs(&mounted.point).unwrap();
    assert_eq!(
        (stat.f_frsize, stat.f_blocks, stat.f_bfree, stat.f_namemax),
        (512, 1_000_000u64.div_ceil(512), 0, 255)
    );
    assert!(stat.f_files > 5);
}

#[test]
fn reads_give_the_bytes_that_were_backed_up() {
    holds(&["R1", "R3", "R5", "R6", "R7"]);
    if !has_fuse() {
        return;
    }
    let mounted = plain();
    let photo = mounted.at(MONTH).join("big.mp4");
    let whole = big();
    assert_eq!(fs::read(&photo).unwrap(), whole);
    assert_eq!(fs::read(mounted.at("latest/files/upload/1/10.bin")).unwrap(), whole);
    std::thread::scope(|scope| {
        for start in 0..8usize {
            let (photo, whole) = (&photo, &whole);
            scope.spawn(move || {
                let file = File::open(photo).unwrap();
                for step in 0..50usize {
                    let offset = (start * 379_001 + step * 65_537) % BIG;
                    let mut bytes = vec![0; 70_000];
                    let len = file.read_at(&mut bytes, offset as u64).unwrap();
                    assert_eq!(len, 70_000.min(BIG - offset));
                    assert_eq!(&bytes[..len], &whole[offset..offset + len]);
                }
            });
        }
    });
    let mut file = File::open(&photo).unwrap();
    assert_eq!(rustix::fs::seek(&file, Seeking::Hole(0)).unwrap(), BIG as u64);
    assert_eq!(rustix::fs::seek(&file, Seeking::Data(5)).unwrap(), 5);
    file.seek(SeekFrom::End(0)).unwrap();
    assert_eq!(file.read(&mut [0; 10]).unwrap(), 0);
    // cmp of diffutils maps nothing; `tail -c` seeks, `md5sum` reads, `cp` asks for holes.
    let copied = mounted.library.dir.path().join("copy");
    assert!(Command::new("cp").arg(&photo).arg(&copied).status().unwrap().success());
    assert_eq!(fs::read(copied).unwrap(), whole);
    let target = fs::read_link(mounted.at("latest/files/library/link")).unwrap();
    assert_eq!(target, Path::new("../upload/1/10.bin"));
    assert_eq!(fs::read(mounted.at("latest/files/library/link")).unwrap(), whole);
}

#[test]
fn damage_is_an_error_and_never_zeros() {
    // `states.rs` does the same to a real archive.
    holds(&["R2"]);
    if !has_fuse() {
        return;
    }
    let mounted = plain();
    mounted.library.bytes.damaged.lock().unwrap().extend(1..3);
    let photo = mounted.at(MONTH).join("big.mp4");
    for _ in 0..2 {
        assert_eq!(errno(fs::read(&photo)), libc::EIO);
    }
    assert_eq!(
        fs::read(mounted.at(MONTH).join("a_b_.jpg")).unwrap(),
        format!("bytes of {}", uuid(13)).as_bytes()
    );
    assert!(photo.metadata().is_ok());
}

#[test]
fn listings_are_whole_and_go_on_from_any_offset() {
    holds(&["R4"]);
    if !has_fuse() {
        return;
    }
    let mut library = Library::new();
    let mut many = state();
    for number in 0..3000 {
        many.files.push(file(&format!("upload/many/{number:05}.jpg"), b"x"));
    }
    library.snapshot("2026-11-21T030005Z", true, &many).publish();
    let mounted = mount(library, view::Options::default(), mount::Options::default());
    let folder = mounted.at("latest/files/upload/many");
    let expected: Vec<_> = (0..3000).map(|number| format!("{number:05}.jpg")).collect();
    assert_eq!(names(&folder), expected);
    let mut open = rustix::fs::Dir::new(
        rustix::fs::open(&folder, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
            .unwrap(),
    )
    .unwrap();
    let mut all = Vec::new();
    while let Some(entry) = open.read() {
        let entry = entry.unwrap();
        all.push((entry.file_name().to_owned(), entry.ino(), entry.offset()));
    }
    let stat = |path: &Path| path.metadata().unwrap().ino();
    let dots: Vec<_> = all
        .iter()
        .take(2)
        .map(|(name, ino, _)| (name.to_str().unwrap().to_owned(), *ino))
        .collect();
    assert_eq!(
        dots,
        [(".".to_owned(), stat(&folder)), ("..".to_owned(), stat(folder.parent().unwrap()))]
    );
    assert_eq!(all.len(), 3002);
    for index in [0, 1, 2, 1500, 3000] {
        open.seek(all[index].2).unwrap();
        assert_eq!(open.read().unwrap().unwrap().file_name(), all[index + 1].0.as_c_str());
    }
    for folder in ["", "snapshots", "latest/users", "latest/users/Ann/by date/2024"] {
        let folder = mounted.at(folder);
        let list = Command::new("ls").args(["-1ai"]).arg(&folder).output().unwrap();
        let text = String::from_utf8(list.stdout).unwrap();
        let above = if folder == mounted.point {
            stat(&mounted.point)
        } else {
            stat(&folder.canonicalize().unwrap().join(".."))
        };
        assert!(text.lines().any(|line| line.trim() == format!("{} .", stat(&folder))), "{text}");
        assert!(
            folder == mounted.point
                || text.lines().any(|line| line.trim() == format!("{above} ..")),
            "{text}"
        );
    }
}

#[test]
fn every_change_is_refused() {
    holds(&["C1", "C2"]);
    if !has_fuse() {
        return;
    }
    let mounted = plain();
    for folder in ["", "snapshots", "latest", "latest/users", MONTH, "latest/files/upload/1"] {
        let folder = mounted.at(folder);
        let there = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        refused(&folder, &there);
    }
    let photo = mounted.at(MONTH).join("big.mp4");
    assert_eq!(errno(OpenOptions::new().write(true).open(&photo)), libc::EROFS);
    assert_eq!(errno(OpenOptions::new().append(true).open(&photo)), libc::EROFS);
    assert_eq!(errno(OpenOptions::new().write(true).truncate(true).open(&photo)), libc::EROFS);
    assert_eq!(errno(OpenOptions::new().write(true).create_new(true).open(&photo)), libc::EEXIST);
    assert_eq!(
        errno(OpenOptions::new().write(true).custom_flags(libc::O_CREAT).open(&photo)),
        libc::EROFS
    );
    assert_eq!(rustix::fs::setxattr(&photo, "user.x", b"y", XattrFlags::empty()), Err(Errno::ROFS));
    assert_eq!(rustix::fs::removexattr(&photo, "user.x"), Err(Errno::ROFS));
    assert_eq!(errno(fs::remove_file(mounted.at(MONTH).join("nothing"))), libc::EROFS);
    assert_eq!(errno(File::open(mounted.at(MONTH).join("nothing"))), libc::ENOENT);
}

fn refused(folder: &Path, there: &Path) {
    let new = folder.join("new");
    assert_eq!(errno(File::create(&new)), libc::EROFS);
    assert_eq!(errno(fs::create_dir(&new)), libc::EROFS);
    assert_eq!(errno(fs::create_dir(there)), libc::EEXIST);
    assert_eq!(errno(link_to("x", &new)), libc::EROFS);
    assert_eq!(errno(link_to("x", there)), libc::EEXIST);
    assert_eq!(errno(fs::rename(there, &new)), libc::EROFS);
    assert_eq!(errno(fs::set_permissions(folder, fs::Permissions::from_mode(0o777))), libc::EROFS);
    assert_eq!(errno(std::os::unix::fs::chown(folder, Some(1), Some(1))), libc::EROFS);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    assert_eq!(
        rustix::fs::mknodat(CWD, &new, rustix::fs::FileType::Fifo, mode, 0),
        Err(Errno::ROFS)
    );
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let times = Timestamps { last_access: now, last_modification: now };
    assert_eq!(rustix::fs::utimensat(CWD, folder, &times, AtFlags::empty()), Err(Errno::ROFS));
    let removed = if there.symlink_metadata().unwrap().is_dir() {
        fs::remove_dir(there)
    } else {
        fs::remove_file(there)
    };
    assert_eq!(errno(removed), libc::EROFS);
    if there.symlink_metadata().unwrap().is_file() {
        assert_eq!(errno(fs::hard_link(there, &new)), libc::EROFS);
        assert_eq!(errno(fs::hard_link(there, there)), libc::EEXIST);
    }
}

#[test]
fn extended_attributes_are_off_until_asked_for() {
    holds(&["X1", "X2"]);
    if !has_fuse() {
        return;
    }
    let off = plain();
    let mut room = [0; 100];
    let photo = off.at(MONTH).join("big.mp4");
    assert_eq!(
        rustix::fs::getxattr(&photo, "user.shoebox.asset", &mut room),
        Err(Errno::OPNOTSUPP)
    );
    drop(off);
    let on = mounted(
        view::Options::default(),
        mount::Options { xattrs: true, ..mount::Options::default() },
    );
    let photo = on.at(MONTH).join("big.mp4");
    let len = rustix::fs::getxattr(&photo, "user.shoebox.asset", &mut room).unwrap();
    assert_eq!(&room[..len], uuid(10).to_string().as_bytes());
    let len = rustix::fs::getxattr(&photo, "user.shoebox.blake3", &mut room).unwrap();
    assert_eq!(&room[..len], blake3::hash(&big()).to_hex().as_bytes());
    let len = rustix::fs::getxattr(&photo, "user.shoebox.albums", &mut room).unwrap();
    assert_eq!(&room[..len], b"Rome");
    assert_eq!(rustix::fs::getxattr(&photo, "user.other", &mut room), Err(Errno::NODATA));
    assert_eq!(
        rustix::fs::getxattr(&photo, "user.shoebox.asset", &mut [0u8; 3][..]),
        Err(Errno::RANGE)
    );
    // getfattr asks for the size first.
    if let Ok(said) = Command::new("getfattr")
        .args(["--only-values", "-n", "user.shoebox.sha1"])
        .arg(&photo)
        .output()
    {
        assert_eq!(said.stdout.len(), 40);
    }
    let mut list = [0; 200];
    let len = rustix::fs::listxattr(&photo, &mut list).unwrap();
    assert!(list[..len].starts_with(b"user.shoebox.asset\0"));
    assert_eq!(
        rustix::fs::getxattr(on.at("README.txt"), "user.shoebox.asset", &mut room),
        Err(Errno::NODATA)
    );
    assert_eq!(rustix::fs::listxattr(on.at("latest/files/upload"), &mut list), Ok(0));
}

#[test]
fn a_mount_point_that_will_not_do_is_refused_with_a_way_out() {
    holds(&["M1"]);
    if !has_fuse() {
        return;
    }
    let mounted = plain();
    let dir = mounted.library.dir.path();
    let view = || Arc::new(mounted.library.view(view::Options::default()));
    let start = |point: &Path, repository: Option<PathBuf>| {
        let options = mount::Options { repository, ..mount::Options::default() };
        MountedView::start(view(), point, &options).err().unwrap()
    };
    fs::create_dir(dir.join("full")).unwrap();
    fs::write(dir.join("full/file"), "x").unwrap();
    fs::create_dir(dir.join("empty")).unwrap();
    let unmount =
        if rustix::process::geteuid().is_root() { "`umount " } else { "`fusermount3 -u " };
    let cases = [
        (start(&dir.join("nothing"), None), ErrorKind::NotFound, "mkdir -p"),
        (start(&dir.join("full/file"), None), ErrorKind::Invalid, "empty folder"),
        (start(&dir.join("full"), None), ErrorKind::Exists, "empty folder"),
        (start(&mounted.point, None), ErrorKind::Exists, unmount),
        (start(Path::new("/proc"), None), ErrorKind::Exists, "give an empty folder to mount at"),
        (start(&dir.join("empty"), Some(dir.to_owned())), ErrorKind::Invalid, "somewhere else"),
    ];
    for (error, kind, hint) in cases {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            error.next_step().is_some_and(|step| step.contains(hint)),
            "{error}: {:?}",
            error.next_step()
        );
    }
}

#[test]
fn a_mount_goes_away_with_its_owner_and_stays_while_in_use() {
    holds(&["M3"]);
    if !has_fuse() {
        return;
    }
    let mut mounted = plain();
    let mount = mounted.mount.take().unwrap();
    let open = File::open(mounted.at("README.txt")).unwrap();
    assert_eq!(mount.unmount().unwrap_err().kind(), ErrorKind::Locked);
    assert!(mounted.at("latest").exists());
    drop(open);
    let unmounter = mount.unmounter();
    let waiting = std::thread::spawn(move || mount.wait());
    unmounter.unmount().unwrap();
    waiting.join().unwrap().unwrap();
    assert!(names(&mounted.point).is_empty());
}

/// A user of the computer who is not root: this test runs itself again as `nobody`, who mounts with
/// fusermount3.
#[test]
fn anybody_can_mount_and_others_are_kept_out() {
    holds(&["M2", "A5"]);
    if !has_fuse() {
        return;
    }
    if let Some(dir) = std::env::var_os("SHOEBOX_TEST_AS_NOBODY") {
        return as_nobody(Path::new(&dir));
    }
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root to become nobody");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = dir.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    // In a mount namespace of its own, with a /dev/fuse that anybody may open, as desktops have it.
    let script = "set -e; mknod \"$1/fuse\" c 10 229; chmod 666 \"$1/fuse\"; mount --bind \
        \"$1/fuse\" /dev/fuse;
        exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$1/test\" \"$2\" --exact \
        --nocapture";
    let mut again = Command::new("unshare");
    again
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(test_name(module_path!(), "anybody_can_mount_and_others_are_kept_out"));
    again.env("SHOEBOX_TEST_AS_NOBODY", dir.path()).env("TMPDIR", dir.path());
    assert!(again.status().unwrap().success());
}

fn as_nobody(_: &Path) {
    let mounted = plain();
    assert_eq!(mounted.point.metadata().unwrap().uid(), 65534);
    assert_eq!(fs::read(mounted.at(MONTH).join("big.mp4")).unwrap(), big());
    assert_eq!(errno(File::open(mounted.at("latest/files/library/private.jpg"))), libc::EACCES);
    let sudo = Command::new("cat").arg("/etc/fuse.conf").output().unwrap();
    let allowed =
        String::from_utf8_lossy(&sudo.stdout).lines().any(|line| line.trim() == "user_allow_other");
    drop(mounted);
    if !allowed {
        let mut library = Library::new();
        library.snapshot("2026-11-21T030005Z", true, &state()).publish();
        let point = library.dir.path().join("mount");
        fs::create_dir(&point).unwrap();
        let options = mount::Options { allow_other: true, ..mount::Options::default() };
        let error =
            MountedView::start(Arc::new(library.view(view::Options::default())), &point, &options)
                .err()
                .unwrap();
        assert_eq!(error.kind(), ErrorKind::Permission);
        assert!(error.next_step().unwrap().contains("user_allow_other"));
    }
}
