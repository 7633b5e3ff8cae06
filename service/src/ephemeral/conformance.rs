//! The conformance suite of the ephemeral store: what every implementation must do, as tests.

use std::sync::Arc;
use std::time::Duration;

use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::time::{UnixMicros, UnixMillis};
use futures_util::future::join_all;

use super::{
    ARRIVALS_MAX, Admission, ArrivalMark, Arrivals, Ephemeral, Learned, ListingHints, MarkMove, Needs, Recency,
    Session, SessionId,
};
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
    a_listing_state_needs_the_session,
    what_arrives_is_after_the_mark_in_order,
    only_who_listed_has_arrivals,
    each_client_has_a_mark_of_its_own,
    a_mark_moves_only_from_where_its_listing_began,
    a_mark_may_be_just_before_the_first_arrival,
    a_mark_is_lost_when_too_much_arrives_after_it,
    a_waiter_is_awakened_even_before_it_waits,
    only_the_named_users_are_awakened,
}

const NOW: UnixMicros = UnixMicros(1_795_400_000_000_000);
/// What implementations remember nonces for in this suite.
const MEMORY: Duration = Duration::from_secs(60);

type Subject = Arc<dyn Ephemeral>;

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemEntropy.fill(&mut bytes);
    bytes
}

pub(super) fn client() -> ClientAddress {
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
    ephemeral.begin_session(client, session.clone(), NOW).await.unwrap();
    session
}

pub(crate) async fn a_session_is_read_back_until_it_ends(ephemeral: &Subject) {
    let client = client();
    assert!(ephemeral.session(&client, NOW, Recency::Any).await.unwrap().is_none());

    let begun = begin(ephemeral, &client).await;

    let held = ephemeral.session(&client, NOW, Recency::Any).await.unwrap().expect("the session is there");
    assert_eq!((held.id, held.expires, held.since), (begun.id, begun.expires, begun.since));
    assert!(held.key == begun.key);
    assert!(ephemeral.session(&client, begun.expires, Recency::Any).await.unwrap().is_none());
}

pub(crate) async fn a_new_session_replaces_the_old_at_once(ephemeral: &Subject) {
    let client = client();
    let old = begin(ephemeral, &client).await;
    let new = begin(ephemeral, &client).await;

    assert_eq!(ephemeral.admit(&client, old.id, nonce(1), Needs::Nothing).await.unwrap(), Admission::SessionUnknown);
    assert!(matches!(
        ephemeral.admit(&client, new.id, nonce(1), Needs::Nothing).await.unwrap(),
        Admission::Admitted(_)
    ));
    assert_eq!(ephemeral.session(&client, NOW, Recency::Any).await.unwrap().map(|held| held.id), Some(new.id));
}

pub(crate) async fn an_ended_session_is_unknown(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await;

    ephemeral.end_session(&client).await.unwrap();
    ephemeral.end_session(&client).await.unwrap();

    assert!(ephemeral.session(&client, NOW, Recency::Any).await.unwrap().is_none());
    assert_eq!(
        ephemeral.admit(&client, session.id, nonce(1), Needs::Nothing).await.unwrap(),
        Admission::SessionUnknown
    );
}

pub(crate) async fn all_sessions_of_a_user_end_together(ephemeral: &Subject) {
    let one = client();
    let sibling = ClientAddress { client: ClientId::from_bytes(random()), ..one };
    let other = ClientAddress { user: UserId::from_bytes(random()), ..one };
    for client in [&one, &sibling, &other] {
        begin(ephemeral, client).await;
    }

    ephemeral.end_sessions(one.organization, one.user).await.unwrap();

    assert!(ephemeral.session(&one, NOW, Recency::Now).await.unwrap().is_none());
    assert!(ephemeral.session(&sibling, NOW, Recency::Now).await.unwrap().is_none());
    assert!(ephemeral.session(&other, NOW, Recency::Now).await.unwrap().is_some());
}

pub(crate) async fn a_nonce_is_admitted_once_and_only_forwards(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await;
    let mut outcomes = Vec::new();

    for offset in [5, 5, 4, 6, 0, 1_000_000, 6] {
        let admission = ephemeral.admit(&client, session.id, nonce(offset), Needs::Nothing).await.unwrap();
        outcomes.push(matches!(admission, Admission::Admitted(_)));
    }

    assert_eq!(outcomes, [true, false, false, true, false, true, false]);
}

pub(crate) async fn the_nonce_memory_outlives_a_session_change(ephemeral: &Subject) {
    let client = client();
    let old = begin(ephemeral, &client).await;
    ephemeral.admit(&client, old.id, nonce(100), Needs::Nothing).await.unwrap();

    let new = begin(ephemeral, &client).await;

    assert_eq!(ephemeral.admit(&client, new.id, nonce(100), Needs::Nothing).await.unwrap(), Admission::NonceReused);
    assert!(matches!(
        ephemeral.admit(&client, new.id, nonce(101), Needs::Nothing).await.unwrap(),
        Admission::Admitted(_)
    ));
}

