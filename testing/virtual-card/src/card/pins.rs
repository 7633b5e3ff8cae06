//! The PINs: of the user (PW1), of the administrator (PW3), and the code that resets a blocked PW1.
//!
//! Owns: their values, how often each may still be tried, and what has been proven since the card was last reset.
//! Refuses to know: which command needs which proof.
//!
//! Invariant: a tried PIN costs a try before it is compared, and only the right one gives the tries back.

use super::apdu::Status;

const TRIES: u8 = 3;
/// More than anybody types; what the card announces as the maximum.
pub(super) const LONGEST: u8 = 127;

/// A PIN. Its value has no protection whatever: this is a card for tests.
#[derive(Clone, Debug)]
struct Pin {
    value: Vec<u8>,
    shortest: usize,
    tries: u8,
}

impl Pin {
    fn new(value: &[u8], shortest: usize) -> Self {
        Self { value: value.to_vec(), shortest, tries: TRIES }
    }

    fn check(&mut self, offered: &[u8]) -> Result<(), Status> {
        self.tries = self.tries.checked_sub(1).ok_or(Status::BLOCKED)?;
        if offered != self.value {
            return Err(if self.tries == 0 { Status::BLOCKED } else { Status::tries_left(self.tries) });
        }
        self.tries = TRIES;
        Ok(())
    }

    fn set(&mut self, value: &[u8]) -> Result<(), Status> {
        if !(self.shortest..=usize::from(LONGEST)).contains(&value.len()) {
            return Err(Status::WRONG_DATA);
        }
        self.value = value.to_vec();
        self.tries = TRIES;
        Ok(())
    }
}

/// What a command may need a proof of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// PW1 as 81: to sign.
    Signing,
    /// PW1 as 82: to decrypt and to authenticate.
    Using,
    /// PW3 as 83: to change what is on the card.
    Administering,
}

impl Proof {
    pub(super) const fn of_reference(reference: u8) -> Option<Self> {
        match reference {
            0x81 => Some(Self::Signing),
            0x82 => Some(Self::Using),
            0x83 => Some(Self::Administering),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Pins {
    user: Pin,
    administrator: Pin,
    resetting: Option<Pin>,
    proven: Vec<Proof>,
    /// Whether one PIN entry is for many signatures, and not for one.
    signing_lasts: bool,
}

impl Pins {
    /// The PINs of a new card: `123456`, `12345678`, and no resetting code.
    pub(super) fn new() -> Self {
        Self {
            user: Pin::new(b"123456", 6),
            administrator: Pin::new(b"12345678", 8),
            resetting: None,
            proven: Vec::new(),
            signing_lasts: true,
        }
    }

    /// The status that data object C4 shows.
    pub(super) fn status(&self) -> [u8; 7] {
        let resetting = self.resetting.as_ref().map_or(0, |pin| pin.tries);
        let lasts = u8::from(self.signing_lasts);
        [lasts, LONGEST, LONGEST, LONGEST, self.user.tries, resetting, self.administrator.tries]
    }

    pub(super) const fn set_signing_lasts(&mut self, lasts: bool) {
        self.signing_lasts = lasts;
    }

    pub(super) fn is_proven(&self, proof: Proof) -> bool {
        self.proven.contains(&proof)
    }

    pub(super) fn forget_all_proofs(&mut self) {
        self.proven.clear();
    }

    pub(super) fn forget(&mut self, proof: Proof) {
        self.proven.retain(|proven| *proven != proof);
    }

    /// A signature was made. Where the PIN is asked for each time, this one is used up.
    pub(super) fn signed(&mut self) {
        if !self.signing_lasts {
            self.forget(Proof::Signing);
        }
    }

    pub(super) fn verify(&mut self, proof: Proof, offered: &[u8]) -> Result<(), Status> {
        self.forget(proof);
        self.pin(proof).check(offered)?;
        self.proven.push(proof);
        Ok(())
    }

    /// How it stands with a PIN, without offering one.
    pub(super) fn state(&mut self, proof: Proof) -> Status {
        if self.is_proven(proof) { Status::OK } else { Status::tries_left(self.pin(proof).tries) }
    }

    pub(super) fn is_administrator_blocked(&self) -> bool {
        self.administrator.tries == 0
    }

    /// Changes a PIN. The old one and the new one stand one after the other, and the card knows how long the old one
    /// is.
    pub(super) fn change(&mut self, proof: Proof, old_and_new: &[u8]) -> Result<(), Status> {
        let pin = self.pin(proof);
        let (old, new) = old_and_new.split_at_checked(pin.value.len()).unwrap_or((old_and_new, &[]));
        pin.check(old)?;
        pin.set(new)
    }

    /// Sets PW1 with the resetting code, which stands before the new PIN.
    pub(super) fn reset_with_code(&mut self, code_and_new: &[u8]) -> Result<(), Status> {
        let code = self.resetting.as_mut().ok_or(Status::BLOCKED)?;
        let (offered, new) = code_and_new.split_at_checked(code.value.len()).unwrap_or((code_and_new, &[]));
        code.check(offered)?;
        self.user.set(new)
    }

    /// Sets PW1 as the administrator.
    pub(super) fn reset(&mut self, new: &[u8]) -> Result<(), Status> {
        self.user.set(new)
    }

    /// Sets the resetting code; an empty one removes it.
    pub(super) fn set_resetting_code(&mut self, value: &[u8]) -> Result<(), Status> {
        self.resetting = None;
        if !value.is_empty() {
            let mut pin = Pin::new(value, 8);
            pin.set(value)?;
            self.resetting = Some(pin);
        }
        Ok(())
    }

    const fn pin(&mut self, proof: Proof) -> &mut Pin {
        match proof {
            Proof::Signing | Proof::Using => &mut self.user,
            Proof::Administering => &mut self.administrator,
        }
    }
}
