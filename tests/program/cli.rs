//! What a person sees: answers, errors that say what to do next, exit codes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::{Docker, Era, Postgres, Said, SampleLibrary, sample_library};
use assert_cmd::prelude::*;
use tempfile::TempDir;

/// A repository, a library and its dump.
struct Home {
    folder: TempDir,
    library: SampleLibrary,
}

fn shoebox() -> Command {
    let mut command = Command::cargo_bin("shoebox").unwrap();
    for name in ["SHOEBOX_REPOSITORY", "PGHOST", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGPORT"] {
        command.env_remove(name);
    }
    command.env("TZ", "UTC");
    command
}

impl Home {
    fn new() -> Home {
        let home =
            Home { folder: tempfile::tempdir().unwrap(), library: sample_library(1, Era::New) };
        home.shoebox(&["init"]).ends(0);
        home
    }

    fn repository(&self) -> std::path::PathBuf {
        self.folder.path().join("repository")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = shoebox();
        command.arg("-r").arg(self.repository()).args(arguments);
        command
    }

    fn shoebox(&self, arguments: &[&str]) -> Said {
        Said::of(&mut self.command(arguments))
    }

    /// A backup of the sample library with `dump`.
    fn backup(&self, dump: &Path, more: &[&str]) -> Said {
        let mut command = self.command(&["backup"]);
        command
            .arg("--upload-location")
            .arg(self.library.upload_location())
            .arg("--dump")
            .arg(dump)
            .args(more);
        Said::of(&mut command)
    }

    /// The sample's database, loaded into a server and dumped again by the real pg_dump.
    fn dump(&self) -> std::path::PathBuf {
        static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
        let path = self.folder.path().join("dump.sql");
        let text = TEXT.get_or_init(|| {
            let server = Postgres::start(crate::support::postgres::debian());
            server.create_database("immich");
            server.load("immich", &self.library.sql());
            crate::support::run(server.client("pg_dump", "immich").args(["--clean", "--if-exists"]))
                .stdout
        });
        fs::write(&path, text).unwrap();
        path
    }
}

#[test]
fn a_first_backup_says_in_one_line_what_it_did() {
    let home = Home::new();
    let said = home.backup(&home.dump(), &["-q"]).ends(0);
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    assert!(said.out.starts_with("snapshot 2"), "{}", said.out);
    assert_eq!(said.err, "");
    let listed = home.shoebox(&["snapshots"]).ends(0);
    assert_eq!(listed.out.lines().count(), 2, "{}", listed.out);
    assert!(!home.shoebox(&["snapshots", "--json"]).json()[0]["id"].is_null());
}

#[test]
fn json_is_one_object_a_line_and_says_the_same() {
    let home = Home::new();
    let said = home.backup(&home.dump(), &["--json"]).ends(0);
    let record = &said.json()[0];
    assert_eq!(record["dump"]["verdict"], "good");
    assert_eq!(record["problems"], serde_json::json!([]));
    assert_eq!(record["census"]["assets"], home.library.truth()["counts"]["assets"]);
    let names: Vec<_> = home.shoebox(&["ls", "latest", "users", "--json"]).json();
    assert!(
        names.iter().any(|row| row["name"] == "Ann Lee" && row["kind"] == "folder"),
        "{names:?}"
    );
}

#[test]
fn the_dump_comes_back_byte_for_byte() {
    let home = Home::new();
    let dump = home.dump();
    home.backup(&dump, &[]).ends(0);
    assert_eq!(
        Said::of(&mut home.command(&["dump"])).ends(0).out,
        fs::read_to_string(dump).unwrap()
    );
}

