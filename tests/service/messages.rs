//! Who is told, and what: real requests and a real mail server.

use std::fs;
use std::io::BufRead;
use std::process::{Child, Command, Stdio};

use crate::place::{Place, wait};
use crate::support::Said;
use crate::support::postgres::free_port;
use crate::support::receiver::Receiver;

/// Settings that name every kind of web target at `receiver`.
fn everybody(receiver: &Receiver, on: &str) -> String {
    format!(
        "[notify]\non = [{on}]\nhealthchecks-url = {:?}\nntfy-url = {:?}\nntfy-token = \
            \"tk\"\ngotify-url = {:?}\ngotify-token = \"gt\"\ndiscord-url = {:?}\nwebhook-url = \
            {:?}\nwebhook-pre-backup-url = {:?}\nwebhook-header = [\"X-Key: a, b\"]\n",
        receiver.url("ping/uuid"),
        receiver.url("topic"),
        receiver.url("gotify"),
        receiver.url("discord"),
        receiver.url("hook"),
        receiver.url("before"),
    )
}

fn paths(receiver: &Receiver) -> Vec<String> {
    receiver.got().into_iter().map(|got| got.path).collect()
}

#[test]
fn a_run_that_went_well_is_told_to_those_who_want_to_know() {
    let (place, receiver) = (Place::new(), Receiver::start());
    place.write_settings(&everybody(&receiver, "\"failure\", \"warning\""));
    place.shoebox(&["run", "--once"]).ends(0);
    assert_eq!(paths(&receiver), ["/ping/uuid/start", "/before", "/ping/uuid", "/hook"]);
    assert_eq!(receiver.to("/before")[0].json()["status"], "pre-backup");
    let hook = receiver.to("/hook").remove(0);
    assert_eq!(
        (hook.header("X-Key"), hook.header("Content-Type")),
        (Some("a, b"), Some("application/json"))
    );
    let body = hook.json();
    assert_eq!((&body["status"], &body["event"]), (&"post-backup".into(), &"success".into()));
    assert!(body["message"].as_str().unwrap().starts_with("snapshot 2"), "{body}");
    assert!(receiver.to("/ping/uuid")[0].body.contains("backup: snapshot 2"), "the log's tail");
}

#[test]
fn a_failure_is_told_to_everybody_with_why() {
    let (place, receiver) = (Place::new(), Receiver::start());
    place.write_settings(&everybody(&receiver, "\"failure\""));
    fs::remove_file(place.home.dump_path()).unwrap();
    place.shoebox(&["run", "--once"]).ends(1);
    let all = paths(&receiver);
    assert_eq!(
        all,
        [
            "/ping/uuid/start",
            "/before",
            "/ping/uuid/fail",
            "/",
            "/gotify/message",
            "/discord",
            "/hook"
        ]
    );
    let ntfy = receiver.to("/").remove(0);
    assert_eq!(
        (ntfy.header("Authorization"), &ntfy.json()["topic"]),
        (Some("Bearer tk"), &"topic".into())
    );
    let gotify = receiver.to("/gotify/message").remove(0);
    assert_eq!(gotify.header("X-Gotify-Key"), Some("gt"));
    let discord = receiver.to("/discord").remove(0).json();
    assert_eq!(discord["allowed_mentions"]["parse"], serde_json::json!([]));
    for text in [
        ntfy.json()["message"].to_string(),
        gotify.json()["message"].to_string(),
        discord["content"].to_string(),
        receiver.to("/hook")[0].json()["message"].to_string(),
        receiver.to("/ping/uuid/fail")[0].body.clone(),
    ] {
        assert!(text.contains("opening the dump"), "{text}");
    }
    assert!(ntfy.json()["title"].as_str().unwrap().ends_with(": backup FAILED"), "{}", ntfy.body);
}

#[test]
fn who_cannot_be_told_changes_nothing_about_the_run() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let nobody = format!("http://127.0.0.1:{}/hook/secret", free_port());
    place.write_settings(&format!(
        "[notify]\non = [\"success\"]\nwebhook-url = {nobody:?}\nntfy-url = {:?}\n",
        receiver.url("status/500/topic")
    ));
    let said = place.shoebox(&["run", "--once"]).ends(0);
    assert!(
        said.err.contains("webhook at 127.0.0.1 was not notified") && !said.err.contains('\u{1b}'),
        "{:?}",
        said.err
    );
    assert!(!said.err.contains("secret"), "{}", said.err);
    assert_eq!(receiver.got().len(), 3, "what may pass by itself is tried three times");
}

