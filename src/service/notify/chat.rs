//! What shows messages to people: ntfy, Gotify, Discord.
//!
//! Source: ntfy's "Publish as JSON"; Gotify's API, `POST /message`; Discord's "Execute Webhook".

use serde_json::json;

use super::http::TargetAddress;
use super::{Message, NotifyEvent, NotifyTarget, cut};
use crate::base::{Error, Result};
use crate::source::Secret;

/// ntfy makes a file of what is longer.
const NTFY_LIMIT: usize = 4000;
const GOTIFY_LIMIT: usize = 16_000;
/// Discord refuses what is longer than 2,000 characters.
const DISCORD_LIMIT: usize = 1800;

/// A topic of ntfy.
#[derive(Debug)]
pub struct Ntfy {
    server: TargetAddress,
    topic: String,
    token: Option<Secret>,
    on: Vec<NotifyEvent>,
}

impl Ntfy {
    /// The topic at `url`, such as `https://ntfy.sh/our-photos`, which is told of the events `on`.
    pub fn new(url: &str, token: Option<Secret>, on: &[NotifyEvent]) -> Result<Ntfy> {
        let address = TargetAddress::new("ntfy-url", url)?;
        let (server, topic) = address.split().ok_or_else(|| {
            Error::invalid("ntfy-url names no topic, as https://ntfy.sh/our-photos does")
        })?;
        Ok(Ntfy { server, topic: topic.to_owned(), token, on: on.to_vec() })
    }
}

impl NotifyTarget for Ntfy {
    fn name(&self) -> String {
        format!("ntfy at {}", self.server.host())
    }

    fn wants(&self, event: NotifyEvent) -> bool {
        self.on.contains(&event)
    }

    fn send(&self, message: &Message) -> Result<()> {
        let (priority, tag) = match message.event {
            NotifyEvent::Start => (2, "hourglass"),
            NotifyEvent::Success => (2, "white_check_mark"),
            NotifyEvent::Warning => (4, "warning"),
            NotifyEvent::Failure => (4, "rotating_light"),
        };
        let token =
            |token: &Secret| ("Authorization".to_owned(), format!("Bearer {}", token.expose()));
        let headers: Vec<_> = self.token.iter().map(token).collect();
        let text = message.body(NTFY_LIMIT);
        self.server.post_json(
            &headers,
            &json!({ "topic": self.topic, "title": message.title, "message": text, "priority": priority, "tags": [tag] }),
        )
    }
}

/// An application of Gotify.
#[derive(Debug)]
pub struct Gotify {
    server: TargetAddress,
    token: Secret,
    on: Vec<NotifyEvent>,
}

impl Gotify {
    /// The application of the server at `url` that `token` belongs to.
    pub fn new(url: &str, token: Option<Secret>, on: &[NotifyEvent]) -> Result<Gotify> {
        let token = token.ok_or_else(|| {
            Error::invalid("Gotify needs the token of its application")
                .hint("SHOEBOX_GOTIFY_TOKEN, or its …_FILE, holds it")
        })?;
        Ok(Gotify { server: TargetAddress::new("gotify-url", url)?, token, on: on.to_vec() })
    }
}

impl NotifyTarget for Gotify {
    fn name(&self) -> String {
        format!("Gotify at {}", self.server.host())
    }

    fn wants(&self, event: NotifyEvent) -> bool {
        self.on.contains(&event)
    }

    fn send(&self, message: &Message) -> Result<()> {
        let priority = match message.event {
            NotifyEvent::Start | NotifyEvent::Success => 2,
            NotifyEvent::Warning => 6,
            NotifyEvent::Failure => 8,
        };
        self.server.below("message").post_json(
            &[("X-Gotify-Key".to_owned(), self.token.expose().to_owned())],
            &json!({ "title": message.title, "message": message.body(GOTIFY_LIMIT), "priority": priority }),
        )
    }
}

/// A webhook of a Discord channel.
#[derive(Debug)]
pub struct Discord {
    hook: TargetAddress,
    on: Vec<NotifyEvent>,
}

impl Discord {
    /// The webhook at `url`.
    pub fn new(url: &str, on: &[NotifyEvent]) -> Result<Discord> {
        Ok(Discord { hook: TargetAddress::new("discord-url", url)?, on: on.to_vec() })
    }
}

impl NotifyTarget for Discord {
    fn name(&self) -> String {
        format!("Discord at {}", self.hook.host())
    }

    fn wants(&self, event: NotifyEvent) -> bool {
        self.on.contains(&event)
    }

    fn send(&self, message: &Message) -> Result<()> {
        // Names of photos and albums come from strangers: they call nobody, and stay in their
        // block.
        let text = message.body(DISCORD_LIMIT - message.title.len().min(200)).replace("```", "'''");
        let content = format!("**{}**\n```\n{text}\n```", cut(&message.title, 200));
        self.hook
            .post_json(&[], &json!({ "username": "shoebox", "content": content, "allowed_mentions": { "parse": [] } }))
    }
}
