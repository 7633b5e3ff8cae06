//! Writes and reads whose answers do not come: nothing is taken for done or undone that is not known to be.

use countersign_protocol::log::LogEntry;
use countersign_protocol::time::UnixMicros;

use super::proxy::{Mode, Proxy};
use super::*;
use crate::deadline::Deadline;
use crate::store::{Append, Claim, ClientPlace, IdRange};

/// A store behind a proxy.
async fn behind_a_proxy() -> (Store, Guard, Proxy) {
    let mut settings = settings(shared_keyspace().await);
    let proxy = Proxy::before(CqlServer::shared().address()).await;
    settings.address = format!("{}/{}", proxy.address, settings.address.keyspace).parse().unwrap();
    let (store, mut guard) = begin(settings, Arc::new(SystemClock));
    guard.opened().await;
    (store, guard, proxy)
}

fn entry(text: &str) -> LogEntry {
    LogEntry { statement: text.to_owned(), signatures: vec!["signature".to_owned()] }
}

/// Waits until `look` finds something.
async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.expect("within a minute")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_answer_is_lost_is_found_in_the_log() {
    let (store, _guard, proxy) = behind_a_proxy().await;
    let (direct, _direct_guard) = fixture().await;
    let organization = client().organization;

    proxy.set(Mode::LoseAnswers);
    let registry = Arc::clone(&store.registry);
    let append = tokio::spawn(async move { registry.append(organization, 0, &entry("mine")).await });
    eventually(async || direct.registry.log(organization, 0, 1).await.unwrap().pop()).await;
    proxy.set(Mode::Pass);

    assert_eq!(append.await.unwrap().unwrap(), Append::Appended);
    assert_eq!(direct.registry.log(organization, 0, 9).await.unwrap(), [(0, entry("mine"))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_lost_itself_is_tried_again_and_never_takes_anothers_for_its_own() {
    let (store, guard, proxy) = behind_a_proxy().await;
    let (direct, _direct_guard) = fixture().await;

    for another_is_faster in [false, true] {
        let organization = client().organization;
        guard.counted.take();
        proxy.set(Mode::LoseRequests);
        let registry = Arc::clone(&store.registry);
        let append = tokio::spawn(async move { registry.append(organization, 0, &entry("the same")).await });
        eventually(async || guard.counted.take().contains(&("append_entry", 1)).then_some(())).await;
        if another_is_faster {
            let faster = direct.registry.append(organization, 0, &entry("the same")).await.unwrap();
            assert_eq!(faster, Append::Appended);
        }
        proxy.set(Mode::Pass);

        let expected = if another_is_faster { Append::Taken } else { Append::Appended };
        assert_eq!(append.await.unwrap().unwrap(), expected);
        assert_eq!(direct.registry.log(organization, 0, 9).await.unwrap(), [(0, entry("the same"))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_whose_claim_or_release_gets_no_answer_is_claimed_or_free_once() {
    let (store, guard, proxy) = behind_a_proxy().await;
    let (direct, _direct_guard) = fixture().await;
    let proxy = Arc::new(proxy);
    let lose_answers_from = |statement| {
        let proxy = Arc::clone(&proxy);
        guard.counted.before(statement, move || proxy.set(Mode::LoseAnswers));
    };

    for _ in 0..2 {
        let client = client();
        let held = async || direct.registry.clients(client.organization, client.user).await.unwrap();
        lose_answers_from(StatementName::ClaimPlace);
        let registry = Arc::clone(&store.registry);
        let claim = tokio::spawn(async move { registry.claim_place(&client, 3, UnixMicros(7)).await });
        let place = ClientPlace { place: 0, client: client.client, since: UnixMicros(7) };
        eventually(async || held().await.contains(&place).then_some(())).await;
        proxy.set(Mode::Pass);
        assert_eq!(claim.await.unwrap().unwrap(), Claim::Claimed);
        assert_eq!(held().await, [place]);

        lose_answers_from(StatementName::FreePlace);
        let registry = Arc::clone(&store.registry);
        let free = tokio::spawn(async move { registry.free_place(&client).await });
        eventually(async || held().await.is_empty().then_some(())).await;
        proxy.set(Mode::Pass);
        assert!(free.await.unwrap().unwrap());
        assert!(!store.registry.free_place(&client).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_race_for_one_sequence_have_one_winner_and_all_know_the_outcome() {
    let (one, _one_guard) = fixture().await;
    let (other, _other_guard) = fixture().await;
    let organization = client().organization;
    let racers = (0..60).map(|racer| {
        let registry = Arc::clone(if racer % 2 == 0 { &one.registry } else { &other.registry });
        // All with the same entry: only who wrote it tells them apart.
        tokio::spawn(async move { registry.append(organization, 0, &entry("the same")).await.unwrap() })
    });

    let outcomes = futures_util::future::join_all(racers).await;

    let winners = outcomes.into_iter().filter(|outcome| *outcome.as_ref().unwrap() == Append::Appended).count();
    assert_eq!(winners, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_with_its_requests_time_though_no_answer_comes() {
    let (store, _guard, proxy) = behind_a_proxy().await;
    let client = client();
    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
    let everything = IdRange::later_than(UnixMillis(0), SystemClock.now_millis());
    proxy.set(Mode::LoseAnswers);

    let soon = || Deadline::at(tokio::time::sleep(Duration::from_millis(300)).deadline());
    let mailbox = &store.mailbox;
    let ended = async {
        let put = soon().scope(mailbox.put(&sent)).await.unwrap_err();
        let read = soon().scope(mailbox.message(client.organization, sent.id)).await.unwrap_err();
        let listed = soon().scope(mailbox.items(client.organization, client.user, everything, 10)).await.unwrap_err();
        let added = soon().scope(mailbox.add_fetched(&client, &[sent.id])).await.unwrap_err();
        let log = soon().scope(store.registry.log(client.organization, 0, 10)).await.unwrap_err();
        let append = soon().scope(store.registry.append(client.organization, 0, &entry("late"))).await.unwrap_err();
        [put, read, listed, added, log, append]
    };

    // The settings allow each of them half a minute.
    let errors = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the deadline ends them");
    for error in errors {
        assert!(matches!(error, StoreError::Timeout | StoreError::Unavailable(_)), "{error:?}");
    }
    // What was sent before its answer was lost is there, or is there after the client's repetition.
    proxy.set(Mode::Pass);
    eventually(async || mailbox.put(&sent).await.ok()).await;
    assert_eq!(mailbox.message(client.organization, sent.id).await.unwrap(), Some(sent));
}
