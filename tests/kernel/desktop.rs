//! The mount as part of the desktop: icons from Immich's own previews, unmounting when nobody
//! looks, `--open`, and /etc/fstab. Needs /dev/fuse; the line of fstab also needs root and a mount
//! namespace of its own. Without them the tests say so.

use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mount_library::{Library, State, asset, file, user, uuid};
use image::{DynamicImage, ImageFormat, RgbImage};
use shoebox::base::library::Visibility;
use shoebox::mount::{self, MountedView};
use shoebox::view;

const MONTH: &str = "latest/users/Ann/by date/2024/2024-05";
const RED: [u8; 3] = [200, 10, 10];
const GREEN: [u8; 3] = [10, 180, 10];

/// Says which rows of SEMANTICS.md a test holds.
fn holds(_: &[&str]) {}

fn has_fuse() -> bool {
    let there = File::options().read(true).write(true).open("/dev/fuse").is_ok();
    if !there {
        println!("skipped: /dev/fuse cannot be opened");
    }
    there
}

fn shoebox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
    for name in [
        "SHOEBOX_REPOSITORY",
        "SHOEBOX_IDLE",
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "NOTIFY_SOCKET",
        "XDG_DATA_HOME",
    ] {
        command.env_remove(name);
    }
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned() + &said
}

/// Waits up to ten seconds for what must come true.
#[track_caller]
fn comes(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

// Thumbnails
// ------------------------------------------------------------------------------------------------

fn picture(width: u32, height: u32, colour: [u8; 3], format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(RgbImage::from_pixel(width, height, image::Rgb(colour)))
        .write_to(&mut out, format)
        .unwrap();
    out.into_inner()
}

/// Where Immich keeps what it made of an asset.
fn generated(owner: u8, asset: u8, rest: &str) -> String {
    let (owner, id) = (uuid(owner).to_string(), uuid(asset).to_string());
    format!("thumbs/{owner}/{}/{}/{id}{rest}", &id[..2], &id[2..4])
}

/// A PNG's sides, its first pixel, and all of its bytes.
struct Png(u32, u32, [u8; 3], Vec<u8>);

fn png(path: &Path) -> Png {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"));
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let data = memchr::memmem::find(&bytes, b"IDAT").unwrap();
    let mut rows = Vec::new();
    let inflate = flate2::read::ZlibDecoder::new(&bytes[data + 4..][..number(data - 4) as usize]);
    std::io::Read::read_to_end(&mut std::io::BufReader::new(inflate), &mut rows).unwrap();
    let (width, height) = (number(16), number(20));
    assert_eq!(rows.len() as u32, (width * 3 + 1) * height);
    Png(width, height, rows[1..4].try_into().unwrap(), bytes)
}

fn is_like(pixel: [u8; 3], colour: [u8; 3]) -> bool {
    pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 12)
}

/// Ann has a RAW with previews, one without, a video with some of the old names, a locked photo,
/// and a JPEG without.
fn gallery() -> State {
    let mut state = State { dump: "-- dump\n".into(), ..State::default() };
    state.user(user(1, "Ann")).user(user(2, "Bo"));
    state.asset_with(asset(10, 1, "raw.dng"), &crate::backup_library::noise(1, 3 << 20));
    state.asset_with(asset(11, 1, "bare.dng"), &crate::backup_library::noise(2, 1 << 20));
    state.asset_with(asset(12, 1, "old.mp4"), &crate::backup_library::noise(3, 2 << 20));
    let mut locked = asset(13, 1, "secret.jpg");
    locked.visibility = Visibility::Locked;
    state.asset(locked);
    state.asset_with(asset(14, 1, "plain.jpg"), &picture(600, 300, GREEN, ImageFormat::Jpeg));
    let mut made = |owner, asset, rest: &str, bytes: Vec<u8>| {
        state.files.push(file(&generated(owner, asset, rest), &bytes))
    };
    made(1, 10, "_thumbnail.webp", picture(333, 250, RED, ImageFormat::WebP));
    made(1, 10, "_preview.jpeg", picture(1440, 1080, GREEN, ImageFormat::Jpeg));
    made(1, 10, "_preview_edited.jpeg", picture(1440, 1440, RED, ImageFormat::Jpeg));
    made(1, 12, ".jpeg", picture(1440, 810, GREEN, ImageFormat::Jpeg));
    made(1, 13, "_thumbnail.webp", picture(250, 250, RED, ImageFormat::WebP));
    state
}

