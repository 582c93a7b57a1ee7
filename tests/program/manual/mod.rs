//! The manual does what it says: each recipe, which is each indented block of `shoebox help PAGE`,
//! is typed word for word on a machine like the reader's, and what the page promises is looked at
//! afterwards.
//!
//! Nothing of the recipes stands here: a story names the headings, and a page that has one more, or
//! less, fails. shoebox, tar, zstd, rsync, psql, mounts and the files of compose are real; docker,
//! apt, systemctl and sudo are stand-ins.

mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{is_root, project};
use machine::Machine;

/// One test for each page, and the list of all.
macro_rules! pages {
    ($($page:ident),*) => {
        const STORIES: &[&str] = &[$(stringify!($page)),*];
        $(#[test] fn $page() { read(stringify!($page), stories::$page); })*
    };
}

pages![setup, restore, server, r#move, disk, plain, missing];

/// A page that is being followed.
struct Reading {
    page: &'static str,
    blocks: Vec<Block>,
    next: usize,
}

struct Block {
    heading: String,
    text: String,
}

/// Follows a page from its beginning to its end.
fn read(page: &'static str, story: fn(&mut Reading)) {
    if !is_root() {
        println!("skipped: only root can make a machine beside this one");
        return;
    }
    let page = page.trim_start_matches("r#");
    let mut reading = Reading { page, blocks: blocks(&said(&["help", page])), next: 0 };
    assert!(!reading.blocks.is_empty(), "{page} has no recipe");
    story(&mut reading);
    let left: Vec<&str> =
        reading.blocks[reading.next..].iter().map(|block| block.text.as_str()).collect();
    assert!(left.is_empty(), "{page}: nobody typed {left:?}");
}

impl Reading {
    /// Types the blocks below the next heading, which begins with `heading`; all of them end well.
    /// What they said.
    #[track_caller]
    fn follow(&mut self, machine: &Machine, heading: &str) -> String {
        self.ends(machine, heading, 0)
    }

    /// The same, where the last command ends with `code`.
    #[track_caller]
    fn ends(&mut self, machine: &Machine, heading: &str, code: i32) -> String {
        let mut text = String::new();
        let begun = self.next;
        while let Some(block) =
            self.blocks.get(self.next).filter(|block| block.heading.starts_with(heading))
        {
            let said = machine.types(&block.text);
            assert_eq!(said.code, code, "{}, {heading}:\n{}\n{}", self.page, block.text, said.text);
            println!("{}\n{}", block.text, said.text);
            text += &said.text;
            self.next += 1;
        }
        let next = self.blocks.get(self.next).map(|block| block.heading.as_str());
        assert!(
            self.next > begun,
            "{}: no recipe below {heading:?}, but below {next:?}",
            self.page
        );
        text
    }
}

/// The blocks of a page: what is indented by four blanks, and the lines between that are empty only
/// if the block goes on.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut heading, mut inside) = (String::new(), false);
    for line in page.lines() {
        match (line.strip_prefix("    "), line.strip_prefix("## ")) {
            (Some(code), _) if inside => {
                let block = blocks.last_mut().unwrap();
                block.text += "\n";
                block.text += code;
            }
            (Some(code), _) => {
                blocks.push(Block { heading: heading.clone(), text: code.to_owned() })
            }
            (None, Some(title)) => heading = title.to_owned(),
            (None, None) => {}
        }
        inside = line.starts_with("    ");
    }
    blocks
}

/// What the program says; it ends well.
#[track_caller]
fn said(arguments: &[&str]) -> String {
    let output = crate::support::run(Command::new(env!("CARGO_BIN_EXE_shoebox")).args(arguments));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
}

/// Every file below `folder`, by its path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    let name = |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    files.map(|entry| (name(entry.path()), fs::read(entry.path()).unwrap())).collect()
}

/// The files of a library that a backup holds: not what Immich makes again, nor its marks.
fn originals(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(folder);
    files.retain(|path, _| {
        let made = path.starts_with("thumbs/")
            || path.starts_with("encoded-video/") && !path.ends_with("-MP.mp4");
        !made && !path.starts_with("backups/") && !path.ends_with("/.immich")
    });
    assert!(files.len() > 50, "{}: {} files", folder.display(), files.len());
    files
}

