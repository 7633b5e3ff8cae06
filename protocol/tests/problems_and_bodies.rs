//! Problems and the JSON bodies of requests and answers.

use std::collections::HashSet;

use countersign_protocol::body::{AnsweredEntry, Fetched, Item, ItemKind, Listing, UserPage};
use countersign_protocol::limits::Limits;
use countersign_protocol::log::LogEntry;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::problem::{Problem, ProblemType};
use proptest::prelude::*;
use serde_json::json;

const MESSAGE: &str = "01a2062d-e27b-8e97-8ebb-14349f9a8c19";
const USER: &str = "cdb8467a-4ab3-5198-8b43-c724419ceccb";

#[test]
fn problem_types_come_back_from_their_urn() {
    let mut names = HashSet::new();
    for kind in ProblemType::ALL {
        let urn = format!("urn:countersign:problem:{}", kind.name());
        assert_eq!(serde_json::to_value(kind).unwrap(), urn);
        assert_eq!(urn.parse(), Ok(*kind));
        assert!(names.insert(kind.name()));
        assert!((400..600).contains(&kind.status()));
        assert!(!kind.title().is_empty());
    }
}

#[test]
fn problem_types_have_the_statuses_of_the_protocol() {
    let statuses = [
        (400, &["malformed-request"][..]),
        (401, &["signature-missing", "signature-invalid", "nonce-out-of-window", "nonce-reused", "session-unknown"]),
        (403, &["forbidden", "two-man-rule", "client-limit"]),
        (404, &["not-found", "unknown-recipient"]),
        (409, &["log-moved", "exists", "statement-expired", "last-administrator", "id-out-of-window"]),
        (413, &["content-too-large"]),
        (422, &["wrong-id", "bad-certificate"]),
        (429, &["rate-limited"]),
        (503, &["unavailable"]),
    ];
    for (status, names) in statuses {
        for name in names {
            let kind: ProblemType = format!("urn:countersign:problem:{name}").parse().unwrap();
            assert_eq!(kind.status(), status, "{name}");
        }
    }
}

#[test]
fn a_problem_is_written_without_what_it_does_not_have() {
    let problem = Problem::new(ProblemType::NotFound, "no such path");
    let expected = json!({
        "type": "urn:countersign:problem:not-found",
        "title": "There is nothing here.",
        "status": 404,
        "detail": "no such path",
    });
    assert_eq!(serde_json::to_value(&problem).unwrap(), expected);
    assert_eq!(serde_json::from_value::<Problem>(expected).unwrap(), problem);
}

#[test]
fn unknown_fields_are_refused_in_requests() {
    let entry = json!({"statement": "{}", "signatures": []});
    assert!(serde_json::from_value::<LogEntry>(entry).is_ok());
    let entry = json!({"statement": "{}", "signatures": [], "comment": ""});
    assert!(serde_json::from_value::<LogEntry>(entry).is_err());
    let fetched = json!({"messages": [MESSAGE], "all": true});
    assert!(serde_json::from_value::<Fetched>(fetched).is_err());
}

#[test]
fn unknown_fields_are_ignored_in_answers() {
    let item = json!({"id": MESSAGE, "kind": "message", "from": USER, "size": 812, "color": "red"});
    let listing: Listing = serde_json::from_value(json!({"messages": [item], "more": false, "later": 1})).unwrap();
    assert_eq!(listing.messages.len(), 1);
    let entry: AnsweredEntry =
        serde_json::from_value(json!({"statement": "{}", "signatures": ["s"], "received": 1})).unwrap();
    assert_eq!(LogEntry::from(entry.clone()).signatures, ["s"]);
    assert_eq!(AnsweredEntry::from(LogEntry::from(entry.clone())), entry);
}

#[test]
fn a_request_is_an_object_and_not_an_array_of_its_values() {
    assert!(serde_json::from_value::<Fetched>(json!([[MESSAGE]])).is_err());
    assert!(serde_json::from_value::<LogEntry>(json!(["{}", []])).is_err());
    assert!(serde_json::from_value::<LogEntry>(json!(null)).is_err());
}

#[test]
fn repeated_and_missing_fields_are_refused_in_requests() {
    for text in ["{}", r#"{"messages": [], "messages": []}"#, r#"{"messages": null}"#, r#"{"messages": ["x"]}"#] {
        assert!(serde_json::from_str::<Fetched>(text).is_err(), "{text}");
    }
}

