//! The data objects that only rest on the card: who it belongs to, and what GnuPG notes about the keys.
//!
//! Owns: their values, and which tags may be written. Refuses to know: PINs and secret keys.

use super::apdu::Status;
use super::keys::Slot;

/// Longest value of an object without a length of its own, as the card announces.
pub(super) const LONGEST: usize = 255;

/// A SHA-1 fingerprint; zeros where there is none.
type Fingerprint = [u8; 20];

#[derive(Clone, Debug, Default)]
pub(super) struct DataObjects {
    pub(super) name: Vec<u8>,
    pub(super) language: Vec<u8>,
    /// ISO 5218; empty where it was never set.
    pub(super) salutation: Vec<u8>,
    pub(super) url: Vec<u8>,
    pub(super) login: Vec<u8>,
    fingerprints: [Fingerprint; 3],
    authority_fingerprints: [Fingerprint; 3],
    /// When each key was made, in seconds since 1970, big-endian.
    times: [[u8; 4]; 3],
}

impl DataObjects {
    pub(super) fn fingerprints(&self) -> Vec<u8> {
        self.fingerprints.concat()
    }

    pub(super) fn authority_fingerprints(&self) -> Vec<u8> {
        self.authority_fingerprints.concat()
    }

    pub(super) fn times(&self) -> Vec<u8> {
        self.times.concat()
    }

    /// Forgets what was noted about a key, since another one takes its place.
    pub(super) const fn forget_key(&mut self, slot: Slot) {
        self.fingerprints[slot as usize] = [0; 20];
        self.times[slot as usize] = [0; 4];
    }

    /// Writes an object.
    pub(super) fn put(&mut self, tag: u16, value: &[u8]) -> Result<(), Status> {
        let text = match tag {
            0x5B => Some(&mut self.name),
            0x5E => Some(&mut self.login),
            0x5F2D => Some(&mut self.language),
            0x5F35 => Some(&mut self.salutation),
            0x5F50 => Some(&mut self.url),
            _ => None,
        };
        if let Some(text) = text {
            if value.len() > LONGEST {
                return Err(Status::WRONG_LENGTH);
            }
            *text = value.to_vec();
            return Ok(());
        }
        let place = |first: u16| usize::from(tag - first);
        match tag {
            0xC7..=0xC9 => fill(&mut self.fingerprints[place(0xC7)], value),
            0xCA..=0xCC => fill(&mut self.authority_fingerprints[place(0xCA)], value),
            0xCE..=0xD0 => fill(&mut self.times[place(0xCE)], value),
            _ => Err(Status::REFERENCE_NOT_FOUND),
        }
    }
}

/// Overwrites an object of fixed length; an empty value clears it.
fn fill<const LENGTH: usize>(object: &mut [u8; LENGTH], value: &[u8]) -> Result<(), Status> {
    *object = if value.is_empty() { [0; LENGTH] } else { value.try_into().map_err(|_| Status::WRONG_LENGTH)? };
    Ok(())
}
