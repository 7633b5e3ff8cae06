//! Public-key work never starves requests that need none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_protocol::nonce::Nonce;
use countersign_protocol::problem::ProblemType as Type;
use countersign_protocol::session_key::password_text;
use countersign_protocol::time::UnixMicros;
use futures_util::future::join_all;

use crate::support::client::request_password_with;
use crate::support::gnupg::keys;
use crate::support::organization::client_limit;
use crate::support::process::Setup;
use crate::support::time::{now, random, soon};
use crate::support::world::World;

const REQUESTS: usize = 1_000;
/// Fewer than an HTTP/2 connection may have streams.
const PER_CONNECTION: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_password_requests_at_once_leave_messages_alone() {
    // The window is long, since GnuPG takes its time to make so many signatures.
    let mut world = World::of(Setup::new().await.set("NONCE_WINDOW", "10min")).await;
    world.organization.change(&world.service.http, client_limit(world.alice, 1_000)).await;
    let key = &keys().await.alice;
    let signed = join_all((0..REQUESTS).map(|number| {
        let address = world.organization.address(world.alice, random());
        let nonce = Nonce::at(UnixMicros(now().0 + number as u64));
        async move { (address, nonce, key.sign(password_text(&address, nonce).as_bytes()).await) }
    }))
    .await;
    let bob = Arc::new(world.bob().await);
    let over = Arc::new(AtomicBool::new(false));
    let sender = tokio::spawn({
        let (bob, over, alice) = (Arc::clone(&bob), Arc::clone(&over), world.alice);
        async move {
            let mut sent = 0_u64;
            while !over.load(Ordering::SeqCst) {
                bob.send(&[alice], &sent.to_be_bytes()).await;
                bob.list().await;
                sent += 1;
            }
            sent
        }
    });

    let requests = signed.chunks(PER_CONNECTION).flat_map(|chunk| {
        let http = world.service.http.http2();
        chunk.iter().map(move |(address, nonce, signature)| {
            let (http, address, nonce, signature) = (http.clone(), *address, *nonce, signature.clone());
            tokio::spawn(async move { request_password_with(&http, &address, nonce, signature).await })
        })
    });
    let answers = soon("all are answered", join_all(requests)).await;
    over.store(true, Ordering::SeqCst);

    let sent = sender.await.unwrap();
    assert!(sent > 0);
    let mut granted = 0;
    for answer in answers.into_iter().map(Result::unwrap) {
        if answer.status == 200 {
            granted += 1;
        } else {
            answer.problem(Type::Unavailable);
        }
    }
    assert!(granted >= 256, "the queue alone holds 256, and {granted} were granted");
    // Those that were turned away can come back at once with the same signature: nothing was used up.
    let (address, nonce, signature) = signed.last().unwrap().clone();
    let again = request_password_with(&world.service.http, &address, nonce, signature).await;
    assert!([200, 401].contains(&again.status.as_u16()));
}
