//! A client with a session, which can be told to lie in every part of a request.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use countersign_protocol::body::{Fetched, Listing};
use countersign_protocol::digest::{Sha256Digest, content_digest};
use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::receipt::receipt_text;
use countersign_protocol::request_signature::{CoveredRequest, SignatureInput};
use countersign_protocol::session_key::{OpenPgpAuthorization, SessionGrant, SessionKey, password_text};
use countersign_protocol::time::{UnixMicros, UnixMillis};
use http::{Method, Request, Uri};

use super::gnupg::{Key, decrypt};
use super::http::{Answer, Content, Http};
use super::time::{now, now_millis};

/// A client with a session.
pub(crate) struct Client {
    pub(crate) address: ClientAddress,
    pub(crate) key: SessionKey,
    pub(crate) http: Http,
    pub(crate) openpgp: Key,
    last: AtomicU64,
}

/// Asks for a session key.
pub(crate) async fn request_password(http: &Http, address: &ClientAddress, key: &Key) -> Answer {
    let nonce = Nonce::at(now());
    request_password_with(http, address, nonce, key.sign(password_text(address, nonce).as_bytes()).await).await
}

/// Asks for a session key with a given nonce and signature.
pub(crate) async fn request_password_with(
    http: &Http,
    address: &ClientAddress,
    nonce: Nonce,
    signature: Vec<u8>,
) -> Answer {
    http.send(password_request(address, &OpenPgpAuthorization { nonce, signature }.to_string())).await
}

/// Writes a request for a session key.
pub(crate) fn password_request(address: &ClientAddress, authorization: &str) -> Request<Content> {
    let ClientAddress { organization, user, client } = address;
    Request::get(format!("/{organization}/{user}/password?client={client}"))
        .header("authorization", authorization)
        .body(Content::Nothing)
        .unwrap()
}

impl Client {
    /// Gets a session.
    pub(crate) async fn begin(http: &Http, address: ClientAddress, key: &Key) -> Self {
        let answer = request_password(http, &address, key).await.expect(200);
        let grant: SessionGrant = serde_json::from_slice(&decrypt(&answer.body).await).unwrap();
        Self::with_key(http, address, key, grant.key)
    }

    /// Gets a session from a service that may end meanwhile.
    pub(crate) async fn try_begin(http: &Http, address: ClientAddress, key: &Key) -> Option<Self> {
        let nonce = Nonce::at(now());
        let signature = key.sign(password_text(&address, nonce).as_bytes()).await;
        let authorization = OpenPgpAuthorization { nonce, signature }.to_string();
        let answer = http.try_send(password_request(&address, &authorization)).await.ok()?;
        let answer = if answer.status == 200 { answer } else { return None };
        let grant: SessionGrant = serde_json::from_slice(&decrypt(&answer.body).await).unwrap();
        Some(Self::with_key(http, address, key, grant.key))
    }

    /// Makes a client of a session key that it has.
    pub(crate) fn with_key(http: &Http, address: ClientAddress, openpgp: &Key, key: SessionKey) -> Self {
        Self { address, key, http: http.clone(), openpgp: openpgp.clone(), last: AtomicU64::new(0) }
    }

    /// Returns the same client with connections to another process.
    pub(crate) fn at(&self, http: &Http) -> Self {
        let last = AtomicU64::new(self.last.load(Ordering::SeqCst));
        Self { http: http.clone(), last, ..Self::with_key(http, self.address, &self.openpgp, self.key.clone()) }
    }

    pub(crate) fn user(&self) -> UserId {
        self.address.user
    }

    /// Returns the user's path.
    pub(crate) fn path(&self) -> String {
        format!("/{}/{}", self.address.organization, self.address.user)
    }

    /// Returns the organization's path.
    pub(crate) fn organization_path(&self) -> String {
        format!("/{}", self.address.organization)
    }

    /// Returns the client's own path.
    pub(crate) fn client_path(&self) -> String {
        format!("{}/client/{}", self.path(), self.address.client)
    }

