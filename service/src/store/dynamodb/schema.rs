//! The tables, and their version, which stands in an item of its own.
//!
//! A migration adds tables or attributes and takes nothing away, so pods of the version before go on working. What is there is
//! never changed: capacity, backups and protection of a table are its operator's.

use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};

use super::attributes::{Columns, attributes, number};
use super::session::{Conditional, Failure, FailureKind, NO_TABLE, Request, Session};
use super::settings::DynamodbAddress;
use crate::clock::Clock;
use crate::store::StoreError;

/// The version that this program needs.
pub(super) const VERSION: u64 = 1;
/// Whose version it is, in a table that other programs may share one day.
const COMPONENT: &str = "countersign";
/// The attribute with the second after which an item may be deleted.
pub(super) const EXPIRES: &str = "expires";

/// How often it is looked whether a table is there.
const LOOK: Duration = Duration::from_millis(500);
/// How often at most: DynamoDB makes a table within seconds, and seldom within minutes.
const LOOKS: u32 = 600;

/// A table: its name after the prefix, its key, and whether its items expire.
#[derive(Debug)]
pub(super) struct Table {
    /// What comes after the prefix.
    pub(super) name: &'static str,
    partition: (&'static str, ScalarAttributeType),
    sort: Option<(&'static str, ScalarAttributeType)>,
    /// Whether items expire.
    pub(super) expires: bool,
}

/// All tables. The one with the version comes last: where it is, the others are.
pub(super) const TABLES: [Table; 7] = [
    Table {
        name: "organization_log",
        partition: ("organization", ScalarAttributeType::B),
        sort: Some(("sequence", ScalarAttributeType::N)),
        expires: false,
    },
    Table {
        name: "user_record",
        partition: ("organization", ScalarAttributeType::B),
        sort: Some(("user", ScalarAttributeType::B)),
        expires: false,
    },
    Table { name: "client_place", partition: ("user", ScalarAttributeType::B), sort: None, expires: false },
    Table { name: "message", partition: ("part", ScalarAttributeType::B), sort: None, expires: true },
    Table {
        name: "mailbox",
        partition: ("day", ScalarAttributeType::B),
        sort: Some(("id", ScalarAttributeType::B)),
        expires: true,
    },
    Table {
        name: "fetched",
        partition: ("day", ScalarAttributeType::B),
        sort: Some(("id", ScalarAttributeType::B)),
        expires: true,
    },
    Table { name: "schema_version", partition: ("component", ScalarAttributeType::S), sort: None, expires: false },
];

impl Table {
    /// Returns the table's whole name.
    pub(super) fn full_name(&self, address: &DynamodbAddress) -> String {
        format!("{}_{}", address.prefix, self.name)
    }

    fn key(&self) -> impl Iterator<Item = (&'static str, &ScalarAttributeType, KeyType)> {
        let sort = self.sort.as_ref().map(|(name, of)| (*name, of, KeyType::Range));
        std::iter::once((self.partition.0, &self.partition.1, KeyType::Hash)).chain(sort)
    }
}

/// The whole names of all tables that calls use.
#[derive(Debug)]
pub(super) struct TableNames {
    pub(super) log: String,
    pub(super) users: String,
    pub(super) places: String,
    pub(super) messages: String,
    pub(super) mailbox: String,
    pub(super) fetched: String,
}

impl TableNames {
    /// Makes the names of a store's tables.
    pub(super) fn of(address: &DynamodbAddress) -> Self {
        let [log, users, places, messages, mailbox, fetched, _] = TABLES.map(|table| table.full_name(address));
        Self { log, users, places, messages, mailbox, fetched }
    }
}

/// Why the schema is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A request failed.
    #[error("table {table} cannot be made or looked at")]
    Table {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A table is not there after a long time.
    #[error("table {0} is not active after minutes: look at it, and run countersignd schema again")]
    Slow(String),
}

/// Returns all that makes the tables, as commands of the AWS command line, for a person or for a script.
#[must_use]
pub fn script(address: &DynamodbAddress) -> String {
    let region = &address.region;
    let mut script = String::new();
    // Writing to a string cannot fail.
    for table in &TABLES {
        let name = table.full_name(address);
        let attributes: Vec<String> =
            table.key().map(|(name, of, _)| format!("AttributeName={name},AttributeType={}", of.as_str())).collect();
        let keys: Vec<String> =
            table.key().map(|(name, _, key)| format!("AttributeName={name},KeyType={}", key.as_str())).collect();
        let _ = writeln!(
            script,
            "aws dynamodb create-table --region {region} --table-name {name} --attribute-definitions {} --key-schema {} \
             --billing-mode PAY_PER_REQUEST --deletion-protection-enabled",
            attributes.join(" "),
            keys.join(" ")
        );
        let _ = writeln!(script, "aws dynamodb wait table-exists --region {region} --table-name {name}");
        if table.expires {
            let _ = writeln!(
                script,
                "aws dynamodb update-time-to-live --region {region} --table-name {name} \
                 --time-to-live-specification Enabled=true,AttributeName={EXPIRES}"
            );
        }
    }
    let [.., versions] = &TABLES;
    let _ = writeln!(
        script,
        "aws dynamodb put-item --region {region} --table-name {} \
         --item '{{\"component\":{{\"S\":\"{COMPONENT}\"}},\"version\":{{\"N\":\"{VERSION}\"}}}}'",
        versions.full_name(address)
    );
    script
}

/// Reads which version the schema has; none if there is none.
pub(super) async fn version(session: &Session, address: &DynamodbAddress) -> Result<Option<u64>, SchemaError> {
    let [.., versions] = &TABLES;
    let table = versions.full_name(address);
    let read = session.send(Request::GetVersion, || {
        let key = aws_sdk_dynamodb::types::AttributeValue::S(COMPONENT.to_owned());
        session.client.get_item().table_name(&table).key("component", key).consistent_read(true).send()
    });
    match session.within(read).await {
        Ok(answer) => {
            let version = answer.item.map(|item| Columns(item).number("version"));
            version.transpose().map_err(|source| SchemaError::Table { table, source })
        }
        Err(error) if is(&error, NO_TABLE) => Ok(None),
        Err(source) => Err(SchemaError::Table { table, source }),
    }
}

/// How a table is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TableState {
    /// Not there.
    Absent,
    /// There, and not usable yet.
    Changing,
    /// Usable.
    Active,
}

/// Asks how a table is.
pub(super) async fn state(session: &Session, table: &str) -> Result<TableState, SchemaError> {
    let asked = session.send(Request::DescribeTable, || session.client.describe_table().table_name(table).send());
    match session.within(asked).await {
        // One that is being changed can be used.
        Ok(answer) => Ok(match answer.table.and_then(|table| table.table_status) {
            Some(TableStatus::Active | TableStatus::Updating) => TableState::Active,
            _ => TableState::Changing,
        }),
        Err(error) if is(&error, NO_TABLE) => Ok(TableState::Absent),
        Err(source) => Err(SchemaError::Table { table: table.to_owned(), source }),
    }
}

/// Tells whether a table's items expire by the right attribute.
pub(super) async fn expires(session: &Session, table: &str) -> Result<bool, SchemaError> {
    let asked =
        session.send(Request::DescribeTimeToLive, || session.client.describe_time_to_live().table_name(table).send());
    let answer = session.within(asked).await;
    let answer = answer.map_err(|source| SchemaError::Table { table: table.to_owned(), source })?;
    Ok(answer.time_to_live_description.is_some_and(|described| {
        let on =
            matches!(described.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling));
        on && described.attribute_name.as_deref() == Some(EXPIRES)
    }))
}

