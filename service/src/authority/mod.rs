//! Organizations: appending statements under the two-man rule, rolling records forward, reading.
//!
//! Owns: which statement may be appended, and what a pod believes of an organization's users, for how long.
//! Refuses to know: HTTP, sessions' keys, messages.
//!
//! Invariant I-10: the log is the truth. The append of an entry at a free sequence is the commit point; users' records
//! follow it.
//!
//! Invariant I-11: before an entry is appended, the records of all entries before it are durable. So at most the last
//! entry's record can be missing, and records plus the end of the log are the whole organization. Whoever finds it
//! missing writes it: records carry the sequence that made them, and the greatest wins.
//!
//! Invariant I-12: what a pod believes is never older than [`AuthoritySettings::freshness`], whoever changed it. And it refuses
//! nobody for what another pod has just let in: before a refusal it looks again.

pub mod fold;
mod read;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::limits::Limits;
use countersign_protocol::log::{Head, LogEntry};
use countersign_protocol::openpgp::Certificate;
use countersign_protocol::statement::{Change, Statement};
use countersign_protocol::two_man_rule::{Refusal, Standing, UserRecord, Verdict, check_age, judge};
use moka::future::Cache;

use crate::clock::Clock;
use crate::coalesce::{Flights, Joined};
use crate::ephemeral::Ephemeral;
use crate::openpgp::{PoolError, PublicKeyPool};
use crate::store::{Append, Registry, StoreError};
pub use fold::{Fold, Member};

/// Most clients that a statement may allow a user: places are read whole, so their number has a bound.
pub const CLIENT_LIMIT_MAX: u32 = 1_000;

