//! An OpenPGP card, version 3.4, in software: what a chip with the OpenPGP application would answer.
//!
//! Owns: keys, PINs, data objects, the counter of signatures, and what each command does with them. The specification
//! is "Functional Specification of the OpenPGP application on ISO Smart Card Operating Systems", version 3.4.1;
//! section numbers are its own.
//!
//! Refuses to know: readers, sockets, GnuPG, and time. Randomness is a seed.
//!
//! What is there: keys of Ed25519 and Curve25519 and of RSA with 2048, 3072 and 4096 bits, imported or made on the
//! card; signing, decrypting, authenticating; all PINs with their tries; factory reset; short and extended lengths,
//! chaining. What is not: other curves, AES, secure messaging, private data objects, certificates, key derivation of
//! PINs, touch.
//!
//! Invariants: no command shows a secret key; a signature is counted before it leaves the card.

mod apdu;
mod data;
mod keys;
mod pins;
mod tlv;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use apdu::{Command, Status};
use data::DataObjects;
use keys::{Algorithm, Key, Slot};
use pins::{Pins, Proof};

/// Answer to reset: T=1, extended lengths and chaining in the historical bytes, as of a card of version 3.
const ATR: [u8; 21] = with_check_byte([
    0x3B, 0xDA, 0x18, 0xFF, 0x81, 0xB1, 0xFE, 0x75, 0x1F, 0x03, 0x00, 0x31, 0xF5, 0x73, 0xC0, 0x01, 0xE0, 0x05, 0x90,
    0x00, 0x00,
]);
/// Category, service data, capabilities (chaining, extended lengths), and the life cycle: operational, can be
/// terminated.
const HISTORICAL_BYTES: [u8; 10] = [0x00, 0x31, 0xF5, 0x73, 0xC0, 0x01, 0xE0, 0x05, 0x90, 0x00];
/// The application: D276 0001 24 is the FSFE's, 01 is OpenPGP.
const APPLICATION: [u8; 6] = [0xD2, 0x76, 0x00, 0x01, 0x24, 0x01];
const VERSION: [u8; 2] = [3, 4];
/// The manufacturer of test cards.
const MANUFACTURER: [u8; 2] = [0xFF, 0xFF];
/// GET CHALLENGE, key import, changeable PIN status and algorithms; then the longest challenge, certificate and
/// object.
const EXTENDED_CAPABILITIES: [u8; 10] = [0x74, 0, 0, LONGEST_CHALLENGE, 0, 0, 0, LONGEST_OBJECT, 0, 0];
const LONGEST_CHALLENGE: u8 = 255;
const LONGEST_OBJECT: u8 = 255;
const _: () = assert!(LONGEST_OBJECT as usize == data::LONGEST);
/// The longest command and answer in extended form.
const EXTENDED_LENGTHS: [u8; 8] = [0x02, 0x02, 0x08, 0x00, 0x02, 0x02, 0x08, 0x00];
/// As much as any chained command may be.
const LONGEST_COMMAND: usize = 0x800;
const LONGEST_SHORT_ANSWER: usize = 256;

/// The last byte of the ATR makes the exclusive or of all bytes but the first 0.
const fn with_check_byte(mut atr: [u8; 21]) -> [u8; 21] {
    let mut at = 1;
    while at < 20 {
        atr[20] ^= atr[at];
        at += 1;
    }
    atr
}

type Answer = Result<Vec<u8>, Status>;

/// A card. It keeps what is on it as long as it lives, also out of the reader.
#[derive(Debug)]
pub struct OpenPgpCard {
    serial: u32,
    random: ChaCha20Rng,
    algorithms: [Algorithm; 3],
    keys: [Option<Key>; 3],
    pins: Pins,
    data: DataObjects,
    signatures: u32,
    decryptions: u32,
    selected: bool,
    terminated: bool,
    /// The parts of a chained command so far.
    begun: Option<Command>,
    /// What of an answer has not been fetched yet.
    rest: Vec<u8>,
}

impl OpenPgpCard {
    /// A new card: no keys, PIN `123456`, Admin PIN `12345678`. The serial number decides what it draws at random, so
    /// also the keys that it makes.
    #[must_use]
    pub fn new(serial: u32) -> Self {
        Self {
            serial,
            random: ChaCha20Rng::seed_from_u64(serial.into()),
            algorithms: [Algorithm::DEFAULT; 3],
            keys: [None, None, None],
            pins: Pins::new(),
            data: DataObjects::default(),
            signatures: 0,
            decryptions: 0,
            selected: false,
            terminated: false,
            begun: None,
            rest: Vec::new(),
        }
    }

