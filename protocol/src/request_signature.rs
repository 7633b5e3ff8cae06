//! Signatures of requests under a session key (section 5.2): one profile of RFC 9421 HTTP Message Signatures.
//!
//! Invariant I-2: what is verified is what was sent. The signature base is built from the request's own method, path,
//! query and digest header, and from the signature parameters in the order and spelling in which they came.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, ListSerializer, Parser};
use sha2::Sha256;

use crate::id::ClientAddress;
use crate::nonce::Nonce;
use crate::session_key::SessionKey;

/// The label of the one signature that a request carries.
pub const LABEL: &str = "countersign";

/// The `Accept-Signature` header (RFC 9421, section 5.1) of a 401: which signature the service wants.
pub const ACCEPT_SIGNATURE: &str =
    r#"countersign=("@method" "@path" "@query");created;nonce="";keyid="";alg="hmac-sha256""#;

const COMPONENTS: [&str; 4] = ["@method", "@path", "@query", "content-digest"];

/// The parts of a request that its signature covers, as they stand on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoveredRequest<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The path of the target, percent-encoded as sent.
    pub path: &'a str,
    /// The query of the target without its `?`, percent-encoded as sent.
    pub query: Option<&'a str>,
    /// The `Content-Digest` header, exactly when there is a body.
    pub content_digest: Option<&'a str>,
}

/// A parsed `Signature-Input` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureInput {
    /// When the signature was made, in Unix seconds.
    pub created: u64,
    /// The nonce.
    pub nonce: Nonce,
    /// Which client signed: the `keyid`.
    pub client: ClientAddress,
    /// Whether the digest of a body is covered.
    pub covers_digest: bool,
    /// The signature parameters as RFC 9421 serializes them, in the order in which they came.
    parameters: String,
}

/// Why a `Signature-Input` or `Signature` header is not of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignatureHeader {
    /// Not a structured field (RFC 9651) of the right type.
    #[error("not a structured-field dictionary")]
    NotADictionary,
    /// Not exactly one member, named `countersign`.
    #[error("not exactly one signature labelled countersign")]
    Label,
    /// Other components than the profile's, or with parameters of their own.
    #[error(
        r#"the covered components are not ("@method" "@path" "@query"), with "content-digest" as fourth for a body"#
    )]
    Components,
    /// A parameter is missing, unknown or of another type.
    #[error("the parameters are not exactly created, nonce, keyid and alg")]
    Parameters,
    /// `alg` is not `hmac-sha256`.
    #[error("alg is not hmac-sha256")]
    Algorithm,
    /// `nonce` is malformed.
    #[error("nonce is not decimal Unix time in microseconds")]
    Nonce,
    /// `keyid` is malformed.
    #[error("keyid is not <organization>#<user>#<client>")]
    KeyId,
    /// The signature is not a byte sequence of 32 bytes.
    #[error("the signature is not a byte sequence of 32 bytes")]
    Signature,
}

