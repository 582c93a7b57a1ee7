//! Asking a web server something, once.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

use crate::base::{Error, ErrorKind, Result};

/// Nobody waits longer for a message to be taken.
const LIMIT: Duration = Duration::from_secs(20);

/// An address that may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TargetAddress(String);

impl TargetAddress {
    /// Takes `url`, which is of a web server.
    pub fn new(what: &str, url: &str) -> Result<TargetAddress> {
        let uri: ureq::http::Uri =
            url.parse().map_err(|error| wrong(what).caused_by(Box::new(error)))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(_)) => {
                Ok(TargetAddress(url.trim_end_matches('/').to_owned()))
            }
            _ => Err(wrong(what)),
        }
    }

    /// The host alone.
    pub fn host(&self) -> String {
        let uri = self.0.parse::<ureq::http::Uri>().ok();
        uri.and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
    }

    /// The address of `path` below it.
    pub fn below(&self, path: &str) -> TargetAddress {
        match self.0.split_once('?') {
            Some((address, query)) => {
                TargetAddress(format!("{}/{path}?{query}", address.trim_end_matches('/')))
            }
            None => TargetAddress(format!("{}/{path}", self.0)),
        }
    }

    /// The address of the server, and the last part of the path.
    pub fn split(&self) -> Option<(TargetAddress, &str)> {
        let (server, last) = self.0.rsplit_once('/')?;
        (!last.is_empty() && server.contains("://") && !server.ends_with('/'))
            .then(|| (TargetAddress(server.to_owned()), last))
    }

    /// Sends `json`.
    pub fn post_json(&self, headers: &[(String, String)], json: &Value) -> Result<()> {
        let body = serde_json::to_vec(json).unwrap_or_default();
        self.post(
            &[&[("Content-Type".to_owned(), "application/json".to_owned())], headers].concat(),
            &body,
        )
    }

    /// Sends `body`.
    pub fn post(&self, headers: &[(String, String)], body: &[u8]) -> Result<()> {
        let agent: Agent = Agent::config_builder()
            .timeout_global(Some(LIMIT))
            // A redirect would make a GET of it, and carry tokens to who knows where.
            .max_redirects(0)
            .user_agent(concat!("shoebox/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let request = headers
            .iter()
            .fold(agent.post(&self.0), |request, (name, value)| request.header(name, value));
        match request.send(body) {
            Ok(response) if response.status().is_redirection() => {
                Err(Error::new(ErrorKind::Invalid, format_args!("{} has moved", self.host()))
                    .hint("use the address that it moved to: https:// in place of http://?"))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// What cannot pass by itself is wrong input: nobody asks again.
    fn failed(&self, error: ureq::Error) -> Error {
        let kind = match &error {
            ureq::Error::StatusCode(429 | 500..) | ureq::Error::Io(_) | ureq::Error::Timeout(_) => {
                ErrorKind::Io
            }
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => ErrorKind::Io,
            _ => ErrorKind::Invalid,
        };
        let error =
            Error::new(kind, format_args!("{} did not take the message: {error}", self.host()));
        match kind {
            ErrorKind::Invalid => {
                error.hint("look at its address and token: `shoebox notify` sends a message to try")
            }
            _ => error,
        }
    }
}

impl std::fmt::Debug for TargetAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/…", self.host())
    }
}

fn wrong(what: &str) -> Error {
    Error::invalid(format_args!("{what} is not an address such as https://example.org/path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_its_host_alone() {
        let address =
            TargetAddress::new("webhook-url", "https://ann:secret@example.org:8443/hook/secret/")
                .unwrap();
        assert_eq!(format!("{address:?}"), "example.org/…");
        assert_eq!(address.host(), "example.org");
        assert_eq!(address.split().unwrap().1, "secret");
        for bad in ["", "example.org", "ftp://example.org", "https://", "/etc/passwd"] {
            assert!(TargetAddress::new("webhook-url", bad).is_err(), "{bad}");
        }
        assert!(TargetAddress::new("ntfy-url", "https://ntfy.sh").unwrap().split().is_none());
        let ping = TargetAddress::new("ping", "https://hc-ping.com/key/slug?create=1").unwrap();
        assert_eq!(ping.below("fail").0, "https://hc-ping.com/key/slug/fail?create=1");
    }
}
