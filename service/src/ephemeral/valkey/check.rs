//! What an operator should know of a Valkey before relying on it: for `countersignd doctor`.

use std::sync::Arc;
use std::time::Duration;

use countersign_protocol::id::{ClientId, OrganizationId, UserId};
use redis::{Cmd, FromRedisValue as _, RedisError, Value};

use super::ValkeySettings;
use super::functions::{Call, Function, Library};
use super::keys::Key;
use super::link::{Link, Unobserved};
use super::wake::WakeUps;
use crate::causes::in_words;
use crate::clock::Clock;
use crate::valkey::info::{field, version};

/// How far Valkey's clock may be from this machine's.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
/// The first versions with functions and sharded publish/subscribe.
const VALKEY_MIN: u32 = 7;

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether all is well.
    pub passed: bool,
    /// What was found, in words for the operator; if all is not well, with what to do.
    pub text: String,
}

impl Finding {
    /// All is well.
    #[must_use]
    pub fn passed(text: impl Into<String>) -> Self {
        Self { passed: true, text: text.into() }
    }

    /// Something is to be done.
    #[must_use]
    pub fn failed(text: impl Into<String>) -> Self {
        Self { passed: false, text: text.into() }
    }

    fn of(passed: bool, text: impl Into<String>) -> Self {
        Self { passed, text: text.into() }
    }
}

/// Looks at every primary of the Valkey that the settings name.
pub async fn check(settings: ValkeySettings, clock: &dyn Clock) -> Vec<Finding> {
    let url = settings.access.url.clone();
    let link = Link::new(settings, Arc::new(WakeUps::default()), Arc::new(Unobserved));
    if let Err(error) = link.connect().await {
        return vec![Finding::failed(format!(
            "Valkey at {url} cannot be used: {}. Check the hosts, TLS, the user and its password.",
            in_words(&error)
        ))];
    }
    match look(&link, clock).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::failed(format!(
            "Valkey at {url} refuses or fails: {}. docs/valkey.md lists the permissions that the user needs.",
            in_words(&error)
        ))],
    }
}

async fn look(link: &Link, clock: &dyn Clock) -> Result<Vec<Finding>, RedisError> {
    let mut findings = Vec::new();
    let primaries = if link.is_cluster() == Some(true) {
        let info = text(link.send(&command(&["CLUSTER", "INFO"])).await?)?;
        let whole = field(&info, "cluster_state") == Some("ok");
        findings.push(Finding::of(
            whole,
            if whole { "the Valkey cluster serves all slots" } else { "the Valkey cluster does not serve all slots" },
        ));
        primaries_of(&text(link.send(&command(&["CLUSTER", "NODES"])).await?)?)
    } else {
        vec![("single".to_owned(), 0)]
    };
    for (host, port) in primaries {
        let name = if port == 0 { "Valkey".to_owned() } else { format!("Valkey {host}:{port}") };
        let info = text(link.send_to_node(&host, port, &command(&["INFO"])).await?)?;
        findings.extend(look_at_server(&name, &info));
        let before = clock.now();
        let (seconds, micros) =
            <(u64, u64)>::from_redis_value(link.send_to_node(&host, port, &command(&["TIME"])).await?)?;
        let middle = u64::midpoint(before.0, clock.now().0);
        let apart = Duration::from_micros(middle.abs_diff(seconds * 1_000_000 + micros));
        let near = apart <= CLOCK_TOLERANCE;
        let advice = if near { "" } else { ": let both machines follow a time server" };
        findings.push(Finding::of(
            near,
            format!("the clock of {name} is {} ms from this machine's{advice}", apart.as_millis()),
        ));
    }
    // Nobody's keys: the functions can be loaded and called, and the channel heard, with this user's permissions.
    let (organization, user) = (OrganizationId::from_bytes([0; 16]), UserId::from_bytes([0; 16]));
    let (client, nobody) = (ClientId::from_bytes([0; 16]), [0; 16]);
    let keys = [Key::Clients(organization, user), Key::Arrivals(organization, user)];
    let arguments: [&[u8]; 5] = [client.as_bytes(), &nobody, b"0", b"1", b"00000000"];
    Library::new().call(link, &Call { function: Function::Look, keys: &keys, arguments: &arguments }).await?;
    let channel = Key::WakeUps(organization, user).to_string();
    link.subscribe(&channel, true).await?;
    link.subscribe(&channel, false).await?;
    findings.push(Finding::passed("the functions can be loaded and called, and wake-ups subscribed to"));
    Ok(findings)
}

fn look_at_server(name: &str, info: &str) -> Vec<Finding> {
    let (version, major) = version(info);
    let recent = major >= VALKEY_MIN;
    let advice = if recent { String::new() } else { format!(": version {VALKEY_MIN} or later is needed") };
    let policy = field(info, "maxmemory_policy").unwrap_or("unknown");
    let keeps = policy == "noeviction";
    let consequence = if keeps {
        ""
    } else {
        ": set maxmemory-policy to noeviction, or sessions and nonces are dropped when memory is short"
    };
    vec![
        Finding::of(recent, format!("{name} has version {version}{advice}")),
        Finding::of(keeps, format!("the eviction policy of {name} is {policy}{consequence}")),
    ]
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}

fn text(value: Value) -> Result<String, RedisError> {
    Ok(String::from_redis_value(value)?)
}

/// Returns host and port of every primary that `CLUSTER NODES` lists as reachable.
fn primaries_of(nodes: &str) -> Vec<(String, u16)> {
    let primary = |line: &str| {
        let mut words = line.split(' ');
        let (address, flags) = (words.nth(1)?, words.next()?);
        if !flags.split(',').any(|flag| flag == "master") || flags.contains("fail") || flags.contains("noaddr") {
            return None;
        }
        let (host, port) = address.split('@').next()?.rsplit_once(':')?;
        // After a comma the node's host name, if it announces one.
        let announced = address.split_once(',').map(|(_, name)| name).filter(|name| !name.is_empty());
        Some((announced.unwrap_or(host).to_owned(), port.parse().ok()?))
    };
    nodes.lines().filter_map(primary).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_evicts_or_is_too_old_is_found() {
        let good =
            "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n";
        let evicting = good.replace("noeviction", "allkeys-lru");
        let old = "redis_version:6.2.0\r\nmaxmemory_policy:noeviction\r\n";
        let passed = |info: &str| -> Vec<bool> {
            look_at_server("Valkey", info).into_iter().map(|finding| finding.passed).collect()
        };

        assert_eq!(passed(good), [true, true]);
        assert_eq!(passed(&evicting), [true, false]);
        assert_eq!(passed(old), [false, true]);
        assert_eq!(passed(""), [false, false]);
    }

    #[test]
    fn the_primaries_of_a_cluster_are_found() {
        let nodes = "07c3 127.0.0.1:7001@17001,valkey-1.example master - 0 1426238316232 2 connected 0-5460\n\
                     67ed 127.0.0.1:7002@17002 myself,master - 0 0 1 connected 5461-10922\n\
                     292f 127.0.0.1:7003@17003,host slave 67ed 0 1426238315732 3 connected\n\
                     6ec2 127.0.0.1:7004@17004 master,fail - 0 1426238318243 3 disconnected\n";

        assert_eq!(primaries_of(nodes), [("valkey-1.example".to_owned(), 7_001), ("127.0.0.1".to_owned(), 7_002)]);
    }
}
