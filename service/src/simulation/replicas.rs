//! A mailbox store of three replicas that agree in the end, or when they are made to.
//!
//! A write sends each of its rows to each replica, on its own. It is answered when as many have it as its consistency
//! level asks for; to the others it is under way, may be overtaken, or is lost and repaired later. A read asks as many
//! replicas as its level says, one after the other, and unites what they have. What was acknowledged reaches all replicas
//! within a bound; what was not may do so at any time, or never.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::{UnixMicros, UnixMillis};

use super::broken::Broken;
use super::environment::Environment;
use super::history::{Consistency, Fate, Part};
use super::steps::pause;
use crate::store::{IdRange, Mailbox, StoreError, StoredMessage};

const REPLICAS: usize = 3;

/// What a replica holds; there is one organization.
#[derive(Debug, Default)]
struct Replica {
    contents: BTreeMap<MessageId, StoredMessage>,
    items: BTreeMap<(UserId, [u8; 16]), Item>,
    fetched: BTreeMap<(ClientAddress, [u8; 16]), MessageId>,
}

#[derive(Clone, Debug)]
enum Row {
    Content(StoredMessage),
    Item(UserId, Item),
    Fetched(ClientAddress, MessageId),
}

impl Replica {
    fn take(&mut self, row: Row) {
        match row {
            Row::Content(message) => {
                self.contents.insert(message.id, message);
            }
            Row::Item(user, item) => {
                self.items.insert((user, *item.id.as_bytes()), item);
            }
            Row::Fetched(client, id) => {
                self.fetched.insert((client, *id.as_bytes()), id);
            }
        }
    }
}

/// A row on its way to a replica.
#[derive(Debug)]
struct UnderWay {
    row: Row,
    replica: usize,
    write: u64,
    since: UnixMicros,
    acknowledged: bool,
    /// Only a repair brings it.
    lost: bool,
}

