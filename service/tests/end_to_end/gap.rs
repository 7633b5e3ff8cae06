//! A client that was away for longer than messages are kept learns of it.

use countersign_protocol::time::parse_rfc3339;

use crate::support::process::Setup;
use crate::support::time::{eventually, now};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_away_for_longer_than_messages_are_kept_is_told_and_nobody_else() {
    let setup = Setup::new().await.set("RETENTION", "12s").set("INCONSISTENT_WINDOW", "3s");
    let setup = setup.set("MESSAGE_ID_BEHIND", "1s").set("MESSAGE_ID_AHEAD", "1s").set("MERGE_INTERVAL", "100ms");
    let world = World::of(setup.set("RATE_PER_CLIENT", 0)).await;
    let (alice, away, present) = (world.alice().await, world.bob().await, world.bob().await);
    assert_eq!(away.list().await.gap, None);
    alice.send(&[world.bob], b"missed").await;
    let sent = now();
    assert_eq!(present.list().await.messages.len(), 1);
    eventually("the message has expired", async || {
        let listing = present.list().await;
        assert_eq!(listing.gap, None, "it was here all the time");
        listing.messages.is_empty().then_some(())
    })
    .await;

    let told = away.list().await.gap.expect("it missed a message");

    assert!(parse_rfc3339(&told).unwrap() < sent);
    eventually("it was told for long enough", async || away.list().await.gap.is_none().then_some(())).await;
    assert_eq!(world.bob().await.list().await.gap, None, "a new client missed nothing");
    assert!(world.service.metric("countersign_gaps_told_total").await >= 2.0);
}
