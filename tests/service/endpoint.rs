//! `status`, `/healthz` and `/metrics` say the same.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::place::{Place, Serving, wait};
use crate::support::postgres::free_port;
use crate::support::under_clock;

/// What the endpoint answers: the code, and the body.
fn ask(port: u16, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let code = text.split(' ').nth(1).unwrap().parse().unwrap();
    (code, text.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn serve(place: &Place, port: u16, more: &[&str]) -> Serving {
    let serving = place.serve(
        &[&["--schedule", "0 0 1 1 *", "--healthcheck-port", &port.to_string()], more].concat(),
    );
    serving.says("listening on http://127.0.0.1", 1);
    serving.says("the next run is due", 1);
    serving
}

#[test]
fn a_fresh_snapshot_that_passed_a_check_is_health() {
    let (place, port) = (Place::new(), free_port());
    place.shoebox(&["run", "--once"]).ends(0);
    let serving = serve(&place, port, &[]);
    assert_eq!(ask(port, "GET /healthz"), (200, "pass\n".to_owned()));
    assert_eq!(ask(port, "HEAD /"), (200, String::new()));
    assert_eq!(ask(port, "GET /photos").0, 404);
    assert_eq!(ask(port, "POST /healthz").0, 405);
    let (code, metrics) = ask(port, "GET /metrics");
    assert_eq!(code, 200);
    let gauge = |name: &str| -> i64 {
        let line = metrics.lines().find(|line| line.starts_with(&format!("shoebox_{name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {metrics}"))
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    };
    let status = place.shoebox(&["status", "--json"]).ends(0).json().remove(0);
    assert_eq!(
        (gauge("up"), gauge("healthy"), gauge("snapshots"), gauge("library_assets")),
        (1, 1, 1, 2)
    );
    assert_eq!(gauge("repository_size_bytes"), status["size"].as_i64().unwrap());
    assert_eq!(
        gauge("last_verified_snapshot_timestamp_seconds"),
        gauge("last_snapshot_timestamp_seconds")
    );
    assert_eq!((gauge("last_run_success"), gauge("checked_percent")), (1, 100));
    assert!(gauge("next_run_timestamp_seconds") > gauge("last_run_timestamp_seconds"));
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("shoebox_") && line.split(' ').count() == 2, "{line}");
    }
    serving.stop();
}

#[test]
fn an_old_snapshot_an_unchecked_one_and_a_lost_repository_are_not() {
    let (place, port) = (Place::new(), free_port());
    place.shoebox(&["backup"]).ends(0);
    let old = place.shoebox(&["status", "--max-age", "0s"]).ends(3);
    assert!(old.out.contains("RED   the newest good snapshot is 0 minutes old"), "{}", old.out);
    place.shoebox(&["status"]).ends(0);
    let unchecked = place.shoebox(&["status", "--max-age-verified", "0s"]).ends(3);
    assert!(unchecked.out.contains("RED   no snapshot has passed a check"), "{}", unchecked.out);

    place.write_settings("[status]\nmax-age-verified = \"0s\"\n");
    let serving = serve(&place, port, &[]);
    assert_eq!(
        ask(port, "GET /healthz"),
        (503, "fail\nno snapshot has passed a check\n".to_owned())
    );
    serving.stop();

    let serving = serve(&place, port, &[]);
    std::fs::rename(place.home.repo_path(), place.home.dir.path().join("away")).unwrap();
    let (code, text) = ask(port, "GET /healthz");
    assert!(code == 503 && text.starts_with("fail\nno repository found in"), "{text}");
    assert!(ask(port, "GET /metrics").1.contains("shoebox_up 0"));
    serving.stop();
}

#[test]
fn damage_and_a_snapshot_of_the_future_are_red_until_they_are_repaired() {
    let place = Place::new();
    place.write_settings("prune-every = \"never\"\n");
    place.shoebox(&["run", "--once"]).ends(0);
    let archive =
        walkdir::WalkDir::new(place.home.repo_path().join("archives")).into_iter().flatten();
    let archive = archive.filter(|it| it.file_type().is_file()).last().unwrap().into_path();
    let whole = std::fs::read(&archive).unwrap();
    let mut broken = whole.clone();
    broken[600] ^= 1;
    std::fs::write(&archive, &broken).unwrap();
    place.shoebox(&["check", "--read-data"]).ends(3);
    let red = place.shoebox(&["status"]).ends(3);
    assert!(red.out.contains("RED   damage was found in 1 archive"), "{}", red.out);
    place.shoebox(&["check"]).ends(0);
    place.shoebox(&["status"]).ends(3);
    std::fs::write(&archive, &whole).unwrap();
    place.shoebox(&["check", "--read-data"]).ends(0);
    place.shoebox(&["status"]).ends(0);

    let mut later = under_clock("+400d", &place.command(&["run", "--once"]));
    // By that clock its dump is old.
    crate::support::Said::of(&mut later).ends(3);
    let told = place.shoebox(&["run", "--once"]).ends(3);
    assert!(told.err.contains("the clock: 1 snapshot is dated in the future"), "{}", told.err);
    let red = place.shoebox(&["status"]).ends(3);
    assert!(
        red.out.contains("dated in the future") && red.out.contains("shoebox forget 2"),
        "{}",
        red.out
    );
}

#[test]
fn who_asks_and_says_nothing_more_keeps_nobody_waiting_and_is_answered_too() {
    let (place, port) = (Place::new(), free_port());
    place.shoebox(&["run", "--once"]).ends(0);
    let serving = serve(&place, port, &[]);
    let mut silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(silent, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
        .unwrap();
    assert_eq!(ask(port, "GET /healthz").0, 200);
    let begun = Instant::now();
    let mut slow = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let said = "GET /healthz HTTP/1.1\r\nHost: slow\r\n\r\n";
    for letter in said.bytes() {
        slow.write_all(&[letter]).unwrap();
    }
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\npass\n"),
        "{answer}"
    );
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop(silent);
    serving.stop();
}

#[test]
fn what_is_no_request_is_told_so_and_a_silent_client_is_sent_away() {
    let (place, port) = (Place::new(), free_port());
    place.shoebox(&["run", "--once"]).ends(0);
    let serving = serve(&place, port, &[]);
    assert_eq!(ask(port, "\u{1}\u{2} what\r\n\r\n").0, 400);
    assert_eq!(ask(port, &format!("GET /{}", "x".repeat(20_000))).0, 400);
    let mut silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    silent.write_all(b"GET /healthz HTTP/1.1\r\nX-A: ").unwrap();
    let begun = Instant::now();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(15), "{took:?}");
    serving.stop();
}

