//! Values are read back as they were written, and what this program never writes is told as such.

use bytes::Bytes;
use countersign_protocol::body::ItemKind;
use countersign_protocol::id::UserId;
use countersign_protocol::log::LogEntry;

use super::*;
use crate::store::valkey::rows::{
    decode_entry, decode_fetched, decode_item, decode_message, decode_place, decode_record, encode_entry,
    encode_item, encode_message,
};
use crate::store::{StoredMessage, conformance};

fn messages() -> Vec<StoredMessage> {
    let client = client();
    let message = message_at(&client, SystemClock.now_millis(), &[client.user]);
    let many: Vec<UserId> = (0..100).map(|_| UserId::from_bytes(conformance::random())).collect();
    let receipt = StoredMessage { kind: ItemKind::Receipt, of: Some(message.id), ..message.clone() };
    let empty = StoredMessage { content: Bytes::new(), recipients: Vec::new(), ..message.clone() };
    let large = StoredMessage { content: vec![1; 70_000].into(), recipients: many, ..message.clone() };
    vec![message, receipt, empty, large]
}

#[test]
fn messages_and_rows_are_read_back_as_they_were_written() {
    for message in messages() {
        let read = decode_message(message.organization, message.id, encode_message(&message)).unwrap();
        let row = encode_item(&message.item());

        assert_eq!(read, message);
        assert_eq!(decode_item(&row).unwrap(), message.item());
        // A row with more than 64 bytes would take a sorted set out of its compact form.
        assert!(row.len() <= 57 && row.starts_with(message.id.as_bytes()), "{row:?}");
    }
}

#[test]
fn what_is_cut_short_or_strange_is_corrupt_and_breaks_nothing() {
    let messages = messages();
    let entry = LogEntry { statement: "statement".to_owned(), signatures: vec!["signature".to_owned()] };
    let entry = encode_entry(&entry, &[1; 16]).unwrap();
    let is_corrupt = |error: StoreError| matches!(error, StoreError::Corrupt(_));
    for message in &messages {
        let head = encode_message(message).len() - message.content.len();
        for end in 0..head {
            let cut = encode_message(message)[..end].to_vec();
            assert!(is_corrupt(decode_message(message.organization, message.id, cut).unwrap_err()), "{end}");
        }
        for end in 0..33 {
            assert!(is_corrupt(decode_item(&encode_item(&message.item())[..end]).unwrap_err()), "{end}");
        }
        let mut strange = encode_item(&message.item());
        strange[16] = 0xf0;
        assert!(is_corrupt(decode_item(&strange).unwrap_err()));
    }
    for end in 0..entry.len() {
        assert!(is_corrupt(decode_entry(&entry[..end]).unwrap_err()), "{end}");
    }
    for strange in [&b""[..], b"short", &[0xff; 17], &[0; 16]] {
        assert!(is_corrupt(decode_fetched(strange).unwrap_err()));
        assert!(is_corrupt(decode_record(strange).unwrap_err()));
        assert!(is_corrupt(decode_place(strange, b"").unwrap_err()));
    }
}