/// Why a statement or a look-up fails.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The statement is refused.
    #[error("the statement is refused: {0}")]
    Refused(#[from] Refusal),
    /// The statement allows too many or too few clients.
    #[error("client_limit is from 1 to {CLIENT_LIMIT_MAX}")]
    ClientLimit,
    /// The public-key pool is full.
    #[error("the public-key pool gave no answer")]
    Pool(#[from] PoolError),
    /// The store failed.
    #[error("the registry failed")]
    Store(#[from] StoreError),
}

/// The numbers that authority works with.
#[derive(Clone, Debug)]
pub struct AuthoritySettings {
    /// How old may be what a pod believes of an organization.
    pub freshness: Duration,
    /// How many users' entries the cache of organizations may hold.
    pub cached_users: u64,
    /// Clients of a user for whom no statement says.
    pub clients_per_user: u32,
}

impl AuthoritySettings {
    /// The settings for given limits: 5 s, and a million users, which take some 200 MB.
    #[must_use]
    pub fn with_limits(limits: &Limits) -> Self {
        Self { freshness: Duration::from_secs(5), cached_users: 1_000_000, clients_per_user: limits.clients_per_user }
    }
}

/// The super-administrators' certificates, replaced when their file changes.
pub type SuperAdministrators = Arc<ArcSwap<Vec<Arc<Certificate>>>>;

/// Organizations and who is in them.
#[derive(Clone)]
pub struct Authority {
    registry: Arc<dyn Registry>,
    ephemeral: Arc<dyn Ephemeral>,
    pool: PublicKeyPool,
    clock: Arc<dyn Clock>,
    super_administrators: SuperAdministrators,
    settings: AuthoritySettings,
    organizations: Cache<OrganizationId, Arc<Organization>>,
    /// Organizations that are being loaded: many requests that find one missing load it once.
    loads: Flights<OrganizationId, Result<Option<Arc<Organization>>, Arc<StoreError>>>,
}

/// A pod's view of one organization.
#[derive(Debug)]
pub struct Organization {
    fold: RwLock<Fold>,
    /// Held while the log is read: many requests that find the view too old read it once.
    refresh: tokio::sync::Mutex<()>,
}

impl Organization {
    /// Looks at the fold. The look is short: no waiting in it.
    pub fn look<T>(&self, look: impl FnOnce(&Fold) -> T) -> T {
        look(&self.fold.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Fold) -> T) -> T {
        change(&mut self.fold.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What an accepted statement is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its place in the log and its hash.
    pub head: Head,
}

impl Authority {
    /// Puts authority together.
    #[must_use]
    pub fn new(
        registry: Arc<dyn Registry>,
        ephemeral: Arc<dyn Ephemeral>,
        pool: PublicKeyPool,
        clock: Arc<dyn Clock>,
        super_administrators: SuperAdministrators,
        settings: AuthoritySettings,
    ) -> Self {
        let weigh = |_: &OrganizationId, organization: &Arc<Organization>| {
            u32::try_from(organization.look(Fold::len)).unwrap_or(u32::MAX).saturating_add(10)
        };
        let organizations = Cache::builder().max_capacity(settings.cached_users).weigher(weigh).build();
        let loads = Flights::default();
        Self { registry, ephemeral, pool, clock, super_administrators, settings, organizations, loads }
    }

    /// Returns the pod's view of an organization, at most as old as the freshness allows; none if there is no such
    /// organization.
    ///
    /// # Errors
    /// A failure of the registry.
    pub async fn organization(&self, id: OrganizationId) -> Result<Option<Arc<Organization>>, StoreError> {
        if let Some(organization) = self.organizations.get(&id).await {
            let age = |fold: &Fold| fold.checked.distance(self.clock.now());
            if organization.look(age) > self.settings.freshness {
                let _refreshing = organization.refresh.lock().await;
                if organization.look(age) > self.settings.freshness {
                    self.read_on(id, &organization).await?;
                }
            }
            return Ok(Some(organization));
        }
        let load = || {
            let authority = self.clone();
            async move { Ok(authority.load_into_cache(id).await?) }
        };
        let loaded = match self.loads.join(id, load).await {
            // It may have been created since that load began.
            Joined::Joined(Ok(None)) => load().await,
            Joined::Joined(loaded) | Joined::Began(loaded) => loaded,
        };
        loaded.map_err(StoreError::shared)
    }

    async fn load_into_cache(&self, id: OrganizationId) -> Result<Option<Arc<Organization>>, StoreError> {
        let Some(fold) = self.load(id).await? else { return Ok(None) };
        let organization = Arc::new(Organization { fold: RwLock::new(fold), refresh: tokio::sync::Mutex::new(()) });
        // Of several that loaded it at once all the same, all share the first one's.
        Ok(Some(self.organizations.entry(id).or_insert(organization).await.into_value()))
    }

    /// Returns a user, if they are there. Looks again where this pod does not know them as active, or knows sessions of theirs
    /// only from before `since`, a sequence of the log.
    ///
    /// # Errors
    /// A failure of the registry.
    pub async fn member(&self, id: OrganizationId, user: UserId, since: u64) -> Result<Option<Member>, StoreError> {
        let Some(organization) = self.organization(id).await? else { return Ok(None) };
        let member = || organization.look(|fold| fold.member(&user).cloned());
        if !member().is_some_and(|member| member.active && member.sessions_since >= since) {
            self.look_again(id, &organization).await?;
        }
        Ok(member())
    }

    /// Reads an organization's log on, for whoever is about to refuse what the pod's view does not have: another pod may have
    /// appended it a moment ago. A reading that began after the call is enough, so that all who ask meanwhile share the next
    /// one, and there is one at a time however many ask.
    ///
    /// # Errors
    /// A failure of the registry.
    pub async fn look_again(&self, id: OrganizationId, organization: &Organization) -> Result<(), StoreError> {
        let asked = self.clock.now();
        let _refreshing = organization.refresh.lock().await;
        if organization.look(|fold| fold.checked <= asked) {
            self.read_on(id, organization).await?;
        }
        Ok(())
    }

    /// Returns how many clients a user may have.
    #[must_use]
    pub fn client_limit(&self, of_statement: Option<u32>) -> u32 {
        of_statement.unwrap_or(self.settings.clients_per_user)
    }

    /// Appends a statement to its organization's log, if the two-man rule allows it. A repeat of the identical
    /// statement is answered as the first was.
    ///
    /// Runs to its end once it has begun to append: call it from a task that no disconnect cancels.
    ///
    /// # Errors
    /// [`AuthorityError::Refused`] with the reason. After a failure the statement may or may not stand, and its
    /// submitter repeats it.
    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "submit statement", skip_all)]
    pub async fn submit(&self, statement: Statement, entry: LogEntry) -> Result<Accepted, AuthorityError> {
        if statement.change.client_limit().is_some_and(|limit| limit == 0 || limit > CLIENT_LIMIT_MAX) {
            return Err(AuthorityError::ClientLimit);
        }
        let id = statement.organization;
        let accepted = Accepted { head: Head { sequence: statement.sequence, hash: statement.hash } };

        let organization = self.organization(id).await?;
        // From here to the answer, this pod's other submissions for the organization wait; other pods race.
        let refreshing = match &organization {
            Some(organization) => Some(organization.refresh.lock().await),
            None => None,
        };
        if let Some(organization) = &organization {
            self.read_on(id, organization).await?;
            if self.stands(id, &statement, &entry, organization).await? {
                return Ok(accepted);
            }
        }
        let statement = Arc::new(statement);
        let entry = Arc::new(entry);
        let verdict = self.judge(organization.clone(), &statement, &entry).await?;
        check_age(&statement, self.clock.now())?;

        match self.registry.append(id, statement.sequence, &entry).await? {
            Append::Appended => {}
            Append::Taken => {
                drop(refreshing);
                return self.lost_the_race(id, &statement, &entry, accepted).await;
            }
        }
        self.registry.put_user(id, &verdict.record).await?;
        if let Some(organization) = &organization {
            organization.change(|fold| {
                fold.head = verdict.head;
                fold.time = verdict.time;
                fold.insert(&verdict.record);
            });
        }
        if let (Some(organization), Change::AddUser { .. }) = (&organization, &statement.change) {
            // Weighed again: the cache's bound is on users.
            self.organizations.insert(id, Arc::clone(organization)).await;
        }
        self.end_sessions_of(id, &verdict.record).await;
        Ok(accepted)
    }

    /// Tells whether the identical statement stands in the log already.
    async fn stands(
        &self,
        id: OrganizationId,
        statement: &Statement,
        entry: &LogEntry,
        organization: &Organization,
    ) -> Result<bool, StoreError> {
        if statement.sequence > organization.look(|fold| fold.head.sequence) {
            return Ok(false);
        }
        let held = self.registry.log(id, statement.sequence, 1).await?;
        Ok(held
            .first()
            .is_some_and(|(sequence, held)| *sequence == statement.sequence && held.statement == entry.statement))
    }

    async fn lost_the_race(
        &self,
        id: OrganizationId,
        statement: &Statement,
        entry: &LogEntry,
        accepted: Accepted,
    ) -> Result<Accepted, AuthorityError> {
        let Some(organization) = self.organization(id).await? else {
            return Err(Refusal::LogMoved { head: None }.into());
        };
        let _refreshing = organization.refresh.lock().await;
        self.read_on(id, &organization).await?;
        if self.stands(id, statement, entry, &organization).await? {
            return Ok(accepted);
        }
        if statement.sequence == 0 {
            return Err(Refusal::OrganizationExists.into());
        }
        Err(Refusal::LogMoved { head: Some(organization.look(|fold| fold.head)) }.into())
    }

    /// Judges a statement on the public-key pool.
    async fn judge(
        &self,
        organization: Option<Arc<Organization>>,
        statement: &Arc<Statement>,
        entry: &Arc<LogEntry>,
    ) -> Result<Verdict, AuthorityError> {
        let id = statement.organization;
        let mut standing = Standing::default();
        let mut administrators = Vec::new();
        if let Some(organization) = &organization {
            let users = organization.look(|fold| {
                standing.head = Some(fold.head);
                standing.time = fold.time;
                fold.administrators()
            });
            for user in users {
                let record = self.registry.user(id, user).await?;
                administrators.push(record.ok_or_else(|| StoreError::Corrupt(format!("no record of user {user}")))?);
            }
            standing.subject = self.registry.user(id, statement.change.user()).await?;
        }
        let super_administrators = self.super_administrators.load_full();
        let (statement, entry) = (Arc::clone(statement), Arc::clone(entry));
        let now = self.clock.now();
        let judged = self.pool.run(move || {
            for record in &administrators {
                let certificate = Certificate::parse(&record.certificate)
                    .map_err(|fault| StoreError::Corrupt(format!("certificate of user {}: {fault}", record.user)))?;
                standing.administrators.push(Arc::new(certificate));
            }
            if let (Some(organization), Some(armored)) = (&organization, statement.change.certificate())
                && let Ok(certificate) = Certificate::parse(armored)
            {
                standing.certificate_holder = organization.look(|fold| fold.holder(certificate.fingerprint()));
            }
            Ok(judge(&standing, &super_administrators, &statement, &entry, now)?)
        });
        judged.await?
    }

    /// Ends the sessions of a user whom the last statement deactivated or gave another certificate. They end by
    /// themselves within the freshness, since a session knows under which sequence it began; this is for at once.
    async fn end_sessions_of(&self, id: OrganizationId, record: &UserRecord) {
        if record.sessions_since == record.changed
            && let Err(error) = self.ephemeral.end_sessions(id, record.user).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "a user's sessions end only by themselves");
        }
    }
}
