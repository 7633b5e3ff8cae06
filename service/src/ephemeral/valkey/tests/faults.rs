//! What happens when servers lose what they had, are killed, hang, or hand a slot over.

use super::*;

#[tokio::test]
async fn functions_that_a_server_lost_are_loaded_again() {
    let valkey = Valkey::start(Mode::Single, &[]);
    let pod = pod(&valkey).await;
    let client = client();
    let session = begin(&pod, &client).await;

    assert_eq!(valkey.command(valkey.ports()[0], &["FUNCTION", "FLUSH"]), "OK");

    assert!(matches!(admit(&pod, &client, session).await, Admission::Admitted(_)));
}

#[tokio::test]
async fn when_all_is_flushed_sessions_are_unknown_and_begin_anew() {
    let valkey = Valkey::start(Mode::Single, &[]);
    let pod = pod(&valkey).await;
    let client = client();
    let session = begin(&pod, &client).await;
    catch_up(&pod, &client, session).await;

    valkey.command(valkey.ports()[0], &["FLUSHALL"]);

    assert_eq!(admit(&pod, &client, session).await, Admission::SessionUnknown);
    assert!(pod.session(&client, now(), Recency::Any).await.unwrap().is_none());
    arrive(&pod, &client, &item(&client, b"in between")).await;
    let session = begin(&pod, &client).await;
    let state = state(admit(&pod, &client, session).await);
    assert_eq!(state.hints, ListingHints::default());
    assert_eq!(state.arrivals.unwrap().mark, None, "so a full merge finds what came in between");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_followed_by_its_replica_which_knows_the_nonces_and_wakes() {
    let valkey = Valkey::start(Mode::Cluster, &[]);
    let pod = impatient_pod(&valkey).await;
    let client = client();
    let session = begin(&pod, &client).await;
    catch_up(&pod, &client, session).await;
    let used = nonce();
    pod.admit(&client, session, used, Needs::Nothing).await.unwrap();
    let mut waiter = pod.wake_up(client.organization, client.user).await.unwrap();
    replicated(&valkey).await;

    let (primary, _) = primary_of(&valkey, valkey.ports()[0], &client);
    valkey.signal(primary, Signal::KILL);

    eventually("the replica serves", async || {
        let outcome = tokio::time::timeout(SOON, pod.admit(&client, session, nonce(), Needs::Nothing)).await;
        outcome.expect("every call ends").ok().filter(|outcome| matches!(outcome, Admission::Admitted(_)))
    })
    .await;
    assert_eq!(pod.admit(&client, session, used, Needs::Nothing).await.unwrap(), Admission::NonceReused);
    eventually("the wake-up is heard at the replica", async || {
        let _ = pod.arrived(client.organization, &[client.user], &item(&client, b"after"), now()).await;
        tokio::time::timeout(Duration::from_millis(200), waiter.awakened()).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs_is_left_once_its_replica_serves() {
    let valkey = Valkey::start(Mode::Cluster, &[]);
    let pod = impatient_pod(&valkey).await;
    let clients: Vec<ClientAddress> = (0..20).map(|_| client()).collect();
    let mut sessions = Vec::new();
    for client in &clients {
        sessions.push(begin(&pod, client).await);
    }
    replicated(&valkey).await;
    let (hanging, _) = primary_of(&valkey, valkey.ports()[0], &clients[0]);

    valkey.signal(hanging, Signal::STOP);

    let first = tokio::time::timeout(SOON, pod.admit(&clients[0], sessions[0], nonce(), Needs::Nothing)).await;
    assert!(first.expect("the call ends though the server does not answer").is_err());
    for (client, session) in clients.iter().zip(&sessions) {
        eventually("everybody is served again, though the server hangs still", async || {
            let outcome = pod.admit(client, *session, nonce(), Needs::Nothing).await;
            outcome.ok().filter(|outcome| matches!(outcome, Admission::Admitted(_)))
        })
        .await;
    }
    valkey.signal(hanging, Signal::CONT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_server_that_hangs_is_used_again_when_it_goes_on() {
    let valkey = Valkey::start(Mode::Single, &[]);
    let pod = impatient_pod(&valkey).await;
    let client = client();
    let session = begin(&pod, &client).await;
    let port = valkey.ports()[0];

    valkey.signal(port, Signal::STOP);
    let hung = tokio::time::timeout(SOON, pod.admit(&client, session, nonce(), Needs::Nothing)).await;
    assert!(hung.expect("the call ends though the server does not answer").is_err());
    valkey.signal(port, Signal::CONT);

    eventually("the server is used again", async || {
        let outcome = pod.admit(&client, session, nonce(), Needs::Nothing).await;
        outcome.ok().filter(|outcome| matches!(outcome, Admission::Admitted(_)))
    })
    .await;
}

#[tokio::test]
async fn a_pod_starts_without_valkey_and_finds_it_later() {
    let valkey = Valkey::start(Mode::Single, &[]);
    let port = valkey.ports()[0];
    valkey.signal(port, Signal::STOP);
    let pod = impatient_pod(&valkey).await;
    let client = client();
    let unreachable = pod.admit(&client, SessionId(random()), nonce(), Needs::Nothing).await;
    assert!(unreachable.is_err());

    valkey.signal(port, Signal::CONT);

    eventually("Valkey is found", async || {
        pod.admit(&client, SessionId(random()), nonce(), Needs::Nothing).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_on_while_their_slot_moves_to_another_server() {
    let valkey = Valkey::start(Mode::Cluster, &[]);
    let pod = pod(&valkey).await;
    let client = client();
    let session = begin(&pod, &client).await;
    catch_up(&pod, &client, session).await;
    let mut waiter = pod.wake_up(client.organization, client.user).await.unwrap();
    let slot = slot_of(&valkey, valkey.ports()[0], &client);
    let (from, from_id) = primary_of(&valkey, valkey.ports()[0], &client);
    let (to, to_id) = (0..1_000)
        .map(|_| primary_of(&valkey, from, &self::client()))
        .find(|(port, _)| *port != from)
        .expect("there are three primaries");
    let works = async |when: &str| {
        for needs in [Needs::ListingState, Needs::Nothing] {
            let admission = pod.admit(&client, session, nonce(), needs).await;
            assert!(matches!(admission, Ok(Admission::Admitted(_))), "{when}: {admission:?}");
        }
        pod.remember(&client, &Learned::default()).await.unwrap();
    };

    works("before").await;
    assert_eq!(valkey.command(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]), "OK");
    assert_eq!(valkey.command(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]), "OK");
    works("nothing has moved, and the arrivals' key is not there").await;
    let key = Key::Clients(client.organization, client.user).to_string();
    assert_eq!(valkey.command(from, &["MIGRATE", "127.0.0.1", &to.to_string(), &key, "0", "5000"]), "OK");
    works("everything has moved, and the servers still say where to ask").await;
    for port in [to, from] {
        assert_eq!(valkey.command(port, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]), "OK");
    }
    works("the slot has a new server").await;

    let sent = item(&client, b"after the move");
    eventually("the wake-up is heard at the new server", async || {
        let _ = pod.arrived(client.organization, &[client.user], &sent, now()).await;
        tokio::time::timeout(Duration::from_millis(200), waiter.awakened()).await.ok()
    })
    .await;
}
