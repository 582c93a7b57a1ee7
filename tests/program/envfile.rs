//! Immich's `.env` file means here what it means to Docker Compose.
//!
//! The installed `docker-compose` reads the same files. Version 2 is the authority; version 1,
//! which Debian 12 has, knows no `$NAME`, no `$$`, refers in single quotes too and has fewer forms
//! of a default, so those lines are compared with version 2 alone.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use shoebox::source::dotenv;

use crate::support::Said;

/// What the shell that runs Compose has set.
const OUTSIDE: (&str, &str) = ("OUTSIDE", "out side");

/// What stands after `NAME=`, what the value is, and whether version 1 agrees.
const VALUES: [(&str, &str, bool); 48] = [
    ("plain", "plain", true),
    ("", "", true),
    ("it's", "it's", true),
    ("don't \"quote\" me", "don't \"quote\" me", true),
    ("a\"b", "a\"b", true),
    ("/srv/my photos", "/srv/my photos", true),
    ("two words # a comment", "two words", true),
    ("a#b", "a#b", true),
    ("a=b=c", "a=b=c", true),
    ("  around  ", "around", true),
    ("\ttab\t", "tab", true),
    ("with\\backslash\\n", "with\\backslash\\n", true),
    ("crlf\r", "crlf", true),
    ("pässwörd", "pässwörd", true),
    ("'single'", "single", true),
    ("'a$b ${c} #d'", "a$b ${c} #d", false),
    ("'it\\'s'", "it's", true),
    ("'a\\nb'", "a\\nb", true),
    ("'after' # a comment", "after", true),
    ("''", "", true),
    ("'two\nlines'", "two\nlines", true),
    ("\"double\"", "double", true),
    ("\"a 'b' c\"", "a 'b' c", true),
    ("\"a\\\"b\"", "a\"b", true),
    ("\"a\\nb\\tc\"", "a\nb\tc", true),
    ("\"a\\\\b\"", "a\\b", true),
    ("\"# none\" # one", "# none", true),
    ("\"two\nlines\"", "two\nlines", true),
    ("\"crlf\"\r", "crlf", true),
    ("${OUTSIDE}/x", "out side/x", true),
    ("a${FIRST}b", "a1b", true),
    ("${NO_SUCH:-/srv/photos}", "/srv/photos", true),
    ("${NO_SUCH:-}x", "x", true),
    ("${FIRST:-other}", "1", true),
    ("\"${FIRST} ${NO_SUCH:-none}\"", "1 none", true),
    ("${NO_SUCH}", "", true),
    ("${NO_SUCH-/srv/photos}", "/srv/photos", false),
    ("${EMPTY-full}", "", false),
    ("${EMPTY:-full}", "full", false),
    ("${FIRST+set}${NO_SUCH+set}", "set", false),
    ("${FIRST:?must be set}", "1", false),
    ("${NO_SUCH:-${FIRST}}", "1", false),
    ("$FIRST", "1", false),
    ("pa$word", "pa", false),
    ("pa$$word", "pa$word", false),
    ("\"pa\\$FIRST\"", "pa$FIRST", false),
    ("100$", "100$", false),
    ("$1", "$1", false),
];
const BEGIN: &str = "\u{FEFF}# first\nFIRST=0\nEMPTY=\n\nexport FIRST=1\n";

#[test]
fn each_way_to_write_a_value_is_read_as_compose_reads_it() {
    let is_first = is_version_1();
    let known: Vec<_> = VALUES.iter().filter(|(.., both)| *both || !is_first).collect();
    let text = BEGIN.to_owned() + &assignments(known.iter().map(|(written, ..)| *written));
    let theirs = composed(&text, known.len());
    let pairs = known.iter().zip(&theirs);
    let other: Vec<_> = pairs.filter(|((_, wanted, _), theirs)| *theirs != wanted).collect();
    assert!(other.is_empty(), "compose: {other:?}");
    let text = BEGIN.to_owned() + &assignments(VALUES.iter().map(|(written, ..)| *written));
    for ((written, wanted, _), ours) in VALUES.iter().zip(ours(&text, VALUES.len())) {
        assert_eq!(ours, *wanted, "{written:?}");
    }
}

#[test]
fn random_values_are_read_as_compose_reads_them() {
    let piece = select(&[
        "a",
        "B9",
        "it's",
        "\"",
        "'",
        " ",
        "  ",
        " #",
        "#",
        "=",
        ":",
        "/",
        "\\",
        "é",
        "${FIRST}",
        "${NO_SUCH:-x y}",
        "{",
        "}",
        "-",
    ]);
    let unquoted = vec(piece, 1..8).prop_map(|pieces| pieces.concat());
    let inside = select(&["a", "B9", " ", " #", "#", "=", ":", "/", "é", "\n", "{", "}", "\""]);
    let single = vec(inside, 0..8).prop_map(|pieces| format!("'{}'", pieces.concat()));
    // What begins with a quote is a string, and the table has those.
    let value = prop_oneof![3 => unquoted.prop_filter("a \
        string", |it| !it.trim_start().starts_with(['"', '\''])), 1 => single];
    let mut runner = TestRunner::new(Config { cases: 4, max_shrink_iters: 0, ..Config::default() });
    let run = runner.run(&vec(value, 150), |values| {
        let text = BEGIN.to_owned() + &assignments(values.iter().map(String::as_str));
        let (theirs, ours) = (composed(&text, values.len()), ours(&text, values.len()));
        for (written, (theirs, ours)) in values.iter().zip(theirs.iter().zip(&ours)) {
            prop_assert_eq!(theirs, ours, "{:?}", written);
        }
        Ok(())
    });
    run.unwrap();
}

