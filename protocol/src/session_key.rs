//! Session keys (section 5.1): how a client asks for one under its user's OpenPGP key, and what it gets.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::id::ClientAddress;
use crate::nonce::Nonce;

/// The 32 bytes under which a client's requests are authenticated. Wiped when dropped, never printed, compared in
/// constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// Takes 32 bytes, which should come from a cryptographic source of randomness.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SessionKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SessionKey {}

impl fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionKey(…)")
    }
}

impl Serialize for SessionKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(self.0)))
    }
}

impl<'de> Deserialize<'de> for SessionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = Zeroizing::new(STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)?);
        let key = bytes.as_slice().try_into();
        key.map(Self).map_err(|_| serde::de::Error::custom("a session key has 32 bytes"))
    }
}

/// What is inside the encrypted answer to a password request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionGrant {
    /// The session key.
    pub key: SessionKey,
    /// The request's nonce; a client checks that it is its own.
    pub nonce: Nonce,
    /// RFC 3339 time at which the key ends.
    pub expires: String,
}

/// Writes the text that a user signs to ask for a session key: five lines, each ended by a line feed.
#[must_use]
pub fn password_text(client: &ClientAddress, nonce: Nonce) -> String {
    let ClientAddress { organization, user, client } = client;
    format!("countersign 1 password\n{organization}\n{user}\n{client}\n{nonce}\n")
}

/// An `Authorization: OpenPGP nonce="…", signature="…"` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPgpAuthorization {
    /// The nonce that was signed.
    pub nonce: Nonce,
    /// The detached binary `OpenPGP` signature.
    pub signature: Vec<u8>,
}

/// Why an `Authorization` header is not the `OpenPGP` one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthorization {
    /// Another scheme, or none.
    #[error("the Authorization header's scheme is not OpenPGP")]
    Scheme,
    /// Not exactly `nonce` and `signature`, each quoted.
    #[error("the Authorization header is not OpenPGP nonce=\"<nonce>\", signature=\"<base64>\"")]
    Parameters,
    /// The nonce is malformed.
    #[error("{0}")]
    Nonce(#[from] crate::nonce::InvalidNonce),
    /// The signature is not base64.
    #[error("the Authorization header's signature is not base64")]
    Base64,
}

impl OpenPgpAuthorization {
    /// Reads the header. The parameters may stand in any order (RFC 9110, section 11.4).
    ///
    /// # Errors
    /// [`InvalidAuthorization`] says what is wrong.
    pub fn parse(header: &str) -> Result<Self, InvalidAuthorization> {
        let (scheme, rest) = header.trim().split_once(' ').ok_or(InvalidAuthorization::Scheme)?;
        if !scheme.eq_ignore_ascii_case("openpgp") {
            return Err(InvalidAuthorization::Scheme);
        }
        let (mut nonce, mut signature) = (None, None);
        for parameter in rest.split(',') {
            let (name, value) = parameter.trim().split_once('=').ok_or(InvalidAuthorization::Parameters)?;
            let value = value
                .trim()
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .ok_or(InvalidAuthorization::Parameters)?;
            let slot = match name.trim().to_ascii_lowercase().as_str() {
                "nonce" => &mut nonce,
                "signature" => &mut signature,
                _ => return Err(InvalidAuthorization::Parameters),
            };
            if slot.replace(value).is_some() {
                return Err(InvalidAuthorization::Parameters);
            }
        }
        let (Some(nonce), Some(signature)) = (nonce, signature) else {
            return Err(InvalidAuthorization::Parameters);
        };
        Ok(Self {
            nonce: nonce.parse()?,
            signature: STANDARD.decode(signature).map_err(|_| InvalidAuthorization::Base64)?,
        })
    }
}

impl fmt::Display for OpenPgpAuthorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OpenPGP nonce=\"{}\", signature=\"{}\"", self.nonce, STANDARD.encode(&self.signature))
    }
}