struct Mounted {
    library: Library,
    _mount: MountedView,
    point: PathBuf,
}

fn mounted(view: view::Options, options: mount::Options) -> Mounted {
    let mut library = Library::new();
    library.snapshot("2026-11-21T030005Z", true, &gallery()).publish();
    show(library, view, &options)
}

fn show(library: Library, view: view::Options, options: &mount::Options) -> Mounted {
    let point = library.dir.path().join("mount");
    fs::create_dir(&point).unwrap();
    let mount = MountedView::start(Arc::new(library.view(view)), &point, options).unwrap();
    Mounted { _mount: mount, point, library }
}

impl Mounted {
    /// The thumbnail of `photo`, as a file manager asks for it.
    fn thumbnail(&self, photo: &str, size: u32) -> Result<Png, String> {
        let out = self.library.dir.path().join("thumbnail.png");
        let _ = fs::remove_file(&out);
        // Only what this test installs can be asked for what is not ours.
        let mut command = shoebox();
        command
            .arg("thumbnailer")
            .args(["--size", &size.to_string()])
            .arg(self.point.join(photo))
            .arg(&out);
        command
            .env("HOME", self.library.dir.path())
            .env("XDG_DATA_DIRS", self.library.dir.path().join("share"));
        let output = run(&mut command);
        if output.status.success() {
            Ok(png(&out))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// From now on the photo itself cannot be read: whoever tries gets an error.
    fn spoil(&self, photo: &str) {
        let bytes = fs::read(self.point.join(photo)).unwrap();
        let hash = blake3::hash(&bytes);
        let db = self.library.generation().connect().unwrap();
        let id = db
            .query_row("SELECT id FROM content WHERE hash = ?1", [&hash.as_bytes()[..]], |row| {
                row.get(0)
            })
            .unwrap();
        self.library.bytes.damaged.lock().unwrap().insert(id);
        let cached = File::open(self.point.join(photo)).unwrap();
        rustix::fs::fadvise(&cached, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert_eq!(fs::read(self.point.join(photo)).unwrap_err().raw_os_error(), Some(libc::EIO));
    }
}

#[test]
fn an_icon_comes_from_immichs_preview_and_the_photo_is_not_read() {
    holds(&["I1"]);
    if !has_fuse() {
        return;
    }
    let mounted = mounted(view::Options::default(), mount::Options::default());
    let raw = format!("{MONTH}/raw.dng");
    mounted.spoil(&raw);
    // The small picture does for small icons, the preview for large ones, and never what an edit
    // made.
    let Png(width, height, pixel, _) = mounted.thumbnail(&raw, 128).unwrap();
    assert!((width, height) == (128, 96) && is_like(pixel, RED), "{width} {height} {pixel:?}");
    let Png(width, height, pixel, _) = mounted.thumbnail(&raw, 512).unwrap();
    assert!((width, height) == (512, 384) && is_like(pixel, GREEN), "{width} {height} {pixel:?}");
    // As it lies on the server's disk, and under the names of older servers.
    assert!(is_like(mounted.thumbnail("latest/files/upload/1/10.bin", 128).unwrap().2, RED));
    let video = format!("{MONTH}/old.mp4");
    mounted.spoil(&video);
    let Png(width, height, pixel, _) = mounted.thumbnail(&video, 256).unwrap();
    assert!((width, height) == (256, 144) && is_like(pixel, GREEN));
}

#[test]
fn a_photo_that_is_gone_has_the_picture_that_it_had() {
    holds(&["I1"]);
    if !has_fuse() {
        return;
    }
    let mut library = Library::new();
    library.snapshot("2026-11-21T030005Z", true, &gallery());
    let mut rest = State { dump: "-- dump\n".into(), ..State::default() };
    rest.user(user(1, "Ann")).asset(asset(20, 1, "new.jpg"));
    library.snapshot("2026-11-22T030005Z", true, &rest).publish();
    let mounted = show(library, view::Options::default(), &mount::Options::default());
    let gone = "latest/users/Ann/deleted since/2026-11-21 03.00/raw.dng";
    assert!(!mounted.point.join("latest/files/thumbs").exists());
    mounted.spoil(gone);
    assert!(is_like(mounted.thumbnail(gone, 128).unwrap().2, RED));
}

#[test]
fn without_a_preview_nothing_changes() {
    holds(&["I1"]);
    if !has_fuse() {
        return;
    }
    let mounted = mounted(view::Options::default(), mount::Options::default());
    let said = mounted.thumbnail(&format!("{MONTH}/bare.dng"), 128).err().unwrap();
    assert!(said.contains("neither JPEG nor WebP"), "{said}");
    let Png(width, height, pixel, _) =
        mounted.thumbnail(&format!("{MONTH}/plain.jpg"), 128).unwrap();
    assert!((width, height) == (128, 64) && is_like(pixel, GREEN));
    // Another thumbnailer for that type is asked first, and tells itself apart by what it writes.
    let share = mounted.library.dir.path().join("share/thumbnailers");
    fs::create_dir_all(&share).unwrap();
    let other = mounted.library.dir.path().join("other");
    fs::write(&other, "#!/bin/sh\ntest \"$1\" = 128 && cp \"$0.png\" \"$3\"\n").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let drawn =
        shoebox::task::thumbnail::draw(&picture(9, 7, RED, ImageFormat::Jpeg), 128, &[]).unwrap();
    fs::write(other.with_extension("png"), drawn).unwrap();
    let entry = format!(
        "[Thumbnailer Entry]\nExec={} %s %i %o\nMimeType=image/x-adobe-dng;\n",
        other.display()
    );
    fs::write(share.join("other.thumbnailer"), entry).unwrap();
    let Png(width, height, ..) = mounted.thumbnail(&format!("{MONTH}/bare.dng"), 128).unwrap();
    assert_eq!((width, height), (9, 7));
}

#[test]
fn a_picture_of_what_may_not_be_seen_is_not_given() {
    holds(&["T5", "T6", "I1"]);
    if !has_fuse() {
        return;
    }
    let closed = mounted(view::Options::default(), mount::Options::default());
    for path in [
        format!("{MONTH}/secret.jpg"),
        "latest/users/Ann/locked/secret.jpg".into(),
        "latest/files/upload/1/13.bin".into(),
    ] {
        assert!(closed.thumbnail(&path, 128).is_err(), "{path}");
    }
    drop(closed);
    let options = view::Options { locked: true, ..view::Options::default() };
    let open = mounted(options, mount::Options::default());
    assert!(is_like(open.thumbnail("latest/users/Ann/locked/secret.jpg", 128).unwrap().2, RED));
    drop(open);
    // One person's tree has no `files/`, and its photos have their pictures.
    let options = view::Options { user: Some("Ann".into()), ..view::Options::default() };
    let one = mounted(options, mount::Options::default());
    assert!(!one.point.join("latest/files").exists());
    assert!(is_like(one.thumbnail(&format!("{MONTH}/raw.dng"), 128).unwrap().2, RED));
}

#[test]
fn thumbnails_are_put_where_file_managers_look() {
    if !has_fuse() {
        return;
    }
    let mounted = mounted(view::Options::default(), mount::Options::default());
    let raw = format!("{MONTH}/raw.dng");
    mounted.spoil(&raw);
    let cache = mounted.library.dir.path().join("cache");
    let fill = |folder: &str| {
        let mut command = shoebox();
        command
            .args(["thumbnails", "--size", "128", "--size", "512", "--json"])
            .arg(mounted.point.join(folder));
        let output = run(command.env("XDG_CACHE_HOME", &cache));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let counts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        ["photos", "had", "without", "failed"].map(|name| counts[name].as_u64().unwrap())
    };
    assert_eq!(fill(MONTH), [2, 0, 2, 0]);
    assert_eq!(fill(MONTH), [0, 2, 2, 0]);
    let all: Vec<PathBuf> = walkdir::WalkDir::new(&cache)
        .into_iter()
        .flatten()
        .map(|e| e.into_path())
        .filter(|p| p.is_file())
        .collect();
    // Two photos, two sizes, and two names each: by way of `latest`, and by way of the snapshot.
    assert_eq!(all.len(), 8);
    let text = |path: &PathBuf| String::from_utf8_lossy(&png(path).3).into_owned();
    let uri =
        format!("file://{}", mounted.point.join(&raw).display().to_string().replace(' ', "%20"));
    let ours: Vec<&PathBuf> = all.iter().filter(|path| text(path).contains(&uri)).collect();
    assert_eq!(ours.len(), 2);
    for path in ours {
        let said = Command::new("sh")
            .args(["-c", "printf %s \"$1\" | md5sum", "sh", &uri])
            .output()
            .unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(String::from_utf8_lossy(&said.stdout).starts_with(name), "{name}");
        let time = mounted.point.join(&raw).metadata().unwrap().mtime();
        assert!(text(path).contains(&format!("tEXtThumb::MTime\0{time}")));
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let large = path.parent().unwrap().ends_with("x-large");
        assert!(large || path.parent().unwrap().ends_with("normal"));
        assert_eq!(png(path).0, if large { 512 } else { 128 });
    }
    let output = run(shoebox()
        .arg("thumbnails")
        .arg(mounted.library.dir.path().join("cache"))
        .env("XDG_CACHE_HOME", &cache));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--generated"), "{output:?}");
}

// Unmounting by itself
// --------------------------------------------------------------------------------------

#[test]
fn a_mount_that_nobody_looks_into_unmounts_itself_and_one_that_is_used_does_not() {
    holds(&["M7"]);
    if !has_fuse() {
        return;
    }
    let idle = Some(Duration::from_millis(600));
    let mounted =
        mounted(view::Options::default(), mount::Options { idle, ..mount::Options::default() });
    let is_there = || mount::point::source(&mounted.point).unwrap().is_some();
    // An open file, which the mount is never told of, keeps it.
    let open = File::open(mounted.point.join("README.txt")).unwrap();
    std::thread::sleep(Duration::from_millis(2000));
    assert!(is_there());
    drop(open);
    // So do questions.
    for step in 0..8 {
        std::thread::sleep(Duration::from_millis(200));
        let _ = mounted.point.join(format!("nothing {step}")).exists();
    }
    assert!(is_there());
    // `df` does not, nor who asks for the top alone.
    let start = Instant::now();
    while is_there() {
        assert!(start.elapsed() < Duration::from_secs(10), "it stays");
        let _ = rustix::fs::statvfs(&mounted.point);
        let _ = mounted.point.metadata();
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(start.elapsed() > Duration::from_millis(400));
    assert_eq!(fs::read_dir(&mounted.point).unwrap().count(), 0);
}

// --open
// ----------------------------------------------------------------------------------------------------

/// A repository, and a desktop that is made of a script.
struct Desk {
    home: crate::backup_library::Home,
}

impl Desk {
    fn new() -> Desk {
        let home = crate::backup_library::Home::new();
        for number in 1..=2 {
            home.write(
                format!("upload/{}/{number}.jpg", crate::backup_library::ANN),
                &crate::backup_library::noise(number, 10_000),
            );
        }
        home.backup();
        let desk = Desk { home };
        for folder in ["bin", "run", "none"] {
            fs::create_dir(desk.at(folder)).unwrap();
        }
        desk.program(
            "xdg-open",
            "echo \"$1\" >> \"$(dirname \"$0\")/opened\"; ls \"$1\" >> \"$(dirname \"$0\")/seen\"",
        );
        desk
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.dir.path().join(path)
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.at("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn mount(&self, arguments: &[&str]) -> Command {
        let mut command = shoebox();
        command
            .arg("-r")
            .arg(self.home.repo_path())
            .arg("mount")
            .args(arguments)
            .current_dir(self.home.dir.path());
        let path = format!("{}:{}", self.at("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("DISPLAY", ":99").env("XDG_RUNTIME_DIR", self.at("run"));
        command
    }

    fn opened(&self) -> Vec<String> {
        let text = fs::read_to_string(self.at("bin/opened")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn mounts(&self) -> Vec<PathBuf> {
        let table = fs::read_to_string("/proc/self/mounts").unwrap();
        let points = table
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .map(|point| point.replace("\\040", " "));
        points.map(PathBuf::from).filter(|point| point.starts_with(self.home.dir.path())).collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for point in self.mounts() {
            let _ = Command::new("fusermount3").args(["-u", "-z"]).arg(point).status();
        }
    }
}

fn unmount(point: &Path) {
    comes("it is in use", || {
        Command::new("fusermount3").args(["-u", "-q"]).arg(point).status().unwrap().success()
    });
}

#[test]
fn open_makes_a_place_opens_it_and_tidies_up() {
    if !has_fuse() {
        return;
    }
    let desk = Desk::new();
    let point = desk.at("run/shoebox/repository");
    succeeds(&mut desk.mount(&["--open"]));
    let real = point.join("latest").canonicalize().unwrap();
    assert_eq!(desk.opened(), [real.display().to_string()]);
    assert_eq!(fs::read_to_string(desk.at("bin/seen")).unwrap(), "database\nfiles\nusers\n");
    assert_eq!(point.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
    // Asked for again, it is opened again; another view of it lies elsewhere.
    let said = succeeds(&mut desk.mount(&["--open"]));
    assert!(said.contains("mounted already"), "{said}");
    assert_eq!((desk.opened().len(), desk.mounts().len()), (2, 1));
    succeeds(&mut desk.mount(&["--open", "--user", "Ann Lee"]));
    let other = desk.at("run/shoebox/repository of Ann Lee");
    assert_eq!(desk.mounts().len(), 2);
    assert!(desk.opened()[2].starts_with(other.to_str().unwrap()));
    for point in [&point, &other] {
        unmount(point);
    }
    comes("the places stay", || !desk.at("run/shoebox").exists());
}

#[test]
fn a_place_left_over_from_a_mount_that_died_is_used_again_and_a_strangers_is_not() {
    if !has_fuse() {
        return;
    }
    let desk = Desk::new();
    let point = desk.at("run/shoebox/repository");
    fs::create_dir_all(&point).unwrap();
    fs::write(point.join("mine"), "x").unwrap();
    succeeds(&mut desk.mount(&["--open"]));
    let mounts = desk.mounts();
    assert!(mounts.len() == 1 && mounts[0] != point, "{mounts:?}");
    let serving = serving(&mounts[0]);
    let serving = rustix::process::Pid::from_raw(serving).unwrap();
    rustix::process::kill_process(serving, rustix::process::Signal::KILL).unwrap();
    comes("it answers", || {
        fs::read_dir(&mounts[0]).is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
    });
    succeeds(&mut desk.mount(&["--open"]));
    assert_eq!(desk.mounts(), mounts);
    assert!(mounts[0].join("latest").exists());
}

/// The process that serves the mount at `point`.
fn serving(point: &Path) -> i32 {
    let value = format!("SHOEBOX_SERVING_IN_BACKGROUND={}", point.display());
    let has = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == value.as_bytes())
    };
    let mut all = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.find(has).unwrap()
}

#[test]
fn open_goes_by_the_folder_that_it_is_given_and_by_idle() {
    if !has_fuse() {
        return;
    }
    let desk = Desk::new();
    fs::create_dir(desk.at("photos")).unwrap();
    succeeds(&mut desk.mount(&["--open", "--idle", "1s", "photos"]));
    assert_eq!(desk.mounts(), [desk.at("photos")]);
    comes("it stays mounted", || desk.mounts().is_empty());
    assert!(desk.at("photos").exists());
}

#[test]
fn where_nothing_can_be_opened_nothing_is_mounted() {
    let desk = Desk::new();
    let said = |command: &mut Command| {
        let output = run(command);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let none = said(desk.mount(&["--open"]).env("PATH", desk.at("none")));
    assert!(
        none.contains("neither xdg-open nor gio")
            && none.contains("hint: install the package xdg-utils"),
        "{none}"
    );
    let bare = said(desk.mount(&["--open"]).env_remove("DISPLAY"));
    assert!(bare.contains("no desktop found") && bare.contains("hint: "), "{bare}");
    assert!(desk.mounts().is_empty() && !desk.at("run/shoebox").exists());
    // One that fails is told, and the mount stays: the person asked for it.
    if has_fuse() {
        desk.program("xdg-open", "exit 4");
        desk.program("gio", "exit 2");
        let failed = said(&mut desk.mount(&["--open"]));
        assert!(
            failed.contains("could not open") && failed.contains("mounted all the same"),
            "{failed}"
        );
        assert_eq!(desk.mounts().len(), 1);
    }
    assert_eq!(run(&mut desk.mount(&[])).status.code(), Some(2));
}

// /etc/fstab and systemd
// ------------------------------------------------------------------------------------

/// In a mount namespace of its own, whose /usr/sbin holds the helper alone: mount(8) itself reads a
/// line of fstab.
#[test]
fn mount_mounts_a_line_of_fstab() {
    holds(&["M6"]);
    if !has_fuse() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root for a mount namespace");
    }
    let desk = Desk::new();
    fs::create_dir(desk.at("photos")).unwrap();
    fs::create_dir(desk.at("sbin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_shoebox"), desk.at("sbin/mount.fuse.shoebox"))
        .unwrap();
    let (repository, point) = (desk.home.repo_path(), desk.at("photos"));
    let line = |options: &str| {
        format!("{} {} fuse.shoebox {options} 0 0\n", repository.display(), point.display())
    };
    let script = "set -e
        mount --bind \"$1/sbin\" \"$(realpath /sbin)\"
        mount -T \"$1/fstab\" \"$1/photos\"
        grep \" $1/photos \" /proc/self/mounts
        ls \"$1/photos/latest/users\"
        stat -c %u \"$1/photos/latest/users/Ann Lee/by date/2025/2025-01/IMG_1.jpg\"
        mount -T \"$1/fstab\" -a   # it knows what it mounted
        umount \"$1/photos\"";
    let with = |options: &str| {
        fs::write(desk.at("fstab"), line(options)).unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(desk.home.dir.path())
            .env_remove("SHOEBOX_REPOSITORY");
        run(&mut command)
    };
    let done =
        with("noauto,user,allow_other,uid=1234,idle=1h,show_user=Ann\\040Lee,x-systemd.automount");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{text}\n{}", String::from_utf8_lossy(&done.stderr));
    assert!(
        text.starts_with(&format!("{} {} fuse", repository.display(), point.display())),
        "{text}"
    );
    assert!(text.contains(" ro,") && text.contains("\nAnn Lee\n1234\n"), "{text}");
    let again = with("auto,show_user=ann@example.com");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let wrong = with("noauto,shiny");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(!wrong.status.success() && said.contains("does not know the option `shiny`"), "{said}");
    let nobody = with("noauto,show_user=Nobody");
    assert!(
        nobody.status.code() == Some(32)
            && String::from_utf8_lossy(&nobody.stderr).contains("Nobody"),
        "{nobody:?}"
    );
}

#[test]
fn systemd_is_told_when_the_mount_answers() {
    if !has_fuse() {
        return;
    }
    let desk = Desk::new();
    fs::create_dir(desk.at("photos")).unwrap();
    let socket = std::os::unix::net::UnixDatagram::bind(desk.at("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut child =
        desk.mount(&["photos"]).env("NOTIFY_SOCKET", desk.at("notify")).spawn().unwrap();
    let mut told = [0; 100];
    let len = socket.recv(&mut told);
    let there = desk.at("photos/latest").exists();
    let _ = Command::new("fusermount3").args(["-u", "-z"]).arg(desk.at("photos")).status();
    let ended = child.wait().unwrap();
    assert_eq!(&told[..len.unwrap()], b"READY=1\n");
    assert!(there && ended.success());
}
