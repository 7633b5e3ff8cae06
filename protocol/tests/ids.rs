//! Identifiers and message ids.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::cases;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::message_id::{InvalidMessageId, MessageId};
use countersign_protocol::time::UnixMillis;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct MessageCase {
    organization: OrganizationId,
    sender: UserId,
    time_ms: u64,
    recipients: Vec<UserId>,
    content_base64: String,
    id: MessageId,
}

#[derive(Deserialize)]
struct ReceiptCase {
    organization: OrganizationId,
    recipient: UserId,
    time_ms: u64,
    message: MessageId,
    signature_base64: String,
    id: MessageId,
}

#[derive(Deserialize)]
struct Refused {
    why: String,
    text: String,
}

#[derive(Deserialize)]
struct MessageIdCase {
    text: String,
    time_ms: u64,
}

#[derive(Deserialize)]
struct AddressCase {
    text: String,
    organization: OrganizationId,
    user: UserId,
    client: ClientId,
}

fn digest_of(base64: &str) -> Sha256Digest {
    Sha256Digest::of(&STANDARD.decode(base64).expect("a vector's base64 is base64"))
}

#[test]
fn message_ids_are_those_of_the_vectors() {
    for case in cases::<MessageCase>("ids.json", "messages") {
        let MessageCase { organization, sender, time_ms, recipients, content_base64, id } = case;
        let time = UnixMillis(time_ms);

        let computed = MessageId::of_message(&organization, &sender, time, &recipients, &digest_of(&content_base64));

        assert_eq!(computed, id);
        assert_eq!(computed.time(), time);
    }
}

#[test]
fn receipt_ids_are_those_of_the_vectors() {
    for case in cases::<ReceiptCase>("ids.json", "receipts") {
        let ReceiptCase { organization, recipient, time_ms, message, signature_base64, id } = case;
        let time = UnixMillis(time_ms);

        let computed =
            MessageId::of_receipt(&organization, &recipient, time, &message, &digest_of(&signature_base64));

        assert_eq!(computed, id);
    }
}

#[test]
fn an_id_has_one_spelling() {
    for text in cases::<String>("identifiers.json", "ids/valid") {
        let id: UserId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(serde_json::to_value(id).unwrap(), text);
    }
    for Refused { why, text } in cases("identifiers.json", "ids/invalid") {
        assert!(text.parse::<OrganizationId>().is_err(), "{why}: {text:?}");
        assert!(text.parse::<UserId>().is_err(), "{why}: {text:?}");
        assert!(text.parse::<ClientId>().is_err(), "{why}: {text:?}");
        assert!(serde_json::from_value::<UserId>(text.into()).is_err(), "{why}");
    }
}

#[test]
fn a_message_id_is_a_uuid_of_version_8_in_one_spelling() {
    for MessageIdCase { text, time_ms } in cases("identifiers.json", "message_ids/valid") {
        let id: MessageId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.time(), UnixMillis(time_ms));
    }
    for Refused { why, text } in cases("identifiers.json", "message_ids/invalid") {
        assert!(text.parse::<MessageId>().is_err(), "{why}: {text:?}");
    }
}

#[test]
fn a_message_id_of_another_version_is_told_from_no_id() {
    assert_eq!("01890a5d-ac96-774b-bcce-b302099a8057".parse::<MessageId>(), Err(InvalidMessageId::NotVersion8));
    assert!(matches!("x".parse::<MessageId>(), Err(InvalidMessageId::NotAnId(_))));
}

#[test]
fn a_client_address_has_one_spelling() {
    for AddressCase { text, organization, user, client } in cases("identifiers.json", "client_addresses/valid") {
        let address: ClientAddress = text.parse().unwrap();
        assert_eq!(address, ClientAddress { organization, user, client });
        assert_eq!(address.to_string(), text);
    }
    for Refused { why, text } in cases("identifiers.json", "client_addresses/invalid") {
        assert!(text.parse::<ClientAddress>().is_err(), "{why}: {text:?}");
    }
}

#[test]
fn debugging_an_id_shows_it() {
    let id = UserId::from_bytes([0x11; 16]);
    assert_eq!(format!("{id:?}"), "UserId(11111111-1111-1111-1111-111111111111)");
}

fn users() -> impl Strategy<Value = Vec<UserId>> {
    prop::collection::vec(any::<[u8; 16]>().prop_map(UserId::from_bytes), 1..8)
}

