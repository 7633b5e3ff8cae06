//! Pods of the real service, put together without HTTP: the real delivery, sessions and authority, over simulated stores.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use countersign_protocol::digest::{Sha256Digest, content_digest};
use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::limits::Limits;
use countersign_protocol::log::LogEntry;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::request_signature::{CoveredRequest, RequestSignature, SignatureInput};
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::statement::Statement;
use countersign_protocol::time::UnixMicros;
use tokio_util::task::TaskTracker;

use super::broken::Broken;
use super::environment::{Environment, SkewedClock};
use super::ledger::{Invariant, Ledger};
use super::people::{ORGANIZATION, PEOPLE};
use super::registry::SimulatedRegistry;
use super::replicas::Replicas;
use super::valkey::SimulatedValkey;
use crate::authority::{Authority, AuthorityError, AuthoritySettings};
use crate::clock::Clock;
use crate::delivery::{
    Delivery, DeliveryError, DeliveryObserver, DeliverySettings, ListingRequest, NewMessages, Outgoing,
};
use crate::entropy::SeededEntropy;
use crate::ephemeral::Ephemeral;
use crate::openpgp::PublicKeyPool;
use crate::session::{Needs, PasswordRequest, SessionError, SessionSettings, Sessions, Signed};
use crate::store::{Mailbox, Registry};

/// Clients of a user for whom no statement says otherwise: few, so that they meet their limit.
pub(crate) const CLIENTS_PER_USER: u32 = 2;
/// How often each client's listing starts from the beginning of retention.
pub(crate) const RECONCILE_INTERVAL: Duration = Duration::from_secs(6 * 3_600);
/// How often each client's listing is a full merge.
pub(crate) const MERGE_INTERVAL: Duration = Duration::from_secs(30);

/// Stores and truth, which outlive pods.
pub(crate) struct Backstage {
    pub(crate) environment: Arc<Environment>,
    pub(crate) registry: Arc<SimulatedRegistry>,
    pub(crate) mailbox: Arc<Replicas>,
    pub(crate) valkey: Arc<SimulatedValkey>,
    pub(crate) ledger: Mutex<Ledger>,
}

impl Backstage {
    /// Looks at the truth, or adds to it.
    pub(crate) fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }
}

/// A running pod.
pub(crate) struct Pod {
    pub(crate) clock: Arc<SkewedClock>,
    sessions: Sessions,
    delivery: Delivery,
    authority: Authority,
    /// What it does in the background.
    background: TaskTracker,
    backstage: Arc<Backstage>,
}

struct Silent;

impl DeliveryObserver for Silent {}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Send { id: MessageId, recipients: Vec<UserId>, content: Bytes },
    List { limit: usize, wait: bool },
    Read(MessageId),
    Confirm(Vec<MessageId>),
    Acknowledge { message: MessageId, receipt: MessageId, signature: Bytes },
    Remove(ClientAddress),
}

/// A request under a session key, as it goes over the wire.
#[derive(Clone, Debug)]
pub(crate) struct SignedCall {
    pub(crate) input: SignatureInput,
    signature: RequestSignature,
    call: Call,
    genuine: bool,
}

impl SignedCall {
    /// Signs a call.
    pub(crate) fn new(
        client: ClientAddress,
        nonce: Nonce,
        created: UnixMicros,
        key: &SessionKey,
        call: Call,
        genuine: bool,
    ) -> Self {
        let input = SignatureInput::new(client, nonce, created.0 / 1_000_000, true);
        let body = format!("{call:?}");
        let header = content_digest(&Sha256Digest::of(body.as_bytes()));
        let signature = input.sign(&covered(&header), key);
        Self { input, signature, call, genuine }
    }
}

fn covered(content_digest: &str) -> CoveredRequest<'_> {
    CoveredRequest { method: "POST", path: "/", query: None, content_digest: Some(content_digest) }
}

/// What comes back.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Granted(Vec<u8>),
    Done,
    Listed(NewMessages),
    Content(Bytes),
    Failed(Failure),
}

/// What a client does differently for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Unavailable,
    SessionUnknown,
    /// With what the pod's clock shows.
    NonceOutOfWindow(UnixMicros),
    IdOutOfWindow,
    NotFound,
    ClientLimit,
    Refused,
}

