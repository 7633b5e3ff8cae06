//! `GET /<organization>/<user>/password?client=<client>`: a session key, encrypted to the user's certificate.

use countersign_protocol::id::ClientAddress;
use countersign_protocol::session_key::OpenPgpAuthorization;

use super::authenticate::{organization, user};
use super::{Answer, ApiParts, Incoming, octets};
use crate::http::error::{ApiError, Challenge};
use crate::http::incoming::{Query, discard, has_body, single_header};
use crate::session::PasswordRequest;

impl ApiParts {
    pub(super) async fn request_session_key(&self, request: Incoming) -> Result<Answer, ApiError> {
        let Incoming { ids, parts, body } = request;
        if has_body(&body) {
            discard(body, self.limits.content_bytes, self.body_timeout).await;
            return Err(ApiError::Malformed("This operation takes no body.".to_owned()));
        }
        let client = Query::parse(&parts.uri, &["client"])?.required("client")?;
        let client = ClientAddress { organization: organization(&ids)?, user: user(&ids)?, client };
        let header = single_header(&parts.headers, "authorization")?.ok_or(ApiError::Unsigned(Challenge::OpenPgp))?;
        let OpenPgpAuthorization { nonce, signature } =
            OpenPgpAuthorization::parse(header).map_err(ApiError::Authorization)?;

        let granted = self.sessions.password(PasswordRequest { client, nonce, signature }).await;

        granted
            .map(|encrypted| octets(encrypted.into()))
            .map_err(|source| ApiError::Session { source, challenge: Challenge::OpenPgp })
    }
}
