//! What keys and events do.

use super::*;
use crate::chat::state::{Focus, Notice, Outgoing, OutgoingBody, Overlay, Page};

fn sent(effects: &[Effect]) -> Vec<(&[UserId], &str)> {
    let outgoing = effects.iter().filter_map(|effect| match effect {
        Effect::Send(Outgoing { recipients, body: OutgoingBody::Text(text) | OutgoingBody::File(text), .. }) => {
            Some((recipients.as_slice(), text.as_str()))
        }
        _ => None,
    });
    outgoing.collect()
}

fn typed(chat: &Chat) -> String {
    chat.state.composer.lines().join("\n")
}

#[test]
fn what_is_typed_is_sent_to_the_open_conversation() {
    let mut chat = Chat::new();
    let effects = chat.keys("⏎Noon.⏎");
    assert_eq!(sent(&effects), [(&[BOB][..], "Noon.")]);
    assert_eq!(typed(&chat), "");
    // Nothing, and nothing but spaces, is not sent.
    assert!(sent(&chat.keys("⏎  ⏎⌥⏎⏎")).is_empty());
}

#[test]
fn a_message_of_several_lines_is_typed_or_pasted() {
    let mut chat = Chat::new();
    chat.keys("⏎one⌥⏎two^j");
    chat.paste("three\r\nfo\u{1b}ur\tfive\r");
    assert_eq!(sent(&chat.keys("⏎")), [(&[BOB][..], "one\ntwo\nthree\nfour    five")]);
}

#[test]
fn every_conversation_keeps_what_was_begun_in_it() {
    let mut chat = Chat::new();
    chat.keys("⏎for Bob⌥↓for Dave⌥↓for both");
    assert_eq!(typed(&chat), "for both");
    assert_eq!(sent(&chat.keys("⌥↑⏎")), [(&[DAVE][..], "for Dave")]);
    chat.keys("⌥↑");
    assert_eq!(typed(&chat), "for Bob");
}

#[test]
fn what_cannot_be_put_into_the_outbox_comes_back() {
    let mut chat = Chat::new();
    let effects = chat.keys("⏎first⏎second");
    let Some(Effect::Send(outgoing)) = effects.last() else { panic!("{effects:?}") };
    chat.event(Event::NotComposed(outgoing.clone(), "GnuPG was not allowed".to_owned()));
    assert_eq!(typed(&chat), "first\nsecond");
    assert!(chat.screen(80, 24).contains("Not sent: GnuPG was not allowed"));
    // In another conversation it waits there.
    let effects = chat.keys("⏎");
    chat.keys("⌥↓");
    let Some(Effect::Send(outgoing)) = effects.last() else { panic!("{effects:?}") };
    chat.event(Event::NotComposed(outgoing.clone(), "no".to_owned()));
    assert_eq!(typed(&chat), "");
    chat.keys("⌥↑");
    assert_eq!(typed(&chat), "first\nsecond");
}

#[test]
fn what_was_sent_before_comes_back_with_the_arrows() {
    let mut chat = Chat::new();
    chat.keys("⏎draft↑");
    assert_eq!(typed(&chat), "Never sent.");
    chat.keys("↑↑↑");
    // Of several lines the cursor is on the last: the arrow moves it first.
    assert_eq!(typed(&chat), "Yes.\nTwo lines.");
    chat.keys("↑");
    assert_eq!(typed(&chat), "Yes.\nTwo lines.");
    chat.keys("↓↓↓↓↓↓");
    assert_eq!(typed(&chat), "draft");
}

#[test]
fn messages_are_marked_as_read_when_their_conversation_is_opened() {
    let mut chat = Chat::new();
    assert_eq!(chat.store[0].0.unseen, 2);
    assert!(chat.screen(80, 24).contains("(2)"));
    chat.keys("⏎");
    assert_eq!(chat.store[0].0.unseen, 0);
    assert_eq!(chat.state.new_from, Some(MessageNumber(8)));
    // One that arrives while it is open is read at once; one that is not opened yet is not.
    chat.store[0].0.unseen = 2;
    chat.store[0].1.push(Message { seen: false, ..from(11, BOB, 0, text("now")) });
    chat.store[0].1.push(Message { seen: false, state: MessageState::Sealed, ..from(12, BOB, 0, Content::Nothing) });
    chat.load();
    assert_eq!(chat.store[0].0.unseen, 1);
}

#[test]
fn a_store_that_cannot_mark_does_not_keep_the_interface_busy() {
    let mut chat = Chat::new();
    chat.keys("⏎");
    // As if nothing had been marked.
    chat.store[0].1[8].seen = false;
    let loaded = Box::new(chat.loaded());
    assert_eq!(update(&mut chat.state, Event::Loaded(loaded)), []);
}

#[test]
fn a_conversation_is_begun_by_choosing_people() {
    let mut chat = Chat::new();
    chat.keys("ncarol⏎");
    assert_eq!((chat.state.focus, chat.state.open), (Focus::Compose, Some(conversation_id(&[CAROL]))));
    assert_eq!(sent(&chat.keys("hi⏎")), [(&[CAROL][..], "hi")]);
    // The same people have one conversation, whoever begins it.
    chat.keys("^t ↓ ⏎");
    assert_eq!(chat.state.open, Some(conversation_id(&[BOB, CAROL])));
    assert_eq!(chat.state.begun.len(), 1);
    // Once it has a message it stands among the others.
    chat.store.push((conversation(&[CAROL], 0, 0), Vec::new()));
    chat.load();
    assert!(chat.state.begun.is_empty());
}

