//! Authentication of requests: what is accepted, what is refused, and that a refusal moves no nonce.

use std::num::NonZeroUsize;

use arc_swap::ArcSwap;
use countersign_protocol::digest::{Sha256Digest, content_digest};
use countersign_protocol::id::{ClientId, OrganizationId, UserId};
use countersign_protocol::limits::Limits;
use countersign_protocol::log::LogEntry;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::request_signature::{CoveredRequest, RequestSignature, SignatureInput};
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::statement::Statement;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::UserRecord;

use super::*;
use crate::authority::AuthoritySettings;
use crate::clock::ManualClock;
use crate::entropy::SeededEntropy;
use crate::ephemeral::local::LocalEphemeral;
use crate::ephemeral::{Needs, Session, SessionId};
use crate::store::{Store, memory};

const NOW: UnixMicros = UnixMicros(1_795_400_000_500_000);
const CLIENT: ClientAddress = ClientAddress {
    organization: OrganizationId::from_bytes([1; 16]),
    user: UserId::from_bytes([2; 16]),
    client: ClientId::from_bytes([3; 16]),
};
const KEY: SessionKey = SessionKey::from_bytes([7; 32]);
const BODY: &[u8] = b"hello";

struct World {
    sessions: Sessions,
    store: Store,
    ephemeral: Arc<LocalEphemeral>,
    clock: Arc<ManualClock>,
}

/// A user whose record says that their sessions count from sequence 4, and a client with a session since then.
async fn world() -> World {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../protocol/vectors/log.json")).unwrap();
    let store = memory::open();
    let entry: LogEntry = serde_json::from_value(vectors["entries"][0].clone()).unwrap();
    store.registry.append(CLIENT.organization, 4, &entry).await.unwrap();
    let (ephemeral, clock) = (Arc::new(LocalEphemeral::default()), Arc::new(ManualClock::at(NOW)));
    let world = World { sessions: sessions(&store, &ephemeral, &clock), store, ephemeral, clock };
    record(&world, 4, true, 4).await;
    let session =
        Session { id: SessionId([9; 16]), key: KEY, expires: NOW.plus(Duration::from_secs(86_400)), since: 4 };
    world.ephemeral.begin_session(&CLIENT, session, NOW).await.unwrap();
    world
}

fn sessions(store: &Store, ephemeral: &Arc<LocalEphemeral>, clock: &Arc<ManualClock>) -> Sessions {
    let ephemeral = Arc::clone(ephemeral) as Arc<dyn Ephemeral>;
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let pool = PublicKeyPool::start(NonZeroUsize::MIN, NonZeroUsize::MIN).unwrap();
    let limits = Limits::default();
    let authority = Authority::new(
        Arc::clone(&store.registry),
        Arc::clone(&ephemeral),
        pool.clone(),
        Arc::clone(&clock),
        Arc::new(ArcSwap::from_pointee(Vec::new())),
        AuthoritySettings::with_limits(&limits),
    );
    let settings = SessionSettings { nonce_window: limits.nonce_window, lifetime: limits.session_lifetime };
    let registry = Arc::clone(&store.registry);
    Sessions::new(authority, registry, ephemeral, pool, clock, Arc::new(SeededEntropy::new(1)), settings)
}

async fn record(world: &World, changed: u64, active: bool, sessions_since: u64) {
    let record = UserRecord {
        user: CLIENT.user,
        certificate: String::new(),
        fingerprint: "00".repeat(20).parse().unwrap(),
        administrator: false,
        active,
        client_limit: None,
        changed,
        sessions_since,
    };
    world.store.registry.put_user(CLIENT.organization, &record).await.unwrap();
}

/// A request, of which a test may alter anything before it is sent.
#[derive(Clone)]
struct Sent {
    nonce: u64,
    created: u64,
    key: SessionKey,
    signed_path: &'static str,
    body: &'static [u8],
}

impl Sent {
    fn at(nonce: u64) -> Self {
        Self { nonce, created: nonce / 1_000_000, key: KEY, signed_path: "/path", body: BODY }
    }

    async fn to(&self, world: &World) -> Result<Authenticated, SessionError> {
        let digest = Sha256Digest::of(BODY);
        let header = content_digest(&digest);
        let request = CoveredRequest { method: "POST", path: "/path", query: None, content_digest: Some(&header) };
        let input = SignatureInput::new(CLIENT, Nonce::at(UnixMicros(self.nonce)), self.created, true);
        let signature: RequestSignature =
            input.sign(&CoveredRequest { path: self.signed_path, ..request }, &self.key);
        let signed = Signed { input, signature, request, content_digest: Some(digest) };
        let verified = world.sessions.verify(signed).await?;
        world.sessions.admit(verified, self.body, Needs::Nothing).await
    }
}

#[tokio::test]
async fn a_signed_request_is_authenticated_once() {
    let world = world().await;
    let request = Sent::at(NOW.0);

    assert_eq!(request.to(&world).await.unwrap().client(), &CLIENT);
    assert!(matches!(request.to(&world).await, Err(SessionError::NonceReused)));
    assert!(Sent::at(NOW.0 + 1).to(&world).await.is_ok());
    assert!(matches!(Sent::at(NOW.0).to(&world).await, Err(SessionError::NonceReused)));
}

#[tokio::test]
async fn a_forged_or_altered_request_moves_no_nonce() {
    let world = world().await;
    let later = Sent::at(NOW.0 + 20_000_000);
    let forgeries = [
        Sent { key: SessionKey::from_bytes([8; 32]), ..later.clone() },
        Sent { signed_path: "/other", ..later.clone() },
        Sent { body: b"hullo", ..later.clone() },
    ];

    for forged in forgeries {
        assert!(matches!(forged.to(&world).await, Err(SessionError::SignatureInvalid)));
    }

    assert!(Sent::at(NOW.0).to(&world).await.is_ok());
}

