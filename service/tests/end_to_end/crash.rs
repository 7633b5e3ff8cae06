//! No message that was answered 201 is lost, whenever the process is killed.

use crate::support::client::Client;
use crate::support::gnupg::keys;
use crate::support::ledger::Senders;
use crate::support::organization::Organization;
use crate::support::process::Setup;
use crate::support::time::random;

const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_201_outlives_twenty_kills() {
    let setup = Setup::new().await.durable().set("RATE_PER_CLIENT", 0);
    let mut service = setup.start().await;
    let (organization, people) = Organization::of_three(&service.http).await;
    let senders = Senders::start(&organization, &people, vec![service.http.clone()]);

    for kill in 0..KILLS {
        // At another moment each time, so that it meets senders everywhere.
        senders.send_more(1 + (kill * 37) % 101).await;
        service.process.kill().await;
        service = setup.start().await;
        senders.move_to(vec![service.http.clone()]);
    }

    let sent = senders.nothing_is_lost(&service.http, &organization, &people).await;
    assert!(sent > KILLS);
    assert!(service.process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_killed_keeps_the_organization_and_the_places() {
    let setup = Setup::new().await.durable().set("CLIENTS_PER_USER", 2);
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
