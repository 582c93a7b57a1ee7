//! Settings: the file, the variables, where each value comes from.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::place::{Place, bare};
use crate::support::{Docker, Said};

fn rows(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is in force for `key`: the value, and where it comes from.
#[track_caller]
fn force(said: &Said, key: &str) -> (String, String) {
    let row = rows(said)
        .into_iter()
        .find(|row| row["key"] == key)
        .unwrap_or_else(|| panic!("no {key}: {}", said.out));
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    (text("value"), if row["source"].is_null() { text("from") } else { text("source") })
}

#[test]
fn the_variable_counts_before_the_file_and_the_file_before_the_default() {
    let place = Place::new();
    place.write_settings(
        "[forget]\nkeep-daily = 7\nkeep-weekly = \"unlimited\"\n[prune]\nmax-unused = \"30%\"\n",
    );
    let said =
        Said::of(place.command(&["config", "--json"]).env("SHOEBOX_KEEP_DAILY", "3")).ends(0);
    let file = place.settings().display().to_string();
    assert_eq!(
        force(&said, "forget.keep-daily"),
        ("3".to_owned(), "SHOEBOX_KEEP_DAILY".to_owned())
    );
    assert_eq!(force(&said, "forget.keep-weekly"), ("unlimited".to_owned(), file.clone()));
    assert_eq!(force(&said, "prune.max-unused"), ("30%".to_owned(), file));
    assert_eq!(force(&said, "prune.grace"), ("1d".to_owned(), "default".to_owned()));
    // And what is shown is what counts: the command takes it.
    assert_eq!(
        place.shoebox(&["snapshots"]).ends(0).err.lines().next(),
        Some("no snapshot yet: `shoebox backup` makes one")
    );
}

#[test]
fn what_is_said_nearer_takes_the_place_of_all_that_it_excludes() {
    let place = Place::new();
    let docker = Docker::new();
    let text = fs::read_to_string(place.settings()).unwrap();
    let in_docker =
        format!("docker = \"immich_postgres\"\ndocker-program = {:?} # ", docker.program());
    fs::write(place.settings(), text.replace("dump = ", &in_docker)).unwrap();
    let (nowhere, dump) =
        ("postgresql://ann@127.0.0.1:1/immich", place.home.dump_path().display().to_string());
    place.shoebox(&["backup", "--dump", &dump]).ends(0);
    let said = [
        place.shoebox(&["backup", "--database-url", nowhere]),
        place.shoebox(&["restore-database", "--database-url", nowhere, "--wait-for", "0s"]),
        Said::of(place.command(&["backup"]).env("SHOEBOX_DATABASE_URL", nowhere)),
        Said::of(
            place
                .command(&["backup"])
                .envs([("POSTGRES_HOST", "127.0.0.1"), ("POSTGRES_PORT", "1")]),
        ),
    ];
    for said in said {
        assert!(said.code == 1 && said.err.contains("127.0.0.1, port 1"), "{}", said.err);
    }
    assert_eq!(docker.calls(), "", "the file's container was never asked");
    assert!(
        place.shoebox(&["backup"]).ends(1).err.contains("no container is called immich_postgres")
    );

    fs::write(place.settings(), text).unwrap();
    let program = docker.program().into_string().unwrap();
    let said = place
        .shoebox(&["backup", "--docker", "immich_postgres", "--docker-program", &program])
        .ends(1);
    assert!(
        said.err.contains("no container is called immich_postgres"),
        "not the file's dump: {}",
        said.err
    );
}

#[test]
fn an_empty_variable_is_none_and_a_switch_takes_every_word_for_yes() {
    let place = Place::new();
    let mut command = place.command(&["run", "--once"]);
    for name in [
        "SCHEDULE",
        "NTFY_URL",
        "HEALTHCHECKS_URL",
        "KEEP_DAILY",
        "NOTIFY_ON",
        "ON_START",
        "RETRY_LOCK",
        "GENERATED",
    ] {
        command.env(format!("SHOEBOX_{name}"), "");
    }
    Said::of(&mut command).ends(0);
    Said::of(place.command(&["backup"]).env("SHOEBOX_GENERATED", "1")).ends(0);
    Said::of(place.command(&["backup"]).env("SHOEBOX_GENERATED", "perhaps")).ends(2);
}

#[test]
fn a_secret_of_another_place_does_not_lose_to_the_file() {
    let place = Place::new();
    let text = fs::read_to_string(place.settings()).unwrap();
    fs::write(place.settings(), text.replace("dump = ", "database-password = \"old\" # ")).unwrap();
    let secret = place.home.dir.path().join("secret");
    fs::write(&secret, "new").unwrap();
    let mut command = place.command(&["config", "--json", "--set"]);
    command.env("POSTGRES_HOST", "db").env("POSTGRES_PASSWORD_FILE", &secret);
    let said = Said::of(&mut command).ends(0);
    assert!(!said.out.contains("\"backup.database-password\""), "{}", said.out);
    assert!(said.out.contains("POSTGRES_PASSWORD_FILE"), "{}", said.out);
    fs::write(place.settings(), "[notify]\nntfy-token = hunter2\n").unwrap();
    let wrong = place.shoebox(&["snapshots"]).ends(2);
    assert!(wrong.err.contains("line 2: ") && !wrong.err.contains("hunter2"), "{}", wrong.err);
    place.shoebox(&["config", "--reference"]).ends(0);
}

#[test]
fn the_variables_of_postgres_backup_local_are_understood() {
    let mut command = bare();
    command.env("SHOEBOX_CONFIG", "/dev/null").args(["config", "--json"]);
    command.envs([
        ("POSTGRES_HOST", "database"),
        ("POSTGRES_DB", "immich"),
        ("POSTGRES_USER", "ann"),
    ]);
    command.envs([
        ("POSTGRES_PASSWORD", "hunter2"),
        ("SCHEDULE", "@every 6h"),
        ("BACKUP_KEEP_WEEKS", "4"),
    ]);
    command.envs([
        ("BACKUP_DIR", "/backups"),
        ("BACKUP_ON_START", "TRUE"),
        ("HEALTHCHECK_PORT", "8080"),
    ]);
    let said = Said::of(&mut command).ends(0);
    let is = |key: &str, value: &str, source: &str| {
        assert_eq!(force(&said, key), (value.to_owned(), source.to_owned()))
    };
    is("repository", "/backups/shoebox", "BACKUP_DIR");
    is("run.schedule", "@every 6h", "SCHEDULE");
    is("run.on-start", "TRUE", "BACKUP_ON_START");
    is("run.healthcheck-port", "8080", "HEALTHCHECK_PORT");
    is("forget.keep-within-weekly", "29d", "BACKUP_KEEP_WEEKS");
    assert_eq!(force(&said, "backup.database-password").1, "POSTGRES_PASSWORD");
    assert!(!said.out.contains("hunter2"), "{}", said.out);
    let mine = Said::of(command.env("SHOEBOX_SCHEDULE", "@daily")).ends(0);
    assert_eq!(force(&mine, "run.schedule").0, "@daily");
}

#[test]
fn a_wrong_file_says_where_it_is_wrong_and_what_was_meant() {
    let place = Place::new();
    for (text, message, hint) in [
        (
            "[backup]\nexclud = [\"a\"]\n",
            "unknown setting `backup.exclud`",
            "did you mean `backup.exclude`?",
        ),
        (
            "[forget]\nkeep-daily = \"seven\"\n",
            "forget.keep-daily: invalid value 'seven'",
            "--reference",
        ),
        ("[run]\nschedule = \"daily\"\n", "run.schedule: invalid value 'daily'", "--reference"),
        ("[backup]\ngenerated = \"yes\"\n", "backup.generated: is true or false", "--reference"),
        ("[backup]\ndocker = [\"a\", \"b\"]\n", "backup.docker: is one text", "--reference"),
        ("[backup\n", "line 1", "--reference"),
    ] {
        fs::write(place.settings(), text).unwrap();
        let said = place.shoebox(&["snapshots"]).ends(2);
        assert!(
            said.err.contains(message)
                && said.err.contains(&place.settings().display().to_string()),
            "{}",
            said.err
        );
        assert!(
            said.err.contains(&format!("hint: {hint}")) || said.err.contains(hint),
            "{}",
            said.err
        );
    }
    fs::remove_file(place.settings()).unwrap();
    let said = place.shoebox(&["snapshots"]).ends(1);
    assert!(said.err.contains("hint: `shoebox config --reference > shoebox.toml`"), "{}", said.err);
}

#[test]
fn the_reference_is_a_settings_file_that_changes_nothing_and_may_be_uncommented() {
    let place = Place::new();
    let reference = place.shoebox(&["config", "--reference"]).ends(0).out;
    fs::write(place.settings(), &reference).unwrap();
    assert_eq!(
        place.shoebox(&["config", "--set"]).ends(0).out.lines().count(),
        1,
        "the heading alone"
    );
    // Every line that is commented out is a setting that is understood, with a value of the right
    // kind.
    let is_setting = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
    let placeholders = [
        "FOLDER",
        "DURATION",
        "FILE",
        "URL",
        "N",
        "TIME",
        "PORT",
        "CONTAINER",
        "NAME",
        "TEXT",
        "…",
    ];
    let mut tried = 0;
    let mut table = String::new();
    for line in reference.lines() {
        if line.starts_with('[') {
            table = line.to_owned();
        }
        let is_placeholder =
            placeholders.iter().any(|word| line.ends_with(&format!("= \"{word}\"")));
        if let Some(setting) = Some(line).filter(is_setting).filter(|_| !is_placeholder) {
            fs::write(place.settings(), format!("{table}\n{}\n", &setting[1..])).unwrap();
            let said = place.shoebox(&["config", "--set"]);
            assert!(said.code == 0 || setting.contains("=FOLDER"), "{setting}: {}", said.err);
            tried += 1;
        }
    }
    assert!(tried > 20, "only {tried} settings have a default");
}

#[test]
fn a_secret_is_never_shown_and_a_file_that_all_may_read_is_told() {
    let place = Place::new();
    place.write_settings(
        "[notify]\nntfy-token = \"hunter2\"\nemail-url = \
        \"smtps://ann:hunter2@mail.example.org\"\nemail-to = \"ann@example.org\"\n",
    );
    fs::set_permissions(place.settings(), fs::Permissions::from_mode(0o644)).unwrap();
    for arguments in [&["config"][..], &["config", "--json"], &["notify", "--help"]] {
        let said = place.shoebox(arguments).ends(0);
        assert!(
            !said.out.contains("hunter2") && !said.err.contains("hunter2"),
            "{}{}",
            said.out,
            said.err
        );
    }
    assert!(place.shoebox(&["config"]).err.contains("chmod 600"));
}