#[test]
fn a_message_to_try_says_who_took_it() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let none = place.shoebox(&["notify"]).ends(2);
    assert!(none.err.contains("no target is configured for success"), "{}", none.err);
    // Who is told of failures alone is sent one to try.
    let ntfy = format!("[notify]\nntfy-url = {:?}\n", receiver.url("quiet"));
    place.write_settings(&ntfy);
    place.shoebox(&["notify"]).ends(0);
    assert_eq!(receiver.got().len(), 1);
    place.shoebox(&["notify", "--event", "success"]).ends(2);
    place.write_settings(&everybody(&receiver, "\"success\""));
    assert_eq!(
        place.shoebox(&["notify"]).ends(0).out.lines().count(),
        5,
        "all but the webhook of a start"
    );
    let lost = Said::of(
        place
            .command(&["notify", "--json"])
            .env("SHOEBOX_DISCORD_URL", receiver.url("status/404/x")),
    )
    .ends(3);
    assert!(
        lost.out.contains(
            "{\"error\":\"127.0.0.1 did not take the message: http status: \
        404\",\"sent\":false,\"target\":\"Discord at 127.0.0.1\"}"
        ),
        "{}",
        lost.out
    );
    assert_eq!(receiver.to("/status/404/x").len(), 1, "what cannot pass by itself is tried once");
    let template = place.home.dir.path().join("template");
    fs::write(&template, "{\"text\": {{ title | tojson }}}").unwrap();
    let at = format!("@{}", template.display());
    Said::of(place.command(&["notify"]).env("SHOEBOX_WEBHOOK_TEMPLATE", &at)).ends(0);
    let body = receiver.to("/hook").pop().unwrap().json();
    assert!(body["text"].as_str().unwrap().contains("a message to try"), "{body}");
    let wrong = Said::of(
        place
            .command(&["run", "--once"])
            .env("SHOEBOX_WEBHOOK_TEMPLATE", "{\"text\": {{ title }}}"),
    )
    .ends(2);
    assert!(wrong.err.contains("the webhook's template cannot be filled in"), "{}", wrong.err);
}

#[test]
fn a_stop_before_anything_was_done_is_no_success() {
    let (place, receiver) = (Place::new(), Receiver::start());
    place.write_settings(&format!(
        "[notify]\nwebhook-pre-backup-url = {:?}\nwebhook-url = {:?}\n",
        receiver.url("slow"),
        receiver.url("hook")
    ));
    let serving = place.serve(&[]);
    wait(
        "the first message",
        || !receiver.got().is_empty() || serving.said().contains("due"),
        || serving.said(),
    );
    std::thread::sleep(std::time::Duration::from_millis(300));
    serving.stop();
    assert_eq!(paths(&receiver), ["/slow"], "nobody is told of a success");
    assert_eq!((place.runs().len(), place.snapshots()), (0, 0));
}

#[test]
fn a_repository_that_is_away_is_told_and_a_redirect_is_no_delivery() {
    let (place, receiver) = (Place::new(), Receiver::start());
    place.write_settings(&everybody(&receiver, "\"failure\""));
    fs::rename(place.home.repo_path(), place.home.dir.path().join("away")).unwrap();
    place.shoebox(&["run", "--once"]).ends(1);
    assert!(
        receiver.to("/hook")[0].json()["message"].as_str().unwrap().contains("no repository found")
    );
    let moved =
        Said::of(place.command(&["notify"]).env("SHOEBOX_GOTIFY_URL", receiver.url("status/301")))
            .ends(3);
    assert!(moved.err.contains("127.0.0.1 has moved; hint: use the address"), "{}", moved.err);
}

/// A real mail server that prints what it is sent; ended when dropped.
struct MailServer {
    child: Child,
    port: u16,
    log: tempfile::NamedTempFile,
}

impl MailServer {
    fn start() -> MailServer {
        let (port, log) = (free_port(), tempfile::NamedTempFile::new().unwrap());
        let child = Command::new("/usr/bin/python3")
            .args(["-u", "-m", "aiosmtpd", "-n", "-l", &format!("127.0.0.1:{port}")])
            .args(["-c", "aiosmtpd.handlers.Debugging", "stdout"])
            .stdin(Stdio::null())
            .stdout(log.reopen().unwrap())
            .spawn()
            .expect("python3-aiosmtpd is there: scripts/setup installs it");
        let server = MailServer { child, port, log };
        wait(
            "the mail server",
            || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(),
            String::new,
        );
        server
    }

    fn lines(&self) -> Vec<String> {
        let file = fs::File::open(self.log.path()).unwrap();
        std::io::BufReader::new(file).lines().map(Result::unwrap).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn mail_comes_with_a_subject_and_the_log() {
    let (place, server) = (Place::new(), MailServer::start());
    place.write_settings(&format!(
        "[notify]\nemail-url = \"smtp://127.0.0.1:{}\"\nemail-from = \"box@example.org\"\nemail-to \
            = \"Ann <ann@example.org>, bo@example.org\"\n",
        server.port
    ));
    fs::remove_file(place.home.dump_path()).unwrap();
    place.shoebox(&["run", "--once"]).ends(1);
    wait(
        "the mail",
        || server.lines().iter().any(|line| line.contains("END MESSAGE")),
        || server.lines().join("\n"),
    );
    let lines = server.lines();
    let has = |begin: &str, end: &str| {
        lines.iter().any(|line| line.starts_with(begin) && line.ends_with(end))
    };
    assert!(has("Subject: shoebox on ", ": backup FAILED"), "{lines:#?}");
    assert!(
        has("From: box@example.org", "") && has("To: Ann <ann@example.org>, bo@example.org", ""),
        "{lines:#?}"
    );
    assert!(
        has("backup: opening the dump", "")
            || lines.iter().any(|line| line.contains("opening the dump")),
        "{lines:#?}"
    );
}
