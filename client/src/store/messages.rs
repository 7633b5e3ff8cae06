//! Messages as people see them, and how what arrives becomes one.

use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::UserId;
use countersign_protocol::log::Head;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMicros;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Store, StoreError, micros, signed, unsigned};
use crate::envelope::ConversationId;

/// A message's number in this store: short, so that a person can type it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageNumber(pub i64);

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// It is being signed and encrypted; a run that ends here leaves nothing.
    Preparing,
    /// It is in the outbox.
    Queued,
    /// The server has stored it for every recipient.
    Sent,
    /// It cannot be sent; the note says why.
    Failed,
    /// Parts of it are missing yet.
    Incomplete,
    /// It is here and not opened: GnuPG could not, the note says why. The next run tries again.
    Sealed,
    /// It is signed by its sender, and was sent to exactly these people.
    Verified,
    /// It is signed by its sender, without an envelope: made by hand, with other tools.
    Plain,
    /// Nobody signed it, or nobody who is known. It may be by anyone.
    Unverified,
    /// It says of itself what is not true; the note says what. Kept, and not shown as a message.
    Refused,
}

impl MessageState {
    const ALL: [Self; 10] = [
        Self::Preparing,
        Self::Queued,
        Self::Sent,
        Self::Failed,
        Self::Incomplete,
        Self::Sealed,
        Self::Verified,
        Self::Plain,
        Self::Unverified,
        Self::Refused,
    ];

    /// Returns the name, as `--json` writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
            Self::Sealed => "sealed",
            Self::Verified => "verified",
            Self::Plain => "plain",
            Self::Unverified => "unverified",
            Self::Refused => "refused",
        }
    }

    fn of(name: &str) -> Result<Self, StoreError> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or(StoreError::Corrupt("message state"))
    }
}

