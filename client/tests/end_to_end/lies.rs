//! A server that lies is refused, each time, with a code of its own, and nothing is changed by what it said.

use serde_json::Value;

use crate::support::{Person, World, keys};

/// Insists that a command is refused for a kind of lie, and returns what it said.
fn refused(person: &Person, arguments: &[&str], kind: &str) -> Value {
    person.run(&[&["--json"], arguments].concat()).expect(76);
    let evidence = person.json(&["evidence"]);
    let last = evidence["evidence"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["kind"], kind, "{last}");
    last
}

fn details(evidence: &Value) -> String {
    let lines = evidence["details"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// What a person knows of the organization, without asking.
fn known(person: &Person) -> Value {
    person.json(&["log", "show", "--offline"])
}

#[test]
fn lies_about_the_log_are_refused() {
    let world = World::new();
    // Something must have passed by for a forger to know the organization.
    world.alice.send(&["bob"], "hello");
    world.bob.texts();
    let before = known(&world.bob);
    for (lie, kind) in
        [("rollback", "rollback"), ("fork", "fork"), ("withhold", "withheld"), ("forge-change", "two-man-rule")]
    {
        world.server.lie(lie);
        let evidence = refused(&world.bob, &["inbox"], kind);
        assert!(details(&evidence).contains("nothing was changed here"), "{lie}: {evidence}");
        // Whatever the command, the log comes first.
        refused(&world.bob, &["send", "alice", "--message", "x"], kind);
        assert_eq!(known(&world.bob), before, "{lie}");
    }
    let evidence = world.bob.json(&["evidence"]);
    let forged = details(evidence["evidence"].as_array().unwrap().last().unwrap());
    assert!(forged.contains("add administrator Mallory"), "{forged}");
    assert!(forged.contains("has a signature that does not count"), "{forged}");

    world.server.be_honest();
    world.alice.send(&["bob"], "again");
    assert_eq!(world.bob.texts(), ["hello", "again"]);
}

#[test]
fn a_refusal_says_to_a_person_what_was_proposed() {
    let world = World::new();
    world.alice.send(&["bob"], "hello");
    world.server.lie("forge-change");

    let said = world.bob.run(&["inbox"]).expect(76).stderr;

    for part in ["REFUSED", "add administrator Mallory", "nothing was changed", "countersign evidence"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains('\u{1b}'), "no colours where there is no terminal");
}

#[test]
fn a_swapped_certificate_is_refused() {
    let world = World::new();
    for lie in [&format!("swap-certificate {}", world.bob.user), "promote"] {
        world.server.lie(lie);
        refused(&world.alice, &["user", "list"], "listing");
        refused(&world.alice, &["log", "verify"], "listing");
    }
    let evidence = world.alice.json(&["evidence"]);
    let first = details(&evidence["evidence"][0]);
    assert!(first.contains(&keys().mallory.fingerprint), "{first}");

    // Whoever joins only now believes no other log either.
    let newcomer = Person::new(&keys().carol);
    world.server.be_honest();
    let invitation = world.alice.json(&["invite", "carol"]);
    world.server.lie("swap-in-log");
    let said = newcomer.run(&["join", invitation["text"].as_str().unwrap()]).expect(76);
    assert!(said.stderr.contains("REFUSED"), "{}", said.stderr);
    assert!(known(&newcomer)["entries"].as_array().unwrap().is_empty());
}

#[test]
fn a_readdressed_message_is_refused() {
    let world = World::new();
    world.alice.send(&["bob"], "for Bob alone");
    world.server.lie(&format!("readdress {}", world.carol.user));

    let evidence = refused(&world.carol, &["inbox"], "re-addressed");

    assert!(evidence["summary"].as_str().unwrap().contains("not to you"), "{evidence}");
    assert!(world.carol.texts_offline().is_empty());
}

#[test]
fn an_altered_or_exchanged_message_is_refused_and_not_lost() {
    let world = World::new();
    world.alice.send(&["bob"], "one");
    world.alice.send(&["bob"], "two");
    for lie in ["alter", "exchange"] {
        world.server.lie(lie);
        refused(&world.bob, &["inbox"], "content");
        assert!(world.bob.texts_offline().is_empty(), "{lie}");
    }
    world.server.be_honest();
    assert_eq!(world.bob.texts(), ["one", "two"]);
}

#[test]
fn a_forged_message_is_refused() {
    let world = World::new();
    world.bob.texts();
    world.server.lie(&format!("forge-message {} {}", world.alice.user, world.bob.user));

    let evidence = refused(&world.bob, &["inbox"], "forged");

    assert!(evidence["summary"].as_str().unwrap().contains("Alice did not sign it"), "{evidence}");
    assert!(world.bob.texts_offline().is_empty());
    let number = world.bob.json(&["inbox", "--offline"])["messages"][0]["number"].to_string();
    world.bob.run(&["read", &number]).expect(76);
}

#[test]
fn a_forged_receipt_is_refused() {
    let world = World::new();
    let number = world.alice.send(&["bob"], "did you get it?");
    world.server.lie(&format!("forge-receipt {}", world.bob.user));

    refused(&world.alice, &["receipts", &number.to_string()], "receipt");

    world.server.be_honest();
    assert!(world.alice.received_by(number).is_empty());
    world.bob.texts();
    assert_eq!(world.alice.received_by(number), std::slice::from_ref(&world.bob.user));
}

#[test]
fn a_server_that_shows_two_logs_is_found_out_by_a_message() {
    let world = World::new();
    // Alice makes Carol an administrator; Bob is not shown it.
    world.bob.texts();
    world.alice.json(&["user", "update", "carol", "--administrator", "yes"]);
    world.server.lie(&format!("hide-last {}", world.bob.user));
    world.bob.texts();
    world.alice.send(&["bob"], "hello");

    let evidence = refused(&world.bob, &["inbox"], "split-view");

    assert!(evidence["summary"].as_str().unwrap().contains("Alice"), "{evidence}");
    // The message itself is good.
    assert_eq!(world.bob.texts_offline(), ["hello"]);
}
