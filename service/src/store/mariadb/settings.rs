//! What can be set of the store: types that are read strictly and written as they are read.
//!
//! Refuses to know: the driver's own types, so that settings name no driver.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::store::settings::{SchemaAtStart, TlsClientFiles};

/// The port of a server where none is named.
const PORT: u16 = 3306;

/// Where a server is, who we are there, and which database is ours: `user@host:port/database`, and `?indices=false` for
/// tables without indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MariadbAddress {
    /// The user to log in as.
    pub user: String,
    /// A name or an address; one of IPv6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: Database,
    /// Whether the tables of messages have indices.
    pub indices: Indices,
}

/// Whether the tables of messages have indices. Only `countersignd schema` adds or drops them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indices {
    /// One for each way that rows are looked up.
    Kept,
    /// None: every look-up reads its whole table. For measuring what that costs.
    Left,
}

impl FromStr for MariadbAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a store in MariaDB is mariadb://user@host:3306/database, with ?indices=false for none";
        let (rest, indices) = match text.split_once('?') {
            None | Some((_, "indices=true")) => (text.split('?').next().unwrap_or(text), Indices::Kept),
            Some((rest, "indices=false")) => (rest, Indices::Left),
            Some(_) => return Err(FORM),
        };
        let (server, database) = rest.split_once('/').ok_or(FORM)?;
        let (user, server) = server.split_once('@').ok_or(FORM)?;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let (host, port) = match server.strip_prefix('[').and_then(|server| server.split_once(']')) {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port),
            Some(_) => return Err(FORM),
            None => server.split_at(server.find(':').unwrap_or(server.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(FORM)?,
            None if port.is_empty() => PORT,
            None => return Err(FORM),
        };
        let sound = !user.is_empty()
            && !host.is_empty()
            && user.bytes().all(named)
            && (host.contains(':') || host.bytes().all(named));
        if !sound {
            return Err(FORM);
        }
        Ok(Self { user: user.to_owned(), host: host.to_owned(), port, database: database.parse()?, indices })
    }
}

impl fmt::Display for MariadbAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, host, port, database, indices } = self;
        if host.contains(':') {
            write!(formatter, "{user}@[{host}]:{port}/{database}")?;
        } else {
            write!(formatter, "{user}@{host}:{port}/{database}")?;
        }
        match indices {
            Indices::Kept => Ok(()),
            Indices::Left => formatter.write_str("?indices=false"),
        }
    }
}

/// The name of a database: it needs no quotes and cannot be anything else, wherever it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database(String);

impl Database {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Database {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
        let rest = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let of_the_server = ["mysql", "sys", "information_schema", "performance_schema"].contains(&text);
        if begins && rest && text.len() <= 48 && !of_the_server {
            Ok(Self(text.to_owned()))
        } else {
            Err("a database is up to 48 lower-case letters, digits and _, begins with a letter, and is none of the \
                 server's own")
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// All that can be set.
#[derive(Clone, Debug)]
pub struct MariadbSettings {
    /// The server and the database.
    pub address: MariadbAddress,
    /// The file with the password; none for a user that has none.
    pub password: Option<PathBuf>,
    /// PEM files; without a CA there is no TLS.
    pub tls: Option<TlsClientFiles>,
    /// Connections that are kept, at most.
    pub connections: usize,
    /// How long a call may take, within its request's time.
    pub statement_timeout: Duration,
    /// What to do about the schema at the start.
    pub schema: SchemaAtStart,
    /// How long messages are kept.
    pub retention: Duration,
    /// Bytes of the largest content, which the server must take.
    pub content_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["u@127.0.0.1:3307/countersign", "u_1@db.example:3306/k?indices=false", "u@[::1]:3306/k"] {
            assert_eq!(text.parse::<MariadbAddress>().unwrap().to_string(), text);
        }
        assert_eq!("u@a/k?indices=true".parse::<MariadbAddress>().unwrap().to_string(), "u@a:3306/k");
        for text in [
            "",
            "/",
            "a:3306/k",
            "@a/k",
            "u@/k",
            "u@a",
            "u@a/",
            "u@a:0/k",
            "u@a:x/k",
            "u@a:65536/k",
            "u@a/k/l",
            "u@a/K",
            "u@a/k;drop",
            "u@a/mysql",
            "u:secret@a/k",
            "u@[::g]/k",
            "u@[::1]3306/k",
            "u@a,b/k",
            "u@a/k?indices=no",
            "u@a/k?indices=false&x=1",
        ] {
            assert!(text.parse::<MariadbAddress>().is_err(), "{text}");
        }
    }
}
