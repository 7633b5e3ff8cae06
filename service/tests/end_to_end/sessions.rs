//! Session keys, nonces, client places, and what a stranger can find out.

use std::collections::BTreeMap;

use countersign_protocol::id::{ClientAddress, OrganizationId};
use countersign_protocol::nonce::Nonce;
use countersign_protocol::problem::ProblemType as Type;
use countersign_protocol::session_key::{SessionGrant, SessionKey, password_text};
use countersign_protocol::time::{UnixMicros, parse_rfc3339};
use futures_util::future::join_all;
use http::Method;

use crate::support::client::{Client, request_password, request_password_with};
use crate::support::gnupg::{decrypt, keys};
use crate::support::http::Answer;
use crate::support::organization::{Organization, activity, certificate, client_limit};
use crate::support::process::Setup;
use crate::support::time::{now, random};
use crate::support::world::World;

const SECOND: u64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_key_is_granted_to_each_kind_of_key() {
    let mut world = World::new().await;
    let keys = keys().await;
    let http = world.service.http.clone();
    let carol = world.organization.add(&http, &keys.carol, false).await;
    for (user, key) in [(world.alice, &keys.alice), (world.bob, &keys.bob), (carol, &keys.carol)] {
        let address = world.organization.address(user, random());
        let asked = now();

        let nonce = Nonce::at(asked);
        let text = password_text(&address, nonce);
        let answer = request_password_with(&http, &address, nonce, key.sign(text.as_bytes()).await).await.expect(200);

        let grant: SessionGrant = serde_json::from_slice(&decrypt(&answer.body).await).unwrap();
        assert_eq!(grant.nonce, nonce);
        let lifetime = parse_rfc3339(&grant.expires).unwrap().0 - asked.0;
        assert!((86_400 * SECOND..86_460 * SECOND).contains(&lifetime), "{lifetime}");
        Client::with_key(&http, address, key, grant.key)
            .get(format!("/{}/{user}", address.organization))
            .await
            .expect(200);
    }
    // Either of several signing subkeys will do.
    for subkey in [0, 1] {
        let address = world.organization.address(carol, random());
        let nonce = Nonce::at(now());
        let signature = keys.carol.sign_with_subkey(subkey, password_text(&address, nonce).as_bytes()).await;
        request_password_with(&http, &address, nonce, signature).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_signature_is_for_one_client_and_one_nonce() {
    let world = World::new().await;
    let http = &world.service.http;
    let key = &keys().await.alice;
    let address = world.organization.address(world.alice, random());
    let nonce = Nonce::at(now());
    let signature = key.sign(password_text(&address, nonce).as_bytes()).await;

    let other_client = ClientAddress { client: random(), ..address };
    let other_user = ClientAddress { user: world.bob, ..address };
    for wrong in [other_client, other_user] {
        let answer = request_password_with(http, &wrong, nonce, signature.clone()).await;
        answer.problem(Type::SignatureInvalid);
        assert_eq!(answer.header("www-authenticate"), Some("OpenPGP"));
    }
    let later = Nonce::at(UnixMicros(nonce.time().0 + 1));
    request_password_with(http, &address, later, signature.clone()).await.problem(Type::SignatureInvalid);
    let armored = key.sign_armored(&password_text(&address, nonce)).await;
    request_password_with(http, &address, nonce, armored.into_bytes()).await.problem(Type::SignatureInvalid);
    let by_another = keys().await.dave.sign(password_text(&address, nonce).as_bytes()).await;
    request_password_with(http, &address, nonce, by_another).await.problem(Type::SignatureInvalid);

    // None of the forgeries moved the nonce; the first use does.
    request_password_with(http, &address, nonce, signature.clone()).await.expect(200);
    request_password_with(http, &address, nonce, signature).await.problem(Type::NonceReused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_key_replaces_the_earlier_one_at_once() {
    let world = World::new().await;
    let first = world.alice().await;

    let second = Client::begin(&first.http, first.address, &keys().await.alice).await;

    first.get(first.path()).await.problem(Type::SignatureInvalid);
    second.get(second.path()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_after_its_lifetime() {
    let world = World::of(Setup::new().await.set("SESSION_LIFETIME", "1s")).await;
    let alice = world.alice().await;

    let ended = crate::support::time::eventually("the session ends", async || {
        let answer = alice.get(alice.path()).await;
        (answer.status == 401).then_some(answer)
    })
    .await;

    ended.problem(Type::SessionUnknown);
    assert!(ended.headers.contains_key("accept-signature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nonce_and_created_are_near_the_servers_clock() {
    // A margin of two seconds on each side of the edge for a machine that has much else to do.
    let world = World::of(Setup::new().await.set("NONCE_WINDOW", "10s")).await;
    let alice = world.alice().await;
    let now = now();
    let at = |seconds: i64| UnixMicros(now.0.checked_add_signed(seconds * 1_000_000).unwrap());
    let ask = async |nonce: i64, created: i64| {
        let call = alice.call(Method::GET, alice.path());
        call.nonce(Nonce::at(at(nonce))).created(at(created).to_seconds()).send().await
    };
    // From the earliest accepted nonce on, since each must be greater than the last.
    for (nonce, created) in [(-30, 0), (-11, 0), (0, -12), (0, 13), (13, 0), (3600, 0)] {
        let answer = ask(nonce, created).await;
        let problem = answer.problem(Type::NonceOutOfWindow);
        let told = problem.now.unwrap();
        assert!(told >= now.0 && told < now.0 + 60 * SECOND);
        assert!(answer.headers.contains_key("date"));
    }
    ask(-4, 0).await.expect(200);
    ask(-3, -4).await.expect(200);
    ask(-2, 9).await.expect(200);
    ask(9, 0).await.expect(200);
    let answer = ask(-1, 0).await;
    answer.problem(Type::NonceReused);

    let address = world.organization.address(world.alice, random());
    for seconds in [-30, 30] {
        let nonce = Nonce::at(at(seconds));
        let signature = keys().await.alice.sign(password_text(&address, nonce).as_bytes()).await;
        let answer = request_password_with(&alice.http, &address, nonce, signature).await;
        assert!(answer.problem(Type::NonceOutOfWindow).now.is_some());
        assert_eq!(answer.header("www-authenticate"), Some("OpenPGP"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_request_does_not_move_the_nonce() {
    let world = World::new().await;
    let alice = world.alice().await;
    let base = now().0;
    let nonce = |ahead: u64| Nonce::at(UnixMicros(base + ahead));

    let forged = SessionKey::from_bytes([1; 32]);
    let far_ahead = alice.call(Method::GET, alice.path()).nonce(nonce(20 * SECOND)).with_key(forged);
    far_ahead.send().await.problem(Type::SignatureInvalid);
    // Neither does one with a good signature whose body is another one, nor one for another's path.
    let target = format!("{}/fetched", alice.client_path());
    let mut request = alice.call(Method::POST, target).nonce(nonce(15 * SECOND)).body(b"{\"messages\":[]}").build();
    *request.body_mut() = crate::support::http::Content::Whole(b"{\"messages\":[ ]}"[..].into());
    alice.http.send(request).await.problem(Type::SignatureInvalid);
    let elsewhere = alice.call(Method::GET, format!("{}/{}", alice.organization_path(), world.bob));
    elsewhere.nonce(nonce(15 * SECOND)).send().await.problem(Type::Forbidden);

    alice.call(Method::GET, alice.path()).nonce(nonce(1)).send().await.expect(200);
    alice.call(Method::GET, alice.path()).nonce(nonce(1)).send().await.problem(Type::NonceReused);
    alice.call(Method::GET, alice.path()).nonce(nonce(0)).send().await.problem(Type::NonceReused);
    alice.call(Method::GET, alice.path()).nonce(nonce(2)).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_nonce_on_many_connections_exactly_one_is_accepted() {
    let world = World::new().await;
    let alice = world.alice().await;
    for _ in 0..10 {
        let nonce = alice.nonce();
        let attempts = (0..32).map(|_| {
            let request = alice.call(Method::GET, alice.path()).nonce(nonce).build();
            let http = alice.http.clone();
            tokio::spawn(async move { http.send(request).await })
        });
        let answers = join_all(attempts).await.into_iter().map(Result::unwrap);
        assert_eq!(count(answers), [(200, 1), (401, 31)].into());
    }
}

fn count(answers: impl IntoIterator<Item = Answer>) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.status.as_u16()).or_default() += 1;
    }
    counts
}

async fn register_many(world: &World, how_many: usize) -> BTreeMap<u16, usize> {
    let key = &keys().await.bob;
    let attempts = (0..how_many).map(|_| {
        let address = world.organization.address(world.bob, random());
        let http = world.service.http.clone();
        tokio::spawn(async move { request_password(&http, &address, key).await })
    });
    let answers: Vec<Answer> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        refused.problem(Type::ClientLimit);
    }
    count(answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_registrations_at_once_never_exceed_the_limit() {
    let mut world = World::new().await;
    let http = world.service.http.clone();

    assert_eq!(register_many(&world, 24).await, [(200, 5), (403, 19)].into());

    // A statement gives more places, and another takes them away again: nobody loses a place, and none is free.
    world.organization.change(&http, client_limit(world.bob, 7)).await;
    assert_eq!(register_many(&world, 12).await, [(200, 2), (403, 10)].into());
    world.organization.change(&http, client_limit(world.bob, 3)).await;
    assert_eq!(register_many(&world, 2).await, [(403, 2)].into());
    world.organization.change(&http, client_limit(world.bob, 8)).await;
    let bob = world.bob().await;
    let listed: countersign_protocol::body::ClientList = bob.get(format!("{}/client", bob.path())).await.json(200);
    assert_eq!(listed.clients.len(), 8);
    // Whoever has a place may renew their session though none is free; a freed place can be taken.
    Client::begin(&http, bob.address, &keys().await.bob).await;
    request_password(&http, &world.organization.address(world.bob, random()), &keys().await.bob)
        .await
        .problem(Type::ClientLimit);
    let bob = Client::begin(&http, bob.address, &keys().await.bob).await;
    bob.call(Method::DELETE, bob.client_path()).send().await.expect(204);
    bob.get(bob.path()).await.problem(Type::SessionUnknown);
    world.bob().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deactivation_or_another_certificate_ends_sessions_at_once() {
    let mut world = World::new().await;
    let http = world.service.http.clone();
    let keys = keys().await;
    let (one, other) = (world.bob().await, world.bob().await);
    one.get(one.path()).await.expect(200);

    world.organization.change(&http, activity(world.bob, false)).await;
    for client in [&one, &other] {
        client.get(client.path()).await.problem(Type::SessionUnknown);
        request_password(&http, &client.address, &keys.bob).await.problem(Type::SignatureInvalid);
    }

    // Active again, the old sessions stay over; new ones begin.
    world.organization.change(&http, activity(world.bob, true)).await;
    one.get(one.path()).await.problem(Type::SessionUnknown);
    let one = Client::begin(&http, one.address, &keys.bob).await;
    one.get(one.path()).await.expect(200);

    world.organization.change(&http, certificate(world.bob, &keys.dave)).await;
    one.get(one.path()).await.problem(Type::SessionUnknown);
    request_password(&http, &one.address, &keys.bob).await.problem(Type::SignatureInvalid);
    let one = Client::begin(&http, one.address, &keys.dave).await;
    // What does not concern a session does not end it.
    world.organization.change(&http, client_limit(world.bob, 9)).await;
    one.get(one.path()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_listing_of_a_user_who_leaves_gets_nothing_sent_after() {
    let mut world = World::new().await;
    let http = world.service.http.clone();
    let (alice, bob) = (world.alice().await, world.bob().await);
    world.organization.change(&http, activity(world.bob, false)).await;
    let id = alice.message_id(crate::support::time::now_millis(), &[world.bob], b"x");

    alice.send_as(&id, &[world.bob], b"x").await.problem(Type::UnknownRecipient);

    bob.wait(0).await.problem(Type::SessionUnknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_tell_what_exists() {
    let world = World::new().await;
    let http = &world.service.http;
    let keys = keys().await;
    let nowhere = Organization::new();
    let existing = world.organization.address(world.alice, random());
    let no_user = world.organization.address(random(), random());
    let no_organization = nowhere.address(random(), random());

    // Unsigned, signed by a stranger, and under a session key that is none: everything but the request's id is alike.
    let mut answers: Vec<Vec<String>> = Vec::new();
    for address in [existing, no_user, no_organization] {
        let ClientAddress { organization, user, .. } = address;
        let stranger = Client::with_key(http, address, &keys.erin, SessionKey::from_bytes([9; 32]));
        let path = format!("/{organization}/{user}");
        let mut answered = vec![
            http.get(&format!("/{organization}")).await,
            http.get(&path).await,
            request_password(http, &address, &keys.erin).await,
        ];
        for target in [format!("/{organization}"), format!("/{organization}/log"), format!("{path}/message"), path] {
            answered.push(stranger.get(target).await);
        }
        let change = activity(user, false);
        answered.push(stranger_statement(&world, organization, change).await);
        answers.push(answered.iter().map(shown).collect());
    }

    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

async fn stranger_statement(
    world: &World,
    organization: OrganizationId,
    change: countersign_protocol::statement::Change,
) -> Answer {
    let head = world.organization.head;
    let forged = Organization { id: organization, head, signers: vec![keys().await.erin.clone()] };
    crate::support::organization::submit(&world.service.http, &forged.entry(change).await).await
}

fn shown(answer: &Answer) -> String {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", "request-id"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    headers.sort();
    format!("{} {headers:?} {}", answer.status, answer.text())
}
