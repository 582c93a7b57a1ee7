//! `shoebox doctor` and `shoebox init --guided`: Immich is found, what is wrong is named with what
//! repairs it, and a first backup needs nothing more.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Docker, Era, Postgres, Said, SampleLibrary, is_root, sample_library};
use assert_cmd::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A machine with Immich in Docker: its `.env` file, its containers, a real database behind the
/// stand-in.
struct Machine {
    folder: TempDir,
    library: SampleLibrary,
    database: Postgres,
    docker: Docker,
}

/// Asserts a line that begins with `mark` and holds `what`, and, if there is to be one, the fix
/// below it.
#[track_caller]
fn tells(said: &Said, mark: &str, what: &str, fix: &str) {
    let lines: Vec<&str> = said.out.lines().collect();
    let at = lines.iter().position(|line| line.starts_with(mark) && line.contains(what));
    let at = at.unwrap_or_else(|| panic!("no `{mark} {what}`: {}", said.out));
    let below = lines.get(at + 1).copied().unwrap_or_default();
    assert!(
        fix.is_empty() || below.starts_with("    ") && below.contains(fix),
        "{}: {below}",
        lines[at]
    );
}

impl Machine {
    fn new() -> Machine {
        let (folder, library) = (tempfile::tempdir().unwrap(), sample_library(1, Era::New));
        let database = Postgres::start(crate::support::postgres::debian());
        database.create_database("immich");
        database.load("immich", &library.sql());
        let immich = folder.path().join("my immich");
        fs::create_dir(&immich).unwrap();
        let env = format!(
            "UPLOAD_LOCATION={}\nDB_USERNAME=postgres\nDB_DATABASE_NAME=immich\n",
            library.upload_location().display()
        );
        fs::write(immich.join(".env"), env).unwrap();
        let docker = Docker::new().container(
            "immich_postgres",
            &[
                ("PGHOST", &database.socket_folder().display().to_string()),
                ("PGPORT", &database.port().to_string()),
            ],
        );
        let machine = Machine { folder, library, database, docker };
        machine.say_containers(true);
        machine
    }

    /// What docker says: the database runs, or does not.
    fn say_containers(&self, running: bool) {
        let labels = json!({ "com.docker.compose.project.working_dir": self.folder.path().join("my \
            immich") });
        let container = |name: &str, image: &str, running: bool, mounts: Value| json!({ "Name": format!("/{name}"), "State": { "Running": running }, "Config": { "Image": image, "Labels": labels }, "Mounts": mounts });
        let mut mounts = vec![
            json!({ "Source": self.library.upload_location(), "Destination": "/data" }),
            json!({ "Source": self.library.external(), "Destination": "/mnt/external/family" }),
        ];
        let ssd = self.folder.path().join("ssd");
        mounts
            .extend(ssd.exists().then(|| json!({ "Source": ssd, "Destination": "/data/profile" })));
        let mounts = json!(mounts);
        let all = json!([
            container("immich_server", "ghcr.io/immich-app/immich-server:v3.1.0", true, mounts),
            container(
                "immich_postgres",
                "ghcr.io/immich-app/postgres:14-vectorchord0.4.3",
                running,
                json!([])
            ),
        ]);
        fs::write(self.docker.folder().join("inspected"), all.to_string()).unwrap();
    }

    /// The psql in the container says that it is of this version.
    fn say_psql(&self, version: u32) {
        let program = self.docker.folder().join("psql");
        let real = format!("/usr/lib/postgresql/{}/bin/psql", crate::support::postgres::debian());
        fs::write(&program, format!("#!/bin/sh\nexec {real} -v VERSION_NUM={version} \"$@\"\n"))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("settings/shoebox.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("shoebox").unwrap();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SHOEBOX_")
                || name.to_string_lossy().starts_with("PG")
            {
                command.env_remove(name);
            }
        }
        let path = format!("{}:{}", self.docker.folder().display(), std::env::var("PATH").unwrap());
        command.args(arguments).env("PATH", path).env("SHOEBOX_CONFIG", "/dev/null");
        command.env("SHOEBOX_REPOSITORY", self.repository()).current_dir(self.folder.path());
        command
    }

    fn shoebox(&self, arguments: &[&str]) -> Said {
        Said::of(&mut self.command(arguments))
    }
}

