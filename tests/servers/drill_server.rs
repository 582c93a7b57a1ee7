//! Where a drill gets its server from, and what it says when there is none or the server refuses
//! the dump.

use std::path::Path;
use std::process::Command;

use crate::backup_library::{Home, dump as bare_dump};
use crate::support::postgres::debian;
use crate::support::{Docker, Postgres, Said};
use assert_cmd::prelude::*;
use serde_json::{Value, json};
use shoebox::source::postgres::throwaway::ServerPrograms;

const IMMICHS: &str = "ghcr.io/immich-app/postgres:15-vectorchord0.4.3@sha256:bcf63357191b";

fn with_dump(text: &str) -> Home {
    let home = Home::new();
    home.write_dump(text);
    home.backup();
    home
}

/// A dump that needs what this machine's server does not have.
fn wants_vectors() -> String {
    bare_dump(5, 0).replacen(
        "CREATE TABLE ",
        "CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;\n\n\nCREATE TABLE ",
        1,
    )
}

/// `shoebox drill` of a library of which no photo is looked at, with that docker.
fn drill(home: &Home, docker: &Docker, arguments: &[&str]) -> Said {
    let mut command = Command::cargo_bin("shoebox").unwrap();
    let path = format!("{}:{}", docker.folder().display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("SHOEBOX_REPOSITORY", home.repo_path()).env_remove("container");
    Said::of(command.args(["drill", "--assets", "0"]).args(arguments))
}

/// Docker with Immich's two containers, of which the database has the image `IMMICHS`, and with
/// another program's database.
fn immich_in_docker() -> Docker {
    let container = |name: &str, image: &str, folder: &str| json!({ "Name": format!("/{name}"), "State": { "Running": true }, "Config": { "Image": image, "Labels": { "com.docker.compose.project.working_dir": folder } }, "Mounts": [] });
    Docker::new().inspected(&json!([
        container("paperless_db", "postgres:18", "/srv/paperless"),
        container("immich_server", "ghcr.io/immich-app/immich-server:v3.1.0", "/srv/immich"),
        container("immich_postgres", IMMICHS, "/srv/immich"),
    ]))
}

#[test]
fn a_container_has_the_image_of_the_database_that_runs_here() {
    let server = Postgres::start(debian());
    let (folder, port) = (server.socket_folder().display().to_string(), server.port().to_string());
    let inside = [("PGHOST", folder.as_str()), ("PGPORT", port.as_str())];
    let docker = immich_in_docker().image(IMMICHS, &inside).image("mine:1", &inside);
    let home = with_dump(&bare_dump(5, 0));
    let said = drill(&home, &docker, &["--docker"]).ends(0);
    assert!(said.out.contains(&format!("loaded into PostgreSQL {}.", debian())), "{}", said.out);
    let ran = |docker: &Docker| {
        docker.calls().lines().rfind(|line| line.starts_with("run ")).unwrap_or_default().to_owned()
    };
    assert!(
        ran(&docker).contains(IMMICHS) && ran(&docker).contains("--network none"),
        "{}",
        ran(&docker)
    );
    // It is gone afterwards, and who names another one gets that.
    let name =
        ran(&docker).split(' ').find(|word| word.starts_with("shoebox-drill-")).unwrap().to_owned();
    assert!(docker.calls().contains(&format!("rm --force --volumes {name}")), "{}", docker.calls());
    server.psql("postgres", "DROP DATABASE immich");
    server.psql("postgres", "DROP ROLE immich");
    drill(&home, &docker, &["--docker", "mine:1"]).ends(0);
    assert!(ran(&docker).contains(" mine:1 "), "{}", ran(&docker));
}

#[test]
fn an_image_that_is_not_there_and_cannot_be_fetched_is_named_with_the_command_that_fetches_it() {
    let docker = immich_in_docker();
    let home = with_dump(&wants_vectors());
    let pull = format!("hint: `docker pull {IMMICHS}` shows why");
    let said = drill(&home, &docker, &["--docker"]).ends(1);
    assert!(
        said.err.contains(&format!("the image {IMMICHS} is not on this machine"))
            && said.err.contains(&pull),
        "{}",
        said.err
    );
    if ServerPrograms::of_this_machine().iter().any(|programs| programs.has("vector")) {
        return println!("skipped: this machine's PostgreSQL has pgvector");
    }
    // Where one is looked for, the rest is done and it is said all the same.
    let said = drill(&home, &docker, &[]).ends(3);
    assert!(
        said.err.contains("the dump was read and not loaded: ")
            && said.err.contains(&format!("docker pull {IMMICHS}")),
        "{}",
        said.err
    );
    assert!(
        said.out.contains("rows in 4 tables read;") && !said.out.contains("loaded into"),
        "{}",
        said.out
    );
}

#[test]
fn in_a_container_without_docker_it_says_what_to_set() {
    if ServerPrograms::of_this_machine().iter().any(|programs| programs.has("vector")) {
        return println!("skipped: this machine's PostgreSQL has pgvector");
    }
    let home = with_dump(&wants_vectors());
    let docker = Docker::saying(
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon \
            running?",
    );
    let is_in_one =
        ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists());
    let elsewhere = (!is_in_one).then_some(("", "apt install postgresql"));
    for (container, words) in [("docker", "SHOEBOX_DRILL_POSTGRES=")].into_iter().chain(elsewhere) {
        let run = |arguments: &[&str]| {
            let mut command = Command::cargo_bin("shoebox").unwrap();
            command.env("SHOEBOX_REPOSITORY", home.repo_path()).env("container", container);
            command.args(["drill", "--assets", "0", "--docker-program"]).arg(docker.program());
            Said::of(command.args(arguments))
        };
        let said = run(&[]).ends(3);
        assert!(
            said.err.contains("hint: ") && said.err.contains(words),
            "{container}: {}",
            said.err
        );
        let said = run(&["--require-server"]).ends(1);
        assert!(
            said.err.contains("no server can be had") && said.err.contains(words),
            "{container}: {}",
            said.err
        );
        let value: Value = serde_json::from_str(&run(&["--json"]).ends(3).out).unwrap();
        assert!(
            value["next"].as_str().unwrap().contains(words) && value["server"].is_null(),
            "{value}"
        );
    }
}