/// The library at `path` is the one that was lost.
#[track_caller]
fn is_whole(machine: &Machine, path: &str) {
    let (lost, found) =
        (originals(&machine.library.upload_location()), originals(&machine.path(path)));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&lost));
    assert!(found == lost, "the bytes of a file differ");
    for name in ["backups", "encoded-video", "library", "profile", "thumbs", "upload"] {
        assert!(machine.path(path).join(name).join(".immich").is_file(), "{name}");
    }
}

/// The bytes of the one photo of the first night that the second has not.
fn deleted(machine: &Machine) -> Vec<u8> {
    let now: BTreeSet<Vec<u8>> =
        originals(&machine.library.upload_location()).into_values().collect();
    let gone: Vec<Vec<u8>> =
        originals(&machine.first()).into_values().filter(|bytes| !now.contains(bytes)).collect();
    assert_eq!(gone.len(), 1);
    gone.into_iter().next().unwrap()
}

/// What the backup does not hold lies in `folder`.
#[track_caller]
fn are_kept(machine: &Machine, folder: &str) {
    for file in ["/srv/immich/.env", "/srv/immich/docker-compose.yml", "/etc/shoebox.toml"] {
        let kept = machine.path(folder).join(file.rsplit('/').next().unwrap());
        assert_eq!(fs::read(kept).unwrap(), fs::read(machine.path(file)).unwrap(), "{file}");
    }
}

/// How many snapshots a repository has.
fn snapshots(machine: &Machine, repository: &str) -> usize {
    fs::read_dir(machine.path(repository).join("snapshots")).unwrap().count()
}

#[test]
fn every_page_is_listed_shown_as_it_is_written_and_told_by_a_story() {
    let list = said(&["help"]);
    let folder = project().join("src/cli/manual");
    let mut told: BTreeSet<&str> =
        STORIES.iter().map(|page| page.trim_start_matches("r#")).collect();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (name, text) =
            (path.file_stem().unwrap().to_str().unwrap(), fs::read_to_string(&path).unwrap());
        assert!(told.remove(name), "nobody follows the page {name}");
        let title = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        assert!(
            list.lines().any(|line| line == format!("  {name:<8} {title}")),
            "{name} is not in\n{list}"
        );
        let shown = said(&["help", name]);
        assert!(shown.starts_with(&text), "{name}");
        assert!(
            shown.lines().all(|line| line.chars().count() <= 100 && !line.contains('\t')),
            "{name} is too wide"
        );
    }
    assert!(told.is_empty(), "no such page: {told:?}");
}

#[test]
fn a_page_and_a_command_of_one_name_are_both_found() {
    let page = said(&["help", "restore"]);
    assert!(page.starts_with("# Getting things back"), "{page}");
    assert!(
        page.trim_end().ends_with("`shoebox restore --help` has the flags of that command."),
        "{page}"
    );
    assert!(!said(&["help", "server"]).contains("--help` has the flags"));
    for words in [vec!["backup"], vec!["repair", "catalog"], vec!["help"]] {
        let help = |words: Vec<&str>| {
            said(&words).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            help([vec!["help"], words.clone()].concat()),
            help([words, vec!["--help"]].concat())
        );
    }
    let all = said(&["help"]);
    assert!(
        all.starts_with(&said(&["--help"])) && all.contains("Manual (shoebox help PAGE):"),
        "{all}"
    );
}

#[test]
fn an_unknown_topic_suggests_the_nearest_and_lists_the_pages() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_shoebox")).args(["help", "restor"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(2), vec![]));
    has(
        &error,
        &[
            "no page and no command is called \"restor\"",
            "hint: did you mean `shoebox help restore`?",
            "  server ",
        ],
    );
    let output =
        Command::new(env!("CARGO_BIN_EXE_shoebox")).args(["help", "xyzzy"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(2)
            && !error.contains("did you mean")
            && error.contains("  plain "),
        "{error}"
    );
}

