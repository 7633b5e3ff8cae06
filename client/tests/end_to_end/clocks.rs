//! Wrong clocks, and ids that have grown too old.

use std::time::Duration;

use countersign_client::clock::{Clock as _, SystemClock};

use crate::support::{Person, World};

/// How far times may be apart that are of one moment: the tests run beside each other.
const SLACK: Duration = Duration::from_secs(120);

fn seconds(time: &str) -> u64 {
    let output = std::process::Command::new("date").args(["--date", time, "+%s"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn a_device_with_a_wrong_clock_does_everything_all_the_same() {
    let world = World::new();
    // The last two are near enough for the server, so nobody corrects them.
    for offset in ["-3h", "+2d", "-20s", "+20s"] {
        let joined = |person: &Person| {
            let mut device = Person::with_clock(&person.key, offset);
            let invitation = world.alice.json(&["invite", &person.user]);
            device.json(&["join", invitation["text"].as_str().unwrap()]);
            device.user.clone_from(&person.user);
            device
        };
        let (alice, bob) = (joined(&world.alice), joined(&world.bob));

        let text = format!("to a clock {offset}");
        let number = world.alice.send(&["bob"], &text);
        assert_eq!(bob.texts().last(), Some(&text));
        assert_eq!(world.alice.received_by(number), std::slice::from_ref(&bob.user));
        let text = format!("from a clock {offset}");
        let number = bob.send(&["alice"], &text);
        assert_eq!(world.alice.texts().last(), Some(&text));
        assert_eq!(bob.received_by(number), std::slice::from_ref(&world.alice.user));

        // Its time is the server's, and so is that of a change, and of the signature under it.
        let inbox = world.alice.json(&["inbox", "--all", "--limit", "1000"]);
        let message = inbox["messages"].as_array().unwrap().iter().find(|message| message["text"] == *text).unwrap();
        let now = SystemClock.now().to_seconds();
        assert!(seconds(message["time"].as_str().unwrap()).abs_diff(now) < SLACK.as_secs(), "{message}");
        let changed = alice.json(&["user", "update", "carol", "--client-limit", "9"]);
        assert_eq!(changed["state"], "done");
        world.bob.json(&["log", "verify"]);
    }
}

#[test]
fn what_was_stored_and_not_answered_gets_a_new_id_when_the_old_one_is_too_old() {
    let window = Duration::from_secs(2);
    let world = World::with(&[("MESSAGE_ID_BEHIND", "2s")]);
    world.server.lie("hold-sent");
    let mut killed = world.alice.start(&["send", "bob", "--message", "once"]);
    world.server.wait_until_holding();
    let stored = SystemClock.now();
    killed.kill().unwrap();
    killed.wait().unwrap();
    world.server.be_honest();
    while SystemClock.now() <= stored.plus(window) {
        // Meanwhile others go on.
        world.carol.texts();
    }

    let report = world.alice.json(&["inbox"]);

    assert_eq!(report["sync"]["outbox"]["sent"].as_array().unwrap().len(), 1, "{report}");
    let metric = |series| world.service.metric(series);
    assert!(metric(r#"countersign_rejections_total{reason="id-out-of-window"}"#) >= 1.0);
    assert!(metric(r#"countersign_requests_total{operation="send_message",outcome="ok"}"#) >= 2.0);
    assert_eq!(world.bob.texts(), ["once"]);
    assert_eq!(world.alice.received_by(1), std::slice::from_ref(&world.bob.user));
}
