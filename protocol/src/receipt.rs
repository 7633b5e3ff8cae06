//! Receipts (section 6): what a recipient signs to tell the sender that a message arrived.

use crate::digest::Sha256Digest;
use crate::id::{OrganizationId, UserId};
use crate::message_id::MessageId;

/// Writes the text that a recipient signs: six lines, each ended by a line feed.
#[must_use]
pub fn receipt_text(
    organization: &OrganizationId,
    sender: &UserId,
    recipient: &UserId,
    message: &MessageId,
    content: &Sha256Digest,
) -> String {
    format!("countersign 1 receipt\n{organization}\n{sender}\n{recipient}\n{message}\n{content}\n")
}
