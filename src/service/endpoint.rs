//! The HTTP endpoint: `/healthz` for those who only ask whether it is fine, `/metrics` for
//! Prometheus.
//!
//! Always holds: it answers what [`RepositoryStatus`] says and nothing of the library: no name of a person,
//! an album or a file. It reads no body. It has one thread and at most [`MOST`] connections, each
//! for [`PATIENCE`] and one request: who comes when all are taken has the place of whoever came
//! first, so that neither silent clients nor a flood keep an honest one waiting.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::{Context, Error, ErrorKind, Result, SnapshotId};
use crate::repo::notes::StepOutcome;
use crate::task::status::RepositoryStatus;

/// Who asks more often gets the same answer again.
const FRESH: Duration = Duration::from_secs(15);
/// Connections at a time.
const MOST: usize = 16;
/// How long a connection may last.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait when the system has no descriptor to spare.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request's head.
const HEAD: usize = 8 << 10;
const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus's text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is asked: how the repository is, and when the next run is due.
pub type StatusSource =
    Arc<dyn Fn() -> (Result<RepositoryStatus>, Option<Timestamp>) + Send + Sync>;

/// Answers at `address` until the process ends. The address that it is.
pub fn serve(address: SocketAddr, ask: StatusSource) -> Result<SocketAddr> {
    let listening = || format!("listening on {address}");
    let listener = TcpListener::bind(address).map_err(|error| {
        Error::new(ErrorKind::Io, listening())
            .caused_by(error)
            .hint("another program has that port: choose one with --healthcheck-port")
    })?;
    listener.set_nonblocking(true).context(listening)?;
    let bound = listener.local_addr().unwrap_or(address);
    let mut endpoint = Endpoint { listener, ask, known: None, guests: VecDeque::new() };
    std::thread::Builder::new()
        .name("endpoint".to_owned())
        .spawn(move || endpoint.work())
        .context(listening)?;
    Ok(bound)
}

struct Endpoint {
    listener: TcpListener,
    ask: StatusSource,
    known: Option<(Instant, Arc<HttpAnswer>)>,
    /// Oldest first.
    guests: VecDeque<EndpointClient>,
}

impl Endpoint {
    fn work(&mut self) -> ! {
        loop {
            if let Err(error) =
                self.wait().map_err(std::io::Error::from).and_then(|()| self.accept())
            {
                tracing::debug!("the endpoint: {error}");
                self.guests.pop_front();
                std::thread::sleep(PAUSE);
            }
            let guests = std::mem::take(&mut self.guests);
            self.guests = guests.into_iter().filter_map(|guest| self.attend(guest)).collect();
        }
    }

