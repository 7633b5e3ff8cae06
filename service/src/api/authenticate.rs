//! The beginning of most operations: who signed the request, and its body.
//!
//! In this order: signature headers, signature, path, rate, body, digest and nonce. So who cannot sign makes the service
//! read nothing and learns nothing, and a nonce moves only for what will be done.

use bytes::Bytes;
use countersign_protocol::digest::parse_content_digest;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::request_signature::{CoveredRequest, RequestSignature, SignatureInput};
use http::request::Parts;

use super::{ApiParts, Incoming};
use crate::http::error::{ApiError, Challenge};
use crate::http::incoming::{discard, has_body, single_header, whole_body};
use crate::http::route::PathIds;
use crate::session::{Authenticated, Needs, SessionError, Signed, Verified};

/// A request of a client with a session.
pub(super) struct ClientRequest {
    /// The proof of who it is.
    pub caller: Authenticated,
    /// The identifiers in the path.
    pub ids: PathIds,
    /// Target and headers.
    pub parts: Parts,
    /// The whole body.
    pub body: Bytes,
}

impl ClientRequest {
    /// Returns the message in the path.
    pub(super) fn message(&self) -> Result<MessageId, ApiError> {
        self.ids.message.ok_or(ApiError::UnknownPath)
    }
}

/// Whose session a path may be used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionOf {
    /// Every identifier in the path is the signer's own.
    ThePath,
    /// The path's user is the signer's; its client may be another one of that user.
    TheUser,
}

impl ApiParts {
    /// Authenticates a request under a session key and reads its body, of at most `body_limit` bytes; with a limit of
    /// 0 the operation takes no body.
    pub(super) async fn authenticate(
        &self,
        request: Incoming,
        session_of: SessionOf,
        body_limit: usize,
    ) -> Result<ClientRequest, ApiError> {
        self.authenticate_with(request, session_of, body_limit, Needs::Nothing).await
    }

    /// The same for a request that needs more from the trip of its admission.
    pub(super) async fn authenticate_with(
        &self,
        request: Incoming,
        session_of: SessionOf,
        body_limit: usize,
        needs: Needs,
    ) -> Result<ClientRequest, ApiError> {
        let Incoming { ids, parts, body } = request;
        let with_body = has_body(&body);
        if with_body && body_limit == 0 {
            discard(body, self.limits.content_bytes, self.body_timeout).await;
            return Err(ApiError::Malformed("This operation takes no body.".to_owned()));
        }
        let verified = match self.verify(&parts, &ids, session_of, with_body).await {
            Ok(verified) => verified,
            Err(refusal) => {
                discard(body, body_limit, self.body_timeout).await;
                return Err(refusal);
            }
        };
        let body = if with_body { whole_body(body, body_limit, self.body_timeout).await? } else { Bytes::new() };
        let caller = self.sessions.admit(verified, &body, needs).await.map_err(refused)?;
        Ok(ClientRequest { caller, ids, parts, body })
    }

    async fn verify(
        &self,
        parts: &Parts,
        ids: &PathIds,
        session_of: SessionOf,
        with_body: bool,
    ) -> Result<Verified, ApiError> {
        let input = single_header(&parts.headers, "signature-input")?;
        let signature = single_header(&parts.headers, "signature")?;
        let (Some(input), Some(signature)) = (input, signature) else {
            return Err(ApiError::Unsigned(Challenge::RequestSignature));
        };
        let input = SignatureInput::parse(input)
            .map_err(|source| ApiError::SignatureHeader { header: "Signature-Input", source })?;
        let signature = RequestSignature::parse(signature)
            .map_err(|source| ApiError::SignatureHeader { header: "Signature", source })?;
        let digest_header = single_header(&parts.headers, "content-digest")?;
        let content_digest = match digest_header {
            None => None,
            Some(header) => Some(
                parse_content_digest(header)
                    .map_err(|error| ApiError::Malformed(format!("The header Content-Digest is {error}.")))?,
            ),
        };
        if input.covers_digest != with_body || content_digest.is_some() != with_body {
            return Err(ApiError::DigestCover);
        }
        let request = CoveredRequest {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query(),
            content_digest: digest_header,
        };
        let signed = Signed { input, signature, request, content_digest };
        let verified = self.sessions.verify(signed).await.map_err(refused)?;
        let client = verified.client();
        if !may_use(client, ids, session_of) {
            return Err(ApiError::Forbidden);
        }
        self.rate_per_client.check(client).map_err(|retry_after| ApiError::RateLimited { retry_after })?;
        Ok(verified)
    }
}

fn may_use(client: &ClientAddress, ids: &PathIds, session_of: SessionOf) -> bool {
    ids.organization.is_none_or(|organization| organization == client.organization)
        && ids.user.is_none_or(|user| user == client.user)
        && (session_of == SessionOf::TheUser || ids.client.is_none_or(|named| named == client.client))
}

/// Makes the answer to a request under a session key that sessions refuse or fail.
pub(super) fn refused(source: SessionError) -> ApiError {
    ApiError::Session { source, challenge: Challenge::RequestSignature }
}

/// Returns the organization in the path.
pub(super) fn organization(ids: &PathIds) -> Result<OrganizationId, ApiError> {
    ids.organization.ok_or(ApiError::UnknownPath)
}

/// Returns the user in the path.
pub(super) fn user(ids: &PathIds) -> Result<UserId, ApiError> {
    ids.user.ok_or(ApiError::UnknownPath)
}
