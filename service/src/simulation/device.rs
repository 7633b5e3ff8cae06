//! Clients that behave as `docs/protocol.md` asks them to: they keep what they have written until it is answered, store
//! what they read before they confirm it, and send one request at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::session_key::{SessionGrant, SessionKey, password_text};
use countersign_protocol::time::{UnixMicros, UnixMillis};
use tokio::sync::oneshot;

use super::history::Act;
use super::people::{ORGANIZATION, PEOPLE, USERS, user};
use super::pod::{Backstage, Call, Failure, Pod, Reply, SignedCall};
use super::steps::{Owner, Spawner};
use crate::session::PasswordRequest;

/// The way to the pods.
pub(crate) struct Network {
    pub(crate) backstage: Arc<Backstage>,
    pub(crate) pods: Mutex<Vec<Arc<Pod>>>,
    pub(crate) spawner: Spawner,
    /// Every signed request that ever went over the wire.
    pub(crate) recorded: Mutex<Vec<SignedCall>>,
}

impl Network {
    /// Sends something to a pod that the balancer chooses.
    async fn to_a_pod<F>(&self, serve: impl FnOnce(Arc<Pod>) -> F) -> Result<Reply, Ended>
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        {
            let pods = self.pods.lock().unwrap();
            let chosen = self.backstage.environment.below(pods.len());
            let served = serve(Arc::clone(&pods[chosen]));
            self.spawner.spawn(Owner::Pod(chosen), self.backstage.environment.now(), async move {
                // Nobody may be there any more.
                let _ = answer.send(served.await);
            });
        }
        match answered.await {
            Ok(Reply::Failed(failure)) => Err(Ended::Failed(failure)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(Ended::Lost),
        }
    }
}

/// Why a client stops what it does, for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// No answer came.
    Lost,
    /// It was refused.
    Failed(Failure),
}

/// Something written and not yet answered.
#[derive(Clone, Debug)]
struct Written {
    id: MessageId,
    recipients: Vec<UserId>,
    content: Bytes,
}

/// What a client's device holds.
pub(crate) struct Device {
    pub(crate) address: ClientAddress,
    person: usize,
    generation: u8,
    /// Whether it was ever given a session key under this address, and so is owed all messages.
    pub(crate) registered: bool,
    /// Whether another client of its user has tried to remove it.
    pub(crate) removed: bool,
    session: Option<SessionKey>,
    last_nonce: Option<Nonce>,
    last_password_nonce: Option<Nonce>,
    /// Microseconds that its clock is ahead of the true time.
    ahead: i64,
    written: VecDeque<Written>,
    pub(crate) held: BTreeMap<MessageId, Item>,
    unconfirmed: BTreeSet<MessageId>,
    count: u32,
}

/// A client of a user.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) number: usize,
    device: Arc<Mutex<Device>>,
    network: Arc<Network>,
    page: usize,
}

impl Client {
    /// Makes the client of a number; the numbers of one user's clients are `USERS` apart.
    pub(crate) fn new(number: usize, network: &Arc<Network>, page: usize) -> Self {
        let person = number % USERS;
        let device = Device {
            address: address(number, 0),
            person,
            generation: 0,
            registered: false,
            removed: false,
            session: None,
            last_nonce: None,
            last_password_nonce: None,
            // Every other clock is some seconds wrong.
            ahead: i64::try_from(number % 2 * number).unwrap() * 3_000_000 - 5_000_000,
            written: VecDeque::new(),
            held: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            count: 0,
        };
        Self { number, device: Arc::new(Mutex::new(device)), network: Arc::clone(network), page }
    }