#[test]
fn items_are_written_as_the_protocol_shows_them() {
    let id: MessageId = MESSAGE.parse().unwrap();
    let from = USER.parse().unwrap();
    let message = Item { id, kind: ItemKind::Message, from, of: None, size: 812 };
    let expected = json!({"id": MESSAGE, "kind": "message", "from": USER, "size": 812});
    assert_eq!(serde_json::to_value(message).unwrap(), expected);
    let receipt = Item { id, kind: ItemKind::Receipt, from, of: Some(id), size: 228 };
    let expected = json!({"id": MESSAGE, "kind": "receipt", "from": USER, "of": MESSAGE, "size": 228});
    assert_eq!(serde_json::to_value(receipt).unwrap(), expected);
    assert_eq!(serde_json::from_value::<Item>(expected).unwrap(), receipt);
}

#[test]
fn the_last_page_of_users_has_no_next() {
    let page = json!({
        "organization": USER,
        "head": {"sequence": 3, "hash": "0".repeat(64)},
        "users": [{
            "user": USER, "fingerprint": "AB", "certificate": "", "administrator": true, "active": true,
            "client_limit": 5
        }],
        "next": null,
    });
    let parsed: UserPage = serde_json::from_value(page.clone()).unwrap();
    assert_eq!(serde_json::to_value(parsed).unwrap(), page);
}

#[test]
fn the_limits_are_those_of_the_protocol() {
    let limits = Limits::default();
    let seconds = [
        (limits.nonce_window, 30),
        (limits.session_lifetime, 24 * 60 * 60),
        (limits.message_id_behind, 60),
        (limits.message_id_ahead, 30),
        (limits.inconsistent_window, 300),
        (limits.retention, 14 * 24 * 60 * 60),
        (limits.long_poll, 55),
        (Limits::STATEMENT_SKEW, 30),
        (Limits::STATEMENT_AGE, 7 * 24 * 60 * 60),
    ];
    for (limit, expected) in seconds {
        assert_eq!(limit.as_secs(), expected);
    }
    assert_eq!((limits.clients_per_user, limits.recipients, limits.list_page), (5, 100, 1000));
    assert_eq!((limits.content_bytes, limits.statement_bytes), (1 << 20, 1 << 18));
    assert_eq!(Limits::LIST_PAGE_MAX, 10_000);
}

proptest! {
    #[test]
    fn any_text_as_a_problem_type_is_refused(text in "\\PC{0,60}|urn:countersign:problem:[a-z-]{0,30}") {
        if let Ok(kind) = text.parse::<ProblemType>() {
            prop_assert_eq!(text, format!("urn:countersign:problem:{}", kind.name()));
        }
    }

    #[test]
    fn any_text_as_a_body_is_refused_without_a_panic(text in "\\PC{0,100}|[{}\\[\\]\":,a-z0-9 ]{0,100}") {
        prop_assert!(serde_json::from_str::<LogEntry>(&text).is_err());
        prop_assert!(serde_json::from_str::<Listing>(&text).is_err());
        prop_assert!(serde_json::from_str::<Problem>(&text).is_err());
        prop_assert!(serde_json::from_str::<Fetched>(&text).is_err());
    }

    #[test]
    fn bodies_come_back_from_their_json(statement: String, signatures: Vec<String>, sizes: Vec<u64>, more: bool) {
        let entry = LogEntry { statement, signatures };
        prop_assert_eq!(&serde_json::from_str::<LogEntry>(&serde_json::to_string(&entry).unwrap()).unwrap(), &entry);
        let id = MESSAGE.parse().unwrap();
        let item = |size| Item { id, kind: ItemKind::Receipt, from: USER.parse().unwrap(), of: Some(id), size };
        let fetched = Fetched { messages: vec![id; sizes.len()] };
        let listing = Listing { messages: sizes.into_iter().map(item).collect(), more, gap: None };
        prop_assert_eq!(&serde_json::from_str::<Listing>(&serde_json::to_string(&listing).unwrap()).unwrap(), &listing);
        prop_assert_eq!(&serde_json::from_str::<Fetched>(&serde_json::to_string(&fetched).unwrap()).unwrap(), &fetched);
    }

    #[test]
    fn problems_come_back_from_their_json(index in 0..ProblemType::ALL.len(), detail: String, now: Option<u64>) {
        let problem = Problem { now, ..Problem::new(ProblemType::ALL[index], detail) };
        prop_assert_eq!(serde_json::from_str::<Problem>(&serde_json::to_string(&problem).unwrap()).unwrap(), problem);
    }
}
