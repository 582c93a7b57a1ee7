//! Pings of healthchecks.io, or a server of one's own: start, success, fail, with the end of the
//! log.
//!
//! Source: healthchecks.io, "Pinging API".

use super::http::TargetAddress;
use super::{Message, NotifyEvent, NotifyTarget};
use crate::base::Result;

/// Longer bodies are cut there, at their end, where the reason stands.
const LIMIT: usize = 10_000;

/// A check of healthchecks.io.
#[derive(Debug)]
pub struct Healthchecks(TargetAddress);

impl Healthchecks {
    /// The check whose ping URL is `url`.
    pub fn new(url: &str) -> Result<Healthchecks> {
        TargetAddress::new("healthchecks-url", url).map(Healthchecks)
    }
}

impl NotifyTarget for Healthchecks {
    fn name(&self) -> String {
        format!("healthchecks at {}", self.0.host())
    }

    /// It waits for all of them: that one is missing is what it is for.
    fn wants(&self, _: NotifyEvent) -> bool {
        true
    }

    fn send(&self, message: &Message) -> Result<()> {
        let address = match message.event {
            NotifyEvent::Start => self.0.below("start"),
            NotifyEvent::Success => self.0.clone(),
            NotifyEvent::Warning | NotifyEvent::Failure => self.0.below("fail"),
        };
        address.post(&[], message.body(LIMIT).as_bytes())
    }
}
