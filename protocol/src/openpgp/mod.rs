//! `OpenPGP`: certificates, detached signatures, encryption, and messages that are signed inside their encryption. The
//! only home of sequoia.
//!
//! Refuses to know: secret keys. A text that holds one is refused, so that no one's mistake is stored.
//!
//! Invariant I-3: everything is judged at a time that the caller gives, under sequoia's standard policy as of that
//! time, so every client comes to the same verdict on the same log. A hard revocation counts at any time.

mod certificate;
mod encryption;
mod message;
mod signature;

pub use certificate::{Certificate, CertificateFault, Fingerprint, KeyName, parse_certificates};
pub use encryption::EncryptionFault;
pub use message::{Author, InvalidMessageKey, MessageKey, OpenFault, OpenedMessage, open, recipient_keys, seal};
pub use signature::{SignatureEncoding, SignatureFault, SignatureTerms, verify_detached};

use std::time::SystemTime;

use sequoia_openpgp::packet::Packet;
use sequoia_openpgp::parse::{Dearmor, PacketParserBuilder, PacketParserResult, Parse as _};
use sequoia_openpgp::policy::StandardPolicy;

use crate::time::UnixMicros;

/// Most packets that a certificate or signature may consist of: far above real ones (a well-connected certificate
/// has some hundreds of certifications), and low enough that parsing one stays in the range of milliseconds.
const PACKETS_MAX: usize = 2_000;

/// Largest packet, in bytes; a larger one is read as unknown. A key of version 4 is hashed with a length of 16 bits, and
/// sequoia panics over the fingerprint of a longer one.
const PACKET_BYTES_MAX: u32 = 64 * 1024 - 1;

fn policy(at: SystemTime) -> StandardPolicy<'static> {
    StandardPolicy::at(at)
}

fn system_time(time: UnixMicros) -> SystemTime {
    // OpenPGP counts seconds: a certificate made in this second is valid in all of it.
    SystemTime::from(UnixMicros(time.to_seconds() * 1_000_000))
}

/// Reads a flat sequence of packets. Containers (compressed or encrypted data) are never entered.
fn flat_packets(bytes: &[u8], dearmor: Dearmor) -> Option<Vec<Packet>> {
    let mut result = PacketParserBuilder::from_bytes(bytes)
        .ok()?
        .dearmor(dearmor)
        .max_recursion_depth(0)
        .max_packet_size(PACKET_BYTES_MAX)
        .drop_unread_content()
        .build()
        .ok()?;
    let mut packets = Vec::new();
    while let PacketParserResult::Some(parser) = result {
        if packets.len() == PACKETS_MAX {
            return None;
        }
        let (packet, next) = parser.next().ok()?;
        packets.push(packet);
        result = next;
    }
    Some(packets)
}
