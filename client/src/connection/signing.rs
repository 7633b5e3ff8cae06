//! Signing requests under a session key, without any store: what a load generator uses as well.

use std::fmt::Write as _;

use bytes::Bytes;
use countersign_protocol::digest::{Sha256Digest, content_digest};
use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::request_signature::{CoveredRequest, SignatureInput};
use countersign_protocol::session_key::SessionKey;
use http::{Method, Request};
use http_body_util::Full;

/// A request that is not signed yet.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path and query, as they stand on the wire.
    pub target: String,
    /// The body and its media type, if there is one.
    pub body: Option<(Bytes, &'static str)>,
    /// How many seconds a listing may wait for something new.
    pub wait: Option<u64>,
}

impl Call {
    /// Reads something.
    #[must_use]
    pub const fn get(target: String) -> Self {
        Self { method: Method::GET, target, body: None, wait: None }
    }

    /// Removes something.
    #[must_use]
    pub const fn delete(target: String) -> Self {
        Self { method: Method::DELETE, target, body: None, wait: None }
    }

    /// Sends a message's content to its recipients.
    #[must_use]
    pub fn send_message(from: &ClientAddress, id: &MessageId, recipients: &[UserId], content: Bytes) -> Self {
        let ClientAddress { organization, user, .. } = from;
        let mut target = format!("/{organization}/{user}/message?id={id}");
        for recipient in recipients {
            let _ = write!(target, "&to={recipient}");
        }
        Self::with_body(Method::POST, target, content, "application/octet-stream")
    }

    /// Any request with a body.
    #[must_use]
    pub const fn with_body(method: Method, target: String, body: Bytes, media_type: &'static str) -> Self {
        Self { method, target, body: Some((body, media_type)), wait: None }
    }

    /// Returns the path and the query of the target.
    fn parts(&self) -> (&str, Option<&str>) {
        self.target.split_once('?').map_or((&self.target, None), |(path, query)| (path, Some(query)))
    }
}

/// The headers of a signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeaders {
    /// `Signature-Input`.
    pub signature_input: String,
    /// `Signature`.
    pub signature: String,
    /// `Content-Digest`, exactly when there is a body.
    pub content_digest: Option<String>,
}

/// Signs a client's requests under its session key.
///
/// ```
/// use countersign_client::connection::{Call, RequestSigner};
/// use countersign_protocol::nonce::Nonce;
/// use countersign_protocol::session_key::SessionKey;
/// use countersign_protocol::time::UnixMicros;
///
/// let id = "6f1c2e5a-0c1d-4e8b-9a53-0e4a7d1f2b3c";
/// let signer = RequestSigner::new(format!("{id}#{id}#{id}").parse()?, SessionKey::from_bytes([7; 32]));
/// let now = UnixMicros(1_795_400_000_123_456);
///
/// let request = signer.request(&Call::get(format!("/{id}/{id}/message")), "http://127.0.0.1:8080", Nonce::at(now), now)?;
/// assert!(request.headers().contains_key("signature"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RequestSigner {
    address: ClientAddress,
    key: SessionKey,
}

impl RequestSigner {
    /// Takes a client's address and its session key.
    #[must_use]
    pub const fn new(address: ClientAddress, key: SessionKey) -> Self {
        Self { address, key }
    }

    /// Returns whose requests these are.
    #[must_use]
    pub const fn address(&self) -> &ClientAddress {
        &self.address
    }

    /// Signs a request. `nonce` must be greater than all that this client used, and `now` be the server's time.
    #[must_use]
    pub fn sign(&self, call: &Call, nonce: Nonce, now: countersign_protocol::time::UnixMicros) -> SignedHeaders {
        let digest = call.body.as_ref().map(|(body, _)| content_digest(&Sha256Digest::of(body)));
        let (path, query) = call.parts();
        let covered = CoveredRequest { method: call.method.as_str(), path, query, content_digest: digest.as_deref() };
        let input = SignatureInput::new(self.address, nonce, now.to_seconds(), digest.is_some());
        let signature = input.sign(&covered, &self.key).to_header();
        SignedHeaders { signature_input: input.to_header(), signature, content_digest: digest }
    }

    /// Signs a request and makes it ready to be sent to a server, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// [`http::Error`] for a target that is no path.
    pub fn request(
        &self,
        call: &Call,
        server: &str,
        nonce: Nonce,
        now: countersign_protocol::time::UnixMicros,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let SignedHeaders { signature_input, signature, content_digest } = self.sign(call, nonce, now);
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{server}{}", call.target))
            .header("signature-input", signature_input)
            .header("signature", signature);
        if let Some(digest) = content_digest {
            request = request.header("content-digest", digest);
        }
        if let Some(seconds) = call.wait {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        let body = call.body.as_ref().map(|(body, media_type)| (body.clone(), *media_type));
        let (body, media_type) = body.unzip();
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        request.body(Full::new(body.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use countersign_protocol::request_signature::RequestSignature;
    use countersign_protocol::time::UnixMicros;

    use super::*;

    const ID: &str = "6f1c2e5a-0c1d-4e8b-9a53-0e4a7d1f2b3c";

    #[test]
    fn what_is_signed_verifies_as_the_service_verifies_it() {
        let key = SessionKey::from_bytes([7; 32]);
        let address: ClientAddress = format!("{ID}#{ID}#{ID}").parse().unwrap();
        let signer = RequestSigner::new(address, key.clone());
        let now = UnixMicros(1_795_400_000_123_456);
        let user: UserId = ID.parse().unwrap();
        let id =
            MessageId::of_message(&address.organization, &user, now.to_millis(), &[user], &Sha256Digest::of(b"x"));
        let call = Call::send_message(&address, &id, &[user], Bytes::from_static(b"x"));

        let request = signer.request(&call, "http://localhost:1", Nonce::at(now), now).unwrap();

        let header = |name: &str| request.headers()[name].to_str().unwrap();
        let input = SignatureInput::parse(header("signature-input")).unwrap();
        let covered = CoveredRequest {
            method: request.method().as_str(),
            path: request.uri().path(),
            query: request.uri().query(),
            content_digest: Some(header("content-digest")),
        };
        let signature = RequestSignature::parse(header("signature")).unwrap();
        assert!(input.covers_digest && input.verifies(&covered, &signature, &key));
        assert_eq!(header("content-type"), "application/octet-stream");
    }
}
