//! What can be set of the store: types that are read strictly and written as they are read.
//!
//! Refuses to know: the SDK's own types. It is there without them too, so that a program that was built without this store
//! still knows all settings.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use crate::store::settings::SchemaAtStart;

/// Bytes of content that a store takes in one message: thirty-two parts, and one answer of 16 MB.
pub const CONTENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Recipients of one message: their identifiers stand in one item with the first part of the content.
pub const RECIPIENTS_MAX: usize = 5_000;
/// Bytes of a request with a statement: a log entry is one item, as is a user's record, and an item has at most 400 KB.
pub const STATEMENT_BYTES_MAX: usize = 384 * 1024;

/// Bytes of the longest prefix: a table's name has at most 255.
const PREFIX_MAX: usize = 200;

/// Where the tables are: `region/prefix`, such as `eu-central-1/countersign`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamodbAddress {
    /// The region.
    pub region: String,
    /// What the name of each table begins with, before an underscore.
    pub prefix: String,
}

impl FromStr for DynamodbAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a store in DynamoDB is dynamodb://region/prefix, such as dynamodb://eu-central-1/countersign; \
                            tables are called prefix_log and so on";
        let (region, prefix) = text.split_once('/').ok_or(FORM)?;
        let of_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let of_prefix = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let sound = !region.is_empty()
            && region.bytes().all(of_region)
            && !prefix.is_empty()
            && prefix.len() <= PREFIX_MAX
            && prefix.bytes().all(of_prefix);
        if !sound {
            return Err(FORM);
        }
        Ok(Self { region: region.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for DynamodbAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.region, self.prefix)
    }
}

/// What a store in DynamoDB is opened with. Credentials are where AWS leaves them: in the environment, in a profile's file, with
/// the pod's service account, or with the machine's role.
#[derive(Clone, Debug)]
pub struct DynamodbSettings {
    /// Where the tables are.
    pub address: DynamodbAddress,
    /// Another endpoint than the region's own: DynamoDB Local, or a private one.
    pub endpoint: Option<String>,
    /// Whether messages and confirmations are read strongly consistent, at twice the price. What has to be linearizable is
    /// in any case.
    pub consistent_reads: bool,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one attempt of a request to DynamoDB may take.
    pub attempt_timeout: Duration,
    /// How often a request to DynamoDB is sent at most, where it is throttled or its answer is lost.
    pub attempts: NonZeroU32,
    /// How long a call may take with all its attempts, within its request's time.
    pub timeout: Duration,
    /// What to do about the schema at the start.
    pub schema: SchemaAtStart,
    /// How long messages are kept.
    pub retention: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["eu-central-1/countersign", "us-gov-west-1/a.b_c-D9"] {
            assert_eq!(text.parse::<DynamodbAddress>().unwrap().to_string(), text);
        }
        let long = format!("a/{}", "x".repeat(PREFIX_MAX + 1));
        for text in ["", "/", "a", "a/", "/b", "EU/b", "a b/c", "a/b/c", "a/b c", "a/ä", "a:8000/b", "a/b?c", &long]
        {
            assert!(text.parse::<DynamodbAddress>().is_err(), "{text}");
        }
    }
}
