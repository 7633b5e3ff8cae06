//! Clients: their requests, signed and written into a reused buffer.

use std::io::Write as _;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_protocol::digest::{Sha256Digest, content_digest};
use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::request_signature::{CoveredRequest, SignatureInput};
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::time::UnixMicros;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::clock::wall;

/// The body of a request, with its digest.
struct Content<'a> {
    bytes: &'a [u8],
    header: String,
}

impl<'a> Content<'a> {
    fn new(bytes: &'a [u8]) -> (Self, Sha256Digest) {
        let digest = Sha256Digest::of(bytes);
        (Self { bytes, header: content_digest(&digest) }, digest)
    }
}

/// A client with a session.
#[derive(Debug)]
pub(crate) struct Client {
    address: ClientAddress,
    key: SessionKey,
    /// The HMAC with the session key in it, to be cloned for each request.
    keyed: Hmac<Sha256>,
    last_nonce: u64,
    message_path: String,
    fetched_path: String,
    key_id: String,
    /// Whether a request of it is on its way: its nonces must arrive in order.
    pub(crate) busy: bool,
}

/// Buffers that are used again for each request.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    base: Vec<u8>,
    query: Vec<u8>,
    content: Vec<u8>,
}

struct Target<'a> {
    method: &'static str,
    path: &'a str,
    query: &'a [u8],
    content: Option<&'a Content<'a>>,
}

impl Client {
    /// Makes a client with the key that it was given.
    pub(crate) fn new(address: ClientAddress, key: SessionKey) -> Result<Self> {
        let ClientAddress { organization, user, client } = &address;
        Ok(Self {
            keyed: Hmac::<Sha256>::new_from_slice(key.expose())?,
            last_nonce: 0,
            message_path: format!("/{organization}/{user}/message"),
            fetched_path: format!("/{organization}/{user}/client/{client}/fetched"),
            key_id: address.to_string(),
            busy: false,
            address,
            key,
        })
    }

    /// Returns the client's address.
    pub(crate) const fn address(&self) -> &ClientAddress {
        &self.address
    }

    /// Writes a request that sends content to a user: `template`, of which the first bytes become `unique`, since equal
    /// contents sent at the same time are one message.
    pub(crate) fn write_send(
        &mut self,
        to: UserId,
        template: &[u8],
        unique: u64,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) {
        let now = wall();
        let mut bytes = std::mem::take(&mut scratch.content);
        bytes.clear();
        bytes.extend_from_slice(template);
        bytes.iter_mut().zip(unique.to_be_bytes()).for_each(|(to, from)| *to = from);
        let (content, digest) = Content::new(&bytes);
        let ClientAddress { organization, user, .. } = &self.address;
        let id = MessageId::of_message(organization, user, now.to_millis(), &[to], &digest);
        let mut query = std::mem::take(&mut scratch.query);
        query.clear();
        let _ = write!(query, "id={id}&to={to}");
        let path = std::mem::take(&mut self.message_path);
        let target = Target { method: "POST", path: &path, query: &query, content: Some(&content) };
        self.write(&target, now, scratch, out);
        self.message_path = path;
        scratch.query = query;
        scratch.content = bytes;
    }

    /// Writes a request that asks what is new, `limit` items of it.
    pub(crate) fn write_check(&mut self, limit: usize, scratch: &mut Scratch, out: &mut Vec<u8>) {
        let mut query = std::mem::take(&mut scratch.query);
        query.clear();
        let _ = write!(query, "limit={limit}");
        let path = std::mem::take(&mut self.message_path);
        let target = Target { method: "GET", path: &path, query: &query, content: None };
        self.write(&target, wall(), scratch, out);
        self.message_path = path;
        scratch.query = query;
    }

    /// Writes a request that confirms messages; the body is that of the request.
    pub(crate) fn write_confirm(&mut self, body: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) {
        let (content, _) = Content::new(body);
        let path = std::mem::take(&mut self.fetched_path);
        let target = Target { method: "POST", path: &path, query: b"", content: Some(&content) };
        self.write(&target, wall(), scratch, out);
        self.fetched_path = path;
    }

    fn write(&mut self, target: &Target<'_>, now: UnixMicros, scratch: &mut Scratch, out: &mut Vec<u8>) {
        self.last_nonce = now.0.max(self.last_nonce + 1);
        let Target { method, path, query, content } = target;
        // The signature base of RFC 9421, whose last line's value is the Signature-Input.
        let base = &mut scratch.base;
        base.clear();
        let _ = write!(base, "\"@method\": {method}\n\"@path\": {path}\n\"@query\": ?");
        base.extend_from_slice(query);
        if let Some(content) = content {
            let _ = write!(base, "\n\"content-digest\": {}", content.header);
        }
        base.extend_from_slice(b"\n\"@signature-params\": ");
        let parameters = base.len();
        base.extend_from_slice(br#"("@method" "@path" "@query""#);
        if content.is_some() {
            base.extend_from_slice(br#" "content-digest""#);
        }
        let _ = write!(
            base,
            r#");created={};nonce="{}";keyid="{}";alg="hmac-sha256""#,
            now.to_seconds(),
            self.last_nonce,
            self.key_id
        );
        let signature = self.keyed.clone().chain_update(&base).finalize().into_bytes();
        let mut encoded = [0; 44];
        let _ = STANDARD.encode_slice(signature, &mut encoded);

        let question_mark = if query.is_empty() { "" } else { "?" };
        let _ = write!(out, "{method} {path}{question_mark}");
        out.extend_from_slice(query);
        out.extend_from_slice(b" HTTP/1.1\r\nhost: localhost\r\nsignature-input: countersign=");
        out.extend_from_slice(base.get(parameters..).unwrap_or_default());
        out.extend_from_slice(b"\r\nsignature: countersign=:");
        out.extend_from_slice(&encoded);
        out.extend_from_slice(b":\r\n");
        if let Some(content) = content {
            let _ = write!(
                out,
                "content-digest: {}\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
                content.header,
                content.bytes.len()
            );
            out.extend_from_slice(content.bytes);
        } else {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Checks that requests are signed as the protocol's own code signs them.
    pub(crate) fn check_signing(&mut self) -> Result<()> {
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        self.write_check(7, &mut scratch, &mut out);
        let text = String::from_utf8(out)?;
        let created = text.split_once("created=").and_then(|(_, rest)| rest.split_once(';'));
        let created = created.and_then(|(created, _)| created.parse().ok()).unwrap_or(0);
        let nonce = Nonce::at(UnixMicros(self.last_nonce));
        let input = SignatureInput::new(self.address, nonce, created, false);
        let covered =
            CoveredRequest { method: "GET", path: &self.message_path, query: Some("limit=7"), content_digest: None };
        let signature = input.sign(&covered, &self.key).to_header();
        let as_expected = text.contains(&format!("signature-input: {}\r\n", input.to_header()))
            && text.contains(&format!("signature: {signature}\r\n"));
        ensure!(as_expected, "the benchmark signs otherwise than the protocol: {text}");
        Ok(())
    }
}

/// Reads the ids of a listing's messages without reading it as JSON.
pub(crate) fn listed_ids(listing: &[u8]) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(listing).unwrap_or_default();
    text.split(r#""id":""#).skip(1).filter_map(|rest| rest.get(..36))
}

/// Writes the body of a confirmation.
pub(crate) fn confirmation<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut body = br#"{"messages":["#.to_vec();
    for (number, id) in ids.enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(body, "{comma}\"{id}\"");
    }
    body.extend_from_slice(b"]}");
    body
}