/// A recipient of a message, and whether it reached them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// Who.
    pub user: UserId,
    /// Whether they signed receipts for all of it. Known of what this user sent.
    pub received: bool,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredMessage {
    /// Its number here.
    pub number: MessageNumber,
    /// Who wrote it.
    pub sender: UserId,
    /// The sender's name for it.
    pub name: Uuid,
    /// The conversation.
    pub conversation: ConversationId,
    /// To whom it was sent.
    pub recipients: Vec<Recipient>,
    /// When it was written, in Unix microseconds.
    #[serde(serialize_with = "rfc3339")]
    pub time: UnixMicros,
    /// Its media type.
    pub content_type: String,
    /// What a file is called.
    pub file_name: Option<String>,
    /// Bytes of the content.
    pub size: u64,
    /// How many parts it travels in.
    pub parts: u32,
    /// How many of them are here, or were sent.
    pub parts_done: u32,
    /// SHA-256 of the whole of a split file.
    pub sha256: Option<Sha256Digest>,
    /// Whether this user wrote it.
    pub outgoing: bool,
    /// How far it has come.
    pub state: MessageState,
    /// What there is to say about it.
    pub note: Option<String>,
    /// Whether it was read.
    pub seen: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
pub(crate) fn rfc3339<S: serde::Serializer>(time: &UnixMicros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConversationSummary {
    /// Which one.
    pub conversation: ConversationId,
    /// Everyone who wrote or got a message of it.
    pub people: Vec<UserId>,
    /// The time of its last message.
    #[serde(serialize_with = "rfc3339")]
    pub last: UnixMicros,
    /// How many messages it has.
    pub messages: u64,
    /// How many were not read.
    pub unseen: u64,
}

/// What is known of a message that arrives, whatever part of it arrives.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Who wrote it.
    pub sender: UserId,
    /// The sender's name for it.
    pub name: Uuid,
    /// The conversation.
    pub conversation: ConversationId,
    /// To whom it was sent.
    pub recipients: Vec<UserId>,
    /// When it was written.
    pub time: UnixMicros,
    /// Its media type.
    pub content_type: String,
    /// What a file is called.
    pub file_name: Option<String>,
    /// Bytes of the whole content.
    pub size: u64,
    /// How many parts it travels in.
    pub parts: u32,
    /// SHA-256 of the whole of a split file.
    pub sha256: Option<Sha256Digest>,
    /// Whether this user wrote it, at another client.
    pub outgoing: bool,
    /// How far it will have come when all parts are here.
    pub state: MessageState,
    /// What there is to say about it.
    pub note: Option<String>,
    /// Where the organization's log was for its sender.
    pub log: Option<Head>,
}

/// One part that arrives.
#[derive(Clone, Debug)]
pub struct Receiving {
    /// The message that it is of.
    pub message: Incoming,
    /// Which part, from 0.
    pub part: u32,
    /// The id that it travelled under.
    pub id: MessageId,
    /// SHA-256 of what travelled.
    pub ciphertext_sha256: Sha256Digest,
    /// What travelled, if it is needed yet.
    pub ciphertext: Option<Vec<u8>>,
    /// What was in it, if it could be opened.
    pub content: Option<Vec<u8>>,
    /// Whether its sender is owed a receipt.
    pub acknowledge: bool,
}

/// A part that is here and not opened.
#[derive(Clone, Debug)]
pub struct SealedPart {
    /// The message that stands for it.
    pub number: MessageNumber,
    /// Who sent it, as the server says.
    pub sender: UserId,
    /// The id that it travelled under.
    pub id: MessageId,
    /// What travelled.
    pub ciphertext: Vec<u8>,
}

impl Store {
    /// Stores a part that arrived, with the receipt that is owed for it. Returns its message if it is new; none if the
    /// part, or the same content from the same sender, is here already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn receive(&self, receiving: &Receiving, now: UnixMicros) -> Result<Option<MessageNumber>, StoreError> {
        self.transaction(|transaction| receive(transaction, receiving, now))
    }

    /// Puts what was opened in the place of what stood for it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_sealed(
        &self,
        sealed: MessageNumber,
        receiving: &Receiving,
        now: UnixMicros,
    ) -> Result<Option<MessageNumber>, StoreError> {
        self.transaction(|transaction| {
            let ids: Vec<[u8; 16]> = {
                let mut statement = transaction.prepare("SELECT id FROM wire WHERE message = ?1")?;
                let rows = statement.query_map([sealed.0], |row| row.get(0))?;
                rows.collect::<Result<_, _>>()?
            };
            transaction.execute("DELETE FROM message WHERE number = ?1 AND state = 'sealed'", [sealed.0])?;
            let number = receive(transaction, receiving, now)?;
            let place = place_of(transaction, &receiving.sender_bytes(), &receiving.ciphertext_sha256)?;
            if let Some((message, part)) = place {
                for id in ids {
                    transaction.execute(
                        "INSERT INTO wire (id, message, part) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
                        params![id, message, part],
                    )?;
                }
            }
            Ok(number)
        })
    }

    /// Returns the parts that are here and not opened, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sealed_parts(&self) -> Result<Vec<SealedPart>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(
            "SELECT message.number, message.sender, min(wire.id), part.ciphertext \
             FROM message JOIN part ON part.message = message.number JOIN wire ON wire.message = message.number \
             WHERE message.state = 'sealed' AND part.ciphertext IS NOT NULL \
             GROUP BY message.number ORDER BY message.number",
        )?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, [u8; 16]>(2)?, row.get(3)?))
        })?;
        let mut parts = Vec::new();
        for row in rows {
            let (number, sender, id, ciphertext) = row?;
            let id = MessageId::from_bytes(id).map_err(|_| StoreError::Corrupt("message id"))?;
            parts.push(SealedPart {
                number: MessageNumber(number),
                sender: UserId::from_bytes(sender),
                id,
                ciphertext,
            });
        }
        Ok(parts)
    }

    /// Tells whether something that the server lists is held here, as a message or as a receipt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn holds(&self, id: &MessageId) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM wire WHERE id = ?1) OR EXISTS (SELECT 1 FROM receipt WHERE id = ?1)";
        Ok(self.connection().query_row(sql, [id.as_bytes()], |row| row.get(0))?)
    }

    /// Notes that a content was refused, so that waiting for what is new does not end with it again and again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_refused(&self, id: &MessageId) -> Result<(), StoreError> {
        self.connection().execute("INSERT OR IGNORE INTO refused (id) VALUES (?1)", [id.as_bytes()])?;
        Ok(())
    }

    /// Tells whether a content was refused.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn was_refused(&self, id: &MessageId) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM refused WHERE id = ?1)";
        Ok(self.connection().query_row(sql, [id.as_bytes()], |row| row.get(0))?)
    }

    /// Returns one message.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn message(&self, number: MessageNumber) -> Result<Option<StoredMessage>, StoreError> {
        let connection = self.connection();
        let sql = format!("{SELECT} WHERE number = ?1 AND state != 'preparing'");
        let found = connection.query_row(&sql, [number.0], |row| Ok(read(&connection, row))).optional()?;
        found.transpose()
    }

    /// Returns the message that a part travelled of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn message_by_id(&self, id: &MessageId) -> Result<Option<StoredMessage>, StoreError> {
        let number: Option<i64> = self
            .connection()
            .query_row("SELECT message FROM wire WHERE id = ?1", [id.as_bytes()], |row| row.get(0))
            .optional()?;
        number.map_or(Ok(None), |number| self.message(MessageNumber(number)))
    }

    /// Returns messages, oldest first: at most `limit` of the newest, of one conversation or of all, perhaps only those
    /// before a number, perhaps only what arrived and was not read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn messages(
        &self,
        conversation: Option<ConversationId>,
        before: Option<MessageNumber>,
        unseen: bool,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let connection = self.connection();
        let sql = format!(
            "{SELECT} WHERE state != 'preparing' AND (?1 IS NULL OR conversation = ?1) AND (?2 IS NULL OR number < ?2) \
             AND (NOT ?3 OR (NOT seen AND NOT outgoing)) ORDER BY number DESC LIMIT ?4"
        );
        let mut statement = connection.prepare(&sql)?;
        let conversation = conversation.map(|conversation| conversation.0.into_bytes());
        let before = before.map(|number| number.0);
        let rows =
            statement.query_map(params![conversation, before, unseen, limit], |row| Ok(read(&connection, row)))?;
        let mut messages: Vec<StoredMessage> = rows.map(|row| row?).collect::<Result<_, _>>()?;
        messages.reverse();
        Ok(messages)
    }

    /// Returns all conversations, the one with the newest message first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn conversations(&self) -> Result<Vec<ConversationSummary>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(
            "SELECT conversation, max(time), count(*), sum(NOT seen AND NOT outgoing), \
                    group_concat(DISTINCT lower(hex(sender))), group_concat(recipients, '') \
             FROM message WHERE state NOT IN ('preparing', 'refused') GROUP BY conversation ORDER BY max(time) DESC",
        )?;
        let rows = statement.query_map([], |row| {
            let numbers = (row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?);
            Ok((row.get::<_, [u8; 16]>(0)?, numbers, row.get::<_, String>(4)?, row.get::<_, String>(5)?))
        })?;
        let mut conversations = Vec::new();
        for row in rows {
            let (conversation, (last, messages, unseen), senders, recipients) = row?;
            let senders = senders.split(',').filter_map(|hex| Uuid::try_parse(hex).ok()).map(UserId::from);
            let mut people: Vec<UserId> = senders.collect();
            // Several JSON lists, one after the other.
            for list in serde_json::Deserializer::from_str(&recipients).into_iter::<Vec<UserId>>() {
                people.extend(list.map_err(|_| StoreError::Corrupt("list of recipients"))?);
            }
            people.sort_unstable();
            people.dedup();
            conversations.push(ConversationSummary {
                conversation: ConversationId(Uuid::from_bytes(conversation)),
                people,
                last: micros(last),
                messages: unsigned(messages),
                unseen: unsigned(unseen),
            });
        }
        Ok(conversations)
    }

    /// Marks a message as read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn mark_seen(&self, number: MessageNumber) -> Result<(), StoreError> {
        self.connection().execute("UPDATE message SET seen = 1 WHERE number = ?1 AND NOT seen", [number.0])?;
        Ok(())
    }

    /// Returns the content of one part of a message, from 0; none if it is not here or not opened.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn content(&self, number: MessageNumber, part: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT content FROM part WHERE message = ?1 AND part = ?2";
        let content = self.connection().query_row(sql, params![number.0, part], |row| row.get(0)).optional()?;
        Ok(content.flatten())
    }
}

