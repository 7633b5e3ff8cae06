//! Messages that other programs made: plain OpenPGP, signed or not.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use countersign_client::clock::{Clock as _, SystemClock};
use countersign_client::connection::{Call, HttpClient, RequestSigner, Trust};
use countersign_client::profile::Directories;
use countersign_client::store::Store;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::message_id::MessageId;
use serde_json::Value;

use crate::support::{Key, Person, World, keys};

/// Sends a content as it is, under the session of a person's client.
fn send_content(from: &Person, to: &Person, content: Vec<u8>) {
    let home = from.folder().as_os_str().to_owned();
    let directories = Directories::from_environment(|name| (name == "HOME").then(|| home.clone())).unwrap();
    let store = Store::open(&directories.profile("default").unwrap().store_path()).unwrap();
    let membership = store.membership().unwrap();
    let session = store.session().unwrap().expect("the person's client has a session");
    let (nonce, now) = store.take_nonce(SystemClock.now()).unwrap();
    let (address, recipients) = (membership.address(), [to.user.parse().unwrap()]);
    let sha256 = Sha256Digest::of(&content);
    let id = MessageId::of_message(&address.organization, &address.user, now.to_millis(), &recipients, &sha256);
    let call = Call::send_message(&address, &id, &recipients, Bytes::from(content));
    let request = RequestSigner::new(address, session.key).request(&call, &membership.server, nonce, now).unwrap();
    let http = HttpClient::new(membership.server.parse().unwrap(), &Trust::System).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(http.send(request, Duration::from_secs(60))).unwrap();
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
}

/// Encrypts to Bob by plain gpg.
fn encrypt(key: &Key, options: &[&str], text: &str) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(keys().bob.certificate.as_bytes()).unwrap();
    let recipient = file.path().to_str().unwrap();
    key.gpg(&[options, &["--encrypt", "--recipient-file", recipient]].concat(), text.as_bytes())
}

/// Fetches, and returns the one message that is new.
fn fetch_one(person: &Person) -> Value {
    let inbox = person.json(&["inbox"]);
    let messages = inbox["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1, "{inbox}");
    person.run(&["read", &messages[0]["number"].to_string()]).expect(0);
    messages[0].clone()
}

#[test]
fn a_signed_message_from_plain_gpg_is_shown_as_its_senders() {
    let world = World::new();
    for options in [&["--sign"][..], &["--sign", "--armor"], &["--sign", "--compress-algo", "none"]] {
        let text = format!("by hand {options:?}");
        send_content(&world.alice, &world.bob, encrypt(&keys().alice, options, &text));

        let message = fetch_one(&world.bob);

        assert_eq!((&message["state"], &message["from"]), (&"plain".into(), &"Alice".into()), "{message}");
        assert_eq!(message["text"], *text);
        assert!(message["note"].is_null(), "{message}");
    }
    // Receipts for what this client did not send are no trouble to it.
    world.alice.json(&["inbox"]);
}

#[test]
fn a_message_that_its_sender_did_not_sign_says_so() {
    let world = World::new();
    let unsigned = encrypt(&keys().alice, &[], "by anyone");
    let by_another = encrypt(&keys().mallory, &["--sign"], "by Mallory");
    for (content, text, note) in
        [(unsigned, "by anyone", "nobody signed it"), (by_another, "by Mallory", "somebody else")]
    {
        send_content(&world.alice, &world.bob, content);

        let message = fetch_one(&world.bob);

        assert_eq!((&message["state"], &message["text"]), (&"unverified".into(), &text.into()), "{message}");
        assert!(message["note"].as_str().unwrap().contains(note), "{message}");
        let shown = world.bob.run(&["inbox", "--all"]).expect(0).text();
        assert!(shown.contains("may be by anyone"), "{shown}");
    }
    // No receipt says that a message of Alice's arrived which nobody knows to be hers.
    let report = world.alice.json(&["inbox"]);
    assert!(report["sync"]["receipts"].as_array().is_none_or(Vec::is_empty), "{report}");
}

#[test]
fn what_is_no_openpgp_message_at_all_is_kept_and_harms_nothing() {
    let world = World::new();
    send_content(&world.alice, &world.bob, b"\x00\xff no OpenPGP at all".to_vec());
    send_content(&world.alice, &world.bob, vec![0x85; 3_000]);
    world.alice.send(&["bob"], "a good one behind them");

    let inbox = world.bob.json(&["inbox"]);

    let states: Vec<&str> =
        inbox["messages"].as_array().unwrap().iter().map(|message| message["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["sealed", "sealed", "verified"], "{inbox}");
    // Confirmed, so not fetched again and again.
    assert!(world.bob.json(&["inbox"])["sync"]["arrived"].as_array().unwrap().is_empty());
}