#[test]
fn the_manual_is_there_when_the_settings_are_wrong_and_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shoebox.toml");
    fs::write(&file, "[[[ no settings").unwrap();
    let shoebox = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
        command.env("SHOEBOX_CONFIG", &file);
        command
    };
    assert_eq!(shoebox().arg("snapshots").output().unwrap().status.code(), Some(2));
    assert_eq!(shoebox().args(["help", "server"]).output().unwrap().status.code(), Some(0));
    let mut closed = shoebox()
        .args(["help", "server"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(closed.stdout.take());
    let mut error = String::new();
    closed.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    closed.wait().unwrap();
    assert_eq!(error, "");
}

/// The command lines of shoebox in a text: in its indented blocks, and between backquotes.
fn commands(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let indented = joined.lines().filter_map(|line| line.strip_prefix("    "));
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let mut commands = Vec::new();
    for line in indented.chain(quoted) {
        // What comes after a pipe, a semicolon or the like is a command of its own.
        for part in line.split(['|', ';']) {
            if !part.contains("shoebox ") {
                continue;
            }
            let words = shlex::split(part).unwrap_or_else(|| panic!("no command line: {part}"));
            let words = words
                .into_iter()
                .skip_while(|word| word == "sudo" || word == "…")
                .collect::<Vec<_>>();
            if let Some((first, rest)) = words.split_first()
                && first == "shoebox"
            {
                let end =
                    rest.iter().position(|word| [">", "<", "#", "&&"].contains(&word.as_str()));
                commands.push(rest[..end.unwrap_or(rest.len())].to_vec());
            }
        }
    }
    commands
}

#[test]
fn every_command_that_the_readme_and_the_manual_name_is_one() {
    let pages = STORIES.iter().map(|page| said(&["help", page.trim_start_matches("r#")]));
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let mut parsed = 0;
    for text in pages.chain([readme]) {
        for words in commands(&text) {
            let mut command = Command::new(env!("CARGO_BIN_EXE_shoebox"));
            // A page that is named is shown, with a command only its help is asked for.
            let shows = words.first().is_some_and(|word| word == "help")
                && !words[1..].iter().any(|word| word.starts_with(['$', 'P', 'C']));
            command
                .args(&words)
                .args((!shows).then_some("--help"))
                .env("SHOEBOX_CONFIG", "/dev/null");
            let output = command.output().unwrap();
            assert!(
                output.status.success(),
                "{words:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            parsed += 1;
        }
    }
    assert!(parsed > 70, "{parsed}");
}

mod stories {
    use super::*;

    pub fn setup(reading: &mut Reading) {
        let machine = Machine::with_immich();
        has(&reading.follow(&machine, "0."), &["/mnt/usb"]);
        has(&reading.follow(&machine, "A1."), &["shoebox 0."]);
        let found = reading.follow(&machine, "A2.");
        has(&found, &["✓ the database immich answers", "at /mnt/external/family is covered"]);
        // What could be better hangs on this machine's psql.
        assert!(found.contains("all is well") || found.contains("nothing is wrong"), "{found}");
        assert!(!found.contains('✗'), "{found}");
        let first = reading.follow(&machine, "A3.");
        has(&first, &["snapshot 2", "57 assets", "complete"]);
        assert!(!first.contains("RED"), "{first}");
        let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
        let address = format!("http://{}/our-photos", server.server_addr());
        machine.prepare(&format!(
            "sed -i 's|^#ntfy-url = .*|ntfy-url = \"{address}\"|' /etc/shoebox.toml"
        ));
        let answering = std::thread::spawn(move || {
            let mut request = server
                .recv_timeout(std::time::Duration::from_secs(60))
                .unwrap()
                .expect("a message");
            let mut body = String::new();
            request.as_reader().read_to_string(&mut body).unwrap();
            request.respond(tiny_http::Response::from_string("{}")).unwrap();
            body
        });
        has(&reading.follow(&machine, "A4."), &["ntfy at 127.0.0.1: sent"]);
        has(&answering.join().unwrap(), &["our-photos", "a message to try"]);
        assert!(!machine.is_running("shoebox"));
        reading.follow(&machine, "A5.");
        assert!(machine.is_running("shoebox"));
        reading.follow(&machine, "A6.");
        are_kept(&machine, "/mnt/usb/keep");
        let (recover, script) =
            (machine.path("/mnt/usb/keep/recover"), project().join("scripts/recover"));
        assert_eq!(fs::read(recover).unwrap(), fs::read(script).unwrap());
        let manual = fs::read_to_string(machine.path("~/manual.txt")).unwrap();
        has(&manual, &["# The whole server died", "# A disk is failing"]);

        let machine = Machine::with_immich();
        reading.follow(&machine, "B1.");
        reading.follow(&machine, "B2.");
        has(&reading.follow(&machine, "B3."), &["made a repository", "snapshot 2", "57 assets"]);
        // Its container was not given the external library: it is told.
        has(
            &reading.follow(&machine, "B4."),
            &["1 snapshot", "2 of external libraries not covered; 57 assets"],
        );
        assert!(machine.is_running("immich_shoebox"));
        for file in [".env", "compose.shoebox.yml", "docker-compose.yml"] {
            let (kept, own) =
                (machine.path("/mnt/usb/keep").join(file), machine.path("/srv/immich").join(file));
            assert_eq!(fs::read(kept).unwrap(), fs::read(own).unwrap(), "{file}");
        }
        assert_eq!(snapshots(&machine, "/mnt/usb/photos"), 1);
    }

    pub fn restore(reading: &mut Reading) {
        let machine = Machine::with_two_nights();
        let photo = deleted(&machine);
        has(
            &reading.follow(&machine, "By looking around"),
            &["albums", "2026-11-22 03.00", "Birthday cake.jpg"],
        );
        assert_eq!(fs::read(machine.path("~/back/Birthday cake.jpg")).unwrap(), photo);
        assert!(!machine.path("/mnt/photos/latest").exists(), "it is mounted still");
        has(
            &reading.follow(&machine, "By its name"),
            &["2026-11-22T030005Z", "deleted since", "restored 1 file"],
        );
        assert_eq!(
            fs::read(machine.path("~/back/Ann Lee/2026/2026-05/Birthday cake.jpg")).unwrap(),
            photo
        );
        has(&reading.follow(&machine, "An album"), &["would be restored to"]);
        assert!(!machine.path("~/holiday").exists() && !machine.path("~/spring").exists());
    }

    pub fn server(reading: &mut Reading) {
        let machine = Machine::with_two_nights();
        let rows = machine.rows();
        machine.dies();
        has(
            &reading.follow(&machine, "1."),
            &["README.txt", "2026-11-23T030005Z", "60", "complete", "3.1.0"],
        );
        reading.follow(&machine, "2.");
        has(&reading.follow(&machine, "3."), &["restored", "files"]);
        is_whole(&machine, "/srv/immich/library");
        assert_eq!(files(&machine.path("/srv/family")), files(&machine.library.external()));
        has(&reading.follow(&machine, "4."), &["loaded 670 rows in 25 tables"]);
        assert_eq!(machine.rows(), rows);
        assert!(!machine.is_running("immich_server"));
        let after = reading.follow(&machine, "5.");
        has(&after, &["snapshot 2", "60 assets"]);
        assert!(!after.contains('✗'), "{after}");
        assert!(machine.is_running("immich_server") && machine.is_running("shoebox"));
        assert_eq!(snapshots(&machine, "/mnt/usb/photos"), 3);
    }

    pub fn r#move(reading: &mut Reading) {
        let machine = Machine::with_two_nights();
        let rows = machine.rows();
        has(&reading.follow(&machine, "1."), &["snapshot 2", "60 assets"]);
        assert!(!machine.is_running("immich_server") && machine.is_running("immich_postgres"));
        assert!(!machine.is_running("shoebox"));
        machine.prepare("rm -r /mnt/usb/keep");
        has(&reading.follow(&machine, "2."), &["all is well"]);
        are_kept(&machine, "/mnt/usb/keep");
        assert!(!machine.is_running("immich_postgres"));
        machine.dies();
        reading.follow(&machine, "3.");
        has(&reading.follow(&machine, "4."), &["restored 6", "loaded 670 rows"]);
        is_whole(&machine, "/srv/immich/library");
        assert_eq!(machine.rows(), rows);
        assert!(machine.is_running("immich_server"));
        machine.prepare(&format!("cp -a '{}' /srv/family", machine.library.external().display()));
        let after = reading.follow(&machine, "5.");
        has(&after, &["snapshot 2"]);
        assert!(!after.contains('✗'), "{after}");
        assert_eq!(snapshots(&machine, "/mnt/usb/photos"), 4);
        assert!(machine.is_running("shoebox"));
    }

    pub fn disk(reading: &mut Reading) {
        let machine = Machine::with_two_nights();
        has(&reading.follow(&machine, "1a."), &["snapshot 2"]);
        assert!(!machine.is_running("immich_server") && machine.is_running("immich_postgres"));
        has(&reading.follow(&machine, "1b."), &["restored"]);
        is_whole(&machine, "/mnt/new/library");
        let doctor = reading.follow(&machine, "1c.");
        has(&doctor, &["✓ the photos in /mnt/new/library"]);
        assert!(!doctor.contains('✗'), "{doctor}");
        assert!(machine.is_running("immich_server"));
        drop(machine);

        let machine = Machine::with_two_nights();
        rot(&machine.path("/mnt/usb/photos"));
        has(&reading.ends(&machine, "2a.", 3), &["First steps.mp4", "Ann Lee"]);
        reading.follow(&machine, "2b.");
        assert!(!machine.is_running("shoebox"));
        has(&reading.follow(&machine, "2c."), &["repaired", "all is well"]);
        has(&reading.follow(&machine, "2d."), &["snapshot 2"]);
        assert!(machine.is_running("shoebox"));
        assert_eq!(
            (snapshots(&machine, "/mnt/usb/photos"), snapshots(&machine, "/mnt/new/photos")),
            (2, 3)
        );
        are_kept(&machine, "/mnt/new/keep");
        drop(machine);

        let machine = Machine::with_two_nights();
        machine.prepare("umount /mnt/usb");
        has(
            &reading.follow(&machine, "2e."),
            &["made a repository in /mnt/new/photos", "snapshot 2", "60 assets"],
        );
        assert_eq!(snapshots(&machine, "/mnt/new/photos"), 1);
        assert!(machine.is_running("shoebox"));
        are_kept(&machine, "/mnt/new/keep");
    }

    /// Turns one bit of the one large video.
    fn rot(repository: &Path) {
        let mut archives = files(&repository.join("archives"));
        let (name, bytes) = archives.iter_mut().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        let at = largest_member(bytes) + 1_000_000;
        bytes[at] ^= 1;
        fs::write(repository.join("archives").join(name), bytes).unwrap();
    }

    /// Where the largest member's bytes begin.
    fn largest_member(archive: &[u8]) -> usize {
        let mut tar = tar::Archive::new(archive);
        let entries = tar.entries().unwrap().map(Result::unwrap);
        let (_, at) = entries.map(|entry| (entry.size(), entry.raw_file_position())).max().unwrap();
        at.try_into().unwrap()
    }

    pub fn plain(reading: &mut Reading) {
        let machine = Machine::with_two_nights();
        let rows = machine.rows();
        machine.dies();
        has(
            &reading.follow(&machine, "What is there"),
            &["README.txt", "archives", "catalog.sqlite"],
        );
        reading.follow(&machine, "All photos");
        let found: BTreeSet<Vec<u8>> = files(&machine.path("~/plain")).into_values().collect();
        for library in [machine.first(), machine.library.upload_location()] {
            let lost: Vec<String> = originals(&library)
                .into_iter()
                .filter(|(_, bytes)| !found.contains(bytes))
                .map(|(path, _)| path)
                .collect();
            assert!(lost.is_empty(), "{lost:?}");
        }
        reading.follow(&machine, "One photo");
        let photo = "library/admin/2026/2026-08-01/IMG_9001.jpg";
        let lost = fs::read(machine.library.upload_location().join(photo)).unwrap();
        assert_eq!(files(&machine.path("~/one")), [(photo.to_owned(), lost)].into());
        let recovered = reading.follow(&machine, "Everything of one night");
        has(&recovered, &["recovering 2026-11-23T030005Z", "no problems", "library.jsonl", photo]);
        reading.follow(&machine, "Back into Immich");
        is_whole(&machine, "/srv/immich/library");
        assert_eq!(machine.rows(), rows);
        assert!(machine.is_running("immich_server"));
        assert_eq!(files(&machine.path("/srv/family")), files(&machine.library.external()));
    }

    pub fn missing(reading: &mut Reading) {
        let machine = Machine::with_two_nights();
        machine.prepare("rm -r /mnt/usb/keep");
        let kept = reading.follow(&machine, "Immich's two files");
        has(&kept, &[".env", "docker-compose.yml", "shoebox.toml"]);
        are_kept(&machine, "/mnt/usb/keep");
        has(
            &reading.follow(&machine, "External"),
            &["at /mnt/external/family is covered", "external = ["],
        );
        has(&reading.follow(&machine, "Does each photo"), &["database, files and checksums agree"]);
        has(&reading.follow(&machine, "Would it come back"), &["all is well"]);
    }
}