/// Makes the tables that are missing, waits until all can be used, sees to it that items expire, and writes the version.
/// Returns in words what was done.
///
/// # Errors
/// [`SchemaError`]; what was done stays, and running it again goes on from there.
pub(super) async fn migrate(
    session: &Session,
    address: &DynamodbAddress,
    clock: &dyn Clock,
) -> Result<Vec<String>, SchemaError> {
    let held = version(session, address).await?.unwrap_or(0);
    let mut done = Vec::new();
    for table in &TABLES {
        let name = table.full_name(address);
        if state(session, &name).await? == TableState::Absent && create(session, table, &name).await? {
            done.push(format!("table {name} was made"));
        }
    }
    for table in &TABLES {
        let name = table.full_name(address);
        await_active(session, &name).await?;
        if table.expires && !expires(session, &name).await? && expire(session, &name).await? {
            done.push(format!("items of table {name} expire from now on"));
        }
    }
    if held < VERSION && write_version(session, address, clock).await? {
        done.push(format!("version {VERSION}: all tables"));
    }
    if done.is_empty() {
        let held = held.max(VERSION);
        done.push(format!("the schema is at version {held}; this program needs {VERSION}: nothing to do"));
    }
    Ok(done)
}

/// Makes a table, unless somebody else just did.
async fn create(session: &Session, table: &Table, name: &str) -> Result<bool, SchemaError> {
    let made = session.send(Request::CreateTable, || {
        let create = session
            .client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .deletion_protection_enabled(true);
        let create = table.key().fold(create, |create, (name, of, key)| {
            let defined = AttributeDefinition::builder().attribute_name(name).attribute_type(of.clone()).build();
            let element = KeySchemaElement::builder().attribute_name(name).key_type(key).build();
            create
                .attribute_definitions(defined.expect("all that it needs is set"))
                .key_schema(element.expect("all that it needs is set"))
        });
        create.send()
    });
    match session.within(made).await {
        Ok(_) => Ok(true),
        Err(error) if is(&error, "ResourceInUseException") => Ok(false),
        Err(source) => Err(SchemaError::Table { table: name.to_owned(), source }),
    }
}