impl SignatureInput {
    /// Makes the input of a new signature, with its parameters in the protocol's order; `created` is in Unix seconds.
    ///
    /// ```
    /// use countersign_protocol::nonce::Nonce;
    /// use countersign_protocol::request_signature::{CoveredRequest, SignatureInput};
    /// use countersign_protocol::session_key::SessionKey;
    /// use countersign_protocol::time::UnixMicros;
    ///
    /// let organization = "6f1c2e5a-0c1d-4e8b-9a53-0e4a7d1f2b3c";
    /// let client = format!("{organization}#{organization}#{organization}").parse()?;
    /// let now = UnixMicros(1_795_400_000_123_456);
    /// let path = format!("/{organization}");
    /// let request = CoveredRequest { method: "GET", path: &path, query: None, content_digest: None };
    /// let key = SessionKey::from_bytes([7; 32]);
    ///
    /// let input = SignatureInput::new(client, Nonce::at(now), now.to_seconds(), false);
    /// let signature = input.sign(&request, &key);
    ///
    /// assert!(input.verifies(&request, &signature, &key));
    /// assert!(!input.verifies(&CoveredRequest { method: "PUT", ..request }, &signature, &key));
    /// # Ok::<(), countersign_protocol::id::InvalidId>(())
    /// ```
    #[must_use]
    pub fn new(client: ClientAddress, nonce: Nonce, created: u64, covers_digest: bool) -> Self {
        let fourth = if covers_digest { r#" "content-digest""# } else { "" };
        let parameters = format!(
            r#"("@method" "@path" "@query"{fourth});created={created};nonce="{nonce}";keyid="{client}";alg="hmac-sha256""#
        );
        Self { created, nonce, client, covers_digest, parameters }
    }

    /// Reads the `Signature-Input` header.
    ///
    /// # Errors
    /// [`InvalidSignatureHeader`] says what is not of the profile.
    pub fn parse(header: &str) -> Result<Self, InvalidSignatureHeader> {
        match Self::parse_own_spelling(header) {
            Some(input) => Ok(input),
            None => Self::parse_any_spelling(header),
        }
    }

    /// Reads the header if it is spelled as [`Self::new`] spells it, which is what nearly all clients send: a tenth of
    /// the time that a structured field takes in general, and the same result, as a test shows.
    fn parse_own_spelling(header: &str) -> Option<Self> {
        let parameters = header.strip_prefix(LABEL)?.strip_prefix('=')?;
        let rest = parameters.strip_prefix(r#"("@method" "@path" "@query""#)?;
        let after_digest = rest.strip_prefix(r#" "content-digest""#);
        let rest = after_digest.unwrap_or(rest).strip_prefix(");created=")?;
        let (created, rest) = rest.split_once(r#";nonce=""#)?;
        let (nonce, rest) = rest.split_once(r#"";keyid=""#)?;
        let client = rest.strip_suffix(r#"";alg="hmac-sha256""#)?;
        // An integer of RFC 9651 has at most 15 digits; with a leading zero it would be spelled anew.
        let canonical = created.len() <= 15
            && created.bytes().all(|digit| digit.is_ascii_digit())
            && (created == "0" || !created.starts_with('0'));
        Some(Self {
            created: if canonical { created.parse().ok()? } else { return None },
            nonce: nonce.parse().ok()?,
            client: client.parse().ok()?,
            covers_digest: after_digest.is_some(),
            parameters: parameters.to_owned(),
        })
    }

    fn parse_any_spelling(header: &str) -> Result<Self, InvalidSignatureHeader> {
        let ListEntry::InnerList(list) = only_member(header)? else {
            return Err(InvalidSignatureHeader::Components);
        };
        let covers_digest = covered_components(&list)?;

        let (mut created, mut nonce, mut client, mut algorithm) = (None, None, None, false);
        for (name, value) in &list.params {
            match (name.as_str(), value) {
                ("created", BareItem::Integer(seconds)) => {
                    let seconds = u64::try_from(i64::from(*seconds));
                    created = Some(seconds.map_err(|_| InvalidSignatureHeader::Parameters)?);
                }
                ("nonce", BareItem::String(text)) => {
                    nonce = Some(text.as_str().parse().map_err(|_| InvalidSignatureHeader::Nonce)?);
                }
                ("keyid", BareItem::String(text)) => {
                    client = Some(text.as_str().parse().map_err(|_| InvalidSignatureHeader::KeyId)?);
                }
                ("alg", BareItem::String(text)) if text.as_str() == "hmac-sha256" => algorithm = true,
                ("alg", _) => return Err(InvalidSignatureHeader::Algorithm),
                _ => return Err(InvalidSignatureHeader::Parameters),
            }
        }
        let (Some(created), Some(nonce), Some(client), true) = (created, nonce, client, algorithm) else {
            return Err(InvalidSignatureHeader::Parameters);
        };

        let mut serializer = ListSerializer::new();
        {
            let mut inner = serializer.inner_list();
            inner.items(&list.items);
            let _ = inner.finish().parameters(&list.params);
        }
        let parameters = serializer.finish().ok_or(InvalidSignatureHeader::Components)?;
        Ok(Self { created, nonce, client, covers_digest, parameters })
    }

    /// Writes the `Signature-Input` header.
    #[must_use]
    pub fn to_header(&self) -> String {
        format!("{LABEL}={}", self.parameters)
    }

    /// Builds the signature base of RFC 9421, section 2.5: what the HMAC is computed over.
    ///
    /// `request.content_digest` is used exactly when the input covers it.
    #[must_use]
    pub fn base(&self, request: &CoveredRequest<'_>) -> String {
        let CoveredRequest { method, path, query, content_digest } = request;
        let query = query.unwrap_or("");
        let mut base = String::with_capacity(512);
        base.push_str("\"@method\": ");
        base.push_str(method);
        base.push_str("\n\"@path\": ");
        base.push_str(if path.is_empty() { "/" } else { path });
        base.push_str("\n\"@query\": ?");
        base.push_str(query);
        if self.covers_digest {
            base.push_str("\n\"content-digest\": ");
            base.push_str(content_digest.unwrap_or("").trim_matches([' ', '\t']));
        }
        base.push_str("\n\"@signature-params\": ");
        base.push_str(&self.parameters);
        base
    }

    /// Signs a request.
    #[must_use]
    pub fn sign(&self, request: &CoveredRequest<'_>, key: &SessionKey) -> RequestSignature {
        RequestSignature(keyed(key, &self.base(request)).finalize().into_bytes().into())
    }

    /// Tells, in constant time, whether a signature is the request's under the key.
    #[must_use]
    pub fn verifies(&self, request: &CoveredRequest<'_>, signature: &RequestSignature, key: &SessionKey) -> bool {
        keyed(key, &self.base(request)).verify_slice(&signature.0).is_ok()
    }
}

/// The HMAC-SHA-256 that a `Signature` header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSignature([u8; 32]);

impl RequestSignature {
    /// Reads the `Signature` header.
    ///
    /// # Errors
    /// [`InvalidSignatureHeader`] says what is not of the profile.
    pub fn parse(header: &str) -> Result<Self, InvalidSignatureHeader> {
        match Self::parse_own_spelling(header) {
            Some(signature) => Ok(signature),
            None => Self::parse_any_spelling(header),
        }
    }

    /// Reads the header if it is spelled as [`Self::to_header`] spells it: see there in [`SignatureInput`].
    fn parse_own_spelling(header: &str) -> Option<Self> {
        let encoded = header.strip_prefix(LABEL)?.strip_prefix("=:")?.strip_suffix(':')?;
        let mut bytes = [0; 32];
        // The decoder wants room for what the length could mean at most.
        let mut decoded = [0; 33];
        let length =
            if encoded.len() == 44 { STANDARD.decode_slice(encoded, &mut decoded).ok()? } else { return None };
        bytes.copy_from_slice(decoded.get(..length).filter(|decoded| decoded.len() == 32)?);
        Some(Self(bytes))
    }

    fn parse_any_spelling(header: &str) -> Result<Self, InvalidSignatureHeader> {
        match only_member(header)? {
            ListEntry::Item(item) if item.params.is_empty() => match item.bare_item {
                BareItem::ByteSequence(bytes) => {
                    Ok(Self(bytes.try_into().map_err(|_| InvalidSignatureHeader::Signature)?))
                }
                _ => Err(InvalidSignatureHeader::Signature),
            },
            _ => Err(InvalidSignatureHeader::Signature),
        }
    }

    /// Writes the `Signature` header.
    #[must_use]
    pub fn to_header(&self) -> String {
        format!("{LABEL}=:{}:", STANDARD.encode(self.0))
    }
}

fn only_member(header: &str) -> Result<ListEntry, InvalidSignatureHeader> {
    let dictionary: Dictionary = Parser::new(header).parse().map_err(|_| InvalidSignatureHeader::NotADictionary)?;
    let mut members = dictionary.into_iter();
    match (members.next(), members.next()) {
        (Some((label, member)), None) if label.as_str() == LABEL => Ok(member),
        _ => Err(InvalidSignatureHeader::Label),
    }
}

/// Checks the covered components and tells whether a digest is one of them.
fn covered_components(list: &InnerList) -> Result<bool, InvalidSignatureHeader> {
    let names_match = list.items.iter().zip(COMPONENTS).all(|(item, component)| {
        item.params.is_empty() && matches!(&item.bare_item, BareItem::String(name) if name.as_str() == component)
    });
    match list.items.len() {
        3 | 4 if names_match => Ok(list.items.len() == 4),
        _ => Err(InvalidSignatureHeader::Components),
    }
}

fn keyed(key: &SessionKey, base: &str) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("an HMAC takes a key of any length");
    mac.chain_update(base.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "6f1c2e5a-0c1d-4e8b-9a53-0e4a7d1f2b3c";

    /// Headers that are nearly, and often exactly, as they are usually spelled.
    fn input() -> impl Strategy<Value = String> {
        let created = prop_oneof!["[0-9]{1,17}", "-?[0-9]{1,3}(\\.[0-9])?", Just("1795400000".to_owned())];
        let nonce = prop_oneof!["[0-9]{1,22}", "[0-9a\"\\\\ ]{0,4}", Just("1795400000123456".to_owned())];
        let client = prop_oneof![Just(format!("{ID}#{ID}#{ID}")), Just(format!("{ID}#{ID}")), "[#a-f\"]{0,5}"];
        let components = prop_oneof![
            Just(r#"("@method" "@path" "@query")"#),
            Just(r#"("@method" "@path" "@query" "content-digest")"#),
            Just(r#"("@method"  "@path" "@query")"#),
            Just(r#"("@method" "@path")"#),
        ];
        let label = prop_oneof![9 => Just("countersign"), 1 => Just(" countersign"), 1 => Just("sig1")];
        let end = prop_oneof![9 => Just(""), 1 => Just(" "), 1 => Just(";tag=\"x\""), 1 => Just(", b=1")];
        (label, components, created, nonce, client, end).prop_map(
            |(label, components, created, nonce, client, end)| {
                format!(
                    r#"{label}={components};created={created};nonce="{nonce}";keyid="{client}";alg="hmac-sha256"{end}"#
                )
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_read_quickly_is_read_the_same_in_general(header in input()) {
            if let Some(quick) = SignatureInput::parse_own_spelling(&header) {
                prop_assert_eq!(SignatureInput::parse_any_spelling(&header), Ok(quick));
            }
        }

        #[test]
        fn a_signature_that_is_read_quickly_is_read_the_same_in_general(
            encoded in prop_oneof!["[A-Za-z0-9+/]{43}=", "[A-Za-z0-9+/=:]{42,46}"],
        ) {
            let header = format!("countersign=:{encoded}:");
            if let Some(quick) = RequestSignature::parse_own_spelling(&header) {
                prop_assert_eq!(RequestSignature::parse_any_spelling(&header), Ok(quick));
            }
        }
    }

    #[test]
    fn the_usual_spelling_is_read_quickly() {
        let client = format!("{ID}#{ID}#{ID}").parse().unwrap();
        for covers_digest in [false, true] {
            let input =
                SignatureInput::new(client, "1795400000123456".parse().unwrap(), 1_795_400_000, covers_digest);
            assert_eq!(SignatureInput::parse_own_spelling(&input.to_header()), Some(input));
        }
        let signature = RequestSignature([7; 32]);
        assert_eq!(RequestSignature::parse_own_spelling(&signature.to_header()), Some(signature));
    }
}