#[tokio::test]
async fn nonce_and_created_are_accepted_exactly_within_their_window() {
    let window = 30_000_000;
    for (nonce, created, accepted) in [
        (NOW.0 - window, NOW.0 / 1_000_000, true),
        (NOW.0 + window, NOW.0 / 1_000_000, true),
        (NOW.0 - window - 1, NOW.0 / 1_000_000, false),
        (NOW.0 + window + 1, NOW.0 / 1_000_000, false),
        (NOW.0, NOW.0 / 1_000_000 - 30, true),
        (NOW.0, NOW.0 / 1_000_000 + 30, true),
        (NOW.0, NOW.0 / 1_000_000 - 31, false),
        (NOW.0, NOW.0 / 1_000_000 + 31, false),
        (NOW.0, u64::MAX / 1_000_000, false),
    ] {
        let outcome = Sent { created, ..Sent::at(nonce) }.to(&world().await).await;
        match outcome {
            Ok(_) => assert!(accepted, "{nonce} {created}"),
            Err(error) => {
                assert!(!accepted && matches!(error, SessionError::NonceOutOfWindow), "{nonce} {created}");
            }
        }
    }
}

#[tokio::test]
async fn a_session_ends_with_its_time() {
    let world = world().await;
    let later = NOW.plus(Duration::from_secs(86_400));
    world.clock.set(later);

    assert!(matches!(Sent::at(later.0).to(&world).await, Err(SessionError::SessionUnknown)));
}

#[tokio::test]
async fn a_session_from_before_a_deactivation_or_new_certificate_is_over_though_nobody_ended_it() {
    for (active, sessions_since) in [(false, 5), (true, 5)] {
        let world = world().await;
        let waiting = Sent::at(NOW.0).to(&world).await.unwrap();
        assert!(world.sessions.still_in_force(&waiting).await.is_ok());
        // Another pod changed the user and died: the log has moved, and nothing told this pod's ephemeral store.
        let fresh = World {
            sessions: sessions(&world.store, &world.ephemeral, &world.clock),
            store: world.store.clone(),
            ephemeral: Arc::clone(&world.ephemeral),
            clock: Arc::clone(&world.clock),
        };
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../protocol/vectors/log.json")).unwrap();
        let entry: LogEntry = serde_json::from_value(vectors["entries"][0].clone()).unwrap();
        world.store.registry.append(CLIENT.organization, 5, &entry).await.unwrap();
        record(&world, 5, active, sessions_since).await;

        assert!(matches!(Sent::at(NOW.0 + 1).to(&fresh).await, Err(SessionError::SessionUnknown)));
        // A request that was admitted before, and has waited since, is over too.
        assert!(matches!(fresh.sessions.still_in_force(&waiting).await, Err(SessionError::SessionUnknown)));
    }
}

#[tokio::test]
async fn a_session_that_another_pod_began_after_a_change_is_known_at_once() {
    let world = world().await;
    Sent::at(NOW.0).to(&world).await.unwrap();
    // Another pod gave the user a new certificate, and then a session.
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../protocol/vectors/log.json")).unwrap();
    let mut entry: LogEntry = serde_json::from_value(vectors["entries"][0].clone()).unwrap();
    let subject = Statement::parse(&entry.statement).unwrap().change.user();
    entry.statement = entry.statement.replace(&subject.to_string(), &CLIENT.user.to_string());
    world.store.registry.append(CLIENT.organization, 5, &entry).await.unwrap();
    record(&world, 5, true, 5).await;
    let expires = NOW.plus(Duration::from_secs(86_400));
    let session = Session { id: SessionId([8; 16]), key: KEY, expires, since: 5 };
    world.ephemeral.begin_session(&CLIENT, session, NOW).await.unwrap();

    assert!(Sent::at(NOW.0 + 1).to(&world).await.is_ok(), "no time has passed");
}

#[tokio::test]
async fn an_unregistered_client_has_no_session_and_no_place() {
    let world = world().await;
    world.store.registry.claim_place(&CLIENT, 5, NOW).await.unwrap();
    let caller = Sent::at(NOW.0).to(&world).await.unwrap();
    assert_eq!(world.sessions.clients(&caller).await.unwrap().len(), 1);

    assert!(world.sessions.unregister(&CLIENT).await.unwrap());
    assert!(!world.sessions.unregister(&CLIENT).await.unwrap());

    assert!(matches!(Sent::at(NOW.0 + 1).to(&world).await, Err(SessionError::SessionUnknown)));
}

#[tokio::test]
async fn a_password_request_of_a_stranger_is_told_nothing() {
    let world = world().await;
    let ask = |client: ClientAddress, nonce: u64| {
        world.sessions.password(PasswordRequest {
            client,
            nonce: Nonce::at(UnixMicros(nonce)),
            signature: b"no signature".to_vec(),
        })
    };
    let unknown_user = ClientAddress { user: UserId::from_bytes([8; 16]), ..CLIENT };
    let unknown_organization = ClientAddress { organization: OrganizationId::from_bytes([8; 16]), ..CLIENT };

    for client in [CLIENT, unknown_user, unknown_organization] {
        assert!(matches!(ask(client, NOW.0).await, Err(SessionError::SignatureInvalid)));
        assert!(matches!(ask(client, NOW.0 + 40_000_000).await, Err(SessionError::NonceOutOfWindow)));
    }
    assert!(world.store.registry.clients(CLIENT.organization, CLIENT.user).await.unwrap().is_empty());
}