async fn await_active(session: &Session, name: &str) -> Result<(), SchemaError> {
    for _ in 0..LOOKS {
        if state(session, name).await? == TableState::Active {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(SchemaError::Slow(name.to_owned()))
}

/// Sees to it that items of a table expire, unless somebody else just did.
async fn expire(session: &Session, name: &str) -> Result<bool, SchemaError> {
    let asked = session.send(Request::UpdateTimeToLive, || {
        let by = TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRES).build();
        session
            .client
            .update_time_to_live()
            .table_name(name)
            .time_to_live_specification(by.expect("all that it needs is set"))
            .send()
    });
    match session.within(asked).await {
        Ok(_) => Ok(true),
        // It is refused where it is so already.
        Err(source) if expires(session, name).await? => {
            tracing::debug!(error = &source as &dyn std::error::Error, name, "somebody else was faster");
            Ok(false)
        }
        Err(source) => Err(SchemaError::Table { table: name.to_owned(), source }),
    }
}

async fn write_version(session: &Session, address: &DynamodbAddress, clock: &dyn Clock) -> Result<bool, SchemaError> {
    let [.., versions] = &TABLES;
    let table = versions.full_name(address);
    let item = attributes([
        ("component", aws_sdk_dynamodb::types::AttributeValue::S(COMPONENT.to_owned())),
        ("version", number(VERSION)),
        ("applied", number(clock.now_millis().0)),
    ]);
    let written = session.conditional(Request::PutVersion, || {
        session
            .client
            .put_item()
            .table_name(&table)
            .set_item(Some(item.clone()))
            .condition_expression("attribute_not_exists(component) OR version < :version")
            .expression_attribute_values(":version", number(VERSION))
            .send()
    });
    match session.within(written).await {
        Ok(Conditional::Applied) => Ok(true),
        Ok(Conditional::Refused { doubtful, .. }) => Ok(doubtful),
        Err(source) => Err(SchemaError::Table { table, source }),
    }
}

/// Tells whether DynamoDB refused a request with this error.
fn is(error: &StoreError, code: &str) -> bool {
    let StoreError::Unavailable(cause) = error else { return false };
    cause
        .downcast_ref::<Failure>()
        .is_some_and(|failure| failure.kind == FailureKind::Refused && failure.code.as_deref() == Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_could_do_by_hand_is_written_as_commands() {
        let script = script(&"eu-central-1/countersign".parse().unwrap());

        assert_eq!(script.matches("aws dynamodb create-table ").count(), 7);
        assert_eq!(script.matches("aws dynamodb wait table-exists ").count(), 7);
        assert_eq!(script.matches("update-time-to-live").count(), 3);
        assert!(script.contains(
            "--table-name countersign_mailbox --attribute-definitions AttributeName=day,AttributeType=B \
             AttributeName=id,AttributeType=B --key-schema AttributeName=day,KeyType=HASH AttributeName=id,KeyType=RANGE "
        ));
        let last = script.lines().last().unwrap();
        assert!(
            last.contains("countersign_schema_version") && last.ends_with("\"version\":{\"N\":\"1\"}}'"),
            "{last}"
        );
    }
}
