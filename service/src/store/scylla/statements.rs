//! Every statement on the tables, once: its text, what kind it is, and so at which consistency, whether it is
//! idempotent, and whether it may be executed speculatively.
//!
//! Each names its whole partition key, so that it goes to a replica of it and touches no other node. None filters,
//! none reads several partitions, and none is executed unprepared.

use super::settings::Keyspace;

/// A statement on the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatementName {
    /// Writes a message.
    InsertMessage,
    /// Reads a message.
    SelectMessage,
    /// Writes a mailbox row.
    InsertItem,
    /// Reads a page of a day of a mailbox.
    SelectItems,
    /// Writes what a client has fetched; a batch within one partition, if it is several ids.
    InsertFetched,
    /// Reads a page of a day of what a client has fetched.
    SelectFetched,
    /// Reads which of some ids a client has fetched: points of one partition.
    SelectFetchedAmong,
    /// Appends a log entry, if its sequence is free.
    AppendEntry,
    /// Reads a page of a segment of a log.
    SelectLog,
    /// Reads who wrote an entry.
    SelectEntryWriter,
    /// Writes a user's record.
    PutUser,
    /// Reads a user's record.
    SelectUser,
    /// Reads a page of a bucket of an organization's users.
    SelectUsers,
    /// Claims a client place, if it is free.
    ClaimPlace,
    /// Reads a user's client places.
    SelectPlaces,
    /// Frees a client place, if the client has it.
    FreePlace,
    /// Reads a user's client places as the last answered conditional write left them, in nobody's way.
    LookAtPlaces,
}

/// What a statement needs of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A read of messages: at the read consistency, speculative.
    Read,
    /// A write of messages, which can be repeated: at the write consistency.
    Write,
    /// A read of what administrators decide: at the quorum that the serial consistency spans, speculative.
    QuorumRead,
    /// A write of user records, which can be repeated: likewise.
    QuorumWrite,
    /// A read that completes or refutes conditional writes: at the serial consistency.
    SerialRead,
    /// A conditional write. It is not idempotent: a repeat is answered differently.
    Conditional,
}

impl StatementName {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 17] = [
        Self::InsertMessage,
        Self::SelectMessage,
        Self::InsertItem,
        Self::SelectItems,
        Self::InsertFetched,
        Self::SelectFetched,
        Self::SelectFetchedAmong,
        Self::AppendEntry,
        Self::SelectLog,
        Self::SelectEntryWriter,
        Self::PutUser,
        Self::SelectUser,
        Self::SelectUsers,
        Self::ClaimPlace,
        Self::SelectPlaces,
        Self::FreePlace,
        Self::LookAtPlaces,
    ];

    /// Returns the name for logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::InsertMessage => "insert_message",
            Self::SelectMessage => "select_message",
            Self::InsertItem => "insert_item",
            Self::SelectItems => "select_items",
            Self::InsertFetched => "insert_fetched",
            Self::SelectFetched => "select_fetched",
            Self::SelectFetchedAmong => "select_fetched_among",
            Self::AppendEntry => "append_entry",
            Self::SelectLog => "select_log",
            Self::SelectEntryWriter => "select_entry_writer",
            Self::PutUser => "put_user",
            Self::SelectUser => "select_user",
            Self::SelectUsers => "select_users",
            Self::ClaimPlace => "claim_place",
            Self::SelectPlaces => "select_places",
            Self::FreePlace => "free_place",
            Self::LookAtPlaces => "look_at_places",
        }
    }

    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::InsertMessage | Self::InsertItem | Self::InsertFetched => Kind::Write,
            Self::SelectMessage | Self::SelectItems | Self::SelectFetched | Self::SelectFetchedAmong => Kind::Read,
            Self::PutUser => Kind::QuorumWrite,
            Self::SelectUser | Self::SelectUsers | Self::LookAtPlaces => Kind::QuorumRead,
            Self::SelectLog | Self::SelectEntryWriter | Self::SelectPlaces => Kind::SerialRead,
            Self::AppendEntry | Self::ClaimPlace | Self::FreePlace => Kind::Conditional,
        }
    }

    /// Returns how many rows come in one page.
    pub(super) const fn page_size(self) -> i32 {
        match self {
            // Rows of some 60 bytes.
            Self::SelectItems | Self::SelectFetched | Self::SelectFetchedAmong => SMALL_ROWS,
            // Rows with certificates, of some KiB each.
            _ => LARGE_ROWS,
        }
    }

    /// Returns the text. The keyspace cannot hold anything that would have to be escaped.
    pub(super) fn text(self, keyspace: &Keyspace) -> String {
        let (before, after) = match self {
            Self::InsertMessage => (
                "INSERT INTO",
                "message (organization, id, kind, sender, recipients, acknowledges, content) \
                 VALUES (?, ?, ?, ?, ?, ?, ?) USING TTL ?",
            ),
            Self::SelectMessage => (
                "SELECT kind, sender, recipients, acknowledges, content FROM",
                "message WHERE organization = ? AND id = ?",
            ),
            Self::InsertItem => (
                "INSERT INTO",
                "mailbox (organization, user, day, id, kind, sender, acknowledges, size) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?",
            ),
            Self::SelectItems => (
                "SELECT id, kind, sender, acknowledges, size FROM",
                "mailbox WHERE organization = ? AND user = ? AND day = ? AND id >= ? AND id <= ? LIMIT ?",
            ),
            Self::InsertFetched => {
                ("INSERT INTO", "fetched (organization, user, client, day, id) VALUES (?, ?, ?, ?, ?) USING TTL ?")
            }
            Self::SelectFetched => (
                "SELECT id FROM",
                "fetched WHERE organization = ? AND user = ? AND client = ? AND day = ? AND id >= ? AND id <= ? LIMIT ?",
            ),
            Self::SelectFetchedAmong => (
                "SELECT id FROM",
                "fetched WHERE organization = ? AND user = ? AND client = ? AND day = ? AND id IN ?",
            ),
            Self::AppendEntry => (
                "INSERT INTO",
                "organization_log (organization, segment, sequence, statement, signatures, writer) \
                 VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS",
            ),
            Self::SelectLog => (
                "SELECT sequence, statement, signatures FROM",
                "organization_log WHERE organization = ? AND segment = ? AND sequence >= ? LIMIT ?",
            ),
            Self::SelectEntryWriter => {
                ("SELECT writer FROM", "organization_log WHERE organization = ? AND segment = ? AND sequence = ?")
            }
            Self::PutUser => (
                "INSERT INTO",
                "user_record (organization, bucket, user, certificate, fingerprint, administrator, active, \
                 client_limit, changed, sessions_since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            ),
            Self::SelectUser => (
                "SELECT user, certificate, fingerprint, administrator, active, client_limit, changed, sessions_since \
                 FROM",
                "user_record WHERE organization = ? AND bucket = ? AND user = ?",
            ),
            Self::SelectUsers => (
                "SELECT user, certificate, fingerprint, administrator, active, client_limit, changed, sessions_since \
                 FROM",
                "user_record WHERE organization = ? AND bucket = ? AND user >= ? LIMIT ?",
            ),
            Self::ClaimPlace => (
                "INSERT INTO",
                "client_place (organization, user, place, client, since) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS",
            ),
            Self::SelectPlaces | Self::LookAtPlaces => {
                ("SELECT place, client, since FROM", "client_place WHERE organization = ? AND user = ?")
            }
            Self::FreePlace => {
                ("DELETE FROM", "client_place WHERE organization = ? AND user = ? AND place = ? IF client = ?")
            }
        };
        format!("{before} {keyspace}.{after}")
    }
}

