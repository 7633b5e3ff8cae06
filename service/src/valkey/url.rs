//! The URL that names a Valkey server or cluster.

use std::str::FromStr;

/// `valkey://[user@]host[:port][,host[:port]…]`, or `valkeys://…` for TLS.
///
/// Several hosts name a cluster, one names either: the server tells which it is. There is no password in it, so it can
/// be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValkeyUrl {
    /// Whether connections use TLS.
    pub tls: bool,
    /// The user of the access-control list; none for the default user.
    pub user: Option<String>,
    /// Where to begin: hosts and ports.
    pub nodes: Vec<(String, u16)>,
}

/// What a URL must look like.
pub const EXPECTED: &str = "valkey://host:port[,host:port…] or valkeys://… for TLS, perhaps with user@ before the \
                            hosts; the password is in the file that valkey_password_file names, or \
                            valkey_store_password_file for a store";

const DEFAULT_PORT: u16 = 6_379;

impl FromStr for ValkeyUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
        let tls = match scheme {
            "valkey" => false,
            "valkeys" => true,
            _ => return Err(EXPECTED),
        };
        let (user, hosts) = match rest.split_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, rest),
        };
        // A password in a URL ends up in process lists and logs.
        if user.is_some_and(|user| user.is_empty() || user.contains([':', '/'])) {
            return Err(EXPECTED);
        }
        let nodes = hosts.split(',').map(node).collect::<Option<Vec<_>>>().ok_or(EXPECTED)?;
        Ok(Self { tls, user: user.map(str::to_owned), nodes })
    }
}

fn node(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(host, port)| (host, port.strip_prefix(':')))?,
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host = !host.is_empty() && !host.contains(['/', '?', '#', ' ']);
    let port = port.map_or(Ok(DEFAULT_PORT), str::parse).ok()?;
    is_host.then(|| (host.to_owned(), port))
}

impl std::fmt::Display for ValkeyUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.tls { "valkeys://" } else { "valkey://" })?;
        if let Some(user) = &self.user {
            write!(formatter, "{user}@")?;
        }
        for (index, (host, port)) in self.nodes.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if host.contains(':') {
                write!(formatter, "{comma}[{host}]:{port}")?;
            } else {
                write!(formatter, "{comma}{host}:{port}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_as_it_was_read() {
        for (text, shown) in [
            ("valkey://localhost", "valkey://localhost:6379"),
            ("valkey://10.0.0.1:7000,10.0.0.2:7001", "valkey://10.0.0.1:7000,10.0.0.2:7001"),
            ("valkeys://countersign@valkey.example:6380", "valkeys://countersign@valkey.example:6380"),
            ("valkey://[::1]:7000,[fe80::1]", "valkey://[::1]:7000,[fe80::1]:6379"),
        ] {
            let url: ValkeyUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse(), Ok(url));
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for text in [
            "valkey:host",
            "redis://host",
            "valkey://",
            "valkey://host,",
            "valkey://user:secret@host",
            "valkey://@host",
            "valkey://host:port",
            "valkey://host:70000",
            "valkey://host/0",
            "valkey://[::1",
        ] {
            assert_eq!(text.parse::<ValkeyUrl>(), Err(EXPECTED), "{text}");
        }
    }
}