#[test]
fn a_machine_that_is_well_is_told_to_be() {
    let machine = Machine::new();
    machine.say_psql(150019);
    machine.shoebox(&["init"]).ends(0);
    let said = machine.shoebox(&["doctor"]).ends(0);
    let folder = machine.folder.path().canonicalize().unwrap();
    tells(&said, "✓", &format!("Immich's settings are in {}/my immich/.env", folder.display()), "");
    tells(&said, "✓", "Immich's server runs in container immich_server", "");
    tells(&said, "✓", "Immich's database runs in container immich_postgres", "");
    tells(
        &said,
        "✓",
        &format!("the photos in {}", machine.library.upload_location().display()),
        "",
    );
    tells(
        &said,
        "✓",
        &format!("the database immich answers: PostgreSQL {}", crate::support::postgres::debian()),
        "",
    );
    tells(&said, "✓", "the client in the container", "");
    tells(&said, "✓", "it is Immich's", "");
    let external =
        format!("external = [\"/mnt/external/family={}\"]", machine.library.external().display());
    tells(&said, "!", "at /mnt/external/family is not in the backup", &external);
    tells(&said, "✓", "the repository in", "");
    tells(&said, "!", "on the same disk as the photos", "rsync");
    tells(&said, "✓", "the clock shows", "");
    tells(&said, "!", "no service makes backups every night", "systemctl enable --now shoebox");
    assert!(
        !said.out.contains('✗')
            && said.err.starts_with("nothing is wrong; 3 things could be better"),
        "{}",
        said.err
    );
    machine.say_psql(150018);
    let said = machine.shoebox(&["doctor"]).ends(0);
    tells(
        &said,
        "!",
        "psql 15.18 has a flaw in what keeps commands in a dump from being run",
        "compose pull",
    );
    let json = machine.shoebox(&["doctor", "--json"]).ends(0);
    assert!(
        json.out
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).unwrap()["state"].is_string())
    );
}

#[test]
fn an_immich_that_is_newer_than_this_shoebox_is_told_and_is_nothing_wrong() {
    let machine = Machine::new();
    machine.shoebox(&["init"]).ends(0);
    machine.database.psql(
        "immich",
        "INSERT INTO kysely_migrations VALUES ('1899999999999-Future', '2030-03-17')",
    );
    let said = machine.shoebox(&["doctor"]).ends(0);
    let words = "this Immich is newer than this shoebox (its newest migration is \
        1899999999999-Future): photos and database are safe";
    tells(&said, "!", words, "install the newest shoebox");
}

#[test]
fn what_is_wrong_is_named_with_what_mends_it() {
    let machine = Machine::new();
    machine.say_containers(false);
    let said = machine.shoebox(&["doctor"]).ends(3);
    tells(
        &said,
        "✗",
        "container immich_postgres of Immich's database does not run",
        "docker start immich_postgres",
    );
    tells(&said, "✗", "no repository found", "shoebox init -r");

    machine.say_containers(true);
    machine.database.psql("postgres", "DROP DATABASE immich");
    tells(
        &machine.shoebox(&["doctor"]).ends(3),
        "✗",
        "the server has no database immich",
        "database-name",
    );
    machine.database.create_database("immich");
    tells(
        &machine.shoebox(&["doctor"]).ends(3),
        "✗",
        "the database immich is not Immich's",
        "let Immich start once",
    );

    let away = machine.folder.path().join("away");
    fs::rename(machine.library.upload_location(), &away).unwrap();
    fs::create_dir(machine.library.upload_location()).unwrap();
    tells(&machine.shoebox(&["doctor"]).ends(3), "✗", "is empty", "");
    fs::remove_dir(machine.library.upload_location()).unwrap();
    fs::rename(&away, machine.library.upload_location()).unwrap();

    let wrong = Said::of(
        machine
            .command(&["doctor"])
            .env("SHOEBOX_DATABASE_URL", "postgresql://postgres@127.0.0.1:1/immich"),
    )
    .ends(3);
    tells(&wrong, "✗", "does not answer", "is it running?");
}

#[test]
fn a_photo_that_may_not_be_read_is_told() {
    if is_root() {
        // Root reads everything; the doctor is asked as somebody else.
        let machine = Machine::new();
        let open =
            |path: PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        for path in [machine.folder.path().to_owned(), machine.docker.folder().to_owned()] {
            open(path);
        }
        let upload = machine.library.upload_location();
        open(upload.parent().unwrap().to_owned());
        let closed = upload.join("upload/closed.jpg");
        fs::write(&closed, "x").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o600)).unwrap();
        let program = machine.folder.path().join("shoebox");
        fs::copy(assert_cmd::cargo::cargo_bin("shoebox"), &program).unwrap();
        let mut other = Command::new("setpriv");
        other
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
            .arg(&program)
            .arg("doctor");
        let model = machine.command(&[]);
        other
            .envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(machine.folder.path());
        let said = Said::of(&mut other).ends(3);
        tells(&said, "✗", "of the photos may not be read, such as", "CAP_DAC_READ_SEARCH");
    } else {
        println!("skipped: only root can make a file that another one owns");
    }
}

