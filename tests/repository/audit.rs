//! What `shoebox audit` finds, what it does not take for a finding, and what nobody gets to see
//! unasked.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sha1::{Digest, Sha1};
use shoebox::base::monitor::SilentMonitor;
use shoebox::source::ExternalFolder;
use shoebox::task::backup::{Report, backup};

use crate::backup_library::{ANN, Home, noise, set_mtime};

const BOB: &str = "22222222-2222-4222-8222-222222222222";
const NOBODY: &str = "33333333-3333-4333-8333-333333333333";
const FAMILY: &str = "f1111111-1111-4111-8111-111111111111";
const NAS: &str = "f2222222-2222-4222-8222-222222222222";
const EVIL: &str = "evil\u{1b}[31m\u{202e}gpj.exe";

/// Every file is as old as this: what is younger than its snapshot came while the backup ran.
const LONG_AGO: i64 = 1_700_000_000_000_000_000;

fn id(number: u32) -> String {
    format!("{number:08x}-1111-4111-8111-111111111111")
}

/// A row of `asset`.
#[derive(Clone)]
struct Row {
    number: u32,
    owner: &'static str,
    name: String,
    path: String,
    checksum: String,
    visibility: &'static str,
    live: String,
    library: Option<&'static str>,
    trashed: bool,
    offline: bool,
    stack: String,
}

impl Row {
    /// A photo of Ann's whose bytes are those of its number.
    fn new(number: u32, name: &str, file: &str) -> Row {
        Row {
            number,
            owner: ANN,
            name: name.into(),
            path: format!("/data/{file}"),
            checksum: sha1(&bytes(number)),
            visibility: "timeline",
            live: "\\N".into(),
            library: None,
            trashed: false,
            offline: false,
            stack: "\\N".into(),
        }
    }

    fn external(number: u32, path: &str, library: &'static str) -> Row {
        let name = path.rsplit('/').next().unwrap();
        let row = Row::new(number, name, "");
        Row {
            path: path.into(),
            checksum: sha1(format!("path:{path}").as_bytes()),
            library: Some(library),
            ..row
        }
    }

    fn line(&self) -> String {
        let Row { owner, name, path, checksum, visibility, live, stack, .. } = self;
        let time = "2025-01-02 03:04:05+00";
        let (deleted, status) = if self.trashed { (time, "trashed") } else { ("\\N", "active") };
        let (external, algorithm) =
            if self.library.is_some() { ("t", "sha1-path") } else { ("f", "sha1") };
        let (library, offline) =
            (self.library.unwrap_or("\\N"), if self.offline { "t" } else { "f" });
        format!(
            "{}\t{owner}\tIMAGE\t{path}\t{name}\t\\\\x{checksum}\t{algorithm}\t{time}\t{time}\t{time}\t{deleted}\t{status}\t{visibility}\t{live}\t{library}\t{external}\t{offline}\t{stack}",
            id(self.number)
        )
    }
}

fn bytes(number: u32) -> Vec<u8> {
    noise(number.into(), 1000 + number as usize)
}

fn sha1(bytes: &[u8]) -> String {
    hex::encode(Sha1::digest(bytes))
}

/// A dump of these assets and of `more` tables: name, columns and rows.
fn dump(assets: &[Row], more: &[(&str, &str, Vec<String>)]) -> String {
    let mut text = String::from("--\n-- PostgreSQL database dump\n--\n\n");
    let mut copy = |table: &str, columns: &str, rows: &[String]| {
        text += &format!(
            "CREATE TABLE public.{table} (x text);\n\nCOPY public.{table} ({columns}) FROM stdin;\n"
        );
        rows.iter().for_each(|row| text += &format!("{row}\n"));
        text += "\\.\n\n\n";
    };
    let columns = "id, \"ownerId\", type, \"originalPath\", \"originalFileName\", checksum, \
        \"checksumAlgorithm\", \"localDateTime\", \"fileCreatedAt\", \"createdAt\", \"deletedAt\", \
        status, visibility, \"livePhotoVideoId\", \"libraryId\", \"isExternal\", \"isOffline\", \
        \"stackId\"";
    copy("asset", columns, &assets.iter().map(Row::line).collect::<Vec<_>>());
    copy("album", "id, \"albumName\"", &[]);
    let users = [
        format!("{ANN}\tAnn Lee\tann@example.com\tann\t/data/profile/{ANN}/ann.webp\t\\N"),
        format!("{BOB}\tBob\tbob@example.com\t\\N\t\t2025-02-03 04:05:06+00"),
    ];
    copy(
        "\"user\"",
        "id, name, email, \"storageLabel\", \"profileImagePath\", \"deletedAt\"",
        &users,
    );
    let libraries = [
        format!("{FAMILY}\t{ANN}\tFamily\t{{/mnt/family}}"),
        format!("{NAS}\t{ANN}\tNAS\t{{/mnt/nas/}}"),
    ];
    copy("library", "id, \"ownerId\", name, \"importPaths\"", &libraries);
    more.iter().for_each(|(table, columns, rows)| copy(table, columns, rows));
    text + "--\n-- PostgreSQL database dump complete\n--\n\n"
}