#[test]
fn each_source_of_a_dump_makes_the_same_snapshot() {
    let home = Home::new();
    let server = Postgres::start(crate::support::postgres::debian());
    server.create_database("immich");
    server.load("immich", &home.library.sql());
    let location = home.library.upload_location();
    let backup = |change: &dyn for<'a> Fn(&'a mut Command) -> &'a mut Command| {
        let mut command = home.command(&["backup", "--json", "--upload-location"]);
        command.arg(&location);
        change(&mut command);
        let said = Said::of(&mut command).ends(0);
        said.json()[0]["census"].clone()
    };
    let docker = Docker::new().container(
        "immich_postgres",
        &[
            ("PGHOST", &server.socket_folder().display().to_string()),
            ("PGPORT", &server.port().to_string()),
        ],
    );
    let dump = home.dump();
    let gz = home.folder.path().join("backups/immich-db-backup-1.sql.gz");
    fs::create_dir(gz.parent().unwrap()).unwrap();
    fs::write(&gz, crate::support::run(Command::new("gzip").arg("-c").arg(&dump)).stdout).unwrap();
    let env = home.folder.path().join(".env");
    fs::write(&env, "DB_USERNAME=postgres\nDB_DATABASE_NAME=immich\nDB_PASSWORD=unused\n").unwrap();
    let file = backup(&|command| command.arg("--dump").arg(&dump));
    let in_docker: [&str; 3] = ["--docker", "immich_postgres", "--docker-program"];
    let others = [
        backup(&|command| command.args(["--database-url", &server.url("immich")])),
        backup(&|command| command.args(["--database-url", &server.url("immich"), "--cluster"])),
        backup(&|command| command.envs(server.environment())),
        backup(&|command| command.args(in_docker).arg(docker.program())),
        backup(&|command| {
            command.args(in_docker).arg(docker.program()).arg("--env-file").arg(&env)
        }),
        backup(&|command| command.arg("--dump").arg(gz.parent().unwrap())),
        backup(&|command| command.args(["--dump", "-"]).stdin(fs::File::open(&dump).unwrap())),
    ];
    assert_eq!(file["assets"], home.library.truth()["counts"]["assets"]);
    for (index, other) in others.iter().enumerate() {
        assert_eq!(*other, file, "source {index}");
    }
    assert_eq!(home.shoebox(&["snapshots", "--json"]).json().len(), 8);
}

#[test]
fn a_bad_dump_fails_the_run_and_stores_nothing_unless_asked() {
    let home = Home::new();
    let dump = home.dump();
    let good = fs::read_to_string(&dump).unwrap();
    home.backup(&dump, &[]).ends(0);
    fs::write(&dump, &good[..good.len() / 2]).unwrap();
    home.backup(&dump, &[]).fails("the database dump is bad: line ", "--keep-bad-dump");
    assert_eq!(home.shoebox(&["snapshots", "--json"]).json().len(), 1);
    home.backup(&dump, &["--keep-bad-dump"]).fails("the database dump is bad", "not `latest`");
    let states = home.shoebox(&["snapshots"]).ends(0).out;
    assert!(states.lines().last().unwrap().ends_with("bad dump"), "{states}");
    assert_eq!(Said::of(&mut home.command(&["dump", "latest"])).ends(0).out, good);
}

#[test]
fn a_repository_may_be_named_from_the_current_folder() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["here", "./there", "deep/down"] {
        Said::of(shoebox().current_dir(&folder).args(["-r", name, "init"])).ends(0);
        Said::of(shoebox().current_dir(&folder).args(["-r", name, "snapshots"])).ends(0);
    }
}

#[test]
fn errors_say_what_to_do_next() {
    let home = Home::new();
    let dump = home.dump();
    Said::of(shoebox().arg("snapshots")).fails("no repository given", "SHOEBOX_REPOSITORY");
    Said::of(shoebox().args(["-r", "/nowhere/at/all", "snapshots"]))
        .fails("no repository found in /nowhere/at/all", "shoebox init");
    home.shoebox(&["init"]).fails("is a repository already", "shoebox backup");
    Said::of(shoebox().arg("-r").arg(home.library.upload_location()).arg("init"))
        .fails("is not empty", "a new folder of its own");
    home.shoebox(&["backup"]).fails("no UPLOAD_LOCATION given", "--upload-location");
    home.shoebox(&["backup", "--upload-location", "/nowhere", "--dump", "-"])
        .fails("folder not found: /nowhere", "is its disk mounted?");
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    home.shoebox(&["backup", "--upload-location", empty, "--dump", "-"])
        .fails("is empty", "is its disk mounted?");
    home.backup(Path::new("/nowhere.sql"), &[])
        .fails("opening the dump /nowhere.sql", "--dump takes a file");
    home.shoebox(&["ls", "yesterday"]).fails("snapshot `yesterday` not found", "shoebox snapshots");
    home.shoebox(&["dump"]).fails("snapshot `latest` not found", "shoebox snapshots");
    home.shoebox(&["mount", "/nowhere/at/all"]).fails("/nowhere/at/all", "mkdir");
    home.shoebox(&["mount", home.repository().join("tmp").to_str().unwrap()])
        .fails("is inside the repository", "");
    home.backup(&dump, &[]).ends(0);
    home.shoebox(&["ls", "latest", "users/Nobody"]).ends(1);
}

