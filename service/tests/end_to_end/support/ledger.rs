//! Senders that write down each 201, and the look afterwards whether anything of it is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::message_id::MessageId;
use http::Method;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::Client;
use super::gnupg::Key;
use super::http::Http;
use super::organization::Organization;
use super::time::{eventually, now_millis, random};

/// How long a request may take to be answered, whatever happens to the service's stores.
const BOUNDED: Duration = Duration::from_secs(45);
/// How many messages are read back of each client: one in so many.
const READ_ONE_IN: usize = 10;

/// What senders wrote down: each message that was answered 201, with its recipients and content.
type Sent = BTreeMap<MessageId, (Vec<UserId>, Vec<u8>)>;

/// The processes that serve now, in no order; none once all is over.
pub(crate) type Pods = watch::Receiver<Option<Vec<Http>>>;

/// What a user's senders and readers need.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) user: UserId,
    pub(crate) key: Key,
}

/// The ledger, and the senders that write in it.
pub(crate) struct Senders {
    sent: Arc<Mutex<Sent>>,
    unavailable: Arc<AtomicU64>,
    pods: watch::Sender<Option<Vec<Http>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Senders {
    /// Starts a sender for each person; each sends to all the others.
    pub(crate) fn start(organization: &Organization, people: &[Person], pods: Vec<Http>) -> Self {
        let (pods, places) = watch::channel(Some(pods));
        let (sent, unavailable) = (Arc::default(), Arc::default());
        let tasks = people
            .iter()
            .enumerate()
            .map(|(number, person)| {
                let sender = Sender {
                    address: organization.address(person.user, random()),
                    key: person.key.clone(),
                    recipients: people.iter().map(|other| other.user).filter(|user| *user != person.user).collect(),
                    sent: Arc::clone(&sent),
                    unavailable: Arc::clone(&unavailable),
                    turn: number,
                };
                tokio::spawn(sender.run(places.clone()))
            })
            .collect();
        Self { sent, unavailable, pods, tasks }
    }

    /// Says which processes serve from now on.
    pub(crate) fn move_to(&self, pods: Vec<Http>) {
        self.pods.send_replace(Some(pods));
    }

    /// Returns how many messages were answered 201 so far.
    pub(crate) fn sent(&self) -> usize {
        self.sent.lock().unwrap().len()
    }

    /// Waits until so many more messages are sent.
    pub(crate) async fn send_more(&self, number: usize) {
        let enough = self.sent() + number;
        eventually("messages are sent", async || {
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a sender ended");
            (self.sent() >= enough).then_some(())
        })
        .await;
    }

    /// Waits until a request is answered 503 that was not yet.
    pub(crate) async fn notice_trouble(&self) {
        let before = self.unavailable.load(Ordering::SeqCst);
        eventually("a request is answered 503", async || {
            (self.unavailable.load(Ordering::SeqCst) > before).then_some(())
        })
        .await;
    }

    /// Ends the senders, and asserts that a new client of each person is listed every message that was answered 201,
    /// with its content. Returns how many messages there are.
    pub(crate) async fn nothing_is_lost(self, http: &Http, organization: &Organization, people: &[Person]) -> usize {
        self.pods.send_replace(None);
        for sender in self.tasks {
            sender.await.unwrap();
        }
        let sent = self.sent.lock().unwrap().clone();
        for Person { user, key } in people {
            let client = organization.client(http, *user, key).await;
            let listed = list_all(&client).await;
            let mine = sent.iter().filter(|(_, (recipients, _))| recipients.contains(user));
            let lost: Vec<_> = mine.clone().filter(|(id, _)| !listed.contains(id)).collect();
            assert!(lost.is_empty(), "{} of {} are lost", lost.len(), sent.len());
            for (id, (_, content)) in mine.step_by(READ_ONE_IN) {
                assert_eq!(client.read(id).await, *content);
            }
        }
        sent.len()
    }
}

struct Sender {
    address: ClientAddress,
    key: Key,
    recipients: Vec<UserId>,
    sent: Arc<Mutex<Sent>>,
    unavailable: Arc<AtomicU64>,
    turn: usize,
}

impl Sender {
    /// Sends until the end. What is not answered is sent again under the same id, to the next process.
    async fn run(mut self, mut pods: Pods) {
        let mut number = 0_u64;
        let mut pending: Option<(MessageId, Vec<u8>)> = None;
        loop {
            let Some(places) = pods.borrow_and_update().clone() else { return };
            self.turn += 1;
            let http = &places[self.turn % places.len()];
            let begun = tokio::time::timeout(BOUNDED, Client::try_begin(http, self.address, &self.key)).await;
            let Some(client) = begun.expect("a request for a session key is answered in bounded time") else {
                // Killed, or without its store.
                tokio::select! {
                    changed = pods.changed() => changed.unwrap(),
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
                continue;
            };
            while pods.borrow().is_some() {
                let (id, content) = pending.take().unwrap_or_else(|| {
                    number += 1;
                    let content = format!("{} {number}", self.address.client).into_bytes();
                    (client.message_id(now_millis(), &self.recipients, &content), content)
                });
                let call = client.call(Method::POST, client.send_target(&id, &self.recipients)).body(&content);
                let answer = tokio::time::timeout(BOUNDED, client.http.try_send(call.build())).await;
                let answer = answer.expect("a message is answered in bounded time").ok();
                match answer.as_ref().map(|answer| answer.status.as_u16()) {
                    Some(201) => drop(self.sent.lock().unwrap().insert(id, (self.recipients.clone(), content))),
                    // Too old by now: its next attempt would be a new id, so a new message.
                    Some(409) => {}
                    unanswered @ (None | Some(401 | 503)) => {
                        if unanswered == Some(503) {
                            assert!(answer.is_some_and(|answer| answer.header("retry-after").is_some()));
                            self.unavailable.fetch_add(1, Ordering::SeqCst);
                        }
                        pending = Some((id, content));
                        break;
                    }
                    Some(status) => panic!("a message is answered {status}"),
                }
            }
        }
    }
}

/// Lists everything a client has not confirmed, a page at a time, confirming each.
async fn list_all(client: &Client) -> BTreeSet<MessageId> {
    let mut all = BTreeSet::new();
    loop {
        let listing = client.list().await;
        let ids: Vec<MessageId> = listing.messages.iter().map(|item| item.id).collect();
        if ids.is_empty() {
            return all;
        }
        client.confirm(&ids).await.expect(204);
        all.extend(ids);
    }
}