fn put(home: &Home, file: &str, bytes: &[u8]) -> PathBuf {
    let place = home.write(file, bytes);
    set_mtime(&place, LONG_AGO);
    place
}

/// What looks wrong and is not.
fn traps(home: &Home) -> Vec<Row> {
    let ann = |number: u32| format!("upload/{ANN}/aa/bb/{number}.jpg");
    let mut rows = vec![
        Row::new(1, "plain.jpg", &ann(1)),
        Row { trashed: true, ..Row::new(2, "trashed.jpg", &ann(2)) },
        Row { visibility: "locked", ..Row::new(3, "secret.jpg", &ann(3)) },
        Row { visibility: "archive", ..Row::new(4, "archived.jpg", &ann(4)) },
        Row { path: format!("/usr/src/app/upload/{}", ann(6)), ..Row::new(6, "of v1.136.jpg", "") },
        Row { path: format!("upload/{}", ann(7)), ..Row::new(7, "of v1.132.jpg", "") },
        Row { live: id(9), ..Row::new(8, "live.jpg", &ann(8)) },
        Row {
            owner: BOB,
            ..Row::new(12, "of a deleted account.jpg", &format!("upload/{BOB}/aa/bb/12.jpg"))
        },
        Row { path: "/elsewhere/13.jpg".into(), ..Row::new(13, "outside.jpg", "") },
        Row { checksum: sha1(&bytes(1)), ..Row::new(14, "the same again.jpg", &ann(14)) },
    ];
    rows.iter().for_each(|row| drop(put(home, &ann(row.number), &bytes(row.number))));
    fs::remove_file(home.upload().join(ann(12))).unwrap();
    put(home, &ann(14), &bytes(1));
    put(home, &format!("upload/{BOB}/aa/bb/12.jpg"), &bytes(12));
    let motion = format!("encoded-video/{ANN}/aa/bb/9-MP.mp4");
    put(home, &motion, &bytes(9));
    rows.push(Row { visibility: "hidden", ..Row::new(9, "live.mp4", &motion) });
    // The server composes its letters, the disk does not; inside and outside of UPLOAD_LOCATION.
    rows.push(Row::new(5, "city.jpg", "library/ann/Z\u{fc}rich/b\u{e4}r.jpg"));
    put(home, "library/ann/Zu\u{308}rich/ba\u{308}r.jpg", &bytes(5));
    rows.push(Row::external(15, "/mnt/family/caf\u{e9}.jpg", FAMILY));
    rows.push(Row::external(10, "/mnt/family/aunt.jpg", FAMILY));
    rows.push(Row {
        offline: true,
        trashed: true,
        ..Row::external(11, "/mnt/family/gone.jpg", FAMILY)
    });
    let family = home.dir.path().join("family");
    fs::create_dir_all(&family).unwrap();
    for name in ["cafe\u{301}.jpg", "aunt.jpg", "notes.txt"] {
        fs::write(family.join(name), name).unwrap();
        set_mtime(&family.join(name), LONG_AGO);
    }
    for file in [
        format!("profile/{ANN}/ann.webp"),
        format!("thumbs/{ANN}/aa/bb/{}_preview.jpeg", id(1)),
        format!("encoded-video/{ANN}/aa/bb/{}.mp4", id(1)),
        format!("upload/{ANN}/.fuse_hidden0000000100000001"),
        format!("upload/{ANN}/aa/bb/half.jpg.part"),
        "library/ann/.DS_Store".into(),
        "library/ann/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg".into(),
    ] {
        put(home, &file, file.as_bytes());
    }
    rows
}