#[test]
fn four_thousand_half_sent_requests_cost_neither_the_endpoint_nor_the_night() {
    let (place, port) = (Place::new(), free_port());
    place.shoebox(&["run", "--once"]).ends(0);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert!(
        limit.maximum.is_none_or(|most| most > 4_200),
        "this test needs 4,200 descriptors, and may have {limit:?}"
    );
    let wanted = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).unwrap();
    let serving =
        place.serve(&["--schedule", "*/2 * * * * *", "--healthcheck-port", &port.to_string()]);
    serving.says("listening on http://127.0.0.1", 1);
    let before = place.snapshots();
    let mut flood = Vec::new();
    for number in 0..4_000 {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ").unwrap();
        flood.push(client);
        if number % 500 == 0 {
            assert_eq!(ask(port, "GET /healthz"), (200, "pass\n".to_owned()), "after {number}");
        }
    }
    let (descriptors, threads) = serving.takes();
    assert!(descriptors < 60 && threads < 20, "{descriptors} descriptors, {threads} threads");
    assert_eq!(ask(port, "GET /healthz").0, 200);
    wait("a night under the flood", || place.snapshots() > before, || serving.said());
    assert_eq!(flood.len(), 4_000);
    drop(flood);
    assert_eq!(ask(port, "GET /healthz").0, 200);
    serving.stop();
    assert!(
        place.runs().iter().all(|run| run.outcome() != shoebox::repo::notes::StepOutcome::Failed)
    );
}

#[test]
fn it_listens_to_this_machine_alone_and_not_at_all_unless_told() {
    let (place, port) = (Place::new(), free_port());
    place.shoebox(&["run", "--once"]).ends(0);
    let quiet = place.serve(&["--schedule", "0 0 1 1 *"]);
    quiet.says("the next run is due", 1);
    assert!(!quiet.said().contains("listening"), "{}", quiet.said());
    quiet.stop();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let said = place.shoebox(&["run", "--healthcheck-port", &port.to_string()]).ends(1);
    assert!(said.err.contains("hint: another program has that port"), "{}", said.err);
    drop(taken);
}
