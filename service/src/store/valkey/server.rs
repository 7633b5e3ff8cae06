//! What the servers' own settings must be, so that what was answered is there for good: for the start and for `doctor`.

use redis::{Cmd, FromRedisValue as _, RedisError, Value};

use super::cluster::Cluster;
use super::topology::Address;
use crate::store::settings::Durability;
use crate::valkey::info::{field, version};

/// The first version that can be asked on how many disks a write is.
const VERSION_MIN: (u32, u32) = (7, 2);
/// Of a server's memory, the share beyond which it is time to act.
const MEMORY_SHARE_MAX: f64 = 0.8;

/// A primary, as far as its settings matter here.
pub(super) struct Primary {
    name: String,
    info: String,
    /// `appendfsync`; none where we may not ask.
    synced: Option<String>,
    replicas: Vec<Replica>,
}

struct Replica {
    name: String,
    /// None where it cannot be asked.
    info: Option<String>,
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}

impl Primary {
    /// Asks a primary, and its replicas.
    pub(super) async fn ask(cluster: &Cluster, address: &Address) -> Result<Self, RedisError> {
        let info = String::from_redis_value(cluster.ask(address, &command(&["INFO"])).await?)?;
        // Not everybody may ask it, and it changes only how soon a write is confirmed.
        let synced = cluster.ask(address, &command(&["CONFIG", "GET", "appendfsync"])).await;
        let synced = synced.ok().and_then(|answer| Vec::<(String, String)>::from_redis_value(answer).ok());
        let synced = synced.and_then(|settings| Some(settings.into_iter().next()?.1));
        let mut replicas = Vec::new();
        for address in replicas_of(&info) {
            let info = cluster.ask(&address, &command(&["INFO"])).await.ok();
            let info = info.and_then(|info: Value| String::from_redis_value(info).ok());
            replicas.push(Replica { name: named(&address), info });
        }
        Ok(Self { name: named(address), info, synced, replicas })
    }

    /// Returns the server's version, in words.
    pub(super) fn version(&self) -> String {
        format!("{} has version {}", self.name, version(&self.info).0)
    }

    /// Says why what this server confirms could be lost, or not be confirmed ever; nothing if all is well.
    pub(super) fn loses(&self, durability: Durability, is_cluster: bool) -> Option<String> {
        let Self { name, info, .. } = self;
        let (version, major) = version(info);
        let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0);
        if (major, minor) < VERSION_MIN {
            return Some(format!("{name} has version {version}, and 7.2 or later is needed"));
        }
        let all = std::iter::once((name, Some(info)));
        let all: Vec<_> =
            all.chain(self.replicas.iter().map(|replica| (&replica.name, replica.info.as_ref()))).collect();
        for (name, info) in all {
            let policy = info.and_then(|info| field(info, "maxmemory_policy"));
            if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
                return Some(format!(
                    "the maxmemory-policy of {name} is {policy}, which deletes messages when memory is short: set it to \
                     noeviction"
                ));
            }
        }
        if durability == Durability::Memory {
            return None;
        }
        if field(info, "aof_enabled") != Some("1") {
            return Some(format!(
                "{name} has no append-only file, so what it confirms is not on its disk: set appendonly to yes, or \
                 valkey_store_durability to memory"
            ));
        }
        if self.synced.as_deref() == Some("no") {
            return Some(format!(
                "the appendfsync of {name} is no, so nobody syncs its disk: set it to everysec or always"
            ));
        }
        if durability == Durability::Local {
            return None;
        }
        if self.replicas.is_empty() {
            let set = if is_cluster {
                "give each primary a replica"
            } else {
                "set valkey_store_durability to local for a server without replicas, or use a cluster with them"
            };
            return Some(format!(
                "{name} has no replica that is online, and a write is answered when one has it: {set}"
            ));
        }
        let without =
            |replica: &Replica| replica.info.as_ref().is_some_and(|info| field(info, "aof_enabled") == Some("0"));
        if self.replicas.iter().all(without) {
            let replica = &self.replicas[0].name;
            return Some(format!("{replica}, a replica of {name}, has no append-only file: set appendonly to yes"));
        }
        None
    }

    /// Says of each other thing what is well, or what is to be done.
    pub(super) fn checks(&self) -> Vec<Result<String, String>> {
        let Self { name, info, .. } = self;
        let number = |name| field(info, name).and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0);
        let (used, most) = (number("used_memory"), number("maxmemory"));
        let memory = if most <= 0.0 {
            Err(format!(
                "{name} has no maxmemory: set it, to less than the machine has, so that a full store refuses messages instead \
                 of being killed"
            ))
        } else if used > most * MEMORY_SHARE_MAX {
            Err(format!(
                "the memory of {name} is full to {:.0} %: give it more, add primaries, or shorten retention",
                used / most * 100.0
            ))
        } else {
            Ok(format!("the memory of {name} is full to {:.0} %", used / most * 100.0))
        };
        let written = match field(info, "aof_last_write_status") {
            Some("ok") | None => Ok(format!("{name} can write its append-only file")),
            Some(_) => Err(format!("{name} cannot write its append-only file: look at its disk")),
        };
        vec![memory, written]
    }
}