pub(crate) async fn of_one_nonce_in_parallel_exactly_one_is_admitted(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await.id;
    for round in 1..=20 {
        let racers = (0..16).map(|_| {
            let ephemeral = Arc::clone(ephemeral);
            tokio::spawn(
                async move { ephemeral.admit(&client, session, nonce(round), Needs::Nothing).await.unwrap() },
            )
        });

        let outcomes = join_all(racers).await;

        let admitted = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Admission::Admitted(_))));
        assert_eq!(admitted.count(), 1);
    }
}

pub(crate) async fn password_nonces_have_a_memory_of_their_own(ephemeral: &Subject) {
    let client = client();
    let admit = |offset| ephemeral.admit_password(&client, nonce(offset), NOW);

    assert!(admit(10).await.unwrap());
    assert!(!admit(10).await.unwrap());
    assert!(!admit(9).await.unwrap());
    assert!(admit(11).await.unwrap());

    let session = begin(ephemeral, &client).await;
    assert!(matches!(
        ephemeral.admit(&client, session.id, nonce(1), Needs::Nothing).await.unwrap(),
        Admission::Admitted(_)
    ));
}

pub(crate) async fn hints_only_move_forward_and_come_with_admission(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await;
    let hints = |good, reconciled, merged| ListingHints {
        last_known_good: Some(UnixMillis(good)),
        reconciled: Some(UnixMillis(reconciled)),
        merged: Some(UnixMillis(merged)),
    };
    let remember = async |hints| ephemeral.remember(&client, &Learned { hints, mark: None }).await.unwrap();
    let admit = async |offset, needs| match ephemeral.admit(&client, session.id, nonce(offset), needs).await.unwrap()
    {
        Admission::Admitted(state) => state.hints,
        refused => panic!("{refused:?}"),
    };
    let first = admit(1, Needs::ListingState).await;

    remember(hints(50, 20, 7)).await;
    remember(hints(40, 30, 6)).await;
    remember(ListingHints::default()).await;

    assert_eq!(first, ListingHints::default());
    assert_eq!(admit(2, Needs::ListingState).await, hints(50, 30, 7));
    assert_eq!(admit(3, Needs::Nothing).await, ListingHints::default(), "only who needs them gets them");
    begin(ephemeral, &client).await;
    let session = ephemeral.session(&client, NOW, Recency::Now).await.unwrap().unwrap();
    let state = ephemeral.listing_state(&client, session.id).await.unwrap().unwrap();
    assert_eq!(state.hints, hints(50, 30, 7), "they outlive a session change");
}

pub(crate) async fn a_sweep_forgets_only_what_has_ended(ephemeral: &Subject) {
    let (lasting, asked) = (client(), client());
    let session = begin(ephemeral, &lasting).await;
    ephemeral.admit(&lasting, session.id, nonce(5), Needs::Nothing).await.unwrap();
    assert!(ephemeral.admit_password(&asked, nonce(5), NOW).await.unwrap());

    ephemeral.sweep(NOW.plus(MEMORY / 2)).await;

    assert!(!ephemeral.admit_password(&asked, nonce(5), NOW).await.unwrap());
    assert_eq!(
        ephemeral.admit(&lasting, session.id, nonce(5), Needs::Nothing).await.unwrap(),
        Admission::NonceReused
    );
    ephemeral.sweep(session.expires).await;
    assert!(ephemeral.session(&lasting, session.expires, Recency::Any).await.unwrap().is_none());
}

// === Arrivals ===

fn item(client: &ClientAddress, number: usize) -> Item {
    let from = UserId::from_bytes(random());
    let digest = Sha256Digest::of(&number.to_be_bytes());
    let id = MessageId::of_message(&client.organization, &from, NOW.to_millis(), &[client.user], &digest);
    let receipt = number % 2 == 1;
    Item {
        id,
        kind: if receipt { ItemKind::Receipt } else { ItemKind::Message },
        from,
        of: receipt.then_some(id),
        size: number as u64,
    }
}

async fn arrive(ephemeral: &Subject, client: &ClientAddress, item: &Item) {
    ephemeral.arrived(client.organization, &[client.user], item, NOW).await.unwrap();
}

async fn arrivals(ephemeral: &Subject, client: &ClientAddress, session: &Session) -> Arrivals {
    ephemeral.listing_state(client, session.id).await.unwrap().unwrap().arrivals.unwrap()
}

async fn move_mark(ephemeral: &Subject, client: &ClientAddress, from: Option<ArrivalMark>, to: Option<ArrivalMark>) {
    let mark = Some(MarkMove { from, to });
    ephemeral.remember(client, &Learned { hints: ListingHints::default(), mark }).await.unwrap();
}