#[derive(Debug, Default)]
struct State {
    replicas: [Replica; REPLICAS],
    stopped: [Option<UnixMicros>; REPLICAS],
    under_way: Vec<UnderWay>,
    writes: u64,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Replicas {
    environment: Arc<Environment>,
    consistency: Consistency,
    /// How long an acknowledged row may be on its way.
    propagation_max: Duration,
    state: Mutex<State>,
}

/// How long a replica is away at most, if rows must be everywhere soon.
const AWAY: Duration = Duration::from_secs(60);

impl Replicas {
    pub(crate) fn new(
        environment: &Arc<Environment>,
        consistency: Consistency,
        propagation_max: Duration,
    ) -> Arc<Self> {
        let environment = Arc::clone(environment);
        Arc::new(Self { environment, consistency, propagation_max, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn needed(&self) -> usize {
        match self.consistency {
            Consistency::One => 1,
            Consistency::Quorum => 2,
        }
    }

    /// Brings a row that a number picks to its replica, unless it is lost or the replica is away.
    pub(crate) fn deliver(&self, pick: usize) {
        let mut state = self.state();
        if state.under_way.is_empty() {
            return;
        }
        let at = pick % state.under_way.len();
        let row = &state.under_way[at];
        if !row.lost && state.stopped[row.replica].is_none() {
            state.arrive(at);
        }
    }

    /// Loses a row that a number picks.
    pub(crate) fn lose(&self, pick: usize) {
        let mut state = self.state();
        let len = state.under_way.len().max(1);
        if let Some(row) = state.under_way.get_mut(pick % len) {
            row.lost = true;
        }
    }

    /// Brings all rows to the replicas that are there; with `repair`, those that were lost too.
    pub(crate) fn deliver_all(&self, repair: bool) {
        self.state().arrive_where(|row| repair || !row.lost);
    }

    pub(crate) fn stop(&self, replica: u8) {
        self.state().stopped[usize::from(replica)] = Some(self.environment.now());
    }

    pub(crate) fn start(&self, replica: u8) {
        self.state().stopped[usize::from(replica)] = None;
    }

    pub(crate) fn start_all(&self) {
        self.state().stopped = [None; REPLICAS];
    }

    /// Keeps the bound, now that time has gone by.
    pub(crate) fn keep_bound(&self) {
        let now = self.environment.now();
        let mut state = self.state();
        let away = AWAY.max(self.propagation_max / 2);
        for stopped in &mut state.stopped {
            if stopped.is_some_and(|since| now.0 - since.0 >= u64::try_from(away.as_micros()).unwrap()) {
                *stopped = None;
            }
        }
        let bound = u64::try_from(self.propagation_max.as_micros()).unwrap();
        state.arrive_where(|row| row.acknowledged && now.0 - row.since.0 >= bound);
    }

    /// Forgets what is older than `before`, as retention does.
    pub(crate) fn expire(&self, before: UnixMillis) {
        for replica in &mut self.state().replicas {
            replica.contents.retain(|id, _| id.time() >= before);
            replica.items.retain(|_, item| item.id.time() >= before);
            replica.fetched.retain(|_, id| id.time() >= before);
        }
    }

    /// Tells whether every read from now on sees a confirmation.
    pub(crate) fn all_see_fetched(&self, client: &ClientAddress, id: MessageId) -> bool {
        let key = (*client, *id.as_bytes());
        let state = self.state();
        let holding = state.replicas.iter().filter(|replica| replica.fetched.contains_key(&key)).count();
        holding + self.needed() > REPLICAS
    }

    /// Tells whether any replica has a row of a message.
    pub(crate) fn any_has_item(&self, user: UserId, id: MessageId) -> bool {
        let key = (user, *id.as_bytes());
        self.state().replicas.iter().any(|replica| replica.items.contains_key(&key))
    }

    async fn write(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        let fate = self.environment.take_fate(Part::Mailbox);
        pause().await;
        if fate == Some(Fate::RequestLost) {
            return Err(StoreError::Timeout);
        }
        let write = self.state().send(&rows, self.environment.now());
        pause().await;
        if fate == Some(Fate::Late) {
            return Err(StoreError::Timeout);
        }
        // Those that answer first are any of those that are there.
        let first = self.environment.below(REPLICAS);
        if !self.state().reach(write, first, self.needed()) {
            return Err(StoreError::Unavailable("too few replicas are there".into()));
        }
        if fate == Some(Fate::ReplyLost) {
            return Err(StoreError::Timeout);
        }
        for row in &mut self.state().under_way {
            row.acknowledged |= row.write == write;
        }
        pause().await;
        Ok(())
    }

    /// Reads from as many replicas as needed and unites what they have, by key.
    async fn read<K: Ord + Send, V: Clone + Send>(
        &self,
        look: impl Fn(&Replica) -> Vec<(K, V)> + Send,
        row: impl Fn(&V) -> Row + Send,
    ) -> Result<BTreeMap<K, V>, StoreError> {
        let fate = self.environment.take_fate(Part::Mailbox);
        pause().await;
        if matches!(fate, Some(Fate::RequestLost | Fate::Late)) {
            return Err(StoreError::Timeout);
        }
        let mut united = BTreeMap::new();
        let mut asked = Vec::new();
        let first = self.environment.below(REPLICAS);
        let mut others = (first..first + REPLICAS).map(|number| number % REPLICAS);
        while asked.len() < self.needed() {
            let Some(number) = others.next() else {
                return Err(StoreError::Unavailable("too few replicas are there".into()));
            };
            if self.state().stopped[number].is_some() {
                continue;
            }
            asked.push(number);
            united.extend(look(&self.state().replicas[number]));
            pause().await;
        }
        if fate == Some(Fate::ReplyLost) {
            return Err(StoreError::Timeout);
        }
        // Before a quorum's read is answered, its replicas have what it found; as databases of this kind do.
        if self.consistency == Consistency::Quorum {
            for row in united.values().map(&row) {
                for number in &asked {
                    self.state().replicas[*number].take(row.clone());
                }
            }
        }
        Ok(united)
    }
}

impl State {
    /// Puts rows on their way to all replicas.
    fn send(&mut self, rows: &[Row], since: UnixMicros) -> u64 {
        self.writes += 1;
        let write = self.writes;
        for row in rows {
            for replica in 0..REPLICAS {
                let row = row.clone();
                self.under_way.push(UnderWay { row, replica, write, since, acknowledged: false, lost: false });
            }
        }
        write
    }

    /// Brings all rows of a write to as many replicas as needed. Tells whether there were so many.
    fn reach(&mut self, write: u64, first: usize, needed: usize) -> bool {
        let there = (first..first + REPLICAS).map(|number| number % REPLICAS);
        let there: Vec<usize> = there.filter(|number| self.stopped[*number].is_none()).take(needed).collect();
        self.arrive_where(|row| row.write == write && there.contains(&row.replica));
        there.len() == needed
    }

    fn arrive(&mut self, at: usize) {
        let UnderWay { row, replica, .. } = self.under_way.remove(at);
        self.replicas[replica].take(row);
    }

    fn arrive_where(&mut self, which: impl Fn(&UnderWay) -> bool) {
        let stopped = self.stopped;
        let arrives = |row: &UnderWay| stopped[row.replica].is_none() && which(row);
        let (arriving, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.under_way).into_iter().partition(|row| arrives(row));
        self.under_way = rest;
        for UnderWay { row, replica, .. } in arriving {
            self.replicas[replica].take(row);
        }
    }
}

#[async_trait]
impl Mailbox for Replicas {
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
        let content = vec![Row::Content(message.clone())];
        let items = message.recipients.iter().map(|user| Row::Item(*user, message.item())).collect();
        let (first, second) = if Broken::ContentLast.is_on() { (items, content) } else { (content, items) };
        self.write(first).await?;
        self.write(second).await
    }

    async fn message(&self, _: OrganizationId, id: MessageId) -> Result<Option<StoredMessage>, StoreError> {
        let look = |replica: &Replica| replica.contents.get(&id).map(|held| (id, held.clone())).into_iter().collect();
        Ok(self.read(look, |held| Row::Content(held.clone())).await?.remove(&id))
    }

    async fn items(
        &self,
        _: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let look = |replica: &Replica| {
            if range.is_empty() {
                return Vec::new();
            }
            let rows = replica.items.range((user, range.first_bytes())..=(user, range.last_bytes()));
            rows.take(limit).map(|((_, id), item)| (*id, *item)).collect()
        };
        let items = self.read(look, |item| Row::Item(user, *item)).await?;
        Ok(items.into_values().take(limit).collect())
    }

    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
        self.write(ids.iter().map(|id| Row::Fetched(*client, *id)).collect()).await
    }

    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        let look = |replica: &Replica| {
            if range.is_empty() {
                return Vec::new();
            }
            let rows = replica.fetched.range((*client, range.first_bytes())..=(*client, range.last_bytes()));
            rows.take(limit).map(|((_, id), held)| (*id, *held)).collect()
        };
        let ids = self.read(look, |id| Row::Fetched(*client, *id)).await?;
        Ok(ids.into_values().take(limit).collect())
    }

    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        let look = |replica: &Replica| {
            let held = ids.iter().map(|id| (*client, *id.as_bytes()));
            held.filter_map(|key| replica.fetched.get(&key).map(|id| (key.1, *id))).collect()
        };
        Ok(self.read(look, |id| Row::Fetched(*client, *id)).await?.into_values().collect())
    }
}