#[test]
fn what_compose_2_refuses_is_an_error_with_its_line() {
    for (text, line) in [
        ("A=1\nthis is no line\n", 2),
        ("A=1\n\n\nB='it\nC=2\n", 4),
        ("A=\"\n\"\nB=\"\n", 3),
        ("A=${\n", 1),
        ("A=${}\n", 1),
        ("A=${9}\n", 1),
        ("A=${B:x}\n", 1),
        ("A=${B:-x\n", 1),
        ("A=${NO_SUCH?}\n", 1),
        ("A=${EMPTY:?}\nEMPTY=\n", 1),
        ("# x\nA*B=1\n", 2),
    ] {
        assert_eq!(dotenv::parse(text, &|_| None).unwrap_err().line, line, "{text:?}");
        if !is_version_1() {
            assert!(!compose(text, 0).status.success(), "{text:?}");
        }
    }
}

#[test]
fn a_backup_says_what_the_file_lacks_and_does_not_pass_over_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    let backup = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut command = Command::cargo_bin("shoebox").unwrap();
        command
            .arg("-r")
            .arg(folder.path().join("repository"))
            .args(["backup", "--dump", "-", "--env-file"])
            .arg(&file);
        Said::of(command.stdin(std::process::Stdio::null())).ends(2).err
    };
    Said::of(
        Command::cargo_bin("shoebox")
            .unwrap()
            .arg("init")
            .arg("-r")
            .arg(folder.path().join("repository")),
    )
    .ends(0);
    let said = backup("DB_PASSWORD=it's\nDB_DATABASE_NAME=photos\n");
    assert!(said.contains(&format!("UPLOAD_LOCATION is not set in {}", file.display())), "{said}");
    let said = backup("UPLOAD_LOCATION=/srv\nDB_PASSWORD=\"it\nDB_DATABASE_NAME=photos\n");
    assert!(said.contains(&format!("line 2 of {} cannot be read", file.display())), "{said}");
    assert!(said.contains("hint: docker compose refuses it too"), "{said}");
}

/// `V0=…`, `V1=…` and so on.
fn assignments<'a>(values: impl Iterator<Item = &'a str>) -> String {
    values.enumerate().map(|(number, written)| format!("V{number}={written}\n")).collect()
}

fn ours(text: &str, count: usize) -> Vec<String> {
    let outside = |name: &str| (name == OUTSIDE.0).then(|| OUTSIDE.1.to_owned());
    let read = dotenv::parse(text, &outside).unwrap();
    (0..count).map(|number| read[&format!("V{number}")].clone()).collect()
}

fn is_version_1() -> bool {
    let version = crate::support::run(Command::new("docker-compose").args(["version", "--short"]));
    version.stdout.trim_ascii_start().starts_with(b"1.")
}

/// What `docker-compose config` makes of a service that has `V0` to `V<count>` in its environment,
/// and of `text` as `.env`.
fn compose(text: &str, count: usize) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let variables: String =
        (0..count).map(|number| format!("      V{number}: \"${{V{number}}}\"\n")).collect();
    let services =
        format!("services:\n  a:\n    image: x\n    environment:\n      X: x\n{variables}");
    fs::write(folder.path().join("docker-compose.yml"), services).unwrap();
    fs::write(folder.path().join(".env"), text).unwrap();
    let mut command = Command::new("docker-compose");
    command.arg("config").current_dir(&folder).env(OUTSIDE.0, OUTSIDE.1);
    // Which is YAML too. In its own YAML version 2.26 loses a value that is a line's end alone.
    if !is_version_1() {
        command.args(["--format", "json"]);
    }
    command.output().expect("docker-compose; `scripts/setup` installs it")
}

fn composed(text: &str, count: usize) -> Vec<String> {
    let output = compose(text, count);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &output.stdout).unwrap();
    let program = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1], \
        encoding='utf-8'))['services']['a']['environment']))";
    let json =
        crate::support::run(Command::new("python3").args(["-c", program]).arg(file.path())).stdout;
    let read: HashMap<String, serde_json::Value> = serde_json::from_slice(&json).unwrap();
    // What it prints is a compose file again, in which $ is written $$.
    let value =
        |number: usize| read[&format!("V{number}")].as_str().unwrap_or_default().replace("$$", "$");
    (0..count).map(value).collect()
}