fn items(arrivals: &Arrivals) -> Vec<Item> {
    arrivals.after.iter().map(|arrival| arrival.item).collect()
}

pub(crate) async fn a_listing_state_needs_the_session(ephemeral: &Subject) {
    let client = client();
    assert_eq!(ephemeral.listing_state(&client, SessionId(random())).await.unwrap(), None);
    let old = begin(ephemeral, &client).await;
    assert!(ephemeral.listing_state(&client, old.id).await.unwrap().is_some());

    let new = begin(ephemeral, &client).await;
    assert_eq!(ephemeral.listing_state(&client, old.id).await.unwrap(), None);
    assert!(ephemeral.listing_state(&client, new.id).await.unwrap().is_some());

    ephemeral.end_sessions(client.organization, client.user).await.unwrap();
    assert_eq!(ephemeral.listing_state(&client, new.id).await.unwrap(), None);
}

pub(crate) async fn what_arrives_is_after_the_mark_in_order(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await;
    let sent: Vec<Item> = (0..4).map(|number| item(&client, number)).collect();
    let empty = arrivals(ephemeral, &client, &session).await;
    assert_eq!((empty.mark, items(&empty)), (None, Vec::new()));

    move_mark(ephemeral, &client, None, Some(empty.end)).await;
    let marked = arrivals(ephemeral, &client, &session).await;
    assert_eq!((marked.mark, marked.end, items(&marked)), (Some(empty.end), empty.end, Vec::new()));

    for item in &sent {
        arrive(ephemeral, &client, item).await;
    }
    // A repeat of the last one, as of a sender that tries again.
    arrive(ephemeral, &client, &sent[3]).await;
    let all = arrivals(ephemeral, &client, &session).await;
    assert_eq!(all.mark, Some(empty.end));
    assert_eq!(items(&all), [sent[0], sent[1], sent[2], sent[3], sent[3]]);
    assert!(all.after.is_sorted_by(|one, next| one.place < next.place));
    assert_eq!(all.after.last().map(|arrival| all.end.at(arrival.place)), Some(all.end));
    assert_eq!(all.end.epoch, empty.end.epoch);

    let second = all.end.at(all.after[1].place);
    move_mark(ephemeral, &client, Some(empty.end), Some(second)).await;
    let admission = ephemeral.admit(&client, session.id, nonce(1), Needs::ListingState).await.unwrap();
    let Admission::Admitted(state) = admission else { panic!("{admission:?}") };
    let rest = state.arrivals.unwrap();
    assert_eq!((rest.mark, items(&rest)), (Some(second), vec![sent[2], sent[3], sent[3]]));
}

pub(crate) async fn only_who_listed_has_arrivals(ephemeral: &Subject) {
    let (listed, silent) = (client(), client());
    let silent = ClientAddress { organization: listed.organization, ..silent };
    let session = begin(ephemeral, &listed).await;
    let silent_session = begin(ephemeral, &silent).await;
    arrivals(ephemeral, &listed, &session).await;
    let sent = item(&listed, 0);

    let strangers = [UserId::from_bytes(random()), listed.user, silent.user];
    ephemeral.arrived(listed.organization, &strangers, &sent, NOW).await.unwrap();

    // Without a mark, all that is remembered.
    assert_eq!(items(&arrivals(ephemeral, &listed, &session).await), [sent]);
    assert!(items(&arrivals(ephemeral, &silent, &silent_session).await).is_empty());
}

pub(crate) async fn each_client_has_a_mark_of_its_own(ephemeral: &Subject) {
    let one = client();
    let sibling = ClientAddress { client: ClientId::from_bytes(random()), ..one };
    let (session, siblings) = (begin(ephemeral, &one).await, begin(ephemeral, &sibling).await);
    let start = arrivals(ephemeral, &one, &session).await.end;
    let sent = item(&one, 0);
    arrive(ephemeral, &one, &sent).await;

    move_mark(ephemeral, &one, None, Some(start)).await;
    let of_one = arrivals(ephemeral, &one, &session).await;
    move_mark(ephemeral, &one, Some(start), Some(of_one.end)).await;
    move_mark(ephemeral, &sibling, None, Some(start)).await;

    let (of_one, of_sibling) =
        (arrivals(ephemeral, &one, &session).await, arrivals(ephemeral, &sibling, &siblings).await);
    assert_eq!((of_one.mark, items(&of_one)), (Some(of_one.end), Vec::new()));
    assert_eq!((of_sibling.mark, items(&of_sibling)), (Some(start), vec![sent]));
}

