//! Session keys: given out for an `OpenPGP` signature over a nonce, encrypted to the user's certificate.

use std::sync::Arc;

use countersign_protocol::id::ClientAddress;
use countersign_protocol::limits::Limits;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::openpgp::{Certificate, SignatureEncoding, SignatureTerms, verify_detached};
use countersign_protocol::session_key::{SessionGrant, SessionKey, password_text};
use countersign_protocol::time::UnixMicros;
use zeroize::Zeroizing;

use super::{Method, SessionError, Sessions};
use crate::authority::Member;
use crate::ephemeral::{Session, SessionId};
use crate::store::Claim;

/// A request for a session key.
#[derive(Clone, Debug)]
pub struct PasswordRequest {
    /// Which client it is for.
    pub client: ClientAddress,
    /// The signed nonce.
    pub nonce: Nonce,
    /// The detached binary signature over the five lines.
    pub signature: Vec<u8>,
}

impl Sessions {
    /// Gives a client of an active user a new session key, and a place if it has none. Returns a binary `OpenPGP`
    /// message with a [`SessionGrant`] in it.
    ///
    /// # Errors
    /// [`SessionError`]; an unknown or inactive user is told from a bad signature by nobody.
    pub async fn password(&self, request: PasswordRequest) -> Result<Vec<u8>, SessionError> {
        let granted = self.grant(request).await;
        self.observer.authenticated(Method::OpenPgp, granted.as_ref().err());
        granted
    }

    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "grant session key", skip_all)]
    async fn grant(&self, request: PasswordRequest) -> Result<Vec<u8>, SessionError> {
        let PasswordRequest { client, nonce, signature } = request;
        let now = self.clock.now();
        if !nonce.is_within(self.settings.nonce_window, now) {
            self.observe_offset(nonce, now);
            return Err(SessionError::NonceOutOfWindow);
        }
        let member = self.authority.member(client.organization, client.user, 0).await?;
        member.filter(|member| member.active).ok_or(SessionError::SignatureInvalid)?;
        let record = self.registry.user(client.organization, client.user).await?;
        let record = record.ok_or(SessionError::SignatureInvalid)?;
        // The record may be newer than this pod's view: a session for its certificate counts from where that was given.
        let member = self.authority.member(client.organization, client.user, record.sessions_since).await?;
        let member = member.filter(|member| member.active).ok_or(SessionError::SignatureInvalid)?;

        let certificate = self
            .pool
            .run(move || verified_certificate(&record.certificate, &signature, &client, nonce, now))
            .await?
            .ok_or(SessionError::SignatureInvalid)?;

        self.observe_offset(nonce, now);

        // Verified: only now may the nonce move, and a place be taken.
        if !self.ephemeral.admit_password(&client, nonce, now).await? {
            return Err(SessionError::NonceReused);
        }
        let limit = self.authority.client_limit(member.client_limit);
        match self.registry.claim_place(&client, limit, now).await? {
            Claim::Claimed | Claim::Held => {}
            Claim::Full => return Err(SessionError::ClientLimit),
        }
        self.begin(client, &member, certificate, nonce, now).await
    }

    async fn begin(
        &self,
        client: ClientAddress,
        member: &Member,
        certificate: Arc<Certificate>,
        nonce: Nonce,
        now: UnixMicros,
    ) -> Result<Vec<u8>, SessionError> {
        let (mut key, mut id) = ([0; 32], [0; 16]);
        self.entropy.fill(&mut key);
        self.entropy.fill(&mut id);
        let key = SessionKey::from_bytes(key);
        let expires = now.plus(self.settings.lifetime);
        let grant = SessionGrant { key: key.clone(), nonce, expires: expires.to_string() };
        let plaintext =
            Zeroizing::new(serde_json::to_vec(&grant).expect("a grant has nothing that JSON cannot hold"));
        let encrypted = self.pool.run(move || certificate.encrypt(&plaintext, now)).await?;
        let encrypted = encrypted.map_err(SessionError::Encryption)?;

        // Last, so that a failure before leaves the earlier key in force.
        let session = Session { id: SessionId(id), key, expires, since: member.sessions_since };
        self.ephemeral.begin_session(&client, session, now).await?;
        Ok(encrypted)
    }
}

/// Verifies the signature under the user's certificate; none if it is not theirs.
fn verified_certificate(
    armored: &str,
    signature: &[u8],
    client: &ClientAddress,
    nonce: Nonce,
    now: UnixMicros,
) -> Option<Arc<Certificate>> {
    let certificate = Arc::new(Certificate::parse(armored).ok()?);
    let text = password_text(client, nonce);
    let signers = [Arc::clone(&certificate)];
    // The certificate must be valid now; the nonce, which is signed too, tells that the signature is fresh.
    let terms = SignatureTerms {
        certificate_at: now,
        not_before: UnixMicros(0),
        not_after: now.plus(Limits::STATEMENT_SKEW),
    };
    match verify_detached(signature, SignatureEncoding::Binary, text.as_bytes(), &signers, &terms) {
        Ok(_) => Some(certificate),
        Err(fault) => {
            tracing::debug!(%fault, "a password request's signature is refused");
            None
        }
    }
}
