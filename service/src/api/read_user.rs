//! `GET /<organization>/<user>`: the user's own record.

use http::StatusCode;

use super::authenticate::SessionOf;
use super::{Answer, ApiParts, Incoming, json};
use crate::http::error::ApiError;
use crate::http::incoming::Query;

impl ApiParts {
    pub(super) async fn read_user(&self, request: Incoming) -> Result<Answer, ApiError> {
        let request = self.authenticate(request, SessionOf::ThePath, 0).await?;
        Query::parse(&request.parts.uri, &[])?;
        let client = request.caller.client();

        let record = self.authority.record(client.organization, client.user).await.map_err(ApiError::Store)?;

        let record = record.ok_or(ApiError::NotFound)?;
        Ok(json(StatusCode::OK, &self.user(record)))
    }
}