/// Rows of a page of small rows; as many as a listing asks for at once.
pub(super) const SMALL_ROWS: i32 = 1_000;
/// Rows of a page of large rows.
pub(super) const LARGE_ROWS: i32 = 100;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn texts() -> Vec<(StatementName, String)> {
        let keyspace: Keyspace = "k".parse().unwrap();
        StatementName::ALL.into_iter().map(|name| (name, name.text(&keyspace))).collect()
    }

    #[test]
    fn all_are_listed_in_their_order_and_have_names_of_their_own() {
        let labels: BTreeSet<&str> = StatementName::ALL.into_iter().map(StatementName::label).collect();
        assert_eq!(labels.len(), StatementName::ALL.len());
        assert!(StatementName::ALL.into_iter().enumerate().all(|(index, name)| name as usize == index));
    }

    /// What the server's operators are warned of.
    #[test]
    fn no_statement_has_a_habit_that_does_not_scale() {
        for (name, text) in texts() {
            assert!(text.contains(" k."), "{text}");
            // Points of one partition may be several; partitions may not.
            let one_partition = text.replace(" AND day = ? AND id IN ?", "");
            assert!(!one_partition.contains(" IN "), "{text}");
            for habit in ["ALLOW FILTERING", "SELECT *", "COUNT(", "TOKEN(", "UNLOGGED", "null"] {
                assert!(!text.to_uppercase().contains(&habit.to_uppercase()), "{text}");
            }
            assert_eq!(text.starts_with("DELETE"), name == StatementName::FreePlace, "{text}");
        }
    }

    #[test]
    fn only_conditional_statements_are_conditional_and_what_expires_has_a_time_to_live() {
        for (name, text) in texts() {
            assert_eq!(text.contains(" IF "), name.kind() == Kind::Conditional, "{text}");
            assert_eq!(text.contains("USING TTL ?"), name.kind() == Kind::Write, "{text}");
            assert_eq!(text.contains("USING TIMESTAMP ?"), name.kind() == Kind::QuorumWrite, "{text}");
            assert_eq!(
                text.starts_with("SELECT"),
                matches!(name.kind(), Kind::Read | Kind::QuorumRead | Kind::SerialRead)
            );
        }
    }
}
