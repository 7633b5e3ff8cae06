//! `countersignd doctor`: looks at everything that the settings name, and says in words what is wrong.
//!
//! Changes nothing: it may run beside a service that serves.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::app::{read_super_administrators, valkey_settings};
use crate::causes::in_words;
use crate::clock::{Clock, SystemClock};
use crate::config::{EphemeralUrl, Settings, StoreUrl};
use crate::entropy::SystemEntropy;
use crate::ephemeral::valkey::{self, Finding};
use crate::http::tls::ReloadingCertificate;
#[cfg(feature = "store-dynamodb")]
use crate::store::dynamodb;
use crate::store::scylla::open as open_in_cql;
use crate::store::scylla::settings::ScyllaSettings;
use crate::store::settings::SchemaAtStart;
use crate::store::{Opening, embedded, mariadb};
use crate::telemetry::metrics::Metrics;

/// Runs all checks.
pub async fn examine(settings: &Settings) -> Vec<Finding> {
    let clock = SystemClock;
    let mut findings = vec![Finding::passed("the settings are valid")];
    findings.push(super_administrators(settings));
    findings.extend(tls(settings));
    findings.extend(store(settings).await);
    findings.extend(ephemeral(settings, &clock).await);
    findings
}

fn super_administrators(settings: &Settings) -> Finding {
    let Some(path) = &settings.super_administrators else {
        return Finding::failed(
            "no super-administrators are configured: nobody can create an organization. Set super_administrators",
        );
    };
    match read_super_administrators(path) {
        Ok(certificates) => Finding::passed(format!("there are {} super-administrators", certificates.len())),
        Err(error) => Finding::failed(in_words(&error)),
    }
}

fn tls(settings: &Settings) -> Option<Finding> {
    let files = settings.tls()?;
    Some(match ReloadingCertificate::load(files) {
        Ok(_) => Finding::passed("the TLS certificate and its key can be used"),
        Err(error) => Finding::failed(format!("the TLS certificate cannot be used: {}", in_words(&error))),
    })
}

async fn store(settings: &Settings) -> Vec<Finding> {
    match &settings.store {
        StoreUrl::Memory => {
            vec![Finding::failed("the store is in memory: every message is gone when the service ends. Set store")]
        }
        StoreUrl::Scylla(address) => vec![match settings.scylla() {
            Some(scylla) => in_cql(scylla).await,
            None => Finding::failed(format!("the settings of the store scylla://{address} are missing")),
        }],
        StoreUrl::Mariadb(address) => match settings.mariadb() {
            Some(settings) => mariadb::examine(&settings).await.into_iter().map(finding).collect(),
            None => vec![Finding::failed(format!("the settings of the store mariadb://{address} are missing"))],
        },
        #[cfg(feature = "store-valkey")]
        StoreUrl::Valkey(url) => match settings.valkey_store() {
            Some(settings) => {
                let findings = crate::store::valkey::examine(&settings, Arc::new(SystemEntropy)).await;
                findings.into_iter().map(finding).collect()
            }
            None => vec![Finding::failed(format!("the settings of the store {url} are missing"))],
        },
        #[cfg(not(feature = "store-valkey"))]
        StoreUrl::Valkey(url) => {
            vec![Finding::failed(format!(
                "this program was built without the feature store-valkey, which {url} needs"
            ))]
        }
        #[cfg(feature = "store-dynamodb")]
        StoreUrl::Dynamodb(address) => match settings.dynamodb() {
            Some(settings) => dynamodb::examine(&settings).await.into_iter().map(finding).collect(),
            None => vec![Finding::failed(format!("the settings of the store dynamodb://{address} are missing"))],
        },
        #[cfg(not(feature = "store-dynamodb"))]
        StoreUrl::Dynamodb(address) => {
            vec![Finding::failed(format!("this program was built without the store dynamodb://{address}"))]
        }
        StoreUrl::Embedded(directory) => vec![match embedded::examine(directory) {
            Ok(embedded::State::Absent) => {
                Finding::passed(format!("a store will be made in {}", directory.display()))
            }
            Ok(embedded::State::Free) => {
                Finding::passed(format!("the store in {} is there, and no service uses it", directory.display()))
            }
            Ok(embedded::State::InUse) => {
                Finding::passed(format!("the store in {} is in use by a running service", directory.display()))
            }
            Err(error) => Finding::failed(format!(
                "the store in {} cannot be used: {}. Check that the directory exists and belongs to this user",
                directory.display(),
                in_words(&error)
            )),
        }],
    }
}

fn finding(outcome: Result<String, String>) -> Finding {
    match outcome {
        Ok(text) => Finding::passed(text),
        Err(text) => Finding::failed(text),
    }
}

/// Tries once to open a store in CQL, whatever the settings say of its schema: to look changes nothing.
async fn in_cql(mut settings: ScyllaSettings) -> Finding {
    settings.schema = SchemaAtStart::Check;
    let address = settings.address.clone();
    let observer = Arc::new(Metrics::new());
    let (_store, opener, mut opening) =
        match open_in_cql(settings, Arc::new(SystemClock), Arc::new(SystemEntropy), observer) {
            Ok(opened) => opened,
            Err(error) => {
                return Finding::failed(format!("the store scylla://{address} cannot be used: {}", in_words(&error)));
            }
        };
    // The first thing that it says of itself is the outcome of its first attempt.
    tokio::select! {
        () = opener.run(CancellationToken::new()) => {}
        _ = opening.changed() => {}
    }
    match &*opening.borrow() {
        Opening::Open => {
            Finding::passed(format!("the store scylla://{address} answers, and its schema is new enough"))
        }
        Opening::Waiting(why) => Finding::failed(format!("the store scylla://{address} cannot be used: {why}")),
    }
}

async fn ephemeral(settings: &Settings, clock: &dyn Clock) -> Vec<Finding> {
    match &settings.ephemeral {
        EphemeralUrl::Local => {
            vec![Finding::passed("sessions are kept in the one process; run no second one on the same users")]
        }
        EphemeralUrl::Valkey(url) => match valkey_settings(settings, url) {
            Ok(valkey) => valkey::check(valkey, clock).await,
            Err(error) => vec![Finding::failed(format!("{error:#}"))],
        },
    }
}