/// What is wrong, beside the traps.
fn wrongs(home: &Home) -> Vec<Row> {
    let ann = |number: u32| format!("upload/{ANN}/cc/dd/{number}.jpg");
    let rows = vec![
        Row::new(20, "never there.jpg", &ann(20)),
        Row::new(21, "moved.jpg", "library/ann/21.jpg"),
        Row::new(22, "case.jpg", "library/ann/22.JPG"),
        Row::new(23, "rotten.jpg", &ann(23)),
        Row::new(24, "edited.jpg", &ann(24)),
        Row::new(25, "differs.jpg", &ann(25)),
        Row::new(26, "no sidecar.jpg", &ann(26)),
        Row { live: id(28), ..Row::new(27, "half.jpg", &ann(27)) },
        Row { visibility: "hidden", ..Row::new(28, "half.mov", &ann(28)) },
        Row { live: id(99), ..Row::new(29, "rowless half.jpg", &ann(29)) },
        Row { visibility: "locked", ..Row::new(30, "very secret.jpg", &ann(30)) },
        Row::new(31, "deleted by hand.jpg", &ann(31)),
        Row::external(40, "/mnt/nas/40.jpg", NAS),
        Row::external(41, "/mnt/nas/41.jpg", NAS),
        Row::external(42, "/mnt/family/lost.jpg", FAMILY),
    ];
    for number in [23, 24, 26, 27, 29, 31] {
        put(home, &ann(number), &bytes(number));
    }
    put(home, &ann(25), b"something else");
    put(home, "library/ann/moved/21.jpg", &bytes(21));
    put(home, "library/ann/22.jpg", &bytes(22));
    put(home, &format!("upload/{ANN}/stray.jpg"), b"a stray");
    put(home, &format!("upload/{ANN}/copy.jpg"), &bytes(4));
    put(home, &format!("upload/{ANN}/copy of a secret.jpg"), &bytes(3));
    put(home, &format!("upload/{ANN}/{EVIL}"), b"evil");
    put(home, &format!("upload/{NOBODY}/x.jpg"), b"of nobody");
    put(home, &format!("encoded-video/{ANN}/aa/bb/stray-MP.mp4"), b"a stray motion video");
    rows
}

fn night(home: &Home, paranoid: bool) -> Report {
    let family =
        ExternalFolder { server: "/mnt/family".into(), folder: home.dir.path().join("family") };
    let external = if family.folder.exists() { vec![family] } else { Vec::new() };
    let options =
        shoebox::task::backup::Options { generated: true, external, paranoid, ..home.options() };
    backup(&home.repository(), options, &SilentMonitor).unwrap()
}

fn shoebox(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
    command.arg("-r").arg(root);
    command
}

/// Exit code, answer and the rest.
fn said(home: &Home, arguments: &[&str]) -> (i32, String, String) {
    let output = shoebox(&home.repo_path()).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Findings without the summary, and the summary.
fn audit(home: &Home, more: &[&str]) -> (Vec<Value>, Value) {
    let (code, out, err) = said(home, &[&["audit", "--json"], more].concat());
    let mut lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap_or_else(|| panic!("{err}"));
    assert_eq!(code, if lines.is_empty() { 0 } else { 3 }, "{out}{err}");
    (lines, summary)
}

/// Class, owner and name of each.
fn told(findings: &[Value]) -> BTreeSet<[String; 3]> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    findings
        .iter()
        .map(|it| [text(&it["finding"]), text(&it["owner_name"]), text(&it["name"])])
        .collect()
}

fn expected(list: &[[&str; 3]]) -> BTreeSet<[String; 3]> {
    list.iter().map(|it| it.map(str::to_owned)).collect()
}

