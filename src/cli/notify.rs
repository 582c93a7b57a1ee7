//! `shoebox notify`, and the settings of who is told.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::output::{Output, plural};
use super::{CommandOutcome, GlobalArgs};
use crate::base::{Context, Error, ErrorKind, Problem, Result};
use crate::repo::Repository;
use crate::service::notify::WebhookTime;
use crate::service::notify::{
    self, Discord, Email, Gotify, Healthchecks, Message, NotifyEvent, NotifyTarget, Ntfy, Webhook,
};

/// Send test messages to the notification targets
///
/// `shoebox run` notifies the targets given here, by the same settings: put them into the settings
/// file or the environment. An unreachable target is tried three times. Messages hold what the run
/// printed: names of people, albums and photos too, where something is wrong with them.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The message to send: start, success, warning or failure; default: one to each target that it
    /// is configured for
    #[arg(long, value_name = "EVENT")]
    event: Option<NotifyEvent>,
    /// Notify of: start, success, warning (finished with findings, alarms too), failure
    #[arg(
        long,
        env = "SHOEBOX_NOTIFY_ON",
        value_name = "EVENTS",
        value_delimiter = ',',
        default_value = "warning,failure"
    )]
    on: Vec<NotifyEvent>,
    /// The ping URL of a check at healthchecks.io or similar: gets start, success and failure
    #[arg(long, env = "SHOEBOX_HEALTHCHECKS_URL", hide_env_values = true, value_name = "URL")]
    healthchecks_url: Option<String>,
    /// A topic of ntfy, such as `https://ntfy.sh/our-photos`
    #[arg(long, env = "SHOEBOX_NTFY_URL", hide_env_values = true, value_name = "URL")]
    ntfy_url: Option<String>,
    /// A Gotify server; SHOEBOX_GOTIFY_TOKEN is the token of its application
    #[arg(long, env = "SHOEBOX_GOTIFY_URL", hide_env_values = true, value_name = "URL")]
    gotify_url: Option<String>,
    /// The webhook of a Discord channel
    #[arg(long, env = "SHOEBOX_DISCORD_URL", hide_env_values = true, value_name = "URL")]
    discord_url: Option<String>,
    /// A mail server: smtps://USER@HOST, or smtp://USER@HOST:587?tls=required;
    /// SHOEBOX_EMAIL_PASSWORD is the password
    #[arg(long, env = "SHOEBOX_EMAIL_URL", hide_env_values = true, value_name = "URL")]
    email_url: Option<String>,
    /// Recipients of mail, separated by commas
    #[arg(long, env = "SHOEBOX_EMAIL_TO", value_name = "ADDRESSES")]
    email_to: Option<String>,
    /// Sender of mail; default: the first recipient
    #[arg(long, env = "SHOEBOX_EMAIL_FROM", value_name = "ADDRESS")]
    email_from: Option<String>,
    /// A webhook that is called when a run ended
    #[arg(long, env = "SHOEBOX_WEBHOOK_URL", hide_env_values = true, value_name = "URL")]
    webhook_url: Option<String>,
    /// A webhook that is called when a run failed or has findings
    #[arg(long, env = "SHOEBOX_WEBHOOK_ERROR_URL", hide_env_values = true, value_name = "URL")]
    webhook_error_url: Option<String>,
    /// A webhook that is called when a run begins
    #[arg(
        long,
        env = "SHOEBOX_WEBHOOK_PRE_BACKUP_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    webhook_pre_backup_url: Option<String>,
    /// A webhook that is called when a run succeeded
    #[arg(
        long,
        env = "SHOEBOX_WEBHOOK_POST_BACKUP_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    webhook_post_backup_url: Option<String>,
    /// Body for webhooks, a Jinja template: text, or @FILE; default: the message as JSON
    #[arg(long, env = "SHOEBOX_WEBHOOK_TEMPLATE", value_name = "TEXT")]
    webhook_template: Option<String>,
    /// A header for webhooks, such as 'Authorization: Bearer …' (repeatable)
    #[arg(long, env = "SHOEBOX_WEBHOOK_HEADER", hide_env_values = true, value_name = "HEADER")]
    webhook_header: Vec<String>,
    /// Headers for webhooks as postgres-backup-local hands them to curl: -H 'Name: value'
    #[arg(
        long,
        env = "SHOEBOX_WEBHOOK_EXTRA_ARGS",
        hide_env_values = true,
        value_name = "ARGUMENTS",
        allow_hyphen_values = true
    )]
    webhook_extra_args: Option<String>,
}