fn message(time: u64, sender: [u8; 16], recipients: &[UserId], content: &[u8]) -> MessageId {
    let organization = OrganizationId::from_bytes([7; 16]);
    let sender = UserId::from_bytes(sender);
    MessageId::of_message(&organization, &sender, UnixMillis(time), recipients, &Sha256Digest::of(content))
}

proptest! {
    #[test]
    fn any_text_is_an_id_exactly_if_it_is_written_so(text in ".{0,120}") {
        if let Ok(id) = text.parse::<UserId>() {
            prop_assert_eq!(id.to_string(), text.clone());
        }
        if let Ok(id) = text.parse::<MessageId>() {
            prop_assert_eq!(id.to_string(), text.clone());
        }
        if let Ok(address) = text.parse::<ClientAddress>() {
            prop_assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn almost_ids_are_ids_exactly_if_they_are_written_so(text in "[0-9a-fA-F]{8}(-?[0-9a-f]{4}){3}-[0-9a-f]{11,13}") {
        let hyphens: Vec<usize> = text.match_indices('-').map(|(place, _)| place).collect();
        let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
        let id = text.parse::<UserId>();
        prop_assert_eq!(id.is_ok(), text.len() == 36 && hyphens == [8, 13, 18, 23] && !upper);
        prop_assert!(id.is_err() || id.is_ok_and(|id| id.to_string() == text));
    }

    #[test]
    fn ids_come_back_from_their_text_and_their_bytes(bytes: [u8; 16]) {
        let id = UserId::from_bytes(bytes);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert_eq!(serde_json::from_str::<UserId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        prop_assert_eq!(*id.as_bytes(), bytes);
    }

    #[test]
    fn client_addresses_come_back_from_their_text(organization: [u8; 16], user: [u8; 16], client: [u8; 16]) {
        let address = ClientAddress {
            organization: OrganizationId::from_bytes(organization),
            user: UserId::from_bytes(user),
            client: ClientId::from_bytes(client),
        };
        prop_assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn message_ids_come_back_from_their_text_and_their_bytes(time in 0_u64..1 << 48, sender: [u8; 16], to in users()) {
        let id = message(time, sender, &to, b"content");
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert_eq!(MessageId::from_bytes(*id.as_bytes()), Ok(id));
        prop_assert_eq!(serde_json::from_str::<MessageId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        prop_assert_eq!(id.time(), UnixMillis(time));
    }

    #[test]
    fn message_ids_are_ordered_by_time(a in 0_u64..1 << 48, b in 0_u64..1 << 48, sender: [u8; 16], to in users()) {
        let (first, second) = (message(a, sender, &to, b"a"), message(b, sender, &to, b"b"));
        if a != b {
            prop_assert_eq!(a < b, first < second);
            prop_assert_eq!(a < b, first.to_string() < second.to_string());
        }
    }

    #[test]
    fn order_and_repeats_of_recipients_do_not_matter(
        (to, shuffled) in users().prop_flat_map(|to| {
            let repeated = [to.clone(), to.clone()].concat();
            (Just(to), Just(repeated).prop_shuffle())
        }),
        sender: [u8; 16],
    ) {
        prop_assert_eq!(message(1, sender, &to, b"x"), message(1, sender, &shuffled, b"x"));
    }

    #[test]
    fn another_recipient_sender_content_or_time_is_another_id(to in users(), sender: [u8; 16], extra: [u8; 16]) {
        let id = message(1, sender, &to, b"content");
        let more = [to.clone(), vec![UserId::from_bytes(extra)]].concat();
        prop_assert!(to.contains(&UserId::from_bytes(extra)) || message(1, sender, &more, b"content") != id);
        prop_assert!(sender == extra || message(1, extra, &to, b"content") != id);
        prop_assert_ne!(message(1, sender, &to, b"Content"), id);
        prop_assert_ne!(message(2, sender, &to, b"content"), id);
    }

    #[test]
    fn bytes_are_a_message_id_exactly_if_version_and_variant_fit(bytes: [u8; 16]) {
        let fits = bytes[6] & 0xf0 == 0x80 && bytes[8] & 0xc0 == 0x80;
        prop_assert_eq!(MessageId::from_bytes(bytes).is_ok(), fits);
    }
}
