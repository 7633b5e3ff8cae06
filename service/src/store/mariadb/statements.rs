//! Every statement on the tables, once. All are prepared, once on each connection, and each is a transaction of its own.
//!
//! They are the same with and without indices, but that pages of mailboxes name the index where it is there. Without, a
//! repeated write adds a second row, so whoever reads takes two equal rows for one; with, the index refuses it.

/// A statement on the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum StatementName {
    /// Writes a message.
    InsertMessage,
    /// Reads a message.
    SelectMessage,
    /// Writes mailbox rows: all of a message at once.
    InsertItems,
    /// Reads a page of a mailbox.
    SelectItems,
    /// Writes what a client has fetched: all at once.
    InsertFetched,
    /// Reads a page of what a client has fetched.
    SelectFetched,
    /// Reads whether a client has fetched an id.
    SelectFetchedOne,
    /// Reads which of ten ids a client has fetched.
    SelectFetchedTen,
    /// Reads which of a hundred ids a client has fetched.
    SelectFetchedHundred,
    /// Appends a log entry; refused where its sequence is taken.
    AppendEntry,
    /// Reads a page of a log.
    SelectLog,
    /// Reads who wrote an entry.
    SelectEntryWriter,
    /// Writes a user's record, unless a later one is there.
    PutUser,
    /// Reads a user's record.
    SelectUser,
    /// Reads a page of an organization's users.
    SelectUsers,
    /// Claims a client place; refused where it is taken, or the client has one.
    ClaimPlace,
    /// Reads a user's client places.
    SelectPlaces,
    /// Frees a client's place.
    FreePlace,
}

