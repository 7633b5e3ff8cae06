//! Receipts: those that others signed for this user's messages, and those that this user owes.

use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::UserId;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMicros;
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;

use super::{MessageNumber, Store, StoreError, micros, signed};

/// Whether a receipt counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptState {
    /// Its signature is its sender's, over a message that this user sent them.
    Good,
    /// It is for a message that is not known here yet.
    Pending,
    /// Its signature is not good.
    Bad,
}

impl ReceiptState {
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Pending => "pending",
            Self::Bad => "bad",
        }
    }
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredReceipt {
    /// Its id.
    pub id: MessageId,
    /// The id of the message that it is for.
    pub of: MessageId,
    /// Who signed it.
    pub recipient: UserId,
    /// The detached signature.
    #[serde(skip)]
    pub signature: Vec<u8>,
    /// Whether it counts.
    pub state: ReceiptState,
    /// When it was stored here.
    #[serde(serialize_with = "super::messages::rfc3339")]
    pub stored: UnixMicros,
}

/// A receipt that this user owes.
#[derive(Clone, Debug)]
pub struct Acknowledgement {
    /// The message's id.
    pub of: MessageId,
    /// Who sent it.
    pub sender: UserId,
    /// SHA-256 of what travelled.
    pub sha256: Sha256Digest,
    /// The signature, once it is made.
    pub signature: Option<Vec<u8>>,
    /// The id under which it was tried last.
    pub id: Option<MessageId>,
}

impl Store {
    /// Stores a receipt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_receipt(&self, receipt: &StoredReceipt) -> Result<(), StoreError> {
        self.connection().execute(
            "INSERT INTO receipt (id, of, recipient, signature, state, stored) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (id) DO UPDATE SET state = excluded.state",
            params![
                receipt.id.as_bytes(),
                receipt.of.as_bytes(),
                receipt.recipient.as_bytes(),
                receipt.signature,
                receipt.state.name(),
                signed(receipt.stored.0),
            ],
        )?;
        Ok(())
    }

    /// Returns the receipts for messages that are not known here yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pending_receipts(&self) -> Result<Vec<StoredReceipt>, StoreError> {
        self.select_receipts(
            "SELECT id, of, recipient, signature, state, stored FROM receipt WHERE state = 'pending'",
            [],
        )
    }

    /// Returns the receipts for a message, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn receipts_of(&self, message: MessageNumber) -> Result<Vec<StoredReceipt>, StoreError> {
        let sql = "SELECT receipt.id, of, recipient, signature, state, stored FROM receipt \
                   JOIN wire ON wire.id = receipt.of WHERE wire.message = ?1 ORDER BY receipt.id";
        self.select_receipts(sql, [message.0])
    }

    fn select_receipts(&self, sql: &str, values: impl rusqlite::Params) -> Result<Vec<StoredReceipt>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map(values, |row| {
            let ids = (row.get::<_, [u8; 16]>(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, [u8; 16]>(2)?);
            Ok((ids, row.get::<_, Vec<u8>>(3)?, row.get::<_, String>(4)?, row.get::<_, i64>(5)?))
        })?;
        let corrupt = |_| StoreError::Corrupt("receipt id");
        let mut receipts = Vec::new();
        for row in rows {
            let ((id, of, recipient), signature, state, stored) = row?;
            receipts.push(StoredReceipt {
                id: MessageId::from_bytes(id).map_err(corrupt)?,
                of: MessageId::from_bytes(of).map_err(corrupt)?,
                recipient: UserId::from_bytes(recipient),
                signature,
                state: match state.as_str() {
                    "good" => ReceiptState::Good,
                    "pending" => ReceiptState::Pending,
                    _ => ReceiptState::Bad,
                },
                stored: micros(stored),
            });
        }
        Ok(receipts)
    }

    /// Finds what a message id that this user sent stands for: the SHA-256 of what travelled.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sent_content(&self, of: &MessageId) -> Result<Option<(MessageNumber, Sha256Digest)>, StoreError> {
        let sql = "SELECT message.number, part.ciphertext_sha256 FROM wire \
                   JOIN part ON part.message = wire.message AND part.part = wire.part \
                   JOIN message ON message.number = wire.message WHERE wire.id = ?1 AND message.outgoing";
        let read = |row: &rusqlite::Row<'_>| {
            Ok((MessageNumber(row.get(0)?), Sha256Digest::from_bytes(row.get::<_, [u8; 32]>(1)?)))
        };
        Ok(self.connection().query_row(sql, [of.as_bytes()], read).optional()?)
    }

    /// Returns the receipts that are owed, oldest message first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn due_acknowledgements(&self) -> Result<Vec<Acknowledgement>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(
            "SELECT of, sender, sha256, signature, id FROM acknowledgement WHERE state = 'due' ORDER BY of",
        )?;
        let rows = statement.query_map([], |row| {
            let keys = (row.get::<_, [u8; 16]>(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, [u8; 32]>(2)?);
            Ok((keys, row.get(3)?, row.get::<_, Option<[u8; 16]>>(4)?))
        })?;
        let corrupt = |_| StoreError::Corrupt("message id");
        let mut due = Vec::new();
        for row in rows {
            let ((of, sender, sha256), signature, id) = row?;
            due.push(Acknowledgement {
                of: MessageId::from_bytes(of).map_err(corrupt)?,
                sender: UserId::from_bytes(sender),
                sha256: Sha256Digest::from_bytes(sha256),
                signature,
                id: id.map(MessageId::from_bytes).transpose().map_err(corrupt)?,
            });
        }
        Ok(due)
    }

    /// Stores the signature and the id of a receipt before it is sent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sign_acknowledgement(&self, of: &MessageId, signature: &[u8], id: &MessageId) -> Result<(), StoreError> {
        let sql = "UPDATE acknowledgement SET signature = ?2, id = ?3 WHERE of = ?1";
        self.connection().execute(sql, params![of.as_bytes(), signature, id.as_bytes()])?;
        Ok(())
    }

    /// Notes that a receipt reached the server, or that none is owed any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn acknowledged(&self, of: &MessageId) -> Result<(), StoreError> {
        self.connection().execute("UPDATE acknowledgement SET state = 'sent' WHERE of = ?1", [of.as_bytes()])?;
        Ok(())
    }
}
