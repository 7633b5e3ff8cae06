//! Reading organizations: loading a view, reading the log on, rolling records forward, and pages for clients.

use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::log::{Head, LogEntry};
use countersign_protocol::statement::Statement;
use countersign_protocol::two_man_rule::{UserRecord, apply};

use super::{Authority, Fold, Organization};
use crate::store::StoreError;

/// Records or entries that one read asks for.
const PAGE: usize = 500;

impl Authority {
    /// Reads a page of users' records and the head that they belong to; none if there is no such organization.
    ///
    /// # Errors
    /// A failure of the registry.
    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "list users", skip_all)]
    pub async fn users(
        &self,
        id: OrganizationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Option<(Head, Vec<UserRecord>)>, StoreError> {
        let Some(organization) = self.organization(id).await? else { return Ok(None) };
        // The head is read first: records may be newer than it, never older.
        let head = organization.look(|fold| fold.head);
        Ok(Some((head, self.registry.users(id, after, limit).await?)))
    }

    /// Reads a user's record.
    ///
    /// # Errors
    /// A failure of the registry.
    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "read user", skip_all)]
    pub async fn record(&self, id: OrganizationId, user: UserId) -> Result<Option<UserRecord>, StoreError> {
        if self.organization(id).await?.is_none() {
            return Ok(None);
        }
        self.registry.user(id, user).await
    }

    /// Reads up to `limit` log entries from `first` on, and the head; none if there is no such organization.
    ///
    /// # Errors
    /// A failure of the registry.
    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "read log", skip_all)]
    pub async fn log(
        &self,
        id: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<Option<(Head, Vec<LogEntry>)>, StoreError> {
        let Some(organization) = self.organization(id).await? else { return Ok(None) };
        let entries = self.registry.log(id, first, limit).await?;
        let mut head = organization.look(|fold| fold.head);
        // The log may have grown since the view was made: the head is never behind the entries that come with it.
        if let Some((sequence, entry)) = entries.last()
            && *sequence > head.sequence
        {
            head = Head { sequence: *sequence, hash: parse(*sequence, entry)?.hash };
        }
        Ok(Some((head, entries.into_iter().map(|(_, entry)| entry).collect())))
    }

    /// Loads an organization from its records and the end of its log; none if there is none.
    pub(super) async fn load(&self, id: OrganizationId) -> Result<Option<Fold>, StoreError> {
        let checked = self.clock.now();
        let mut records = Vec::new();
        let mut after = None;
        loop {
            let page = self.registry.users(id, after, PAGE).await?;
            let last_page = page.len() < PAGE;
            after = page.last().map(|record| record.user);
            records.extend(page);
            if last_page {
                break;
            }
        }
        let newest = records.iter().map(|record| record.changed).max().unwrap_or(0);
        let Some((sequence, entry)) = self.registry.log(id, newest, 1).await?.into_iter().next() else {
            if records.is_empty() {
                return Ok(None);
            }
            return Err(StoreError::Corrupt(format!("organization {id} has records, but no log entry {newest}")));
        };
        let statement = parse(sequence, &entry)?;
        let mut fold = Fold::new(Head { sequence, hash: statement.hash }, statement.time, checked);
        for record in &records {
            fold.insert(record);
        }
        if records.is_empty() {
            // A pod died between the first append and its record.
            fold.insert(&self.roll_forward(id, &statement).await?);
        }
        self.read_log_into(id, &mut fold).await?;
        Ok(Some(fold))
    }

    /// Reads the log from the view's head on. The caller holds the organization's refresh lock.
    pub(super) async fn read_on(&self, id: OrganizationId, organization: &Organization) -> Result<(), StoreError> {
        let mut read = organization.look(|fold| Fold::new(fold.head, fold.time, self.clock.now()));
        let records = self.read_log_into(id, &mut read).await?;
        organization.change(|fold| {
            for record in &records {
                fold.insert(record);
            }
            (fold.head, fold.time, fold.checked) = (read.head, read.time, read.checked);
        });
        Ok(())
    }

    /// Reads entries after the fold's head into it, rolls their records forward, and returns these.
    async fn read_log_into(&self, id: OrganizationId, fold: &mut Fold) -> Result<Vec<UserRecord>, StoreError> {
        let mut records = Vec::new();
        loop {
            let entries = self.registry.log(id, fold.head.sequence + 1, PAGE).await?;
            let last_page = entries.len() < PAGE;
            for (sequence, entry) in entries {
                if sequence != fold.head.sequence + 1 {
                    return Err(StoreError::Corrupt(format!("organization {id} has a gap before {sequence}")));
                }
                let statement = parse(sequence, &entry)?;
                let record = self.roll_forward(id, &statement).await?;
                fold.insert(&record);
                fold.head = Head { sequence, hash: statement.hash };
                fold.time = statement.time;
                records.push(record);
            }
            if last_page {
                return Ok(records);
            }
        }
    }

    /// Returns the record that a statement of the log made, or a later one; writes it where it is missing.
    async fn roll_forward(&self, id: OrganizationId, statement: &Statement) -> Result<UserRecord, StoreError> {
        let held = self.registry.user(id, statement.change.user()).await?;
        if let Some(held) = &held
            && held.changed >= statement.sequence
        {
            return Ok(held.clone());
        }
        let record = apply(statement, held.as_ref()).map_err(|refusal| {
            StoreError::Corrupt(format!(
                "entry {} of organization {id} cannot be applied: {refusal}",
                statement.sequence
            ))
        })?;
        tracing::warn!(sequence = statement.sequence, "a user's record is behind the log; it is rolled forward");
        self.registry.put_user(id, &record).await?;
        self.end_sessions_of(id, &record).await;
        Ok(record)
    }
}

fn parse(sequence: u64, entry: &LogEntry) -> Result<Statement, StoreError> {
    Statement::parse(&entry.statement)
        .map_err(|error| StoreError::Corrupt(format!("log entry {sequence} is no statement: {error}")))
}
