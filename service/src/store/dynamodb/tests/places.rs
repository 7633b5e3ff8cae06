//! Places: however many race, at however many pods.

use countersign_protocol::id::{ClientAddress, ClientId};
use futures_util::future::join_all;

use super::*;
use crate::store::Claim;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_of_a_user_register_at_three_pods_at_once_and_none_twice() {
    let settings = shared_settings().await;
    let pods = join_all((0..3).map(|_| opened(settings.clone()))).await;
    let user = client();
    let clients: Vec<ClientAddress> =
        (0..200).map(|_| ClientAddress { client: ClientId::from_bytes(random()), ..user }).collect();

    // Each at two pods at once, as when a client is impatient.
    let claims = clients.iter().enumerate().flat_map(|(index, client)| {
        [index % 3, (index + 1) % 3].map(|pod| {
            let (registry, client) = (Arc::clone(&pods[pod].0.registry), *client);
            tokio::spawn(async move { registry.claim_place(&client, 150, UnixMicros(1)).await.unwrap() })
        })
    });
    let outcomes: Vec<Claim> = join_all(claims).await.into_iter().map(|claim| claim.unwrap()).collect();

    let held = pods[0].0.registry.clients(user.organization, user.user).await.unwrap();
    let mut of: Vec<ClientId> = held.iter().map(|held| held.client).collect();
    of.sort_unstable();
    of.dedup();
    assert_eq!((held.len(), of.len()), (150, 150));
    assert_eq!(held.iter().map(|held| held.place).collect::<Vec<_>>(), (0..150).collect::<Vec<_>>());
    assert_eq!(outcomes.iter().filter(|claim| **claim == Claim::Claimed).count(), 150);
    for (client, claims) in clients.iter().zip(outcomes.chunks(2)) {
        assert_eq!(of.binary_search(&client.client).is_ok(), claims.contains(&Claim::Claimed), "{claims:?}");
    }
}