    pub(crate) fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap()
    }

    pub(crate) fn address(&self) -> ClientAddress {
        self.device().address
    }

    /// Its program dies: what it has stored stays.
    pub(crate) fn die(&self) {
        let mut device = self.device();
        device.session = None;
        device.last_nonce = None;
    }

    /// Does something, as far as it gets.
    pub(crate) async fn act(&self, act: Act, others: &[Self]) -> Result<(), Ended> {
        let outcome = match act {
            Act::Password => self.password().await,
            Act::Send(to) => {
                self.write(to);
                self.flush().await
            }
            Act::Flush => self.flush().await,
            Act::Sync => self.sync(false).await.map(drop),
            Act::Look => self.look(false).await.map(drop),
            Act::Watch => self.sync(true).await.map(drop),
            Act::Remove(which) => self.remove(which, others).await,
        };
        match &outcome {
            Err(Ended::Failed(Failure::SessionUnknown)) => self.device().session = None,
            Err(Ended::Failed(Failure::NonceOutOfWindow(pod_now))) => self.correct_clock(*pod_now),
            _ => {}
        }
        outcome
    }

    fn now(&self) -> UnixMicros {
        UnixMicros(self.network.backstage.environment.now().0.saturating_add_signed(self.device().ahead))
    }

    fn correct_clock(&self, pod_now: UnixMicros) {
        let true_now = self.network.backstage.environment.now();
        self.device().ahead = i64::try_from(pod_now.0).unwrap() - i64::try_from(true_now.0).unwrap();
    }

    /// Gets a session key, under a new address if its old one was removed.
    async fn password(&self) -> Result<(), Ended> {
        let now = self.now();
        let (request, person) = {
            let mut device = self.device();
            if device.removed {
                device.begin_anew(self.number);
            }
            let nonce = Nonce::next(now, device.last_password_nonce);
            device.last_password_nonce = Some(nonce);
            let person = &PEOPLE.users[device.person];
            let signature = person.sign(password_text(&device.address, nonce).as_bytes(), now);
            (PasswordRequest { client: device.address, nonce, signature }, person)
        };
        let served = |pod: Arc<Pod>| async move { pod.password(request).await };
        if let Reply::Granted(encrypted) = self.network.to_a_pod(served).await? {
            let plaintext = person.decrypt(&encrypted, self.now());
            let grant: SessionGrant = serde_json::from_slice(&plaintext).unwrap();
            let mut device = self.device();
            device.session = Some(grant.key);
            device.registered = true;
        }
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, Ended> {
        let now = self.now();
        let request = {
            let mut device = self.device();
            let Some(key) = device.session.clone() else {
                return Err(Ended::Failed(Failure::SessionUnknown));
            };
            let nonce = Nonce::next(now, device.last_nonce);
            device.last_nonce = Some(nonce);
            SignedCall::new(device.address, nonce, now, &key, call, true)
        };
        self.network.recorded.lock().unwrap().push(request.clone());
        self.network.to_a_pod(|pod| async move { pod.serve(request).await }).await
    }

    /// Returns a request in this client's name that somebody made who does not have its key.
    pub(crate) fn forged(&self) -> SignedCall {
        let now = self.now();
        // As far ahead as a pod lets pass: what moved the nonce there would shut the client out.
        let nonce = Nonce::at(UnixMicros(now.0 + 20_000_000));
        let call = Call::List { limit: 1, wait: false };
        SignedCall::new(self.address(), nonce, now, &SessionKey::from_bytes([0xbb; 32]), call, false)
    }

    /// Writes a message for the users of a mask, and keeps it.
    fn write(&self, to: u8) {
        let time = self.now().to_millis();
        let mut device = self.device();
        device.count += 1;
        let recipients: Vec<UserId> = (0..USERS).filter(|number| to & (1 << number) != 0).map(user).collect();
        let content = Bytes::from(format!("message {} of {}", device.count, device.address));
        let id = message_id(&device.address, time, &recipients, &content);
        self.network.backstage.ledger().compose(id, recipients.clone(), content.clone());
        device.written.push_back(Written { id, recipients, content });
    }

    /// Sends what it has written, oldest first.
    async fn flush(&self) -> Result<(), Ended> {
        loop {
            let Some(Written { id, recipients, content }) = self.device().written.front().cloned() else {
                return Ok(());
            };
            match self.call(Call::Send { id, recipients: recipients.clone(), content: content.clone() }).await {
                Ok(_) => drop(self.device().written.pop_front()),
                Err(Ended::Failed(Failure::IdOutOfWindow)) => {
                    // Too late for this id: it gets another one.
                    let time = self.now().to_millis();
                    let mut device = self.device();
                    let id = message_id(&device.address, time, &recipients, &content);
                    self.network.backstage.ledger().compose(id, recipients, content);
                    device.written.front_mut().unwrap().id = id;
                    return Err(Ended::Failed(Failure::IdOutOfWindow));
                }
                Err(ended) => return Err(ended),
            }
        }
    }

    /// Lists, and reads and stores what it does not hold. Returns whether it was listed anything.
    async fn look(&self, wait: bool) -> Result<bool, Ended> {
        let limit = 1 + self.network.backstage.environment.below(self.page);
        let Reply::Listed(listed) = self.call(Call::List { limit, wait }).await? else { return Ok(false) };
        for item in &listed.items {
            if !self.device().held.contains_key(&item.id) {
                let content = match self.call(Call::Read(item.id)).await {
                    Ok(Reply::Content(content)) => content,
                    Err(Ended::Failed(Failure::NotFound)) => {
                        let address = self.address();
                        self.network.backstage.ledger().not_found(&address, item.id);
                        continue;
                    }
                    Err(ended) => return Err(ended),
                    Ok(_) => continue,
                };
                self.network.backstage.ledger().read(item.id, &content);
                self.device().held.insert(item.id, *item);
            }
            self.device().unconfirmed.insert(item.id);
        }
        Ok(!listed.items.is_empty())
    }

    /// Looks, and confirms what it holds; every third message it acknowledges.
    pub(crate) async fn sync(&self, wait: bool) -> Result<bool, Ended> {
        let found = self.look(wait).await?;
        let (address, unconfirmed) = {
            let device = self.device();
            (device.address, device.unconfirmed.clone())
        };
        let (acknowledged, confirmed): (Vec<MessageId>, Vec<MessageId>) = unconfirmed.into_iter().partition(|id| {
            let is_message = self.device().held.get(id).is_some_and(|item| item.kind == ItemKind::Message);
            is_message && id.as_bytes()[15] % 3 == 0
        });
        for message in acknowledged {
            let sender = self.device().held[&message].from;
            let signature = Bytes::from(format!("{address} has {message}"));
            let time = self.now().to_millis();
            let digest = Sha256Digest::of(&signature);
            let receipt = MessageId::of_receipt(&ORGANIZATION, &address.user, time, &message, &digest);
            {
                let mut ledger = self.network.backstage.ledger();
                ledger.compose(receipt, vec![sender], signature.clone());
                ledger.confirming(&address, &[message]);
            }
            self.call(Call::Acknowledge { message, receipt, signature }).await?;
            self.device().unconfirmed.remove(&message);
        }
        if !confirmed.is_empty() {
            self.network.backstage.ledger().confirming(&address, &confirmed);
            self.call(Call::Confirm(confirmed.clone())).await?;
            self.device().unconfirmed.retain(|id| !confirmed.contains(id));
        }
        Ok(found)
    }

    async fn remove(&self, which: u8, others: &[Self]) -> Result<(), Ended> {
        let of_user: Vec<&Self> = others
            .iter()
            .filter(|other| other.number % USERS == self.number % USERS && other.number != self.number)
            .collect();
        if of_user.is_empty() || self.device().session.is_none() {
            return Ok(());
        }
        let victim = of_user[usize::from(which) % of_user.len()];
        let address = {
            let mut device = victim.device();
            device.removed = true;
            device.address
        };
        self.call(Call::Remove(address)).await.map(drop)
    }

    /// Tells whether it has a session key, whether that is still good or not.
    pub(crate) fn has_session(&self) -> bool {
        self.device().session.is_some()
    }

    /// Tells whether it has written something that is not answered.
    pub(crate) fn has_written(&self) -> bool {
        !self.device().written.is_empty()
    }
}

impl Device {
    /// Its user sets it up again, as a new client.
    fn begin_anew(&mut self, number: usize) {
        self.generation += 1;
        self.address = address(number, self.generation);
        self.registered = false;
        self.removed = false;
        self.session = None;
        self.last_nonce = None;
        self.last_password_nonce = None;
        self.held.clear();
        self.unconfirmed.clear();
    }
}

fn address(number: usize, generation: u8) -> ClientAddress {
    let mut client = [generation; 16];
    // The first byte decides a client's jitter.
    client[0] = u8::try_from(number * 37 % 256).unwrap();
    client[1] = u8::try_from(number).unwrap();
    ClientAddress { organization: ORGANIZATION, user: user(number % USERS), client: ClientId::from_bytes(client) }
}

fn message_id(sender: &ClientAddress, time: UnixMillis, recipients: &[UserId], content: &Bytes) -> MessageId {
    MessageId::of_message(&ORGANIZATION, &sender.user, time, recipients, &Sha256Digest::of(content))
}
