//! What a server did that it must not do: kept as it came, so that it can be shown to others.

use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::time::UnixMicros;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::{Store, StoreError, micros, signed};

/// What kind of lie it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// The log is shorter than it was.
    Rollback,
    /// The log has another entry where one is pinned.
    Fork,
    /// Entries are missing between the pinned head and what was answered.
    Withheld,
    /// An entry's signatures do not satisfy the two-man rule, or the entry is not allowed otherwise.
    TwoManRule,
    /// A listing of users differs from the log.
    Listing,
    /// A content does not fit its id.
    Content,
    /// A message that was sent to other people, or by somebody else.
    ReAddressed,
    /// A message that is not signed by who it says wrote it.
    Forged,
    /// A receipt whose signature is not its sender's.
    Receipt,
    /// Another person's log is not this one.
    SplitView,
}

impl EvidenceKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Rollback,
        Self::Fork,
        Self::Withheld,
        Self::TwoManRule,
        Self::Listing,
        Self::Content,
        Self::ReAddressed,
        Self::Forged,
        Self::Receipt,
        Self::SplitView,
    ];

    /// Returns the name, as `--json` writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Fork => "fork",
            Self::Withheld => "withheld",
            Self::TwoManRule => "two-man-rule",
            Self::Listing => "listing",
            Self::Content => "content",
            Self::ReAddressed => "re-addressed",
            Self::Forged => "forged",
            Self::Receipt => "receipt",
            Self::SplitView => "split-view",
        }
    }
}

/// A piece of evidence that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvidence {
    /// What kind.
    pub kind: EvidenceKind,
    /// What happened, in one sentence.
    pub summary: String,
    /// What was proposed, by whom it was signed or not, and what was done.
    pub details: Vec<String>,
    /// The request that it answered.
    pub request: String,
    /// The bytes, as they came.
    pub raw: Vec<u8>,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Its number in this store.
    pub number: i64,
    /// When it was first seen.
    pub time: UnixMicros,
    /// What it is.
    pub what: NewEvidence,
}

impl Store {
    /// Keeps a piece of evidence and returns its number. The same bytes of the same kind are kept once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_evidence(&self, evidence: &NewEvidence, now: UnixMicros) -> Result<i64, StoreError> {
        let NewEvidence { kind, summary, details, request, raw } = evidence;
        let digest: [u8; 32] = sha2::Sha256::new()
            .chain_update(kind.name())
            .chain_update([0])
            .chain_update(summary)
            .chain_update(Sha256Digest::of(raw).as_bytes())
            .finalize()
            .into();
        let details = serde_json::to_string(details).map_err(|_| StoreError::Corrupt("evidence"))?;
        self.transaction(|transaction| {
            transaction.execute(
                "INSERT INTO evidence (time, kind, summary, details, request, raw, digest) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (digest) DO NOTHING",
                params![signed(now.0), kind.name(), summary, details, request, raw, digest],
            )?;
            let number = "SELECT number FROM evidence WHERE digest = ?1";
            Ok(transaction.query_row(number, [digest], |row| row.get(0))?)
        })
    }

    /// Returns all evidence, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn evidence(&self) -> Result<Vec<Evidence>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(&format!("{SELECT} ORDER BY number"))?;
        let rows = statement.query_map([], |row| Ok(read(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Returns one piece of evidence.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn evidence_number(&self, number: i64) -> Result<Option<Evidence>, StoreError> {
        let connection = self.connection();
        let sql = format!("{SELECT} WHERE number = ?1");
        connection.query_row(&sql, [number], |row| Ok(read(row))).optional()?.transpose()
    }
}

const SELECT: &str = "SELECT number, time, kind, summary, details, request, raw FROM evidence";

fn read(row: &Row<'_>) -> Result<Evidence, StoreError> {
    let kind: String = row.get(2)?;
    let kind = EvidenceKind::ALL.into_iter().find(|known| known.name() == kind);
    let details: String = row.get(4)?;
    Ok(Evidence {
        number: row.get(0)?,
        time: micros(row.get(1)?),
        what: NewEvidence {
            kind: kind.ok_or(StoreError::Corrupt("kind of evidence"))?,
            summary: row.get(3)?,
            details: serde_json::from_str(&details).map_err(|_| StoreError::Corrupt("evidence"))?,
            request: row.get(5)?,
            raw: row.get(6)?,
        },
    })
}