const EXAMPLES: &str = "\
A template may use event, status (pre-backup, post-backup, error), title, message, log (a list of \
lines), host, repository and
time, and is JSON where it begins with {: '{\"text\": {{ title | tojson }}}'.

Examples:
  SHOEBOX_NTFY_URL=https://ntfy.sh/our-photos shoebox notify --event failure
  shoebox notify                                      to all that the settings name

JSON: one object a target: {\"target\", \"sent\", \"error\"}; exit code 3: not all of them took it";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let events = self.event.map_or(
            vec![NotifyEvent::Success, NotifyEvent::Warning, NotifyEvent::Failure],
            |event| vec![event],
        );
        let targets = self.targets(global)?.into_iter();
        let targets: Vec<_> = targets
            .filter_map(|it| {
                events.iter().find(|event| it.wants(**event)).map(|event| (*event, it))
            })
            .collect();
        if targets.is_empty() {
            let events = events.into_iter().map(NotifyEvent::name).collect::<Vec<_>>().join(", ");
            return Err(Error::new(
                ErrorKind::Invalid,
                format_args!("no target is configured for {events}"),
            )
            .hint(
                "name a target, such as SHOEBOX_NTFY_URL, and the event with --on; `shoebox \
                    notify --help` has them all",
            ));
        }
        let mut failed = Vec::new();
        for (event, target) in &targets {
            match notify::send(&**target, &Self::message(*event, global)) {
                Ok(()) => output.answer(
                    &json!({ "target": target.name(), "sent": true }),
                    format!("{}: sent", target.name()),
                )?,
                Err(error) => {
                    let hint =
                        error.next_step().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
                    failed.push(Problem { subject: target.name(), message: error.chain() + &hint });
                    output.answer(
                        &json!({ "target": target.name(), "sent": false, "error": error.chain() }),
                        format!("{}: NOT sent", target.name()),
                    )?;
                }
            }
        }
        output.problems(&failed);
        output.note(format!(
            "{} of {} took the message",
            targets.len() - failed.len(),
            plural(targets.len() as u64, "target", "targets")
        ));
        Ok(if failed.is_empty() { CommandOutcome::Whole } else { CommandOutcome::Partly })
    }

    fn message(event: NotifyEvent, global: &GlobalArgs) -> Message {
        let host = Repository::host();
        Message {
            event,
            title: format!("shoebox on {host}: a message to try ({})", event.name()),
            message: "If you can read this, messages about backups will reach you.".to_owned(),
            log: Vec::new(),
            host,
            repository: global
                .repository
                .as_deref()
                .map(|folder| folder.display().to_string())
                .unwrap_or_default(),
            time: Timestamp::now(),
        }
    }

    /// All that are named.
    pub fn targets(&self, global: &GlobalArgs) -> Result<Vec<Box<dyn NotifyTarget>>> {
        let mut targets: Vec<Box<dyn NotifyTarget>> = Vec::new();
        let on = &self.on;
        if let Some(url) = &self.healthchecks_url {
            targets.push(Box::new(Healthchecks::new(url)?));
        }
        if let Some(url) = &self.ntfy_url {
            targets.push(Box::new(Ntfy::new(
                url,
                global.settings.secret("SHOEBOX_NTFY_TOKEN")?,
                on,
            )?));
        }
        if let Some(url) = &self.gotify_url {
            targets.push(Box::new(Gotify::new(
                url,
                global.settings.secret("SHOEBOX_GOTIFY_TOKEN")?,
                on,
            )?));
        }
        if let Some(url) = &self.discord_url {
            targets.push(Box::new(Discord::new(url, on)?));
        }
        if let Some(url) = &self.email_url {
            let to = self.email_to.as_ref().ok_or_else(|| {
                Error::invalid("no recipient of mail given")
                    .hint("set SHOEBOX_EMAIL_TO, or email-to in the settings file")
            })?;
            let password = global.settings.secret("SHOEBOX_EMAIL_PASSWORD")?;
            let from =
                self.email_from.as_deref().unwrap_or_else(|| to.split(',').next().unwrap_or(to));
            targets.push(Box::new(Email::new(url, password.as_ref(), from.trim(), to, on)?));
        }
        targets.extend(self.webhooks()?);
        Ok(targets)
    }

    fn webhooks(&self) -> Result<Vec<Box<dyn NotifyTarget>>> {
        let headers =
            [&self.webhook_header[..], &curl_headers(self.webhook_extra_args.as_deref())?[..]]
                .concat();
        let template = self.webhook_template.as_deref().map(template).transpose()?;
        let urls = [
            (&self.webhook_url, WebhookTime::Ended),
            (&self.webhook_error_url, WebhookTime::Error),
            (&self.webhook_pre_backup_url, WebhookTime::Before),
            (&self.webhook_post_backup_url, WebhookTime::After),
        ];
        let named = urls.into_iter().filter_map(|(url, when)| Some((url.as_deref()?, when)));
        let hook = |(url, when)| {
            Ok(Box::new(Webhook::new(url, when, &headers, template.as_deref())?)
                as Box<dyn NotifyTarget>)
        };
        named.map(hook).collect()
    }
}

/// The text, or that of the file after an `@`.
fn template(text: &str) -> Result<String> {
    match text.strip_prefix('@') {
        None => Ok(text.to_owned()),
        Some(path) => std::fs::read_to_string(Path::new(path))
            .context(|| format!("reading the webhook's template {path}")),
    }
}

/// The headers in arguments for curl. Others than headers cannot be meant here.
fn curl_headers(arguments: Option<&str>) -> Result<Vec<String>> {
    let Some(arguments) = arguments else { return Ok(Vec::new()) };
    let wrong = || {
        Error::invalid("of WEBHOOK_EXTRA_ARGS only headers are understood: -H 'Name: value'")
            .hint("use webhook-header and webhook-template instead: `shoebox notify --help`")
    };
    let words = shlex::split(arguments).ok_or_else(wrong)?;
    let mut words = words.into_iter();
    let mut headers = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-H" | "--header" => headers.push(words.next().ok_or_else(wrong)?),
            word => headers.push(
                word.strip_prefix("--header=")
                    .or(word.strip_prefix("-H"))
                    .ok_or_else(wrong)?
                    .to_owned(),
            ),
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_for_curl_are_taken_and_nothing_else() {
        let read = |text| curl_headers(Some(text));
        assert_eq!(
            read("-H 'X-Key: a b' --header=Y:1 -HZ:2").unwrap(),
            ["X-Key: a b", "Y:1", "Z:2"]
        );
        assert!(read("--insecure").is_err());
        assert!(read("-H").is_err());
        assert!(read("-H 'open").is_err());
    }
}
