//! Each limit at its edge.

use std::time::Duration;

use bytes::Bytes;
use countersign_protocol::body::Listing;
use countersign_protocol::id::UserId;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::problem::ProblemType as Type;
use http::{Method, Request};

use crate::support::client::Client;
use crate::support::http::{Answer, Content};
use crate::support::organization::{client_limit, submission};
use crate::support::process::Setup;
use crate::support::time::{monotonic, now_millis, random, soon};
use crate::support::world::World;

const MIB: usize = 1024 * 1024;

async fn send_whole(client: &Client, to: UserId, content: &[u8]) -> Answer {
    let id = client.message_id(now_millis(), &[to], content);
    client.call(Method::POST, client.send_target(&id, &[to])).body(content).send().await
}

async fn send_pieces(client: &Client, to: UserId, content: &[u8]) -> Answer {
    let id = client.message_id(now_millis(), &[to], content);
    client.call(Method::POST, client.send_target(&id, &[to])).pieces(content, 16 * 1024).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_has_one_byte_to_one_mebibyte() {
    let world = World::new().await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let largest = vec![1; MIB];
    let mut sent = Vec::new();
    for content in [&b"x"[..], &largest] {
        send_whole(&alice, world.bob, content).await.expect(201);
        sent.push(content.len() as u64);
        // One bit differs, so that it is another message.
        let other: Vec<u8> = content.iter().map(|byte| byte ^ 1).collect();
        send_pieces(&alice, world.bob, &other).await.expect(201);
        sent.push(content.len() as u64);
    }

    let too_large = vec![2; MIB + 1];
    send_whole(&alice, world.bob, &too_large).await.problem(Type::ContentTooLarge);
    send_pieces(&alice, world.bob, &too_large).await.problem(Type::ContentTooLarge);
    let far_too_large = vec![2; 8 * MIB];
    for _ in 0..5 {
        send_whole(&alice, world.bob, &far_too_large).await.problem(Type::ContentTooLarge);
    }
    let id = alice.message_id(now_millis(), &[world.bob], b"");
    let target = alice.send_target(&id, &[world.bob]);
    alice.call(Method::POST, &target).send().await.problem(Type::MalformedRequest);
    alice.call(Method::POST, &target).pieces(b"", 1).send().await.problem(Type::MalformedRequest);

    let sizes: Vec<u64> = bob.list().await.messages.iter().map(|item| item.size).collect();
    assert_eq!(sizes.len(), sent.len());
    assert!(sizes.iter().all(|size| sent.contains(size)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_one_to_a_hundred_recipients() {
    let world = World::new().await;
    let alice = world.alice().await;
    // Strangers, so that being unknown tells that the number was accepted.
    let recipients: Vec<UserId> = (0..101).map(|_| random()).collect();
    let id = alice.message_id(now_millis(), &recipients[..100], b"x");

    let answer = alice.send_as(&id, &recipients[..100], b"x").await;
    assert_eq!(answer.problem(Type::UnknownRecipient).recipients.len(), 100);
    // A repeat is no other recipient.
    let repeated = [&recipients[..100], &recipients[..100]].concat();
    alice.send_as(&id, &repeated, b"x").await.problem(Type::UnknownRecipient);
    alice.send_as(&id, &recipients, b"x").await.problem(Type::MalformedRequest);
    alice.send_as(&id, &[], b"x").await.problem(Type::MalformedRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_contents_and_recipients_are_settings() {
    let world = World::of(Setup::new().await.set("RECIPIENTS", 2).set("CONTENT_BYTES", 10)).await;
    let alice = world.alice().await;
    let (both, three) = ([world.alice, world.bob], [world.alice, world.bob, random()]);

    alice.send(&both, b"0123456789").await;
    send_whole(&alice, world.bob, b"0123456789a").await.problem(Type::ContentTooLarge);
    let id = alice.message_id(now_millis(), &three, b"x");
    alice.send_as(&id, &three, b"x").await.problem(Type::MalformedRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_one_to_ten_thousand_items() {
    let world = World::of(Setup::new().await.set("LIST_PAGE", 2)).await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let mut sent = Vec::new();
    for number in 0..3_u8 {
        sent.push(alice.send(&[world.bob], &[number]).await);
    }
    sent.sort_unstable();
    let page = async |limit: &str| bob.get(format!("{}/message{limit}", bob.path())).await;
    let ids = |listing: &Listing| listing.messages.iter().map(|item| item.id).collect::<Vec<_>>();

    let one: Listing = page("?limit=1").await.json(200);
    assert_eq!((ids(&one), one.more), (sent[..1].to_vec(), true));
    let two: Listing = page("").await.json(200);
    assert_eq!((ids(&two), two.more), (sent[..2].to_vec(), true));
    let three: Listing = page("?limit=3").await.json(200);
    assert_eq!((ids(&three), three.more), (sent.clone(), false));
    let all: Listing = page("?limit=10000").await.json(200);
    assert_eq!((ids(&all), all.more), (sent, false));
    for limit in ["?limit=0", "?limit=10001", "?limit=-1", "?limit=1e3"] {
        page(limit).await.problem(Type::MalformedRequest);
    }
    for (limit, status) in [(0, 400), (1, 200), (1_000, 200), (1_001, 400)] {
        alice.get(format!("{}?limit={limit}", alice.organization_path())).await.expect(status);
        alice.get(format!("{}/log?limit={limit}", alice.organization_path())).await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_holds_ten_thousand_ids() {
    let world = World::new().await;
    let bob = world.bob().await;
    let mut ids: Vec<MessageId> =
        (0..9_999_u32).map(|number| bob.message_id(now_millis(), &[world.bob], &number.to_be_bytes())).collect();
    let real = world.alice().await.send(&[world.bob], b"x").await;
    ids.push(real);

    bob.confirm(&ids).await.expect(204);
    assert!(bob.list().await.messages.is_empty(), "the known one among the unknown is confirmed");
    bob.confirm(&[]).await.expect(204);
    ids.push(real);
    bob.confirm(&ids).await.problem(Type::MalformedRequest);
    let target = format!("{}/fetched", bob.client_path());
    bob.call(Method::POST, target).body(&vec![b' '; 700_000]).send().await.problem(Type::ContentTooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ids_time_is_near_the_servers_clock() {
    let world = World::new().await;
    let alice = world.alice().await;
    for (seconds, accepted) in [(-90, false), (-62, false), (-50, true), (0, true), (28, true), (45, false)] {
        let time = now_millis().0.checked_add_signed(seconds * 1_000).unwrap();
        let id = alice.message_id(countersign_protocol::time::UnixMillis(time), &[world.bob], b"x");
        let answer = alice.send_as(&id, &[world.bob], b"x").await;
        if accepted {
            answer.expect(201);
        } else {
            assert!(answer.problem(Type::IdOutOfWindow).now.is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statements_request_has_a_quarter_of_a_mebibyte() {
    let mut world = World::new().await;
    let http = world.service.http.clone();
    for (excess, status) in [(1, 413), (0, 200), (1_000_000, 413)] {
        let entry = world.organization.entry(client_limit(world.bob, 6)).await;
        let (head, content) = submission(&entry).into_parts();
        let Content::Whole(body) = content else { panic!("a statement is sent whole") };
        let mut body = body.to_vec();
        body.resize(256 * 1024 + excess, b' ');
        let request = Request::from_parts(head.clone(), Content::Whole(Bytes::from(body.clone())));
        let answer = http.send(request).await.expect(status);
        if status == 200 {
            world.organization.head = Some(answer.json(200));
        } else {
            answer.problem(Type::ContentTooLarge);
            let pieces = body.chunks(10_000).map(Bytes::copy_from_slice).collect();
            http.send(Request::from_parts(head, Content::Pieces(pieces))).await.problem(Type::ContentTooLarge);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_waits_until_something_is_new() {
    let world = World::new().await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let waiting = tokio::spawn(async move {
        let answer = bob.wait(55).await;
        (bob, answer)
    });
    crate::support::time::eventually("the listing waits", async || {
        let waiting = r#"countersign_requests_in_flight{operation="list_messages"}"#;
        (world.service.metric(waiting).await > 0.5).then_some(())
    })
    .await;

    let start = monotonic();
    let sent = alice.send(&[world.bob], b"now").await;
    let (bob, answer) = soon("the listing is answered", waiting).await.unwrap();

    assert!(monotonic().duration_since(start) < Duration::from_secs(5), "the poll interval is 10 s");
    assert_eq!(answer.header("preference-applied"), Some("wait=55"));
    let listing: Listing = answer.json(200);
    assert_eq!(listing.messages[0].id, sent);
    // With something new there is nothing to wait for.
    let start = monotonic();
    bob.wait(55).await.expect(200);
    assert!(monotonic().duration_since(start) < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_waited_in_vain_is_empty() {
    let world = World::of(Setup::new().await.set("LONG_POLL", "2s")).await;
    let bob = world.bob().await;
    // No longer than asked for, and no longer than allowed.
    for (asked, applied) in [(1, 1), (50, 2), (0, 0)] {
        let start = monotonic();
        let answer = bob.wait(asked).await;
        let took = monotonic().duration_since(start);
        assert_eq!(answer.header("preference-applied"), Some(format!("wait={applied}").as_str()));
        assert!(answer.json::<Listing>(200).messages.is_empty());
        assert!(took >= Duration::from_secs(applied) && took < Duration::from_secs(applied + 10), "{took:?}");
    }
    let call = bob.call(Method::GET, format!("{}/message", bob.path())).prefer("wait=soon".to_owned());
    call.send().await.problem(Type::MalformedRequest);
    let unasked = bob.get(format!("{}/message", bob.path())).await.expect(200);
    assert_eq!(unasked.header("preference-applied"), None);
}
