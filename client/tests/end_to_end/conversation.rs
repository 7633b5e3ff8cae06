//! Messages, files and receipts between people who mean well.

use crate::support::{Ended, World, keys};

#[test]
fn a_message_arrives_is_read_and_is_acknowledged() {
    let world = World::new();

    let number = world.alice.send(&["bob"], "The meeting is at noon.");
    assert!(world.alice.received_by(number).is_empty());
    let inbox = world.bob.json(&["inbox"]);

    let message = &inbox["messages"][0];
    assert_eq!(message["text"], "The meeting is at noon.");
    assert_eq!((&message["state"], &message["from"]), (&"verified".into(), &"Alice".into()));
    assert_eq!(world.alice.received_by(number), std::slice::from_ref(&world.bob.user));
    let read = world.bob.run(&["read", &message["number"].to_string()]).expect(0);
    assert_eq!(read.text(), "The meeting is at noon.");
    assert!(world.bob.json(&["inbox"])["messages"].as_array().unwrap().is_empty());
}

#[test]
fn several_recipients_and_both_ways() {
    let world = World::new();

    world.alice.send(&["bob", "carol"], "one");
    world.bob.texts();
    world.bob.send(&["alice"], "two");
    let number = world.carol.send(&["Alice", "Bob"], "three");

    assert_eq!(world.alice.texts(), ["two", "three"]);
    assert_eq!(world.bob.texts(), ["one", "three"]);
    assert_eq!(world.carol.texts(), ["one"]);
    assert_eq!(world.carol.received_by(number).len(), 2);
}

#[test]
fn a_second_device_sees_what_was_received_and_what_was_sent() {
    let world = World::new();
    let second = world.second_device(&world.bob);

    world.alice.send(&["bob"], "to Bob");
    world.bob.texts();
    let number = world.bob.send(&["carol"], "from Bob");
    world.carol.texts();
    world.bob.received_by(number);

    assert_eq!(second.texts(), ["to Bob"]);
    let all = second.json(&["inbox", "--all"]);
    let sent = all["messages"].as_array().unwrap().iter().find(|message| message["outgoing"] == true).unwrap();
    assert_eq!(sent["text"], "from Bob");
    let received = sent["recipients"].as_array().unwrap().iter().find(|to| to["user"] == world.carol.user.as_str());
    assert_eq!(received.unwrap()["received"], true);
    assert_eq!(second.json(&["client", "list"])["clients"].as_array().unwrap().len(), 2);
}

#[test]
fn a_file_larger_than_the_servers_limit_is_split_and_joined() {
    let world = World::new();
    let content: Vec<u8> =
        (0..2_500_000_u32).flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_be_bytes()).collect();
    let content = &content[..2_500_000];
    let file = world.alice.write("plan.bin", content);

    let sent = world.alice.json(&["send", "bob", "--file", &file]);
    assert_eq!((&sent["messages"][0]["parts"], &sent["messages"][0]["state"]), (&3.into(), &"sent".into()));
    let inbox = world.bob.json(&["inbox"]);

    assert_eq!(inbox["messages"].as_array().unwrap().len(), 1);
    let message = &inbox["messages"][0];
    assert_eq!((&message["state"], &message["file_name"]), (&"verified".into(), &"plan.bin".into()));
    let folder = world.bob.path("saved");
    std::fs::create_dir(&folder).unwrap();
    world.bob.run(&["read", &message["number"].to_string(), "--output", folder.to_str().unwrap()]).expect(0);
    assert!(std::fs::read(folder.join("plan.bin")).unwrap() == content);
    assert_eq!(
        world.alice.received_by(sent["messages"][0]["number"].as_i64().unwrap()),
        std::slice::from_ref(&world.bob.user)
    );
}

#[test]
fn plain_gpg_reads_what_the_client_sends() {
    let world = World::new();
    world.alice.send(&["bob"], "for any OpenPGP program");
    let ciphertext = {
        // What the server keeps for Bob, as a client without a secret key gets it: it stays sealed.
        let mut other = crate::support::Person::new(&keys().carol);
        let invitation = world.alice.json(&["invite", &world.carol.user]);
        other.json(&["join", invitation["text"].as_str().unwrap()]);
        other.user.clone_from(&world.carol.user);
        world.server.lie(&format!("readdress {}", world.carol.user));
        other.run(&["inbox"]).expect(76);
        world.server.be_honest();
        other.run(&["evidence", "1", "--raw"]).expect(0).stdout
    };

    let bob = &keys().bob;
    bob.gpg(&["--import"], keys().alice.certificate.as_bytes());
    let opened = bob.gpg(&["--decrypt"], &ciphertext);

    let text = String::from_utf8(opened).unwrap();
    assert!(text.starts_with(r#"{"countersign_envelope":1,"#), "{text}");
    assert!(text.ends_with("\nfor any OpenPGP program"), "{text}");
}

#[test]
fn what_is_sent_without_a_server_waits_in_the_outbox() {
    let world = World::new();
    // Its sessions and its log are known; then every request is lost.
    world.alice.json(&["log", "show"]);
    world.server.lie("lose-answer 1");

    let later = world.alice.run(&["--json", "send", "bob", "--later", "--message", "later"]).json(75);

    assert_eq!(later["messages"][0]["state"], "queued");
    assert_eq!(world.alice.json(&["inbox"])["sync"]["outbox"]["sent"].as_array().unwrap().len(), 1);
    assert_eq!(world.bob.texts(), ["later"]);
}

#[test]
fn receipts_can_be_switched_off() {
    let world = World::new();
    world.bob.json(&["profile", "set", "--receipts", "off"]);

    let number = world.alice.send(&["bob"], "quietly");

    assert_eq!(world.bob.texts(), ["quietly"]);
    assert!(world.alice.received_by(number).is_empty());
    // Nothing is fetched again: it is confirmed all the same.
    assert!(world.bob.json(&["inbox"])["sync"]["arrived"].as_array().unwrap().is_empty());
}

#[test]
fn watch_runs_a_command_for_each_message() {
    let world = World::new();
    world.alice.send(&["bob"], "first");
    let watch = world.bob.start(&["watch", "--count", "2", "--exec", "echo \"$COUNTERSIGN_FROM: $(cat)\""]);

    world.alice.send(&["bob"], "second");

    let output = watch.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Alice: first\nAlice: second\n");
}

#[test]
fn processes_of_one_profile_that_fetch_at_once_share_what_arrives() {
    let world = World::new();
    let sent: Vec<String> = (1..=8).map(|number| format!("message {number}")).collect();
    for text in &sent {
        world.alice.send(&["bob"], text);
    }

    let fetching: Vec<_> = (0..4).map(|_| world.bob.start(&["--json", "inbox"])).collect();
    let fetched: Vec<_> =
        fetching.into_iter().map(|child| Ended::of(child.wait_with_output().unwrap()).json(0)).collect();

    let mut arrived: Vec<i64> = fetched
        .iter()
        .flat_map(|inbox| inbox["sync"]["arrived"].as_array().unwrap())
        .map(|number| number.as_i64().unwrap())
        .collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=8).collect::<Vec<i64>>(), "{fetched:?}");
    assert_eq!(world.bob.texts(), sent);
    let receipts = world.alice.json(&["receipts"]);
    for message in receipts["messages"].as_array().unwrap() {
        let number = message["number"].as_i64().unwrap();
        assert_eq!(world.alice.received_by(number), std::slice::from_ref(&world.bob.user));
    }
}
