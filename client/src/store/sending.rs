//! The outbox: what is to be sent, durable before the first byte of it leaves.
//!
//! Invariant: an id is stored before it is used, so a receipt for it is always recognized, and a retry has the same one.

use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::UserId;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMicros;
use rusqlite::{OptionalExtension as _, params};
use uuid::Uuid;

use super::{MessageNumber, Store, StoreError, signed};
use crate::envelope::ConversationId;

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// This user.
    pub sender: UserId,
    /// Its name.
    pub name: Uuid,
    /// The conversation.
    pub conversation: ConversationId,
    /// To whom.
    pub recipients: Vec<UserId>,
    /// When it was written.
    pub time: UnixMicros,
    /// Its media type.
    pub content_type: String,
    /// What a file is called.
    pub file_name: Option<String>,
    /// Bytes of the content.
    pub size: u64,
    /// How many parts it travels in.
    pub parts: u32,
    /// SHA-256 of the whole of a split file.
    pub sha256: Option<Sha256Digest>,
}

/// A part of it, signed and encrypted.
#[derive(Clone, Debug)]
pub struct NewPart {
    /// Which one, from 0.
    pub part: u32,
    /// What travels.
    pub ciphertext: Vec<u8>,
    /// What is in it.
    pub content: Vec<u8>,
}

/// A part that is in the outbox.
#[derive(Clone, Debug)]
pub struct QueuedPart {
    /// The message that it is of.
    pub message: MessageNumber,
    /// Which part.
    pub part: u32,
    /// To whom.
    pub recipients: Vec<UserId>,
    /// SHA-256 of what travels.
    pub sha256: Sha256Digest,
    /// The id under which it was tried last.
    pub id: Option<MessageId>,
}

impl Store {
    /// Begins a message. It is not sent before it is finished.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_outgoing(&self, message: &Outgoing, now: UnixMicros) -> Result<MessageNumber, StoreError> {
        let recipients =
            serde_json::to_string(&message.recipients).map_err(|_| StoreError::Corrupt("list of recipients"))?;
        let connection = self.connection();
        connection.execute(
            "INSERT INTO message (sender, name, conversation, recipients, time, content_type, file_name, size, parts, \
                                  sha256, outgoing, state, seen, stored) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, 'preparing', 1, ?11)",
            params![
                message.sender.as_bytes(),
                message.name.as_bytes(),
                message.conversation.0.as_bytes(),
                recipients,
                signed(message.time.0),
                message.content_type,
                message.file_name,
                signed(message.size),
                message.parts,
                message.sha256.map(|sha256| *sha256.as_bytes()),
                signed(now.0),
            ],
        )?;
        Ok(MessageNumber(connection.last_insert_rowid()))
    }

    /// Adds a part to a message that is begun.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_part(&self, message: MessageNumber, sender: &UserId, part: &NewPart) -> Result<(), StoreError> {
        let sha256 = Sha256Digest::of(&part.ciphertext);
        self.connection().execute(
            "INSERT INTO part (message, part, sender, ciphertext_sha256, ciphertext, content) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![message.0, part.part, sender.as_bytes(), sha256.as_bytes(), part.ciphertext, part.content],
        )?;
        Ok(())
    }

    /// Puts a message that is begun into the outbox: from here on it will be sent, whatever happens.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish_outgoing(&self, message: MessageNumber) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE message SET state = 'queued' WHERE number = ?1 AND state = 'preparing'", [message.0])?;
        Ok(())
    }

    /// Drops messages that were begun by runs that ended before they finished them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn discard_preparing(&self) -> Result<(), StoreError> {
        self.connection().execute("DELETE FROM message WHERE state = 'preparing'", [])?;
        Ok(())
    }

    /// Returns what is in the outbox, in the order in which it was written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn queued_parts(&self) -> Result<Vec<QueuedPart>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(
            "SELECT part.message, part.part, message.recipients, part.ciphertext_sha256, \
                    (SELECT max(id) FROM wire WHERE wire.message = part.message AND wire.part = part.part) \
             FROM part JOIN message ON message.number = part.message \
             WHERE message.state = 'queued' AND NOT part.sent ORDER BY part.message, part.part",
        )?;
        let rows = statement.query_map([], |row| {
            let place = (row.get::<_, i64>(0)?, row.get::<_, u32>(1)?);
            Ok((place, row.get::<_, String>(2)?, row.get::<_, [u8; 32]>(3)?, row.get::<_, Option<[u8; 16]>>(4)?))
        })?;
        let mut parts = Vec::new();
        for row in rows {
            let ((message, part), recipients, sha256, id) = row?;
            let id = id.map(MessageId::from_bytes).transpose().map_err(|_| StoreError::Corrupt("message id"))?;
            parts.push(QueuedPart {
                message: MessageNumber(message),
                part,
                recipients: serde_json::from_str(&recipients)
                    .map_err(|_| StoreError::Corrupt("list of recipients"))?,
                sha256: Sha256Digest::from_bytes(sha256),
                id,
            });
        }
        Ok(parts)
    }

    /// Returns what of a part travels; none if it was sent meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ciphertext(&self, message: MessageNumber, part: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT ciphertext FROM part WHERE message = ?1 AND part = ?2";
        let found = self.connection().query_row(sql, params![message.0, part], |row| row.get(0)).optional()?;
        Ok(found.flatten())
    }

    /// Stores an id before it is used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_id(&self, message: MessageNumber, part: u32, id: &MessageId) -> Result<(), StoreError> {
        self.connection().execute(
            "INSERT INTO wire (id, message, part) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
            params![id.as_bytes(), message.0, part],
        )?;
        Ok(())
    }

    /// Notes that the server has stored a part. Returns whether that was the last one of its message.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn part_sent(&self, message: MessageNumber, part: u32) -> Result<bool, StoreError> {
        self.transaction(|transaction| {
            transaction.execute(
                "UPDATE part SET sent = 1, ciphertext = NULL WHERE message = ?1 AND part = ?2",
                params![message.0, part],
            )?;
            let changed = transaction.execute(
                "UPDATE message SET state = 'sent' WHERE number = ?1 AND state = 'queued' \
                 AND NOT EXISTS (SELECT 1 FROM part WHERE message = ?1 AND NOT sent)",
                [message.0],
            )?;
            Ok(changed > 0)
        })
    }

    /// Notes that a message cannot be sent, and why.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fail(&self, message: MessageNumber, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE message SET state = 'failed', note = ?2 WHERE number = ?1 AND state = 'queued'";
        self.connection().execute(sql, params![message.0, why])?;
        Ok(())
    }
}