    /// Waits until somebody comes, says something, or has been here for too long.
    fn wait(&self) -> rustix::io::Result<()> {
        let oldest =
            self.guests.front().map(|guest| PATIENCE.saturating_sub(guest.since.elapsed()));
        let most = oldest.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut watched = vec![PollFd::new(&self.listener, PollFlags::IN)];
        watched.extend(self.guests.iter().map(|guest| PollFd::new(&guest.stream, PollFlags::IN)));
        match poll(&mut watched, most.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lets in whoever waits, at most [`MOST`] at a time.
    fn accept(&mut self) -> std::io::Result<()> {
        for _ in 0..MOST {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // Gone before it was let in.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            if self.guests.len() == MOST {
                self.guests.pop_front();
            }
            self.guests.push_back(EndpointClient {
                stream,
                since: Instant::now(),
                head: Vec::new(),
                is_answered: false,
            });
        }
        Ok(())
    }

    /// Reads what `guest` has said and answers it once; `None` when it goes.
    fn attend(&mut self, mut guest: EndpointClient) -> Option<EndpointClient> {
        let is_here = guest.hear();
        if !guest.is_answered
            && let Some(asked) = guest.request()
        {
            guest.answer(&self.answer().reply(&asked))?;
        }
        (is_here && guest.since.elapsed() < PATIENCE).then_some(guest)
    }

    fn answer(&mut self) -> Arc<HttpAnswer> {
        match &self.known {
            Some((at, answer)) if at.elapsed() <= FRESH => answer.clone(),
            _ => {
                let answer = Arc::new(HttpAnswer::of(&self.ask));
                self.known = Some((Instant::now(), answer.clone()));
                answer
            }
        }
    }
}

/// Who is connected.
struct EndpointClient {
    stream: TcpStream,
    since: Instant,
    head: Vec<u8>,
    /// From then on what it says is read and forgotten, for closing on unread bytes would take the
    /// answer back.
    is_answered: bool,
}

impl EndpointClient {
    /// Takes in what has arrived. False when there will be no more.
    fn hear(&mut self) -> bool {
        let mut buffer = [0; HEAD];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) if self.is_answered => read > 0,
            Ok(read) => {
                self.head.extend_from_slice(&buffer[..read.min(HEAD - self.head.len())]);
                true
            }
            Err(error) => matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
            ),
        }
    }

    /// The request, once its head is whole or can be none.
    fn request(&self) -> Option<HttpRequest> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&self.head) {
            Ok(httparse::Status::Partial) if self.head.len() < HEAD => None,
            Ok(httparse::Status::Complete(_)) => Some(HttpRequest::of(&request)),
            Ok(httparse::Status::Partial) | Err(_) => Some(HttpRequest::Nonsense),
        }
    }

    /// Sends `reply`, which the system's buffer holds as a whole. `None` if it cannot be sent.
    fn answer(&mut self, reply: &str) -> Option<()> {
        self.is_answered = true;
        self.stream.write_all(reply.as_bytes()).ok()?;
        self.stream.shutdown(Shutdown::Write).ok()
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HttpRequest {
    Page {
        page: StatusPage,
        with_body: bool,
    },
    /// Another method than GET and HEAD.
    Change,
    Nonsense,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StatusPage {
    Health,
    Metrics,
    Unknown,
}

impl HttpRequest {
    fn of(request: &httparse::Request<'_, '_>) -> HttpRequest {
        let with_body = match request.method {
            Some("GET") => true,
            Some("HEAD") => false,
            _ => return HttpRequest::Change,
        };
        let page = match request.path.unwrap_or_default().split('?').next() {
            Some("/" | "/healthz") => StatusPage::Health,
            Some("/metrics") => StatusPage::Metrics,
            _ => StatusPage::Unknown,
        };
        HttpRequest::Page { page, with_body }
    }
}

/// Both answers.
struct HttpAnswer {
    healthy: bool,
    health: String,
    metrics: String,
}

impl HttpAnswer {
    fn of(ask: &StatusSource) -> HttpAnswer {
        let (status, next) = ask();
        let metrics = metrics(status.as_ref().ok(), next);
        match status {
            Ok(status) => HttpAnswer { healthy: status.healthy, health: health(&status), metrics },
            Err(error) => {
                HttpAnswer { healthy: false, health: format!("fail\n{}\n", error.chain()), metrics }
            }
        }
    }

    /// The whole response.
    fn reply(&self, asked: &HttpRequest) -> String {
        let (code, kind, text) = match asked {
            HttpRequest::Page { page: StatusPage::Health, .. } if self.healthy => {
                ("200 OK", TEXT, self.health.as_str())
            }
            HttpRequest::Page { page: StatusPage::Health, .. } => {
                ("503 Service Unavailable", TEXT, self.health.as_str())
            }
            HttpRequest::Page { page: StatusPage::Metrics, .. } => {
                ("200 OK", METRICS, self.metrics.as_str())
            }
            HttpRequest::Page { page: StatusPage::Unknown, .. } => {
                ("404 Not Found", TEXT, "there are /healthz and /metrics\n")
            }
            HttpRequest::Change => {
                ("405 Method Not Allowed\r\nAllow: GET, HEAD", TEXT, "only GET\n")
            }
            HttpRequest::Nonsense => ("400 Bad Request", TEXT, "this is not an HTTP request\n"),
        };
        let body =
            if matches!(asked, HttpRequest::Page { with_body: false, .. }) { "" } else { text };
        let length = text.len();
        format!(
            "HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: \
                close\r\n\r\n{body}"
        )
    }
}

/// `pass`, or `fail` and why.
fn health(status: &RepositoryStatus) -> String {
    let reasons = status
        .findings
        .iter()
        .filter(|finding| finding.red)
        .map(|finding| format!("{}\n", finding.what));
    if status.healthy {
        "pass\n".to_owned()
    } else {
        format!("fail\n{}", reasons.collect::<String>())
    }
}

/// Gauges, named as Prometheus's manual has it: unit last, times in seconds since 1970.
fn metrics(status: Option<&RepositoryStatus>, next: Option<Timestamp>) -> String {
    let mut text = format!(
        "# HELP shoebox_build_info The version that runs.\n# TYPE shoebox_build_info \
            gauge\nshoebox_build_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut gauge = |name: &str, help: &str, value: Option<i64>| {
        if let Some(value) = value {
            text += &format!(
                "# HELP shoebox_{name} {help}\n# TYPE shoebox_{name} gauge\nshoebox_{name} \
                    {value}\n"
            );
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
    gauge(
        "last_drill_success_timestamp_seconds",
        "When the last drill was that succeeded.",
        seconds(status.drilled),
    );
    gauge(
        "checked_percent",
        "Percent of the archives' bytes that were read and found right within 30 days.",
        amount(status.coverage),
    );
    gauge("repository_size_bytes", "Bytes of all archives.", amount(status.size));
    gauge(
        "repository_growth_bytes",
        "Bytes that the snapshots of the last 30 days added.",
        amount(status.growth),
    );
    gauge(
        "repository_free_bytes",
        "Bytes that are free on the repository's disk.",
        amount(status.free),
    );
    if let Some(last) = &status.last {
        gauge("library_assets", "Assets in the newest snapshot.", amount(last.assets));
        gauge("library_size_bytes", "Bytes of files in the newest snapshot.", amount(last.bytes));
        gauge(
            "library_missing_assets",
            "Assets whose original is not in the newest snapshot.",
            amount(last.missing),
        );
        gauge(
            "library_changed_assets",
            "Assets whose file is not what was uploaded.",
            amount(last.changed),
        );
    }
    gauge(
        "alarm",
        "Whether there is an alarm that nobody acknowledged.",
        is(status.alarm.is_some()),
    );
    if let Some(last) = &status.run {
        gauge("last_run_timestamp_seconds", "When the last run ended.", seconds(Some(last.ended)));
        let took = last.ended.duration_since(last.run.began).as_secs();
        gauge("last_run_duration_seconds", "How long the last run took.", Some(took));
        gauge(
            "last_run_success",
            "Whether the last run ended well.",
            is(last.outcome == StepOutcome::Done),
        );
    }
    text
}
