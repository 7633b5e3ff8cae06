//! The client is killed at every step of sending and receiving: nothing is lost, and nothing is shown twice.
//!
//! A step is a request (before the server gets it, and after the server has answered it) or a call of GnuPG (before and
//! after it). Between two of them the client does nothing but write to its store.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::support::{Ended, Person, World};

/// Runs a command with the lying server holding its request number `at`, and kills it there. Returns whether there was
/// such a request; if not, the command ended by itself.
fn kill_at_request(world: &World, person: &Person, arguments: &[&str], moment: &str, at: usize) -> Option<Ended> {
    world.server.lie(&format!("{moment} {at}"));
    let mut child = person.start(arguments);
    let ended = std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel();
        // Whichever comes first: the request that is held, or the end of the command. A request beyond the last one is
        // never held, so then this asks the server itself, which counts on.
        let waiting = scope.spawn(move || {
            world.server.wait_until_holding();
            let _ = sender.send(());
        });
        let ended = loop {
            if receiver.recv_timeout(Duration::from_millis(5)).is_ok() {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            if child.try_wait().unwrap().is_some() {
                break Some(());
            }
        };
        if ended.is_some() {
            // Let the waiting thread see a request held.
            world.server.lie("hold-before 1");
            let mut another = person.start(&["log", "show"]);
            waiting.join().unwrap();
            another.kill().unwrap();
            another.wait().unwrap();
        }
        ended
    });
    world.server.be_honest();
    ended.map(|()| Ended::of(child.wait_with_output().unwrap()))
}

/// A `gpg` that kills the client before or after its call number `at`.
fn deadly_gpg(person: &Person, moment: &str, at: usize) -> String {
    let counter = person.write("gpg-calls", "0");
    let script = format!(
        "#!/bin/sh\nn=$(($(cat {counter}) + 1))\necho $n >{counter}\n\
         if [ $n = {at} ] && [ {moment} = before ]; then kill -9 $PPID; exit 1; fi\n\
         if [ $n = {at} ]; then gpg \"$@\"; kill -9 $PPID; exit 1; fi\nexec gpg \"$@\"\n"
    );
    let path = person.write("deadly-gpg", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[test]
fn killed_at_any_request_of_sending() {
    let world = World::new();
    let mut expected = Vec::new();
    for moment in ["hold-before", "hold-after"] {
        for at in 1.. {
            assert!(at < 30, "sending takes no more than a few requests");
            let text = format!("{moment} {at}");
            // In the outbox: from here on it must arrive, whatever happens.
            world.alice.run(&["send", "bob", "--later", "--message", &text]).expect(75);
            expected.push(text);
            let ended = kill_at_request(&world, &world.alice, &["inbox"], moment, at);
            world.alice.json(&["inbox"]);
            if ended.is_some() {
                assert!(at > 3, "there are requests to be killed at");
                break;
            }
        }
    }
    assert_eq!(world.bob.texts(), expected);
}

#[test]
fn killed_at_any_request_of_receiving() {
    let world = World::new();
    let mut expected = Vec::new();
    let mut numbers = Vec::new();
    for moment in ["hold-before", "hold-after"] {
        for at in 1.. {
            assert!(at < 30, "receiving takes no more than a few requests");
            let text = format!("{moment} {at}");
            numbers.push(world.alice.send(&["bob"], &text));
            expected.push(text);
            let ended = kill_at_request(&world, &world.bob, &["inbox"], moment, at);
            assert_eq!(world.bob.texts(), expected);
            if ended.is_some() {
                assert!(at > 4, "there are requests to be killed at");
                break;
            }
        }
    }
    // Every receipt came, too.
    for number in numbers {
        assert_eq!(world.alice.received_by(number), std::slice::from_ref(&world.bob.user));
    }
}

#[test]
fn killed_at_any_call_of_gnupg() {
    let world = World::new();
    let mut sent = Vec::new();
    for moment in ["before", "after"] {
        for at in 1.. {
            assert!(at < 30, "sending takes no more than a few calls");
            let text = format!("{moment} {at}");
            let gpg = deadly_gpg(&world.alice, moment, at);
            let ended = world.alice.run(&["--gpg", &gpg, "send", "bob", "--message", &text]);
            // Killed while it was signed: it was never promised, and leaves nothing behind.
            let whole = ended.code == 0;
            world.alice.json(&["inbox"]);
            if whole {
                sent.push(text);
                assert!(at > 1, "there are calls to be killed at");
                break;
            }
        }
    }
    for moment in ["before", "after"] {
        for at in 1.. {
            assert!(at < 30, "receiving takes no more than a few calls");
            let text = format!("received {moment} {at}");
            world.alice.send(&["bob"], &text);
            sent.push(text);
            let gpg = deadly_gpg(&world.bob, moment, at);
            let whole = world.bob.run(&["--gpg", &gpg, "inbox"]).code == 0;
            assert_eq!(world.bob.texts(), sent);
            if whole {
                assert!(at > 1, "there are calls to be killed at");
                break;
            }
        }
    }
}

#[test]
fn a_lost_answer_is_no_second_message() {
    let world = World::new();
    for at in 1..6 {
        let text = format!("answer {at} is lost");
        world.server.lie(&format!("lose-answer {at}"));
        world.alice.send(&["bob"], &text);
        world.server.be_honest();
    }
    let texts = world.bob.texts();
    assert_eq!(texts.len(), 5, "{texts:?}");
}
