//! The two-man rule, as people live with it.

use crate::support::{Person, World, keys};

/// Bob becomes an administrator, so that two must sign from now on.
fn with_two_administrators() -> World {
    let world = World::new();
    assert_eq!(world.alice.json(&["user", "update", "bob", "--administrator", "yes"])["state"], "done");
    world
}

#[test]
fn a_draft_travels_as_a_file_to_the_second_administrator() {
    let world = with_two_administrators();
    let dave = world.alice.write("dave.asc", &keys().mallory.certificate);
    let file = world.alice.path("dave.change");
    let file = file.to_str().unwrap();

    let drafted = world.alice.json(&["user", "add", &dave, "--output", file]);
    assert_eq!(
        (&drafted["state"], &drafted["signed"], &drafted["needed"]),
        (&"drafted".into(), &1.into(), &2.into())
    );
    // One signature is not enough, and Alice's second one would not count.
    assert!(world.alice.run(&["change", "submit", file]).expect(64).stderr.contains("2 are needed"));
    assert!(world.alice.run(&["change", "sign", file, "--yes"]).expect(64).stderr.contains("already"));
    let shown = world.bob.run(&["change", "show", file]).expect(0).text();
    assert!(shown.contains("add user Mallory") && shown.contains("signed by Alice"), "{shown}");
    // Nobody is there to be asked, and nothing is signed blindly.
    world.bob.run(&["change", "sign", file]).expect(64);
    assert_eq!(world.bob.json(&["change", "sign", file, "--yes", "--submit"])["state"], "done");

    let users = world.carol.json(&["user", "list"]);
    assert_eq!(users["users"].as_array().unwrap().len(), 4);
    assert_eq!(world.carol.json(&["log", "verify"])["head"]["sequence"], 4);
}

#[test]
fn a_change_is_countersigned_inside_countersign() {
    let world = with_two_administrators();

    let requested = world.alice.json(&["user", "update", "carol", "--active", "no", "--request", "bob"]);
    assert_eq!(requested["state"], "requested");
    let inbox = world.bob.run(&["inbox"]).expect(0).text();
    assert!(inbox.contains("asks you to countersign"), "{inbox}");
    let number = world.bob.json(&["inbox"])["messages"][0]["number"].to_string();
    let shown = world.bob.run(&["change", "show", &number]).expect(0).text();
    assert!(shown.contains("change Carol") && shown.contains("is deactivated"), "{shown}");
    world.bob.json(&["change", "sign", &number, "--yes", "--submit"]);

    assert_eq!(world.alice.json(&["user", "show", "carol"])["active"], false);
    // Carol is out: her session is over, and nobody can send to her.
    assert_ne!(world.carol.run(&["inbox"]).code, 0);
    assert_eq!(world.alice.run(&["send", "carol", "--message", "x"]).code, 66);
    assert_eq!(world.carol.run(&["change", "sign", &number, "--yes"]).code, 77);
}

#[test]
fn whoever_joins_may_choose_an_id_and_ask() {
    let mut world = World::empty();
    let invitation = world.create_organization();
    world.alice.json(&["join", &invitation]);
    let code = world.alice.path("invitation.png");
    world.alice.json(&["invite", "--picture", code.to_str().unwrap()]);

    let joined = world.bob.json(&["join", "--qr", code.to_str().unwrap()]);
    world.bob.user = joined["user"].as_str().unwrap().to_owned();
    let added = world.alice.json(&["user", "add", joined["request"].as_str().unwrap()]);

    assert_eq!(added["user"], world.bob.user.as_str());
    world.alice.send(&["bob"], "welcome");
    assert_eq!(world.bob.texts(), ["welcome"]);
}

#[test]
fn a_replaced_certificate_is_used_from_then_on() {
    let world = World::new();
    let number = world.alice.send(&["bob"], "before");
    let new = world.alice.write("bob.asc", &keys().mallory.certificate);

    world.alice.json(&["user", "update", "bob", "--certificate", &new]);
    // Bob's other device has the new key.
    let mut renewed = Person::new(&keys().mallory);
    let invitation = world.alice.json(&["invite", &world.bob.user]);
    renewed.json(&["join", invitation["text"].as_str().unwrap()]);
    renewed.user.clone_from(&world.bob.user);
    let after = world.alice.send(&[&world.bob.user], "after");

    // What was encrypted to the old key stays sealed here, and is not lost.
    let inbox = renewed.json(&["inbox"]);
    let states: Vec<&str> =
        inbox["messages"].as_array().unwrap().iter().map(|message| message["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["sealed", "verified"]);
    assert_eq!(world.alice.received_by(after), std::slice::from_ref(&world.bob.user));
    assert!(world.alice.received_by(number).is_empty());
    // The old key opens no session any more.
    assert_ne!(world.bob.run(&["inbox"]).code, 0);
}
