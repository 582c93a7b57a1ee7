//! The server that a drill makes for itself: it works, and nothing of it stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use shoebox::source::postgres::throwaway::{Programs, ThrowAway, Wanted};

mod support;
use support::postgres::{debian, newer_versions};

fn programs(major: u32) -> Programs {
    let folder = [Path::new("/usr/lib/postgresql"), &newer_versions()]
        .into_iter()
        .find_map(|versions| Programs::in_folder(&versions.join(major.to_string()).join("bin")));
    folder.unwrap_or_else(|| panic!("there is no PostgreSQL {major}; `scripts/setup` installs it"))
}

/// The process that serves, and its data folder.
fn of(server: &ThrowAway) -> (String, PathBuf) {
    let folder = PathBuf::from(server.ask("postgres", "SHOW data_directory").unwrap());
    let file = fs::read_to_string(folder.join("postmaster.pid")).unwrap();
    (file.lines().next().unwrap().to_owned(), folder)
}

#[test]
fn a_throw_away_server_answers_by_its_socket_alone_and_goes_with_its_folder() {
    for major in [debian(), 16, 18] {
        let wanted = Wanted { major: Some(major), extensions: vec!["cube".to_owned()] };
        let server = ThrowAway::in_folder(&programs(major), &wanted).unwrap();
        assert!(server.version().starts_with(&major.to_string()), "{}", server.version());
        server.create_database("im \"mich").unwrap();
        assert_eq!(server.ask("im \"mich", "SELECT current_database(), 1").unwrap(), "im \"mich\t1");
        assert_eq!(server.ask("postgres", "SHOW listen_addresses").unwrap(), "");
        assert!(server.ask("postgres", "SELECT nothing").is_err());
        let (process, folder) = of(&server);
        assert_eq!(fs::metadata(folder.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        drop(server);
        assert!(!Path::new("/proc").join(process).exists());
        assert!(!folder.parent().unwrap().exists());
    }
}