#[test]
fn what_only_looks_wrong_is_no_finding() {
    let home = Home::new();
    home.write_dump(&dump(&traps(&home), &[]));
    let report = night(&home, false);
    assert!(report.audit.is_empty(), "{:?}", report.audit);
    let (findings, summary) = audit(&home, &["--locked"]);
    assert_eq!(told(&findings), expected(&[]));
    let aside = &summary["aside"];
    assert_eq!(
        (&aside["offline"], &aside["unmapped"], &aside["external"]),
        (&1.into(), &1.into(), &1.into())
    );
    // What comes while the backup runs has no row yet; a night later that is no excuse.
    put(&home, &format!("upload/{ANN}/ee/ff/new.jpg"), b"new");
    assert!(night(&home, false).audit.is_empty());
    assert_eq!(audit(&home, &[]).1["aside"]["new_files"], 1);
    night(&home, false);
    assert_eq!(told(&audit(&home, &[]).0), expected(&[["no_row", "Ann Lee", "new.jpg"]]));
}

#[test]
fn every_class_is_found_told_and_kept_private() {
    let home = Home::new();
    let mut rows = traps(&home);
    rows.extend(wrongs(&home));
    let sidecar = (
        "asset_file",
        "\"assetId\", type, path",
        vec![format!("{}\tsidecar\t/data/upload/{ANN}/26.xmp", id(26))],
    );
    home.write_dump(&dump(&rows, &[sidecar]));
    let first = night(&home, false).record.id.to_string();
    let at = |number: u32| home.upload().join(format!("upload/{ANN}/cc/dd/{number}.jpg"));
    fs::write(at(23), noise(777, 1023)).unwrap();
    set_mtime(&at(23), LONG_AGO);
    fs::write(at(24), b"cropped").unwrap();
    fs::remove_file(at(31)).unwrap();
    let second = night(&home, true);

    let mut all = vec![
        ["no_file", "Ann Lee", "never there.jpg"],
        ["no_file", "Ann Lee", "deleted by hand.jpg"],
        ["no_file", "Ann Lee", "lost.jpg"],
        ["no_file", "Ann Lee", "-"],
        ["no_live_video", "Ann Lee", "half.mov"],
        ["no_live_video", "Ann Lee", "rowless half.jpg"],
        ["rotten", "Ann Lee", "rotten.jpg"],
        ["edited", "Ann Lee", "edited.jpg"],
        ["differs", "Ann Lee", "differs.jpg"],
        ["no_sidecar", "Ann Lee", "no sidecar.jpg"],
        ["elsewhere", "Ann Lee", "moved.jpg"],
        ["elsewhere", "Ann Lee", "case.jpg"],
        ["no_row", "Ann Lee", "stray.jpg"],
        ["no_row", "Ann Lee", "copy.jpg"],
        ["no_row", "Ann Lee", "-"],
        ["no_row", "Ann Lee", EVIL],
        ["no_row", "Ann Lee", "stray-MP.mp4"],
        ["no_row", NOBODY, "x.jpg"],
        ["not_covered", "Ann Lee", "NAS"],
    ];
    let (findings, summary) = audit(&home, &[]);
    assert_eq!(told(&findings), expected(&all));
    let secret = serde_json::to_string(&findings).unwrap();
    assert!(!secret.contains("secret"), "{secret}");
    let find = |name: &str| findings.iter().find(|it| it["name"] == name).unwrap();
    assert_eq!(find("NAS")["count"], 2);
    for name in ["deleted by hand.jpg", "rotten.jpg", "edited.jpg"] {
        assert_eq!(find(name)["snapshot"], first.as_str(), "{name}");
    }
    assert_eq!(find("moved.jpg")["found"], "library/ann/moved/21.jpg");
    assert_eq!(find("copy.jpg")["of"], "archived.jpg");
    assert_eq!(find("half.mov")["of"], "half.jpg");
    // The backup has told the same numbers.
    for (class, tally) in &second.audit {
        let class = serde_json::to_value(class).unwrap();
        assert_eq!(summary["totals"][class.as_str().unwrap()]["count"], tally.count, "{class}");
    }
    assert_eq!(second.audit.len(), summary["totals"].as_object().unwrap().len());

    all.retain(|it| it[2] != "-");
    all.extend([
        ["no_file", "Ann Lee", "very secret.jpg"],
        ["no_row", "Ann Lee", "copy of a secret.jpg"],
    ]);
    assert_eq!(told(&audit(&home, &["--locked"]).0), expected(&all));
    assert_eq!(told(&audit(&home, &["--user", "bob"]).0), expected(&[]));
    let then = told(&audit(&home, &["--snapshot", &first]).0);
    assert!(!then.iter().any(|it| ["rotten", "edited"].contains(&it[0].as_str())), "{then:?}");

    let (code, text, _) = said(&home, &["audit"]);
    assert_eq!(code, 3);
    let restore = format!("shoebox restore --snapshot {first} --asset {} --to DIR", id(23));
    for part in [
        "Ann Lee\n",
        &restore,
        "upper and lower case",
        "the same bytes as archived.jpg",
        "2 photos: /mnt/nas/",
        NOBODY,
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains(['\u{1b}', '\u{202e}']) && !text.contains("secret"), "{text}");
    nobody_reads(&home);
}