    /// The application identifier in hexadecimal digits, by which GnuPG names the card.
    #[must_use]
    pub fn application_identifier(&self) -> String {
        hex::encode_upper(self.identifier())
    }

    /// How many signatures the key to sign with has made, as the card itself counts (7A, 93).
    #[must_use]
    pub const fn signatures(&self) -> u32 {
        self.signatures
    }

    /// How often the key to decrypt with was used. A real card does not count this.
    #[must_use]
    pub const fn decryptions(&self) -> u32 {
        self.decryptions
    }

    /// What the card says of itself when the power comes.
    pub(crate) const fn answer_to_reset() -> &'static [u8] {
        &ATR
    }

    /// Power or reset: all but what is stored is forgotten.
    pub(crate) fn reset(&mut self) {
        self.selected = false;
        self.pins.forget_all_proofs();
        self.begun = None;
        self.rest.clear();
    }

    /// Executes a command APDU and returns the response APDU.
    pub(crate) fn transmit(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (mut data, status) = match self.receive(bytes) {
            Ok(answer) => answer,
            Err(status) => (Vec::new(), status),
        };
        data.extend(status.0.to_be_bytes());
        data
    }

    /// Puts chained commands together, and hands long answers out in parts.
    fn receive(&mut self, bytes: &[u8]) -> Result<(Vec<u8>, Status), Status> {
        let mut command = Command::read(bytes).ok_or(Status::WRONG_LENGTH)?;
        if command.plain_class() != 0 {
            return Err(Status::CLASS_UNKNOWN);
        }
        if let Some(mut begun) = self.begun.take()
            && (begun.instruction, begun.p1, begun.p2) == (command.instruction, command.p1, command.p2)
        {
            begun.data.append(&mut command.data);
            command = Command { data: begun.data, ..command };
        }
        if command.data.len() > LONGEST_COMMAND {
            return Err(Status::WRONG_LENGTH);
        }
        if command.is_chained() {
            self.begun = Some(command);
            return Ok((Vec::new(), Status::OK));
        }
        let mut answer = if command.instruction == 0xC0 && !self.rest.is_empty() {
            std::mem::take(&mut self.rest)
        } else {
            self.rest.clear();
            self.execute(&command)?
        };
        if command.extended || answer.len() <= LONGEST_SHORT_ANSWER {
            return Ok((answer, Status::OK));
        }
        self.rest = answer.split_off(LONGEST_SHORT_ANSWER);
        Ok((answer, Status::more(self.rest.len())))
    }

    fn execute(&mut self, command: &Command) -> Answer {
        match command.instruction {
            0xA4 => self.select(command),
            0x44 => {
                self.activate();
                Ok(Vec::new())
            }
            _ if self.terminated || !self.selected => Err(Status::CONDITIONS_NOT_SATISFIED),
            0x20 => self.verify(command),
            0x24 => self.change_reference_data(command),
            0x2C => self.reset_retry_counter(command),
            0xCA => self.get_data(command.parameters()),
            0xDA => self.put_data(command.parameters(), &command.data),
            0xDB if command.parameters() == 0x3FFF => self.import_key(&command.data),
            0x47 => self.generate_key_pair(command),
            0x2A => self.perform_security_operation(command),
            0x88 => self.authenticate(&command.data),
            0x84 => self.get_challenge(command.expected),
            0xE6 => self.terminate(),
            _ => Err(Status::INSTRUCTION_UNKNOWN),
        }
    }

    fn require(&self, proof: Proof) -> Result<(), Status> {
        if self.pins.is_proven(proof) { Ok(()) } else { Err(Status::SECURITY_NOT_SATISFIED) }
    }

    // === Selecting, and the life cycle ===

    /// SELECT (7.2.1).
    fn select(&mut self, command: &Command) -> Answer {
        self.reset();
        if command.p1 != 0x04 || command.data.is_empty() || !self.identifier().starts_with(&command.data) {
            return Err(Status::FILE_NOT_FOUND);
        }
        if self.terminated {
            return Err(Status::TERMINATED);
        }
        self.selected = true;
        Ok(Vec::new())
    }

    /// TERMINATE DF (7.2.16): the first half of a factory reset, for the administrator or with the Admin PIN blocked.
    fn terminate(&mut self) -> Answer {
        if !self.pins.is_administrator_blocked() {
            self.require(Proof::Administering)?;
        }
        self.terminated = true;
        Ok(Vec::new())
    }

    /// ACTIVATE FILE (7.2.17): the second half. Nothing is left of what was on the card but its serial number.
    fn activate(&mut self) {
        if self.terminated {
            let random = self.random.clone();
            *self = Self { random, ..Self::new(self.serial) };
        }
    }

    // === PINs ===

    /// VERIFY (7.2.2): without data it asks how it stands.
    fn verify(&mut self, command: &Command) -> Answer {
        let proof = Proof::of_reference(command.p2).ok_or(Status::REFERENCE_NOT_FOUND)?;
        match command.p1 {
            0x00 if command.data.is_empty() => match self.pins.state(proof) {
                Status::OK => Ok(Vec::new()),
                status => Err(status),
            },
            0x00 => self.pins.verify(proof, &command.data).map(|()| Vec::new()),
            0xFF if command.data.is_empty() => {
                self.pins.forget(proof);
                Ok(Vec::new())
            }
            _ => Err(Status::WRONG_PARAMETERS),
        }
    }

    /// CHANGE REFERENCE DATA (7.2.3).
    fn change_reference_data(&mut self, command: &Command) -> Answer {
        match (command.p1, Proof::of_reference(command.p2)) {
            (0, Some(proof @ (Proof::Signing | Proof::Administering))) => {
                self.pins.change(proof, &command.data).map(|()| Vec::new())
            }
            _ => Err(Status::WRONG_PARAMETERS),
        }
    }

    /// RESET RETRY COUNTER (7.2.4).
    fn reset_retry_counter(&mut self, command: &Command) -> Answer {
        match (command.p1, command.p2) {
            (0x00, 0x81) => self.pins.reset_with_code(&command.data)?,
            (0x02, 0x81) => {
                self.require(Proof::Administering)?;
                self.pins.reset(&command.data)?;
            }
            _ => return Err(Status::WRONG_PARAMETERS),
        }
        Ok(Vec::new())
    }

    // === Data objects ===

    /// GET DATA (7.2.6). Of a constructed object the value is the answer.
    fn get_data(&self, tag: u16) -> Answer {
        Ok(match tag {
            0x4F => self.identifier(),
            0x5E => self.data.login.clone(),
            0x5F50 => self.data.url.clone(),
            0x5F52 => HISTORICAL_BYTES.to_vec(),
            0x65 => template(&[
                (0x5B, &self.data.name),
                (0x5F2D, &self.data.language),
                (0x5F35, if self.data.salutation.is_empty() { b"9" } else { &self.data.salutation }),
            ]),
            0x6E => template(&[
                (0x4F, &self.identifier()),
                (0x5F52, &HISTORICAL_BYTES),
                (0x7F66, &EXTENDED_LENGTHS),
                (0x73, &self.discretionary_objects()),
            ]),
            0x7A => template(&[(0x93, &self.signature_counter())]),
            0x93 => self.signature_counter().to_vec(),
            0xC4 => self.pins.status().to_vec(),
            _ => tlv::find(&self.discretionary_objects(), tag).ok_or(Status::REFERENCE_NOT_FOUND)?.to_vec(),
        })
    }

    /// The template 73: what the application can do, and which keys it has.
    fn discretionary_objects(&self) -> Vec<u8> {
        let information: Vec<u8> = Slot::ALL
            .into_iter()
            .flat_map(|slot| [slot as u8 + 1, u8::from(self.keys[slot as usize].is_some())])
            .collect();
        template(&[
            (0xC0, &EXTENDED_CAPABILITIES),
            (0xC1, &self.algorithms[0].attributes()),
            (0xC2, &self.algorithms[1].attributes()),
            (0xC3, &self.algorithms[2].attributes()),
            (0xC4, &self.pins.status()),
            (0xC5, &self.data.fingerprints()),
            (0xC6, &self.data.authority_fingerprints()),
            (0xCD, &self.data.times()),
            (0xDE, &information),
        ])
    }

    fn identifier(&self) -> Vec<u8> {
        [&APPLICATION[..], &VERSION, &MANUFACTURER, &self.serial.to_be_bytes(), &[0, 0]].concat()
    }

    /// Three bytes, big-endian.
    const fn signature_counter(&self) -> [u8; 3] {
        let [_, counter @ ..] = self.signatures.to_be_bytes();
        counter
    }

    /// PUT DATA (7.2.8).
    fn put_data(&mut self, tag: u16, value: &[u8]) -> Answer {
        self.require(Proof::Administering)?;
        match tag {
            0xC1..=0xC3 => {
                let slot = Slot::ALL[usize::from(tag - 0xC1)];
                let algorithm = Algorithm::read(slot, value)?;
                if algorithm != self.algorithms[slot as usize] {
                    self.algorithms[slot as usize] = algorithm;
                    self.put_key(slot, None);
                }
            }
            0xC4 => self.pins.set_signing_lasts(match value.first() {
                Some(0) => false,
                Some(1) => true,
                _ => return Err(Status::WRONG_DATA),
            }),
            0xD3 => self.pins.set_resetting_code(value)?,
            _ => self.data.put(tag, value)?,
        }
        Ok(Vec::new())
    }

    // === Keys ===

    fn put_key(&mut self, slot: Slot, key: Option<Key>) {
        self.keys[slot as usize] = key;
        self.data.forget_key(slot);
        if slot == Slot::Signature {
            self.signatures = 0;
        }
    }

    fn key(&self, slot: Slot) -> Result<Key, Status> {
        self.keys[slot as usize].clone().ok_or(Status::REFERENCE_NOT_FOUND)
    }

    /// PUT DATA of an extended header list (4.4.3.12): an imported key.
    fn import_key(&mut self, data: &[u8]) -> Answer {
        self.require(Proof::Administering)?;
        let list = tlv::find(data, 0x4D).ok_or(Status::WRONG_DATA)?;
        let (tag, _, _) = tlv::read(list).ok_or(Status::WRONG_DATA)?;
        let slot = Slot::of_template(tag).ok_or(Status::WRONG_DATA)?;
        let template = tlv::find(list, 0x7F48).ok_or(Status::WRONG_DATA)?;
        let bytes = tlv::find(list, 0x5F48).ok_or(Status::WRONG_DATA)?;
        let key = Key::import(self.algorithms[slot as usize], template, bytes)?;
        self.put_key(slot, Some(key));
        Ok(Vec::new())
    }

    /// GENERATE ASYMMETRIC KEY PAIR (7.2.14), which also shows the public key that is there.
    fn generate_key_pair(&mut self, command: &Command) -> Answer {
        let (tag, _, _) = tlv::read(&command.data).ok_or(Status::WRONG_DATA)?;
        let slot = Slot::of_template(tag).ok_or(Status::WRONG_DATA)?;
        match command.p1 {
            0x80 => {
                self.require(Proof::Administering)?;
                let key = Key::generate(self.algorithms[slot as usize], &mut self.random)?;
                self.put_key(slot, Some(key));
            }
            0x81 => {}
            _ => return Err(Status::WRONG_PARAMETERS),
        }
        Ok(template(&[(0x7F49, &self.key(slot)?.public())]))
    }

    /// PERFORM SECURITY OPERATION: a digital signature (7.2.10), or decipherment (7.2.11).
    fn perform_security_operation(&mut self, command: &Command) -> Answer {
        match command.parameters() {
            0x9E9A => {
                self.require(Proof::Signing)?;
                let signature = self.key(Slot::Signature)?.sign(&command.data, &mut self.random)?;
                self.signatures += 1;
                self.pins.signed();
                Ok(signature)
            }
            0x8086 => {
                self.require(Proof::Using)?;
                let plain = self.key(Slot::Decryption)?.decipher(&command.data, &mut self.random)?;
                self.decryptions += 1;
                Ok(plain)
            }
            _ => Err(Status::WRONG_PARAMETERS),
        }
    }

    /// INTERNAL AUTHENTICATE (7.2.13): signs with the third key, for SSH.
    fn authenticate(&mut self, data: &[u8]) -> Answer {
        self.require(Proof::Using)?;
        self.key(Slot::Authentication)?.sign(data, &mut self.random)
    }

    /// GET CHALLENGE (7.2.15): random bytes.
    fn get_challenge(&mut self, expected: Option<usize>) -> Answer {
        let length = expected.ok_or(Status::WRONG_LENGTH)?.min(LONGEST_CHALLENGE.into());
        let mut challenge = vec![0; length];
        self.random.fill_bytes(&mut challenge);
        Ok(challenge)
    }
}

fn template(objects: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, value) in objects {
        tlv::write(&mut bytes, *tag, value);
    }
    bytes
}

#[cfg(test)]
mod tests;
