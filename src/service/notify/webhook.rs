//! Webhooks: any program that takes a POST, with a body by a template, and as postgres-backup-local
//! calls them.
//!
//! Source: postgres-backup-local's `hooks/00-webhook`, whose `{"status": …}` is part of what is
//! sent here.

use minijinja::Environment;
use serde_json::{Value, json};

use super::http::TargetAddress;
use super::{Message, NotifyEvent, NotifyTarget};
use crate::base::{Error, Result};

/// Which events an address is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookTime {
    /// A run that ended, however.
    Ended,
    /// One that did not end well.
    Error,
    /// One that begins.
    Before,
    /// One that ended well.
    After,
}

/// An address that is called.
#[derive(Debug)]
pub struct Webhook {
    address: TargetAddress,
    when: WebhookTime,
    headers: Vec<(String, String)>,
    /// Jinja; without one the whole message is sent, as JSON.
    template: Option<String>,
}

impl Webhook {
    /// Calls `url` at `when`. `headers` are as curl takes them, `Name: value`.
    pub fn new(
        url: &str,
        when: WebhookTime,
        headers: &[String],
        template: Option<&str>,
    ) -> Result<Webhook> {
        let headers = headers.iter().map(|header| split(header)).collect::<Result<_>>()?;
        let hook = Webhook {
            address: TargetAddress::new("a webhook's URL", url)?,
            when,
            headers,
            template: template.map(str::to_owned),
        };
        hook.body(&example())?;
        Ok(hook)
    }

    fn body(&self, message: &Message) -> Result<Vec<u8>> {
        let values = values(message);
        let Some(template) = &self.template else {
            return Ok(serde_json::to_vec(&values).unwrap_or_default());
        };
        let wrong = || {
            Error::invalid("the webhook's template cannot be filled in").hint(
                "it may use event, status, title, message, log, host, repository and time: \
                    {\"text\": {{ title | tojson }}}",
            )
        };
        let values = minijinja::value::Serde(&values);
        let body = Environment::new()
            .render_str(template, values)
            .map_err(|error| wrong().caused_by(error))?;
        if body.trim_start().starts_with('{') {
            serde_json::from_str::<Value>(&body).map_err(|error| wrong().caused_by(error))?;
        }
        Ok(body.into_bytes())
    }
}

impl NotifyTarget for Webhook {
    fn name(&self) -> String {
        format!("webhook at {}", self.address.host())
    }

    fn wants(&self, event: NotifyEvent) -> bool {
        let is_bad = matches!(event, NotifyEvent::Warning | NotifyEvent::Failure);
        match self.when {
            WebhookTime::Ended => event != NotifyEvent::Start,
            WebhookTime::Error => is_bad,
            WebhookTime::Before => event == NotifyEvent::Start,
            WebhookTime::After => event == NotifyEvent::Success,
        }
    }

    fn send(&self, message: &Message) -> Result<()> {
        let is_typed =
            self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let json = [("Content-Type".to_owned(), "application/json".to_owned())];
        let typed = if is_typed { &json[..0] } else { &json };
        self.address.post(&[typed, &self.headers].concat(), &self.body(message)?)
    }
}

/// What a template may use.
fn values(message: &Message) -> Value {
    let mut values = json!(message);
    values["status"] = match message.event {
        NotifyEvent::Start => "pre-backup",
        NotifyEvent::Success => "post-backup",
        NotifyEvent::Warning | NotifyEvent::Failure => "error",
    }
    .into();
    values
}

fn example() -> Message {
    Message {
        event: NotifyEvent::Success,
        title: "a \"title\"".to_owned(),
        message: "a message".to_owned(),
        log: vec!["a line".to_owned()],
        host: "host".to_owned(),
        repository: "/repository".to_owned(),
        time: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn split(header: &str) -> Result<(String, String)> {
    let (name, value) = header.split_once(':').ok_or_else(|| {
        Error::invalid("a webhook's header is `Name: value`")
            .hint("such as `Authorization: Bearer …`")
    })?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(template: Option<&str>) -> Result<Webhook> {
        Webhook::new("http://localhost/", WebhookTime::Ended, &["X-Key: a:b".to_owned()], template)
    }

    #[test]
    fn a_template_is_tried_when_it_is_set_and_not_in_the_night() {
        let body = |template: &str| hook(Some(template)).and_then(|hook| hook.body(&example()));
        assert_eq!(
            body("{\"text\": {{ title | tojson }}}").unwrap(),
            br#"{"text": "a \"title\""}"#
        );
        assert_eq!(body("{{ status }} on {{ host }}").unwrap(), b"post-backup on host");
        assert!(body("{\"text\": \"{{ title }}\"}").is_err(), "no JSON any more");
        assert!(body("{{ title").is_err());
        assert_eq!(hook(None).unwrap().headers, [("X-Key".to_owned(), "a:b".to_owned())]);
    }

    #[test]
    fn without_a_template_all_is_sent_and_the_status_is_as_postgres_backup_local_says_it() {
        let body: Value =
            serde_json::from_slice(&hook(None).unwrap().body(&example()).unwrap()).unwrap();
        assert_eq!(body["status"], "post-backup");
        assert_eq!(
            (&body["event"], &body["time"]),
            (&json!("success"), &json!("1970-01-01T00:00:00Z"))
        );
    }
}