#[test]
fn a_drill_whose_dump_is_refused_says_that_nothing_was_loaded_and_never_a_success() {
    let folder = format!("/usr/lib/postgresql/{}/bin", debian());
    let broken = bare_dump(5, 0).replacen("00000000-2222-4222-8222-222222222222\t", "x\t", 1);
    let home = with_dump(&broken);
    let said = drill(&home, &Docker::new(), &["--postgres", &folder]).ends(3);
    assert!(
        said.err.contains("problem: the drill failed: the database refused line "),
        "{}",
        said.err
    );
    assert!(
        said.out.contains(&format!(": nothing was loaded into PostgreSQL {}.", debian())),
        "{}",
        said.out
    );
    assert!(said.out.ends_with(": FAILED: it would not all come back\n"), "{}", said.out);
    assert!(
        !said.out.contains("rows in") && !said.out.contains("it would come back"),
        "{}",
        said.out
    );
    let value: Value = serde_json::from_str(
        &drill(&home, &Docker::new(), &["--postgres", &folder, "--json"]).ends(3).out,
    )
    .unwrap();
    let loaded = (
        &value["refused"],
        &value["tables"],
        &value["rows"],
        &value["differences"],
        &value["code"],
    );
    assert_eq!(loaded, (&json!(true), &json!(0), &json!(0), &json!([]), &json!([])), "{value}");
    assert!(value["failure"].is_string() && value["server"].is_string(), "{value}");
    let status = Said::of(
        Command::cargo_bin("shoebox").unwrap().args(["-r"]).arg(home.repo_path()).arg("snapshots"),
    );
    assert!(status.err.contains("no drill has succeeded yet"), "{}", status.err);
}
