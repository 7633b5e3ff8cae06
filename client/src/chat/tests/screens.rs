//! What stands on the screen, compared with the files in tests/chat/screens. `COUNTERSIGN_UPDATE_SCREENS=1` writes them
//! anew; look at each before it is committed.

use countersign_client::account::{ChangeStanding, LogLine};
use countersign_client::store::{MessageNumber, MessageState};
use countersign_protocol::digest::Sha256Digest;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::chat::model::Refusal;
use crate::chat::state::Notice;

const SIZES: [(u16, u16); 2] = [(80, 24), (120, 40)];

fn entry(sequence: u64) -> LogLine {
    LogLine {
        sequence,
        hash: Sha256Digest::of(b"entry"),
        time: NOW,
        change: vec![
            "add user Erin <erin@example.org> (0F54DB72BD46B09C0F54DB72BD46B09C12345678)".to_owned(),
            "user id: 05050505-0505-8505-8505-050505050505".to_owned(),
        ],
        signatures: vec![
            "signed by Dave <dave@example.org> (1234DB72BD46B09C0F54DB72BD46B09C12345678), an administrator"
                .to_owned(),
        ],
    }
}

fn refusal() -> Refusal {
    Refusal {
        evidence: 2,
        summary: "the server shows a log that is shorter than it was".to_owned(),
        details: vec!["here the log ends with number 4".to_owned(), "nothing was changed here".to_owned()],
    }
}

#[test]
fn conversations_and_messages() {
    for (width, height) in SIZES {
        let mut chat = Chat::new();
        chat.assert_screen("conversations", width, height);
    }
}

#[test]
fn writing_several_lines() {
    for (width, height) in SIZES {
        let mut chat = Chat::new();
        chat.keys("⏎First line,⌥⏎second line.");
        chat.assert_screen("writing", width, height);
    }
}

#[test]
fn nobody_wrote_yet() {
    let mut chat = Chat::empty();
    chat.event(Event::Online(false));
    chat.assert_screen("empty", 80, 24);
}

#[test]
fn a_selected_message_and_everything_about_it() {
    for (width, height) in SIZES {
        let mut chat = Chat::new();
        chat.store[0].1[1].recipients.push(Recipient { user: CAROL, received: false });
        chat.load();
        chat.keys("⇥↑↑↑↑↑↑↑");
        chat.assert_screen("selected", width, height);
        chat.keys("i");
        chat.assert_screen("details", width, height);
    }
}

#[test]
fn a_changed_organization_is_told_until_the_log_was_read() {
    for (width, height) in SIZES {
        let mut chat = Chat::new();
        chat.event(Event::LogExtended(vec![entry(4), entry(5)]));
        chat.assert_screen("log-warning", width, height);
        assert_eq!(chat.keys("^l"), [Effect::ReadLog]);
        chat.event(Event::Log(vec![entry(3), entry(4), entry(5)]));
        chat.assert_screen("log", width, height);
        chat.keys("⎋");
        assert!(!chat.screen(width, height).contains("The organization changed"));
    }
}

#[test]
fn a_refused_server_is_told_and_does_not_go_away() {
    for (width, height) in SIZES {
        let mut chat = Chat::new();
        chat.event(Event::Refused(refusal()));
        chat.event(Event::Stopped(refusal().summary));
        chat.assert_screen("refused", width, height);
        chat.keys("^x");
        chat.assert_screen("what-to-do", width, height);
        chat.keys("⎋");
        chat.event(Event::Online(true));
        assert!(chat.screen(width, height).contains("REFUSED"));
    }
}

#[test]
fn a_change_is_read_before_it_is_signed() {
    let mut standing = ChangeStanding {
        words: vec![
            "change Carol <carol@example.org> (1234DB72BD46B09C0F54DB72BD46B09C12345678)".to_owned(),
            "is deactivated: all their sessions end".to_owned(),
        ],
        signatures: vec![
            "signed by Dave <dave@example.org> (1234DB72BD46B09C0F54DB72BD46B09C12345678), an administrator"
                .to_owned(),
        ],
        needed: 2,
        signed: 1,
        signed_by_me: false,
        obstacle: Some("2 administrators must sign".to_owned()),
    };
    for (width, height) in SIZES {
        let mut chat = Chat::new();
        assert_eq!(chat.keys("↓⇥⏎"), [Effect::ReadChange(MessageNumber(20))]);
        chat.event(Event::Change(MessageNumber(20), Box::new(standing.clone())));
        chat.assert_screen("change", width, height);
        (standing.signed, standing.signed_by_me, standing.obstacle) = (2, true, None);
        chat.event(Event::Change(MessageNumber(20), Box::new(standing.clone())));
        assert!(chat.screen(width, height).contains("u submits it"));
        (standing.signed, standing.signed_by_me, standing.obstacle) =
            (1, false, Some("2 administrators must sign".to_owned()));
    }
}