impl Pod {
    /// Starts a pod, the `incarnation`th at its place.
    pub(crate) fn start(backstage: &Arc<Backstage>, place: usize, incarnation: u64) -> Arc<Self> {
        let clock = SkewedClock::new(&backstage.environment);
        let dyn_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let registry = Arc::clone(&backstage.registry) as Arc<dyn Registry>;
        let ephemeral = Arc::clone(&backstage.valkey) as Arc<dyn Ephemeral>;
        let limits = Limits { clients_per_user: CLIENTS_PER_USER, ..Limits::default() };
        let authority = Authority::new(
            Arc::clone(&registry),
            Arc::clone(&ephemeral),
            PublicKeyPool::inline(),
            Arc::clone(&dyn_clock),
            Arc::new(ArcSwap::from_pointee(PEOPLE.super_administrators.clone())),
            AuthoritySettings::with_limits(&limits),
        );
        let sessions = Sessions::new(
            authority.clone(),
            Arc::clone(&registry),
            Arc::clone(&ephemeral),
            PublicKeyPool::inline(),
            Arc::clone(&dyn_clock),
            Arc::new(SeededEntropy::new(seed_of(place, incarnation))),
            SessionSettings { nonce_window: limits.nonce_window, lifetime: limits.session_lifetime },
        );
        let background = TaskTracker::new();
        let delivery = Delivery::new(
            Arc::clone(&backstage.mailbox) as Arc<dyn Mailbox>,
            Arc::clone(&registry),
            ephemeral,
            dyn_clock,
            Arc::new(Silent),
            background.clone(),
            DeliverySettings {
                limits,
                reconcile_interval: RECONCILE_INTERVAL,
                merge_interval: MERGE_INTERVAL,
                poll_interval: Duration::from_secs(5),
            },
        );
        Arc::new(Self { clock, sessions, delivery, authority, background, backstage: Arc::clone(backstage) })
    }

    /// Tells whether it does something in the background.
    pub(crate) fn is_busy_in_background(&self) -> bool {
        !self.background.is_empty()
    }

    /// Gives out a session key.
    pub(crate) async fn password(&self, request: PasswordRequest) -> Reply {
        match self.sessions.password(request).await {
            Ok(encrypted) => Reply::Granted(encrypted),
            Err(error) => Reply::Failed(self.failure(&error)),
        }
    }