#[test]
fn a_folder_that_the_server_has_from_another_place_is_found_and_taken_by_the_guide() {
    let machine = Machine::new();
    let ssd = machine.folder.path().join("ssd");
    fs::rename(machine.library.upload_location().join("profile"), &ssd).unwrap();
    fs::create_dir(machine.library.upload_location().join("profile")).unwrap();
    machine.say_containers(true);
    let line = format!("folder = [\"profile={}\"]", ssd.display());
    let said = machine.shoebox(&["doctor"]).ends(3);
    tells(&said, "✗", "the server has profile from", &line);
    let file = machine.settings().display().to_string();
    Said::of(machine.command(&["init", "--guided"]).env("SHOEBOX_CONFIG", &file)).ends(0);
    assert!(fs::read_to_string(&file).unwrap().contains(&line));
    // A disk that is not mounted is told too: of such a folder, and of an external library.
    let with =
        |arguments: &[&str]| Said::of(machine.command(arguments).env("SHOEBOX_CONFIG", &file));
    with(&["doctor"]).ends(0);
    fs::rename(&ssd, machine.folder.path().join("aside")).unwrap();
    tells(&with(&["doctor"]).ends(3), "✗", "which is not there", "is its disk mounted?");
    fs::rename(machine.folder.path().join("aside"), &ssd).unwrap();
    fs::rename(machine.library.external(), machine.folder.path().join("nas")).unwrap();
    tells(&with(&["doctor"]).ends(3), "✗", "which is not there", "is its disk mounted?");
    fs::create_dir(machine.library.external()).unwrap();
    tells(&with(&["doctor"]).ends(3), "✗", "which is empty", "is its disk mounted?");
}

#[test]
fn the_guide_writes_settings_with_which_the_first_backup_works() {
    let machine = Machine::new();
    let file = machine.settings().display().to_string();
    let guided =
        Said::of(machine.command(&["init", "--guided"]).env("SHOEBOX_CONFIG", &file)).ends(0);
    assert!(guided.err.contains(&format!("the settings are in {file}")), "{}", guided.err);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("docker = \"immich_postgres\"")
            && text.contains("external = [\"/mnt/external/family="),
        "{text}"
    );

    let with = |arguments: &[&str]| {
        let mut command = machine.command(arguments);
        Said::of(command.env("SHOEBOX_CONFIG", &file).env_remove("SHOEBOX_REPOSITORY"))
    };
    let doctor = with(&["doctor"]).ends(0);
    tells(&doctor, "✓", "at /mnt/external/family is covered", "");
    let backup = with(&["backup"]).ends(0);
    assert!(!backup.err.contains("external libraries not in this backup"), "{}", backup.err);
    let again = with(&["init", "--guided"]).ends(1);
    assert!(again.err.contains("there is a settings file already"), "{}", again.err);
}

#[test]
fn a_machine_without_immich_is_told_what_to_name_and_a_name_that_is_wrong_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let guided = |more: &[&str], code: i32| {
        let mut command = Command::cargo_bin("shoebox").unwrap();
        command.args(["init", "--guided"]).args(more).current_dir(folder.path());
        command
            .env("HOME", folder.path())
            .env("SHOEBOX_CONFIG", folder.path().join("shoebox.toml"));
        command.env("SHOEBOX_REPOSITORY", folder.path().join("repository"));
        let said = Said::of(command.env("SHOEBOX_DOCKER_PROGRAM", "/nowhere/docker")).ends(code);
        let made: Vec<_> =
            fs::read_dir(folder.path()).unwrap().flatten().map(|it| it.file_name()).collect();
        assert!(made.iter().all(|it| it == ".env"), "{made:?}");
        said.err
    };
    let hint = "hint: name the folder of its compose file: --immich FOLDER";
    let said = guided(&[], 1);
    assert!(said.contains(hint), "{said}");
    let said = guided(&["--immich", "/srv/imich"], 2);
    assert!(
        said.contains("no .env file of Immich found in /srv/imich") && said.contains(hint),
        "{said}"
    );
    fs::write(folder.path().join(".env"), "DB_PASSWORD=x\n").unwrap();
    let said = guided(&["--immich", "."], 2);
    assert!(said.contains("UPLOAD_LOCATION is not set in ./.env"), "{said}");
    fs::write(folder.path().join(".env"), "DB_PASSWORD='x\nUPLOAD_LOCATION=/srv\n").unwrap();
    for more in [["--immich", "."].as_slice(), &[]] {
        let said = guided(more, 2);
        assert!(
            said.contains(
                "line 1 of ./.env cannot be read: the ' that begins its value has no end"
            ),
            "{said}"
        );
    }
}
