//! The server that a drill makes for itself: it works, and nothing of it stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use shoebox::source::postgres::throwaway::{SandboxWalls, ServerPrograms, ThrowAway, WantedServer};

use crate::support::postgres::{debian, newer_versions};

fn programs(major: u32) -> ServerPrograms {
    let folder =
        [Path::new("/usr/lib/postgresql"), &newer_versions()].into_iter().find_map(|versions| {
            ServerPrograms::in_folder(&versions.join(major.to_string()).join("bin"))
        });
    folder.unwrap_or_else(|| panic!("there is no PostgreSQL {major}; `scripts/setup` installs it"))
}

/// Processes of this machine that have `folder` on their command line.
fn users(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap();
    let commands = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands.filter(|command| String::from_utf8_lossy(command).contains(folder)).count()
}

#[test]
fn a_throw_away_server_answers_by_its_socket_alone_and_goes_with_its_folder() {
    let outside = tempfile::tempdir().unwrap();
    for major in [debian(), 16, 18] {
        let wanted = WantedServer { major: Some(major), extensions: vec!["cube".to_owned()] };
        let server =
            ThrowAway::in_folder(&programs(major), &wanted, SandboxWalls::Around(outside.path()))
                .unwrap();
        assert!(server.version().starts_with(&major.to_string()), "{}", server.version());
        server.ask("postgres", "CREATE DATABASE \"im \"\"mich\"").unwrap();
        assert_eq!(
            server.ask("im \"mich", "SELECT current_database(), 1").unwrap(),
            "im \"mich\t1"
        );
        assert_eq!(server.ask("postgres", "SHOW listen_addresses").unwrap(), "");
        assert!(server.ask("postgres", "SELECT nothing").is_err());
        let data = PathBuf::from(server.ask("postgres", "SHOW data_directory").unwrap());
        let folder = data.parent().unwrap();
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(users(folder) > 0);
        drop(server);
        assert_eq!((users(folder), folder.exists()), (0, false));
    }
}

/// What a program that the server's superuser starts can see and reach.
fn seen_inside(server: &ThrowAway, script: &str) -> String {
    let script = script.replace('\'', "''");
    server
        .ask(
            "postgres",
            &format!(
                "CREATE TEMP TABLE said (line text); COPY said FROM PROGRAM \
        '{script}'; SELECT coalesce(string_agg(line, ' '), '') FROM said"
            ),
        )
        .unwrap()
}

#[test]
fn behind_the_walls_there_is_neither_the_repository_nor_a_network_nor_another_process() {
    let repository = tempfile::tempdir().unwrap();
    fs::set_permissions(repository.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(repository.path().join("shoebox.json"), "{}").unwrap();
    let wanted = WantedServer { major: Some(debian()), extensions: Vec::new() };
    let server =
        ThrowAway::in_folder(&programs(debian()), &wanted, SandboxWalls::Around(repository.path()))
            .unwrap();
    let path = repository.path().display();
    assert_eq!(seen_inside(&server, &format!("ls -d {path}/* 2>/dev/null; true")), "");
    assert_eq!(
        seen_inside(
            &server,
            &format!("touch {path}/canary 2>/dev/null; rm -rf {path} 2>/dev/null; true")
        ),
        ""
    );
    assert_eq!(fs::read_dir(repository.path()).unwrap().count(), 1);
    assert_eq!(seen_inside(&server, "ls /proc /home /root /run /var /srv 2>/dev/null; true"), "");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let knock = format!(
        "timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}' 2>/dev/null && echo reached; true"
    );
    assert_eq!(seen_inside(&server, &knock), "");
    let variables = seen_inside(&server, "env");
    assert!(!variables.contains("CARGO") && !variables.contains("HOME="), "{variables}");
    // The same without walls sees all of it: the questions are good ones.
    let server = ThrowAway::in_folder(&programs(debian()), &wanted, SandboxWalls::None).unwrap();
    assert_eq!(seen_inside(&server, &knock), "reached");
    assert_ne!(seen_inside(&server, "ls /proc 2>/dev/null; true"), "");
}

#[test]
fn a_sandbox_that_cannot_be_made_is_an_error_that_says_what_to_install() {
    // A folder that is not there cannot be kept out.
    let wanted = WantedServer { major: Some(debian()), extensions: Vec::new() };
    let error = ThrowAway::in_folder(
        &programs(debian()),
        &wanted,
        SandboxWalls::Around(Path::new("/nothing")),
    )
    .unwrap_err();
    assert!(error.to_string().contains("/nothing"), "{error}");
}