/// Pipes that nobody reads and files that take nothing are no reason to panic.
fn nobody_reads(home: &Home) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = shoebox(&home.repo_path()).arg("audit").stdout(writer).output().unwrap();
    assert_eq!((output.status.signal(), output.stderr.as_slice()), (Some(libc::SIGPIPE), &b""[..]));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let quietly = |errors: Stdio, arguments: &[&str]| {
        shoebox(&home.repo_path())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(errors)
            .status()
            .unwrap()
            .code()
    };
    assert_eq!(quietly(writer.into(), &["ls", "no such folder"]), Some(1));
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    assert_eq!(quietly(full(), &["ls", "no such folder"]), Some(1));
    assert_eq!(quietly(full(), &["repair", "catalog"]), Some(0));
    let output = shoebox(&home.repo_path()).arg("audit").stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn halves_covers_and_faces_of_locked_photos_are_not_shown_unasked() {
    let home = Home::new();
    let (stack, person) =
        ("50000000-1111-4111-8111-111111111111", "60000000-1111-4111-8111-111111111111");
    let ann = |number: u32| format!("upload/{ANN}/{number}.jpg");
    let file = |row: &Row| drop(put(&home, &ann(row.number), &bytes(row.number)));
    let mut rows = vec![
        Row { live: id(2), ..Row::new(1, "intimate.jpg", &ann(1)) },
        Row::new(2, "intimate.mov", &ann(2)),
        Row { stack: stack.into(), ..Row::new(3, "cover.jpg", &ann(3)) },
        Row { stack: stack.into(), ..Row::new(4, "below.jpg", &ann(4)) },
    ];
    rows.iter().for_each(file);
    let thumbnail = format!("thumbs/{ANN}/60/00/{person}.jpeg");
    put(&home, &thumbnail, b"a face");
    let more = [
        (
            "stack",
            "id, \"primaryAssetId\", \"ownerId\"",
            vec![format!("{stack}\t{}\t{ANN}", id(3))],
        ),
        ("person", "id, \"ownerId\", name", vec![format!("{person}\t{ANN}\tEve")]),
        ("asset_face", "\"assetId\", \"personId\"", vec![format!("{}\t{person}", id(3))]),
    ];
    home.write_dump(&dump(&rows, &more));
    night(&home, false);
    let shows = |arguments: &[&str], text: &str| said(&home, arguments).1.contains(text);
    let faces = format!("files/thumbs/{ANN}/60/00");
    let looks: [(&[&str], &str); 3] = [
        (&["find", "--all-snapshots", "*.mov"], "intimate"),
        (&["ls", "latest", "users/Ann Lee/stacks"], "cover"),
        (&["ls", "latest", &faces], person),
    ];
    for (arguments, text) in looks {
        assert!(shows(arguments, text), "{arguments:?}: {:?}", said(&home, arguments));
    }
    rows[0].visibility = "locked";
    rows[2].visibility = "locked";
    home.write_dump(&dump(&rows, &more));
    night(&home, false);
    for (arguments, text) in looks {
        assert!(!shows(arguments, text), "{arguments:?}: {:?}", said(&home, arguments));
        assert!(shows(&[arguments, &["--locked"]].concat(), text), "{arguments:?} --locked");
    }
}
