//! Telling people and programs how a run went: webhooks, healthchecks.io, ntfy, Gotify, Discord,
//! e-mail.
//!
//! Always holds: a message that cannot be sent changes nothing about the run that it tells of; no
//! address that could be a password is told or logged, only the kind of target and its host.

mod chat;
mod email;
mod healthchecks;
mod http;
mod webhook;

use std::fmt;
use std::time::Duration;

use backon::{BlockingRetryable, ExponentialBuilder};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

pub use self::chat::{Discord, Gotify, Ntfy};
pub use self::email::Email;
pub use self::healthchecks::Healthchecks;
pub use self::webhook::{Webhook, WebhookTime};
use crate::base::{Error, ErrorKind, Result};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifyEvent {
    /// A run begins.
    Start,
    /// It is done, and all is well.
    Success,
    /// It is done, but something was left out or found damaged, or the library shrank.
    Warning,
    /// It failed.
    Failure,
}

impl NotifyEvent {
    /// As settings call it.
    pub fn name(self) -> &'static str {
        match self {
            NotifyEvent::Start => "start",
            NotifyEvent::Success => "success",
            NotifyEvent::Warning => "warning",
            NotifyEvent::Failure => "failure",
        }
    }
}

impl std::str::FromStr for NotifyEvent {
    type Err = Error;
    fn from_str(text: &str) -> Result<NotifyEvent> {
        [NotifyEvent::Start, NotifyEvent::Success, NotifyEvent::Warning, NotifyEvent::Failure]
            .into_iter()
            .find(|it| it.name() == text)
            .ok_or_else(|| {
                Error::invalid(format_args!("`{text}` is none of start, success, warning, failure"))
            })
    }
}

/// One message.
#[derive(Debug, Clone, Serialize)]
pub struct Message {
    pub event: NotifyEvent,
    /// One line: what happened.
    pub title: String,
    /// What it came to, or why it failed.
    pub message: String,
    /// What was said meanwhile, line by line; the newest last.
    pub log: Vec<String>,
    pub host: String,
    /// The repository's folder.
    pub repository: String,
    #[serde(serialize_with = "seconds")]
    pub time: Timestamp,
}

fn seconds<S: Serializer>(time: &Timestamp, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

impl Message {
    /// The message and the end of the log, in at most `limit` bytes.
    fn body(&self, limit: usize) -> String {
        let message = cut(&self.message, limit);
        let mut room = limit.saturating_sub(message.len() + 2);
        let tail = self.log.iter().rev().take_while(|line| {
            let fits = line.len() < room;
            room = room.saturating_sub(line.len() + 1);
            fits
        });
        let mut lines: Vec<&str> = tail.map(String::as_str).collect();
        lines.reverse();
        if lines.is_empty() {
            message.to_owned()
        } else {
            format!("{message}\n\n{}", lines.join("\n"))
        }
    }
}

/// The start of `text`, in at most `limit` bytes.
fn cut(text: &str, limit: usize) -> &str {
    let end =
        (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// Where messages go.
pub trait NotifyTarget: Send + Sync {
    /// The kind and the host, such as `ntfy at ntfy.sh`.
    fn name(&self) -> String;
    /// True when it wants to know of `event`.
    fn wants(&self, event: NotifyEvent) -> bool;
    /// Sends `message`, once.
    fn send(&self, message: &Message) -> Result<()>;
}

impl fmt::Debug for dyn NotifyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// Sends `message` to those of `targets` that want it: three times each, if need be. Who could not
/// be told, and why.
pub fn tell(targets: &[Box<dyn NotifyTarget>], message: &Message) -> Vec<(String, Error)> {
    let wanting = targets.iter().filter(|target| target.wants(message.event));
    wanting.filter_map(|target| Some((target.name(), send(&**target, message).err()?))).collect()
}

/// Sends `message` to `target`; what may pass by itself is tried three times.
pub fn send(target: &dyn NotifyTarget, message: &Message) -> Result<()> {
    let waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(2))
        .with_max_times(2)
        .with_jitter();
    let may_pass = |error: &Error| error.kind() == ErrorKind::Io;
    (|| target.send(message)).retry(waits).when(may_pass).call()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_message_and_as_much_of_the_end_of_the_log_as_fits() {
        let message = Message {
            event: NotifyEvent::Failure,
            title: String::new(),
            message: "why".to_owned(),
            log: (0..1000).map(|number| format!("line {number} é")).collect(),
            host: String::new(),
            repository: String::new(),
            time: Timestamp::UNIX_EPOCH,
        };
        for limit in 0..200 {
            assert!(message.body(limit).len() <= limit, "{limit}");
        }
        assert!(message.body(100).starts_with("why\n\nline 99"));
        assert!(message.body(100).ends_with("line 999 é"));
    }
}