    /// Returns a nonce that was not used before.
    pub(crate) fn nonce(&self) -> Nonce {
        let now = now().0;
        let last =
            self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(now.max(last + 1))).unwrap();
        Nonce::at(UnixMicros(now.max(last + 1)))
    }

    /// Begins a request.
    pub(crate) fn call(&self, method: Method, target: impl Into<String>) -> Call<'_> {
        Call {
            client: self,
            method,
            target: target.into(),
            content: Content::Nothing,
            prefer: None,
            nonce: None,
            created: None,
            address: self.address,
            key: self.key.clone(),
        }
    }

    /// Sends a GET.
    pub(crate) async fn get(&self, target: impl Into<String>) -> Answer {
        self.call(Method::GET, target).send().await
    }

    /// Lists what is new.
    pub(crate) async fn list(&self) -> Listing {
        self.get(format!("{}/message?limit=10000", self.path())).await.json(200)
    }

    /// Waits for what is new.
    pub(crate) async fn wait(&self, seconds: u32) -> Answer {
        self.call(Method::GET, format!("{}/message", self.path())).prefer(format!("wait={seconds}")).send().await
    }

    /// Computes the id of a message of this user.
    pub(crate) fn message_id(&self, time: UnixMillis, recipients: &[UserId], content: &[u8]) -> MessageId {
        let ClientAddress { organization, user, .. } = self.address;
        MessageId::of_message(&organization, &user, time, recipients, &Sha256Digest::of(content))
    }

    /// Writes the target of a message.
    pub(crate) fn send_target(&self, id: &MessageId, recipients: &[UserId]) -> String {
        let to: Vec<String> = recipients.iter().map(|user| format!("&to={user}")).collect();
        format!("{}/message?id={id}{}", self.path(), to.concat())
    }

    /// Sends a message under a given id.
    pub(crate) async fn send_as(&self, id: &MessageId, recipients: &[UserId], content: &[u8]) -> Answer {
        self.call(Method::POST, self.send_target(id, recipients)).body(content).send().await
    }

    /// Sends a message and asserts that it is stored.
    pub(crate) async fn send(&self, recipients: &[UserId], content: &[u8]) -> MessageId {
        let id = self.message_id(now_millis(), recipients, content);
        self.send_as(&id, recipients, content).await.expect(201);
        id
    }

    /// Reads a content.
    pub(crate) async fn read(&self, id: &MessageId) -> Bytes {
        self.get(format!("{}/message/{id}", self.path())).await.expect(200).body
    }

    /// Confirms messages.
    pub(crate) async fn confirm(&self, messages: &[MessageId]) -> Answer {
        let body = serde_json::to_vec(&Fetched { messages: messages.to_vec() }).unwrap();
        self.call(Method::POST, format!("{}/fetched", self.client_path())).body(&body).send().await
    }

    /// Acknowledges a message with a signature of the user's key, and returns the receipt's id and the signature.
    pub(crate) async fn acknowledge(
        &self,
        message: &MessageId,
        from: &UserId,
        content: &[u8],
    ) -> (MessageId, Vec<u8>) {
        let ClientAddress { organization, user, .. } = self.address;
        let text = receipt_text(&organization, from, &user, message, &Sha256Digest::of(content));
        let signature = self.openpgp.sign(text.as_bytes()).await;
        let digest = Sha256Digest::of(&signature);
        let receipt = MessageId::of_receipt(&organization, &user, now_millis(), message, &digest);
        self.acknowledge_as(message, &receipt, &signature).await.expect(204);
        (receipt, signature)
    }

    /// Acknowledges a message under a given id.
    pub(crate) async fn acknowledge_as(&self, message: &MessageId, receipt: &MessageId, body: &[u8]) -> Answer {
        let target = format!("{}/message/{message}?receipt={receipt}", self.path());
        self.call(Method::PUT, target).body(body).send().await
    }
}

/// A request in the making. It is signed when it is built; what comes after is tampering.
pub(crate) struct Call<'a> {
    client: &'a Client,
    method: Method,
    target: String,
    content: Content,
    prefer: Option<String>,
    nonce: Option<Nonce>,
    created: Option<u64>,
    address: ClientAddress,
    key: SessionKey,
}

impl Call<'_> {
    pub(crate) fn body(self, body: &[u8]) -> Self {
        Self { content: Content::Whole(Bytes::copy_from_slice(body)), ..self }
    }

    /// Sends the body in pieces of a given size, without a length in the head.
    pub(crate) fn pieces(self, body: &[u8], size: usize) -> Self {
        Self { content: Content::Pieces(body.chunks(size).map(Bytes::copy_from_slice).collect()), ..self }
    }

    pub(crate) fn prefer(self, preference: String) -> Self {
        Self { prefer: Some(preference), ..self }
    }

    pub(crate) fn nonce(self, nonce: Nonce) -> Self {
        Self { nonce: Some(nonce), ..self }
    }

    pub(crate) fn created(self, created: u64) -> Self {
        Self { created: Some(created), ..self }
    }

    /// Signs as another client.
    pub(crate) fn signed_as(self, address: ClientAddress) -> Self {
        Self { address, ..self }
    }

    /// Signs under another key.
    pub(crate) fn with_key(self, key: SessionKey) -> Self {
        Self { key, ..self }
    }

    /// Signs.
    pub(crate) fn build(self) -> Request<Content> {
        let body = match &self.content {
            Content::Nothing => None,
            Content::Whole(bytes) => Some(bytes.clone()),
            Content::Pieces(pieces) => Some(Bytes::from(pieces.concat())),
        };
        let digest = body.as_ref().map(|body| content_digest(&Sha256Digest::of(body)));
        let nonce = self.nonce.unwrap_or_else(|| self.client.nonce());
        let created = self.created.unwrap_or_else(|| now().to_seconds());
        let uri: Uri = self.target.parse().unwrap();
        let covered = CoveredRequest {
            method: self.method.as_str(),
            path: uri.path(),
            query: uri.query(),
            content_digest: digest.as_deref(),
        };
        let input = SignatureInput::new(self.address, nonce, created, digest.is_some());
        let signature = input.sign(&covered, &self.key);
        let mut request = Request::builder()
            .method(self.method)
            .uri(uri)
            .header("signature-input", input.to_header())
            .header("signature", signature.to_header());
        if let Some(digest) = digest {
            request = request.header("content-digest", digest);
        }
        if let Some(preference) = self.prefer {
            request = request.header("prefer", preference);
        }
        request.body(self.content).unwrap()
    }

    /// Signs and sends.
    pub(crate) async fn send(self) -> Answer {
        let http = self.client.http.clone();
        http.send(self.build()).await
    }
}
