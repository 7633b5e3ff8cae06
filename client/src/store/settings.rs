//! Which place in which organization the profile is, and what its owner chose.

use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::openpgp::{Certificate, Fingerprint};
use rusqlite::OptionalExtension as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};

/// A place in an organization, and what was pinned when the profile was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The server.
    pub server: String,
    /// A file with the authorities that vouch for the server's TLS certificate; the system's if there is none.
    pub authorities: Option<std::path::PathBuf>,
    /// The organization.
    pub organization: OrganizationId,
    /// The hash of its first statement. None while the organization is being created here.
    pub genesis: Option<Sha256Digest>,
    /// The armored certificates of the super-administrators, as far as they are known here.
    pub super_administrators: Vec<String>,
    /// The user.
    pub user: UserId,
    /// This device.
    pub client: ClientId,
    /// The user's certificate, armored, as it was when the profile was made: it signs until the log says another.
    pub certificate: String,
}

impl Membership {
    /// Returns the address of this client.
    #[must_use]
    pub const fn address(&self) -> ClientAddress {
        ClientAddress { organization: self.organization, user: self.user, client: self.client }
    }

    /// Returns the fingerprint of the user's first certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        Certificate::parse(&self.certificate).ok().map(|certificate| certificate.fingerprint().clone())
    }
}

/// What the owner of a profile chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    /// Whether senders get receipts.
    pub receipts: bool,
    /// Whether the user's other clients get a copy of what is sent here.
    pub copies: bool,
}

impl Default for Preferences {
    fn default() -> Self {
        Self { receipts: true, copies: true }
    }
}

impl Store {
    /// Returns the place in an organization.
    ///
    /// # Errors
    /// [`StoreError`]; a profile whose making was interrupted has none.
    pub fn membership(&self) -> Result<Membership, StoreError> {
        self.setting("membership")?.ok_or(StoreError::Corrupt("membership"))
    }

    /// Sets the place in an organization.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_membership(&self, membership: &Membership) -> Result<(), StoreError> {
        self.set_setting("membership", membership)
    }

    /// Returns what the owner chose.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn preferences(&self) -> Result<Preferences, StoreError> {
        Ok(self.setting("preferences")?.unwrap_or_default())
    }

    /// Sets what the owner chose.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_preferences(&self, preferences: &Preferences) -> Result<(), StoreError> {
        self.set_setting("preferences", preferences)
    }

    fn setting<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        let connection = self.connection();
        let text: Option<String> =
            connection.query_row("SELECT value FROM setting WHERE name = ?1", [name], |row| row.get(0)).optional()?;
        text.map(|text| serde_json::from_str(&text).map_err(|_| StoreError::Corrupt(name))).transpose()
    }

    fn set_setting<T: Serialize>(&self, name: &'static str, value: &T) -> Result<(), StoreError> {
        let text = serde_json::to_string(value).map_err(|_| StoreError::Corrupt(name))?;
        let sql = "INSERT INTO setting VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.connection().execute(sql, [name, &text])?;
        Ok(())
    }
}
