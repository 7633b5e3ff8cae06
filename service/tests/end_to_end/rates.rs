//! Rates of requests, per client and per address.

use countersign_protocol::problem::ProblemType as Type;
use http::{Method, Request};

use crate::support::http::{Answer, Content, Http};
use crate::support::process::Setup;
use crate::support::time::eventually;
use crate::support::world::World;

/// Asks for a path that is not there, which costs next to nothing but counts.
async fn from(http: &Http, forwarded: &str) -> Answer {
    http.send(Request::get("/").header("x-forwarded-for", forwarded).body(Content::Nothing).unwrap()).await
}

/// Asks until a request is refused.
async fn exhaust(http: &Http, forwarded: &str) {
    eventually("the rate is exceeded", async || {
        let answer = from(http, forwarded).await;
        (answer.status == 429).then(|| answer.problem(Type::RateLimited))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_its_own_rate() {
    let world = World::of(Setup::new().await.set("RATE_PER_CLIENT", 1)).await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    eventually("the rate is exceeded", async || {
        let answer = alice.get(alice.path()).await;
        (answer.status == 429).then(|| answer.problem(Type::RateLimited))
    })
    .await;

    bob.get(bob.path()).await.expect(200);
    eventually("time gives the client another request", async || {
        (alice.get(alice.path()).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_refused_for_its_rate_uses_no_nonce() {
    let world = World::of(Setup::new().await.set("RATE_PER_CLIENT", 1)).await;
    let alice = world.alice().await;
    let nonce = eventually("the rate is exceeded", async || {
        let nonce = alice.nonce();
        let answer = alice.call(Method::GET, alice.path()).nonce(nonce).send().await;
        (answer.status == 429).then_some(nonce)
    })
    .await;

    eventually("the same request is accepted later", async || {
        let answer = alice.call(Method::GET, alice.path()).nonce(nonce).send().await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_believed_only_from_trusted_proxies() {
    let strict = Setup::new().await.set("RATE_PER_ADDRESS", 20);
    let untrusted = strict.start().await;
    let trusting = strict.clone().set("STORE", "memory:").set("TRUSTED_PROXIES", "192.0.2.0/24, 127.0.0.0/8");
    let trusted = trusting.start().await;

    // Without trust all requests are those of the peer, whatever they say.
    exhaust(&untrusted.http, "203.0.113.1").await;
    eventually("another address is refused too", async || {
        let answers = futures_util::future::join_all((0..50).map(|host| {
            let http = untrusted.http.clone();
            async move { from(&http, &format!("203.0.113.{host}")).await }
        }));
        answers.await.iter().any(|answer| answer.status == 429).then_some(())
    })
    .await;

    // With trust each client behind the proxy has its own rate, and cannot lend itself another one.
    exhaust(&trusted.http, "203.0.113.1").await;
    from(&trusted.http, "203.0.113.2").await.expect(404);
    exhaust(&trusted.http, "198.51.100.7, 203.0.113.3, 192.0.2.4").await;
    from(&trusted.http, "203.0.113.3, 198.51.100.7").await.expect(404);
    exhaust(&trusted.http, "2001:db8:1:2::1").await;
    from(&trusted.http, "2001:db8:1:3::1").await.expect(404);
}
