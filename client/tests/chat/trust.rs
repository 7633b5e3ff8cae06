//! Servers that lie, and changes that need a second administrator.

use crate::support::World;
use crate::tmux::Terminal;

#[test]
fn a_refused_server_stays_on_the_screen() {
    let world = World::new();
    world.alice.send(&["bob"], "hello");
    let bob = Terminal::chat(&world.bob, (80, 24), &[]);
    bob.wait_for("hello");
    bob.wait_for("● online");
    bob.keys(&["Enter"]);
    bob.wait_for("Write here");

    world.server.lie("fork");
    bob.keys(&["C-r"]);
    bob.wait_for("REFUSED");
    bob.wait_for("✗ stopped");
    bob.assert_screen("refused-server");
    bob.keys(&["C-x"]);
    bob.wait_for("What to do");
    bob.assert_screen("refused-server-what-to-do");
    bob.keys(&["Escape"]);
    assert!(bob.wait_without("What to do").contains("REFUSED"));

    // What is written waits in the outbox, and nothing goes to that server.
    bob.text("for later");
    bob.keys(&["Enter"]);
    bob.wait_for("◌ in the outbox");
    world.server.be_honest();
    bob.keys(&["C-r"]);
    bob.wait_for("✓ sent");
    // That it has happened is still said.
    bob.wait_for("REFUSED");
    bob.keys(&["C-q"]);
    bob.ended();
}

#[test]
fn a_change_is_countersigned_in_the_interface() {
    let world = World::new();
    assert_eq!(world.alice.json(&["user", "update", "bob", "--administrator", "yes"])["state"], "done");
    let bob = Terminal::chat(&world.bob, (80, 24), &[]);
    bob.wait_for("● online");
    let requested = world.alice.json(&["user", "update", "carol", "--active", "no", "--request", "bob"]);
    assert_eq!(requested["state"], "requested");

    bob.wait_for("[change]");
    bob.wait_for("Bob ★ administrator");
    bob.keys(&["Tab", "Enter"]);
    bob.wait_for("1 of 2 signatures");
    bob.assert_screen("change-before-signing");
    bob.text("s");
    bob.wait_for("u submits it");
    bob.assert_screen("change-before-submitting");
    bob.text("u");
    bob.wait_for("Done: number");

    assert_eq!(world.alice.json(&["user", "show", "carol"])["active"], false);
    bob.keys(&["C-q"]);
    bob.ended();
}