#[test]
fn choosing_people() {
    for (width, height) in SIZES {
        let mut chat = Chat::new();
        chat.keys("n ↓");
        chat.assert_screen("new-conversation", width, height);
    }
}

#[test]
fn naming_files_and_searching() {
    let mut chat = Chat::new();
    chat.keys("^o~/plan");
    chat.assert_screen("send-file", 80, 24);
    chat.keys("⎋⎋/caro");
    chat.assert_screen("search", 80, 24);
}

#[test]
fn the_help_lists_all_keys() {
    for (width, height) in SIZES {
        let mut chat = Chat::new();
        chat.help();
        chat.assert_screen("help", width, height);
    }
}

#[test]
fn what_takes_a_while_shows_how_far_it_is() {
    let mut chat = Chat::new();
    chat.event(Event::Progress("Sending", 1, 2));
    assert!(!chat.screen(80, 24).contains("Sending"));
    chat.event(Event::Progress("Sending", 5, 20));
    assert!(chat.screen(80, 24).contains("Sending █████░░░░░░░░░░░░░░░ 5 of 20"));
    chat.event(Event::Progress("Sending", 20, 20));
    assert!(!chat.screen(80, 24).contains("Sending"));
}

#[test]
fn a_locked_key_is_told() {
    let mut chat = Chat::new();
    chat.event(Event::Locked(true));
    chat.state.online = None;
    chat.assert_screen("locked", 80, 24);
}

#[test]
fn a_narrow_terminal_shows_one_thing_at_a_time() {
    let mut chat = Chat::new();
    chat.assert_screen("narrow-conversations", 40, 16);
    chat.keys("⏎");
    chat.assert_screen("narrow-messages", 40, 16);
}

#[test]
fn any_size_is_drawn() {
    let mut chat = Chat::new();
    chat.event(Event::Refused(refusal()));
    chat.event(Event::LogExtended(vec![entry(4)]));
    for (width, height) in [(1, 1), (23, 7), (24, 8), (30, 10), (64, 12), (300, 100), (80, 9)] {
        for keys in ["⎋⎋", "⏎", "n", "⎋^o", "⎋^l", "⎋^x", "⎋"] {
            chat.keys(keys);
            chat.screen(width, height);
        }
    }
}

#[test]
fn without_unicode_every_cell_is_ascii() {
    let mut chat = Chat::new();
    chat.state.abilities.unicode = false;
    chat.event(Event::Told(Notice::good("Saved plan.pdf")));
    chat.keys("⇥");
    assert!(chat.screen(120, 40).is_ascii());
    chat.assert_screen("ascii", 80, 24);
}

#[test]
fn without_colours_alarms_still_stand_out() {
    let mut chat = Chat::new();
    chat.state.abilities.colour = false;
    chat.event(Event::Refused(refusal()));
    let backend = chat.drawn(80, 24);
    let cells = &backend.buffer().content;
    assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(backend.buffer()[(2, 1)].modifier.contains(Modifier::REVERSED));
}

#[test]
fn what_others_write_cannot_rule_the_terminal() {
    let evil = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}gpj.exe\r\nsecond\u{8}";
    let mut chat = Chat::new();
    chat.people[1].name = evil.to_owned();
    chat.people[1].user_id = evil.to_owned();
    chat.store[0].1 = vec![
        from(1, BOB, 5, text(evil)),
        from(2, BOB, 4, Content::File { name: crate::chat::model::printed(evil), size: 1 }),
        Message {
            state: MessageState::Unverified,
            note: Some(crate::chat::model::printed(evil)),
            ..from(3, BOB, 3, text("x"))
        },
    ];
    chat.load();
    chat.event(Event::LogExtended(vec![LogLine { change: vec![evil.to_owned()], ..entry(4) }]));
    chat.event(Event::Told(Notice::bad(evil)));
    for keys in ["", "⇥", "i", "⎋n", "⎋^l"] {
        chat.keys(keys);
        let screen = chat.screen(100, 30);
        let rules = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
        assert!(!screen.contains(rules), "{screen:?}");
    }
}

#[test]
fn the_documentation_has_all_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/chat.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (text, _) = page.split_once("## All keys\n").unwrap();
    let with_keys = format!("{text}## All keys\n{}", crate::chat::keys::as_markdown());
    if std::env::var_os("COUNTERSIGN_UPDATE_SCREENS").is_some() {
        std::fs::write(&path, &with_keys).unwrap();
    }
    assert!(page == with_keys, "{} has other keys; COUNTERSIGN_UPDATE_SCREENS=1 writes them anew", path.display());
}