#[test]
fn a_newer_format_and_a_lost_catalog_are_explained() {
    let home = Home::new();
    home.backup(&home.dump(), &[]).ends(0);
    fs::remove_file(home.repository().join("catalog.sqlite")).unwrap();
    home.shoebox(&["ls", "latest"]).fails("catalog is missing", "shoebox repair catalog");
    home.shoebox(&["repair", "catalog"]).ends(0);
    home.shoebox(&["ls", "latest"]).ends(0);
    fs::write(home.repository().join("catalog.sqlite"), "no catalog").unwrap();
    home.shoebox(&["ls", "latest"]).fails("catalog", "shoebox repair catalog");
    home.shoebox(&["repair", "catalog"]).ends(0);
    let description = home.repository().join("shoebox.json");
    let text = fs::read_to_string(&description).unwrap().replace("\"format\": 1", "\"format\": 9");
    fs::write(&description, text).unwrap();
    home.shoebox(&["snapshots"]).fails("format 9", "newer shoebox");
}

#[test]
fn another_library_and_a_lost_disk_are_refused() {
    let home = Home::new();
    home.backup(&home.dump(), &[]).ends(0);
    let mut other = fs::read_to_string(home.dump()).unwrap();
    for user in home.library.truth()["users"].as_array().unwrap() {
        let id = user["id"].as_str().unwrap();
        other = other.replace(id, &format!("ffff{}", &id[4..]));
    }
    let path = home.folder.path().join("other.sql");
    fs::write(&path, other).unwrap();
    home.backup(&path, &[]).fails("this is another library", "--accept-other-library");
    let dump = home.dump();
    for name in ["upload", "library", "profile"] {
        for entry in
            fs::read_dir(home.library.upload_location().join(name)).into_iter().flatten().flatten()
        {
            if entry.path().is_dir() {
                fs::remove_dir_all(entry.path()).unwrap();
            }
        }
    }
    home.backup(&dump, &[]).fails("the last snapshot had", "--accept-shrink");
    assert_eq!(home.shoebox(&["snapshots", "--json"]).json().len(), 1);
}

#[test]
fn a_wrong_password_and_an_absent_server_are_told_apart() {
    let home = Home::new();
    let server = Postgres::with_password("right");
    let location = home.library.upload_location();
    let mut command = home.command(&["backup", "--upload-location"]);
    let url = format!("postgresql://postgres@127.0.0.1:{}/postgres", server.port());
    command.arg(&location).args(["--database-url", &url]).env("PGPASSWORD", "wrong");
    Said::of(&mut command).fails("password", "PGPASSWORD");
    let nobody =
        format!("postgresql://postgres@127.0.0.1:{}/immich", crate::support::postgres::free_port());
    let mut command = home.command(&["backup", "--upload-location"]);
    command.arg(&location).args(["--database-url", &nobody]);
    Said::of(&mut command).fails("does not answer", "is it running?");
}

#[test]
fn every_command_has_help_with_an_example_and_completions_are_printed() {
    let help = Said::of(shoebox().arg("--help")).ends(0).out;
    for command in [
        "init",
        "backup",
        "import",
        "snapshots",
        "mount",
        "ls",
        "find",
        "restore",
        "audit",
        "dump",
        "diff",
        "log",
        "repair",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in\n{help}");
        let text = Said::of(shoebox().args([command, "--help"])).ends(0).out;
        assert!(text.contains("Example") || command == "repair", "{text}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(Said::of(shoebox().args(["completions", shell])).ends(0).out.contains("snapshots"));
    }
    Said::of(shoebox().arg("frobnicate")).ends(2);
}

#[test]
fn settings_that_only_the_administrator_may_read_are_one_line_with_the_command_that_may() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("shoebox.toml");
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    fs::write(&settings, "repository = \"/mnt/usb/photos\"\n").unwrap();
    fs::set_permissions(&settings, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let ask = |arguments: &[&str]| {
        let program = shoebox().get_program().to_owned();
        let mut command =
            if crate::support::is_root() { Command::new("setpriv") } else { Command::new("env") };
        if crate::support::is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        let said = command
            .arg(program)
            .args(arguments)
            .env("XDG_CONFIG_HOME", folder.path())
            .env("SHOEBOX_LOG", "warn");
        Said::of(said.env_remove("SHOEBOX_REPOSITORY").env_remove("SHOEBOX_CONFIG"))
    };
    let said = ask(&["status", "--max-age", "2 days"]).ends(1);
    let told = format!(
        "shoebox: the settings are in {}, which only the administrator may read\nhint: sudo \
            shoebox status --max-age '2 days'\n",
        settings.display()
    );
    assert_eq!(said.err, told);
    let said = ask(&["-r", "/nowhere", "notify"]).ends(2);
    assert!(said.err.contains("hint: sudo shoebox -r /nowhere notify"), "{}", said.err);
}