impl Receiving {
    fn sender_bytes(&self) -> [u8; 16] {
        *self.message.sender.as_bytes()
    }
}

/// Finds the part that a sender's ciphertext is.
fn place_of(
    transaction: &Transaction<'_>,
    sender: &[u8; 16],
    sha256: &Sha256Digest,
) -> Result<Option<(i64, u32)>, StoreError> {
    let sql = "SELECT message, part FROM part WHERE sender = ?1 AND ciphertext_sha256 = ?2";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    Ok(transaction.query_row(sql, params![sender, sha256.as_bytes()], read).optional()?)
}

fn receive(
    transaction: &Transaction<'_>,
    receiving: &Receiving,
    now: UnixMicros,
) -> Result<Option<MessageNumber>, StoreError> {
    let sender = receiving.sender_bytes();
    let insert_wire = |message: i64, part: u32| {
        let sql = "INSERT INTO wire (id, message, part) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING";
        transaction.execute(sql, params![receiving.id.as_bytes(), message, part])
    };
    // The same content by the same sender: sent again under another id.
    if let Some((message, part)) = place_of(transaction, &sender, &receiving.ciphertext_sha256)? {
        insert_wire(message, part)?;
        return Ok(None);
    }
    let message = message_for(transaction, receiving, now)?;
    transaction.execute(
        "INSERT INTO part (message, part, sender, ciphertext_sha256, ciphertext, content, sent) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)",
        params![
            message,
            receiving.part,
            sender,
            receiving.ciphertext_sha256.as_bytes(),
            receiving.ciphertext,
            receiving.content
        ],
    )?;
    insert_wire(message, receiving.part)?;
    transaction.execute(
        "UPDATE message SET state = ?2 WHERE number = ?1 AND state = 'incomplete' \
         AND parts = (SELECT count(*) FROM part WHERE message = ?1)",
        params![message, receiving.message.state.name()],
    )?;
    if receiving.acknowledge {
        transaction.execute(
            "INSERT INTO acknowledgement (of, sender, sha256, state) VALUES (?1, ?2, ?3, 'due') \
             ON CONFLICT (of) DO NOTHING",
            params![receiving.id.as_bytes(), sender, receiving.ciphertext_sha256.as_bytes()],
        )?;
    }
    Ok(Some(MessageNumber(message)))
}

