//! E-mail through an SMTP server.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{SmtpTransport, Transport};

use super::{Message, NotifyEvent, NotifyTarget};
use crate::base::{Error, ErrorKind, Result};
use crate::source::Secret;

const LIMIT: usize = 100_000;
/// No answer of the mail server is waited for longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// People who get mail.
pub struct Email {
    transport: SmtpTransport,
    host: String,
    from: Mailbox,
    to: Mailboxes,
    on: Vec<NotifyEvent>,
}

impl Email {
    /// Mail through the server at `url` (`smtps://USER@HOST` or, with STARTTLS,
    /// `smtp://USER@HOST:587?tls=required`) to `to`, addresses with commas in between.
    pub fn new(
        url: &str,
        password: Option<&Secret>,
        from: &str,
        to: &str,
        on: &[NotifyEvent],
    ) -> Result<Email> {
        let wrong = |what: &str| {
            Error::invalid(format_args!("{what}: such as smtps://ann@mail.example.org"))
        };
        let (plain, user) = without_user(url);
        let transport = SmtpTransport::from_url(&plain)
            .map_err(|_| wrong("email-url is not the URL of a mail server"))?;
        let mut transport = transport.timeout(Some(PATIENCE));
        if let (Some(user), Some(password)) = (user, password) {
            transport = transport.credentials(Credentials::new(user, password.expose().to_owned()));
        }
        let mailbox = |error: lettre::address::AddressError| {
            Error::invalid("an e-mail address is wrong").caused_by(error)
        };
        let host = plain.rsplit(['@', '/']).find(|part| !part.is_empty()).unwrap_or_default();
        let host = host.split(['/', '?', ':']).next().unwrap_or_default().to_owned();
        let from = from.parse().map_err(mailbox)?;
        let to = to.parse().map_err(mailbox)?;
        Ok(Email { transport: transport.build(), host, from, to, on: on.to_vec() })
    }
}

/// The URL without its user, and the user, with which a password of its own goes.
fn without_user(url: &str) -> (String, Option<String>) {
    let split = url.split_once("://").and_then(|(scheme, rest)| {
        let (user, rest) = rest.rsplit_once('@')?;
        (!user.contains(':')).then(|| (format!("{scheme}://{rest}"), user))
    });
    match split {
        Some((plain, user)) => {
            let user = percent_encoding::percent_decode_str(user).decode_utf8_lossy().into_owned();
            (plain, Some(user))
        }
        None => (url.to_owned(), None),
    }
}

impl NotifyTarget for Email {
    fn name(&self) -> String {
        format!("e-mail by {}", self.host)
    }

    fn wants(&self, event: NotifyEvent) -> bool {
        self.on.contains(&event)
    }

    fn send(&self, message: &Message) -> Result<()> {
        let unwritten = |error| {
            Error::invalid("the e-mail could not be written").caused_by(Box::new(error) as Box<_>)
        };
        let to =
            self.to.iter().fold(lettre::Message::builder().from(self.from.clone()), |mail, to| {
                mail.to(to.clone())
            });
        let mail = to
            .subject(&message.title)
            .header(ContentType::TEXT_PLAIN)
            .body(message.body(LIMIT) + "\n")
            .map_err(|error: lettre::error::Error| unwritten(error))?;
        self.transport.send(&mail).map(drop).map_err(|error| {
            let kind = if error.is_permanent() || error.is_client() {
                ErrorKind::Invalid
            } else {
                ErrorKind::Io
            };
            Error::new(kind, format_args!("{} did not take the e-mail", self.host)).caused_by(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_in_the_url_goes_with_the_password() {
        assert_eq!(
            without_user("smtps://ann%40example.org@mail.example.org:465"),
            ("smtps://mail.example.org:465".to_owned(), Some("ann@example.org".to_owned()))
        );
        assert_eq!(without_user("smtp://mail.example.org").1, None);
        let on = [NotifyEvent::Failure];
        assert!(
            Email::new(
                "smtps://mail.example.org",
                None,
                "box@example.org",
                "Ann <ann@example.org>, bo@example.org",
                &on
            )
            .is_ok()
        );
        assert!(
            Email::new("mail.example.org", None, "box@example.org", "ann@example.org", &on)
                .is_err()
        );
        assert!(
            Email::new("smtps://mail.example.org", None, "box@example.org", "ann", &on).is_err()
        );
    }
}