impl StatementName {
    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Self; 18] = [
        Self::InsertMessage,
        Self::SelectMessage,
        Self::InsertItems,
        Self::SelectItems,
        Self::InsertFetched,
        Self::SelectFetched,
        Self::SelectFetchedOne,
        Self::SelectFetchedTen,
        Self::SelectFetchedHundred,
        Self::AppendEntry,
        Self::SelectLog,
        Self::SelectEntryWriter,
        Self::PutUser,
        Self::SelectUser,
        Self::SelectUsers,
        Self::ClaimPlace,
        Self::SelectPlaces,
        Self::FreePlace,
    ];

    /// Returns the text for tables with their indices.
    ///
    /// Pages name the index: by what it knows of the rows, the server else reads a large mailbox from its beginning to where
    /// the page begins (`EXPLAIN` says `ref` and not `range`), which takes as long for all pages as the square of their number.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::SelectItems => {
                "SELECT id, kind, sender, acknowledges, size FROM mailbox FORCE INDEX (by_user) \
                 WHERE organization = ? AND user = ? AND id BETWEEN ? AND ? ORDER BY id LIMIT ?"
            }
            Self::SelectFetched => {
                "SELECT id FROM fetched FORCE INDEX (by_client) \
                 WHERE organization = ? AND user = ? AND client = ? AND id BETWEEN ? AND ? ORDER BY id LIMIT ?"
            }
            _ => self.text_without_indices(),
        }
    }

    /// Returns the text for tables without indices.
    pub(super) const fn text_without_indices(self) -> &'static str {
        match self {
            // A repeat leaves the row as it is. IGNORE would do so too, but would cut short what is too long.
            Self::InsertMessage => {
                "INSERT INTO message (organization, id, kind, sender, recipients, acknowledges, content) \
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE position = position"
            }
            Self::SelectMessage => {
                "SELECT kind, sender, recipients, acknowledges, content FROM message \
                 WHERE organization = ? AND id = ? LIMIT 1"
            }
            Self::InsertItems => {
                "INSERT INTO mailbox (organization, user, id, kind, sender, acknowledges, size) \
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE position = position"
            }
            Self::SelectItems => {
                "SELECT id, kind, sender, acknowledges, size FROM mailbox \
                 WHERE organization = ? AND user = ? AND id BETWEEN ? AND ? ORDER BY id LIMIT ?"
            }
            Self::InsertFetched => {
                "INSERT INTO fetched (organization, user, client, id) VALUES (?, ?, ?, ?) \
                 ON DUPLICATE KEY UPDATE position = position"
            }
            Self::SelectFetched => {
                "SELECT id FROM fetched WHERE organization = ? AND user = ? AND client = ? AND id BETWEEN ? AND ? \
                 ORDER BY id LIMIT ?"
            }
            Self::SelectFetchedOne => {
                "SELECT id FROM fetched WHERE organization = ? AND user = ? AND client = ? AND id IN (?)"
            }
            Self::SelectFetchedTen => {
                "SELECT id FROM fetched WHERE organization = ? AND user = ? AND client = ? AND id IN \
                 (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            }
            Self::SelectFetchedHundred => {
                "SELECT id FROM fetched WHERE organization = ? AND user = ? AND client = ? AND id IN \
                 (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
                 ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
                 ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
                 ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            }
            Self::AppendEntry => {
                "INSERT INTO organization_log (organization, sequence, statement, signatures, writer) \
                 VALUES (?, ?, ?, ?, ?)"
            }
            Self::SelectLog => {
                "SELECT sequence, statement, signatures FROM organization_log \
                 WHERE organization = ? AND sequence >= ? ORDER BY sequence LIMIT ?"
            }
            Self::SelectEntryWriter => "SELECT writer FROM organization_log WHERE organization = ? AND sequence = ?",
            // Assigned from left to right, so `changed` comes last: the others compare with what it was.
            Self::PutUser => {
                "INSERT INTO user_record (organization, user, certificate, fingerprint, administrator, active, \
                 client_limit, sessions_since, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE \
                 certificate = IF(VALUES(changed) > changed, VALUES(certificate), certificate), \
                 fingerprint = IF(VALUES(changed) > changed, VALUES(fingerprint), fingerprint), \
                 administrator = IF(VALUES(changed) > changed, VALUES(administrator), administrator), \
                 active = IF(VALUES(changed) > changed, VALUES(active), active), \
                 client_limit = IF(VALUES(changed) > changed, VALUES(client_limit), client_limit), \
                 sessions_since = IF(VALUES(changed) > changed, VALUES(sessions_since), sessions_since), \
                 changed = GREATEST(changed, VALUES(changed))"
            }
            Self::SelectUser => {
                "SELECT user, certificate, fingerprint, administrator, active, client_limit, sessions_since, changed \
                 FROM user_record WHERE organization = ? AND user = ?"
            }
            Self::SelectUsers => {
                "SELECT user, certificate, fingerprint, administrator, active, client_limit, sessions_since, changed \
                 FROM user_record WHERE organization = ? AND user >= ? ORDER BY user LIMIT ?"
            }
            Self::ClaimPlace => {
                "INSERT INTO client_place (organization, user, place, client, since) VALUES (?, ?, ?, ?, ?)"
            }
            Self::SelectPlaces => {
                "SELECT place, client, since FROM client_place WHERE organization = ? AND user = ? ORDER BY place"
            }
            Self::FreePlace => "DELETE FROM client_place WHERE organization = ? AND user = ? AND client = ?",
        }
    }
}

/// Ids that one statement looks for; fewer are filled up with the last one, so that there are few texts to prepare.
pub(super) const fn fetched_statement(ids: usize) -> (StatementName, usize) {
    match ids {
        0..=1 => (StatementName::SelectFetchedOne, 1),
        2..=10 => (StatementName::SelectFetchedTen, 10),
        _ => (StatementName::SelectFetchedHundred, 100),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_is_listed_once_and_needs_no_escape() {
        assert_eq!(StatementName::ALL.into_iter().collect::<BTreeSet<_>>().len(), StatementName::ALL.len());
        for name in StatementName::ALL {
            for text in [name.text(), name.text_without_indices()] {
                assert!(!text.contains(['\'', '"', ';', '*']), "{text}");
                assert!(!text.contains("IGNORE"), "{text}: it would cut short what is too long");
            }
        }
    }

    #[test]
    fn with_and_without_indices_the_same_is_asked() {
        for name in StatementName::ALL {
            let text = name.text().replace(" FORCE INDEX (by_user)", "").replace(" FORCE INDEX (by_client)", "");
            assert_eq!(text, name.text_without_indices());
        }
    }

    #[test]
    fn a_look_up_of_points_has_as_many_places_as_it_says() {
        for ids in [1, 2, 10, 11, 100] {
            let (name, places) = fetched_statement(ids);
            assert!(places >= ids);
            assert_eq!(name.text().matches('?').count(), places + 3);
        }
    }
}
