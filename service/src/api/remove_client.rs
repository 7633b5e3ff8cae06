//! `DELETE /<organization>/<user>/client/<client>`: unregisters a client of the user, perhaps the caller itself.

use countersign_protocol::id::ClientAddress;

use super::authenticate::{SessionOf, refused};
use super::{Answer, ApiParts, Incoming, no_content};
use crate::http::error::ApiError;
use crate::http::incoming::Query;

impl ApiParts {
    pub(super) async fn remove_client(&self, request: Incoming) -> Result<Answer, ApiError> {
        let request = self.authenticate(request, SessionOf::TheUser, 0).await?;
        Query::parse(&request.parts.uri, &[])?;
        let client = request.ids.client.ok_or(ApiError::UnknownPath)?;
        let client = ClientAddress { client, ..*request.caller.client() };

        let removed = self.sessions.unregister(&client).await.map_err(refused)?;

        if removed { Ok(no_content()) } else { Err(ApiError::NotFound) }
    }
}
