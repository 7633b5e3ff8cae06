//! The conformance suite of the ephemeral store: what every implementation must do, as tests.

use std::sync::Arc;
use std::time::Duration;

use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::nonce::Nonce;
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::time::{UnixMicros, UnixMillis};
use futures_util::future::join_all;

use super::{Admission, Ephemeral, ListingHints, Session, SessionId};
use crate::entropy::{Entropy as _, SystemEntropy};

macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        /// Tests of [`Ephemeral`]; `fixture` is an `async fn() -> (Arc<dyn Ephemeral>, Guard)`.
        macro_rules! ephemeral_suite {
            ($fixture:path) => {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $test() {
                        let (ephemeral, _guard) = $fixture().await;
                        $crate::ephemeral::conformance::$test(&ephemeral).await;
                    }
                )*
            };
        }
        pub(crate) use ephemeral_suite;
    };
}

suite! {
    a_session_is_read_back_until_it_ends,
    a_new_session_replaces_the_old_at_once,
    an_ended_session_is_unknown,
    all_sessions_of_a_user_end_together,
    a_nonce_is_admitted_once_and_only_forwards,
    the_nonce_memory_outlives_a_session_change,
    of_one_nonce_in_parallel_exactly_one_is_admitted,
    password_nonces_have_a_memory_of_their_own,
    hints_only_move_forward_and_come_with_admission,
    a_sweep_forgets_only_what_has_ended,
    a_waiter_is_awakened_even_before_it_waits,
    only_the_named_users_are_awakened,
}

const NOW: UnixMicros = UnixMicros(1_795_400_000_000_000);
const MEMORY: Duration = Duration::from_secs(60);

type Subject = Arc<dyn Ephemeral>;

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemEntropy.fill(&mut bytes);
    bytes
}

fn client() -> ClientAddress {
    ClientAddress {
        organization: OrganizationId::from_bytes(random()),
        user: UserId::from_bytes(random()),
        client: ClientId::from_bytes(random()),
    }
}

fn session() -> Session {
    Session {
        id: SessionId(random()),
        key: SessionKey::from_bytes(random()),
        expires: NOW.plus(Duration::from_secs(86_400)),
        since: 7,
    }
}

fn nonce(offset: u64) -> Nonce {
    Nonce::at(UnixMicros(NOW.0 + offset))
}

async fn begin(ephemeral: &Subject, client: &ClientAddress) -> Session {
    let session = session();
    ephemeral.begin_session(client, session.clone()).await.unwrap();
    session
}

pub(crate) async fn a_session_is_read_back_until_it_ends(ephemeral: &Subject) {
    let client = client();
    assert!(ephemeral.session(&client, NOW).await.unwrap().is_none());

    let begun = begin(ephemeral, &client).await;

    let held = ephemeral.session(&client, NOW).await.unwrap().expect("the session is there");
    assert_eq!((held.id, held.expires, held.since), (begun.id, begun.expires, begun.since));
    assert!(held.key == begun.key);
    assert!(ephemeral.session(&client, begun.expires).await.unwrap().is_none());
}

pub(crate) async fn a_new_session_replaces_the_old_at_once(ephemeral: &Subject) {
    let client = client();
    let old = begin(ephemeral, &client).await;
    let new = begin(ephemeral, &client).await;

    assert_eq!(ephemeral.admit(&client, old.id, nonce(1)).await.unwrap(), Admission::SessionUnknown);
    assert!(matches!(ephemeral.admit(&client, new.id, nonce(1)).await.unwrap(), Admission::Admitted(_)));
    assert_eq!(ephemeral.session(&client, NOW).await.unwrap().map(|held| held.id), Some(new.id));
}

pub(crate) async fn an_ended_session_is_unknown(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await;

    ephemeral.end_session(&client).await.unwrap();
    ephemeral.end_session(&client).await.unwrap();

    assert!(ephemeral.session(&client, NOW).await.unwrap().is_none());
    assert_eq!(ephemeral.admit(&client, session.id, nonce(1)).await.unwrap(), Admission::SessionUnknown);
}

pub(crate) async fn all_sessions_of_a_user_end_together(ephemeral: &Subject) {
    let one = client();
    let sibling = ClientAddress { client: ClientId::from_bytes(random()), ..one };
    let other = ClientAddress { user: UserId::from_bytes(random()), ..one };
    for client in [&one, &sibling, &other] {
        begin(ephemeral, client).await;
    }

    ephemeral.end_sessions(one.organization, one.user).await.unwrap();

    assert!(ephemeral.session(&one, NOW).await.unwrap().is_none());
    assert!(ephemeral.session(&sibling, NOW).await.unwrap().is_none());
    assert!(ephemeral.session(&other, NOW).await.unwrap().is_some());
}

