//! What was stored and not answered gets a later id in the end, and recipients drop the copy.

use std::time::Duration;

use countersign_client::connection::Trust;
use countersign_loadtest::chaos::{Proxy, Weather};
use countersign_loadtest::ledger::{Exit, Ledger, Options, Terms};
use countersign_loadtest::wire::Targets;

use crate::support::{Service, clock, entropy, eventually};

/// How old an id may be. The protocol's minute is long for a test.
const ID_AGE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_answers_are_lost_is_issued_again_and_its_copy_dropped() {
    let service = Service::start(&[("MESSAGE_ID_BEHIND", format!("{}s", ID_AGE.as_secs()))]).await;
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), service.address()).await.unwrap();
    let url = format!("http://{}", proxy.address()).parse().unwrap();
    let targets = Targets::new(&[url], &Trust::System).unwrap();
    let organization = service.organization(2).await;
    let folder = service.folder.path().join("ledger");
    let patience = Duration::from_millis(500);
    let options = Options { rate: 20.0, receipts_one_in: 0, patience, ..Options::default() };
    let ledger = Ledger::create(&folder, vec![organization], options, targets, clock(), entropy()).unwrap();
    let running = ledger.start().unwrap();
    let tally = running.tally();
    eventually("messages are promised", async || (tally.progress().accepted > 10).then_some(())).await;

    // Requests pass, so what is sent now is stored; its sender does not learn of it until its id is too old.
    proxy.set(Weather::Mute);
    let long_ago = clock().now().plus(ID_AGE * 2);
    eventually("ids are too old", async || (clock().now() > long_ago).then_some(())).await;
    proxy.set(Weather::Clear);
    eventually("a message is issued again", async || (tally.progress().reissued > 0).then_some(())).await;
    let verdict = running.finish(Duration::from_mins(1), Terms { late: Duration::from_hours(1) }).await.unwrap();

    assert_eq!(verdict.exit(), Exit::Kept, "{verdict}");
    assert!(verdict.reissued > 0 && verdict.copies > 0, "{verdict}");
    // Both were delivered; the one that was promised counts.
    assert!(verdict.unpromised > 0, "{verdict}");
}
