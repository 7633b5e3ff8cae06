//! Receipts: their text, their signature and their id.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::cases;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::openpgp::{Certificate, SignatureEncoding, SignatureTerms, verify_detached};
use countersign_protocol::receipt::receipt_text;
use countersign_protocol::time::{UnixMicros, UnixMillis};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    why: Option<String>,
    organization: OrganizationId,
    sender: UserId,
    recipient: UserId,
    message_time_ms: u64,
    content_base64: String,
    message: MessageId,
    text: String,
    certificate: String,
    signature_base64: String,
    signed_at: u64,
    receipt_time_ms: u64,
    receipt: MessageId,
}

impl Case {
    fn verifies(&self) -> bool {
        let signed_at = UnixMicros(self.signed_at * 1_000_000);
        let terms = SignatureTerms { certificate_at: signed_at, not_before: signed_at, not_after: signed_at };
        let certificate = Certificate::parse(&self.certificate).expect("a vector's certificate is one");
        let (signature, text) = (self.signature(), self.text.as_bytes());
        verify_detached(&signature, SignatureEncoding::Binary, text, &[certificate], &terms).is_ok()
    }

    fn signature(&self) -> Vec<u8> {
        STANDARD.decode(&self.signature_base64).expect("a vector's base64 is base64")
    }
}

#[test]
fn receipts_are_those_of_the_vectors() {
    for case in cases::<Case>("receipts.json", "receipts") {
        let content = Sha256Digest::of(&STANDARD.decode(&case.content_base64).unwrap());
        let Case { organization, sender, recipient, message, .. } = &case;

        let sent = UnixMillis(case.message_time_ms);
        assert_eq!(MessageId::of_message(organization, sender, sent, &[*recipient], &content), *message);
        assert_eq!(receipt_text(organization, sender, recipient, message, &content), case.text);
        assert!(case.verifies());
        let (signature, acknowledged) = (Sha256Digest::of(&case.signature()), UnixMillis(case.receipt_time_ms));
        assert_eq!(MessageId::of_receipt(organization, recipient, acknowledged, message, &signature), case.receipt);
    }
}

#[test]
fn receipts_that_say_something_else_are_refused() {
    for case in cases::<Case>("receipts.json", "refused") {
        assert!(!case.verifies(), "{:?}", case.why);
    }
}
