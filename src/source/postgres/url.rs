//! A connection URL as libpq reads it, with the password taken out.
//!
//! Source: PostgreSQL manual, 34.1.1.2 "Connection URIs". That is not quite the URL of the web:
//! several hosts, no host at all, and a socket's folder as the host are all good, so the parts are
//! cut here the way libpq cuts them. One thing is kinder: an unescaped `@` in a password is taken
//! as part of the password.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::base::{Error, Result};
use crate::source::Secret;

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Seconds of silence until the other end is asked, and between questions; and how many may stay
/// without an answer. Source: PostgreSQL manual, 34.1.2 "Parameter Key Words".
pub const KEEPALIVES: [&str; 3] =
    ["keepalives_idle=60", "keepalives_interval=10", "keepalives_count=6"];

/// The parts of a connection URL that shoebox has to know; the rest goes to libpq as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionUrl {
    user: Option<String>,
    hosts: String,
    database: Option<String>,
    parameters: Vec<String>,
}

impl ConnectionUrl {
    /// Cuts `text` into its parts and takes the password out. An error never repeats `text`.
    pub fn parse(text: &str) -> Result<(ConnectionUrl, Option<Secret>)> {
        let rest =
            SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)).ok_or_else(not_a_url)?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => (&rest[..slash], &rest[slash..]),
            None => rest.split_at(query_start(rest)),
        };
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(l, h)| (Some(l), h));
        let (user, password) = login.map_or(("", None), |login| match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        });
        let (database, query) = path.split_once('?').unwrap_or((path, ""));
        let mut url = ConnectionUrl {
            user: decoded(user)?,
            hosts: hosts.to_owned(),
            database: decoded(database.trim_start_matches('/'))?,
            parameters: Vec::new(),
        };
        let password = url.take_parameters(query, password)?;
        Ok((url, password.map(Secret::new)))
    }

    /// Sorts the query's parameters; hands out the password, wherever it stood.
    fn take_parameters(&mut self, query: &str, password: Option<&str>) -> Result<Option<String>> {
        let mut password = password.map(decoded).transpose()?.flatten();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "password" => password = decoded(value)?,
                "user" => self.user = decoded(value)?,
                "dbname" => self.database = decoded(value)?,
                "sslpassword" => return Err(key_password()),
                _ => self.parameters.push(parameter.to_owned()),
            }
        }
        Ok(password)
    }

    /// Names the user instead of the one in the URL.
    pub fn set_user(&mut self, user: &str) {
        self.user = Some(user.to_owned());
    }

    /// Names the database instead of the one in the URL.
    pub fn set_database(&mut self, database: &str) {
        self.database = Some(database.to_owned());
    }

    /// The database that it names.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// True if it says which database is meant.
    pub fn names_database(&self) -> bool {
        self.database.is_some()
            || self.parameters.iter().any(|parameter| parameter.starts_with("service="))
    }

    /// Lets a connection whose other end is gone without a word end after two minutes, unless the
    /// URL says otherwise.
    pub fn keep_alive(&mut self) {
        for wanted in KEEPALIVES {
            let name = wanted.split('=').next().unwrap_or(wanted);
            if self.parameters.iter().all(|given| given.split('=').next() != Some(name)) {
                self.parameters.push(wanted.to_owned());
            }
        }
    }

    /// The URL again; it holds no password.
    pub fn without_password(&self) -> String {
        let encode = |text: &String| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let user = self.user.as_ref().map(|user| encode(user) + "@").unwrap_or_default();
        let database = self.database.as_ref().map(encode).unwrap_or_default();
        let query = if self.parameters.is_empty() {
            String::new()
        } else {
            format!("?{}", self.parameters.join("&"))
        };
        format!("postgresql://{user}{}/{database}{query}", self.hosts)
    }
}

fn query_start(text: &str) -> usize {
    let login = text.rfind('@').unwrap_or(0);
    text[login..].find('?').map_or(text.len(), |at| login + at)
}

fn decoded(text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let text = percent_decode_str(text).decode_utf8().map_err(|_| not_a_url())?;
    if text.contains('\0') { Err(not_a_url()) } else { Ok(Some(text.into_owned())) }
}

fn not_a_url() -> Error {
    Error::invalid("the database URL is not of the form postgresql://USER@HOST:PORT/DATABASE").hint(
        "write odd characters as %XX (# is %23, / is %2F, % is %25), or give the password as \
            DB_PASSWORD",
    )
}

fn key_password() -> Error {
    Error::invalid("the database URL holds `sslpassword`, which would show on a command line")
        .hint("put the connection into ~/.pg_service.conf and use `postgresql:///?service=NAME`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (String, Option<String>) {
        let (url, password) = ConnectionUrl::parse(text).unwrap();
        (url.without_password(), password.map(|secret| secret.expose().to_owned()))
    }

    #[test]
    fn the_password_is_taken_out_wherever_it_stands() {
        for (text, rest, password) in [
            (
                "postgres://ann:secret@db:5433/immich",
                "postgresql://ann@db:5433/immich",
                Some("secret"),
            ),
            ("postgresql://ann:s%40%2Fx@db/immich", "postgresql://ann@db/immich", Some("s@/x")),
            ("postgresql://ann:s@x@db/immich", "postgresql://ann@db/immich", Some("s@x")),
            ("postgresql://ann:a+b?c@db", "postgresql://ann@db/", Some("a+b?c")),
            (
                "postgresql://db/x?password=p%20w&sslmode=require",
                "postgresql://db/x?sslmode=require",
                Some("p w"),
            ),
            ("postgresql://ann:@db/x", "postgresql://ann@db/x", None),
        ] {
            assert_eq!(split(text), (rest.to_owned(), password.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn forms_that_only_libpq_knows_pass_through() {
        for text in [
            "postgresql:///immich?host=/run/postgresql&port=5433",
            "postgresql://ann@/immich?host=/tmp",
            "postgresql://%2Frun%2Fpostgresql/immich",
            "postgresql://one:5432,two:5433/immich?target_session_attrs=any",
            "postgresql://[::1]:5432/immich",
        ] {
            assert_eq!(split(text), (text.to_owned(), None));
        }
    }

    #[test]
    fn a_named_user_and_database_take_the_place_of_those_in_the_url() {
        let (mut url, _) = ConnectionUrl::parse("postgresql://a@db/b?user=c").unwrap();
        url.set_user("O'Hara @ home");
        url.set_database("a/b?c");
        assert_eq!(url.without_password(), "postgresql://O%27Hara%20%40%20home@db/a%2Fb%3Fc");
        assert!(ConnectionUrl::parse("postgresql:///?service=nas").unwrap().0.names_database());
    }

    #[test]
    fn what_is_no_connection_url_is_refused_without_repeating_it() {
        for text in
            ["mysql://a:hunter2@b/c", "host=db password=hunter2", "", "postgresql://a:hunter2%ff@b"]
        {
            let error = ConnectionUrl::parse(text).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
