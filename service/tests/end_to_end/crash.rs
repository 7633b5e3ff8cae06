//! No message that was answered 201 is lost, whenever the process is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::message_id::MessageId;
use http::Method;
use tokio::sync::watch;

use crate::support::client::Client;
use crate::support::gnupg::{Key, keys};
use crate::support::http::Http;
use crate::support::organization::Organization;
use crate::support::process::Setup;
use crate::support::time::{eventually, now_millis, random};

const KILLS: usize = 20;

/// What senders wrote down: each message that was answered 201, with its recipients and content.
type Ledger = Arc<Mutex<BTreeMap<MessageId, (Vec<UserId>, Vec<u8>)>>>;

/// Where the service is now; none once all is over.
type Place = watch::Receiver<Option<Http>>;

/// Sends until the end. What is not answered is sent again under the same id, over whichever process is there then.
async fn send(address: ClientAddress, key: Key, recipients: Vec<UserId>, ledger: Ledger, mut place: Place) {
    let mut number = 0_u64;
    let mut pending: Option<(MessageId, Vec<u8>)> = None;
    loop {
        let Some(http) = place.borrow_and_update().clone() else { return };
        let Some(client) = Client::try_begin(&http, address, &key).await else {
            // Killed; wait for the next process.
            tokio::select! {
                changed = place.changed() => changed.unwrap(),
                () = tokio::time::sleep(std::time::Duration::from_millis(100)) => {}
            }
            continue;
        };
        while place.borrow().is_some() {
            let (id, content) = pending.take().unwrap_or_else(|| {
                number += 1;
                let content = format!("{} {number}", address.client).into_bytes();
                (client.message_id(now_millis(), &recipients, &content), content)
            });
            let call = client.call(Method::POST, client.send_target(&id, &recipients)).body(&content);
            match client.http.try_send(call.build()).await.map(|answer| answer.status.as_u16()) {
                Ok(201) => drop(ledger.lock().unwrap().insert(id, (recipients.clone(), content))),
                // Too old by now: its next attempt would be a new id, so a new message.
                Ok(409) => {}
                Ok(401 | 503) | Err(_) => {
                    pending = Some((id, content));
                    break;
                }
                Ok(status) => panic!("a message is answered {status}"),
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

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_201_outlives_twenty_kills() {
    let setup = Setup::new().await.embedded().set("RATE_PER_CLIENT", 0);
    let keys = keys().await;
    let mut service = setup.start().await;
    let (mut organization, alice) = Organization::create(&service.http, &keys.alice).await;
    let bob = organization.add(&service.http, &keys.bob, false).await;
    let carol = organization.add(&service.http, &keys.carol, false).await;
    let users = [(alice, &keys.alice), (bob, &keys.bob), (carol, &keys.carol)];
    let ledger = Ledger::default();
    let (place, places) = watch::channel(Some(service.http.clone()));
    let mut senders = Vec::new();
    for (user, key) in users.into_iter().chain([users[0]]) {
        let address = organization.address(user, random());
        let recipients = users.iter().map(|(user, _)| *user).filter(|other| *other != user).collect();
        senders.push(tokio::spawn(send(address, key.clone(), recipients, Arc::clone(&ledger), places.clone())));
    }

    for kill in 0..KILLS {
        // At another moment each time, so that it meets senders everywhere.
        let before = ledger.lock().unwrap().len();
        let enough = before + 1 + (kill * 37) % 101;
        eventually("messages are sent", async || (ledger.lock().unwrap().len() >= enough).then_some(())).await;
        service.process.kill().await;
        service = setup.start().await;
        place.send_replace(Some(service.http.clone()));
    }
    place.send_replace(None);
    for sender in senders {
        sender.await.unwrap();
    }

    let ledger = ledger.lock().unwrap().clone();
    assert!(ledger.len() > KILLS);
    for (user, key) in users.into_iter().chain([users[1], users[2]]) {
        let client = organization.client(&service.http, user, key).await;
        let listed = list_all(&client).await;
        let mine = ledger.iter().filter(|(_, (recipients, _))| recipients.contains(&user));
        let lost: Vec<_> = mine.clone().filter(|(id, _)| !listed.contains(id)).collect();
        assert!(lost.is_empty(), "{} of {} are lost", lost.len(), ledger.len());
        for (id, (_, content)) in mine.step_by(10) {
            assert_eq!(client.read(id).await, *content);
        }
    }
    assert!(service.process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_killed_keeps_the_organization_and_the_places() {
    let setup = Setup::new().await.embedded().set("CLIENTS_PER_USER", 2);
    let mut service = setup.start().await;
    let (mut organization, alice) = Organization::create(&service.http, &keys().await.alice).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(organization.client(&service.http, alice, &keys().await.alice).await.address);
    }
    for round in 0..3 {
        let key = [&keys().await.bob, &keys().await.carol, &keys().await.dave][round];
        organization.add(&service.http, key, false).await;
        service.process.kill().await;
        service = setup.start().await;

        let client = Client::begin(&service.http, clients[round % 2], &keys().await.alice).await;
        let page: countersign_protocol::body::UserPage = client.get(client.organization_path()).await.json(200);
        assert_eq!((Some(page.head), page.users.len()), (organization.head, round + 2));
        let address = organization.address(alice, random());
        crate::support::client::request_password(&service.http, &address, &keys().await.alice)
            .await
            .problem(countersign_protocol::problem::ProblemType::ClientLimit);
    }
}
