//! `POST /<organization>/<user>/client/<client>/fetched`: the client confirms messages that it now holds.

use countersign_protocol::body::Fetched;
use countersign_protocol::limits::Limits;

use super::authenticate::SessionOf;
use super::{Answer, ApiParts, Incoming, no_content};
use crate::http::error::ApiError;
use crate::http::incoming::Query;

/// Bytes of the largest body: 10 000 ids of 36 characters, with quotes, comma and room for indentation.
const BODY_BYTES: usize = Limits::LIST_PAGE_MAX * 64 + 1024;

impl ApiParts {
    pub(super) async fn confirm_fetched(&self, request: Incoming) -> Result<Answer, ApiError> {
        let request = self.authenticate(request, SessionOf::ThePath, BODY_BYTES).await?;
        Query::parse(&request.parts.uri, &[])?;
        let fetched: Fetched = serde_json::from_slice(&request.body)
            .map_err(|error| ApiError::Malformed(format!("The body is not {{\"messages\": [\"…\"]}}: {error}.")))?;
        if fetched.messages.len() > Limits::LIST_PAGE_MAX {
            return Err(ApiError::Malformed(format!("At most {} ids fit into one request.", Limits::LIST_PAGE_MAX)));
        }

        self.delivery.confirm(request.caller.client(), &fetched.messages).await.map_err(ApiError::Delivery)?;

        Ok(no_content())
    }
}
