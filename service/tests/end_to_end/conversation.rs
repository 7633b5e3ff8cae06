//! The life of an organization: three users, five clients, encrypted contents, restarts in between. It passes every row of
//! the table of routes.

use std::collections::BTreeSet;

use countersign_protocol::body::{ClientList, ItemKind, LogPage, Sent, User, UserPage};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::log::Head;
use countersign_protocol::message_id::MessageId;
use http::Method;

use crate::support::client::Client;
use crate::support::gnupg::{decrypt, encrypt, keys};
use crate::support::openapi::description;
use crate::support::organization::{Organization, activity, administration, client_limit};
use crate::support::process::{Service, Setup};
use crate::support::time::now_millis;

/// Each client of each user, in the order of the users.
struct Clients {
    alice: [Client; 2],
    bob: [Client; 2],
    carol: [Client; 1],
}

impl Clients {
    /// Begins sessions again, as clients do when a service was restarted that keeps sessions in memory.
    async fn again(self, service: &Service) -> Self {
        let again = async |client: &Client| Client::begin(&service.http, client.address, &client.openpgp).await;
        Self {
            alice: [again(&self.alice[0]).await, again(&self.alice[1]).await],
            bob: [again(&self.bob[0]).await, again(&self.bob[1]).await],
            carol: [again(&self.carol[0]).await],
        }
    }
}