#[test]
fn a_search_finds_by_name_and_address() {
    let mut chat = Chat::new();
    chat.keys("/carol@example");
    let found: Vec<_> = chat.state.listed().iter().map(|conversation| conversation.id).collect();
    assert_eq!(found, [conversation_id(&[BOB, CAROL])]);
    chat.keys("⏎");
    assert_eq!(chat.state.open, Some(conversation_id(&[BOB, CAROL])));
    chat.keys("⎋");
    assert_eq!(chat.state.listed().len(), 3);
}

#[test]
fn a_file_is_sent_by_its_path() {
    let mut chat = Chat::new();
    chat.keys("⏎not sent^o");
    chat.paste("'/tmp/my plan.pdf'\n");
    let effects = chat.keys("⇥⏎");
    assert_eq!(effects[0], Effect::Complete("'/tmp/my plan.pdf'".to_owned()));
    assert_eq!(sent(&effects), [(&[BOB][..], "'/tmp/my plan.pdf'")]);
    assert_eq!(typed(&chat), "not sent");
}

#[test]
fn a_file_is_saved_under_a_name_that_can_be_changed() {
    let mut chat = Chat::new();
    let effects = chat.keys("⇥↑↑↑↑↑↑⏎⌫⌫⌫txt⏎");
    assert_eq!(effects, [Effect::Save(MessageNumber(3), "plan.txt".to_owned())]);
    // What was refused is never saved.
    chat.keys("↓↓↓↓s");
    assert!(chat.state.overlay.is_none());
    assert!(chat.screen(80, 24).contains("nothing in it that may be saved"));
}

#[test]
fn a_change_is_signed_and_submitted_in_two_steps() {
    let number = MessageNumber(20);
    let standing = |signed, signed_by_me, obstacle: Option<&str>| {
        Box::new(countersign_client::account::ChangeStanding {
            words: vec!["change Carol".to_owned()],
            signatures: Vec::new(),
            needed: 2,
            signed,
            signed_by_me,
            obstacle: obstacle.map(str::to_owned),
        })
    };
    let mut chat = Chat::new();
    chat.keys("↓⇥⏎");
    // Nothing is signed before it was read.
    assert_eq!(chat.keys("s"), []);
    chat.event(Event::Change(number, standing(1, false, Some("one more"))));
    assert_eq!(chat.keys("u"), []);
    assert_eq!(chat.keys("ss"), [Effect::SignChange(number)]);
    chat.event(Event::Change(number, standing(2, true, None)));
    assert_eq!(chat.keys("su"), [Effect::SubmitChange(number)]);
    chat.event(Event::Submitted(5));
    assert!(chat.state.overlay.is_none());
    assert!(chat.screen(80, 24).contains("number 5 of the organization's log"));
}

#[test]
fn the_log_of_another_process_is_told_too() {
    let mut chat = Chat::new();
    chat.head = Some(4);
    assert_eq!(chat.event(Event::StoreChanged), [Effect::ReadLog]);
}

#[test]
fn older_messages_come_when_they_are_asked_for() {
    let mut chat = Chat::new();
    chat.store[0].1 = (0..450).map(|number| from(number, BOB, 500, text(&format!("message {number}")))).collect();
    chat.load();
    assert!(chat.screen(80, 24).contains("message 449"));
    assert_eq!(chat.state.messages.len(), 200);
    chat.keys(&"⇞".repeat(30));
    assert_eq!(chat.state.messages.len(), 400);
    assert!(!chat.screen(80, 24).contains("message 449"));
    chat.keys(&"⇟".repeat(80));
    assert!(chat.screen(80, 24).contains("message 449"));
}

#[test]
fn leaving_asks_where_something_would_be_lost() {
    let mut chat = Chat::new();
    assert_eq!(chat.keys("q"), [Effect::Quit]);
    chat.keys("⏎text");
    assert_eq!(chat.keys("^q"), []);
    assert!(matches!(chat.state.overlay, Some(Overlay::Leaving)));
    assert_eq!(chat.keys("n"), []);
    assert_eq!(chat.keys("^c"), []);
    assert_eq!(chat.keys("y"), [Effect::Quit]);
}

#[test]
fn leaving_waits_for_what_is_on_its_way_into_the_outbox() {
    let mut chat = Chat::new();
    chat.keys("⏎text⏎");
    assert_eq!(chat.keys("^q"), []);
    assert_eq!(chat.event(Event::Composed), [Effect::Quit]);
    // What comes back keeps the interface open.
    chat.state.leaving = false;
    let effects = chat.keys("more⏎^q");
    let Some(Effect::Send(outgoing)) = effects.last() else { panic!("{effects:?}") };
    assert!(chat.state.leaving);
    chat.event(Event::NotComposed(outgoing.clone(), "no".to_owned()));
    assert!(!chat.state.leaving);
    assert_eq!(typed(&chat), "more");
}

#[test]
fn a_notice_goes_away_by_itself() {
    let mut chat = Chat::new();
    chat.event(Event::Told(Notice::good("Saved x")));
    assert!(chat.screen(80, 24).contains("Saved x"));
    chat.event(Event::Time(UnixMicros(NOW.0 + MINUTE)));
    assert!(!chat.screen(80, 24).contains("Saved x"));
}

#[test]
fn trying_again_and_unlocking_are_effects() {
    let mut chat = Chat::new();
    assert_eq!(chat.keys("^g"), []);
    chat.event(Event::Locked(true));
    assert_eq!(chat.keys("^g"), [Effect::Unlock]);
    assert_eq!(chat.keys("^r"), [Effect::Resume]);
    chat.keys("?");
    assert!(matches!(chat.state.overlay, Some(Overlay::Page { page: Page::Help, .. })));
}
