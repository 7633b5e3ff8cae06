//! People talk, each in their own terminal.

use crate::support::{World, keys};
use crate::tmux::Terminal;

#[test]
fn two_people_talk() {
    let world = World::new();
    world.carol.send(&["bob"], "See you tomorrow?");
    let alice = Terminal::chat(&world.alice, (80, 24), &[]);
    let bob = Terminal::chat(&world.bob, (80, 24), &[]);
    alice.wait_for("● online");
    bob.wait_for("● online");
    bob.wait_for("See you tomorrow?");

    // Alice begins a conversation.
    alice.text("n");
    alice.wait_for("with whom?");
    alice.text("bob");
    alice.wait_without("Carol <");
    alice.keys(&["Enter"]);
    alice.wait_for(" To Bob ");
    alice.text("The meeting is at noon.");
    alice.keys(&["M-Enter"]);
    alice.paste("Bring the plan,\nplease.");
    alice.wait_for("please.");
    alice.keys(&["Enter"]);
    alice.wait_for("✓✓ received");
    alice.assert_screen("talk-1-alice-sent");

    // Bob sees it, opens it, answers.
    bob.wait_for("Alice ★ (1)");
    bob.keys(&["Up"]);
    bob.wait_for("please.");
    bob.assert_screen("talk-2-bob-before-reading");
    bob.keys(&["Enter"]);
    bob.wait_without("Alice ★ (1)");
    bob.text("I will. Here it is:");
    bob.keys(&["Enter"]);
    bob.wait_for("✓✓ received");

    // A file, named with the help of Tab.
    let plan = vec![b'x'; 20_000];
    world.bob.write("plan for next week.pdf", &plan);
    bob.keys(&["C-o"]);
    bob.wait_for("Send a file to Alice");
    bob.text("~/pl");
    bob.keys(&["Tab"]);
    bob.wait_for("~/plan for next week.pdf");
    bob.keys(&["Enter"]);
    bob.wait("both received", |screen| screen.matches("✓✓ received").count() == 2);
    bob.assert_screen("talk-3-bob-sent-a-file");

    // Alice saves it.
    alice.wait_for("[file] plan for next week.pdf");
    alice.keys(&["BTab"]);
    alice.wait_for("▌ [file]");
    alice.keys(&["Enter"]);
    alice.wait_for("Save as");
    alice.assert_screen("talk-4-alice-saves");
    alice.keys(&["Enter"]);
    alice.wait_for("Saved plan for next week.pdf");
    assert_eq!(std::fs::read(world.alice.path("plan for next week.pdf")).unwrap(), plan);

    // An administrator adds somebody: everybody is told, and by whom it was signed.
    let dave = world.alice.write("dave.asc", &keys().mallory.certificate);
    assert_eq!(world.alice.json(&["user", "add", &dave])["state"], "done");
    world.alice.send(&["bob"], "Mallory has joined us.");
    bob.wait_for("Mallory has joined us.");
    bob.wait_for("The organization changed: add user Mallory");
    bob.assert_screen("talk-5-bob-is-warned");
    bob.keys(&["C-l"]);
    bob.wait("the log", |screen| screen.contains("The organization's log") && screen.contains("  new"));
    bob.keys(&["Escape"]);
    assert!(!bob.wait_without("The organization's log").contains("The organization changed"));
    // What another process of Alice's did shows too.
    alice.wait_for("Mallory has joined us.");

    // Both leave, and find their terminals as they were.
    for terminal in [&alice, &bob] {
        terminal.keys(&["C-q"]);
        terminal.ended();
    }
}

#[test]
fn a_terminal_may_be_narrow_without_colours_and_without_unicode() {
    let world = World::new();
    world.alice.send(&["bob"], "Noon?");
    let bob = Terminal::chat(&world.bob, (80, 24), &[("LANG", "C"), ("NO_COLOR", "1")]);
    bob.wait_for("(1)");
    bob.wait_for("* online");
    assert!(bob.screen().is_ascii(), "{}", bob.screen());
    bob.keys(&["Enter"]);
    bob.wait_without("(1)");
    bob.assert_screen("plain");

    bob.resize((50, 16));
    bob.wait_without("Conversations");
    bob.wait_for("Noon?");
    bob.resize((120, 40));
    bob.wait_for("Conversations");
    bob.text("Yes, noon.");
    // Nothing typed is lost without a question.
    bob.keys(&["C-q"]);
    bob.wait_for("Leave all the same?");
    bob.text("n");
    bob.wait_without("Leave all the same?");
    bob.keys(&["Enter"]);
    bob.wait_for("v sent");
    bob.keys(&["C-q"]);
    bob.ended();
    assert_eq!(world.alice.texts(), ["Yes, noon."]);
}

#[test]
fn it_says_what_it_needs() {
    let world = World::new();
    let chat = world.alice.run(&["chat"]);
    assert_eq!(chat.code, 64, "{}", chat.stderr);
    assert!(chat.stderr.contains("needs a terminal"), "{}", chat.stderr);
    assert!(!chat.stderr.contains('\u{1b}'));
}
