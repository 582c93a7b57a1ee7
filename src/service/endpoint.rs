//! The HTTP endpoint: `/healthz` for those who only ask whether it is fine, `/metrics` for Prometheus.
//!
//! Always holds: it answers what [`Status`] says and nothing of the library: no name of a person, an album or a file. It reads no
//! body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tiny_http::{Header, Method, Request, Response, Server};

use crate::base::{Context, Error, Kind, Result, SnapshotId};
use crate::repo::notes::Outcome;
use crate::task::status::Status;

/// Who asks more often gets the same answer again.
const FRESH: Duration = Duration::from_secs(15);
const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus's text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is asked: how the repository is, and when the next run is due.
pub type Ask = Arc<dyn Fn() -> (Result<Status>, Option<Timestamp>) + Send + Sync>;

/// Answers at `address` until the process ends. The address that it is.
pub fn serve(address: SocketAddr, ask: Ask) -> Result<SocketAddr> {
    let listening = || format!("listening on {address}");
    let server = Server::http(address).map_err(|error| {
        Error::new(Kind::Io, listening())
            .caused_by(error)
            .hint("another program has that port: choose one with --healthcheck-port")
    })?;
    let bound = server.server_addr().to_ip().unwrap_or(address);
    let answer = move || {
        let mut known: Option<(Instant, Arc<Answer>)> = None;
        for request in server.incoming_requests() {
            if known.as_ref().is_none_or(|(at, _)| at.elapsed() > FRESH) {
                known = Some((Instant::now(), Arc::new(Answer::of(&ask))));
            }
            // Who asks and then says nothing more keeps nobody else waiting.
            if let Some((_, answer)) = known.clone() {
                drop(std::thread::Builder::new().name("answer".to_owned()).spawn(move || answer.reply(request)));
            }
        }
    };
    std::thread::Builder::new().name("endpoint".to_owned()).spawn(answer).context(listening)?;
    Ok(bound)
}

/// Both answers.
struct Answer {
    healthy: bool,
    health: String,
    metrics: String,
}

impl Answer {
    fn of(ask: &Ask) -> Answer {
        let (status, next) = ask();
        let metrics = metrics(status.as_ref().ok(), next);
        match status {
            Ok(status) => Answer { healthy: status.healthy, health: health(&status), metrics },
            Err(error) => Answer { healthy: false, health: format!("fail\n{}\n", error.chain()), metrics },
        }
    }

    fn reply(&self, request: Request) {
        let path = request.url().split('?').next().unwrap_or_default().to_owned();
        let (code, kind, text) = match (request.method(), path.as_str()) {
            (Method::Get | Method::Head, "/" | "/healthz") => {
                (if self.healthy { 200 } else { 503 }, TEXT, self.health.as_str())
            }
            (Method::Get | Method::Head, "/metrics") => (200, METRICS, self.metrics.as_str()),
            (Method::Get | Method::Head, _) => (404, TEXT, "there are /healthz and /metrics\n"),
            _ => (405, TEXT, "only GET\n"),
        };
        let mut response = Response::from_string(text).with_status_code(code);
        if let Ok(header) = Header::from_bytes("Content-Type", kind) {
            response.add_header(header);
        }
        // Who asked may be gone.
        drop(request.respond(response));
    }
}

/// `pass`, or `fail` and why.
fn health(status: &Status) -> String {
    let reasons = status.findings.iter().filter(|finding| finding.red).map(|finding| format!("{}\n", finding.what));
    match status.healthy {
        true => "pass\n".to_owned(),
        false => format!("fail\n{}", reasons.collect::<String>()),
    }
}

/// Gauges, named as Prometheus's manual has it: unit last, times in seconds since 1970.
fn metrics(status: Option<&Status>, next: Option<Timestamp>) -> String {
    let mut text = format!(
        "# HELP shoebox_build_info The version that runs.\n# TYPE shoebox_build_info gauge\nshoebox_build_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut gauge = |name: &str, help: &str, value: Option<i64>| {
        if let Some(value) = value {
            text += &format!("# HELP shoebox_{name} {help}\n# TYPE shoebox_{name} gauge\nshoebox_{name} {value}\n");
        }
    };
    let seconds = |time: Option<Timestamp>| time.map(Timestamp::as_second);
    let amount = |number: u64| Some(i64::try_from(number).unwrap_or(i64::MAX));
    let is = |yes: bool| Some(i64::from(yes));
    gauge("up", "Whether the repository could be read.", is(status.is_some()));
    gauge("next_run_timestamp_seconds", "When the next run is due.", seconds(next));
    let Some(status) = status else { return text };
    let snapshot = |id: Option<SnapshotId>| id.map(SnapshotId::seconds);
    gauge("healthy", "Whether nothing is wrong that a person should know of.", is(status.healthy));
    gauge("snapshots", "Snapshots in the repository.", amount(status.snapshots));
    gauge(
        "last_snapshot_timestamp_seconds",
        "When the newest snapshot with a good dump was taken.",
        snapshot(status.good),
    );
    gauge(
        "last_verified_snapshot_timestamp_seconds",
        "When the newest snapshot that passed a check was taken.",
        snapshot(status.verified),
    );
    gauge("last_check_timestamp_seconds", "When the last check was.", seconds(status.checked));
    gauge("last_drill_success_timestamp_seconds", "When the last drill was that succeeded.", seconds(status.drilled));
    gauge(
        "checked_percent",
        "Percent of the archives' bytes that were read and found right within 30 days.",
        amount(status.coverage),
    );
    gauge("repository_size_bytes", "Bytes of all archives.", amount(status.size));
    gauge("repository_growth_bytes", "Bytes that the snapshots of the last 30 days added.", amount(status.growth));
    gauge("repository_free_bytes", "Bytes that are free on the repository's disk.", amount(status.free));
    if let Some(last) = &status.last {
        gauge("library_assets", "Assets in the newest snapshot.", amount(last.assets));
        gauge("library_size_bytes", "Bytes of files in the newest snapshot.", amount(last.bytes));
        gauge("library_missing_assets", "Assets whose original is not in the newest snapshot.", amount(last.missing));
        gauge("alarm", "Whether the newest snapshot has an alarm.", is(!last.alarm.is_empty()));
    }
    if let Some(last) = &status.run {
        gauge("last_run_timestamp_seconds", "When the last run ended.", seconds(Some(last.ended)));
        let took = last.ended.duration_since(last.run.began).as_secs();
        gauge("last_run_duration_seconds", "How long the last run took.", Some(took));
        gauge("last_run_success", "Whether the last run ended well.", is(last.outcome == Outcome::Done));
    }
    text
}