pub(crate) async fn a_nonce_is_admitted_once_and_only_forwards(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await;
    let mut outcomes = Vec::new();

    for offset in [5, 5, 4, 6, 0, 1_000_000, 6] {
        let admission = ephemeral.admit(&client, session.id, nonce(offset)).await.unwrap();
        outcomes.push(matches!(admission, Admission::Admitted(_)));
    }

    assert_eq!(outcomes, [true, false, false, true, false, true, false]);
}

pub(crate) async fn the_nonce_memory_outlives_a_session_change(ephemeral: &Subject) {
    let client = client();
    let old = begin(ephemeral, &client).await;
    ephemeral.admit(&client, old.id, nonce(100)).await.unwrap();

    let new = begin(ephemeral, &client).await;

    assert_eq!(ephemeral.admit(&client, new.id, nonce(100)).await.unwrap(), Admission::NonceReused);
    assert!(matches!(ephemeral.admit(&client, new.id, nonce(101)).await.unwrap(), Admission::Admitted(_)));
}

pub(crate) async fn of_one_nonce_in_parallel_exactly_one_is_admitted(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await.id;
    for round in 1..=20 {
        let racers = (0..16).map(|_| {
            let ephemeral = Arc::clone(ephemeral);
            tokio::spawn(async move { ephemeral.admit(&client, session, nonce(round)).await.unwrap() })
        });

        let outcomes = join_all(racers).await;

        let admitted = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Admission::Admitted(_))));
        assert_eq!(admitted.count(), 1);
    }
}

pub(crate) async fn password_nonces_have_a_memory_of_their_own(ephemeral: &Subject) {
    let client = client();
    let admit = |offset| ephemeral.admit_password(&client, nonce(offset), NOW, MEMORY);

    assert!(admit(10).await.unwrap());
    assert!(!admit(10).await.unwrap());
    assert!(!admit(9).await.unwrap());
    assert!(admit(11).await.unwrap());

    let session = begin(ephemeral, &client).await;
    assert!(matches!(ephemeral.admit(&client, session.id, nonce(1)).await.unwrap(), Admission::Admitted(_)));
}

pub(crate) async fn hints_only_move_forward_and_come_with_admission(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await;
    let hints = |good, reconciled| ListingHints {
        last_known_good: Some(UnixMillis(good)),
        reconciled: Some(UnixMillis(reconciled)),
    };
    let first = ephemeral.admit(&client, session.id, nonce(1)).await.unwrap();

    ephemeral.advance_hints(&client, hints(50, 20)).await.unwrap();
    ephemeral.advance_hints(&client, hints(40, 30)).await.unwrap();
    ephemeral.advance_hints(&client, ListingHints::default()).await.unwrap();

    assert_eq!(first, Admission::Admitted(ListingHints::default()));
    assert_eq!(ephemeral.admit(&client, session.id, nonce(2)).await.unwrap(), Admission::Admitted(hints(50, 30)));
}

pub(crate) async fn a_sweep_forgets_only_what_has_ended(ephemeral: &Subject) {
    let (lasting, asked) = (client(), client());
    let session = begin(ephemeral, &lasting).await;
    ephemeral.admit(&lasting, session.id, nonce(5)).await.unwrap();
    assert!(ephemeral.admit_password(&asked, nonce(5), NOW, MEMORY).await.unwrap());

    ephemeral.sweep(NOW.plus(MEMORY / 2)).await;

    assert!(!ephemeral.admit_password(&asked, nonce(5), NOW, MEMORY).await.unwrap());
    assert_eq!(ephemeral.admit(&lasting, session.id, nonce(5)).await.unwrap(), Admission::NonceReused);
    ephemeral.sweep(session.expires).await;
    assert!(ephemeral.session(&lasting, NOW).await.unwrap().is_none());
}

pub(crate) async fn a_waiter_is_awakened_even_before_it_waits(ephemeral: &Subject) {
    let client = client();
    let mut waiter = ephemeral.wake_up(client.organization, client.user).await.unwrap();
    let mut second = ephemeral.wake_up(client.organization, client.user).await.unwrap();

    ephemeral.wake(client.organization, &[client.user]).await;
    waiter.awakened().await;
    second.awakened().await;
    ephemeral.wake(client.organization, &[client.user]).await;
    waiter.awakened().await;
    drop(waiter);
    ephemeral.wake(client.organization, &[client.user]).await;
    second.awakened().await;
}

pub(crate) async fn only_the_named_users_are_awakened(ephemeral: &Subject) {
    let (named, other) = (client(), client());
    let mut named_waiter = ephemeral.wake_up(named.organization, named.user).await.unwrap();
    let mut other_waiter = ephemeral.wake_up(other.organization, other.user).await.unwrap();

    ephemeral.wake(named.organization, &[named.user]).await;

    named_waiter.awakened().await;
    assert!(futures_util::poll!(other_waiter.awakened()).is_pending());
}