/// Finds the message that a part is of, or makes it.
fn message_for(transaction: &Transaction<'_>, receiving: &Receiving, now: UnixMicros) -> Result<i64, StoreError> {
    let Receiving { message, part, ciphertext_sha256, .. } = receiving;
    let sender = receiving.sender_bytes();
    let recipients = serde_json::to_string(&message.recipients).map_err(|_| StoreError::Corrupt("recipients"))?;
    let whole = message.sha256.map(|sha256| *sha256.as_bytes());
    // Another part of it: all parts say the same of the whole.
    let known: Option<i64> = transaction
        .query_row(
            "SELECT number FROM message WHERE sender = ?1 AND name = ?2 AND parts = ?3 AND size = ?4 \
             AND sha256 IS ?5 AND recipients = ?6 \
             AND NOT EXISTS (SELECT 1 FROM part WHERE message = number AND part = ?7)",
            params![sender, message.name.as_bytes(), message.parts, signed(message.size), whole, recipients, part],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(number) = known {
        return Ok(number);
    }
    // A name that its sender uses twice is no reason to drop anything: the second gets one of its own.
    let taken: bool = transaction.query_row(
        "SELECT EXISTS (SELECT 1 FROM message WHERE sender = ?1 AND name = ?2)",
        params![sender, message.name.as_bytes()],
        |row| row.get(0),
    )?;
    let name = if taken { name_of_ciphertext(ciphertext_sha256) } else { message.name };
    let state = if message.parts > 1 { MessageState::Incomplete } else { message.state };
    transaction.execute(
        "INSERT INTO message (sender, name, conversation, recipients, time, content_type, file_name, size, parts, \
                              sha256, outgoing, state, note, seen, stored) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?11, ?14)",
        params![
            sender,
            name.as_bytes(),
            message.conversation.0.as_bytes(),
            recipients,
            signed(message.time.0),
            message.content_type,
            message.file_name,
            signed(message.size),
            message.parts,
            whole,
            message.outgoing,
            state.name(),
            message.note,
            signed(now.0),
        ],
    )?;
    Ok(transaction.last_insert_rowid())
}

/// Names a message that has no name of its own.
#[must_use]
pub(crate) fn name_of_ciphertext(sha256: &Sha256Digest) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(sha256.as_bytes().first_chunk::<16>().expect("32 bytes begin with 16"));
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

const SELECT: &str = "SELECT number, sender, name, conversation, recipients, time, content_type, file_name, size, parts, \
                      sha256, outgoing, state, note, seen, \
                      (SELECT count(*) FROM part WHERE message = number AND sent) FROM message";

fn read(connection: &Connection, row: &Row<'_>) -> Result<StoredMessage, StoreError> {
    let number: i64 = row.get(0)?;
    let recipients: String = row.get(4)?;
    let recipients: Vec<UserId> =
        serde_json::from_str(&recipients).map_err(|_| StoreError::Corrupt("list of recipients"))?;
    let parts: u32 = row.get(9)?;
    let outgoing: bool = row.get(11)?;
    let received = if outgoing { received_by(connection, number, parts)? } else { Vec::new() };
    let recipients =
        recipients.into_iter().map(|user| Recipient { user, received: received.contains(&user) }).collect();
    let state: String = row.get(12)?;
    let sha256: Option<[u8; 32]> = row.get(10)?;
    Ok(StoredMessage {
        number: MessageNumber(number),
        sender: UserId::from_bytes(row.get(1)?),
        name: Uuid::from_bytes(row.get(2)?),
        conversation: ConversationId(Uuid::from_bytes(row.get(3)?)),
        recipients,
        time: micros(row.get(5)?),
        content_type: row.get(6)?,
        file_name: row.get(7)?,
        size: unsigned(row.get(8)?),
        parts,
        parts_done: row.get(15)?,
        sha256: sha256.map(Sha256Digest::from_bytes),
        outgoing,
        state: MessageState::of(&state)?,
        note: row.get(13)?,
        seen: row.get(14)?,
    })
}

/// Finds who has signed receipts for every part.
fn received_by(connection: &Connection, number: i64, parts: u32) -> Result<Vec<UserId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT receipt.recipient FROM wire JOIN receipt ON receipt.of = wire.id AND receipt.state = 'good' \
         WHERE wire.message = ?1 GROUP BY receipt.recipient HAVING count(DISTINCT wire.part) >= ?2",
    )?;
    let rows = statement.query_map(params![number, parts], |row| Ok(UserId::from_bytes(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
