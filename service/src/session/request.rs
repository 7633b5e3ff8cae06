//! Authentication of requests under a session key.
//!
//! In two steps, since the signature can be verified before the body has arrived: who cannot sign makes the service
//! read nothing. The nonce moves in the second step, when the body's digest was compared.

use std::sync::Arc;

use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::ClientAddress;
use countersign_protocol::request_signature::{CoveredRequest, RequestSignature, SignatureInput};
use countersign_protocol::time::UnixMicros;

use super::{Authenticated, Method, SessionError, Sessions};
use crate::authority::Organization;
use crate::ephemeral::{Admission, Needs, Recency, Session};

/// A request's signature, as parsed from its headers, and what it covers.
#[derive(Clone, Debug)]
pub struct Signed<'a> {
    /// The parsed `Signature-Input`.
    pub input: SignatureInput,
    /// The parsed `Signature`.
    pub signature: RequestSignature,
    /// The covered parts.
    pub request: CoveredRequest<'a>,
    /// The parsed `Content-Digest`, exactly when there is a body.
    pub content_digest: Option<Sha256Digest>,
}

/// A request whose signature is good, and whose body and nonce are still to be looked at.
#[derive(Debug)]
pub struct Verified {
    input: SignatureInput,
    session: Session,
    content_digest: Option<Sha256Digest>,
}

impl Verified {
    /// Returns who signed.
    #[must_use]
    pub const fn client(&self) -> &ClientAddress {
        &self.input.client
    }
}

impl Sessions {
    /// Verifies a request's signature under its client's session key.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn verify(&self, signed: Signed<'_>) -> Result<Verified, SessionError> {
        let verified = self.verify_signature(signed).await;
        if let Err(refusal) = &verified {
            self.observer.authenticated(Method::Session, Some(refusal));
        }
        verified
    }

    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "verify signature", skip_all)]
    async fn verify_signature(&self, signed: Signed<'_>) -> Result<Verified, SessionError> {
        let Signed { input, signature, request, content_digest } = signed;
        let now = self.clock.now();
        let window = self.settings.nonce_window;
        let created = UnixMicros(input.created.saturating_mul(1_000_000));
        // `created` counts whole seconds: one that has just begun is not yet over the edge.
        let created_is_near = created.to_seconds().abs_diff(now.to_seconds()) <= window.as_secs();
        if !input.nonce.is_within(window, now) || !created_is_near {
            self.observe_offset(input.nonce, now);
            return Err(SessionError::NonceOutOfWindow);
        }
        let session = self.ephemeral.session(&input.client, now, Recency::Any).await?;
        #[cfg(test)]
        if crate::simulation::broken::Broken::NonceFirst.is_on()
            && let Some(session) = &session
        {
            self.ephemeral.admit(&input.client, session.id, input.nonce, Needs::Nothing).await?;
        }
        let session = match session.ok_or(SessionError::SessionUnknown)? {
            session if input.verifies(&request, &signature, &session.key) => session,
            // Another pod may have given the client a new key since this one looked.
            remembered => {
                let session = self.ephemeral.session(&input.client, now, Recency::Now).await?;
                let session = session.ok_or(SessionError::SessionUnknown)?;
                if session.id == remembered.id || !input.verifies(&request, &signature, &session.key) {
                    return Err(SessionError::SignatureInvalid);
                }
                session
            }
        };
        self.observe_offset(input.nonce, now);
        Ok(Verified { input, session, content_digest })
    }

    /// Compares the body with its digest and admits the nonce, in this order. Brings what the request needs next from
    /// the same trip.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn admit(&self, verified: Verified, body: &[u8], needs: Needs) -> Result<Authenticated, SessionError> {
        let admitted = self.admit_nonce(verified, body, needs).await;
        self.observer.authenticated(Method::Session, admitted.as_ref().err());
        admitted
    }

    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "admit", skip_all)]
    async fn admit_nonce(
        &self,
        verified: Verified,
        body: &[u8],
        needs: Needs,
    ) -> Result<Authenticated, SessionError> {
        let Verified { input, session, content_digest } = verified;
        if content_digest.is_some_and(|digest| digest != Sha256Digest::of(body)) {
            return Err(SessionError::SignatureInvalid);
        }
        let client = input.client;
        let organization = self.check_in_force(&client, session.since).await?;
        #[cfg(test)]
        if crate::simulation::broken::Broken::NonceFirst.is_on() {
            let state = self.ephemeral.listing_state(&client, session.id).await?.unwrap_or_default();
            return Ok(Authenticated { client, session: session.id, since: session.since, state, organization });
        }
        match self.ephemeral.admit(&client, session.id, input.nonce, needs).await? {
            Admission::Admitted(state) => {
                Ok(Authenticated { client, session: session.id, since: session.since, state, organization })
            }
            Admission::NonceReused => Err(SessionError::NonceReused),
            Admission::SessionUnknown => Err(SessionError::SessionUnknown),
        }
    }

    /// Tells whether a session that a request was admitted under is in force still, after the request has waited.
    ///
    /// # Errors
    /// [`SessionError::SessionUnknown`] if it is not.
    pub async fn still_in_force(&self, caller: &Authenticated) -> Result<(), SessionError> {
        self.check_in_force(&caller.client, caller.since).await.map(drop)
    }

    /// The user is active, and their sessions count from the sequence that this one began under. Holds within the
    /// authority's freshness, whatever happened to the ephemeral store when they were ended.
    async fn check_in_force(&self, client: &ClientAddress, since: u64) -> Result<Arc<Organization>, SessionError> {
        let organization = self.authority.organization(client.organization).await?;
        let organization = organization.ok_or(SessionError::SessionUnknown)?;
        let in_force = || {
            organization.look(|fold| {
                fold.member(&client.user).is_some_and(|member| member.active && member.sessions_since == since)
            })
        };
        if in_force() {
            return Ok(organization);
        }
        // The session is of a later time than what this pod knows of the user: another pod has let them in.
        let is_later =
            organization.look(|fold| fold.member(&client.user).is_none_or(|member| member.sessions_since < since));
        if is_later {
            self.authority.look_again(client.organization, &organization).await?;
        }
        if in_force() { Ok(organization) } else { Err(SessionError::SessionUnknown) }
    }
}