    /// Serves a signed request. In the order of the real routes: signature, body, nonce, and then the work.
    pub(crate) async fn serve(&self, request: SignedCall) -> Reply {
        let SignedCall { input, signature, call, genuine } = request;
        let (client, nonce) = (input.client, input.nonce);
        if genuine {
            self.backstage.ledger().attempted(&client, nonce);
        }
        // Before anything of a listing is read.
        let settled = match call {
            Call::List { .. } => self.settled(&client),
            _ => BTreeSet::new(),
        };
        let body = format!("{call:?}");
        let digest = Sha256Digest::of(body.as_bytes());
        let header = content_digest(&digest);
        let signed = Signed { input, signature, request: covered(&header), content_digest: Some(digest) };
        let verified = match self.sessions.verify(signed).await {
            Ok(verified) => verified,
            Err(error) => return Reply::Failed(self.failure(&error)),
        };
        let needs = if matches!(call, Call::List { .. }) { Needs::ListingState } else { Needs::Nothing };
        let mut caller = match self.sessions.admit(verified, body.as_bytes(), needs).await {
            Ok(caller) => caller,
            Err(error) => {
                if genuine && matches!(error, SessionError::NonceReused) {
                    self.backstage.ledger().refused(&client, nonce);
                }
                return Reply::Failed(self.failure(&error));
            }
        };
        if !genuine {
            let what = format!("a forged request in the name of {client} is admitted");
            self.backstage.ledger().violated(Invariant::NothingForged, what);
        }
        let again = if Broken::NonceFirst.is_on() {
            // It asks nobody.
            !self.backstage.ledger().admitted.insert((client, nonce))
        } else {
            self.backstage.valkey.admissions(&client, nonce) > 1
        };
        if again {
            let what = format!("nonce {nonce} of {client} is admitted again");
            self.backstage.ledger().violated(Invariant::NonceOnce, what);
        }

        let outcome = match call {
            Call::Send { id, recipients, content } => {
                let outgoing =
                    Outgoing { organization: client.organization, sender: client.user, id, recipients, content };
                self.delivery.send(outgoing).await.map(|()| {
                    self.backstage.ledger().accepted.insert(id);
                    Reply::Done
                })
            }
            Call::List { limit, wait } => {
                let request = ListingRequest {
                    client,
                    session: caller.session(),
                    state: caller.take_listing_state(),
                    limit,
                    wait: wait.then_some(Duration::from_secs(3_600)),
                };
                let patience = some_steps(self.backstage.environment.below(40));
                self.delivery.list(request, patience).await.map(|listed| {
                    // One that waited may have begun anew since: what was settled then may be more, never less.
                    self.backstage.ledger().listed(&client, &listed.items, &settled);
                    Reply::Listed(listed)
                })
            }
            Call::Read(id) => self.delivery.read(client.organization, client.user, id).await.map(Reply::Content),
            Call::Confirm(ids) => self.delivery.confirm(&client, &ids).await.map(|()| Reply::Done),
            Call::Acknowledge { message, receipt, signature } => {
                self.delivery.acknowledge(&client, message, receipt, signature).await.map(|()| {
                    self.backstage.ledger().accepted.insert(receipt);
                    Reply::Done
                })
            }
            Call::Remove(client) => {
                return match self.sessions.unregister(&client).await {
                    Ok(_) => Reply::Done,
                    Err(error) => Reply::Failed(self.failure(&error)),
                };
            }
        };
        outcome.unwrap_or_else(|error| {
            Reply::Failed(match error {
                DeliveryError::IdOutOfWindow => Failure::IdOutOfWindow,
                DeliveryError::NotFound => Failure::NotFound,
                DeliveryError::SessionEnded => Failure::SessionUnknown,
                DeliveryError::WrongId => Failure::Refused,
                DeliveryError::Store(_) | DeliveryError::Ephemeral(_) => Failure::Unavailable,
            })
        })
    }

    /// Submits a statement, and writes down what was answered.
    pub(crate) async fn submit(&self, entry: LogEntry) {
        let statement = Statement::parse(&entry.statement).unwrap();
        match self.authority.submit(statement, entry).await {
            Ok(accepted) => self.backstage.ledger().standing.push(accepted.head),
            Err(AuthorityError::Refused(_) | AuthorityError::Store(_)) => {}
            Err(error) => {
                self.backstage.ledger().violated(Invariant::OneLog, format!("a good statement is refused: {error}"));
            }
        }
    }

    /// What a client has confirmed and every read sees.
    fn settled(&self, client: &ClientAddress) -> BTreeSet<MessageId> {
        let asked = self.backstage.ledger().asked_to_confirm(client);
        asked.into_iter().filter(|id| self.backstage.mailbox.all_see_fetched(client, *id)).collect()
    }

    fn failure(&self, error: &SessionError) -> Failure {
        match error {
            SessionError::NonceOutOfWindow => Failure::NonceOutOfWindow(self.clock.now()),
            SessionError::SessionUnknown | SessionError::SignatureInvalid => Failure::SessionUnknown,
            SessionError::ClientLimit => Failure::ClientLimit,
            SessionError::NonceReused | SessionError::Encryption(_) => Failure::Refused,
            SessionError::Pool(_) | SessionError::Store(_) | SessionError::Ephemeral(_) => Failure::Unavailable,
        }
    }
}

/// Patience that lasts for some steps.
async fn some_steps(mut steps: usize) {
    poll_fn(|_| {
        if steps == 0 {
            return Poll::Ready(());
        }
        steps -= 1;
        Poll::Pending
    })
    .await;
}

/// Creates the organization, with nothing going wrong.
pub(crate) async fn found(backstage: &Backstage) {
    for (sequence, entry) in (0..).zip(&PEOPLE.first_entries) {
        backstage.registry.memory.append(ORGANIZATION, sequence, entry).await.unwrap();
    }
}

/// A number that tells sessions apart, for the seeded source of randomness.
fn seed_of(pod: usize, incarnation: u64) -> u64 {
    (u64::try_from(pod).unwrap() << 32) | incarnation
}