fn named((host, port): &Address) -> String {
    format!("the server {host}:{port}")
}

/// Returns the replicas that are online, as an `INFO` lists them.
fn replicas_of(info: &str) -> Vec<Address> {
    let replica = |line: &str| {
        let (name, values) = line.trim().split_once(':')?;
        name.strip_prefix("slave")?.parse::<u32>().ok()?;
        let of = |wanted: &str| values.split(',').find_map(|value| value.strip_prefix(wanted)?.strip_prefix('='));
        (of("state") == Some("online")).then(|| Some((of("ip")?.to_owned(), of("port")?.parse().ok()?)))?
    };
    info.lines().filter_map(replica).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "valkey_version:8.0.1\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nused_memory:100\r\n\
                        maxmemory:1000\r\naof_last_write_status:ok\r\n";

    fn primary(info: &str, replicas: &[&str]) -> Primary {
        let replicas = replicas.iter().map(|info| Replica { name: "r".to_owned(), info: Some((*info).to_owned()) });
        Primary {
            name: "p".to_owned(),
            info: info.to_owned(),
            synced: Some("always".to_owned()),
            replicas: replicas.collect(),
        }
    }

    #[test]
    fn replicas_that_are_online_are_found() {
        let info = "role:master\r\nconnected_slaves:2\r\nslave0:ip=10.0.0.2,port=7004,state=online,offset=1,lag=0\r\n\
                    slave1:ip=10.0.0.3,port=7005,state=wait_bgsave,offset=0,lag=0\r\nslave_read_only:1\r\n";
        assert_eq!(replicas_of(info), [("10.0.0.2".to_owned(), 7_004)]);
    }

    #[test]
    fn a_server_that_could_lose_what_it_confirms_is_found() {
        let evicting = INFO.replace("noeviction", "allkeys-lru");
        let forgetful = INFO.replace("aof_enabled:1", "aof_enabled:0");
        let old = INFO.replace("8.0.1", "7.0.9");
        let loses = |primary: &Primary, durability| primary.loses(durability, true).unwrap_or_default();

        assert_eq!(loses(&primary(INFO, &[INFO]), Durability::Replicated), "");
        assert!(loses(&primary(INFO, &[]), Durability::Replicated).contains("has no replica"));
        assert_eq!(loses(&primary(INFO, &[]), Durability::Local), "");
        assert!(loses(&primary(INFO, &[&forgetful]), Durability::Replicated).contains("a replica of p"));
        assert!(loses(&primary(&forgetful, &[INFO]), Durability::Local).contains("appendonly"));
        assert_eq!(loses(&primary(&forgetful, &[]), Durability::Memory), "");
        assert!(loses(&primary(&evicting, &[INFO]), Durability::Memory).contains("allkeys-lru"));
        assert!(loses(&primary(INFO, &[&evicting]), Durability::Replicated).contains("allkeys-lru"));
        assert!(loses(&primary(&old, &[INFO]), Durability::Memory).contains("7.2 or later"));
        let unsynced = Primary { synced: Some("no".to_owned()), ..primary(INFO, &[INFO]) };
        assert!(loses(&unsynced, Durability::Local).contains("appendfsync"));
    }

    #[test]
    fn memory_without_a_bound_or_nearly_full_is_found() {
        let passed = |info: &str| primary(info, &[]).checks().iter().map(Result::is_ok).collect::<Vec<_>>();
        assert_eq!(passed(INFO), [true, true]);
        assert_eq!(passed(&INFO.replace("maxmemory:1000", "maxmemory:0")), [false, true]);
        assert_eq!(passed(&INFO.replace("used_memory:100", "used_memory:900")), [false, true]);
        assert_eq!(passed(&INFO.replace("status:ok", "status:err")), [true, false]);
    }
}
