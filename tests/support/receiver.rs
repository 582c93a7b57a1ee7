//! A web server that keeps what it is sent.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;
use tiny_http::{Header, Response, Server};

/// One request.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A server on a free port of 127.0.0.1. Paths below `/status/N` are answered with that code,
/// `/slow` after two seconds.
pub struct Receiver {
    server: Arc<Server>,
    got: Arc<Mutex<Vec<Got>>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    pub fn start() -> Receiver {
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let (asked, kept) = (server.clone(), got.clone());
        let thread = std::thread::spawn(move || {
            for mut request in asked.incoming_requests() {
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).unwrap();
                let path = request.url().to_owned();
                let headers = request
                    .headers()
                    .iter()
                    .map(|it| (it.field.to_string(), it.value.to_string()))
                    .collect();
                let code = path
                    .strip_prefix("/status/")
                    .and_then(|rest| rest.split('/').next()?.parse().ok());
                let is_slow = path.starts_with("/slow");
                kept.lock().unwrap().push(Got { path, headers, body });
                if is_slow {
                    std::thread::sleep(std::time::Duration::from_secs(2));
                }
                let place = Header::from_bytes("Location", "/elsewhere").unwrap();
                let _ = request.respond(Response::empty(code.unwrap_or(200)).with_header(place));
            }
        });
        Receiver { server, got, thread: Some(thread) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.server.server_addr())
    }

    /// What came so far.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// What came to `path`.
    pub fn to(&self, path: &str) -> Vec<Got> {
        self.got().into_iter().filter(|got| got.path == path).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