fn ids(listing: &countersign_protocol::body::Listing) -> Vec<MessageId> {
    listing.messages.iter().map(|item| item.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_users_with_five_clients_converse_through_restarts() {
    let keys = keys().await;
    let service = Setup::new().await.durable().start().await;
    let seen = service.seen.clone();

    // An organization of three, two of whom are administrators.
    let (mut organization, alice) = Organization::create(&service.http, &keys.alice).await;
    let bob = organization.add(&service.http, &keys.bob, true).await;
    let carol = organization.add(&service.http, &keys.carol, false).await;

    let service = service.restart().await;
    let head = organization.change(&service.http, client_limit(carol, 1)).await;
    let client = async |user, key| organization.client(&service.http, user, key).await;
    let clients = Clients {
        alice: [client(alice, &keys.alice).await, client(alice, &keys.alice).await],
        bob: [client(bob, &keys.bob).await, client(bob, &keys.bob).await],
        carol: [client(carol, &keys.carol).await],
    };
    the_organization_is_as_its_log_says(&clients.carol[0], head).await;
    let everyone = [alice, bob, carol];

    // Alice writes to the others, once to all and once to Carol alone.
    let to_both = encrypt(b"To Bob and Carol.", &[&keys.bob, &keys.carol]).await;
    let to_carol = encrypt(b"To Carol alone.", &[&keys.carol]).await;
    let first = clients.alice[0].send(&everyone[1..], &to_both).await;
    let second = clients.alice[0].send(&[carol], &to_carol).await;
    seen.lock().unwrap().extend(service.seen.lock().unwrap().iter().cloned());

    let service = service.restart().await;
    let clients = clients.again(&service).await;
    for client in &clients.bob {
        assert_eq!(ids(&client.list().await), [first]);
    }
    assert_eq!(ids(&clients.carol[0].list().await).into_iter().collect::<BTreeSet<_>>(), [first, second].into());
    assert_eq!(clients.bob[0].read(&first).await, to_both);
    assert_eq!(decrypt(&clients.carol[0].read(&second).await).await, b"To Carol alone.");
    assert_eq!(clients.alice[1].read(&first).await, to_both, "a sender may read what they sent");

    // Reading changed nothing. One client confirms, one acknowledges; the other client of Bob has done neither.
    clients.bob[0].confirm(&[first]).await.expect(204);
    let (receipt, signature) = clients.carol[0].acknowledge(&first, &alice, &to_both).await;
    clients.carol[0].confirm(&[second]).await.expect(204);
    seen.lock().unwrap().extend(service.seen.lock().unwrap().iter().cloned());

    let service = service.restart().await;
    let clients = clients.again(&service).await;
    assert_eq!(ids(&clients.bob[0].list().await), []);
    assert_eq!(ids(&clients.bob[1].list().await), [first]);
    assert_eq!(ids(&clients.carol[0].list().await), []);
    for client in &clients.alice {
        let listing = client.list().await;
        let item = listing.messages.first().unwrap();
        assert_eq!((item.id, item.kind, item.from, item.of), (receipt, ItemKind::Receipt, carol, Some(first)));
        assert_eq!(client.read(&receipt).await, signature);
    }

    a_retry_is_the_same_message(&clients.bob[0], alice, &clients.alice[1]).await;

    // Bob loses a device, and Carol leaves.
    let lost = clients.bob[1].address.client;
    let listed: ClientList = clients.bob[0].get(format!("{}/client", clients.bob[0].path())).await.json(200);
    assert_eq!(listed.clients.len(), 2);
    let target = format!("{}/client/{lost}", clients.bob[0].path());
    clients.bob[0].call(Method::DELETE, &target).send().await.expect(204);
    clients.bob[0].call(Method::DELETE, target).send().await.expect(404);
    clients.bob[1].get(format!("{}/message", clients.bob[1].path())).await.expect(401);
    organization.change(&service.http, activity(carol, false)).await;
    clients.carol[0].get(clients.carol[0].path()).await.expect(401);
    organization.change(&service.http, administration(bob, false)).await;
    let record: User = clients.bob[0].get(clients.bob[0].path()).await.json(200);
    assert!(!record.administrator && record.active);
    seen.lock().unwrap().extend(service.seen.lock().unwrap().iter().cloned());

    // Every operation of the description was passed, and succeeded.
    let succeeded: BTreeSet<String> = {
        let seen = seen.lock().unwrap();
        seen.iter().filter(|(_, status)| *status < 300).map(|(operation, _)| operation.clone()).collect()
    };
    assert_eq!(succeeded, description().operations());
    assert!(service.process.terminate().await.success());
}

async fn the_organization_is_as_its_log_says(client: &Client, head: Head) {
    let page: UserPage = client.get(client.organization_path()).await.json(200);
    assert_eq!((page.organization, page.head, page.next), (client.address.organization, head, None));
    let own: User = client.get(client.path()).await.json(200);
    assert_eq!(page.users.iter().find(|user| user.user == client.user()), Some(&own));
    assert_eq!((own.fingerprint, own.client_limit), (client.openpgp.fingerprint.clone(), 1));

    let log: LogPage = client.get(format!("{}/log?after=-1", client.organization_path())).await.json(200);
    assert_eq!((log.head, log.entries.len() as u64), (head, head.sequence + 1));
    assert_eq!(Sha256Digest::of(log.entries.last().unwrap().statement.as_bytes()), head.hash);
    let rest: LogPage = client.get(format!("{}/log?after=1", client.organization_path())).await.json(200);
    assert_eq!(rest.entries, log.entries[2..]);

    // The users and the log a page at a time are the same as at once.
    let mut after = String::new();
    let mut users = Vec::new();
    loop {
        let target = format!("{}?limit=1{after}", client.organization_path());
        let one: UserPage = client.get(target).await.json(200);
        users.extend(one.users);
        let Some(next) = one.next else { break };
        after = format!("&after={next}");
    }
    assert_eq!(users, page.users);
}

async fn a_retry_is_the_same_message(sender: &Client, recipient: countersign_protocol::id::UserId, reader: &Client) {
    let content = encrypt(b"Twice.", &[&keys().await.alice]).await;
    let id = sender.message_id(now_millis(), &[recipient], &content);

    for _ in 0..2 {
        // The recipient named twice is the recipient named once.
        let sent: Sent = sender.send_as(&id, &[recipient, recipient], &content).await.json(201);
        assert_eq!(sent.id, id);
    }

    assert_eq!(ids(&reader.list().await).iter().filter(|listed| **listed == id).count(), 1);
}
