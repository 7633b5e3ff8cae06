//! What `countersignd doctor` says of the store: credentials, tables, their expiry, and their version. Changes nothing.

use std::sync::Arc;

use super::opening::lacks;
use super::schema::{self, TABLES, TableState, VERSION};
use super::session::{Connecting, Session};
use super::settings::DynamodbSettings;
use crate::causes::in_words;
use crate::entropy::SystemEntropy;

/// Looks at credentials and tables, and says what is well or what is wrong.
pub async fn examine(settings: &DynamodbSettings) -> Vec<Result<String, String>> {
    let address = &settings.address;
    let connecting = Connecting::prepare(settings).await;
    if let Err(error) = connecting.credentials().await {
        return vec![Err(format!(
            "the store dynamodb://{address} cannot be used: there are no AWS credentials: {}. They come from the \
             environment, a profile, the pod's service account or the machine's role",
            in_words(&*error)
        ))];
    }
    let mut findings = vec![Ok("there are AWS credentials".to_owned())];
    let session = Session::new(connecting.client(), settings, Arc::new(SystemEntropy));
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        Err(format!("the store dynamodb://{address} cannot be used: {}", in_words(error)))
    };
    match schema::version(&session, address).await {
        Ok(Some(version)) if version >= VERSION => {
            findings
                .push(Ok(format!("DynamoDB in {} answers, and the store's schema is new enough", address.region)));
        }
        Ok(version) => {
            findings.push(Err(lacks(address, version)));
            return findings;
        }
        Err(error) => {
            findings.push(unusable(&error));
            return findings;
        }
    }
    let (mut usable, mut expiring) = (0, 0);
    for table in &TABLES {
        let name = table.full_name(address);
        match schema::state(&session, &name).await {
            Ok(TableState::Active) => usable += 1,
            Ok(TableState::Changing) => findings.push(Err(format!("table {name} is there, and not active"))),
            Ok(TableState::Absent) => {
                findings.push(Err(format!("there is no table {name}: run countersignd schema")));
            }
            Err(error) => findings.push(unusable(&error)),
        }
        if !table.expires {
            continue;
        }
        match schema::expires(&session, &name).await {
            Ok(true) => expiring += 1,
            Ok(false) => findings.push(Err(format!(
                "items of table {name} never expire, and are paid for ever: run countersignd schema"
            ))),
            Err(error) => findings.push(unusable(&error)),
        }
    }
    if usable == TABLES.len() {
        findings.push(Ok(format!("all {usable} tables {}_… are active", address.prefix)));
    }
    if expiring == TABLES.iter().filter(|table| table.expires).count() {
        findings.push(Ok(format!("items expire in all {expiring} tables of messages")));
    }
    findings
}