pub(crate) async fn a_mark_moves_only_from_where_its_listing_began(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await;
    ephemeral.admit(&client, session.id, nonce(1), Needs::Nothing).await.unwrap();
    let start = arrivals(ephemeral, &client, &session).await.end;
    for number in 0..2 {
        arrive(ephemeral, &client, &item(&client, number)).await;
    }
    let all = arrivals(ephemeral, &client, &session).await;
    let first = all.end.at(all.after[0].place);
    let mark = async || arrivals(ephemeral, &client, &session).await.mark;

    move_mark(ephemeral, &client, Some(first), Some(all.end)).await;
    assert_eq!(mark().await, None, "it was nowhere, and not where that listing began");
    move_mark(ephemeral, &client, None, Some(start)).await;
    assert_eq!(mark().await, Some(start));
    move_mark(ephemeral, &client, None, Some(all.end)).await;
    assert_eq!(mark().await, Some(start), "a listing that began without a mark comes too late");
    move_mark(ephemeral, &client, Some(start), Some(first)).await;
    assert_eq!(mark().await, Some(first));
    move_mark(ephemeral, &client, Some(start), None).await;
    assert_eq!(mark().await, None, "that something is missing counts in any case");
    let foreign = ArrivalMark { epoch: start.epoch.wrapping_add(1), ..start };
    move_mark(ephemeral, &client, None, Some(foreign)).await;
    assert_eq!(mark().await, None, "of another epoch");
    move_mark(ephemeral, &client, None, Some(start)).await;
    assert_eq!(mark().await, Some(start), "one that is not relied on is none");
}

pub(crate) async fn a_mark_may_be_just_before_the_first_arrival(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await;
    ephemeral.admit(&client, session.id, nonce(1), Needs::Nothing).await.unwrap();
    arrivals(ephemeral, &client, &session).await;
    let sent = item(&client, 0);
    arrive(ephemeral, &client, &sent).await;
    let all = arrivals(ephemeral, &client, &session).await;

    move_mark(ephemeral, &client, None, Some(all.end.at(all.after[0].place - 1))).await;

    let marked = arrivals(ephemeral, &client, &session).await;
    assert!(marked.mark.is_some());
    assert_eq!(items(&marked), [sent]);
    move_mark(ephemeral, &client, marked.mark, Some(all.end)).await;
    assert_eq!(arrivals(ephemeral, &client, &session).await.mark, Some(all.end));
}

pub(crate) async fn a_mark_is_lost_when_too_much_arrives_after_it(ephemeral: &Subject) {
    let client = client();
    let session = begin(ephemeral, &client).await;
    ephemeral.admit(&client, session.id, nonce(1), Needs::Nothing).await.unwrap();
    let start = arrivals(ephemeral, &client, &session).await.end;
    move_mark(ephemeral, &client, None, Some(start)).await;
    let sent: Vec<Item> = (0..=ARRIVALS_MAX).map(|number| item(&client, number)).collect();
    for item in &sent[..ARRIVALS_MAX] {
        arrive(ephemeral, &client, item).await;
    }
    let full = arrivals(ephemeral, &client, &session).await;
    assert_eq!((full.mark, items(&full).as_slice()), (Some(start), &sent[..ARRIVALS_MAX]));

    arrive(ephemeral, &client, &sent[ARRIVALS_MAX]).await;

    let over = arrivals(ephemeral, &client, &session).await;
    assert_eq!((over.mark, items(&over).as_slice()), (None, &sent[1..]));
    let before_all = full.end.at(full.after[0].place);
    move_mark(ephemeral, &client, None, Some(before_all)).await;
    let reached = arrivals(ephemeral, &client, &session).await;
    assert_eq!((reached.mark, items(&reached).as_slice()), (Some(before_all), &sent[1..]));
}

// === Wake-ups ===

async fn wake(ephemeral: &Subject, client: &ClientAddress) {
    arrive(ephemeral, client, &item(client, 0)).await;
}

pub(crate) async fn a_waiter_is_awakened_even_before_it_waits(ephemeral: &Subject) {
    let client = client();
    let mut waiter = ephemeral.wake_up(client.organization, client.user).await.unwrap();
    let mut second = ephemeral.wake_up(client.organization, client.user).await.unwrap();

    wake(ephemeral, &client).await;
    waiter.awakened().await;
    second.awakened().await;
    wake(ephemeral, &client).await;
    waiter.awakened().await;
    drop(waiter);
    wake(ephemeral, &client).await;
    second.awakened().await;
}

pub(crate) async fn only_the_named_users_are_awakened(ephemeral: &Subject) {
    let (named, other) = (client(), client());
    let mut named_waiter = ephemeral.wake_up(named.organization, named.user).await.unwrap();
    let mut other_waiter = ephemeral.wake_up(other.organization, other.user).await.unwrap();

    wake(ephemeral, &named).await;

    named_waiter.awakened().await;
    assert!(futures_util::poll!(other_waiter.awakened()).is_pending());
}
