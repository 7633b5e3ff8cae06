//! Statements (section 4): the texts that administrators sign, and what they say.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::id::{OrganizationId, UserId};
use crate::json::object;
use crate::time::{InvalidTime, UnixMicros, parse_rfc3339};

/// What a statement changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// Creates the organization with its first user, who becomes its first administrator. Only at sequence 0.
    CreateOrganization {
        /// The first user.
        user: UserId,
        /// Their armored certificate.
        certificate: String,
    },
    /// Adds a user.
    AddUser {
        /// The new user.
        user: UserId,
        /// Their armored certificate.
        certificate: String,
        /// Whether they are an administrator.
        administrator: bool,
        /// How many clients they may have; the service's default if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_limit: Option<u32>,
    },
    /// Changes what is given, at least one of them.
    UpdateUser {
        /// The user.
        user: UserId,
        /// A new armored certificate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<String>,
        /// Whether they are an administrator from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        administrator: Option<bool>,
        /// Whether they are active from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        active: Option<bool>,
        /// How many clients they may have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_limit: Option<u32>,
    },
}

impl Change {
    /// Returns the user whom the change is about.
    #[must_use]
    pub const fn user(&self) -> UserId {
        match self {
            Self::CreateOrganization { user, .. } | Self::AddUser { user, .. } | Self::UpdateUser { user, .. } => {
                *user
            }
        }
    }

    /// Returns the certificate that the change brings, if it brings one.
    #[must_use]
    pub fn certificate(&self) -> Option<&str> {
        match self {
            Self::CreateOrganization { certificate, .. } | Self::AddUser { certificate, .. } => Some(certificate),
            Self::UpdateUser { certificate, .. } => certificate.as_deref(),
        }
    }

    /// Returns how many clients the user may have from now on, if the change says so.
    #[must_use]
    pub const fn client_limit(&self) -> Option<u32> {
        match self {
            Self::CreateOrganization { .. } => None,
            Self::AddUser { client_limit, .. } | Self::UpdateUser { client_limit, .. } => *client_limit,
        }
    }
}

/// The JSON of a statement, field by field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementText {
    countersign: u32,
    organization: OrganizationId,
    sequence: u64,
    /// Present even when it is null, so that nobody forgets to say that there is none.
    #[serde(deserialize_with = "present")]
    previous: Option<Sha256Digest>,
    time: String,
    #[serde(deserialize_with = "object")]
    change: Change,
}

fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

fn read(text: &str) -> serde_json::Result<StatementText> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = object(&mut deserializer)?;
    deserializer.end()?;
    Ok(parsed)
}

/// A parsed statement, with the hash of the very bytes it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which organization it changes.
    pub organization: OrganizationId,
    /// Its place in the log.
    pub sequence: u64,
    /// The hash of the statement before it; none at sequence 0.
    pub previous: Option<Sha256Digest>,
    /// When it was made.
    pub time: UnixMicros,
    /// What it changes.
    pub change: Change,
    /// SHA-256 of its bytes.
    pub hash: Sha256Digest,
}

/// Why a text is not a statement.
#[derive(Debug, thiserror::Error)]
pub enum InvalidStatement {
    /// Not the JSON of a statement.
    #[error("the statement is not valid: {0}")]
    Json(#[source] serde_json::Error),
    /// Another version.
    #[error("the statement's \"countersign\" is {0}; this version knows 1")]
    Version(u32),
    /// `time` is malformed.
    #[error("the statement's \"time\" is {0}")]
    Time(#[source] InvalidTime),
    /// `previous` is null exactly at sequence 0.
    #[error("the statement's \"previous\" is null exactly at sequence 0")]
    Previous,
    /// `create-organization` exactly at sequence 0.
    #[error("create-organization stands exactly at sequence 0")]
    Creation,
    /// An update of nothing.
    #[error("update-user needs at least one of certificate, administrator, active and client_limit")]
    NothingChanged,
}

impl Statement {
    /// Reads a statement. Fields that are unknown, missing or repeated are refused: nobody should sign what they
    /// cannot know the meaning of.
    ///
    /// # Errors
    /// [`InvalidStatement`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidStatement> {
        let parsed = read(text).map_err(InvalidStatement::Json)?;
        if parsed.countersign != 1 {
            return Err(InvalidStatement::Version(parsed.countersign));
        }
        if parsed.previous.is_none() != (parsed.sequence == 0) {
            return Err(InvalidStatement::Previous);
        }
        if matches!(parsed.change, Change::CreateOrganization { .. }) != (parsed.sequence == 0) {
            return Err(InvalidStatement::Creation);
        }
        if let Change::UpdateUser {
            certificate: None, administrator: None, active: None, client_limit: None, ..
        } = parsed.change
        {
            return Err(InvalidStatement::NothingChanged);
        }
        Ok(Self {
            organization: parsed.organization,
            sequence: parsed.sequence,
            previous: parsed.previous,
            time: parse_rfc3339(&parsed.time).map_err(InvalidStatement::Time)?,
            change: parsed.change,
            hash: Sha256Digest::of(text.as_bytes()),
        })
    }

    /// Writes the text of a new statement, indented so that a signer can read it.
    ///
    /// # Panics
    /// Never: all of a statement can be written as JSON.
    #[must_use]
    pub fn compose(
        organization: OrganizationId,
        sequence: u64,
        previous: Option<Sha256Digest>,
        time: UnixMicros,
        change: Change,
    ) -> String {
        let text = StatementText { countersign: 1, organization, sequence, previous, time: time.to_string(), change };
        serde_json::to_string_pretty(&text).expect("a statement has nothing that JSON cannot hold")
    }
}
